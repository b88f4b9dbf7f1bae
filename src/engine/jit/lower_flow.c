/* Branches, the stack, and the ends of blocks. Operands as wide as the mode. */
#include "engine/jit/cache.h"
#include "engine/jit/jump.h"
#include "engine/jit/lower_vector.h"
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

void lower_step(struct translation *t, unsigned i, unsigned count, bool end)
{
    unsigned len = 0;
    for (unsigned n = 0; n < count; n++)
        len += t->insn[i + n].len;
    lower_set_rip(t, t->rip[i]);
    emit_mov_imm(&t->e, T0, STEP_WHAT(t->insn[i].id, count, len));
    emit_jump_to(&t->e, end ? 0xe9 : 0xe8, end ? t->j->thunk.step_end : t->j->thunk.step[state_is_used(t)]);
}

/* Is a jump to `target` one within this block's page? */
static bool is_near(const struct translation *t, u64 target)
{
    return ((target ^ t->b->rip) & PAGE_MASK) == 0;
}

struct link *link_new(struct translation *t, u64 target)
{
    struct link *link = &t->link[t->links];
    if (t->links + 1 < BLOCK_LINKS)
        t->links++;
    else
        t->e.overrun = true;
    *link = (struct link){.rip = target, .poll = target <= t->rip[t->at], .from = t->b};
    return link;
}

static unsigned link_index(const struct translation *t, const struct link *link)
{
    return (unsigned)(link - t->link);
}

void lower_link(struct translation *t, const struct link *link)
{
    lower_set_rip(t, link->rip);
    emit_mov_imm(&t->e, T0, (u64)(uintptr_t)link);
    emit_jump_to(&t->e, 0xe9, t->j->thunk.link);
}

/* lea rsp, [rsp + 8]: before a host call, whose return address only the host's prediction is to use. */
#define MAKE_ROOM "\x48\x8d\x64\x24\x08"

/* Is the context (and no stop wanted) the one in which the target's page was found to be where it is
 * expected? Without touching the flags. Until the link is aimed no context is. */
void lower_far(struct translation *t, unsigned n, bool call)
{
    struct emitter *e = &t->e;
    struct link *link = &t->link[n];
    EMIT(e, "\x49\x89\xcb"); /* mov r11, rcx */
    emit_pad_for_patch(e, 5);
    emit_gs_load(e, RCX, AT_WORD(WORD_CONTEXT));
    link->word = e->p - 4;
    emit_pad_for_patch(e, 5);
    emit_gs(e, 0x63, T0, AT_EXPECT(0), true); /* movsxd r10, gs:[...] */
    link->expect = e->p - 4;
    EMIT(e, "\x4a\x8d\x0c\x11\xe3\x05"); /* lea rcx, [rcx + r10]; jrcxz +5 */
    tail_add(t, emit_branch(e, 0xe9), TAIL_MISS, n, false);
    EMIT(e, "\x4c\x89\xd9"); /* mov rcx, r11 */
    if (call)
        EMIT(e, MAKE_ROOM);
    emit_pad_for_patch(e, 1);
    link->site = emit_branch(e, call ? 0xe8 : 0xe9);
}

static void jump_if(struct translation *t, unsigned opcode, u64 target)
{
    struct link *link = link_new(t, target);
    emit_pad_for_patch(&t->e, opcode > 0xff ? 2 : 1);
    link->site = emit_branch(&t->e, opcode);
    tail_add(t, link->site, is_near(t, target) ? TAIL_LINK : TAIL_FAR, link_index(t, link), false);
}

void lower_goto(struct translation *t, u64 target)
{
    if (is_near(t, target))
        jump_if(t, 0xe9, target);
    else
        lower_far(t, link_index(t, link_new(t, target)), false);
    t->ended = true;
}

/* To the address in T0. */
static void lower_indirect(struct translation *t, unsigned i, enum lookup_kind kind)
{
    /* The branch's own: for a target that is no address. */
    if (!t->code32)
        lower_set_rip(t, t->rip[i]);
    lookup_go(&t->e, t->b->mode & MODE_USER, kind);
}

static const u8 *hva_of(const struct translation *t, u64 rip)
{
    return t->b->hva + (rip - t->b->rip);
}

/*
 * Call `i` has pushed its return address and moved the stack pointer. If another block has its host call, it
 * goes on there: the host expects returns behind that one, so there should be no second. If that block is
 * dropped, it goes on behind this.
 */
static bool lower_joined_call(struct translation *t, unsigned i)
{
    u64 rip = t->rip[i + 1];
    struct block *b = NULL;
    if (is_near(t, rip))
        b = cache_find(t->j->vm, hva_of(t, rip), rip, t->b->mode & ~(unsigned)MODE_PLAIN);
    if (!b || !b->call || b->call_len != t->insn[i].len)
        return false;
    struct link *link = link_new(t, rip);
    link->join = b;
    emit_pad_for_patch(&t->e, 1);
    link->site = emit_branch(&t->e, 0xe9);
    return true;
}

/* Is where call `i` returns to in the block too? Then this is where its host call begins. */
static struct block *lower_landing(struct translation *t, unsigned i)
{
    u64 rip = t->rip[i + 1];
    if (i + 1 == t->count || t->b->landings == BLOCK_CALLS || !is_near(t, rip))
        return NULL;
    struct block *b = cache_landing(t->j, t->b);
    b->rip = rip;
    b->hva = hva_of(t, rip);
    b->call = emit_here(&t->e);
    b->call_len = t->insn[i].len;
    return b;
}

/* Behind the host's call: nothing is known but that T0 is the address that was returned to. */
static void lower_landed(struct translation *t, unsigned i, struct block *b)
{
    b->checked = emit_here(&t->e);
    lookup_check(t->j, &t->e, b->rip, t->b->mode & MODE_USER, t->live[i + 1]);
    b->entry = emit_here(&t->e);
    groups_forget(t);
    t->state_used |= t->vectors || t->x87;
    t->vectors = t->high = t->x87 = false;
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

/* [T1 + result] = the top of the stack for reading, or the place below it for writing. */
static s32 stack_access(struct translation *t, unsigned i, bool push, enum tail_kind kind)
{
    struct address a = address_in_stack(t, RSP, push ? -(s32)native_size(t) : 0);
    return lower_access(t, i, &a, native_size(t), push, kind);
}

/* `opcode reg, [T1 + disp]` of the native size */
static void via_t1(struct translation *t, unsigned opcode, unsigned reg, s32 disp)
{
    emit_u8(&t->e, (t->code32 ? 0x41 : 0x49) | (reg >> 3) << 2);
    emit_u8(&t->e, opcode);
    emit_operand(&t->e, reg, T1, disp);
}

/* mov [T1 + disp], imm32 */
static void store_imm(struct translation *t, u32 imm, s32 disp)
{
    via_t1(t, 0xc7, 0, disp);
    emit_u32(&t->e, imm);
}

/* The operand's value into T0. */
static void load_operand(struct translation *t, unsigned i, enum tail_kind kind)
{
    const struct opnd *o = &t->insn[i].opnd[0];
    if (o->kind == OPND_MEM) {
        struct address a = address_of(t, i);
        via_t1(t, 0x8b, T0, lower_access(t, i, &a, native_size(t), false, kind));
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

/* PUSH or POP is done, and T1 is as its access has left it. */
static bool stack_done(struct translation *t, unsigned i)
{
    unsigned g = t->slot[i][SLOT_STACK].group;
    t->t1_group = (u8)(g != GROUP_NONE && !t->group[g].dead ? g : GROUP_NONE);
    t->t1_at = t->e.p;
    return true;
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
    s32 at = stack_access(t, i, true, TAIL_STEP);
    if (o->kind == OPND_IMM) {
        store_imm(t, (u32)insn->imm, at);
    } else if (o->kind == OPND_MEM) {
        emit_gs_load(&t->e, T0, AT_WORD(WORD_VALUE));
        via_t1(t, 0x89, T0, at);
    } else if (jit_host_of[o->reg] != HOST_NONE) {
        via_t1(t, 0x89, jit_host_of[o->reg], at);
    } else {
        lower_read(t, T0, o->reg);
        via_t1(t, 0x89, T0, at);
    }
    move_sp(t, -(s32)native_size(t));
    return stack_done(t, i);
}

bool lower_pop(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (insn->opsize != native_size(t) || insn->opnd[0].kind != OPND_GPR)
        return false;
    unsigned host = jit_host_of[insn->opnd[0].reg];
    s32 at = stack_access(t, i, false, TAIL_STEP);
    if (host == HOST_NONE || host == HOST_SP) {
        via_t1(t, 0x8b, T0, at);
        move_sp(t, (s32)native_size(t));
        lower_write(t, insn->opnd[0].reg, T0);
    } else {
        via_t1(t, 0x8b, host, at);
        move_sp(t, (s32)native_size(t));
    }
    return stack_done(t, i);
}

bool lower_leave(struct translation *t, unsigned i)
{
    struct address frame = address_in_stack(t, RBP, 0);
    if (t->insn[i].opsize != native_size(t))
        return false;
    s32 at = lower_access(t, i, &frame, native_size(t), false, TAIL_STEP);
    emit_lea(&t->e, HOST_SP, RBP, HOST_NONE, 0, (s32)native_size(t), !t->code32);
    via_t1(t, 0x8b, RBP, at);
    return true;
}

static void push_return_address(struct translation *t, unsigned i)
{
    s32 at = stack_access(t, i, true, TAIL_STEP_END);
    if (t->code32 || emit_fits32(t->rip[i + 1])) {
        store_imm(t, (u32)t->rip[i + 1], at);
    } else {
        emit_mov_imm(&t->e, T0, t->rip[i + 1]);
        via_t1(t, 0x89, T0, at);
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
    u64 target = direct_target(t, i);
    if (!is_plain_branch(t, i))
        return false;
    push_return_address(t, i);
    move_sp(t, -(s32)native_size(t));
    struct block *landing = lower_joined_call(t, i) ? NULL : lower_landing(t, i);
    if (!landing) {
        lower_goto(t, target);
        return true;
    }
    if (is_near(t, target)) {
        EMIT(&t->e, MAKE_ROOM);
        jump_if(t, 0xe8, target);
    } else {
        lower_far(t, link_index(t, link_new(t, target)), true);
    }
    lower_landed(t, i, landing);
    return true;
}

bool lower_call_ind(struct translation *t, unsigned i)
{
    const struct opnd *o = &t->insn[i].opnd[0];
    bool keep = o->kind == OPND_MEM || o->reg == RSP;
    if (!operand_is_simple(t, i))
        return false;
    if (keep) {
        load_operand(t, i, TAIL_STEP_END);
        emit_gs_store(&t->e, T0, AT_WORD(WORD_VALUE));
    }
    push_return_address(t, i);
    move_sp(t, -(s32)native_size(t));
    if (keep)
        emit_gs_load(&t->e, T0, AT_WORD(WORD_VALUE));
    else
        load_operand(t, i, TAIL_STEP_END);
    struct block *landing = lower_joined_call(t, i) ? NULL : lower_landing(t, i);
    lower_indirect(t, i, landing ? LOOKUP_CALL : LOOKUP_JUMP);
    if (landing)
        lower_landed(t, i, landing);
    else
        t->ended = true;
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
    lower_indirect(t, i, LOOKUP_JUMP);
    t->ended = true;
    return true;
}

bool lower_jcc(struct translation *t, unsigned i)
{
    if (!is_plain_branch(t, i))
        return false;
    jump_if(t, 0x0f80u | (t->insn[i].opcode & 15), direct_target(t, i));
    return true;
}

bool lower_ret(struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    if (insn->opsize != native_size(t))
        return false;
    via_t1(t, 0x8b, T0, stack_access(t, i, false, TAIL_STEP_END));
    s32 pop = (s32)native_size(t) + (insn->nopnds ? (s32)(insn->imm & 0xffff) : 0);
    move_sp(t, pop);
    lower_indirect(t, i, LOOKUP_RETURN);
    t->ended = true;
    return true;
}
