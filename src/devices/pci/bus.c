/* The bus and its interrupt links. */
#include "devices/pci/pci_impl.h"

#include <stdlib.h>

#include "base/bytes.h"

#define PORT_ADDRESS 0xcf8
#define PORT_DATA    0xcfc

/* CONFADD (82441FX data sheet 3.2.1). Bits 27:24 are AMD's extended register number: kept, but nobody has
 * them. Bits 1:0, which the data sheet reserves, select bytes as the data port's do, like in QEMU's bridge:
 * guests that write them want that. */
enum address_bit { ADDRESS_EXTENDED = 0xf << 24, ADDRESS_KEPT = 0x0fffffff };
#define ADDRESS_ENABLE BIT(31)

/* RC, the reset control register at CF9h (82371SB data sheet 2.5.6). */
enum reset_control { RC_SYSTEM = BIT(1), RC_CPU = BIT(2), RC_FULL = BIT(3), RC_KEPT = RC_SYSTEM | RC_FULL };
#define RC_OFFSET 1

struct pci_bus {
    struct device_env env;
    struct pci_bus_config config;
    struct port_region address_ports, data_ports;
    struct pci_function *functions[PCI_SLOTS][PCI_FUNCTIONS];
    u32 address;
    u8 reset_control;
    u16 link_count[PCI_PINS]; /* pins that pull each link: derived */
};

struct mem_space *pci_bus_mem(struct pci_bus *bus)
{
    return bus->env.mem;
}

const struct msi_sink *pci_bus_msi(const struct pci_bus *bus)
{
    return &bus->config.msi;
}

const struct pci_iommu *pci_bus_iommu(const struct pci_bus *bus)
{
    return &bus->config.iommu;
}

void pci_bus_drive_link(struct pci_bus *bus, const struct pci_function *f, bool level)
{
    unsigned pin = f->config[PCI_INTERRUPT_PIN] - 1u;
    unsigned link = (f->slot + 3u + pin) % PCI_PINS; /* slot 1, INTA: PIRQA */
    bus->link_count[link] += level ? 1 : -1;
    irq_set(&bus->config.links[link], bus->link_count[link] != 0);
}

/* --- configuration accesses -------------------------------------------------------------------------------
 */

static struct pci_function *find_function(struct pci_bus *bus, unsigned slot, unsigned function)
{
    return slot < PCI_SLOTS && function < PCI_FUNCTIONS ? bus->functions[slot][function] : NULL;
}

u32 pci_config_read(struct pci_bus *bus, unsigned slot, unsigned function, unsigned offset, unsigned size)
{
    struct pci_function *f = find_function(bus, slot, function);
    u32 v = (u32)MASK(8 * size);
    if (f && offset + size <= PCI_CONFIG_SIZE) {
        if (f->config_reading)
            f->config_reading(f, offset, size);
        v = (u32)load_le(f->config + offset, size);
    }
    log_trace(bus->env.log, TRACE_PCI, "%02x.%x read%u %#x: %#x", slot, function, 8 * size, offset, v);
    return v;
}

void pci_config_write(struct pci_bus *bus, unsigned slot, unsigned function, unsigned offset, unsigned size,
                      u32 value)
{
    struct pci_function *f = find_function(bus, slot, function);
    log_trace(bus->env.log, TRACE_PCI, "%02x.%x write%u %#x: %#x", slot, function, 8 * size, offset, value);
    if (f && offset + size <= PCI_CONFIG_SIZE)
        pci_function_write(f, offset, size, value);
}

/* Does the address register select something on our bus 0? */
static bool address_is_ours(const struct pci_bus *bus)
{
    return (bus->address & ADDRESS_ENABLE) && !(bus->address & ADDRESS_EXTENDED) &&
           bits_get(bus->address, 23, 16) == 0;
}

/* The register that an access of `size` bytes at `offset` of the data port is for; it does not leave its
 * doubleword. */
static unsigned address_register(const struct pci_bus *bus, u64 offset, unsigned size)
{
    unsigned byte = (bus->address & 3) | (unsigned)offset;
    return (bus->address & 0xfc) + (byte + size <= 4 ? byte : (unsigned)offset);
}

static u64 data_read(void *dev, u64 offset, unsigned size)
{
    struct pci_bus *bus = dev;
    if (!address_is_ours(bus))
        return MASK(8 * size);
    return pci_config_read(bus, bits_get(bus->address, 15, 11), bits_get(bus->address, 10, 8),
                           address_register(bus, offset, size), size);
}

static void data_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct pci_bus *bus = dev;
    if (address_is_ours(bus))
        pci_config_write(bus, bits_get(bus->address, 15, 11), bits_get(bus->address, 10, 8),
                         address_register(bus, offset, size), size, (u32)value);
}

static const struct io_ops data_ops = {.read = data_read, .write = data_write, .max_size = 4};

/* A 0 to 1 transition of RC_CPU resets: the processor, or (RC_SYSTEM) everything. */
static void write_reset_control(struct pci_bus *bus, u8 v)
{
    bool starts = (v & RC_CPU) && !(bus->reset_control & RC_CPU);
    bus->reset_control = v & (RC_KEPT | RC_CPU);
    if (starts)
        reset_request(&bus->config.reset, v & RC_SYSTEM ? RESET_SYSTEM : RESET_CPU);
}

/* CONFADD answers to whole doublewords only; what is narrower goes to the chips behind (only RC is there). */
static u64 address_read(void *dev, u64 offset, unsigned size)
{
    struct pci_bus *bus = dev;
    if (size == 4)
        return bus->address;
    if (size == 1 && offset == RC_OFFSET)
        return bus->reset_control;
    return MASK(8 * size);
}

static void address_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct pci_bus *bus = dev;
    if (size == 4)
        bus->address = (u32)value & (ADDRESS_ENABLE | ADDRESS_KEPT);
    else if (size == 1 && offset == RC_OFFSET)
        write_reset_control(bus, (u8)value);
}

static const struct io_ops address_ops = {.read = address_read, .write = address_write, .max_size = 4};

/* --- functions and their saved state ----------------------------------------------------------------------
 */

struct pci_function_state {
    u8 config[PCI_CONFIG_SIZE];
    bool intx_level;
};

static const struct state_field pci_function_fields[] = {
    STATE_ARRAY(struct pci_function_state, config, u8),
    STATE_BOOL(struct pci_function_state, intx_level),
};

static void pci_function_save(const void *dev, void *out)
{
    const struct pci_function *f = dev;
    struct pci_function_state *s = out;
    memcpy(s->config, f->config, sizeof s->config);
    s->intx_level = f->intx_level;
}

/* What neither the guest nor the function can change must be the same: it is another device otherwise. */
static int pci_function_check(const void *dev, const void *state, struct error *err)
{
    const struct pci_function *f = dev;
    const struct pci_function_state *s = state;
    for (unsigned i = 0; i < PCI_HEADER_SIZE; i++) {
        u8 fixed = (u8) ~(f->writable[i] | f->clearable[i] | (i == PCI_STATUS ? PCI_STATUS_INTX : 0));
        if ((s->config[i] ^ f->config[i]) & fixed)
            return error_set(err, EINVAL, "pci: the saved state of %02x.%x is of another device than %s",
                             f->slot, f->function, f->name);
    }
    return pci_msi_check(f, s->config, err);
}

static void pci_function_load(void *dev, const void *state)
{
    struct pci_function *f = dev;
    const struct pci_function_state *s = state;
    if (!f->bus)
        return;
    memcpy(f->config, s->config, sizeof f->config);
    f->intx_level = s->intx_level;
    pci_function_update(f);
    if (f->config_written)
        f->config_written(f, 0, PCI_CONFIG_SIZE);
}

static const struct state_desc pci_function_desc = {
    .name = "pci-function",
    .version = 1,
    .size = sizeof(struct pci_function_state),
    .fields = pci_function_fields,
    .field_count = ARRAY_LEN(pci_function_fields),
    .save = pci_function_save,
    .check = pci_function_check,
    .load = pci_function_load,
};

int pci_add(struct pci_bus *bus, struct pci_function *f, unsigned slot, unsigned function, struct error *err)
{
    if (slot >= PCI_SLOTS || function >= PCI_FUNCTIONS)
        return error_set(err, EINVAL, "there is no PCI slot %u.%u: slots are 0..31, functions 0..7", slot,
                         function);
    if (bus->functions[slot][function])
        return error_set(err, EBUSY, "PCI slot %u.%u already has a %s: choose another one", slot, function,
                         bus->functions[slot][function]->name);
    u32 instance = slot * PCI_FUNCTIONS + function;
    int rc = state_set_add(bus->env.state, &pci_function_desc, f, instance);
    if (!rc)
        rc = pci_msi_register(f, bus->env.state, instance);
    if (rc < 0)
        return error_set(err, -rc, "no memory for the saved state of %s", f->name);
    f->bus = bus;
    f->slot = (u8)slot;
    f->function = (u8)function;
    bus->functions[slot][function] = f;
    pci_function_update(f);
    return 0;
}

void pci_remove(struct pci_function *f)
{
    if (!f->bus)
        return;
    pci_set_intx(f, false);
    pci_function_unmap(f);
    f->bus->functions[f->slot][f->function] = NULL;
    f->bus = NULL;
}

/* --- the bus itself ---------------------------------------------------------------------------------------
 */

struct pci_bus_state {
    u32 address;
    u8 reset_control;
};

static const struct state_field pci_bus_fields[] = {
    STATE_FIELD(struct pci_bus_state, address),
    STATE_FIELD_MAX(struct pci_bus_state, reset_control, RC_KEPT | RC_CPU),
};

static void pci_bus_save(const void *dev, void *out)
{
    const struct pci_bus *bus = dev;
    *(struct pci_bus_state *)out = (struct pci_bus_state){bus->address, bus->reset_control};
}

static void pci_bus_load(void *dev, const void *state)
{
    struct pci_bus *bus = dev;
    const struct pci_bus_state *s = state;
    bus->address = s->address & (u32)(ADDRESS_ENABLE | ADDRESS_KEPT);
    bus->reset_control = s->reset_control & (RC_KEPT | RC_CPU);
}

static const struct state_desc pci_bus_desc = {
    .name = "pci-bus",
    .version = 1,
    .size = sizeof(struct pci_bus_state),
    .fields = pci_bus_fields,
    .field_count = ARRAY_LEN(pci_bus_fields),
    .save = pci_bus_save,
    .load = pci_bus_load,
};

void pci_bus_reset(struct pci_bus *bus)
{
    bus->address = 0;
    bus->reset_control = 0;
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned function = 0; function < PCI_FUNCTIONS; function++) {
            if (bus->functions[slot][function])
                pci_function_reset(bus->functions[slot][function]);
        }
    }
}

int pci_bus_create(struct pci_bus **out, const struct device_env *env, const struct pci_bus_config *config,
                   struct error *err)
{
    struct pci_bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        return error_set(err, ENOMEM, "no memory for the PCI bus");
    bus->env = *env;
    bus->config = *config;
    int rc = state_set_add(env->state, &pci_bus_desc, bus, 0);
    if (rc < 0) {
        free(bus);
        return error_set(err, -rc, "no memory for the PCI bus's saved state");
    }
    bus->address_ports = (struct port_region){
        .name = "pci-address", .base = PORT_ADDRESS, .count = 4, .ops = &address_ops, .dev = bus};
    bus->data_ports =
        (struct port_region){.name = "pci-data", .base = PORT_DATA, .count = 4, .ops = &data_ops, .dev = bus};
    port_map(env->mem, &bus->address_ports);
    port_map(env->mem, &bus->data_ports);
    *out = bus;
    return 0;
}

void pci_bus_destroy(struct pci_bus *bus)
{
    if (!bus)
        return;
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        for (unsigned function = 0; function < PCI_FUNCTIONS; function++) {
            if (bus->functions[slot][function])
                pci_remove(bus->functions[slot][function]);
        }
    }
    port_unmap(bus->env.mem, &bus->address_ports);
    port_unmap(bus->env.mem, &bus->data_ports);
    free(bus);
}
