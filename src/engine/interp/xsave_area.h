/* The parts of an XSAVE area, between struct fpu and an image of the guest's memory. SDM vol. 1 10.5.1
 * and 13.4. */
#ifndef RING3_ENGINE_INTERP_XSAVE_AREA_H
#define RING3_ENGINE_INTERP_XSAVE_AREA_H

#include "engine/interp/native_check.h"

/* Offsets in the legacy region. */
#define AREA_MXCSR 24
#define AREA_ST    32
#define AREA_XMM   160

/* Image bytes 0..23 and 32..159. `wide`: REX.W, 64-bit pointers without selectors. */
void area_save_x87(const struct vcpu *v, u8 *image, bool wide);
void area_load_x87(struct vcpu *v, const u8 *image, bool wide);
void area_init_x87(struct vcpu *v);

/* The address of the operand's first byte before the segment's checks: an area that is not aligned is found
 * first. */
static inline u64 area_flat(const struct vcpu *v, const struct insn *insn)
{
    return interp_ea(v, insn) + v->seg[insn->mem.seg].base;
}

void area_save_mxcsr(const struct vcpu *v, u8 *image);

/* Bytes of component `i` >= 1 that the mode accesses: outside 64-bit mode registers 8..31 do not exist. */
u32 area_component_bytes(const struct vcpu *v, unsigned i);

/* Component `i` >= 1 to and from `p`, where it lies (for SSE: the XMM part of the legacy region). Registers
 * that the mode does not have are neither saved nor loaded. load with NULL: initial values. */
void area_save_component(const struct vcpu *v, unsigned i, u8 *p);
void area_load_component(struct vcpu *v, unsigned i, const u8 *p);

#endif
