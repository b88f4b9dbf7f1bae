/*
 * The window at A0000h: how an address of the CPU becomes a place in the planes, and what the graphics
 * controller does to the data on its way (IBM PS/2 Hardware Interface Technical Reference; FreeVGA, "VGA
 * Graphics Registers").
 */
#include "devices/display/vga_impl.h"

#define WINDOW_BASE 0xa0000u

/* The window is 64 KiB at A0000h. */
#define MAP_64K (1 << 2)

/* --- what the device writes itself ------------------------------------------------------------------------
 */

void vga_memory_written(struct vga *vga, u64 offset, u64 len)
{
    u64 end = offset + len;
    while (offset < end) {
        u64 n = MIN(end, (offset & PAGE_MASK) + PAGE_SIZE) - offset;
        ram_page_mark_dirty(vga->vram, offset);
        if (unlikely(atomic_load(&vga->vram->page_flags[offset >> PAGE_SHIFT]) & RAM_PAGE_CODE))
            mem_code_written(vga->env.mem, vga->vram->hva + offset, n);
        offset += n;
    }
}

/* --- addresses --------------------------------------------------------------------------------------------
 */

/* The selected part of A0000h..BFFFFh: `*address` is the offset in it. False: not there. */
static bool window_address(const struct vga_regs *r, u64 offset, u32 *address)
{
    static const struct {
        u32 start, size;
    } maps[] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned map = (r->gr[GR_MISC] & MISC_MAP) >> 2;
    if (!(r->misc & OUTPUT_RAM) || offset < maps[map].start || offset - maps[map].start >= maps[map].size)
        return false;
    *address = (u32)offset - maps[map].start;
    return true;
}

/* A0 chooses between even and odd planes; its place is taken by a higher bit of the address. */
static u32 odd_even_address(const struct vga_regs *r, u32 address)
{
    return r->gr[GR_MISC] & MISC_CHAIN_ODD_EVEN ? (address & ~1u) | (address >> 16 & 1) : address;
}

/* The byte of the planes at an address that is not chained by four; beyond the memory it wraps. */
static u32 plane_offset(const struct vga_regs *r, u32 address)
{
    if (vga_vbe_is_on(r))
        return (u32)((address & 0xffff) + r->vbe[VBE_BANK] * VGA_PLANE_SIZE) % (VGA_MEMORY_SIZE / VGA_PLANES);
    return address & (r->sr[SR_MEMORY_MODE] & MEMORY_EXTENDED ? VGA_PLANE_SIZE - 1 : 0x3fff);
}

/* A place and which planes take part. */
struct place {
    u32 offset; /* in each plane */
    u8 planes;
};

static struct place place_of_write(const struct vga_regs *r, u32 address)
{
    struct place p = {.planes = 0xf};
    if (r->sr[SR_MEMORY_MODE] & MEMORY_CHAIN4) {
        p.planes = (u8)(1 << (address & 3));
        p.offset = (address & 0xffff) >> 2;
    } else if (!(r->sr[SR_MEMORY_MODE] & MEMORY_SEQUENTIAL)) {
        p.planes = address & 1 ? 0xa : 0x5;
        p.offset = plane_offset(r, odd_even_address(r, address));
    } else {
        p.offset = plane_offset(r, address);
    }
    p.planes &= r->sr[SR_MAP_MASK];
    return p;
}

/* `planes`: the number of the plane that is read. */
static struct place place_of_read(const struct vga_regs *r, u32 address)
{
    if (r->sr[SR_MEMORY_MODE] & MEMORY_CHAIN4)
        return (struct place){(address & 0xffff) >> 2, address & 3};
    if (r->gr[GR_MODE] & MODE_ODD_EVEN)
        return (struct place){plane_offset(r, odd_even_address(r, address)),
                              (u8)((r->gr[GR_READ_MAP] & 2) | (address & 1))};
    return (struct place){plane_offset(r, address), r->gr[GR_READ_MAP]};
}

/* --- data -------------------------------------------------------------------------------------------------
 */

/* Bit p of `planes` becomes byte p, all ones or zero. */
static u32 planes_expand(u8 planes)
{
    u32 spread = (planes & 1u) | (planes & 2u) << 7 | (planes & 4u) << 14 | (planes & 8u) << 21;
    return spread * 0xff;
}

static u32 byte_repeat(u8 byte)
{
    return byte * 0x01010101u;
}

static u8 byte_rotate(u8 byte, unsigned count)
{
    return (u8)(byte >> count | byte << (8 - count));
}

/* What goes to the four planes, before the map mask. */
static u32 data_compose(const struct vga_regs *r, u8 value)
{
    u8 rotated = byte_rotate(value, r->gr[GR_ROTATE] & 7), bit_mask = r->gr[GR_BIT_MASK];
    u32 set_reset = planes_expand(r->gr[GR_SET_RESET]), enabled = planes_expand(r->gr[GR_ENABLE_SET_RESET]);
    u32 data;
    switch (r->gr[GR_MODE] & MODE_WRITE) {
    case 0:
        data = (byte_repeat(rotated) & ~enabled) | (set_reset & enabled);
        break;
    case 1:
        return r->latch;
    case 2:
        data = planes_expand(value & 0xf);
        break;
    default:
        data = set_reset;
        bit_mask &= rotated;
        break;
    }
    switch (r->gr[GR_ROTATE] >> 3) {
    case 1:
        data &= r->latch;
        break;
    case 2:
        data |= r->latch;
        break;
    case 3:
        data ^= r->latch;
        break;
    }
    u32 mask = byte_repeat(bit_mask);
    return (data & mask) | (r->latch & ~mask);
}

static u8 window_read_byte(struct vga *vga, u64 offset)
{
    struct vga_regs *r = &vga->regs;
    u32 address;
    if (!window_address(r, offset, &address))
        return 0xff;
    struct place p = place_of_read(r, address);
    r->latch = load_le32(vga->vram->hva + (u64)p.offset * VGA_PLANES);
    if (!(r->gr[GR_MODE] & MODE_READ_COMPARE))
        return (u8)(r->latch >> (8 * p.planes));
    u32 differs = (r->latch ^ planes_expand(r->gr[GR_COLOR_COMPARE])) & planes_expand(r->gr[GR_COLOR_CARE]);
    differs |= differs >> 16;
    return (u8) ~(differs | differs >> 8);
}

static void window_write_byte(struct vga *vga, u64 offset, u8 value)
{
    struct vga_regs *r = &vga->regs;
    u32 address;
    if (!window_address(r, offset, &address))
        return;
    struct place p = place_of_write(r, address);
    u64 at = (u64)p.offset * VGA_PLANES;
    u32 mask = planes_expand(p.planes), old = load_le32(vga->vram->hva + at);
    store_le32(vga->vram->hva + at, (data_compose(r, value) & mask) | (old & ~mask));
    vga_memory_written(vga, at, VGA_PLANES);
}

static u64 window_read(void *dev, u64 offset, unsigned size)
{
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (u64)window_read_byte(dev, offset + i) << (8 * i);
    return value;
}

static void window_write(void *dev, u64 offset, unsigned size, u64 value)
{
    for (unsigned i = 0; i < size; i++)
        window_write_byte(dev, offset + i, (u8)(value >> (8 * i)));
}

const struct io_ops vga_window_ops = {window_read, window_write, .max_size = 8};

/* --- the direct window ------------------------------------------------------------------------------------
 */

/* Does an access to A0000h..AFFFFh mean the same byte of video memory and nothing else? */
static bool window_is_direct(const struct vga_regs *r)
{
    if (!(r->misc & OUTPUT_RAM) || (r->gr[GR_MISC] & MISC_MAP) != MAP_64K)
        return false;
    if (vga_vbe_is_on(r) && r->vbe[VBE_BPP] > 4)
        return true;
    return !vga_vbe_is_on(r) && (r->sr[SR_MEMORY_MODE] & MEMORY_CHAIN4) && r->sr[SR_MAP_MASK] == 0xf &&
           !(r->gr[GR_MODE] & (MODE_WRITE | MODE_READ_COMPARE)) && !r->gr[GR_ENABLE_SET_RESET] &&
           !r->gr[GR_ROTATE] && r->gr[GR_BIT_MASK] == 0xff;
}

void vga_window_update(struct vga *vga)
{
    struct vga_regs *r = &vga->regs;
    struct mem_region *direct = &vga->direct;
    bool wanted = window_is_direct(r);
    u64 offset = vga_vbe_is_on(r) ? (u64)r->vbe[VBE_BANK] << 16 : 0;
    if (wanted == direct->mapped && (!wanted || direct->block_offset == offset))
        return;
    mem_map_begin(vga->env.mem);
    mem_unmap(vga->env.mem, direct);
    if (wanted) {
        *direct = (struct mem_region){.name = "vga window, direct",
                                      .gpa = WINDOW_BASE,
                                      .size = 0x10000,
                                      .priority = 1,
                                      .kind = MEM_RAM,
                                      .block = vga->vram,
                                      .block_offset = offset};
        mem_map(vga->env.mem, direct);
    }
    mem_map_commit(vga->env.mem);
}
