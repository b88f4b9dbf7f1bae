/* Stack instructions. Everything is checked and written before rSP moves. */
#include "engine/interp/dispatch.h"
#include "engine/interp/push.h"

/* Also of a segment register, zero-extended to the operand size. PUSH SP pushes the old value. */
void push_push(struct vcpu *v, const struct insn *insn)
{
    stack_push_value(v, insn->opsize, interp_read(v, insn, 0));
}

/* A memory destination whose address contains rSP sees it already moved. */
void push_pop(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    u64 value = stack_peek(v, 0, size), old = v->gpr[RSP];
    const struct opnd *o = &insn->opnd[0];
    if (o->kind == OPND_MEM) {
        stack_set(v, old + size);
        u64 ea = interp_ea(v, insn);
        v->gpr[RSP] = old;
        interp_store(v, seg_linear(v, insn->mem.seg, ea, size, MMU_WRITE), size, value);
        stack_set(v, old + size);
    } else {
        stack_set(v, old + size);
        interp_gpr_write(v, o->reg, size, false, value);
    }
}

void push_pop_seg(struct vcpu *v, const struct insn *insn)
{
    unsigned seg = insn->opnd[0].reg;
    u16 selector = (u16)stack_peek(v, 0, insn->opsize);
    u64 mask = v->stack_mask, sp = v->gpr[RSP] + insn->opsize;
    seg_load(v, seg, selector);
    /* POP SS: rSP moves by the old stack's width. */
    if (mask == 0xffff)
        store_le16(&v->gpr[RSP], (u16)sp);
    else
        v->gpr[RSP] = sp & mask;
    if (seg == SS)
        v->attention |= ATTN_SHADOW_MOVSS;
}

void push_pusha(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    /* Each slot is checked before the first is written: a fault leaves the stack as it was. */
    for (unsigned i = 1; i <= 8; i++)
        mmu_probe(v, stack_at(v, -(s64)(i * size), size, MMU_WRITE), size, MMU_WRITE, v->mmu_index);
    for (unsigned i = 0; i < 8; i++)
        interp_store(v, stack_at(v, -(s64)((i + 1) * size), size, MMU_WRITE), size, v->gpr[i]);
    stack_set(v, v->gpr[RSP] - 8 * size);
}

void push_popa(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    u64 value[8];
    for (unsigned i = 0; i < 8; i++)
        value[i] = stack_peek(v, i * size, size);
    for (unsigned i = 0; i < 8; i++)
        if (7 - i != RSP)
            interp_gpr_write(v, 7 - i, size, false, value[i]);
    stack_set(v, v->gpr[RSP] + 8 * size);
}

/* In virtual-8086 mode with IOPL < 3: may PUSHF, POPF go on with VIF in IF's place (SDM vol. 3 20.3)? */
static bool v86_virtual_flags(struct vcpu *v, unsigned opsize)
{
    if (!cpu_is_v86(v) || cpu_iopl(v) == 3)
        return false;
    if (!(v->cr4 & CR4_VME) || opsize != 2)
        cpu_raise_gp0(v);
    return true;
}

void push_pushf(struct vcpu *v, const struct insn *insn)
{
    u64 image = v->rflags & ~(u64)(FLAG_RF | FLAG_VM);
    if (v86_virtual_flags(v, insn->opsize)) {
        image = (image & ~(u64)FLAG_IF) | FLAG_IOPL;
        if (v->rflags & FLAG_VIF)
            image |= FLAG_IF;
    }
    stack_push_value(v, insn->opsize, image);
}

void push_popf(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    u64 mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
    u64 value = 0;
    if (v86_virtual_flags(v, size)) {
        value = stack_peek(v, 0, size);
        if ((value & FLAG_TF) || ((value & FLAG_IF) && (v->rflags & FLAG_VIP)))
            cpu_raise_gp0(v);
        mask |= FLAG_VIF;
        if (value & FLAG_IF)
            value |= FLAG_VIF;
    } else {
        value = stack_peek(v, 0, size);
        if (v->cpl == 0)
            mask |= FLAG_IOPL;
        if (v->cpl <= cpu_iopl(v))
            mask |= FLAG_IF;
        if (size > 2) {
            mask |= FLAG_AC | FLAG_ID | FLAG_RF; /* RF is cleared */
            value &= ~(u64)FLAG_RF;
        }
    }
    stack_set(v, v->gpr[RSP] + size);
    cpu_set_flags(v, value, mask);
}

/* The frame's slots below the pushed rBP: copies of the outer frames' pointers, then its own. */
static void enter_nested(struct vcpu *v, unsigned size, unsigned level, u64 frame, u64 *sp)
{
    u64 bp = v->gpr[RBP];
    for (unsigned i = 1; i < level; i++) {
        bp -= size;
        u64 outer = interp_load(v, seg_linear(v, SS, bp & v->stack_mask, size, MMU_READ), size);
        *sp -= size;
        interp_store(v, seg_linear(v, SS, *sp & v->stack_mask, size, MMU_WRITE), size, outer);
    }
    *sp -= size;
    interp_store(v, seg_linear(v, SS, *sp & v->stack_mask, size, MMU_WRITE), size, frame);
}

void push_enter(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize, level = insn->imm2 & 31;
    u64 sp = v->gpr[RSP] - size;
    interp_store(v, seg_linear(v, SS, sp & v->stack_mask, size, MMU_WRITE), size, v->gpr[RBP]);
    u64 frame = sp & v->stack_mask;
    if (v->stack_mask == 0xffff) /* the upper half of ESP goes into EBP with a 32-bit operand */
        frame |= v->gpr[RSP] & 0xffff0000;
    if (level)
        enter_nested(v, size, level, frame, &sp);
    sp -= insn->imm;
    /* The new top of the stack must be writable (SDM vol. 2A: the final check of ENTER). */
    u64 top = seg_linear(v, SS, sp & v->stack_mask, size, MMU_WRITE);
    if (v->mmu_index == MMU_USER_ALIGN && (top & (size - 1)))
        cpu_raise_error(v, EXC_AC, 0);
    mmu_probe(v, top, size, MMU_WRITE, v->mmu_index);
    stack_set(v, sp);
    interp_gpr_write(v, RBP, size, false, frame);
}

void push_leave(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    u64 bp = v->gpr[RBP] & v->stack_mask;
    u64 value = interp_load(v, seg_linear(v, SS, bp, size, MMU_READ), size);
    stack_set(v, bp + size);
    interp_gpr_write(v, RBP, size, false, value);
}
