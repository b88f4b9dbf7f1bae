/* What the fuzzers of formats that are only read have in common: every byte of the disk, within bounds. */
#ifndef RING3_FUZZ_BLOCK_READ_H
#define RING3_FUZZ_BLOCK_READ_H

#include "tests/block/mem_store.h"
#include "block/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void image_read(struct block *b)
{
    static u8 buf[70000];
    struct error err = {0};
    for (u64 at = 0, n = 0; at < b->size && n < 64; n++) {
        struct block_extent e;
        u64 len = MIN(sizeof buf, b->size - at);
        struct iovec iov[3] = {{buf, len / 3}, {buf + len / 3, 0}, {buf + len / 3, len - len / 3}};
        if (block_readv(b, at, iov, 3, len, &err) < 0 && !err.message[0])
            abort();
        if (block_map_chain(b, at, b->size - at, &e, &err) < 0)
            at += len;
        else if (!e.length || e.length > b->size - at)
            abort();
        else
            at += e.length;
    }
}

static inline int image_fuzz(const char *format, const uint8_t *data, size_t size)
{
    struct block_options options = {.format = format, .readonly = true, .no_backing = true};
    struct error err = {0};
    struct block *b;
    if (size > MIB(1))
        return 0;
    struct mem_store *m = mem_store_create(data, size);
    if (block_open_store(&b, &m->store, "/nowhere/image", &options, &err) < 0) {
        if (!err.message[0])
            abort();
        return 0;
    }
    image_read(b);
    block_close(b, &err);
    return 0;
}

#endif
