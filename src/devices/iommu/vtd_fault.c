/* Faults of the remapping unit, and the interrupts that it raises itself (7.2, 7.3). */
#include "devices/iommu/vtd_impl.h"

enum { RECORD_INFO = 0, RECORD_SOURCE = 8, RECORD_REASON = 12 };
/* The record's last doubleword. */
enum { REASON_READ = BIT(30) };
#define REASON_VALID BIT(31)

#define FSTS_INDEX_SHIFT 8
#define FSTS_INDEX       0xff00u

enum { EVENT_DATA = 4, EVENT_ADDRESS = 8, EVENT_UPPER = 12 };

/* Its own interrupts are not remapped (5.1.6). */
static void event_send(struct vtd *vtd, unsigned control)
{
    struct msi_sink sink = lapic_bus_msi(vtd->bus);
    u64 address = vtd_get32(vtd, control + EVENT_ADDRESS) | (u64)vtd_get32(vtd, control + EVENT_UPPER) << 32;
    msi_send(&sink, address, vtd_get32(vtd, control + EVENT_DATA));
}

void vtd_event_signal(struct vtd *vtd, unsigned control)
{
    u32 v = vtd_get32(vtd, control);
    if (v & VTD_EVENT_MASKED)
        vtd_set32(vtd, control, v | VTD_EVENT_PENDING);
    else
        event_send(vtd, control);
}

void vtd_event_update(struct vtd *vtd, unsigned control)
{
    u32 v = vtd_get32(vtd, control);
    if ((v & VTD_EVENT_MASKED) || !(v & VTD_EVENT_PENDING))
        return;
    vtd_set32(vtd, control, v & ~VTD_EVENT_PENDING);
    event_send(vtd, control);
}

static u8 *record_at(struct vtd *vtd, unsigned index)
{
    return vtd->reg + VTD_FAULTS + 16 * index;
}

static bool record_is_valid(struct vtd *vtd, unsigned index)
{
    return load_le32(record_at(vtd, index) + RECORD_REASON) & REASON_VALID;
}

/* The first valid record, or -1. */
static int record_first(struct vtd *vtd)
{
    for (unsigned i = 0; i < VTD_FAULT_RECORDS; i++)
        if (record_is_valid(vtd, i))
            return (int)i;
    return -1;
}

void vtd_fault_raise(struct vtd *vtd, u32 status)
{
    u32 old = vtd_get32(vtd, VTD_FSTS);
    vtd_set32(vtd, VTD_FSTS, old | status);
    /* One event for as long as any of them is set (7.3). */
    if (!(old & ~FSTS_INDEX))
        vtd_event_signal(vtd, VTD_FECTL);
}

void vtd_fault_record(struct vtd *vtd, const struct vtd_fault *fault)
{
    log_trace(vtd->log, TRACE_PCI, "vt-d: %02x.%x: %s %#llx refused, reason %#x", fault->source >> 3 & 31,
              fault->source & 7, fault->read ? "read at" : "write at or interrupt",
              (unsigned long long)fault->info, fault->reason);
    u32 status = vtd_get32(vtd, VTD_FSTS);
    if (status & VTD_FAULT_OVERFLOW)
        return;
    for (unsigned i = 0; i < VTD_FAULT_RECORDS; i++) {
        u8 *record = record_at(vtd, i);
        if (record_is_valid(vtd, i))
            continue;
        store_le64(record + RECORD_INFO, fault->info & ~0xfffull);
        store_le32(record + RECORD_SOURCE, fault->source & 0xffff);
        store_le32(record + RECORD_REASON, fault->reason | (fault->read ? REASON_READ : 0) | REASON_VALID);
        if (!(status & VTD_FAULT_PENDING))
            vtd_set32(vtd, VTD_FSTS, (status & ~FSTS_INDEX) | i << FSTS_INDEX_SHIFT);
        vtd_fault_raise(vtd, VTD_FAULT_PENDING);
        return;
    }
    vtd_fault_raise(vtd, VTD_FAULT_OVERFLOW);
}

void vtd_fault_update(struct vtd *vtd)
{
    int first = record_first(vtd);
    u32 status = vtd_get32(vtd, VTD_FSTS) & ~(FSTS_INDEX | VTD_FAULT_PENDING);
    if (first >= 0)
        status |= VTD_FAULT_PENDING | (u32)first << FSTS_INDEX_SHIFT;
    vtd_set32(vtd, VTD_FSTS, status);
    if (!(status & ~FSTS_INDEX)) /* everything was seen to: an event that waits is not sent any more */
        vtd_set32(vtd, VTD_FECTL, vtd_get32(vtd, VTD_FECTL) & ~VTD_EVENT_PENDING);
}
