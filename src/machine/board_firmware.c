/* Firmware: where it is, and what is done in its place for a kernel that starts without any. */
#include <stdio.h>
#include <string.h>

#include "devices/debug/debug_console.h"
#include "devices/dma/i8237.h"
#include "firmware/rom.h"
#include "firmware/setup.h"
#include "machine/board_rows.h"

CHIP_DESTROY(, debug_console)

#define PATH_SIZE 256

/* --- the firmware itself ------------------------------------------------------------------------------ */

bool board_has_firmware(const struct board *b)
{
    return b->rom_block != NULL;
}

/* The image ends at 4 GiB, where the reset vector is; its last 128 KiB are at E0000h too (PIIX3, XBCS). */
static void rom_map(struct board *b)
{
    u64 size = b->rom_block->size, low = MIN(size, KIB(128));
    b->rom_high = (struct mem_region){
        .name = "firmware", .gpa = GIB(4) - size, .size = size, .kind = MEM_ROM, .block = b->rom_block};
    b->rom_low = (struct mem_region){.name = "firmware below 1M",
                                     .gpa = MIB(1) - low,
                                     .size = low,
                                     .kind = MEM_ROM,
                                     .block = b->rom_block,
                                     .block_offset = size - low};
    mem_map_begin(b->env.mem);
    mem_map(b->env.mem, &b->rom_high);
    mem_map(b->env.mem, &b->rom_low);
    mem_map_commit(b->env.mem);
}

int rom_row_create(struct board *b, struct error *err)
{
    const struct machine_config *config = &b->machine->config;
    const char *path = config->firmware;
    char found[PATH_SIZE];
    if (config->kernel)
        return 0;
    if (uefi_is_wanted(b))
        return uefi_create(b, err);
    if (!path || !strcmp(path, "bios")) {
        int rc = rom_find(&rom_seabios, found, sizeof found, err);
        if (rc)
            return rc;
        path = found;
    }
    int rc = rom_load(&b->rom_block, path, err);
    if (!rc)
        rom_map(b);
    return rc;
}

void rom_row_destroy(struct board *b)
{
    uefi_destroy(b);
    mem_unmap(b->env.mem, &b->rom_high);
    mem_unmap(b->env.mem, &b->rom_low);
    ram_block_destroy(b->rom_block);
}

void rom_row_reset(struct board *b)
{
    uefi_reset(b);
}

/* Firmware takes the trouble to print only if the port is there. */
int debug_console_row_create(struct board *b, struct error *err)
{
    if (!log_traces(b->env.log, TRACE_FIRMWARE))
        return 0;
    return debug_console_create(&b->debug_console, &b->env, PC_DEBUG_CONSOLE, err);
}

/* --- without any -------------------------------------------------------------------------------------- */

int board_setup_firmware(struct board *b, u64 *rsdp, struct error *err)
{
    struct firmware_config config = board_firmware_config(b);
    i8237_set_cascade(b->i8237);
    return firmware_setup(b->env.mem, &config, rsdp, err);
}
