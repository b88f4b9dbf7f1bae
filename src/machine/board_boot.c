#include "machine/board_boot.h"

#include <stdio.h>
#include <string.h>

#include "firmware/platform.h"

static const char *const names[BOOT_DEVICES] = {
    [BOOT_FLOPPY] = "floppy", [BOOT_DISK] = "disk", [BOOT_CDROM] = "cdrom"};

static int word_parse(const char *word, size_t len, struct boot_order *order, unsigned *count,
                      struct error *err)
{
    if (len == 4 && !memcmp(word, "menu", len)) {
        order->menu = true;
        return 0;
    }
    for (unsigned d = BOOT_FLOPPY; d < BOOT_DEVICES; d++) {
        if (strlen(names[d]) != len || memcmp(names[d], word, len) != 0)
            continue;
        for (unsigned i = 0; i < *count; i++)
            if (order->device[i] == d)
                return error_set(err, EINVAL, "'%s' is in the boot order twice: once is enough", names[d]);
        order->device[(*count)++] = d;
        return 0;
    }
    return error_set(err, EINVAL,
                     "'%.*s' is nothing to boot from: write disk, cdrom or floppy, and perhaps menu",
                     (int)MIN(len, 40u), word);
}

int boot_order_parse(const char *text, struct boot_order *order, struct error *err)
{
    static const char prefix[] = "order=";
    unsigned count = 0;
    *order = (struct boot_order){0};
    if (text && !strncmp(text, prefix, strlen(prefix)))
        text += strlen(prefix);
    while (text && *text) {
        size_t len = strcspn(text, ",");
        int rc = word_parse(text, len, order, &count, err);
        if (rc)
            return rc;
        text += len + (text[len] == ',');
    }
    if (!count) {
        order->listed = true;
        order->device[0] = BOOT_DISK;
        order->device[1] = BOOT_CDROM;
        order->device[2] = BOOT_FLOPPY;
    }
    return 0;
}

/* --- paths: PCI slots as in platform.h, places on a controller in the order of the command line
 * --------------
 */

static unsigned place_of(const struct machine_config *config, unsigned index)
{
    unsigned place = 0;
    for (unsigned i = 0; i < index; i++)
        place += config->disks[i].bus == config->disks[index].bus;
    return place;
}

static int disk_path(const struct machine_config *config, unsigned index, char *to, size_t size)
{
    unsigned place = place_of(config, index);
    switch (config->disks[index].bus) {
    case DISK_IDE:
        return snprintf(to, size, "/pci@i0cf8/ide@%x,1/drive@%x/disk@%x", PC_SLOT_PIIX, place / 2, place % 2);
    case DISK_AHCI:
        return snprintf(to, size, "/pci@i0cf8/pci8086,2922@%x/drive@%x/disk@0", PC_SLOT_AHCI, place);
    case DISK_VIRTIO:
        return snprintf(to, size, "/pci@i0cf8/scsi@%x/disk@0,0", PC_SLOT_CARDS + place);
    }
    return 0;
}

struct writer {
    char *list;
    size_t len;
};

static void line_add(struct writer *w, const char *path)
{
    int n = snprintf(w->list + w->len, BOOT_LIST_SIZE - w->len, "%s%s", w->len ? "\n" : "", path);
    if (n > 0 && (size_t)n < BOOT_LIST_SIZE - w->len)
        w->len += (size_t)n;
}

static void disks_add(struct writer *w, const struct machine_config *config, bool disks, bool cdroms)
{
    char path[80];
    for (unsigned i = 0; i < config->disk_count; i++) {
        bool wanted = config->disks[i].cdrom ? cdroms : disks;
        if (wanted && disk_path(config, i, path, sizeof path) > 0)
            line_add(w, path);
    }
}

static void floppies_add(struct writer *w, const struct machine_config *config)
{
    char path[80];
    for (unsigned i = 0; i < MACHINE_MAX_FLOPPIES; i++) {
        snprintf(path, sizeof path, "/pci@i0cf8/isa@%x/fdc@03f0/floppy@%x", PC_SLOT_PIIX, i);
        if (config->floppies[i])
            line_add(w, path);
    }
}

size_t boot_order_list(const struct machine_config *config, const struct boot_order *order,
                       char list[BOOT_LIST_SIZE])
{
    struct writer w = {.list = list};
    list[0] = 0;
    if (order->listed)
        disks_add(&w, config, true, true);
    for (unsigned i = 0; i < ARRAY_LEN(order->device); i++) {
        if (order->device[i] == BOOT_FLOPPY)
            floppies_add(&w, config);
        else if (!order->listed)
            disks_add(&w, config, order->device[i] == BOOT_DISK, order->device[i] == BOOT_CDROM);
    }
    return w.len ? w.len + 1 : 0;
}
