/* Sparse extents of vmdk images: header, grain directory, grain tables, compressed grains. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/bytes.h"
#include "block/vmdk_impl.h"

#define FLAG_ZEROED_GRAINS BIT(2)
#define FLAG_COMPRESSED    BIT(16)
#define KNOWN_FLAGS        (BIT(0) | BIT(1) | FLAG_ZEROED_GRAINS | FLAG_COMPRESSED | BIT(17))

#define DIRECTORY_AT_END ~0ull
#define HEADER_BYTES     512u

/* Sectors of a grain; VMware's are of 128. */
#define MAX_GRAIN 32768u

/* More than any deflate stream of a grain needs. */
#define PACKED_ROOM(grain) ((grain) + (grain) / 8 + 1024)

static bool header_is_one(const u8 *h)
{
    return !memcmp(h, "KDMV", 4);
}

static int header_read(const struct vmdk *v, struct vmdk_extent *e, u8 *h, struct error *err)
{
    int r = store_size(e->store, &e->file_size, err);
    if (r == 0)
        r = store_read(e->store, 0, h, HEADER_BYTES, err);
    if (r < 0)
        return r;
    if (!header_is_one(h))
        return error_set(err, EINVAL, "%s is no sparse vmdk extent of a kind that is supported",
                         e->store->name);
    if (load_le64(h + 56) != DIRECTORY_AT_END)
        return 0;
    /* The true header is the footer: footer marker, footer, end-of-stream marker, a sector each. */
    if (e->file_size < 3 * SECTOR_SIZE)
        return error_set(err, EIO, "%s: the image is corrupt: it is too short for a footer", v->block->path);
    r = store_read(e->store, ALIGN_DOWN(e->file_size, SECTOR_SIZE) - 2 * SECTOR_SIZE, h, HEADER_BYTES, err);
    if (r == 0 && (!header_is_one(h) || load_le64(h + 56) == DIRECTORY_AT_END))
        r = error_set(err, EIO, "%s: the image is corrupt: it has no footer (is it cut off?)",
                      v->block->path);
    return r;
}

static int header_check(const struct vmdk *v, const struct vmdk_extent *e, const u8 *h, struct error *err)
{
    const char *path = v->block->path;
    u32 version = load_le32(h + 4), flags = load_le32(h + 8), entries = load_le32(h + 44);
    u64 capacity = load_le64(h + 12), grain = load_le64(h + 20);
    if (version < 1 || version > 3)
        return error_set(err, ENOTSUP, "%s: vmdk version %u is not supported", path, version);
    if (flags & ~KNOWN_FLAGS)
        return error_set(err, ENOTSUP, "%s: unknown vmdk flags %#x", path, flags);
    if (flags & 1 && memcmp(h + 73, "\n \r\n", 4) != 0)
        return error_set(
            err, EIO, "%s: the image was copied as text, which has changed its line ends: it is lost", path);
    if (!grain || grain > MAX_GRAIN || grain & (grain - 1))
        return error_set(err, EINVAL, "%s: grains of %llu sectors are not possible", path,
                         (unsigned long long)grain);
    if (!entries || entries > 512)
        return error_set(err, EINVAL, "%s: grain tables of %u entries are not possible", path, entries);
    if (!capacity || capacity > (u64)INT64_MAX / SECTOR_SIZE)
        return error_set(err, EFBIG, "%s: a disk of %llu sectors is not possible", path,
                         (unsigned long long)capacity);
    if (flags & FLAG_COMPRESSED && load_le16(h + 77) != 1)
        return error_set(err, ENOTSUP, "%s: compressed by unknown method %u", path, load_le16(h + 77));
    if (e->size > capacity * SECTOR_SIZE)
        return error_set(err, EINVAL, "%s: an extent has %llu sectors, the descriptor says %llu", path,
                         (unsigned long long)capacity, (unsigned long long)(e->size / SECTOR_SIZE));
    return 0;
}

static int directory_read(struct vmdk *v, struct vmdk_extent *e, u64 sector, struct error *err)
{
    u64 span = e->grain * e->table_entries, count = e->size / span + !!(e->size % span);
    if (!sector || sector > e->file_size / SECTOR_SIZE ||
        count > (e->file_size - sector * SECTOR_SIZE) / sizeof *e->directory)
        return error_set(err, EIO,
                         "%s: the image is corrupt: its grain directory is past the end of the file",
                         v->block->path);
    e->directory = calloc(count, sizeof *e->directory);
    if (!e->directory)
        return error_set(err, ENOMEM, "no memory to open %s", v->block->path);
    e->directory_count = count;
    return store_read(e->store, sector * SECTOR_SIZE, e->directory, count * sizeof *e->directory, err);
}

int vmdk_sparse_open(struct vmdk *v, struct vmdk_extent *e, u64 *descriptor, u64 *descriptor_size,
                     struct error *err)
{
    u8 h[HEADER_BYTES];
    int r = header_read(v, e, h, err);
    if (r == 0)
        r = header_check(v, e, h, err);
    if (r < 0)
        return r;
    u32 flags = load_le32(h + 8);
    if (!e->size)
        e->size = load_le64(h + 12) * SECTOR_SIZE;
    e->grain = load_le64(h + 20) * SECTOR_SIZE;
    e->table_entries = load_le32(h + 44);
    e->compressed = flags & FLAG_COMPRESSED;
    e->zeroed_grains = flags & FLAG_ZEROED_GRAINS;
    *descriptor_size = 0;
    u64 at = load_le64(h + 28), sectors = load_le64(h + 36);
    if (at && at < e->file_size / SECTOR_SIZE && sectors) {
        *descriptor = at * SECTOR_SIZE;
        *descriptor_size = MIN(sectors, VMDK_MAX_DESCRIPTOR / SECTOR_SIZE) * SECTOR_SIZE;
    }
    /* The primary directory; the redundant one is a copy that is not looked at. */
    return directory_read(v, e, load_le64(h + 56), err);
}

/* --- grains --- */

static int table_get(struct vmdk *v, const struct vmdk_extent *e, u64 index, const u32 **out,
                     struct error *err)
{
    unsigned victim = 0;
    u64 at = (u64)e->directory[index] * SECTOR_SIZE, bytes = e->table_entries * sizeof **out;
    *out = NULL;
    if (!at)
        return 0;
    if (at >= e->file_size || bytes > e->file_size - at)
        return error_set(err, EIO, "%s: the image is corrupt: grain table %llu is past the end of the file",
                         v->block->path, (unsigned long long)index);
    for (unsigned i = 0; i < VMDK_TABLES; i++) {
        if (v->tables[i].extent == e && v->tables[i].index == index) {
            v->tables[i].used = ++v->clock;
            *out = v->tables[i].entries;
            return 0;
        }
        if (v->tables[i].used < v->tables[victim].used)
            victim = i;
    }
    v->tables[victim].extent = NULL;
    if (!v->tables[victim].entries && !(v->tables[victim].entries = calloc(512, sizeof **out)))
        return error_set(err, ENOMEM, "%s: no memory", v->block->path);
    int r = store_read(e->store, at, v->tables[victim].entries, bytes, err);
    if (r < 0)
        return r;
    v->tables[victim].extent = e;
    v->tables[victim].index = index;
    v->tables[victim].used = ++v->clock;
    *out = v->tables[victim].entries;
    return 0;
}

static void entry_classify(const struct vmdk_extent *e, u32 entry, struct vmdk_place *out)
{
    if (entry == 0)
        out->kind = PLACE_BELOW;
    else if (entry == 1 && e->zeroed_grains)
        out->kind = PLACE_ZERO;
    else
        out->kind = e->compressed ? PLACE_PACKED : PLACE_DATA;
    out->host = (u64)entry * SECTOR_SIZE;
}

int vmdk_sparse_locate(struct vmdk *v, const struct vmdk_extent *e, u64 at, u64 len, struct vmdk_place *out,
                       struct error *err)
{
    u64 grain = at / e->grain, skip = at % e->grain, index = grain % e->table_entries, n = 1;
    u64 end = MIN((u64)e->table_entries, index + (skip + len + e->grain - 1) / e->grain);
    const u32 *table;
    *out = (struct vmdk_place){.kind = PLACE_BELOW};
    int r = table_get(v, e, grain / e->table_entries, &table, err);
    if (r < 0)
        return r;
    if (!table) {
        n = end - index;
    } else {
        entry_classify(e, table[index], out);
        for (; out->kind != PLACE_PACKED && index + n < end; n++) {
            struct vmdk_place next;
            entry_classify(e, table[index + n], &next);
            if (next.kind != out->kind || (next.kind == PLACE_DATA && next.host != out->host + n * e->grain))
                break;
        }
    }
    out->len = MIN(len, n * e->grain - skip);
    if (out->kind == PLACE_DATA)
        out->host += skip;
    if ((out->kind == PLACE_DATA || out->kind == PLACE_PACKED) && out->host >= e->file_size)
        return error_set(err, EIO, "%s: the image is corrupt: the grain at sector %llu is past the end of %s",
                         v->block->path, (unsigned long long)(at / SECTOR_SIZE), e->store->name);
    return 0;
}

static bool inflate_grain(const u8 *from, u64 len, u8 *to, u64 room, u64 needed)
{
    z_stream z = {.next_in = (u8 *)from, .avail_in = (uInt)len, .next_out = to, .avail_out = (uInt)room};
    if (inflateInit(&z) != Z_OK)
        return false;
    int r = inflate(&z, Z_FINISH);
    inflateEnd(&z);
    memset(to + room - z.avail_out, 0, z.avail_out);
    return (r == Z_STREAM_END || r == Z_BUF_ERROR) && room - z.avail_out >= needed;
}

static int grain_read(struct vmdk *v, const struct vmdk_extent *e, u64 host, u64 grain, struct error *err)
{
    u8 marker[12];
    v->plain_extent = NULL;
    if (v->plain_size < e->grain) {
        u8 *plain = realloc(v->plain, e->grain);
        v->plain = plain ? plain : v->plain;
        u8 *packed = realloc(v->packed, PACKED_ROOM(e->grain));
        v->packed = packed ? packed : v->packed;
        if (!plain || !packed)
            return error_set(err, ENOMEM, "%s: no memory", v->block->path);
        v->plain_size = e->grain;
    }
    int r = store_read(e->store, host, marker, sizeof marker, err);
    if (r < 0)
        return r;
    u32 size = load_le32(marker + 8); /* behind the grain's first sector, 64 bits */
    u64 inside = MIN(e->grain, e->size - grain * e->grain);
    if (!size || size > PACKED_ROOM(e->grain))
        return error_set(err, EIO, "%s: the image is corrupt: a compressed grain of %u bytes", v->block->path,
                         size);
    r = store_read(e->store, host + sizeof marker, v->packed, size, err);
    if (r == 0 && !inflate_grain(v->packed, size, v->plain, e->grain, inside))
        r = error_set(err, EIO, "%s: the image is corrupt: the grain at byte %llu cannot be decompressed",
                      v->block->path, (unsigned long long)host);
    if (r == 0) {
        v->plain_extent = e;
        v->plain_at = grain;
    }
    return r;
}

int vmdk_unpack(struct vmdk *v, const struct vmdk_extent *e, u64 host, u64 at, u64 len, struct vector *to,
                struct error *err)
{
    u64 grain = at / e->grain;
    int r = v->plain_extent == e && v->plain_at == grain ? 0 : grain_read(v, e, host, grain, err);
    if (r == 0)
        vector_fill(to, v->plain + at % e->grain, len);
    return r;
}
