/* ring3 image create and convert. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "block/qcow2.h"
#include "cli/command.h"
#include "cli/image.h"
#include "loop/clock.h"

/* --- settings --- */

static int setting_switch(const char *value, bool *out)
{
    *out = !strcmp(value, "on");
    return *out || !strcmp(value, "off") ? 0 : -EINVAL;
}

static int setting_choice(const char *value, const char *const *names, unsigned count, unsigned *out)
{
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(value, names[i])) {
            *out = i;
            return 0;
        }
    return -EINVAL;
}

static int setting_apply(const char *name, const char *value, struct qcow2_create_options *o)
{
    static const char *const compat[] = {"0.10", "1.1", "v2", "v3"};
    static const char *const types[] = {"zlib", "zstd"};
    static const char *const modes[] = {"off", "metadata", "falloc", "full"};
    unsigned choice = 0;
    u64 n = 0;
    int r;
    if (!strcmp(name, "compat")) {
        r = setting_choice(value, compat, ARRAY_LEN(compat), &choice);
        o->version = 2 + choice % 2;
    } else if (!strcmp(name, "cluster_size")) {
        r = value_parse_size(value, &n, NULL);
        if (r == 0 && (n < 512 || n > MIB(2) || n & (n - 1)))
            r = -EINVAL;
        o->cluster_bits = r == 0 ? (unsigned)__builtin_ctzll(n) : 0;
    } else if (!strcmp(name, "refcount_bits")) {
        r = value_parse_number(value, "width", 1, 64, &n, NULL);
        o->refcount_bits = (unsigned)n;
    } else if (!strcmp(name, "lazy_refcounts")) {
        r = setting_switch(value, &o->lazy_refcounts);
    } else if (!strcmp(name, "compression_type")) {
        r = setting_choice(value, types, ARRAY_LEN(types), &choice);
        o->zstd = choice;
    } else if (!strcmp(name, "preallocation")) {
        r = setting_choice(value, modes, ARRAY_LEN(modes), &choice);
        o->preallocation = (enum preallocation)choice;
    } else {
        r = -ENOENT;
    }
    return r;
}

int image_settings_parse(const char *list, struct qcow2_create_options *out, struct error *err)
{
    char copy[512], *save = NULL;
    if (!list)
        return 0;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        char *value = strchr(item, '=');
        if (!value)
            return error_set(err, EINVAL, "--set: '%.80s' has no value; write NAME=VALUE", item);
        *value++ = '\0';
        int r = setting_apply(item, value, out);
        if (r == -ENOENT)
            return error_set(err, EINVAL, "--set: unknown setting '%.80s'; 'ring3 help image' lists them",
                             item);
        if (r < 0)
            return error_set(err, EINVAL, "--set: '%.80s' is not possible for %s; see 'ring3 help image'",
                             value, item);
    }
    return 0;
}

/* --- progress --- */

void progress_begin(struct progress *p, const struct image_options *o, u64 total)
{
    *p = (struct progress){.shown = o->progress || isatty(STDOUT_FILENO), .total = total};
}

void progress_show(struct progress *p, u64 done)
{
    struct timespec now;
    if (!p->shown)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    u64 ns = (u64)now.tv_sec * NS_PER_SEC + (u64)now.tv_nsec;
    if (ns < p->next_ns)
        return;
    p->next_ns = ns + NS_PER_SEC / 10;
    printf("    (%.2f/100%%)\r", p->total ? 100.0 * (double)done / (double)p->total : 100.0);
    fflush(stdout);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        printf("    (100.00/100%%)\n");
}

/* --- create --- */

int image_make(const char *path, const char *format, const struct qcow2_create_options *create,
               struct error *err)
{
    struct store *store;
    const struct block_ops *ops = block_format_find(format, err);
    if (!ops)
        return -EINVAL;
    int r = store_open_file(&store, path, STORE_WRITE | STORE_CREATE, err);
    if (r < 0)
        return r;
    if (ops == &block_qcow2)
        r = qcow2_create(store, create, err);
    else if (!store->fixed_size)
        r = store->ops->truncate(store, create->size, err);
    store_close(store);
    return r;
}

static int backing_size(const char *path, const struct image_options *o, u64 *size, struct error *err)
{
    struct block_options options = {.format = o->backing_format, .readonly = true};
    struct block *b;
    char *below = block_backing_path(path, o->backing);
    int r = below ? block_open(&b, below, &options, err) : error_set(err, ENOMEM, "no memory");
    free(below);
    if (r == 0) {
        *size = b->size;
        block_close(b, NULL);
    }
    return r;
}

int image_create(const struct image_options *o, char **operands, struct error *err)
{
    const char *format = o->format ? o->format : "qcow2";
    struct qcow2_create_options create = {.backing = o->backing, .backing_format = o->backing_format};
    int r = image_settings_parse(o->set, &create, err);
    if (r == 0 && strcmp(format, "qcow2") != 0 && (o->backing || o->set))
        r = error_set(err, EINVAL, "--backing and --set are for qcow2 images");
    if (r == 0 && o->backing && !o->backing_format)
        r = error_set(err, EINVAL, "--backing also needs --backing-format FMT (raw or qcow2)");
    if (r == 0 && o->backing_format && !block_format_find(o->backing_format, err))
        r = -EINVAL;
    if (r == 0 && !operands[1] && !o->backing)
        r = error_set(err, EINVAL, "write the size of the disk behind the file's name");
    if (r == 0 && o->backing)
        r = backing_size(operands[0], o, &create.size, err);
    if (r == 0 && operands[1])
        r = value_parse_size(operands[1], &create.size, err);
    if (r == 0)
        r = image_make(operands[0], format, &create, err);
    return r;
}

/* --- convert --- */

#define COPY_PIECE MIB(2)

static bool is_zero(const u8 *buf, size_t len)
{
    return buf[0] == 0 && !memcmp(buf, buf + 1, len - 1);
}

/* Copies one piece, at most up to the end of a run of 4 KiB blocks that are all zero or all not. */
static int copy_data(struct block *from, struct block *to, u64 at, size_t len, bool compress, u8 *buf,
                     struct error *err)
{
    int r = block_read(from, at, buf, len, err);
    for (size_t done = 0; done < len && r == 0;) {
        size_t n = MIN(len - done, 4096);
        bool zero = is_zero(buf + done, n);
        if (compress) {
            if (!is_zero(buf, len))
                r = qcow2_write_compressed(to, at, buf, len, err);
            break;
        }
        while (done + n < len && is_zero(buf + done + n, MIN(len - done - n, 4096)) == zero)
            n += MIN(len - done - n, 4096);
        if (!zero)
            r = block_write(to, at + done, buf + done, n, err);
        done += n;
    }
    return r;
}

static int copy_all(struct block *from, struct block *to, const struct image_options *o, struct error *err)
{
    struct qcow2_info info = {0};
    struct progress progress;
    bool compress = o->compress;
    u8 *buf = malloc(COPY_PIECE);
    int r = buf ? 0 : error_set(err, ENOMEM, "no memory");
    qcow2_info_get(to, &info);
    progress_begin(&progress, o, from->size);
    for (u64 at = 0; at < from->size && r == 0;) {
        struct block_extent extent;
        u64 piece = compress ? info.cluster_size : COPY_PIECE;
        piece = MIN(piece - at % piece, from->size - at);
        r = block_map_chain(from, at, compress ? piece : from->size - at, &extent, err);
        if (r < 0)
            break;
        if (extent.status == BLOCK_ZERO && (!compress || extent.length >= piece)) {
            at += extent.length;
            progress_show(&progress, at);
            continue;
        }
        if (!compress)
            piece = MIN(piece, extent.length);
        r = copy_data(from, to, at, piece, compress, buf, err);
        at += piece;
        progress_show(&progress, at);
    }
    free(buf);
    if (r == 0)
        progress_end(&progress);
    return r;
}

int image_convert(const struct image_options *o, char **operands, struct error *err)
{
    const char *format = o->to ? o->to : "raw";
    struct block_options in = {.format = o->format, .readonly = true}, out = {.format = format};
    struct qcow2_create_options create = {0};
    struct block *from, *to;
    int r = image_settings_parse(o->set, &create, err);
    if (r == 0 && strcmp(format, "qcow2") != 0 && (o->compress || o->set))
        r = error_set(err, EINVAL, "--compress and --set are for qcow2 outputs; write --to qcow2");
    if (r == 0)
        r = block_open(&from, operands[0], &in, err);
    if (r != 0)
        return r;
    create.size = from->size;
    r = image_make(operands[1], format, &create, err);
    if (r == 0)
        r = block_open(&to, operands[1], &out, err);
    if (r == 0) {
        if (to->size < from->size)
            r = error_set(err, ENOSPC, "%s is smaller than the disk", operands[1]);
        if (r == 0)
            r = copy_all(from, to, o, err);
        int closed = block_close(to, r < 0 ? NULL : err);
        r = r < 0 ? r : closed;
    }
    block_close(from, NULL);
    return r;
}
