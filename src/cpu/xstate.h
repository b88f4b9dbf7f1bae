/*
 * The XSAVE area: which components exist, where they lie, how large they are. CPUID leaf 0Dh (cpu/cpuid.c)
 * and the XSAVE family (engine/interp/xsave.c) both come from here, so that they cannot disagree.
 *
 * The layout is AMD's (no MPX hole between AVX and AVX-512), on every host and for every vendor: a guest must
 * read it from CPUID, and one layout keeps saved states portable. SDM vol. 1 chapter 13; APM vol. 2 11.5.
 */
#ifndef RING3_CPU_XSTATE_H
#define RING3_CPU_XSTATE_H

#include "base/types.h"

enum xstate_component {
    XSTATE_X87 = 0,
    XSTATE_SSE = 1,
    XSTATE_AVX = 2,       /* bits 255:128 of registers 0..15 */
    XSTATE_OPMASK = 5,    /* k0..k7 */
    XSTATE_ZMM_HI256 = 6, /* bits 511:256 of registers 0..15 */
    XSTATE_HI16_ZMM = 7,  /* registers 16..31 */
    XSTATE_PKRU = 9,
    XSTATE_COUNT = 10, /* components above have no state here */
};

#define XSTATE_LEGACY_SIZE 512 /* the FXSAVE image */
#define XSTATE_HEADER_SIZE 64
#define XSTATE_FIRST       (XSTATE_LEGACY_SIZE + XSTATE_HEADER_SIZE) /* of the extended region */

/* XCR0 bits that go together. */
#define XCR0_X87SSE (BIT(XSTATE_X87) | BIT(XSTATE_SSE))
#define XCR0_AVX    BIT(XSTATE_AVX)
#define XCR0_AVX512 (BIT(XSTATE_OPMASK) | BIT(XSTATE_ZMM_HI256) | BIT(XSTATE_HI16_ZMM))
#define XCR0_PKRU   BIT(XSTATE_PKRU)
/* IA32_XSS: no supervisor component exists. */
#define XSS_SUPPORTED 0ull

struct xstate_layout {
    u16 offset; /* in the standard format; 0: no such extended component (CPUID 0Dh subleaf is all zero) */
    u16 size;   /* bytes */
    /* No component has the "aligned to 64 in the compacted format" bit (ECX[1]), nor is one a supervisor's
     * (ECX[0]). */
};

/* CPUID.(0Dh, i): EAX = size, EBX = offset, ECX = EDX = 0, for each i >= 2 that the model's XCR0 has. */
static inline struct xstate_layout xstate_layout(unsigned component)
{
    static const struct xstate_layout table[XSTATE_COUNT] = {
        [XSTATE_AVX] = {576, 256},        [XSTATE_OPMASK] = {832, 64}, [XSTATE_ZMM_HI256] = {896, 512},
        [XSTATE_HI16_ZMM] = {1408, 1024}, [XSTATE_PKRU] = {2432, 8},
    };
    return component < XSTATE_COUNT ? table[component] : (struct xstate_layout){0, 0};
}

/* Bytes of an area in the standard format that holds the components of `mask`: CPUID.(0Dh,0).EBX for XCR0,
 * ECX for the model's xcr0. */
static inline u32 xstate_size(u64 mask)
{
    u32 size = XSTATE_FIRST;
    for (unsigned i = 2; i < XSTATE_COUNT; i++) {
        struct xstate_layout l = xstate_layout(i);
        if ((mask >> i & 1) && size < (u32)l.offset + l.size)
            size = (u32)l.offset + l.size;
    }
    return size;
}

/* Where component `component` lies in a compacted area whose XCOMP_BV is `mask`. */
static inline u32 xstate_compact_offset(u64 mask, unsigned component)
{
    u32 offset = XSTATE_FIRST;
    for (unsigned i = 2; i < component; i++)
        if (mask >> i & 1)
            offset += xstate_layout(i).size;
    return offset;
}

/* Bytes of a compacted area: CPUID.(0Dh,1).EBX for XCR0 | IA32_XSS. */
static inline u32 xstate_compact_size(u64 mask)
{
    return xstate_compact_offset(mask, XSTATE_COUNT);
}

struct fpu;
/* XINUSE: which components differ from their initial configuration (SDM vol. 1 13.6); MXCSR does not count
 * for SSE, except where XSAVEC, XSAVES and XGETBV ask (the second function). */
u64 xstate_inuse(const struct fpu *fpu);
u64 xstate_inuse_mxcsr(const struct fpu *fpu);
/* Likewise of the components in `mask` only; the others' bits are 0. */
u64 xstate_inuse_of(const struct fpu *fpu, u64 mask);

#endif
