/* May this instruction run now? CR0, CR4, XCR0: SDM vol. 3 table 2-? of 2.5, 13.1 and 13.2; vol. 2 2.4 - 2.8.
 */
#ifndef RING3_ENGINE_INTERP_NATIVE_CHECK_H
#define RING3_ENGINE_INTERP_NATIVE_CHECK_H

#include "cpu/xstate.h"
#include "engine/interp/interp.h"
#include "engine/interp/stub.h"

enum fsw_bit {
    FSW_EXCEPTIONS = 0x3f, /* IE DE ZE OE UE PE */
    FSW_SF = BIT(6),
    FSW_ES = BIT(7),
    FSW_C1 = BIT(9),
    FSW_TOP = 7 << 11,
    FSW_B = BIT(15),
};

/* Reports the pending x87 exception: #MF, or FERR# (which the PC wires to IRQ 13) when CR0.NE is clear. With
 * FERR# the processor would wait for the interrupt; here the instruction goes on, as with IGNNE# asserted. */
void native_x87_pending(struct vcpu *v);

static inline void native_check_pending(struct vcpu *v)
{
    if (unlikely(v->fpu.fsw & FSW_ES))
        native_x87_pending(v);
}

static inline void native_check_x87(struct vcpu *v)
{
    if (unlikely(v->cr0 & (CR0_EM | CR0_TS)))
        cpu_raise(v, EXC_NM);
}

static inline void native_check_mmx(struct vcpu *v)
{
    if (unlikely(v->cr0 & CR0_EM))
        cpu_raise_ud(v);
    if (unlikely(v->cr0 & CR0_TS))
        cpu_raise(v, EXC_NM);
    native_check_pending(v);
}

static inline void native_check_sse(struct vcpu *v)
{
    if (unlikely((v->cr0 & CR0_EM) || !(v->cr4 & CR4_OSFXSR)))
        cpu_raise_ud(v);
    if (unlikely(v->cr0 & CR0_TS))
        cpu_raise(v, EXC_NM);
}

/* `needed`: XCR0 bits. */
static inline void native_check_xcr0(struct vcpu *v, u64 needed)
{
    if (unlikely(!(v->cr4 & CR4_OSXSAVE) || (v->xcr0 & needed) != needed))
        cpu_raise_ud(v);
    if (unlikely(v->cr0 & CR0_TS))
        cpu_raise(v, EXC_NM);
}

#define XCR0_FOR_VEX  (BIT(XSTATE_SSE) | XCR0_AVX)
#define XCR0_FOR_EVEX (XCR0_FOR_VEX | XCR0_AVX512)

/* The conversion of an x87 register file into an MMX one: TOP = 0, all registers in use (SDM vol. 1 9.5). */
void native_mmx_enter(struct vcpu *v);

/* Raises what the host reported while a stub ran. */
_Noreturn void native_raise_host_fault(struct vcpu *v);

/* The memory operand. */

/* Linear address of `size` bytes of the operand, with the alignment that the instruction demands: #GP(0),
 * #AC. */
u64 native_operand(struct vcpu *v, const struct insn *insn, unsigned size, enum mmu_access access);
/* #AC(0) if it is on and `lin` is not a multiple of `align`. */
static inline void native_check_align(struct vcpu *v, u64 lin, unsigned align)
{
    if (unlikely(v->mmu_index == MMU_USER_ALIGN) && (lin & (align - 1)))
        cpu_raise_error(v, EXC_AC, 0);
}

/* A host pointer if the access is within one page of RAM that the soft TLB knows; else NULL. */
static inline void *native_fast_ptr(struct vcpu *v, u64 lin, unsigned size, bool write)
{
    if (unlikely(v->mmu_index == MMU_USER_ALIGN))
        return NULL;
    struct tlb_entry *e = tlb_slot(v, lin, v->mmu_index);
    if (likely((write ? e->write : e->read) == tlb_tag(v, lin, size, v->mmu_index)))
        return (void *)(lin + e->addend);
    return NULL;
}

/* Copies of operand sizes, as one access where the host has one. */
static inline void native_copy(void *to, const void *from, unsigned size)
{
    switch (size) {
    case 4:
        __builtin_memcpy(to, from, 4);
        break;
    case 8:
        __builtin_memcpy(to, from, 8);
        break;
    case 16:
        __builtin_memcpy(to, from, 16);
        break;
    default:
        __builtin_memcpy(to, from, size);
    }
}

/* Reads and writes of `size` bytes at a linear address that native_operand gave. A write must have been
 * probed. */
static inline void native_read(struct vcpu *v, u64 lin, void *buf, unsigned size)
{
    const void *p = native_fast_ptr(v, lin, size, false);
    if (likely(p != NULL))
        native_copy(buf, p, size);
    else
        mmu_read_bytes(v, lin, buf, size);
}

static inline void native_write(struct vcpu *v, u64 lin, const void *buf, unsigned size)
{
    void *p = native_fast_ptr(v, lin, size, true);
    if (likely(p != NULL))
        native_copy(p, buf, size);
    else
        mmu_write_bytes(v, lin, buf, size);
}

static inline void native_probe_write(struct vcpu *v, u64 lin, unsigned size)
{
    if (unlikely(!native_fast_ptr(v, lin, size, true)))
        mmu_probe(v, lin, size, MMU_WRITE, v->mmu_index);
}

/* Handlers, by file; see each. */
void vector_execute(struct vcpu *v, const struct insn *insn);        /* vector.c */
void vector_execute_masked(struct vcpu *v, const struct insn *insn); /* vector_mask.c */
bool vector_is_packed(const struct insn *insn);
void vector_maskmov_vex(struct vcpu *v, const struct insn *insn);
void vector_maskmov_bytes(struct vcpu *v, const struct insn *insn);
void vector_gather(struct vcpu *v, const struct insn *insn); /* gather.c */
void vector_scatter(struct vcpu *v, const struct insn *insn);
void vector_ldmxcsr(struct vcpu *v, const struct insn *insn); /* vector_control.c */
void vector_stmxcsr(struct vcpu *v, const struct insn *insn);
void vector_zero_upper(struct vcpu *v, const struct insn *insn);
void vector_zero_all(struct vcpu *v, const struct insn *insn);
void vector_emms(struct vcpu *v, const struct insn *insn);
void x87_execute(struct vcpu *v, const struct insn *insn); /* x87.c */
void x87_fwait(struct vcpu *v, const struct insn *insn);
void x87_fninit(struct vcpu *v, const struct insn *insn);
void x87_fnclex(struct vcpu *v, const struct insn *insn);
void x87_fnstsw(struct vcpu *v, const struct insn *insn);
void x87_fnstcw(struct vcpu *v, const struct insn *insn);
void x87_fldcw(struct vcpu *v, const struct insn *insn);
void x87_nop(struct vcpu *v, const struct insn *insn);
void x87_fldenv(struct vcpu *v, const struct insn *insn); /* x87_env.c */
void x87_fnstenv(struct vcpu *v, const struct insn *insn);
void x87_frstor(struct vcpu *v, const struct insn *insn);
void x87_fnsave(struct vcpu *v, const struct insn *insn);
void xsave_fxsave(struct vcpu *v, const struct insn *insn); /* xsave_legacy.c */
void xsave_fxrstor(struct vcpu *v, const struct insn *insn);
void xsave_xsave(struct vcpu *v, const struct insn *insn);  /* xsave.c: XSAVE, XSAVEOPT */
void xsave_xsavec(struct vcpu *v, const struct insn *insn); /* XSAVEC, XSAVES */
void xsave_xrstor(struct vcpu *v, const struct insn *insn); /* XRSTOR, XRSTORS */

/* MXCSR bits that exist: FXSAVE's MXCSR_MASK. */
static inline u32 native_mxcsr_mask(const struct vcpu *v)
{
    return cpu_has(v, FEAT_MISALIGNSSE) ? 0x2ffff : 0xffff;
}

/* x87 state as the manual resets it (FNINIT), and FSW.ES/B from the masks. */
void x87_reset(struct vcpu *v);
/* Moves the top of the stack: the physical registers stay, st[] follows TOP. */
void x87_set_top(struct fpu *fpu, unsigned top);
void x87_update_summary(struct vcpu *v);

/* FCW as the register keeps it: bit 6 reads as one, bits 7 and 13..15 as zero. */
static inline u16 x87_control_value(u16 value)
{
    return (value & 0x1f3f) | 0x40;
}

#endif
