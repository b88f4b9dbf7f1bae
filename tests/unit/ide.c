/* IDE at register level: PIO and bus-master DMA, both devices, interrupts, errors, resets, saved state. */
#include "ata_rig.h"
#include "devices/ata/piix_ide.h"

#define SLOT 1
#define BM   0xc000
#define PRDT 0x1000
#define DATA 0x10000

enum { ERR = 0x01, DRQ = 0x08, DRDY = 0x40, BSY = 0x80 };

struct ide_rig {
    struct rig r;
    struct rig_image disk, other;
    struct piix_ide *ide;
};

static void start(struct ide_rig *t, bool readonly)
{
    rig_init(&t->r);
    rig_image_open(&t->r, &t->disk, 4096, readonly);
    rig_image_open(&t->r, &t->other, 64, false);
    struct piix_ide_config config = {.bus = t->r.bus, .slot = SLOT, .function = 0};
    config.place[0][0] = (struct ide_place){t->disk.drive, false, 0};
    config.place[0][1] = (struct ide_place){t->other.drive, false, 1};
    for (unsigned i = 0; i < 2; i++)
        config.irq[i] = probe_line(&t->r.irq[i]);
    CHECK(piix_ide_create(&t->ide, &t->r.f.env, &config, NULL) == 0);
    pci_config_write(t->r.bus, SLOT, 0, 0x20, 4, BM);
    pci_config_write(t->r.bus, SLOT, 0, 0x40, 4, 0x80008000);
    pci_config_write(t->r.bus, SLOT, 0, 4, 2, 5);
}

static void stop(struct ide_rig *t)
{
    rig_drain(&t->disk);
    rig_drain(&t->other);
    piix_ide_destroy(t->ide);
    rig_image_close(&t->disk);
    rig_image_close(&t->other);
    rig_finish(&t->r);
}

static u8 status(struct ide_rig *t)
{
    rig_drain(&t->disk);
    rig_drain(&t->other);
    return in8(&t->r.f, 0x3f6);
}

static void issue(struct ide_rig *t, u8 device, u32 lba, u8 count, u8 command)
{
    out8(&t->r.f, 0x1f6, (u8)(device | 0xe0 | (lba >> 24 & 0xf)));
    out8(&t->r.f, 0x1f2, count);
    out8(&t->r.f, 0x1f3, (u8)lba);
    out8(&t->r.f, 0x1f4, (u8)(lba >> 8));
    out8(&t->r.f, 0x1f5, (u8)(lba >> 16));
    out8(&t->r.f, 0x1f7, command);
}

static void issue48(struct ide_rig *t, u64 lba, u16 count, u8 command)
{
    out8(&t->r.f, 0x1f6, 0x40);
    out8(&t->r.f, 0x1f2, (u8)(count >> 8));
    out8(&t->r.f, 0x1f3, (u8)(lba >> 24));
    out8(&t->r.f, 0x1f4, (u8)(lba >> 32));
    out8(&t->r.f, 0x1f5, (u8)(lba >> 40));
    out8(&t->r.f, 0x1f2, (u8)count);
    out8(&t->r.f, 0x1f3, (u8)lba);
    out8(&t->r.f, 0x1f4, (u8)(lba >> 8));
    out8(&t->r.f, 0x1f5, (u8)(lba >> 16));
    out8(&t->r.f, 0x1f7, command);
}

static void data_in(struct ide_rig *t, u8 *to, unsigned len)
{
    for (unsigned i = 0; i < len; i += 2)
        store_le16(to + i, (u16)port_read(t->r.f.mem, 0x1f0, 2));
}

static void data_out(struct ide_rig *t, const u8 *from, unsigned len)
{
    for (unsigned i = 0; i < len; i += 4)
        port_write(t->r.f.mem, 0x1f0, 4, load_le32(from + i));
}

static void prd(struct ide_rig *t, unsigned n, u32 address, u32 count_flags)
{
    store_le32(ram_at(&t->r, PRDT + 8 * n), address);
    store_le32(ram_at(&t->r, PRDT + 8 * n + 4), count_flags);
}

static void bm_start(struct ide_rig *t, u8 direction)
{
    port_write(t->r.f.mem, BM + 4, 4, PRDT);
    out8(&t->r.f, BM + 2, 0x06);
    out8(&t->r.f, BM, direction);
    out8(&t->r.f, BM, direction | 1);
}

static void test_identify(void)
{
    struct ide_rig t;
    u8 id[512], sum = 0;
    start(&t, false);
    issue(&t, 0, 0, 0, 0xec);
    CHECK_EQ(status(&t), 0x58);
    CHECK(t.r.irq[0].level);
    CHECK_EQ(in8(&t.r.f, 0x1f7), 0x58);
    CHECK(!t.r.irq[0].level);
    data_in(&t, id, 512);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(load_le16(id), 0x0040);
    CHECK_EQ(load_le32(id + 120), 4096);
    CHECK_EQ(load_le64(id + 200), 4096);
    CHECK_EQ(load_le16(id + 20), 'S' << 8 | 'E');
    for (unsigned i = 0; i < 512; i++)
        sum += id[i];
    CHECK_EQ(sum, 0);
    issue(&t, 0x10, 0, 0, 0xec);
    data_in(&t, id, 512);
    CHECK_EQ(load_le32(id + 120), 64);
    stop(&t);
}

static void test_pio(void)
{
    struct ide_rig t;
    u8 buf[3 * 512];
    start(&t, false);
    issue(&t, 0, 100, 3, 0x20);
    CHECK_EQ(status(&t), 0x58);
    unsigned rises = t.r.irq[0].rises;
    in8(&t.r.f, 0x1f7);
    data_in(&t, buf, 512);
    CHECK_EQ(load_le32(buf), 100);
    CHECK_EQ(t.r.irq[0].rises, rises + 1); /* one interrupt a block */
    data_in(&t, buf + 512, 1024);
    CHECK_EQ(load_le32(buf + 1024), 102);
    CHECK_EQ(load_le32(buf + 1532), ~102u);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(in8(&t.r.f, 0x1f3), 102);
    in8(&t.r.f, 0x1f7);
    rises = t.r.irq[0].rises;
    issue(&t, 0, 7, 2, 0x30);
    CHECK_EQ(status(&t), 0x58);
    CHECK_EQ(t.r.irq[0].rises, rises); /* none for the first block */
    store_le32(buf, 0xabcd0007);
    store_le32(buf + 512, 0xabcd0008);
    data_out(&t, buf, 512);
    CHECK_EQ(t.r.irq[0].rises, rises + 1);
    in8(&t.r.f, 0x1f7);
    data_out(&t, buf + 512, 512);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(t.r.irq[0].rises, rises + 2);
    CHECK_EQ(image_sector_number(&t.disk, 7), 0xabcd0007);
    CHECK_EQ(image_sector_number(&t.disk, 8), 0xabcd0008);
    CHECK_EQ(image_sector_number(&t.disk, 9), 9);
    stop(&t);
}

static void test_multiple(void)
{
    struct ide_rig t;
    u8 buf[5 * 512];
    start(&t, false);
    issue(&t, 0, 0, 1, 0xc4); /* not set yet */
    CHECK_EQ(status(&t), 0x51);
    CHECK_EQ(in8(&t.r.f, 0x1f1), 4);
    issue(&t, 0, 0, 3, 0xc6);
    CHECK_EQ(status(&t), 0x51);
    issue(&t, 0, 0, 4, 0xc6);
    CHECK_EQ(status(&t), 0x50);
    issue(&t, 0, 20, 5, 0xc4);
    status(&t);
    in8(&t.r.f, 0x1f7);
    unsigned rises = t.r.irq[0].rises;
    data_in(&t, buf, 5 * 512);
    CHECK_EQ(load_le32(buf + 4 * 512), 24);
    CHECK_EQ(t.r.irq[0].rises, rises + 1);
    CHECK_EQ(status(&t), 0x50);
    stop(&t);
}

static void test_dma(void)
{
    struct ide_rig t;
    start(&t, false);
    prd(&t, 0, DATA, 0x300);
    prd(&t, 1, DATA + 0x8000, 0x80000d00);
    issue(&t, 0, 50, 8, 0xc8);
    CHECK_EQ(in8(&t.r.f, 0x3f6) & (BSY | DRQ), DRQ);
    CHECK(!t.r.irq[0].level);
    bm_start(&t, 8);
    CHECK_EQ(status(&t), 0x50);
    CHECK(t.r.irq[0].level);
    CHECK_EQ(in8(&t.r.f, BM + 2) & 7, 4);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA)), 50);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x200)), 51);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x8100)), 52);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x8d00 - 4)), ~57u);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x8d00)), 0);
    out8(&t.r.f, BM, 8);
    /* 48 bits, writing, more memory than data: the bus master stays active. */
    prd(&t, 0, DATA, 0x80000000);
    issue48(&t, 1000, 2, 0x35);
    bm_start(&t, 0);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(in8(&t.r.f, BM + 2) & 7, 5);
    out8(&t.r.f, BM, 0);
    CHECK_EQ(in8(&t.r.f, BM + 2) & 1, 0);
    CHECK_EQ(image_sector_number(&t.disk, 1000), 50);
    CHECK_EQ(image_sector_number(&t.disk, 1001), 51);
    /* Less memory than data: the drive waits, and goes on with the next table. */
    prd(&t, 0, DATA, 0x80000200);
    issue(&t, 0, 60, 2, 0xc8);
    bm_start(&t, 8);
    CHECK_EQ(status(&t) & (BSY | DRQ), DRQ);
    CHECK_EQ(in8(&t.r.f, BM + 2) & 5, 0);
    out8(&t.r.f, BM, 0);
    prd(&t, 0, DATA + 0x400, 0x80000200);
    bm_start(&t, 8);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA)), 60);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x400)), 61);
    stop(&t);
}

/* Pieces of two bytes, of no memory, and a table that never ends. */
static void test_hostile_tables(void)
{
    struct ide_rig t;
    start(&t, false);
    for (unsigned i = 0; i < 600; i++)
        prd(&t, i, DATA + 4 * i, 2);
    prd(&t, 600, DATA + 0x10000, 0x80000000);
    issue(&t, 0, 1, 2, 0xc8);
    bm_start(&t, 8);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(load_le16(ram_at(&t.r, DATA)), 1);
    CHECK_EQ(load_le16(ram_at(&t.r, DATA + 4 * 256)), 2);
    out8(&t.r.f, BM, 0);
    prd(&t, 0, 0xf0000000, 0x200); /* nothing is there */
    prd(&t, 1, DATA, 0x80000200);
    issue(&t, 0, 30, 2, 0xc8);
    bm_start(&t, 8);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA)), 31);
    out8(&t.r.f, BM, 0);
    out8(&t.r.f, BM + 2, 4);
    pci_config_write(t.r.bus, SLOT, 0, 4, 2, 1); /* no bus master: an error, and nothing moves */
    issue(&t, 0, 30, 2, 0xc8);
    bm_start(&t, 8);
    CHECK_EQ(status(&t) & DRQ, DRQ);
    CHECK_EQ(in8(&t.r.f, BM + 2) & 7, 2);
    stop(&t);
}

static void test_errors(void)
{
    struct ide_rig t;
    start(&t, true);
    issue(&t, 0, 4095, 2, 0x20);
    CHECK_EQ(status(&t), 0x51);
    CHECK_EQ(in8(&t.r.f, 0x1f1), 0x10);
    issue(&t, 0, 4095, 1, 0x40);
    CHECK_EQ(status(&t), 0x50);
    issue(&t, 0, 0, 1, 0x30); /* read-only */
    CHECK_EQ(status(&t), 0x51);
    CHECK_EQ(in8(&t.r.f, 0x1f1), 4);
    issue(&t, 0, 0, 1, 0xf1); /* security */
    CHECK_EQ(in8(&t.r.f, 0x1f1), 4);
    issue(&t, 0, 0, 0, 0x00);
    CHECK_EQ(in8(&t.r.f, 0x1f1), 4);
    issue(&t, 0, 0, 0, 0xf8);
    CHECK_EQ(in8(&t.r.f, 0x1f3) | in8(&t.r.f, 0x1f4) << 8, 4095);
    out8(&t.r.f, 0x1f6, 0xa0); /* CHS: 0/1/1 is sector 63 */
    out8(&t.r.f, 0x1f6, 0xa1);
    out8(&t.r.f, 0x1f2, 1);
    out8(&t.r.f, 0x1f3, 1);
    out8(&t.r.f, 0x1f4, 0);
    out8(&t.r.f, 0x1f5, 0);
    out8(&t.r.f, 0x1f7, 0x20);
    CHECK_EQ(status(&t), 0x58);
    CHECK_EQ(port_read(t.r.f.mem, 0x1f0, 2), 63);
    stop(&t);
}

static void test_registers(void)
{
    struct ide_rig t;
    start(&t, false);
    CHECK_EQ(in8(&t.r.f, 0x177), 0); /* nobody there */
    CHECK_EQ(in8(&t.r.f, 0x376), 0);
    out8(&t.r.f, 0x1f2, 0x11);
    out8(&t.r.f, 0x1f2, 0x22);
    CHECK_EQ(in8(&t.r.f, 0x1f2), 0x22);
    out8(&t.r.f, 0x3f6, 0x80);
    CHECK_EQ(in8(&t.r.f, 0x1f2), 0x11);
    out8(&t.r.f, 0x1f3, 0);
    CHECK_EQ(in8(&t.r.f, 0x1f2), 0x22);
    /* nIEN, then the other device: its interrupt is not ours. */
    out8(&t.r.f, 0x3f6, 2);
    issue(&t, 0, 0, 0, 0xe5);
    CHECK_EQ(in8(&t.r.f, 0x1f2), 0xff);
    CHECK(!t.r.irq[0].level);
    out8(&t.r.f, 0x3f6, 0);
    CHECK(t.r.irq[0].level);
    out8(&t.r.f, 0x1f6, 0xb0);
    CHECK(!t.r.irq[0].level);
    out8(&t.r.f, 0x1f6, 0xa0);
    CHECK(t.r.irq[0].level);
    /* SRST */
    out8(&t.r.f, 0x3f6, 4);
    CHECK_EQ(in8(&t.r.f, 0x1f7), BSY);
    out8(&t.r.f, 0x3f6, 0);
    CHECK_EQ(in8(&t.r.f, 0x1f7), 0x50);
    CHECK_EQ(in8(&t.r.f, 0x1f1), 1);
    CHECK_EQ(in8(&t.r.f, 0x1f2), 1);
    CHECK_EQ(in8(&t.r.f, 0x1f3), 1);
    CHECK_EQ(in8(&t.r.f, 0x1f4), 0);
    CHECK(!t.r.irq[0].level);
    issue(&t, 0x10, 0, 0, 0x90); /* diagnostics select device 0 */
    CHECK_EQ(in8(&t.r.f, 0x1f6), 0xa0);
    CHECK(t.r.irq[0].level);
    pci_config_write(t.r.bus, SLOT, 0, 0x40, 4, 0); /* IDETIM: not decoded */
    CHECK_EQ(in8(&t.r.f, 0x1f7), 0xff);
    stop(&t);
}

/* A reset while the medium is at work: BSY until it is done, and no data arrive later. */
static void test_reset_at_work(void)
{
    struct ide_rig t;
    start(&t, false);
    prd(&t, 0, DATA, 0x80000000);
    issue(&t, 0, 0, 128, 0xc8);
    loop_lock(t.r.f.loop);
    bm_start(&t, 8);
    out8(&t.r.f, 0x3f6, 4);
    out8(&t.r.f, 0x3f6, 0);
    u8 now = in8(&t.r.f, 0x1f7);
    loop_unlock(t.r.f.loop);
    CHECK(now == BSY || now == 0x50);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(in8(&t.r.f, 0x1f2), 1);
    CHECK(!t.r.irq[0].level);
    issue(&t, 0, 77, 1, 0x20);
    CHECK_EQ(status(&t), 0x58);
    CHECK_EQ(port_read(t.r.f.mem, 0x1f0, 4), 77);
    stop(&t);
}

static void test_trim_and_features(void)
{
    struct ide_rig t;
    start(&t, false);
    store_le64(ram_at(&t.r, DATA), 200 | 8ull << 48);
    prd(&t, 0, DATA, 0x80000200);
    out8(&t.r.f, 0x1f1, 1);
    issue48(&t, 0, 1, 0x06);
    bm_start(&t, 0);
    CHECK_EQ(status(&t), 0x50);
    out8(&t.r.f, BM, 0);
    u32 now = image_sector_number(&t.disk, 200);
    CHECK(now == 0 || now == 200);
    CHECK_EQ(image_sector_number(&t.disk, 208), 208);
    store_le64(ram_at(&t.r, DATA), 4090 | 8ull << 48); /* beyond the end */
    out8(&t.r.f, 0x1f1, 1);
    issue48(&t, 0, 1, 0x06);
    bm_start(&t, 0);
    CHECK_EQ(status(&t), 0x51);
    out8(&t.r.f, 0x1f1, 3);
    issue(&t, 0, 0, 0x22, 0xef); /* multiword DMA 2 */
    CHECK_EQ(status(&t), 0x50);
    out8(&t.r.f, 0x1f1, 3);
    issue(&t, 0, 0, 0x13, 0xef); /* single word DMA */
    CHECK_EQ(status(&t), 0x51);
    out8(&t.r.f, 0x1f1, 0x82);
    issue(&t, 0, 0, 0, 0xef);
    CHECK_EQ(status(&t), 0x50);
    issue(&t, 0, 0, 0, 0xea);
    CHECK_EQ(status(&t), 0x50);
    out8(&t.r.f, 0x1f1, 0xd0);
    issue(&t, 0, 0xc24f00, 1, 0xb0); /* SMART data */
    CHECK_EQ(status(&t), 0x58);
    stop(&t);
}

static void test_saved_state(void)
{
    struct ide_rig a, b;
    struct error err = {0};
    u8 *buf;
    size_t len;
    u8 data[512];
    start(&a, false);
    start(&b, false);
    issue(&a, 0, 90, 2, 0x20);
    status(&a);
    data_in(&a, data, 256); /* in the middle of a block */
    CHECK(state_set_save(a.r.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.r.f.state, buf, len, &err) == 0);
    CHECK_STR(err.message, "");
    data_in(&b, data, 256);
    CHECK_EQ(load_le32(data + 252), ~90u);
    CHECK_EQ(status(&b), 0x58);
    data_in(&b, data, 512);
    CHECK_EQ(load_le32(data), 91);
    CHECK_EQ(status(&b), 0x50);
    free(buf);
    /* Waiting for the bus master. */
    data_in(&a, data, 512);
    data_in(&a, data, 256);
    issue(&a, 0, 95, 1, 0xc8);
    CHECK(state_set_save(a.r.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.r.f.state, buf, len, &err) == 0);
    prd(&b, 0, DATA, 0x80000200);
    bm_start(&b, 8);
    CHECK_EQ(status(&b), 0x50);
    CHECK_EQ(load_le32(ram_at(&b.r, DATA)), 95);
    free(buf);
    stop(&a);
    stop(&b);
}

/* A verification shorter than the transfer before it leaves the buffer in a state that can be loaded. */
static void test_saved_after_verify(void)
{
    struct ide_rig t;
    struct error err = {0};
    u8 *buf;
    size_t len;
    u8 data[2048];
    start(&t, false);
    issue(&t, 0, 90, 4, 0x20);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(status(&t), 0x58);
        data_in(&t, data, 512);
    }
    issue(&t, 0, 90, 1, 0x40);
    CHECK_EQ(status(&t), 0x50);
    CHECK(state_set_save(t.r.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(t.r.f.state, buf, len, &err) == 0);
    CHECK_STR(err.message, "");
    free(buf);
    stop(&t);
}

int main(void)
{
    TAP_RUN(test_identify);
    TAP_RUN(test_pio);
    TAP_RUN(test_multiple);
    TAP_RUN(test_dma);
    TAP_RUN(test_hostile_tables);
    TAP_RUN(test_errors);
    TAP_RUN(test_registers);
    TAP_RUN(test_reset_at_work);
    TAP_RUN(test_trim_and_features);
    TAP_RUN(test_saved_state);
    TAP_RUN(test_saved_after_verify);
    return tap_done();
}
