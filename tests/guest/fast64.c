/*
 * System instructions that a translator has short ways for, and where those end: SYSCALL and SYSRET again and
 * again, with a pending interrupt, selectors that wrap; control registers, selectors and bases; which fault
 * comes first.
 */
/* ## mode: x86_64 */
#include "apic.h"
#include "paging.h"

extern char entry[], entry_irq[];
extern volatile ulong calls, kernel_flags, kernel_ss;
volatile ulong calls, kernel_flags, kernel_ss;
static volatile u32 irqs;
static volatile ulong irq_cs, irq_ip;

/* The second one sends itself an interrupt, which has to wait for SYSRET: RSI is the local APIC's ICR. */
asm("entry:\n\tincq calls\n\tmov %ss, %r9d\n\tmov %r9, kernel_ss\n\tpushf\n\tpop kernel_flags\n\tsysretq\n"
    "entry_irq:\n\tmovl $0x40055, (%rsi)\n\tincq calls\n\tsysretq\n");

static void on_irq(struct regs *r)
{
    irqs++;
    irq_cs = r->cs;
    irq_ip = r->ip;
    lapic_eoi();
}

static void check_syscalls(void)
{
    ulong n = 0, sum = 0;
    wrmsr(MSR_SFMASK, FL_IF | FL_CF | FL_ZF);
    USER("xor %%edi, %%edi\n1:\tinc %%rdi\n\tcmp $0, %%rdi\n\tstc\n\tsyscall\n\tadc $0, %%rbx\n\tcmp $5000, "
         "%%rdi\n\tjb 1b",
         "+b"(sum), "=&D"(n)::"rcx", "r11", "r9", "memory");
    check_no_fault("5000 system calls");
    check_eq(calls, 5000, "each arrives");
    check_eq(sum, 5000, "and comes back with its flags");
    check_eq(kernel_flags & (FL_IF | FL_CF | FL_ZF), 0, "SFMASK's are clear inside");
    check_eq(kernel_ss, SEL_CODE + 8, "SS, read to R9");
}

static void check_interrupt(void)
{
    wrmsr(MSR_LSTAR, (ulong)entry_irq);
    user_flags = 2 | FL_IF;
    ulong home = 0;
    USER("lea 1f(%%rip), %%rbx\n\tsyscall\n1:\tnop\n\tnop", "=&b"(home)
         : "S"((ulong)LAPIC_BASE + LAPIC_ICR)
         : "rcx", "r11", "memory");
    user_flags = 2;
    check_no_fault("an interrupt that is held while the kernel runs");
    check_eq(irqs, 1, "comes");
    check_eq(irq_cs & 3, 3, "in ring 3");
    check_eq(irq_ip, home, "before the instruction behind SYSCALL");
    wrmsr(MSR_LSTAR, (ulong)entry);
}

/* The addition is of 16 bits. */
static void check_selectors(void)
{
    wrmsr(MSR_STAR, (u64)(SEL_UCODE32 & ~3) << 48 | 0xfff8ull << 32);
    USER("syscall", ::"rcx", "r11", "r9", "memory");
    check_eq(kernel_ss, 0, "SS wraps behind CS = fff8h");
    wrmsr(MSR_STAR, (u64)(SEL_UCODE32 & ~3) << 48 | (u64)SEL_CODE << 32);
}

static void check_control(void)
{
    ulong a, b, c;
    asm volatile("mov %3, %%cr2\n\tmov %%cr2, %%r10\n\tmov %%r10, %0\n\tmov %%cr0, %1\n\tmov %%cr3, %2"
                 : "=&r"(a), "=&r"(b), "=&r"(c)
                 : "r"(0xfedcba9876543210ul)
                 : "r10");
    check_eq(a, 0xfedcba9876543210ul, "CR2, by way of R10");
    check((b & 0x80000001) == 0x80000001, "CR0 has PE and PG");
    check_eq(c, cr3_read(), "CR3");
    USER("mov %%cr2, %%rax", ::"rax");
    check_fault(GP, 0, "MOV from CR2 in ring 3");
    asm volatile("mov $-1, %0\n\tmov %%cs, %k0\n\tmov $-1, %1\n\tmov %%ds, %w1" : "=&r"(a), "=&r"(b));
    check_eq(a, SEL_CODE, "MOV r32, CS zero-extends");
    check_eq(b >> 16, 0xffffffffffff, "MOV r16, DS keeps the rest");
    asm volatile("mov $-1, %%rax\n\tmov $0x12, %%ah\n\tmov $0x34, %%al\n\tmov %%rax, %0\n\tmov $-1, %%r11\n\t"
                 "mov $0x56, %%r11b\n\tmov %%r11, %1\n\tmov $-1, %%rsi\n\tmov $0x789a, %%si\n\tmov %%rsi, %2"
                 : "=&r"(a), "=&r"(b), "=&r"(c)
                 :
                 : "rax", "r11", "rsi");
    check_eq(a, 0xffffffffffff1234, "MOV AH, AL, imm8");
    check_eq(b, 0xffffffffffffff56, "MOV R11B, imm8");
    check_eq(c, 0xffffffffffff789a, "MOV SI, imm16");
}

static void check_bases(void)
{
    ulong v;
    if (!(cpuid(7, 0).b & 1)) {
        skip("FSGSBASE", "not in CPUID");
        return;
    }
    cr4_write(cr4_read() & ~(ulong)CR4_FSGSBASE);
    TRY("rdfsbase %0", "=r"(v));
    check_fault(UD, 0, "RDFSBASE without CR4.FSGSBASE");
    TRY("wrgsbase %0", : "r"(0ul));
    check_fault(UD, 0, "WRGSBASE without CR4.FSGSBASE");
    cr4_write(cr4_read() | CR4_FSGSBASE);
    TRY("stc\n\twrgsbase %1\n\trdgsbase %%r9\n\tsbb %%rax, %%rax\n\tmov %%r9, %0", "=&b"(v)
        : "r"(0xffff800000001000ul)
        : "rax", "r9");
    check_eq(v, 0xffff800000001000, "RDGSBASE r64");
    TRY("stc\n\twrfsbase %1\n\tsbb %0, %0", "=&b"(v) : "r"(0x7000ul));
    check_eq(v, ~0ul, "WRFSBASE leaves the flags");
    TRY("wrfsbase %0", : "r"(0x0000800000000000ul));
    check_fault(GP, 0, "WRFSBASE of a non-canonical address");
    check_eq(rdmsr(MSR_FS_BASE), 0x7000, "which changes nothing");
}

#define NOWHERE 0x700000001000ul

static void check_faults(void)
{
    cr4_write(cr4_read() | CR4_OSFXSR);
    TRY("mov (%0), %%rax", : "r"(NOWHERE + 3) : "rax");
    check_fault(PF, 0, "a read of a page that is not there");
    check_eq(cr2_read(), NOWHERE + 3, "CR2 is the operand's first byte");
    TRY("add %%rax, (%0)", : "r"(NOWHERE + 16) : "memory");
    check_fault(PF, PFE_W, "a read-modify-write is a write");
    check_eq(cr2_read(), NOWHERE + 16, "CR2");
    TRY("movaps (%0), %%xmm0", : "r"(NOWHERE + 8));
    check_fault(GP, 0, "MOVAPS: the alignment is checked before the page");
    TRY("movaps (%0), %%xmm0", : "r"(NOWHERE + 32));
    check_fault(PF, 0, "MOVAPS, aligned");
    TRY("mov (%0), %%rax", : "r"(NOWHERE - 3) : "rax");
    check_fault(PF, 0, "across two pages that are not there");
    check_eq(cr2_read(), NOWHERE - 3, "CR2 is in the first");
    USER("mov %%al, (%0)", : "r"(NOWHERE) : "memory");
    check_fault(PF, PFE_W | PFE_U, "a write in ring 3");
}

int main(void)
{
    wrmsr(MSR_STAR, (u64)(SEL_UCODE32 & ~3) << 48 | (u64)SEL_CODE << 32);
    wrmsr(MSR_LSTAR, (ulong)entry);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    lapic_enable();
    trap_handle(0x55, on_irq);
    check_syscalls();
    check_selectors();
    check_interrupt();
    check_control();
    check_bases();
    check_faults();
    return 0;
}
