/* What a file that is no kernel for us seems to be, so that the message can say what to do. */
#include "firmware/loader_impl.h"

struct known_format {
    const char *magic;
    const char *sentence; /* after "FILE: " */
    u32 offset;
    u8 length;
};

#define MAGIC(offset, bytes, sentence)                                                                       \
    {                                                                                                        \
        bytes, sentence, offset, sizeof(bytes) - 1                                                           \
    }

/* The first that matches. */
static const struct known_format formats[] = {
    MAGIC(0, "\x1f\x8b", "compressed with gzip: unpack it first (gunzip), or use the bzImage"),
    MAGIC(0,
          "\xfd"
          "7zXZ",
          "compressed with xz: unpack it first (unxz), or use the bzImage"),
    MAGIC(0, "BZh", "compressed with bzip2: unpack it first (bunzip2), or use the bzImage"),
    MAGIC(0, "\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first (unzstd), or use the bzImage"),
    MAGIC(0, "\x04\x22\x4d\x18", "compressed with lz4: unpack it first (unlz4), or use the bzImage"),
    MAGIC(0, "\x02\x21\x4c\x18", "compressed with lz4: unpack it first (unlz4), or use the bzImage"),
    MAGIC(0, "\x5d\0\0", "compressed with lzma: unpack it first (unlzma), or use the bzImage"),
    MAGIC(0, "070701", "not a kernel: an initramfs (cpio archive): give it with --initrd"),
    MAGIC(0, "070702", "not a kernel: an initramfs (cpio archive): give it with --initrd"),
    MAGIC(0x38, "ARM\x64", "a Linux kernel for arm64, not for x86: use a kernel built for x86"),
    MAGIC(0x24, "\x18\x28\x6f\x01", "a Linux kernel for 32-bit ARM, not for x86: use a kernel built for x86"),
    MAGIC(0x38, "RSC\x05", "a Linux kernel for RISC-V, not for x86: use a kernel built for x86"),
    MAGIC(0, "\x27\x05\x19\x56", "a U-Boot image, not for a PC: use a kernel built for x86 (bzImage)"),
    MAGIC(0x8001, "CD001", "not a kernel: a CD image (ISO 9660): take the kernel out of it"),
    MAGIC(0, "QFI\xfb", "not a kernel: a qcow2 disk image"),
    MAGIC(0, "KDMV", "not a kernel: a VMDK disk image"),
    MAGIC(0, "!<arch>\n", "not a kernel: a package or library archive: unpack it first (dpkg-deb -x)"),
    MAGIC(0, "PK\x03\x04", "not a kernel: a zip archive: unpack it first"),
    MAGIC(0x101, "ustar", "not a kernel: a tar archive: unpack it first"),
    MAGIC(0, "#!", "not a kernel: a script"),
    MAGIC(0, "MZ", "a UEFI or Windows program without a Linux boot header: use a bzImage"),
    MAGIC(0x1fe, "\x55\xaa", "not a kernel: a boot sector or disk image"),
};

static bool has_multiboot2(const struct kernel_file *file)
{
    for (u64 at = 0; at + 16 <= MIN(file->size, 32768u); at += 8) {
        const u8 *p = file->data + at;
        if (load_le32(p) == 0xe85250d6 &&
            (u32)(load_le32(p) + load_le32(p + 4) + load_le32(p + 8) + load_le32(p + 12)) == 0)
            return true;
    }
    return false;
}

int kernel_refuse(const struct kernel_file *file, struct error *err)
{
    if (has_multiboot2(file))
        return error_set(
            err, ENOEXEC,
            "%s: a Multiboot 2 kernel: only version 1 can be loaded; build it with a version 1 header",
            file->name);
    for (unsigned i = 0; i < ARRAY_LEN(formats); i++) {
        const struct known_format *f = &formats[i];
        if (range_is_inside(f->offset, f->length, file->size) &&
            memcmp(file->data + f->offset, f->magic, f->length) == 0)
            return error_set(err, ENOEXEC, "%s: %s", file->name, f->sentence);
    }
    return error_set(
        err, ENOEXEC,
        "%s: not a kernel (%llu bytes, neither a Linux bzImage, nor Multiboot, nor ELF with a PVH entry): "
        "give a bzImage, for example /boot/vmlinuz",
        file->name, (unsigned long long)file->size);
}
