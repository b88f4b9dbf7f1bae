/*
 * Templates of the fast handlers: operands of an op by form and size, specialized when the instruction is
 * decoded.
 *
 * Each form with a memory operand exists twice: _64 for 64-bit mode with 64-bit addresses (a segment only
 * adds its base, and the TLB's tags reject what is not canonical), _32 for the others with 32-bit addresses
 * (the segment's type and limit are checked). What the fast way does not cover goes to a slow function or to
 * the general handler.
 */
#ifndef RING3_ENGINE_INTERP_FAST_H
#define RING3_ENGINE_INTERP_FAST_H

#include "engine/interp/alu.h"
#include "engine/interp/op.h"

/* An operand in guest memory: at any address. */
typedef u8 guest_u8;
typedef u16 __attribute__((aligned(1))) guest_u16;
typedef u32 __attribute__((aligned(1))) guest_u32;
typedef u64 __attribute__((aligned(1))) guest_u64;

/* A register operand of an op, as an lvalue of `bits`; writing 32 bits clears the upper half. */
#define OP_REG(bits, off) (*(u##bits *)((char *)v + (off)))
#define OP_REG_SET(bits, off, value)                                                                         \
    do {                                                                                                     \
        if ((bits) == 32)                                                                                    \
            *(u64 *)((char *)v + (off)) = (u32)(value);                                                      \
        else                                                                                                 \
            *(u##bits *)((char *)v + (off)) = (u##bits)(value);                                              \
    } while (0)

static inline u64 op_ea(const struct vcpu *v, const struct op *op)
{
    const char *file = (const char *)v;
    return *(const u64 *)(file + op->base) + (*(const u64 *)(file + op->index) << op->scale) +
           (u64)(s64)op->disp;
}

/* The linear address in 64-bit mode; a non-canonical one is in no TLB entry. */
static inline u64 op_linear_64(struct vcpu *v, const struct op *op, unsigned size, enum mmu_access access)
{
    return op_ea(v, op) + *(const u64 *)((const char *)v + op->seg_base);
}

/* Elsewhere: an ordinary data segment, below its limit; all else by the book. */
static inline u64 segment_linear_32(struct vcpu *v, unsigned seg, u64 ea, unsigned size,
                                    enum mmu_access access)
{
    const struct segreg *s = &v->seg[seg];
    const unsigned facts = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_EXPAND_DOWN | SEG_UNUSABLE;
    if (likely((s->attr & facts) == (SEG_P | SEG_S | SEG_WRITABLE) && ea + size - 1 <= s->limit))
        return (u32)(s->base + ea);
    return seg_linear_slow(v, seg, ea, size, access);
}

static inline u64 op_linear_32(struct vcpu *v, const struct op *op, unsigned size, enum mmu_access access)
{
    return segment_linear_32(v, op->seg, (u32)op_ea(v, op), size, access);
}

/* Missed the TLB (or not canonical). */
u64 fast_read_slow(struct vcpu *v, unsigned seg, u64 lin, unsigned size);
void fast_write_slow(struct vcpu *v, unsigned seg, u64 lin, unsigned size, u64 value);

static inline u64 fast_read(struct vcpu *v, unsigned seg, u64 lin, unsigned size)
{
    if (likely(v->mmu_index != MMU_USER_ALIGN)) {
        const struct tlb_entry *e = tlb_slot(v, lin, v->mmu_index);
        if (likely(e->read == tlb_tag(v, lin, size, v->mmu_index)))
            return load_le((const void *)(lin + e->addend), size);
    }
    return fast_read_slow(v, seg, lin, size);
}

static inline void fast_write(struct vcpu *v, unsigned seg, u64 lin, unsigned size, u64 value)
{
    if (likely(v->mmu_index != MMU_USER_ALIGN)) {
        const struct tlb_entry *e = tlb_slot(v, lin, v->mmu_index);
        if (likely(e->write == tlb_tag(v, lin, size, v->mmu_index))) {
            store_le((void *)(lin + e->addend), size, value);
            return;
        }
    }
    fast_write_slow(v, seg, lin, size, value);
}

/* For reading and writing: the host address, or NULL (the general handler is to do it). */
static inline void *fast_modify(struct vcpu *v, u64 lin, unsigned size)
{
    if (likely(v->mmu_index != MMU_USER_ALIGN)) {
        const struct tlb_entry *e = tlb_slot(v, lin, v->mmu_index);
        if (likely(e->write == tlb_tag(v, lin, size, v->mmu_index)))
            return (void *)(lin + e->addend);
    }
    return NULL;
}

#define OP_LOAD(bits, mode)                                                                                  \
    ((u##bits)fast_read(v, op->seg, op_linear_##mode(v, op, bits / 8, MMU_READ), bits / 8))
#define OP_STORE(bits, mode, value)                                                                          \
    fast_write(v, op->seg, op_linear_##mode(v, op, bits / 8, MMU_WRITE), bits / 8, (u##bits)(value))

/* A handler: FAST(name) { ... OP_DONE; } */
#define FAST(name) static void name(struct vcpu *v, const struct op *op)
#define OP_DONE    v->rip = op->next_rip

/* X(bits) for all sizes, and for words and wider. */
#define FOR_SIZES(X, ...)                                                                                    \
    X(8, ##__VA_ARGS__)                                                                                      \
    X(16, ##__VA_ARGS__)                                                                                     \
    X(32, ##__VA_ARGS__)                                                                                     \
    X(64, ##__VA_ARGS__)

/* The two address modes as an index. */
enum fast_mode { FAST_64, FAST_32, FAST_NONE };

/* Per theme: the handler for an instruction whose operand fields are filled, or NULL. `mode` says which
 * memory forms may be used; `size` is size_index of the operand. */
op_handler fast_alu(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size);
op_handler fast_shift(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size);
op_handler fast_move(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size);
op_handler fast_flow(struct op *op, const struct insn *insn, enum fast_mode mode, unsigned size);

/* The forms of two-operand instructions. */
enum fast_form { FORM_RR, FORM_RI, FORM_RM, FORM_MR, FORM_MI, FORM_COUNT, FORM_NONE = FORM_COUNT };
enum fast_form fast_form(const struct insn *insn);

#endif
