/* Direct jumps between blocks, and the mappings that those into other pages expect. */
#include "engine/jit/cache.h"

static unsigned mapping_bucket(u64 lin, const u8 *page)
{
    u64 h = (lin >> PAGE_SHIFT ^ (u64)(uintptr_t)page) * 0x9e3779b97f4a7c15ull;
    return (unsigned)(h >> (64 - MAPPING_BUCKET_BITS));
}

/* A number that no code has in it any more, or 0. */
static u32 mapping_new(struct jit_vm *t)
{
    u32 index = t->mapping_unused;
    if (index) {
        t->mapping_unused = t->mapping[index].next;
        for (unsigned i = 0; i < t->vm->cpu_count; i++)
            if (t->vm->cpu[i])
                __atomic_store_n(&t->vm->cpu[i]->engine_table[index], 0, __ATOMIC_RELAXED);
    } else if (t->mapping_count < ENGINE_TABLE_LEN) {
        index = t->mapping_count++;
    }
    return index;
}

u32 mapping_get(struct jit_vm *t, u64 lin, const u8 *page, bool user)
{
    u32 *bucket = &t->mapping_bucket[mapping_bucket(lin, page)];
    for (u32 i = *bucket; i; i = t->mapping[i].next) {
        struct mapping *m = &t->mapping[i];
        if (m->lin == lin && m->page == page && m->user == user) {
            m->refs++;
            return i;
        }
    }
    u32 index = mapping_new(t);
    if (index) {
        t->mapping[index] =
            (struct mapping){.lin = lin, .page = page, .user = user, .refs = 1, .next = *bucket};
        *bucket = index;
    }
    return index;
}

void mapping_put(struct jit_vm *t, u32 index)
{
    struct mapping *m = &t->mapping[index];
    if (!index || --m->refs)
        return;
    u32 *at = &t->mapping_bucket[mapping_bucket(m->lin, m->page)];
    while (*at != index)
        at = &t->mapping[*at].next;
    *at = m->next;
    m->next = t->mapping_unused;
    t->mapping_unused = index;
}

void link_detach(struct link *link)
{
    if (!link->at)
        return;
    *link->at = link->next;
    if (link->next)
        link->next->at = link->at;
    link->at = NULL;
    __atomic_store_n(&link->target, NULL, __ATOMIC_RELEASE);
}

void link_forget(struct link *link)
{
    emit_patch(link->site, link->unaimed);
    link_detach(link);
}

static void aim_at(struct jit_vm *t, struct link *link, struct block *b, const u8 *code)
{
    emit_patch_aim(link->site, t->rx - t->rw, code);
    link->next = b->incoming;
    link->at = &b->incoming;
    b->incoming = link;
    if (link->next)
        link->next->at = &link->next;
    __atomic_store_n(&link->target, b, __ATOMIC_RELEASE);
    t->chained++;
}

static void aim(struct jit_vm *t, struct link *link, struct block *b)
{
    aim_at(t, link, b, link->poll ? b->poll : b->entry);
}

void link_join(struct jit_vm *t, struct link *link)
{
    if (!link->join->dropped)
        aim_at(t, link, link->join, link->join->call);
}

/* Where the expectation fails, for good: the target depends on the context. */
static void aim_miss(struct jit_vm *t, struct link *link)
{
    if (!link->looks_up)
        emit_patch_aim(link->miss, t->rx - t->rw, link->lookup);
    link->looks_up = true;
}

/* The mapping is expected from the first time on; it is the last to be patched then. */
static void aim_far(struct jit_vm *t, struct link *link, struct block *b, bool global)
{
    if (link->target || !b->mapping ||
        (link->mapping && (link->mapping != b->mapping || link->global != global))) {
        aim_miss(t, link);
        return;
    }
    link->poll = false;
    aim(t, link, b);
    if (link->mapping)
        return;
    link->mapping = b->mapping;
    link->global = global;
    t->mapping[b->mapping].refs++;
    emit_patch(link->word, AT_WORD(global ? WORD_GLOBAL : WORD_CONTEXT));
    emit_patch(link->expect, AT_EXPECT(link->mapping));
}

static bool is_same_page(const u8 *a, const u8 *b)
{
    return (((uintptr_t)a ^ (uintptr_t)b) & PAGE_MASK) == 0;
}

void link_aim(struct jit *j, struct block *b, bool global)
{
    struct jit_vm *t = j->vm;
    struct link *link = (struct link *)(uintptr_t)j->v->engine_words[WORD_LINK];
    j->v->engine_words[WORD_LINK] = 0;
    const struct block *from = link ? link->from : NULL;
    if (!link || link->rip != b->rip || (from->mode | MODE_PLAIN) != (b->mode | MODE_PLAIN) ||
        link->plain != !!(b->mode & MODE_PLAIN))
        return;
    /* Left through, but aimed well: because of a kick, or by a vCPU that had not been there yet. */
    if (__atomic_load_n(&link->target, __ATOMIC_ACQUIRE) == b && (!link->expect || link->global == global))
        return;
    /* Another time, if someone is translating. */
    if (pthread_mutex_trylock(&t->lock))
        return;
    if (!from->dropped && !b->dropped) {
        if (link->expect)
            aim_far(t, link, b, global);
        else if (!link->target && is_same_page(from->hva, b->hva))
            aim(t, link, b);
    }
    pthread_mutex_unlock(&t->lock);
}
