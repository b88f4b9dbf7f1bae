/* The invalidation queue (6.5.2). There is nothing to invalidate, but descriptors are checked, and whoever
 * waits is told. */
#include "devices/iommu/vtd_impl.h"

#define IQA_ADDRESS (MASK(PHYS_BITS) & PAGE_MASK)
enum { IQA_SIZE = 7 };

#define DESCRIPTOR_SIZE 16

enum descriptor_type {
    DESCRIPTOR_CONTEXT = 1,
    DESCRIPTOR_IOTLB = 2,
    DESCRIPTOR_DEVICE_TLB = 3, /* of no device here, but no error */
    DESCRIPTOR_INTERRUPT = 4,
    DESCRIPTOR_WAIT = 5,
};
enum { WAIT_INTERRUPT = BIT(4), WAIT_WRITE = BIT(5) };
enum { CONTEXT_GRANULARITY_SHIFT = 4 }; /* of contexts and of the IOTLB: 2 bits, 0 is reserved */

static void wait_done(struct vtd *vtd, u64 low, u64 high)
{
    u8 *status = mem_ram_ptr(vtd->mem, high & ~3ull, 4); /* never a register, such as the queue's own */
    if ((low & WAIT_WRITE) && status) {
        store_le32(status, (u32)(low >> 32));
        mem_mark_dirty(vtd->mem, high & ~3ull, 4);
    }
    if (!(low & WAIT_INTERRUPT) || (vtd_get32(vtd, VTD_ICS) & VTD_ICS_DONE))
        return;
    vtd_set32(vtd, VTD_ICS, VTD_ICS_DONE);
    vtd_event_signal(vtd, VTD_IECTL);
}

/* False: no such descriptor. */
static bool descriptor_run(struct vtd *vtd, u64 low, u64 high)
{
    switch (low & 0xf) {
    case DESCRIPTOR_CONTEXT:
    case DESCRIPTOR_IOTLB:
        return low >> CONTEXT_GRANULARITY_SHIFT & 3;
    case DESCRIPTOR_DEVICE_TLB:
    case DESCRIPTOR_INTERRUPT:
        return true;
    case DESCRIPTOR_WAIT:
        wait_done(vtd, low, high);
        return true;
    default:
        return false;
    }
}

void vtd_queue_run(struct vtd *vtd)
{
    u64 iqa = vtd_get64(vtd, VTD_IQA);
    u64 size = PAGE_SIZE << (iqa & IQA_SIZE);
    u64 head = vtd_get64(vtd, VTD_IQH), tail = vtd_get64(vtd, VTD_IQT);
    if (!(vtd_get32(vtd, VTD_GSTS) & VTD_QUEUE) || (vtd_get32(vtd, VTD_FSTS) & VTD_QUEUE_ERROR))
        return;
    if (tail >= size) {
        vtd_fault_raise(vtd, VTD_QUEUE_ERROR);
        return;
    }
    while (head != tail) {
        u64 at = (iqa & IQA_ADDRESS) + head;
        if (!descriptor_run(vtd, mem_read(vtd->mem, at, 8), mem_read(vtd->mem, at + 8, 8))) {
            vtd_set64(vtd, VTD_IQH, head);
            vtd_fault_raise(vtd, VTD_QUEUE_ERROR);
            return;
        }
        head = (head + DESCRIPTOR_SIZE) % size;
        vtd_set64(vtd, VTD_IQH, head);
    }
}
