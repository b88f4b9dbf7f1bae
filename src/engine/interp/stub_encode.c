/* From the decoded instruction back to bytes, in the one shape that stubs use. SDM vol. 2 chapter 2. */
#include "engine/interp/stub.h"

enum { HOST_RM = RAX, HOST_REG = RCX, HOST_VVVV = RDX, HOST_MEM = RSI };

/* The register numbers that go into the fields, guest's for vectors, host's for general registers. */
struct fields {
    unsigned reg, rm, vvvv;
    bool memory;
};

static u8 modrm_reg(const struct insn *insn)
{
    return insn->modrm >> 3 & 7;
}

static void field_place(struct fields *f, struct stub_key *key, const struct opnd *opnd,
                        enum insn_field field)
{
    static const u8 host[] = {[FIELD_RM] = HOST_RM, [FIELD_REG] = HOST_REG, [FIELD_VVVV] = HOST_VVVV};
    bool gpr = opnd->kind == OPND_GPR;
    switch (field) {
    case FIELD_RM:
        f->rm = gpr ? host[field] : opnd->reg;
        break;
    case FIELD_REG:
        f->reg = gpr ? host[field] : opnd->reg;
        break;
    case FIELD_VVVV:
        f->vvvv = gpr ? host[field] : opnd->reg;
        break;
    default:
        return;
    }
    if (gpr)
        key->gpr[field == FIELD_RM ? 0 : field == FIELD_REG ? 1 : 2] = opnd->reg;
}

static struct fields fields_of(const struct insn *insn, struct stub_key *key)
{
    struct fields f = {.reg = modrm_reg(insn), .rm = insn->modrm & 7};
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *opnd = &insn->opnd[i];
        if (opnd->kind == OPND_MEM) {
            f.memory = true;
            f.rm = HOST_MEM;
        } else {
            field_place(&f, key, opnd, insn_opnd_field(insn, i));
        }
    }
    return f;
}

/* W as it counts: outside 64-bit mode it does not select 64-bit general registers, though the host would
 * obey. */
static bool effective_w(const struct insn *insn)
{
    if (!insn->w || (insn->mode & DECODE_BITS) == DECODE_64)
        return insn->w;
    if (insn->info->gpr_read | insn->info->gpr_write)
        return false;
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn_opnd_is_gpr(insn, i))
            return false;
    return true;
}

/* Non-temporal forms become the plain ones: the hint would only make the bounce buffer slow. */
static void plain_store(const struct insn *insn, u8 *map, u8 *opcode)
{
    *map = insn->map;
    *opcode = insn->opcode;
    if (insn->map == 1 && insn->opcode == 0x2b)
        *opcode = insn->pp >= 2 ? 0x11 : 0x29; /* MOVNTSS, MOVNTSD; MOVNTPS, MOVNTPD */
    else if (insn->map == 1 && insn->opcode == 0xe7)
        *opcode = 0x7f; /* MOVNTQ, MOVNTDQ */
    else if (insn->map == 2 && insn->opcode == 0x2a && insn->pp == 1) {
        *map = 1; /* MOVNTDQA */
        *opcode = 0x6f;
    }
}

static u8 *emit_head_legacy(u8 *p, const struct insn *insn, const struct fields *f, u8 map)
{
    static const u8 prefixes[4] = {0, 0x66, 0xf3, 0xf2};
    if (insn->pp)
        *p++ = prefixes[insn->pp];
    u8 rex = (u8)(effective_w(insn) << 3 | (f->reg >> 3 & 1) << 2 | (f->rm >> 3 & 1));
    if (rex)
        *p++ = 0x40 | rex;
    if (map)
        *p++ = 0x0f;
    if (map > 1)
        *p++ = map == 2 ? 0x38 : 0x3a;
    return p;
}

static u8 *emit_head_vex(u8 *p, const struct insn *insn, const struct fields *f, u8 map)
{
    *p++ = 0xc4;
    *p++ = (u8)((~(unsigned)f->reg << 4 & 0x80) | 0x40 | (~(unsigned)f->rm << 2 & 0x20) | map);
    *p++ = (u8)(effective_w(insn) << 7 | (~f->vvvv & 15) << 3 | insn->vl << 2 | insn->pp);
    return p;
}

static u8 *emit_head_evex(u8 *p, const struct insn *insn, const struct fields *f, u8 map)
{
    bool rounds = insn->evex_b && !f->memory;
    unsigned ll = rounds ? insn->rounding : insn->vl;
    unsigned rm = f->memory ? HOST_MEM : f->rm;
    *p++ = 0x62;
    *p++ = (u8)((~(unsigned)f->reg << 4 & 0x80) | (~(unsigned)rm << 2 & 0x60) | (~f->reg & 0x10) | map);
    *p++ = (u8)(effective_w(insn) << 7 | (~f->vvvv & 15) << 3 | 4 | insn->pp);
    *p++ = (u8)(insn->zeroing << 7 | ll << 5 | insn->evex_b << 4 | (~f->vvvv >> 1 & 8) | insn->aaa);
    return p;
}

static u8 *emit_immediates(u8 *p, const struct insn *insn)
{
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *opnd = &insn->opnd[i];
        if (insn_opnd_field(insn, i) == FIELD_IS4)
            *p++ = (u8)(opnd->reg << 4 | (insn->imm & 15));
        else if (opnd->kind == OPND_IMM)
            *p++ = (u8)insn->imm;
        else if (opnd->kind == OPND_IMM2)
            *p++ = (u8)insn->imm2;
    }
    return p;
}

void stub_encode(const struct insn *insn, struct stub_key *key)
{
    struct fields f = fields_of(insn, key);
    u8 *p = key->bytes, map, opcode;
    plain_store(insn, &map, &opcode);
    if (insn->encoding == ENC_LEGACY)
        p = emit_head_legacy(p, insn, &f, map);
    else if (insn->encoding == ENC_VEX)
        p = emit_head_vex(p, insn, &f, map);
    else
        p = emit_head_evex(p, insn, &f, map);
    *p++ = opcode;
    if (insn->has_modrm)
        *p++ = (u8)((f.memory ? 0 : 0xc0) | (f.reg & 7) << 3 | (f.rm & 7));
    p = emit_immediates(p, insn);
    key->len = (u8)(p - key->bytes);
}
