/* What the PC/AT left: DMA controllers, the floppy controller. */
#include "devices/dma/i8237.h"
#include "machine/board_rows.h"

CHIP_DESTROY_RESET(, i8237)

int i8237_row_create(struct board *b, struct error *err)
{
    return i8237_create(&b->i8237, &b->env, err);
}
