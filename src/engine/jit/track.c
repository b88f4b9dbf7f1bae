/*
 * Self- and cross-modifying code: writes to pages with translations.
 *
 * The order that makes it exact: a translator marks the page, then makes every vCPU forget its writable
 * mappings of it, then compares the bytes with what it has translated. A writer writes, then looks at the
 * mark. Whichever comes second sees the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "cpu/mmu.h"
#include "engine/jit/track.h"

static struct code_page **page_bucket(struct jit_vm *t, const u8 *page)
{
    u64 h = (u64)(uintptr_t)page * 0x9e3779b97f4a7c15ull;
    return &t->bucket[h >> (64 - PAGE_BUCKET_BITS)];
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

/* [lock] */
static void pend(struct jit *j, const u8 *page)
{
    for (unsigned i = 0; i < MIN(j->pending_count, PENDING_MAX); i++)
        if (j->pending[i] == page)
            return;
    if (j->pending_count < PENDING_MAX)
        j->pending[j->pending_count++] = page;
    else
        j->pending_count = PENDING_MAX + 1;
}

static void tell(struct jit *j)
{
    atomic_store(&j->pending_any, true);
    jit_stop(j->v);
}

static void written(void *opaque, const u8 *hva, size_t len)
{
    struct jit_vm *t = opaque;
    const u8 *page = page_of(hva);
    pthread_mutex_lock(&t->lock);
    struct code_page *p = page_find(t, page);
    if (p && (p->lines & lines_of(hva, len))) {
        for (unsigned i = 0; i < t->vm->cpu_count; i++) {
            if (!(p->owners >> i & 1))
                continue;
            struct jit *j = t->vm->cpu[i]->engine;
            pend(j, page);
            tell(j);
        }
        p->owners = p->lines = 0;
        p->epoch++;
        p->guarded = false;
        atomic_fetch_and(p->flags, (u8)~RAM_PAGE_CODE);
    }
    pthread_mutex_unlock(&t->lock);
}

void track_take_pending(struct jit *j)
{
    pthread_mutex_lock(&j->vm->lock);
    atomic_store(&j->pending_any, false);
    if (j->pending_count > PENDING_MAX)
        cache_flush(j);
    else
        for (unsigned i = 0; i < j->pending_count; i++)
            cache_drop_page(j, j->pending[i]);
    j->pending_count = 0;
    pthread_mutex_unlock(&j->vm->lock);
}

/* No TLB lets anyone write to the page any more. The vCPU is stopped, or the caller's. */
static void forget_writable(struct vcpu *v, const u8 *page)
{
    struct tlb_entry *e = v->tlb->entry, *end = e + (MMU_INDEX_COUNT - 1) * TLB_ENTRIES;
    for (; e < end; e++)
        if (unlikely((e->write & PAGE_MASK) + e->addend == (u64)(uintptr_t)page))
            e->write = 0;
}

static void forget_writable_everywhere(struct jit *j, const u8 *page)
{
    struct vm *vm = j->vm->vm;
    if (vm->cpu_count > 1)
        vm_exclusive_begin(j->v);
    for (unsigned i = 0; i < vm->cpu_count; i++)
        forget_writable(vm->cpu[i], page);
    if (vm->cpu_count > 1)
        vm_exclusive_end(j->v);
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

bool track_code(struct jit *j, const u8 *hva, const u8 *code, unsigned len)
{
    struct jit_vm *t = j->vm;
    const u8 *page = page_of(hva);
    u64 lines = lines_of(hva, len);
    bool guarded = false, ok = false;
    u64 epoch = 0;
    pthread_mutex_lock(&t->lock);
    struct code_page *p = page_get(j, page);
    if (p) {
        atomic_fetch_or(p->flags, RAM_PAGE_CODE);
        guarded = p->guarded;
        epoch = p->epoch;
        p->owners |= BIT(j->v->index);
        p->lines |= lines;
    }
    pthread_mutex_unlock(&t->lock);
    if (!p)
        return false;
    if (!guarded)
        forget_writable_everywhere(j, page);
    pthread_mutex_lock(&t->lock);
    if (p->epoch == epoch) {
        p->guarded = true;
        ok = memcmp(hva, code, len) == 0;
    }
    pthread_mutex_unlock(&t->lock);
    return ok;
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
        fprintf(j->vm->map, "%llx %zx cpu%u:%llx%s\n", (unsigned long long)(uintptr_t)code, size, j->v->index,
                (unsigned long long)b->rip, b->mode & MODE_PLAIN ? "-plain" : "");
}

int track_create(struct vm *vm, struct error *err)
{
    struct jit_vm *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, ENOMEM, "no memory for the translator");
    t->vm = vm;
    t->map = map_open(vm);
    pthread_mutex_init(&t->lock, NULL);
    vm->engine_vm = t;
    mem_set_code_listener(vm->mem, &(struct mem_code_listener){.written = written, .opaque = t});
    return 0;
}

void track_destroy(struct vm *vm)
{
    struct jit_vm *t = vm->engine_vm;
    if (!t)
        return;
    mem_set_code_listener(vm->mem, NULL);
    for (unsigned i = 0; i < ARRAY_LEN(t->bucket); i++) {
        for (struct code_page *p = t->bucket[i], *next; p; p = next) {
            next = p->next;
            free(p);
        }
    }
    if (t->map)
        fclose(t->map);
    pthread_mutex_destroy(&t->lock);
    free(t);
    vm->engine_vm = NULL;
}
