/* Segmentation: effective to linear address, and loading segment registers (SDM vol. 3 chapters 3 and 5). */
#ifndef RING3_CPU_SEG_H
#define RING3_CPU_SEG_H

#include "cpu/exc.h"
#include "cpu/mmu.h"

static inline bool is_canonical(u64 lin)
{
    return (u64)((s64)(lin << 16) >> 16) == lin;
}

/* Checks type, limit, canonical form of `size` bytes at seg:off and returns the linear address; raises
 * #GP(0), or #SS(0) for SS. `off` is already wrapped to the address size. */
u64 seg_linear_slow(struct vcpu *v, unsigned seg, u64 off, unsigned size, enum mmu_access access);

static inline u64 seg_linear(struct vcpu *v, unsigned seg, u64 off, unsigned size, enum mmu_access access)
{
    if (likely(v->code64)) {
        u64 lin = seg >= FS ? off + v->seg[seg].base : off;
        if (likely(is_canonical(lin) && is_canonical(lin + size - 1)))
            return lin;
    }
    return seg_linear_slow(v, seg, off, size, access);
}

/* MOV Sreg / POP Sreg / LDS...: all checks, sets the accessed bit; not for CS. In real and v86 mode: base =
 * sel << 4. */
void seg_load(struct vcpu *v, unsigned seg, u16 selector);

void cpu_lldt(struct vcpu *v, u16 selector);
void cpu_ltr(struct vcpu *v, u16 selector);

/* LAR, LSL, VERR, VERW: false means ZF = 0. */
bool cpu_lar(struct vcpu *v, u16 selector, u32 *rights);
bool cpu_lsl(struct vcpu *v, u16 selector, u32 *limit);
bool cpu_verr(struct vcpu *v, u16 selector);
bool cpu_verw(struct vcpu *v, u16 selector);

/* Raises #GP(0) unless `size` ports from `port` may be accessed (CPL <= IOPL, or the TSS's bitmap). */
void cpu_check_io(struct vcpu *v, u16 port, unsigned size);

#endif
