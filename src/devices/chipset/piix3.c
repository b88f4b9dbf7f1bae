/*
 * Intel 82371FB/82371SB data sheet (290550), chapter 2.2. Registers that steer ISA timing, X-bus decoding and
 * DMA distribution keep what is written to them.
 */
#include "devices/chipset/piix3.h"

#include <stdlib.h>

#include "base/bytes.h"

/* PIRQRC */
enum pirq_bit { PIRQ_OFF = BIT(7), PIRQ_IRQ = 0xf };

struct piix3 {
    struct pci_function pci;
    struct piix3_config config;
    bool link[PCI_PINS];      /* what the bus drives: derived */
    bool irq[PIIX3_ISA_IRQS]; /* what is driven: derived */
};

static const struct {
    u8 offset, value, writable;
} registers[] = {
    {0x4c, 0x4d, 0x7f},                                                             /* IORT */
    {0x4e, 0x03, 0xff}, {0x4f, 0x00, 0x01},                                         /* XBCS */
    {0x60, 0x80, 0x8f}, {0x61, 0x80, 0x8f}, {0x62, 0x80, 0x8f}, {0x63, 0x80, 0x8f}, /* PIRQRC */
    {0x69, 0x02, 0xfe},                                                             /* TOM */
    {0x6a, 0x00, 0xd0}, {0x6b, 0x00, 0x80},                                         /* MSTAT */
    {0x70, 0x80, 0xef},                                                             /* MBIRQ0 */
    {0x76, 0x0c, 0x8f}, {0x77, 0x0c, 0x8f},                                         /* MBDMA */
    {0x78, 0x02, 0xff}, {0x79, 0x00, 0xff},                                         /* PCSC */
    {0x80, 0x00, 0x7f},                                                             /* APICBASE */
    {0x82, 0x00, 0x0f},                                                             /* DLC */
    {0xa0, 0x08, 0x1f},                                                             /* SMICNTL */
    {0xa2, 0x00, 0xff}, {0xa3, 0x00, 0x01},                                         /* SMIEN */
    {0xa4, 0x00, 0xff}, {0xa5, 0x00, 0xff}, {0xa6, 0x00, 0xff}, {0xa7, 0x00, 0xff}, /* SEE */
    {0xa8, 0x0f, 0xff},                                                             /* FTMR */
    {0xac, 0x00, 0xff}, {0xae, 0x00, 0xff},                                         /* CTLTMR, CTHTMR */
};

/* Interrupts 0, 1, 2, 8 and 13 cannot be had ("reserved"). */
#define ROUTABLE 0xdef8u

/* The interrupt that link `n` is routed to, or -1. */
static int link_irq(const struct piix3 *piix, unsigned n)
{
    u8 route = piix->pci.config[PIIX3_PIRQ + n];
    return route & PIRQ_OFF || !(ROUTABLE & BIT(route & PIRQ_IRQ)) ? -1 : route & PIRQ_IRQ;
}

static void drive(struct piix3 *piix)
{
    bool level[PIIX3_ISA_IRQS] = {0};
    for (unsigned n = 0; n < PCI_PINS; n++) {
        int irq = link_irq(piix, n);
        if (irq >= 0)
            level[irq] |= piix->link[n];
    }
    for (unsigned irq = 0; irq < PIIX3_ISA_IRQS; irq++) {
        if (level[irq] == piix->irq[irq])
            continue;
        piix->irq[irq] = level[irq];
        irq_set(&piix->config.irq[irq], level[irq]);
    }
}

void piix3_set_pirq(struct piix3 *piix, unsigned link, bool level)
{
    piix->link[link] = level;
    drive(piix);
}

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    if (offset < PIIX3_PIRQ + PCI_PINS && offset + size > PIIX3_PIRQ)
        drive(container_of(f, struct piix3, pci));
}

static void describe(struct piix3 *piix)
{
    const struct pci_ids ids = {.vendor = 0x8086,
                                .device = 0x7000,
                                .class_code = 0x060100,
                                .subsystem_vendor = PCI_BOARD_VENDOR,
                                .subsystem = PCI_BOARD_DEVICE};
    struct pci_function *f = &piix->pci;
    pci_function_init(f, "ISA bridge", &ids);
    f->config[PCI_HEADER_TYPE] = 0x80;                                /* there are more functions */
    store_le16(f->writable + PCI_COMMAND, PCI_COMMAND_SERR | BIT(3)); /* special cycles */
    f->writable[PCI_CACHE_LINE] = f->writable[PCI_LATENCY] = f->writable[PCI_INTERRUPT_LINE] = 0;
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        f->writable[registers[i].offset] = registers[i].writable;
    f->clearable[0x6a] = 0x80;
    f->clearable[0xaa] = 0xff; /* SMIREQ */
    f->config_written = config_written;
}

void piix3_reset(struct piix3 *piix)
{
    u8 *config = piix->pci.config;
    store_le16(config + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    store_le16(config + PCI_STATUS, 0x0200); /* medium DEVSEL timing */
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        config[registers[i].offset] = registers[i].value;
    drive(piix);
}

int piix3_create(struct piix3 **out, const struct device_env *env, struct pci_bus *bus,
                 const struct piix3_config *config, struct error *err)
{
    struct piix3 *piix = calloc(1, sizeof *piix);
    if (!piix)
        return error_set(err, ENOMEM, "no memory for the ISA bridge");
    piix->config = *config;
    describe(piix);
    int rc = pci_add(bus, &piix->pci, config->slot, 0, err);
    if (rc) {
        free(piix);
        return rc;
    }
    piix3_reset(piix);
    *out = piix;
    return 0;
}

void piix3_destroy(struct piix3 *piix)
{
    if (!piix)
        return;
    pci_remove(&piix->pci);
    free(piix);
}
