/*
 * --disk and --cdrom: FILE[,KEY=VALUE...] into a struct machine_disk. A comma that belongs to the file's name
 * is written twice.
 */
#ifndef RING3_CLI_DISK_OPTION_H
#define RING3_CLI_DISK_OPTION_H

#include "machine/machine.h"

/* What the strings of the disks point into. */
struct disk_options {
    char *text[MACHINE_MAX_DISKS];
    unsigned count;
};

/* Adds one more disk to `config`. */
int disk_option_parse(struct disk_options *options, struct machine_config *config, bool cdrom,
                      const char *value, struct error *err);
/* When the machine is gone. */
void disk_options_finish(struct disk_options *options);

#endif
