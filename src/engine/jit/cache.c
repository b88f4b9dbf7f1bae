/* Code memory, mapped twice (writable here, executable there), the tables of blocks, and what vCPUs note. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "engine/jit/cache.h"
#include "engine/jit/jump.h"
#include "mem/mem.h"

#define HEAD_SIZE       (32u << 10) /* the thunks */
#define REGION_SIZE_MIN (64u << 10)
#define ROOM_MIN        (4u << 10) /* a region with less is full */
#define BLOCK_BYTES     256        /* of host code, on average at least: how many records there are */
#define LINKS_PER_BLOCK 3
#define SWEEP_STEP      6 /* blocks removed for each that is made */

static unsigned hash_u64(u64 x, unsigned bits)
{
    return (unsigned)(x * 0x9e3779b97f4a7c15ull >> (64 - bits));
}

static struct block **bucket_of(const struct jit_vm *t, const u8 *hva, u64 rip)
{
    return &t->bucket[hash_u64((u64)(uintptr_t)hva ^ rip << 1, t->bucket_bits)];
}

struct jit_jump *cache_jump(const struct jit *j, u64 rip)
{
    return &j->jump[(rip ^ rip >> JUMP_BITS) & (JUMP_COUNT - 1)];
}

static void *map_tables(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t size)
{
    if (p)
        munmap(p, size);
}

#define JUMPS_SIZE    (sizeof(struct jit_jump) * JUMP_COUNT)
#define MAPPINGS_SIZE (sizeof(struct mapping) * ENGINE_TABLE_LEN)

static size_t blocks_size(const struct jit_vm *t)
{
    return sizeof(struct block) * t->region_blocks * t->region_count;
}
static size_t links_size(const struct jit_vm *t)
{
    return sizeof(struct link) * t->region_links * t->region_count;
}
static size_t buckets_size(const struct jit_vm *t)
{
    return sizeof(struct block *) << t->bucket_bits;
}

void cache_destroy(struct jit_vm *t)
{
    unmap(t->rw, t->size);
    unmap(t->rx, t->size);
    if (t->fd >= 0)
        close(t->fd);
    unmap(t->block, blocks_size(t));
    unmap(t->link, links_size(t));
    unmap(t->bucket, buckets_size(t));
    unmap(t->mapping, MAPPINGS_SIZE);
}

static u8 *map_code(const struct jit_vm *t, int prot)
{
    void *p = mmap(NULL, t->size, prot, MAP_SHARED, t->fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void lay_out(struct jit_vm *t, size_t size)
{
    t->size = size;
    t->head = HEAD_SIZE;
    t->region_size = MAX(ALIGN_UP(size / REGION_MAX, PAGE_SIZE), REGION_SIZE_MIN);
    t->region_count = (unsigned)((size - t->head) / t->region_size);
    t->region_blocks = (u32)(t->region_size / BLOCK_BYTES);
    t->region_links = LINKS_PER_BLOCK * t->region_blocks;
    t->bucket_bits = 10;
    while (2u << t->bucket_bits < t->region_blocks * t->region_count)
        t->bucket_bits++;
    t->region[0].state = REGION_OPEN;
    t->victim = 1;
}

int cache_create(struct jit_vm *t, size_t size, struct error *err)
{
    lay_out(t, size);
    t->fd = memfd_create("ring3-code", MFD_CLOEXEC);
    if (t->fd < 0 || ftruncate(t->fd, (off_t)size) < 0)
        return error_set(err, errno, "no memory for translated code (%zu MiB)", size >> 20);
    t->rw = map_code(t, PROT_READ | PROT_WRITE);
    t->rx = map_code(t, PROT_READ | PROT_EXEC);
    if (!t->rw || !t->rx)
        return error_set(err, EPERM, "the host does not let this process map memory executable");
    t->block = map_tables(blocks_size(t));
    t->link = map_tables(links_size(t));
    t->bucket = map_tables(buckets_size(t));
    t->mapping = map_tables(MAPPINGS_SIZE);
    if (!t->block || !t->link || !t->bucket || !t->mapping)
        return error_set(err, ENOMEM, "no memory for the tables of translated code");
    t->mapping_count = 1; /* 0 is none */
    atomic_init(&t->epoch, 1);
    return 0;
}

/* The thunks are made with the first vCPU: all are alike. */
int cache_create_jumps(struct jit *j, struct error *err)
{
    struct jit_vm *t = j->vm;
    j->jump = map_tables(JUMPS_SIZE);
    if (!j->jump)
        return error_set(err, ENOMEM, "no memory for the tables of translated code");
    pthread_mutex_lock(&t->lock);
    if (!t->thunk.enter) {
        struct emitter e = {.p = t->rw, .end = t->rw + t->head, .to_exec = t->rx - t->rw};
        thunks_emit(j, &e);
        t->thunk = j->thunk;
    }
    j->thunk = t->thunk;
    j->dropped_seen = t->dropped_count;
    pthread_mutex_unlock(&t->lock);
    return jumps_create(j, err);
}

void cache_destroy_jumps(struct jit *j)
{
    unmap(j->jump, JUMPS_SIZE);
    jumps_destroy(j);
}

void cache_forget(struct jit *j)
{
    memset(j->jump, 0, JUMPS_SIZE);
    j->v->engine_words[WORD_LINK] = 0;
    jumps_forget_all(j);
    j->forgets++;
}

static u8 *region_start(const struct jit_vm *t, unsigned region)
{
    return t->rw + t->head + region * t->region_size;
}

static unsigned region_of(const struct jit_vm *t, const u8 *code)
{
    return (unsigned)((size_t)(code - t->rx - t->head) / t->region_size);
}

static void forget_regions(struct jit *j, u64 regions)
{
    for (unsigned i = 0; i < JUMP_COUNT; i++)
        if (j->jump[i].code && regions >> region_of(j->vm, j->jump[i].code) & 1)
            j->jump[i] = (struct jit_jump){0};
    jumps_forget_all(j);
}

void cache_forget_jump(struct jit *j, u64 rip)
{
    *cache_jump(j, rip) = (struct jit_jump){0};
    jumps_forget(j, rip);
}

/* [lock] */
static void forget_dropped(struct jit *j)
{
    struct jit_vm *t = j->vm;
    if (t->dropped_count - j->dropped_seen > DROP_LOG)
        cache_forget(j);
    else
        for (u64 i = j->dropped_seen; i < t->dropped_count; i++) {
            const struct dropped *d = &t->dropped[i % DROP_LOG];
            cache_forget_jump(j, d->rip);
        }
    j->dropped_seen = t->dropped_count;
}

void cache_tell(struct jit *j)
{
    atomic_store(&j->pending_any, true);
    jit_stop(j->v);
}

void cache_take_pending(struct jit *j)
{
    atomic_store(&j->pending_any, false);
    u64 regions = atomic_exchange(&j->pending_regions, 0);
    if (regions)
        forget_regions(j, regions);
    pthread_mutex_lock(&j->vm->lock);
    forget_dropped(j);
    pthread_mutex_unlock(&j->vm->lock);
    j->v->engine_words[WORD_LINK] = 0;
}

struct block *cache_find(const struct jit_vm *t, const u8 *hva, u64 rip, unsigned mode)
{
    struct block *b = __atomic_load_n(bucket_of(t, hva, rip), __ATOMIC_ACQUIRE);
    for (; b; b = __atomic_load_n(&b->next, __ATOMIC_ACQUIRE))
        if (b->hva == hva && b->rip == rip && b->mode == mode)
            return b;
    return NULL;
}

/* Out of the tables; what is in the block stays, for those who have just found it. */
static void block_remove(struct jit_vm *t, struct block *b)
{
    for (unsigned i = 1; i <= b->landings; i++)
        if (!b[i].dropped)
            block_remove(t, &b[i]);
    struct block **at = bucket_of(t, b->hva, b->rip);
    while (*at != b)
        at = &(*at)->next;
    __atomic_store_n(at, b->next, __ATOMIC_RELEASE);
    *b->at_page = b->next_page;
    if (b->next_page)
        b->next_page->at_page = b->at_page;
    __atomic_store_n(&b->dropped, true, __ATOMIC_SEQ_CST);
    while (b->incoming)
        link_forget(b->incoming);
    for (unsigned i = 0; i < b->links; i++)
        link_detach(&b->link[i]);
}

void cache_drop(struct jit_vm *t, struct block *b)
{
    block_remove(t, b);
    t->dropped[t->dropped_count++ % DROP_LOG] = (struct dropped){b->rip};
    t->drops++;
}

/* Every vCPU is told before `epoch` is advanced: one that begins with the new one has forgotten. */
static void sweep_end(struct jit_vm *t, struct region *r)
{
    for (unsigned i = 0; i < t->vm->cpu_count; i++) {
        struct jit *j = cache_of(t, i);
        if (!j)
            continue;
        atomic_fetch_or(&j->pending_regions, BIT(r - t->region));
        cache_tell(j);
    }
    r->epoch = atomic_fetch_add(&t->epoch, 1) + 1;
    r->state = REGION_DRAINING;
}

/* Removes up to `count` blocks of the region that goes next. */
static void sweep(struct jit_vm *t, u32 count)
{
    struct region *r = &t->region[t->victim];
    struct block *b = &t->block[(size_t)t->victim * t->region_blocks];
    if (r->state != REGION_SWEEPING)
        return;
    for (; count && r->swept < r->blocks; count--, r->swept++) {
        if (b[r->swept].dropped)
            continue;
        block_remove(t, &b[r->swept]);
        t->evicted_blocks++;
    }
    if (r->swept == r->blocks)
        sweep_end(t, r);
}

/* Has every vCPU been outside since? Those that have not are asked to come. */
static bool is_drained(struct jit_vm *t, const struct region *r)
{
    bool drained = true;
    for (unsigned i = 0; i < t->vm->cpu_count; i++) {
        struct jit *j = cache_of(t, i);
        u64 inside = j ? atomic_load(&j->inside) : 0;
        if (!inside || inside >= r->epoch)
            continue;
        jit_stop(j->v);
        drained = false;
    }
    return drained;
}

static void region_clear(struct jit_vm *t, struct region *r)
{
    struct block *b = &t->block[(size_t)(r - t->region) * t->region_blocks];
    struct link *link = &t->link[(size_t)(r - t->region) * t->region_links];
    for (u32 i = 0; i < r->blocks; i++)
        mapping_put(t, b[i].mapping);
    for (u32 i = 0; i < r->links; i++)
        mapping_put(t, link[i].mapping);
    if (r->state != REGION_EMPTY)
        t->evicted++;
    *r = (struct region){.state = REGION_EMPTY};
}

/* Second chance: is it looked up in much more than others are? Hot kernel code is. */
static bool region_is_hot(const struct jit_vm *t, const struct region *r)
{
    u64 sum = 0;
    for (unsigned i = 0; i < t->region_count; i++)
        sum += atomic_load_explicit(&t->region[i].found, memory_order_relaxed);
    return !r->spared && atomic_load_explicit(&r->found, memory_order_relaxed) > 2 * sum / t->region_count;
}

/* Which region goes next: the oldest, if it is not hot. */
static void choose_victim(struct jit_vm *t)
{
    unsigned n = (t->open + 1) % t->region_count;
    for (unsigned i = 0; i < t->region_count / 4 && t->region[n].state == REGION_FULL; i++) {
        if (!region_is_hot(t, &t->region[n]))
            break;
        t->region[n].spared = true;
        atomic_store_explicit(&t->region[n].found, 0, memory_order_relaxed);
        t->spared++;
        n = (n + 1) % t->region_count;
    }
    t->victim = n;
    if (t->region[n].state == REGION_FULL) {
        t->region[n].state = REGION_SWEEPING;
        t->region[n].spared = false;
    }
}

/* Opens the next region. False: someone may still be in it. */
static bool region_next(struct jit_vm *t)
{
    struct region *next = &t->region[t->victim];
    sweep(t, ~0u);
    if (next->state == REGION_DRAINING && !is_drained(t, next)) {
        t->no_room++;
        return false;
    }
    region_clear(t, next);
    next->state = REGION_OPEN;
    t->region[t->open].state = REGION_FULL;
    t->open = t->victim;
    choose_victim(t);
    return true;
}

/* Where the tails begin: of translated code they are three bytes in eight. */
static size_t region_cold(const struct jit_vm *t)
{
    return t->region_size / 8 * 5;
}

/* In the part that has less. */
static size_t region_room(const struct jit_vm *t, const struct region *r)
{
    return MIN(region_cold(t) - r->used, t->region_size - region_cold(t) - r->cold);
}

static bool region_is_full(const struct jit_vm *t, const struct region *r)
{
    return region_room(t, r) < ROOM_MIN || t->region_blocks - r->blocks <= BLOCK_CALLS ||
           t->region_links - r->links < BLOCK_LINKS;
}

bool cache_begin(struct jit *j, struct emitter *e)
{
    struct jit_vm *t = j->vm;
    j->starved = region_is_full(t, &t->region[t->open]) && !region_next(t);
    if (j->starved)
        return false;
    struct region *r = &t->region[t->open];
    u8 *hot = region_start(t, t->open), *cold = hot + region_cold(t);
    *e = (struct emitter){.p = hot + r->used, .cold = cold + r->cold, .to_exec = t->rx - t->rw};
    e->end = MIN(cold, e->p + TRANSLATION_MAX);
    e->cold_end = MIN(hot + t->region_size, e->cold + TRANSLATION_MAX);
    return true;
}

bool cache_retry(struct jit *j, const struct emitter *e)
{
    struct jit_vm *t = j->vm;
    struct region *r = &t->region[t->open];
    return e->overrun && region_room(t, r) < TRANSLATION_MAX && region_next(t);
}

struct block *cache_block(struct jit *j)
{
    struct jit_vm *t = j->vm;
    const struct region *r = &t->region[t->open];
    struct block *b = &t->block[(size_t)t->open * t->region_blocks + r->blocks];
    *b = (struct block){.link = &t->link[(size_t)t->open * t->region_links + r->links]};
    return b;
}

struct block *cache_landing(struct jit *j, struct block *b)
{
    struct block *landing = b + 1 + b->landings++;
    *landing = (struct block){.link = b->link, .mode = b->mode};
    return landing;
}

void cache_commit(struct jit *j, const struct emitter *e)
{
    struct jit_vm *t = j->vm;
    struct region *r = &t->region[t->open];
    const u8 *hot = region_start(t, t->open), *cold = hot + region_cold(t);
    size_t used = ALIGN_UP((size_t)(e->p - hot), 16), tails = (size_t)(e->cold - cold);
    t->host_bytes += used - r->used + tails - r->cold;
    r->used = used;
    r->cold = tails;
}

void cache_insert(struct jit *j, struct block *b, struct code_page *page)
{
    struct jit_vm *t = j->vm;
    struct region *r = &t->region[t->open];
    struct block **bucket = bucket_of(t, b->hva, b->rip);
    r->blocks++;
    r->links += b->links;
    for (unsigned i = 0; i < b->links; i++) {
        b->link[i].unaimed = load_le32(b->link[i].site);
        if (b->link[i].join)
            link_join(t, &b->link[i]);
    }
    b->mapping = mapping_get(t, b->rip & PAGE_MASK, page->hva, b->mode & MODE_USER);
    b->page = page;
    b->next_page = page->blocks;
    b->at_page = &page->blocks;
    if (page->blocks)
        page->blocks->at_page = &b->next_page;
    page->blocks = b;
    track_block(page, b);
    b->next = *bucket;
    __atomic_store_n(bucket, b, __ATOMIC_RELEASE);
    sweep(t, SWEEP_STEP);
}

void cache_note_found(const struct jit *j, const struct block *b)
{
    _Atomic(u32) *found = &j->vm->region[region_of(j->vm, b->entry)].found;
    atomic_store_explicit(found, atomic_load_explicit(found, memory_order_relaxed) + 1, memory_order_relaxed);
}
