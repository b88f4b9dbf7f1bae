/* The loaders' fuzzers: the input is the kernel's file. All run the same code; they differ in what they start
 * from. */
#ifndef RING3_FUZZ_LOADER_H
#define RING3_FUZZ_LOADER_H

#include <stdlib.h>

#include "firmware/loader.h"
#include "loop/loop.h"
#include "mem/mem.h"

#define FUZZ_RAM MIB(32)

struct fuzz_vm {
    struct loop *loop;
    struct mem_space *mem;
    struct ram_block *ram;
    struct mem_region region;
};

/* Built once: the guest's memory need not be clean for the next input. */
static struct mem_space *fuzz_mem(void)
{
    static struct fuzz_vm vm;
    if (vm.mem)
        return vm.mem;
    if (loop_create(&vm.loop, NULL) < 0 || mem_space_create(&vm.mem, loop_mutex(vm.loop), NULL, NULL) < 0 ||
        ram_block_create(&vm.ram, "ram", FUZZ_RAM, NULL) < 0)
        abort();
    vm.region = (struct mem_region){.name = "ram", .size = FUZZ_RAM, .kind = MEM_RAM, .block = vm.ram};
    mem_map(vm.mem, &vm.region);
    return vm.mem;
}

static int fuzz_loader(const u8 *data, size_t size)
{
    static const u8 initrd[] = "an initrd";
    struct error err = {0};
    struct kernel_entry entry;
    struct kernel_image image = {
        .kernel = {"kernel", data, size},
        .initrd = {{"initrd ARGS", initrd, sizeof initrd}},
        .initrd_count = 1,
        .cmdline = "console=ttyS0",
        .rsdp = FIRMWARE_START,
        .long_mode = true,
        .mem = fuzz_mem(),
    };
    if (ram_layout_init(&image.ram, FUZZ_RAM, NULL) < 0)
        abort();
    int rc = kernel_place(&image, &entry, &err);
    /* Either a sentence, or an entry point in RAM. */
    if (rc < 0 ? !err.message[0] : !e820_is_ram(&image.ram, entry.rip, 1))
        abort();
    return 0;
}

#endif
