/* Drives: an image opened, perhaps under a temporary layer, with its queue. */
#include "block/drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/qcow2.h"

#define DRIVE_THREADS 4

/* Makes an empty qcow2 image over `path` and opens it; its file has no name any more. */
static int overlay_open(struct block **out, const char *path, const char *format, u64 size, struct error *err)
{
    const char *dir = getenv("TMPDIR");
    char name[512];
    if (snprintf(name, sizeof name, "%s/ring3-snapshot-XXXXXX", dir && *dir ? dir : "/var/tmp") >=
        (int)sizeof name)
        return error_set(err, ENAMETOOLONG, "TMPDIR is too long a path for a temporary file");
    int fd = mkstemp(name);
    if (fd < 0)
        return error_set(err, errno,
                         "no temporary file for the disk's changes can be made in %s: %s; set TMPDIR to a "
                         "directory that can be written",
                         dir && *dir ? dir : "/var/tmp", strerror(errno));
    close(fd);

    struct store *store;
    struct qcow2_create_options create = {.size = size, .backing = path, .backing_format = format};
    int rc = store_open_file(&store, name, STORE_WRITE | STORE_TEMPORARY, err);
    if (!rc) {
        rc = qcow2_create(store, &create, err);
        struct block_options options = {.format = "qcow2"};
        if (rc)
            store_close(store);
        else
            rc = block_open_store(out, store, name, &options, err);
    }
    unlink(name);
    return rc;
}

static int image_open(struct drive *drive, const struct drive_config *config, struct error *err)
{
    struct block_options options = {.format = config->format,
                                    .readonly = config->readonly || config->snapshot};
    int rc = block_open(&drive->block, config->file, &options, err);
    if (rc || !config->snapshot || config->readonly)
        return rc;
    char *path = realpath(config->file, NULL);
    const char *format = drive->block->ops->name;
    u64 size = drive->block->size;
    block_close(drive->block, NULL);
    drive->block = NULL;
    if (!path)
        return error_set(err, errno, "%s cannot be found any more: %s", config->file, strerror(errno));
    rc = overlay_open(&drive->block, path, format, size, err);
    free(path);
    return rc;
}

int drive_open(struct drive **out, const struct drive_config *config, pthread_mutex_t *held,
               struct error *err)
{
    struct drive *drive = calloc(1, sizeof *drive);
    if (!drive)
        return error_set(err, ENOMEM, "out of memory for a drive");
    int rc = 0;
    drive->readonly = config->readonly;
    if (config->serial && strlen(config->serial) > DRIVE_SERIAL_MAX)
        rc = error_set(err, EINVAL, "the serial number '%s' is longer than %u characters; shorten it",
                       config->serial, DRIVE_SERIAL_MAX);
    if (!rc && config->serial)
        strcpy(drive->serial, config->serial);
    if (!rc && config->file) {
        rc = image_open(drive, config, err);
        if (!rc)
            rc = block_queue_create(&drive->queue, drive->block, DRIVE_THREADS, held, err);
        if (!rc)
            drive->size = drive->block->size / SECTOR_SIZE * SECTOR_SIZE;
    }
    if (rc) {
        drive_close(drive, NULL);
        return rc;
    }
    *out = drive;
    return 0;
}

int drive_close(struct drive *drive, struct error *err)
{
    int rc = 0;
    if (!drive)
        return 0;
    block_queue_destroy(drive->queue);
    if (drive->block)
        rc = block_close(drive->block, err);
    free(drive);
    return rc;
}
