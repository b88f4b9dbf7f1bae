/* ring3 image info, check, map, resize and snapshot. */
#include <inttypes.h>
#include <jansson.h>
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

/* --- JSON, with the keys of qemu-img --- */

int image_output_parse(const struct image_options *o, bool *json, struct error *err)
{
    *json = o->output && !strcmp(o->output, "json");
    if (!o->output || *json || !strcmp(o->output, "human"))
        return 0;
    return error_set(err, EINVAL, "--output: '%.80s' is not possible; write human or json", o->output);
}

/* Takes over `value`; NULL: no memory. A name that is no UTF-8 is shown as none. */
static void put(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value ? value : json_null());
}

static void put_number(json_t *object, const char *key, u64 value)
{
    put(object, key, json_integer((json_int_t)value));
}

static int json_print(json_t *value)
{
    int r = value ? json_dumpf(value, stdout, JSON_INDENT(4) | JSON_ENCODE_ANY) : -1;
    putchar('\n');
    json_decref(value);
    return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static json_t *snapshots_json(const struct block *b)
{
    json_t *list = json_array();
    for (u32 i = 0; i < qcow2_snapshot_count(b); i++) {
        struct snapshot_info s = qcow2_snapshot_get(b, i);
        json_t *o = json_object();
        put(o, "id", json_string(s.id));
        put(o, "name", json_string(s.name));
        put_number(o, "vm-state-size", s.vm_state_size);
        put_number(o, "date-sec", s.date_sec);
        put_number(o, "date-nsec", s.date_nsec);
        put_number(o, "vm-clock-sec", s.vm_clock_ns / 1000000000);
        put_number(o, "vm-clock-nsec", s.vm_clock_ns % 1000000000);
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *info_json(const struct block *b, u64 actual)
{
    struct qcow2_info info;
    json_t *o = json_object(), *specific = json_object(), *data = json_object();
    bool qcow2 = qcow2_info_get(b, &info);
    put(o, "filename", json_string(b->path));
    put(o, "format", json_string(b->ops->name));
    put_number(o, "virtual-size", b->size);
    put_number(o, "actual-size", actual);
    if (b->backing_name) {
        char *full = block_backing_path(b->path, b->backing_name);
        put(o, "backing-filename", json_string(b->backing_name));
        put(o, "full-backing-filename", json_string(full ? full : b->backing_name));
        free(full);
    }
    if (b->backing_format)
        put(o, "backing-filename-format", json_string(b->backing_format));
    if (!qcow2) {
        json_decref(specific);
        json_decref(data);
        return o;
    }
    if (info.snapshot_count)
        put(o, "snapshots", snapshots_json(b));
    put_number(o, "cluster-size", info.cluster_size);
    put(o, "dirty-flag", json_boolean(info.dirty));
    put(data, "compat", json_string(info.version == 2 ? "0.10" : "1.1"));
    put(data, "compression-type", json_string(info.zstd ? "zstd" : "zlib"));
    put_number(data, "refcount-bits", info.refcount_bits);
    if (info.version >= 3) {
        put(data, "lazy-refcounts", json_boolean(info.lazy_refcounts));
        put(data, "corrupt", json_boolean(info.corrupt));
        put(data, "extended-l2", json_boolean(info.extended_l2));
        if (info.data_file)
            put(data, "data-file", json_string(info.data_file));
    }
    put(specific, "type", json_string("qcow2"));
    put(specific, "data", data);
    put(o, "format-specific", specific);
    return o;
}

static json_t *check_json(const struct block *b, const struct qcow2_check *c)
{
    json_t *o = json_object();
    put(o, "filename", json_string(b->path));
    put(o, "format", json_string(b->ops->name));
    put_number(o, "check-errors", 0);
    put_number(o, "image-end-offset", c->image_end);
    put_number(o, "total-clusters", c->clusters_total);
    const struct {
        const char *key;
        u64 value;
    } counts[] = {{"allocated-clusters", c->clusters_allocated},
                  {"compressed-clusters", c->clusters_compressed},
                  {"corruptions", c->corruptions},
                  {"leaks", c->leaks},
                  {"corruptions-fixed", c->corruptions_fixed},
                  {"leaks-fixed", c->leaks_fixed}};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++)
        if (counts[i].value)
            put_number(o, counts[i].key, counts[i].value);
    return o;
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
    bool json;
    int r = image_output_parse(o, &json, err);
    if (r == 0)
        r = block_open(&b, operands[0], &options, err);
    if (r < 0)
        return r;
    stat(operands[0], &st);
    if (json) {
        r = json_print(info_json(b, (u64)st.st_blocks * 512));
        block_close(b, NULL);
        return r;
    }
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
        if (info.version >= 3)
            printf("    extended l2: %s\n", info.extended_l2 ? "true" : "false");
        if (info.data_file)
            printf("    data file: %s\n", info.data_file);
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
    json_t *found = NULL;
    bool json;
    int r = image_output_parse(o, &json, err);
    if (r == 0)
        r = block_open(&b, operands[0], &options, err);
    if (r < 0)
        return r;
    if (json)
        check.report = NULL;
    r = qcow2_check(b, &check, err);
    if (r == 0 && json)
        found = check_json(b, &check);
    int closed = block_close(b, r < 0 ? NULL : err);
    if (r < 0 || closed < 0) {
        json_decref(found);
        return r < 0 ? r : closed;
    }
    if (!json)
        return check_print(&check);
    r = json_print(found);
    return check.corruptions || check.leaks ? EXIT_FAILED : r;
}

/* --- map --- */

struct mapped {
    u64 start;
    struct block_extent extent;
    bool present; /* in some layer */
    const char *path;
};

static void mapped_print(const struct mapped *m)
{
    const struct block_extent *e = &m->extent;
    if (e->status == BLOCK_DATA && e->has_host_offset)
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", m->start, e->length, e->host_offset,
               m->path);
    else if (e->status == BLOCK_DATA)
        printf("%#-16" PRIx64 "%#-16" PRIx64 "%-16s%s\n", m->start, e->length,
               e->compressed ? "compressed" : "-", m->path);
}

static json_t *mapped_json(const struct mapped *m)
{
    const struct block_extent *e = &m->extent;
    json_t *o = json_object();
    put_number(o, "start", m->start);
    put_number(o, "length", e->length);
    put_number(o, "depth", e->depth);
    put(o, "present", json_boolean(m->present));
    put(o, "zero", json_boolean(e->status == BLOCK_ZERO));
    put(o, "data", json_boolean(e->status == BLOCK_DATA));
    if (e->has_host_offset)
        put_number(o, "offset", e->host_offset);
    return o;
}

static bool mapped_joins(const struct mapped *a, const struct mapped *b)
{
    const struct block_extent *x = &a->extent, *y = &b->extent;
    return a->path && x->status == y->status && x->depth == y->depth && a->present == b->present &&
           x->compressed == y->compressed && x->has_host_offset == y->has_host_offset &&
           (!x->has_host_offset || x->host_offset + x->length == y->host_offset);
}

static int mapped_get(struct block *b, u64 at, struct mapped *m, struct error *err)
{
    struct block *layer = b;
    struct block_extent own;
    *m = (struct mapped){.start = at};
    int r = block_map_chain(b, at, b->size - at, &m->extent, err);
    for (unsigned i = 0; r == 0 && i < m->extent.depth; i++)
        layer = layer->backing;
    m->path = layer->path;
    if (r == 0 && at < layer->size) {
        r = block_map(layer, at, MIN(m->extent.length, layer->size - at), &own, err);
        m->present = own.status != BLOCK_UNALLOCATED;
    }
    return r;
}

int image_map(const struct image_options *o, char **operands, struct error *err)
{
    struct block_options options = {.format = o->format, .readonly = true};
    struct mapped last = {.path = NULL}, m;
    struct block *b;
    bool json;
    int r = image_output_parse(o, &json, err);
    if (r == 0)
        r = block_open(&b, operands[0], &options, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    if (!json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    for (u64 at = 0; at < b->size && r == 0; at += m.extent.length) {
        r = mapped_get(b, at, &m, err);
        if (r == 0 && mapped_joins(&last, &m)) {
            last.extent.length += m.extent.length;
            continue;
        }
        if (json && last.path)
            json_array_append_new(list, mapped_json(&last));
        else if (last.path)
            mapped_print(&last);
        last = m;
    }
    if (r == 0 && json && last.path)
        json_array_append_new(list, mapped_json(&last));
    else if (r == 0 && last.path)
        mapped_print(&last);
    block_close(b, NULL);
    if (r == 0 && json)
        return json_print(list);
    json_decref(list);
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
    bool json;
    int r = image_output_parse(o, &json, err);
    if (r < 0)
        return r;
    if (list == (name != NULL))
        return error_set(err, EINVAL,
                         list ? "'list' takes no name" : "write the snapshot's name behind the file's");
    r = block_open(&b, operands[1], &options, err);
    if (r < 0)
        return r;
    if (list && json)
        json_print(snapshots_json(b));
    else if (list)
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
