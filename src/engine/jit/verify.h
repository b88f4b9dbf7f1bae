/* Checks translated code against what it may contain: for --trace jitcheck and tests. */
#ifndef RING3_ENGINE_JIT_VERIFY_H
#define RING3_ENGINE_JIT_VERIFY_H

#include "base/types.h"

struct jit_vm;
struct verifier;
struct block;
/* Of the memory that verify_code wants. */
size_t verifier_size(void);
/* [start, end), writable addresses. */
struct code_span {
    const u8 *start, *end;
};
/* The code in two spans, entered at entry[0..entries) (executable ones), of block `b` or of none: NULL if it
 * is fine, else what the instruction at *where does. */
const char *verify_code(struct verifier *c, const struct jit_vm *vm, const struct block *b,
                        const struct code_span span[2], const u8 *const *entry, unsigned entries,
                        const u8 **where);

#endif
