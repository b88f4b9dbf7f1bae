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
    TAP_RUN(test_code32);
    TAP_RUN(test_segments);
    TAP_RUN(test_kick);
    guest_destroy(g);
    return tap_done();
}
