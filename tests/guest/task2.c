/* More task switches: 16-bit TSSs, a v86 task, hardware interrupts through task gates, tasks in ring 3,
 * nesting. */
#include "apic.h"

#define SEL_TASK SEL_FREE
static struct {
    u16 link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, ax, cx, dx, bx, sp, bp, si, di, es, cs, ss, ds, ldt;
} __attribute__((packed)) task16 __attribute__((aligned(64)));
static struct {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u32 es, cs, ss, ds, fs, gs, ldt;
    u16 trace, iomap;
    u8 redirection[32], bitmap[32];
} task __attribute__((aligned(256)));
static u8 stack[4096] __attribute__((aligned(16)));

static void reset_main(void)
{
    gdt_set(SEL_TSS, (ulong)&tss, sizeof(tss) - 1, 0x89, 0);
    asm volatile("ltr %w0\n\tclts\n\tpushl $2\n\tpopf" ::"r"(SEL_TSS));
}

static void check_16_bit(void)
{
    /* its code runs at 0x7000 in a 16-bit segment: mov [0x6000], ax; iret; jmp back to the start */
    static const u8 code[] = {0xa3, 0x00, 0x60, 0xcf, 0xeb, 0xfa};
    memcpy((void *)0x7000, code, sizeof(code));
    memset(&task16, 0, sizeof(task16));
    task16.ip = 0x7000;
    task16.flags = 2;
    task16.ax = 0xbeef;
    task16.sp = 0x6ff0;
    task16.cs = SEL_CODE16;
    task16.ss = task16.ds = task16.es = SEL_DATA16;
    gdt_set(SEL_TASK, (ulong)&task16, sizeof(task16) - 1, 0x81, 0);
    TRY("lcall %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("CALL to a 16-bit TSS and back");
    check_eq(*(volatile u16 *)0x6000, 0xbeef, "the 16-bit task ran with its AX");
    check_eq(task16.link, SEL_TSS, "16-bit TSS: back link");
    check_eq(task16.ip, 0x7004, "16-bit TSS: saved IP");
    check_eq(gdt[SEL_TASK >> 3] >> 40 & 0x1f, 1, "16-bit TSS: available again");
    gdt_set(SEL_TASK, (ulong)&task16, 0x2a, 0x81, 0);
    TRY("lcall %0, $0", : "i"(SEL_TASK) : "memory");
    check_fault(TS, SEL_TASK, "16-bit TSS with a limit of 0x2a");
    gdt_set(SEL_TASK, (ulong)&task16, 0x2b, 0x81, 0);
    TRY("lcall %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("16-bit TSS with a limit of 0x2b");
    gdt_set(SEL_TASK, (ulong)&task16, 0x2b, 0x83, 0);
    TRY("lcall %0, $0", : "i"(SEL_TASK) : "memory");
    check_fault(GP, SEL_TASK, "a busy 16-bit TSS");
    gdt_set(SEL_TASK, (ulong)&task16, 0x2b, 0x01, 0);
    TRY("lcall %0, $0", : "i"(SEL_TASK) : "memory");
    check_fault(NP, SEL_TASK, "a 16-bit TSS that is not present");
    reset_main();
}

static void task_set(ulong entry, u32 flags)
{
    memset(&task, 0, sizeof(task));
    task.eip = (u32)entry;
    task.eflags = flags;
    task.esp = (u32)(stack + sizeof(stack));
    task.es = task.ss = task.ds = task.fs = task.gs = SEL_DATA;
    task.cs = SEL_CODE;
    task.esp0 = tss.esp0 - 2048;
    task.ss0 = SEL_DATA;
    task.iomap = sizeof(task);
    gdt_set(SEL_TASK, (ulong)&task, 0x67 + 64, 0x89, 0);
}

/* In the task: INT 0x42 is an ordinary gate whose handler returns to the main task. */
extern char back_entry[];
asm("back_entry:\n\tpush %eax\n\tmov $0x10, %eax\n\tmov %eax, %ds\n\tmov 12(%esp), %eax\n\tmov %eax, "
    "seen_flags\n\tmov 8(%esp), %eax\n\tmov %eax, seen_cs\n\t"
    "pop %eax\n\tljmp $0x48, $0\n"
    ".pushsection .bss\n.globl seen_flags, seen_cs\nseen_flags: .skip 4\nseen_cs: .skip 4\n.popsection");
extern volatile u32 seen_flags, seen_cs;

static void check_v86_task(void)
{
    static const u8 code[] = {0xcd, 0x42}; /* int 0x42 */
    memcpy((void *)0x7000, code, sizeof(code));
    idt_set(0x42, SEL_CODE, (ulong)back_entry, 0xee, 0);
    task_set(0, 2 | FL_VM | FL_IOPL);
    task.cs = 0x700;
    task.ss = 0;
    task.esp = 0x6ff0;
    task.ds = task.es = task.fs = task.gs = 0x123;
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("JMP to a v86 task and back");
    check_eq(seen_flags & FL_VM, FL_VM, "it was in v86 mode");
    check_eq(seen_cs & 0xffff, 0x700, "its CS is a real-mode one");
    reset_main();
    /* a ring 3 task */
    task_set(0x7000, 2);
    task.cs = SEL_UCODE32;
    task.ss = task.ds = task.es = task.fs = task.gs = SEL_UDATA;
    TRY("ljmp %0, $0", : "i"(SEL_TASK) : "memory");
    check_no_fault("JMP to a ring 3 task and back");
    check_eq(seen_cs & 0xffff, SEL_UCODE32, "it was in ring 3");
    reset_main();
    idt_reset(0x42);
}

static volatile u32 irq_runs;
static void irq_task(void) __attribute__((naked));
static void irq_task_body(void) __attribute__((used));
static void irq_task_body(void)
{
    irq_runs++;
    lapic_eoi();
}
static void irq_task(void)
{
    asm("1:\tcall irq_task_body\n\tiret\n\tjmp 1b");
}

static void check_interrupt_task(void)
{
    lapic_enable();
    task_set((ulong)irq_task, 2);
    idt_set(0x50, SEL_TASK, 0, 0x85, 0);
    for (u32 i = 1; i <= 3; i++) {
        lapic_ipi(0, ICR_SELF | 0x50);
        irq_window();
        asm volatile("clts");
        check_eq(irq_runs, i, "hardware interrupt %u through a task gate", i);
    }
    check_eq(task.link & 0xffff, SEL_TSS, "its back link");
    /* HLT in the interrupted task: IRET returns behind it */
    lapic_ipi(0, ICR_SELF | 0x50);
    asm volatile("sti\n\thlt\n\tcli\n\tclts");
    check_eq(irq_runs, 4, "a task gate wakes HLT");
    idt_reset(0x50);
    reset_main();
}

int main(void)
{
    check_16_bit();
    check_v86_task();
    check_interrupt_task();
    return 0;
}
