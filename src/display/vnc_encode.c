/*
 * Encodings of a rectangle (RFC 6143, section 7.7; Tight: rfbproto, 7.7.5 there). Rectangles are at most
 * VNC_RECT_WIDE x VNC_TILE pixels, so one fits the server's scratch buffer in any form.
 */
#include <string.h>

#include "display/vnc_impl.h"

/* --- the picture ------------------------------------------------------------------------------------ */

/* Copies w x h pixels from the frame, as 00RRGGBBh; what is outside is black. */
static void copy_pixels(const struct vnc_client *c, struct display_rect r, u32 *to)
{
    const struct display_frame *f = display_frame(c->vnc->display);
    u32 inside = r.x < f->width ? MIN(r.w, f->width - r.x) : 0;
    for (u32 y = 0; y < r.h; y++, to += r.w) {
        u32 n = r.y + y < f->height ? inside : 0;
        if (n)
            memcpy(to, f->pixels + (size_t)(r.y + y) * f->stride + r.x, n * sizeof *to);
        memset(to + n, 0, (r.w - n) * sizeof *to);
        for (u32 x = 0; x < n; x++)
            to[x] &= 0xffffff;
    }
}

/* The colours of some pixels, as long as they are few. */
struct palette {
    unsigned count, limit; /* count > limit: there are more */
    u32 colour[256];
    s16 slot[1024]; /* hash of a colour to its index; -1: free */
};

static unsigned palette_slot(const struct palette *p, u32 colour)
{
    unsigned at = (colour * 2654435761u) >> 22;
    while (p->slot[at] >= 0 && p->colour[p->slot[at]] != colour)
        at = (at + 1) & 1023;
    return at;
}

static void palette_collect(struct palette *p, const u32 *pixels, size_t n, unsigned limit)
{
    p->count = 0;
    p->limit = limit;
    p->colour[0] = p->colour[1] = 0;
    memset(p->slot, 0xff, sizeof p->slot);
    for (size_t i = 0; i < n; i++) {
        if (i && pixels[i] == pixels[i - 1])
            continue;
        unsigned at = palette_slot(p, pixels[i]);
        if (p->slot[at] >= 0)
            continue;
        if (p->count == limit) {
            p->count++;
            return;
        }
        p->slot[at] = (s16)p->count;
        p->colour[p->count++] = pixels[i];
    }
}

static bool palette_fits(const struct palette *p)
{
    return p->count <= p->limit;
}

static u8 palette_index(const struct palette *p, u32 colour)
{
    return (u8)p->slot[palette_slot(p, colour)];
}

/* --- pixels in the viewer's form -------------------------------------------------------------------- */

static u8 *put_pixel(const struct vnc_pixels *p, u8 *to, u32 rgb)
{
    u32 v = vnc_pixel(p, rgb);
    memcpy(to, &v, p->bytes);
    return to + p->bytes;
}

static u8 *put_pixels(const struct vnc_pixels *p, u8 *to, const u32 *rgb, size_t n)
{
    if (p->identity) {
        memcpy(to, rgb, n * 4);
        return to + n * 4;
    }
    for (size_t i = 0; i < n; i++)
        to = put_pixel(p, to, rgb[i]);
    return to;
}

static u8 *put_compact(const struct vnc_pixels *p, u8 *to, u32 rgb)
{
    u32 v = vnc_pixel(p, rgb);
    memcpy(to, (const u8 *)&v + p->compact_first, p->compact_bytes);
    return to + p->compact_bytes;
}

static u8 *put_tight(const struct vnc_pixels *p, u8 *to, u32 rgb)
{
    if (!p->tight_rgb)
        return put_pixel(p, to, rgb);
    to[0] = (u8)(rgb >> 16);
    to[1] = (u8)(rgb >> 8);
    to[2] = (u8)rgb;
    return to + 3;
}

/* Indices of `bits` bits, from the most significant down, each row from a new byte on. */
static u8 *put_indices(const struct palette *pal, u8 *to, const u32 *rgb, u32 w, u32 h, unsigned bits)
{
    for (u32 y = 0; y < h; y++) {
        unsigned byte = 0, filled = 0;
        for (u32 x = 0; x < w; x++) {
            byte = byte << bits | palette_index(pal, *rgb++);
            filled += bits;
            if (filled == 8) {
                *to++ = (u8)byte;
                byte = filled = 0;
            }
        }
        if (filled)
            *to++ = (u8)(byte << (8 - filled));
    }
    return to;
}

/* --- raw -------------------------------------------------------------------------------------------- */

static void encode_raw(struct vnc_client *c, struct display_rect r, const u32 *rgb)
{
    size_t n = (size_t)r.w * r.h;
    u8 *to = vnc_out_reserve(c, n * c->pixels.bytes);
    if (to)
        vnc_out_commit(c, (size_t)(put_pixels(&c->pixels, to, rgb, n) - to));
}

/* --- Hextile ---------------------------------------------------------------------------------------- */

enum hextile { HEX_RAW = 1, HEX_BACKGROUND = 2, HEX_FOREGROUND = 4, HEX_SUBRECTS = 8 };

#define HEX_TILE 16u

/* The foreground of a tile of two colours as rectangles, each as wide as its run of pixels and as high as
 * that repeats; NULL if raw would be shorter. */
static u8 *put_subrects(u8 *to, const u8 *limit, const u32 *rgb, u32 w, u32 h, u32 background)
{
    bool done[HEX_TILE][HEX_TILE] = {0};
    u8 *count = to++;
    *count = 0;
    for (u32 y = 0; y < h; y++)
        for (u32 x = 0; x < w; x++) {
            u32 wide = 0, high = 1;
            while (x + wide < w && rgb[y * w + x + wide] != background && !done[y][x + wide])
                wide++;
            if (!wide)
                continue;
            for (bool same = true; y + high < h; high += same) {
                for (u32 i = 0; i < wide && same; i++)
                    same = rgb[(y + high) * w + x + i] != background && !done[y + high][x + i];
                if (!same)
                    break;
            }
            for (u32 i = 0; i < high; i++)
                memset(&done[y + i][x], true, wide);
            if (to + 2 > limit || *count == 255)
                return NULL;
            *to++ = (u8)(x << 4 | y);
            *to++ = (u8)((wide - 1) << 4 | (high - 1));
            ++*count;
        }
    return to;
}

static u8 *put_hextile(const struct vnc_pixels *p, u8 *to, const u32 *rgb, u32 w, u32 h)
{
    struct palette pal;
    size_t raw = (size_t)w * h * p->bytes;
    u8 *head = to++;
    palette_collect(&pal, rgb, (size_t)w * h, 2);
    if (palette_fits(&pal)) {
        *head = HEX_BACKGROUND;
        to = put_pixel(p, to, pal.colour[0]);
        if (pal.count == 1)
            return to;
        *head |= HEX_FOREGROUND | HEX_SUBRECTS;
        to = put_pixel(p, to, pal.colour[1]);
        to = put_subrects(to, head + raw, rgb, w, h, pal.colour[0]);
        if (to)
            return to;
    }
    *head = HEX_RAW;
    return put_pixels(p, head + 1, rgb, (size_t)w * h);
}

static void encode_hextile(struct vnc_client *c, struct display_rect r)
{
    u32 rgb[HEX_TILE * HEX_TILE];
    u8 *to = c->vnc->scratch;
    for (u32 y = 0; y < r.h; y += HEX_TILE)
        for (u32 x = 0; x < r.w; x += HEX_TILE) {
            struct display_rect tile = {r.x + x, r.y + y, MIN(HEX_TILE, r.w - x), MIN(HEX_TILE, r.h - y)};
            copy_pixels(c, tile, rgb);
            to = put_hextile(&c->pixels, to, rgb, tile.w, tile.h);
        }
    vnc_out(c, c->vnc->scratch, (size_t)(to - c->vnc->scratch));
}

/* --- zlib ------------------------------------------------------------------------------------------- */

static int zlib_level(const struct vnc_client *c)
{
    return c->compress_level ? c->compress_level : 1;
}

/* Compresses as a part of the stream, up to a byte boundary. Returns the length at the end of c->out. */
static size_t put_deflated(struct vnc_client *c, z_stream *z, bool *ready, u8 *data, size_t len)
{
    if (!*ready) {
        memset(z, 0, sizeof *z);
        if (deflateInit(z, zlib_level(c)) != Z_OK) {
            c->out_failed = true;
            return 0;
        }
        *ready = true;
    }
    size_t bound = deflateBound(z, len) + 64;
    u8 *to = vnc_out_reserve(c, bound);
    if (!to)
        return 0;
    z->next_in = data;
    z->avail_in = (uInt)len;
    z->next_out = to;
    z->avail_out = (uInt)bound;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || z->avail_in || !z->avail_out)
        c->out_failed = true;
    return bound - z->avail_out;
}

/* --- ZRLE ------------------------------------------------------------------------------------------- */

static u8 *put_zrle_tile(const struct vnc_pixels *p, u8 *to, const u32 *rgb, u32 w, u32 h)
{
    struct palette pal;
    size_t n = (size_t)w * h;
    palette_collect(&pal, rgb, n, 16);
    if (!palette_fits(&pal)) {
        *to++ = 0;
        for (size_t i = 0; i < n; i++)
            to = put_compact(p, to, rgb[i]);
        return to;
    }
    *to++ = (u8)pal.count; /* 1: one colour and no indices */
    for (unsigned i = 0; i < pal.count; i++)
        to = put_compact(p, to, pal.colour[i]);
    if (pal.count == 1)
        return to;
    return put_indices(&pal, to, rgb, w, h, pal.count == 2 ? 1 : pal.count <= 4 ? 2 : 4);
}

static void encode_zrle(struct vnc_client *c, struct display_rect r)
{
    u32 rgb[VNC_TILE * VNC_TILE];
    u8 *to = c->vnc->scratch;
    for (u32 x = 0; x < r.w; x += VNC_TILE) {
        struct display_rect tile = {r.x + x, r.y, MIN(VNC_TILE, r.w - x), r.h};
        copy_pixels(c, tile, rgb);
        to = put_zrle_tile(&c->pixels, to, rgb, tile.w, tile.h);
    }
    size_t head = c->out_to - c->out_from; /* in what waits, which may be moved */
    vnc_out_u32(c, 0);
    size_t len = put_deflated(c, &c->zrle, &c->zrle_ready, c->vnc->scratch, (size_t)(to - c->vnc->scratch));
    if (c->out_failed)
        return;
    u32 be = __builtin_bswap32((u32)len);
    memcpy(c->out + c->out_from + head, &be, sizeof be);
    vnc_out_commit(c, len);
}

/* --- Tight ------------------------------------------------------------------------------------------ */

enum tight { TIGHT_FILL = 0x80, TIGHT_FILTER = 0x40, TIGHT_PALETTE = 1 };

#define TIGHT_MIN_DEFLATED 12 /* shorter data is sent as it is */

/* Lengths of up to 22 bits, seven to a byte. Always in three, so that the place is known before the length.
 */
static void store_tight_length(u8 *to, size_t len)
{
    to[0] = (u8)(len | 0x80);
    to[1] = (u8)(len >> 7 | 0x80);
    to[2] = (u8)(len >> 14);
}

static void out_tight_data(struct vnc_client *c, unsigned stream, u8 *data, size_t len)
{
    if (len < TIGHT_MIN_DEFLATED) {
        vnc_out(c, data, len);
        return;
    }
    size_t head = c->out_to - c->out_from;
    vnc_out(c, "\0\0\0", 3);
    len = put_deflated(c, &c->tight[stream], &c->tight_ready[stream], data, len);
    if (c->out_failed)
        return;
    store_tight_length(c->out + c->out_from + head, len);
    vnc_out_commit(c, len);
}

static void out_tight_palette(struct vnc_client *c, struct display_rect r, const u32 *rgb,
                              const struct palette *pal)
{
    unsigned stream = pal->count == 2 ? 1 : 2;
    u8 colours[256 * 4], *end = colours;
    for (unsigned i = 0; i < pal->count; i++)
        end = put_tight(&c->pixels, end, pal->colour[i]);
    vnc_out_u8(c, (u8)(TIGHT_FILTER | stream << 4));
    vnc_out_u8(c, TIGHT_PALETTE);
    vnc_out_u8(c, (u8)(pal->count - 1));
    vnc_out(c, colours, (size_t)(end - colours));
    u8 *data = c->vnc->scratch;
    end = put_indices(pal, data, rgb, r.w, r.h, pal->count == 2 ? 1 : 8);
    out_tight_data(c, stream, data, (size_t)(end - data));
}

static void encode_tight(struct vnc_client *c, struct display_rect r, const u32 *rgb)
{
    struct palette pal;
    size_t n = (size_t)r.w * r.h;
    u8 pixel[4];
    palette_collect(&pal, rgb, n, c->pixels.bytes == 1 ? 2 : 256);
    if (pal.count == 1) {
        vnc_out_u8(c, TIGHT_FILL);
        vnc_out(c, pixel, (size_t)(put_tight(&c->pixels, pixel, rgb[0]) - pixel));
    } else if (palette_fits(&pal)) {
        out_tight_palette(c, r, rgb, &pal);
    } else {
        u8 *end = c->vnc->scratch;
        for (size_t i = 0; i < n; i++)
            end = put_tight(&c->pixels, end, rgb[i]);
        vnc_out_u8(c, 0);
        out_tight_data(c, 0, c->vnc->scratch, (size_t)(end - c->vnc->scratch));
    }
}

/* --- all -------------------------------------------------------------------------------------------- */

void vnc_encode_rect(struct vnc_client *c, struct display_rect r)
{
    vnc_out_u16(c, (u16)r.x);
    vnc_out_u16(c, (u16)r.y);
    vnc_out_u16(c, (u16)r.w);
    vnc_out_u16(c, (u16)r.h);
    vnc_out_u32(c, (u32)c->encoding);
    if (c->encoding == VNC_HEXTILE) {
        encode_hextile(c, r);
        return;
    }
    if (c->encoding == VNC_ZRLE) {
        encode_zrle(c, r);
        return;
    }
    copy_pixels(c, r, c->vnc->picture);
    if (c->encoding == VNC_TIGHT)
        encode_tight(c, r, c->vnc->picture);
    else
        encode_raw(c, r, c->vnc->picture);
}

void vnc_encode_finish(struct vnc_client *c)
{
    if (c->zrle_ready)
        deflateEnd(&c->zrle);
    for (unsigned i = 0; i < VNC_TIGHT_STREAMS; i++)
        if (c->tight_ready[i])
            deflateEnd(&c->tight[i]);
}
