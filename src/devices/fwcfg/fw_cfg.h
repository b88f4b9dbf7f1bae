/*
 * The firmware configuration device, as QEMU's (docs/specs/fw_cfg): selector at port 510h, data at 511h, a
 * DMA interface at 514h. Firmware and bare-metal images read from it what the machine has. Items are
 * read-only.
 */
#ifndef RING3_DEVICES_FW_CFG_H
#define RING3_DEVICES_FW_CFG_H

#include "devices/device.h"

#define FW_CFG_BASE      0x510
#define FW_CFG_MAX_FILES 32
#define FW_CFG_NAME_MAX  55

/* Keys of the legacy items. */
enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00, /* "QEMU" */
    FW_CFG_ID = 0x01,        /* bit 0: this interface, bit 1: DMA */
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,  /* u64 */
    FW_CFG_NOGRAPHIC = 0x04, /* u16 */
    FW_CFG_NB_CPUS = 0x05,   /* u16 */
    FW_CFG_BOOT_MENU = 0x0e, /* u16 */
    FW_CFG_MAX_CPUS = 0x0f,  /* u16: highest APIC ID + 1 */
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
};

struct fw_cfg;

int fw_cfg_create(struct fw_cfg **out, const struct device_env *env, struct error *err);
void fw_cfg_destroy(struct fw_cfg *dev);
void fw_cfg_reset(struct fw_cfg *dev);

/* [lock] Sets an item's contents (copied); -ENOMEM, -ENOSPC. A file's name is at most FW_CFG_NAME_MAX bytes.
 */
int fw_cfg_set(struct fw_cfg *dev, u16 key, const void *data, u32 size);
int fw_cfg_set_int(struct fw_cfg *dev, u16 key, u64 value, unsigned size);
int fw_cfg_add_file(struct fw_cfg *dev, const char *name, const void *data, u32 size);
/* The key of a file; 0: there is none. */
u16 fw_cfg_find_file(const struct fw_cfg *dev, const char *name);
/* [lock] Told before an item is read from its start on, so that contents can follow the machine: the size
 * must stay. */
void fw_cfg_on_select(struct fw_cfg *dev, void (*selected)(void *opaque, u16 key), void *opaque);

#endif
