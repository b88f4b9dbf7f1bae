/* Bochs VBE, the PCI function with its BARs, and saved state. */
#include "vga_rig.h"

#include <stdlib.h>
#include <unistd.h>

enum { ID, XRES, YRES, BPP, ENABLE, BANK, VIRT_WIDTH, VIRT_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY_64K };

static void vbe_mode(u16 width, u16 height, u16 bpp, u16 flags)
{
    vbe(ENABLE, 0);
    vbe(XRES, width);
    vbe(YRES, height);
    vbe(BPP, bpp);
    vbe(ENABLE, 1 | flags);
    in(0x3da);
    out(0x3c0, 0x20);
}

static u32 cfg(unsigned reg)
{
    return pci_config_read(bus, 2, 0, reg, 4);
}

static void cfg_write(unsigned reg, u32 v)
{
    pci_config_write(bus, 2, 0, reg, 4, v);
}

#define LFB  0xe0000000u
#define MMIO 0xe1000000u

static void bars_init(void)
{
    rig_init();
    out(0x3c2, 1);
    cfg_write(0x10, LFB);
    cfg_write(0x18, MMIO);
    cfg_write(0x04, 2);
}

static void test_function(void)
{
    bars_init();
    CHECK_EQ(cfg(0), 0x11111234);
    CHECK_EQ(cfg(8), 0x03000002);
    CHECK_EQ(cfg(0x10), LFB | 8); /* prefetchable */
    CHECK_EQ(cfg(0x18), MMIO);
    CHECK_EQ(cfg(0x30), 0); /* no ROM was given */
    cfg_write(0x10, 0xffffffff);
    CHECK_EQ(cfg(0x10), 0xff000008); /* 16 MiB */
    rig_finish();
}

static void test_rom(void)
{
    char path[] = "/tmp/ring3-vga-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "\x55\xaa\x4e", 3) == 3 && ftruncate(fd, 39936) == 0);
    close(fd);
    rig_init();
    struct vga *second;
    struct vga_config config = {.display = display, .bus = bus, .slot = 3, .rom = path};
    CHECK_EQ(vga_create(&second, &f.env, &config, NULL), 0);
    pci_config_write(bus, 3, 0, 0x30, 4, 0xfffffffe);
    CHECK_EQ(pci_config_read(bus, 3, 0, 0x30, 4), 0xffff0000);
    pci_config_write(bus, 3, 0, 0x30, 4, 0xe2000001);
    pci_config_write(bus, 3, 0, 0x04, 2, 2);
    CHECK_EQ(mem_read(f.mem, 0xe2000000, 4), 0x004eaa55);
    vga_destroy(second);
    struct error err = {0};
    config.rom = "/nonexistent/rom";
    CHECK_EQ(vga_create(&second, &f.env, &config, &err), -ENOENT);
    CHECK(strstr(err.message, "/nonexistent/rom") != NULL);
    unlink(path);
    rig_finish();
}

static void test_identification(void)
{
    rig_init();
    CHECK_EQ(vbe_read(ID), 0xb0c5);
    for (u16 id = 0xb0c0; id <= 0xb0c5; id++) {
        vbe(ID, id);
        CHECK_EQ(vbe_read(ID), id);
    }
    vbe(ID, 0xb0c6);
    vbe(ID, 0x1234);
    CHECK_EQ(vbe_read(ID), 0xb0c5);
    CHECK_EQ(vbe_read(MEMORY_64K), 256);
    vbe(XRES, 640);
    vbe(ENABLE, 2); /* what can be had */
    CHECK_EQ(vbe_read(XRES), DISPLAY_MAX_WIDTH);
    CHECK_EQ(vbe_read(YRES), DISPLAY_MAX_HEIGHT);
    CHECK_EQ(vbe_read(BPP), 32);
    vbe(ENABLE, 0);
    CHECK_EQ(vbe_read(XRES), 640);
    CHECK_EQ(vbe_read(0x0b), 0);
    rig_finish();
}

static void test_modes(void)
{
    bars_init();
    dac_ramp();
    vbe_mode(1024, 768, 32, 0x40);
    CHECK_EQ(vbe_read(VIRT_WIDTH), 1024);
    CHECK_EQ(vbe_read(VIRT_HEIGHT), 4096);
    mem_write(f.mem, LFB + 4096 * 767 + 4 * 1023, 4, 0xff123456);
    look();
    check_size(1024, 768);
    CHECK_EQ(pixel(1023, 767), 0x123456);
    CHECK_EQ(pixel(1022, 767), 0);
    vbe_mode(800, 600, 24, 0x40);
    mem_write_bytes(f.mem, LFB + 2400 * 10 + 3 * 799, "\x01\x02\x03\x04", 4);
    look();
    check_size(800, 600);
    CHECK_EQ(pixel(799, 10), 0x030201);
    CHECK_EQ(pixel(0, 11), 0x000004);
    vbe_mode(640, 480, 16, 0x40);
    mem_write(f.mem, LFB, 8, 0xffff001f07e0f800);
    look();
    CHECK_EQ(pixel(0, 0), 0xff0000);
    CHECK_EQ(pixel(1, 0), 0x00ff00);
    CHECK_EQ(pixel(2, 0), 0x0000ff);
    CHECK_EQ(pixel(3, 0), 0xffffff);
    vbe_mode(640, 480, 15, 0x40);
    mem_write(f.mem, LFB + 1280 * 479, 8, 0x4210001f03e07c00);
    look();
    CHECK_EQ(pixel(0, 479), 0xff0000);
    CHECK_EQ(pixel(1, 479), 0x00ff00);
    CHECK_EQ(pixel(2, 479), 0x0000ff);
    CHECK_EQ(pixel(3, 479), 0x848484);
    vbe_mode(320, 200, 8, 0x40);
    mem_write(f.mem, LFB + 320 * 199 + 316, 4, 0x80402010);
    look();
    check_size(320, 200);
    for (u32 i = 0; i < 4; i++)
        CHECK_EQ(pixel(316 + i, 199), color_of(0x10u << i));
    /* 16 colours, by the window and its planes. */
    set_mode(MODE_12);
    vbe_mode(800, 600, 4, 0);
    for (u8 p = 0; p < 4; p++) {
        sr(2, (u8)(1 << p));
        mem8(0xa0000 + 100 * 599 + 99, (u8)(0x0f >> p));
    }
    look();
    check_size(800, 600);
    static const u8 want[] = {0, 0, 0, 0, 1, 3, 7, 0x3f};
    for (u32 x = 0; x < 8; x++)
        CHECK_EQ(pixel(792 + x, 599), color_of(want[x]));
    /* Off: what was there before. */
    vbe(ENABLE, 0);
    set_mode(MODE_03);
    look();
    check_size(720, 400);
    rig_finish();
}

static void test_clearing(void)
{
    bars_init();
    mem_write(f.mem, LFB + 0x1000, 4, 0x11223344);
    vbe_mode(640, 480, 32, 0x80);
    CHECK_EQ(mem_read(f.mem, LFB + 0x1000, 4), 0x11223344);
    mem_write(f.mem, LFB + 640 * 480 * 4, 4, 0x55667788);
    vbe_mode(640, 480, 32, 0);
    CHECK_EQ(mem_read(f.mem, LFB + 0x1000, 4), 0);
    CHECK_EQ(mem_read(f.mem, LFB + 640 * 480 * 4, 4), 0x55667788); /* not shown: kept */
    vbe(ENABLE, 1);                                                /* it is on: nothing is cleared */
    CHECK_EQ(mem_read(f.mem, LFB + 640 * 480 * 4, 4), 0x55667788);
    rig_finish();
}

static void test_banks(void)
{
    bars_init();
    vbe_mode(1024, 768, 32, 0);
    CHECK(mem_lookup(f.mem, 0xaf000).kind == MEM_RAM);
    vbe(BANK, 3);
    mem_write(f.mem, 0xa0008, 4, 0xabcdef);
    CHECK_EQ(mem_read(f.mem, LFB + 0x30008, 4), 0xabcdef);
    vbe(BANK, 256 + 5);
    CHECK_EQ(vbe_read(BANK), 5);
    mem_write(f.mem, 0xaffff, 1, 0x77);
    CHECK_EQ(mem_read(f.mem, LFB + 0x5ffff, 1), 0x77);
    look();
    CHECK_EQ(pixel(2, 48), 0xabcdef);
    rig_finish();
}

static void test_geometry(void)
{
    bars_init();
    vbe_mode(800, 600, 32, 0x40);
    vbe(VIRT_WIDTH, 1024);
    CHECK_EQ(vbe_read(VIRT_WIDTH), 1024);
    CHECK_EQ(vbe_read(VIRT_HEIGHT), 4096);
    vbe(X_OFFSET, 10);
    vbe(Y_OFFSET, 1000);
    mem_write(f.mem, LFB + (1000 * 1024 + 10) * 4, 4, 0x010203);
    mem_write(f.mem, LFB + ((1000 + 599) * 1024 + 809) * 4, 4, 0x040506);
    look();
    CHECK_EQ(pixel(0, 0), 0x010203);
    CHECK_EQ(pixel(799, 599), 0x040506);
    /* A picture that would not lie in the memory is moved into it; sizes are kept possible. */
    vbe(Y_OFFSET, 4000);
    CHECK_EQ(vbe_read(Y_OFFSET), 0);
    vbe(VIRT_WIDTH, 100);
    CHECK_EQ(vbe_read(VIRT_WIDTH), 800);
    vbe_mode(0xffff, 0xffff, 32, 0x40);
    CHECK_EQ(vbe_read(XRES), 4096);
    CHECK_EQ(vbe_read(YRES), 1024); /* 16 MiB */
    look();
    check_size(4096, 1024);
    vbe_mode(0, 0, 7, 0x40);
    CHECK_EQ(vbe_read(XRES), 8);
    CHECK_EQ(vbe_read(YRES), 1);
    CHECK_EQ(vbe_read(BPP), 8);
    vbe_mode(1366, 768, 16, 0x40); /* multiples of eight */
    CHECK_EQ(vbe_read(XRES), 1360);
    rig_finish();
}

static void test_wide_dac(void)
{
    bars_init();
    vbe_mode(640, 480, 8, 0x60);
    dac(1, 0x8091a2);
    mem_write(f.mem, LFB, 1, 1);
    look();
    CHECK_EQ(pixel(0, 0), 0x8091a2);
    vbe_mode(640, 480, 8, 0xc0); /* six bits; kept */
    look();
    CHECK_EQ(pixel(0, 0), six(0) << 16 | six(0x11) << 8 | six(0x22));
    rig_finish();
}

static void test_lfb_damage(void)
{
    bars_init();
    vbe_mode(1024, 768, 32, 0x40);
    look();
    look();
    CHECK_EQ(seen.damages, 0);
    mem_write(f.mem, LFB + 4096 * 300 + 4 * 20, 8, 0x0000000200000001);
    mem_write(f.mem, LFB + 4096 * 301 + 4 * 30, 4, 3);
    look();
    CHECK_EQ(seen.damages, 1);
    CHECK_EQ(seen.rect.x, 20);
    CHECK_EQ(seen.rect.y, 300);
    CHECK_EQ(seen.rect.w, 11);
    CHECK_EQ(seen.rect.h, 2);
    /* A processor that has not noticed that the log was collected: no new mark, and still painted. */
    u8 *hva = mem_ram_ptr(f.mem, LFB + 4096 * 300, 4);
    hva[0] = 0x55;
    look();
    CHECK_EQ(pixel(0, 300), 0x55);
    rig_finish();
}

static void test_posted_linear(void)
{
    struct vga_linear linear;
    bars_init();
    vga_post(vga);
    mem_write(f.mem, LFB + 1600, 4, 0xffffffff);
    CHECK(!vga_post_linear(vga, 800, 600, 12, &linear));
    CHECK(!vga_post_linear(vga, 8192, 600, 16, &linear));
    look();
    check_size(720, 400);
    CHECK(vga_post_linear(vga, 800, 600, 16, &linear));
    CHECK_EQ(linear.base, LFB);
    CHECK_EQ(linear.pitch, 1600);
    CHECK_EQ(mem_read(f.mem, LFB + 1600, 4), 0);
    mem_write(f.mem, linear.base, 2, 0xf800);
    look();
    check_size(800, 600);
    CHECK_EQ(pixel(0, 0), 0xff0000);
    rig_finish();
}

static void test_mmio(void)
{
    bars_init();
    CHECK_EQ(mem_read(f.mem, MMIO + 0x600, 4), 8);
    CHECK_EQ(mem_read(f.mem, MMIO + 0x604, 4), 0x1e1e1e1e);
    CHECK_EQ(mem_read(f.mem, MMIO + 0x500, 2), 0xb0c5);
    CHECK_EQ(mem_read(f.mem, MMIO + 0x514, 2), 256);
    mem_write(f.mem, MMIO + 0x502, 2, 640);
    mem_write(f.mem, MMIO + 0x504, 2, 480);
    mem_write(f.mem, MMIO + 0x506, 2, 32);
    mem_write(f.mem, MMIO + 0x508, 2, 0x41);
    mem_write(f.mem, MMIO + 0x400, 1, 0x20); /* 3C0h: palette on */
    look();
    check_size(640, 480);
    mem_write(f.mem, MMIO + 0x40e, 2, 0x5a08); /* 3CEh, 3CFh */
    CHECK_EQ(indexed_read(0x3ce, 8), 0x5a);
    CHECK_EQ(mem_read(f.mem, MMIO + 0x40f, 1), 0x5a);
    CHECK_EQ(mem_read(f.mem, MMIO, 1), 0xff);
    rig_finish();
}

/* --- saved state --- */

static void test_saved_state(void)
{
    u8 *buf;
    size_t len;
    bars_init();
    set_mode(MODE_13);
    dac_ramp();
    mem8(0xa0000, 77);
    out(0x3c8, 5);
    out(0x3c9, 1); /* in the middle of a colour */
    CHECK_EQ(state_set_save(f.state, &buf, &len, NULL), 0);
    vbe_mode(1024, 768, 32, 0x40);
    dac(77, 0);
    look();
    CHECK_EQ(state_set_load(f.state, buf, len, NULL), 0);
    look();
    check_size(640, 400);
    CHECK_EQ(pixel(0, 0), color_of(77));
    CHECK_EQ(vbe_read(ENABLE), 0);
    CHECK(mem_lookup(f.mem, 0xa0000).kind == MEM_RAM);
    out(0x3c9, 2);
    out(0x3c9, 3);
    out(0x3c7, 5);
    for (unsigned i = 1; i <= 3; i++)
        CHECK_EQ(in(0x3c9), i);
    free(buf);
    /* The window follows a bank. */
    vbe_mode(1024, 768, 32, 0x40);
    vbe(BANK, 7);
    mem8(0xa0000, 0x12);
    CHECK_EQ(state_set_save(f.state, &buf, &len, NULL), 0);
    vbe(ENABLE, 0);
    CHECK_EQ(state_set_load(f.state, buf, len, NULL), 0);
    CHECK_EQ(mem8r(0xa0000), 0x12);
    CHECK_EQ(mem_read(f.mem, LFB + 0x70000, 1), 0x12);
    /* A picture outside of the memory is refused. */
    for (size_t i = 0; i + 4 < len; i++)
        if (!memcmp(buf + i, "\x00\x04\x00\x03", 4)) { /* XRES, YRES */
            buf[i + 1] = 0x20;
            break;
        }
    struct error err = {0};
    CHECK_EQ(state_set_load(f.state, buf, len, &err), -EINVAL);
    CHECK(strstr(err.message, "vga") != NULL);
    CHECK_EQ(vbe_read(XRES), 1024);
    free(buf);
    rig_finish();
}

int main(void)
{
    TAP_RUN(test_function);
    TAP_RUN(test_rom);
    TAP_RUN(test_identification);
    TAP_RUN(test_modes);
    TAP_RUN(test_clearing);
    TAP_RUN(test_banks);
    TAP_RUN(test_geometry);
    TAP_RUN(test_wide_dac);
    TAP_RUN(test_lfb_damage);
    TAP_RUN(test_posted_linear);
    TAP_RUN(test_mmio);
    TAP_RUN(test_saved_state);
    return tap_done();
}
