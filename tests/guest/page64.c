/*
 * 4-level paging: the permission matrix for 4 KiB, 2 MiB and 1 GiB pages with NX, SMEP, SMAP and WP;
 * reserved bits.
 */
/* ## mode: x86_64 */
/* ## timeout: 60 */
#include "paging.h"

static u64 t_pdpt[512] PAGE_ALIGNED, t_pd[512] PAGE_ALIGNED, t_pt[512] PAGE_ALIGNED;
static u64 u_pdpt[512] PAGE_ALIGNED, u_pd[512] PAGE_ALIGNED, u_pt[512] PAGE_ALIGNED;
#define VA      0x8000000000ul
#define USER_VA 0x10000000000ul
#define ALL     (PTE_ALL | PTE_NX)

static void reserved(const struct walk *w, int level, u64 bits, const char *name)
{
    level_set(&w->level[level], PTE_ALL | bits);
    invlpg((void *)w->va);
    for (int kind = READ_0; kind <= FETCH_3; kind++) {
        bool write = kind == WRITE_0 || kind == WRITE_3, fetch = kind == FETCH_0 || kind == FETCH_3;
        paging_access(w, (enum access_kind)kind, w->va);
        check_fault(PF,
                    PFE_P | PFE_RSVD | (write ? PFE_W : 0) | (kind >= READ_3 ? PFE_U : 0) |
                        (fetch && w->nx ? PFE_I : 0),
                    "%s: %s", name, access_names[kind]);
    }
    level_set(&w->level[level], PTE_ALL);
    invlpg((void *)w->va);
}

int main(void)
{
    u32 width = cpuid(0x80000008, 0).a & 0xff;
    u64 beyond = width < 52 ? 1ull << width : 0;

    paging_init();
    for (int i = 0; i < 2048; i++)
        pd[i] &= ~(u64)PTE_U; /* the kernel's pages: SMEP and SMAP leave them alone */
    cr3_write(cr3_read());
    pml4[2] = (ulong)u_pdpt | PTE_ALL;
    u_pdpt[0] = (ulong)u_pd | PTE_ALL;
    u_pd[0] = (ulong)u_pt | PTE_ALL;
    u_pt[0] = (ulong)user_page | PTE_ALL;
    struct walk w = {VA,
                     4,
                     {{&pml4[1], true, (ulong)t_pdpt, ALL},
                      {&t_pdpt[0], true, (ulong)t_pd, ALL},
                      {&t_pd[0], true, (ulong)t_pt, ALL},
                      {&t_pt[0], true, (ulong)page_under_test, ALL}},
                     USER_VA,
                     false};
    for (int i = 0; i < 4; i++)
        level_set(&w.level[i], PTE_ALL);
    paging_matrix(&w, "4 KiB without NXE");
    reserved(&w, 3, PTE_NX, "NX in a PTE without EFER.NXE");
    reserved(&w, 0, PTE_NX, "NX in a PML4E without EFER.NXE");
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    w.nx = true;
    paging_matrix(&w, "4 KiB");
    reserved(&w, 0, PTE_PS, "PS in a PML4E");
    if (beyond) {
        reserved(&w, 0, beyond, "bit MAXPHYADDR in a PML4E");
        reserved(&w, 1, beyond, "bit MAXPHYADDR in a PDPTE");
        reserved(&w, 2, beyond, "bit MAXPHYADDR in a PDE");
        reserved(&w, 3, beyond, "bit MAXPHYADDR in a PTE");
        reserved(&w, 3, 1ull << 51, "bit 51 in a PTE");
    }
    level_set(&w.level[3], PTE_ALL | 0x7ffull << 52 | 0xe00);
    invlpg((void *)VA);
    paging_access(&w, READ_3, VA);
    check_no_fault("bits 9-11 and 52-62 of a PTE are available");

    ulong big = (ulong)page_under_test & ~0x1ffffful, offset = (ulong)page_under_test & 0x1fffff;
    struct walk w2 = {VA + offset,
                      3,
                      {{&pml4[1], true, (ulong)t_pdpt, ALL},
                       {&t_pdpt[0], true, (ulong)t_pd, ALL},
                       {&t_pd[0], true, big | PTE_PS, ALL}},
                      USER_VA,
                      true};
    paging_matrix(&w2, "2 MiB");
    reserved(&w2, 2, 1u << 13, "bit 13 of a 2 MiB entry");
    reserved(&w2, 2, 1u << 20, "bit 20 of a 2 MiB entry");
    if (cpuid(0x80000001, 0).d & 1u << 26) {
        offset = (ulong)page_under_test & 0x3fffffff;
        struct walk w1 = {VA + offset,
                          2,
                          {{&pml4[1], true, (ulong)t_pdpt, ALL}, {&t_pdpt[0], true, PTE_PS, ALL}},
                          USER_VA,
                          true};
        paging_matrix(&w1, "1 GiB");
        reserved(&w1, 1, 1u << 13, "bit 13 of a 1 GiB entry");
        reserved(&w1, 1, 1u << 29, "bit 29 of a 1 GiB entry");
    } else {
        skip("1 GiB pages", "not in CPUID");
    }

    /* SMAP and AC: STAC allows, implicit supervisor accesses from ring 3 are refused */
    if (cpuid(7, 0).b & 1u << 20) {
        level_set(&w2.level[2], PTE_ALL);
        invlpg((void *)w2.va);
        TRY("clac", );
        check_no_fault("CLAC without CR4.SMAP");
        cr4_write(cr4_read() | CR4_SMAP);
        TRY("stac\n\tmov (%0), %%al\n\tclac", : "r"(w2.va) : "rax");
        check_no_fault("STAC: a user page may be read");
        TRY("stac\n\tmov %%al, (%0)\n\tclac", : "r"(w2.va + 100) : "memory");
        check_no_fault("STAC: a user page may be written");
        TRY("mov (%0), %%al", : "r"(w2.va) : "rax");
        check_fault(PF, PFE_P, "CLAC: a user page may not be read");
        user_flags = 2;
        ulong flags;
        asm volatile("stac\n\tpushf\n\tpop %0\n\tclac" : "=r"(flags));
        check_eq(flags & FL_AC, FL_AC, "STAC sets AC");
        cr4_write(cr4_read() & ~(ulong)CR4_SMAP);
        pd[(ulong)main >> 21] |= PTE_U; /* the code and stack for USER() below */
        cr3_write(cr3_read());
        USER("stac", );
        check_fault(UD, 0, "STAC in ring 3");
    } else {
        skip("STAC and CLAC", "no SMAP");
    }
    return 0;
}
