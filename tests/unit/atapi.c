/* A CD-ROM drive on IDE: packets by PIO and DMA, sense data, tables of contents, raw sectors, the tray. */
#include "ata_rig.h"
#include "devices/ata/piix_ide.h"

#define SLOT 1
#define BM   0xc000
#define PRDT 0x1000
#define DATA 0x10000

struct cd_rig {
    struct rig r;
    struct rig_image disc;
    struct piix_ide *ide;
};

static void start(struct cd_rig *t)
{
    rig_init(&t->r);
    rig_image_open(&t->r, &t->disc, 4 * 100, true); /* 100 CD sectors */
    struct piix_ide_config config = {.bus = t->r.bus, .slot = SLOT, .function = 0};
    config.place[1][0] = (struct ide_place){t->disc.drive, true, 0};
    for (unsigned i = 0; i < 2; i++)
        config.irq[i] = probe_line(&t->r.irq[i]);
    CHECK(piix_ide_create(&t->ide, &t->r.f.env, &config, NULL) == 0);
    pci_config_write(t->r.bus, SLOT, 0, 0x20, 4, BM);
    pci_config_write(t->r.bus, SLOT, 0, 0x40, 4, 0x80008000);
    pci_config_write(t->r.bus, SLOT, 0, 4, 2, 5);
}

static void stop(struct cd_rig *t)
{
    rig_drain(&t->disc);
    piix_ide_destroy(t->ide);
    rig_image_close(&t->disc);
    rig_finish(&t->r);
}

static u8 status(struct cd_rig *t)
{
    rig_drain(&t->disc);
    return in8(&t->r.f, 0x376);
}

/* Sends a packet, given as hex digits; returns the status. */
static u8 packet(struct cd_rig *t, const char *hex, u16 limit, bool dma)
{
    out8(&t->r.f, 0x176, 0xa0);
    out8(&t->r.f, 0x171, dma);
    out8(&t->r.f, 0x174, (u8)limit);
    out8(&t->r.f, 0x175, (u8)(limit >> 8));
    out8(&t->r.f, 0x177, 0xa0);
    CHECK_EQ(status(t), 0x58);
    CHECK_EQ(in8(&t->r.f, 0x172), 1); /* command, to the device */
    CHECK(!t->r.irq[1].level);
    for (unsigned i = 0; i < 12; i += 2) {
        unsigned a = 0, b = 0;
        if (strlen(hex) >= 2 * i + 2)
            sscanf(hex + 2 * i, "%2x", &a);
        if (strlen(hex) >= 2 * i + 4)
            sscanf(hex + 2 * i + 2, "%2x", &b);
        port_write(t->r.f.mem, 0x170, 2, a | b << 8);
    }
    return status(t);
}

/* All blocks of the answer; returns how many bytes came, *blocks: in how many blocks. */
static unsigned answer(struct cd_rig *t, u8 *to, unsigned *blocks)
{
    unsigned total = 0;
    *blocks = 0;
    while (status(t) & 8) {
        unsigned len = in8(&t->r.f, 0x174) | in8(&t->r.f, 0x175) << 8;
        CHECK_EQ(in8(&t->r.f, 0x172), 2);
        CHECK(t->r.irq[1].level);
        in8(&t->r.f, 0x177);
        for (unsigned i = 0; i < len; i += 2) {
            u16 v = (u16)port_read(t->r.f.mem, 0x170, 2);
            to[total + i] = (u8)v;
            if (i + 1 < len)
                to[total + i + 1] = (u8)(v >> 8);
        }
        total += len;
        ++*blocks;
    }
    CHECK(t->r.irq[1].level);
    CHECK_EQ(in8(&t->r.f, 0x172), 3);
    in8(&t->r.f, 0x177);
    return total;
}

/* The sense data of what just failed: key << 16 | ASC << 8 | ASCQ. */
static u32 sense(struct cd_rig *t)
{
    u8 b[64] = {0};
    unsigned blocks;
    packet(t, "030000001200", 64, false);
    CHECK_EQ(answer(t, b, &blocks), 18);
    CHECK_EQ(b[0], 0x70);
    return (u32)b[2] << 16 | (u32)b[12] << 8 | b[13];
}

static void wake(struct cd_rig *t)
{
    CHECK_EQ(packet(t, "00", 0, false), 0x51);
    CHECK_EQ(sense(t), 0x062900); /* power on */
    CHECK_EQ(packet(t, "00", 0, false), 0x50);
}

static void test_signature(void)
{
    struct cd_rig t;
    u8 id[512];
    start(&t);
    CHECK_EQ(in8(&t.r.f, 0x174), 0x14);
    CHECK_EQ(in8(&t.r.f, 0x175), 0xeb);
    out8(&t.r.f, 0x174, 0);
    out8(&t.r.f, 0x177, 0xec);
    CHECK_EQ(status(&t) & 1, 1);
    CHECK_EQ(in8(&t.r.f, 0x171), 4);
    CHECK_EQ(in8(&t.r.f, 0x174), 0x14);
    out8(&t.r.f, 0x177, 0xa1);
    CHECK_EQ(status(&t) & 8, 8);
    for (unsigned i = 0; i < 512; i += 2)
        store_le16(id + i, (u16)port_read(t.r.f.mem, 0x170, 2));
    CHECK_EQ(load_le16(id), 0x85c0);
    out8(&t.r.f, 0x174, 0);
    out8(&t.r.f, 0x177, 0x08); /* DEVICE RESET: no interrupt */
    CHECK_EQ(in8(&t.r.f, 0x174), 0x14);
    CHECK_EQ(in8(&t.r.f, 0x376), 0);
    stop(&t);
}

static void test_reading(void)
{
    struct cd_rig t;
    static u8 b[65536];
    unsigned blocks;
    start(&t);
    wake(&t);
    CHECK_EQ(packet(&t, "2500", 64, false), 0x58);
    CHECK_EQ(answer(&t, b, &blocks), 8);
    CHECK_EQ(load_le32(b), 0x63000000);
    CHECK_EQ(load_le32(b + 4), 0x00080000);
    CHECK_EQ(packet(&t, "28000000000a000003", 2048, false), 0x58);
    CHECK_EQ(answer(&t, b, &blocks), 6144);
    CHECK_EQ(blocks, 3);
    CHECK_EQ(load_le32(b), 40);
    CHECK_EQ(load_le32(b + 6144 - 4), ~51u);
    packet(&t, "a80000000000000000140000", 0xffff, false); /* more than the buffer */
    CHECK_EQ(answer(&t, b, &blocks), 40960);
    CHECK_EQ(load_le32(b + 40960 - 512), 79);
    store_le32(ram_at(&t.r, PRDT), DATA);
    store_le32(ram_at(&t.r, PRDT + 4), 0x80001000);
    CHECK_EQ(packet(&t, "280000000014000002", 0, true) & 8, 8);
    port_write(t.r.f.mem, BM + 12, 4, PRDT);
    out8(&t.r.f, BM + 8, 9);
    CHECK_EQ(status(&t), 0x50);
    CHECK_EQ(in8(&t.r.f, BM + 10) & 7, 4);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA)), 80);
    CHECK_EQ(load_le32(ram_at(&t.r, DATA + 0x1000 - 512)), 87);
    CHECK_EQ(packet(&t, "280000000063000002", 2048, false), 0x51); /* beyond the end */
    CHECK_EQ(in8(&t.r.f, 0x171) >> 4, 5);
    CHECK_EQ(sense(&t), 0x052100);
    CHECK_EQ(packet(&t, "ff", 2048, false), 0x51);
    CHECK_EQ(sense(&t), 0x052000);
    CHECK_EQ(packet(&t, "280000000000000001", 0, false), 0x51); /* no limit, no PIO */
    stop(&t);
}

/* The divisors of the code: what a reader computes over the whole sector must be 0. */
static u32 edc_residue(const u8 *p, unsigned len)
{
    u32 edc = 0;
    for (unsigned i = 0; i < len; i++) {
        edc ^= p[i];
        for (unsigned bit = 0; bit < 8; bit++)
            edc = edc & 1 ? edc >> 1 ^ 0xd8018001u : edc >> 1;
    }
    return edc;
}

static u8 gf_multiply(u8 a, u8 b)
{
    u8 r = 0;
    for (; b; b >>= 1, a = (u8)(a << 1 ^ (a & 0x80 ? 0x1d : 0)))
        if (b & 1)
            r ^= a;
    return r;
}

/* Both syndromes of P code word n: symbols at n, n + 86, ... of header, data and parity. */
static bool p_word_is_good(const u8 *from, unsigned n)
{
    u8 sum = 0, weighted = 0;
    for (unsigned i = 0; i < 26; i++) {
        u8 v = from[n + 86 * i];
        sum ^= v;
        weighted = (u8)(gf_multiply(weighted, 2) ^ v);
    }
    return sum == 0 && weighted == 0;
}

static bool q_word_is_good(const u8 *from, unsigned n)
{
    u8 sum = 0, weighted = 0;
    for (unsigned i = 0; i < 45; i++) {
        unsigned at = i < 43 ? (2 * 43 * (n / 2) + 88 * i + n % 2) % 2236 : 2236 + 52 * (i - 43) + n;
        u8 v = from[at];
        sum ^= v;
        weighted = (u8)(gf_multiply(weighted, 2) ^ v);
    }
    return sum == 0 && weighted == 0;
}

static void test_raw_sectors(void)
{
    struct cd_rig t;
    static u8 b[65536];
    unsigned blocks, bad = 0;
    start(&t);
    wake(&t);
    packet(&t, "be000000000500000ff80000", 0xfffe, false);
    CHECK_EQ(answer(&t, b, &blocks), 15 * 2352);
    CHECK_EQ(b[0], 0);
    CHECK_EQ(b[1], 0xff);
    CHECK_EQ(b[11], 0);
    CHECK_EQ(b[12], 0x00); /* 00:02:05 */
    CHECK_EQ(b[13], 0x02);
    CHECK_EQ(b[14], 0x05);
    CHECK_EQ(b[15], 1);
    CHECK_EQ(load_le32(b + 16), 20);
    CHECK_EQ(edc_residue(b, 2068), 0);
    for (unsigned n = 0; n < 86; n++)
        bad += !p_word_is_good(b + 12, n);
    CHECK_EQ(bad, 0);
    for (unsigned n = 0; n < 52; n++)
        bad += !q_word_is_good(b + 12, n);
    CHECK_EQ(bad, 0);
    packet(&t, "be0000000005000001100000", 0xfffe, false); /* user data only */
    CHECK_EQ(answer(&t, b, &blocks), 2048);
    CHECK_EQ(packet(&t, "be0400000005000001100000", 0xfffe, false), 0x51); /* no audio there */
    CHECK_EQ(sense(&t), 0x056400);
    stop(&t);
}

static void test_information(void)
{
    struct cd_rig t;
    u8 b[256];
    unsigned blocks;
    start(&t);
    wake(&t);
    packet(&t, "4302000000000000ff00", 256, false); /* table of contents, MSF */
    CHECK_EQ(answer(&t, b, &blocks), 20);
    CHECK_EQ(b[1], 18);
    CHECK_EQ(b[6], 1);
    CHECK_EQ(load_le32(b + 8), 0x00020000);
    CHECK_EQ(b[14], 0xaa);
    CHECK_EQ(load_le32(b + 16), 0x19030000); /* 100 + 150 frames */
    packet(&t, "4300010000000000ff00", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 12);
    packet(&t, "4300020000000000ff00", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 48);
    packet(&t, "43000000000000000c00", 256, false); /* truncated */
    CHECK_EQ(answer(&t, b, &blocks), 12);
    CHECK_EQ(b[1], 18);
    packet(&t, "120000002400", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 36);
    CHECK_EQ(b[0], 5);
    CHECK(!memcmp(b + 8, "RING3   CD-ROM", 14));
    packet(&t, "5a003f0000000000ff00", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 8 + 12 + 16 + 22);
    packet(&t, "5a002a0000000000ff00", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 30);
    CHECK_EQ(b[8], 0x2a);
    packet(&t, "4600000000000000ff00", 256, false);
    CHECK(answer(&t, b, &blocks) > 40);
    CHECK_EQ(b[7], 8); /* the profile: CD-ROM */
    packet(&t, "51000000000000002200", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 34);
    packet(&t, "bd000000000000000008", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 8);
    packet(&t, "52010000000100002400", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 36);
    CHECK_EQ(packet(&t, "5a00070000000000ff00", 256, false), 0x51); /* no such page */
    CHECK_EQ(sense(&t), 0x052400);
    stop(&t);
}

static void test_mode_select(void)
{
    struct cd_rig t;
    u8 b[256];
    unsigned blocks;
    start(&t);
    wake(&t);
    CHECK_EQ(packet(&t, "55100000000000001400", 256, false), 0x58);
    CHECK_EQ(in8(&t.r.f, 0x172), 0);
    static const u8 list[20] = {[8] = 0x01, [9] = 10, [10] = 0x20, [11] = 7};
    for (unsigned i = 0; i < 20; i += 2)
        port_write(t.r.f.mem, 0x170, 2, load_le16(list + i));
    CHECK_EQ(status(&t), 0x50);
    packet(&t, "5a00010000000000ff00", 256, false);
    CHECK_EQ(answer(&t, b, &blocks), 20);
    CHECK_EQ(b[10], 0x20);
    CHECK_EQ(b[11], 7);
    stop(&t);
}

static void test_tray(void)
{
    struct cd_rig t;
    u8 b[64];
    unsigned blocks;
    start(&t);
    wake(&t);
    packet(&t, "4a010000100000000800", 64, false);
    CHECK_EQ(answer(&t, b, &blocks), 8);
    CHECK_EQ(b[4], 2); /* a new medium, once */
    CHECK_EQ(b[5], 2);
    packet(&t, "4a010000100000000800", 64, false);
    answer(&t, b, &blocks);
    CHECK_EQ(b[4], 0);
    CHECK_EQ(packet(&t, "1e0000000100", 0, false), 0x50);
    CHECK_EQ(packet(&t, "1b0000000200", 0, false), 0x51); /* locked */
    CHECK_EQ(sense(&t), 0x055302);
    packet(&t, "1e0000000000", 0, false);
    CHECK_EQ(packet(&t, "1b0000000200", 0, false), 0x50);
    CHECK_EQ(packet(&t, "00", 0, false), 0x51);
    CHECK_EQ(sense(&t), 0x023a02); /* the tray is open */
    CHECK_EQ(packet(&t, "1b0000000300", 0, false), 0x50);
    CHECK_EQ(packet(&t, "00", 0, false), 0x51);
    CHECK_EQ(sense(&t), 0x062800); /* the medium may have changed */
    CHECK_EQ(packet(&t, "00", 0, false), 0x50);
    stop(&t);
}

int main(void)
{
    TAP_RUN(test_signature);
    TAP_RUN(test_reading);
    TAP_RUN(test_raw_sectors);
    TAP_RUN(test_information);
    TAP_RUN(test_mode_select);
    TAP_RUN(test_tray);
    return tap_done();
}
