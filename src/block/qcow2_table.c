#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

/* --- the caches --- */

int table_cache_init(struct table_cache *c, u64 table_size, u64 budget)
{
    u64 count = MIN(MAX(budget / table_size, 8), 1024);
    c->tables = calloc(count, sizeof *c->tables);
    if (!c->tables)
        return -ENOMEM;
    c->count = (unsigned)count;
    for (unsigned i = 0; i < TABLE_BUCKETS; i++)
        c->buckets[i] = -1;
    return 0;
}

void table_cache_finish(struct table_cache *c)
{
    for (unsigned i = 0; i < c->count; i++)
        free(c->tables[i].data);
    free(c->tables);
    *c = (struct table_cache){0};
}

static int *bucket_of(struct table_cache *c, u64 offset)
{
    return &c->buckets[((offset * 0x9e3779b97f4a7c15ull) >> 32) % TABLE_BUCKETS];
}

static struct table *table_find(struct table_cache *c, u64 offset)
{
    for (int i = *bucket_of(c, offset); i >= 0; i = c->tables[i].next)
        if (c->tables[i].offset == offset)
            return &c->tables[i];
    return NULL;
}

bool table_is_cached(struct table_cache *c, u64 offset)
{
    return table_find(c, offset) != NULL;
}

void table_drop(struct table_cache *c, u64 offset)
{
    struct table *t = table_find(c, offset);
    if (!t)
        return;
    int *link = bucket_of(c, offset);
    while (&c->tables[*link] != t)
        link = &c->tables[*link].next;
    *link = t->next;
    t->offset = 0;
    t->used = 0;
    t->dirty = false;
}

void table_drop_all(struct table_cache *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->tables[i].offset)
            table_drop(c, c->tables[i].offset);
}

static int table_write(struct qcow2 *q, struct table *t, struct error *err)
{
    int r = qcow2_write(q, t->offset, t->data, q->cluster_size, err);
    if (r == 0)
        t->dirty = false;
    return r;
}

/* A slot that may be overwritten: unused, or the one unused for longest, written back. */
static int table_evict(struct qcow2 *q, struct table_cache *c, struct table **out, struct error *err)
{
    struct table *victim = &c->tables[0];
    for (unsigned i = 0; i < c->count && victim->offset; i++)
        if (!c->tables[i].offset || c->tables[i].used < victim->used)
            victim = &c->tables[i];
    if (victim->offset && victim->dirty) {
        /* A refcount block may be written at any time, see invariant 1; an L2 table in its turn only. */
        int r = c == &q->rb ? table_write(q, victim, err) : qcow2_commit(q, err);
        if (r < 0)
            return r;
    }
    if (victim->offset)
        table_drop(c, victim->offset);
    if (!victim->data && !(victim->data = malloc(q->cluster_size)))
        return error_set(err, ENOMEM, "%s: no memory for its tables", q->block->path);
    *out = victim;
    return 0;
}

int table_get(struct qcow2 *q, struct table_cache *c, u64 offset, bool fresh, struct table **out,
              struct error *err)
{
    struct table *t = table_find(c, offset);
    if (!t) {
        int r = table_evict(q, c, &t, err);
        if (r == 0 && !fresh)
            r = store_read(q->store, offset, t->data, q->cluster_size, err);
        if (r < 0)
            return r;
        int *head = bucket_of(c, offset);
        t->offset = offset;
        t->next = *head;
        *head = (int)(t - c->tables);
    }
    if (fresh) {
        memset(t->data, 0, q->cluster_size);
        t->dirty = true;
    }
    t->used = ++c->clock;
    *out = t;
    return 0;
}

void big_table_set(struct big_table *t, u64 index, u64 value)
{
    t->entries[index] = value;
    if (t->dirty >= t->clean) {
        t->dirty = index;
        t->clean = index + 1;
    } else {
        t->dirty = MIN(t->dirty, index);
        t->clean = MAX(t->clean, index + 1);
    }
}

/* --- writing --- */

int qcow2_writev(struct qcow2 *q, u64 offset, struct vector *from, u64 len, struct error *err)
{
    if (q->broken)
        return error_set(err, EIO, "%s: an earlier write failed, so it takes no more; check it with --repair",
                         q->block->path);
    int r = store_writev(q->store, offset, from, len, err);
    atomic_store(&q->unflushed, true);
    return r;
}

int qcow2_write(struct qcow2 *q, u64 offset, const void *buf, u64 len, struct error *err)
{
    struct iovec iov = {(void *)buf, len};
    struct vector from = {&iov, 1, 0};
    return qcow2_writev(q, offset, &from, len, err);
}

int qcow2_barrier(struct qcow2 *q, struct error *err)
{
    int r = 0;
    pthread_mutex_lock(&q->flush_lock);
    if (q->broken)
        r = error_set(err, EIO, "%s: an earlier write failed; what was written since may be lost",
                      q->block->path);
    else if (atomic_exchange(&q->unflushed, false)) {
        r = store_flush(q->store, err);
        if (r < 0)
            q->broken = true;
    }
    pthread_mutex_unlock(&q->flush_lock);
    return r;
}

int qcow2_write_entries(struct qcow2 *q, u64 offset, const u64 *entries, u64 count, struct error *err)
{
    u64 chunk[512];
    for (u64 i = 0; i < count; i += ARRAY_LEN(chunk)) {
        u64 n = MIN(count - i, ARRAY_LEN(chunk));
        for (u64 j = 0; j < n; j++)
            store_be64(&chunk[j], entries[i + j]);
        int r = qcow2_write(q, offset + i * 8, chunk, n * 8, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int qcow2_read_entries(struct qcow2 *q, u64 offset, u64 *entries, u64 count, struct error *err)
{
    int r = store_read(q->store, offset, entries, count * 8, err);
    for (u64 i = 0; i < count && r == 0; i++)
        entries[i] = __builtin_bswap64(entries[i]);
    return r;
}

static int big_table_write(struct qcow2 *q, struct big_table *t, struct error *err)
{
    int r = 0;
    if (t->dirty < t->clean) {
        r = qcow2_barrier(q, err);
        if (r == 0)
            r = qcow2_write_entries(q, t->offset + t->dirty * 8, t->entries + t->dirty, t->clean - t->dirty,
                                    err);
        if (r == 0)
            t->dirty = t->clean = 0;
    }
    return r;
}

static int write_dirty(struct qcow2 *q, struct table_cache *c, bool barrier, struct error *err)
{
    for (unsigned i = 0; i < c->count; i++) {
        int r = 0;
        if (!c->tables[i].offset || !c->tables[i].dirty)
            continue;
        if (barrier)
            r = qcow2_barrier(q, err);
        barrier = false;
        if (r == 0)
            r = table_write(q, &c->tables[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static bool has_dirty(const struct table_cache *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->tables[i].offset && c->tables[i].dirty)
            return true;
    return false;
}

/* Before metadata is written whose refcounts are not. */
static int mark_dirty(struct qcow2 *q, struct error *err)
{
    bool changes =
        q->rt.dirty < q->rt.clean || q->l1.dirty < q->l1.clean || has_dirty(&q->rb) || has_dirty(&q->l2);
    if (!changes || q->incompatible & INCOMPAT_DIRTY)
        return 0;
    return qcow2_set_incompatible(q, q->incompatible | INCOMPAT_DIRTY, err);
}

int qcow2_set_incompatible(struct qcow2 *q, u64 features, struct error *err)
{
    u8 bytes[8];
    store_be64(bytes, features);
    int r = qcow2_write_header(q, H_INCOMPATIBLE, bytes, sizeof bytes, err);
    if (r == 0)
        q->incompatible = features;
    return r;
}

int qcow2_commit(struct qcow2 *q, struct error *err)
{
    int r = q->lazy ? mark_dirty(q, err) : write_dirty(q, &q->rb, false, err);
    if (r == 0 && !q->lazy)
        r = big_table_write(q, &q->rt, err);
    if (r == 0)
        r = write_dirty(q, &q->l2, true, err);
    if (r == 0)
        r = big_table_write(q, &q->l1, err);
    if (r == 0 && q->freed_count) {
        r = qcow2_barrier(q, err);
        if (r == 0)
            r = qcow2_apply_frees(q, err);
    }
    return r;
}

int qcow2_commit_all(struct qcow2 *q, struct error *err)
{
    int r = qcow2_commit(q, err);
    return r < 0 || q->lazy ? r : write_dirty(q, &q->rb, false, err);
}

int qcow2_sync(struct qcow2 *q, struct error *err)
{
    int r = qcow2_commit_all(q, err);
    return r < 0 ? r : qcow2_barrier(q, err);
}

int qcow2_write_header(struct qcow2 *q, u64 at, const void *bytes, u64 len, struct error *err)
{
    int r = qcow2_barrier(q, err);
    if (r == 0)
        r = qcow2_write(q, at, bytes, len, err);
    return r < 0 ? r : qcow2_barrier(q, err);
}
