/* Code memory, mapped twice (writable here, executable there), and the tables of blocks. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "engine/jit/jit.h"
#include "mem/mem.h"

static unsigned hash_u64(u64 x)
{
    return (unsigned)(x * 0x9e3779b97f4a7c15ull >> (64 - BUCKET_BITS));
}

static struct block **bucket_of(const struct jit *j, const u8 *hva, u64 rip)
{
    return &j->bucket[hash_u64((u64)(uintptr_t)hva ^ rip << 1)];
}

static struct block **page_bucket_of(const struct jit *j, const u8 *hva)
{
    return &j->page_bucket[hash_u64((u64)(uintptr_t)hva >> PAGE_SHIFT)];
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

#define BUCKETS_SIZE ((sizeof(struct block *)) << BUCKET_BITS)
#define JUMPS_SIZE   (sizeof(struct jit_jump) * JUMP_COUNT)

void cache_destroy(struct jit *j)
{
    unmap(j->rw, j->size);
    unmap(j->rx, j->size);
    if (j->fd >= 0)
        close(j->fd);
    unmap(j->block, j->block_max * sizeof *j->block);
    unmap(j->link, j->link_max * sizeof *j->link);
    unmap(j->bucket, BUCKETS_SIZE);
    unmap(j->page_bucket, BUCKETS_SIZE);
    unmap(j->jump, JUMPS_SIZE);
}

static u8 *map_code(const struct jit *j, int prot)
{
    void *p = mmap(NULL, j->size, prot, MAP_SHARED, j->fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

int cache_create(struct jit *j, size_t size, struct error *err)
{
    j->size = size;
    j->fd = memfd_create("ring3-code", MFD_CLOEXEC);
    if (j->fd < 0 || ftruncate(j->fd, (off_t)size) < 0)
        return error_set(err, errno, "no memory for translated code (%zu MiB)", size >> 20);
    j->rw = map_code(j, PROT_READ | PROT_WRITE);
    j->rx = map_code(j, PROT_READ | PROT_EXEC);
    if (!j->rw || !j->rx)
        return error_set(err, EPERM, "the host does not let this process map memory executable");
    j->block_max = size / 256;
    j->link_max = 3 * j->block_max;
    j->block = map_tables(j->block_max * sizeof *j->block);
    j->link = map_tables(j->link_max * sizeof *j->link);
    j->bucket = map_tables(BUCKETS_SIZE);
    j->page_bucket = map_tables(BUCKETS_SIZE);
    j->jump = map_tables(JUMPS_SIZE);
    if (!j->block || !j->link || !j->bucket || !j->page_bucket || !j->jump)
        return error_set(err, ENOMEM, "no memory for the tables of translated code");
    struct emitter e;
    cache_begin(j, &e);
    thunks_emit(j, &e);
    cache_commit(j, &e);
    cache_forget_returns(j);
    j->base_used = j->used;
    return 0;
}

void cache_forget_returns(struct jit *j)
{
    struct jit_return *r = (struct jit_return *)&j->v->engine_words[WORD_RING];
    for (unsigned i = 0; i < 2 * RING_COUNT; i++)
        r[i] = (struct jit_return){.code = j->thunk.exit_zero};
}

void cache_flush(struct jit *j)
{
    j->used = j->base_used;
    j->block_count = j->link_count = 0;
    memset(j->bucket, 0, BUCKETS_SIZE);
    memset(j->page_bucket, 0, BUCKETS_SIZE);
    memset(j->jump, 0, JUMPS_SIZE);
    j->v->engine_words[WORD_LINK] = 0;
    cache_forget_returns(j);
    j->flushes++;
}

void cache_begin(struct jit *j, struct emitter *e)
{
    if (j->size - j->used < TRANSLATION_MAX || j->block_count == j->block_max ||
        j->link_max - j->link_count < BLOCK_LINKS)
        cache_flush(j);
    *e = (struct emitter){.p = j->rw + j->used, .to_exec = j->rx - j->rw};
    e->end = e->p + TRANSLATION_MAX;
}

void cache_commit(struct jit *j, const struct emitter *e)
{
    j->used = ALIGN_UP((size_t)(e->p - j->rw), 16);
}

struct block *cache_find(const struct jit *j, const u8 *hva, u64 rip, unsigned mode)
{
    for (struct block *b = *bucket_of(j, hva, rip); b; b = b->next)
        if (b->hva == hva && b->rip == rip && b->mode == mode)
            return b;
    return NULL;
}

struct block *cache_block(struct jit *j)
{
    struct block *b = &j->block[j->block_count++];
    *b = (struct block){0};
    j->link_mark = j->link_count;
    return b;
}

void cache_unblock(struct jit *j, struct block *b)
{
    j->block_count = (size_t)(b - j->block);
    j->link_count = j->link_mark;
}

void cache_insert(struct jit *j, struct block *b)
{
    struct block **bucket = bucket_of(j, b->hva, b->rip), **page = page_bucket_of(j, b->hva);
    b->next = *bucket;
    *bucket = b;
    b->next_page = *page;
    *page = b;
}

static void unhash(struct jit *j, struct block *b)
{
    struct block **at = bucket_of(j, b->hva, b->rip);
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    struct jit_jump *jump = cache_jump(j, b->rip);
    if (jump->key == cache_key(b->rip, b->mode))
        *jump = (struct jit_jump){0};
}

static void unlink_incoming(struct block *b)
{
    while (b->incoming) {
        struct link *link = b->incoming;
        store_le32(link->value, 0);
        b->incoming = link->next;
        link->at = NULL;
    }
}

/* All blocks of a page go together, so that no jump chained within the page is left. */
void cache_drop_page(struct jit *j, const u8 *page)
{
    for (struct block **at = page_bucket_of(j, page); *at;) {
        struct block *b = *at;
        if (((uintptr_t)b->hva & PAGE_MASK) != (uintptr_t)page) {
            at = &b->next_page;
            continue;
        }
        *at = b->next_page;
        unhash(j, b);
        unlink_incoming(b);
        j->invalidated++;
    }
    j->v->engine_words[WORD_LINK] = 0;
    cache_forget_returns(j);
}
