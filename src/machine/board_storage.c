/* Disks: the images, and the controllers in front of them. */
#include "block/drive.h"
#include "machine/board_rows.h"

/* --- images --- */

int board_open_drives(struct board *b, struct machine *m, struct error *err)
{
    b->machine = m;
    for (unsigned i = 0; i < m->config.disk_count; i++) {
        const struct machine_disk *disk = &m->config.disks[i];
        struct drive_config config = {
            .file = disk->file,
            .format = disk->format,
            .serial = disk->serial,
            .readonly = disk->readonly,
            .snapshot = disk->snapshot,
        };
        int rc = drive_open(&b->drives[i], &config, loop_mutex(m->loop), err);
        if (rc)
            return rc;
    }
    return 0;
}

void board_drain(struct board *b)
{
    for (unsigned i = 0; i < MACHINE_MAX_DISKS; i++)
        if (b->drives[i] && drive_has_medium(b->drives[i]))
            block_queue_drain(b->drives[i]->queue);
}

void board_close_drives(struct board *b)
{
    for (unsigned i = 0; i < MACHINE_MAX_DISKS; i++) {
        struct error err = {0};
        if (drive_close(b->drives[i], &err) < 0)
            log_write(&b->machine->log, "disk", "%s", err.message);
        b->drives[i] = NULL;
    }
}
