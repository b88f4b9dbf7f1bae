/* The HBA: generic host control (3.1), interrupts, the PCI function, saved state. */
#include <stdlib.h>

#include "devices/ata/ahci_impl.h"
#include "devices/pci/msi.h"

/* Generic host control, by offset. */
enum ahci_register { R_CAP = 0x00, R_GHC = 0x04, R_IS = 0x08, R_PI = 0x0c, R_VS = 0x10 };

enum ghc_bit { GHC_HR = BIT(0), GHC_IE = BIT(1) };
#define GHC_AE BIT(31)

/* 64-bit addresses, queued commands, command list override, staggered spin-up, generation 2, AHCI only, 32
 * slots, and the number of ports. */
#define CAP_VALUE (BIT(31) | BIT(30) | BIT(27) | BIT(24) | 2u << 20 | BIT(18) | 31u << 8 | (AHCI_PORTS - 1))

#define PORTS_OFFSET 0x100u
#define PORT_SIZE    0x80u
#define ABAR         5u
#define ABAR_SIZE    0x1000u

/* --- interrupts --- */

static void collect_ports(struct ahci *hba)
{
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        if (ahci_port_interrupts(&hba->port[i]) & hba->port[i].ie)
            hba->is |= (u32)BIT(i);
}

/* INTx follows IS; a message goes out when something new is in it. */
static void update_irq(struct ahci *hba, bool event)
{
    u32 before = hba->is;
    collect_ports(hba);
    bool level = hba->is && (hba->ghc & GHC_IE);
    if (!pci_msi_is_enabled(&hba->function))
        pci_set_intx(&hba->function, level);
    else if (level && (event || (hba->is & ~before)))
        pci_msi_notify(&hba->function, 0);
}

void ahci_update_irq(struct ahci *hba)
{
    update_irq(hba, false);
}

void ahci_raise(struct ahci_port *port, u32 bits)
{
    port->is |= bits;
    update_irq(port->hba, port->is & port->ie & bits);
}

/* --- registers --- */

static bool is_resetting(const struct ahci *hba)
{
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        if (hba->port[i].dev && (hba->port[i].resetting || ata_device_is_working(hba->port[i].dev)))
            return true;
    return false;
}

static void hba_reset(struct ahci *hba)
{
    hba->ghc = (u32)GHC_AE;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        ahci_port_abandon(&hba->port[i]);
        ahci_port_reset(&hba->port[i]);
    }
    hba->is = 0;
    update_irq(hba, false);
    hba->ghc |= GHC_HR;
}

static u32 host_read(struct ahci *hba, unsigned offset)
{
    switch (offset) {
    case R_CAP:
        return (u32)CAP_VALUE;
    case R_GHC:
        if ((hba->ghc & GHC_HR) && !is_resetting(hba))
            hba->ghc &= ~(u32)GHC_HR;
        return hba->ghc;
    case R_IS:
        return hba->is;
    case R_PI:
        return (u32)MASK(AHCI_PORTS);
    case R_VS:
        return 0x00010300;
    default:
        return 0;
    }
}

static void host_write(struct ahci *hba, unsigned offset, u32 value)
{
    switch (offset) {
    case R_GHC:
        if (value & GHC_HR) {
            hba_reset(hba);
            return;
        }
        hba->ghc = (hba->ghc & ~(u32)GHC_IE) | (value & GHC_IE);
        break;
    case R_IS:
        hba->is &= ~value;
        break;
    default:
        return;
    }
    ahci_update_irq(hba);
}

static u32 register_read(struct ahci *hba, unsigned offset)
{
    if (offset < PORTS_OFFSET)
        return host_read(hba, offset);
    unsigned port = (offset - PORTS_OFFSET) / PORT_SIZE;
    return port < AHCI_PORTS ? ahci_port_read(&hba->port[port], offset % PORT_SIZE) : 0;
}

static void register_write(struct ahci *hba, unsigned offset, u32 value)
{
    unsigned port = offset < PORTS_OFFSET ? 0 : (offset - PORTS_OFFSET) / PORT_SIZE;
    if (offset < PORTS_OFFSET)
        host_write(hba, offset, value);
    else if (port < AHCI_PORTS)
        ahci_port_write(&hba->port[port], offset % PORT_SIZE, value);
}

/* Registers are doublewords. Narrower reads see their part; narrower writes change nothing else, and never
 * what is cleared by ones. */
static u64 abar_read(void *dev, u64 offset, unsigned size)
{
    unsigned first = offset & 3;
    if (first + size <= 4)
        return (u64)register_read(dev, (unsigned)offset & ~3u) >> (8 * first) & MASK(8 * size);
    unsigned low = 4 - first; /* bytes in the first of two */
    return abar_read(dev, offset, low) | abar_read(dev, offset + low, size - low) << (8 * low);
}

static bool is_cleared_by_ones(unsigned offset)
{
    unsigned port = offset % PORT_SIZE;
    return offset == R_IS ||
           (offset >= PORTS_OFFSET && (port == PX_IS || port == PX_SERR || port == PX_CI || port == PX_SACT));
}

static void abar_write(void *dev, u64 offset, unsigned size, u64 value)
{
    if (size == 4 && !(offset & 3)) {
        register_write(dev, (unsigned)offset, (u32)value);
        return;
    }
    for (unsigned i = 0; i < size; i++) {
        unsigned at = ((unsigned)offset + i) & ~3u, shift = 8 * (((unsigned)offset + i) & 3);
        u32 rest = is_cleared_by_ones(at) ? 0 : register_read(dev, at) & ~(0xffu << shift);
        register_write(dev, at, rest | (u32)(value >> (8 * i) & 0xff) << shift);
    }
}

static const struct io_ops abar_ops = {abar_read, abar_write, .max_size = 4};

/* --- saved state --- */

struct ahci_state {
    u32 ghc, is;
#define X(type, name, max) type name[AHCI_PORTS];
    struct {
        AHCI_PORT_FIELDS(X)
    } port;
#undef X
};

#define X(type, name, max)                                                                                   \
    {"port_" #name, offsetof(struct ahci_state, port.name), sizeof(type), AHCI_PORTS, max},
static const struct state_field ahci_fields[] = {STATE_FIELD(struct ahci_state, ghc),
                                                 STATE_FIELD_MAX(struct ahci_state, is, MASK(AHCI_PORTS)),
                                                 AHCI_PORT_FIELDS(X)};
#undef X

static void ahci_save(const void *dev, void *out)
{
    const struct ahci *hba = dev;
    struct ahci_state *s = out;
    s->ghc = hba->ghc & ~(u32)GHC_HR;
    s->is = hba->is;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
#define X(type, name, max) s->port.name[i] = hba->port[i].name;
        AHCI_PORT_FIELDS(X)
#undef X
    }
}

static void ahci_load(void *dev, const void *in)
{
    struct ahci *hba = dev;
    const struct ahci_state *s = in;
    hba->ghc = (u32)GHC_AE | (s->ghc & GHC_IE);
    hba->is = s->is;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        struct ahci_port *port = &hba->port[i];
#define X(type, name, max) port->name = s->port.name[i];
        AHCI_PORT_FIELDS(X)
#undef X
        port->is &= IS_ALL & ~IS_FROM_SERR;
        port->ie &= IS_ALL;
        port->clb &= ~0x3ffull;
        port->fb &= ~0xffull;
        port->current = AHCI_SLOTS;
        port->resetting = false;
    }
}

static const struct state_desc ahci_desc = {
    .name = "ahci",
    .version = 1,
    .size = sizeof(struct ahci_state),
    .fields = ahci_fields,
    .field_count = ARRAY_LEN(ahci_fields),
    .save = ahci_save,
    .load = ahci_load,
};

/* --- lifecycle --- */

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    struct ahci *hba = container_of(f, struct ahci, function);
    if (pci_msi_is_enabled(f))
        pci_set_intx(f, false);
    ahci_update_irq(hba);
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        ahci_port_run(&hba->port[i]); /* it may be a bus master now */
}

void ahci_reset(struct ahci *hba)
{
    hba->ghc = (u32)GHC_AE;
    hba->is = 0;
    for (unsigned i = 0; i < AHCI_PORTS; i++) {
        if (hba->port[i].dev)
            ata_device_power_on(hba->port[i].dev);
        ahci_port_abandon(&hba->port[i]);
        ahci_port_reset(&hba->port[i]);
    }
    ahci_update_irq(hba);
}

static int port_init(struct ahci *hba, unsigned i, const struct ahci_place *place, struct error *err)
{
    struct ahci_port *port = &hba->port[i];
    port->hba = hba;
    port->number = i;
    port->current = AHCI_SLOTS;
    for (unsigned slot = 0; slot < AHCI_SLOTS; slot++)
        port->slot[slot].port = port;
    if (!place->drive)
        return 0;
    struct ata_config config = {
        .drive = place->drive,
        .cdrom = place->cdrom,
        .serial_ata = true,
        .index = place->index,
        .function = &hba->function,
        .ops = &ahci_port_ops,
        .port = port,
    };
    return ata_device_create(&port->dev, &hba->env, &config, err);
}

int ahci_create(struct ahci **out, const struct device_env *env, const struct ahci_config *config,
                struct error *err)
{
    const struct pci_ids ids = {
        .vendor = 0x8086, .device = 0x2922, .class_code = 0x010601, .revision = 2, .interrupt_pin = 1};
    struct ahci *hba = calloc(1, sizeof *hba);
    if (!hba)
        return error_set(err, ENOMEM, "no memory for the AHCI controller");
    hba->env = *env;
    pci_function_init(&hba->function, "AHCI controller", &ids);
    hba->function.config_written = config_written;
    pci_bar_memory(&hba->function, ABAR, PCI_BAR_MEMORY32, false, ABAR_SIZE, &abar_ops, hba);
    int rc = pci_msi_add(&hba->function, 1);
    if (!rc)
        rc = state_set_add(env->state, &ahci_desc, hba, 0);
    if (rc)
        error_set(err, -rc, "no memory for the AHCI controller's state");
    for (unsigned i = 0; !rc && i < AHCI_PORTS; i++)
        rc = port_init(hba, i, &config->place[i], err);
    if (!rc)
        rc = pci_add(config->bus, &hba->function, config->slot, config->function, err);
    if (rc) {
        ahci_destroy(hba);
        return rc;
    }
    ahci_reset(hba);
    *out = hba;
    return 0;
}

void ahci_destroy(struct ahci *hba)
{
    if (!hba)
        return;
    for (unsigned i = 0; i < AHCI_PORTS; i++)
        ata_device_destroy(hba->port[i].dev);
    pci_remove(&hba->function);
    free(hba);
}
