/* ACPI fixed hardware: timer, events and the SCI, sleep, SMI commands, general-purpose events. */
#include "device_fixture.h"
#include "devices/acpi/acpi_pm.h"

#define PM  0x600
#define GPE 0xafe0
#define SMI 0xb2

struct rig {
    struct fixture f;
    struct acpi_pm *pm;
    struct probe sci;
    unsigned power_offs;
};

static void rig_off(void *opaque)
{
    ((struct rig *)opaque)->power_offs++;
}

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    struct acpi_pm_config config = {.base = PM,
                                    .gpe_base = GPE,
                                    .smi_cmd = SMI,
                                    .acpi_enable = 0xf1,
                                    .acpi_disable = 0xf0,
                                    .slp_typ_s5 = 5,
                                    .sci = probe_line(&r->sci),
                                    .power_off = rig_off,
                                    .opaque = r};
    CHECK(acpi_pm_create(&r->pm, &r->f.env, &config, NULL) == 0);
}

static void rig_finish(struct rig *r)
{
    acpi_pm_destroy(r->pm);
    fixture_finish(&r->f);
}

static u64 rd(struct rig *r, u16 port, unsigned size)
{
    return port_read(r->f.mem, port, size);
}

static void wr(struct rig *r, u16 port, unsigned size, u64 v)
{
    port_write(r->f.mem, port, size, v);
}

static void test_timer(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(rd(&r, PM + 8, 4), 0);
    clock_set(loop_clock(r.f.loop), NS_PER_SEC);
    CHECK_EQ(rd(&r, PM + 8, 4), 3579545);
    CHECK_EQ(rd(&r, PM + 9, 1), 3579545 >> 8 & 0xff);
    wr(&r, PM + 8, 4, 0);
    CHECK_EQ(rd(&r, PM + 8, 4), 3579545);
    clock_set(loop_clock(r.f.loop), 2000 * NS_PER_SEC);
    CHECK_EQ(rd(&r, PM + 8, 4), (u32)(3579545ull * 2000));
    rig_finish(&r);
}

/* The top bit changes after 2^31 ticks: 599.93 s. */
static void test_timer_overflow(void)
{
    struct rig r;
    const u64 half = ((1ull << 31) * NS_PER_SEC) / 3579545 + 1;
    rig_init(&r);
    wr(&r, SMI, 1, 0xf1);
    CHECK_EQ(loop_next_deadline(r.f.loop), ~0ull); /* nobody waits: no timer */
    wr(&r, PM + 2, 2, 1);
    CHECK_EQ(loop_next_deadline(r.f.loop), half);
    fixture_advance_to(&r.f, half - 2);
    CHECK_EQ(rd(&r, PM, 2), 0);
    fixture_advance_to(&r.f, half);
    CHECK(r.sci.level);
    CHECK_EQ(rd(&r, PM, 2), 1);
    wr(&r, PM, 2, 1);
    CHECK(!r.sci.level);
    CHECK_EQ(rd(&r, PM, 2), 0);
    CHECK(loop_next_deadline(r.f.loop) > half && loop_next_deadline(r.f.loop) <= 2 * half);
    wr(&r, PM + 2, 2, 0);
    CHECK_EQ(loop_next_deadline(r.f.loop), ~0ull);
    rig_finish(&r);
}

static void test_power_button(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, PM + 2, 2, 0x100);
    acpi_pm_press_power_button(r.pm);
    CHECK(!r.sci.level); /* not in ACPI mode */
    wr(&r, SMI, 1, 0xf1);
    CHECK_EQ(rd(&r, PM + 4, 2) & 1, 1);
    CHECK(r.sci.level);
    CHECK_EQ(rd(&r, PM, 4), 0x01000100);
    wr(&r, PM, 1, 0xff); /* the low byte only */
    CHECK(r.sci.level);
    wr(&r, PM + 1, 1, 0x01);
    CHECK(!r.sci.level);
    acpi_pm_press_power_button(r.pm);
    wr(&r, SMI, 1, 0xf0);
    CHECK(!r.sci.level);
    CHECK_EQ(rd(&r, PM + 4, 2) & 1, 0);
    rig_finish(&r);
}

static void test_sleep(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, PM + 4, 2, 5 << 10); /* the type alone */
    CHECK_EQ(r.power_offs, 0);
    wr(&r, PM + 4, 2, 1 << 13 | 1 << 10); /* a type that does not exist */
    CHECK_EQ(r.power_offs, 0);
    wr(&r, PM + 4, 2, 1 << 13 | 5 << 10);
    CHECK_EQ(r.power_offs, 1);
    CHECK_EQ(rd(&r, PM + 4, 2), 5 << 10); /* SLP_EN reads as 0, SCI_EN is not writable */
    wr(&r, PM + 4, 2, 1);
    CHECK_EQ(rd(&r, PM + 4, 2), 0);
    rig_finish(&r);
}

static void test_gpe(void)
{
    struct rig r;
    rig_init(&r);
    wr(&r, SMI, 1, 0xf1);
    acpi_pm_raise_gpe(r.pm, 9);
    CHECK(!r.sci.level);
    wr(&r, GPE + 3, 1, 0x02);
    CHECK(r.sci.level);
    CHECK_EQ(rd(&r, GPE, 4), 0x02000200);
    wr(&r, GPE + 1, 1, 0x02);
    CHECK(!r.sci.level);
    rig_finish(&r);
}

static void test_saved_state(void)
{
    struct rig a, b;
    struct error err;
    u8 *buf;
    size_t len;
    rig_init(&a);
    rig_init(&b);
    wr(&a, SMI, 1, 0xf1);
    wr(&a, SMI + 1, 1, 0x42);
    wr(&a, PM + 2, 2, 0x101);
    acpi_pm_press_power_button(a.pm);
    CHECK(state_set_save(a.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.f.state, buf, len, &err) == 0);
    CHECK(b.sci.level);
    CHECK_EQ(rd(&b, PM, 4), 0x01010100);
    CHECK_EQ(rd(&b, SMI, 2), 0x42f1);
    CHECK_EQ(loop_next_deadline(b.f.loop), loop_next_deadline(a.f.loop));
    free(buf);
    rig_finish(&a);
    rig_finish(&b);
}

int main(void)
{
    TAP_RUN(test_timer);
    TAP_RUN(test_timer_overflow);
    TAP_RUN(test_power_button);
    TAP_RUN(test_sleep);
    TAP_RUN(test_gpe);
    TAP_RUN(test_saved_state);
    return tap_done();
}
