/* An image from an enemy: opened, checked, read, written, snapshotted and repaired, within bounded memory. */
#include "block/qcow2.h"
#include "tests/block/mem_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void image_read(struct block *b)
{
    static u8 buf[20000];
    struct error err = {0};
    for (u64 at = 0, n = 0; at < b->size && n < 24; n++) {
        struct block_extent e;
        u64 len = MIN(sizeof buf, b->size - at);
        if (block_read(b, at, buf, len, &err) < 0 && !err.message[0])
            abort();
        if (block_map_chain(b, at, b->size - at, &e, &err) < 0)
            at += len;
        else if (!e.length || e.length > b->size - at)
            abort();
        else
            at += e.length;
    }
}

static void image_write(struct block *b, u8 seed)
{
    static const u8 buf[5000] = {1, 2, 3};
    struct error err = {0};
    u64 room = b->size > sizeof buf ? b->size - sizeof buf : 0;
    for (unsigned i = 0; i < 8 && room; i++)
        block_write(b, (room / 8 * i + seed) % room, buf, sizeof buf, &err);
    if (room) {
        block_write_zeroes(b, room / 3, MIN(room / 2, KIB(200)), &err);
        block_discard(b, 0, MIN(room, KIB(200)), &err);
    }
    qcow2_snapshot_create(b, "new", 0, &err);
    if (room)
        block_write(b, room / 2, buf, sizeof buf, &err);
    qcow2_snapshot_apply(b, "1", &err);
    qcow2_snapshot_delete(b, "new", &err);
    block_flush(b, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_check check = {0};
    struct error err = {0};
    struct block *b;
    if (size < 8 || size > MIB(1))
        return 0;
    for (unsigned mode = 0; mode < 3; mode++) {
        struct block_options options = {

            .format = "qcow2",
            .no_backing = true,
            .cache_bytes = mode == 2,
            .readonly = mode == 0,
            .inspect = mode != 1};
        struct mem_store *m = mem_store_create(data, size);
        err.message[0] = '\0';
        if (block_open_store(&b, &m->store, "image", &options, &err) < 0) {
            if (!err.message[0])
                abort();
            continue;
        }
        check = (struct qcow2_check){.repair = mode == 2};
        qcow2_check(b, &check, &err);
        image_read(b);
        if (mode)
            image_write(b, data[7]);
        block_close(b, &err);
    }
    return 0;
}
