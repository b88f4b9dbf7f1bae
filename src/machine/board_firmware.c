/* What firmware reads and where it lies. */
#include <stdio.h>
#include <string.h>

#include "devices/debug/debug_console.h"
#include "devices/dma/i8237.h"
#include "devices/fwcfg/fw_cfg.h"
#include "devices/timer/rtc.h"
#include "firmware/acpi_tables.h"
#include "firmware/rom.h"
#include "machine/board_rows.h"

CHIP_DESTROY_RESET(, fw_cfg)
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

/* --- what it reads ------------------------------------------------------------------------------------ */

int fw_cfg_row_create(struct board *b, struct error *err)
{
    return fw_cfg_create(&b->fw_cfg, &b->env, err);
}

/* RAM alone: what firmware takes of it, it knows itself. */
static int describe_memory(struct board *b)
{
    struct {
        u64 address, length;
        u32 type;
    } __attribute__((packed))
    map[2] = {{0, b->ram.low_size, E820_RAM}, {RAM_HIGH_START, b->ram.high_size, E820_RAM}};
    rtc_set_memory(b->rtc, b->ram.low_size, b->ram.high_size);
    int rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_RAM_SIZE, ram_layout_size(&b->ram), 8);
    if (!rc)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/e820", map, (b->ram.high_size ? 2 : 1) * sizeof *map);
    return rc;
}

static int describe_cpus(struct board *b)
{
    unsigned cpus = b->machine->config.cpus;
    rtc_set_cmos(b->rtc, CMOS_CPU_COUNT, (u8)(cpus - 1));
    int rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_NB_CPUS, cpus, 2);
    if (!rc)
        rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_MAX_CPUS, cpus, 2);
    return rc;
}

/* Without a screen, SeaBIOS's is the serial port. */
static int describe_screen(struct board *b)
{
    bool vga = board_has_vga(b);
    int rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_NOGRAPHIC, !vga, 2);
    u16 port = PC_COM1_BASE;
    if (!rc && !vga)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/sercon-port", &port, sizeof port);
    return rc;
}

int firmware_describe(struct board *b, struct error *err)
{
    static int (*const parts[])(struct board * b) = {describe_memory, describe_cpus, describe_screen};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        int rc = parts[i](b);
        if (rc)
            return error_set(err, -rc, "out of memory for the firmware configuration device");
    }
    return 0;
}

/* --- without any -------------------------------------------------------------------------------------- */

int board_setup_firmware(struct board *b, u64 *rsdp, struct error *err)
{
    struct firmware_config config = {
        .ram = b->ram, .cpu_count = b->machine->vm.cpu_count, .vga = board_has_vga(b)};
    i8237_set_cascade(b->i8237);
    return firmware_setup(b->env.mem, &config, rsdp, err);
}
