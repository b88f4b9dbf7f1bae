/* ring3 image: disk images, in the manner of qemu-img. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "block/qcow2.h"
#include "cli/command.h"
#include "cli/image.h"
#include "cli/suggest.h"

#define SETTER(field)                                                                                        \
    static int set_##field(void *target, const char *value, struct error *err)                               \
    {                                                                                                        \
        (void)err;                                                                                           \
        ((struct image_options *)target)->field = value;                                                     \
        return 0;                                                                                            \
    }
#define SWITCH(field)                                                                                        \
    static int set_##field(void *target, const char *value, struct error *err)                               \
    {                                                                                                        \
        (void)value, (void)err;                                                                              \
        ((struct image_options *)target)->field = true;                                                      \
        return 0;                                                                                            \
    }
SETTER(format)
SETTER(to)
SETTER(backing)
SETTER(backing_format)
SETTER(set)
SETTER(output)
SWITCH(compress)
SWITCH(repair)
SWITCH(shrink)
SWITCH(progress)
SWITCH(unsafe)

static const struct option image_option_table[] = {
    {"format", "FMT",
     "format of FILE: qcow2, raw, vmdk or vdi (these two are only\nread); guessed if not given (create: the "
     "format to make,\ndefault qcow2)",
     set_format},
    {"to", "FMT", "convert: format of the output (default raw)", set_to},
    {"backing", "FILE", "create, rebase: an image that holds what is not written here", set_backing},
    {"backing-format", "FMT", "create, rebase: the format of that image", set_backing_format},
    {"set", "LIST",
     "create, convert: qcow2 settings, separated by commas:\ncompat=0.10|1.1, cluster_size=SIZE, "
     "refcount_bits=N,\n"
     "lazy_refcounts=on|off, compression_type=zlib|zstd,\npreallocation=off|metadata|falloc|full",
     set_set},
    {"compress", NULL, "convert: compress the clusters of a qcow2 output", set_compress},
    {"repair", NULL, "check: mend what is wrong", set_repair},
    {"output", "FORM", "info, check, map, snapshot list: human (the default) or json", set_output},
    {"progress", NULL,
     "convert, rebase, commit, compare: show how far it is, also\nwhere the output is no terminal",
     set_progress},
    {"unsafe", NULL, "rebase: change the name only, the contents are the same", set_unsafe},
    {"shrink", NULL, "resize: allow to cut off the end of the disk", set_shrink},
    {NULL},
};

static const struct {
    const char *name, *operands, *summary;
    int min, max; /* operands */
    int (*run)(const struct image_options *o, char **operands, struct error *err);
} actions[] = {
    {"create", "FILE [SIZE]", "make an empty image (with --backing, SIZE may be left out)", 1, 2,
     image_create},
    {"info", "FILE", "say what an image is", 1, 1, image_info},
    {"check", "FILE", "check a qcow2 image's metadata", 1, 1, image_check},
    {"convert", "FILE OUTPUT", "copy what the guest sees into a new image", 2, 2, image_convert},
    {"resize", "FILE SIZE", "change the disk's size (+SIZE: grow by that)", 2, 2, image_resize},
    {"snapshot", "list|create|apply|delete FILE [NAME]", "work with snapshots inside a qcow2 image", 2, 3,
     image_snapshot},
    {"rebase", "FILE", "give an image another backing file (--backing), or none", 1, 1, image_rebase},
    {"commit", "FILE", "write an image's contents into its backing file", 1, 1, image_commit},
    {"compare", "FILE FILE2", "do two images hold the same? (status 0: yes, 1: no, 2: error)", 2, 2,
     image_compare},
    {"map", "FILE", "list where the data is", 1, 1, image_map},
};

static void image_details(void)
{
    printf("\nActions:\n");
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        printf("  %s %s\n      %s\n", actions[i].name, actions[i].operands, actions[i].summary);
}

static int usage_error(struct error *err)
{
    report_error(err);
    return EXIT_USAGE;
}

static int image_run(const struct command *self, int argc, char **argv)
{
    struct image_options options = {0};
    struct error err = {0};
    struct suggestion s;
    int first = 0;

    if (argc == 0) {
        error_set(&err, EINVAL,
                  "'image' needs an action, such as create or info; 'ring3 help image' lists them");
        return usage_error(&err);
    }
    if (!strcmp(argv[0], "--help") || !strcmp(argv[0], "-h")) {
        command_print(self);
        return EXIT_OK;
    }
    suggestion_init(&s, argv[0]);
    size_t i = 0;
    for (; i < ARRAY_LEN(actions) && strcmp(actions[i].name, argv[0]) != 0; i++)
        suggestion_offer(&s, actions[i].name);
    if (i == ARRAY_LEN(actions)) {
        error_set(&err, EINVAL,
                  "'image' has no action '%.80s'; the nearest one is '%s' ('ring3 help image' lists them)",
                  argv[0], s.best);
        return usage_error(&err);
    }
    switch (options_parse(self->options, self->name, argc - 1, argv + 1, &options, &first, &err)) {
    case OPTIONS_HELP:
        command_print(self);
        return EXIT_OK;
    case OPTIONS_ERROR:
        return usage_error(&err);
    case OPTIONS_OK:
        break;
    }
    int count = argc - 1 - first;
    char *operands[4] = {NULL};
    if (count < actions[i].min || count > actions[i].max) {
        error_set(&err, EINVAL, "write: ring3 image %s [OPTIONS] %s", actions[i].name, actions[i].operands);
        return usage_error(&err);
    }
    memcpy(operands, argv + 1 + first, (size_t)count * sizeof *operands);
    int status = actions[i].run(&options, operands, &err);
    if (status < 0) {
        report_error(&err);
        return EXIT_FAILED;
    }
    return status;
}

const struct command command_image = {
    .name = "image",
    .operands = "ACTION ...",
    .summary = "make, inspect, check and convert disk images",
    .options = image_option_table,
    .print_details = image_details,
    .run = image_run,
};
