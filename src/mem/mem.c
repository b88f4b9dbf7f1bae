/*
 * The flat view is rebuilt under `view_lock` for writing whenever a region comes or goes; readers hold it for
 * reading, copy the range they need and let go before they take the machine lock or touch memory.
 */
#include "mem/mem.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define MAX_REGIONS 256

/* [start, end) shows `region`. */
struct flat_range {
    u64 start, end;
    struct mem_region *region;
};

struct mem_space {
    pthread_mutex_t *machine_lock;
    struct log *log;
    pthread_rwlock_t view_lock;
    struct flat_range *flat;
    size_t flat_count;
    _Atomic(u64) generation;
    struct mem_region *regions[MAX_REGIONS]; /* in the order of mapping */
    size_t region_count;
    int batch;
    bool batch_dirty;
    struct mem_listener *listeners;
    struct port_region *port_regions; /* the latest first */
    struct port_region **ports;       /* 64 Ki: what each port shows */
    _Atomic(u64) a20_mask;
    struct mem_code_listener code_listener;
};

#define PORT_COUNT 65536

int mem_space_create(struct mem_space **out, pthread_mutex_t *machine_lock, struct log *log,
                     struct error *err)
{
    struct mem_space *space = calloc(1, sizeof *space);
    if (!space)
        return error_set(err, ENOMEM, "out of memory for an address space");
    space->ports = calloc(PORT_COUNT, sizeof *space->ports);
    if (!space->ports) {
        free(space);
        return error_set(err, ENOMEM, "out of memory for a port space");
    }
    space->machine_lock = machine_lock;
    space->log = log;
    pthread_rwlock_init(&space->view_lock, NULL);
    atomic_init(&space->a20_mask, ~0ull);
    *out = space;
    return 0;
}

void mem_space_destroy(struct mem_space *space)
{
    if (!space)
        return;
    pthread_rwlock_destroy(&space->view_lock);
    free(space->flat);
    free(space->ports);
    free(space);
}

/* --- the map ---------------------------------------------------------------------------------------- */

static int compare_u64(const void *a, const void *b)
{
    u64 x = *(const u64 *)a, y = *(const u64 *)b;
    return x < y ? -1 : x > y;
}

static struct mem_region *region_on_top(const struct mem_space *space, u64 gpa)
{
    struct mem_region *best = NULL;
    for (size_t i = 0; i < space->region_count; i++) {
        struct mem_region *r = space->regions[i];
        if (gpa - r->gpa < r->size && (!best || r->priority >= best->priority))
            best = r;
    }
    return best;
}

/* The same among those that `above` hides. */
static struct mem_region *region_below(const struct mem_space *space, const struct mem_region *above, u64 gpa)
{
    struct mem_region *best = NULL;
    for (size_t i = 0; i < space->region_count; i++) {
        struct mem_region *r = space->regions[i];
        if (gpa - r->gpa < r->size && r->priority < above->priority &&
            (!best || r->priority >= best->priority))
            best = r;
    }
    return best;
}

static void flat_rebuild(struct mem_space *space)
{
    u64 edges[2 * MAX_REGIONS];
    size_t edge_count = 0;
    for (size_t i = 0; i < space->region_count; i++) {
        edges[edge_count++] = space->regions[i]->gpa;
        edges[edge_count++] = space->regions[i]->gpa + space->regions[i]->size;
    }
    qsort(edges, edge_count, sizeof *edges, compare_u64);

    struct flat_range *flat = malloc((edge_count + 1) * sizeof *flat);
    size_t count = 0;
    if (!flat)
        return; /* the old view stays: the map change is lost, nothing is corrupted */
    for (size_t i = 0; i + 1 < edge_count; i++) {
        if (edges[i] == edges[i + 1])
            continue;
        struct mem_region *r = region_on_top(space, edges[i]);
        if (!r)
            continue;
        if (count && flat[count - 1].region == r && flat[count - 1].end == edges[i])
            flat[count - 1].end = edges[i + 1];
        else
            flat[count++] = (struct flat_range){edges[i], edges[i + 1], r};
    }
    pthread_rwlock_wrlock(&space->view_lock);
    free(space->flat);
    space->flat = flat;
    space->flat_count = count;
    atomic_fetch_add(&space->generation, 1);
    pthread_rwlock_unlock(&space->view_lock);
    for (struct mem_listener *l = space->listeners; l; l = l->next)
        l->changed(l->opaque);
}

static void map_changed(struct mem_space *space)
{
    if (space->batch)
        space->batch_dirty = true;
    else
        flat_rebuild(space);
}

void mem_map(struct mem_space *space, struct mem_region *region)
{
    if (region->mapped || space->region_count == MAX_REGIONS || !region->size ||
        region->gpa + region->size < region->gpa)
        return;
    log_trace(space->log, TRACE_MEMMAP, "map %s at %#llx, %#llx bytes", region->name,
              (unsigned long long)region->gpa, (unsigned long long)region->size);
    space->regions[space->region_count++] = region;
    region->mapped = true;
    map_changed(space);
}

void mem_unmap(struct mem_space *space, struct mem_region *region)
{
    if (!region->mapped)
        return;
    log_trace(space->log, TRACE_MEMMAP, "unmap %s", region->name);
    region->mapped = false;
    for (size_t i = 0; i < space->region_count; i++)
        if (space->regions[i] == region) {
            memmove(&space->regions[i], &space->regions[i + 1],
                    (--space->region_count - i) * sizeof *space->regions);
            break;
        }
    map_changed(space);
}

void mem_map_begin(struct mem_space *space)
{
    space->batch++;
}

void mem_map_commit(struct mem_space *space)
{
    if (--space->batch == 0 && space->batch_dirty) {
        space->batch_dirty = false;
        flat_rebuild(space);
    }
}

void mem_listener_add(struct mem_space *space, struct mem_listener *listener)
{
    listener->next = space->listeners;
    space->listeners = listener;
}

void mem_dirty_collected(struct mem_space *space)
{
    for (struct mem_listener *l = space->listeners; l; l = l->next)
        l->changed(l->opaque);
}

void mem_set_a20(struct mem_space *space, bool enabled)
{
    u64 mask = enabled ? ~0ull : ~BIT(20);
    if (atomic_exchange(&space->a20_mask, mask) == mask)
        return;
    for (struct mem_listener *l = space->listeners; l; l = l->next)
        l->changed(l->opaque);
}

u64 mem_a20_mask(const struct mem_space *space)
{
    return atomic_load_explicit(&space->a20_mask, memory_order_relaxed);
}

/* --- look-up ---------------------------------------------------------------------------------------- */

/* A range by value: the region it shows, what is left of it from `gpa`, and the map's generation. */
struct found {
    struct mem_region *region; /* NULL: nothing here */
    u64 offset;                /* of gpa in the region */
    u64 left;                  /* bytes from gpa to the end of the range (or of the gap) */
    u64 generation;
};

static struct found find(struct mem_space *space, u64 gpa)
{
    struct found found = {0};
    pthread_rwlock_rdlock(&space->view_lock);
    size_t lo = 0, hi = space->flat_count; /* the first range whose end is beyond gpa */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (space->flat[mid].end <= gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < space->flat_count && space->flat[lo].start <= gpa) {
        found.region = space->flat[lo].region;
        found.offset = gpa - found.region->gpa;
        found.left = space->flat[lo].end - gpa;
    } else {
        found.left = lo < space->flat_count ? space->flat[lo].start - gpa : ~gpa;
    }
    found.generation = atomic_load(&space->generation);
    pthread_rwlock_unlock(&space->view_lock);
    return found;
}

u64 mem_generation(const struct mem_space *space)
{
    return atomic_load_explicit(&space->generation, memory_order_acquire);
}

static u8 *region_hva(const struct found *f)
{
    return f->region->block->hva + f->region->block_offset + f->offset;
}

static bool found_is(const struct found *f, enum mem_kind kind)
{
    return f->region && f->region->kind == kind;
}

struct mem_page mem_lookup(struct mem_space *space, u64 gpa)
{
    u64 run;
    return mem_lookup_run(space, gpa, &run);
}

struct mem_page mem_lookup_run(struct mem_space *space, u64 gpa, u64 *run)
{
    gpa &= PAGE_MASK;
    *run = 0;
    struct found f = find(space, gpa);
    if (f.region && f.left >= PAGE_SIZE && f.region->kind != MEM_IO) {
        *run = ALIGN_DOWN(f.left, PAGE_SIZE);
        u64 offset = f.region->block_offset + f.offset;
        return (struct mem_page){f.region->kind, f.region->block->hva + offset, f.region->block, offset};
    }
    if (!f.region && f.left >= PAGE_SIZE)
        return (struct mem_page){.kind = MEM_NONE};
    return (struct mem_page){.kind = MEM_IO};
}

bool mem_next_run(struct mem_space *space, u64 *gpa, struct mem_page *page, u64 *run)
{
    for (u64 at = ALIGN_UP(*gpa, PAGE_SIZE); at >= *gpa;) {
        struct found f = find(space, at);
        *page = mem_lookup_run(space, at, run);
        if (*run) {
            *gpa = at;
            return true;
        }
        u64 next = at + ALIGN_UP(MAX(f.left, 1), PAGE_SIZE);
        if (next <= at)
            break;
        at = next;
    }
    return false;
}

void *mem_ram_ptr(struct mem_space *space, u64 gpa, u64 len)
{
    struct found f = find(space, gpa);
    return found_is(&f, MEM_RAM) && f.left >= len ? region_hva(&f) : NULL;
}

void mem_set_code_listener(struct mem_space *space, const struct mem_code_listener *listener)
{
    space->code_listener = listener ? *listener : (struct mem_code_listener){0};
}

void mem_code_written(struct mem_space *space, const u8 *hva, size_t len)
{
    if (space->code_listener.written)
        space->code_listener.written(space->code_listener.opaque, hva, len);
}

/* The bytes at `at` are there already: marks their pages dirty and reports those that are code. */
static void mark_block_dirty(struct mem_space *space, struct ram_block *block, u64 at, u64 len)
{
    u64 end = at + len;
    atomic_thread_fence(memory_order_seq_cst);
    while (at < end) {
        u64 next = MIN((at & PAGE_MASK) + PAGE_SIZE, end);
        ram_page_mark_dirty(block, at & PAGE_MASK);
        if (unlikely(atomic_load(&block->page_flags[at >> PAGE_SHIFT]) & RAM_PAGE_CODE))
            mem_code_written(space, block->hva + at, next - at);
        at = next;
    }
}

static void mark_found_dirty(struct mem_space *space, const struct found *f, u64 len)
{
    mark_block_dirty(space, f->region->block, f->region->block_offset + f->offset, len);
}

void mem_mark_dirty(struct mem_space *space, u64 gpa, u64 len)
{
    while (len) {
        struct found f = find(space, gpa);
        u64 n = MIN(len, f.left);
        if (!n)
            return;
        if (found_is(&f, MEM_RAM))
            mark_found_dirty(space, &f, n);
        gpa += n;
        len -= n;
    }
}

void mem_release(struct mem_space *space, u64 gpa, u64 len)
{
    while (len) {
        struct found f = find(space, gpa);
        u64 n = MIN(len, f.left);
        if (!n)
            return;
        if (found_is(&f, MEM_RAM)) {
            u64 offset = f.region->block_offset + f.offset;
            if (fallocate(f.region->block->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                          (off_t)n) == 0)
                mark_found_dirty(space, &f, n);
        }
        gpa += n;
        len -= n;
    }
}

/* --- access ----------------------------------------------------------------------------------------- */

static unsigned ops_max_size(const struct io_ops *ops)
{
    return ops->max_size ? ops->max_size : 4;
}

static u64 io_read(const struct io_ops *ops, void *dev, u64 offset, unsigned size)
{
    unsigned step = MIN(size, ops_max_size(ops));
    u64 value = 0;
    for (unsigned done = 0; done < size; done += step)
        value |= ((ops->read ? ops->read(dev, offset + done, step) : ~0ull) & MASK(step * 8))
                 << (done * 8 & 63);
    return value;
}

static void io_write(const struct io_ops *ops, void *dev, u64 offset, unsigned size, u64 value)
{
    unsigned step = MIN(size, ops_max_size(ops));
    for (unsigned done = 0; done < size && ops->write; done += step)
        ops->write(dev, offset + done, step, (value >> (done * 8)) & MASK(step * 8));
}

/* Takes the machine lock for an access to the device in `f`; false if the map changed meanwhile (look again).
 */
static bool io_enter(struct mem_space *space, const struct found *f)
{
    pthread_mutex_lock(space->machine_lock);
    if (likely(atomic_load(&space->generation) == f->generation))
        return true;
    pthread_mutex_unlock(space->machine_lock);
    return false;
}

static u64 mem_read_bytewise(struct mem_space *space, u64 gpa, unsigned size)
{
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= mem_read(space, gpa + i, 1) << (i * 8);
    return value;
}

u64 mem_read(struct mem_space *space, u64 gpa, unsigned size)
{
    for (;;) {
        struct found f = find(space, gpa);
        if (f.left < size && size > 1)
            return mem_read_bytewise(space, gpa, size);
        if (!f.region)
            return MASK(size * 8);
        if (f.region->kind != MEM_IO)
            return load_le(region_hva(&f), size);
        if (!io_enter(space, &f))
            continue;
        u64 value = io_read(f.region->ops, f.region->dev, f.offset, size);
        log_trace(space->log, TRACE_MMIO, "read%u %s+%#llx -> %#llx", size * 8, f.region->name,
                  (unsigned long long)f.offset, (unsigned long long)value);
        pthread_mutex_unlock(space->machine_lock);
        return value;
    }
}

void mem_write(struct mem_space *space, u64 gpa, unsigned size, u64 value)
{
    for (;;) {
        struct found f = find(space, gpa);
        if (f.left < size && size > 1) {
            for (unsigned i = 0; i < size; i++)
                mem_write(space, gpa + i, 1, value >> (i * 8));
            return;
        }
        if (!f.region || (f.region->kind == MEM_ROM && !f.region->ops))
            return;
        if (f.region->kind == MEM_RAM) {
            store_le(region_hva(&f), size, value);
            mark_found_dirty(space, &f, size);
            return;
        }
        if (!io_enter(space, &f))
            continue;
        log_trace(space->log, TRACE_MMIO, "write%u %s+%#llx <- %#llx", size * 8, f.region->name,
                  (unsigned long long)f.offset, (unsigned long long)value);
        io_write(f.region->ops, f.region->dev, f.offset, size, value);
        pthread_mutex_unlock(space->machine_lock);
        return;
    }
}

u64 mem_read_below(struct mem_space *space, const struct mem_region *region, u64 gpa, unsigned size)
{
    u64 value = 0;
    for (unsigned i = 0; i < size; i++) {
        const struct mem_region *r = region_below(space, region, gpa + i);
        u64 byte = 0xff;
        if (r && r->kind == MEM_IO)
            byte = io_read(r->ops, r->dev, gpa + i - r->gpa, 1);
        else if (r)
            byte = r->block->hva[r->block_offset + (gpa + i - r->gpa)];
        value |= byte << (i * 8);
    }
    return value;
}

void ram_block_write(struct mem_space *space, struct ram_block *block, u64 offset, unsigned size, u64 value)
{
    store_le(block->hva + offset, size, value);
    mark_block_dirty(space, block, offset, size);
}

void mem_read_bytes(struct mem_space *space, u64 gpa, void *buf, size_t len)
{
    for (u8 *out = buf; len;) {
        struct found f = find(space, gpa);
        size_t n = MIN(len, f.left);
        if (!f.region && n) {
            memset(out, 0xff, n);
        } else if (n && f.region->kind != MEM_IO) {
            memcpy(out, region_hva(&f), n);
        } else {
            *out = (u8)mem_read(space, gpa, 1);
            n = 1;
        }
        out += n;
        gpa += n;
        len -= n;
    }
}

void mem_write_bytes(struct mem_space *space, u64 gpa, const void *buf, size_t len)
{
    for (const u8 *in = buf; len;) {
        struct found f = find(space, gpa);
        size_t n = MIN(len, f.left);
        if (n && found_is(&f, MEM_RAM)) {
            memcpy(region_hva(&f), in, n);
            mark_found_dirty(space, &f, n);
        } else if (!n || found_is(&f, MEM_IO) || (found_is(&f, MEM_ROM) && f.region->ops)) {
            mem_write(space, gpa, 1, *in);
            n = 1;
        }
        in += n;
        gpa += n;
        len -= n;
    }
}

/* --- ports ------------------------------------------------------------------------------------------ */

/* The ports from `base` show the region that was mapped last over each. */
static void ports_rebuild(struct mem_space *space, u32 base, u32 count)
{
    for (u32 p = base; p < base + count && p < PORT_COUNT; p++) {
        space->ports[p] = NULL;
        for (struct port_region *r = space->port_regions; r && !space->ports[p]; r = r->below)
            if (p - r->base < r->count)
                space->ports[p] = r;
    }
}

void port_map(struct mem_space *space, struct port_region *region)
{
    if (region->mapped)
        return;
    region->mapped = true;
    region->below = space->port_regions;
    space->port_regions = region;
    ports_rebuild(space, region->base, region->count);
}

void port_unmap(struct mem_space *space, struct port_region *region)
{
    if (!region->mapped)
        return;
    region->mapped = false;
    struct port_region **link = &space->port_regions;
    while (*link != region)
        link = &(*link)->below;
    *link = region->below;
    ports_rebuild(space, region->base, region->count);
}

u64 port_read(struct mem_space *space, u16 port, unsigned size)
{
    pthread_mutex_lock(space->machine_lock);
    struct port_region *r = space->ports[port];
    u64 value = MASK(size * 8);
    if (r && port + size <= r->base + r->count) {
        value = io_read(r->ops, r->dev, port - r->base, size);
    } else if (size > 1) {
        value = 0;
        for (unsigned i = 0; i < size; i++)
            value |= port_read(space, (u16)(port + i), 1) << (i * 8);
    }
    log_trace(space->log, TRACE_IO, "in%u %#x (%s) -> %#llx", size * 8, port, r ? r->name : "nothing",
              (unsigned long long)value);
    pthread_mutex_unlock(space->machine_lock);
    return value;
}

void port_write(struct mem_space *space, u16 port, unsigned size, u64 value)
{
    pthread_mutex_lock(space->machine_lock);
    struct port_region *r = space->ports[port];
    log_trace(space->log, TRACE_IO, "out%u %#x (%s) <- %#llx", size * 8, port, r ? r->name : "nothing",
              (unsigned long long)value);
    if (r && port + size <= r->base + r->count) {
        io_write(r->ops, r->dev, port - r->base, size, value);
    } else if (size > 1) {
        for (unsigned i = 0; i < size; i++)
            port_write(space, (u16)(port + i), 1, value >> (i * 8) & 0xff);
    }
    pthread_mutex_unlock(space->machine_lock);
}
