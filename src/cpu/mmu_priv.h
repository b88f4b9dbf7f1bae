/* What mmu.c, tlb.c and walk.c share. */
#ifndef RING3_CPU_MMU_PRIV_H
#define RING3_CPU_MMU_PRIV_H

#include "cpu/exc.h"
#include "cpu/mmu.h"
#include "cpu/page_set.h"

#define PCID_COUNT          4096
#define TAG_MASK            0xfffu
#define WRITABLE_FILTER_LEN 1024
#define PAGE_CACHE_SIZE     512

#define UNPROTECTED_MAX 16

struct page_cache_entry {
    u64 page; /* guest-physical page address, ~0 if empty */
    struct mem_page mem;
};

/* A page that may be written to but for RAM_PAGE_CODE, as a TLB entry. */
#define CODE_WRITE_COUNT 8
struct code_write {
    u64 tag, addend;
    unsigned index;
};

/* A stretch of guest-physical memory that is one piece of one RAM block. */
struct ram_run {
    u64 start, size; /* size 0: none */
    u8 *hva;
    struct ram_block *block;
    u64 block_offset;
};

/*
 * Address-space tags. 0 is never a valid tag, so an all-zero TLB entry matches nothing. A PCID's tag is
 * current only if its epoch is; "flush all address spaces" is one increment. Tags are handed out upwards;
 * when they run out, the tables are really emptied.
 *
 * The TLB of MMU_KERNEL has a tag of its own for global pages, which stays when the address space changes:
 * with SMAP it has no user pages, and a kernel's own are global as a rule. When something else is filled
 * there, the address space's tag takes its place, until one address space has come and gone without.
 *
 * Global pages. An entry filled from a global translation also has global[slot] = global_epoch. After the tag
 * has changed, a miss re-tags such an entry instead of walking.
 *
 * Large pages. They are entered as 4 KiB fragments. `large` has the 2 MiB regions that may have fragments of
 * a page larger than 4 KiB, and the 1 GiB regions that may have fragments of a 1 GiB page (large_number).
 */
struct mmu {
    u32 tag_last; /* the last tag handed out */
    u32 epoch;    /* of pcid_epoch; never 0 */
    u32 pcid_epoch[PCID_COUNT];
    u16 pcid_tag[PCID_COUNT];
    u16 kernel_tag;     /* of global pages in the TLB of MMU_KERNEL */
    bool kernel_local;  /* ... which has the address space's tag now */
    bool kernel_filled; /* ... and got something that is not global since the last change of address space */
    /* Entries that a supervisor may write to by grace of CR0.WP = 0; more than fit: all that it may write to.
     */
    unsigned unprotected_count;
    struct tlb_entry *unprotected[UNPROTECTED_MAX];
    u32 global_epoch; /* never 0 */
    u32 global[MMU_INDEX_COUNT - 1][TLB_ENTRIES];
    struct page_set large;
    struct page_set code; /* pages that an engine remembers: INVLPG of others is not told */
    u64 a20;              /* mask of physical addresses */
    /* Pages of RAM, hashed by host address, that the TLB may have writable mappings of. Others read it. */
    u64 writable[WRITABLE_FILTER_LEN];
    struct code_write code_write[CODE_WRITE_COUNT]; /* by page */
    /* What is known of the memory map, until it changes: the largest RAM seen below and above 4 GiB, other
     * pages. */
    struct ram_run run[2];
    struct page_cache_entry page[PAGE_CACHE_SIZE];
    /* Reserved bits of an 8-byte entry by level, for tables [0] and large pages [1] (mmu_format_update). */
    u64 reserved[2][4];
};

/* What a walk found. */
struct walk {
    u64 gpa;   /* of the 4 KiB page that holds the linear address */
    u32 error; /* page-fault error code, if the walk failed */
    u8 large;  /* 0: 4 KiB, 1: 2 or 4 MiB, 2: 1 GiB */
    bool global;
    bool write_ready; /* writable with these rights, and D is set */
};

/*
 * Translates `lin` for an access with the rights of `index` (not MMU_USER_ALIGN). With `commit` A and D are
 * set; without, nothing changes and rights are not checked. False: w->error.
 */
bool mmu_walk(struct vcpu *v, u64 lin, enum mmu_access access, unsigned index, bool commit, struct walk *w);

/* Recomputes what walks derive from EFER, CR4 and the CPU model; mmu_flush_all calls it. */
void mmu_format_update(struct vcpu *v);

struct mem_page mmu_page_slow(struct vcpu *v, u64 gpa);

/* The page of guest-physical memory at `gpa`, A20 applied; cached. */
static inline struct mem_page mmu_page(struct vcpu *v, u64 gpa)
{
    gpa &= v->mmu->a20 & PAGE_MASK;
    const struct ram_run *run = &v->mmu->run[gpa >> 32 != 0];
    u64 at = gpa - run->start;
    if (likely(at < run->size))
        return (struct mem_page){MEM_RAM, run->hva + at, run->block, run->block_offset + at};
    return mmu_page_slow(v, gpa);
}

/* tlb.c */
/* A writable mapping of the RAM page may be made, or the page be written to, from now on: before its flags
 * are looked at. */
void tlb_note_writable(struct vcpu *v, const u8 *page);
void tlb_fill(struct vcpu *v, u64 lin, unsigned index, enum mmu_access access, const struct walk *w, u8 *hva,
              bool write_ok);
/* Re-tags a global entry for `lin`; true if something may have changed. */
bool tlb_promote(struct vcpu *v, u64 lin, unsigned index);

#endif
