/* The DSDT: what of the machine cannot be enumerated by other means. */
#include "firmware/acpi_tables.h"
#include "firmware/platform.h"

#include <stdio.h>
#include <string.h>

enum sta_bit { STA_PRESENT = BIT(0), STA_ENABLED = BIT(1), STA_SHOWN = BIT(2), STA_WORKS = BIT(3) };
#define STA_ALL (STA_PRESENT | STA_ENABLED | STA_SHOWN | STA_WORKS)

/* What is at fixed ports behind the ISA bridge. */
struct isa_device {
    const char *name, *hid; /* a PNP number, or a string of 8 characters */
    struct {
        u16 base;
        u8 count;
    } io[3];
    s8 irq, dma; /* -1: none */
};

static const struct isa_device isa_devices[] = {
    {"PIC_", "PNP0000", {{0x20, 2}, {0xa0, 2}, {PC_ELCR, 2}}, 2, -1},
    {"PIT_", "PNP0100", {{0x40, 4}}, PC_IRQ_PIT, -1},
    {"DMAC", "PNP0200", {{0x00, 16}, {0x81, 15}, {0xc0, 32}}, -1, 4},
    {"SPKR", "PNP0800", {{0x61, 1}}, -1, -1},
    {"FPU_", "PNP0C04", {{0xf0, 1}}, PC_IRQ_FPU, -1},
    {"RTC_", "PNP0B00", {{0x70, 2}}, PC_IRQ_RTC, -1},
    {"KBD_", "PNP0303", {{0x60, 1}, {0x64, 1}}, PC_IRQ_KEYBOARD, -1},
    {"MOU_", "PNP0F13", {{0}}, PC_IRQ_MOUSE, -1},
    {"COM1", "PNP0501", {{PC_COM1_BASE, 8}}, PC_IRQ_COM1, -1},
    {"FWCF", "QEMU0002", {{0x510, 12}}, -1, -1},
    /* Ports that belong to the board. */
    {"SYSR", "PNP0C02", {{0x92, 1}, {PC_SMI_CMD, 2}, {PC_GPE0_BASE, 4}}, -1, -1},
};

static const struct isa_device floppy_controller = {"FDC0", "PNP0700", {{0x3f2, 4}, {0x3f7, 1}}, 6, 2};

static void encode_hid(struct aml *aml, const char *hid)
{
    if (strlen(hid) == 7)
        aml_name_eisa_id(aml, "_HID", hid);
    else
        aml_name_string(aml, "_HID", hid);
}

static void encode_isa_device(struct aml *aml, const struct isa_device *dev, unsigned uid)
{
    struct aml_mark device = aml_device(aml, dev->name);
    encode_hid(aml, dev->hid);
    aml_name_integer(aml, "_UID", uid);
    aml_name_integer(aml, "_STA", STA_ALL);
    struct aml_mark crs = aml_resources(aml, "_CRS");
    for (unsigned i = 0; i < ARRAY_LEN(dev->io) && dev->io[i].count; i++)
        aml_res_io(aml, dev->io[i].base, dev->io[i].count);
    if (dev->irq >= 0)
        aml_res_irq(aml, (unsigned)dev->irq);
    if (dev->dma >= 0)
        aml_res_dma(aml, (unsigned)dev->dma);
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

/* --- interrupt links: PIIX3's route registers PIRQRC[A..D] ------------------------------------------------
 */

#define PIRQRCA   0x60
#define PIRQ_OFF  0x80
#define LINK_NAME "LNK%c"
#define PRQ_PATH  "\\_SB.PCI0.ISA_.PRQ%u"

/* The ISA bridge, with the route registers as PRQ0..PRQ3. */
static void encode_isa_bridge(struct aml *aml, const struct firmware_config *config)
{
    struct aml_mark device = aml_device(aml, "ISA_");
    aml_name_integer(aml, "_ADR", PC_SLOT_PIIX << 16);
    aml_region_pci(aml, "P40C", PIRQRCA, PC_PCI_LINKS);
    struct aml_mark field = aml_field(aml, "P40C");
    for (unsigned i = 0; i < PC_PCI_LINKS; i++) {
        char name[8];
        snprintf(name, sizeof name, "PRQ%u", i);
        aml_field_unit(aml, name, 8);
    }
    aml_end(aml, field);
    for (unsigned i = 0; i < ARRAY_LEN(isa_devices); i++)
        encode_isa_device(aml, &isa_devices[i], i);
    if (config->floppy)
        encode_isa_device(aml, &floppy_controller, 0);
    aml_end(aml, device);
}

/* Offset of the interrupt's number in a resource template that is one Interrupt(). */
#define INTERRUPT_OFFSET 5

/* Method(_STA): disabled while the route is off. */
static void encode_link_status(struct aml *aml, const char *route)
{
    struct aml_mark method = aml_method(aml, "_STA", 0);
    struct aml_mark off = aml_if(aml);
    aml_operator(aml, AML_AND);
    aml_path(aml, route);
    aml_integer(aml, PIRQ_OFF);
    aml_nowhere(aml);
    aml_return_integer(aml, STA_PRESENT | STA_WORKS);
    aml_end(aml, off);
    aml_return_integer(aml, STA_PRESENT | STA_ENABLED | STA_WORKS);
    aml_end(aml, method);
}

/* Method(_CRS): where it is routed; interrupt 0 while the route is off. */
static void encode_link_current(struct aml *aml, const char *route)
{
    struct aml_mark method = aml_method(aml, "_CRS", 0 | AML_SERIALIZED);
    struct aml_mark res = aml_resources(aml, "RES_");
    aml_res_interrupt_level(aml, 0);
    aml_end(aml, res);
    aml_operator(aml, AML_DWORD_FIELD);
    aml_path(aml, "RES_");
    aml_integer(aml, INTERRUPT_OFFSET);
    aml_path(aml, "IRQ_");
    struct aml_mark on = aml_if(aml);
    aml_operator(aml, AML_LESS);
    aml_path(aml, route);
    aml_integer(aml, PIRQ_OFF);
    aml_operator(aml, AML_STORE);
    aml_path(aml, route);
    aml_path(aml, "IRQ_");
    aml_end(aml, on);
    aml_operator(aml, AML_RETURN);
    aml_path(aml, "RES_");
    aml_end(aml, method);
}

static void encode_link_set(struct aml *aml, const char *route)
{
    struct aml_mark method = aml_method(aml, "_SRS", 1 | AML_SERIALIZED);
    aml_operator(aml, AML_DWORD_FIELD);
    aml_arg(aml, 0);
    aml_integer(aml, INTERRUPT_OFFSET);
    aml_path(aml, "IRQ_");
    aml_operator(aml, AML_STORE);
    aml_path(aml, "IRQ_");
    aml_path(aml, route);
    aml_end(aml, method);
}

static void encode_link_disable(struct aml *aml, const char *route)
{
    struct aml_mark method = aml_method(aml, "_DIS", 0);
    aml_operator(aml, AML_OR);
    aml_path(aml, route);
    aml_integer(aml, PIRQ_OFF);
    aml_path(aml, route);
    aml_end(aml, method);
}

static void encode_possible(struct aml *aml, const u8 *irqs, u8 count)
{
    struct aml_mark res = aml_resources(aml, "_PRS");
    aml_res_interrupts_level(aml, irqs, count);
    aml_end(aml, res);
}

static void encode_link(struct aml *aml, unsigned index)
{
    static const u8 irqs[] = PC_PCI_POSSIBLE_IRQS;
    char name[8], route[24];
    snprintf(name, sizeof name, LINK_NAME, 'A' + (int)(index % 26));
    snprintf(route, sizeof route, PRQ_PATH, index);
    struct aml_mark device = aml_device(aml, name);
    aml_name_eisa_id(aml, "_HID", "PNP0C0F");
    aml_name_integer(aml, "_UID", index);
    encode_possible(aml, irqs, ARRAY_LEN(irqs));
    encode_link_status(aml, route);
    encode_link_current(aml, route);
    encode_link_set(aml, route);
    encode_link_disable(aml, route);
    aml_end(aml, device);
}

/* The power management function's interrupt is the SCI, whatever the route of its pin. */
static void encode_sci_link(struct aml *aml)
{
    static const u8 irq = PC_IRQ_SCI;
    struct aml_mark device = aml_device(aml, "LNKS");
    aml_name_eisa_id(aml, "_HID", "PNP0C0F");
    aml_name_integer(aml, "_UID", PC_PCI_LINKS);
    aml_name_integer(aml, "_STA", STA_PRESENT | STA_ENABLED | STA_WORKS);
    encode_possible(aml, &irq, 1);
    struct aml_mark crs = aml_resources(aml, "_CRS");
    aml_res_interrupt_level(aml, irq);
    aml_end(aml, crs);
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
            char letter =
                slot == PC_SLOT_PIIX && pin == 0 ? 'S' : (char)('A' + (slot - 1 + pin) % PC_PCI_LINKS);
            char link[16];
            snprintf(link, sizeof link, "\\_SB." LINK_NAME, letter);
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

/* --- the host bridge --------------------------------------------------------------------------------------
 */

static void encode_pci_resources(struct aml *aml, const struct ram_layout *ram)
{
    u64 window64 = pci_window64_start(ram);
    struct aml_mark crs = aml_resources(aml, "_CRS");
    aml_res_bus_range(aml, 0, 0xff);
    aml_res_io(aml, PC_PCI_ADDRESS, 8);
    aml_res_io_range(aml, 0, PC_PCI_ADDRESS - 1);
    aml_res_io_range(aml, PC_PCI_ADDRESS + 8, 0xffff);
    aml_res_memory_range32(aml, 0xa0000, 0xbffff);
    aml_res_memory_range32(aml, pci_window32_start(ram), PC_PCI_MMIO_LAST);
    if (window64)
        aml_res_memory_range64(aml, window64, window64 + PC_PCI_MMIO64_SIZE - 1);
    aml_end(aml, crs);
}

/* The ports at PIIX4's programmable bases. */
static void encode_power_ports(struct aml *aml, const struct firmware_config *config)
{
    struct aml_mark device = aml_device(aml, "PMIO");
    aml_name_eisa_id(aml, "_HID", "PNP0C02");
    aml_name_integer(aml, "_UID", ARRAY_LEN(isa_devices));
    struct aml_mark crs = aml_resources(aml, "_CRS");
    aml_res_io(aml, config->pm_base, PC_PM_SIZE);
    aml_res_io(aml, config->pm_base + PC_SMBUS_OFFSET, 16);
    aml_end(aml, crs);
    aml_end(aml, device);
}

static void encode_pci(struct aml *aml, const struct firmware_config *config)
{
    struct aml_mark device = aml_device(aml, "PCI0");
    aml_name_eisa_id(aml, "_HID", "PNP0A03");
    aml_name_integer(aml, "_UID", 0);
    encode_pci_resources(aml, &config->ram);
    encode_isa_bridge(aml, config);
    encode_power_ports(aml, config);
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
    encode_pci(aml, config);
    for (unsigned i = 0; i < PC_PCI_LINKS; i++)
        encode_link(aml, i);
    encode_sci_link(aml);
    struct aml_mark pci = aml_scope(aml, "PCI0"); /* names come before their use */
    encode_prt(aml);
    aml_end(aml, pci);
    aml_end(aml, scope);

    aml_name(aml, "\\_S5");
    struct aml_mark s5 = aml_package(aml, 4);
    for (unsigned i = 0; i < 2; i++)
        aml_integer(aml, PC_SLP_TYP_S5);
    for (unsigned i = 0; i < 2; i++)
        aml_integer(aml, 0);
    aml_end(aml, s5);
}
