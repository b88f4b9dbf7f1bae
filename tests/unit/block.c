/* Images as files: formats, locks, backing chains; and what is refused, with its reason. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "block/qcow2.h"
#include "tests/block/mem_store.h"
#include "tests/tap.h"

static const struct block_options readwrite = {0}, readonly = {.readonly = true}, as_raw = {.format = "raw"};

#define CHECK_SAYS(err, words)                                                                               \
    do {                                                                                                     \
        if (!strstr((err).message, words))                                                                   \
            printf("# said: %s\n", (err).message);                                                           \
        CHECK(strstr((err).message, words) != NULL);                                                         \
    } while (0)

static int make(const char *path, u64 size, const char *backing, const char *format)
{
    struct qcow2_create_options o = {
        .size = size, .cluster_bits = 12, .backing = backing, .backing_format = backing ? format : NULL};
    struct store *s;
    int r = store_open_file(&s, path, STORE_WRITE | STORE_CREATE, NULL);
    if (r == 0) {
        r = qcow2_create(s, &o, NULL);
        store_close(s);
    }
    return r;
}

static void raw_file(const char *path, u8 byte, size_t size)
{
    u8 *buf = malloc(size);
    FILE *f = fopen(path, "wb");
    memset(buf, byte, size);
    CHECK(f && fwrite(buf, 1, size, f) == size);
    if (f)
        fclose(f);
    free(buf);
}

static void test_two_writers_are_refused(void)
{
    struct block *a, *b;
    struct error err = {0};
    struct block_options peek = {.readonly = true, .unlocked = true, .inspect = true};
    CHECK_EQ(make("a.qcow2", MIB(1), NULL, NULL), 0);
    CHECK_EQ(block_open(&a, "a.qcow2", &readwrite, &err), 0);
    CHECK_EQ(block_open(&b, "a.qcow2", &readwrite, &err), -EBUSY);
    CHECK_SAYS(err, "in use");
    CHECK_EQ(block_open(&b, "a.qcow2", &readonly, &err), -EBUSY);
    CHECK_EQ(block_open(&b, "a.qcow2", &peek, &err), 0);
    block_close(b, NULL);
    CHECK_EQ(block_close(a, &err), 0);
    CHECK_EQ(block_open(&a, "a.qcow2", &readonly, &err), 0);
    CHECK_EQ(block_open(&b, "a.qcow2", &readonly, &err), 0);
    block_close(a, NULL);
    CHECK_EQ(block_open(&a, "a.qcow2", &readwrite, &err), -EBUSY);
    block_close(b, NULL);
}

static void test_creation_spares_an_image_in_use(void)
{
    struct block *a;
    struct store *s;
    u8 byte = 9;
    CHECK_EQ(make("a.qcow2", MIB(1), NULL, NULL), 0);
    CHECK_EQ(block_open(&a, "a.qcow2", &readwrite, NULL), 0);
    CHECK_EQ(block_write(a, 5, &byte, 1, NULL), 0);
    CHECK_EQ(store_open_file(&s, "a.qcow2", STORE_WRITE | STORE_CREATE, NULL), -EBUSY);
    CHECK_EQ(block_close(a, NULL), 0);
    CHECK_EQ(block_open(&a, "a.qcow2", &readonly, NULL), 0);
    byte = 0;
    CHECK_EQ(block_read(a, 5, &byte, 1, NULL), 0);
    CHECK_EQ(byte, 9);
    block_close(a, NULL);
}

static void test_backing_is_relative_and_shorter(void)
{
    struct block *b;
    u8 buf[4];
    struct error err = {0};
    CHECK(mkdir("dir", 0755) == 0 || errno == EEXIST);
    raw_file("dir/base", 7, 10000);
    CHECK_EQ(make("dir/top.qcow2", 20000, "base", "raw"), 0);
    CHECK_EQ(block_open(&b, "dir/top.qcow2", &readwrite, &err), 0);
    CHECK_EQ(block_read(b, 9998, buf, 4, &err), 0);
    CHECK_EQ(load_le32(buf), 0x0707);
    CHECK_EQ(block_write(b, 9999, "xy", 2, &err), 0);
    CHECK_EQ(block_read(b, 9998, buf, 4, &err), 0);
    CHECK(!memcmp(buf, "\7xy\0", 4));
    CHECK_EQ(block_close(b, &err), 0);
}

static void test_backing_loop_is_refused(void)
{
    struct block *b;
    struct error err = {0};
    CHECK_EQ(make("loop1.qcow2", MIB(1), "loop2.qcow2", "qcow2"), 0);
    CHECK_EQ(make("loop2.qcow2", MIB(1), "loop1.qcow2", "qcow2"), 0);
    CHECK_EQ(block_open(&b, "loop1.qcow2", &readonly, &err), -ELOOP);
    CHECK_SAYS(err, "comes back to");
    CHECK_EQ(make("self.qcow2", MIB(1), "self.qcow2", "qcow2"), 0);
    CHECK(block_open(&b, "self.qcow2", &readwrite, &err) < 0);
}

static void test_foreign_backing_is_refused(void)
{
    struct block *b;
    struct error err = {0};
    CHECK_EQ(make("net.qcow2", MIB(1), "nbd://host/x", "raw"), 0);
    CHECK_EQ(block_open(&b, "net.qcow2", &readonly, &err), -ENOTSUP);
    CHECK_SAYS(err, "no local file");
    CHECK_EQ(make("gone.qcow2", MIB(1), "nowhere", "raw"), 0);
    CHECK_EQ(block_open(&b, "gone.qcow2", &readonly, &err), -ENOENT);
    CHECK_SAYS(err, "its backing file");
}

static void test_guessed_raw_stays_raw(void)
{
    struct block *b;
    struct error err = {0};
    u8 header[104] = "QFI\xfb\0\0\0\3";
    raw_file("disk.raw", 0, 4096);
    CHECK_EQ(block_open(&b, "disk.raw", &readwrite, &err), 0);
    CHECK_STR(b->ops->name, "raw");
    CHECK_EQ(block_write(b, 0, header, sizeof header, &err), -EPERM);
    CHECK_EQ(block_write(b, 0, header, 6, &err), 0);
    CHECK_EQ(block_write(b, 6, header + 6, 4, &err), -EPERM); /* in pieces neither */
    block_close(b, NULL);
    CHECK_EQ(block_open(&b, "disk.raw", &as_raw, &err), 0);
    CHECK_EQ(block_write(b, 0, header, sizeof header, &err), 0);
    block_close(b, NULL);
}

static void test_requests_past_the_end(void)
{
    struct block *b;
    u8 buf[16] = {0};
    CHECK_EQ(make("a.qcow2", 1000, NULL, NULL), 0);
    CHECK_EQ(block_open(&b, "a.qcow2", &readwrite, NULL), 0);
    CHECK_EQ(block_write(b, 990, buf, 10, NULL), 0);
    CHECK_EQ(block_write(b, 990, buf, 11, NULL), -EINVAL);
    CHECK_EQ(block_read(b, ~0ull - 3, buf, 8, NULL), -EINVAL);
    CHECK_EQ(block_discard(b, 0, ~0ull, NULL), -EINVAL);
    block_close(b, NULL);
}

/* --- headers from an enemy: one field is changed --- */

static int open_changed(u64 at, u64 value, unsigned bytes, struct error *err)
{
    struct mem_store *m = mem_store_create(NULL, 0);
    struct qcow2_create_options o = {.size = MIB(1), .cluster_bits = 12};
    struct block *b;
    CHECK_EQ(qcow2_create(&m->store, &o, err), 0);
    for (unsigned i = 0; i < bytes; i++)
        m->data[at + i] = (u8)(value >> (8 * (bytes - 1 - i)));
    int r = block_open_store(&b, &m->store, "image", &(struct block_options){.format = "qcow2"}, err);
    if (r == 0)
        block_close(b, NULL);
    return r;
}

static void test_hostile_headers(void)
{
    static const struct {
        u64 at, value;
        unsigned bytes;
        const char *says;
    } cases[] = {
        {4, 4, 4, "version 2 or 3"},
        {20, 8, 4, "2^8 bytes"},
        {20, 40, 4, "2^40 bytes"},
        {24, ~0ull, 8, "not possible"},
        {24, 1ull << 50, 8, "L1 table has"},
        {32, 2, 4, "encrypted"},
        {36, 0x7fffffff, 4, "more than the format allows"},
        {40, 0x3001, 8, "misaligned"},
        {40, 1ull << 60, 8, "past the end"},
        {40, 0, 8, "misaligned"},
        {48, 0x1200, 8, "misaligned"},
        {48, 0x3000, 8, "overlaps"}, /* the L1 table is there */
        {56, 0, 4, "no refcount table"},
        {56, 0x10000000, 4, "more than the format allows"},
        {60, 0x7fffffff, 4, "too many"},
        {60, 3, 4, "corrupt"},
        {72, 4, 8, "external data file"},
        {72, 16, 8, "extended L2"},
        {72, 1ull << 40, 8, "bit 40"},
        {72, 2, 8, "--repair"},
        {96, 7, 4, "2^7 bits"},
        {100, 7, 4, "header of 7 bytes"},
        {100, 1u << 30, 4, "header of"},
        {8, 1ull << 62, 8, NULL}, /* a backing file's name of length 0 */
        {0x1000, 0x2200, 8, "misaligned"},
        {0x1000, 0, 8, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = {0};
        int r = open_changed(cases[i].at, cases[i].value, cases[i].bytes, &err);
        if (cases[i].says && (r == 0 || !strstr(err.message, cases[i].says)))
            printf("# header + %llu: %d, '%s'\n", (unsigned long long)cases[i].at, r, err.message);
        CHECK(!cases[i].says || (r < 0 && strstr(err.message, cases[i].says)));
    }
}

static void test_failed_flush_stops_writing(void)
{
    struct mem_store *m = mem_store_create(NULL, 0);
    struct qcow2_create_options o = {.size = MIB(1), .cluster_bits = 12};
    struct error err = {0};
    struct block *b;
    u8 buf[100] = {1};
    CHECK_EQ(qcow2_create(&m->store, &o, &err), 0);
    CHECK_EQ(block_open_store(&b, &m->store, "image", &(struct block_options){.format = "qcow2"}, &err), 0);
    CHECK_EQ(block_write(b, 0, buf, sizeof buf, &err), 0);
    m->fail_after = 1; /* the refcount block is written, the flush behind it fails */
    CHECK_EQ(block_flush(b, &err), -EIO);
    m->fail_after = -1;
    CHECK_EQ(block_write(b, 0, buf, sizeof buf, &err), -EIO);
    CHECK_SAYS(err, "an earlier write failed");
    CHECK_EQ(block_flush(b, &err), -EIO);
    CHECK_EQ(block_close(b, &err), -EIO);
}

int main(void)
{
    char dir[] = "/tmp/ring3-block-XXXXXX";
    if (!mkdtemp(dir) || chdir(dir) < 0)
        return 1;
    TAP_RUN(test_two_writers_are_refused);
    TAP_RUN(test_creation_spares_an_image_in_use);
    TAP_RUN(test_backing_is_relative_and_shorter);
    TAP_RUN(test_backing_loop_is_refused);
    TAP_RUN(test_foreign_backing_is_refused);
    TAP_RUN(test_guessed_raw_stays_raw);
    TAP_RUN(test_requests_past_the_end);
    TAP_RUN(test_hostile_headers);
    TAP_RUN(test_failed_flush_stops_writing);
    static const char *const files[] = {"a.qcow2",     "dir/base",    "dir/top.qcow2", "dir",
                                        "loop1.qcow2", "loop2.qcow2", "self.qcow2",    "net.qcow2",
                                        "gone.qcow2",  "disk.raw"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        remove(files[i]);
    if (chdir("/") < 0 || rmdir(dir) < 0)
        printf("# %s is left\n", dir);
    return tap_done();
}
