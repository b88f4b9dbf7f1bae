/*
 * The ALU: each function executes the guest's operation on the host and takes the host's flags, the undefined
 * ones too.
 *
 * Flags travel between RFLAGS and the host's as AH (LAHF/SAHF: SF ZF AF PF CF) and AL (OF), which is cheaper
 * than PUSHF and leaves the stack alone. Operations that leave flags as they were, or undefined, run on the
 * guest's flags. Each exists for u8, u16, u32, u64 (suffix _8, _16, _32, _64); *flags is RFLAGS.
 */
#ifndef RING3_ENGINE_INTERP_ALU_H
#define RING3_ENGINE_INTERP_ALU_H

#include "cpu/cpu.h"

static inline u64 flags_from_host(u64 rflags, u16 ax)
{
    return (rflags & ~(u64)FLAGS_ARITH) | (ax >> 8) | (u64)(u8)ax << 11;
}

static inline u16 flags_to_host(u64 rflags)
{
    return (u16)((rflags & 0xff) << 8 | (rflags >> 11 & 1));
}

#define FLAGS_LOAD "addb $0x7f, %%al\n\tsahf\n\t"
#define FLAGS_SAVE "\n\tlahf\n\tseto %%al"

/* All four sizes: X(bits, instruction suffix, operand modifier). */
#define ALU_SIZES(X, ...)                                                                                    \
    X(8, "b", "b", ##__VA_ARGS__)                                                                            \
    X(16, "w", "w", ##__VA_ARGS__)                                                                           \
    X(32, "l", "k", ##__VA_ARGS__)                                                                           \
    X(64, "q", "q", ##__VA_ARGS__)
#define ALU_SIZES_NO8(X, ...)                                                                                \
    X(16, "w", "w", ##__VA_ARGS__)                                                                           \
    X(32, "l", "k", ##__VA_ARGS__)                                                                           \
    X(64, "q", "q", ##__VA_ARGS__)

/* a OP b, all flags from the operation. */
#define ALU_BINARY(bits, sfx, mod, name, text)                                                               \
    static inline u##bits alu_##name##_##bits(u##bits a, u##bits b, u64 *flags)                              \
    {                                                                                                        \
        u16 ax;                                                                                              \
        __asm__(text sfx " %" mod "2, %" mod "0" FLAGS_SAVE : "+r"(a), "=&a"(ax) : "r"(b) : "cc");           \
        *flags = flags_from_host(*flags, ax);                                                                \
        return a;                                                                                            \
    }
ALU_SIZES(ALU_BINARY, add, "add")
ALU_SIZES(ALU_BINARY, sub, "sub")
ALU_SIZES(ALU_BINARY, and, "and")
ALU_SIZES(ALU_BINARY, or, "or")
ALU_SIZES(ALU_BINARY, xor, "xor")

/* CMP and TEST return the destination, so that they fit the same templates. */
ALU_SIZES(ALU_BINARY, cmp, "cmp")
ALU_SIZES(ALU_BINARY, test, "test")

/* With carry in. */
#define ALU_CARRY(bits, sfx, mod, name, text)                                                                \
    static inline u##bits alu_##name##_##bits(u##bits a, u##bits b, u64 *flags)                              \
    {                                                                                                        \
        u16 ax;                                                                                              \
        __asm__("btl $0, %k3\n\t" text sfx " %" mod "2, %" mod "0" FLAGS_SAVE                                \
                : "+&r"(a), "=&a"(ax)                                                                        \
                : "r"(b), "r"(*flags)                                                                        \
                : "cc");                                                                                     \
        *flags = flags_from_host(*flags, ax);                                                                \
        return a;                                                                                            \
    }
ALU_SIZES(ALU_CARRY, adc, "adc")
ALU_SIZES(ALU_CARRY, sbb, "sbb")

/* One operand; INC and DEC keep CF. The second argument is not used. */
#define ALU_UNARY(bits, sfx, mod, name, text)                                                                \
    static inline u##bits alu_##name##_##bits(u##bits a, u##bits unused, u64 *flags)                         \
    {                                                                                                        \
        u16 ax;                                                                                              \
        __asm__("btl $0, %k2\n\t" text sfx " %" mod "0" FLAGS_SAVE                                           \
                : "+&r"(a), "=&a"(ax)                                                                        \
                : "r"(*flags)                                                                                \
                : "cc");                                                                                     \
        *flags = flags_from_host(*flags, ax);                                                                \
        return a;                                                                                            \
    }
ALU_SIZES(ALU_UNARY, inc, "inc")
ALU_SIZES(ALU_UNARY, dec, "dec")
ALU_SIZES(ALU_UNARY, neg, "neg")

/* Shifts and rotates: the host masks the count as the guest's CPU would, and a count of 0 leaves the flags.
 */
#define ALU_SHIFT(bits, sfx, mod, name, text)                                                                \
    static inline u##bits alu_##name##_##bits(u##bits a, u8 count, u64 *flags)                               \
    {                                                                                                        \
        u16 ax = flags_to_host(*flags);                                                                      \
        __asm__(FLAGS_LOAD text sfx " %%cl, %" mod "0" FLAGS_SAVE : "+r"(a), "+a"(ax) : "c"(count) : "cc");  \
        *flags = flags_from_host(*flags, ax);                                                                \
        return a;                                                                                            \
    }
ALU_SIZES(ALU_SHIFT, rol, "rol")
ALU_SIZES(ALU_SHIFT, ror, "ror")
ALU_SIZES(ALU_SHIFT, rcl, "rcl")
ALU_SIZES(ALU_SHIFT, rcr, "rcr")
ALU_SIZES(ALU_SHIFT, shl, "shl")
ALU_SIZES(ALU_SHIFT, shr, "shr")
ALU_SIZES(ALU_SHIFT, sar, "sar")

#define ALU_SHIFT_DOUBLE(bits, sfx, mod, name, text)                                                         \
    static inline u##bits alu_##name##_##bits(u##bits a, u##bits b, u8 count, u64 *flags)                    \
    {                                                                                                        \
        u16 ax = flags_to_host(*flags);                                                                      \
        __asm__(FLAGS_LOAD text sfx " %%cl, %" mod "2, %" mod "0" FLAGS_SAVE                                 \
                : "+r"(a), "+a"(ax)                                                                          \
                : "r"(b), "c"(count)                                                                         \
                : "cc");                                                                                     \
        *flags = flags_from_host(*flags, ax);                                                                \
        return a;                                                                                            \
    }
ALU_SIZES_NO8(ALU_SHIFT_DOUBLE, shld, "shld")
ALU_SIZES_NO8(ALU_SHIFT_DOUBLE, shrd, "shrd")

/* dest = OP(dest, b) on the guest's flags: IMUL, BSF (which leaves dest at 0), BT*, POPCNT, ... Registers in
 * full, since what happens to the upper half is the host's business too. */
#define ALU_KEEP(bits, sfx, mod, name, text)                                                                 \
    static inline u64 alu_##name##_##bits(u64 dest, u64 b, u64 *flags)                                       \
    {                                                                                                        \
        u16 ax = flags_to_host(*flags);                                                                      \
        __asm__(FLAGS_LOAD text sfx " %" mod "2, %" mod "0" FLAGS_SAVE                                       \
                : "+r"(dest), "+a"(ax)                                                                       \
                : "r"(b)                                                                                     \
                : "cc");                                                                                     \
        *flags = flags_from_host(*flags, ax);                                                                \
        return dest;                                                                                         \
    }
ALU_SIZES_NO8(ALU_KEEP, imul, "imul")
ALU_SIZES_NO8(ALU_KEEP, bsf, "bsf")
ALU_SIZES_NO8(ALU_KEEP, bsr, "bsr")
ALU_SIZES_NO8(ALU_KEEP, bt, "bt")
ALU_SIZES_NO8(ALU_KEEP, bts, "bts")
ALU_SIZES_NO8(ALU_KEEP, btr, "btr")
ALU_SIZES_NO8(ALU_KEEP, btc, "btc")
ALU_SIZES_NO8(ALU_KEEP, popcnt, "popcnt")
ALU_SIZES_NO8(ALU_KEEP, tzcnt, "tzcnt")
ALU_SIZES_NO8(ALU_KEEP, lzcnt, "lzcnt")

/* Widening multiplication: *lo (and *hi; of AX for 8 bits: *lo is 16 bits wide then). */
#define ALU_WIDE(bits, sfx, mod, name, text, acc, low)                                                       \
    static inline void alu_##name##_##bits(u##bits a, u##bits b, u64 *lo, u64 *hi, u64 *flags)               \
    {                                                                                                        \
        u16 ax, in = flags_to_host(*flags);                                                                  \
        u64 l, h;                                                                                            \
        __asm__("movzwl %w[in], %%eax\n\t" FLAGS_LOAD "mov %" mod "[a], %%" acc "\n\t" text sfx " %" mod     \
                "[b]\n\tmov %%" low FLAGS_SAVE                                                               \
                : [lo] "=&r"(l), "=&d"(h), "=&a"(ax)                                                         \
                : [a] "r"(a), [b] "r"(b), [in] "r"((u32)in)                                                  \
                : "cc");                                                                                     \
        *lo = l;                                                                                             \
        *hi = h;                                                                                             \
        *flags = flags_from_host(*flags, ax);                                                                \
    }
ALU_WIDE(8, "b", "b", mul, "mul", "al", "ax, %w[lo]")
ALU_WIDE(16, "w", "w", mul, "mul", "ax", "ax, %w[lo]")
ALU_WIDE(32, "l", "k", mul, "mul", "eax", "eax, %k[lo]")
ALU_WIDE(64, "q", "q", mul, "mul", "rax", "rax, %q[lo]")
ALU_WIDE(8, "b", "b", imulw, "imul", "al", "ax, %w[lo]")
ALU_WIDE(16, "w", "w", imulw, "imul", "ax", "ax, %w[lo]")
ALU_WIDE(32, "l", "k", imulw, "imul", "eax", "eax, %k[lo]")
ALU_WIDE(64, "q", "q", imulw, "imul", "rax", "rax, %q[lo]")

/* Division; the caller has made sure that the quotient fits. 8 bits: hi:lo is AX in *lo, and so is the
 * result. */
#define ALU_DIV(bits, sfx, mod, name, text, acc, low)                                                        \
    static inline void alu_##name##_##bits(u##bits b, u64 *lo, u64 *hi, u64 *flags)                          \
    {                                                                                                        \
        u16 ax, in = flags_to_host(*flags);                                                                  \
        u64 l = *lo, h = *hi;                                                                                \
        __asm__("movzwl %w[in], %%eax\n\t" FLAGS_LOAD "mov " acc "\n\t" text sfx " %" mod                    \
                "[b]\n\tmov %%" low FLAGS_SAVE                                                               \
                : [lo] "+&r"(l), "+&d"(h), "=&a"(ax)                                                         \
                : [b] "r"(b), [in] "r"((u32)in)                                                              \
                : "cc");                                                                                     \
        *lo = l;                                                                                             \
        *hi = h;                                                                                             \
        *flags = flags_from_host(*flags, ax);                                                                \
    }
ALU_DIV(8, "b", "b", div, "div", "%w[lo], %%ax", "ax, %w[lo]")
ALU_DIV(16, "w", "w", div, "div", "%w[lo], %%ax", "ax, %w[lo]")
ALU_DIV(32, "l", "k", div, "div", "%k[lo], %%eax", "eax, %k[lo]")
ALU_DIV(64, "q", "q", div, "div", "%q[lo], %%rax", "rax, %q[lo]")
ALU_DIV(8, "b", "b", idiv, "idiv", "%w[lo], %%ax", "ax, %w[lo]")
ALU_DIV(16, "w", "w", idiv, "idiv", "%w[lo], %%ax", "ax, %w[lo]")
ALU_DIV(32, "l", "k", idiv, "idiv", "%k[lo], %%eax", "eax, %k[lo]")
ALU_DIV(64, "q", "q", idiv, "idiv", "%q[lo], %%rax", "rax, %q[lo]")

/* Is condition `cc` (the opcode's low four bits) true? */
static inline bool flags_test(u64 f, unsigned cc)
{
    bool r;
    switch (cc >> 1 & 7) {
    case 0:
        r = f & FLAG_OF;
        break;
    case 1:
        r = f & FLAG_CF;
        break;
    case 2:
        r = f & FLAG_ZF;
        break;
    case 3:
        r = f & (FLAG_CF | FLAG_ZF);
        break;
    case 4:
        r = f & FLAG_SF;
        break;
    case 5:
        r = f & FLAG_PF;
        break;
    case 6:
        r = (f >> 4 ^ f) & FLAG_SF; /* SF != OF */
        break;
    default:
        r = ((f >> 4 ^ f) & FLAG_SF) | (f & FLAG_ZF);
    }
    return r != (cc & 1);
}

#endif
