/*
 * The decoder against Zydis: length, legality, operands, memory form, immediates, mnemonic.
 *
 * By default a few million encodings (some seconds). RING3_DECODE_FULL=1 walks all ModRM bytes;
 * RING3_DECODE_RANDOM=N tries N random byte strings in each mode, RING3_DECODE_SEED=S other ones.
 */
#include "../tap.h"
#include "decode_zydis.h"

static ZydisDecoder decoders[PAIR_MODES];

/*
 * Deliberate difference 1: what Zydis knows and the decoder calls #UD, because no CPU model here will
 * advertise it.
 */
static const struct {
    ZydisISASet isa;
    const char *why;
} unsupported[] = {
    {ZYDIS_ISA_SET_AMD3DNOW, "3DNow!: gone from CPUs since 2011 (PREFETCH and PREFETCHW outlived it)"},
    {ZYDIS_ISA_SET_XOP, "AMD family 15h only"},
    {ZYDIS_ISA_SET_FMA4, "AMD family 15h only"},
    {ZYDIS_ISA_SET_TBM, "AMD family 15h only"},
    {ZYDIS_ISA_SET_LWP, "AMD family 15h only"},
    {ZYDIS_ISA_SET_MONITORX, "not advertised; MONITOR serves"},
    {ZYDIS_ISA_SET_AMD_INVLPGB, "not advertised (broadcast TLB invalidation)"},
    {ZYDIS_ISA_SET_SNP, "SEV-SNP"},
    {ZYDIS_ISA_SET_VTX, "Intel VMX, but for VMCALL: nested virtualization is SVM here"},
    {ZYDIS_ISA_SET_VMFUNC, "Intel VMX"},
    {ZYDIS_ISA_SET_SMX, "Intel TXT"},
    {ZYDIS_ISA_SET_SGX, "SGX"},
    {ZYDIS_ISA_SET_SGX_ENCLV, "SGX"},
    {ZYDIS_ISA_SET_TDX, "TDX"},
    {ZYDIS_ISA_SET_RTM, "transactional memory"},
    {ZYDIS_ISA_SET_TSX_LDTRK, "transactional memory"},
    {ZYDIS_ISA_SET_MPX, "removed from CPUs; its part of the hint space is NOP"},
    {ZYDIS_ISA_SET_CET, "shadow stacks are not advertised; their part of the hint space is NOP"},
    {ZYDIS_ISA_SET_UINTR, "user interrupts"},
    {ZYDIS_ISA_SET_ENQCMD, "needs PASID hardware"},
    {ZYDIS_ISA_SET_PT, "PTWRITE: processor trace"},
    {ZYDIS_ISA_SET_PCONFIG, "memory encryption keys"},
    {ZYDIS_ISA_SET_HRESET, "hybrid CPUs"},
    {ZYDIS_ISA_SET_KEYLOCKER, "Key Locker"},
    {ZYDIS_ISA_SET_KEYLOCKER_WIDE, "Key Locker"},
    {ZYDIS_ISA_SET_AMX_TILE, "AMX"},
    {ZYDIS_ISA_SET_AMX_INT8, "AMX"},
    {ZYDIS_ISA_SET_AMX_BF16, "AMX"},
    {ZYDIS_ISA_SET_AVX512ER_512, "Xeon Phi only"},
    {ZYDIS_ISA_SET_AVX512ER_SCALAR, "Xeon Phi only"},
    {ZYDIS_ISA_SET_AVX512PF_512, "Xeon Phi only"},
    {ZYDIS_ISA_SET_AVX512_4FMAPS_512, "Xeon Phi only"},
    {ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR, "Xeon Phi only"},
    {ZYDIS_ISA_SET_AVX512_4VNNIW_512, "Xeon Phi only"},
    {ZYDIS_ISA_SET_KNCV, "Knights Corner opmask branches"},
    {ZYDIS_ISA_SET_KNCJKBR, "Knights Corner opmask branches"},
    {ZYDIS_ISA_SET_KNC_MISC, "Knights Corner"},
    {ZYDIS_ISA_SET_KNCE, "Knights Corner"},
    {ZYDIS_ISA_SET_KNC_PF_HINT, "Knights Corner"},
    {ZYDIS_ISA_SET_KNCSTREAM, "Knights Corner"},
    {ZYDIS_ISA_SET_PADLOCK_ACE, "VIA"},
    {ZYDIS_ISA_SET_PADLOCK_PHE, "VIA"},
    {ZYDIS_ISA_SET_PADLOCK_PMM, "VIA"},
    {ZYDIS_ISA_SET_PADLOCK_RNG, "VIA"},
};

static bool is_unsupported(const struct pair *p)
{
    if (!p->zydis_ok)
        return false;
    for (unsigned i = 0; i < ARRAY_LEN(unsupported); i++)
        if (p->zydis.meta.isa_set == unsupported[i].isa && p->zydis.mnemonic != ZYDIS_MNEMONIC_VMCALL)
            return true;
    return false;
}

/*
 * Deliberate difference 2, operand access. No access is made by hints, UD0, UD1, INVLPG and cache line
 * instructions; Zydis says "read". A destination that may keep its value, or part of it, is read too; Zydis
 * counts a conditional write, or a scalar result in an XMM register whose rest stays, as a write only.
 */
static bool access_is_deliberate(const struct pair *p, const struct opnd *o, unsigned theirs)
{
    const struct insn_info *info = p->insn.info;
    if (o->access == ACCESS_NONE) {
        switch (p->insn.id) {
        case INSN_INVLPG:
        case INSN_UD0:
        case INSN_UD1:
        case INSN_CLFLUSH:
        case INSN_CLFLUSHOPT:
        case INSN_CLWB:
            return true;
        default:
            return info->attrs & ATTR_HINT;
        }
    }
    /* An opmask destination is zeroed where the mask is 0; Zydis says so for all but these. */
    if (o->kind == OPND_KREG && o->access == ACCESS_W && theirs == ACCESS_RW)
        return info->feature == FEAT_AVX512FP16;
    if (o->access != ACCESS_RW || theirs != ACCESS_W || o != &p->insn.opnd[0])
        return false;
    switch (p->insn.id) {
    case INSN_CMOVCC:
    case INSN_BSF:
    case INSN_BSR:
    case INSN_LAR:
    case INSN_LSL:
    case INSN_FCMOVB:
    case INSN_FCMOVE:
    case INSN_FCMOVBE:
    case INSN_FCMOVU:
    case INSN_FCMOVNB:
    case INSN_FCMOVNE:
    case INSN_FCMOVNBE:
    case INSN_FCMOVNU:
    case INSN_MOVLPS:
    case INSN_MOVLPD:
    case INSN_MOVHPS:
    case INSN_MOVHPD:
    case INSN_MOVHLPS:
    case INSN_MOVLHPS:
    case INSN_MOVSS:
    case INSN_MOVSD_SSE:
    case INSN_CVTPI2PS:
    case INSN_CVTSI2SS:
    case INSN_CVTSI2SD:
    case INSN_CVTSS2SD:
    case INSN_CVTSD2SS:
    case INSN_SQRTSS:
    case INSN_SQRTSD:
    case INSN_RCPSS:
    case INSN_RSQRTSS:
    case INSN_ROUNDSS:
    case INSN_ROUNDSD:
    case INSN_EXTRQ:
    case INSN_INSERTQ:
        return true;
    default:
        return p->insn.encoding == ENC_EVEX && p->insn.aaa && !p->insn.zeroing;
    }
}

/*
 * Deliberate difference 3, sizes: the cache line instructions name a byte (SDM: m8); MOVSXD with a 16-bit
 * operand reads 16 bits; LSL's source is a register of the operand size, of which 16 bits count; AMD's 16-bit
 * near branches (66 in 64-bit mode) have 16-bit operands, also where they are indirect (seen on hardware).
 */
static bool size_is_deliberate(const struct pair *p)
{
    switch (p->insn.id) {
    case INSN_CLFLUSH:
    case INSN_CLFLUSHOPT:
    case INSN_CLWB:
        return true;
    case INSN_MOVSXD:
        return p->insn.opsize == 2;
    case INSN_LSL:
        return p->insn.opsize == 8;
    case INSN_CALL_IND:
    case INSN_JMP_IND:
        return p->insn.opsize == 2 && pair_modes[p->mode] == (DECODE_64 | DECODE_AMD);
    default:
        return false;
    }
}

/* Zydis says JZ, JNB, JNBE, JNL, JNLE where the disassembler says JE, JAE, JA, JGE, JG. */
static bool condition_agrees(const struct pair *p)
{
    static const char *const names[16] = {"o", "no", "b", "nb", "z", "nz", "be", "nbe",
                                          "s", "ns", "p", "np", "l", "nl", "le", "nle"};
    const char *theirs = ZydisMnemonicGetString(p->zydis.mnemonic), *stem = p->insn.info->name;
    return strncmp(theirs, stem, strlen(stem)) == 0 &&
           strcmp(theirs + strlen(stem), names[p->insn.opcode & 15]) == 0;
}

/* Deliberate difference 4, names. */
static bool name_is_deliberate(const struct pair *p)
{
    switch (p->insn.id) {
    case INSN_JCC:
    case INSN_SETCC:
    case INSN_CMOVCC:
        return condition_agrees(p);
    case INSN_RETF:
        return p->zydis.mnemonic == ZYDIS_MNEMONIC_RET;
    case INSN_FNENI:
        return p->zydis.mnemonic == ZYDIS_MNEMONIC_FENI8087_NOP;
    case INSN_FNDISI:
        return p->zydis.mnemonic == ZYDIS_MNEMONIC_FDISI8087_NOP;
    case INSN_FNSETPM:
        return p->zydis.mnemonic == ZYDIS_MNEMONIC_FSETPM287_NOP;
    case INSN_ENDBR32: /* named although CET is off */
    case INSN_ENDBR64:
        return p->zydis.mnemonic == ZYDIS_MNEMONIC_NOP;
    case INSN_WBNOINVD: /* Zydis 4.0 does not name it, whatever its mode WBNOINVD says */
        return p->zydis.mnemonic == ZYDIS_MNEMONIC_WBINVD;
    case INSN_PREFETCHW: /* 0F 0D /3: AMD's alias */
        return p->zydis.mnemonic == ZYDIS_MNEMONIC_PREFETCH && (p->insn.modrm >> 3 & 7) == 3;
    default:
        return false;
    }
}

/*
 * Deliberate difference 5, whole instructions, all seen on hardware: F3 with REX.B and 90 is XCHG with R8,
 * not PAUSE; 0F 0D with a register is #UD on AMD.
 */
static bool whole_is_deliberate(const struct pair *p)
{
    if (p->status == DECODE_OK && p->insn.id == INSN_XCHG && p->insn.opcode == 0x90 && (p->insn.rex & 1))
        return p->zydis_ok && p->zydis.mnemonic == ZYDIS_MNEMONIC_PAUSE;
    if (p->status == DECODE_UD && p->zydis_ok && p->zydis.mnemonic == ZYDIS_MNEMONIC_NOP)
        return pair_modes[p->mode] & DECODE_AMD && p->zydis.opcode == 0x0d &&
               p->zydis.opcode_map == ZYDIS_OPCODE_MAP_0F && p->zydis.raw.modrm.mod == 3;
    return false;
}

/*
 * Deliberate difference 6: SIB base 101 with mod 00 is "no base, disp32" whatever REX.B says; Zydis 4.0 takes
 * R13D if 67 makes the address 32 bits wide (seen on hardware: R13D does not count).
 */
static bool base_is_deliberate(const struct pair *p, const ZydisDecodedOperand *z)
{
    return p->insn.mem.base == MEM_NO_REG && z->mem.base == ZYDIS_REGISTER_R13D && p->insn.adsize == 4 &&
           p->zydis.raw.sib.base == 5 && p->zydis.raw.modrm.mod == 0;
}

static ZydisRegister expected_register(const struct opnd *o)
{
    switch (o->kind) {
    case OPND_GPR:
        switch (o->size) {
        case 1:
            if (o->high)
                return ZYDIS_REGISTER_AH + o->reg;
            return o->reg < 4 ? ZYDIS_REGISTER_AL + o->reg : ZYDIS_REGISTER_SPL + (o->reg - 4);
        case 2:
            return ZYDIS_REGISTER_AX + o->reg;
        case 4:
            return ZYDIS_REGISTER_EAX + o->reg;
        default:
            return ZYDIS_REGISTER_RAX + o->reg;
        }
    case OPND_SEG:
        return ZYDIS_REGISTER_ES + o->reg;
    case OPND_CR:
        return ZYDIS_REGISTER_CR0 + o->reg;
    case OPND_DR:
        return ZYDIS_REGISTER_DR0 + o->reg;
    case OPND_ST:
        return ZYDIS_REGISTER_ST0 + o->reg;
    case OPND_MMX:
        return ZYDIS_REGISTER_MM0 + o->reg;
    case OPND_KREG:
        return ZYDIS_REGISTER_K0 + o->reg;
    case OPND_VEC:
        return (o->size == 16   ? ZYDIS_REGISTER_XMM0
                : o->size == 32 ? ZYDIS_REGISTER_YMM0
                                : ZYDIS_REGISTER_ZMM0) +
               o->reg;
    default:
        return ZYDIS_REGISTER_NONE;
    }
}

static ZydisRegister address_register(unsigned reg, unsigned adsize)
{
    if (reg == MEM_NO_REG)
        return ZYDIS_REGISTER_NONE;
    if (reg == MEM_REG_RIP)
        return adsize == 8 ? ZYDIS_REGISTER_RIP : ZYDIS_REGISTER_EIP;
    return (adsize == 8 ? ZYDIS_REGISTER_RAX : adsize == 4 ? ZYDIS_REGISTER_EAX : ZYDIS_REGISTER_AX) + reg;
}

static ZydisRegister index_register(const struct insn *insn)
{
    const struct insn_mem *mem = &insn->mem;
    if (!mem->vsib || mem->index == MEM_NO_REG)
        return address_register(mem->index, insn->adsize);
    return (mem->vsib_size == 16   ? ZYDIS_REGISTER_XMM0
            : mem->vsib_size == 32 ? ZYDIS_REGISTER_YMM0
                                   : ZYDIS_REGISTER_ZMM0) +
           mem->index;
}

static const char *compare_memory(const struct pair *p, const struct opnd *o, const ZydisDecodedOperand *z)
{
    const struct insn_mem *mem = &p->insn.mem;
    u64 mask = MASK(8 * p->insn.adsize);
    if (z->type != ZYDIS_OPERAND_TYPE_MEMORY)
        return "kind";
    if (z->mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
        z->mem.segment != (ZydisRegister)(ZYDIS_REGISTER_ES + mem->seg))
        return "segment";
    if (base_is_deliberate(p, z))
        return NULL;
    if (z->mem.base != address_register(mem->base, p->insn.adsize))
        return "base";
    if (z->mem.type != ZYDIS_MEMOP_TYPE_MIB && z->mem.index != index_register(&p->insn))
        return "index";
    if (z->mem.index != ZYDIS_REGISTER_NONE && mem->index != MEM_NO_REG && z->mem.scale != 1 << mem->scale)
        return "scale";
    if (((u64)z->mem.disp.value & mask) != ((u64)mem->disp & mask))
        return "displacement";
    if (z->mem.type != ZYDIS_MEMOP_TYPE_AGEN && z->size / 8 != o->size && o->size && !size_is_deliberate(p))
        return "memory size";
    return NULL;
}

static const char *compare_immediate(const struct pair *p, const struct opnd *o, const ZydisDecodedOperand *z)
{
    u64 value = o->kind == OPND_IMM2 ? p->insn.imm2 : p->insn.imm;
    if (o->kind == OPND_FAR) {
        if (z->type != ZYDIS_OPERAND_TYPE_POINTER)
            return "kind";
        return z->ptr.offset == p->insn.imm && z->ptr.segment == p->insn.imm2 ? NULL : "far pointer";
    }
    if (z->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
        return "kind";
    if (z->imm.is_relative != (o->kind == OPND_REL))
        return "relative";
    u64 mask = z->size ? MASK(z->size) : ~0ull;
    return (z->imm.value.u & mask) == (value & mask) ? NULL : "immediate";
}

static const char *compare_operand(const struct pair *p, const struct opnd *o, const ZydisDecodedOperand *z)
{
    unsigned access = (z->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? ACCESS_R : 0) |
                      (z->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? ACCESS_W : 0);
    const char *what;
    switch (o->kind) {
    case OPND_MEM:
        what = compare_memory(p, o, z);
        break;
    case OPND_IMM:
    case OPND_IMM2:
    case OPND_REL:
    case OPND_FAR:
        return compare_immediate(p, o, z);
    default:
        if (z->type != ZYDIS_OPERAND_TYPE_REGISTER)
            return "kind";
        what = z->reg.value == expected_register(o) || size_is_deliberate(p) ? NULL : "register";
    }
    if (what)
        return what;
    return access == o->access || access_is_deliberate(p, o, access) ? NULL : "access";
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    return strncmp(text, word, n) == 0 && (text[n] == ' ' || text[n] == '\0');
}

static const char *compare_name(const struct pair *p)
{
    static const char *const prefixes[] = {"lock ", "rep ", "repe ", "repne ", "es ",
                                           "cs ",   "ss ",  "ds ",   "fs ",    "gs "};
    char buf[160];
    const char *text = insn_format(buf, sizeof buf, &p->insn, 0);
    for (unsigned i = 0; i < ARRAY_LEN(prefixes); i++)
        if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0)
            text += strlen(prefixes[i]);
    return has_word(text, ZydisMnemonicGetString(p->zydis.mnemonic)) || name_is_deliberate(p) ? NULL
                                                                                              : "mnemonic";
}

static const char *compare_operands(const struct pair *p)
{
    unsigned ours = 0;
    /* The hint space's unnamed instructions: Zydis gives them various operands, here they have ModRM.rm. */
    if ((p->insn.id == INSN_NOP && p->insn.has_modrm) || p->insn.id == INSN_ENDBR32 ||
        p->insn.id == INSN_ENDBR64)
        return NULL;
    for (unsigned i = 0; i < p->zydis.operand_count; i++) {
        const ZydisDecodedOperand *z = &p->ops[i];
        if (z->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN || z->encoding == ZYDIS_OPERAND_ENCODING_MASK)
            continue;
        if (ours == p->insn.nopnds)
            return "more operands";
        const char *what = compare_operand(p, &p->insn.opnd[ours++], z);
        if (what)
            return what;
    }
    /* The XMM0 of BLENDV and SHA256RNDS2 is an operand here, hidden in Zydis. */
    if (ours + 1 == p->insn.nopnds && p->insn.encoding == ENC_LEGACY && p->insn.map == 2 &&
        p->insn.opnd[ours].kind == OPND_VEC && p->insn.opnd[ours].reg == 0)
        ours++;
    return ours == p->insn.nopnds ? NULL : "less operands";
}

/* Whether an instruction that is too long is one of `unsupported` when prefixes are not repeated. */
static bool is_unsupported_when_short(const struct pair *p)
{
    struct pair shorter = {.mode = p->mode};
    unsigned n = 0;
    for (unsigned i = 0; i < sizeof p->bytes; i++) {
        bool repeated = i < INSN_MAX_LEN &&
                        strchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", p->bytes[i]) &&
                        memchr(p->bytes + i + 1, p->bytes[i], INSN_MAX_LEN - 1 - i);
        if (!repeated || !p->bytes[i])
            shorter.bytes[n++] = p->bytes[i];
    }
    pair_decode(&shorter, decoders);
    return is_unsupported(&shorter) && shorter.status == DECODE_UD;
}

/*
 * Both refuse: for the same reason? Deliberate difference 7: where a prefix makes VEX or EVEX illegal and the
 * 15 bytes end inside the VEX or EVEX prefix, either reason is right.
 */
static bool refusal_agrees(const struct pair *p)
{
    bool too_long = p->zydis_status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
    if (p->status == DECODE_UD && too_long)
        return is_unsupported_when_short(p);
    if (p->status == DECODE_TOO_LONG && !too_long)
        return p->zydis_status == ZYDIS_STATUS_ILLEGAL_REX || p->zydis_status == ZYDIS_STATUS_ILLEGAL_LOCK ||
               p->zydis_status == ZYDIS_STATUS_ILLEGAL_LEGACY_PFX;
    return (p->status == DECODE_TOO_LONG) == too_long;
}

/* The first field that differs, NULL if none does. */
static const char *compare(const struct pair *p)
{
    if (is_unsupported(p))
        return p->status == DECODE_OK ? "supported" : NULL;
    if (whole_is_deliberate(p))
        return NULL;
    if ((p->status == DECODE_OK) != p->zydis_ok)
        return p->zydis_ok ? "illegal" : "legal";
    if (!p->zydis_ok)
        return refusal_agrees(p) ? NULL : "too long";
    if (p->insn.len != p->zydis.length)
        return "length";
    if (p->insn.adsize != p->zydis.address_width / 8)
        return "address size";
    const char *what = compare_operands(p);
    return what ? what : compare_name(p);
}

static struct differences found;
static unsigned long compared;

static void check(struct pair *p)
{
    pair_decode(p, decoders);
    compared++;
    const char *what = compare(p);
    if (what)
        difference_add(&found, p, what, 0, 0);
}

static unsigned long option(const char *name, unsigned long otherwise)
{
    const char *value = getenv(name);
    return value ? strtoul(value, NULL, 0) : otherwise;
}

static void finish(void)
{
    differences_print(&found);
    printf("# %lu compared\n", compared);
    CHECK_EQ(found.total, 0);
    memset(&found, 0, sizeof found);
    compared = 0;
}

/* Without RING3_DECODE_FULL: every reg with memory, disp8, disp32 and register forms, some rm. */
static bool modrm_is_chosen(unsigned modrm, bool full)
{
    unsigned rm = modrm & 7;
    return full || rm == (modrm >> 3 & 7) || (modrm >= 0xc0 && rm == 1) || modrm == 0x44 || modrm == 0x84;
}

static const struct {
    u8 n, bytes[5];
} prefix_sets[] = {
    {0},
    {1, {0x66}},
    {1, {0xf2}},
    {1, {0xf3}},
    {2, {0x66, 0xf2}},
    {2, {0x66, 0xf3}},
    {2, {0xf2, 0xf3}},
    {2, {0xf3, 0xf2}},
    {1, {0x48}},
    {2, {0x66, 0x48}},
    {2, {0xf2, 0x48}},
    {2, {0xf3, 0x4f}},
    {1, {0x40}},
    {1, {0x41}},
    {1, {0x42}},
    {1, {0x44}},
    {2, {0x48, 0x66}},
    {2, {0x4f, 0x40}},
    {1, {0xf0}},
    {2, {0xf0, 0x66}},
    {2, {0xf3, 0xf0}},
    {1, {0x67}},
    {2, {0x67, 0x66}},
    {1, {0x26}},
    {1, {0x2e}},
    {1, {0x36}},
    {1, {0x3e}},
    {1, {0x64}},
    {1, {0x65}},
    {2, {0x64, 0x3e}},
    {3, {0x65, 0x67, 0x4c}},
};

static void test_legacy_opcodes(void)
{
    bool full = option("RING3_DECODE_FULL", 0);
    u64 seed = 1;
    for (unsigned mode = 0; mode < PAIR_MODES; mode++)
        for (unsigned set = 0; set < ARRAY_LEN(prefix_sets); set++)
            for (unsigned map = 0; map < 4; map++)
                for (unsigned opcode = 0; opcode < 256; opcode++)
                    for (unsigned modrm = 0; modrm < 256; modrm++) {
                        if (!modrm_is_chosen(modrm, full))
                            continue;
                        struct pair p = {.mode = mode};
                        random_bytes(&seed, p.bytes, 32);
                        unsigned n = prefix_sets[set].n;
                        memcpy(p.bytes, prefix_sets[set].bytes, n);
                        if (map)
                            p.bytes[n++] = 0x0f;
                        if (map > 1)
                            p.bytes[n++] = map == 2 ? 0x38 : 0x3a;
                        p.bytes[n++] = opcode;
                        p.bytes[n++] = modrm;
                        check(&p);
                    }
    finish();
}

static void test_vex(void)
{
    bool full = option("RING3_DECODE_FULL", 0);
    u64 seed = 2;
    for (unsigned mode = 0; mode < PAIR_MODES - 1; mode++)
        for (unsigned map = 0; map < 5; map++)
            for (unsigned opcode = 0; opcode < 256; opcode++)
                for (unsigned fields = 0; fields < 16; fields++)
                    for (unsigned modrm = 0; modrm < 256; modrm++) {
                        if (!modrm_is_chosen(modrm, full))
                            continue;
                        struct pair p = {.mode = mode};
                        random_bytes(&seed, p.bytes, 32);
                        u64 r = random_u64(&seed);
                        unsigned vvvv = r & 1 ? 15 : r >> 1 & 15,
                                 extend = mode < 2 && (r & 32) ? 7 : r >> 6 & 7;
                        unsigned n = 0;
                        p.bytes[n++] = 0xc4;
                        p.bytes[n++] = extend << 5 | map;
                        p.bytes[n++] = (fields & 8) << 4 | vvvv << 3 | (fields & 7);
                        if (map == 1 && (r & 0x300) == 0) {
                            p.bytes[0] = 0xc5;
                            p.bytes[1] = (extend & 4) << 5 | vvvv << 3 | (fields & 7);
                            n = 2;
                        }
                        p.bytes[n++] = opcode;
                        p.bytes[n++] = modrm;
                        check(&p);
                    }
    finish();
}

static void test_evex(void)
{
    bool full = option("RING3_DECODE_FULL", 0);
    u64 seed = 3;
    for (unsigned mode = 0; mode < PAIR_MODES - 1; mode++)
        for (unsigned map = 0; map < 8; map++)
            for (unsigned opcode = 0; opcode < 256; opcode++)
                for (unsigned fields = 0; fields < 32; fields++)
                    for (unsigned modrm = 0; modrm < 256; modrm++) {
                        if (!modrm_is_chosen(modrm, full))
                            continue;
                        struct pair p = {.mode = mode};
                        random_bytes(&seed, p.bytes, 32);
                        u64 r = random_u64(&seed);
                        unsigned vvvv = r & 1 ? 15 : r >> 1 & 15, extend = r & 32 ? 15 : r >> 6 & 15;
                        unsigned z = (r >> 10 & 3) == 0, b = (r >> 12 & 3) == 0, v2 = (r >> 14 & 3) != 0;
                        unsigned aaa = r & 0x10000 ? 0 : r >> 17 & 7;
                        p.bytes[0] = 0x62;
                        p.bytes[1] = extend << 4 | map | ((r >> 20 & 63) == 0 ? 8 : 0);
                        p.bytes[2] =
                            (fields & 4) << 5 | vvvv << 3 | ((r >> 26 & 63) == 0 ? 0 : 4) | (fields & 3);
                        p.bytes[3] = z << 7 | (fields >> 3) << 5 | b << 4 | v2 << 3 | aaa;
                        p.bytes[4] = opcode;
                        p.bytes[5] = modrm;
                        check(&p);
                    }
    finish();
}

/* Found by long runs; kept as they were found. */
static void test_found_before(void)
{
    static const u8 found_before[][16] = {
        /* too long and not supported (CLRSSBSY): which of the two is said first */
        {0x3e, 0xf3, 0x67, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x65, 0x0f, 0xae, 0xb5, 0x8d, 0x6f, 0x38},
        /* the 15 bytes end inside an EVEX prefix that REX makes illegal */
        {0x41, 0x2e, 0xf2, 0x67, 0x66, 0x65, 0xf0, 0x41, 0x2e, 0xf2, 0x48, 0xf0, 0x41, 0x62, 0x05, 0x9b},
        /* no base, although REX.B is set */
        {0x67, 0x66, 0x49, 0xd1, 0x0c, 0x4d, 0x48, 0x93, 0x1c, 0xef},
        /* EVEX.R' does not count outside 64-bit mode */
        {0x62, 0xc1, 0x05, 0x0b, 0xe2, 0x9f, 0x79, 0xf0, 0x66, 0xc8},
    };
    for (unsigned i = 0; i < ARRAY_LEN(found_before); i++)
        for (unsigned mode = 0; mode < PAIR_MODES; mode++) {
            struct pair p = {.mode = mode};
            memcpy(p.bytes, found_before[i], sizeof found_before[i]);
            check(&p);
        }
    finish();
}

static void test_random_bytes(void)
{
    unsigned long count = option("RING3_DECODE_RANDOM", 200000);
    static const u8 prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x3e, 0x64,
                                  0x65, 0x48, 0x41, 0x4c, 0x0f, 0xc4, 0xc5, 0x62};
    u64 seed = option("RING3_DECODE_SEED", 4);
    for (unsigned mode = 0; mode < PAIR_MODES; mode++)
        for (unsigned long i = 0; i < count; i++) {
            struct pair p = {.mode = mode};
            random_bytes(&seed, p.bytes, 32);
            u64 r = random_u64(&seed);
            /* One string in two as it is, the others with a run of likely prefixes. */
            for (unsigned n = 0; (r & 1) && n < 14; n++, r >>= 1)
                p.bytes[n] = prefixes[r >> 40 & 15];
            check(&p);
        }
    finish();
}

int main(void)
{
    pair_decoders_init(decoders);
    TAP_RUN(test_legacy_opcodes);
    TAP_RUN(test_vex);
    TAP_RUN(test_evex);
    TAP_RUN(test_found_before);
    TAP_RUN(test_random_bytes);
    return tap_done();
}
