/* The vector registers and the x87 state between struct vcpu and the host: the thunks that move them. */
#include "engine/interp/stub.h"
#include "engine/jit/lower_vector.h"

#define AT_MXCSR   ((u32)offsetof(struct vcpu, fpu.mxcsr))
#define AT_ZMM(r)  ((u32)offsetof(struct vcpu, fpu.zmm) + 64 * (r))
#define AT_MASK(r) ((u32)offsetof(struct vcpu, fpu.k) + 8 * (r))

/* ModRM, SIB and displacement of gs:[offset]. */
static void emit_absolute(struct emitter *e, unsigned reg, u32 offset)
{
    emit_u8(e, (reg & 7) << 3 | 4);
    emit_u8(e, 0x25);
    emit_u32(e, offset);
}

/* MOVAPS of the model's width. */
static void emit_move(struct emitter *e, unsigned bytes, unsigned reg, bool store)
{
    emit_u8(e, 0x65);
    if (bytes == 64) {
        emit_u8(e, 0x62);
        emit_u8(e, 0x61 | (~reg << 4 & 0x80) | (~reg & 0x10));
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
    emit_absolute(e, reg, AT_ZMM(reg));
}

/* KMOVQ, or KMOVW without AVX512BW. */
static void emit_opmask(struct emitter *e, bool wide, unsigned reg, bool store)
{
    emit_u8(e, 0x65);
    if (wide)
        EMIT(e, "\xc4\xe1\xf8");
    else
        EMIT(e, "\xc5\xf8");
    emit_u8(e, store ? 0x91 : 0x90);
    emit_absolute(e, reg, AT_MASK(reg));
}

void emit_mxcsr(struct emitter *e, unsigned op, u32 offset)
{
    EMIT(e, "\x65\x0f\xae");
    emit_absolute(e, op, offset);
}

void emit_fldcw(struct emitter *e, u32 offset)
{
    EMIT(e, "\x65\xd9");
    emit_absolute(e, 5, offset);
}

/* FXSAVE64 (0), FXRSTOR64 (1). */
static void emit_image(struct emitter *e, unsigned op)
{
    EMIT(e, "\x65\x48\x0f\xae");
    emit_absolute(e, op, (u32)(offsetof(struct vcpu, fpu) + FPU_IMAGE));
}

static void emit_ret(struct emitter *e)
{
    emit_u8(e, 0xc3);
}

static void emit_high(struct emitter *e, const struct native *n, bool store)
{
    for (unsigned i = 16; i < 32; i++)
        emit_move(e, 64, i, store);
    for (unsigned i = 0; i < 8; i++)
        emit_opmask(e, n->opmask64, i, store);
    emit_gs_store_imm(e, AT_WORD(WORD_HIGH_OFF), store);
}

static void emit_vectors_load(struct jit *j, struct emitter *e, const struct native *n)
{
    j->thunk.vectors_load = emit_here(e);
    for (unsigned i = 0; i < 16; i++)
        emit_move(e, n->vector_bytes, i, false);
    emit_mxcsr(e, 2, AT_MXCSR);
    emit_gs_store_imm(e, AT_WORD(WORD_SSE_USED), 1);
    emit_gs_store_imm(e, AT_WORD(WORD_VECTOR_OFF), 0);
    emit_ret(e);
    if (n->vector_bytes == 64) {
        j->thunk.high_load = emit_here(e);
        EMIT(e, "\x51"); /* push rcx */
        emit_gs(e, 0x8b, RCX, AT_WORD(WORD_VECTOR_OFF), false);
        EMIT(e, "\xe3\x05"); /* jrcxz +5 */
        emit_jump_to(e, 0xe8, j->thunk.vectors_load);
        EMIT(e, "\x59"); /* pop rcx */
        emit_high(e, n, false);
        emit_ret(e);
    }
}

/* Returns the entry that leaves registers 16..31 and the opmasks where they are. */
static const u8 *emit_vectors_store(struct jit *j, struct emitter *e, const struct native *n)
{
    u8 *low = NULL;
    j->thunk.vectors_store = emit_here(e);
    if (n->vector_bytes == 64) {
        EMIT(e, "\x51"); /* push rcx */
        emit_gs(e, 0x8b, RCX, AT_WORD(WORD_HIGH_OFF), false);
        EMIT(e, "\xe3\x06\x59"); /* jrcxz +6; pop rcx */
        low = emit_branch(e, 0xe9);
        EMIT(e, "\x59"); /* pop rcx */
        emit_high(e, n, true);
        if (!e->overrun)
            emit_aim(low, e->to_exec, emit_here(e));
    }
    const u8 *start = emit_here(e);
    for (unsigned i = 0; i < 16; i++)
        emit_move(e, n->vector_bytes, i, true);
    if (n->vector_bytes > 16)
        EMIT(e, "\xc5\xf8\x77"); /* vzeroupper */
    emit_mxcsr(e, 3, AT_MXCSR);
    emit_mxcsr(e, 2, AT_WORD(WORD_HOST_MXCSR));
    emit_gs_store_imm(e, AT_WORD(WORD_VECTOR_OFF), 1);
    emit_ret(e);
    return start;
}

void state_emit_thunks(struct jit *j, struct emitter *e, const struct native *n)
{
    emit_vectors_load(j, e, n);
    const u8 *store_low = emit_vectors_store(j, e, n);
    /* FXRSTOR overwrites the vector registers: it is still quicker than XRSTOR. */
    j->thunk.x87_load = emit_here(e);
    emit_gs_store_imm(e, AT_WORD(WORD_X87_USED), 1);
    emit_gs_store_imm(e, AT_WORD(WORD_X87_OFF), 0);
    emit_gs(e, 0x8b, RCX, AT_WORD(WORD_VECTOR_OFF), false);
    EMIT(e, "\xe3\x0b"); /* jrcxz +11 */
    emit_image(e, 1);
    emit_ret(e);
    emit_jump_to(e, 0xe8, store_low);
    emit_image(e, 1);
    emit_jump_to(e, 0xe9, j->thunk.vectors_load);
    j->thunk.x87_store = emit_here(e);
    emit_image(e, 0);
    EMIT(e, "\x0f\x77"); /* emms: as the ABI wants it, but for the flags in FSW */
    emit_fldcw(e, AT_WORD(WORD_HOST_FCW));
    emit_gs_store_imm(e, AT_WORD(WORD_X87_OFF), 1);
    emit_ret(e);
}
