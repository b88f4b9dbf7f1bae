/* Checks translated code against what it may contain: for --trace jitcheck and tests. */
#ifndef RING3_ENGINE_JIT_VERIFY_H
#define RING3_ENGINE_JIT_VERIFY_H

#include "base/types.h"

struct jit_vm;
struct verifier;
/* Of the memory that verify_code wants. */
size_t verifier_size(void);
/* The code in [start, end) (writable addresses), entered at entry[0..entries) (executable ones): NULL if it
 * is fine, else what the instruction at *where does. */
const char *verify_code(struct verifier *c, const struct jit_vm *vm, const u8 *start, const u8 *end,
                        const u8 *const *entry, unsigned entries, const u8 **where);

#endif
