/* vmdk and vdi images made by hand, and what is refused of them. tests/block/crosscheck reads those of QEMU.
 */
#include <unistd.h>

#include "base/bytes.h"
#include "block/block.h"
#include "tests/block/mem_store.h"
#include "tests/tap.h"

static const struct block_options readonly = {.readonly = true};

/* A vmdk of 64 KiB: grains of 4 KiB, a directory with one table of 16 entries, grain 2 filled with 7. */
static struct mem_store *vmdk_make(void)
{
    struct mem_store *m = mem_store_create(NULL, 8 * 4096);
    u8 *h = m->data;
    memset(h, 0, m->size);
    memcpy(h, "KDMV", 4);
    store_le32(h + 4, 1);
    store_le32(h + 8, 1);
    store_le64(h + 12, 128);
    store_le64(h + 20, 8);
    store_le32(h + 44, 16);
    store_le64(h + 56, 8);
    memcpy(h + 73, "\n \r\n", 4);
    store_le32(h + 8 * 512, 16);          /* the directory */
    store_le32(h + 16 * 512 + 2 * 4, 24); /* the table */
    memset(h + 24 * 512, 7, 4096);
    return m;
}

/* A vdi of 3.5 blocks of 4 KiB; blocks 0 and 2 are in places 1 and 0. */
static struct mem_store *vdi_make(void)
{
    struct mem_store *m = mem_store_create(NULL, 1024 + 2 * 4096);
    u8 *h = m->data;
    memset(h, 0, m->size);
    store_le32(h + 64, 0xbeda107f);
    store_le32(h + 68, 0x10001);
    store_le32(h + 76, 1);
    store_le32(h + 340, 512);
    store_le32(h + 344, 1024);
    store_le32(h + 360, 512);
    store_le64(h + 368, 4096 * 3 + 2048);
    store_le32(h + 376, 4096);
    store_le32(h + 384, 4);
    store_le32(h + 512, 1);
    store_le32(h + 516, ~0u);
    store_le32(h + 520, 0);
    store_le32(h + 524, ~1u);
    memset(h + 1024, 2, 4096);
    memset(h + 1024 + 4096, 1, 4096);
    return m;
}

static u8 byte_at(struct block *b, u64 at)
{
    u8 byte = 0xee;
    CHECK_EQ(block_read(b, at, &byte, 1, NULL), 0);
    return byte;
}

static void test_vmdk_grains(void)
{
    struct block *b;
    struct block_extent e;
    CHECK_EQ(block_open_store(&b, &vmdk_make()->store, "image", &readonly, NULL), 0);
    CHECK_STR(b->ops->name, "vmdk");
    CHECK_EQ(b->size, 65536);
    CHECK_EQ(byte_at(b, 8191), 0);
    CHECK_EQ(byte_at(b, 8192), 7);
    CHECK_EQ(byte_at(b, 12287), 7);
    CHECK_EQ(byte_at(b, 12288), 0);
    CHECK_EQ(block_map(b, 8192 + 100, 30000, &e, NULL), 0);
    CHECK(e.status == BLOCK_DATA && e.length == 3996 && e.host_offset == 24 * 512 + 100);
    CHECK_EQ(block_map(b, 0, 30000, &e, NULL), 0);
    CHECK(e.status == BLOCK_UNALLOCATED && e.length == 8192);
    CHECK_EQ(block_write(b, 0, "x", 1, NULL), -EROFS);
    block_close(b, NULL);
}

static void test_vdi_blocks(void)
{
    struct block *b;
    struct block_extent e;
    CHECK_EQ(block_open_store(&b, &vdi_make()->store, "image", &readonly, NULL), 0);
    CHECK_STR(b->ops->name, "vdi");
    CHECK_EQ(b->size, 4096 * 3 + 2048);
    CHECK_EQ(byte_at(b, 4095), 1);
    CHECK_EQ(byte_at(b, 4096), 0);
    CHECK_EQ(byte_at(b, 8192), 2);
    CHECK_EQ(byte_at(b, 4096 * 3), 0);
    CHECK_EQ(block_map(b, 1, 5000, &e, NULL), 0);
    CHECK(e.status == BLOCK_DATA && e.length == 4095 && e.host_offset == 1024 + 4096 + 1);
    block_close(b, NULL);
}

static void test_only_for_reading(void)
{
    struct error err = {0};
    struct block *b;
    CHECK_EQ(block_open_store(&b, &vmdk_make()->store, "image", &(struct block_options){0}, &err), -EROFS);
    CHECK(strstr(err.message, "convert") != NULL);
    CHECK_EQ(block_open_store(&b, &vdi_make()->store, "image", &(struct block_options){0}, &err), -EROFS);
}

struct change {
    u64 at, value;
    unsigned bytes;
    const char *says;
};

/* Opens and reads the image with one field changed. */
static void refused(struct mem_store *m, const char *format, const struct change *c)
{
    static u8 buf[65536];
    struct block_options options = {.readonly = true, .format = format};
    struct error err = {0};
    struct block *b;
    store_le(m->data + c->at, c->bytes, c->value);
    int r = block_open_store(&b, &m->store, "image", &options, &err);
    if (r == 0) {
        r = block_read(b, 0, buf, b->size, &err);
        block_close(b, NULL);
    }
    if (r == 0 || !strstr(err.message, c->says))
        printf("# %s + %llu: %d, '%s'\n", format, (unsigned long long)c->at, r, err.message);
    CHECK(r < 0 && strstr(err.message, c->says));
}

static void test_hostile_vmdk(void)
{
    static const struct change cases[] = {
        {0, 0, 4, "neither"},
        {4, 4, 4, "version 4"},
        {8, 1u << 5, 4, "unknown vmdk flags"},
        {8, 1u << 16, 4, "unknown method"},
        {12, 0, 8, "0 sectors"},
        {12, ~0ull, 8, "not possible"},
        {12, 1ull << 50, 8, "past the end"},
        {20, 0, 8, "0 sectors"},
        {20, 3, 8, "3 sectors"},
        {20, 1ull << 40, 8, "not possible"},
        {44, 0, 4, "0 entries"},
        {44, 1u << 31, 4, "not possible"},
        {56, 1ull << 60, 8, "past the end"},
        {56, ~0ull, 8, "no footer"},
        {73, 'x', 1, "copied as text"},
        {8 * 512, 1u << 30, 4, "grain table 0"},
        {16 * 512, 1u << 30, 4, "past the end"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(vmdk_make(), "vmdk", &cases[i]);
}

static void test_hostile_vdi(void)
{
    static const struct change cases[] = {
        {64, 0, 4, "no vdi image"},
        {68, 0x20000, 4, "version 2.0"},
        {76, 4, 4, "type 4"},
        {340, 5, 4, "misaligned"},
        {340, 1u << 31, 4, "past the end"},
        {344, 7, 4, "misaligned"},
        {360, 4096, 4, "sectors of 4096"},
        {368, ~0ull, 8, "does not fit"},
        {376, 0, 4, "not possible"},
        {376, 4097, 4, "not possible"},
        {380, 1u << 31, 4, "not possible"},
        {384, ~0u, 4, "past the end"},
        {384, 2, 4, "does not fit"},
        {440, 1, 1, "difference"},
        {512, 0x12345, 4, "past the end"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(vdi_make(), "vdi", &cases[i]);
}

static int descriptor_open(const char *text, struct error *err)
{
    struct mem_store *m = mem_store_create(text, strlen(text));
    struct block *b;
    int r = block_open_store(&b, &m->store, "/nowhere/image", &readonly, err);
    if (r == 0)
        block_close(b, NULL);
    return r;
}

static void test_descriptors(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"# Disk DescriptorFile\n", "names no extent"},
        {"# Disk DescriptorFile\nRW 8 FLAT \"/etc/passwd\" 0\n", "own directory"},
        {"# Disk DescriptorFile\nRW 8 FLAT \"../x\" 0\n", "own directory"},
        {"# Disk DescriptorFile\nRW 8 FLAT \"\" 0\n", "own directory"},
        {"# Disk DescriptorFile\nRW 8 FLAT \"x\" 0\n", "No such file"},
        {"# Disk DescriptorFile\nRW 0 ZERO\n", "not possible"},
        {"# Disk DescriptorFile\nRW 18446744073709551615 ZERO\n", "not possible"},
        {"# Disk DescriptorFile\nRW 9223372036854775 ZERO\nRW 9223372036854775 ZERO\n"
         "RW 9223372036854775 ZERO\nRW 18014398509481983 ZERO\n",
         "not possible"},
        {"# Disk DescriptorFile\nNOACCESS 8 ZERO\n", "without access"},
        {"# Disk DescriptorFile\nRW 8 SESPARSE \"x\"\n", "SESPARSE"},
        {"# Disk DescriptorFile\nparentCID=1234\nRW 8 ZERO\n", "does not name"},
        {"# Disk DescriptorFile\nparentCID=1234\nRW 8 ZERO\nparentFileNameHint=\"p\"\n", "No such file"},
    };
    struct error err = {0};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int r = descriptor_open(cases[i].text, &err);
        if (r == 0 || !strstr(err.message, cases[i].says))
            printf("# %s: %d, '%s'\n", cases[i].text, r, err.message);
        CHECK(r < 0 && strstr(err.message, cases[i].says));
    }
    CHECK_EQ(descriptor_open("# Disk DescriptorFile\r\nparentCID=ffffffff\r\n  RW 8 ZERO\r\nRW 9 ZERO", &err),
             0);
}

/* A guest cannot make its guessed raw disk a vmdk of other files. */
static void test_guessed_raw_gets_no_descriptor(void)
{
    struct mem_store *m = mem_store_create(NULL, 0);
    struct error err = {0};
    struct block *b;
    CHECK_EQ(m->store.ops->truncate(&m->store, 65536, NULL), 0);
    CHECK_EQ(block_open_store(&b, &m->store, "image", &(struct block_options){0}, NULL), 0);
    CHECK_EQ(block_write(b, 0, "# Disk DescriptorFile\n", 22, &err), -EPERM);
    CHECK_EQ(block_write(b, 0, "KDMV", 4, &err), -EPERM);
    CHECK_EQ(block_write(b, 64, "\x7f\x10\xda\xbe    ", 8, &err), -EPERM);
    block_close(b, NULL);
}

int main(void)
{
    TAP_RUN(test_vmdk_grains);
    TAP_RUN(test_vdi_blocks);
    TAP_RUN(test_only_for_reading);
    TAP_RUN(test_hostile_vmdk);
    TAP_RUN(test_hostile_vdi);
    TAP_RUN(test_descriptors);
    TAP_RUN(test_guessed_raw_gets_no_descriptor);
    return tap_done();
}
