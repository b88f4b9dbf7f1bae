/*
 * Requests on an image from a script: io [--format FMT] [--readonly] FILE, then lines on standard input:
 *
 *   write OFFSET LENGTH BYTE | zero OFFSET LENGTH | discard OFFSET LENGTH | flush | dump FILE
 *   compress OFFSET LENGTH BYTE | snapshot create|apply|delete NAME | resize SIZE
 *
 * `dump` writes what the guest sees to a raw file. Stops at the first failure with its sentence.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"

static int dump(struct block *b, const char *path, struct error *err)
{
    static u8 buf[1 << 20];
    FILE *f = fopen(path, "wb");
    int r = f ? 0 : error_set(err, errno, "%s: %s", path, strerror(errno));
    for (u64 at = 0; r == 0 && at < b->size; at += sizeof buf) {
        size_t n = MIN(sizeof buf, b->size - at);
        r = block_read(b, at, buf, n, err);
        if (r == 0 && fwrite(buf, 1, n, f) != n)
            r = error_set(err, EIO, "%s: cannot write", path);
    }
    if (f)
        fclose(f);
    return r;
}

static int fill(struct block *b, u64 offset, u64 len, int byte, bool compress, struct error *err)
{
    u8 *buf = malloc(len + 1);
    memset(buf, byte, len);
    int r =
        compress ? qcow2_write_compressed(b, offset, buf, len, err) : block_write(b, offset, buf, len, err);
    free(buf);
    return r;
}

static int execute(struct block *b, const char *line, struct error *err)
{
    char name[300], verb[16];
    u64 offset, len;
    int byte;
    if (sscanf(line, "write %" SCNu64 " %" SCNu64 " %i", &offset, &len, &byte) == 3)
        return fill(b, offset, len, byte, false, err);
    if (sscanf(line, "compress %" SCNu64 " %" SCNu64 " %i", &offset, &len, &byte) == 3)
        return fill(b, offset, len, byte, true, err);
    if (sscanf(line, "zero %" SCNu64 " %" SCNu64, &offset, &len) == 2)
        return block_write_zeroes(b, offset, len, err);
    if (sscanf(line, "discard %" SCNu64 " %" SCNu64, &offset, &len) == 2)
        return block_discard(b, offset, len, err);
    if (sscanf(line, "resize %" SCNu64, &len) == 1)
        return block_resize(b, len, err);
    if (sscanf(line, "dump %299s", name) == 1)
        return dump(b, name, err);
    if (!strncmp(line, "flush", 5))
        return block_flush(b, err);
    if (sscanf(line, "snapshot %15s %299s", verb, name) == 2)
        return !strcmp(verb, "create")  ? qcow2_snapshot_create(b, name, 1, err)
               : !strcmp(verb, "apply") ? qcow2_snapshot_apply(b, name, err)
                                        : qcow2_snapshot_delete(b, name, err);
    return error_set(err, EINVAL, "what is: %s", line);
}

int main(int argc, char **argv)
{
    struct block_options options = {0};
    struct error err = {0};
    struct block *b;
    char line[512];
    int i = 1;
    for (; i < argc - 1; i++) {
        if (!strcmp(argv[i], "--readonly"))
            options.readonly = true;
        else if (!strcmp(argv[i], "--format"))
            options.format = argv[++i];
    }
    int r = i < argc ? block_open(&b, argv[i], &options, &err) : error_set(&err, EINVAL, "no image named");
    if (r == 0) {
        while (r == 0 && fgets(line, sizeof line, stdin))
            r = execute(b, line, &err);
        int closed = block_close(b, r < 0 ? NULL : &err);
        r = r < 0 ? r : closed;
    }
    if (r < 0)
        fprintf(stderr, "io: %s\n", err.message);
    return r < 0;
}
