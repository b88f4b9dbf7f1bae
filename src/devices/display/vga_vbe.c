/*
 * Bochs's VBE registers ("dispi": Bochs's iodev/display/vbe.h, VBE_DISPI_ID0..ID5), at ports and, with the
 * VGA's own, in BAR 2 as QEMU's documentation has it (docs/specs/standard-vga).
 *
 * While it is enabled the VGA's registers only matter for the attribute controller's "palette on" bit, DAC
 * and, at 4 bits a pixel, the window's data path.
 */
#include "devices/display/vga_impl.h"

#define VBE_BANKS (VGA_MEMORY_SIZE >> 16)

/* BAR 2. */
enum {
    MMIO_VGA = 0x400, /* ports 3C0h..3DFh */
    MMIO_VGA_END = 0x420,
    MMIO_VBE = 0x500,
    MMIO_VBE_END = MMIO_VBE + 2 * VBE_COUNT,
    MMIO_EXT = 0x600,
    MMIO_EXT_SIZE = 8,
};
#define EXT_LITTLE_ENDIAN 0x1e1e1e1eu

static u32 bits_per_pixel(const struct vga_regs *r)
{
    return r->vbe[VBE_BPP] == 15 ? 16 : r->vbe[VBE_BPP];
}

u32 vga_vbe_pitch(const struct vga_regs *r)
{
    return r->vbe[VBE_VIRT_WIDTH] * bits_per_pixel(r) / 8;
}

u64 vga_vbe_start(const struct vga_regs *r)
{
    return (u64)r->vbe[VBE_Y_OFFSET] * vga_vbe_pitch(r) + r->vbe[VBE_X_OFFSET] * bits_per_pixel(r) / 8;
}

static bool picture_fits(const struct vga_regs *r)
{
    return vga_vbe_start(r) + (u64)vga_vbe_pitch(r) * r->vbe[VBE_YRES] <= VGA_MEMORY_SIZE;
}

static u16 clamp(u16 value, u32 lowest, u32 highest)
{
    return (u16)MIN(MAX(value, lowest), highest);
}

void vga_vbe_fix(struct vga_regs *r)
{
    u16 *v = r->vbe;
    v[VBE_ID] = clamp(v[VBE_ID], VBE_ID_LOWEST, VBE_ID_LATEST);
    v[VBE_MEMORY_64K] = VBE_BANKS;
    v[VBE_BANK] %= VBE_BANKS;
    if (!vga_vbe_is_on(r))
        return;
    if (v[VBE_BPP] != 4 && v[VBE_BPP] != 15 && v[VBE_BPP] != 16 && v[VBE_BPP] != 24 && v[VBE_BPP] != 32)
        v[VBE_BPP] = 8;
    v[VBE_XRES] = clamp(v[VBE_XRES] & 0xfff8, 8, DISPLAY_MAX_WIDTH);
    v[VBE_VIRT_WIDTH] = clamp(v[VBE_VIRT_WIDTH] & 0xfff8, v[VBE_XRES], 0xfff8);
    u32 lines = (u32)VGA_MEMORY_SIZE / vga_vbe_pitch(r);
    v[VBE_VIRT_HEIGHT] = (u16)MIN(lines, 0xffff);
    v[VBE_YRES] = clamp(v[VBE_YRES], 1, MIN(lines, DISPLAY_MAX_HEIGHT));
    if (v[VBE_BPP] == 4)
        v[VBE_X_OFFSET] &= 0xfff8;
    if (!picture_fits(r))
        v[VBE_Y_OFFSET] = 0;
    if (!picture_fits(r))
        v[VBE_X_OFFSET] = 0;
}

/* What reads the VGA's registers finds the mode there, as far as they can say it. */
static void registers_follow(struct vga_regs *r)
{
    unsigned last_line = r->vbe[VBE_YRES] - 1u;
    bool planar = r->vbe[VBE_BPP] == 4;
    r->misc |= OUTPUT_RAM;
    r->gr[GR_MISC] = MISC_GRAPHICS | 1 << 2;
    r->gr[GR_MODE] = planar ? 0 : MODE_SHIFT_256;
    r->sr[SR_MEMORY_MODE] = MEMORY_EXTENDED | MEMORY_SEQUENTIAL | (planar ? 0 : MEMORY_CHAIN4);
    r->sr[SR_MAP_MASK] = 0xf;
    r->sr[SR_CLOCKING] &= (u8)~CLOCKING_HALF;
    r->cr[CR_MODE] |= 3;
    r->cr[CR_OFFSET] = (u8)(vga_vbe_pitch(r) >> 3);
    r->cr[CR_H_DISPLAY_END] = (u8)((r->vbe[VBE_XRES] >> 3) - 1);
    r->cr[CR_V_DISPLAY_END] = (u8)last_line;
    r->cr[CR_OVERFLOW] =
        (u8)((r->cr[CR_OVERFLOW] & ~0x42) | 0x10 | (last_line >> 7 & 0x02) | (last_line >> 3 & 0x40));
    r->cr[CR_LINE_COMPARE] = 0xff;
    r->cr[CR_MAX_SCAN] = 0x40;
}

static void enable_write(struct vga *vga, u16 value)
{
    struct vga_regs *r = &vga->regs;
    bool was_on = vga_vbe_is_on(r);
    r->vbe[VBE_ENABLE] = value;
    if (!vga_vbe_is_on(r)) {
        r->vbe[VBE_BANK] = 0;
        return;
    }
    if (was_on)
        return;
    r->vbe[VBE_VIRT_WIDTH] = r->vbe[VBE_X_OFFSET] = r->vbe[VBE_Y_OFFSET] = r->vbe[VBE_BANK] = 0;
    vga_vbe_fix(r);
    registers_follow(r);
    if (!(value & VBE_NOCLEARMEM)) {
        u64 len = (u64)vga_vbe_pitch(r) * r->vbe[VBE_YRES];
        memset(vga->vram->hva, 0, len);
        vga_memory_written(vga, 0, len);
    }
}

void vga_vbe_write(struct vga *vga, unsigned index, u16 value)
{
    struct vga_regs *r = &vga->regs;
    switch (index) {
    case VBE_ID:
        if (value >= VBE_ID_LOWEST && value <= VBE_ID_LATEST)
            r->vbe[VBE_ID] = value;
        return;
    case VBE_XRES:
    case VBE_YRES:
    case VBE_BPP:
    case VBE_BANK:
    case VBE_VIRT_WIDTH:
    case VBE_X_OFFSET:
    case VBE_Y_OFFSET:
        r->vbe[index] = value;
        break;
    case VBE_ENABLE:
        enable_write(vga, value);
        break;
    default:
        return; /* VIRT_HEIGHT follows from the memory's size */
    }
    vga_vbe_fix(r);
    if (vga_vbe_is_on(r) && (index <= VBE_BPP || index == VBE_VIRT_WIDTH))
        registers_follow(r);
    vga_window_update(vga);
}

u16 vga_vbe_read(struct vga *vga, unsigned index)
{
    const struct vga_regs *r = &vga->regs;
    if (index >= VBE_COUNT)
        return 0;
    if (r->vbe[VBE_ENABLE] & VBE_GETCAPS) {
        switch (index) {
        case VBE_XRES:
            return DISPLAY_MAX_WIDTH;
        case VBE_YRES:
            return DISPLAY_MAX_HEIGHT;
        case VBE_BPP:
            return 32;
        }
    }
    return r->vbe[index];
}

/* --- ports 1CEh: index, 1CFh and 1D0h: data; words only ---------------------------------------------------
 */

static u64 port_vbe_read(void *dev, u64 offset, unsigned size)
{
    struct vga *vga = dev;
    if (size != 2 || offset > 2)
        return MASK(8 * size);
    return offset == 0 ? vga->regs.vbe_index : vga_vbe_read(vga, vga->regs.vbe_index);
}

static void port_vbe_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct vga *vga = dev;
    if (size != 2 || offset > 2)
        return;
    if (offset == 0)
        vga->regs.vbe_index = (u16)value;
    else
        vga_vbe_write(vga, vga->regs.vbe_index, (u16)value);
}

const struct io_ops vga_vbe_ops = {port_vbe_read, port_vbe_write, .max_size = 2};

/* --- BAR 2 ------------------------------------------------------------------------------------------------
 */

static u8 mmio_read_byte(struct vga *vga, u64 offset)
{
    if (offset >= MMIO_VGA && offset < MMIO_VGA_END)
        return vga_port_read(vga, 0x3c0 + (unsigned)(offset - MMIO_VGA));
    if (offset >= MMIO_VBE && offset < MMIO_VBE_END)
        return (u8)(vga_vbe_read(vga, (unsigned)(offset - MMIO_VBE) / 2) >> (8 * (offset & 1)));
    if (offset >= MMIO_EXT && offset < MMIO_EXT + MMIO_EXT_SIZE) {
        u64 ext = (u64)EXT_LITTLE_ENDIAN << 32 | MMIO_EXT_SIZE;
        return (u8)(ext >> (8 * (offset - MMIO_EXT)));
    }
    return 0xff;
}

static u64 mmio_read(void *dev, u64 offset, unsigned size)
{
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (u64)mmio_read_byte(dev, offset + i) << (8 * i);
    return value;
}

static void mmio_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct vga *vga = dev;
    for (unsigned i = 0; i < size; i++)
        if (offset + i >= MMIO_VGA && offset + i < MMIO_VGA_END)
            vga_port_write(vga, 0x3c0 + (unsigned)(offset + i - MMIO_VGA), (u8)(value >> (8 * i)));
    for (unsigned i = 0; i + 2 <= size && !(offset & 1); i += 2)
        if (offset + i >= MMIO_VBE && offset + i < MMIO_VBE_END)
            vga_vbe_write(vga, (unsigned)(offset + i - MMIO_VBE) / 2, (u16)(value >> (8 * i)));
}

const struct io_ops vga_mmio_ops = {mmio_read, mmio_write, .max_size = 4};
