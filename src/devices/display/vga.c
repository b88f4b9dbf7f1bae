/* The card: its parts put together, its place on the bus, its state after power-on and after a BIOS. */
#include "devices/display/vga.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/display/vga_impl.h"

#define WINDOW_GPA  0xa0000
#define WINDOW_SIZE 0x20000

#define ROM_MAX MIB(16)

/* --- ports ------------------------------------------------------------------------------------------------
 */

/* `dev` is the VGA; each region's offset is made a port again by its own functions. */
#define PORTS(base)                                                                                          \
    static u64 port_read_##base(void *dev, u64 offset, unsigned size)                                        \
    {                                                                                                        \
        return vga_port_read(dev, 0x##base + (unsigned)offset);                                              \
    }                                                                                                        \
    static void port_write_##base(void *dev, u64 offset, unsigned size, u64 value)                           \
    {                                                                                                        \
        vga_port_write(dev, 0x##base + (unsigned)offset, (u8)value);                                         \
    }                                                                                                        \
    static const struct io_ops ops_##base = {port_read_##base, port_write_##base, .max_size = 1};
PORTS(3b4)
PORTS(3ba)
PORTS(3c0)
PORTS(3d4)
PORTS(3da)
#undef PORTS

static void ports_map(struct vga *vga)
{
    const struct port_region ports[] = {
        {"vga", 0x3b4, 2, &ops_3b4, vga},  {"vga", 0x3ba, 1, &ops_3ba, vga},
        {"vga", 0x3c0, 16, &ops_3c0, vga}, {"vga", 0x3d4, 2, &ops_3d4, vga},
        {"vga", 0x3da, 1, &ops_3da, vga},  {"bochs-vbe", 0x1ce, 4, &vga_vbe_ops, vga},
    };
    memcpy(vga->ports, ports, sizeof ports);
    for (size_t i = 0; i < ARRAY_LEN(vga->ports); i++)
        port_map(vga->env.mem, &vga->ports[i]);
}

/* --- power-on and BIOS ------------------------------------------------------------------------------------
 */

void vga_reset(struct vga *vga)
{
    vga->regs = (struct vga_regs){.dac_mask = 0xff, .vbe = {[VBE_ID] = VBE_ID_LATEST}};
    vga_vbe_fix(&vga->regs);
    vga_window_update(vga);
}

/* The DAC's first 64 colours: bits rgbRGB of the index, two thirds for a capital, one for a small letter. */
static void palette_post(struct vga_regs *r)
{
    for (unsigned i = 0; i < 64; i++)
        for (unsigned c = 0; c < 3; c++)
            r->palette[i * 3 + c] = (u8)((i >> (2 - c) & 1) * 0x2a + (i >> (5 - c) & 1) * 0x15);
}

void vga_post(struct vga *vga)
{
    /* IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", mode 3 with 400 lines. */
    static const u8 sr[SR_COUNT] = {0x03, 0x00, 0x03, 0x00, 0x02};
    static const u8 cr[CR_COUNT] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00,
                                    0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e,
                                    0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
    static const u8 gr[GR_COUNT] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
    static const u8 ar[AR_COUNT] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
                                    0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};
    struct vga_regs *r = &vga->regs;
    vga_reset(vga);
    r->misc = 0x67;
    memcpy(r->sr, sr, sizeof sr);
    memcpy(r->cr, cr, sizeof cr);
    memcpy(r->gr, gr, sizeof gr);
    memcpy(r->ar, ar, sizeof ar);
    r->ar_index = AR_PALETTE_ON;
    palette_post(r);
    u8 *planes = vga->vram->hva;
    memset(planes, 0, VGA_PLANE_SIZE * VGA_PLANES);
    for (unsigned cell = 0; cell < 0x4000; cell++) {
        planes[8 * cell] = ' ';
        planes[8 * cell + 1] = 0x07;
    }
    for (unsigned c = 0; c < 256; c++)
        for (unsigned row = 0; row < 16; row++)
            planes[(32 * c + row) * VGA_PLANES + 2] = vga_font_8x16[c][row];
    vga_memory_written(vga, 0, VGA_PLANE_SIZE * VGA_PLANES);
    vga_window_update(vga);
}

bool vga_post_linear(struct vga *vga, u16 width, u16 height, u16 bits, struct vga_linear *out)
{
    struct vga_regs *r = &vga->regs, before = *r;
    u32 base = load_le32(vga->pci.config + PCI_BAR0) & ~0xfu;
    r->vbe[VBE_XRES] = width;
    r->vbe[VBE_YRES] = height;
    r->vbe[VBE_BPP] = bits;
    vga_vbe_write(vga, VBE_ENABLE, VBE_ENABLED | VBE_LFB | VBE_NOCLEARMEM);
    if (!base || r->vbe[VBE_XRES] != width || r->vbe[VBE_YRES] != height || r->vbe[VBE_BPP] != bits) {
        *r = before;
        vga_window_update(vga);
        return false;
    }
    *out = (struct vga_linear){base, width, height, bits, vga_vbe_pitch(r)};
    memset(vga->vram->hva, 0, (u64)out->pitch * height);
    vga_memory_written(vga, 0, (u64)out->pitch * height);
    return true;
}

/* --- lifecycle --------------------------------------------------------------------------------------------
 */

static int rom_read(struct vga *vga, int fd, u64 size, const char *path, struct error *err)
{
    u64 block_size = PAGE_SIZE;
    while (block_size < size)
        block_size *= 2;
    int rc = ram_block_create(&vga->rom, "vga bios", block_size, err);
    for (u64 done = 0; !rc && done < size;) {
        ssize_t n = pread(fd, vga->rom->hva + done, size - done, (off_t)done);
        if (n <= 0)
            return error_set(err, n ? errno : EIO, "cannot read the video BIOS '%s': %s", path,
                             n ? strerror(errno) : "it has become shorter");
        done += (u64)n;
    }
    return rc;
}

static int rom_load(struct vga *vga, const char *path, struct error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
    if (fd < 0 || fstat(fd, &st) < 0)
        rc = error_set(err, errno, "cannot open the video BIOS '%s': %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size == 0 || (u64)st.st_size > ROM_MAX)
        rc = error_set(err, EINVAL, "'%s' is no video BIOS: not a file of 1 byte to 16 MiB", path);
    else
        rc = rom_read(vga, fd, (u64)st.st_size, path, err);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int function_add(struct vga *vga, const struct vga_config *config, struct error *err)
{
    const struct pci_ids ids = {.vendor = 0x1234,
                                .device = 0x1111,
                                .class_code = 0x030000,
                                .revision = 2,
                                .subsystem_vendor = 0x1af4,
                                .subsystem = 0x1100};
    if (config->rom) {
        int rc = rom_load(vga, config->rom, err);
        if (rc)
            return rc;
    }
    pci_function_init(&vga->pci, "vga", &ids);
    pci_bar_ram(&vga->pci, 0, PCI_BAR_MEMORY32, true, VGA_MEMORY_SIZE, vga->vram);
    pci_bar_memory(&vga->pci, 2, PCI_BAR_MEMORY32, false, PAGE_SIZE, &vga_mmio_ops, vga);
    if (vga->rom)
        pci_rom(&vga->pci, vga->rom);
    return pci_add(config->bus, &vga->pci, config->slot, 0, err);
}

static int vga_build(struct vga *vga, const struct vga_config *config, struct error *err)
{
    int rc = ram_block_create(&vga->vram, "video memory", VGA_MEMORY_SIZE, err);
    if (rc)
        return rc;
    if (vga_painter_create(&vga->painter) < 0 || vga_state_register(vga) < 0)
        return error_set(err, ENOMEM, "no memory for the display adapter");
    if (config->bus && (rc = function_add(vga, config, err)))
        return rc;
    vga->window = (struct mem_region){.name = "vga window",
                                      .gpa = WINDOW_GPA,
                                      .size = WINDOW_SIZE,
                                      .kind = MEM_IO,
                                      .ops = &vga_window_ops,
                                      .dev = vga};
    mem_map(vga->env.mem, &vga->window);
    ports_map(vga);
    vga_reset(vga);
    display_set_source(vga->display, &(struct display_source){vga_paint, vga_text, vga});
    return 0;
}

int vga_create(struct vga **out, const struct device_env *env, const struct vga_config *config,
               struct error *err)
{
    struct vga *vga = calloc(1, sizeof *vga);
    if (!vga)
        return error_set(err, ENOMEM, "no memory for the display adapter");
    vga->env = *env;
    vga->display = config->display;
    int rc = vga_build(vga, config, err);
    if (rc) {
        vga_destroy(vga);
        return rc;
    }
    *out = vga;
    return 0;
}

void vga_destroy(struct vga *vga)
{
    if (!vga)
        return;
    display_set_source(vga->display, NULL);
    for (size_t i = 0; i < ARRAY_LEN(vga->ports); i++)
        port_unmap(vga->env.mem, &vga->ports[i]);
    mem_unmap(vga->env.mem, &vga->direct);
    mem_unmap(vga->env.mem, &vga->window);
    pci_remove(&vga->pci);
    vga_painter_destroy(vga->painter);
    ram_block_destroy(vga->vram);
    ram_block_destroy(vga->rom);
    free(vga);
}
