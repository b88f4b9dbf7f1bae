/*
 * SYSCALL and SYSRET between 64-bit code and 64-bit code (SDM vol. 2, AMD APM vol. 3). What cpu/syscall.c
 * does, inline, where no check fails and nothing is due behind the instruction; all else is the
 * interpreter's: TF or AC in the new flags, a pending interrupt, an RCX that is no address, EFER.SCE = 0. RF
 * and TF are 0 in translated code.
 */
#include "engine/jit/jump.h"
#include "engine/jit/lower_system.h"

#define ATTR_FLAT  (SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G)
#define ATTR_CODE  (ATTR_FLAT | SEG_CODE | SEG_L)
#define ATTR_STACK (ATTR_FLAT | SEG_DB)

static u32 at_segment(unsigned seg, unsigned offset)
{
    return AT(seg) + (u32)(seg * sizeof(struct segreg)) + offset;
}

static void store_u8(struct emitter *e, u32 offset, unsigned value)
{
    EMIT(e, "\x65\xc6\x04\x25");
    emit_u32(e, offset);
    emit_u8(e, value);
}

/* The flat segment with the selector in T1. */
static void load_flat(struct translation *t, unsigned seg, unsigned attr)
{
    struct emitter *e = &t->e;
    emit_gs_store_imm(e, at_segment(seg, offsetof(struct segreg, base)), 0);
    EMIT(e, "\x65\xc7\x04\x25"); /* mov dword gs:[...], imm32 */
    emit_u32(e, at_segment(seg, offsetof(struct segreg, limit)));
    emit_u32(e, 0xffffffff);
    emit_u8(e, 0x66);
    emit_gs(e, 0x89, T1, at_segment(seg, offsetof(struct segreg, selector)), false);
    EMIT(e, "\x66\x65\xc7\x04\x25"); /* mov word gs:[...], imm16 */
    emit_u32(e, at_segment(seg, offsetof(struct segreg, attr)));
    emit_u8(e, attr & 0xff);
    emit_u8(e, attr >> 8);
}

/* T1 = the selector in a word of STAR, without its RPL. */
static void load_star(struct emitter *e, unsigned byte)
{
    EMIT(e, "\x65\x44\x0f\xb7\x1c\x25"); /* movzx r11d, word gs:[...] */
    emit_u32(e, AT(msr.star) + byte);
    EMIT(e, "\x41\x81\xe3\xfc\xff\x00\x00"); /* and r11d, fffch */
}

/* `add` to the selector in T1, and its RPL. */
static void next_selector(struct emitter *e, int add, unsigned rpl)
{
    EMIT(e, "\x45\x8d\x5b"); /* lea r11d, [r11 + disp8] */
    emit_u8(e, (u8)add);
    EMIT(e, "\x41\x83\xcb"); /* or r11d, imm8 */
    emit_u8(e, rpl);
}

/* The privilege level, and what the engine derives from it. */
static void set_level(struct translation *t, unsigned mode, unsigned cpl, enum mmu_index index)
{
    struct emitter *e = &t->e;
    store_u8(e, AT(cpl), cpl);
    lower_rights(t, index);
    emit_mov_imm(e, T1, cache_key(0, mode));
    emit_gs_store(e, T1, AT_WORD(WORD_MODE));
}

/* The host's arithmetic flags = T0's. */
static void set_arithmetic_flags(struct emitter *e)
{
    EMIT(e, "\x49\x89\xc3\x44\x89\xd0\x88\xc4"); /* mov r11, rax; mov eax, r10d; mov ah, al */
    EMIT(e, "\x41\x0f\xba\xe2\x0b\x0f\x92\xc0"); /* bt r10d, 11; setc al */
    EMIT(e, "\x04\x7f\x9e\x4c\x89\xd8");         /* add al, 7fh; sahf; mov rax, r11 */
}

/* On to T0, which is canonical. */
static void go_to(struct translation *t, unsigned mode)
{
    lookup_go(&t->e, mode & MODE_USER, LOOKUP_JUMP);
    t->ended = true;
}

static void slow_if(struct translation *t, unsigned i, unsigned jcc)
{
    tail_add(t, emit_branch(&t->e, jcc), TAIL_TRANSFER, i, false);
}

enum { JZ = 0x0f84, JNZ = 0x0f85, JA = 0x0f87 };

/* T1 = the flags; what both instructions need: EFER.SCE, a table of jumps for the mode that follows, nothing
 * to be noted of the x87 state (that would take the old CS). */
static void check_state(struct translation *t, unsigned i, unsigned mode)
{
    EMIT(&t->e, "\x9c\x41\x5b"); /* pushfq; pop r11 */
    lower_gs_imm(t, GS_TEST, AT(efer), EFER_SCE);
    slow_if(t, i, JZ);
    lower_gs_imm(t, GS_CMP, AT_WORD(WORD_TABLE_MODE + !!(mode & MODE_USER)), mode);
    slow_if(t, i, JNZ);
    lower_gs_imm(t, GS_CMP, AT_WORD(WORD_X87_USED), 0);
    slow_if(t, i, JNZ);
}

static void test_t0(struct emitter *e, u32 imm)
{
    EMIT(e, "\x41\xf7\xc2"); /* test r10d, imm32 */
    emit_u32(e, imm);
}

static void and_t0(struct emitter *e, u32 imm)
{
    EMIT(e, "\x41\x81\xe2"); /* and r10d, imm32 */
    emit_u32(e, imm);
}

bool lower_syscall(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    unsigned mode = t->b->mode & ~(unsigned)(MODE_USER | MODE_PLAIN);
    if (t->code32)
        return false;
    check_state(t, i, mode);
    EMIT(e, "\x45\x89\xda"); /* mov r10d, r11d */
    and_t0(e, FLAGS_ARITH);
    emit_gs_load(e, T1, AT_RFLAGS);
    EMIT(e, "\x41\x81\xe3"); /* and r11d, imm32 */
    emit_u32(e, ~(u32)(FLAGS_ARITH | FLAG_RF));
    EMIT(e, "\x4d\x09\xd3"); /* or r11, r10: what R11 gets */
    emit_gs_load(e, T0, AT(msr.sfmask));
    EMIT(e, "\x49\xf7\xd2\x4d\x21\xda"); /* not r10; and r10, r11 */
    test_t0(e, FLAG_AC);
    slow_if(t, i, JNZ);
    lower_write(t, R11, T1);
    EMIT(e, "\x41\x83\xca\x02"); /* or r10d, 2 */
    emit_gs_store(e, T0, AT_RFLAGS);
    test_t0(e, FLAG_IF);
    u8 *enabled = emit_branch(e, JNZ);
    lower_gs_imm(t, GS_AND, AT(event_mask), ~(u32)EVENT_INTR);
    if (!e->overrun)
        emit_aim(enabled, e->to_exec, emit_here(e));
    load_star(e, 4);
    load_flat(t, CS, ATTR_CODE);
    next_selector(e, 8, 0);
    load_flat(t, SS, ATTR_STACK);
    set_level(t, mode, 0, MMU_KERNEL);
    set_arithmetic_flags(e);
    emit_mov_imm(e, RCX, t->rip[i + 1]);
    emit_gs_load(e, T0, AT(msr.lstar));
    go_to(t, mode);
    return true;
}

/* IF as in T0. */
static void set_event_mask(struct translation *t)
{
    struct emitter *e = &t->e;
    test_t0(e, FLAG_IF);
    u8 *disabled = emit_branch(e, JZ);
    lower_gs_imm(t, GS_OR, AT(event_mask), EVENT_INTR);
    u8 *done = emit_branch(e, 0xe9);
    if (!e->overrun)
        emit_aim(disabled, e->to_exec, emit_here(e));
    lower_gs_imm(t, GS_AND, AT(event_mask), ~(u32)EVENT_INTR);
    if (!e->overrun)
        emit_aim(done, e->to_exec, emit_here(e));
}

bool lower_sysret(struct translation *t, unsigned i)
{
    struct emitter *e = &t->e;
    unsigned mode = (t->b->mode & ~(unsigned)MODE_PLAIN) | MODE_USER;
    if (t->code32 || (t->b->mode & MODE_USER) || t->insn[i].opsize != 8)
        return false;
    check_state(t, i, mode);
    EMIT(e, "\x49\x89\xca\x49\xc1\xfa\x2f"); /* mov r10, rcx; sar r10, 47 */
    EMIT(e, "\x49\xff\xc2\x49\x83\xfa\x01"); /* inc r10; cmp r10, 1 */
    slow_if(t, i, JA);
    lower_gs_imm(t, GS_TEST, AT(events), EVENT_INTR);
    slow_if(t, i, JNZ);
    lower_read(t, T0, R11);
    test_t0(e, FLAG_TF | FLAG_AC);
    slow_if(t, i, JNZ);
    and_t0(e, FLAGS_ALL & ~(u32)(FLAG_VM | FLAG_RF));
    EMIT(e, "\x41\x83\xca\x02"); /* or r10d, 2 */
    emit_gs_store(e, T0, AT_RFLAGS);
    set_event_mask(t);
    load_star(e, 6);
    next_selector(e, 16, 3);
    load_flat(t, CS, ATTR_CODE | SEG_DPL);
    next_selector(e, -8, 3);
    load_flat(t, SS, ATTR_STACK | SEG_DPL);
    set_level(t, mode, 3, MMU_USER);
    set_arithmetic_flags(e);
    EMIT(e, "\x49\x89\xca"); /* mov r10, rcx */
    go_to(t, mode);
    return true;
}
