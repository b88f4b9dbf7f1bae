/*
 * A set of page numbers that is asked often and emptied often: emptying is one increment. It may say yes for
 * a number that was never added (its bucket has run over), never no for one that was.
 */
#ifndef RING3_CPU_PAGE_SET_H
#define RING3_CPU_PAGE_SET_H

#include "base/types.h"

#define PAGE_SET_BITS  10
#define PAGE_SET_WAYS  4
#define PAGE_SET_EPOCH 20 /* bits; numbers have 64 - PAGE_SET_EPOCH */

struct page_set_bucket {
    u64 key[PAGE_SET_WAYS]; /* number << PAGE_SET_EPOCH | epoch */
};

/* All zero is an empty set. */
struct page_set {
    u32 epoch; /* minus 1 */
    struct page_set_bucket bucket[1u << PAGE_SET_BITS];
    u32 overrun[1u << PAGE_SET_BITS]; /* the epoch in which the bucket has run over */
};

void page_set_clear(struct page_set *set);
void page_set_add(struct page_set *set, u64 number);
bool page_set_has(const struct page_set *set, u64 number);

#endif
