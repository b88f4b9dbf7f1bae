/* The translator's data of one VM: which pages have translations, and on which vCPUs. */
#ifndef RING3_ENGINE_JIT_TRACK_H
#define RING3_ENGINE_JIT_TRACK_H

#include <pthread.h>
#include "engine/jit/jit.h"

/* One guest page that has or had translations. */
struct code_page {
    const u8 *hva;
    struct code_page *next;
    _Atomic(u8) *flags; /* its RAM_PAGE_... */
    u64 owners;         /* bit per vCPU that may have blocks of it */
    u64 lines;          /* bit per 64 bytes that blocks were made from */
    u64 epoch;          /* counts the ends of being marked */
    bool guarded;       /* marked, and no TLB lets anyone write to it */
};

#define PAGE_BUCKET_BITS 12

struct jit_vm {
    struct vm *vm;
    FILE *map;            /* --trace jitmap: symbols for perf(1), or NULL */
    pthread_mutex_t lock; /* innermost: nothing is waited for under it */
    struct code_page *bucket[1u << PAGE_BUCKET_BITS];
};

#endif
