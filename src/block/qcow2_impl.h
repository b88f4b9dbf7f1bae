/*
 * The inside of the qcow2 driver; the format is described in QEMU's docs/interop/qcow2.txt, whose field names
 * are used.
 *
 * What keeps an image whole when the power fails at any moment (a write is atomic per 512-byte sector;
 * between two flushes writes reach the disk in any order, or not at all):
 *
 *  1. A refcount on disk is never lower than the number of references on disk. It is raised durably before a
 *     reference to the cluster is written, and lowered after the reference's removal is durable.
 *  2. A reference is written after what it refers to is durable: data before its L2 entry, an L2 table before
 * its L1 entry, a refcount block before its refcount table entry, a new table before the header that names
 * it.
 *  3. A cluster is reused only after the removal of every reference to it is durable (it follows from 1).
 *  4. What the header says changes within one sector.
 *
 * So the worst that a crash leaves is a cluster with too high a refcount (a leak). qcow2_commit writes the
 * caches in that order:
 *
 *    refcount blocks | refcount table |  L2 tables  |  L1 table  | lower the refcounts of what is free now
 *                    flush          flush         flush        flush   (flushes only where something follows)
 *
 * With lazy refcounts (invariant 1 does not hold then) refcounts are written when the image is closed; before
 * the first change of metadata the header is marked dirty, and who opens a dirty image counts anew.
 *
 * COPIED in an active L1 or L2 entry says that the refcount is exactly 1, so that the cluster may be written
 * in place.
 *
 * Locks. The block's lock covers the metadata in memory; it is not held while guest data is transferred. What
 * keeps a transfer's clusters where they are is its claim (qcow2_claim.c): who only transfers (a read, a
 * write in place) claims its bytes together with others; who changes L2 entries has their clusters alone. So
 * two requests never allocate for one cluster, an entry is written after its data, and a cluster is given up
 * only when nobody transfers to or from it. Order: claim, then the block's lock, then one of the claims'
 * lock, the flush lock and the unpacking lock.
 */
#ifndef RING3_BLOCK_QCOW2_IMPL_H
#define RING3_BLOCK_QCOW2_IMPL_H

#include <stdatomic.h>

#include "block/qcow2.h"

#define QCOW2_MAGIC 0x514649fbu

#define L_COPIED     BIT(63)
#define L_COMPRESSED BIT(62)
#define L_ZERO       BIT(0)
#define L_OFFSET     0x00fffffffffffe00ull

/* Limits on what a header may ask for, QEMU's. */
#define MAX_L1_BYTES       MIB(32)
#define MAX_RT_BYTES       MIB(8)
#define MAX_SNAPSHOTS      65536u
#define MAX_SNAPSHOT_BYTES MIB(64)
#define MAX_BACKING_NAME   1023u
#define SUBCLUSTER_BITS    5 /* log2 of a cluster's subclusters */
#define MAX_CLUSTER_INDEX  BIT(47)

/* Header fields that are changed after creation. */
#define H_SIZE         24
#define H_L1_SIZE      36
#define H_L1_OFFSET    40
#define H_RT_OFFSET    48
#define H_RT_CLUSTERS  56
#define H_NB_SNAPSHOTS 60
#define H_SNAPSHOTS    64
#define H_INCOMPATIBLE 72
#define H_AUTOCLEAR    88

enum {
    INCOMPAT_DIRTY = 1,
    INCOMPAT_CORRUPT = 2,
    INCOMPAT_DATA_FILE = 4,
    INCOMPAT_COMPRESSION = 8,
    INCOMPAT_EXTL2 = 16
};
enum { COMPAT_LAZY = 1 };
enum { AUTOCLEAR_BITMAPS = 1 };

/* A table of the image in memory: an L2 table or a refcount block, one cluster each. */
struct table {
    u64 offset; /* in the image; 0: the slot is unused */
    u8 *data;   /* allocated when first used */
    u64 used;   /* when, for the choice of a victim */
    int next;   /* in its hash chain; -1 ends it */
    bool dirty;
};

#define TABLE_BUCKETS 256
struct table_cache {
    struct table *tables;
    unsigned count;
    u64 clock;
    int buckets[TABLE_BUCKETS];
};

/* An array of the image that is held in memory whole: the L1 table, the refcount table. In host byte order.
 */
struct big_table {
    u64 *entries;
    u64 count;
    u64 offset;       /* in the image */
    u64 dirty, clean; /* entries dirty .. clean - 1 are to be written */
};

struct snapshot {
    char *id, *name;
    u64 l1_offset, vm_state_size, vm_clock_ns, disk_size;
    u32 l1_size, date_sec, date_nsec;
    u8 *extra; /* what is behind the extra data that we know */
    u32 extra_size;
};

struct claims {
    pthread_mutex_t lock;
    pthread_cond_t released;
    struct block_claim head;
    unsigned exclusive, waiting;
};

struct qcow2 {
    struct block *block;
    struct store *store;
    struct store *data; /* where guest data is: `store`, or an external data file (only read) */
    char *data_name;    /* its name; NULL: none */
    unsigned version, cluster_bits, l2_bits, refcount_order,
        rb_bits; /* rb_bits: log2 of a block's refcounts */
    unsigned
        entry_shift;    /* log2 of an L2 entry's bytes: 4 with subclusters (extended L2, only read), else 3 */
    unsigned unit_bits; /* log2 of what an L2 entry speaks of: a subcluster, or the cluster */
    u64 cluster_size;
    u32 header_length;
    u64 incompatible, compatible, autoclear;
    u8 compression;                   /* 0: deflate, 1: zstd */
    bool has_bitmaps;                 /* valid ones */
    u64 bitmaps_offset, bitmaps_size; /* of their directory */
    u32 bitmaps_count;
    bool lazy; /* refcounts are written at the end */
    struct big_table l1, rt;
    struct table_cache l2, rb;

    u64 first_free; /* no cluster below this is free */
    u64 *freed;     /* clusters that lose one reference each once the L2 tables are durable */
    size_t freed_count, freed_room;
    u8 *meta; /* bit per cluster: header, active L1 and L2, refcounts, snapshot table: never written as data
               */
    u64 meta_count; /* clusters that `meta` covers */
    u64 file_end;   /* behind this nothing was ever written: what is there reads as zeroes */
    struct claims claims;
    pthread_mutex_t flush_lock; /* held by who flushes: others wait until it is done */
    atomic_bool unflushed;      /* something was written since the last flush began; set after the write */
    atomic_bool broken;         /* a flush failed, or a write of metadata: nothing is written any more */

    struct snapshot *snapshots;
    u32 snapshot_count;
    u64 snapshots_offset, snapshots_bytes;

    u64 packed_at; /* where the next compressed cluster can start; 0: in a new cluster */
    pthread_mutex_t unpack_lock;
    u64 plain_entry; /* [unpack_lock] the L2 entry whose decompressed cluster is in `plain`; 0: none */
    u8 *plain, *packed;
};

static inline u64 load_be64(const void *p)
{
    u64 v;
    __builtin_memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}
static inline void store_be64(void *p, u64 v)
{
    v = __builtin_bswap64(v);
    __builtin_memcpy(p, &v, sizeof v);
}
static inline u32 load_be32(const void *p)
{
    u32 v;
    __builtin_memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}
static inline void store_be32(void *p, u32 v)
{
    v = __builtin_bswap32(v);
    __builtin_memcpy(p, &v, sizeof v);
}

/* "PATH: the image is corrupt: ..." */
int qcow2_corrupt(const struct qcow2 *q, struct error *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
#ifdef __clang_analyzer__
#define qcow2_corrupt(q, err, ...) (qcow2_corrupt(q, err, __VA_ARGS__), -EIO)
#endif

/* --- qcow2_open.c --- */
bool qcow2_probe(const u8 *head, size_t len);
int qcow2_open(struct block *b, const struct block_options *options, struct error *err);
int qcow2_close(struct block *b, struct error *err);

/* --- qcow2_table.c: caches, and the order in which they are written --- */
int table_cache_init(struct table_cache *c, u64 table_size, u64 budget);
void table_cache_finish(struct table_cache *c);
/* The table at `offset`; `fresh`: all zeroes and dirty instead of what is in the image. Valid until the next
 * call for the same cache but two. */
int table_get(struct qcow2 *q, struct table_cache *c, u64 offset, bool fresh, struct table **out,
              struct error *err);
bool table_is_cached(struct table_cache *c, u64 offset);
void table_drop(struct table_cache *c, u64 offset);
void table_drop_all(struct table_cache *c);
void big_table_set(struct big_table *t, u64 index, u64 value);
int qcow2_write(struct qcow2 *q, u64 offset, const void *buf, u64 len, struct error *err);
int qcow2_writev(struct qcow2 *q, u64 offset, struct vector *from, u64 len, struct error *err);
/* A flush if anything was written since the last one. With or without the lock. */
int qcow2_barrier(struct qcow2 *q, struct error *err);
/* Writes all dirty metadata; see above. Afterwards only refcount blocks may be dirty (with lowered counts).
 */
int qcow2_commit(struct qcow2 *q, struct error *err);
/* Commit, until nothing is dirty (but lazy refcounts). */
int qcow2_commit_all(struct qcow2 *q, struct error *err);
/* That and a flush. */
int qcow2_sync(struct qcow2 *q, struct error *err);
/* Changes the header's incompatible features durably. */
int qcow2_set_incompatible(struct qcow2 *q, u64 features, struct error *err);
/* Writes header bytes (within one sector) durably, after everything before it is durable. */
int qcow2_write_header(struct qcow2 *q, u64 at, const void *bytes, u64 len, struct error *err);
/* Writes a table of big-endian entries. */
int qcow2_write_entries(struct qcow2 *q, u64 offset, const u64 *entries, u64 count, struct error *err);
int qcow2_read_entries(struct qcow2 *q, u64 offset, u64 *entries, u64 count, struct error *err);

/* --- qcow2_refcount.c --- */
u64 qcow2_refcount_max(const struct qcow2 *q);
u64 refcount_load(const u8 *block, unsigned order, u64 index);
void refcount_store(u8 *block, unsigned order, u64 index, u64 value);
int qcow2_refcount_get(struct qcow2 *q, u64 cluster, u64 *out, struct error *err);
int qcow2_refcount_add(struct qcow2 *q, u64 cluster, int delta, u64 *now, struct error *err);
/* Sets the refcount of a cluster that has more references on record than in truth. */
int qcow2_refcount_lower(struct qcow2 *q, u64 cluster, u64 value, struct error *err);
/* `count` contiguous clusters with refcount 1. */
int qcow2_alloc(struct qcow2 *q, u64 count, u64 *offset, struct error *err);
/* The `len` bytes at `offset` (their clusters) lose a reference once its removal is durable. */
int qcow2_free_later(struct qcow2 *q, u64 offset, u64 len, struct error *err);
/* The same at once: its removal is durable. */
int qcow2_free_now(struct qcow2 *q, u64 offset, u64 len, struct error *err);
int qcow2_apply_frees(struct qcow2 *q, struct error *err);
int qcow2_meta_mark(struct qcow2 *q, u64 offset, u64 len, bool is_meta, struct error *err);
bool qcow2_meta_overlaps(const struct qcow2 *q, u64 offset, u64 len);

/* --- qcow2_claim.c: see above --- */
void qcow2_claims_init(struct claims *c);
void qcow2_claims_finish(struct claims *c);
/* Waits. `len` is not 0. */
void qcow2_claim(struct qcow2 *q, struct block_claim *claim, u64 offset, u64 len);
/* False where qcow2_claim would wait. */
bool qcow2_claim_try(struct qcow2 *q, struct block_claim *claim, u64 offset, u64 len);
/* Alone, and whole clusters. */
void qcow2_claim_clusters(struct qcow2 *q, struct block_claim *claim, u64 offset, u64 len);
void qcow2_release(struct qcow2 *q, struct block_claim *claim);

/* --- qcow2_io.c: mapping, reading, and the driver's calls --- */
enum run_kind { RUN_UNALLOCATED, RUN_ZERO, RUN_ZERO_ALLOCATED, RUN_NORMAL, RUN_COMPRESSED };
struct run {
    enum run_kind kind;
    bool copied;
    u64 host; /* of the first byte; for RUN_NORMAL and RUN_ZERO_ALLOCATED */
    u64 len;
    u64 entry; /* the first L2 entry */
};
int qcow2_run(struct qcow2 *q, u64 guest, u64 len, struct run *run, struct error *err);
/* The L2 table for `guest`; NULL if there is none. */
int qcow2_l2_get(struct qcow2 *q, u64 guest, struct table **out, struct error *err);
/* Reads what the guest sees; past the end zeroes. With the range claimed, without the lock. */
int qcow2_read_guest(struct qcow2 *q, u64 guest, struct vector *to, u64 len, struct error *err);

/* --- qcow2_write.c --- */
int qcow2_block_write(struct block *b, u64 offset, struct vector *from, size_t len, struct error *err);
int qcow2_block_write_zeroes(struct block *b, u64 offset, u64 len, struct error *err);
int qcow2_block_discard(struct block *b, u64 offset, u64 len, struct error *err);
/* The L2 table for `guest`, made or copied if need be so that it may be changed. */
int qcow2_l2_for_write(struct qcow2 *q, u64 guest, struct table **out, struct error *err);
/* Removes an L2 entry's references, later. */
int qcow2_entry_free(struct qcow2 *q, u64 entry, struct error *err);
int qcow2_can_write(struct qcow2 *q, struct error *err);

/* --- qcow2_compress.c --- */
/* The host bytes of a compressed cluster. */
void qcow2_packed_range(const struct qcow2 *q, u64 entry, u64 *offset, u64 *len);
/* Reads `len` bytes at `skip` of the compressed cluster. With the range claimed, without the lock. */
int qcow2_unpack(struct qcow2 *q, u64 entry, u64 skip, struct vector *to, u64 len, struct error *err);
/* What was decompressed may be no more what is there. */
void qcow2_unpacked_forget(struct qcow2 *q);

/* --- qcow2_resize.c --- */
int qcow2_resize(struct block *b, u64 size, struct error *err);

/* --- qcow2_snapshot.c --- */
int qcow2_snapshots_load(struct qcow2 *q, struct error *err);
void qcow2_snapshots_finish(struct qcow2 *q);

/* Everything that an L1 table in memory refers to loses a reference; the references are gone from the disk.
 */
int qcow2_references_drop(struct qcow2 *q, const u64 *l1, u64 count, struct error *err);
/* Sets COPIED in the active tables where the refcount is 1 and clears it elsewhere; *changed counts.
 * Committed. */
int qcow2_fix_copied(struct qcow2 *q, u64 *changed, struct error *err);

#endif
