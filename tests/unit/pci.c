/* The PCI bus: mechanism #1, BARs that move, interrupt links, capabilities, the reset port.
 */
#include "device_fixture.h"
#include "devices/chipset/i440fx.h"
#include "devices/pci/pci.h"

struct rig {
    struct fixture f;
    struct pci_bus *bus;
    struct ram_block *ram;
    struct i440fx *bridge;
    struct probe links[PCI_PINS];
    unsigned resets[2];
    struct pci_function fn;
    u64 last_read;
    unsigned config_writes;
};

static void rig_reset(void *opaque, enum reset_kind kind)
{
    ((struct rig *)opaque)->resets[kind]++;
}

static u64 bar_read(void *dev, u64 offset, unsigned size)
{
    ((struct rig *)dev)->last_read = offset;
    return 0x5a5a5a5a & MASK(8 * size);
}

static const struct io_ops bar_ops = {.read = bar_read, .max_size = 4};

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    struct pci_bus_config config = {.reset = {rig_reset, r}};
    for (unsigned i = 0; i < PCI_PINS; i++)
        config.links[i] = probe_line(&r->links[i]);
    CHECK(pci_bus_create(&r->bus, &r->f.env, &config, NULL) == 0);
    CHECK(ram_block_create(&r->ram, "RAM", MIB(1), NULL) == 0);
    CHECK(i440fx_create(&r->bridge, &r->f.env, r->bus, r->ram, NULL) == 0);
}

static void rig_plug(struct rig *r)
{
    const struct pci_ids ids = {0x1af4, 0x1234, 0x020000, 1, 0x1af4, 0x0001, 1};
    pci_function_init(&r->fn, "probe", &ids);
    pci_bar_io(&r->fn, 0, 32, &bar_ops, r);
    pci_bar_memory(&r->fn, 1, PCI_BAR_MEMORY32, false, 0x1000, &bar_ops, r);
    pci_bar_memory(&r->fn, 2, PCI_BAR_MEMORY64, true, 0x4000, &bar_ops, r);
    CHECK(pci_add(r->bus, &r->fn, 3, 0, NULL) == 0);
}

static void rig_finish(struct rig *r)
{
    i440fx_destroy(r->bridge);
    pci_bus_destroy(r->bus);
    ram_block_destroy(r->ram);
    fixture_finish(&r->f);
}

static u64 cfg(struct rig *r, unsigned slot, unsigned reg, unsigned size)
{
    port_write(r->f.mem, 0xcf8, 4, 0x80000000 | slot << 11 | (reg & 0xfc));
    return port_read(r->f.mem, (u16)(0xcfc + (reg & 3)), size);
}

static void cfg_write(struct rig *r, unsigned slot, unsigned reg, unsigned size, u64 v)
{
    port_write(r->f.mem, 0xcf8, 4, 0x80000000 | slot << 11 | (reg & 0xfc));
    port_write(r->f.mem, (u16)(0xcfc + (reg & 3)), size, v);
}

static void test_mechanism(void)
{
    struct rig r;
    rig_init(&r);
    /* Linux's probe (pci_check_type1). */
    port_write(r.f.mem, 0xcfb, 1, 0x01);
    port_write(r.f.mem, 0xcf8, 4, 0x80000000);
    CHECK_EQ(port_read(r.f.mem, 0xcf8, 4), 0x80000000);
    CHECK_EQ(port_read(r.f.mem, 0xcfc, 4), 0x12378086);
    CHECK_EQ(port_read(r.f.mem, 0xcfe, 2), 0x1237);
    CHECK_EQ(port_read(r.f.mem, 0xcfd, 1), 0x80);
    CHECK_EQ(port_read(r.f.mem, 0xcf8, 2), 0xffff); /* narrower: not the bridge's */
    port_write(r.f.mem, 0xcf8, 2, 0x1234);
    CHECK_EQ(port_read(r.f.mem, 0xcf8, 4), 0x80000000);
    CHECK_EQ(cfg(&r, 0, 8, 4), 0x06000002);
    CHECK_EQ(cfg(&r, 0, 0xe, 1), 0);
    CHECK_EQ(cfg(&r, 1, 0, 4), 0xffffffff);
    CHECK_EQ(cfg(&r, 1, 0, 2), 0xffff);
    port_write(r.f.mem, 0xcf8, 4, 0x00000000); /* not enabled */
    CHECK_EQ(port_read(r.f.mem, 0xcfc, 4), 0xffffffff);
    port_write(r.f.mem, 0xcf8, 4, 0x80010000); /* bus 1 */
    CHECK_EQ(port_read(r.f.mem, 0xcfc, 4), 0xffffffff);
    port_write(r.f.mem, 0xcf8, 4, 0x81000000); /* register 100h */
    CHECK_EQ(port_read(r.f.mem, 0xcfc, 4), 0xffffffff);
    port_write(r.f.mem, 0xcf8, 4, 0x80000002); /* the low bits select bytes too */
    CHECK_EQ(port_read(r.f.mem, 0xcfc, 2), 0x1237);
    CHECK_EQ(port_read(r.f.mem, 0xcfe, 2), 0x1237);
    CHECK_EQ(port_read(r.f.mem, 0xcfc, 4), 0x12378086); /* a doubleword stays one */
    cfg_write(&r, 0, 0, 4, 0);                          /* read-only */
    CHECK_EQ(cfg(&r, 0, 0, 4), 0x12378086);
    rig_finish(&r);
}

static void test_reset_control(void)
{
    struct rig r;
    rig_init(&r);
    port_write(r.f.mem, 0xcf8, 4, 0x80000000);
    port_write(r.f.mem, 0xcf9, 1, 0x02);
    CHECK_EQ(r.resets[RESET_SYSTEM] + r.resets[RESET_CPU], 0);
    CHECK_EQ(port_read(r.f.mem, 0xcf9, 1), 0x02);
    port_write(r.f.mem, 0xcf9, 1, 0x06);
    CHECK_EQ(r.resets[RESET_SYSTEM], 1);
    port_write(r.f.mem, 0xcf9, 1, 0x06); /* no edge */
    CHECK_EQ(r.resets[RESET_SYSTEM], 1);
    port_write(r.f.mem, 0xcf9, 1, 0x00);
    port_write(r.f.mem, 0xcf9, 1, 0x04);
    CHECK_EQ(r.resets[RESET_CPU], 1);
    CHECK_EQ(port_read(r.f.mem, 0xcf8, 4), 0x80000000);
    rig_finish(&r);
}

static void test_bars(void)
{
    struct rig r;
    rig_init(&r);
    rig_plug(&r);
    CHECK_EQ(cfg(&r, 3, 0, 4), 0x12341af4);
    CHECK_EQ(cfg(&r, 3, 0x2c, 4), 0x00011af4);
    /* Sizing. */
    for (unsigned i = 0; i < 4; i++)
        cfg_write(&r, 3, 0x10 + 4 * i, 4, 0xffffffff);
    CHECK_EQ(cfg(&r, 3, 0x10, 4), 0xffffffe1);
    CHECK_EQ(cfg(&r, 3, 0x14, 4), 0xfffff000);
    CHECK_EQ(cfg(&r, 3, 0x18, 4), 0xffffc00c);
    CHECK_EQ(cfg(&r, 3, 0x1c, 4), 0xffffffff);
    CHECK_EQ(cfg(&r, 3, 0x20, 4), 0);
    cfg_write(&r, 3, 4, 2, 3); /* with decoding on, all ones are no address */
    CHECK_EQ(mem_read(r.f.mem, 0xfffff000, 4), 0xffffffff);
    CHECK_EQ(port_read(r.f.mem, 0xffe0, 1), 0xff);
    cfg_write(&r, 3, 0x10, 4, 0xc000);
    cfg_write(&r, 3, 0x14, 4, 0xe0000000);
    cfg_write(&r, 3, 0x18, 4, 0x00000000);
    cfg_write(&r, 3, 0x1c, 4, 0x00000002);
    CHECK_EQ(port_read(r.f.mem, 0xc01f, 1), 0x5a);
    CHECK_EQ(r.last_read, 0x1f);
    CHECK_EQ(port_read(r.f.mem, 0xc020, 1), 0xff);
    CHECK_EQ(mem_read(r.f.mem, 0xe0000ffc, 4), 0x5a5a5a5a);
    CHECK_EQ(r.last_read, 0xffc);
    CHECK_EQ(mem_read(r.f.mem, 0x200003ffc, 4), 0x5a5a5a5a);
    CHECK_EQ(r.last_read, 0x3ffc);
    cfg_write(&r, 3, 0x14, 4, 0xe0100000); /* moves */
    CHECK_EQ(mem_read(r.f.mem, 0xe0000ffc, 4), 0xffffffff);
    CHECK_EQ(mem_read(r.f.mem, 0xe0100ffc, 4), 0x5a5a5a5a);
    cfg_write(&r, 3, 4, 1, 1); /* memory off */
    CHECK_EQ(mem_read(r.f.mem, 0xe0100ffc, 4), 0xffffffff);
    CHECK_EQ(port_read(r.f.mem, 0xc000, 1), 0x5a);
    pci_bus_reset(r.bus);
    CHECK_EQ(port_read(r.f.mem, 0xc000, 1), 0xff);
    CHECK_EQ(cfg(&r, 3, 0x14, 4), 0);
    CHECK_EQ(cfg(&r, 3, 0x18, 4), 0x0c);
    rig_finish(&r);
}

static void test_memory_bars(void)
{
    struct rig r;
    struct ram_block *ram, *rom;
    const struct pci_ids ids = {.vendor = 0x1af4, .device = 0x1234, .class_code = 0x030000};
    rig_init(&r);
    CHECK_EQ(ram_block_create(&ram, "ram", 0x10000, NULL), 0);
    CHECK_EQ(ram_block_create(&rom, "rom", 0x8000, NULL), 0);
    memcpy(rom->hva, "\x55\xaa\x10\x00", 4);
    pci_function_init(&r.fn, "probe", &ids);
    pci_bar_ram(&r.fn, 0, PCI_BAR_MEMORY32, true, 0x10000, ram);
    pci_rom(&r.fn, rom);
    CHECK_EQ(pci_add(r.bus, &r.fn, 3, 0, NULL), 0);
    cfg_write(&r, 3, 0x10, 4, 0xe0000000);
    cfg_write(&r, 3, 0x30, 4, 0xfffff800);
    CHECK_EQ(cfg(&r, 3, 0x30, 4), 0xffff8000);
    cfg_write(&r, 3, 0x30, 4, 0xe0010001);
    CHECK_EQ(cfg(&r, 3, 0x30, 4), 0xe0010001);
    CHECK_EQ(mem_read(r.f.mem, 0xe0010000, 4), 0xffffffff);
    cfg_write(&r, 3, 4, 2, 2);
    CHECK_EQ(mem_read(r.f.mem, 0xe0010000, 4), 0x0010aa55);
    mem_write(r.f.mem, 0xe0010000, 4, 0);
    CHECK_EQ(mem_read(r.f.mem, 0xe0010000, 4), 0x0010aa55);
    mem_write(r.f.mem, 0xe000fffc, 4, 0x12345678);
    CHECK(ram->hva[0xffff] == 0x12 && (ram->page_flags[15] & RAM_PAGE_DIRTY));
    CHECK(mem_lookup(r.f.mem, 0xe000f000).kind == MEM_RAM);
    cfg_write(&r, 3, 0x30, 4, 0xe0010000); /* its own enable bit */
    CHECK_EQ(mem_read(r.f.mem, 0xe0010000, 4), 0xffffffff);
    pci_bus_reset(r.bus);
    CHECK_EQ(cfg(&r, 3, 0x30, 4), 0);
    CHECK_EQ(mem_read(r.f.mem, 0xe000fffc, 4), 0xffffffff);
    rig_finish(&r);
    ram_block_destroy(ram);
    ram_block_destroy(rom);
}

static void test_interrupts(void)
{
    struct rig r;
    struct pci_function other;
    const struct pci_ids ids = {.vendor = 0x1af4, .device = 1, .interrupt_pin = 1};
    struct error err;
    rig_init(&r);
    rig_plug(&r);
    pci_function_init(&other, "other", &ids);
    CHECK_EQ(pci_add(r.bus, &other, 3, 0, &err), -EBUSY);
    CHECK_EQ(pci_add(r.bus, &other, 32, 0, &err), -EINVAL);
    CHECK(pci_add(r.bus, &other, 7, 0, NULL) == 0); /* shares the link: (7 - 1) % 4 == (3 - 1) % 4 */
    pci_set_intx(&r.fn, true);
    CHECK(r.links[2].level);
    pci_set_intx(&other, true);
    pci_set_intx(&r.fn, false);
    CHECK(r.links[2].level);
    pci_set_intx(&other, false);
    CHECK(!r.links[2].level);
    pci_set_intx(&r.fn, true);
    CHECK_EQ(cfg(&r, 3, 6, 2) & 8, 8);
    cfg_write(&r, 3, 4, 2, PCI_COMMAND_INTX_OFF);
    CHECK(!r.links[2].level);
    CHECK_EQ(cfg(&r, 3, 6, 2) & 8, 8); /* the status bit stays */
    cfg_write(&r, 3, 4, 2, 0);
    CHECK(r.links[2].level);
    pci_remove(&r.fn);
    CHECK(!r.links[2].level);
    CHECK_EQ(cfg(&r, 3, 0, 4), 0xffffffff);
    rig_finish(&r);
}

static void test_capabilities(void)
{
    struct rig r;
    rig_init(&r);
    rig_plug(&r);
    CHECK_EQ(pci_capability_add(&r.fn, 0x05, 10), 0x40);
    CHECK_EQ(pci_capability_add(&r.fn, 0x11, 12), 0x4c);
    CHECK_EQ(cfg(&r, 3, 0x34, 1), 0x40);
    CHECK_EQ(cfg(&r, 3, 0x40, 2), 0x4c05);
    CHECK_EQ(cfg(&r, 3, 0x4c, 2), 0x0011);
    CHECK_EQ(cfg(&r, 3, 6, 2) & 0x10, 0x10);
    CHECK_EQ(pci_capability_add(&r.fn, 0x09, 0xb0), 0);
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
    rig_plug(&a);
    rig_plug(&b);
    cfg_write(&a, 3, 0x14, 4, 0xe0000000);
    cfg_write(&a, 3, 4, 2, 2);
    pci_set_intx(&a.fn, true);
    CHECK(state_set_save(a.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.f.state, buf, len, &err) == 0);
    CHECK(b.links[2].level);
    CHECK_EQ(mem_read(b.f.mem, 0xe0000000, 4), 0x5a5a5a5a);
    CHECK_EQ(port_read(b.f.mem, 0xcf8, 4), port_read(a.f.mem, 0xcf8, 4));
    b.fn.config[0] = 0x77; /* another device there */
    CHECK(state_set_load(b.f.state, buf, len, &err) < 0);
    CHECK(strstr(err.message, "of another device than probe") != NULL);
    free(buf);
    rig_finish(&a);
    rig_finish(&b);
}

int main(void)
{
    TAP_RUN(test_mechanism);
    TAP_RUN(test_reset_control);
    TAP_RUN(test_bars);
    TAP_RUN(test_memory_bars);
    TAP_RUN(test_interrupts);
    TAP_RUN(test_capabilities);
    TAP_RUN(test_saved_state);
    return tap_done();
}
