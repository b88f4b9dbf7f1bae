/* Interrupt remapping (5.1, 9.10). */
#include "devices/iommu/vtd_impl.h"

enum { ADDRESS_REMAPPABLE = BIT(4), ADDRESS_SUBHANDLE = BIT(3), ADDRESS_INDEX_HIGH = BIT(2) };

#define IRTA_ADDRESS (MASK(PHYS_BITS) & PAGE_MASK)
enum { IRTA_X2APIC = BIT(11), IRTA_SIZE = 0xf };

/* An interrupt remapping table entry's low quadword. */
enum {
    IRTE_PRESENT = BIT(0),
    IRTE_FAULTS_OFF = BIT(1),
    IRTE_LOGICAL = BIT(2),
    IRTE_REDIRECT = BIT(3),
    IRTE_LEVEL = BIT(4),
    IRTE_MODE_SHIFT = 5,
    IRTE_POSTED = BIT(15),
    IRTE_VECTOR_SHIFT = 16,
};
#define IRTE_LOW_RESERVED  0xff007000ull
#define IRTE_HIGH_RESERVED 0xfffffffffff00000ull

static bool irq_fail(struct vtd *vtd, u32 source, u32 index, enum vtd_reason reason)
{
    struct vtd_fault fault = {.source = source, .info = (u64)index << 48, .reason = reason, .read = false};
    vtd_fault_record(vtd, &fault);
    return false;
}

/* Does the entry allow this source (9.10, SVT and SQ)? */
static bool source_is_allowed(u64 high, u32 source)
{
    static const u16 ignored[] = {0, 4, 6, 7}; /* bits of the function number, by SQ */
    u32 id = (u16)high;
    if (source == MSI_SOURCE_BOARD)
        return true;
    switch (high >> 18 & 3) {
    case 0:
        return true;
    case 1: {
        u32 mask = ~(u32)ignored[high >> 16 & 3] & 0xffff;
        return (id & mask) == (source & mask);
    }
    case 2: /* a range of buses: start in bits 15:8, end in 7:0 */
        return source >> 8 >= id >> 8 && source >> 8 <= (id & 0xff);
    default:
        return false;
    }
}

static bool entry_send(struct vtd *vtd, u64 low, u64 high, u32 source, u32 index)
{
    bool x2apic = vtd->irta & IRTA_X2APIC;
    bool quiet = low & IRTE_FAULTS_OFF;
    enum vtd_reason reason = 0;
    if (!(low & IRTE_PRESENT))
        reason = VTD_IRQ_NOT_PRESENT;
    else if ((low & (IRTE_LOW_RESERVED | IRTE_POSTED)) || (high & IRTE_HIGH_RESERVED) ||
             (high >> 18 & 3) == 3 || (!x2apic && (low >> 32 & 0xffff00ff)))
        reason = VTD_IRQ_ENTRY_RESERVED;
    else if (!source_is_allowed(high, source))
        reason = VTD_IRQ_SOURCE;
    if (reason)
        return quiet ? false : irq_fail(vtd, source, index, reason);
    struct apic_message msg = {
        .dest = x2apic ? (u32)(low >> 32) : (u32)(low >> 40) & 0xff,
        .wide = x2apic,
        .logical = low & IRTE_LOGICAL,
        .redirect = low & IRTE_REDIRECT,
        .level = low & IRTE_LEVEL,
        .mode = low >> IRTE_MODE_SHIFT & 7,
        .vector = (u8)(low >> IRTE_VECTOR_SHIFT),
    };
    return msg.mode != APIC_SIPI && lapic_bus_send(vtd->bus, &msg);
}

bool vtd_remap_msi(void *opaque, u32 source, u64 address, u32 data)
{
    struct vtd *vtd = opaque;
    u32 status = vtd_get32(vtd, VTD_GSTS);
    struct msi_sink through = lapic_bus_msi(vtd->bus);
    if (!(status & VTD_REMAP_IRQ) || address >> 20 != LAPIC_BASE >> 20)
        return msi_send(&through, address, data);
    if (!(address & ADDRESS_REMAPPABLE)) {
        /* 5.1.2.1: also never in x2APIC mode */
        if ((status & VTD_COMPATIBLE_IRQ) && !(vtd->irta & IRTA_X2APIC))
            return msi_send(&through, address, data);
        return irq_fail(vtd, source, 0, VTD_IRQ_COMPATIBLE_BLOCKED);
    }
    u32 index = (address >> 5 & 0x7fff) | (address & ADDRESS_INDEX_HIGH ? 0x8000 : 0);
    if (address & ADDRESS_SUBHANDLE)
        index += (u16)data;
    if (index > 0xffff || index >= 2u << (vtd->irta & IRTA_SIZE))
        return irq_fail(vtd, source, index, VTD_IRQ_INDEX);
    u64 at = (vtd->irta & IRTA_ADDRESS) + 16ull * index;
    u64 low = mem_read(vtd->mem, at, 8), high = mem_read(vtd->mem, at + 8, 8);
    return entry_send(vtd, low, high, source, index);
}
