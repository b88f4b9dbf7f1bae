/* The translator as an engine: the run loop between translated code and the interpreter. */
#include <stdlib.h>
#include "cpu/ctrl.h"
#include "cpu/xstate.h"
#include "engine/interp/dispatch.h"
#include "engine/interp/native_check.h"
#include "engine/jit/cache.h"
#include "engine/jit/jump.h"

#define INTERPRETED_AT_ONCE 20000 /* instructions of other modes */
#define INTERPRETED_STARVED 200   /* while there is no room for translations */

static bool is_flat(const struct segreg *s)
{
    return s->base == 0 && s->limit == 0xffffffff;
}

/* Data that can be read and written up to its limit. */
static bool is_plain_data(const struct segreg *s)
{
    return !(s->attr & SEG_UNUSABLE) && (s->attr & (SEG_P | SEG_S | SEG_CODE | SEG_EXPAND_DOWN |
                                                    SEG_WRITABLE)) == (SEG_P | SEG_S | SEG_WRITABLE);
}

/* 32-bit code: what of the segments is in the mode, the limits of all. */
static unsigned update_segments(struct vcpu *v)
{
    unsigned mode = MODE_32;
    for (unsigned i = 0; i < SREG_COUNT; i++)
        v->engine_words[WORD_LIMIT + i] = is_plain_data(&v->seg[i]) ? (u64)v->seg[i].limit + 1 : 0;
    if (!is_flat(&v->seg[DS]) || !is_plain_data(&v->seg[DS]))
        mode |= MODE_DS;
    if (!is_flat(&v->seg[ES]) || !is_plain_data(&v->seg[ES]))
        mode |= MODE_ES;
    if (!is_flat(&v->seg[SS]) || !is_plain_data(&v->seg[SS]))
        mode |= MODE_SS;
    return mode;
}

/* Not translated: alignment checks, CPL 1 and 2, code whose EIP is not its linear address, 16-bit code or
 * stack. */
static bool is_translatable(const struct vcpu *v)
{
    if (v->mmu_index == MMU_USER_ALIGN)
        return false;
    return v->code64 ||
           (cpu_is_protected(v) && (v->seg[CS].attr & SEG_DB) && v->stack32 && is_flat(&v->seg[CS]));
}

#define XCR0_FOR_AVX (BIT(XSTATE_SSE) | BIT(XSTATE_AVX))

#define CONTEXT_GLOBAL BIT(30)
#define CONTEXT_EPOCHS BIT(18)

/* The context is a positive 31-bit number: code has minus it as an immediate. */
static void update_context(struct jit *j)
{
    struct vcpu *v = j->v;
    u32 epoch = v->code_epoch & (CONTEXT_EPOCHS - 1);
    u32 context = epoch << 12 | (u32)v->asid_tag, *word = (u32 *)&v->engine_words[WORD_CONTEXT];
    if (likely(context == *word))
        return;
    if (epoch < (*word >> 12)) { /* around: what has old numbers must go */
        cache_forget(j);
        memset(v->engine_table, 0, sizeof v->engine_table);
    }
    *word = context;
    *(u32 *)&v->engine_words[WORD_GLOBAL] = CONTEXT_GLOBAL | epoch << 12;
}

/* MXCSR: all exceptions masked, no misaligned mode. */
static unsigned vector_mode(const struct vcpu *v)
{
    if ((v->cr0 & (CR0_EM | CR0_TS)) || !(v->cr4 & CR4_OSFXSR) || (v->fpu.mxcsr & ~MXCSR_FREE) != MXCSR_MASKS)
        return 0;
    bool avx = (v->cr4 & CR4_OSXSAVE) && (v->xcr0 & XCR0_FOR_AVX) == XCR0_FOR_AVX;
    bool avx512 = avx && (v->xcr0 & XCR0_AVX512) == XCR0_AVX512;
    return MODE_SSE | (avx ? MODE_AVX : 0) | (avx512 ? MODE_AVX512 : 0);
}

/* x87: all exceptions masked, so that none is pending. */
static unsigned x87_mode(const struct vcpu *v)
{
    return !(v->cr0 & (CR0_EM | CR0_TS)) && (~v->fpu.fcw & 0x3f) == 0 && !(v->fpu.fsw & 0x80) ? MODE_X87 : 0;
}

/* What translated code leaves to be completed: the selectors of its last x87 instruction. */
static void note_x87(struct vcpu *v)
{
    u64 *w = v->engine_words;
    v->fpu.xinuse |= BIT(XSTATE_X87);
    if (w[WORD_X87_NOTE]) {
        v->fpu.fop = w[WORD_X87_NOTE] & 0x7ff;
        v->fpu.fcs = v->seg[CS].selector;
    }
    if (w[WORD_X87_SEG])
        v->fpu.fds = v->seg[w[WORD_X87_SEG] - 1].selector;
    w[WORD_X87_USED] = w[WORD_X87_NOTE] = w[WORD_X87_SEG] = 0;
}

/* Translated code has used vector registers or the x87 state. */
static void note_vectors(struct vcpu *v)
{
    if (unlikely(v->engine_words[WORD_X87_USED]))
        note_x87(v);
    if (likely(!v->engine_words[WORD_SSE_USED]))
        return;
    v->fpu.xinuse |= BIT(XSTATE_SSE) | (v->xcr0 & (XCR0_AVX | XCR0_AVX512));
    v->engine_words[WORD_SSE_USED] = 0;
}

void jit_update_words(struct vcpu *v)
{
    struct jit *j = v->engine;
    j->translatable = is_translatable(v);
    if (!j->translatable)
        return;
    j->mode = (u16)((v->code64 ? 0 : update_segments(v)) | (v->cpl == 3 ? MODE_USER : 0) | vector_mode(v) |
                    x87_mode(v));
    v->engine_words[WORD_MODE] = cache_key(0, j->mode);
    v->engine_words[WORD_TLB] = (u64)(uintptr_t)&v->tlb[v->mmu_index];
    v->engine_words[WORD_TAG] = v->tlb_tag[v->mmu_index];
    update_context(j);
    jumps_select(j);
}

static u32 attention(const struct vcpu *v)
{
    return (atomic_load_explicit(&v->events, memory_order_relaxed) & v->event_mask) | v->attention;
}

static u32 *stop_half(struct vcpu *v, enum jit_word word)
{
    return (u32 *)&v->engine_words[word] + 1;
}

void jit_stop(struct vcpu *v)
{
    __atomic_store_n(stop_half(v, WORD_CONTEXT), 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(stop_half(v, WORD_GLOBAL), 1, __ATOMIC_SEQ_CST);
    jumps_stop(v);
}

static void stop_clear(struct vcpu *v)
{
    __atomic_store_n(stop_half(v, WORD_GLOBAL), 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(stop_half(v, WORD_CONTEXT), 0, __ATOMIC_SEQ_CST);
}

static bool is_stopped(struct vcpu *v)
{
    return __atomic_load_n(stop_half(v, WORD_CONTEXT), __ATOMIC_SEQ_CST) |
           __atomic_load_n(stop_half(v, WORD_GLOBAL), __ATOMIC_SEQ_CST);
}

/* Behind an instruction of the interpreter's. A run that is checked goes on to a poll, though it has been
 * stopped from the start. */
static bool may_go_on(const struct jit *j)
{
    bool stopped = j->checker ? atomic_load(&j->pending_any) : is_stopped(j->v);
    return !stopped && !attention(j->v) && j->translatable;
}

/* One instruction or more by the interpreter. What jit_fill has found raises; false: shut down. */
static bool execute(struct jit *j, unsigned count)
{
    if (!j->faulted)
        return interp_steps_exactly(j->v, count);
    j->faulted = false;
    return cpu_deliver_exception(j->v);
}

/* From translated code. False: it is over. */
static bool step_inside(struct vcpu *v, u32 what)
{
    struct jit *j = v->engine;
    j->fallback[what >> 20] += what >> 12 & 0xff;
    note_vectors(v);
    if (!execute(j, what >> 12 & 0xff)) {
        /* The run loop finds it again. */
        v->activity = ACTIVITY_SHUTDOWN;
        v->attention |= ATTN_HALT;
        return false;
    }
    jit_update_words(v);
    return may_go_on(j);
}

enum jit_next jit_step(struct vcpu *v, u32 what)
{
    u64 next = v->rip + (what & 0xfff), mode = v->engine_words[WORD_MODE];
    if (!step_inside(v, what))
        return NEXT_LEAVE;
    return v->rip == next && v->engine_words[WORD_MODE] == mode ? NEXT_FOLLOWS : NEXT_ELSEWHERE;
}

static void call_handler(struct vcpu *v, const struct insn *insn)
{
    const struct dispatch *d = &interp_dispatch[insn->id];
    struct jit *j = v->engine;
    u64 next = (v->rip + insn->len) & v->rip_mask;
    j->fallback[insn->id]++;
    note_vectors(v);
    if ((insn->info->attrs & ATTR_PRIVILEGED) && v->cpl != 0 && !(d->kind & KIND_OWN_CPL))
        cpu_raise_gp0(v);
    d->handler(v, insn);
    if (!(d->kind & KIND_FLOW))
        v->rip = next;
    v->instructions++;
    jit_update_words(v);
}

enum jit_next jit_call(struct vcpu *v, const struct insn *insn)
{
    const struct jit *j = v->engine;
    u64 next = (v->rip + insn->len) & v->rip_mask, mode = v->engine_words[WORD_MODE];
    call_handler(v, insn);
    if (!may_go_on(j))
        return NEXT_LEAVE;
    return v->rip == next && v->engine_words[WORD_MODE] == mode ? NEXT_FOLLOWS : NEXT_ELSEWHERE;
}

bool jit_call_end(struct vcpu *v, const struct insn *insn)
{
    const struct jit *j = v->engine;
    call_handler(v, insn);
    return !attention(v) && j->translatable;
}

/* Beside code? */
static bool fill_direct(struct jit *j, u64 lin, unsigned size)
{
    const u8 *to = mmu_code_write_ptr(j->v, lin);
    if (!to || !track_direct(j, to, size))
        return false;
    j->direct.addend = (u64)(uintptr_t)to - lin;
    return true;
}

/* Both pages are RAM that can be read: the operand is copied. */
static bool read_split(struct vcpu *v, u64 lin, unsigned size)
{
    unsigned first = (unsigned)(PAGE_SIZE - (lin & ~PAGE_MASK));
    u64 second = lin + first;
    if (v->code64 ? !is_canonical(lin) || !is_canonical(second) : second >> 32)
        return false;
    if (mmu_fill(v, lin, MMU_READ) != MMU_FILLED || mmu_fill(v, second, MMU_READ) != MMU_FILLED)
        return false;
    v->engine_words[WORD_TAG] = v->tlb_tag[v->mmu_index];
    const u8 *low = native_fast_ptr(v, lin, first, false);
    const u8 *high = native_fast_ptr(v, second, size - first, false);
    if (!low || !high)
        return false;
    memcpy(v->native->bounce, low, first);
    memcpy(v->native->bounce + first, high, size - first);
    return true;
}

/* A page fault is noted for the step that follows, which need not find it again. */
enum fill jit_fill(struct vcpu *v, u64 lin, u32 how)
{
    unsigned size = how & 0xff, align = how >> 16;
    bool write = how & 0x100;
    struct jit *j = v->engine;
    j->fills++;
    if (align > 1 && (lin & (align - 1)))
        return FILL_NONE;
    if ((lin & ~PAGE_MASK) + size > PAGE_SIZE)
        return (how & FILL_SPLIT) && read_split(v, lin, size) ? FILL_BOUNCE : FILL_NONE;
    if (write && mmu_code_write_known(v, lin) && fill_direct(j, lin, size))
        return FILL_DIRECT;
    switch (mmu_fill(v, lin, write ? MMU_WRITE : MMU_READ)) {
    case MMU_FILLED:
        v->engine_words[WORD_TAG] = v->tlb_tag[v->mmu_index];
        return FILL_DONE;
    case MMU_FAULTS:
        j->faulted = true;
        return FILL_NONE;
    default:
        return write && fill_direct(j, lin, size) ? FILL_DIRECT : FILL_NONE;
    }
}

const u8 *jit_step_end(struct vcpu *v, u32 what)
{
    const struct jit *j = v->engine;
    if (!step_inside(v, what))
        return NULL;
    const struct jit_jump *jump = cache_jump(j, v->rip);
    if (jump->key != cache_key(v->rip, j->mode) ||
        (jump->context != v->engine_words[WORD_CONTEXT] && jump->context != v->engine_words[WORD_GLOBAL]))
        return NULL;
    return jump->code;
}

/* What this vCPU may use again as long as its context is what it is. */
static void note_found(struct jit *j, struct block *b)
{
    struct vcpu *v = j->v;
    track_enter(j, b);
    bool global = mmu_code_remember(v, v->rip);
    u32 context = (u32)v->engine_words[global ? WORD_GLOBAL : WORD_CONTEXT];
    if (b->mapping)
        v->engine_table[b->mapping] = (s32)(0u - context);
    if (!(b->mode & MODE_PLAIN)) {
        *cache_jump(j, b->rip) = (struct jit_jump){
            .key = cache_key(b->rip, b->mode), .context = context, .code = b->entry, .checked = b->checked};
        jumps_note(j, b, global);
    }
    link_aim(j, b, global);
}

/* The block at v->rip, or NULL: the instruction is the interpreter's. Raises what the fetch raises. */
static struct block *find_block(struct jit *j)
{
    struct vcpu *v = j->v;
    if (v->code64 && !is_canonical(v->rip))
        return NULL;
    const u8 *page = mmu_code_page(v, v->rip);
    if (!page)
        return NULL;
    const u8 *hva = page + (v->rip & ~PAGE_MASK);
    const struct link *link = (const struct link *)(uintptr_t)v->engine_words[WORD_LINK];
    unsigned mode = j->mode | (link && link->plain && link->rip == v->rip ? MODE_PLAIN : 0);
    struct block *b = cache_find(j->vm, hva, v->rip, mode);
    if (!b)
        b = block_translate(j, hva, mode);
    else
        cache_note_found(j, b);
    if (b)
        note_found(j, b);
    return b;
}

static void enter(struct jit *j, struct block *b, const u8 *entry)
{
    j->v->engine_words[WORD_ENTRY] = (u64)(uintptr_t)entry;
    j->entered++;
    ((void (*)(void))(uintptr_t)j->thunk.enter)();
    note_vectors(j->v);
    if (unlikely(j->v->engine_words[WORD_STEP] == STEP_UNDO))
        jumps_undo(j->v);
}

static bool step(struct jit *j)
{
    unsigned count = !j->translatable ? INTERPRETED_AT_ONCE : j->starved ? INTERPRETED_STARVED : 1;
    j->starved = false;
    j->v->engine_words[WORD_STEP] = 0;
    j->v->engine_words[WORD_LINK] = 0;
    j->stepped++;
    return interp_steps(j->v, count);
}

/* Before blocks are looked for. */
static void look_around(struct jit *j)
{
    /* In this order (cache.h); stop_clear is a full barrier. */
    atomic_store_explicit(&j->inside, atomic_load(&j->vm->epoch), memory_order_release);
    stop_clear(j->v);
    jit_update_words(j->v);
    j->faulted = false;
    if (atomic_load(&j->pending_any))
        cache_take_pending(j);
}

/* Until there is something for the machine. Raises. */
static enum cpu_pending loop(struct jit *j)
{
    struct vcpu *v = j->v;
    for (;;) {
        look_around(j);
        struct block *b = NULL;
        if (unlikely(attention(v))) {
            enum cpu_pending next = cpu_handle_events(v);
            if (next != PENDING_RUN)
                return next;
        } else if (j->translatable && !v->engine_words[WORD_STEP]) {
            b = find_block(j);
        }
        if (b)
            enter(j, b, b->poll);
        else if (!step(j))
            return PENDING_SHUTDOWN;
    }
}

bool jit_run_some(struct vcpu *v, unsigned count)
{
    struct jit *j = v->engine;
    bool ran = false;
    for (; count && !attention(v) && !v->engine_words[WORD_STEP]; count--) {
        look_around(j);
        struct block *b = j->translatable ? find_block(j) : NULL;
        if (!b)
            break;
        jit_stop(v);
        enter(j, b, b->entry);
        ran = true;
    }
    stop_clear(v);
    return ran;
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
    if (log_traces(v->vm->log, TRACE_INSN))
        v->attention |= ATTN_TRACE; /* every instruction is the interpreter's */
    vcpu_enter(v);
    v->unwind = &env;
    v->engine_words[WORD_STEP] = v->engine_words[WORD_LINK] = 0;
    jit_bind_thread(v);
    if (_setjmp(env) == 0) {
        next = cpu_handle_events(v);
        jit_update_words(v);
        if (next == PENDING_RUN)
            next = step(j) ? loop(j) : PENDING_SHUTDOWN;
    } else {
        next = deliver_and_loop(j);
    }
    v->unwind = saved;
    atomic_store(&j->inside, 0);
    vcpu_leave(v);
    return vcpu_exit_of(next);
}

static void kick(struct vcpu *v)
{
    jit_stop(v);
}

static void vcpu_destroy_jit(struct vcpu *v)
{
    struct jit *j = v->engine;
    interp_finish(v);
    if (!j)
        return;
    cache_destroy_jumps(j);
    free(j);
    v->engine = NULL;
}

static void words_init(struct vcpu *v, const struct jit *j)
{
    v->engine_words[WORD_DIRECT] = (u64)(uintptr_t)&j->direct;
    v->engine_words[WORD_SELF] = (u64)(uintptr_t)v;
    v->engine_words[WORD_JUMPS] = (u64)(uintptr_t)j->jump;
    v->engine_words[WORD_VECTOR_OFF] = 1;
    v->engine_words[WORD_HOST_MXCSR] = 0x1f80;
    v->engine_words[WORD_X87_OFF] = 1;
    v->engine_words[WORD_BOUNCE] = (u64)(uintptr_t)v->native->bounce;
    v->engine_words[WORD_HIGH_OFF] = 1;
    v->engine_words[WORD_HOST_FCW] = 0x37f;
}

static int vcpu_create_jit(struct vcpu *v, struct error *err)
{
    struct jit *j = calloc(1, sizeof *j);
    if (!j)
        return error_set(err, ENOMEM, "no memory for the translator of CPU %u", v->index);
    j->v = v;
    j->vm = v->vm->engine_vm;
    v->engine = j;
    int rc = interp_init(v, err);
    if (!rc)
        rc = cache_create_jumps(j, err);
    if (rc)
        vcpu_destroy_jit(v);
    else
        words_init(v, j);
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

static void stats_vm(const struct jit_vm *t, void (*line)(void *opaque, const char *text), void *opaque)
{
    typedef unsigned long long n;
    char text[200];
    snprintf(text, sizeof text,
             "jit: %llu blocks of %llu instructions, %llu KiB, made into %llu KiB; %llu jumps chained",
             (n)t->translated, (n)t->insns, (n)t->guest_bytes >> 10, (n)t->host_bytes >> 10, (n)t->chained);
    line(opaque, text);
    snprintf(
        text, sizeof text,
        "jit: %llu of %u regions evicted with %llu blocks (%llu spared, %llu times no room), %u mappings",
        (n)t->evicted, t->region_count, (n)t->evicted_blocks, (n)t->spared, (n)t->no_room, t->mapping_count);
    line(opaque, text);
    snprintf(
        text, sizeof text,
        "jit: %llu writes to code pages, %llu beside code; %llu blocks dropped, pages rested %llu times; "
        "%llu pages guarded, %llu TLB sweeps",
        (n)t->writes, (n)t->false_hits, (n)t->drops, (n)t->rests, (n)t->guards, (n)t->sweeps);
    line(opaque, text);
}

static void stats(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque)
{
    const struct jit *j = v->engine;
    char text[200];
    if (v->index == 0)
        stats_vm(j->vm, line, opaque);
    snprintf(text, sizeof text,
             "cpu%u: %llu entries, %llu instructions by the interpreter, %llu of them alone", v->index,
             (unsigned long long)j->entered, (unsigned long long)v->instructions,
             (unsigned long long)j->stepped);
    line(opaque, text);
    snprintf(text, sizeof text, "cpu%u: %llu TLB misses, %llu stops of the others", v->index,
             (unsigned long long)j->fills, (unsigned long long)j->exclusives);
    line(opaque, text);
    stats_fallbacks(j, line, opaque);
}

const struct engine_ops jit_engine = {
    .name = "jit",
    .help = "translates 32- and 64-bit code, interprets the rest",
    .probe = jit_probe,
    .vm_init = track_create,
    .vm_finish = track_destroy,
    .vcpu_init = vcpu_create_jit,
    .vcpu_finish = vcpu_destroy_jit,
    .run = run,
    .kick = kick,
    .stats = stats,
};
