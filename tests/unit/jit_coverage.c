/*
 * Which instructions of 64-bit user code the translator leaves to the interpreter: every form of the table
 * with register and memory operands, lowered for a CPU with all that the host has. The list below may not
 * grow. With -v: the list, with an example of each.
 */
#include "tests/tap.h"
#define GUEST_ENGINE jit_engine
#include "tests/unit/interp_vm.h"
#include "engine/jit/lower.h"

static struct translation t;
static struct block block;
static struct link links[BLOCK_MAX];
static u8 code[4096];
static bool verbose;

static struct {
    unsigned native, left;
    struct insn example; /* that is left */
} seen[INSN_COUNT];

/* Is the instruction lowered, by itself? */
static bool is_lowered(struct jit *j, const struct insn *insn)
{
    t.j = j;
    t.b = &block;
    t.link = links;
    t.e = (struct emitter){.p = code, .end = code + sizeof code};
    t.count = 1;
    t.links = t.tails = t.groups = 0;
    t.vectors = t.high = t.x87 = t.ended = false;
    t.x87_insn = t.x87_data = 0;
    t.insn[0] = *insn;
    t.rip[0] = GUEST_CODE;
    t.rip[1] = GUEST_CODE + insn->len;
    t.live[0] = t.live[1] = FLAGS_ARITH;
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        t.slot[0][s].group = GROUP_NONE;
    lower_fn lower = lower_find(&t, 0);
    bool lowered = lower && lower(&t, 0);
    return lowered;
}

/* What users may execute and the CPU has. */
static bool is_wanted(const struct vcpu *v, const struct insn *insn)
{
    const struct insn_info *info = insn->info;
    if ((info->attrs & (ATTR_PRIVILEGED | ATTR_IOPL)) || info->klass == CLASS_IO)
        return false;
    return cpu_has(v, info->feature) && cpu_has(v, info->feature2);
}

static void try_bytes(struct vcpu *v, const u8 *bytes)
{
    struct insn insn;
    if (insn_decode(&insn, bytes, INSN_MAX_LEN, v->decode_mode) != DECODE_OK || !is_wanted(v, &insn))
        return;
    if (is_lowered(v->engine, &insn)) {
        seen[insn.id].native++;
    } else {
        seen[insn.id].left++;
        seen[insn.id].example = insn;
    }
}

/* ModRM: every register form, [rsi + disp8], [rip + disp32], [rsi + rcx]. */
static void try_modrm(struct vcpu *v, const u8 *head, unsigned len)
{
    for (unsigned modrm = 0; modrm < 256; modrm++) {
        u8 b[32] = {0};
        if (modrm < 0xc0 && (modrm & 0xc7) != 0x46 && (modrm & 0xc7) != 0x05 && (modrm & 0xc7) != 0x04)
            continue;
        memcpy(b, head, len);
        b[len] = (u8)modrm;
        b[len + 1] = (modrm & 0xc7) == 0x04 ? 0x0e : 0x20; /* [rsi + rcx] */
        try_bytes(v, b);
    }
}

static void try_legacy(struct vcpu *v)
{
    static const u8 prefixes[] = {0, 0x66, 0xf2, 0xf3, 0xf0};
    for (unsigned n = 0; n < 5 * 3 * 4 * 256; n++) {
        u8 b[8];
        unsigned len = 0, prefix = prefixes[n / 3072 % 5], rex = n / 1024 % 3, map = n / 256 % 4;
        if (prefix)
            b[len++] = (u8)prefix;
        if (rex)
            b[len++] = rex == 1 ? 0x48 : 0x4d;
        if (map)
            b[len++] = 0x0f;
        if (map > 1)
            b[len++] = map == 2 ? 0x38 : 0x3a;
        b[len++] = (u8)n;
        try_modrm(v, b, len);
    }
}

static void try_vex(struct vcpu *v)
{
    for (unsigned n = 0; n < 3 * 2 * 2 * 4 * 256; n++) {
        unsigned map = 1 + n / 4096, w = n / 2048 & 1, l = n / 1024 & 1, pp = n / 256 & 3;
        for (unsigned vvvv = 0x68; vvvv <= 0x78; vvvv += 0x10) {
            u8 b[4] = {0xc4, (u8)(0xe0 | map), (u8)(w << 7 | vvvv | l << 2 | pp), (u8)n};
            try_modrm(v, b, 4);
        }
    }
}

static void try_evex(struct vcpu *v)
{
    static const u8 maps[] = {1, 2, 3, 5, 6}, last[] = {0x08, 0x0b, 0x8b, 0x18, 0x1b};
    for (unsigned n = 0; n < 5 * 5 * 3 * 2 * 4 * 256; n++) {
        unsigned map = maps[n / (6144 * 5)], tail = last[n / 6144 % 5], l = n / 2048 % 3, w = n / 1024 & 1,
                 pp = n / 256 & 3;
        for (unsigned vvvv = 0x6c; vvvv <= 0x7c; vvvv += 0x10) {
            u8 b[6] = {0x62, (u8)(0xf0 | map), (u8)(w << 7 | vvvv | pp), (u8)(tail | l << 5), (u8)n};
            try_modrm(v, b, 5);
        }
    }
}

/* What may be left, of an instruction: some forms (operand sizes that are rare, AH..BH beside a memory
 * operand, a bit offset in a register), or all. */
enum { NOTHING, SOME, ALL };
static const u8 left[INSN_COUNT] = {
/* clang-format off */
#define LEFT(id) [INSN_##id] = SOME,
    LEFT(ADD) LEFT(OR) LEFT(ADC) LEFT(SBB) LEFT(AND) LEFT(SUB) LEFT(XOR) LEFT(CMP) LEFT(PUSH) LEFT(POP)
    LEFT(JCC) LEFT(TEST) LEFT(XCHG) LEFT(MOV) LEFT(LEA) LEFT(PUSHF) LEFT(POPF) LEFT(RET) LEFT(LEAVE)
    LEFT(CALL) LEFT(JMP) LEFT(DIV) LEFT(IDIV) LEFT(CALL_IND) LEFT(JMP_IND) LEFT(BT) LEFT(BTS) LEFT(CMPXCHG)
    LEFT(BTR) LEFT(MOVZX) LEFT(BTC) LEFT(MOVSX) LEFT(XADD) LEFT(BSWAP) LEFT(CRC32) LEFT(EXTRQ) LEFT(INSERTQ)
#undef LEFT
#define LEFT(id) [INSN_##id] = ALL,
    LEFT(PUSH_SEG) LEFT(POP_SEG) LEFT(MOV_SEG) LEFT(CALL_FAR) LEFT(MOVS) LEFT(CMPS) LEFT(STOS) LEFT(LODS)
    LEFT(SCAS) LEFT(ENTER) LEFT(RETF) LEFT(INT3) LEFT(INT) LEFT(IRET) LEFT(XLAT) LEFT(LOOPNE) LEFT(LOOPE)
    LEFT(LOOP) LEFT(JCXZ) LEFT(JMP_FAR) LEFT(INT1) LEFT(SLDT) LEFT(STR) LEFT(VERR) LEFT(VERW) LEFT(SGDT)
    LEFT(SIDT) LEFT(SMSW) LEFT(VMCALL) LEFT(XGETBV) LEFT(VMMCALL) LEFT(RDPKRU) LEFT(WRPKRU) LEFT(RDTSCP)
    LEFT(LAR) LEFT(LSL) LEFT(UD2) LEFT(PREFETCHWT1) LEFT(CLDEMOTE) LEFT(RDTSC) LEFT(RDPMC) LEFT(SYSENTER)
    LEFT(CPUID) LEFT(RSM) LEFT(FXSAVE) LEFT(FXRSTOR) LEFT(XSAVE) LEFT(XRSTOR) LEFT(XSAVEOPT) LEFT(CLFLUSH)
    LEFT(CLWB) LEFT(CLFLUSHOPT) LEFT(RDFSBASE) LEFT(RDGSBASE) LEFT(WRFSBASE) LEFT(WRGSBASE) LEFT(LSS)
    LEFT(LFS) LEFT(LGS) LEFT(UD1) LEFT(XSAVEC) LEFT(RDRAND) LEFT(RDSEED) LEFT(RDPID) LEFT(UD0) LEFT(FLDENV)
    LEFT(FNSTENV) LEFT(FNCLEX) LEFT(FNINIT) LEFT(FRSTOR) LEFT(FNSAVE) LEFT(MASKMOVQ) LEFT(MASKMOVDQU)
    LEFT(VMASKMOVDQU) LEFT(VPGATHERDD) LEFT(VPGATHERDQ) LEFT(VPGATHERQD) LEFT(VPGATHERQQ) LEFT(VGATHERDPS)
    LEFT(VGATHERDPD) LEFT(VGATHERQPS) LEFT(VGATHERQPD) LEFT(VPSCATTERDD) LEFT(VPSCATTERDQ) LEFT(VPSCATTERQD)
    LEFT(VPSCATTERQQ) LEFT(VSCATTERDPS) LEFT(VSCATTERDPD) LEFT(VSCATTERQPS) LEFT(VSCATTERQPD)
#undef LEFT
    /* clang-format on */
};

static void test_coverage(void)
{
    struct guest *g = guest_create(1);
    struct vcpu *v = g->cpu[0];
    char text[128];
    guest_mode64(g, v);
    block.mode = MODE_USER | MODE_SSE | MODE_AVX | MODE_AVX512 | MODE_X87;
    try_legacy(v);
    try_vex(v);
    try_evex(v);
    for (unsigned id = 1; id < INSN_COUNT; id++) {
        unsigned now = !seen[id].left ? NOTHING : seen[id].native ? SOME : ALL;
        if (now && (verbose || now > left[id]))
            printf("# left %s: %s\n", now == SOME ? "in part" : "wholly",
                   insn_format(text, sizeof text, &seen[id].example, GUEST_CODE));
        CHECK(now <= left[id]);
    }
    guest_destroy(g);
}

int main(int argc, char **argv)
{
    verbose = argc > 1;
    TAP_RUN(test_coverage);
    return tap_done();
}
