/*
 * Interrupt controllers and timers under a hostile guest: random register accesses, interrupt lines,
 * messages, time steps and saved-state records on a board with all of them. Besides the sanitizers' it looks
 * for timers that never let go of the host.
 */
#include <stdlib.h>

#include "devices/irq/ioapic.h"
#include "devices/irq/lapic.h"
#include "devices/irq/pic.h"
#include "devices/timer/hpet.h"
#include "devices/timer/pit.h"
#include "devices/timer/rtc.h"
#include "fuzz/input.h"

#define CPUS 2

/* More timers than this in a millisecond: about 400 can come of the shortest periods that the devices allow.
 */
#define MAX_EXPIRIES_PER_MS 1000

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct lapic_bus *bus;
    struct lapic *lapic[CPUS];
    struct pic *pic;
    struct ioapic *ioapic;
    struct hpet *hpet;
    struct pit *pit;
    struct rtc *rtc;
    s64 tsc_offset;
};

static s64 tsc_offset(void *cpu)
{
    return ((struct world *)cpu)->tsc_offset;
}

static int extint(void *pic)
{
    return pic_ack(pic);
}

static void world_create_timers(struct world *w, const struct device_env *env)
{
    struct hpet_config config = {.legacy = {pic_line(w->pic, 0), pic_line(w->pic, 8)},
                                 .pin_mask = 0xff0000,
                                 .msi = lapic_bus_msi(w->bus)};
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        config.pin[pin] = ioapic_line(w->ioapic, pin);
    must(!hpet_create(&w->hpet, env, &config, NULL));
    must(!pit_create(&w->pit, env, hpet_legacy_line(w->hpet, 0), NULL));
    must(!rtc_create(&w->rtc, env, hpet_legacy_line(w->hpet, 1), 1700000000, NULL));
}

static void world_create(struct world *w)
{
    *w = (struct world){0};
    must(!loop_create(&w->loop, NULL));
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    struct device_env env = {w->loop, w->mem, w->state, NULL};
    must(!lapic_bus_create(&w->bus, &env, NULL));
    for (unsigned n = 0; n < CPUS; n++) {
        struct lapic_config config = {.id = n,
                                      .bsp = n == 0,
                                      .x2apic = true,
                                      .tsc_deadline = true,
                                      .port = {.tsc_offset = tsc_offset, .cpu = w}};
        must(!lapic_create(&w->lapic[n], &env, w->bus, &config, NULL));
    }
    must(!pic_create(&w->pic, &env, lapic_bus_lint(w->bus, 0), NULL));
    lapic_bus_set_extint(w->bus, extint, w->pic);
    struct ioapic_config config = {.bus = w->bus, .sink = lapic_bus_msi(w->bus), .active_low = 0xff0000};
    must(!ioapic_create(&w->ioapic, &env, &config, NULL));
    world_create_timers(w, &env);
    lapic_set_virtual_wire(w->lapic[0]);
}

static void world_destroy(struct world *w)
{
    rtc_destroy(w->rtc);
    pit_destroy(w->pit);
    hpet_destroy(w->hpet);
    ioapic_destroy(w->ioapic);
    pic_destroy(w->pic);
    for (unsigned n = 0; n < CPUS; n++)
        lapic_destroy(w->lapic[n]);
    lapic_bus_destroy(w->bus);
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    loop_destroy(w->loop);
}

/* Up to a millisecond, from deadline to deadline; or a jump of up to weeks, as after a host's sleep. */
static void pass_time(struct world *w, struct fuzz_input *in)
{
    struct vclock *clock = loop_clock(w->loop);
    u64 shift = take(in, 1) % 45, ns = (take(in, 1) + 1) << shift, end = clock_now(clock) + ns;
    if (ns > 1000000) {
        clock_set(clock, end);
        loop_run_timers(w->loop, end);
        must(loop_next_deadline(w->loop) > end);
        return;
    }
    unsigned expiries = 0;
    for (u64 at; (at = loop_next_deadline(w->loop)) <= end;) {
        clock_set(clock, MAX(at, clock_now(clock)));
        loop_run_timers(w->loop, clock_now(clock));
        must(++expiries <= MAX_EXPIRIES_PER_MS);
    }
    clock_set(clock, end);
}

static void access_port(struct world *w, struct fuzz_input *in)
{
    static const u16 ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41,
                                0x42, 0x43, 0x61, 0x70, 0x71,  0x72,  0x73};
    unsigned what = (unsigned)take(in, 1);
    u16 port = ports[what % 16 % ARRAY_LEN(ports)];
    if (what & 0x80)
        port_read(w->mem, port, 1);
    else
        port_write(w->mem, port, 1, take(in, 1));
}

static void access_memory(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), size = 1u << (what & 3);
    u64 gpa = what & 0x40 ? HPET_BASE + take(in, 2) % (HPET_SIZE - 8) : IOAPIC_BASE + (take(in, 1) & 0x7f);
    if (what & 0x80)
        mem_read(w->mem, gpa, size);
    else
        mem_write(w->mem, gpa, size, take(in, size));
}

/* Without the details: the index first, so that entries of all pins are easily met. */
static void write_ioapic(struct world *w, struct fuzz_input *in)
{
    mem_write(w->mem, IOAPIC_BASE, 1, take(in, 1) & 0x3f);
    mem_write(w->mem, IOAPIC_BASE + 0x10, 4, take(in, 4));
}

static void access_lapic(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    void *apic = w->lapic[what & 1];
    u64 reg = take(in, 1), value;
    switch (what >> 1 & 7) {
    case 0:
        lapic_ops.read(apic, reg * 16 + (what >> 4), 4);
        break;
    case 1:
        lapic_ops.write(apic, reg * 16, 4, take(in, 4));
        break;
    case 2:
        (void)lapic_ops.msr_read(apic, 0x800 + (u32)reg, &value);
        break;
    case 3:
        (void)lapic_ops.msr_write(apic, 0x800 + (u32)reg, take(in, 8));
        break;
    case 4:
        (void)lapic_ops.msr_write(apic, 0x1b, LAPIC_BASE | (reg & 0xd) << 8);
        break;
    case 5:
        (void)lapic_ops.msr_write(apic, 0x6e0, take(in, 8));
        (void)lapic_ops.msr_read(apic, 0x6e0, &value);
        break;
    case 6:
        lapic_ops.cr8_write(apic, (u8)reg & 15);
        break;
    default:
        w->tsc_offset = (s64)take(in, 8);
        lapic_ops.tsc_changed(apic);
        break;
    }
}

static void signal_lines(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), pin = what & 0x1f;
    struct irq_line line;
    struct msi_sink msi = lapic_bus_msi(w->bus);
    if (what & 0x40) {
        u64 address = LAPIC_BASE | take(in, 3);
        msi_send(&msi, address, (u32)take(in, 2));
        return;
    }
    if (pin < 16)
        line = pic_line(w->pic, pin);
    else if (pin < 28)
        line = ioapic_line(w->ioapic, pin - 8);
    else
        line = lapic_bus_lint(w->bus, pin & 1);
    irq_set(&line, what & 0x80);
}

static void take_interrupts(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    void *apic = w->lapic[what & 1];
    int vector = lapic_ops.ack(apic);
    must(vector >= -1 && vector <= 255);
    if (what & 2)
        lapic_ops.write(apic, 0xb0, 4, 0);
    if (what & 4)
        lapic_ops.init(apic);
}

static void reload_state(struct world *w, struct fuzz_input *in)
{
    state_reload(w->state, in, ~0u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        pass_time,    access_port,  access_port,  access_memory,
        write_ioapic, access_lapic, signal_lines, take_interrupts,
    };
    struct world w;
    struct fuzz_input in = {data, MIN(size, 4096)};
    world_create(&w);
    while (in.left) {
        u8 action = (u8)take(&in, 1);
        if (action == 0xff)
            reload_state(&w, &in);
        else
            actions[action % ARRAY_LEN(actions)](&w, &in);
    }
    world_destroy(&w);
    return 0;
}
