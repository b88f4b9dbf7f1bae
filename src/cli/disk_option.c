#include "cli/disk_option.h"

#include <stdlib.h>
#include <string.h>

#include "block/drive.h"
#include "cli/suggest.h"

static const char *const bus_names[] = {[DISK_VIRTIO] = "virtio", [DISK_IDE] = "ide", [DISK_AHCI] = "ahci"};

/* Cuts the next part off `*rest`, which ends at a comma that is not doubled; doubled ones become single. */
static char *part_take(char **rest)
{
    char *part = *rest, *to = *rest, *from = *rest;
    while (*from && (from[0] != ',' || from[1] == ',')) {
        from += *from == ',';
        *to++ = *from++;
    }
    *rest = *from ? from + 1 : NULL;
    *to = '\0';
    return part;
}

static int bool_parse(const char *key, const char *value, bool *out, struct error *err)
{
    if (!value || !strcmp(value, "on") || !strcmp(value, "off")) {
        *out = !value || !strcmp(value, "on");
        return 0;
    }
    return error_set(err, EINVAL, "%s=%.40s is not possible; write %s=on or %s=off", key, value, key, key);
}

static int bus_parse(const char *value, struct machine_disk *disk, struct error *err)
{
    struct suggestion s;
    suggestion_init(&s, value);
    for (unsigned i = 0; i < ARRAY_LEN(bus_names); i++) {
        suggestion_offer(&s, bus_names[i]);
        if (!strcmp(value, bus_names[i])) {
            disk->bus = (enum disk_bus)i;
            if (disk->cdrom && disk->bus == DISK_VIRTIO)
                return error_set(err, EINVAL, "a CD-ROM drive cannot be on virtio; write if=ide or if=ahci");
            return 0;
        }
    }
    return error_set(err, EINVAL, "if=%.40s is not known; the nearest known one is if=%s", value, s.best);
}

static int format_parse(const char *value, struct machine_disk *disk, struct error *err)
{
    disk->format = value;
    return block_format_find(value, err) ? 0 : -EINVAL;
}

static int serial_parse(const char *value, struct machine_disk *disk, struct error *err)
{
    disk->serial = value;
    if (!*value || strlen(value) > DRIVE_SERIAL_MAX)
        return error_set(err, EINVAL, "the serial number '%.80s' is not possible; write 1 to %d characters",
                         value, DRIVE_SERIAL_MAX);
    for (const char *at = value; *at; at++)
        if (*at < ' ' || *at > '~')
            return error_set(err, EINVAL, "a serial number consists of ASCII characters only");
    return 0;
}

static int key_parse(char *part, struct machine_disk *disk, struct error *err)
{
    static const char *const keys[] = {"if", "format", "readonly", "snapshot", "serial"};
    char *value = strchr(part, '=');
    if (value)
        *value++ = '\0';
    if (!strcmp(part, "readonly"))
        return bool_parse(part, value, &disk->readonly, err);
    if (!strcmp(part, "snapshot"))
        return bool_parse(part, value, &disk->snapshot, err);
    struct suggestion s;
    suggestion_init(&s, part);
    unsigned i;
    for (i = 0; i < ARRAY_LEN(keys) && strcmp(part, keys[i]) != 0; i++)
        suggestion_offer(&s, keys[i]);
    if (i == ARRAY_LEN(keys))
        return error_set(err, EINVAL,
                         "'%.40s' is not known here; the nearest known one is %s (a comma in the file's name "
                         "is written twice)",
                         part, s.best);
    if (!value)
        return error_set(err, EINVAL, "%s needs a value: %s=VALUE", part, part);
    switch (i) {
    case 0:
        return bus_parse(value, disk, err);
    case 1:
        return format_parse(value, disk, err);
    default:
        return serial_parse(value, disk, err);
    }
}

int disk_option_parse(struct disk_options *options, struct machine_config *config, bool cdrom,
                      const char *value, struct error *err)
{
    struct machine_disk disk = {.bus = DISK_IDE, .cdrom = cdrom, .readonly = cdrom};
    if (options->count == MACHINE_MAX_DISKS || config->disk_count == MACHINE_MAX_DISKS)
        return error_set(err, E2BIG, "more than %d disks and CD-ROM drives are not possible",
                         MACHINE_MAX_DISKS);
    char *rest = strdup(value);
    if (!rest)
        return error_set(err, ENOMEM, "out of memory for the options");
    options->text[options->count++] = rest;
    disk.file = part_take(&rest);
    if (!*disk.file && !cdrom)
        return error_set(err, EINVAL, "there is no file; write FILE[,KEY=VALUE...]");
    if (!*disk.file)
        disk.file = NULL;
    while (rest) {
        int rc = key_parse(part_take(&rest), &disk, err);
        if (rc)
            return rc;
    }
    if (cdrom)
        disk.readonly = true;
    config->disks[config->disk_count++] = disk;
    return 0;
}

void disk_options_finish(struct disk_options *options)
{
    for (unsigned i = 0; i < options->count; i++)
        free(options->text[i]);
    options->count = 0;
}
