/*
 * SSE, AVX and AVX-512 instructions: the same ones on the host's registers.
 *
 * The guest's vector registers and MXCSR are in the host's from the first block that needs them until
 * translated code is left or the interpreter is called (WORD_VECTOR_OFF is 0 between); registers 16..31 and
 * the opmasks from the first that needs these (WORD_HIGH_OFF). Only where CR0, CR4, XCR0 allow the
 * instructions and MXCSR masks all exceptions (MODE_SSE, MODE_AVX, MODE_AVX512): so none of them can raise.
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
    case INSN_MASKMOVDQU:
    case INSN_VMASKMOVDQU:
        return true;
    default:
        return false;
    }
}

static bool uses_opmasks(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == OPND_KREG)
            return true;
    return insn->aaa;
}

/* Registers 16..31, the opmasks. */
static bool uses_high(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == OPND_VEC && insn->opnd[i].reg >= 16)
            return true;
    return uses_opmasks(insn);
}

bool vector_is_native(const struct insn *insn, unsigned mode)
{
    switch (insn->info->klass) {
    case CLASS_SSE:
        mode &= MODE_SSE;
        break;
    case CLASS_VEX:
        mode &= uses_opmasks(insn) ? MODE_AVX512 : MODE_AVX;
        break;
    case CLASS_EVEX:
        mode &= MODE_AVX512;
        break;
    default:
        return false;
    }
    return mode && !is_special(insn) && emit_can_recode(insn);
}

/* Would the host raise #GP for an operand that is not aligned? */
static bool demands_alignment(const struct insn *insn, unsigned size)
{
    u32 attrs = insn->info->attrs;
    if (insn->encoding != ENC_LEGACY)
        return attrs & ATTR_ALIGNED;
    return size == 16 && !(attrs & ATTR_UNALIGNED_OK);
}

/* Calls `load` if the word says so. */
static void ensure(struct translation *t, unsigned i, enum jit_word off, const u8 *load)
{
    struct emitter *e = &t->e;
    if (t->live[i] && !t->parked) {
        EMIT(e, "\x49\x89\xcb"); /* mov r11, rcx */
        emit_gs(e, 0x8b, RCX, AT_WORD(off), false);
        EMIT(e, "\xe3\x05"); /* jrcxz +5 */
        emit_jump_to(e, 0xe8, load);
        EMIT(e, "\x4c\x89\xd9"); /* mov rcx, r11 */
    } else {
        EMIT(e, "\x65\x83\x3c\x25"); /* cmp dword gs:[...], 0 */
        emit_u32(e, AT_WORD(off));
        EMIT(e, "\x00\x74\x05"); /* je +5 */
        emit_jump_to(e, 0xe8, load);
    }
}

/* Does the rest of the block need registers 16..31 or the opmasks? */
static bool rest_uses_high(const struct translation *t, unsigned i)
{
    for (; (t->b->mode & MODE_AVX512) && i < t->count; i++)
        if (vector_is_native(&t->insn[i], t->b->mode) && uses_high(&t->insn[i]))
            return true;
    return false;
}

void vectors_ensure(struct translation *t, unsigned i)
{
    if (t->vectors)
        return;
    t->vectors = true;
    t->high = rest_uses_high(t, i);
    if (t->high)
        ensure(t, i, WORD_HIGH_OFF, t->j->thunk.high_load);
    else
        ensure(t, i, WORD_VECTOR_OFF, t->j->thunk.vectors_load);
}

/* Elements that are masked off are not accessed: what cannot be accessed as a whole is the interpreter's
 * at once, which looks at each. */
static void forget_retries(struct translation *t, unsigned first)
{
    for (; first < t->tails; first++)
        t->tail[first].retry = NULL;
}

/* Are some elements of a memory operand perhaps not accessed? */
static bool is_masked(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_VMASKMOVPS:
    case INSN_VMASKMOVPD:
    case INSN_VPMASKMOVD:
    case INSN_VPMASKMOVQ:
        return true;
    default:
        return insn->aaa;
    }
}

/* Reads memory once. What unmasks an exception, or sets bits that change the mode or do not exist, is the
 * interpreter's. */
static bool lower_ldmxcsr(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    struct address a = address_of(t, i);
    s32 disp = lower_access(t, i, &a, 4, false, TAIL_STEP);
    EMIT(e, "\x45\x8b"); /* mov r10d, [r11 + disp] */
    emit_operand(e, T0, T1, disp);
    emit_gs_store(e, T0, AT_WORD(WORD_VALUE));
    if (t->live[i])
        lower_flags_save(t);
    EMIT(e, "\x41\x81\xe2"); /* and r10d, imm32 */
    emit_u32(e, ~MXCSR_FREE);
    EMIT(e, "\x41\x81\xfa"); /* cmp r10d, imm32 */
    emit_u32(e, MXCSR_MASKS);
    tail_add(t, emit_branch(e, 0x0f85), TAIL_STEP, i, t->live[i]);
    if (t->live[i])
        lower_flags_restore(t);
    emit_mxcsr(e, 2, AT_WORD(WORD_VALUE));
    return true;
}

bool lower_vector(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    const struct opnd *m = insn_mem_opnd(insn);
    if (!vector_is_native(insn, t->b->mode) || (m && !address_is_simple(t, i)))
        return false;
    if (m && (!m->access || m->size > 64 || (m->size & (m->size - 1))))
        return false;
    vectors_ensure(t, i);
    if (insn->id == INSN_LDMXCSR || insn->id == INSN_VLDMXCSR)
        return lower_ldmxcsr(t, i);
    unsigned tails = t->tails;
    if (!lower_aligned(t, i, m && demands_alignment(insn, m->size) ? m->size : 1))
        return false;
    if (is_masked(insn))
        forget_retries(t, tails);
    else
        tails_split(t, tails, i);
    return true;
}
