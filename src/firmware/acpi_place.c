/* The ACPI image's two ways into guest memory. */
#include <string.h>

#include "base/bytes.h"
#include "firmware/acpi_tables.h"

const char *const acpi_part_names[ACPI_PARTS] = {"etc/acpi/tables", "etc/acpi/facs", "etc/acpi/rsdp"};

/* --- by us ------------------------------------------------------------------------------------------------
 */

void acpi_image_relocate(struct acpi_image *image, const u64 address[ACPI_PARTS])
{
    for (unsigned i = 0; i < image->pointer_count; i++) {
        const struct acpi_pointer *p = &image->pointers[i];
        u8 *at = image->part[p->part].buf + p->at;
        store_le(at, p->size, load_le(at, p->size) + address[p->target]);
    }
    for (unsigned i = 0; i < image->sum_count; i++) {
        const struct acpi_sum *s = &image->sums[i];
        u8 *bytes = image->part[s->part].buf, total = 0;
        for (u32 n = 0; n < s->length; n++)
            total += bytes[s->start + n];
        bytes[s->at] -= total;
    }
}

int acpi_tables_write(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp,
                      struct error *err)
{
    const u64 address[ACPI_PARTS] = {
        [ACPI_TABLES] = acpi_area_start(&config->ram),
        [ACPI_FACS] = acpi_nvs_start(&config->ram),
        [ACPI_RSDP] = FIRMWARE_START,
    };
    struct acpi_image image;
    int rc = acpi_image_build(&image, config, err);
    if (rc)
        return rc;
    if (image.part[ACPI_TABLES].len > ACPI_AREA_SIZE - ACPI_NVS_SIZE) {
        rc = error_set(err, ENOSPC, "the ACPI tables of so large a machine have no room: use fewer CPUs");
    } else {
        acpi_image_relocate(&image, address);
        for (unsigned i = 0; i < ACPI_PARTS; i++)
            mem_write_bytes(mem, address[i], image.part[i].buf, image.part[i].len);
        *rsdp = address[ACPI_RSDP];
    }
    acpi_image_finish(&image);
    return rc;
}

/* --- by firmware: QEMU's table loader (hw/acpi/bios-linker-loader)
 * ------------------------------------------
 */

#define NAME_SIZE 56

enum loader_command { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum loader_zone { ZONE_HIGH = 1, ZONE_FSEG = 2 };

struct loader_entry {
    u32 command;
    union {
        struct {
            char file[NAME_SIZE];
            u32 align;
            u8 zone;
        } __attribute__((packed)) allocate;
        struct {
            char file[NAME_SIZE], target[NAME_SIZE];
            u32 offset;
            u8 size;
        } __attribute__((packed)) pointer;
        struct {
            char file[NAME_SIZE];
            u32 offset, start, length;
        } __attribute__((packed)) checksum;
        u8 pad[124];
    };
};
_Static_assert(sizeof(struct loader_entry) == 128, "an entry of the table loader");

static void name_set(char name[NAME_SIZE], enum acpi_part part)
{
    strncpy(name, acpi_part_names[part], NAME_SIZE - 1);
}

void acpi_image_script(const struct acpi_image *image, struct aml *script)
{
    for (unsigned i = 0; i < ACPI_PARTS; i++) {
        struct loader_entry e = {.command = LOADER_ALLOCATE};
        name_set(e.allocate.file, i);
        e.allocate.align = 64; /* the FACS's */
        e.allocate.zone = i == ACPI_RSDP ? ZONE_FSEG : ZONE_HIGH;
        aml_bytes(script, &e, sizeof e);
    }
    for (unsigned i = 0; i < image->pointer_count; i++) {
        const struct acpi_pointer *p = &image->pointers[i];
        struct loader_entry e = {.command = LOADER_ADD_POINTER};
        name_set(e.pointer.file, p->part);
        name_set(e.pointer.target, p->target);
        e.pointer.offset = p->at;
        e.pointer.size = p->size;
        aml_bytes(script, &e, sizeof e);
    }
    for (unsigned i = 0; i < image->sum_count; i++) {
        const struct acpi_sum *s = &image->sums[i];
        struct loader_entry e = {.command = LOADER_ADD_CHECKSUM};
        name_set(e.checksum.file, s->part);
        e.checksum.offset = s->at;
        e.checksum.start = s->start;
        e.checksum.length = s->length;
        aml_bytes(script, &e, sizeof e);
    }
}
