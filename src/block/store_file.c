/*
 * Files and block devices.
 *
 * Locks are open-file-description locks on single bytes, those of QEMU (block/file-posix.c in its
 * documentation of image locking): byte 100 + p is locked by who uses permission p, byte 200 + p by who does
 * not share it with others. Permissions: 0 read, 1 write, 3 resize. All are read locks; who wants a
 * permission looks whether anybody holds the opposite byte.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "block/store.h"

struct file_store {
    struct store store;
    int fd;
    bool temporary;
    char *path;
};

#define LOCK_USES     100
#define LOCK_UNSHARED 200

enum { PERM_READ, PERM_WRITE, PERM_UNCHANGED, PERM_RESIZE };

static struct file_store *file_of(struct store *s)
{
    return container_of(s, struct file_store, store);
}

static int io_error(struct file_store *f, const char *what, u64 offset, struct error *err)
{
    int code = errno;
    return error_set(err, code, "%s: %s at byte %llu: %s", f->path, what, (unsigned long long)offset,
                     strerror(code));
}

static int file_read(struct store *s, u64 offset, void *buf, size_t len, struct error *err)
{
    struct file_store *f = file_of(s);
    u8 *at = buf;
    while (len) {
        ssize_t n = pread(f->fd, at, MIN(len, GIB(1)), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(f, "reading", offset, err);
        if (n == 0) {
            memset(at, 0, len);
            return 0;
        }
        at += n, offset += (u64)n, len -= (size_t)n;
    }
    return 0;
}

static int file_write(struct store *s, u64 offset, const void *buf, size_t len, struct error *err)
{
    struct file_store *f = file_of(s);
    const u8 *at = buf;
    while (len) {
        ssize_t n = pwrite(f->fd, at, MIN(len, GIB(1)), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ENOSPC;
        if (n <= 0)
            return io_error(f, "writing", offset, err);
        at += n, offset += (u64)n, len -= (size_t)n;
    }
    return 0;
}

/* The buffers of one system call. */
#define MAX_PIECES 64

static int file_readv(struct store *s, u64 offset, struct vector *to, size_t len, struct error *err)
{
    struct file_store *f = file_of(s);
    while (len) {
        struct iovec iov[MAX_PIECES];
        struct vector at = *to;
        size_t n;
        unsigned count = vector_slice(&at, MIN(len, GIB(1)), iov, MAX_PIECES, &n);
        ssize_t got = preadv(f->fd, iov, (int)count, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return io_error(f, "reading", offset, err);
        if (got == 0) {
            vector_zero(to, len);
            return 0;
        }
        vector_skip(to, (size_t)got);
        offset += (u64)got, len -= (size_t)got;
    }
    return 0;
}

static int file_writev(struct store *s, u64 offset, struct vector *from, size_t len, struct error *err)
{
    struct file_store *f = file_of(s);
    while (len) {
        struct iovec iov[MAX_PIECES];
        struct vector at = *from;
        size_t n;
        unsigned count = vector_slice(&at, MIN(len, GIB(1)), iov, MAX_PIECES, &n);
        ssize_t put = pwritev(f->fd, iov, (int)count, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0)
            errno = ENOSPC;
        if (put <= 0)
            return io_error(f, "writing", offset, err);
        vector_skip(from, (size_t)put);
        offset += (u64)put, len -= (size_t)put;
    }
    return 0;
}

static int file_flush(struct store *s, struct error *err)
{
    struct file_store *f = file_of(s);
    if (f->temporary)
        return 0;
    while (fdatasync(f->fd) < 0) {
        if (errno != EINTR)
            return io_error(f, "making writes durable", 0, err);
    }
    return 0;
}

static int file_size(struct store *s, u64 *out, struct error *err)
{
    struct file_store *f = file_of(s);
    off_t end = lseek(f->fd, 0, SEEK_END);
    if (end < 0)
        return io_error(f, "looking for the end", 0, err);
    *out = (u64)end;
    return 0;
}

static int file_truncate(struct store *s, u64 size, struct error *err)
{
    struct file_store *f = file_of(s);
    if (s->fixed_size)
        return error_set(err, ENOTSUP, "%s is a block device: its size is fixed", f->path);
    if (ftruncate(f->fd, (off_t)size) < 0)
        return io_error(f, "changing the size", size, err);
    return 0;
}

static int file_punch(struct store *s, u64 offset, u64 len)
{
    struct file_store *f = file_of(s);
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return fallocate(f->fd, mode, (off_t)offset, (off_t)len) < 0 ? -ENOTSUP : 0;
}

static int file_reserve(struct store *s, u64 offset, u64 len, struct error *err)
{
    struct file_store *f = file_of(s);
    if (s->fixed_size)
        return 0;
    if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) == 0)
        return 0;
    return io_error(f, "reserving space", offset, err);
}

static int file_extent(struct store *s, u64 offset, u64 *len, bool *data)
{
    struct file_store *f = file_of(s);
    off_t at = lseek(f->fd, (off_t)offset, SEEK_DATA);
    if (at < 0 && errno != ENXIO) {
        *data = true;
        *len = ~0ull - offset;
        return 0;
    }
    if (at < 0 || (u64)at > offset) {
        *data = false;
        *len = at < 0 ? ~0ull - offset : (u64)at - offset;
        return 0;
    }
    at = lseek(f->fd, (off_t)offset, SEEK_HOLE);
    *data = true;
    *len = at > (off_t)offset ? (u64)at - offset : 1;
    return 0;
}

static int file_descriptor(struct store *s)
{
    return file_of(s)->fd;
}

static void file_close(struct store *s)
{
    struct file_store *f = file_of(s);
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f);
}

static const struct store_ops file_ops = {
    .read = file_read,
    .write = file_write,
    .readv = file_readv,
    .writev = file_writev,
    .flush = file_flush,
    .size = file_size,
    .truncate = file_truncate,
    .punch = file_punch,
    .reserve = file_reserve,
    .extent = file_extent,
    .descriptor = file_descriptor,
    .close = file_close,
};

/* --- locks --- */

static int byte_lock(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Does anybody else hold the byte? */
static bool byte_is_locked(int fd, off_t byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int file_lock(struct file_store *f, bool write, struct error *err)
{
    static const int uses_to_write[] = {PERM_READ, PERM_WRITE, PERM_RESIZE};
    static const int unshared[] = {PERM_WRITE, PERM_RESIZE};
    size_t uses = write ? ARRAY_LEN(uses_to_write) : 1;
    int r = 0;

    for (size_t i = 0; i < uses && r == 0; i++)
        r = byte_lock(f->fd, LOCK_USES + uses_to_write[i]);
    for (size_t i = 0; i < ARRAY_LEN(unshared) && r == 0; i++)
        r = byte_lock(f->fd, LOCK_UNSHARED + unshared[i]);
    if (r == -EAGAIN || r == -EACCES)
        goto taken;
    if (r < 0)
        return 0; /* a file system without locks: as if there were no other user */
    for (size_t i = 0; i < uses; i++)
        if (byte_is_locked(f->fd, LOCK_UNSHARED + uses_to_write[i]))
            goto taken;
    for (size_t i = 0; i < ARRAY_LEN(unshared); i++)
        if (byte_is_locked(f->fd, LOCK_USES + unshared[i]))
            goto taken;
    return 0;
taken:
    return error_set(err, EBUSY, "%s is in use by another process%s; stop that one first", f->path,
                     write ? "" : " that writes it");
}

/* --- opening --- */

static int file_inspect(struct file_store *f, struct error *err)
{
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return error_set(err, errno, "%s: %s", f->path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return error_set(err, EISDIR, "%s is a directory; name a disk image", f->path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(err, EINVAL, "%s is neither a file nor a block device", f->path);
    f->store.fixed_size = S_ISBLK(st.st_mode);
    f->store.device = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
    f->store.inode = S_ISBLK(st.st_mode) ? ~0ull : st.st_ino;
    return 0;
}

int store_open_file(struct store **out, const char *path, unsigned flags, struct error *err)
{
    bool write = flags & STORE_WRITE;
    struct file_store *f = calloc(1, sizeof *f);
    int r = -ENOMEM;

    if (!f || !(f->path = strdup(path))) {
        free(f);
        return error_set(err, ENOMEM, "no memory to open %s", path);
    }
    f->store = (struct store){.ops = &file_ops, .name = f->path, .readonly = !write};
    f->temporary = flags & STORE_TEMPORARY;
    f->fd = open(path,
                 (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | (flags & STORE_CREATE ? O_CREAT : 0),
                 0644);
    if (f->fd < 0) {
        r = error_set(err, errno, "%s: %s", path, strerror(errno));
        goto fail;
    }
    r = file_inspect(f, err);
    if (r == 0 && !(flags & STORE_UNLOCKED))
        r = file_lock(f, write, err);
    if (r == 0 && (flags & STORE_CREATE) && !f->store.fixed_size)
        r = file_truncate(&f->store, 0, err);
    if (r < 0)
        goto fail;
    *out = &f->store;
    return 0;
fail:
    file_close(&f->store);
    return r;
}

void store_close(struct store *store)
{
    if (store)
        store->ops->close(store);
}

int store_readv(struct store *s, u64 offset, struct vector *to, size_t len, struct error *err)
{
    int r = 0;
    if (s->ops->readv)
        return s->ops->readv(s, offset, to, len, err);
    for (size_t n; len && r == 0; offset += n, len -= n) {
        u8 *buf = vector_next(to, len, &n);
        r = s->ops->read(s, offset, buf, n, err);
    }
    return r;
}

int store_writev(struct store *s, u64 offset, struct vector *from, size_t len, struct error *err)
{
    int r = 0;
    if (s->ops->writev)
        return s->ops->writev(s, offset, from, len, err);
    for (size_t n; len && r == 0; offset += n, len -= n) {
        const u8 *buf = vector_next(from, len, &n);
        r = s->ops->write(s, offset, buf, n, err);
    }
    return r;
}

int store_zero(struct store *store, u64 offset, u64 len, struct error *err)
{
    static const u8 zeroes[65536];
    u64 size;
    int r = store_size(store, &size, err);
    if (r == 0 && offset + len <= size && store->ops->punch && store->ops->punch(store, offset, len) == 0)
        return 0;
    while (r == 0 && len) {
        size_t n = MIN(len, sizeof zeroes);
        r = store_write(store, offset, zeroes, n, err);
        offset += n, len -= n;
    }
    return r;
}
