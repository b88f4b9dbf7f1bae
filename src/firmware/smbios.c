#include "firmware/smbios.h"

#include <string.h>

#include "base/bytes.h"

#define ANCHOR_ADDRESS (FIRMWARE_START + 0x100)
#define TABLES_ADDRESS (FIRMWARE_START + 0x120)
#define TABLES_MAX     0x2000u /* before what firmware/bios_stub.c has */

#define MANUFACTURER "ring3"
#define PRODUCT      "ring3 virtual PC"

/* --- structures: a header, fields, then strings, numbered from 1 (6.1)
 * --------------------------------------
 */

enum smbios_type {
    TYPE_BIOS = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MEMORY_ADDRESS = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

struct writer {
    struct smbios *smbios;
    u16 count;
    size_t longest;
    u8 fields[96];
    u8 length;
};

static void begin(struct writer *w, enum smbios_type type, u8 length, u16 handle)
{
    memset(w->fields, 0, sizeof w->fields);
    w->length = length;
    w->fields[0] = (u8)type;
    w->fields[1] = length;
    store_le16(w->fields + 2, handle);
}

static void put(struct writer *w, unsigned offset, unsigned size, u64 value)
{
    store_le(w->fields + offset, size, value);
}

/* `strings`: each with its 0, the last NULL. */
static void end(struct writer *w, const char *const *strings)
{
    static const u8 zeroes[2];
    struct aml *out = &w->smbios->tables;
    size_t start = out->len;
    aml_bytes(out, w->fields, w->length);
    for (const char *const *s = strings; *s; s++)
        aml_bytes(out, *s, strlen(*s) + 1);
    aml_bytes(out, zeroes, *strings ? 1 : 2);
    w->count++;
    w->longest = MAX(w->longest, out->len - start);
}

#define END(w, ...) end(w, (const char *const[]){__VA_ARGS__, NULL})

static void write_bios(struct writer *w)
{
    begin(w, TYPE_BIOS, 24, 0);
    put(w, 4, 1, 1);           /* vendor */
    put(w, 5, 1, 2);           /* version */
    put(w, 6, 2, 0xf000);      /* segment */
    put(w, 8, 1, 3);           /* release date */
    put(w, 10, 8, BIT(3));     /* characteristics: not supported */
    put(w, 19, 1, BIT(4));     /* extension 2: a virtual machine */
    put(w, 20, 4, 0xffffffff); /* no release numbers */
    END(w, MANUFACTURER, RING3_VERSION, "01/01/2026");
}

static void write_system(struct writer *w)
{
    begin(w, TYPE_SYSTEM, 27, 0x100);
    put(w, 4, 1, 1);
    put(w, 5, 1, 2);
    put(w, 6, 1, 3);
    put(w, 24, 1, 6); /* woken by the power switch; the UUID is not set */
    END(w, MANUFACTURER, PRODUCT, RING3_VERSION);
}

static void write_chassis(struct writer *w)
{
    enum { SAFE = 3 };
    begin(w, TYPE_CHASSIS, 22, 0x300);
    put(w, 4, 1, 1);
    put(w, 5, 1, 1); /* "other" */
    put(w, 9, 1, SAFE);
    put(w, 10, 1, SAFE);
    put(w, 11, 1, SAFE);
    put(w, 12, 1, 2); /* security: unknown */
    END(w, MANUFACTURER);
}

static void write_processor(struct writer *w, unsigned cpus)
{
    u8 cores = (u8)MIN(cpus, 255u);
    begin(w, TYPE_PROCESSOR, 42, 0x400);
    put(w, 4, 1, 1);     /* socket */
    put(w, 5, 1, 3);     /* central processor */
    put(w, 6, 1, 1);     /* family: other */
    put(w, 7, 1, 2);     /* manufacturer */
    put(w, 24, 1, 0x41); /* populated, enabled */
    put(w, 25, 1, 1);    /* upgrade: other */
    put(w, 26, 2, 0xffff);
    put(w, 28, 2, 0xffff);
    put(w, 30, 2, 0xffff); /* no cache information */
    put(w, 35, 1, cores);
    put(w, 36, 1, cores);
    put(w, 37, 1, cores);
    put(w, 38, 2, BIT(1)); /* unknown */
    put(w, 40, 2, 1);
    END(w, "CPU 0", MANUFACTURER);
}

static void write_memory_array(struct writer *w, u64 size)
{
    bool large = size >> 10 >= 0x80000000;
    begin(w, TYPE_MEMORY_ARRAY, 23, 0x1000);
    put(w, 4, 1, 3); /* on the board */
    put(w, 5, 1, 3); /* system memory */
    put(w, 6, 1, 3); /* no error correction */
    put(w, 7, 4, large ? 0x80000000 : size >> 10);
    put(w, 11, 2, 0xfffe); /* no error information */
    put(w, 13, 2, 1);
    put(w, 15, 8, large ? size : 0);
    end(w, (const char *const[]){NULL});
}

static void write_memory_device(struct writer *w, u64 size)
{
    u64 mib = size >> 20;
    begin(w, TYPE_MEMORY_DEVICE, 40, 0x1100);
    put(w, 4, 2, 0x1000);
    put(w, 6, 2, 0xfffe);
    put(w, 8, 2, 0xffff);
    put(w, 10, 2, 0xffff); /* widths: unknown */
    put(w, 12, 2, mib < 0x7fff ? mib : 0x7fff);
    put(w, 14, 1, 9); /* DIMM */
    put(w, 16, 1, 1);
    put(w, 18, 1, 7); /* type: RAM */
    put(w, 19, 2, BIT(1));
    put(w, 23, 1, 2);
    put(w, 28, 4, mib < 0x7fff ? 0 : mib);
    END(w, "DIMM 0", MANUFACTURER);
}

static void write_memory_range(struct writer *w, u16 handle, u64 start, u64 size)
{
    begin(w, TYPE_MEMORY_ADDRESS, 31, handle);
    put(w, 4, 4, start >> 10);
    put(w, 8, 4, ((start + size) >> 10) - 1);
    put(w, 12, 2, 0x1000);
    put(w, 14, 1, 1);
    end(w, (const char *const[]){NULL});
}

static void write_end(struct writer *w)
{
    begin(w, TYPE_BOOT, 11, 0x2000); /* no errors detected */
    end(w, (const char *const[]){NULL});
    begin(w, TYPE_END, 4, 0x7f00);
    end(w, (const char *const[]){NULL});
}

/* --- the entry point (5.2.1)
 * --------------------------------------------------------------------------------
 */

enum anchor_field {
    ANCHOR_SUM = 4,
    ANCHOR_LENGTH = 5,
    ANCHOR_MAJOR = 6,
    ANCHOR_MINOR = 7,
    ANCHOR_LONGEST = 8,
    ANCHOR_DMI = 16,
    ANCHOR_DMI_SUM = 21,
    ANCHOR_TABLE_LENGTH = 22,
    ANCHOR_TABLE = 24,
    ANCHOR_COUNT = 28,
    ANCHOR_BCD = 30,
};

static void write_anchor(struct writer *w)
{
    u8 *a = w->smbios->anchor;
    memset(a, 0, SMBIOS_ANCHOR_SIZE);
    /* Signatures have no terminator. */
    static const u8 signature[4] = {'_', 'S', 'M', '_'}, dmi[5] = {'_', 'D', 'M', 'I', '_'};
    memcpy(a, signature, sizeof signature);
    a[ANCHOR_LENGTH] = SMBIOS_ANCHOR_SIZE;
    a[ANCHOR_MAJOR] = 2;
    a[ANCHOR_MINOR] = 8;
    store_le16(a + ANCHOR_LONGEST, (u16)w->longest);
    memcpy(a + ANCHOR_DMI, dmi, sizeof dmi);
    store_le16(a + ANCHOR_TABLE_LENGTH, (u16)w->smbios->tables.len);
    store_le16(a + ANCHOR_COUNT, w->count);
    a[ANCHOR_BCD] = 0x28;
}

static u8 sum(const u8 *data, size_t len)
{
    u8 total = 0;
    for (size_t i = 0; i < len; i++)
        total += data[i];
    return total;
}

static void anchor_place(u8 *a, u32 tables)
{
    store_le32(a + ANCHOR_TABLE, tables);
    a[ANCHOR_DMI_SUM] -= sum(a + ANCHOR_DMI, SMBIOS_ANCHOR_SIZE - ANCHOR_DMI);
    a[ANCHOR_SUM] -= sum(a, SMBIOS_ANCHOR_SIZE);
}

int smbios_build(struct smbios *smbios, const struct firmware_config *config, bool bios, struct error *err)
{
    memset(smbios, 0, sizeof *smbios);
    struct writer w = {.smbios = smbios};
    if (bios)
        write_bios(&w);
    write_system(&w);
    write_chassis(&w);
    write_processor(&w, config->cpu_count);
    write_memory_array(&w, ram_layout_size(&config->ram));
    write_memory_device(&w, ram_layout_size(&config->ram));
    write_memory_range(&w, 0x1300, 0, config->ram.low_size);
    if (config->ram.high_size)
        write_memory_range(&w, 0x1301, RAM_HIGH_START, config->ram.high_size);
    write_end(&w);
    write_anchor(&w);
    if (smbios->tables.failed) {
        smbios_finish(smbios);
        return error_set(err, ENOMEM, "out of memory while building the SMBIOS tables");
    }
    return 0;
}

void smbios_finish(struct smbios *smbios)
{
    aml_finish(&smbios->tables);
}

int smbios_write(struct mem_space *mem, const struct firmware_config *config, struct error *err)
{
    struct smbios smbios;
    int rc = smbios_build(&smbios, config, true, err);
    if (rc)
        return rc;
    anchor_place(smbios.anchor, TABLES_ADDRESS);
    mem_write_bytes(mem, ANCHOR_ADDRESS, smbios.anchor, sizeof smbios.anchor);
    mem_write_bytes(mem, TABLES_ADDRESS, smbios.tables.buf, MIN(smbios.tables.len, TABLES_MAX));
    smbios_finish(&smbios);
    return 0;
}
