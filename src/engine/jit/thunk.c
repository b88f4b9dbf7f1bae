/* The code that every translation shares: into and out of translated code, the interpreter's step. */
#include "engine/interp/stub.h"
#include "engine/jit/jump.h"
#include "engine/jit/lower_vector.h"

const u8 jit_host_of[16] = {
    [RAX] = RAX, [RCX] = RCX, [RDX] = RDX, [RBX] = RBX,      [RSP] = HOST_SP,   [RBP] = RBP,
    [RSI] = RSI, [RDI] = RDI, [R8] = R8,   [R9] = HOST_NONE, [R10] = HOST_NONE, [R11] = HOST_NONE,
    [R12] = R12, [R13] = R13, [R14] = R14, [R15] = R15,
};

/* rflags = arithmetic flags of the host | the rest of rflags. All guest registers are in memory. */
static void emit_spill(struct emitter *e)
{
    for (unsigned r = 0; r < 16; r++)
        if (jit_host_of[r] != HOST_NONE)
            emit_gs_store(e, jit_host_of[r], AT_GPR(r));
    EMIT(e, "\x9c\x58\x25"); /* pushfq; pop rax; and eax, imm32 */
    emit_u32(e, FLAGS_ARITH);
    emit_gs_load(e, RCX, AT_RFLAGS);
    EMIT(e, "\x48\x81\xe1"); /* and rcx, imm32 */
    emit_u32(e, (u32)~FLAGS_ARITH);
    EMIT(e, "\x48\x09\xc1"); /* or rcx, rax */
    emit_gs_store(e, RCX, AT_RFLAGS);
}

/* cmp dword gs:[...], 1; je over; call */
static void emit_call_if_loaded(struct emitter *e, enum jit_word off, const u8 *store)
{
    EMIT(e, "\x65\x83\x3c\x25");
    emit_u32(e, AT_WORD(off));
    EMIT(e, "\x01\x74\x05");
    emit_jump_to(e, 0xe8, store);
}

/* The vector registers and the x87 state are in memory: before C code that may use them. */
static void emit_state_store(struct jit *j, struct emitter *e)
{
    emit_call_if_loaded(e, WORD_VECTOR_OFF, j->thunk.vectors_store);
    emit_call_if_loaded(e, WORD_X87_OFF, j->thunk.x87_store);
}

static void emit_reload(struct emitter *e)
{
    emit_gs(e, 0x8b, RAX, AT_RFLAGS, false);
    EMIT(e, "\x89\xc1\xc1\xe9\x0b\x83\xe1\x01"); /* mov ecx, eax; shr ecx, 11; and ecx, 1 */
    EMIT(e, "\x80\xc1\x7f\x88\xc4\x9e");         /* add cl, 7fh (OF); mov ah, al; sahf (the others) */
    for (unsigned r = 0; r < 16; r++)
        if (jit_host_of[r] != HOST_NONE)
            emit_gs_load(e, jit_host_of[r], AT_GPR(r));
}

/* void enter(void): saves what the ABI wants saved and goes to WORD_ENTRY. RSP is then a multiple of 16. */
static void emit_enter(struct jit *j, struct emitter *e)
{
    j->thunk.enter = emit_here(e);
    EMIT(
        e,
        "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57\x48\x83\xec\x08"); /* push rbx, rbp, r12..r15; sub rsp, 8 */
    emit_reload(e);
    emit_gs(e, 0xff, 4, AT_WORD(WORD_ENTRY), false); /* jmp gs:[...] */
}

static const u8 *emit_leave(struct emitter *e)
{
    const u8 *at = emit_here(e);
    EMIT(e, "\x48\x83\xc4\x08\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3");
    return at;
}

static void emit_exits(struct jit *j, struct emitter *e)
{
    j->thunk.link = emit_here(e); /* T0: the link */
    emit_gs_store(e, T0, AT_WORD(WORD_LINK));
    u8 *over = emit_branch(e, 0xe9);
    j->thunk.exit_t0 = emit_here(e); /* T0: the RIP to go on at */
    emit_gs_store(e, T0, AT_RIP);
    emit_aim(over, e->to_exec, emit_here(e));
    j->thunk.exit = emit_here(e); /* v->rip is set */
    emit_spill(e);
    emit_state_store(j, e);
}

/* Jumped to, all registers in memory: goes on at v->rip. */
static const u8 *emit_go_on(struct jit *j, struct emitter *e)
{
    const u8 *at = emit_here(e);
    emit_reload(e);
    emit_gs_load(e, T0, AT_RIP);
    emit_jump_to(e, 0xe9, j->thunk.missed[2]); /* what is no address faults at the target */
    return at;
}

/* Called; T0: the second argument of `fn` (jit_step, jit_call), v->rip is the instruction's. Returns if the
 * next one follows. */
static const u8 *emit_inside(struct jit *j, struct emitter *e, u64 fn, const u8 *leave, const u8 *go_on,
                             bool reload)
{
    const u8 *at = emit_here(e);
    emit_spill(e);
    emit_gs_load(e, RBX, AT_WORD(WORD_VECTOR_OFF));
    emit_gs_load(e, RBP, AT_WORD(WORD_X87_OFF));
    emit_gs_load(e, R12, AT_WORD(WORD_HIGH_OFF));
    emit_state_store(j, e);
    EMIT(e, "\x48\x83\xec\x08\x4c\x89\xd6"); /* sub rsp, 8; mov rsi, r10 */
    emit_gs_load(e, RDI, AT_WORD(WORD_SELF));
    emit_mov_imm(e, RAX, fn);
    EMIT(e, "\xff\xd0\x48\x83\xc4\x08\x3c\x01\x74\x10"); /* call rax; add rsp, 8; cmp al, 1; je +16 */
    EMIT(e, "\x48\x8d\x64\x24\x08");                     /* lea rsp, [rsp + 8] */
    emit_jump_to(e, 0x0f87, go_on);
    emit_jump_to(e, 0xe9, leave);
    if (reload) {
        EMIT(e, "\x85\xed\x75\x05"); /* test ebp, ebp; jnz +5 */
        emit_jump_to(e, 0xe8, j->thunk.x87_load);
        EMIT(e, "\x85\xdb\x75\x05"); /* test ebx, ebx; jnz +5 */
        emit_jump_to(e, 0xe8, j->thunk.vectors_load);
    }
    if (reload && j->thunk.high_load) {
        EMIT(e, "\x45\x85\xe4\x75\x05"); /* test r12d, r12d; jnz +5 */
        emit_jump_to(e, 0xe8, j->thunk.high_load);
    }
    emit_reload(e);
    EMIT(e, "\xc3");
    return at;
}

/* Called; T0: linear address, T1: how (jit_fill), which does not touch the x87 state. Returns with ZF clear
 * if it is to be tried again. */
static void emit_fill(struct jit *j, struct emitter *e, bool reload)
{
    j->thunk.fill[reload] = emit_here(e);
    EMIT(e, "\x50\x51\x52\x56\x57\x41\x50\x41\x51"); /* push rax, rcx, rdx, rsi, rdi, r8, r9 */
    emit_gs_load(e, RAX, AT_WORD(WORD_VECTOR_OFF));
    emit_gs_load(e, RCX, AT_WORD(WORD_HIGH_OFF));
    EMIT(e, "\x51\x50\x85\xc0\x75\x05"); /* push rcx, rax; test eax, eax; jnz +5 */
    emit_jump_to(e, 0xe8, j->thunk.vectors_store);
    EMIT(e, "\x4c\x89\xd6\x44\x89\xda"); /* mov rsi, r10; mov edx, r11d */
    emit_gs_load(e, RDI, AT_WORD(WORD_SELF));
    emit_mov_imm(e, RAX, (u64)(uintptr_t)jit_fill);
    EMIT(e, "\xff\xd0\x41\x89\xc3"); /* call rax; mov r11d, eax */
    EMIT(e, "\x59");                 /* pop rcx */
    if (reload) {
        EMIT(e, "\x85\xc9\x75\x05"); /* test ecx, ecx; jnz +5 */
        emit_jump_to(e, 0xe8, j->thunk.vectors_load);
    }
    EMIT(e, "\x59"); /* pop rcx */
    if (reload && j->thunk.high_load) {
        EMIT(e, "\x85\xc9\x75\x05"); /* test ecx, ecx; jnz +5 */
        emit_jump_to(e, 0xe8, j->thunk.high_load);
    }
    EMIT(e, "\x41\x59\x41\x58\x5f\x5e\x5a\x59\x58"); /* pop ... */
    emit_gs_load(e, T0, AT_WORD(WORD_DIRECT));
    EMIT(e, "\x41\x80\xfb\x01\xc3"); /* cmp r11b, FILL_DONE; ret */
}

/* `fn` with the vCPU and T0; all registers are in memory. */
static void emit_call_c(struct jit *j, struct emitter *e, u64 fn)
{
    emit_spill(e);
    emit_state_store(j, e);
    EMIT(e, "\x4c\x89\xd6"); /* mov rsi, r10 */
    emit_gs_load(e, RDI, AT_WORD(WORD_SELF));
    emit_mov_imm(e, RAX, fn);
    EMIT(e, "\xff\xd0"); /* call rax */
}

/* Jumped to, likewise: the block's last instruction. */
static void emit_step_end(struct jit *j, struct emitter *e, const u8 *leave)
{
    j->thunk.step_end = emit_here(e);
    emit_call_c(j, e, (u64)(uintptr_t)jit_step_end);
    EMIT(e, "\x48\x85\xc0"); /* test rax, rax */
    emit_jump_to(e, 0x0f84, leave);
    emit_gs_store(e, RAX, AT_WORD(WORD_ENTRY));
    emit_reload(e);
    emit_gs(e, 0xff, 4, AT_WORD(WORD_ENTRY), false); /* jmp gs:[...] */
}

/* Jumped to; T0: the second argument of jit_call_end, v->rip is the instruction's. Goes on at v->rip. */
static void emit_call_end(struct jit *j, struct emitter *e, const u8 *leave, const u8 *go_on)
{
    j->thunk.call_end = emit_here(e);
    emit_call_c(j, e, (u64)(uintptr_t)jit_call_end);
    EMIT(e, "\x84\xc0"); /* test al, al */
    emit_jump_to(e, 0x0f84, leave);
    emit_jump_to(e, 0xe9, go_on);
}

void thunks_emit(struct jit *j, struct emitter *e)
{
    state_emit_thunks(j, e, j->v->native);
    emit_enter(j, e);
    emit_exits(j, e);
    const u8 *leave = emit_leave(e);
    lookup_emit(j, e);
    const u8 *go_on = emit_go_on(j, e);
    for (unsigned reload = 0; reload < 2; reload++) {
        j->thunk.step[reload] = emit_inside(j, e, (u64)(uintptr_t)jit_step, leave, go_on, reload);
        j->thunk.call[reload] = emit_inside(j, e, (u64)(uintptr_t)jit_call, leave, go_on, reload);
        emit_fill(j, e, reload);
    }
    emit_step_end(j, e, leave);
    emit_call_end(j, e, leave, go_on);
}
