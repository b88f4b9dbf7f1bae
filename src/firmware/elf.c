/* ELF executables (System V ABI, chapters 4 and 5) as kernels: loaded at their physical addresses. */
#include <elf.h>

#include "firmware/loader_impl.h"

/* Program headers beyond this are no kernel's: a file may not make us loop for long. */
#define PHNUM_MAX 1024

bool elf_matches(const struct kernel_file *file)
{
    return file->size >= SELFMAG && memcmp(file->data, ELFMAG, SELFMAG) == 0;
}

static const char *machine_name(u16 machine)
{
    static const struct {
        u16 machine;
        const char *name;
    } names[] = {
        {EM_AARCH64, "arm64"}, {EM_ARM, "32-bit ARM"},
        {EM_RISCV, "RISC-V"},  {EM_PPC64, "64-bit PowerPC"},
        {EM_PPC, "PowerPC"},   {EM_S390, "s390x"},
        {EM_MIPS, "MIPS"},     {EM_SPARCV9, "SPARC64"},
        {EM_IA_64, "Itanium"}, {EM_LOONGARCH, "LoongArch"},
        {EM_ALPHA, "Alpha"},   {EM_BPF, "BPF"},
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].machine == machine)
            return names[i].name;
    }
    return NULL;
}

static int refuse_machine(const char *name, u16 machine, struct error *err)
{
    const char *known = machine_name(machine);
    if (known)
        return error_set(err, ENOEXEC, "%s: an ELF file for %s, not for x86: use a kernel built for x86",
                         name, known);
    return error_set(
        err, ENOEXEC,
        "%s: an ELF file for another machine (number %u), not for x86: use a kernel built for x86", name,
        machine);
}

static int check_ident(const struct kernel_file *file, struct error *err)
{
    const u8 *ident = file->data;
    if (file->size < sizeof(Elf32_Ehdr))
        return error_set(err, ENOEXEC, "%s: truncated: an ELF file of only %llu bytes: get it again",
                         file->name, (unsigned long long)file->size);
    if (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64)
        return error_set(err, ENOEXEC, "%s: damaged: an ELF file of unknown class %u: get it again",
                         file->name, ident[EI_CLASS]);
    if (ident[EI_CLASS] == ELFCLASS64 && file->size < sizeof(Elf64_Ehdr))
        return error_set(err, ENOEXEC, "%s: truncated: an ELF file of only %llu bytes: get it again",
                         file->name, (unsigned long long)file->size);
    if (ident[EI_DATA] != ELFDATA2LSB)
        return error_set(err, ENOEXEC, "%s: a big-endian ELF file, not for x86: use a kernel built for x86",
                         file->name);
    return 0;
}

/* Is there a segment that asks for an interpreter, or a dynamic section? */
static bool has_segment(const struct elf_file *elf, u32 type)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        if (elf_segment(elf, i).type == type)
            return true;
    }
    return false;
}

/* e_type: what is not an executable at fixed addresses. PIE kernels (ET_DYN without interpreter) are
 * accepted. */
static int check_type(const struct elf_file *elf, u16 type, struct error *err)
{
    const char *name = elf->file->name;
    if (type == ET_REL)
        return error_set(err, ENOEXEC, "%s: not a kernel: an ELF object file or kernel module (not linked)",
                         name);
    if (type == ET_CORE)
        return error_set(err, ENOEXEC, "%s: not a kernel: an ELF core dump", name);
    if (type != ET_EXEC && type != ET_DYN)
        return error_set(err, ENOEXEC, "%s: not a kernel: an ELF file of type %u", name, type);
    if (has_segment(elf, PT_INTERP))
        return error_set(err, ENOEXEC,
                         "%s: not a kernel: an ELF program for an operating system (it wants an interpreter)",
                         name);
    if (type == ET_DYN && has_segment(elf, PT_DYNAMIC) && elf->entry == 0)
        return error_set(err, ENOEXEC, "%s: not a kernel: an ELF shared library", name);
    return 0;
}

static int check_program_headers(const struct elf_file *elf, struct error *err)
{
    const struct kernel_file *file = elf->file;
    u16 wanted = elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    if (elf->phnum == 0)
        return error_set(err, ENOEXEC,
                         "%s: not a kernel: an ELF file without program headers: use the linked image",
                         file->name);
    if (elf->phnum > PHNUM_MAX)
        return error_set(err, ENOEXEC, "%s: not a kernel: an ELF file with %u program headers", file->name,
                         elf->phnum);
    if (elf->phentsize != wanted)
        return error_set(err, ENOEXEC,
                         "%s: damaged: ELF program headers of %u bytes instead of %u: get it again",
                         file->name, elf->phentsize, wanted);
    if (!range_is_inside(elf->phoff, (u64)elf->phnum * elf->phentsize, file->size))
        return error_set(
            err, ENOEXEC,
            "%s: truncated: the ELF program headers lie beyond the file's %llu bytes: get it again",
            file->name, (unsigned long long)file->size);
    return 0;
}

int elf_open(struct elf_file *elf, const struct kernel_file *file, struct error *err)
{
    int rc = check_ident(file, err);
    if (rc < 0)
        return rc;
    *elf = (struct elf_file){.file = file, .is64 = file->data[EI_CLASS] == ELFCLASS64};
    u16 machine, type;
    if (elf->is64) {
        Elf64_Ehdr h;
        memcpy(&h, file->data, sizeof h);
        elf->entry = h.e_entry, elf->phoff = h.e_phoff;
        elf->phnum = h.e_phnum, elf->phentsize = h.e_phentsize;
        machine = h.e_machine, type = h.e_type;
    } else {
        Elf32_Ehdr h;
        memcpy(&h, file->data, sizeof h);
        elf->entry = h.e_entry, elf->phoff = h.e_phoff;
        elf->phnum = h.e_phnum, elf->phentsize = h.e_phentsize;
        machine = h.e_machine, type = h.e_type;
    }
    if (machine != EM_386 && machine != EM_X86_64)
        return refuse_machine(file->name, machine, err);
    if (type == ET_REL) /* has no program headers: say the more useful thing */
        return check_type(elf, type, err);
    if ((rc = check_program_headers(elf, err)) < 0)
        return rc;
    return check_type(elf, type, err);
}

struct elf_segment elf_segment(const struct elf_file *elf, unsigned i)
{
    const u8 *at = elf->file->data + elf->phoff + (u64)i * elf->phentsize;
    struct elf_segment seg;
    if (elf->is64) {
        Elf64_Phdr p;
        memcpy(&p, at, sizeof p);
        seg = (struct elf_segment){p.p_type,   p.p_offset, p.p_vaddr, p.p_paddr,
                                   p.p_filesz, p.p_memsz,  p.p_align};
    } else {
        Elf32_Phdr p;
        memcpy(&p, at, sizeof p);
        seg = (struct elf_segment){p.p_type,   p.p_offset, p.p_vaddr, p.p_paddr,
                                   p.p_filesz, p.p_memsz,  p.p_align};
    }
    return seg;
}

static int check_segment(const struct elf_file *elf, const struct kernel_image *image, unsigned i,
                         const struct elf_segment *seg, struct error *err)
{
    const char *name = elf->file->name;
    if (!range_is_inside(seg->offset, seg->filesz, elf->file->size))
        return error_set(
            err, ENOEXEC,
            "%s: truncated: ELF segment %u ends at byte %llu of a file of %llu bytes: get it again", name, i,
            (unsigned long long)seg->offset + seg->filesz, (unsigned long long)elf->file->size);
    if (seg->filesz > seg->memsz)
        return error_set(err, ENOEXEC,
                         "%s: damaged: ELF segment %u is larger in the file than in memory: get it again",
                         name, i);
    if (seg->paddr >= RAM_HIGH_START)
        return error_set(
            err, ENOEXEC,
            "%s: ELF segment %u wants to be at physical address %#llx, beyond 4 GiB: a kernel must be "
            "linked with physical addresses",
            name, i, (unsigned long long)seg->paddr);
    if (!e820_is_ram(&image->ram, seg->paddr, seg->memsz))
        return error_set(
            err, ENOMEM,
            "%s: ELF segment %u (%#llx..%#llx) does not fit in the RAM of a VM with %llu MiB: use a larger "
            "--memory, or link the kernel elsewhere",
            name, i, (unsigned long long)seg->paddr, (unsigned long long)seg->paddr + seg->memsz,
            (unsigned long long)(ram_layout_size(&image->ram) >> 20));
    return 0;
}

int elf_load(const struct elf_file *elf, const struct kernel_image *image, struct placer *placer, u64 *end,
             struct error *err)
{
    u64 first = ~0ull, last = 0, total = 0;
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment seg = elf_segment(elf, i);
        if (seg.type != PT_LOAD || !seg.memsz)
            continue;
        int rc = check_segment(elf, image, i, &seg, err);
        if (rc < 0)
            return rc;
        total += seg.memsz; /* each is within RAM: no overflow by 1024 of them */
        if (total > ram_layout_size(&image->ram))
            return error_set(err, ENOEXEC, "%s: damaged: its ELF segments lie on one another: get it again",
                             elf->file->name);
        mem_write_bytes(image->mem, seg.paddr, elf->file->data + seg.offset, seg.filesz);
        boot_clear(image->mem, seg.paddr + seg.filesz, seg.memsz - seg.filesz);
        first = MIN(first, seg.paddr);
        last = MAX(last, seg.paddr + seg.memsz);
    }
    if (first >= last)
        return error_set(err, ENOEXEC, "%s: not a kernel: an ELF file with nothing to load", elf->file->name);
    if (!placer_take(placer, first, last))
        return boot_no_room(image, "the kernel", last - first, err);
    *end = last;
    return 0;
}
