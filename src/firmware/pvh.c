/*
 * The PVH boot protocol (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h): an ELF file whose
 * note XEN_ELFNOTE_PHYS32_ENTRY gives a 32-bit entry point.
 */
#include <elf.h>

#include "firmware/loader_impl.h"

#define NOTE_PHYS32_ENTRY 18
#define START_INFO_MAGIC  0x336ec578u

struct start_info {
    u32 magic;
    u32 version; /* 1: with the memory map */
    u32 flags;
    u32 modules;
    u64 module_list; /* gpa of struct start_info_module[] */
    u64 cmdline;
    u64 rsdp;
    u64 memmap; /* gpa of struct start_info_memory[] */
    u32 memmap_entries;
    u32 reserved;
};

struct start_info_module {
    u64 addr, size, cmdline, reserved;
};

struct start_info_memory {
    u64 addr, size;
    u32 type, reserved;
};

/* Looks for the entry note in one PT_NOTE segment. */
static bool find_note(const struct elf_file *elf, const struct elf_segment *seg, u32 *entry)
{
    u64 align = seg->align == 8 ? 8 : 4;
    if (!range_is_inside(seg->offset, seg->filesz, elf->file->size))
        return false;
    const u8 *notes = elf->file->data + seg->offset;
    for (u64 at = 0; range_is_inside(at, 12, seg->filesz);) {
        u64 name_size = load_le32(notes + at), desc_size = load_le32(notes + at + 4);
        u32 type = load_le32(notes + at + 8);
        u64 name = at + 12, desc = ALIGN_UP(name + name_size, align);
        if (!range_is_inside(name, name_size, seg->filesz) || !range_is_inside(desc, desc_size, seg->filesz))
            return false;
        if (type == NOTE_PHYS32_ENTRY && name_size == 4 && memcmp(notes + name, "Xen", 4) == 0 &&
            desc_size >= 4) {
            *entry = load_le32(notes + desc);
            return true;
        }
        at = ALIGN_UP(desc + desc_size, align);
    }
    return false;
}

static bool find_entry(const struct elf_file *elf, u32 *entry)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment seg = elf_segment(elf, i);
        if (seg.type == PT_NOTE && find_note(elf, &seg, entry))
            return true;
    }
    return false;
}

static bool put(const struct kernel_image *image, struct placer *placer, const void *data, u64 size, u64 *gpa)
{
    if (!boot_find(placer, size, 8, gpa))
        return false;
    mem_write_bytes(image->mem, *gpa, data, size);
    return true;
}

static int place_modules(const struct kernel_image *image, struct placer *placer, u64 kernel_end,
                         struct start_info *info, struct error *err)
{
    struct start_info_module list[KERNEL_MAX_MODULES] = {0};
    if (!image->initrd_count)
        return 0;
    for (unsigned i = 0; i < image->initrd_count; i++) {
        const struct kernel_file *file = &image->initrd[i];
        const char *space = strchr(file->name, ' ');
        const char *args = space ? space + 1 : "";
        list[i].size = file->size;
        if (!placer_find_high(placer, file->size, PAGE_SIZE, MAX(kernel_end, MIB(1)), RAM_HIGH_START,
                              &list[i].addr))
            return boot_no_room(image, "an initrd", file->size, err);
        mem_write_bytes(image->mem, list[i].addr, file->data, file->size);
        if (*args && !put(image, placer, args, strlen(args) + 1, &list[i].cmdline))
            return boot_no_room(image, "an initrd's arguments", strlen(args) + 1, err);
    }
    info->modules = image->initrd_count;
    if (!put(image, placer, list, info->modules * sizeof list[0], &info->module_list))
        return boot_no_room(image, "the list of initrds", sizeof list, err);
    return 0;
}

static int place_start_info(const struct kernel_image *image, struct placer *placer, struct start_info *info,
                            u64 *gpa, struct error *err)
{
    struct start_info_memory memory[E820_MAX] = {0};
    struct e820_entry map[E820_MAX];
    info->memmap_entries = e820_build(&image->ram, map);
    for (unsigned i = 0; i < info->memmap_entries; i++)
        memory[i] = (struct start_info_memory){map[i].addr, map[i].size, map[i].type, 0};
    info->magic = START_INFO_MAGIC;
    info->version = 1;
    info->rsdp = image->rsdp;
    if (!put(image, placer, image->cmdline, strlen(image->cmdline) + 1, &info->cmdline))
        return boot_no_room(image, "the command line", strlen(image->cmdline) + 1, err);
    if (!put(image, placer, memory, info->memmap_entries * sizeof memory[0], &info->memmap) ||
        !put(image, placer, info, sizeof *info, gpa))
        return boot_no_room(image, "the boot information", sizeof memory + sizeof *info, err);
    return 0;
}

int pvh_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err)
{
    struct elf_file elf;
    struct placer placer;
    struct start_info info = {0};
    u64 end;
    u32 address;
    int rc = elf_open(&elf, &image->kernel, err);
    if (rc < 0)
        return rc;
    if (!find_entry(&elf, &address))
        return error_set(
            err, ENOEXEC,
            "%s: an ELF file with neither a Multiboot header nor a PVH entry note: a Linux vmlinux needs "
            "CONFIG_PVH=y, or use the bzImage",
            image->kernel.name);
    placer_init(&placer, &image->ram);
    if ((rc = elf_load(&elf, image, &placer, &end, err)) < 0)
        return rc;
    if (!e820_is_ram(&image->ram, address, 1))
        return error_set(err, ENOEXEC, "%s: damaged: the PVH entry point %#x is not in RAM: get it again",
                         image->kernel.name, address);
    entry->mode = KERNEL_ENTRY_32;
    if ((rc = place_modules(image, &placer, end, &info, err)) < 0 ||
        (rc = place_start_info(image, &placer, &info, &entry->rbx, err)) < 0)
        return rc;
    if (!boot_write_gdt(image, &placer, entry))
        return boot_no_room(image, "a descriptor table", 64, err);
    entry->protocol = "PVH";
    entry->rip = address;
    return 0;
}
