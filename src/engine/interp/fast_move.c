/* Fast handlers of moves: MOV, MOVZX, MOVSX, LEA, CMOVcc, SETcc, XCHG of registers, CBW, CWD, BT, hints. */
#include "engine/interp/fast.h"

#define MOV_REG(bits)                                                                                        \
    FAST(mov_rr_##bits)                                                                                      \
    {                                                                                                        \
        OP_REG_SET(bits, op->dst, OP_REG(bits, op->src));                                                    \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(mov_ri_##bits)                                                                                      \
    {                                                                                                        \
        OP_REG_SET(bits, op->dst, op->imm);                                                                  \
        OP_DONE;                                                                                             \
    }
#define MOV_MEM(bits, mode)                                                                                  \
    FAST(mov_rm_##bits##_##mode)                                                                             \
    {                                                                                                        \
        u##bits value = OP_LOAD(bits, mode);                                                                 \
        OP_REG_SET(bits, op->dst, value);                                                                    \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(mov_mr_##bits##_##mode)                                                                             \
    {                                                                                                        \
        OP_STORE(bits, mode, OP_REG(bits, op->src));                                                         \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(mov_mi_##bits##_##mode)                                                                             \
    {                                                                                                        \
        OP_STORE(bits, mode, op->imm);                                                                       \
        OP_DONE;                                                                                             \
    }
FOR_SIZES(MOV_REG)
FOR_SIZES(MOV_MEM, 64)
FOR_SIZES(MOV_MEM, 32)

#define MOV_FORMS(mode)                                                                                      \
    {                                                                                                        \
        {mov_rr_8, mov_rr_16, mov_rr_32, mov_rr_64}, {mov_ri_8, mov_ri_16, mov_ri_32, mov_ri_64},            \
            {mov_rm_8_##mode, mov_rm_16_##mode, mov_rm_32_##mode, mov_rm_64_##mode},                         \
            {mov_mr_8_##mode, mov_mr_16_##mode, mov_mr_32_##mode, mov_mr_64_##mode},                         \
            {mov_mi_8_##mode, mov_mi_16_##mode, mov_mi_32_##mode, mov_mi_64_##mode},                         \
    }
static const op_handler mov_table[2][FORM_COUNT][4] = {MOV_FORMS(64), MOV_FORMS(32)};

/* MOVZX, MOVSX, MOVSXD: by source size (1, 2, 4) and destination size. */
#define EXTEND(to, from, name, type)                                                                         \
    FAST(name##_##to##_##from##_rr)                                                                          \
    {                                                                                                        \
        OP_REG_SET(to, op->dst, (type##to)(type##from)OP_REG(from, op->src));                                \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_##to##_##from##_rm_64)                                                                       \
    {                                                                                                        \
        type##from value = (type##from)OP_LOAD(from, 64);                                                    \
        OP_REG_SET(to, op->dst, (type##to)value);                                                            \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(name##_##to##_##from##_rm_32)                                                                       \
    {                                                                                                        \
        type##from value = (type##from)OP_LOAD(from, 32);                                                    \
        OP_REG_SET(to, op->dst, (type##to)value);                                                            \
        OP_DONE;                                                                                             \
    }
#define EXTENDS(name, type)                                                                                  \
    EXTEND(16, 8, name, type)                                                                                \
    EXTEND(32, 8, name, type)                                                                                \
    EXTEND(64, 8, name, type)                                                                                \
    EXTEND(32, 16, name, type)                                                                               \
    EXTEND(64, 16, name, type)                                                                               \
    EXTEND(64, 32, name, type)                                                                               \
    static const op_handler name##_table[3][4][3] = {                                                        \
        {{0},                                                                                                \
         {name##_16_8_rm_64},                                                                                \
         {name##_32_8_rm_64, name##_32_16_rm_64},                                                            \
         {name##_64_8_rm_64, name##_64_16_rm_64, name##_64_32_rm_64}},                                       \
        {{0},                                                                                                \
         {name##_16_8_rm_32},                                                                                \
         {name##_32_8_rm_32, name##_32_16_rm_32},                                                            \
         {name##_64_8_rm_32, name##_64_16_rm_32, name##_64_32_rm_32}},                                       \
        {{0},                                                                                                \
         {name##_16_8_rr},                                                                                   \
         {name##_32_8_rr, name##_32_16_rr},                                                                  \
         {name##_64_8_rr, name##_64_16_rr, name##_64_32_rr}},                                                \
    };
EXTENDS(movzx, u)
EXTENDS(movsx, s)

FAST(lea_16)
{
    OP_REG_SET(16, op->dst, op_ea(v, op));
    OP_DONE;
}
FAST(lea_32)
{
    OP_REG_SET(32, op->dst, op_ea(v, op));
    OP_DONE;
}
FAST(lea_64)
{
    OP_REG_SET(64, op->dst, op_ea(v, op));
    OP_DONE;
}

#define XCHG(bits)                                                                                           \
    FAST(xchg_##bits)                                                                                        \
    {                                                                                                        \
        u##bits a = OP_REG(bits, op->dst), b = OP_REG(bits, op->src);                                        \
        OP_REG_SET(bits, op->dst, b);                                                                        \
        OP_REG_SET(bits, op->src, a);                                                                        \
        OP_DONE;                                                                                             \
    }
FOR_SIZES(XCHG)

/* One handler per condition. */
#define FOR_CONDITIONS(X, ...)                                                                               \
    X(0, ##__VA_ARGS__)                                                                                      \
    X(1, ##__VA_ARGS__)                                                                                      \
    X(2, ##__VA_ARGS__)                                                                                      \
    X(3, ##__VA_ARGS__)                                                                                      \
    X(4, ##__VA_ARGS__)                                                                                      \
    X(5, ##__VA_ARGS__)                                                                                      \
    X(6, ##__VA_ARGS__)                                                                                      \
    X(7, ##__VA_ARGS__)                                                                                      \
    X(8, ##__VA_ARGS__)                                                                                      \
    X(9, ##__VA_ARGS__)                                                                                      \
    X(10, ##__VA_ARGS__)                                                                                     \
    X(11, ##__VA_ARGS__)                                                                                     \
    X(12, ##__VA_ARGS__)                                                                                     \
    X(13, ##__VA_ARGS__)                                                                                     \
    X(14, ##__VA_ARGS__)                                                                                     \
    X(15, ##__VA_ARGS__)
#define CMOV_RR(cc, bits)                                                                                    \
    FAST(cmov_rr_##cc##_##bits)                                                                              \
    {                                                                                                        \
        u##bits value = flags_test(v->rflags, cc) ? OP_REG(bits, op->src) : OP_REG(bits, op->dst);           \
        OP_REG_SET(bits, op->dst, value);                                                                    \
        OP_DONE;                                                                                             \
    }
#define CMOV_RM(cc, bits)                                                                                    \
    FAST(cmov_rm_##cc##_##bits)                                                                              \
    {                                                                                                        \
        u##bits value = OP_LOAD(bits, 64);                                                                   \
        value = flags_test(v->rflags, cc) ? value : OP_REG(bits, op->dst);                                   \
        OP_REG_SET(bits, op->dst, value);                                                                    \
        OP_DONE;                                                                                             \
    }
#define SETCC(cc)                                                                                            \
    FAST(set_##cc)                                                                                           \
    {                                                                                                        \
        OP_REG(8, op->dst) = flags_test(v->rflags, cc);                                                      \
        OP_DONE;                                                                                             \
    }
FOR_CONDITIONS(CMOV_RR, 32)
FOR_CONDITIONS(CMOV_RR, 64)
FOR_CONDITIONS(CMOV_RM, 32)
FOR_CONDITIONS(CMOV_RM, 64)
FOR_CONDITIONS(SETCC)
#define CONDITION_ENTRY(cc, name) name##_##cc,
#define CMOV_ENTRY(cc)            {{cmov_rr_##cc##_32, cmov_rr_##cc##_64}, {cmov_rm_##cc##_32, cmov_rm_##cc##_64}},
static const op_handler set_table[16] = {FOR_CONDITIONS(CONDITION_ENTRY, set)};
static const op_handler cmov_table[16][2][2] = {FOR_CONDITIONS(CMOV_ENTRY)};

FAST(cwde)
{
    v->gpr[RAX] = (u32)(s32)(s16)v->gpr[RAX];
    OP_DONE;
}
FAST(cdqe)
{
    v->gpr[RAX] = (u64)(s64)(s32)v->gpr[RAX];
    OP_DONE;
}
FAST(cdq)
{
    v->gpr[RDX] = (u32)((s32)v->gpr[RAX] >> 31);
    OP_DONE;
}
FAST(cqo)
{
    v->gpr[RDX] = (u64)((s64)v->gpr[RAX] >> 63);
    OP_DONE;
}

/* BT of a register. */
#define BT_REG(bits)                                                                                         \
    FAST(bt_rr_##bits)                                                                                       \
    {                                                                                                        \
        alu_bt_##bits(OP_REG(bits, op->dst), OP_REG(bits, op->src), &v->rflags);                             \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(bt_ri_##bits)                                                                                       \
    {                                                                                                        \
        alu_bt_##bits(OP_REG(bits, op->dst), op->imm, &v->rflags);                                           \
        OP_DONE;                                                                                             \
    }
BT_REG(32)
BT_REG(64)

FAST(nop)
{
    OP_DONE;
}

static op_handler select_mov(const struct insn *insn, enum fast_mode mode, unsigned size)
{
    enum fast_form form = fast_form(insn);
    return form == FORM_NONE ? NULL : mov_table[mode][form][size];
}

static op_handler select_extend(const op_handler table[3][4][3], const struct insn *insn, enum fast_mode mode,
                                unsigned size)
{
    unsigned from = (unsigned)__builtin_ctz(insn->opnd[1].size);
    if (from > 2 || from >= size)
        return NULL;
    return table[insn->opnd[1].kind == OPND_MEM ? (unsigned)mode : 2][size][from];
}

static op_handler select_cmov(const struct insn *insn, enum fast_mode mode, unsigned size)
{
    bool memory = insn->opnd[1].kind == OPND_MEM;
    if (size < 2 || (memory && mode != FAST_64))
        return NULL;
    return cmov_table[insn->opcode & 15][memory][size - 2];
}

static op_handler select_xchg(const struct insn *insn, unsigned size)
{
    static const op_handler table[4] = {xchg_8, xchg_16, xchg_32, xchg_64};
    return fast_form(insn) == FORM_RR ? table[size] : NULL;
}

static op_handler select_bt(const struct insn *insn, unsigned size)
{
    if (insn->opnd[0].kind != OPND_GPR || size < 2)
        return NULL;
    if (insn->opnd[1].kind == OPND_GPR)
        return size == 2 ? bt_rr_32 : bt_rr_64;
    return size == 2 ? bt_ri_32 : bt_ri_64;
}

op_handler fast_move(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size)
{
    static const op_handler lea[4] = {NULL, lea_16, lea_32, lea_64};
    if (insn->info->attrs & ATTR_HINT)
        return insn->id == INSN_PAUSE ? NULL : nop;
    switch (insn->id) {
    case INSN_MOV:
        return select_mov(insn, mode, size);
    case INSN_MOVZX:
        return select_extend(movzx_table, insn, mode, size);
    case INSN_MOVSX:
    case INSN_MOVSXD:
        return select_extend(movsx_table, insn, mode, size);
    case INSN_LEA:
        return insn->opsize <= insn->adsize ? lea[size] : NULL;
    case INSN_XCHG:
        return select_xchg(insn, size);
    case INSN_CMOVCC:
        return select_cmov(insn, mode, size);
    case INSN_SETCC:
        return insn->opnd[0].kind == OPND_GPR ? set_table[insn->opcode & 15] : NULL;
    case INSN_BT:
        return select_bt(insn, size);
    case INSN_CBW:
        return insn->opsize == 4 ? cwde : insn->opsize == 8 ? cdqe : NULL;
    case INSN_CWD:
        return insn->opsize == 4 ? cdq : insn->opsize == 8 ? cqo : NULL;
    default:
        return NULL;
    }
}
