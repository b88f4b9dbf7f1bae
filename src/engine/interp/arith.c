/* Integer arithmetic and logic: the general form of each (any operand, any size, LOCK). SDM vol. 2. */
#include "engine/interp/alu.h"
#include "engine/interp/dispatch.h"
#include "engine/interp/operand.h"

/* The four sizes of an ALU operation behind one signature. */
#define WRAP(bits, sfx, mod, name)                                                                           \
    static u64 name##_##bits(u64 a, u64 b, u64 *flags)                                                       \
    {                                                                                                        \
        return alu_##name##_##bits((u##bits)a, (u##bits)b, flags);                                           \
    }
#define MODIFY(name)                                                                                         \
    ALU_SIZES(WRAP, name)                                                                                    \
    void arith_##name(struct vcpu *v, const struct insn *insn)                                               \
    {                                                                                                        \
        static const rmw_fn fn[4] = {name##_8, name##_16, name##_32, name##_64};                             \
        u64 flags = v->rflags;                                                                               \
        u64 b = insn->nopnds > 1 ? interp_read(v, insn, 1) : 0;                                              \
        interp_modify(v, insn, 0, fn[size_index(insn->opnd[0].size)], b, &flags);                            \
        v->rflags = flags;                                                                                   \
    }
MODIFY(add)
MODIFY(or)
MODIFY(adc)
MODIFY(sbb)
MODIFY(and)
MODIFY(sub)
MODIFY(xor)
MODIFY(inc)
MODIFY(dec)
MODIFY(neg)

#define COMPARE(name)                                                                                        \
    ALU_SIZES(WRAP, name)                                                                                    \
    void arith_##name(struct vcpu *v, const struct insn *insn)                                               \
    {                                                                                                        \
        static const rmw_fn fn[4] = {name##_8, name##_16, name##_32, name##_64};                             \
        u64 a = interp_read(v, insn, 0), b = interp_read(v, insn, 1);                                        \
        fn[size_index(insn->opnd[0].size)](a, b, &v->rflags);                                                \
    }
COMPARE(cmp)
COMPARE(test)

static u64 not_any(u64 a, u64 unused, u64 *flags)
{
    return ~a;
}

void arith_not(struct vcpu *v, const struct insn *insn)
{
    u64 flags = v->rflags;
    interp_modify(v, insn, 0, not_any, 0, &flags);
}

/* The register gets the old value after the memory has been written; XADD of a register with itself keeps the
 * sum. */
void arith_xadd(struct vcpu *v, const struct insn *insn)
{
    static const rmw_fn fn[4] = {add_8, add_16, add_32, add_64};
    const struct opnd *dst = &insn->opnd[0], *src = &insn->opnd[1];
    u64 flags = v->rflags, b = interp_read(v, insn, 1);
    if (dst->kind == OPND_MEM) {
        u64 old = interp_modify(v, insn, 0, fn[size_index(dst->size)], b, &flags);
        interp_gpr_write(v, src->reg, src->size, src->high, old);
    } else {
        u64 a = interp_gpr_read(v, dst->reg, dst->size, dst->high);
        interp_gpr_write(v, src->reg, src->size, src->high, a);
        interp_gpr_write(v, dst->reg, dst->size, dst->high, fn[size_index(dst->size)](a, b, &flags));
    }
    v->rflags = flags;
}

void arith_cmpxchg(struct vcpu *v, const struct insn *insn)
{
    static const rmw_fn fn[4] = {cmp_8, cmp_16, cmp_32, cmp_64};
    const struct opnd *dst = &insn->opnd[0];
    unsigned size = dst->size;
    u64 acc = interp_gpr_read(v, RAX, size, false), src = interp_read(v, insn, 1), old;
    bool equal;
    if (dst->kind == OPND_MEM) {
        u64 expected[2] = {acc}, desired[2] = {src};
        u64 lin = interp_mem_linear(v, insn, size, MMU_WRITE);
        equal = interp_cmpxchg(v, lin, size, insn_locked(insn), expected, desired);
        old = expected[0];
    } else {
        old = interp_gpr_read(v, dst->reg, size, dst->high);
        equal = old == acc;
        if (equal)
            interp_gpr_write(v, dst->reg, size, dst->high, src);
        else if (size == 4 &&
                 v->vm->model.vendor == VENDOR_INTEL) /* the destination is written back; not by AMD's */
            interp_gpr_write(v, dst->reg, size, dst->high, old);
    }
    if (!equal)
        interp_gpr_write(v, RAX, size, false, old);
    fn[size_index(size)](acc, old, &v->rflags);
}

void arith_cmpxchg8b(struct vcpu *v, const struct insn *insn)
{
    u64 lin = interp_mem_linear(v, insn, 8, MMU_WRITE);
    u64 expected[2] = {(v->gpr[RDX] << 32) | (u32)v->gpr[RAX]};
    u64 desired[2] = {(v->gpr[RBX + 0] & 0xffffffff) | v->gpr[RCX] << 32};
    if (interp_cmpxchg(v, lin, 8, insn_locked(insn), expected, desired)) {
        v->rflags |= FLAG_ZF;
    } else {
        v->rflags &= ~(u64)FLAG_ZF;
        v->gpr[RAX] = (u32)expected[0];
        v->gpr[RDX] = expected[0] >> 32;
    }
}

void arith_cmpxchg16b(struct vcpu *v, const struct insn *insn)
{
    if ((interp_ea(v, insn) + v->seg[insn->mem.seg].base) & 15) /* before the segment's own checks */
        cpu_raise_gp0(v);
    u64 lin = interp_mem_linear(v, insn, 16, MMU_WRITE);
    u64 expected[2] = {v->gpr[RAX], v->gpr[RDX]}, desired[2] = {v->gpr[RBX], v->gpr[RCX]};
    if (interp_cmpxchg(v, lin, 16, insn_locked(insn), expected, desired)) {
        v->rflags |= FLAG_ZF;
    } else {
        v->rflags &= ~(u64)FLAG_ZF;
        v->gpr[RAX] = expected[0];
        v->gpr[RDX] = expected[1];
    }
}

/* rDX:rAX, or AX for bytes, from lo and hi. */
static void write_wide(struct vcpu *v, unsigned size, u64 lo, u64 hi)
{
    if (size == 1) {
        interp_gpr_write(v, RAX, 2, false, lo);
        return;
    }
    interp_gpr_write(v, RAX, size, false, lo);
    interp_gpr_write(v, RDX, size, false, hi);
}

typedef void (*wide_fn)(u64 a, u64 b, u64 *lo, u64 *hi, u64 *flags);
#define WRAP_WIDE(bits, sfx, mod, name)                                                                      \
    static void name##_##bits(u64 a, u64 b, u64 *lo, u64 *hi, u64 *flags)                                    \
    {                                                                                                        \
        alu_##name##_##bits((u##bits)a, (u##bits)b, lo, hi, flags);                                          \
    }
ALU_SIZES(WRAP_WIDE, mul)
ALU_SIZES(WRAP_WIDE, imulw)

static void multiply(struct vcpu *v, const struct insn *insn, const wide_fn fn[4])
{
    unsigned size = insn->opnd[0].size;
    u64 lo, hi, b = interp_read(v, insn, 0);
    fn[size_index(size)](v->gpr[RAX], b, &lo, &hi, &v->rflags);
    write_wide(v, size, lo, hi);
}

void arith_mul(struct vcpu *v, const struct insn *insn)
{
    static const wide_fn fn[4] = {mul_8, mul_16, mul_32, mul_64};
    multiply(v, insn, fn);
}

#define WRAP_KEEP(bits, sfx, mod, name)                                                                      \
    static u64 name##_##bits(u64 a, u64 b, u64 *flags)                                                       \
    {                                                                                                        \
        return alu_##name##_##bits(a, b, flags);                                                             \
    }
ALU_SIZES_NO8(WRAP_KEEP, imul)

void arith_imul(struct vcpu *v, const struct insn *insn)
{
    static const wide_fn wide[4] = {imulw_8, imulw_16, imulw_32, imulw_64};
    static const rmw_fn fn[4] = {NULL, imul_16, imul_32, imul_64};
    if (insn->nopnds == 1) {
        multiply(v, insn, wide);
        return;
    }
    unsigned first = insn->nopnds == 3 ? 1 : 0;
    u64 a = interp_read(v, insn, first), b = interp_read(v, insn, first + 1);
    interp_write(v, insn, 0, fn[size_index(insn->opnd[0].size)](a, b, &v->rflags));
}

/* The dividend: AX for bytes, else rDX:rAX. */
static void read_dividend(const struct vcpu *v, unsigned size, u64 *lo, u64 *hi)
{
    *lo = v->gpr[RAX] & MASK(size == 1 ? 16 : size * 8);
    *hi = size == 1 ? 0 : v->gpr[RDX] & MASK(size * 8);
}

void arith_div(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opnd[0].size;
    u64 lo, hi, b = interp_read(v, insn, 0);
    read_dividend(v, size, &lo, &hi);
    if (b == 0 || (size == 1 ? lo >> 8 : hi) >= b)
        cpu_raise(v, EXC_DE);
    switch (size) {
    case 1:
        alu_div_8((u8)b, &lo, &hi, &v->rflags);
        break;
    case 2:
        alu_div_16((u16)b, &lo, &hi, &v->rflags);
        break;
    case 4:
        alu_div_32((u32)b, &lo, &hi, &v->rflags);
        break;
    default:
        alu_div_64(b, &lo, &hi, &v->rflags);
    }
    write_wide(v, size, lo, hi);
}

/* Does the signed quotient of hi:lo (`bits` each) by b fit into `bits`? In magnitudes, so that nothing
 * overflows. */
static bool quotient_fits(u64 lo, u64 hi, u64 b, unsigned bits)
{
    u128 n = bits == 64 ? (u128)hi << 64 | lo : (u128)sign_extend(hi << bits | lo, MIN(bits * 2, 64u));
    if (bits < 64 && (s64)(u64)n < 0)
        n |= (u128)~0ull << 64;
    u64 d = sign_extend(b, bits);
    bool negative = (n >> 127) != (d >> 63);
    if (n >> 127)
        n = -n;
    if (d >> 63)
        d = -d;
    u64 limit = BIT(bits - 1) - !negative;
    /* n / d <= limit, that is n < (limit + 1) * d; both sides fit in 128 bits. */
    return d != 0 && n < ((u128)limit + 1) * d;
}

void arith_idiv(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opnd[0].size;
    u64 lo, hi, b = interp_read(v, insn, 0);
    read_dividend(v, size, &lo, &hi);
    if (size == 1 ? !quotient_fits(lo & 0xff, lo >> 8, b, 8) : !quotient_fits(lo, hi, b, size * 8))
        cpu_raise(v, EXC_DE);
    switch (size) {
    case 1:
        alu_idiv_8((u8)b, &lo, &hi, &v->rflags);
        break;
    case 2:
        alu_idiv_16((u16)b, &lo, &hi, &v->rflags);
        break;
    case 4:
        alu_idiv_32((u32)b, &lo, &hi, &v->rflags);
        break;
    default:
        alu_idiv_64(b, &lo, &hi, &v->rflags);
    }
    write_wide(v, size, lo, hi);
}

/* Addition with carry through one flag only. */
static void add_through(struct vcpu *v, const struct insn *insn, u64 flag)
{
    unsigned size = insn->opnd[0].size;
    u64 a = interp_read(v, insn, 0), b = interp_read(v, insn, 1);
    u128 sum = (u128)a + b + !!(v->rflags & flag);
    interp_write(v, insn, 0, (u64)sum);
    v->rflags = (v->rflags & ~flag) | ((u64)(sum >> (size * 8)) & 1 ? flag : 0);
}

void arith_adcx(struct vcpu *v, const struct insn *insn)
{
    add_through(v, insn, FLAG_CF);
}

void arith_adox(struct vcpu *v, const struct insn *insn)
{
    add_through(v, insn, FLAG_OF);
}

/* The high half wins if both destinations are the same. */
void arith_mulx(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opnd[0].size;
    u128 product = (u128)interp_gpr_read(v, RDX, size, false) * interp_read(v, insn, 2);
    interp_write(v, insn, 1, (u64)product);
    interp_write(v, insn, 0, (u64)(product >> (size * 8)));
}

/* CBW, CWDE, CDQE */
void arith_cbw(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    interp_gpr_write(v, RAX, size, false, sign_extend(v->gpr[RAX], size * 4));
}

/* CWD, CDQ, CQO */
void arith_cwd(struct vcpu *v, const struct insn *insn)
{
    unsigned size = insn->opsize;
    interp_gpr_write(v, RDX, size, false, sign_extend(v->gpr[RAX], size * 8) >> 63 ? ~0ull : 0);
}
