/* The interpreter's programs, on the translator. */
#define GUEST_ENGINE jit_engine
#include "tests/unit/interp.c"
