/*
 * Which parts of the screen a viewer is sent, and when. What changed is kept as tiles; an update is the tiles
 * that changed within the region asked for, in rectangles of one row of tiles each. They are made one after
 * the other as the viewer reads.
 */
#include <string.h>

#include "display/vnc_impl.h"

static u32 tiles_of(u32 pixels)
{
    return (pixels + VNC_TILE - 1) / VNC_TILE;
}

/* Bits first..end-1. */
static u64 column_mask(u32 first, u32 end)
{
    return first >= end ? 0 : MASK(end - first) << first;
}

void vnc_damage_all(struct vnc_client *c)
{
    memset(c->dirty, 0xff, sizeof c->dirty);
}

void vnc_damage(struct vnc_client *c, struct display_rect r)
{
    if (!r.w || !r.h || r.x >= DISPLAY_MAX_WIDTH || r.y >= DISPLAY_MAX_HEIGHT)
        return;
    u64 mask = column_mask(r.x / VNC_TILE, MIN(tiles_of(r.x + r.w), VNC_TILES));
    u32 end = MIN(tiles_of(r.y + r.h), VNC_TILES);
    for (u32 row = r.y / VNC_TILE; row < end; row++)
        c->dirty[row] |= mask;
}

/* The tiles of the viewer's picture within the region that it asked for. */
static void region_tiles(const struct vnc_client *c, u64 tiles[VNC_TILES])
{
    const struct display_rect *r = &c->region;
    u32 right = MIN(r->x + r->w, c->width), bottom = MIN(r->y + r->h, c->height);
    memset(tiles, 0, VNC_TILES * sizeof *tiles);
    if (r->x >= right || r->y >= bottom)
        return;
    for (u32 row = r->y / VNC_TILE; row < tiles_of(bottom); row++)
        tiles[row] = column_mask(r->x / VNC_TILE, tiles_of(right));
}

/* Takes the next rectangle off the tiles; false if there is none. */
static bool next_rect(const struct vnc_client *c, u64 tiles[VNC_TILES], struct display_rect *r)
{
    for (u32 row = 0; row < VNC_TILES; row++) {
        if (!tiles[row])
            continue;
        u32 first = (u32)__builtin_ctzll(tiles[row]), end = first;
        while (end < VNC_TILES && tiles[row] >> end & 1 && end - first < VNC_RECT_WIDE / VNC_TILE)
            end++;
        tiles[row] &= ~column_mask(first, end);
        r->x = first * VNC_TILE;
        r->y = row * VNC_TILE;
        r->w = MIN(end * VNC_TILE, c->width) - r->x;
        r->h = MIN((row + 1) * VNC_TILE, c->height) - r->y;
        return true;
    }
    return false;
}

static bool resize_is_due(const struct vnc_client *c)
{
    const struct display_frame *frame = display_frame(c->vnc->display);
    return c->can_resize && (frame->width != c->width || frame->height != c->height);
}

bool vnc_wants_update(const struct vnc_client *c)
{
    return c->stage == VNC_RUNNING && c->requested && !c->updating && !c->encodings_left;
}

static void out_head(struct vnc_client *c, unsigned rects)
{
    vnc_out_u8(c, 0);
    vnc_out_u8(c, 0);
    vnc_out_u16(c, (u16)rects);
}

static void out_rect_head(struct vnc_client *c, struct display_rect r, enum vnc_encoding encoding)
{
    vnc_out_u16(c, (u16)r.x);
    vnc_out_u16(c, (u16)r.y);
    vnc_out_u16(c, (u16)r.w);
    vnc_out_u16(c, (u16)r.h);
    vnc_out_u32(c, (u32)encoding);
}

/* The viewer's picture becomes as large as the frame is; it then asks for all of it. */
static int send_resize(struct vnc_client *c)
{
    const struct display_frame *frame = display_frame(c->vnc->display);
    c->width = frame->width;
    c->height = frame->height;
    out_head(c, 1);
    out_rect_head(c, (struct display_rect){0, 0, c->width, c->height}, VNC_DESKTOP_SIZE);
    vnc_damage_all(c);
    c->requested = false;
    return vnc_client_flush(c);
}

static unsigned count_rects(const struct vnc_client *c)
{
    u64 tiles[VNC_TILES];
    struct display_rect r;
    unsigned n = 0;
    memcpy(tiles, c->sending, sizeof tiles);
    while (next_rect(c, tiles, &r))
        n++;
    return n;
}

int vnc_update_start(struct vnc_client *c)
{
    u64 region[VNC_TILES];
    if (!vnc_wants_update(c))
        return 0;
    if (resize_is_due(c))
        return send_resize(c);
    region_tiles(c, region);
    for (u32 row = 0; row < VNC_TILES; row++) {
        c->sending[row] = c->dirty[row] & region[row];
        c->dirty[row] &= ~region[row];
    }
    bool acknowledge = c->wants_extended_keys && !c->acked_extended_keys;
    unsigned rects = count_rects(c) + acknowledge;
    if (!rects)
        return 0;
    out_head(c, rects);
    if (acknowledge)
        out_rect_head(c, (struct display_rect){0}, VNC_EXTENDED_KEY);
    c->acked_extended_keys |= acknowledge;
    c->requested = false;
    c->updating = true;
    return vnc_update_continue(c);
}

int vnc_update_continue(struct vnc_client *c)
{
    struct display_rect r;
    while (c->updating && !c->out_failed && c->out_to - c->out_from < VNC_OUT_LIMIT) {
        if (next_rect(c, c->sending, &r)) {
            vnc_encode_rect(c, r);
            continue;
        }
        c->updating = false;
        if (c->format_pending && vnc_format_apply(c) < 0)
            return -1;
        vnc_schedule(c->vnc);
    }
    return c->out_failed ? -1 : 0;
}
