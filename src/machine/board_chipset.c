/* The chip set: RAM, the PCI bus with its bridges, power management. */
#include "devices/acpi/acpi_pm.h"
#include "devices/chipset/i440fx.h"
#include "devices/chipset/piix3.h"
#include "devices/chipset/piix4_pm.h"
#include "devices/irq/lapic.h"
#include "devices/iommu/vtd.h"
#include "devices/pci/pci.h"
#include "machine/board_rows.h"

CHIP_DESTROY_RESET(, vtd)
CHIP_DESTROY_RESET(, pci_bus)
CHIP_DESTROY_RESET(, i440fx)
CHIP_DESTROY_RESET(, piix3)
CHIP_DESTROY_RESET(, acpi_pm)
CHIP_DESTROY_RESET(, piix4_pm)

/* --- RAM -------------------------------------------------------------------------------------------- */

/* VGA memory, and what the host bridge shows of the RAM behind it. */
#define LEGACY_HOLE_START 0xa0000ull
#define LEGACY_HOLE_END   0x100000ull

static void ram_map(struct board *b, struct mem_region *region, const char *name, u64 gpa, u64 size,
                    u64 offset)
{
    *region = (struct mem_region){.name = name,
                                  .gpa = gpa,
                                  .size = size,
                                  .kind = MEM_RAM,
                                  .block = b->ram_block,
                                  .block_offset = offset};
    if (size)
        mem_map(b->env.mem, region);
}

int ram_row_create(struct board *b, struct error *err)
{
    int rc = ram_layout_init(&b->ram, b->machine->config.memory, err);
    if (!rc)
        rc = ram_block_create(&b->ram_block, "guest memory", ram_layout_size(&b->ram), err);
    if (rc)
        return rc;
    mem_map_begin(b->env.mem);
    ram_map(b, &b->ram_base, "ram below 640K", 0, LEGACY_HOLE_START, 0);
    ram_map(b, &b->ram_low, "ram below 4G", LEGACY_HOLE_END, b->ram.low_size - LEGACY_HOLE_END,
            LEGACY_HOLE_END);
    ram_map(b, &b->ram_high, "ram above 4G", RAM_HIGH_START, b->ram.high_size, b->ram.low_size);
    mem_map_commit(b->env.mem);
    return 0;
}

void ram_row_destroy(struct board *b)
{
    ram_block_destroy(b->ram_block);
}
/* --- the PCI bus -------------------------------------------------------------------------------------- */

int vtd_row_create(struct board *b, struct error *err)
{
    return b->machine->config.iommu ? vtd_create(&b->vtd, &b->env, b->lapic_bus, err) : 0;
}

struct msi_sink board_msi(struct board *b)
{
    return b->vtd ? vtd_msi(b->vtd) : lapic_bus_msi(b->lapic_bus);
}

static void pirq_set(void *opaque, unsigned link, bool level)
{
    struct board *b = opaque;
    if (b->piix3)
        piix3_set_pirq(b->piix3, link, level);
}

int pci_bus_row_create(struct board *b, struct error *err)
{
    struct pci_bus_config config = {.reset = board_reset_line(b), .msi = board_msi(b)};
    if (b->vtd)
        config.iommu = vtd_iommu(b->vtd);
    for (unsigned i = 0; i < PC_PCI_LINKS; i++)
        config.links[i] = (struct irq_line){pirq_set, b, i};
    return pci_bus_create(&b->pci_bus, &b->env, &config, err);
}

int i440fx_row_create(struct board *b, struct error *err)
{
    return i440fx_create(&b->i440fx, &b->env, b->pci_bus, b->ram_block, err);
}

int piix3_row_create(struct board *b, struct error *err)
{
    struct piix3_config config = {.slot = PC_SLOT_PIIX};
    for (unsigned i = 0; i < PIIX3_ISA_IRQS; i++)
        config.irq[i] = board_isa_irq_from(b, i, ISA_PCI);
    return piix3_create(&b->piix3, &b->env, b->pci_bus, &config, err);
}

/* --- power management --------------------------------------------------------------------------------- */

static void power_off(void *opaque)
{
    struct board *b = opaque;
    machine_request_end(b->machine, MACHINE_POWEROFF, 0);
}

int acpi_pm_row_create(struct board *b, struct error *err)
{
    struct acpi_pm_config config = {
        .gpe_base = PC_GPE0_BASE,
        .smi_cmd = PC_SMI_CMD,
        .acpi_enable = PC_ACPI_ENABLE,
        .acpi_disable = PC_ACPI_DISABLE,
        .slp_typ_s5 = PC_SLP_TYP_S5,
        .sci = board_isa_irq(b, PC_IRQ_SCI),
        .power_off = power_off,
        .opaque = b,
    };
    return acpi_pm_create(&b->acpi_pm, &b->env, &config, err);
}

int piix4_pm_row_create(struct board *b, struct error *err)
{
    struct piix4_pm_config config = {
        .slot = PC_SLOT_PIIX, .acpi = b->acpi_pm, .smbus_irq = board_isa_irq_from(b, PC_IRQ_SCI, ISA_SMBUS)};
    return piix4_pm_create(&b->piix4_pm, &b->env, b->pci_bus, &config, err);
}
