/*
 * How a VM's RAM lies in guest-physical space, and the memory map that firmware hands to the guest.
 *
 *   0 ......... 9FC00h  usable
 *   9FC00h .... A0000h  extended BIOS data area
 *   A0000h .... F0000h  legacy hole: VGA memory (no RAM), then RAM for option ROMs, which the map does not
 * show F0000h ... 100000h  firmware tables (RSDP) 1 MiB .... low end  usable; its last 64 KiB are ACPI tables
 * (reclaimable) and, in the very last page, the FACS 4 GiB ............  the rest
 */
#ifndef RING3_FIRMWARE_LAYOUT_H
#define RING3_FIRMWARE_LAYOUT_H

#include "base/error.h"

#define RAM_LOW_MAX    GIB(3)
#define RAM_HIGH_START GIB(4)
#define RAM_SIZE_MIN   MIB(2)

#define EBDA_START     0x9fc00ull
#define EBDA_END       0xa0000ull
#define FIRMWARE_START 0xf0000ull
#define FIRMWARE_END   0x100000ull
#define ACPI_AREA_SIZE KIB(64)
#define ACPI_NVS_SIZE  KIB(4)

struct ram_layout {
    u64 low_size;  /* from 0 */
    u64 high_size; /* from 4 GiB; 0: none */
};

/* Splits `size` bytes of RAM. Fails if that is no page multiple, or too little or too much. */
int ram_layout_init(struct ram_layout *ram, u64 size, struct error *err);

static inline u64 ram_layout_size(const struct ram_layout *ram)
{
    return ram->low_size + ram->high_size;
}

/* Where addresses for PCI devices begin: below 4 GiB (firmware takes 2 GiB for that, too, if no RAM is
 * there), and above (0: there is no room). */
u32 pci_window32_start(const struct ram_layout *ram);
u64 pci_window64_start(const struct ram_layout *ram);

/* First byte of the ACPI tables, and of the FACS. */
static inline u64 acpi_area_start(const struct ram_layout *ram)
{
    return ram->low_size - ACPI_AREA_SIZE;
}

static inline u64 acpi_nvs_start(const struct ram_layout *ram)
{
    return ram->low_size - ACPI_NVS_SIZE;
}

/* Types of INT 15h E820h; PVH and Multiboot use the same numbers. */
enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };

struct e820_entry {
    u64 addr, size;
    enum e820_type type;
};

#define E820_MAX 8

/* Fills `map`, ascending and without overlap; returns the number of entries. */
unsigned e820_build(const struct ram_layout *ram, struct e820_entry map[E820_MAX]);

/* Is all of [start, start + size) usable RAM in the map? No for size 0 and for a wrapping range. */
bool e820_is_ram(const struct ram_layout *ram, u64 start, u64 size);

#endif
