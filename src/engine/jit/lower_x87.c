/*
 * x87 and MMX instructions: the same ones on the host's registers.
 *
 * As with vectors (lower_vector.c), the guest's x87 state is in the host's registers from the first block
 * that needs it until translated code is left or the interpreter is called (WORD_X87_OFF is 0 between). Only
 * where CR0 allows the instructions, FCW masks all exceptions and none is pending (MODE_X87): so none of them
 * can raise. FLDCW keeps it so, or is the interpreter's; so are the environment's instructions, which are
 * rare.
 *
 * The pointers to the last instruction and operand (FIP, FDP, FOP) are not the host's: they are noted in the
 * vCPU, once for a run of x87 instructions. What leaves in the middle of a run notes them in its tail. FCS
 * and FDS are looked up when translated code is left.
 */
#include "engine/jit/lower_alu.h"
#include "engine/jit/lower_vector.h"

static bool is_special(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_FNINIT:
    case INSN_FNCLEX: /* they take back FERR# */
    case INSN_FNSTENV:
    case INSN_FLDENV:
    case INSN_FNSAVE:
    case INSN_FRSTOR:
    case INSN_MASKMOVQ:
        return true;
    default:
        return false;
    }
}

static bool uses(const struct insn *insn, enum opnd_kind kind)
{
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == kind)
            return true;
    return false;
}

/* A vector register or MXCSR. */
static bool uses_vectors(const struct insn *insn)
{
    return uses(insn, OPND_VEC) || (insn->info->attrs & ATTR_MXCSR);
}

bool x87_is_native(const struct insn *insn, unsigned mode)
{
    unsigned klass = insn->info->klass;
    if ((klass != CLASS_X87 && klass != CLASS_MMX) || !(mode & MODE_X87) || is_special(insn))
        return false;
    return (!uses_vectors(insn) || (mode & MODE_SSE)) && emit_can_recode(insn);
}

static void ensure_loaded(struct translation *t)
{
    struct emitter *e = &t->e;
    if (t->x87)
        return;
    t->x87 = true;
    EMIT(e, "\x49\x89\xcb"); /* mov r11, rcx */
    emit_gs(e, 0x8b, RCX, AT_WORD(WORD_X87_OFF), false);
    EMIT(e, "\xe3\x05"); /* jrcxz +5 */
    emit_jump_to(e, 0xe8, t->j->thunk.x87_load);
    EMIT(e, "\x4c\x89\xd9"); /* mov rcx, r11 */
}

void x87_note(struct translation *t, unsigned insn, unsigned data)
{
    struct emitter *e = &t->e;
    if (insn) {
        const struct insn *last = &t->insn[insn - 1];
        u64 rip = t->rip[insn - 1];
        if (emit_fits32(rip)) {
            emit_gs_store_imm(e, AT_FIP, (s32)rip);
        } else {
            emit_mov_imm(e, T0, rip);
            emit_gs_store(e, T0, AT_FIP);
        }
        emit_gs_store_imm(e, AT_WORD(WORD_X87_NOTE),
                          (s32)(X87_NOTED | (last->opcode & 7u) << 8 | last->modrm));
    }
    if (data) {
        struct address a = address_of(t, data - 1);
        lower_ea(t, data - 1, &a, T0, a.wide);
        emit_gs_store(e, T0, AT_FDP);
        emit_gs_store_imm(e, AT_WORD(WORD_X87_SEG), a.seg + 1);
    }
}

void x87_flush(struct translation *t)
{
    x87_note(t, t->x87_insn, t->x87_data);
    t->x87_insn = t->x87_data = 0;
}

/* Reads memory once: nobody shall unmask an exception behind the check. */
static bool lower_fldcw(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    struct address a = address_of(t, i);
    s32 disp = lower_access(t, i, &a, 2, false, TAIL_STEP);
    EMIT(e, "\x45\x0f\xb7"); /* movzx r10d, word [r11 + disp] */
    emit_operand(e, T0, T1, disp);
    emit_gs_store(e, T0, AT_WORD(WORD_VALUE));
    if (t->live[i])
        lower_flags_save(t);
    EMIT(e, "\x41\xf7\xd2\x41\xf6\xc2\x3f"); /* not r10d; test r10b, 3fh */
    tail_add(t, emit_branch(e, 0x0f85), TAIL_STEP, i, t->live[i]);
    if (t->live[i])
        lower_flags_restore(t);
    emit_fldcw(e, AT_WORD(WORD_VALUE));
    return true;
}

bool lower_x87(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    const struct opnd *m = insn_mem_opnd(insn);
    bool x87 = insn->info->klass == CLASS_X87, control = !x87 || (insn->info->attrs & ATTR_X87_CONTROL);
    if (!x87_is_native(insn, t->b->mode) || (m && !address_is_simple(t, i)))
        return false;
    if (!x87 || insn->id == INSN_FNSTSW)
        x87_flush(t);
    if (insn->id == INSN_FWAIT)
        return true;
    if (x87 || insn->id == INSN_EMMS || uses(insn, OPND_MMX))
        ensure_loaded(t);
    if (uses_vectors(insn))
        vectors_ensure(t, i);
    if (insn->id == INSN_FLDCW)
        return lower_fldcw(t, i);
    unsigned tails = t->tails;
    if (!lower_aligned(t, i, !x87 && m && m->size == 16 ? 16 : 1))
        return false;
    tails_split(t, tails, i);
    if (!control) {
        t->x87_insn = (u8)(i + 1);
        t->x87_data = m ? (u8)(i + 1) : t->x87_data;
    }
    return true;
}
