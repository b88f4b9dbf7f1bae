/* The floppy controller, against the 82077AA data sheet (290166), through its ports. */
#include "devices/floppy/floppy.h"

#include <unistd.h>

#include "base/bytes.h"

#include "tests/chips.h"

static struct floppy *fdc;
static struct i8237 *dma;
static struct ram_block *ram;
static struct mem_region region;
static struct drive *drives[2];
static struct wire irq;
static u8 results[10];

/* The byte that sector `lba` is filled with, but for its last two. */
static u8 fill_of(unsigned lba)
{
    return (u8)(lba * 7 + 3);
}

static struct drive *drive_make(unsigned sectors, bool readonly)
{
    char path[] = "/tmp/ring3-floppy-XXXXXX";
    int fd = mkstemp(path);
    u8 sector[512];
    CHECK(fd >= 0);
    for (unsigned i = 0; i < sectors; i++) {
        memset(sector, fill_of(i), sizeof sector);
        sector[510] = (u8)i;
        sector[511] = (u8)(i >> 8);
        CHECK(write(fd, sector, sizeof sector) == sizeof sector);
    }
    close(fd);
    struct drive *drive = NULL;
    struct drive_config config = {.file = path, .format = "raw", .readonly = readonly};
    CHECK(drive_open(&drive, &config, loop_mutex(board.loop), NULL) == 0);
    unlink(path);
    return drive;
}

/* The completions of what is under way come while nobody holds the lock. */
static void settle(void)
{
    for (unsigned i = 0; i < 2; i++)
        if (drives[i] && drive_has_medium(drives[i]))
            block_queue_drain(drives[i]->queue);
}

static u8 msr(void)
{
    settle();
    return inb(0x3f4);
}

static void command(const u8 *bytes, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        CHECK_EQ(inb(0x3f4) & 0xc0, 0x80);
        outb(0x3f5, bytes[i]);
    }
    settle();
}
#define COMMAND(...) command((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

static unsigned result(void)
{
    unsigned n = 0;
    while ((msr() & 0xd0) == 0xd0 && n < 10)
        results[n++] = inb(0x3f5);
    CHECK_EQ(inb(0x3f4) & 0xf0, 0x80);
    return n;
}

static void check_results(u8 st0, u8 st1, u8 st2, u8 c, u8 h, u8 r)
{
    settle();
    CHECK(irq.level);
    CHECK_EQ(result(), 7);
    CHECK(!irq.level);
    CHECK_EQ(results[0], st0);
    CHECK_EQ(results[1], st1);
    CHECK_EQ(results[2], st2);
    CHECK_EQ(results[3], c);
    CHECK_EQ(results[4], h);
    CHECK_EQ(results[5], r);
    CHECK_EQ(results[6], 2);
}

static void sense(u8 st0, u8 pcn)
{
    COMMAND(0x08);
    CHECK_EQ(result(), 2);
    CHECK_EQ(results[0], st0);
    CHECK_EQ(results[1], pcn);
}

static void wait_ns(u64 ns)
{
    board_run_to(board_now() + ns);
}

static void seek(u8 unit, u8 track)
{
    COMMAND(0x0f, unit, track);
    wait_ns(NS_PER_SEC);
    sense((u8)(0x20 | unit), track);
}

/* `type`: 44h to memory, 48h from it. */
static void dma_program(u8 type, u32 address, u32 len)
{
    outb(0x0a, 6);
    outb(0x0c, 0);
    outb(0x0b, type | 2);
    outb(0x04, (u8)address);
    outb(0x04, (u8)(address >> 8));
    outb(0x05, (u8)(len - 1));
    outb(0x05, (u8)((len - 1) >> 8));
    outb(0x81, (u8)(address >> 16));
    outb(0x0a, 2);
}

static void setup_drives(struct drive *a, struct drive *b)
{
    CHECK(ram_block_create(&ram, "ram", MIB(1), NULL) == 0);
    region = (struct mem_region){.name = "ram", .size = MIB(1), .kind = MEM_RAM, .block = ram};
    mem_map(board.mem, &region);
    CHECK(i8237_create(&dma, &board.env, NULL) == 0);
    i8237_set_cascade(dma);
    drives[0] = a;
    drives[1] = b;
    irq = (struct wire){0};
    struct floppy_config config = {.irq = wire_line(&irq, 0), .dma = dma, .dma_channel = 2, .drive = {a, b}};
    CHECK(floppy_create(&fdc, &board.env, &config, NULL) == 0);
    CHECK_EQ(inb(0x3f4), 0); /* held in reset */
    outb(0x3f2, 0x1c);
    outb(0x3f7, 0);
    CHECK(irq.level);
    for (u8 n = 0; n < 4; n++)
        sense(0xc0 | n, 0);
    CHECK(!irq.level);
    COMMAND(0x08);
    CHECK_EQ(result(), 1);
    CHECK_EQ(results[0], 0x80);
    COMMAND(0x03, 0xaf, 0x02); /* SPECIFY: 6 ms, DMA */
}

static void setup(void)
{
    board_setup();
    setup_drives(drive_make(2880, false), NULL);
}

static void teardown(void)
{
    settle();
    floppy_destroy(fdc);
    for (unsigned i = 0; i < 2; i++)
        CHECK(drive_close(drives[i], NULL) == 0);
    i8237_destroy(dma);
    mem_unmap(board.mem, &region);
    ram_block_destroy(ram);
    board_teardown();
}

static bool memory_is(u32 address, unsigned lba, unsigned sectors)
{
    for (unsigned i = 0; i < sectors; i++, address += 512)
        if (ram->hva[address] != fill_of(lba + i) || ram->hva[address + 509] != fill_of(lba + i) ||
            load_le16(ram->hva + address + 510) != lba + i)
            return false;
    return true;
}

static void test_read(void)
{
    setup();
    dma_program(0x46, 0x8000, 3 * 512);
    COMMAND(0xe6, 0, 0, 0, 2, 2, 18, 0x1b, 0xff);
    check_results(0x00, 0, 0, 0, 0, 5);
    CHECK(memory_is(0x8000, 1, 3));
    /* Across the heads: 18 + 2 sectors; the terminal count falls in the middle of a sector. */
    dma_program(0x46, 0x8000, 19 * 512 + 100);
    COMMAND(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0x04, 0, 0, 0, 1, 3);
    CHECK(memory_is(0x8000, 0, 19));
    CHECK_EQ(ram->hva[0x8000 + 19 * 512 + 99], fill_of(19));
    CHECK_EQ(ram->hva[0x8000 + 19 * 512 + 100], 0);
    /* The last sector of the cylinder: what follows is on the next. */
    dma_program(0x46, 0x8000, 512);
    COMMAND(0xe6, 4, 0, 1, 18, 2, 18, 0x1b, 0xff);
    check_results(0x04, 0, 0, 1, 0, 1);
    dma_program(0x46, 0x8000, 512);
    COMMAND(0x66, 0, 0, 0, 18, 2, 18, 0x1b, 0xff);
    check_results(0x00, 0, 0, 1, 0, 1);
    /* Without a terminal count it ends at the end of the cylinder, as an error. */
    dma_program(0x46, 0x8000, 4096);
    COMMAND(0x66, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    check_results(0x40, 0x80, 0, 1, 0, 1);
    CHECK(memory_is(0x8000, 16, 2));
    teardown();
}

static void test_not_found(void)
{
    setup();
    dma_program(0x46, 0x8000, 512);
    COMMAND(0x66, 0, 0, 0, 19, 2, 19, 0x1b, 0xff);
    check_results(0x40, 0x04, 0, 0, 0, 19);
    COMMAND(0x66, 0, 3, 0, 1, 2, 18, 0x1b, 0xff); /* the head is over track 0 */
    check_results(0x40, 0x04, 0x10, 3, 0, 1);
    COMMAND(0x66, 4, 0, 0, 1, 2, 18, 0x1b, 0xff); /* head 0's address under head 1 */
    check_results(0x44, 0x04, 0, 0, 0, 1);
    COMMAND(0x26, 0, 0, 0, 1, 2, 18, 0x1b, 0xff); /* FM */
    check_results(0x40, 0x01, 0, 0, 0, 1);
    outb(0x3f7, 2); /* 250 kbit/s */
    COMMAND(0x66, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0x40, 0x01, 0, 0, 0, 1);
    outb(0x3f4, 0);
    COMMAND(0x66, 1, 0, 0, 1, 2, 18, 0x1b, 0xff); /* no drive */
    check_results(0x41, 0x01, 0, 0, 0, 1);
    CHECK_EQ(inb(8) & 4, 0);
    teardown();
}

static void test_write(void)
{
    setup();
    for (unsigned i = 0; i < 1024; i++)
        ram->hva[0x9000 + i] = (u8)(i * 5);
    seek(0, 40);
    dma_program(0x4a, 0x9000, 700);
    COMMAND(0xc5, 4, 40, 1, 18, 2, 18, 0x1b, 0xff);
    check_results(0x44, 0x80, 0, 41, 0, 1); /* only one sector was left */
    COMMAND(0xc5, 0, 40, 0, 18, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0, 40, 1, 1); /* the rest: 188 bytes */
    dma_program(0x46, 0xa000, 1024);
    COMMAND(0xe6, 0, 40, 0, 18, 2, 18, 0x1b, 0xff);
    check_results(0x04, 0, 0, 40, 1, 2);
    CHECK(!memcmp(ram->hva + 0xa000, ram->hva + 0x9000 + 512, 188));
    CHECK_EQ(ram->hva[0xa000 + 188] | ram->hva[0xa000 + 511], 0); /* the sector is filled up */
    CHECK(memory_is(0xa200, 40 * 36 + 18, 1));
    u8 sector[512];
    CHECK(block_read(drives[0]->block, (40 * 36 + 35) * 512, sector, 512, NULL) == 0);
    CHECK(!memcmp(sector, ram->hva + 0x9000, 512));
    teardown();
}

static void test_readonly(void)
{
    board_setup();
    setup_drives(drive_make(2880, true), NULL);
    dma_program(0x4a, 0x9000, 512);
    COMMAND(0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0x40, 0x02, 0, 0, 0, 1);
    COMMAND(0x4d, 0, 2, 18, 0x54, 0);
    CHECK_EQ(result(), 7);
    CHECK_EQ(results[0], 0x40);
    CHECK_EQ(results[1], 0x02);
    COMMAND(0x04, 0);
    CHECK_EQ(result(), 1);
    CHECK_EQ(results[0], 0x78);
    teardown();
}

static void test_deleted(void)
{
    setup();
    memset(ram->hva + 0x9000, 0x5a, 512);
    dma_program(0x4a, 0x9000, 512);
    COMMAND(0x49, 0, 0, 0, 3, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0, 0, 0, 4);
    /* READ DATA stops behind it, or leaves it out. */
    dma_program(0x46, 0x8000, 4 * 512);
    COMMAND(0x46, 0, 0, 0, 2, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0x40, 0, 0, 4);
    CHECK_EQ(ram->hva[0x8200], 0x5a);
    dma_program(0x46, 0x8000, 3 * 512);
    COMMAND(0x66, 0, 0, 0, 2, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0, 0, 0, 6);
    CHECK(memory_is(0x8000, 1, 1) && memory_is(0x8200, 3, 2));
    /* READ DELETED DATA is its mirror image. */
    dma_program(0x46, 0x8000, 512);
    COMMAND(0x6c, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0, 0, 0, 4);
    CHECK_EQ(ram->hva[0x8000], 0x5a);
    dma_program(0x4a, 0x9000, 512);
    COMMAND(0x45, 0, 0, 0, 3, 2, 18, 0x1b, 0xff); /* a normal one again */
    check_results(0, 0, 0, 0, 0, 4);
    dma_program(0x46, 0x8000, 512);
    COMMAND(0x4c, 0, 0, 0, 3, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0x40, 0, 0, 4);
    teardown();
}

static void test_non_dma(void)
{
    setup();
    COMMAND(0x03, 0xaf, 0x03);
    COMMAND(0x66, 0, 0, 0, 5, 2, 6, 0x1b, 0xff);
    for (unsigned i = 0; i < 1024; i++) {
        CHECK_EQ(msr(), 0xf0);
        CHECK(irq.level);
        CHECK_EQ(inb(0x3f5), i % 512 < 510 ? fill_of(4 + i / 512) : i % 512 == 510 ? 4 + i / 512 : 0);
    }
    check_results(0x40, 0x80, 0, 1, 0, 1); /* there is no terminal count */
    unsigned rises = irq.rises;
    COMMAND(0x13, 0, 0x0f, 0); /* the FIFO: an interrupt every 16 bytes */
    COMMAND(0x45, 0, 0, 0, 5, 2, 5, 0x1b, 0xff);
    for (unsigned i = 0; i < 512; i++) {
        CHECK_EQ(msr(), 0xb0);
        outb(0x3f5, (u8)~i);
    }
    check_results(0x40, 0x80, 0, 1, 0, 1);
    CHECK_EQ(irq.rises - rises, 512 / 16 + 1);
    u8 sector[512];
    CHECK(block_read(drives[0]->block, 4 * 512, sector, 512, NULL) == 0);
    CHECK_EQ(sector[5], 0xfa);
    teardown();
}

static void test_seeks(void)
{
    setup();
    COMMAND(0x0f, 4, 20);
    CHECK_EQ(inb(0x3f4), 0x81); /* busy, but commands are taken */
    wait_ns(119999999);
    CHECK(!irq.level);
    wait_ns(1); /* 20 steps of 6 ms */
    CHECK(irq.level);
    CHECK_EQ(inb(0x3f4), 0x80);
    sense(0x24, 20);
    CHECK(!irq.level);
    COMMAND(0xcf, 0, 10);
    wait_ns(NS_PER_SEC);
    sense(0x20, 30);
    COMMAND(0x8f, 0, 5);
    wait_ns(NS_PER_SEC);
    sense(0x20, 25);
    COMMAND(0x4a, 4);
    CHECK_EQ(result(), 7);
    CHECK_EQ(results[3], 25);
    CHECK_EQ(results[4], 1);
    CHECK_EQ(results[0], 4);
    COMMAND(0x07, 0);
    wait_ns(NS_PER_SEC);
    sense(0x20, 0);
    COMMAND(0x07, 1); /* no drive: track 0 never comes */
    wait_ns(NS_PER_SEC);
    sense(0x71, 0);
    seek(0, 83);
    COMMAND(0x07, 0); /* 79 steps are not enough */
    wait_ns(NS_PER_SEC);
    sense(0x70, 0);
    COMMAND(0x07, 0);
    wait_ns(NS_PER_SEC);
    sense(0x20, 0);
    /* Two at a time: each has its interrupt. */
    COMMAND(0x0f, 0, 2);
    COMMAND(0x0f, 1, 2);
    CHECK_EQ(inb(0x3f4), 0x83);
    wait_ns(NS_PER_SEC);
    sense(0x20, 2);
    CHECK(irq.level);
    sense(0x21, 2);
    CHECK(!irq.level);
    teardown();
}

static void test_implied_seek(void)
{
    setup();
    COMMAND(0x13, 0, 0x60, 0);
    dma_program(0x46, 0x8000, 512);
    COMMAND(0x66, 0, 7, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0, 7, 0, 2);
    CHECK(memory_is(0x8000, 7 * 36, 1));
    COMMAND(0x0e);
    CHECK_EQ(result(), 10);
    CHECK_EQ(results[0], 7);
    teardown();
}

static void test_format(void)
{
    setup();
    seek(0, 1);
    for (unsigned i = 0; i < 18; i++) {
        u8 address[4] = {1, 1, (u8)(i + 1), 2};
        memcpy(ram->hva + 0x9000 + i * 4, address, 4);
    }
    ram->hva[0x9000 + 5 * 4] = 99; /* an address that the image has no place for */
    dma_program(0x4a, 0x9000, 72);
    COMMAND(0x4d, 4, 2, 18, 0x54, 0xf6);
    CHECK_EQ(result(), 7);
    CHECK_EQ(results[0], 4);
    u8 track[18][512];
    CHECK(block_read(drives[0]->block, (36 + 18) * 512, track, sizeof track, NULL) == 0);
    for (unsigned i = 0; i < 18; i++)
        CHECK_EQ(track[i][100], i == 5 ? fill_of(36 + 18 + 5) : 0xf6);
    teardown();
}

static void test_read_track(void)
{
    setup();
    dma_program(0x46, 0x8000, 18 * 512);
    COMMAND(0x42, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    CHECK_EQ(result(), 7);
    CHECK_EQ(results[0], 0);
    CHECK_EQ(results[1], 0);
    CHECK(memory_is(0x8000, 0, 18));
    dma_program(0x46, 0x8000, 2 * 512); /* starts at the index hole, whatever R says */
    COMMAND(0x42, 0, 0, 0, 9, 2, 18, 0x1b, 0xff);
    CHECK_EQ(result(), 7);
    CHECK_EQ(results[1], 4);
    CHECK(memory_is(0x8000, 0, 2));
    teardown();
}

static void test_verify(void)
{
    setup();
    COMMAND(0x56, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0, 1, 0, 1);
    COMMAND(0xd6, 0x80, 0, 0, 1, 2, 18, 0x1b, 20); /* EC: 20 sectors */
    check_results(0x04, 0, 0, 0, 1, 3);
    COMMAND(0x56, 0x80, 0, 0, 1, 2, 18, 0x1b, 20);
    check_results(0x40, 0x80, 0, 1, 0, 1);
    teardown();
}

static void test_scan(void)
{
    setup();
    memset(ram->hva + 0x9000, 0xff, 4096);
    memset(ram->hva + 0x9000, fill_of(2), 100); /* FFh: anything */
    dma_program(0x4a, 0x9000, 512);
    COMMAND(0x51, 0, 0, 0, 3, 2, 18, 0x1b, 1);
    check_results(0, 0, 0x08, 0, 0, 3);
    dma_program(0x4a, 0x9000, 512);
    COMMAND(0x51, 0, 0, 0, 4, 2, 18, 0x1b, 1);
    check_results(0, 0, 0x04, 0, 0, 5);
    dma_program(0x4a, 0x9000, 512);
    COMMAND(0x5d, 0, 0, 0, 4, 2, 18, 0x1b, 1); /* the disk's is higher */
    check_results(0, 0, 0x00, 0, 0, 4);
    dma_program(0x4a, 0x9000, 512);
    COMMAND(0x59, 0, 0, 0, 2, 2, 18, 0x1b, 1); /* and here lower */
    check_results(0, 0, 0x00, 0, 0, 2);
    teardown();
}

static void test_modes(void)
{
    setup();
    COMMAND(0x10);
    CHECK_EQ(result(), 1);
    CHECK_EQ(results[0], 0x90);
    COMMAND(0x18);
    CHECK_EQ(result(), 1);
    CHECK_EQ(results[0], 0x41);
    COMMAND(0x1f);
    CHECK_EQ(result(), 1);
    CHECK_EQ(results[0], 0x80);
    COMMAND(0x13, 0, 0x57, 0x10);
    COMMAND(0x12, 0x84);
    COMMAND(0x94);
    CHECK_EQ(result(), 1);
    CHECK_EQ(results[0], 0x10);
    COMMAND(0x0e);
    CHECK_EQ(result(), 10);
    CHECK_EQ(results[4], 0xaf);
    CHECK_EQ(results[5], 0x02);
    CHECK_EQ(results[7], 0x84);
    CHECK_EQ(results[8], 0x57);
    CHECK_EQ(results[9], 0x10);
    outb(0x3f4, 0x80); /* a software reset: LOCK keeps the configuration, which has polling off */
    CHECK(!irq.level);
    COMMAND(0x0e);
    result();
    CHECK_EQ(results[8], 0x57);
    COMMAND(0x14);
    result();
    outb(0x3f4, 0x80);
    CHECK(irq.level);
    for (u8 n = 0; n < 4; n++)
        sense(0xc0 | n, 0);
    COMMAND(0x0e);
    result();
    CHECK_EQ(results[8], 0x20);
    outb(0x3f4, 0x40); /* power down: until the next byte */
    CHECK_EQ(inb(0x3f4), 0);
    outb(0x3f5, 0x10);
    CHECK_EQ(result(), 1);
    outb(0x3f2, 0x14); /* the gate is off */
    COMMAND(0x07, 0);
    wait_ns(NS_PER_SEC);
    CHECK(!irq.level);
    outb(0x3f2, 0x1c);
    CHECK(irq.level);
    teardown();
}

static void test_change_line(void)
{
    setup();
    CHECK_EQ(inb(0x3f7), 0xff);
    COMMAND(0x0f, 0, 1);
    CHECK_EQ(inb(0x3f7), 0x7f);
    outb(0x3f2, 0x1d);
    CHECK_EQ(inb(0x3f7), 0x7f);
    teardown();
}

static void test_sizes(void)
{
    static const struct {
        unsigned sectors;
        u8 type, rate, heads, per_track;
    } cases[] = {
        {320, 1, 2, 1, 8},   {720, 1, 2, 2, 9},   {1440, 4, 2, 2, 9},  {2400, 2, 0, 2, 15},
        {2880, 4, 0, 2, 18}, {5760, 5, 3, 2, 36}, {2532, 4, 0, 2, 18}, {3000, 5, 3, 2, 36},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        board_setup();
        setup_drives(drive_make(cases[i].sectors, false), drive_make(2880, false));
        CHECK_EQ(floppy_drive_type(fdc, 0), cases[i].type);
        CHECK_EQ(floppy_drive_type(fdc, 1), 4);
        outb(0x3f7, cases[i].rate);
        u8 head = cases[i].heads - 1, last = cases[i].per_track;
        dma_program(0x46, 0x8000, 512);
        COMMAND(0x46, (u8)(head << 2), 0, head, last, 2, last, 0x1b, 0xff);
        check_results((u8)(head << 2), 0, 0, 1, head, 1);
        CHECK(memory_is(0x8000, cases[i].heads * last - 1u, 1));
        teardown();
    }
    board_setup();
    struct error err = {0};
    CHECK(i8237_create(&dma, &board.env, NULL) == 0);
    struct floppy_config config = {.dma = dma, .drive = {drive_make(5761, false)}};
    CHECK_EQ(floppy_create(&fdc, &board.env, &config, &err), -EINVAL);
    CHECK(strstr(err.message, "2.88 MB") != NULL);
    floppy_destroy(fdc);
    CHECK(drive_close(config.drive[0], NULL) == 0);
    i8237_destroy(dma);
    board_teardown();
}

/* An image that ends early: zeroes, and no place to write. */
static void test_short_image(void)
{
    board_setup();
    setup_drives(drive_make(2532, false), NULL);
    seek(0, 79);
    memset(ram->hva + 0x8000, 1, 512);
    dma_program(0x46, 0x8000, 512);
    COMMAND(0x46, 0, 79, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0, 0, 0, 79, 0, 2);
    CHECK_EQ(ram->hva[0x8000] | ram->hva[0x81ff], 0);
    dma_program(0x4a, 0x8000, 512);
    COMMAND(0x45, 0, 79, 0, 1, 2, 18, 0x1b, 0xff);
    check_results(0x40, 4, 0, 79, 0, 1);
    teardown();
}

/* Saved in the middle of a command, of a transfer by bytes, of a seek; and with the DMA channel masked. */
static void test_state(void)
{
    setup();
    outb(0x3f5, 0x0f);
    outb(0x3f5, 0);
    struct snapshot s = board_save();
    outb(0x3f2, 0);
    board_restore(s);
    outb(0x3f5, 9);
    wait_ns(5000000);
    s = board_save();
    wait_ns(NS_PER_SEC);
    board_restore(s);
    CHECK_EQ(inb(0x3f4), 0x81);
    wait_ns(NS_PER_SEC);
    sense(0x20, 9);

    dma_program(0x46, 0x8000, 1024);
    outb(0x0a, 6);
    COMMAND(0x46, 0, 9, 0, 1, 2, 18, 0x1b, 0xff);
    CHECK_EQ(msr(), 0x10);
    s = board_save();
    outb(0x3f4, 0x80);
    board_restore(s);
    outb(0x0a, 2);
    settle();
    check_results(0, 0, 0, 9, 0, 3);
    CHECK(memory_is(0x8000, 9 * 36, 2));
    teardown();
}

static void test_bad_state(void)
{
    setup();
    outb(0x0a, 6);
    COMMAND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    struct snapshot s = board_save();
    for (size_t i = 0; i < s.len; i++) {
        u8 *copy = malloc(s.len);
        memcpy(copy, s.data, s.len);
        copy[i] ^= 0x55;
        if (state_set_load(board.state, copy, s.len, NULL) == 0) {
            outb(0x3f5, 0);
            inb(0x3f5);
            outb(0x0a, 2);
            settle();
            wait_ns(NS_PER_SEC);
        }
        free(copy);
    }
    board_restore(s);
    teardown();
}

int main(void)
{
    TAP_RUN(test_read);
    TAP_RUN(test_not_found);
    TAP_RUN(test_write);
    TAP_RUN(test_readonly);
    TAP_RUN(test_deleted);
    TAP_RUN(test_non_dma);
    TAP_RUN(test_seeks);
    TAP_RUN(test_implied_seek);
    TAP_RUN(test_format);
    TAP_RUN(test_read_track);
    TAP_RUN(test_verify);
    TAP_RUN(test_scan);
    TAP_RUN(test_modes);
    TAP_RUN(test_change_line);
    TAP_RUN(test_sizes);
    TAP_RUN(test_short_image);
    TAP_RUN(test_state);
    TAP_RUN(test_bad_state);
    return tap_done();
}
