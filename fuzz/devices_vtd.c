/* The remapping unit under a hostile guest: its registers, tables in memory that hold anything, a function
 * whose accesses and messages it remaps. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "devices/debug/edu.h"
#include "devices/iommu/vtd.h"
#include "fuzz/input.h"

#define RAM_SIZE KIB(64)
#define BAR      0xc0000000ull
#define SLOT     3

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct ram_block *block;
    struct mem_region ram;
    struct lapic_bus *apics;
    struct lapic *apic;
    struct vtd *vtd;
    struct pci_bus *bus;
    struct edu *edu;
};

static void world_create(struct world *w)
{
    memset(w, 0, sizeof *w);
    must(!loop_create(&w->loop, NULL));
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    must(!ram_block_create(&w->block, "ram", RAM_SIZE, NULL));
    w->ram = (struct mem_region){.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .block = w->block};
    mem_map(w->mem, &w->ram);
    struct device_env env = {w->loop, w->mem, w->state, NULL};
    must(!lapic_bus_create(&w->apics, &env, NULL));
    struct lapic_config lapic = {.x2apic = true};
    must(!lapic_create(&w->apic, &env, w->apics, &lapic, NULL));
    must(!vtd_create(&w->vtd, &env, w->apics, NULL));
    struct pci_bus_config config = {.iommu = vtd_iommu(w->vtd), .msi = vtd_msi(w->vtd)};
    must(!pci_bus_create(&w->bus, &env, &config, NULL));
    must(!edu_create(&w->edu, &env, w->bus, SLOT, NULL));
    pci_config_write(w->bus, SLOT, 0, PCI_BAR0, 4, BAR);
    pci_config_write(w->bus, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void world_destroy(struct world *w)
{
    edu_destroy(w->edu);
    pci_bus_destroy(w->bus);
    vtd_destroy(w->vtd);
    lapic_destroy(w->apic);
    lapic_bus_destroy(w->apics);
    mem_unmap(w->mem, &w->ram);
    ram_block_destroy(w->block);
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    loop_destroy(w->loop);
}

static void access_register(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), size = 1u << (what & 3);
    u64 gpa = VTD_BASE + (what & 4 ? take(in, 2) % PAGE_SIZE : take(in, 1) & ~3ull);
    if (what & 0x80)
        mem_read(w->mem, gpa, size);
    else
        mem_write(w->mem, gpa, size, take(in, size));
}

/* A command with tables inside of RAM. */
static void run_command(struct world *w, struct fuzz_input *in)
{
    mem_write(w->mem, VTD_BASE + 0x20, 8, take(in, 1) << 12);
    mem_write(w->mem, VTD_BASE + 0xb8, 8, take(in, 2) & ~0x7f0ull);
    mem_write(w->mem, VTD_BASE + 0x90, 8, take(in, 2) & ~0xff8ull);
    mem_write(w->mem, VTD_BASE + 0x18, 4, take(in, 1) << 24);
}

static void fill_memory(struct world *w, struct fuzz_input *in)
{
    u64 at = (take(in, 2) % RAM_SIZE) & ~7ull;
    mem_write(w->mem, at, 8, take(in, 8));
}

static void use_function(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    mem_write(w->mem, BAR + 0x80 + 8 * (what & 3), 8, take(in, 6));
    if (what & 0x40)
        mem_write(w->mem, BAR + 0x60, 4, 1);
    u64 now = clock_now(loop_clock(w->loop)) + 1000000;
    clock_set(loop_clock(w->loop), now);
    loop_run_timers(w->loop, now);
}

static void set_message(struct world *w, struct fuzz_input *in)
{
    unsigned at = pci_config_read(w->bus, SLOT, 0, PCI_CAPABILITIES, 1);
    pci_config_write(w->bus, SLOT, 0, at + 4, 4, (u32)(LAPIC_BASE | take(in, 3)));
    pci_config_write(w->bus, SLOT, 0, at + 12, 2, (u32)take(in, 2));
    pci_config_write(w->bus, SLOT, 0, at + 2, 2, (u32)take(in, 1) & 1);
}

static void reload_state(struct world *w, struct fuzz_input *in)
{
    state_reload(w->state, in, ~0u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        access_register, run_command, fill_memory, fill_memory, use_function, set_message, reload_state,
    };
    struct world w;
    struct fuzz_input in = {data, MIN(size, 4096)};
    world_create(&w);
    while (in.left) {
        u8 action = (u8)take(&in, 1);
        actions[action % ARRAY_LEN(actions)](&w, &in);
    }
    world_destroy(&w);
    return 0;
}
