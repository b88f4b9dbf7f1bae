/*
 * UEFI firmware (OVMF): its code in a flash chip that ends at 4 GiB and cannot be written, its variables in
 * another right below, whose contents are kept in the file that --nvram names.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "devices/flash/pflash.h"
#include "machine/board_rows.h"

/* The two files of a build. Those without Secure Boot: with it they need system management mode. */
static const struct uefi_build {
    const char *code, *variables;
} builds[] = {
    {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
    {"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
    {"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
    {"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
};

#define UEFI_SIZE_MAX MIB(8)

enum { FLASH_CODE, FLASH_VARIABLES };

static const struct uefi_build *build_find(struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(builds); i++)
        if (access(builds[i].code, R_OK) == 0 && access(builds[i].variables, R_OK) == 0)
            return &builds[i];
    error_set(
        err, ENOENT,
        "the UEFI firmware OVMF (OVMF_CODE_4M.fd, OVMF_VARS_4M.fd) is not installed: install the package "
        "ovmf, or use --firmware bios");
    return NULL;
}

/* A file as a block of memory. */
static int flash_load(struct ram_block **out, const char *path, const char *name, struct error *err)
{
    struct block *file;
    struct block_options options = {.format = "raw", .readonly = true, .unlocked = true};
    int rc = block_open(&file, path, &options, err);
    if (rc)
        return rc;
    if (!file->size || file->size > UEFI_SIZE_MAX || file->size % PFLASH_BLOCK)
        rc = error_set(err, EINVAL, "%s has %llu bytes; UEFI firmware has a multiple of 4 KiB, up to 8 MiB",
                       path, (unsigned long long)file->size);
    if (!rc)
        rc = ram_block_create(out, name, file->size, err);
    if (!rc)
        rc = block_read(file, 0, (*out)->hva, file->size, err);
    block_close(file, NULL);
    return rc;
}

/* --- the variables' file ------------------------------------------------------------------------------ */

static int write_all(int fd, const u8 *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* Makes the file with the contents that variables have in the beginning, whole or not at all. */
static int nvram_make(const char *path, const struct ram_block *fresh, struct error *err)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return error_set(err, ENAMETOOLONG, "the name of the file for UEFI variables is too long");
    int fd = mkstemp(temporary);
    if (fd < 0)
        return error_set(err, errno, "the file '%s' for UEFI variables cannot be made: %s", path,
                         strerror(errno));
    fchmod(fd, 0644);
    int rc = write_all(fd, fresh->hva, fresh->size);
    close(fd);
    if (!rc && link(temporary, path) < 0 && errno != EEXIST)
        rc = -errno;
    unlink(temporary);
    return rc ? error_set(err, -rc, "the file '%s' for UEFI variables cannot be made: %s", path,
                          strerror(-rc))
              : 0;
}

static int nvram_open(struct board *b, struct error *err)
{
    const char *path = b->machine->config.nvram;
    struct ram_block *contents = b->flash_block;
    struct block_options options = {.format = "raw"};
    if (!path) {
        log_write(b->env.log, "firmware",
                  "UEFI variables (boot entries, settings) are kept in memory only; --nvram FILE keeps them");
        return 0;
    }
    int rc = access(path, F_OK) < 0 && errno == ENOENT ? nvram_make(path, contents, err) : 0;
    if (!rc)
        rc = block_open(&b->nvram, path, &options, err);
    if (!rc && b->nvram->size != contents->size)
        rc = error_set(
            err, EINVAL,
            "'%s' has %llu bytes, but the variables of this firmware have %llu: it belongs to another "
            "one; name another file with --nvram",
            path, (unsigned long long)b->nvram->size, (unsigned long long)contents->size);
    if (!rc)
        rc = block_read(b->nvram, 0, contents->hva, contents->size, err);
    return rc;
}

/* A few sectors, into the host's cache: not worth a thread. */
static void variables_changed(void *opaque, u64 offset, u64 len)
{
    struct board *b = opaque;
    struct error err = {0};
    if (!b->nvram)
        return;
    u64 start = ALIGN_DOWN(offset, (u64)SECTOR_SIZE), end = ALIGN_UP(offset + len, (u64)SECTOR_SIZE);
    if (block_write(b->nvram, start, b->flash_block->hva + start, end - start, &err) < 0)
        log_warn(b->env.log, "UEFI variables are not kept: %s", err.message);
}

/* --- the chips ---------------------------------------------------------------------------------------- */

bool uefi_is_wanted(const struct board *b)
{
    const char *firmware = b->machine->config.firmware;
    return firmware && !strcmp(firmware, "uefi");
}

int uefi_create(struct board *b, struct error *err)
{
    const struct uefi_build *build = build_find(err);
    if (!build)
        return -ENOENT;
    int rc = flash_load(&b->rom_block, build->code, "UEFI firmware", err);
    if (!rc)
        rc = flash_load(&b->flash_block, build->variables, "UEFI variables", err);
    if (!rc)
        rc = nvram_open(b, err);
    if (rc)
        return rc;
    struct pflash_config code = {
        .name = "UEFI firmware",
        .gpa = GIB(4) - b->rom_block->size,
        .block = b->rom_block,
        .size = b->rom_block->size,
        .readonly = true,
        .instance = FLASH_CODE,
    };
    struct pflash_config variables = {
        .name = "UEFI variables",
        .gpa = code.gpa - b->flash_block->size,
        .block = b->flash_block,
        .size = b->flash_block->size,
        .instance = FLASH_VARIABLES,
        .changed = variables_changed,
        .opaque = b,
    };
    rc = pflash_create(&b->flash[FLASH_CODE], &b->env, &code, err);
    return rc ? rc : pflash_create(&b->flash[FLASH_VARIABLES], &b->env, &variables, err);
}

void uefi_destroy(struct board *b)
{
    struct error err = {0};
    pflash_destroy(b->flash[FLASH_CODE]);
    pflash_destroy(b->flash[FLASH_VARIABLES]);
    ram_block_destroy(b->flash_block);
    if (block_close(b->nvram, &err) < 0)
        log_warn(b->env.log, "UEFI variables may be lost: %s", err.message);
}

void uefi_reset(struct board *b)
{
    for (unsigned i = 0; i < ARRAY_LEN(b->flash); i++)
        if (b->flash[i])
            pflash_reset(b->flash[i]);
}
