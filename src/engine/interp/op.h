/*
 * The decode cache of one vCPU: private to the run loop and to the fast handlers.
 *
 * An op is one decoded instruction, found by its RIP. Before every execution the instruction's bytes in guest
 * memory are compared with the op's: self-modifying and cross-modifying code is exact, and nothing ever
 * invalidates an op. What the choice of a handler depends on (mode and CPU model) is in `mode` or never
 * changes.
 *
 * The bytes are read through a window: the host address of the current code page, valid for RIPs
 * [code_rip, code_rip + code_span). The window is a one-entry instruction TLB: it is dropped (interp_sync)
 * after everything that may change the translation, the rights, the mode or the code segment's limit - system
 * instructions, far transfers, delivered events. It ends where 16 bytes can no longer be read from the page,
 * or lie above the segment's limit.
 */
#ifndef RING3_ENGINE_INTERP_OP_H
#define RING3_ENGINE_INTERP_OP_H

#include "engine/interp/interp.h"

struct op;

/* A fast handler executes one op wholly: it sets v->rip too. */
typedef void (*op_handler)(struct vcpu *v, const struct op *op);

/* One cache line. Registers are byte offsets into struct vcpu, so that AH is one more than AL, and an absent
 * base or index is v->zero. */
struct op {
    op_handler run;
    u64 rip;
    _Alignas(16) u8 bytes[16]; /* zero behind the instruction */
    u64 next_rip;
    u64 imm; /* the immediate, or the target of a direct branch */
    s32 disp;
    u16 need; /* bit per byte of `bytes` that counts */
    u8 mode;  /* enum decode_mode, and MODE_NONE for an empty slot */
    u8 dst, src;
    u8 base, index, scale;
    u8 seg;       /* enum sreg of the memory operand */
    u16 seg_base; /* where the base that 64-bit mode adds is: FS's, GS's, or v->zero */
};
_Static_assert(sizeof(struct op) == 64, "an op is one cache line");

#define MODE_NONE 0xff

/* Ops hash by RIP alone. */
#define OP_BITS  15
#define OP_COUNT (1u << OP_BITS)

struct interp {
    struct op *op;           /* OP_COUNT of them */
    struct insn *insn;       /* the whole decoded instructions, in parallel */
    interp_handler *handler; /* the general handlers, in parallel */
    u64 code_rip, code_span;
    const u8 *code;     /* of the byte at code_rip */
    u64 decoded, split; /* statistics: decoder calls, instructions outside the window */
    bool trace;
};

static inline unsigned op_index(u64 rip)
{
    return (unsigned)(rip ^ rip >> OP_BITS) & (OP_COUNT - 1);
}

static inline void interp_sync(struct interp *it)
{
    it->code_span = 0;
}

static inline const struct insn *op_insn(const struct interp *it, const struct op *op)
{
    return &it->insn[op - it->op];
}

/* Runs the op by its general handler: for what a fast handler finds to be rare. */
void op_run_general(struct vcpu *v, const struct op *op);

/* Fills the op (whose insn is decoded) with its handlers and operands. */
void op_specialize(struct vcpu *v, struct op *op, struct insn *insn);

/* A fast handler for this form, or NULL: fast*.c. Fills the op's operand fields. */
op_handler fast_select(struct op *op, const struct insn *insn);

/* The op at v->rip, verified; the slow way of the run loop. Raises what the fetch raises, and #UD. */
struct op *op_fetch(struct vcpu *v);

#endif
