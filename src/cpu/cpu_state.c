/*
 * Saved state of a vCPU. The check refuses what no instruction sequence could have produced and what would
 * harm: modes that contradict one another, non-canonical bases, MSR values that WRMSR refuses, an MXCSR that
 * the host would refuse.
 */
#include "cpu/cpu_state.h"
#include "cpu/xstate.h"
#include "cpu/ctrl.h"
#include "cpu/debug.h"
#include "cpu/mmu.h"
#include "cpu/msr.h"
#include "cpu/seg.h"

enum { SEG_LDTR = SREG_COUNT, SEG_TR, SEG_SAVED };

#define MSR_WORDS (sizeof(struct vcpu_msrs) / sizeof(u64))
/* Posted events that belong to the guest; the others are the VMM's own business. */
#define SAVED_EVENTS    (EVENT_INTR | EVENT_NMI | EVENT_NMI_AGAIN | EVENT_INIT | EVENT_SIPI)
#define SAVED_ATTENTION (ATTN_SHADOW_STI | ATTN_SHADOW_MOVSS | ATTN_DB_PENDING | ATTN_STEP | ATTN_HALT)
#define DB_BITS         (0xf | DR6_BD | DR6_BS | DR6_BT)

struct vcpu_state {
    u64 gpr[16], rip, rflags;
    u64 seg_base[SEG_SAVED];
    u32 seg_limit[SEG_SAVED];
    u16 seg_selector[SEG_SAVED], seg_attr[SEG_SAVED];
    u64 gdtr_base, idtr_base;
    u16 gdtr_limit, idtr_limit;
    u64 cr0, cr2, cr3, cr4, efer, xcr0, pdpte[4], dr[8];
    u64 msr[MSR_WORDS];
    u64 tsc_offset, monitor_gpa, db_pending;
    u32 events, attention;
    u8 activity, sipi_vector;
    bool nmi_blocked, mwait_any_intr;
    u8 zmm[32][64];
    u64 k[8];
    u8 st[8][16];
    u16 fcw, fsw, fop, fcs, fds;
    u8 ftw;
    u64 fip, fdp;
    u32 mxcsr, pkru;
    u64 xinuse;
};

#define S struct vcpu_state
static const struct state_field fields[] = {
    STATE_ARRAY(S, gpr, u64),
    STATE_FIELD(S, rip),
    STATE_FIELD_MAX(S, rflags, FLAGS_ALL),
    STATE_ARRAY(S, seg_base, u64),
    STATE_ARRAY(S, seg_limit, u32),
    STATE_ARRAY(S, seg_selector, u16),
    STATE_ARRAY(S, seg_attr, u16),
    STATE_FIELD(S, gdtr_base),
    STATE_FIELD(S, idtr_base),
    STATE_FIELD(S, gdtr_limit),
    STATE_FIELD(S, idtr_limit),
    STATE_FIELD_MAX(S, cr0, 0xffffffff),
    STATE_FIELD(S, cr2),
    STATE_FIELD(S, cr3),
    STATE_FIELD(S, cr4),
    STATE_FIELD(S, efer),
    STATE_FIELD(S, xcr0),
    STATE_ARRAY(S, pdpte, u64),
    STATE_ARRAY(S, dr, u64),
    STATE_ARRAY(S, msr, u64),
    STATE_FIELD(S, tsc_offset),
    STATE_FIELD(S, monitor_gpa),
    STATE_FIELD_MAX(S, db_pending, DB_BITS),
    STATE_FIELD(S, events),
    STATE_FIELD(S, attention),
    STATE_FIELD_MAX(S, activity, ACTIVITY_MWAIT),
    STATE_FIELD(S, sipi_vector),
    STATE_BOOL(S, nmi_blocked),
    STATE_BOOL(S, mwait_any_intr),
    STATE_ARRAY(S, zmm, u8),
    STATE_ARRAY(S, k, u64),
    STATE_ARRAY(S, st, u8),
    STATE_FIELD(S, fcw),
    STATE_FIELD(S, fsw),
    STATE_FIELD(S, fop),
    STATE_FIELD(S, fcs),
    STATE_FIELD(S, fds),
    STATE_FIELD(S, ftw),
    STATE_FIELD(S, fip),
    STATE_FIELD(S, fdp),
    STATE_FIELD(S, mxcsr),
    STATE_FIELD(S, pkru),
    STATE_FIELD(S, xinuse),
};
#undef S

static const struct segreg *seg_of(const struct vcpu *v, unsigned i)
{
    return i == SEG_LDTR ? &v->ldtr : i == SEG_TR ? &v->tr : &v->seg[i];
}

static void fpu_save(const struct fpu *f, struct vcpu_state *s)
{
    memcpy(s->zmm, f->zmm, sizeof s->zmm);
    memcpy(s->k, f->k, sizeof s->k);
    memcpy(s->st, f->st, sizeof s->st);
    s->fcw = f->fcw;
    s->fsw = f->fsw;
    s->ftw = f->ftw;
    s->fop = f->fop;
    s->fcs = f->fcs;
    s->fds = f->fds;
    s->fip = f->fip;
    s->fdp = f->fdp;
    s->mxcsr = f->mxcsr;
    s->pkru = f->pkru;
    s->xinuse = xstate_inuse(f);
}

static void fpu_load(struct fpu *f, const struct vcpu_state *s)
{
    memcpy(f->zmm, s->zmm, sizeof s->zmm);
    memcpy(f->k, s->k, sizeof s->k);
    memcpy(f->st, s->st, sizeof s->st);
    f->fcw = s->fcw;
    f->fsw = s->fsw;
    f->ftw = s->ftw;
    f->fop = s->fop;
    f->fcs = s->fcs;
    f->fds = s->fds;
    f->fip = s->fip;
    f->fdp = s->fdp;
    f->mxcsr = s->mxcsr;
    f->pkru = s->pkru;
    f->xinuse = s->xinuse;
}

static void state_save(const void *dev, void *state)
{
    const struct vcpu *v = dev;
    struct vcpu_state *s = state;
    memcpy(s->gpr, v->gpr, sizeof s->gpr);
    s->rip = v->rip;
    s->rflags = v->rflags;
    for (unsigned i = 0; i < SEG_SAVED; i++) {
        const struct segreg *seg = seg_of(v, i);
        s->seg_base[i] = seg->base;
        s->seg_limit[i] = seg->limit;
        s->seg_selector[i] = seg->selector;
        s->seg_attr[i] = seg->attr;
    }
    s->gdtr_base = v->gdtr.base;
    s->gdtr_limit = v->gdtr.limit;
    s->idtr_base = v->idtr.base;
    s->idtr_limit = v->idtr.limit;
    s->cr0 = v->cr0;
    s->cr2 = v->cr2;
    s->cr3 = v->cr3;
    s->cr4 = v->cr4;
    s->efer = v->efer;
    s->xcr0 = v->xcr0;
    memcpy(s->pdpte, v->pdpte, sizeof s->pdpte);
    memcpy(s->dr, v->dr, sizeof s->dr);
    memcpy(s->msr, &v->msr, sizeof s->msr);
    s->tsc_offset = (u64)v->tsc_offset;
    s->monitor_gpa = v->monitor_gpa;
    s->db_pending = v->db_pending;
    s->events = atomic_load(&v->events) & SAVED_EVENTS;
    s->attention = v->attention & SAVED_ATTENTION;
    s->activity = (u8)v->activity;
    s->sipi_vector = atomic_load(&v->sipi_vector);
    s->nmi_blocked = v->nmi_blocked;
    s->mwait_any_intr = v->mwait_any_intr;
    fpu_save(&v->fpu, s);
}

static void state_load(void *dev, const void *state)
{
    struct vcpu *v = dev;
    const struct vcpu_state *s = state;
    memcpy(v->gpr, s->gpr, sizeof s->gpr);
    v->rip = s->rip;
    v->rflags = s->rflags;
    for (unsigned i = 0; i < SEG_SAVED; i++) {
        struct segreg *seg = i == SEG_LDTR ? &v->ldtr : i == SEG_TR ? &v->tr : &v->seg[i];
        *seg = (struct segreg){s->seg_base[i], s->seg_limit[i], s->seg_selector[i], s->seg_attr[i]};
    }
    v->gdtr = (struct dtable){s->gdtr_base, s->gdtr_limit};
    v->idtr = (struct dtable){s->idtr_base, s->idtr_limit};
    v->cr0 = s->cr0;
    v->cr2 = s->cr2;
    v->cr3 = s->cr3;
    v->cr4 = s->cr4;
    v->efer = s->efer;
    v->xcr0 = s->xcr0;
    memcpy(v->pdpte, s->pdpte, sizeof s->pdpte);
    memcpy(v->dr, s->dr, sizeof s->dr);
    memcpy(&v->msr, s->msr, sizeof s->msr);
    v->tsc_offset = (s64)s->tsc_offset;
    v->monitor_gpa = s->monitor_gpa;
    v->db_pending = s->db_pending;
    v->activity = (enum vcpu_activity)s->activity;
    atomic_store(&v->sipi_vector, s->sipi_vector);
    v->nmi_blocked = s->nmi_blocked;
    v->mwait_any_intr = s->mwait_any_intr;
    fpu_load(&v->fpu, s);
    v->attention = s->attention | (v->attention & ATTN_TRACE);
    v->ext = 0;
    atomic_fetch_and(&v->events, ~(u32)SAVED_EVENTS);
    atomic_fetch_or(&v->events, s->events);
    vcpu_refresh_apic(v);
    cpu_mode_update(v);
    mmu_map_changed(v);
}

/* Modes: the combinations that MOV CR, WRMSR and mode switches allow. */
static const char *check_modes(const struct vcpu *v, const struct vcpu_state *s)
{
    bool pg = s->cr0 & CR0_PG, pe = s->cr0 & CR0_PE, lma = s->efer & EFER_LMA, lme = s->efer & EFER_LME;
    u16 cs = s->seg_attr[CS];
    if ((pg && !pe) || ((s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD)) || !(s->cr0 & CR0_ET))
        return "cr0";
    if (s->cr4 & ~cr4_valid_bits(v))
        return "cr4";
    if ((s->efer & ~efer_valid_bits(v)) || lma != (lme && pg))
        return "efer";
    if ((lma && !(s->cr4 & CR4_PAE)) || ((s->cr4 & CR4_PCIDE) && !lma))
        return "cr4";
    if (s->cr3 & ~MASK(PHYS_BITS))
        return "cr3";
    if ((s->rflags & FLAG_VM) && (!pe || lma))
        return "rflags";
    if (!(s->rflags & FLAG_R1))
        return "rflags";
    if (lma && (cs & SEG_L) && (cs & SEG_DB))
        return "seg_attr";
    if (s->rip != ((lma && (cs & SEG_L)) ? s->rip : s->rip & 0xffffffff))
        return "rip";
    return NULL;
}

static const char *check_segments(const struct vcpu_state *s)
{
    for (unsigned i = 0; i < SEG_SAVED; i++) {
        bool lma = s->efer & EFER_LMA, wide = i >= FS;
        if (s->seg_attr[i] >= SEG_UNUSABLE * 2)
            return "seg_attr";
        if (!is_canonical(s->seg_base[i]) || (!(lma && wide) && s->seg_base[i] >> 32 && i < FS))
            return "seg_base";
    }
    if (!is_canonical(s->gdtr_base))
        return "gdtr_base";
    return is_canonical(s->idtr_base) ? NULL : "idtr_base";
}

static const char *check_extended(const struct vcpu *v, const struct vcpu_state *s)
{
    u64 mxcsr = cpu_has(v, FEAT_MISALIGNSSE) ? 0x2ffff : 0xffff;
    u64 avx512 = 0xe0;
    if ((s->xcr0 & ~v->vm->model.xcr0) || !(s->xcr0 & 1) || ((s->xcr0 & 4) && !(s->xcr0 & 2)))
        return "xcr0";
    if ((s->xcr0 & avx512) && ((s->xcr0 & avx512) != avx512 || !(s->xcr0 & 4)))
        return "xcr0";
    if (s->xinuse & ~(v->vm->model.xcr0 | 3))
        return "xinuse";
    return s->mxcsr & ~mxcsr ? "mxcsr" : NULL;
}

static const char *check_debug(const struct vcpu_state *s)
{
    if ((s->dr[6] & ~(u64)DB_BITS) != DR6_FIXED || (s->dr[7] & ~0xffff23ffull) != DR7_FIXED)
        return "dr";
    if (s->attention & ~(u32)SAVED_ATTENTION)
        return "attention";
    return s->events & ~(u32)SAVED_EVENTS ? "events" : NULL;
}

static int state_check(const void *dev, const void *state, struct error *err)
{
    const struct vcpu *v = dev;
    const struct vcpu_state *s = state;
    struct vcpu_msrs msrs;
    memcpy(&msrs, s->msr, sizeof msrs);
    const char *bad = check_modes(v, s);
    if (!bad)
        bad = check_segments(s);
    if (!bad)
        bad = check_extended(v, s);
    if (!bad)
        bad = check_debug(s);
    if (!bad)
        bad = msr_check_values(v, &msrs);
    if (bad)
        return error_set(err, EINVAL,
                         "the saved state of CPU %u is damaged or from another CPU model: %s is impossible",
                         v->index, bad);
    return 0;
}

const struct state_desc vcpu_state_desc = {
    .name = "vcpu",
    .version = 1,
    .size = sizeof(struct vcpu_state),
    .fields = fields,
    .field_count = ARRAY_LEN(fields),
    .save = state_save,
    .check = state_check,
    .load = state_load,
};
