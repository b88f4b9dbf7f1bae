/* What assembly and C share: selectors and vectors. */
#ifndef GUEST_ASM_H
#define GUEST_ASM_H

#define SEL_CODE    0x08 /* 64-bit in x86_64 images, 32-bit in i386 images */
#define SEL_DATA    0x10
#define SEL_UCODE32 0x1b
#define SEL_UDATA   0x23
#define SEL_UCODE64 0x2b
#define SEL_CODE32  0x30
#define SEL_CODE16  0x38
#define SEL_DATA16  0x40
#define SEL_TSS     0x48 /* 16 bytes in x86_64 images */
#define SEL_TSS2    0x58
#define SEL_LDT     0x68
#define SEL_FREE    0x80 /* from here to 0x3f8 a test may use */

#ifdef __x86_64__
#define SEL_UCODE SEL_UCODE64
#else
#define SEL_UCODE SEL_UCODE32
#endif

#define DE       0
#define DB       1
#define NMI      2
#define BP       3
#define OF       4
#define BR       5
#define UD       6
#define NM       7
#define DF       8
#define TS       10
#define NP       11
#define SS       12
#define GP       13
#define PF       14
#define MF       16
#define AC       17
#define XM       19
#define VEC_DONE 0x80 /* user code's way home */

#ifdef __ASSEMBLER__
#include "macros.inc"
#endif

#endif
