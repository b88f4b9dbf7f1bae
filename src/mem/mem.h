/*
 * The guest-physical address space and the port space of one VM.
 *
 * A map is a stack of regions with priorities; what is visible is computed into a flat list. RAM is one memfd
 * per block. Reads and writes of MMIO and ports are dispatched to the device from here, under the machine
 * lock, whoever the accessor is (an engine, a loader, another device by DMA).
 *
 * Threads: lookups, reads and writes from any thread; the map is changed by whoever holds the machine lock.
 * The machine lock is not held by callers of mem_read/mem_write/port_read/port_write from vCPU threads;
 * callers that hold it (devices doing DMA) are fine too: it is recursive.
 */
#ifndef RING3_MEM_MEM_H
#define RING3_MEM_MEM_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/error.h"
#include "base/log.h"

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PAGE_MASK  (~0xfffull)

/* Widest guest-physical address (CPUID 8000_0008h). */
#define PHYS_BITS 40

struct mem_space;

/*
 * How a device answers. `offset` is relative to the region; `size` is 1, 2, 4 or 8 and never more than
 * `max_size` (0 means 4): wider accesses arrive as several, lowest address first, and so do accesses that
 * leave the region. They need not be aligned. A NULL function: reads give all ones, writes are ignored.
 */
struct io_ops {
    u64 (*read)(void *dev, u64 offset, unsigned size);
    void (*write)(void *dev, u64 offset, unsigned size, u64 value);
    u8 max_size;
};

/* Per-page facts about RAM, in ram_block.page_flags (atomic or/and). */
enum ram_page_flag {
    RAM_PAGE_DIRTY = BIT(0), /* written since the dirty log was last collected */
    RAM_PAGE_CODE = BIT(1),  /* an engine has translations of this page: it wants to know of writes */
};

/* A block of RAM or ROM: a memfd, mapped once, zero-filled, not populated. */
struct ram_block {
    int fd;
    u8 *hva;
    u64 size;
    const char *name;
    _Atomic(u8) *page_flags; /* one byte a page */
};

/* Writes to ROM are ignored, unless its region has `ops`: then they are that device's (flash), while reads
 * are plain memory. */
enum mem_kind { MEM_NONE, MEM_RAM, MEM_ROM, MEM_IO };

/* What one page of guest-physical memory is. */
struct mem_page {
    enum mem_kind kind;
    u8 *hva; /* of the page's first byte, for RAM and ROM */
    struct ram_block *block;
    u64 block_offset; /* of the page in its block */
};

int mem_space_create(struct mem_space **out, pthread_mutex_t *machine_lock, struct log *log,
                     struct error *err);
void mem_space_destroy(struct mem_space *space);

int ram_block_create(struct ram_block **out, const char *name, u64 size, struct error *err);
void ram_block_destroy(struct ram_block *block);

/* Regions. Addresses and sizes of RAM and ROM are page multiples; I/O regions may be any range. Higher
 * priority hides lower; equal priority: the later wins. `name` is kept by pointer. A region is owned by
 * whoever created it and must outlive its mapping. [machine lock] */
struct mem_region {
    const char *name;
    u64 gpa, size;
    int priority;
    enum mem_kind kind;
    struct ram_block *block; /* RAM, ROM */
    u64 block_offset;
    const struct io_ops *ops; /* I/O; ROM: for writes, NULL if they are ignored */
    void *dev;
    bool mapped;
};
void mem_map(struct mem_space *space, struct mem_region *region);
void mem_unmap(struct mem_space *space, struct mem_region *region);
/* Calls mem_map or mem_unmap several times, recomputing once: begin ... commit. */
void mem_map_begin(struct mem_space *space);
void mem_map_commit(struct mem_space *space);

/* Told after every change of the visible map, and by mem_dirty_collected (engines flush their TLBs). [machine
 * lock] */
struct mem_listener {
    void (*changed)(void *opaque);
    void *opaque;
    struct mem_listener *next;
};
void mem_listener_add(struct mem_space *space, struct mem_listener *listener);

/* Another number after every change of the visible map: what was looked up before it holds no more. */
u64 mem_generation(const struct mem_space *space);

/* The page at `gpa` (any address in it). A page that is partly I/O, or in no region, is MEM_IO / MEM_NONE. */
struct mem_page mem_lookup(struct mem_space *space, u64 gpa);
/* The same; `*run` is how many bytes from the page's start on are the same block's, in order (0 unless RAM or
 * ROM). */
struct mem_page mem_lookup_run(struct mem_space *space, u64 gpa, u64 *run);
/* The first stretch of RAM or ROM at or above *gpa: where it begins, what it is, its length. False: there is
 * none. */
bool mem_next_run(struct mem_space *space, u64 *gpa, struct mem_page *page, u64 *run);

/* Physical accesses of 1..8 bytes by engines, and of any length by devices and loaders; A20 is applied by the
 * CPU only. Unbacked memory reads as all ones. */
u64 mem_read(struct mem_space *space, u64 gpa, unsigned size);
void mem_write(struct mem_space *space, u64 gpa, unsigned size, u64 value);
void mem_read_bytes(struct mem_space *space, u64 gpa, void *buf, size_t len);
void mem_write_bytes(struct mem_space *space, u64 gpa, const void *buf, size_t len);

/* [machine lock] What [gpa, gpa + size) would read as without `region` and whatever lies above it: for a
 * region that shows what it covers. */
u64 mem_read_below(struct mem_space *space, const struct mem_region *region, u64 gpa, unsigned size);

/* Writes 1..8 bytes to a block that is not mapped where the access was made, with all that a write to RAM
 * entails. */
void ram_block_write(struct mem_space *space, struct ram_block *block, u64 offset, unsigned size, u64 value);

/* A host pointer to RAM at [gpa, gpa + len), or NULL if that is not all writable RAM in one block. A caller
 * that writes through it calls mem_mark_dirty. */
void *mem_ram_ptr(struct mem_space *space, u64 gpa, u64 len);
void mem_mark_dirty(struct mem_space *space, u64 gpa, u64 len);

static inline void ram_page_mark_dirty(struct ram_block *block, u64 block_offset)
{
    _Atomic(u8) *flags = &block->page_flags[block_offset >> PAGE_SHIFT];
    if (!(atomic_load_explicit(flags, memory_order_relaxed) & RAM_PAGE_DIRTY))
        atomic_fetch_or_explicit(flags, RAM_PAGE_DIRTY, memory_order_relaxed);
}

/* Gives the RAM in [gpa, gpa + len), whole pages, back to the host: it reads as zeroes and costs nothing
 * until it is touched again. */
void mem_release(struct mem_space *space, u64 gpa, u64 len);

/* Whom to tell, once the bytes are there, that a page with RAM_PAGE_CODE was written. Called on any thread,
 * perhaps with the machine lock held: must not wait for a vCPU. Set before guest code runs; NULL for nobody.
 */
struct mem_code_listener {
    void (*written)(void *opaque, const u8 *hva, size_t len); /* within one page */
    void *opaque;
};
void mem_set_code_listener(struct mem_space *space, const struct mem_code_listener *listener);
void mem_code_written(struct mem_space *space, const u8 *hva, size_t len);

/* Copies the DIRTY bits of a block into `bitmap` (one bit a page) and clears them. The engines must have been
 * made to forget their writable mappings first. */
void ram_block_collect_dirty(struct ram_block *block, u64 *bitmap);
/* For who collects while vCPUs run: asks the engines to forget their writable mappings, as soon as each can.
 * Until then a vCPU may write to pages that it has found dirty before without marking them again. [machine
 * lock] */
void mem_dirty_collected(struct mem_space *space);

/* Ports. A later mapping of the same ports wins while it lasts. [machine lock] */
struct port_region {
    const char *name;
    u16 base;
    u32 count;
    const struct io_ops *ops;
    void *dev;
    struct port_region *below; /* mem.c's */
    bool mapped;
};
void port_map(struct mem_space *space, struct port_region *region);
void port_unmap(struct mem_space *space, struct port_region *region);
u64 port_read(struct mem_space *space, u16 port, unsigned size);
void port_write(struct mem_space *space, u16 port, unsigned size, u64 value);

/* The A20 gate: ~0 or all ones but bit 20; the CPU masks every physical address with it. */
void mem_set_a20(struct mem_space *space, bool enabled);
u64 mem_a20_mask(const struct mem_space *space);

#endif
