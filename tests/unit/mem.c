/* The guest-physical map: priorities, dispatch, splitting, dirty bits; the port space; A20. */
#include "mem/mem.h"

#include "tests/tap.h"

static pthread_mutex_t lock;
static struct mem_space *space;
static struct ram_block *ram;

struct probe_dev {
    u64 offset, value;
    unsigned size, reads, writes;
};

static u64 probe_read(void *dev, u64 offset, unsigned size)
{
    struct probe_dev *d = dev;
    d->offset = offset;
    d->size = size;
    d->reads++;
    return 0x8877665544332211ull >> (offset * 8 % 64);
}

static void probe_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct probe_dev *d = dev;
    d->offset = offset;
    d->size = size;
    d->value = value;
    d->writes++;
}

static const struct io_ops probe_ops = {probe_read, probe_write, 4};
static const struct io_ops byte_ops = {probe_read, probe_write, 1};

static struct mem_region ram_low, ram_high;

static void setup(void)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&lock, &attr);
    CHECK(mem_space_create(&space, &lock, NULL, NULL) == 0);
    CHECK(ram_block_create(&ram, "ram", MIB(4), NULL) == 0);
    ram_low = (struct mem_region){.name = "low", .gpa = 0, .size = MIB(2), .kind = MEM_RAM, .block = ram};
    ram_high = (struct mem_region){
        .name = "high", .gpa = GIB(4), .size = MIB(2), .kind = MEM_RAM, .block = ram, .block_offset = MIB(2)};
    mem_map(space, &ram_low);
    mem_map(space, &ram_high);
}

static void teardown(void)
{
    mem_space_destroy(space);
    ram_block_destroy(ram);
}

static void test_ram(void)
{
    setup();
    mem_write(space, 0x1234, 8, 0x1122334455667788ull);
    CHECK_EQ(mem_read(space, 0x1234, 8), 0x1122334455667788ull);
    CHECK_EQ(mem_read(space, 0x1235, 2), 0x6677);
    CHECK_EQ(ram->hva[0x1234], 0x88);
    mem_write(space, GIB(4) + 8, 4, 0xcafe);
    CHECK_EQ(mem_read(space, GIB(4) + 8, 4), 0xcafe);
    CHECK_EQ(ram->hva[MIB(2) + 8], 0xfe);
    CHECK_EQ(mem_read(space, MIB(2), 4), 0xffffffff);
    CHECK_EQ(mem_read(space, MIB(2) - 2, 4), 0xffff0000);
    mem_write(space, MIB(2) - 1, 8, ~0ull);
    CHECK_EQ(mem_read(space, MIB(2) - 1, 1), 0xff);
    CHECK(mem_ram_ptr(space, MIB(2) - 16, 16) == ram->hva + MIB(2) - 16);
    CHECK(!mem_ram_ptr(space, MIB(2) - 16, 17));
    CHECK(!mem_ram_ptr(space, ~0ull, 1));
    CHECK_EQ(mem_read(space, ~0ull, 1), 0xff);
    teardown();
}

static void test_dirty(void)
{
    setup();
    u64 bitmap[MIB(4) / PAGE_SIZE / 64];
    mem_write(space, 0xfff, 2, 0); /* two pages */
    mem_write_bytes(space, 0x5000, "x", 1);
    ram_block_collect_dirty(ram, bitmap);
    CHECK_EQ(bitmap[0], 0x23);
    ram_block_collect_dirty(ram, bitmap);
    CHECK_EQ(bitmap[0], 0);
    mem_mark_dirty(space, 0x2000, 0x1001);
    ram_block_collect_dirty(ram, bitmap);
    CHECK_EQ(bitmap[0], 0xc);
    teardown();
}

static void test_overlay(void)
{
    setup();
    struct probe_dev dev = {0};
    struct mem_region io = {.name = "io",
                            .gpa = 0xa0000,
                            .size = 0x100,
                            .priority = 1,
                            .kind = MEM_IO,
                            .ops = &probe_ops,
                            .dev = &dev};
    mem_write(space, 0xa0000, 4, 0x5a5a5a5a);
    mem_map(space, &io);
    CHECK_EQ(mem_lookup(space, 0xa0800).kind, MEM_IO); /* partly I/O: the whole page is */
    CHECK_EQ(mem_lookup(space, 0x9f000).kind, MEM_RAM);
    CHECK_EQ(mem_read(space, 0xa0000, 4), 0x44332211);
    CHECK_EQ(mem_read(space, 0xa0100, 4), 0); /* RAM again behind it */
    mem_write(space, 0xa0010, 2, 0x1234);
    CHECK_EQ(dev.offset, 0x10);
    CHECK_EQ(dev.size, 2);
    CHECK_EQ(dev.value, 0x1234);
    dev.reads = 0;
    CHECK_EQ(mem_read(space, 0xa0000, 8), 0x8877665544332211ull); /* two of four bytes */
    CHECK_EQ(dev.reads, 2);
    mem_unmap(space, &io);
    CHECK_EQ(mem_read(space, 0xa0000, 4), 0x5a5a5a5a);

    struct mem_region rom = {.name = "rom",
                             .gpa = 0xf0000,
                             .size = 0x10000,
                             .priority = 1,
                             .kind = MEM_ROM,
                             .block = ram,
                             .block_offset = MIB(3)};
    mem_map(space, &rom);
    mem_write(space, 0xf0000, 1, 0x77);
    CHECK_EQ(mem_read(space, 0xf0000, 1), 0);
    CHECK(!mem_ram_ptr(space, 0xf0000, 1));
    CHECK_EQ(mem_lookup(space, 0xf0000).kind, MEM_ROM);
    teardown();
}

static unsigned changes;

static void count_change(void *opaque)
{
    changes++;
}

static void test_listener(void)
{
    setup();
    struct mem_listener l = {.changed = count_change};
    changes = 0;
    mem_listener_add(space, &l);
    struct mem_region a = {.name = "a", .gpa = GIB(1), .size = PAGE_SIZE, .kind = MEM_IO, .ops = &probe_ops};
    struct mem_region b = {.name = "b", .gpa = GIB(2), .size = PAGE_SIZE, .kind = MEM_IO, .ops = &probe_ops};
    mem_map_begin(space);
    mem_map(space, &a);
    mem_map(space, &b);
    CHECK_EQ(changes, 0);
    mem_map_commit(space);
    CHECK_EQ(changes, 1);
    mem_set_a20(space, true); /* no change */
    CHECK_EQ(changes, 1);
    mem_set_a20(space, false);
    CHECK_EQ(changes, 2);
    CHECK_EQ(mem_a20_mask(space), ~(1ull << 20));
    teardown();
}

static void test_ports(void)
{
    setup();
    struct probe_dev low = {0}, high = {0};
    struct port_region wide = {.name = "wide", .base = 0x100, .count = 16, .ops = &probe_ops, .dev = &low};
    struct port_region over = {.name = "over", .base = 0x104, .count = 1, .ops = &byte_ops, .dev = &high};
    CHECK_EQ(port_read(space, 0x100, 2), 0xffff);
    port_map(space, &wide);
    port_map(space, &over);
    port_write(space, 0x104, 1, 7);
    CHECK_EQ(high.value, 7);
    CHECK_EQ(high.offset, 0);
    CHECK_EQ(low.writes, 0);
    port_write(space, 0x104, 2, 0x0809); /* leaves the one-byte region: bytes */
    CHECK_EQ(high.value, 9);
    CHECK_EQ(low.value, 8);
    CHECK_EQ(low.offset, 5);
    port_unmap(space, &over);
    port_write(space, 0x104, 4, 0xabcdef01);
    CHECK_EQ(low.value, 0xabcdef01);
    CHECK_EQ(low.offset, 4);
    port_unmap(space, &wide);
    CHECK_EQ(port_read(space, 0x104, 1), 0xff);
    struct port_region last = {.name = "last", .base = 0xffff, .count = 1, .ops = &byte_ops, .dev = &high};
    port_map(space, &last);
    CHECK_EQ(port_read(space, 0xffff, 4) & 0xff, 0x11); /* wraps, as the 16-bit port number does */
    teardown();
}

int main(void)
{
    TAP_RUN(test_ram);
    TAP_RUN(test_dirty);
    TAP_RUN(test_overlay);
    TAP_RUN(test_listener);
    TAP_RUN(test_ports);
    return tap_done();
}
