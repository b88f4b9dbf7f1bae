/* The vocabulary of the table's rows: operands and facts. Included by table.c only. */
#ifndef RING3_CPU_DECODE_SPEC_H
#define RING3_CPU_DECODE_SPEC_H

#include "cpu/decode/form.h"

#define OPERAND(name, source, size) name = SPEC(SRC_##source, SZ_##size)

enum {
    /* clang-format off */
    OPERAND(Eb, E, b), OPERAND(Ew, E, w), OPERAND(Ed, E, d), OPERAND(Eq, E, q), OPERAND(Ev, E, v), OPERAND(Ey, E, y),
    OPERAND(Ez, E, z), OPERAND(En, E, n), OPERAND(Evw, E, v_w),
    OPERAND(Edb, E, d_b), OPERAND(Edw, E, d_w), OPERAND(Eyb, E, y_b), OPERAND(Eyw, E, y_w),
    OPERAND(Gb, G, b), OPERAND(Gw, G, w), OPERAND(Gd, G, d), OPERAND(Gq, G, q), OPERAND(Gv, G, v), OPERAND(Gz, G, z), OPERAND(Gy, G, y),
    OPERAND(Gn, G, n), OPERAND(Gadr, G, adr),
    OPERAND(Rb, R, b), OPERAND(Rw, R, w), OPERAND(Rd, R, d), OPERAND(Rq, R, q), OPERAND(Rv, R, v), OPERAND(Ry, R, y), OPERAND(Rn, R, n), OPERAND(Radr, R, adr),
    OPERAND(By, B, y), OPERAND(Bd, B, d),
    OPERAND(Zb, Z, b), OPERAND(Zv, Z, v), OPERAND(Zy, Z, y), OPERAND(Zn, Z, n),
    OPERAND(rAb, A, b), OPERAND(rAv, A, v), OPERAND(rAz, A, z), OPERAND(rAw, A, w), OPERAND(rAd, A, d), OPERAND(rAadr, A, adr),
    OPERAND(CL, CL, b), OPERAND(rCd, CL, d), OPERAND(DX, DX, w), OPERAND(One, 1, b),
    OPERAND(Ib, IZ, b), OPERAND(Iw, IZ, w), OPERAND(sIb, IS, b), OPERAND(sIz, IS, z), OPERAND(Iv, IV, v), OPERAND(I2b, I2, b),
    OPERAND(Jb, J, b), OPERAND(Jz, J, z), OPERAND(Ob, O, b), OPERAND(Ov, O, v), OPERAND(Ap, AP, p),
    OPERAND(M, M, 0), OPERAND(Mb, M, b), OPERAND(Mw, M, w), OPERAND(Md, M, d), OPERAND(Mq, M, q), OPERAND(Mdq, M, dq), OPERAND(Mqq, M, qq), OPERAND(Moq, M, oq),
    OPERAND(Mv, M, v), OPERAND(My, M, y), OPERAND(Mt, M, t), OPERAND(Mp, M, p), OPERAND(Ms, M, s), OPERAND(Ma, M, a), OPERAND(Mx, M, x), OPERAND(Mh, M, h), OPERAND(Mf, M, f), OPERAND(Me, M, e),
    OPERAND(Menv, M, env), OPERAND(Mfpu, M, fpu), OPERAND(Mfx, M, fx),
    OPERAND(Sw, S, w), OPERAND(Cn, C, n), OPERAND(Dn, D, n),
    sES = SPEC(SRC_SREG, 0), sCS = SPEC(SRC_SREG, 1), sSS = SPEC(SRC_SREG, 2), sDS = SPEC(SRC_SREG, 3), sFS = SPEC(SRC_SREG, 4), sGS = SPEC(SRC_SREG, 5),
    OPERAND(ST0, ST0, t), OPERAND(STi, STI, t),
    OPERAND(Pq, P, q), OPERAND(Qd, Q, d), OPERAND(Qq, Q, q), OPERAND(Nq, N, q), OPERAND(Pd, P, d),
    OPERAND(XMM0, XMM0, dq),
    OPERAND(Vdq, V, dq), OPERAND(Vx, V, x), OPERAND(Vh, V, h), OPERAND(Vf, V, f), OPERAND(Ve, V, e), OPERAND(Vqq, V, qq), OPERAND(Voq, V, oq),
    OPERAND(Hdq, H, dq), OPERAND(Hx, H, x), OPERAND(Hh, H, h),
    OPERAND(Wdq, W, dq), OPERAND(Wx, W, x), OPERAND(Wh, W, h), OPERAND(Wf, W, f), OPERAND(We, W, e), OPERAND(Wqq, W, qq), OPERAND(Woq, W, oq),
    OPERAND(Wb, W, dq_b), OPERAND(Ww, W, dq_w), OPERAND(Wd, W, dq_d), OPERAND(Wq, W, dq_q), OPERAND(Wdup, W, x_dup),
    OPERAND(Wxh, W, x_h), OPERAND(Wxf, W, x_f), OPERAND(Wxe, W, x_e),
    OPERAND(Udq, U, dq), OPERAND(Ux, U, x), OPERAND(Uh, U, h), OPERAND(Uf, U, f), OPERAND(Ue, U, e), OPERAND(Uqq, U, qq),
    OPERAND(Lx, L, x), OPERAND(Ldq, L, dq),
    OPERAND(VMxd, VM, vx_d), OPERAND(VMxq, VM, vx_q), OPERAND(VMhd, VM, vh_d), OPERAND(VMhq, VM, vh_q), OPERAND(VMyd, VM, vy_d), OPERAND(VMyq, VM, vy_q),
    OPERAND(KGq, KG, q), OPERAND(KHq, KH, q), OPERAND(KRq, KR, q), OPERAND(KEb, KE, b), OPERAND(KEw, KE, w), OPERAND(KEd, KE, d), OPERAND(KEq, KE, q),
    /* clang-format on */
};

/* General-purpose registers that the instruction uses without naming them. */
enum { rA = 1, rC = 2, rD = 4, rB = 8, rSP = 16, rBP = 32, rSI = 64, rDI = 128, rR11 = 0x800 };
enum {
    fCF = 1,
    fPF = 4,
    fAF = 0x10,
    fZF = 0x40,
    fSF = 0x80,
    fTF = 0x100,
    fIF = 0x200,
    fDF = 0x400,
    fOF = 0x800,
    fIOPL = 0x3000,
    fNT = 0x4000,
    fRF = 0x10000,
    fVM = 0x20000,
    fAC = 0x40000,
    fVIF = 0x80000,
    fVIP = 0x100000,
    fID = 0x200000,
    fSTATUS = fCF | fPF | fAF | fZF | fSF | fOF, /* OSZAPC */
    fSZP = fSF | fZF | fPF,
    fSYSTEM = fTF | fIF | fNT | fRF | fVM | fAC | fVIF | fVIP,
    fALL = fSTATUS | fDF | fIOPL | fID | fSYSTEM,
};

#define USES(read, write)         .gpr_read = (read), .gpr_write = (write)
#define FLAGS(read, write, undef) .flags_read = (read), .flags_write = (write), .flags_undef = (undef)
#define AT(a)                     .attrs = ATTR_##a
#define AT2(a, b)                 .attrs = ATTR_##a | ATTR_##b
#define AT3(a, b, c)              .attrs = ATTR_##a | ATTR_##b | ATTR_##c
#define AT4(a, b, c, d)           .attrs = ATTR_##a | ATTR_##b | ATTR_##c | ATTR_##d
#define NEEDS(f)                  .feature = FEAT_##f
#define NEEDS2(f, g)              .feature = FEAT_##f, .feature2 = FEAT_##g
#define BRANCH                    .klass = CLASS_BRANCH
#define STRING                    .klass = CLASS_STRING
#define SYSTEM                    .klass = CLASS_SYSTEM
#define PORT                      .klass = CLASS_IO
#define X87                       .klass = CLASS_X87, .feature = FEAT_FPU
#define X87S(f)                   .klass = CLASS_X87, .feature = FEAT_FPU, .feature2 = FEAT_##f
#define MMX(f)                    .klass = CLASS_MMX, .feature = FEAT_##f
#define SSE(f)                    .klass = CLASS_SSE, .feature = FEAT_##f
#define AVX(f)                    .klass = CLASS_VEX, .feature = FEAT_##f
#define AVX2F(f, g)               .klass = CLASS_VEX, .feature = FEAT_##f, .feature2 = FEAT_##g
#define EVEX(f)                   .klass = CLASS_EVEX, .feature = FEAT_##f
#define EVEX2(f, g)               .klass = CLASS_EVEX, .feature = FEAT_##f, .feature2 = FEAT_##g
#define EL(bytes)                 .element = bytes

#endif
