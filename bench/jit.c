/* The interpreter's programs, on the translator: time against the same code run natively. The instructions
 * counted are the interpreter's share. */
#define GUEST_ENGINE jit_engine
#include "bench/interp.c"
