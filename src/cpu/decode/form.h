/*
 * The instruction table's row language: what a FORM is made of. Private to the decoder.
 *
 * A row is
 *     INSN(id, "name", space, opcode, match, OPS(...), facts...)     the first form of a mnemonic
 *     FORM(id,         space, opcode, match, OPS(...), facts...)     any further form
 * Rows of one opcode stand together (the index finds the last one; the decoder walks back), and the later row
 * wins where two match. insn_table.def includes all rows.
 */
#ifndef RING3_CPU_DECODE_FORM_H
#define RING3_CPU_DECODE_FORM_H

#include "cpu/decode/decode.h"

/* Opcode spaces: legacy one-byte, 0F, 0F38, 0F3A; VEX maps 1..3; EVEX maps 1, 2, 3, 5, 6. */
enum opcode_space { M0, M1, M2, M3, V1, V2, V3, E1, E2, E3, E5, E6, SPACE_COUNT };

/*
 * `match`: for each property of the instruction a set of allowed values; an empty set allows all. The decoder
 * makes the same word one-hot from the bytes, so that matching is one AND.
 */
#define NP         BIT(0) /* no 66, F2, F3 */
#define P66        BIT(1)
#define PF3        BIT(2)
#define PF2        BIT(3)
#define NFX        (NP | P66) /* 66 is the operand size, F2 and F3 select another instruction or none */
#define MEM        BIT(4)     /* ModRM.mod != 3 */
#define REG        BIT(5)
#define SLASH(n)   BIT(6 + (n))  /* ModRM.reg */
#define RM(n)      BIT(14 + (n)) /* ModRM.rm */
#define W0         BIT(22)
#define W1         BIT(23)
#define L0         BIT(24)
#define L1         BIT(25)
#define L2         BIT(26)
#define L01        (L0 | L1)
#define LIG        (L0 | L1 | L2) /* the length is ignored, but 3 is reserved */
#define ONLY64     BIT(28)
#define NO64       BIT(29)
#define B0         BIT(30) /* REX.B clear (90 is NOP, 41 90 is XCHG) */
#define B1         BIT(31)
#define MATCH_BITS 32

/* How to decode, in the same word. */
#define D64               BIT(32)             /* 64-bit mode: operand size is 8, or 2 with 66 */
#define NEAR              BIT(33)             /* near branch: 8; AMD: 2 with 66 */
#define BYTE              BIT(34)             /* operand size is 1 */
#define NOMOD             BIT(35)             /* ModRM.mod is ignored: rm is a register */
#define K                 BIT(36)             /* EVEX: merge masking allowed */
#define KZ                (BIT(36) | BIT(37)) /* ... and zeroing */
#define KREQ              (BIT(36) | BIT(38)) /* ... a mask is required (gather, scatter) */
#define ER                BIT(39)             /* EVEX.b with registers: embedded rounding */
#define SAE               BIT(40)             /* EVEX.b with registers: suppress all exceptions */
#define EB                BIT(48)             /* EVEX.b with registers: ignored, the conversion is exact */
#define BC2               BIT(41) /* EVEX.b with memory: broadcast of one element of 2, 4, 8 bytes */
#define BC4               BIT(42)
#define BC8               BIT(43)
#define DISP_EL           BIT(44)       /* EVEX disp8 is scaled by the element (gather, compress) */
#define DISTINCT          BIT(45)       /* gather: destination, index (and mask) must differ */
#define NO_DEST_SRC       BIT(46)       /* EVEX: destination must differ from the sources (VFCMULCPH ...) */
#define NOT_AMD           BIT(47)       /* #UD by AMD's rules */
#define PLUS8             (7ull << 60)  /* the row covers 8 opcodes */
#define PLUS16            (15ull << 60) /* ... 16 */
#define MATCH_SPAN(match) ((match) >> 60)

#define GROUP_ALLOW(m, g) (((m) & (g)) ? ((m) & (g)) : (g))
#define MATCH_ALLOW(m)                                                                                       \
    (GROUP_ALLOW(m, 0xfull) | GROUP_ALLOW(m, 0x30ull) | GROUP_ALLOW(m, 0x3fc0ull) |                          \
     GROUP_ALLOW(m, 0x3fc000ull) | GROUP_ALLOW(m, 0xc00000ull) | GROUP_ALLOW(m, 0xf000000ull) |              \
     GROUP_ALLOW(m, 0x30000000ull) | GROUP_ALLOW(m, 0xc0000000ull))
#define MATCH_NEEDS_MODRM (0x3ffff0ull)

/* Where an operand comes from; the letters are those of SDM vol. 2 appendix A.2 where it has one. */
enum opnd_source {
    SRC_NONE,
    /* fixed, or in the opcode */
    SRC_Z,  /* opcode bits 0..2, REX.B */
    SRC_A,  /* AL, AX, EAX, RAX */
    SRC_CL, /* CL, ECX */
    SRC_DX,
    SRC_1,    /* the constant 1 (shifts) */
    SRC_SREG, /* a fixed segment register: the size field holds the number */
    SRC_ST0,
    SRC_XMM0, /* the implied XMM0 of BLENDV, SHA256RNDS2 */
    /* bytes that follow */
    SRC_BYTES,
    SRC_IZ = SRC_BYTES, /* immediate, zero-extended */
    SRC_IS,             /* immediate, sign-extended */
    SRC_IV,             /* immediate of the full operand size (MOV B8) */
    SRC_I2,             /* second immediate byte */
    SRC_J,              /* branch displacement */
    SRC_O,              /* moffs */
    SRC_AP,             /* far pointer */
    /* ModRM.rm */
    SRC_RM,
    SRC_E = SRC_RM, /* GPR or memory */
    SRC_M,          /* memory */
    SRC_R,          /* GPR */
    SRC_STI,        /* x87 register */
    SRC_Q,          /* MMX or memory */
    SRC_N,          /* MMX */
    SRC_W,          /* vector or memory */
    SRC_U,          /* vector */
    SRC_VM,         /* memory with vector index */
    SRC_KE,         /* opmask or memory */
    SRC_KR,         /* opmask */
    /* ModRM.reg */
    SRC_REG,
    SRC_G = SRC_REG, /* GPR */
    SRC_S,           /* segment register */
    SRC_C,           /* control register */
    SRC_D,           /* debug register */
    SRC_P,           /* MMX */
    SRC_V,           /* vector */
    SRC_L,           /* imm8[7:4]: vector */
    SRC_KG,          /* opmask */
    /* VEX.vvvv */
    SRC_VVVV,
    SRC_B = SRC_VVVV, /* GPR */
    SRC_H,            /* vector */
    SRC_KH,           /* opmask */
};

/* Operand sizes. A name with two parts is register_memory. */
enum opnd_size {
    SZ_0,
    SZ_b,
    SZ_w,
    SZ_d,
    SZ_q,
    SZ_dq,
    SZ_qq,
    SZ_oq,  /* 1, 2, 4, 8, 16, 32, 64 */
    SZ_t,   /* 10 */
    SZ_v,   /* operand size: 2, 4, 8 */
    SZ_z,   /* 2, 4, 4 */
    SZ_y,   /* 4, or 8 with W in 64-bit mode */
    SZ_n,   /* the mode's native size: 4, or 8 in 64-bit mode */
    SZ_p,   /* far pointer in memory: 2 + operand size */
    SZ_s,   /* pseudo-descriptor: 6, or 10 in 64-bit mode */
    SZ_a,   /* BOUND: two of the operand size */
    SZ_adr, /* address size (MOVDIR64B, UMONITOR) */
    SZ_v_w, /* register of the operand size, memory of 2 bytes */
    SZ_d_b,
    SZ_d_w, /* register of 4 bytes, memory of 1, 2 */
    SZ_y_b,
    SZ_y_w,
    SZ_x, /* the vector length: 16, 32, 64 */
    SZ_h, /* register and memory of half the vector length; a register is at least an XMM */
    SZ_x_h,
    SZ_x_f,
    SZ_x_e, /* rarely: full register, memory half, quarter, eighth */
    SZ_f,
    SZ_e, /* quarter, eighth */
    SZ_dq_b,
    SZ_dq_w,
    SZ_dq_d,
    SZ_dq_q,  /* XMM, memory of one scalar */
    SZ_x_dup, /* MOVDDUP: memory of 8 bytes when 128 bits wide, else full */
    SZ_env,   /* 14 or 28: FLDENV, FSTENV */
    SZ_fpu,   /* 94 or 108: FSAVE, FRSTOR */
    SZ_fx,    /* 512 */
    /* VSIB: index register size / element in memory */
    SZ_vx_d,
    SZ_vx_q,
    SZ_vh_d,
    SZ_vh_q,
    SZ_vy_d,
    SZ_vy_q,
};

/* struct insn_form.opnds[]: source, size and access in 16 bits. Reading is the default access. */
#define SPEC(source, size) ((u16)((source) | (size) << 6 | ACCESS_R << 13))
#define SPEC_SOURCE(spec)  ((spec)&0x3f)
#define SPEC_SIZE(spec)    ((spec) >> 6 & 0x7f)
#define SPEC_ACCESS(spec)  ((spec) >> 13 & 3)
#define W(spec)            ((u16)(((spec) & ~0x6000) | ACCESS_W << 13))
#define X(spec)            ((u16)((spec) | ACCESS_RW << 13))
#define N(spec)            ((u16)((spec) & ~0x6000))
#define OPS(...)                                                                                             \
    {                                                                                                        \
        __VA_ARGS__                                                                                          \
    }
#define OPERANDS_MAX 5

struct insn_form {
    u64 match;
    u32 allow; /* MATCH_ALLOW(match) */
    u16 id;
    u8 space; /* enum opcode_space */
    u8 opcode;
    u16 opnds[OPERANDS_MAX];
    struct insn_info info;
};

/* The last row of an opcode, 0 if there is none; rows[0] belongs to no opcode. */
extern const u16 insn_form_index[SPACE_COUNT][256];
extern const struct insn_form insn_forms[];
extern const unsigned insn_form_count;

#endif
