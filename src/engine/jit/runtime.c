/* The translator as an engine: the run loop between translated code and the interpreter. */
#include <stdlib.h>
#include "cpu/ctrl.h"
#include "engine/interp/interp.h"
#include "engine/jit/jit.h"
#include "engine/jit/track.h"

#define CACHE_SIZE          MIB(64)
#define INTERPRETED_AT_ONCE 20000 /* instructions of other modes */

void jit_update_words(struct vcpu *v)
{
    unsigned index = v->mmu_index == MMU_USER_ALIGN ? MMU_USER : v->mmu_index;
    v->engine_words[WORD_TLB] = (u64)(uintptr_t)&v->tlb[index];
    v->engine_words[WORD_EXEC_TLB] = (u64)(uintptr_t)&v->tlb[v->cpl == 3 ? MMU_USER : MMU_KERNEL];
}

static u32 attention(const struct vcpu *v)
{
    return (atomic_load_explicit(&v->events, memory_order_relaxed) & v->event_mask) | v->attention;
}

static bool go(const struct vcpu *v)
{
    return __atomic_load_n(&v->engine_words[WORD_GO], __ATOMIC_SEQ_CST) != 0;
}

static void go_set(struct vcpu *v, bool on)
{
    __atomic_store_n(&v->engine_words[WORD_GO], on, __ATOMIC_SEQ_CST);
}

/* Translated code knows 64-bit mode, and not alignment checks. */
static bool is_translatable(const struct vcpu *v)
{
    return v->code64 && v->mmu_index != MMU_USER_ALIGN;
}

bool jit_step(struct vcpu *v, u32 id_len)
{
    struct jit *j = v->engine;
    u64 next = v->rip + (id_len & 0xff);
    j->fallback[id_len >> 8]++;
    if (!interp_step(v)) {
        /* Shut down: the run loop finds it again. */
        v->activity = ACTIVITY_SHUTDOWN;
        v->attention |= ATTN_HALT;
        return false;
    }
    jit_update_words(v);
    return v->rip == next && go(v) && !attention(v) && is_translatable(v);
}

/* The block at v->rip, or NULL: the instruction is the interpreter's. Raises what the fetch raises. */
static struct block *find_block(struct jit *j)
{
    struct vcpu *v = j->v;
    if (!is_canonical(v->rip))
        return NULL;
    const u8 *page = mmu_code_page(v, v->rip);
    if (!page)
        return NULL;
    const u8 *hva = page + (v->rip & ~PAGE_MASK);
    struct block *b = cache_find(j, hva, v->rip);
    if (!b)
        b = block_translate(j, hva);
    if (!b || !b->poll)
        return NULL;
    *cache_jump(j, b->rip) = (struct jit_jump){.rip = b->rip, .hva = b->hva, .code = b->poll};
    return b;
}

/* The jump that was left through leads to `b` from now on. */
static void chain(struct jit *j, const struct block *b)
{
    struct link *link = (struct link *)(uintptr_t)j->v->engine_words[WORD_LINK];
    j->v->engine_words[WORD_LINK] = 0;
    struct block *from = link ? container_of(link - link->second, struct block, link[0]) : NULL;
    if (!link || link->rip != b->rip || ((uintptr_t)from->hva ^ (uintptr_t)b->hva) & PAGE_MASK)
        return;
    emit_aim(link->site, j->rx - j->rw, link->poll ? b->poll : b->entry);
    j->chained++;
}

static void enter(struct jit *j, const struct block *b)
{
    chain(j, b);
    jit_update_words(j->v);
    j->v->engine_words[WORD_ENTRY] = (u64)(uintptr_t)b->poll;
    j->entered++;
    ((void (*)(void))(uintptr_t)j->thunk.enter)();
}

static bool step(struct jit *j)
{
    j->v->engine_words[WORD_STEP] = 0;
    j->v->engine_words[WORD_LINK] = 0;
    j->stepped++;
    return interp_steps(j->v, is_translatable(j->v) ? 1 : INTERPRETED_AT_ONCE);
}

/* Until there is something for the machine. Raises. */
static enum cpu_pending loop(struct jit *j)
{
    struct vcpu *v = j->v;
    for (;;) {
        go_set(v, true);
        if (atomic_load(&j->pending_any))
            track_take_pending(j);
        struct block *b = NULL;
        if (unlikely(attention(v))) {
            enum cpu_pending next = cpu_handle_events(v);
            if (next != PENDING_RUN)
                return next;
        } else if (is_translatable(v) && !v->engine_words[WORD_STEP]) {
            b = find_block(j);
        }
        if (b)
            enter(j, b);
        else if (!step(j))
            return PENDING_SHUTDOWN;
    }
}

/* Delivers what was raised, and goes on. */
static enum cpu_pending deliver_and_loop(struct jit *j)
{
    j->v->engine_words[WORD_STEP] = j->v->engine_words[WORD_LINK] = 0;
    return cpu_deliver_exception(j->v) ? loop(j) : PENDING_SHUTDOWN;
}

static enum vcpu_exit run(struct vcpu *v)
{
    struct jit *j = v->engine;
    jmp_buf env, *saved = v->unwind;
    enum cpu_pending next;
    vcpu_enter(v);
    v->unwind = &env;
    v->engine_words[WORD_STEP] = v->engine_words[WORD_LINK] = 0;
    jit_bind_thread(v);
    if (_setjmp(env) == 0) {
        next = cpu_handle_events(v);
        if (next == PENDING_RUN)
            next = step(j) ? loop(j) : PENDING_SHUTDOWN;
    } else {
        next = deliver_and_loop(j);
    }
    v->unwind = saved;
    vcpu_leave(v);
    switch (next) {
    case PENDING_HALTED:
        return VCPU_HALTED;
    case PENDING_SHUTDOWN:
        return VCPU_SHUTDOWN;
    default:
        return VCPU_KICKED;
    }
}

static void kick(struct vcpu *v)
{
    go_set(v, false);
}

static void vcpu_destroy_jit(struct vcpu *v)
{
    struct jit *j = v->engine;
    interp_finish(v);
    if (!j)
        return;
    cache_destroy(j);
    free(j);
    v->engine = NULL;
}

static int vcpu_create_jit(struct vcpu *v, struct error *err)
{
    struct jit *j = calloc(1, sizeof *j);
    if (!j)
        return error_set(err, ENOMEM, "no memory for the translator of CPU %u", v->index);
    j->v = v;
    j->vm = v->vm->engine_vm;
    j->fd = -1;
    v->engine = j;
    int rc = interp_init(v, err);
    if (!rc)
        rc = cache_create(j, CACHE_SIZE, err);
    if (rc)
        vcpu_destroy_jit(v);
    else
        v->engine_words[WORD_JUMPS] = (u64)(uintptr_t)j->jump;
    return rc;
}

static void stats_fallbacks(const struct jit *j, void (*line)(void *opaque, const char *text), void *opaque)
{
    bool shown[INSN_COUNT] = {false};
    for (unsigned n = 0; n < 10; n++) {
        unsigned best = 0;
        for (unsigned id = 1; id < INSN_COUNT; id++)
            if (!shown[id] && (shown[best] || j->fallback[id] > j->fallback[best]))
                best = id;
        char text[80];
        shown[best] = true;
        if (!j->fallback[best])
            return;
        snprintf(text, sizeof text, "cpu%u:   %12llu %s", j->v->index, (unsigned long long)j->fallback[best],
                 insn_name(best));
        line(opaque, text);
    }
}

static void stats(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque)
{
    const struct jit *j = v->engine;
    char text[200];
    snprintf(text, sizeof text,
             "cpu%u: %llu blocks of %llu instructions (%llu KiB of host code now, %llu flushes, %llu blocks "
             "dropped)",
             v->index, (unsigned long long)j->translated, (unsigned long long)j->insns,
             (unsigned long long)j->used >> 10, (unsigned long long)j->flushes,
             (unsigned long long)j->invalidated);
    line(opaque, text);
    snprintf(
        text, sizeof text,
        "cpu%u: %llu entries, %llu jumps chained, %llu instructions by the interpreter, %llu of them alone",
        v->index, (unsigned long long)j->entered, (unsigned long long)j->chained,
        (unsigned long long)v->instructions, (unsigned long long)j->stepped);
    line(opaque, text);
    stats_fallbacks(j, line, opaque);
}

const struct engine_ops jit_engine = {
    .name = "jit",
    .help = "translates 64-bit code: experimental, incomplete",
    .probe = jit_probe,
    .vm_init = track_create,
    .vm_finish = track_destroy,
    .vcpu_init = vcpu_create_jit,
    .vcpu_finish = vcpu_destroy_jit,
    .run = run,
    .kick = kick,
    .stats = stats,
};
