/* Bytes to instruction: prefixes, opcode, choice of the table row, legality. */
#include <string.h>
#include "cpu/decode/decoder.h"

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

static void override_segment(struct decoder *d, u8 seg)
{
    d->insn->prefixes |= PREFIX_SEG;
    /* In 64-bit mode ES, CS, SS, DS are null prefixes: they do not even cancel an earlier FS or GS. */
    if (d->bits != DECODE_64 || seg >= SEG_FS)
        d->segment = seg;
}

/* Notes a legacy prefix; false if the byte is none. Of F2 and F3 the last counts. */
static bool take_prefix(struct decoder *d, u8 byte)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        override_segment(d, byte >> 3 & 3);
        return true;
    case 0x64:
    case 0x65:
        override_segment(d, byte - 0x64 + SEG_FS);
        return true;
    case 0x66:
        d->opsize66 = true;
        return true;
    case 0x67:
        d->insn->prefixes |= PREFIX_ADSIZE;
        return true;
    case 0xf0:
        d->lock = true;
        return true;
    case 0xf2:
    case 0xf3:
        d->repeat_f2 = byte == 0xf2;
        d->repeat_f3 = byte == 0xf3;
        return true;
    default:
        return false;
    }
}

/* Consumes prefixes; returns the first byte that is none. REX counts only if the opcode follows it. */
static u8 read_prefixes(struct decoder *d)
{
    for (;;) {
        u8 byte = decoder_u8(d);
        if (unlikely(d->over))
            return 0;
        if ((byte & 0xf0) == 0x40 && d->bits == DECODE_64) {
            d->insn->rex = byte;
            continue;
        }
        if (!take_prefix(d, byte))
            return byte;
        d->insn->rex = 0;
    }
}

/* 66, F2, F3, LOCK and REX may not stand before VEX or EVEX. */
static void check_vex_prefixes(struct decoder *d)
{
    if (d->opsize66 || d->repeat_f2 || d->repeat_f3 || d->lock || d->insn->rex)
        d->bad = true;
}

static enum opcode_space read_vex(struct decoder *d, u8 first)
{
    struct insn *insn = d->insn;
    u8 map = 1, p1 = decoder_u8(d), last = p1;
    d->r = ~p1 >> 4 & 8;
    if (first == 0xc4) {
        d->x = ~p1 >> 3 & 8;
        d->b = ~p1 >> 2 & 8;
        map = p1 & 0x1f;
        last = decoder_u8(d);
        insn->w = last >> 7;
    }
    insn->encoding = ENC_VEX;
    insn->map = map;
    insn->vl = last >> 2 & 1;
    insn->pp = last & 3;
    d->vvvv = ~last >> 3 & 15;
    check_vex_prefixes(d);
    if (map < 1 || map > 3) {
        d->bad = true;
        return V1;
    }
    return V1 + map - 1;
}

static enum opcode_space read_evex(struct decoder *d)
{
    static const u8 spaces[8] = {0, E1, E2, E3, 0, E5, E6, 0};
    struct insn *insn = d->insn;
    u8 p0 = decoder_u8(d), p1 = decoder_u8(d), p2 = decoder_u8(d);
    d->r = ~p0 >> 4 & 8;
    d->x = ~p0 >> 3 & 8;
    d->x2 = d->x << 1;
    d->b = ~p0 >> 2 & 8;
    d->r2 = ~p0 & 16;
    d->v2 = (~p2 & 8) << 1;
    d->vvvv = (~p1 >> 3 & 15) | d->v2;
    insn->encoding = ENC_EVEX;
    insn->map = p0 & 7;
    insn->w = p1 >> 7;
    insn->pp = p1 & 3;
    insn->vl = p2 >> 5 & 3;
    insn->evex_b = p2 >> 4 & 1;
    insn->zeroing = p2 >> 7;
    insn->aaa = p2 & 7;
    check_vex_prefixes(d);
    if ((p0 & 8) || !(p1 & 4) || !spaces[insn->map]) {
        d->bad = true;
        return E1;
    }
    return spaces[insn->map];
}

/* C4, C5 and 62 are VEX and EVEX in 64-bit mode, and elsewhere if the next byte has mod = 3. */
static bool is_vex(const struct decoder *d, u8 byte)
{
    if (byte != 0xc4 && byte != 0xc5 && byte != 0x62)
        return false;
    if (d->insn->mode & DECODE_REAL)
        return false;
    return d->bits == DECODE_64 || (d->pos < d->limit && d->bytes[d->pos] >= 0xc0);
}

static enum opcode_space read_opcode(struct decoder *d)
{
    struct insn *insn = d->insn;
    enum opcode_space space = M0;
    u8 byte = read_prefixes(d);
    if (d->over)
        return M0;
    if (is_vex(d, byte)) {
        space = byte == 0x62 ? read_evex(d) : read_vex(d, byte);
        if (!d->bad)
            byte = decoder_u8(d);
    } else {
        insn->w = insn->rex >> 3 & 1;
        d->r = insn->rex << 1 & 8;
        d->x = insn->rex << 2 & 8;
        d->b = insn->rex << 3 & 8;
        if (byte == 0x0f) {
            byte = decoder_u8(d);
            space = M1;
            if (byte == 0x38 || byte == 0x3a) {
                space = byte == 0x38 ? M2 : M3;
                byte = decoder_u8(d);
            }
        }
        insn->map = space;
    }
    insn->opcode = byte;
    return space;
}

/* Outside 64-bit mode only eight registers exist and W means nothing. */
static void drop_extensions(struct decoder *d)
{
    d->r = d->x = d->b = d->r2 = d->x2 = 0;
    if (d->v2)
        d->bad = true;
}

static u32 prefix_group(const struct decoder *d)
{
    static const u32 encoded[4] = {NP, P66, PF3, PF2};
    if (d->insn->encoding != ENC_LEGACY)
        return encoded[d->insn->pp];
    return d->repeat_f3 ? PF3 : d->repeat_f2 ? PF2 : d->opsize66 ? P66 : NP;
}

static bool form_has_modrm(const struct insn_form *form)
{
    if (form->match & MATCH_NEEDS_MODRM)
        return true;
    for (unsigned i = 0; i < OPERANDS_MAX && form->opnds[i]; i++)
        if (SPEC_SOURCE(form->opnds[i]) >= SRC_RM)
            return true;
    return false;
}

/* The row that the instruction's properties allow, walking back from the opcode's last. */
static const struct insn_form *find_form(struct decoder *d, enum opcode_space space)
{
    struct insn *insn = d->insn;
    unsigned index = insn_form_index[space][insn->opcode];
    if (!index)
        return NULL;
    const struct insn_form *form = &insn_forms[index];
    u32 have = prefix_group(d) | (insn->w ? (u32)W1 : (u32)W0) | (u32)(L0 << insn->vl) |
               (d->bits == DECODE_64 ? (u32)ONLY64 : (u32)NO64) | (d->b ? (u32)B1 : (u32)B0);
    if (form_has_modrm(form)) {
        u8 modrm = insn->modrm = decoder_u8(d);
        insn->has_modrm = true;
        if (d->over)
            return NULL;
        have |= (modrm >= 0xc0 ? REG : MEM) | SLASH(modrm >> 3 & 7) | RM(modrm & 7);
    } else {
        have |= MEM | SLASH(0) | RM(0);
    }
    /* A register form with EVEX.b is scalar or 512 bits wide: L'L is the rounding mode. */
    u32 have_b = have;
    if (insn->encoding == ENC_EVEX && insn->evex_b && (have & REG))
        have_b = (have & ~(u32)(L0 | L1 | L2 | L2 << 1)) | (u32)L2;
    for (; form->space == space; form--) {
        if ((u8)(insn->opcode - form->opcode) > MATCH_SPAN(form->match))
            return NULL;
        u32 h = form->match & (ER | SAE | EB) ? have_b : have;
        if (!(h & ~form->allow))
            return form;
    }
    return NULL;
}

static void set_sizes(struct decoder *d)
{
    struct insn *insn = d->insn;
    u64 match = d->form->match;
    u64 pp = match & (NP | P66 | PF3 | PF2);
    bool opsize66 = d->opsize66;
    if (insn->encoding == ENC_LEGACY) {
        if (pp && !(pp & NP)) { /* the prefix chose the row: it is part of the opcode */
            insn->pp = d->repeat_f3 ? 2 : d->repeat_f2 ? 3 : 1;
            if (insn->pp == 1)
                opsize66 = false;
        }
        if (insn->pp < 2)
            insn->prefixes |= d->repeat_f3 ? PREFIX_REP : d->repeat_f2 ? PREFIX_REPNE : 0;
    }
    if (opsize66)
        insn->prefixes |= PREFIX_OPSIZE;
    if (d->lock)
        insn->prefixes |= PREFIX_LOCK;
    if (insn->rex)
        insn->prefixes |= PREFIX_REX;
    switch (d->bits) {
    case DECODE_16:
        insn->opsize = opsize66 ? 4 : 2;
        break;
    case DECODE_32:
        insn->opsize = opsize66 ? 2 : 4;
        break;
    default:
        insn->opsize = insn->w ? 8 : opsize66 ? 2 : 4;
        if (match & (D64 | NEAR)) {
            bool narrow = opsize66 && ((match & D64) || (insn->mode & DECODE_AMD));
            insn->opsize = narrow && !insn->w ? 2 : 8;
        }
    }
    if (match & BYTE)
        insn->opsize = 1;
}

static void set_address_size(struct decoder *d)
{
    static const u8 sizes[3][2] = {{2, 4}, {4, 2}, {8, 4}};
    d->insn->adsize = sizes[d->bits][!!(d->insn->prefixes & PREFIX_ADSIZE)];
}

static bool form_uses_vvvv(const struct insn_form *form)
{
    for (unsigned i = 0; i < OPERANDS_MAX && form->opnds[i]; i++)
        if (SPEC_SOURCE(form->opnds[i]) >= SRC_VVVV)
            return true;
    return false;
}

static void check_evex(struct decoder *d)
{
    struct insn *insn = d->insn;
    u64 match = d->form->match;
    bool memory = insn->has_modrm && insn->modrm < 0xc0;
    if (insn->aaa && !(match & K))
        d->bad = true;
    if (!insn->aaa && (match & KREQ) == KREQ)
        d->bad = true;
    if (insn->zeroing && (!insn->aaa || (match & KZ) != KZ || (memory && (insn->opnd[0].kind == OPND_MEM))))
        d->bad = true;
    if (insn->evex_b && memory && !(match & (BC2 | BC4 | BC8)))
        d->bad = true;
    if (insn->evex_b && !memory) {
        if (!(match & (ER | SAE | EB)))
            d->bad = true;
        insn->rounding = insn->vl;
        if (!(match & L0))
            insn->vl = 2;
    }
}

/* Merge masking keeps destination elements. */
static void mark_merging(struct insn *insn)
{
    struct opnd *dest = &insn->opnd[0];
    if (insn->aaa && !insn->zeroing && dest->kind == OPND_VEC)
        dest->access |= dest->access & ACCESS_W ? ACCESS_R : 0;
}

static bool same_vector(const struct insn *insn, unsigned i, unsigned reg)
{
    return insn->opnd[i].kind == OPND_VEC && insn->opnd[i].reg == reg;
}

/* Gathers need distinct registers for destination, index and (VEX) mask. */
static void check_distinct(struct decoder *d)
{
    const struct insn *insn = d->insn;
    u64 match = d->form->match;
    if (match & DISTINCT) {
        unsigned dest = insn->opnd[0].reg;
        if (dest == insn->mem.index)
            d->bad = true;
        if (insn->encoding == ENC_VEX && (insn->opnd[2].reg == dest || insn->opnd[2].reg == insn->mem.index))
            d->bad = true;
    }
    if (match & NO_DEST_SRC)
        for (unsigned i = 1; i < insn->nopnds; i++)
            if (same_vector(insn, i, insn->opnd[0].reg))
                d->bad = true;
}

static void check_legality(struct decoder *d)
{
    struct insn *insn = d->insn;
    if (insn->encoding != ENC_LEGACY) {
        bool used = form_uses_vvvv(d->form);
        if (!used && (d->vvvv & 15))
            d->bad = true;
        if (!used && d->v2 && !insn->mem.vsib)
            d->bad = true;
        if (insn->encoding == ENC_EVEX) {
            check_evex(d);
            mark_merging(insn);
        }
        if (d->form->match & (DISTINCT | NO_DEST_SRC))
            check_distinct(d);
    }
    if ((d->form->match & NOT_AMD) && (insn->mode & DECODE_AMD))
        d->bad = true;
    if (d->lock && (!(insn->info->attrs & ATTR_LOCKABLE) || insn->opnd[0].kind != OPND_MEM))
        d->bad = true;
}

static enum decode_status incomplete(const struct decoder *d)
{
    return d->limit == INSN_MAX_LEN ? DECODE_TOO_LONG : DECODE_NEED_MORE;
}

enum decode_status insn_decode(struct insn *out, const u8 *bytes, size_t avail, unsigned mode)
{
    struct decoder d = {
        .bytes = bytes,
        .limit = avail < INSN_MAX_LEN ? (unsigned)avail : INSN_MAX_LEN,
        .insn = out,
        .bits = mode & DECODE_BITS,
        .segment = MEM_NO_REG,
    };
    memset(out, 0, sizeof *out);
    out->mode = mode;
    if (d.bits > DECODE_64)
        return DECODE_UD;

    enum opcode_space space = read_opcode(&d);
    if (d.over)
        return incomplete(&d);
    if (d.bad)
        return DECODE_UD;
    if (d.bits != DECODE_64) {
        drop_extensions(&d);
        if (d.bad)
            return DECODE_UD;
    }
    d.form = find_form(&d, space);
    if (d.over)
        return incomplete(&d);
    if (!d.form)
        return DECODE_UD;
    out->id = d.form->id;
    out->info = &d.form->info;
    set_sizes(&d);
    set_address_size(&d);
    out->mem = (struct insn_mem){
        .seg = d.segment == MEM_NO_REG ? SEG_DS : d.segment, .base = MEM_NO_REG, .index = MEM_NO_REG};
    decoder_operands(&d);
    if (d.over)
        return incomplete(&d);
    check_legality(&d);
    if (d.bad)
        return DECODE_UD;
    out->len = d.pos;
    return DECODE_OK;
}
