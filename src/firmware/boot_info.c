/* Boot information in guest memory: what all loaders need. */
#include "firmware/loader_impl.h"

bool boot_find(struct placer *placer, u64 size, u64 align, u64 *gpa)
{
    /* The first page stays free: interrupt vectors and BIOS data. */
    return placer_find_high(placer, size, align, 0x1000, EBDA_START, gpa) ||
           placer_find_high(placer, size, align, MIB(1), RAM_HIGH_START, gpa);
}

void boot_clear(struct mem_space *mem, u64 gpa, u64 len)
{
    void *ram = mem_ram_ptr(mem, gpa, len);
    if (ram) {
        memset(ram, 0, len);
        mem_mark_dirty(mem, gpa, len);
        return;
    }
    static const u8 zeroes[4096];
    while (len) {
        u64 n = MIN(len, sizeof zeroes);
        mem_write_bytes(mem, gpa, zeroes, n);
        gpa += n;
        len -= n;
    }
}

bool boot_write_gdt(const struct kernel_image *image, struct placer *placer, struct kernel_entry *entry)
{
    /* Flat, 4 KiB granular, accessed: the CPU need not write to them. Documentation/arch/x86/boot.rst wants
     * 10h and 18h; the task segment is what PVH describes (base 0, limit 67h). */
    const u64 table[] = {
        0,
        0,
        entry->mode == KERNEL_ENTRY_64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
        0x00cf93000000ffff,
        0x00008b0000000067,
    };
    if (!boot_find(placer, sizeof table, 16, &entry->gdt))
        return false;
    entry->gdt_limit = sizeof table - 1;
    entry->cs = 0x10;
    entry->ds = 0x18;
    mem_write_bytes(image->mem, entry->gdt, table, sizeof table);
    return true;
}

int boot_no_room(const struct kernel_image *image, const char *what, u64 size, struct error *err)
{
    return error_set(err, ENOMEM,
                     "%s: no room for %s (%llu KiB) in %llu MiB of memory: use a larger --memory",
                     image->kernel.name, what, (unsigned long long)((size + 1023) >> 10),
                     (unsigned long long)(ram_layout_size(&image->ram) >> 20));
}
