/* Internal snapshots: a saved L1 table each. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

/* --- the table --- */

static void snapshot_finish(struct snapshot *s)
{
    free(s->id);
    free(s->name);
    free(s->extra);
}

void qcow2_snapshots_finish(struct qcow2 *q)
{
    for (u32 i = 0; q->snapshots && i < q->snapshot_count; i++)
        snapshot_finish(&q->snapshots[i]);
    free(q->snapshots);
    q->snapshots = NULL;
    q->snapshot_count = 0;
}

/* One record at `*at`; the format's section "Snapshots". */
static int snapshot_read(struct qcow2 *q, struct snapshot *s, u64 *at, struct error *err)
{
    u8 h[40], extra[1024];
    int r = store_read(q->store, *at, h, sizeof h, err);
    if (r < 0)
        return r;
    u32 extra_len = load_be32(h + 36);
    unsigned id_len = (unsigned)(h[12] << 8 | h[13]), name_len = (unsigned)(h[14] << 8 | h[15]);
    if (extra_len > sizeof extra)
        return qcow2_corrupt(q, err, "a snapshot's record has %u bytes of unknown data", extra_len);
    r = store_read(q->store, *at + 40, extra, extra_len, err);
    s->id = calloc(1, id_len + 1);
    s->name = calloc(1, name_len + 1);
    s->extra_size = extra_len > 16 ? extra_len - 16 : 0;
    s->extra = calloc(1, s->extra_size + 1);
    if (!s->id || !s->name || !s->extra)
        return error_set(err, ENOMEM, "no memory to open %s", q->block->path);
    if (r == 0)
        r = store_read(q->store, *at + 40 + extra_len, s->id, id_len, err);
    if (r == 0)
        r = store_read(q->store, *at + 40 + extra_len + id_len, s->name, name_len, err);
    s->l1_offset = load_be64(h);
    s->l1_size = load_be32(h + 8);
    s->date_sec = load_be32(h + 16);
    s->date_nsec = load_be32(h + 20);
    s->vm_clock_ns = load_be64(h + 24);
    s->vm_state_size = extra_len >= 8 ? load_be64(extra) : load_be32(h + 32);
    s->disk_size = extra_len >= 16 ? load_be64(extra + 8) : q->block->size;
    if (s->extra_size)
        memcpy(s->extra, extra + 16, s->extra_size);
    if ((u64)s->l1_size * 8 > MAX_L1_BYTES || s->l1_offset & (q->cluster_size - 1) || s->l1_offset >> 56 ||
        s->disk_size > (u64)INT64_MAX - q->cluster_size)
        return qcow2_corrupt(q, err, "the L1 table of a snapshot is misaligned or too large");
    *at += ALIGN_UP(40 + (u64)extra_len + id_len + name_len, 8);
    return r;
}

int qcow2_snapshots_load(struct qcow2 *q, struct error *err)
{
    u64 at = q->snapshots_offset, end;
    u32 count = q->snapshot_count;
    q->snapshot_count = 0;
    if (!count)
        return 0;
    if (count > MAX_SNAPSHOTS || at & (q->cluster_size - 1))
        return qcow2_corrupt(q, err, "its snapshot table is misaligned or has too many entries (%u)", count);
    int r = store_size(q->store, &end, err);
    q->snapshots = calloc(count, sizeof *q->snapshots);
    if (!q->snapshots)
        return error_set(err, ENOMEM, "no memory to open %s", q->block->path);
    while (q->snapshot_count < count && r == 0) {
        if (at >= end || at - q->snapshots_offset > MAX_SNAPSHOT_BYTES)
            return qcow2_corrupt(q, err, "its snapshot table is too long");
        r = snapshot_read(q, &q->snapshots[q->snapshot_count++], &at, err);
    }
    q->snapshots_bytes = at - q->snapshots_offset;
    return r;
}

static u64 snapshot_record_size(const struct snapshot *s)
{
    return ALIGN_UP(40 + 16 + (u64)s->extra_size + strlen(s->id) + strlen(s->name), 8);
}

static void snapshot_put(const struct snapshot *s, u8 *h)
{
    size_t id = strlen(s->id), name = strlen(s->name);
    store_be64(h, s->l1_offset);
    store_be32(h + 8, s->l1_size);
    store_be32(h + 12, (u32)(id << 16 | name));
    store_be32(h + 16, s->date_sec);
    store_be32(h + 20, s->date_nsec);
    store_be64(h + 24, s->vm_clock_ns);
    store_be32(h + 32, s->vm_state_size > UINT32_MAX ? 0 : (u32)s->vm_state_size);
    store_be32(h + 36, 16 + s->extra_size);
    store_be64(h + 40, s->vm_state_size);
    store_be64(h + 48, s->disk_size);
    memcpy(h + 56, s->extra, s->extra_size);
    memcpy(h + 56 + s->extra_size, s->id, id);
    memcpy(h + 56 + s->extra_size + id, s->name, name);
}

/* Writes `count` records as the image's new table. Everything that they name is durable before the header is
 * changed. */
static int table_replace(struct qcow2 *q, const struct snapshot *list, u32 count, struct error *err)
{
    u64 bytes = 0, offset = 0, old_offset = q->snapshots_offset, old_bytes = q->snapshots_bytes;
    u8 header[12];
    for (u32 i = 0; i < count; i++)
        bytes += snapshot_record_size(&list[i]);
    if (count > MAX_SNAPSHOTS || bytes > MAX_SNAPSHOT_BYTES)
        return error_set(err, EFBIG, "%s: no room for more snapshots", q->block->path);
    u8 *table = calloc(1, bytes + 1), *at = table;
    if (!table)
        return error_set(err, ENOMEM, "%s: no memory", q->block->path);
    for (u32 i = 0; i < count; i++) {
        snapshot_put(&list[i], at);
        at += snapshot_record_size(&list[i]);
    }
    int r = bytes ? qcow2_alloc(q, (bytes + q->cluster_size - 1) >> q->cluster_bits, &offset, err) : 0;
    if (r == 0)
        r = qcow2_commit(q, err);
    if (r == 0 && bytes)
        r = qcow2_write(q, offset, table, bytes, err);
    free(table);
    store_be32(header, count);
    store_be64(header + 4, offset);
    if (r == 0)
        r = qcow2_write_header(q, H_NB_SNAPSHOTS, header, sizeof header, err);
    if (r < 0)
        return r;
    q->snapshots_offset = offset;
    q->snapshots_bytes = bytes;
    if (bytes)
        r = qcow2_meta_mark(q, offset, bytes, true, err);
    return r < 0 || !old_bytes ? r : qcow2_free_now(q, old_offset, old_bytes, err);
}

/* --- references --- */

struct walk {
    struct qcow2 *q;
    int delta;
    u64 done, limit; /* references changed so far; at most this many */
};

static int walk_range(struct walk *w, u64 offset, u64 len, struct error *err)
{
    u64 bits = w->q->cluster_bits;
    for (u64 c = offset >> bits; c <= (offset + len - 1) >> bits && w->done < w->limit; c++) {
        int r = w->delta > 0 ? qcow2_refcount_add(w->q, c, 1, NULL, err)
                             : qcow2_free_now(w->q, c << bits, w->q->cluster_size, err);
        if (r < 0)
            return r;
        w->done++;
    }
    return 0;
}

/* Everything that an L1 table in memory refers to gains or loses one reference. The caches hold no dirty L2
 * table. */
static int walk_tables(struct walk *w, const u64 *l1, u64 count, struct error *err)
{
    struct qcow2 *q = w->q;
    u64 entries = BIT(q->l2_bits), *l2 = malloc(q->cluster_size);
    int r = l2 ? 0 : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    for (u64 i = 0; i < count && r == 0; i++) {
        u64 offset = l1[i] & L_OFFSET;
        if (!offset)
            continue;
        if (offset & (q->cluster_size - 1))
            r = qcow2_corrupt(q, err, "an L2 table is at the odd offset %#llx", (unsigned long long)offset);
        if (r == 0)
            r = qcow2_read_entries(q, offset, l2, entries, err);
        for (u64 j = 0; j < entries && r == 0; j++) {
            u64 at = l2[j] & L_OFFSET, len = q->cluster_size;
            if (l2[j] & L_COMPRESSED)
                qcow2_packed_range(q, l2[j], &at, &len);
            if (at)
                r = walk_range(w, at, len, err);
        }
        if (r == 0)
            r = walk_range(w, offset, q->cluster_size, err);
    }
    free(l2);
    return r;
}

/* All or nothing. */
static int references_add(struct qcow2 *q, const u64 *l1, u64 count, struct error *err)
{
    struct walk up = {.q = q, .delta = 1, .limit = ~0ull};
    int r = walk_tables(&up, l1, count, err);
    if (r < 0 && up.done) {
        struct walk down = {.q = q, .delta = -1, .limit = up.done};
        walk_tables(&down, l1, count, NULL);
    }
    return r;
}

int qcow2_references_drop(struct qcow2 *q, const u64 *l1, u64 count, struct error *err)
{
    struct walk down = {.q = q, .delta = -1, .limit = ~0ull};
    return walk_tables(&down, l1, count, err);
}

int qcow2_fix_copied(struct qcow2 *q, u64 *changed, struct error *err)
{
    u64 n = 0, refs;
    int r = 0;
    for (u64 i = 0; i < q->l1.count && r == 0; i++) {
        struct table *t;
        u64 offset = q->l1.entries[i] & L_OFFSET;
        if (!offset || offset & (q->cluster_size - 1))
            continue;
        r = table_get(q, &q->l2, offset, false, &t, err);
        for (u64 j = 0; j < BIT(q->l2_bits) && r == 0; j++) {
            u64 entry = load_be64(t->data + j * 8), want = entry & ~L_COPIED;
            if (entry & L_COMPRESSED || (!(entry & L_OFFSET) && !(entry & L_COPIED)))
                continue;
            r = qcow2_refcount_get(q, (entry & L_OFFSET) >> q->cluster_bits, &refs, err);
            want |= refs == 1 && entry & L_OFFSET ? L_COPIED : 0;
            if (r == 0 && want != entry) {
                store_be64(t->data + j * 8, want);
                t->dirty = true;
                n++;
            }
        }
        if (r == 0)
            r = qcow2_refcount_get(q, offset >> q->cluster_bits, &refs, err);
        if (r == 0 && !!(q->l1.entries[i] & L_COPIED) != (refs == 1)) {
            big_table_set(&q->l1, i, offset | (refs == 1 ? L_COPIED : 0));
            n++;
        }
    }
    if (changed)
        *changed = n;
    return r < 0 ? r : qcow2_commit(q, err);
}

/* Writes a copy of an L1 table into new clusters, without COPIED. */
static int l1_copy(struct qcow2 *q, const u64 *l1, u64 count, u64 *offset, struct error *err)
{
    u64 bytes = ALIGN_UP(MAX(count, 1) * 8, q->cluster_size), *copy = calloc(1, bytes);
    int r = copy ? 0 : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    for (u64 i = 0; i < count && r == 0; i++)
        copy[i] = l1[i] & ~L_COPIED;
    if (r == 0)
        r = qcow2_alloc(q, bytes >> q->cluster_bits, offset, err);
    if (r == 0)
        r = qcow2_write_entries(q, *offset, copy, bytes / 8, err);
    free(copy);
    return r;
}

/* --- the operations --- */

static struct snapshot *snapshot_find(struct qcow2 *q, const char *name, struct error *err)
{
    for (u32 i = 0; i < q->snapshot_count; i++)
        if (!strcmp(q->snapshots[i].name, name))
            return &q->snapshots[i];
    for (u32 i = 0; i < q->snapshot_count; i++)
        if (!strcmp(q->snapshots[i].id, name))
            return &q->snapshots[i];
    error_set(err, ENOENT, "%s has no snapshot '%.80s'", q->block->path, name);
    return NULL;
}

static u64 id_next(const struct qcow2 *q)
{
    u64 max = 0;
    for (u32 i = 0; i < q->snapshot_count; i++)
        max = MAX(max, strtoull(q->snapshots[i].id, NULL, 10));
    return max + 1;
}

static int snapshot_operation_begin(struct block *b, struct error *err)
{
    if (b->ops != &block_qcow2)
        return error_set(err, ENOTSUP, "%s: a %s image has no snapshots", b->path, b->ops->name);
    if (b->readonly)
        return error_set(err, EROFS, "%s is open read-only", b->path);
    int r = qcow2_can_write(b->impl, err);
    return r < 0 ? r : qcow2_commit(b->impl, err);
}

int qcow2_snapshot_create(struct block *b, const char *name, u32 date_sec, struct error *err)
{
    struct qcow2 *q = b->impl;
    struct snapshot s = {.l1_size = 0, .date_sec = date_sec, .disk_size = b->size};
    char id[24];
    int r = snapshot_operation_begin(b, err);
    if (r < 0)
        return r;
    if (!*name || strlen(name) > 255)
        return error_set(err, EINVAL, "a snapshot's name has 1 to 255 bytes");
    for (u32 i = 0; i < q->snapshot_count; i++)
        if (!strcmp(q->snapshots[i].name, name))
            return error_set(err, EEXIST, "%s has a snapshot '%.80s' already", b->path, name);
    struct snapshot *list = realloc(q->snapshots, (q->snapshot_count + 1) * sizeof *list);
    if (list)
        q->snapshots = list;
    snprintf(id, sizeof id, "%" PRIu64, id_next(q));
    s.id = strdup(id);
    s.name = strdup(name);
    s.extra = calloc(1, 1);
    s.l1_size = (u32)q->l1.count;
    if (!list || !s.id || !s.name || !s.extra)
        r = error_set(err, ENOMEM, "%s: no memory", b->path);
    if (r == 0)
        r = references_add(q, q->l1.entries, q->l1.count, err);
    if (r == 0)
        r = qcow2_fix_copied(q, NULL, err);
    if (r == 0)
        r = l1_copy(q, q->l1.entries, q->l1.count, &s.l1_offset, err);
    if (r == 0) {
        list[q->snapshot_count] = s;
        r = table_replace(q, list, q->snapshot_count + 1, err);
    }
    if (r) {
        snapshot_finish(&s);
        return r;
    }
    q->snapshot_count++;
    return qcow2_sync(q, err);
}

static int l1_load(struct qcow2 *q, const struct snapshot *s, u64 count, u64 **out, struct error *err)
{
    u64 *l1 = calloc(MAX(count, s->l1_size) + 1, 8);
    if (!l1)
        return error_set(err, ENOMEM, "%s: no memory", q->block->path);
    int r = qcow2_read_entries(q, s->l1_offset, l1, s->l1_size, err);
    if (r < 0) {
        free(l1);
        return r;
    }
    *out = l1;
    return 0;
}

int qcow2_snapshot_apply(struct block *b, const char *name, struct error *err)
{
    struct qcow2 *q = b->impl;
    u64 *l1 = NULL, offset = 0, span;
    u8 header[24];
    int r = snapshot_operation_begin(b, err);
    struct snapshot *s = r < 0 ? NULL : snapshot_find(q, name, err);
    if (!s)
        return r < 0 ? r : -ENOENT;
    span = q->cluster_size << q->l2_bits;
    if (s->disk_size / span + !!(s->disk_size % span) > s->l1_size)
        return qcow2_corrupt(q, err, "the L1 table of snapshot '%s' is too short", s->name);
    u64 count = MAX(s->l1_size, 1);
    r = l1_load(q, s, count, &l1, err);
    if (r == 0)
        r = references_add(q, l1, s->l1_size, err);
    if (r == 0)
        r = l1_copy(q, l1, count, &offset, err);
    if (r == 0)
        r = qcow2_commit(q, err);
    if (r < 0)
        goto out;
    /* The header's fields from the size to the L1 table's offset, in one sector. */
    store_be64(header, s->disk_size);
    store_be32(header + 8, 0); /* no encryption */
    store_be32(header + 12, (u32)count);
    store_be64(header + 16, offset);
    r = qcow2_write_header(q, H_SIZE, header, sizeof header, err);
    if (r < 0) {
        q->broken = true;
        goto out;
    }
    struct big_table old = q->l1;
    q->l1 = (struct big_table){.entries = l1, .count = count, .offset = offset};
    l1 = NULL;
    for (u64 i = 0; i < count; i++)
        q->l1.entries[i] &= ~L_COPIED;
    b->size = s->disk_size;
    table_drop_all(&q->l2);
    for (u64 i = 0; i < old.count; i++)
        if (old.entries[i] & L_OFFSET)
            qcow2_meta_mark(q, old.entries[i] & L_OFFSET, q->cluster_size, false, NULL);
    qcow2_meta_mark(q, old.offset, old.count * 8, false, NULL);
    r = qcow2_references_drop(q, old.entries, old.count, err);
    if (r == 0 && old.count)
        r = qcow2_free_now(q, old.offset, old.count * 8, err);
    free(old.entries);
    for (u64 i = 0; i < count && r == 0; i++)
        if (q->l1.entries[i] & L_OFFSET)
            r = qcow2_meta_mark(q, q->l1.entries[i] & L_OFFSET, q->cluster_size, true, err);
    if (r == 0)
        r = qcow2_meta_mark(q, offset, count * 8, true, err);
    if (r == 0)
        r = qcow2_fix_copied(q, NULL, err);
    if (r == 0)
        r = qcow2_sync(q, err);
out:
    free(l1);
    return r;
}

int qcow2_snapshot_delete(struct block *b, const char *name, struct error *err)
{
    struct qcow2 *q = b->impl;
    u64 *l1;
    int r = snapshot_operation_begin(b, err);
    struct snapshot *s = r < 0 ? NULL : snapshot_find(q, name, err);
    if (!s)
        return r < 0 ? r : -ENOENT;
    struct snapshot gone = *s;
    r = l1_load(q, &gone, gone.l1_size, &l1, err);
    if (r < 0)
        return r;
    u32 index = (u32)(s - q->snapshots);
    memmove(s, s + 1, (q->snapshot_count - index - 1) * sizeof *s);
    r = table_replace(q, q->snapshots, q->snapshot_count - 1, err);
    if (r < 0) {
        memmove(s + 1, s, (q->snapshot_count - index - 1) * sizeof *s);
        *s = gone;
        goto out;
    }
    q->snapshot_count--;
    snapshot_finish(&gone);
    r = qcow2_references_drop(q, l1, gone.l1_size, err);
    if (r == 0 && gone.l1_size)
        r = qcow2_free_now(q, gone.l1_offset, (u64)gone.l1_size * 8, err);
    if (r == 0)
        r = qcow2_fix_copied(q, NULL, err);
    if (r == 0)
        r = qcow2_sync(q, err);
out:
    free(l1);
    return r;
}

u32 qcow2_snapshot_count(const struct block *b)
{
    return b->ops == &block_qcow2 ? ((const struct qcow2 *)b->impl)->snapshot_count : 0;
}

struct snapshot_info qcow2_snapshot_get(const struct block *b, u32 index)
{
    const struct snapshot *s = &((const struct qcow2 *)b->impl)->snapshots[index];
    return (struct snapshot_info){.id = s->id,
                                  .name = s->name,
                                  .disk_size = s->disk_size,
                                  .vm_state_size = s->vm_state_size,
                                  .vm_clock_ns = s->vm_clock_ns,
                                  .date_sec = s->date_sec,
                                  .date_nsec = s->date_nsec};
}
