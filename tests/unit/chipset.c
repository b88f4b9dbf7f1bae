/* The 440FX host bridge, PIIX3, PIIX4 power management and the SMBus: power-on values, the four states of
 * shadow memory, interrupt routes, port ranges that move, saved state. */
#include "base/bytes.h"
#include "device_fixture.h"
#include "devices/acpi/acpi_pm.h"
#include "devices/chipset/i440fx.h"
#include "devices/chipset/piix3.h"
#include "devices/chipset/piix4_pm.h"

#define ROM_START 0xe0000u
#define PIIX_SLOT 1
#define CARD_SLOT 2 /* INTA: PIRQB */

struct rig {
    struct fixture f;
    struct ram_block *ram, *rom;
    struct mem_region rom_region, ram_region;
    struct pci_bus *bus;
    struct i440fx *bridge;
    struct piix3 *piix;
    struct acpi_pm *acpi;
    struct piix4_pm *pm;
    struct pci_function card;
    struct probe irq[PIIX3_ISA_IRQS], sci, smbus;
    unsigned map_changes;
    struct mem_listener listener;
};

static void pirq_set(void *opaque, unsigned link, bool level)
{
    struct rig *r = opaque;
    if (r->piix)
        piix3_set_pirq(r->piix, link, level);
}

static void map_changed(void *opaque)
{
    ((struct rig *)opaque)->map_changes++;
}

static void rig_memory(struct rig *r)
{
    CHECK(ram_block_create(&r->ram, "RAM", MIB(1), NULL) == 0);
    CHECK(ram_block_create(&r->rom, "ROM", KIB(128), NULL) == 0);
    memset(r->ram->hva, 0x11, MIB(1));
    memset(r->rom->hva, 0x22, KIB(128));
    r->rom_region = (struct mem_region){
        .name = "ROM", .gpa = ROM_START, .size = KIB(128), .kind = MEM_ROM, .block = r->rom};
    mem_map(r->f.mem, &r->rom_region);
}

static void rig_init(struct rig *r)
{
    const struct pci_ids ids = {0x1af4, 0x1234, 0x020000, 1, 0x1af4, 0x0001, 1};
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    rig_memory(r);
    struct pci_bus_config bus = {0};
    for (unsigned i = 0; i < PCI_PINS; i++)
        bus.links[i] = (struct irq_line){pirq_set, r, i};
    struct piix3_config piix = {.slot = PIIX_SLOT};
    for (unsigned i = 0; i < PIIX3_ISA_IRQS; i++)
        piix.irq[i] = probe_line(&r->irq[i]);
    struct acpi_pm_config acpi = {.gpe_base = 0xafe0, .smi_cmd = 0xb2, .sci = probe_line(&r->sci)};
    CHECK(pci_bus_create(&r->bus, &r->f.env, &bus, NULL) == 0);
    CHECK(i440fx_create(&r->bridge, &r->f.env, r->bus, r->ram, NULL) == 0);
    CHECK(piix3_create(&r->piix, &r->f.env, r->bus, &piix, NULL) == 0);
    CHECK(acpi_pm_create(&r->acpi, &r->f.env, &acpi, NULL) == 0);
    struct piix4_pm_config pm = {.slot = PIIX_SLOT, .acpi = r->acpi, .smbus_irq = probe_line(&r->smbus)};
    CHECK(piix4_pm_create(&r->pm, &r->f.env, r->bus, &pm, NULL) == 0);
    pci_function_init(&r->card, "card", &ids);
    CHECK(pci_add(r->bus, &r->card, CARD_SLOT, 0, NULL) == 0);
    r->listener = (struct mem_listener){.changed = map_changed, .opaque = r};
    mem_listener_add(r->f.mem, &r->listener);
}

static void rig_finish(struct rig *r)
{
    piix4_pm_destroy(r->pm);
    acpi_pm_destroy(r->acpi);
    piix3_destroy(r->piix);
    r->piix = NULL;
    i440fx_destroy(r->bridge);
    pci_bus_destroy(r->bus);
    mem_unmap(r->f.mem, &r->rom_region);
    fixture_finish(&r->f);
    ram_block_destroy(r->ram);
    ram_block_destroy(r->rom);
}

static void rig_reset(struct rig *r)
{
    pci_bus_reset(r->bus);
    i440fx_reset(r->bridge);
    piix3_reset(r->piix);
    acpi_pm_reset(r->acpi);
    piix4_pm_reset(r->pm);
}

static u64 cfg(struct rig *r, unsigned slot, unsigned function, unsigned reg, unsigned size)
{
    return pci_config_read(r->bus, slot, function, reg, size);
}

static void cfg_write(struct rig *r, unsigned slot, unsigned function, unsigned reg, unsigned size, u32 v)
{
    pci_config_write(r->bus, slot, function, reg, size, v);
}

static void check_power_on(struct rig *r)
{
    CHECK_EQ(cfg(r, 0, 0, 0, 4), 0x12378086);
    CHECK_EQ(cfg(r, 0, 0, 4, 4), 0x02000006);
    CHECK_EQ(cfg(r, 0, 0, 8, 4), 0x06000002);
    CHECK_EQ(cfg(r, 0, 0, 0x2c, 4), 0x11001af4);
    CHECK_EQ(cfg(r, 0, 0, 0x58, 4), 0x00000010);
    CHECK_EQ(cfg(r, 0, 0, 0x5c, 4), 0);
    CHECK_EQ(cfg(r, 0, 0, 0x60, 4), 0x01010101);
    CHECK_EQ(cfg(r, 0, 0, 0x72, 1), 0x02);
    CHECK_EQ(cfg(r, PIIX_SLOT, 0, 0, 4), 0x70008086);
    CHECK_EQ(cfg(r, PIIX_SLOT, 0, 4, 2), 0x0007);
    CHECK_EQ(cfg(r, PIIX_SLOT, 0, 8, 4), 0x06010000);
    CHECK_EQ(cfg(r, PIIX_SLOT, 0, 0x0c, 4), 0x00800000);
    CHECK_EQ(cfg(r, PIIX_SLOT, 0, 0x2c, 4), 0x11001af4);
    CHECK_EQ(cfg(r, PIIX_SLOT, 0, 0x4c, 4), 0x0003004d);
    CHECK_EQ(cfg(r, PIIX_SLOT, 0, 0x60, 4), 0x80808080);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 0, 4), 0x71138086);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 8, 4), 0x06800003);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 0x3d, 1), 1);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 0x40, 4), 1);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 0x58, 4), 0x02000000);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 0x80, 1), 0);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 0x90, 4), 1);
    CHECK_EQ(cfg(r, PIIX_SLOT, 3, 0xd2, 1), 0);
    CHECK_EQ(mem_read(r->f.mem, 0xc0000, 4), 0xffffffff);
    CHECK_EQ(mem_read(r->f.mem, 0xf0000, 4), 0x22222222);
    CHECK_EQ(port_read(r->f.mem, 0x608, 4), 0xffffffff);
    CHECK_EQ(piix4_pm_base(r->pm), 0);
}

/* All of it is as at power-on again, whatever was written. */
static void test_reset(void)
{
    struct rig r;
    rig_init(&r);
    check_power_on(&r);
    for (unsigned reg = 0; reg < 256; reg += 4) {
        cfg_write(&r, 0, 0, reg, 4, 0xffffffff);
        cfg_write(&r, PIIX_SLOT, 0, reg, 4, 0xffffffff);
        cfg_write(&r, PIIX_SLOT, 3, reg, 4, 0xffffffff);
    }
    CHECK_EQ(cfg(&r, 0, 0, 0, 4), 0x12378086);
    CHECK_EQ(cfg(&r, 0, 0, 0x58, 4), 0x333330ff);
    CHECK_EQ(cfg(&r, PIIX_SLOT, 0, 0x60, 4), 0x8f8f8f8f);
    CHECK_EQ(cfg(&r, PIIX_SLOT, 3, 0x40, 4), 0xffc1);
    rig_reset(&r);
    check_power_on(&r);
    rig_finish(&r);
}

/* One 16 KiB segment (or the 64 KiB one) through its four states: where reads come from and writes go. */
static void check_states(struct rig *r, u64 gpa, unsigned reg, unsigned shift, u8 below)
{
    u8 *ram = r->ram->hva + gpa;
    for (unsigned state = 0; state < 4; state++) {
        *ram = 0x11;
        cfg_write(r, 0, 0, reg, 1, state << shift);
        CHECK_EQ(mem_read(r->f.mem, gpa, 1), state & PAM_READ ? 0x11 : below);
        mem_write(r->f.mem, gpa, 1, 0x33);
        CHECK_EQ(*ram, state & PAM_WRITE ? 0x33 : 0x11);
        u8 shown = state & PAM_READ ? *ram : below;
        CHECK_EQ(mem_read(r->f.mem, gpa, 1), shown);
        mem_write_bytes(r->f.mem, gpa, "\x44", 1);
        CHECK_EQ(*ram, state & PAM_WRITE ? 0x44 : 0x11);
        *ram = 0x11;
    }
    cfg_write(r, 0, 0, reg, 1, 0);
}

static void test_pam(void)
{
    struct rig r;
    rig_init(&r);
    for (unsigned i = 0; i < 12; i++) {
        u64 start = 0xc0000 + i * 0x4000, end = start + 0x3fff;
        u8 below = start >= ROM_START ? 0x22 : 0xff;
        check_states(&r, start, 0x5a + i / 2, i % 2 * 4, below);
        check_states(&r, end, 0x5a + i / 2, i % 2 * 4, below);
    }
    check_states(&r, 0xf0000, 0x59, 4, 0x22);
    check_states(&r, 0xfffff, 0x59, 4, 0x22);
    /* Write-only RAM across the edge of segments in different states, and its pages' flags. */
    cfg_write(&r, 0, 0, 0x5e, 1, 0x23); /* E0000: RAM, E4000: write-only */
    atomic_store(&r.ram->page_flags[0xe4], 0);
    mem_write(r.f.mem, 0xe3ffc, 8, 0x8877665544332211);
    CHECK_EQ(mem_read(r.f.mem, 0xe3ffc, 8), 0x2222222244332211);
    CHECK_EQ(load_le64(r.ram->hva + 0xe3ffc), 0x8877665544332211);
    CHECK(atomic_load(&r.ram->page_flags[0xe4]) & RAM_PAGE_DIRTY);
    rig_finish(&r);
}

/* One change of the map for a doubleword of registers, one run for neighbours in the same state. */
static void test_pam_runs(void)
{
    struct rig r;
    u64 run;
    rig_init(&r);
    cfg_write(&r, 0, 0, 0x58, 4, 0x33333010);
    cfg_write(&r, 0, 0, 0x5c, 4, 0x33333333);
    CHECK_EQ(r.map_changes, 2);
    CHECK_EQ(mem_lookup_run(r.f.mem, 0xc0000, &run).kind, MEM_RAM);
    CHECK_EQ(run, 0x40000);
    cfg_write(&r, 0, 0, 0x5c, 4, 0x33333333);
    cfg_write(&r, 0, 0, 0x50, 4, 0xffffffff);
    CHECK_EQ(r.map_changes, 2);
    cfg_write(&r, 0, 0, 0x59, 1, 0x10);
    CHECK_EQ(mem_lookup_run(r.f.mem, 0xf0000, &run).kind, MEM_ROM);
    CHECK_EQ(run, 0x10000);
    rig_finish(&r);
}

static void test_smram(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(mem_read(r.f.mem, 0xa0000, 1), 0xff);
    cfg_write(&r, 0, 0, 0x72, 1, 0x48); /* open, but not enabled: both are needed */
    CHECK_EQ(cfg(&r, 0, 0, 0x72, 1), 0x4a);
    CHECK_EQ(mem_read(r.f.mem, 0xbffff, 1), 0x11);
    cfg_write(&r, 0, 0, 0x72, 1, 0x40);
    CHECK_EQ(mem_read(r.f.mem, 0xbffff, 1), 0xff);
    cfg_write(&r, 0, 0, 0x72, 1, 0x48);
    cfg_write(&r, 0, 0, 0x72, 1, 0x58); /* locked: closed until reset */
    CHECK_EQ(cfg(&r, 0, 0, 0x72, 1), 0x1a);
    cfg_write(&r, 0, 0, 0x72, 1, 0x48);
    CHECK_EQ(cfg(&r, 0, 0, 0x72, 1), 0x1a);
    CHECK_EQ(mem_read(r.f.mem, 0xa0000, 1), 0xff);
    rig_reset(&r);
    cfg_write(&r, 0, 0, 0x72, 1, 0x48);
    CHECK_EQ(mem_read(r.f.mem, 0xa0000, 1), 0x11);
    rig_finish(&r);
}

static void test_routes(void)
{
    struct rig r;
    rig_init(&r);
    pci_set_intx(&r.card, true); /* PIRQB, not routed */
    for (unsigned i = 0; i < PIIX3_ISA_IRQS; i++)
        CHECK(!r.irq[i].level);
    cfg_write(&r, PIIX_SLOT, 0, 0x61, 1, 10);
    CHECK(r.irq[10].level);
    cfg_write(&r, PIIX_SLOT, 0, 0x61, 1, 11);
    CHECK(!r.irq[10].level && r.irq[11].level);
    cfg_write(&r, PIIX_SLOT, 0, 0x60, 4, 0x0b0b0b0b);
    CHECK_EQ(r.irq[11].rises, 1);
    piix3_set_pirq(r.piix, 0, true); /* shared: stays until the last has gone */
    pci_set_intx(&r.card, false);
    CHECK(r.irq[11].level);
    piix3_set_pirq(r.piix, 0, false);
    CHECK(!r.irq[11].level);
    pci_set_intx(&r.card, true);
    cfg_write(&r, PIIX_SLOT, 0, 0x61, 1, 0x8b);
    CHECK(!r.irq[11].level);
    static const u8 reserved[] = {0, 1, 2, 8, 13};
    for (unsigned i = 0; i < ARRAY_LEN(reserved); i++) {
        cfg_write(&r, PIIX_SLOT, 0, 0x61, 1, reserved[i]);
        CHECK(!r.irq[reserved[i]].level);
    }
    cfg_write(&r, PIIX_SLOT, 0, 0x61, 1, 5);
    CHECK(r.irq[5].level);
    rig_reset(&r);
    CHECK(!r.irq[5].level);
    rig_finish(&r);
}

static void test_pm_base(void)
{
    struct rig r;
    rig_init(&r);
    clock_set(loop_clock(r.f.loop), NS_PER_SEC);
    cfg_write(&r, PIIX_SLOT, 3, 0x40, 4, 0xb000);
    CHECK_EQ(port_read(r.f.mem, 0xb008, 4), 0xffffffff);
    cfg_write(&r, PIIX_SLOT, 3, 0x80, 1, 1);
    CHECK_EQ(port_read(r.f.mem, 0xb008, 4), 3579545);
    CHECK_EQ(port_read(r.f.mem, 0xb030, 4), 0);
    CHECK_EQ(piix4_pm_base(r.pm), 0xb000);
    cfg_write(&r, PIIX_SLOT, 3, 0x40, 4, 0x63f);
    CHECK_EQ(port_read(r.f.mem, 0xb008, 4), 0xffffffff);
    CHECK_EQ(port_read(r.f.mem, 0x608, 4), 3579545);
    cfg_write(&r, PIIX_SLOT, 3, 0x80, 1, 0);
    CHECK_EQ(port_read(r.f.mem, 0x608, 4), 0xffffffff);
    rig_finish(&r);
}

static void smbus_on(struct rig *r)
{
    cfg_write(r, PIIX_SLOT, 3, 0x90, 4, 0x700);
    cfg_write(r, PIIX_SLOT, 3, 0xd2, 1, PIIX4_SMB_ENABLE | PIIX4_SMB_IRQ9);
}

static void test_smbus(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(in8(&r.f, 0x700), 0xff);
    smbus_on(&r);
    CHECK_EQ(in8(&r.f, 0x700), 0);
    out8(&r.f, 0x704, 0xa1);
    out8(&r.f, 0x702, 0x48); /* start a byte read */
    CHECK_EQ(in8(&r.f, 0x700), 0x04);
    CHECK_EQ(in8(&r.f, 0x702), 0x08);
    CHECK(!r.smbus.level);
    out8(&r.f, 0x702, 0x49); /* the same with an interrupt */
    CHECK(r.smbus.level);
    cfg_write(&r, PIIX_SLOT, 3, 0xd2, 1, PIIX4_SMB_ENABLE); /* SMI# instead */
    CHECK(!r.smbus.level);
    smbus_on(&r);
    CHECK(r.smbus.level);
    out8(&r.f, 0x700, 0x04);
    CHECK_EQ(in8(&r.f, 0x700), 0);
    CHECK(!r.smbus.level);
    out8(&r.f, 0x702, 0x02); /* kill */
    CHECK_EQ(in8(&r.f, 0x700), 0x10);
    /* The block buffer starts over when the control register is read, and wraps. */
    in8(&r.f, 0x702);
    for (unsigned i = 0; i < 33; i++)
        out8(&r.f, 0x707, (u8)i);
    in8(&r.f, 0x702);
    CHECK_EQ(in8(&r.f, 0x707), 32);
    CHECK_EQ(in8(&r.f, 0x707), 1);
    rig_finish(&r);
}

static void test_state(void)
{
    struct rig r;
    u8 *buf;
    size_t len;
    rig_init(&r);
    cfg_write(&r, 0, 0, 0x58, 4, 0x33333010);
    cfg_write(&r, 0, 0, 0x72, 1, 0x58);
    cfg_write(&r, PIIX_SLOT, 0, 0x60, 4, 0x0b0b0a0a);
    cfg_write(&r, PIIX_SLOT, 3, 0x40, 4, 0xb000);
    cfg_write(&r, PIIX_SLOT, 3, 0x80, 1, 1);
    smbus_on(&r);
    out8(&r.f, 0x703, 0x77);
    out8(&r.f, 0x702, 0x49);
    pci_set_intx(&r.card, true);
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    pci_set_intx(&r.card, false);
    rig_reset(&r);
    CHECK(!r.irq[10].level && !r.smbus.level);
    CHECK(state_set_load(r.f.state, buf, len, NULL) == 0);
    CHECK_EQ(mem_read(r.f.mem, 0xc0000, 1), 0x11);
    CHECK_EQ(mem_read(r.f.mem, 0xe0000, 1), 0x22);
    cfg_write(&r, 0, 0, 0x72, 1, 0x48); /* still locked */
    CHECK_EQ(cfg(&r, 0, 0, 0x72, 1), 0x1a);
    CHECK(r.irq[10].level);
    CHECK_EQ(piix4_pm_base(r.pm), 0xb000);
    CHECK_EQ(port_read(r.f.mem, 0xb000, 2), 0);
    CHECK_EQ(in8(&r.f, 0x703), 0x77);
    CHECK_EQ(in8(&r.f, 0x700), 0x04);
    CHECK(r.smbus.level);
    free(buf);
    rig_finish(&r);
}

int main(void)
{
    TAP_RUN(test_reset);
    TAP_RUN(test_pam);
    TAP_RUN(test_pam_runs);
    TAP_RUN(test_smram);
    TAP_RUN(test_routes);
    TAP_RUN(test_pm_base);
    TAP_RUN(test_smbus);
    TAP_RUN(test_state);
    return tap_done();
}
