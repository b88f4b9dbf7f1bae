/* Pixel formats (RFC 6143, section 7.4). */
#include "display/vnc_impl.h"

const struct vnc_format vnc_native_format = {
    .bpp = 32, .depth = 24, .max = {255, 255, 255}, .shift = {16, 8, 0}};

static bool format_is_possible(const struct vnc_format *f)
{
    if ((f->bpp != 8 && f->bpp != 16 && f->bpp != 32) || f->depth < 1 || f->depth > f->bpp)
        return false;
    for (int i = 0; i < 3; i++) {
        /* A maximum is one less than a power of two. */
        if (!f->max[i] || (f->max[i] & (f->max[i] + 1u)) || f->shift[i] >= f->bpp ||
            (u64)f->max[i] << f->shift[i] > MASK(f->bpp))
            return false;
    }
    return true;
}

/* `v`, of the format's size, as it lies in memory. */
static u32 in_memory_order(const struct vnc_format *f, u32 v)
{
    if (!f->big_endian || f->bpp == 8)
        return v;
    return f->bpp == 16 ? __builtin_bswap16((u16)v) : __builtin_bswap32(v);
}

/* CPIXELs have three bytes of a 32-bit pixel whose fourth holds nothing (section 7.7.5). */
static void find_compact_form(struct vnc_pixels *p)
{
    const struct vnc_format *f = &p->format;
    u32 used = 0;
    for (int i = 0; i < 3; i++)
        used |= (u32)f->max[i] << f->shift[i];
    p->compact_bytes = p->bytes;
    p->compact_first = 0;
    if (f->bpp != 32 || f->depth > 24)
        return;
    if (!(used & 0xff000000)) {
        p->compact_bytes = 3;
        p->compact_first = f->big_endian ? 1 : 0;
    } else if (!(used & 0xff)) {
        p->compact_bytes = 3;
        p->compact_first = f->big_endian ? 0 : 1;
    }
}

int vnc_pixels_set(struct vnc_pixels *p, const struct vnc_format *format)
{
    struct vnc_format f = *format;
    if (f.colour_map) {
        if (f.bpp != 8)
            return -EINVAL;
        f = (struct vnc_format){
            .bpp = 8, .depth = 8, .colour_map = true, .max = {7, 7, 3}, .shift = {0, 3, 6}};
    }
    if (!format_is_possible(&f))
        return -EINVAL;
    p->format = f;
    p->bytes = f.bpp / 8;
    for (int i = 0; i < 3; i++)
        for (u32 v = 0; v < 256; v++)
            p->part[i][v] = in_memory_order(&f, (v * f.max[i] + 127) / 255 << f.shift[i]);
    bool full = f.max[0] == 255 && f.max[1] == 255 && f.max[2] == 255;
    p->identity = f.bpp == 32 && !f.big_endian && full && f.shift[0] == 16 && f.shift[1] == 8 && !f.shift[2];
    p->tight_rgb = f.bpp == 32 && f.depth == 24 && full;
    find_compact_form(p);
    return 0;
}
