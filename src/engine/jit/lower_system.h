/* lower_system.c's rows of the table. */
#ifndef RING3_ENGINE_JIT_LOWER_SYSTEM_H
#define RING3_ENGINE_JIT_LOWER_SYSTEM_H

#include "engine/jit/lower.h"

/* Of a class that ends blocks otherwise, but lowered: the block goes on. */
bool system_is_inline(const struct translation *t, unsigned i);

bool lower_cli(struct translation *t, unsigned i);
bool lower_sti(struct translation *t, unsigned i);
bool lower_direction(struct translation *t, unsigned i);
bool lower_pushf(struct translation *t, unsigned i);
bool lower_popf(struct translation *t, unsigned i);
bool lower_swapgs(struct translation *t, unsigned i);
bool lower_ac(struct translation *t, unsigned i);
bool lower_div(struct translation *t, unsigned i);

#endif
