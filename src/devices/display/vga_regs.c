/*
 * The registers of IBM's VGA (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; FreeVGA):
 * sequencer, CRT controller, graphics and attribute controllers, DAC, general registers.
 */
#include "devices/display/vga_impl.h"

/* The bits that exist. */
#define MISC_OUTPUT_BITS 0xef
static const u8 sr_mask[SR_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const u8 gr_mask[GR_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const u8 ar_mask[AR_COUNT] = {
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f,
};
static const u8 cr_mask[CR_COUNT] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0x3f, 0x7f, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xef, 0xff,
};

void vga_regs_mask(struct vga_regs *r)
{
    r->misc &= MISC_OUTPUT_BITS;
    for (unsigned i = 0; i < SR_COUNT; i++)
        r->sr[i] &= sr_mask[i];
    for (unsigned i = 0; i < CR_COUNT; i++)
        r->cr[i] &= cr_mask[i];
    for (unsigned i = 0; i < GR_COUNT; i++)
        r->gr[i] &= gr_mask[i];
    for (unsigned i = 0; i < AR_COUNT; i++)
        r->ar[i] &= ar_mask[i];
}

enum overflow_bit { OVERFLOW_LINE_COMPARE = BIT(4) };
#define RETRACE_PROTECT    BIT(7) /* CR11: CR0..CR7 are read-only */
#define H_BLANK_COMPATIBLE BIT(7) /* CR3: CR10 and CR11 can be read */

/* --- timing -----------------------------------------------------------------------------------------------
 */

unsigned vga_vertical(const struct vga_regs *r, unsigned index, unsigned bit8, unsigned bit9)
{
    return r->cr[index] | (r->cr[CR_OVERFLOW] >> bit8 & 1) << 8 | (r->cr[CR_OVERFLOW] >> bit9 & 1) << 9;
}

unsigned vga_line_compare(const struct vga_regs *r)
{
    return r->cr[CR_LINE_COMPARE] | (r->cr[CR_OVERFLOW] & OVERFLOW_LINE_COMPARE ? 0x100 : 0) |
           (r->cr[CR_MAX_SCAN] & BIT(6) ? 0x200 : 0);
}

/* Characters a line and lines a frame, of the whole raster. */
static unsigned raster_width(const struct vga_regs *r)
{
    return r->cr[0] + 5u;
}

static unsigned raster_height(const struct vga_regs *r)
{
    return (vga_vertical(r, 6, 0, 5) + 2) << (r->cr[CR_MODE] >> 2 & 1);
}

static u64 character_ps(const struct vga_regs *r)
{
    u64 hz = (r->misc & OUTPUT_CLOCK) == 0 ? 25175000 : 28322000;
    unsigned dots = r->sr[SR_CLOCKING] & CLOCKING_8_DOTS ? 8 : 9;
    return dots * 1000000000000ull / hz << (r->sr[SR_CLOCKING] & CLOCKING_HALF ? 1 : 0);
}

u64 vga_frame_ns(const struct vga_regs *r)
{
    return MAX(character_ps(r) * raster_width(r) * raster_height(r) / 1000, 1000u);
}

/* Input status 1: bit 0: not in the picture; bit 3: vertical retrace. */
static u8 status1_at(const struct vga_regs *r, u64 ps)
{
    u64 line_ps = character_ps(r) * raster_width(r);
    unsigned line = (unsigned)(ps / line_ps) >> (r->cr[CR_MODE] >> 2 & 1);
    unsigned column = (unsigned)(ps % line_ps / character_ps(r));
    unsigned start = vga_vertical(r, CR_RETRACE_START, 2, 7);
    unsigned lines = (r->cr[CR_RETRACE_END] - start) & 0xf;
    if (line >= start && line - start < MAX(lines, 1u))
        return 0x09;
    bool shown = line <= vga_vertical(r, CR_V_DISPLAY_END, 1, 6) && column <= r->cr[CR_H_DISPLAY_END];
    return shown ? 0 : 0x01;
}

/* A guest that polls for the retrace, and was not run while it happened, sees it late instead of not at all.
 */
static u8 status1_read(struct vga *vga)
{
    struct vga_regs *r = &vga->regs;
    u64 now = clock_now(loop_clock(vga->env.loop)), frame = vga_frame_ns(r);
    u64 before = r->status_read_at;
    u64 retrace = vga_vertical(r, CR_RETRACE_START, 2, 7) * character_ps(r) * raster_width(r) / 1000 % frame;
    r->ar_data = false;
    r->status_read_at = now;
    /* Retraces begin at k * frame + retrace. */
    u64 begun = now + frame - retrace, begun_before = before + frame - retrace;
    if (now > before && begun / frame != begun_before / frame)
        return 0x09;
    return status1_at(r, now % frame * 1000);
}

/* --- CRT controller ---------------------------------------------------------------------------------------
 */

static u8 cr_read(const struct vga_regs *r)
{
    unsigned index = r->cr_index;
    switch (index) {
    case CR_RETRACE_START:
    case CR_RETRACE_END:
        return r->cr[3] & H_BLANK_COMPATIBLE ? r->cr[index] : 0; /* the light pen's otherwise */
    case 0x22: /* undocumented, on most chips: latch, flip-flop, attribute index */
        return (u8)(r->latch >> (8 * r->gr[GR_READ_MAP]));
    case 0x24:
        return r->ar_data ? 0x80 : 0;
    case 0x26:
        return r->ar_index;
    default:
        return index < CR_COUNT ? r->cr[index] : 0;
    }
}

static void cr_write(struct vga_regs *r, u8 value)
{
    unsigned index = r->cr_index;
    if (index >= CR_COUNT)
        return;
    if (index <= CR_OVERFLOW && (r->cr[CR_RETRACE_END] & RETRACE_PROTECT)) {
        if (index != CR_OVERFLOW)
            return;
        value = (u8)((r->cr[index] & ~OVERFLOW_LINE_COMPARE) | (value & OVERFLOW_LINE_COMPARE));
    }
    r->cr[index] = value & cr_mask[index];
}

/* --- attribute controller ---------------------------------------------------------------------------------
 */

/* The palette can be written only while the attribute controller does not use it. */
static void ar_write(struct vga_regs *r, u8 value)
{
    unsigned index = r->ar_index & AR_INDEX;
    r->ar_data = !r->ar_data;
    if (r->ar_data)
        r->ar_index = value & (AR_INDEX | AR_PALETTE_ON);
    else if (index < AR_COUNT && (index >= AR_MODE || !(r->ar_index & AR_PALETTE_ON)))
        r->ar[index] = value & ar_mask[index];
}

static u8 ar_read(const struct vga_regs *r)
{
    unsigned index = r->ar_index & AR_INDEX;
    return index < AR_COUNT ? r->ar[index] : 0;
}

/* --- DAC --------------------------------------------------------------------------------------------------
 */

static u8 dac_read(struct vga_regs *r)
{
    u8 value = r->palette[r->dac_read * 3 + r->dac_component];
    if (++r->dac_component == 3) {
        r->dac_component = 0;
        r->dac_read++;
    }
    return value;
}

static void dac_write(struct vga_regs *r, u8 value)
{
    bool wide = vga_vbe_is_on(r) && (r->vbe[VBE_ENABLE] & VBE_8BIT_DAC);
    r->dac_buffer[r->dac_component] = wide ? value : value & 0x3f;
    if (++r->dac_component < 3)
        return;
    memcpy(r->palette + r->dac_write * 3, r->dac_buffer, 3);
    r->dac_component = 0;
    r->dac_write++;
}

/* --- ports ------------------------------------------------------------------------------------------------
 */

/* The CRT controller and input status 1 are at 3Dx or, for monochrome monitors, at 3Bx. Others answer to
 * neither. */
static bool port_is_absent(const struct vga_regs *r, unsigned port)
{
    return (port >= 0x3b0 && port < 0x3c0 && (r->misc & OUTPUT_COLOR)) ||
           (port >= 0x3d0 && port < 0x3e0 && !(r->misc & OUTPUT_COLOR));
}

u8 vga_port_read(struct vga *vga, unsigned port)
{
    struct vga_regs *r = &vga->regs;
    if (port_is_absent(r, port))
        return 0xff;
    switch (port) {
    case 0x3c0:
        return r->ar_index;
    case 0x3c1:
        return ar_read(r);
    case 0x3c2:
        return 0x10; /* input status 0: a monitor is there; no interrupt */
    case 0x3c4:
        return r->sr_index;
    case 0x3c5:
        return r->sr_index < SR_COUNT ? r->sr[r->sr_index] : 0;
    case 0x3c6:
        return r->dac_mask;
    case 0x3c7:
        return r->dac_reading ? 3 : 0;
    case 0x3c8:
        return r->dac_write;
    case 0x3c9:
        return dac_read(r);
    case 0x3ca:
        return r->feature;
    case 0x3cc:
        return r->misc;
    case 0x3ce:
        return r->gr_index;
    case 0x3cf:
        return r->gr_index < GR_COUNT ? r->gr[r->gr_index] : 0;
    case 0x3b4:
    case 0x3d4:
        return r->cr_index;
    case 0x3b5:
    case 0x3d5:
        return cr_read(r);
    case 0x3ba:
    case 0x3da:
        return status1_read(vga);
    default:
        return 0xff;
    }
}

static void dac_index_write(struct vga_regs *r, bool reading, u8 value)
{
    r->dac_reading = reading;
    r->dac_component = 0;
    if (reading) {
        r->dac_read = value;
        r->dac_write = (u8)(value + 1);
    } else {
        r->dac_write = value;
    }
}

static void register_write(struct vga_regs *r, unsigned port, u8 value)
{
    switch (port) {
    case 0x3c2:
        r->misc = value & MISC_OUTPUT_BITS;
        break;
    case 0x3c5:
        if (r->sr_index < SR_COUNT)
            r->sr[r->sr_index] = value & sr_mask[r->sr_index];
        break;
    case 0x3cf:
        if (r->gr_index < GR_COUNT)
            r->gr[r->gr_index] = value & gr_mask[r->gr_index];
        break;
    }
}

void vga_port_write(struct vga *vga, unsigned port, u8 value)
{
    struct vga_regs *r = &vga->regs;
    if (port_is_absent(r, port))
        return;
    switch (port) {
    case 0x3c0:
        ar_write(r, value);
        break;
    case 0x3c2:
    case 0x3c5:
    case 0x3cf:
        register_write(r, port, value);
        vga_window_update(vga);
        break;
    case 0x3c4:
        r->sr_index = value & 0x07;
        break;
    case 0x3c6:
        r->dac_mask = value;
        break;
    case 0x3c7:
    case 0x3c8:
        dac_index_write(r, port == 0x3c7, value);
        break;
    case 0x3c9:
        dac_write(r, value);
        break;
    case 0x3ce:
        r->gr_index = value & 0x0f;
        break;
    case 0x3b4:
    case 0x3d4:
        r->cr_index = value & 0x3f;
        break;
    case 0x3b5:
    case 0x3d5:
        cr_write(r, value);
        break;
    case 0x3ba:
    case 0x3da:
        r->feature = value & 0x0b;
        break;
    }
}
