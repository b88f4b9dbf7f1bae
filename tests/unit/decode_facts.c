/*
 * The facts of the instruction table against Zydis: EFLAGS read, written and left undefined, and the
 * general-purpose registers that an instance reads and writes, named or not.
 */
#include "../tap.h"
#include "decode_zydis.h"

static const char gpr_read[] = "gpr read", gpr_written[] = "gpr written", flags_read[] = "flags read",
                  flags_written[] = "flags written", flags_undefined[] = "flags undefined";

/* Compared are the arithmetic flags and DF, which liveness is about; system flags are the engine's business.
 */
#define COMPARED_FLAGS 0xcd5

static bool is_interrupt(unsigned id)
{
    return id == INSN_INT || id == INSN_INT3 || id == INSN_INT1 || id == INSN_INTO;
}

/* What the table says beyond Zydis: more flags read, because the instruction may leave them as they were. */
static bool keeps_flags(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_ROL:
    case INSN_ROR:
    case INSN_RCL:
    case INSN_RCR:
    case INSN_SHL:
    case INSN_SHR:
    case INSN_SAR:
    case INSN_SHLD:
    case INSN_SHRD:
    case INSN_CMPS:
    case INSN_SCAS:
        return true;
    default:
        return is_interrupt(insn->id) || insn->id == INSN_SYSCALL; /* these save all flags */
    }
}

/* Flags that Zydis calls undefined and the manuals define, and the other way round. */
static bool undefined_is_deliberate(const struct insn *insn)
{
    switch (insn->id) {
    case INSN_SBB: /* AF is set by the result */
        return true;
    case INSN_BEXTR: /* OF is cleared */
        return true;
    case INSN_ROL:
    case INSN_ROR:
    case INSN_RCL:
    case INSN_RCR:
    case INSN_SHL:
    case INSN_SHR:
    case INSN_SAR:
        return (insn->opcode & 0xfe) == 0xd0; /* OF is defined for a count of 1 */
    default:
        return false;
    }
}

static bool fact_is_deliberate(const struct pair *p, const char *what, u32 ours, u32 theirs)
{
    const struct insn *insn = &p->insn;
    if (insn->id == INSN_XCHG && p->zydis.mnemonic == ZYDIS_MNEMONIC_PAUSE)
        return true; /* F3 41 90, see tests/unit/decode.c */
    if (what == flags_read)
        return keeps_flags(insn) && (ours & theirs) == theirs;
    if (what == flags_undefined)
        return undefined_is_deliberate(insn);
    if (what == flags_written && insn->id == INSN_VMCALL)
        return !ours; /* the exit to a hypervisor keeps them; only the call within SMM does not */
    /* SDM vol. 2, VPTEST and VTESTPS: OF, AF, PF and SF are cleared; Zydis knows it of PTEST only. */
    if (what == flags_written &&
        (insn->id == INSN_VPTEST || insn->id == INSN_VTESTPS || insn->id == INSN_VTESTPD))
        return ours == 0x8d5 && theirs == (BIT(0) | BIT(6));
    if (what == flags_written)
        return insn->id == INSN_MOV_CR && !ours; /* "undefined", but every CPU keeps them: the safe reading */
    if (what == gpr_written && insn->info->attrs & ATTR_REP)
        return !(theirs & ~ours); /* Zydis leaves out that rSI and rDI advance */
    if (is_interrupt(insn->id))
        return theirs == 0 && ours == BIT(4); /* ... and INT's stack */
    switch (insn->id) {
    case INSN_BSF: /* the destination stays if the source is 0 */
    case INSN_BSR:
        return (ours & theirs) == theirs;
    case INSN_LEAVE: /* rSP is given a new value, but a 16-bit stack keeps its upper half; Zydis reads it
                        always */
        return theirs == (ours | BIT(4));
    case INSN_UD0: /* hints and UD read no register */
    case INSN_UD1:
        return what == gpr_read;
    default:
        return insn->info->attrs & ATTR_HINT;
    }
}

static unsigned register_bit(ZydisRegister reg, u16 *bit)
{
    ZydisRegister full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
    *bit = 0;
    if (full >= ZYDIS_REGISTER_RAX && full <= ZYDIS_REGISTER_R15)
        *bit = (u16)BIT(full - ZYDIS_REGISTER_RAX);
    return ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg);
}

/* What Zydis says, under the rule of insn_gpr_use: a write of less than 32 bits keeps the rest, so it reads.
 */
static void zydis_gpr_use(const struct pair *p, u16 *read, u16 *written)
{
    u16 bit;
    *read = *written = 0;
    for (unsigned i = 0; i < p->zydis.operand_count; i++) {
        const ZydisDecodedOperand *z = &p->ops[i];
        if (z->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            register_bit(z->mem.base, &bit);
            *read |= bit;
            register_bit(z->mem.index, &bit);
            *read |= z->mem.type == ZYDIS_MEMOP_TYPE_MIB ? 0 : bit;
        } else if (z->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            unsigned width = register_bit(z->reg.value, &bit);
            if (z->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
                *read |= bit;
            if (z->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
                *written |= bit;
                if (width < 32 || !(z->actions & ZYDIS_OPERAND_ACTION_WRITE))
                    *read |= bit;
            }
        }
    }
}

static struct differences found;

static void compare_fact(const struct pair *p, const char *what, u32 ours, u32 theirs)
{
    if (ours != theirs && !fact_is_deliberate(p, what, ours, theirs))
        difference_add(&found, p, what, ours, theirs);
}

static void compare_gprs(const struct pair *p)
{
    u16 read, written, zydis_read, zydis_written;
    insn_gpr_use(&p->insn, &read, &written);
    zydis_gpr_use(p, &zydis_read, &zydis_written);
    compare_fact(p, gpr_read, read, zydis_read);
    compare_fact(p, gpr_written, written, zydis_written);
}

static void compare_flags(const struct pair *p)
{
    const struct insn_info *info = p->insn.info;
    u32 tested = 0, written = 0, undefined = 0;
    if (p->zydis.cpu_flags) {
        const ZydisAccessedFlags *f = p->zydis.cpu_flags;
        tested = f->tested;
        undefined = f->undefined;
        written = f->modified | f->set_0 | f->set_1 | f->undefined;
    }
    compare_fact(p, flags_read, info->flags_read & COMPARED_FLAGS, tested & COMPARED_FLAGS);
    compare_fact(p, flags_written, info->flags_write & COMPARED_FLAGS, written & COMPARED_FLAGS);
    compare_fact(p, flags_undefined, info->flags_undef & COMPARED_FLAGS, undefined & COMPARED_FLAGS);
}

static ZydisDecoder decoders[PAIR_MODES];
static void check(struct pair *p)
{
    pair_decode(p, decoders);
    if (p->status != DECODE_OK || !p->zydis_ok)
        return;
    compare_flags(p);
    compare_gprs(p);
}

static void finish(void)
{
    differences_print(&found);
    CHECK_EQ(found.total, 0);
    memset(&found, 0, sizeof found);
}

static void test_legacy(void)
{
    static const struct {
        u8 n, bytes[3];
    } prefixes[] = {{0},         {1, {0x66}},       {1, {0xf3}}, {1, {0xf2}},
                    {1, {0x48}}, {2, {0xf3, 0x48}}, {1, {0x45}}, {1, {0x67}}};
    u64 seed = 1;
    for (unsigned mode = 0; mode < PAIR_MODES; mode++)
        for (unsigned set = 0; set < ARRAY_LEN(prefixes); set++)
            for (unsigned map = 0; map < 4; map++)
                for (unsigned opcode = 0; opcode < 256; opcode++)
                    for (unsigned modrm = 0; modrm < 256; modrm++) {
                        struct pair p = {.mode = mode};
                        random_bytes(&seed, p.bytes, 32);
                        unsigned n = prefixes[set].n;
                        memcpy(p.bytes, prefixes[set].bytes, n);
                        if (map)
                            p.bytes[n++] = 0x0f;
                        if (map > 1)
                            p.bytes[n++] = map == 2 ? 0x38 : 0x3a;
                        p.bytes[n++] = opcode;
                        p.bytes[n++] = modrm;
                        if ((modrm & 7) < 2 || (modrm & 7) == 4)
                            check(&p);
                    }
    finish();
}

static void test_vex(void)
{
    u64 seed = 2;
    for (unsigned i = 0; i < 3 * 256 * 16 * 64; i++) {
        u64 r = random_u64(&seed);
        struct pair p = {.mode = DECODE_64, .bytes = {0xc4}};
        random_bytes(&seed, p.bytes + 8, 8);
        p.bytes[1] = 0xe0 | (i % 3 + 1);
        p.bytes[2] = r & 1 ? 0x78 | (r >> 8 & 0x87) : r >> 8;
        p.bytes[3] = i / 3;
        p.bytes[4] = r >> 16;
        check(&p);
    }
    finish();
}

static void test_evex(void)
{
    u64 seed = 3;
    for (unsigned i = 0; i < 6 * 256 * 16 * 64; i++) {
        u64 r = random_u64(&seed);
        struct pair p = {.mode = DECODE_64, .bytes = {0x62}};
        random_bytes(&seed, p.bytes + 8, 8);
        p.bytes[1] = 0xf0 | (i % 6 + 1);
        p.bytes[2] = (r & 1 ? 0x78 | (r >> 8 & 0x87) : r >> 8) | 4;
        p.bytes[3] = r & 2 ? (r >> 24 & 0x60) | 8 : r >> 24;
        p.bytes[4] = i / 6;
        p.bytes[5] = r >> 16;
        check(&p);
    }
    finish();
}

int main(void)
{
    pair_decoders_init(decoders);
    TAP_RUN(test_legacy);
    TAP_RUN(test_vex);
    TAP_RUN(test_evex);
    return tap_done();
}
