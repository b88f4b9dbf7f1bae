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
    for (unsigned i = 0; i < MACHINE_MAX_FLOPPIES; i++) {
        struct drive_config config = {.file = m->config.floppies[i]};
        int rc = config.file ? drive_open(&b->floppy_drives[i], &config, loop_mutex(m->loop), err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static void drives_drain(struct drive *const *drives, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (drives[i] && drive_has_medium(drives[i]))
            block_queue_drain(drives[i]->queue);
}

void board_drain(struct board *b)
{
    drives_drain(b->drives, MACHINE_MAX_DISKS);
    drives_drain(b->floppy_drives, MACHINE_MAX_FLOPPIES);
}

static void drives_close(struct board *b, struct drive **drives, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct error err = {0};
        if (drive_close(drives[i], &err) < 0)
            log_write(&b->machine->log, "disk", "%s", err.message);
        drives[i] = NULL;
    }
}

void board_close_drives(struct board *b)
{
    drives_close(b, b->drives, MACHINE_MAX_DISKS);
    drives_close(b, b->floppy_drives, MACHINE_MAX_FLOPPIES);
}
