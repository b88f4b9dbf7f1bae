/* Shifts, rotates, bit tests and scans, BMI1, BMI2, CRC32: the general form of each. SDM vol. 2. */
#include "engine/interp/alu.h"
#include "engine/interp/dispatch.h"
#include "engine/interp/operand.h"

#define WRAP_SHIFT(bits, sfx, mod, name)                                                                     \
    static u64 name##_##bits(u64 a, u64 count, u64 *flags)                                                   \
    {                                                                                                        \
        return alu_##name##_##bits((u##bits)a, (u8)count, flags);                                            \
    }
#define SHIFT(name)                                                                                          \
    ALU_SIZES(WRAP_SHIFT, name)                                                                              \
    void bits_##name(struct vcpu *v, const struct insn *insn)                                                \
    {                                                                                                        \
        static const rmw_fn fn[4] = {name##_8, name##_16, name##_32, name##_64};                             \
        u64 flags = v->rflags, count = interp_read(v, insn, 1);                                              \
        interp_modify(v, insn, 0, fn[size_index(insn->opnd[0].size)], count, &flags);                        \
        v->rflags = flags;                                                                                   \
    }
SHIFT(rol)
SHIFT(ror)
SHIFT(rcl)
SHIFT(rcr)
SHIFT(shl)
SHIFT(shr)
SHIFT(sar)

/* SHLD, SHRD: the register and the count travel together, the count in bits 71:64 as it were. */
struct shift_double {
    u64 src;
    u8 count;
};
#define WRAP_DOUBLE(bits, sfx, mod, name)                                                                    \
    static u64 name##_##bits(u64 a, u64 operand, u64 *flags)                                                 \
    {                                                                                                        \
        const struct shift_double *s = (const struct shift_double *)(uintptr_t)operand;                      \
        return alu_##name##_##bits((u##bits)a, (u##bits)s->src, s->count, flags);                            \
    }
#define SHIFT_DOUBLE(name)                                                                                   \
    ALU_SIZES_NO8(WRAP_DOUBLE, name)                                                                         \
    void bits_##name(struct vcpu *v, const struct insn *insn)                                                \
    {                                                                                                        \
        static const rmw_fn fn[4] = {NULL, name##_16, name##_32, name##_64};                                 \
        struct shift_double s = {interp_read(v, insn, 1), (u8)interp_read(v, insn, 2)};                      \
        u64 flags = v->rflags;                                                                               \
        interp_modify(v, insn, 0, fn[size_index(insn->opnd[0].size)], (uintptr_t)&s, &flags);                \
        v->rflags = flags;                                                                                   \
    }
SHIFT_DOUBLE(shld)
SHIFT_DOUBLE(shrd)

#define WRAP_KEEP(bits, sfx, mod, name)                                                                      \
    static u64 name##_##bits(u64 a, u64 b, u64 *flags)                                                       \
    {                                                                                                        \
        return alu_##name##_##bits(a, b, flags);                                                             \
    }

/*
 * BT, BTS, BTR, BTC. A register as bit offset is signed and reaches beyond the memory operand: the unit that
 * holds the bit is accessed, at the address plus the offset divided by the operand size, wrapped to the
 * address size.
 */
static u64 bit_linear(struct vcpu *v, const struct insn *insn, unsigned size, u64 offset,
                      enum mmu_access access)
{
    u64 ea = interp_ea(v, insn);
    if (insn->opnd[1].kind == OPND_GPR) {
        s64 units = (s64)sign_extend(offset, size * 8) >> (3 + size_index(size));
        ea = (ea + (u64)units * size) & MASK(insn->adsize * 8);
    }
    return seg_linear(v, insn->mem.seg, ea, size, access);
}

static void bit_modify(struct vcpu *v, const struct insn *insn, const rmw_fn fn[4])
{
    const struct opnd *dst = &insn->opnd[0];
    unsigned size = dst->size;
    u64 flags = v->rflags, offset = interp_read(v, insn, 1), bit = offset & (size * 8 - 1);
    if (dst->kind == OPND_MEM) {
        u64 lin = bit_linear(v, insn, size, offset, MMU_WRITE);
        interp_rmw(v, lin, size, insn_locked(insn), fn[size_index(size)], bit, &flags);
    } else {
        u64 old = v->gpr[dst->reg];
        interp_gpr_write(v, dst->reg, size, false, fn[size_index(size)](old, bit, &flags));
    }
    v->rflags = flags;
}

#define BIT_MODIFY(name)                                                                                     \
    ALU_SIZES_NO8(WRAP_KEEP, name)                                                                           \
    void bits_##name(struct vcpu *v, const struct insn *insn)                                                \
    {                                                                                                        \
        static const rmw_fn fn[4] = {NULL, name##_16, name##_32, name##_64};                                 \
        bit_modify(v, insn, fn);                                                                             \
    }
BIT_MODIFY(bts)
BIT_MODIFY(btr)
BIT_MODIFY(btc)

ALU_SIZES_NO8(WRAP_KEEP, bt)
void bits_bt(struct vcpu *v, const struct insn *insn)
{
    static const rmw_fn fn[4] = {NULL, bt_16, bt_32, bt_64};
    const struct opnd *dst = &insn->opnd[0];
    unsigned size = dst->size;
    u64 offset = interp_read(v, insn, 1), value;
    if (dst->kind == OPND_MEM)
        value = interp_load(v, bit_linear(v, insn, size, offset, MMU_READ), size);
    else
        value = v->gpr[dst->reg];
    fn[size_index(size)](value, offset & (size * 8 - 1), &v->rflags);
}

/* The destination goes through the host's register whole: what BSF leaves there when the source is 0 is the
 * host's. */
#define SCAN(name)                                                                                           \
    ALU_SIZES_NO8(WRAP_KEEP, name)                                                                           \
    void bits_##name(struct vcpu *v, const struct insn *insn)                                                \
    {                                                                                                        \
        static const rmw_fn fn[4] = {NULL, name##_16, name##_32, name##_64};                                 \
        u8 reg = insn->opnd[0].reg;                                                                          \
        u64 b = interp_read(v, insn, 1);                                                                     \
        v->gpr[reg] = fn[size_index(insn->opnd[0].size)](v->gpr[reg], b, &v->rflags);                        \
    }
SCAN(bsf)
SCAN(bsr)
SCAN(tzcnt)
SCAN(lzcnt)
SCAN(popcnt)

/* Undefined for 16 bits: the register's low half becomes 0, as on the host. */
void bits_bswap(struct vcpu *v, const struct insn *insn)
{
    const struct opnd *o = &insn->opnd[0];
    u64 value = v->gpr[o->reg];
    if (o->size == 8)
        value = __builtin_bswap64(value);
    else
        value = o->size == 4 ? __builtin_bswap32((u32)value) : 0;
    interp_gpr_write(v, o->reg, o->size, false, value);
}

void bits_crc32(struct vcpu *v, const struct insn *insn)
{
    u64 crc = (u32)v->gpr[insn->opnd[0].reg], b = interp_read(v, insn, 1);
    switch (insn->opnd[1].size) {
    case 1:
        __asm__("crc32b %b1, %k0" : "+r"(crc) : "r"(b));
        break;
    case 2:
        __asm__("crc32w %w1, %k0" : "+r"(crc) : "r"(b));
        break;
    case 4:
        __asm__("crc32l %k1, %k0" : "+r"(crc) : "r"(b));
        break;
    default:
        __asm__("crc32q %q1, %q0" : "+r"(crc) : "r"(b));
    }
    v->gpr[insn->opnd[0].reg] = crc;
}

/* BMI: three operands, of which `a` is ModRM.rm or VEX.vvvv as Intel's syntax has it. Flags on the guest's.
 */
#define BMI3(name, text, x, y)                                                                               \
    void bits_##name(struct vcpu *v, const struct insn *insn)                                                \
    {                                                                                                        \
        u64 a = interp_read(v, insn, x), b = interp_read(v, insn, y), r;                                     \
        u16 ax = flags_to_host(v->rflags);                                                                   \
        if (insn->opnd[0].size == 8)                                                                         \
            __asm__(FLAGS_LOAD text " %q3, %q2, %q0" FLAGS_SAVE                                              \
                    : "=&r"(r), "+a"(ax)                                                                     \
                    : "r"(a), "r"(b)                                                                         \
                    : "cc");                                                                                 \
        else                                                                                                 \
            __asm__(FLAGS_LOAD text " %k3, %k2, %k0" FLAGS_SAVE                                              \
                    : "=&r"(r), "+a"(ax)                                                                     \
                    : "r"(a), "r"(b)                                                                         \
                    : "cc");                                                                                 \
        interp_write(v, insn, 0, r);                                                                         \
        v->rflags = flags_from_host(v->rflags, ax);                                                          \
    }
BMI3(andn, "andn", 1, 2)
BMI3(pext, "pext", 1, 2)
BMI3(pdep, "pdep", 1, 2)
BMI3(bzhi, "bzhi", 1, 2)
BMI3(bextr, "bextr", 1, 2)
BMI3(shlx, "shlx", 1, 2)
BMI3(sarx, "sarx", 1, 2)
BMI3(shrx, "shrx", 1, 2)

#define BMI2(name, text)                                                                                     \
    void bits_##name(struct vcpu *v, const struct insn *insn)                                                \
    {                                                                                                        \
        u64 b = interp_read(v, insn, 1), r;                                                                  \
        u16 ax = flags_to_host(v->rflags);                                                                   \
        if (insn->opnd[0].size == 8)                                                                         \
            __asm__(FLAGS_LOAD text " %q2, %q0" FLAGS_SAVE : "=&r"(r), "+a"(ax) : "r"(b) : "cc");            \
        else                                                                                                 \
            __asm__(FLAGS_LOAD text " %k2, %k0" FLAGS_SAVE : "=&r"(r), "+a"(ax) : "r"(b) : "cc");            \
        interp_write(v, insn, 0, r);                                                                         \
        v->rflags = flags_from_host(v->rflags, ax);                                                          \
    }
BMI2(blsr, "blsr")
BMI2(blsmsk, "blsmsk")
BMI2(blsi, "blsi")

void bits_rorx(struct vcpu *v, const struct insn *insn)
{
    unsigned bits = insn->opnd[0].size * 8, count = insn->imm & (bits - 1);
    u64 a = interp_read(v, insn, 1);
    interp_write(v, insn, 0, count ? a >> count | a << (bits - count) : a);
}
