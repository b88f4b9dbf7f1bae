/* Data accesses of translated code: which share a check, and what becomes of flags meanwhile. */
#include "tests/tap.h"
#define GUEST_ENGINE jit_engine
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;

static void load(const u8 *code, const u8 *end)
{
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, code, end);
}
#define LOAD(name) load(name, name##_end)

/* Off the same base and index, which move by constants: in a page, across two, the upper one missing. */
GUEST(rows, 64,
      "nop; mov %rax, (%rbx,%rcx,8); mov %rdx, 8(%rbx,%rcx,8); add $2, %rcx; mov -16(%rbx,%rcx,8), %rsi\n"
      "add -8(%rbx,%rcx,8), %rsi; mov %rsi, (%rbx,%rcx,8); lea 8(%rbx), %rbx; mov -16(%rbx,%rcx,8), %rdi\n"
      "mov %rdi, %r12; add (%rbx), %r12; hlt");
static int run_rows(u64 row, u64 above)
{
    LOAD(rows);
    guest_page(g, v, 0x24000, above);
    v->gpr[RAX] = 3;
    v->gpr[RDX] = 4;
    v->gpr[RBX] = row - 0x50;
    v->gpr[RCX] = 10;
    store_le64(guest_ptr(g, row - 0x48), 100);
    return guest_run(v);
}
static void test_rows(void)
{
    for (u64 row = 0x23fc8; row < 0x24010; row += 4) {
        CHECK_EQ(run_rows(row, 0x24007), -1);
        CHECK_EQ(v->gpr[RSI], 7);
        CHECK_EQ(v->gpr[RDI], 4);
        CHECK_EQ(v->gpr[R12], 104);
        CHECK_EQ(load_le64(guest_ptr(g, row)), 3);
        CHECK_EQ(load_le64(guest_ptr(g, row + 8)), 4);
        CHECK_EQ(load_le64(guest_ptr(g, row + 16)), 7);
    }
}
static void test_rows_fault(void)
{
    for (u64 row = 0x23fe0; row < 0x24000; row += 8) {
        store_le64(guest_ptr(g, row + 8), 0x55);
        int end = run_rows(row, 0);
        CHECK_EQ(end, row < 0x23ff0 ? -1 : 14);
        if (end != 14)
            continue;
        CHECK_EQ(v->cr2, 0x24000);
        CHECK_EQ(v->gpr[RBX], row - 0x50);
        CHECK_EQ(v->gpr[RCX], row == 0x23ff8 ? 10 : 12);
        CHECK_EQ(load_le64(guest_ptr(g, row)), 3);
        CHECK_EQ(load_le64(guest_ptr(g, row + 8)), row == 0x23ff8 ? 0x55 : 4);
    }
}

/* Reads of a page that must not be written share a check; the write behind the branch faults if it comes. */
GUEST(guarded, 64,
      "nop; mov (%rbx), %rax; mov 8(%rbx), %rcx; cmp %rax, %rcx; je 1f; mov %rcx, 16(%rbx); mov %rcx, "
      "24(%rbx)\n"
      "1: add 8(%rbx), %rcx; hlt");
static void test_guarded_write(void)
{
    for (unsigned i = 0; i < 6; i++) {
        LOAD(guarded);
        guest_page(g, v, 0x25000, 0x25005);
        store_le64(guest_ptr(g, 0x25000), 5);
        store_le64(guest_ptr(g, 0x25008), i & 1 ? 6 : 5);
        store_le64(guest_ptr(g, 0x25010), 0x77);
        v->gpr[RBX] = 0x25000;
        CHECK_EQ(guest_run(v), i & 1 ? 14 : -1);
        CHECK_EQ(v->gpr[RCX], i & 1 ? 6 : 10);
        CHECK_EQ(load_le64(guest_ptr(g, 0x25010)), 0x77);
        guest_page(g, v, 0x25000, 0x25007);
    }
}

/* Flags live across accesses that hit, that go across pages (the interpreter's), that write to a page of
 * code; alone and in groups. */
GUEST(flags, 64,
      "nop; mov $0x7fffffff, %eax; add $1, %eax; stc; mov %rsi, (%rbx); mov %rsi, (%rdi); mov %rsi, (%r8)\n"
      "mov 8(%rbx), %rcx; mov (%r12), %r13; mov %r13, 8(%rdi); mov (%rbx), %rcx; push %rcx; pop %r14\n"
      "pushf; pop %rdx; hlt");
static void test_flags(void)
{
    static const u64 at[] = {0x24100, 0x24ffc, 0x24ff4, 0x10800, 0x10ffc};
    for (unsigned i = 0; i < 3 * ARRAY_LEN(at) * ARRAY_LEN(at); i++) {
        LOAD(flags);
        v->gpr[RSI] = 0x1122334455667788;
        v->gpr[RBX] = 0x23000;
        v->gpr[RDI] = at[i % ARRAY_LEN(at)];
        v->gpr[R8] = at[i / ARRAY_LEN(at) % ARRAY_LEN(at)] + 0x20;
        v->gpr[R12] = v->gpr[RDI];
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RDX] & FLAGS_ARITH, FLAG_CF | FLAG_PF | FLAG_AF | FLAG_SF | FLAG_OF);
        CHECK_EQ(v->gpr[RAX], 0x80000000);
        CHECK_EQ(v->gpr[RCX], 0x1122334455667788);
        CHECK_EQ(v->gpr[R14], 0x1122334455667788);
        CHECK_EQ(v->gpr[R13], 0x1122334455667788);
    }
}

/* A jump leads to an instruction that overwrites the flags, which are not kept for it; when it is rewritten,
 * they must be. */
GUEST(ahead, 64,
      "nop; mov $1, %eax; cmp $2, %eax; mov (%rbx), %rcx; jmp 1f\n"
      ".balign 64; 1: test %ecx, %ecx; setc %dl; hlt");
static void test_ahead(void)
{
    static const u8 nop2[] = {0x66, 0x90};
    LOAD(ahead);
    for (unsigned i = 0; i < 6; i++) {
        u64 at = GUEST_CODE + 0x40 - ((uintptr_t)ahead & 0x3f);
        guest_mode64(g, v);
        if (i == 3)
            guest_load(g, at, nop2, nop2 + 2);
        v->gpr[RBX] = 0x23000;
        v->gpr[RDX] = 0;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RDX], i >= 3);
    }
}

/* Flags are not kept for code of another page: it may be another page tomorrow. */
GUEST(elsewhere, 64, "nop; mov $1, %eax; cmp $2, %eax; mov (%rbx), %rcx; jmp . - 0x10000 + 0x12000");
static void test_elsewhere(void)
{
    static const u8 kills[] = {0x85, 0xc9, 0x0f, 0x92, 0xc2, 0xf4},
                    keeps[] = {0x66, 0x90, 0x0f, 0x92, 0xc2, 0xf4};
    LOAD(elsewhere);
    u64 jump = (u64)(elsewhere_end - elsewhere) - 5;
    guest_load(g, 0x12000 + jump, kills, kills + sizeof kills);
    guest_load(g, 0x14000 + jump, keeps, keeps + sizeof keeps);
    for (unsigned i = 0; i < 6; i++) {
        guest_mode64(g, v);
        guest_page(g, v, 0x12000, (i & 1 ? 0x14000 : 0x12000) | 7);
        v->gpr[RBX] = 0x23000;
        v->gpr[RDX] = 0;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RDX], i & 1);
    }
    guest_page(g, v, 0x12000, 0x12007);
}

/* The page of a group goes in its midst. */
GUEST(unmapped, 64,
      "nop; mov (%rbx), %rax; mov 8(%rbx), %rcx; mov %rcx, 16(%rbx); movq $0, 0x103128; invlpg (%rbx)\n"
      "mov 24(%rbx), %rdx; mov 32(%rbx), %rsi; hlt");
static void test_unmapped(void)
{
    for (unsigned i = 0; i < 3; i++) {
        LOAD(unmapped);
        guest_page(g, v, 0x25000, 0x25007);
        store_le64(guest_ptr(g, 0x25008), i);
        store_le64(guest_ptr(g, 0x25018), 0x99);
        v->gpr[RBX] = 0x25000;
        v->gpr[RDX] = 1;
        CHECK_EQ(guest_run(v), 14);
        CHECK_EQ(v->cr2, 0x25018);
        CHECK_EQ(v->gpr[RDX], 1);
        CHECK_EQ(load_le64(guest_ptr(g, 0x25010)), i);
    }
    guest_page(g, v, 0x25000, 0x25007);
}

/* Every register as the base that the TLB's addend is added to, alone. */
GUEST(bases, 64,
      "nop; mov (%rax), %rax; addq $1, 8(%rcx); mov -8(%rdx), %dl; mov 0x200(%rbx), %bx; mov (%rbp), %ebp\n"
      "movzbl 1(%rsi), %esi; xadd %rdi, (%rdi); mov (%r8), %r8; mov (%r9), %r9; mov 8(%r10), %r10\n"
      "mov (%r11), %r11; mov (%r12), %r12; mov (%r13), %r13; andn (%r14), %r14, %r14; lock incq (%r15); hlt");
static void test_bases(void)
{
    LOAD(bases);
    for (unsigned r = 0; r < 16; r++)
        if (r != RSP) {
            v->gpr[r] = GUEST_DATA + 0x1000 + 0x20 * r;
            for (unsigned n = 0; n < 4; n++)
                store_le64(guest_ptr(g, v->gpr[r] + 8 * n), 0x100 * r + n);
        }
    store_le16(guest_ptr(g, GUEST_DATA + 0x1260), 0x4321);
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RAX], 0);
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_DATA + 0x1028)), 0x102);
    CHECK_EQ(v->gpr[RDX], (GUEST_DATA + 0x1000) | 3);
    CHECK_EQ(v->gpr[RBX], (GUEST_DATA & ~0xffffu) | 0x4321);
    CHECK_EQ(v->gpr[RBP], 0x500);
    CHECK_EQ(v->gpr[RSI], 6);
    CHECK_EQ(v->gpr[RDI], 0x700);
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_DATA + 0x10e0)), 0x700 + GUEST_DATA + 0x10e0);
    CHECK_EQ(v->gpr[R8], 0x800);
    CHECK_EQ(v->gpr[R9], 0x900);
    CHECK_EQ(v->gpr[R10], 0xa01);
    CHECK_EQ(v->gpr[R11], 0xb00);
    CHECK_EQ(v->gpr[R12], 0xc00);
    CHECK_EQ(v->gpr[R13], 0xd00);
    CHECK_EQ(v->gpr[R14], 0xe00 & ~(u64)(GUEST_DATA + 0x11c0));
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_DATA + 0x11e0)), 0xf01);
}

int main(void)
{
    g = guest_create(1);
    v = g->cpu[0];
    TAP_RUN(test_rows);
    TAP_RUN(test_rows_fault);
    TAP_RUN(test_guarded_write);
    TAP_RUN(test_flags);
    TAP_RUN(test_ahead);
    TAP_RUN(test_elsewhere);
    TAP_RUN(test_unmapped);
    TAP_RUN(test_bases);
    guest_destroy(g);
    return tap_done();
}
