/*
 * System instructions that kernels execute all the time: the interrupt flag, PUSHF and POPF, SWAPGS, SMAP's
 * AC, the direction flag; and DIV, which can raise. Their common cases; the others are the interpreter's.
 */
#include "engine/jit/lower_system.h"

void lower_gs_imm(struct translation *t, enum gs_op op, u32 offset, u32 imm)
{
    struct emitter *e = &t->e;
    emit_u8(e, 0x65);
    emit_u8(e, op == GS_TEST ? 0xf7 : 0x81);
    emit_u8(e, (op & 7) << 3 | 4);
    emit_u8(e, 0x25);
    emit_u32(e, offset);
    emit_u32(e, imm);
}

static bool is_supervisor(const struct translation *t)
{
    return !(t->b->mode & MODE_USER);
}

void lower_rights(struct translation *t, enum mmu_index index)
{
    struct emitter *e = &t->e;
    emit_gs_load(e, T1, AT(tlb));
    if (index)
        emit_lea(e, T1, T1, HOST_NONE, 0, (s32)(index * sizeof(struct tlb)), true);
    emit_gs_store(e, T1, AT_WORD(WORD_TLB));
    emit_gs_load(e, T1, AT(tlb_tag) + 8 * index);
    emit_gs_store(e, T1, AT_WORD(WORD_TAG));
    EMIT(e, "\x65\xc6\x04\x25"); /* mov byte gs:[...], imm8 */
    emit_u32(e, AT(mmu_index));
    emit_u8(e, index);
}

bool system_is_inline(const struct translation *t, unsigned i)
{
    switch (t->insn[i].id) {
    case INSN_CLI:
    case INSN_STI:
    case INSN_SWAPGS:
    case INSN_STAC:
    case INSN_CLAC:
        return is_supervisor(t) && lower_find(t, i);
    case INSN_PUSHF:
    case INSN_POPF:
    case INSN_CLD:
    case INSN_STD:
        return lower_find(t, i);
    default:
        return control_is_inline(t, i) && lower_find(t, i);
    }
}

bool lower_cli(struct translation *t, unsigned i)
{
    if (!is_supervisor(t))
        return false;
    lower_flags_save(t);
    lower_gs_imm(t, GS_AND, AT(rflags), ~(u32)FLAG_IF);
    lower_gs_imm(t, GS_AND, AT(event_mask), ~(u32)EVENT_INTR);
    lower_flags_restore(t);
    return true;
}

/* IF = 1, and if an interrupt waits: leave, through a tail of `kind`, which restores the flags. */
static void enable_interrupts(struct translation *t, unsigned i, enum tail_kind kind)
{
    lower_gs_imm(t, GS_OR, AT(rflags), FLAG_IF);
    lower_gs_imm(t, GS_OR, AT(event_mask), EVENT_INTR);
    lower_gs_imm(t, GS_TEST, AT(events), EVENT_INTR);
    tail_add(t, emit_branch(&t->e, 0x0f85), kind, i + 1, false);
}

/* No interrupt comes before the next instruction is done: it must be one that is reached without a poll. */
bool lower_sti(struct translation *t, unsigned i)
{
    if (!is_supervisor(t) || i + 1 >= t->count || !lower_find(t, i + 1))
        return false;
    lower_flags_save(t);
    lower_gs_imm(t, GS_TEST, AT(rflags), FLAG_IF);
    u8 *was_set = emit_branch(&t->e, 0x0f85);
    enable_interrupts(t, i, TAIL_SHADOW);
    if (!t->e.overrun)
        emit_aim(was_set, t->e.to_exec, emit_here(&t->e));
    lower_flags_restore(t);
    return true;
}

bool lower_direction(struct translation *t, unsigned i)
{
    bool set = t->insn[i].id == INSN_STD;
    lower_flags_save(t);
    lower_gs_imm(t, set ? GS_OR : GS_AND, AT(rflags), set ? FLAG_DF : ~(u32)FLAG_DF);
    lower_flags_restore(t);
    return true;
}

bool lower_pushf(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    unsigned size = t->code32 ? 4 : 8;
    if (t->insn[i].opsize != size)
        return false;
    struct address a = address_in_stack(t, RSP, -(s32)size);
    s32 disp = lower_access(t, i, &a, size, true, TAIL_STEP);
    lower_flags_save(t);
    EMIT(e, "\x9c\x41\x5a"); /* pushfq; pop r10 */
    emit_gs(e, 0x33, T0, AT_RFLAGS, true);
    EMIT(e, "\x41\x81\xe2"); /* and r10d, imm32 */
    emit_u32(e, FLAGS_ARITH);
    emit_gs(e, 0x33, T0, AT_RFLAGS, true); /* arithmetic flags of the host, the others of rflags */
    EMIT(e, "\x41\x81\xe2");
    emit_u32(e, ~(u32)(FLAG_RF | FLAG_VM));
    lower_flags_restore(t);
    emit_u8(e, t->code32 ? 0x45 : 0x4d); /* mov [r11 + disp], r10 */
    emit_u8(e, 0x89);
    emit_operand(e, T0, T1, disp);
    emit_lea(e, HOST_SP, HOST_SP, HOST_NONE, 0, -(s32)size, !t->code32);
    return true;
}

/* Only arithmetic flags, and at CPL 0 IF, may differ. */
bool lower_popf(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    unsigned size = t->code32 ? 4 : 8;
    u32 easy = FLAGS_ARITH | (is_supervisor(t) ? FLAG_IF : 0);
    u32 counts = FLAGS_ALL & ~(u32)(FLAG_R1 | FLAG_RF | FLAG_VM | FLAG_VIF | FLAG_VIP);
    if (t->insn[i].opsize != size)
        return false;
    struct address a = address_in_stack(t, RSP, 0);
    s32 disp = lower_access(t, i, &a, size, false, TAIL_STEP);
    emit_u8(e, t->code32 ? 0x45 : 0x4d); /* mov r10, [r11 + disp] */
    emit_u8(e, 0x8b);
    emit_operand(e, T0, T1, disp);
    lower_flags_save(t);
    EMIT(e, "\x4d\x89\xd3"); /* mov r11, r10 */
    emit_gs(e, 0x33, T1, AT_RFLAGS, true);
    EMIT(e, "\x41\xf7\xc3"); /* test r11d, imm32 */
    emit_u32(e, counts & ~easy);
    tail_add(t, emit_branch(e, 0x0f85), TAIL_STEP_END, i, true);
    emit_lea(e, HOST_SP, HOST_SP, HOST_NONE, 0, (s32)size, !t->code32);
    u8 *same = NULL, *cleared = NULL;
    if (is_supervisor(t)) {
        EMIT(e, "\x4d\x89\xd3\x41\x81\xe3"); /* mov r11, r10; and r11d, imm32 */
        emit_u32(e, FLAGS_ARITH);
        EMIT(e, "\x41\x83\xcb\x02\x41\x53"); /* or r11d, 2; push r11 */
        EMIT(e, "\x4d\x89\xd3");
        emit_gs(e, 0x33, T1, AT_RFLAGS, true);
        EMIT(e, "\x41\xf7\xc3");
        emit_u32(e, FLAG_IF);
        same = emit_branch(e, 0x0f84);
        lower_gs_imm(t, GS_AND, AT(rflags), ~(u32)FLAG_IF);
        lower_gs_imm(t, GS_AND, AT(event_mask), ~(u32)EVENT_INTR);
        EMIT(e, "\x41\xf7\xc2"); /* test r10d, imm32 */
        emit_u32(e, FLAG_IF);
        cleared = emit_branch(e, 0x0f84);
        enable_interrupts(t, i, TAIL_POPF);
        if (!e->overrun) {
            emit_aim(same, e->to_exec, emit_here(e));
            emit_aim(cleared, e->to_exec, emit_here(e));
        }
    } else {
        EMIT(e, "\x41\x81\xe2"); /* and r10d, imm32 */
        emit_u32(e, FLAGS_ARITH);
        EMIT(e, "\x41\x83\xca\x02\x41\x52"); /* or r10d, 2; push r10 */
    }
    EMIT(e, "\x9d"); /* popfq */
    return true;
}

bool lower_swapgs(struct translation *t, unsigned i)
{
    if (!is_supervisor(t) || t->code32)
        return false;
    emit_gs_load(&t->e, T0, AT_SEG_BASE(GS));
    emit_gs_load(&t->e, T1, AT(msr.kernel_gs_base));
    emit_gs_store(&t->e, T1, AT_SEG_BASE(GS));
    emit_gs_store(&t->e, T0, AT(msr.kernel_gs_base));
    return true;
}

/* STAC, CLAC: which rights count. */
bool lower_ac(struct translation *t, unsigned i)
{
    bool set = t->insn[i].id == INSN_STAC;
    unsigned index = set ? MMU_KERNEL_AC : MMU_KERNEL;
    if (!is_supervisor(t))
        return false;
    lower_flags_save(t);
    lower_gs_imm(t, set ? GS_OR : GS_AND, AT(rflags), set ? FLAG_AC : ~(u32)FLAG_AC);
    lower_flags_restore(t);
    lower_rights(t, index);
    groups_forget(t);
    return true;
}

/* T1 = the divisor. */
static void load_divisor(struct translation *t, unsigned i, unsigned size)
{
    const struct opnd *o = &t->insn[i].opnd[0];
    if (o->kind == OPND_MEM) {
        struct address a = address_of(t, i);
        s32 disp = lower_access(t, i, &a, size, false, TAIL_STEP);
        emit_u8(&t->e, size == 8 ? 0x4d : 0x45); /* mov r11, [r11 + disp] */
        emit_u8(&t->e, 0x8b);
        emit_operand(&t->e, T1, T1, disp);
    } else {
        lower_read(t, T1, o->reg);
    }
}

static void emit_sized(struct emitter *e, unsigned size, unsigned rex, const char *bytes, unsigned count)
{
    emit_u8(e, rex | (size == 8 ? 8 : 0));
    emit_bytes(e, bytes, count);
}

/* Where it cannot raise: unsigned, the upper half below the divisor; signed, a dividend that fits in the
 * lower half and a divisor other than 0 and -1. */
bool lower_div(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    const struct insn *insn = &t->insn[i];
    unsigned size = insn->opnd[0].size;
    bool is_signed = insn->id == INSN_IDIV;
    if (size < 4 || (insn->opnd[0].kind == OPND_MEM && !address_is_simple(t, i)))
        return false;
    load_divisor(t, i, size);
    lower_flags_save(t);
    if (is_signed) {
        emit_sized(e, size, 0x41, "\x89\xc2", 2); /* mov r10, rax */
        emit_sized(e, size, 0x41, "\xc1\xfa", 2); /* sar r10, width - 1 */
        emit_u8(e, size * 8 - 1);
        emit_sized(e, size, 0x41, "\x39\xd2", 2); /* cmp r10, rdx */
        tail_add(t, emit_branch(e, 0x0f85), TAIL_STEP, i, true);
        emit_sized(e, size, 0x45, "\x8d\x53\x01", 3); /* lea r10, [r11 + 1] */
        emit_sized(e, size, 0x41, "\x83\xfa\x01", 3); /* cmp r10, 1 */
        tail_add(t, emit_branch(e, 0x0f86), TAIL_STEP, i, true);
    } else {
        emit_sized(e, size, 0x44, "\x39\xda", 2); /* cmp rdx, r11 */
        tail_add(t, emit_branch(e, 0x0f83), TAIL_STEP, i, true);
    }
    emit_sized(e, size, 0x41, is_signed ? "\xf7\xfb" : "\xf7\xf3", 2);
    if (t->j->checker) /* undefined: what the interpreter has */
        lower_flags_restore(t);
    return true;
}
