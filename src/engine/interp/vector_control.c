/* MXCSR, the upper halves, and the end of MMX code. */
#include <string.h>
#include "engine/interp/vector.h"

void vector_ldmxcsr(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    u64 lin = interp_mem_linear(v, insn, 4, MMU_READ);
    u32 value = (u32)mmu_read(v, lin, 4);
    if (value & ~native_mxcsr_mask(v))
        cpu_raise_gp0(v);
    v->fpu.mxcsr = value;
    v->fpu.xinuse |= BIT(XSTATE_SSE);
}

void vector_stmxcsr(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    mmu_write(v, interp_mem_linear(v, insn, 4, MMU_WRITE), 4, v->fpu.mxcsr);
}

static unsigned register_count(const struct insn *insn)
{
    return (insn->mode & DECODE_BITS) == DECODE_64 ? 16 : 8;
}

/* VZEROUPPER and VZEROALL leave registers 16..31 alone. */
void vector_zero_upper(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    for (unsigned i = 0; i < register_count(insn); i++)
        memset(v->fpu.zmm[i] + 16, 0, 48);
}

void vector_zero_all(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    memset(v->fpu.zmm, 0, register_count(insn) * 64);
}

void vector_emms(struct vcpu *v, const struct insn *insn)
{
    native_check_mmx(v);
    native_mmx_enter(v);
    v->fpu.ftw = 0;
}
