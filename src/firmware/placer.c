#include "firmware/placer.h"

void placer_init(struct placer *placer, const struct ram_layout *ram)
{
    placer->ram = ram;
    placer->count = 0;
}

bool placer_take(struct placer *placer, u64 start, u64 end)
{
    if (placer->count == PLACER_MAX)
        return false;
    placer->used[placer->count].start = start;
    placer->used[placer->count].end = end;
    placer->count++;
    return true;
}

bool placer_is_free(const struct placer *placer, u64 start, u64 size)
{
    if (!e820_is_ram(placer->ram, start, size))
        return false;
    for (unsigned i = 0; i < placer->count; i++) {
        if (start < placer->used[i].end && placer->used[i].start < start + size)
            return false;
    }
    return true;
}

/* Is [start, start + size) inside [min, max) and free? */
static bool fits(const struct placer *placer, u64 start, u64 size, u64 min, u64 max)
{
    return start >= min && start <= max && size <= max - start && placer_is_free(placer, start, size);
}

/* The highest candidate ends at `limit`. */
static bool try_below(const struct placer *placer, u64 limit, u64 size, u64 align, u64 min, u64 max,
                      u64 *best)
{
    limit = MIN(limit, max);
    if (limit < size)
        return false;
    u64 start = ALIGN_DOWN(limit - size, align);
    if (!fits(placer, start, size, min, max) || start < *best)
        return false;
    *best = start;
    return true;
}

bool placer_find_high(struct placer *placer, u64 size, u64 align, u64 min, u64 max, u64 *start)
{
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(placer->ram, map);
    u64 best = 0;
    bool found = false;
    size = MAX(size, 1u);
    for (unsigned i = 0; i < n; i++)
        found |= try_below(placer, map[i].addr + map[i].size, size, align, min, max, &best);
    for (unsigned i = 0; i < placer->count; i++)
        found |= try_below(placer, placer->used[i].start, size, align, min, max, &best);
    found |= try_below(placer, max, size, align, min, max, &best);
    if (!found || !placer_take(placer, best, best + size))
        return false;
    *start = best;
    return true;
}

/* The lowest candidate starts at `limit`. */
static bool try_above(const struct placer *placer, u64 limit, u64 size, u64 align, u64 min, u64 max,
                      u64 *best)
{
    limit = MAX(limit, min);
    u64 start = ALIGN_UP(limit, align);
    if (start < limit || !fits(placer, start, size, min, max) || start > *best)
        return false;
    *best = start;
    return true;
}

bool placer_find_low(struct placer *placer, u64 size, u64 align, u64 min, u64 max, u64 *start)
{
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(placer->ram, map);
    u64 best = ~0ull;
    bool found = false;
    size = MAX(size, 1u);
    for (unsigned i = 0; i < n; i++)
        found |= try_above(placer, map[i].addr, size, align, min, max, &best);
    for (unsigned i = 0; i < placer->count; i++)
        found |= try_above(placer, placer->used[i].end, size, align, min, max, &best);
    found |= try_above(placer, min, size, align, min, max, &best);
    if (!found || !placer_take(placer, best, best + size))
        return false;
    *start = best;
    return true;
}
