/*
 * Registers that are read without an effect: CR0, CR2, CR3, CR4, segment selectors; the bases of FS and GS.
 * Loading the others has effects, and is the interpreter's.
 */
#include "engine/jit/lower_system.h"

/* Where a control register that can be read so is. 0: another. */
static u32 at_control(unsigned n)
{
    switch (n) {
    case 0:
        return AT(cr0);
    case 2:
        return AT(cr2);
    case 3:
        return AT(cr3);
    case 4:
        return AT(cr4);
    default:
        return 0;
    }
}

static bool reads_control(const struct translation *t, const struct insn *insn)
{
    return insn->id == INSN_MOV_CR && insn->opnd[1].kind == OPND_CR && at_control(insn->opnd[1].reg) &&
           !(t->b->mode & MODE_USER);
}

/* Into a general register, zero-extended. */
static bool reads_selector(const struct insn *insn)
{
    return insn->id == INSN_MOV_SEG && insn->opnd[0].kind == OPND_GPR && insn->opnd[0].size >= 4;
}

static bool is_base(const struct insn *insn)
{
    return insn->id == INSN_RDFSBASE || insn->id == INSN_RDGSBASE || insn->id == INSN_WRFSBASE ||
           insn->id == INSN_WRGSBASE;
}

bool control_is_inline(const struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    return reads_control(t, insn) || reads_selector(insn) || is_base(insn);
}

bool lower_mov_cr(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (!reads_control(t, insn))
        return false;
    emit_gs(&t->e, 0x8b, T0, at_control(insn->opnd[1].reg), !t->code32);
    lower_write(t, insn->opnd[0].reg, T0);
    return true;
}

bool lower_mov_seg(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (!reads_selector(insn))
        return false;
    EMIT(&t->e, "\x65\x44\x0f\xb7\x14\x25"); /* movzx r10d, word gs:[...] */
    emit_u32(&t->e,
             AT(seg) + (u32)(insn->opnd[1].reg * sizeof(struct segreg) + offsetof(struct segreg, selector)));
    lower_write(t, insn->opnd[0].reg, T0);
    return true;
}

/* #UD while CR4.FSGSBASE = 0. */
static void check_enabled(struct translation *t, unsigned i)
{
    lower_gs_imm(t, GS_TEST, AT(cr4), CR4_FSGSBASE);
    tail_add(t, emit_branch(&t->e, 0x0f84), TAIL_STEP, i, true);
}

static u32 at_base(const struct insn *insn)
{
    return insn->id == INSN_RDFSBASE || insn->id == INSN_WRFSBASE ? AT_SEG_BASE(FS) : AT_SEG_BASE(GS);
}

bool lower_read_base(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    lower_flags_save(t);
    check_enabled(t, i);
    lower_flags_restore(t);
    emit_gs(&t->e, 0x8b, T0, at_base(insn), insn->opnd[0].size == 8);
    lower_write(t, insn->opnd[0].reg, T0);
    return true;
}

/* A value that is no address raises. */
bool lower_write_base(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    const struct insn *insn = &t->insn[i];
    bool wide = insn->opnd[0].size == 8;
    lower_flags_save(t);
    check_enabled(t, i);
    lower_read(t, T0, insn->opnd[0].reg);
    if (wide) {
        EMIT(e, "\x4d\x89\xd3\x49\xc1\xfb\x2f"); /* mov r11, r10; sar r11, 47 */
        EMIT(e, "\x49\xff\xc3\x49\x83\xfb\x01"); /* inc r11; cmp r11, 1 */
        tail_add(t, emit_branch(e, 0x0f87), TAIL_STEP, i, true);
    } else {
        EMIT(e, "\x45\x89\xd2"); /* mov r10d, r10d */
    }
    emit_gs_store(e, T0, at_base(insn));
    lower_flags_restore(t);
    return true;
}
