/* FNSTENV, FLDENV, FNSAVE, FRSTOR: the environment in its four formats (SDM vol. 1 8.1.10, figures 8-9 to
 * 8-12). */
#include <string.h>
#include "engine/interp/native_check.h"

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static unsigned register_tag(const u8 *st)
{
    unsigned exponent = load_le16(st + 8) & 0x7fff;
    u64 significand = load_le64(st);
    if (exponent == 0x7fff)
        return TAG_SPECIAL;
    if (!exponent)
        return significand ? TAG_SPECIAL : TAG_ZERO;
    return significand >> 63 ? TAG_VALID : TAG_SPECIAL;
}

/* The full tag word: two bits per physical register. */
static u16 tag_word(const struct fpu *f)
{
    unsigned top = f->fsw >> 11 & 7;
    u16 word = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned tag = f->ftw >> i & 1 ? register_tag(f->st[(i - top) & 7]) : TAG_EMPTY;
        word |= (u16)(tag << (2 * i));
    }
    return word;
}

static u8 tag_abridge(u16 word)
{
    u8 tags = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((word >> (2 * i) & 3) != TAG_EMPTY)
            tags |= (u8)(1 << i);
    return tags;
}

static bool real_format(const struct vcpu *v)
{
    return cpu_is_real(v) || cpu_is_v86(v);
}

static void environment_build(const struct vcpu *v, bool wide, u8 *p)
{
    const struct fpu *f = &v->fpu;
    u32 fields[7] = {f->fcw, f->fsw, tag_word(f)};
    if (real_format(v)) {
        u32 ip = ((u32)f->fcs << 4) + (u32)f->fip, dp = ((u32)f->fds << 4) + (u32)f->fdp;
        fields[3] = (u16)ip;
        fields[4] = (ip >> 16 << 12 & (wide ? 0xffff000 : 0xf000)) | f->fop;
        fields[5] = (u16)dp;
        fields[6] = dp >> 16 << 12 & (wide ? 0xffff000 : 0xf000);
    } else {
        fields[3] = (u32)f->fip;
        fields[4] = f->fcs | (wide ? (u32)f->fop << 16 : 0);
        fields[5] = (u32)f->fdp;
        fields[6] = f->fds;
    }
    for (unsigned i = 0; i < 7; i++) {
        bool reserved = i < 3 || (i == 6 && !real_format(v)) || (real_format(v) && (i == 3 || i == 5));
        if (wide)
            store_le32(p + 4 * i, fields[i] | (reserved ? 0xffff0000 : 0));
        else
            store_le16(p + 2 * i, (u16)fields[i]);
    }
}

static void environment_take(struct vcpu *v, bool wide, const u8 *p)
{
    struct fpu *f = &v->fpu;
    u32 fields[7];
    for (unsigned i = 0; i < 7; i++)
        fields[i] = wide ? load_le32(p + 4 * i) : load_le16(p + 2 * i);
    f->fcw = x87_control_value((u16)fields[0]);
    x87_set_top(f, fields[1] >> 11 & 7);
    f->fsw = (u16)fields[1];
    f->ftw = tag_abridge((u16)fields[2]);
    if (real_format(v)) {
        f->fip = (fields[3] & 0xffff) | (fields[4] >> 12 << 16);
        f->fop = fields[4] & 0x7ff;
        f->fdp = (fields[5] & 0xffff) | (fields[6] >> 12 << 16);
        f->fcs = f->fds = 0;
    } else {
        f->fip = fields[3];
        f->fcs = (u16)fields[4];
        f->fop = wide ? fields[4] >> 16 & 0x7ff : 0;
        f->fdp = fields[5];
        f->fds = (u16)fields[6];
    }
    x87_update_summary(v);
    f->xinuse |= BIT(XSTATE_X87);
}

static unsigned environment_bytes(const struct insn *insn)
{
    return insn->opsize == 2 ? 14 : 28;
}

void x87_fnstenv(struct vcpu *v, const struct insn *insn)
{
    u8 image[28];
    unsigned bytes = environment_bytes(insn);
    native_check_x87(v);
    u64 lin = interp_mem_linear(v, insn, bytes, MMU_WRITE);
    native_check_align(v, lin, bytes / 7);
    environment_build(v, bytes == 28, image);
    mmu_write_bytes(v, lin, image, bytes);
    v->fpu.fcw |= FSW_EXCEPTIONS;
    x87_update_summary(v);
}

void x87_fldenv(struct vcpu *v, const struct insn *insn)
{
    u8 image[28];
    unsigned bytes = environment_bytes(insn);
    native_check_x87(v);
    native_check_pending(v);
    u64 lin = interp_mem_linear(v, insn, bytes, MMU_READ);
    native_check_align(v, lin, bytes / 7);
    mmu_read_bytes(v, lin, image, bytes);
    environment_take(v, bytes == 28, image);
}

void x87_fnsave(struct vcpu *v, const struct insn *insn)
{
    u8 image[108];
    unsigned env = environment_bytes(insn);
    native_check_x87(v);
    u64 lin = interp_mem_linear(v, insn, env + 80, MMU_WRITE);
    native_check_align(v, lin, env / 7);
    environment_build(v, env == 28, image);
    for (unsigned i = 0; i < 8; i++)
        memcpy(image + env + 10 * i, v->fpu.st[i], 10);
    mmu_write_bytes(v, lin, image, env + 80);
    x87_reset(v);
}

void x87_frstor(struct vcpu *v, const struct insn *insn)
{
    u8 image[108];
    unsigned env = environment_bytes(insn);
    native_check_x87(v);
    native_check_pending(v);
    u64 lin = interp_mem_linear(v, insn, env + 80, MMU_READ);
    native_check_align(v, lin, env / 7);
    mmu_read_bytes(v, lin, image, env + 80);
    environment_take(v, env == 28, image);
    for (unsigned i = 0; i < 8; i++) {
        memcpy(v->fpu.st[i], image + env + 10 * i, 10);
        memset(v->fpu.st[i] + 10, 0, 6);
    }
}
