/* What the files of the VGA share. Only for src/devices/display. */
#ifndef RING3_DEVICES_DISPLAY_VGA_IMPL_H
#define RING3_DEVICES_DISPLAY_VGA_IMPL_H

#include "base/bytes.h"
#include "devices/display/vga.h"

/* The planes: 64 KiB each, interleaved. Byte `o` of plane `p` is video memory byte 4 * o + p. */
#define VGA_PLANES     4
#define VGA_PLANE_SIZE 0x10000u

#define VGA_PAGES (VGA_MEMORY_SIZE / PAGE_SIZE)

/* Registers by index; bits are named where they are used by more than one file. */
enum { SR_RESET, SR_CLOCKING, SR_MAP_MASK, SR_CHARACTER_MAP, SR_MEMORY_MODE, SR_COUNT };
enum sr_clocking_bit { CLOCKING_8_DOTS = BIT(0), CLOCKING_HALF = BIT(3), CLOCKING_SCREEN_OFF = BIT(5) };
enum sr_memory_bit { MEMORY_EXTENDED = BIT(1), MEMORY_SEQUENTIAL = BIT(2), MEMORY_CHAIN4 = BIT(3) };

enum {
    GR_SET_RESET,
    GR_ENABLE_SET_RESET,
    GR_COLOR_COMPARE,
    GR_ROTATE,
    GR_READ_MAP,
    GR_MODE,
    GR_MISC,
    GR_COLOR_CARE,
    GR_BIT_MASK,
    GR_COUNT
};
enum gr_mode_bit {
    MODE_WRITE = 3,
    MODE_READ_COMPARE = BIT(3),
    MODE_ODD_EVEN = BIT(4),
    MODE_SHIFT_CGA = BIT(5),
    MODE_SHIFT_256 = BIT(6)
};
enum gr_misc_bit { MISC_GRAPHICS = BIT(0), MISC_CHAIN_ODD_EVEN = BIT(1), MISC_MAP = 3 << 2 };

enum {
    CR_H_DISPLAY_END = 0x01,
    CR_OVERFLOW = 0x07,
    CR_PRESET_ROW = 0x08,
    CR_MAX_SCAN = 0x09,
    CR_CURSOR_START = 0x0a,
    CR_CURSOR_END = 0x0b,
    CR_START_HIGH = 0x0c,
    CR_START_LOW = 0x0d,
    CR_CURSOR_HIGH = 0x0e,
    CR_CURSOR_LOW = 0x0f,
    CR_RETRACE_START = 0x10,
    CR_RETRACE_END = 0x11,
    CR_V_DISPLAY_END = 0x12,
    CR_OFFSET = 0x13,
    CR_UNDERLINE = 0x14,
    CR_MODE = 0x17,
    CR_LINE_COMPARE = 0x18,
    CR_COUNT = 0x19
};

enum {
    AR_MODE = 0x10,
    AR_OVERSCAN,
    AR_PLANE_ENABLE,
    AR_PANNING,
    AR_COLOR_SELECT,
    AR_COUNT,
    AR_INDEX = 0x1f,
    AR_PALETTE_ON = BIT(5) /* in the index register */
};
enum ar_mode_bit {
    ATTRIBUTE_LINE_GRAPHICS = BIT(2),
    ATTRIBUTE_BLINK = BIT(3),
    ATTRIBUTE_PAN_TOP = BIT(5), /* line compare ends panning */
    ATTRIBUTE_P54 = BIT(7)
};

enum misc_output_bit { OUTPUT_COLOR = BIT(0), OUTPUT_RAM = BIT(1), OUTPUT_CLOCK = 3 << 2 };

/* Bochs VBE. */
#define VBE_ID_LOWEST 0xb0c0
#define VBE_ID_LATEST 0xb0c5

enum {
    VBE_ID,
    VBE_XRES,
    VBE_YRES,
    VBE_BPP,
    VBE_ENABLE,
    VBE_BANK,
    VBE_VIRT_WIDTH,
    VBE_VIRT_HEIGHT,
    VBE_X_OFFSET,
    VBE_Y_OFFSET,
    VBE_MEMORY_64K,
    VBE_COUNT
};
enum vbe_enable_bit {
    VBE_ENABLED = BIT(0),
    VBE_GETCAPS = BIT(1),
    VBE_8BIT_DAC = BIT(5),
    VBE_LFB = BIT(6),
    VBE_NOCLEARMEM = BIT(7)
};

/* Everything that the guest can set, but for memory; also what is saved. */
struct vga_regs {
    u8 misc, feature;
    u8 sr_index, sr[SR_COUNT];
    u8 cr_index, cr[CR_COUNT];
    u8 gr_index, gr[GR_COUNT];
    u8 ar_index, ar[AR_COUNT];
    bool ar_data; /* the flip-flop: the next write to 3C0h is data */
    u8 dac_mask, dac_read, dac_write, dac_component;
    bool dac_reading;
    u8 dac_buffer[3]; /* a colour takes effect when its third component is there */
    u8 palette[768];
    u32 latch; /* plane 0 in the lowest byte */
    u16 vbe_index, vbe[VBE_COUNT];
    u64 status_read_at; /* virtual time of the last look at input status 1 */
};

struct vga_painter;

struct vga {
    struct device_env env;
    struct display *display;
    struct vga_regs regs;
    struct ram_block *vram, *rom;
    struct vga_painter *painter;
    struct mem_region window; /* A0000h..BFFFFh */
    struct mem_region direct; /* over it where accesses are memory accesses and no more */
    struct port_region ports[6];
    struct pci_function pci;
};

/* --- vga_regs.c: ports 3B0h..3DFh --- */
u8 vga_port_read(struct vga *vga, unsigned port);
void vga_port_write(struct vga *vga, unsigned port, u8 value);
/* A vertical CRTC register whose bits 8 and 9 are `bit8` and `bit9` of the overflow register. */
unsigned vga_vertical(const struct vga_regs *r, unsigned index, unsigned bit8, unsigned bit9);
unsigned vga_line_compare(const struct vga_regs *r);
/* Clears the bits that do not exist. */
void vga_regs_mask(struct vga_regs *r);
/* How long a frame takes, in ns. */
u64 vga_frame_ns(const struct vga_regs *r);

/* --- vga_mem.c: the window --- */
extern const struct io_ops vga_window_ops;
/* Maps `direct` as the registers say; after a change of any that matters. */
void vga_window_update(struct vga *vga);
/* The device has written to its memory. */
void vga_memory_written(struct vga *vga, u64 offset, u64 len);

/* --- vga_vbe.c --- */
static inline bool vga_vbe_is_on(const struct vga_regs *r)
{
    return r->vbe[VBE_ENABLE] & VBE_ENABLED;
}
u16 vga_vbe_read(struct vga *vga, unsigned index);
void vga_vbe_write(struct vga *vga, unsigned index, u16 value);
/* Brings the registers into a state in which every pixel shown is in the memory. */
void vga_vbe_fix(struct vga_regs *r);
/* Bytes from a line to the next, and of the first pixel shown. */
u32 vga_vbe_pitch(const struct vga_regs *r);
u64 vga_vbe_start(const struct vga_regs *r);
extern const struct io_ops vga_vbe_ops;  /* the ports */
extern const struct io_ops vga_mmio_ops; /* BAR 2 */

/* --- vga_paint.c: what is seen --- */
int vga_painter_create(struct vga_painter **out);
void vga_painter_destroy(struct vga_painter *painter);
void vga_paint(void *vga, bool all);
char *vga_text(void *vga);

/* --- vga_font.c --- */
extern const u8 vga_font_8x16[256][16];

/* --- vga_state.c --- */
int vga_state_register(struct vga *vga);

#endif
