/* See apic.h. */
#include "apic.h"

static bool x2apic_on(void)
{
    return (rdmsr(MSR_APICBASE) & 0xc00) == 0xc00;
}

u32 lapic_read(u32 reg)
{
    if (x2apic_on())
        return (u32)rdmsr(0x800 + (reg >> 4));
    return *(volatile u32 *)(ulong)(LAPIC_BASE + reg);
}

void lapic_write(u32 reg, u32 v)
{
    if (x2apic_on())
        wrmsr(0x800 + (reg >> 4), v);
    else
        *(volatile u32 *)(ulong)(LAPIC_BASE + reg) = v;
}

void lapic_enable(void)
{
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_TPR, 0);
}

void lapic_x2_enable(void)
{
    wrmsr(MSR_APICBASE, rdmsr(MSR_APICBASE) | 0xc00);
}

u32 lapic_id(void)
{
    return x2apic_on() ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
}

bool lapic_bit(u32 bank, int vector)
{
    return lapic_read(bank + (u32)(vector >> 5) * 16) >> (vector & 31) & 1;
}

void lapic_ipi(u32 destination, u32 icr_low)
{
    if (x2apic_on()) {
        wrmsr(0x830, (u64)destination << 32 | icr_low);
        return;
    }
    lapic_write(LAPIC_ICR_HIGH, destination << 24);
    lapic_write(LAPIC_ICR, icr_low);
    while (lapic_read(LAPIC_ICR) & 0x1000)
        cpu_pause();
}

u32 ioapic_read(u32 reg)
{
    *(volatile u32 *)(ulong)IOAPIC_BASE = reg;
    return *(volatile u32 *)(ulong)(IOAPIC_BASE + 16);
}

void ioapic_write(u32 reg, u32 v)
{
    *(volatile u32 *)(ulong)IOAPIC_BASE = reg;
    *(volatile u32 *)(ulong)(IOAPIC_BASE + 16) = v;
}

void ioapic_pin_set(int pin, u32 low, u32 high)
{
    ioapic_write(0x10 + (u32)pin * 2, 0x10000);
    ioapic_write(0x11 + (u32)pin * 2, high);
    ioapic_write(0x10 + (u32)pin * 2, low);
}

void pic_init(u8 mask_master, u8 mask_slave)
{
    outb(0x20, 0x11);
    outb(0x21, 0x20);
    outb(0x21, 4);
    outb(0x21, 1);
    outb(0xa0, 0x11);
    outb(0xa1, 0x28);
    outb(0xa1, 2);
    outb(0xa1, 1);
    outb(0x21, mask_master);
    outb(0xa1, mask_slave);
}

void pic_eoi(int irq)
{
    if (irq >= 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

/* ---- other CPUs ---- */

extern char ap_start[], ap_end[];
extern ulong ap_cr3, ap_cr4;
extern u32 ap_efer, ap_cr0;
extern volatile u32 ap_count;
volatile u32 smp_apic_ids[64];
static volatile u32 ap_running;
static void (*volatile ap_fn)(int cpu);
u8 ap_stacks[63][4096] __attribute__((aligned(16)));

void ap_main(u32 number);
void ap_main(u32 number)
{
    asm volatile("lgdt %0\n\tlidt %1" ::"m"(gdt_ptr), "m"(idt_ptr));
    smp_apic_ids[number] = lapic_id();
    lapic_enable();
    __atomic_add_fetch(&ap_running, 1, __ATOMIC_SEQ_CST);
    ap_fn((int)number);
    for (;;)
        asm volatile("cli\n\thlt");
}

int smp_cpu(void)
{
    u32 id = lapic_id();
    for (u32 i = 1; i <= ap_count; i++)
        if (smp_apic_ids[i] == id)
            return (int)i;
    return 0;
}

int smp_start(void (*fn)(int cpu), int expected)
{
    memcpy((void *)0x8000, ap_start, (size_t)(ap_end - ap_start));
    ap_fn = fn;
    ap_cr0 = (u32)cr0_read();
    ap_cr3 = cr3_read();
    ap_cr4 = cr4_read();
    ap_efer = cpuid(0x80000001, 0).d & 1u << 29 ? (u32)rdmsr(MSR_EFER) : 0;
    ap_count = 0;
    ap_running = 0;
    smp_apic_ids[0] = lapic_id();
    lapic_enable();
    lapic_ipi(0, ICR_OTHERS | ICR_INIT | ICR_ASSERT | ICR_LEVEL);
    delay_us(10000);
    for (int i = 0; i < 2 && (int)ap_running < expected - 1; i++) {
        lapic_ipi(0, ICR_OTHERS | ICR_SIPI | 0x08);
        wait_for(&ap_running, (u32)expected - 1, 200000);
    }
    wait_for(&ap_running, (u32)expected - 1, 1000000);
    return (int)ap_running + 1;
}
