/* Indirect jumps as host code: what a branch does, what its target checks, and what happens if it is not
 * there. */
#include "engine/jit/jump.h"

void lookup_go(struct emitter *e, bool user, enum lookup_kind kind)
{
    emit_gs_load(e, T1, AT_WORD(WORD_TARGETS + user));
    EMIT(e, "\x66\x45\x89\xd3"); /* mov r11w, r10w */
    if (kind == LOOKUP_CALL)
        EMIT(e, "\x48\x8d\x64\x24\x08"); /* lea rsp, [rsp + 8] */
    EMIT(e, "\x42\xff");                 /* jmp, call or push [r11 * 8] */
    emit_u8(e, 4 | (unsigned)kind << 3);
    EMIT(e, "\xdd\x00\x00\x00\x00");
    if (kind == LOOKUP_RETURN)
        EMIT(e, "\xc3");
}

/* RCX to T1, and minus `rip` + T0 in RCX. */
static void emit_compare(struct emitter *e, u64 rip)
{
    emit_rr(e, 0x8b, T1, RCX);
    if (emit_fits32(0 - rip)) {
        emit_lea(e, RCX, T0, HOST_NONE, 0, (s32)(0 - rip), true);
    } else {
        emit_mov_imm(e, RCX, 0 - rip);
        emit_lea(e, RCX, RCX, T0, 0, 0, true);
    }
}

void lookup_check(struct jit *j, struct emitter *e, u64 rip, bool user, bool flags_live)
{
    const u8 *missed = j->thunk.missed[user];
    if (flags_live) {
        emit_compare(e, rip);
        EMIT(e, "\xe3\x08"); /* jrcxz +8 */
        emit_rr(e, 0x8b, RCX, T1);
        emit_jump_to(e, 0xe9, missed);
        emit_rr(e, 0x8b, RCX, T1);
        return;
    }
    if (emit_fits32(rip)) {
        EMIT(e, "\x49\x81\xfa"); /* cmp r10, imm32 */
        emit_u32(e, (u32)rip);
    } else {
        emit_mov_imm(e, T1, rip);
        emit_rr(e, 0x3b, T0, T1);
    }
    emit_jump_to(e, 0x0f85, missed);
}

static void emit_restore(struct emitter *e)
{
    emit_gs_load(e, RAX, AT_WORD(WORD_T3));
    EMIT(e, "\x04\x7f\x9e"); /* add al, 7fh; sahf */
    emit_gs_load(e, RAX, AT_WORD(WORD_T0));
    emit_gs_load(e, RCX, AT_WORD(WORD_T1));
    emit_gs_load(e, RDX, AT_WORD(WORD_T2));
}

static void emit_save(struct emitter *e)
{
    emit_gs_store(e, RAX, AT_WORD(WORD_T0));
    emit_gs_store(e, RCX, AT_WORD(WORD_T1));
    emit_gs_store(e, RDX, AT_WORD(WORD_T2));
    EMIT(e, "\x9f\x0f\x90\xc0"); /* lahf; seto al */
    emit_gs_store(e, RAX, AT_WORD(WORD_T3));
}

/* T0: not found. Leaves for it, or for the branch (at v->rip) again if it is not canonical. */
static void emit_stopped(struct jit *j, struct emitter *e)
{
    j->thunk.stopped = emit_here(e);
    emit_save(e);
    const u8 *leave = emit_here(e);
    EMIT(e, "\x4c\x89\xd0\x48\xc1\xf8\x2f\x48\xff\xc0"); /* mov rax, r10; sar rax, 47; inc rax */
    EMIT(e, "\x48\x83\xf8\x01");                         /* cmp rax, 1 */
    u8 *bad = emit_branch(e, 0x0f87);
    emit_restore(e);
    emit_jump_to(e, 0xe9, j->thunk.exit_t0);
    emit_aim(bad, e->to_exec, emit_here(e));
    emit_restore(e);
    emit_gs_store_imm(e, AT_WORD(WORD_STEP), STEP_UNDO);
    emit_jump_to(e, 0xe9, j->thunk.exit);
    j->thunk.leave_t0 = leave;
}

_Static_assert(sizeof(struct jit_jump) == 32, "index arithmetic");

/* RDX: the struct jit_jump of T0; RCX: the table or 0. */
static void emit_fill(struct emitter *e)
{
    EMIT(e, "\x48\x85\xc9\x74\x00"); /* test rcx, rcx; jz */
    u8 *none = e->p - 1;
    emit_rm8(e, 0x8b, T1, RDX, offsetof(struct jit_jump, checked));
    EMIT(e, "\x41\x0f\xb7\xc2"); /* movzx eax, r10w */
    EMIT(e, "\x4c\x89\x1c\xc1"); /* mov [rcx + rax * 8], r11 */
    EMIT(e, "\xc1\xe8");         /* shr eax, DIRTY_BITS */
    emit_u8(e, DIRTY_BITS);
    EMIT(e, "\xc6\x84\x01"); /* mov byte [rcx + rax + dirty], 1 */
    emit_u32(e, offsetof(struct jump_table, dirty));
    emit_u8(e, 1);
    if (!e->overrun)
        *none = (u8)(e->p - (none + 1));
}

/* Jumped to; T0: a RIP. All else is as the code at T0 shall find it. */
static void emit_missed(struct jit *j, struct emitter *e, unsigned kind)
{
    j->thunk.missed[kind] = emit_here(e);
    emit_save(e);
    EMIT(e, "\x4c\x89\xd2\x48\xc1\xea"); /* mov rdx, r10; shr rdx, JUMP_BITS */
    emit_u8(e, JUMP_BITS);
    EMIT(e, "\x4c\x31\xd2\x81\xe2"); /* xor rdx, r10; and edx, imm32 */
    emit_u32(e, JUMP_COUNT - 1);
    EMIT(e, "\xc1\xe2\x05"); /* shl edx, 5 */
    emit_gs(e, 0x03, RDX, AT_WORD(WORD_JUMPS), true);
    emit_rr(e, 0x8b, RCX, T0);
    emit_gs(e, 0x33, RCX, AT_WORD(WORD_MODE), true);
    emit_rm8(e, 0x3b, RCX, RDX, offsetof(struct jit_jump, key));
    emit_jump_to(e, 0x0f85, j->thunk.leave_t0);
    emit_rm8(e, 0x8b, RAX, RDX, offsetof(struct jit_jump, context));
    if (kind < 2)
        emit_gs_load(e, RCX, kind ? AT_WORD(WORD_TABLE + 1) : AT_WORD(WORD_LOCAL));
    else
        emit_mov_imm(e, RCX, 0);
    emit_gs(e, 0x3b, RAX, AT_WORD(WORD_CONTEXT), true);
    u8 *same = emit_branch(e, 0x0f84);
    emit_gs(e, 0x3b, RAX, AT_WORD(WORD_GLOBAL), true);
    emit_jump_to(e, 0x0f85, j->thunk.leave_t0);
    if (kind < 2)
        emit_gs_load(e, RCX, AT_WORD(WORD_TABLE + kind));
    emit_aim(same, e->to_exec, emit_here(e));
    emit_fill(e);
    emit_rm8(e, 0x8b, T1, RDX, offsetof(struct jit_jump, code));
    emit_restore(e);
    EMIT(e, "\x41\xff\xe3"); /* jmp r11 */
}

void lookup_emit(struct jit *j, struct emitter *e)
{
    emit_stopped(j, e);
    for (unsigned kind = 0; kind < 3; kind++)
        emit_missed(j, e, kind);
}
