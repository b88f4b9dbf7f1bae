/*
 * The functions behind the rows of board.c's device table, and what the files that hold them share. All with
 * the machine lock held.
 *
 * A `create` may leave half-made things behind when it fails; its `destroy` is called also then, and accepts
 * that nothing was made. A `reset` is power-on reset.
 */
#ifndef RING3_MACHINE_BOARD_ROWS_H
#define RING3_MACHINE_BOARD_ROWS_H

#include "devices/reset.h"
#include "firmware/acpi_tables.h"
#include "firmware/platform.h"
#include "machine/board.h"
#include "machine/internal.h"

/* An ISA interrupt is active while one of its sources is. */
enum isa_source { ISA_DEVICE, ISA_PCI, ISA_SMBUS };
struct irq_line board_isa_irq_from(struct board *b, unsigned irq, enum isa_source source);
/* ISA interrupt n: the PIC's and the IOAPIC's pins. */
struct irq_line board_isa_irq(struct board *b, unsigned irq);
/* Where interrupt messages of functions and chips go. */
struct msi_sink board_msi(struct board *b);
/* What a console port's device has to say; that it has room for input again. */
void board_console_write(struct board *b, enum console_port port, const u8 *data, size_t len);
void board_console_invite(struct board *b, enum console_port port);
/* Returns how many bytes the virtio console took. */
size_t board_virtio_console_input(struct board *b, const u8 *data, size_t len);
/* A device asks for a reset of the machine. */
struct reset_line board_reset_line(struct board *b);

/* The rows' functions for a chip whose type, prefix and field in struct board have one name. `scope`: static,
 * or nothing for those declared below. */
#define CHIP_DESTROY(scope, chip)                                                                            \
    scope void chip##_row_destroy(struct board *b)                                                           \
    {                                                                                                        \
        chip##_destroy(b->chip);                                                                             \
    }
#define CHIP_DESTROY_RESET(scope, chip)                                                                      \
    CHIP_DESTROY(scope, chip)                                                                                \
    scope void chip##_row_reset(struct board *b)                                                             \
    {                                                                                                        \
        if (b->chip)                                                                                         \
            chip##_reset(b->chip);                                                                           \
    }

#define ROW_DECLARE(chip)                                                                                    \
    int chip##_row_create(struct board *b, struct error *err);                                               \
    void chip##_row_destroy(struct board *b);                                                                \
    void chip##_row_reset(struct board *b)

/* board_chipset.c */
int ram_row_create(struct board *b, struct error *err);
void ram_row_destroy(struct board *b);
ROW_DECLARE(vtd);
ROW_DECLARE(pci_bus);
ROW_DECLARE(i440fx);
ROW_DECLARE(piix3);
ROW_DECLARE(piix4_pm);
ROW_DECLARE(acpi_pm);

/* board_display.c */
int display_row_create(struct board *b, struct error *err);
void display_row_destroy(struct board *b);
ROW_DECLARE(vga);

/* board_legacy.c */
ROW_DECLARE(i8237);
ROW_DECLARE(piix_ide);
ROW_DECLARE(ahci);
ROW_DECLARE(floppy);

/* board_viewer.c */
int typing_row_create(struct board *b, struct error *err);
void typing_row_destroy(struct board *b);
int vnc_row_create(struct board *b, struct error *err);
void vnc_row_destroy(struct board *b);

/* board_virtio.c */
ROW_DECLARE(virtio);

/* board_firmware.c */
ROW_DECLARE(fw_cfg);
ROW_DECLARE(rom);
int debug_console_row_create(struct board *b, struct error *err);
void debug_console_row_destroy(struct board *b);
/* What the firmware tables are made from. */
struct firmware_config board_firmware_config(const struct board *b);
/* Once all devices are there: fills the firmware configuration device and the CMOS RAM. */
int firmware_describe(struct board *b, struct error *err);

/* board_uefi.c: what of the firmware's row is UEFI's. */
bool uefi_is_wanted(const struct board *b);
int uefi_create(struct board *b, struct error *err);
void uefi_destroy(struct board *b);
void uefi_reset(struct board *b);

#endif
