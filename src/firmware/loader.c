#include "firmware/loader.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "firmware/bios_stub.h"
#include "firmware/loader_impl.h"
#include "firmware/platform.h"

int kernel_place(const struct kernel_image *image, struct kernel_entry *entry, struct error *err)
{
    memset(entry, 0, sizeof *entry);
    if (bzimage_matches(&image->kernel))
        return bzimage_place(image, entry, err);
    if (multiboot_matches(&image->kernel))
        return multiboot_place(image, entry, err);
    if (elf_matches(&image->kernel))
        return pvh_place(image, entry, err);
    return kernel_refuse(&image->kernel, err);
}

/* --- files ------------------------------------------------------------------------------------------------
 */

static int read_all(int fd, const char *path, u8 *data, u64 size, struct error *err)
{
    u64 done = 0;
    while (done < size) {
        ssize_t n = read(fd, data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, errno, "%s: cannot be read: %s", path, strerror(errno));
        if (n == 0)
            return error_set(err, EIO, "%s: became shorter while it was read: try again", path);
        done += (u64)n;
    }
    return 0;
}

static int read_fd(int fd, const char *path, u8 **data, u64 *size, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, errno, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "%s: %s, not a file: name the file itself", path,
                         S_ISDIR(st.st_mode) ? "a directory" : "a device or pipe");
    if (st.st_size == 0)
        return error_set(err, EINVAL, "%s: the file is empty: get it again", path);
    *size = (u64)st.st_size;
    *data = malloc(*size);
    if (!*data)
        return error_set(err, ENOMEM, "%s: no memory on this host to read %llu MiB", path, mib_up(*size));
    return read_all(fd, path, *data, *size, err);
}

/* Fills `file`; the caller frees file->data, also after a failure. `what`: "kernel", "initrd". */
static int read_file(const char *what, const char *path, struct kernel_file *file, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, errno, "cannot open the %s '%s': %s: check the path", what, path,
                         strerror(errno));
    u8 *data = NULL;
    int rc = read_fd(fd, path, &data, &file->size, err);
    close(fd);
    file->data = data;
    return rc < 0 ? error_prefix(err, "the %s", what) : 0;
}

/* "FILE ARGS": the file is what stands before the first space, unless a file has the whole name. */
static int read_initrd(const char *spec, struct kernel_file *file, struct error *err)
{
    file->name = spec;
    const char *space = strchr(spec, ' ');
    if (!space || access(spec, F_OK) == 0)
        return read_file("initrd", spec, file, err);
    char *path = strndup(spec, (size_t)(space - spec));
    if (!path)
        return error_set(err, ENOMEM, "out of memory while reading the initrd");
    int rc = read_file("initrd", path, file, err);
    free(path);
    return rc;
}

static void free_files(struct kernel_image *image)
{
    free((void *)image->kernel.data);
    for (unsigned i = 0; i < image->initrd_count; i++)
        free((void *)image->initrd[i].data);
}

static int read_files(const struct kernel_request *req, struct kernel_image *image, struct error *err)
{
    image->kernel.name = req->kernel;
    int rc = read_file("kernel", req->kernel, &image->kernel, err);
    for (unsigned i = 0; rc == 0 && i < req->initrd_count; i++) {
        image->initrd_count = i + 1;
        rc = read_initrd(req->initrd[i], &image->initrd[i], err);
    }
    return rc;
}

/* --- the bootstrap processor ------------------------------------------------------------------------------
 */

/*
 * Memory types as a BIOS sets them on every CPU: write-back, but for the PCI hole below 4 GiB (SDM vol.
 * 3 11.11). A kernel that finds MTRRs off leaves the PAT alone.
 */
static void set_memory_types(struct vcpu *v)
{
    const u64 write_back = 6, enabled = BIT(11), uncacheable = 0, valid = BIT(11);
    v->msr.mtrr_def_type = enabled | write_back;
    v->msr.mtrr_base[0] = PC_PCI_MMIO_FIRST | uncacheable;
    v->msr.mtrr_mask[0] = (MASK(PHYS_BITS) & ~MASK(30)) | valid;
}

static void set_registers(struct vcpu *v, const struct kernel_entry *entry)
{
    bool is64 = entry->mode == KERNEL_ENTRY_64;
    const u16 data = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_DB | SEG_G;
    const u16 code = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED | SEG_G | (is64 ? SEG_L : SEG_DB);
    memset(v->gpr, 0, sizeof v->gpr);
    v->gpr[RAX] = entry->rax;
    v->gpr[RBX] = entry->rbx;
    v->gpr[RSI] = entry->rsi;
    v->gpr[RSP] = entry->rsp;
    v->rip = entry->rip;
    v->rflags = FLAG_R1;
    for (unsigned i = 0; i < SREG_COUNT; i++)
        v->seg[i] = (struct segreg){.limit = ~0u, .selector = entry->ds, .attr = data};
    v->seg[CS] = (struct segreg){.limit = ~0u, .selector = entry->cs, .attr = code};
    /* A busy task segment; PVH: base 0, limit 67h. The selector is the table's last entry. */
    v->tr = (struct segreg){.limit = 0x67, .selector = (u16)(entry->gdt_limit - 7), .attr = SEG_P | 0xb};
    v->gdtr = (struct dtable){.base = entry->gdt, .limit = entry->gdt_limit};
    v->idtr = (struct dtable){.limit = entry->bios ? 0x3ff : 0};
    v->cr0 = CR0_PE | CR0_ET;
    v->cr3 = entry->cr3;
    v->cr4 = 0;
    v->efer = 0;
    if (is64) {
        v->cr0 |= CR0_PG;
        v->cr4 = CR4_PAE;
        v->efer = EFER_LME | EFER_LMA;
    }
    cpu_mode_update(v);
}

int kernel_load(const struct kernel_request *req, struct vm *vm, struct error *err)
{
    if (req->initrd_count > KERNEL_MAX_MODULES)
        return error_set(err, EINVAL, "%u initrds are too many: at most %d", req->initrd_count,
                         KERNEL_MAX_MODULES);
    struct kernel_image *image = calloc(1, sizeof *image);
    if (!image)
        return error_set(err, ENOMEM, "out of memory while reading the kernel");
    struct kernel_entry entry;
    image->cmdline = req->cmdline ? req->cmdline : "";
    image->ram = req->ram;
    image->rsdp = req->rsdp;
    image->vga = req->vga;
    image->screen = req->screen;
    image->long_mode = model_has(&vm->model, FEAT_LM);
    image->mem = vm->mem;
    image->log = vm->log;
    int rc = read_files(req, image, err);
    if (rc == 0)
        rc = kernel_place(image, &entry, err);
    if (rc == 0) {
        log_trace(vm->log, TRACE_BOOT, "%s: %s at %#llx", req->kernel, entry.protocol,
                  (unsigned long long)entry.rip);
        if (entry.bios)
            bios_stub_start(vm->mem);
        set_registers(vm->cpu[0], &entry);
        for (unsigned i = 0; i < vm->cpu_count; i++)
            set_memory_types(vm->cpu[i]);
    }
    free_files(image);
    free(image);
    return rc;
}
