/* What the guest's user sees. */
#include "display/display.h"
#include "machine/board_rows.h"

CHIP_DESTROY(, display)

int display_row_create(struct board *b, struct error *err)
{
    return display_create(&b->display, err);
}

struct display *machine_display(struct machine *m)
{
    return m->board.display;
}
