#include "cli/command.h"

#include <stdio.h>
#include <string.h>

#include "cli/suggest.h"

const struct command *const commands[] = {&command_run,    &command_image, &command_screenshot,
                                          &command_doctor, &command_help,  NULL};

const struct command *command_find(const char *name, struct error *err)
{
    struct suggestion s;
    suggestion_init(&s, name);
    for (const struct command *const *c = commands; *c; c++) {
        if (!strcmp((*c)->name, name))
            return *c;
        suggestion_offer(&s, (*c)->name);
    }
    error_set(err, EINVAL,
              "unknown command '%.80s'; the nearest known one is '%s' ('ring3 help' lists them all)", name,
              s.best);
    return NULL;
}

void commands_print(void)
{
    printf("ring3 " RING3_VERSION
           ": a virtual machine monitor that needs no privilege and no hardware help\n\n"
           "usage: ring3 COMMAND [OPTIONS]\n"
           "       ring3 --version | --help\n\n"
           "Commands:\n");
    for (const struct command *const *c = commands; *c; c++)
        printf("  %-10s %s\n", (*c)->name, (*c)->summary);
    printf("\n'ring3 help COMMAND' describes a command and its options.\n");
}

void command_print(const struct command *command)
{
    printf("usage: ring3 %s%s%s%s\n\n%s\n\nOptions:\n", command->name, command->options ? " [OPTIONS]" : "",
           command->operands ? " " : "", command->operands ? command->operands : "", command->summary);
    options_print(command->options);
    if (command->print_details)
        command->print_details();
}

bool command_parse(const struct command *command, int argc, char **argv, void *target, int *operands,
                   int *status)
{
    struct error err = {0};
    int limit = !command->operands ? 0 : MAX(command->operand_limit, 1);
    switch (options_parse(command->options, command->name, argc, argv, target, operands, &err)) {
    case OPTIONS_HELP:
        command_print(command);
        *status = EXIT_OK;
        return false;
    case OPTIONS_OK:
        if (argc - *operands <= limit)
            return true;
        error_set(&err, EINVAL, "'%s' does not take '%.80s'; 'ring3 help %s' shows what it takes",
                  command->name, argv[*operands + limit], command->name);
        break;
    case OPTIONS_ERROR:
        break;
    }
    report_error(&err);
    *status = EXIT_USAGE;
    return false;
}

void report_error(const struct error *err)
{
    fprintf(stderr, "ring3: %s\n", err->message);
}
