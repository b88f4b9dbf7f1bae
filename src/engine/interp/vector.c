/*
 * Vector and MMX instructions: enables, memory operand, stub, result. Masked memory operands are in
 * vector_mask.c, vector indexes in gather.c.
 */
#include <signal.h>
#include <signal.h>
#include "engine/interp/vector.h"

/* Registers that this encoding may change: for XINUSE. */
static u64 touched_components(const struct insn *insn)
{
    switch (insn->encoding) {
    case ENC_LEGACY:
        return BIT(XSTATE_SSE);
    case ENC_VEX:
        return BIT(XSTATE_SSE) | BIT(XSTATE_AVX) | BIT(XSTATE_OPMASK);
    default:
        return XCR0_FOR_EVEX;
    }
}

static bool uses_register_kind(const struct insn *insn, enum opnd_kind kind)
{
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == kind)
            return true;
    return false;
}

void native_raise_host_fault(struct vcpu *v)
{
    switch (v->native->scope.signal) {
    case SIGFPE:
        if (v->cr4 & CR4_OSXMMEXCPT)
            cpu_raise(v, EXC_XM);
        cpu_raise_ud(v);
    case SIGILL:
        cpu_raise_ud(v);
    default:
        cpu_raise_gp0(v);
    }
}

/* MOVAPS, MOVAPD, MOVDQA and the non-temporal moves. */
static bool is_aligned_move(const struct insn *insn)
{
    if (insn->map == 2)
        return insn->opcode == 0x2a;
    if (insn->map != 1)
        return false;
    switch (insn->opcode) {
    case 0x28:
    case 0x29:
    case 0x2b:
    case 0x6f:
    case 0x7f:
    case 0xe7:
        return true;
    default:
        return false;
    }
}

u64 native_operand(struct vcpu *v, const struct insn *insn, unsigned size, enum mmu_access access)
{
    u64 lin = interp_mem_linear(v, insn, size, access);
    u32 attrs = insn->info->attrs;
    if (insn->encoding != ENC_LEGACY) {
        if (unlikely((attrs & ATTR_ALIGNED) && (lin & (size - 1))))
            cpu_raise_gp0(v);
    } else if (size == 16 && !(attrs & ATTR_UNALIGNED_OK) && unlikely(lin & 15)) {
        /* AMD's misaligned mode (APM vol. 2 11.6.2): MXCSR.MM leaves it to #AC, but for plain moves. */
        if (is_aligned_move(insn) || !(v->fpu.mxcsr & BIT(17)))
            cpu_raise_gp0(v);
    }
    native_check_align(v, lin, size & (size - 1) ? 8 : size);
    return lin;
}

void native_mmx_enter(struct vcpu *v)
{
    struct fpu *fpu = &v->fpu;
    unsigned top = fpu->fsw >> 11 & 7;
    if (top) { /* st[] is in stack order: make it physical */
        u8 st[8][16];
        __builtin_memcpy(st, fpu->st, sizeof st);
        for (unsigned i = 0; i < 8; i++)
            __builtin_memcpy(fpu->st[(i + top) & 7], st[i], 16);
        fpu->fsw &= (u16)~FSW_TOP;
    }
    fpu->ftw = 0xff;
    fpu->xinuse |= BIT(XSTATE_X87);
}

/* Runs the stub of an instruction with MMX registers. The x87 register file becomes an MMX one only if it
 * completes. */
static void run_mmx(struct vcpu *v, const struct insn *insn, const struct stub *stub)
{
    struct fpu *fpu = &v->fpu;
    u16 fsw = fpu->fsw;
    u8 ftw = fpu->ftw, st[8][16];
    bool rotate = fsw & FSW_TOP;
    if (rotate)
        __builtin_memcpy(st, fpu->st, sizeof st);
    native_mmx_enter(v);
    if (unlikely(!stub_run(v->native, stub, v))) {
        fpu->fsw = fsw;
        fpu->ftw = ftw;
        if (rotate)
            __builtin_memcpy(fpu->st, st, sizeof st);
        native_raise_host_fault(v);
    }
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == OPND_MMX && (insn->opnd[i].access & ACCESS_W))
            store_le16(fpu->st[insn->opnd[i].reg] + 8, 0xffff);
}

void vector_run(struct vcpu *v, const struct insn *insn)
{
    const struct stub *stub = stub_of(v->native, insn, STUB_VECTOR);
    if (unlikely(insn->info->klass == CLASS_MMX)) {
        run_mmx(v, insn, stub);
    } else if (unlikely(!stub_run(v->native, stub, v))) {
        native_raise_host_fault(v);
    }
    v->fpu.xinuse |= touched_components(insn);
}

void vector_check(struct vcpu *v, const struct insn *insn)
{
    switch (insn->info->klass) {
    case CLASS_MMX: /* with an XMM register too (CVTPI2PS, MOVQ2DQ, ...) it takes both enables */
        if (uses_register_kind(insn, OPND_VEC))
            native_check_sse(v);
        native_check_mmx(v);
        break;
    case CLASS_SSE:
        native_check_sse(v);
        break;
    case CLASS_VEX:
        native_check_xcr0(v, unlikely(uses_register_kind(insn, OPND_KREG)) ? XCR0_FOR_EVEX : XCR0_FOR_VEX);
        break;
    default:
        native_check_xcr0(v, XCR0_FOR_EVEX);
    }
}

/* One handler for all whose memory operand, if any, is accessed as a whole. */
void vector_execute(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    const struct opnd *mem = insn->modrm < 0xc0 ? insn_mem_opnd(insn) : NULL;
    if (!mem || !mem->access) {
        vector_run(v, insn);
        return;
    }
    struct native *n = v->native;
    unsigned size = mem->size;
    if (!(mem->access & ACCESS_W)) {
        native_read(v, native_operand(v, insn, size, MMU_READ), n->bounce, size);
        vector_run(v, insn);
        return;
    }
    u64 lin = native_operand(v, insn, size, MMU_WRITE);
    native_probe_write(v, lin, size);
    if (mem->access & ACCESS_R)
        native_read(v, lin, n->bounce, size);
    vector_run(v, insn);
    native_write(v, lin, n->bounce, size);
}
