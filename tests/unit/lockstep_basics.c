/* The interpreter's programs, on both engines side by side. */
#define GUEST_ENGINE lockstep_engine
#include "tests/unit/interp.c"
