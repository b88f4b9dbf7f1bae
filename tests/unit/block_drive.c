/* Drives: media with and without a temporary layer, what is refused. */
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/drive.h"
#include "tests/tap.h"

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static int last_result;

static void done(struct block_request *request, int result, const struct error *err)
{
    (void)request, (void)err;
    last_result = result;
}

static int transfer(struct drive *drive, enum block_request_kind kind, u64 offset, void *buf, u64 len)
{
    struct block_request request = {.kind = kind, .offset = offset, .len = len, .buf = buf, .done = done};
    last_result = 1;
    pthread_mutex_lock(&held);
    drive_begin(drive);
    drive_submit(drive, &request);
    drive_end(drive);
    pthread_mutex_unlock(&held);
    block_queue_drain(drive->queue);
    return last_result;
}

static void file_make(const char *path, const void *head, size_t head_len, size_t size)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(head, 1, head_len, f) == head_len && ftruncate(fileno(f), (off_t)size) == 0);
    if (f)
        fclose(f);
}

static void test_a_snapshot_leaves_the_image_alone(void)
{
    struct drive_config config = {.file = "disk", .format = "raw", .snapshot = true, .serial = "R3"};
    struct drive *drive;
    u8 buf[4096] = {0};
    file_make("disk", "original", 8, 1000 * SECTOR_SIZE + 100);
    for (unsigned round = 0; round < 2; round++) {
        CHECK_EQ(drive_open(&drive, &config, &held, NULL), 0);
        CHECK_EQ(drive_sectors(drive), 1000);
        CHECK_STR(drive->serial, "R3");
        CHECK_EQ(transfer(drive, BLOCK_READ, 0, buf, sizeof buf), 0);
        CHECK(!memcmp(buf, "original", 9));
        memset(buf, 'x', sizeof buf);
        CHECK_EQ(transfer(drive, BLOCK_WRITE, 2, buf, 700), 0);
        CHECK_EQ(transfer(drive, BLOCK_FLUSH, 0, NULL, 0), 0);
        CHECK_EQ(transfer(drive, BLOCK_READ, 0, buf, sizeof buf), 0);
        CHECK(!memcmp(buf, "orxxxxxx", 8) && buf[701] == 'x' && buf[702] == 0);
        CHECK_EQ(drive_close(drive, NULL), 0);
    }
}

static void test_writes_stay_and_readonly_holds(void)
{
    struct drive_config config = {.file = "disk", .format = "raw"};
    struct drive *drive, *second;
    struct error err = {0};
    u8 buf[SECTOR_SIZE];
    file_make("disk", "original", 8, 64 * SECTOR_SIZE);
    CHECK_EQ(drive_open(&drive, &config, &held, NULL), 0);
    CHECK_EQ(drive_open(&second, &config, &held, &err), -EBUSY);
    CHECK_EQ(transfer(drive, BLOCK_WRITE, 512, memset(buf, 7, sizeof buf), sizeof buf), 0);
    CHECK_EQ(drive_close(drive, NULL), 0);
    config.readonly = true;
    CHECK_EQ(drive_open(&drive, &config, &held, NULL), 0);
    CHECK_EQ(drive_open(&second, &config, &held, NULL), 0);
    CHECK_EQ(drive_close(second, NULL), 0);
    CHECK(drive->readonly);
    CHECK_EQ(transfer(drive, BLOCK_READ, 512, memset(buf, 0, sizeof buf), sizeof buf), 0);
    CHECK_EQ(buf[511], 7);
    CHECK_EQ(transfer(drive, BLOCK_WRITE, 0, buf, sizeof buf), -EROFS);
    CHECK_EQ(transfer(drive, BLOCK_READ, 64 * SECTOR_SIZE, buf, sizeof buf), -EINVAL);
    CHECK_EQ(drive_close(drive, NULL), 0);
}

/* A vdi image, which is only read, below a temporary layer. */
static void test_a_foreign_image_as_a_snapshot(void)
{
    struct drive_config config = {.file = "disk"};
    struct drive *drive;
    struct error err = {0};
    u8 h[1024] = {0}, buf[SECTOR_SIZE];
    store_le32(h + 64, 0xbeda107f);
    store_le32(h + 68, 0x10001);
    store_le32(h + 76, 1);
    store_le32(h + 340, 512);
    store_le32(h + 344, 1024);
    store_le32(h + 360, 512);
    store_le64(h + 368, 8192);
    store_le32(h + 376, 4096);
    store_le32(h + 384, 2);
    store_le32(h + 512, ~0u);
    file_make("disk", h, sizeof h, sizeof h + 4096); /* block 1 is in place 0 */
    CHECK_EQ(drive_open(&drive, &config, &held, &err), -EROFS);
    CHECK(strstr(err.message, "snapshot=on") != NULL);
    config.snapshot = true;
    CHECK_EQ(drive_open(&drive, &config, &held, &err), 0);
    CHECK_EQ(transfer(drive, BLOCK_WRITE, 4096, memset(buf, 3, sizeof buf), sizeof buf), 0);
    CHECK_EQ(transfer(drive, BLOCK_READ, 4096 + 512, buf, sizeof buf), 0);
    CHECK_EQ(buf[0], 0);
    CHECK_EQ(transfer(drive, BLOCK_READ, 4096, buf, sizeof buf), 0);
    CHECK_EQ(buf[0], 3);
    CHECK_EQ(drive_close(drive, NULL), 0);
}

static void test_without_a_medium(void)
{
    struct drive_config config = {.serial = "123456789012345678901"};
    struct drive *drive;
    struct error err = {0};
    CHECK_EQ(drive_open(&drive, &config, &held, &err), -EINVAL);
    CHECK(strstr(err.message, "serial") != NULL);
    config.serial = NULL;
    CHECK_EQ(drive_open(&drive, &config, &held, NULL), 0);
    CHECK(!drive_has_medium(drive));
    CHECK_EQ(drive_close(drive, NULL), 0);
    CHECK_EQ(drive_close(NULL, NULL), 0);
}

int main(void)
{
    char dir[] = "/tmp/ring3-drive-XXXXXX";
    if (!mkdtemp(dir) || chdir(dir) < 0)
        return 1;
    TAP_RUN(test_a_snapshot_leaves_the_image_alone);
    TAP_RUN(test_writes_stay_and_readonly_holds);
    TAP_RUN(test_a_foreign_image_as_a_snapshot);
    TAP_RUN(test_without_a_medium);
    unlink("disk");
    if (chdir("/") < 0 || rmdir(dir) < 0)
        printf("# %s is left\n", dir);
    return tap_done();
}
