/* ring3 image info, check, map, resize and snapshot. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "block/qcow2.h"
#include "cli/command.h"
#include "cli/image.h"

/* "1.5 GiB" */
static const char *size_text(u64 bytes, char *buf, size_t room)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
        value /= 1024;
    snprintf(buf, room, "%.3g %s", value, units[unit]);
    return buf;
}

/* --- info --- */

static void snapshots_print(const struct block *b)
{
    char size[32], date[32];
    u32 count = qcow2_snapshot_count(b);
    if (!count)
        return;
    printf("Snapshot list:\n%-9s %-20s %10s %20s %12s\n", "ID", "TAG", "VM SIZE", "DATE", "DISK SIZE");
    for (u32 i = 0; i < count; i++) {
        struct snapshot_info s = qcow2_snapshot_get(b, i);
        char disk[32];
        time_t when = s.date_sec;
        struct tm tm;
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", localtime_r(&when, &tm));
        printf("%-9s %-20s %10s %20s %12s\n", s.id, s.name, size_text(s.vm_state_size, size, sizeof size),
               date, size_text(s.disk_size, disk, sizeof disk));
    }
}

int image_info(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options options = {
        .format = o->format, .readonly = true, .unlocked = true, .no_backing = true, .inspect = true};
    struct qcow2_info info;
    struct block *b;
    struct stat st = {0};
    char size[32], used[32];
    int r = block_open(&b, operands[0], &options, err);
    if (r < 0)
        return r;
    stat(operands[0], &st);
    printf("image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n", operands[0],
           b->ops->name, size_text(b->size, size, sizeof size), b->size,
           size_text((u64)st.st_blocks * 512, used, sizeof used));
    bool qcow2 = qcow2_info_get(b, &info);
    if (qcow2)
        printf("cluster_size: %" PRIu64 "\n", info.cluster_size);
    if (b->backing_name)
        printf("backing file: %s\n", b->backing_name);
    if (b->backing_format)
        printf("backing file format: %s\n", b->backing_format);
    snapshots_print(b);
    if (qcow2) {
        printf("Format specific information:\n    compat: %s\n    compression type: %s\n",
               info.version == 2 ? "0.10" : "1.1", info.zstd ? "zstd" : "zlib");
        if (info.version >= 3)
            printf("    lazy refcounts: %s\n    refcount bits: %u\n    corrupt: %s\n    dirty: %s\n",
                   info.lazy_refcounts ? "true" : "false", info.refcount_bits,
                   info.corrupt ? "true" : "false", info.dirty ? "true" : "false");
    }
    block_close(b, NULL);
    return EXIT_OK;
}

/* --- check --- */

static void print_finding(void *opaque, const char *message)
{
    (void)opaque;
    puts(message);
}

static int check_print(const struct qcow2_check *c)
{
    if (c->corruptions_fixed || c->leaks_fixed)
        printf("Repaired: %" PRIu64 " errors, %" PRIu64 " leaked clusters.\n", c->corruptions_fixed,
               c->leaks_fixed);
    if (!c->corruptions && !c->leaks)
        printf("No errors were found on the image.\n");
    if (c->corruptions)
        printf("\n%" PRIu64
               " errors were found on the image.\nData may be corrupted, or further writes to the image may "
               "corrupt it.\n",
               c->corruptions);
    if (c->leaks)
        printf("\n%" PRIu64
               " leaked clusters were found on the image.\nThis means waste of disk space, but no harm to "
               "data.\n",
               c->leaks);
    if (c->clusters_total)
        printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %" PRIu64 " compressed clusters\n",
               c->clusters_allocated, c->clusters_total,
               100.0 * (double)c->clusters_allocated / (double)c->clusters_total, c->clusters_compressed);
    printf("Image end offset: %" PRIu64 "\n", c->image_end);
    return c->corruptions || c->leaks ? EXIT_FAILED : EXIT_OK;
}

int image_check(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options options = {
        .format = o->format, .readonly = !o->repair, .no_backing = true, .inspect = true};
    struct qcow2_check check = {.repair = o->repair, .report = print_finding};
    struct block *b;
    int r = block_open(&b, operands[0], &options, err);
    if (r < 0)
        return r;
    r = qcow2_check(b, &check, err);
    int closed = block_close(b, r < 0 ? NULL : err);
    r = r < 0 ? r : closed;
    return r < 0 ? r : check_print(&check);
}

/* --- map --- */

int image_map(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options options = {.format = o->format, .readonly = true};
    struct block *b;
    int r = block_open(&b, operands[0], &options, err);
    if (r < 0)
        return r;
    printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    for (u64 at = 0; at < b->size && r == 0;) {
        struct block_extent e;
        const struct block *layer = b;
        r = block_map_chain(b, at, b->size - at, &e, err);
        for (unsigned i = 0; r == 0 && i < e.depth; i++)
            layer = layer->backing;
        if (r == 0 && e.status == BLOCK_DATA && e.has_host_offset)
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", at, e.length, e.host_offset,
                   layer->path);
        else if (r == 0 && e.status == BLOCK_DATA)
            printf("%#-16" PRIx64 "%#-16" PRIx64 "%-16s%s\n", at, e.length, "compressed", layer->path);
        at += e.length;
    }
    block_close(b, NULL);
    return r < 0 ? r : EXIT_OK;
}

/* --- resize --- */

int image_resize(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options options = {.format = o->format};
    struct block *b;
    u64 size;
    bool relative = operands[1][0] == '+';
    int r = value_parse_size(operands[1] + relative, &size, err);
    if (r == 0)
        r = block_open(&b, operands[0], &options, err);
    if (r != 0)
        return r;
    if (relative && size > ~0ull - b->size)
        r = error_set(err, EFBIG, "%s: the disk would be too large", operands[0]);
    size += relative ? b->size : 0;
    if (r == 0 && size < b->size && !o->shrink)
        r = error_set(err, EINVAL,
                      "%s has %" PRIu64 " bytes; what is cut off is lost: add --shrink if that is meant",
                      operands[0], b->size);
    if (r == 0)
        r = block_resize(b, size, err);
    int closed = block_close(b, r < 0 ? NULL : err);
    return r < 0 ? r : closed;
}

/* --- snapshot --- */

int image_snapshot(const struct image_options *o, char **operands, struct error *err)
{
    const char *verb = operands[0], *name = operands[2];
    bool list = !strcmp(verb, "list");
    struct block_options options = {
        .format = o->format, .readonly = list, .unlocked = list, .no_backing = true};
    struct block *b;
    options.inspect = list;
    if (!list && strcmp(verb, "create") != 0 && strcmp(verb, "apply") != 0 && strcmp(verb, "delete") != 0)
        return error_set(err, EINVAL,
                         "'%.80s' is not possible for a snapshot; write list, create, apply or delete", verb);
    if (list == (name != NULL))
        return error_set(err, EINVAL,
                         list ? "'list' takes no name" : "write the snapshot's name behind the file's");
    int r = block_open(&b, operands[1], &options, err);
    if (r < 0)
        return r;
    if (list)
        snapshots_print(b);
    else if (!strcmp(verb, "create"))
        r = qcow2_snapshot_create(b, name, (u32)time(NULL), err);
    else if (!strcmp(verb, "apply"))
        r = qcow2_snapshot_apply(b, name, err);
    else
        r = qcow2_snapshot_delete(b, name, err);
    int closed = block_close(b, r < 0 ? NULL : err);
    return r < 0 ? r : closed;
}
