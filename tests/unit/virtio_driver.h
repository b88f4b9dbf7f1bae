/*
 * A small virtio driver for tests: guest RAM, a PCI bus with one virtio device in slot 4, and split queues in
 * that RAM, reached as a guest's driver does, by the registers of version 1.
 */
#ifndef RING3_TESTS_VIRTIO_DRIVER_H
#define RING3_TESTS_VIRTIO_DRIVER_H

#include "base/bytes.h"
#include "device_fixture.h"
#include "devices/pci/msi.h"
#include "devices/virtio/virtio_pci.h"

#define RIG_RAM    MIB(4)
#define RIG_BAR    0xe0000000ull /* BAR 4 */
#define RIG_MSIX   0xe0010000ull /* BAR 1 */
#define RIG_PORT   0xc000        /* BAR 0 */
#define RIG_SLOT   4
#define RIG_COMMON RIG_BAR
#define RIG_ISR    (RIG_BAR + 0x1000)
#define RIG_CONFIG (RIG_BAR + 0x2000)
#define RIG_NOTIFY (RIG_BAR + 0x3000)
#define RIG_QUEUES 3

#define Q_SIZE       16u
#define Q_BASE(n)    (0x10000ull + 0x4000 * (n))
#define Q_DESC(n)    Q_BASE(n)
#define Q_AVAIL(n)   (Q_BASE(n) + 0x1000)
#define Q_USED(n)    (Q_BASE(n) + 0x2000)
#define Q_INDIRECT   0x8000ull
#define DATA         0x100000ull
#define FEATURE_BASE (VIRTIO_F_VERSION_1)

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct rig {
    struct fixture f;
    struct ram_block *block;
    struct mem_region ram;
    u8 *hva;
    struct pci_bus *bus;
    struct probe links[PCI_PINS];
    struct virtio_pci *pci;
    struct virtio_device *dev;
    unsigned messages[8]; /* by the message's data */
    u16 avail[RIG_QUEUES];
    unsigned size;
};

static bool rig_message(void *opaque, u32 requester, u64 address, u32 data)
{
    ((struct rig *)opaque)->messages[data & 7]++;
    return true;
}

static inline void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    fixture_init(&r->f);
    r->size = Q_SIZE;
    CHECK(ram_block_create(&r->block, "ram", RIG_RAM, NULL) == 0);
    r->ram = (struct mem_region){.name = "ram", .size = RIG_RAM, .kind = MEM_RAM, .block = r->block};
    loop_lock(r->f.loop);
    mem_map(r->f.mem, &r->ram);
    r->hva = r->block->hva;
    struct pci_bus_config config = {.msi = {rig_message, r}};
    for (unsigned i = 0; i < PCI_PINS; i++)
        config.links[i] = probe_line(&r->links[i]);
    CHECK(pci_bus_create(&r->bus, &r->f.env, &config, NULL) == 0);
}

static inline u32 rig_cfg(struct rig *r, unsigned reg, unsigned size)
{
    return pci_config_read(r->bus, RIG_SLOT, 0, reg, size);
}

static inline void rig_cfg_write(struct rig *r, unsigned reg, unsigned size, u32 v)
{
    pci_config_write(r->bus, RIG_SLOT, 0, reg, size, v);
}

static inline void rig_plug(struct rig *r, struct virtio_device *dev)
{
    struct virtio_pci_config config = {.bus = r->bus, .slot = RIG_SLOT, .class_code = 0x00ff00};
    r->dev = dev;
    CHECK(virtio_pci_create(&r->pci, &r->f.env, dev, &config, NULL) == 0);
    rig_cfg_write(r, PCI_BAR0, 4, RIG_PORT);
    rig_cfg_write(r, PCI_BAR0 + 4, 4, (u32)RIG_MSIX);
    rig_cfg_write(r, PCI_BAR0 + 16, 4, (u32)RIG_BAR);
    rig_cfg_write(r, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* The device itself is destroyed by the caller, between the two. */
static inline void rig_unplug(struct rig *r)
{
    virtio_pci_destroy(r->pci);
}

static inline void rig_finish(struct rig *r)
{
    pci_bus_destroy(r->bus);
    loop_unlock(r->f.loop);
    fixture_finish(&r->f);
    ram_block_destroy(r->block);
}

static inline u64 rig_read(struct rig *r, u64 gpa, unsigned size)
{
    return mem_read(r->f.mem, gpa, size);
}

static inline void rig_write(struct rig *r, u64 gpa, unsigned size, u64 v)
{
    mem_write(r->f.mem, gpa, size, v);
}

static inline u8 rig_status(struct rig *r)
{
    return (u8)rig_read(r, RIG_COMMON + 20, 1);
}

static inline void rig_set_status(struct rig *r, u8 status)
{
    rig_write(r, RIG_COMMON + 20, 1, status);
}

static inline u64 rig_features(struct rig *r)
{
    rig_write(r, RIG_COMMON, 4, 1);
    u64 high = rig_read(r, RIG_COMMON + 4, 4);
    rig_write(r, RIG_COMMON, 4, 0);
    return high << 32 | rig_read(r, RIG_COMMON + 4, 4);
}

/* Takes these features; true if the device agrees. */
static inline bool rig_negotiate(struct rig *r, u64 features)
{
    rig_set_status(r, 0);
    rig_set_status(r, VIRTIO_ACKNOWLEDGE);
    rig_set_status(r, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    for (unsigned word = 0; word < 2; word++) {
        rig_write(r, RIG_COMMON + 8, 4, word);
        rig_write(r, RIG_COMMON + 12, 4, features >> (32 * word));
    }
    rig_set_status(r, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    return rig_status(r) & VIRTIO_FEATURES_OK;
}

static inline void rig_queue_enable(struct rig *r, unsigned n)
{
    memset(r->hva + Q_BASE(n), 0, 0x4000);
    r->avail[n] = 0;
    rig_write(r, RIG_COMMON + 22, 2, n);
    rig_write(r, RIG_COMMON + 24, 2, r->size);
    rig_write(r, RIG_COMMON + 26, 2, n + 1);
    rig_write(r, RIG_COMMON + 32, 8, Q_DESC(n));
    rig_write(r, RIG_COMMON + 40, 8, Q_AVAIL(n));
    rig_write(r, RIG_COMMON + 48, 8, Q_USED(n));
    rig_write(r, RIG_COMMON + 28, 2, 1);
}

/* Vector n sends a message with data n. */
static inline void rig_msix_enable(struct rig *r, unsigned vectors)
{
    u8 at = (u8)rig_cfg(r, PCI_CAPABILITIES, 1);
    while (rig_cfg(r, at, 1) != 0x11)
        at = (u8)rig_cfg(r, at + 1u, 1);
    for (unsigned i = 0; i < vectors; i++) {
        rig_write(r, RIG_MSIX + 16 * i, 8, 0xfee00000);
        rig_write(r, RIG_MSIX + 16 * i + 8, 8, i);
    }
    rig_cfg_write(r, at + 2u, 2, 0x8000);
}

static inline void rig_start(struct rig *r, u64 features, unsigned queues)
{
    rig_msix_enable(r, queues + 1);
    CHECK(rig_negotiate(r, features | FEATURE_BASE));
    for (unsigned n = 0; n < queues; n++)
        rig_queue_enable(r, n);
    rig_write(r, RIG_COMMON + 16, 2, 0);
    rig_set_status(r, rig_status(r) | VIRTIO_DRIVER_OK);
}

static inline void rig_desc(struct rig *r, u64 table, unsigned i, u64 gpa, u32 len, u16 flags, u16 next)
{
    u8 *d = r->hva + table + 16ull * i;
    store_le64(d, gpa);
    store_le32(d + 8, len);
    store_le16(d + 12, flags);
    store_le16(d + 14, next);
}

/* Puts a chain into the available ring, without a notification. */
static inline void rig_offer(struct rig *r, unsigned n, u16 head)
{
    store_le16(r->hva + Q_AVAIL(n) + 4 + 2 * (r->avail[n] % r->size), head);
    store_le16(r->hva + Q_AVAIL(n) + 2, ++r->avail[n]);
}

static inline void rig_notify(struct rig *r, unsigned n)
{
    rig_write(r, RIG_NOTIFY + 4 * n, 2, n);
}

static inline u16 rig_used(struct rig *r, unsigned n)
{
    return load_le16(r->hva + Q_USED(n) + 2);
}

static inline u32 rig_used_id(struct rig *r, unsigned n, unsigned i)
{
    return load_le32(r->hva + Q_USED(n) + 4 + 8ull * (i % r->size));
}

static inline u32 rig_used_len(struct rig *r, unsigned n, unsigned i)
{
    return load_le32(r->hva + Q_USED(n) + 8 + 8ull * (i % r->size));
}

/* The driver's wish to hear of entry `event` (event index), and the device's. */
static inline void rig_used_event(struct rig *r, unsigned n, u16 event)
{
    store_le16(r->hva + Q_AVAIL(n) + 4 + 2 * r->size, event);
}

static inline u16 rig_avail_event(struct rig *r, unsigned n)
{
    return load_le16(r->hva + Q_USED(n) + 4 + 8ull * r->size);
}

#endif
