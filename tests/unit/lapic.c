/* The local APIC, against the Intel SDM, volume 3, chapter 10. */
#include "devices/irq/lapic.h"

#include "tests/chips.h"

#define CPUS 4

enum {
    ID = 0x20,
    VERSION = 0x30,
    TPR = 0x80,
    APR = 0x90,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR_HIGH = 0x310,
    LVT_TIMER = 0x320,
    LVT_THERMAL = 0x330,
    LVT_PERF = 0x340,
    LVT_LINT0 = 0x350,
    LVT_LINT1 = 0x360,
    LVT_ERROR = 0x370,
    INITIAL = 0x380,
    CURRENT = 0x390,
    DIVIDE = 0x3e0,
    SELF_IPI = 0x3f0,
};
enum { APIC_BASE = 0x1b, TSC_DEADLINE = 0x6e0 };

struct cpu {
    bool intr;
    unsigned nmis, inits, sipis;
    u8 sipi_vector;
    s64 tsc_offset;
};

static struct lapic_bus *bus;
static struct lapic *apic[CPUS];
static struct cpu cpu[CPUS];
static u8 ended[16];
static unsigned end_count;
static int pic_vector;
static struct irq_line lint0, lint1;

static void cpu_set_intr(void *c, bool level)
{
    ((struct cpu *)c)->intr = level;
}

static void cpu_nmi(void *c)
{
    ((struct cpu *)c)->nmis++;
}

static void cpu_init(void *c)
{
    ((struct cpu *)c)->inits++;
}

static void cpu_sipi(void *c, u8 vector)
{
    ((struct cpu *)c)->sipis++;
    ((struct cpu *)c)->sipi_vector = vector;
}

static s64 cpu_tsc_offset(void *c)
{
    return ((struct cpu *)c)->tsc_offset;
}

static int pic_ack(void *pic)
{
    irq_set(&lint0, false);
    return pic_vector;
}

static void heard_eoi(void *ioapic, u8 vector)
{
    ended[end_count++ & 15] = vector;
}

static u32 rd(unsigned n, unsigned reg)
{
    return (u32)lapic_ops.read(apic[n], reg, 4);
}

static void wr(unsigned n, unsigned reg, u32 value)
{
    lapic_ops.write(apic[n], reg, 4, value);
}

static int ack(unsigned n)
{
    return lapic_ops.ack(apic[n]);
}

static bool rdmsr(unsigned n, u32 msr, u64 *value)
{
    return lapic_ops.msr_read(apic[n], msr, value);
}

static bool wrmsr(unsigned n, u32 msr, u64 value)
{
    return lapic_ops.msr_write(apic[n], msr, value);
}

/* An x2APIC register that must be readable. */
static u64 x2(unsigned n, unsigned reg)
{
    u64 value = 0;
    CHECK(rdmsr(n, 0x800 + (reg >> 4), &value));
    return value;
}

static bool x2_write(unsigned n, unsigned reg, u64 value)
{
    return wrmsr(n, 0x800 + (reg >> 4), value);
}

static void ipi(unsigned from, u32 dest, u32 low)
{
    wr(from, ICR_HIGH, dest << 24);
    wr(from, ICR, low);
}

static void setup_board(void)
{
    board_setup();
    memset(cpu, 0, sizeof cpu);
    end_count = 0;
    pic_vector = -1;
    CHECK(lapic_bus_create(&bus, &board.env, NULL) == 0);
    for (unsigned n = 0; n < CPUS; n++) {
        struct lapic_config config = {
            .id = n,
            .bsp = n == 0,
            .x2apic = true,
            .tsc_deadline = true,
            .port = {cpu_set_intr, cpu_nmi, cpu_init, cpu_sipi, cpu_tsc_offset, &cpu[n]},
        };
        CHECK(lapic_create(&apic[n], &board.env, bus, &config, NULL) == 0);
    }
    lapic_bus_set_extint(bus, pic_ack, NULL);
    lapic_bus_set_eoi(bus, heard_eoi, NULL);
    lint0 = lapic_bus_lint(bus, 0);
    lint1 = lapic_bus_lint(bus, 1);
}

static void setup(void)
{
    setup_board();
    for (unsigned n = 0; n < CPUS; n++)
        wr(n, SVR, 0x1ff);
}

static void teardown(void)
{
    for (unsigned n = 0; n < CPUS; n++)
        lapic_destroy(apic[n]);
    lapic_bus_destroy(bus);
    board_teardown();
}

/* Who of the CPUs has an interrupt, a bit each; takes and ends them. */
static unsigned taken(u8 vector)
{
    unsigned mask = 0;
    for (unsigned n = 0; n < CPUS; n++)
        if (cpu[n].intr) {
            CHECK_EQ(ack(n), vector);
            if (lapic_ops.page(apic[n]) == ~0ull)
                CHECK(x2_write(n, EOI, 0));
            else
                wr(n, EOI, 0);
            mask |= 1u << n;
        }
    return mask;
}

static void test_reset_values(void)
{
    setup_board();
    u64 base;
    CHECK(rdmsr(0, APIC_BASE, &base));
    CHECK_EQ(base, 0xfee00900);
    CHECK(rdmsr(1, APIC_BASE, &base));
    CHECK_EQ(base, 0xfee00800);
    CHECK_EQ(lapic_ops.page(apic[1]), 0xfee00000);
    CHECK_EQ(rd(2, ID), 0x02000000);
    CHECK_EQ(rd(0, VERSION), 0x01050014);
    CHECK_EQ(rd(0, SVR), 0xff);
    CHECK_EQ(rd(0, DFR), 0xffffffff);
    CHECK_EQ(rd(0, LDR), 0);
    for (unsigned reg = LVT_TIMER; reg <= LVT_ERROR; reg += 16)
        CHECK_EQ(rd(0, reg), 0x10000);
    for (unsigned reg = ISR; reg < ESR; reg += 16)
        CHECK_EQ(rd(0, reg), 0);
    CHECK_EQ(rd(0, TPR) | rd(0, PPR) | rd(0, ICR) | rd(0, INITIAL) | rd(0, CURRENT) | rd(0, DIVIDE), 0);
    /* Software-disabled: masks cannot be cleared, fixed interrupts are not accepted, others are. */
    wr(0, LVT_TIMER, 0x40);
    CHECK_EQ(rd(0, LVT_TIMER), 0x10040);
    ipi(1, 0, 0x4041);
    CHECK(!cpu[0].intr);
    CHECK_EQ(rd(0, IRR + 0x20), 0);
    ipi(1, 0, 0x4400);
    CHECK_EQ(cpu[0].nmis, 1);
    teardown();
}

static void test_priority(void)
{
    setup();
    ipi(1, 0, 0x4041);
    ipi(1, 0, 0x4045);
    ipi(1, 0, 0x4061);
    CHECK(cpu[0].intr);
    CHECK_EQ(rd(0, IRR + 0x20), 0x22);
    CHECK_EQ(rd(0, IRR + 0x30), 0x02);
    CHECK_EQ(ack(0), 0x61);
    CHECK(!cpu[0].intr);
    CHECK_EQ(ack(0), -1);
    CHECK_EQ(rd(0, ISR + 0x30), 0x02);
    CHECK_EQ(rd(0, PPR), 0x60);
    ipi(1, 0, 0x4062); /* the same class does not interrupt */
    CHECK(!cpu[0].intr);
    ipi(1, 0, 0x4070);
    CHECK_EQ(ack(0), 0x70);
    CHECK_EQ(rd(0, PPR), 0x70);
    wr(0, EOI, 0);
    CHECK_EQ(rd(0, PPR), 0x60);
    wr(0, TPR, 0x75);
    CHECK_EQ(rd(0, PPR), 0x75);
    wr(0, EOI, 0);
    CHECK(!cpu[0].intr); /* 62h, 45h, 41h wait for TPR */
    CHECK_EQ(rd(0, APR), 0x75);
    CHECK_EQ(lapic_ops.cr8_read(apic[0]), 7);
    lapic_ops.cr8_write(apic[0], 5);
    CHECK_EQ(rd(0, TPR), 0x50);
    CHECK(cpu[0].intr);
    lapic_ops.cr8_write(apic[0], 6);
    CHECK(!cpu[0].intr);
    wr(0, TPR, 0x5f);
    CHECK_EQ(ack(0), 0x62);
    wr(0, TPR, 0);
    wr(0, EOI, 0);
    CHECK_EQ(ack(0), 0x45);
    wr(0, EOI, 0);
    CHECK_EQ(ack(0), 0x41);
    wr(0, EOI, 0);
    wr(0, EOI, 0); /* nothing in service: nothing happens */
    CHECK_EQ(rd(0, PPR), 0);
    CHECK_EQ(end_count, 0); /* edges have no EOI broadcast */
    teardown();
}

static void test_destinations(void)
{
    setup();
    ipi(0, 2, 0x4050);
    CHECK_EQ(taken(0x50), 1 << 2);
    ipi(0, 9, 0x4050);
    CHECK_EQ(taken(0x50), 0);
    ipi(0, 0xff, 0x4050);
    CHECK_EQ(taken(0x50), 15);
    /* Shorthands. */
    ipi(1, 0, 0x44050);
    CHECK_EQ(taken(0x50), 1 << 1);
    ipi(1, 0, 0x84050);
    CHECK_EQ(taken(0x50), 15);
    ipi(1, 0, 0xc4050);
    CHECK_EQ(taken(0x50), 15 & ~(1 << 1));
    /* Flat model. */
    for (unsigned n = 0; n < CPUS; n++)
        wr(n, LDR, 1u << (24 + n));
    ipi(0, 0x0a, 0x4850);
    CHECK_EQ(taken(0x50), 0x0a);
    ipi(0, 0xff, 0x4850);
    CHECK_EQ(taken(0x50), 15);
    /* Cluster model: two clusters of two. */
    for (unsigned n = 0; n < CPUS; n++) {
        wr(n, DFR, 0x0fffffff);
        wr(n, LDR, (n / 2) << 28 | 1u << (24 + n % 2));
    }
    CHECK_EQ(rd(0, DFR), 0x0fffffff);
    ipi(0, 0x13, 0x4850);
    CHECK_EQ(taken(0x50), 0x0c);
    ipi(0, 0x01, 0x4850);
    CHECK_EQ(taken(0x50), 0x01);
    /* A disabled APIC hears nothing. */
    CHECK(wrmsr(3, APIC_BASE, 0xfee00000));
    ipi(0, 0xff, 0x4050);
    CHECK_EQ(taken(0x50), 7);
    teardown();
}

static void test_lowest_priority(void)
{
    setup();
    for (unsigned n = 0; n < CPUS; n++) {
        wr(n, LDR, 1u << (24 + n));
        wr(n, TPR, 0x40);
    }
    wr(2, TPR, 0x20);
    ipi(0, 0xff, 0x4950);
    CHECK_EQ(taken(0x50), 1 << 2);
    wr(2, TPR, 0x40);
    unsigned all = 0;
    for (unsigned n = 0; n < CPUS; n++) { /* equals take turns */
        ipi(0, 0x0f, 0x4950);
        unsigned one = taken(0x50);
        CHECK(one && !(one & (one - 1)));
        CHECK(!(all & one));
        all |= one;
    }
    wr(1, SVR, 0xff); /* who cannot accept does not take part */
    for (unsigned n = 0; n < CPUS; n++) {
        ipi(0, 0x0f, 0x4950);
        CHECK(!(taken(0x50) & 2));
    }
    teardown();
}

static void test_other_deliveries(void)
{
    setup();
    ipi(0, 1, 0x4400);
    CHECK_EQ(cpu[1].nmis, 1);
    ipi(0, 0, 0xc4500); /* INIT to the others */
    CHECK(cpu[0].inits == 0 && cpu[1].inits == 1 && cpu[2].inits == 1);
    ipi(0, 1, 0x8500); /* INIT level de-assert: ignored */
    CHECK_EQ(cpu[1].inits, 1);
    ipi(0, 1, 0xc500);
    CHECK_EQ(cpu[1].inits, 2);
    ipi(0, 1, 0x469a);
    CHECK(cpu[1].sipis == 1 && cpu[1].sipi_vector == 0x9a && cpu[2].sipis == 0);
    CHECK_EQ(rd(0, ICR), 0x469a);
    ipi(0, 1, 0x4200); /* SMI: nobody there */
    ipi(0, 1, 0x4700); /* ExtINT: reserved */
    CHECK(!cpu[1].intr);
    /* INIT at the CPU resets all but ID and base. */
    wr(1, TPR, 0x30);
    wr(1, LVT_LINT0, 0x700);
    wr(1, INITIAL, 1000);
    ipi(0, 1, 0x4050);
    lapic_ops.init(apic[1]);
    CHECK(!cpu[1].intr);
    CHECK_EQ(rd(1, TPR) | rd(1, INITIAL) | rd(1, IRR + 0x20), 0);
    CHECK_EQ(rd(1, LVT_LINT0), 0x10000);
    CHECK_EQ(rd(1, SVR), 0xff);
    CHECK_EQ(rd(1, ID), 0x01000000);
    teardown();
}

static void test_errors(void)
{
    setup();
    wr(0, LVT_ERROR, 0xe0);
    wr(0, 0x50, 1);          /* no such register */
    CHECK_EQ(rd(0, ESR), 0); /* seen only after a write */
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0x80);
    CHECK_EQ(taken(0xe0), 1);
    (void)rd(0, 0x2f0);
    CHECK_EQ(taken(0xe0), 1);
    (void)rd(0, 0x2f0); /* not again before ESR was written */
    CHECK_EQ(taken(0xe0), 0);
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0x80);
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0);
    /* Illegal vectors: sent, received, from the LVT. */
    ipi(0, 1, 0x400f);
    CHECK(!cpu[1].intr);
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0x20);
    struct msi_sink msi = lapic_bus_msi(bus);
    msi_send(&msi, 0xfee00000, 0x0008);
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0x40);
    wr(0, LVT_TIMER, 0x05);
    wr(0, INITIAL, 10);
    board_run_to(1000);
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0x40);
    wr(0, LVT_ERROR, 3); /* even its own */
    (void)rd(0, 0x2f0);
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0xc0);
    /* Read-only registers are no error. */
    wr(0, VERSION, 0), wr(0, PPR, 0), wr(0, ISR, ~0u), wr(0, CURRENT, 5);
    wr(0, ESR, 0);
    CHECK_EQ(rd(0, ESR), 0);
    CHECK_EQ(rd(0, ISR), 0);
    teardown();
}

static void test_accesses(void)
{
    setup();
    wr(0, TPR, 0x1ff); /* reserved bits are dropped */
    CHECK_EQ(rd(0, TPR), 0xff);
    wr(0, TPR, 0);
    wr(0, LVT_LINT0, 0xffffffff);
    CHECK_EQ(rd(0, LVT_LINT0), 0x1a7ff);
    wr(0, LVT_TIMER, 0xffffffff);
    CHECK_EQ(rd(0, LVT_TIMER), 0x700ff);
    wr(0, LVT_ERROR, 0xffffffff);
    CHECK_EQ(rd(0, LVT_ERROR), 0x100ff);
    wr(0, LVT_PERF, 0xffffffff);
    CHECK_EQ(rd(0, LVT_PERF), 0x107ff);
    wr(0, LDR, 0x12345678);
    CHECK_EQ(rd(0, LDR), 0x12000000);
    wr(0, DIVIDE, 0xffffffff);
    CHECK_EQ(rd(0, DIVIDE), 0xb);
    wr(3, ID, 0x77000000);
    CHECK_EQ(rd(3, ID), 0x77000000);
    ipi(0, 0x77, 0x4050);
    CHECK_EQ(taken(0x50), 8);
    /* Only aligned doublewords write; bytes can be read. */
    lapic_ops.write(apic[0], TPR, 1, 0x55);
    lapic_ops.write(apic[0], TPR + 4, 4, 0x55);
    CHECK_EQ(rd(0, TPR), 0);
    CHECK_EQ(lapic_ops.read(apic[0], VERSION + 2, 1), 0x05);
    CHECK_EQ(lapic_ops.read(apic[0], VERSION + 4, 4), 0);
    CHECK_EQ(lapic_ops.read(apic[0], VERSION, 8), 0x01050014);
    teardown();
}

static void test_timer(void)
{
    setup();
    wr(0, LVT_TIMER, 0x40);
    wr(0, DIVIDE, 0xb); /* by 1 */
    wr(0, INITIAL, 1000000);
    CHECK_EQ(rd(0, CURRENT), 1000000);
    board_run_to(400000);
    CHECK_EQ(rd(0, CURRENT), 600000);
    wr(0, DIVIDE, 0x3); /* by 16: the count stays, the pace changes */
    CHECK_EQ(rd(0, CURRENT), 600000);
    board_run_to(400000 + 16 * 599999);
    CHECK_EQ(rd(0, CURRENT), 1);
    CHECK(!cpu[0].intr);
    board_run_to(400000 + 16 * 600000);
    CHECK_EQ(rd(0, CURRENT), 0);
    CHECK_EQ(taken(0x40), 1);
    CHECK_EQ(board_run_to(NS_PER_SEC), 0);
    /* All divisors. */
    static const u8 code[] = {0xb, 0, 1, 2, 3, 8, 9, 10};
    for (unsigned i = 0; i < 8; i++) {
        wr(0, DIVIDE, code[i]);
        wr(0, INITIAL, 1000);
        u64 t = board_now();
        board_run_to(t + (1000ull << i) - 1);
        CHECK(!cpu[0].intr);
        board_run_to(t + (1000ull << i));
        CHECK_EQ(taken(0x40), 1);
    }
    wr(0, INITIAL, 1000);
    wr(0, INITIAL, 0); /* stops */
    board_run_to(board_now() + NS_PER_SEC);
    CHECK_EQ(taken(0x40), 0);
    teardown();
}

static void test_timer_periodic(void)
{
    setup();
    wr(0, LVT_TIMER, 0x20040);
    wr(0, DIVIDE, 0xb);
    wr(0, INITIAL, 1000000);
    unsigned count = 0;
    for (u64 t = 100000; t <= NS_PER_SEC; t += 100000) {
        board_run_to(t);
        count += taken(0x40);
    }
    CHECK_EQ(count, 1000);
    board_jump_to(NS_PER_SEC + 5300000); /* a late host: one interrupt, same phase */
    CHECK_EQ(taken(0x40), 1);
    CHECK_EQ(rd(0, CURRENT), 700000);
    CHECK(!cpu[0].intr);
    /* Masked: it counts on, nothing waits on the host, nothing is delivered late. */
    wr(0, LVT_TIMER, 0x30040);
    CHECK_EQ(board_run_to(NS_PER_SEC + 8100000), 0);
    CHECK_EQ(rd(0, CURRENT), 900000);
    wr(0, LVT_TIMER, 0x20040);
    CHECK(!cpu[0].intr);
    board_run_to(NS_PER_SEC + 9000000);
    CHECK_EQ(taken(0x40), 1);
    /* Periodic to one-shot and back in flight: the count is not touched. */
    board_run_to(NS_PER_SEC + 9400000);
    wr(0, LVT_TIMER, 0x40);
    CHECK_EQ(rd(0, CURRENT), 600000);
    board_run_to(NS_PER_SEC + 10000000);
    CHECK_EQ(taken(0x40), 1);
    CHECK_EQ(rd(0, CURRENT), 0);
    wr(0, LVT_TIMER, 0x20040); /* an expired one-shot does not start again */
    board_run_to(2 * NS_PER_SEC);
    CHECK_EQ(taken(0x40), 0);
    /* One nanosecond: the host survives. */
    wr(0, INITIAL, 1);
    CHECK(board_run_to(3 * NS_PER_SEC) <= 100001);
    CHECK_EQ(taken(0x40), 1);
    wr(0, SVR, 0xff); /* software-disabled: masked */
    CHECK_EQ(board_run_to(4 * NS_PER_SEC), 0);
    teardown();
}

static void test_tsc_deadline(void)
{
    setup();
    u64 value = 1;
    cpu[0].tsc_offset = 5000000;
    CHECK(wrmsr(0, TSC_DEADLINE, 9000000)); /* not in this mode: ignored */
    CHECK(rdmsr(0, TSC_DEADLINE, &value) && value == 0);
    wr(0, LVT_TIMER, 0x40040);
    CHECK(wrmsr(0, TSC_DEADLINE, 9000000));
    CHECK(rdmsr(0, TSC_DEADLINE, &value) && value == 9000000);
    CHECK_EQ(rd(0, CURRENT), 0);
    wr(0, INITIAL, 5); /* ignored */
    board_run_to(3999999);
    CHECK(!cpu[0].intr);
    board_run_to(4000000);
    CHECK_EQ(taken(0x40), 1);
    CHECK(rdmsr(0, TSC_DEADLINE, &value) && value == 0);
    CHECK(wrmsr(0, TSC_DEADLINE, 1)); /* past: at once */
    CHECK_EQ(taken(0x40), 1);
    /* The guest moves its TSC. */
    CHECK(wrmsr(0, TSC_DEADLINE, 20000000));
    cpu[0].tsc_offset = 0;
    lapic_ops.tsc_changed(apic[0]);
    board_run_to(19999999);
    CHECK(!cpu[0].intr);
    board_run_to(20000000);
    CHECK_EQ(taken(0x40), 1);
    CHECK(wrmsr(0, TSC_DEADLINE, ~0ull));
    CHECK(wrmsr(0, TSC_DEADLINE, 0)); /* disarms */
    CHECK_EQ(loop_next_deadline(board.loop), ~0ull);
    CHECK(wrmsr(0, TSC_DEADLINE, 30000000));
    wr(0, LVT_TIMER, 0x40); /* leaving the mode disarms */
    wr(0, LVT_TIMER, 0x40040);
    CHECK(rdmsr(0, TSC_DEADLINE, &value) && value == 0);
    CHECK_EQ(board_run_to(NS_PER_SEC), 0);
    teardown();
}

static void test_x2apic(void)
{
    setup();
    u64 v;
    CHECK(!rdmsr(1, 0x802, &v)); /* not in xAPIC mode */
    CHECK(!wrmsr(1, 0x80b, 0));
    wr(1, ICR_HIGH, 0x05000000);
    wr(1, TPR, 0x20);
    CHECK(wrmsr(1, APIC_BASE, 0xfee00c00));
    CHECK_EQ(lapic_ops.page(apic[1]), ~0ull);
    CHECK_EQ(x2(1, ID), 1);
    CHECK_EQ(x2(1, LDR), 2);
    CHECK_EQ(x2(1, TPR), 0x20); /* preserved */
    CHECK_EQ(x2(1, SVR), 0x1ff);
    CHECK_EQ(x2(1, ICR), 0);
    CHECK(x2_write(1, TPR, 0));
    /* What there is not: DFR, ICR high, APR, remote read, reading EOI and self IPI. */
    static const u32 absent[] = {0x800, 0x801, 0x804, 0x809, 0x80b, 0x80c,
                                 0x80e, 0x82f, 0x831, 0x83a, 0x83f, 0x8ff};
    for (unsigned i = 0; i < sizeof absent / sizeof *absent; i++)
        CHECK(!rdmsr(1, absent[i], &v));
    /* Read-only, and reserved bits. */
    static const u32 read_only[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x818, 0x820, 0x839};
    for (unsigned i = 0; i < sizeof read_only / sizeof *read_only; i++)
        CHECK(!wrmsr(1, read_only[i], 0));
    CHECK(!x2_write(1, TPR, 0x100) && !x2_write(1, EOI, 1) && !x2_write(1, ESR, 1) &&
          !x2_write(1, SVR, 0x2000));
    CHECK(!x2_write(1, LVT_TIMER, 0x80000) && !x2_write(1, LVT_ERROR, 0x700) && !x2_write(1, DIVIDE, 4));
    CHECK(!x2_write(1, INITIAL, BIT(32)) && !x2_write(1, SELF_IPI, 0x100) && !x2_write(1, ICR, BIT(20)));
    CHECK(!x2_write(1, TPR, BIT(40)));
    CHECK(x2_write(1, EOI, 0) && x2_write(1, ESR, 0) && x2_write(1, LVT_LINT0, 0x1a700));
    /* Self IPI; IPIs with 32-bit destinations. */
    CHECK(x2_write(1, SELF_IPI, 0x51));
    CHECK_EQ(taken(0x51), 2);
    for (unsigned n = 0; n < CPUS; n++)
        if (n != 1)
            CHECK(wrmsr(n, APIC_BASE, 0xfee00c00 | (n == 0) << 8));
    CHECK(x2_write(1, ICR, 3ull << 32 | 0x4052));
    CHECK_EQ(taken(0x52), 8);
    CHECK_EQ(x2(1, ICR), 3ull << 32 | 0x4052);
    CHECK(x2_write(1, ICR, 0xffull << 32 | 0x4052)); /* no broadcast here */
    CHECK_EQ(taken(0x52), 0);
    CHECK(x2_write(1, ICR, 0xffffffffull << 32 | 0x4052));
    CHECK_EQ(taken(0x52), 15);
    CHECK(x2_write(1, ICR, 0x00000005ull << 32 | 0x4852)); /* cluster 0, members 0 and 2 */
    CHECK_EQ(taken(0x52), 5);
    CHECK(x2_write(1, ICR, 0x0001000full << 32 | 0x4852));
    CHECK_EQ(taken(0x52), 0);
    teardown();
}

static void test_modes(void)
{
    setup();
    u64 v;
    CHECK(!wrmsr(1, APIC_BASE, 0xfee00400)); /* EXTD without EN */
    CHECK(!wrmsr(1, APIC_BASE, 0xfee00801)); /* reserved */
    CHECK(!wrmsr(1, APIC_BASE, 0xfee00a00));
    CHECK(!wrmsr(1, APIC_BASE, BIT(40) | 0xfee00800));
    CHECK(wrmsr(1, APIC_BASE, 0xfee00c00));
    CHECK(!wrmsr(1, APIC_BASE, 0xfee00800)); /* x2APIC to xAPIC */
    CHECK(wrmsr(1, APIC_BASE, 0xfee00000));
    CHECK(rdmsr(1, APIC_BASE, &v) && v == 0xfee00000);
    CHECK(!wrmsr(1, APIC_BASE, 0xfee00c00)); /* disabled to x2APIC */
    CHECK(wrmsr(1, APIC_BASE, 0xfee00800));
    CHECK_EQ(rd(1, SVR), 0xff); /* was reset on the way */
    CHECK_EQ(rd(1, ID), 0x01000000);
    CHECK_EQ(rd(1, LDR), 0);
    CHECK(wrmsr(1, APIC_BASE, 0xfedf0800)); /* moved */
    CHECK_EQ(lapic_ops.page(apic[1]), 0xfedf0000);
    /* Disabled: LINT0 and LINT1 are the CPU's INTR and NMI. */
    CHECK(wrmsr(0, APIC_BASE, 0xfee00100));
    CHECK_EQ(lapic_ops.page(apic[0]), ~0ull);
    pic_vector = 0x33;
    irq_set(&lint0, true);
    CHECK(cpu[0].intr && !cpu[1].intr);
    CHECK_EQ(ack(0), 0x33);
    CHECK(!cpu[0].intr);
    irq_set(&lint1, true);
    irq_set(&lint1, false);
    CHECK(cpu[0].nmis == 1 && cpu[1].nmis == 0);
    teardown();
}

static void test_local_pins(void)
{
    setup_board();
    lapic_set_virtual_wire(apic[0]);
    CHECK_EQ(rd(0, SVR), 0x1ff);
    pic_vector = 0x31;
    irq_set(&lint0, true);
    CHECK(cpu[0].intr && !cpu[1].intr);
    wr(0, TPR, 0xff); /* ExtINT has no priority */
    CHECK(cpu[0].intr);
    CHECK_EQ(ack(0), 0x31);
    CHECK_EQ(rd(0, ISR + 0x10), 0); /* and is not recorded */
    CHECK(!cpu[0].intr);
    irq_set(&lint0, true);
    wr(0, LVT_LINT0, 0x10700);
    CHECK(!cpu[0].intr);
    wr(0, LVT_LINT0, 0x2700); /* active low */
    irq_set(&lint0, false);
    CHECK(cpu[0].intr);
    wr(0, LVT_LINT0, 0x10000);
    wr(0, TPR, 0);
    irq_set(&lint1, true);
    irq_set(&lint1, false);
    CHECK(cpu[0].nmis == 1 && cpu[1].nmis == 0);
    wr(0, LVT_LINT1, 0x10400);
    irq_set(&lint1, true);
    CHECK_EQ(cpu[0].nmis, 1);
    /* A fixed edge; a fixed level with remote IRR. */
    wr(0, LVT_LINT0, 0x60);
    irq_set(&lint0, true);
    CHECK_EQ(taken(0x60), 1);
    CHECK_EQ(taken(0x60), 0);
    irq_set(&lint0, false);
    wr(0, LVT_LINT0, 0x8060);
    irq_set(&lint0, true);
    CHECK_EQ(rd(0, LVT_LINT0), 0xc060);
    CHECK_EQ(ack(0), 0x60);
    CHECK_EQ(rd(0, TMR + 0x30), 1);
    CHECK(!cpu[0].intr);
    wr(0, EOI, 0);
    CHECK(cpu[0].intr); /* still high */
    CHECK_EQ(ack(0), 0x60);
    irq_set(&lint0, false);
    wr(0, EOI, 0);
    CHECK(!cpu[0].intr);
    CHECK_EQ(rd(0, LVT_LINT0), 0x8060);
    teardown();
}

static void test_msi_and_eoi(void)
{
    setup();
    struct msi_sink msi = lapic_bus_msi(bus);
    msi_send(&msi, 0xfee02000, 0x0061); /* physical 2, edge */
    CHECK_EQ(taken(0x61), 4);
    CHECK_EQ(end_count, 0);
    msi_send(&msi, 0xfee01000, 0xc061); /* level, assert */
    CHECK_EQ(rd(1, TMR + 0x30), 2);
    CHECK_EQ(taken(0x61), 2);
    CHECK(end_count == 1 && ended[0] == 0x61);
    msi_send(&msi, 0xfee01000, 0x8061); /* level, de-assert */
    CHECK_EQ(taken(0x61), 0);
    wr(1, SVR, 0x11ff); /* EOI-broadcast suppression */
    msi_send(&msi, 0xfee01000, 0xc061);
    CHECK_EQ(taken(0x61), 2);
    CHECK_EQ(end_count, 1);
    msi_send(&msi, 0xfee01000, 0x0062); /* an edge clears the vector's TMR bit */
    CHECK_EQ(rd(1, TMR + 0x30), 2);
    msi_send(&msi, 0xfee01000, 0x0061);
    CHECK_EQ(rd(1, TMR + 0x30), 0);
    lapic_ops.ack(apic[1]), lapic_ops.ack(apic[1]);
    wr(1, EOI, 0), wr(1, EOI, 0);
    CHECK_EQ(ack(1), 0x61);
    wr(1, EOI, 0);
    /* Logical; redirected: one of them; NMI; ExtINT; not for us. */
    for (unsigned n = 0; n < CPUS; n++)
        wr(n, LDR, 1u << (24 + n));
    msi_send(&msi, 0xfee05004, 0x0063);
    CHECK_EQ(taken(0x63), 5);
    wr(0, TPR, 0x10);
    msi_send(&msi, 0xfee0500c, 0x0063);
    CHECK_EQ(taken(0x63), 4);
    msi_send(&msi, 0xfee05004, 0x0163);
    CHECK_EQ(taken(0x63), 4);
    msi_send(&msi, 0xfee03000, 0x0400);
    CHECK_EQ(cpu[3].nmis, 1);
    pic_vector = 0x2f;
    msi_send(&msi, 0xfee03000, 0x0700);
    CHECK(cpu[3].intr);
    CHECK_EQ(ack(3), 0x2f);
    CHECK(!cpu[3].intr);
    msi_send(&msi, 0xfed03000, 0x0063);
    msi_send(&msi, 0x1fee03000, 0x0063);
    CHECK_EQ(taken(0x63), 0);
    teardown();
}

static void test_state(void)
{
    setup();
    wr(0, LVT_TIMER, 0x20040);
    wr(0, DIVIDE, 0xb);
    wr(0, INITIAL, 1000000);
    wr(1, TPR, 0x30);
    ipi(0, 1, 0x4061);
    CHECK(wrmsr(2, APIC_BASE, 0xfee00c00));
    board_run_to(300000);
    struct snapshot s = board_save();
    for (unsigned n = 0; n < CPUS; n++)
        lapic_reset(apic[n]);
    CHECK(!cpu[1].intr);
    board_restore(s);
    CHECK(cpu[1].intr);
    CHECK_EQ(x2(2, ID), 2);
    CHECK_EQ(rd(1, TPR), 0x30);
    CHECK_EQ(taken(0x61), 2);
    CHECK_EQ(rd(0, CURRENT), 700000);
    board_run_to(1000000);
    CHECK_EQ(taken(0x40), 1);
    /* Every single byte changed: refused, or loaded and then harmless. */
    s = board_save();
    for (size_t i = 0; i < s.len; i++) {
        u8 *copy = malloc(s.len);
        memcpy(copy, s.data, s.len);
        copy[i] ^= 0xff;
        if (state_set_load(board.state, copy, s.len, NULL) == 0) {
            CHECK(board_run_to(board_now() + 1000000) <= 500);
            for (unsigned n = 0; n < CPUS; n++) {
                rd(n, CURRENT);
                while (ack(n) >= 0)
                    wr(n, EOI, 0);
                cpu[n].intr = false;
            }
        }
        free(copy);
    }
    board_restore(s);
    teardown();
}

int main(void)
{
    TAP_RUN(test_reset_values);
    TAP_RUN(test_priority);
    TAP_RUN(test_destinations);
    TAP_RUN(test_lowest_priority);
    TAP_RUN(test_other_deliveries);
    TAP_RUN(test_errors);
    TAP_RUN(test_accesses);
    TAP_RUN(test_timer);
    TAP_RUN(test_timer_periodic);
    TAP_RUN(test_tsc_deadline);
    TAP_RUN(test_x2apic);
    TAP_RUN(test_modes);
    TAP_RUN(test_local_pins);
    TAP_RUN(test_msi_and_eoi);
    TAP_RUN(test_state);
    return tap_done();
}
