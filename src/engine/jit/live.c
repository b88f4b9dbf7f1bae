/*
 * Which arithmetic flags are needed where, in a block and behind it.
 *
 * Behind it: the code that a direct branch within the page leads to is read too, a few instructions far. The
 * translation then depends on those bytes as on its own (t->range): whoever writes to them drops the block.
 * Other pages may be mapped elsewhere tomorrow: what they need is not known, so they need all.
 *
 * A flag that an instruction leaves undefined has no value that anybody could want from before it.
 */
#include "engine/jit/lower_system.h"

#define AHEAD_INSNS 10
#define AHEAD_DEPTH 2

bool live_is_counted(const struct insn *insn)
{
    const struct opnd *count = &insn->opnd[insn->nopnds ? insn->nopnds - 1 : 0];
    switch (insn->id) {
    case INSN_SHL:
    case INSN_SHR:
    case INSN_SAR:
    case INSN_ROL:
    case INSN_ROR:
    case INSN_SHLD:
    case INSN_SHRD:
        return insn->nopnds > 1 && count->kind == OPND_IMM &&
               (insn->imm & (insn->opnd[0].size == 8 ? 63 : 31));
    default:
        return false;
    }
}

/* The flags that the instruction gives a value that does not come from those before it. Who compares engines
 * wants the undefined ones equal too, as the guest may store them. */
static u32 flags_given(const struct translation *t, const struct insn_info *info)
{
    return t->j->checker ? info->flags_write & ~info->flags_undef : info->flags_write;
}

/* The flags needed before a lowered instruction that is no branch, if `after` are behind it. */
static u32 flags_before(const struct translation *t, const struct insn *insn, u32 after)
{
    const struct insn_info *info = insn->info;
    u32 read = live_is_counted(insn) ? 0 : info->flags_read & FLAGS_ARITH;
    return (after & ~flags_given(t, info)) | read;
}

static u64 branch_target(const struct translation *t, const struct insn *insn, u64 next)
{
    u64 target = next + insn->imm;
    return t->code32 ? (u32)target : target;
}

/* The bytes from `rip` on, in this block's page, as they will be compared with later: at most AHEAD_BYTES.
 * NULL: none. */
static struct ahead *ahead_at(struct translation *t, u64 rip, unsigned *at)
{
    unsigned offset = rip & ~PAGE_MASK;
    for (unsigned n = 0; n < t->aheads; n++) {
        struct ahead *a = &t->ahead[n];
        *at = offset - a->offset;
        if (offset >= a->offset && *at + INSN_MAX_LEN <= a->room)
            return a;
    }
    if (t->aheads == ARRAY_LEN(t->ahead))
        return NULL;
    struct ahead *a = &t->ahead[t->aheads++];
    const u8 *page = t->b->hva - ((uintptr_t)t->b->hva & ~PAGE_MASK);
    a->offset = (u16)offset;
    a->len = 0;
    a->room = (u16)MIN(AHEAD_BYTES, PAGE_SIZE - offset);
    memcpy(a->bytes, page + offset, a->room);
    *at = 0;
    return a;
}

/* A direct branch with a target as wide as the mode? */
static bool is_direct(const struct translation *t, const struct insn *insn)
{
    return (insn->id == INSN_JCC || insn->id == INSN_JMP || insn->id == INSN_CALL) &&
           insn->opsize == (t->code32 ? 4 : 8);
}

static bool is_opaque(const struct translation *t, unsigned i)
{
    return t->insn[i].info->klass == CLASS_BRANCH || !lower_find(t, i) || system_is_inline(t, i);
}

/* Which of `flags` may the code at `rip` read before it overwrites them? */
static u32 flags_ahead(struct translation *t, u64 rip, u32 flags, unsigned depth)
{
    struct insn *insn = &t->insn[BLOCK_MAX];
    u32 needed = 0;
    for (unsigned n = 0; flags && n < AHEAD_INSNS && !((rip ^ t->b->rip) & PAGE_MASK); n++) {
        unsigned at;
        struct ahead *a = ahead_at(t, rip, &at);
        if (!a || insn_decode(insn, a->bytes + at, a->room - at, t->j->v->decode_mode) != DECODE_OK)
            break;
        a->len = (u16)MAX(a->len, at + insn->len);
        rip = t->code32 ? (u32)(rip + insn->len) : rip + insn->len;
        if (is_direct(t, insn)) {
            u64 target = branch_target(t, insn, rip);
            needed |= flags & insn->info->flags_read;
            if (insn->id == INSN_JCC && depth)
                needed |= flags_ahead(t, target, flags & ~needed, depth - 1);
            else if (insn->id == INSN_JCC)
                break;
            else
                rip = target;
            flags &= ~needed;
        } else if (is_opaque(t, BLOCK_MAX)) {
            break;
        } else {
            needed |= flags & flags_before(t, insn, 0);
            flags &= ~(flags_given(t, insn->info) | needed);
        }
    }
    return needed | flags;
}

/* At the target of instruction i, which may be in this block, further down. */
static u32 flags_at_target(struct translation *t, unsigned i)
{
    u64 target = branch_target(t, &t->insn[i], t->rip[i + 1]);
    for (unsigned n = i + 1; n < t->count; n++)
        if (t->rip[n] == target)
            return t->live[n];
    return flags_ahead(t, target, FLAGS_ARITH, AHEAD_DEPTH);
}

void live_find(struct translation *t)
{
    t->aheads = 0;
    t->live[t->count] = flags_ahead(t, t->rip[t->count], FLAGS_ARITH, AHEAD_DEPTH);
    for (unsigned i = t->count; i-- > 0;) {
        const struct insn *insn = &t->insn[i];
        u32 after = t->live[i + 1];
        if (is_direct(t, insn) && lower_find(t, i))
            t->live[i] = flags_at_target(t, i) | (insn->info->flags_read & FLAGS_ARITH) |
                         (insn->id == INSN_JCC ? after : 0);
        else if (is_opaque(t, i))
            t->live[i] = FLAGS_ARITH;
        else
            t->live[i] = flags_before(t, insn, after);
    }
}
