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

/* Is a column of registers first..first + count - 1, `bytes` from byte `from`, all zero? */
static bool column_is_zero(const struct fpu *fpu, unsigned first, unsigned count, unsigned from,
                           unsigned bytes)
{
    for (unsigned i = first; i < first + count; i++)
        if (!is_zero(fpu->zmm[i] + from, bytes))
            return false;
    return true;
}

u64 xstate_inuse(const struct fpu *fpu)
{
    u64 inuse = 0;
    if (!x87_is_initial(fpu))
        inuse |= BIT(XSTATE_X87);
    if (!column_is_zero(fpu, 0, 16, 0, 16))
        inuse |= BIT(XSTATE_SSE);
    if (!column_is_zero(fpu, 0, 16, 16, 16))
        inuse |= BIT(XSTATE_AVX);
    if (!is_zero(fpu->k, sizeof fpu->k))
        inuse |= BIT(XSTATE_OPMASK);
    if (!column_is_zero(fpu, 0, 16, 32, 32))
        inuse |= BIT(XSTATE_ZMM_HI256);
    if (!column_is_zero(fpu, 16, 16, 0, 64))
        inuse |= BIT(XSTATE_HI16_ZMM);
    if (fpu->pkru)
        inuse |= BIT(XSTATE_PKRU);
    return inuse;
}

u64 xstate_inuse_mxcsr(const struct fpu *fpu)
{
    return xstate_inuse(fpu) | (fpu->mxcsr != 0x1f80 ? BIT(XSTATE_SSE) : 0);
}
