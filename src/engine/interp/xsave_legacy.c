/* FXSAVE and FXRSTOR: SDM vol. 2; AMD's fast form (EFER.FFXSR): APM vol. 2 11.4.4. */
#include "engine/interp/xsave_area.h"

static void check_enabled(struct vcpu *v)
{
    if (v->cr0 & CR0_EM)
        cpu_raise_ud(v);
    if (v->cr0 & CR0_TS)
        cpu_raise(v, EXC_NM);
}

static u64 area_linear(struct vcpu *v, const struct insn *insn, enum mmu_access access)
{
    u64 flat = area_flat(v, insn);
    if (!v->code64 || is_canonical(flat)) {
        native_check_align(v, flat, 4); /* #AC, else #GP */
        if (flat & 15)
            cpu_raise_gp0(v);
    }
    return interp_mem_linear(v, insn, XSTATE_LEGACY_SIZE, access);
}

/* In 64-bit mode at CPL 0 with EFER.FFXSR the XMM registers are left out. */
static bool skips_xmm(const struct vcpu *v)
{
    return (v->efer & EFER_FFXSR) && v->code64 && v->cpl == 0;
}

void xsave_fxsave(struct vcpu *v, const struct insn *insn)
{
    u8 image[XSTATE_LEGACY_SIZE];
    check_enabled(v);
    u64 lin = area_linear(v, insn, MMU_WRITE);
    native_probe_write(v, lin, sizeof image);
    area_save_x87(v, image, insn->w && v->code64);
    image[5] = 0;
    area_save_mxcsr(v, image);
    unsigned bytes = AREA_XMM;
    if (!skips_xmm(v)) {
        area_save_component(v, XSTATE_SSE, image + AREA_XMM);
        bytes += area_component_bytes(v, XSTATE_SSE);
    }
    native_write(v, lin, image, bytes);
}

void xsave_fxrstor(struct vcpu *v, const struct insn *insn)
{
    u8 image[XSTATE_LEGACY_SIZE];
    check_enabled(v);
    native_read(v, area_linear(v, insn, MMU_READ), image, sizeof image);
    u32 mxcsr = load_le32(image + AREA_MXCSR);
    if (mxcsr & ~native_mxcsr_mask(v))
        cpu_raise_gp0(v);
    area_load_x87(v, image, insn->w && v->code64);
    v->fpu.mxcsr = mxcsr;
    if (!skips_xmm(v))
        area_load_component(v, XSTATE_SSE, image + AREA_XMM);
    v->fpu.xinuse |= XCR0_X87SSE;
}
