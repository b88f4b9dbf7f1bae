/* Fast handlers of shifts of registers, and of multiplication with a truncated product. */
#include "engine/interp/fast.h"

#define SHIFT_REG(bits, name)                                                                                \
    FAST(name##_ri_##bits)                                                                                   \
    {                                                                                                        \
        u64 flags = v->rflags;                                                                               \
        u##bits r = alu_##name##_##bits(OP_REG(bits, op->dst), (u8)op->imm, &flags);                         \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_rr_##bits)                                                                                   \
    {                                                                                                        \
        u64 flags = v->rflags;                                                                               \
        u##bits r = alu_##name##_##bits(OP_REG(bits, op->dst), (u8)v->gpr[RCX], &flags);                     \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }
#define SHIFT(name)                                                                                          \
    FOR_SIZES(SHIFT_REG, name)                                                                               \
    static const op_handler name##_table[2][4] = {                                                           \
        {name##_rr_8, name##_rr_16, name##_rr_32, name##_rr_64},                                             \
        {name##_ri_8, name##_ri_16, name##_ri_32, name##_ri_64},                                             \
    };
SHIFT(rol)
SHIFT(ror)
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)

#define IMUL(bits)                                                                                           \
    FAST(imul_rr_##bits)                                                                                     \
    {                                                                                                        \
        u64 r = alu_imul_##bits(OP_REG(bits, op->dst), OP_REG(bits, op->src), &v->rflags);                   \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(imul_rri_##bits)                                                                                    \
    {                                                                                                        \
        u64 r = alu_imul_##bits(OP_REG(bits, op->src), op->imm, &v->rflags);                                 \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(imul_rm_##bits##_64)                                                                                \
    {                                                                                                        \
        u64 b = OP_LOAD(bits, 64);                                                                           \
        u64 r = alu_imul_##bits(OP_REG(bits, op->dst), b, &v->rflags);                                       \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        OP_DONE;                                                                                             \
    }
IMUL(32)
IMUL(64)

static op_handler select_imul(const struct insn *insn, enum fast_mode mode, bool wide)
{
    if (insn->opnd[0].size < 4 || insn->nopnds < 2)
        return NULL;
    if (insn->nopnds == 3)
        return insn->opnd[1].kind != OPND_GPR ? NULL : wide ? imul_rri_64 : imul_rri_32;
    if (insn->opnd[1].kind == OPND_GPR)
        return wide ? imul_rr_64 : imul_rr_32;
    return mode != FAST_64 ? NULL : wide ? imul_rm_64_64 : imul_rm_32_64;
}

op_handler fast_shift(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size)
{
    if (insn->id == INSN_IMUL)
        return select_imul(insn, mode, size == 3);
    if (insn->opnd[0].kind != OPND_GPR || insn->nopnds != 2)
        return NULL;
    bool imm = insn->opnd[1].kind == OPND_IMM;
    switch (insn->id) {
    case INSN_ROL:
        return rol_table[imm][size];
    case INSN_ROR:
        return ror_table[imm][size];
    case INSN_SHL:
        return shl_table[imm][size];
    case INSN_SHR:
        return shr_table[imm][size];
    case INSN_SAR:
        return sar_table[imm][size];
    default:
        return NULL;
    }
}
