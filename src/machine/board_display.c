/* What the guest's user sees. */
#include <stdlib.h>
#include <string.h>

#include "devices/display/vga.h"
#include "display/display.h"
#include "firmware/loader.h"
#include "firmware/rom.h"
#include "machine/board_rows.h"

CHIP_DESTROY(, display)
CHIP_DESTROY(, vga)

#define PATH_SIZE 256

static const struct rom_name rom_vga = {"vgabios-stdvga.bin", "the video BIOS", "seabios"};

int display_row_create(struct board *b, struct error *err)
{
    return display_create(&b->display, err);
}

struct display *machine_display(struct machine *m)
{
    return m->board.display;
}

bool board_has_vga(const struct board *b)
{
    const char *vga = b->machine->config.vga;
    return vga ? !strcmp(vga, "std") : board_has_firmware(b);
}

int vga_row_create(struct board *b, struct error *err)
{
    if (!board_has_vga(b))
        return 0;
    const char *firmware = b->machine->config.firmware;
    struct vga_config config = {.display = b->display, .bus = b->pci_bus, .slot = PC_SLOT_VGA};
    char rom[PATH_SIZE];
    if (board_has_firmware(b)) {
        int rc = rom_find(&rom_vga, rom, sizeof rom, err);
        config.rom = rc ? NULL : rom;
        if (rc && !(firmware && !strcmp(firmware, "uefi"))) /* which has a driver of its own */
            return rc;
    }
    int rc = vga_create(&b->vga, &b->env, &config, err);
    if (!rc)
        vga_row_reset(b);
    return rc;
}

/* A kernel without firmware finds the adapter as a BIOS leaves it. */
void vga_row_reset(struct board *b)
{
    if (!b->vga)
        return;
    if (board_has_firmware(b))
        vga_reset(b->vga);
    else
        vga_post(b->vga);
}

/* --- vga= ---------------------------------------------------------------------------------------------- */

/* Linux's numbers, VESA's plus 200h (Documentation/admin-guide/svga.rst). */
static const struct vesa_mode {
    u16 number, width, height, bits;
} vesa_modes[] = {
    {0x301, 640, 480, 8},   {0x303, 800, 600, 8},    {0x305, 1024, 768, 8},   {0x307, 1280, 1024, 8},
    {0x310, 640, 480, 15},  {0x311, 640, 480, 16},   {0x312, 640, 480, 24},   {0x313, 800, 600, 15},
    {0x314, 800, 600, 16},  {0x315, 800, 600, 24},   {0x316, 1024, 768, 15},  {0x317, 1024, 768, 16},
    {0x318, 1024, 768, 24}, {0x319, 1280, 1024, 15}, {0x31a, 1280, 1024, 16}, {0x31b, 1280, 1024, 24},
};

/* The value of the last "vga=" in a command line, NULL: none. */
static const char *find_vga_parameter(const char *cmdline)
{
    const char *found = NULL;
    for (const char *at = cmdline; (at = strstr(at, "vga=")) != NULL; at += 4)
        if (at == cmdline || at[-1] == ' ')
            found = at + 4;
    return found;
}

void board_set_screen(struct board *b, const char *cmdline, struct kernel_screen *screen)
{
    const char *value = find_vga_parameter(cmdline);
    if (!b->vga || !value)
        return;
    unsigned long number = strtoul(value, NULL, 0);
    for (size_t i = 0; i < ARRAY_LEN(vesa_modes); i++) {
        const struct vesa_mode *mode = &vesa_modes[i];
        struct vga_linear linear;
        if (mode->number == number && vga_post_linear(b->vga, mode->width, mode->height, mode->bits, &linear))
            *screen =
                (struct kernel_screen){linear.base, linear.width, linear.height, linear.bits, linear.pitch};
    }
}
