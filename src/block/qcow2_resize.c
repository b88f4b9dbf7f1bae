/* Creating images, and changing their size. */
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

/* --- the L1 table's size --- */

static int l1_grow(struct qcow2 *q, u64 count, struct error *err)
{
    u64 bytes = ALIGN_UP(count * 8, q->cluster_size), offset, old_offset = q->l1.offset,
        old_count = q->l1.count;
    u8 header[12];
    if (count <= old_count)
        return 0;
    if (count * 8 > MAX_L1_BYTES)
        return error_set(err, EFBIG, "%s: a disk of this size needs larger clusters (now %llu bytes)",
                         q->block->path, (unsigned long long)q->cluster_size);
    u64 *entries = calloc(bytes, 1);
    if (!entries)
        return error_set(err, ENOMEM, "%s: no memory for its L1 table", q->block->path);
    int r = qcow2_alloc(q, bytes >> q->cluster_bits, &offset, err);
    if (r == 0)
        r = qcow2_commit(q, err);
    if (r < 0) {
        free(entries);
        return r;
    }
    memcpy(entries, q->l1.entries, old_count * 8);
    store_be32(header, (u32)count);
    store_be64(header + 4, offset);
    r = qcow2_write_entries(q, offset, entries, bytes / 8, err);
    if (r == 0)
        r = qcow2_write_header(q, H_L1_SIZE, header, sizeof header, err);
    if (r < 0) {
        q->broken = true;
        free(entries);
        return r;
    }
    free(q->l1.entries);
    q->l1 = (struct big_table){.entries = entries, .count = count, .offset = offset};
    r = qcow2_meta_mark(q, offset, bytes, true, err);
    return r < 0 || !old_count ? r : qcow2_free_now(q, old_offset, old_count * 8, err);
}

static int size_set(struct qcow2 *q, u64 size, struct error *err)
{
    u8 bytes[8];
    store_be64(bytes, size);
    int r = qcow2_sync(q, err);
    if (r == 0)
        r = qcow2_write_header(q, H_SIZE, bytes, sizeof bytes, err);
    if (r == 0)
        q->block->size = size;
    return r;
}

/* What is behind the end is removed, so that it reads as zeroes if the disk grows again. */
static int shrink(struct qcow2 *q, u64 size, struct error *err)
{
    u64 old = q->block->size;
    int r = q->block->ops->write_zeroes(q->block, size, old - size, err);
    return r < 0 ? r : size_set(q, size, err);
}

static int grow(struct qcow2 *q, u64 size, struct error *err)
{
    u64 old = q->block->size, span = q->cluster_size << q->l2_bits;
    struct block *backing = q->block->backing;
    int r = l1_grow(q, size / span + !!(size % span), err);
    if (r < 0)
        return r;
    if (!backing && q->block->backing_name)
        return error_set(err, ENOENT, "%s: its backing file is not open", q->block->path);
    /* Where a longer backing file would show through: before the new size is durable. */
    if (backing && backing->size > old) {
        u64 end = MIN(size, backing->size);
        q->block->size = size;
        r = q->block->ops->write_zeroes(q->block, old, end - old, err);
        q->block->size = old;
    }
    return r < 0 ? r : size_set(q, size, err);
}

int qcow2_resize(struct block *b, u64 size, struct error *err)
{
    struct qcow2 *q = b->impl;
    if (size > (u64)INT64_MAX - q->cluster_size)
        return error_set(err, EFBIG, "%s: a disk of %llu bytes is not possible", b->path,
                         (unsigned long long)size);
    if (q->snapshot_count && (q->version < 3 || size < b->size))
        return error_set(err, ENOTSUP, "%s has snapshots, so its disk cannot %s; delete them first", b->path,
                         q->version < 3 ? "change its size (version 2)" : "shrink");
    if (size == b->size)
        return 0;
    return size < b->size ? shrink(q, size, err) : grow(q, size, err);
}

/* --- creation --- */

/* The feature names that a v3 header carries, so that others can say what they lack. */
static const struct {
    u8 type, bit;
    const char *name;
} feature_names[] = {
    {0, 0, "dirty bit"},        {0, 1, "corrupt bit"},         {0, 2, "external data file"},
    {0, 3, "compression type"}, {0, 4, "extended L2 entries"}, {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},          {2, 1, "raw external data"},
};

static u8 *extension_put(u8 *at, u32 type, const void *bytes, size_t len)
{
    store_be32(at, type);
    store_be32(at + 4, (u32)len);
    memcpy(at + 8, bytes, len);
    return at + 8 + ALIGN_UP(len, 8);
}

/* Fills the first cluster; false if the names do not fit. */
static bool header_fill(u8 *h, const struct qcow2_create_options *o, unsigned bits, unsigned order)
{
    u64 cluster = BIT(bits);
    unsigned length = o->version == 2 ? 72 : 112;
    u8 names[ARRAY_LEN(feature_names) * 48] = {0}, *at = h + length;
    size_t format = o->backing_format ? strlen(o->backing_format) : 0,
           backing = o->backing ? strlen(o->backing) : 0;

    store_be32(h, QCOW2_MAGIC);
    store_be32(h + 4, o->version);
    store_be32(h + 20, bits);
    store_be64(h + H_RT_OFFSET, cluster);
    store_be32(h + H_RT_CLUSTERS, 1);
    if (o->version >= 3) {
        store_be64(h + H_INCOMPATIBLE, o->zstd ? INCOMPAT_COMPRESSION : 0);
        store_be64(h + 80, o->lazy_refcounts ? COMPAT_LAZY : 0);
        store_be32(h + 96, order);
        store_be32(h + 100, length);
        h[104] = o->zstd;
    }
    if (length + 8 + ALIGN_UP(format, 8) + 8 + backing > cluster || backing > MAX_BACKING_NAME)
        return false;
    if (format)
        at = extension_put(at, 0xe2792aca, o->backing_format, format);
    if (o->version >= 3 && (size_t)(at - h) + 8 + sizeof names + 8 + backing <= cluster) {
        for (size_t i = 0; i < ARRAY_LEN(feature_names); i++) {
            names[i * 48] = feature_names[i].type;
            names[i * 48 + 1] = feature_names[i].bit;
            memcpy(&names[i * 48 + 2], feature_names[i].name, strlen(feature_names[i].name));
        }
        at = extension_put(at, 0x6803f857, names, sizeof names);
    }
    at += 8; /* the end */
    if (backing) {
        store_be64(h + 8, (u64)(at - h));
        store_be32(h + 16, (u32)backing);
        memcpy(at, o->backing, backing);
    }
    return true;
}

static int options_check(struct qcow2_create_options *o, const char *name, struct error *err)
{
    o->version = o->version ? o->version : 3;
    o->cluster_bits = o->cluster_bits ? o->cluster_bits : 16;
    o->refcount_bits = o->refcount_bits ? o->refcount_bits : 16;
    if (o->version < 2 || o->version > 3)
        return error_set(err, EINVAL, "%s: qcow2 has versions 2 and 3", name);
    if (o->cluster_bits < 9 || o->cluster_bits > 21)
        return error_set(err, EINVAL, "%s: a cluster is 512 bytes to 2 MiB", name);
    if (o->refcount_bits > 64 || o->refcount_bits & (o->refcount_bits - 1))
        return error_set(err, EINVAL, "%s: a refcount has 1, 2, 4, 8, 16, 32 or 64 bits", name);
    if (o->version == 2 && (o->refcount_bits != 16 || o->lazy_refcounts || o->zstd))
        return error_set(err, EINVAL, "%s: version 2 has 16-bit refcounts, deflate and no lazy refcounts",
                         name);
    if (o->backing && o->preallocation != PREALLOCATE_OFF && o->version == 2)
        return error_set(err, EINVAL, "%s: an image of version 2 with a backing file cannot be preallocated",
                         name);
    if (o->backing && o->preallocation != PREALLOCATE_OFF)
        return error_set(err, EINVAL, "%s: an image with a backing file cannot be preallocated", name);
    return 0;
}

/* Gives every cluster of the disk a place. */
static int preallocate(struct qcow2 *q, enum preallocation mode, struct error *err)
{
    u64 guest = 0, span = q->cluster_size << q->l2_bits, end = 0;
    int r = 0;
    while (guest < q->block->size && r == 0) {
        u64 count = (MIN(span, q->block->size - guest) + q->cluster_size - 1) >> q->cluster_bits, host;
        struct table *t;
        r = qcow2_l2_for_write(q, guest, &t, err);
        if (r == 0)
            r = qcow2_alloc(q, count, &host, err);
        if (r == 0)
            r = qcow2_l2_for_write(q, guest, &t, err);
        if (r == 0 && mode == PREALLOCATE_FALLOC && q->store->ops->reserve)
            r = q->store->ops->reserve(q->store, host, count << q->cluster_bits, err);
        if (r == 0 && mode == PREALLOCATE_FULL) {
            static const u8 zeroes[65536];
            for (u64 i = 0; i < count << q->cluster_bits && r == 0; i += MIN(sizeof zeroes, q->cluster_size))
                r = qcow2_write(q, host + i, zeroes, MIN(sizeof zeroes, q->cluster_size), err);
        }
        for (u64 i = 0; i < count && r == 0; i++) {
            store_be64(t->data + i * 8, (host + (i << q->cluster_bits)) | L_COPIED);
            t->dirty = true;
        }
        guest += span;
        end = r == 0 ? MAX(end, host + (count << q->cluster_bits)) : end;
    }
    u64 size = 0;
    if (r == 0)
        r = store_size(q->store, &size, err);
    if (r == 0 && size < end && !q->store->fixed_size)
        r = q->store->ops->truncate(q->store, end, err);
    return r;
}

static int skeleton_write(struct store *store, const struct qcow2_create_options *o, struct error *err)
{
    u64 cluster = BIT(o->cluster_bits);
    unsigned order = (unsigned)__builtin_ctz(o->refcount_bits);
    u8 *head = calloc(3, cluster);
    int r = 0;
    if (!head)
        return error_set(err, ENOMEM, "%s: no memory", store->name);
    if (!header_fill(head, o, o->cluster_bits, order))
        r = error_set(err, ENAMETOOLONG, "%s: the name of the backing file does not fit into the header",
                      store->name);
    store_be64(head + cluster, 2 * cluster);
    for (u64 i = 0; i < 3; i++)
        refcount_store(head + 2 * cluster, order, i, 1);
    if (r == 0)
        r = store_write(store, 0, head, 3 * cluster, err);
    free(head);
    return r;
}

/* `store` as a block that does not own it. */
struct borrowed {
    struct store store;
    struct store *real;
};
static struct store *real_of(struct store *s)
{
    return container_of(s, struct borrowed, store)->real;
}
static int borrowed_read(struct store *s, u64 offset, void *buf, size_t len, struct error *err)
{
    return store_read(real_of(s), offset, buf, len, err);
}
static int borrowed_write(struct store *s, u64 offset, const void *buf, size_t len, struct error *err)
{
    return store_write(real_of(s), offset, buf, len, err);
}
static int borrowed_flush(struct store *s, struct error *err)
{
    return store_flush(real_of(s), err);
}
static int borrowed_size(struct store *s, u64 *out, struct error *err)
{
    return store_size(real_of(s), out, err);
}
static int borrowed_truncate(struct store *s, u64 size, struct error *err)
{
    return real_of(s)->ops->truncate(real_of(s), size, err);
}
static int borrowed_reserve(struct store *s, u64 offset, u64 len, struct error *err)
{
    struct store *real = real_of(s);
    return real->ops->reserve ? real->ops->reserve(real, offset, len, err) : 0;
}
static void borrowed_close(struct store *s)
{
    (void)s;
}
static const struct store_ops borrowed_ops = {
    .read = borrowed_read,
    .write = borrowed_write,
    .flush = borrowed_flush,
    .size = borrowed_size,
    .truncate = borrowed_truncate,
    .reserve = borrowed_reserve,
    .close = borrowed_close,
};

int qcow2_create(struct store *store, const struct qcow2_create_options *options, struct error *err)
{
    struct qcow2_create_options o = *options;
    struct borrowed borrowed = {.store = *store, .real = store};
    struct block_options open = {.format = "qcow2", .no_backing = true};
    struct block *b;
    int r = options_check(&o, store->name, err);
    if (r == 0)
        r = skeleton_write(store, &o, err);
    if (r < 0)
        return r;
    borrowed.store.ops = &borrowed_ops;
    r = block_open_store(&b, &borrowed.store, store->name, &open, err);
    if (r < 0)
        return r;
    u64 span = BIT(o.cluster_bits) << (o.cluster_bits - 3);
    struct qcow2 *q = b->impl;
    if (o.size > (u64)INT64_MAX - BIT(o.cluster_bits))
        r = error_set(err, EFBIG, "%s: a disk of %llu bytes is not possible", store->name,
                      (unsigned long long)o.size);
    if (r == 0)
        r = l1_grow(q, MAX(o.size / span + !!(o.size % span), 1), err);
    if (r == 0)
        r = size_set(q, o.size, err);
    if (r == 0 && o.preallocation != PREALLOCATE_OFF)
        r = preallocate(q, o.preallocation, err);
    int closed = block_close(b, r < 0 ? NULL : err);
    return r < 0 ? r : closed;
}
