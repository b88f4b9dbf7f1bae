/*
 * Starts a kernel without a BIOS: a Linux bzImage, a Multiboot 1 image, or an ELF file with a PVH entry
 * point.
 *
 * Which one a file is, is decided in this order: the bzImage magic, a Multiboot header in the first 8 KiB, an
 * ELF file with a PVH note. Files are hostile: every offset, size and address in them is checked.
 */
#ifndef RING3_FIRMWARE_LOADER_H
#define RING3_FIRMWARE_LOADER_H

#include "base/log.h"
#include "cpu/vm.h"
#include "firmware/layout.h"

#define KERNEL_MAX_MODULES 64

/* A linear frame buffer that is shown. */
struct kernel_screen {
    u32 base, width, height, bits, pitch; /* width 0: none, see `vga` */
};

struct kernel_request {
    const char *kernel;        /* path */
    const char *const *initrd; /* paths; with Multiboot each may be "FILE ARGS" */
    unsigned initrd_count;     /* Linux gets them concatenated */
    const char *cmdline;       /* NULL: empty */
    struct ram_layout ram;
    u64 rsdp; /* gpa of the ACPI root pointer; 0: none */
    bool vga; /* a VGA shows an empty screen in mode 3 */
    struct kernel_screen screen;
};

/*
 * Reads the files, places them in guest memory with what the boot protocol wants, and sets the registers of
 * vm->cpu[0] (fresh from reset) to its entry state. On failure, memory may have been written; no register
 * has.
 */
int kernel_load(const struct kernel_request *req, struct vm *vm, struct error *err);

/* The parts of kernel_load, for tests and fuzzers. */

/* A file in memory. */
struct kernel_file {
    const char *name; /* as in messages and on Multiboot command lines */
    const u8 *data;
    u64 size;
};

struct kernel_image {
    struct kernel_file kernel;
    struct kernel_file initrd[KERNEL_MAX_MODULES]; /* name: "FILE ARGS" */
    unsigned initrd_count;
    const char *cmdline; /* not NULL */
    struct ram_layout ram;
    u64 rsdp;
    bool vga;
    struct kernel_screen screen;
    bool long_mode; /* the CPU has it */
    struct mem_space *mem;
    struct log *log;
};

enum kernel_entry_mode {
    KERNEL_ENTRY_32, /* protected mode, flat segments, no paging */
    KERNEL_ENTRY_64, /* long mode, flat segments, identity page tables at cr3 */
};

/* The bootstrap processor's registers at the kernel's first instruction. Those not named are 0; IF is 0. */
struct kernel_entry {
    const char *protocol; /* "Linux, 64-bit entry", ... */
    enum kernel_entry_mode mode;
    u64 rip, rax, rbx, rsi, rsp;
    u64 cr3;
    u64 gdt; /* gpa of the descriptor table */
    u16 gdt_limit;
    u16 cs, ds;
    bool bios; /* real-mode vectors are at 0, with what else a BIOS leaves behind (firmware/bios_stub.h) */
};

/* Writes everything to guest memory and fills `entry`. */
int kernel_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err);

#endif
