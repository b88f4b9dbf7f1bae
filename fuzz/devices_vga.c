/*
 * The VGA under a hostile guest: random accesses to registers, window, frame buffer and configuration space,
 * time steps, saved-state records; a look at the screen now and then. Besides the sanitizers' it looks for
 * damage outside of the picture.
 */
#include <stdlib.h>

#include "devices/display/vga.h"
#include "fuzz/input.h"

#define LFB  0xe0000000u
#define MMIO 0xe1000000u

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct display *display;
    struct pci_bus *bus;
    struct vga *vga;
    struct display_viewer viewer;
    bool reloaded;
};

static void damaged(void *opaque, struct display_rect rect)
{
    struct world *w = opaque;
    const struct display_frame *frame = display_frame(w->display);
    must(rect.w && rect.h && rect.x + rect.w <= frame->width && rect.y + rect.h <= frame->height);
}

static void world_create(struct world *w)
{
    *w = (struct world){0};
    must(!loop_create(&w->loop, NULL));
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    struct device_env env = {w->loop, w->mem, w->state, NULL};
    must(!display_create(&w->display, NULL));
    must(!pci_bus_create(&w->bus, &env, &(struct pci_bus_config){0}, NULL));
    struct vga_config config = {.display = w->display, .bus = w->bus, .slot = 2};
    must(!vga_create(&w->vga, &env, &config, NULL));
    vga_post(w->vga);
    w->viewer = (struct display_viewer){.damaged = damaged, .opaque = w};
    display_add_viewer(w->display, &w->viewer);
    pci_config_write(w->bus, 2, 0, 0x10, 4, LFB);
    pci_config_write(w->bus, 2, 0, 0x18, 4, MMIO);
    pci_config_write(w->bus, 2, 0, 0x04, 2, 2);
}

static void world_destroy(struct world *w)
{
    vga_destroy(w->vga);
    pci_bus_destroy(w->bus);
    display_destroy(w->display);
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    loop_destroy(w->loop);
}

static void access_port(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    u16 port = (u16)(0x3b0 + what % 0x30);
    if (what >= 0xc0)
        port_read(w->mem, port, 1);
    else
        port_write(w->mem, port, 1, take(in, 1));
}

/* Index and data at once, so that each register is easily met. */
static void write_register(struct world *w, struct fuzz_input *in)
{
    static const u16 ports[] = {0x3c4, 0x3ce, 0x3d4, 0x3b4};
    unsigned what = (unsigned)take(in, 1);
    port_write(w->mem, ports[what & 3], 1, what >> 2 & 0x1f);
    port_write(w->mem, ports[what & 3] + 1, 1, take(in, 1));
}

static void write_attribute(struct world *w, struct fuzz_input *in)
{
    port_read(w->mem, 0x3da, 1);
    port_read(w->mem, 0x3ba, 1);
    port_write(w->mem, 0x3c0, 1, take(in, 1) & 0x3f);
    port_write(w->mem, 0x3c0, 1, take(in, 1));
    port_write(w->mem, 0x3c0, 1, 0x20);
}

static void write_vbe(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    port_write(w->mem, 0x1ce, 2, what & 15);
    if (what & 0x80)
        port_read(w->mem, 0x1cf, 2);
    else
        port_write(w->mem, what & 0x40 ? 0x1cf : 0x1d0, 2, take(in, what & 0x20 ? 1 : 2));
}

static void access_memory(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), size = 1u << (what & 3);
    u64 gpa = what & 4   ? LFB + take(in, 3)
              : what & 8 ? MMIO + (take(in, 2) & 0xfff)
                         : 0xa0000 + (take(in, 3) & 0x1ffff);
    if (what & 0x10)
        mem_read(w->mem, gpa, size);
    else
        mem_write(w->mem, gpa, size, take(in, size));
}

static void access_config(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    pci_config_write(w->bus, 2, 0, what & 0xfc, 4, (u32)take(in, 4));
}

static void look(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    struct vclock *clock = loop_clock(w->loop);
    clock_set(clock, clock_now(clock) + ((u64)what << 20));
    display_refresh(w->display);
    free(display_text(w->display));
}

/* What was saved must load; what was changed must be refused or harmless. Seldom: the memory is large. */
static void reload_state(struct world *w, struct fuzz_input *in)
{
    if (w->reloaded || take(in, 1) != 0xfe)
        return;
    w->reloaded = true;
    state_reload(w->state, in, 2048);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        access_port, write_register, write_register, write_attribute,
        write_vbe,   access_memory,  access_config,  look,
    };
    struct world w;
    struct fuzz_input in = {data, MIN(size, 2048)};
    unsigned looks = 0;
    world_create(&w);
    while (in.left) {
        u8 action = (u8)take(&in, 1);
        if (action == 0xff)
            reload_state(&w, &in);
        else if (actions[action % ARRAY_LEN(actions)] != look || looks++ < 16)
            actions[action % ARRAY_LEN(actions)](&w, &in);
    }
    display_refresh(w.display);
    world_destroy(&w);
    return 0;
}
