/* AHCI under a hostile guest: registers, command lists and tables, configuration, saved state. */
#include "devices/ata/ahci.h"
#include "fuzz/devices_ata.h"

#define ABAR 0xe0000000u
#define CLB  0x8000u
#define RFIS 0x9000u

static void access_register(struct world *w, struct fuzz_input *in)
{
    static const u8 sizes[] = {4, 4, 4, 1, 2, 8, 4, 4};
    unsigned what = (unsigned)take(in, 1), size = sizes[what & 7];
    u64 gpa = ABAR + (what & 8 ? take(in, 1) % 0x2c : 0x100 + (what >> 4 & 3) * 0x80 + take(in, 1) % 0x48);
    if (what & 0x80)
        mem_read(w->mem, gpa, size);
    else
        mem_write(w->mem, gpa, size, take(in, size));
}

/* The port gets its memory and runs. */
static void start_port(struct world *w, struct fuzz_input *in)
{
    u64 port = ABAR + 0x100 + (take(in, 1) & 1) * 0x80;
    mem_write(w->mem, port + 0x2c, 4, 0);
    mem_write(w->mem, port + 0x00, 8, CLB);
    mem_write(w->mem, port + 0x08, 8, RFIS);
    mem_write(w->mem, port + 0x18, 4, 0x16);
    world_drain(w);
    mem_write(w->mem, port + 0x14, 4, ~0u);
    mem_write(w->mem, port + 0x18, 4, 0x17);
}

/* A command in a slot, with a table that may be good. */
static void issue_command(struct world *w, struct fuzz_input *in)
{
    static const u8 commands[] = {0x20, 0x25, 0x30, 0x35, 0x60, 0x61, 0x60, 0x61, 0x06, 0xec, 0xa1, 0xa0,
                                  0xa0, 0xea, 0xef, 0x2f, 0x3d, 0xc4, 0xc5, 0xc6, 0x42, 0xb0, 0x90, 0x08};
    unsigned what = (unsigned)take(in, 1), slot = what & 31, entries = (unsigned)take(in, 1) & 15;
    u8 *ram = w->block->hva, *header = ram + CLB + (size_t)32 * slot, *table = ram + 0x400 * slot;
    u8 *fis = table;
    store_le32(header, 5 | (what & 0x40) | entries << 16);
    store_le64(header + 8, 0x400 * slot);
    memset(fis, 0, 0x80);
    fis[0] = 0x27;
    fis[1] = what & 0x80 ? (u8)take(in, 1) : 0x80;
    fis[2] = commands[take(in, 1) % ARRAY_LEN(commands)];
    fis[3] = (u8)take(in, 1);
    fis[4] = (u8)take(in, 1);
    fis[5] = (u8)take(in, 1);
    fis[7] = 0x40;
    fis[12] = (u8)take(in, 1);
    fis[15] = (u8)take(in, 1);
    for (unsigned i = 0; i < 12; i++)
        fis[0x40 + i] = fis[2] == 0xa0 ? (u8)take(in, 1) : 0;
    for (unsigned i = 0; i < entries; i++) {
        store_le64(table + 0x80 + (size_t)16 * i, take(in, 2) << 2);
        store_le32(table + 0x8c + (size_t)16 * i, (u32)take(in, 2));
    }
    u64 port = ABAR + 0x100 + (take(in, 1) & 1) * 0x80;
    mem_write(w->mem, port + 0x34, 4, BIT(slot));
    mem_write(w->mem, port + 0x38, 4, BIT(slot));
}

static void write_config(struct world *w, struct fuzz_input *in)
{
    u32 v = (u32)take(in, 1);
    if (v & 0x80)
        pci_config_write(w->bus, 3, 0, v & 0x7c, 4, (u32)take(in, 4));
    pci_config_write(w->bus, 3, 0, 0x24, 4, ABAR);
    pci_config_write(w->bus, 3, 0, 4, 2, v & 1 ? 2 : 6);
}

static void drain(struct world *w, struct fuzz_input *in)
{
    world_drain(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        access_register, start_port,   issue_command, issue_command,
        write_ram,       write_config, drain,         reload_state,
    };
    struct world w;
    struct ahci *hba;
    struct fuzz_input in = {data, size};
    struct device_env env = world_create(&w);
    struct ahci_config config = {.bus = w.bus, .slot = 3};
    config.place[0] = (struct ahci_place){w.drive[0], false, 0};
    config.place[1] = (struct ahci_place){w.drive[1], true, 1};
    must(!ahci_create(&hba, &env, &config, NULL));
    pci_config_write(w.bus, 3, 0, 0x24, 4, ABAR);
    pci_config_write(w.bus, 3, 0, 4, 2, 6);
    for (unsigned steps = 0; in.left && steps < 300; steps++)
        actions[take(&in, 1) % ARRAY_LEN(actions)](&w, &in);
    world_drain(&w);
    ahci_destroy(hba);
    world_destroy(&w);
    return 0;
}
