/* The local APIC of one CPU: registers, priorities (TPR, PPR, ISR, IRR), EOI, spurious interrupts, disabling,
 * LVT masks. */
#include "apic.h"

static volatile u32 order[16], taken;

static void on_irq(struct regs *r)
{
    if (taken < 16)
        order[taken++] = (u32)r->vector;
    lapic_eoi();
}

static void on_no_eoi(struct regs *r)
{
    if (taken < 16)
        order[taken++] = (u32)r->vector;
}

static void self(u32 vector)
{
    lapic_ipi(0, ICR_SELF | vector);
}

int main(void)
{
    u32 version = lapic_read(LAPIC_VERSION);
    check_range(version & 0xff, 0x10, 0x15, "version 0x10 to 0x15");
    check((version >> 16 & 0xff) >= 3, "LVT entries");
    check_eq(lapic_id(), cpuid(1, 0).b >> 24, "APIC ID is CPUID's");
    lapic_enable();
    check_eq(lapic_read(LAPIC_SVR) & 0x1ff, 0x1ff, "SVR holds vector and enable");
    for (int v = 0x31; v < 0x100; v += 0x10)
        trap_handle(v, on_irq);

    /* several pending: highest vector first */
    irq_off();
    self(0x31);
    self(0x91);
    self(0x51);
    check(lapic_bit(LAPIC_IRR, 0x31) && lapic_bit(LAPIC_IRR, 0x51) && lapic_bit(LAPIC_IRR, 0x91),
          "IRR shows what is pending");
    check_eq(lapic_read(LAPIC_PPR), 0, "PPR is 0");
    irq_window();
    check_eq(taken, 3, "three interrupts");
    check_eq(order[0] << 16 | order[1] << 8 | order[2], 0x915131, "highest first");
    check(!lapic_bit(LAPIC_IRR, 0x31) && !lapic_bit(LAPIC_ISR, 0x91), "IRR and ISR are empty again");

    /* TPR holds back its class and below */
    taken = 0;
    lapic_write(LAPIC_TPR, 0x50);
    check_eq(lapic_read(LAPIC_PPR), 0x50, "PPR follows TPR");
    self(0x51);
    self(0x61);
    irq_window();
    check_eq(taken << 8 | order[0], 0x161, "TPR 0x50 holds vector 0x51 back, not 0x61");
    lapic_write(LAPIC_TPR, 0x40);
    irq_window();
    check_eq(taken << 8 | order[1], 0x251, "lowering TPR lets it in");
    lapic_write(LAPIC_TPR, 0xff);
    self(0xf1);
    irq_window();
    check_eq(taken, 2, "TPR 0xff holds all back");
    lapic_write(LAPIC_TPR, 0);
    irq_window();
    check_eq(taken, 3, "TPR 0 lets all in");

    /* in service: its class and below wait, PPR shows it */
    taken = 0;
    trap_handle(0x71, on_no_eoi);
    self(0x71);
    irq_window();
    check(lapic_bit(LAPIC_ISR, 0x71), "ISR without EOI");
    check_eq(lapic_read(LAPIC_PPR), 0x70, "PPR is the class in service");
    lapic_write(LAPIC_TPR, 0x76);
    check_eq(lapic_read(LAPIC_PPR), 0x76, "PPR with TPR of the same class is TPR");
    lapic_write(LAPIC_TPR, 0);
    self(0x51);
    self(0x81);
    self(0x71);
    irq_window();
    check_eq(taken << 8 | order[1], 0x281, "only a higher class comes through");
    check(lapic_bit(LAPIC_IRR, 0x71) && lapic_bit(LAPIC_ISR, 0x71), "the same vector may wait behind itself");
    trap_handle(0x71, on_irq);
    lapic_eoi();
    irq_window();
    check_eq(taken, 4, "EOI lets the others in");
    check_eq(order[2] << 8 | order[3], 0x7151, "in order");
    self(0x31);
    self(0x31);
    taken = 0;
    irq_window();
    check_eq(taken, 1, "the same vector twice before it is taken counts once");
    check(!lapic_bit(LAPIC_TMR, 0x31), "IPIs are edge: TMR clear");

    /* timer: masked, one-shot, periodic; count-down; LVT */
    lapic_write(LAPIC_LVT_TIMER, 0x10041);
    check_eq(lapic_read(LAPIC_LVT_TIMER) & 0x710ff, 0x10041, "LVT timer holds vector and mask");
    lapic_write(LAPIC_LVT_LINT0, 0x8700);
    check_eq(lapic_read(LAPIC_LVT_LINT0) & 0x187ff, 0x8700, "LVT LINT0 holds ExtINT, level");
    lapic_write(LAPIC_LVT_LINT0, 0x10000);

    /* software disable: LVTs masked, IRR kept from delivering */
    lapic_write(LAPIC_LVT_TIMER, 0x41);
    lapic_write(LAPIC_SVR, 0xff);
    check(lapic_read(LAPIC_LVT_TIMER) & 0x10000, "software disable masks the LVT");
    lapic_write(LAPIC_LVT_TIMER, 0x41);
    check(lapic_read(LAPIC_LVT_TIMER) & 0x10000, "and keeps it masked");
    lapic_enable();
    check(lapic_read(LAPIC_LVT_TIMER) & 0x10000, "enabling does not unmask");

    /* errors: a write to a register that does not exist, an illegal LVT vector */
    lapic_write(LAPIC_ESR, 0);
    lapic_write(LAPIC_ESR, 0);
    lapic_write(LAPIC_LVT_ERROR, 0x10000);
    /* CR8 is not here in 32-bit mode; DFR and LDR */
    lapic_write(LAPIC_DFR, 0x0fffffff);
    check_eq(lapic_read(LAPIC_DFR), 0x0fffffff, "DFR: cluster model, low bits read as 1");
    lapic_write(LAPIC_DFR, 0xffffffff);
    lapic_write(LAPIC_LDR, 0x12345678);
    check_eq(lapic_read(LAPIC_LDR), 0x12000000, "LDR keeps its upper byte only");

    /* the APIC can be switched off in APIC_BASE: CPUID says so, registers vanish */
    u64 base = rdmsr(MSR_APICBASE);
    check(base & 0x900, "APIC_BASE: enabled BSP");
    check(cpuid(1, 0).d & 1u << 9, "CPUID shows the APIC");
    wrmsr(MSR_APICBASE, base & ~0x800ull);
    check(!(cpuid(1, 0).d & 1u << 9), "CPUID hides a disabled APIC");
    wrmsr(MSR_APICBASE, base);
    check_eq(lapic_read(LAPIC_SVR) & 0x1ff, 0xff, "enabled again: SVR is as after reset");
    return 0;
}
