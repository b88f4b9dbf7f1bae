/* Pixels of the VGA's modes, worked out from the manual (IBM PS/2 Hardware Interface Technical Reference). */
#include "vga_rig.h"

#include <stdlib.h>

/* --- text --- */

#define SCREEN 0xb8000u

static void put(u32 column, u32 row, u8 character, u8 attribute)
{
    mem_write(f.mem, SCREEN + 2 * (80 * row + column), 2, (u64)attribute << 8 | character);
}

/* Glyph rows into plane 2 at `offset`. */
static void glyph(u32 offset, u8 character, const u8 rows[16])
{
    sr(2, 4);
    sr(4, 6);
    gr(5, 0);
    gr(6, 4);
    for (u32 i = 0; i < 16; i++)
        mem8(0xa0000 + offset + 32u * character + i, rows[i]);
    sr(2, 3);
    sr(4, 2);
    gr(5, 0x10);
    gr(6, 0x0e);
}

static void text_init(void)
{
    static const u8 box[16] = {0xff, 0x81, 0x81, 0x81, [12] = 0x81, 0x81, 0x81, 0xff};
    static const u8 line[16] = {[7] = 0xff};
    rig_init();
    set_mode(MODE_03);
    dac_ramp();
    glyph(0, 'B', box);
    glyph(0, 0xc4, line);
    glyph(0, 0x7e, line);
    cr(0x0a, 0x20); /* no cursor */
}

/* DAC entry of attribute n of mode 3. */
static u32 ega(unsigned n)
{
    return color_of(n == 6 ? 0x14 : n < 8 ? n : n + 0x30);
}

static void test_text(void)
{
    text_init();
    for (u32 i = 0; i < 80 * 25; i++)
        put(i % 80, i / 80, ' ', 0x07);
    put(1, 2, 'B', 0x1e);
    put(3, 2, 0xc4, 0x07);
    put(4, 2, 0x7e, 0x07);
    look();
    check_size(720, 400);
    /* The box: 8 dots of yellow on blue, the ninth blank. */
    for (u32 x = 0; x < 8; x++)
        CHECK_EQ(pixel(9 + x, 32), ega(14));
    CHECK_EQ(pixel(17, 32), ega(1));
    CHECK_EQ(pixel(9, 33), ega(14));
    CHECK_EQ(pixel(10, 33), ega(1));
    CHECK_EQ(pixel(16, 33), ega(14));
    CHECK_EQ(pixel(9, 36), ega(1));
    CHECK_EQ(pixel(16, 47), ega(14));
    CHECK_EQ(pixel(9, 48), ega(0));
    CHECK_EQ(pixel(8, 32), ega(0));
    /* Line graphics go through the ninth dot, others do not; and not without the mode bit. */
    CHECK_EQ(pixel(35, 39), ega(7));
    CHECK_EQ(pixel(36 + 7, 39), ega(7));
    CHECK_EQ(pixel(36 + 8, 39), ega(0));
    ar(0x10, 0x08);
    look();
    CHECK_EQ(pixel(35, 39), ega(0));
    /* Eight dots. */
    sr(1, 1);
    look();
    check_size(640, 400);
    CHECK_EQ(seen.resizes, 1);
    CHECK_EQ(pixel(8, 32), ega(14));
    CHECK_EQ(pixel(15, 33), ega(14));
    CHECK_EQ(pixel(16, 33), ega(0));
    rig_finish();
}

static void test_text_damage(void)
{
    text_init();
    look();
    look();
    CHECK_EQ(seen.damages, 0);
    put(10, 5, 'B', 0x0f);
    look();
    CHECK_EQ(seen.damages, 1);
    CHECK_EQ(seen.rect.x, 90);
    CHECK_EQ(seen.rect.y, 80);
    CHECK_EQ(seen.rect.w, 8); /* the ninth dot is as black as before */
    CHECK_EQ(seen.rect.h, 16);
    look();
    CHECK_EQ(seen.damages, 0);
    put(10, 5, 'B', 0x0f); /* the same again */
    look();
    CHECK_EQ(seen.damages, 0);
    /* A glyph changes: every cell that shows it. */
    glyph(0, 'B', (const u8[16]){0});
    look();
    CHECK(seen.damages > 0);
    CHECK_EQ(pixel(90, 80), ega(0));
    rig_finish();
}

static void test_cursor(void)
{
    text_init();
    put(79, 24, ' ', 0x04);
    cr(0x0a, 13);
    cr(0x0b, 14);
    cr(0x0e, 1999 >> 8);
    cr(0x0f, 1999 & 0xff);
    look();
    CHECK_EQ(pixel(711, 384 + 12), ega(0));
    CHECK_EQ(pixel(711, 384 + 13), ega(4));
    CHECK_EQ(pixel(719, 384 + 14), ega(4));
    CHECK_EQ(pixel(711, 384 + 15), ega(0));
    CHECK_EQ(pixel(710, 384 + 13), ega(0));
    fixture_advance_to(&f, 8 * 14270000ull + 5000000); /* eight frames on, eight off */
    look();
    CHECK_EQ(seen.damages, 1);
    CHECK_EQ(pixel(711, 384 + 13), ega(0));
    fixture_advance_to(&f, 16 * 14270000ull + 5000000);
    look();
    CHECK_EQ(pixel(711, 384 + 13), ega(4));
    cr(0x0f, (1999 & 0xff) - 1); /* moves */
    look();
    CHECK_EQ(pixel(711, 384 + 13), ega(0));
    CHECK_EQ(pixel(702, 384 + 13), ega(0)); /* that cell's colour is black on black */
    put(78, 24, ' ', 0x02);
    look();
    CHECK_EQ(pixel(702, 384 + 13), ega(2));
    cr(0x0b, 12); /* ends before it starts: none */
    look();
    CHECK_EQ(pixel(702, 384 + 13), ega(0));
    rig_finish();
}

static void test_blink(void)
{
    text_init();
    put(0, 0, 'B', 0x9f); /* blinking white on blue */
    look();
    CHECK_EQ(pixel(0, 0), ega(15));
    CHECK_EQ(pixel(1, 1), ega(1));
    fixture_advance_to(&f, 16 * 14270000ull + 5000000); /* 16 frames on, 16 off */
    look();
    CHECK_EQ(pixel(0, 0), ega(1));
    CHECK_EQ(pixel(1, 1), ega(1));
    ar(0x10, 0x04); /* bit 7 is bright background now */
    look();
    CHECK_EQ(pixel(0, 0), ega(15));
    CHECK_EQ(pixel(1, 1), ega(9));
    rig_finish();
}

static void test_second_font(void)
{
    static const u8 bar[16] = {[3] = 0xf0};
    text_init();
    glyph(0x6000, 'B', bar); /* map 5: at 24 KiB */
    sr(3, 0x24);             /* A: 101b, B: 000b */
    put(0, 0, 'B', 0x07);
    put(1, 0, 'B', 0x0f); /* attribute bit 3: map A */
    look();
    CHECK_EQ(pixel(0, 0), ega(7));
    CHECK_EQ(pixel(9, 0), ega(0));
    CHECK_EQ(pixel(9, 3), ega(15));
    CHECK_EQ(pixel(12, 3), ega(15));
    CHECK_EQ(pixel(13, 3), ega(0));
    rig_finish();
}

static void test_monochrome(void)
{
    rig_init();
    set_mode(MODE_07);
    dac_ramp();
    indexed(0x3b4, 0x0a, 0x20);
    indexed(0x3b4, 0x14, 0x0c);
    mem_write(f.mem, 0xb0000, 4, 0x07200120); /* underlined, and not */
    look();
    for (u32 x = 0; x < 9; x++) {
        CHECK_EQ(pixel(x, 12), color_of(0x08));
        CHECK_EQ(pixel(x, 11), color_of(0));
        CHECK_EQ(pixel(9 + x, 12), color_of(0));
    }
    rig_finish();
}

static void test_text_reading(void)
{
    text_init();
    for (u32 i = 0; i < 80 * 25; i++)
        put(i % 80, i / 80, ' ', 0x07);
    static const char words[] = "Hello, \xc9\xcd\xbb \x80\xe3\x01\xff";
    for (u32 i = 0; words[i]; i++)
        put(i, 0, (u8)words[i], 0x07);
    put(79, 24, 'x', 0x07);
    static const char first[] = "Hello, \u2554\u2550\u2557 \u00c7\u03c0\u263a\n\n";
    char *text = display_text(display);
    CHECK(text != NULL);
    unsigned lines = 0;
    for (const char *c = text; c && *c; c++)
        lines += *c == '\n';
    CHECK_EQ(lines, 25);
    CHECK(text && !strncmp(text, first, strlen(first)));
    CHECK(text && strlen(text) > 81 && !strcmp(text + strlen(text) - 2, "x\n"));
    free(text);
    /* The start address and a split move the rows. */
    cr(0x0c, 0);
    cr(0x0d, 80);
    text = display_text(display);
    CHECK(text && text[0] == '\n');
    free(text);
    cr(0x18, 15); /* the second row begins at address 0 */
    cr(0x09, 0x0f);
    cr(0x07, 0x0f);
    text = display_text(display);
    CHECK(text && !strncmp(text, "\nHello", 6));
    free(text);
    set_mode(MODE_12);
    CHECK(display_text(display) == NULL);
    rig_finish();
}

/* --- graphics --- */

/* Plane bytes at an offset of the window, in a sequential mode. */
static void planes(u32 offset, u8 a, u8 b, u8 c, u8 d)
{
    const u8 v[] = {a, b, c, d};
    for (u8 p = 0; p < 4; p++) {
        sr(2, (u8)(1 << p));
        mem8(0xa0000 + offset, v[p]);
    }
    sr(2, 0xf);
}

static void test_planar(void)
{
    rig_init();
    set_mode(MODE_12);
    dac_ramp();
    planes(80 * 100 + 2, 0x80, 0xc0, 0xe0, 0xf0); /* pixels 15, 14, 12, 8, 0... */
    look();
    check_size(640, 480);
    static const u8 want[8] = {15, 14, 12, 8};
    for (u32 x = 0; x < 8; x++)
        CHECK_EQ(pixel(16 + x, 100), ega(want[x]));
    planes(80 * 100 + 3, 0x80, 0, 0, 0);
    look();
    CHECK_EQ(seen.damages, 1);
    CHECK_EQ(seen.area, 1);
    CHECK_EQ(pixel(24, 100), ega(1));
    look(); /* painted once more, nothing found */
    CHECK_EQ(seen.damages, 0);
    /* Colour plane enable. */
    ar(0x12, 0x0e);
    look();
    CHECK_EQ(pixel(16, 100), ega(14));
    ar(0x12, 0x0f);
    /* Colour select: bits 7:6 always, 5:4 in place of the palette's. */
    ar(0x14, 0x0d);
    look();
    CHECK_EQ(pixel(24, 100), color_of(0xc1));
    ar(0x10, 0x81);
    look();
    CHECK_EQ(pixel(16, 100), color_of(0xdf)); /* palette 3F: low bits F, select 1101b above */
    /* The DAC's mask. */
    out(0x3c6, 0x0f);
    look();
    CHECK_EQ(pixel(16, 100), color_of(0x0f));
    /* Off: screen, palette, sequencer. */
    sr(1, 0x21);
    look();
    CHECK_EQ(pixel(16, 100), 0);
    check_size(640, 480);
    rig_finish();
}

static void test_panning_and_split(void)
{
    rig_init();
    set_mode(MODE_12);
    dac_ramp();
    planes(0, 0x80, 0, 0, 0);    /* the top left of address 0 */
    planes(1000, 0x10, 0, 0, 0); /* start address: its fourth pixel */
    planes(1000 + 80, 0x01, 0, 0, 0);
    cr(0x0c, 1000 >> 8);
    cr(0x0d, 1000 & 0xff);
    look();
    CHECK_EQ(pixel(3, 0), ega(1));
    CHECK_EQ(pixel(7, 1), ega(1));
    ar(0x13, 3);
    look();
    CHECK_EQ(pixel(0, 0), ega(1));
    CHECK_EQ(pixel(4, 1), ega(1));
    /* Byte panning: one address on. */
    cr(0x08, 0x20);
    look();
    CHECK_EQ(pixel(0, 0), ega(0));
    cr(0x08, 0);
    /* From line 200 on, address 0; panned or not. */
    cr(0x18, 199);
    cr(0x07, 0x2e);
    cr(0x09, 0x00);
    look();
    CHECK_EQ(pixel(0, 0), ega(1));
    CHECK_EQ(pixel(0, 200), ega(0));
    ar(0x10, 0x21);
    look();
    CHECK_EQ(pixel(0, 199), ega(0));
    CHECK_EQ(pixel(0, 200), ega(1));
    CHECK_EQ(pixel(0, 0), ega(1));
    rig_finish();
}

static void test_ega_320(void)
{
    rig_init();
    set_mode(MODE_0D);
    dac_ramp();
    planes(40 * 50, 0x80, 0, 0, 0);
    look();
    check_size(640, 400); /* both directions twice */
    CHECK_EQ(pixel(0, 100), color_of(1));
    CHECK_EQ(pixel(1, 101), color_of(1));
    CHECK_EQ(pixel(2, 100), color_of(0));
    CHECK_EQ(pixel(0, 102), color_of(0));
    CHECK_EQ(pixel(0, 99), color_of(0));
    rig_finish();
}

static void test_cga(void)
{
    rig_init();
    set_mode(MODE_04);
    dac_ramp();
    /* Two bits a pixel, odd lines 2000h further. */
    mem8(0xb8000, 0x1b);
    mem8(0xb8001, 0xe4);
    mem8(0xba000, 0xff);
    mem8(0xb8050, 0x40);
    look();
    check_size(640, 400);
    static const u8 want[8] = {0, 0x13, 0x15, 0x17, 0x17, 0x15, 0x13, 0};
    for (u32 x = 0; x < 16; x++) {
        CHECK_EQ(pixel(x, 0), color_of(want[x / 2]));
        CHECK_EQ(pixel(x, 1), color_of(want[x / 2]));
        CHECK_EQ(pixel(x, 2), color_of(x < 8 ? 0x17 : 0));
        CHECK_EQ(pixel(x, 4), color_of(x < 2 ? 0x13 : 0));
    }
    set_mode(MODE_06);
    for (u32 i = 0; i < 0x4000; i++)
        mem8(0xb8000 + i, 0);
    mem8(0xb8000 + 80 * 3 + 1, 0xa0); /* line 6 */
    mem8(0xba000 + 80 * 3 + 1, 0x01); /* line 7 */
    look();
    check_size(640, 400);
    CHECK_EQ(pixel(8, 12), color_of(0x17));
    CHECK_EQ(pixel(9, 12), color_of(0));
    CHECK_EQ(pixel(10, 13), color_of(0x17));
    CHECK_EQ(pixel(15, 14), color_of(0x17));
    CHECK_EQ(pixel(8, 14), color_of(0));
    rig_finish();
}

static void test_256(void)
{
    rig_init();
    set_mode(MODE_13);
    dac_ramp();
    for (u32 x = 0; x < 320; x++)
        mem8(0xa0000 + 320 * 199 + x, (u8)x);
    look();
    check_size(640, 400);
    for (u32 x = 0; x < 640; x++) {
        CHECK_EQ(pixel(x, 398), color_of(x / 2 & 0xff));
        CHECK_EQ(pixel(x, 399), color_of(x / 2 & 0xff));
    }
    CHECK_EQ(pixel(2, 397), color_of(0));
    mem8(0xa0000 + 320 * 10 + 5, 9); /* by the window that is plain memory */
    look();
    CHECK_EQ(seen.damages, 1);
    CHECK_EQ(seen.rect.x, 10);
    CHECK_EQ(seen.rect.y, 20);
    CHECK_EQ(seen.rect.w, 2);
    CHECK_EQ(seen.rect.h, 2);
    /* One count is four pixels. */
    cr(0x0d, 80);
    look();
    CHECK_EQ(pixel(10, 18), color_of(9));
    /* Panning counts in half pixels. */
    ar(0x13, 2);
    look();
    CHECK_EQ(pixel(8, 18), color_of(9));
    rig_finish();
}

static void test_mode_x(void)
{
    rig_init();
    set_mode(MODE_X);
    dac_ramp();
    planes(80 * 239 + 79, 10, 20, 30, 40);
    look();
    check_size(640, 480);
    for (u32 x = 0; x < 8; x++)
        CHECK_EQ(pixel(632 + x, 479), color_of(10 * (x / 2 + 1)));
    /* A second page, 19200 further. */
    planes(19200, 77, 0, 0, 0);
    cr(0x0c, 19200 >> 8);
    cr(0x0d, 19200 & 0xff);
    look();
    CHECK_EQ(pixel(0, 0), color_of(77));
    CHECK_EQ(pixel(632, 479), color_of(0));
    rig_finish();
}

/* What a BIOS leaves: text, readable without one. */
static void test_post(void)
{
    rig_init();
    vga_post(vga);
    put(0, 0, 'A', 0x07);
    cr(0x0a, 0x20);
    look();
    check_size(720, 400);
    CHECK_EQ(pixel(3, 2), 0xaaaaaa); /* the top of the A */
    CHECK_EQ(pixel(0, 0), 0);
    CHECK_EQ(in(0x3cc), 0x67);
    vga_reset(vga);
    look();
    CHECK_EQ(pixel(3, 2), 0);
    rig_finish();
}

int main(void)
{
    TAP_RUN(test_text);
    TAP_RUN(test_text_damage);
    TAP_RUN(test_cursor);
    TAP_RUN(test_blink);
    TAP_RUN(test_second_font);
    TAP_RUN(test_monochrome);
    TAP_RUN(test_text_reading);
    TAP_RUN(test_planar);
    TAP_RUN(test_panning_and_split);
    TAP_RUN(test_ega_320);
    TAP_RUN(test_cga);
    TAP_RUN(test_256);
    TAP_RUN(test_mode_x);
    TAP_RUN(test_post);
    return tap_done();
}
