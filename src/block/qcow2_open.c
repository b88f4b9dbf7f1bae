/* The header: what is in it is checked here, before anything believes it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

#define L2_CACHE_BYTES MIB(8)
#define RB_CACHE_BYTES MIB(4)

#define EXT_END            0x00000000u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURE_NAMES  0x6803f857u
#define EXT_BITMAPS        0x23852875u
#define EXT_DATA_FILE      0x44415441u

bool qcow2_probe(const u8 *head, size_t len)
{
    return len >= 8 && load_be32(head) == QCOW2_MAGIC && load_be32(head + 4) >= 2 && load_be32(head + 4) <= 3;
}

static int header_check_geometry(struct qcow2 *q, const u8 *h, struct error *err)
{
    const char *path = q->block->path;
    u32 order = q->version >= 3 ? load_be32(h + 96) : 4;
    u32 bits = load_be32(h + 20), crypt = load_be32(h + 32);

    if (bits < 9 || bits > 21)
        return error_set(err, EINVAL, "%s: clusters of 2^%u bytes; 512 bytes to 2 MiB are possible", path,
                         bits);
    if (crypt)
        return error_set(err, ENOTSUP, "%s is encrypted, which is not supported", path);
    if (order > 6)
        return error_set(err, EINVAL, "%s: refcounts of 2^%u bits; 1 to 64 bits are possible", path, order);
    q->cluster_bits = bits;
    q->cluster_size = BIT(bits);
    q->refcount_order = order;
    q->rb_bits = bits + 3 - order;
    q->header_length = q->version >= 3 ? load_be32(h + 100) : 72;
    if (q->header_length < (q->version >= 3 ? 104 : 72) || q->header_length > q->cluster_size ||
        q->header_length % 8)
        return error_set(err, EINVAL, "%s: a header of %u bytes is not possible", path, q->header_length);
    q->block->size = load_be64(h + H_SIZE);
    if (q->block->size > (u64)INT64_MAX - q->cluster_size)
        return error_set(err, EFBIG, "%s: a disk of %llu bytes is not possible", path,
                         (unsigned long long)q->block->size);
    return 0;
}

/* The name of an unknown feature, from the image's own table. */
static void feature_name(const u8 *table, u64 len, unsigned bit, char *name, size_t room)
{
    snprintf(name, room, "bit %u", bit);
    for (u64 i = 0; i + 48 <= len; i += 48)
        if (table[i] == 0 && table[i + 1] == bit && table[i + 2]) {
            snprintf(name, room, "'%.46s'", (const char *)table + i + 2);
            for (char *c = name; *c; c++)
                if (*c < ' ' || *c > '~')
                    *c = '?';
        }
}

static int header_check_features(struct qcow2 *q, const u8 *names, u64 names_len, bool inspect,
                                 struct error *err)
{
    const char *path = q->block->path;
    char name[64];
    u64 unknown = q->incompatible & ~(u64)(INCOMPAT_DIRTY | INCOMPAT_CORRUPT | INCOMPAT_COMPRESSION |
                                           INCOMPAT_DATA_FILE | INCOMPAT_EXTL2);

    if (q->incompatible & INCOMPAT_DATA_FILE && !q->block->readonly)
        return error_set(
            err, ENOTSUP,
            "%s keeps its data in another file (external data file), so it is only read: open it "
            "read-only or with snapshot=on, or convert it",
            path);
    if (q->incompatible & INCOMPAT_EXTL2 && !q->block->readonly)
        return error_set(err, ENOTSUP,
                         "%s has subclusters (extended L2 entries), so it is only read: open it read-only or "
                         "with snapshot=on, or convert it",
                         path);
    if (q->incompatible & INCOMPAT_DATA_FILE && !q->data_name)
        return error_set(err, EINVAL, "%s does not name the file that its data is in", path);
    if (q->incompatible & INCOMPAT_EXTL2 && q->cluster_bits < 14)
        return error_set(err, EINVAL, "%s: clusters of %llu bytes have no subclusters", path,
                         (unsigned long long)q->cluster_size);
    if (unknown) {
        feature_name(names, names_len, (unsigned)__builtin_ctzll(unknown), name, sizeof name);
        return error_set(err, ENOTSUP, "%s needs the qcow2 feature %s, which is not supported", path, name);
    }
    if (q->compression > 1)
        return error_set(err, ENOTSUP, "%s has clusters compressed by unknown method %u", path,
                         q->compression);
    if (q->incompatible & INCOMPAT_CORRUPT && !q->block->readonly && !inspect)
        return error_set(err, EIO,
                         "%s is marked corrupt; run 'ring3 image check --repair' first, or open it read-only",
                         path);
    return 0;
}

static char *text_dup(const u8 *bytes, u64 len)
{
    return strndup((const char *)bytes, len);
}

/* `head`: the first cluster. */
static int extensions_read(struct qcow2 *q, const u8 *head, u64 end, bool inspect, struct error *err)
{
    const u8 *names = NULL;
    u64 at = q->header_length, names_len = 0;
    while (at + 8 <= end) {
        u32 type = load_be32(head + at), len = load_be32(head + at + 4);
        at += 8;
        if (type == EXT_END)
            break;
        if (len > end - at)
            return error_set(err, EINVAL, "%s: header extension %#x is longer than the header",
                             q->block->path, type);
        if (type == EXT_BACKING_FORMAT && !q->block->backing_format)
            q->block->backing_format = text_dup(head + at, len);
        if (type == EXT_DATA_FILE && q->incompatible & INCOMPAT_DATA_FILE && !q->data_name)
            q->data_name = text_dup(head + at, len);
        if (type == EXT_FEATURE_NAMES) {
            names = head + at;
            names_len = len;
        }
        if (type == EXT_BITMAPS && len >= 24 && q->autoclear & AUTOCLEAR_BITMAPS) {
            q->has_bitmaps = true;
            q->bitmaps_count = load_be32(head + at);
            q->bitmaps_size = load_be64(head + at + 8);
            q->bitmaps_offset = load_be64(head + at + 16);
        }
        at += ALIGN_UP((u64)len, 8);
    }
    return header_check_features(q, names, names_len, inspect, err);
}

static int header_read(struct qcow2 *q, bool inspect, struct error *err)
{
    u8 h[112];
    int r = store_read(q->store, 0, h, sizeof h, err);
    if (r < 0)
        return r;
    q->version = load_be32(h + 4);
    if (load_be32(h) != QCOW2_MAGIC || q->version < 2 || q->version > 3)
        return error_set(err, EINVAL, "%s is no qcow2 image of version 2 or 3", q->block->path);
    r = header_check_geometry(q, h, err);
    if (r < 0)
        return r;
    if (q->version >= 3) {
        q->incompatible = load_be64(h + H_INCOMPATIBLE);
        q->compatible = load_be64(h + 80);
        q->autoclear = load_be64(h + H_AUTOCLEAR);
        if (q->header_length > 104 && q->incompatible & INCOMPAT_COMPRESSION)
            q->compression = h[104];
    }
    bool extended = q->incompatible & INCOMPAT_EXTL2;
    q->entry_shift = extended ? 4 : 3;
    q->l2_bits = q->cluster_bits - q->entry_shift;
    q->unit_bits = extended ? q->cluster_bits - SUBCLUSTER_BITS : q->cluster_bits;
    u64 name_at = load_be64(h + 8), end = q->cluster_size;
    u32 name_len = name_at ? load_be32(h + 16) : 0;
    if (name_len > MAX_BACKING_NAME || (name_len && (name_at < q->header_length || name_at > end - name_len)))
        return error_set(err, EINVAL, "%s: the name of its backing file is outside the header",
                         q->block->path);
    u8 *head = malloc(q->cluster_size);
    r = head ? store_read(q->store, 0, head, q->cluster_size, err) : -ENOMEM;
    if (r == 0 && name_len && !(q->block->backing_name = text_dup(head + name_at, name_len)))
        r = -ENOMEM;
    if (r == -ENOMEM)
        error_set(err, ENOMEM, "no memory to open %s", q->block->path);
    if (r == 0)
        r = extensions_read(q, head, name_len ? name_at : end, inspect, err);
    free(head);
    return r;
}

/* --- the tables that are held in memory --- */

static int big_table_read(struct qcow2 *q, struct big_table *t, const char *what, u64 offset, u64 count,
                          u64 max_bytes, struct error *err)
{
    u64 end;
    int r = store_size(q->store, &end, err);
    if (r < 0)
        return r;
    if (count * 8 > max_bytes)
        return error_set(err, EFBIG, "%s: its %s has %llu entries, more than the format allows",
                         q->block->path, what, (unsigned long long)count);
    if (count && (offset & (q->cluster_size - 1) || !offset || offset > end || count * 8 > end - offset))
        return qcow2_corrupt(q, err, "its %s at %#llx is misaligned or past the end of the file", what,
                             (unsigned long long)offset);
    t->entries = calloc(MAX(count, 1), 8);
    if (!t->entries)
        return error_set(err, ENOMEM, "no memory to open %s", q->block->path);
    t->count = count;
    t->offset = offset;
    return qcow2_read_entries(q, offset, t->entries, count, err);
}

static int meta_add(struct qcow2 *q, u64 offset, u64 len, u64 end, const char *what, bool lenient,
                    struct error *err)
{
    if (!len)
        return 0;
    if (offset & (q->cluster_size - 1) || offset >= end || len > ALIGN_UP(end, q->cluster_size) - offset)
        return lenient ? 0
                       : qcow2_corrupt(q, err, "%s at %#llx is misaligned or past the end of the file", what,
                                       (unsigned long long)offset);
    if (qcow2_meta_overlaps(q, offset, len) && !lenient)
        return qcow2_corrupt(q, err, "%s at %#llx overlaps other metadata", what, (unsigned long long)offset);
    return qcow2_meta_mark(q, offset, len, true, err);
}

static int meta_collect(struct qcow2 *q, bool lenient, struct error *err)
{
    u64 end;
    int r = store_size(q->store, &end, err);
    if (r == 0)
        r = meta_add(q, 0, q->cluster_size, end, "the header", lenient, err);
    if (r == 0)
        r = meta_add(q, q->rt.offset, q->rt.count * 8, end, "the refcount table", lenient, err);
    if (r == 0)
        r = meta_add(q, q->l1.offset, q->l1.count * 8, end, "the L1 table", lenient, err);
    if (r == 0)
        r = meta_add(q, q->snapshots_offset, q->snapshots_bytes, end, "the snapshot table", lenient, err);
    for (u64 i = 0; i < q->rt.count && r == 0; i++)
        if (q->rt.entries[i])
            r = meta_add(q, q->rt.entries[i], q->cluster_size, end, "a refcount block", lenient, err);
    for (u64 i = 0; i < q->l1.count && r == 0; i++)
        if (q->l1.entries[i] & L_OFFSET)
            r = meta_add(q, q->l1.entries[i] & L_OFFSET, q->cluster_size, end, "an L2 table", lenient, err);
    return r;
}

static int tables_read(struct qcow2 *q, struct error *err)
{
    u8 h[72];
    u64 span = q->cluster_size << q->l2_bits, needed = q->block->size / span + !!(q->block->size % span);
    int r = store_read(q->store, 0, h, sizeof h, err);
    if (r < 0)
        return r;
    u64 l1_size = load_be32(h + H_L1_SIZE), rt_clusters = load_be32(h + H_RT_CLUSTERS);
    if (needed > l1_size)
        return qcow2_corrupt(q, err, "its L1 table has %llu entries, but the disk needs %llu",
                             (unsigned long long)l1_size, (unsigned long long)needed);
    if (!rt_clusters)
        return qcow2_corrupt(q, err, "it has no refcount table");
    r = big_table_read(q, &q->rt, "refcount table", load_be64(h + H_RT_OFFSET),
                       rt_clusters * (q->cluster_size / 8), MAX_RT_BYTES, err);
    if (r == 0)
        r = big_table_read(q, &q->l1, "L1 table", load_be64(h + H_L1_OFFSET), l1_size, MAX_L1_BYTES, err);
    for (u64 i = 0; i < q->rt.count && r == 0; i++)
        q->rt.entries[i] &= ~511ull; /* reserved bits */
    q->snapshot_count = load_be32(h + H_NB_SNAPSHOTS);
    q->snapshots_offset = load_be64(h + H_SNAPSHOTS);
    return r < 0 ? r : qcow2_snapshots_load(q, err);
}

/* Only in the image's own directory: a hostile image must not show a guest other files of the host. */
static int data_open(struct qcow2 *q, bool unlocked, struct error *err)
{
    const char *path = q->block->path;
    q->data = q->store;
    if (!q->data_name)
        return 0;
    if (!*q->data_name || strchr(q->data_name, '/'))
        return error_set(
            err, EACCES,
            "%s keeps its data in '%.200s'; only a file in its own directory is read as a part of it", path,
            q->data_name);
    struct store *data;
    char *name = block_backing_path(path, q->data_name);
    int r = name ? store_open_file(&data, name, unlocked ? STORE_UNLOCKED : 0, err)
                 : error_set(err, ENOMEM, "no memory to open %s", path);
    free(name);
    if (r == 0)
        q->data = data;
    else
        error_prefix(err, "%s: its data file", path);
    return r;
}

/* An image that is opened for writing. */
static int writing_begin(struct qcow2 *q, struct error *err)
{
    int r = 0;
    if (q->incompatible & INCOMPAT_DIRTY) {
        struct qcow2_check check = {.repair = true};
        r = qcow2_check(q->block, &check, err);
        if (r == 0 && check.corruptions)
            r = qcow2_corrupt(q, err, "it was not closed in order, and %llu errors cannot be repaired",
                              (unsigned long long)check.corruptions);
    }
    if (r == 0 && q->autoclear) {
        u8 none[8] = {0};
        r = qcow2_write_header(q, H_AUTOCLEAR, none, sizeof none, err);
        q->autoclear = 0;
        q->has_bitmaps = false;
    }
    return r;
}

int qcow2_open(struct block *b, const struct block_options *options, struct error *err)
{
    struct qcow2 *q = calloc(1, sizeof *q);
    int r;
    if (!q)
        return error_set(err, ENOMEM, "no memory to open %s", b->path);
    b->impl = q;
    q->block = b;
    q->store = b->store;
    qcow2_claims_init(&q->claims);
    pthread_mutex_init(&q->flush_lock, NULL);
    pthread_mutex_init(&q->unpack_lock, NULL);
    q->data = b->store;
    r = header_read(q, options->inspect, err);
    if (r == 0)
        r = data_open(q, options->unlocked, err);
    if (r == 0)
        r = tables_read(q, err);
    if (r == 0)
        r = meta_collect(q, options->inspect, err);
    u64 budget = options->cache_bytes;
    if (r == 0 && (table_cache_init(&q->l2, q->cluster_size, budget ? budget : L2_CACHE_BYTES) < 0 ||
                   table_cache_init(&q->rb, q->cluster_size, budget ? budget : RB_CACHE_BYTES) < 0))
        r = error_set(err, ENOMEM, "no memory to open %s", b->path);
    if (r == 0)
        r = store_size(q->store, &q->file_end, err);
    if (q->store->fixed_size)
        q->file_end = ~0ull;
    if (r == 0 && !b->readonly && !options->inspect) {
        r = writing_begin(q, err);
        q->lazy = q->compatible & COMPAT_LAZY;
    }
    return r;
}

int qcow2_close(struct block *b, struct error *err)
{
    struct qcow2 *q = b->impl;
    int r = 0;
    if (!q)
        return 0;
    if (!b->readonly) {
        bool lazy = q->lazy;
        q->lazy = false;
        r = qcow2_sync(q, err);
        if (r == 0 && lazy && q->incompatible & INCOMPAT_DIRTY)
            r = qcow2_set_incompatible(q, q->incompatible & ~(u64)INCOMPAT_DIRTY, err);
    }
    if (q->data != q->store)
        store_close(q->data);
    free(q->data_name);
    qcow2_snapshots_finish(q);
    table_cache_finish(&q->l2);
    table_cache_finish(&q->rb);
    free(q->l1.entries);
    free(q->rt.entries);
    free(q->freed);
    free(q->meta);
    free(q->plain);
    free(q->packed);
    qcow2_claims_finish(&q->claims);
    pthread_mutex_destroy(&q->flush_lock);
    pthread_mutex_destroy(&q->unpack_lock);
    free(q);
    b->impl = NULL;
    return r;
}

bool qcow2_info_get(const struct block *block, struct qcow2_info *out)
{
    const struct qcow2 *q = block->impl;
    if (block->ops != &block_qcow2)
        return false;
    *out = (struct qcow2_info){
        .version = q->version,
        .refcount_bits = 1u << q->refcount_order,
        .cluster_size = q->cluster_size,
        .lazy_refcounts = q->compatible & COMPAT_LAZY,
        .dirty = q->incompatible & INCOMPAT_DIRTY,
        .corrupt = q->incompatible & INCOMPAT_CORRUPT,
        .zstd = q->compression == 1,
        .extended_l2 = q->incompatible & INCOMPAT_EXTL2,
        .data_file = q->data_name,
        .snapshot_count = q->snapshot_count,
    };
    return true;
}

#undef qcow2_corrupt
int qcow2_corrupt(const struct qcow2 *q, struct error *err, const char *fmt, ...)
{
    char what[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return error_set(err, EIO, "%s: the image is corrupt: %s", q->block->path, what);
}
