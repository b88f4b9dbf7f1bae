/* The tables of indirect jumps: which one counts, and what is in it. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "cpu/mmu.h"
#include "cpu/seg.h"
#include "engine/jit/jump.h"
#include "mem/mem.h"

static void table_fill(struct jump_table *table, const u8 *code)
{
    for (unsigned i = 0; i < JUMP_SLOTS; i++)
        table->slot[i] = code;
}

static u64 word_of(const struct jump_table *table)
{
    return (u64)(uintptr_t)table >> 3;
}

/* The tables are touched when they are needed. */
int jumps_create(struct jit *j, struct error *err)
{
    struct jumps *x = j->jumps = calloc(1, sizeof *x);
    if (!x)
        return error_set(err, ENOMEM, "no memory for the tables of jumps");
    x->size = (JUMP_TABLES + 2) * sizeof(struct jump_table);
    x->memory =
        mmap(NULL, x->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (x->memory == MAP_FAILED) {
        x->memory = NULL;
        return error_set(err, ENOMEM, "no memory for the tables of jumps");
    }
    x->stopped = (struct jump_table *)ALIGN_UP((uintptr_t)x->memory, sizeof(struct jump_table));
    x->table = x->stopped + 1;
    table_fill(x->stopped, j->thunk.stopped);
    j->v->engine_words[WORD_STOPPED] = word_of(x->stopped);
    jumps_stop(j->v);
    return 0;
}

void jumps_destroy(struct jit *j)
{
    struct jumps *x = j->jumps;
    if (!x)
        return;
    if (x->memory)
        munmap(x->memory, x->size);
    free(x);
    j->jumps = NULL;
}

void jumps_stop(struct vcpu *v)
{
    for (unsigned user = 0; user < 2; user++)
        __atomic_store_n(&v->engine_words[WORD_TARGETS + user], v->engine_words[WORD_STOPPED],
                         __ATOMIC_SEQ_CST);
}

/* Is the supervisor's table one of global pages? */
static bool is_global(const struct jit *j)
{
    return j->v->cr4 & CR4_PGE;
}

static u32 context_of(const struct jit *j, bool user)
{
    return (u32)j->v->engine_words[user || !is_global(j) ? WORD_CONTEXT : WORD_GLOBAL];
}

static void table_clear(struct jump_table *table, const u8 *code)
{
    u64 *dirty = (u64 *)table->dirty;
    for (unsigned i = 0; i < sizeof table->dirty / 8; i++) {
        if (likely(!dirty[i]))
            continue;
        for (unsigned n = 0; n < 8u << DIRTY_BITS; n++)
            table->slot[(i << (3 + DIRTY_BITS)) + n] = code;
        dirty[i] = 0;
    }
}

static bool is_users(unsigned mode)
{
    return mode & MODE_USER;
}

static void table_empty(struct jit *j, unsigned n)
{
    struct jump_table *table = &j->jumps->table[n];
    const u8 *missed = j->thunk.missed[is_users(j->jumps->owner[n].mode)];
    if (j->jumps->owner[n].filled) {
        table_clear(table, missed);
    } else {
        table_fill(table, missed);
        memset(table->dirty, 0, sizeof table->dirty);
    }
    j->jumps->owner[n].filled = true;
}

/* The one that has not been asked for for longest. */
static unsigned table_claim(struct jit *j, u32 context)
{
    struct jumps *x = j->jumps;
    unsigned n = 0;
    for (unsigned i = 0; i < JUMP_TABLES; i++)
        if (x->owner[i].used < x->owner[n].used)
            n = i;
    /* Slots that are not dirty lead to a supervisor's thunk or to a user's. */
    if (is_users(x->owner[n].mode) != is_users(j->mode))
        x->owner[n].filled = false;
    x->owner[n].mode = j->mode;
    x->owner[n].context = context;
    x->owner[n].valid = true;
    table_empty(j, n);
    return n;
}

/* The table that WORD_TABLE names, if it is one for the context. */
static struct jump_table *table_current(const struct jit *j, bool user)
{
    const struct jumps *x = j->jumps;
    struct jump_table *table = (struct jump_table *)(uintptr_t)j->v->engine_words[WORD_TABLE + user];
    if (!table || !x->owner[table - x->table].valid ||
        x->owner[table - x->table].context != context_of(j, user) ||
        is_users(x->owner[table - x->table].mode) != user)
        return NULL;
    return table;
}

static struct jump_table *table_get(struct jit *j, u32 context)
{
    struct jumps *x = j->jumps;
    unsigned n = 0;
    while (n < JUMP_TABLES &&
           !(x->owner[n].valid && x->owner[n].mode == j->mode && x->owner[n].context == context))
        n++;
    if (n == JUMP_TABLES) {
        struct jump_table *other = table_current(j, !is_users(j->mode));
        if (other) /* it is in use */
            x->owner[other - x->table].used = ++x->clock;
        n = table_claim(j, context);
    }
    x->owner[n].used = ++x->clock;
    return &x->table[n];
}

static bool is_selected(const struct jit *j)
{
    const struct jumps *x = j->jumps;
    const u64 *words = j->v->engine_words;
    return x->last.mode == j->mode && x->last.context == (u32)words[WORD_CONTEXT] &&
           x->last.global == (u32)words[WORD_GLOBAL] && x->last.pge == is_global(j) &&
           x->last.targets[0] == __atomic_load_n(&words[WORD_TARGETS], __ATOMIC_RELAXED) &&
           x->last.targets[1] == __atomic_load_n(&words[WORD_TARGETS + 1], __ATOMIC_RELAXED);
}

void jumps_select(struct jit *j)
{
    struct jumps *x = j->jumps;
    u64 *words = j->v->engine_words;
    bool user = is_users(j->mode);
    struct jump_table *now, *other;
    if (likely(is_selected(j)))
        return;
    now = table_current(j, user);
    if (unlikely(!now || x->owner[now - x->table].mode != j->mode))
        now = table_get(j, context_of(j, user));
    other = table_current(j, !user); /* may have been claimed */
    words[WORD_TABLE + user] = (u64)(uintptr_t)now;
    words[WORD_TABLE + !user] = (u64)(uintptr_t)other;
    words[WORD_TABLE_MODE + user] = j->mode;
    words[WORD_TABLE_MODE + !user] = other ? x->owner[other - x->table].mode : ~0ull;
    words[WORD_LOCAL] = is_global(j) ? 0 : words[WORD_TABLE];
    u64 targets[2];
    targets[user] = word_of(now);
    targets[!user] = word_of(other ? other : x->stopped);
    for (unsigned i = 0; i < 2; i++)
        if (__atomic_load_n(&words[WORD_TARGETS + i], __ATOMIC_RELAXED) != targets[i])
            __atomic_store_n(&words[WORD_TARGETS + i], targets[i], __ATOMIC_SEQ_CST);
    x->last.targets[0] = targets[0];
    x->last.targets[1] = targets[1];
    x->last.context = (u32)words[WORD_CONTEXT];
    x->last.global = (u32)words[WORD_GLOBAL];
    x->last.mode = j->mode;
    x->last.pge = is_global(j);
}

static void slot_set(struct jump_table *table, u64 rip, const u8 *code)
{
    unsigned n = rip & (JUMP_SLOTS - 1);
    table->slot[n] = code;
    table->dirty[n >> DIRTY_BITS] = 1;
}

void jumps_note(struct jit *j, const struct block *b, bool global)
{
    bool user = is_users(j->mode);
    struct jump_table *table = table_current(j, user);
    if (table && (user || global || !is_global(j)))
        slot_set(table, b->rip, b->checked);
}

void jumps_forget(struct jit *j, u64 rip)
{
    for (unsigned n = 0; n < JUMP_TABLES; n++)
        if (j->jumps->owner[n].valid)
            j->jumps->table[n].slot[rip & (JUMP_SLOTS - 1)] =
                j->thunk.missed[is_users(j->jumps->owner[n].mode)];
}

void jumps_forget_all(struct jit *j)
{
    for (unsigned n = 0; n < JUMP_TABLES; n++)
        if (j->jumps->owner[n].valid)
            table_empty(j, n);
}

void jumps_undo(struct vcpu *v)
{
    const u8 *page = is_canonical(v->rip) ? mmu_code_page(v, v->rip) : NULL;
    unsigned offset = v->rip & (PAGE_SIZE - 1);
    u8 bytes[INSN_MAX_LEN];
    struct insn insn;
    size_t avail = MIN(PAGE_SIZE - offset, (size_t)INSN_MAX_LEN);
    if (!page)
        return;
    memcpy(bytes, page + offset, avail);
    if (insn_decode(&insn, bytes, avail, v->decode_mode) != DECODE_OK)
        return;
    if (insn.id == INSN_CALL_IND)
        v->gpr[RSP] += 8;
    if (insn.id == INSN_RET)
        v->gpr[RSP] -= 8 + (insn.nopnds ? insn.imm & 0xffff : 0);
}
