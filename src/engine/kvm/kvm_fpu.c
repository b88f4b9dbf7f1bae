/* The extended state (4.42, 4.43): KVM's image has the host processor's XSAVE layout (SDM vol. 1 13.4). */
#include <string.h>
#include "base/bytes.h"
#include "cpu/xstate.h"
#include "engine/kvm/kvm_impl.h"

#define IMAGE_SIZE sizeof(struct kvm_xsave)

/* FXSAVE's fields. */
enum {
    AT_FCW = 0,
    AT_FSW = 2,
    AT_FTW = 4,
    AT_FOP = 6,
    AT_FIP = 8,
    AT_FDP = 16,
    AT_MXCSR = 24,
    AT_ST = 32,
    AT_XMM = 160
};
#define AT_XSTATE_BV XSTATE_LEGACY_SIZE

/* Where a component is, NULL if the host has none of it. */
static u8 *component(const struct kvm_vm *k, u8 *image, unsigned n, u32 size)
{
    u32 at = k->xstate_offset[n];
    return k->xstate_len[n] >= size && at >= XSTATE_FIRST && at + size <= IMAGE_SIZE ? image + at : NULL;
}

/* A column of the vector registers: `count` from `first`, `bytes` at byte `from` of each. */
static void column(struct fpu *f, u8 *area, bool to_area, unsigned first, unsigned count, unsigned from,
                   unsigned bytes)
{
    for (unsigned i = 0; area && i < count; i++) {
        u8 *reg = f->zmm[first + i] + from, *at = area + (size_t)i * bytes;
        memcpy(to_area ? at : reg, to_area ? reg : at, bytes);
    }
}

static void components(const struct kvm_vm *k, struct fpu *f, u8 *image, bool to_image, u64 which)
{
    column(f, which >> XSTATE_SSE & 1 ? image + AT_XMM : NULL, to_image, 0, 16, 0, 16);
    if (which >> XSTATE_AVX & 1)
        column(f, component(k, image, XSTATE_AVX, 256), to_image, 0, 16, 16, 16);
    if (which >> XSTATE_ZMM_HI256 & 1)
        column(f, component(k, image, XSTATE_ZMM_HI256, 512), to_image, 0, 16, 32, 32);
    if (which >> XSTATE_HI16_ZMM & 1)
        column(f, component(k, image, XSTATE_HI16_ZMM, 1024), to_image, 16, 16, 0, 64);
    u8 *masks = which >> XSTATE_OPMASK & 1 ? component(k, image, XSTATE_OPMASK, 64) : NULL;
    for (unsigned i = 0; masks && i < 8; i++)
        memcpy(to_image ? (void *)(masks + 8 * i) : &f->k[i], to_image ? (void *)&f->k[i] : masks + 8 * i, 8);
    u8 *pkru = which >> XSTATE_PKRU & 1 ? component(k, image, XSTATE_PKRU, 4) : NULL;
    if (pkru)
        memcpy(to_image ? (void *)pkru : &f->pkru, to_image ? (void *)&f->pkru : pkru, 4);
}

static void x87_from(struct fpu *f, const u8 *image)
{
    f->fcw = load_le16(image + AT_FCW);
    f->fsw = load_le16(image + AT_FSW);
    f->ftw = image[AT_FTW];
    f->fop = load_le16(image + AT_FOP);
    f->fip = load_le64(image + AT_FIP);
    f->fdp = load_le64(image + AT_FDP);
    f->fcs = f->fds = 0;
    memcpy(f->st, image + AT_ST, sizeof f->st);
}

bool kvm_fpu_pull(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    struct kvm_xsave x;
    u8 *image = (u8 *)x.region;
    if (kvm_cpu_call(c, KVM_GET_XSAVE, &x) < 0)
        return false;
    u64 used = load_le64(image + AT_XSTATE_BV);
    struct fpu f = {.fcw = 0x37f, .mxcsr = load_le32(image + AT_MXCSR), .xinuse = used};
    if (used & BIT(XSTATE_X87))
        x87_from(&f, image);
    components(c->vm, &f, image, false, used);
    v->fpu = f;
    return true;
}

bool kvm_fpu_push(struct vcpu *v)
{
    struct kvm_cpu *c = v->engine;
    struct kvm_xsave x;
    struct fpu f = v->fpu;
    u8 *image = (u8 *)x.region;
    memset(&x, 0, sizeof x);
    store_le16(image + AT_FCW, f.fcw);
    store_le16(image + AT_FSW, f.fsw);
    image[AT_FTW] = f.ftw;
    store_le16(image + AT_FOP, f.fop);
    store_le64(image + AT_FIP, f.fip);
    store_le64(image + AT_FDP, f.fdp);
    store_le32(image + AT_MXCSR, f.mxcsr);
    memcpy(image + AT_ST, f.st, sizeof f.st);
    u64 used = (xstate_inuse(&f) | XCR0_X87SSE) & (v->vm->model.xcr0 | XCR0_X87SSE);
    store_le64(image + AT_XSTATE_BV, used);
    components(c->vm, &f, image, true, used);
    return kvm_cpu_call(c, KVM_SET_XSAVE, &x) >= 0;
}
