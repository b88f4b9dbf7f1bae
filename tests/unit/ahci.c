/* AHCI at register level: signatures, commands by PIO, DMA and queued, packets, errors, resets, interrupts.
 */
#include "ata_rig.h"
#include "devices/ata/ahci.h"

#define SLOT 3
#define ABAR 0xe0000000u
#define CLB  0x1000u
#define RFIS 0x2000u
#define CTBA 0x4000u /* + 0x400 a slot */
#define DATA 0x10000u

enum { P_IS = 0x10, P_IE = 0x14, P_CMD = 0x18, P_TFD = 0x20, P_SIG = 0x24, P_SSTS = 0x28, P_SCTL = 0x2c };
enum { P_SERR = 0x30, P_SACT = 0x34, P_CI = 0x38 };

struct ahci_rig {
    struct rig r;
    struct rig_image disk, disc;
    struct ahci *hba;
};

static u32 get(struct ahci_rig *t, unsigned port, unsigned reg)
{
    rig_drain(&t->disk);
    rig_drain(&t->disc);
    return (u32)mem_read(t->r.f.mem, ABAR + 0x100 + 0x80 * port + reg, 4);
}

static void set(struct ahci_rig *t, unsigned port, unsigned reg, u32 v)
{
    mem_write(t->r.f.mem, ABAR + 0x100 + 0x80 * port + reg, 4, v);
}

/* As a driver does: FIS reception, spin-up, what came is cleared, start. */
static void port_start(struct ahci_rig *t, unsigned port)
{
    set(t, port, 0x00, CLB + 0x400 * port);
    set(t, port, 0x08, RFIS + 0x100 * port);
    set(t, port, P_CMD, 0x16);
    get(t, port, P_TFD);
    set(t, port, P_SERR, ~0u);
    set(t, port, P_IS, ~0u);
    set(t, port, P_CMD, 0x17);
}

static void start(struct ahci_rig *t)
{
    rig_init(&t->r);
    rig_image_open(&t->r, &t->disk, 4096, false);
    rig_image_open(&t->r, &t->disc, 400, true);
    struct ahci_config config = {.bus = t->r.bus, .slot = SLOT};
    config.place[0] = (struct ahci_place){t->disk.drive, false, 0};
    config.place[1] = (struct ahci_place){t->disc.drive, true, 1};
    CHECK(ahci_create(&t->hba, &t->r.f.env, &config, NULL) == 0);
    pci_config_write(t->r.bus, SLOT, 0, 0x24, 4, ABAR);
    pci_config_write(t->r.bus, SLOT, 0, 4, 2, 6);
    mem_write(t->r.f.mem, ABAR + 4, 4, BIT(31) | 2);
}

static void stop(struct ahci_rig *t)
{
    rig_drain(&t->disk);
    rig_drain(&t->disc);
    ahci_destroy(t->hba);
    rig_image_close(&t->disk);
    rig_image_close(&t->disc);
    rig_finish(&t->r);
}

/* A command in a slot: its FIS, and one piece of memory. */
static u8 *command(struct ahci_rig *t, unsigned port, unsigned slot, u8 code, u64 lba, u16 count, u32 address,
                   u32 len)
{
    u8 *header = ram_at(&t->r, CLB + 0x400 * port + 32 * slot), *table = ram_at(&t->r, CTBA + 0x400 * slot);
    memset(table, 0, 0x100);
    store_le32(header, 5 | (len ? 1u : 0) << 16);
    store_le32(header + 4, 0);
    store_le64(header + 8, CTBA + 0x400 * slot);
    table[0] = 0x27;
    table[1] = 0x80;
    table[2] = code;
    for (unsigned i = 0; i < 3; i++) {
        table[4 + i] = (u8)(lba >> 8 * i);
        table[8 + i] = (u8)(lba >> (24 + 8 * i));
    }
    table[7] = 0x40;
    store_le16(table + 12, count);
    store_le64(table + 0x80, address);
    store_le32(table + 0x8c, len - 1);
    return table;
}

static u8 *queued(struct ahci_rig *t, unsigned slot, u8 code, u64 lba, u16 count, u32 address)
{
    u8 *table = command(t, 0, slot, code, lba, (u16)(slot << 3), address, count * 512u);
    table[3] = (u8)count;
    table[11] = (u8)(count >> 8);
    return table;
}

static void test_registers(void)
{
    struct ahci_rig t;
    start(&t);
    CHECK_EQ(pci_config_read(t.r.bus, SLOT, 0, 0, 4), 0x29228086);
    CHECK_EQ(pci_config_read(t.r.bus, SLOT, 0, 8, 4) >> 8, 0x010601);
    u32 cap = (u32)mem_read(t.r.f.mem, ABAR, 4);
    CHECK_EQ(cap & 0x1f, 5);
    CHECK_EQ(cap >> 8 & 0x1f, 31);
    CHECK_EQ(cap >> 30, 3);
    CHECK_EQ(mem_read(t.r.f.mem, ABAR + 0x0c, 4), 0x3f);
    CHECK_EQ(mem_read(t.r.f.mem, ABAR + 0x10, 4), 0x00010300);
    CHECK_EQ(get(&t, 0, P_SSTS), 0); /* not spun up */
    CHECK_EQ(get(&t, 0, P_TFD), 0x7f);
    port_start(&t, 0);
    port_start(&t, 1);
    port_start(&t, 2);
    CHECK_EQ(get(&t, 0, P_SSTS), 0x123);
    CHECK_EQ(get(&t, 0, P_SIG), 0x00000101);
    CHECK_EQ(get(&t, 0, P_TFD), 0x0150);
    CHECK_EQ(get(&t, 1, P_SIG), 0xeb140101);
    CHECK_EQ(get(&t, 2, P_SSTS), 0);
    CHECK_EQ(get(&t, 0, P_CMD) & 0xc017, 0xc017);
    CHECK_EQ(*ram_at(&t.r, RFIS + 0x40), 0x34); /* the signature's FIS */
    set(&t, 0, P_CMD, 0x16);
    CHECK_EQ(get(&t, 0, P_CMD) & 0xc001, 0x4000);
    set(&t, 0, P_SCTL, 1); /* COMRESET */
    CHECK_EQ(get(&t, 0, P_SSTS) & 0xf, 0);
    set(&t, 0, P_SCTL, 0);
    CHECK_EQ(get(&t, 0, P_SSTS), 0x123);
    CHECK_EQ(get(&t, 0, P_TFD), 0x0150);
    CHECK_EQ(get(&t, 0, P_SERR) >> 26 & 1, 1);
    CHECK_EQ(get(&t, 0, P_IS) >> 6 & 1, 1);
    mem_write(t.r.f.mem, ABAR + 4, 4, BIT(31) | 1); /* HBA reset */
    CHECK_EQ(mem_read(t.r.f.mem, ABAR + 4, 4), BIT(31));
    CHECK_EQ(get(&t, 0, P_SSTS), 0);
    stop(&t);
}

static void test_commands(void)
{
    struct ahci_rig t;
    start(&t);
    port_start(&t, 0);
    set(&t, 0, P_IE, ~0u);
    command(&t, 0, 0, 0xec, 0, 0, DATA, 512); /* PIO */
    set(&t, 0, P_CI, 1);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    CHECK_EQ(get(&t, 0, P_IS), 2);
    CHECK_EQ(get(&t, 0, P_TFD), 0x50);
    CHECK_EQ(load_le16(ram_at(&t.r, DATA + 152)), 0x0106); /* queued commands */
    CHECK_EQ(load_le32(ram_at(&t.r, CLB + 4)), 512);
    CHECK_EQ(*ram_at(&t.r, RFIS + 0x20), 0x5f);
    CHECK(t.r.links[2].level);
    set(&t, 0, P_IS, ~0u);
    CHECK(t.r.links[2].level); /* IS has it still */
    mem_write(t.r.f.mem, ABAR + 8, 4, 1);
    CHECK(!t.r.links[2].level);
    command(&t, 0, 5, 0x25, 70, 8, DATA, 4096);
    command(&t, 0, 6, 0x20, 90, 4, DATA + 0x2000, 2048);
    set(&t, 0, P_CI, 3 << 5);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    CHECK_EQ(get(&t, 0, P_IS) & 3, 3);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 7 * 512)), 77);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x2000 + 3 * 512)), 93);
    CHECK_EQ(load_le32(ram_at(&t.r, CLB + 32 * 5 + 4)), 4096);
    command(&t, 0, 0, 0x35, 500, 2, DATA, 1024);
    command(&t, 0, 1, 0x30, 600, 1, DATA + 512, 512);
    set(&t, 0, P_CI, 3);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    CHECK_EQ(image_sector_number(&t.disk, 500), 70);
    CHECK_EQ(image_sector_number(&t.disk, 501), 71);
    CHECK_EQ(image_sector_number(&t.disk, 600), 71);
    stop(&t);
}

static void test_queued(void)
{
    struct ahci_rig t;
    start(&t);
    port_start(&t, 0);
    for (unsigned i = 0; i < 32; i++)
        queued(&t, i, 0x60, 10 * i, 2, DATA + 0x400 * i);
    set(&t, 0, P_SACT, ~0u);
    set(&t, 0, P_CI, ~0u);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    CHECK_EQ(get(&t, 0, P_SACT), 0);
    CHECK_EQ(get(&t, 0, P_IS) >> 3 & 1, 1);
    CHECK_EQ(*ram_at(&t.r, RFIS + 0x58), 0xa1);
    for (unsigned i = 0; i < 32; i++)
        CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x400 * i + 512)), 10 * i + 1);
    queued(&t, 3, 0x61, 900, 2, DATA + 0x400)[7] = 0xc0; /* FUA */
    set(&t, 0, P_SACT, 8);
    set(&t, 0, P_CI, 8);
    CHECK_EQ(get(&t, 0, P_SACT), 0);
    CHECK_EQ(image_sector_number(&t.disk, 901), 11);
    /* Beyond the end: the log says which. */
    set(&t, 0, P_IS, ~0u);
    queued(&t, 7, 0x60, 4095, 2, DATA);
    set(&t, 0, P_SACT, 1 << 7);
    set(&t, 0, P_CI, 1 << 7);
    CHECK_EQ(get(&t, 0, P_SACT), 1 << 7);
    CHECK_EQ(get(&t, 0, P_IS) >> 30 & 1, 1);
    CHECK_EQ(get(&t, 0, P_TFD), 0x1051);
    set(&t, 0, P_CMD, 0x16);
    CHECK_EQ(get(&t, 0, P_SACT), 0);
    set(&t, 0, P_CMD, 0x17);
    command(&t, 0, 0, 0x2f, 0x10, 1, DATA, 512);
    set(&t, 0, P_CI, 1);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    CHECK_EQ(*ram_at(&t.r, DATA), 7);
    CHECK_EQ(load_le16(ram_at(&t.r, DATA + 4)), 4095);
    stop(&t);
}

static void test_errors(void)
{
    struct ahci_rig t;
    start(&t);
    port_start(&t, 0);
    command(&t, 0, 0, 0x25, 4096, 1, DATA, 512);
    command(&t, 0, 1, 0x25, 0, 1, DATA, 512);
    set(&t, 0, P_CI, 3);
    CHECK_EQ(get(&t, 0, P_CI), 3); /* the failed one stays, the next waits */
    CHECK_EQ(get(&t, 0, P_TFD), 0x1051);
    CHECK_EQ(get(&t, 0, P_IS) >> 30 & 1, 1);
    CHECK_EQ(get(&t, 0, P_CMD) >> 8 & 0x1f, 0);
    set(&t, 0, P_CMD, 0x16);
    set(&t, 0, P_IS, ~0u);
    set(&t, 0, P_CMD, 0x17);
    command(&t, 0, 1, 0x25, 8, 2, DATA, 512); /* less memory than data */
    set(&t, 0, P_CI, 2);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    CHECK_EQ(get(&t, 0, P_IS) >> 24 & 1, 1);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA)), 8);
    /* A FIS that is none. */
    command(&t, 0, 1, 0x25, 8, 2, DATA, 1024)[0] = 0x77;
    set(&t, 0, P_CI, 2);
    CHECK_EQ(get(&t, 0, P_IS) >> 29 & 1, 1);
    /* Soft reset. */
    set(&t, 0, P_CMD, 0x16);
    set(&t, 0, P_CMD, 0x17);
    u8 *fis = command(&t, 0, 0, 0, 0, 0, 0, 0);
    fis[1] = 0;
    fis[15] = 4;
    set(&t, 0, P_CI, 1);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    fis[15] = 0;
    set(&t, 0, P_CI, 1);
    CHECK_EQ(get(&t, 0, P_CI), 0);
    CHECK_EQ(get(&t, 0, P_TFD), 0x0150);
    stop(&t);
}

static void test_packets(void)
{
    struct ahci_rig t;
    start(&t);
    port_start(&t, 1);
    u8 *table = command(&t, 1, 0, 0xa0, 0, 0, DATA, 4096);
    set(&t, 1, P_CI, 1); /* TEST UNIT READY: unit attention */
    CHECK_EQ(get(&t, 1, P_TFD), 0x6451);
    set(&t, 1, P_CMD, 0x16);
    set(&t, 1, P_CMD, 0x17);
    table[3] = 1; /* by DMA */
    table[0x40] = 0x28;
    table[0x45] = 5;
    table[0x48] = 2;
    set(&t, 1, P_CI, 1);
    CHECK_EQ(get(&t, 1, P_CI), 0);
    CHECK_EQ(get(&t, 1, P_TFD), 0x50);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 2048)), 24);
    memset(ram_at(&t.r, DATA), 0, 4096);
    table[3] = 0; /* by PIO, in blocks of 2 bytes */
    table[5] = 2;
    set(&t, 1, P_CI, 1);
    CHECK_EQ(get(&t, 1, P_CI), 0);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 2048)), 24);
    CHECK_EQ(load_le32(ram_at(&t.r, CLB + 0x400 + 4)), 4096);
    stop(&t);
}

static void test_saved_state(void)
{
    struct ahci_rig a, b;
    struct error err = {0};
    u8 *buf;
    size_t len;
    start(&a);
    start(&b);
    port_start(&a, 0);
    set(&a, 0, P_IE, ~0u);
    command(&a, 0, 0, 0xec, 0, 0, DATA, 512);
    set(&a, 0, P_CI, 1);
    get(&a, 0, P_CI);
    CHECK(state_set_save(a.r.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.r.f.state, buf, len, &err) == 0);
    CHECK_STR(err.message, "");
    CHECK(b.r.links[2].level);
    CHECK_EQ(get(&b, 0, P_IS), 2);
    CHECK_EQ(get(&b, 0, P_SIG), 0x101);
    command(&b, 0, 0, 0x25, 70, 8, DATA, 4096);
    set(&b, 0, P_CI, 1);
    CHECK_EQ(get(&b, 0, P_CI), 0);
    CHECK_EQ(load_le32(ram_at(&b.r, DATA)), 70);
    free(buf);
    stop(&a);
    stop(&b);
}

int main(void)
{
    TAP_RUN(test_registers);
    TAP_RUN(test_commands);
    TAP_RUN(test_queued);
    TAP_RUN(test_errors);
    TAP_RUN(test_packets);
    TAP_RUN(test_saved_state);
    return tap_done();
}
