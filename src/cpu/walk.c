/*
 * Page walks: 32-bit, PAE and 4-level paging (Intel SDM vol. 3 chapter 4, AMD APM vol. 2 chapter 5).
 *
 * Nothing is written before all checks are done; then A bits, and D for a write, are set top-down with a
 * compare-and-exchange on the guest's own entry. If an entry has changed meanwhile (another vCPU), the walk
 * starts again.
 */
#include "cpu/mmu_priv.h"

#define PTE_P       BIT(0)
#define PTE_W       BIT(1)
#define PTE_U       BIT(2)
#define PTE_A       BIT(5)
#define PTE_D       BIT(6)
#define PTE_PS      BIT(7)
#define PTE_G       BIT(8)
#define PTE_NX      BIT(63)
#define PTE_ADDR    (MASK(PHYS_BITS) & PAGE_MASK)
#define PTE_RSVD_HI (MASK(52) & ~MASK(PHYS_BITS))

struct pte {
    u64 gpa;
    u8 *host; /* NULL: not RAM */
    u64 value;
    struct ram_block *block;
    u64 block_offset;
};

/* A walk under way: the entries used so far, the combined rights. */
struct path {
    struct pte pte[4];
    unsigned count;
    bool wide; /* entries of 8 bytes */
    bool user, writable, nx;
    u8 key; /* protection key: 4-level paging only */
};

static u64 pte_read(struct vcpu *v, struct path *path, u64 gpa)
{
    struct pte *pte = &path->pte[path->count++];
    gpa &= v->mmu->a20;
    struct mem_page page = mmu_page(v, gpa);
    pte->gpa = gpa;
    pte->host = NULL;
    if (likely(page.kind == MEM_RAM || page.kind == MEM_ROM)) {
        u8 *host = page.hva + (gpa & ~PAGE_MASK);
        /* One load: another vCPU may be writing the entry. */
        pte->value = path->wide ? __atomic_load_n((u64 *)host, __ATOMIC_RELAXED)
                                : __atomic_load_n((u32 *)host, __ATOMIC_RELAXED);
        if (page.kind == MEM_RAM) {
            pte->host = host;
            pte->block = page.block;
            pte->block_offset = page.block_offset;
        }
    } else {
        pte->value = mem_read(v->vm->mem, gpa, path->wide ? 8 : 4);
    }
    return pte->value;
}

/* Sets `bits` in an entry; false: it has changed. */
static bool pte_set(struct vcpu *v, struct path *path, struct pte *pte, u64 bits)
{
    u64 want = pte->value | bits;
    if (want == pte->value)
        return true;
    if (!pte->host) {
        struct mem_page page = mmu_page(v, pte->gpa);
        if (page.kind != MEM_NONE)
            mem_write(v->vm->mem, pte->gpa, path->wide ? 8 : 4, want);
        return true; /* nothing may have come of it, as on the bus */
    }
    bool ok;
    if (unlikely(v->watch))
        v->watch->page(v->watch->opaque, pte->host - (pte->gpa & ~PAGE_MASK));
    if (path->wide) {
        u64 old = pte->value;
        ok = __atomic_compare_exchange_n((u64 *)pte->host, &old, want, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_RELAXED);
    } else {
        u32 old = (u32)pte->value;
        ok = __atomic_compare_exchange_n((u32 *)pte->host, &old, (u32)want, false, __ATOMIC_SEQ_CST,
                                         __ATOMIC_RELAXED);
    }
    if (ok) {
        ram_page_mark_dirty(pte->block, pte->block_offset);
        if (unlikely(atomic_load(&pte->block->page_flags[pte->block_offset >> PAGE_SHIFT]) & RAM_PAGE_CODE))
            mem_code_written(v->vm->mem, pte->host, path->wide ? 8 : 4);
    }
    return ok;
}

static bool walk_fault(struct walk *w, u32 error)
{
    w->error = error;
    return false;
}

/* CR4.PAE = 0: two levels of 4-byte entries; 4 MiB pages with PSE-36 (SDM 4.3). */
static bool walk_32(struct vcpu *v, u64 lin, struct path *path, struct walk *w)
{
    path->wide = false;
    u64 pde = pte_read(v, path, (v->cr3 & 0xfffff000) + (lin >> 22 & 1023) * 4);
    if (!(pde & PTE_P))
        return walk_fault(w, 0);
    path->user = pde & PTE_U;
    path->writable = pde & PTE_W;
    if ((pde & PTE_PS) && (v->cr4 & CR4_PSE)) {
        if (pde & BIT(21))
            return walk_fault(w, PF_P | PF_RSVD);
        w->large = 1;
        w->gpa = (pde & 0xffc00000) | bits_get(pde, 20, 13) << 32 | (lin & 0x3ff000);
        w->global = pde & PTE_G;
        return true;
    }
    u64 pte = pte_read(v, path, (pde & 0xfffff000) + (lin >> 12 & 1023) * 4);
    if (!(pte & PTE_P))
        return walk_fault(w, 0);
    path->user &= !!(pte & PTE_U);
    path->writable &= !!(pte & PTE_W);
    w->gpa = pte & 0xfffff000;
    w->global = pte & PTE_G;
    return true;
}

/* Of an 8-byte entry at `level` (0 = PTE). AMD: G is reserved in PML4Es and in PDPTEs that are no leaf. */
static u64 reserved_bits(const struct vcpu *v, unsigned level, bool large)
{
    u64 rsvd = PTE_RSVD_HI;
    if (!v->long_mode)
        rsvd |= bits_get(~0ull, 10, 0) << 52;
    if (!(v->efer & EFER_NXE))
        rsvd |= PTE_NX;
    if (level == 0)
        return rsvd;
    bool amd = v->vm->model.vendor == VENDOR_AMD;
    if (level == 3)
        return rsvd | PTE_PS | (amd ? PTE_G : 0);
    if (!large)
        return rsvd | (level == 2 && amd ? PTE_G : 0);
    if (level == 2)
        return cpu_has(v, FEAT_PDPE1GB) ? rsvd | (MASK(30) & ~MASK(13)) : rsvd | PTE_PS;
    return rsvd | (MASK(21) & ~MASK(13));
}

void mmu_format_update(struct vcpu *v)
{
    for (unsigned level = 0; level < 4; level++) {
        v->mmu->reserved[0][level] = reserved_bits(v, level, false);
        v->mmu->reserved[1][level] = reserved_bits(v, level, true);
    }
}

static inline u64 pte_reserved(const struct vcpu *v, u64 pte, unsigned level)
{
    return v->mmu->reserved[pte >> 7 & 1][level];
}

/* 8-byte entries, from the table at `table`, whose entries are of `level` (SDM 4.4, 4.5). */
static bool walk_64(struct vcpu *v, u64 lin, u64 table, unsigned level, struct path *path, struct walk *w)
{
    path->wide = true;
    path->user = path->writable = true;
    for (;; level--) {
        u64 pte = pte_read(v, path, table + (lin >> (PAGE_SHIFT + 9 * level) & 511) * 8);
        if (!(pte & PTE_P))
            return walk_fault(w, 0);
        if (unlikely(pte & pte_reserved(v, pte, level)))
            return walk_fault(w, PF_P | PF_RSVD);
        path->user &= !!(pte & PTE_U);
        path->writable &= !!(pte & PTE_W);
        path->nx |= !!(pte & PTE_NX);
        if (level == 0 || (pte & PTE_PS)) {
            u64 offset = MASK(PAGE_SHIFT + 9 * level);
            path->key = pte >> 59 & 15;
            w->large = level;
            w->gpa = ((pte & PTE_ADDR & ~offset) | (lin & offset)) & PAGE_MASK;
            w->global = pte & PTE_G;
            return true;
        }
        table = pte & PTE_ADDR;
    }
}

static bool walk_tables(struct vcpu *v, u64 lin, struct path *path, struct walk *w)
{
    if (v->long_mode)
        return walk_64(v, lin, v->cr3 & PTE_ADDR, 3, path, w);
    if (!(v->cr4 & CR4_PAE))
        return walk_32(v, lin, path, w);
    u64 pdpte = v->pdpte[lin >> 30 & 3];
    if (!(pdpte & PTE_P))
        return walk_fault(w, 0);
    return walk_64(v, lin, pdpte & PTE_ADDR, 1, path, w);
}

/* Rights (SDM 4.6): does the access fault? */
static bool path_forbids(const struct vcpu *v, const struct path *path, enum mmu_access access,
                         unsigned index)
{
    if (index == MMU_USER) {
        if (!path->user)
            return true;
        if (access == MMU_WRITE)
            return !path->writable;
    } else {
        if (path->user && access == MMU_EXEC && (v->cr4 & CR4_SMEP))
            return true;
        if (path->user && access != MMU_EXEC && index == MMU_KERNEL && (v->cr4 & CR4_SMAP))
            return true;
        if (access == MMU_WRITE)
            return !path->writable && (v->cr0 & CR0_WP);
    }
    return access == MMU_EXEC && path->nx;
}

/* Protection keys (SDM 4.6.2): PKRU for user pages, IA32_PKRS for supervisor pages; data accesses only. */
static bool key_forbids(const struct vcpu *v, const struct path *path, enum mmu_access access, unsigned index)
{
    if (likely(!(v->cr4 & (path->user ? CR4_PKE : CR4_PKS))) || !v->long_mode || access == MMU_EXEC)
        return false;
    u32 rights = (path->user ? v->fpu.pkru : (u32)v->msr.pkrs) >> path->key * 2;
    if (rights & 1)
        return true;
    return access == MMU_WRITE && (rights & 2) && (index == MMU_USER || (v->cr0 & CR0_WP));
}

/* W, U and I of the error code. */
static u32 access_error(const struct vcpu *v, enum mmu_access access, unsigned index)
{
    u32 error = index == MMU_USER ? PF_U : 0;
    if (access == MMU_WRITE)
        error |= PF_W;
    bool nx_on = (v->efer & EFER_NXE) && (v->cr4 & CR4_PAE);
    if (access == MMU_EXEC && (nx_on || (v->cr4 & CR4_SMEP)))
        error |= PF_I;
    return error;
}

static bool path_set_ad(struct vcpu *v, struct path *path, enum mmu_access access)
{
    for (unsigned i = 0; i < path->count; i++) {
        bool leaf = i == path->count - 1;
        if (!pte_set(v, path, &path->pte[i], PTE_A | (leaf && access == MMU_WRITE ? PTE_D : 0)))
            return false;
    }
    return true;
}

/*
 * The common case of PAE and 4-level paging, for speed: all tables in RAM, A (and D for a write) set, nothing
 * reserved, the access allowed. Anything else: false, and the full walk decides.
 */
static bool walk_fast(struct vcpu *v, u64 lin, enum mmu_access access, unsigned index, struct walk *w)
{
    u64 table, set = ~0ull, any = 0;
    unsigned level;
    if (unlikely(v->cr4 & (CR4_PKE | CR4_PKS)))
        return false;
    if (v->long_mode) {
        table = v->cr3 & PTE_ADDR;
        level = 3;
    } else {
        if (!(v->cr4 & CR4_PAE) || !(v->pdpte[lin >> 30 & 3] & PTE_P))
            return false;
        table = v->pdpte[lin >> 30 & 3] & PTE_ADDR;
        level = 1;
    }
    u64 pte;
    for (;; level--) {
        struct mem_page page = mmu_page(v, table);
        if (unlikely(page.kind != MEM_RAM))
            return false;
        u64 *entry = (u64 *)page.hva + (lin >> (PAGE_SHIFT + 9 * level) & 511);
        pte = __atomic_load_n(entry, __ATOMIC_RELAXED);
        if (unlikely((pte & (PTE_P | PTE_A)) != (PTE_P | PTE_A) || (pte & pte_reserved(v, pte, level))))
            return false;
        set &= pte;
        any |= pte;
        if (level == 0 || (pte & PTE_PS))
            break;
        table = pte & PTE_ADDR;
    }
    struct path path = {.user = set & PTE_U, .writable = set & PTE_W, .nx = any & PTE_NX};
    if (path_forbids(v, &path, access, index) || (access == MMU_WRITE && !(pte & PTE_D)))
        return false;
    u64 offset = MASK(PAGE_SHIFT + 9 * level);
    w->large = (u8)level;
    w->gpa = ((pte & PTE_ADDR & ~offset) | (lin & offset)) & PAGE_MASK & v->mmu->a20;
    w->global = (pte & PTE_G) && (v->cr4 & CR4_PGE);
    w->write_ready = (pte & PTE_D) && access != MMU_EXEC && !path_forbids(v, &path, MMU_WRITE, index);
    return true;
}

bool mmu_walk(struct vcpu *v, u64 lin, enum mmu_access access, unsigned index, bool commit, struct walk *w)
{
    if (likely(v->cr0 & CR0_PG) && commit && walk_fast(v, lin, access, index, w))
        return true;
    for (;;) {
        w->large = 0;
        w->global = false;
        if (!(v->cr0 & CR0_PG)) {
            w->gpa = lin & PAGE_MASK & 0xffffffff & v->mmu->a20;
            w->write_ready = true;
            return true;
        }
        struct path path = {.count = 0};
        if (!walk_tables(v, lin, &path, w)) {
            w->error |= access_error(v, access, index);
            return false;
        }
        w->gpa &= v->mmu->a20;
        if (!commit)
            return true;
        bool locked = key_forbids(v, &path, access, index);
        if (locked || path_forbids(v, &path, access, index))
            return walk_fault(w, PF_P | (locked ? PF_PK : 0) | access_error(v, access, index));
        w->global = w->global && (v->cr4 & CR4_PGE);
        bool dirty = access == MMU_WRITE || (path.pte[path.count - 1].value & PTE_D);
        w->write_ready = dirty && access != MMU_EXEC && !path_forbids(v, &path, MMU_WRITE, index) &&
                         !key_forbids(v, &path, MMU_WRITE, index);
        if (path_set_ad(v, &path, access))
            return true;
    }
}
