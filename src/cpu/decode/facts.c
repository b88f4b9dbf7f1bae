/* What an instance of an instruction reads and writes, from its operands and its row's facts. */
#include "cpu/decode/decode.h"

static void use_address(const struct insn *insn, u16 *read)
{
    if (insn->mem.base < 16)
        *read |= BIT(insn->mem.base);
    if (insn->mem.index < 16 && !insn->mem.vsib)
        *read |= BIT(insn->mem.index);
}

static void use_register(const struct opnd *opnd, u16 *read, u16 *written)
{
    u16 bit = (u16)BIT(opnd->reg);
    if (opnd->access & ACCESS_R)
        *read |= bit;
    if (opnd->access & ACCESS_W) {
        *written |= bit;
        /* A write of 8 or 16 bits keeps the rest of the register. */
        if (opnd->size < 4)
            *read |= bit;
    }
}

void insn_gpr_use(const struct insn *insn, u16 *read, u16 *written)
{
    *read = insn->info->gpr_read;
    *written = insn->info->gpr_write;
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *opnd = &insn->opnd[i];
        if (opnd->kind == OPND_GPR)
            use_register(opnd, read, written);
        else if (opnd->kind == OPND_MEM)
            use_address(insn, read);
    }
    if ((insn->info->attrs & ATTR_REP) && (insn->prefixes & (PREFIX_REP | PREFIX_REPNE))) {
        *read |= BIT(1) | insn->info->gpr_write; /* rCX = 0 changes nothing */
        *written |= BIT(1);
    }
    /* Implicit writes of 8 or 16 bits (CBW, CWD, LODS, MUL, ...) keep the rest; RDTSC and the like write 32
     * bits. */
    if (insn->opsize < 4 && (insn->info->klass == CLASS_INT || insn->info->klass == CLASS_STRING))
        *read |= insn->info->gpr_write;
}
