/* ring3 image rebase, commit and compare. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"
#include "cli/command.h"
#include "cli/image.h"

#define PIECE MIB(1)

/* Reads what is there, and zeroes behind the end; no block: zeroes. */
static int read_padded(struct block *b, u64 at, u8 *buf, size_t len, struct error *err)
{
    size_t inside = b && at < b->size ? MIN(len, b->size - at) : 0;
    memset(buf + inside, 0, len - inside);
    return inside ? block_read(b, at, buf, inside, err) : 0;
}

/* --- rebase --- */

/* Where the image has nothing of its own and the new backing image differs from the old one, the old contents
 * are written into it. The block below `b` is the old one. */
static int rebase_piece(struct block *b, struct block *new, u64 at, size_t len, u8 *buf, struct error *err)
{
    int r = read_padded(b, at, buf, len, err);
    if (r == 0)
        r = read_padded(new, at, buf + PIECE, len, err);
    /* Both sides' sectors, so that little is copied where little differs. */
    for (size_t i = 0, n; i < len && r == 0; i += n) {
        n = MIN(4096, len - i);
        if (memcmp(buf + i, buf + PIECE + i, n) != 0)
            r = block_write(b, at + i, buf + i, n, err);
    }
    return r;
}

static int rebase_contents(struct block *b, struct block *new, const struct image_options *o,
                           struct error *err)
{
    struct progress progress;
    u8 *buf = malloc(2 * PIECE);
    int r = buf ? 0 : error_set(err, ENOMEM, "no memory");
    progress_begin(&progress, o, b->size);
    for (u64 at = 0; at < b->size && r == 0;) {
        struct block_extent extent;
        r = block_map(b, at, MIN(PIECE, b->size - at), &extent, err);
        if (r == 0 && extent.status == BLOCK_UNALLOCATED)
            r = rebase_piece(b, new, at, extent.length, buf, err);
        at += extent.length;
        progress_show(&progress, at);
    }
    free(buf);
    if (r == 0)
        progress_end(&progress);
    return r;
}

static int rebase_open_new(struct block **out, const char *image, const struct image_options *o,
                           struct error *err)
{
    struct block_options options = {.format = o->backing_format, .readonly = true};
    char *path = block_backing_path(image, o->backing);
    int r = path ? block_open(out, path, &options, err) : error_set(err, ENOMEM, "no memory");
    free(path);
    return r;
}

int image_rebase(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options options = {.format = o->format, .no_backing = o->unsafe};
    struct block *b, *new = NULL;
    bool none = !o->backing || !*o->backing;
    if (!none && (!o->backing_format || !block_format_find(o->backing_format, err)))
        return error_set(err, EINVAL, "--backing also needs --backing-format FMT (raw, qcow2, vmdk or vdi)");
    int r = block_open(&b, operands[0], &options, err);
    if (r < 0)
        return r;
    if (b->ops != &block_qcow2)
        r = error_set(err, ENOTSUP, "%s: a %s image has no backing file", b->path, b->ops->name);
    if (r == 0 && !none && !o->unsafe)
        r = rebase_open_new(&new, operands[0], o, err);
    if (r == 0 && !o->unsafe)
        r = rebase_contents(b, new, o, err);
    if (r == 0)
        r = qcow2_backing_set(b, none ? NULL : o->backing, none ? NULL : o->backing_format, err);
    block_close(new, NULL);
    int closed = block_close(b, r < 0 ? NULL : err);
    return r < 0 ? r : closed;
}

/* --- commit --- */

static int commit_contents(struct block *b, struct block *base, const struct image_options *o,
                           struct error *err)
{
    struct progress progress;
    u8 *buf = malloc(PIECE);
    int r = buf ? 0 : error_set(err, ENOMEM, "no memory");
    progress_begin(&progress, o, b->size);
    for (u64 at = 0; at < b->size && r == 0;) {
        struct block_extent extent;
        r = block_map(b, at, MIN(PIECE, b->size - at), &extent, err);
        if (r == 0 && extent.status == BLOCK_ZERO) {
            r = block_write_zeroes(base, at, extent.length, err);
        } else if (r == 0 && extent.status == BLOCK_DATA) {
            r = block_read(b, at, buf, extent.length, err);
            if (r == 0)
                r = block_write(base, at, buf, extent.length, err);
        }
        at += extent.length;
        progress_show(&progress, at);
    }
    free(buf);
    if (r == 0)
        progress_end(&progress);
    return r;
}

int image_commit(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options top = {.format = o->format, .no_backing = true}, below = {0};
    struct block *b, *base = NULL;
    int r = block_open(&b, operands[0], &top, err);
    if (r < 0)
        return r;
    char *path = b->backing_name ? block_backing_path(operands[0], b->backing_name) : NULL;
    below.format = b->backing_format;
    if (!b->backing_name)
        r = error_set(err, EINVAL, "%s has no backing file to be committed to", b->path);
    else
        r = path ? block_open(&base, path, &below, err) : error_set(err, ENOMEM, "no memory");
    if (r == 0 && base->size < b->size)
        r = block_resize(base, b->size, err);
    if (r == 0)
        r = commit_contents(b, base, o, err);
    /* Durable below before it is gone above. */
    if (r == 0)
        r = block_flush(base, err);
    if (r == 0)
        r = qcow2_empty(b, err);
    free(path);
    int closed = block_close(base, r < 0 ? NULL : err);
    r = r < 0 ? r : closed;
    closed = block_close(b, r < 0 ? NULL : err);
    r = r < 0 ? r : closed;
    if (r == 0)
        printf("Image committed.\n");
    return r;
}

/* --- compare --- */

/* 1 where they differ (*where: the first byte), 0 if they are the same. */
static int compare_contents(struct block *a, struct block *b, const struct image_options *o, u64 *where,
                            struct error *err)
{
    struct progress progress;
    u64 size = MAX(a->size, b->size);
    u8 *buf = malloc(2 * PIECE);
    int r = buf ? 0 : error_set(err, ENOMEM, "no memory");
    progress_begin(&progress, o, size);
    for (u64 at = 0; at < size && r == 0;) {
        struct block_extent ea = {.status = BLOCK_ZERO, .length = size - at}, eb = ea;
        if (at < a->size)
            r = block_map_chain(a, at, a->size - at, &ea, err);
        if (r == 0 && at < b->size)
            r = block_map_chain(b, at, b->size - at, &eb, err);
        u64 len = MIN(ea.length, eb.length);
        if (r == 0 && (ea.status != BLOCK_ZERO || eb.status != BLOCK_ZERO)) {
            len = MIN(len, PIECE);
            r = read_padded(a, at, buf, len, err);
            if (r == 0)
                r = read_padded(b, at, buf + PIECE, len, err);
            if (r == 0 && memcmp(buf, buf + PIECE, len) != 0) {
                for (*where = at; buf[*where - at] == buf[PIECE + *where - at]; ++*where)
                    ;
                r = 1;
            }
        }
        at += len;
        progress_show(&progress, at);
    }
    free(buf);
    if (r == 0)
        progress_end(&progress);
    return r;
}

int image_compare(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options first = {.format = o->format, .readonly = true},
                         second = {.format = o->to, .readonly = true};
    struct block *a = NULL, *b = NULL;
    u64 where = 0;
    int r = block_open(&a, operands[0], &first, err);
    if (r == 0)
        r = block_open(&b, operands[1], &second, err);
    if (r == 0 && a->size != b->size)
        printf("Warning: the sizes differ; what is missing counts as zeroes.\n");
    if (r == 0)
        r = compare_contents(a, b, o, &where, err);
    block_close(a, NULL);
    block_close(b, NULL);
    if (r < 0) {
        report_error(err);
        return EXIT_USAGE;
    }
    if (r)
        printf("Content mismatch at offset %" PRIu64 "!\n", where);
    else
        printf("Images are identical.\n");
    return r ? EXIT_FAILED : EXIT_OK;
}
