/* Interrupt windows: the shadow of STI, MOV SS and POP SS; POPF and IRET that set IF; CLI; HLT after STI;
 * NMI. */
#include "apic.h"

static volatile u32 count;
static volatile ulong where, nmi_where;
static volatile u32 nmi_count;

static void on_irq(struct regs *r)
{
    count++;
    where = r->ip;
    lapic_eoi();
}

static void on_nmi(struct regs *r)
{
    nmi_count++;
    nmi_where = r->ip;
}

static void ipi_self(void)
{
    lapic_ipi(0, ICR_SELF | ICR_FIXED | 0x40);
}

/* Runs code with a self-IPI pending; says where it was taken: the label's distance from the code's start. */
#define TAKEN_AT(code)                                                                                       \
    ({                                                                                                       \
        ulong start_;                                                                                        \
        irq_off();                                                                                           \
        count = 0;                                                                                           \
        ipi_self();                                                                                          \
        asm volatile("mov $1f, %0\n\t1:\t" code "\n\tnop\n\tnop\n\tnop\n\tcli"                               \
                     : "=&b"(start_)                                                                         \
                     : "d"(SEL_DATA), "c"(flags_read() | FL_IF)                                              \
                     : "memory", "eax");                                                                     \
        count == 1 ? where - start_ : (ulong)-1;                                                             \
    })

int main(void)
{
    lapic_enable();
    trap_handle(0x40, on_irq);
    trap_handle(NMI, on_nmi);

    check_eq(TAKEN_AT("sti\n\tnop"), 2, "STI: taken after the instruction that follows");
    check_eq(TAKEN_AT("sti\n\tsti\n\tnop"), 2, "STI STI: the second one has no shadow of its own");
    check_eq(TAKEN_AT("push %2\n\tpopf"), 2, "POPF: taken at once");
    check_eq(TAKEN_AT("sti\n\tcli\n\tnop"), (ulong)-1, "STI CLI: not taken");
    irq_window();
    check_eq(count, 1, "it was still pending");
    check_eq(TAKEN_AT("push %2\n\tpopf\n\tnop"), 2, "POPF: before the next instruction");
    check_range(TAKEN_AT("sti\n\tmov %%edx, %%ss\n\tnop"), 3, 4,
                "STI, MOV SS, NOP: the second shadow may add or not");
    check_eq(TAKEN_AT("push %2\n\tpush %%ss\n\tpop %%eax\n\tpopf\n\tnop"), 4, "POPF after others");
    /* MOV SS with IF set: the interrupt comes while interrupts are on, so make it pending by the store before
     */
    volatile u32 *icr = (volatile u32 *)(ulong)(LAPIC_BASE + LAPIC_ICR);
    count = 0;
    asm volatile("sti\n\tnop\n\tmov %1, (%0)\n\tnop\n\tnop\n\tcli" ::"r"(icr), "r"(ICR_SELF | 0x40)
                 : "memory");
    irq_window();
    check_eq(count, 1, "a self-IPI with IF set arrives");

    /* NMI to self: also with IF clear, not nested before IRET */
    irq_off();
    nmi_count = 0;
    lapic_ipi(lapic_id(), ICR_NMI | ICR_ASSERT);
    delay_us(10);
    check_eq(nmi_count, 1, "an NMI is taken with IF clear");
    check_eq(count, 1, "and no interrupt");
    irq_off();

    /* HLT: STI HLT takes an interrupt that is already pending */
    count = 0;
    ipi_self();
    asm volatile("sti\n\thlt\n\tcli");
    check_eq(count, 1, "STI HLT wakes from an interrupt that was pending");
    lapic_write(LAPIC_TIMER_DIVIDE, 0xb);
    lapic_write(LAPIC_LVT_TIMER, 0x40);
    count = 0;
    lapic_write(LAPIC_TIMER_INITIAL, 100000);
    asm volatile("sti\n\thlt\n\tcli");
    check_eq(count, 1, "HLT wakes from the timer");
    return 0;
}
