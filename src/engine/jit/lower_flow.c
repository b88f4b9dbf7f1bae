/* Branches, the stack, and the ends of blocks. Operands as wide as the mode. */
#include "engine/jit/lower.h"
#include "mem/mem.h"

void lower_set_rip(struct translation *t, u64 rip)
{
    if (emit_fits32(rip)) {
        emit_gs_store_imm(&t->e, AT_RIP, (s32)rip);
    } else {
        emit_mov_imm(&t->e, T1, rip);
        emit_gs_store(&t->e, T1, AT_RIP);
    }
}

void lower_step(struct translation *t, unsigned i, bool end)
{
    lower_set_rip(t, t->rip[i]);
    if (end) {
        emit_gs_store_imm(&t->e, AT_WORD(WORD_STEP), 1);
        emit_jump_to(&t->e, 0xe9, t->j->thunk.exit);
        return;
    }
    emit_mov_imm(&t->e, T0, (u64)t->insn[i].id << 8 | t->insn[i].len);
    emit_jump_to(&t->e, 0xe8, t->j->thunk.step);
}

/* May a jump to `target` be chained: is it in this block's page? */
static bool is_near(const struct translation *t, u64 target)
{
    return ((target ^ t->b->rip) & PAGE_MASK) == 0 && t->links < ARRAY_LEN(t->b->link);
}

/* A jump (opcode E9 or 0F80h + cc) to a guest address. */
static void branch_to(struct translation *t, unsigned opcode, u64 target)
{
    u8 *site = emit_branch(&t->e, opcode);
    if (is_near(t, target)) {
        t->b->link[t->links] =
            (struct link){.rip = target, .site = site, .poll = target <= t->b->rip, .second = t->links};
        tail_add(t, site, TAIL_LINK, t->links++, target, false);
    } else {
        tail_add(t, site, TAIL_FAR, 0, target, false);
    }
}

void lower_goto(struct translation *t, u64 target)
{
    branch_to(t, 0xe9, target);
    t->ended = true;
}

/* To the address in T0. What the branch does besides has been done, or follows the lookup. */
static void lookup(struct translation *t, unsigned i)
{
    emit_mov_imm(&t->e, T1, t->rip[i]);
    emit_jump_to(&t->e, 0xe8, t->j->thunk.lookup);
}

static void jump_t1(struct translation *t)
{
    EMIT(&t->e, "\x41\xff\xe3");
    t->ended = true;
}

/* Bytes of a stack slot and of a branch target. */
static unsigned native_size(const struct translation *t)
{
    return t->code32 ? 4 : 8;
}

static void move_sp(struct translation *t, s32 by)
{
    emit_lea(&t->e, HOST_SP, HOST_SP, HOST_NONE, 0, by, !t->code32);
}

/* T1 = the top of the stack for reading, or the place below it for writing. */
static void stack_access(struct translation *t, unsigned i, bool push, enum tail_kind kind)
{
    struct address a = address_in_stack(t, RSP, push ? -(s32)native_size(t) : 0);
    lower_access(t, i, &a, native_size(t), push, kind);
}

/* `opcode reg, [T1]` of the native size */
static void via_t1(struct translation *t, unsigned opcode, unsigned reg)
{
    emit_u8(&t->e, (t->code32 ? 0x41 : 0x49) | (reg >> 3) << 2);
    emit_u8(&t->e, opcode);
    emit_u8(&t->e, (reg & 7) << 3 | (T1 & 7));
}

/* mov [T1], imm32 */
static void store_imm(struct translation *t, u32 imm)
{
    emit_u8(&t->e, t->code32 ? 0x41 : 0x49);
    EMIT(&t->e, "\xc7\x03");
    emit_u32(&t->e, imm);
}

/* The operand's value into T0. */
static void load_operand(struct translation *t, unsigned i, enum tail_kind kind)
{
    const struct opnd *o = &t->insn[i].opnd[0];
    if (o->kind == OPND_MEM) {
        struct address a = address_of(t, i);
        lower_access(t, i, &a, native_size(t), false, kind);
        via_t1(t, 0x8b, T0);
    } else {
        lower_read(t, T0, o->reg);
        if (t->code32)
            EMIT(&t->e, "\x45\x89\xd2"); /* mov r10d, r10d */
    }
}

static bool operand_is_simple(const struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    return insn->opsize == native_size(t) && (insn->opnd[0].kind != OPND_MEM || address_is_simple(t, i));
}

bool lower_push(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    const struct opnd *o = &insn->opnd[0];
    if (!operand_is_simple(t, i))
        return false;
    if (o->kind == OPND_MEM) {
        load_operand(t, i, TAIL_STEP);
        emit_gs_store(&t->e, T0, AT_WORD(WORD_VALUE));
    }
    stack_access(t, i, true, TAIL_STEP);
    if (o->kind == OPND_IMM) {
        store_imm(t, (u32)insn->imm);
    } else if (o->kind == OPND_MEM) {
        emit_gs_load(&t->e, T0, AT_WORD(WORD_VALUE));
        via_t1(t, 0x89, T0);
    } else if (jit_host_of[o->reg] != HOST_NONE) {
        via_t1(t, 0x89, jit_host_of[o->reg]);
    } else {
        lower_read(t, T0, o->reg);
        via_t1(t, 0x89, T0);
    }
    move_sp(t, -(s32)native_size(t));
    return true;
}

bool lower_pop(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (insn->opsize != native_size(t) || insn->opnd[0].kind != OPND_GPR)
        return false;
    stack_access(t, i, false, TAIL_STEP);
    via_t1(t, 0x8b, T0);
    move_sp(t, (s32)native_size(t));
    lower_write(t, insn->opnd[0].reg, T0);
    return true;
}

bool lower_leave(struct translation *t, unsigned i)
{
    struct address frame = address_in_stack(t, RBP, 0);
    if (t->insn[i].opsize != native_size(t))
        return false;
    lower_access(t, i, &frame, native_size(t), false, TAIL_STEP);
    via_t1(t, 0x8b, T0);
    emit_lea(&t->e, HOST_SP, RBP, HOST_NONE, 0, (s32)native_size(t), !t->code32);
    lower_write(t, RBP, T0);
    return true;
}

static void push_return_address(struct translation *t, unsigned i)
{
    stack_access(t, i, true, TAIL_STEP_END);
    if (t->code32 || emit_fits32(t->rip[i + 1])) {
        store_imm(t, (u32)t->rip[i + 1]);
    } else {
        emit_mov_imm(&t->e, T0, t->rip[i + 1]);
        via_t1(t, 0x89, T0);
    }
}

static u64 direct_target(const struct translation *t, unsigned i)
{
    u64 target = t->rip[i + 1] + t->insn[i].imm;
    return t->code32 ? (u32)target : target;
}

static bool is_plain_branch(const struct translation *t, unsigned i)
{
    return t->insn[i].opsize == native_size(t) && is_canonical(direct_target(t, i));
}

bool lower_call(struct translation *t, unsigned i)
{
    if (!is_plain_branch(t, i))
        return false;
    push_return_address(t, i);
    move_sp(t, -(s32)native_size(t));
    lower_goto(t, direct_target(t, i));
    return true;
}

bool lower_call_ind(struct translation *t, unsigned i)
{
    if (!operand_is_simple(t, i))
        return false;
    /* The lookup comes first: it is what may find the target to be no address. */
    load_operand(t, i, TAIL_STEP_END);
    lookup(t, i);
    emit_gs_store(&t->e, T1, AT_WORD(WORD_VALUE));
    emit_gs_store(&t->e, T0, AT_WORD(WORD_T4));
    push_return_address(t, i);
    move_sp(t, -(s32)native_size(t));
    emit_gs_load(&t->e, T1, AT_WORD(WORD_VALUE));
    emit_gs_load(&t->e, T0, AT_WORD(WORD_T4));
    jump_t1(t);
    return true;
}

bool lower_jmp(struct translation *t, unsigned i)
{
    if (!is_plain_branch(t, i))
        return false;
    lower_goto(t, direct_target(t, i));
    return true;
}

bool lower_jmp_ind(struct translation *t, unsigned i)
{
    if (!operand_is_simple(t, i))
        return false;
    load_operand(t, i, TAIL_STEP_END);
    lookup(t, i);
    jump_t1(t);
    return true;
}

bool lower_jcc(struct translation *t, unsigned i)
{
    if (!is_plain_branch(t, i))
        return false;
    branch_to(t, 0x0f80u | (t->insn[i].opcode & 15), direct_target(t, i));
    lower_goto(t, t->rip[i + 1]);
    return true;
}

bool lower_ret(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (insn->opsize != native_size(t))
        return false;
    stack_access(t, i, false, TAIL_STEP_END);
    via_t1(t, 0x8b, T0);
    lookup(t, i);
    move_sp(t, (s32)native_size(t) + (insn->nopnds ? (s32)(insn->imm & 0xffff) : 0));
    jump_t1(t);
    return true;
}
