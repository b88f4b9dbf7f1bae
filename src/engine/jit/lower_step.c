/* Instructions that are the interpreter's: calls of their handlers, with the decoded instruction behind the
 * block. */
#include "engine/interp/dispatch.h"
#include "engine/jit/lower.h"

/* Vector and x87 instructions note in the decoded form which stub executes them. */
static bool has_handler(const struct translation *t, unsigned i)
{
    const struct vcpu *v = t->j->v;
    const struct insn_info *info = t->insn[i].info;
    return interp_dispatch[t->insn[i].id].handler && cpu_has(v, info->feature) &&
           cpu_has(v, info->feature2) && info->klass <= CLASS_IO;
}

static void call(struct translation *t, unsigned i, const u8 *thunk, unsigned opcode)
{
    struct emitter *e = &t->e;
    lower_set_rip(t, t->rip[i]);
    EMIT(e, "\x4c\x8d\x15"); /* lea r10, [rip + disp32] */
    u8 *site = e->p;
    emit_u32(e, 0);
    tail_add(t, site, TAIL_INSN, i, false);
    emit_jump_to(e, opcode, thunk);
}

bool lower_handlers(struct translation *t, unsigned i, unsigned count, bool end)
{
    for (unsigned n = 0; n < count; n++)
        if (!has_handler(t, i + n))
            return false;
    for (unsigned n = 0; n + end < count; n++)
        call(t, i + n, t->j->thunk.call[state_is_used(t)], 0xe8);
    if (end)
        call(t, i + count - 1, t->j->thunk.call_end, 0xe9);
    return true;
}
