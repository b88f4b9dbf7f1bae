/* ring3 help [COMMAND] */
#include <stdio.h>

#include "cli/command.h"

static int help_run(const struct command *self, int argc, char **argv)
{
    int operands, status;
    struct error err = {0};

    if (!command_parse(self, argc, argv, NULL, &operands, &status))
        return status;
    if (operands == argc) {
        commands_print();
        return EXIT_OK;
    }
    const struct command *command = command_find(argv[operands], &err);
    if (!command) {
        report_error(&err);
        return EXIT_USAGE;
    }
    command_print(command);
    return EXIT_OK;
}

const struct command command_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .summary = "list the commands, or describe one",
    .run = help_run,
};
