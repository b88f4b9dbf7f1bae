/*
 * Events from outside, sleeping, and what happens between two instructions.
 *
 * Wake-ups: a post sets its bit, then looks at `sleeping`; a sleeper sets `sleeping`, then looks at the bits.
 * Both are sequentially consistent, so one of them sees the other.
 */
#include <time.h>
#include "cpu/ctrl.h"
#include "cpu/debug.h"
#include "cpu/engine.h"
#include "cpu/exc.h"
#include "cpu/mmu.h"

void vcpu_post(struct vcpu *v, u32 events)
{
    u32 old = atomic_fetch_or(&v->events, events);
    if ((old & events) == events)
        return;
    if (atomic_load(&v->sleeping)) {
        pthread_mutex_lock(&v->wake_lock);
        pthread_cond_signal(&v->wake_cond);
        pthread_mutex_unlock(&v->wake_lock);
    }
    if (v->vm->engine && v->vm->engine->kick)
        v->vm->engine->kick(v);
}

void vcpu_clear(struct vcpu *v, u32 events)
{
    atomic_fetch_and(&v->events, ~events);
}

/* The events that end the current activity; 0 while running means "not waiting". */
static u32 wake_mask(const struct vcpu *v)
{
    u32 mask = EVENT_INIT | EVENT_KICK;
    if (v->activity == ACTIVITY_WAIT_SIPI)
        return mask | EVENT_SIPI;
    if (v->activity == ACTIVITY_SHUTDOWN)
        return mask;
    if (!v->nmi_blocked)
        mask |= EVENT_NMI;
    if ((v->rflags & FLAG_IF) || (v->activity == ACTIVITY_MWAIT && v->mwait_any_intr))
        mask |= EVENT_INTR;
    return mask;
}

bool vcpu_has_wakeup(struct vcpu *v)
{
    return v->activity == ACTIVITY_RUNNING || (atomic_load(&v->events) & wake_mask(v));
}

void vcpu_wait(struct vcpu *v)
{
    struct timespec until;
    bool bounded = v->activity == ACTIVITY_MWAIT;
    if (bounded) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += MWAIT_MAX_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
    }
    pthread_mutex_lock(&v->wake_lock);
    atomic_store(&v->sleeping, true);
    while (!vcpu_has_wakeup(v)) {
        if (!bounded) {
            pthread_cond_wait(&v->wake_cond, &v->wake_lock);
        } else if (pthread_cond_timedwait(&v->wake_cond, &v->wake_lock, &until) == ETIMEDOUT) {
            v->activity = ACTIVITY_RUNNING;
            v->attention &= ~(u32)ATTN_HALT;
        }
    }
    atomic_store(&v->sleeping, false);
    pthread_mutex_unlock(&v->wake_lock);
}

static void sleep_as(struct vcpu *v, enum vcpu_activity activity)
{
    v->activity = activity;
    v->attention |= ATTN_HALT;
}

void cpu_halt(struct vcpu *v)
{
    sleep_as(v, ACTIVITY_HALTED);
}

void cpu_mwait(struct vcpu *v, u32 ecx)
{
    /* Without an armed monitor MWAIT is a NOP. */
    if (v->monitor_gpa == ~0ull)
        return;
    v->monitor_gpa = ~0ull;
    v->mwait_any_intr = ecx & 1;
    sleep_as(v, ACTIVITY_MWAIT);
}

static void wake(struct vcpu *v)
{
    v->activity = ACTIVITY_RUNNING;
    v->attention &= ~(u32)ATTN_HALT;
}

/* SIPI: start in real mode at vector << 12 (SDM vol. 3 8.4.3). */
static void start_up(struct vcpu *v)
{
    u8 vector = atomic_load(&v->sipi_vector);
    log_trace(v->vm->log, TRACE_CPU, "cpu%u: start-up at %#x000", v->index, vector);
    v->seg[CS].selector = (u16)(vector << 8);
    v->seg[CS].base = (u64)vector << 12;
    v->rip = 0;
    wake(v);
    cpu_mode_update(v);
}

/* What does not depend on the instruction stream. */
bool cpu_handle_requests(struct vcpu *v, enum cpu_pending *out)
{
    u32 events = atomic_load(&v->events);
    if (events & EVENT_KICK) {
        vcpu_clear(v, EVENT_KICK);
        *out = PENDING_KICKED;
        return false;
    }
    if (events & EVENT_TLB_FLUSH) {
        vcpu_clear(v, EVENT_TLB_FLUSH);
        mmu_map_changed(v);
    }
    if (events & EVENT_EXCLUSIVE) {
        vcpu_leave(v);
        vcpu_enter(v);
    }
    if (events & EVENT_INIT) {
        vcpu_clear(v, EVENT_INIT);
        log_trace(v->vm->log, TRACE_CPU, "cpu%u: INIT", v->index);
        vcpu_init(v);
    }
    if (atomic_load(&v->events) & EVENT_SIPI) {
        vcpu_clear(v, EVENT_SIPI);
        if (v->activity == ACTIVITY_WAIT_SIPI)
            start_up(v);
    }
    return true;
}

bool cpu_is_asleep(struct vcpu *v)
{
    if (v->activity == ACTIVITY_RUNNING) {
        v->attention &= ~(u32)ATTN_HALT;
        return false;
    }
    if (v->activity == ACTIVITY_WAIT_SIPI || v->activity == ACTIVITY_SHUTDOWN)
        return true;
    if (!(atomic_load(&v->events) & wake_mask(v)))
        return true;
    wake(v);
    return false;
}

/* Debug traps of the instruction that has just completed: single step, data and I/O breakpoints, task switch.
 */
static bool deliver_debug_traps(struct vcpu *v)
{
    u64 bits = 0;
    if (v->attention & ATTN_DB_PENDING)
        bits = v->db_pending;
    if (v->attention & ATTN_STEP)
        bits |= DR6_BS;
    v->attention &= ~(u32)(ATTN_DB_PENDING | ATTN_STEP);
    v->db_pending = 0;
    return !bits || cpu_deliver_db_trap(v, bits);
}

/* NMI, then INTR. */
static bool deliver_interrupts(struct vcpu *v, bool shadow)
{
    u32 events = atomic_load(&v->events);
    if ((events & EVENT_NMI) && !v->nmi_blocked && !shadow) {
        if (atomic_fetch_and(&v->events, ~(u32)(EVENT_NMI | EVENT_NMI_AGAIN)) & EVENT_NMI_AGAIN)
            atomic_fetch_or(&v->events, EVENT_NMI);
        return cpu_deliver_nmi(v);
    }
    if (!(events & EVENT_INTR) || !(v->rflags & FLAG_IF) || shadow || !v->apic_ops)
        return true;
    pthread_mutex_lock(v->vm->machine_lock);
    int vector = v->apic_ops->ack(v->apic);
    pthread_mutex_unlock(v->vm->machine_lock);
    return vector < 0 || cpu_deliver_interrupt(v, (u8)vector);
}

static u64 code_linear(const struct vcpu *v)
{
    return v->code64 ? v->rip : (v->seg[CS].base + v->rip) & 0xffffffff;
}

/* Last before the instruction: breakpoints on it, RF's end, arming of the single step. `movss`: the last one
 * loaded SS, which on Intel's processors suppresses the breakpoint of this one (SDM vol. 3 18.3.1.1), on
 * AMD's not. */
static bool begin_instruction(struct vcpu *v, bool movss)
{
    bool suppressed = movss && v->vm->model.vendor == VENDOR_INTEL;
    if ((v->attention & ATTN_BREAKPOINT) && !(v->rflags & FLAG_RF) && !suppressed) {
        u64 bits = debug_match_exec(v, code_linear(v));
        if (bits && !cpu_deliver_db_trap(v, bits))
            return false;
    }
    if (v->rflags & FLAG_RF) {
        v->rflags &= ~(u64)FLAG_RF;
        v->attention &= ~(u32)ATTN_RF;
    }
    if (v->rflags & FLAG_TF)
        v->attention |= ATTN_STEP;
    return true;
}

enum cpu_pending cpu_handle_events(struct vcpu *v)
{
    enum cpu_pending out;
    u32 events = atomic_load(&v->events);
    if (unlikely(events & (EVENT_KICK | EVENT_TLB_FLUSH | EVENT_EXCLUSIVE | EVENT_INIT | EVENT_SIPI)) &&
        !cpu_handle_requests(v, &out))
        return out;
    if (v->activity == ACTIVITY_SHUTDOWN)
        return PENDING_SHUTDOWN;

    /* Traps of the last instruction come before sleeping: HLT can be single-stepped. MOV SS holds them back.
     */
    bool movss = v->attention & ATTN_SHADOW_MOVSS;
    bool shadow = movss || (v->attention & ATTN_SHADOW_STI);
    v->attention &= ~(u32)(ATTN_SHADOW_STI | ATTN_SHADOW_MOVSS);
    if (unlikely(v->attention & (ATTN_DB_PENDING | ATTN_STEP)) && !movss &&
        v->activity != ACTIVITY_WAIT_SIPI) {
        if (v->activity != ACTIVITY_RUNNING)
            wake(v);
        if (!deliver_debug_traps(v))
            return PENDING_SHUTDOWN;
    }
    if (v->activity != ACTIVITY_RUNNING || (v->attention & ATTN_HALT)) {
        if (cpu_is_asleep(v))
            return PENDING_HALTED;
    }
    if (!deliver_interrupts(v, shadow) || !begin_instruction(v, movss))
        return PENDING_SHUTDOWN;
    return PENDING_RUN;
}
