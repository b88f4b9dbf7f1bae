/*
 * Self- and cross-modifying code: writes to pages with translations.
 *
 * The order that makes it exact: a translator marks the page, then makes every vCPU forget its writable
 * mappings of it, then, under the lock, reads the bytes and enters the block. A writer writes, then looks at
 * the mark, then takes the lock. Whichever comes second sees the other.
 *
 * A page whose blocks are dropped again and again *rests*: for a while it is interpreted, and is not marked
 * if nothing else of it is translated, so that writing to it costs nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "cpu/mmu.h"
#include "engine/jit/cache.h"

static struct code_page **page_bucket(struct jit_vm *t, const u8 *page)
{
    u64 h = (u64)(uintptr_t)page * 0x9e3779b97f4a7c15ull;
    return &t->page_bucket[h >> (64 - PAGE_BUCKET_BITS)];
}

static const u8 *page_of(const u8 *hva)
{
    return hva - ((uintptr_t)hva & (PAGE_SIZE - 1));
}

static u64 lines_of(const u8 *hva, size_t len)
{
    unsigned first = ((uintptr_t)hva & (PAGE_SIZE - 1)) >> 6;
    unsigned last = (((uintptr_t)hva & (PAGE_SIZE - 1)) + (unsigned)len - 1) >> 6;
    return MASK(last - first + 1) << first;
}

static struct code_page *page_find(struct jit_vm *t, const u8 *page)
{
    struct code_page *p = *page_bucket(t, page);
    while (p && p->hva != page)
        p = p->next;
    return p;
}

#define DROPS_MAX  12       /* in a row, before the page rests */
#define DROPS_SOON 50000    /* ns: what is in a row: translating takes several microseconds a block */
#define CALM       10000000 /* ns without: forgiven */
#define REST_MIN   64       /* instructions */
#define REST_MAX   16384

/* Some of the page's blocks were dropped. */
static void rest_if_storm(struct jit_vm *t, struct code_page *p)
{
    u64 now = clock_now(t->vm->clock), since = now - p->dropped_at;
    bool fresh = p->fresh;
    p->dropped_at = now;
    p->fresh = false;
    if (!fresh)
        return;
    if (since > DROPS_SOON)
        p->drops = 0;
    if (since > CALM)
        p->rest = 0;
    if (++p->drops < DROPS_MAX)
        return;
    p->drops = DROPS_MAX / 2;
    p->resting = p->rest = p->rest ? MIN(2 * p->rest, (u32)REST_MAX) : REST_MIN;
    t->rests++;
}

static bool overlaps(const struct block *b, unsigned offset, size_t len)
{
    for (unsigned i = 0; i < b->ranges; i++)
        if (offset < (unsigned)b->range[i].offset + b->range[i].len && b->range[i].offset < offset + len)
            return true;
    return false;
}

static u64 lines_of_block(const struct block *b)
{
    u64 lines = 0;
    for (unsigned i = 0; i < b->ranges; i++)
        lines |= lines_of((const u8 *)(uintptr_t)b->range[i].offset, b->range[i].len);
    return lines;
}

/* Drops the blocks made from what was written. */
static void page_written(struct jit_vm *t, struct code_page *p, unsigned offset, size_t len)
{
    bool any = false;
    p->lines = 0;
    for (struct block *b = p->blocks, *next; b; b = next) {
        next = b->next_page;
        if (overlaps(b, offset, len)) {
            cache_drop(t, b);
            any = true;
        } else {
            p->lines |= lines_of_block(b);
        }
    }
    if (!any)
        return;
    rest_if_storm(t, p);
    u64 owners = atomic_load(&p->owners);
    for (unsigned i = 0; i < t->vm->cpu_count; i++)
        if (owners >> i & 1 && cache_of(t, i))
            cache_tell(cache_of(t, i));
}

/* Nothing of the page is translated: writing to it costs nothing any more. */
static void unmark(struct code_page *p)
{
    p->lines = 0;
    p->epoch++;
    p->guarded = false;
    atomic_fetch_and(p->flags, (u8)~RAM_PAGE_CODE);
}

static void written(void *opaque, const u8 *hva, size_t len)
{
    struct jit_vm *t = opaque;
    pthread_mutex_lock(&t->lock);
    struct code_page *p = page_find(t, page_of(hva));
    if (p) {
        t->writes++;
        if (p->lines & lines_of(hva, len))
            page_written(t, p, (unsigned)(hva - p->hva), len);
        else
            t->false_hits++;
        if (!p->blocks)
            unmark(p);
    }
    pthread_mutex_unlock(&t->lock);
}

void track_enter(struct jit *j, const struct block *b)
{
    u64 bit = BIT(j->v->index);
    if (likely(atomic_load_explicit(&b->page->owners, memory_order_relaxed) & bit))
        return;
    atomic_fetch_or(&b->page->owners, bit);
    /* Dropped just now, without our being told? */
    if (__atomic_load_n(&b->dropped, __ATOMIC_SEQ_CST))
        jit_stop(j->v);
}

/* No TLB lets anyone write to the page any more. Most pages of code are in nobody's TLB for writing. */
static void forget_writable_everywhere(struct jit *j, const u8 *page)
{
    struct vm *vm = j->vm->vm;
    bool other = false;
    for (unsigned i = 0; i < vm->cpu_count; i++)
        other |= vm->cpu[i] != j->v && mmu_may_write(vm->cpu[i], page);
    if (other)
        vm_exclusive_begin(j->v);
    for (unsigned i = 0; i < vm->cpu_count; i++)
        if ((other || vm->cpu[i] == j->v) && mmu_may_write(vm->cpu[i], page)) {
            mmu_forget_writable(vm->cpu[i], page);
            atomic_fetch_add_explicit(&j->vm->sweeps, 1, memory_order_relaxed);
        }
    if (other)
        vm_exclusive_end(j->v);
    j->exclusives += other;
}

/* The page's record, made if there is none; NULL without memory. [lock] */
static struct code_page *page_get(struct jit *j, const u8 *page)
{
    struct code_page *p = page_find(j->vm, page), **bucket;
    if (p)
        return p;
    u64 gpa = mmu_translate(j->v, j->v->rip);
    if (gpa == ~0ull)
        return NULL;
    struct mem_space *mem = j->vm->vm->mem;
    struct mem_page m = mem_lookup(mem, gpa & mem_a20_mask(mem));
    if ((m.kind != MEM_RAM && m.kind != MEM_ROM) || m.hva != page)
        return NULL;
    p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->hva = page;
    p->flags = &m.block->page_flags[m.block_offset >> PAGE_SHIFT];
    bucket = page_bucket(j->vm, page);
    p->next = *bucket;
    *bucket = p;
    return p;
}

#define STOPS_MAX 32

bool track_direct(struct jit *j, const u8 *hva, unsigned len)
{
    struct jit_vm *t = j->vm;
    bool ok = false;
    if (pthread_mutex_trylock(&t->lock))
        return false;
    struct code_page *p = page_find(t, page_of(hva));
    if (p && !p->blocks) {
        unmark(p);
    } else if (p && !(p->lines & lines_of(hva, len)) && !p->held && p->stops < STOPS_MAX) {
        p->direct = t->vm->cpu_count > 1;
        t->direct++;
        ok = true;
    }
    pthread_mutex_unlock(&t->lock);
    return ok;
}

/* Nobody is about to write directly to the page, and nobody begins to until it is let go. */
static void hold(struct jit *j, struct code_page *p)
{
    vm_exclusive_begin(j->v);
    pthread_mutex_lock(&j->vm->lock);
    p->direct = false;
    p->stops++;
    pthread_mutex_unlock(&j->vm->lock);
    vm_exclusive_end(j->v);
    j->exclusives++;
}

/* Once more. */
static bool is_resting(struct jit_vm *t, struct code_page *p)
{
    if (likely(!p->resting))
        return false;
    u64 now = clock_now(t->vm->clock);
    if (now - p->dropped_at > CALM)
        p->resting = 0;
    else if (--p->resting == 0)
        p->dropped_at = now;
    return p->resting;
}

struct code_page *track_page(struct jit *j, const u8 *hva, bool *held)
{
    struct jit_vm *t = j->vm;
    const u8 *page = page_of(hva);
    bool guarded = true;
    u64 epoch = 0;
    *held = false;
    pthread_mutex_lock(&t->lock);
    struct code_page *p = page_get(j, page);
    if (p && is_resting(t, p)) {
        p = NULL;
    } else if (p) {
        atomic_fetch_or(p->flags, RAM_PAGE_CODE);
        guarded = p->guarded;
        epoch = p->epoch;
        *held = p->direct;
        p->held += p->direct;
    }
    pthread_mutex_unlock(&t->lock);
    if (*held)
        hold(j, p);
    if (guarded)
        return p;
    forget_writable_everywhere(j, page);
    pthread_mutex_lock(&t->lock);
    p->guarded |= p->epoch == epoch;
    t->guards++;
    pthread_mutex_unlock(&t->lock);
    return p;
}

void track_block(struct code_page *p, const struct block *b)
{
    p->lines |= lines_of_block(b);
    p->fresh = true;
}

/* A new file of ours only: /tmp is anyone's. */
static FILE *map_open(struct vm *vm)
{
    char path[64];
    if (!log_traces(vm->log, TRACE_JITMAP))
        return NULL;
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *map = fd < 0 ? NULL : fdopen(fd, "w");
    if (!map)
        log_warn(vm->log, "%s cannot be made: %s", path, strerror(errno));
    return map;
}

void track_map_block(struct jit *j, const struct block *b, const u8 *code, size_t size)
{
    if (unlikely(j->vm->map))
        fprintf(j->vm->map, "%llx %zx guest:%llx%s\n", (unsigned long long)(uintptr_t)code, size,
                (unsigned long long)b->rip, b->mode & MODE_PLAIN ? "-plain" : "");
}

#define CACHE_SIZE     MIB(128)
#define CACHE_SIZE_MIN MIB(1)

int track_create(struct vm *vm, struct error *err)
{
    struct jit_vm *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, ENOMEM, "no memory for the translator");
    t->vm = vm;
    t->fd = -1;
    pthread_mutex_init(&t->lock, NULL);
    u64 size = ALIGN_UP(MAX(vm->code_cache ? vm->code_cache : CACHE_SIZE, CACHE_SIZE_MIN), (u64)PAGE_SIZE);
    int rc = cache_create(t, size, err);
    vm->engine_vm = t;
    if (rc) {
        track_destroy(vm);
        return rc;
    }
    t->map = map_open(vm);
    mem_set_code_listener(vm->mem, &(struct mem_code_listener){.written = written, .opaque = t});
    return 0;
}

void track_destroy(struct vm *vm)
{
    struct jit_vm *t = vm->engine_vm;
    if (!t)
        return;
    mem_set_code_listener(vm->mem, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(t->page_bucket); i++) {
        for (struct code_page *p = t->page_bucket[i], *next; p; p = next) {
            next = p->next;
            free(p);
        }
    }
    if (t->map)
        fclose(t->map);
    cache_destroy(t);
    pthread_mutex_destroy(&t->lock);
    free(t->verifier);
    free(t);
    vm->engine_vm = NULL;
}
