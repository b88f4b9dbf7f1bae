/* The vector registers and the x87 state between struct vcpu and the host: the thunks that move them. */
#include "engine/jit/lower_vector.h"

/* `opcode reg, gs:[offset]` for MOVAPS of the model's width. */
static void emit_move(struct emitter *e, unsigned bytes, unsigned reg, bool store)
{
    emit_u8(e, 0x65);
    if (bytes == 64) {
        emit_u8(e, 0x62);
        emit_u8(e, reg < 8 ? 0xf1 : 0x71);
        EMIT(e, "\x7c\x48");
    } else if (bytes == 32) {
        emit_u8(e, 0xc5);
        emit_u8(e, reg < 8 ? 0xfc : 0x7c);
    } else {
        if (reg >= 8)
            emit_u8(e, 0x44);
        emit_u8(e, 0x0f);
    }
    emit_u8(e, store ? 0x29 : 0x28);
    emit_u8(e, (reg & 7) << 3 | 4);
    emit_u8(e, 0x25);
    emit_u32(e, (u32)offsetof(struct vcpu, fpu.zmm) + 64 * reg);
}

static void emit_mxcsr(struct emitter *e, unsigned op, u32 offset)
{
    EMIT(e, "\x65\x0f\xae");
    emit_u8(e, op << 3 | 4);
    emit_u8(e, 0x25);
    emit_u32(e, offset);
}

#define AT_MXCSR ((u32)offsetof(struct vcpu, fpu.mxcsr))

void vectors_emit_thunks(struct jit *j, struct emitter *e, unsigned bytes)
{
    j->thunk.vectors_load = emit_here(e);
    for (unsigned i = 0; i < 16; i++)
        emit_move(e, bytes, i, false);
    emit_mxcsr(e, 2, AT_MXCSR);
    emit_gs_store_imm(e, AT_WORD(WORD_SSE_USED), 1);
    emit_gs_store_imm(e, AT_WORD(WORD_VECTOR_OFF), 0);
    EMIT(e, "\xc3");
    j->thunk.vectors_store = emit_here(e);
    for (unsigned i = 0; i < 16; i++)
        emit_move(e, bytes, i, true);
    if (bytes > 16)
        EMIT(e, "\xc5\xf8\x77"); /* vzeroupper */
    emit_mxcsr(e, 3, AT_MXCSR);
    emit_mxcsr(e, 2, AT_WORD(WORD_HOST_MXCSR));
    emit_gs_store_imm(e, AT_WORD(WORD_VECTOR_OFF), 1);
    EMIT(e, "\xc3");
}

void emit_fldcw(struct emitter *e, u32 offset)
{
    EMIT(e, "\x65\xd9\x2c\x25");
    emit_u32(e, offset);
}

/* FXSAVE64 (0), FXRSTOR64 (1). */
static void emit_image(struct emitter *e, unsigned op)
{
    EMIT(e, "\x65\x48\x0f\xae");
    emit_u8(e, op << 3 | 4);
    emit_u8(e, 0x25);
    emit_u32(e, (u32)(offsetof(struct vcpu, fpu) + FPU_IMAGE));
}

/* FXRSTOR overwrites the vector registers: it is still quicker than XRSTOR. */
void x87_emit_thunks(struct jit *j, struct emitter *e)
{
    j->thunk.x87_load = emit_here(e);
    emit_gs_store_imm(e, AT_WORD(WORD_X87_USED), 1);
    emit_gs_store_imm(e, AT_WORD(WORD_X87_OFF), 0);
    emit_gs(e, 0x8b, RCX, AT_WORD(WORD_VECTOR_OFF), false);
    EMIT(e, "\xe3\x0b"); /* jrcxz +11 */
    emit_image(e, 1);
    EMIT(e, "\xc3");
    emit_jump_to(e, 0xe8, j->thunk.vectors_store);
    emit_image(e, 1);
    emit_jump_to(e, 0xe9, j->thunk.vectors_load);
    j->thunk.x87_store = emit_here(e);
    emit_image(e, 0);
    EMIT(e, "\x0f\x77"); /* emms: as the ABI wants it, but for the flags in FSW */
    emit_fldcw(e, AT_WORD(WORD_HOST_FCW));
    emit_gs_store_imm(e, AT_WORD(WORD_X87_OFF), 1);
    EMIT(e, "\xc3");
}
