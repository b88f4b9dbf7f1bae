/*
 * A VGA with Bochs's extensions, as a PCI card: the "std" adapter that QEMU's guests know (1234:1111).
 *
 *   ports 3B4h..3DFh, A0000h..BFFFFh   IBM VGA: text, CGA, planar and 256-colour modes
 *   ports 1CEh..1D1h                   Bochs VBE ("dispi"): packed pixels of any size, banked or linear
 *   BAR 0                              all of the video memory, plain RAM for the guest
 *   BAR 2                              the registers once more, memory-mapped
 *   ROM                                the video BIOS, if there is a file
 *
 * The legacy ranges are decoded whatever the PCI command register says. Deviations from IBM's chip: chained
 * by four, addresses are contiguous (pixel A is at byte A / 4 of its plane, where IBM leaves gaps); reads
 * through the contiguous window do not load the latches; there is no vertical interrupt, no light pen, no
 * border; changes within a frame are not seen, since a picture is drawn from one moment's registers.
 *
 * Everything here: [machine lock].
 */
#ifndef RING3_DEVICES_DISPLAY_VGA_H
#define RING3_DEVICES_DISPLAY_VGA_H

#include "devices/device.h"
#include "devices/pci/pci.h"
#include "display/display.h"

#define VGA_MEMORY_SIZE MIB(16)

struct vga;

struct vga_config {
    struct display *display; /* that it draws on */
    struct pci_bus *bus;     /* NULL: no PCI function */
    unsigned slot;
    const char *rom; /* file of the video BIOS; NULL: none */
};

int vga_create(struct vga **out, const struct device_env *env, const struct vga_config *config,
               struct error *err);
void vga_destroy(struct vga *vga);
/* Registers as after power-on (a black screen); the memory keeps its contents. */
void vga_reset(struct vga *vga);
/* What a video BIOS does before it hands over: mode 3 (text of 80 x 25, 9 x 16 pixels a cell), an empty
 * screen, the cursor in its corner. */
void vga_post(struct vga *vga);

/* A linear frame buffer. */
struct vga_linear {
    u32 base; /* gpa */
    u32 width, height, bits, pitch;
};
/* Shows one, as a boot loader does with the BIOS's help; after vga_post. False (and nothing has changed): BAR
 * 0 has no place, or there is no such mode. */
bool vga_post_linear(struct vga *vga, u16 width, u16 height, u16 bits, struct vga_linear *out);

#endif
