/*
 * Random instructions from the rows of the instruction table: prefixes, fields and operands are chosen to
 * satisfy a row, the decoder then accepts or refuses. A new row is covered by itself.
 */
#include <stdlib.h>
#include <string.h>
#include "base/bytes.h"
#include "tests/oracle/oracle.h"
#include "cpu/decode/form.h" /* last: short macro names */

/* What is not run: results that differ from run to run, the kernel's own tables, transfers that leave the
 * sequence. */
static bool id_is_excluded(u16 id)
{
    switch (id) {
    case INSN_CPUID:
    case INSN_RDTSC:
    case INSN_RDTSCP:
    case INSN_RDPID:
    case INSN_RDPMC:
    case INSN_RDRAND:
    case INSN_RDSEED:
    case INSN_SGDT:
    case INSN_SIDT:
    case INSN_SLDT:
    case INSN_STR:
    case INSN_SMSW:
    case INSN_LAR:
    case INSN_LSL:
    case INSN_VERR:
    case INSN_VERW:
    case INSN_ARPL:
    case INSN_RDFSBASE:
    case INSN_RDGSBASE:
    case INSN_WRFSBASE:
    case INSN_WRGSBASE:
    case INSN_POPF:
    case INSN_MONITOR:
    case INSN_MWAIT:
    case INSN_CLZERO:
    case INSN_XLAT:
        return true;
    default:
        return false;
    }
}

static bool form_is_wanted(const struct generator *g, const struct insn_form *f)
{
    const struct insn_info *info = &f->info;
    if (f->space >= SPACE_COUNT || id_is_excluded(f->id))
        return false;
    if (!model_has(g->model, info->feature) || !model_has(g->model, info->feature2))
        return false;
    if (g->klass >= 0 && info->klass != g->klass)
        return false;
    if (g->only && strncmp(info->name, g->only, strlen(g->only)) != 0)
        return false;
    if (!g->whole_host && (info->klass == CLASS_SYSTEM || f->id == INSN_LDMXCSR || f->id == INSN_VLDMXCSR))
        return false;
    switch (info->klass) {
    case CLASS_BRANCH:
    case CLASS_IO:
        return false;
    case CLASS_SYSTEM:
        if (info->attrs & ATTR_PRIVILEGED)
            return false;
        return f->id == INSN_XSAVE || f->id == INSN_XSAVEOPT || f->id == INSN_XSAVEC ||
               f->id == INSN_XRSTOR || f->id == INSN_FXSAVE || f->id == INSN_FXRSTOR || f->id == INSN_XGETBV;
    default:
        break;
    }
    for (unsigned i = 0; i < OPERANDS_MAX && f->opnds[i]; i++) {
        unsigned source = SPEC_SOURCE(f->opnds[i]);
        if (source == SRC_S || source == SRC_SREG || source == SRC_C || source == SRC_D || source == SRC_O)
            return false;
        if (SPEC_SIZE(f->opnds[i]) == SZ_p) /* LES, LDS, LSS ... */
            return false;
    }
    return true;
}

void generator_select(struct generator *g)
{
    g->form_count[0] = g->form_count[1] = 0;
    for (unsigned i = 1; i < insn_form_count; i++) {
        const struct insn_form *f = &insn_forms[i];
        if (!form_is_wanted(g, f))
            continue;
        for (unsigned code32 = 0; code32 < 2; code32++) {
            u64 mode = f->match & (ONLY64 | NO64);
            if (mode == (code32 ? ONLY64 : NO64) || g->form_count[code32] == ARRAY_LEN(g->forms[0]))
                continue;
            g->forms[code32][g->form_count[code32]++] = (u16)i;
        }
    }
}

/* Lines of 64 bytes: integers, floating-point numbers of every kind and width, zeros, ones. */
static void pool_fill(u8 *pool)
{
    static const u32 floats[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x00000001,
                                 0x807fffff, 0x00800000, 0x7f7fffff, 0x4b000001, 0x4f000000,
                                 0xcf000000, 0x5f000000, 0x3f000000, 0x40490fdb, 0x33800000};
    static const u64 doubles[] = {0,
                                  1ull << 63,
                                  0x3ff0000000000000,
                                  0xbff8000000000000,
                                  0x7ff0000000000000,
                                  0xfff0000000000000,
                                  0x7ff8000000000000,
                                  0x7ff0000000000001,
                                  1,
                                  0x800fffffffffffff,
                                  0x0010000000000000,
                                  0x7fefffffffffffff,
                                  0x41dfffffffc00000,
                                  0xc1e0000000000000,
                                  0x43e0000000000000,
                                  0x4330000000000001,
                                  0x36a0000000000000,
                                  0x47efffffe0000000};
    u64 rng = 0x72696e6733;
    for (unsigned line = 0; line < POOL_SIZE / 64; line++) {
        unsigned kind = rng_below(&rng, 9);
        for (unsigned i = 0; i < 8; i++) {
            u64 r = rng_next(&rng), value = r;
            switch (kind) {
            case 0: /* special floats, and ordinary ones near 1 */
            case 1:
                value = kind ? (r & 0x807fffff807fffff) | 0x3f8000003f800000
                             : floats[r % ARRAY_LEN(floats)] | (u64)floats[(r >> 32) % ARRAY_LEN(floats)]
                                                                   << 32;
                break;
            case 2:
            case 3:
                value = kind == 2 ? doubles[r % ARRAY_LEN(doubles)]
                                  : (r & 0x800fffffffffffff) | (0x3ff + r % 40 - 20) << 52;
                break;
            case 4:
                value = r & 0x000000ff0000007f;
                break;
            case 5:
                value = r & 1 ? 0 : ~0ull;
                break;
            case 6:
                value = r & 0x8080808080808080;
                break;
            default:
                break;
            }
            store_le64(pool + line * 64 + i * 8, value);
        }
    }
}

int generator_init(struct generator *g, const struct cpu_model *model)
{
    g->model = model;
    g->pool = malloc(POOL_SIZE);
    if (!g->pool)
        return -1;
    pool_fill(g->pool);
    return 0;
}

/* One instruction under construction. */
struct builder {
    struct generator *g;
    u64 *rng;
    const struct insn_form *form;
    bool code32;
    u64 address; /* of the instruction */
    u8 *start, *p;
    bool memory;
    u8 reg, rm, index, base; /* full numbers where the encoding has extensions */
    bool sib;
    u8 vvvv;
};

static void put(struct builder *b, unsigned byte)
{
    *b->p++ = (u8)byte;
}

/* One of the set bits of the group `mask` of `match`; all of the group if none is set. */
static unsigned pick(struct builder *b, u64 mask)
{
    u64 set = b->form->match & mask ? b->form->match & mask : mask;
    unsigned n = rng_below(b->rng, (unsigned)__builtin_popcountll(set));
    while (n--)
        set &= set - 1;
    return (unsigned)__builtin_ctzll(set) - (unsigned)__builtin_ctzll(mask);
}

static bool uses_source(const struct insn_form *f, unsigned lo, unsigned hi)
{
    for (unsigned i = 0; i < OPERANDS_MAX && f->opnds[i]; i++)
        if (SPEC_SOURCE(f->opnds[i]) >= lo && SPEC_SOURCE(f->opnds[i]) <= hi)
            return true;
    return false;
}

static bool form_has_modrm(const struct insn_form *f)
{
    return (f->match & MATCH_NEEDS_MODRM) || uses_source(f, SRC_RM, 63);
}

static bool form_may_use_memory(const struct insn_form *f)
{
    u64 m = f->match & (MEM | REG);
    if (m == REG || (f->match & NOMOD))
        return false;
    return m == MEM || uses_source(f, SRC_E, SRC_M) || uses_source(f, SRC_Q, SRC_Q) ||
           uses_source(f, SRC_W, SRC_W) || uses_source(f, SRC_VM, SRC_VM) || uses_source(f, SRC_KE, SRC_KE);
}

/* Registers that hold pointers at first: state.c. */
static u8 pointer_register(struct builder *b)
{
    static const u8 registers[] = {RBX, RSI, RDI, RBP, R12, R13, R14, R15, RSP};
    return registers[rng_below(b->rng, b->code32 ? 4 : 9)];
}

static void choose_operands(struct builder *b)
{
    u64 *rng = b->rng;
    bool vsib = uses_source(b->form, SRC_VM, SRC_VM);
    b->memory = form_may_use_memory(b->form) && ((b->form->match & (MEM | REG)) == MEM ||
                                                 uses_source(b->form, SRC_M, SRC_M) || rng_chance(rng, 45));
    b->reg = (u8)(b->form->match & 0x3fc0ull ? pick(b, 0x3fc0ull) : rng_below(rng, 32));
    b->vvvv = (u8)rng_below(rng, 32);
    if (!b->memory) {
        b->rm = (u8)(b->form->match & 0x3fc000ull ? pick(b, 0x3fc000ull) : rng_below(rng, 32));
        return;
    }
    b->base = pointer_register(b);
    b->sib = vsib || b->base == RSP || rng_chance(rng, 20);
    b->index = 4;
    if (vsib)
        b->index = (u8)(1 + 8 * rng_below(rng, b->code32 ? 1 : b->form->space >= E1 ? 4 : 2));
    else if (b->sib && !b->code32 && rng_chance(rng, 70))
        b->index = R8 + (u8)rng_below(rng, 2);
    else if (b->sib && b->code32 && rng_chance(rng, 50))
        b->index = RCX;
}

static void put_modrm(struct builder *b)
{
    unsigned reg = (b->reg & 7) << 3;
    if (!b->memory) {
        put(b, 0xc0 | reg | (b->rm & 7));
        return;
    }
    unsigned kind = rng_below(b->rng, 16);
    if (kind == 0 && !b->sib && !b->code32) { /* RIP-relative: into FAR */
        u64 target = FAR_BASE + 512 + rng_below(b->rng, 32) * 16;
        put(b, reg | 5);
        store_le32(b->p, (u32)(target - b->address - 12));
        b->p += 4;
        return;
    }
    bool wide = kind == 1;
    put(b, (wide ? 0x80 : 0x40) | reg | (b->sib ? 4 : b->base & 7));
    if (b->sib)
        put(b, rng_below(b->rng, 4) << 6 | (b->index & 7) << 3 | (b->base & 7));
    s32 disp = (s32)rng_below(b->rng, 3) * 16 - 16;
    if (rng_chance(b->rng, 30))
        disp = (s32)rng_below(b->rng, 64) - 32;
    if (b->form->space >= E1 && !wide)
        disp = (s32)rng_below(b->rng, 5) - 2;
    if (wide) {
        store_le32(b->p, (u32)disp);
        b->p += 4;
    } else {
        put(b, (u8)disp);
    }
}

/* Register extension bits, 1 = set: of ModRM.reg, index, base or rm. */
static u8 extension(const struct builder *b, unsigned *r, unsigned *x, unsigned *base)
{
    *r = b->reg >> 3 & 1;
    *x = b->memory ? b->index >> 3 & 1 : b->rm >> 4 & 1;
    *base = (b->memory ? b->base : b->rm) >> 3 & 1;
    return 0;
}

static void put_legacy(struct builder *b)
{
    const struct insn_form *f = b->form;
    u64 *rng = b->rng, match = f->match;
    unsigned r, x, base;
    u64 pp = match & (NP | P66 | PF3 | PF2);
    if (rng_chance(rng, 5))
        put(b, b->code32 ? "\x2e\x36\x3e\x26"[rng_below(rng, 4)] : 0x64);
    if (rng_chance(rng, 3) && !b->code32)
        put(b, 0x67);
    if ((f->info.attrs & ATTR_LOCKABLE) && b->memory && rng_chance(rng, 20))
        put(b, 0xf0);
    if ((f->info.attrs & ATTR_REP) && rng_chance(rng, 60))
        put(b, rng_chance(rng, 50) ? 0xf3 : 0xf2);
    if (pp == P66 || ((!pp || (pp & (NP | P66)) == (NP | P66)) && rng_chance(rng, 25)))
        put(b, 0x66);
    if (pp == PF3)
        put(b, 0xf3);
    if (pp == PF2)
        put(b, 0xf2);
    extension(b, &r, &x, &base);
    unsigned w = match & (W0 | W1) ? pick(b, W0 | W1) : rng_below(rng, 2);
    if (!b->memory)
        x = 0;
    if ((match & (B0 | B1)) == B0)
        base = 0;
    unsigned rex = w << 3 | r << 2 | x << 1 | base;
    if (!b->code32 && (rex || rng_chance(rng, 10)))
        put(b, 0x40 | rex);
    if (f->space >= M1)
        put(b, 0x0f);
    if (f->space >= M2)
        put(b, f->space == M2 ? 0x38 : 0x3a);
}

static void put_vex(struct builder *b)
{
    const struct insn_form *f = b->form;
    unsigned r, x, base;
    bool uses_vvvv =
        uses_source(f, SRC_H, SRC_H) || uses_source(f, SRC_B, SRC_B) || uses_source(f, SRC_KH, SRC_KH);
    unsigned vvvv = uses_vvvv ? b->vvvv & (uses_source(f, SRC_KH, SRC_KH) ? 7 : 15) : 0;
    unsigned w = f->match & (W0 | W1) ? pick(b, W0 | W1) : rng_below(b->rng, 2);
    unsigned l = f->match & (L0 | L1) ? pick(b, L0 | L1) : rng_below(b->rng, 2);
    unsigned pp = f->match & 15 ? pick(b, NP | P66 | PF3 | PF2) : 0;
    extension(b, &r, &x, &base);
    if (!b->memory)
        x = 0;
    if (b->code32)
        r = x = base = 0, vvvv &= 7;
    if (uses_source(f, SRC_KG, SRC_KG))
        r = 0;
    if (rng_chance(b->rng, 3))
        put(b, b->code32 ? 0x3e : 0x64);
    if (f->space == V1 && !w && !x && !base && rng_chance(b->rng, 50)) {
        put(b, 0xc5);
        put(b, (r ^ 1) << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
        return;
    }
    put(b, 0xc4);
    put(b, (r ^ 1) << 7 | (x ^ 1) << 6 | (base ^ 1) << 5 | (f->space - V1 + 1));
    put(b, w << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
}

static void put_evex(struct builder *b)
{
    static const u8 maps[] = {1, 2, 3, 5, 6};
    const struct insn_form *f = b->form;
    u64 *rng = b->rng, match = f->match;
    unsigned r, x, base;
    bool uses_vvvv =
        uses_source(f, SRC_H, SRC_H) || uses_source(f, SRC_B, SRC_B) || uses_source(f, SRC_KH, SRC_KH);
    unsigned vvvv = uses_vvvv ? b->vvvv & (uses_source(f, SRC_B, SRC_B) ? 15 : 31) : 0;
    unsigned w = match & (W0 | W1) ? pick(b, W0 | W1) : rng_below(rng, 2);
    unsigned l = match & (L0 | L1 | L2) ? pick(b, L0 | L1 | L2) : rng_below(rng, 3);
    unsigned pp = match & 15 ? pick(b, NP | P66 | PF3 | PF2) : 0;
    unsigned r2 = b->reg >> 4 & 1, v2 = vvvv >> 4;
    bool bit = b->memory ? (match & (BC2 | BC4 | BC8)) && rng_chance(rng, 35)
                         : (match & (ER | SAE)) && rng_chance(rng, 35);
    unsigned aaa = (match & K) && ((match & KREQ) == KREQ || rng_chance(rng, 60)) ? 1 + rng_below(rng, 7) : 0;
    unsigned z = aaa && (match & KZ) == KZ && rng_chance(rng, 40);
    extension(b, &r, &x, &base);
    if (b->memory && uses_source(f, SRC_VM, SRC_VM))
        v2 = b->index >> 4 & 1;
    if (bit && !b->memory)
        l = rng_below(rng, 4);
    if (uses_source(f, SRC_KG, SRC_KG) || uses_source(f, SRC_G, SRC_G))
        r2 = 0;
    if (uses_source(f, SRC_KG, SRC_KG))
        r = 0;
    if (b->code32)
        r = x = base = r2 = v2 = 0, vvvv &= 7;
    if (rng_chance(rng, 3))
        put(b, b->code32 ? 0x3e : 0x64);
    put(b, 0x62);
    put(b, (r ^ 1) << 7 | (x ^ 1) << 6 | (base ^ 1) << 5 | (r2 ^ 1) << 4 | maps[f->space - E1]);
    put(b, w << 7 | (~vvvv & 15) << 3 | 4 | pp);
    put(b, z << 7 | l << 5 | (unsigned)bit << 4 | (v2 ^ 1) << 3 | aaa);
}

static unsigned build(struct builder *b)
{
    const struct insn_form *f = b->form;
    b->p = b->start;
    choose_operands(b);
    if (f->space >= E1)
        put_evex(b);
    else if (f->space >= V1)
        put_vex(b);
    else
        put_legacy(b);
    put(b, f->opcode + rng_below(b->rng, (unsigned)MATCH_SPAN(f->match) + 1));
    if (form_has_modrm(f))
        put_modrm(b);
    /* Immediates: as many of these bytes as the decoder takes. Small ones are the usual case. */
    u64 imm = rng_chance(b->rng, 50) ? rng_next(b->rng) : rng_below(b->rng, 64);
    store_le64(b->p, imm);
    b->p += 8;
    return (unsigned)(b->p - b->start);
}

/* Pointers should live long enough for the memory operands to come. */
static bool clobbers_pointer(const struct insn *insn)
{
    u16 read, written;
    insn_gpr_use(insn, &read, &written);
    if (insn->info->klass == CLASS_STRING)
        return false;
    return written &
           (BIT(RBX) | BIT(RBP) | BIT(RSI) | BIT(RDI) | BIT(RSP) | BIT(R12) | BIT(R13) | BIT(R14) | BIT(R15));
}

/* Where AMD's processors do not do what Intel's manual says: VPINSRD and VPEXTRD with W = 1 outside 64-bit
 * mode are #UD, MOVSXD with a 16-bit operand reads four bytes. */
static bool vendors_differ(const struct insn *insn)
{
    if (insn->id == INSN_MOVSXD)
        return insn->opsize == 2;
    return insn->w && (insn->mode & DECODE_BITS) != DECODE_64 && insn->encoding != ENC_LEGACY &&
           (insn->id == INSN_VPINSRD || insn->id == INSN_VPEXTRD);
}

/* Zen 4 reads a stale RSP after PUSH or POP in EVEX instructions whose ModRM.rm names RSP with X = 1 (which
 * is to be ignored). */
static bool host_is_wrong(const struct insn *insn, const u8 *bytes)
{
    if (insn->encoding != ENC_EVEX || insn->modrm < 0xc0 || (insn->modrm & 7) != RSP)
        return false;
    while (*bytes != 0x62)
        bytes++;
    bool gpr = false;
    for (unsigned i = 0; i < insn->nopnds; i++)
        gpr |= insn->opnd[i].kind == OPND_GPR && insn_opnd_field(insn, i) == FIELD_RM;
    return gpr && !(bytes[1] & 0x40);
}

static bool instruction_generate(struct generator *g, struct sequence *s, u64 *rng, u8 *at, u64 address,
                                 struct insn *insn, u32 undefined)
{
    unsigned mode = (s->code32 ? DECODE_32 : DECODE_64) | (g->model->vendor == VENDOR_AMD ? DECODE_AMD : 0);
    for (unsigned tries = 0; tries < 200; tries++) {
        u8 bytes[40];
        struct builder b = {.g = g, .rng = rng, .code32 = s->code32, .address = address, .start = bytes};
        b.form = &insn_forms[g->forms[s->code32][rng_below(rng, g->form_count[s->code32])]];
        unsigned len = build(&b);
        if (insn_decode(insn, bytes, len, mode) != DECODE_OK || insn->len > INSN_MAX_LEN)
            continue;
        if (insn->id != b.form->id || insn->info->klass == CLASS_BRANCH)
            continue;
        if (insn->info->flags_read & undefined)
            continue;
        if (vendors_differ(insn) || host_is_wrong(insn, bytes) ||
            (s->has_area && insn->info->klass == CLASS_SYSTEM))
            continue;
        if (clobbers_pointer(insn) && !rng_chance(rng, 20))
            continue;
        if (insn->info->klass == CLASS_STRING && insn->adsize < 8 && !s->code32 && !rng_chance(rng, 10))
            continue;
        memcpy(at, bytes, insn->len);
        return true;
    }
    return false;
}

/* Jcc and its like over one instruction that can be seen: INC EAX in the byte form. Returns its length. */
static unsigned branch_generate(u64 *rng, u8 *at)
{
    unsigned kind = rng_below(rng, 20);
    if (kind < 16)
        at[0] = (u8)(0x70 | kind);
    else
        at[0] = (u8)(0xe0 + kind - 16); /* LOOPNE, LOOPE, LOOP, JRCXZ */
    at[1] = 2;
    memcpy(at + 2, "\xfe\xc0", 2); /* inc al */
    return 4;
}

/* PUSH imm32; POPF: arithmetic flags, DF, ID, and now and then AC. */
static unsigned popf_generate(u64 *rng, u8 *at)
{
    u32 flags = (u32)(rng_next(rng) & (FLAGS_ARITH | FLAG_DF)) | (rng_chance(rng, 10) ? (u32)FLAG_AC : 0);
    at[0] = 0x68;
    store_le32(at + 1, flags);
    at[5] = 0x9d;
    return 6;
}

/* Extended state saved to, or restored from, one place in one format: MOV ESI; MOV EAX; XOR EDX, EDX; the
 * instruction; MOV ESI. */
static unsigned area_generate(const struct generator *g, struct sequence *s, u64 *rng, u8 *at)
{
    static const struct area_op {
        u8 opcode, modrm;
        u16 feature;
    } ops[3][4] = {
        {{0xae, 0x06, FEAT_FXSR}, {0xae, 0x0e, FEAT_FXSR}, {0xae, 0x06, FEAT_FXSR}, {0xae, 0x0e, FEAT_FXSR}},
        {{0xae, 0x26, FEAT_XSAVE},
         {0xae, 0x2e, FEAT_XSAVE},
         {0xae, 0x2e, FEAT_XSAVE},
         {0xae, 0x36, FEAT_XSAVEOPT}},
        {{0xc7, 0x26, FEAT_XSAVEC},
         {0xc7, 0x26, FEAT_XSAVEC},
         {0xae, 0x2e, FEAT_XSAVE},
         {0xae, 0x36, FEAT_XSAVEOPT}},
    };
    if (!s->has_area)
        s->area_format = rng_below(rng, 3);
    struct area_op op = ops[s->area_format][rng_below(rng, 4)];
    unsigned n = 12;
    if (!model_has(g->model, op.feature)) {
        s->area_format = 0;
        op = ops[0][rng_below(rng, 2)];
    }
    at[0] = 0xbe;
    store_le32(at + 1, (u32)DATA_BASE + (op.feature == FEAT_XSAVEOPT ? AREA_OPT_OFFSET : AREA_OFFSET));
    at[5] = 0xb8;
    store_le32(at + 6, rng_chance(rng, 50) ? ~0u : (u32)rng_next(rng));
    memcpy(at + 10, "\x31\xd2", 2);
    if (!s->code32 && rng_chance(rng, 60))
        at[n++] = 0x48;
    at[n++] = 0x0f;
    at[n++] = op.opcode;
    at[n++] = op.modrm;
    at[n] = 0xbe; /* what lies there is not compared: no one shall read it */
    store_le32(at + n + 1, (u32)DATA_BASE + 0x1040);
    n += 5;
    s->has_area = true;
    return n;
}

void sequence_generate(struct generator *g, struct sequence *s, u64 seed)
{
    u64 rng = seed * 0xd1342543de82ef95ull + 0x5eed;
    u32 undefined = 0;
    s->seed = seed;
    s->has_area = false;
    s->code32 = g->mode == 32 || (g->mode == 0 && rng_chance(&rng, 20));
    unsigned wanted = g->length ? g->length : 1 + rng_below(&rng, SEQUENCE_MAX - 1), at = 0;
    state_generate(g, s, &rng);
    s->count = 0;
    s->start[0] = 0;
    s->flags_undefined[0] = 0;
    unsigned areas = g->only || !g->whole_host  ? 0
                     : g->klass == CLASS_SYSTEM ? 60
                     : g->klass >= 0            ? 0
                     : rng_chance(&rng, 5)      ? 30
                                                : 0;
    while (s->count < wanted) {
        struct insn insn;
        unsigned len;
        if (areas && rng_chance(&rng, areas)) {
            len = area_generate(g, s, &rng, s->code + at);
            undefined = 0;
        } else if (!g->only && g->klass < 0 && !undefined && rng_chance(&rng, 4)) {
            len = rng_chance(&rng, 70) ? branch_generate(&rng, s->code + at)
                                       : popf_generate(&rng, s->code + at);
        } else if (instruction_generate(g, s, &rng, s->code + at, sequence_base(s) + at, &insn, undefined)) {
            len = insn.len;
            undefined = (undefined & ~insn.info->flags_write) | insn.info->flags_undef;
        } else {
            break;
        }
        at += len;
        s->start[++s->count] = at;
        s->flags_undefined[s->count] = undefined;
    }
}
