/* The interpreter, instruction by instruction: tiny 64-bit programs whose results are known. */
#include "tests/tap.h"
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;

GUEST(arith, 64,
      "mov $0x7fffffffffffffff, %rax; add $1, %rax; pushf; pop %rbx\n" /* OF SF AF PF */
      "mov $0xff, %ecx; add $1, %cl; pushf; pop %rsi\n"                /* CF ZF AF PF */
      "stc; mov $5, %edx; adc $6, %dl; mov $0x80, %edi; neg %dil; pushf; pop %r8\n"
      "mov $0x123456789abcdef0, %r9; mov $0x1111, %r9w; mov $1, %r10d; sub $2, %r10d\n"
      "mov %ah, %bh; xor %ebp, %ebp; not %ebp; stc; inc %bpl; sbb %r11, %r11; hlt");
static void test_arith(void)
{
    CHECK_EQ(RUN(g, v, 64, arith), -1);
    CHECK_EQ(v->gpr[RAX], 1ull << 63);
    CHECK_EQ(v->gpr[RBX] & 0x00ff, 0x96);
    CHECK_EQ(v->gpr[RSI], 0x57);
    CHECK_EQ(v->gpr[RCX], 0);
    CHECK_EQ(v->gpr[RDX], 12);
    CHECK_EQ(v->gpr[R8] & 0x8d5, 0x881);
    CHECK_EQ(v->gpr[R9], 0x123456789abc1111ull);
    CHECK_EQ(v->gpr[R10], 0xffffffffull);
    CHECK_EQ(v->gpr[RBP], 0xffffff00ull);
    CHECK_EQ(v->gpr[R11], ~0ull);
}

GUEST(memory, 64,
      "mov $0x20000, %rbx; mov $3, %rcx\n"
      "movq $0x1122334455667788, %rax; mov %rax, (%rbx); mov %eax, 8(%rbx,%rcx,4)\n"
      "addb $1, (%rbx); subw $8, 2(%rbx); xorl $-1, 4(%rbx); mov (%rbx), %rdx\n"
      "cmpb $0x89, (%rbx); sete %r8b; movzbl 1(%rbx), %esi; movsbq 3(%rbx), %rdi; movslq 4(%rbx), %rbp\n"
      "lea 1f(%rip), %r9; mov 1f(%rip), %r10; incq (%rbx); negb 1(%rbx); notw 2(%rbx); mov (%rbx), %r11\n"
      "cmp %rax, %rax; cmovne (%rbx), %r12; cmove %rax, %r12; xchg %rax, (%rbx); lea (%eax,%ebx), %r13; hlt\n"
      "1: .quad 0x5555");
static void test_memory(void)
{
    CHECK_EQ(RUN(g, v, 64, memory), -1);
    CHECK_EQ(load_le32(guest_ptr(g, 0x20014)), 0x55667788);
    CHECK_EQ(v->gpr[RDX], 0xeeddccbb555e7789ull);
    CHECK_EQ(v->gpr[R8], 1);
    CHECK_EQ(v->gpr[RSI], 0x77);
    CHECK_EQ(v->gpr[RDI], 0x55);
    CHECK_EQ(v->gpr[RBP], 0xffffffffeeddccbbull);
    CHECK_EQ(v->gpr[R10], 0x5555);
    CHECK_EQ(v->gpr[R11], 0xeeddccbbaaa1898aull);
    CHECK_EQ(v->gpr[R12], 0x1122334455667788ull);
    CHECK_EQ(v->gpr[RAX], 0xeeddccbbaaa1898aull);
    CHECK_EQ(load_le64(guest_ptr(g, 0x20000)), 0x1122334455667788ull);
    CHECK_EQ(v->gpr[R13], 0xaaa3898a);
}

GUEST(multiply, 64,
      "mov $0xffffffffffffffff, %rax; mov $3, %ecx; mul %rcx; mov %rdx, %r8; mov %rax, %r9\n"
      "mov $-7, %rax; cqo; mov $2, %ebx; idiv %rbx; mov %rax, %r10; mov %rdx, %r11\n"
      "mov $200, %al; mov $3, %bl; mul %bl; mov %ax, %r12w; imul $-3, %rcx, %r13; imul %rcx, %r13\n"
      "mov $1000, %ax; mov $7, %bl; div %bl; movzwl %ax, %r14d; mov $1, %edx; xor %eax, %eax; mov $2, %esi; "
      "div %rsi\n"
      "mov %rax, %r15; hlt");
static void test_multiply(void)
{
    CHECK_EQ(RUN(g, v, 64, multiply), -1);
    CHECK_EQ(v->gpr[R8], 2);
    CHECK_EQ(v->gpr[R9], (u64)-3);
    CHECK_EQ(v->gpr[R10], (u64)-3);
    CHECK_EQ(v->gpr[R11], (u64)-1);
    CHECK_EQ(v->gpr[R12] & 0xffff, 600);
    CHECK_EQ(v->gpr[R13], (u64)-27);
    CHECK_EQ(v->gpr[R14], 142 | 6 << 8);
    CHECK_EQ(v->gpr[R15], 1ull << 63);
}

GUEST(div_zero, 64, "xor %ecx, %ecx; mov $5, %eax; div %ecx; hlt");
GUEST(div_big, 64, "mov $1, %ecx; mov $1, %edx; div %rcx; hlt");
GUEST(idiv_min, 64, "mov $0x8000000000000000, %rax; cqo; mov $-1, %rcx; idiv %rcx; hlt");
GUEST(idiv_min_ok, 64, "mov $0x8000000000000000, %rax; cqo; mov $1, %ecx; idiv %rcx; hlt");
GUEST(idiv8, 64, "mov $-128, %ax; mov $1, %cl; idiv %cl; mov $-32768, %ax; mov $-128, %cl; idiv %cl; hlt");
static void test_divide_errors(void)
{
    CHECK_EQ(RUN(g, v, 64, div_zero), EXC_DE);
    CHECK_EQ(v->gpr[RAX], 5);
    CHECK_EQ(RUN(g, v, 64, div_big), EXC_DE);
    CHECK_EQ(RUN(g, v, 64, idiv_min), EXC_DE);
    CHECK_EQ(RUN(g, v, 64, idiv_min_ok), -1);
    CHECK_EQ(v->gpr[RAX], 1ull << 63);
    CHECK_EQ(RUN(g, v, 64, idiv8), EXC_DE);
    CHECK_EQ(v->gpr[RAX] & 0xffff, 0x8000);
}

GUEST(shifts, 64,
      "mov $0x81, %al; rol $1, %al; mov $0x80, %bl; stc; rcl $1, %bl; mov $1, %ecx; mov $0x8000000000000001, "
      "%rdx\n"
      "sar %cl, %rdx; mov $33, %cl; mov $1, %esi; shl %cl, %esi; mov $0xf0, %edi; shr $4, %edi\n"
      "mov $1, %r8d; mov $0xffffffff, %r9d; shld $4, %r9d, %r8d; movl $0x10, 0x20000; shll $4, 0x20000; mov "
      "0x20000, %r10d\n"
      "btsq $100, %r11; mov $-1, %r12; movl $0, 0x20000; mov $0x20004, %r13d; btsl %r12d, (%r13); mov "
      "0x20000, %r14d; hlt");
static void test_shifts(void)
{
    CHECK_EQ(RUN(g, v, 64, shifts), -1);
    CHECK_EQ(v->gpr[RAX], 3);
    CHECK_EQ(v->gpr[RBX], 1);
    CHECK_EQ(v->gpr[RDX], 0xc000000000000000ull);
    CHECK_EQ(v->gpr[RSI], 2);
    CHECK_EQ(v->gpr[RDI], 15);
    CHECK_EQ(v->gpr[R8], 0x1f);
    CHECK_EQ(v->gpr[R10], 0x100);
    CHECK_EQ(v->gpr[R11], 1ull << 36);
    CHECK_EQ(v->gpr[R14], 1u << 31);
}

GUEST(bits, 64,
      "mov $0xf0f0, %eax; bsf %eax, %ebx; bsr %eax, %ecx; popcnt %eax, %edx; tzcnt %eax, %esi; lzcnt %eax, "
      "%edi\n"
      "mov $0x12345678, %r8d; bswap %r8d; movbe %eax, 0x20000; mov 0x20000, %r9d; mov $0x0404, %r10d; bextr "
      "%r10d, %eax, %r11d\n"
      "andn %eax, %r10d, %r12d; mov $0xff, %r13d; pdep %eax, %r13d, %r14d; rorx $4, %eax, %r15d; xor %ebp, "
      "%ebp\n"
      "crc32b %al, %ebp; hlt");
static void test_bits(void)
{
    CHECK_EQ(RUN(g, v, 64, bits), -1);
    CHECK_EQ(v->gpr[RBX], 4);
    CHECK_EQ(v->gpr[RCX], 15);
    CHECK_EQ(v->gpr[RDX], 8);
    CHECK_EQ(v->gpr[RSI], 4);
    CHECK_EQ(v->gpr[RDI], 16);
    CHECK_EQ(v->gpr[R8], 0x78563412);
    CHECK_EQ(v->gpr[R9], 0xf0f00000);
    CHECK_EQ(v->gpr[R11], 0xf);
    CHECK_EQ(v->gpr[R12], 0xf0f0 & ~0x404);
    CHECK_EQ(v->gpr[R14], 0xf0f0);
    CHECK_EQ(v->gpr[R15], 0xf0f);
}

GUEST(exchange, 64,
      "mov $0x20000, %ebx; movq $5, (%rbx); mov $7, %ecx; lock xadd %rcx, (%rbx); mov (%rbx), %rdx\n"
      "mov $12, %eax; mov $99, %esi; lock cmpxchg %rsi, (%rbx); sete %r8b; lock cmpxchg %rdi, (%rbx); sete "
      "%r9b\n"
      "mov %rax, %r10; movq $1, 16(%rbx); movq $2, 24(%rbx); mov $1, %eax; mov $2, %edx; mov $3, %ecx; push "
      "%rbx; mov $4, %ebx\n"
      "lock cmpxchg16b 0x20010; sete %r11b; pop %rbx; mov 16(%rbx), %r12; mov 24(%rbx), %r13; hlt");
static void test_exchange(void)
{
    CHECK_EQ(RUN(g, v, 64, exchange), -1);
    CHECK_EQ(v->gpr[RDX], 2 /* the last MOV EDX */);
    CHECK_EQ(v->gpr[R8], 1);
    CHECK_EQ(v->gpr[R9], 0);
    CHECK_EQ(v->gpr[R10], 99);
    CHECK_EQ(v->gpr[R11], 1);
    CHECK_EQ(v->gpr[R12], 4);
    CHECK_EQ(v->gpr[R13], 3);
    CHECK_EQ(load_le64(guest_ptr(g, 0x20000)), 99);
}

GUEST(stack, 64,
      "push $-2; pop %rax; push %rsp; pop %rbx; pushw $0x1234; mov %rsp, %rcx; popw %dx; movq $7, 0x20000; "
      "push 0x20000\n"
      "pop 8(%rsp); mov (%rsp), %rsi; enter $16, $0; mov %rbp, %rdi; mov %rsp, %r8; leave; mov %rsp, %r9\n"
      "call 1f; jmp 2f; 1: mov $0x77, %r10d; ret $8; 2: mov %rsp, %r11; mov $0x28000, %ebp; movq $0x5a, "
      "-8(%rbp); enter $8, $2; mov %rsp, %r12; hlt");
static void test_stack(void)
{
    CHECK_EQ(RUN(g, v, 64, stack), -1);
    CHECK_EQ(v->gpr[RAX], (u64)-2);
    CHECK_EQ(v->gpr[RBX], GUEST_STACK);
    CHECK_EQ(v->gpr[RCX], GUEST_STACK - 2);
    CHECK_EQ(v->gpr[RDX], 0x1234);
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_STACK + 8)), 7);
    CHECK_EQ(v->gpr[RDI], GUEST_STACK - 8);
    CHECK_EQ(v->gpr[R8], GUEST_STACK - 24);
    CHECK_EQ(v->gpr[R9], GUEST_STACK);
    CHECK_EQ(v->gpr[R10], 0x77);
    CHECK_EQ(v->gpr[R11], GUEST_STACK + 8);
    CHECK_EQ(v->gpr[R12], GUEST_STACK + 8 - 8 * 4);
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_STACK)), 0x28000);
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_STACK - 8)), 0x5a);
    CHECK_EQ(load_le64(guest_ptr(g, GUEST_STACK - 16)), GUEST_STACK);
}

GUEST(branches, 64,
      "mov $10, %ecx; xor %eax, %eax; 1: add %ecx, %eax; loop 1b; mov $3, %ecx; cmp %ecx, %ecx; 2: inc %ebx; "
      "cmp $2, %ebx; loopne 2b\n"
      "lea 3f(%rip), %rdx; jmp *%rdx; hlt; 3: xor %ecx, %ecx; jrcxz 4f; hlt; 4: mov $-1, %esi; cmp $1, %esi; "
      "setl %dil; seta %r8b\n"
      "lea 5f(%rip), %r9; mov %r9, 0x20000; call *0x20000; hlt; 5: mov $9, %r10d; ret");
static void test_branches(void)
{
    CHECK_EQ(RUN(g, v, 64, branches), -1);
    CHECK_EQ(v->gpr[RAX], 55);
    CHECK_EQ(v->gpr[RBX], 2);
    CHECK_EQ(v->gpr[RDI], 1);
    CHECK_EQ(v->gpr[R8], 1);
    CHECK_EQ(v->gpr[R10], 9);
}

GUEST(
    strings, 64,
    "cld; mov $0x20000, %edi; mov $0x41, %al; mov $5000, %ecx; rep stosb; mov %rdi, %r8\n"
    "mov $0x20000, %esi; mov $0x22000, %edi; mov $625, %ecx; rep movsq; mov %rsi, %r9; mov %rdi, %r10\n"
    "movb $0x42, 0x23000; mov $0x22000, %edi; mov $0x42, %al; mov $-1, %rcx; repne scasb; mov %rdi, %r11; "
    "mov %rcx, %r12\n"
    "mov $0x20000, %esi; mov $0x22000, %edi; mov $5000, %ecx; repe cmpsb; mov %rsi, %r13; seta %r14b\n"
    "std; mov $0x20007, %esi; mov $0x20008, %edi; movb $1, 0x20000; mov $8, %ecx; rep movsb; mov %rdi, %r15\n"
    "cld; movb $9, 0x20100; mov $0x20100, %esi; mov $0x20101, %edi; mov $100, %ecx; rep movsb; mov $0x20000, "
    "%esi; lodsw; hlt");
static void test_strings(void)
{
    CHECK_EQ(RUN(g, v, 64, strings), -1);
    CHECK_EQ(v->gpr[R8], 0x20000 + 5000);
    CHECK_EQ(v->gpr[R9], 0x20000 + 5000);
    CHECK_EQ(v->gpr[R10], 0x22000 + 5000);
    CHECK_EQ(v->gpr[R11], 0x23001);
    CHECK_EQ(v->gpr[R12], ~0ull - 0x1001);
    CHECK_EQ(v->gpr[R13], 0x21001);
    CHECK_EQ(v->gpr[R14], 0);
    CHECK_EQ(v->gpr[R15], 0x20000);
    const u8 *p = guest_ptr(g, 0x20100);
    CHECK(p[1] == 9 && p[100] == 9 && p[101] == 0x41);
    CHECK_EQ(v->gpr[RAX] & 0xffff, 0x0101);
    CHECK_EQ(v->gpr[RSI], 0x20002);
}

/* A fault in the middle of REP: the registers tell how far it came, and after the repair it goes on. */
GUEST(rep_fault, 64, "mov $0x20ff8, %edi; mov $4, %ecx; mov $-1, %rax; rep stosq; mov $1, %ebx; hlt");
static void test_rep_fault(void)
{
    guest_mode64(g, v);
    guest_page(g, v, 0x21000, 0);
    guest_load(g, GUEST_CODE, rep_fault, rep_fault_end);
    CHECK_EQ(guest_run(v), EXC_PF);
    CHECK_EQ(v->cr2, 0x21000);
    CHECK_EQ(v->gpr[RCX], 3);
    CHECK_EQ(v->gpr[RDI], 0x21000);
    u64 frame = v->gpr[RSP];
    CHECK_EQ(load_le64(guest_ptr(g, frame)), 2); /* error code: write */
    u64 rip = load_le64(guest_ptr(g, frame + 8));
    guest_page(g, v, 0x21000, 0x21007);
    v->gpr[RSP] = frame + 40;
    v->rip = rip;
    v->activity = ACTIVITY_RUNNING;
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RCX], 0);
    CHECK_EQ(v->gpr[RDI], 0x21018);
    CHECK_EQ(v->gpr[RBX], 1);
}

/* What faults has changed nothing. */
GUEST(fault_pop, 64, "mov $0x20ffc, %rsp; pop %rax; hlt");
GUEST(fault_rmw, 64, "mov $5, %eax; stc; add %eax, 0x21000; hlt");
GUEST(fault_xadd, 64, "mov $5, %eax; lock xadd %eax, 0x21000; hlt");
GUEST(fault_cmpxchg, 64, "mov $5, %eax; cmpxchg %ecx, 0x21000; hlt");
GUEST(fault_canon, 64, "mov $0x800000000000, %rax; mov (%rax), %rbx; hlt");
GUEST(fault_stack, 64, "mov $0x800000000000, %rbp; mov (%rbp), %ebx; hlt");
GUEST(fault_jump, 64, "mov $0x800000000000, %rax; jmp *%rax; hlt");
GUEST(fault_ud, 64, "ud2; hlt");
GUEST(fault_lock, 64, ".byte 0xf0; nop; hlt");
GUEST(fault_long, 64, ".fill 15, 1, 0x66; nop; hlt");
static void test_faults(void)
{
    CHECK_EQ(RUN(g, v, 64, fault_canon), EXC_GP);
    CHECK_EQ(RUN(g, v, 64, fault_stack), EXC_SS);
    CHECK_EQ(RUN(g, v, 64, fault_jump), EXC_GP);
    CHECK_EQ(load_le64(guest_ptr(g, v->gpr[RSP] + 8)), GUEST_CODE + 10);
    CHECK_EQ(RUN(g, v, 64, fault_ud), EXC_UD);
    CHECK_EQ(RUN(g, v, 64, fault_lock), EXC_UD);
    CHECK_EQ(RUN(g, v, 64, fault_long), EXC_GP);
    static const struct {
        const u8 *code, *end;
        u64 error;
    } cases[] = {
        {fault_rmw, fault_rmw_end, 3},
        {fault_xadd, fault_xadd_end, 3},
        {fault_cmpxchg, fault_cmpxchg_end, 3},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        guest_mode64(g, v);
        guest_page(g, v, 0x21000, 0x21005); /* read-only, CR0.WP is set */
        store_le32(guest_ptr(g, 0x21000), 10);
        guest_load(g, GUEST_CODE, cases[i].code, cases[i].end);
        CHECK_EQ(guest_run(v), EXC_PF);
        CHECK_EQ(v->gpr[RAX], 5);
        CHECK_EQ(load_le64(guest_ptr(g, v->gpr[RSP])), cases[i].error);
        CHECK_EQ(load_le32(guest_ptr(g, 0x21000)), 10);
    }
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, fault_pop, fault_pop_end);
    guest_page(g, v, 0x21000, 0);
    guest_run(v);
    CHECK_EQ(v->cr2, 0x21000);
    CHECK_EQ(v->gpr[RAX], 0);
}

/* Between two pages, and as data breakpoints, single steps and shadows see it. */
GUEST(split, 64,
      "mov $0x20ffd, %ebx; movl $0x11223344, (%rbx); addl $1, (%rbx); lock addl $1, (%rbx); mov (%rbx), "
      "%eax; hlt");
static void test_split_access(void)
{
    CHECK_EQ(RUN(g, v, 64, split), -1);
    CHECK_EQ(v->gpr[RAX], 0x11223346);
}

GUEST(step, 64, "pushf; orq $0x100, (%rsp); popf; nop; hlt");
GUEST(step_movss, 64, "mov %ss, %eax; pushf; orq $0x100, (%rsp); popf; mov %eax, %ss; nop; hlt");
static void test_single_step(void)
{
    CHECK_EQ(RUN(g, v, 64, step), EXC_DB);
    CHECK_EQ(load_le64(guest_ptr(g, v->gpr[RSP])), GUEST_CODE + 11); /* behind NOP */
    CHECK_EQ(v->dr[6] & 0x4000, 0x4000);
    CHECK_EQ(RUN(g, v, 64, step_movss), EXC_DB);
    CHECK_EQ(load_le64(guest_ptr(g, v->gpr[RSP])), GUEST_CODE + 2 + 10 + 2 + 1);
}

GUEST(privileged, 64,
      "mov %cr0, %rax; mov %cr3, %rbx; smsw %ecx; sgdt 0x20000; sidt 0x20010; mov $0xc0000080, %ecx; rdmsr; "
      "mov %eax, %r8d\n"
      "cli; sti; nop; pushf; pop %r9; xor %eax, %eax; cpuid; mov %ebx, %r10d; rdtsc; str %r11d; sldt %r12d; "
      "clts; hlt");
static void test_system(void)
{
    CHECK_EQ(RUN(g, v, 64, privileged), -1);
    CHECK_EQ(v->gpr[R8], EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE);
    CHECK_EQ(load_le16(guest_ptr(g, 0x20000)), 0x17);
    CHECK_EQ(load_le64(guest_ptr(g, 0x20002)), GUEST_GDT);
    CHECK_EQ(load_le64(guest_ptr(g, 0x20012)), GUEST_IDT);
    CHECK_EQ(v->gpr[R9] & FLAG_IF, FLAG_IF);
    CHECK(v->gpr[R10] != 0);
}

int main(void)
{
    g = guest_create(1);
    v = g->cpu[0];
    TAP_RUN(test_arith);
    TAP_RUN(test_memory);
    TAP_RUN(test_multiply);
    TAP_RUN(test_divide_errors);
    TAP_RUN(test_shifts);
    TAP_RUN(test_bits);
    TAP_RUN(test_exchange);
    TAP_RUN(test_stack);
    TAP_RUN(test_branches);
    TAP_RUN(test_strings);
    TAP_RUN(test_rep_fault);
    TAP_RUN(test_faults);
    TAP_RUN(test_split_access);
    TAP_RUN(test_single_step);
    TAP_RUN(test_system);
    guest_destroy(g);
    return tap_done();
}
