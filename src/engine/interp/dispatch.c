/* The dispatch table. An instruction that is in no row is a native one; tests/unit/interp_table.c walks all
 * ids. */
#include "engine/interp/dispatch.h"

const struct dispatch interp_dispatch[INSN_COUNT] = {
#define ROW(id, fn, kind_) [INSN_##id] = {fn, kind_},
#include "engine/interp/dispatch.def"
#undef ROW
};
