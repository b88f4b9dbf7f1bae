/* --boot: which devices firmware tries, and in which order. */
#ifndef RING3_MACHINE_BOARD_BOOT_H
#define RING3_MACHINE_BOARD_BOOT_H

#include "machine/machine.h"

/* As CMOS RAM numbers them. */
enum boot_device { BOOT_NONE, BOOT_FLOPPY, BOOT_DISK, BOOT_CDROM, BOOT_DEVICES };

struct boot_order {
    enum boot_device device[BOOT_DEVICES - 1]; /* those that are not tried are at the end, as BOOT_NONE */
    bool listed; /* nothing was said: disks and CDs in the order of the command line */
    bool menu;
};

/* "disk,cdrom,floppy", each once or not at all, and "menu". NULL or "menu" alone: as listed. -EINVAL. */
int boot_order_parse(const char *text, struct boot_order *order, struct error *err);

/* The longest list: a path for every disk and diskette drive. */
#define BOOT_LIST_SIZE ((MACHINE_MAX_DISKS + MACHINE_MAX_FLOPPIES) * 80)

/* The devices' Open Firmware paths, one a line (fw_cfg's "bootorder"); returns the size with the final 0, or
 * 0 if there are none. */
size_t boot_order_list(const struct machine_config *config, const struct boot_order *order,
                       char list[BOOT_LIST_SIZE]);

#endif
