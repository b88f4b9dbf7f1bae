/* The interpreter's tests of code that changes, on the translator. */
#define GUEST_ENGINE jit_engine
#include "tests/unit/interp_smc.c"
