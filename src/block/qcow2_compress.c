/*
 * Compressed clusters: raw deflate with a 4 KiB window, or zstd. They are packed byte after byte; the host
 * clusters that one touches each have a reference from it.
 */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "block/qcow2_impl.h"

#define DEFLATE_WINDOW_BITS (-12)

/* Bits x .. 61 of an L2 entry are the number of further sectors, below is the byte offset. */
static unsigned offset_bits(const struct qcow2 *q)
{
    return 62 - (q->cluster_bits - 8);
}

void qcow2_packed_range(const struct qcow2 *q, u64 entry, u64 *offset, u64 *len)
{
    unsigned x = offset_bits(q);
    *offset = entry & MASK(x);
    *len = (((entry >> x) & MASK(q->cluster_bits - 8)) + 1) * SECTOR_SIZE - (*offset & (SECTOR_SIZE - 1));
}

static bool inflate_cluster(u8 *to, u64 room, u8 *from, u64 len)
{
    z_stream z = {.next_in = from, .avail_in = (uInt)len, .next_out = to, .avail_out = (uInt)room};
    if (inflateInit2(&z, DEFLATE_WINDOW_BITS) != Z_OK)
        return false;
    int r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    /* Behind the end may be other clusters' bytes. */
    return (r == Z_STREAM_END || r == Z_BUF_ERROR) && z.avail_out == 0;
}

static bool zstd_unpack_cluster(u8 *to, u64 room, const u8 *from, u64 len)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer in = {from, len, 0};
    ZSTD_outBuffer out = {to, room, 0};
    bool good = context != NULL;
    while (good && out.pos < room) {
        size_t before = in.pos + out.pos, r = ZSTD_decompressStream(context, &out, &in);
        good = !ZSTD_isError(r) && in.pos + out.pos > before;
    }
    ZSTD_freeDCtx(context);
    return good;
}

static int unpack_locked(struct qcow2 *q, u64 entry, struct error *err)
{
    u64 offset, len, end;
    qcow2_packed_range(q, entry, &offset, &len);
    q->plain_entry = 0;
    if (!q->plain)
        q->plain = malloc(q->cluster_size);
    if (!q->packed)
        q->packed = malloc(2 * q->cluster_size); /* as much as an entry can say */
    if (!q->plain || !q->packed)
        return error_set(err, ENOMEM, "%s: no memory", q->block->path);
    int r = store_size(q->store, &end, err);
    if (r < 0)
        return r;
    if (offset >= end)
        return qcow2_corrupt(q, err, "a compressed cluster at %#llx is past the end of the file",
                             (unsigned long long)offset);
    r = store_read(q->store, offset, q->packed, len, err);
    if (r < 0)
        return r;
    bool good = q->compression ? zstd_unpack_cluster(q->plain, q->cluster_size, q->packed, len)
                               : inflate_cluster(q->plain, q->cluster_size, q->packed, len);
    if (!good)
        return qcow2_corrupt(q, err, "the compressed cluster at %#llx cannot be decompressed",
                             (unsigned long long)offset);
    q->plain_entry = entry;
    return 0;
}

int qcow2_unpack(struct qcow2 *q, u64 entry, u64 skip, struct vector *to, u64 len, struct error *err)
{
    pthread_mutex_lock(&q->unpack_lock);
    int r = q->plain_entry == entry && entry ? 0 : unpack_locked(q, entry, err);
    if (r == 0)
        vector_fill(to, q->plain + skip, len);
    pthread_mutex_unlock(&q->unpack_lock);
    return r;
}

void qcow2_unpacked_forget(struct qcow2 *q)
{
    pthread_mutex_lock(&q->unpack_lock);
    q->plain_entry = 0;
    pthread_mutex_unlock(&q->unpack_lock);
}

/* The compressed size, 0 if it is no smaller. */
static u64 pack(struct qcow2 *q, const u8 *plain, u8 *packed)
{
    u64 room = q->cluster_size - 1;
    if (q->compression) {
        size_t n = ZSTD_compress(packed, room, plain, q->cluster_size, ZSTD_CLEVEL_DEFAULT);
        return ZSTD_isError(n) ? 0 : n;
    }
    z_stream z = {0};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, DEFLATE_WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return 0;
    z.next_in = (u8 *)plain;
    z.avail_in = (uInt)q->cluster_size;
    z.next_out = packed;
    z.avail_out = (uInt)room;
    int r = deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return r == Z_STREAM_END ? room - z.avail_out : 0;
}

/*
 * Room for `len` bytes: behind the last compressed cluster if it ends there, or goes on into a cluster that
 * happens to be free next; else in a new cluster. `len` is smaller than a cluster.
 */
static int packed_alloc(struct qcow2 *q, u64 len, u64 *offset, struct error *err)
{
    u64 at = q->packed_at, left = at ? ALIGN_UP(at, q->cluster_size) - at : 0, fresh;
    int r;
    if (at && left >= len) {
        r = qcow2_refcount_add(q, at >> q->cluster_bits, 1, NULL, NULL);
        if (r == 0)
            goto found;
    }
    r = qcow2_alloc(q, 1, &fresh, err);
    if (r < 0)
        return r;
    if (!at || left >= len || !left || fresh != at + left ||
        qcow2_refcount_add(q, at >> q->cluster_bits, 1, NULL, NULL) < 0)
        at = fresh;
found:
    *offset = at;
    q->packed_at = (at + len) & (q->cluster_size - 1) ? at + len : 0;
    return 0;
}

/* With the cluster claimed, and with the lock, which is given up while bytes are transferred. */
static int write_packed(struct qcow2 *q, u64 guest, const u8 *packed, u64 len, struct error *err)
{
    struct table *t;
    unsigned x = offset_bits(q);
    u64 offset = 0, index = (guest >> q->cluster_bits) & MASK(q->l2_bits);
    int r = qcow2_can_write(q, err);
    if (r == 0)
        r = qcow2_l2_for_write(q, guest, &t, err);
    if (r == 0)
        r = packed_alloc(q, len, &offset, err);
    if (r < 0)
        return r;
    u64 sectors = ((offset + len - 1) / SECTOR_SIZE) - offset / SECTOR_SIZE;
    if (offset + len > BIT(x) - 1 || qcow2_meta_overlaps(q, offset, len))
        return error_set(err, EFBIG, "%s: no place for a compressed cluster", q->block->path);
    pthread_mutex_unlock(&q->block->lock);
    r = qcow2_write(q, offset, packed, len, err);
    pthread_mutex_lock(&q->block->lock);
    if (r == 0)
        r = qcow2_l2_for_write(q, guest, &t, err);
    if (r == 0)
        r = qcow2_entry_free(q, load_be64(t->data + index * 8), err);
    if (r == 0) {
        store_be64(t->data + index * 8, L_COMPRESSED | sectors << x | offset);
        t->dirty = true;
    }
    return r;
}

int qcow2_write_compressed(struct block *b, u64 offset, const void *buf, size_t len, struct error *err)
{
    struct qcow2 *q = b->impl;
    struct block_claim claim;
    if (b->ops != &block_qcow2)
        return error_set(err, ENOTSUP, "%s: a %s image cannot be compressed", b->path, b->ops->name);
    if (b->readonly || offset & (q->cluster_size - 1) || offset >= b->size ||
        len != MIN(q->cluster_size, b->size - offset))
        return error_set(err, EINVAL, "%s: only whole clusters can be compressed", b->path);
    u8 *whole = calloc(2, q->cluster_size);
    if (!whole)
        return error_set(err, ENOMEM, "%s: no memory", b->path);
    memcpy(whole, buf, len);
    u64 size = pack(q, whole, whole + q->cluster_size);
    int r = 0;
    if (size) {
        qcow2_claim_clusters(q, &claim, offset, len);
        pthread_mutex_lock(&b->lock);
        r = write_packed(q, offset, whole + q->cluster_size, size, err);
        pthread_mutex_unlock(&b->lock);
        qcow2_release(q, &claim);
    }
    free(whole);
    return size ? r : block_write(b, offset, buf, len, err);
}
