/* The asynchronous front: every request completes once, with its result, under the lock that was asked for.
 */
#include <stdatomic.h>
#include <unistd.h>

#include "block/qcow2.h"
#include "block/queue.h"
#include "tests/block/mem_store.h"
#include "tests/tap.h"

#define REQUESTS 400u
#define PIECE    3000u

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

struct job {
    struct block_request request;
    struct block_queue *queue;
    u8 data[PIECE];
    unsigned completed; /* under `held` */
    int result;
    bool was_held;
};

static void job_done(struct block_request *request, int result, const struct error *err)
{
    struct job *job = container_of(request, struct job, request);
    job->completed++;
    job->result = result;
    job->was_held = pthread_mutex_trylock(&held) == EBUSY && (result == 0 || err->message[0]);
}

/* Reads back what was just written, from the completion. */
static void job_read_back(struct block_request *request, int result, const struct error *err)
{
    struct job *job = container_of(request, struct job, request);
    (void)err;
    job->completed++;
    job->result = result;
    memset(job->data, 0, sizeof job->data);
    request->kind = BLOCK_READ;
    request->done = job_done;
    block_queue_submit(job->queue, request);
}

static struct block *image_create(void)
{
    struct mem_store *m = mem_store_create(NULL, 0);
    struct qcow2_create_options o = {.size = REQUESTS * PIECE, .cluster_bits = 12};
    struct block *b = NULL;
    CHECK_EQ(qcow2_create(&m->store, &o, NULL), 0);
    CHECK_EQ(block_open_store(&b, &m->store, "image", &(struct block_options){.format = "qcow2"}, NULL), 0);
    return b;
}

/* A file, so that io_uring is used where the host allows it. */
static struct block *file_create(const char *format, bool threads)
{
    struct qcow2_create_options o = {.size = REQUESTS * PIECE, .cluster_bits = 12};
    struct block_options options = {.format = format, .threads = threads};
    char path[] = "/tmp/ring3-queue-XXXXXX";
    struct block *b = NULL;
    struct store *s;
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK_EQ(store_open_file(&s, path, STORE_WRITE | STORE_CREATE, NULL), 0);
    if (!strcmp(format, "qcow2"))
        CHECK_EQ(qcow2_create(s, &o, NULL), 0);
    else
        CHECK_EQ(s->ops->truncate(s, o.size, NULL), 0);
    CHECK_EQ(block_open_store(&b, s, path, &options, NULL), 0);
    close(fd);
    unlink(path);
    return b;
}

static void requests_complete_once(struct block *b, bool batches)
{
    struct block_queue *queue;
    struct job *jobs = calloc(REQUESTS, sizeof *jobs);
    CHECK_EQ(block_queue_create(&queue, b, 4, &held, NULL), 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        jobs[i] = (struct job){.queue = queue};
        jobs[i].request = (struct block_request){.kind = BLOCK_WRITE,
                                                 .offset = (u64)i * PIECE,
                                                 .len = PIECE,
                                                 .buf = jobs[i].data,
                                                 .done = job_read_back};
        memset(jobs[i].data, (int)(i % 251 + 1), PIECE);
        if (batches && i % 20 == 0) {
            pthread_mutex_lock(&held);
            block_queue_begin(queue);
        }
        block_queue_submit(queue, &jobs[i].request);
        if (batches && i % 20 == 19) {
            block_queue_end(queue);
            pthread_mutex_unlock(&held);
        }
    }
    block_queue_drain(queue);
    unsigned wrong = 0;
    for (unsigned i = 0; i < REQUESTS; i++)
        wrong += jobs[i].completed != 2 || jobs[i].result || !jobs[i].was_held ||
                 jobs[i].data[0] != i % 251 + 1 || memcmp(jobs[i].data, jobs[i].data + 1, PIECE - 1) != 0;
    CHECK_EQ(wrong, 0);
    block_queue_destroy(queue);
    if (b->ops == &block_qcow2) {
        struct qcow2_check check = {0};
        CHECK_EQ(qcow2_check(b, &check, NULL), 0);
        CHECK_EQ(check.corruptions + check.leaks, 0);
    }
    CHECK_EQ(block_close(b, NULL), 0);
    free(jobs);
}

static void test_requests_complete_once(void)
{
    requests_complete_once(image_create(), false);
    for (unsigned i = 0; i < 8; i++)
        requests_complete_once(file_create(i & 1 ? "qcow2" : "raw", i & 2), i & 4);
}

/* Reads behind the end of a raw file that has shrunk, and of what is not readable at all. */
static void test_transfers_that_fail_or_fall_short(void)
{
    static const bool threads[] = {false, true};
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
        struct block *b = file_create("raw", threads[i]);
        struct block_queue *queue;
        struct job job = {.request = {.kind = BLOCK_READ, .offset = 1000, .len = PIECE, .done = job_done}};
        job.request.buf = job.data;
        memset(job.data, 9, PIECE);
        CHECK_EQ(block_write(b, 1000, job.data, 500, NULL), 0);
        CHECK_EQ(b->store->ops->truncate(b->store, 1200, NULL), 0);
        CHECK_EQ(block_queue_create(&queue, b, 1, &held, NULL), 0);
        block_queue_submit(queue, &job.request);
        block_queue_drain(queue);
        CHECK_EQ(job.result, 0);
        CHECK_EQ(job.data[199], 9);
        CHECK_EQ(job.data[200] | job.data[PIECE - 1], 0);
        job.request.buf = (void *)16;
        block_queue_submit(queue, &job.request);
        block_queue_drain(queue);
        CHECK_EQ(job.result, -EFAULT);
        CHECK(job.was_held);
        job.request.kind = BLOCK_FLUSH;
        block_queue_submit(queue, &job.request);
        block_queue_drain(queue);
        CHECK_EQ(job.result, 0);
        CHECK_EQ(job.completed, 3);
        printf("# %s\n", block_queue_engine(queue));
        block_queue_destroy(queue);
        block_close(b, NULL);
    }
}

/* --- many requests at once in few clusters --- */

#define CROWD_JOBS    24u
#define CROWD_SECTORS 512u
#define CROWD_ROUNDS  4000u

/* A job owns every CROWD_JOBS-th sector, so that jobs share clusters and never sectors. */
struct crowd_job {
    struct block_request request;
    struct crowd *crowd;
    u64 random;
    unsigned index, sector;
    u8 data[SECTOR_SIZE], model[CROWD_SECTORS]; /* the byte that fills each own sector */
};

struct crowd {
    struct block_queue *queue;
    unsigned rounds, wrong; /* under `held` */
    struct crowd_job jobs[CROWD_JOBS];
};

static u64 crowd_random(struct crowd_job *job, u64 below)
{
    job->random = job->random * 6364136223846793005ull + 1442695040888963407ull;
    return (job->random >> 33) % below;
}

static void crowd_next(struct block_request *request, int result, const struct error *err)
{
    struct crowd_job *job = container_of(request, struct crowd_job, request);
    struct crowd *crowd = job->crowd;
    if (result < 0) {
        printf("# %s\n", err->message);
        crowd->wrong++;
        return;
    }
    if (request->kind == BLOCK_READ)
        for (unsigned i = 0; i < SECTOR_SIZE; i++)
            crowd->wrong += job->data[i] != job->model[job->sector];
    if (crowd->rounds++ >= CROWD_ROUNDS)
        return;
    unsigned dice = (unsigned)crowd_random(job, 20);
    job->sector = (unsigned)crowd_random(job, CROWD_SECTORS / CROWD_JOBS) * CROWD_JOBS + job->index;
    request->offset = (u64)job->sector * SECTOR_SIZE;
    request->len = SECTOR_SIZE;
    if (dice < 9) {
        request->kind = BLOCK_WRITE;
        job->model[job->sector] = (u8)crowd_random(job, 256);
        memset(job->data, job->model[job->sector], SECTOR_SIZE);
    } else if (dice < 17) {
        request->kind = BLOCK_READ;
        memset(job->data, job->model[job->sector] ^ 1, SECTOR_SIZE);
    } else if (dice < 19) {
        request->kind = BLOCK_WRITE_ZEROES;
        job->model[job->sector] = 0;
    } else {
        request->kind = BLOCK_FLUSH;
    }
    if (crowd_random(job, 4)) {
        block_queue_submit(crowd->queue, request);
    } else {
        block_queue_begin(crowd->queue);
        block_queue_submit(crowd->queue, request);
        block_queue_end(crowd->queue);
    }
}

static void crowd_run(struct block *b)
{
    struct crowd *crowd = calloc(1, sizeof *crowd);
    struct qcow2_check check = {0};
    u8 buf[SECTOR_SIZE];
    CHECK_EQ(block_queue_create(&crowd->queue, b, 6, &held, NULL), 0);
    pthread_mutex_lock(&held);
    for (unsigned i = 0; i < CROWD_JOBS; i++) {
        struct crowd_job *job = &crowd->jobs[i];
        *job = (struct crowd_job){.crowd = crowd, .index = i, .random = i + 1};
        job->request = (struct block_request){.kind = BLOCK_FLUSH, .buf = job->data, .done = crowd_next};
        crowd_next(&job->request, 0, NULL);
    }
    pthread_mutex_unlock(&held);
    block_queue_drain(crowd->queue);
    block_queue_destroy(crowd->queue);
    CHECK_EQ(crowd->wrong, 0);
    for (unsigned s = 0; s < CROWD_SECTORS; s++) {
        CHECK_EQ(block_read(b, (u64)s * SECTOR_SIZE, buf, SECTOR_SIZE, NULL), 0);
        u8 want = crowd->jobs[s % CROWD_JOBS].model[s];
        if (buf[0] != want || memcmp(buf, buf + 1, SECTOR_SIZE - 1) != 0) {
            CHECK_EQ(buf[0], want);
            break;
        }
    }
    if (b->ops == &block_qcow2) {
        CHECK_EQ(qcow2_check(b, &check, NULL), 0);
        CHECK_EQ(check.corruptions + check.leaks, 0);
    }
    CHECK_EQ(block_close(b, NULL), 0);
    free(crowd);
}

static void test_crowded_clusters(void)
{
    crowd_run(image_create());
    for (unsigned i = 0; i < 4; i++)
        crowd_run(file_create(i & 1 ? "qcow2" : "raw", i & 2));
}

/* One request from and to scattered buffers, of odd sizes and some empty, across clusters. */
static void test_scattered_buffers(void)
{
    static u8 from[20000], to[20000];
    static const size_t sizes[] = {1, 0, 4095, 513, 7000, 0, 391, 8000};
    struct block *b = image_create();
    struct iovec out[ARRAY_LEN(sizes)], in[ARRAY_LEN(sizes)];
    struct job job = {.completed = 0};
    struct block_queue *queue;
    size_t at = 0;
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (u8)(i * 7 + i / 251);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        out[i] = (struct iovec){from + at, sizes[i]};
        in[ARRAY_LEN(sizes) - 1 - i] = (struct iovec){to + sizeof to - at - sizes[i], sizes[i]};
        at += sizes[i];
    }
    CHECK_EQ(at, sizeof from);
    CHECK_EQ(block_queue_create(&queue, b, 2, &held, NULL), 0);
    job.request = (struct block_request){.kind = BLOCK_WRITE,
                                         .offset = 3333,
                                         .len = sizeof from,
                                         .iov = out,
                                         .iov_count = ARRAY_LEN(out),
                                         .done = job_done};
    block_queue_submit(queue, &job.request);
    block_queue_drain(queue);
    CHECK_EQ(job.result, 0);
    job.request.kind = BLOCK_READ;
    job.request.iov = in;
    block_queue_submit(queue, &job.request);
    block_queue_drain(queue);
    CHECK_EQ(job.result, 0);
    CHECK(!memcmp(from, to, sizeof from));
    job.request.len++; /* more than the buffers hold */
    block_queue_submit(queue, &job.request);
    block_queue_drain(queue);
    CHECK_EQ(job.result, -EINVAL);
    CHECK_EQ(job.completed, 3);
    block_queue_destroy(queue);
    CHECK_EQ(block_close(b, NULL), 0);
}

static void test_failures_are_reported(void)
{
    struct block *b = image_create();
    struct block_queue *queue;
    struct job job = {
        .request = {.kind = BLOCK_WRITE, .offset = REQUESTS * PIECE, .len = 1, .done = job_done}};
    job.request.buf = job.data;
    CHECK_EQ(block_queue_create(&queue, b, 1, &held, NULL), 0);
    block_queue_submit(queue, &job.request);
    block_queue_destroy(queue); /* drains */
    CHECK_EQ(job.completed, 1);
    CHECK_EQ(job.result, -EINVAL);
    CHECK(job.was_held);
    block_close(b, NULL);
}

static void test_destroy_of_nothing(void)
{
    struct block *b = image_create();
    struct block_queue *queue;
    block_queue_destroy(NULL);
    CHECK_EQ(block_queue_create(&queue, b, 1000, NULL, NULL), 0);
    block_queue_destroy(queue);
    block_close(b, NULL);
}

int main(void)
{
    TAP_RUN(test_requests_complete_once);
    TAP_RUN(test_crowded_clusters);
    TAP_RUN(test_transfers_that_fail_or_fall_short);
    TAP_RUN(test_scattered_buffers);
    TAP_RUN(test_failures_are_reported);
    TAP_RUN(test_destroy_of_nothing);
    return tap_done();
}
