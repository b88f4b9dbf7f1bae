/*
 * A drive: what a disk, CD-ROM or floppy controller has behind it. An image (or no medium), the queue that
 * works on it, and what the guest is told about it.
 *
 * Threads: like block/queue.h; all calls but open and close: [machine lock]. Completions (`done` of a
 * request) come with the machine lock held.
 */
#ifndef RING3_BLOCK_DRIVE_H
#define RING3_BLOCK_DRIVE_H

#include "block/queue.h"

#define DRIVE_SERIAL_MAX 20

struct drive_config {
    const char *file;   /* NULL: no medium */
    const char *format; /* NULL: probed */
    const char *serial; /* NULL: none; at most DRIVE_SERIAL_MAX bytes */
    bool readonly;      /* the guest is told so, and writes fail */
    bool snapshot;      /* what the guest writes goes to a temporary file that is gone with the drive */
};

struct drive {
    struct block *block;       /* NULL: no medium */
    struct block_queue *queue; /* NULL: no medium */
    bool readonly;
    char serial[DRIVE_SERIAL_MAX + 1];
    u64 size; /* bytes, a multiple of SECTOR_SIZE; 0: no medium */
};

/* `held` is the machine lock. Not called with it. What an image has behind its last whole sector is out of
 * reach. */
int drive_open(struct drive **out, const struct drive_config *config, pthread_mutex_t *held,
               struct error *err);
/* Waits for what is under way and makes it durable. Without the machine lock. NULL is accepted. */
int drive_close(struct drive *drive, struct error *err);

static inline bool drive_has_medium(const struct drive *drive)
{
    return drive->block;
}

static inline u64 drive_sectors(const struct drive *drive)
{
    return drive->size / SECTOR_SIZE;
}

/* The medium is there, and the request's range is on it (the caller checked). */
static inline void drive_submit(struct drive *drive, struct block_request *request)
{
    block_queue_submit(drive->queue, request);
}

/* Around several submissions, or one whose answer the guest waits for: they go to the host together, and what
 * has ended by then (what is in the host's page cache mostly has) is completed from within drive_end. So
 * `done` of a request that is submitted in between may be called before drive_end returns, never before
 * drive_end is called. The medium is there. */
static inline void drive_begin(struct drive *drive)
{
    block_queue_begin(drive->queue);
}

static inline void drive_end(struct drive *drive)
{
    block_queue_end(drive->queue);
}

#endif
