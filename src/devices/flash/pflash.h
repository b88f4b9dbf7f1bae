/*
 * A parallel NOR flash memory with the Intel command set (CFI primary command set 0001h), 8 bits wide, in
 * blocks of 4 KiB: where UEFI firmware and its variables are.
 *
 * While the array is read it is plain memory: the region is ROM whose writes come here. The first command
 * takes it out of the map until READ ARRAY puts it back, so that status and identification can be read.
 * Programming and erasing take no time.
 */
#ifndef RING3_DEVICES_FLASH_PFLASH_H
#define RING3_DEVICES_FLASH_PFLASH_H

#include "devices/device.h"

#define PFLASH_BLOCK      4096u
#define PFLASH_MAX_BLOCKS 4096u

struct pflash;

struct pflash_config {
    const char *name;
    u64 gpa;
    struct ram_block *block; /* borrowed: the contents; a multiple of PFLASH_BLOCK */
    u64 size;                /* what of the block is flash, the beginning */
    bool readonly;           /* every block is locked for good */
    u32 instance;            /* of the saved state */
    /* The contents of [offset, offset + len) have changed: called when the guest goes back to reading, and
     * at a reset. May be NULL. */
    void (*changed)(void *opaque, u64 offset, u64 len);
    void *opaque;
};

int pflash_create(struct pflash **out, const struct device_env *env, const struct pflash_config *config,
                  struct error *err);
void pflash_destroy(struct pflash *flash);
/* RP#: reads the array, blocks unlocked. */
void pflash_reset(struct pflash *flash);

#endif
