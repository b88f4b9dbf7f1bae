/*
 * What the vCPUs of a VM share: code memory, the tables of blocks, the pages that blocks were made from.
 *
 * Readers and writers. Tables change under `lock`. Looking a block up takes no lock: what is removed from a
 * table stays as it was until every vCPU has been seen outside translated code (and the dispatcher's use of
 * the tables) since: `epoch` counts removals, struct jit's `inside` says when a vCPU last began.
 *
 * Code memory is in regions that are filled in order, one at a time. While one is filled, the blocks of the
 * one that comes next are removed a few at a time (state SWEEPING), then the vCPUs are told to forget what
 * they have noted of it (DRAINING); when all have, it is empty. Nobody waits: a vCPU that finds no region
 * empty interprets.
 */
#ifndef RING3_ENGINE_JIT_CACHE_H
#define RING3_ENGINE_JIT_CACHE_H

#include <pthread.h>
#include "engine/jit/jit.h"

/* One guest page that has or had translations. Never freed while the VM runs. */
struct code_page {
    const u8 *hva;
    struct code_page *next;
    _Atomic(u8) *flags; /* its RAM_PAGE_... */
    struct block *blocks;
    _Atomic(u64) owners; /* bit per vCPU that may have noted a way into it */
    u64 lines;           /* bit per 64 bytes that blocks were made from, or more */
    u64 epoch;           /* counts the ends of being marked */
    /* Lines without code may be written to by translated code, which then does not report it (track_direct).
     * Some vCPU may be about to; how many vCPUs want none to; how often all had to be stopped for that. */
    bool direct;
    u32 held, stops;
    bool guarded; /* marked, and no TLB lets anyone write to it */
    /* Rewritten all the time: for how many more tries it is interpreted, and how many that were the last
     * time; when a block was dropped last (virtual time). */
    u32 resting, rest;
    u32 drops;  /* in a row, each soon after the one before, of blocks made since that one */
    bool fresh; /* there are such */
    u64 dropped_at;
};
#define PAGE_BUCKET_BITS 12

/* A linear page of code and where it leads: what far jumps expect. Its number is the index of the word in
 * v->engine_table that says in which context the vCPU has found it so. */
struct mapping {
    u64 lin;
    const u8 *page;
    u32 refs; /* blocks of it, and links that are aimed into it; 0: unused */
    u32 next; /* in its bucket, or among the unused */
    bool user;
};
#define MAPPING_BUCKET_BITS 12

enum region_state {
    REGION_EMPTY,
    REGION_OPEN, /* being filled */
    REGION_FULL,
    REGION_SWEEPING,
    REGION_DRAINING,
};
struct region {
    enum region_state state;
    size_t used, cold;  /* bytes; of the second part, where the blocks' tails are */
    u32 blocks, links;  /* of its share of the arrays */
    u32 swept;          /* SWEEPING: blocks that are gone */
    u64 epoch;          /* DRAINING: vCPUs inside since before hold it up */
    _Atomic(u32) found; /* blocks looked up in it since it was last considered for eviction */
    bool spared;        /* passed over then */
};
#define REGION_MAX 64

/* What was dropped lately, so that vCPUs can forget it one by one. */
#define DROP_LOG 256
struct dropped {
    u64 rip;
};

struct jit_vm {
    struct vm *vm;
    FILE *map;            /* --trace jitmap: symbols for perf(1), or NULL */
    pthread_mutex_t lock; /* innermost: nobody is waited for under it */
    /* Code memory. */
    int fd;
    u8 *rw, *rx;
    size_t size, head, region_size; /* head: the thunks */
    struct jit_thunks thunk;
    struct region region[REGION_MAX];
    unsigned region_count, open, victim;
    /* Blocks and links, an equal share a region. */
    struct block *block;
    struct link *link;
    u32 region_blocks, region_links;
    struct block **bucket;
    unsigned bucket_bits;
    struct code_page *page_bucket[1u << PAGE_BUCKET_BITS];
    struct mapping *mapping;
    u32 mapping_bucket[1u << MAPPING_BUCKET_BITS];
    u32 mapping_unused, mapping_count;
    _Atomic(u64) epoch;
    struct dropped dropped[DROP_LOG];
    u64 dropped_count;
    struct verifier *verifier; /* --trace jitcheck, once it is used */
    u64 verified, refused;
    /* Statistics. */
    u64 translated, insns, guest_bytes, host_bytes, chained, evicted, evicted_blocks, spared, no_room;
    u64 drops, writes, false_hits, guards, rests, direct;
    _Atomic(u64) sweeps;
};

/* link.c. [lock] */
void link_detach(struct link *link);                 /* its block goes */
void link_forget(struct link *link);                 /* its target goes */
void link_join(struct jit_vm *t, struct link *link); /* its block is new */
/* A reference to the number of a mapping, or 0. */
u32 mapping_get(struct jit_vm *t, u64 lin, const u8 *page, bool user);
void mapping_put(struct jit_vm *t, u32 index);

/* track.c: writes to what the block was made from drop it from now on. [lock] */
void track_block(struct code_page *page, const struct block *b);

/* A vCPU's part, NULL while it has none. */
static inline struct jit *cache_of(const struct jit_vm *t, unsigned cpu)
{
    return t->vm->cpu[cpu] ? t->vm->cpu[cpu]->engine : NULL;
}

/* cache.c: the vCPU is to call cache_take_pending. Any thread. */
void cache_tell(struct jit *j);

#endif
