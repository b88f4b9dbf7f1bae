/* What the vector instructions' files share. */
#ifndef RING3_ENGINE_INTERP_VECTOR_H
#define RING3_ENGINE_INTERP_VECTOR_H

#include "engine/interp/native_check.h"

/* #UD and #NM by CR0, CR4, XCR0; a pending x87 exception for instructions with MMX registers. */
void vector_check(struct vcpu *v, const struct insn *insn);

/* Runs the stub on v->native->bounce; raises #XM or #UD. */
void vector_run(struct vcpu *v, const struct insn *insn);

#endif
