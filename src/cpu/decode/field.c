/* Which field of the encoding an operand came from. */
#include "cpu/decode/form.h"

enum insn_field insn_opnd_field(const struct insn *insn, unsigned i)
{
    const struct insn_form *form = container_of(insn->info, struct insn_form, info);
    switch (SPEC_SOURCE(form->opnds[i])) {
    case SRC_E:
    case SRC_M:
    case SRC_R:
    case SRC_STI:
    case SRC_Q:
    case SRC_N:
    case SRC_W:
    case SRC_U:
    case SRC_VM:
    case SRC_KE:
    case SRC_KR:
        return FIELD_RM;
    case SRC_G:
    case SRC_S:
    case SRC_C:
    case SRC_D:
    case SRC_P:
    case SRC_V:
    case SRC_KG:
        return FIELD_REG;
    case SRC_B:
    case SRC_H:
    case SRC_KH:
        return FIELD_VVVV;
    case SRC_L:
        return FIELD_IS4;
    default:
        return FIELD_NONE;
    }
}

bool insn_opnd_is_gpr(const struct insn *insn, unsigned i)
{
    const struct insn_form *form = container_of(insn->info, struct insn_form, info);
    unsigned source = SPEC_SOURCE(form->opnds[i]);
    return insn->opnd[i].kind == OPND_GPR || source == SRC_E;
}
