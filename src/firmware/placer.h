/* Finds room in guest RAM for what a loader puts there: the kernel, initrds, boot information. */
#ifndef RING3_FIRMWARE_PLACER_H
#define RING3_FIRMWARE_PLACER_H

#include "firmware/layout.h"

#define PLACER_MAX 80

struct placer {
    const struct ram_layout *ram;
    struct {
        u64 start, end;
    } used[PLACER_MAX];
    unsigned count;
};

void placer_init(struct placer *placer, const struct ram_layout *ram);

/* Marks [start, end) as taken, whatever is there; false if the list is full. */
bool placer_take(struct placer *placer, u64 start, u64 end) MUST_CHECK;

/* Is [start, start + size) usable RAM that nobody has taken? */
bool placer_is_free(const struct placer *placer, u64 start, u64 size);

/* Takes `size` bytes (0 counts as 1) at a multiple of `align` (a power of two) inside [min, max): as high, or
 * as low, as possible. False: no room. */
bool placer_find_high(struct placer *placer, u64 size, u64 align, u64 min, u64 max, u64 *start) MUST_CHECK;
bool placer_find_low(struct placer *placer, u64 size, u64 align, u64 min, u64 max, u64 *start) MUST_CHECK;

#endif
