/* Exceptions and interrupts: raising and delivering (SDM vol. 3 chapter 6, AMD APM vol. 2 chapter 8). */
#ifndef RING3_CPU_EXC_H
#define RING3_CPU_EXC_H

#include "cpu/cpu.h"
#include "cpu/engine.h"

enum vector {
    EXC_DE = 0,
    EXC_DB = 1,
    EXC_NMI = 2,
    EXC_BP = 3,
    EXC_OF = 4,
    EXC_BR = 5,
    EXC_UD = 6,
    EXC_NM = 7,
    EXC_DF = 8,
    EXC_TS = 10,
    EXC_NP = 11,
    EXC_SS = 12,
    EXC_GP = 13,
    EXC_PF = 14,
    EXC_MF = 16,
    EXC_AC = 17,
    EXC_MC = 18,
    EXC_XM = 19,
};

/* Page-fault error code. */
enum pf_error {
    PF_P = BIT(0),
    PF_W = BIT(1),
    PF_U = BIT(2),
    PF_RSVD = BIT(3),
    PF_I = BIT(4),
    PF_PK = BIT(5)
};

/* Raise: record the exception in v->exc and longjmp to v->unwind. Selector error codes get v->ext or-ed in.
 * An exclusive section of this vCPU is ended. */
_Noreturn void cpu_raise(struct vcpu *v, u8 vector);                  /* without an error code */
_Noreturn void cpu_raise_error(struct vcpu *v, u8 vector, u32 error); /* #TS #NP #SS #GP #AC #DF */
_Noreturn void cpu_raise_pf(struct vcpu *v, u64 lin, u32 error);
_Noreturn void cpu_raise_db(struct vcpu *v, u64 dr6); /* fault-like #DB */

static inline struct exception exception_pf(u64 lin, u32 error)
{
    return (struct exception){.vector = EXC_PF, .has_error = true, .error = error, .cr2 = lin};
}

static inline _Noreturn void cpu_raise_ud(struct vcpu *v)
{
    cpu_raise(v, EXC_UD);
}
static inline _Noreturn void cpu_raise_gp0(struct vcpu *v)
{
    cpu_raise_error(v, EXC_GP, 0);
}

/*
 * Run-loop entry points: they catch what is raised inside them (v->unwind is saved and restored) and turn it
 * into double and triple faults. Each returns false on shutdown (triple fault: v->activity is
 * ACTIVITY_SHUTDOWN).
 */

/* Delivers v->exc (a fault: the saved RIP is v->rip; RF is set in the pushed image as the manual says). */
bool cpu_deliver_exception(struct vcpu *v);
/* Delivers a trap-class #DB with the DR6 bits `dr6`; v->rip is the next instruction. */
bool cpu_deliver_db_trap(struct vcpu *v, u64 dr6);
/* Delivers an external interrupt or NMI. */
bool cpu_deliver_interrupt(struct vcpu *v, u8 vector);
bool cpu_deliver_nmi(struct vcpu *v);

/* Software interrupts, as instruction handlers call them; they may raise. RIP is `next_rip` in the pushed
 * frame. */
void cpu_int(struct vcpu *v, u8 vector, u64 next_rip);       /* CD ib: IDT DPL and v86 IOPL/VME checks */
void cpu_int3_into(struct vcpu *v, u8 vector, u64 next_rip); /* CC, CE: DPL check, no v86 IOPL check */
void cpu_icebp(struct vcpu *v, u64 next_rip);                /* F1 */

/*
 * Handles what is pending in v->events (masked) and v->attention before the next instruction: INIT, SIPI,
 * NMI, INTR, exclusive sections, TLB flushes, debug traps and single steps of the instruction that has just
 * completed, instruction breakpoints. Returns what the run loop does next.
 *
 * The protocol: call it before an instruction whenever `v->events & v->event_mask` or `v->attention` is not
 * 0. After PENDING_RUN *execute one instruction* before asking again: the shadows of STI and MOV SS and
 * RFLAGS.RF end here and cover exactly that instruction. An instruction that raises instead of completing:
 * cpu_deliver_exception drops what it had pending. A REP string instruction that stops half-way sets
 * RFLAGS.RF (cpu_set_flags) if ATTN_BREAKPOINT is set.
 */
enum cpu_pending { PENDING_RUN, PENDING_KICKED, PENDING_SHUTDOWN, PENDING_HALTED };
enum cpu_pending cpu_handle_events(struct vcpu *v);
/*
 * The parts of it for an engine whose interrupts, traps and shadows are the hardware's. Kicks, flushes, INIT,
 * SIPI; false: leave with *out. And is the vCPU asleep (HLT, wait-for-SIPI), with nothing there that wakes
 * it? If something does, it is awake now.
 */
bool cpu_handle_requests(struct vcpu *v, enum cpu_pending *out);
bool cpu_is_asleep(struct vcpu *v);
/* Why an engine's run returns for something pending that its loop cannot go on with. */
static inline enum vcpu_exit vcpu_exit_of(enum cpu_pending pending)
{
    switch (pending) {
    case PENDING_HALTED:
        return VCPU_HALTED;
    case PENDING_SHUTDOWN:
        return VCPU_SHUTDOWN;
    default:
        return VCPU_KICKED;
    }
}

#endif
