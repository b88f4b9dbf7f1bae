/*
 * Intel 82371AB data sheet (290562), chapter 7.1. There is no system management mode: the device monitors'
 * registers keep what is written to them, and the SMI at the APM port counts as set up, so that firmware
 * leaves it alone.
 */
#include "devices/chipset/piix4_pm.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "devices/acpi/acpi_pm.h"
#include "devices/chipset/smbus.h"

#define DEVACTB         0x58
#define DEVACTB_APMC_EN BIT(25) /* a write to the APM command port is an SMI */

struct piix4_pm {
    struct pci_function pci;
    struct piix4_pm_config config;
    struct smbus *smbus;
    bool smbus_level; /* what the SMBus controller drives */
};

static const struct {
    u8 offset, size;
    u32 value, writable;
} registers[] = {
    {PIIX4_PMBASE, 4, 0x00000001, 0x0000ffc0},
    {0x44, 4, 0, 0x0000ffff}, /* CNTA */
    {0x48, 4, 0, 0x0000ffff}, /* CNTB */
    {0x4c, 4, 0, 0xffffffff}, /* GPICTL */
    {0x50, 4, 0, 0x00ffffff}, /* DEVRESD */
    {0x54, 4, 0, 0xffffffff}, /* DEVACTA */
    {DEVACTB, 4, DEVACTB_APMC_EN, 0x03ffffff},
    {0x5c, 4, 0, 0xffffffff}, /* DEVRESA */
    {0x60, 4, 0, 0xffffffff}, /* DEVRESB */
    {0x64, 4, 0, 0xffffffff}, /* DEVRESC */
    {0x68, 4, 0, 0x001fffff}, /* DEVRESE */
    {0x6c, 4, 0, 0x001fffff}, /* DEVRESF */
    {0x70, 4, 0, 0x001fffff}, /* DEVRESG */
    {0x74, 4, 0, 0x001fffff}, /* DEVRESH */
    {0x78, 4, 0, 0x003fffff}, /* DEVRESI */
    {0x7c, 4, 0, 0x003fffff}, /* DEVRESJ */
    {PIIX4_PMREGMISC, 1, 0, 0x01},
    {PIIX4_SMBBASE, 4, 0x00000001, 0x0000fff0},
    {PIIX4_SMBHSTCFG, 1, 0, 0x0f},
    {0xd3, 1, 0, 0xff}, /* SMBSLVC */
    {0xd4, 1, 0, 0xff}, /* SMBSHDW1 */
    {0xd5, 1, 0, 0xff}, /* SMBSHDW2 */
};

u16 piix4_pm_base(const struct piix4_pm *pm)
{
    bool on = pm->pci.config[PIIX4_PMREGMISC] & 1;
    return on ? (u16)(load_le16(pm->pci.config + PIIX4_PMBASE) & 0xffc0) : 0;
}

static void drive_smbus_irq(struct piix4_pm *pm)
{
    bool irq9 = (pm->pci.config[PIIX4_SMBHSTCFG] & 0x0e) == PIIX4_SMB_IRQ9;
    irq_set(&pm->config.smbus_irq, pm->smbus_level && irq9);
}

static void smbus_irq_set(void *opaque, unsigned pin, bool level)
{
    struct piix4_pm *pm = opaque;
    pm->smbus_level = level;
    drive_smbus_irq(pm);
}

static void place(struct piix4_pm *pm)
{
    bool smbus = pm->pci.config[PIIX4_SMBHSTCFG] & PIIX4_SMB_ENABLE;
    acpi_pm_move(pm->config.acpi, piix4_pm_base(pm));
    smbus_move(pm->smbus, smbus ? (u16)(load_le16(pm->pci.config + PIIX4_SMBBASE) & 0xfff0) : 0);
    drive_smbus_irq(pm);
}

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    place(container_of(f, struct piix4_pm, pci));
}

static void describe(struct piix4_pm *pm)
{
    const struct pci_ids ids = {.vendor = 0x8086,
                                .device = 0x7113,
                                .class_code = 0x068000,
                                .revision = 3,
                                .subsystem_vendor = PCI_BOARD_VENDOR,
                                .subsystem = PCI_BOARD_DEVICE,
                                .interrupt_pin = 1};
    struct pci_function *f = &pm->pci;
    pci_function_init(f, "power management", &ids);
    store_le16(f->writable + PCI_COMMAND, PCI_COMMAND_IO | BIT(3)); /* special cycles */
    f->writable[PCI_CACHE_LINE] = f->writable[PCI_LATENCY] = 0;
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        store_le(f->writable + registers[i].offset, registers[i].size, registers[i].writable);
    f->config_written = config_written;
}

void piix4_pm_reset(struct piix4_pm *pm)
{
    u8 *config = pm->pci.config;
    store_le16(config + PCI_STATUS, 0x0280); /* fast back-to-back, medium DEVSEL timing */
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        store_le(config + registers[i].offset, registers[i].size, registers[i].value);
    smbus_reset(pm->smbus);
    place(pm);
}

int piix4_pm_create(struct piix4_pm **out, const struct device_env *env, struct pci_bus *bus,
                    const struct piix4_pm_config *config, struct error *err)
{
    struct piix4_pm *pm = calloc(1, sizeof *pm);
    if (!pm)
        return error_set(err, ENOMEM, "no memory for the power management function");
    pm->config = *config;
    describe(pm);
    int rc = smbus_create(&pm->smbus, env, (struct irq_line){smbus_irq_set, pm, 0}, err);
    if (!rc)
        rc = pci_add(bus, &pm->pci, config->slot, 3, err);
    if (rc) {
        piix4_pm_destroy(pm);
        return rc;
    }
    piix4_pm_reset(pm);
    *out = pm;
    return 0;
}

void piix4_pm_destroy(struct piix4_pm *pm)
{
    if (!pm)
        return;
    pci_remove(&pm->pci);
    smbus_destroy(pm->smbus);
    free(pm);
}
