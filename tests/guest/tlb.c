/*
 * Global pages, INVLPG, CR3 and CR4 writes, PCID and INVPCID: which translations each removes or
 * keeps. A stale translation may always be gone, so only removal is checked, and (without a claim)
 * what a PCID must keep apart.
 */
/* ## mode: x86_64 */
#include "paging.h"

static u64 t_pdpt[512] PAGE_ALIGNED, t_pd[512] PAGE_ALIGNED, t_pt[512] PAGE_ALIGNED;
static u64 other_pml4[512] PAGE_ALIGNED, o_pdpt[512] PAGE_ALIGNED, o_pd[512] PAGE_ALIGNED,
    o_pt[512] PAGE_ALIGNED;
static volatile u64 page_a[512] PAGE_ALIGNED, page_b[512] PAGE_ALIGNED;
#define VA 0x8000000000ul

static u64 look(void)
{
    return *(volatile u64 *)VA;
}

static void chain(u64 *top, u64 *l3, u64 *l2, u64 *l1, volatile u64 *page, u64 bits)
{
    top[1] = (ulong)l3 | PTE_ALL;
    l3[0] = (ulong)l2 | PTE_ALL;
    l2[0] = (ulong)l1 | PTE_ALL;
    l1[0] = (ulong)page | PTE_ALL | bits;
}

/* Makes VA point to page_a, fills the TLB, then points it at page_b without telling anybody. */
static void swap(u64 bits)
{
    t_pt[0] = (ulong)page_a | PTE_ALL | bits;
    ulong cr4 = cr4_read();
    cr4_write(cr4 ^ CR4_PGE);
    cr4_write(cr4);
    check_eq(look(), 0xaaaa, "the page before the change");
    t_pt[0] = (ulong)page_b | PTE_ALL | bits;
}

struct invpcid {
    u64 pcid, address;
};
static void invpcid(ulong type, u64 pcid, u64 address)
{
    struct invpcid d = {pcid, address};
    asm volatile("invpcid %0, %1" ::"m"(d), "r"(type) : "memory");
}

static void check_invpcid_faults(void)
{
    struct invpcid d = {0, 0};
    TRY("invpcid %0, %1", : "m"(d), "r"(4ul));
    check_fault(GP, 0, "INVPCID type 4");
    d.pcid = 0x1000;
    TRY("invpcid %0, %1", : "m"(d), "r"(0ul));
    check_fault(GP, 0, "INVPCID with reserved bits in the descriptor");
    d.pcid = 0;
    d.address = 0x8000000000000000ul;
    TRY("invpcid %0, %1", : "m"(d), "r"(0ul));
    check_fault(GP, 0, "INVPCID of a non-canonical address");
    USER("invpcid %0, %1", : "m"(d), "r"(2ul));
    check_fault(GP, 0, "INVPCID in ring 3");
}

static void check_pcid(void)
{
    ulong base = (ulong)pml4;
    bool has_invpcid = cpuid(7, 0).b & 1u << 10;

    TRY("mov %0, %%cr4", : "r"(cr4_read() | CR4_PCIDE));
    check_no_fault("CR4.PCIDE with CR3[11:0] = 0");
    check_eq(cr4_read() & CR4_PCIDE, CR4_PCIDE, "CR4.PCIDE is set");
    cr3_write(base | 1);
    check_eq(cr3_read(), base | 1, "CR3 holds the PCID");
    swap(0);
    cr3_write(base | 2);
    check_eq(look(), 0xbbbb, "another PCID does not see PCID 1's translation");
    cr3_write(base | 1); /* bit 63 clear: flushes PCID 1 */
    check_eq(look(), 0xbbbb, "MOV CR3 without bit 63 flushes the PCID");
    TRY("mov %0, %%cr3", : "r"(base | 1 | 1ul << 63));
    check_no_fault("MOV CR3 with bit 63");
    check_eq(cr3_read(), base | 1, "bit 63 is not stored");
    /* two address spaces under two PCIDs, switched without flushing */
    chain(other_pml4, o_pdpt, o_pd, o_pt, page_a, 0);
    other_pml4[0] = pml4[0];
    t_pt[0] = (ulong)page_b | PTE_ALL;
    cr3_write((ulong)other_pml4 | 3);
    check_eq(look(), 0xaaaa, "address space 2");
    cr3_write(base | 1 | 1ul << 63);
    check_eq(look(), 0xbbbb, "address space 1 again, not flushed");
    cr3_write(((ulong)other_pml4 | 3) | 1ul << 63);
    check_eq(look(), 0xaaaa, "address space 2 again, not flushed");
    cr3_write(base);
    TRY("mov %0, %%cr4", : "r"(cr4_read() & ~(ulong)CR4_PCIDE));
    check_no_fault("CR4.PCIDE off");
    cr3_write(base | 8);
    TRY("mov %0, %%cr4", : "r"(cr4_read() | CR4_PCIDE));
    check_fault(GP, 0, "CR4.PCIDE with CR3[11:0] not 0");
    cr3_write(base);
    TRY("mov %0, %%cr3", : "r"(base | 1ul << 63));
    check_fault(GP, 0, "MOV CR3 with bit 63 without PCIDE");
    if (!has_invpcid) {
        skip("INVPCID", "not in CPUID");
        return;
    }
    check_invpcid_faults();
    cr4_write(cr4_read() | CR4_PCIDE);
    cr3_write(base | 1);
    swap(0);
    invpcid(0, 1, VA);
    check_eq(look(), 0xbbbb, "INVPCID 0: one address of one PCID");
    swap(0);
    invpcid(1, 1, 0);
    check_eq(look(), 0xbbbb, "INVPCID 1: one PCID");
    swap(PTE_G);
    invpcid(2, 0, 0);
    check_eq(look(), 0xbbbb, "INVPCID 2: all, with globals");
    swap(0);
    invpcid(3, 0, 0);
    check_eq(look(), 0xbbbb, "INVPCID 3: all but globals");
    cr3_write(base);
    cr4_write(cr4_read() & ~(ulong)CR4_PCIDE);
}

int main(void)
{
    page_a[0] = 0xaaaa;
    page_b[0] = 0xbbbb;
    chain(pml4, t_pdpt, t_pd, t_pt, page_a, 0);
    cr4_write(cr4_read() | CR4_PGE);
    swap(0);
    invlpg((void *)VA);
    check_eq(look(), 0xbbbb, "INVLPG removes a translation");
    swap(PTE_G);
    invlpg((void *)(VA + 0xfff));
    check_eq(look(), 0xbbbb, "INVLPG removes a global translation, by any address in the page");
    swap(0);
    cr3_write(cr3_read());
    check_eq(look(), 0xbbbb, "MOV CR3 removes translations");
    swap(PTE_G);
    cr4_write(cr4_read() & ~(ulong)CR4_PGE);
    check_eq(look(), 0xbbbb, "clearing CR4.PGE removes global translations");
    swap(PTE_G);
    cr4_write(cr4_read() | CR4_PGE);
    check_eq(look(), 0xbbbb, "setting CR4.PGE removes global translations");
    swap(0);
    cr0_write(cr0_read() & ~(ulong)CR0_WP);
    cr3_write(cr3_read());
    check_eq(look(), 0xbbbb, "after CR0.WP and CR3");
    /* an upper level that becomes not present, or read-only */
    t_pd[0] &= ~(u64)PTE_P;
    invlpg((void *)VA);
    TRY("mov (%0), %%rax", : "r"(VA) : "rax");
    check_fault(PF, 0, "PDE made not present");
    t_pd[0] |= PTE_P;
    TRY("mov (%0), %%rax", : "r"(VA) : "rax");
    check_no_fault("PDE made present: no INVLPG needed");
    /* rights are raised without INVLPG: a spurious fault is allowed on no CPU that re-walks */
    t_pt[0] = (ulong)page_b | PTE_P;
    invlpg((void *)VA);
    cr0_write(cr0_read() | CR0_WP);
    TRY("mov %0, (%1)", : "r"(1ul), "r"(VA + 64) : "memory");
    check_fault(PF, PFE_P | PFE_W, "write to a read-only page");
    t_pt[0] |= PTE_W;
    TRY("mov %0, (%1)", : "r"(1ul), "r"(VA + 64) : "memory");
    check_no_fault("the page made writable: the fault removed the translation");
    TRY("invlpg (%0)", : "r"(0x8000000000000000ul));
    check_no_fault("INVLPG of a non-canonical address does nothing");
    /* CR0.WP and NXE take effect at once */
    t_pt[0] = (ulong)page_b | PTE_P;
    invlpg((void *)VA);
    cr0_write(cr0_read() & ~(ulong)CR0_WP);
    TRY("mov %0, (%1)", : "r"(1ul), "r"(VA + 64) : "memory");
    check_no_fault("write to a read-only page without CR0.WP");
    cr0_write(cr0_read() | CR0_WP);
    TRY("mov %0, (%1)", : "r"(1ul), "r"(VA + 64) : "memory");
    check_fault(PF, PFE_P | PFE_W, "CR0.WP takes effect at once");
    /* the dirty bit is set by the first write though the translation came from a read */
    t_pt[0] = (ulong)page_b | PTE_ALL;
    invlpg((void *)VA);
    look();
    check_eq(t_pt[0] & (PTE_A | PTE_D), PTE_A, "a read sets A only");
    *(volatile u64 *)(VA + 64) = 1;
    check_eq(t_pt[0] & (PTE_A | PTE_D), PTE_A | PTE_D, "a later write sets D");
    if (cpuid(1, 0).c & 1u << 17)
        check_pcid();
    else
        skip("PCID", "not in CPUID");
    return 0;
}
