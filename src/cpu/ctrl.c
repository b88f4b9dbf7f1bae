/*
 * CR0, CR2, CR3, CR4, CR8, EFER's mode effects, XCR0, debug registers (SDM vol. 3 2.5, 4.1, 17.2; AMD APM
 * vol. 2 3.1). A write is checked as a whole before anything changes.
 */
#include "cpu/ctrl.h"
#include "cpu/xstate.h"
#include "cpu/debug.h"
#include "cpu/exc.h"
#include "cpu/mmu_priv.h"
#include "cpu/seg.h"

#define CR0_ALL                                                                                              \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

/* CR4 bits whose change makes translations stale. */
#define CR4_PAGING (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS)
/* CR4 bits whose change reloads the PDPTEs (SDM 4.4.1). */
#define CR4_PDPTE (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP)

u64 cr4_valid_bits(const struct vcpu *v)
{
    static const struct {
        u16 feature;
        u64 bits;
    } map[] = {
        {FEAT_VME, CR4_VME | CR4_PVI}, {FEAT_TSC, CR4_TSD},       {FEAT_DE, CR4_DE},
        {FEAT_PSE, CR4_PSE},           {FEAT_PAE, CR4_PAE},       {FEAT_MCE, CR4_MCE},
        {FEAT_PGE, CR4_PGE},           {FEAT_BASE, CR4_PCE},      {FEAT_FXSR, CR4_OSFXSR},
        {FEAT_SSE, CR4_OSXMMEXCPT},    {FEAT_UMIP, CR4_UMIP},     {FEAT_FSGSBASE, CR4_FSGSBASE},
        {FEAT_PCID, CR4_PCIDE},        {FEAT_XSAVE, CR4_OSXSAVE}, {FEAT_SMEP, CR4_SMEP},
        {FEAT_SMAP, CR4_SMAP},         {FEAT_PKU, CR4_PKE},       {FEAT_PKS, CR4_PKS},
    };
    u64 bits = 0;
    for (unsigned i = 0; i < ARRAY_LEN(map); i++)
        if (cpu_has(v, map[i].feature))
            bits |= map[i].bits;
    return bits;
}

/* The PDPTEs at `cr3`; false: a present one has reserved bits set. */
static bool pdpte_read(struct vcpu *v, u64 cr3, u64 pdpte[4])
{
    u64 table = cr3 & 0xffffffe0 & v->mmu->a20;
    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = mem_read(v->vm->mem, table + i * 8, 8);
        u64 reserved = ~MASK(PHYS_BITS) | bits_get(~0ull, 3, 0) << 5 | 6;
        if ((pdpte[i] & 1) && (pdpte[i] & reserved))
            return false;
    }
    return true;
}

static bool uses_pdptes(u64 cr0, u64 cr4, u64 efer)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* Raises #GP(0) if the PDPTEs are needed and bad; else loads them. */
static void pdpte_load(struct vcpu *v, u64 cr0, u64 cr3, u64 cr4, u64 efer)
{
    u64 pdpte[4];
    if (!uses_pdptes(cr0, cr4, efer))
        return;
    if (!pdpte_read(v, cr3, pdpte))
        cpu_raise_gp0(v);
    memcpy(v->pdpte, pdpte, sizeof pdpte);
}

u64 cpu_read_cr(struct vcpu *v, unsigned n)
{
    switch (n) {
    case 0:
        return v->cr0;
    case 2:
        return v->cr2;
    case 3:
        return v->cr3;
    case 4:
        return v->cr4;
    case 8: {
        if (!v->apic_ops)
            return 0;
        cpu_meet_world(v);
        pthread_mutex_lock(v->vm->machine_lock);
        u64 value = v->apic_ops->cr8_read(v->apic);
        pthread_mutex_unlock(v->vm->machine_lock);
        return value;
    }
    default:
        cpu_raise_ud(v);
    }
}

/* The combinations that MOV to CR0 refuses. */
static void cr0_check(struct vcpu *v, u64 value)
{
    bool pg = value & CR0_PG;
    if (value >> 32)
        cpu_raise_gp0(v);
    if ((pg && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        cpu_raise_gp0(v);
    if (pg && !(v->cr0 & CR0_PG) && (v->efer & EFER_LME)) {
        if (!(v->cr4 & CR4_PAE) || (v->seg[CS].attr & SEG_L))
            cpu_raise_gp0(v);
        /* AMD and Intel: a 16-bit TSS must not be in TR. */
        if (!(v->tr.attr & 8) && v->vm->model.vendor == VENDOR_INTEL)
            cpu_raise_gp0(v);
    }
    if (!pg && (v->cr0 & CR0_PG) && ((v->cr4 & CR4_PCIDE) || v->code64))
        cpu_raise_gp0(v);
}

static void write_cr0(struct vcpu *v, u64 value)
{
    cr0_check(v, value);
    value = (value & CR0_ALL) | CR0_ET;
    u64 changed = value ^ v->cr0, efer = v->efer;
    if (changed & CR0_PG)
        efer = (value & CR0_PG) && (efer & EFER_LME) ? efer | EFER_LMA : efer & ~(u64)EFER_LMA;
    if (changed & (CR0_PG | CR0_CD | CR0_NW))
        pdpte_load(v, value, v->cr3, v->cr4, efer);
    v->cr0 = value;
    v->efer = efer;
    cpu_mode_update(v);
    if (changed & (CR0_PG | CR0_PE))
        mmu_flush_all(v);
    else if (changed & value & CR0_WP)
        mmu_protect(v);
    if (changed & (CR0_PG | CR0_PE))
        log_trace(v->vm->log, TRACE_CPU, "cpu%u: cr0 %#llx efer %#llx", v->index, (unsigned long long)value,
                  (unsigned long long)efer);
}

static void write_cr3(struct vcpu *v, u64 value)
{
    bool pcid = v->cr4 & CR4_PCIDE;
    bool keep = pcid && (value & BIT(63));
    if (pcid)
        value &= ~BIT(63);
    /* Reserved address bits fault in long mode; outside it the upper half does not exist. */
    if (v->long_mode && (value & ~MASK(PHYS_BITS)))
        cpu_raise_gp0(v);
    if (!v->long_mode)
        value &= 0xffffffff;
    pdpte_load(v, v->cr0, value, v->cr4, v->efer);
    v->cr3 = value;
    mmu_switch(v, keep);
}

void cpu_load_task_cr3(struct vcpu *v, u32 value)
{
    if (value != v->cr3)
        write_cr3(v, value);
}

static void write_cr4(struct vcpu *v, u64 value)
{
    u64 changed = value ^ v->cr4;
    if (value & ~cr4_valid_bits(v))
        cpu_raise_gp0(v);
    if (v->long_mode && !(value & CR4_PAE))
        cpu_raise_gp0(v);
    if ((changed & value & CR4_PCIDE) && (!v->long_mode || (v->cr3 & 0xfff)))
        cpu_raise_gp0(v);
    if (changed & CR4_PDPTE)
        pdpte_load(v, v->cr0, v->cr3, value, v->efer);
    v->cr4 = value;
    if (changed & CR4_PAGING)
        mmu_flush_all(v);
    cpu_mode_update(v);
}

void cpu_write_cr(struct vcpu *v, unsigned n, u64 value)
{
    switch (n) {
    case 0:
        write_cr0(v, value);
        break;
    case 2:
        v->cr2 = value;
        break;
    case 3:
        write_cr3(v, value);
        break;
    case 4:
        write_cr4(v, value);
        break;
    case 8:
        if (value & ~0xfull)
            cpu_raise_gp0(v);
        if (!v->apic_ops)
            break;
        cpu_meet_world(v);
        pthread_mutex_lock(v->vm->machine_lock);
        v->apic_ops->cr8_write(v->apic, (u8)value);
        pthread_mutex_unlock(v->vm->machine_lock);
        break;
    default:
        cpu_raise_ud(v);
    }
}

void cpu_lmsw(struct vcpu *v, u16 value)
{
    u64 bits = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
    /* LMSW can set PE but not clear it. */
    write_cr0(v, (v->cr0 & ~(bits & ~(u64)CR0_PE)) | (value & bits));
}

void cpu_clts(struct vcpu *v)
{
    v->cr0 &= ~(u64)CR0_TS;
    cpu_mode_update(v);
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE; DR7.GD makes every access fault. */
static unsigned dr_number(struct vcpu *v, unsigned n)
{
    if (n > 7 || ((n == 4 || n == 5) && (v->cr4 & CR4_DE)))
        cpu_raise_ud(v);
    if (v->dr[7] & DR7_GD)
        cpu_raise_db(v, DR6_BD);
    return n == 4 || n == 5 ? n + 2 : n;
}

u64 cpu_read_dr(struct vcpu *v, unsigned n)
{
    return v->dr[dr_number(v, n)];
}

void cpu_write_dr(struct vcpu *v, unsigned n, u64 value)
{
    n = dr_number(v, n);
    if (n >= 6 && value >> 32)
        cpu_raise_gp0(v);
    bool watched = debug_any_data(v);
    if (n == 6)
        v->dr[6] = (value & (DR6_BD | DR6_BS | DR6_BT | 0xf)) | DR6_FIXED;
    else if (n == 7)
        v->dr[7] = (value & 0xffff23ff) | DR7_FIXED;
    else
        v->dr[n] = value;
    if (n != 6 && (watched || debug_any_data(v)))
        mmu_flush_all(v);
    cpu_mode_update(v);
}

void cpu_xsetbv(struct vcpu *v, u32 index, u64 value)
{
    u64 avx512 = 0xe0;
    if (index != 0 || (value & ~v->vm->model.xcr0) || !(value & 1))
        cpu_raise_gp0(v);
    if ((value & 4) && !(value & 2))
        cpu_raise_gp0(v);
    if ((value & avx512) && ((value & avx512) != avx512 || !(value & 4)))
        cpu_raise_gp0(v);
    v->xcr0 = value;
    cpu_mode_update(v);
}

void cpu_set_pkru(struct vcpu *v, u32 value)
{
    if (value == v->fpu.pkru)
        return;
    v->fpu.pkru = value;
    v->fpu.xinuse |= BIT(XSTATE_PKRU);
    if (v->cr4 & CR4_PKE)
        mmu_flush_all(v);
}

u64 cpu_xgetbv(struct vcpu *v, u32 index)
{
    if (index == 0)
        return v->xcr0;
    if (index == 1 && cpu_has(v, FEAT_XGETBV1))
        return v->xcr0 & xstate_inuse_mxcsr(&v->fpu);
    cpu_raise_gp0(v);
}

void cpu_invpcid(struct vcpu *v, u64 type, u64 pcid, u64 lin)
{
    if (type > 3)
        cpu_raise_gp0(v);
    if (type <= 1) {
        if (pcid >> 12 || (!(v->cr4 & CR4_PCIDE) && pcid))
            cpu_raise_gp0(v);
        if (type == 0 && v->long_mode && !is_canonical(lin))
            cpu_raise_gp0(v);
    }
    mmu_invpcid(v, type, pcid, lin);
}
