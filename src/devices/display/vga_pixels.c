/* Graphics: a scan line's bytes become pixels. */
#include "devices/display/vga_paint.h"

/* What a plane's byte contributes to eight pixels, four bits each, the leftmost pixel lowest. */
static u32 bits_spread(u8 byte)
{
    u32 x = byte;
    x = (x & 0xf0) >> 4 | (x & 0x0f) << 16;
    x = (x & 0x000c000c) >> 2 | (x & 0x00030003) << 8;
    return (x & 0x02020202) >> 1 | (x & 0x01010101) << 4;
}

/* Eight pixels of four bits from the planes' bytes at one address. */
static u32 planar_pixels(u32 planes)
{
    return bits_spread((u8)planes) | bits_spread((u8)(planes >> 8)) << 1 |
           bits_spread((u8)(planes >> 16)) << 2 | bits_spread((u8)(planes >> 24)) << 3;
}

/* CGA's four colours: pairs of bits, four pixels from planes 0 and 2, then four from 1 and 3. */
static u32 cga_pixels(u32 planes)
{
    u32 pixels = 0;
    for (unsigned i = 0; i < 8; i++) {
        u32 low = planes >> (i < 4 ? 0 : 8), high = planes >> (i < 4 ? 16 : 24);
        unsigned shift = 6 - 2 * (i & 3);
        pixels |= ((low >> shift & 3) | (high >> shift & 3) << 2) << (4 * i);
    }
    return pixels;
}

static u32 *emit(u32 *out, u32 color, bool doubled)
{
    *out++ = color;
    if (doubled)
        *out++ = color;
    return out;
}

/* The four bytes of the planes at a place. */
static u32 planes_at(const struct vga *vga, u64 offset)
{
    return load_le32(vga->vram->hva + offset * VGA_PLANES % VGA_MEMORY_SIZE);
}

/* One line of 16 colours or CGA's 4. `linear`: VBE's, else the CRT controller's addresses. */
static void line_indexed(struct vga *vga, const struct vga_line *line, u64 linear, u32 *out)
{
    const struct vga_painter *p = vga->painter;
    const struct vga_mode *m = &p->mode;
    u32 enabled = m->ar[AR_PLANE_ENABLE] & 0xf;
    for (u32 column = 0; column <= m->columns; column++) {
        u64 offset =
            m->pitch ? linear + column : vga_plane_address(m, line->counter + column, line->row_scan);
        u32 planes = planes_at(vga, offset);
        u32 pixels = m->kind == VGA_CGA4 ? cga_pixels(planes) : planar_pixels(planes);
        for (unsigned i = 0; i < 8; i++, pixels >>= 4)
            out = emit(out, p->ega[pixels & enabled], m->doubled);
    }
}

/* One line of the VGA's 256 colours: an address, four pixels. */
static void line_256(struct vga *vga, const struct vga_line *line, u32 *out)
{
    const struct vga_painter *p = vga->painter;
    for (u32 column = 0; column <= p->mode.columns; column++) {
        u32 planes = planes_at(vga, vga_plane_address(&p->mode, line->counter + column, line->row_scan));
        for (unsigned i = 0; i < 4; i++, planes >>= 8)
            out = emit(out, p->color[planes & 0xff], true);
    }
}

static u32 color_of_16(u32 v)
{
    u32 r = v >> 11, g = v >> 5 & 0x3f, b = v & 0x1f;
    return (r << 3 | r >> 2) << 16 | (g << 2 | g >> 4) << 8 | (b << 3 | b >> 2);
}

static u32 color_of_15(u32 v)
{
    u32 r = v >> 10 & 0x1f, g = v >> 5 & 0x1f, b = v & 0x1f;
    return (r << 3 | r >> 2) << 16 | (g << 3 | g >> 2) << 8 | (b << 3 | b >> 2);
}

static void line_packed(const struct vga_painter *p, const u8 *in, u32 *out)
{
    u32 width = p->mode.width;
    switch (p->mode.bits) {
    case 8:
        for (u32 x = 0; x < width; x++)
            out[x] = p->color[in[x]];
        break;
    case 15:
        for (u32 x = 0; x < width; x++)
            out[x] = color_of_15(load_le16(in + 2 * x));
        break;
    case 16:
        for (u32 x = 0; x < width; x++)
            out[x] = color_of_16(load_le16(in + 2 * x));
        break;
    case 24:
        for (u32 x = 0; x < width; x++)
            out[x] = (u32)(in[3 * x + 2] << 16 | in[3 * x + 1] << 8 | in[3 * x]);
        break;
    default:
        for (u32 x = 0; x < width; x++)
            out[x] = load_le32(in + 4 * x) & 0xffffff;
    }
}

/* Has any of the bytes behind the line changed? */
static bool line_dirty(const struct vga_painter *p, const struct vga_line *line)
{
    const struct vga_mode *m = &p->mode;
    bool in_order = (m->sr[SR_MEMORY_MODE] & MEMORY_CHAIN4) ||
                    ((m->cr[CR_MODE] & BIT(6)) && !(m->cr[CR_UNDERLINE] & BIT(6)));
    if (!in_order || line->counter + m->columns + 1 > VGA_PLANE_SIZE)
        return vga_pages_dirty(p, 0, VGA_PLANE_SIZE * VGA_PLANES);
    u64 first = vga_plane_address(m, line->counter, line->row_scan);
    return vga_pages_dirty(p, first * VGA_PLANES, (m->columns + 1) * VGA_PLANES);
}

static void paint_packed(struct vga *vga, struct vga_damage *damage, bool all)
{
    struct vga_painter *p = vga->painter;
    const struct vga_mode *m = &p->mode;
    u64 bytes = (u64)m->width * (m->bits == 15 ? 16 : m->bits) / 8, at = m->start;
    for (u32 y = 0; y < m->height; y++, at += m->pitch) {
        if (at + bytes > VGA_MEMORY_SIZE || (!all && !vga_pages_dirty(p, at, bytes)))
            continue;
        line_packed(p, vga->vram->hva + at, p->line);
        vga_line_put(vga, damage, y, p->line, m->width);
    }
}

static void paint_vbe_planar(struct vga *vga, struct vga_damage *damage, bool all)
{
    struct vga_painter *p = vga->painter;
    const struct vga_mode *m = &p->mode;
    u64 at = m->start;
    for (u32 y = 0; y < m->height; y++, at += m->pitch) {
        if (!all && !vga_pages_dirty(p, at, m->width / 2))
            continue;
        line_indexed(vga, NULL, at / VGA_PLANES, p->line);
        vga_line_put(vga, damage, y, p->line, m->width);
    }
}

static void paint_vga(struct vga *vga, struct vga_damage *damage, bool all)
{
    struct vga_painter *p = vga->painter;
    struct vga_raster raster;
    struct vga_line line;
    vga_raster_start(&raster, &p->mode, &vga->regs);
    all |= raster.row_start != p->row_start;
    p->row_start = raster.row_start;
    for (u32 y = 0; y < p->mode.height; y++) {
        vga_raster_next(&raster, &line);
        if (!all && !line_dirty(p, &line))
            continue;
        if (p->mode.kind == VGA_256)
            line_256(vga, &line, p->line);
        else
            line_indexed(vga, &line, 0, p->line);
        vga_line_put(vga, damage, y, p->line + (line.panning << p->mode.doubled), p->mode.width);
    }
}

void vga_paint_pixels(struct vga *vga, struct vga_damage *damage, bool all)
{
    const struct vga_mode *m = &vga->painter->mode;
    if (m->kind == VGA_PACKED)
        paint_packed(vga, damage, all);
    else if (m->pitch)
        paint_vbe_planar(vga, damage, all);
    else
        paint_vga(vga, damage, all);
}
