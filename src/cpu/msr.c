/*
 * Model-specific registers: one table, a row per register or run of registers. What is not in it faults, as
 * on hardware (Intel SDM vol. 4, AMD APM vol. 2 appendix A, AMD PPR for family 17h).
 *
 * A row's field holds u64s in struct vcpu_msrs. `writable` are the bits that may be 1, others are #GP(0);
 * then `check` looks at the value. A row with `read` or `write` does that itself; `ignored` bits are dropped
 * silently.
 */
#include "cpu/msr.h"
#include "cpu/ctrl.h"
#include "cpu/mmu.h"
#include "cpu/seg.h"
#include "cpu/xstate.h"

#define NO_FIELD 0xffff
#define ALL      (~0ull)
#define U32      0xffffffffull
#define MTRR_CAP (8 | BIT(8) | BIT(10)) /* 8 variable ranges, fixed ranges, WC */
#define MCG_CAP  (MC_BANKS | BIT(8))    /* MCG_CTL exists */

#define HWCR_MC_STATUS_WR_EN BIT(18)
#define HWCR_TSC_FREQ_SEL    BIT(24) /* the TSC counts at a constant rate */
#define SYSCFG_FIX_MOD_EN    BIT(19)

struct msr_row {
    u32 number;
    u16 count;
    u16 feature; /* enum cpu_feature */
    u16 field;   /* offset in struct vcpu_msrs, or NO_FIELD: reads as `reset`, writes vanish */
    const char *name;
    u64 writable, ignored, reset;
    bool (*check)(const struct vcpu_msrs *m, unsigned i, u64 value);
    bool (*read)(struct vcpu *v, u32 msr, u64 *value);
    bool (*write)(struct vcpu *v, u32 msr, u64 value);
};

/* --- checks
 * ------------------------------------------------------------------------------------------------- */

static bool check_canonical(const struct vcpu_msrs *m, unsigned i, u64 value)
{
    return is_canonical(value);
}

static bool mtrr_type_valid(unsigned type)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static bool check_pat(const struct vcpu_msrs *m, unsigned i, u64 value)
{
    for (unsigned n = 0; n < 64; n += 8)
        if (!mtrr_type_valid(value >> n & 0xff) && (value >> n & 0xff) != 7)
            return false;
    return true;
}

/* RdMem and WrMem (bits 4:3) exist only while SYSCFG lets them be changed. */
static bool check_mtrr_fixed(const struct vcpu_msrs *m, unsigned i, u64 value)
{
    u64 attributes = m->syscfg & SYSCFG_FIX_MOD_EN ? 0x18 : 0;
    for (unsigned n = 0; n < 64; n += 8)
        if (!mtrr_type_valid(value >> n & 0xff & ~attributes))
            return false;
    return true;
}

static bool check_mtrr_def(const struct vcpu_msrs *m, unsigned i, u64 value)
{
    return mtrr_type_valid(value & 0xff);
}

static bool check_never(const struct vcpu_msrs *m, unsigned i, u64 value)
{
    return false;
}

/* --- registers that are more than storage
 * --------------------------------------------------------------------- */

static bool tsc_read(struct vcpu *v, u32 msr, u64 *value)
{
    *value = cpu_tsc(v);
    return true;
}

/* A TSC deadline that is armed moves with the TSC. */
static void tsc_move(struct vcpu *v, u64 delta)
{
    v->tsc_offset = (s64)((u64)v->tsc_offset + delta);
    if (!v->apic_ops || !v->apic_ops->tsc_changed)
        return;
    pthread_mutex_lock(v->vm->machine_lock);
    v->apic_ops->tsc_changed(v->apic);
    pthread_mutex_unlock(v->vm->machine_lock);
}

/* A write to the TSC moves TSC_ADJUST by the same amount (SDM vol. 3 17.17.3). */
static bool tsc_write(struct vcpu *v, u32 msr, u64 value)
{
    u64 delta = value - cpu_tsc(v);
    tsc_move(v, delta);
    v->msr.tsc_adjust += delta;
    return true;
}

static bool tsc_adjust_write(struct vcpu *v, u32 msr, u64 value)
{
    cpu_meet_world(v);
    tsc_move(v, value - v->msr.tsc_adjust);
    v->msr.tsc_adjust = value;
    return true;
}

static bool apic_read(struct vcpu *v, u32 msr, u64 *value)
{
    if (!v->apic_ops)
        return false;
    cpu_meet_world(v);
    pthread_mutex_lock(v->vm->machine_lock);
    bool ok = v->apic_ops->msr_read(v->apic, msr, value);
    pthread_mutex_unlock(v->vm->machine_lock);
    return ok;
}

static bool apic_write(struct vcpu *v, u32 msr, u64 value)
{
    if (!v->apic_ops)
        return false;
    cpu_meet_world(v);
    pthread_mutex_lock(v->vm->machine_lock);
    bool ok = v->apic_ops->msr_write(v->apic, msr, value);
    pthread_mutex_unlock(v->vm->machine_lock);
    if (ok && msr == MSR_APIC_BASE) {
        vcpu_refresh_apic(v);
        mmu_map_changed(v);
    }
    return ok;
}

static bool efer_read(struct vcpu *v, u32 msr, u64 *value)
{
    *value = v->efer;
    return true;
}

u64 efer_valid_bits(const struct vcpu *v)
{
    u64 valid = EFER_LMA;
    valid |= cpu_has(v, FEAT_SYSCALL) ? EFER_SCE : 0;
    valid |= cpu_has(v, FEAT_LM) ? EFER_LME : 0;
    valid |= cpu_has(v, FEAT_NX) ? EFER_NXE : 0;
    valid |= cpu_has(v, FEAT_FXSR_OPT) ? EFER_FFXSR : 0;
    valid |= cpu_has(v, FEAT_AUTOIBRS) ? EFER_AIBRSE : 0;
    return valid;
}

static bool efer_write(struct vcpu *v, u32 msr, u64 value)
{
    if (value & ~efer_valid_bits(v))
        return false;
    u64 changed = v->efer ^ value;
    if ((changed & EFER_LME) && (v->cr0 & CR0_PG))
        return false;
    v->efer = (value & ~(u64)EFER_LMA) | (v->efer & EFER_LMA);
    if (changed & EFER_NXE)
        mmu_flush_all(v);
    cpu_mode_update(v);
    return true;
}

static bool base_read(struct vcpu *v, u32 msr, u64 *value)
{
    *value = v->seg[msr == MSR_FS_BASE ? FS : GS].base;
    return true;
}

static bool base_write(struct vcpu *v, u32 msr, u64 value)
{
    if (!is_canonical(value))
        return false;
    v->seg[msr == MSR_FS_BASE ? FS : GS].base = value;
    return true;
}

/* The pair of a variable range: base, mask. */
static bool mtrr_phys_read(struct vcpu *v, u32 msr, u64 *value)
{
    unsigned n = (msr - MSR_MTRR_PHYS) / 2;
    *value = msr & 1 ? v->msr.mtrr_mask[n] : v->msr.mtrr_base[n];
    return true;
}

static bool mtrr_base_valid(u64 value)
{
    return !(value & ~(MASK(PHYS_BITS) & (PAGE_MASK | 0xff))) && mtrr_type_valid(value & 0xff);
}

static bool mtrr_mask_valid(u64 value)
{
    return !(value & ~(MASK(PHYS_BITS) & (PAGE_MASK | BIT(11))));
}

static bool mtrr_phys_write(struct vcpu *v, u32 msr, u64 value)
{
    unsigned n = (msr - MSR_MTRR_PHYS) / 2;
    if (!(msr & 1 ? mtrr_mask_valid(value) : mtrr_base_valid(value)))
        return false;
    *(msr & 1 ? &v->msr.mtrr_mask[n] : &v->msr.mtrr_base[n]) = value;
    return true;
}

static u64 *mc_field(struct vcpu *v, u32 msr)
{
    unsigned bank = (msr - MSR_MC0_CTL) / 4;
    u64 *const field[] = {&v->msr.mc_ctl[bank], &v->msr.mc_status[bank], &v->msr.mc_addr[bank],
                          &v->msr.mc_misc[bank]};
    return field[msr & 3];
}

static bool mc_read(struct vcpu *v, u32 msr, u64 *value)
{
    *value = *mc_field(v, msr);
    return true;
}

/*
 * STATUS takes only 0, unless HWCR.McStatusWrEn. Intel's CTL takes all ones (but for two bits that kernels
 * clear) or 0 (SDM vol. 3 16.3.2.1). ADDR and MISC are storage, as on AMD.
 */
static bool mc_write(struct vcpu *v, u32 msr, u64 value)
{
    unsigned reg = msr & 3;
    if (reg == 0 && v->vm->model.vendor == VENDOR_INTEL && value && (value | BIT(10) | BIT(0)) != ~0ull)
        return false;
    if (reg == 1 && value && !(v->msr.hwcr & HWCR_MC_STATUS_WR_EN))
        return false;
    *mc_field(v, msr) = value;
    return true;
}

/* A 32-bit register whose upper half AMD ignores and Intel refuses. */
static bool tsc_aux_write(struct vcpu *v, u32 msr, u64 value)
{
    if (v->vm->model.vendor == VENDOR_INTEL && value >> 32)
        return false;
    v->msr.tsc_aux = value & U32;
    return true;
}

/* Translations were made with the old rights. */
static bool pkrs_write(struct vcpu *v, u32 msr, u64 value)
{
    if (value >> 32)
        return false;
    if (value != v->msr.pkrs && (v->cr4 & CR4_PKS))
        mmu_flush_all(v);
    v->msr.pkrs = value;
    return true;
}

static bool no_read(struct vcpu *v, u32 msr, u64 *value)
{
    return false;
}

/* PRED_CMD: IBPB. There is no predictor to flush. */
static bool pred_cmd_write(struct vcpu *v, u32 msr, u64 value)
{
    return !(value & ~1ull);
}

/* --- the table
 * ------------------------------------------------------------------------------------------------- */

#define F(name) .field = offsetof(struct vcpu_msrs, name)

/* In ascending order of number. */
static const struct msr_row rows[] = {
    {0x0, 2, .name = "P5_MC", .field = NO_FIELD, .writable = ALL},
    {MSR_TSC, 1, .name = "TSC", .field = NO_FIELD, .read = tsc_read, .write = tsc_write},
    {MSR_APIC_BASE, 1, .name = "APIC_BASE", .field = NO_FIELD, .read = apic_read, .write = apic_write},
    {MSR_TSC_ADJUST, 1, FEAT_TSC_ADJUST, F(tsc_adjust), .name = "TSC_ADJUST", .writable = ALL,
     .write = tsc_adjust_write},
    {MSR_SPEC_CTRL, 1, FEAT_SPEC_CTRL, F(spec_ctrl), .name = "SPEC_CTRL", .writable = 7},
    {MSR_PRED_CMD, 1, FEAT_SPEC_CTRL, NO_FIELD, .name = "PRED_CMD", .read = no_read, .write = pred_cmd_write},
    {MSR_PATCH_LEVEL, 1, F(patch_level), .name = "PATCH_LEVEL", .writable = ALL, .check = check_never,
     .reset = 0x8301038},
    {MSR_MTRR_CAP, 1, FEAT_MTRR, NO_FIELD, .name = "MTRRcap", .reset = MTRR_CAP, .check = check_never},
    {MSR_ARCH_CAPABILITIES, 1, FEAT_ARCH_CAPABILITIES, NO_FIELD, .name = "ARCH_CAPABILITIES",
     .check = check_never},
    {MSR_SYSENTER_CS, 1, FEAT_SEP, F(sysenter_cs), .name = "SYSENTER_CS", .writable = U32, .ignored = ~U32},
    {MSR_SYSENTER_ESP, 1, FEAT_SEP, F(sysenter_esp), .name = "SYSENTER_ESP", .writable = ALL},
    {MSR_SYSENTER_EIP, 1, FEAT_SEP, F(sysenter_eip), .name = "SYSENTER_EIP", .writable = ALL},
    {MSR_MCG_CAP, 1, FEAT_MCA, NO_FIELD, .name = "MCG_CAP", .reset = MCG_CAP, .check = check_never},
    {MSR_MCG_STATUS, 1, FEAT_MCA, F(mcg_status), .name = "MCG_STATUS", .writable = 7},
    {MSR_MCG_CTL, 1, FEAT_MCA, F(mcg_ctl), .name = "MCG_CTL", .writable = ALL},
    /* Intel's; hypervisors offer it whatever the vendor, and guests' test suites expect it. */
    {MSR_MISC_ENABLE, 1, F(misc_enable), .name = "MISC_ENABLE", .writable = 0x400c51889, .reset = 1},
    {MSR_DEBUGCTL, 1, F(debugctl), .name = "DEBUGCTL", .writable = 0x3f},
    {MSR_LAST_BRANCH_FROM, 4, .name = "LAST_BRANCH", .field = NO_FIELD, .writable = ALL},
    {MSR_MTRR_PHYS, 16, FEAT_MTRR, NO_FIELD, .name = "MTRRphys", .read = mtrr_phys_read,
     .write = mtrr_phys_write},
    {MSR_MTRR_FIX64K, 1, FEAT_MTRR, F(mtrr_fixed[0]), .name = "MTRRfix64K", .writable = ALL,
     .check = check_mtrr_fixed},
    {MSR_MTRR_FIX16K, 2, FEAT_MTRR, F(mtrr_fixed[1]), .name = "MTRRfix16K", .writable = ALL,
     .check = check_mtrr_fixed},
    {MSR_MTRR_FIX4K, 8, FEAT_MTRR, F(mtrr_fixed[3]), .name = "MTRRfix4K", .writable = ALL,
     .check = check_mtrr_fixed},
    {MSR_PAT, 1, FEAT_PAT, F(pat), .name = "PAT", .writable = ALL, .check = check_pat,
     .reset = 0x0007040600070406},
    {MSR_MTRR_DEF_TYPE, 1, FEAT_MTRR, F(mtrr_def_type), .name = "MTRRdefType", .writable = 0xcff,
     .check = check_mtrr_def},
    {MSR_MC0_CTL, 4 * MC_BANKS, FEAT_MCA, NO_FIELD, .name = "MCi", .read = mc_read, .write = mc_write},
    {MSR_TSC_DEADLINE, 1, FEAT_TSC_DEADLINE, NO_FIELD, .name = "TSC_DEADLINE", .read = apic_read,
     .write = apic_write},
    {MSR_PKRS, 1, FEAT_PKS, F(pkrs), .name = "PKRS", .writable = U32, .write = pkrs_write},
    {MSR_X2APIC, 0x100, FEAT_X2APIC, NO_FIELD, .name = "x2APIC", .read = apic_read, .write = apic_write},
    {MSR_XSS, 1, FEAT_XSAVES, F(xss), .name = "XSS", .writable = XSS_SUPPORTED},
    {MSR_EFER, 1, .name = "EFER", .field = NO_FIELD, .read = efer_read, .write = efer_write},
    {MSR_STAR, 1, FEAT_SYSCALL, F(star), .name = "STAR", .writable = ALL},
    {MSR_LSTAR, 1, FEAT_LM, F(lstar), .name = "LSTAR", .writable = ALL, .check = check_canonical},
    {MSR_CSTAR, 1, FEAT_LM, F(cstar), .name = "CSTAR", .writable = ALL, .check = check_canonical},
    {MSR_SFMASK, 1, FEAT_LM, F(sfmask), .name = "SFMASK", .writable = U32, .ignored = ~U32},
    {MSR_FS_BASE, 1, FEAT_LM, NO_FIELD, .name = "FS_BASE", .read = base_read, .write = base_write},
    {MSR_GS_BASE, 1, FEAT_LM, NO_FIELD, .name = "GS_BASE", .read = base_read, .write = base_write},
    {MSR_KERNEL_GS_BASE, 1, FEAT_LM, F(kernel_gs_base), .name = "KERNEL_GS_BASE", .writable = ALL,
     .check = check_canonical},
    {MSR_TSC_AUX, 1, FEAT_RDTSCP, F(tsc_aux), .name = "TSC_AUX", .writable = U32, .write = tsc_aux_write},
    /* Performance counters of the K7 kind that never count. */
    {0xc0010000, 8, .name = "PERF", .field = NO_FIELD, .writable = ALL},
    {MSR_SYSCFG, 1, F(syscfg), .name = "SYSCFG", .writable = 0x7c0000},
    {MSR_HWCR, 1, F(hwcr), .name = "HWCR", .writable = U32, .reset = HWCR_TSC_FREQ_SEL},
    {0xc0010016, 4, .name = "IORR", .field = NO_FIELD, .writable = ALL},
    {MSR_TOP_MEM, 1, .name = "TOP_MEM", .field = NO_FIELD, .writable = ALL},
    {MSR_TOP_MEM2, 1, .name = "TOP_MEM2", .field = NO_FIELD, .writable = ALL},
    {MSR_NB_CFG, 1, .name = "NB_CFG", .field = NO_FIELD, .writable = ALL},
    {MSR_PATCH_LOADER, 1, .name = "PATCH_LOADER", .field = NO_FIELD, .writable = ALL, .read = no_read},
    {0xc0010055, 1, .name = "INT_PENDING", .field = NO_FIELD, .writable = ALL},
    {0xc0010058, 1, .name = "MMIO_CFG_BASE", .field = NO_FIELD, .writable = ALL},
    {0xc0011022, 1, .name = "DC_CFG", .field = NO_FIELD, .writable = ALL},
    {MSR_DE_CFG, 1, .name = "DE_CFG", .field = NO_FIELD, .writable = ALL,
     .reset = BIT(1) /* LFENCE serializes */},
};

static const struct msr_row *row_find(const struct vcpu *v, u32 msr)
{
    unsigned low = 0, high = ARRAY_LEN(rows);
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (msr < rows[mid].number)
            high = mid;
        else if (msr - rows[mid].number >= rows[mid].count)
            low = mid + 1;
        else
            return cpu_has(v, rows[mid].feature) ? &rows[mid] : NULL;
    }
    return NULL;
}

static u64 *row_field(struct vcpu_msrs *m, const struct msr_row *row, unsigned i)
{
    return (u64 *)((u8 *)m + row->field) + i;
}

bool msr_read(struct vcpu *v, u32 msr, u64 *value)
{
    const struct msr_row *row = row_find(v, msr);
    bool ok = row != NULL;
    *value = 0;
    if (row && row->read)
        ok = row->read(v, msr, value);
    else if (row && row->field == NO_FIELD)
        *value = row->reset;
    else if (row)
        *value = *row_field(&v->msr, row, msr - row->number);
    log_trace(v->vm->log, TRACE_MSR, "cpu%u: rdmsr %#x (%s) %s %#llx", v->index, msr,
              row ? row->name : "unknown", ok ? "=" : "faults", (unsigned long long)*value);
    return ok;
}

static bool row_accepts(const struct msr_row *row, const struct vcpu_msrs *m, unsigned i, u64 value)
{
    return !(value & ~row->writable) && (!row->check || row->check(m, i, value));
}

bool msr_write(struct vcpu *v, u32 msr, u64 value)
{
    const struct msr_row *row = row_find(v, msr);
    bool ok = row != NULL;
    log_trace(v->vm->log, TRACE_MSR, "cpu%u: wrmsr %#x (%s) %#llx", v->index, msr,
              row ? row->name : "unknown", (unsigned long long)value);
    if (row && row->write) {
        ok = row->write(v, msr, value);
    } else if (row) {
        unsigned i = msr - row->number;
        value &= ~row->ignored;
        ok = row_accepts(row, &v->msr, i, value);
        if (ok && row->field != NO_FIELD)
            *row_field(&v->msr, row, i) = value;
    }
    return ok;
}

void msr_reset(struct vcpu *v)
{
    memset(&v->msr, 0, sizeof v->msr);
    for (unsigned r = 0; r < ARRAY_LEN(rows); r++)
        for (unsigned i = 0; rows[r].field != NO_FIELD && i < rows[r].count; i++)
            *row_field(&v->msr, &rows[r], i) = rows[r].reset;
}

const char *msr_name(const struct vcpu *v, u32 msr)
{
    const struct msr_row *row = row_find(v, msr);
    return row ? row->name : NULL;
}

const char *msr_check_values(const struct vcpu *v, const struct vcpu_msrs *values)
{
    struct vcpu_msrs copy = *values;
    for (unsigned r = 0; r < ARRAY_LEN(rows); r++) {
        const struct msr_row *row = &rows[r];
        if (row->field == NO_FIELD)
            continue;
        for (unsigned i = 0; i < row->count; i++) {
            u64 value = *row_field(&copy, row, i);
            if (value != row->reset && (!cpu_has(v, row->feature) || !row_accepts(row, values, i, value)))
                return row->name;
        }
    }
    for (unsigned n = 0; n < ARRAY_LEN(values->mtrr_base); n++)
        if (!mtrr_base_valid(values->mtrr_base[n]) || !mtrr_mask_valid(values->mtrr_mask[n]))
            return "MTRRphys";
    return NULL;
}
