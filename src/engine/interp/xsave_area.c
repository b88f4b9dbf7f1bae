/* Images of the extended state: see xsave_area.h. */
#include <string.h>
#include "engine/interp/xsave_area.h"

void area_save_x87(const struct vcpu *v, u8 *image, bool wide)
{
    const struct fpu *f = &v->fpu;
    store_le16(image, f->fcw);
    store_le16(image + 2, f->fsw);
    store_le16(image + 4, f->ftw); /* byte 5 is 0 */
    if (!(f->fsw & FSW_ES) && v->vm->model.vendor == VENDOR_AMD) {
        /* AMD's processors save the pointers only with the exception that they tell about, else zeros (APM
         * vol. 2 11.4.4, CPUID 8000_0008h EBX.XSAVEERPTR). */
        memset(image + 6, 0, 18);
    } else if (wide) {
        store_le16(image + 6, f->fop);
        store_le64(image + 8, f->fip);
        store_le64(image + 16, f->fdp);
    } else {
        store_le16(image + 6, f->fop);
        store_le32(image + 8, (u32)f->fip);
        store_le32(image + 12, f->fcs);
        store_le32(image + 16, (u32)f->fdp);
        store_le32(image + 20, f->fds);
    }
    for (unsigned i = 0; i < 8; i++) {
        memcpy(image + AREA_ST + 16 * i, f->st[i], 10);
        memset(image + AREA_ST + 16 * i + 10, 0, 6);
    }
}

void area_load_x87(struct vcpu *v, const u8 *image, bool wide)
{
    struct fpu *f = &v->fpu;
    f->fcw = x87_control_value(load_le16(image));
    f->fsw = load_le16(image + 2);
    f->ftw = image[4];
    f->fop = load_le16(image + 6) & 0x7ff;
    if (wide) {
        f->fip = sign_extend(load_le64(image + 8), 57); /* made canonical */
        f->fdp = sign_extend(load_le64(image + 16), 57);
        f->fcs = f->fds = 0;
    } else {
        f->fip = load_le32(image + 8);
        f->fcs = load_le16(image + 12);
        f->fdp = load_le32(image + 16);
        f->fds = load_le16(image + 20);
    }
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[i], image + AREA_ST + 16 * i, 10);
        memset(f->st[i] + 10, 0, 6);
    }
    x87_update_summary(v);
}

void area_init_x87(struct vcpu *v)
{
    x87_reset(v);
    memset(v->fpu.st, 0, sizeof v->fpu.st);
}

void area_save_mxcsr(const struct vcpu *v, u8 *image)
{
    store_le32(image + AREA_MXCSR, v->fpu.mxcsr);
    store_le32(image + AREA_MXCSR + 4, native_mxcsr_mask(v));
}

/* The registers first.. of a component as rows of `bytes` from byte `from` of each. */
struct rows {
    unsigned first, count, from, bytes;
};

static bool component_rows(const struct vcpu *v, unsigned i, struct rows *rows)
{
    unsigned low = v->code64 ? 16 : 8;
    switch (i) {
    case XSTATE_SSE:
        *rows = (struct rows){0, low, 0, 16};
        return true;
    case XSTATE_AVX:
        *rows = (struct rows){0, low, 16, 16};
        return true;
    case XSTATE_ZMM_HI256:
        *rows = (struct rows){0, low, 32, 32};
        return true;
    case XSTATE_HI16_ZMM:
        *rows = (struct rows){16, v->code64 ? 16 : 0, 0, 64};
        return true;
    default:
        return false;
    }
}

static inline void row_copy(u8 *to, const u8 *from, unsigned bytes)
{
    if (bytes == 16)
        memcpy(to, from, 16);
    else if (bytes == 32)
        memcpy(to, from, 32);
    else
        memcpy(to, from, 64);
}

u32 area_component_bytes(const struct vcpu *v, unsigned i)
{
    struct rows r;
    return component_rows(v, i, &r) ? r.count * r.bytes : xstate_layout(i).size;
}

void area_save_component(const struct vcpu *v, unsigned i, u8 *p)
{
    struct rows r;
    if (component_rows(v, i, &r)) {
        for (unsigned n = 0; n < r.count; n++)
            row_copy(p + n * r.bytes, v->fpu.zmm[r.first + n] + r.from, r.bytes);
    } else if (i == XSTATE_OPMASK) {
        memcpy(p, v->fpu.k, sizeof v->fpu.k);
    } else if (i == XSTATE_PKRU) {
        store_le64(p, v->fpu.pkru);
    }
}

void area_load_component(struct vcpu *v, unsigned i, const u8 *p)
{
    static const u8 zero[1024];
    struct rows r;
    if (!p)
        p = zero;
    if (component_rows(v, i, &r)) {
        for (unsigned n = 0; n < r.count; n++)
            row_copy(v->fpu.zmm[r.first + n] + r.from, p + n * r.bytes, r.bytes);
    } else if (i == XSTATE_OPMASK) {
        memcpy(v->fpu.k, p, sizeof v->fpu.k);
    } else if (i == XSTATE_PKRU) {
        cpu_set_pkru(v, load_le32(p));
    }
}
