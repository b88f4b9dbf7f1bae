/* What only qcow2 images have: creation options, checking, snapshots. Reading and writing is block/block.h.
 */
#ifndef RING3_BLOCK_QCOW2_H
#define RING3_BLOCK_QCOW2_H

#include "block/block.h"

enum preallocation { PREALLOCATE_OFF, PREALLOCATE_METADATA, PREALLOCATE_FALLOC, PREALLOCATE_FULL };

struct qcow2_create_options {
    u64 size;
    unsigned version;       /* 2 or 3; 0: 3 */
    unsigned cluster_bits;  /* 9 to 21; 0: 16 */
    unsigned refcount_bits; /* 1, 2, 4 ... 64; 0: 16, the only one in version 2 */
    bool lazy_refcounts;
    bool zstd; /* compressed clusters are zstd's, not deflate's */
    enum preallocation preallocation;
    const char *backing, *backing_format; /* NULL: none */
};

/* Makes the empty store an image. */
int qcow2_create(struct store *store, const struct qcow2_create_options *options, struct error *err);

struct qcow2_info {
    unsigned version, refcount_bits;
    u64 cluster_size;
    bool lazy_refcounts, dirty, corrupt, zstd, extended_l2;
    const char *data_file; /* NULL: none */
    u32 snapshot_count;
};
/* False if the block is no qcow2 image. */
bool qcow2_info_get(const struct block *block, struct qcow2_info *out);

/* Writes `len` bytes at a cluster's start as one compressed cluster (as a plain one if it does not get
 * smaller). `len` is the cluster size, or what is left of the disk. */
int qcow2_write_compressed(struct block *block, u64 offset, const void *buf, size_t len, struct error *err);

/* Names another backing file (NULL: none) in the header; nothing else changes, and what is open below stays.
 */
int qcow2_backing_set(struct block *block, const char *name, const char *format, struct error *err);
/* Nothing is in this layer any more: all is read from the backing file. */
int qcow2_empty(struct block *block, struct error *err);

/* --- checking --- */

struct qcow2_check {
    bool repair;
    /* Told of each finding; may be NULL. */
    void (*report)(void *opaque, const char *message);
    void *opaque;
    /* Out: */
    u64 corruptions, leaks;             /* what is (still) wrong */
    u64 corruptions_fixed, leaks_fixed; /* what `repair` mended */
    u64 clusters_total, clusters_allocated, clusters_compressed;
    u64 image_end; /* offset behind the last cluster in use */
};
/* Negative if it could not be done; the findings are in `check`. To repair, the image is opened for writing
 * with `inspect`. */
int qcow2_check(struct block *block, struct qcow2_check *check, struct error *err);

/* --- snapshots --- */

struct snapshot_info {
    const char *id, *name;
    u64 disk_size, vm_state_size, vm_clock_ns;
    u32 date_sec, date_nsec;
};
u32 qcow2_snapshot_count(const struct block *block);
struct snapshot_info qcow2_snapshot_get(const struct block *block, u32 index);
/* `name` is new, at most 255 bytes. */
int qcow2_snapshot_create(struct block *block, const char *name, u32 date_sec, struct error *err);
/* `name`: a snapshot's name or id. What the disk holds now is replaced. */
int qcow2_snapshot_apply(struct block *block, const char *name, struct error *err);
int qcow2_snapshot_delete(struct block *block, const char *name, struct error *err);

#endif
