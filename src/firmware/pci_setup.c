/* By configuration mechanism #1, as firmware does it (PCI Local Bus Specification 3.0, 6.2.5). */
#include "firmware/pci_setup.h"

#include "firmware/platform.h"

#define PORT_DATA 0xcfc

enum {
    REG_VENDOR = 0x00,
    REG_COMMAND = 0x04,
    REG_HEADER_TYPE = 0x0e,
    REG_BAR0 = 0x10,
    REG_LINE = 0x3c,
    REG_PIN = 0x3d
};
enum { COMMAND_IO = 1, COMMAND_MEMORY = 2, COMMAND_MASTER = 4 };
enum { BAR_IO = 1, BAR_64 = 4 };

#define BARS     6
#define MULTIPLE 0x80 /* header type: the slot has more functions */
#define IO_LAST  0xffffu

struct setup {
    struct mem_space *mem;
    u32 address;    /* of the function's register 0, for CONFADD */
    u32 io, memory; /* next free */
    bool lacking;   /* a BAR of this function found no room */
};

static u32 config_read(struct setup *s, unsigned reg, unsigned size)
{
    port_write(s->mem, PC_PCI_ADDRESS, 4, s->address | (reg & ~3u));
    return (u32)port_read(s->mem, (u16)(PORT_DATA + (reg & 3)), size);
}

static void config_write(struct setup *s, unsigned reg, unsigned size, u32 value)
{
    port_write(s->mem, PC_PCI_ADDRESS, 4, s->address | (reg & ~3u));
    port_write(s->mem, (u16)(PORT_DATA + (reg & 3)), size, value);
}

/* `size` bytes aligned to themselves out of [*next, last], or 0. */
static u32 place(u32 *next, u64 size, u64 last)
{
    u64 at = (*next + size - 1) & ~(size - 1);
    if (!size || at + size - 1 > last)
        return 0;
    *next = (u32)(at + size);
    return (u32)at;
}

/* Places the BAR at `reg`; returns how many registers it has. */
static unsigned bar_setup(struct setup *s, unsigned reg)
{
    config_write(s, reg, 4, ~0u);
    u32 low = config_read(s, reg, 4);
    bool io = low & BAR_IO, wide = !io && (low & BAR_64);
    u32 mask = low & (io ? ~3u : ~15u), high = ~0u;
    if (wide) {
        config_write(s, reg + 4, 4, ~0u);
        high = config_read(s, reg + 4, 4);
        config_write(s, reg + 4, 4, 0);
    }
    if (!mask && !(wide && high)) { /* no BAR */
        config_write(s, reg, 4, 0);
        return 1;
    }
    u64 size = io ? (~mask & 0xffff) + 1ull : ~(mask | (u64)high << 32) + 1;
    u32 at = io ? place(&s->io, size, IO_LAST) : place(&s->memory, size, PC_PCI_MMIO_LAST);
    config_write(s, reg, 4, at);
    s->lacking |= !at;
    return wide ? 2 : 1;
}

static void function_setup(struct setup *s, unsigned slot)
{
    static const u8 links[PC_PCI_LINKS] = PC_PCI_LINK_IRQS;
    s->lacking = false;
    config_write(s, REG_COMMAND, 2, 0);
    if ((config_read(s, REG_HEADER_TYPE, 1) & 0x7f) == 0)
        for (unsigned i = 0; i < BARS;)
            i += bar_setup(s, REG_BAR0 + 4 * i);
    unsigned pin = config_read(s, REG_PIN, 1);
    if (pin)
        config_write(s, REG_LINE, 1, links[(slot + 3 + pin - 1) % PC_PCI_LINKS]);
    config_write(s, REG_COMMAND, 2, COMMAND_MASTER | (s->lacking ? 0 : COMMAND_IO | COMMAND_MEMORY));
}

void pci_setup(struct mem_space *mem)
{
    struct setup s = {.mem = mem, .io = PC_IO_PCI_FIRST, .memory = PC_PCI_MMIO_FIRST};
    for (unsigned slot = 0; slot < 32; slot++)
        for (unsigned function = 0, functions = 1; function < functions; function++) {
            s.address = 1u << 31 | slot << 11 | function << 8;
            if ((u16)config_read(&s, REG_VENDOR, 2) == 0xffff)
                continue;
            if (function == 0 && (config_read(&s, REG_HEADER_TYPE, 1) & MULTIPLE))
                functions = 8;
            function_setup(&s, slot);
        }
    port_write(mem, PC_PCI_ADDRESS, 4, 0);
}
