/* Mapping, reading, what needs no worker, and the driver's table. */
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

static u64 in_cluster(const struct qcow2 *q, u64 guest)
{
    return guest & (q->cluster_size - 1);
}

/* `cached`: -EAGAIN instead of reading it. */
static int l2_find(struct qcow2 *q, u64 guest, bool cached, struct table **out, struct error *err)
{
    u64 i = guest >> (q->cluster_bits + q->l2_bits);
    u64 offset = i < q->l1.count ? q->l1.entries[i] & L_OFFSET : 0;
    *out = NULL;
    if (!offset)
        return 0;
    if (offset & (q->cluster_size - 1))
        return qcow2_corrupt(q, err, "the L2 table for guest offset %#llx is at the odd offset %#llx",
                             (unsigned long long)guest, (unsigned long long)offset);
    if (cached && !table_is_cached(&q->l2, offset))
        return -EAGAIN;
    return table_get(q, &q->l2, offset, false, out, err);
}

int qcow2_l2_get(struct qcow2 *q, u64 guest, struct table **out, struct error *err)
{
    return l2_find(q, guest, false, out, err);
}

/* A subcluster's bits in the second half of an extended entry: allocated, and reads as zeroes. */
static int subcluster_classify(struct qcow2 *q, u64 bitmap, unsigned sub, struct run *run, struct error *err)
{
    bool allocated = bitmap & BIT(sub), zero = bitmap & BIT(32 + sub);
    bool placed = run->kind == RUN_NORMAL;
    if ((allocated && zero) || (allocated && !placed))
        return qcow2_corrupt(q, err, "an L2 entry's subclusters %#llx are not possible",
                             (unsigned long long)bitmap);
    run->host += (u64)sub << q->unit_bits;
    if (zero)
        run->kind = placed ? RUN_ZERO_ALLOCATED : RUN_ZERO;
    else if (!allocated)
        run->kind = RUN_UNALLOCATED;
    return 0;
}

/* What unit number `unit` of an L2 table is. */
static int unit_classify(struct qcow2 *q, const struct table *t, u64 unit, struct run *run, struct error *err)
{
    unsigned per = q->cluster_bits - q->unit_bits;
    const u8 *at = t->data + (unit >> per << q->entry_shift);
    u64 entry = load_be64(at), host = entry & L_OFFSET;
    *run = (struct run){.entry = entry, .copied = entry & L_COPIED, .host = host};
    if (entry & L_COMPRESSED) {
        run->kind = RUN_COMPRESSED;
        return 0;
    }
    if (host & (q->cluster_size - 1))
        return qcow2_corrupt(q, err, "the data at the L2 entry %#llx is at an odd offset",
                             (unsigned long long)entry);
    /* The first cluster of an external data file may have a place, too. */
    bool placed = host || (q->data_name && run->copied);
    if (q->version >= 3 && entry & L_ZERO && !per)
        run->kind = placed ? RUN_ZERO_ALLOCATED : RUN_ZERO;
    else
        run->kind = placed ? RUN_NORMAL : RUN_UNALLOCATED;
    return per ? subcluster_classify(q, load_be64(at + 8), (unsigned)(unit & MASK(per)), run, err) : 0;
}

static int run_find(struct qcow2 *q, u64 guest, u64 len, bool cached, struct run *run, struct error *err)
{
    struct table *t;
    u64 size = BIT(q->unit_bits), skip = guest & (size - 1), n = 1;
    u64 units = q->cluster_size << q->l2_bits >> q->unit_bits, index = (guest >> q->unit_bits) & (units - 1);
    u64 end = MIN(units, index + ((skip + len + size - 1) >> q->unit_bits));
    int r = l2_find(q, guest, cached, &t, err);
    if (r < 0)
        return r;
    if (!t) {
        *run = (struct run){.kind = RUN_UNALLOCATED};
        n = end - index;
    } else {
        r = unit_classify(q, t, index, run, err);
        for (; r == 0 && run->kind != RUN_COMPRESSED && index + n < end; n++) {
            struct run next;
            bool placed = run->kind == RUN_NORMAL || run->kind == RUN_ZERO_ALLOCATED;
            if (unit_classify(q, t, index + n, &next, NULL) < 0 || next.kind != run->kind ||
                (placed && (next.copied != run->copied || next.host != run->host + (n << q->unit_bits))))
                break;
        }
        run->host += skip;
    }
    run->len = MIN(len, (n << q->unit_bits) - skip);
    return r;
}

int qcow2_run(struct qcow2 *q, u64 guest, u64 len, struct run *run, struct error *err)
{
    return run_find(q, guest, len, false, run, err);
}

/* --- reading --- */

static int read_run(struct qcow2 *q, u64 guest, const struct run *run, struct vector *to, struct error *err)
{
    switch (run->kind) {
    case RUN_UNALLOCATED:
        return block_read_below(q->block, guest, to, run->len, err);
    case RUN_ZERO:
    case RUN_ZERO_ALLOCATED:
        vector_zero(to, run->len);
        return 0;
    case RUN_NORMAL:
        return store_readv(q->data, run->host, to, run->len, err);
    default:
        return qcow2_unpack(q, run->entry, in_cluster(q, guest), to, run->len, err);
    }
}

int qcow2_read_guest(struct qcow2 *q, u64 guest, struct vector *to, u64 len, struct error *err)
{
    u64 inside = guest < q->block->size ? MIN(len, q->block->size - guest) : 0, past = len - inside;
    while (inside) {
        struct run run;
        pthread_mutex_lock(&q->block->lock);
        int r = qcow2_run(q, guest, inside, &run, err);
        pthread_mutex_unlock(&q->block->lock);
        if (r == 0)
            r = read_run(q, guest, &run, to, err);
        if (r < 0)
            return r;
        guest += run.len, inside -= run.len;
    }
    vector_zero(to, past);
    return 0;
}

/* --- what needs no worker --- */

/* Everything in one place, and nothing to wait for. */
static bool direct_place(struct qcow2 *q, bool write, u64 offset, u64 len, struct run *run)
{
    if (pthread_mutex_trylock(&q->block->lock) != 0)
        return false;
    bool good = run_find(q, offset, len, true, run, NULL) == 0 && run->len == len;
    if (good && write)
        good = run->kind == RUN_NORMAL && run->copied && !q->broken &&
               !qcow2_meta_overlaps(q, run->host, run->len);
    pthread_mutex_unlock(&q->block->lock);
    return good && run->kind != RUN_COMPRESSED;
}

static bool qcow2_direct_begin(struct block *b, enum block_request_kind kind, u64 offset, u64 len,
                               struct block_direct *out)
{
    struct qcow2 *q = b->impl;
    struct block *backing = b->backing;
    struct run run = {0};
    if (!qcow2_claim_try(q, &out->claim, offset, len))
        return false;
    if (!direct_place(q, kind == BLOCK_WRITE, offset, len, &run))
        goto no;
    if (run.kind == RUN_NORMAL) {
        out->store = q->data;
        out->offset = run.host;
        return true;
    }
    if (run.kind != RUN_UNALLOCATED || (!b->backing_name && !backing))
        return true; /* zeroes */
    if (!backing || offset >= backing->size || len > backing->size - offset || !backing->ops->direct_begin)
        goto no;
    /* The claim is given back: what is below never moves. */
    qcow2_release(q, &out->claim);
    *out = (struct block_direct){.block = backing};
    return backing->ops->direct_begin(backing, kind, offset, len, out);
no:
    qcow2_release(q, &out->claim);
    return false;
}

static void qcow2_direct_end(struct block_direct *direct, enum block_request_kind kind)
{
    struct qcow2 *q = direct->block->impl;
    if (kind == BLOCK_WRITE)
        atomic_store(&q->unflushed, true);
    qcow2_release(q, &direct->claim);
}

/* --- the driver's calls --- */

static int qcow2_block_read(struct block *b, u64 offset, struct vector *to, size_t len, struct error *err)
{
    struct block_claim claim;
    qcow2_claim(b->impl, &claim, offset, len);
    int r = qcow2_read_guest(b->impl, offset, to, len, err);
    qcow2_release(b->impl, &claim);
    return r;
}

static int qcow2_block_flush(struct block *b, struct error *err)
{
    pthread_mutex_lock(&b->lock);
    int r = qcow2_commit_all(b->impl, err);
    pthread_mutex_unlock(&b->lock);
    return r < 0 ? r : qcow2_barrier(b->impl, err);
}

static int qcow2_block_map(struct block *b, u64 offset, u64 len, struct block_extent *out, struct error *err)
{
    const struct qcow2 *q = b->impl;
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
    out->has_host_offset = q->data == q->store && (run.kind == RUN_NORMAL || run.kind == RUN_ZERO_ALLOCATED);
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
    .direct_begin = qcow2_direct_begin,
    .direct_end = qcow2_direct_end,
    .close = qcow2_close,
};
