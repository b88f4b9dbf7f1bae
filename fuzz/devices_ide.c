/* IDE and ATAPI under a hostile guest: registers, packets, descriptor tables, configuration, saved state. */
#include "devices/ata/piix_ide.h"
#include "fuzz/devices_ata.h"

#define BM 0xc000

static void access_port(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    u16 base = what & 0x40 ? 0x170 : 0x1f0, port = base + (what & 7);
    if ((what & 0x38) == 0x38)
        port = base + 0x206;
    if (what & 0x80)
        port_read(w->mem, port, 1);
    else
        port_write(w->mem, port, 1, take(in, 1));
}

/* A whole task file, so that commands are met as quickly as registers. */
static void issue_command(struct world *w, struct fuzz_input *in)
{
    static const u8 commands[] = {0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40,
                                  0x42, 0x06, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xce, 0xec, 0xa1,
                                  0xa0, 0xe7, 0xef, 0xb0, 0x91, 0x08, 0x90, 0xf9};
    unsigned what = (unsigned)take(in, 1);
    u16 base = what & 1 ? 0x170 : 0x1f0;
    port_write(w->mem, base + 6, 1, (what & 0xf0) | 0x40);
    for (u16 reg = 1; reg <= 5; reg++)
        port_write(w->mem, base + reg, 1, what & 2 ? 0 : take(in, 1) & 3);
    for (u16 reg = 1; reg <= 5; reg++)
        port_write(w->mem, base + reg, 1, take(in, 1));
    port_write(w->mem, base + 7, 1, commands[take(in, 1) % ARRAY_LEN(commands)]);
}

static void send_packet(struct world *w, struct fuzz_input *in)
{
    static const u8 packets[] = {0x00, 0x03, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x23, 0x25,
                                 0x28, 0x42, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x55, 0x5a,
                                 0xa8, 0xad, 0xb9, 0xbd, 0xbe, 0xbb, 0x2b, 0x2f};
    u8 cdb[12];
    port_write(w->mem, 0x176, 1, 0);
    port_write(w->mem, 0x171, 1, take(in, 1) & 1);
    port_write(w->mem, 0x174, 1, take(in, 1));
    port_write(w->mem, 0x175, 1, take(in, 1));
    port_write(w->mem, 0x177, 1, 0xa0);
    for (unsigned i = 0; i < 12; i++)
        cdb[i] = (u8)take(in, 1);
    cdb[0] = packets[cdb[0] % ARRAY_LEN(packets)];
    for (unsigned i = 0; i < 12; i += 2)
        port_write(w->mem, 0x170, 2, load_le16(cdb + i));
}

static void move_data(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), count = (unsigned)take(in, 1) * 16;
    u16 port = what & 1 ? 0x170 : 0x1f0;
    if (what & 8)
        world_drain(w);
    for (unsigned i = 0; i < count; i++) {
        if (what & 2)
            port_read(w->mem, port, what & 4 ? 4 : 2);
        else
            port_write(w->mem, port, what & 4 ? 4 : 2, i < 8 ? take(in, 2) : i);
    }
}

static void access_bus_master(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    u16 port = BM + (what & 15);
    if (what & 0x80) {
        port_read(w->mem, port, 1u << (what >> 4 & 1));
    } else if (what & 0x40) { /* a table, and off it goes */
        port_write(w->mem, (u16)(BM + (what & 8) + 4), 4, take(in, 2));
        port_write(w->mem, BM + (what & 8), 1, 0);
        port_write(w->mem, BM + (what & 8), 1, 9);
    } else {
        port_write(w->mem, port, 1, take(in, 1));
    }
}

static void write_config(struct world *w, struct fuzz_input *in)
{
    unsigned offset = (unsigned)take(in, 1);
    u32 v = (u32)take(in, 1);
    pci_config_write(w->bus, 1, 0, 0x20, 4, BM);
    pci_config_write(w->bus, 1, 0, offset & 0x40 ? 0x41 : 4, 1, offset & 1 ? v : 0x85);
}

static void drain(struct world *w, struct fuzz_input *in)
{
    world_drain(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        access_port,  issue_command, send_packet,   move_data,         access_bus_master, write_ram,
        write_config, drain,         issue_command, access_bus_master, reload_state,
    };
    struct world w;
    struct piix_ide *ide;
    struct fuzz_input in = {data, size};
    struct device_env env = world_create(&w);
    struct piix_ide_config config = {.bus = w.bus, .slot = 1};
    config.place[0][0] = (struct ide_place){w.drive[0], false, 0};
    config.place[1][0] = (struct ide_place){w.drive[1], true, 1};
    must(!piix_ide_create(&ide, &env, &config, NULL));
    pci_config_write(w.bus, 1, 0, 0x20, 4, BM);
    pci_config_write(w.bus, 1, 0, 0x40, 4, 0x80008000);
    pci_config_write(w.bus, 1, 0, 4, 2, 5);
    for (unsigned steps = 0; in.left && steps < 300; steps++)
        actions[take(&in, 1) % ARRAY_LEN(actions)](&w, &in);
    world_drain(&w);
    piix_ide_destroy(ide);
    world_destroy(&w);
    return 0;
}
