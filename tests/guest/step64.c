/*
 * Single step in long mode: over SYSCALL, SYSRET, IRET, POPF, far transfers, faults; interrupts
 * against traps.
 */
/* ## mode: x86_64 */
#include "apic.h"

static volatile ulong ips[64];
static volatile u16 css[64];
static volatile u32 steps, irq_at, irqs;

static void on_step(struct regs *r)
{
    if (steps < 64) {
        ips[steps] = r->ip;
        css[steps] = (u16)r->cs;
    }
    steps++;
    dr6_write(0);
}
static void on_irq(struct regs *r)
{
    irqs++;
    irq_at = steps;
    lapic_eoi();
}

extern char syscall_entry[], syscall_end[];
asm("syscall_entry:\n\tnop\n\tnop\n\tsysretq\nsyscall_end:\n");

static bool stepped_in(const char *from, const char *to)
{
    for (u32 i = 0; i < steps && i < 64; i++)
        if (ips[i] >= (ulong)from && ips[i] < (ulong)to)
            return true;
    return false;
}

int main(void)
{
    ulong start;

    wrmsr(MSR_STAR, (u64)(SEL_UCODE32 & ~3) << 48 | (u64)SEL_CODE << 32);
    wrmsr(MSR_LSTAR, (ulong)syscall_entry);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
    trap_handle(DB, on_step);
    dr6_write(0);

    /* SFMASK without TF: the steps go on in the kernel */
    wrmsr(MSR_SFMASK, 0);
    user_flags = 2 | FL_TF;
    USER("1:\tlea 1b(%%rip), %0\n\tsyscall\n\tnop\n\tnop", "=&b"(start)::"rcx", "r11", "rax", "memory");
    check(stepped_in(syscall_entry, syscall_end), "TF not in SFMASK: steps inside the kernel");
    check_eq(ips[1], (ulong)syscall_entry, "the step after SYSCALL is at its target");
    check_eq(css[1], SEL_CODE, "in ring 0");
    check_eq(ips[4] - start, 9, "SYSRET restores TF: the step comes after it or the next instruction");
    /* SFMASK with TF: none in the kernel, again in ring 3 */
    wrmsr(MSR_SFMASK, FL_TF);
    steps = 0;
    USER("1:\tlea 1b(%%rip), %0\n\tsyscall\n\tnop\n\tnop", "=&b"(start)::"rcx", "r11", "rax", "memory");
    user_flags = 2;
    check(!stepped_in(syscall_entry, syscall_end), "TF in SFMASK: no steps inside the kernel");
    check(steps >= 3, "steps go on behind it");

    /* an interrupt that is pending with a single-step trap: the trap first, then the interrupt */
    lapic_enable();
    trap_handle(0x40, on_irq);
    lapic_ipi(0, ICR_SELF | 0x40);
    steps = 0;
    asm volatile("pushq $0x302\n\tpopfq\n\tnop\n\tnop\n\tnop\n\tpushq $2\n\tpopfq" ::: "memory");
    check_eq(irqs, 1, "the interrupt came");
    check(irq_at <= 1, "at the first boundary after POPF or behind the first step");
    check_eq(steps, 5, "no step is lost to the interrupt");

    /* a fault under TF: its frame has TF, no step before the handler; IRET from there steps the instruction
     * when it ends */
    trap_handle(DB, NULL);
    dr6_write(0);
    user_flags = 2 | FL_TF;
    USER("mov (%0), %%al", : "r"(0x8000000000000000ul) : "rax");
    check_fault(GP, 0, "a fault under TF");
    check_eq(trap.flags & FL_TF, FL_TF, "its frame has TF");
    check_eq(trap.dr6 & 0x4000, 0, "DR6.BS is not set");
    user_flags = 2;

    /* IRET that loads TF: the next instruction is executed first */
    trap_handle(DB, on_step);
    steps = 0;
    dr6_write(0);
    asm volatile("mov %%rsp, %%rax\n\tpushq $0x10\n\tpush %%rax\n\tpushq $0x102\n\tpushq $8\n\tpushq "
                 "$1f\n\tmov $1f, %0\n\tiretq\n1:\tnop\n\tnop\n\tpushq $2\n\tpopfq"
                 : "=&b"(start)::"rax", "memory");
    check_eq(steps, 4, "IRET that loads TF: steps");
    check_eq(ips[0] - start, 1, "IRET that loads TF: the first step is behind the next instruction");
    return 0;
}
