/* A store in memory that records writes and flushes, so that a test can make the states a power cut may
 * leave. */
#ifndef RING3_TESTS_MEM_STORE_H
#define RING3_TESTS_MEM_STORE_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "block/store.h"

#define MEM_STORE_MAX MIB(64)

enum mem_event_kind { MEM_WRITE, MEM_FLUSH, MEM_TRUNCATE };

struct mem_event {
    enum mem_event_kind kind;
    u64 offset, len; /* MEM_TRUNCATE: the new size in `offset` */
    u8 *data;
};

struct mem_store {
    struct store store;
    u8 *data;
    u64 size, capacity;
    bool records;
    struct mem_event *events;
    size_t count, room;
    pthread_mutex_t lock;
    long fail_after; /* writes and flushes until everything fails; -1: never */
};

static inline struct mem_store *mem_of(struct store *s)
{
    return container_of(s, struct mem_store, store);
}

static inline int mem_fails(struct mem_store *m, struct error *err)
{
    if (m->fail_after == 0)
        return error_set(err, EIO, "memory: made to fail");
    m->fail_after -= m->fail_after > 0;
    return 0;
}

static inline void mem_record(struct mem_store *m, enum mem_event_kind kind, u64 offset, const void *data,
                              u64 len)
{
    if (!m->records)
        return;
    if (m->count == m->room) {
        m->room = m->room ? m->room * 2 : 64;
        m->events = realloc(m->events, m->room * sizeof *m->events);
    }
    struct mem_event *e = &m->events[m->count++];
    *e = (struct mem_event){.kind = kind, .offset = offset, .len = len};
    if (kind == MEM_WRITE) {
        e->data = calloc(1, len);
        if (data)
            memcpy(e->data, data, len);
    }
}

static inline void mem_forget(struct mem_store *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->events[i].data);
    m->count = 0;
}

static inline int mem_grow(struct mem_store *m, u64 size, struct error *err)
{
    if (size > MEM_STORE_MAX)
        return error_set(err, EFBIG, "memory: %llu bytes are too many", (unsigned long long)size);
    if (size > m->capacity) {
        m->capacity = MIN(size + size / 2, MEM_STORE_MAX);
        m->data = realloc(m->data, m->capacity);
    }
    if (size > m->size) {
        memset(m->data + m->size, 0, size - m->size);
        m->size = size;
    }
    return 0;
}

static inline int mem_read_locked(struct store *s, u64 offset, void *buf, size_t len, struct error *err)
{
    struct mem_store *m = mem_of(s);
    u64 n = offset < m->size ? MIN(len, m->size - offset) : 0;
    (void)err;
    if (n)
        memcpy(buf, m->data + offset, n);
    memset((u8 *)buf + n, 0, len - n);
    return 0;
}

static inline int mem_write_locked(struct store *s, u64 offset, const void *buf, size_t len,
                                   struct error *err)
{
    struct mem_store *m = mem_of(s);
    int r = mem_fails(m, err);
    if (r == 0 && (offset > MEM_STORE_MAX || len > MEM_STORE_MAX))
        r = error_set(err, EFBIG, "memory: too large");
    if (r == 0)
        r = mem_grow(m, offset + len, err);
    if (r < 0)
        return r;
    memcpy(m->data + offset, buf, len);
    mem_record(m, MEM_WRITE, offset, buf, len);
    return 0;
}

static inline int mem_flush_locked(struct store *s, struct error *err)
{
    int r = mem_fails(mem_of(s), err);
    if (r == 0)
        mem_record(mem_of(s), MEM_FLUSH, 0, NULL, 0);
    return r;
}

static inline int mem_size(struct store *s, u64 *out, struct error *err)
{
    (void)err;
    *out = mem_of(s)->size;
    return 0;
}

static inline int mem_truncate(struct store *s, u64 size, struct error *err)
{
    struct mem_store *m = mem_of(s);
    int r = mem_grow(m, size, err);
    if (r < 0)
        return r;
    m->size = size;
    mem_record(m, MEM_TRUNCATE, size, NULL, 0);
    return 0;
}

static inline int mem_punch_locked(struct store *s, u64 offset, u64 len)
{
    struct mem_store *m = mem_of(s);
    if (offset >= m->size)
        return 0;
    len = MIN(len, m->size - offset);
    memset(m->data + offset, 0, len);
    mem_record(m, MEM_WRITE, offset, NULL, len);
    return 0;
}

static inline int mem_read(struct store *s, u64 offset, void *buf, size_t len, struct error *err)
{
    pthread_mutex_lock(&mem_of(s)->lock);
    int r = mem_read_locked(s, offset, buf, len, err);
    pthread_mutex_unlock(&mem_of(s)->lock);
    return r;
}

static inline int mem_write(struct store *s, u64 offset, const void *buf, size_t len, struct error *err)
{
    pthread_mutex_lock(&mem_of(s)->lock);
    int r = mem_write_locked(s, offset, buf, len, err);
    pthread_mutex_unlock(&mem_of(s)->lock);
    return r;
}

static inline int mem_flush(struct store *s, struct error *err)
{
    pthread_mutex_lock(&mem_of(s)->lock);
    int r = mem_flush_locked(s, err);
    pthread_mutex_unlock(&mem_of(s)->lock);
    return r;
}

static inline int mem_punch(struct store *s, u64 offset, u64 len)
{
    pthread_mutex_lock(&mem_of(s)->lock);
    int r = mem_punch_locked(s, offset, len);
    pthread_mutex_unlock(&mem_of(s)->lock);
    return r;
}

static inline void mem_close(struct store *s)
{
    struct mem_store *m = mem_of(s);
    mem_forget(m);
    free(m->events);
    pthread_mutex_destroy(&m->lock);
    free(m->data);
    free(m);
}

static const struct store_ops mem_ops = {
    .read = mem_read,
    .write = mem_write,
    .flush = mem_flush,
    .size = mem_size,
    .truncate = mem_truncate,
    .punch = mem_punch,
    .close = mem_close,
};

/* With a copy of `data`; NULL: empty. */
static inline struct mem_store *mem_store_create(const void *data, u64 size)
{
    struct mem_store *m = calloc(1, sizeof *m);
    m->store = (struct store){.ops = &mem_ops, .name = "memory"};
    m->fail_after = -1;
    pthread_mutex_init(&m->lock, NULL);
    m->data = malloc(size + 1);
    m->size = m->capacity = size;
    if (data)
        memcpy(m->data, data, size);
    return m;
}

#endif
