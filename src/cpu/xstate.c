/* Which parts of the extended state are in use. */
#include "base/bytes.h"
#include "cpu/cpu.h"
#include "cpu/xstate.h"

static bool is_zero(const void *p, size_t bytes)
{
    const u8 *at = p;
    u64 any = 0;
    for (size_t i = 0; i < bytes; i += 8)
        any |= load_le64(at + i);
    return !any;
}

static bool x87_is_initial(const struct fpu *fpu)
{
    return fpu->fcw == 0x37f && !fpu->fsw && !fpu->ftw && !fpu->fop && !fpu->fip && !fpu->fdp && !fpu->fcs &&
           !fpu->fds && is_zero(fpu->st, sizeof fpu->st);
}

typedef u64 vec __attribute__((vector_size(16), may_alias));

/* Registers first..first + 15, bytes 16 * from..16 * (from + count) of each, or-ed together. */
static inline vec column(const struct fpu *fpu, unsigned first, unsigned from, unsigned count)
{
    vec any[2] = {{0}, {0}};
    for (unsigned i = 0; i < 16; i++)
        for (unsigned n = from; n < from + count; n++)
            any[n & 1] |= *(const vec *)(fpu->zmm[first + i] + 16 * n);
    return any[0] | any[1];
}

static bool is_set(vec v)
{
    return v[0] | v[1];
}

u64 xstate_inuse_of(const struct fpu *fpu, u64 mask)
{
    u64 inuse = 0;
    if ((mask & BIT(XSTATE_X87)) && !x87_is_initial(fpu))
        inuse |= BIT(XSTATE_X87);
    if ((mask & BIT(XSTATE_SSE)) && is_set(column(fpu, 0, 0, 1)))
        inuse |= BIT(XSTATE_SSE);
    if ((mask & BIT(XSTATE_AVX)) && is_set(column(fpu, 0, 1, 1)))
        inuse |= BIT(XSTATE_AVX);
    if ((mask & BIT(XSTATE_OPMASK)) && !is_zero(fpu->k, sizeof fpu->k))
        inuse |= BIT(XSTATE_OPMASK);
    if ((mask & BIT(XSTATE_ZMM_HI256)) && is_set(column(fpu, 0, 2, 2)))
        inuse |= BIT(XSTATE_ZMM_HI256);
    if ((mask & BIT(XSTATE_HI16_ZMM)) && is_set(column(fpu, 16, 0, 4)))
        inuse |= BIT(XSTATE_HI16_ZMM);
    if ((mask & BIT(XSTATE_PKRU)) && fpu->pkru)
        inuse |= BIT(XSTATE_PKRU);
    return inuse;
}

u64 xstate_inuse(const struct fpu *fpu)
{
    return xstate_inuse_of(fpu, ~0ull);
}

u64 xstate_inuse_mxcsr(const struct fpu *fpu)
{
    return xstate_inuse(fpu) | (fpu->mxcsr != 0x1f80 ? BIT(XSTATE_SSE) : 0);
}
