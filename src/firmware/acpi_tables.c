#include "firmware/acpi_tables.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "firmware/pci_setup.h"
#include "firmware/platform.h"

#define PACKED __attribute__((packed))

#define OEM_ID       "RING3 "
#define OEM_TABLE_ID "RING3PC "
#define CREATOR_ID   "RNG3"

#define RSDP_ADDRESS FIRMWARE_START

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

enum { TABLES_MAX = 8 };

/* The tables as one run of bytes, to be placed at `base`. */
struct tables {
    struct aml bytes; /* as a growing buffer */
    u64 base;
    u64 address[TABLES_MAX]; /* of those that RSDT and XSDT list */
    unsigned count;
};

static u8 checksum(const void *data, size_t len)
{
    const u8 *p = data;
    u8 sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += p[i];
    return (u8)-sum;
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
static size_t table_begin(struct tables *t)
{
    static const u8 zeroes[16];
    aml_bytes(&t->bytes, zeroes, ALIGN_UP(t->bytes.len, 16u) - t->bytes.len);
    return t->bytes.len;
}

/* Fills in length and checksum; returns the table's guest address. */
static u64 table_end(struct tables *t, size_t at)
{
    if (t->bytes.failed)
        return 0;
    struct acpi_header *h = (struct acpi_header *)(void *)(t->bytes.buf + at);
    h->length = (u32)(t->bytes.len - at);
    h->checksum = 0;
    h->checksum = checksum(h, h->length);
    return t->base + at;
}

static void table_list(struct tables *t, u64 address)
{
    t->address[t->count++] = address;
}

static struct acpi_gas gas_io(u16 port, u8 bits, enum gas_access access)
{
    return (struct acpi_gas){GAS_IO, bits, 0, (u8)access, port};
}

static u64 write_dsdt(struct tables *t, const struct firmware_config *config)
{
    struct acpi_header h = header_of("DSDT", 2); /* 64-bit integers */
    size_t at = table_begin(t);
    aml_bytes(&t->bytes, &h, sizeof h);
    dsdt_encode(&t->bytes, config);
    return table_end(t, at);
}

static void write_fadt(struct tables *t, const struct firmware_config *config, u64 facs, u64 dsdt)
{
    const u16 pm = PC_PM_BASE;
    struct acpi_fadt f = {
        .header = header_of("FACP", 3),
        .facs = (u32)facs,
        .dsdt = (u32)dsdt,
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
    size_t at = table_begin(t);
    aml_bytes(&t->bytes, &f, sizeof f);
    table_list(t, table_end(t, at));
}

static void write_override(struct tables *t, u8 irq, u32 gsi, enum mps_inti flags)
{
    struct madt_override o = {MADT_OVERRIDE, sizeof o, 0, irq, gsi, (u16)flags};
    aml_bytes(&t->bytes, &o, sizeof o);
}

static void write_madt(struct tables *t, const struct firmware_config *config)
{
    static const u8 links[PC_PCI_LINKS] = PC_PCI_LINK_IRQS;
    struct madt_head head = {
        .header = header_of("APIC", 3), .lapic_address = PC_LAPIC_BASE, .flags = 1 /* PCAT_COMPAT */};
    struct madt_ioapic ioapic = {MADT_IOAPIC, sizeof ioapic, 0, 0, PC_IOAPIC_BASE, 0};
    struct madt_nmi nmi = {MADT_LAPIC_NMI, sizeof nmi, 0xff, INTI_CONFORMS, 1};
    size_t at = table_begin(t);
    aml_bytes(&t->bytes, &head, sizeof head);
    for (unsigned i = 0; i < config->cpu_count; i++) {
        struct madt_lapic lapic = {MADT_LAPIC, sizeof lapic, (u8)i, (u8)i, 1};
        aml_bytes(&t->bytes, &lapic, sizeof lapic);
    }
    aml_bytes(&t->bytes, &ioapic, sizeof ioapic);
    write_override(t, PC_IRQ_PIT, PC_GSI_PIT, INTI_CONFORMS);
    write_override(t, PC_IRQ_SCI, PC_IRQ_SCI, INTI_HIGH_LEVEL);
    for (unsigned i = 0; i < PC_PCI_LINKS; i++) {
        if (i == 0 || links[i] != links[i - 1])
            write_override(t, links[i], links[i], INTI_HIGH_LEVEL);
    }
    aml_bytes(&t->bytes, &nmi, sizeof nmi);
    table_list(t, table_end(t, at));
}

static void write_hpet(struct tables *t)
{
    struct acpi_hpet h = {
        .header = header_of("HPET", 1),
        .hardware_id = 0x8086a201, /* low half of the capabilities register */
        .address = {GAS_MEMORY, 64, 0, 0, PC_HPET_BASE},
        .min_tick = 128,
    };
    size_t at = table_begin(t);
    aml_bytes(&t->bytes, &h, sizeof h);
    table_list(t, table_end(t, at));
}

/* RSDT (entries of 4 bytes) or XSDT (8 bytes). */
static u64 write_root(struct tables *t, const char *signature, unsigned entry_size)
{
    struct acpi_header h = header_of(signature, 1);
    size_t at = table_begin(t);
    aml_bytes(&t->bytes, &h, sizeof h);
    for (unsigned i = 0; i < t->count; i++)
        aml_bytes(&t->bytes, &t->address[i], entry_size);
    return table_end(t, at);
}

static void write_rsdp(struct mem_space *mem, u64 rsdt, u64 xsdt)
{
    struct acpi_rsdp r = {.revision = 2, .rsdt = (u32)rsdt, .length = sizeof r, .xsdt = xsdt};
    memcpy(r.signature, "RSD PTR ", sizeof r.signature);
    memcpy(r.oem_id, OEM_ID, sizeof r.oem_id);
    r.checksum = checksum(&r, 20);
    r.extended_checksum = checksum(&r, sizeof r);
    mem_write_bytes(mem, RSDP_ADDRESS, &r, sizeof r);
}

static u64 write_facs(struct mem_space *mem, const struct ram_layout *ram)
{
    struct acpi_facs facs = {.length = sizeof facs, .version = 1};
    memcpy(facs.signature, "FACS", sizeof facs.signature);
    mem_write_bytes(mem, acpi_nvs_start(ram), &facs, sizeof facs);
    return acpi_nvs_start(ram);
}

int acpi_tables_write(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp,
                      struct error *err)
{
    struct tables t = {.base = acpi_area_start(&config->ram)};
    u64 facs = write_facs(mem, &config->ram);
    u64 dsdt = write_dsdt(&t, config);
    write_fadt(&t, config, facs, dsdt);
    write_madt(&t, config);
    write_hpet(&t);
    u64 rsdt = write_root(&t, "RSDT", 4);
    u64 xsdt = write_root(&t, "XSDT", 8);
    if (t.bytes.failed || t.bytes.len > ACPI_AREA_SIZE - ACPI_NVS_SIZE) {
        aml_finish(&t.bytes);
        return error_set(err, ENOMEM, "out of memory while building the ACPI tables");
    }
    mem_write_bytes(mem, t.base, t.bytes.buf, t.bytes.len);
    aml_finish(&t.bytes);
    write_rsdp(mem, rsdt, xsdt);
    *rsdp = RSDP_ADDRESS;
    return 0;
}

/* --- the rest of what a BIOS does -------------------------------------------------------------------------
 */

/* The BIOS data area, as far as systems look into it (Phoenix/IBM PC BIOS). */
static void write_bda(struct mem_space *mem)
{
    enum { BDA_COM1 = 0x400, BDA_EBDA = 0x40e, BDA_EQUIPMENT = 0x410, BDA_MEMORY_KIB = 0x413 };
    mem_write(mem, BDA_COM1, 2, PC_COM1_BASE);
    mem_write(mem, BDA_EBDA, 2, EBDA_START >> 4);
    mem_write(mem, BDA_EQUIPMENT, 2, 1u << 9 | 1u << 2 | 1u << 1); /* one serial port, a mouse, an x87 */
    mem_write(mem, BDA_MEMORY_KIB, 2, EBDA_START >> 10);
    mem_write(mem, EBDA_START, 1, (EBDA_END - EBDA_START) >> 10);
}

static void config_write(struct mem_space *mem, unsigned function, unsigned offset, unsigned size, u32 value)
{
    port_write(mem, PC_PCI_ADDRESS, 4, BIT(31) | PC_SLOT_PIIX << 11 | function << 8 | (offset & 0xfc));
    port_write(mem, (u16)(PC_PCI_ADDRESS + 4 + (offset & 3)), size, value);
}

/* PIIX3, PIIX4 and the host bridge as the tables describe them. */
static void program_chips(struct mem_space *mem)
{
    static const u8 links[PC_PCI_LINKS] = PC_PCI_LINK_IRQS;
    enum {
        HOST_PAM0 = 0x59,
        PIRQRCA = 0x60,
        PMBASE = 0x40,
        PMREGMISC = 0x80,
        INTERRUPT_LINE = 0x3c,
        IDETIM = 0x40
    };
    for (unsigned i = 0; i < 7; i++) {
        port_write(mem, PC_PCI_ADDRESS, 4, BIT(31) | ((HOST_PAM0 + i) & 0xfc));
        port_write(mem, (u16)(PC_PCI_ADDRESS + 4 + ((HOST_PAM0 + i) & 3)), 1, 0x33);
    }
    for (unsigned i = 0; i < PC_PCI_LINKS; i++)
        config_write(mem, 0, PIRQRCA + i, 1, links[i]);
    port_write(mem, 0x4d1, 1, PC_ELCR_SECOND);
    config_write(mem, 1, IDETIM, 4, 0x80008000); /* both channels answer at their ports */
    config_write(mem, 3, PMBASE, 4, PC_PM_BASE);
    config_write(mem, 3, PMREGMISC, 1, 1);
    config_write(mem, 3, INTERRUPT_LINE, 1, PC_IRQ_SCI);
    port_write(mem, PC_PCI_ADDRESS, 4, 0);
}

int firmware_setup(struct mem_space *mem, const struct firmware_config *config, u64 *rsdp, struct error *err)
{
    pci_setup(mem);
    program_chips(mem);
    write_bda(mem);
    return acpi_tables_write(mem, config, rsdp, err);
}
