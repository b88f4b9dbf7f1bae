/* The flash: Intel's command set, and what of it is plain memory. */
#include "devices/flash/pflash.h"

#include <string.h>

#include "tests/chips.h"

#define BASE 0xffc00000ull
#define SIZE 0x84000ull

static struct pflash *flash;
static struct ram_block *block;
static struct {
    u64 offset, len;
    unsigned calls;
} reported;

static void changed(void *opaque, u64 offset, u64 len)
{
    reported.offset = offset;
    reported.len = len;
    reported.calls++;
}

static void setup(bool readonly)
{
    board_setup();
    reported.calls = 0;
    CHECK(ram_block_create(&block, "flash", SIZE, NULL) == 0);
    memset(block->hva, 0xff, SIZE);
    memcpy(block->hva + 0x1000, "contents", 8);
    struct pflash_config config = {
        .name = "flash", .gpa = BASE, .block = block, .size = SIZE, .readonly = readonly, .changed = changed};
    CHECK(pflash_create(&flash, &board.env, &config, NULL) == 0);
}

static void teardown(void)
{
    pflash_destroy(flash);
    ram_block_destroy(block);
    board_teardown();
}

static u8 get(u64 offset)
{
    return (u8)mem_read(board.mem, BASE + offset, 1);
}

static void put(u64 offset, u8 value)
{
    mem_write(board.mem, BASE + offset, 1, value);
}

static enum mem_kind kind(void)
{
    return mem_lookup(board.mem, BASE).kind;
}

static void test_array(void)
{
    setup(false);
    CHECK_EQ(kind(), MEM_ROM);
    CHECK_EQ(mem_read(board.mem, BASE + 0x1000, 8), 0x73746e65746e6f63);
    put(0x1000, 0x70);
    CHECK_EQ(kind(), MEM_IO);
    CHECK_EQ(get(0x1000), 0x80);
    CHECK_EQ(mem_read(board.mem, BASE + 0x1000, 4), 0x80808080);
    put(0x1000, 0xff);
    CHECK_EQ(kind(), MEM_ROM);
    CHECK_EQ(get(0x1000), 'c');
    CHECK_EQ(reported.calls, 0);
    teardown();
}

/* As OVMF's driver finds out whether there is flash, RAM or ROM. */
static void test_detection(void)
{
    setup(false);
    CHECK(get(0) != 0x50);
    put(0, 0x50);
    CHECK(get(0) != 0x50);
    put(0, 0x70);
    CHECK_EQ(get(0), 0x00);
    put(0, 0xff);
    CHECK_EQ(get(0), 0xff);
    teardown();
}

static void test_program(void)
{
    setup(false);
    put(0x2005, 0x10);
    put(0x2005, 0x5a);
    CHECK_EQ(get(0x2005), 0x80);
    put(0x2006, 0x40);
    put(0x2006, 0xa5);
    CHECK_EQ(reported.calls, 0);
    put(0x2006, 0xff);
    CHECK_EQ(get(0x2005), 0x5a);
    CHECK_EQ(get(0x2006), 0xa5);
    CHECK_EQ(get(0x2007), 0xff);
    CHECK_EQ(reported.calls, 1);
    CHECK_EQ(reported.offset, 0x2005);
    CHECK_EQ(reported.len, 2);
    put(0x2005, 0x40); /* bits can only be cleared */
    put(0x2005, 0xf0);
    put(0x2005, 0xff);
    CHECK_EQ(get(0x2005), 0x50);
    teardown();
}

static void test_erase(void)
{
    setup(false);
    block->hva[0xfff] = block->hva[0x2000] = 1;
    put(0x1234, 0x20);
    put(0x1234, 0xd0);
    CHECK_EQ(get(0), 0x80);
    put(0, 0xff);
    CHECK_EQ(get(0x1000), 0xff);
    CHECK_EQ(get(0xfff), 1);
    CHECK_EQ(get(0x2000), 1);
    CHECK_EQ(reported.offset, 0x1000);
    CHECK_EQ(reported.len, 0x1000);
    put(0x2000, 0x20); /* without the confirmation: a sequence error */
    put(0x2000, 0xff);
    CHECK_EQ(get(0x2000), 0xb0);
    put(0, 0x50);
    CHECK_EQ(get(0x2000), 1);
    teardown();
}

static void test_buffer(void)
{
    setup(false);
    put(0x3010, 0xe8);
    CHECK_EQ(get(0), 0x80);
    put(0x3010, 9); /* ten bytes */
    for (u8 i = 0; i < 10; i++)
        put(0x3010 + i, i);
    put(0x3010, 0xd0);
    CHECK_EQ(get(0), 0x80);
    put(0, 0xff);
    for (u8 i = 0; i < 10; i++)
        CHECK_EQ(get(0x3010 + i), i);
    CHECK_EQ(get(0x301a), 0xff);
    put(0x3000, 0xe8); /* too many */
    put(0x3000, 32);
    CHECK_EQ(get(0), 0xb0);
    put(0, 0x50);
    put(0x3000, 0xe8); /* not confirmed */
    put(0x3000, 0);
    put(0x3000, 0);
    put(0x3000, 0xff);
    CHECK_EQ(get(0) & 0x30, 0x30);
    put(0, 0xff);
    CHECK_EQ(get(0x3000), 0xff);
    put(0x3ff8, 0xe8); /* beyond the block */
    put(0x3ff8, 15);
    for (u8 i = 0; i < 9; i++)
        put(0x3ff8 + i, i);
    CHECK_EQ(get(0) & 0x30, 0x30);
    put(0, 0xff);
    CHECK_EQ(get(0x3ff8), 0xff);
    CHECK_EQ(get(0x4000), 0xff);
    teardown();
}

static void test_identity(void)
{
    setup(false);
    put(0, 0x90);
    CHECK_EQ(get(0), 0x89);
    CHECK_EQ(get(1), 0x18);
    CHECK_EQ(get(2), 0);
    put(0x5000, 0x60);
    put(0x5000, 0x01);
    put(0, 0x90);
    CHECK_EQ(get(0x5002), 1);
    CHECK_EQ(get(0x4002), 0);
    put(0x5000, 0x20); /* locked */
    put(0x5000, 0xd0);
    CHECK_EQ(get(0), 0xa2);
    put(0, 0x50);
    put(0x5000, 0x40);
    put(0x5000, 0);
    CHECK_EQ(get(0), 0x92);
    put(0x5000, 0x60);
    put(0x5000, 0xd0);
    put(0, 0x98);
    CHECK_EQ(get(0x10), 'Q');
    CHECK_EQ(get(0x11), 'R');
    CHECK_EQ(get(0x12), 'Y');
    CHECK_EQ(get(0x13), 1);
    CHECK_EQ(get(0x27), 20);
    CHECK_EQ(get(0x2d) | get(0x2e) << 8, SIZE / 4096 - 1);
    CHECK_EQ((get(0x2f) | get(0x30) << 8) * 256, 4096);
    CHECK_EQ(get(0x31), 'P');
    CHECK_EQ(get(0x1000), 0);
    put(0, 0xff);
    CHECK_EQ(get(0x5000), 0xff);
    teardown();
}

static void test_readonly(void)
{
    setup(true);
    put(0x1000, 0x20);
    put(0x1000, 0xd0);
    CHECK_EQ(get(0), 0xa2);
    put(0x1000, 0x60);
    put(0x1000, 0xd0);
    put(0x1000, 0x40);
    put(0x1000, 0);
    CHECK(get(0) & 0x10);
    put(0x1000, 0xff);
    CHECK_EQ(get(0x1000), 'c');
    CHECK_EQ(reported.calls, 0);
    teardown();
}

static void test_state(void)
{
    setup(false);
    put(0x3010, 0xe8);
    put(0x3010, 1);
    put(0x3010, 7);
    struct snapshot s = board_save();
    pflash_reset(flash);
    CHECK_EQ(kind(), MEM_ROM);
    board_restore(s);
    CHECK_EQ(kind(), MEM_IO);
    put(0x3011, 8);
    put(0x3010, 0xd0);
    put(0, 0xff);
    CHECK_EQ(get(0x3010) | get(0x3011) << 8, 0x807);
    CHECK_EQ(reported.len, SIZE); /* after a load nobody knows what has changed */
    s = board_save();
    for (size_t i = 0; i < MIN(s.len, 200); i++) {
        u8 *copy = malloc(s.len);
        memcpy(copy, s.data, s.len);
        copy[i] ^= 0xff;
        if (state_set_load(board.state, copy, s.len, NULL) == 0) {
            put(SIZE - 1, 0);
            put(SIZE - 1, 0xd0);
            get(SIZE - 1);
        }
        free(copy);
    }
    board_restore(s);
    teardown();
}

static void test_bad_size(void)
{
    board_setup();
    CHECK(ram_block_create(&block, "flash", SIZE, NULL) == 0);
    struct pflash_config config = {.name = "flash", .gpa = BASE, .block = block, .size = 0x1800};
    struct error err = {0};
    CHECK_EQ(pflash_create(&flash, &board.env, &config, &err), -EINVAL);
    CHECK(err.message[0]);
    ram_block_destroy(block);
    board_teardown();
}

int main(void)
{
    TAP_RUN(test_array);
    TAP_RUN(test_detection);
    TAP_RUN(test_program);
    TAP_RUN(test_erase);
    TAP_RUN(test_buffer);
    TAP_RUN(test_identity);
    TAP_RUN(test_readonly);
    TAP_RUN(test_state);
    TAP_RUN(test_bad_size);
    return tap_done();
}
