#include "cpu/page_set.h"
#include <string.h>

static unsigned bucket_of(u64 number)
{
    return (unsigned)(number * 0x9e3779b97f4a7c15ull >> (64 - PAGE_SET_BITS));
}

/* Never 0, so that what is all zero is empty. */
static u64 epoch_of(const struct page_set *set)
{
    return set->epoch + 1ull;
}

void page_set_clear(struct page_set *set)
{
    if (epoch_of(set) == MASK(PAGE_SET_EPOCH))
        memset(set, 0, sizeof *set);
    else
        set->epoch++;
}

bool page_set_has(const struct page_set *set, u64 number)
{
    unsigned n = bucket_of(number);
    const struct page_set_bucket *b = &set->bucket[n];
    u64 key = number << PAGE_SET_EPOCH | epoch_of(set);
    for (unsigned i = 0; i < PAGE_SET_WAYS; i++)
        if (b->key[i] == key)
            return true;
    return set->overrun[n] == epoch_of(set);
}

void page_set_add(struct page_set *set, u64 number)
{
    unsigned n = bucket_of(number);
    struct page_set_bucket *b = &set->bucket[n];
    u64 epoch = epoch_of(set), key = number << PAGE_SET_EPOCH | epoch;
    unsigned room = PAGE_SET_WAYS;
    for (unsigned i = 0; i < PAGE_SET_WAYS; i++) {
        if (b->key[i] == key)
            return;
        if ((b->key[i] & MASK(PAGE_SET_EPOCH)) != epoch)
            room = i;
    }
    if (room == PAGE_SET_WAYS)
        set->overrun[n] = (u32)epoch;
    else
        b->key[room] = key;
}
