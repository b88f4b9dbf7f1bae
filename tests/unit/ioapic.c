/* The I/O APIC, against the 82093AA data sheet (order number 290566). */
#include "devices/irq/ioapic.h"

#include "tests/chips.h"

#define ACTIVE_LOW_PIN 16

struct cpu {
    bool intr;
    unsigned nmis;
};

static struct lapic_bus *bus;
static struct lapic *apic;
static struct ioapic *ioapic;
static struct cpu cpu;

static void cpu_set_intr(void *c, bool level)
{
    ((struct cpu *)c)->intr = level;
}

static void cpu_nmi(void *c)
{
    ((struct cpu *)c)->nmis++;
}

static void setup(void)
{
    board_setup();
    cpu = (struct cpu){0};
    CHECK(lapic_bus_create(&bus, &board.env, NULL) == 0);
    struct lapic_config config = {.id = 3, .port = {.set_intr = cpu_set_intr, .nmi = cpu_nmi, .cpu = &cpu}};
    CHECK(lapic_create(&apic, &board.env, bus, &config, NULL) == 0);
    struct ioapic_config pins = {
        .bus = bus, .sink = lapic_bus_msi(bus), .id = 5, .active_low = 1u << ACTIVE_LOW_PIN};
    CHECK(ioapic_create(&ioapic, &board.env, &pins, NULL) == 0);
    lapic_ops.write(apic, 0xf0, 4, 0x1ff);
}

static void teardown(void)
{
    ioapic_destroy(ioapic);
    lapic_destroy(apic);
    lapic_bus_destroy(bus);
    board_teardown();
}

static u32 get(u8 index)
{
    mem_write(board.mem, 0xfec00000, 4, index);
    return (u32)mem_read(board.mem, 0xfec00010, 4);
}

static void put(u8 index, u32 value)
{
    mem_write(board.mem, 0xfec00000, 1, index);
    mem_write(board.mem, 0xfec00010, 4, value);
}

/* Redirects a pin to the APIC, 3. */
static void route(unsigned pin, u32 low)
{
    put((u8)(0x11 + 2 * pin), 3u << 24);
    put((u8)(0x10 + 2 * pin), low);
}

static u32 entry(unsigned pin)
{
    return get((u8)(0x10 + 2 * pin));
}

static void set(unsigned pin, bool level)
{
    struct irq_line line = ioapic_line(ioapic, pin);
    irq_set(&line, level);
}

static int ack(void)
{
    return cpu.intr ? lapic_ops.ack(apic) : -1;
}

static void eoi(void)
{
    lapic_ops.write(apic, 0xb0, 4, 0);
}

static void test_registers(void)
{
    setup();
    CHECK_EQ(get(0), 0x05000000);
    CHECK_EQ(get(1), 0x00170020);
    CHECK_EQ(get(2), 0x05000000);
    put(0, 0xffffffff);
    CHECK_EQ(get(0), 0x0f000000);
    put(1, 0), put(2, 0);
    CHECK_EQ(get(1), 0x00170020);
    for (unsigned pin = 0; pin < 24; pin++)
        CHECK_EQ(entry(pin), 0x10000);
    put(0x3e, 0xffffffff), put(0x3f, 0xffffffff);
    CHECK_EQ(get(0x3e), 0x1afff); /* delivery status and remote IRR are read-only, the rest is reserved */
    CHECK_EQ(get(0x3f), 0xff000000);
    CHECK_EQ(get(0x40), 0xffffffff); /* no such register */
    put(0x40, 0);
    CHECK_EQ(mem_read(board.mem, 0xfec00000, 4), 0x40);
    ioapic_reset(ioapic);
    CHECK_EQ(get(0), 0x05000000);
    CHECK_EQ(get(0x3f), 0);
    teardown();
}

static void test_edge(void)
{
    setup();
    route(4, 0x51);
    set(4, true);
    CHECK_EQ(ack(), 0x51);
    eoi();
    CHECK(!cpu.intr);
    set(4, true);
    CHECK(!cpu.intr);
    set(4, false);
    set(4, true);
    CHECK_EQ(ack(), 0x51);
    eoi();
    CHECK_EQ(entry(4), 0x51);
    /* An edge on a masked pin is not held (data sheet 3.2.4, bit 16). */
    route(4, 0x10051);
    set(4, false);
    set(4, true);
    route(4, 0x51);
    CHECK(!cpu.intr);
    /* Active low: the falling edge. */
    route(4, 0x2051);
    set(4, false);
    CHECK_EQ(ack(), 0x51);
    eoi();
    set(4, true);
    CHECK(!cpu.intr);
    teardown();
}

static void test_level(void)
{
    setup();
    route(9, 0x8061);
    set(9, true);
    CHECK_EQ(entry(9), 0xc061); /* remote IRR */
    CHECK_EQ(ack(), 0x61);
    CHECK(!cpu.intr);
    set(9, false);
    set(9, true); /* in service: nothing new */
    CHECK(!cpu.intr);
    eoi();
    CHECK(cpu.intr); /* still asserted */
    CHECK_EQ(ack(), 0x61);
    set(9, false);
    eoi();
    CHECK(!cpu.intr);
    CHECK_EQ(entry(9), 0x8061);
    /* A masked level waits for its unmasking. */
    route(9, 0x18061);
    set(9, true);
    CHECK(!cpu.intr);
    put(0x10 + 2 * 9, 0x8061);
    CHECK_EQ(ack(), 0x61);
    /* Masked in service: the end clears remote IRR, nothing is sent. */
    put(0x10 + 2 * 9, 0x18061);
    CHECK_EQ(entry(9), 0x1c061);
    eoi();
    CHECK_EQ(entry(9), 0x18061);
    CHECK(!cpu.intr);
    /* Switching to edge clears remote IRR. */
    put(0x10 + 2 * 9, 0x8061);
    CHECK_EQ(ack(), 0x61);
    put(0x10 + 2 * 9, 0x10061);
    CHECK_EQ(entry(9), 0x10061);
    teardown();
}

static void test_eoi_register(void)
{
    setup();
    lapic_ops.write(apic, 0xf0, 4, 0x11ff); /* the APIC does not broadcast its EOIs */
    route(9, 0x8061);
    route(10, 0x8061); /* shares the vector */
    set(9, true);
    set(10, true);
    CHECK_EQ(ack(), 0x61);
    eoi();
    CHECK(!cpu.intr);
    CHECK(entry(9) & 0x4000);
    mem_write(board.mem, 0xfec00040, 4, 0x62);
    CHECK(entry(9) & 0x4000);
    set(10, false);
    mem_write(board.mem, 0xfec00040, 4, 0x61);
    CHECK(cpu.intr);
    CHECK(entry(9) & 0x4000);
    CHECK(!(entry(10) & 0x4000));
    teardown();
}

static void test_polarity(void)
{
    setup();
    /* The wire is active low: a pin that says so interrupts when it is asserted ... */
    route(ACTIVE_LOW_PIN, 0xa062);
    CHECK(!cpu.intr);
    set(ACTIVE_LOW_PIN, true);
    CHECK_EQ(ack(), 0x62);
    set(ACTIVE_LOW_PIN, false);
    eoi();
    CHECK(!cpu.intr);
    /* ... and one that does not, while it is not. */
    route(ACTIVE_LOW_PIN, 0x8062);
    CHECK_EQ(ack(), 0x62);
    set(ACTIVE_LOW_PIN, true);
    eoi();
    CHECK(!cpu.intr);
    teardown();
}

static void test_destinations(void)
{
    setup();
    put(0x11, 4u << 24); /* nobody */
    put(0x10, 0x8070);
    set(0, true);
    CHECK(!cpu.intr);
    CHECK_EQ(entry(0), 0x8070); /* not accepted: no remote IRR */
    put(0x11, 0xffu << 24);
    CHECK_EQ(ack(), 0x70); /* the write looks at the level again */
    set(0, false);
    eoi();
    lapic_ops.write(apic, 0xd0, 4, 0x20000000);
    put(0x13, 0x30u << 24);
    put(0x12, 0x0871); /* logical */
    set(1, true);
    CHECK_EQ(ack(), 0x71);
    eoi();
    put(0x12, 0x0972); /* lowest priority */
    set(1, false);
    set(1, true);
    CHECK_EQ(ack(), 0x72);
    eoi();
    /* NMI is an edge whatever the trigger mode says. */
    route(2, 0x8400);
    set(2, true);
    CHECK_EQ(cpu.nmis, 1);
    CHECK_EQ(entry(2), 0x8400);
    set(2, false);
    set(2, true);
    CHECK_EQ(cpu.nmis, 2);
    teardown();
}

static void test_state(void)
{
    setup();
    route(9, 0x8061);
    set(9, true);
    CHECK_EQ(ack(), 0x61);
    struct snapshot s = board_save();
    ioapic_reset(ioapic);
    lapic_reset(apic);
    board_restore(s);
    CHECK_EQ(entry(9), 0xc061);
    eoi();
    CHECK_EQ(ack(), 0x61);
    s = board_save();
    for (size_t i = 0; i < s.len; i++) {
        u8 *copy = malloc(s.len);
        memcpy(copy, s.data, s.len);
        copy[i] ^= 0xff;
        if (state_set_load(board.state, copy, s.len, NULL) == 0)
            for (unsigned pin = 0; pin < 24; pin++) {
                set(pin, false), set(pin, true), entry(pin);
                eoi();
            }
        free(copy);
    }
    board_restore(s);
    teardown();
}

int main(void)
{
    TAP_RUN(test_registers);
    TAP_RUN(test_edge);
    TAP_RUN(test_level);
    TAP_RUN(test_eoi_register);
    TAP_RUN(test_polarity);
    TAP_RUN(test_destinations);
    TAP_RUN(test_state);
    return tap_done();
}
