/*
 * Intel 82441FX data sheet (290549), chapter 3.2. The registers of the DRAM controller's timing, of error
 * reporting and of the processor interface keep what is written to them and do nothing. There is no system
 * management mode: SMRAM is seen only while it is open.
 *
 * Neighbouring segments in the same state are one region, so that the usual map (all RAM, or RAM that is
 * write-protected) is a single run. All state is in the configuration space; the regions follow from it.
 */
#include "devices/chipset/i440fx.h"

#include <stdlib.h>

#include "base/bytes.h"

#define PAM_START   0xc0000ull
#define PAM_SEGMENT 0x4000ull
#define BIOS_START  0xf0000ull
#define BIOS_END    0x100000ull
#define SEGMENTS    13 /* twelve of 16 KiB and the last of 64 KiB */
#define SMRAM_START 0xa0000ull
#define SMRAM_SIZE  0x20000ull

/* Above the ROM (0), and SMRAM above VGA memory. */
enum { PRIORITY_PAM = 10, PRIORITY_SMRAM = 20 };

enum smram_bit { SMRAM_OPEN = BIT(6), SMRAM_CLOSED = BIT(5), SMRAM_LOCKED = BIT(4), SMRAM_ENABLED = BIT(3) };
#define SMRAM_KEPT (SMRAM_OPEN | SMRAM_CLOSED | SMRAM_LOCKED | SMRAM_ENABLED)
#define SMRAM_BASE 2 /* C_BASE_SEG: A0000h, hardwired */

/* A run of segments in one state. */
struct shadow {
    struct i440fx *bridge;
    struct mem_region region;
};

struct i440fx {
    struct device_env env;
    struct pci_function pci;
    struct ram_block *ram;
    struct shadow shadows[SEGMENTS];
    unsigned shadow_count;
    u8 states[SEGMENTS]; /* what `shadows` was made from */
    struct mem_region smram;
};

/* Registers with no effect: power-on value and the bits that can be written. */
static const struct {
    u8 offset, value, writable;
} registers[] = {
    {0x50, 0x00, 0xfb}, {0x51, 0x00, 0xef},                     /* PMCCFG */
    {0x52, 0x00, 0xc0},                                         /* DETURBO */
    {0x53, 0x80, 0xfb},                                         /* DBC */
    {0x54, 0x00, 0xff},                                         /* AXC */
    {0x55, 0x00, 0xff}, {0x56, 0x00, 0xff},                     /* DRT */
    {0x57, 0x01, 0x7f}, {0x58, 0x10, 0xff},                     /* DRAMC, DRAMT */
    {0x60, 0x01, 0xff}, {0x61, 0x01, 0xff}, {0x62, 0x01, 0xff}, /* DRB0..7 */
    {0x63, 0x01, 0xff}, {0x64, 0x01, 0xff}, {0x65, 0x01, 0xff}, {0x66, 0x01, 0xff},
    {0x67, 0x01, 0xff}, {0x70, 0x00, 0xf8}, {0x71, 0x10, 0xf8}, /* MTT, CLT */
    {0x90, 0x00, 0xff},                                         /* ERRCMD */
};

/* --- shadowing ------------------------------------------------------------------------------------------ */

static u64 segment_start(unsigned i)
{
    return i == SEGMENTS ? BIOS_END : PAM_START + i * PAM_SEGMENT;
}

static u8 segment_state(const struct i440fx *bridge, unsigned i)
{
    if (i == SEGMENTS - 1)
        return bridge->pci.config[I440FX_PAM0] >> 4 & 3;
    return bridge->pci.config[I440FX_PAM0 + 1 + i / 2] >> (i % 2 * 4) & 3;
}

/* Written to RAM, read from the PCI bus. */
static u64 split_read(void *dev, u64 offset, unsigned size)
{
    struct shadow *s = dev;
    return mem_read_below(s->bridge->env.mem, &s->region, s->region.gpa + offset, size);
}

static void split_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct shadow *s = dev;
    ram_block_write(s->bridge->env.mem, s->bridge->ram, s->region.gpa + offset, size, value);
}

static const struct io_ops split_ops = {.read = split_read, .write = split_write, .max_size = 8};

static void shadow_map(struct i440fx *bridge, u64 start, u64 end, u8 state)
{
    struct shadow *s = &bridge->shadows[bridge->shadow_count++];
    s->bridge = bridge;
    s->region = (struct mem_region){.gpa = start, .size = end - start, .priority = PRIORITY_PAM};
    if (state == PAM_WRITE) {
        s->region.name = "write-only shadow RAM";
        s->region.kind = MEM_IO;
        s->region.ops = &split_ops;
        s->region.dev = s;
    } else {
        s->region.name = state & PAM_WRITE ? "shadow RAM" : "read-only shadow RAM";
        s->region.kind = state & PAM_WRITE ? MEM_RAM : MEM_ROM;
        s->region.block = bridge->ram;
        s->region.block_offset = start;
    }
    mem_map(bridge->env.mem, &s->region);
}

static void shadows_map(struct i440fx *bridge)
{
    for (unsigned i = 0, next; i < SEGMENTS; i = next) {
        for (next = i + 1; next < SEGMENTS && bridge->states[next] == bridge->states[i];)
            next++;
        if (bridge->states[i])
            shadow_map(bridge, segment_start(i), segment_start(next), bridge->states[i]);
    }
}

static void shadows_unmap(struct i440fx *bridge)
{
    for (unsigned i = 0; i < bridge->shadow_count; i++)
        mem_unmap(bridge->env.mem, &bridge->shadows[i].region);
    bridge->shadow_count = 0;
}

static void shadows_update(struct i440fx *bridge)
{
    u8 states[SEGMENTS];
    for (unsigned i = 0; i < SEGMENTS; i++)
        states[i] = segment_state(bridge, i);
    if (!memcmp(states, bridge->states, sizeof states))
        return;
    memcpy(bridge->states, states, sizeof states);
    mem_map_begin(bridge->env.mem);
    shadows_unmap(bridge);
    shadows_map(bridge);
    mem_map_commit(bridge->env.mem);
}

/* Seen by everybody while open; the lock closes it until the next reset. */
static void smram_update(struct i440fx *bridge)
{
    u8 *reg = &bridge->pci.config[I440FX_SMRAM];
    *reg = (*reg & SMRAM_KEPT) | SMRAM_BASE;
    if (*reg & SMRAM_LOCKED) {
        *reg &= (u8)~SMRAM_OPEN;
        bridge->pci.writable[I440FX_SMRAM] = SMRAM_CLOSED;
    } else {
        bridge->pci.writable[I440FX_SMRAM] = SMRAM_KEPT;
    }
    if ((*reg & SMRAM_OPEN) && (*reg & SMRAM_ENABLED))
        mem_map(bridge->env.mem, &bridge->smram);
    else
        mem_unmap(bridge->env.mem, &bridge->smram);
}

/* --- configuration space -------------------------------------------------------------------------------- */

static bool touches(unsigned first, unsigned count, unsigned offset, unsigned size)
{
    return offset < first + count && first < offset + size;
}

static void config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    struct i440fx *bridge = container_of(f, struct i440fx, pci);
    if (touches(I440FX_PAM0, I440FX_PAM_COUNT, offset, size))
        shadows_update(bridge);
    if (touches(I440FX_SMRAM, 1, offset, size))
        smram_update(bridge);
}

static void describe(struct i440fx *bridge)
{
    const struct pci_ids ids = {.vendor = 0x8086,
                                .device = 0x1237,
                                .class_code = 0x060000,
                                .revision = 2,
                                .subsystem_vendor = PCI_BOARD_VENDOR,
                                .subsystem = PCI_BOARD_DEVICE};
    struct pci_function *f = &bridge->pci;
    pci_function_init(f, "host bridge", &ids);
    /* It always answers memory accesses and masters the bus; the interrupt registers do not exist. */
    store_le16(f->writable + PCI_COMMAND, PCI_COMMAND_PARITY | PCI_COMMAND_SERR);
    f->writable[PCI_CACHE_LINE] = 0;
    f->writable[PCI_INTERRUPT_LINE] = 0;
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        f->writable[registers[i].offset] = registers[i].writable;
    f->writable[I440FX_PAM0] = 0x30;
    memset(f->writable + I440FX_PAM0 + 1, 0x33, I440FX_PAM_COUNT - 1);
    f->clearable[0x91] = 0x13; /* ERRSTS */
    f->config_written = config_written;
}

void i440fx_reset(struct i440fx *bridge)
{
    u8 *config = bridge->pci.config;
    store_le16(config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    store_le16(config + PCI_STATUS, 0x0200); /* medium DEVSEL timing */
    for (size_t i = 0; i < ARRAY_LEN(registers); i++)
        config[registers[i].offset] = registers[i].value;
    memset(config + I440FX_PAM0, 0, I440FX_PAM_COUNT);
    config[I440FX_SMRAM] = 0;
    config_written(&bridge->pci, 0, PCI_CONFIG_SIZE);
}

int i440fx_create(struct i440fx **out, const struct device_env *env, struct pci_bus *bus,
                  struct ram_block *ram, struct error *err)
{
    struct i440fx *bridge = calloc(1, sizeof *bridge);
    if (!bridge)
        return error_set(err, ENOMEM, "no memory for the host bridge");
    bridge->env = *env;
    bridge->ram = ram;
    bridge->smram = (struct mem_region){.name = "open SMRAM",
                                        .gpa = SMRAM_START,
                                        .size = SMRAM_SIZE,
                                        .priority = PRIORITY_SMRAM,
                                        .kind = MEM_RAM,
                                        .block = ram,
                                        .block_offset = SMRAM_START};
    describe(bridge);
    int rc = pci_add(bus, &bridge->pci, 0, 0, err);
    if (rc) {
        free(bridge);
        return rc;
    }
    i440fx_reset(bridge);
    *out = bridge;
    return 0;
}

void i440fx_destroy(struct i440fx *bridge)
{
    if (!bridge)
        return;
    shadows_unmap(bridge);
    mem_unmap(bridge->env.mem, &bridge->smram);
    pci_remove(&bridge->pci);
    free(bridge);
}
