/* One PCI function: configuration space, BARs that move, the interrupt pin. */
#include "devices/pci/pci_impl.h"

#include "base/bytes.h"
#include "devices/pci/msi.h"

enum bar_bit { BAR_IO = BIT(0), BAR_64BIT = BIT(2), BAR_PREFETCH = BIT(3), BAR_FLAGS = 0xf };
enum rom_bit { ROM_ENABLE = BIT(0) };

static u64 config_get(const struct pci_function *f, unsigned offset, unsigned size)
{
    return load_le(f->config + offset, size);
}

static void config_set(struct pci_function *f, unsigned offset, unsigned size, u64 value)
{
    store_le(f->config + offset, size, value);
}

void pci_function_init(struct pci_function *f, const char *name, const struct pci_ids *ids)
{
    const u16 command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                        PCI_COMMAND_SERR | PCI_COMMAND_INTX_OFF;
    memset(f, 0, sizeof *f);
    f->name = name;
    config_set(f, PCI_VENDOR, 2, ids->vendor);
    config_set(f, PCI_DEVICE, 2, ids->device);
    config_set(f, PCI_REVISION, 1, ids->revision);
    config_set(f, PCI_CLASS, 2, ids->class_code);
    config_set(f, PCI_CLASS + 2, 1, ids->class_code >> 16);
    config_set(f, PCI_SUBSYSTEM_VENDOR, 2, ids->subsystem_vendor);
    config_set(f, PCI_SUBSYSTEM, 2, ids->subsystem);
    config_set(f, PCI_INTERRUPT_PIN, 1, ids->interrupt_pin);
    store_le16(f->writable + PCI_COMMAND, command);
    store_le16(f->clearable + PCI_STATUS, PCI_STATUS_ERRORS);
    f->writable[PCI_CACHE_LINE] = 0xff;
    f->writable[PCI_LATENCY] = 0xff;
    f->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_bar_memory(struct pci_function *f, unsigned index, enum pci_bar_kind kind, bool prefetchable,
                    u64 size, const struct io_ops *ops, void *dev)
{
    unsigned at = PCI_BAR0 + 4 * index;
    struct pci_bar *bar = &f->bar[index];
    bar->kind = kind;
    bar->size = size;
    /* Below RAM and the chips at fixed addresses, which a BAR must not hide. */
    bar->memory = (struct mem_region){
        .name = f->name, .size = size, .priority = -1, .kind = MEM_IO, .ops = ops, .dev = dev};
    u64 flags = (prefetchable ? BAR_PREFETCH : 0) | (kind == PCI_BAR_MEMORY64 ? BAR_64BIT : 0);
    unsigned width = kind == PCI_BAR_MEMORY64 ? 8 : 4;
    config_set(f, at, width, flags);
    store_le(f->writable + at, width, ~(size - 1) & ~(u64)BAR_FLAGS);
}

void pci_bar_ram(struct pci_function *f, unsigned index, enum pci_bar_kind kind, bool prefetchable, u64 size,
                 struct ram_block *block)
{
    pci_bar_memory(f, index, kind, prefetchable, size, NULL, NULL);
    f->bar[index].memory.kind = MEM_RAM;
    f->bar[index].memory.block = block;
}

void pci_rom(struct pci_function *f, struct ram_block *block)
{
    struct pci_bar *bar = &f->bar[PCI_ROM];
    bar->kind = PCI_BAR_ROM;
    bar->size = block->size;
    bar->memory = (struct mem_region){
        .name = f->name, .size = block->size, .priority = -1, .kind = MEM_ROM, .block = block};
    store_le32(f->writable + PCI_ROM_ADDRESS, (u32) ~(block->size - 1) | ROM_ENABLE);
}

void pci_bar_io(struct pci_function *f, unsigned index, u32 size, const struct io_ops *ops, void *dev)
{
    unsigned at = PCI_BAR0 + 4 * index;
    struct pci_bar *bar = &f->bar[index];
    bar->kind = PCI_BAR_IO;
    bar->size = size;
    bar->ports = (struct port_region){.name = f->name, .count = size, .ops = ops, .dev = dev};
    config_set(f, at, 4, BAR_IO);
    store_le32(f->writable + at, ~(size - 1) & ~3u);
}

u8 pci_capability_add(struct pci_function *f, u8 id, u8 size)
{
    unsigned link = PCI_CAPABILITIES;
    unsigned at = ALIGN_UP(MAX(0x40u, f->capability_end), 4u);
    while (f->config[link])
        link = f->config[link] + 1u;
    if (at + size > PCI_CONFIG_SIZE)
        return 0;
    f->config[link] = (u8)at;
    f->config[at] = id;
    f->config[at + 1] = 0;
    f->capability_end = (u16)(at + size);
    config_set(f, PCI_STATUS, 2, config_get(f, PCI_STATUS, 2) | PCI_STATUS_CAPABILITIES);
    return (u8)at;
}

/* --- BARs -------------------------------------------------------------------------------------------------
 */

/* Where the BAR decodes now, or ~0: switched off, at 0, or not where the bus can have it (while it is being
 * sized). */
static u64 bar_address(const struct pci_function *f, unsigned index)
{
    const struct pci_bar *bar = &f->bar[index];
    unsigned at = PCI_BAR0 + 4 * index;
    u16 command = (u16)config_get(f, PCI_COMMAND, 2);
    u64 address, limit;
    switch (bar->kind) {
    case PCI_BAR_IO:
        address = config_get(f, at, 4) & ~3ull;
        limit = 0x10000;
        break;
    case PCI_BAR_MEMORY32:
        address = config_get(f, at, 4) & ~(u64)BAR_FLAGS;
        limit = 1ull << 32;
        break;
    case PCI_BAR_MEMORY64:
        address = config_get(f, at, 8) & ~(u64)BAR_FLAGS;
        limit = 1ull << PHYS_BITS;
        break;
    case PCI_BAR_ROM:
        if (!(config_get(f, PCI_ROM_ADDRESS, 4) & ROM_ENABLE))
            return ~0ull;
        address = config_get(f, PCI_ROM_ADDRESS, 4) & ~(u64)ROM_ENABLE;
        limit = 1ull << 32;
        break;
    default:
        return ~0ull;
    }
    if (!(command & (bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return ~0ull;
    /* The very top is what a BAR reads as after all ones were written to learn its size. */
    if (address == 0 || address >= limit || bar->size >= limit - address)
        return ~0ull;
    return address;
}

static void bar_unmap(struct pci_function *f, struct pci_bar *bar)
{
    struct mem_space *mem = pci_bus_mem(f->bus);
    if (!bar->mapped)
        return;
    if (bar->kind == PCI_BAR_IO)
        port_unmap(mem, &bar->ports);
    else
        mem_unmap(mem, &bar->memory);
    bar->mapped = false;
}

static void bar_map(struct pci_function *f, struct pci_bar *bar, u64 address)
{
    struct mem_space *mem = pci_bus_mem(f->bus);
    if (bar->kind == PCI_BAR_IO) {
        bar->ports.base = (u16)address;
        port_map(mem, &bar->ports);
    } else {
        bar->memory.gpa = address;
        mem_map(mem, &bar->memory);
    }
    bar->mapped = true;
}

static u64 bar_mapped_at(const struct pci_bar *bar)
{
    if (!bar->mapped)
        return ~0ull;
    return bar->kind == PCI_BAR_IO ? bar->ports.base : bar->memory.gpa;
}

void pci_function_update(struct pci_function *f)
{
    struct mem_space *mem = pci_bus_mem(f->bus);
    mem_map_begin(mem);
    for (unsigned i = 0; i < ARRAY_LEN(f->bar); i++) {
        struct pci_bar *bar = &f->bar[i];
        u64 address = bar_address(f, i);
        if (address == bar_mapped_at(bar))
            continue;
        bar_unmap(f, bar);
        if (address != ~0ull)
            bar_map(f, bar, address);
    }
    mem_map_commit(mem);
    pci_set_intx(f, f->intx_level);
}

void pci_function_unmap(struct pci_function *f)
{
    for (unsigned i = 0; i < ARRAY_LEN(f->bar); i++)
        bar_unmap(f, &f->bar[i]);
}

/* --- interrupts -------------------------------------------------------------------------------------------
 */

void pci_set_intx(struct pci_function *f, bool level)
{
    u16 status = (u16)config_get(f, PCI_STATUS, 2) & (u16)~PCI_STATUS_INTX;
    bool off = config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_INTX_OFF;
    f->intx_level = level;
    config_set(f, PCI_STATUS, 2, status | (level ? PCI_STATUS_INTX : 0));
    bool pin = level && !off && !pci_msi_is_enabled(f) && !pci_msix_is_enabled(f) && f->bus;
    if (pin == f->intx_pin || !f->config[PCI_INTERRUPT_PIN])
        return;
    f->intx_pin = pin;
    pci_bus_drive_link(f->bus, f, pin);
}

bool pci_is_bus_master(const struct pci_function *f)
{
    return config_get(f, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

/* --- configuration space ----------------------------------------------------------------------------------
 */

void pci_function_write(struct pci_function *f, unsigned offset, unsigned size, u32 value)
{
    for (unsigned i = 0; i < size; i++) {
        unsigned at = offset + i;
        u8 v = (u8)(value >> (8 * i)), mask = f->writable[at];
        f->config[at] = (u8)((f->config[at] & ~mask) | (v & mask));
        f->config[at] &= (u8) ~(v & f->clearable[at]);
    }
    pci_function_update(f);
    pci_msi_written(f);
    if (f->config_written)
        f->config_written(f, offset, size);
}

void pci_function_reset(struct pci_function *f)
{
    config_set(f, PCI_COMMAND, 2, 0);
    config_set(f, PCI_STATUS, 2, config_get(f, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES);
    f->config[PCI_CACHE_LINE] = f->config[PCI_LATENCY] = f->config[PCI_INTERRUPT_LINE] = 0;
    for (unsigned i = PCI_BAR0; i < PCI_ROM_ADDRESS + 4; i++)
        f->config[i] &= (u8)~f->writable[i];
    f->intx_level = false;
    pci_msi_reset(f);
    if (f->bus)
        pci_function_update(f);
}
