/* Firmware images: where they are on this host, and their bytes as a block of ROM. */
#ifndef RING3_FIRMWARE_ROM_H
#define RING3_FIRMWARE_ROM_H

#include "mem/mem.h"

/* The longest image: it ends at 4 GiB, and 16 MiB below that the chips at fixed addresses have to be left
 * alone. */
#define ROM_SIZE_MAX MIB(16)

/* A file that a package of the host's distribution installs. */
struct rom_name {
    const char *file;    /* "bios-256k.bin" */
    const char *what;    /* "the PC firmware SeaBIOS" */
    const char *package; /* "seabios" */
};

extern const struct rom_name rom_seabios;

/* Looks for a file in the standard directories: its path (at most `size` bytes with the 0), or -ENOENT with a
 * sentence that names the package. */
int rom_find(const struct rom_name *name, char *path, size_t size, struct error *err);

/* Reads an image into a new block. Its size must be a multiple of 64 KiB (the smallest erasable unit that
 * such chips have) up to ROM_SIZE_MAX. */
int rom_load(struct ram_block **out, const char *path, struct error *err);

#endif
