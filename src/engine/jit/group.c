/*
 * Accesses near each other off one register: one check for all of them.
 *
 * A group is a set of accesses of a block whose addresses differ by constants that are known here: off the
 * same register, which in between is not written or moves by constants (PUSH, POP, SUB RSP, ...), or
 * absolute. The first of them checks the whole range; if it is in one page and may be accessed, the host
 * address of its start goes to WORD_GROUP and the others need no check. If not, the block's *plain*
 * translation takes over, which has no groups. Whatever calls the interpreter may change the mapping: the
 * check is made again behind it.
 */
#include "engine/jit/lower.h"

#define RANGE_MAX 256
#define ABSOLUTE  16 /* the group's base: no register */

struct tracker {
    struct translation *t;
    s64 raw[BLOCK_MAX][SLOT_COUNT]; /* offset from the register's value when its group began */
    s64 min[GROUP_MAX], end[GROUP_MAX], delta[GROUP_MAX];
    bool closed[GROUP_MAX];
};

static unsigned native(const struct translation *t)
{
    return t->code32 ? 4 : 8;
}

static void close_base(struct tracker *k, unsigned base)
{
    for (unsigned g = 0; g < k->t->groups; g++)
        if (k->t->group[g].base == base)
            k->closed[g] = true;
}

static void move_base(struct tracker *k, unsigned base, s64 by)
{
    if (by != (s16)by)
        close_base(k, base);
    for (unsigned g = 0; g < k->t->groups; g++)
        if (k->t->group[g].base == base)
            k->delta[g] += by;
}

static unsigned group_for(struct tracker *k, unsigned base, s64 disp, unsigned size)
{
    struct translation *t = k->t;
    for (unsigned g = 0; g < t->groups; g++) {
        s64 at = disp + k->delta[g];
        if (t->group[g].base != base || k->closed[g])
            continue;
        s64 min = MIN(k->min[g], at), end = MAX(k->end[g], at + size);
        if (end - min <= RANGE_MAX) {
            k->min[g] = min;
            k->end[g] = end;
            return g;
        }
        k->closed[g] = true;
    }
    if (t->groups == GROUP_MAX)
        return GROUP_NONE;
    unsigned g = t->groups++;
    t->group[g] = (struct group){.base = (u8)base};
    k->min[g] = disp;
    k->end[g] = disp + size;
    k->delta[g] = 0;
    k->closed[g] = false;
    return g;
}

static void add_access(struct tracker *k, unsigned i, enum access_slot slot, unsigned base, s64 disp,
                       unsigned size, bool write)
{
    unsigned g = group_for(k, base, disp, size);
    k->t->slot[i][slot].group = (u8)g;
    if (g == GROUP_NONE)
        return;
    struct group *group = &k->t->group[g];
    k->raw[i][slot] = disp + k->delta[g];
    group->write |= write;
    group->count++;
    group->last = (u8)i;
}

/* The memory operand, if lowering will reach it by its address alone. */
static void add_operand(struct tracker *k, unsigned i)
{
    const struct translation *t = k->t;
    const struct insn *insn = &t->insn[i];
    const struct opnd *m = insn_mem_opnd(insn);
    if (!m || !m->access || insn->id == INSN_LEA || insn->mem.index != MEM_NO_REG ||
        insn->adsize != native(t) || !address_is_simple(t, i) || segment_counts(t, insn->mem.seg))
        return;
    unsigned base = insn->mem.base;
    s64 disp = insn->mem.disp;
    if (base == MEM_REG_RIP)
        disp += (s64)t->rip[i + 1];
    if (base >= 16)
        base = ABSOLUTE;
    if (m->size && m->size <= 32)
        add_access(k, i, SLOT_OPERAND, base, disp, m->size, m->access & ACCESS_W);
}

static void add_stack(struct tracker *k, unsigned i)
{
    const struct translation *t = k->t;
    const struct insn *insn = &t->insn[i];
    unsigned n = native(t);
    if (insn->opsize != n || segment_counts(t, SS))
        return;
    switch (insn->id) {
    case INSN_PUSH:
    case INSN_PUSHF:
    case INSN_CALL:
    case INSN_CALL_IND:
        add_access(k, i, SLOT_STACK, RSP, -(s64)n, n, true);
        break;
    case INSN_POP:
    case INSN_POPF:
    case INSN_RET:
        add_access(k, i, SLOT_STACK, RSP, 0, n, false);
        break;
    case INSN_LEAVE:
        add_access(k, i, SLOT_STACK, RBP, 0, n, false);
        break;
    default:
        break;
    }
}

/* What the instruction adds to `reg`, which it writes; false: something else. */
static bool is_move_by_constant(const struct translation *t, const struct insn *insn, unsigned reg, s64 *by)
{
    const struct opnd *o = &insn->opnd[0];
    if (reg == RSP && insn->opsize == native(t)) {
        bool push = insn->id == INSN_PUSH || insn->id == INSN_PUSHF;
        if (push || insn->id == INSN_POP || insn->id == INSN_POPF) {
            *by = push ? -(s64)native(t) : (s64)native(t);
            return insn->id != INSN_POP || o->kind != OPND_GPR || o->reg != RSP;
        }
    }
    if (o->kind != OPND_GPR || o->reg != reg || o->size != native(t) || insn->nopnds != 2)
        return false;
    if (insn->id == INSN_ADD || insn->id == INSN_SUB) {
        *by = insn->id == INSN_ADD ? (s64)insn->imm : -(s64)insn->imm;
        if (t->code32)
            *by = (s32)*by;
        return insn->opnd[1].kind == OPND_IMM;
    }
    *by = insn->mem.disp;
    return insn->id == INSN_LEA && insn->mem.base == reg && insn->mem.index == MEM_NO_REG &&
           insn->adsize == native(t);
}

static void track_writes(struct tracker *k, unsigned i)
{
    const struct insn *insn = &k->t->insn[i];
    u16 read, written;
    insn_gpr_use(insn, &read, &written);
    if (insn->id == INSN_PUSH || insn->id == INSN_POP || insn->id == INSN_LEAVE)
        written |= BIT(RSP);
    for (unsigned reg = 0; reg < 16; reg++) {
        s64 by;
        if (!(written >> reg & 1))
            continue;
        if (is_move_by_constant(k->t, insn, reg, &by))
            move_base(k, reg, by);
        else
            close_base(k, reg);
    }
}

/* Offsets from the groups' starts; groups of one are none. */
static void finish(struct tracker *k)
{
    struct translation *t = k->t;
    for (unsigned g = 0; g < t->groups; g++)
        t->group[g].len = (u16)(k->end[g] - k->min[g]);
    for (unsigned i = 0; i < t->count; i++) {
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
            struct slot *s = &t->slot[i][slot];
            if (s->group != GROUP_NONE && t->group[s->group].count < 2)
                s->group = GROUP_NONE;
            if (s->group != GROUP_NONE)
                s->offset = (u16)(k->raw[i][slot] - k->min[s->group]);
        }
        for (unsigned g = 0; g < t->groups; g++)
            t->start[i][g] += k->min[g];
    }
}

void groups_find(struct translation *t)
{
    struct tracker k = {.t = t};
    for (unsigned i = 0; i < t->count; i++) {
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
            t->slot[i][slot].group = GROUP_NONE;
        if (t->b->mode & MODE_PLAIN)
            continue;
        if (lower_find(t, i)) {
            /* Behind STI nothing may leave the block. */
            if (!i || t->insn[i - 1].id != INSN_STI) {
                add_operand(&k, i);
                add_stack(&k, i);
            }
            track_writes(&k, i);
        } else {
            for (unsigned g = 0; g < t->groups; g++)
                k.closed[g] = true;
        }
        for (unsigned g = 0; g < GROUP_MAX; g++)
            t->start[i][g] = -k.delta[g];
    }
    if (!(t->b->mode & MODE_PLAIN))
        finish(&k);
}
