/* Another backing file for an image, and an image whose contents have gone into its backing file. */
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_impl.h"

#define EXT_END            0x00000000u
#define EXT_BACKING_FORMAT 0xe2792acau
#define EXT_FEATURE_NAMES  0x6803f857u

/* Appends an extension; false if it does not fit in front of `end`. */
static bool extension_add(u8 *h, u64 *at, u64 end, u32 type, const void *bytes, u32 len)
{
    if (*at + 8 + ALIGN_UP((u64)len, 8) > end)
        return false;
    store_be32(h + *at, type);
    store_be32(h + *at + 4, len);
    if (len)
        memcpy(h + *at + 8, bytes, len);
    *at += 8 + ALIGN_UP((u64)len, 8);
    return true;
}

/*
 * A first sector with the new names. Extensions that we do not know are kept; the names of features, which
 * only serve messages, are left out, so that in all but odd cases everything is in this one sector and the
 * change is atomic. *name_at: where the name is to be, in it or behind it.
 */
static bool header_compose(const struct qcow2 *q, const u8 *old, u8 *h, const char *name, const char *format,
                           u64 *name_at)
{
    u64 at = q->header_length, end = MIN(q->cluster_size, SECTOR_SIZE), len = name ? strlen(name) : 0;
    u64 old_name = load_be64(old + 8), from = at, old_end = old_name ? old_name : q->cluster_size;
    bool good = true;
    memcpy(h, old, q->header_length);
    if (format)
        good = extension_add(h, &at, end, EXT_BACKING_FORMAT, format, (u32)strlen(format));
    while (good && from + 8 <= old_end) {
        u32 type = load_be32(old + from), n = load_be32(old + from + 4);
        if (type == EXT_END)
            break;
        if (n > old_end - from - 8)
            return false;
        if (type != EXT_BACKING_FORMAT && type != EXT_FEATURE_NAMES)
            good = extension_add(h, &at, end, type, old + from + 8, n);
        from += 8 + ALIGN_UP((u64)n, 8);
    }
    good = good && extension_add(h, &at, end, EXT_END, NULL, 0);
    if (!good || len > MAX_BACKING_NAME)
        return false;
    *name_at = at;
    if (len <= end - at) {
        memcpy(h + at, name ? name : "", len);
    } else { /* in sectors of its own, and not those of the old name */
        u64 high = ALIGN_DOWN(q->cluster_size - len, SECTOR_SIZE);
        *name_at = old_name + load_be32(old + 16) <= high ? high : SECTOR_SIZE;
        if (high <= SECTOR_SIZE ||
            (*name_at != high && SECTOR_SIZE + len > ALIGN_DOWN(old_name, SECTOR_SIZE)))
            return false;
    }
    store_be64(h + 8, len ? *name_at : 0);
    store_be32(h + 16, (u32)len);
    return true;
}

int qcow2_backing_set(struct block *b, const char *name, const char *format, struct error *err)
{
    struct qcow2 *q = b->impl;
    u64 name_at = 0;
    if (b->ops != &block_qcow2)
        return error_set(err, ENOTSUP, "%s: a %s image has no backing file", b->path, b->ops->name);
    if (b->readonly)
        return error_set(err, EROFS, "%s is open read-only", b->path);
    char *new_name = name ? strdup(name) : NULL, *new_format = name && format ? strdup(format) : NULL;
    u8 *old = calloc(1, q->cluster_size), h[SECTOR_SIZE] = {0};
    int r = old && (!name || new_name) && (!name || !format || new_format)
                ? qcow2_sync(q, err)
                : error_set(err, ENOMEM, "%s: no memory", b->path);
    if (r == 0)
        r = store_read(q->store, 0, old, q->cluster_size, err);
    if (r == 0 && !header_compose(q, old, h, new_name, new_format, &name_at))
        r = error_set(err, ENAMETOOLONG, "%s: the name of the backing file does not fit into the header",
                      b->path);
    if (r == 0 && new_name && name_at >= SECTOR_SIZE)
        r = qcow2_write(q, name_at, new_name, strlen(new_name), err);
    if (r == 0)
        r = qcow2_write_header(q, 0, h, sizeof h, err);
    free(old);
    if (r < 0) {
        free(new_name);
        free(new_format);
        return r;
    }
    free(b->backing_name);
    free(b->backing_format);
    b->backing_name = new_name;
    b->backing_format = new_format;
    return 0;
}

/* The L1 table is emptied durably, then what it named is given back. */
int qcow2_empty(struct block *b, struct error *err)
{
    struct qcow2 *q = b->impl;
    if (b->ops != &block_qcow2 || b->readonly)
        return error_set(err, EROFS, "%s cannot be emptied", b->path);
    u64 bytes = MAX(q->l1.count, 1) * 8, *old = malloc(bytes);
    int r = old ? qcow2_can_write(q, err) : error_set(err, ENOMEM, "%s: no memory", b->path);
    if (r == 0)
        r = qcow2_sync(q, err);
    if (r < 0) {
        free(old);
        return r;
    }
    memcpy(old, q->l1.entries, bytes);
    for (u64 i = 0; i < q->l1.count; i++) {
        if (q->l1.entries[i] & L_OFFSET)
            qcow2_meta_mark(q, q->l1.entries[i] & L_OFFSET, q->cluster_size, false, NULL);
        big_table_set(&q->l1, i, 0);
    }
    table_drop_all(&q->l2);
    r = qcow2_sync(q, err);
    if (r == 0)
        r = qcow2_references_drop(q, old, q->l1.count, err);
    if (r == 0)
        r = qcow2_sync(q, err);
    free(old);
    return r;
}
