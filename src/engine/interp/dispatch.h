/* From an instruction's id to its handler: the one table, dispatch.def. */
#ifndef RING3_ENGINE_INTERP_DISPATCH_H
#define RING3_ENGINE_INTERP_DISPATCH_H

#include "engine/interp/interp.h"

enum dispatch_kind {
    KIND_PLAIN = 0,
    KIND_FLOW = BIT(0), /* sets v->rip itself */
    KIND_SYNC = BIT(1), /* may change what the code window depends on */
    KIND_OWN_CPL =
        BIT(2), /* checks ATTR_PRIVILEGED itself: something is to be checked before, or raises #UD */
};

struct dispatch {
    interp_handler handler; /* NULL: native_handler */
    u8 kind;
};

extern const struct dispatch interp_dispatch[INSN_COUNT];

#define HANDLER(fn)       void fn(struct vcpu *v, const struct insn *insn);
#define ROW(id, fn, kind) HANDLER(fn)
#include "engine/interp/dispatch.def"
#undef ROW
#undef HANDLER

#endif
