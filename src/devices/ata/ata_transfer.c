#include "devices/ata/ata_transfer.h"

#include <stdlib.h>

/* --- pieces --- */

/* What the last chunk left over comes first. */
static void pieces_carry(struct ata_transfer *t)
{
    t->piece_count -= t->chunk_pieces;
    memmove(t->piece, t->piece + t->chunk_pieces, t->piece_count * sizeof *t->piece);
    t->chunk_pieces = 0;
}

/* Takes pieces until the chunk is full; cuts it at a sector. */
static void chunk_gather(struct ata_transfer *t)
{
    u32 want = (u32)MIN((u64)t->left * SECTOR_SIZE, ATA_CHUNK_MAX), total = 0;
    pieces_carry(t);
    for (unsigned i = 0; i < t->piece_count; i++)
        total += t->piece[i].len;
    while (total < want && t->piece_count < ATA_PIECES_MAX &&
           t->next(t->opaque, want - total, &t->piece[t->piece_count]))
        total += t->piece[t->piece_count++].len;
    t->chunk = total / SECTOR_SIZE * SECTOR_SIZE;

    u32 done = 0;
    unsigned i = 0;
    for (; i < t->piece_count && done + t->piece[i].len <= t->chunk; i++)
        done += t->piece[i].len;
    u32 cut = t->chunk - done;
    if (cut) { /* this piece is of two chunks; there is room for one more */
        memmove(t->piece + i + 1, t->piece + i, (t->piece_count - i) * sizeof *t->piece);
        t->piece[i].len = cut;
        t->piece[i + 1].address += cut;
        t->piece[i + 1].len -= cut;
        t->piece_count++;
        i++;
    }
    t->chunk_pieces = i;
}

/* False: not all of it is RAM. */
static bool chunk_map(struct ata_transfer *t)
{
    t->iov_count = 0;
    for (unsigned i = 0; i < t->chunk_pieces; i++) {
        struct dma_piece p = t->piece[i];
        while (p.len) {
            u64 len = p.len;
            void *hva;
            if (t->iov_count == ATA_PIECES_MAX ||
                !(hva = pci_dma_ptr(t->function, p.address, &len, !t->write, &t->gpa[t->iov_count])))
                return false;
            t->iov[t->iov_count++] = (struct iovec){hva, len};
            p.address += len;
            p.len -= (u32)len;
        }
    }
    return true;
}

static bool chunk_bounce(struct ata_transfer *t)
{
    t->bounce = malloc(t->chunk);
    if (!t->bounce)
        return false;
    u8 *at = t->bounce;
    for (unsigned i = 0; t->write && i < t->chunk_pieces; at += t->piece[i++].len)
        pci_dma_read(t->function, t->piece[i].address, at, t->piece[i].len);
    t->iov[0] = (struct iovec){t->bounce, t->chunk};
    t->iov_count = 1;
    return true;
}

/* The chunk's bytes are where iov says. */
static void chunk_finish(struct ata_transfer *t)
{
    if (t->write)
        return;
    if (!t->bounce) {
        for (unsigned i = 0; i < t->iov_count; i++)
            mem_mark_dirty(t->mem, t->gpa[i], t->iov[i].iov_len);
        return;
    }
    const u8 *at = t->bounce;
    for (unsigned i = 0; i < t->chunk_pieces; at += t->piece[i++].len)
        pci_dma_write(t->function, t->piece[i].address, at, t->piece[i].len);
}

/* --- chunks --- */

static void transfer_end(struct ata_transfer *t, enum ata_transfer_end end)
{
    t->under_way = false;
    t->done(t, end);
}

static void chunk_done(struct block_request *request, int result, const struct error *err);

/* False: the transfer has ended. */
static bool chunk_submit(struct ata_transfer *t)
{
    chunk_gather(t);
    if (!t->chunk) {
        transfer_end(t, ATA_TRANSFER_SHORT);
        return false;
    }
    if (!chunk_map(t) && !chunk_bounce(t)) {
        t->result = -ENOMEM;
        transfer_end(t, ATA_TRANSFER_FAILED);
        return false;
    }
    t->request = (struct block_request){
        .kind = t->write ? BLOCK_WRITE : BLOCK_READ,
        .offset = t->sector * SECTOR_SIZE,
        .len = t->chunk,
        .iov = t->iov,
        .iov_count = t->iov_count,
        .done = chunk_done,
        .opaque = t,
    };
    drive_submit(t->drive, &t->request);
    return true;
}

static void chunk_done(struct block_request *request, int result, const struct error *err)
{
    struct ata_transfer *t = request->opaque;
    t->result = result;
    if (result >= 0)
        chunk_finish(t);
    else if (!t->write) /* some of it may have been read */
        for (unsigned i = 0; !t->bounce && i < t->iov_count; i++)
            mem_mark_dirty(t->mem, t->gpa[i], t->iov[i].iov_len);
    free(t->bounce);
    t->bounce = NULL;
    if (result < 0) {
        transfer_end(t, ATA_TRANSFER_FAILED);
        return;
    }
    t->sector += t->chunk / SECTOR_SIZE;
    t->left -= t->chunk / SECTOR_SIZE;
    t->moved += t->chunk;
    if (!t->left)
        transfer_end(t, ATA_TRANSFER_DONE);
    else if (t->stopping)
        transfer_end(t, ATA_TRANSFER_SHORT);
    else
        chunk_submit(t);
}

void ata_transfer_start(struct ata_transfer *t)
{
    struct drive *drive = t->drive;
    t->under_way = true;
    t->stopping = false;
    t->piece_count = t->chunk_pieces = 0;
    t->moved = 0;
    t->bounce = NULL;
    /* What is in the host's page cache is done when drive_end returns. */
    drive_begin(drive);
    chunk_submit(t);
    drive_end(drive);
}

void ata_transfer_stop(struct ata_transfer *t)
{
    t->stopping = true;
}

/* --- small data --- */

u32 ata_copy_to_guest(struct pci_function *f, dma_next_fn *next, void *opaque, const u8 *from, u32 len)
{
    struct dma_piece p;
    u32 done = 0;
    for (; done < len && next(opaque, len - done, &p); done += p.len)
        pci_dma_write(f, p.address, from + done, p.len);
    return done;
}

u32 ata_copy_from_guest(struct pci_function *f, dma_next_fn *next, void *opaque, u8 *to, u32 len)
{
    struct dma_piece p;
    u32 done = 0;
    for (; done < len && next(opaque, len - done, &p); done += p.len)
        pci_dma_read(f, p.address, to + done, p.len);
    return done;
}
