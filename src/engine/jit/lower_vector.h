/* Vector instructions on the host's registers. */
#ifndef RING3_ENGINE_JIT_LOWER_VECTOR_H
#define RING3_ENGINE_JIT_LOWER_VECTOR_H

#include "engine/jit/lower.h"

/* Can lower_vector have this, in this mode? */
bool vector_is_native(const struct insn *insn, unsigned mode);
bool lower_vector(struct translation *t, unsigned i);

/* thunk.vectors_load, vectors_store: called, they change no general register and no flag. `bytes`: width of
 * the model's registers. */
void vectors_emit_thunks(struct jit *j, struct emitter *e, unsigned bytes);

#endif
