/*
 * JMP, CALL and RET far (SDM vol. 2A CALL, JMP, RET; AMD APM vol. 2 4.7). Everything that can fault happens
 * before the first register changes.
 */
#include "cpu/desc.h"
#include "cpu/flow.h"

static _Noreturn void raise_gp(struct vcpu *v, u16 selector)
{
    cpu_raise_error(v, EXC_GP, selector_error(selector));
}

static u64 offset_mask(unsigned opsize)
{
    return opsize == 8 ? ~0ull : MASK(8 * opsize);
}

/* Real and virtual-8086 mode. */
static void real_check(struct vcpu *v, u64 offset)
{
    if (offset > v->seg[CS].limit)
        cpu_raise_gp0(v);
}

static void real_commit(struct vcpu *v, u16 selector, u64 offset)
{
    segreg_load_real(v, CS, selector);
    v->rip = offset;
    cpu_mode_update(v);
}

static void load_target(struct vcpu *v, u16 selector, struct desc *d)
{
    if (selector_is_null(selector))
        cpu_raise_gp0(v);
    desc_load(v, selector, EXC_GP, d);
}

/* A code segment that is named directly: same level, or conforming. */
static void code_check_direct(struct vcpu *v, const struct desc *d)
{
    unsigned dpl = desc_dpl(d), rpl = d->selector & 3;
    if (desc_is_conforming(d) ? dpl > v->cpl : rpl > v->cpl || dpl != v->cpl)
        raise_gp(v, d->selector);
    code_check_mode(v, d);
    if (!desc_present(d))
        cpu_raise_error(v, EXC_NP, selector_error(d->selector));
}

/* A call gate's rights, and in long mode its second half. */
static void gate_check(struct vcpu *v, struct desc *gate)
{
    if (desc_dpl(gate) < v->cpl || desc_dpl(gate) < (gate->selector & 3u))
        raise_gp(v, gate->selector);
    if (v->long_mode)
        desc_load_high(v, EXC_GP, gate);
    if (!desc_present(gate))
        cpu_raise_error(v, EXC_NP, selector_error(gate->selector));
}

/* The code segment behind a call gate. JMP may not change the level. */
static void gate_target(struct vcpu *v, const struct desc *gate, bool jump, struct desc *cs)
{
    u16 selector = gate_selector(gate);
    load_target(v, selector, cs);
    unsigned dpl = desc_dpl(cs);
    if (!desc_is_code(cs) || dpl > v->cpl || (jump && !desc_is_conforming(cs) && dpl != v->cpl))
        raise_gp(v, selector);
    if (v->long_mode && (!desc_l(cs) || desc_db(cs)))
        raise_gp(v, selector);
    if (!desc_present(cs))
        cpu_raise_error(v, EXC_NP, selector_error(selector));
}

static u64 gate_target_offset(const struct desc *gate)
{
    return desc_type(gate) == TYPE_CALL16 ? gate_offset(gate) & 0xffff : gate_offset(gate);
}

/* Task gates and TSS selectors as operands of JMP and CALL; cpu_task_switch checks the TSS itself. */
static void far_task(struct vcpu *v, const struct desc *d, enum task_switch_reason reason, u64 next_rip)
{
    if (desc_dpl(d) < v->cpl || desc_dpl(d) < (d->selector & 3u))
        raise_gp(v, d->selector);
    u16 tss = d->selector;
    if (desc_type(d) == TYPE_TASK_GATE) {
        if (!desc_present(d))
            cpu_raise_error(v, EXC_NP, selector_error(d->selector));
        tss = gate_selector(d);
    }
    cpu_task_switch(v, tss, reason, next_rip, false, 0);
}

/* What kind of system descriptor may be jumped to or called? Raises for the others. */
static bool is_task(struct vcpu *v, const struct desc *d)
{
    unsigned type = desc_type(d);
    if (type == TYPE_CALL32 || (type == TYPE_CALL16 && !v->long_mode))
        return false;
    if (v->long_mode || !(type == TYPE_TASK_GATE || type == TYPE_TSS16 || type == TYPE_TSS32))
        raise_gp(v, d->selector);
    return true;
}

void cpu_far_jump(struct vcpu *v, u16 selector, u64 offset, unsigned opsize, u64 next_rip)
{
    offset &= offset_mask(opsize);
    if (!cpu_is_protected(v)) {
        real_check(v, offset);
        real_commit(v, selector, offset);
        return;
    }
    struct desc d, cs;
    load_target(v, selector, &d);
    if (desc_is_segment(&d)) {
        if (!desc_is_code(&d))
            raise_gp(v, selector);
        code_check_direct(v, &d);
        cs = d;
    } else if (is_task(v, &d)) {
        far_task(v, &d, TASK_JUMP, next_rip);
        return;
    } else {
        gate_check(v, &d);
        gate_target(v, &d, true, &cs);
        offset = gate_target_offset(&d);
    }
    code_check_target(v, &cs, offset);
    desc_set_accessed(v, &cs);
    code_commit(v, &cs, v->cpl, offset);
    cpu_mode_update(v);
}

/* CALL to the same level: CS:IP on the current stack. In long mode a gate pushes 8 bytes each. */
static void call_same_level(struct vcpu *v, struct desc *cs, u64 offset, unsigned size, u64 next_rip)
{
    struct stack s;
    stack_current(v, &s);
    if (v->long_mode && desc_l(cs) && !v->code64)
        stack_other(v, &s, &v->seg[SS], v->gpr[RSP], v->cpl, true);
    stack_push(v, &s, size, v->seg[CS].selector);
    stack_push(v, &s, size, next_rip);
    code_check_target(v, cs, offset);
    desc_set_accessed(v, cs);
    stack_commit(v, &s);
    code_commit(v, cs, v->cpl, offset);
    cpu_mode_update(v);
}

/* Copies the gate's parameters from the caller's stack, lowest address last. */
static void copy_parameters(struct vcpu *v, struct stack *to, unsigned count, unsigned size)
{
    struct stack from;
    stack_current(v, &from);
    u64 value[31];
    for (unsigned i = 0; i < count; i++)
        value[i] = stack_pop(v, &from, size);
    while (count)
        stack_push(v, to, size, value[--count]);
}

/* CALL through a gate to an inner level: new stack from the TSS. */
static void call_inner(struct vcpu *v, const struct desc *gate, struct desc *cs, u64 offset, u64 next_rip)
{
    unsigned cpl = desc_dpl(cs);
    struct segreg ss;
    struct stack s;
    unsigned size;
    if (v->long_mode) {
        size = 8;
        segreg_set_null(&ss, (u16)cpl, cpl);
        stack_other(v, &s, &ss, tss_read_rsp(v, cpl, 0), cpl, true);
    } else {
        u16 selector;
        u64 sp;
        size = desc_type(gate) == TYPE_CALL32 ? 4 : 2;
        tss_read_stack(v, cpl, &selector, &sp);
        tss_check_ss(v, selector, cpl, &ss);
        stack_other(v, &s, &ss, sp, cpl, false);
        s.error = selector_error(selector);
    }
    stack_push(v, &s, size, v->seg[SS].selector);
    stack_push(v, &s, size, v->gpr[RSP]);
    if (!v->long_mode)
        copy_parameters(v, &s, gate->raw >> 32 & 31, size);
    stack_push(v, &s, size, v->seg[CS].selector);
    stack_push(v, &s, size, next_rip);
    code_check_target(v, cs, offset);
    desc_set_accessed(v, cs);
    v->seg[SS] = ss;
    v->gpr[RSP] = s.sp;
    code_commit(v, cs, cpl, offset);
    cpu_mode_update(v);
}

void cpu_far_call(struct vcpu *v, u16 selector, u64 offset, unsigned opsize, u64 next_rip)
{
    offset &= offset_mask(opsize);
    if (!cpu_is_protected(v)) {
        struct stack s;
        stack_current(v, &s);
        stack_push(v, &s, opsize, v->seg[CS].selector);
        stack_push(v, &s, opsize, next_rip);
        real_check(v, offset);
        stack_commit(v, &s);
        real_commit(v, selector, offset);
        return;
    }
    struct desc d, cs;
    load_target(v, selector, &d);
    if (desc_is_segment(&d)) {
        if (!desc_is_code(&d))
            raise_gp(v, selector);
        code_check_direct(v, &d);
        struct stack s;
        stack_current(v, &s);
        stack_push(v, &s, opsize, v->seg[CS].selector);
        stack_push(v, &s, opsize, next_rip);
        code_check_target(v, &d, offset);
        desc_set_accessed(v, &d);
        stack_commit(v, &s);
        code_commit(v, &d, v->cpl, offset);
        cpu_mode_update(v);
        return;
    }
    if (is_task(v, &d)) {
        far_task(v, &d, TASK_CALL, next_rip);
        return;
    }
    gate_check(v, &d);
    gate_target(v, &d, false, &cs);
    offset = gate_target_offset(&d);
    if (!desc_is_conforming(&cs) && desc_dpl(&cs) < v->cpl)
        call_inner(v, &d, &cs, offset, next_rip);
    else
        call_same_level(v, &cs, offset, v->long_mode ? 8 : desc_type(&d) == TYPE_CALL32 ? 4 : 2, next_rip);
}

void cpu_far_return(struct vcpu *v, unsigned opsize, u16 pop_bytes)
{
    struct stack s;
    stack_current(v, &s);
    u64 rip = stack_pop(v, &s, opsize);
    u16 selector = (u16)stack_pop(v, &s, opsize);
    if (!cpu_is_protected(v)) {
        real_check(v, rip);
        s.sp = (s.sp & ~s.mask) | ((s.sp + pop_bytes) & s.mask);
        stack_commit(v, &s);
        real_commit(v, selector, rip);
        return;
    }
    struct desc cs;
    unsigned cpl = selector & 3;
    return_check_cs(v, selector, &cs);
    s.sp = (s.sp & ~s.mask) | ((s.sp + pop_bytes) & s.mask);
    if (cpl == v->cpl) {
        code_check_target(v, &cs, rip);
        desc_set_accessed(v, &cs);
        stack_commit(v, &s);
        code_commit(v, &cs, cpl, rip);
        cpu_mode_update(v);
        return;
    }
    u64 rsp = stack_pop(v, &s, opsize);
    u16 ss_selector = (u16)stack_pop(v, &s, opsize);
    struct segreg ss;
    return_check_ss(v, ss_selector, cpl, v->long_mode && desc_l(&cs), &ss);
    code_check_target(v, &cs, rip);
    desc_set_accessed(v, &cs);
    return_commit_outer(v, &cs, cpl, rip, &ss, rsp, opsize, pop_bytes);
}
