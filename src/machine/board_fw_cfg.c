/* What firmware is told: the firmware configuration device's contents and the CMOS RAM. */
#include <stdio.h>
#include <string.h>

#include "devices/chipset/piix4_pm.h"
#include "devices/fwcfg/fw_cfg.h"
#include "devices/timer/rtc.h"
#include "firmware/acpi_tables.h"
#include "firmware/smbios.h"
#include "machine/board_boot.h"
#include "machine/board_rows.h"

CHIP_DESTROY_RESET(, fw_cfg)

int fw_cfg_row_create(struct board *b, struct error *err)
{
    return fw_cfg_create(&b->fw_cfg, &b->env, err);
}

struct firmware_config board_firmware_config(const struct board *b)
{
    return (struct firmware_config){.ram = b->ram,
                                    .cpu_count = b->machine->config.cpus,
                                    .pm_base = piix4_pm_base(b->piix4_pm),
                                    .vga = board_has_vga(b),
                                    .floppy = b->floppy != NULL,
                                    .iommu = b->vtd != NULL};
}

/* --- memory and processors ---------------------------------------------------------------------------- */

/* RAM alone: what firmware takes of it, it knows itself. */
static int describe_memory(struct board *b)
{
    struct {
        u64 address, length;
        u32 type;
    } __attribute__((packed))
    map[2] = {{0, b->ram.low_size, E820_RAM}, {RAM_HIGH_START, b->ram.high_size, E820_RAM}};
    u64 window = pci_window64_start(&b->ram);
    rtc_set_memory(b->rtc, b->ram.low_size, b->ram.high_size);
    int rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_RAM_SIZE, ram_layout_size(&b->ram), 8);
    if (!rc)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/e820", map, (b->ram.high_size ? 2 : 1) * sizeof *map);
    /* 64-bit BARs from there on, as the DSDT says. */
    if (!rc && window)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/reserved-memory-end", &window, sizeof window);
    return rc;
}

static int describe_cpus(struct board *b)
{
    unsigned cpus = b->machine->config.cpus;
    u8 override = 1; /* IRQ 0 is at pin 2 of the IOAPIC */
    rtc_set_cmos(b->rtc, CMOS_CPU_COUNT, (u8)(cpus - 1));
    int rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_NB_CPUS, cpus, 2);
    if (!rc)
        rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_MAX_CPUS, cpus, 2);
    if (!rc)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/irq0-override", &override, sizeof override);
    return rc;
}

/* S0 and S5 (with its SLP_TYP) are there, S3 and S4 are not: a byte each, bit 7 says yes. */
static int describe_sleep(struct board *b)
{
    static const u8 states[6] = {0x80, 0, 0, 1, 2, 0x80 | PC_SLP_TYP_S5};
    return fw_cfg_add_file(b->fw_cfg, "etc/system-states", states, sizeof states);
}

/* Without a screen, SeaBIOS's is the serial port. */
static int describe_screen(struct board *b)
{
    bool vga = board_has_vga(b);
    u16 port = PC_COM1_BASE;
    int rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_NOGRAPHIC, !vga, 2);
    if (!rc && !vga)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/sercon-port", &port, sizeof port);
    return rc;
}

/* --- tables ------------------------------------------------------------------------------------------- */

/* Firmware chooses where the power management ports are, before it reads the tables: they follow. */
static void item_selected(void *opaque, u16 key)
{
    struct board *b = opaque;
    struct firmware_config config = board_firmware_config(b);
    struct acpi_image image;
    struct error err;
    if (key != b->acpi_key || acpi_image_build(&image, &config, &err))
        return;
    fw_cfg_set(b->fw_cfg, key, image.part[ACPI_TABLES].buf, (u32)image.part[ACPI_TABLES].len);
    acpi_image_finish(&image);
}

static int describe_acpi(struct board *b)
{
    struct firmware_config config = board_firmware_config(b);
    struct acpi_image image;
    struct aml script = {0};
    struct error err;
    if (acpi_image_build(&image, &config, &err))
        return -err.code;
    acpi_image_script(&image, &script);
    int rc =
        script.failed ? -ENOMEM : fw_cfg_add_file(b->fw_cfg, "etc/table-loader", script.buf, (u32)script.len);
    for (unsigned i = 0; i < ACPI_PARTS && !rc; i++)
        rc = fw_cfg_add_file(b->fw_cfg, acpi_part_names[i], image.part[i].buf, (u32)image.part[i].len);
    aml_finish(&script);
    acpi_image_finish(&image);
    b->acpi_key = fw_cfg_find_file(b->fw_cfg, acpi_part_names[ACPI_TABLES]);
    fw_cfg_on_select(b->fw_cfg, item_selected, b);
    return rc;
}

static int describe_smbios(struct board *b)
{
    struct firmware_config config = board_firmware_config(b);
    struct smbios smbios;
    struct error err;
    if (smbios_build(&smbios, &config, false, &err))
        return -err.code;
    int rc = fw_cfg_add_file(b->fw_cfg, "etc/smbios/smbios-anchor", smbios.anchor, sizeof smbios.anchor);
    if (!rc)
        rc =
            fw_cfg_add_file(b->fw_cfg, "etc/smbios/smbios-tables", smbios.tables.buf, (u32)smbios.tables.len);
    smbios_finish(&smbios);
    return rc;
}

/* --- what to boot ------------------------------------------------------------------------------------- */

#define MENU_WAIT_MS 5000u

static int describe_boot(struct board *b)
{
    char list[BOOT_LIST_SIZE];
    struct boot_order order;
    if (boot_order_parse(b->machine->config.boot, &order, NULL))
        return -EINVAL;
    rtc_set_cmos(b->rtc, CMOS_BOOT_HIGH, (u8)(order.device[1] << 4 | order.device[0]));
    rtc_set_cmos(b->rtc, CMOS_BOOT_LOW, (u8)(order.device[2] << 4 | 1)); /* diskettes need no signature */
    size_t size = boot_order_list(&b->machine->config, &order, list);
    int rc = size ? fw_cfg_add_file(b->fw_cfg, "bootorder", list, (u32)size) : 0;
    if (!rc)
        rc = fw_cfg_set_int(b->fw_cfg, FW_CFG_BOOT_MENU, order.menu, 2);
    u32 wait = MENU_WAIT_MS;
    if (!rc && order.menu)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/boot-menu-wait", &wait, sizeof wait);
    u32 never = ~0u; /* nothing to boot will not change by trying again */
    if (!rc)
        rc = fw_cfg_add_file(b->fw_cfg, "etc/boot-fail-wait", &never, sizeof never);
    return rc;
}

int firmware_describe(struct board *b, struct error *err)
{
    static int (*const parts[])(struct board * b) = {
        describe_memory, describe_cpus,   describe_sleep, describe_screen,
        describe_acpi,   describe_smbios, describe_boot,
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        int rc = parts[i](b);
        if (rc)
            return error_set(err, -rc, "out of memory for the firmware configuration device");
    }
    return 0;
}
