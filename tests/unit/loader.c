/* The kernel loaders: what well-formed kernels get, and what users are told about the others. */
#include "device_fixture.h"
#include "firmware/loader.h"
#include "firmware/placer.h"
#include "kernel_images.h"

#define NAME "kernel"

struct rig {
    struct fixture f;
    struct ram_block *ram;
    struct mem_region low, high;
    struct image im;
    struct kernel_image image;
    struct kernel_entry entry;
    struct error err;
};

static void rig_init(struct rig *r, u64 memory)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    CHECK(ram_layout_init(&r->image.ram, memory, NULL) == 0);
    CHECK(ram_block_create(&r->ram, "ram", memory, NULL) == 0);
    r->low =
        (struct mem_region){.name = "low", .size = r->image.ram.low_size, .kind = MEM_RAM, .block = r->ram};
    r->high = (struct mem_region){.name = "high",
                                  .gpa = GIB(4),
                                  .size = r->image.ram.high_size,
                                  .kind = MEM_RAM,
                                  .block = r->ram,
                                  .block_offset = r->image.ram.low_size};
    mem_map(r->f.mem, &r->low);
    if (r->high.size)
        mem_map(r->f.mem, &r->high);
    r->image.cmdline = "";
    r->image.mem = r->f.mem;
    r->image.long_mode = true;
    r->image.rsdp = 0xf0000;
}

static void rig_finish(struct rig *r)
{
    mem_space_destroy(r->f.mem);
    ram_block_destroy(r->ram);
    state_set_destroy(r->f.state);
    loop_destroy(r->f.loop);
}

static int place(struct rig *r)
{
    memset(&r->err, 0, sizeof r->err);
    /* Exactly as long as it claims, so that ASan sees the first byte beyond. */
    u8 *copy = malloc(r->im.size);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, r->im.data, r->im.size);
    r->image.kernel = (struct kernel_file){NAME, copy, r->im.size};
    int rc = kernel_place(&r->image, &r->entry, &r->err);
    free(copy);
    return rc;
}

static u64 rd(struct rig *r, u64 gpa, unsigned size)
{
    return mem_read(r->f.mem, gpa, size);
}

static void check_string(struct rig *r, u64 gpa, const char *want)
{
    char got[256] = "";
    mem_read_bytes(r->f.mem, gpa, got, strlen(want) + 1);
    CHECK_STR(got, want);
}

static void expect_error(struct rig *r, const char *message, int line)
{
    char want[600];
    int rc = place(r);
    snprintf(want, sizeof want, "%s: %s", NAME, message);
    if (rc >= 0 || strcmp(r->err.message, want) != 0) {
        printf("# line %d: %d, \"%s\"\n#     want \"%s\"\n", line, rc, r->err.message, want);
        tap_case_failures++;
    }
}

#define EXPECT_ERROR(r, message) expect_error(r, message, __LINE__)

/* --- bzImage ----------------------------------------------------------------------------------------------
 */

static void test_bzimage64(void)
{
    struct rig r;
    rig_init(&r, MIB(96));
    image_bzimage(&r.im);
    r.image.cmdline = "console=ttyS0 quiet";
    static const u8 initrd[5] = "abcde";
    static const u8 more[3] = "xyz";
    r.image.initrd[0] = (struct kernel_file){"initrd", initrd, sizeof initrd};
    r.image.initrd[1] = (struct kernel_file){"more", more, sizeof more};
    r.image.initrd_count = 2;
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.mode, KERNEL_ENTRY_64);
    CHECK_EQ(r.entry.rip, 0x1000200);
    CHECK_EQ(rd(&r, 0x1000000, 4), load_le32(r.im.data + 1024));
    CHECK_EQ(rd(&r, 0x10003ff, 1), r.im.data[2047]);
    u64 params = r.entry.rsi;
    CHECK_EQ(params & 0xfff, 0);
    CHECK_EQ(rd(&r, params + 0x202, 4), 0x53726448);
    CHECK_EQ(rd(&r, params + 0x210, 1), 0xff); /* type_of_loader */
    check_string(&r, rd(&r, params + 0x228, 4), "console=ttyS0 quiet");
    u64 rd_at = rd(&r, params + 0x218, 4);
    CHECK_EQ(rd(&r, params + 0x21c, 4), 11);
    CHECK_EQ(rd_at, MIB(96) - KIB(64) - KIB(4)); /* as high as possible */
    check_string(&r, rd_at, "abcde");
    check_string(&r, rd_at + 8, "xyz");
    CHECK_EQ(rd(&r, params + 0x70, 8), 0xf0000); /* acpi_rsdp_addr */
    CHECK_EQ(rd(&r, params + 0x1e8, 1), 6);      /* E820 entries */
    CHECK_EQ(rd(&r, params + 0x2d0 + 8, 8), 0x9fc00);
    CHECK_EQ(rd(&r, params + 0x1ef, 1), 0); /* the sentinel */
    /* Identity-mapped. */
    u64 pdpt = rd(&r, r.entry.cr3, 8) & PAGE_MASK, pd = rd(&r, pdpt + 8 * 3, 8) & PAGE_MASK;
    CHECK_EQ(rd(&r, r.entry.cr3, 8) & 0xfff, 3);
    CHECK_EQ(rd(&r, pd + 8 * 511, 8), 0xffe00083);
    CHECK_EQ(r.entry.cs, 0x10);
    CHECK_EQ(r.entry.ds, 0x18);
    CHECK_EQ(rd(&r, r.entry.gdt + 0x10, 8), 0x00af9b000000ffff);
    rig_finish(&r);
}

static void test_bzimage32(void)
{
    struct rig r;
    rig_init(&r, MIB(96));
    image_bzimage(&r.im)->xloadflags = 0;
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.mode, KERNEL_ENTRY_32);
    CHECK_EQ(r.entry.rip, 0x1000000);
    CHECK_EQ(r.entry.cr3, 0);
    CHECK_EQ(rd(&r, r.entry.gdt + 0x10, 8), 0x00cf9b000000ffff);
    image_bzimage(&r.im); /* a 64-bit kernel on a 32-bit CPU is entered there too, and says so itself */
    r.image.long_mode = false;
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.mode, KERNEL_ENTRY_32);
    /* Protocol 2.02: fixed at 1 MiB, a command line of 255, a 16-bit size. */
    struct setup_header *hdr = image_bzimage(&r.im);
    hdr->version = 0x202;
    hdr->syssize = 0xffff0000 | hdr->syssize;
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.rip, 0x100000);
    rig_finish(&r);
}

/* The preferred address is not free: the kernel goes to the lowest that is aligned. */
static void test_bzimage_relocated(void)
{
    struct rig r;
    rig_init(&r, MIB(16));
    image_bzimage(&r.im);
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.rip, 0x200200);
    rig_finish(&r);
}

static void test_initrd_placement(void)
{
    struct rig r;
    u8 *big = calloc(1, MIB(64));
    CHECK(big != NULL);
    rig_init(&r, GIB(3) + MIB(256));
    r.image.initrd[0] = (struct kernel_file){"initrd", big, MIB(64)};
    r.image.initrd_count = 1;
    image_bzimage(&r.im);
    CHECK(place(&r) == 0);
    CHECK_EQ(rd(&r, r.entry.rsi + 0x218, 4), 0x80000000 - MIB(64)); /* below initrd_addr_max */
    image_bzimage(&r.im)->initrd_addr_max = MIB(50);
    CHECK(place(&r) == 0);
    CHECK_EQ(rd(&r, r.entry.rsi + 0x218, 4), MIB(192)); /* above 4 GiB: ext_ramdisk_image has the rest */
    CHECK_EQ(rd(&r, r.entry.rsi + 0xc0, 4), 1);
    struct setup_header *hdr = image_bzimage(&r.im);
    hdr->initrd_addr_max = MIB(50);
    hdr->xloadflags = XLF_KERNEL_64;
    CHECK(place(&r) < 0);
    CHECK_STR(
        r.err.message,
        "initrd: the initrd (64 MiB) does not fit beside the kernel, which needs the first 20 MiB (3328 "
        "MiB of memory): use --memory 85M or more");
    free(big);
    rig_finish(&r);
}

static void test_bzimage_bad(void)
{
    struct rig r;
    struct setup_header *hdr;
    rig_init(&r, MIB(64));
    hdr = image_bzimage(&r.im);
    hdr->version = 0x201;
    EXPECT_ERROR(&r, "a kernel with boot protocol 2.01 is too old (2.02 is needed): use Linux 2.4 or later");
    hdr = image_bzimage(&r.im);
    hdr->loadflags = 0;
    EXPECT_ERROR(&r, "a zImage, which is loaded below 1 MiB: build the kernel as a bzImage");
    hdr = image_bzimage(&r.im);
    r.im.size = 2000;
    EXPECT_ERROR(&r, "truncated: the kernel's header promises 2048 bytes, the file has 2000: get it again");
    r.im.size = 1024;
    EXPECT_ERROR(&r, "truncated: the kernel's header promises 2048 bytes, the file has 1024: get it again");
    r.im.size = 0x206;
    EXPECT_ERROR(&r, "a kernel with boot protocol 0.00 is too old (2.02 is needed): use Linux 2.4 or later");
    hdr = image_bzimage(&r.im);
    hdr->setup_sects = 255;
    EXPECT_ERROR(&r, "truncated: the kernel's header promises 132096 bytes, the file has 2048: get it again");
    hdr = image_bzimage(&r.im);
    hdr->syssize = 0xffffffff;
    EXPECT_ERROR(
        &r, "truncated: the kernel's header promises 68719477744 bytes, the file has 2048: get it again");
    hdr = image_bzimage(&r.im);
    hdr->payload_length = 0xffffffff;
    EXPECT_ERROR(&r,
                 "truncated: the kernel's header promises 4294968575 bytes, the file has 2048: get it again");
    hdr = image_bzimage(&r.im);
    hdr->kernel_alignment = 0x300000;
    EXPECT_ERROR(&r, "damaged: the kernel's alignment 0x300000 is no power of two: get it again");
    hdr = image_bzimage(&r.im);
    hdr->pref_address = ~0ull;
    EXPECT_ERROR(&r, "damaged: the kernel wants to be at address 0xffffffffffffffff: get it again");
    hdr = image_bzimage(&r.im);
    hdr->init_size = MIB(80);
    EXPECT_ERROR(&r, "64 MiB of memory are too little, this kernel needs 80 MiB above the first 2 MiB to "
                     "unpack: use --memory 83M or more");
    hdr->relocatable_kernel = 0;
    EXPECT_ERROR(&r, "64 MiB of memory are too little, this kernel needs 80 MiB above the first 16 MiB to "
                     "unpack: use --memory 97M or more");
    hdr = image_bzimage(&r.im);
    hdr->cmdline_size = 10;
    r.image.cmdline = "root=/dev/sda1";
    EXPECT_ERROR(
        &r, "a command line of 14 characters is too long for this kernel, which takes 10: shorten --append");
    rig_finish(&r);
}

/* --- PVH --------------------------------------------------------------------------------------------------
 */

static void test_pvh(void)
{
    struct rig r;
    rig_init(&r, MIB(64));
    image_pvh(&r.im);
    mem_write(r.f.mem, 0x1001ff, 1, 0xcc); /* to be cleared */
    r.image.cmdline = "hello";
    r.image.initrd[0] = (struct kernel_file){"mod arg=1", (const u8 *)"MODULE", 6};
    r.image.initrd_count = 1;
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.mode, KERNEL_ENTRY_32);
    CHECK_EQ(r.entry.rip, 0x100010);
    CHECK(!r.entry.bios);
    CHECK_EQ(rd(&r, 0x100001, 1), 0xfe);
    CHECK_EQ(rd(&r, 0x1001ff, 1), 0);
    u64 info = r.entry.rbx;
    CHECK_EQ(rd(&r, info, 4), 0x336ec578);
    CHECK_EQ(rd(&r, info + 4, 4), 1);
    CHECK_EQ(rd(&r, info + 12, 4), 1);
    u64 mod = rd(&r, info + 16, 8);
    check_string(&r, rd(&r, mod, 8), "MODULE");
    CHECK_EQ(rd(&r, mod + 8, 8), 6);
    check_string(&r, rd(&r, mod + 16, 8), "arg=1");
    check_string(&r, rd(&r, info + 24, 8), "hello");
    CHECK_EQ(rd(&r, info + 32, 8), 0xf0000);
    u64 map = rd(&r, info + 40, 8);
    CHECK_EQ(rd(&r, info + 48, 4), 6);
    CHECK_EQ(rd(&r, map + 8, 8), 0x9fc00);
    CHECK_EQ(rd(&r, map + 16, 4), 1);
    rig_finish(&r);
}

static void test_elf_bad(void)
{
    struct rig r;
    Elf64_Ehdr *eh;
    Elf64_Phdr *ph = (void *)(r.im.data + 64);
    rig_init(&r, MIB(64));
    eh = image_pvh(&r.im);
    r.im.size = 40;
    EXPECT_ERROR(&r, "truncated: an ELF file of only 40 bytes: get it again");
    r.im.size = 60;
    EXPECT_ERROR(&r, "truncated: an ELF file of only 60 bytes: get it again");
    r.im.size = 100;
    EXPECT_ERROR(&r, "truncated: the ELF program headers lie beyond the file's 100 bytes: get it again");
    r.im.size = 0x2ff;
    EXPECT_ERROR(&r, "truncated: ELF segment 0 ends at byte 768 of a file of 767 bytes: get it again");
    eh = image_pvh(&r.im);
    eh->e_ident[EI_CLASS] = 9;
    EXPECT_ERROR(&r, "damaged: an ELF file of unknown class 9: get it again");
    eh = image_pvh(&r.im);
    eh->e_ident[EI_DATA] = ELFDATA2MSB;
    EXPECT_ERROR(&r, "a big-endian ELF file, not for x86: use a kernel built for x86");
    eh = image_pvh(&r.im);
    eh->e_machine = EM_AARCH64;
    EXPECT_ERROR(&r, "an ELF file for arm64, not for x86: use a kernel built for x86");
    eh->e_machine = 4711;
    EXPECT_ERROR(&r,
                 "an ELF file for another machine (number 4711), not for x86: use a kernel built for x86");
    eh = image_pvh(&r.im);
    eh->e_type = ET_REL;
    eh->e_phnum = 0;
    EXPECT_ERROR(&r, "not a kernel: an ELF object file or kernel module (not linked)");
    eh->e_type = ET_CORE;
    eh->e_phnum = 1;
    EXPECT_ERROR(&r, "not a kernel: an ELF core dump");
    eh->e_type = ET_EXEC;
    eh->e_phnum = 0;
    EXPECT_ERROR(&r, "not a kernel: an ELF file without program headers: use the linked image");
    eh->e_phnum = 0xffff;
    EXPECT_ERROR(&r, "not a kernel: an ELF file with 65535 program headers");
    eh->e_phnum = 2;
    eh->e_phentsize = 1;
    EXPECT_ERROR(&r, "damaged: ELF program headers of 1 bytes instead of 56: get it again");
    eh = image_pvh(&r.im);
    eh->e_phoff = ~0ull - 8;
    EXPECT_ERROR(&r, "truncated: the ELF program headers lie beyond the file's 768 bytes: get it again");
    image_pvh(&r.im);
    ph[1].p_type = PT_INTERP;
    EXPECT_ERROR(&r, "not a kernel: an ELF program for an operating system (it wants an interpreter)");
    eh = image_pvh(&r.im);
    eh->e_type = ET_DYN;
    eh->e_entry = 0;
    ph[1].p_type = PT_DYNAMIC;
    EXPECT_ERROR(&r, "not a kernel: an ELF shared library");
    image_pvh(&r.im);
    ph[1].p_type = PT_NULL;
    EXPECT_ERROR(&r, "an ELF file with neither a Multiboot header nor a PVH entry note: a Linux vmlinux "
                     "needs CONFIG_PVH=y, "
                     "or use the bzImage");
    image_pvh(&r.im);
    ph[1].p_offset = ~0ull - 4;
    CHECK(place(&r) < 0);
    image_pvh(&r.im);
    store_le32(r.im.data + 0x100, 0xfffffff0); /* a note's name size */
    CHECK(place(&r) < 0);
    image_pvh(&r.im);
    ph[0].p_filesz = 0x201 - 0x100;
    ph[0].p_memsz = 0x100;
    ph[0].p_offset = 0x100;
    EXPECT_ERROR(&r, "damaged: ELF segment 0 is larger in the file than in memory: get it again");
    image_pvh(&r.im);
    ph[0].p_paddr = 0xffffffff80100000;
    EXPECT_ERROR(
        &r,
        "ELF segment 0 wants to be at physical address 0xffffffff80100000, beyond 4 GiB: a kernel must be "
        "linked with physical addresses");
    image_pvh(&r.im);
    ph[0].p_memsz = ~0ull;
    CHECK(place(&r) < 0);
    eh = image_pvh(&r.im);
    ph[0].p_paddr = MIB(64);
    EXPECT_ERROR(
        &r, "ELF segment 0 (0x4000000..0x4000200) does not fit in the RAM of a VM with 64 MiB: use a larger "
            "--memory, or link the kernel elsewhere");
    ph[0].p_paddr = 0x100000;
    ph[0].p_memsz = MIB(40);
    ph[2] = ph[0];
    eh->e_phnum = 3;
    EXPECT_ERROR(&r, "damaged: its ELF segments lie on one another: get it again");
    image_pvh(&r.im);
    ph[0].p_paddr = 0x9ff00; /* runs into the EBDA */
    CHECK(place(&r) < 0);
    image_pvh(&r.im);
    ph[0].p_memsz = ph[0].p_filesz = 0;
    EXPECT_ERROR(&r, "not a kernel: an ELF file with nothing to load");
    image_pvh(&r.im);
    store_le32(r.im.data + 0x128, 0xf0000000);
    EXPECT_ERROR(&r, "damaged: the PVH entry point 0xf0000000 is not in RAM: get it again");
    rig_finish(&r);
}

/* --- Multiboot --------------------------------------------------------------------------------------------
 */

static void test_multiboot(void)
{
    struct rig r;
    rig_init(&r, MIB(64));
    image_multiboot(&r.im);
    r.image.cmdline = "one two";
    r.image.initrd[0] = (struct kernel_file){"env A=1", (const u8 *)"FIRST", 5};
    r.image.initrd[1] = (struct kernel_file){"two", (const u8 *)"SECOND", 6};
    r.image.initrd_count = 2;
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.mode, KERNEL_ENTRY_32);
    CHECK_EQ(r.entry.rip, 0x400020);
    CHECK_EQ(r.entry.rax, 0x2badb002);
    /* A BIOS's interrupt vectors: the tick (push ds), and a bare IRET. */
    CHECK(r.entry.bios);
    CHECK_EQ(rd(&r, 0x08 * 4, 4), 0xf000e010);
    CHECK_EQ(rd(&r, 0xfe010, 1), 0x1e);
    CHECK_EQ(rd(&r, 0x15 * 4, 4), 0xf000e000);
    CHECK_EQ(rd(&r, 0xfe000, 1), 0xcf);
    CHECK_EQ(rd(&r, 0x400000, 4), 0x1badb002);
    u64 info = r.entry.rbx;
    CHECK_EQ(rd(&r, info, 4), 0x24d);
    CHECK_EQ(rd(&r, info + 4, 4), 639);
    CHECK_EQ(rd(&r, info + 8, 4), 64 * 1024 - 64 - 1024);
    check_string(&r, rd(&r, info + 16, 4), NAME " one two");
    CHECK_EQ(rd(&r, info + 20, 4), 2);
    u64 mods = rd(&r, info + 24, 4);
    CHECK_EQ(rd(&r, mods, 4), 0x401000); /* right behind the kernel, on a page */
    CHECK_EQ(rd(&r, mods + 4, 4), 0x401005);
    check_string(&r, rd(&r, mods + 8, 4), "env A=1");
    CHECK_EQ(rd(&r, mods + 16, 4), 0x402000);
    check_string(&r, 0x402000, "SECOND");
    CHECK_EQ(rd(&r, info + 44, 4), 6 * 24);
    u64 map = rd(&r, info + 48, 4);
    CHECK_EQ(rd(&r, map, 4), 20);
    CHECK_EQ(rd(&r, map + 12, 8), 0x9fc00);
    CHECK_EQ(rd(&r, map + 20, 4), 1);
    check_string(&r, rd(&r, info + 64, 4), "ring3");
    r.image.cmdline = "";
    CHECK(place(&r) == 0);
    check_string(&r, rd(&r, r.entry.rbx + 16, 4), NAME);
    rig_finish(&r);
}

/* A kernel in low memory, where boot information would like to be. */
static void test_multiboot_low(void)
{
    struct rig r;
    rig_init(&r, MIB(64));
    Elf32_Ehdr *eh = image_multiboot(&r.im);
    Elf32_Phdr *ph = (void *)(r.im.data + 52);
    eh->e_entry = 0x4020;
    ph->p_paddr = 0x4000;
    ph->p_memsz = 0x9fc00 - 0x4000;
    CHECK(place(&r) == 0);
    CHECK_EQ(rd(&r, 0x4000, 4), 0x1badb002);
    CHECK(r.entry.rbx < 0x4000 || r.entry.rbx >= MIB(1));
    CHECK(r.entry.gdt < 0x4000 || r.entry.gdt >= MIB(1));
    rig_finish(&r);
}

static void test_multiboot_flat(void)
{
    struct rig r;
    u32 *h;
    rig_init(&r, MIB(64));
    image_multiboot_flat(&r.im);
    mem_write(r.f.mem, 0x1000e0, 8, ~0ull); /* bss */
    CHECK(place(&r) == 0);
    CHECK_EQ(r.entry.rip, 0x100040);
    CHECK_EQ(rd(&r, 0x100010, 4), 0x1badb002);
    CHECK_EQ(rd(&r, 0x1000df, 1), r.im.data[0xdf]);
    CHECK_EQ(rd(&r, 0x1000e0, 8), 0);
    h = image_multiboot_flat(&r.im);
    h[5] = h[6] = 0; /* to the file's end, no bss */
    CHECK(place(&r) == 0);
    CHECK_EQ(rd(&r, 0x1000ff, 1), r.im.data[0xff]);
    h = image_multiboot_flat(&r.im);
    h[4] = 0xfffff;
    EXPECT_ERROR(&r, "damaged: the Multiboot header's load address 0xfffff does not match its own address "
                     "0x100010: get it again");
    h = image_multiboot_flat(&r.im);
    h[4] = 0x200000;
    EXPECT_ERROR(&r, "damaged: the Multiboot header's load address 0x200000 does not match its own address "
                     "0x100010: get it again");
    h = image_multiboot_flat(&r.im);
    h[5] = 0x100101;
    EXPECT_ERROR(&r, "truncated: the Multiboot header wants to load up to 0x100101, the file ends at "
                     "0x100100: get it again");
    h = image_multiboot_flat(&r.im);
    h[6] = 0xffffffff;
    EXPECT_ERROR(&r, "the kernel (0x100000..0xffffffff) does not fit in the RAM of a VM with 64 MiB: use a "
                     "larger --memory, "
                     "or link the kernel elsewhere");
    h = image_multiboot_flat(&r.im);
    h[7] = 0xfee00000;
    EXPECT_ERROR(&r, "damaged: the entry point 0xfee00000 is not in RAM: get it again");
    h = image_multiboot_flat(&r.im);
    r.im.size = 0x20;
    EXPECT_ERROR(&r, "truncated: the file ends in its Multiboot header: get it again");
    rig_finish(&r);
}

static void set_flags(u32 *h, u32 flags)
{
    h[1] = flags;
    h[2] = -(h[0] + flags);
}

static void test_multiboot_bad(void)
{
    struct rig r;
    rig_init(&r, MIB(64));
    set_flags(image_multiboot_flat(&r.im), 0);
    EXPECT_ERROR(&r, "a Multiboot kernel that is no ELF file and does not say where it belongs: set bit 16 "
                     "of its header's "
                     "flags, or make it an ELF file");
    set_flags(image_multiboot_flat(&r.im), 1 << 16 | 4);
    EXPECT_ERROR(
        &r, "this Multiboot kernel demands a video mode, which there is not: build it for a serial console");
    set_flags(image_multiboot_flat(&r.im), 1 << 16 | 0x80);
    EXPECT_ERROR(&r, "this Multiboot kernel demands features that nobody knows (flags 0x10080)");
    image_multiboot(&r.im)->e_machine = EM_ARM;
    EXPECT_ERROR(&r, "an ELF file for 32-bit ARM, not for x86: use a kernel built for x86");
    image_multiboot_flat(&r.im)[2]++; /* a wrong checksum: no header */
    CHECK(place(&r) < 0);
    CHECK(strstr(r.err.message, "not a kernel") != NULL);
    rig_finish(&r);
}

/* --- what is no kernel ------------------------------------------------------------------------------------
 */

static void test_foreign(void)
{
    static const struct {
        unsigned offset;
        const char *magic;
        unsigned len;
        const char *message;
    } cases[] = {
        {0, "\x1f\x8b\x08", 3, "compressed with gzip: unpack it first (gunzip), or use the bzImage"},
        {0, "\x28\xb5\x2f\xfd", 4, "compressed with zstd: unpack it first (unzstd), or use the bzImage"},
        {0, "070701", 6, "not a kernel: an initramfs (cpio archive): give it with --initrd"},
        {0x38, "ARM\x64", 4, "a Linux kernel for arm64, not for x86: use a kernel built for x86"},
        {0x38, "RSC\x05", 4, "a Linux kernel for RISC-V, not for x86: use a kernel built for x86"},
        {0, "MZ", 2, "a UEFI or Windows program without a Linux boot header: use a bzImage"},
        {0, "#!/bin/sh\n", 10, "not a kernel: a script"},
        {0, "!<arch>\n", 8, "not a kernel: a package or library archive: unpack it first (dpkg-deb -x)"},
        {0, "QFI\xfb", 4, "not a kernel: a qcow2 disk image"},
        {0x1fe, "\x55\xaa", 2, "not a kernel: a boot sector or disk image"},
        {0, "hello", 5,
         "not a kernel (1024 bytes, neither a Linux bzImage, nor Multiboot, nor ELF with a PVH entry): give "
         "a "
         "bzImage, for example /boot/vmlinuz"},
        {8, "\xd6\x50\x52\xe8\0\0\0\0\x10\0\0\0\x1a\xaf\xad\x17", 16,
         "a Multiboot 2 kernel: only version 1 can be loaded; build it with a version 1 header"},
    };
    struct rig r;
    rig_init(&r, MIB(64));
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        memset(&r.im, 0, sizeof r.im);
        r.im.size = 1024;
        memcpy(r.im.data + cases[i].offset, cases[i].magic, cases[i].len);
        expect_error(&r, cases[i].message, (int)i);
    }
    r.im.size = 1;
    CHECK(place(&r) < 0);
    rig_finish(&r);
}

/* --- the placer -------------------------------------------------------------------------------------------
 */

static void test_placer(void)
{
    struct ram_layout ram;
    struct placer p;
    u64 at;
    CHECK(ram_layout_init(&ram, GIB(4), NULL) == 0);
    placer_init(&p, &ram);
    CHECK(placer_find_high(&p, 0x1000, 0x1000, 0, ~0ull, &at));
    CHECK_EQ(at, GIB(5) - 0x1000);
    CHECK(placer_find_high(&p, 0x1000, 0x1000, 0, GIB(4), &at));
    CHECK_EQ(at, GIB(3) - KIB(64) - 0x1000);
    CHECK(placer_find_high(&p, 0x1000, 0x1000, 0, GIB(4), &at));
    CHECK_EQ(at, GIB(3) - KIB(64) - 0x2000);
    CHECK(placer_find_low(&p, 0x1000, 0x1000, 0x9f000, GIB(4), &at));
    CHECK_EQ(at, MIB(1)); /* not into the EBDA */
    CHECK(placer_find_low(&p, 1, 0x10000, MIB(1), GIB(4), &at));
    CHECK_EQ(at, MIB(1) + 0x10000);
    CHECK(!placer_find_high(&p, GIB(3), 1, 0, ~0ull, &at));
    CHECK(!placer_find_high(&p, ~0ull, 1, 0, ~0ull, &at));
    CHECK(!placer_find_low(&p, ~0ull, 1ull << 63, 0, ~0ull, &at));
    CHECK(!placer_find_low(&p, 0x1000, 0x1000, GIB(5), ~0ull, &at));
    CHECK(!placer_is_free(&p, MIB(1), 1));
    CHECK(placer_is_free(&p, MIB(1) + 0x1000, 0x1000));
}

/* The fuzzers' first inputs: `CORPUS_DUMP=fuzz/corpus build/tests/loader` writes them. */
static void dump(const char *dir, const char *name, const struct image *im)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *out = fopen(path, "wb");
    CHECK(out != NULL);
    if (!out)
        return;
    CHECK(fwrite(im->data, 1, im->size, out) == im->size);
    fclose(out);
}

static void dump_corpora(const char *dir)
{
    struct image im;
    image_bzimage(&im);
    dump(dir, "bzimage/linux64", &im);
    image_bzimage(&im)->xloadflags = 0;
    dump(dir, "bzimage/linux32", &im);
    image_bzimage(&im)->version = 0x202;
    dump(dir, "bzimage/protocol202", &im);
    image_pvh(&im);
    dump(dir, "elf/pvh64", &im);
    image_pvh(&im)->e_type = ET_REL;
    dump(dir, "elf/object", &im);
    image_multiboot(&im);
    dump(dir, "multiboot/elf32", &im);
    image_multiboot_flat(&im);
    dump(dir, "multiboot/flat", &im);
}

int main(void)
{
    if (getenv("CORPUS_DUMP"))
        dump_corpora(getenv("CORPUS_DUMP"));
    TAP_RUN(test_bzimage64);
    TAP_RUN(test_bzimage32);
    TAP_RUN(test_bzimage_relocated);
    TAP_RUN(test_initrd_placement);
    TAP_RUN(test_bzimage_bad);
    TAP_RUN(test_pvh);
    TAP_RUN(test_elf_bad);
    TAP_RUN(test_multiboot);
    TAP_RUN(test_multiboot_low);
    TAP_RUN(test_multiboot_flat);
    TAP_RUN(test_multiboot_bad);
    TAP_RUN(test_foreign);
    TAP_RUN(test_placer);
    return tap_done();
}
