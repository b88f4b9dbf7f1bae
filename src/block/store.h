/*
 * A store is where an image's bytes are: a file, a block device, or (in tests) memory that records what was
 * written. Image formats know nothing else of the host.
 *
 * Threads: read, write, flush and punch may run at the same time on one store; truncate alone.
 */
#ifndef RING3_BLOCK_STORE_H
#define RING3_BLOCK_STORE_H

#include "base/error.h"
#include "block/vector.h"

/* What the analyzer cannot see from outside of error.c: an error is negative. */
#ifdef __clang_analyzer__
#define error_set(err, code, ...) (error_set(err, code, __VA_ARGS__), -(code))
#endif

struct store;

struct store_ops {
    /* Bytes past the end read as zeroes. */
    int (*read)(struct store *store, u64 offset, void *buf, size_t len, struct error *err);
    /* Past the end: the file grows, with zeroes between. */
    int (*write)(struct store *store, u64 offset, const void *buf, size_t len, struct error *err);
    /* The same with lists of buffers, whose position is moved; NULL: piece by piece. */
    int (*readv)(struct store *store, u64 offset, struct vector *to, size_t len, struct error *err);
    int (*writev)(struct store *store, u64 offset, struct vector *from, size_t len, struct error *err);
    /* What was written before is durable afterwards. */
    int (*flush)(struct store *store, struct error *err);
    int (*size)(struct store *store, u64 *out, struct error *err);
    int (*truncate)(struct store *store, u64 size, struct error *err);
    /* The range reads as zeroes afterwards and takes no space; -ENOTSUP if it cannot (nothing has changed).
     */
    int (*punch)(struct store *store, u64 offset, u64 len);
    /* Reserves space for the range without changing what it reads as; -ENOTSUP if it cannot. */
    int (*reserve)(struct store *store, u64 offset, u64 len, struct error *err);
    /* How far from `offset` the file has data, or a hole; *len is at least 1 and may end early. */
    int (*extent)(struct store *store, u64 offset, u64 *len, bool *data);
    /* A descriptor to read and write the same bytes with, at the same offsets; NULL: there is none. */
    int (*descriptor)(struct store *store);
    void (*close)(struct store *store);
};

struct store {
    const struct store_ops *ops;
    const char *name; /* for messages; lives as long as the store */
    bool readonly;
    bool fixed_size;   /* a block device */
    u64 device, inode; /* which file it is, for loops of backing files; 0, 0 if none */
};

enum store_flags {
    STORE_WRITE = 1,
    STORE_CREATE = 2,   /* with STORE_WRITE: create the file, or empty it once nobody else uses it */
    STORE_UNLOCKED = 4, /* take no lock: for looking at an image that is in use */
    STORE_TEMPORARY = 8 /* nothing of it outlives this process: a flush does nothing */
};

/*
 * Opens a regular file or block device, and locks it: any number of readers or one writer, across processes,
 * also against QEMU (the same bytes are locked, see store_file.c). Held until store_close.
 */
int store_open_file(struct store **out, const char *path, unsigned flags, struct error *err);
void store_close(struct store *store);

static inline int store_read(struct store *s, u64 offset, void *buf, size_t len, struct error *err)
{
    return s->ops->read(s, offset, buf, len, err);
}
static inline int store_write(struct store *s, u64 offset, const void *buf, size_t len, struct error *err)
{
    return s->ops->write(s, offset, buf, len, err);
}
int store_readv(struct store *s, u64 offset, struct vector *to, size_t len, struct error *err);
int store_writev(struct store *s, u64 offset, struct vector *from, size_t len, struct error *err);
static inline int store_flush(struct store *s, struct error *err)
{
    return s->ops->flush(s, err);
}
static inline int store_size(struct store *s, u64 *out, struct error *err)
{
    return s->ops->size(s, out, err);
}

/* Zeroes, by the cheapest way that the store has. */
int store_zero(struct store *store, u64 offset, u64 len, struct error *err);

#endif
