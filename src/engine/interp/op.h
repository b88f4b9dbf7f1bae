/*
 * The decode cache of one vCPU: private to the run loop and to the fast handlers.
 *
 * 1. An op is one decoded instruction; a block is a run of them, found by the RIP of its first, that ends
 *    with the first instruction that may branch, change the mode or ask for attention.
 * 2. Before a block is executed its bytes are compared with guest memory, and again after each of its
 *    instructions that stores: self-modifying and cross-modifying code is exact, and nothing ever
 *    invalidates a block. What the choice of a handler depends on is the mode (in the block's key) and
 *    the CPU model (which never changes).
 * 3. The bytes are read through a window: the host address of the current code page, valid for RIPs
 *    [code_rip, code_rip + code_end), below CS's limit. It is a one-entry instruction TLB, and dropped
 *    (interp_sync) after everything that may change the translation, the rights, the mode or CS: system
 *    instructions, far transfers, delivered events.
 * 4. Between a block's instructions nothing is looked at but after stores: `events` wait for its end, and
 *    what may set `attention` ends the block. While there is attention, or a breakpoint in DR7,
 *    instructions are executed one by one.
 * 5. Ops and general instructions are allocated in order; when there is no room left everything is
 *    forgotten.
 */
#ifndef RING3_ENGINE_INTERP_OP_H
#define RING3_ENGINE_INTERP_OP_H

#include <string.h>
#include "engine/interp/interp.h"

struct op;

/* Executes one op wholly: it sets v->rip too. */
typedef void (*op_handler)(struct vcpu *v, const struct op *op);

/* Registers are byte offsets into struct vcpu, so that AH is one more than AL, and an absent base or index is
 * v->zero. */
struct op {
    op_handler run;
    u64 next_rip;
    u64 imm; /* the immediate, or the target of a direct branch */
    s32 disp;
    u32 cold; /* its struct cold, or COLD_NONE: then decoded anew when needed */
    u8 dst, src;
    u8 base, index, scale;
    u8 seg;       /* enum sreg of the memory operand */
    u16 seg_base; /* where the base that 64-bit mode adds is: FS's, GS's, or v->zero */
    u8 offset;    /* of the instruction in its block's bytes */
    bool stores;  /* may write memory: the block is compared again */
};

/* What the general handlers need. */
struct cold {
    struct insn insn;
    interp_handler handler;
};

#define BLOCK_BYTES 48
#define BLOCK_OPS   16
#define MODE_NONE   0xff
#define COLD_NONE   0xffffffffu

/* One cache line. */
struct block {
    u64 rip;
    u32 first; /* op */
    u8 mode;   /* enum decode_mode, or MODE_NONE: an empty slot */
    u8 count;  /* of ops */
    u8 len;    /* of bytes */
    u8 padded; /* len rounded up to a multiple of 16 */
    u8 bytes[BLOCK_BYTES];
};
_Static_assert(sizeof(struct block) == 64, "a block is one cache line");

#define BLOCK_BITS  14
#define BLOCK_COUNT (1u << BLOCK_BITS)
#define OP_COUNT    (96u << 10)
#define COLD_COUNT  (24u << 10)

struct interp {
    struct block *blocks;
    struct op *ops;
    struct cold *colds;
    u32 op_used, cold_used;
    u64 code_rip, code_end;
    const u8 *code;            /* of the byte at code_rip */
    const struct block *block; /* being executed */
    struct cold scratch;       /* a fast op's instruction, when it is needed after all */
    u64 decoded, split,
        resets; /* statistics: instructions decoded; blocks verified the slow way; caches emptied */
};

static inline struct block *block_slot(const struct interp *it, u64 rip)
{
    return &it->blocks[(rip ^ rip >> BLOCK_BITS) & (BLOCK_COUNT - 1)];
}

static inline void interp_sync(struct interp *it)
{
    it->code_end = 0;
}

/* Does memory hold the block's bytes? `code` is the host address of its first; `padded` bytes can be read. */
static inline bool block_intact(const struct block *b, const u8 *code)
{
    typedef char vec __attribute__((vector_size(16)));
    static const u8 masks[2 * BLOCK_BYTES] = {[0 ... BLOCK_BYTES - 1] = 0xff};
    const u8 *mask = masks + BLOCK_BYTES - b->len;
    vec have, want, keep, zero = {0};
    memcpy(&have, code, 16);
    memcpy(&want, b->bytes, 16);
    memcpy(&keep, mask, 16);
    vec diff = (have ^ want) & keep;
    for (unsigned i = 16; i < b->padded; i += 16) {
        memcpy(&have, code + i, 16);
        memcpy(&want, b->bytes + i, 16);
        memcpy(&keep, mask + i, 16);
        diff |= (have ^ want) & keep;
    }
    return __builtin_ia32_pmovmskb128(diff == zero) == 0xffff;
}

/* The block at v->rip, verified: the slow way. Raises what the fetch of its first instruction raises, and
 * #UD. */
struct block *block_fetch(struct vcpu *v);

/* The op's instruction and general handler. */
const struct cold *op_cold(struct vcpu *v, const struct op *op);

/* Runs the op by its general handler: for what a fast handler finds to be rare. */
void op_run_general(struct vcpu *v, const struct op *op);

/* A fast handler for this form, or NULL: fast*.c. Fills the op's operand fields. */
op_handler fast_select(struct op *op, const struct insn *insn);

#endif
