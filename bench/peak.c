/*
 * peak FILE COMMAND ARGUMENT...: runs the command and writes to FILE the largest resident set, in
 * KiB, of it and of all that it waited for; ends with its status.
 *
 * The kernel counts the memory of whoever called execve into the program's largest, so the one that
 * measures has to be smaller than any subject. Built with: gcc -O2 -static
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (pid < 0 || wait4(pid, &status, 0, &usage) < 0) {
        perror("peak");
        return 1;
    }
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%ld\n", usage.ru_maxrss) < 0 || fclose(file)) {
        perror(argv[1]);
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
