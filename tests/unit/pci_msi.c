/* MSI and MSI-X: enabling, masks and pending bits, messages of several vectors, the quiet pin, reset, saved
 * state with hostile contents. */
#include "base/bytes.h"
#include "device_fixture.h"
#include "devices/pci/msi.h"

#define MSIX_VECTORS 66
#define BAR          0xe0000000ull
#define PBA          (BAR + 0x800)

struct rig {
    struct fixture f;
    struct pci_bus *bus;
    struct probe links[PCI_PINS];
    struct pci_function fn;
    struct pci_msix msix;
    unsigned sent;
    u64 address;
    u32 data;
    u8 msi_at, msix_at;
};

static bool sink_send(void *opaque, u32 source, u64 address, u32 data)
{
    struct rig *r = opaque;
    r->sent++;
    r->address = address;
    r->data = data;
    return true;
}

static u32 cfg(struct rig *r, unsigned reg, unsigned size)
{
    return pci_config_read(r->bus, 3, 0, reg, size);
}

static void cfg_write(struct rig *r, unsigned reg, unsigned size, u32 v)
{
    pci_config_write(r->bus, 3, 0, reg, size, v);
}

static u8 find_capability(struct rig *r, u8 id)
{
    u8 at = (u8)cfg(r, PCI_CAPABILITIES, 1);
    while (at && cfg(r, at, 1) != id)
        at = (u8)cfg(r, at + 1u, 1);
    return at;
}

static void rig_init(struct rig *r, unsigned msix_vectors)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    struct pci_bus_config config = {.msi = {sink_send, r}};
    for (unsigned i = 0; i < PCI_PINS; i++)
        config.links[i] = probe_line(&r->links[i]);
    CHECK(pci_bus_create(&r->bus, &r->f.env, &config, NULL) == 0);
    const struct pci_ids ids = {0x1af4, 0x1234, 0x020000, 1, 0x1af4, 0x0001, 1};
    pci_function_init(&r->fn, "probe", &ids);
    CHECK(pci_msi_add(&r->fn, 4) == 0);
    CHECK(pci_msix_add(&r->fn, &r->msix, msix_vectors, 1) == 0);
    CHECK(pci_add(r->bus, &r->fn, 3, 0, NULL) == 0);
    r->msi_at = find_capability(r, 5);
    r->msix_at = find_capability(r, 0x11);
    CHECK(r->msi_at && r->msix_at);
    cfg_write(r, PCI_BAR0 + 4, 4, (u32)BAR);
    cfg_write(r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void rig_finish(struct rig *r)
{
    pci_bus_destroy(r->bus);
    fixture_finish(&r->f);
}

static void test_msi(void)
{
    struct rig r;
    rig_init(&r, 4);
    unsigned at = r.msi_at;
    CHECK_EQ(cfg(&r, at + 2, 2), 0x184); /* 64 bits, maskable, 4 vectors wanted */
    pci_msi_notify(&r.fn, 0);
    CHECK_EQ(r.sent, 0);
    cfg_write(&r, at + 4, 4, 0xfee01003); /* the lowest bits do not exist */
    cfg_write(&r, at + 8, 4, 0x1);
    cfg_write(&r, at + 12, 2, 0x4143);
    cfg_write(&r, at + 2, 2, 0xffff);
    CHECK_EQ(cfg(&r, at + 2, 2), 0x1f5);
    CHECK(pci_msi_is_enabled(&r.fn));
    cfg_write(&r, at + 2, 2, 0x0021); /* four granted */
    pci_msi_notify(&r.fn, 2);
    CHECK_EQ(r.sent, 1);
    CHECK_EQ(r.address, 0x1fee01000);
    CHECK_EQ(r.data, 0x4142);
    cfg_write(&r, at + 2, 2, 0x0001); /* one granted: the data is sent as it is */
    pci_msi_notify(&r.fn, 3);
    CHECK_EQ(r.sent, 2);
    CHECK_EQ(r.data, 0x4143);
    cfg_write(&r, at + 2, 2, 0x0071); /* more granted than wanted: a broken guest */
    pci_msi_notify(&r.fn, 3);
    CHECK_EQ(r.data, 0x4143);
    cfg_write(&r, PCI_COMMAND, 2, PCI_COMMAND_MEMORY); /* no bus master: no writes */
    pci_msi_notify(&r.fn, 0);
    CHECK_EQ(r.sent, 3);
    rig_finish(&r);
}

static void test_msi_mask(void)
{
    struct rig r;
    rig_init(&r, 4);
    unsigned at = r.msi_at;
    cfg_write(&r, at + 4, 4, 0xfee00000);
    cfg_write(&r, at + 12, 2, 0x40);
    cfg_write(&r, at + 2, 2, 0x21);
    cfg_write(&r, at + 16, 4, 0xfffffffa);
    CHECK_EQ(cfg(&r, at + 16, 4), 0xa);
    pci_msi_notify(&r.fn, 1);
    pci_msi_notify(&r.fn, 3);
    CHECK_EQ(r.sent, 0);
    CHECK_EQ(cfg(&r, at + 20, 4), 0xa);
    cfg_write(&r, at + 20, 4, 0); /* read-only */
    CHECK_EQ(cfg(&r, at + 20, 4), 0xa);
    cfg_write(&r, at + 16, 4, 0x8);
    CHECK_EQ(r.sent, 1);
    CHECK_EQ(r.data, 0x41);
    CHECK_EQ(cfg(&r, at + 20, 4), 0x8);
    cfg_write(&r, at + 16, 4, 0);
    CHECK_EQ(r.sent, 2);
    CHECK_EQ(r.data, 0x43);
    CHECK_EQ(cfg(&r, at + 20, 4), 0);
    rig_finish(&r);
}

static void set_entry(struct rig *r, unsigned v, u64 address, u32 data, u32 control)
{
    u64 at = BAR + 16ull * v;
    mem_write(r->f.mem, at, 8, address);
    mem_write(r->f.mem, at + 8, 4, data);
    mem_write(r->f.mem, at + 12, 4, control);
}

static void test_msix(void)
{
    struct rig r;
    rig_init(&r, MSIX_VECTORS);
    unsigned at = r.msix_at;
    CHECK_EQ(cfg(&r, at + 2, 2), MSIX_VECTORS - 1);
    CHECK_EQ(cfg(&r, at + 4, 4), 1);
    CHECK_EQ(cfg(&r, at + 8, 4), 0x801);
    for (unsigned v = 0; v < MSIX_VECTORS; v++)
        CHECK_EQ(mem_read(r.f.mem, BAR + 16 * v + 12, 4), 1);
    CHECK_EQ(mem_read(r.f.mem, BAR + 16 * MSIX_VECTORS + 12, 4), 0);
    set_entry(&r, 65, 0x2fee05007, 0x12345678, 0xfffffffe);
    CHECK_EQ(mem_read(r.f.mem, BAR + 65 * 16, 8), 0x2fee05004);
    CHECK_EQ(mem_read(r.f.mem, BAR + 65 * 16 + 8, 8), 0x12345678);
    pci_msix_notify(&r.fn, 65);
    CHECK_EQ(r.sent, 0);
    cfg_write(&r, at + 2, 2, 0xc000);
    pci_msix_notify(&r.fn, 65); /* all are masked */
    pci_msix_notify(&r.fn, 0);  /* itself too */
    CHECK_EQ(r.sent, 0);
    CHECK_EQ(mem_read(r.f.mem, PBA, 8), 1);
    CHECK_EQ(mem_read(r.f.mem, PBA + 8, 8), 2);
    mem_write(r.f.mem, PBA, 8, 0);
    CHECK_EQ(mem_read(r.f.mem, PBA, 8), 1);
    cfg_write(&r, at + 2, 2, 0x8000);
    CHECK_EQ(r.sent, 1);
    CHECK_EQ(r.address, 0x2fee05004);
    CHECK_EQ(r.data, 0x12345678);
    CHECK_EQ(mem_read(r.f.mem, PBA + 8, 8), 0);
    set_entry(&r, 0, 0xfee00000, 0x55, 0);
    CHECK_EQ(r.sent, 2);
    CHECK_EQ(r.data, 0x55);
    CHECK_EQ(mem_read(r.f.mem, PBA, 8), 0);
    pci_msix_notify(&r.fn, MSIX_VECTORS); /* none of its vectors */
    CHECK_EQ(r.sent, 2);
    mem_write(r.f.mem, BAR + 16 * MSIX_VECTORS, 8, ~0ull);
    CHECK_EQ(mem_read(r.f.mem, BAR + 16 * MSIX_VECTORS, 8), 0);
    rig_finish(&r);
}

static void test_pin_is_quiet(void)
{
    struct rig r;
    rig_init(&r, 4);
    struct probe *pin = &r.links[2]; /* slot 3, INTA */
    pci_set_intx(&r.fn, true);
    CHECK(pin->level);
    cfg_write(&r, r.msix_at + 2u, 2, 0x8000);
    CHECK(!pin->level);
    cfg_write(&r, r.msix_at + 2u, 2, 0);
    CHECK(pin->level);
    cfg_write(&r, r.msi_at + 2u, 2, 1);
    CHECK(!pin->level);
    pci_function_reset(&r.fn);
    CHECK(!pci_msi_is_enabled(&r.fn));
    pci_set_intx(&r.fn, true);
    CHECK(pin->level);
    rig_finish(&r);
}

static void test_reset(void)
{
    struct rig r;
    rig_init(&r, 4);
    set_entry(&r, 2, 0xfee00000, 7, 0);
    cfg_write(&r, r.msix_at + 2u, 2, 0xc000);
    pci_msix_notify(&r.fn, 2);
    cfg_write(&r, r.msi_at + 4u, 4, 0xfee00000);
    cfg_write(&r, r.msi_at + 2u, 2, 0x71);
    pci_bus_reset(r.bus);
    CHECK_EQ(cfg(&r, r.msi_at + 2u, 2), 0x184);
    CHECK_EQ(cfg(&r, r.msi_at + 4u, 4), 0);
    CHECK_EQ(cfg(&r, r.msix_at + 2u, 2), 3);
    CHECK_EQ(r.msix.pending[0], 0);
    CHECK_EQ(load_le32(r.msix.table + 2 * 16), 0);
    CHECK_EQ(load_le32(r.msix.table + 2 * 16 + 12), 1);
    rig_finish(&r);
}

static void test_saved_state(void)
{
    struct rig r, other;
    u8 *buf;
    size_t len;
    rig_init(&r, 4);
    cfg_write(&r, r.msix_at + 2u, 2, 0x8000);
    set_entry(&r, 1, 0xfee03000, 0x77, 1);
    pci_msix_notify(&r.fn, 1);
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    rig_init(&other, 4);
    CHECK(state_set_load(other.f.state, buf, len, NULL) == 0);
    CHECK_EQ(other.sent, 0);
    mem_write(other.f.mem, BAR + 16 + 12, 4, 0);
    CHECK_EQ(other.sent, 1);
    CHECK_EQ(other.address, 0xfee03000);
    CHECK_EQ(other.data, 0x77);
    rig_finish(&other);
    rig_init(&other, 5); /* another device */
    CHECK(state_set_load(other.f.state, buf, len, NULL) < 0);
    rig_finish(&other);
    free(buf);
    r.msix.pending[0] = BIT(4); /* of a vector that is not there */
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    CHECK(state_set_load(r.f.state, buf, len, NULL) < 0);
    free(buf);
    r.msix.pending[0] = 0;
    store_le32(r.msix.table + 12, 2);
    CHECK(state_set_save(r.f.state, &buf, &len, NULL) == 0);
    CHECK(state_set_load(r.f.state, buf, len, NULL) < 0);
    free(buf);
    rig_finish(&r);
}

int main(void)
{
    TAP_RUN(test_msi);
    TAP_RUN(test_msi_mask);
    TAP_RUN(test_msix);
    TAP_RUN(test_pin_is_quiet);
    TAP_RUN(test_reset);
    TAP_RUN(test_saved_state);
    return tap_done();
}
