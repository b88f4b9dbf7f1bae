/* What the fuzzers of disk controllers share: a board with RAM, a bus, and images in memory files. */
#ifndef RING3_FUZZ_DEVICES_ATA_H
#define RING3_FUZZ_DEVICES_ATA_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/drive.h"
#include "devices/pci/pci.h"
#include "fuzz/input.h"

#define RAM_SIZE KIB(256)
#define DRIVES   2

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct pci_bus *bus;
    struct ram_block *block;
    struct mem_region ram;
    struct drive *drive[DRIVES];
};

static struct drive *image_open(struct world *w, u64 size)
{
    char path[64];
    struct drive *drive;
    int fd = memfd_create("image", 0);
    must(fd >= 0 && !ftruncate(fd, (off_t)size));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct drive_config config = {.file = path, .format = "raw"};
    must(!drive_open(&drive, &config, loop_mutex(w->loop), NULL));
    close(fd);
    return drive;
}

static struct device_env world_create(struct world *w)
{
    static const struct pci_bus_config config;
    *w = (struct world){0};
    must(!loop_create(&w->loop, NULL));
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    struct device_env env = {w->loop, w->mem, w->state, NULL};
    must(!pci_bus_create(&w->bus, &env, &config, NULL));
    must(!ram_block_create(&w->block, "ram", RAM_SIZE, NULL));
    w->ram = (struct mem_region){.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .block = w->block};
    mem_map(w->mem, &w->ram);
    w->drive[0] = image_open(w, MIB(2));
    w->drive[1] = image_open(w, KIB(400) + 512);
    return env;
}

static void world_drain(struct world *w)
{
    for (unsigned i = 0; i < DRIVES; i++)
        block_queue_drain(w->drive[i]->queue);
}

static void world_destroy(struct world *w)
{
    for (unsigned i = 0; i < DRIVES; i++)
        drive_close(w->drive[i], NULL);
    pci_bus_destroy(w->bus);
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    ram_block_destroy(w->block);
    loop_destroy(w->loop);
}

/* A few bytes anywhere in the first 64 KiB: descriptors. */
static void write_ram(struct world *w, struct fuzz_input *in)
{
    u16 at = (u16)take(in, 2);
    unsigned len = (unsigned)take(in, 1) & 31;
    for (unsigned i = 0; i < len; i++)
        w->block->hva[at + i] = (u8)take(in, 1);
}

static void reload_state(struct world *w, struct fuzz_input *in)
{
    world_drain(w);
    state_reload(w->state, in, ~0u);
}

#endif
