/*
 * The guest's side of bench/disk: reads /dev/vda past the page cache, by asynchronous I/O, and prints what it
 * got. Linked statically; needs nothing but the kernel.
 *
 *   disk_guest NAME BLOCK DEPTH seq|random SECONDS
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 64

struct job {
    int fd;
    uint64_t blocks, next, state;
    size_t block;
    int is_random;
    struct iocb cb[DEPTH_MAX];
    void *buffer[DEPTH_MAX];
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    printf("disk_guest: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The block that is read next: in order, or by an xorshift generator. */
static uint64_t block_next(struct job *j)
{
    if (!j->is_random)
        return j->next++ % j->blocks;
    j->state ^= j->state << 13;
    j->state ^= j->state >> 7;
    j->state ^= j->state << 17;
    return j->state % j->blocks;
}

static void prepare(struct job *j, unsigned slot)
{
    j->cb[slot] = (struct iocb){.aio_data = slot,
                                .aio_lio_opcode = IOCB_CMD_PREAD,
                                .aio_fildes = (uint32_t)j->fd,
                                .aio_buf = (uint64_t)(uintptr_t)j->buffer[slot],
                                .aio_nbytes = j->block,
                                .aio_offset = (int64_t)(block_next(j) * j->block)};
}

static uint64_t job_run(struct job *j, unsigned depth, double seconds, double *took)
{
    aio_context_t context = 0;
    struct iocb *list[DEPTH_MAX];
    struct io_event events[DEPTH_MAX];
    uint64_t done = 0;
    if (syscall(SYS_io_setup, DEPTH_MAX, &context) < 0)
        die("io_setup");
    for (unsigned i = 0; i < depth; i++) {
        prepare(j, i);
        list[i] = &j->cb[i];
    }
    double start = now();
    unsigned count = depth;
    while ((*took = now() - start) < seconds) {
        if (syscall(SYS_io_submit, context, (long)count, list) != (long)count)
            die("io_submit");
        long n = syscall(SYS_io_getevents, context, 1L, (long)depth, events, NULL);
        if (n < 1)
            die("io_getevents");
        for (long i = 0; i < n; i++) {
            if (events[i].res != (int64_t)j->block) {
                errno = EIO;
                die("read");
            }
            prepare(j, (unsigned)events[i].data);
            list[i] = &j->cb[events[i].data];
        }
        count = (unsigned)n;
        done += (uint64_t)n;
    }
    syscall(SYS_io_destroy, context);
    return done;
}

int main(int argc, char **argv)
{
    struct job j = {.state = 88172645463325252ull};
    uint64_t size;
    double took;
    if (argc != 6)
        return 2;
    j.block = (size_t)atol(argv[2]);
    unsigned depth = (unsigned)atoi(argv[3]);
    j.is_random = !strcmp(argv[4], "random");
    j.fd = open("/dev/vda", O_RDONLY | O_DIRECT);
    if (j.fd < 0 || ioctl(j.fd, BLKGETSIZE64, &size) < 0)
        die("/dev/vda");
    j.blocks = size / j.block;
    if (depth < 1 || depth > DEPTH_MAX || !j.blocks)
        return 2;
    for (unsigned i = 0; i < depth; i++)
        if (posix_memalign(&j.buffer[i], 4096, j.block))
            die("memory");
    uint64_t done = job_run(&j, depth, atof(argv[5]), &took);
    printf("RESULT %s %.1f MB/s %.0f IOPS\n", argv[1], (double)done * (double)j.block / took / 1e6,
           (double)done / took);
    return 0;
}
