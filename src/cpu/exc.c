/*
 * Raising, and the run loop's side of delivery: what happens when delivering an event raises in its turn
 * (double and triple faults, SDM vol. 3 6.15 "Interrupt 8"). How one event goes through the IDT is in idt.c.
 */
#include "cpu/exc.h"
#include "cpu/debug.h"
#include "cpu/idt.h"

static _Noreturn void unwind(struct vcpu *v)
{
    if (unlikely(v->exclusive))
        vm_exclusive_end(v);
    longjmp(*v->unwind, 1);
}

void cpu_raise(struct vcpu *v, u8 vector)
{
    v->exc = (struct exception){.vector = vector};
    unwind(v);
}

void cpu_raise_error(struct vcpu *v, u8 vector, u32 error)
{
    if (vector >= EXC_TS && vector <= EXC_GP)
        error |= v->ext;
    v->exc = (struct exception){.vector = vector, .has_error = true, .error = error};
    unwind(v);
}

void cpu_raise_pf(struct vcpu *v, u64 lin, u32 error)
{
    v->exc = exception_pf(lin, error);
    unwind(v);
}

void cpu_raise_db(struct vcpu *v, u64 dr6)
{
    v->exc = (struct exception){.vector = EXC_DB, .dr6 = dr6};
    unwind(v);
}

enum exc_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT, CLASS_DOUBLE_FAULT };

static enum exc_class exc_class(unsigned vector)
{
    switch (vector) {
    case EXC_DE:
    case EXC_TS:
    case EXC_NP:
    case EXC_SS:
    case EXC_GP:
        return CLASS_CONTRIBUTORY;
    case EXC_PF:
        return CLASS_PAGE_FAULT;
    case EXC_DF:
        return CLASS_DOUBLE_FAULT;
    default:
        return CLASS_BENIGN;
    }
}

/* A fault (as opposed to a trap or abort) pushes RF = 1, but for #DB. */
static bool sets_rf(unsigned vector)
{
    return vector != EXC_DB && vector != EXC_DF && vector != EXC_MC;
}

static struct interrupt from_exception(const struct vcpu *v)
{
    const struct exception *e = &v->exc;
    return (struct interrupt){
        .vector = e->vector,
        .kind = INTERRUPT_FAULT,
        .has_error = e->has_error,
        .error = e->error,
        .rip = v->rip,
        .flags = sets_rf(e->vector) ? v->rflags | FLAG_RF : v->rflags,
    };
}

/* What changes before the handler runs, delivered or not. */
static void load_side_registers(struct vcpu *v)
{
    if (v->exc.vector == EXC_PF) {
        v->cr2 = v->exc.cr2;
    } else if (v->exc.vector == EXC_DB) {
        v->dr[6] = (v->dr[6] & ~0xfull) | v->exc.dr6;
        v->dr[7] &= ~DR7_GD;
        v->msr.debugctl &= ~3ull; /* LBR, BTF */
    }
}

/* The exception that follows when v->exc was raised while `first` was delivered: replaces v->exc; false:
 * shutdown. */
static bool combine(struct vcpu *v, const struct interrupt *first)
{
    enum exc_class a = first->kind == INTERRUPT_FAULT ? exc_class(first->vector) : CLASS_BENIGN;
    enum exc_class b = exc_class(v->exc.vector);
    if (b == CLASS_BENIGN || a == CLASS_BENIGN)
        return true;
    if (a == CLASS_DOUBLE_FAULT)
        return false;
    if (a == CLASS_PAGE_FAULT || b == CLASS_CONTRIBUTORY)
        v->exc = (struct exception){.vector = EXC_DF, .has_error = true};
    return true;
}

static bool deliver(struct vcpu *v, const struct interrupt *event)
{
    jmp_buf env, *saved = v->unwind;
    volatile struct interrupt current = *event;
    for (;;) {
        v->unwind = &env;
        if (setjmp(env) == 0) {
            struct interrupt in = current;
            v->ext = in.kind != INTERRUPT_SOFT;
            interrupt_deliver(v, &in);
            v->ext = 0;
            v->unwind = saved;
            return true;
        }
        v->unwind = saved;
        v->ext = 0;
        struct interrupt first = current;
        log_trace(v->vm->log, TRACE_EXC, "cpu%u: vector %u while delivering vector %u", v->index,
                  v->exc.vector, first.vector);
        if (!combine(v, &first)) {
            v->activity = ACTIVITY_SHUTDOWN;
            v->attention |= ATTN_HALT;
            return false;
        }
        load_side_registers(v);
        current = from_exception(v);
    }
}

/* The instruction under way does not complete: nothing of it is left pending. */
static void drop_pending(struct vcpu *v)
{
    v->attention &= ~(u32)(ATTN_STEP | ATTN_SHADOW_STI | ATTN_SHADOW_MOVSS | ATTN_DB_PENDING);
    v->db_pending = 0;
}

bool cpu_deliver_exception(struct vcpu *v)
{
    cpu_meet_world(v); /* the frame has flags that one engine may know to be dead, and another not */
    struct interrupt in = from_exception(v);
    drop_pending(v);
    load_side_registers(v);
    log_trace(v->vm->log, TRACE_EXC, "cpu%u: exception %u error %#x cr2 %#llx at %#llx", v->index, in.vector,
              in.error, (unsigned long long)v->cr2, (unsigned long long)v->rip);
    return deliver(v, &in);
}

bool cpu_deliver_db_trap(struct vcpu *v, u64 dr6)
{
    v->exc = (struct exception){.vector = EXC_DB, .dr6 = dr6};
    return cpu_deliver_exception(v);
}

static bool deliver_external(struct vcpu *v, u8 vector, enum interrupt_kind kind)
{
    struct interrupt in = {.vector = vector, .kind = kind, .rip = v->rip, .flags = v->rflags};
    log_trace(v->vm->log, TRACE_EXC, "cpu%u: interrupt %#x at %#llx", v->index, vector,
              (unsigned long long)v->rip);
    return deliver(v, &in);
}

bool cpu_deliver_interrupt(struct vcpu *v, u8 vector)
{
    return deliver_external(v, vector, INTERRUPT_EXTERNAL);
}

bool cpu_deliver_nmi(struct vcpu *v)
{
    v->nmi_blocked = true;
    cpu_mode_update(v);
    return deliver_external(v, EXC_NMI, INTERRUPT_EXTERNAL);
}

/* A completed software interrupt takes no single-step trap: TF is clear in the handler (SDM vol. 3 17.3.1.4).
 */
static void deliver_soft(struct vcpu *v, u8 vector, enum interrupt_kind kind, u64 next_rip)
{
    struct interrupt in = {.vector = vector, .kind = kind, .rip = next_rip, .flags = v->rflags};
    interrupt_deliver(v, &in);
    v->attention &= ~(u32)ATTN_STEP;
}

void cpu_int(struct vcpu *v, u8 vector, u64 next_rip)
{
    if (cpu_is_v86(v)) {
        if (v86_redirect(v, vector, next_rip)) {
            v->attention &= ~(u32)ATTN_STEP;
            return;
        }
        if (cpu_iopl(v) < 3)
            cpu_raise_gp0(v);
    }
    deliver_soft(v, vector, INTERRUPT_SOFT, next_rip);
}

void cpu_int3_into(struct vcpu *v, u8 vector, u64 next_rip)
{
    deliver_soft(v, vector, INTERRUPT_SOFT, next_rip);
}

void cpu_icebp(struct vcpu *v, u64 next_rip)
{
    v->dr[7] &= ~DR7_GD;
    v->msr.debugctl &= ~3ull;
    /* Traps that MOV SS has held back are reported by this very #DB. */
    u64 held = v->attention & ATTN_DB_PENDING ? v->db_pending : 0;
    deliver_soft(v, EXC_DB, INTERRUPT_ICEBP, next_rip);
    if (held) {
        v->dr[6] = (v->dr[6] & ~0xfull) | held;
        v->db_pending = 0;
        v->attention &= ~(u32)ATTN_DB_PENDING;
    }
}
