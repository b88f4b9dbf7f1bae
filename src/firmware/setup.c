#include "firmware/setup.h"

#include "firmware/pci_setup.h"
#include "firmware/platform.h"

/* The BIOS data area, as far as systems look into it (Phoenix/IBM PC BIOS). */
static void write_bda(struct mem_space *mem)
{
    enum { BDA_COM1 = 0x400, BDA_EBDA = 0x40e, BDA_EQUIPMENT = 0x410, BDA_MEMORY_KIB = 0x413 };
    mem_write(mem, BDA_COM1, 2, PC_COM1_BASE);
    mem_write(mem, BDA_EBDA, 2, EBDA_START >> 4);
    mem_write(mem, BDA_EQUIPMENT, 2, 1u << 9 | 1u << 2 | 1u << 1); /* one serial port, a mouse, an x87 */
    mem_write(mem, BDA_MEMORY_KIB, 2, EBDA_START >> 10);
    mem_write(mem, EBDA_START, 1, (EBDA_END - EBDA_START) >> 10);
}

static void config_write(struct mem_space *mem, unsigned slot, unsigned function, unsigned offset,
                         unsigned size, u32 value)
{
    port_write(mem, PC_PCI_ADDRESS, 4, BIT(31) | slot << 11 | function << 8 | (offset & 0xfc));
    port_write(mem, (u16)(PC_PCI_ADDRESS + 4 + (offset & 3)), size, value);
}

/* Host bridge, PIIX3 and PIIX4 (their data sheets; devices/chipset): all of the upper memory area is RAM, the
 * PCI interrupts are routed, the ACPI registers are where the tables say, and the SMBus follows them. */
static void program_chips(struct mem_space *mem)
{
    static const u8 links[PC_PCI_LINKS] = PC_PCI_LINK_IRQS;
    enum { PAM0 = 0x59, PAMS = 7, PIRQRCA = 0x60 };
    enum { INTERRUPT_LINE = 0x3c, PMBASE = 0x40, PMREGMISC = 0x80, SMBBASE = 0x90, SMBHSTCFG = 0xd2, PM = 3 };
    enum { IDETIM = 0x40, IDE = 1 };
    for (unsigned i = 0; i < PAMS; i++)
        config_write(mem, PC_SLOT_HOST, 0, PAM0 + i, 1, 0x33);
    for (unsigned i = 0; i < PC_PCI_LINKS; i++)
        config_write(mem, PC_SLOT_PIIX, 0, PIRQRCA + i, 1, links[i]);
    port_write(mem, PC_ELCR + 1, 1, PC_ELCR_SECOND);
    config_write(mem, PC_SLOT_PIIX, IDE, IDETIM, 4, 0x80008000); /* both channels answer at their ports */
    config_write(mem, PC_SLOT_PIIX, PM, INTERRUPT_LINE, 1, PC_IRQ_SCI);
    config_write(mem, PC_SLOT_PIIX, PM, PMBASE, 4, PC_PM_BASE);
    config_write(mem, PC_SLOT_PIIX, PM, PMREGMISC, 1, 1);
    config_write(mem, PC_SLOT_PIIX, PM, SMBBASE, 4, PC_PM_BASE + PC_SMBUS_OFFSET);
    config_write(mem, PC_SLOT_PIIX, PM, SMBHSTCFG, 1, 0x09); /* on, IRQ 9 */
    port_write(mem, PC_PCI_ADDRESS, 4, 0);
}

int firmware_setup(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp, struct error *err)
{
    struct firmware_config own = *config;
    own.pm_base = PC_PM_BASE;
    pci_setup(mem);
    program_chips(mem);
    write_bda(mem);
    int rc = acpi_tables_write(mem, &own, rsdp, err);
    return rc ? rc : smbios_write(mem, &own, err);
}
