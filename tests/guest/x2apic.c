/* x2APIC: mode changes, MSR access and its faults, 32-bit IDs, the 64-bit ICR, self-IPI, logical IDs. */
/* ## cpus: 2 */
/* ## mode: x86_64 */
#include "apic.h"

static volatile u32 hits[2], ready, stop, mode_ready;
static volatile u32 x2_ids[2], x2_ldr[2];

static void on_irq(struct regs *r)
{
    hits[rdmsr(0x802) == x2_ids[0] ? 0 : 1]++;
    wrmsr(0x80b, 0);
}

static void other_cpu(int cpu)
{
    lapic_x2_enable();
    lapic_enable();
    x2_ids[1] = (u32)rdmsr(0x802);
    x2_ldr[1] = (u32)rdmsr(0x80d);
    ready = 1;
    while (!stop)
        asm volatile("sti\n\tnop\n\tpause\n\tcli" ::: "memory");
}

static void refuses_write(u32 msr, u64 v, const char *name)
{
    TRY_WRMSR(msr, v);
    check_fault(GP, 0, "WRMSR %s", name);
}

int main(void)
{
    if (!(cpuid(1, 0).c & 1u << 21)) {
        check(true, "CPUID says that there is no x2APIC");
        skip("x2APIC", "not in CPUID");
        return 0;
    }
    u64 base = rdmsr(MSR_APICBASE);
    u32 id = lapic_id();
    TRY_RDMSR(0x802);
    check_fault(GP, 0, "RDMSR of x2APIC registers in xAPIC mode");
    check_eq((u64)smp_start(other_cpu, 2), 2, "two CPUs");
    wait_for(&ready, 1, 1000000);
    refuses_write(MSR_APICBASE, (base & ~0x800ull) | 0x400, "APIC_BASE: EXTD without EN");
    lapic_x2_enable();
    check_eq(rdmsr(MSR_APICBASE) & 0xc00, 0xc00, "x2APIC mode is on");
    check_eq(rdmsr(0x802), id, "the ID stays");
    refuses_write(MSR_APICBASE, base, "APIC_BASE: back to xAPIC directly");
    x2_ids[0] = (u32)rdmsr(0x802);
    lapic_enable();
    trap_handle(0x40, on_irq);

    /* register access */
    refuses_write(0x802, 0, "ID (read-only)");
    refuses_write(0x803, 0, "version (read-only)");
    refuses_write(0x80d, 0, "LDR (read-only)");
    refuses_write(0x80a, 0, "PPR (read-only)");
    refuses_write(0x810, 0, "ISR (read-only)");
    refuses_write(0x80b, 1, "EOI, not 0");
    refuses_write(0x808, 0x100, "TPR, reserved bits");
    refuses_write(0x80f, 1ull << 32, "SVR, upper half");
    refuses_write(0x828, 1, "ESR, not 0");
    refuses_write(0x80e, 0, "DFR (does not exist)");
    refuses_write(0x831, 0, "the ICR's upper half (does not exist)");
    TRY_RDMSR(0x80e);
    check_fault(GP, 0, "RDMSR DFR");
    TRY_RDMSR(0x831);
    check_fault(GP, 0, "RDMSR of 0x831");
    TRY_RDMSR(0x80b);
    check_fault(GP, 0, "RDMSR EOI (write-only)");
    TRY_RDMSR(0x83f);
    check_fault(GP, 0, "RDMSR self-IPI (write-only)");
    TRY_RDMSR(0x840);
    check_fault(GP, 0, "RDMSR of 0x840");
    check_eq(rdmsr(0x80d), (u64)(id >> 4) << 16 | 1u << (id & 15), "LDR comes from the ID");
    u32 ldr0 = (u32)rdmsr(0x80d);

    wrmsr(0x83f, 0x40);
    irq_window();
    check_eq(hits[0], 1, "self-IPI register");
    wrmsr(0x830, (u64)x2_ids[1] << 32 | 0x40);
    check(wait_for(&hits[1], 1, 1000000), "physical destination");
    wrmsr(0x830, 0xffffffffull << 32 | 0x40);
    check(wait_for(&hits[1], 2, 1000000), "broadcast: the other");
    irq_window();
    check_eq(hits[0], 2, "broadcast: this one");
    wrmsr(0x830, (u64)x2_ldr[1] << 32 | ICR_LOGICAL | 0x40);
    check(wait_for(&hits[1], 3, 1000000), "logical destination");
    if (ldr0 >> 16 == x2_ldr[1] >> 16) {
        wrmsr(0x830, (u64)(ldr0 | x2_ldr[1]) << 32 | ICR_LOGICAL | 0x40);
        check(wait_for(&hits[1], 4, 1000000), "logical destination, both: the other");
        irq_window();
        check_eq(hits[0], 3, "logical destination, both: this one");
    }
    check_eq(rdmsr(0x830) & 0xffff, ICR_LOGICAL | 0x40, "the ICR reads back");
    wrmsr(0x808, 0x50);
    ulong cr8;
    asm volatile("mov %%cr8, %0" : "=r"(cr8));
    check_eq(cr8, 5, "CR8 is the TPR's class");
    asm volatile("mov %0, %%cr8" ::"r"(2ul));
    check_eq(rdmsr(0x808), 0x20, "the TPR follows CR8");
    wrmsr(0x808, 0);
    stop = 1;
    /* off, then xAPIC again */
    TRY_WRMSR(MSR_APICBASE, base & ~0xc00ull);
    check_no_fault("APIC off from x2APIC mode");
    refuses_write(MSR_APICBASE, base | 0xc00, "APIC_BASE: x2APIC directly from off");
    TRY_WRMSR(MSR_APICBASE, base);
    check_no_fault("xAPIC mode again");
    check_eq(*(volatile u32 *)(ulong)(LAPIC_BASE + 0x20) >> 24, id & 0xff,
             "its registers are in memory again");
    return 0;
}
