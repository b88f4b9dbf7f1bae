/*
 * PCI configuration space, the chip set and the firmware configuration device under a hostile guest:
 * configuration writes of any kind, BARs that move over everything, shadow memory, interrupt routes, power
 * management and SMBus ports, fw_cfg and its DMA, and saved-state records.
 */
#include <stdint.h>
#include <string.h>

#include "devices/acpi/acpi_pm.h"
#include "devices/chipset/i440fx.h"
#include "devices/chipset/piix3.h"
#include "devices/chipset/piix4_pm.h"
#include "devices/fwcfg/fw_cfg.h"
#include "devices/pci/msi.h"
#include "fuzz/input.h"

#define RAM_SIZE  MIB(1)
#define CARD_SLOT 3
#define PIIX_SLOT 1

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct ram_block *ram, *rom, *bar_ram, *card_rom;
    struct mem_region low, rom_region;
    struct pci_bus *bus;
    struct i440fx *bridge;
    struct piix3 *piix;
    struct acpi_pm *acpi;
    struct piix4_pm *pm;
    struct fw_cfg *fw_cfg;
    struct pci_function card;
    bool irq[16];
    u64 seen; /* by the card */
};

static u64 card_read(void *dev, u64 offset, unsigned size)
{
    return ((struct world *)dev)->seen + offset;
}

static void card_write(void *dev, u64 offset, unsigned size, u64 value)
{
    ((struct world *)dev)->seen = value;
}

static const struct io_ops card_ops = {.read = card_read, .write = card_write, .max_size = 4};

static void pirq_set(void *opaque, unsigned link, bool level)
{
    struct world *w = opaque;
    if (w->piix)
        piix3_set_pirq(w->piix, link, level);
}

static void irq_level(void *opaque, unsigned pin, bool level)
{
    ((struct world *)opaque)->irq[pin] = level;
}

static void world_create_card(struct world *w)
{
    const struct pci_ids ids = {0x1af4, 0x1234, 0x020000, 1, 0x1af4, 0x0001, 1};
    must(!ram_block_create(&w->bar_ram, "BAR", KIB(64), NULL));
    must(!ram_block_create(&w->card_rom, "card's ROM", KIB(64), NULL));
    pci_function_init(&w->card, "card", &ids);
    pci_bar_io(&w->card, 0, 32, &card_ops, w);
    pci_bar_memory(&w->card, 1, PCI_BAR_MEMORY32, false, KIB(4), &card_ops, w);
    pci_bar_memory(&w->card, 2, PCI_BAR_MEMORY64, true, KIB(16), &card_ops, w);
    pci_bar_ram(&w->card, 4, PCI_BAR_MEMORY32, true, KIB(64), w->bar_ram);
    pci_rom(&w->card, w->card_rom);
    must(pci_msi_add(&w->card, 4) == 0);
    must(!pci_add(w->bus, &w->card, CARD_SLOT, 0, NULL));
}

static void world_create_chips(struct world *w, const struct device_env *env)
{
    struct pci_bus_config bus = {0};
    struct piix3_config piix = {.slot = PIIX_SLOT};
    struct acpi_pm_config acpi = {.gpe_base = 0xafe0,
                                  .smi_cmd = 0xb2,
                                  .acpi_enable = 0xf1,
                                  .acpi_disable = 0xf0,
                                  .sci = {irq_level, w, 9}};
    for (unsigned i = 0; i < PCI_PINS; i++)
        bus.links[i] = (struct irq_line){pirq_set, w, i};
    for (unsigned i = 0; i < PIIX3_ISA_IRQS; i++)
        piix.irq[i] = (struct irq_line){irq_level, w, i};
    must(!pci_bus_create(&w->bus, env, &bus, NULL));
    must(!i440fx_create(&w->bridge, env, w->bus, w->ram, NULL));
    must(!piix3_create(&w->piix, env, w->bus, &piix, NULL));
    must(!acpi_pm_create(&w->acpi, env, &acpi, NULL));
    struct piix4_pm_config pm = {.slot = PIIX_SLOT, .acpi = w->acpi, .smbus_irq = {irq_level, w, 9}};
    must(!piix4_pm_create(&w->pm, env, w->bus, &pm, NULL));
    must(!fw_cfg_create(&w->fw_cfg, env, NULL));
    must(!fw_cfg_add_file(w->fw_cfg, "etc/file", "0123456789", 10));
}

static void world_create(struct world *w)
{
    memset(w, 0, sizeof *w);
    must(!loop_create(&w->loop, NULL));
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    must(!ram_block_create(&w->ram, "RAM", RAM_SIZE, NULL));
    must(!ram_block_create(&w->rom, "ROM", KIB(128), NULL));
    w->low = (struct mem_region){.name = "RAM", .size = 0xa0000, .kind = MEM_RAM, .block = w->ram};
    w->rom_region = (struct mem_region){
        .name = "ROM", .gpa = 0xe0000, .size = KIB(128), .kind = MEM_ROM, .block = w->rom};
    mem_map(w->mem, &w->low);
    mem_map(w->mem, &w->rom_region);
    struct device_env env = {w->loop, w->mem, w->state, NULL};
    world_create_chips(w, &env);
    world_create_card(w);
}

static void world_destroy(struct world *w)
{
    pci_remove(&w->card);
    fw_cfg_destroy(w->fw_cfg);
    piix4_pm_destroy(w->pm);
    acpi_pm_destroy(w->acpi);
    piix3_destroy(w->piix);
    w->piix = NULL;
    i440fx_destroy(w->bridge);
    pci_bus_destroy(w->bus);
    mem_unmap(w->mem, &w->low);
    mem_unmap(w->mem, &w->rom_region);
    ram_block_destroy(w->ram);
    ram_block_destroy(w->rom);
    ram_block_destroy(w->bar_ram);
    ram_block_destroy(w->card_rom);
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    loop_destroy(w->loop);
}

/* --- what the guest does ---------------------------------------------------------------------------------
 */

static void access_config(struct world *w, struct fuzz_input *in)
{
    static const u8 functions[] = {0, PIIX_SLOT << 3, PIIX_SLOT << 3 | 3, CARD_SLOT << 3, 0xff};
    unsigned what = (unsigned)take(in, 1), size = 1u << (what >> 4 & 3) % 3;
    u32 reg = (u32)take(in, 1), function = functions[(what & 7) % ARRAY_LEN(functions)];
    port_write(w->mem, 0xcf8, 4, BIT(31) | function << 8 | (reg & 0xfc));
    u16 port = (u16)(0xcfc + (reg & 3 & ~(size - 1)));
    if (what & 0x80)
        port_read(w->mem, port, size);
    else
        port_write(w->mem, port, size, take(in, size));
}

static void access_port(struct world *w, struct fuzz_input *in)
{
    static const u16 ports[] = {0xcf8, 0xcfc, 0xafe0, 0xb2,  0x510, 0x511,
                                0x514, 0x600, 0xb000, 0x700, 0xc000};
    unsigned what = (unsigned)take(in, 1), size = 1u << (what >> 4 & 3) % 3;
    u16 port = ports[(what & 15) % ARRAY_LEN(ports)] + (u16)(take(in, 1) & 0x3f);
    if (what & 0x80)
        port_read(w->mem, port, size);
    else
        port_write(w->mem, port, size, take(in, size));
}

static void access_memory(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), size = 1u << (what & 3);
    u64 gpa = what & 0x40 ? take(in, 4) : 0xa0000 + take(in, 3) % 0x60000;
    if (what & 0x80)
        mem_read(w->mem, gpa, size);
    else
        mem_write(w->mem, gpa, size, take(in, size));
}

/* A request in memory, big-endian as firmware writes it. */
static void run_fw_cfg_dma(struct world *w, struct fuzz_input *in)
{
    u8 request[16];
    for (unsigned i = 0; i < sizeof request; i++)
        request[i] = (u8)take(in, 1);
    mem_write_bytes(w->mem, 0x1000, request, sizeof request);
    port_write(w->mem, 0x514, 4, 0);
    port_write(w->mem, 0x518, 4, __builtin_bswap32(0x1000));
}

static void use_card(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    u8 buf[64];
    if (what & 1)
        pci_set_intx(&w->card, what & 2);
    else if (what & 2)
        pci_dma_write(&w->card, take(in, 4), "0123456789abcdef", 1 + what % 16);
    else
        pci_dma_read(&w->card, take(in, 4), buf, 1 + what % sizeof buf);
}

static void reset(struct world *w, struct fuzz_input *in)
{
    pci_bus_reset(w->bus);
    i440fx_reset(w->bridge);
    piix3_reset(w->piix);
    acpi_pm_reset(w->acpi);
    piix4_pm_reset(w->pm);
    fw_cfg_reset(w->fw_cfg);
    must(!piix4_pm_base(w->pm));
    must(mem_lookup(w->mem, 0xc0000).kind != MEM_RAM);
}

static void pass_time(struct world *w, struct fuzz_input *in)
{
    u64 end = clock_now(loop_clock(w->loop)) + (take(in, 1) + 1ull) * NS_PER_SEC;
    clock_set(loop_clock(w->loop), end);
    loop_run_timers(w->loop, end);
}

static void reload_state(struct world *w, struct fuzz_input *in)
{
    state_reload(w->state, in, ~0u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        access_config, access_config, access_port, access_memory, access_memory, use_card, reset, pass_time,
    };
    struct world w;
    struct fuzz_input in = {data, MIN(size, 4096)};
    world_create(&w);
    while (in.left) {
        u8 action = (u8)take(&in, 1);
        if (action == 0xff)
            reload_state(&w, &in);
        else if (action == 0xfe)
            run_fw_cfg_dma(&w, &in);
        else
            actions[action % ARRAY_LEN(actions)](&w, &in);
    }
    world_destroy(&w);
    return 0;
}
