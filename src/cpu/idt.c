/*
 * Interrupt and exception delivery: real mode (SDM vol. 3 20.1.4), protected and virtual-8086 mode
 * (6.12, 20.3), long mode (6.14). Pushes happen before anything is committed; a push that faults leaves only
 * bytes below the new stack.
 */
#include "cpu/desc.h"
#include "cpu/flow.h"
#include "cpu/idt.h"

/* Pushes FLAGS, CS, IP on a 16-bit style frame and jumps through the vector table at `base`. */
static void deliver_real(struct vcpu *v, const struct interrupt *in, u64 table, u64 flags)
{
    u64 entry = mmu_read_as(v, lin_wrap(v, table + in->vector * 4), 4, cpu_is_v86(v) ? MMU_USER : MMU_KERNEL);
    u64 ip = entry & 0xffff;
    u16 cs = (u16)(entry >> 16);
    if (ip > v->seg[CS].limit)
        cpu_raise_gp0(v);
    struct stack s;
    stack_current(v, &s);
    stack_push(v, &s, 2, flags & 0xffff);
    stack_push(v, &s, 2, v->seg[CS].selector);
    stack_push(v, &s, 2, in->rip);
    stack_commit(v, &s);
    segreg_load_real(v, CS, cs);
    v->rip = ip;
}

static void real_deliver(struct vcpu *v, const struct interrupt *in)
{
    if (in->vector * 4u + 3 > v->idtr.limit)
        cpu_raise_error(v, EXC_GP, in->vector * 8u + 2);
    deliver_real(v, in, v->idtr.base, in->flags);
    v->rflags &= ~(u64)(FLAG_IF | FLAG_TF | FLAG_RF | FLAG_AC);
    cpu_mode_update(v);
}

bool v86_redirect(struct vcpu *v, u8 vector, u64 next_rip)
{
    if (!(v->cr4 & CR4_VME))
        return false;
    /* The redirection bitmap is the 32 bytes below the I/O bitmap; a 1 bit means the IDT. */
    if ((v->tr.attr & SEG_UNUSABLE) || !(v->tr.attr & 8) || v->tr.limit < 0x67)
        cpu_raise_gp0(v);
    u32 map = (u32)mmu_read_system(v, lin_wrap(v, v->tr.base + 0x66), 2);
    u32 offset = map - 32 + vector / 8u;
    if (map < 32 || offset > v->tr.limit)
        cpu_raise_gp0(v);
    if (mmu_read_system(v, lin_wrap(v, v->tr.base + offset), 1) >> (vector & 7) & 1)
        return false;
    struct interrupt in = {.vector = vector, .kind = INTERRUPT_SOFT, .rip = next_rip};
    u64 flags = v->rflags;
    if (cpu_iopl(v) < 3) {
        /* The pushed image shows VIF as IF and IOPL 3; VIF is cleared instead of IF. */
        flags = (flags & ~(u64)FLAG_IF) | (flags & FLAG_VIF ? FLAG_IF : 0) | FLAG_IOPL;
        deliver_real(v, &in, 0, flags);
        v->rflags &= ~(u64)(FLAG_VIF | FLAG_TF | FLAG_RF | FLAG_AC);
    } else {
        deliver_real(v, &in, 0, flags);
        v->rflags &= ~(u64)(FLAG_IF | FLAG_TF | FLAG_RF | FLAG_AC);
    }
    cpu_mode_update(v);
    return true;
}

/* The IDT's entry; raises for a vector beyond the limit, a wrong type, missing rights (soft) or an absent
 * gate. */
static void gate_load(struct vcpu *v, const struct interrupt *in, struct desc *gate)
{
    u32 error = in->vector * 8u + 2;
    unsigned size = v->long_mode ? 16 : 8;
    if (in->vector * size + size - 1 > v->idtr.limit)
        cpu_raise_error(v, EXC_GP, error);
    *gate = (struct desc){.lin = lin_wrap(v, v->idtr.base + in->vector * size)};
    gate->raw = mmu_read_system(v, gate->lin, 8);
    if (v->long_mode)
        gate->high = mmu_read_system(v, gate->lin + 8, 8) & 0xffffffff;
    u32 valid = 1u << TYPE_INT32 | 1u << TYPE_TRAP32;
    if (!v->long_mode)
        valid |= 1u << TYPE_INT16 | 1u << TYPE_TRAP16 | 1u << TYPE_TASK_GATE;
    if (desc_is_segment(gate) || !(valid >> desc_type(gate) & 1))
        cpu_raise_error(v, EXC_GP, error);
    if (in->kind == INTERRUPT_SOFT && desc_dpl(gate) < v->cpl)
        cpu_raise_error(v, EXC_GP, error);
    if (!desc_present(gate))
        cpu_raise_error(v, EXC_NP, error);
}

/* The handler's code segment. */
static void handler_load(struct vcpu *v, const struct desc *gate, struct desc *cs)
{
    u16 selector = gate_selector(gate);
    if (selector_is_null(selector))
        cpu_raise_gp0(v);
    desc_load(v, selector, EXC_GP, cs);
    if (!desc_is_code(cs) || desc_dpl(cs) > v->cpl)
        cpu_raise_error(v, EXC_GP, selector_error(selector));
    if (v->long_mode && (!desc_l(cs) || desc_db(cs)))
        cpu_raise_error(v, EXC_GP, selector_error(selector));
    if (!desc_present(cs))
        cpu_raise_error(v, EXC_NP, selector_error(selector));
    if (cpu_is_v86(v) && (desc_is_conforming(cs) || desc_dpl(cs) != 0))
        cpu_raise_error(v, EXC_GP, selector_error(selector));
}

/* RFLAGS in the handler. Trap gates leave IF. */
static void flags_enter(struct vcpu *v, const struct desc *gate)
{
    u64 clear = FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM;
    if (!(desc_type(gate) & 1))
        clear |= FLAG_IF;
    v->rflags &= ~clear;
}

static void long_deliver(struct vcpu *v, const struct interrupt *in)
{
    struct desc gate, cs;
    gate_load(v, in, &gate);
    handler_load(v, &gate, &cs);
    bool inner = !desc_is_conforming(&cs) && desc_dpl(&cs) < v->cpl;
    unsigned cpl = inner ? desc_dpl(&cs) : v->cpl;
    unsigned ist = gate.raw >> 32 & 7;
    u64 rip = gate_offset(&gate);
    u64 rsp = inner || ist ? tss_read_rsp(v, cpl, ist) : v->gpr[RSP];
    code_check_target(v, &cs, rip);

    struct stack s;
    stack_other(v, &s, &v->seg[SS], rsp & ~15ull, cpl, true);
    if (!inner && v->cpl < 3)
        s.index = v->mmu_index;
    stack_push(v, &s, 8, v->seg[SS].selector);
    stack_push(v, &s, 8, v->gpr[RSP]);
    stack_push(v, &s, 8, in->flags);
    stack_push(v, &s, 8, v->seg[CS].selector);
    stack_push(v, &s, 8, in->rip);
    if (in->has_error)
        stack_push(v, &s, 8, in->error);

    desc_set_accessed(v, &cs);
    if (inner)
        segreg_set_null(&v->seg[SS], (u16)cpl, cpl);
    v->gpr[RSP] = s.sp;
    flags_enter(v, &gate);
    code_commit(v, &cs, cpl, rip);
    cpu_mode_update(v);
}

/* The frame of a protected-mode delivery; from virtual-8086 mode the data segments lie above SS:ESP. */
static void frame_push(struct vcpu *v, struct stack *s, const struct interrupt *in, unsigned size, bool inner)
{
    if (cpu_is_v86(v)) {
        static const u8 order[] = {GS, FS, DS, ES};
        for (unsigned i = 0; i < ARRAY_LEN(order); i++)
            stack_push(v, s, size, v->seg[order[i]].selector);
    }
    if (inner) {
        stack_push(v, s, size, v->seg[SS].selector);
        stack_push(v, s, size, v->gpr[RSP]);
    }
    stack_push(v, s, size, in->flags);
    stack_push(v, s, size, v->seg[CS].selector);
    stack_push(v, s, size, in->rip);
    if (in->has_error)
        stack_push(v, s, size, in->error);
}

static void protected_deliver(struct vcpu *v, const struct interrupt *in)
{
    struct desc gate, cs;
    gate_load(v, in, &gate);
    if (desc_type(&gate) == TYPE_TASK_GATE) {
        cpu_task_switch(v, gate_selector(&gate), TASK_GATE, in->rip, in->has_error, in->error);
        return;
    }
    handler_load(v, &gate, &cs);
    bool inner = !desc_is_conforming(&cs) && desc_dpl(&cs) < v->cpl;
    unsigned cpl = inner ? desc_dpl(&cs) : v->cpl;
    unsigned size = desc_type(&gate) & 8 ? 4 : 2;
    u64 rip = size == 4 ? gate_offset(&gate) : gate_offset(&gate) & 0xffff;

    struct stack s;
    struct segreg ss = v->seg[SS];
    if (inner) {
        u16 selector;
        u64 sp;
        tss_read_stack(v, cpl, &selector, &sp);
        tss_check_ss(v, selector, cpl, &ss);
        stack_other(v, &s, &ss, sp, cpl, false);
        s.error = selector_error(selector);
    } else {
        stack_current(v, &s);
        if (s.index == MMU_USER_ALIGN)
            s.index = MMU_USER;
    }
    frame_push(v, &s, in, size, inner);
    code_check_target(v, &cs, rip);

    desc_set_accessed(v, &cs);
    if (cpu_is_v86(v)) {
        static const u8 data[] = {ES, DS, FS, GS};
        for (unsigned i = 0; i < ARRAY_LEN(data); i++)
            segreg_set_null(&v->seg[data[i]], 0, 0);
    }
    v->seg[SS] = ss;
    if (inner)
        v->gpr[RSP] = s.sp;
    else
        stack_commit(v, &s);
    flags_enter(v, &gate);
    code_commit(v, &cs, cpl, rip);
    cpu_mode_update(v);
}

void interrupt_deliver(struct vcpu *v, const struct interrupt *in)
{
    if (cpu_is_real(v))
        real_deliver(v, in);
    else if (v->long_mode)
        long_deliver(v, in);
    else
        protected_deliver(v, in);
}
