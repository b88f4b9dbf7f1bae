/* IRET in every mode (SDM vol. 2A IRET; vol. 3 6.14.3, 20.2.3), and what it shares with RET far. */
#include "cpu/desc.h"
#include "cpu/flow.h"

void return_check_cs(struct vcpu *v, u16 selector, struct desc *cs)
{
    unsigned rpl = selector & 3;
    if (selector_is_null(selector))
        cpu_raise_gp0(v);
    desc_load(v, selector, EXC_GP, cs);
    unsigned dpl = desc_dpl(cs);
    if (!desc_is_code(cs) || rpl < v->cpl || (desc_is_conforming(cs) ? dpl > rpl : dpl != rpl))
        cpu_raise_error(v, EXC_GP, selector_error(selector));
    code_check_mode(v, cs);
    if (!desc_present(cs))
        cpu_raise_error(v, EXC_NP, selector_error(selector));
}

void return_check_ss(struct vcpu *v, u16 selector, unsigned cpl, bool to64, struct segreg *ss)
{
    if (selector_is_null(selector)) {
        if (!to64 || cpl == 3 || (selector & 3u) != cpl)
            cpu_raise_gp0(v);
        segreg_set_null(ss, selector, cpl);
        return;
    }
    struct desc d;
    desc_load(v, selector, EXC_GP, &d);
    if ((selector & 3u) != cpl || desc_dpl(&d) != cpl || !desc_is_writable_data(&d))
        cpu_raise_error(v, EXC_GP, selector_error(selector));
    if (!desc_present(&d))
        cpu_raise_error(v, EXC_SS, selector_error(selector));
    desc_set_accessed(v, &d);
    desc_to_segreg(&d, cpl, ss);
}

void return_commit_outer(struct vcpu *v, const struct desc *cs, unsigned cpl, u64 rip,
                         const struct segreg *ss, u64 rsp, unsigned opsize, u16 pop_bytes)
{
    bool to64 = v->long_mode && desc_l(cs);
    u64 mask = to64 ? ~0ull : ss->attr & SEG_DB ? 0xffffffff : 0xffff;
    v->seg[SS] = *ss;
    /* A 16-bit stack keeps the upper half of ESP, but for what a 32-bit pop loaded. */
    u64 high = opsize == 2 ? v->gpr[RSP] & 0xffff0000 : rsp & ~mask;
    if (mask == 0xffff)
        v->gpr[RSP] = (high & 0xffff0000) | ((rsp + pop_bytes) & 0xffff);
    else
        v->gpr[RSP] = (rsp + pop_bytes) & mask;
    code_commit(v, cs, cpl, rip);
    seg_drop_privileged(v, cpl);
    cpu_mode_update(v);
}

/* The flags that IRET may change at `cpl`, with an image of `opsize` bytes. VM is not among them. */
static u64 iret_flags_mask(const struct vcpu *v, unsigned opsize)
{
    u64 mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_RF | FLAG_AC | FLAG_ID;
    if (v->cpl == 0)
        mask |= FLAG_IOPL | FLAG_VIF | FLAG_VIP;
    if (v->cpl <= cpu_iopl(v))
        mask |= FLAG_IF;
    return opsize == 2 ? mask & 0xffff : mask;
}

static void iret_real(struct vcpu *v, unsigned opsize)
{
    struct stack s;
    stack_current(v, &s);
    u64 rip = stack_pop(v, &s, opsize);
    u16 cs = (u16)stack_pop(v, &s, opsize);
    u64 flags = stack_pop(v, &s, opsize);
    if (rip > v->seg[CS].limit)
        cpu_raise_gp0(v);
    u64 mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_IF | FLAG_NT | FLAG_IOPL | FLAG_RF | FLAG_AC | FLAG_ID;
    if (opsize == 2)
        mask &= 0xffff;
    stack_commit(v, &s);
    segreg_load_real(v, CS, cs);
    v->rip = rip;
    cpu_set_flags(v, flags, mask);
}

/* Virtual-8086 mode stays; IOPL is not changed. With VME and IOPL < 3 a 16-bit IRET works on VIF. */
static void iret_v86(struct vcpu *v, unsigned opsize)
{
    bool virtual_if = cpu_iopl(v) < 3;
    if (virtual_if && (opsize != 2 || !(v->cr4 & CR4_VME)))
        cpu_raise_gp0(v);
    struct stack s;
    stack_current(v, &s);
    u64 rip = stack_pop(v, &s, opsize);
    u16 cs = (u16)stack_pop(v, &s, opsize);
    u64 flags = stack_pop(v, &s, opsize);
    if (rip > v->seg[CS].limit)
        cpu_raise_gp0(v);
    u64 mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
    if (virtual_if) {
        if ((flags & FLAG_TF) || ((flags & FLAG_IF) && (v->rflags & FLAG_VIP)))
            cpu_raise_gp0(v);
        flags = (flags & ~(u64)FLAG_VIF) | (flags & FLAG_IF ? FLAG_VIF : 0);
        mask |= FLAG_VIF;
    } else {
        mask |= FLAG_IF | (opsize == 2 ? 0 : FLAG_RF | FLAG_AC | FLAG_ID);
    }
    stack_commit(v, &s);
    segreg_load_real(v, CS, cs);
    v->rip = rip;
    cpu_set_flags(v, flags, mask);
}

/* IRETD at CPL 0 with VM set in the image. */
static void iret_to_v86(struct vcpu *v, struct stack *s, u64 rip, u16 cs, u64 flags)
{
    static const u8 order[] = {ES, DS, FS, GS};
    u16 data[ARRAY_LEN(order)];
    u64 esp = stack_pop(v, s, 4);
    u16 ss = (u16)stack_pop(v, s, 4);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        data[i] = (u16)stack_pop(v, s, 4);
    if ((rip & 0xffffffff) > 0xffff)
        cpu_raise_gp0(v);
    v->rflags = (flags & FLAGS_ALL) | FLAG_R1;
    segreg_load_real(v, CS, cs);
    segreg_load_real(v, SS, ss);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        segreg_load_real(v, order[i], data[i]);
    v->gpr[RSP] = esp;
    v->rip = rip & 0xffff;
    cpu_mode_update(v);
}

static void iret_task(struct vcpu *v, u64 next_rip)
{
    if (v->long_mode)
        cpu_raise_gp0(v);
    u16 link = (u16)mmu_read_system(v, lin_wrap(v, v->tr.base), 2);
    cpu_task_switch(v, link, TASK_IRET, next_rip, false, 0);
}

static void iret_protected(struct vcpu *v, unsigned opsize)
{
    struct stack s;
    stack_current(v, &s);
    u64 rip = stack_pop(v, &s, opsize);
    u16 selector = (u16)stack_pop(v, &s, opsize);
    u64 flags = stack_pop(v, &s, opsize);
    if ((flags & FLAG_VM) && opsize == 4 && v->cpl == 0 && !v->long_mode) {
        iret_to_v86(v, &s, rip, selector, flags);
        return;
    }
    struct desc cs;
    unsigned cpl = selector & 3;
    return_check_cs(v, selector, &cs);
    u64 mask = iret_flags_mask(v, opsize);
    if (v->code64 || cpl != v->cpl) {
        u64 rsp = stack_pop(v, &s, opsize);
        u16 ss_selector = (u16)stack_pop(v, &s, opsize);
        bool outer = cpl != v->cpl;
        struct segreg ss;
        return_check_ss(v, ss_selector, cpl, v->long_mode && desc_l(&cs), &ss);
        code_check_target(v, &cs, rip);
        desc_set_accessed(v, &cs);
        v->rflags = (v->rflags & ~mask) | (flags & mask);
        if (outer) {
            return_commit_outer(v, &cs, cpl, rip, &ss, rsp, opsize, 0);
            return;
        }
        v->seg[SS] = ss;
        if ((v->long_mode && desc_l(&cs)) || (ss.attr & SEG_DB))
            v->gpr[RSP] = rsp;
        else
            v->gpr[RSP] = opsize == 2 ? (v->gpr[RSP] & ~0xffffull) | rsp : rsp;
        code_commit(v, &cs, cpl, rip);
        cpu_mode_update(v);
        return;
    }
    code_check_target(v, &cs, rip);
    desc_set_accessed(v, &cs);
    stack_commit(v, &s);
    v->rflags = (v->rflags & ~mask) | (flags & mask);
    code_commit(v, &cs, cpl, rip);
    cpu_mode_update(v);
}

void cpu_iret(struct vcpu *v, unsigned opsize, u64 next_rip)
{
    /* NMIs are let in again even if IRET then faults (SDM vol. 3 6.7.1). */
    if (v->nmi_blocked) {
        v->nmi_blocked = false;
        cpu_mode_update(v);
    }
    if (cpu_is_real(v))
        iret_real(v, opsize);
    else if (cpu_is_v86(v))
        iret_v86(v, opsize);
    else if (v->rflags & FLAG_NT)
        iret_task(v, next_rip);
    else
        iret_protected(v, opsize);
}
