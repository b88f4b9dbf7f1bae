/*
 * Virtio devices under a hostile guest: the first byte chooses the device, the rest is a sequence of register
 * accesses through all three doors (memory BAR, I/O BAR, window in the configuration space), writes into the
 * guest memory that the rings are in, whole descriptors and available entries, time, input from the host and
 * changed saved-state records. Besides the sanitizers' it looks for writes behind the guest's memory and for
 * timers that never let go of the host.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "devices/virtio/virtio_balloon.h"
#include "devices/virtio/virtio_blk.h"
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/virtio_input.h"
#include "devices/virtio/virtio_pci.h"
#include "devices/virtio/virtio_rng.h"
#include "fuzz/input.h"

#define RAM_SIZE   KIB(256)
#define DISK_SIZE  KIB(64)
#define SLOT       4
#define BAR_MODERN 0xe0000000u
#define BAR_MSIX   0xe0010000u
#define PORT       0xc000

/* Where the prepared queues are: 4 KiB each for descriptors, available and used ring. */
#define QUEUE_BASE(n) (0x4000ull * (n) + 0x1000)
#define QUEUES        3
#define QUEUE_SIZE    8u

#define MAX_EXPIRIES 10000

enum kind { DISK, ENTROPY, CONSOLE, BALLOON, KEYBOARD, TABLET, KINDS };

struct world {
    struct loop *loop;
    struct mem_space *mem;
    struct state_set *state;
    struct device_env env;
    struct ram_block *block;
    struct mem_region ram;
    struct pci_bus *bus;
    enum kind kind;
    struct drive *drive;
    struct virtio_blk *blk;
    struct virtio_rng *rng;
    struct virtio_console *console;
    struct virtio_balloon *balloon;
    struct virtio_input *input_device;
    struct input *input;
    struct virtio_pci *pci;
    char file[64];
};

static void console_write(void *opaque, const u8 *buf, size_t n)
{
    u8 sum = 0;
    for (size_t i = 0; i < n; i++)
        sum = (u8)(sum + buf[i]);
    *(volatile u8 *)opaque = sum;
}

static void console_wanted(void *opaque) {}

static bool message_send(void *opaque, u32 requester, u64 address, u32 data)
{
    return true;
}

static u8 console_sink;

static void disk_create(struct world *w)
{
    /* A file without a name: nothing is left behind by a crash. */
    int fd = memfd_create("disk", 0);
    must(fd >= 0 && ftruncate(fd, (off_t)DISK_SIZE) == 0);
    snprintf(w->file, sizeof w->file, "/proc/self/fd/%d", fd);
    struct drive_config config = {.file = w->file, .format = "raw", .serial = "fuzz"};
    loop_unlock(w->loop);
    must(!drive_open(&w->drive, &config, loop_mutex(w->loop), NULL));
    loop_lock(w->loop);
    close(fd);
    struct virtio_blk_config blk = {.drive = w->drive, .queues = 2};
    must(!virtio_blk_create(&w->blk, &w->env, &blk, NULL));
}

static struct virtio_device *device_create(struct world *w)
{
    struct virtio_rng_config rng = {.rate = 4096, .period_ns = 1000000};
    struct virtio_console_config console = {.backend = {console_write, console_wanted, &console_sink}};
    struct virtio_balloon_config balloon = {.target = MIB(1), .stats_seconds = 1};
    struct virtio_input_config input = {.kind = w->kind == TABLET ? VIRTIO_TABLET : VIRTIO_KEYBOARD,
                                        .input = w->input};
    switch (w->kind) {
    case DISK:
        disk_create(w);
        return virtio_blk_device(w->blk);
    case ENTROPY:
        must(!virtio_rng_create(&w->rng, &w->env, &rng, NULL));
        return virtio_rng_device(w->rng);
    case CONSOLE:
        must(!virtio_console_create(&w->console, &w->env, &console, NULL));
        return virtio_console_device(w->console);
    case BALLOON:
        must(!virtio_balloon_create(&w->balloon, &w->env, &balloon, NULL));
        return virtio_balloon_device(w->balloon);
    default:
        must(!virtio_input_create(&w->input_device, &w->env, &input, NULL));
        return virtio_input_device(w->input_device);
    }
}

static void world_create(struct world *w, enum kind kind)
{
    *w = (struct world){.kind = kind};
    must(!loop_create(&w->loop, NULL));
    loop_lock(w->loop);
    must(!mem_space_create(&w->mem, loop_mutex(w->loop), NULL, NULL));
    must((w->state = state_set_create()) != NULL);
    must(!ram_block_create(&w->block, "ram", RAM_SIZE, NULL));
    w->env = (struct device_env){w->loop, w->mem, w->state, NULL};
    w->ram = (struct mem_region){.name = "ram", .size = RAM_SIZE, .kind = MEM_RAM, .block = w->block};
    mem_map(w->mem, &w->ram);
    struct pci_bus_config bus = {.msi = {message_send, NULL}};
    must(!pci_bus_create(&w->bus, &w->env, &bus, NULL));
    must(!input_create(&w->input, NULL));
    struct virtio_pci_config pci = {.bus = w->bus, .slot = SLOT};
    must(!virtio_pci_create(&w->pci, &w->env, device_create(w), &pci, NULL));
    pci_config_write(w->bus, SLOT, 0, PCI_BAR0, 4, PORT);
    pci_config_write(w->bus, SLOT, 0, PCI_BAR0 + 4, 4, BAR_MSIX);
    pci_config_write(w->bus, SLOT, 0, PCI_BAR0 + 16, 4, BAR_MODERN);
    pci_config_write(w->bus, SLOT, 0, PCI_COMMAND, 2,
                     PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void world_destroy(struct world *w)
{
    virtio_pci_destroy(w->pci);
    loop_unlock(w->loop);
    virtio_blk_destroy(w->blk);
    virtio_rng_destroy(w->rng);
    virtio_console_destroy(w->console);
    virtio_balloon_destroy(w->balloon);
    virtio_input_destroy(w->input_device);
    must(!drive_close(w->drive, NULL));
    input_destroy(w->input);
    pci_bus_destroy(w->bus);
    ram_block_destroy(w->block);
    state_set_destroy(w->state);
    mem_space_destroy(w->mem);
    loop_destroy(w->loop);
}

/* --- what the guest does --------------------------------------------------------------------------------
 */

static void access_common(struct world *w, struct fuzz_input *in)
{
    static const u8 registers[] = {0,  4,  8,  12, 16, 18, 20, 21, 22, 24,
                                   26, 28, 30, 32, 36, 40, 44, 48, 52, 56};
    static const u8 sizes[] = {4, 4, 4, 4, 2, 2, 1, 1, 2, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4};
    unsigned what = (unsigned)take(in, 1), i = (what & 0x7f) % ARRAY_LEN(registers);
    if (what & 0x80)
        mem_read(w->mem, BAR_MODERN + registers[i], sizes[i]);
    else
        mem_write(w->mem, BAR_MODERN + registers[i], sizes[i], take(in, sizes[i]));
}

static void access_anything(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), size = 1u << (what & 3);
    u64 at = take(in, 2);
    if (what & 0x40) {
        u16 port = (u16)(PORT + (at & 0x7f));
        if (what & 0x80)
            port_read(w->mem, port, MIN(size, 4u));
        else
            port_write(w->mem, port, MIN(size, 4u), take(in, size));
        return;
    }
    u64 gpa = (what & 0x20 ? BAR_MSIX + (at & 0xfff) : BAR_MODERN + (at & 0x3fff));
    if (what & 0x80)
        mem_read(w->mem, gpa, size);
    else
        mem_write(w->mem, gpa, size, take(in, size));
}

static void access_config_space(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), reg = (unsigned)take(in, 1) & 0xfc, size = 1u << (what % 3);
    if (what & 0x80)
        pci_config_read(w->bus, SLOT, 0, reg, size);
    else
        pci_config_write(w->bus, SLOT, 0, reg, size, (u32)take(in, size));
}

/* Negotiates and sets up all queues as a good driver would, with some of the features. */
static void start_driver(struct world *w, struct fuzz_input *in)
{
    u64 common = BAR_MODERN;
    u32 features = (u32)take(in, 4);
    mem_write(w->mem, common + 20, 1, 0);
    mem_write(w->mem, common + 20, 1, 3);
    mem_write(w->mem, common, 4, 0);
    u32 offered = (u32)mem_read(w->mem, common + 4, 4);
    mem_write(w->mem, common + 8, 4, 0);
    mem_write(w->mem, common + 12, 4, features & offered);
    mem_write(w->mem, common + 8, 4, 1);
    mem_write(w->mem, common + 12, 4, 1);
    mem_write(w->mem, common + 20, 1, 0xb);
    for (unsigned n = 0; n < QUEUES; n++) {
        memset(w->block->hva + QUEUE_BASE(n), 0, 0x3000);
        mem_write(w->mem, common + 22, 2, n);
        mem_write(w->mem, common + 24, 2, QUEUE_SIZE);
        mem_write(w->mem, common + 32, 8, QUEUE_BASE(n));
        mem_write(w->mem, common + 40, 8, QUEUE_BASE(n) + 0x1000);
        mem_write(w->mem, common + 48, 8, QUEUE_BASE(n) + 0x2000);
        mem_write(w->mem, common + 28, 2, 1);
    }
    mem_write(w->mem, common + 20, 1, 0xf);
}

static void write_descriptor(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    u8 *d = w->block->hva + QUEUE_BASE(what % QUEUES) + 16ull * (what >> 4 & 7);
    u64 gpa = take(in, 3);
    store_le64(d, what & 8 ? gpa : gpa % RAM_SIZE);
    store_le32(d + 8, (u32)take(in, 2) & (what & 0x80 ? 0xffff : 0x3ff));
    store_le16(d + 12, (u16)(take(in, 1) & 7));
    store_le16(d + 14, (u16)(take(in, 1) & 15));
}

static void write_memory(struct world *w, struct fuzz_input *in)
{
    u64 at = take(in, 3) % (RAM_SIZE - 16);
    unsigned count = (unsigned)take(in, 1) & 15;
    for (unsigned i = 0; i < count; i++)
        w->block->hva[at + i] = (u8)take(in, 1);
}

/* A disk's request, so that deep paths are easily met. */
static void write_request(struct world *w, struct fuzz_input *in)
{
    static const u8 types[] = {0, 1, 4, 8, 11, 13, 2, 99};
    u8 *header = w->block->hva + 0x20000;
    store_le32(header, types[take(in, 1) & 7]);
    store_le64(header + 8, take(in, 1));
    u8 *d = w->block->hva + QUEUE_BASE(0);
    u16 flags = take(in, 1) & 1 ? 2 : 0;
    store_le64(d, 0x20000);
    store_le32(d + 8, 16);
    store_le32(d + 12, 1 | 1 << 16);
    store_le64(d + 16, 0x20000 + take(in, 2));
    store_le32(d + 24, (u32)take(in, 2));
    store_le32(d + 28, 1u | flags | 2u << 16);
    store_le64(d + 32, 0x30000);
    store_le32(d + 40, 1);
    store_le32(d + 44, 2);
}

static void offer_and_notify(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1), n = what % QUEUES, count = what >> 4 & 3;
    u8 *avail = w->block->hva + QUEUE_BASE(n) + 0x1000;
    u16 index = load_le16(avail + 2);
    for (unsigned i = 0; i <= count; i++, index++)
        store_le16(avail + 4 + 2 * (index % QUEUE_SIZE), (u16)(take(in, 1) & 15));
    store_le16(avail + 2, index);
    mem_write(w->mem, BAR_MODERN + 0x3000 + 4 * n, 2, n);
}

/* --- what the host does ---------------------------------------------------------------------------------
 */

static void pass_time(struct world *w, struct fuzz_input *in)
{
    struct vclock *clock = loop_clock(w->loop);
    u64 end = clock_now(clock) + (1ull << (take(in, 1) % 34));
    /* A resume timer may re-arm itself as often as there is work; the guest's rings are finite. */
    unsigned expiries = 0;
    for (u64 at; (at = loop_next_deadline(w->loop)) <= end;) {
        clock_set(clock, MAX(at, clock_now(clock)));
        loop_run_timers(w->loop, clock_now(clock));
        must(++expiries <= MAX_EXPIRIES);
    }
    clock_set(clock, end);
}

static void host_input(struct world *w, struct fuzz_input *in)
{
    unsigned what = (unsigned)take(in, 1);
    static const u8 bytes[100] = {1, 2, 3};
    if (w->console) {
        size_t room = virtio_console_can_receive(w->console);
        must(virtio_console_receive(w->console, bytes, MIN(room, what % sizeof bytes)) <= sizeof bytes);
        virtio_console_resize(w->console, (u16)what, 25);
    }
    if (w->balloon)
        virtio_balloon_set_target(w->balloon, (u64)what << 14);
    input_key(w->input, (u16)take(in, 2), what & 1);
    input_point(w->input, what << 8, (unsigned)take(in, 2), 640, 480, (int)(what & 3) - 1, what & 0x1f);
}

static void drain(struct world *w, struct fuzz_input *in)
{
    if (!w->drive)
        return;
    loop_unlock(w->loop);
    block_queue_drain(w->drive->queue);
    loop_lock(w->loop);
}

static void reload_state(struct world *w, struct fuzz_input *in)
{
    drain(w, in);
    state_reload(w->state, in, ~0u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const actions[])(struct world *, struct fuzz_input *) = {
        access_common,    access_anything, access_config_space, start_driver,     write_descriptor,
        write_descriptor, write_memory,    write_request,       offer_and_notify, pass_time,
        host_input,       drain,           offer_and_notify,    reload_state,
    };
    struct world w;
    struct fuzz_input in = {data, MIN(size, 4096)};
    world_create(&w, (enum kind)(take(&in, 1) % KINDS));
    while (in.left)
        actions[take(&in, 1) % ARRAY_LEN(actions)](&w, &in);
    world_destroy(&w);
    return 0;
}
