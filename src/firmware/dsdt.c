/* The DSDT: what of the machine cannot be enumerated by other means. */
#include "firmware/acpi_tables.h"
#include "firmware/platform.h"

#include <stdio.h>

enum sta_bit { STA_PRESENT = BIT(0), STA_ENABLED = BIT(1), STA_SHOWN = BIT(2), STA_WORKS = BIT(3) };
#define STA_ALL (STA_PRESENT | STA_ENABLED | STA_SHOWN | STA_WORKS)

struct isa_device {
    const char *name, *hid;
    struct {
        u16 base;
        u8 count;
    } io[3];
    s8 irq; /* -1: none */
};

static const struct isa_device isa_devices[] = {
    {"PIC_", "PNP0000", {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}}, 2},
    {"PIT_", "PNP0100", {{0x40, 4}}, PC_IRQ_PIT},
    {"SPKR", "PNP0800", {{0x61, 1}}, -1},
    {"RTC_", "PNP0B00", {{0x70, 2}}, PC_IRQ_RTC},
    {"KBD_", "PNP0303", {{0x60, 1}, {0x64, 1}}, PC_IRQ_KEYBOARD},
    {"MOU_", "PNP0F13", {{0}}, PC_IRQ_MOUSE},
    {"COM1", "PNP0501", {{PC_COM1_BASE, 8}}, PC_IRQ_COM1},
    /* Ports that belong to the board. */
    {"SYSR", "PNP0C02", {{0x92, 1}, {PC_SMI_CMD, 2}, {PC_PM_BASE, 0x10}}, -1},
    {"GPER", "PNP0C02", {{PC_GPE0_BASE, 4}}, -1},
};

static void encode_isa_device(struct aml *aml, const struct isa_device *dev, unsigned uid)
{
    struct aml_mark device = aml_device(aml, dev->name);
    aml_name_eisa_id(aml, "_HID", dev->hid);
    aml_name_integer(aml, "_UID", uid);
    aml_name_integer(aml, "_STA", STA_ALL);
    struct aml_mark crs = aml_resources(aml, "_CRS");
    for (unsigned i = 0; i < ARRAY_LEN(dev->io) && dev->io[i].count; i++)
        aml_res_io(aml, dev->io[i].base, dev->io[i].count);
    if (dev->irq >= 0)
        aml_res_irq(aml, (unsigned)dev->irq);
    aml_end(aml, crs);
    aml_end(aml, device);
}

static void encode_hpet(struct aml *aml)
{
    struct aml_mark device = aml_device(aml, "HPET");
    aml_name_eisa_id(aml, "_HID", "PNP0103");
    aml_name_integer(aml, "_UID", 0);
    aml_name_integer(aml, "_STA", STA_ALL);
    struct aml_mark crs = aml_resources(aml, "_CRS");
    aml_res_memory32(aml, PC_HPET_BASE, 0x400, false);
    aml_end(aml, crs);
    aml_end(aml, device);
}

/* A PCI interrupt link that is wired to one interrupt for good: settable in name only. */
static void encode_link(struct aml *aml, unsigned index)
{
    static const u8 irqs[PC_PCI_LINKS] = PC_PCI_LINK_IRQS;
    static const char *const resources[] = {"_CRS", "_PRS"};
    char name[5];
    snprintf(name, sizeof name, "LNK%c", 'A' + (int)(index % 26));
    struct aml_mark device = aml_device(aml, name);
    aml_name_eisa_id(aml, "_HID", "PNP0C0F");
    aml_name_integer(aml, "_UID", index);
    aml_name_integer(aml, "_STA", STA_PRESENT | STA_ENABLED | STA_WORKS);
    for (unsigned i = 0; i < ARRAY_LEN(resources); i++) {
        struct aml_mark res = aml_resources(aml, resources[i]);
        aml_res_interrupt_level(aml, irqs[index]);
        aml_end(aml, res);
    }
    aml_end(aml, aml_method(aml, "_SRS", 1));
    aml_end(aml, aml_method(aml, "_DIS", 0));
    aml_end(aml, device);
}

/* Slots 1..31, pins INTA..INTD, swizzled over the links as on a PIIX3 board. */
static void encode_prt(struct aml *aml)
{
    enum { FIRST_SLOT = 1, SLOTS = 32, PINS = 4 };
    aml_name(aml, "_PRT");
    struct aml_mark table = aml_package(aml, (SLOTS - FIRST_SLOT) * PINS);
    for (unsigned slot = FIRST_SLOT; slot < SLOTS; slot++) {
        for (unsigned pin = 0; pin < PINS; pin++) {
            char link[16];
            snprintf(link, sizeof link, "\\_SB.LNK%c", 'A' + (int)((slot - 1 + pin) % PC_PCI_LINKS));
            struct aml_mark entry = aml_package(aml, 4);
            aml_integer(aml, slot << 16 | 0xffff);
            aml_integer(aml, pin);
            aml_path(aml, link);
            aml_integer(aml, 0);
            aml_end(aml, entry);
        }
    }
    aml_end(aml, table);
}

static void encode_pci_resources(struct aml *aml, const struct ram_layout *ram)
{
    u64 window64 = ALIGN_UP(RAM_HIGH_START + ram->high_size, PC_PCI_MMIO64_SIZE);
    struct aml_mark crs = aml_resources(aml, "_CRS");
    aml_res_bus_range(aml, 0, 0xff);
    aml_res_io(aml, PC_PCI_ADDRESS, 8);
    aml_res_io_range(aml, 0, PC_PCI_ADDRESS - 1);
    aml_res_io_range(aml, PC_PCI_ADDRESS + 8, 0xffff);
    aml_res_memory_range32(aml, 0xa0000, 0xbffff);
    aml_res_memory_range32(aml, PC_PCI_MMIO_FIRST, PC_PCI_MMIO_LAST);
    if (window64 + PC_PCI_MMIO64_SIZE <= 1ull << PHYS_BITS)
        aml_res_memory_range64(aml, window64, window64 + PC_PCI_MMIO64_SIZE - 1);
    aml_end(aml, crs);
}

static void encode_pci(struct aml *aml, const struct firmware_config *config)
{
    struct aml_mark device = aml_device(aml, "PCI0");
    aml_name_eisa_id(aml, "_HID", "PNP0A03");
    aml_name_integer(aml, "_UID", 0);
    encode_pci_resources(aml, &config->ram);
    encode_prt(aml);
    for (unsigned i = 0; i < ARRAY_LEN(isa_devices); i++)
        encode_isa_device(aml, &isa_devices[i], i);
    encode_hpet(aml);
    aml_end(aml, device);
}

void dsdt_encode(struct aml *aml, const struct firmware_config *config)
{
    struct aml_mark scope = aml_scope(aml, "\\_SB");
    for (unsigned i = 0; i < config->cpu_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "C%03X", i & 0xfffu);
        aml_processor(aml, name, (u8)i);
    }
    for (unsigned i = 0; i < PC_PCI_LINKS; i++)
        encode_link(aml, i);
    encode_pci(aml, config);
    aml_end(aml, scope);

    aml_name(aml, "\\_S5");
    struct aml_mark s5 = aml_package(aml, 4);
    for (unsigned i = 0; i < 2; i++)
        aml_integer(aml, PC_SLP_TYP_S5);
    for (unsigned i = 0; i < 2; i++)
        aml_integer(aml, 0);
    aml_end(aml, s5);
}
