/* The command line: finds the command and runs it. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

/* Help and results go to stdout: if they could not be written, that is a failure too. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "ring3: cannot write to the standard output: %s; is the disk full, or its reader gone?\n",
            strerror(errno));
    return status == EXIT_OK ? EXIT_FAILED : status;
}

/* A standard stream that was closed by whoever started us becomes /dev/null, so that no other file gets its
 * number. */
static void open_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    struct error err = {0};

    open_standard_streams();

    /* A reader that went away and a file-size limit are errors of write and ftruncate, not deaths. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);

    if (argc < 2) {
        fprintf(stderr, "ring3: no command was given; 'ring3 help' lists the commands, 'ring3 run --kernel "
                        "FILE' runs one\n");
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "-V")) {
        printf("ring3 " RING3_VERSION "\n");
        return finish(EXIT_OK);
    }
    if (!strcmp(name, "--help") || !strcmp(name, "-h"))
        name = "help";

    const struct command *command = NULL;
    if (name[0] == '-')
        error_set(&err, EINVAL, "unknown option %.80s before the command; known are --help and --version",
                  name);
    else
        command = command_find(name, &err);
    if (!command) {
        report_error(&err);
        return EXIT_USAGE;
    }
    return finish(command->run(command, argc - 2, argv + 2));
}
