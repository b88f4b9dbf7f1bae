/*
 * A transfer between a medium and guest memory, in chunks that are read or written in place: the pieces of
 * guest memory come one by one from the controller's descriptors. Pieces that are no RAM go through a buffer
 * of our own.
 *
 * Everything here: [lock].
 */
#ifndef RING3_DEVICES_ATA_TRANSFER_H
#define RING3_DEVICES_ATA_TRANSFER_H

#include "block/drive.h"
#include "devices/pci/pci.h"

/* A piece of memory as the bus sees it. */
struct dma_piece {
    u64 address;
    u32 len;
};

/* Gives the next 1..max bytes of what the descriptors name; false at their end, or if they are bad. */
typedef bool dma_next_fn(void *opaque, u32 max, struct dma_piece *out);

#define ATA_CHUNK_MAX  MIB(1)
#define ATA_PIECES_MAX 256 /* of 2 bytes at least, which the controllers see to: a sector fits */

enum ata_transfer_end {
    ATA_TRANSFER_DONE,
    ATA_TRANSFER_SHORT, /* the descriptors ended first, or it was told to stop; `left` sectors are not done */
    ATA_TRANSFER_FAILED, /* the chunk at `sector` cannot be read or written: `result` */
};

struct ata_transfer {
    struct pci_function *function;
    struct mem_space *mem;
    struct drive *drive;
    dma_next_fn *next;
    void (*done)(struct ata_transfer *transfer, enum ata_transfer_end end);
    void *opaque;
    bool write;
    u64 sector; /* of SECTOR_SIZE; goes on as chunks are done */
    u32 left;   /* sectors */
    u64 moved;  /* bytes, so far */

    /* Its own from here on. */
    bool under_way, stopping;
    int result;
    u32 chunk;             /* bytes */
    unsigned piece_count;  /* of this chunk and, behind them, of the next one */
    unsigned chunk_pieces; /* of this chunk */
    unsigned iov_count;
    struct dma_piece piece[ATA_PIECES_MAX + 1];
    struct iovec iov[ATA_PIECES_MAX];
    u64 gpa[ATA_PIECES_MAX];
    u8 *bounce;
    struct block_request request;
};

/* The caller has set all up to `left`, which is not 0; the range is on the medium. `done` may be called from
 * within. */
void ata_transfer_start(struct ata_transfer *t);
/* No more chunks after the one under way. */
void ata_transfer_stop(struct ata_transfer *t);

/* Copies `len` bytes into or out of the pieces; returns how many, fewer if the descriptors end. */
u32 ata_copy_to_guest(struct pci_function *f, dma_next_fn *next, void *opaque, const u8 *from, u32 len);
u32 ata_copy_from_guest(struct pci_function *f, dma_next_fn *next, void *opaque, u8 *to, u32 len);

#endif
