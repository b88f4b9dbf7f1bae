#include "block/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct block_ops *const block_formats[] = {&block_qcow2, &block_vmdk, &block_vdi, &block_raw, NULL};

const struct block_ops *block_format_find(const char *name, struct error *err)
{
    char known[128] = "";
    for (const struct block_ops *const *f = block_formats; *f; f++) {
        if (!strcmp((*f)->name, name))
            return *f;
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", (*f)->name);
    }
    error_set(err, EINVAL, "unknown image format '%.40s'; this build knows %s", name, known);
    return NULL;
}

static const struct block_ops *format_probe(struct store *store, struct error *err)
{
    u8 head[SECTOR_SIZE];
    if (store_read(store, 0, head, sizeof head, err) < 0)
        return NULL;
    for (const struct block_ops *const *f = block_formats; *f; f++)
        if ((*f)->probe && (*f)->probe(head, sizeof head))
            return *f;
    return &block_raw;
}

static int open_layer(struct block **out, struct store *store, const char *path,
                      const struct block_options *options, struct error *err)
{
    struct block *b = calloc(1, sizeof *b);
    int r;
    if (!b || !(b->path = strdup(path))) {
        free(b);
        store_close(store);
        return error_set(err, ENOMEM, "no memory to open %s", path);
    }
    pthread_mutex_init(&b->lock, NULL);
    b->store = store;
    b->readonly = options->readonly || store->readonly;
    b->probed = !options->format;
    b->threads = options->threads;
    b->ops = options->format ? block_format_find(options->format, err) : format_probe(store, err);
    r = b->ops ? b->ops->open(b, options, err) : -EINVAL;
    if (r < 0) {
        b->readonly = true; /* nothing is written back */
        block_close(b, NULL);
        return r;
    }
    *out = b;
    return 0;
}

int block_close(struct block *block, struct error *err)
{
    int r = 0;
    if (!block)
        return 0;
    if (block->ops)
        r = block->ops->close(block, err);
    block_close(block->backing, NULL);
    store_close(block->store);
    pthread_mutex_destroy(&block->lock);
    free(block->backing_name);
    free(block->backing_format);
    free(block->path);
    free(block);
    return r;
}

/* --- backing files --- */

char *block_backing_path(const char *image, const char *backing)
{
    const char *slash = strrchr(image, '/');
    if (!strncmp(backing, "file:", 5))
        backing += 5;
    size_t dir = slash && backing[0] != '/' ? (size_t)(slash - image) + 1 : 0;
    char *path = malloc(dir + strlen(backing) + 1);
    if (path) {
        memcpy(path, image, dir);
        strcpy(path + dir, backing);
    }
    return path;
}

static bool names_protocol(const char *name)
{
    size_t len = strcspn(name, ":/");
    return name[len] == ':' && strncmp(name, "file:", 5) != 0;
}

static int open_backing(const struct block *top, struct block *above, const struct block_options *options,
                        struct error *err)
{
    struct block_options below = *options;
    struct store *store;
    char *path;
    int r;

    if (names_protocol(above->backing_name))
        return error_set(err, ENOTSUP,
                         "%s: its backing file '%.200s' is no local file, which is not supported",
                         above->path, above->backing_name);
    path = block_backing_path(above->path, above->backing_name);
    if (!path)
        return error_set(err, ENOMEM, "no memory to open %s", above->backing_name);
    below.readonly = true;
    below.format = above->backing_format;
    r = store_open_file(&store, path, options->unlocked ? STORE_UNLOCKED : 0, err);
    if (r < 0) {
        r = error_prefix(err, "%s: its backing file", above->path);
        goto out;
    }
    for (const struct block *b = top; b; b = b->backing)
        if (b->store->inode == store->inode && b->store->device == store->device) {
            r = error_set(err, ELOOP, "%s: the chain of backing files comes back to %s", top->path, path);
            store_close(store);
            goto out;
        }
    r = open_layer(&above->backing, store, path, &below, err);
out:
    free(path);
    return r;
}

int block_open_store(struct block **out, struct store *store, const char *path,
                     const struct block_options *options, struct error *err)
{
    struct block *top, *b;
    unsigned depth = 0;
    int r = open_layer(&top, store, path, options, err);
    if (r < 0)
        return r;
    for (b = top; b->backing_name && !options->no_backing; b = b->backing) {
        r = ++depth > BLOCK_MAX_DEPTH
                ? error_set(err, ELOOP, "%s: more than %u backing files", path, BLOCK_MAX_DEPTH)
                : open_backing(top, b, options, err);
        if (r < 0) {
            block_close(top, NULL);
            return r;
        }
    }
    *out = top;
    return 0;
}

int block_open(struct block **out, const char *path, const struct block_options *options, struct error *err)
{
    struct store *store;
    unsigned flags = (options->readonly ? 0 : STORE_WRITE) | (options->unlocked ? STORE_UNLOCKED : 0);
    int r = store_open_file(&store, path, flags, err);
    return r < 0 ? r : block_open_store(out, store, path, options, err);
}

/* --- requests --- */

static int check_range(const struct block *b, u64 offset, u64 len, struct error *err)
{
    if (offset <= b->size && len <= b->size - offset)
        return 0;
    return error_set(err, EINVAL, "%s: bytes %llu + %llu are past the end of the disk (%llu bytes)", b->path,
                     (unsigned long long)offset, (unsigned long long)len, (unsigned long long)b->size);
}

static int check_write(const struct block *b, u64 offset, u64 len, struct error *err)
{
    if (b->readonly)
        return error_set(err, EROFS, "%s is open read-only", b->path);
    return check_range(b, offset, len, err);
}

static int check_buffers(const struct block *b, const struct iovec *iov, unsigned count, size_t len,
                         struct error *err)
{
    size_t room = 0;
    for (unsigned i = 0; i < count && room < len; i++)
        room += MIN(iov[i].iov_len, len - room);
    return room == len ? 0 : error_set(err, EINVAL, "%s: the buffers are shorter than the request", b->path);
}

int block_readv(struct block *b, u64 offset, const struct iovec *iov, unsigned iov_count, size_t len,
                struct error *err)
{
    struct vector to = {iov, iov_count, 0};
    int r = check_range(b, offset, len, err);
    if (r == 0)
        r = check_buffers(b, iov, iov_count, len, err);
    return r < 0 || !len ? r : b->ops->read(b, offset, &to, len, err);
}

int block_writev(struct block *b, u64 offset, const struct iovec *iov, unsigned iov_count, size_t len,
                 struct error *err)
{
    struct vector from = {iov, iov_count, 0};
    int r = check_write(b, offset, len, err);
    if (r == 0)
        r = check_buffers(b, iov, iov_count, len, err);
    return r < 0 || !len ? r : b->ops->write(b, offset, &from, len, err);
}

int block_read(struct block *b, u64 offset, void *buf, size_t len, struct error *err)
{
    struct iovec iov = {buf, len};
    return block_readv(b, offset, &iov, 1, len, err);
}

int block_write(struct block *b, u64 offset, const void *buf, size_t len, struct error *err)
{
    struct iovec iov = {(void *)buf, len};
    return block_writev(b, offset, &iov, 1, len, err);
}

bool block_direct_begin(struct block *b, enum block_request_kind kind, u64 offset, u64 len,
                        const struct iovec *iov, unsigned iov_count, struct block_direct *direct)
{
    if (!b->ops->direct_begin || (kind != BLOCK_READ && kind != BLOCK_WRITE) || !len)
        return false;
    if (kind == BLOCK_READ ? check_range(b, offset, len, NULL) < 0 : check_write(b, offset, len, NULL) < 0)
        return false;
    if (check_buffers(b, iov, iov_count, len, NULL) < 0)
        return false;
    *direct = (struct block_direct){.block = b};
    return b->ops->direct_begin(b, kind, offset, len, direct);
}

void block_direct_end(struct block_direct *direct, enum block_request_kind kind)
{
    if (direct->block->ops->direct_end)
        direct->block->ops->direct_end(direct, kind);
}

int block_write_zeroes(struct block *b, u64 offset, u64 len, struct error *err)
{
    int r = check_write(b, offset, len, err);
    return r < 0 || !len ? r : b->ops->write_zeroes(b, offset, len, err);
}

int block_discard(struct block *b, u64 offset, u64 len, struct error *err)
{
    int r = check_write(b, offset, len, err);
    return r < 0 || !len ? r : b->ops->discard(b, offset, len, err);
}

int block_read_below(struct block *b, u64 offset, struct vector *to, u64 len, struct error *err)
{
    struct block *backing = b->backing;
    u64 n = 0;
    if (backing && offset < backing->size) {
        n = MIN(len, backing->size - offset);
        int r = backing->ops->read(backing, offset, to, n, err);
        if (r < 0)
            return r;
    } else if (!backing && b->backing_name) {
        return error_set(err, ENOENT, "%s: its backing file '%.200s' is not open", b->path, b->backing_name);
    }
    vector_zero(to, len - n);
    return 0;
}

int block_refuse_writing(const struct block *b, struct error *err)
{
    return error_set(err, EROFS,
                     "%s is a %s image, which is only read: open it read-only or with snapshot=on, or make a "
                     "qcow2 image of it by 'ring3 image convert'",
                     b->path, b->ops->name);
}

int block_flush(struct block *b, struct error *err)
{
    return b->readonly ? 0 : b->ops->flush(b, err);
}

int block_resize(struct block *b, u64 size, struct error *err)
{
    int r = check_write(b, 0, 0, err);
    return r < 0 ? r : b->ops->resize(b, size, err);
}

int block_map(struct block *b, u64 offset, u64 len, struct block_extent *out, struct error *err)
{
    int r = check_range(b, offset, len, err);
    if (r == 0 && !len)
        r = error_set(err, EINVAL, "%s: an empty range has no extents", b->path);
    *out = (struct block_extent){.length = len};
    return r < 0 ? r : b->ops->map(b, offset, len, out, err);
}

int block_map_chain(struct block *b, u64 offset, u64 len, struct block_extent *out, struct error *err)
{
    for (unsigned depth = 0;; depth++, b = b->backing) {
        int r = block_map(b, offset, len, out, err);
        if (r < 0)
            return r;
        out->depth = depth;
        len = out->length;
        if (out->status != BLOCK_UNALLOCATED)
            return 0;
        if (!b->backing || offset >= b->backing->size) {
            out->status = BLOCK_ZERO;
            return 0;
        }
        len = MIN(len, b->backing->size - offset);
    }
}
