/*
 * Lockstep: the translator and the interpreter execute the same instructions, and must come to the same.
 *
 *  1. A run: the translator goes first, from the vCPU's state until it has met a few polls. What it has done
 * to RAM and registers is kept aside and undone, then the interpreter executes one instruction after the
 * other from the same state, until its state is that of the translator. If it never is, that is a difference.
 * What the interpreter has done stays.
 *  2. Only what can be repeated is executed in a run. The first instruction that would reach devices, clocks
 * or other CPUs (cpu_meet_world) ends it on both sides; it is then executed once, alone, by the interpreter.
 * Events are looked at between runs.
 *  3. A page of RAM is copied before it is first written to on either side (struct cpu_watch); TLBs are
 * emptied before each side begins, so that no write goes unseen. The machine lock is held during a run: no
 * device writes to RAM meanwhile. (Disk transfers under way may; hence 4.)
 *  4. A difference counts if it comes again from the same state. It is then looked for in the shortest run.
 *  5. Arithmetic flags may differ where nothing will read them (engine/jit/jit.h, invariant 2), or where the
 * manual leaves them undefined.
 */
#ifndef RING3_ENGINE_LOCKSTEP_LOCKSTEP_H
#define RING3_ENGINE_LOCKSTEP_LOCKSTEP_H

#include "cpu/cpu.h"
#include "engine/jit/jit.h"

/* journal.c: pages of RAM as they were, and as the first side has left them. */
struct journal_page {
    u8 *hva;
    u8 *before, *after; /* after: NULL-like (== before) unless `changed` */
    bool changed;       /* by the first side */
    struct journal_page *next;
};

#define JOURNAL_BITS 8
struct journal {
    struct journal_page **page; /* [count] in use, [made] exist */
    unsigned count, made, room;
    struct journal_page *bucket[1u << JOURNAL_BITS];
    bool failed; /* no memory: something was not noted */
};

void journal_destroy(struct journal *jn);
/* Keeps a copy of the page if there is none. */
void journal_note(struct journal *jn, u8 *hva);
/* Puts RAM back as it was. `keep`: what was there is what the first side has done. */
void journal_undo(struct journal *jn, struct mem_space *mem, bool keep);
/* Is RAM as the first side has left it? */
bool journal_agrees(const struct journal *jn);
bool journal_first_changed(const struct journal *jn);
void journal_clear(struct journal *jn);

/* state.c: what counts of a vCPU. */
enum agreement { AGREE, AGREE_BUT_FLAGS, DISAGREE };
enum agreement state_compare(const struct vcpu *translator, const struct vcpu *interpreter);
bool state_general_equal(const struct vcpu *a, const struct vcpu *b);
/* Bits of the general registers, and more if other things differ. */
unsigned state_distance(const struct vcpu *a, const struct vcpu *b);
/* A line for each thing that differs. */
void state_print(const struct vcpu *translator, const struct vcpu *interpreter,
                 void (*line)(void *opaque, const char *text), void *opaque);
/* What instructions may change. */
void state_keep(struct vcpu *to, const struct vcpu *from);

/* flags.c */
/* Those of `flags` that the code from v->rip on may read. */
u32 flags_live(struct vcpu *v, u32 flags);
/* Decodes the instruction at `rip` in the current mode; false: it cannot be read. */
bool code_decode(struct vcpu *v, u64 rip, struct insn *insn);

struct lockstep {
    struct vcpu *v;
    struct vcpu before, after; /* as the run began; as the translator has left it */
    struct journal journal;
    struct cpu_watch watch;
    jmp_buf world;
    unsigned steps;    /* by the interpreter, in this run */
    unsigned near;     /* after how many of them it was nearest to the translator's state */
    unsigned distance; /* then; 0: it has never been at the same RIP */
    bool measures;
    bool differs; /* found, printed: over */
    /* Statistics. */
    u64 runs, compared, alone, pardoned, unstable;
};

/* report.c: the difference that the run has just found; the vCPU is as the interpreter has left it. */
void report_difference(struct lockstep *l);

/* engine.c, for report.c: back to where the run began; and the interpreter's side on. */
void lockstep_rewind(struct lockstep *l);
bool lockstep_step(struct lockstep *l, unsigned limit);

#endif
