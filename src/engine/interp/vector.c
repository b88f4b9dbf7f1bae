/*
 * Vector and MMX instructions: enables, memory operand, stub, result. Masked memory operands are in
 * vector_mask.c, vector indexes in gather.c.
 */
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

/* AMD's processors do not demand alignment of the SHA extensions' operands, whatever the manuals say. */
static bool is_sha(const struct insn *insn)
{
    return (insn->map == 2 && insn->opcode >= 0xc8 && insn->opcode <= 0xcd) ||
           (insn->map == 3 && insn->opcode == 0xcc);
}

/* Does an operand that is not aligned raise #GP(0)? */
static bool demands_alignment(const struct vcpu *v, const struct insn *insn, unsigned size)
{
    u32 attrs = insn->info->attrs;
    if (insn->encoding != ENC_LEGACY)
        return attrs & ATTR_ALIGNED;
    if (size != 16 || (attrs & ATTR_UNALIGNED_OK))
        return false;
    if (is_sha(insn) && v->vm->model.vendor == VENDOR_AMD)
        return false;
    /* AMD's misaligned mode (APM vol. 2 11.6.2): MXCSR.MM leaves it to #AC, but for plain moves. */
    return is_aligned_move(insn) || !(v->fpu.mxcsr & BIT(17));
}

u64 native_operand(struct vcpu *v, const struct insn *insn, unsigned size, enum mmu_access access)
{
    u64 ea = interp_ea(v, insn);
    u64 flat = ea + v->seg[insn->mem.seg].base;
    if (unlikely(flat & (size - 1)) && demands_alignment(v, insn, size))
        cpu_raise_gp0(v);
    u64 lin = seg_linear(v, insn->mem.seg, ea, size, access);
    native_check_align(v, lin, size & (size - 1) ? 8 : MIN(size, 16u));
    return lin;
}

void x87_set_top(struct fpu *fpu, unsigned top)
{
    unsigned by = (top - (fpu->fsw >> 11)) & 7;
    if (by) {
        u8 st[8][16];
        __builtin_memcpy(st, fpu->st, sizeof st);
        for (unsigned i = 0; i < 8; i++)
            __builtin_memcpy(fpu->st[i], st[(i + by) & 7], 16);
    }
    fpu->fsw = (u16)((fpu->fsw & ~FSW_TOP) | top << 11);
}

void native_mmx_enter(struct vcpu *v)
{
    x87_set_top(&v->fpu, 0);
    v->fpu.ftw = 0xff;
    v->fpu.xinuse |= BIT(XSTATE_X87);
}

/* Runs the stub of an instruction with MMX registers. The x87 register file becomes an MMX one even if #XM
 * follows. */
static void run_mmx(struct vcpu *v, const struct insn *insn, const struct stub *stub)
{
    struct fpu *fpu = &v->fpu;
    native_mmx_enter(v);
    if (unlikely(!stub_run(v->native, stub, v)))
        native_raise_host_fault(v);
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == OPND_MMX && (insn->opnd[i].access & ACCESS_W))
            store_le16(fpu->st[insn->opnd[i].reg] + 8, 0xffff);
}

void vector_run(struct vcpu *v, const struct insn *insn)
{
    const struct stub *stub = stub_of(v->native, insn, STUB_VECTOR);
    if (unlikely(insn->info->klass == CLASS_MMX) && uses_register_kind(insn, OPND_MMX)) {
        run_mmx(v, insn, stub);
    } else if (unlikely(!stub_run(v->native, stub, v))) {
        native_raise_host_fault(v);
    }
    v->fpu.xinuse |= touched_components(insn);
}

void vector_check(struct vcpu *v, const struct insn *insn)
{
    switch (insn->info->klass) {
    case CLASS_MMX: /* with an XMM register (CVTPI2PS, MOVQ2DQ, ...) it takes SSE's enables; x87 counts for
                       MMX ones */
        if (uses_register_kind(insn, OPND_VEC))
            native_check_sse(v);
        if (uses_register_kind(insn, OPND_MMX))
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
