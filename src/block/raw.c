/* Raw images: the guest's sector n is the file's sector n. */
#include <string.h>

#include "block/block.h"

static int raw_open(struct block *b, const struct block_options *options, struct error *err)
{
    (void)options;
    return store_size(b->store, &b->size, err);
}

static int raw_read(struct block *b, u64 offset, struct vector *to, size_t len, struct error *err)
{
    return store_readv(b->store, offset, to, len, err);
}

/*
 * A guest that writes an image header into its first sector would have its disk opened as that format next
 * time, with whatever backing file the header names. Only where the format was guessed: who says `raw` means
 * it.
 */
static int check_masquerade(struct block *b, u64 offset, const struct vector *from, size_t len,
                            struct error *err)
{
    struct vector at = *from;
    u8 head[SECTOR_SIZE];
    if (!b->probed || offset >= sizeof head)
        return 0;
    int r = store_read(b->store, 0, head, sizeof head, err);
    if (r < 0)
        return r;
    vector_take(&at, head + offset, MIN(len, sizeof head - (size_t)offset));
    for (const struct block_ops *const *f = block_formats; *f; f++)
        if ((*f)->probe && (*f)->probe(head, sizeof head))
            return error_set(
                err, EPERM,
                "%s: its format was guessed to be raw, so a %s header is not written to its first "
                "sector; give the format to allow that",
                b->path, (*f)->name);
    return 0;
}

static int raw_write(struct block *b, u64 offset, struct vector *from, size_t len, struct error *err)
{
    int r = check_masquerade(b, offset, from, len, err);
    return r < 0 ? r : store_writev(b->store, offset, from, len, err);
}

static int raw_write_zeroes(struct block *b, u64 offset, u64 len, struct error *err)
{
    return store_zero(b->store, offset, len, err);
}

static int raw_discard(struct block *b, u64 offset, u64 len, struct error *err)
{
    (void)err;
    if (b->store->ops->punch)
        b->store->ops->punch(b->store, offset, len);
    return 0;
}

static int raw_flush(struct block *b, struct error *err)
{
    return store_flush(b->store, err);
}

static int raw_resize(struct block *b, u64 size, struct error *err)
{
    int r = b->store->ops->truncate(b->store, size, err);
    if (r == 0)
        b->size = size;
    return r;
}

static int raw_map(struct block *b, u64 offset, u64 len, struct block_extent *out, struct error *err)
{
    bool data = true;
    u64 n = len;
    (void)err;
    if (b->store->ops->extent)
        b->store->ops->extent(b->store, offset, &n, &data);
    *out = (struct block_extent){.status = data ? BLOCK_DATA : BLOCK_ZERO,
                                 .length = MIN(n, len),
                                 .has_host_offset = data,
                                 .host_offset = offset};
    return 0;
}

static bool raw_direct_begin(struct block *b, enum block_request_kind kind, u64 offset, u64 len,
                             struct block_direct *out)
{
    (void)len;
    if (kind == BLOCK_WRITE && b->probed && offset < SECTOR_SIZE)
        return false;
    out->store = b->store;
    out->offset = offset;
    return true;
}

static int raw_close(struct block *b, struct error *err)
{
    return b->readonly ? 0 : store_flush(b->store, err);
}

const struct block_ops block_raw = {
    .name = "raw",
    .open = raw_open,
    .read = raw_read,
    .write = raw_write,
    .write_zeroes = raw_write_zeroes,
    .discard = raw_discard,
    .flush = raw_flush,
    .resize = raw_resize,
    .map = raw_map,
    .direct_begin = raw_direct_begin,
    .close = raw_close,
};
