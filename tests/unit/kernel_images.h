/* Tiny made-up kernels for the loaders' tests and fuzzers: well-formed, to be damaged by their users. */
#ifndef RING3_TESTS_KERNEL_IMAGES_H
#define RING3_TESTS_KERNEL_IMAGES_H

#include <asm/bootparam.h>
#include <elf.h>

#include "base/bytes.h"

#define IMAGE_MAX 4096

struct image {
    u8 data[IMAGE_MAX];
    size_t size;
};

/* A 64-bit relocatable bzImage, protocol 2.15: one setup sector and 1 KiB of code. */
static inline struct setup_header *image_bzimage(struct image *im)
{
    memset(im, 0, sizeof *im);
    im->size = 1024 + 1024;
    for (unsigned i = 1024; i < im->size; i++)
        im->data[i] = (u8)i;
    struct setup_header *hdr = (void *)(im->data + 0x1f1);
    hdr->setup_sects = 1;
    hdr->syssize = 1024 / 16;
    hdr->boot_flag = 0xaa55;
    hdr->jump = 0x6aeb; /* to 26ch: the header's end */
    hdr->header = 0x53726448;
    hdr->version = 0x20f;
    hdr->loadflags = LOADED_HIGH;
    hdr->initrd_addr_max = 0x7fffffff;
    hdr->kernel_alignment = 0x200000;
    hdr->relocatable_kernel = 1;
    hdr->min_alignment = 21;
    hdr->xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G;
    hdr->cmdline_size = 2047;
    hdr->payload_offset = 0x100;
    hdr->payload_length = 0x100;
    hdr->pref_address = 0x1000000;
    hdr->init_size = 0x400000;
    return hdr;
}

/* An ELF64 file with one loadable segment of 256 bytes (512 in memory) at 1 MiB and a PVH note (entry
 * 100010h). */
static inline Elf64_Ehdr *image_pvh(struct image *im)
{
    memset(im, 0, sizeof *im);
    Elf64_Ehdr *eh = (void *)im->data;
    Elf64_Phdr *ph = (void *)(im->data + 64);
    memcpy(eh->e_ident, ELFMAG, SELFMAG);
    eh->e_ident[EI_CLASS] = ELFCLASS64;
    eh->e_ident[EI_DATA] = ELFDATA2LSB;
    eh->e_ident[EI_VERSION] = EV_CURRENT;
    eh->e_type = ET_EXEC;
    eh->e_machine = EM_X86_64;
    eh->e_version = EV_CURRENT;
    eh->e_entry = 0xffffffff80100000;
    eh->e_phoff = 64;
    eh->e_ehsize = sizeof *eh;
    eh->e_phentsize = sizeof *ph;
    eh->e_phnum = 2;
    ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                         .p_offset = 0x200,
                         .p_vaddr = 0xffffffff80100000,
                         .p_paddr = 0x100000,
                         .p_filesz = 0x100,
                         .p_memsz = 0x200,
                         .p_align = 0x1000};
    ph[1] =
        (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 0x100, .p_filesz = 0x38, .p_memsz = 0x38, .p_align = 4};
    /* A note of another kind first: name "GNU", 8 bytes. */
    static const u8 notes[0x38] = {4, 0, 0,  0, 8, 0, 0,   0,   3,   0, 0,    0, 'G',  'N', 'U',
                                   0, 1, 2,  3, 4, 5, 6,   7,   8,   4, 0,    0, 0,    8,   0,
                                   0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 0x10, 0, 0x10, 0};
    memcpy(im->data + 0x100, notes, sizeof notes);
    for (unsigned i = 0; i < 0x100; i++)
        im->data[0x200 + i] = (u8)~i;
    im->size = 0x300;
    return eh;
}

/* An ELF32 file with a Multiboot header: 256 bytes (512 in memory) at 4 MiB, entry 400020h. */
static inline Elf32_Ehdr *image_multiboot(struct image *im)
{
    memset(im, 0, sizeof *im);
    Elf32_Ehdr *eh = (void *)im->data;
    Elf32_Phdr *ph = (void *)(im->data + 52);
    memcpy(eh->e_ident, ELFMAG, SELFMAG);
    eh->e_ident[EI_CLASS] = ELFCLASS32;
    eh->e_ident[EI_DATA] = ELFDATA2LSB;
    eh->e_ident[EI_VERSION] = EV_CURRENT;
    eh->e_type = ET_EXEC;
    eh->e_machine = EM_386;
    eh->e_version = EV_CURRENT;
    eh->e_entry = 0x400020;
    eh->e_phoff = 52;
    eh->e_ehsize = sizeof *eh;
    eh->e_phentsize = sizeof *ph;
    eh->e_phnum = 1;
    *ph = (Elf32_Phdr){.p_type = PT_LOAD,
                       .p_offset = 0x100,
                       .p_vaddr = 0x400000,
                       .p_paddr = 0x400000,
                       .p_filesz = 0x100,
                       .p_memsz = 0x200,
                       .p_align = 0x1000};
    u32 header[3] = {0x1badb002, 0, -0x1badb002u};
    memcpy(im->data + 0x100, header, sizeof header);
    for (unsigned i = 12; i < 0x100; i++)
        im->data[0x100 + i] = (u8)(i * 3);
    im->size = 0x200;
    return eh;
}

/* A flat file with a Multiboot header at 10h that says where it belongs: 1 MiB. */
static inline u32 *image_multiboot_flat(struct image *im)
{
    memset(im, 0, sizeof *im);
    im->size = 0x100;
    for (unsigned i = 0; i < im->size; i++)
        im->data[i] = (u8)(i + 7);
    u32 *header = (void *)(im->data + 0x10);
    const u32 flags = 1u << 16 | 3;
    header[0] = 0x1badb002;
    header[1] = flags;
    header[2] = -(0x1badb002u + flags);
    header[3] = 0x100010; /* header_addr */
    header[4] = 0x100000; /* load_addr */
    header[5] = 0x1000e0; /* load_end_addr */
    header[6] = 0x101000; /* bss_end_addr */
    header[7] = 0x100040; /* entry_addr */
    return header;
}

#endif
