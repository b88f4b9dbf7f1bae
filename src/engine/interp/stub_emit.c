/* What surrounds the operation in a stub: loads and stores of the guest's registers, flags and MXCSR. */
#include <stddef.h>
#include <string.h>
#include "engine/interp/stub.h"

#define AT_VECTOR(n) ((u32)offsetof(struct vcpu, fpu.zmm) + 64 * (n))
#define AT_OPMASK(n) ((u32)offsetof(struct vcpu, fpu.k) + 8 * (n))
#define AT_MMX(n)                                                                                            \
    ((u32)offsetof(struct vcpu, fpu.st) + 16 * (n)) /* TOP is 0 when a stub uses MMX registers */
#define AT_GPR(n) ((u32)offsetof(struct vcpu, gpr) + 8 * (n))
#define AT_RFLAGS ((u32)offsetof(struct vcpu, rflags))
#define AT_MXCSR  ((u32)offsetof(struct vcpu, fpu.mxcsr))

struct emitter {
    u8 *start, *p;
    s32 host_mxcsr;
    const struct native *native;
    const struct insn *insn;
    const struct stub_key *key;
    unsigned width; /* bytes in which vector sources are loaded */
    bool mxcsr, mmx, vex;
};

static void emit_bytes(struct emitter *e, const char *bytes, unsigned count)
{
    memcpy(e->p, bytes, count);
    e->p += count;
}
#define EMIT(e, bytes) emit_bytes(e, bytes, sizeof(bytes) - 1)

static void emit_u8(struct emitter *e, unsigned byte)
{
    *e->p++ = (u8)byte;
}

static void emit_u32(struct emitter *e, u32 value)
{
    store_le32(e->p, value);
    e->p += 4;
}

/* ModRM and displacement: reg, [rdi + disp32]. */
static void emit_vcpu_operand(struct emitter *e, unsigned reg, u32 offset)
{
    emit_u8(e, 0x80 | (reg & 7) << 3 | RDI);
    emit_u32(e, offset);
}

static void emit_gpr(struct emitter *e, unsigned host, unsigned guest, bool store)
{
    emit_u8(e, 0x48 | (host >> 3) << 2);
    emit_u8(e, store ? 0x89 : 0x8b);
    emit_vcpu_operand(e, host, AT_GPR(guest));
}

static void emit_mmx(struct emitter *e, unsigned reg, bool store)
{
    emit_u8(e, 0x0f);
    emit_u8(e, store ? 0x7f : 0x6f);
    emit_vcpu_operand(e, reg, AT_MMX(reg));
}

static void emit_vector(struct emitter *e, unsigned reg, unsigned bytes, bool store)
{
    if (bytes == 64 || reg >= 16) { /* EVEX.0F.W0 28/29: VMOVAPS */
        unsigned ll = bytes == 64 ? 2 : bytes == 32 ? 1 : 0;
        emit_u8(e, 0x62);
        emit_u8(e, 0x61 | (~reg << 4 & 0x80) | (~reg & 0x10));
        emit_u8(e, 0x7c);
        emit_u8(e, 0x08 | ll << 5);
    } else if (e->vex) {
        emit_u8(e, 0xc5);
        emit_u8(e, (~reg << 4 & 0x80) | 0x78 | (bytes == 32) << 2);
    } else {
        if (reg >= 8)
            emit_u8(e, 0x44);
        emit_u8(e, 0x0f);
    }
    emit_u8(e, store ? 0x29 : 0x28);
    emit_vcpu_operand(e, reg, AT_VECTOR(reg));
}

static void emit_opmask(struct emitter *e, unsigned reg, bool store)
{
    if (e->native->opmask64)
        EMIT(e, "\xc4\xe1\xf8"); /* KMOVQ */
    else
        EMIT(e, "\xc5\xf8"); /* KMOVW */
    emit_u8(e, store ? 0x91 : 0x90);
    emit_vcpu_operand(e, reg, AT_OPMASK(reg));
}

static void emit_mxcsr_guest_load(struct emitter *e)
{
    EMIT(e, "\x0f\xae");
    emit_vcpu_operand(e, 2, AT_MXCSR);
}

static void emit_mxcsr_swap_back(struct emitter *e)
{
    EMIT(e, "\x0f\xae");
    emit_vcpu_operand(e, 3, AT_MXCSR);
    EMIT(e, "\x0f\xae\x15"); /* ldmxcsr [rip + disp32] */
    emit_u32(e, (u32)(e->host_mxcsr - (s32)(e->p + 4 - e->start)));
}

/* The guest's arithmetic flags into the host's. */
static void emit_flags_in(struct emitter *e)
{
    EMIT(e, "\x44\x8b"); /* mov r8d, [rdi + rflags] */
    emit_vcpu_operand(e, R8, AT_RFLAGS);
    EMIT(e, "\x41\x81\xe0"); /* and r8d, imm32 */
    emit_u32(e, FLAGS_ARITH);
    EMIT(e, "\x41\x50\x9d"); /* push r8; popfq */
}

static void emit_flags_out(struct emitter *e, u32 mask)
{
    EMIT(e, "\x9c\x41\x58"); /* pushfq; pop r8 */
    EMIT(e, "\x44\x8b");     /* mov r9d, [rdi + rflags] */
    emit_vcpu_operand(e, R9, AT_RFLAGS);
    EMIT(e, "\x41\x81\xe0"); /* and r8d, mask */
    emit_u32(e, mask);
    EMIT(e, "\x41\x81\xe1"); /* and r9d, ~mask */
    emit_u32(e, ~mask);
    EMIT(e, "\x45\x09\xc1\x44\x89"); /* or r9d, r8d; mov [rdi + rflags], r9d */
    emit_vcpu_operand(e, R9, AT_RFLAGS);
}

/* PCMPxSTRM has its result in XMM0 without naming it. */
static bool writes_xmm0(const struct insn *insn)
{
    return insn->map == 3 && insn->pp == 1 && (insn->opcode == 0x60 || insn->opcode == 0x62) &&
           insn->encoding != ENC_EVEX;
}

static void emit_implicit_gprs(struct emitter *e, u16 mask, bool store)
{
    for (unsigned r = RAX; r <= RDX; r++)
        if (mask >> r & 1)
            emit_gpr(e, r, r, store);
}

static void emit_explicit_gprs(struct emitter *e, bool store)
{
    for (unsigned i = 0; i < e->insn->nopnds; i++) {
        const struct opnd *opnd = &e->insn->opnd[i];
        if (opnd->kind != OPND_GPR || (store && !(opnd->access & ACCESS_W)))
            continue;
        enum insn_field field = insn_opnd_field(e->insn, i);
        if (field == FIELD_RM || field == FIELD_REG || field == FIELD_VVVV)
            emit_gpr(e, field == FIELD_RM ? RAX : field == FIELD_REG ? RCX : RDX, opnd->reg, store);
    }
}

static void emit_loads(struct emitter *e)
{
    const struct insn *insn = e->insn;
    if (insn->aaa)
        emit_opmask(e, insn->aaa, false);
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *opnd = &insn->opnd[i];
        if (opnd->kind == OPND_VEC)
            emit_vector(e, opnd->reg, e->width, false);
        else if (opnd->kind == OPND_KREG)
            emit_opmask(e, opnd->reg, false);
        else if (opnd->kind == OPND_MMX)
            emit_mmx(e, opnd->reg, false);
    }
    emit_explicit_gprs(e, false);
    emit_implicit_gprs(e, insn->info->gpr_read, false);
}

static void emit_stores(struct emitter *e)
{
    const struct insn *insn = e->insn;
    unsigned full = e->vex ? e->native->vector_bytes : 16;
    for (unsigned i = 0; i < insn->nopnds; i++) {
        const struct opnd *opnd = &insn->opnd[i];
        if (!(opnd->access & ACCESS_W))
            continue;
        if (opnd->kind == OPND_VEC)
            emit_vector(e, opnd->reg, full, true);
        else if (opnd->kind == OPND_KREG)
            emit_opmask(e, opnd->reg, true);
        else if (opnd->kind == OPND_MMX)
            emit_mmx(e, opnd->reg, true);
    }
    if (writes_xmm0(insn))
        emit_vector(e, 0, full, true);
    emit_explicit_gprs(e, true);
    emit_implicit_gprs(e, insn->info->gpr_write, true);
}

/* Leaves the host as the C ABI wants it. */
static void emit_clean_up(struct emitter *e)
{
    if (e->mxcsr)
        emit_mxcsr_swap_back(e);
    if (e->vex)
        EMIT(e, "\xc5\xf8\x77"); /* vzeroupper */
    if (e->mmx)
        EMIT(e, "\x0f\x77"); /* emms */
}

static void emit_vector_stub(struct emitter *e, unsigned *resume)
{
    const struct insn_info *info = e->insn->info;
    if (e->mxcsr)
        emit_mxcsr_guest_load(e);
    emit_loads(e);
    memcpy(e->p, e->key->bytes, e->key->len);
    e->p += e->key->len;
    if (info->flags_write & FLAGS_ARITH)
        emit_flags_out(e, info->flags_write & FLAGS_ARITH);
    emit_stores(e);
    emit_clean_up(e);
    EMIT(e, "\x31\xc0\xc3"); /* xor eax, eax; ret */
    *resume = (unsigned)(e->p - e->start);
    emit_clean_up(e);
    EMIT(e, "\xb8\x01\x00\x00\x00\xc3"); /* mov eax, 1; ret */
}

/* rdx points to an FXSAVE image; the instructions of CLASS_X87 use no general register (FNSTSW AX is not
 * ours). */
static void emit_x87_stub(struct emitter *e, unsigned *resume)
{
    const struct insn_info *info = e->insn->info;
    EMIT(e, "\x48\x0f\xae\x0a"); /* fxrstor64 [rdx] */
    if ((info->flags_read | info->flags_write) & FLAGS_ARITH)
        emit_flags_in(e);
    memcpy(e->p, e->key->bytes, e->key->len);
    e->p += e->key->len;
    EMIT(e, "\x48\x0f\xae\x02"); /* fxsave64 [rdx] */
    EMIT(e, "\xdb\xe3");         /* fninit */
    if (info->flags_write & FLAGS_ARITH)
        emit_flags_out(e, FLAGS_ARITH);
    EMIT(e, "\x31\xc0\xc3"); /* xor eax, eax; ret */
    *resume = (unsigned)(e->p - e->start);
    EMIT(e, "\xdb\xe3\xb8\x01\x00\x00\x00\xc3"); /* fninit; mov eax, 1; ret */
}

static unsigned source_width(const struct insn *insn)
{
    if (insn->encoding == ENC_EVEX)
        return 64; /* registers 16..31 in less need AVX512VL */
    unsigned width = insn->encoding == ENC_LEGACY ? 16 : 16u << insn->vl;
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == OPND_VEC && insn->opnd[i].size > width)
            width = insn->opnd[i].size;
    return width;
}

unsigned stub_emit(struct native *n, const struct insn *insn, const struct stub_key *key, u8 *at,
                   s32 host_mxcsr, unsigned *resume)
{
    struct emitter e = {
        .start = at,
        .p = at,
        .host_mxcsr = host_mxcsr,
        .native = n,
        .insn = insn,
        .key = key,
        .width = source_width(insn),
        .mxcsr = insn->info->attrs & ATTR_MXCSR,
        .vex = insn->encoding != ENC_LEGACY,
    };
    for (unsigned i = 0; i < insn->nopnds; i++)
        e.mmx |= insn->opnd[i].kind == OPND_MMX;
    if (key->kind == STUB_X87)
        emit_x87_stub(&e, resume);
    else
        emit_vector_stub(&e, resume);
    return (unsigned)(e.p - at);
}
