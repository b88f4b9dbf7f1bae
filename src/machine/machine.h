/*
 * A virtual machine: a configuration made into a wired VM, and its life.
 *
 * Threads: machine_create, machine_run and machine_destroy belong to one thread, which becomes the loop
 * thread. One thread per vCPU runs inside machine_run. machine_quit may be called from any thread and from
 * signal handlers.
 *
 * Lock order: the machine lock (loop_lock) first; then a vCPU's wake_lock; then mem's view lock. The vm's
 * exclusive_lock is taken with no other lock held.
 */
#ifndef RING3_MACHINE_MACHINE_H
#define RING3_MACHINE_MACHINE_H

#include "base/error.h"
#include "base/log.h"
#include "cpu/engine.h"
#include "loop/loop.h"

#define MACHINE_MAX_INITRDS  32
#define MACHINE_MAX_DISKS    16
#define MACHINE_MAX_FLOPPIES 2
#define MACHINE_MAX_TYPED    64

enum disk_bus { DISK_VIRTIO, DISK_IDE, DISK_AHCI };

/* One --disk or --cdrom. Those of a bus take its places in the order given. */
struct machine_disk {
    const char *file;   /* NULL: a CD drive without a medium */
    const char *format; /* NULL: probed */
    const char *serial; /* NULL: made up */
    enum disk_bus bus;
    bool cdrom;
    bool readonly, snapshot;
};

/* All strings are borrowed and must outlive the machine. */
struct machine_config {
    const char *kernel;
    const char *initrd[MACHINE_MAX_INITRDS]; /* several: Multiboot modules, each "FILE [ARGS]" */
    unsigned initrd_count;
    const char *append;
    const char *firmware; /* NULL: none with a kernel, else "bios"; "bios", "uefi", or a file */
    const char *nvram;    /* UEFI's variables; NULL: kept nowhere */
    const char *boot; /* "disk,cdrom,floppy", each of them once or not at all, and "menu"; NULL: as listed */
    const char *vga;  /* "std" or "none"; NULL: "std" with firmware, else "none" */
    struct machine_disk disks[MACHINE_MAX_DISKS];
    unsigned disk_count;
    const char *floppies[MACHINE_MAX_FLOPPIES]; /* NULL: no drive */
    const char *vnc;                            /* see display/vnc.h; NULL: no viewers */
    bool rng;                                   /* virtio-rng */
    bool virtio_console;                        /* a second console, CONSOLE_VIRTIO */
    bool balloon;                               /* virtio-balloon */
    u64 balloon_target;                         /* bytes that the guest is asked to give back */
    bool virtio_keyboard, virtio_mouse, virtio_tablet;
    const char *type[MACHINE_MAX_TYPED]; /* see display/typing.h */
    unsigned type_count;
    u64 memory;            /* bytes */
    unsigned cpus;         /* 1..VM_MAX_CPUS */
    const char *cpu_model; /* NULL: the default */
    const char *engine;    /* NULL: the default */
    u64 jit_cache;         /* bytes of translated code; 0: the default */
    unsigned timeout;      /* seconds; 0: none */
    int exit_port;         /* isa-debug-exit; -1: none */
    bool testdev;          /* pc-testdev */
    bool iommu;            /* an Intel VT-d remapping unit */
    bool edu;              /* QEMU's edu PCI device */
    u64 trace_topics;      /* bit per enum trace_topic */
};

enum machine_end {
    MACHINE_POWEROFF, /* the guest turned itself off */
    MACHINE_CRASHED,  /* triple fault; the registers are in the log */
    MACHINE_TIMEOUT,
    MACHINE_DEBUG_EXIT, /* result.exit_value was written to the exit port */
    MACHINE_QUIT,       /* machine_quit */
    MACHINE_FAILED,     /* ring3 could not go on; result.error says why */
};

struct machine_result {
    enum machine_end end;
    u32 exit_value;
    struct error error;
};

enum console_port { CONSOLE_SERIAL, CONSOLE_VIRTIO, CONSOLE_PORTS };

/* Where the output of the first serial port or of the virtio console goes. Called with the machine lock held,
 * on any of the VM's threads.
 */
struct machine_console {
    void (*write)(void *opaque, const u8 *data, size_t len);
    void *opaque;
};

struct machine;

/* The defaults: 512 MiB, one CPU, default model and engine. */
void machine_config_init(struct machine_config *config);

/* Is this a boot order (machine_config.boot)? -EINVAL with a sentence. */
int machine_check_boot(const char *boot, struct error *err);

/*
 * Builds the machine and loads the kernel. On failure nothing is left behind and `err` has one sentence:
 * what, why, what to do.
 */
int machine_create(struct machine **out, const struct machine_config *config, struct error *err);
void machine_destroy(struct machine *m);

/* Connects a console; before machine_run. */
void machine_set_console(struct machine *m, enum console_port port, const struct machine_console *console);
/* Types into the console: returns how many bytes the port took (its FIFO is small; offer the rest
 * again when `room` is called). [machine lock] */
size_t machine_console_input(struct machine *m, enum console_port port, const u8 *data, size_t len);
void machine_on_console_room(struct machine *m, enum console_port port, void (*room)(void *opaque),
                             void *opaque);

/* The machine's event loop, to watch descriptors with. */
struct loop *machine_loop(struct machine *m);
struct log *machine_log(struct machine *m);
/* What the guest shows: black while it has no display adapter. [machine lock] */
struct display;
struct display *machine_display(struct machine *m);

/* What a person does to the guest: keys and the pointer. */
struct input *machine_input(struct machine *m);
/* A script's keys. [machine lock] */
struct typing *machine_typing(struct machine *m);

/* Runs until the guest ends or somebody asks; returns with all vCPUs stopped. */
void machine_run(struct machine *m, struct machine_result *result);
void machine_quit(struct machine *m);
/* Power-on reset, soon. [machine lock] */
void machine_restart(struct machine *m);
/* Stops CPUs and virtual time, soon, or lets them go on; what has to do with the host (viewers, the control
 * socket) goes on meanwhile. [machine lock] */
void machine_set_paused(struct machine *m, bool paused);
bool machine_is_paused(struct machine *m);

/* Counters of engine and devices as text, a line per call; after machine_run. */
void machine_stats(struct machine *m, void (*line)(void *opaque, const char *text), void *opaque);

/* The engines that this build has, best first, NULL-terminated. */
extern const struct engine_ops *const machine_engines[];
/* The engine called `name` (NULL: the first that works here), or NULL with `err` set. */
const struct engine_ops *machine_find_engine(const char *name, struct error *err);

#endif
