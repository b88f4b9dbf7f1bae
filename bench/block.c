/*
 * Requests a second of the block layer's queue, without a guest: block FILE [--format FMT] [--threads]
 *
 * Each line: what, queue depth, requests a second, MB/s. QEMU's block layer measured the same way:
 * qemu-img bench -f FMT -c COUNT -d DEPTH -s SIZE [-S STEP] [-w] -i threads|io_uring FILE
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "block/queue.h"

#define SECONDS   2.0
#define MAX_DEPTH 32u

struct load {
    const char *name;
    enum block_request_kind kind;
    u64 size;
    bool random;
};

struct bench {
    struct block *block;
    struct block_queue *queue;
    struct load load;
    u64 next, random, done, limit_ns;
    int failed;
};

static u64 now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static void request_place(struct bench *b, struct block_request *q)
{
    u64 places = b->block->size / b->load.size;
    b->random = b->random * 6364136223846793005ull + 1442695040888963407ull;
    q->offset = (b->load.random ? (b->random >> 20) % places : b->next++ % places) * b->load.size;
}

/* All of them are called with the mutex of the queue, and go on from there like a device would. */
static void request_done(struct block_request *q, int result, const struct error *err)
{
    struct bench *b = q->opaque;
    b->done++;
    if (result < 0) {
        fprintf(stderr, "block: %s\n", err->message);
        b->failed = 1;
        return;
    }
    if (now_ns() >= b->limit_ns)
        return;
    request_place(b, q);
    block_queue_begin(b->queue);
    block_queue_submit(b->queue, q);
    block_queue_end(b->queue);
}

static int measure(struct block *block, struct load load, unsigned depth)
{
    static struct block_request requests[MAX_DEPTH];
    pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
    struct bench b = {.block = block, .load = load, .random = 1};
    struct error err = {0};
    if (block_queue_create(&b.queue, block, 4, &held, &err) < 0) {
        fprintf(stderr, "block: %s\n", err.message);
        return 1;
    }
    u64 start = now_ns();
    b.limit_ns = start + (u64)(SECONDS * 1e9);
    pthread_mutex_lock(&held);
    block_queue_begin(b.queue);
    for (unsigned i = 0; i < depth; i++) {
        requests[i] = (struct block_request){.kind = load.kind,
                                             .len = load.size,
                                             .buf = malloc(load.size),
                                             .done = request_done,
                                             .opaque = &b};
        memset(requests[i].buf, (int)i + 1, load.size);
        request_place(&b, &requests[i]);
        block_queue_submit(b.queue, &requests[i]);
    }
    block_queue_end(b.queue);
    pthread_mutex_unlock(&held);
    block_queue_drain(b.queue);
    double seconds = (double)(now_ns() - start) / 1e9;
    printf("%-18s depth %2u  %9.0f/s  %8.1f MB/s  (%s)\n", load.name, depth, (double)b.done / seconds,
           (double)(b.done * load.size) / 1e6 / seconds, block_queue_engine(b.queue));
    block_queue_destroy(b.queue);
    for (unsigned i = 0; i < depth; i++)
        free(requests[i].buf);
    return b.failed;
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {{"random read 4K", BLOCK_READ, 4096, true},
                                        {"random write 4K", BLOCK_WRITE, 4096, true},
                                        {"read 128K", BLOCK_READ, 131072, false},
                                        {"write 128K", BLOCK_WRITE, 131072, false}};
    struct block_options options = {0};
    struct error err = {0};
    struct block *block;
    const char *file = NULL;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--threads"))
            options.threads = true;
        else if (!strcmp(argv[i], "--format") && i + 1 < argc)
            options.format = argv[++i];
        else
            file = argv[i];
    }
    if (!file || block_open(&block, file, &options, &err) < 0) {
        fprintf(stderr, "block: %s\n", file ? err.message : "name an image; its contents are overwritten");
        return 1;
    }
    int failed = 0;
    for (size_t i = 0; i < ARRAY_LEN(loads); i++)
        for (unsigned depth = 1; depth <= MAX_DEPTH; depth *= 32)
            failed |= measure(block, loads[i], depth);
    return block_close(block, &err) < 0 || failed;
}
