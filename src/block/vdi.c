/*
 * VirtualBox disks, read only: a header, a map with the number of each block's place (or that it has none),
 * and the blocks. Static images are the same, with every block in its place.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "block/block.h"

#define VDI_SIGNATURE 0xbeda107fu
#define VDI_VERSION   0x00010001u
#define HEADER_BYTES  512u

/* Map entries: from here on there is no place. The second one reads as zeroes even above a parent. */
#define MAP_FREE 0xffffffffu
#define MAP_ZERO 0xfffffffeu

enum { TYPE_DYNAMIC = 1, TYPE_STATIC = 2 };

struct vdi {
    u32 *map;
    u32 blocks;
    u64 block_size, place_size; /* the latter with what precedes each block's data */
    u64 data, file_size;
    u32 extra;
};

static bool vdi_probe(const u8 *head, size_t len)
{
    return len >= 72 && load_le32(head + 64) == VDI_SIGNATURE;
}

static bool all_zero(const u8 *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i])
            return false;
    return true;
}

static int header_check(const struct block *b, const u8 *h, struct error *err)
{
    u32 type = load_le32(h + 76), block_size = load_le32(h + 376), blocks = load_le32(h + 384);
    u64 size = load_le64(h + 368);
    if (load_le32(h + 64) != VDI_SIGNATURE)
        return error_set(err, EINVAL, "%s is no vdi image", b->path);
    if (load_le32(h + 68) != VDI_VERSION)
        return error_set(err, ENOTSUP, "%s: vdi version %u.%u is not supported", b->path,
                         load_le32(h + 68) >> 16, load_le32(h + 68) & 0xffff);
    if (type != TYPE_DYNAMIC && type != TYPE_STATIC)
        return error_set(err, ENOTSUP,
                         "%s is a vdi image of type %u; dynamic (1) and static (2) ones are supported",
                         b->path, type);
    if (!all_zero(h + 424, 32))
        return error_set(err, ENOTSUP, "%s is the difference to another vdi image, which is not supported",
                         b->path);
    if (load_le32(h + 360) != SECTOR_SIZE)
        return error_set(err, ENOTSUP, "%s: sectors of %u bytes are not supported", b->path,
                         load_le32(h + 360));
    if (block_size < 4096 || block_size > MIB(256) || block_size & (block_size - 1) ||
        load_le32(h + 380) % SECTOR_SIZE || load_le32(h + 380) > block_size)
        return error_set(err, EINVAL, "%s: blocks of %u + %u bytes are not possible", b->path, block_size,
                         load_le32(h + 380));
    if (size > (u64)blocks * block_size)
        return error_set(err, EIO,
                         "%s: the image is corrupt: a disk of %llu bytes does not fit into %u blocks",
                         b->path, (unsigned long long)size, blocks);
    if (load_le32(h + 340) < HEADER_BYTES - 56 || load_le32(h + 340) % 4 || load_le32(h + 344) % SECTOR_SIZE)
        return error_set(err, EIO, "%s: the image is corrupt: its map or its data is misaligned", b->path);
    return 0;
}

static int vdi_open(struct block *b, const struct block_options *options, struct error *err)
{
    struct vdi *v = calloc(1, sizeof *v);
    u8 h[HEADER_BYTES];
    (void)options;
    if (!v)
        return error_set(err, ENOMEM, "no memory to open %s", b->path);
    b->impl = v;
    if (!b->readonly)
        return block_refuse_writing(b, err);
    int r = store_read(b->store, 0, h, sizeof h, err);
    if (r == 0)
        r = header_check(b, h, err);
    if (r == 0)
        r = store_size(b->store, &v->file_size, err);
    if (r < 0)
        return r;
    u64 at = load_le32(h + 340);
    v->data = load_le32(h + 344);
    v->block_size = load_le32(h + 376);
    v->extra = load_le32(h + 380);
    v->place_size = v->block_size + v->extra;
    v->blocks = load_le32(h + 384);
    b->size = load_le64(h + 368);
    if (at > v->file_size || v->blocks > (v->file_size - at) / sizeof *v->map)
        return error_set(err, EIO, "%s: the image is corrupt: its map is past the end of the file", b->path);
    v->map = calloc(MAX(v->blocks, 1), sizeof *v->map);
    if (!v->map)
        return error_set(err, ENOMEM, "no memory to open %s", b->path);
    return store_read(b->store, at, v->map, v->blocks * sizeof *v->map, err);
}

/* The run of blocks at `offset`; *host is ~0 where there are zeroes. */
static int run_find(struct block *b, u64 offset, u64 len, u64 *host, u64 *run, struct error *err)
{
    const struct vdi *v = b->impl;
    u64 i = offset / v->block_size, skip = offset % v->block_size, n = v->block_size - skip;
    bool place = v->map[i] < MAP_ZERO;
    while (n < len && i + 1 < v->blocks && (v->map[i + 1] < MAP_ZERO) == place &&
           (!place || (!v->extra && v->map[i + 1] == v->map[i] + 1))) {
        n += v->block_size;
        i++;
    }
    *run = MIN(n, len);
    *host = place ? v->data + (u64)v->map[offset / v->block_size] * v->place_size + v->extra + skip : ~0ull;
    if (place && *host >= v->file_size)
        return error_set(err, EIO, "%s: the image is corrupt: block %llu is past the end of the file",
                         b->path, (unsigned long long)(offset / v->block_size));
    return 0;
}

static int vdi_read(struct block *b, u64 offset, struct vector *to, size_t len, struct error *err)
{
    int r = 0;
    while (len && r == 0) {
        u64 host, n;
        r = run_find(b, offset, len, &host, &n, err);
        if (r == 0 && host == ~0ull)
            vector_zero(to, n);
        else if (r == 0)
            r = store_readv(b->store, host, to, n, err);
        offset += n, len -= n;
    }
    return r;
}

static int vdi_map(struct block *b, u64 offset, u64 len, struct block_extent *out, struct error *err)
{
    u64 host, n;
    int r = run_find(b, offset, len, &host, &n, err);
    if (r < 0)
        return r;
    *out = (struct block_extent){.status = host == ~0ull ? BLOCK_ZERO : BLOCK_DATA, .length = n};
    out->has_host_offset = host != ~0ull;
    out->host_offset = out->has_host_offset ? host : 0;
    return 0;
}

static int vdi_close(struct block *b, struct error *err)
{
    struct vdi *v = b->impl;
    (void)err;
    if (v)
        free(v->map);
    free(v);
    return 0;
}

const struct block_ops block_vdi = {
    .name = "vdi",
    .probe = vdi_probe,
    .open = vdi_open,
    .read = vdi_read,
    .map = vdi_map,
    .close = vdi_close,
};
