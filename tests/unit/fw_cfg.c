/* The firmware configuration device: items byte by byte, files, DMA. */
#include "device_fixture.h"
#include "base/bytes.h"
#include "devices/fwcfg/fw_cfg.h"

struct rig {
    struct fixture f;
    struct fw_cfg *fw;
    struct ram_block *ram;
    struct mem_region region;
};

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    CHECK(ram_block_create(&r->ram, "ram", MIB(1), NULL) == 0);
    r->region = (struct mem_region){.name = "ram", .size = MIB(1), .kind = MEM_RAM, .block = r->ram};
    mem_map(r->f.mem, &r->region);
    CHECK(fw_cfg_create(&r->fw, &r->f.env, NULL) == 0);
}

static void rig_finish(struct rig *r)
{
    fw_cfg_destroy(r->fw);
    fixture_finish(&r->f);
    ram_block_destroy(r->ram);
}

static u64 item(struct rig *r, u16 key, unsigned size)
{
    u64 v = 0;
    port_write(r->f.mem, 0x510, 2, key);
    for (unsigned i = 0; i < size; i++)
        v |= port_read(r->f.mem, 0x511, 1) << (8 * i);
    return v;
}

static void test_items(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(item(&r, FW_CFG_SIGNATURE, 4), 0x554d4551); /* "QEMU" */
    CHECK_EQ(item(&r, FW_CFG_ID, 4), 3);
    CHECK(fw_cfg_set_int(r.fw, FW_CFG_NB_CPUS, 4, 2) == 0);
    CHECK_EQ(item(&r, FW_CFG_NB_CPUS, 2), 4);
    CHECK_EQ(item(&r, FW_CFG_NB_CPUS, 8), 4); /* zeros follow */
    CHECK_EQ(item(&r, 0x7f, 4), 0);
    CHECK_EQ(item(&r, 0x3fff, 4), 0);
    CHECK_EQ(item(&r, 0x8000, 4), 0);
    CHECK_EQ(fw_cfg_set_int(r.fw, 0x80, 1, 1), -ENOSPC);
    port_write(r.f.mem, 0x510, 1, FW_CFG_ID); /* not a selection */
    CHECK_EQ(port_read(r.f.mem, 0x510, 2), 0x8000);
    rig_finish(&r);
}

static void count_up(void *opaque, u16 key)
{
    struct rig *r = opaque;
    static u8 calls; /* of one test */
    if (key == fw_cfg_find_file(r->fw, "two"))
        CHECK(fw_cfg_set_int(r->fw, key, ++calls, 1) == 0);
}

/* Contents that are made when somebody looks. */
static void test_select(void)
{
    struct rig r;
    rig_init(&r);
    CHECK_EQ(fw_cfg_find_file(r.fw, "one"), 0);
    CHECK(fw_cfg_add_file(r.fw, "one", "a", 1) == 0);
    CHECK(fw_cfg_add_file(r.fw, "two", "b", 1) == 0);
    u16 key = fw_cfg_find_file(r.fw, "two");
    CHECK_EQ(key, fw_cfg_find_file(r.fw, "one") + 1);
    CHECK_EQ(item(&r, key, 1), 'b');
    fw_cfg_on_select(r.fw, count_up, &r);
    CHECK_EQ(item(&r, key, 1), 1);
    CHECK_EQ(item(&r, key - 1u, 1), 'a');
    CHECK_EQ(item(&r, key, 2), 2);
    rig_finish(&r);
}

static void test_files(void)
{
    struct rig r;
    char name[] = "a-name-that-is-too-long-for-a-file-of-this-device-by-one";
    rig_init(&r);
    CHECK(fw_cfg_add_file(r.fw, "etc/one", "first", 5) == 0);
    CHECK(fw_cfg_add_file(r.fw, "etc/two", "second", 6) == 0);
    CHECK_EQ(fw_cfg_add_file(r.fw, name, "", 0), -ENOSPC);
    CHECK_EQ(item(&r, FW_CFG_FILE_DIR, 4), 0x02000000);
    CHECK_EQ(item(&r, FW_CFG_FILE_DIR, 8) >> 32, 0x05000000);
    CHECK_EQ(item(&r, 0x21, 6), 0x646e6f636573); /* "second" */
    int rc = 0;
    for (unsigned i = 0; i < 200 && rc == 0; i++) {
        snprintf(name, sizeof name, "file%u", i);
        rc = fw_cfg_add_file(r.fw, name, "", 0);
    }
    CHECK_EQ(rc, -ENOSPC);
    rig_finish(&r);
}

static u32 dma(struct rig *r, u32 control, u32 len, u64 address)
{
    mem_write(r->f.mem, 0x1000, 4, __builtin_bswap32(control));
    mem_write(r->f.mem, 0x1004, 4, __builtin_bswap32(len));
    mem_write(r->f.mem, 0x1008, 8, __builtin_bswap64(address));
    port_write(r->f.mem, 0x514, 4, 0);
    port_write(r->f.mem, 0x518, 4, __builtin_bswap32(0x1000));
    return __builtin_bswap32((u32)mem_read(r->f.mem, 0x1000, 4));
}

static void test_dma(void)
{
    struct rig r;
    rig_init(&r);
    CHECK(fw_cfg_add_file(r.fw, "f", "0123456789", 10) == 0);
    CHECK_EQ(port_read(r.f.mem, 0x514, 4), 0x554d4551);
    mem_write(r.f.mem, 0x2000, 8, ~0ull);
    CHECK_EQ(dma(&r, 0x20 << 16 | 8 | 2, 4, 0x2000), 0);
    CHECK_EQ(mem_read(r.f.mem, 0x2000, 8), 0xffffffff33323130);
    CHECK_EQ(dma(&r, 4, 3, 0), 0);
    CHECK_EQ(dma(&r, 2, 8, 0x2000), 0); /* goes on, and beyond the end: zeros */
    CHECK_EQ(mem_read(r.f.mem, 0x2000, 8), 0x393837);
    CHECK_EQ(dma(&r, 4, 0x1000, 0), 0);
    CHECK_EQ(dma(&r, 2, 0xffffffff, 0x2000), 1); /* longer than the machine lock may be held */
    CHECK_EQ(dma(&r, 16, 4, 0x2000), 1);         /* no writing */
    CHECK_EQ(dma(&r, 0x20 << 16 | 8 | 2, 0x2000, MIB(1) - 2), 0); /* runs out of RAM */
    CHECK_EQ(mem_read(r.f.mem, MIB(1) - 2, 2), 0x3130);
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
    item(&a, FW_CFG_SIGNATURE, 2);
    CHECK(state_set_save(a.f.state, &buf, &len, &err) == 0);
    CHECK(state_set_load(b.f.state, buf, len, &err) == 0);
    CHECK_EQ(port_read(b.f.mem, 0x511, 1), 'M');
    free(buf);
    rig_finish(&a);
    rig_finish(&b);
}

int main(void)
{
    TAP_RUN(test_items);
    TAP_RUN(test_files);
    TAP_RUN(test_select);
    TAP_RUN(test_dma);
    TAP_RUN(test_saved_state);
    return tap_done();
}
