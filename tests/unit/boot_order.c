/* --boot: what is understood, and the list of devices that firmware gets. */
#include "machine/board_boot.h"
#include "../tap.h"

static void check_order(const char *text, unsigned a, unsigned b, unsigned c, bool menu)
{
    struct boot_order order;
    struct error err = {0};
    CHECK(boot_order_parse(text, &order, &err) == 0);
    CHECK_EQ(order.device[0], a);
    CHECK_EQ(order.device[1], b);
    CHECK_EQ(order.device[2], c);
    CHECK_EQ(order.menu, menu);
}

static void test_parse(void)
{
    struct boot_order order;
    struct error err = {0};
    check_order(NULL, BOOT_DISK, BOOT_CDROM, BOOT_FLOPPY, false);
    check_order("menu", BOOT_DISK, BOOT_CDROM, BOOT_FLOPPY, true);
    check_order("cdrom", BOOT_CDROM, BOOT_NONE, BOOT_NONE, false);
    check_order("floppy,menu,disk", BOOT_FLOPPY, BOOT_DISK, BOOT_NONE, true);
    check_order("order=cdrom,disk,floppy", BOOT_CDROM, BOOT_DISK, BOOT_FLOPPY, false);
    CHECK_EQ(boot_order_parse("disk,disk", &order, &err), -EINVAL);
    CHECK_STR(err.message, "'disk' is in the boot order twice: once is enough");
    CHECK_EQ(boot_order_parse("disk,net", &order, &err), -EINVAL);
    CHECK_STR(err.message, "'net' is nothing to boot from: write disk, cdrom or floppy, and perhaps menu");
    CHECK_EQ(boot_order_parse(",disk", &order, &err), -EINVAL);
}

static void check_list(const char *boot, const char *want)
{
    const struct machine_config config = {
        .disks = {{.bus = DISK_IDE, .cdrom = true},
                  {.bus = DISK_VIRTIO},
                  {.bus = DISK_IDE},
                  {.bus = DISK_IDE},
                  {.bus = DISK_AHCI},
                  {.bus = DISK_VIRTIO},
                  {.bus = DISK_AHCI, .cdrom = true}},
        .disk_count = 7,
        .floppies = {NULL, "b"},
    };
    struct boot_order order;
    char list[BOOT_LIST_SIZE];
    CHECK(boot_order_parse(boot, &order, NULL) == 0);
    CHECK_EQ(boot_order_list(&config, &order, list), strlen(want) + 1);
    CHECK_STR(list, want);
}

#define IDE(c, u) "/pci@i0cf8/ide@1,1/drive@" #c "/disk@" #u
#define VIRTIO(s) "/pci@i0cf8/scsi@" #s "/disk@0,0"
#define AHCI(p)   "/pci@i0cf8/pci8086,2922@3/drive@" #p "/disk@0"
#define FLOPPY(n) "/pci@i0cf8/isa@1/fdc@03f0/floppy@" #n

static void test_list(void)
{
    check_list(NULL, IDE(0, 0) "\n" VIRTIO(4) "\n" IDE(0, 1) "\n" IDE(1, 0) "\n" AHCI(0) "\n" VIRTIO(
                         5) "\n" AHCI(1) "\n" FLOPPY(1));
    check_list("cdrom", IDE(0, 0) "\n" AHCI(1));
    check_list("floppy,disk",
               FLOPPY(1) "\n" VIRTIO(4) "\n" IDE(0, 1) "\n" IDE(1, 0) "\n" AHCI(0) "\n" VIRTIO(5));
}

/* The longest possible list fits; no device: no list. */
static void test_limits(void)
{
    struct machine_config config = {.disk_count = MACHINE_MAX_DISKS, .floppies = {"a", "b"}};
    struct boot_order order;
    char list[BOOT_LIST_SIZE];
    for (unsigned i = 0; i < MACHINE_MAX_DISKS; i++)
        config.disks[i].bus = DISK_AHCI;
    CHECK(boot_order_parse(NULL, &order, NULL) == 0);
    size_t size = boot_order_list(&config, &order, list);
    unsigned lines = 1;
    for (size_t i = 0; i + 1 < size; i++)
        lines += list[i] == '\n';
    CHECK_EQ(lines, MACHINE_MAX_DISKS + 2);
    CHECK_STR(list + size - 1 - strlen(FLOPPY(1)), FLOPPY(1));
    config = (struct machine_config){0};
    CHECK_EQ(boot_order_list(&config, &order, list), 0);
}

int main(void)
{
    TAP_RUN(test_parse);
    TAP_RUN(test_list);
    TAP_RUN(test_limits);
    return tap_done();
}
