/* Intel-syntax disassembly of a decoded instruction. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "cpu/decode/decode.h"

struct text {
    char *buf;
    size_t size, used;
};

PRINTF_LIKE(2, 3) static void put(struct text *t, const char *format, ...)
{
    va_list args;
    if (t->used + 1 >= t->size)
        return;
    va_start(args, format);
    int n = vsnprintf(t->buf + t->used, t->size - t->used, format, args);
    va_end(args);
    if (n > 0)
        t->used = MIN(t->used + (size_t)n, t->size - 1);
}

static const char *const legacy_names[8] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
static const char *const segment_names[8] = {"es", "cs", "ss", "ds", "fs", "gs", "?", "?"};
static const char *const condition_names[16] = {"o", "no", "b", "ae", "e", "ne", "be", "a",
                                                "s", "ns", "p", "np", "l", "ge", "le", "g"};

static void put_gpr(struct text *t, unsigned reg, unsigned size, bool high)
{
    static const char *const bytes[8] = {"al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"};
    static const char *const highs[4] = {"ah", "ch", "dh", "bh"};
    if (high)
        put(t, "%s", highs[reg & 3]);
    else if (reg >= 8)
        put(t, "r%u%s", reg, size == 1 ? "b" : size == 2 ? "w" : size == 4 ? "d" : "");
    else if (size == 1)
        put(t, "%s", bytes[reg]);
    else
        put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", legacy_names[reg]);
}

static void put_vector(struct text *t, unsigned reg, unsigned size)
{
    put(t, "%cmm%u", size == 64 ? 'z' : size == 32 ? 'y' : 'x', reg);
}

static const char *size_name(unsigned bytes)
{
    switch (bytes) {
    case 1:
        return "byte ptr ";
    case 2:
        return "word ptr ";
    case 4:
        return "dword ptr ";
    case 6:
        return "fword ptr ";
    case 8:
        return "qword ptr ";
    case 10:
        return "tbyte ptr ";
    case 16:
        return "xmmword ptr ";
    case 32:
        return "ymmword ptr ";
    case 64:
        return "zmmword ptr ";
    default:
        return "";
    }
}

static u64 address_mask(const struct insn *insn)
{
    return MASK(8 * insn->adsize);
}

static void put_memory(struct text *t, const struct insn *insn, const struct opnd *opnd, u64 rip)
{
    const struct insn_mem *mem = &insn->mem;
    bool any = false;
    put(t, "%s", size_name(opnd->size));
    bool stack = mem->base == 4 || mem->base == 5;
    if (mem->seg != (stack ? 2 : 3))
        put(t, "%s:", segment_names[mem->seg & 7]);
    put(t, "[");
    if (mem->base == MEM_REG_RIP) {
        put(t, "0x%" PRIx64 "]", (rip + insn->len + (u64)mem->disp) & address_mask(insn));
        return;
    }
    if (mem->base != MEM_NO_REG) {
        put_gpr(t, mem->base, insn->adsize, false);
        any = true;
    }
    if (mem->index != MEM_NO_REG) {
        put(t, "%s", any ? "+" : "");
        if (mem->vsib)
            put_vector(t, mem->index, mem->vsib_size);
        else
            put_gpr(t, mem->index, insn->adsize, false);
        if (mem->scale)
            put(t, "*%u", 1u << mem->scale);
        any = true;
    }
    if (!any)
        put(t, "0x%" PRIx64, (u64)mem->disp & address_mask(insn));
    else if (mem->disp)
        put(t, "%c0x%" PRIx64, mem->disp < 0 ? '-' : '+', mem->disp < 0 ? -(u64)mem->disp : (u64)mem->disp);
    put(t, "]");
    if (mem->broadcast)
        put(t, "{1to%u}", (16u << insn->vl) / mem->broadcast);
}

/* Immediates are shown as wide as the operand that they meet. */
static void put_immediate(struct text *t, const struct insn *insn, const struct opnd *opnd)
{
    unsigned bytes = opnd->size;
    if (insn->info->klass == CLASS_INT && insn->opsize > bytes)
        bytes = insn->opsize;
    if (insn->imm >> 63 && bytes < 8)
        put(t, "0x%" PRIx64, insn->imm & (u64)MASK(8 * bytes));
    else
        put(t, "0x%" PRIx64, insn->imm);
}

static void put_operand(struct text *t, const struct insn *insn, const struct opnd *opnd, u64 rip)
{
    switch (opnd->kind) {
    case OPND_GPR:
        put_gpr(t, opnd->reg, opnd->size, opnd->high);
        break;
    case OPND_MEM:
        put_memory(t, insn, opnd, rip);
        break;
    case OPND_IMM:
        put_immediate(t, insn, opnd);
        break;
    case OPND_IMM2:
        put(t, "0x%" PRIx64, insn->imm2);
        break;
    case OPND_REL: {
        unsigned bits = (insn->mode & DECODE_BITS) == DECODE_64 && insn->opsize == 8 ? 64
                        : insn->opsize == 2                                          ? 16
                                                                                     : 32;
        put(t, "0x%" PRIx64, (rip + insn->len + insn->imm) & (u64)MASK(bits));
        break;
    }
    case OPND_FAR:
        put(t, "0x%" PRIx64 ":0x%" PRIx64, insn->imm2, insn->imm);
        break;
    case OPND_SEG:
        put(t, "%s", segment_names[opnd->reg & 7]);
        break;
    case OPND_CR:
        put(t, "cr%u", opnd->reg);
        break;
    case OPND_DR:
        put(t, "dr%u", opnd->reg);
        break;
    case OPND_ST:
        put(t, "st(%u)", opnd->reg);
        break;
    case OPND_MMX:
        put(t, "mm%u", opnd->reg);
        break;
    case OPND_VEC:
        put_vector(t, opnd->reg, opnd->size);
        break;
    case OPND_KREG:
        put(t, "k%u", opnd->reg);
        break;
    default:
        break;
    }
}

/* The mnemonics that depend on operand size, address size or condition. */
static void put_name(struct text *t, const struct insn *insn)
{
    unsigned by_size = insn->opsize == 1 ? 0 : insn->opsize == 2 ? 1 : insn->opsize == 4 ? 2 : 3;
    static const char *const cbw[4] = {"cbw", "cbw", "cwde", "cdqe"};
    static const char *const cwd[4] = {"cwd", "cwd", "cdq", "cqo"};
    static const char *const iret[4] = {"iret", "iret", "iretd", "iretq"};
    static const char *const pushf[4] = {"pushf", "pushf", "pushfd", "pushfq"};
    static const char *const popf[4] = {"popf", "popf", "popfd", "popfq"};
    switch (insn->id) {
    case INSN_JCC:
    case INSN_SETCC:
    case INSN_CMOVCC:
        put(t, "%s%s", insn->info->name, condition_names[insn->opcode & 15]);
        break;
    case INSN_MOVS:
    case INSN_CMPS:
    case INSN_STOS:
    case INSN_LODS:
    case INSN_SCAS:
        put(t, "%s%c", insn->info->name, "bwdq"[by_size]);
        break;
    case INSN_INS:
    case INSN_OUTS:
        put(t, "%s%c", insn->info->name, "bwdd"[by_size]);
        break;
    case INSN_CBW:
        put(t, "%s", cbw[by_size]);
        break;
    case INSN_CWD:
        put(t, "%s", cwd[by_size]);
        break;
    case INSN_IRET:
        put(t, "%s", iret[by_size]);
        break;
    case INSN_PUSHF:
        put(t, "%s", pushf[by_size]);
        break;
    case INSN_POPF:
        put(t, "%s", popf[by_size]);
        break;
    case INSN_PUSHA:
        put(t, "%s", insn->opsize == 4 ? "pushad" : "pusha");
        break;
    case INSN_POPA:
        put(t, "%s", insn->opsize == 4 ? "popad" : "popa");
        break;
    case INSN_JCXZ:
        put(t, "%s", insn->adsize == 8 ? "jrcxz" : insn->adsize == 4 ? "jecxz" : "jcxz");
        break;
    case INSN_FXSAVE:
    case INSN_FXRSTOR:
    case INSN_XSAVE:
    case INSN_XRSTOR:
    case INSN_XSAVEOPT:
    case INSN_XSAVEC:
    case INSN_XSAVES:
    case INSN_XRSTORS:
        put(t, "%s%s", insn->info->name, insn->w ? "64" : "");
        break;
    default:
        put(t, "%s", insn->info->name);
    }
}

static void put_prefixes(struct text *t, const struct insn *insn)
{
    if (insn->prefixes & PREFIX_LOCK)
        put(t, "lock ");
    if (!(insn->info->attrs & ATTR_REP))
        return;
    bool compares = insn->id == INSN_CMPS || insn->id == INSN_SCAS;
    if (insn->prefixes & PREFIX_REP)
        put(t, compares ? "repe " : "rep ");
    else if (insn->prefixes & PREFIX_REPNE)
        put(t, "repne ");
    /* These have no operands that could show the source's segment. */
    if ((insn->prefixes & PREFIX_SEG) && insn->mem.seg != 3)
        put(t, "%s ", segment_names[insn->mem.seg & 7]);
}

static void put_evex(struct text *t, const struct insn *insn)
{
    if (insn->encoding != ENC_EVEX)
        return;
    if (insn->aaa)
        put(t, "{k%u}", insn->aaa);
    if (insn->zeroing)
        put(t, "{z}");
}

char *insn_format(char *buf, size_t size, const struct insn *insn, u64 rip)
{
    static const char *const roundings[4] = {"rn", "rd", "ru", "rz"};
    struct text t = {buf, size, 0};
    if (!size)
        return buf;
    buf[0] = '\0';
    put_prefixes(&t, insn);
    put_name(&t, insn);
    for (unsigned i = 0; i < insn->nopnds; i++) {
        put(&t, "%s", i ? ", " : " ");
        put_operand(&t, insn, &insn->opnd[i], rip);
        if (i == 0)
            put_evex(&t, insn);
    }
    if (insn->evex_b && !insn_mem_opnd(insn) && (insn->info->attrs & ATTR_MXCSR))
        put(&t, ", {%s-sae}", roundings[insn->rounding & 3]);
    return buf;
}
