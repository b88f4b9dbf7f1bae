/*
 * A power cut at every write: random work on qcow2 images in memory; after each write or flush that the
 * driver makes, states that the disk may be left in (all before the last flush, and any sectors written
 * since) are opened, checked, repaired and compared with what the guest was promised. The power fails again
 * during some of the repairs. Images differ in cluster size, refcounts (width, lazy), compression, backing
 * file; some have hardly any cache, so that tables are evicted all the time; disks grow and shrink.
 *
 *   block_powercut [--cuts N] [--seed N]      the default is the subset for CI
 */
#include "block/qcow2.h"
#include "tests/block/mem_store.h"
#include "tests/tap.h"

#define DISK_SECTORS 1500u
#define DISK_SIZE    ((u64)DISK_SECTORS * SECTOR_SIZE - 200)
#define MAX_PENDING  6

static u64 rng_state;

static u64 rng(u64 below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (rng_state >> 11) % below;
}

struct promise {
    u32 durable;              /* version at the last completed flush; 0 reads as zeroes */
    u32 now;                  /* what a read gives now */
    u32 pending[MAX_PENDING]; /* what it may be after a crash besides */
    u8 count;
};

struct world {
    struct mem_store *store;
    struct block *block, *backing;
    struct promise disk[DISK_SECTORS];
    u32 saved[3][DISK_SECTORS]; /* what snapshots hold */
    bool has_saved[3];
    bool snapshots, lazy;
    u64 cache_bytes;
    u32 version;
    u64 cluster_size;
    /* the disk under the store */
    u8 *durable;
    u64 durable_size;
    u64 sizes[2]; /* that the disk may have */
    u64 cuts, repair_cuts, leaks, failures;
};

static void sector_fill(u8 *buf, u32 sector, u32 version)
{
    for (unsigned i = 0; i < SECTOR_SIZE / 4; i++)
        ((u32 *)(void *)buf)[i] = version ? version * 2654435761u + sector * 40503u + i % 7 : 0;
}

static bool sector_is(const u8 *buf, u32 sector, u32 version)
{
    u8 want[SECTOR_SIZE];
    sector_fill(want, sector, version);
    return !memcmp(buf, want, sector == DISK_SECTORS - 1 ? SECTOR_SIZE - 200 : SECTOR_SIZE);
}

static void fail(struct world *w, const char *what)
{
    if (w->failures++ < 5)
        printf("# cut %llu: %s\n", (unsigned long long)w->cuts, what);
}

/* --- the states after a cut --- */

static void piece_apply(u8 **image, u64 *size, u64 offset, const u8 *data, u64 len)
{
    if (offset + len > *size) {
        memset(*image + *size, 0, offset + len - *size);
        *size = offset + len;
    }
    memcpy(*image + offset, data, len);
}

/* Applies an event; `odds` of 8 for each sector of it, 8: all. */
static void event_apply(const struct mem_event *e, unsigned odds, u8 **image, u64 *size)
{
    if (e->kind == MEM_TRUNCATE && rng(8) < odds) {
        if (e->offset > *size)
            memset(*image + *size, 0, e->offset - *size);
        *size = e->offset;
    }
    if (e->kind != MEM_WRITE)
        return;
    for (u64 at = 0; at < e->len;) {
        u64 n = MIN(e->len - at, SECTOR_SIZE - (e->offset + at) % SECTOR_SIZE);
        if (odds == 8 || rng(8) < odds)
            piece_apply(image, size, e->offset + at, e->data + at, n);
        at += n;
    }
}

static void contents_verify(struct world *w, struct block *b)
{
    static u8 buf[DISK_SECTORS * SECTOR_SIZE];
    struct error err = {0};
    if (block_read(b, 0, buf, DISK_SIZE, &err) < 0) {
        fail(w, err.message);
        return;
    }
    for (u32 s = 0; s < DISK_SECTORS; s++) {
        const struct promise *p = &w->disk[s];
        bool good = sector_is(buf + s * SECTOR_SIZE, s, p->durable);
        for (unsigned i = 0; i < p->count && !good; i++)
            good = sector_is(buf + s * SECTOR_SIZE, s, p->pending[i]);
        if (!good) {
            fail(w, "a flushed sector is lost");
            return;
        }
    }
}

static void report(void *opaque, const char *message)
{
    (void)opaque;
    printf("#   %s\n", message);
}

static void cut_repair(struct world *w, struct mem_store *m, const u8 *image, u64 size);

/* The image must check clean but for leaks (with snapshot operations and lazy refcounts: be repairable), and
 * keep its promises. `depth`: cuts before this one. */
static void state_verify(struct world *w, const u8 *image, u64 size, unsigned depth)
{
    struct mem_store *m = mem_store_create(image, size);
    struct block_options options = {
        .format = "qcow2", .inspect = true, .no_backing = true, .cache_bytes = w->cache_bytes};
    struct qcow2_check check = {0};
    struct qcow2_info info;
    struct error err = {0};
    struct block *b;
    if (block_open_store(&b, &m->store, "cut", &options, &err) < 0) {
        fail(w, err.message);
        return;
    }
    if (qcow2_check(b, &check, &err) < 0)
        fail(w, err.message);
    qcow2_info_get(b, &info);
    if (check.corruptions && !w->snapshots && !(w->lazy && info.dirty)) {
        fail(w, "corrupt before the repair");
        check.report = w->failures < 3 ? report : NULL;
        qcow2_check(b, &check, &err);
        check.report = NULL;
    }
    w->leaks += check.leaks != 0;
    check.repair = true;
    m->records = depth == 0 && (check.corruptions || check.leaks) && rng(40) == 0;
    bool cuts = m->records;
    if (qcow2_check(b, &check, &err) < 0)
        fail(w, err.message);
    m->records = false;
    if (cuts)
        cut_repair(w, m, image, size);
    if (check.corruptions || check.leaks)
        fail(w, "not clean after the repair");
    if (b->size != w->sizes[0] && b->size != w->sizes[1])
        fail(w, "the disk has another size");
    b->backing = w->backing;
    contents_verify(w, b);
    if (rng(4) == 0) {
        static u8 junk[30000];
        if (block_write(b, rng(DISK_SIZE - sizeof junk), junk, sizeof junk, &err) < 0 ||
            block_flush(b, &err) < 0)
            fail(w, err.message);
        check = (struct qcow2_check){.report = w->failures < 3 ? report : NULL};
        if (qcow2_check(b, &check, &err) < 0 || check.corruptions || check.leaks)
            fail(w, "not clean after a write to the repaired image");
    }
    b->backing = NULL;
    block_close(b, NULL);
}

static const unsigned odds[] = {0, 1, 4, 7, 8};

static void cut(struct world *w, size_t first_pending, size_t end)
{
    u8 *image = malloc(MEM_STORE_MAX / 4);
    u64 size = w->durable_size;
    unsigned chosen = odds[rng(ARRAY_LEN(odds))];
    memcpy(image, w->durable, size);
    for (size_t i = first_pending; i < end; i++)
        event_apply(&w->store->events[i], chosen, &image, &size);
    w->cuts++;
    state_verify(w, image, size, 0);
    free(image);
}

/* Cuts at some of the writes of a repair of `image`, which are recorded in `m`. */
static void cut_repair(struct world *w, struct mem_store *m, const u8 *image, u64 size)
{
    u8 *now = malloc(MEM_STORE_MAX / 4), *durable = malloc(MEM_STORE_MAX / 4);
    u64 now_size, durable_size = size;
    size_t pending = 0;
    memcpy(durable, image, size);
    for (size_t i = 0; i < m->count; i++) {
        if (rng(4) == 0) {
            unsigned chosen = odds[rng(ARRAY_LEN(odds))];
            now_size = durable_size;
            memcpy(now, durable, durable_size);
            for (size_t j = pending; j <= i; j++)
                event_apply(&m->events[j], chosen, &now, &now_size);
            w->cuts++;
            w->repair_cuts++;
            state_verify(w, now, now_size, 1);
        }
        if (m->events[i].kind != MEM_FLUSH)
            continue;
        for (; pending <= i; pending++)
            event_apply(&m->events[pending], 8, &durable, &durable_size);
    }
    mem_forget(m);
    free(now);
    free(durable);
}

/* Cuts the power at the events of the last operation (each with a chance of 1 in `sparse`). `first` is the
 * first event that this operation added. */
static void cut_operation(struct world *w, size_t first, unsigned sparse)
{
    size_t pending = 0;
    for (size_t i = 0; i < w->store->count; i++) {
        if (i >= first && rng(sparse) == 0)
            cut(w, pending, i + 1);
        if (w->store->events[i].kind == MEM_FLUSH) {
            for (size_t j = pending; j < i; j++)
                event_apply(&w->store->events[j], 8, &w->durable, &w->durable_size);
            pending = i + 1;
        }
    }
    for (size_t i = 0; i < pending; i++)
        free(w->store->events[i].data);
    if (pending)
        memmove(w->store->events, w->store->events + pending,
                (w->store->count - pending) * sizeof *w->store->events);
    w->store->count -= pending;
}

/* --- the work --- */

static void promise_add(struct promise *p, u32 version)
{
    p->pending[p->count++] = version;
}

static bool range_pick(struct world *w, u32 *first, u32 *count)
{
    *first = (u32)rng(DISK_SECTORS - 1);
    *count = (u32)(1 + rng(rng(4) ? 12 : 300));
    *count = MIN(*count, DISK_SECTORS - 1 - *first);
    for (u32 i = 0; i < *count; i++)
        if (w->disk[*first + i].count > MAX_PENDING - 2)
            return false;
    return *count != 0;
}

static int op_write(struct world *w, struct error *err)
{
    static u8 buf[DISK_SECTORS * SECTOR_SIZE];
    u32 first, count, version = ++w->version;
    if (!range_pick(w, &first, &count))
        return 0;
    for (u32 i = 0; i < count; i++) {
        sector_fill(buf + i * SECTOR_SIZE, first + i, version);
        promise_add(&w->disk[first + i], version);
        w->disk[first + i].now = version;
    }
    return block_write(w->block, (u64)first * SECTOR_SIZE, buf, (size_t)count * SECTOR_SIZE, err);
}

static int op_compress(struct world *w, struct error *err)
{
    static u8 buf[MIB(2)];
    u32 per = (u32)(w->cluster_size / SECTOR_SIZE), first = (u32)rng(DISK_SECTORS / per) * per,
        version = ++w->version;
    if (first + per > DISK_SECTORS - 1)
        return 0;
    for (u32 i = 0; i < per; i++)
        if (w->disk[first + i].count > MAX_PENDING - 2)
            return 0;
    for (u32 i = 0; i < per; i++) {
        sector_fill(buf + i * SECTOR_SIZE, first + i, version);
        promise_add(&w->disk[first + i], version);
        w->disk[first + i].now = version;
    }
    return qcow2_write_compressed(w->block, (u64)first * SECTOR_SIZE, buf, w->cluster_size, err);
}

static int op_zero(struct world *w, struct error *err)
{
    u32 first, count;
    if (!range_pick(w, &first, &count))
        return 0;
    for (u32 i = first; i < first + count; i++) {
        promise_add(&w->disk[i], 0);
        w->disk[i].now = 0;
    }
    return block_write_zeroes(w->block, (u64)first * SECTOR_SIZE, (u64)count * SECTOR_SIZE, err);
}

static int op_discard(struct world *w, struct error *err)
{
    u8 buf[SECTOR_SIZE];
    u32 first, count;
    if (!range_pick(w, &first, &count))
        return 0;
    for (u32 i = first; i < first + count; i++)
        promise_add(&w->disk[i], 0);
    int r = block_discard(w->block, (u64)first * SECTOR_SIZE, (u64)count * SECTOR_SIZE, err);
    for (u32 i = first; i < first + count && r == 0; i++) {
        r = block_read(w->block, (u64)i * SECTOR_SIZE, buf, SECTOR_SIZE, err);
        if (sector_is(buf, i, 0))
            w->disk[i].now = 0;
    }
    return r;
}

static int op_snapshot(struct world *w, struct error *err)
{
    unsigned i = (unsigned)rng(ARRAY_LEN(w->has_saved));
    char name[8];
    snprintf(name, sizeof name, "s%u", i);
    if (!w->has_saved[i]) {
        for (u32 s = 0; s < DISK_SECTORS; s++)
            w->saved[i][s] = w->disk[s].now;
        int r = qcow2_snapshot_create(w->block, name, 1, err);
        w->has_saved[i] = r == 0;
        return r == -ERANGE ? 0 : r; /* narrow refcounts: nothing has changed */
    }
    if (rng(2)) {
        w->has_saved[i] = false;
        return qcow2_snapshot_delete(w->block, name, err);
    }
    int r = qcow2_snapshot_apply(w->block, name, err);
    for (u32 s = 0; s < DISK_SECTORS && r == 0; s++) {
        promise_add(&w->disk[s], w->saved[i][s]);
        w->disk[s].now = w->saved[i][s];
    }
    return r == -ERANGE ? 0 : r;
}

/* Grows the disk, so far that its L1 table has to move; or shrinks it back. */
static int op_resize(struct world *w, struct error *err)
{
    u64 size = w->block->size > DISK_SIZE ? DISK_SIZE : DISK_SIZE + (1 + rng(200)) * 50000;
    w->sizes[0] = w->block->size;
    w->sizes[1] = size;
    return block_resize(w->block, size, err);
}

static void settle(struct world *w)
{
    w->sizes[0] = w->sizes[1] = w->block->size;
    for (u32 s = 0; s < DISK_SECTORS; s++) {
        w->disk[s].durable = w->disk[s].now;
        w->disk[s].count = 0;
    }
}

static int step(struct world *w, unsigned sparse)
{
    struct error err = {0};
    size_t first = w->store->count;
    bool flush = false, durable = false;
    int r;
    switch (rng(17)) {
    case 0 ... 7:
        r = op_write(w, &err);
        break;
    case 8 ... 9:
        r = op_zero(w, &err);
        break;
    case 10 ... 11:
        r = op_discard(w, &err);
        break;
    case 12:
        r = op_compress(w, &err);
        break;
    case 13 ... 15:
        flush = true;
        r = block_flush(w->block, &err);
        break;
    default:
        /* So that every sector has room for one more promise. */
        r = block_flush(w->block, &err);
        cut_operation(w, first, sparse);
        settle(w);
        first = w->store->count;
        if (r == 0)
            r = w->snapshots ? op_snapshot(w, &err) : op_resize(w, &err);
        durable = true;
    }
    if (r < 0) {
        fail(w, err.message);
        return r;
    }
    cut_operation(w, first, sparse);
    if (flush || durable)
        settle(w);
    return 0;
}

static bool world_create(struct world *w)
{
    static const unsigned bits[] = {9, 9, 10, 12, 16}, widths[] = {1, 2, 4, 8, 16, 16, 32, 64};
    struct qcow2_create_options o = {.size = DISK_SIZE, .cluster_bits = bits[rng(ARRAY_LEN(bits))]};
    struct error err = {0};
    bool backed = rng(2);
    w->cache_bytes = rng(3) ? 0 : 1;
    struct block_options options = {.format = "qcow2", .no_backing = true, .cache_bytes = w->cache_bytes};
    o.version = rng(4) ? 3 : 2;
    o.refcount_bits = o.version == 3 ? widths[rng(ARRAY_LEN(widths))] : 16;
    o.backing = backed ? "base" : NULL;
    o.zstd = o.version == 3 && rng(2);
    w->snapshots = o.refcount_bits > 2 && rng(2);
    w->lazy = o.lazy_refcounts = o.version == 3 && rng(3) == 0;
    w->cluster_size = BIT(o.cluster_bits);
    w->store = mem_store_create(NULL, 0);
    if (qcow2_create(&w->store->store, &o, &err) < 0 ||
        block_open_store(&w->block, &w->store->store, "image", &options, &err) < 0) {
        fail(w, err.message);
        return false;
    }
    if (backed) {
        struct mem_store *base = mem_store_create(NULL, DISK_SECTORS * SECTOR_SIZE / 2);
        struct block_options raw = {.format = "raw", .readonly = true};
        w->version = 1;
        for (u32 s = 0; s < DISK_SECTORS / 2; s++) {
            sector_fill(base->data + s * SECTOR_SIZE, s, 1);
            w->disk[s].now = w->disk[s].durable = 1;
        }
        if (block_open_store(&w->backing, &base->store, "base", &raw, &err) < 0)
            return false;
        w->block->backing = w->backing;
    }
    w->sizes[0] = w->sizes[1] = DISK_SIZE;
    w->durable = malloc(MEM_STORE_MAX / 4);
    w->durable_size = w->store->size;
    memcpy(w->durable, w->store->data, w->store->size);
    w->store->records = true;
    return true;
}

static void world_destroy(struct world *w)
{
    if (w->block) {
        w->block->backing = NULL;
        block_close(w->block, NULL);
    }
    block_close(w->backing, NULL);
    free(w->durable);
    free(w);
}

static u64 total_cuts, total_repair_cuts, total_leaks, total_failures, wanted_cuts = 10000;

static void test_power_cuts(void)
{
    while (total_cuts < wanted_cuts && total_failures < 20) {
        struct world *w = calloc(1, sizeof *w);
        if (world_create(w))
            for (unsigned i = 0; i < 120 && total_cuts + w->cuts < wanted_cuts; i++)
                if (step(w, wanted_cuts > 5000 ? 2 : 6) < 0)
                    break;
        total_cuts += w->cuts;
        total_repair_cuts += w->repair_cuts;
        total_leaks += w->leaks;
        total_failures += w->failures;
        world_destroy(w);
    }
    printf("# %llu cuts, %llu of them within repairs, %llu left leaks\n", (unsigned long long)total_cuts,
           (unsigned long long)total_repair_cuts, (unsigned long long)total_leaks);
    CHECK_EQ(total_failures, 0);
    CHECK(total_repair_cuts > 0);
    CHECK(total_leaks > 0); /* else the cuts were not where it hurts */
}

int main(int argc, char **argv)
{
    rng_state = 88172645463325252ull;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--cuts"))
            wanted_cuts = strtoull(argv[i + 1], NULL, 0);
        if (!strcmp(argv[i], "--seed"))
            rng_state ^= strtoull(argv[i + 1], NULL, 0) * 0x9e3779b97f4a7c15ull;
    }
    TAP_RUN(test_power_cuts);
    return tap_done();
}
