/*
 * Vector, MMX, x87 and extended-state instructions: run natively in re-encoded stubs (CLASS_X87, CLASS_MMX,
 * CLASS_SSE, CLASS_VEX, CLASS_EVEX, and the FXSAVE/XSAVE family).
 */
#ifndef RING3_ENGINE_INTERP_NATIVE_H
#define RING3_ENGINE_INTERP_NATIVE_H

#include "engine/interp/interp.h"

/* The handler of such an instruction (a plain one: it does not touch v->rip), or interp_ud. The CPU model's
 * feature bits are checked by the caller. */
interp_handler native_handler(const struct insn *insn);

/* v->native: the vCPU's stub cache. An engine's vcpu_init and vcpu_finish call these; finish accepts a vCPU
 * without one. Init installs the process's fault handlers (host_fault.h) on first use. */
int native_init(struct vcpu *v, struct error *err);
void native_finish(struct vcpu *v);

#endif
