#include <stdlib.h>

#include "devices/display/vga_paint.h"

/* --- damage -----------------------------------------------------------------------------------------------
 */

/* So many unchanged lines do not end a rectangle: those of a glyph stay together. */
#define DAMAGE_GAP 8

void vga_damage_flush(struct vga_damage *damage)
{
    if (damage->rect.h)
        display_damage(damage->display, damage->rect);
    damage->rect.h = 0;
}

void vga_damage_add(struct vga_damage *damage, u32 y, u32 from, u32 to)
{
    struct display_rect *rect = &damage->rect;
    if (rect->h && y <= rect->y + rect->h + DAMAGE_GAP) {
        u32 end = MAX(rect->x + rect->w, to);
        rect->x = MIN(rect->x, from);
        rect->w = end - rect->x;
        rect->h = y + 1 - rect->y;
        return;
    }
    vga_damage_flush(damage);
    *rect = (struct display_rect){from, y, to - from, 1};
}

void vga_line_put(struct vga *vga, struct vga_damage *damage, u32 y, const u32 *pixels, u32 count)
{
    const struct display_frame *frame = display_frame(vga->display);
    u32 *old = frame->pixels + (size_t)y * frame->stride;
    u32 from = 0, to = MIN(count, frame->width);
    if (memcmp(old, pixels, to * sizeof *old) == 0)
        return;
    while (old[from] == pixels[from])
        from++;
    while (old[to - 1] == pixels[to - 1])
        to--;
    memcpy(old + from, pixels + from, (to - from) * sizeof *old);
    vga_damage_add(damage, y, from, to);
}

/* --- dirty pages ------------------------------------------------------------------------------------------
 */

/*
 * The log says which pages were written. A processor that had a page in its TLB as dirty may write to it once
 * more, without a new mark, until it has noticed that the log was collected: so a page found dirty is painted
 * at the next refresh, too.
 */
static void dirty_collect(struct vga *vga)
{
    struct vga_painter *p = vga->painter;
    u64 found[VGA_PAGES / 64], any = 0;
    ram_block_collect_dirty(vga->vram, found);
    for (size_t i = 0; i < ARRAY_LEN(found); i++) {
        p->dirty[i] = found[i] | p->recent[i];
        p->recent[i] = found[i];
        any |= found[i];
    }
    if (any)
        mem_dirty_collected(vga->env.mem);
}

bool vga_pages_dirty(const struct vga_painter *p, u64 offset, u64 len)
{
    u64 last = MIN((offset + len - 1) >> PAGE_SHIFT, VGA_PAGES - 1);
    for (u64 page = offset >> PAGE_SHIFT; page <= last; page++)
        if (p->dirty[page / 64] >> (page % 64) & 1)
            return true;
    return false;
}

/* --- the mode ---------------------------------------------------------------------------------------------
 */

static void mode_copy_registers(struct vga_mode *m, const struct vga_regs *r)
{
    memcpy(m->cr, r->cr, sizeof m->cr);
    memcpy(m->sr, r->sr, sizeof m->sr);
    memcpy(m->gr, r->gr, sizeof m->gr);
    memcpy(m->ar, r->ar, sizeof m->ar);
    memcpy(m->palette, r->palette, sizeof m->palette);
    m->dac_mask = r->dac_mask;
    /* What does not change the picture, or is looked at separately. */
    memset(m->cr + 2, 0, 5);
    memset(m->cr + CR_CURSOR_START, 0, CR_CURSOR_LOW + 1 - CR_CURSOR_START);
    memset(m->cr + CR_RETRACE_START, 0, 2);
    memset(m->cr + 0x15, 0, 2);
    m->cr[0] = 0;
    m->sr[SR_RESET] = m->sr[SR_MAP_MASK] = 0;
    m->ar[AR_OVERSCAN] = 0;
    u8 mode = m->gr[GR_MODE] & (MODE_SHIFT_256 | MODE_SHIFT_CGA), misc = m->gr[GR_MISC] & MISC_GRAPHICS;
    memset(m->gr, 0, sizeof m->gr);
    m->gr[GR_MODE] = mode;
    m->gr[GR_MISC] = misc;
}

static void mode_of_vbe(struct vga_mode *m, const struct vga_regs *r)
{
    m->bits = r->vbe[VBE_BPP];
    m->kind = m->bits == 4 ? VGA_PLANAR : VGA_PACKED;
    m->width = r->vbe[VBE_XRES];
    m->height = r->vbe[VBE_YRES];
    m->columns = m->width / 8;
    m->dots = 8;
    m->pitch = vga_vbe_pitch(r);
    m->start = (u32)vga_vbe_start(r);
    m->wide_dac = !!(r->vbe[VBE_ENABLE] & VBE_8BIT_DAC);
}

static void mode_of_vga(struct vga_mode *m, const struct vga_regs *r)
{
    bool graphics = r->gr[GR_MISC] & MISC_GRAPHICS;
    m->kind = !graphics                         ? VGA_TEXT
              : r->gr[GR_MODE] & MODE_SHIFT_256 ? VGA_256
              : r->gr[GR_MODE] & MODE_SHIFT_CGA ? VGA_CGA4
                                                : VGA_PLANAR;
    m->dots = m->kind == VGA_256 ? 4 : graphics || (r->sr[SR_CLOCKING] & CLOCKING_8_DOTS) ? 8 : 9;
    m->doubled = m->kind == VGA_256 || (r->sr[SR_CLOCKING] & CLOCKING_HALF);
    m->columns = MIN(r->cr[CR_H_DISPLAY_END] + 1u, DISPLAY_MAX_WIDTH / (m->dots << m->doubled));
    m->width = (m->columns * m->dots) << m->doubled;
    m->height = (vga_vertical(r, CR_V_DISPLAY_END, 1, 6) + 1) << (r->cr[CR_MODE] >> 2 & 1);
    m->line_compare = vga_line_compare(r) << (r->cr[CR_MODE] >> 2 & 1);
}

static void mode_get(struct vga_mode *m, const struct vga_regs *r)
{
    memset(m, 0, sizeof *m);
    bool running =
        (r->sr[SR_RESET] == 3) && !(r->sr[SR_CLOCKING] & CLOCKING_SCREEN_OFF) && (r->cr[CR_MODE] & BIT(7));
    if (!(r->ar_index & AR_PALETTE_ON) || (!running && !vga_vbe_is_on(r)))
        return; /* VGA_BLANK */
    mode_copy_registers(m, r);
    if (vga_vbe_is_on(r))
        mode_of_vbe(m, r);
    else
        mode_of_vga(m, r);
}

/* --- the raster -------------------------------------------------------------------------------------------
 */

void vga_raster_start(struct vga_raster *raster, const struct vga_mode *mode, const struct vga_regs *r)
{
    u32 byte_panning = r->cr[CR_PRESET_ROW] >> 5 & 3;
    *raster = (struct vga_raster){
        .mode = mode,
        .row_start = (u32)(r->cr[CR_START_HIGH] << 8 | r->cr[CR_START_LOW]) + byte_panning,
        .row_scan = r->cr[CR_PRESET_ROW] & 0x1f,
        .new_row = true,
    };
}

/* Pixels to skip: 8-dot characters 0..7; 9-dot ones 8 (none), 0..7 (1..8); 256 colours every second. */
static u32 panning_of(const struct vga_mode *m, bool split)
{
    u32 panning = m->ar[AR_PANNING];
    if (split && (m->ar[AR_MODE] & ATTRIBUTE_PAN_TOP))
        panning = m->dots == 9 ? 8 : 0;
    if (m->dots == 9)
        return panning >= 8 ? 0 : panning + 1;
    return m->dots == 4 ? (panning & 7) / 2 : panning & 7;
}

/* After a line: the next of the row, or the next row; every line counts twice if it is scanned twice. */
static void raster_advance(struct vga_raster *raster)
{
    const struct vga_mode *m = raster->mode;
    raster->new_row = false;
    if (raster->y++ == m->line_compare && !raster->split) {
        raster->split = raster->new_row = true;
        raster->row_start = raster->row_scan = 0;
        raster->repeated = false;
        return;
    }
    raster->repeated = (m->cr[CR_MAX_SCAN] & BIT(7)) && !raster->repeated;
    if (raster->repeated)
        return;
    if (raster->row_scan == (m->cr[CR_MAX_SCAN] & 0x1f)) {
        raster->row_scan = 0;
        raster->row_start += m->cr[CR_OFFSET] * 2u;
        raster->new_row = true;
    } else {
        raster->row_scan = (raster->row_scan + 1) & 0x1f;
    }
}

void vga_raster_next(struct vga_raster *raster, struct vga_line *line)
{
    *line = (struct vga_line){
        .counter = raster->row_start & 0xffff,
        .row_scan = raster->row_scan,
        .panning = panning_of(raster->mode, raster->split),
        .new_row = raster->new_row,
    };
    raster_advance(raster);
}

u32 vga_plane_address(const struct vga_mode *m, u32 counter, u32 row_scan)
{
    u32 address = counter & 0xffff, mode = m->cr[CR_MODE];
    if (m->sr[SR_MEMORY_MODE] & MEMORY_CHAIN4)
        return address; /* contiguous here: see vga.h */
    if (m->cr[CR_UNDERLINE] & BIT(6))
        address = address << 2 | (address >> 14 & 3);
    else if (!(mode & BIT(6)))
        address = address << 1 | (address >> (mode & BIT(5) ? 15 : 13) & 1);
    if (!(mode & BIT(0)))
        address = (address & ~BIT(13)) | (row_scan & 1) << 13;
    if (!(mode & BIT(1)))
        address = (address & ~BIT(14)) | (row_scan >> 1 & 1) << 14;
    return address & (VGA_PLANE_SIZE - 1);
}

/* --- colours ----------------------------------------------------------------------------------------------
 */

static u32 channel(const struct vga_mode *m, u8 value)
{
    value &= 0x3f | (m->wide_dac ? 0xc0 : 0);
    return m->wide_dac ? value : (u32)(value << 2 | value >> 4);
}

static void colors_make(struct vga_painter *p)
{
    const struct vga_mode *m = &p->mode;
    for (unsigned i = 0; i < 256; i++) {
        const u8 *rgb = m->palette + (i & m->dac_mask) * 3;
        p->color[i] = channel(m, rgb[0]) << 16 | channel(m, rgb[1]) << 8 | channel(m, rgb[2]);
    }
    for (unsigned i = 0; i < 16; i++) {
        unsigned select = m->ar[AR_COLOR_SELECT], index = m->ar[i];
        if (m->ar[AR_MODE] & ATTRIBUTE_P54)
            index = (index & 0x0f) | (select & 3) << 4;
        p->ega[i] = p->color[(index & 0x3f) | (select & 0xc) << 4];
    }
}

/* --- refresh ----------------------------------------------------------------------------------------------
 */

static void paint_blank(struct vga *vga, struct vga_damage *damage)
{
    const struct display_frame *frame = display_frame(vga->display);
    memset(vga->painter->line, 0, sizeof vga->painter->line);
    for (u32 y = 0; y < frame->height; y++)
        vga_line_put(vga, damage, y, vga->painter->line, frame->width);
}

void vga_paint(void *opaque, bool all)
{
    struct vga *vga = opaque;
    struct vga_painter *p = vga->painter;
    struct vga_damage damage = {.display = vga->display};
    struct vga_mode mode;
    mode_get(&mode, &vga->regs);
    if (!p->painted || memcmp(&mode, &p->mode, sizeof mode) != 0) {
        if (mode.kind != VGA_BLANK && display_set_size(vga->display, mode.width, mode.height) < 0)
            return;
        p->mode = mode;
        p->painted = all = true;
        colors_make(p);
    }
    dirty_collect(vga);
    if (mode.kind == VGA_BLANK)
        paint_blank(vga, &damage);
    else if (mode.kind == VGA_TEXT)
        vga_paint_text(vga, &damage, all);
    else
        vga_paint_pixels(vga, &damage, all);
    vga_damage_flush(&damage);
}

char *vga_text(void *opaque)
{
    struct vga *vga = opaque;
    struct vga_mode mode;
    mode_get(&mode, &vga->regs);
    return mode.kind == VGA_TEXT ? vga_text_read(vga, &mode) : NULL;
}

int vga_painter_create(struct vga_painter **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? 0 : -ENOMEM;
}

void vga_painter_destroy(struct vga_painter *p)
{
    if (!p)
        return;
    free(p->cells);
    free(p);
}
