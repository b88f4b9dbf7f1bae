/*
 * The floppy controller and the DMA controllers under a hostile guest: random port accesses, whole commands,
 * time steps and saved-state records. The DMA's memory is in reach, and device memory next to it.
 */
#include <stdlib.h>
#include <unistd.h>

#include "devices/floppy/floppy.h"
#include "fuzz/input.h"

#define RAM_SIZE MIB(1)

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct ram_block *ram;
    struct mem_region ram_region;
    struct i8237 *dma;
    struct floppy *fdc;
    struct drive *drives[2];
};

static void line_set(void *opaque, unsigned pin, bool level) {}

static struct drive *drive_make(struct world *w, unsigned sectors, bool readonly)
{
    char path[] = "/tmp/ring3-fuzz-floppy-XXXXXX";
    int fd = mkstemp(path);
    must(fd >= 0 && ftruncate(fd, sectors * 512) == 0);
    close(fd);
    struct drive *drive = NULL;
    struct drive_config config = {.file = path, .format = "raw", .readonly = readonly};
    must(!drive_open(&drive, &config, loop_mutex(w->loop), NULL));
    unlink(path);
    return drive;
}

static void world_create(struct world *w, struct fuzz_input *in)
{
    static const u16 sizes[] = {2880, 5760, 720, 2532};
    u8 what = (u8)take(in, 1);
    *w = (struct world){0};
    must(!loop_create(&w->loop, NULL));
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    must(!ram_block_create(&w->ram, "ram", RAM_SIZE, NULL));
    w->ram_region = (struct mem_region){.size = RAM_SIZE, .kind = MEM_RAM, .block = w->ram};
    mem_map(w->mem, &w->ram_region);
    struct device_env env = {w->loop, w->mem, w->state, NULL};
    must(!i8237_create(&w->dma, &env, NULL));
    i8237_set_cascade(w->dma);
    w->drives[0] = drive_make(w, sizes[what & 3], what & 4);
    if (what & 8)
        w->drives[1] = drive_make(w, sizes[what >> 4 & 3], false);
    struct floppy_config config = {
        .irq = {line_set, w, 6}, .dma = w->dma, .dma_channel = 2, .drive = {w->drives[0], w->drives[1]}};
    must(!floppy_create(&w->fdc, &env, &config, NULL));
    port_write(w->mem, 0x3f2, 1, 0x1c);
}

static void settle(struct world *w)
{
    for (unsigned i = 0; i < 2; i++)
        if (w->drives[i])
            block_queue_drain(w->drives[i]->queue);
}

static void world_destroy(struct world *w)
{
    settle(w);
    floppy_destroy(w->fdc);
    for (unsigned i = 0; i < 2; i++)
        must(!drive_close(w->drives[i], NULL));
    i8237_destroy(w->dma);
    mem_unmap(w->mem, &w->ram_region);
    ram_block_destroy(w->ram);
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    loop_destroy(w->loop);
}

static void access_floppy(struct world *w, struct fuzz_input *in)
{
    u8 what = (u8)take(in, 1);
    if (what & 0x80)
        port_read(w->mem, 0x3f0 + (what & 7), 1);
    else
        port_write(w->mem, 0x3f0 + (what & 7), 1, take(in, 1));
}

static void access_dma(struct world *w, struct fuzz_input *in)
{
    u8 what = (u8)take(in, 1), reg = what & 0x3f;
    u16 port = reg < 16 ? reg : reg < 32 ? 0x70 + reg : 0xa0 + reg;
    if (what & 0x80)
        port_read(w->mem, port, 1);
    else
        port_write(w->mem, port, 1, take(in, 1));
}

/* A whole command, for the parameters to be reached more often. */
static void give_command(struct world *w, struct fuzz_input *in)
{
    u8 count = (u8)take(in, 1);
    settle(w);
    while ((port_read(w->mem, 0x3f4, 1) & 0xd0) == 0xd0)
        port_read(w->mem, 0x3f5, 1);
    for (unsigned i = 0; i < count % 10u; i++)
        port_write(w->mem, 0x3f5, 1, take(in, 1));
}

static void program_dma(struct world *w, struct fuzz_input *in)
{
    static const u8 regs[] = {0x0c, 0x0b, 0x04, 0x04, 0x05, 0x05, 0x81, 0x0a};
    port_write(w->mem, 0x0a, 1, 6);
    for (unsigned i = 0; i < ARRAY_LEN(regs); i++)
        port_write(w->mem, regs[i], 1, i == 7 ? 2 : take(in, 1));
}

/* Bytes of a transfer without DMA. */
static void move_bytes(struct world *w, struct fuzz_input *in)
{
    unsigned count = (unsigned)take(in, 1) * 4;
    settle(w);
    for (unsigned i = 0; i < count; i++)
        if (port_read(w->mem, 0x3f4, 1) & 0x40)
            port_read(w->mem, 0x3f5, 1);
        else
            port_write(w->mem, 0x3f5, 1, i);
}

static void pass_time(struct world *w, struct fuzz_input *in)
{
    struct vclock *clock = loop_clock(w->loop);
    u64 end = clock_now(clock) + (take(in, 1) << 22);
    settle(w);
    clock_set(clock, end);
    loop_lock(w->loop);
    loop_run_timers(w->loop, end);
    loop_unlock(w->loop);
}

static void reload_state(struct world *w, struct fuzz_input *in)
{
    loop_lock(w->loop);
    state_reload(w->state, in, ~0u);
    loop_unlock(w->loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        access_floppy, access_dma, give_command, give_command,
        program_dma,   move_bytes, pass_time,    reload_state,
    };
    struct world w;
    struct fuzz_input in = {data, MIN(size, 1024)};
    world_create(&w, &in);
    while (in.left)
        actions[take(&in, 1) % ARRAY_LEN(actions)](&w, &in);
    world_destroy(&w);
    return 0;
}
