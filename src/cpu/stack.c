/* Stacks that transfers write and read before they commit, and the stack pointers in the TSS. */
#include "cpu/desc.h"

void stack_current(struct vcpu *v, struct stack *s)
{
    *s = (struct stack){
        .ss = v->seg[SS],
        .sp = v->gpr[RSP] & v->stack_mask,
        .mask = v->stack_mask,
        .index = v->mmu_index,
        .flat = v->code64,
    };
}

void stack_other(struct vcpu *v, struct stack *s, const struct segreg *ss, u64 sp, unsigned cpl, bool to64)
{
    u64 mask = to64 ? ~0ull : ss->attr & SEG_DB ? 0xffffffff : 0xffff;
    *s = (struct stack){
        .ss = *ss,
        .sp = sp,
        .mask = mask,
        .index = cpl == 3 ? MMU_USER : MMU_KERNEL,
        .flat = to64,
    };
    if (!to64)
        s->sp &= 0xffffffff;
}

static u64 stack_linear(struct vcpu *v, const struct stack *s, u64 off, unsigned size)
{
    if (s->flat) {
        if (!is_canonical(off) || !is_canonical(off + size - 1))
            cpu_raise_error(v, EXC_SS, s->error);
        return off;
    }
    if (!segreg_contains(&s->ss, off, size))
        cpu_raise_error(v, EXC_SS, s->error);
    return (s->ss.base + off) & 0xffffffff;
}

void stack_push(struct vcpu *v, struct stack *s, unsigned size, u64 value)
{
    u64 off = (s->sp - size) & s->mask;
    u64 lin = stack_linear(v, s, off, size);
    mmu_write_as(v, lin, size, value, s->index);
    s->sp = (s->sp & ~s->mask) | off;
}

u64 stack_pop(struct vcpu *v, struct stack *s, unsigned size)
{
    u64 off = s->sp & s->mask;
    u64 lin = stack_linear(v, s, off, size);
    u64 value = mmu_read_as(v, lin, size, s->index);
    s->sp = (s->sp & ~s->mask) | ((off + size) & s->mask);
    return value;
}

void stack_commit(struct vcpu *v, const struct stack *s)
{
    if (s->mask == 0xffff)
        v->gpr[RSP] = (v->gpr[RSP] & ~0xffffull) | (s->sp & 0xffff);
    else
        v->gpr[RSP] = s->sp & s->mask;
}

static _Noreturn void raise_ts(struct vcpu *v, u16 selector)
{
    cpu_raise_error(v, EXC_TS, selector_error(selector));
}

void tss_read_stack(struct vcpu *v, unsigned cpl, u16 *ss, u64 *sp)
{
    bool wide = v->tr.attr & 8; /* 32-bit TSS */
    unsigned offset = wide ? 4 + cpl * 8 : 2 + cpl * 4;
    unsigned size = wide ? 4 : 2;
    if (offset + 2 * size - 1 > v->tr.limit)
        raise_ts(v, v->tr.selector);
    *sp = mmu_read_system(v, lin_wrap(v, v->tr.base + offset), size);
    *ss = (u16)mmu_read_system(v, lin_wrap(v, v->tr.base + offset + size), 2);
}

u64 tss_read_rsp(struct vcpu *v, unsigned cpl, unsigned ist)
{
    unsigned offset = ist ? 0x24 + (ist - 1) * 8 : 4 + cpl * 8;
    if (offset + 7 > v->tr.limit)
        raise_ts(v, v->tr.selector);
    u64 rsp = mmu_read_system(v, v->tr.base + offset, 8);
    if (!is_canonical(rsp))
        cpu_raise_error(v, EXC_SS, 0);
    return rsp;
}

void tss_check_ss(struct vcpu *v, u16 selector, unsigned cpl, struct segreg *out)
{
    struct desc d;
    if (selector_is_null(selector))
        raise_ts(v, 0);
    desc_load(v, selector, EXC_TS, &d);
    if ((selector & 3) != cpl || desc_dpl(&d) != cpl || !desc_is_writable_data(&d))
        raise_ts(v, selector);
    if (!desc_present(&d))
        cpu_raise_error(v, EXC_SS, selector_error(selector));
    desc_set_accessed(v, &d);
    desc_to_segreg(&d, cpl, out);
}
