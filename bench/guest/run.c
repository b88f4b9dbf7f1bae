/*
 * The runner of the benchmark's rows, the same natively and in a virtual machine: run FILE
 *
 * Each line of FILE is a row, its fields separated by tabs: name, seconds that one run may take, number of
 * timed runs, shell commands to run before (untimed: warm-up), timed, and after (untimed: what they print is
 * hashed like the timed command's output). On standard output, one line each, for bench/suite:
 *
 *   @@ begin NAME RUN                                    the timed command is between these two, so that the
 * host can
 *   @@ stop NAME RUN                                     look at its own clocks
 *   @@ end NAME RUN WALL_NS CPU_NS STATUS HASH [RATE]    STATUS: the shell's, or "timeout", "signal-N"
 *   @@ note NAME TEXT                                    the last thing a failing command wrote on stderr
 *   @@ done
 *
 * HASH is of the output, so that wrong results are seen. A command that measures by itself prints "rate N", a
 * speed in units a second: it is passed on and not hashed.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ERRORS "/tmp/stderr"

struct outcome {
    uint64_t wall_ns, cpu_ns, hash;
    double rate; /* 0: none was printed */
    char status[24];
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* In the child: never returns. */
static void shell_exec(const char *command, int out)
{
    int null = open("/dev/null", O_RDONLY), err = open(ERRORS, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    setpgid(0, 0);
    dup2(null, 0);
    dup2(out, 1);
    dup2(err < 0 ? out : err, 2);
    execl("/bin/sh", "sh", "-c", command, NULL);
    _exit(127);
}

/* FNV-1a over all output; the first bytes are kept to look for a rate. False on time-out. */
static int output_read(int fd, uint64_t end_ns, struct outcome *o)
{
    static char buffer[65536];
    char head[256];
    size_t kept = 0;
    for (;;) {
        uint64_t now = now_ns();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (now >= end_ns || poll(&p, 1, (int)((end_ns - now) / 1000000) + 1) == 0)
            return 0;
        ssize_t n = read(fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            o->hash = (o->hash ^ (uint8_t)buffer[i]) * 0x100000001b3u;
            if (kept < sizeof head - 1)
                head[kept++] = buffer[i];
        }
    }
    head[kept] = 0;
    if (strncmp(head, "rate ", 5) == 0) {
        o->rate = strtod(head + 5, NULL);
        o->hash = 0;
    }
    return 1;
}

static void command_run(const char *command, int seconds, struct outcome *o)
{
    int pipe_fd[2], status = 0;
    struct rusage usage = {0};
    if (pipe(pipe_fd) || fcntl(pipe_fd[0], F_SETFD, FD_CLOEXEC) || fcntl(pipe_fd[1], F_SETFD, FD_CLOEXEC)) {
        snprintf(o->status, sizeof o->status, "pipe");
        return;
    }
    uint64_t start = now_ns();
    pid_t pid = fork();
    if (pid == 0)
        shell_exec(command, pipe_fd[1]);
    close(pipe_fd[1]);
    int in_time = output_read(pipe_fd[0], start + (uint64_t)seconds * 1000000000u, o);
    if (!in_time)
        kill(-pid, SIGKILL);
    wait4(pid, &status, 0, &usage);
    o->wall_ns = now_ns() - start;
    o->cpu_ns = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
                (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
    close(pipe_fd[0]);
    if (!in_time)
        snprintf(o->status, sizeof o->status, "timeout");
    else if (WIFSIGNALED(status))
        snprintf(o->status, sizeof o->status, "signal-%d", WTERMSIG(status));
    else
        snprintf(o->status, sizeof o->status, "%d", WEXITSTATUS(status));
}

/* A line at a time, and wholly out of the serial port before a clock is read. */
static void say(const char *line)
{
    if (write(1, line, strlen(line)) < 0)
        exit(1);
    tcdrain(1);
}

static void note_errors(const char *name)
{
    char text[300] = "", line[400];
    int fd = open(ERRORS, O_RDONLY);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t n = fd < 0 ? 0 : pread(fd, text, sizeof text - 1, size > 299 ? size - 299 : 0);
    close(fd);
    for (ssize_t i = 0; i < n; i++)
        if (text[i] < ' ')
            text[i] = ' ';
    snprintf(line, sizeof line, "@@ note %s %s\n", name, text);
    say(line);
}

static void row_run(char *row)
{
    char *field[6], line[300];
    for (int i = 0; i < 6; i++) {
        field[i] = strsep(&row, "\t\n");
        if (!field[i])
            return;
    }
    int seconds = atoi(field[1]), runs = atoi(field[2]);
    for (int i = 0; i < runs; i++) {
        struct outcome o = {.hash = 0xcbf29ce484222325u}, other = o;
        if (i == 0 && *field[3])
            command_run(field[3], seconds, &other);
        snprintf(line, sizeof line, "@@ begin %s %d\n", field[0], i);
        say(line);
        command_run(field[4], seconds, &o);
        snprintf(line, sizeof line, "@@ stop %s %d\n", field[0], i);
        say(line);
        if (*field[5] && strcmp(o.status, "0") == 0) {
            struct outcome check = {.hash = o.hash};
            command_run(field[5], seconds, &check);
            o.hash = check.hash;
            if (strcmp(check.status, "0") != 0)
                snprintf(o.status, sizeof o.status, "check-%.10s", check.status);
        }
        snprintf(line, sizeof line, "@@ end %s %d %llu %llu %s %016llx %.6g\n", field[0], i,
                 (unsigned long long)o.wall_ns, (unsigned long long)o.cpu_ns, o.status,
                 (unsigned long long)o.hash, o.rate);
        say(line);
        if (strcmp(o.status, "0") != 0)
            note_errors(field[0]);
    }
}

int main(int argc, char **argv)
{
    static char row[8192];
    FILE *rows = argc == 2 ? fopen(argv[1], "re") : NULL;
    if (!rows) {
        fprintf(stderr, "usage: run FILE\n");
        return 2;
    }
    while (fgets(row, sizeof row, rows))
        row_run(row);
    fclose(rows);
    say("@@ done\n");
    return 0;
}
