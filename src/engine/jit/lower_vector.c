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
void vectors_ensure(struct translation *t, unsigned i)
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
    vectors_ensure(t, i);
    if (insn->encoding == ENC_VEX)
        note_avx(t);
    return lower_aligned(t, i, m && demands_alignment(insn, m->size) ? m->size : 1);
}
