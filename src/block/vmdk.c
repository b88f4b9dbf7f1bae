/*
 * VMware disks, read only: one sparse file, or a descriptor (text) that names flat and sparse files.
 *
 * A descriptor may come from an enemy, so the files that it names must be in its own directory: nothing else
 * of the host is shown to a guest. (Its parent is a backing file like that of a qcow2 image.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "block/vmdk_impl.h"

#define DESCRIPTOR_HEAD "# Disk DescriptorFile"

static bool vmdk_probe(const u8 *head, size_t len)
{
    return (len >= 4 && !memcmp(head, "KDMV", 4)) ||
           (len >= strlen(DESCRIPTOR_HEAD) &&
            !strncasecmp((const char *)head, DESCRIPTOR_HEAD, strlen(DESCRIPTOR_HEAD)));
}

static int extent_add(struct vmdk *v, const struct vmdk_extent *extent, struct error *err)
{
    if (v->count == VMDK_MAX_EXTENTS)
        return error_set(err, EFBIG, "%s: more than %u extents", v->block->path, VMDK_MAX_EXTENTS);
    struct vmdk_extent *list = realloc(v->extents, (v->count + 1) * sizeof *list);
    if (!list)
        return error_set(err, ENOMEM, "no memory to open %s", v->block->path);
    v->extents = list;
    list[v->count] = *extent;
    list[v->count++].first = v->block->size;
    v->block->size += extent->size;
    return 0;
}

static void extent_finish(struct vmdk_extent *e)
{
    if (e->owned)
        store_close(e->store);
    free(e->directory);
}

/* --- the descriptor --- */

static int extent_file_open(struct vmdk *v, const char *name, bool unlocked, struct store **out,
                            struct error *err)
{
    if (!*name || strchr(name, '/') || !strcmp(name, ".."))
        return error_set(
            err, EACCES,
            "%s names the file '%.200s'; only files in its own directory are read as a part of it",
            v->block->path, name);
    char *path = block_backing_path(v->block->path, name);
    int r = path ? store_open_file(out, path, unlocked ? STORE_UNLOCKED : 0, err)
                 : error_set(err, ENOMEM, "no memory to open %s", v->block->path);
    free(path);
    if (r < 0)
        error_prefix(err, "%s", v->block->path);
    return r;
}

/* ACCESS SECTORS TYPE ["FILE" [OFFSET]] */
static int extent_parse(struct vmdk *v, const char *line, bool unlocked, struct error *err)
{
    char access[16], type[16], name[256] = "";
    unsigned long long sectors, offset = 0;
    u64 descriptor, size;
    struct vmdk_extent e = {.owned = true};
    int n = sscanf(line, "%15s %llu %15s \"%255[^\"]\" %llu", access, &sectors, type, name, &offset), r = 0;
    if (n < 3 || !sectors || sectors > (u64)INT64_MAX / SECTOR_SIZE ||
        sectors * SECTOR_SIZE > (u64)INT64_MAX - v->block->size || offset > (u64)INT64_MAX / SECTOR_SIZE)
        return error_set(err, EINVAL, "%s: its extent '%.100s' is not possible", v->block->path, line);
    if (!strcmp(access, "NOACCESS"))
        return error_set(err, ENOTSUP, "%s has an extent without access", v->block->path);
    e.size = sectors * SECTOR_SIZE;
    if (!strcmp(type, "ZERO")) {
        e.kind = VMDK_ZERO;
    } else if (!strcmp(type, "FLAT") || !strcmp(type, "VMFS")) {
        e.kind = VMDK_FLAT;
        e.offset = offset * SECTOR_SIZE;
    } else if (!strcmp(type, "SPARSE")) {
        e.kind = VMDK_SPARSE;
    } else {
        return error_set(err, ENOTSUP, "%s has an extent of the kind %s, which is not supported",
                         v->block->path, type);
    }
    if (e.kind != VMDK_ZERO)
        r = extent_file_open(v, name, unlocked, &e.store, err);
    if (r == 0 && e.kind == VMDK_FLAT) {
        r = store_size(e.store, &e.file_size, err);
        if (r == 0 && (e.offset > e.file_size || e.size > e.file_size - e.offset))
            r = error_set(err, EIO, "%s: the image is corrupt: %s is shorter than its extent", v->block->path,
                          name);
    }
    if (r == 0 && e.kind == VMDK_SPARSE)
        r = vmdk_sparse_open(v, &e, &descriptor, &size, err);
    if (r == 0)
        r = extent_add(v, &e, err);
    if (r < 0)
        extent_finish(&e);
    return r;
}

static bool is_extent(const char *line)
{
    return !strncmp(line, "RW ", 3) || !strncmp(line, "RDONLY ", 7) || !strncmp(line, "NOACCESS ", 9);
}

/* The value of `key = "value"` or `key=value`; false if the line is another one. */
static bool value_parse(const char *line, const char *key, char *out, size_t room)
{
    size_t len = strlen(key);
    if (strncasecmp(line, key, len) != 0)
        return false;
    line += len;
    line += strspn(line, " \t");
    if (*line++ != '=')
        return false;
    line += strspn(line, " \t");
    if (*line == '"')
        snprintf(out, room, "%.*s", (int)strcspn(line + 1, "\""), line + 1);
    else
        snprintf(out, room, "%.*s", (int)strcspn(line, " \t"), line);
    return true;
}

static int parent_set(struct vmdk *v, const char *cid, const char *hint, struct error *err)
{
    struct block *b = v->block;
    if (!*cid || !strcasecmp(cid, "ffffffff"))
        return 0;
    if (!*hint)
        return error_set(err, EINVAL, "%s is the difference to an image that it does not name", b->path);
    b->backing_name = strdup(hint);
    b->backing_format = strdup("vmdk");
    return b->backing_name && b->backing_format ? 0 : error_set(err, ENOMEM, "no memory to open %s", b->path);
}

/* `extents`: make them; else those are known already. */
static int descriptor_parse(struct vmdk *v, char *text, bool extents, bool unlocked, struct error *err)
{
    char cid[16] = "", hint[1024] = "", *save = NULL;
    int r = 0;
    for (char *line = strtok_r(text, "\r\n", &save); line && r == 0; line = strtok_r(NULL, "\r\n", &save)) {
        line += strspn(line, " \t");
        if (extents && is_extent(line))
            r = extent_parse(v, line, unlocked, err);
        else if (!value_parse(line, "createType", v->create_type, sizeof v->create_type) &&
                 !value_parse(line, "parentCID", cid, sizeof cid))
            value_parse(line, "parentFileNameHint", hint, sizeof hint);
    }
    if (r == 0 && extents && !v->count)
        r = error_set(err, EINVAL, "%s names no extent", v->block->path);
    return r < 0 ? r : parent_set(v, cid, hint, err);
}

/* The text at `offset` of the image file, ended by its first zero byte. */
static int descriptor_read(struct vmdk *v, u64 offset, u64 size, char **out, struct error *err)
{
    *out = calloc(1, size + 1);
    if (!*out)
        return error_set(err, ENOMEM, "no memory to open %s", v->block->path);
    return store_read(v->block->store, offset, *out, size, err);
}

/* --- the driver's calls --- */

static int image_open(struct vmdk *v, bool unlocked, struct error *err)
{
    struct block *b = v->block;
    struct vmdk_extent e = {.kind = VMDK_SPARSE, .store = b->store};
    u64 at = 0, size = 0;
    char *text = NULL;
    u8 head[4];
    int r = store_read(b->store, 0, head, sizeof head, err);
    if (r < 0)
        return r;
    bool sparse = !memcmp(head, "KDMV", 4);
    if (sparse) {
        r = vmdk_sparse_open(v, &e, &at, &size, err);
        if (r == 0)
            r = extent_add(v, &e, err);
        if (r < 0)
            extent_finish(&e);
    } else {
        r = store_size(b->store, &size, err);
        if (r == 0 && size > VMDK_MAX_DESCRIPTOR)
            r = error_set(err, EINVAL, "%s is neither a sparse vmdk image nor a vmdk descriptor", b->path);
    }
    if (r == 0 && size)
        r = descriptor_read(v, at, size, &text, err);
    if (r == 0 && !sparse && !vmdk_probe((const u8 *)text, size))
        r = error_set(err, EINVAL, "%s is neither a sparse vmdk image nor a vmdk descriptor", b->path);
    if (r == 0 && text)
        r = descriptor_parse(v, text, !sparse, unlocked, err);
    free(text);
    return r;
}

static int vmdk_open(struct block *b, const struct block_options *options, struct error *err)
{
    struct vmdk *v = calloc(1, sizeof *v);
    if (!v)
        return error_set(err, ENOMEM, "no memory to open %s", b->path);
    b->impl = v;
    v->block = b;
    b->size = 0;
    if (!b->readonly)
        return block_refuse_writing(b, err);
    return image_open(v, options->unlocked, err);
}

static int vmdk_close(struct block *b, struct error *err)
{
    struct vmdk *v = b->impl;
    (void)err;
    if (!v)
        return 0;
    for (unsigned i = 0; i < v->count; i++)
        extent_finish(&v->extents[i]);
    for (unsigned i = 0; i < VMDK_TABLES; i++)
        free(v->tables[i].entries);
    free(v->extents);
    free(v->plain);
    free(v->packed);
    free(v);
    return 0;
}

static const struct vmdk_extent *extent_find(const struct vmdk *v, u64 offset)
{
    unsigned low = 0, high = v->count;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (v->extents[middle].first <= offset)
            low = middle;
        else
            high = middle;
    }
    return &v->extents[low];
}

/* With the block's lock. */
static int locate(struct vmdk *v, u64 offset, u64 len, const struct vmdk_extent **extent,
                  struct vmdk_place *out, struct error *err)
{
    const struct vmdk_extent *e = extent_find(v, offset);
    u64 at = offset - e->first;
    *extent = e;
    len = MIN(len, e->size - at);
    if (e->kind == VMDK_SPARSE)
        return vmdk_sparse_locate(v, e, at, len, out, err);
    *out = (struct vmdk_place){
        .kind = e->kind == VMDK_FLAT ? PLACE_DATA : PLACE_ZERO, .host = e->offset + at, .len = len};
    return 0;
}

static int vmdk_read(struct block *b, u64 offset, struct vector *to, size_t len, struct error *err)
{
    struct vmdk *v = b->impl;
    int r = 0;
    while (len && r == 0) {
        const struct vmdk_extent *e;
        struct vmdk_place place;
        pthread_mutex_lock(&b->lock);
        r = locate(v, offset, len, &e, &place, err);
        if (r == 0 && place.kind == PLACE_PACKED)
            r = vmdk_unpack(v, e, place.host, offset - e->first, place.len, to, err);
        pthread_mutex_unlock(&b->lock);
        if (r == 0 && place.kind == PLACE_DATA)
            r = store_readv(e->store, place.host, to, place.len, err);
        if (r == 0 && place.kind == PLACE_ZERO)
            vector_zero(to, place.len);
        if (r == 0 && place.kind == PLACE_BELOW)
            r = block_read_below(b, offset, to, place.len, err);
        offset += place.len, len -= place.len;
    }
    return r;
}

static int vmdk_map(struct block *b, u64 offset, u64 len, struct block_extent *out, struct error *err)
{
    const struct vmdk_extent *e;
    struct vmdk_place place;
    pthread_mutex_lock(&b->lock);
    int r = locate(b->impl, offset, len, &e, &place, err);
    pthread_mutex_unlock(&b->lock);
    if (r < 0)
        return r;
    out->status = place.kind == PLACE_BELOW  ? BLOCK_UNALLOCATED
                  : place.kind == PLACE_ZERO ? BLOCK_ZERO
                                             : BLOCK_DATA;
    out->length = place.len;
    out->compressed = place.kind == PLACE_PACKED;
    out->has_host_offset = place.kind == PLACE_DATA && !e->owned;
    out->host_offset = out->has_host_offset ? place.host : 0;
    return 0;
}

const struct block_ops block_vmdk = {
    .name = "vmdk",
    .probe = vmdk_probe,
    .open = vmdk_open,
    .read = vmdk_read,
    .map = vmdk_map,
    .close = vmdk_close,
};
