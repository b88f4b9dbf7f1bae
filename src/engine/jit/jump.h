/*
 * Indirect jumps, calls and returns.
 *
 * A table has 64 Ki slots; the low 16 bits of the target's RIP, in T0, choose one, and the jump goes to what
 * is in it: three instructions, no flags, no register but T1. Invariants:
 *  1. A slot leads to code that compares T0 with the RIP that it is the code of (a block's `checked`, or
 * where a call returns to), and goes to thunk.missed if it is another one; or it leads to thunk.missed.
 *  2. A table belongs to one mode and one context (jit.h), a supervisor's to one context of global pages.
 * When either changes another table takes its place, or none does. The two words of WORD_TARGETS are a
 * supervisor's and a user's: code knows which it is.
 *  3. While the stop flag is set, or there is no table, WORD_TARGETS is the table whose slots all lead to
 * thunk.stopped, which leaves. Only the vCPU itself sets it to another one, and looks for reasons to stop
 * after that.
 *  4. Slots are filled by the vCPU alone, which notes where (`dirty`), so that emptying a table costs little.
 *
 * v->rip is the branch's own when it jumps: a target that is not canonical is found by thunk.missed, after
 * the branch has moved the stack pointer. jumps_undo moves it back, and the interpreter raises. (The return
 * address of a CALL to such a target has then been written below the stack pointer.)
 *
 * A CALL is `lea rsp, [rsp + 8]; call`, a RET `push [slot]; ret`. The host expects the RET behind the CALL,
 * which is where the slot leads once the translator has been asked for that RIP: struct block of its own.
 */
#ifndef RING3_ENGINE_JIT_JUMP_H
#define RING3_ENGINE_JIT_JUMP_H

#include "engine/jit/jit.h"

#define JUMP_SLOTS (1u << 16)
#define DIRTY_BITS 3 /* slots per byte */
struct jump_table {
    const u8 *slot[JUMP_SLOTS];
    u8 dirty[JUMP_SLOTS >> DIRTY_BITS];
    u8 unused[JUMP_SLOTS * 8 - (JUMP_SLOTS >> DIRTY_BITS)];
};
_Static_assert(sizeof(struct jump_table) == 16 * JUMP_SLOTS, "the address's low 19 bits are 0");

#define JUMP_TABLES 8
struct jumps {
    void *memory;
    size_t size;
    struct jump_table *stopped;
    struct jump_table *table; /* [JUMP_TABLES] */
    struct {
        bool filled; /* has been initialized */
        bool valid;
        u16 mode;
        u32 context;
        u64 used;
    } owner[JUMP_TABLES];
    u64 clock;
    /* What jumps_select has seen and set last. */
    struct {
        u64 targets[2];
        u32 context, global;
        u16 mode;
        bool pge;
    } last;
};

/* After the thunks have been emitted. */
int jumps_create(struct jit *j, struct error *err);
void jumps_destroy(struct jit *j);
/* The vCPU's mode or context may have changed, or it was stopped: the words. */
void jumps_select(struct jit *j);
/* Any thread: what jumps find now leaves. */
void jumps_stop(struct vcpu *v);
/* Has been looked up, in the present mode and context; `global`: in every context's. */
void jumps_note(struct jit *j, const struct block *b, bool global);
void jumps_forget(struct jit *j, u64 rip);
void jumps_forget_all(struct jit *j);
/* The branch at v->rip has moved the stack pointer, but is not done. */
void jumps_undo(struct vcpu *v);

/* lookup.c */
void lookup_emit(struct jit *j, struct emitter *e);
enum lookup_kind { LOOKUP_JUMP = 4, LOOKUP_CALL = 2, LOOKUP_RETURN = 6 };
/* Goes to T0, by way of the table. */
void lookup_go(struct emitter *e, bool user, enum lookup_kind kind);
/* Goes on if T0 is `rip`, else to thunk.missed. May clobber T1, and the flags if they are not live. */
void lookup_check(struct jit *j, struct emitter *e, u64 rip, bool user, bool flags_live);

#endif
