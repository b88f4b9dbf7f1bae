/* DMA remapping: from a function's address to guest-physical memory (3.4, 3.7, 9.1, 9.3, 9.8). */
#include "devices/iommu/vtd_impl.h"

#define ENTRY_PRESENT BIT(0)
#define TABLE_ADDRESS (MASK(PHYS_BITS) & PAGE_MASK)
/* Address bits that no memory has. */
#define ABOVE_MEMORY (~MASK(PHYS_BITS) & MASK(64))

/* A context entry's fields: the low quadword, then the high one. */
enum { CONTEXT_FAULTS_OFF = BIT(1), CONTEXT_LOW_RESERVED = 0xff0 };
enum { CONTEXT_WIDTH = 7, CONTEXT_TYPE_SHIFT = 2 };
enum { TYPE_TRANSLATE = 0, TYPE_PASS = 2 };
#define CONTEXT_HIGH_RESERVED 0xffffffffff000080ull

enum { PTE_READ = BIT(0), PTE_WRITE = BIT(1), PTE_LARGE = BIT(7), PTE_SNOOP = BIT(11) };

struct walk {
    struct vtd *vtd;
    u64 address;
    bool write;
    bool quiet; /* faults of this function are not to be reported */
    u64 gpa, left;
    enum vtd_reason reason;
};

static bool walk_fail(struct walk *w, enum vtd_reason reason)
{
    w->reason = reason;
    return false;
}

/* Finds the function's context entry: the two quadwords. */
static bool context_find(struct walk *w, u32 requester, u64 *low, u64 *high)
{
    struct mem_space *mem = w->vtd->mem;
    u64 at = (w->vtd->root & TABLE_ADDRESS) + 16 * (requester >> 8 & 0xff);
    u64 root = mem_read(mem, at, 8);
    if (!(root & ENTRY_PRESENT))
        return walk_fail(w, VTD_ROOT_NOT_PRESENT);
    if ((root & (0xffe | ABOVE_MEMORY)) || mem_read(mem, at + 8, 8))
        return walk_fail(w, VTD_ROOT_RESERVED);
    at = (root & TABLE_ADDRESS) + 16 * (requester & 0xff);
    *low = mem_read(mem, at, 8);
    *high = mem_read(mem, at + 8, 8);
    w->quiet = *low & CONTEXT_FAULTS_OFF;
    if (!(*low & ENTRY_PRESENT))
        return walk_fail(w, VTD_CONTEXT_NOT_PRESENT);
    if ((*low & (CONTEXT_LOW_RESERVED | ABOVE_MEMORY)) || (*high & CONTEXT_HIGH_RESERVED))
        return walk_fail(w, VTD_CONTEXT_RESERVED);
    return true;
}

/* Second-level paging: `levels` 3 or 4. */
static bool tables_walk(struct walk *w, u64 table, unsigned levels)
{
    enum vtd_reason denied = w->write ? VTD_NO_WRITE : VTD_NO_READ;
    unsigned need = w->write ? PTE_WRITE : PTE_READ;
    if (w->address >> (PAGE_SHIFT + 9 * levels))
        return walk_fail(w, VTD_ADDRESS_TOO_WIDE);
    for (unsigned level = levels;; level--) {
        unsigned shift = PAGE_SHIFT + 9 * (level - 1);
        u64 pte = mem_read(w->vtd->mem, (table & TABLE_ADDRESS) + 8 * (w->address >> shift & 511), 8);
        if (!(pte & need))
            return walk_fail(w, denied);
        bool large = level > 1 && (pte & PTE_LARGE);
        u64 reserved = (ABOVE_MEMORY & MASK(52)) | PTE_SNOOP;
        if (large)
            reserved |= level > 3 ? PTE_LARGE : MASK(shift) & PAGE_MASK;
        if (pte & reserved)
            return walk_fail(w, VTD_PTE_RESERVED);
        if (level == 1 || large) {
            u64 offset = w->address & MASK(shift);
            w->gpa = (pte & TABLE_ADDRESS & ~MASK(shift)) | offset;
            w->left = BIT(shift) - offset;
            return true;
        }
        table = pte;
    }
}

static bool address_walk(struct walk *w, u32 requester)
{
    u64 low, high;
    if (!context_find(w, requester, &low, &high))
        return false;
    unsigned width = high & CONTEXT_WIDTH; /* 1: 39 bits, 2: 48 bits */
    if (width != 1 && width != 2)
        return walk_fail(w, VTD_CONTEXT_INVALID);
    switch (low >> CONTEXT_TYPE_SHIFT & 3) {
    case TYPE_TRANSLATE:
        return tables_walk(w, low, 2 + width);
    case TYPE_PASS:
        w->gpa = w->address;
        w->left = ~w->address;
        return true;
    default:
        return walk_fail(w, VTD_CONTEXT_INVALID);
    }
}

u64 vtd_translate(void *opaque, u32 requester, u64 *address, u64 len, bool write)
{
    struct vtd *vtd = opaque;
    if (!(vtd_get32(vtd, VTD_GSTS) & VTD_REMAP_DMA))
        return len;
    struct walk w = {.vtd = vtd, .address = *address, .write = write};
    /* The range of interrupt messages is not translated (3.14); what a function writes there by DMA that is
     * no message of its MSI capability gets lost here. */
    if (*address >> 20 == LAPIC_BASE >> 20)
        return 0;
    if (!address_walk(&w, requester)) {
        struct vtd_fault fault = {.source = requester, .info = *address, .reason = w.reason, .read = !write};
        if (!w.quiet)
            vtd_fault_record(vtd, &fault);
        return 0;
    }
    *address = w.gpa;
    return MIN(len, w.left);
}
