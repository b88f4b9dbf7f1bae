/* Guest requests: mapping, reading, writing, zeroing, discarding. */
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

/* The longest piece that is allocated at once. */
#define MAX_PIECE MIB(8)

static u64 l2_index(const struct qcow2 *q, u64 guest)
{
    return (guest >> q->cluster_bits) & MASK(q->l2_bits);
}

static u64 in_cluster(const struct qcow2 *q, u64 guest)
{
    return guest & (q->cluster_size - 1);
}

static u64 entry_at(const struct table *t, u64 index)
{
    return load_be64(t->data + index * 8);
}

static void entry_set(struct table *t, u64 index, u64 entry)
{
    store_be64(t->data + index * 8, entry);
    t->dirty = true;
}

/* Finds the L2 table; NULL if there is none. */
static int l2_get(struct qcow2 *q, u64 guest, struct table **out, struct error *err)
{
    u64 i = guest >> (q->cluster_bits + q->l2_bits);
    u64 offset = i < q->l1.count ? q->l1.entries[i] & L_OFFSET : 0;
    *out = NULL;
    if (!offset)
        return 0;
    if (offset & (q->cluster_size - 1))
        return qcow2_corrupt(q, err, "the L2 table for guest offset %#llx is at the odd offset %#llx",
                             (unsigned long long)guest, (unsigned long long)offset);
    return table_get(q, &q->l2, offset, false, out, err);
}

static int entry_classify(struct qcow2 *q, u64 guest, u64 entry, struct run *run, struct error *err)
{
    u64 host = entry & L_OFFSET;
    run->entry = entry;
    run->copied = entry & L_COPIED;
    run->host = host;
    if (entry & L_COMPRESSED) {
        run->kind = RUN_COMPRESSED;
        return 0;
    }
    if (host & (q->cluster_size - 1))
        return qcow2_corrupt(q, err, "the data for guest offset %#llx is at the odd offset %#llx",
                             (unsigned long long)guest, (unsigned long long)host);
    if (q->version >= 3 && entry & L_ZERO)
        run->kind = host ? RUN_ZERO_ALLOCATED : RUN_ZERO;
    else
        run->kind = host ? RUN_NORMAL : RUN_UNALLOCATED;
    return 0;
}

int qcow2_run(struct qcow2 *q, u64 guest, u64 len, struct run *run, struct error *err)
{
    struct table *t;
    u64 skip = in_cluster(q, guest), index = l2_index(q, guest), n = 1;
    u64 end = MIN(BIT(q->l2_bits), index + ((skip + len + q->cluster_size - 1) >> q->cluster_bits));
    int r = l2_get(q, guest, &t, err);
    if (r < 0)
        return r;
    if (!t) {
        *run = (struct run){.kind = RUN_UNALLOCATED};
        n = end - index;
    } else {
        r = entry_classify(q, guest, entry_at(t, index), run, err);
        for (; r == 0 && run->kind != RUN_COMPRESSED && index + n < end; n++) {
            struct run next;
            if (entry_classify(q, guest, entry_at(t, index + n), &next, NULL) < 0 || next.kind != run->kind ||
                next.copied != run->copied || (next.host && next.host != run->host + (n << q->cluster_bits)))
                break;
        }
        run->host += skip;
    }
    run->len = MIN(len, (n << q->cluster_bits) - skip);
    return r;
}

/* --- reading --- */

static int read_below(struct qcow2 *q, u64 guest, struct vector *to, u64 len, struct error *err)
{
    struct block *backing = q->block->backing;
    u64 n = 0;
    if (backing && guest < backing->size) {
        n = MIN(len, backing->size - guest);
        int r = backing->ops->read(backing, guest, to, n, err);
        if (r < 0)
            return r;
    } else if (!backing && q->block->backing_name) {
        return error_set(err, ENOENT, "%s: its backing file '%.200s' is not open", q->block->path,
                         q->block->backing_name);
    }
    vector_zero(to, len - n);
    return 0;
}

static int read_run(struct qcow2 *q, u64 guest, const struct run *run, struct vector *to, struct error *err)
{
    int r;
    switch (run->kind) {
    case RUN_UNALLOCATED:
        return read_below(q, guest, to, run->len, err);
    case RUN_ZERO:
    case RUN_ZERO_ALLOCATED:
        vector_zero(to, run->len);
        return 0;
    case RUN_NORMAL:
        return store_readv(q->store, run->host, to, run->len, err);
    default:
        r = qcow2_unpack(q, run->entry, err);
        if (r == 0)
            vector_fill(to, q->plain + in_cluster(q, guest), run->len);
        return r;
    }
}

int qcow2_read_guest(struct qcow2 *q, u64 guest, struct vector *to, u64 len, struct error *err)
{
    u64 inside = guest < q->block->size ? MIN(len, q->block->size - guest) : 0, past = len - inside;
    while (inside) {
        struct run run;
        int r = qcow2_run(q, guest, inside, &run, err);
        if (r == 0)
            r = read_run(q, guest, &run, to, err);
        if (r < 0)
            return r;
        guest += run.len, inside -= run.len;
    }
    vector_zero(to, past);
    return 0;
}

/* --- writing --- */

int qcow2_can_write(struct qcow2 *q, struct error *err)
{
    if (q->broken)
        return error_set(err, EIO, "%s: an earlier write failed, so it takes no more; check it with --repair",
                         q->block->path);
    return q->freed_count > 4096 ? qcow2_commit(q, err) : 0;
}

int qcow2_l2_for_write(struct qcow2 *q, u64 guest, struct table **out, struct error *err)
{
    u64 i = guest >> (q->cluster_bits + q->l2_bits), offset;
    struct table *old;
    int r;
    if (i >= q->l1.count)
        return qcow2_corrupt(q, err, "the L1 table is too short");
    r = l2_get(q, guest, &old, err);
    if (r < 0 || (old && q->l1.entries[i] & L_COPIED)) {
        *out = old;
        return r;
    }
    r = qcow2_alloc(q, 1, &offset, err);
    if (r == 0)
        r = qcow2_meta_mark(q, offset, q->cluster_size, true, err);
    if (r == 0)
        r = table_get(q, &q->l2, offset, true, out, err);
    if (r == 0 && q->l1.entries[i]) {
        u64 old_offset = q->l1.entries[i] & L_OFFSET;
        r = table_get(q, &q->l2, old_offset, false, &old, err);
        if (r == 0) {
            memcpy((*out)->data, old->data, q->cluster_size);
            r = qcow2_free_later(q, old_offset, q->cluster_size, err);
        }
    }
    if (r == 0)
        big_table_set(&q->l1, i, offset | L_COPIED);
    return r;
}

int qcow2_entry_free(struct qcow2 *q, u64 entry, struct error *err)
{
    u64 offset = entry & L_OFFSET, len = q->cluster_size;
    if (entry & L_COMPRESSED)
        qcow2_packed_range(q, entry, &offset, &len);
    return offset ? qcow2_free_later(q, offset, len, err) : 0;
}

/* Points `count` clusters from `guest` at `host`, which is durable no later than the L2 tables are. */
static int link_clusters(struct qcow2 *q, u64 guest, u64 host, u64 count, struct error *err)
{
    struct table *t;
    int r = qcow2_l2_for_write(q, guest, &t, err);
    for (u64 i = 0; i < count && r == 0; i++) {
        u64 index = l2_index(q, guest) + i, old = entry_at(t, index), entry = (host + (i << q->cluster_bits));
        if ((old & L_OFFSET) != entry || old & L_COMPRESSED)
            r = qcow2_entry_free(q, old, err);
        entry_set(t, index, entry | L_COPIED);
    }
    return r;
}

static int edge_read(struct qcow2 *q, u64 guest, u8 *edge, u64 len, struct error *err)
{
    struct iovec iov = {edge, len};
    struct vector to = {&iov, 1, 0};
    return qcow2_read_guest(q, guest, &to, len, err);
}

/* Writes into clusters that are new to this place: what the request does not cover is copied from what the
 * guest sees. */
static int write_fresh(struct qcow2 *q, u64 guest, struct vector *from, u64 len, const struct run *run,
                       struct error *err)
{
    u64 head = in_cluster(q, guest), first = guest - head;
    u64 count = (head + len + q->cluster_size - 1) >> q->cluster_bits;
    u64 tail = (count << q->cluster_bits) - head - len, host = run->host - head;
    bool reuse = run->kind == RUN_ZERO_ALLOCATED && run->copied;
    u8 *edge = NULL;
    struct table *t;
    /* The L2 table before the data: no cluster is lost if there is no room for it. */
    int r = qcow2_l2_for_write(q, guest, &t, err);
    if (r == 0 && !reuse)
        r = qcow2_alloc(q, count, &host, err);
    if (r == 0 && reuse && qcow2_meta_overlaps(q, host, count << q->cluster_bits))
        r = qcow2_corrupt(q, err, "data is where metadata is, at %#llx", (unsigned long long)host);
    if (r == 0 && (head || tail) && !(edge = malloc(q->cluster_size)))
        r = error_set(err, ENOMEM, "%s: no memory", q->block->path);
    if (r == 0 && head) {
        r = edge_read(q, first, edge, head, err);
        if (r == 0)
            r = qcow2_write(q, host, edge, head, err);
    }
    if (r == 0)
        r = qcow2_writev(q, host + head, from, len, err);
    if (r == 0 && tail) {
        r = edge_read(q, guest + len, edge, tail, err);
        if (r == 0)
            r = qcow2_write(q, host + head + len, edge, tail, err);
    }
    free(edge);
    return r < 0 ? r : link_clusters(q, first, host, count, err);
}

static int write_locked(struct qcow2 *q, u64 guest, struct vector *from, u64 len, struct error *err)
{
    while (len) {
        struct run run = {0};
        int r = qcow2_can_write(q, err);
        if (r == 0)
            r = qcow2_run(q, guest, MIN(len, MAX_PIECE), &run, err);
        if (r < 0)
            return r;
        if (run.kind == RUN_NORMAL && run.copied) {
            if (qcow2_meta_overlaps(q, run.host, run.len))
                return qcow2_corrupt(q, err, "data is where metadata is, at %#llx",
                                     (unsigned long long)run.host);
            r = qcow2_writev(q, run.host, from, run.len, err);
        } else {
            r = write_fresh(q, guest, from, run.len, &run, err);
        }
        if (r < 0)
            return r;
        guest += run.len, len -= run.len;
    }
    return 0;
}

/* --- zeroing and discarding --- */

/* What an L2 entry becomes when its cluster is zeroed or discarded; true if it changes. */
static bool entry_zeroed(struct qcow2 *q, u64 old, bool discard, u64 *entry)
{
    bool below = q->block->backing_name != NULL;
    if (!below && !(old & L_COMPRESSED) && !(old & L_OFFSET) && !(old & L_ZERO))
        return false; /* reads as zeroes already */
    if (discard && !(old & (L_COMPRESSED | L_OFFSET)))
        return false;
    if (q->version < 3 && below)
        return false; /* only by writing zeroes */
    *entry = below ? L_ZERO : 0;
    return *entry != old;
}

/* Whole clusters. In version 2 with a backing file nothing can be done, and nothing is. */
int qcow2_zero_clusters(struct qcow2 *q, u64 guest, u64 len, bool discard, struct error *err)
{
    u64 span = q->cluster_size << q->l2_bits;
    while (len) {
        u64 piece = MIN(len, span - (guest & (span - 1))), entry;
        struct table *t;
        int r = qcow2_can_write(q, err);
        if (r == 0)
            r = l2_get(q, guest, &t, err);
        if (r == 0 && !t && (discard || !q->block->backing_name))
            goto next;
        for (u64 i = 0; i < piece >> q->cluster_bits && r == 0; i++) {
            u64 index = l2_index(q, guest) + i;
            if (t && !entry_zeroed(q, entry_at(t, index), discard, &entry))
                continue;
            r = qcow2_l2_for_write(q, guest, &t, err);
            if (r < 0 || !entry_zeroed(q, entry_at(t, index), discard, &entry))
                continue;
            r = qcow2_entry_free(q, entry_at(t, index), err);
            if (r == 0)
                entry_set(t, index, entry);
        }
        if (r < 0)
            return r;
    next:
        guest += piece, len -= piece;
    }
    return 0;
}

static int write_zero_bytes(struct qcow2 *q, u64 guest, u64 len, struct error *err)
{
    u64 room = MIN(len, MIB(1));
    u8 *zeroes = calloc(1, MAX(room, 1));
    int r = zeroes ? 0 : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    while (len && r == 0) {
        struct run run;
        r = qcow2_run(q, guest, MIN(len, room), &run, err);
        if (r < 0)
            break;
        bool already = run.kind == RUN_ZERO || run.kind == RUN_ZERO_ALLOCATED ||
                       (run.kind == RUN_UNALLOCATED && !q->block->backing_name);
        struct iovec iov = {zeroes, run.len};
        struct vector from = {&iov, 1, 0};
        if (!already)
            r = write_locked(q, guest, &from, run.len, err);
        guest += run.len, len -= run.len;
    }
    free(zeroes);
    return r;
}

/* The whole clusters within a range; the disk's last one is whole even if the disk ends within it. */
static void whole_clusters(const struct qcow2 *q, u64 offset, u64 len, u64 *first, u64 *last)
{
    u64 end = offset + len;
    *first = ALIGN_UP(offset, q->cluster_size);
    *last = end == q->block->size ? ALIGN_UP(end, q->cluster_size) : ALIGN_DOWN(end, q->cluster_size);
    if (*last <= *first)
        *first = *last = end;
}

static int zero_locked(struct qcow2 *q, u64 offset, u64 len, struct error *err)
{
    u64 first, last, end = offset + len;
    int r = qcow2_can_write(q, err);
    whole_clusters(q, offset, len, &first, &last);
    if (q->version < 3 && q->block->backing_name)
        first = last = end;
    if (r == 0 && first > offset)
        r = write_zero_bytes(q, offset, first - offset, err);
    if (r == 0 && last > first)
        r = qcow2_zero_clusters(q, first, last - first, false, err);
    if (r == 0 && end > last)
        r = write_zero_bytes(q, last, end - last, err);
    return r;
}

/* --- the driver's calls --- */

static int qcow2_block_read(struct block *b, u64 offset, struct vector *to, size_t len, struct error *err)
{
    pthread_mutex_lock(&b->lock);
    int r = qcow2_read_guest(b->impl, offset, to, len, err);
    pthread_mutex_unlock(&b->lock);
    return r;
}

static int qcow2_block_write(struct block *b, u64 offset, struct vector *from, size_t len, struct error *err)
{
    pthread_mutex_lock(&b->lock);
    int r = write_locked(b->impl, offset, from, len, err);
    pthread_mutex_unlock(&b->lock);
    return r;
}

static int qcow2_block_write_zeroes(struct block *b, u64 offset, u64 len, struct error *err)
{
    pthread_mutex_lock(&b->lock);
    int r = zero_locked(b->impl, offset, len, err);
    pthread_mutex_unlock(&b->lock);
    return r;
}

static int qcow2_block_discard(struct block *b, u64 offset, u64 len, struct error *err)
{
    struct qcow2 *q = b->impl;
    u64 first, last;
    pthread_mutex_lock(&b->lock);
    int r = qcow2_can_write(q, err);
    whole_clusters(q, offset, len, &first, &last);
    if (r == 0 && last > first)
        r = qcow2_zero_clusters(q, first, last - first, true, err);
    pthread_mutex_unlock(&b->lock);
    return r;
}

static int qcow2_block_flush(struct block *b, struct error *err)
{
    pthread_mutex_lock(&b->lock);
    int r = qcow2_sync(b->impl, err);
    pthread_mutex_unlock(&b->lock);
    return r;
}

static int qcow2_block_map(struct block *b, u64 offset, u64 len, struct block_extent *out, struct error *err)
{
    struct run run;
    pthread_mutex_lock(&b->lock);
    int r = qcow2_run(b->impl, offset, len, &run, err);
    pthread_mutex_unlock(&b->lock);
    if (r < 0)
        return r;
    bool zero = run.kind == RUN_ZERO || run.kind == RUN_ZERO_ALLOCATED;
    out->status = run.kind == RUN_UNALLOCATED ? BLOCK_UNALLOCATED : zero ? BLOCK_ZERO : BLOCK_DATA;
    out->length = run.len;
    out->compressed = run.kind == RUN_COMPRESSED;
    out->has_host_offset = run.kind == RUN_NORMAL || run.kind == RUN_ZERO_ALLOCATED;
    out->host_offset = out->has_host_offset ? run.host : 0;
    return 0;
}

const struct block_ops block_qcow2 = {
    .name = "qcow2",
    .probe = qcow2_probe,
    .open = qcow2_open,
    .read = qcow2_block_read,
    .write = qcow2_block_write,
    .write_zeroes = qcow2_block_write_zeroes,
    .discard = qcow2_block_discard,
    .flush = qcow2_block_flush,
    .resize = qcow2_resize,
    .map = qcow2_block_map,
    .close = qcow2_close,
};
