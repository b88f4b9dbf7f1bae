/* The xAPIC's cluster model (SDM vol. 3 10.6.2.2): two clusters of two CPUs; and the error interrupt
 * (10.5.3). */
/* ## cpus: 4 */
#include "apic.h"

static volatile u32 hits[4], errors, ready;
static volatile bool stop;

static void on_irq(struct regs *r)
{
    hits[smp_cpu()]++;
    lapic_eoi();
}

static void on_error(struct regs *r)
{
    errors++;
    lapic_eoi();
}

/* CPUs 0 and 1 are members 0 and 1 of cluster 2; CPUs 2 and 3 members 0 and 3 of cluster 5. */
static void join_cluster(int cpu)
{
    static const u8 ids[] = {0x21, 0x22, 0x51, 0x58};
    lapic_write(LAPIC_DFR, 0x0fffffff);
    lapic_write(LAPIC_LDR, (u32)ids[cpu] << 24);
}

static void other_cpu(int cpu)
{
    join_cluster(cpu);
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    while (!stop)
        asm volatile("sti\n\tnop\n\tpause\n\tcli" ::: "memory");
}

static u32 hits_now(void)
{
    return hits[0] | hits[1] << 4 | hits[2] << 8 | hits[3] << 12;
}

static void check_send(u32 destination, u32 mode, u32 want, const char *name)
{
    for (int i = 0; i < 4; i++)
        hits[i] = 0;
    lapic_ipi(destination, ICR_LOGICAL | mode | 0x40);
    irq_on();
    for (int i = 0; i < 1000 && hits_now() != want; i++)
        delay_us(1000);
    delay_us(3000);
    irq_off();
    check_eq(hits_now(), want, "%s", name);
}

int main(void)
{
    trap_handle(0x40, on_irq);
    trap_handle(0x41, on_error);
    check_eq((u64)smp_start(other_cpu, 4), 4, "four CPUs run");
    wait_for(&ready, 3, 1000000);
    join_cluster(0);
    check_eq(lapic_read(LAPIC_DFR), 0x0fffffff, "DFR reads back");

    check_send(0x21, ICR_FIXED, 0x0001, "cluster 2, member 0");
    check_send(0x22, ICR_FIXED, 0x0010, "cluster 2, member 1");
    check_send(0x23, ICR_FIXED, 0x0011, "cluster 2, two members");
    check_send(0x2f, ICR_FIXED, 0x0011, "cluster 2, all members");
    check_send(0x5f, ICR_FIXED, 0x1100, "cluster 5, all members");
    check_send(0x58, ICR_FIXED, 0x1000, "cluster 5, member 3");
    check_send(0x54, ICR_FIXED, 0x0000, "cluster 5, nobody");
    check_send(0x31, ICR_FIXED, 0x0000, "a cluster without members");
    check_send(0xff, ICR_FIXED, 0x1111, "cluster broadcast");
    check_send(0x58, ICR_LOWEST, 0x1000, "lowest priority among one");

    /* The error interrupt: an illegal vector is sent. */
    if (!tcg_cannot("the error interrupt", "delivers the illegal vector")) {
        lapic_write(LAPIC_LVT_ERROR, 0x41);
        lapic_write(LAPIC_ESR, 0);
        lapic_ipi(0, ICR_SELF | 0x05);
        irq_window();
        check_eq(errors, 1, "an error raises its interrupt");
        lapic_write(LAPIC_ESR, 0);
        check(lapic_read(LAPIC_ESR) & 0x60, "ESR: illegal vector");
        lapic_write(LAPIC_LVT_ERROR, 0x10041);
        lapic_write(LAPIC_ESR, 0);
        lapic_ipi(0, ICR_SELF | 0x05);
        irq_window();
        check_eq(errors, 1, "none while its LVT entry is masked");
    }
    stop = true;
    return 0;
}
