/* What the guest's user sees. */
#include <string.h>

#include "devices/display/vga.h"
#include "display/display.h"
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
