/* The VGA by its registers and its window: planes, latches, write and read modes, addresses, palette, DAC,
 * Bochs VBE and the PCI function. With "card=MODE" on the command line it draws a test card instead, and
 * stays there (tests/run-screens looks at it).
 * ## vga: std */
#include "guest.h"

#include "../../vga_modes.h"

extern u32 boot_info;

#define WINDOW ((volatile u8 *)0xa0000)
#define TEXT   ((volatile u16 *)0xb8000)

static void out(unsigned port, u8 v)
{
    outb((u16)port, v);
}

static u8 in(unsigned port)
{
    return inb((u16)port);
}

static void indexed(u16 port, u8 index, u8 v)
{
    outb(port, index);
    outb(port + 1, v);
}

static u8 indexed_read(u16 port, u8 index)
{
    outb(port, index);
    return inb(port + 1);
}

static void sr(u8 index, u8 v)
{
    indexed(0x3c4, index, v);
}

static void gr(u8 index, u8 v)
{
    indexed(0x3ce, index, v);
}

static void set_mode(unsigned mode)
{
    VGA_SET_MODE(&vga_modes[mode], out, in);
}

static void dac(u8 index, u8 r, u8 g, u8 b)
{
    outb(0x3c8, index);
    outb(0x3c9, r);
    outb(0x3c9, g);
    outb(0x3c9, b);
}

static void vbe(u16 index, u16 v)
{
    outw(0x1ce, index);
    outw(0x1cf, v);
}

static u16 vbe_read(u16 index)
{
    outw(0x1ce, index);
    return inw(0x1cf);
}

static u32 pci_read(unsigned slot, unsigned reg)
{
    outl(0xcf8, 0x80000000u | slot << 11 | reg);
    return inl(0xcfc);
}

static void pci_write(unsigned slot, unsigned reg, u32 v)
{
    outl(0xcf8, 0x80000000u | slot << 11 | reg);
    outl(0xcfc, v);
}

/* The linear frame buffer, or NULL: no such function. Placed if nobody has. */
static volatile u8 *frame_buffer(void)
{
    for (unsigned slot = 0; slot < 32; slot++) {
        if (pci_read(slot, 0) != 0x11111234)
            continue;
        if (!(pci_read(slot, 0x10) & ~0xfu))
            pci_write(slot, 0x10, 0xe0000000u);
        pci_write(slot, 4, pci_read(slot, 4) | 2);
        return (volatile u8 *)(ulong)(pci_read(slot, 0x10) & ~0xfu);
    }
    return NULL;
}

/* --- checks --- */

static void planes_set(u32 offset, u32 v)
{
    for (unsigned p = 0; p < 4; p++) {
        sr(2, (u8)(1 << p));
        WINDOW[offset] = (u8)(v >> (8 * p));
    }
    sr(2, 0xf);
}

static u32 planes_get(u32 offset)
{
    u32 v = 0;
    for (unsigned p = 0; p < 4; p++) {
        gr(4, (u8)p);
        v |= (u32)WINDOW[offset] << (8 * p);
    }
    return v;
}

static void check_write_modes(void)
{
    set_mode(MODE_12);
    planes_set(0, 0x88442211);
    check_eq(planes_get(0), 0x88442211, "the map mask chooses planes");
    gr(3, 4);
    WINDOW[1] = 0x1f;
    check_eq(planes_get(1), 0xf1f1f1f1, "write mode 0 rotates");
    gr(3, 0);
    gr(0, 5);
    gr(1, 3);
    WINDOW[2] = 0x3c;
    check_eq(planes_get(2), 0x3c3c00ff, "set/reset where it is enabled");
    gr(1, 0);
    static const u32 want[4] = {0x0f0f0f0f, 0x08040201, 0x8f4f2f1f, 0x874b2d1e};
    for (u8 op = 0; op < 4; op++) {
        gr(3, (u8)(op << 3));
        (void)WINDOW[0];
        WINDOW[3] = 0x0f;
        check_eq(planes_get(3), want[op], "function %d with the latches", op);
    }
    gr(3, 0);
    gr(8, 0x0f);
    (void)WINDOW[0];
    WINDOW[4] = 0xff;
    check_eq(planes_get(4), 0x8f4f2f1f, "the bit mask keeps the latches' bits");
    gr(5, 1);
    (void)WINDOW[0];
    WINDOW[5] = 0xff;
    check_eq(planes_get(5), 0x88442211, "write mode 1 copies the latches");
    gr(5, 2);
    (void)WINDOW[0];
    WINDOW[6] = 0xa;
    check_eq(planes_get(6), 0x8f402f10, "write mode 2: a bit a plane");
    gr(5, 3);
    gr(8, 0x3c);
    gr(3, 4);
    gr(0, 9);
    (void)WINDOW[0];
    WINDOW[7] = 0xf3;
    check_eq(planes_get(7), 0xbc40023d, "write mode 3: data is a mask for set/reset");
}

static void check_read_modes(void)
{
    set_mode(MODE_12);
    planes_set(0x10, 0x00aaccf0);
    gr(5, 8);
    gr(7, 0xf);
    gr(2, 3);
    check_eq(WINDOW[0x10], 0xf0 & 0xcc & 0x55, "read mode 1 compares with a colour");
    gr(7, 3);
    check_eq(WINDOW[0x10], 0xf0 & 0xcc, "in the planes that it cares for");
    gr(7, 0);
    check_eq(WINDOW[0x10], 0xff, "in none: all pixels are equal");
}

static void check_addresses(void)
{
    set_mode(MODE_03);
    TEXT[0] = 0x2211;
    TEXT[1] = 0x4433;
    check_eq(*(volatile u32 *)TEXT, 0x44332211, "characters and attributes read back");
    set_mode(MODE_13);
    *(volatile u32 *)WINDOW = 0x44332211;
    *(volatile u32 *)(WINDOW + 4) = 0x88776655;
    check_eq(*(volatile u32 *)(WINDOW + 4), 0x88776655, "chained by four");
    sr(4, 6);
    check_eq(planes_get(0), 0x44332211, "the same by its planes");
}

static void check_registers(void)
{
    set_mode(MODE_03);
    indexed(0x3d4, 0x11, 0x8e);
    indexed(0x3d4, 0, 0x11);
    check_eq(inb(0x3d5), 0x5f, "CR0 is protected by CR11");
    indexed(0x3d4, 0x11, 0x0e);
    indexed(0x3d4, 0, 0x11);
    check_eq(inb(0x3d5), 0x11, "CR0 is not protected any more");
    check_eq(indexed_read(0x3c4, 4), 2, "sequencer");
    check_eq(indexed_read(0x3ce, 6), 0x0e, "graphics controller");
    check_eq(inb(0x3cc), 0x67, "miscellaneous output");
    inb(0x3da);
    outb(0x3c0, 0x30);
    check_eq(inb(0x3c1), 0x0c, "attribute controller");
    outb(0x3c0, 0x0c);
    dac(200, 1, 2, 0x3f);
    outb(0x3c7, 200);
    u32 rgb = inb(0x3c9);
    rgb |= (u32)inb(0x3c9) << 8;
    rgb |= (u32)inb(0x3c9) << 16;
    check_eq(rgb, 0x3f0201, "DAC");
    check_eq(inb(0x3c7) & 3, 3, "DAC in its reading state");
    bool seen = false, gone = false;
    for (unsigned i = 0; i < 2000000 && !(seen && gone); i++) {
        u8 status = inb(0x3da);
        gone |= !(status & 8);
        seen |= gone && (status & 8);
    }
    check(seen, "the vertical retrace comes");
}

static void check_vbe(void)
{
    volatile u8 *frame = frame_buffer();
    vbe(0, 0xb0c4);
    check_eq(vbe_read(0), 0xb0c4, "VBE: identification");
    vbe(4, 0);
    vbe(1, 640);
    vbe(2, 480);
    vbe(3, 32);
    vbe(4, 0x41);
    check_eq(vbe_read(6), 640, "VBE: virtual width");
    vbe(5, 1);
    *(volatile u32 *)WINDOW = 0x12345678;
    if (check(frame != NULL, "the PCI function is there")) {
        check_eq(*(volatile u32 *)(frame + 0x10000), 0x12345678, "bank 1 is 64 KiB into the frame buffer");
        *(volatile u32 *)(frame + 0x1fffc) = 0x9abcdef0;
        check_eq(*(volatile u32 *)(WINDOW + 0xfffc), 0x9abcdef0, "and the other way");
    }
    vbe(5, 0);
    check_eq(*(volatile u32 *)WINDOW, 0, "VBE: the picture was cleared");
    vbe(4, 0);
}

/* --- cards --- */

static void palette_ramp(void)
{
    for (unsigned i = 0; i < 256; i++)
        dac((u8)i, (u8)(i & 0x3f), (u8)(i >> 1 & 0x3f), (u8)(63 - (i >> 2 & 0x3f)));
}

/* Without B0h..BFh: their ninth dot is blank, but QEMU repeats the eighth. */
static void card_text(void)
{
    set_mode(MODE_03);
    indexed(0x3d4, 0x0a, 0x20);
    for (unsigned i = 0; i < 80 * 25; i++)
        TEXT[i] = (u16)(0x0700 | ' ');
    for (unsigned i = 0; i < 256; i++) {
        TEXT[80 * (i / 32 + 1) + 2 * (i % 32) + 4] = (u16)(0x0f00 | (i >> 4 == 0xb ? 0 : i));
        TEXT[80 * (i / 32 + 12) + 2 * (i % 32) + 4] = (u16)((i & 0x7f) << 8 | 0xdb);
        TEXT[80 * (i / 32 + 12) + 2 * (i % 32) + 5] = (u16)((i & 0x7f) << 8 | 'A');
    }
}

/* A bit pattern that shows every plane, pixel and line. */
static void card_planar(unsigned mode, unsigned pitch, unsigned lines)
{
    set_mode(mode);
    for (unsigned y = 0; y < lines; y++)
        for (unsigned x = 0; x < pitch; x++)
            planes_set(y * pitch + x, (x * 0x01030507u ^ y * 0x10204081u) + (x * y << 3));
    gr(5, 0);
}

static void card_chained(void)
{
    set_mode(MODE_13);
    palette_ramp();
    for (unsigned y = 0; y < 200; y++)
        for (unsigned x = 0; x < 320; x++)
            WINDOW[320 * y + x] = (u8)(x ^ y);
}

static void card_x(void)
{
    set_mode(MODE_X);
    palette_ramp();
    for (unsigned y = 0; y < 240; y++)
        for (unsigned x = 0; x < 80; x++)
            planes_set(80 * y + x, 0x03020100u + 0x04040404u * x + y);
}

static void card_cga(unsigned mode)
{
    volatile u8 *memory = (volatile u8 *)0xb8000;
    set_mode(mode);
    for (unsigned i = 0; i < 0x4000; i++)
        memory[i] = (u8)(i * 7 ^ i >> 5);
}

/* Split at line 100, start address and panning. */
static void card_split(void)
{
    card_planar(MODE_12, 80, 600);
    indexed(0x3d4, 0x0c, 80 * 50 >> 8);
    indexed(0x3d4, 0x0d, 80 * 50 & 0xff);
    indexed(0x3d4, 0x18, 100);
    indexed(0x3d4, 0x07, 0x2e);
    indexed(0x3d4, 0x09, 0x00);
}

static void card_vbe(unsigned width, unsigned height, unsigned bits)
{
    volatile u8 *frame = frame_buffer();
    unsigned bytes = (bits + 7) / 8;
    vbe(4, 0);
    vbe(1, (u16)width);
    vbe(2, (u16)height);
    vbe(3, (u16)bits);
    vbe(4, 0x41);
    in(0x3da);
    out(0x3c0, 0x20);
    palette_ramp();
    for (unsigned y = 0; frame && y < height; y++)
        for (unsigned x = 0; x < width * bytes; x++)
            frame[y * width * bytes + x] = (u8)((x * (y | 1)) >> 4 ^ x ^ y * 3);
}

static void card_draw(const char *name)
{
    static const struct {
        const char *name;
        unsigned what, width, height;
    } cards[] = {{"03", 0, 0, 0},         {"12", 1, 0, 0},         {"0d", 2, 0, 0},
                 {"13", 3, 0, 0},         {"x", 4, 0, 0},          {"04", 5, 0, 0},
                 {"06", 6, 0, 0},         {"split", 7, 0, 0},      {"vbe8", 8, 640, 400},
                 {"vbe15", 15, 800, 600}, {"vbe16", 16, 800, 600}, {"vbe24", 24, 640, 480},
                 {"vbe32", 32, 1024, 768}};
    for (unsigned i = 0; i < ARRAY_SIZE(cards); i++) {
        unsigned n = 0;
        while (cards[i].name[n] && cards[i].name[n] == name[n])
            n++;
        if (cards[i].name[n] || (name[n] && name[n] != ' '))
            continue;
        switch (cards[i].what) {
        case 0:
            card_text();
            break;
        case 1:
            card_planar(MODE_12, 80, 480);
            break;
        case 2:
            card_planar(MODE_0D, 40, 200);
            break;
        case 3:
            card_chained();
            break;
        case 4:
            card_x();
            break;
        case 5:
        case 6:
            card_cga(cards[i].what == 5 ? MODE_04 : MODE_06);
            break;
        case 7:
            card_split();
            break;
        default:
            card_vbe(cards[i].width, cards[i].height, cards[i].what);
        }
        print("card %s is drawn\n", cards[i].name);
        for (;;)
            asm volatile("hlt");
    }
    guest_die("no such card");
}

int main(void)
{
    const u32 *info = (const u32 *)(ulong)boot_info;
    const char *line = info[0] & 4 ? (const char *)(ulong)info[4] : "";
    for (; *line; line++)
        if (line[0] == 'c' && line[1] == 'a' && line[2] == 'r' && line[3] == 'd' && line[4] == '=')
            card_draw(line + 5);
    check_registers();
    check_write_modes();
    check_read_modes();
    check_addresses();
    check_vbe();
    return 0;
}
