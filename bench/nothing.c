/*
 * A plugin that does nothing: what the kernel takes for the processes of a chain alone.
 *
 * Called `bridge` it executes the `host-local` beside it, as the specification has it, with pipes for
 * its request and its result; else it reads its request and answers an empty result.
 * Built with: gcc -O2 -static
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int failed, const char *what) {
    if (failed) {
        perror(what);
        _exit(1);
    }
}

static void drain(int fd) {
    char buffer[4096];
    while (read(fd, buffer, sizeof buffer) > 0)
        ;
}

static void delegate(const char *own) {
    char path[4096];
    int request[2], result[2], status = 0;
    snprintf(path, sizeof path, "%.*shost-local", (int)(strrchr(own, '/') - own) + 1, own);
    check(pipe(request) < 0 || pipe(result) < 0, "pipe");
    pid_t pid = vfork();
    check(pid < 0, "vfork");
    if (pid == 0) {
        dup2(request[0], 0);
        dup2(result[1], 1);
        close(request[1]);
        close(result[0]);
        execl(path, path, (char *)0);
        _exit(127);
    }
    close(request[0]);
    close(result[1]);
    check(write(request[1], "{}", 2) != 2, "write");
    close(request[1]);
    drain(result[0]);
    close(result[0]);
    check(waitpid(pid, &status, 0) < 0 || status, path);
}

int main(int argc, char **argv) {
    const char *name = argc > 0 ? strrchr(argv[0], '/') : 0;
    drain(0);
    if (name && !strcmp(name, "/bridge"))
        delegate(argv[0]);
    check(write(1, "{}", 2) != 2, "write");
    return 0;
}
