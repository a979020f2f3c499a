/*
 * The floor: the least that any runtime must do for the default bundle, and nothing else.
 *
 *   floor ROOTFS            clone3 into new namespaces, default mounts and devices, pivot_root,
 *                           execve /bin/true, wait
 *   floor ROOTFS CGROUP     the same, plus a cgroup of that name in each v1 hierarchy, joined by
 *                           the child writing 0 to its own `tasks`, and removed at the end;
 *                           where version 2 is all there is, the child is born in its cgroup
 *
 *   floor ROOTFS - FILTER   without cgroups, but under the filter in that file: instructions of the
 *                           kernel's form, loaded last of all
 *
 * It reads no configuration, checks nothing and is no container runtime; it is what the kernel
 * costs. Built with: gcc -O2 -static
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *controllers[] = {"cpu",     "cpuacct", "cpuset", "memory", "devices",
                                    "freezer", "blkio",   "pids",   "systemd"};
enum { CONTROLLERS = sizeof controllers / sizeof *controllers };

static void check(int failed, const char *what) {
    if (failed) {
        perror(what);
        _exit(1);
    }
}

static void copy_setting(const char *cgroup, const char *file) {
    char from[512], to[512], value[256];
    snprintf(from, sizeof from, "/sys/fs/cgroup/cpuset/%s", file);
    snprintf(to, sizeof to, "/sys/fs/cgroup/cpuset/%s/%s", cgroup, file);
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, value, sizeof value);
    close(fd);
    fd = open(to, O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && length > 0 && write(fd, value, length) < 0)
        perror(to);
    close(fd);
}

static void node(const char *path, int minor) {
    check(mknod(path, S_IFCHR | 0666, makedev(1, minor)) < 0, path);
}

static struct sock_filter instructions[4096];
static struct sock_fprog filter = {0, instructions};

static void read_filter(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, instructions, sizeof instructions);
    check(length <= 0, path);
    close(fd);
    filter.len = length / sizeof *instructions;
}

static void child(const char *rootfs, const int *tasks, int count) {
    for (int i = 0; i < count; i++)
        check(write(tasks[i], "0", 1) != 1, "tasks");
    check(mount(0, "/", 0, MS_REC | MS_SLAVE, 0) < 0, "slave");
    check(mount(rootfs, rootfs, 0, MS_BIND | MS_REC, 0) < 0, "bind");
    check(chdir(rootfs) < 0, "chdir");
    const unsigned long quiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    check(mount("proc", "proc", "proc", 0, 0) < 0, "proc");
    check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k") < 0, "dev");
    mkdir("dev/pts", 0755);
    mkdir("dev/shm", 01777);
    mkdir("dev/mqueue", 01777);
    check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                "newinstance,ptmxmode=0666,mode=0620,gid=5") < 0, "devpts");
    check(mount("shm", "dev/shm", "tmpfs", quiet, "mode=1777,size=65536k") < 0, "shm");
    check(mount("mqueue", "dev/mqueue", "mqueue", quiet, 0) < 0, "mqueue");
    check(mount("sysfs", "sys", "sysfs", quiet | MS_RDONLY, 0) < 0, "sysfs");
    umask(0);
    node("dev/null", 3);
    node("dev/zero", 5);
    node("dev/full", 7);
    node("dev/random", 8);
    node("dev/urandom", 9);
    check(mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)) < 0, "tty");
    check(symlink("pts/ptmx", "dev/ptmx") < 0, "ptmx");
    check(symlink("/proc/self/fd", "dev/fd") < 0, "fd");
    check(syscall(SYS_pivot_root, ".", ".") < 0, "pivot_root");
    check(umount2(".", MNT_DETACH) < 0, "umount");
    check(chdir("/") < 0, "chdir");
    check(sethostname("floor", 5) < 0, "hostname");
    if (filter.len) {
        check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0, "no_new_privs");
        check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0, "seccomp");
    }
    char *argv[] = {"/bin/true", 0}, *envp[] = {"PATH=/bin", 0};
    execve(argv[0], argv, envp);
    check(1, "execve");
}

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    const char *cgroup = argc > 2 && strcmp(argv[2], "-") ? argv[2] : 0;
    if (argc > 3)
        read_filter(argv[3]);
    int tasks[CONTROLLERS], count = 0;
    char path[512];
    for (int i = 0; cgroup && i < CONTROLLERS; i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", controllers[i], cgroup);
        if (mkdir(path, 0755) < 0)
            continue; /* not mounted on this machine */
        if (!strcmp(controllers[i], "cpuset")) {
            copy_setting(cgroup, "cpuset.cpus");
            copy_setting(cgroup, "cpuset.mems");
        }
        strncat(path, "/tasks", sizeof path - strlen(path) - 1);
        tasks[count] = open(path, O_WRONLY | O_CLOEXEC);
        check(tasks[count] < 0, path);
        count++;
    }
    struct clone_args args = {
        .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
        .exit_signal = SIGCHLD,
    };
    char unified[512] = "";
    if (cgroup && !access("/sys/fs/cgroup/cgroup.procs", F_OK)) {
        snprintf(unified, sizeof unified, "/sys/fs/cgroup/%s", cgroup);
        check(mkdir(unified, 0755) < 0, unified);
        int fd = open(unified, O_PATH | O_DIRECTORY | O_CLOEXEC);
        check(fd < 0, unified);
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd;
    }
    long pid = syscall(SYS_clone3, &args, sizeof args);
    check(pid < 0, "clone3");
    if (pid == 0)
        child(argv[1], tasks, count);
    int status = 0;
    check(waitpid(pid, &status, 0) < 0, "wait");
    if (*unified)
        rmdir(unified);
    for (int i = 0; cgroup && i < CONTROLLERS; i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", controllers[i], cgroup);
        rmdir(path);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
