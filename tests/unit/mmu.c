/* Page walks in every format, exact fault codes, A/D bits, the soft TLB's staleness rules, page crossings,
 * MMIO. */
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;
#define PTE(n) (PTAB_AT + (n)*8)

static void setup(unsigned cpl)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_long(&t, cpl);
}

static void check_fault(u64 lin, enum mmu_access access, unsigned index, u32 code)
{
    struct vcpu *v = t.v;
    v->exc.cr2 = 1;
    if (access == MMU_READ)
        CHECK_RAISES(v, mmu_read_as(v, lin, 4, index), EXC_PF, code);
    else if (access == MMU_WRITE)
        CHECK_RAISES(v, mmu_write_as(v, lin, 4, 0, index), EXC_PF, code);
    else
        CHECK_RAISES(v, mmu_probe(v, lin, 1, MMU_EXEC, index), EXC_PF, code);
    CHECK_EQ(v->exc.cr2, lin);
}

static void test_long_translation(void)
{
    setup(0);
    struct vcpu *v = t.v;
    put(&t, PTE(5), 8, 0x9000 | 3);
    put(&t, 0x9123, 8, 0x1122334455667788);
    CHECK_EQ(mmu_read(v, 0x5123, 8), 0x1122334455667788);
    CHECK_EQ(mmu_read(v, 0x5123, 1), 0x88);
    CHECK_EQ(mmu_translate(v, 0x5123), 0x9123);
    CHECK_EQ(mmu_translate(v, 0x400123), 0x400123);
    CHECK_EQ(mmu_translate(v, 0x8000000000), ~0ull);
    /* 1 GiB page */
    put(&t, PDPT_AT + 8, 8, 0x83);
    CHECK_EQ(mmu_translate(v, GIB(1) + 0x9123), 0x9123);
    CHECK_EQ(mmu_read(v, GIB(1) + 0x9123, 2), 0x7788);
    cpu_vm_destroy(&t);
}

/* Protection keys: user pages by PKRU, supervisor pages by IA32_PKRS; never instruction fetches. */
static void test_keys(void)
{
    cpu_vm_create(&t, "host", 1);
    enter_long(&t, 0);
    struct vcpu *v = t.v;
    if (!cpu_has(v, FEAT_PKU)) {
        cpu_vm_destroy(&t);
        return;
    }
    CHECK_OK(v, cpu_write_cr(v, 4, v->cr4 | CR4_PKE | CR4_PKS));
    put(&t, PTE(5), 8, 0x5007 | 2ull << 59);
    put(&t, PTE(6), 8, 0x6003 | 3ull << 59);
    mmu_write(v, 0x5000, 4, 1); /* key 2 and 3 allow everything: entries in the TLB must not survive */
    mmu_write(v, 0x6000, 4, 1);
    cpu_set_pkru(v, 1 << 4);
    check_fault(0x5000, MMU_READ, MMU_USER, PF_P | PF_U | PF_PK);
    check_fault(0x5000, MMU_READ, MMU_KERNEL, PF_P | PF_PK);
    CHECK_OK(v, mmu_probe(v, 0x5000, 1, MMU_EXEC, MMU_USER));
    CHECK_OK(v, mmu_read_as(v, 0x6000, 4, MMU_KERNEL));
    cpu_set_pkru(v, 2 << 4);
    CHECK_OK(v, mmu_read_as(v, 0x5000, 4, MMU_USER));
    check_fault(0x5000, MMU_WRITE, MMU_USER, PF_P | PF_U | PF_W | PF_PK);
    check_fault(0x5000, MMU_WRITE, MMU_KERNEL, PF_P | PF_W | PF_PK);
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 & ~(u64)CR0_WP));
    CHECK_OK(v, mmu_write_as(v, 0x5000, 4, 0, MMU_KERNEL));
    check_fault(0x5000, MMU_WRITE, MMU_USER, PF_P | PF_U | PF_W | PF_PK);
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 | CR0_WP));
    CHECK(!msr_write(v, MSR_PKRS, BIT(32)));
    CHECK(msr_write(v, MSR_PKRS, 1 << 6));
    check_fault(0x6000, MMU_READ, MMU_KERNEL, PF_P | PF_PK);
    check_fault(0x6000, MMU_READ, MMU_USER, PF_P | PF_U | PF_PK);
    CHECK(msr_write(v, MSR_PKRS, 2 << 6));
    CHECK_OK(v, mmu_read_as(v, 0x6000, 4, MMU_KERNEL));
    check_fault(0x6000, MMU_WRITE, MMU_KERNEL, PF_P | PF_W | PF_PK);
    CHECK_OK(v, cpu_write_cr(v, 4, v->cr4 & ~(u64)(CR4_PKE | CR4_PKS)));
    CHECK_OK(v, mmu_write_as(v, 0x5000, 4, 0, MMU_USER));
    CHECK_OK(v, mmu_write_as(v, 0x6000, 4, 0, MMU_KERNEL));
    cpu_vm_destroy(&t);
}

static void test_accessed_dirty(void)
{
    setup(0);
    struct vcpu *v = t.v;
    CHECK_EQ(get(&t, PTE(6), 8), 0x6007);
    mmu_read(v, 0x6000, 4);
    CHECK_EQ(get(&t, PTE(6), 8), 0x6027);
    CHECK_EQ(get(&t, PML4_AT, 8) & 0x60, 0x20);
    CHECK_EQ(get(&t, PD_AT, 8) & 0x60, 0x20);
    mmu_write(v, 0x6000, 4, 1); /* the read entry must not serve a write while D is clear */
    CHECK_EQ(get(&t, PTE(6), 8), 0x6067);
    mmu_probe(v, 0x400000, 1, MMU_WRITE, MMU_KERNEL);
    CHECK_EQ(get(&t, PD_AT + 16, 8), 0x4000e7);
    /* A fault sets nothing. */
    put(&t, PTE(7), 8, 0x7001);
    check_fault(0x7000, MMU_WRITE, MMU_KERNEL, PF_P | PF_W);
    CHECK_EQ(get(&t, PTE(7), 8), 0x7001);
    cpu_vm_destroy(&t);
}

struct rights {
    bool wp, smep, smap, nxe; /* the machine's */
    bool user, writable, nx;  /* the page's */
};

/* One access against the rules of SDM 4.6. */
static void check_rights(struct rights r, enum mmu_access access, unsigned index)
{
    put(&t, PTE(8), 8, 0x8001 | (r.user ? 4 : 0) | (r.writable ? 2 : 0) | (r.nx ? BIT(63) : 0));
    mmu_flush_all(t.v);
    bool user = index == MMU_USER;
    bool bad = (user && !r.user) || (access == MMU_WRITE && !r.writable && (user || r.wp)) ||
               (access == MMU_EXEC && r.nx) || (!user && r.user && access == MMU_EXEC && r.smep) ||
               (index == MMU_KERNEL && r.user && access != MMU_EXEC && r.smap);
    u32 code = PF_P | (user ? PF_U : 0) | (access == MMU_WRITE ? PF_W : 0) |
               (access == MMU_EXEC && (r.nxe || r.smep) ? PF_I : 0);
    if (bad)
        check_fault(0x8000, access, index, code);
    else
        CHECK_OK(t.v, mmu_probe(t.v, 0x8000, 4, access, index));
}

static void test_permission_matrix(void)
{
    setup(0);
    struct vcpu *v = t.v;
    for (unsigned n = 0; n < 128; n++) {
        struct rights r = {n & 1, n & 2, n & 4, n & 8, n & 16, n & 32, n & 64};
        if (r.nx && !r.nxe)
            continue;
        v->cr0 = r.wp ? v->cr0 | CR0_WP : v->cr0 & ~(u64)CR0_WP;
        v->cr4 = CR4_PAE | (r.smep ? CR4_SMEP : 0) | (r.smap ? CR4_SMAP : 0);
        v->efer = EFER_LME | EFER_LMA | (r.nxe ? EFER_NXE : 0);
        for (unsigned index = MMU_KERNEL; index <= MMU_USER; index++) {
            check_rights(r, MMU_READ, index);
            check_rights(r, MMU_WRITE, index);
            check_rights(r, MMU_EXEC, index);
        }
    }
    cpu_vm_destroy(&t);
}

static void test_reserved_bits(void)
{
    setup(0);
    struct vcpu *v = t.v;
    u32 code = PF_P | PF_RSVD;
    put(&t, PTE(8), 8, 0x8003 | BIT(40));
    check_fault(0x8000, MMU_READ, MMU_KERNEL, code);
    put(&t, PTE(8), 8, 0x8003 | BIT(39));
    CHECK_OK(v, mmu_read(v, 0x8000, 1));
    put(&t, PTE(8), 8, 0x8003 | BIT(52)); /* available */
    mmu_flush_all(v);
    CHECK_OK(v, mmu_read(v, 0x8000, 1));
    put(&t, PD_AT + 8, 8, 0x200087 | BIT(13)); /* below a 2 MiB page's address */
    check_fault(0x200000, MMU_WRITE, MMU_USER, code | PF_W | PF_U);
    put(&t, PML4_AT + 8, 8, PDPT_AT | 0x83); /* PS in a PML4E */
    check_fault(BIT(39), MMU_READ, MMU_KERNEL, code);
    put(&t, PDPT_AT + 8, 8, PD_AT | 0x103); /* AMD: G in a PDPTE that is no leaf */
    check_fault(GIB(1), MMU_READ, MMU_KERNEL, code);
    v->efer &= ~(u64)EFER_NXE;
    mmu_flush_all(v);
    put(&t, PTE(8), 8, 0x8003 | BIT(63));
    check_fault(0x8000, MMU_READ, MMU_KERNEL, code);
    put(&t, PTE(8), 8, 0);
    check_fault(0x8000, MMU_READ, MMU_USER, PF_U);
    cpu_vm_destroy(&t);
}

static void test_32bit_paging(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    put(&t, PT_AT, 4, (PT_AT + 0x1000) | 7);
    put(&t, PT_AT + 0x1000 + 9 * 4, 4, 0x7003);
    put(&t, PT_AT + 4, 4, 0x400083);        /* 4 MiB */
    put(&t, PT_AT + 8, 4, 0x83 | 1 << 13);  /* PSE-36: 4 GiB */
    put(&t, PT_AT + 12, 4, 0x83 | 1 << 21); /* reserved */
    v->cr3 = PT_AT;
    v->cr4 = CR4_PSE;
    v->cr0 |= CR0_PG;
    mmu_flush_all(v);
    put(&t, 0x7010, 4, 0xabcd);
    CHECK_EQ(mmu_read(v, 0x9010, 4), 0xabcd);
    CHECK_EQ(get(&t, PT_AT + 0x1000 + 9 * 4, 4), 0x7023);
    CHECK_EQ(mmu_translate(v, 0x7fffff), 0x7fffff);
    CHECK_EQ(mmu_translate(v, 0x800123), GIB(4) + 0x123);
    check_fault(0xc00000, MMU_READ, MMU_KERNEL, PF_P | PF_RSVD);
    v->cr4 = 0; /* without PSE bit 7 is ignored: the PDE points to a table at 400000h */
    mmu_flush_all(v);
    put(&t, 0x400000, 4, 0x7001);
    CHECK_EQ(mmu_read(v, 0x400010, 4), 0xabcd);
    check_fault(0x10000000, MMU_WRITE, MMU_USER, PF_W | PF_U);
    cpu_vm_destroy(&t);
}

static void test_pae(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    put(&t, PT_AT + 0x20, 8, (PT_AT + 0x1000) | 1);
    put(&t, PT_AT + 0x28, 8, 0);
    put(&t, PT_AT + 0x1000, 8, 0x83);
    put(&t, PT_AT + 0x1008, 8, 0x200083 | BIT(52));
    v->cr4 = CR4_PAE;
    v->cr3 = PT_AT + 0x20;
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 | CR0_PG));
    CHECK_EQ(mmu_translate(v, 0x1234), 0x1234);
    CHECK_EQ(mmu_translate(v, 0x40000000), ~0ull);
    check_fault(0x200000, MMU_READ, MMU_KERNEL, PF_P | PF_RSVD);
    check_fault(0x40000000, MMU_WRITE, MMU_KERNEL, PF_W);
    /* PDPTEs are registers: a change in memory counts only after a reload. */
    put(&t, PT_AT + 0x28, 8, (PT_AT + 0x1000) | 1);
    CHECK_EQ(mmu_translate(v, 0x40000000), ~0ull);
    CHECK_OK(v, cpu_write_cr(v, 3, PT_AT + 0x20));
    CHECK_EQ(mmu_translate(v, 0x40000000), 0);
    /* Reserved bits of a present PDPTE: #GP, nothing changes. */
    put(&t, PT_AT + 0x48, 8, 2 | 1);
    CHECK_RAISES(v, cpu_write_cr(v, 3, PT_AT + 0x40), EXC_GP, 0);
    CHECK_EQ(v->cr3, PT_AT + 0x20);
    cpu_vm_destroy(&t);
}

static void test_tlb_staleness(void)
{
    setup(0);
    struct vcpu *v = t.v;
    put(&t, 0x5000, 4, 5);
    put(&t, 0x6000, 4, 6);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5);
    put(&t, PTE(5), 8, 0x6007);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5); /* stale until flushed, as on hardware */
    mmu_invlpg(v, 0x5000);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 6);
    put(&t, PTE(5), 8, 0x5007);
    cpu_write_cr(v, 3, v->cr3);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5);
    /* INVLPG anywhere in a 2 MiB page kills all its fragments. */
    put(&t, 0x400000, 4, 0x40);
    put(&t, 0x5ff000, 4, 0x5f);
    CHECK_EQ(mmu_read(v, 0x5ff000, 4), 0x5f);
    put(&t, PD_AT + 16, 8, 0x600087);
    put(&t, 0x7ff000, 4, 0x7f);
    mmu_invlpg(v, 0x400000);
    CHECK_EQ(mmu_read(v, 0x5ff000, 4), 0x7f);
    /* And of a 1 GiB page. */
    put(&t, PDPT_AT + 8, 8, 0x87);
    CHECK_EQ(mmu_read(v, GIB(1) + 0x7ff000, 4), 0x7f);
    put(&t, PDPT_AT + 8, 8, 0);
    mmu_invlpg(v, GIB(1));
    check_fault(GIB(1) + 0x7ff000, MMU_READ, MMU_KERNEL, 0);
    cpu_vm_destroy(&t);
}

static void test_4m_invlpg(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    enter_protected(&t, 0);
    struct vcpu *v = t.v;
    put(&t, PT_AT + 4, 4, 0x400083);
    v->cr3 = PT_AT;
    v->cr4 = CR4_PSE;
    v->cr0 |= CR0_PG;
    mmu_flush_all(v);
    put(&t, 0x7ff000, 4, 7);
    CHECK_EQ(mmu_read(v, 0x7ff000, 4), 7);
    put(&t, PT_AT + 4, 4, 0x800083);
    put(&t, 0xbff000, 4, 0xb);
    mmu_invlpg(v, 0x400000); /* the other 2 MiB half */
    CHECK_EQ(mmu_read(v, 0x7ff000, 4), 0xb);
    cpu_vm_destroy(&t);
}

static void test_global_pages(void)
{
    setup(0);
    struct vcpu *v = t.v;
    cpu_write_cr(v, 4, CR4_PAE | CR4_PGE);
    put(&t, PTE(5), 8, 0x5107); /* global */
    put(&t, 0x5000, 4, 5);
    put(&t, 0x6000, 4, 6);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5);
    CHECK_EQ(mmu_read(v, 0x6000, 4), 6);
    put(&t, PTE(5), 8, 0x6107);
    put(&t, PTE(6), 8, 0x5007);
    cpu_write_cr(v, 3, v->cr3);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5); /* survives */
    CHECK_EQ(mmu_read(v, 0x6000, 4), 5); /* does not */
    cpu_write_cr(v, 3, v->cr3);
    mmu_invlpg(v, 0x5000);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 6);
    put(&t, PTE(5), 8, 0x5107);
    cpu_write_cr(v, 4, CR4_PAE); /* PGE off: everything */
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5);
    /* The right to write goes with the survivor: a write after the switch sets D. */
    cpu_write_cr(v, 4, CR4_PAE | CR4_PGE);
    mmu_write(v, 0x5000, 4, 9);
    cpu_write_cr(v, 3, v->cr3);
    put(&t, PTE(5), 8, 0);
    mmu_write(v, 0x5000, 4, 10);
    CHECK_EQ(get(&t, 0x5000, 4), 10);
    cpu_vm_destroy(&t);
}

/* What a supervisor may write by grace of CR0.WP = 0 ends with it, few pages or many. */
static void test_write_protect(unsigned pages)
{
    setup(0);
    struct vcpu *v = t.v;
    for (unsigned n = 0; n < pages; n++)
        put(&t, PTE(0x40 + n), 8, (0x40 + n) << 12 | 1);
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 | CR0_WP));
    check_fault(0x40000, MMU_WRITE, MMU_KERNEL, PF_P | PF_W);
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 & ~(u64)CR0_WP));
    for (unsigned n = 0; n < pages; n++)
        mmu_write_as(v, 0x40000 + n * PAGE_SIZE, 4, n, n & 1 ? MMU_KERNEL : MMU_KERNEL_AC);
    CHECK_OK(v, cpu_write_cr(v, 0, v->cr0 | CR0_WP));
    for (unsigned n = 0; n < pages; n++) {
        CHECK_EQ(mmu_read(v, 0x40000 + n * PAGE_SIZE, 4), n);
        check_fault(0x40000 + n * PAGE_SIZE, MMU_WRITE, n & 1 ? MMU_KERNEL : MMU_KERNEL_AC, PF_P | PF_W);
    }
    cpu_vm_destroy(&t);
}

static void test_write_protect_few(void)
{
    test_write_protect(3);
}

static void test_write_protect_many(void)
{
    test_write_protect(50);
}

static void test_pcid(void)
{
    setup(0);
    struct vcpu *v = t.v;
    cpu_write_cr(v, 4, CR4_PAE | CR4_PCIDE | CR4_PGE);
    put(&t, 0x5000, 4, 5);
    put(&t, 0x6000, 4, 6);
    cpu_write_cr(v, 3, PML4_AT | 1);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5);
    put(&t, PTE(5), 8, 0x6007);
    cpu_write_cr(v, 3, PML4_AT | 2 | BIT(63));
    CHECK_EQ(v->cr3, PML4_AT | 2);
    cpu_write_cr(v, 3, PML4_AT | 1 | BIT(63));
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5); /* kept */
    cpu_write_cr(v, 3, PML4_AT | 2 | BIT(63));
    CHECK_EQ(mmu_read(v, 0x5000, 4), 6); /* PCID 2 never saw the old entry */
    cpu_write_cr(v, 3, PML4_AT | 1 | BIT(63));
    cpu_write_cr(v, 3, PML4_AT | 1);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 6); /* dropped */
    /* INVPCID: single address, single context, all */
    put(&t, PTE(5), 8, 0x5007);
    cpu_invpcid(v, 0, 1, 0x5000);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5);
    put(&t, PTE(5), 8, 0x6007);
    cpu_write_cr(v, 3, PML4_AT | 2 | BIT(63));
    cpu_invpcid(v, 1, 1, 0);
    cpu_write_cr(v, 3, PML4_AT | 1 | BIT(63));
    CHECK_EQ(mmu_read(v, 0x5000, 4), 6);
    put(&t, PTE(5), 8, 0x5007);
    cpu_invpcid(v, 3, 0, 0);
    CHECK_EQ(mmu_read(v, 0x5000, 4), 5);
    CHECK_RAISES(v, cpu_invpcid(v, 4, 0, 0), EXC_GP, 0);
    CHECK_RAISES(v, cpu_invpcid(v, 0, 4096, 0), EXC_GP, 0);
    CHECK_RAISES(v, cpu_invpcid(v, 0, 0, BIT(47)), EXC_GP, 0);
    cpu_vm_destroy(&t);
}

/* More flushes than there are tags: an old entry must not come back when tags are used again. */
static void test_tag_wrap(void)
{
    setup(0);
    struct vcpu *v = t.v;
    for (unsigned i = 0; i < 10000; i++) {
        put(&t, 0x5000, 4, i);
        put(&t, 0x6000, 4, ~i);
        put(&t, PTE(5), 8, i & 1 ? 0x5007 : 0x6007);
        if (i % 3)
            mmu_flush_nonglobal(v);
        else
            mmu_flush_all(v);
        if (mmu_read(v, 0x5000, 4) != (i & 1 ? i : ~i))
            CHECK_EQ(i, ~0u);
    }
    cpu_vm_destroy(&t);
}

static void test_page_crossing(void)
{
    setup(3);
    struct vcpu *v = t.v;
    put(&t, PTE(5), 8, 0x9007);
    put(&t, PTE(6), 8, 0x8007);
    put(&t, 0x9ffc, 4, 0x44332211);
    put(&t, 0x8000, 4, 0x88776655);
    CHECK_EQ(mmu_read(v, 0x5ffc, 8), 0x8877665544332211);
    CHECK_EQ(mmu_read(v, 0x5fff, 2), 0x5544);
    /* Nothing is stored if the second page faults; CR2 is its first byte. */
    put(&t, PTE(6), 8, 0x8005);
    mmu_flush_all(v);
    CHECK_RAISES(v, mmu_write(v, 0x5ffe, 4, 0), EXC_PF, PF_P | PF_W | PF_U);
    CHECK_EQ(v->exc.cr2, 0x6000);
    CHECK_EQ(get(&t, 0x9ffc, 4), 0x44332211);
    u8 buf[64] = {0};
    CHECK_RAISES(v, mmu_write_bytes(v, 0x5fe0, buf, 64), EXC_PF, PF_P | PF_W | PF_U);
    CHECK_EQ(get(&t, 0x9ffc, 4), 0x44332211);
    mmu_read_bytes(v, 0x5ffc, buf, 8);
    CHECK_EQ(load_le64(buf), 0x8877665544332211);
    CHECK_RAISES(v, mmu_rmw_ptr(v, 0x5ffe, 4), EXC_PF, PF_P | PF_W | PF_U);
    put(&t, PTE(6), 8, 0x8007);
    mmu_flush_all(v);
    CHECK(mmu_rmw_ptr(v, 0x5ffe, 4) == NULL);
    CHECK(mmu_rmw_ptr(v, 0x5ff8, 8) == t.ram->hva + 0x9ff8);
    mmu_write(v, 0x5ffe, 4, 0xaabbccdd);
    CHECK_EQ(get(&t, 0x9ffe, 2), 0xccdd);
    CHECK_EQ(get(&t, 0x8000, 2), 0xaabb);
    cpu_vm_destroy(&t);
}

/* Four pages of a write, the last one missing: nothing is stored. */
static void test_long_write(void)
{
    setup(0);
    struct vcpu *v = t.v;
    u8 *buf = calloc(4, PAGE_SIZE);
    memset(buf, 0x5a, 4 * PAGE_SIZE);
    put(&t, PTE(19), 8, 0);
    CHECK_RAISES(v, mmu_write_bytes(v, 0x10800, buf, 3 * PAGE_SIZE), EXC_PF, PF_W);
    CHECK_EQ(v->exc.cr2, 0x13000);
    CHECK_EQ(get(&t, 0x10800, 1), 0);
    put(&t, PTE(19), 8, 0x13007);
    CHECK_OK(v, mmu_write_bytes(v, 0x10800, buf, 3 * PAGE_SIZE));
    CHECK_EQ(get(&t, 0x137ff, 2), 0x5a);
    CHECK_EQ(get(&t, 0x12fff, 2), 0x5a5a);
    free(buf);
    cpu_vm_destroy(&t);
}

static void test_alignment_check(void)
{
    setup(3);
    struct vcpu *v = t.v;
    v->cr0 |= CR0_AM;
    cpu_set_flags(v, FLAG_AC, FLAG_AC);
    CHECK_EQ(v->mmu_index, MMU_USER_ALIGN);
    CHECK_OK(v, mmu_read(v, 0x5004, 4));
    CHECK_RAISES(v, mmu_read(v, 0x5002, 4), EXC_AC, 0);
    CHECK_RAISES(v, mmu_write(v, 0x5001, 2, 0), EXC_AC, 0);
    CHECK_OK(v, mmu_read(v, 0x5001, 1));
    CHECK_OK(v, mmu_read_system(v, 0x5001, 8));
    CHECK_RAISES(v, mmu_rmw_ptr(v, 0x5004, 8), EXC_AC, 0);
    CHECK_RAISES(v, mmu_check_align(v, 0x5008, 16), EXC_AC, 0);
    cpu_vm_destroy(&t);
}

static u64 io_value;
static u64 io_last_offset;
static unsigned io_last_size;

static u64 io_read(void *dev, u64 offset, unsigned size)
{
    io_last_offset = offset;
    io_last_size = size;
    return io_value;
}

static void io_write(void *dev, u64 offset, unsigned size, u64 value)
{
    io_last_offset = offset;
    io_last_size = size;
    io_value = value;
}

static void test_mmio_and_holes(void)
{
    setup(0);
    struct vcpu *v = t.v;
    static const struct io_ops ops = {io_read, io_write, 8};
    struct mem_region io = {.name = "io", .gpa = GIB(1), .size = 0x1000, .kind = MEM_IO, .ops = &ops};
    mem_map(t.vm.mem, &io);
    mmu_map_changed(v);
    put(&t, PTE(5), 8, GIB(1) | 7);
    put(&t, PTE(6), 8, GIB(2) | 7); /* nothing there */
    mmu_write(v, 0x5010, 4, 0x1234);
    CHECK_EQ(io_last_offset, 0x10);
    CHECK_EQ(io_last_size, 4);
    CHECK_EQ(mmu_read(v, 0x5010, 4), 0x1234);
    CHECK(mmu_rmw_ptr(v, 0x5010, 4) == NULL);
    CHECK(mmu_code_page(v, 0x5010) == NULL);
    CHECK_EQ(mmu_fetch(v, 0x5010), 0x34);
    CHECK_EQ(mmu_read(v, 0x6010, 4), 0xffffffff);
    mmu_write(v, 0x6010, 4, 0);
    /* A page table in MMIO or in a hole does not crash, and the walk ends. */
    io_value = 0x9003;
    put(&t, PD_AT + 24, 8, GIB(1) | 7);
    CHECK_OK(v, mmu_read(v, 0x600000, 4));
    CHECK_EQ(io_value & 0x60, 0x20);
    put(&t, PD_AT + 32, 8, GIB(2) | 7);
    check_fault(0x800000, MMU_READ, MMU_KERNEL, PF_P | PF_RSVD);
    mem_unmap(t.vm.mem, &io);
    cpu_vm_destroy(&t);
}

static void test_dirty_and_code_pages(void)
{
    setup(0);
    struct vcpu *v = t.v;
    u64 bitmap[RAM_SIZE / PAGE_SIZE / 64];
    ram_block_collect_dirty(t.ram, bitmap);
    mmu_flush_all(v);
    mmu_read(v, 0x5000, 4);
    put(&t, PTE(5), 8, 0x5067);
    mmu_write(v, 0x5000, 4, 1); /* the read entry may not have given the right to write unlogged */
    ram_block_collect_dirty(t.ram, bitmap);
    CHECK(bitmap[0] >> 5 & 1);
    CHECK(!(bitmap[0] >> 6 & 1));
    CHECK(bitmap[PTAB_AT / PAGE_SIZE / 64] >> (PTAB_AT / PAGE_SIZE % 64) & 1); /* its A bit */
    atomic_fetch_or(&t.ram->page_flags[7], RAM_PAGE_CODE);
    mmu_write(v, 0x7000, 4, 1);
    CHECK(mmu_fast_ptr(v, 0x7000, 4, MMU_WRITE) == NULL);
    CHECK(mmu_rmw_ptr(v, 0x7000, 4) == NULL);
    mmu_write(v, 0x8000, 4, 1);
    CHECK(mmu_fast_ptr(v, 0x8000, 4, MMU_WRITE) == t.ram->hva + 0x8000);
    CHECK(mmu_fast_ptr(v, 0x8ffe, 4, MMU_WRITE) == NULL);
    cpu_vm_destroy(&t);
}

static void test_watchpoints(void)
{
    setup(0);
    struct vcpu *v = t.v;
    mmu_write(v, 0x5000, 4, 1); /* in the TLB before the watchpoint is set */
    cpu_write_dr(v, 1, 0x5004);
    cpu_write_dr(v, 7, 0x400 | 1 << 2 | 0xdull << 20); /* DR1: write, 4 bytes */
    mmu_write(v, 0x5000, 4, 2);
    CHECK_EQ(v->db_pending, 0);
    mmu_read(v, 0x5004, 4);
    CHECK_EQ(v->db_pending, 0);
    mmu_write(v, 0x5003, 2, 2);
    CHECK_EQ(v->db_pending, 2);
    CHECK(v->attention & ATTN_DB_PENDING);
    CHECK(mmu_rmw_ptr(v, 0x5000, 4) == NULL);
    v->db_pending = 0;
    mmu_write_bytes(v, 0x4ff0, "0123456789abcdef01234", 21);
    CHECK_EQ(v->db_pending, 2);
    cpu_write_dr(v, 7, 0x400);
    v->db_pending = 0;
    mmu_write(v, 0x5004, 4, 2);
    CHECK_EQ(v->db_pending, 0);
    CHECK(mmu_rmw_ptr(v, 0x5000, 4) != NULL);
    cpu_vm_destroy(&t);
}

static void test_a20(void)
{
    cpu_vm_create(&t, "x86-64-v2", 1);
    struct vcpu *v = t.v;
    v->rip = 0;
    put(&t, 0x500, 4, 0x11);
    put(&t, 0x100500, 4, 0x22);
    CHECK_EQ(mmu_read(v, 0x100500, 4), 0x22);
    mem_set_a20(t.vm.mem, false);
    mmu_map_changed(v);
    CHECK_EQ(mmu_read(v, 0x100500, 4), 0x11);
    mem_set_a20(t.vm.mem, true);
    mmu_map_changed(v);
    CHECK_EQ(mmu_read(v, 0x100500, 4), 0x22);
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_long_translation);
    TAP_RUN(test_keys);
    TAP_RUN(test_accessed_dirty);
    TAP_RUN(test_permission_matrix);
    TAP_RUN(test_reserved_bits);
    TAP_RUN(test_32bit_paging);
    TAP_RUN(test_pae);
    TAP_RUN(test_tlb_staleness);
    TAP_RUN(test_4m_invlpg);
    TAP_RUN(test_global_pages);
    TAP_RUN(test_write_protect_few);
    TAP_RUN(test_write_protect_many);
    TAP_RUN(test_pcid);
    TAP_RUN(test_tag_wrap);
    TAP_RUN(test_page_crossing);
    TAP_RUN(test_long_write);
    TAP_RUN(test_alignment_check);
    TAP_RUN(test_mmio_and_holes);
    TAP_RUN(test_dirty_and_code_pages);
    TAP_RUN(test_watchpoints);
    TAP_RUN(test_a20);
    return tap_done();
}
