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
 *   floor ROOTFS CGROUP + DIRECTORY
 *                           with cgroups, and whatever else the default bundle and the commands of
 *                           a runtime ask for: rules for devices, masked and read-only paths, the
 *                           cgroups mounted inside, a keyring, the loopback, capabilities; a lock, a
 *                           copy of the configuration and a record below DIRECTORY, and their end
 *
 * It reads no configuration, checks nothing and is no container runtime; it is what the kernel
 * costs. Built with: gcc -O2 -static
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

/* What the default bundle asks for beyond mounts and devices, and the floor leaves out. */
static const char *masked[] = {"proc/acpi",       "proc/asound",     "proc/kcore",       "proc/keys",
                               "proc/latency_stats", "proc/timer_list", "proc/timer_stats", "proc/sched_debug",
                               "sys/firmware",    "proc/scsi"};
static const char *read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
static const char *devices[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm",
                                "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};
#define EACH(array) (size_t i = 0; i < sizeof array / sizeof *array; i++)
static const unsigned long kept = 1UL << CAP_KILL | 1UL << CAP_NET_BIND_SERVICE | 1UL << CAP_AUDIT_WRITE;

static void allow_devices(const char *cgroup) {
    char path[512];
    snprintf(path, sizeof path, "/sys/fs/cgroup/devices/%s/devices.deny", cgroup);
    int deny = open(path, O_WRONLY | O_CLOEXEC);
    if (deny < 0)
        return; /* not mounted on this machine */
    check(write(deny, "a", 1) != 1, path);
    close(deny);
    snprintf(path, sizeof path, "/sys/fs/cgroup/devices/%s/devices.allow", cgroup);
    int allow = open(path, O_WRONLY | O_CLOEXEC);
    check(allow < 0, path);
    for EACH(devices)
        check(write(allow, devices[i], strlen(devices[i])) < 0, devices[i]);
    close(allow);
}

static void join_keyring(void) {
    long ring = syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, "_ses.floor");
    check(ring < 0 || syscall(SYS_keyctl, 5 /* KEYCTL_SETPERM */, ring, 0x3f3b0000) < 0, "keyring");
}

static void raise_loopback(void) {
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int any = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(any < 0 || ioctl(any, SIOCSIFFLAGS, &lo) < 0, "lo");
    close(any);
}

static void mount_cgroups(const char *cgroup) {
    const unsigned long quiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    check(mount("tmpfs", "sys/fs/cgroup", "tmpfs", quiet, "mode=755") < 0, "cgroups");
    for (int i = 0; i < CONTROLLERS; i++) {
        char from[512], to[512];
        snprintf(from, sizeof from, "/sys/fs/cgroup/%s/%s", controllers[i], cgroup);
        snprintf(to, sizeof to, "sys/fs/cgroup/%s", controllers[i]);
        if (mkdir(to, 0755) == 0 && mount(from, to, 0, MS_BIND, 0) == 0)
            check(mount(0, to, 0, MS_REMOUNT | MS_BIND | MS_RDONLY | quiet, 0) < 0, to);
    }
}

static void cover_paths(void) {
    struct stat found;
    for EACH(read_only) {
        const char *path = read_only[i];
        if (mount(path, path, 0, MS_BIND | MS_REC, 0) == 0)
            check(mount(0, path, 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0) < 0, path);
    }
    for EACH(masked) {
        const char *path = masked[i];
        if (stat(path, &found) < 0)
            continue;
        if (S_ISDIR(found.st_mode))
            check(mount("tmpfs", path, "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1") < 0, path);
        else
            check(mount("dev/null", path, 0, MS_BIND, 0) < 0, path);
    }
    check(mount(0, ".", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0) < 0, "read-only");
}

static void drop_capabilities(void) {
    for (int number = 0; number <= CAP_LAST_CAP; number++)
        if (!(kept >> number & 1))
            prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{kept, kept, 0}, {0, 0, 0}};
    check(syscall(SYS_capset, &head, sets) < 0, "capset");
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0, "no_new_privs");
}

/* What a runtime writes down: a lock that it holds, a file of so many bytes put in its place by a rename. */
static int records;
static void record(const char *name, size_t bytes) {
    static const char text[2048];
    int file = openat(records, ".new", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    check(file < 0 || write(file, text, bytes) < 0, name);
    close(file);
    check(renameat(records, ".new", records, name) < 0, name);
}

static void begin_records(const char *directory) {
    check(mkdir(directory, 0711) < 0, directory);
    records = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int lock = openat(records, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(lock < 0 || flock(lock, LOCK_EX) < 0, "lock");
    record("config", 1904);
    record("state", 939);
}

static void end_records(const char *directory) {
    unlinkat(records, "config", 0);
    unlinkat(records, "state", 0);
    unlinkat(records, "lock", 0);
    check(rmdir(directory) < 0, directory);
}

static void child(const char *rootfs, const int *tasks, int count, const char *whole) {
    for (int i = 0; i < count; i++)
        check(write(tasks[i], "0", 1) != 1, "tasks");
    if (whole) {
        join_keyring();
        raise_loopback();
    }
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
    if (whole)
        mount_cgroups(whole);
    umask(0);
    node("dev/null", 3);
    node("dev/zero", 5);
    node("dev/full", 7);
    node("dev/random", 8);
    node("dev/urandom", 9);
    check(mknod("dev/tty", S_IFCHR | 0666, makedev(5, 0)) < 0, "tty");
    check(symlink("pts/ptmx", "dev/ptmx") < 0, "ptmx");
    check(symlink("/proc/self/fd", "dev/fd") < 0, "fd");
    if (whole)
        cover_paths();
    check(syscall(SYS_pivot_root, ".", ".") < 0, "pivot_root");
    check(umount2(".", MNT_DETACH) < 0, "umount");
    check(chdir("/") < 0, "chdir");
    check(sethostname("floor", 5) < 0, "hostname");
    if (whole)
        drop_capabilities();
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
    const char *directory = argc > 4 && cgroup && !strcmp(argv[3], "+") ? argv[4] : 0;
    if (argc > 3 && !directory)
        read_filter(argv[3]);
    if (directory)
        begin_records(directory);
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
    if (directory) {
        allow_devices(cgroup);
        record("state", 939);
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
        child(argv[1], tasks, count, directory ? cgroup : 0);
    if (directory)
        record("state", 1187);
    int status = 0;
    check(waitpid(pid, &status, 0) < 0, "wait");
    if (*unified)
        rmdir(unified);
    for (int i = 0; cgroup && i < CONTROLLERS; i++) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", controllers[i], cgroup);
        rmdir(path);
    }
    if (directory)
        end_records(directory);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
