/*
 * NMI between CPUs: blocked from its entry to the next IRET, one held pending; wakes HLT with IF
 * clear.
 */
/* ## cpus: 2 */
#include "apic.h"

static volatile u32 nmis, depth, max_depth, go, halted, woke, in_handler, leave;

static void on_nmi(struct regs *r)
{
    nmis++;
    depth++;
    if (depth > max_depth)
        max_depth = depth;
    in_handler = nmis;
    while (nmis == 2 && !leave)
        cpu_pause();
    depth--;
}

static void other_cpu(int cpu)
{
    halted = 1;
    asm volatile("cli\n\thlt");
    woke = 1;
    while (!go)
        cpu_pause();
    asm volatile("cli\n\thlt");
}

int main(void)
{
    trap_handle(NMI, on_nmi);
    check_eq((u64)smp_start(other_cpu, 2), 2, "two CPUs run");
    u32 id = smp_apic_ids[1];
    wait_for(&halted, 1, 1000000);
    delay_us(1000);
    check_eq(woke, 0, "HLT with IF clear stays");
    lapic_ipi(id, ICR_FIXED | 0x40);
    delay_us(2000);
    check_eq(woke, 0, "a fixed interrupt does not wake HLT with IF clear");
    lapic_ipi(id, ICR_NMI);
    check(wait_for(&woke, 1, 1000000), "an NMI wakes HLT with IF clear");
    check_eq(nmis, 1, "one NMI was taken");
    /* while the handler of the second runs, two more arrive: one is kept */
    lapic_ipi(id, ICR_NMI);
    check(wait_for(&in_handler, 2, 1000000), "the second NMI's handler runs");
    lapic_ipi(id, ICR_NMI);
    delay_us(500);
    lapic_ipi(id, ICR_NMI);
    delay_us(2000);
    check_eq(nmis, 2, "NMIs are blocked inside the handler");
    leave = 1;
    wait_for(&nmis, 3, 1000000);
    delay_us(2000);
    check_eq(nmis, 3, "exactly one NMI was held pending");
    check_eq(max_depth, 1, "the handler was never nested");
    return 0;
}
