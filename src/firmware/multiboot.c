/* The Multiboot Specification, version 0.6.96 (Multiboot 1). */
#include "firmware/bios_stub.h"
#include "firmware/loader_impl.h"

#define HEADER_MAGIC 0x1badb002u
#define LOADER_MAGIC 0x2badb002u
#define SEARCH_LIMIT 8192
#define HEADER_SIZE  12 /* magic, flags, checksum */
#define ADDRESS_SIZE 32 /* with the address fields */
#define LOADER_NAME  "ring3"

enum header_flag {
    HEADER_ALIGN_MODULES = BIT(0), /* to pages: we always do */
    HEADER_MEMORY_INFO = BIT(1),   /* we always give it */
    HEADER_VIDEO = BIT(2),
    HEADER_ADDRESSES = BIT(16),
};

enum info_flag {
    INFO_MEMORY = BIT(0),
    INFO_CMDLINE = BIT(2),
    INFO_MODULES = BIT(3),
    INFO_MEMORY_MAP = BIT(6),
    INFO_LOADER_NAME = BIT(9),
};

/* Up to the last field that we fill (3.3). */
struct multiboot_info {
    u32 flags;
    u32 mem_lower, mem_upper; /* KiB */
    u32 boot_device;
    u32 cmdline;
    u32 mods_count, mods_addr;
    u32 syms[4];
    u32 mmap_length, mmap_addr;
    u32 drives_length, drives_addr;
    u32 config_table;
    u32 boot_loader_name;
    u32 apm_table;
    u32 vbe[4];
    u8 framebuffer[28];
};

struct multiboot_module {
    u32 start, end, string, reserved;
};

struct multiboot_memory {
    u32 size; /* of the rest */
    u64 addr, len;
    u32 type;
} __attribute__((packed));

struct multiboot_header {
    u64 offset; /* in the file */
    u32 flags;
    u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* HEADER_ADDRESSES */
};

static bool find_header(const struct kernel_file *file, u64 *offset)
{
    for (u64 at = 0; at + HEADER_SIZE <= MIN(file->size, SEARCH_LIMIT); at += 4) {
        const u8 *p = file->data + at;
        if (load_le32(p) == HEADER_MAGIC && (u32)(load_le32(p) + load_le32(p + 4) + load_le32(p + 8)) == 0) {
            *offset = at;
            return true;
        }
    }
    return false;
}

bool multiboot_matches(const struct kernel_file *file)
{
    u64 offset;
    return find_header(file, &offset);
}

static int read_header(const struct kernel_file *file, struct multiboot_header *h, struct error *err)
{
    const u32 known = HEADER_ALIGN_MODULES | HEADER_MEMORY_INFO;
    memset(h, 0, sizeof *h);
    if (!find_header(file, &h->offset))
        return error_set(err, ENOEXEC, "%s: no Multiboot header", file->name);
    const u8 *p = file->data + h->offset;
    h->flags = load_le32(p + 4);
    if (h->flags & HEADER_VIDEO)
        return error_set(err, ENOTSUP,
                         "%s: this Multiboot kernel demands a video mode, which there is not: build it for a "
                         "serial console",
                         file->name);
    if (h->flags & 0xffff & ~known)
        return error_set(err, ENOTSUP,
                         "%s: this Multiboot kernel demands features that nobody knows (flags %#x)",
                         file->name, h->flags);
    if (!(h->flags & HEADER_ADDRESSES))
        return 0;
    if (!range_is_inside(h->offset, ADDRESS_SIZE, file->size))
        return error_set(err, ENOEXEC, "%s: truncated: the file ends in its Multiboot header: get it again",
                         file->name);
    h->header_addr = load_le32(p + 12);
    h->load_addr = load_le32(p + 16);
    h->load_end_addr = load_le32(p + 20);
    h->bss_end_addr = load_le32(p + 24);
    h->entry_addr = load_le32(p + 28);
    return 0;
}

/* The "a.out kludge": the header says what goes where (3.1.3). */
static int load_flat(const struct kernel_image *image, const struct multiboot_header *h,
                     struct placer *placer, u64 *end, struct error *err)
{
    const struct kernel_file *file = &image->kernel;
    u64 before = (u64)h->header_addr - h->load_addr;
    if (h->header_addr < h->load_addr || before > h->offset)
        return error_set(err, ENOEXEC,
                         "%s: damaged: the Multiboot header's load address %#x does not match its own "
                         "address %#x: get it again",
                         file->name, h->load_addr, h->header_addr);
    u64 offset = h->offset - before;
    u64 size = file->size - offset;
    if (h->load_end_addr) {
        u64 wanted = (u64)h->load_end_addr - h->load_addr;
        if (h->load_end_addr <= h->load_addr || wanted > size)
            return error_set(err, ENOEXEC,
                             "%s: truncated: the Multiboot header wants to load up to %#x, the file ends at "
                             "%#llx: get it again",
                             file->name, h->load_end_addr, (unsigned long long)h->load_addr + size);
        size = wanted;
    }
    *end = MAX((u64)h->load_addr + size, h->bss_end_addr);
    if (!e820_is_ram(&image->ram, h->load_addr, *end - h->load_addr))
        return error_set(err, ENOMEM,
                         "%s: the kernel (%#x..%#llx) does not fit in the RAM of a VM with %llu MiB: use a "
                         "larger --memory, "
                         "or link the kernel elsewhere",
                         file->name, h->load_addr, (unsigned long long)*end,
                         (unsigned long long)(ram_layout_size(&image->ram) >> 20));
    if (!placer_take(placer, h->load_addr, *end))
        return boot_no_room(image, "the kernel", *end - h->load_addr, err);
    mem_write_bytes(image->mem, h->load_addr, file->data + offset, size);
    boot_clear(image->mem, h->load_addr + size, *end - h->load_addr - size);
    return 0;
}

static int load_kernel(const struct kernel_image *image, struct placer *placer, u64 *entry, u64 *end,
                       struct error *err)
{
    struct multiboot_header h;
    struct elf_file elf;
    int rc = read_header(&image->kernel, &h, err);
    if (rc < 0)
        return rc;
    if (h.flags & HEADER_ADDRESSES) {
        *entry = h.entry_addr;
        rc = load_flat(image, &h, placer, end, err);
    } else if (!elf_matches(&image->kernel)) {
        return error_set(
            err, ENOEXEC,
            "%s: a Multiboot kernel that is no ELF file and does not say where it belongs: set bit 16 of its "
            "header's flags, or make it an ELF file",
            image->kernel.name);
    } else {
        if ((rc = elf_open(&elf, &image->kernel, err)) < 0)
            return rc;
        *entry = elf.entry;
        rc = elf_load(&elf, image, placer, end, err);
    }
    if (rc == 0 && !e820_is_ram(&image->ram, *entry, 1))
        return error_set(err, ENOEXEC, "%s: damaged: the entry point %#llx is not in RAM: get it again",
                         image->kernel.name, (unsigned long long)*entry);
    return rc;
}

static bool put(const struct kernel_image *image, struct placer *placer, const void *data, u64 size, u32 *gpa)
{
    u64 where;
    if (!boot_find(placer, size, 8, &where))
        return false;
    *gpa = (u32)where;
    mem_write_bytes(image->mem, where, data, size);
    return true;
}

/* Modules follow the kernel, at page boundaries. */
static int place_modules(const struct kernel_image *image, struct placer *placer, u64 kernel_end,
                         struct multiboot_info *info, struct error *err)
{
    struct multiboot_module list[KERNEL_MAX_MODULES] = {0};
    info->flags |= INFO_MODULES;
    for (unsigned i = 0; i < image->initrd_count; i++) {
        const struct kernel_file *file = &image->initrd[i];
        u64 start;
        if (!placer_find_low(placer, file->size, PAGE_SIZE, MAX(kernel_end, MIB(1)), RAM_HIGH_START, &start))
            return boot_no_room(image, "a module", file->size, err);
        mem_write_bytes(image->mem, start, file->data, file->size);
        list[i].start = (u32)start;
        list[i].end = (u32)(start + file->size);
        if (!put(image, placer, file->name, strlen(file->name) + 1, &list[i].string))
            return boot_no_room(image, "a module's string", strlen(file->name) + 1, err);
    }
    info->mods_count = image->initrd_count;
    if (image->initrd_count && !put(image, placer, list, info->mods_count * sizeof list[0], &info->mods_addr))
        return boot_no_room(image, "the list of modules", sizeof list, err);
    return 0;
}

/* "KERNEL ARGS", as boot loaders have it. */
static int place_cmdline(const struct kernel_image *image, struct placer *placer, struct multiboot_info *info,
                         struct error *err)
{
    u64 name = strlen(image->kernel.name), args = strlen(image->cmdline);
    u64 size = name + 1 + args + 1, gpa;
    if (!boot_find(placer, size, 8, &gpa))
        return boot_no_room(image, "the command line", size, err);
    mem_write_bytes(image->mem, gpa, image->kernel.name, name);
    mem_write(image->mem, gpa + name, 1, args ? ' ' : 0);
    mem_write_bytes(image->mem, gpa + name + 1, image->cmdline, args + 1);
    info->flags |= INFO_CMDLINE;
    info->cmdline = (u32)gpa;
    return 0;
}

static int place_info(const struct kernel_image *image, struct placer *placer, struct multiboot_info *info,
                      u32 *gpa, struct error *err)
{
    struct multiboot_memory memory[E820_MAX];
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(&image->ram, map);
    for (unsigned i = 0; i < n; i++)
        memory[i] = (struct multiboot_memory){sizeof memory[0] - 4, map[i].addr, map[i].size, map[i].type};
    info->flags |= INFO_MEMORY | INFO_MEMORY_MAP | INFO_LOADER_NAME;
    info->mem_lower = EBDA_START >> 10;
    info->mem_upper = (u32)((acpi_area_start(&image->ram) - MIB(1)) >> 10);
    info->mmap_length = n * (u32)sizeof memory[0];
    if (!put(image, placer, memory, info->mmap_length, &info->mmap_addr) ||
        !put(image, placer, LOADER_NAME, sizeof LOADER_NAME, &info->boot_loader_name) ||
        !put(image, placer, info, sizeof *info, gpa))
        return boot_no_room(image, "the boot information", sizeof memory + sizeof *info, err);
    return 0;
}

int multiboot_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err)
{
    struct placer placer;
    struct multiboot_info info = {0};
    u64 end = 0;
    u32 info_gpa = 0;
    bios_stub_write(image->mem);
    placer_init(&placer, &image->ram);
    int rc = load_kernel(image, &placer, &entry->rip, &end, err);
    if (rc < 0)
        return rc;
    entry->mode = KERNEL_ENTRY_32;
    if ((rc = place_modules(image, &placer, end, &info, err)) < 0 ||
        (rc = place_cmdline(image, &placer, &info, err)) < 0 ||
        (rc = place_info(image, &placer, &info, &info_gpa, err)) < 0)
        return rc;
    if (!boot_write_gdt(image, &placer, entry))
        return boot_no_room(image, "a descriptor table", 64, err);
    entry->protocol = "Multiboot";
    entry->bios = true;
    entry->rax = LOADER_MAGIC;
    entry->rbx = info_gpa;
    return 0;
}
