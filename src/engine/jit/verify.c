/*
 * --trace jitcheck: is a translation made of nothing but what translations may be made of?
 *
 * All code that can be reached from the block's entries is followed, with what is known of the scratch
 * registers: an instruction reaches memory by a host address that has passed a check for that many bytes and
 * that kind of access, in the vCPU at a constant place, or on the host's stack by PUSH and POP. Jumps lead to
 * instructions of the block, to thunks, or by the words that only the dispatcher and its look-ups fill. No
 * instruction begins in the midst of another. Instructions that could change the host's segments, leave for
 * the host's kernel, or read its secrets, are none that translations have.
 */
#include <string.h>
#include "engine/jit/cache.h"
#include "engine/jit/lower.h"
#include "engine/jit/verify.h"

enum kind {
    ANY,
    LINEAR, /* the linear address `e` */
    MASKED, /* the TLB's slot number of it, */
    SLOT,   /* its address */
    LAST,   /* the linear address of the last of `size` bytes, */
    PAGE,   /* its page, */
    TAG,    /* and tag */
    ENTRY,  /* SLOT, that has been found to hold `size` bytes (for writing) */
    ADDEND, /* its addend */
    HOST,   /* host address of `size` bytes (for writing) */
    BYTE,   /* 0..255 */
    FILLED, /* flags say "above" if T0 is now ENTRY for `size` bytes (for writing) */
    TABLE,  /* the table of jump targets */
    TARGET, /* an eighth of the address of one of its slots */
};

/* A linear address: a sum of host registers, guest registers in memory (IN_MEMORY + n), the base of a segment
 * (at `seg` in the vCPU, or 0) and a constant; or (base COMPUTED) what was computed at `disp`. */
#define IN_MEMORY 32
struct sum {
    u8 base, index, scale;
    bool wide;
    u32 seg;
    s64 disp;
};
#define COMPUTED 0xfd

struct value {
    u8 kind;
    bool write;
    u16 size;
    struct sum e;
};

/* What is known before an instruction. */
enum { CELL_LINEAR, CELL_VALUE, CELL_GROUP, CELLS = CELL_GROUP + GROUP_MAX };
struct facts {
    struct value t0, t1, cell[CELLS];
    bool returns;          /* on the stack is a jump's target */
    bool kept, dirty;      /* rAX is in T0 and will be again in rAX; which holds something else now */
    struct value compared; /* flags are of its comparison with the TLB's tag */
};

#define CODE_MAX  (2 * (TRANSLATION_MAX + INSN_MAX_LEN))
#define INSNS_MAX 6000

struct verifier {
    const struct jit_vm *vm;
    struct code_span span[2];
    s64 to_exec;
    const struct block *block; /* or NULL */
    const char *why;           /* not NULL: it is not so */
    const u8 *where;
    u16 at[CODE_MAX]; /* 0: nothing known; 1: inside an instruction; else its number + 2 */
    struct facts facts[INSNS_MAX];
    unsigned count, todo_count;
    u32 todo[2 * INSNS_MAX];
};

static bool value_equal(const struct value *a, const struct value *b)
{
    return a->kind == b->kind && a->write == b->write && a->size == b->size && a->e.base == b->e.base &&
           a->e.index == b->e.index && a->e.scale == b->e.scale && a->e.wide == b->e.wide &&
           a->e.disp == b->e.disp && a->e.seg == b->e.seg;
}

static bool sum_equal(const struct sum *a, const struct sum *b)
{
    return a->base == b->base && a->index == b->index && a->scale == b->scale && a->wide == b->wide &&
           a->disp == b->disp && a->seg == b->seg;
}

static void refuse(struct verifier *c, const u8 *p, const char *why)
{
    if (c->why)
        return;
    c->why = why;
    c->where = p;
}

/* A register has changed: sums with it are others now. */
static void forget_register(struct facts *f, unsigned reg)
{
    struct value *all[] = {&f->t0, &f->t1, &f->compared, &f->cell[CELL_LINEAR], &f->cell[CELL_VALUE]};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++)
        if (all[i]->kind >= LINEAR && all[i]->kind <= ADDEND &&
            (all[i]->e.base == reg || all[i]->e.index == reg))
            *all[i] = (struct value){.kind = ANY};
}

/* `known` becomes what both say; true: it was more. */
static bool value_weaken(struct value *known, const struct value *now)
{
    if (known->kind == ANY || value_equal(known, now))
        return false;
    if (known->kind == HOST && now->kind == HOST) {
        struct value both = *known;
        both.size = MIN(known->size, now->size);
        both.write = known->write && now->write;
        bool less = !value_equal(&both, known);
        *known = both;
        return less;
    }
    *known = (struct value){.kind = ANY};
    return true;
}

static bool facts_weaken(struct facts *known, const struct facts *now)
{
    known->returns &= now->returns;
    bool less = known->kept != now->kept && known->kept;
    if (less || (known->dirty != now->dirty)) {
        forget_register(known, RAX);
        known->kept = known->dirty = false;
    }
    less |= value_weaken(&known->t0, &now->t0);
    less |= value_weaken(&known->t1, &now->t1);
    less |= value_weaken(&known->compared, &now->compared);
    for (unsigned i = 0; i < CELLS; i++)
        less |= value_weaken(&known->cell[i], &now->cell[i]);
    return less;
}

static const struct code_span *span_of(const struct verifier *c, const u8 *p)
{
    for (unsigned i = 0; i < 2; i++)
        if (p >= c->span[i].start && p < c->span[i].end)
            return &c->span[i];
    return NULL;
}

/* Both spans in a row. */
static u32 index_of(const struct verifier *c, const struct code_span *s, const u8 *p)
{
    return (u32)(p - s->start) + (s == c->span ? 0 : CODE_MAX / 2);
}

static const u8 *place_of(const struct verifier *c, u32 at)
{
    return at < CODE_MAX / 2 ? c->span[0].start + at : c->span[1].start + (at - CODE_MAX / 2);
}

/* Control may come to `p` with these facts. */
static void reach(struct verifier *c, const u8 *p, const struct facts *f)
{
    const struct code_span *span = span_of(c, p);
    if (!span) {
        refuse(c, p, "leads out of the block");
        return;
    }
    u32 at = index_of(c, span, p);
    if (c->at[at] == 1) {
        refuse(c, p, "leads into the midst of an instruction");
        return;
    }
    if (c->at[at]) {
        if (!facts_weaken(&c->facts[c->at[at] - 2], f))
            return;
    } else {
        if (c->count == INSNS_MAX) {
            refuse(c, p, "is too long");
            return;
        }
        c->facts[c->count] = *f;
        c->at[at] = (u16)(2 + c->count++);
    }
    if (c->todo_count == ARRAY_LEN(c->todo))
        refuse(c, p, "has no fixed point");
    else
        c->todo[c->todo_count++] = at;
}

static bool is_thunk(const struct verifier *c, const u8 *exec)
{
    const struct jit_vm *t = c->vm;
    return exec >= t->rx && exec < t->rx + t->head;
}

static int cell_of(u32 offset)
{
    if (offset == AT_WORD(WORD_LINEAR))
        return CELL_LINEAR;
    if (offset == AT_WORD(WORD_VALUE))
        return CELL_VALUE;
    if (offset >= AT_WORD(WORD_GROUP) && offset < AT_WORD(WORD_GROUP + GROUP_MAX) &&
        offset % 8 == AT_WORD(0) % 8)
        return CELL_GROUP + (int)((offset - AT_WORD(WORD_GROUP)) / 8);
    return -1;
}

static void forget_segments(struct facts *f)
{
    struct value *all[] = {&f->t0, &f->t1, &f->compared, &f->cell[CELL_LINEAR], &f->cell[CELL_VALUE]};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++)
        if (all[i]->e.seg)
            *all[i] = (struct value){.kind = ANY};
}

/* The thunks may run the interpreter, which may change every mapping. */
static void forget_all(struct facts *f)
{
    *f = (struct facts){.t0 = {.kind = ANY}};
}

/* A memory operand by the vCPU: a constant place in it, or a byte's worth further. */
static void check_vcpu(struct verifier *c, const u8 *p, const struct insn *insn, const struct facts *f,
                       unsigned size)
{
    const struct insn_mem *m = &insn->mem;
    u64 last = (u64)m->disp + size;
    bool byte = (m->base == T0 && f->t0.kind == BYTE) || (m->base == T1 && f->t1.kind == BYTE);
    if (m->index != MEM_NO_REG || (m->base != MEM_NO_REG && !byte))
        refuse(c, p, "computes an address in the vCPU");
    else if (m->disp < 0 || last + (byte ? 255 : 0) > sizeof(struct vcpu))
        refuse(c, p, "reaches beyond the vCPU");
}

static void check_host(struct verifier *c, const u8 *p, const struct insn *insn, const struct facts *f,
                       unsigned size, bool write)
{
    const struct insn_mem *m = &insn->mem;
    const struct value *v = &f->t1;
    if (f->dirty && (m->base == RAX || m->index == RAX))
        refuse(c, p, "has an address in a register that holds something else");
    if (!size)
        refuse(c, p, "has an operand of unknown size");
    else if (v->kind == HOST && m->base == T1 && m->index == MEM_NO_REG && m->disp >= 0 &&
             (u64)m->disp + size <= v->size && (v->write || !write))
        return;
    else if (v->kind == ADDEND && size <= v->size && (v->write || !write) && m->scale == 0) {
        struct sum e = {.base = m->index != MEM_NO_REG ? m->index : MEM_NO_REG,
                        .index = MEM_NO_REG,
                        .wide = true,
                        .disp = m->disp};
        if (m->base != T1 || !sum_equal(&e, &v->e))
            refuse(c, p, "reaches another address than was checked");
    } else {
        refuse(c, p, "reaches memory unchecked");
    }
}

static bool is_tlb_entry(const struct insn *insn, const struct facts *f)
{
    return insn->mem.base == T0 && insn->mem.index == MEM_NO_REG &&
           (f->t0.kind == SLOT || f->t0.kind == ENTRY) && insn->mem.disp >= 0 &&
           insn->mem.disp + 8 <= (s64)sizeof(struct tlb_entry);
}

/* The memory operand is the slot of a jump's target. */
static bool is_target(const struct insn *insn, const struct facts *f)
{
    const struct insn_mem *m = &insn->mem;
    return insn->opnd[0].kind == OPND_MEM && m->seg != GS && m->seg != FS && m->base == MEM_NO_REG &&
           m->index == T1 && m->scale == 3 && !m->disp && f->t1.kind == TARGET;
}

static void check_operand(struct verifier *c, const u8 *p, const struct insn *insn, const struct facts *f)
{
    const struct opnd *m = insn_mem_opnd(insn);
    if (!m || !m->access || insn->id == INSN_LEA)
        return;
    bool write = m->access & ACCESS_W;
    if (insn->id == INSN_PUSH || insn->info->klass == CLASS_BRANCH) {
        if (!is_target(insn, f))
            refuse(c, p, "pushes memory, or jumps by it");
    } else if (insn->mem.seg == FS || insn->mem.vsib)
        refuse(c, p, "has no address that could be checked");
    else if (insn->mem.seg == GS)
        check_vcpu(c, p, insn, f, m->size);
    else if (!write && is_tlb_entry(insn, f))
        return;
    else
        check_host(c, p, insn, f, m->size, write);
}

/* No host code that a guest is to reach has these. */
static void check_kind(struct verifier *c, const u8 *p, const struct insn *insn)
{
    for (unsigned i = 0; i < insn->nopnds; i++) {
        unsigned kind = insn->opnd[i].kind;
        if (kind == OPND_SEG || kind == OPND_CR || kind == OPND_DR || kind == OPND_FAR)
            refuse(c, p, "has a system register");
    }
    switch (insn->id) {
    case INSN_PUSHF:
    case INSN_POPF:
    case INSN_PUSH:
    case INSN_POP:
        return;
    case INSN_MASKMOVQ:
    case INSN_MASKMOVDQU:
    case INSN_VMASKMOVDQU:
    case INSN_MOVDIR64B:
    case INSN_CLZERO:
    case INSN_XLAT:
    case INSN_ENTER:
    case INSN_LEAVE:
    case INSN_INT3:
    case INSN_UD0:
    case INSN_UD1:
    case INSN_UD2:
        refuse(c, p, "is none of a translation's");
        return;
    default:
        break;
    }
    unsigned klass = insn->info->klass;
    if (klass == CLASS_IO || klass == CLASS_STRING || klass == CLASS_SYSTEM ||
        (insn->info->attrs & ATTR_PRIVILEGED))
        refuse(c, p, "is none of a translation's");
}

static struct sum sum_computed(const u8 *p)
{
    return (struct sum){.base = COMPUTED, .index = MEM_NO_REG, .disp = (s64)(uintptr_t)p};
}

/* The value of a scratch register as a part of a sum. */
static const struct value *scratch(const struct facts *f, unsigned reg)
{
    return reg == T0 ? &f->t0 : reg == T1 ? &f->t1 : NULL;
}

static bool is_alone(const struct value *v)
{
    return v->kind == LINEAR && v->e.index == MEM_NO_REG && v->e.wide && !v->e.seg && v->e.base != COMPUTED;
}

static struct sum sum_of(const struct insn *insn, const u8 *p, const struct facts *f, bool wide)
{
    const struct insn_mem *m = &insn->mem;
    const struct value *base = scratch(f, m->base), *index = scratch(f, m->index);
    struct sum e = {.base = m->base, .index = m->index, .scale = m->scale, .wide = wide, .disp = m->disp};
    if (m->base == MEM_REG_RIP || (f->dirty && (m->base == RAX || m->index == RAX)) ||
        (base && !is_alone(base)) ||
        (index && (!is_alone(index) || index->e.disp || index->e.base == MEM_NO_REG)))
        return sum_computed(p);
    if (base) {
        e.base = base->e.base;
        e.disp += base->e.disp;
    }
    if (index)
        e.index = index->e.base;
    if (e.index == MEM_NO_REG)
        e.scale = 0;
    return e;
}

static bool is_segment_base(u32 offset)
{
    for (unsigned i = 0; i < SREG_COUNT; i++)
        if (offset == AT_SEG_BASE(i))
            return true;
    return false;
}

/* What T0 or T1 holds behind an instruction that writes it. */
static struct value written(const struct insn *insn, const u8 *p, const struct facts *f, unsigned reg)
{
    const struct value *old = reg == T0 ? &f->t0 : &f->t1;
    const struct opnd *a = &insn->opnd[0], *b = &insn->opnd[1];
    struct value v = *old, any = {.kind = ANY};
    bool mem = insn->nopnds > 1 && b->kind == OPND_MEM, gs = mem && insn->mem.seg == GS, wide = a->size == 8;
    u32 offset = (u32)insn->mem.disp;
    struct value computed = {.kind = LINEAR, .e = sum_computed(p)};
    switch (insn->id) {
    case INSN_LEA:
        if (reg == T1 && insn->mem.base == T0 && insn->mem.index == MEM_NO_REG && wide &&
            f->t0.kind == LINEAR && insn->mem.disp >= 0 && insn->mem.disp < 1024) {
            v = f->t0;
            v.kind = LAST;
            v.size = (u16)(insn->mem.disp + 1);
            return v;
        }
        return (struct value){.kind = LINEAR, .e = sum_of(insn, p, f, wide)};
    case INSN_MOV:
        if (reg == T1 && a->size == 2 && old->kind == TABLE && b->kind == OPND_GPR)
            return (struct value){.kind = TARGET};
        if (a->size < 4)
            return any;
        if (gs && wide && insn->mem.base == MEM_NO_REG && offset == AT_WORD(WORD_BOUNCE) &&
            f->compared.kind == FILLED)
            return (struct value){.kind = HOST, .size = f->compared.size}; /* to be read */
        if (gs && wide && insn->mem.base == MEM_NO_REG &&
            (offset == AT_WORD(WORD_TARGETS) || offset == AT_WORD(WORD_TARGETS + 1)))
            return (struct value){.kind = TABLE};
        if (gs && insn->mem.base == MEM_NO_REG && cell_of(offset) >= 0 && wide)
            return f->cell[cell_of(offset)].kind == ANY ? computed : f->cell[cell_of(offset)];
        if (gs && wide && insn->mem.base == MEM_NO_REG && offset < AT_GPR(16) && offset % 8 == 0)
            return (struct value){
                .kind = LINEAR,
                .e = {.base = (u8)(IN_MEMORY + offset / 8), .index = MEM_NO_REG, .wide = true}};
        if (mem && !gs && is_tlb_entry(insn, f) && insn->mem.disp == offsetof(struct tlb_entry, addend) &&
            wide && f->t0.kind == ENTRY) {
            v = f->t0;
            v.kind = ADDEND;
            return v;
        }
        if (b->kind == OPND_IMM)
            return (struct value){.kind = LINEAR,
                                  .e = {.base = MEM_NO_REG,
                                        .index = MEM_NO_REG,
                                        .wide = true,
                                        .disp = a->size == 8 ? (s64)insn->imm : (s64)(u32)insn->imm}};
        if (b->kind == OPND_GPR && b->reg == T0 && reg == T1 && wide && f->t0.kind == LINEAR) {
            v = f->t0;
            v.kind = LAST;
            v.size = 1;
            return v;
        }
        if (b->kind == OPND_GPR && b->reg != T0 && b->reg != T1)
            return (struct value){.kind = LINEAR, .e = {.base = b->reg, .index = MEM_NO_REG, .wide = wide}};
        return computed;
    case INSN_SHR:
        if (reg == T0 && old->kind == LINEAR && wide && b->kind == OPND_IMM && insn->imm == 7) {
            v.size = 7;
            v.kind = MASKED;
            return v;
        }
        return computed;
    case INSN_AND:
        if (reg == T0 && old->kind == MASKED && b->kind == OPND_IMM &&
            (u32)insn->imm == (TLB_ENTRIES - 1) * sizeof(struct tlb_entry)) {
            v.size = 0;
            return v;
        }
        if (reg == T1 && old->kind == LAST && wide && b->kind == OPND_IMM) {
            /* An address that is a multiple of `align` comes with as many bytes. */
            u64 align = (insn->imm & ~PAGE_MASK) + 1;
            if ((insn->imm & PAGE_MASK) != PAGE_MASK || (align & (align - 1)) ||
                (align > 1 && old->size != 1))
                return computed;
            v.kind = PAGE;
            v.size = (u16)(align > 1 ? align : old->size);
            return v;
        }
        return computed;
    case INSN_OR:
        if (old->kind == PAGE && gs && offset == AT_ASID && wide) {
            v.kind = TAG;
            return v;
        }
        return computed;
    case INSN_ADD:
        if (old->kind == PAGE && gs && offset == AT_ASID && wide) {
            v.kind = TAG;
            return v;
        }
        if (old->kind == LINEAR && gs && !old->e.seg && old->e.base != COMPUTED && a->size >= 4 &&
            is_segment_base(offset)) {
            v.e.seg = offset | !wide; /* the sum is 32 bits wide */
            return v;
        }
        if (old->kind == MASKED && !old->size && gs && offset == AT_WORD(WORD_TLB) && wide) {
            v.kind = SLOT;
            return v;
        }
        if (reg == T1 && old->kind == LINEAR && mem && !gs && f->t0.kind == ENTRY && wide &&
            insn->mem.base == T0 && insn->mem.disp == offsetof(struct tlb_entry, addend) &&
            sum_equal(&old->e, &f->t0.e)) {
            return (struct value){.kind = HOST, .size = f->t0.size, .write = f->t0.write};
        }
        return computed;
    case INSN_MOVZX:
        return b->size == 1 ? (struct value){.kind = BYTE} : computed;
    default:
        return computed;
    }
}

/* Register r is written. rAX may be kept in T0 for a while: "mov T0, rax ... mov rax, T0". */
static void follow_register(const struct insn *insn, struct facts *f, unsigned r)
{
    const struct opnd *a = &insn->opnd[0], *b = &insn->opnd[1];
    bool moves = insn->id == INSN_MOV && a->kind == OPND_GPR && b->kind == OPND_GPR && a->size == 8;
    if (r == RAX && f->kept) {
        bool back = moves && b->reg == T0;
        f->dirty = !back;
        f->kept = !back;
        return;
    }
    if (r == T0) {
        if (f->dirty)
            forget_register(f, RAX);
        f->dirty = false;
        f->kept = moves && b->reg == RAX;
    }
    forget_register(f, r);
}

static void follow_writes(const struct insn *insn, const u8 *p, struct facts *f)
{
    u16 read, regs;
    struct facts before = *f;
    const struct opnd *d = &insn->opnd[0];
    insn_gpr_use(insn, &read, &regs);
    f->compared = (struct value){.kind = ANY};
    if (insn->id == INSN_CMP && d->kind == OPND_GPR && d->reg == T1 && d->size == 8 &&
        insn->opnd[1].kind == OPND_MEM && is_tlb_entry(insn, f) && f->t0.kind == SLOT && f->t1.kind == TAG &&
        sum_equal(&f->t0.e, &f->t1.e) &&
        (insn->mem.disp == offsetof(struct tlb_entry, read) ||
         insn->mem.disp == offsetof(struct tlb_entry, write))) {
        f->compared = f->t1;
        f->compared.kind = ENTRY;
        f->compared.write = insn->mem.disp == offsetof(struct tlb_entry, write);
    }
    if (regs >> T0 & 1)
        f->t0 = written(insn, p, &before, T0);
    if (regs >> T1 & 1)
        f->t1 = written(insn, p, &before, T1);
    for (unsigned r = 0; r < 16; r++)
        if (regs >> r & 1)
            follow_register(insn, f, r);
    /* Stores to the words that are followed. */
    const struct opnd *m = insn_mem_opnd(insn);
    if (!m || !(m->access & ACCESS_W) || insn->mem.seg != GS)
        return;
    u32 from = (u32)insn->mem.disp, to = from + m->size + (insn->mem.base == MEM_NO_REG ? 0 : 255);
    for (u32 at = from & ~7u; at < to; at += 8)
        if (cell_of(at) >= 0)
            f->cell[cell_of(at)] = (struct value){.kind = ANY};
    for (u32 at = from & ~7u; at < to && at < AT_GPR(16); at += 8)
        forget_register(f, IN_MEMORY + at / 8);
    if (from < AT_SEG_BASE(SREG_COUNT) && to > AT_SEG_BASE(0))
        forget_segments(f);
    int cell = insn->mem.base == MEM_NO_REG ? cell_of((u32)insn->mem.disp) : -1;
    if (cell < 0 || insn->id != INSN_MOV || insn->opnd[1].kind != OPND_GPR || m->size != 8)
        return;
    if (insn->opnd[1].reg == T0)
        f->cell[cell] = before.t0;
    else if (insn->opnd[1].reg == T1)
        f->cell[cell] = before.t1;
}

/* The code or data at a RIP-relative address: data is for a thunk that is called next. */
static void follow_address(struct verifier *c, const u8 *p, const struct insn *insn)
{
    struct insn next;
    const u8 *target = p + insn->len + insn->mem.disp, *behind = p + insn->len;
    const struct code_span *here = span_of(c, p), *there = span_of(c, target);
    bool code =
        insn_decode(&next, behind, (size_t)MIN(here->end - behind, INSN_MAX_LEN), DECODE_64) == DECODE_OK &&
        next.id != INSN_CALL && next.id != INSN_JMP;
    struct facts none = {.t0 = {.kind = ANY}};
    if (code)
        reach(c, target, &none);
    else if (!there || target + sizeof(struct insn) > there->end)
        refuse(c, p, "hands over what is not its own");
}

/* Where a link of the block is aimed. */
static bool is_linked(const struct verifier *c, const u8 *exec)
{
    const struct block *b = c->block;
    for (unsigned i = 0; b && i < b->links; i++) {
        const struct block *to = b->link[i].target, *join = b->link[i].join;
        if ((to && (exec == to->poll || exec == to->entry || exec == to->checked)) ||
            (join && exec == join->call))
            return true;
    }
    return false;
}

static void follow_jump(struct verifier *c, const u8 *p, const u8 *target, const struct facts *f)
{
    if (!is_thunk(c, target + c->to_exec) && !is_linked(c, target + c->to_exec))
        reach(c, target, f);
}

/* Before the host's call the stack pointer makes room: the caller's address replaces the last one. */
static bool makes_room(const struct verifier *c, const u8 *p, const struct insn *insn)
{
    struct insn next = *insn;
    const u8 *end = span_of(c, p)->end;
    const struct insn_mem *m = &insn->mem;
    if (insn->id != INSN_LEA || insn->opnd[0].size != 8 || m->base != RSP || m->index != MEM_NO_REG ||
        m->disp != 8)
        return false;
    do {
        p += next.len;
        if (insn_decode(&next, p, (size_t)MIN(end - p, INSN_MAX_LEN), DECODE_64) != DECODE_OK)
            return false;
    } while (next.id == INSN_NOP);
    return next.id == INSN_CALL || next.id == INSN_CALL_IND;
}

static void follow_call(struct verifier *c, const u8 *p, const u8 *behind, const u8 *target, struct facts *f)
{
    const struct jit_thunks *k = &c->vm->thunk;
    const u8 *exec = target + c->to_exec;
    if (!is_thunk(c, exec)) {
        follow_jump(c, p, target, f);
        forget_all(f);
        reach(c, behind, f);
        return;
    }
    struct value group[GROUP_MAX];
    memcpy(group, &f->cell[CELL_GROUP], sizeof group);
    bool fills = exec == k->fill[0] || exec == k->fill[1];
    bool quiet = fills || exec == k->vectors_load || exec == k->high_load || exec == k->x87_load;
    struct value t0 = f->t0, how = f->t1, value = f->cell[CELL_VALUE], linear = f->cell[CELL_LINEAR];
    forget_all(f);
    if (quiet) {
        f->cell[CELL_LINEAR] = linear;
        memcpy(&f->cell[CELL_GROUP], group, sizeof group);
        f->cell[CELL_VALUE] = value;
    }
    if (fills && t0.kind == LINEAR && how.kind == LINEAR && how.e.base == MEM_NO_REG &&
        how.e.index == MEM_NO_REG) {
        f->compared = t0;
        f->compared.kind = FILLED;
        f->compared.size = how.e.disp & 0xff;
        f->compared.write = how.e.disp >> 8 & 1;
    }
    reach(c, behind, f);
}

static void follow_branch(struct verifier *c, const u8 *p, const struct insn *insn, struct facts *f)
{
    const u8 *behind = p + insn->len, *target = behind + (s64)insn->imm;
    const struct value compared = f->compared;
    f->compared = (struct value){.kind = ANY};
    switch (insn->id) {
    case INSN_JMP:
        follow_jump(c, p, target, f);
        return;
    case INSN_JCC: {
        struct facts taken = *f;
        if (compared.kind == FILLED) {
            f->compared = compared;
            taken.t0 = compared;
            taken.t0.kind = (insn->opcode & 15) == 7 ? ENTRY : ANY; /* above */
        }
        follow_jump(c, p, target, &taken);
        if ((insn->opcode & 15) == 5 && compared.kind == ENTRY) /* not equal */
            f->t0 = compared;
        reach(c, behind, f);
        return;
    }
    case INSN_JCXZ:
        follow_jump(c, p, target, f);
        reach(c, behind, f);
        return;
    case INSN_CALL:
        follow_call(c, p, behind, target, f);
        return;
    case INSN_JMP_IND:
    case INSN_CALL_IND:
        if (!is_target(insn, f))
            refuse(c, p, "jumps to what no look-up has found");
        if (insn->id == INSN_CALL_IND) {
            forget_all(f);
            reach(c, behind, f);
        }
        return;
    case INSN_RET:
        if (!f->returns || insn->nopnds)
            refuse(c, p, "returns to what no look-up has found");
        return;
    default:
        refuse(c, p, "is a branch that translations do not have");
    }
}

static void follow(struct verifier *c, u32 at)
{
    const u8 *p = place_of(c, at);
    struct facts f = c->facts[c->at[at] - 2];
    struct insn insn;
    if (insn_decode(&insn, p, (size_t)MIN(span_of(c, p)->end - p, INSN_MAX_LEN), DECODE_64) != DECODE_OK) {
        refuse(c, p, "is no instruction");
        return;
    }
    for (unsigned i = 1; i < insn.len; i++) {
        if (c->at[at + i] > 1)
            refuse(c, p, "has another instruction in its midst");
        c->at[at + i] = 1;
    }
    check_kind(c, p, &insn);
    check_operand(c, p, &insn, &f);
    if (insn.id == INSN_LEA && insn.mem.base == MEM_REG_RIP)
        follow_address(c, p, &insn);
    if (insn.info->klass == CLASS_BRANCH) {
        follow_branch(c, p, &insn, &f);
        return;
    }
    u16 read, regs;
    insn_gpr_use(&insn, &read, &regs);
    bool stack = insn.id == INSN_PUSH || insn.id == INSN_POP || insn.id == INSN_PUSHF || insn.id == INSN_POPF;
    if ((regs >> RSP & 1) && !stack && !makes_room(c, p, &insn))
        refuse(c, p, "moves the host's stack");
    bool returns = insn.id == INSN_PUSH && is_target(&insn, &f);
    follow_writes(&insn, p, &f);
    f.returns = returns;
    reach(c, p + insn.len, &f);
}

const char *verify_code(struct verifier *c, const struct jit_vm *vm, const struct block *b,
                        const struct code_span span[2], const u8 *const *entry, unsigned entries,
                        const u8 **where)
{
    c->vm = vm;
    c->block = b;
    memcpy(c->span, span, sizeof c->span);
    c->to_exec = vm->rx - vm->rw;
    c->why = NULL;
    c->count = c->todo_count = 0;
    memset(c->at, 0, sizeof c->at);
    struct facts none = {.t0 = {.kind = ANY}};
    for (unsigned i = 0; i < entries; i++)
        reach(c, entry[i] - c->to_exec, &none);
    while (c->todo_count && !c->why)
        follow(c, c->todo[--c->todo_count]);
    *where = c->where;
    return c->why;
}

size_t verifier_size(void)
{
    return sizeof(struct verifier);
}
