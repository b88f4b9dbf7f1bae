/*
 * Command-line options. One const table per command feeds the parser, the help text and (through the help
 * text, see tests/cli) the check of the manual page.
 */
#ifndef RING3_CLI_OPTION_H
#define RING3_CLI_OPTION_H

#include "base/error.h"

struct option {
    const char *name;     /* without the dashes; NULL ends the table */
    const char *argument; /* what the help calls its value; NULL: the option takes none */
    const char *help;     /* lines are separated by '\n' */
    /* Stores the value (NULL if it takes none) in the command's own structure. */
    int (*set)(void *target, const char *value, struct error *err);
};

enum options_outcome {
    OPTIONS_OK,
    OPTIONS_HELP,  /* --help or -h was among them */
    OPTIONS_ERROR, /* `err` says what is wrong */
};

/*
 * Takes `--name value`, `--name=value` and `--name` from argv[0..argc) until the first operand or past "--".
 * `command` is named in the messages. *operands is the index of the first operand, argc if there is none.
 */
enum options_outcome options_parse(const struct option *options, const char *command, int argc, char **argv,
                                   void *target, int *operands, struct error *err);

/* Prints the table, aligned, to stdout. */
void options_print(const struct option *options);

/* Values. Each returns 0 or -EINVAL with a message that starts with the value itself. */

/* "512M", "1G", "4096": bytes with an optional K, M, G or T (also KiB, MB ...; powers of 1024). */
int value_parse_size(const char *text, u64 *out, struct error *err);
/* A whole number, decimal or 0x..., within min..max. `what` names it: "number of CPUs". */
int value_parse_number(const char *text, const char *what, u64 min, u64 max, u64 *out, struct error *err);

#endif
