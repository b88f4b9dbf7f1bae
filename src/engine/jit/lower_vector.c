/*
 * SSE and AVX instructions: the same ones on the host's registers.
 *
 * The guest's vector registers and MXCSR are in the host's from the first block that needs them until
 * translated code is left or the interpreter is called (WORD_VECTOR_OFF is 0 between). Only where CR0, CR4,
 * XCR0 allow the instructions and MXCSR masks all exceptions (MODE_SSE, MODE_AVX): so none of them can raise.
 */
#include "engine/jit/lower_alu.h"
#include "engine/jit/lower_vector.h"

/* Those with effects of their own. */
static bool is_special(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_VZEROUPPER: /* 8 registers outside 64-bit mode */
    case INSN_VZEROALL:
        return (insn->mode & DECODE_BITS) != DECODE_64;
    case INSN_LDMXCSR:
    case INSN_VLDMXCSR:
    case INSN_STMXCSR:
    case INSN_VSTMXCSR:
    case INSN_MASKMOVDQU:
    case INSN_VMASKMOVDQU:
    case INSN_VMASKMOVPS:
    case INSN_VMASKMOVPD:
    case INSN_VPMASKMOVD:
    case INSN_VPMASKMOVQ:
        return true;
    default:
        return false;
    }
}

bool vector_is_native(const struct insn *insn, unsigned mode)
{
    unsigned klass = insn->info->klass;
    return ((klass == CLASS_SSE && (mode & MODE_SSE)) || (klass == CLASS_VEX && (mode & MODE_AVX))) &&
           !is_special(insn) && emit_can_recode(insn);
}

/* Would the host raise #GP for an operand that is not aligned? */
static bool demands_alignment(const struct insn *insn, unsigned size)
{
    u32 attrs = insn->info->attrs;
    if (insn->encoding != ENC_LEGACY)
        return attrs & ATTR_ALIGNED;
    return size == 16 && !(attrs & ATTR_UNALIGNED_OK);
}

/* The registers are loaded, by a tail if need be. */
static void ensure_loaded(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    if (t->vectors)
        return;
    t->vectors = true;
    if (t->live[i]) {
        EMIT(e, "\x49\x89\xcb"); /* mov r11, rcx */
        emit_gs(e, 0x8b, RCX, AT_WORD(WORD_VECTOR_OFF), false);
        EMIT(e, "\xe3\x05"); /* jrcxz +5 */
        emit_jump_to(e, 0xe8, t->j->thunk.vectors_load);
        EMIT(e, "\x4c\x89\xd9"); /* mov rcx, r11 */
    } else {
        EMIT(e, "\x65\x83\x3c\x25"); /* cmp dword gs:[...], 0 */
        emit_u32(e, AT_WORD(WORD_VECTOR_OFF));
        EMIT(e, "\x00\x74\x05"); /* je +5 */
        emit_jump_to(e, 0xe8, t->j->thunk.vectors_load);
    }
}

static void note_avx(struct translation *t)
{
    if (t->avx)
        return;
    t->avx = true;
    emit_gs_store_imm(&t->e, AT_WORD(WORD_AVX_USED), 1);
}

bool lower_vector(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    const struct opnd *m = insn_mem_opnd(insn);
    if (!vector_is_native(insn, t->b->mode) || (m && !address_is_simple(t, i)))
        return false;
    if (m && (!m->access || m->size > 32 || (m->size & (m->size - 1))))
        return false;
    ensure_loaded(t, i);
    if (insn->encoding == ENC_VEX)
        note_avx(t);
    return lower_aligned(t, i, m && demands_alignment(insn, m->size) ? m->size : 1);
}

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
