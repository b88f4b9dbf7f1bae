/* The interpreter in 16- and 32-bit code, and what differs between the modes. */
#include "tests/tap.h"
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;

GUEST(real, 16,
      "mov $0x2000, %ax; mov %ax, %ds; movw $0x1234, 4; mov 4, %bx; push %bx; pop %cx; mov $0xfffe, %si; mov "
      "%cx, (%si)\n"
      "lodsw; mov %si, %dx; mov $0xffff, %di; add $1, %di; mov $0x12345678, %ebp; push %ebp; pop %di; pop "
      "%di; call 1f; hlt\n"
      "1: mov %sp, %bp; mov $3, %cx; 2: inc %bx; loop 2b; ret");
static void test_real(void)
{
    CHECK_EQ(RUN(g, v, 16, real), -1);
    CHECK_EQ(v->gpr[RBX], 0x1237);
    CHECK_EQ(v->gpr[RAX], 0x1234);
    CHECK_EQ(v->gpr[RDX], 0);
    CHECK_EQ(v->gpr[RDI], 0x1234);
    CHECK_EQ(v->gpr[RBP], 0x1234effe);
    CHECK_EQ(load_le16(guest_ptr(g, 0x20004)), 0x1234);
    CHECK_EQ(load_le16(guest_ptr(g, 0x2fffe)), 0x1234);
    CHECK_EQ(v->gpr[RSP], 0xf000);
}

/* The last byte of the segment: a word there is #GP, in the stack segment #SS. */
GUEST(real_limit, 16, "mov $0xffff, %bx; mov (%bx), %ax; hlt");
GUEST(real_stack, 16, "mov $1, %sp; push %ax; hlt");
GUEST(real_ea, 16, "mov $0x8000, %bx; mov $0x8002, %si; movw $0x77, 2(%bx,%si); mov 4, %ax; hlt");
static void test_real_limits(void)
{
    CHECK_EQ(RUN(g, v, 16, real_limit), EXC_GP);
    CHECK_EQ(RUN(g, v, 16, real_stack), -2); /* #SS cannot be pushed either: shutdown */
    CHECK_EQ(v->activity, ACTIVITY_SHUTDOWN);
    CHECK_EQ(RUN(g, v, 16, real_ea), -1);
    CHECK_EQ(v->gpr[RAX], 0x77);
}

GUEST(bcd, 32,
      "mov $0x38, %al; add $0x45, %al; daa; mov %al, %bl; mov $0x35, %al; sub $0x47, %al; das; mov %al, %bh; "
      "mov $0x0105, %ax\n"
      "add $9, %al; aaa; mov %ax, %cx; mov $0x0103, %ax; sub $9, %al; aas; mov %ax, %dx; mov $79, %al; aam; "
      "mov %ax, %si\n"
      "mov $0x0709, %ax; aad; mov %ax, %di; stc; .byte 0xd6; mov %eax, %ebp; hlt");
static void test_bcd(void)
{
    CHECK_EQ(RUN(g, v, 32, bcd), -1);
    CHECK_EQ(v->gpr[RBX], 0x8883);
    CHECK_EQ(v->gpr[RCX], 0x0204);
    CHECK_EQ(v->gpr[RDX], 0x0004);
    CHECK_EQ(v->gpr[RSI], 0x0709);
    CHECK_EQ(v->gpr[RDI], 79);
    CHECK_EQ(v->gpr[RBP], 0xff);
}
GUEST(aam_zero, 32, ".byte 0xd4, 0x00; hlt");

GUEST(
    flat, 32,
    "mov $0x20000, %ebx; movl $0x11223344, (%ebx); incl (%ebx); mov (%ebx), %eax; pusha; mov %esp, 0x20100; "
    "popa; push %cs; pop %ecx\n"
    "push $-1; pop %edx; call 1f; jmp 2f; 1: mov $5, %esi; ret; 2: mov %ds, %edi; push $0x30000; push "
    "%ebp; enter $8, $1; leave\n"
    "pop %ebp; bound %edx, 8(%ebx); hlt");
static void test_flat(void)
{
    store_le32(guest_ptr(g, 0x20008), 0xfffffff0);
    store_le32(guest_ptr(g, 0x2000c), 7);
    CHECK_EQ(RUN(g, v, 32, flat), -1);
    CHECK_EQ(v->gpr[RAX], 0x11223345);
    CHECK_EQ(load_le32(guest_ptr(g, 0x20100)), GUEST_STACK - 32);
    CHECK_EQ(v->gpr[RCX], 8);
    CHECK_EQ(v->gpr[RDX], 0xffffffff);
    CHECK_EQ(v->gpr[RSI], 5);
    CHECK_EQ(v->gpr[RDI], 16);
    CHECK_EQ(v->gpr[RSP], GUEST_STACK - 4);
    CHECK_EQ(load_le32(guest_ptr(g, GUEST_STACK - 32 + 12)), GUEST_STACK); /* PUSHA's ESP */
    store_le32(guest_ptr(g, 0x2000c), -2);
    CHECK_EQ(RUN(g, v, 32, flat), EXC_BR);
    CHECK_EQ(RUN(g, v, 32, aam_zero), EXC_DE);
}

/* Segment limits in protected mode: the fast handlers' checks. */
GUEST(limit_read, 32, "mov $0xffd, %ebx; mov (%ebx), %al; mov (%ebx), %cx; mov (%ebx), %edx; hlt");
GUEST(limit_write, 32, "mov $0x2000, %ebx; mov %eax, (%ebx); hlt");
GUEST(limit_down, 32, "mov $0x1000, %ebx; mov (%ebx), %eax; mov $0xfff, %ebx; mov (%ebx), %ecx; hlt");
GUEST(limit_code, 32, "jmp .+0x4000");
static void test_limits(void)
{
    guest_mode32(g, v);
    guest_load(g, GUEST_CODE, limit_read, limit_read_end);
    v->seg[DS].limit = 0xfff;
    v->seg[DS].base = 0x20000;
    store_le32(guest_ptr(g, 0x20ffd), 0x00aabbcc);
    CHECK_EQ(guest_run(v), EXC_GP);
    CHECK_EQ(v->gpr[RCX], 0xbbcc);
    CHECK_EQ(v->gpr[RDX], 0);
    guest_mode32(g, v);
    guest_load(g, GUEST_CODE, limit_write, limit_write_end);
    v->seg[DS].attr &= ~(unsigned)SEG_WRITABLE;
    CHECK_EQ(guest_run(v), EXC_GP);
    guest_mode32(g, v);
    guest_load(g, GUEST_CODE, limit_down, limit_down_end);
    v->seg[DS].attr |= SEG_EXPAND_DOWN;
    v->seg[DS].limit = 0xfff;
    CHECK_EQ(guest_run(v), EXC_GP);
    CHECK_EQ(load_le32(guest_ptr(g, v->gpr[RSP] + 4)), GUEST_CODE + 5 + 2 + 5);
    guest_mode32(g, v);
    guest_load(g, GUEST_CODE, limit_code, limit_code_end);
    v->seg[CS].limit = 0x11fff;
    CHECK_EQ(guest_run(v), EXC_GP);
    CHECK_EQ(load_le32(guest_ptr(g, v->gpr[RSP] + 4)), GUEST_CODE);
}

/* 32-bit addresses in 64-bit mode wrap; 16-bit ones in 32-bit code too. */
GUEST(wrap64, 64,
      "mov $0x100020000, %rbx; movl $6, (%ebx); mov $0xffffffff, %edi; mov $0x20001, %esi; mov (%edi,%esi), "
      "%eax; hlt");
GUEST(rep32, 64,
      "mov $0xf00020000, %rsi; mov $0xe00020010, %rdi; mov $0x700000004, %rcx; addr32 rep movsb; hlt");
static void test_wrap(void)
{
    CHECK_EQ(RUN(g, v, 64, wrap64), -1);
    CHECK_EQ(v->gpr[RAX], 6);
    CHECK_EQ(RUN(g, v, 64, rep32), -1);
    CHECK_EQ(v->gpr[RSI], 0x20004);
    CHECK_EQ(v->gpr[RDI], 0x20014);
    CHECK_EQ(v->gpr[RCX], 0);
}

/* User mode: privileged instructions, IOPL, flags that stay. */
GUEST(user_hlt, 32, "hlt");
GUEST(user_cli, 32, "cli");
GUEST(user_in, 32, "in $0x60, %al");
GUEST(user_popf, 32, "push $0x3202; popf; pushf; pop %eax; ud2");
static int run_user(const u8 *code, const u8 *end)
{
    static u8 tss[104];
    guest_mode32(g, v);
    guest_load(g, GUEST_CODE, code, end);
    memset(tss, 0, sizeof tss);
    store_le32(tss + 4, GUEST_STACK + 0x1000);
    store_le16(tss + 8, 16);
    guest_load(g, 0x6000, tss, tss + sizeof tss);
    v->tr = (struct segreg){.base = 0x6000, .limit = 103, .selector = 24, .attr = SEG_P | 11};
    v->seg[CS].attr |= SEG_DPL;
    v->seg[CS].selector = 0x23;
    v->seg[SS].attr |= SEG_DPL;
    v->seg[SS].selector = 0x2b;
    cpu_mode_update(v);
    return guest_run(v);
}
static void test_user(void)
{
    CHECK_EQ(run_user(user_hlt, user_hlt_end), EXC_GP);
    CHECK_EQ(run_user(user_cli, user_cli_end), EXC_GP);
    CHECK_EQ(run_user(user_in, user_in_end), EXC_GP);
    CHECK_EQ(run_user(user_popf, user_popf_end), EXC_UD);
    CHECK_EQ(v->gpr[RAX] & (FLAG_IF | FLAG_IOPL), 0);
}

int main(void)
{
    g = guest_create(1);
    v = g->cpu[0];
    TAP_RUN(test_real);
    TAP_RUN(test_real_limits);
    TAP_RUN(test_bcd);
    TAP_RUN(test_flat);
    TAP_RUN(test_limits);
    TAP_RUN(test_wrap);
    TAP_RUN(test_user);
    guest_destroy(g);
    return tap_done();
}
