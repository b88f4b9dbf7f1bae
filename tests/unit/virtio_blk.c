/* The virtio disk: reads, writes in all layouts, flush, serial number, discard, zeroes, errors,
 * write-through, reset with requests under way, saved state. */
#include <fcntl.h>
#include <unistd.h>

#include "devices/virtio/virtio_blk.h"
#include "virtio_driver.h"

#define SECTORS 64u
#define HEADER  (DATA + 0xf0000)
#define STATUS  (HEADER + 0x100)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPPORTED = 2, S_NONE = 0xee };
#define F_FLUSH      BIT(9)
#define F_WCE        BIT(11)
#define F_DISCARD    BIT(13)
#define F_ZEROES     BIT(14)
#define F_READONLY   BIT(5)
#define OUR_FEATURES (F_FLUSH | F_WCE | F_DISCARD | F_ZEROES | VIRTIO_F_INDIRECT_DESC)

struct disk {
    struct rig r;
    struct drive *drive;
    struct virtio_blk *blk;
    int fd;
    char name[64];
};

static u8 pattern(u64 at)
{
    return (u8)(at * 7 + at / 512);
}

static void disk_init(struct disk *d, bool readonly)
{
    u8 bytes[SECTORS * SECTOR_SIZE];
    struct rig *r = &d->r;
    memset(d, 0, sizeof *d);
    rig_init(r);
    strcpy(d->name, "/tmp/ring3-virtio-blk-XXXXXX");
    d->fd = mkstemp(d->name);
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = pattern(i);
    CHECK(write(d->fd, bytes, sizeof bytes) == sizeof bytes);
    struct drive_config config = {
        .file = d->name, .format = "raw", .serial = "R3-0001", .readonly = readonly};
    loop_unlock(r->f.loop);
    CHECK(drive_open(&d->drive, &config, loop_mutex(r->f.loop), NULL) == 0);
    loop_lock(r->f.loop);
    struct virtio_blk_config blk = {.drive = d->drive, .queues = 2};
    CHECK(virtio_blk_create(&d->blk, &r->f.env, &blk, NULL) == 0);
    rig_plug(r, virtio_blk_device(d->blk));
}

static void disk_drain(struct disk *d)
{
    loop_unlock(d->r.f.loop);
    block_queue_drain(d->drive->queue);
    loop_lock(d->r.f.loop);
}

static void disk_finish(struct disk *d)
{
    struct rig *r = &d->r;
    rig_unplug(r);
    loop_unlock(r->f.loop);
    virtio_blk_destroy(d->blk);
    CHECK(drive_close(d->drive, NULL) == 0);
    loop_lock(r->f.loop);
    close(d->fd);
    unlink(d->name);
    rig_finish(r);
}

static void header_set(struct disk *d, u32 type, u64 sector)
{
    u8 *h = d->r.hva + HEADER;
    store_le32(h, type);
    store_le32(h + 4, 0);
    store_le64(h + 8, sector);
    d->r.hva[STATUS] = S_NONE;
}

/* Header, one buffer, status: offered and waited for; returns the status. */
static u8 request(struct disk *d, u32 type, u64 sector, u64 gpa, u32 len)
{
    struct rig *r = &d->r;
    bool writes = type == T_IN || type == T_GET_ID;
    u16 before = rig_used(r, 0);
    header_set(d, type, sector);
    rig_desc(r, Q_DESC(0), 0, HEADER, 16, NEXT, len ? 1 : 2);
    rig_desc(r, Q_DESC(0), 1, gpa, len, NEXT | (writes ? WRITE : 0), 2);
    rig_desc(r, Q_DESC(0), 2, STATUS, 1, WRITE, 0);
    rig_offer(r, 0, 0);
    rig_notify(r, 0);
    disk_drain(d);
    CHECK_EQ((u16)(rig_used(r, 0) - before), 1);
    return r->hva[STATUS];
}

static void test_transfer(void)
{
    struct disk d;
    disk_init(&d, false);
    struct rig *r = &d.r;
    rig_start(r, OUR_FEATURES, 2);
    CHECK_EQ(rig_read(r, RIG_CONFIG, 8), SECTORS);
    CHECK_EQ(rig_read(r, RIG_CONFIG + 20, 4), SECTOR_SIZE);
    CHECK_EQ(rig_read(r, RIG_CONFIG + 34, 2), 2);
    CHECK_EQ(request(&d, T_IN, 3, DATA, 1024), S_OK);
    for (unsigned i = 0; i < 1024; i++)
        if (r->hva[DATA + i] != pattern(3 * 512 + i)) {
            CHECK_EQ(r->hva[DATA + i], pattern(3 * 512 + i));
            break;
        }
    CHECK_EQ(rig_used_len(r, 0, 0), 1025);
    CHECK_EQ(r->messages[1], 1);
    memset(r->hva + DATA, 0x5a, 512);
    CHECK_EQ(request(&d, T_OUT, SECTORS - 1, DATA, 512), S_OK);
    u8 byte;
    CHECK(pread(d.fd, &byte, 1, SECTORS * SECTOR_SIZE - 1) == 1 && byte == 0x5a);
    CHECK_EQ(rig_used_len(r, 0, 1), 1);
    CHECK_EQ(request(&d, T_FLUSH, 0, 0, 0), S_OK);
    CHECK_EQ(request(&d, T_GET_ID, 0, DATA, 20), S_OK);
    CHECK_STR((char *)r->hva + DATA, "R3-0001");
    CHECK_EQ(request(&d, T_GET_ID, 0, DATA, 3), S_OK);
    CHECK_EQ(request(&d, 77, 0, DATA, 512), S_UNSUPPORTED);
    disk_finish(&d);
}

static void test_errors(void)
{
    struct disk d;
    disk_init(&d, false);
    struct rig *r = &d.r;
    rig_start(r, OUR_FEATURES, 2);
    CHECK_EQ(request(&d, T_IN, SECTORS, DATA, 512), S_IOERR);
    CHECK_EQ(request(&d, T_IN, SECTORS - 1, DATA, 1024), S_IOERR);
    CHECK_EQ(request(&d, T_OUT, ~0ull, DATA, 512), S_IOERR);
    CHECK_EQ(request(&d, T_IN, 0, DATA, 511), S_IOERR);
    CHECK_EQ(request(&d, T_OUT, 0, DATA, 513), S_IOERR);
    CHECK_EQ(request(&d, T_IN, 0, DATA, 0), S_OK); /* nothing, which is fine */
    /* No status byte. */
    rig_desc(r, Q_DESC(0), 0, HEADER, 16, NEXT, 1);
    rig_desc(r, Q_DESC(0), 1, DATA, 512, 0, 0);
    rig_offer(r, 0, 0);
    rig_notify(r, 0);
    CHECK(rig_status(r) & VIRTIO_NEEDS_RESET);
    /* Half a header. */
    rig_start(r, OUR_FEATURES, 2);
    rig_desc(r, Q_DESC(0), 0, HEADER, 15, NEXT, 1);
    rig_desc(r, Q_DESC(0), 1, STATUS, 1, WRITE, 0);
    rig_offer(r, 0, 0);
    rig_notify(r, 0);
    CHECK(rig_status(r) & VIRTIO_NEEDS_RESET);
    disk_finish(&d);
    disk_init(&d, true);
    CHECK_EQ(rig_features(&d.r) & (F_READONLY | F_DISCARD), F_READONLY);
    rig_start(&d.r, F_FLUSH, 2);
    CHECK_EQ(request(&d, T_OUT, 0, DATA, 512), S_IOERR);
    CHECK_EQ(request(&d, T_IN, 0, DATA, 512), S_OK);
    disk_finish(&d);
}

/* Header and data in pieces that mean nothing, the status at the end of a data buffer. */
static void test_layout(void)
{
    struct disk d;
    disk_init(&d, false);
    struct rig *r = &d.r;
    rig_start(r, OUR_FEATURES, 2);
    header_set(&d, T_OUT, 2);
    memset(r->hva + HEADER + 16, 0x77, 100);
    memset(r->hva + DATA, 0x78, 412);
    rig_desc(r, Q_DESC(0), 0, Q_INDIRECT, 64, INDIRECT, 0);
    rig_desc(r, Q_INDIRECT, 0, HEADER, 5, NEXT, 1);
    rig_desc(r, Q_INDIRECT, 1, HEADER + 5, 111, NEXT, 2);
    rig_desc(r, Q_INDIRECT, 2, DATA, 412, NEXT, 3);
    rig_desc(r, Q_INDIRECT, 3, STATUS, 1, WRITE, 0);
    rig_offer(r, 0, 0);
    rig_notify(r, 0);
    disk_drain(&d);
    CHECK_EQ(r->hva[STATUS], S_OK);
    u8 bytes[512];
    CHECK(pread(d.fd, bytes, 512, 1024) == 512);
    CHECK(bytes[0] == 0x77 && bytes[99] == 0x77 && bytes[100] == 0x78 && bytes[511] == 0x78);
    header_set(&d, T_IN, 2);
    rig_desc(r, Q_DESC(0), 1, HEADER, 16, NEXT, 2);
    rig_desc(r, Q_DESC(0), 2, DATA + 0x2000, 300, NEXT | WRITE, 3);
    rig_desc(r, Q_DESC(0), 3, DATA + 0x3000, 213, WRITE, 0);
    r->hva[DATA + 0x3000 + 212] = S_NONE;
    rig_offer(r, 0, 1);
    rig_notify(r, 0);
    disk_drain(&d);
    CHECK_EQ(r->hva[DATA + 0x3000 + 212], S_OK);
    CHECK(!memcmp(r->hva + DATA + 0x2000, bytes, 300) && !memcmp(r->hva + DATA + 0x3000, bytes + 300, 212));
    disk_finish(&d);
}

static void range_set(struct disk *d, unsigned i, u64 sector, u32 count, u32 flags)
{
    u8 *range = d->r.hva + DATA + 16ull * i;
    store_le64(range, sector);
    store_le32(range + 8, count);
    store_le32(range + 12, flags);
}

static void test_ranges(void)
{
    struct disk d;
    disk_init(&d, false);
    rig_start(&d.r, OUR_FEATURES, 2);
    range_set(&d, 0, 4, 2, 0);
    range_set(&d, 1, 8, 1, 1);
    CHECK_EQ(request(&d, T_WRITE_ZEROES, 0, DATA, 32), S_OK);
    u8 bytes[512], zero[512] = {0};
    CHECK(pread(d.fd, bytes, 512, 5 * 512) == 512 && !memcmp(bytes, zero, 512));
    CHECK(pread(d.fd, bytes, 512, 8 * 512) == 512 && !memcmp(bytes, zero, 512));
    CHECK(pread(d.fd, bytes, 512, 6 * 512) == 512 && bytes[1] == pattern(6 * 512 + 1));
    range_set(&d, 0, 0, 8, 0);
    CHECK_EQ(request(&d, T_DISCARD, 0, DATA, 16), S_OK);
    range_set(&d, 0, 0, 0, 0); /* nothing */
    CHECK_EQ(request(&d, T_DISCARD, 0, DATA, 16), S_OK);
    range_set(&d, 0, 0, 8, 1); /* discards have no flags */
    CHECK_EQ(request(&d, T_DISCARD, 0, DATA, 16), S_UNSUPPORTED);
    range_set(&d, 0, 0, 8, 2);
    CHECK_EQ(request(&d, T_WRITE_ZEROES, 0, DATA, 16), S_UNSUPPORTED);
    range_set(&d, 0, SECTORS - 1, 2, 0);
    CHECK_EQ(request(&d, T_WRITE_ZEROES, 0, DATA, 16), S_IOERR);
    range_set(&d, 0, ~0ull, 1, 0);
    CHECK_EQ(request(&d, T_DISCARD, 0, DATA, 16), S_IOERR);
    CHECK_EQ(request(&d, T_DISCARD, 0, DATA, 17), S_IOERR);
    CHECK_EQ(request(&d, T_DISCARD, 0, DATA, 16 * 33), S_IOERR);
    rig_start(&d.r, F_FLUSH, 2); /* not agreed on */
    range_set(&d, 0, 0, 8, 0);
    CHECK_EQ(request(&d, T_DISCARD, 0, DATA, 16), S_UNSUPPORTED);
    disk_finish(&d);
}

static void test_many_at_once(void)
{
    struct disk d;
    disk_init(&d, false);
    struct rig *r = &d.r;
    rig_start(r, OUR_FEATURES, 2);
    header_set(&d, T_IN, 0);
    for (unsigned i = 0; i < 5; i++) {
        unsigned at = 3 * i;
        u64 header = HEADER + 0x1000 + 16 * i;
        memcpy(r->hva + header, r->hva + HEADER, 16);
        store_le64(r->hva + header + 8, i);
        rig_desc(r, Q_DESC(1), at, header, 16, NEXT, (u16)(at + 1));
        rig_desc(r, Q_DESC(1), at + 1, DATA + 512 * i, 512, NEXT | WRITE, (u16)(at + 2));
        rig_desc(r, Q_DESC(1), at + 2, STATUS + i, 1, WRITE, 0);
        rig_offer(r, 1, (u16)at);
    }
    rig_notify(r, 1);
    disk_drain(&d);
    CHECK_EQ(rig_used(r, 1), 5);
    for (unsigned i = 0; i < 5 * 512; i++)
        if (r->hva[DATA + i] != pattern(i)) {
            CHECK_EQ(r->hva[DATA + i], pattern(i));
            break;
        }
    CHECK(r->messages[2] >= 1);
    disk_finish(&d);
}

/* What is under way at a reset touches neither the new rings nor their numbers. */
static void test_reset_under_way(void)
{
    struct disk d;
    disk_init(&d, false);
    struct rig *r = &d.r;
    for (unsigned round = 0; round < 20; round++) {
        rig_start(r, OUR_FEATURES, 2);
        header_set(&d, T_OUT, 1);
        rig_desc(r, Q_DESC(0), 0, HEADER, 16, NEXT, 1);
        rig_desc(r, Q_DESC(0), 1, DATA, 512, NEXT, 2);
        rig_desc(r, Q_DESC(0), 2, STATUS, 1, WRITE, 0);
        for (unsigned i = 0; i < 6; i++)
            rig_offer(r, 0, 0);
        rig_notify(r, 0);
        rig_set_status(r, 0);
        memset(r->hva + Q_USED(0), 0, 0x1000);
        disk_drain(&d);
        CHECK_EQ(rig_status(r), 0);
        CHECK_EQ(rig_used(r, 0), 0);
    }
    disk_finish(&d);
}

static void test_write_through(void)
{
    struct disk d;
    disk_init(&d, false);
    struct rig *r = &d.r;
    rig_start(r, OUR_FEATURES, 2);
    CHECK_EQ(rig_read(r, RIG_CONFIG + 32, 1), 1);
    rig_write(r, RIG_CONFIG + 32, 1, 0);
    CHECK_EQ(rig_read(r, RIG_CONFIG + 32, 1), 0);
    rig_write(r, RIG_CONFIG, 1, 0xff); /* read-only */
    CHECK_EQ(rig_read(r, RIG_CONFIG, 8), SECTORS);
    CHECK_EQ(request(&d, T_OUT, 1, DATA, 512), S_OK);
    u8 *buf;
    size_t len;
    struct disk other;
    CHECK(state_set_save(r->f.state, &buf, &len, NULL) == 0);
    disk_init(&other, false);
    CHECK(state_set_load(other.r.f.state, buf, len, NULL) == 0);
    CHECK_EQ(rig_read(&other.r, RIG_CONFIG + 32, 1), 0);
    disk_finish(&other);
    free(buf);
    rig_start(r, 0, 2); /* a driver that knows no flush */
    CHECK_EQ(rig_read(r, RIG_CONFIG + 32, 1), 1);
    CHECK_EQ(request(&d, T_OUT, 1, DATA, 512), S_OK);
    disk_finish(&d);
}

int main(void)
{
    TAP_RUN(test_transfer);
    TAP_RUN(test_errors);
    TAP_RUN(test_layout);
    TAP_RUN(test_ranges);
    TAP_RUN(test_many_at_once);
    TAP_RUN(test_reset_under_way);
    TAP_RUN(test_write_through);
    return tap_done();
}
