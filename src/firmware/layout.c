#include "firmware/layout.h"

#include "firmware/platform.h"
#include "mem/mem.h"

int ram_layout_init(struct ram_layout *ram, u64 size, struct error *err)
{
    /* The hole below 4 GiB pushes RAM up: its end must stay within the physical address width. */
    const u64 max = (1ull << PHYS_BITS) - (RAM_HIGH_START - RAM_LOW_MAX);
    if (size % PAGE_SIZE)
        return error_set(err, EINVAL, "a memory size of %llu bytes is not a multiple of 4 KiB: round it up",
                         (unsigned long long)size);
    if (size < RAM_SIZE_MIN)
        return error_set(err, EINVAL, "%llu KiB of memory are too little for a PC: give it at least %llu MiB",
                         (unsigned long long)(size >> 10), (unsigned long long)(RAM_SIZE_MIN >> 20));
    if (size > max)
        return error_set(err, EINVAL,
                         "%llu GiB of memory are more than the virtual CPU can address: at most %llu GiB",
                         (unsigned long long)(size >> 30), (unsigned long long)(max >> 30));
    ram->low_size = MIN(size, RAM_LOW_MAX);
    ram->high_size = size - ram->low_size;
    return 0;
}

u32 pci_window32_start(const struct ram_layout *ram)
{
    return ram->low_size <= GIB(2) ? (u32)GIB(2) : PC_PCI_MMIO_FIRST;
}

u64 pci_window64_start(const struct ram_layout *ram)
{
    u64 start = ALIGN_UP(RAM_HIGH_START + ram->high_size, PC_PCI_MMIO64_SIZE);
    return start + PC_PCI_MMIO64_SIZE <= 1ull << PHYS_BITS ? start : 0;
}

unsigned e820_build(const struct ram_layout *ram, struct e820_entry map[E820_MAX])
{
    unsigned n = 0;
    map[n++] = (struct e820_entry){0, EBDA_START, E820_RAM};
    map[n++] = (struct e820_entry){EBDA_START, EBDA_END - EBDA_START, E820_RESERVED};
    map[n++] = (struct e820_entry){FIRMWARE_START, FIRMWARE_END - FIRMWARE_START, E820_RESERVED};
    map[n++] = (struct e820_entry){MIB(1), acpi_area_start(ram) - MIB(1), E820_RAM};
    map[n++] = (struct e820_entry){acpi_area_start(ram), ACPI_AREA_SIZE - ACPI_NVS_SIZE, E820_ACPI};
    map[n++] = (struct e820_entry){acpi_nvs_start(ram), ACPI_NVS_SIZE, E820_NVS};
    if (ram->high_size)
        map[n++] = (struct e820_entry){RAM_HIGH_START, ram->high_size, E820_RAM};
    return n;
}

bool e820_is_ram(const struct ram_layout *ram, u64 start, u64 size)
{
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(ram, map);
    for (unsigned i = 0; i < n; i++) {
        u64 offset = start - map[i].addr;
        if (map[i].type == E820_RAM && start >= map[i].addr && offset < map[i].size)
            return size && size <= map[i].size - offset;
    }
    return false;
}
