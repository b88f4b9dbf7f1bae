/*
 * Fast handlers of near branches, PUSH, POP and LEAVE: in 64-bit mode with 64-bit operands and in 32-bit
 * segments with 32-bit ones. op->imm is a direct branch's target.
 */
#include "engine/interp/fast.h"

/* The stack of each mode: linear address of `delta` bytes from the top, and moving it. The _32 forms are
 * chosen for 32-bit code; with a 16-bit stack they leave the work to the general handler. */
static inline u64 stack_linear_64(struct vcpu *v, s64 delta, enum mmu_access access)
{
    return v->gpr[RSP] + (u64)delta;
}

static inline u64 stack_linear_32(struct vcpu *v, s64 delta, enum mmu_access access)
{
    return segment_linear_32(v, SS, (u32)(v->gpr[RSP] + (u64)delta), 4, access);
}

#define STACK_OK_64(v)          true
#define STACK_OK_32(v)          likely(v->stack_mask == 0xffffffff)
#define STACK_MOVE_64(v, delta) v->gpr[RSP] += (u64)(s64)(delta)
#define STACK_MOVE_32(v, delta) v->gpr[RSP] = (u32)(v->gpr[RSP] + (u64)(s64)(delta))
#define TARGET_OK_64(v, rip)    likely(is_canonical(rip))
#define TARGET_OK_32(v, rip)    likely((rip) <= v->seg[CS].limit)

#define GENERAL_UNLESS(cond)                                                                                 \
    if (!(cond)) {                                                                                           \
        op_run_general(v, op);                                                                               \
        return;                                                                                              \
    }

#define PUSH_VALUE(mode, value)                                                                              \
    fast_write(v, SS, stack_linear_##mode(v, -(mode / 8), MMU_WRITE), mode / 8, value);                      \
    STACK_MOVE_##mode(v, -(mode / 8))

#define STACK(mode)                                                                                          \
    FAST(push_r_##mode)                                                                                      \
    {                                                                                                        \
        GENERAL_UNLESS(STACK_OK_##mode(v))                                                                   \
        PUSH_VALUE(mode, OP_REG(mode, op->dst));                                                             \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(push_i_##mode)                                                                                      \
    {                                                                                                        \
        GENERAL_UNLESS(STACK_OK_##mode(v))                                                                   \
        PUSH_VALUE(mode, op->imm);                                                                           \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(push_m_##mode)                                                                                      \
    {                                                                                                        \
        GENERAL_UNLESS(STACK_OK_##mode(v))                                                                   \
        u##mode value = OP_LOAD(mode, mode);                                                                 \
        PUSH_VALUE(mode, value);                                                                             \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(pop_r_##mode)                                                                                       \
    {                                                                                                        \
        GENERAL_UNLESS(STACK_OK_##mode(v))                                                                   \
        u##mode value = (u##mode)fast_read(v, SS, stack_linear_##mode(v, 0, MMU_READ), mode / 8);            \
        STACK_MOVE_##mode(v, mode / 8);                                                                      \
        OP_REG_SET(mode, op->dst, value);                                                                    \
        OP_DONE;                                                                                             \
    }                                                                                                        \
    FAST(call_##mode)                                                                                        \
    {                                                                                                        \
        u64 target = op->imm;                                                                                \
        GENERAL_UNLESS(STACK_OK_##mode(v) && TARGET_OK_##mode(v, target))                                    \
        PUSH_VALUE(mode, op->next_rip);                                                                      \
        v->rip = target;                                                                                     \
    }                                                                                                        \
    FAST(call_r_##mode)                                                                                      \
    {                                                                                                        \
        u64 target = OP_REG(mode, op->dst);                                                                  \
        GENERAL_UNLESS(STACK_OK_##mode(v) && TARGET_OK_##mode(v, target))                                    \
        PUSH_VALUE(mode, op->next_rip);                                                                      \
        v->rip = target;                                                                                     \
    }                                                                                                        \
    FAST(call_m_##mode)                                                                                      \
    {                                                                                                        \
        u64 target = OP_LOAD(mode, mode);                                                                    \
        GENERAL_UNLESS(STACK_OK_##mode(v) && TARGET_OK_##mode(v, target))                                    \
        PUSH_VALUE(mode, op->next_rip);                                                                      \
        v->rip = target;                                                                                     \
    }                                                                                                        \
    FAST(ret_##mode)                                                                                         \
    {                                                                                                        \
        GENERAL_UNLESS(STACK_OK_##mode(v))                                                                   \
        u64 target = fast_read(v, SS, stack_linear_##mode(v, 0, MMU_READ), mode / 8);                        \
        GENERAL_UNLESS(TARGET_OK_##mode(v, target))                                                          \
        STACK_MOVE_##mode(v, mode / 8);                                                                      \
        v->rip = target;                                                                                     \
    }                                                                                                        \
    FAST(jmp_##mode)                                                                                         \
    {                                                                                                        \
        GENERAL_UNLESS(TARGET_OK_##mode(v, op->imm))                                                         \
        v->rip = op->imm;                                                                                    \
    }                                                                                                        \
    FAST(jmp_r_##mode)                                                                                       \
    {                                                                                                        \
        u64 target = OP_REG(mode, op->dst);                                                                  \
        GENERAL_UNLESS(TARGET_OK_##mode(v, target))                                                          \
        v->rip = target;                                                                                     \
    }                                                                                                        \
    FAST(jmp_m_##mode)                                                                                       \
    {                                                                                                        \
        u64 target = OP_LOAD(mode, mode);                                                                    \
        GENERAL_UNLESS(TARGET_OK_##mode(v, target))                                                          \
        v->rip = target;                                                                                     \
    }
STACK(64)
STACK(32)

FAST(leave_64)
{
    u64 bp = v->gpr[RBP];
    u64 value = fast_read(v, SS, bp, 8);
    v->gpr[RSP] = bp + 8;
    v->gpr[RBP] = value;
    OP_DONE;
}

/* Jcc: one handler per condition and mode. */
#define JCC(cc, mode)                                                                                        \
    FAST(jcc_##cc##_##mode)                                                                                  \
    {                                                                                                        \
        if (flags_test(v->rflags, cc)) {                                                                     \
            GENERAL_UNLESS(TARGET_OK_##mode(v, op->imm))                                                     \
            v->rip = op->imm;                                                                                \
        } else {                                                                                             \
            OP_DONE;                                                                                         \
        }                                                                                                    \
    }
#define JCC_MODES(cc) JCC(cc, 64) JCC(cc, 32)
JCC_MODES(0)
JCC_MODES(1)
JCC_MODES(2)
JCC_MODES(3)
JCC_MODES(4)
JCC_MODES(5)
JCC_MODES(6)
JCC_MODES(7)
JCC_MODES(8)
JCC_MODES(9)
JCC_MODES(10)
JCC_MODES(11)
JCC_MODES(12)
JCC_MODES(13)
JCC_MODES(14)
JCC_MODES(15)
#define JCC_ENTRIES(mode)                                                                                    \
    {                                                                                                        \
        jcc_0_##mode, jcc_1_##mode, jcc_2_##mode, jcc_3_##mode, jcc_4_##mode, jcc_5_##mode, jcc_6_##mode,    \
            jcc_7_##mode, jcc_8_##mode, jcc_9_##mode, jcc_10_##mode, jcc_11_##mode, jcc_12_##mode,           \
            jcc_13_##mode, jcc_14_##mode, jcc_15_##mode                                                      \
    }
static const op_handler jcc_table[2][16] = {JCC_ENTRIES(64), JCC_ENTRIES(32)};

#define BY_MODE(name) (mode == FAST_64 ? name##_64 : name##_32)

static op_handler select_push(const struct insn *insn, enum fast_mode mode)
{
    switch (insn->opnd[0].kind) {
    case OPND_GPR:
        return BY_MODE(push_r);
    case OPND_IMM:
        return BY_MODE(push_i);
    default:
        return BY_MODE(push_m);
    }
}

op_handler fast_flow(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size)
{
    bool memory = insn->opnd[0].kind == OPND_MEM;
    unsigned width = mode == FAST_64 ? 8 : 4;
    if (insn->opsize != width)
        return NULL;
    u64 target = op->next_rip + insn->imm;
    op->imm = target & MASK(width * 8);
    switch (insn->id) {
    case INSN_JCC:
        return jcc_table[mode][insn->opcode & 15];
    case INSN_JMP:
        return BY_MODE(jmp);
    case INSN_CALL:
        return BY_MODE(call);
    case INSN_JMP_IND:
        return memory ? BY_MODE(jmp_m) : BY_MODE(jmp_r);
    case INSN_CALL_IND:
        return memory ? BY_MODE(call_m) : BY_MODE(call_r);
    case INSN_RET:
        return insn->nopnds ? NULL : BY_MODE(ret);
    }
    op->imm = insn->imm;
    switch (insn->id) {
    case INSN_PUSH:
        return select_push(insn, mode);
    case INSN_POP:
        return memory ? NULL : BY_MODE(pop_r);
    case INSN_LEAVE:
        return mode == FAST_64 ? leave_64 : NULL;
    default:
        return NULL;
    }
}
