/* What the PC/AT left: DMA controllers, the floppy controller. */
#include "devices/dma/i8237.h"
#include "devices/floppy/floppy.h"
#include "devices/timer/rtc.h"
#include "machine/board_rows.h"

CHIP_DESTROY_RESET(, i8237)
CHIP_DESTROY_RESET(, floppy)

int i8237_row_create(struct board *b, struct error *err)
{
    return i8237_create(&b->i8237, &b->env, err);
}

/* What CMOS says of the drives: their types, and in the equipment byte that and how many there are. */
#define CMOS_FLOPPY_TYPES    0x10
#define CMOS_EQUIPMENT       0x14
#define EQUIPMENT_FLOPPY     BIT(0)
#define EQUIPMENT_TWO_DRIVES BIT(6)
#define EQUIPMENT_FPU_MOUSE  0x06

/* There is a controller if there is a drive. */
int floppy_row_create(struct board *b, struct error *err)
{
    struct floppy_config config = {
        .irq = board_isa_irq(b, PC_IRQ_FLOPPY),
        .dma = b->i8237,
        .dma_channel = PC_DMA_FLOPPY,
    };
    u8 equipment = EQUIPMENT_FPU_MOUSE;
    unsigned count = 0;
    for (unsigned i = 0; i < FLOPPY_DRIVES; i++) {
        config.drive[i] = b->floppy_drives[i];
        count += config.drive[i] != NULL;
    }
    if (!count)
        return 0;
    int rc = floppy_create(&b->floppy, &b->env, &config, err);
    if (rc)
        return rc;
    equipment |= EQUIPMENT_FLOPPY | (count > 1 ? EQUIPMENT_TWO_DRIVES : 0);
    rtc_set_cmos(b->rtc, CMOS_FLOPPY_TYPES,
                 (u8)(floppy_drive_type(b->floppy, 0) << 4 | floppy_drive_type(b->floppy, 1)));
    rtc_set_cmos(b->rtc, CMOS_EQUIPMENT, equipment);
    return 0;
}
