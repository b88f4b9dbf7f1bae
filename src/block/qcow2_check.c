/*
 * Checking and repairing: every reference in the image is counted and compared with the refcounts. Nothing is
 * believed: a pointer that is misaligned or past the end is reported and not followed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

/* One word per host cluster: how often it is referenced, and as what. */
enum use {
    USE_NONE,
    USE_HEADER,
    USE_L1,
    USE_L2,
    USE_DATA,
    USE_PACKED,
    USE_RT,
    USE_RB,
    USE_SNAPSHOTS,
    USE_BITMAPS
};
#define USE_SHIFT      28
#define COUNT_OF(word) ((word) & (u32)MASK(USE_SHIFT))

/* Sparse files can be very long; this bounds the memory that one may cost. */
#define MAX_CLUSTERS BIT(29)

struct checker {
    struct qcow2 *q;
    struct qcow2_check *check;
    u32 *words;
    u64 count;       /* clusters in the file */
    bool bad_counts; /* a refcount is too low, or a refcount block is unusable */
};

static void finding(struct checker *c, u64 *counter, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void finding(struct checker *c, u64 *counter, const char *fmt, ...)
{
    char text[256];
    va_list args;
    ++*counter;
    if (!c->check->report)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->check->report(c->check->opaque, text);
}

#define LL(x) ((unsigned long long)(x))

static const char *use_name(u32 word)
{
    static const char *const names[] = {
        "nothing",         "the header",         "an L1 table",      "an L2 table",        "data",
        "compressed data", "the refcount table", "a refcount block", "the snapshot table", "a bitmap"};
    return names[word >> USE_SHIFT];
}

/* Counts a reference to `len` bytes at `offset`; false if they are not in the file. */
static bool use_add(struct checker *c, u64 offset, u64 len, enum use use)
{
    u64 bits = c->q->cluster_bits;
    u32 kind = (u32)use << USE_SHIFT;
    if (!len)
        return true;
    if (offset >> bits >= c->count || (offset + len - 1) >> bits >= c->count ||
        (use != USE_PACKED && offset & (c->q->cluster_size - 1))) {
        finding(c, &c->check->corruptions, "ERROR %s at %#llx is misaligned or past the end of the file",
                use_name(kind), LL(offset));
        return false;
    }
    for (u64 i = offset >> bits; i <= (offset + len - 1) >> bits; i++) {
        u32 *word = &c->words[i];
        if (COUNT_OF(*word) && *word >> USE_SHIFT != (u32)use)
            finding(c, &c->check->corruptions, "ERROR cluster %#llx is used as %s and as %s", LL(i << bits),
                    use_name(*word), use_name(kind));
        else if (COUNT_OF(*word) && use != USE_DATA && use != USE_PACKED && use != USE_L2)
            finding(c, &c->check->corruptions, "ERROR cluster %#llx is used twice as %s", LL(i << bits),
                    use_name(kind));
        *word = kind | (COUNT_OF(*word) < MASK(USE_SHIFT) ? COUNT_OF(*word) + 1 : COUNT_OF(*word));
    }
    return true;
}

static void count_l2(struct checker *c, const u64 *l2, bool active)
{
    struct qcow2 *q = c->q;
    for (u64 j = 0; j < BIT(q->l2_bits); j++) {
        u64 entry = l2[j << (q->entry_shift - 3)], at = entry & L_OFFSET, len = q->cluster_size;
        bool packed = entry & L_COMPRESSED;
        if (q->data_name) /* no cluster of this file */
            continue;
        if (packed)
            qcow2_packed_range(q, entry, &at, &len);
        if (packed && entry & L_COPIED)
            finding(c, &c->check->corruptions, "ERROR compressed cluster at %#llx has the COPIED flag",
                    LL(at));
        if (packed && at + len > c->count << q->cluster_bits && at >> q->cluster_bits < c->count)
            len = (c->count << q->cluster_bits) - at; /* the last sector's padding need not be in the file */
        if (at)
            use_add(c, at, len, packed ? USE_PACKED : USE_DATA);
        if (active && (at || (q->version >= 3 && entry & L_ZERO))) {
            c->check->clusters_allocated += at != 0;
            c->check->clusters_compressed += packed;
        }
    }
}

static int count_l1(struct checker *c, const u64 *l1, u64 count, bool active, struct error *err)
{
    struct qcow2 *q = c->q;
    u64 *l2 = malloc(q->cluster_size);
    int r = l2 ? 0 : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    for (u64 i = 0; i < count && r == 0; i++) {
        u64 offset = l1[i] & L_OFFSET;
        if (!offset || !use_add(c, offset, q->cluster_size, USE_L2))
            continue;
        r = qcow2_read_entries(q, offset, l2, q->cluster_size / 8, err);
        if (r == 0)
            count_l2(c, l2, active);
    }
    free(l2);
    return r;
}

/* The table of one bitmap, from its directory entry. */
static int count_bitmap(struct checker *c, const u8 *entry, struct error *err)
{
    struct qcow2 *q = c->q;
    u64 offset = load_be64(entry), count = load_be32(entry + 8);
    if (count * 8 > MAX_L1_BYTES) {
        finding(c, &c->check->corruptions, "ERROR a bitmap's table has %llu entries", LL(count));
        return 0;
    }
    if (!count || !use_add(c, offset, count * 8, USE_BITMAPS))
        return 0;
    u64 *table = calloc(count, 8);
    int r = table ? qcow2_read_entries(q, offset, table, count, err)
                  : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    for (u64 i = 0; i < count && r == 0; i++)
        if (table[i] & L_OFFSET)
            use_add(c, table[i] & L_OFFSET, q->cluster_size, USE_BITMAPS);
    free(table);
    return r;
}

/* The format's section "Bitmaps". */
static int count_bitmaps(struct checker *c, struct error *err)
{
    struct qcow2 *q = c->q;
    u64 size = q->bitmaps_size, at = 0;
    int r = 0;
    if (!q->has_bitmaps || !size)
        return 0;
    if (size > MAX_SNAPSHOT_BYTES || !use_add(c, q->bitmaps_offset, size, USE_BITMAPS))
        return error_set(err, EIO, "%s: the image is corrupt: its bitmaps cannot be read", q->block->path);
    u8 *directory = malloc(size);
    r = directory ? store_read(q->store, q->bitmaps_offset, directory, size, err)
                  : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    for (u32 i = 0; i < q->bitmaps_count && r == 0; i++) {
        const u8 *entry = directory + at;
        if (size - at < 24) {
            finding(c, &c->check->corruptions, "ERROR the directory of bitmaps is too short");
            break;
        }
        u64 names = ((u64)entry[18] << 8 | entry[19]) + load_be32(entry + 20);
        r = count_bitmap(c, entry, err);
        at += MIN(ALIGN_UP(24 + names, 8), size - at);
    }
    free(directory);
    return r;
}

static int count_references(struct checker *c, struct error *err)
{
    struct qcow2 *q = c->q;
    use_add(c, 0, q->cluster_size, USE_HEADER);
    use_add(c, q->rt.offset, q->rt.count * 8, USE_RT);
    use_add(c, q->snapshots_offset, q->snapshots_bytes, USE_SNAPSHOTS);
    use_add(c, q->l1.offset, q->l1.count * 8, USE_L1);
    int r = count_l1(c, q->l1.entries, q->l1.count, true, err);
    for (u32 i = 0; i < q->snapshot_count && r == 0; i++) {
        const struct snapshot *s = &q->snapshots[i];
        if (!s->l1_size || !use_add(c, s->l1_offset, (u64)s->l1_size * 8, USE_L1))
            continue;
        u64 *l1 = calloc(s->l1_size, 8);
        r = l1 ? qcow2_read_entries(q, s->l1_offset, l1, s->l1_size, err)
               : error_set(err, ENOMEM, "%s: no memory", q->block->path);
        if (r == 0)
            r = count_l1(c, l1, s->l1_size, false, err);
        free(l1);
    }
    if (r == 0)
        r = count_bitmaps(c, err);
    for (u64 i = 0; i < q->rt.count && r == 0; i++)
        if (q->rt.entries[i] && !use_add(c, q->rt.entries[i], q->cluster_size, USE_RB))
            c->bad_counts = true;
    return r;
}

/* The refcount on disk or in the cache; 0 where the block is unusable. */
static int count_stored(struct checker *c, u64 cluster, u64 *out, struct error *err)
{
    struct qcow2 *q = c->q;
    u64 i = cluster >> q->rb_bits, offset = i < q->rt.count ? q->rt.entries[i] : 0;
    *out = 0;
    if (offset & (q->cluster_size - 1) || offset >> q->cluster_bits >= c->count)
        return 0;
    return qcow2_refcount_get(q, cluster, out, err);
}

static u64 count_references_to(const struct checker *c, u64 cluster)
{
    return cluster < c->count ? COUNT_OF(c->words[cluster]) : 0;
}

/* The next cluster from `i` on that is in the file or has a refcount (it may, behind the file's end); ~0:
 * none. */
static u64 cluster_next(const struct checker *c, u64 i)
{
    const struct qcow2 *q = c->q;
    if (i < c->count)
        return i;
    u64 block = i >> q->rb_bits;
    if (block < q->rt.count && q->rt.entries[block])
        return i;
    for (block++; block < q->rt.count; block++)
        if (q->rt.entries[block])
            return block << q->rb_bits;
    return ~0ull;
}

static int compare(struct checker *c, struct error *err)
{
    struct qcow2_check *check = c->check;
    for (u64 i = cluster_next(c, 0); i != ~0ull; i = cluster_next(c, i + 1)) {
        u64 stored, counted = count_references_to(c, i);
        int r = count_stored(c, i, &stored, err);
        if (r < 0)
            return r;
        if (stored > counted) {
            finding(c, &check->leaks, "Leaked cluster %llu refcount=%llu reference=%llu", LL(i), LL(stored),
                    LL(counted));
        } else if (stored < counted) {
            finding(c, &check->corruptions, "ERROR cluster %llu refcount=%llu reference=%llu", LL(i),
                    LL(stored), LL(counted));
            c->bad_counts = true;
        }
        if (counted)
            check->image_end = (i + 1) << c->q->cluster_bits;
    }
    return 0;
}

/* COPIED in the active tables against the refcounts as they should be. */
static int compare_copied(struct checker *c, struct error *err)
{
    struct qcow2 *q = c->q;
    for (u64 i = 0; i < q->l1.count; i++) {
        u64 l1 = q->l1.entries[i], offset = l1 & L_OFFSET;
        struct table *t;
        if (!offset || offset & (q->cluster_size - 1) || offset >> q->cluster_bits >= c->count)
            continue;
        if (!!(l1 & L_COPIED) != (COUNT_OF(c->words[offset >> q->cluster_bits]) == 1))
            finding(c, &c->check->corruptions, "ERROR L2 table %#llx: wrong COPIED flag", LL(offset));
        int r = table_get(q, &q->l2, offset, false, &t, err);
        if (r < 0)
            return r;
        for (u64 j = 0; j < BIT(q->l2_bits); j++) {
            u64 entry = load_be64(t->data + (j << q->entry_shift)),
                at = (entry & L_OFFSET) >> q->cluster_bits;
            if (q->data_name || entry & L_COMPRESSED || !at || at >= c->count)
                continue;
            if (!!(entry & L_COPIED) != (COUNT_OF(c->words[at]) == 1))
                finding(c, &c->check->corruptions, "ERROR data cluster %#llx: wrong COPIED flag",
                        LL(entry & L_OFFSET));
        }
    }
    return 0;
}

/* --- repair --- */

/* All refcounts are at least what they should be: they are lowered. */
static int lower_refcounts(struct checker *c, struct error *err)
{
    struct qcow2 *q = c->q;
    int r = 0;
    for (u64 i = cluster_next(c, 0); i != ~0ull && r == 0; i = cluster_next(c, i + 1)) {
        u64 stored;
        r = count_stored(c, i, &stored, err);
        if (r == 0 && stored > count_references_to(c, i))
            r = qcow2_refcount_lower(q, i, count_references_to(c, i), err);
    }
    return r;
}

/* The old refcount structure's own reference is gone when there is a new one. */
static bool is_old_structure(const struct checker *c, u64 cluster)
{
    u32 use = c->words[cluster] >> USE_SHIFT;
    return use == USE_RT || use == USE_RB;
}

/* Writes blocks and table of a new refcount structure at cluster `at`. */
static int structure_write(struct checker *c, u64 at, u64 blocks, u64 table, u64 *entries, struct error *err)
{
    struct qcow2 *q = c->q;
    u8 *block = malloc(q->cluster_size);
    u64 end = at + blocks + table;
    int r = block ? 0 : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    for (u64 b = 0; b < blocks && r == 0; b++) {
        memset(block, 0, q->cluster_size);
        for (u64 i = 0; i < BIT(q->rb_bits); i++) {
            u64 cluster = (b << q->rb_bits) + i, count = 0;
            if (cluster < c->count)
                count = COUNT_OF(c->words[cluster]) - is_old_structure(c, cluster);
            if (cluster >= at && cluster < end)
                count = 1;
            refcount_store(block, q->refcount_order, i, MIN(count, qcow2_refcount_max(q)));
        }
        entries[b] = (at + b) << q->cluster_bits;
        r = qcow2_write(q, entries[b], block, q->cluster_size, err);
    }
    free(block);
    if (r == 0)
        r = qcow2_write_entries(q, (at + blocks) << q->cluster_bits, entries, table * (q->cluster_size / 8),
                                err);
    return r;
}

/* A refcount structure that is right, behind everything else; nothing of the old one is trusted or
 * overwritten. */
static int rebuild_refcounts(struct checker *c, struct error *err)
{
    struct qcow2 *q = c->q;
    u64 at = c->count, blocks = 1, table = 1, per_table = q->cluster_size / 8;
    u8 header[12];
    for (;;) {
        u64 b = ((at + blocks + table - 1) >> q->rb_bits) + 1, t = (b + per_table - 1) / per_table;
        if (b == blocks && t == table)
            break;
        blocks = b;
        table = t;
    }
    if (table * q->cluster_size > MAX_RT_BYTES)
        return error_set(err, EFBIG, "%s: too large to be repaired", q->block->path);
    u64 *entries = calloc(table, q->cluster_size);
    if (!entries)
        return error_set(err, ENOMEM, "%s: no memory", q->block->path);
    int r = structure_write(c, at, blocks, table, entries, err);
    store_be64(header, (at + blocks) << q->cluster_bits);
    store_be32(header + 8, (u32)table);
    if (r == 0)
        r = qcow2_write_header(q, H_RT_OFFSET, header, sizeof header, err);
    if (r < 0) {
        free(entries);
        return r;
    }
    for (u64 i = 0; i < c->count; i++)
        if (is_old_structure(c, i) && COUNT_OF(c->words[i]) == 1)
            qcow2_meta_mark(q, i << q->cluster_bits, q->cluster_size, false, NULL);
    free(q->rt.entries);
    q->rt = (struct big_table){
        .entries = entries, .count = table * per_table, .offset = (at + blocks) << q->cluster_bits};
    table_drop_all(&q->rb);
    q->first_free = 0;
    q->file_end = MAX(q->file_end, (at + blocks + table) << q->cluster_bits);
    return qcow2_meta_mark(q, at << q->cluster_bits, (blocks + table) << q->cluster_bits, true, err);
}

static int flags_clear(struct qcow2 *q, struct error *err)
{
    u64 marks = INCOMPAT_DIRTY | INCOMPAT_CORRUPT;
    return q->incompatible & marks ? qcow2_set_incompatible(q, q->incompatible & ~marks, err) : 0;
}

static int pass(struct qcow2 *q, struct qcow2_check *check, struct checker *c, struct error *err)
{
    u64 size;
    *c = (struct checker){0};
    int r = store_size(q->store, &size, err);
    if (r < 0)
        return r;
    *c = (struct checker){.q = q, .check = check, .count = (size + q->cluster_size - 1) >> q->cluster_bits};
    check->corruptions = check->leaks = check->clusters_allocated = check->clusters_compressed = 0;
    check->image_end = 0;
    check->clusters_total = (q->block->size + q->cluster_size - 1) >> q->cluster_bits;
    if (c->count > MAX_CLUSTERS)
        return error_set(err, EFBIG, "%s: the file has %llu clusters, too many to be checked", q->block->path,
                         LL(c->count));
    c->words = calloc(MAX(c->count, 1), sizeof *c->words);
    if (!c->words)
        return error_set(err, ENOMEM, "%s: no memory to check it", q->block->path);
    r = count_references(c, err);
    if (r == 0)
        r = compare(c, err);
    return r == 0 ? compare_copied(c, err) : r;
}

static int repair(struct checker *c, struct error *err)
{
    struct qcow2 *q = c->q;
    u64 changed;
    int r = 0;
    if (c->bad_counts)
        r = rebuild_refcounts(c, err);
    else if (c->check->leaks)
        r = lower_refcounts(c, err);
    if (r == 0)
        r = qcow2_sync(q, err);
    if (r == 0)
        r = qcow2_fix_copied(q, &changed, err);
    return r < 0 ? r : qcow2_sync(q, err);
}

static int check_all(struct qcow2 *q, struct qcow2_check *check, struct error *err)
{
    struct block *b = q->block;
    struct checker c;
    if (check->repair && b->readonly)
        return error_set(err, EROFS, "%s is open read-only", b->path);
    check->corruptions_fixed = check->leaks_fixed = 0;
    int r = b->readonly ? 0 : qcow2_sync(q, err);
    if (r < 0)
        return r;
    r = pass(q, check, &c, err);
    u64 corruptions = check->corruptions, leaks = check->leaks;
    if (r == 0 && check->repair && (corruptions || leaks))
        r = repair(&c, err);
    free(c.words);
    if (r < 0 || !check->repair)
        return r;
    if (corruptions || leaks) {
        void (*report)(void *, const char *) = check->report;
        check->report = NULL;
        r = pass(q, check, &c, err);
        free(c.words);
        check->report = report;
        check->corruptions_fixed = corruptions > check->corruptions ? corruptions - check->corruptions : 0;
        check->leaks_fixed = leaks > check->leaks ? leaks - check->leaks : 0;
    }
    return r == 0 && !check->corruptions ? flags_clear(q, err) : r;
}

int qcow2_check(struct block *b, struct qcow2_check *check, struct error *err)
{
    struct qcow2 *q = b->impl;
    if (b->ops != &block_qcow2)
        return error_set(err, ENOTSUP, "%s: a %s image has nothing to check", b->path, b->ops->name);
    bool lazy = q->lazy;
    q->lazy = lazy && !check->repair; /* a repaired image is marked clean, so everything is written */
    int r = check_all(q, check, err);
    q->lazy = lazy;
    return r;
}
