/* The translator's own matters: code that changes under it, chained loops and kicks, addresses in unmapped
 * registers. */
#include <pthread.h>
#include <unistd.h>
#include "tests/tap.h"
#define GUEST_ENGINE jit_engine
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;

/* LEA with an address register that lives in memory and a destination that is the other one. */
GUEST(lea, 64,
      "nop; mov $0x1000, %r10d; mov $3, %eax; mov $5, %ecx\n"
      "lea (%r10,%rax,4), %rax; lea (%rcx,%r10,2), %rcx; lea 8(%r10,%r10), %r11; lea (%rsp,%r10), %rdx; hlt");
static void test_lea(void)
{
    CHECK_EQ(RUN(g, v, 64, lea), -1);
    CHECK_EQ(v->gpr[RAX], 0x100c);
    CHECK_EQ(v->gpr[RCX], 0x2005);
    CHECK_EQ(v->gpr[R11], 0x2008);
    CHECK_EQ(v->gpr[RDX], GUEST_STACK + 0x1000);
}

GUEST(high, 64,
      "nop; mov $0x1234, %eax; mov %ah, %bl; movzbl %ah, %ecx; add %al, %ah; mov %ah, %dh; test $0x40, %dh\n"
      "setne %sil; mov $7, %r8d; mov $0xff00, %edx; cmp %dh, %al; setb %dil; hlt");
static void test_high_bytes(void)
{
    CHECK_EQ(RUN(g, v, 64, high), -1);
    CHECK_EQ(v->gpr[RBX], 0x12);
    CHECK_EQ(v->gpr[RCX], 0x12);
    CHECK_EQ(v->gpr[RAX], 0x4634);
    CHECK_EQ(v->gpr[RSI], 1);
    CHECK_EQ(v->gpr[RDI], 1);
}

/* A loop whose body rewrites the immediate of an instruction behind the store, in the same block, each time
 * round. */
GUEST(modify, 64,
      "nop; xor %ebx, %ebx; mov $1000, %ecx\n"
      "1: mov %ecx, 2f+1(%rip); nop\n"
      "2: mov $0x11111111, %eax; add %rax, %rbx; dec %ecx; jnz 1b; hlt");
static void test_modify_same_block(void)
{
    CHECK_EQ(RUN(g, v, 64, modify), -1);
    CHECK_EQ(v->gpr[RBX], 1000 * 1001 / 2);
}

/* A function on another page is rewritten after it has been run, through an alias of its page. */
GUEST(alias, 64,
      "nop; mov $0x12000, %edi; movl $0xc3c0ff00 + 0x48, (%rdi); mov $0x13000, %esi\n" /* inc rax; ret */
      "xor %eax, %eax; mov $100, %ecx; 1: call *%rdi; dec %ecx; jnz 1b\n"
      "movb $0xc8, 2(%rsi); mov $100, %ecx; 1: call *%rdi; dec %ecx; jnz 1b; mov %rax, %rbx; hlt"); /* dec rax
                                                                                                     */
static void test_modify_by_alias(void)
{
    guest_mode64(g, v);
    guest_page(g, v, 0x13000, 0x12000 | 7);
    guest_load(g, GUEST_CODE, alias, alias_end);
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RBX], 0);
}

/* The page of a function is mapped to another frame: after INVLPG the old translation must not be found. */
GUEST(
    remap, 64,
    "nop; movl $0xc301b0, 0x12000; movl $0xc302b0, 0x14000; mov $0x12000, %edi; call *%rdi; mov %eax, %ebx\n"
    "movq $0x14007, 0x103090; invlpg (%rdi); call *%rdi; movq $0x12007, 0x103090; invlpg (%rdi); hlt");
static void test_remap(void)
{
    CHECK_EQ(RUN(g, v, 64, remap), -1);
    CHECK_EQ(v->gpr[RBX] & 0xff, 1);
    CHECK_EQ(v->gpr[RAX] & 0xff, 2);
}

/* Accesses that share a check: a frame in one page, across two, with the lower one missing or read-only. */
GUEST(
    frame, 64,
    "nop; 1: push %rax; push %rbx; sub $0x20, %rsp; mov %rcx, (%rsp); mov %rdx, 0x18(%rsp); cmp %rcx, %rdx\n"
    "mov (%rdi), %r8; jb 2f; mov 0x18(%rsp), %rsi; add (%rsp), %rsi; add $0x20, %rsp; pop %rbx; pop %rax; "
    "hlt\n"
    "2: ud2");
static int run_frame(u64 rsp, u64 below)
{
    guest_mode64(g, v);
    guest_page(g, v, 0x2f000, below);
    guest_load(g, GUEST_CODE, frame, frame_end);
    memset(guest_ptr(g, 0x2ff00), 0x55, 0x200);
    v->gpr[RSP] = rsp;
    v->gpr[RAX] = 0xa;
    v->gpr[RBX] = 0xb;
    v->gpr[RCX] = 0xc;
    v->gpr[RDX] = 0xd;
    v->gpr[RDI] = 0x40000;
    int end = guest_run(v);
    guest_page(g, v, 0x2f000, 0x2f007);
    return end;
}
static void check_frame(u64 rsp)
{
    CHECK_EQ(v->gpr[RAX], 0xa);
    CHECK_EQ(v->gpr[RBX], 0xb);
    CHECK_EQ(v->gpr[RSI], 0x19);
    CHECK_EQ(v->gpr[RSP], rsp);
    CHECK_EQ(load_le64(guest_ptr(g, rsp - 8)), 0xa);
    CHECK_EQ(load_le64(guest_ptr(g, rsp - 0x30)), 0xc);
    CHECK_EQ(load_le64(guest_ptr(g, rsp - 0x18)), 0xd);
}
static void test_frame(void)
{
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(run_frame(0x2ff80 - 8 * i, 0x2f007), -1);
        check_frame(0x2ff80 - 8 * i);
    }
    for (u64 rsp = 0x2fff8; rsp < 0x30040; rsp += 4) {
        CHECK_EQ(run_frame(rsp, 0x2f007), -1);
        check_frame(rsp);
    }
}
static void test_frame_fault(void)
{
    for (u64 below = 0; below <= 0x2f005; below += 0x2f005) {
        /* The second PUSH faults (the stack of the handler is the same one: a double, then a triple fault).
         */
        CHECK_EQ(run_frame(0x30008, below), -2);
        CHECK_EQ(v->gpr[RSP], 0x30000);
        CHECK_EQ(v->rip, GUEST_CODE + 2);
        CHECK_EQ(v->cr2, 0x2fff8);
        CHECK_EQ(load_le64(guest_ptr(g, 0x30000)), 0xa);
        CHECK_EQ(load_le64(guest_ptr(g, 0x2fff8)), 0x5555555555555555);
    }
}

/* The interpreter runs in the middle of a group: a code page is written. */
GUEST(midway, 64,
      "nop; mov $0x24000, %ebx; mov $3, %ecx; 1: mov %rcx, (%rbx); mov 8(%rbx), %rax; mov $0xc3, %edx\n"
      "mov %dl, 3f(%rip); add 16(%rbx), %rax; mov %rax, 24(%rbx); dec %ecx; jnz 1b; call 3f; hlt\n"
      ".balign 64; 3: nop; nop");
static void test_midway(void)
{
    for (unsigned i = 0; i < 2; i++) {
        guest_mode64(g, v);
        guest_load(g, GUEST_CODE, midway, midway_end);
        store_le64(guest_ptr(g, 0x24008), 40);
        store_le64(guest_ptr(g, 0x24010), 2);
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(load_le64(guest_ptr(g, 0x24018)), 42);
        CHECK_EQ(load_le64(guest_ptr(g, 0x24000)), 1);
        CHECK_EQ(v->gpr[RSP], GUEST_STACK);
    }
}

/* Calls and returns: deep recursion, a return address that was changed, a return to nowhere, one to 0. */
GUEST(returns, 64,
      "nop; xor %eax, %eax; mov $100, %ecx; call 1f; call 3f; inc %rax; hlt; inc %rbx; 4: inc %rbx; hlt\n"
      "1: inc %rax; dec %ecx; jz 2f; call 1b; 2: ret\n"
      "3: lea 4b(%rip), %rdx; mov %rdx, (%rsp); ret");
GUEST(nowhere, 64, "nop; call 1f; hlt; 1: mov $1, %eax; shl $63, %rax; mov %rax, (%rsp); 2: ret; hlt");
static void test_returns(void)
{
    CHECK_EQ(RUN(g, v, 64, returns), -1);
    CHECK_EQ(v->gpr[RAX], 100);
    CHECK_EQ(v->gpr[RBX], 1);
    CHECK_EQ(v->gpr[RSP], GUEST_STACK);
    CHECK_EQ(RUN(g, v, 64, nowhere), 13);
}

/* A page that another page jumps to directly, and returns from, is mapped anew: INVLPG ends the chain. */
GUEST(far_remap, 64,
      "nop; movb $0xb0, 0x12000; movw $0xc301, 0x12001; movb $0xb0, 0x14000; movw $0xc302, 0x14001\n"
      "mov $20, %ecx; 1: call 0x12000 - 0x10000 + far_remap; nop; dec %ecx; jnz 1b; mov %eax, %ebx\n"
      "movq $0x14007, 0x103090; invlpg 0x12000; call 0x12000 - 0x10000 + far_remap\n"
      "movq $0x12007, 0x103090; invlpg 0x12000; hlt");
static void test_far_remap(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(RUN(g, v, 64, far_remap), -1);
        CHECK_EQ(v->gpr[RBX] & 0xff, 1);
        CHECK_EQ(v->gpr[RAX] & 0xff, 2);
    }
}

/* 32-bit code: short INC and DEC, addresses that wrap, offsets without ModRM, 16 bits beside 32. */
GUEST(code32, 32,
      "nop; mov $0x20000, %ebx; mov %ebx, 0x20010; mov 0x20010, %eax; inc %eax; dec %bx; mov $-16, %ecx\n"
      "mov %eax, 0x20024(%ecx); push %ecx; call 1f; pop %edx; add 4(%ebx,%ecx), %edi; hlt\n"
      "1: movl $5, 0x1ffff - 16 + 4 - 0x1ffff(%ebx); mov (%esp), %esi; ret");
static void test_code32(void)
{
    CHECK_EQ(RUN(g, v, 32, code32), -1);
    CHECK_EQ(v->gpr[RAX], 0x20001);
    CHECK_EQ(v->gpr[RBX], 0x2ffff);
    CHECK_EQ(v->gpr[RDX], 0xfffffff0);
    CHECK_EQ(v->gpr[RDI], 5);
    CHECK_EQ(v->gpr[RSP], GUEST_STACK);
    CHECK_EQ(load_le32(guest_ptr(g, 0x20014)), 0x20001);
}

/* Bases and limits; the second time round the same code, in the same place, with other segments. */
GUEST(
    segments, 32,
    "nop; 1: mov %ebx, %fs:(%edi); mov (%edi), %eax; mov %es:(%edi), %ecx; add %fs:0(%edi), %edx; push %ebx\n"
    "pop %esi; 2: hlt");
static void run_segments(u64 fs, u64 ds, u32 limit)
{
    guest_mode32(g, v);
    guest_load(g, GUEST_CODE, segments, segments_end);
    v->seg[FS].base = fs;
    v->seg[FS].limit = limit;
    v->seg[DS].base = ds;
    v->seg[ES].base = ds + 4;
    v->gpr[RDI] = 8;
    v->gpr[RBX] = 0x1234;
    store_le32(guest_ptr(g, ds + 8), 0x11);
    store_le32(guest_ptr(g, ds + 12), 0x22);
}
static void test_segments(void)
{
    for (unsigned i = 0; i < 3; i++) {
        run_segments(0x20000, i ? 0x21000 : 0, 11);
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RAX], 0x11);
        CHECK_EQ(v->gpr[RCX], 0x22);
        CHECK_EQ(v->gpr[RDX], 0x1234);
        CHECK_EQ(v->gpr[RSI], 0x1234);
        CHECK_EQ(load_le32(guest_ptr(g, 0x20008)), 0x1234);
    }
    run_segments(0x20000, 0, 10);
    CHECK_EQ(guest_run(v), 13);
    CHECK_EQ(load_le32(guest_ptr(g, (u32)v->gpr[RSP] + 4)), GUEST_CODE + 1);
    run_segments(0x20000, 0, 0xffffffff);
    v->seg[FS].attr &= (u16)~SEG_WRITABLE;
    CHECK_EQ(guest_run(v), 13);
    run_segments(0x20000, 0, 0xffffffff);
    v->seg[SS].limit = GUEST_STACK - 5;
    CHECK_EQ(guest_run(v), -2); /* #SS, which cannot be delivered */
}

/* The same code at the same place, called with a flat and returned to with a based data segment: a RET must
 * not go where the CALL's mode said. */
GUEST(return_mode, 32,
      "nop; mov $4, %edi; mov $0x10, %edx; call 1f; mov (%edi), %eax; mov %dx, %ds; hlt\n"
      "1: mov %cx, %ds; ret");
static void test_return_in_other_mode(void)
{
    for (unsigned i = 0; i < 6; i++) {
        guest_mode32(g, v);
        if (!i)
            guest_load(g, GUEST_CODE, return_mode, return_mode_end);
        store_le64(guest_ptr(g, GUEST_GDT + 0x18), 0x00cf93020000ffffull); /* base 20000h */
        v->gdtr.limit = 0x1f;
        v->gpr[RCX] = i < 3 ? 0x10 : 0x18;
        store_le32(guest_ptr(g, 4), 1);
        store_le32(guest_ptr(g, 0x20004), 2);
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RAX], i < 3 ? 1 : 2);
    }
}

/* Flags in and out of memory, divisions that raise and that do not. */
GUEST(flags, 64,
      "nop; stc; pushf; pop %rax; btr $0, %rax; push %rax; popf; setc %bl; mov $-7, %eax; cdq; mov $2, %ecx\n"
      "idiv %ecx; mov %edx, %esi; mov $100, %eax; xor %edx, %edx; mov $7, %r9d; div %r9; mov %rax, %rdi\n"
      "mov $1, %edx; mov $1, %ecx; stc; div %ecx; hlt");
static void test_flags_and_division(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(RUN(g, v, 64, flags), 0);
        CHECK_EQ(v->gpr[RBX] & 1, 0);
        CHECK_EQ((u32)v->gpr[RSI], 0xffffffff);
        CHECK_EQ(v->gpr[RDI], 14);
        CHECK_EQ(load_le64(guest_ptr(g, GUEST_STACK - 24)) & 1, 1); /* RFLAGS of the frame: CF */
    }
}

static void *kick_soon(void *arg)
{
    usleep(20000);
    vcpu_post(arg, EVENT_KICK);
    return NULL;
}

GUEST(spin, 64, "nop; 1: inc %rax; jmp 1b");
static void test_kick(void)
{
    pthread_t thread;
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, spin, spin_end);
    pthread_create(&thread, NULL, kick_soon, v);
    CHECK_EQ(jit_engine.run(v), VCPU_KICKED);
    pthread_join(thread, NULL);
    CHECK(v->gpr[RAX] > 1000);
}

int main(void)
{
    g = guest_create(1);
    v = g->cpu[0];
    TAP_RUN(test_lea);
    TAP_RUN(test_high_bytes);
    TAP_RUN(test_modify_same_block);
    TAP_RUN(test_modify_by_alias);
    TAP_RUN(test_remap);
    TAP_RUN(test_frame);
    TAP_RUN(test_frame_fault);
    TAP_RUN(test_midway);
    TAP_RUN(test_returns);
    TAP_RUN(test_far_remap);
    TAP_RUN(test_code32);
    TAP_RUN(test_segments);
    TAP_RUN(test_return_in_other_mode);
    TAP_RUN(test_flags_and_division);
    TAP_RUN(test_kick);
    guest_destroy(g);
    return tap_done();
}
