/*
 * The XSAVE family (SDM vol. 1 13.7 - 13.12). An area that is not plain RAM in one page is read and written
 * through a local image; what the guest's memory cannot take is found out before anything changes.
 */
#include <string.h>
#include "engine/interp/xsave_area.h"

#define AREA_MAX   2560 /* no area is larger: xstate_size(~0) */
#define HEADER     XSTATE_LEGACY_SIZE
#define COMPACT    BIT(63)
#define MXCSR_INIT 0x1f80u

_Static_assert(AREA_MAX % 64 == 0 && AREA_MAX >= 2432 + 8, "the largest XSAVE area fits");

struct area {
    u64 lin;
    u64 rfbm;    /* requested-feature bitmap */
    u64 compact; /* XCOMP_BV, 0 in the standard format */
    bool wide;
    u8 *p; /* what the area is read from or written to: guest memory, if it is plain RAM in one page; or image
            */
    u8 image[AREA_MAX];
};

static u64 requested(const struct vcpu *v, u64 enabled)
{
    return enabled & ((v->gpr[RDX] << 32) | (u32)v->gpr[RAX]);
}

static void area_begin(struct vcpu *v, const struct insn *insn, struct area *a, u64 enabled,
                       enum mmu_access access)
{
    if (!(v->cr4 & CR4_OSXSAVE))
        cpu_raise_ud(v);
    if (v->cr0 & CR0_TS)
        cpu_raise(v, EXC_NM);
    a->rfbm = requested(v, enabled);
    a->compact = 0;
    a->wide = insn->w && v->code64;
    if (area_flat(v, insn) & 63)
        cpu_raise_gp0(v);
    a->lin = interp_mem_linear(v, insn, XSTATE_FIRST, access);
    a->p = a->image;
}

/* `mask`: the components that the area holds. */
static void area_find(struct vcpu *v, struct area *a, u64 mask, bool write)
{
    u32 bytes = a->compact ? xstate_compact_size(mask) : xstate_size(mask);
    u8 *p = native_fast_ptr(v, a->lin, bytes, write);
    if (likely(p != NULL))
        a->p = p;
}

static u32 component_offset(const struct area *a, unsigned i)
{
    if (i == XSTATE_SSE)
        return AREA_XMM;
    return a->compact ? xstate_compact_offset(a->compact & ~COMPACT, i) : xstate_layout(i).offset;
}

/* Probes or writes every range of the image that a save touches, in ascending order. */
static void area_store(struct vcpu *v, const struct area *a, u64 saved, bool mxcsr, bool probe)
{
    if (likely(a->p != a->image))
        return;
    struct range {
        u32 from, bytes;
    } ranges[XSTATE_COUNT + 4];
    unsigned n = 0;
    if (saved & BIT(XSTATE_X87)) {
        ranges[n++] = (struct range){0, AREA_MXCSR};
        ranges[n++] = (struct range){AREA_ST, AREA_XMM - AREA_ST};
    }
    if (mxcsr)
        ranges[n++] = (struct range){AREA_MXCSR, 8};
    ranges[n++] = (struct range){HEADER, a->compact ? 16 : 8}; /* XSTATE_BV, XCOMP_BV */
    for (unsigned i = XSTATE_SSE; i < XSTATE_COUNT; i++)
        if (saved >> i & 1)
            ranges[n++] = (struct range){component_offset(a, i), area_component_bytes(v, i)};
    for (unsigned i = 0; i < n; i++) {
        if (!ranges[i].bytes)
            continue;
        if (probe)
            native_probe_write(v, a->lin + ranges[i].from, ranges[i].bytes);
        else
            native_write(v, a->lin + ranges[i].from, a->image + ranges[i].from, ranges[i].bytes);
    }
}

static void area_save(struct vcpu *v, struct area *a, u64 saved, bool mxcsr, u64 xstate_bv)
{
    area_find(v, a, a->rfbm, true);
    area_store(v, a, saved, mxcsr, true);
    if (saved & BIT(XSTATE_X87))
        area_save_x87(v, a->p, a->wide);
    if (mxcsr)
        area_save_mxcsr(v, a->p);
    store_le64(a->p + HEADER, xstate_bv);
    if (a->compact)
        store_le64(a->p + HEADER + 8, a->compact);
    for (unsigned i = XSTATE_SSE; i < XSTATE_COUNT; i++)
        if (saved >> i & 1)
            area_save_component(v, i, a->p + component_offset(a, i));
    area_store(v, a, saved, mxcsr, false);
}

/* XSAVE saves all that is asked for, XSAVEOPT what is not in its initial state; the header tells. */
void xsave_xsave(struct vcpu *v, const struct insn *insn)
{
    struct area a;
    area_begin(v, insn, &a, v->xcr0, MMU_WRITE);
    u64 inuse = xstate_inuse_of(&v->fpu, a.rfbm);
    bool optimize = insn->id == INSN_XSAVEOPT;
    u64 saved = a.rfbm & (optimize ? inuse : ~0ull);
    native_probe_write(v, a.lin + HEADER, 8);
    u64 old = mmu_read(v, a.lin + HEADER, 8);
    area_save(v, &a, saved, a.rfbm & (BIT(XSTATE_SSE) | XCR0_AVX), (old & ~a.rfbm) | inuse);
}

/* XSAVEC and XSAVES: compacted, with the init optimization. */
void xsave_xsavec(struct vcpu *v, const struct insn *insn)
{
    struct area a;
    bool supervisor = insn->id == INSN_XSAVES;
    area_begin(v, insn, &a, supervisor ? v->xcr0 | v->msr.xss : v->xcr0, MMU_WRITE);
    a.compact = a.rfbm | COMPACT;
    u64 saved = xstate_inuse_of(&v->fpu, a.rfbm);
    if (v->fpu.mxcsr != MXCSR_INIT)
        saved |= a.rfbm & BIT(XSTATE_SSE);
    area_save(v, &a, saved, saved & BIT(XSTATE_SSE), saved);
}

static bool all_zero(const u8 *p, unsigned bytes)
{
    u8 any = 0;
    for (unsigned i = 0; i < bytes; i++)
        any |= p[i];
    return !any;
}

/* The header's rules: 13.8.1, 13.8.2, 13.12. */
static void header_check(struct vcpu *v, struct area *a, u64 enabled, bool supervisor, u64 *xstate_bv)
{
    const u8 *header = a->image + HEADER;
    u64 bv = load_le64(header), comp = load_le64(header + 8);
    bool bad;
    if (comp & COMPACT) {
        bad = !cpu_has(v, FEAT_XSAVEC) || (comp & ~COMPACT & ~enabled) || (bv & ~comp) || (bv & COMPACT) ||
              !all_zero(header + 16, 48);
        a->compact = comp;
    } else {
        bad = supervisor || (bv & ~enabled) || !all_zero(header + 8, 16);
    }
    if (bad)
        cpu_raise_gp0(v);
    *xstate_bv = bv;
}

/* Reads what will be loaded: legacy region, components. From here on each field is looked at once. */
static void area_fetch(struct vcpu *v, struct area *a, u64 loaded)
{
    area_find(v, a, a->compact ? a->compact & ~COMPACT : loaded, false);
    if (likely(a->p != a->image))
        return;
    native_read(v, a->lin, a->image, XSTATE_LEGACY_SIZE);
    for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
        u32 size = area_component_bytes(v, i);
        if ((loaded >> i & 1) && size)
            native_read(v, a->lin + component_offset(a, i), a->image + component_offset(a, i), size);
    }
}

void xsave_xrstor(struct vcpu *v, const struct insn *insn)
{
    struct area a;
    bool supervisor = insn->id == INSN_XRSTORS;
    u64 enabled = supervisor ? v->xcr0 | v->msr.xss : v->xcr0, bv;
    area_begin(v, insn, &a, enabled, MMU_READ);
    native_read(v, a.lin + HEADER, a.image + HEADER, XSTATE_HEADER_SIZE);
    header_check(v, &a, enabled, supervisor, &bv);
    u64 loaded = a.rfbm & bv;
    area_fetch(v, &a, loaded);
    u32 mxcsr = load_le32(a.p + AREA_MXCSR);
    bool standard = !a.compact,
         take_mxcsr = standard ? a.rfbm & (BIT(XSTATE_SSE) | XCR0_AVX) : loaded & BIT(XSTATE_SSE);
    if (take_mxcsr && (mxcsr & ~native_mxcsr_mask(v)))
        cpu_raise_gp0(v);
    if (loaded & BIT(XSTATE_X87))
        area_load_x87(v, a.p, a.wide);
    else if (a.rfbm & BIT(XSTATE_X87))
        area_init_x87(v);
    if (take_mxcsr)
        v->fpu.mxcsr = mxcsr;
    else if (!standard && (a.rfbm & BIT(XSTATE_SSE)))
        v->fpu.mxcsr = MXCSR_INIT;
    for (unsigned i = XSTATE_SSE; i < XSTATE_COUNT; i++)
        if (a.rfbm >> i & 1)
            area_load_component(v, i, loaded >> i & 1 ? a.p + component_offset(&a, i) : NULL);
    v->fpu.xinuse |= a.rfbm;
}
