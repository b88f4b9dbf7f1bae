/*
 * A PCI bus (PCI Local Bus Specification 3.0), reached by configuration mechanism #1 (ports CF8h, CFCh). The
 * reset control register at CF9h (PIIX3), which lies between them, is here too.
 *
 * A function embeds `struct pci_function`, describes itself with pci_function_init and pci_bar_*, and is
 * plugged in with pci_add. Its configuration space is saved and restored by the bus; whatever it does beyond
 * (BAR contents) is its own record. Everything here: [lock].
 */
#ifndef RING3_DEVICES_PCI_H
#define RING3_DEVICES_PCI_H

#include "devices/device.h"
#include "devices/reset.h"

#define PCI_CONFIG_SIZE 256
#define PCI_HEADER_SIZE 64 /* the part that is the same for all functions */
#define PCI_SLOTS       32
#define PCI_FUNCTIONS   8
#define PCI_PINS        4
#define PCI_BARS        6
#define PCI_ROM         PCI_BARS /* index of the expansion ROM among the BARs */

/* The subsystem IDs of chips that belong to the board: those of the machine that guests know. */
#define PCI_BOARD_VENDOR 0x1af4
#define PCI_BOARD_DEVICE 0x1100

/* Configuration registers of a type 0 header. */
enum pci_register {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x09, /* programming interface, subclass, base class */
    PCI_CACHE_LINE = 0x0c,
    PCI_LATENCY = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM_VENDOR = 0x2c,
    PCI_SUBSYSTEM = 0x2e,
    PCI_ROM_ADDRESS = 0x30,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};

enum pci_command_bit {
    PCI_COMMAND_IO = BIT(0),
    PCI_COMMAND_MEMORY = BIT(1),
    PCI_COMMAND_MASTER = BIT(2),
    PCI_COMMAND_PARITY = BIT(6),
    PCI_COMMAND_SERR = BIT(8),
    PCI_COMMAND_INTX_OFF = BIT(10),
};

enum pci_status_bit {
    PCI_STATUS_INTX = BIT(3),
    PCI_STATUS_CAPABILITIES = BIT(4),
    PCI_STATUS_ERRORS = 0xf900
};

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY32, PCI_BAR_MEMORY64, PCI_BAR_ROM };

struct pci_bus;

struct pci_bar {
    enum pci_bar_kind kind;
    u64 size; /* a power of two; I/O: 4..256, memory: 16 and up */
    bool mapped;
    union {
        struct mem_region memory;
        struct port_region ports;
    };
};

struct pci_ids {
    u16 vendor, device;
    u32 class_code; /* 24 bits: base class, subclass, programming interface */
    u8 revision;
    u16 subsystem_vendor, subsystem;
    u8 interrupt_pin; /* 0: none; 1..4: INTA..INTD */
};

struct pci_function {
    const char *name;
    struct pci_bus *bus; /* NULL while not plugged in */
    u8 slot, function;
    u8 config[PCI_CONFIG_SIZE];
    u8 writable[PCI_CONFIG_SIZE];  /* bits that a write changes */
    u8 clearable[PCI_CONFIG_SIZE]; /* bits that writing a one clears */
    u16 capability_end;            /* first byte after the last capability; 0: none */
    struct pci_bar bar[PCI_BARS + 1];
    bool intx_level; /* what the function drives; the pin follows unless INTX_OFF */
    bool intx_pin;
    u8 msi_capability; /* msi.h's: offset, 0: none */
    struct pci_msix *msix;
    /* Told after a write to [offset, offset + size) of the configuration space, BARs being in place; may be
     * NULL. */
    void (*config_written)(struct pci_function *f, unsigned offset, unsigned size);
    /* Told before a read of it: whoever shows there what changes by itself brings it up to date. May be NULL.
     */
    void (*config_reading)(struct pci_function *f, unsigned offset, unsigned size);
};

/* --- the function's side ----------------------------------------------------------------------------------
 */

void pci_function_init(struct pci_function *f, const char *name, const struct pci_ids *ids);
/* Before pci_add. A 64-bit BAR takes `index` and `index + 1`. */
void pci_bar_memory(struct pci_function *f, unsigned index, enum pci_bar_kind kind, bool prefetchable,
                    u64 size, const struct io_ops *ops, void *dev);
/* The same, of memory that is plain RAM: `size` bytes of `block`, from its start. */
void pci_bar_ram(struct pci_function *f, unsigned index, enum pci_bar_kind kind, bool prefetchable, u64 size,
                 struct ram_block *block);
/* The expansion ROM (6.2.5.2): all of `block`, whose size is a power of two from 2 KiB on. */
void pci_rom(struct pci_function *f, struct ram_block *block);
void pci_bar_io(struct pci_function *f, unsigned index, u32 size, const struct io_ops *ops, void *dev);
/* Adds a capability of `size` bytes (with its two header bytes) at the end of the list and returns its
 * offset, a multiple of 4; 0 if there is no room. The rest of it is zero and read-only: the caller fills
 * config and writable. */
u8 pci_capability_add(struct pci_function *f, u8 id, u8 size);
/* The interrupt pin: level-triggered, active (true) until taken back. */
void pci_set_intx(struct pci_function *f, bool level);
/* May the function access memory? */
bool pci_is_bus_master(const struct pci_function *f);
/* Power-on values of command, status, BARs and interrupt line. */
void pci_function_reset(struct pci_function *f);

/*
 * DMA by a function: through the bus' remapping unit if it has one, and only while it is a bus master.
 *
 * False: the access was refused, in whole or from some page on; what was read is then all ones.
 */
bool pci_dma_read(struct pci_function *f, u64 address, void *buf, size_t len);
bool pci_dma_write(struct pci_function *f, u64 address, const void *buf, size_t len);
/* RAM at `address`, as far as it is one piece for the function and the host: *len becomes shorter where it is
 * not. *gpa is where it is in guest-physical memory: a caller that wrote there calls mem_mark_dirty. NULL:
 * refused, or no RAM; pci_dma_read and pci_dma_write do what is right then. */
void *pci_dma_ptr(struct pci_function *f, u64 address, u64 *len, bool write, u64 *gpa);
/* The function's address on the bus: bus << 8 | slot << 3 | function. */
static inline u32 pci_requester_id(const struct pci_function *f)
{
    return (u32)f->slot << 3 | f->function;
}

/* --- the bus ----------------------------------------------------------------------------------------------
 */

/* A remapping unit between functions and memory. */
struct pci_iommu {
    /* Makes *address, as the function with this requester ID says it, guest-physical, and returns how many of
     * the `len` bytes from there on stay together; 0: refused. */
    u64 (*translate)(void *opaque, u32 requester, u64 *address, u64 len, bool write);
    void *opaque;
};

struct pci_bus_config {
    struct pci_iommu iommu;          /* .translate NULL: none */
    struct irq_line links[PCI_PINS]; /* PIRQA..PIRQD: a slot's pins are swizzled over them; shared, level */
    struct reset_line reset;
    struct msi_sink msi;
};

int pci_bus_create(struct pci_bus **out, const struct device_env *env, const struct pci_bus_config *config,
                   struct error *err);
/* Functions still plugged in are unplugged; they belong to their owners. */
void pci_bus_destroy(struct pci_bus *bus);
/* Resets the address register and all functions' configuration. */
void pci_bus_reset(struct pci_bus *bus);

/* Plugs in and registers the saved configuration space. -EBUSY: taken; -EINVAL: no such slot. */
int pci_add(struct pci_bus *bus, struct pci_function *f, unsigned slot, unsigned function, struct error *err);
/* Unmaps the BARs and takes the function's interrupt back. */
void pci_remove(struct pci_function *f);

/* Configuration accesses of 1, 2 or 4 bytes that do not cross a doubleword; no function: all ones. */
u32 pci_config_read(struct pci_bus *bus, unsigned slot, unsigned function, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned slot, unsigned function, unsigned offset, unsigned size,
                      u32 value);

#endif
