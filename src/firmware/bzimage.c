/*
 * The Linux/x86 boot protocol, versions 2.02 and up (Documentation/arch/x86/boot.rst): the protected-mode
 * part of a bzImage is placed and entered directly, at its 64-bit or its 32-bit entry point; the real-mode
 * setup code is not run.
 */
#include <asm/bootparam.h>
#include <stdlib.h>

#include "firmware/loader_impl.h"

#define SECTOR        512
#define HDRS_MAGIC    0x53726448u                       /* "HdrS" */
#define HEADER_OFFSET offsetof(struct boot_params, hdr) /* 1F1h, in the file and in the zero page */
#define BOOT_FLAG     0xaa55
#define ENTRY64       0x200 /* of the 64-bit entry point, from the load address */
#define LOAD_DEFAULT  MIB(1)

/* What is known of a bzImage after its header has been checked. */
struct bzimage {
    const struct kernel_image *image;
    struct setup_header hdr;
    u64 code_offset, code_size; /* protected-mode part, in the file */
    u64 load;                   /* where it goes */
    u64 init_size;              /* RAM it needs there before it can read the memory map */
    struct placer placer;
};

/* Where the boot information ended up. */
struct bzimage_info {
    u64 params, cmdline, initrd, initrd_size, page_tables;
};

bool bzimage_matches(const struct kernel_file *file)
{
    return file->size >= 0x206 && load_le32(file->data + 0x202) == HDRS_MAGIC &&
           load_le16(file->data + 0x1fe) == BOOT_FLAG;
}

static const char *name_of(const struct bzimage *bz)
{
    return bz->image->kernel.name;
}

/* Copies as much of the header as the file has: its end is told by the jump at 200h; the rest is 0. */
static void copy_header(struct bzimage *bz)
{
    const struct kernel_file *file = &bz->image->kernel;
    u64 end = 0x202u + file->data[0x201];
    u64 len = MIN(MIN(end, file->size) - HEADER_OFFSET, sizeof bz->hdr);
    memcpy(&bz->hdr, file->data + HEADER_OFFSET, len);
}

static int truncated(const struct bzimage *bz, u64 expected, struct error *err)
{
    return error_set(
        err, EINVAL,
        "%s: truncated: the kernel's header promises %llu bytes, the file has %llu: get it again",
        name_of(bz), (unsigned long long)expected, (unsigned long long)bz->image->kernel.size);
}

static int read_header(struct bzimage *bz, struct error *err)
{
    u64 size = bz->image->kernel.size;
    copy_header(bz);
    if (bz->hdr.version < 0x202)
        return error_set(
            err, EINVAL,
            "%s: a kernel with boot protocol %u.%02u is too old (2.02 is needed): use Linux 2.4 or later",
            name_of(bz), bz->hdr.version >> 8, bz->hdr.version & 0xff);
    if (!(bz->hdr.loadflags & LOADED_HIGH))
        return error_set(err, EINVAL,
                         "%s: a zImage, which is loaded below 1 MiB: build the kernel as a bzImage",
                         name_of(bz));
    bz->code_offset = (bz->hdr.setup_sects ? bz->hdr.setup_sects + 1u : 5u) * SECTOR;
    /* In paragraphs; only 16 bits before 2.04. */
    u64 code_size = (bz->hdr.version >= 0x204 ? bz->hdr.syssize : bz->hdr.syssize & 0xffff) * 16ull;
    if (bz->code_offset >= size)
        return truncated(bz, bz->code_offset + code_size, err);
    bz->code_size = size - bz->code_offset;
    if (code_size > ALIGN_UP(bz->code_size, 16ull))
        return truncated(bz, bz->code_offset + code_size, err);
    if (bz->hdr.version >= 0x208 &&
        !range_is_inside(bz->hdr.payload_offset, bz->hdr.payload_length, bz->code_size))
        return truncated(bz, bz->code_offset + bz->hdr.payload_offset + bz->hdr.payload_length, err);
    return 0;
}

/* `base`: the lowest address that the kernel could be at. */
static int too_small(const struct bzimage *bz, u64 base, struct error *err)
{
    return error_set(
        err, ENOMEM,
        "%s: %llu MiB of memory are too little, this kernel needs %llu MiB above the first %llu MiB to "
        "unpack: use --memory %lluM or more",
        name_of(bz), (unsigned long long)(ram_layout_size(&bz->image->ram) >> 20), mib_up(bz->init_size),
        mib_up(base), mib_up(base + bz->init_size + ACPI_AREA_SIZE));
}

/* Chooses the load address and takes the room that the kernel uses before it knows the memory map. */
static int place_code(struct bzimage *bz, struct error *err)
{
    const struct setup_header *hdr = &bz->hdr;
    u64 preferred = hdr->version >= 0x20a ? hdr->pref_address : LOAD_DEFAULT;
    u64 align = hdr->version >= 0x205 && hdr->relocatable_kernel ? hdr->kernel_alignment : 1;
    bz->init_size = MAX(bz->code_size, hdr->version >= 0x20a ? hdr->init_size : 0);
    if (align == 0 || (align & (align - 1)))
        return error_set(err, EINVAL,
                         "%s: damaged: the kernel's alignment %#llx is no power of two: get it again",
                         name_of(bz), (unsigned long long)align);
    if (preferred < LOAD_DEFAULT || preferred >= RAM_LOW_MAX)
        return error_set(err, EINVAL, "%s: damaged: the kernel wants to be at address %#llx: get it again",
                         name_of(bz), (unsigned long long)preferred);
    bz->load = preferred;
    if (placer_is_free(&bz->placer, preferred, bz->init_size) &&
        placer_take(&bz->placer, preferred, preferred + bz->init_size))
        return 0;
    bool movable = hdr->version >= 0x205 && hdr->relocatable_kernel;
    if (movable && placer_find_low(&bz->placer, bz->init_size, MAX(align, PAGE_SIZE), LOAD_DEFAULT,
                                   RAM_LOW_MAX, &bz->load))
        return 0;
    return too_small(bz, movable ? ALIGN_UP(LOAD_DEFAULT, align) : preferred, err);
}

static int place_cmdline(struct bzimage *bz, struct bzimage_info *info, struct error *err)
{
    const char *cmdline = bz->image->cmdline;
    u64 len = strlen(cmdline);
    u64 max = bz->hdr.version >= 0x206 ? bz->hdr.cmdline_size : 255;
    if (len > max)
        return error_set(err, EINVAL,
                         "%s: a command line of %llu characters is too long for this kernel, which takes "
                         "%llu: shorten --append",
                         name_of(bz), (unsigned long long)len, (unsigned long long)max);
    if (!boot_find(&bz->placer, len + 1, 16, &info->cmdline))
        return boot_no_room(bz->image, "the command line", len + 1, err);
    mem_write_bytes(bz->image->mem, info->cmdline, cmdline, len + 1);
    return 0;
}

/* Initrds are concatenated, each padded to 4 bytes, which is how the kernel's cpio reader wants them. */
static u64 initrd_total(const struct kernel_image *image)
{
    u64 total = 0;
    for (unsigned i = 0; i < image->initrd_count; i++)
        total = ALIGN_UP(total, 4ull) + image->initrd[i].size;
    return total;
}

static int place_initrd(struct bzimage *bz, struct bzimage_info *info, struct error *err)
{
    const struct kernel_image *image = bz->image;
    u64 size = initrd_total(image);
    u64 max = (bz->hdr.version >= 0x203 ? bz->hdr.initrd_addr_max : 0x37ffffffu) + 1ull;
    if (!size)
        return 0;
    bool above4g = bz->hdr.version >= 0x20c && (bz->hdr.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G);
    bool placed =
        placer_find_high(&bz->placer, size, PAGE_SIZE, LOAD_DEFAULT, max, &info->initrd) ||
        (above4g && placer_find_high(&bz->placer, size, PAGE_SIZE, LOAD_DEFAULT, ~0ull, &info->initrd));
    if (!placed)
        return error_set(
            err, ENOMEM,
            "%s: the initrd (%llu MiB) does not fit beside the kernel, which needs the first %llu MiB "
            "(%llu MiB of memory): use --memory %lluM or more",
            image->initrd[0].name, mib_up(size), mib_up(bz->load + bz->init_size),
            (unsigned long long)(ram_layout_size(&image->ram) >> 20),
            mib_up(bz->load + bz->init_size) + mib_up(size) + 1);
    u64 offset = 0;
    for (unsigned i = 0; i < image->initrd_count; i++) {
        u64 start = ALIGN_UP(offset, 4ull);
        boot_clear(image->mem, info->initrd + offset, start - offset);
        mem_write_bytes(image->mem, info->initrd + start, image->initrd[i].data, image->initrd[i].size);
        offset = start + image->initrd[i].size;
    }
    info->initrd_size = size;
    return 0;
}

/* What the setup code finds out with INT 10h: mode 3, in colour. */
static void set_text_screen(struct screen_info *s)
{
    s->orig_video_mode = 3;
    s->orig_video_cols = 80;
    s->orig_video_lines = 25;
    s->orig_video_ega_bx = 3; /* 256 KiB, colour */
    s->orig_video_isVGA = 1;
    s->orig_video_points = 16;
}

/* The same for a VESA mode. */
static void set_linear_screen(struct screen_info *s, const struct kernel_screen *screen)
{
    u8 low = screen->bits == 8 ? 0 : screen->bits <= 16 ? 5 : 8;
    s->orig_video_isVGA = VIDEO_TYPE_VLFB;
    s->lfb_base = screen->base;
    s->lfb_size = (screen->pitch * screen->height + 0xffff) >> 16;
    s->lfb_width = (u16)screen->width;
    s->lfb_height = (u16)screen->height;
    s->lfb_depth = (u16)screen->bits;
    s->lfb_linelength = (u16)screen->pitch;
    s->blue_size = s->red_size = low;
    s->green_size = screen->bits == 16 ? 6 : low;
    s->green_pos = low;
    s->red_pos = s->green_pos + s->green_size;
    s->rsvd_size = screen->bits == 15 ? 1 : screen->bits == 32 ? 8 : 0;
    s->rsvd_pos = s->rsvd_size ? s->red_pos + s->red_size : 0;
    s->pages = 1;
}

/* The "zero page". */
static int place_params(struct bzimage *bz, struct bzimage_info *info, struct error *err)
{
    const struct ram_layout *ram = &bz->image->ram;
    struct e820_entry map[E820_MAX];
    unsigned n = e820_build(ram, map);
    if (!boot_find(&bz->placer, PAGE_SIZE, PAGE_SIZE, &info->params))
        return boot_no_room(bz->image, "the boot parameters", PAGE_SIZE, err);
    struct boot_params *bp = calloc(1, sizeof *bp);
    if (!bp)
        return error_set(err, ENOMEM, "out of memory while loading the kernel");

    bp->hdr = bz->hdr;
    bp->hdr.type_of_loader = 0xff; /* unregistered */
    bp->hdr.vid_mode = 0xffff;     /* "normal" */
    bp->hdr.code32_start = (u32)bz->load;
    bp->hdr.setup_data = 0;
    bp->hdr.cmd_line_ptr = (u32)info->cmdline;
    bp->ext_cmd_line_ptr = (u32)(info->cmdline >> 32);
    bp->hdr.ramdisk_image = (u32)info->initrd;
    bp->ext_ramdisk_image = (u32)(info->initrd >> 32);
    bp->hdr.ramdisk_size = (u32)info->initrd_size;
    bp->ext_ramdisk_size = (u32)(info->initrd_size >> 32);
    bp->acpi_rsdp_addr = bz->image->rsdp;
    /* INT 15h AH = 88h and AX = E801h, for kernels that do not read the map. */
    u64 above_1m = (acpi_area_start(ram) - MIB(1)) >> 10;
    bp->screen_info.ext_mem_k = (u16)MIN(above_1m, 0xfc00u);
    bp->alt_mem_k = (u32)above_1m;
    if (bz->image->screen.width)
        set_linear_screen(&bp->screen_info, &bz->image->screen);
    else if (bz->image->vga)
        set_text_screen(&bp->screen_info);
    for (unsigned i = 0; i < n; i++) {
        bp->e820_table[i].addr = map[i].addr;
        bp->e820_table[i].size = map[i].size;
        bp->e820_table[i].type = map[i].type;
    }
    bp->e820_entries = (u8)n;
    mem_write_bytes(bz->image->mem, info->params, bp, sizeof *bp);
    free(bp);
    return 0;
}

/* Identity-maps the first 4 GiB with 2 MiB pages: one PML4, one PDPT, four page directories. */
static int place_page_tables(struct bzimage *bz, struct bzimage_info *info, struct error *err)
{
    enum { PRESENT_WRITABLE = 3, LARGE = 0x80, ENTRIES = 512 };
    const u64 size = 6 * PAGE_SIZE;
    if (!boot_find(&bz->placer, size, PAGE_SIZE, &info->page_tables))
        return boot_no_room(bz->image, "page tables", size, err);
    u64 *table = calloc(1, size);
    if (!table)
        return error_set(err, ENOMEM, "out of memory while loading the kernel");
    u64 *pdpt = table + ENTRIES, *pd = pdpt + ENTRIES;
    table[0] = (info->page_tables + PAGE_SIZE) | PRESENT_WRITABLE;
    for (unsigned i = 0; i < 4; i++)
        pdpt[i] = (info->page_tables + (2 + i) * PAGE_SIZE) | PRESENT_WRITABLE;
    for (u64 i = 0; i < 4ull * ENTRIES; i++)
        pd[i] = i << 21 | LARGE | PRESENT_WRITABLE;
    mem_write_bytes(bz->image->mem, info->page_tables, table, size);
    free(table);
    return 0;
}

static bool has_entry64(const struct bzimage *bz)
{
    return bz->hdr.version >= 0x20c && (bz->hdr.xloadflags & XLF_KERNEL_64);
}

int bzimage_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err)
{
    struct bzimage bz = {.image = image};
    struct bzimage_info info = {0};
    int rc = read_header(&bz, err);
    if (rc < 0)
        return rc;
    placer_init(&bz.placer, &image->ram);
    if ((rc = place_code(&bz, err)) < 0)
        return rc;
    entry->mode = has_entry64(&bz) && image->long_mode ? KERNEL_ENTRY_64 : KERNEL_ENTRY_32;
    if (entry->mode == KERNEL_ENTRY_64 && bz.code_size <= ENTRY64)
        return truncated(&bz, bz.code_offset + ENTRY64 + 1, err);
    if ((rc = place_cmdline(&bz, &info, err)) < 0 || (rc = place_initrd(&bz, &info, err)) < 0 ||
        (rc = place_params(&bz, &info, err)) < 0)
        return rc;
    if (entry->mode == KERNEL_ENTRY_64 && (rc = place_page_tables(&bz, &info, err)) < 0)
        return rc;
    if (!boot_write_gdt(image, &bz.placer, entry))
        return boot_no_room(image, "a descriptor table", 64, err);
    mem_write_bytes(image->mem, bz.load, image->kernel.data + bz.code_offset, bz.code_size);

    entry->protocol = entry->mode == KERNEL_ENTRY_64 ? "Linux, 64-bit entry" : "Linux, 32-bit entry";
    entry->rip = bz.load + (entry->mode == KERNEL_ENTRY_64 ? ENTRY64 : 0);
    entry->rsi = info.params;
    entry->cr3 = info.page_tables;
    log_trace(image->log, TRACE_BOOT,
              "bzImage, protocol %u.%02u: code at %#llx (%llu KiB, needs %llu KiB), parameters at %#llx, "
              "initrd at %#llx (%llu KiB)",
              bz.hdr.version >> 8, bz.hdr.version & 0xff, (unsigned long long)bz.load,
              (unsigned long long)bz.code_size >> 10, (unsigned long long)bz.init_size >> 10,
              (unsigned long long)info.params, (unsigned long long)info.initrd,
              (unsigned long long)info.initrd_size >> 10);
    return 0;
}
