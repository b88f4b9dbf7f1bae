/* The commands. A command is one file and one row of the table in command.c. */
#ifndef RING3_CLI_COMMAND_H
#define RING3_CLI_COMMAND_H

#include "cli/option.h"

/* What ring3 exits with; part of the interface, see the manual page. */
enum exit_status {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_CRASHED = 3,
    EXIT_TIMEOUT = 124,
};

struct command {
    const char *name;
    const char *operands;         /* as the help shows them: "[COMMAND]"; NULL: it takes none */
    int operand_limit;            /* 0: one, if it takes any */
    const char *summary;          /* one line */
    const struct option *options; /* may be NULL */
    void (*print_details)(void);  /* what `help NAME` says below the options; may be NULL */
    /* Runs with the arguments behind the command's name; returns the exit status. */
    int (*run)(const struct command *self, int argc, char **argv);
};

extern const struct command command_run, command_image, command_screenshot, command_doctor, command_help;

/* All of them, NULL-terminated. */
extern const struct command *const commands[];

/* The command called `name`, or NULL with `err` naming the nearest. */
const struct command *command_find(const char *name, struct error *err);

/* Help on stdout: all commands, or one. */
void commands_print(void);
void command_print(const struct command *command);

/*
 * Parses a command's options into `target` and checks that no more operands are left than it takes. Returns
 * true if the command shall go on with *operands; otherwise it is done (help was asked for, or a usage error
 * reported) and *status is what to exit with.
 */
bool command_parse(const struct command *command, int argc, char **argv, void *target, int *operands,
                   int *status);

/* "ring3: MESSAGE" on stderr. */
void report_error(const struct error *err);

#endif
