/* Fast handlers of two-operand arithmetic and logic. */
#include "engine/interp/fast.h"

/* The forms that write their destination. */
#define ALU_REG(bits, name)                                                                                  \
    FAST(name##_rr_##bits)                                                                                   \
    {                                                                                                        \
        u64 flags = v->rflags;                                                                               \
        u##bits r = alu_##name##_##bits(OP_REG(bits, op->dst), OP_REG(bits, op->src), &flags);               \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_ri_##bits)                                                                                   \
    {                                                                                                        \
        u64 flags = v->rflags;                                                                               \
        u##bits r = alu_##name##_##bits(OP_REG(bits, op->dst), (u##bits)op->imm, &flags);                    \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }
#define ALU_MEM(bits, name, mode)                                                                            \
    FAST(name##_rm_##bits##_##mode)                                                                          \
    {                                                                                                        \
        u##bits b = OP_LOAD(bits, mode);                                                                     \
        u64 flags = v->rflags;                                                                               \
        u##bits r = alu_##name##_##bits(OP_REG(bits, op->dst), b, &flags);                                   \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    static inline void name##_m_##bits##_##mode(struct vcpu *v, const struct op *op, u##bits b)              \
    {                                                                                                        \
        guest_u##bits *p = fast_modify(v, op_linear_##mode(v, op, bits / 8, MMU_WRITE), bits / 8);           \
        u64 flags = v->rflags;                                                                               \
        if (unlikely(!p)) {                                                                                  \
            op_run_general(v, op);                                                                           \
            return;                                                                                          \
        }                                                                                                    \
        *p = alu_##name##_##bits(*p, b, &flags);                                                             \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_mr_##bits##_##mode)                                                                          \
    {                                                                                                        \
        name##_m_##bits##_##mode(v, op, OP_REG(bits, op->src));                                              \
    }                                                                                                        \
    FAST(name##_mi_##bits##_##mode)                                                                          \
    {                                                                                                        \
        name##_m_##bits##_##mode(v, op, (u##bits)op->imm);                                                   \
    }

/* The forms that only set flags. */
#define FLAGS_REG(bits, name)                                                                                \
    FAST(name##_rr_##bits)                                                                                   \
    {                                                                                                        \
        alu_##name##_##bits(OP_REG(bits, op->dst), OP_REG(bits, op->src), &v->rflags);                       \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_ri_##bits)                                                                                   \
    {                                                                                                        \
        alu_##name##_##bits(OP_REG(bits, op->dst), (u##bits)op->imm, &v->rflags);                            \
        OP_DONE;                                                                                             \
    }
#define FLAGS_MEM(bits, name, mode)                                                                          \
    FAST(name##_rm_##bits##_##mode)                                                                          \
    {                                                                                                        \
        u##bits b = OP_LOAD(bits, mode);                                                                     \
        alu_##name##_##bits(OP_REG(bits, op->dst), b, &v->rflags);                                           \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_mr_##bits##_##mode)                                                                          \
    {                                                                                                        \
        u##bits a = OP_LOAD(bits, mode);                                                                     \
        alu_##name##_##bits(a, OP_REG(bits, op->src), &v->rflags);                                           \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_mi_##bits##_##mode)                                                                          \
    {                                                                                                        \
        u##bits a = OP_LOAD(bits, mode);                                                                     \
        alu_##name##_##bits(a, (u##bits)op->imm, &v->rflags);                                                \
        OP_DONE;                                                                                             \
    }

#define SIZES_OF(handler)                                                                                    \
    {                                                                                                        \
        handler##_8, handler##_16, handler##_32, handler##_64                                                \
    }
#define SIZES_OF_MODE(handler, mode)                                                                         \
    {                                                                                                        \
        handler##_8_##mode, handler##_16_##mode, handler##_32_##mode, handler##_64_##mode                    \
    }

#define TABLE(name)                                                                                          \
    static const op_handler name##_table[2][FORM_COUNT][4] = {                                               \
        {SIZES_OF(name##_rr), SIZES_OF(name##_ri), SIZES_OF_MODE(name##_rm, 64),                             \
         SIZES_OF_MODE(name##_mr, 64), SIZES_OF_MODE(name##_mi, 64)},                                        \
        {SIZES_OF(name##_rr), SIZES_OF(name##_ri), SIZES_OF_MODE(name##_rm, 32),                             \
         SIZES_OF_MODE(name##_mr, 32), SIZES_OF_MODE(name##_mi, 32)},                                        \
    };

#define MODIFYING(name)                                                                                      \
    FOR_SIZES(ALU_REG, name)                                                                                 \
    FOR_SIZES(ALU_MEM, name, 64)                                                                             \
    FOR_SIZES(ALU_MEM, name, 32)                                                                             \
    TABLE(name)
#define COMPARING(name)                                                                                      \
    FOR_SIZES(FLAGS_REG, name)                                                                               \
    FOR_SIZES(FLAGS_MEM, name, 64)                                                                           \
    FOR_SIZES(FLAGS_MEM, name, 32)                                                                           \
    TABLE(name)

MODIFYING(add)
MODIFYING(or)
MODIFYING(adc)
MODIFYING(sbb)
MODIFYING(and)
MODIFYING(sub)
MODIFYING(xor)
COMPARING(cmp)
COMPARING(test)

/* INC, DEC, NEG: the second argument of the ALU function is not used. NOT has no flags. */
static inline u64 alu_not_any(u64 a)
{
    return ~a;
}
#define alu_not_8(a, b, f)  ((u8)alu_not_any(a))
#define alu_not_16(a, b, f) ((u16)alu_not_any(a))
#define alu_not_32(a, b, f) ((u32)alu_not_any(a))
#define alu_not_64(a, b, f) alu_not_any(a)

#define UNARY_REG(bits, name)                                                                                \
    FAST(name##_r_##bits)                                                                                    \
    {                                                                                                        \
        u64 flags = v->rflags;                                                                               \
        u##bits r = alu_##name##_##bits(OP_REG(bits, op->dst), 0, &flags);                                   \
        OP_REG_SET(bits, op->dst, r);                                                                        \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }
#define UNARY_MEM(bits, name, mode)                                                                          \
    FAST(name##_m_##bits##_##mode)                                                                           \
    {                                                                                                        \
        guest_u##bits *p = fast_modify(v, op_linear_##mode(v, op, bits / 8, MMU_WRITE), bits / 8);           \
        u64 flags = v->rflags;                                                                               \
        if (unlikely(!p)) {                                                                                  \
            op_run_general(v, op);                                                                           \
            return;                                                                                          \
        }                                                                                                    \
        *p = alu_##name##_##bits(*p, 0, &flags);                                                             \
        v->rflags = flags;                                                                                   \
        OP_DONE;                                                                                             \
    }
#define UNARY(name)                                                                                          \
    FOR_SIZES(UNARY_REG, name)                                                                               \
    FOR_SIZES(UNARY_MEM, name, 64)                                                                           \
    FOR_SIZES(UNARY_MEM, name, 32)                                                                           \
    static const op_handler name##_table[3][4] = {SIZES_OF_MODE(name##_m, 64), SIZES_OF_MODE(name##_m, 32),  \
                                                  SIZES_OF(name##_r)};
UNARY(inc)
UNARY(dec)
UNARY(neg)
UNARY(not )

static const op_handler (*binary_table(unsigned id))[FORM_COUNT][4]
{
    switch (id) {
    case INSN_ADD:
        return add_table;
    case INSN_OR:
        return or_table;
    case INSN_ADC:
        return adc_table;
    case INSN_SBB:
        return sbb_table;
    case INSN_AND:
        return and_table;
    case INSN_SUB:
        return sub_table;
    case INSN_XOR:
        return xor_table;
    case INSN_CMP:
        return cmp_table;
    case INSN_TEST:
        return test_table;
    default:
        return NULL;
    }
}

op_handler fast_alu(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size)
{
    bool memory = insn->opnd[0].kind == OPND_MEM;
    switch (insn->id) {
    case INSN_INC:
        return inc_table[memory ? mode : 2][size];
    case INSN_DEC:
        return dec_table[memory ? mode : 2][size];
    case INSN_NEG:
        return neg_table[memory ? mode : 2][size];
    case INSN_NOT:
        return not_table[memory ? mode : 2][size];
    }
    const op_handler(*table)[FORM_COUNT][4] = binary_table(insn->id);
    enum fast_form form = fast_form(insn);
    return table && form != FORM_NONE ? table[mode][form][size] : NULL;
}
