#include "cli/option.h"

#include <stdio.h>
#include <string.h>

#include "cli/suggest.h"

static const struct option *option_find(const struct option *options, const char *name, size_t len)
{
    for (const struct option *o = options; o && o->name; o++)
        if (strlen(o->name) == len && !memcmp(o->name, name, len))
            return o;
    return NULL;
}

static int unknown_option(const struct option *options, const char *command, const char *text,
                          struct error *err)
{
    char name[64];
    const char *start = text + strspn(text, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(start, "="), start);

    struct suggestion s;
    suggestion_init(&s, name);
    for (const struct option *o = options; o && o->name; o++)
        suggestion_offer(&s, o->name);
    suggestion_offer(&s, "help");
    return error_set(err, EINVAL,
                     "unknown option %.80s; the nearest known one is --%s ('ring3 help %s' lists them all)",
                     text, s.best, command);
}

static enum options_outcome fail(struct error *err, const char *option)
{
    error_prefix(err, "--%s", option);
    return OPTIONS_ERROR;
}

enum options_outcome options_parse(const struct option *options, const char *command, int argc, char **argv,
                                   void *target, int *operands, struct error *err)
{
    int i = 0;
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        const char *text = argv[i];
        if (!strcmp(text, "--")) {
            i++;
            break;
        }
        if (!strcmp(text, "--help") || !strcmp(text, "-h"))
            return OPTIONS_HELP;

        size_t len = text[1] == '-' ? strcspn(text + 2, "=") : 0;
        const struct option *o = len ? option_find(options, text + 2, len) : NULL;
        if (!o) {
            unknown_option(options, command, text, err);
            return OPTIONS_ERROR;
        }
        const char *value = text[2 + len] == '=' ? text + 2 + len + 1 : NULL;
        if (value && !o->argument) {
            error_set(err, EINVAL,
                      "takes no value, but '%.80s' was given; leave out the '=' and what follows", value);
            return fail(err, o->name);
        }
        if (!value && o->argument) {
            if (i + 1 == argc) {
                error_set(err, EINVAL, "needs a value; write --%s %s", o->name, o->argument);
                return fail(err, o->name);
            }
            value = argv[++i];
        }
        if (o->set(target, value, err) < 0)
            return fail(err, o->name);
    }
    *operands = i;
    return OPTIONS_OK;
}

#define HELP_COLUMN 26

void options_print(const struct option *options)
{
    for (const struct option *o = options; o && o->name; o++) {
        int width = printf("  --%s%s%s", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
        if (width >= HELP_COLUMN) {
            putchar('\n');
            width = 0;
        }
        for (const char *line = o->help; line;) {
            size_t len = strcspn(line, "\n");
            printf("%*s%.*s\n", HELP_COLUMN - width, "", (int)len, line);
            width = 0;
            line = line[len] ? line + len + 1 : NULL;
        }
    }
    printf("  --%-*s%s\n", HELP_COLUMN - 4, "help", "this text");
}
