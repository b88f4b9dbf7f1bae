/* PAE paging: the permission matrix with and without NX, 2 MiB pages, reserved bits, PDPTEs loaded (and
 * checked) with CR3. */
#include "paging.h"

static u64 pdpt[4] __attribute__((aligned(32))), directory[4][512] PAGE_ALIGNED, table[512] PAGE_ALIGNED,
    user_table[512] PAGE_ALIGNED;
#define VA 0xc0000000u

static void reserved_bits(const struct walk *w, bool nxe)
{
    u32 width = cpuid(0x80000008, 0).a & 0xff;
    u64 high = width < 52 ? 1ull << width : 0;
    static const char *const names[] = {"directory entry", "table entry"};

    for (int i = 0; i < 2; i++) {
        const struct walk_level *l = &w->level[i];
        for (u32 bit = 52; bit < 63; bit += 5) {
            level_set(l, PTE_ALL | 1ull << bit);
            invlpg((void *)VA);
            paging_access(w, READ_0, VA);
            check_fault(PF, PFE_P | PFE_RSVD, "PAE %s: bit %u is reserved", names[i], bit);
        }
        if (high != 0) {
            level_set(l, PTE_ALL | high);
            invlpg((void *)VA);
            paging_access(w, WRITE_3, VA);
            check_fault(PF, PFE_P | PFE_RSVD | PFE_U | PFE_W, "PAE %s: bit MAXPHYADDR is reserved", names[i]);
        }
        level_set(l, PTE_ALL | PTE_NX);
        invlpg((void *)VA);
        paging_access(w, READ_0, VA);
        check_fault(nxe ? -1 : PF, nxe ? 0 : PFE_P | PFE_RSVD, "PAE %s: NX with EFER.NXE=%u", names[i], nxe);
        /* not present: nothing else is looked at */
        level_set(l, PTE_NX | 1ull << 60);
        invlpg((void *)VA);
        paging_access(w, READ_0, VA);
        check_fault(PF, 0, "PAE %s: reserved bits of a not present one", names[i]);
        level_set(l, PTE_ALL);
        invlpg((void *)VA);
    }
}

int main(void)
{
    paging_init();
    for (u32 i = 0; i < 2048; i++)
        directory[i >> 9][i & 511] = (u64)i << 21 | 0x83;
    for (u32 i = 0; i < 4; i++)
        pdpt[i] = (u32)directory[i] | 1;
    directory[2][0] = (u32)user_table | PTE_ALL;
    user_table[0] = (u32)user_page | PTE_ALL;
    struct walk w = {VA,
                     2,
                     {{&directory[3][0], true, (u32)table, PTE_ALL | PTE_NX},
                      {&table[0], true, (u32)page_under_test, PTE_ALL | PTE_NX}},
                     0x80000000,
                     false};
    level_set(&w.level[0], PTE_ALL);
    level_set(&w.level[1], PTE_ALL);
    cr4_write(CR4_PAE);
    cr3_write((ulong)pdpt);
    cr0_write(cr0_read() | CR0_PG);
    paging_matrix(&w, "PAE 4 KiB");
    reserved_bits(&w, false);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    w.nx = true;
    paging_matrix(&w, "PAE 4 KiB NX");
    reserved_bits(&w, true);
    u32 big = (u32)page_under_test & ~0x1fffffu, offset = (u32)page_under_test & 0x1fffff;
    struct walk w2 = {
        VA + offset, 1, {{&directory[3][0], true, big | PTE_PS, PTE_ALL | PTE_NX}}, 0x80000000, true};
    paging_matrix(&w2, "PAE 2 MiB");
    for (u32 bit = 13; bit <= 20; bit += 7) {
        level_set(&w2.level[0], PTE_ALL | 1u << bit);
        invlpg((void *)VA);
        paging_access(&w2, READ_3, VA + offset);
        check_fault(PF, PFE_P | PFE_RSVD | PFE_U, "2 MiB entry: bit %u is reserved", bit);
    }
    level_set(&w2.level[0], PTE_ALL);

    /* PDPTEs: read by MOV CR3 only; reserved bits #GP there */
    pdpt[3] = 0;
    paging_access(&w2, READ_0, VA + offset);
    invlpg((void *)VA);
    paging_access(&w2, READ_0, VA + offset);
    check_no_fault("a changed PDPTE has no effect before CR3 is loaded");
    cr3_write((ulong)pdpt);
    paging_access(&w2, READ_0, VA + offset);
    check_fault(PF, 0, "a not present PDPTE after loading CR3");
    static const u64 bad[] = {2, 4, 1ull << 5, 1ull << 7, 1ull << 8, 1ull << 63};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        pdpt[3] = (u32)directory[3] | 1 | bad[i];
        TRY("mov %0, %%cr3", : "r"(pdpt) : "memory");
        check_fault(GP, 0, "MOV CR3 with reserved bit mask 0x%llx in a PDPTE", (unsigned long long)bad[i]);
    }
    pdpt[3] = bad[0];
    TRY("mov %0, %%cr3", : "r"(pdpt) : "memory");
    check_fault(-1, 0, "MOV CR3: reserved bits of a not present PDPTE");
    pdpt[3] = (u32)directory[3] | 1;
    cr3_write((ulong)pdpt);
    cr0_write(cr0_read() & ~(ulong)CR0_PG);
    return 0;
}
