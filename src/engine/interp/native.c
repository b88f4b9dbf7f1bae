/* Which handler runs a vector, MMX, x87 or extended-state instruction. */
#include "engine/interp/native.h"
#include "engine/interp/native_check.h"

int native_init(struct vcpu *v, struct error *err)
{
    return stub_cache_create(&v->native, &v->vm->model, err);
}

void native_finish(struct vcpu *v)
{
    stub_cache_destroy(v->native);
    v->native = NULL;
}

static interp_handler x87_handler(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_FWAIT:
        return x87_fwait;
    case INSN_FNINIT:
        return x87_fninit;
    case INSN_FNCLEX:
        return x87_fnclex;
    case INSN_FNSTSW:
        return x87_fnstsw;
    case INSN_FNSTCW:
        return x87_fnstcw;
    case INSN_FLDCW:
        return x87_fldcw;
    case INSN_FNSTENV:
        return x87_fnstenv;
    case INSN_FLDENV:
        return x87_fldenv;
    case INSN_FNSAVE:
        return x87_fnsave;
    case INSN_FRSTOR:
        return x87_frstor;
    case INSN_FNENI:
    case INSN_FNDISI:
    case INSN_FNSETPM:
        return x87_nop;
    default:
        return x87_execute;
    }
}

static interp_handler area_handler(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_FXSAVE:
        return xsave_fxsave;
    case INSN_FXRSTOR:
        return xsave_fxrstor;
    case INSN_XSAVE:
    case INSN_XSAVEOPT:
        return xsave_xsave;
    case INSN_XSAVEC:
    case INSN_XSAVES:
        return xsave_xsavec;
    case INSN_XRSTOR:
    case INSN_XRSTORS:
        return xsave_xrstor;
    default:
        return interp_ud;
    }
}

/* Those that a stub does not do. NULL: the others. */
static interp_handler vector_special(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_LDMXCSR:
    case INSN_VLDMXCSR:
        return vector_ldmxcsr;
    case INSN_STMXCSR:
    case INSN_VSTMXCSR:
        return vector_stmxcsr;
    case INSN_VZEROUPPER:
        return vector_zero_upper;
    case INSN_VZEROALL:
        return vector_zero_all;
    case INSN_EMMS:
        return vector_emms;
    case INSN_MASKMOVQ:
    case INSN_MASKMOVDQU:
    case INSN_VMASKMOVDQU:
        return vector_maskmov_bytes;
    case INSN_VMASKMOVPS:
    case INSN_VMASKMOVPD:
    case INSN_VPMASKMOVD:
    case INSN_VPMASKMOVQ:
        return vector_maskmov_vex;
    default:
        return NULL;
    }
}

static interp_handler vector_handler(const struct insn *insn)
{
    interp_handler special = vector_special(insn);
    if (special)
        return special;
    const struct opnd *mem = insn_mem_opnd(insn);
    if (insn->mem.vsib)
        return mem == &insn->opnd[0] ? vector_scatter : vector_gather;
    if (insn->encoding == ENC_EVEX && mem &&
        (insn->aaa || (vector_is_packed(insn) && mem->access == ACCESS_W)))
        return vector_execute_masked;
    return vector_execute;
}

interp_handler native_handler(const struct insn *insn)
{
    switch (insn->info->klass) {
    case CLASS_X87:
        return x87_handler(insn);
    case CLASS_MMX:
    case CLASS_SSE:
    case CLASS_VEX:
    case CLASS_EVEX:
        return vector_handler(insn);
    default:
        return area_handler(insn);
    }
}
