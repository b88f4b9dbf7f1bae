/* Guest memory: addresses, the soft TLB's inline check, and the tails of accesses that miss. */
#include "engine/jit/jump.h"
#include "engine/jit/lower_system.h"
#include "engine/jit/lower_alu.h"
#include "engine/jit/lower_vector.h"

struct address address_of(const struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    return (struct address){.base = insn->mem.base,
                            .index = insn->mem.index,
                            .scale = insn->mem.scale,
                            .seg = insn->mem.seg,
                            .wide = insn->adsize == 8,
                            .disp = insn->mem.disp};
}

struct address address_in_stack(const struct translation *t, unsigned reg, s32 disp)
{
    return (struct address){.base = (u8)reg,
                            .index = MEM_NO_REG,
                            .seg = SS,
                            .slot = SLOT_STACK,
                            .wide = !t->code32,
                            .disp = disp};
}

bool address_is_simple(const struct translation *t, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    return !t->code32 || (insn->adsize == 4 && insn->mem.seg != CS);
}

bool segment_counts(const struct translation *t, unsigned seg)
{
    switch (seg) {
    case FS:
    case GS:
        return true;
    case DS:
        return t->b->mode & MODE_DS;
    case ES:
        return t->b->mode & MODE_ES;
    case SS:
        return t->b->mode & MODE_SS;
    default:
        return false;
    }
}

/* From offset to linear address, in T0. 32-bit code: within the segment's limit, or to the tail. */
static void lower_segment(struct translation *t, unsigned i, unsigned seg, unsigned size, enum tail_kind kind,
                          bool flags_saved)
{
    struct emitter *e = &t->e;
    if (t->code32) {
        emit_lea(e, T1, T0, HOST_NONE, 0, (s32)size, true);
        emit_gs(e, 0x3b, T1, AT_LIMIT(seg), true);
        tail_add(t, emit_branch(e, 0x0f87), kind, i, flags_saved);
    }
    emit_gs(e, 0x03, T0, AT_SEG_BASE(seg), !t->code32);
}

void lower_read(struct translation *t, unsigned host, unsigned guest)
{
    if (jit_host_of[guest] == HOST_NONE)
        emit_gs_load(&t->e, host, AT_GPR(guest));
    else if (jit_host_of[guest] != host)
        emit_rr(&t->e, 0x8b, host, jit_host_of[guest]);
}

void lower_write(struct translation *t, unsigned guest, unsigned host)
{
    if (jit_host_of[guest] == HOST_NONE)
        emit_gs_store(&t->e, host, AT_GPR(guest));
    else if (jit_host_of[guest] != host)
        emit_rr(&t->e, 0x8b, jit_host_of[guest], host);
}

static bool in_memory(unsigned guest)
{
    return guest < 16 && jit_host_of[guest] == HOST_NONE;
}

/* Two registers of the address are in memory. */
static bool address_is_heavy(const struct address *a)
{
    return in_memory(a->base) && in_memory(a->index);
}

void lower_ea(struct translation *t, unsigned i, const struct address *a, unsigned reg, bool wide)
{
    u64 constant = a->base == MEM_REG_RIP ? t->rip[i + 1] + (u64)a->disp : (u64)a->disp;
    unsigned base = HOST_NONE, index = HOST_NONE;
    if (a->base >= 16 && a->index >= 16) {
        emit_mov_imm(&t->e, reg, wide ? constant : (u32)constant);
        return;
    }
    if (a->base < 16) {
        base = jit_host_of[a->base];
        if (base == HOST_NONE)
            lower_read(t, base = reg, a->base);
    }
    if (a->index < 16) {
        index = jit_host_of[a->index];
        if (index == HOST_NONE)
            lower_read(t, index = base == reg ? T1 : reg, a->index);
    }
    emit_lea(&t->e, reg, base, index, a->scale, (s32)a->disp, wide);
}

void lower_flags_save(struct translation *t)
{
    emit_gs_store(&t->e, RAX, AT_WORD(WORD_RAX));
    EMIT(&t->e, "\x9f\x0f\x90\xc0"); /* lahf; seto al */
    emit_gs_store(&t->e, RAX, AT_WORD(WORD_FLAGS));
    emit_gs_load(&t->e, RAX, AT_WORD(WORD_RAX));
}

void lower_flags_restore(struct translation *t)
{
    emit_gs_store(&t->e, RAX, AT_WORD(WORD_RAX));
    emit_gs_load(&t->e, RAX, AT_WORD(WORD_FLAGS));
    EMIT(&t->e, "\x04\x7f\x9e"); /* add al, 7fh; sahf */
    emit_gs_load(&t->e, RAX, AT_WORD(WORD_RAX));
}

/* To WORD_PARKED and back, by way of T0; with OF or all but OF. */
static void flags_park(struct translation *t, bool overflow)
{
    emit_rr(&t->e, 0x8b, T0, RAX);
    EMIT(&t->e, "\x9f"); /* lahf */
    if (overflow)
        EMIT(&t->e, "\x0f\x90\xc0"); /* seto al */
    emit_gs_store(&t->e, RAX, AT_WORD(WORD_PARKED));
    emit_rr(&t->e, 0x8b, RAX, T0);
}

static void flags_unpark(struct translation *t, bool overflow)
{
    emit_rr(&t->e, 0x8b, T0, RAX);
    emit_gs_load(&t->e, RAX, AT_WORD(WORD_PARKED));
    if (overflow)
        EMIT(&t->e, "\x04\x7f"); /* add al, 7fh */
    EMIT(&t->e, "\x9e");         /* sahf */
    emit_rr(&t->e, 0x8b, RAX, T0);
}

/* Does instruction i, once it has its memory, neither read nor write flags, nor leave the block? */
static bool is_flagless(const struct translation *t, unsigned i)
{
    const struct insn_info *info = t->insn[i].info;
    return !((info->flags_read | info->flags_write) & FLAGS_ARITH) && info->klass != CLASS_BRANCH &&
           info->klass != CLASS_SYSTEM && !system_is_inline(t, i) && lower_find(t, i);
}

static void flags_unpark_at(struct translation *t, unsigned i)
{
    if (t->parked && t->live[i])
        flags_unpark(t, t->live[i] & FLAG_OF);
    t->parked = false;
}

/* Instruction i has its memory. */
static void flags_after_access(struct translation *t, unsigned i)
{
    if (!is_flagless(t, i))
        flags_unpark_at(t, i);
}

void flags_prepare(struct translation *t, unsigned i)
{
    unsigned id = t->insn[i].id;
    bool has_access = id == INSN_CALL || id == INSN_RET; /* which comes first, and restores them */
    if (!t->live[i] || (!is_flagless(t, i) && !has_access))
        flags_unpark_at(t, i);
}

void flags_settle(struct translation *t)
{
    if (t->parked)
        flags_unpark(t, true);
    t->parked = false;
}

/* T0 = the TLB's slot of T0, and the comparison of its tag with the one wanted. `align` above 1: the size; an
 * address that is not a multiple of it matches no tag. */
static void emit_check(struct emitter *e, unsigned size, unsigned align, bool write)
{
    if (size > 1 && align == 1)
        emit_lea(e, T1, T0, HOST_NONE, 0, (s32)size - 1, true);
    else
        emit_rr(e, 0x8b, T1, T0);
    EMIT(e, "\x49\xc1\xea\x07"); /* shr r10, 7 */
    EMIT(e, "\x49\x81\xe3");     /* and r11, imm32 */
    emit_u32(e, (u32)PAGE_MASK | (align - 1));
    EMIT(e, "\x41\x81\xe2"); /* and r10d, imm32 */
    emit_u32(e, (TLB_ENTRIES - 1) << 5);
    emit_gs(e, align > 1 ? 0x03 : 0x0b, T1, AT_ASID, true); /* add, or: which other code has more often */
    emit_gs(e, 0x03, T0, AT_WORD(WORD_TLB), true);
    emit_rm8(e, 0x3b, T1, T0, write ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read));
}

static u32 at_group(unsigned g)
{
    return AT_WORD(WORD_GROUP + g);
}

/* WORD_GROUP and T1 = the host address of the group, which begins at `a`; or out through the link. Keeps no
 * flags. */
static void group_check(struct translation *t, unsigned g, const struct address *a, unsigned link)
{
    const struct group *group = &t->group[g];
    lower_ea(t, 0, a, T0, a->wide);
    emit_check(&t->e, group->len, 1, group->write);
    tail_add(t, emit_branch(&t->e, 0x0f85), TAIL_LINK_SITE, link, false);
    lower_ea(t, 0, a, T1, a->wide);
    emit_rm8(&t->e, 0x03, T1, T0, offsetof(struct tlb_entry, addend));
    emit_gs_store(&t->e, T1, at_group(g));
}

static struct address group_address(const struct translation *t, unsigned g, s64 disp)
{
    const struct group *group = &t->group[g];
    return (struct address){.base = group->base,
                            .index = group->index,
                            .scale = group->scale,
                            .seg = DS,
                            .wide = !t->code32,
                            .disp = disp};
}

/* The check that is made next may destroy the flags. */
static void flags_before_check(struct translation *t, unsigned i)
{
    if (!t->live[i] || t->parked)
        return;
    flags_park(t, t->live[i] & FLAG_OF);
    t->parked = true;
}

static s32 group_access(struct translation *t, unsigned i, const struct address *a, const struct slot *s)
{
    struct group *group = &t->group[s->group];
    if (group->open) {
        if (t->t1_group != s->group || t->t1_at != t->e.p)
            emit_gs_load(&t->e, T1, at_group(s->group));
        return s->offset;
    }
    s64 disp = a->disp - s->offset + (a->base == MEM_REG_RIP ? (s64)t->rip[i + 1] : 0);
    struct address start = group_address(t, s->group, disp);
    struct link *link = link_new(t, t->rip[i]);
    link->plain = true;
    link->poll = false;
    flags_before_check(t, i);
    group_check(t, s->group, &start, (unsigned)(link - t->link));
    group->open = true;
    return s->offset;
}

void lower_t1_kept(struct translation *t, unsigned i, const u8 *from)
{
    const struct slot *slot = &t->slot[i][SLOT_OPERAND];
    const struct opnd *m = insn_mem_opnd(&t->insn[i]);
    if (m && m->access)
        t->t1_group = slot->group != GROUP_NONE && t->group[slot->group].dead ? GROUP_NONE : slot->group;
    else if (t->t1_at != from)
        t->t1_group = GROUP_NONE;
    t->t1_at = t->e.p;
}

void groups_forget(struct translation *t)
{
    t->t1_group = GROUP_NONE;
    for (unsigned g = 0; g < t->groups; g++)
        t->group[g].dead |= t->group[g].open;
}

/* The tail just added is for a TLB miss. */
static void tail_retry(struct translation *t, const u8 *retry, const struct address *a, unsigned size,
                       unsigned align, bool write)
{
    if (t->e.overrun)
        return;
    struct tail *tail = &t->tail[t->tails - 1];
    tail->retry = retry;
    tail->address = *a;
    tail->size = (u8)size;
    tail->align = (u8)align;
    tail->write = write;
}

/* In 64-bit code, of what is addressed by one register, or by none: the TLB's addend is added by the access
 * itself. */
static bool access_direct(struct translation *t, const struct address *a, struct recode *r)
{
    if (!a->wide || t->code32 || a->index < 16 || in_memory(a->base) || !emit_fits32((u64)a->disp))
        return false;
    bool based = a->base < 16;
    if (a->base == MEM_REG_RIP)
        return false;
    emit_rm8(&t->e, 0x8b, T1, T0, offsetof(struct tlb_entry, addend));
    *r = (struct recode){.mem = T1, .indexed = based, .index = based ? jit_host_of[a->base] : 0};
    r->disp = (s32)a->disp;
    return true;
}

/* Is the access at `offset` of the group, which starts at T1, aligned? Host pages are as aligned as guest
 * pages. One that is tells of others. */
static void group_align(struct translation *t, unsigned i, struct group *group, unsigned offset,
                        unsigned align)
{
    if (group->align >= align && !((offset - group->aligned) & (align - 1)))
        return;
    flags_before_check(t, i);
    emit_lea(&t->e, T0, T1, HOST_NONE, 0, (s32)offset, true);
    EMIT(&t->e, "\x41\xf6\xc2"); /* test r10b, imm8 */
    emit_u8(&t->e, align - 1);
    tail_add(t, emit_branch(&t->e, 0x0f85), TAIL_STEP, i, false);
    /* The interpreter goes on with what is not aligned if it must be so only here. */
    if (t->insn[i].info->feature == FEAT_SHA)
        return;
    group->align = (u8)align;
    group->aligned = (u16)offset;
}

/* Sets the memory part of `r`, by way of T1; indexed only if `direct`. */
static void access_check(struct translation *t, unsigned i, const struct address *a, unsigned size,
                         unsigned align, bool write, enum tail_kind kind, bool direct, struct recode *r)
{
    const struct slot *slot = &t->slot[i][a->slot];
    *r = (struct recode){.mem = T1};
    if (slot->group != GROUP_NONE && !t->group[slot->group].dead) {
        r->disp = group_access(t, i, a, slot);
        if (align > 1)
            group_align(t, i, &t->group[slot->group], slot->offset, align);
        return;
    }
    bool segment = segment_counts(t, a->seg), keep = (segment && t->code32) || address_is_heavy(a);
    flags_before_check(t, i);
    const u8 *retry = emit_here(&t->e);
    lower_ea(t, i, a, T0, a->wide);
    if (segment)
        lower_segment(t, i, a->seg, size, kind, false);
    if (keep)
        emit_gs_store(&t->e, T0, AT_WORD(WORD_LINEAR));
    emit_check(&t->e, size, align, write);
    tail_add(t, emit_branch(&t->e, 0x0f85), kind, i, false);
    tail_retry(t, retry, a, size, align, write);
    if (!keep && !segment && direct && access_direct(t, a, r))
        return;
    if (keep)
        emit_gs_load(&t->e, T1, AT_WORD(WORD_LINEAR));
    else
        lower_ea(t, i, a, T1, a->wide);
    if (!keep && segment)
        emit_gs(&t->e, 0x03, T1, AT_SEG_BASE(a->seg), true);
    emit_rm8(&t->e, 0x03, T1, T0, offsetof(struct tlb_entry, addend));
}

s32 lower_access(struct translation *t, unsigned i, const struct address *a, unsigned size, bool write,
                 enum tail_kind kind)
{
    struct recode r;
    access_check(t, i, a, size, 1, write, kind, false, &r);
    flags_after_access(t, i);
    return r.disp;
}

void lower_access_recode(struct translation *t, unsigned i, const struct address *a, unsigned size,
                         unsigned align, bool write, struct recode *r)
{
    struct recode at;
    access_check(t, i, a, size, align, write, TAIL_STEP, true, &at);
    flags_after_access(t, i);
    r->mem = at.mem;
    r->indexed = at.indexed;
    r->index = at.index;
    r->disp = at.disp;
}

void tail_add(struct translation *t, u8 *site, enum tail_kind kind, unsigned index, bool flags_saved)
{
    if (t->tails == ARRAY_LEN(t->tail)) {
        t->e.overrun = true;
        return;
    }
    t->tail[t->tails++] = (struct tail){.site = site,
                                        .kind = kind,
                                        .index = (u8)index,
                                        .flags_saved = flags_saved,
                                        .parked = t->parked,
                                        .x87_insn = t->x87_insn,
                                        .x87_data = t->x87_data};
}

void tails_resume(struct translation *t, unsigned first, unsigned i)
{
    bool groups = false;
    for (unsigned g = 0; g < t->groups; g++)
        groups |= t->group[g].open && !t->group[g].dead && t->group[g].last > i;
    for (; first < t->tails; first++) {
        if (t->tail[first].kind != TAIL_STEP)
            continue;
        t->tail[first].resume = emit_here(&t->e);
        if (groups)
            t->tail[first].kind = TAIL_STEP_END;
        t->tail[first].resume_parked = t->parked;
    }
}

/* Leaves through a far link, or looks it up: what link->miss leads to. */
static void tail_miss(struct translation *t, struct link *link)
{
    struct emitter *e = &t->e;
    EMIT(e, "\x4c\x89\xd9"); /* mov rcx, r11 */
    emit_pad_for_patch(e, 1);
    link->miss = emit_branch(e, 0xe9);
    link->lookup = emit_here(e);
    emit_mov_imm(e, T0, link->rip);
    lookup_go(e, t->b->mode & MODE_USER, LOOKUP_JUMP);
    if (!e->overrun) {
        emit_aim(link->miss, e->to_exec, emit_here(e));
        emit_aim(link->site, e->to_exec, emit_here(e));
    }
    lower_link(t, link);
}

/* FILL_BOUNCE if above, FILL_NONE if below. The instruction keeps the flags. */
static void tail_split(struct translation *t, const struct tail *tail)
{
    struct emitter *e = &t->e;
    u8 *over = emit_branch(e, 0x0f82);
    emit_gs_load(e, T1, AT_WORD(WORD_BOUNCE));
    lower_operand_t1(t, tail->index);
    if (tail->parked && !tail->resume_parked)
        flags_unpark(t, true);
    emit_jump_to(e, 0xe9, tail->resume);
    if (!e->overrun)
        emit_aim(over, e->to_exec, emit_here(e));
}

void tails_split(struct translation *t, unsigned first, unsigned i)
{
    const struct insn *insn = &t->insn[i];
    const struct opnd *m = insn_mem_opnd(insn);
    bool can = m && m->access == ACCESS_R && is_flagless(t, i);
    for (unsigned n = 0; n < insn->nopnds; n++)
        can &= insn->opnd[n].kind != OPND_GPR;
    for (; can && first < t->tails; first++)
        t->tail[first].split = t->tail[first].retry && t->tail[first].kind == TAIL_STEP;
}

/* Flags are saved or dead. */
static void tail_fill(struct translation *t, const struct tail *tail)
{
    struct emitter *e = &t->e;
    const struct address *a = &tail->address;
    lower_ea(t, tail->index, a, T0, a->wide);
    if (segment_counts(t, a->seg))
        emit_gs(e, 0x03, T0, AT_SEG_BASE(a->seg), !t->code32);
    emit_mov_imm(e, T1, FILL_HOW(tail->size, tail->write, tail->align) | (tail->split ? FILL_SPLIT : 0));
    emit_jump_to(e, 0xe8, t->j->thunk.fill[state_is_used(t)]);
    emit_jump_to(e, 0x0f84, tail->retry);
    if (tail->split)
        tail_split(t, tail);
    if (tail->write) /* FILL_DIRECT: as if the check had succeeded */
        emit_jump_to(e, 0x0f87, tail->site + 4 + e->to_exec);
}

static void tail_emit(struct translation *t, const struct tail *tail)
{
    struct emitter *e = &t->e;
    struct link *link = &t->link[tail->index];
    if (tail->retry)
        tail_fill(t, tail);
    x87_note(t, tail->x87_insn, tail->x87_data);
    if (tail->parked)
        flags_unpark(t, true);
    else if (tail->flags_saved)
        lower_flags_restore(t);
    switch ((enum tail_kind)tail->kind) {
    case TAIL_STEP:
        lower_step(t, tail->index, 1, false);
        if (tail->resume_parked)
            flags_park(t, true);
        emit_jump_to(e, 0xe9, tail->resume);
        break;
    case TAIL_STEP_END:
        lower_step(t, tail->index, 1, true);
        break;
    case TAIL_LINK:
        lower_link(t, link);
        break;
    case TAIL_FAR:
        lower_far(t, tail->index, false);
        break;
    case TAIL_MISS:
        tail_miss(t, link);
        break;
    case TAIL_SHADOW:
        EMIT(e, "\x65\x83\x0c\x25"); /* or dword gs:[...], imm8 */
        emit_u32(e, (u32)offsetof(struct vcpu, attention));
        emit_u8(e, ATTN_SHADOW_STI);
        lower_flags_restore(t);
        lower_set_rip(t, t->rip[tail->index]);
        emit_jump_to(e, 0xe9, t->j->thunk.exit);
        break;
    case TAIL_POPF:
        EMIT(e, "\x9d"); /* popfq */
        lower_set_rip(t, t->rip[tail->index]);
        emit_jump_to(e, 0xe9, t->j->thunk.exit);
        break;
    case TAIL_TRANSFER:
        EMIT(e, "\x41\x81\xe3"); /* and r11d, imm32 */
        emit_u32(e, FLAGS_ARITH);
        EMIT(e, "\x41\x83\xcb\x02\x41\x53\x9d"); /* or r11d, 2; push r11; popfq */
        lower_step(t, tail->index, 1, true);
        break;
    case TAIL_INSN:
        emit_bytes(e, &t->insn[tail->index], sizeof t->insn[0]);
        break;
    case TAIL_LINK_SITE:
        emit_pad_for_patch(e, 1);
        link->site = emit_branch(e, 0xe9);
        if (!e->overrun)
            emit_aim(link->site, e->to_exec, emit_here(e));
        lower_link(t, link);
        break;
    }
}

void tails_emit(struct translation *t)
{
    emit_swap(&t->e);
    for (unsigned i = 0; i < t->tails && !t->e.overrun; i++) {
        while (t->tail[i].kind == TAIL_INSN && (uintptr_t)t->e.p % _Alignof(struct insn) && !t->e.overrun)
            emit_u8(&t->e, 0xcc);
        emit_aim(t->tail[i].site, t->e.to_exec, emit_here(&t->e));
        tail_emit(t, &t->tail[i]);
    }
    emit_swap(&t->e);
}
