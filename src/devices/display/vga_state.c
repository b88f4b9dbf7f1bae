/* Saved state: the registers, and the memory. Whatever else there is follows from them. */
#include <stdlib.h>

#include "devices/display/vga_impl.h"

#define VGA_STATE(X)                                                                                         \
    X(misc, u8, 0xff)                                                                                        \
    X(feature, u8, 0x0b)                                                                                     \
    X(sr_index, u8, 0x07)                                                                                    \
    X(sr, u8, 0xff)                                                                                          \
    X(cr_index, u8, 0x3f)                                                                                    \
    X(cr, u8, 0xff)                                                                                          \
    X(gr_index, u8, 0x0f)                                                                                    \
    X(gr, u8, 0xff)                                                                                          \
    X(ar_index, u8, 0x3f)                                                                                    \
    X(ar, u8, 0xff)                                                                                          \
    X(ar_data, bool, 1)                                                                                      \
    X(dac_mask, u8, 0xff)                                                                                    \
    X(dac_read, u8, 0xff)                                                                                    \
    X(dac_write, u8, 0xff)                                                                                   \
    X(dac_component, u8, 2)                                                                                  \
    X(dac_reading, bool, 1)                                                                                  \
    X(dac_buffer, u8, 0xff)                                                                                  \
    X(palette, u8, 0xff)                                                                                     \
    X(latch, u32, ~0u)                                                                                       \
    X(vbe_index, u16, 0xffff)                                                                                \
    X(vbe, u16, 0xffff)                                                                                      \
    X(status_read_at, u64, ~0ull)

static void registers_save(const void *dev, void *out)
{
    const struct vga *vga = dev;
    *(struct vga_regs *)out = vga->regs;
}

/* Bits that no write can set, and pictures that do not lie in the memory. */
static int registers_check(const void *dev, const void *in, struct error *err)
{
    const struct vga_regs *r = in;
    struct vga_regs fixed = *r;
    vga_regs_mask(&fixed);
    vga_vbe_fix(&fixed);
    if (fixed.misc != r->misc || memcmp(fixed.sr, r->sr, sizeof r->sr) != 0 ||
        memcmp(fixed.cr, r->cr, sizeof r->cr) != 0 || memcmp(fixed.gr, r->gr, sizeof r->gr) != 0 ||
        memcmp(fixed.ar, r->ar, sizeof r->ar) != 0 || memcmp(fixed.vbe, r->vbe, sizeof r->vbe) != 0)
        return error_set(err, EINVAL, "vga: the saved registers are in no possible state");
    return 0;
}

static void registers_load(void *dev, const void *in)
{
    struct vga *vga = dev;
    vga->regs = *(const struct vga_regs *)in;
    vga_window_update(vga);
}

#define X(f, type, max)                                                                                      \
    {#f, offsetof(struct vga_regs, f), sizeof(type), sizeof(((struct vga_regs *)0)->f) / sizeof(type), max},
static const struct state_field registers_fields[] = {VGA_STATE(X)};
#undef X

static const struct state_desc registers_desc = {
    .name = "vga",
    .version = 1,
    .size = sizeof(struct vga_regs),
    .fields = registers_fields,
    .field_count = ARRAY_LEN(registers_fields),
    .save = registers_save,
    .check = registers_check,
    .load = registers_load,
};

struct memory_state {
    u64 words[VGA_MEMORY_SIZE / 8];
};

static void memory_save(const void *dev, void *out)
{
    const struct vga *vga = dev;
    memcpy(out, vga->vram->hva, VGA_MEMORY_SIZE);
}

static void memory_load(void *dev, const void *in)
{
    struct vga *vga = dev;
    memcpy(vga->vram->hva, in, VGA_MEMORY_SIZE);
    vga_memory_written(vga, 0, VGA_MEMORY_SIZE);
}

static const struct state_field memory_fields[] = {STATE_ARRAY(struct memory_state, words, u64)};

static const struct state_desc memory_desc = {
    .name = "vga-memory",
    .version = 1,
    .size = sizeof(struct memory_state),
    .fields = memory_fields,
    .field_count = ARRAY_LEN(memory_fields),
    .save = memory_save,
    .load = memory_load,
};

int vga_state_register(struct vga *vga)
{
    int rc = state_set_add(vga->env.state, &registers_desc, vga, 0);
    return rc < 0 ? rc : state_set_add(vga->env.state, &memory_desc, vga, 0);
}
