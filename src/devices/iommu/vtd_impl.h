/* What the files of the remapping unit share. Only for src/devices/iommu. */
#ifndef RING3_DEVICES_IOMMU_VTD_IMPL_H
#define RING3_DEVICES_IOMMU_VTD_IMPL_H

#include "base/bytes.h"
#include "devices/iommu/vtd.h"

/* Registers (10.4). */
enum vtd_register {
    VTD_VERSION = 0x00,
    VTD_CAP = 0x08,
    VTD_ECAP = 0x10,
    VTD_GCMD = 0x18,
    VTD_GSTS = 0x1c,
    VTD_RTADDR = 0x20,
    VTD_CCMD = 0x28,
    VTD_FSTS = 0x34,
    VTD_FECTL = 0x38, /* then data, address, upper address: an event's four registers */
    VTD_IQH = 0x80,
    VTD_IQT = 0x88,
    VTD_IQA = 0x90,
    VTD_ICS = 0x9c,
    VTD_IECTL = 0xa0, /* likewise */
    VTD_IRTA = 0xb8,
    VTD_IVA = 0xf0,
    VTD_IOTLB = 0xf8,
    VTD_FAULTS = 0x220, /* VTD_FAULT_RECORDS of 16 bytes */
};
#define VTD_FAULT_RECORDS 8
#define VTD_REGISTERS     (VTD_FAULTS + 16 * VTD_FAULT_RECORDS)

/* GCMD and GSTS have the same bits. */
enum vtd_command {
    VTD_REMAP_DMA = BIT(31),
    VTD_SET_ROOT = BIT(30),
    VTD_QUEUE = BIT(26),
    VTD_REMAP_IRQ = BIT(25),
    VTD_SET_IRTA = BIT(24),
    VTD_COMPATIBLE_IRQ = BIT(23),
};

enum vtd_fault_status {
    VTD_FAULT_OVERFLOW = BIT(0),
    VTD_FAULT_PENDING = BIT(1),
    VTD_QUEUE_ERROR = BIT(4),
};

enum vtd_event_control { VTD_EVENT_MASKED = BIT(31), VTD_EVENT_PENDING = BIT(30) };

#define VTD_ICS_DONE BIT(0)

/* Reasons (appendix A). */
enum vtd_reason {
    VTD_ROOT_NOT_PRESENT = 0x1,
    VTD_CONTEXT_NOT_PRESENT = 0x2,
    VTD_CONTEXT_INVALID = 0x3,
    VTD_ADDRESS_TOO_WIDE = 0x4,
    VTD_NO_WRITE = 0x5,
    VTD_NO_READ = 0x6,
    VTD_ROOT_RESERVED = 0xa,
    VTD_CONTEXT_RESERVED = 0xb,
    VTD_PTE_RESERVED = 0xc,
    VTD_IRQ_REQUEST_RESERVED = 0x20,
    VTD_IRQ_INDEX = 0x21,
    VTD_IRQ_NOT_PRESENT = 0x22,
    VTD_IRQ_ENTRY_RESERVED = 0x24,
    VTD_IRQ_COMPATIBLE_BLOCKED = 0x25,
    VTD_IRQ_SOURCE = 0x26,
};

struct vtd {
    u8 reg[VTD_REGISTERS];
    u64 root, irta; /* what SET_ROOT and SET_IRTA took from their registers */
    struct lapic_bus *bus;
    struct mem_space *mem;
    struct log *log;
    struct mem_region region;
};

static inline u32 vtd_get32(const struct vtd *vtd, unsigned reg)
{
    return load_le32(vtd->reg + reg);
}
static inline u64 vtd_get64(const struct vtd *vtd, unsigned reg)
{
    return load_le64(vtd->reg + reg);
}
static inline void vtd_set32(struct vtd *vtd, unsigned reg, u32 value)
{
    store_le32(vtd->reg + reg, value);
}
static inline void vtd_set64(struct vtd *vtd, unsigned reg, u64 value)
{
    store_le64(vtd->reg + reg, value);
}

/* vtd_fault.c */

struct vtd_fault {
    u32 source;
    u64 info; /* bits 63:12 of the address; 63:48: an interrupt's index */
    enum vtd_reason reason;
    bool read;
};
/* Records a fault and signals it (7.2, 7.3). */
void vtd_fault_record(struct vtd *vtd, const struct vtd_fault *fault);
/* Sets bits of the fault status other than PENDING, and signals them. */
void vtd_fault_raise(struct vtd *vtd, u32 status);
/* After a guest's write to fault status or records: pending bit and pending event follow. */
void vtd_fault_update(struct vtd *vtd);
/* An event of the unit's own, whose control register is at `control`: sent, or kept pending while masked. */
void vtd_event_signal(struct vtd *vtd, unsigned control);
/* After a write to its control register. */
void vtd_event_update(struct vtd *vtd, unsigned control);

/* vtd_queue.c: carries out what lies in the invalidation queue. */
void vtd_queue_run(struct vtd *vtd);

/* vtd_walk.c, vtd_remap.c: behind vtd_iommu and vtd_msi. */
u64 vtd_translate(void *opaque, u32 requester, u64 *address, u64 len, bool write);
bool vtd_remap_msi(void *opaque, u32 source, u64 address, u32 data);

#endif
