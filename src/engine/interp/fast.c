/* Fast handlers: which instructions have one, and their operand fields. */
#include "engine/interp/fast.h"
#include "engine/interp/operand.h"

u64 fast_read_slow(struct vcpu *v, unsigned seg, u64 lin, unsigned size)
{
    if (unlikely(!is_canonical(lin) || !is_canonical(lin + size - 1)))
        cpu_raise_error(v, seg == SS ? EXC_SS : EXC_GP, 0);
    return mmu_read_slow(v, lin, size, v->mmu_index);
}

void fast_write_slow(struct vcpu *v, unsigned seg, u64 lin, unsigned size, u64 value)
{
    if (unlikely(!is_canonical(lin) || !is_canonical(lin + size - 1)))
        cpu_raise_error(v, seg == SS ? EXC_SS : EXC_GP, 0);
    mmu_write_slow(v, lin, size, value, v->mmu_index);
}

_Static_assert(offsetof(struct vcpu, zero) < 256 && offsetof(struct vcpu, rip) < 256,
               "register operands are one-byte offsets into struct vcpu");

static u8 register_offset(unsigned reg, bool high)
{
    return (u8)(offsetof(struct vcpu, gpr) + reg * 8 + high);
}

static u8 address_offset(unsigned reg)
{
    if (reg < 16)
        return register_offset(reg, false);
    return reg == MEM_REG_RIP ? offsetof(struct vcpu, rip) : offsetof(struct vcpu, zero);
}

/* Fills the memory operand's fields and says which forms can use it. */
static enum fast_mode set_memory(struct op *op, const struct insn *insn)
{
    const struct insn_mem *m = &insn->mem;
    unsigned adsize = insn->adsize;
    bool code64 = (insn->mode & DECODE_BITS) == DECODE_64;
    s64 disp = m->disp + (m->base == MEM_REG_RIP ? insn->len : 0);
    if (disp != (s32)disp || adsize != (code64 ? 8 : 4) || m->vsib || m->seg >= SREG_COUNT)
        return FAST_NONE;
    op->disp = (s32)disp;
    op->base = address_offset(m->base);
    op->index = address_offset(m->index);
    op->scale = m->scale;
    op->seg = m->seg;
    op->seg_base = code64 && m->seg >= FS
                       ? (u16)(offsetof(struct vcpu, seg) + m->seg * sizeof(struct segreg) +
                               offsetof(struct segreg, base))
                       : (u16)offsetof(struct vcpu, zero);
    return code64 ? FAST_64 : FAST_32;
}

/* dst is the first register operand, src the second; the immediate in full. */
static void set_operands(struct op *op, const struct insn *insn)
{
    op->imm = insn->imm;
    op->dst = op->src = offsetof(struct vcpu, zero);
    for (unsigned i = 0; i < insn->nopnds && i < 2; i++) {
        const struct opnd *o = &insn->opnd[i];
        u8 off = o->kind == OPND_GPR ? register_offset(o->reg, o->high) : (u8)offsetof(struct vcpu, zero);
        *(i == 0 ? &op->dst : &op->src) = off;
    }
}

enum fast_form fast_form(const struct insn *insn)
{
    unsigned a = insn->opnd[0].kind, b = insn->opnd[1].kind;
    if (insn->nopnds != 2)
        return FORM_NONE;
    if (a == OPND_GPR)
        return b == OPND_GPR ? FORM_RR : b == OPND_IMM ? FORM_RI : b == OPND_MEM ? FORM_RM : FORM_NONE;
    if (a == OPND_MEM)
        return b == OPND_GPR ? FORM_MR : b == OPND_IMM ? FORM_MI : FORM_NONE;
    return FORM_NONE;
}

op_handler fast_select(struct op *op, const struct insn *insn)
{
    if (insn_locked(insn) || insn->info->klass > CLASS_BRANCH)
        return NULL;
    enum fast_mode mode = (insn->mode & DECODE_BITS) == DECODE_64 ? FAST_64 : FAST_32;
    set_operands(op, insn);
    if (insn_mem_opnd(insn)) {
        mode = set_memory(op, insn);
        if (mode == FAST_NONE)
            return NULL;
    }
    unsigned size = insn->opnd[0].size <= 8 && insn->opnd[0].size ? size_index(insn->opnd[0].size) : 0;
    if (insn->info->klass == CLASS_BRANCH)
        return fast_flow(op, insn, mode, size);
    op_handler fn = fast_move(op, insn, mode, size);
    if (!fn)
        fn = fast_alu(op, insn, mode, size);
    if (!fn)
        fn = fast_shift(op, insn, mode, size);
    return fn ? fn : fast_flow(op, insn, mode, size);
}
