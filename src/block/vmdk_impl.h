/*
 * The inside of the vmdk driver, which only reads. The format is VMware's "Virtual Disk Format 5.0", whose
 * words are used: a disk is a row of extents; a sparse extent has a grain directory of grain tables of
 * grains.
 */
#ifndef RING3_BLOCK_VMDK_IMPL_H
#define RING3_BLOCK_VMDK_IMPL_H

#include "block/block.h"

#define VMDK_MAX_EXTENTS    1024u
#define VMDK_MAX_DESCRIPTOR 65536u

enum vmdk_extent_kind { VMDK_FLAT, VMDK_ZERO, VMDK_SPARSE };

struct vmdk_extent {
    enum vmdk_extent_kind kind;
    u64 first, size;     /* bytes of the disk */
    struct store *store; /* NULL: the image file itself is not used (VMDK_ZERO) */
    bool owned;          /* else it is the block's */
    u64 offset;          /* VMDK_FLAT: where it starts in the store */
    /* VMDK_SPARSE */
    u64 file_size, grain; /* bytes */
    u32 table_entries;    /* of a grain table */
    u32 *directory;       /* sector numbers of the grain tables */
    u64 directory_count;
    bool compressed, zeroed_grains;
};

#define VMDK_TABLES 16

struct vmdk {
    struct block *block;
    struct vmdk_extent *extents;
    unsigned count;
    char create_type[32];
    /* Grain tables that were read. */
    struct {
        const struct vmdk_extent *extent;
        u64 index, used;
        u32 *entries;
    } tables[VMDK_TABLES];
    u64 clock;
    /* The compressed grain that was read last. */
    const struct vmdk_extent *plain_extent;
    u64 plain_at, plain_size, packed_size;
    u8 *plain, *packed;
};

/* --- vmdk_sparse.c --- */

/* Checks the header of a sparse extent and reads its directory. `*descriptor`: where the file has a
 * descriptor, in bytes; length 0: none. */
int vmdk_sparse_open(struct vmdk *v, struct vmdk_extent *e, u64 *descriptor, u64 *descriptor_size,
                     struct error *err);

struct vmdk_place {
    enum { PLACE_BELOW, PLACE_ZERO, PLACE_DATA, PLACE_PACKED } kind;
    u64 host, len;
};
/* What `len` bytes at `at` of a sparse extent are; the place may end early. With the block's lock. */
int vmdk_sparse_locate(struct vmdk *v, const struct vmdk_extent *e, u64 at, u64 len, struct vmdk_place *out,
                       struct error *err);
/* Reads from the compressed grain at `host` of the store. With the block's lock. */
int vmdk_unpack(struct vmdk *v, const struct vmdk_extent *e, u64 host, u64 at, u64 len, struct vector *to,
                struct error *err);

#endif
