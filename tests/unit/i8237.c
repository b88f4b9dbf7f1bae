/* The 8237A pair, against the data sheet (231466), through its ports. */
#include "devices/dma/i8237.h"

#include "tests/chips.h"

static struct i8237 *dma;
static struct ram_block *ram;
static struct mem_region region;

/* A device that has or takes as many bytes as the test says. */
static struct device {
    struct dma_channel channel;
    enum dma_direction direction;
    u8 data[0x20000];
    size_t at, len, piece;
    unsigned grants, tcs;
} device;

static void device_granted(void *opaque)
{
    struct device *d = opaque;
    bool tc;
    size_t n = MIN(d->len - d->at, d->piece);
    d->grants++;
    d->at += dma_transfer(&d->channel, d->direction, d->data + d->at, n, &tc);
    d->tcs += tc;
    if (tc || d->at == d->len)
        dma_request(&d->channel, false);
}

static void setup(void)
{
    board_setup();
    CHECK(ram_block_create(&ram, "ram", MIB(16), NULL) == 0);
    region = (struct mem_region){.name = "ram", .size = MIB(16), .kind = MEM_RAM, .block = ram};
    mem_map(board.mem, &region);
    CHECK(i8237_create(&dma, &board.env, NULL) == 0);
    i8237_set_cascade(dma);
}

static void teardown(void)
{
    i8237_destroy(dma);
    mem_unmap(board.mem, &region);
    ram_block_destroy(ram);
    board_teardown();
}

static void device_setup(unsigned channel, enum dma_direction direction, size_t len)
{
    device = (struct device){.direction = direction, .len = len, .piece = len};
    for (size_t i = 0; i < len; i++)
        device.data[i] = direction == DMA_TO_MEMORY ? (u8)(i * 7 + 1) : 0;
    struct dma_client client = {device_granted, &device};
    device.channel = dma_connect(dma, channel, &client);
}

static const u8 page_port[8] = {0x87, 0x83, 0x81, 0x82, 0x8f, 0x8b, 0x89, 0x8a};

/* As drivers do it: mask, flip-flop, mode, address, count, page, unmask. */
static void program(unsigned n, u8 mode, u32 address, u32 transfers)
{
    unsigned shift = n >> 2, base = shift ? 0xc0 : 0, ch = n & 3;
    u16 bus = (u16)(shift ? address >> 1 : address);
    outb((u16)(base + (0xau << shift)), (u8)(4 | ch));
    outb((u16)(base + (0xcu << shift)), 0);
    outb((u16)(base + (0xbu << shift)), (u8)(mode | ch));
    outb((u16)(base + (ch * 2 << shift)), (u8)bus);
    outb((u16)(base + (ch * 2 << shift)), (u8)(bus >> 8));
    outb((u16)(base + ((ch * 2 + 1) << shift)), (u8)(transfers - 1));
    outb((u16)(base + ((ch * 2 + 1) << shift)), (u8)((transfers - 1) >> 8));
    outb(page_port[n], (u8)(address >> 16));
    outb((u16)(base + (0xau << shift)), (u8)ch);
}

static u16 word(u16 port)
{
    u8 low = inb(port);
    return (u16)(low | inb(port) << 8);
}

static void test_write(void)
{
    setup();
    device_setup(2, DMA_TO_MEMORY, 512);
    program(2, 0x44, 0x123456, 512);
    CHECK_EQ(inb(8), 0);
    dma_request(&device.channel, true);
    CHECK_EQ(device.at, 512);
    CHECK_EQ(device.tcs, 1);
    CHECK(!memcmp(ram->hva + 0x123456, device.data, 512));
    CHECK_EQ(ram->hva[0x123455] | ram->hva[0x123456 + 512], 0);
    CHECK_EQ(inb(8), 0x04); /* TC, cleared by reading */
    CHECK_EQ(inb(8), 0x00);
    CHECK_EQ(inb(0xf), 0x0f); /* masked by terminal count */
    outb(0xc, 0);
    CHECK_EQ(word(5), 0xffff);
    CHECK_EQ(word(4), 0x3456 + 512);
    CHECK_EQ(inb(0x81), 0x12);
    teardown();
}

static void test_read(void)
{
    setup();
    device_setup(1, DMA_FROM_MEMORY, 300);
    for (unsigned i = 0; i < 300; i++)
        ram->hva[0x8000 + i] = (u8)(i * 3);
    program(1, 0x48, 0x8000, 1000);
    device.piece = 100; /* several grants */
    dma_request(&device.channel, true);
    CHECK_EQ(device.grants, 3);
    CHECK_EQ(device.tcs, 0);
    CHECK(!memcmp(ram->hva + 0x8000, device.data, 300));
    outb(0xc, 0);
    CHECK_EQ(word(3), 999 - 300);
    teardown();
}

static void test_verify_and_mismatch(void)
{
    setup();
    device_setup(2, DMA_TO_MEMORY, 64);
    program(2, 0x40, 0x1000, 64);
    dma_request(&device.channel, true);
    CHECK_EQ(device.tcs, 1);
    CHECK_EQ(ram->hva[0x1000], 0);
    device_setup(2, DMA_FROM_MEMORY, 64); /* the device reads, the mode says write */
    program(2, 0x44, 0x1000, 64);
    dma_request(&device.channel, true);
    CHECK_EQ(device.data[5], 0xff);
    CHECK_EQ(ram->hva[0x1005], 0);
    teardown();
}

static void test_segment_wrap(void)
{
    setup();
    device_setup(3, DMA_TO_MEMORY, 0x20);
    program(3, 0x44, 0x2fff0, 0x20);
    dma_request(&device.channel, true);
    CHECK(!memcmp(ram->hva + 0x2fff0, device.data, 16));
    CHECK(!memcmp(ram->hva + 0x20000, device.data + 16, 16)); /* not 30000h */
    CHECK_EQ(ram->hva[0x30000], 0);
    teardown();
}

static void test_decrement(void)
{
    setup();
    device_setup(2, DMA_TO_MEMORY, 16);
    program(2, 0x64, 0x5005, 16);
    dma_request(&device.channel, true);
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(ram->hva[0x5005 - i], device.data[i]);
    outb(0xc, 0);
    CHECK_EQ(word(4), 0x4ff5);
    teardown();
}

static void test_words(void)
{
    setup();
    device_setup(5, DMA_TO_MEMORY, 0x100);
    program(5, 0x44, 0x3fffe0, 0x80); /* within a segment of 128 KiB; the page's bit 0 is not used */
    dma_request(&device.channel, true);
    CHECK_EQ(device.tcs, 1);
    CHECK(!memcmp(ram->hva + 0x3fffe0, device.data, 0x20));
    CHECK(!memcmp(ram->hva + 0x3e0000, device.data + 0x20, 0xe0));
    CHECK_EQ(inb(0xd0), 0x02);
    CHECK_EQ(inb(0xd1), 0x00); /* the odd ports are the same registers */
    device_setup(5, DMA_TO_MEMORY, 3);
    program(5, 0x44, 0x1000, 8);
    device_granted(&device);
    CHECK_EQ(device.at, 2); /* whole words only */
    teardown();
}

static void test_autoinit(void)
{
    setup();
    device_setup(2, DMA_TO_MEMORY, 100);
    program(2, 0x54, 0x7000, 60);
    dma_request(&device.channel, true); /* the device stops at TC */
    CHECK_EQ(device.at, 60);
    CHECK_EQ(inb(0xf), 0x0b); /* not masked */
    outb(0xc, 0);
    CHECK_EQ(word(4), 0x7000);
    CHECK_EQ(word(5), 59);
    dma_request(&device.channel, true);
    CHECK_EQ(device.at, 100);
    CHECK(!memcmp(ram->hva + 0x7000, device.data + 60, 40));
    CHECK(!memcmp(ram->hva + 0x7000 + 40, device.data + 40, 20));
    teardown();
}

static void test_masks(void)
{
    setup();
    device_setup(2, DMA_TO_MEMORY, 16);
    program(2, 0x44, 0x6000, 16);
    outb(0xa, 6);
    dma_request(&device.channel, true);
    CHECK_EQ(device.grants, 0);
    CHECK_EQ(inb(8), 0x40); /* the request shows */
    outb(8, 4);             /* disabled */
    outb(0xe, 0);           /* all masks off */
    CHECK_EQ(inb(0xf), 0);
    CHECK_EQ(device.grants, 0);
    outb(0xd4, 4); /* channel 4 masked: the first controller has no bus */
    outb(8, 0);
    CHECK_EQ(device.grants, 0);
    outb(0xd6, 0x00); /* not cascade mode */
    outb(0xd4, 0);
    CHECK_EQ(device.grants, 0);
    outb(0xd6, 0xc0);
    CHECK_EQ(device.at, 16); /* the mode was the last that was missing */
    outb(0xf, 0x5);
    CHECK_EQ(inb(0xf), 5);
    outb(0xda, 0); /* master clear of the second */
    CHECK_EQ(inb(0xde), 0xf);
    CHECK_EQ(inb(0xf), 5);
    teardown();
}

static void test_flipflop(void)
{
    setup();
    outb(0xd, 0);
    outb(0, 0x34);
    outb(1, 0x12); /* the flip-flop is one for all: this is a high byte */
    outb(0xc, 0);
    CHECK_EQ(word(0), 0x0034);
    CHECK_EQ(word(1), 0x1200);
    inb(0);
    outb(0, 0x56);
    outb(0xc, 0);
    CHECK_EQ(word(0), 0x5634);
    teardown();
}

static void test_software_request(void)
{
    setup();
    program(3, 0x84, 0x9000, 32); /* block, write: nobody drives the data bus */
    outb(9, 7);
    CHECK_EQ(ram->hva[0x9000] & ram->hva[0x901f], 0xff);
    CHECK_EQ(ram->hva[0x9020], 0);
    CHECK_EQ(inb(8), 0x08);       /* the request went with TC */
    program(3, 0x44, 0x9100, 32); /* single mode: it waits */
    outb(9, 7);
    CHECK_EQ(ram->hva[0x9100], 0);
    CHECK_EQ(inb(8), 0x80);
    outb(9, 3);
    CHECK_EQ(inb(8), 0);
    teardown();
}

static void test_memory_to_memory(void)
{
    setup();
    for (unsigned i = 0; i < 64; i++)
        ram->hva[0xa000 + i] = (u8)(i + 9);
    outb(8, 1);
    program(0, 0x88, 0xa000, 64);
    program(1, 0x84, 0x1b000, 64);
    outb(9, 4);
    CHECK(!memcmp(ram->hva + 0x1b000, ram->hva + 0xa000, 64));
    CHECK_EQ(inb(0xd), 63 + 9); /* the temporary register has the last byte */
    outb(8, 3);                 /* the source stands still: a fill */
    program(0, 0x88, 0xa004, 64);
    program(1, 0x84, 0x1b000, 32);
    outb(9, 4);
    CHECK_EQ(ram->hva[0x1b000], 13);
    CHECK_EQ(ram->hva[0x1b01f], 13);
    CHECK_EQ(ram->hva[0x1b020], 32 + 9);
    teardown();
}

static unsigned order[2], order_count;
static struct dma_channel order_channel[2];

static void order_granted(void *opaque)
{
    unsigned which = (unsigned)(size_t)opaque;
    u8 byte;
    bool tc;
    order[order_count++ & 1] = which;
    dma_transfer(&order_channel[which], DMA_TO_MEMORY, &byte, 1, &tc);
    dma_request(&order_channel[which], false);
}

static void test_priority(void)
{
    setup();
    order_count = 0;
    for (size_t i = 0; i < 2; i++) {
        struct dma_client client = {order_granted, (void *)i};
        order_channel[i] = dma_connect(dma, i ? 3 : 1, &client);
    }
    for (unsigned rotating = 0; rotating < 2; rotating++) {
        outb(8, 4);
        program(1, 0x44, 0, 100);
        program(3, 0x44, 0, 100);
        dma_request(&order_channel[1], true);
        dma_request(&order_channel[0], true);
        outb(8, (u8)(rotating << 4));
        CHECK_EQ(order[0], 0); /* fixed: 1 before 3; rotating starts as fixed */
        CHECK_EQ(order[1], 1);
    }
    dma_request(&order_channel[0], true); /* 1 was served last: now 3 is before it */
    outb(8, 0x14);
    dma_request(&order_channel[1], true);
    dma_request(&order_channel[0], true);
    outb(8, 0x10);
    CHECK_EQ(order_count, 7);
    CHECK_EQ(order[1], 1);
    CHECK_EQ(order[0], 0);
    teardown();
}

static void test_pages(void)
{
    setup();
    for (unsigned i = 0; i < 16; i++)
        outb((u16)(0x80 + i), (u8)(i * 16 + 1));
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQ(inb((u16)(0x80 + i)), i * 16 + 1);
    teardown();
}

static void test_state(void)
{
    setup();
    device_setup(2, DMA_TO_MEMORY, 600);
    program(2, 0x44, 0x6000, 512);
    outb(0xa, 6);
    dma_request(&device.channel, true);
    outb(4, 0x11); /* half a word */
    struct snapshot s = board_save();
    dma_request(&device.channel, false);
    i8237_reset(dma);
    outb(0x81, 0);
    board_restore(s);
    CHECK_EQ(inb(8), 0x40);
    outb(4, 0x60);
    outb(0xa, 2);
    CHECK_EQ(device.at, 512);
    CHECK_EQ(ram->hva[0x6011], device.data[0]);
    teardown();
}

int main(void)
{
    TAP_RUN(test_write);
    TAP_RUN(test_read);
    TAP_RUN(test_verify_and_mismatch);
    TAP_RUN(test_segment_wrap);
    TAP_RUN(test_decrement);
    TAP_RUN(test_words);
    TAP_RUN(test_autoinit);
    TAP_RUN(test_masks);
    TAP_RUN(test_flipflop);
    TAP_RUN(test_software_request);
    TAP_RUN(test_memory_to_memory);
    TAP_RUN(test_priority);
    TAP_RUN(test_pages);
    TAP_RUN(test_state);
    return tap_done();
}
