/* Decimal adjustment: gone from 64-bit mode, so by the manual's pseudo-code (SDM vol. 2A). */
#include "engine/interp/alu.h"
#include "engine/interp/dispatch.h"

static void set_al(struct vcpu *v, u8 al)
{
    interp_gpr_write(v, RAX, 1, false, al);
}

/* SF, ZF, PF of a byte, with CF and AF as given; OF and the rest as the host's TEST leaves them. */
static void set_flags(struct vcpu *v, u8 result, bool cf, bool af)
{
    alu_test_8(result, result, &v->rflags);
    v->rflags = (v->rflags & ~(u64)(FLAG_CF | FLAG_AF)) | (cf ? FLAG_CF : 0) | (af ? FLAG_AF : 0);
}

void bcd_daa(struct vcpu *v, const struct insn *insn)
{
    u8 old = (u8)v->gpr[RAX], al = old;
    bool old_cf = v->rflags & FLAG_CF, cf = false, af = false;
    if ((al & 15) > 9 || (v->rflags & FLAG_AF)) {
        cf = old_cf || al > 0xf9;
        al = (u8)(al + 6);
        af = true;
    }
    if (old > 0x99 || old_cf) {
        al = (u8)(al + 0x60);
        cf = true;
    }
    set_al(v, al);
    set_flags(v, al, cf, af);
}

void bcd_das(struct vcpu *v, const struct insn *insn)
{
    u8 old = (u8)v->gpr[RAX], al = old;
    bool old_cf = v->rflags & FLAG_CF, cf = false, af = false;
    if ((al & 15) > 9 || (v->rflags & FLAG_AF)) {
        cf = old_cf || al < 6;
        al = (u8)(al - 6);
        af = true;
    }
    if (old > 0x99 || old_cf) {
        al = (u8)(al - 0x60);
        cf = true;
    }
    set_al(v, al);
    set_flags(v, al, cf, af);
}

static void adjust_ascii(struct vcpu *v, u16 delta)
{
    u16 ax = (u16)v->gpr[RAX];
    bool adjust = (ax & 15) > 9 || (v->rflags & FLAG_AF);
    if (adjust)
        ax = (u16)(ax + delta);
    ax &= 0xff0f;
    interp_gpr_write(v, RAX, 2, false, ax);
    set_flags(v, (u8)ax, adjust, adjust);
}

void bcd_aaa(struct vcpu *v, const struct insn *insn)
{
    adjust_ascii(v, 0x106);
}

void bcd_aas(struct vcpu *v, const struct insn *insn)
{
    adjust_ascii(v, (u16)-0x106);
}

void bcd_aam(struct vcpu *v, const struct insn *insn)
{
    u8 base = (u8)insn->imm, al = (u8)v->gpr[RAX];
    if (base == 0)
        cpu_raise(v, EXC_DE);
    interp_gpr_write(v, RAX, 2, false, (u64)(al / base) << 8 | al % base);
    set_flags(v, al % base, false, false);
}

void bcd_aad(struct vcpu *v, const struct insn *insn)
{
    u16 ax = (u16)v->gpr[RAX];
    u8 al = (u8)((u8)ax + (ax >> 8) * (u8)insn->imm);
    interp_gpr_write(v, RAX, 2, false, al);
    set_flags(v, al, false, false);
}
