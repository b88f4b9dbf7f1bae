/* The interpreter's tests of modes and segments, on the translator. */
#define GUEST_ENGINE jit_engine
#include "tests/unit/interp_modes.c"
