/* A VGA on a display, and its registers as a program sees them. One at a time: the tests' file-wide rig. */
#ifndef RING3_TESTS_VGA_RIG_H
#define RING3_TESTS_VGA_RIG_H

#include "device_fixture.h"
#include "devices/display/vga.h"
#include "../vga_modes.h"

static struct fixture f;
static struct display *display;
static struct pci_bus *bus;
static struct vga *vga;

static struct {
    struct display_viewer viewer;
    unsigned resizes, damages;
    struct display_rect rect; /* the last */
    u64 area;                 /* of all */
} seen;

static void seen_resized(void *opaque)
{
    seen.resizes++;
}

static void seen_damaged(void *opaque, struct display_rect rect)
{
    seen.damages++;
    seen.rect = rect;
    seen.area += (u64)rect.w * rect.h;
}

static inline void rig_init(void)
{
    fixture_init(&f);
    CHECK_EQ(display_create(&display, NULL), 0);
    CHECK_EQ(pci_bus_create(&bus, &f.env, &(struct pci_bus_config){0}, NULL), 0);
    struct vga_config config = {.display = display, .bus = bus, .slot = 2};
    CHECK_EQ(vga_create(&vga, &f.env, &config, NULL), 0);
    memset(&seen, 0, sizeof seen);
    seen.viewer = (struct display_viewer){seen_resized, seen_damaged, NULL, NULL};
    display_add_viewer(display, &seen.viewer);
}

static inline void rig_finish(void)
{
    vga_destroy(vga);
    pci_bus_destroy(bus);
    display_destroy(display);
    fixture_finish(&f);
}

static inline void out(unsigned port, u8 v)
{
    out8(&f, (u16)port, v);
}

static inline u8 in(unsigned port)
{
    return in8(&f, (u16)port);
}

static inline void indexed(unsigned port, u8 index, u8 v)
{
    out(port, index);
    out(port + 1, v);
}

static inline u8 indexed_read(unsigned port, u8 index)
{
    out(port, index);
    return in(port + 1);
}

static inline void sr(u8 index, u8 v)
{
    indexed(0x3c4, index, v);
}

static inline void gr(u8 index, u8 v)
{
    indexed(0x3ce, index, v);
}

static inline void cr(u8 index, u8 v)
{
    indexed(0x3d4, index, v);
}

/* Leaves the palette on. */
static inline void ar(u8 index, u8 v)
{
    in(0x3da);
    out(0x3c0, index);
    out(0x3c0, v);
    out(0x3c0, 0x20);
}

static inline void set_mode(unsigned mode)
{
    VGA_SET_MODE(&vga_modes[mode], out, in);
}

/* DAC entry i is 00RRGGBBh with six bits each. */
static inline void dac(u8 index, u32 rgb)
{
    out(0x3c8, index);
    out(0x3c9, (u8)(rgb >> 16));
    out(0x3c9, (u8)(rgb >> 8));
    out(0x3c9, (u8)rgb);
}

/* Every DAC entry another colour: i = 0..255 shows as color_of(i). */
static inline void dac_ramp(void)
{
    for (unsigned i = 0; i < 256; i++)
        dac((u8)i, (i & 0x3f) << 16 | (i >> 2 & 0x3f) << 8 | (i * 7 & 0x3f));
}

static inline u32 six(u32 v)
{
    return v << 2 | v >> 4;
}

static inline u32 color_of(unsigned i)
{
    return six(i & 0x3f) << 16 | six(i >> 2 & 0x3f) << 8 | six(i * 7 & 0x3f);
}

static inline void mem8(u32 gpa, u8 v)
{
    mem_write(f.mem, gpa, 1, v);
}

static inline u8 mem8r(u32 gpa)
{
    return (u8)mem_read(f.mem, gpa, 1);
}

/* Brings the picture up to date, and forgets what was seen. */
static inline void look(void)
{
    seen.resizes = seen.damages = 0;
    seen.area = 0;
    display_refresh(display);
}

static inline u32 pixel(u32 x, u32 y)
{
    const struct display_frame *frame = display_frame(display);
    return x < frame->width && y < frame->height ? frame->pixels[y * frame->stride + x] : ~0u;
}

static inline void check_size(u32 width, u32 height)
{
    CHECK_EQ(display_frame(display)->width, width);
    CHECK_EQ(display_frame(display)->height, height);
}

static inline void vbe(u16 index, u16 v)
{
    port_write(f.mem, 0x1ce, 2, index);
    port_write(f.mem, 0x1d0, 2, v);
}

static inline u16 vbe_read(u16 index)
{
    port_write(f.mem, 0x1ce, 2, index);
    return (u16)port_read(f.mem, 0x1cf, 2);
}

#endif
