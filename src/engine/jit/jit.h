/*
 * The dynamic binary translator.
 *
 * 64-bit code and 32-bit protected-mode code (compatibility mode too) whose code segment is flat are
 * translated block by block. Other code runs in the interpreter's loop; an instruction that lower.c's table
 * does not have is a call of its handler (jit_call), or of the interpreter (jit_step).
 *
 * Registers while translated code runs: guest rAX rCX rDX rBX rBP rSI rDI R8 R12..R15 are in the host
 * registers of the same names; guest RSP is in host R9; guest R9, R10, R11 stay in v->gpr. Host R10, R11 are
 * scratch, host RSP is the host's stack, and the vCPU is at gs:0. The guest's arithmetic flags are the
 * host's, within a block they may be parked in WORD_PARKED; every other flag is in v->rflags. Vector
 * registers, MXCSR, opmasks and the x87 state are in memory until a block needs them, then in the host's
 * until C is called that may look at them or change them (lower_vector.c, lower_x87.c, lower_state.c).
 *
 * Invariants
 *  1. At the entry of every block and at every exit all registers are exact, and so are the flags that the
 * code ahead may read. Flags that are dead there (overwritten before they are read) may be anything.
 *  2. An instruction whose fast path fails (TLB miss, MMIO, a page that is code, a fault) has changed
 * nothing: the TLB is filled and it is tried again, or it is executed, wholly, by the interpreter. Translated
 * code never raises and never faults. A handler that it calls may: all registers are in memory then, v->rip
 * is the instruction's, and what unwinds ends in the run loop. The one inexactness: dead arithmetic flags
 * have arbitrary values in the frame of a fault or interrupt, and for code that was written over what made
 * them dead after they had died (live.c). Going on after it cannot tell.
 *  3. A block lies within one guest page; its key is (host address of its code, RIP, mode). Its mapping is
 * looked up in the exec TLB when it is entered from outside its page. What was found may be used again, as a
 * processor's TLB would, as long as the *context* is the same: asid_tag and code_epoch, or code_epoch alone
 * for global pages (mmu_code_remember). Direct jumps to other pages (v->engine_table) and struct jit_jump
 * compare it; the tables of indirect jumps and returns (jump.h) belong to one. Rights of data are in the TLB
 * that v->engine_words point to.
 *  4. A page with blocks has RAM_PAGE_CODE: no TLB has write entries for it, so every write is reported
 * (track.c). A write to bytes that a block was made from (struct code_range) removes the block from the
 * tables and from what jumps to it directly, at once; a vCPU that may have noted it elsewhere is told, and
 * forgets it: the writer's before its next instruction, others before they take an event, and before their
 * next backward or far jump's target begins. (Another CPU must execute a serializing instruction before it
 * may count on new code, SDM vol. 3 8.1.3: those are the interpreter's.)
 *     Lines (64 bytes) that no block was made from may be written to by translated code without a report
 * (FILL_DIRECT); before a block is made of such a page all vCPUs leave translated code once.
 *  5. Jumps to RIPs that are not above their own poll the stop flag, far jumps too. Indirect jumps and
 * returns find nothing in their table while it is set. So a loop cannot miss a kick.
 *  6. Blocks belong to the VM. Code has no vCPU's own address or number in it: what differs is behind gs:.
 * Code memory is used again only after every vCPU has left translated code since the block was removed
 * (cache.h).
 *  7. The mode, the rights and what is derived from them (WORD_MODE, WORD_TLB, WORD_TAG, v->cpl,
 * v->mmu_index, v->event_mask) change together, in jit_update_words after any call of C that may change them,
 * or inline (lower_rights, lower_transfer.c); inline only to a mode that WORD_TABLE_MODE has a table for.
 * RFLAGS.TF and RF, and everything else in v->attention, are 0 in translated code.
 *  8. Host RSP is the same at every entry of every block; [RSP] and what is below is anyone's scratch. A CALL
 * is a host call and a RET a host ret, so that the host predicts where it goes; but what decides is the
 * table.
 */
#ifndef RING3_ENGINE_JIT_JIT_H
#define RING3_ENGINE_JIT_JIT_H

#include "cpu/cpu.h"
#include "cpu/engine.h"
#include "engine/jit/emit.h"

#define GROUP_MAX 8

/* v->engine_words */
enum jit_word {
    WORD_CONTEXT, /* low half: context_of the address space; high half not 0: leave at the next poll (by
                     anyone) */
    WORD_GLOBAL,  /* likewise, of global pages */
    WORD_TLB,     /* the TLB of data accesses for the current rights */
    WORD_JUMPS,   /* struct jit_jump[JUMP_COUNT] */
    WORD_ENTRY,   /* where `enter` goes */
    WORD_LINK,    /* struct link that was left through, or 0 */
    WORD_STEP,    /* not 0: the instruction at RIP is the interpreter's; STEP_UNDO: jumps_undo comes first */
    WORD_LINEAR,  /* scratch of lowered code: a linear address, a value, saved flags, rAX */
    WORD_VALUE,
    WORD_FLAGS,
    WORD_RAX,
    WORD_PARKED, /* flags that are live while the host's are not theirs */
    WORD_T0,     /* scratch of the thunks */
    WORD_T1,
    WORD_T2,
    WORD_T3,
    WORD_MODE,  /* what a RIP is xor-ed with to look it up: the mode's part of the key */
    WORD_LIMIT, /* [SREG_COUNT], outside 64-bit mode: the first offset behind the segment; 0 if not plain data
                 */
    WORD_TARGETS =
        WORD_LIMIT + SREG_COUNT,      /* [2]: supervisor's, user's: where indirect jumps look (jump.h) */
    WORD_TABLE = WORD_TARGETS + 2,    /* [2]: the struct jump_table that may be filled, or 0 */
    WORD_TABLE_MODE = WORD_TABLE + 2, /* [2]: its mode */
    WORD_LOCAL = WORD_TABLE_MODE + 2, /* the supervisor's, if it may have what is not global, or 0 */
    WORD_STOPPED,                     /* what WORD_TARGETS is while the stop flag is set */
    WORD_GROUP,                       /* [GROUP_MAX] */
    WORD_VECTOR_OFF = WORD_GROUP + GROUP_MAX, /* 0: the vector registers and MXCSR are the host's */
    WORD_HOST_MXCSR,
    WORD_SSE_USED, /* 1: to be noted in XINUSE */
    WORD_HIGH_OFF, /* 0: registers 16..31 and the opmasks are the host's; then so are the others */
    WORD_SELF,     /* the vCPU's address: code has no vCPU's own addresses in it */
    WORD_X87_OFF,  /* 0: the x87 state is the host's */
    WORD_HOST_FCW,
    WORD_X87_USED,
    WORD_BOUNCE,   /* address of room for an operand */
    WORD_X87_NOTE, /* FOP of the last x87 instruction | X87_NOTED, or 0: none since the last look */
    WORD_X87_SEG,  /* segment register of the last operand + 1, or 0 */
    WORD_TAG,      /* tlb_tag of that TLB */
    WORD_DIRECT,   /* the address of an entry like the TLB's (FILL_DIRECT) */
    WORD_COUNT,
};
_Static_assert(WORD_COUNT <= ARRAY_LEN(((struct vcpu *)0)->engine_words), "engine_words");

/* What a translation depends on besides its bytes and address. */
enum jit_mode {
    MODE_32 = BIT(0),   /* 32-bit code and stack, CS flat; else 64-bit code */
    MODE_USER = BIT(1), /* CPL 3 */
    MODE_DS = BIT(2),   /* 32-bit code: the segment is not flat, its limit and base count */
    MODE_ES = BIT(3),
    MODE_SS = BIT(4),
    MODE_SSE = BIT(5), /* SSE is enabled and cannot raise; AVX too */
    MODE_AVX = BIT(6),
    MODE_PLAIN = BIT(7), /* of a block only: its accesses are checked one by one (group.c) */
    MODE_X87 = BIT(8),   /* x87 and MMX are enabled and cannot raise */
    MODE_AVX512 = BIT(9),
};
/* MODE_SSE: MXCSR & ~MXCSR_FREE is MXCSR_MASKS: flags, DAZ, rounding and FZ may be anything. */
#define MXCSR_FREE   0xe07fu
#define MXCSR_MASKS  0x1f80u
#define STEP_UNDO    2
#define X87_NOTED    BIT(16)
#define AT_WORD(w)   ((u32)offsetof(struct vcpu, engine_words) + 8u * (w))
#define AT_GPR(r)    ((u32)offsetof(struct vcpu, gpr) + 8u * (r))
#define AT_RIP       ((u32)offsetof(struct vcpu, rip))
#define AT_RFLAGS    ((u32)offsetof(struct vcpu, rflags))
#define AT_ASID      AT_WORD(WORD_TAG)
#define AT_EXPECT(i) ((u32)offsetof(struct vcpu, engine_table) + 4u * (i))
#define AT_STOP      (AT_WORD(WORD_CONTEXT) + 4)
#define AT_LIMIT(s)  AT_WORD(WORD_LIMIT + (s))
#define AT_SEG_BASE(s)                                                                                       \
    ((u32)(offsetof(struct vcpu, seg) + sizeof(struct segreg) * (s) + offsetof(struct segreg, base)))

/* Host registers with a role. */
#define HOST_SP R9
#define T0      R10
#define T1      R11

struct jit;

/*
 * A direct jump out of a block; `site` is aimed at the target once that exists. Within the page it is as good
 * as the page's own mapping. Into another page it is behind a check that this vCPU has found, in its present
 * context, that the page leads to where the target is: v->engine_table[the target's mapping].
 *
 * Code is changed while others run it: each displacement lies within 8 aligned bytes, so that it is fetched
 * whole, old or new (SDM vol. 3 8.1.1), and any mixture of old and new ones is right. A far site is only
 * ever aimed at blocks of one mapping.
 */
struct link {
    u64 rip;
    u8 *site;                /* writable addresses: of the displacement, */
    u8 *expect;              /* far: of the offset of the word in engine_table, NULL: near */
    u8 *word;                /* far: of the offset of the context that is compared, */
    u8 *miss;                /* far: of the displacement of the jump taken if it is another one, */
    const u8 *lookup;        /* and where that can lead for good */
    struct link *next, **at; /* in the target's `incoming` */
    struct block *from;
    struct block *target; /* NULL: not aimed. Read without the lock */
    u32 unaimed;          /* the displacement that leaves through the link */
    u32 mapping;          /* far: expected, or 0 */
    bool poll;            /* enters through the target's poll */
    bool plain;           /* to the plain translation */
    bool looks_up;        /* far: `miss` leads to `lookup` */
    bool global;          /* far: `word` is WORD_GLOBAL */
    struct block *join;   /* or NULL: from the start it leads to the host call of that one */
};

/* Bytes of guest code that a translation depends on: [offset, offset + len) of the block's page. */
struct code_range {
    u16 offset, len;
};
#define BLOCK_RANGES 8

struct code_page;
struct block {
    u64 rip;
    const u8 *hva;     /* of the first byte of guest code */
    const u8 *checked; /* entries: if T0 is `rip`; with the poll; without */
    const u8 *poll;
    const u8 *entry;
    const u8 *call; /* of a landing, where a CALL returns to: its host call; the return address is pushed */
    struct block *next;                 /* in the hash's bucket */
    struct block *next_page, **at_page; /* in the page's */
    struct link *incoming;
    struct link *link; /* [links] */
    struct code_page *page;
    u32 mapping; /* of its page, or 0 */
    u8 links;
    u16 mode; /* enum jit_mode */
    u8 ranges;
    u8 landings;  /* that follow in the array, and go with it */
    u8 call_len;  /* of a landing: bytes of the CALL */
    bool dropped; /* not in the tables any more. Read without the lock */
    struct code_range range[BLOCK_RANGES];
};

/* What indirect jumps find that is not in their table: direct-mapped by RIP. */
#define JUMP_BITS  13
#define JUMP_COUNT (1u << JUMP_BITS)
struct jit_jump {
    u64 key;     /* RIP ^ WORD_MODE */
    u64 context; /* in which it was looked up */
    const u8 *code, *checked;
};

struct jit_thunks {
    /* [1]: the vector registers and the x87 state are in the host again behind it if they were before. */
    const u8 *step[2], *call[2], *fill[2];
    const u8 *enter, *exit, *exit_t0, *link, *step_end, *call_end, *vectors_load, *high_load, *vectors_store,
        *x87_load, *x87_store;
    /* T0 has not been found: of a supervisor's table, of a user's, of none; because there is none. */
    const u8 *missed[3], *stopped, *leave_t0;
};

/* One vCPU's part; cache.h has what they share. */
struct jit_vm;
struct jit {
    struct vcpu *v;
    struct jit_vm *vm;
    u16 mode; /* enum jit_mode, as the run loop has last seen it; valid if translatable */
    bool translatable;
    bool faulted;  /* jit_fill has put a page fault into v->exc: the step that follows delivers it */
    void *checker; /* engine/lockstep's: what translated code cannot do twice, it leaves to the interpreter */
    struct jit_thunks thunk; /* the VM's */
    struct jit_jump *jump;
    struct jumps *jumps;
    /* 0: outside translated code and the tables; else vm->epoch as it was when they were last entered. */
    _Atomic(u64) inside;
    /* Something was removed from the tables: this vCPU's notes of it are to be forgotten. */
    _Atomic(bool) pending_any;
    _Atomic(u64) pending_regions; /* bit per region */
    u64 dropped_seen;             /* of vm->dropped_count */
    struct tlb_entry direct;
    bool starved; /* there was no room for a translation */
    /* Statistics. */
    u64 entered, stepped, fills, forgets, exclusives;
    u64 fallback[INSN_COUNT];
};

/* cache.c: code memory and the block tables. [lock] but for cache_find and the vCPU's own parts. */
int cache_create(struct jit_vm *t, size_t size, struct error *err);
void cache_destroy(struct jit_vm *t);
int cache_create_jumps(struct jit *j, struct error *err);
void cache_destroy_jumps(struct jit *j);
/* Room for one translation; false: there is none now. */
#define TRANSLATION_MAX (32u << 10)
bool cache_begin(struct jit *j, struct emitter *e);
void cache_commit(struct jit *j, const struct emitter *e);
/* The translation did not fit: another region, if that would help. */
bool cache_retry(struct jit *j, const struct emitter *e);
struct block *cache_find(const struct jit_vm *t, const u8 *hva, u64 rip, unsigned mode);
/* A block that is not in the tables yet, and its insertion. */
struct block *cache_block(struct jit *j);
#define BLOCK_LINKS 32
#define BLOCK_CALLS 4 /* that have a landing in the block: a struct block of its own */
struct block *cache_landing(struct jit *j, struct block *b);
void cache_insert(struct jit *j, struct block *b, struct code_page *page);
void cache_drop(struct jit_vm *t, struct block *b);
/* This vCPU was told: forgets what it has noted of blocks that are gone. */
void cache_take_pending(struct jit *j);
/* Indirect jumps to the RIP have to be looked up again. */
void cache_forget_jump(struct jit *j, u64 rip);
/* Forgets every block that this vCPU has noted. */
void cache_forget(struct jit *j);
/* For the choice of what is evicted. */
void cache_note_found(const struct jit *j, const struct block *b);
struct jit_jump *cache_jump(const struct jit *j, u64 rip);
/* RIPs of different modes never give the same key: outside 64-bit mode bits 63:32 are free, in it bits 63:48
 * are copies of bit 47. */
static inline u64 cache_key(u64 rip, unsigned mode)
{
    return rip ^ (u64)mode << 48;
}

/* thunk.c: the way in and out. */
void thunks_emit(struct jit *j, struct emitter *e);
extern const u8 jit_host_of[16]; /* the host register of a guest one, or HOST_NONE */

/* link.c: the jump that was left through (WORD_LINK) leads to `b` from now on, whose page is global or not.
 */
void link_aim(struct jit *j, struct block *b, bool global);

/* track.c: which pages have blocks. The VM's part. */
int track_create(struct vm *vm, struct error *err);
void track_destroy(struct vm *vm);
/* The record of the page that holds v->rip's code, at `hva`: from now on writes to it are reported. NULL: it
 * is not to be translated now. `guarded` is to be looked at again under the lock, and `direct` unless
 * `*held`: then page->held is one more. May wait for other vCPUs.
 */
struct code_page *track_page(struct jit *j, const u8 *hva, bool *held);
/* May translated code write to these bytes, of a page that has blocks, without a report? No block is made
 * from them, and none will be before it has: a translator stops all vCPUs first (`held`). */
bool track_direct(struct jit *j, const u8 *hva, unsigned len);
/* This vCPU may enter the page's blocks without being seen. */
void track_enter(struct jit *j, const struct block *b);
/* --trace jitmap: names a block's code. */
void track_map_block(struct jit *j, const struct block *b, const u8 *code, size_t size);

/* block.c: the block at v->rip, whose code is at `hva` (in RAM or ROM); NULL if it cannot be had now. */
struct block *block_translate(struct jit *j, const u8 *hva, unsigned mode);

/* runtime.c: called by translated code. Executes the instructions that `what` says (STEP_WHAT); false: leave.
 */
#define STEP_WHAT(id, count, len) ((u32)(id) << 20 | (u32)(count) << 12 | (u32)(len))
_Static_assert(INSN_COUNT <= 4096, "STEP_WHAT");
enum jit_next { NEXT_LEAVE, NEXT_FOLLOWS, NEXT_ELSEWHERE /* at v->rip */ };
enum jit_next jit_step(struct vcpu *v, u32 what);
/* The TLB has missed `lin` for an access. FILL_NONE: it cannot have it. FILL_DIRECT: this once the write may
 * use the entry at WORD_DIRECT as if it were the TLB's. FILL_BOUNCE: the read, which crosses a page's end and
 * has FILL_SPLIT in `how`, is done: at WORD_BOUNCE. */
#define FILL_SPLIT                   BIT(9)
#define FILL_HOW(size, write, align) ((u32)(size) | (u32)(write) << 8 | (u32)(align) << 16)
enum fill { FILL_NONE, FILL_DONE, FILL_DIRECT, FILL_BOUNCE };
enum fill jit_fill(struct vcpu *v, u64 lin, u32 how);
/* As jit_step; the code to go on at, or NULL: leave. */
const u8 *jit_step_end(struct vcpu *v, u32 what);
/* The same by calling the instruction's handler, without the interpreter's fetch; may raise. _end: the next
 * one is at v->rip. */
enum jit_next jit_call(struct vcpu *v, const struct insn *insn);
bool jit_call_end(struct vcpu *v, const struct insn *insn);
/* For who checks the translator (engine/lockstep; j->checker): runs translated code from v->rip on until it
 * has met `count` polls, or left for another reason; looks at no events. What calls cpu_meet_world may
 * longjmp out of the interpreter's step, the state is then exact. False: nothing could be run. Raises. */
bool jit_run_some(struct vcpu *v, unsigned count);
/* Makes translated code leave at its next poll. Any thread. */
void jit_stop(struct vcpu *v);
/* host.c: makes gs:0 the vCPU, on this thread; can the engine work here? */
void jit_bind_thread(struct vcpu *v);
int jit_probe(struct error *err);
/* The words that depend on the mode and the rights. */
void jit_update_words(struct vcpu *v);

#endif
