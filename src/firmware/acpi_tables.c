#include "firmware/acpi_tables.h"

#include <string.h>

#include "base/bytes.h"
#include "firmware/platform.h"

#define PACKED __attribute__((packed))

#define OEM_ID       "RING3 "
#define OEM_TABLE_ID "RING3PC "
#define CREATOR_ID   "RNG3"

/* --- the tables' layouts (ACPI 6.4 chapter 5.2) -----------------------------------------------------------
 */

struct acpi_header {
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem_id[6], oem_table_id[8];
    u32 oem_revision;
    char creator_id[4];
    u32 creator_revision;
} PACKED;

struct acpi_rsdp {
    char signature[8];
    u8 checksum; /* of the first 20 bytes */
    char oem_id[6];
    u8 revision;
    u32 rsdt, length;
    u64 xsdt;
    u8 extended_checksum, reserved[3];
} PACKED;

/* Generic Address Structure. */
struct acpi_gas {
    u8 space, bit_width, bit_offset, access_size;
    u64 address;
} PACKED;
enum gas_space { GAS_MEMORY, GAS_IO };
enum gas_access { GAS_BYTE = 1, GAS_WORD, GAS_DWORD };

/* Revision 3: ACPI 2.0. */
struct acpi_fadt {
    struct acpi_header header;
    u32 facs, dsdt;
    u8 int_model, pm_profile;
    u16 sci_int;
    u32 smi_cmd;
    u8 acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
    u32 pm1a_evt_blk, pm1b_evt_blk, pm1a_cnt_blk, pm1b_cnt_blk, pm2_cnt_blk, pm_tmr_blk, gpe0_blk, gpe1_blk;
    u8 pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_blk_len, gpe1_blk_len, gpe1_base, cst_cnt;
    u16 p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
    u8 duty_offset, duty_width, day_alrm, mon_alrm, century;
    u16 iapc_boot_arch;
    u8 reserved;
    u32 flags;
    struct acpi_gas reset_reg;
    u8 reset_value;
    u16 arm_boot_arch;
    u8 minor_version;
    u64 x_facs, x_dsdt;
    struct acpi_gas x_pm1a_evt_blk, x_pm1b_evt_blk, x_pm1a_cnt_blk, x_pm1b_cnt_blk, x_pm2_cnt_blk,
        x_pm_tmr_blk, x_gpe0_blk, x_gpe1_blk;
} PACKED;
_Static_assert(sizeof(struct acpi_fadt) == 244, "FADT revision 3");

enum fadt_flag {
    FADT_WBINVD = BIT(0),
    FADT_PROC_C1 = BIT(2),
    FADT_SLP_BUTTON = BIT(5), /* set: no fixed sleep button; PWR_BUTTON clear: a fixed power button */
    FADT_FIX_RTC = BIT(6),    /* set: the RTC wakes nobody through PM1 */
    FADT_TMR_VAL_EXT = BIT(8),
    FADT_RESET_REG_SUP = BIT(10),
};
enum iapc_boot_flag { IAPC_LEGACY_DEVICES = BIT(0), IAPC_8042 = BIT(1), IAPC_NO_VGA = BIT(2) };

struct acpi_facs {
    char signature[4];
    u32 length, hardware_signature, waking_vector, global_lock, flags;
    u64 x_waking_vector;
    u8 version, reserved[31];
} PACKED;
_Static_assert(sizeof(struct acpi_facs) == 64, "FACS");

struct acpi_hpet {
    struct acpi_header header;
    u32 hardware_id;
    struct acpi_gas address;
    u8 number;
    u16 min_tick;
    u8 page_protection;
} PACKED;

/* VT-d 2.5, section 8: one remapping unit for everything, the I/O APIC and the HPET by name. */
struct dmar_scope {
    u8 type, length;
    u16 reserved;
    u8 enumeration, bus, device, function;
} PACKED;

struct acpi_dmar {
    struct acpi_header header;
    u8 width, flags;
    u8 reserved[10];
    struct {
        u16 type, length;
        u8 flags, reserved;
        u16 segment;
        u64 base;
    } PACKED unit;
    struct dmar_scope ioapic, hpet;
} PACKED;

struct madt_head {
    struct acpi_header header;
    u32 lapic_address, flags;
} PACKED;

struct madt_lapic {
    u8 type, length, uid, apic_id;
    u32 flags;
} PACKED;

struct madt_ioapic {
    u8 type, length, id, reserved;
    u32 address, gsi_base;
} PACKED;

struct madt_override {
    u8 type, length, bus, irq;
    u32 gsi;
    u16 flags;
} PACKED;

struct madt_nmi {
    u8 type, length, uid;
    u16 flags;
    u8 lint;
} PACKED;

enum madt_type { MADT_LAPIC, MADT_IOAPIC, MADT_OVERRIDE, MADT_LAPIC_NMI = 4 };
enum mps_inti { INTI_CONFORMS = 0, INTI_HIGH_EDGE = 0x5, INTI_HIGH_LEVEL = 0xd };

/* --- building ---------------------------------------------------------------------------------------------
 */

/* The image, and where its listed tables are in ACPI_TABLES. */
struct tables {
    struct acpi_image *image;
    u32 listed[8]; /* what RSDT and XSDT list */
    unsigned count;
};

static void pointer_add(struct tables *t, enum acpi_part part, u32 at, u8 size, enum acpi_part target)
{
    struct acpi_image *image = t->image;
    if (image->pointer_count < ARRAY_LEN(image->pointers))
        image->pointers[image->pointer_count++] = (struct acpi_pointer){part, target, at, size};
    else
        image->part[ACPI_TABLES].failed = true;
}

static void sum_add(struct tables *t, enum acpi_part part, u32 at, u32 start, u32 length)
{
    struct acpi_image *image = t->image;
    if (image->sum_count < ARRAY_LEN(image->sums))
        image->sums[image->sum_count++] = (struct acpi_sum){part, at, start, length};
    else
        image->part[ACPI_TABLES].failed = true;
}

static struct acpi_header header_of(const char *signature, u8 revision)
{
    struct acpi_header h = {.revision = revision, .oem_revision = 1, .creator_revision = 1};
    memcpy(h.signature, signature, sizeof h.signature);
    memcpy(h.oem_id, OEM_ID, sizeof h.oem_id);
    memcpy(h.oem_table_id, OEM_TABLE_ID, sizeof h.oem_table_id);
    memcpy(h.creator_id, CREATOR_ID, sizeof h.creator_id);
    return h;
}

/* Starts a table at the next 16-byte boundary; returns its offset. */
static u32 table_begin(struct tables *t)
{
    static const u8 zeroes[16];
    struct aml *bytes = &t->image->part[ACPI_TABLES];
    aml_bytes(bytes, zeroes, ALIGN_UP(bytes->len, 16u) - bytes->len);
    return (u32)bytes->len;
}

static void table_bytes(struct tables *t, const void *data, size_t len)
{
    aml_bytes(&t->image->part[ACPI_TABLES], data, len);
}

/* Fills in the length. */
static void table_end(struct tables *t, u32 at)
{
    struct aml *bytes = &t->image->part[ACPI_TABLES];
    if (bytes->failed)
        return;
    u32 length = (u32)bytes->len - at;
    store_le32(bytes->buf + at + offsetof(struct acpi_header, length), length);
    sum_add(t, ACPI_TABLES, at + offsetof(struct acpi_header, checksum), at, length);
}

static void table_list(struct tables *t, u32 at)
{
    t->listed[t->count++] = at;
}

static struct acpi_gas gas_io(u16 port, u8 bits, enum gas_access access)
{
    return (struct acpi_gas){GAS_IO, bits, 0, (u8)access, port};
}

static u32 write_dsdt(struct tables *t, const struct firmware_config *config)
{
    struct acpi_header h = header_of("DSDT", 2); /* 64-bit integers */
    u32 at = table_begin(t);
    table_bytes(t, &h, sizeof h);
    dsdt_encode(&t->image->part[ACPI_TABLES], config);
    table_end(t, at);
    return at;
}

static void write_fadt(struct tables *t, const struct firmware_config *config, u32 dsdt)
{
    const u16 pm = config->pm_base;
    struct acpi_fadt f = {
        .header = header_of("FACP", 3),
        .dsdt = dsdt,
        .int_model = 1,
        .pm_profile = 1, /* desktop */
        .sci_int = PC_IRQ_SCI,
        .smi_cmd = PC_SMI_CMD,
        .acpi_enable = PC_ACPI_ENABLE,
        .acpi_disable = PC_ACPI_DISABLE,
        .pm1a_evt_blk = pm,
        .pm1a_cnt_blk = pm + 4,
        .pm_tmr_blk = pm + 8,
        .gpe0_blk = PC_GPE0_BASE,
        .pm1_evt_len = 4,
        .pm1_cnt_len = 2,
        .pm_tmr_len = 4,
        .gpe0_blk_len = 4,
        .p_lvl2_lat = 0xfff, /* not supported */
        .p_lvl3_lat = 0xfff,
        .century = 0x32,
        .iapc_boot_arch = IAPC_LEGACY_DEVICES | IAPC_8042 | (config->vga ? 0 : IAPC_NO_VGA),
        .flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT |
                 FADT_RESET_REG_SUP,
        .reset_reg = gas_io(PC_RESET_PORT, 8, GAS_BYTE),
        .reset_value = PC_RESET_VALUE,
        .x_dsdt = dsdt,
        .x_pm1a_evt_blk = gas_io(pm, 32, GAS_WORD),
        .x_pm1a_cnt_blk = gas_io(pm + 4, 16, GAS_WORD),
        .x_pm_tmr_blk = gas_io(pm + 8, 32, GAS_DWORD),
        .x_gpe0_blk = gas_io(PC_GPE0_BASE, 32, GAS_BYTE),
    };
    u32 at = table_begin(t);
    table_bytes(t, &f, sizeof f);
    table_end(t, at);
    pointer_add(t, ACPI_TABLES, at + offsetof(struct acpi_fadt, facs), 4, ACPI_FACS);
    pointer_add(t, ACPI_TABLES, at + offsetof(struct acpi_fadt, dsdt), 4, ACPI_TABLES);
    pointer_add(t, ACPI_TABLES, at + offsetof(struct acpi_fadt, x_dsdt), 8, ACPI_TABLES);
    table_list(t, at);
}

static void write_override(struct tables *t, u8 irq, u32 gsi, enum mps_inti flags)
{
    struct madt_override o = {MADT_OVERRIDE, sizeof o, 0, irq, gsi, (u16)flags};
    table_bytes(t, &o, sizeof o);
}

static void write_madt(struct tables *t, const struct firmware_config *config)
{
    static const u8 links[] = PC_PCI_POSSIBLE_IRQS;
    struct madt_head head = {
        .header = header_of("APIC", 3), .lapic_address = PC_LAPIC_BASE, .flags = 1 /* PCAT_COMPAT */};
    struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof ioapic, 0, 0, PC_IOAPIC_BASE, 0};
    struct madt_nmi nmi = {MADT_LAPIC_NMI, sizeof nmi, 0xff, INTI_CONFORMS, 1};
    u32 at = table_begin(t);
    table_bytes(t, &head, sizeof head);
    for (unsigned i = 0; i < config->cpu_count; i++) {
        struct madt_lapic lapic = {MADT_LAPIC, sizeof lapic, (u8)i, (u8)i, 1};
        table_bytes(t, &lapic, sizeof lapic);
    }
    table_bytes(t, &ioapic, sizeof ioapic);
    write_override(t, PC_IRQ_PIT, PC_GSI_PIT, INTI_CONFORMS);
    write_override(t, PC_IRQ_SCI, PC_IRQ_SCI, INTI_HIGH_LEVEL);
    for (unsigned i = 0; i < ARRAY_LEN(links); i++)
        write_override(t, links[i], links[i], INTI_HIGH_LEVEL);
    table_bytes(t, &nmi, sizeof nmi);
    table_end(t, at);
    table_list(t, at);
}

static void write_hpet(struct tables *t)
{
    struct acpi_hpet h = {
        .header = header_of("HPET", 1),
        .hardware_id = 0x8086a201, /* low half of the capabilities register */
        .address = {GAS_MEMORY, 64, 0, 0, PC_HPET_BASE},
        .min_tick = 128,
    };
    u32 at = table_begin(t);
    table_bytes(t, &h, sizeof h);
    table_end(t, at);
    table_list(t, at);
}

static void write_dmar(struct tables *t)
{
    enum { INTERRUPTS = BIT(0), ALL_PCI = BIT(0), SCOPE_IOAPIC = 3, SCOPE_HPET = 4 };
    /* Chips without a requester ID of their own are given one that no function has. */
    struct acpi_dmar d = {
        .header = header_of("DMAR", 1),
        .width = PHYS_BITS - 1,
        .flags = INTERRUPTS,
        .unit = {.length = sizeof d.unit + sizeof d.ioapic + sizeof d.hpet,
                 .flags = ALL_PCI,
                 .base = PC_VTD_BASE},
        .ioapic = {SCOPE_IOAPIC, sizeof d.ioapic, 0, 0, 0xff, 31, 7},
        .hpet = {SCOPE_HPET, sizeof d.hpet, 0, 0, 0xff, 31, 6},
    };
    u32 at = table_begin(t);
    table_bytes(t, &d, sizeof d);
    table_end(t, at);
    table_list(t, at);
}

/* RSDT (entries of 4 bytes) or XSDT (8 bytes). */
static u32 write_root(struct tables *t, const char *signature, u8 entry_size)
{
    struct acpi_header h = header_of(signature, 1);
    u32 at = table_begin(t);
    table_bytes(t, &h, sizeof h);
    for (unsigned i = 0; i < t->count; i++) {
        u64 entry = t->listed[i];
        pointer_add(t, ACPI_TABLES, (u32)(at + sizeof h + i * entry_size), entry_size, ACPI_TABLES);
        table_bytes(t, &entry, entry_size);
    }
    table_end(t, at);
    return at;
}

static void write_rsdp(struct tables *t, u32 rsdt, u32 xsdt)
{
    struct acpi_rsdp r = {.revision = 2, .rsdt = rsdt, .length = sizeof r, .xsdt = xsdt};
    memcpy(r.signature, "RSD PTR ", sizeof r.signature);
    memcpy(r.oem_id, OEM_ID, sizeof r.oem_id);
    aml_bytes(&t->image->part[ACPI_RSDP], &r, sizeof r);
    pointer_add(t, ACPI_RSDP, offsetof(struct acpi_rsdp, rsdt), 4, ACPI_TABLES);
    pointer_add(t, ACPI_RSDP, offsetof(struct acpi_rsdp, xsdt), 8, ACPI_TABLES);
    sum_add(t, ACPI_RSDP, offsetof(struct acpi_rsdp, checksum), 0, 20);
    sum_add(t, ACPI_RSDP, offsetof(struct acpi_rsdp, extended_checksum), 0, sizeof r);
}

static void write_facs(struct tables *t)
{
    struct acpi_facs facs = {.length = sizeof facs, .version = 1};
    memcpy(facs.signature, "FACS", sizeof facs.signature);
    aml_bytes(&t->image->part[ACPI_FACS], &facs, sizeof facs);
}

int acpi_image_build(struct acpi_image *image, const struct firmware_config *config, struct error *err)
{
    memset(image, 0, sizeof *image);
    struct tables t = {.image = image};
    write_facs(&t);
    u32 dsdt = write_dsdt(&t, config);
    write_fadt(&t, config, dsdt);
    write_madt(&t, config);
    write_hpet(&t);
    if (config->iommu)
        write_dmar(&t);
    u32 rsdt = write_root(&t, "RSDT", 4);
    u32 xsdt = write_root(&t, "XSDT", 8);
    write_rsdp(&t, rsdt, xsdt);
    for (unsigned i = 0; i < ACPI_PARTS; i++)
        if (image->part[i].failed) {
            acpi_image_finish(image);
            return error_set(err, ENOMEM, "out of memory while building the ACPI tables");
        }
    return 0;
}

void acpi_image_finish(struct acpi_image *image)
{
    for (unsigned i = 0; i < ACPI_PARTS; i++)
        aml_finish(&image->part[i]);
}
