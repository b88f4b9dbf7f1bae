/*
 * Text modes: plane 0 has the characters, plane 1 their attributes, plane 2 the glyphs (FreeVGA, "VGA Text
 * Mode Operation").
 */
#include <stdlib.h>

#include "devices/display/vga_paint.h"

/* A painted cell, besides character (7:0) and attribute (15:8). */
enum cell_bit {
    CELL_HIDDEN = BIT(16), /* blinks, and is in the dark half */
    CELL_CURSOR = BIT(17), /* with its first and last line: */
    CELL_CURSOR_START = 18,
    CELL_CURSOR_END = 23,
};

/* The cursor blinks every 16 frames, characters every 32. */
#define CURSOR_PHASE_FRAMES 8
#define BLINK_PHASE_FRAMES  16

/* What is the same for all cells of a refresh. */
struct text_look {
    bool hidden; /* of blinking characters */
    u32 cursor;  /* CELL_*, 0 while it is not shown */
    u32 cursor_at;
};

static u32 phase(const struct vga *vga, unsigned frames)
{
    u64 now = clock_now(loop_clock(vga->env.loop));
    return (u32)(now / (vga_frame_ns(&vga->regs) * frames)) & 1;
}

static void look_get(const struct vga *vga, struct text_look *look)
{
    const struct vga_regs *r = &vga->regs;
    u32 start = r->cr[CR_CURSOR_START] & 0x1f, end = r->cr[CR_CURSOR_END] & 0x1f;
    *look = (struct text_look){.hidden = phase(vga, BLINK_PHASE_FRAMES)};
    look->cursor_at =
        (u32)(r->cr[CR_CURSOR_HIGH] << 8 | r->cr[CR_CURSOR_LOW]) + (r->cr[CR_CURSOR_END] >> 5 & 3);
    if (!(r->cr[CR_CURSOR_START] & BIT(5)) && start <= end && !phase(vga, CURSOR_PHASE_FRAMES))
        look->cursor = CELL_CURSOR | start << CELL_CURSOR_START | end << CELL_CURSOR_END;
}

static u32 cell_get(const struct vga *vga, const struct vga_mode *m, u32 counter)
{
    return load_le16(vga->vram->hva + (u64)vga_plane_address(m, counter, 0) * VGA_PLANES);
}

static u32 cell_look(const struct vga_mode *m, const struct text_look *look, u32 cell, u32 counter)
{
    if (look->hidden && (m->ar[AR_MODE] & ATTRIBUTE_BLINK) && (cell & 0x8000))
        cell |= CELL_HIDDEN;
    if ((counter & 0xffff) == (look->cursor_at & 0xffff))
        cell |= look->cursor;
    return cell;
}

/* --- fonts ------------------------------------------------------------------------------------------------
 */

/* Byte offset in plane 2 of the font for attribute bit 3 = 0 (map B) or 1 (map A); SR3. */
static u32 font_offset(const struct vga_mode *m, unsigned which)
{
    u8 sr = m->sr[SR_CHARACTER_MAP];
    unsigned map = which ? (sr >> 2 & 3) | (sr >> 3 & 4) : (sr & 3) | (sr >> 2 & 4);
    if (!(m->sr[SR_MEMORY_MODE] & MEMORY_EXTENDED))
        map = 0;
    return (map & 3) * 0x4000 + (map >> 2) * 0x2000;
}

/* True: a glyph is another one than it was. */
static bool fonts_load(struct vga *vga, bool all)
{
    struct vga_painter *p = vga->painter;
    bool changed = false;
    for (unsigned which = 0; which < 2; which++) {
        u32 offset = font_offset(&p->mode, which);
        u8 *font = p->font[which][0];
        if (!all && !vga_pages_dirty(p, offset * VGA_PLANES, sizeof p->font[0] * VGA_PLANES))
            continue;
        for (u32 i = 0; i < sizeof p->font[0]; i++) {
            u8 row = vga->vram->hva[(offset + i) * VGA_PLANES + 2];
            changed |= font[i] != row;
            font[i] = row;
        }
    }
    return changed;
}

/* --- painting ---------------------------------------------------------------------------------------------
 */

/* The dots of a cell's line: bit 8 is the leftmost, bit 0 the ninth. */
static u32 cell_dots(const struct vga_painter *p, u32 cell, u32 row_scan)
{
    const struct vga_mode *m = &p->mode;
    u32 character = cell & 0xff, attribute = cell >> 8 & 0xff;
    u32 dots = (u32)p->font[attribute >> 3 & 1][character][row_scan] << 1;
    if ((m->ar[AR_MODE] & ATTRIBUTE_LINE_GRAPHICS) && (character & 0xe0) == 0xc0)
        dots |= dots >> 1 & 1;
    if ((attribute & 0x77) == 0x01 && row_scan == (m->cr[CR_UNDERLINE] & 0x1f))
        dots = 0x1ff;
    if (cell & CELL_HIDDEN)
        dots = 0;
    if ((cell & CELL_CURSOR) && row_scan >= (cell >> CELL_CURSOR_START & 0x1f) &&
        row_scan <= (cell >> CELL_CURSOR_END & 0x1f))
        dots = 0x1ff;
    return dots;
}

static u32 *cell_paint(const struct vga_painter *p, u32 cell, u32 row_scan, u32 *out)
{
    const struct vga_mode *m = &p->mode;
    u32 enabled = m->ar[AR_PLANE_ENABLE] & 0xf, attribute = cell >> 8 & 0xff;
    u32 back = attribute >> 4 & (m->ar[AR_MODE] & ATTRIBUTE_BLINK ? 7 : 15);
    u32 color[2] = {p->ega[back & enabled], p->ega[attribute & enabled]};
    u32 dots = cell_dots(p, cell, row_scan);
    for (unsigned i = 0; i < m->dots; i++) {
        *out++ = color[dots >> (8 - i) & 1];
        if (m->doubled) {
            *out = out[-1];
            out++;
        }
    }
    return out;
}

/* Brings the cells of a row up to date (one more than is shown: panning shows a part of it). True: one has
 * changed. */
static bool row_update(struct vga *vga, const struct text_look *look, u32 *cells, u32 counter)
{
    const struct vga_mode *m = &vga->painter->mode;
    bool changed = false;
    for (u32 column = 0; column <= m->columns; column++) {
        u32 at = counter + column, cell = cell_look(m, look, cell_get(vga, m, at), at);
        changed |= cells[column] != cell;
        cells[column] = cell;
    }
    return changed;
}

/* Room for a cell per column and line: no mode has more rows than lines. */
static bool cells_resize(struct vga_painter *p)
{
    size_t count = (size_t)p->mode.height * (p->mode.columns + 1);
    if (count <= p->cell_count)
        return true;
    u32 *cells = calloc(count, sizeof *cells);
    if (!cells)
        return false;
    free(p->cells);
    p->cells = cells;
    p->cell_count = count;
    return true;
}

void vga_paint_text(struct vga *vga, struct vga_damage *damage, bool all)
{
    struct vga_painter *p = vga->painter;
    const struct vga_mode *m = &p->mode;
    struct vga_raster raster;
    struct vga_line line;
    struct text_look look;
    if (!cells_resize(p))
        return;
    all |= fonts_load(vga, all);
    look_get(vga, &look);
    vga_raster_start(&raster, m, &vga->regs);
    u32 *next = p->cells, *cells = next;
    bool changed = false;
    for (u32 y = 0; y < m->height; y++) {
        vga_raster_next(&raster, &line);
        if (line.new_row) {
            cells = next;
            next += m->columns + 1;
            changed = row_update(vga, &look, cells, line.counter);
        }
        if (!changed && !all)
            continue;
        u32 *out = p->line;
        for (u32 column = 0; column <= m->columns; column++)
            out = cell_paint(p, cells[column], line.row_scan, out);
        vga_line_put(vga, damage, y, p->line + (line.panning << m->doubled), m->width);
    }
}

/* --- reading ----------------------------------------------------------------------------------------------
 */

/* Code page 437: 00h..1Fh and 7Fh..FFh. */
static const u16 cp437_low[32] = {
    0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022, 0x25d8, 0x25cb, 0x25d9,
    0x2642, 0x2640, 0x266a, 0x266b, 0x263c, 0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7,
    0x25ac, 0x21a8, 0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};
static const u16 cp437_high[129] = {
    0x2302, 0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea, 0x00eb, 0x00e8, 0x00ef,
    0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6, 0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff,
    0x00d6, 0x00dc, 0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa, 0x00f1, 0x00d1,
    0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc, 0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593,
    0x2502, 0x2524, 0x2561, 0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b, 0x2510,
    0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f, 0x255a, 0x2554, 0x2569, 0x2566, 0x2560,
    0x2550, 0x256c, 0x2567, 0x2568, 0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518,
    0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393, 0x03c0, 0x03a3, 0x03c3, 0x00b5,
    0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4, 0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264,
    0x2320, 0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2, 0x25a0, 0x0020,
};

/* At most three bytes. */
static char *utf8_put(char *out, u8 character)
{
    u32 code = character < 0x20 ? cp437_low[character] : character;
    if (character >= 0x7f)
        code = cp437_high[character - 0x7f];
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

char *vga_text_read(struct vga *vga, const struct vga_mode *m)
{
    struct vga_raster raster;
    struct vga_line line;
    char *text = malloc((size_t)m->height * (m->columns * 3 + 1) + 1), *out = text;
    if (!text)
        return NULL;
    vga_raster_start(&raster, m, &vga->regs);
    for (u32 y = 0; y < m->height; y++) {
        vga_raster_next(&raster, &line);
        if (!line.new_row)
            continue;
        char *end = out;
        for (u32 column = 0; column < m->columns; column++) {
            u8 character = (u8)cell_get(vga, m, line.counter + column);
            out = utf8_put(out, character);
            if (out[-1] != ' ')
                end = out;
        }
        out = end;
        *out++ = '\n';
    }
    *out = 0;
    return text;
}
