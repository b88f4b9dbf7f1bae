/* Two flash chips under a hostile guest: random accesses of all sizes, command sequences, saved states. */
#include <stdlib.h>
#include <string.h>

#include "devices/flash/pflash.h"
#include "fuzz/input.h"

#define BASE 0xffc00000ull
#define SIZE 0x8000ull

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct ram_block *block[2];
    struct pflash *flash[2];
};

static void changed(void *opaque, u64 offset, u64 len)
{
    must(len && offset < SIZE && len <= SIZE - offset);
}

static void world_create(struct world *w)
{
    *w = (struct world){0};
    must(!loop_create(&w->loop, NULL));
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    struct device_env env = {w->loop, w->mem, w->state, NULL};
    for (u32 i = 0; i < 2; i++) {
        must(!ram_block_create(&w->block[i], "flash", SIZE, NULL));
        struct pflash_config config = {.name = "flash",
                                       .gpa = BASE + i * SIZE,
                                       .block = w->block[i],
                                       .size = SIZE,
                                       .readonly = i,
                                       .instance = i,
                                       .changed = changed};
        must(!pflash_create(&w->flash[i], &env, &config, NULL));
    }
}

static void world_destroy(struct world *w)
{
    for (u32 i = 0; i < SIZE; i++)
        must(!w->block[1]->hva[i]); /* nobody can write that one */
    for (unsigned i = 0; i < 2; i++) {
        pflash_destroy(w->flash[i]);
        ram_block_destroy(w->block[i]);
    }
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    loop_destroy(w->loop);
}

static void access_any(struct world *w, struct fuzz_input *in)
{
    u8 what = (u8)take(in, 1);
    unsigned size = 1u << (what & 3);
    u64 gpa = BASE + take(in, 2);
    if (what & 0x80)
        mem_read(w->mem, gpa, size);
    else
        mem_write(w->mem, gpa, size, take(in, size));
}

static void command(struct world *w, struct fuzz_input *in)
{
    static const u8 first[] = {0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xe8, 0xff};
    u8 what = (u8)take(in, 1);
    u64 gpa = BASE + take(in, 2);
    mem_write(w->mem, gpa, 1, first[what % ARRAY_LEN(first)]);
    mem_write(w->mem, gpa, 1, what & 0x80 ? 0xd0 : take(in, 1));
}

static void reload_state(struct world *w, struct fuzz_input *in)
{
    state_reload(w->state, in, 128);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    struct fuzz_input in = {data, MIN(size, 4096)};
    world_create(&w);
    while (in.left) {
        u8 action = (u8)take(&in, 1);
        if (action == 0xff)
            reload_state(&w, &in);
        else if (action & 1)
            access_any(&w, &in);
        else
            command(&w, &in);
    }
    world_destroy(&w);
    return 0;
}
