/*
 * How a picture comes about. Only for src/devices/display.
 *
 * A refresh works out the mode (geometry and colours) from the registers. If it is not the one painted last,
 * or everything was asked for, the whole picture is painted; otherwise the lines whose memory has changed,
 * and in text modes the cells that have. Only pixels that differ from the frame's are reported as damage.
 */
#ifndef RING3_DEVICES_DISPLAY_VGA_PAINT_H
#define RING3_DEVICES_DISPLAY_VGA_PAINT_H

#include "devices/display/vga_impl.h"

enum vga_kind { VGA_BLANK, VGA_TEXT, VGA_PLANAR, VGA_CGA4, VGA_256, VGA_PACKED };

#define VGA_GLYPHS     256
#define VGA_GLYPH_ROWS 32

/* What the picture depends on besides memory, start address and cursor. */
struct vga_mode {
    u32 kind; /* enum vga_kind */
    u32 width, height;
    u32 columns;  /* characters a line, of `dots` pixels each before doubling */
    u32 dots;     /* 8 or 9; VGA_256: 4 */
    u32 doubled;  /* pixels are two wide */
    u32 bits;     /* VGA_PACKED: 8, 15, 16, 24, 32 */
    u32 pitch;    /* VGA_PACKED, VBE's planar: bytes to the next line */
    u32 start;    /* of those */
    u32 wide_dac; /* colours have 8 bits, not 6 */
    u32 line_compare;
    u8 cr[CR_COUNT], sr[SR_COUNT], gr[GR_COUNT], ar[AR_COUNT];
    u8 dac_mask;
    u8 palette[768];
    u8 zero[3]; /* no padding: it is compared as bytes */
};

/* One scan line: where its memory starts, in the address counter's units, and which line of its row it is. */
struct vga_line {
    u32 counter;
    u32 row_scan;
    u32 panning;  /* pixels to skip */
    bool new_row; /* the first of a row of characters */
};

/* Walks the scan lines from the top (FreeVGA, "Display Generation"). */
struct vga_raster {
    const struct vga_mode *mode;
    u32 y, row_start, row_scan;
    bool repeated; /* the line shows once more what the one before showed */
    bool split;    /* below the line compare */
    bool new_row;
};
void vga_raster_start(struct vga_raster *raster, const struct vga_mode *mode, const struct vga_regs *r);
void vga_raster_next(struct vga_raster *raster, struct vga_line *line);
/* The byte of a plane that an address counter and a row scan select (CR14, CR17). */
u32 vga_plane_address(const struct vga_mode *mode, u32 counter, u32 row_scan);

/* Damage that grows line by line. */
struct vga_damage {
    struct display *display;
    struct display_rect rect;
};

struct vga_painter {
    struct vga_mode mode; /* painted last */
    bool painted;
    u32 row_start;                    /* of the picture painted last, in graphics modes */
    u32 color[256];                   /* DAC index to 00RRGGBBh, through the mask */
    u32 ega[16];                      /* attribute palette index to the same */
    u64 dirty[VGA_PAGES / 64];        /* to be painted in this refresh */
    u64 recent[VGA_PAGES / 64];       /* found dirty in the one before */
    u32 line[DISPLAY_MAX_WIDTH + 64]; /* pixels of a line, before panning */
    /* Text. */
    u32 *cells; /* as painted: character, attribute << 8, CELL_* */
    size_t cell_count;
    u8 font[2][VGA_GLYPHS][VGA_GLYPH_ROWS];
};

bool vga_pages_dirty(const struct vga_painter *p, u64 offset, u64 len);
/* Puts `count` pixels at the start of line y if they are others. */
void vga_line_put(struct vga *vga, struct vga_damage *damage, u32 y, const u32 *pixels, u32 count);
void vga_damage_add(struct vga_damage *damage, u32 y, u32 from, u32 to);
void vga_damage_flush(struct vga_damage *damage);

/* vga_pixels.c, vga_text.c */
void vga_paint_pixels(struct vga *vga, struct vga_damage *damage, bool all);
void vga_paint_text(struct vga *vga, struct vga_damage *damage, bool all);
char *vga_text_read(struct vga *vga, const struct vga_mode *mode);

#endif
