/* What the loaders of the single formats share. Only for src/firmware. */
#ifndef RING3_FIRMWARE_LOADER_IMPL_H
#define RING3_FIRMWARE_LOADER_IMPL_H

#include "base/bytes.h"
#include "firmware/loader.h"
#include "firmware/placer.h"

/* --- the formats: `_matches` looks at magic numbers only --------------------------------------------------
 */

bool bzimage_matches(const struct kernel_file *file);
int bzimage_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err);

bool multiboot_matches(const struct kernel_file *file);
int multiboot_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err);

bool elf_matches(const struct kernel_file *file);
int pvh_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err);

/* Fails with a sentence about what `file`, which is none of ours, seems to be. */
int kernel_refuse(const struct kernel_file *file, struct error *err);

/* --- ELF --------------------------------------------------------------------------------------------------
 */

/* A checked ELF file for x86: the program headers lie within the file. */
struct elf_file {
    const struct kernel_file *file;
    bool is64;
    u64 entry; /* as the header has it: a virtual address */
    u64 phoff;
    u16 phnum, phentsize;
};

/* One program header, widened. */
struct elf_segment {
    u32 type;
    u64 offset, vaddr, paddr, filesz, memsz, align;
};

/* Refuses what is not an executable for this machine, and says what it is instead. */
int elf_open(struct elf_file *elf, const struct kernel_file *file, struct error *err);
struct elf_segment elf_segment(const struct elf_file *elf, unsigned i);
/* Copies the loadable segments to their physical addresses (below 4 GiB), clears the rest of each, takes
 * their hull from `placer` and returns its end in `*end`. */
int elf_load(const struct elf_file *elf, const struct kernel_image *image, struct placer *placer, u64 *end,
             struct error *err);

/* --- guest memory -----------------------------------------------------------------------------------------
 */

/* Is [offset, offset + len) inside a file of `size` bytes? */
static inline bool range_is_inside(u64 offset, u64 len, u64 size)
{
    return offset <= size && len <= size - offset;
}

/* Room for boot information: conventional memory if there is any left, else above 1 MiB. */
bool boot_find(struct placer *placer, u64 size, u64 align, u64 *gpa) MUST_CHECK;

/* Clears guest RAM. */
void boot_clear(struct mem_space *mem, u64 gpa, u64 len);

/* The flat descriptor table of the Linux boot protocol: 10h code, 18h data; 64-bit code for KERNEL_ENTRY_64.
 * Fills entry->gdt, gdt_limit, cs and ds. False: no room. */
bool boot_write_gdt(const struct kernel_image *image, struct placer *placer,
                    struct kernel_entry *entry) MUST_CHECK;

/* "no room in guest memory for ..." */
int boot_no_room(const struct kernel_image *image, const char *what, u64 size, struct error *err);

/* Bytes as MiB, rounded up, for messages. */
static inline unsigned long long mib_up(u64 bytes)
{
    return (bytes >> 20) + !!(bytes & MASK(20));
}

#endif
