/*
 * The floppy disk controller: an 82077AA (and what of the 82078 drivers ask for) at 3F0h-3F5h and 3F7h, with
 * IRQ 6 and DMA channel 2, and its drives.
 *
 * Left out: FM (single density) recording, sector sizes other than 512 bytes (no image has them), tape
 * drives, the status registers A and B, which are hidden in a PC/AT. Data come as fast as they are taken;
 * steps take the time that SPECIFY says.
 */
#ifndef RING3_DEVICES_FLOPPY_FLOPPY_H
#define RING3_DEVICES_FLOPPY_FLOPPY_H

#include "block/drive.h"
#include "devices/device.h"
#include "devices/dma/i8237.h"

#define FLOPPY_DRIVES 2

struct floppy;

struct floppy_config {
    struct irq_line irq;
    struct i8237 *dma;
    unsigned dma_channel;
    struct drive *drive[FLOPPY_DRIVES]; /* borrowed; NULL: no such drive */
};

/* The kind of drive is taken from the size of its medium; -EINVAL with `err` set if no medium has that size.
 */
int floppy_create(struct floppy **out, const struct device_env *env, const struct floppy_config *config,
                  struct error *err);
/* The drives are closed before: nothing is under way. */
void floppy_destroy(struct floppy *fdc);
void floppy_reset(struct floppy *fdc);

/* The type as CMOS byte 10h has it: 0 none, 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 2.88M. */
u8 floppy_drive_type(const struct floppy *fdc, unsigned drive);

#endif
