#include "firmware/rom.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const directories[] = {
    "/usr/share/seabios",
    "/usr/share/qemu",
    "/usr/local/share/seabios",
    "/usr/local/share/qemu",
};

const struct rom_name rom_seabios = {"bios-256k.bin", "the PC firmware SeaBIOS", "seabios"};

int rom_find(const struct rom_name *name, char *path, size_t size, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
        int n = snprintf(path, size, "%s/%s", directories[i], name->file);
        if (n > 0 && (size_t)n < size && access(path, R_OK) == 0)
            return 0;
    }
    return error_set(
        err, ENOENT,
        "%s (%s) is not installed: install the package %s, or name an image with --firmware FILE", name->what,
        name->file, name->package);
}

static int read_all(int fd, const char *path, u8 *to, u64 size, struct error *err)
{
    for (u64 done = 0; done < size;) {
        ssize_t n = read(fd, to + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, errno, "the firmware '%s' cannot be read: %s", path, strerror(errno));
        if (n == 0)
            return error_set(err, EIO, "the firmware '%s' became shorter while it was read: try again", path);
        done += (u64)n;
    }
    return 0;
}

static int load_fd(struct ram_block **out, int fd, const char *path, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, errno, "the firmware '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, EINVAL, "the firmware '%s' is %s, not a file: name the file itself", path,
                         S_ISDIR(st.st_mode) ? "a directory" : "a device or pipe");
    u64 size = (u64)st.st_size;
    if (size == 0 || size % KIB(64) || size > ROM_SIZE_MAX)
        return error_set(
            err, EINVAL,
            "the firmware '%s' has %llu bytes; a firmware image has a multiple of 64 KiB, up to 16 MiB: is "
            "it the right file?",
            path, (unsigned long long)size);
    int rc = ram_block_create(out, "firmware", size, err);
    if (rc)
        return rc;
    rc = read_all(fd, path, (*out)->hva, size, err);
    if (rc) {
        ram_block_destroy(*out);
        *out = NULL;
    }
    return rc;
}

int rom_load(struct ram_block **out, const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, errno, "cannot open the firmware '%s': %s: check the path", path,
                         strerror(errno));
    int rc = load_fd(out, fd, path, err);
    close(fd);
    return rc;
}
