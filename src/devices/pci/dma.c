/* What functions read and write as bus masters. */
#include <string.h>

#include "devices/pci/pci_impl.h"

/* How many bytes from *address on, which becomes guest-physical, can be reached together; 0: refused. */
static u64 dma_translate(struct pci_function *f, u64 *address, u64 len, bool write)
{
    if (!f->bus || !pci_is_bus_master(f))
        return 0;
    const struct pci_iommu *iommu = pci_bus_iommu(f->bus);
    len = MIN(len, ~*address);
    return iommu->translate ? iommu->translate(iommu->opaque, pci_requester_id(f), address, len, write) : len;
}

bool pci_dma_read(struct pci_function *f, u64 address, void *buf, size_t len)
{
    for (u8 *to = buf; len;) {
        u64 gpa = address, n = dma_translate(f, &gpa, len, false);
        if (!n) {
            memset(to, 0xff, len);
            return false;
        }
        mem_read_bytes(pci_bus_mem(f->bus), gpa, to, n);
        address += n;
        to += n;
        len -= n;
    }
    return true;
}

bool pci_dma_write(struct pci_function *f, u64 address, const void *buf, size_t len)
{
    for (const u8 *from = buf; len;) {
        u64 gpa = address, n = dma_translate(f, &gpa, len, true);
        if (!n)
            return false;
        mem_write_bytes(pci_bus_mem(f->bus), gpa, from, n);
        address += n;
        from += n;
        len -= n;
    }
    return true;
}

void *pci_dma_ptr(struct pci_function *f, u64 address, u64 *len, bool write, u64 *gpa)
{
    u64 total = *len, n;
    *gpa = address;
    *len = n = dma_translate(f, gpa, total, write);
    while (n && *len < total) { /* pages that a remapping unit has put next to each other */
        u64 next = address + *len;
        n = dma_translate(f, &next, total - *len, write);
        if (!n || next != *gpa + *len)
            break;
        *len += n;
    }
    if (!*len)
        return NULL;
    void *ptr = mem_ram_ptr(pci_bus_mem(f->bus), *gpa, *len);
    if (!ptr) { /* RAM may end in between */
        *len = MIN(*len, PAGE_SIZE - *gpa % PAGE_SIZE);
        ptr = mem_ram_ptr(pci_bus_mem(f->bus), *gpa, *len);
    }
    return ptr;
}
