/* What one vector or x87 instruction costs on the translator. */
#define GUEST_ENGINE jit_engine
#include "bench/native.c"
