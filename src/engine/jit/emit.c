/* The encoder: SDM vol. 2 chapter 2. */
#include "engine/jit/emit.h"

void emit_bytes(struct emitter *e, const void *bytes, unsigned count)
{
    if (unlikely(e->end - e->p < (ptrdiff_t)count)) {
        e->overrun = true;
        return;
    }
    memcpy(e->p, bytes, count);
    e->p += count;
}

void emit_u8(struct emitter *e, unsigned byte)
{
    u8 b = (u8)byte;
    emit_bytes(e, &b, 1);
}

void emit_u32(struct emitter *e, u32 value)
{
    emit_bytes(e, &value, 4);
}

void emit_u64(struct emitter *e, u64 value)
{
    emit_bytes(e, &value, 8);
}

void emit_gs(struct emitter *e, unsigned opcode, unsigned reg, u32 offset, bool wide)
{
    emit_u8(e, 0x65);
    if (wide || reg >= 8)
        emit_u8(e, 0x40 | wide << 3 | (reg >> 3) << 2);
    emit_u8(e, opcode);
    emit_u8(e, (reg & 7) << 3 | 4);
    emit_u8(e, 0x25);
    emit_u32(e, offset);
}

void emit_gs_load(struct emitter *e, unsigned reg, u32 offset)
{
    emit_gs(e, 0x8b, reg, offset, true);
}

void emit_gs_store(struct emitter *e, unsigned reg, u32 offset)
{
    emit_gs(e, 0x89, reg, offset, true);
}

void emit_gs_store_imm(struct emitter *e, u32 offset, s32 value)
{
    emit_gs(e, 0xc7, 0, offset, true);
    emit_u32(e, (u32)value);
}

bool emit_fits32(u64 value)
{
    return (u64)(s64)(s32)value == value;
}

void emit_rr(struct emitter *e, unsigned opcode, unsigned reg, unsigned rm)
{
    emit_u8(e, 0x48 | (reg >> 3) << 2 | rm >> 3);
    emit_u8(e, opcode);
    emit_u8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void emit_mov_imm(struct emitter *e, unsigned reg, u64 value)
{
    if (value >> 32 == 0) {
        if (reg >= 8)
            emit_u8(e, 0x41);
        emit_u8(e, 0xb8 | (reg & 7));
        emit_u32(e, (u32)value);
    } else if (emit_fits32(value)) {
        emit_u8(e, 0x48 | reg >> 3);
        emit_u8(e, 0xc7);
        emit_u8(e, 0xc0 | (reg & 7));
        emit_u32(e, (u32)value);
    } else {
        emit_u8(e, 0x48 | reg >> 3);
        emit_u8(e, 0xb8 | (reg & 7));
        emit_u64(e, value);
    }
}

void emit_lea(struct emitter *e, unsigned reg, unsigned base, unsigned index, unsigned scale, s32 disp,
              bool wide)
{
    bool has_base = base != HOST_NONE, has_index = index != HOST_NONE;
    unsigned b = has_base ? base : 5, i = has_index ? index : 4;
    bool short_disp = has_base && disp == (s8)disp;
    unsigned mod = !has_base ? 0 : disp == 0 && (b & 7) != 5 ? 0 : short_disp ? 1 : 2;
    unsigned rex = wide << 3 | (reg >> 3) << 2 | (has_index ? i >> 3 : 0) << 1 | (has_base ? b >> 3 : 0);
    if (rex)
        emit_u8(e, 0x40 | rex);
    emit_u8(e, 0x8d);
    if (has_base && !has_index && (b & 7) != 4) {
        emit_u8(e, mod << 6 | (reg & 7) << 3 | (b & 7));
    } else {
        emit_u8(e, mod << 6 | (reg & 7) << 3 | 4);
        emit_u8(e, (has_index ? scale : 0) << 6 | (i & 7) << 3 | (b & 7));
    }
    if (mod == 1)
        emit_u8(e, (u8)disp);
    else if (mod == 2 || !has_base)
        emit_u32(e, (u32)disp);
}

void emit_operand(struct emitter *e, unsigned reg, unsigned base, s32 disp)
{
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (s8)disp ? 1 : 2;
    emit_u8(e, mod << 6 | (reg & 7) << 3 | (base & 7));
    if ((base & 7) == 4)
        emit_u8(e, 0x24);
    if (mod == 1)
        emit_u8(e, (u8)disp);
    else if (mod == 2)
        emit_u32(e, (u32)disp);
}

/* [base + index + disp] */
static void emit_operand_indexed(struct emitter *e, unsigned reg, unsigned base, unsigned index, s32 disp)
{
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (s8)disp ? 1 : 2;
    emit_u8(e, mod << 6 | (reg & 7) << 3 | 4);
    emit_u8(e, (index & 7) << 3 | (base & 7));
    if (mod == 1)
        emit_u8(e, (u8)disp);
    else if (mod == 2)
        emit_u32(e, (u32)disp);
}

void emit_rm8(struct emitter *e, unsigned opcode, unsigned reg, unsigned base, s8 disp)
{
    emit_u8(e, 0x48 | (reg >> 3) << 2 | base >> 3);
    emit_u8(e, opcode);
    emit_u8(e, 0x40 | (reg & 7) << 3 | (base & 7));
    if ((base & 7) == 4)
        emit_u8(e, 0x24);
    emit_u8(e, (u8)disp);
}

u8 *emit_branch(struct emitter *e, unsigned opcode)
{
    if (opcode > 0xff)
        emit_u8(e, opcode >> 8);
    emit_u8(e, opcode & 0xff);
    u8 *site = e->p;
    emit_u32(e, 0);
    return site;
}

static const char *const nops[] = {"", "\x90", "\x66\x90", "\x0f\x1f\x00", "\x0f\x1f\x40\x00"};

void emit_pad_for_patch(struct emitter *e, unsigned before)
{
    unsigned at = (unsigned)((uintptr_t)e->p + before) & 7;
    if (at > 4)
        emit_bytes(e, nops[8 - at], 8 - at);
}

void emit_patch(u8 *site, u32 value)
{
    __asm__ volatile("movl %1, %0" : "=m"(*(u8(*)[4])site) : "r"(value) : "memory");
}

void emit_patch_aim(u8 *site, s64 to_exec, const u8 *target)
{
    emit_patch(site, (u32)(target - (site + 4 + to_exec)));
}

void emit_aim(u8 *site, s64 to_exec, const u8 *target)
{
    store_le32(site, (u32)(target - (site + 4 + to_exec)));
}

void emit_jump_to(struct emitter *e, unsigned opcode, const u8 *target)
{
    u8 *site = emit_branch(e, opcode);
    if (!e->overrun)
        emit_aim(site, e->to_exec, target);
}

/* 40h..4Fh: REX prefixes in 64-bit code. */
static bool is_short_inc_dec(const struct insn *insn)
{
    return insn->encoding == ENC_LEGACY && insn->map == 0 && (insn->opcode & 0xf0) == 0x40;
}

static void emit_inc_dec(struct emitter *e, const struct insn *insn, unsigned host)
{
    if (insn->opnd[0].size == 2)
        emit_u8(e, 0x66);
    if (host >= 8)
        emit_u8(e, 0x41);
    emit_u8(e, 0xff);
    emit_u8(e, 0xc0 | (insn->opcode & 8) | (host & 7));
}

/* W as it counts: outside 64-bit mode it does not select 64-bit general registers, though the host would
 * obey. */
static bool is_wide(const struct insn *insn)
{
    if (!insn->w || (insn->mode & DECODE_BITS) == DECODE_64)
        return insn->w;
    if (insn->info->klass == CLASS_INT || (insn->info->gpr_read | insn->info->gpr_write))
        return false;
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn_opnd_is_gpr(insn, i))
            return false;
    return true;
}

bool emit_can_recode(const struct insn *insn)
{
    if (insn->encoding != ENC_EVEX && insn->map > 3)
        return false;
    if (is_short_inc_dec(insn))
        return true;
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *o = &insn->opnd[i];
        enum insn_field field = insn_opnd_field(insn, i);
        switch (o->kind) {
        case OPND_GPR:
            if (field == FIELD_NONE && (o->reg > 1 || o->high))
                return false;
            break;
        case OPND_MEM:
            if (field != FIELD_RM || insn->mem.vsib)
                return false;
            break;
        case OPND_IMM:
        case OPND_ST:
        case OPND_MMX:
        case OPND_VEC:
        case OPND_KREG:
            break;
        default:
            return false;
        }
    }
    return true;
}

struct fields {
    unsigned reg, rm, vvvv, index;
    bool memory, indexed, force_rex;
};

static struct fields fields_of(const struct insn *insn, const struct recode *r)
{
    struct fields f = {.reg = insn->modrm >> 3 & 7, .rm = insn->modrm & 7};
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *o = &insn->opnd[i];
        if (o->kind == OPND_MEM) {
            f.memory = true;
            f.rm = r->mem;
            f.indexed = r->indexed;
            f.index = r->indexed ? r->index : 0;
            continue;
        }
        if (o->kind != OPND_GPR && o->kind != OPND_VEC && o->kind != OPND_KREG)
            continue;
        if (o->kind == OPND_GPR && o->size == 1 && r->host[i] >= 4 && !o->high)
            f.force_rex = true; /* SPL, BPL, SIL, DIL */
        switch (insn_opnd_field(insn, i)) {
        case FIELD_REG:
            f.reg = r->host[i];
            break;
        case FIELD_RM:
            f.rm = r->host[i];
            break;
        case FIELD_VVVV:
            f.vvvv = r->host[i];
            break;
        default:
            break;
        }
    }
    return f;
}

static void emit_legacy_opcode(struct emitter *e, const struct insn *insn, const struct fields *f)
{
    static const u8 mandatory[4] = {0, 0, 0xf3, 0xf2};
    if (insn->prefixes & PREFIX_LOCK)
        emit_u8(e, 0xf0);
    if (insn->opsize == 2 || insn->pp == 1)
        emit_u8(e, 0x66);
    if (insn->pp > 1)
        emit_u8(e, mandatory[insn->pp]);
    unsigned rex = (is_wide(insn) ? 8 : 0);
    if (insn->has_modrm)
        rex |= (f->reg >> 3) << 2 | (f->index >> 3) << 1 | f->rm >> 3;
    if (rex || f->force_rex)
        emit_u8(e, 0x40 | rex);
    if (insn->map)
        emit_u8(e, 0x0f);
    if (insn->map > 1)
        emit_u8(e, insn->map == 2 ? 0x38 : 0x3a);
    emit_u8(e, !insn->map && insn->opcode == 0x82 ? 0x80 : insn->opcode); /* 82h: outside 64-bit mode only */
}

static void emit_vex_opcode(struct emitter *e, const struct insn *insn, const struct fields *f)
{
    emit_u8(e, 0xc4);
    emit_u8(e, (f->reg >> 3 ? 0 : 0x80) | (f->index >> 3 ? 0 : 0x40) | (f->rm >> 3 ? 0 : 0x20) | insn->map);
    emit_u8(e, (unsigned)is_wide(insn) << 7 | (~f->vvvv & 15) << 3 | (unsigned)insn->vl << 2 | insn->pp);
    emit_u8(e, insn->opcode);
}

/* Memory has a displacement of 32 bits, or none: a byte would be scaled. */
static void emit_evex(struct emitter *e, const struct insn *insn, const struct fields *f, s32 disp)
{
    unsigned ll = insn->evex_b && !f->memory ? insn->rounding : insn->vl;
    bool plain = !disp && (f->rm & 7) != 5;
    emit_u8(e, 0x62);
    unsigned x = f->memory ? f->index << 1 & 0x10 : f->rm;
    emit_u8(e,
            (~f->reg << 4 & 0x80) | (~x << 2 & 0x40) | (~f->rm << 2 & 0x20) | (~f->reg & 0x10) | insn->map);
    emit_u8(e, (unsigned)is_wide(insn) << 7 | (~f->vvvv & 15) << 3 | 4 | insn->pp);
    emit_u8(e, (unsigned)insn->zeroing << 7 | ll << 5 | (unsigned)insn->evex_b << 4 | (~f->vvvv >> 1 & 8) |
                   insn->aaa);
    emit_u8(e, insn->opcode);
    if (!f->memory) {
        emit_u8(e, 0xc0 | (f->reg & 7) << 3 | (f->rm & 7));
        return;
    }
    emit_u8(e, (plain ? 0 : 0x80) | (f->reg & 7) << 3 | (f->indexed ? 4 : f->rm & 7));
    if (f->indexed)
        emit_u8(e, (f->index & 7) << 3 | (f->rm & 7));
    else if ((f->rm & 7) == 4)
        emit_u8(e, 0x24);
    if (!plain)
        emit_u32(e, (u32)disp);
}

static void emit_immediate(struct emitter *e, const struct insn *insn)
{
    if (insn->encoding == ENC_LEGACY && insn->map == 0 && (insn->opcode & 0xfc) == 0xd0)
        return; /* shifts by 1 */
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn_opnd_field(insn, i) == FIELD_IS4)
            emit_u8(e, (unsigned)insn->opnd[i].reg << 4 | (insn->imm & 15));
        else if (insn->opnd[i].kind == OPND_IMM)
            emit_bytes(e, &insn->imm, insn->opnd[i].size);
}

void emit_recode(struct emitter *e, const struct insn *insn, const struct recode *r)
{
    if (is_short_inc_dec(insn)) {
        emit_inc_dec(e, insn, r->host[0]);
        return;
    }
    struct fields f = fields_of(insn, r);
    if (insn->encoding == ENC_VEX)
        emit_vex_opcode(e, insn, &f);
    else if (insn->encoding == ENC_EVEX)
        emit_evex(e, insn, &f, r->disp);
    else
        emit_legacy_opcode(e, insn, &f);
    if (insn->encoding == ENC_EVEX)
        ; /* has written ModRM */
    else if (insn->has_modrm && f.indexed)
        emit_operand_indexed(e, f.reg, f.rm, f.index, r->disp);
    else if (insn->has_modrm && f.memory)
        emit_operand(e, f.reg, f.rm, r->disp);
    else if (insn->has_modrm)
        emit_u8(e, 0xc0 | (f.reg & 7) << 3 | (f.rm & 7));
    emit_immediate(e, insn);
}
