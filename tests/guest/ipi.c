/*
 * IPIs: fixed, lowest priority, NMI; physical and logical (flat, cluster) destinations, shorthands,
 * self; delivery with TPR; INIT and SIPI once more.
 */
/* ## cpus: 4 */
#include "apic.h"

static volatile u32 hits[4], nmis[4], starts[4], ready;
static volatile bool stop;

static void on_irq(struct regs *r)
{
    hits[smp_cpu()]++;
    lapic_eoi();
}

static void on_nmi(struct regs *r)
{
    nmis[smp_cpu()]++;
}

static void other_cpu(int cpu)
{
    __atomic_add_fetch(&starts[cpu], 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    lapic_write(LAPIC_DFR, 0xffffffff);
    lapic_write(LAPIC_LDR, 1u << (24 + cpu));
    while (!stop)
        asm volatile("sti\n\tnop\n\tpause\n\tcli" ::: "memory");
}

static u32 hits_now(void)
{
    return hits[0] | hits[1] << 4 | hits[2] << 8 | hits[3] << 12;
}

/* Sends, waits until those who should be hit are (4 bits per CPU, CPU 0 lowest), and a little for those who
 * should not. */
static u32 send(u32 destination, u32 icr, u32 want)
{
    for (int i = 0; i < 4; i++)
        hits[i] = 0;
    lapic_ipi(destination, icr);
    irq_on();
    for (int i = 0; i < 1000 && hits_now() != want; i++)
        delay_us(1000);
    delay_us(3000);
    irq_off();
    return hits_now();
}

static void check_send(u32 destination, u32 icr, u32 want, const char *name)
{
    check_eq(send(destination, icr, want), want, "%s", name);
}

static u32 nmis_now(void)
{
    return nmis[0] | nmis[1] << 4 | nmis[2] << 8 | nmis[3] << 12;
}

static void check_nmis(u32 destination, u32 icr, u32 want, const char *name)
{
    lapic_ipi(destination, icr);
    for (int i = 0; i < 1000 && nmis_now() != want; i++)
        delay_us(1000);
    check_eq(nmis_now(), want, "%s", name);
}

int main(void)
{
    trap_handle(0x40, on_irq);
    trap_handle(0xff, on_irq);
    trap_handle(NMI, on_nmi);
    check_eq((u64)smp_start(other_cpu, 4), 4, "four CPUs run");
    wait_for(&ready, 3, 1000000);
    delay_us(1000);
    lapic_write(LAPIC_DFR, 0xffffffff);
    lapic_write(LAPIC_LDR, 1u << 24);
    u32 *ids = (u32 *)smp_apic_ids;

    check_send(ids[2], 0x40, 0x0100, "physical, one CPU");
    check_send(ids[0], 0x40, 0x0001, "physical, the sender itself");
    check_send(0xff, 0x40, 0x1111, "physical broadcast");
    check_send(0x77, 0x40, 0x0000, "physical, nobody there");
    check_send(0, ICR_SELF | 0x40, 0x0001, "shorthand self");
    check_send(0, ICR_ALL | 0x40, 0x1111, "shorthand all");
    check_send(0, ICR_OTHERS | 0x40, 0x1110, "shorthand all but self");
    check_send(0x05, ICR_LOGICAL | 0x40, 0x0101, "logical flat, CPUs 0 and 2");
    check_send(0x08, ICR_LOGICAL | 0x40, 0x1000, "logical flat, CPU 3");
    check_send(0xf0, ICR_LOGICAL | 0x40, 0x0000, "logical flat, nobody");
    u32 got = send(0x0e, ICR_LOGICAL | ICR_LOWEST | 0x40, 0x10);
    for (int i = 0; i < 1000 && got == 0; i++, got = hits_now())
        delay_us(1000);
    check(got == 0x10 || got == 0x100 || got == 0x1000, "lowest priority: exactly one of three (0x%x)", got);
    /* ICR reads back; delivery status idle */
    lapic_ipi(ids[1], 0x40);
    check_eq(lapic_read(LAPIC_ICR) & 0x1fff, 0x40, "ICR low reads back, idle");
    check_eq(lapic_read(LAPIC_ICR_HIGH) >> 24, ids[1], "ICR high reads back");
    delay_us(1000);

    check_nmis(ids[3], ICR_NMI, 0x1000, "NMI to one CPU");
    check_nmis(0, ICR_OTHERS | ICR_NMI, 0x2110, "NMI to all but self");
    /* an illegal vector is not sent */
    if (!tcg_cannot("an illegal vector", "is delivered")) {
        lapic_write(LAPIC_ESR, 0);
        check_send(ids[0], ICR_SELF | 0x05, 0, "vector 5 is not delivered");
        lapic_write(LAPIC_ESR, 0);
        check(lapic_read(LAPIC_ESR) & 0x60, "ESR: illegal vector");
        lapic_write(LAPIC_ESR, 0);
        lapic_write(LAPIC_ESR, 0);
        check_eq(lapic_read(LAPIC_ESR), 0, "ESR is clear after it was written twice");
    }

    /* many IPIs: all arrive */
    for (int i = 0; i < 4; i++)
        hits[i] = 0;
    bool all = true;
    for (u32 i = 1; i <= 200; i++) {
        lapic_ipi(ids[1], 0x40);
        all = wait_for(&hits[1], i, 1000000) && all;
    }
    check(all, "200 IPIs, each awaited");

    /* INIT, then SIPI: the CPU starts again; a SIPI to a running CPU does nothing */
    lapic_ipi(ids[2], ICR_SIPI | 8);
    check_send(ids[2], 0x40, 0x100, "a SIPI to a CPU that runs does not stop it");
    check_eq(starts[2], 1, "a SIPI to a CPU that runs is ignored");
    lapic_ipi(ids[2], ICR_INIT | ICR_ASSERT | ICR_LEVEL);
    delay_us(50000);
    check_send(ids[2], 0x40, 0, "after INIT a fixed interrupt does nothing");
    extern volatile u32 ap_count;
    ap_count = 1; /* so that it becomes number 2 again */
    lapic_ipi(ids[2], ICR_SIPI | 8);
    check(wait_for(&starts[2], 2, 1000000), "after INIT a SIPI starts the CPU");
    delay_us(1000);
    ap_count = 3;
    check_send(ids[2], 0x40, 0x100, "and it takes interrupts");
    stop = true;
    return 0;
}
