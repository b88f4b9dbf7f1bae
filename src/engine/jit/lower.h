/* From decoded guest instructions to host code: what the lowering files share. */
#ifndef RING3_ENGINE_JIT_LOWER_H
#define RING3_ENGINE_JIT_LOWER_H

#include "cpu/seg.h"
#include "engine/jit/jit.h"

#define BLOCK_MAX 48
#define TAIL_MAX  768

/* lower_mem.c: a memory operand. */
struct address {
    u8 base, index, scale, seg; /* as in struct insn_mem */
    u8 slot;                    /* enum access_slot */
    bool wide;                  /* 64-bit addresses */
    s64 disp;
};

/* An out-of-line tail: reached from `site`, for instruction `index`. */
enum tail_kind {
    TAIL_STEP,     /* the interpreter executes the instruction; then on at `resume` */
    TAIL_STEP_END, /* likewise, but the block ends */
    TAIL_LINK,     /* leave through link[index] */
    TAIL_FAR,      /* link[index] is far: the check, and its misses */
    TAIL_MISS,     /* link[index] is far: the check has failed */
    TAIL_SHADOW, /* leave; instruction `index` is the next, no interrupt comes before it. Flags: WORD_FLAGS */
    TAIL_POPF,   /* leave; instruction `index` is the next; flags are on the host's stack */
    TAIL_LINK_SITE, /* jump through link[index], whose site is in the tail */
    TAIL_TRANSFER,  /* as TAIL_STEP_END; flags as PUSHF stores them are in T1 */
    TAIL_INSN,      /* no code: the decoded instruction, for jit_call */
};
struct tail {
    u8 *site;
    const u8 *resume;
    const u8 *retry; /* the TLB has missed `address`: fill it and try again from here; or NULL */
    struct address address;
    u8 size, align;
    bool write;
    bool split; /* a read that may be done across pages, in a copy */
    u8 kind;
    u8 index;
    bool flags_saved;      /* in WORD_FLAGS, */
    bool parked;           /* or in WORD_PARKED */
    bool resume_parked;    /* where `resume` is, flags are expected there */
    u8 x87_insn, x87_data; /* as in struct translation: to be noted */
};

/* group.c: which accesses share a check. */
enum access_slot { SLOT_OPERAND, SLOT_STACK, SLOT_COUNT };
#define GROUP_NONE 0xff
struct slot {
    u8 group;
    u16 offset; /* from the group's start */
};
struct group {
    u8 base, index, scale; /* as in struct insn_mem */
    bool write;
    bool open;   /* WORD_GROUP has its host address here */
    bool dead;   /* ... had, but not any more */
    u8 last;     /* instruction */
    u8 align;    /* a multiple of this, if not 0, */
    u16 aligned; /* is the address of the byte at this offset */
    u16 len;
};

/* Bytes of the page that are not the block's own, but that it depends on (live.c). */
#define AHEAD_BYTES 64
struct ahead {
    u16 offset, len, room; /* in the page; what counts; what there is */
    u8 bytes[AHEAD_BYTES];
};

struct translation {
    struct jit *j;
    struct block *b;
    struct emitter e;
    unsigned count, links, tails;
    unsigned at;                     /* the instruction that is being lowered */
    struct insn insn[BLOCK_MAX + 1]; /* the last: scratch */
    u64 rip[BLOCK_MAX + 1];          /* [count]: behind the last */
    u32 live[BLOCK_MAX + 1];         /* arithmetic flags that are needed from this instruction on */
    u8 code[BLOCK_MAX * INSN_MAX_LEN];
    unsigned len;
    struct ahead ahead[3];
    unsigned aheads;
    struct link *link; /* [links] */
    unsigned groups;
    struct group group[GROUP_MAX];
    struct slot slot[BLOCK_MAX][SLOT_COUNT];
    u8 t1_group; /* whose host address is in T1, if the next code is at t1_at; or GROUP_NONE */
    const u8 *t1_at;
    bool code32;
    bool parked;           /* here the live flags are in WORD_PARKED, the host's are anything */
    bool vectors;          /* the code so far has loaded vector registers 0..15 */
    bool high;             /* and 16..31 and the opmasks */
    bool x87;              /* has loaded the x87 state */
    bool state_used;       /* some code before the last call has loaded one of these */
    u8 x87_insn, x87_data; /* x87 instructions whose FIP, FOP, and FDP have not been noted: index + 1, or 0 */
    bool ended;            /* the last instruction has left the block */
    struct tail tail[TAIL_MAX];
};

/* live.c: fills t->live and t->ahead. */
void live_find(struct translation *t);
/* A shift by an immediate count other than 0: flags are not kept. */
bool live_is_counted(const struct insn *insn);

/* Does the code so far count on vector registers or the x87 state in the host? */
static inline bool state_is_used(const struct translation *t)
{
    return t->vectors || t->high || t->x87 || t->state_used;
}

/* Lowers instruction `i`. False, with nothing emitted: the interpreter's. */
typedef bool (*lower_fn)(struct translation *t, unsigned i);
lower_fn lower_find(const struct translation *t, unsigned i);

struct address address_of(const struct translation *t, unsigned i);
/* Of a register's contents plus `disp`, in the stack segment. */
struct address address_in_stack(const struct translation *t, unsigned reg, s32 disp);
/* Not: 16-bit addresses, the code segment in 32-bit code. */
bool address_is_simple(const struct translation *t, unsigned i);
/* The effective address (without a segment's base) into `reg`; `wide` false: truncated to 32 bits. Keeps the
 * flags. May use T1 too if reg is T0. */
void lower_ea(struct translation *t, unsigned i, const struct address *a, unsigned reg, bool wide);
/*
 * Makes [T1 + the result] the host's memory of `size` bytes, readable or writable; clobbers T0. If it cannot
 * be had: a tail of `kind`, or the plain translation of the block from here on.
 *
 * Flags that are live are kept: parked at the first check that needs it, until an instruction that reads or
 * writes flags, or leaves the block. So code that is lowered for other instructions must not depend on the
 * host's flags (flags_prepare).
 */
s32 lower_access(struct translation *t, unsigned i, const struct address *a, unsigned size, bool write,
                 enum tail_kind kind);
/* For the memory operand of an instruction that is encoded again: at a multiple of `align`; fills the memory
 * part of `r`. */
void lower_access_recode(struct translation *t, unsigned i, const struct address *a, unsigned size,
                         unsigned align, bool write, struct recode *r);
/* Before instruction i is lowered: its flags are the host's, unless it does not care. */
void flags_prepare(struct translation *t, unsigned i);
/* They are in any case. */
void flags_settle(struct translation *t);
/* Do the base (and, in 32-bit code, the limit) of the segment count? */
bool segment_counts(const struct translation *t, unsigned seg);
void groups_find(struct translation *t);
/* What has been emitted from `from` on for instruction i has left in T1 what was there after its access, or
 * before. */
void lower_t1_kept(struct translation *t, unsigned i, const u8 *from);
/* The interpreter has run: what groups know does not hold. */
void groups_forget(struct translation *t);

/* Tails whose resume point is what follows now get it. */
void tails_resume(struct translation *t, unsigned first, unsigned i);
void tail_add(struct translation *t, u8 *site, enum tail_kind kind, unsigned index, bool flags_saved);
void tails_emit(struct translation *t);
/* Of the tails from `first` on, those of TLB misses of instruction `i`: if it only reads memory and is what
 * lower_operand_t1 emits, no more, it is done across pages too. */
void tails_split(struct translation *t, unsigned first, unsigned i);

void lower_set_rip(struct translation *t, u64 rip);
void lower_flags_save(struct translation *t);
void lower_flags_restore(struct translation *t);
/* Guest register to and from host register, 64 bits. */
void lower_read(struct translation *t, unsigned host, unsigned guest);
void lower_write(struct translation *t, unsigned guest, unsigned host);

/* lower_flow.c: the block's end. */
void lower_far(struct translation *t, unsigned link, bool call);
void lower_link(struct translation *t, const struct link *link);
struct link *link_new(struct translation *t, u64 target);
void lower_goto(struct translation *t, u64 target);
/* Executes `count` instructions from i on by the interpreter, and goes on or ends. */
void lower_step(struct translation *t, unsigned i, unsigned count, bool end);

/* lower_step.c: the same by direct calls of their handlers, which is quicker and longer; false, with nothing
 * emitted: cannot. */
bool lower_handlers(struct translation *t, unsigned i, unsigned count, bool end);

bool lower_push(struct translation *t, unsigned i);
bool lower_pop(struct translation *t, unsigned i);
bool lower_leave(struct translation *t, unsigned i);
bool lower_call(struct translation *t, unsigned i);
bool lower_call_ind(struct translation *t, unsigned i);
bool lower_jmp(struct translation *t, unsigned i);
bool lower_jmp_ind(struct translation *t, unsigned i);
bool lower_jcc(struct translation *t, unsigned i);
bool lower_ret(struct translation *t, unsigned i);

#endif
