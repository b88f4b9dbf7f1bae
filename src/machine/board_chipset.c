/* The chip set: RAM, the PCI bus with its bridges, power management. */
#include "devices/acpi/acpi_pm.h"
#include "devices/irq/lapic.h"
#include "devices/iommu/vtd.h"
#include "devices/pci/pci.h"
#include "machine/board_rows.h"

CHIP_DESTROY_RESET(, vtd)
CHIP_DESTROY_RESET(, pci_bus)
CHIP_DESTROY_RESET(, acpi_pm)

/* --- RAM -------------------------------------------------------------------------------------------- */

#define LEGACY_HOLE_START 0xa0000ull /* VGA memory */
#define LEGACY_HOLE_END   0xc0000ull

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

int pci_bus_row_create(struct board *b, struct error *err)
{
    static const u8 link_irqs[PC_PCI_LINKS] = PC_PCI_LINK_IRQS;
    struct pci_bus_config config = {.reset = board_reset_line(b), .msi = board_msi(b)};
    if (b->vtd)
        config.iommu = vtd_iommu(b->vtd);
    for (unsigned i = 0; i < PC_PCI_LINKS; i++)
        config.links[i] = board_isa_irq(b, link_irqs[i]);
    return pci_bus_create(&b->pci_bus, &b->env, &config, err);
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
        .base = PC_PM_BASE,
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
