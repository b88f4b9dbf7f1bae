/* Calls, returns and indirect jumps of translated code: what the tables of jumps and the host's return
 * predictor must not change. */
#include <unistd.h>
#include "tests/tap.h"
#define GUEST_ENGINE jit_engine
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;

/* Deeper than any predictor, by two calls in turn. */
GUEST(deep_calls, 64,
      "mov $0x3f0000, %esp; mov $20000, %ecx; call 1f; hlt\n"
      "1: test %ecx, %ecx; jz 3f; dec %ecx; test $1, %cl; jz 2f; call 1b; inc %eax; ret\n"
      "2: call 1b; inc %edx; 3: ret");
/* Two blocks have the same call in them: from above, and from the loop's head in its midst. */
GUEST(shared_call, 64,
      "mov $1000, %ecx; xor %eax, %eax; 1: add $1, %eax; mov %eax, %ebx; call 2f; add %edx, %esi; dec %ecx\n"
      "jnz 1b; hlt; 2: mov $3, %edx; ret");
static void test_depth(void)
{
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(RUN(g, v, 64, deep_calls), -1);
        CHECK_EQ(v->gpr[RAX], 10000);
        CHECK_EQ(v->gpr[RDX], 10000);
        CHECK_EQ(v->gpr[RSP], 0x3f0000);
        CHECK_EQ(RUN(g, v, 64, shared_call), -1);
        CHECK_EQ(v->gpr[RSI], 3000);
        CHECK_EQ(v->gpr[RAX], 1000);
    }
}

/* A return that no call expects: a retpoline, a return address that was changed, frames that are thrown away.
 */
GUEST(retpoline, 64,
      "mov $1000, %ecx; lea 5f(%rip), %rax; 1: call 2f; dec %ecx; jnz 1b; hlt\n"
      "2: call 4f; 3: pause; lfence; jmp 3b; 4: mov %rax, (%rsp); ret; 5: inc %edx; ret");
GUEST(changed, 64,
      "mov $1000, %ecx; 1: call 2f; inc %ebx; 3: dec %ecx; jnz 1b; hlt\n"
      "2: inc %eax; test $1, %al; jz 4f; lea 3b(%rip), %rdx; mov %rdx, (%rsp); 4: ret");
GUEST(long_jump, 64,
      "mov $1000, %ecx; mov %rsp, %rbp; 1: mov $20, %edx; call 3f; inc %ebx; 2: dec %ecx; jnz 1b; call 4f; "
      "hlt\n"
      "3: dec %edx; jz 5f; call 3b; inc %edi; ret; 5: mov %rbp, %rsp; inc %eax; jmp 2b; 4: inc %esi; ret");
GUEST(pops, 64, "mov $100, %ecx; 1: push $1; push $2; call 2f; dec %ecx; jnz 1b; hlt; 2: inc %eax; ret $16");
static void test_mismatch(void)
{
    CHECK_EQ(RUN(g, v, 64, retpoline), -1);
    CHECK_EQ(v->gpr[RDX], 1000);
    CHECK_EQ(RUN(g, v, 64, changed), -1);
    CHECK_EQ(v->gpr[RAX], 1000);
    CHECK_EQ(v->gpr[RBX], 500);
    CHECK_EQ(RUN(g, v, 64, long_jump), -1);
    CHECK_EQ(v->gpr[RAX], 1000);
    CHECK_EQ(v->gpr[RBX], 0);
    CHECK_EQ(v->gpr[RDI], 0);
    CHECK_EQ(v->gpr[RSI], 1);
    CHECK_EQ(v->gpr[RSP], GUEST_STACK);
    CHECK_EQ(RUN(g, v, 64, pops), -1);
    CHECK_EQ(v->gpr[RAX], 100);
    CHECK_EQ(v->gpr[RSP], GUEST_STACK);
}

/* A target that is no address: the fault is the branch's, which has not been executed. The handler's frame:
 * RIP at RSP + 8, RSP at RSP + 32. */
GUEST(bad_ret, 64, "nop; mov $0x8000000000001234, %rax; push %rax; 1: ret; hlt");
GUEST(bad_ret_pop, 64, "nop; mov $0x8000000000001234, %rax; push %rax; 1: ret $24; hlt");
GUEST(bad_jmp, 64, "nop; mov $0x8000000000001234, %rax; push %rax; 1: jmp *%rax; hlt");
GUEST(bad_call, 64, "nop; mov $0x8000000000001234, %rax; push %rax; 1: call *%rax; inc %ebx; hlt");
GUEST(bad_call_mem, 64, "nop; mov $0x8000000000001234, %rax; push %rax; 1: call *(%rsp); inc %ebx; hlt");
static void check_bad(int vector)
{
    const u8 *frame = guest_ptr(g, v->gpr[RSP]);
    CHECK_EQ(vector, EXC_GP);
    CHECK_EQ(load_le64(frame + 8), GUEST_CODE + 12);
    CHECK_EQ(load_le64(frame + 32), GUEST_STACK - 8);
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_STACK - 8)), 0x8000000000001234);
}

static void test_canonical(void)
{
    for (unsigned i = 0; i < 2; i++) {
        check_bad(RUN(g, v, 64, bad_ret));
        check_bad(RUN(g, v, 64, bad_ret_pop));
        check_bad(RUN(g, v, 64, bad_jmp));
        check_bad(RUN(g, v, 64, bad_call));
        check_bad(RUN(g, v, 64, bad_call_mem));
    }
}

/* RIPs that share a slot of the table; flags across indirect jumps and returns. */
GUEST(aliases, 64,
      "mov $1000, %ecx; mov $0x14000, %edi; mov $0x114000, %esi; 1: call *%rdi; xchg %rdi, %rsi; dec %ecx\n"
      "jnz 1b; hlt");
GUEST(alias_a, 64, "inc %eax; ret");
GUEST(alias_b, 64, "inc %edx; ret");
GUEST(flags_kept, 64,
      "lea 2f(%rip), %rdi; mov $100, %ecx; 1: mov %ecx, %eax; and $1, %eax; cmp $1, %eax; jmp *%rdi\n"
      "2: jne 3f; inc %ebx; 3: add $0x7fffffff, %eax; call 4f; jno 5f; inc %edx; 5: dec %ecx; jnz 1b; hlt; "
      "4: ret");
static void test_slots(void)
{
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, aliases, aliases_end);
    guest_load(g, 0x14000, alias_a, alias_a_end);
    guest_load(g, 0x114000, alias_b, alias_b_end);
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RAX], 500);
    CHECK_EQ(v->gpr[RDX], 500);
    CHECK_EQ(RUN(g, v, 64, flags_kept), -1);
    CHECK_EQ(v->gpr[RBX], 50);
    CHECK_EQ(v->gpr[RDX], 50);
}

/* Into the midst of an instruction: the immediate is MOV BL, 1; RET. */
GUEST(midst, 64,
      "mov $100, %ecx; lea 2f+1(%rip), %rdi; lea 2f(%rip), %rsi; 1: call *%rdi; call *%rsi; dec %ecx; jnz "
      "1b; hlt\n"
      "2: mov $0x00c301b3, %eax; add $2, %edx; ret");
static void test_midst(void)
{
    CHECK_EQ(RUN(g, v, 64, midst), -1);
    CHECK_EQ(v->gpr[RBX], 1);
    CHECK_EQ(v->gpr[RAX], 0x00c301b3);
    CHECK_EQ(v->gpr[RDX], 200);
}

/* A call that ends with its page, and one whose next instruction crosses into the next. */
GUEST(at_end, 64, "call 1f; inc %eax; dec %ecx; jnz at_end; hlt; 1: inc %edx; ret");
static void test_page_end(void)
{
    for (unsigned at = 0x11ff6; at <= 0x12001; at++) {
        guest_mode64(g, v);
        guest_load(g, at, at_end, at_end_end);
        v->rip = at;
        v->gpr[RCX] = 100;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RAX], 100);
        CHECK_EQ(v->gpr[RDX], 100);
    }
}

/* The callee changes what it returns to, or its caller's other bytes, or the code of a jump's target. */
GUEST(returned_to, 64,
      "mov $10, %ecx; 1: call 2f; 3: mov $1, %eax; add %eax, %ebx; dec %ecx; jnz 1b; hlt\n"
      "2: incb 3b+1(%rip); ret");
GUEST(
    caller, 64,
    "mov $10, %ecx; jmp 1f; 1: mov $1, %edx; 3: nop; call 2f; add %edx, %ebx; dec %ecx; jz 4f; test $1, %cl\n"
    "jz 3b; jmp 1b; 4: hlt; 2: incb 1b+1(%rip); ret");
GUEST(target, 64,
      "lea 2f(%rip), %rdi; mov $10, %ecx; 1: call *%rdi; add %eax, %ebx; dec %ecx; jnz 1b; hlt\n"
      ".balign 64; 2: mov $1, %eax; incb 2b+1(%rip); ret");
static void test_modified(void)
{
    CHECK_EQ(RUN(g, v, 64, returned_to), -1);
    CHECK_EQ(v->gpr[RBX], 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 11);
    CHECK_EQ(RUN(g, v, 64, caller), -1);
    /* The first MOV is reached with 1, 2, 4, 6, 8; it is what the two rounds that follow add. */
    CHECK_EQ(v->gpr[RCX], 0);
    CHECK_EQ(v->gpr[RBX], 1 + 2 + 2 + 4 + 4 + 6 + 6 + 8 + 8 + 10);
    CHECK_EQ(RUN(g, v, 64, target), -1);
    CHECK_EQ(v->gpr[RBX], 55);
}

/* A return into a page that leads elsewhere since the call. */
GUEST(remapper, 64, "mov %rsi, (%rdi); invlpg 0x13000; ret");
GUEST(before, 64, "call *%rdx; mov $1, %eax; hlt");
GUEST(after, 64, "call *%rdx; mov $2, %eax; hlt");
static void test_remap(void)
{
    guest_mode64(g, v);
    guest_load(g, 0x12000, remapper, remapper_end);
    guest_load(g, 0x13000, before, before_end);
    guest_load(g, 0x14000, after, after_end);
    for (unsigned i = 0; i < 4; i++) {
        guest_mode64(g, v);
        v->gpr[RDI] = GUEST_PML4 + 0x3000 + 0x13 * 8;
        v->gpr[RSI] = (i & 1 ? 0x14000 : 0x13000) | 7;
        v->gpr[RDX] = 0x12000;
        v->rip = 0x13000;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RAX], i & 1 ? 2 : 1);
    }
}

/* 32-bit code around the end of its 4 GiB: CALL returns to 0. */
GUEST(top, 32, "mov $5, %eax; .byte 0xe8; .long 0x10000");
GUEST(bottom, 32, "inc %ecx; hlt");
GUEST(called, 32, "inc %edx; ret");
static void test_wraparound(void)
{
    for (unsigned i = 0; i < 2; i++) {
        guest_mode32(g, v);
        u8 *pd = guest_ptr(g, GUEST_PML4);
        memset(pd, 0, 4096);
        store_le32(pd, (GUEST_PML4 + 0x1000) | 7);
        store_le32(pd + 4092, (GUEST_PML4 + 0x2000) | 7);
        for (u32 n = 0; n < 1024; n++)
            store_le32(pd + 0x1000 + 4 * n, n << 12 | 7);
        memset(pd + 0x2000, 0, 4096);
        store_le32(pd + 0x2000 + 4092, 0x15000 | 7);
        v->cr3 = GUEST_PML4;
        v->cr0 |= CR0_PG;
        cpu_mode_update(v);
        mmu_flush_all(v);
        guest_load(g, 0x15ff6, top, top_end);
        guest_load(g, 0, bottom, bottom_end);
        guest_load(g, 0x10000, called, called_end);
        v->rip = 0xfffffff6;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->rip, 2);
        CHECK_EQ(v->gpr[RAX], 5);
        CHECK_EQ(v->gpr[RCX], 1);
        CHECK_EQ(v->gpr[RDX], 1);
    }
}

/* Loops of returns, of jumps to where a call returns to, of indirect jumps and calls. */
GUEST(loop_ret, 64, "lea 1f(%rip), %rax; 1: push %rax; inc %rbx; ret");
GUEST(loop_landing, 64, "1: call 2f; 3: inc %rbx; jmp 3b; 2: ret");
GUEST(loop_jmp, 64, "lea 1f(%rip), %rax; 1: inc %rbx; jmp *%rax");
GUEST(loop_call, 64, "lea 1f(%rip), %rax; mov %rsp, %rbp; 1: inc %rbx; mov %rbp, %rsp; call *%rax; hlt");

static void *kicker(void *arg)
{
    usleep(20000);
    vcpu_post(v, EVENT_KICK);
    return NULL;
}

static void check_kick(const u8 *code, const u8 *end)
{
    pthread_t thread;
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, code, end);
    alarm(20); /* a kick that is not seen: the test dies */
    pthread_create(&thread, NULL, kicker, NULL);
    CHECK_EQ(jit_engine.run(v), VCPU_KICKED);
    pthread_join(thread, NULL);
    alarm(0);
    CHECK(v->gpr[RBX] > 100);
}

static void test_kicks(void)
{
    check_kick(loop_ret, loop_ret_end);
    check_kick(loop_landing, loop_landing_end);
    check_kick(loop_jmp, loop_jmp_end);
    check_kick(loop_call, loop_call_end);
}

/* Vector registers that a block uses before and behind a call: a TLB miss in between does not lose them. */
GUEST(
    vectors, 64,
    "mov $0x11223344, %eax; mov $100, %ecx; mov $0x200000, %edi; movd %eax, %xmm3; 1: invlpg (%rdi); jmp 3f\n"
    "3: movd %ecx, %xmm1; mov (%rdi), %rax; paddd %xmm1, %xmm2; call 2f; dec %ecx; jnz 1b; jmp 4f\n"
    "4: movd %xmm3, %ebx; movd %xmm2, %edx; hlt; 2: ret");
static void test_vectors(void)
{
    CHECK_EQ(RUN(g, v, 64, vectors), -1);
    CHECK_EQ(v->gpr[RDX], 5050);
    CHECK_EQ(v->gpr[RBX], 0x11223344);
}

/* Two calls that return to one place, one of them with a prefix that the other jumps over. */
GUEST(prefixed, 64,
      "lea 5f(%rip), %r8; lea 6f(%rip), %rax; mov $100, %ecx; 1: test $1, %cl; jz 2f+1; nop; nop; nop\n"
      "2: .byte 0x41, 0xff, 0xd0; dec %ecx; jnz 1b; hlt; 5: inc %ebx; ret; 6: inc %edx; ret");
static void test_prefixed(void)
{
    CHECK_EQ(RUN(g, v, 64, prefixed), -1);
    CHECK_EQ(v->gpr[RBX], 50);
    CHECK_EQ(v->gpr[RDX], 50);
}

/* One VM for all: code at the same addresses changes from test to test. */
int main(void)
{
    g = guest_create(1);
    v = g->cpu[0];
    TAP_RUN(test_depth);
    TAP_RUN(test_mismatch);
    TAP_RUN(test_canonical);
    TAP_RUN(test_slots);
    TAP_RUN(test_midst);
    TAP_RUN(test_page_end);
    TAP_RUN(test_modified);
    TAP_RUN(test_remap);
    TAP_RUN(test_wraparound);
    TAP_RUN(test_vectors);
    TAP_RUN(test_prefixed);
    TAP_RUN(test_kicks);
    guest_destroy(g);
    return tap_done();
}
