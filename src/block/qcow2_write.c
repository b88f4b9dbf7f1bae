/* Guest requests that change something: writing, zeroing, discarding. */
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
    r = qcow2_l2_get(q, guest, &old, err);
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

static int edge_copy(struct qcow2 *q, u64 guest, u64 host, u8 *edge, u64 len, struct error *err)
{
    struct iovec iov = {edge, len};
    struct vector to = {&iov, 1, 0};
    int r = len ? qcow2_read_guest(q, guest, &to, len, err) : 0;
    return r < 0 || !len ? r : qcow2_write(q, host, edge, len, err);
}

/* A piece of a write whose clusters get a new place. */
struct fresh {
    u64 guest, len;   /* what is written */
    u64 first, count; /* the clusters around it */
    u64 host;
    bool allocated; /* else the place is the clusters' already */
    bool blank;     /* what is there reads as zeroes */
};

static int fresh_allocate(struct qcow2 *q, struct fresh *f, const struct run *run, struct error *err)
{
    u64 head = in_cluster(q, f->guest), end = q->file_end;
    struct table *t;
    f->first = f->guest - head;
    f->count = (head + f->len + q->cluster_size - 1) >> q->cluster_bits;
    f->host = run->host - head;
    f->allocated = run->kind != RUN_ZERO_ALLOCATED || !run->copied;
    /* The L2 table before the data: no cluster is lost if there is no room for it. */
    int r = qcow2_l2_for_write(q, f->guest, &t, err);
    if (r == 0 && f->allocated)
        r = qcow2_alloc(q, f->count, &f->host, err);
    else if (r == 0 && qcow2_meta_overlaps(q, f->host, f->count << q->cluster_bits))
        r = qcow2_corrupt(q, err, "data is where metadata is, at %#llx", (unsigned long long)f->host);
    f->blank = r == 0 && f->allocated && f->host >= end;
    return r;
}

/* Where the new place needs no zeroes written, and nothing else is there to copy. */
static bool edges_are_blank(struct qcow2 *q, const struct fresh *f, const struct run *run)
{
    return f->blank && (run->kind == RUN_ZERO || run->kind == RUN_ZERO_ALLOCATED ||
                        (run->kind == RUN_UNALLOCATED && !q->block->backing_name));
}

/* What the request does not cover of its clusters is copied from what the guest sees. Without the lock. */
static int fresh_transfer(struct qcow2 *q, const struct fresh *f, const struct run *run, struct vector *from,
                          struct error *err)
{
    u64 head = f->guest - f->first, end = head + f->len, tail = (f->count << q->cluster_bits) - end;
    u8 *edge = NULL;
    int r = 0;
    if (edges_are_blank(q, f, run))
        head = tail = 0;
    if ((head || tail) && !(edge = malloc(q->cluster_size)))
        return error_set(err, ENOMEM, "%s: no memory", q->block->path);
    r = edge_copy(q, f->first, f->host, edge, head, err);
    if (r == 0)
        r = qcow2_writev(q, f->host + (f->guest - f->first), from, f->len, err);
    if (r == 0)
        r = edge_copy(q, f->guest + f->len, f->host + end, edge, tail, err);
    free(edge);
    return r;
}

/* With the lock, which is given up while bytes are transferred. */
static int write_fresh(struct qcow2 *q, u64 guest, struct vector *from, const struct run *run,
                       struct error *err)
{
    struct fresh f = {.guest = guest, .len = run->len};
    int r = fresh_allocate(q, &f, run, err);
    if (r < 0)
        return r;
    pthread_mutex_unlock(&q->block->lock);
    r = fresh_transfer(q, &f, run, from, err);
    pthread_mutex_lock(&q->block->lock);
    if (r == 0)
        return link_clusters(q, f.first, f.host, f.count, err);
    if (f.allocated)
        qcow2_free_now(q, f.host, f.count << q->cluster_bits, NULL);
    return r;
}

/* One run of a write; *len becomes what was done. With the range claimed; without `alone`, -EAGAIN where L2
 * entries would have to change. */
static int write_run(struct qcow2 *q, u64 guest, struct vector *from, u64 *len, bool alone, struct error *err)
{
    struct run run = {0};
    pthread_mutex_lock(&q->block->lock);
    int r = qcow2_can_write(q, err);
    if (r == 0)
        r = qcow2_run(q, guest, MIN(*len, MAX_PIECE), &run, err);
    bool in_place = run.kind == RUN_NORMAL && run.copied;
    if (r == 0 && in_place && qcow2_meta_overlaps(q, run.host, run.len))
        r = qcow2_corrupt(q, err, "data is where metadata is, at %#llx", (unsigned long long)run.host);
    if (r == 0 && !in_place)
        r = alone ? write_fresh(q, guest, from, &run, err) : -EAGAIN;
    pthread_mutex_unlock(&q->block->lock);
    *len = run.len;
    return r < 0 || !in_place ? r : qcow2_writev(q, run.host, from, run.len, err);
}

/* With the clusters claimed. */
static int write_claimed(struct qcow2 *q, u64 guest, struct vector *from, u64 len, struct error *err)
{
    int r = 0;
    for (u64 n; len && r == 0; guest += n, len -= n) {
        n = len;
        r = write_run(q, guest, from, &n, true, err);
    }
    return r;
}

int qcow2_block_write(struct block *b, u64 offset, struct vector *from, size_t len, struct error *err)
{
    struct qcow2 *q = b->impl;
    struct block_claim claim;
    u64 left = len;
    int r = 0;
    /* In place as far as that goes. */
    qcow2_claim(q, &claim, offset, left);
    while (left && r == 0) {
        u64 n = left;
        r = write_run(q, offset, from, &n, false, err);
        if (r == 0)
            offset += n, left -= n;
    }
    qcow2_release(q, &claim);
    if (r != -EAGAIN)
        return r;
    qcow2_claim_clusters(q, &claim, offset, left);
    r = write_claimed(q, offset, from, left, err);
    qcow2_release(q, &claim);
    return r;
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

/* Whole clusters, with the lock. In version 2 with a backing file nothing can be done, and nothing is. */
static int zero_clusters(struct qcow2 *q, u64 guest, u64 len, bool discard, struct error *err)
{
    u64 span = q->cluster_size << q->l2_bits;
    while (len) {
        u64 piece = MIN(len, span - (guest & (span - 1))), entry;
        struct table *t;
        int r = qcow2_can_write(q, err);
        if (r == 0)
            r = qcow2_l2_get(q, guest, &t, err);
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

/* With the clusters claimed. */
static int write_zero_bytes(struct qcow2 *q, u64 guest, u64 len, struct error *err)
{
    u64 room = MIN(len, MIB(1));
    u8 *zeroes = calloc(1, MAX(room, 1));
    int r = zeroes ? 0 : error_set(err, ENOMEM, "%s: no memory", q->block->path);
    while (len && r == 0) {
        struct run run;
        pthread_mutex_lock(&q->block->lock);
        r = qcow2_run(q, guest, MIN(len, room), &run, err);
        pthread_mutex_unlock(&q->block->lock);
        if (r < 0)
            break;
        bool already = run.kind == RUN_ZERO || run.kind == RUN_ZERO_ALLOCATED ||
                       (run.kind == RUN_UNALLOCATED && !q->block->backing_name);
        struct iovec iov = {zeroes, run.len};
        struct vector from = {&iov, 1, 0};
        if (!already)
            r = write_claimed(q, guest, &from, run.len, err);
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

static int zero_claimed(struct qcow2 *q, u64 offset, u64 len, bool discard, struct error *err)
{
    u64 first, last, end = offset + len;
    int r = 0;
    whole_clusters(q, offset, len, &first, &last);
    if (q->version < 3 && q->block->backing_name && !discard)
        first = last = end;
    if (first > offset && !discard)
        r = write_zero_bytes(q, offset, first - offset, err);
    if (r == 0 && last > first) {
        pthread_mutex_lock(&q->block->lock);
        r = zero_clusters(q, first, last - first, discard, err);
        pthread_mutex_unlock(&q->block->lock);
    }
    if (r == 0 && end > last && !discard)
        r = write_zero_bytes(q, last, end - last, err);
    return r;
}

int qcow2_block_write_zeroes(struct block *b, u64 offset, u64 len, struct error *err)
{
    struct block_claim claim;
    qcow2_claim_clusters(b->impl, &claim, offset, len);
    int r = zero_claimed(b->impl, offset, len, false, err);
    qcow2_release(b->impl, &claim);
    return r;
}

int qcow2_block_discard(struct block *b, u64 offset, u64 len, struct error *err)
{
    struct block_claim claim;
    qcow2_claim_clusters(b->impl, &claim, offset, len);
    int r = zero_claimed(b->impl, offset, len, true, err);
    qcow2_release(b->impl, &claim);
    return r;
}
