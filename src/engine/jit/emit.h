/*
 * Host code, byte by byte: the encoder of the translator. It knows x86-64 encodings and nothing of guests.
 *
 * Code is written through one mapping of the code memory and runs in another (cache.h): `to_exec` is the
 * distance.
 */
#ifndef RING3_ENGINE_JIT_EMIT_H
#define RING3_ENGINE_JIT_EMIT_H

#include "base/bytes.h"
#include "cpu/decode/decode.h"

struct emitter {
    u8 *p, *end;         /* next byte, and the end of the room */
    u8 *cold, *cold_end; /* likewise where code goes that is rarely executed */
    s64 to_exec;         /* executable address = writable address + to_exec */
    bool overrun;        /* something did not fit: the code is useless */
};

#define HOST_NONE 0xff

void emit_bytes(struct emitter *e, const void *bytes, unsigned count);
#define EMIT(e, bytes) emit_bytes(e, bytes, sizeof(bytes) - 1)
void emit_u8(struct emitter *e, unsigned byte);
void emit_u32(struct emitter *e, u32 value);
void emit_u64(struct emitter *e, u64 value);

/* From here on to the other place. */
static inline void emit_swap(struct emitter *e)
{
    u8 *p = e->p, *end = e->end;
    e->p = e->cold;
    e->end = e->cold_end;
    e->cold = p;
    e->cold_end = end;
}

static inline const u8 *emit_here(const struct emitter *e)
{
    return e->p + e->to_exec;
}

/* `opcode reg, gs:[offset]` with a one-byte opcode; `wide` is REX.W. */
void emit_gs(struct emitter *e, unsigned opcode, unsigned reg, u32 offset, bool wide);
void emit_gs_load(struct emitter *e, unsigned reg, u32 offset);  /* mov reg, gs:[offset] */
void emit_gs_store(struct emitter *e, unsigned reg, u32 offset); /* mov gs:[offset], reg */
/* mov qword gs:[offset], value sign-extended; and the test that `value` is one. */
void emit_gs_store_imm(struct emitter *e, u32 offset, s32 value);
bool emit_fits32(u64 value);

/* `opcode reg, rm` between 64-bit registers. */
void emit_rr(struct emitter *e, unsigned opcode, unsigned reg, unsigned rm);
void emit_mov_imm(struct emitter *e, unsigned reg, u64 value);
/* lea reg, [base + (index << scale) + disp]; base, index may be HOST_NONE (not both). */
void emit_lea(struct emitter *e, unsigned reg, unsigned base, unsigned index, unsigned scale, s32 disp,
              bool wide);
/* ModRM, SIB and displacement of [base + disp]. */
void emit_operand(struct emitter *e, unsigned reg, unsigned base, s32 disp);
/* `opcode reg, [base + disp8]`, 64 bits wide. */
void emit_rm8(struct emitter *e, unsigned opcode, unsigned reg, unsigned base, s8 disp);

/* Jumps and calls with a 32-bit displacement; `opcode` E8, E9, or 0F80h + cc. The site (returned: the
 * writable address of the displacement) can be aimed later. */
u8 *emit_branch(struct emitter *e, unsigned opcode);
void emit_aim(u8 *site, s64 to_exec, const u8 *target);
/* For what is changed while others may run it: NOPs, so that the 4 bytes that begin `before` bytes on lie
 * within 8 aligned ones; and the change, in one access. */
void emit_pad_for_patch(struct emitter *e, unsigned before);
void emit_patch(u8 *site, u32 value);
void emit_patch_aim(u8 *site, s64 to_exec, const u8 *target);
void emit_jump_to(struct emitter *e, unsigned opcode, const u8 *target);

/* The instruction again, with other registers: host[i] is operand i's (if a GPR or vector register; AH..BH
 * are 4..7, which no other operand may then need a REX prefix beside), memory is [mem + disp], or
 * [mem + index + disp] (not for EVEX; neither is RSP). */
struct recode {
    u8 host[5];
    u8 mem;
    bool indexed;
    u8 index;
    s32 disp;
};
/* Can it be encoded so? Every operand has a field, or is rAX or rCX by implication. */
bool emit_can_recode(const struct insn *insn);
void emit_recode(struct emitter *e, const struct insn *insn, const struct recode *r);

#endif
