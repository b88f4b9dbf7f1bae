/* The VGA's registers and its window, against IBM's PS/2 Hardware Interface Technical Reference. */
#include "vga_rig.h"

static void test_indexed_registers(void)
{
    rig_init();
    out(0x3c2, 0x01); /* colour: 3Dx */
    static const u8 sr_bits[] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
    static const u8 gr_bits[] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
    for (u8 i = 0; i < 5; i++) {
        sr(i, 0xff);
        CHECK_EQ(in(0x3c5), sr_bits[i]);
    }
    for (u8 i = 0; i < 9; i++) {
        gr(i, 0xff);
        CHECK_EQ(in(0x3cf), gr_bits[i]);
    }
    /* A word is index and data. */
    port_write(f.mem, 0x3ce, 2, 0x5a08);
    CHECK_EQ(indexed_read(0x3ce, 8), 0x5a);
    CHECK_EQ(in(0x3ce), 8);
    rig_finish();
}

static void test_crtc(void)
{
    rig_init();
    out(0x3c2, 0x01);
    cr(0x00, 0x12);
    cr(0x07, 0x34);
    cr(0x11, 0x80); /* protects 0..7 */
    cr(0x00, 0xff);
    CHECK_EQ(in(0x3d5), 0x12);
    cr(0x07, 0xff); /* but for the line compare's bit 8 */
    CHECK_EQ(in(0x3d5), 0x34);
    cr(0x07, 0x00);
    CHECK_EQ(in(0x3d5), 0x24);
    cr(0x08, 0x55);
    CHECK_EQ(in(0x3d5), 0x55);
    CHECK_EQ(indexed_read(0x3d4, 0x11), 0); /* CR3 bit 7 is clear: the light pen's */
    cr(0x11, 0x00);
    cr(0x03, 0x80);
    cr(0x11, 0x9a);
    CHECK_EQ(in(0x3d5), 0x9a);
    /* Monochrome: 3Bx, and nothing at 3Dx. */
    out(0x3c2, 0x00);
    CHECK_EQ(in(0x3cc), 0);
    CHECK_EQ(in(0x3d5), 0xff);
    CHECK_EQ(in(0x3da), 0xff);
    CHECK_EQ(indexed_read(0x3b4, 0x08), 0x55);
    indexed(0x3d4, 0x08, 0x11);
    CHECK_EQ(indexed_read(0x3b4, 0x08), 0x55);
    CHECK_EQ(in(0x3ba) & 0x30, 0);
    out(0x3ba, 0x03);
    CHECK_EQ(in(0x3ca), 0x03);
    rig_finish();
}

static void test_attributes(void)
{
    rig_init();
    out(0x3c2, 0x01);
    in(0x3da); /* next: the index */
    out(0x3c0, 0x03);
    out(0x3c0, 0x2a);
    CHECK_EQ(in(0x3c0), 0x03);
    CHECK_EQ(in(0x3c1), 0x2a);
    out(0x3c0, 0x23); /* the palette is in use: read-only */
    out(0x3c0, 0x15);
    CHECK_EQ(in(0x3c1), 0x2a);
    out(0x3c0, 0x30); /* the mode register is no palette entry */
    out(0x3c0, 0xff);
    CHECK_EQ(in(0x3c1), 0xef);
    out(0x3c0, 0x14);
    in(0x3da); /* in between: the next is an index again */
    out(0x3c0, 0x13);
    out(0x3c0, 0xff);
    CHECK_EQ(in(0x3c1), 0x0f);
    out(0x3c0, 0x14);
    CHECK_EQ(in(0x3c1), 0x00);
    rig_finish();
}

static void test_dac(void)
{
    rig_init();
    CHECK_EQ(in(0x3c6), 0xff);
    out(0x3c8, 0x10);
    CHECK_EQ(in(0x3c7), 0); /* writing */
    for (u8 i = 0; i < 6; i++)
        out(0x3c9, (u8)(0xc0 | (i + 1)));
    CHECK_EQ(in(0x3c8), 0x12);
    out(0x3c7, 0x10);
    CHECK_EQ(in(0x3c7), 3); /* reading */
    CHECK_EQ(in(0x3c8), 0x11);
    for (u8 i = 0; i < 6; i++)
        CHECK_EQ(in(0x3c9), i + 1); /* six bits */
    /* A colour is written as a whole, with its third component. */
    out(0x3c8, 0x10);
    out(0x3c9, 0x3f);
    out(0x3c9, 0x3f);
    out(0x3c7, 0x10);
    CHECK_EQ(in(0x3c9), 1);
    /* The index wraps. */
    dac(0xff, 0x010203);
    CHECK_EQ(in(0x3c8), 0);
    rig_finish();
}

/* Mode 3: 900 dots of 28.322 MHz a line, 449 lines; 400 shown, retrace in 412 and 413. */
static void test_retrace(void)
{
    const u64 line = 31777; /* ns */
    rig_init();
    set_mode(MODE_03);
    fixture_advance_to(&f, 449 * line * 10);
    in(0x3da);
    fixture_advance_to(&f, 449 * line * 10 + 200 * line + 5000);
    CHECK_EQ(in(0x3da) & 9, 0);
    fixture_advance_to(&f, 449 * line * 10 + 200 * line + 28000); /* 720 dots take 25.4 us */
    CHECK_EQ(in(0x3da) & 9, 1);
    fixture_advance_to(&f, 449 * line * 10 + 405 * line);
    CHECK_EQ(in(0x3da) & 9, 1);
    fixture_advance_to(&f, 449 * line * 10 + 413 * line);
    CHECK_EQ(in(0x3da) & 9, 9);
    fixture_advance_to(&f, 449 * line * 10 + 420 * line);
    CHECK_EQ(in(0x3da) & 9, 1);
    /* It went by while nobody looked: seen late, once. */
    fixture_advance_to(&f, 449 * line * 11 + 440 * line);
    CHECK_EQ(in(0x3da) & 8, 8);
    CHECK_EQ(in(0x3da) & 8, 0);
    rig_finish();
}

/* --- the window --- */

static void set_planes(u8 a, u8 b, u8 c, u8 d, u32 gpa)
{
    const u8 v[] = {a, b, c, d};
    for (u8 p = 0; p < 4; p++) {
        sr(2, (u8)(1 << p));
        mem8(gpa, v[p]);
    }
    sr(2, 0xf);
}

static void check_planes(u32 gpa, u8 a, u8 b, u8 c, u8 d)
{
    const u8 want[] = {a, b, c, d};
    for (u8 p = 0; p < 4; p++) {
        gr(4, p);
        CHECK_EQ(mem8r(gpa), want[p]);
    }
}

static void test_write_modes(void)
{
    rig_init();
    set_mode(MODE_12);
    set_planes(0x11, 0x22, 0x44, 0x88, 0xa0000);
    check_planes(0xa0000, 0x11, 0x22, 0x44, 0x88);
    /* Mode 0: rotate, set/reset where enabled, function with the latches, bit mask. */
    gr(3, 4); /* rotate by 4 */
    mem8(0xa0001, 0x1f);
    check_planes(0xa0001, 0xf1, 0xf1, 0xf1, 0xf1);
    gr(3, 0);
    gr(0, 0x5); /* set planes 0 and 2 */
    gr(1, 0x3); /* for planes 0 and 1 */
    mem8(0xa0002, 0x3c);
    check_planes(0xa0002, 0xff, 0x00, 0x3c, 0x3c);
    gr(1, 0);
    static const u8 want[4][4] = {{0x0f, 0x0f, 0x0f, 0x0f},
                                  {0x01, 0x02, 0x04, 0x08},
                                  {0x1f, 0x2f, 0x4f, 0x8f},
                                  {0x1e, 0x2d, 0x4b, 0x87}};
    for (u8 op = 0; op < 4; op++) {
        gr(3, (u8)(op << 3));
        mem8r(0xa0000); /* latches 11 22 44 88 */
        mem8(0xa0003, 0x0f);
        check_planes(0xa0003, want[op][0], want[op][1], want[op][2], want[op][3]);
    }
    gr(3, 0);
    gr(8, 0x0f);
    mem8r(0xa0000);
    mem8(0xa0004, 0xff);
    check_planes(0xa0004, 0x1f, 0x2f, 0x4f, 0x8f);
    /* Mode 1: the latches, whatever else is set. */
    gr(5, 1);
    mem8r(0xa0000);
    mem8(0xa0005, 0xff);
    check_planes(0xa0005, 0x11, 0x22, 0x44, 0x88);
    /* Mode 2: a bit a plane, through the bit mask. */
    gr(5, 2);
    mem8r(0xa0000);
    mem8(0xa0006, 0xa);
    check_planes(0xa0006, 0x10, 0x2f, 0x40, 0x8f);
    /* Mode 3: the rotated data and the bit mask choose between set/reset and latches. */
    gr(5, 3);
    gr(8, 0x3c);
    gr(3, 4);
    gr(0, 0x9);
    mem8r(0xa0000);
    mem8(0xa0007, 0xf3); /* rotated 3F, masked 3C */
    check_planes(0xa0007, 0x3d, 0x02, 0x40, 0xbc);
    /* The map mask goes over all of it. */
    gr(5, 0);
    gr(3, 0);
    gr(8, 0xff);
    sr(2, 0x2);
    mem8(0xa0000, 0x5a);
    check_planes(0xa0000, 0x11, 0x5a, 0x44, 0x88);
    rig_finish();
}

static void test_read_compare(void)
{
    rig_init();
    set_mode(MODE_12);
    set_planes(0xf0, 0xcc, 0xaa, 0x00, 0xa0010);
    gr(5, 8);
    gr(7, 0xf); /* all planes matter */
    gr(2, 0x3); /* colour 3: planes 0 and 1 set, 2 and 3 clear */
    CHECK_EQ(mem8r(0xa0010), 0xf0 & 0xcc & 0x55);
    gr(7, 0x3);
    CHECK_EQ(mem8r(0xa0010), 0xf0 & 0xcc);
    gr(7, 0);
    CHECK_EQ(mem8r(0xa0010), 0xff);
    rig_finish();
}

static void test_addresses(void)
{
    rig_init();
    /* Odd and even: characters in plane 0, attributes in plane 1, at even offsets. */
    set_mode(MODE_03);
    mem_write(f.mem, 0xb8000, 4, 0x44332211);
    CHECK_EQ(mem_read(f.mem, 0xb8000, 4), 0x44332211);
    CHECK_EQ(mem_read(f.mem, 0xa0000, 2), 0xffff); /* not in the map */
    CHECK_EQ(mem_read(f.mem, 0xb0000, 2), 0xffff);
    sr(4, 6); /* sequential */
    gr(5, 0);
    gr(6, 5); /* A0000h */
    check_planes(0xa0000, 0x11, 0x22, 0, 0);
    check_planes(0xa0001, 0, 0, 0, 0);
    check_planes(0xa0002, 0x33, 0x44, 0, 0);
    gr(6, 9); /* B0000h, 32 KiB */
    gr(4, 1);
    CHECK_EQ(mem8r(0xb0002), 0x44);
    CHECK_EQ(mem8r(0xb8002), 0xff);
    gr(6, 1); /* A0000h, 128 KiB: wraps at 64 */
    CHECK_EQ(mem8r(0xa0002), 0x44);
    CHECK_EQ(mem8r(0xb0002), 0x44);
    out(0x3c2, 0x61); /* RAM off */
    CHECK_EQ(mem8r(0xa0002), 0xff);
    out(0x3c2, 0x63);
    /* Without extended memory there are 16 KiB a plane. */
    mem8(0xa4002, 0x77);
    CHECK_EQ(mem8r(0xa0002), 0x44);
    sr(4, 4);
    CHECK_EQ(mem8r(0xa4002), 0x44);
    /* Chained by four: pixel n is byte n / 4 of plane n % 4. */
    set_mode(MODE_13);
    mem_write(f.mem, 0xa0000, 8, 0x8877665544332211);
    CHECK_EQ(mem_read(f.mem, 0xa0000, 8), 0x8877665544332211);
    CHECK(mem_lookup(f.mem, 0xa0000).kind == MEM_RAM); /* without an exit */
    sr(4, 6);
    CHECK(mem_lookup(f.mem, 0xa0000).kind == MEM_IO);
    check_planes(0xa0000, 0x11, 0x22, 0x33, 0x44);
    check_planes(0xa0001, 0x55, 0x66, 0x77, 0x88);
    sr(4, 0xe);
    sr(2, 0x5); /* the map mask holds here too */
    mem_write(f.mem, 0xa0000, 4, 0);
    CHECK_EQ(mem_read(f.mem, 0xa0000, 4), 0x44002200);
    rig_finish();
}

int main(void)
{
    TAP_RUN(test_indexed_registers);
    TAP_RUN(test_crtc);
    TAP_RUN(test_attributes);
    TAP_RUN(test_dac);
    TAP_RUN(test_retrace);
    TAP_RUN(test_write_modes);
    TAP_RUN(test_read_compare);
    TAP_RUN(test_addresses);
    return tap_done();
}
