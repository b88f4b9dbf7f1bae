/*
 * Bytes to instruction. Pure: no state, no memory but its arguments, any thread.
 *
 * One table (insn_table.def) says what exists: encoding, operands, registers and flags read and written,
 * feature, attributes. The decoder, the interpreter's dispatch, the translator and the disassembler are
 * derived from it. Source: Intel SDM vol. 2 (appendix A), AMD APM vol. 3.
 */
#ifndef RING3_CPU_DECODE_DECODE_H
#define RING3_CPU_DECODE_DECODE_H

#include "base/types.h"
#include "cpu/decode/feature.h"

#define INSN_MAX_LEN 15

/* How bytes are read: CS.D / CS.L, and whose rules decide where vendors differ. */
enum decode_mode {
    DECODE_16 = 0,
    DECODE_32 = 1,
    DECODE_64 = 2,
    DECODE_BITS = 3,
    DECODE_REAL = 4, /* real or virtual-8086 mode: no VEX/EVEX (C4, C5, 62 are LES, LDS, BOUND) */
    DECODE_AMD = 8,  /* AMD rules: in 64-bit mode 66h makes near branches 16 bits wide */
};

/* Mnemonic-level identity: INSN_ADD, INSN_VPADDD, ... generated from the table. Forms whose meaning differs
 * have ids of their own (see the table's head comment). */
enum insn_id {
    INSN_INVALID = 0,
#define INSN_ID(id, name) INSN_##id,
#include "cpu/decode/insn_ids.def"
#undef INSN_ID
    INSN_COUNT
};

enum insn_prefix {
    PREFIX_LOCK = BIT(0),
    PREFIX_REPNE = BIT(1), /* F2, when it is a prefix and not part of the opcode */
    PREFIX_REP = BIT(2),   /* F3, likewise */
    PREFIX_OPSIZE = BIT(3),
    PREFIX_ADSIZE = BIT(4),
    PREFIX_SEG = BIT(5), /* some segment override was seen (insn.mem.seg has the effect) */
    PREFIX_REX = BIT(6),
};

enum insn_encoding { ENC_LEGACY, ENC_VEX, ENC_EVEX };

enum opnd_kind {
    OPND_NONE,
    OPND_GPR,  /* reg 0..15, size 1, 2, 4, 8; `high` set for AH, CH, DH, BH (reg is then 0..3) */
    OPND_MEM,  /* insn.mem */
    OPND_IMM,  /* insn.imm, already sign- or zero-extended to 64 bits as the instruction demands */
    OPND_IMM2, /* insn.imm2 (ENTER's level, EXTRQ/INSERTQ) */
    OPND_REL,  /* insn.imm is the signed displacement from the next instruction */
    OPND_FAR,  /* far pointer: insn.imm is the offset, insn.imm2 the selector */
    OPND_SEG,  /* reg 0..5: ES CS SS DS FS GS */
    OPND_CR,   /* reg 0..15 */
    OPND_DR,   /* reg 0..15 */
    OPND_ST,   /* reg 0..7 */
    OPND_MMX,  /* reg 0..7 */
    OPND_VEC,  /* xmm/ymm/zmm: reg 0..31, size 16, 32, 64 (the register's; scalar forms say 16) */
    OPND_KREG, /* reg 0..7 */
};

enum opnd_access { ACCESS_R = 1, ACCESS_W = 2, ACCESS_RW = 3, ACCESS_NONE = 0 /* LEA, NOP, prefetch */ };

/* One explicit operand, in the order of Intel's syntax. */
struct opnd {
    u8 kind; /* enum opnd_kind */
    u8 reg;
    u8 access; /* enum opnd_access */
    bool high;
    u16 size; /* bytes of the register, memory (0 if unknown, e.g. FXSAVE is 512, XSAVE is 0) or immediate */
};

#define MEM_NO_REG  0xff
#define MEM_REG_RIP 0xfe

struct insn_mem {
    u8 seg;       /* effective segment: 0..5 = ES CS SS DS FS GS, defaults and overrides applied */
    u8 base;      /* 0..15, MEM_REG_RIP (relative to the *next* instruction) or MEM_NO_REG */
    u8 index;     /* 0..15 (0..31 with `vsib`) or MEM_NO_REG */
    u8 scale;     /* shift count 0..3 */
    bool vsib;    /* index is a vector register */
    u8 vsib_size; /* bytes of the index vector register: 16, 32, 64 */
    u8 broadcast; /* EVEX.b on memory: bytes of the one element that is read (2, 4, 8); else 0 */
    s64 disp;     /* sign-extended; EVEX disp8*N applied; moffs: the full offset */
};

struct insn {
    u16 id; /* enum insn_id */
    u8 len;
    u8 mode;     /* enum decode_mode, as passed */
    u8 opsize;   /* effective operand size in bytes: 2, 4, 8, and 1 for byte forms */
    u8 adsize;   /* effective address size in bytes: 2, 4, 8 */
    u8 prefixes; /* enum insn_prefix */
    u8 rex;      /* 40h..4Fh or 0 */
    u8 encoding; /* enum insn_encoding */
    u8 map;      /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A, 5, 6: EVEX maps */
    u8 opcode;
    u8 pp; /* mandatory prefix that chose the form: 0 none, 1: 66, 2: F3, 3: F2 */
    u8 w;  /* REX.W / VEX.W */
    u8 vl; /* vector length: 0: 128, 1: 256, 2: 512 */
    bool has_modrm;
    u8 modrm;
    u8 aaa;       /* EVEX opmask register, 0 = none */
    bool zeroing; /* EVEX.z */
    bool evex_b;  /* EVEX.b: broadcast with memory; rounding or SAE with registers (then vl is as encoded in
                     `rounding`, the operation is scalar or 512 bits) */
    u8 rounding;  /* EVEX.L'L of a register form with evex_b */
    u8 nopnds;
    struct opnd opnd[5];
    struct insn_mem mem;
    u64 imm, imm2;
    const struct insn_info *info;
    /* An engine's note about this instance (which native stub executes it). All zero when decoded. */
    struct {
        u32 generation, slot;
    } aux;
};

enum insn_class {
    CLASS_INT,    /* integer, bit, BMI, stack */
    CLASS_BRANCH, /* near and far transfers, INT, IRET, LOOP, Jcc */
    CLASS_STRING,
    CLASS_SYSTEM, /* privileged, segment, descriptor, CR/DR/MSR, CPUID, TSC, XSAVE family */
    CLASS_IO,     /* IN, OUT, INS, OUTS */
    CLASS_X87,
    CLASS_MMX,
    CLASS_SSE, /* legacy-encoded vector */
    CLASS_VEX, /* VEX-encoded vector (VEX general-purpose instructions are CLASS_INT) */
    CLASS_EVEX,
};

enum insn_attr {
    ATTR_LOCKABLE = BIT(0),   /* LOCK allowed when the destination is memory */
    ATTR_PRIVILEGED = BIT(1), /* CPL 0 only, always */
    ATTR_IOPL = BIT(2),       /* IOPL or the I/O bitmap decides */
    ATTR_ENDS_BLOCK = BIT(3), /* changes control flow or the mode of decoding */
    ATTR_COND = BIT(4),       /* conditional branch */
    ATTR_CALL = BIT(5),
    ATTR_RET = BIT(6),
    ATTR_ALIGNED = BIT(7),      /* memory operand must be aligned to its size (#GP) */
    ATTR_UNALIGNED_OK = BIT(8), /* legacy SSE operand that need not be aligned (MOVUPS, scalar, ...) */
    ATTR_REP = BIT(9),          /* REP/REPE/REPNE iterate */
    ATTR_PROTECTED = BIT(10),   /* #UD in real and virtual-8086 mode (LLDT, LAR, SYSRET, ...) */
    ATTR_X87_CONTROL = BIT(11), /* does not update FIP, FDP, FOP */
    ATTR_X87_NOWAIT = BIT(12),  /* does not report pending x87 exceptions (FNINIT, FNSTSW, ...) */
    ATTR_MMX_NO_TRANSITION =
        BIT(13),          /* an instruction with MMX registers or none that leaves the x87 tag word alone */
    ATTR_MXCSR = BIT(14), /* depends on or changes MXCSR (floating point) */
    ATTR_MASK_ELEMENT =
        BIT(15), /* EVEX memory operand: masked-off elements are not accessed (fault suppression) */
    ATTR_REGS_ONLY = BIT(16),
    ATTR_MEM_ONLY = BIT(17),
    ATTR_HINT = BIT(18), /* NOP-like: no effect on architectural state (NOP, PREFETCH, ENDBR) */
};

/* Facts about one row of the table: shared by all instances. */
struct insn_info {
    const char *name; /* lower case mnemonic */
    u8 klass;         /* enum insn_class */
    u8 element;       /* bytes of a vector element for masking and broadcast; 0 if not a vector form */
    u16 feature;      /* enum cpu_feature that must be present, FEAT_BASE for none */
    u16 feature2;     /* second required feature or FEAT_BASE (e.g. AVX512VL, VAES + AVX) */
    u32 attrs;        /* enum insn_attr */
    u16 gpr_read;     /* implicit registers only, bit per register number; explicit ones are operands */
    u16 gpr_write;
    u32 flags_read;  /* EFLAGS bits tested */
    u32 flags_write; /* EFLAGS bits written (set, cleared, computed or left undefined) */
    u32 flags_undef; /* of flags_write, those left undefined */
};

enum decode_status {
    DECODE_OK = 0,
    DECODE_NEED_MORE = -1, /* the bytes end inside the instruction (and it is shorter than 16 so far) */
    DECODE_UD = -2,        /* illegal encoding: #UD */
    DECODE_TOO_LONG = -3,  /* more than 15 bytes: #GP(0) */
};

/*
 * Decodes the instruction at `bytes[0..avail)`; reads no byte beyond what it needs, and none past `avail`.
 * Fills `*out` on DECODE_OK. Illegal LOCK use, illegal register numbers, reserved VEX/EVEX bits and
 * mode-dependent illegality (e.g. PUSH ES in 64-bit mode) are DECODE_UD. Whether the CPU model has the
 * instruction's feature, privilege, and CR0/CR4 enables are the engine's checks.
 */
enum decode_status insn_decode(struct insn *out, const u8 *bytes, size_t avail, unsigned mode);

/* Which field of the encoding names operand `i`: for those who encode the instruction anew. */
enum insn_field {
    FIELD_NONE, /* implied, an immediate, or in the opcode byte */
    FIELD_REG,  /* ModRM.reg */
    FIELD_RM,   /* ModRM.rm (and memory) */
    FIELD_VVVV, /* VEX/EVEX.vvvv */
    FIELD_IS4,  /* imm8[7:4] */
};
enum insn_field insn_opnd_field(const struct insn *insn, unsigned i);
/* Is operand `i` a general register, or memory where the register form has one? */
bool insn_opnd_is_gpr(const struct insn *insn, unsigned i);

/* GPRs read and written by this instance, explicit, implicit and in the address, bit per register. */
void insn_gpr_use(const struct insn *insn, u16 *read, u16 *written);

/* Intel syntax, NUL-terminated, at most `size` bytes; returns `buf`. `rip` is the instruction's own address.
 */
char *insn_format(char *buf, size_t size, const struct insn *insn, u64 rip);

const char *insn_name(unsigned id);

static inline const struct opnd *insn_mem_opnd(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == OPND_MEM)
            return &insn->opnd[i];
    return NULL;
}

#endif
