/* The runs, and the engine around them. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/log.h"
#include "cpu/engine.h"
#include "cpu/exc.h"
#include "cpu/mmu.h"
#include "engine/interp/interp.h"
#include "engine/lockstep/lockstep.h"

#define POLLS           32     /* that the translator meets in one run */
#define STEPS_MAX       200000 /* of the interpreter in one run */
#define ALONE_AT_ONCE   20000  /* instructions of modes that are not translated */
#define LOCKED_MAX_NS   1000000
#define UNLOCKED_NS     20000
#define UNSTABLE_LOGGED 10

static struct lockstep *lockstep_of(const struct vcpu *v)
{
    return ((const struct jit *)v->engine)->checker;
}

static void note_page(void *opaque, u8 *hva)
{
    struct lockstep *l = opaque;
    journal_note(&l->journal, hva);
}

static void meet_world(void *opaque)
{
    struct lockstep *l = opaque;
    longjmp(l->world, 1);
}

static void side_begin(struct lockstep *l)
{
    mmu_flush_all(l->v);
    l->v->engine_words[WORD_STEP] = 0;
    l->v->watch = &l->watch;
}

void lockstep_rewind(struct lockstep *l)
{
    l->v->watch = NULL;
    journal_undo(&l->journal, l->v->vm->mem, false);
    state_keep(l->v, &l->before);
}

/* Translated code, and the delivery of what the fetch raises. False: none. */
static bool translator_run(struct lockstep *l, unsigned polls)
{
    struct vcpu *v = l->v;
    jmp_buf env;
    bool ran = true;
    v->unwind = &env;
    if (_setjmp(env) == 0)
        ran = jit_run_some(v, polls);
    else
        cpu_deliver_exception(v);
    return ran;
}

/* The first side. False: there is no translated code here. */
static bool translator_side(struct lockstep *l, unsigned polls)
{
    struct vcpu *v = l->v;
    jmp_buf *saved = v->unwind;
    volatile bool ran = true;
    side_begin(l);
    if (setjmp(l->world) == 0)
        ran = translator_run(l, polls);
    v->unwind = saved;
    v->watch = NULL;
    memcpy(&l->after, v, sizeof l->after);
    journal_undo(&l->journal, v->vm->mem, true);
    state_keep(v, &l->before);
    return ran;
}

/* Instructions of the second side, at most `limit`, until RIP is where the first side has ended. False: one
 * that meets the world, and is not done. */
bool lockstep_step(struct lockstep *l, unsigned limit)
{
    struct vcpu *v = l->v;
    jmp_buf *saved = v->unwind;
    u64 from = v->instructions;
    volatile bool done = true;
    if (setjmp(l->world) == 0) {
        bool alive = limit == 1 ? interp_step(v) : interp_steps_to(v, l->after.rip, limit);
        if (!alive)
            v->activity = ACTIVITY_SHUTDOWN;
    } else {
        interp_leave(v);
        v->unwind = saved;
        done = false;
    }
    l->steps += (unsigned)(v->instructions - from);
    return done;
}

/* The flags that the instructions before v->rip leave undefined: the second side once more, one by one. */
static u32 flags_undefined(struct lockstep *l)
{
    struct vcpu *v = l->v;
    unsigned count = l->steps;
    u32 undefined = 0;
    lockstep_rewind(l);
    side_begin(l);
    for (l->steps = 0; l->steps < count;) {
        struct insn insn;
        if (code_decode(v, v->rip, &insn))
            undefined = (undefined & ~insn.info->flags_write) | insn.info->flags_undef;
        v->attention &= ~(u32)ATTN_SHADOW_STI;
        if (!lockstep_step(l, 1))
            break;
    }
    return undefined;
}

/* Of the arithmetic flags, which differ: are they dead, or undefined? */
static bool flags_are_pardoned(struct lockstep *l)
{
    struct vcpu *v = l->v;
    u32 live = flags_live(v, (u32)(v->rflags ^ l->after.rflags) & FLAGS_ARITH);
    if (live && (live & ~flags_undefined(l)))
        return false;
    l->pardoned++;
    return true;
}

/* For the report: where do the sides come nearest? */
static void measure(struct lockstep *l)
{
    unsigned distance = state_distance(&l->after, l->v) + (journal_agrees(&l->journal) ? 0 : 64) + 1;
    if (l->distance && distance > l->distance)
        return;
    l->distance = distance;
    l->near = l->steps;
}

/* The translator has looked for the code where it has ended: the tables' A bits tell. */
static void look_at_code(struct lockstep *l)
{
    struct vcpu *v = l->v;
    jmp_buf env, *saved = v->unwind;
    v->unwind = &env;
    if (_setjmp(env) == 0 && (!v->code64 || is_canonical(v->rip)))
        mmu_code_page(v, v->code64 ? v->rip : (v->seg[CS].base + v->rip) & 0xffffffff);
    v->unwind = saved;
}

static bool memory_agrees(struct lockstep *l)
{
    if (journal_agrees(&l->journal))
        return true;
    look_at_code(l);
    return journal_agrees(&l->journal);
}

/* Is the interpreter where the translator is? */
static bool sides_agree(struct lockstep *l)
{
    struct vcpu *v = l->v;
    if (v->rip != l->after.rip)
        return false;
    if (l->measures)
        measure(l);
    if (!state_general_equal(&l->after, v))
        return false;
    enum agreement a = state_compare(&l->after, v);
    return a != DISAGREE && memory_agrees(l) && (a == AGREE || flags_are_pardoned(l));
}

/* The shadow of STI ends with the next instruction, as cpu_handle_events has it. False: something else is due
 * first. */
static bool may_go_on(struct vcpu *v)
{
    v->attention &= ~(u32)ATTN_SHADOW_STI;
    return !v->attention;
}

static bool is_string(struct vcpu *v)
{
    struct insn insn;
    return code_decode(v, v->rip, &insn) && insn.info->klass == CLASS_STRING;
}

/* On from where the sides do not agree. A string instruction may have been left in its midst: then iteration
 * by iteration. */
static bool go_on(struct lockstep *l)
{
    struct vcpu *v = l->v;
    if (v->rip != l->after.rip || !is_string(v))
        return lockstep_step(l, STEPS_MAX - l->steps);
    v->attention |= ATTN_TRACE;
    bool more = lockstep_step(l, 1);
    v->attention &= ~(u32)ATTN_TRACE;
    return more;
}

/* The second side. False: it has never been where the first has ended. */
static bool interpreter_side(struct lockstep *l)
{
    bool agree = false, more = true;
    l->steps = l->near = l->distance = 0;
    side_begin(l);
    while (!(agree = sides_agree(l)) && more && l->steps < STEPS_MAX && may_go_on(l->v))
        more = go_on(l);
    l->v->watch = NULL;
    return agree;
}

enum outcome { OUTCOME_SAME, OUTCOME_DIFFERENT, OUTCOME_NOTHING };

static bool nothing_done(const struct lockstep *l)
{
    return state_compare(&l->after, &l->before) == AGREE && !journal_first_changed(&l->journal);
}

/* Both sides from l->before. OUTCOME_NOTHING: the next instruction is none that can be compared. */
static enum outcome compare(struct lockstep *l, unsigned polls)
{
    if (!translator_side(l, polls) || nothing_done(l))
        return OUTCOME_NOTHING;
    if (!interpreter_side(l))
        return OUTCOME_DIFFERENT;
    return l->steps ? OUTCOME_SAME : OUTCOME_NOTHING;
}

/* A run has ended with a difference: is it there again, and in how few polls? If not, what the last run has
 * come to. */
static enum outcome repeat(struct lockstep *l)
{
    enum outcome out = OUTCOME_SAME;
    l->measures = true;
    for (unsigned polls = 1; polls <= POLLS && out == OUTCOME_SAME; polls *= 2) {
        lockstep_rewind(l);
        out = compare(l, polls);
    }
    l->measures = false;
    if (out == OUTCOME_DIFFERENT) {
        report_difference(l);
        l->differs = true;
    } else if (++l->unstable <= UNSTABLE_LOGGED) {
        log_warn(l->v->vm->log, "lockstep: a difference at %llx did not come again",
                 (unsigned long long)l->before.rip);
    }
    return out;
}

/* False: nothing was done; the instruction is to be executed alone. [machine lock] */
static bool run_compared(struct lockstep *l)
{
    memcpy(&l->before, l->v, sizeof l->before);
    enum outcome out = compare(l, POLLS);
    if (out == OUTCOME_DIFFERENT)
        out = repeat(l);
    journal_clear(&l->journal);
    if (out == OUTCOME_NOTHING)
        return false;
    l->runs++;
    l->compared += l->steps;
    return true;
}

static bool step_alone(struct lockstep *l)
{
    struct vcpu *v = l->v;
    const struct jit *j = v->engine;
    jit_update_words(v);
    v->engine_words[WORD_STEP] = 0;
    l->alone++;
    return interp_steps(v, j->translatable ? 1 : ALONE_AT_ONCE);
}

static u32 attention(const struct vcpu *v)
{
    return (atomic_load_explicit(&v->events, memory_order_relaxed) & v->event_mask) | v->attention;
}

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

/* Runs until something is due, a difference, or others have waited long for the lock. False: the instruction
 * is to be executed alone. */
static bool run_locked(struct lockstep *l)
{
    struct vcpu *v = l->v;
    u64 until = now_ns() + LOCKED_MAX_NS;
    bool done = true;
    pthread_mutex_lock(v->vm->machine_lock);
    while (done && !l->differs && !attention(v) && now_ns() < until)
        done = run_compared(l);
    pthread_mutex_unlock(v->vm->machine_lock);
    if (done)
        nanosleep(&(struct timespec){.tv_nsec = UNLOCKED_NS}, NULL);
    return done;
}

static enum vcpu_exit loop(struct lockstep *l)
{
    struct vcpu *v = l->v;
    for (;;) {
        if (l->differs || l->journal.failed)
            return VCPU_FAILED;
        bool alone = true;
        if (attention(v)) {
            enum cpu_pending next = cpu_handle_events(v);
            if (next != PENDING_RUN)
                return vcpu_exit_of(next);
        } else {
            alone = !run_locked(l);
        }
        if (alone && !step_alone(l))
            return VCPU_SHUTDOWN;
    }
}

static enum vcpu_exit run(struct vcpu *v)
{
    struct lockstep *l = lockstep_of(v);
    enum vcpu_exit why;
    if (l->differs)
        return VCPU_FAILED;
    if (log_traces(v->vm->log, TRACE_INSN))
        v->attention |= ATTN_TRACE;
    vcpu_enter(v);
    jit_bind_thread(v);
    enum cpu_pending next = cpu_handle_events(v);
    if (next != PENDING_RUN)
        why = vcpu_exit_of(next);
    else if (!step_alone(l))
        why = VCPU_SHUTDOWN;
    else
        why = loop(l);
    atomic_store(&((struct jit *)v->engine)->inside, 0);
    vcpu_leave(v);
    return why;
}

static int vm_init_lockstep(struct vm *vm, struct error *err)
{
    if (vm->model.cpu_count > 1)
        return error_set(err, ENOTSUP, "the engine lockstep runs one CPU, not %u", vm->model.cpu_count);
    return jit_engine.vm_init(vm, err);
}

static void vm_finish_lockstep(struct vm *vm)
{
    jit_engine.vm_finish(vm);
}

static void vcpu_finish_lockstep(struct vcpu *v)
{
    struct lockstep *l = v->engine ? lockstep_of(v) : NULL;
    if (l)
        journal_destroy(&l->journal);
    free(l);
    jit_engine.vcpu_finish(v);
}

static int vcpu_init_lockstep(struct vcpu *v, struct error *err)
{
    int rc = jit_engine.vcpu_init(v, err);
    if (rc)
        return rc;
    struct lockstep *l = aligned_alloc(64, ALIGN_UP(sizeof *l, 64));
    if (!l) {
        jit_engine.vcpu_finish(v);
        return error_set(err, ENOMEM, "no memory for the engine lockstep");
    }
    memset(l, 0, sizeof *l);
    l->v = v;
    l->watch = (struct cpu_watch){.page = note_page, .world = meet_world, .opaque = l};
    ((struct jit *)v->engine)->checker = l;
    return 0;
}

static int probe(struct error *err)
{
    return jit_engine.probe(err);
}

static void kick(struct vcpu *v)
{
    jit_engine.kick(v);
}

static void stats(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque)
{
    const struct lockstep *l = lockstep_of(v);
    char text[200];
    snprintf(text, sizeof text,
             "cpu%u: %llu instructions compared in %llu runs, %llu times one alone; %llu differences of dead "
             "flags, %llu that did not come again",
             v->index, (unsigned long long)l->compared, (unsigned long long)l->runs,
             (unsigned long long)l->alone, (unsigned long long)l->pardoned, (unsigned long long)l->unstable);
    line(opaque, text);
    jit_engine.stats(v, line, opaque);
}

const struct engine_ops lockstep_engine = {
    .name = "lockstep",
    .help = "runs jit and interp side by side and stops at the first difference: for developers",
    .probe = probe,
    .vm_init = vm_init_lockstep,
    .vm_finish = vm_finish_lockstep,
    .vcpu_init = vcpu_init_lockstep,
    .vcpu_finish = vcpu_finish_lockstep,
    .run = run,
    .kick = kick,
    .stats = stats,
};
