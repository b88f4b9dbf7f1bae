/* Refcounts, and the allocation of clusters. */
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

u64 qcow2_refcount_max(const struct qcow2 *q)
{
    return MASK(1u << q->refcount_order);
}

/* Entries of less than a byte: the lower index is in the lower bits. */
u64 refcount_load(const u8 *block, unsigned order, u64 index)
{
    u16 v16;
    switch (order) {
    case 0:
    case 1:
    case 2: {
        unsigned bits = 1u << order, shift = (unsigned)((index << order) & 7);
        return (block[(index << order) >> 3] >> shift) & MASK(bits);
    }
    case 3:
        return block[index];
    case 4:
        memcpy(&v16, block + index * 2, 2);
        return __builtin_bswap16(v16);
    case 5:
        return load_be32(block + index * 4);
    default:
        return load_be64(block + index * 8);
    }
}

void refcount_store(u8 *block, unsigned order, u64 index, u64 value)
{
    u16 v16 = __builtin_bswap16((u16)value);
    switch (order) {
    case 0:
    case 1:
    case 2: {
        unsigned bits = 1u << order, shift = (unsigned)((index << order) & 7);
        u8 *at = &block[(index << order) >> 3];
        *at = (u8)((*at & ~(MASK(bits) << shift)) | (value << shift));
        break;
    }
    case 3:
        block[index] = (u8)value;
        break;
    case 4:
        memcpy(block + index * 2, &v16, 2);
        break;
    case 5:
        store_be32(block + index * 4, (u32)value);
        break;
    default:
        store_be64(block + index * 8, value);
    }
}

/* --- what must not be overwritten as data --- */

int qcow2_meta_mark(struct qcow2 *q, u64 offset, u64 len, bool is_meta, struct error *err)
{
    u64 first = offset >> q->cluster_bits, last = (offset + len + q->cluster_size - 1) >> q->cluster_bits;
    if (last > q->meta_count) {
        u64 count = ALIGN_UP(last + last / 2 + 4096, 8);
        u8 *map = count < BIT(36) ? realloc(q->meta, count / 8) : NULL;
        if (!map)
            return error_set(err, ENOMEM, "%s: no memory for a map of its clusters", q->block->path);
        memset(map + q->meta_count / 8, 0, (count - q->meta_count) / 8);
        q->meta = map;
        q->meta_count = count;
    }
    for (u64 c = first; c < last; c++)
        if (is_meta)
            q->meta[c / 8] |= (u8)(1u << (c % 8));
        else
            q->meta[c / 8] &= (u8) ~(1u << (c % 8));
    return 0;
}

bool qcow2_meta_overlaps(const struct qcow2 *q, u64 offset, u64 len)
{
    u64 last = (offset + len + q->cluster_size - 1) >> q->cluster_bits;
    for (u64 c = offset >> q->cluster_bits; c < last && c < q->meta_count; c++)
        if (q->meta[c / 8] & (1u << (c % 8)))
            return true;
    return false;
}

/* --- single counts --- */

/* Where the refcount block for `cluster` is; 0: there is none. */
static int block_locate(struct qcow2 *q, u64 cluster, u64 *offset, struct error *err)
{
    u64 index = cluster >> q->rb_bits;
    *offset = index < q->rt.count ? q->rt.entries[index] : 0;
    if (*offset & (q->cluster_size - 1))
        return qcow2_corrupt(q, err, "refcount block %llu is at the odd offset %#llx",
                             (unsigned long long)index, (unsigned long long)*offset);
    return 0;
}

static int block_get(struct qcow2 *q, u64 cluster, struct table **out, struct error *err)
{
    u64 offset;
    int r = block_locate(q, cluster, &offset, err);
    *out = NULL;
    if (r == 0 && offset)
        r = table_get(q, &q->rb, offset, false, out, err);
    return r;
}

int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *out, struct error *err)
{
    struct table *t;
    int r = block_get(q, cluster, &t, err);
    *out = r == 0 && t ? refcount_load(t->data, q->refcount_order, cluster & MASK(q->rb_bits)) : 0;
    return r;
}

/* The refcount block exists already. */
int qcow2_refcount_add(struct qcow2 *q, u64 cluster, int delta, u64 *now, struct error *err)
{
    struct table *t;
    u64 index = cluster & MASK(q->rb_bits), value = 0;
    int r = block_get(q, cluster, &t, err);
    if (r < 0)
        return r;
    if (t)
        value = refcount_load(t->data, q->refcount_order, index);
    if (!t || (delta < 0 && value == 0))
        return qcow2_corrupt(q, err, "cluster %#llx is in use, but has refcount 0",
                             (unsigned long long)cluster << q->cluster_bits);
    if (delta > 0 && value >= qcow2_refcount_max(q))
        return error_set(err, ERANGE,
                         "%s: a cluster cannot have more than %llu references with %u-bit refcounts",
                         q->block->path, (unsigned long long)qcow2_refcount_max(q), 1u << q->refcount_order);
    value += (u64)(s64)delta;
    refcount_store(t->data, q->refcount_order, index, value);
    t->dirty = true;
    if (now)
        *now = value;
    return 0;
}

/* --- allocation --- */

/* The first run of `count` free clusters. *hint: no free cluster is below; raised to the first one seen. */
static int run_find(struct qcow2 *q, u64 count, u64 *hint, u64 *out, struct error *err)
{
    u64 run = 0, first = ~0ull, c = *hint;
    while (run < count) {
        struct table *t;
        u64 index = c & MASK(q->rb_bits), end = BIT(q->rb_bits);
        int r = block_get(q, c, &t, err);
        if (r < 0)
            return r;
        if (c > MAX_CLUSTER_INDEX)
            return error_set(err, EFBIG, "%s: the image cannot grow any more", q->block->path);
        for (; index < end && run < count; index++, c++) {
            bool is_free = !t || refcount_load(t->data, q->refcount_order, index) == 0;
            if (is_free && first == ~0ull)
                first = c;
            run = is_free ? run + 1 : 0;
        }
    }
    *hint = first;
    *out = c - run;
    return 0;
}

static u64 blocks_missing(const struct qcow2 *q, u64 first, u64 count)
{
    u64 missing = 0;
    for (u64 b = first >> q->rb_bits; b <= (first + count - 1) >> q->rb_bits; b++)
        missing += b >= q->rt.count || !q->rt.entries[b];
    return missing;
}

static int rt_grow(struct qcow2 *q, u64 needed, struct error *err);

/*
 * A run of `count` free clusters behind which there is room for the refcount blocks that it needs. Refcount
 * blocks are thus described by themselves or by a block that exists.
 */
static int run_reserve(struct qcow2 *q, u64 count, u64 *first, u64 *blocks, struct error *err)
{
    u64 hint = q->first_free, missing = 0;
    for (;;) {
        int r = run_find(q, count + missing, &hint, first, err);
        if (r < 0)
            return r;
        u64 m = blocks_missing(q, *first, count + missing);
        if (m <= missing)
            break;
        missing = m;
    }
    *blocks = blocks_missing(q, *first, count + missing);
    u64 needed = ((*first + count + missing - 1) >> q->rb_bits) + 1;
    if (needed > q->rt.count) {
        int r = rt_grow(q, needed, err);
        return r < 0 ? r : run_reserve(q, count, first, blocks, err);
    }
    q->first_free = hint;
    return 0;
}

static int blocks_create(struct qcow2 *q, u64 first, u64 count, u64 at, struct error *err)
{
    for (u64 b = first >> q->rb_bits; b <= (first + count - 1) >> q->rb_bits; b++) {
        struct table *t;
        if (q->rt.entries[b])
            continue;
        u64 offset = at++ << q->cluster_bits;
        int r = table_get(q, &q->rb, offset, true, &t, err);
        if (r == 0)
            r = qcow2_meta_mark(q, offset, q->cluster_size, true, err);
        if (r < 0)
            return r;
        big_table_set(&q->rt, b, offset);
    }
    return 0;
}

int qcow2_alloc(struct qcow2 *q, u64 count, u64 *offset, struct error *err)
{
    u64 first = 0, blocks = 0, total;
    int r = run_reserve(q, count, &first, &blocks, err);
    if (r < 0)
        return r;
    total = count + blocks;
    if (qcow2_meta_overlaps(q, first << q->cluster_bits, total << q->cluster_bits))
        return qcow2_corrupt(q, err,
                             "the cluster at %#llx has refcount 0 but holds metadata; check it with --repair",
                             (unsigned long long)first << q->cluster_bits);
    if (blocks)
        r = blocks_create(q, first, total, first + count, err);
    for (u64 c = first; c < first + total && r == 0; c++) {
        struct table *t;
        r = block_get(q, c, &t, err);
        if (r == 0 && t) {
            refcount_store(t->data, q->refcount_order, c & MASK(q->rb_bits), 1);
            t->dirty = true;
        }
    }
    if (r == 0 && first == q->first_free)
        q->first_free = first + total;
    q->file_end = MAX(q->file_end, (first + total) << q->cluster_bits);
    qcow2_unpacked_forget(q);
    *offset = first << q->cluster_bits;
    return r;
}

/*
 * Moves the refcount table to where it has room for `needed` entries. Its new clusters are counted by itself:
 * the array in memory is enlarged first, so that the allocation below has entries for the blocks it adds.
 */
static int rt_grow(struct qcow2 *q, u64 needed, struct error *err)
{
    u64 per_cluster = q->cluster_size / 8, old_offset = q->rt.offset, old_count = q->rt.count, new_offset = 0;
    u64 count = needed + needed / 2;
    u8 header[12];
    /* What the table itself takes, generously. */
    count += (count / per_cluster + 2) / BIT(q->rb_bits) * 2 + 4;
    count = ALIGN_UP(count, per_cluster);
    if (count * 8 > MAX_RT_BYTES)
        return error_set(err, EFBIG, "%s: the image cannot grow any more: its refcount table is full",
                         q->block->path);
    u64 *entries = realloc(q->rt.entries, count * 8);
    if (!entries)
        return error_set(err, ENOMEM, "%s: no memory for its refcount table", q->block->path);
    memset(entries + old_count, 0, (count - old_count) * 8);
    q->rt.entries = entries;
    q->rt.count = count;
    int r = qcow2_alloc(q, count / per_cluster, &new_offset, err);
    /* The blocks first, then the table, then the header that names it. */
    for (unsigned i = 0; i < q->rb.count && r == 0; i++) {
        struct table *t = &q->rb.tables[i];
        if (t->offset && t->dirty) {
            r = qcow2_write(q, t->offset, t->data, q->cluster_size, err);
            t->dirty = r < 0;
        }
    }
    if (r == 0)
        r = qcow2_meta_mark(q, new_offset, count * 8, true, err);
    if (r == 0)
        r = qcow2_write_entries(q, new_offset, entries, count, err);
    store_be64(header, new_offset);
    store_be32(header + 8, (u32)(count / per_cluster));
    if (r == 0)
        r = qcow2_write_header(q, H_RT_OFFSET, header, sizeof header, err);
    if (r < 0) {
        q->broken = true; /* memory and file differ about where the table is */
        return r;
    }
    q->rt.offset = new_offset;
    q->rt.dirty = q->rt.clean = 0;
    qcow2_meta_mark(q, old_offset, old_count * 8, false, NULL);
    return qcow2_free_now(q, old_offset, old_count * 8, err);
}

/* --- freeing --- */

int qcow2_free_later(struct qcow2 *q, u64 offset, u64 len, struct error *err)
{
    u64 last = (offset + len - 1) >> q->cluster_bits;
    for (u64 c = offset >> q->cluster_bits; c <= last; c++) {
        if (q->freed_count == q->freed_room) {
            size_t room = q->freed_room ? q->freed_room * 2 : 256;
            u64 *freed = realloc(q->freed, room * sizeof *freed);
            if (!freed)
                return error_set(err, ENOMEM, "%s: no memory for a list of clusters", q->block->path);
            q->freed = freed;
            q->freed_room = room;
        }
        q->freed[q->freed_count++] = c;
    }
    return 0;
}

static int cluster_free(struct qcow2 *q, u64 cluster, struct error *err)
{
    u64 now = 0, offset = cluster << q->cluster_bits;
    int r = qcow2_refcount_add(q, cluster, -1, &now, err);
    if (r < 0 || now)
        return r;
    q->first_free = MIN(q->first_free, cluster);
    qcow2_unpacked_forget(q);
    if (q->packed_at && (q->packed_at - 1) >> q->cluster_bits == cluster)
        q->packed_at = 0;
    table_drop(&q->l2, offset);
    table_drop(&q->rb, offset);
    r = qcow2_meta_mark(q, offset, q->cluster_size, false, err);
    if (q->store->ops->punch && q->store->ops->punch(q->store, offset, q->cluster_size) == 0)
        q->unflushed = true;
    return r;
}

int qcow2_free_now(struct qcow2 *q, u64 offset, u64 len, struct error *err)
{
    int r = 0;
    for (u64 c = offset >> q->cluster_bits; c <= (offset + len - 1) >> q->cluster_bits && r == 0; c++)
        r = cluster_free(q, c, err);
    return r;
}

int qcow2_refcount_lower(struct qcow2 *q, u64 cluster, u64 value, struct error *err)
{
    struct table *t;
    int r = block_get(q, cluster, &t, err);
    if (r < 0 || !t)
        return r;
    refcount_store(t->data, q->refcount_order, cluster & MASK(q->rb_bits), MAX(value, 1));
    t->dirty = true;
    return value ? 0 : cluster_free(q, cluster, err);
}

int qcow2_apply_frees(struct qcow2 *q, struct error *err)
{
    int r = 0;
    for (size_t i = 0; i < q->freed_count && r == 0; i++)
        r = cluster_free(q, q->freed[i], err);
    q->freed_count = 0;
    return r;
}
