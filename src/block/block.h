/*
 * Disk images: what a disk device and `ring3 image` see, whatever the format.
 *
 * A `struct block` is one layer: an image file and its driver. Below it may be a backing image, which is only
 * read. Every call is synchronous; block/queue.h has the asynchronous front.
 *
 * Errors: 0 or a negative errno, and a sentence in `err` (may be NULL).
 *
 * Threads: block_read ... block_map may be called from any number of threads at once. A driver with metadata
 * (qcow2) serialises them by the block's lock; raw images are read and written in parallel. Overlapping
 * requests that are under way together have no order. Open, resize, check, snapshots and close are for one
 * thread, with no request under way.
 *
 * Durability: what was written before block_flush was called survives a crash of the host after it returned
 * 0. What was written later may be there or not, sector by sector. Once a flush has failed, an image with
 * metadata takes no more writes, since what the host dropped cannot be told.
 */
#ifndef RING3_BLOCK_BLOCK_H
#define RING3_BLOCK_BLOCK_H

#include <pthread.h>
#include "block/store.h"

#define SECTOR_SIZE 512u

/* A chain of backing files is refused beyond this. */
#define BLOCK_MAX_DEPTH 64

struct block;

struct block_options {
    const char *format; /* NULL: probed from the first bytes */
    bool readonly;
    bool unlocked;   /* look at an image that is in use */
    bool no_backing; /* do not open the backing file (info, check); reading what it holds then fails */
    u64 cache_bytes; /* memory for an image's tables, of each kind; 0: enough */
    bool threads;    /* requests are carried out by threads even where io_uring is there */
    bool inspect; /* change nothing by opening (no clearing of flags, no automatic repair), and open what is
                     marked corrupt */
};

enum block_status {
    BLOCK_UNALLOCATED, /* not in this layer: the backing image's, or zeroes */
    BLOCK_ZERO,
    BLOCK_DATA,
};

struct block_extent {
    enum block_status status;
    u64 length; /* at least 1 */
    bool compressed;
    bool has_host_offset;
    u64 host_offset; /* in the file of layer `depth` */
    unsigned depth;  /* 0: the top layer; from block_map_chain */
};

enum block_request_kind { BLOCK_READ, BLOCK_WRITE, BLOCK_WRITE_ZEROES, BLOCK_DISCARD, BLOCK_FLUSH };

/* Guest bytes `first` to `last` in use by a request; the driver's (qcow2_claim.c). */
struct block_claim {
    struct block_claim *next, *prev;
    u64 first, last;
    bool exclusive;
};

/* A request that is one transfer between its buffers and one run of a store's bytes. */
struct block_direct {
    struct block *block; /* the layer that has the bytes */
    struct store *store; /* NULL: nothing to transfer, a read gives zeroes */
    u64 offset;          /* in the store */
    struct block_claim claim;
};

/* A driver that has no `write` has none of write_zeroes, discard, flush and resize either, and opens only
 * what is opened read-only. */
struct block_ops {
    const char *name; /* the format's */
    /* Do these first bytes of a file look like one? NULL: never probed. */
    bool (*probe)(const u8 *head, size_t len);
    /* `block->store` is open; sets size and impl. */
    int (*open)(struct block *block, const struct block_options *options, struct error *err);
    /* The range is within the size, the buffers hold it; their position is moved. */
    int (*read)(struct block *block, u64 offset, struct vector *to, size_t len, struct error *err);
    int (*write)(struct block *block, u64 offset, struct vector *from, size_t len, struct error *err);
    int (*write_zeroes)(struct block *block, u64 offset, u64 len, struct error *err);
    int (*discard)(struct block *block, u64 offset, u64 len, struct error *err);
    int (*flush)(struct block *block, struct error *err);
    int (*resize)(struct block *block, u64 size, struct error *err);
    int (*map)(struct block *block, u64 offset, u64 len, struct block_extent *out, struct error *err);
    /* The asynchronous way past read and write, for what needs neither waiting nor a change of
     * metadata: says what to transfer. False: not now, call the other. What succeeded is given back by
     * direct_end, from any thread, once the transfer has ended. NULL: never possible. */
    bool (*direct_begin)(struct block *block, enum block_request_kind kind, u64 offset, u64 len,
                         struct block_direct *out);
    void (*direct_end)(struct block_direct *direct, enum block_request_kind kind); /* NULL: nothing to do */
    /* Writes back what is cached and frees impl; accepts a half-opened one. */
    int (*close)(struct block *block, struct error *err);
};

struct block {
    const struct block_ops *ops;
    struct store *store;
    struct block *backing; /* owned; NULL: none */
    void *impl;            /* the driver's */
    char *path;
    char *backing_name;   /* as the image says it, set by the driver; NULL: it has none */
    char *backing_format; /* NULL: to be probed */
    u64 size;             /* bytes that the guest sees */
    bool readonly;
    bool probed;  /* the format was guessed, not given */
    bool threads; /* see block_options */
    pthread_mutex_t lock;
};

extern const struct block_ops block_raw, block_qcow2, block_vmdk, block_vdi;

/* All formats, NULL-terminated; raw is the last, and what nothing else is. */
extern const struct block_ops *const block_formats[];
const struct block_ops *block_format_find(const char *name, struct error *err);

int block_open(struct block **out, const char *path, const struct block_options *options, struct error *err);
/* The same on a store that is already open, which the block owns from now on, also on failure. `path` names
 * it in messages, and a relative backing file is looked for in its directory. */
int block_open_store(struct block **out, struct store *store, const char *path,
                     const struct block_options *options, struct error *err);
/* Everything written reaches the file, and is made durable; the block is gone also when this fails. NULL is
 * accepted. */
int block_close(struct block *block, struct error *err);

int block_read(struct block *block, u64 offset, void *buf, size_t len, struct error *err);
int block_write(struct block *block, u64 offset, const void *buf, size_t len, struct error *err);
/* The same with the buffers of a list, in order; `len` bytes of it, which it has at least. */
int block_readv(struct block *block, u64 offset, const struct iovec *iov, unsigned iov_count, size_t len,
                struct error *err);
int block_writev(struct block *block, u64 offset, const struct iovec *iov, unsigned iov_count, size_t len,
                 struct error *err);
/* See block_ops.direct_begin; `direct->block` gets the layer. */
bool block_direct_begin(struct block *block, enum block_request_kind kind, u64 offset, u64 len,
                        const struct iovec *iov, unsigned iov_count, struct block_direct *direct);
void block_direct_end(struct block_direct *direct, enum block_request_kind kind);

/* The range reads as zeroes afterwards. */
int block_write_zeroes(struct block *block, u64 offset, u64 len, struct error *err);
/* The range is not needed: each sector of it reads as zeroes or as before. */
int block_discard(struct block *block, u64 offset, u64 len, struct error *err);
int block_flush(struct block *block, struct error *err);
/* New bytes read as zeroes. */
int block_resize(struct block *block, u64 size, struct error *err);

/* What this layer has at `offset`; the extent may end before it must. */
int block_map(struct block *block, u64 offset, u64 len, struct block_extent *out, struct error *err);
/* What the guest sees there, from whichever layer; never BLOCK_UNALLOCATED. */
int block_map_chain(struct block *block, u64 offset, u64 len, struct block_extent *out, struct error *err);

/* For drivers: the bytes are not in this layer. */
int block_read_below(struct block *block, u64 offset, struct vector *to, u64 len, struct error *err);
/* For drivers that only read. */
int block_refuse_writing(const struct block *block, struct error *err);

/* The name of a backing file as seen from the directory of the image that names it; malloc'd. */
char *block_backing_path(const char *image, const char *backing);

#endif
