/*
 * The board: RAM and every chip of the PC, wired. Adding a device is a row in board.c's table, with a
 * function that creates it, one that destroys it and one that resets it; they are in the file of their theme,
 * board_*.c, and declared in board_rows.h.
 */
#ifndef RING3_MACHINE_BOARD_H
#define RING3_MACHINE_BOARD_H

#include "devices/char/i8042.h"
#include "devices/device.h"
#include "firmware/layout.h"
#include "machine/machine.h"

struct board {
    struct machine *machine;
    struct device_env env;
    struct ram_layout ram;
    struct ram_block *ram_block;
    struct mem_region ram_base, ram_low,
        ram_high;       /* below 640 KiB, from 1 MiB, from 4 GiB; i440fx has the rest */
    u8 isa_sources[16]; /* who drives each ISA interrupt: bit per enum isa_source */
    struct board_console {
        struct machine_console out;
        void (*room)(void *opaque);
        void *room_opaque;
    } console[CONSOLE_PORTS];

    struct pic *pic;
    struct lapic_bus *lapic_bus;
    struct lapic *lapic[VM_MAX_CPUS];
    struct ioapic *ioapic;
    struct pit *pit;
    struct hpet *hpet;
    struct rtc *rtc;
    struct uart *uart; /* COM1 */
    struct input *input;
    struct typing *typing;
    struct vnc *vnc;
    struct i8042 *i8042;
    struct ps2_input ps2_input;
    struct i8237 *i8237; /* both DMA controllers */
    struct piix_ide *piix_ide;
    struct ahci *ahci; /* NULL: no disk asked for it */
    struct floppy *floppy;
    struct vtd *vtd; /* NULL: no remapping unit */
    struct pci_bus *pci_bus;
    struct i440fx *i440fx;
    struct piix3 *piix3;
    struct acpi_pm *acpi_pm;
    struct piix4_pm *piix4_pm;
    struct fw_cfg *fw_cfg;
    u16 acpi_key;                /* of the ACPI tables in there */
    struct ram_block *rom_block; /* the firmware; NULL: none */
    /* UEFI: code and variables, the variables' contents and the file that keeps them (NULL: none) */
    struct pflash *flash[2];
    struct ram_block *flash_block;
    struct block *nvram;
    struct mem_region rom_high, rom_low;
    struct debug_console *debug_console;
    struct board_virtio *virtio; /* board_virtio.c's */
    struct display *display;
    struct vga *vga;
    struct debug_exit *debug_exit;
    struct testdev *testdev;
    struct edu *edu;
    struct drive *drives[MACHINE_MAX_DISKS]; /* of config.disks, same index; open before board_create */
    struct drive *floppy_drives[MACHINE_MAX_FLOPPIES]; /* likewise; NULL: no such drive */
    size_t created;                                    /* rows of the device table */
};

/* Opens all disks' images, before board_create; closed by board_close_drives after board_destroy. Both
 * without the machine lock. */
int board_open_drives(struct board *board, struct machine *m, struct error *err);
void board_close_drives(struct board *board);
/* Waits until no disk I/O is under way; the vCPUs stand still. Without the machine lock. Before a reset,
 * before state is saved, and before board_destroy. */
void board_drain(struct board *board);

/* [machine lock] Creates RAM and all devices that the configuration asks for, and connects the CPUs. On
 * failure the caller destroys what there is. */
int board_create(struct board *board, struct machine *m, struct error *err);
void board_destroy(struct board *board);
void board_reset(struct board *board);

/* Does firmware start the machine (or a kernel, without any)? */
bool board_has_firmware(const struct board *board);
bool board_has_vga(const struct board *board);
/* Linux's boot parameter "vga=NUMBER" in a command line, which its boot loader has to obey: shows that VESA
 * mode; `screen` stays as it is if there is none. */
struct kernel_screen;
void board_set_screen(struct board *board, const char *cmdline, struct kernel_screen *screen);

/* What firmware does before it starts a kernel: tables, and chips set up as they say. `*rsdp` is the
 * guest-physical address of the ACPI root pointer. */
int board_setup_firmware(struct board *board, u64 *rsdp, struct error *err);

#endif
