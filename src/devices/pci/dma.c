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

/* The part of [address, ...) that lies in one page of RAM (for reading also ROM): its length, and where it is
 * in *gpa and *hva. What is no memory has a NULL *hva: functions do not reach other devices' registers, which
 * could call them back. */
static u64 dma_piece(struct pci_function *f, u64 address, u64 len, bool write, u64 *gpa, u8 **hva)
{
    *gpa = address;
    u64 n = dma_translate(f, gpa, len, write);
    u64 offset = *gpa % PAGE_SIZE;
    struct mem_page page = mem_lookup(pci_bus_mem(f->bus), *gpa);
    bool reached = page.kind == MEM_RAM || (page.kind == MEM_ROM && !write);
    *hva = reached ? page.hva + offset : NULL;
    return MIN(n, PAGE_SIZE - offset);
}

bool pci_dma_read(struct pci_function *f, u64 address, void *buf, size_t len)
{
    for (u8 *to = buf; len;) {
        u64 gpa;
        u8 *from;
        u64 n = f->bus ? dma_piece(f, address, len, false, &gpa, &from) : 0;
        if (!n) {
            memset(to, 0xff, len);
            return false;
        }
        if (from)
            memcpy(to, from, n);
        else
            memset(to, 0xff, n);
        address += n;
        to += n;
        len -= n;
    }
    return true;
}

bool pci_dma_write(struct pci_function *f, u64 address, const void *buf, size_t len)
{
    for (const u8 *from = buf; len;) {
        u64 gpa;
        u8 *to;
        u64 n = f->bus ? dma_piece(f, address, len, true, &gpa, &to) : 0;
        if (!n)
            return false;
        if (to) {
            memcpy(to, from, n);
            mem_mark_dirty(pci_bus_mem(f->bus), gpa, n);
        }
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
