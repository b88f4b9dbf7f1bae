/* A CPU and its local APIC together: start-up messages, interrupts, the TSC deadline of a TSC that is moved.
 */
#include "devices/irq/lapic.h"

#include "tests/chips.h"
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;
static struct lapic_bus *bus;
static struct lapic *apic[2];

static void setup(void)
{
    board_setup();
    cpu_vm_create(&t, "x86-64-v2", 2);
    t.vm.clock = loop_clock(board.loop);
    CHECK(lapic_bus_create(&bus, &board.env, NULL) == 0);
    for (unsigned n = 0; n < 2; n++) {
        struct lapic_config config = {
            .id = n, .bsp = n == 0, .x2apic = true, .tsc_deadline = true, .port = vcpu_port(t.vm.cpu[n])};
        CHECK(lapic_create(&apic[n], &board.env, bus, &config, NULL) == 0);
        vcpu_connect_apic(t.vm.cpu[n], &lapic_ops, apic[n]);
        lapic_ops.write(apic[n], 0xf0, 4, 0x1ff);
    }
}

static void teardown(void)
{
    cpu_vm_destroy(&t);
    for (unsigned n = 0; n < 2; n++)
        lapic_destroy(apic[n]);
    lapic_bus_destroy(bus);
    board_teardown();
}

static void ipi(u32 dest, u32 low)
{
    lapic_ops.write(apic[0], 0x310, 4, dest << 24);
    lapic_ops.write(apic[0], 0x300, 4, low);
}

/* The host may let the CPU look only when both messages are there. */
static void test_start_up(void)
{
    setup();
    struct vcpu *v = t.vm.cpu[1];
    CHECK_EQ(v->activity, ACTIVITY_WAIT_SIPI);
    ipi(1, 0x4500);
    ipi(1, 0x4612);
    CHECK(vcpu_has_wakeup(v));
    cpu_handle_events(v);
    CHECK_EQ(v->activity, ACTIVITY_RUNNING);
    CHECK_EQ(v->seg[CS].base, 0x12000);
    CHECK_EQ(v->rip, 0);
    /* A start-up to a running CPU is ignored; an INIT after it makes it wait. */
    ipi(1, 0x4634);
    cpu_handle_events(v);
    CHECK_EQ(v->seg[CS].base, 0x12000);
    ipi(1, 0x4634);
    ipi(1, 0x4500);
    cpu_handle_events(v);
    CHECK_EQ(v->activity, ACTIVITY_WAIT_SIPI);
    teardown();
}

static void test_interrupt(void)
{
    setup();
    struct vcpu *v = t.vm.cpu[0];
    ipi(0, 0x4051);
    CHECK(atomic_load(&v->events) & EVENT_INTR);
    lapic_ops.cr8_write(apic[0], 5);
    CHECK(!(atomic_load(&v->events) & EVENT_INTR));
    lapic_ops.cr8_write(apic[0], 0);
    CHECK_EQ(lapic_ops.ack(apic[0]), 0x51);
    CHECK(!(atomic_load(&v->events) & EVENT_INTR));
    teardown();
}

/* Two NMIs to a CPU that could have taken the first; not more than one waits for its end. */
static void test_nmis(void)
{
    setup();
    struct vcpu *v = t.vm.cpu[0];
    ipi(0, 0x4400);
    ipi(0, 0x4400);
    ipi(0, 0x4400);
    CHECK_EQ(atomic_load(&v->events) & (EVENT_NMI | EVENT_NMI_AGAIN), EVENT_NMI | EVENT_NMI_AGAIN);
    CHECK(!v->nmi_blocked);
    cpu_handle_events(v); /* real mode: through the vector table */
    CHECK(v->nmi_blocked);
    CHECK_EQ(atomic_load(&v->events) & (EVENT_NMI | EVENT_NMI_AGAIN), EVENT_NMI);
    ipi(0, 0x4400);
    CHECK_EQ(atomic_load(&v->events) & (EVENT_NMI | EVENT_NMI_AGAIN), EVENT_NMI);
    teardown();
}

static void test_deadline(void)
{
    setup();
    struct vcpu *v = t.vm.cpu[0];
    lapic_ops.write(apic[0], 0x320, 4, 0x40040);
    CHECK(msr_write(v, MSR_TSC, 1000000));
    CHECK(msr_write(v, MSR_TSC_DEADLINE, 1500000));
    CHECK_EQ(loop_next_deadline(board.loop), 500000);
    CHECK(msr_write(v, MSR_TSC, 1200000)); /* an armed deadline moves */
    CHECK_EQ(loop_next_deadline(board.loop), 300000);
    CHECK(msr_write(v, MSR_TSC_ADJUST, 0));
    CHECK_EQ(loop_next_deadline(board.loop), 1500000);
    board_run_to(1500000);
    CHECK(atomic_load(&v->events) & EVENT_INTR);
    teardown();
}

int main(void)
{
    TAP_RUN(test_start_up);
    TAP_RUN(test_interrupt);
    TAP_RUN(test_nmis);
    TAP_RUN(test_deadline);
    return tap_done();
}
