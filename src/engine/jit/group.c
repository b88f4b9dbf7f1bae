/*
 * Accesses near each other: one check for all of them.
 *
 * A group is a set of accesses of a block whose addresses differ by constants that are known here: off the
 * same registers, which in between are not written or move by constants (PUSH, POP, SUB RSP, ...), or
 * absolute. The first of them checks the whole range; if it is in one page and may be accessed, the host
 * address of its start goes to WORD_GROUP and the others need no check. If not, the block's *plain*
 * translation takes over, which has no groups. Whatever calls the interpreter may change the mapping: behind
 * it the groups are over, and a fast path that fails in their midst leaves the block.
 *
 * What a group has before a conditional branch does not ask for the right to write because of what is behind
 * it: that may never be reached, and a page that is only read would have no groups.
 */
#include "engine/jit/lower.h"

#define RANGE_MAX 256
/* Groups that are thought of; those of most accesses become groups. */
#define CANDIDATE_MAX 32
#define DISP_MAX      (INT32_MAX - BLOCK_MAX * 0x10000)

struct candidate {
    u8 base, index, scale; /* as in struct insn_mem; base MEM_NO_REG: absolute */
    bool write, closed;
    u8 count;
    u8 last;     /* instruction */
    u8 branches; /* ahead of it */
    s64 min, end, delta;
};

struct tracker {
    struct translation *t;
    unsigned count;
    struct candidate candidate[CANDIDATE_MAX];
    u8 of[BLOCK_MAX][SLOT_COUNT];   /* candidate, or GROUP_NONE */
    s64 raw[BLOCK_MAX][SLOT_COUNT]; /* offset from the registers' value when the candidate began */
    u8 branches;
};

static unsigned native(const struct translation *t)
{
    return t->code32 ? 4 : 8;
}

static void close_all(struct tracker *k)
{
    for (unsigned n = 0; n < k->count; n++)
        k->candidate[n].closed = true;
}

static void close_reg(struct tracker *k, unsigned reg)
{
    for (unsigned n = 0; n < k->count; n++)
        if (k->candidate[n].base == reg || k->candidate[n].index == reg)
            k->candidate[n].closed = true;
}

static void move_reg(struct tracker *k, unsigned reg, s64 by)
{
    if (by != (s16)by)
        close_reg(k, reg);
    for (unsigned n = 0; n < k->count; n++) {
        struct candidate *c = &k->candidate[n];
        if (c->base == reg)
            c->delta += by;
        if (c->index == reg)
            c->delta += by * (1 << c->scale);
    }
}

/* Extends the candidate by [at, at + size), if that is near. */
static bool extend(struct candidate *c, s64 at, unsigned size)
{
    s64 min = MIN(c->min, at), end = MAX(c->end, at + size);
    if (end - min > RANGE_MAX)
        return false;
    c->min = min;
    c->end = end;
    return true;
}

static struct candidate *candidate_for(struct tracker *k, const struct candidate *like, s64 disp,
                                       unsigned size)
{
    for (unsigned n = 0; n < k->count; n++) {
        struct candidate *c = &k->candidate[n];
        bool same = c->base == like->base && c->index == like->index && c->scale == like->scale;
        bool asks = like->write && !c->write && c->branches != k->branches && c->base != RSP;
        if (same && !c->closed && !asks && extend(c, disp + c->delta, size))
            return c;
    }
    if (k->count == CANDIDATE_MAX)
        return NULL;
    struct candidate *c = &k->candidate[k->count++];
    *c = *like;
    c->branches = k->branches;
    c->min = disp;
    c->end = disp + size;
    return c;
}

static void add_access(struct tracker *k, unsigned i, enum access_slot slot, const struct candidate *like,
                       s64 disp, unsigned size)
{
    struct candidate *c = candidate_for(k, like, disp, size);
    if (!c)
        return;
    k->of[i][slot] = (u8)(c - k->candidate);
    k->raw[i][slot] = disp + c->delta;
    c->write |= like->write;
    c->count++;
    c->last = (u8)i;
}

static bool in_memory(unsigned reg)
{
    return reg < 16 && jit_host_of[reg] == HOST_NONE;
}

/* The memory operand, if lowering will reach it by its address alone. */
static void add_operand(struct tracker *k, unsigned i)
{
    const struct translation *t = k->t;
    const struct insn *insn = &t->insn[i];
    const struct opnd *m = insn_mem_opnd(insn);
    if (!m || !m->access || insn->id == INSN_LEA || insn->adsize != native(t) || !address_is_simple(t, i) ||
        segment_counts(t, insn->mem.seg))
        return;
    struct candidate like = {.base = insn->mem.base,
                             .index = insn->mem.index,
                             .scale = insn->mem.index < 16 ? insn->mem.scale : 0,
                             .write = m->access & ACCESS_W};
    s64 disp = insn->mem.disp;
    if (like.base == MEM_REG_RIP)
        disp += (s64)t->rip[i + 1];
    if (like.base >= 16)
        like.base = MEM_NO_REG;
    if (like.index >= 16)
        like.index = MEM_NO_REG;
    if (in_memory(like.base) && in_memory(like.index))
        return;
    /* The group's start must be within 32 bits of the registers, too, wherever these move. */
    if ((like.base < 16 || like.index < 16) && (disp > DISP_MAX || disp < -DISP_MAX))
        return;
    if (m->size && m->size <= 64)
        add_access(k, i, SLOT_OPERAND, &like, disp, m->size);
}

static void add_stack(struct tracker *k, unsigned i)
{
    const struct translation *t = k->t;
    const struct insn *insn = &t->insn[i];
    unsigned n = native(t);
    struct candidate like = {.base = RSP, .index = MEM_NO_REG};
    if (insn->opsize != n || segment_counts(t, SS))
        return;
    switch (insn->id) {
    case INSN_PUSH:
    case INSN_PUSHF:
    case INSN_CALL:
    case INSN_CALL_IND:
        like.write = true;
        add_access(k, i, SLOT_STACK, &like, -(s64)n, n);
        break;
    case INSN_POP:
    case INSN_POPF:
    case INSN_RET:
        add_access(k, i, SLOT_STACK, &like, 0, n);
        break;
    case INSN_LEAVE:
        like.base = RBP;
        add_access(k, i, SLOT_STACK, &like, 0, n);
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
            move_reg(k, reg, by);
        else
            close_reg(k, reg);
    }
}

/* The candidate of most accesses that is not a group yet; one access is none. */
static struct candidate *best(struct tracker *k)
{
    struct candidate *found = NULL;
    for (unsigned n = 0; n < k->count; n++)
        if (k->candidate[n].count > (found ? found->count : 1))
            found = &k->candidate[n];
    return found;
}

static void make_group(struct tracker *k, struct candidate *c)
{
    struct translation *t = k->t;
    unsigned g = t->groups++, number = (unsigned)(c - k->candidate);
    t->group[g] = (struct group){.base = c->base,
                                 .index = c->index,
                                 .scale = c->scale,
                                 .write = c->write,
                                 .last = c->last,
                                 .len = (u16)(c->end - c->min)};
    for (unsigned i = 0; i < t->count; i++) {
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
            if (k->of[i][slot] == number)
                t->slot[i][slot] = (struct slot){.group = (u8)g, .offset = (u16)(k->raw[i][slot] - c->min)};
    }
    c->count = 0;
}

static void find_candidates(struct tracker *k)
{
    struct translation *t = k->t;
    for (unsigned i = 0; i < t->count; i++) {
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
            k->of[i][slot] = GROUP_NONE;
        if (lower_find(t, i)) {
            /* Behind STI nothing may leave the block. */
            if (!i || t->insn[i - 1].id != INSN_STI) {
                add_operand(k, i);
                add_stack(k, i);
            }
            track_writes(k, i);
        }
        if (!lower_find(t, i) || t->insn[i].id == INSN_CALL || t->insn[i].id == INSN_CALL_IND)
            close_all(k);
        k->branches += t->insn[i].id == INSN_JCC;
    }
}

void groups_find(struct translation *t)
{
    struct tracker k;
    struct candidate *c;
    for (unsigned i = 0; i < t->count; i++)
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
            t->slot[i][slot].group = GROUP_NONE;
    if (t->b->mode & MODE_PLAIN)
        return;
    k.t = t;
    k.count = k.branches = 0;
    find_candidates(&k);
    while (t->groups < GROUP_MAX && (c = best(&k)))
        make_group(&k, c);
}
