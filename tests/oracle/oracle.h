/*
 * The host CPU as an oracle: random user-mode instruction sequences run on the host and on an engine, from
 * the same state; all that a program can see afterwards must be the same.
 *
 * A test program: unlike src/, it keeps its few facts about the host process in statics.
 */
#ifndef RING3_TESTS_ORACLE_H
#define RING3_TESTS_ORACLE_H

#include "cpu/cpu.h"

/*
 * The linear address space, the same on the host and in the guest. Pages around these are not mapped.
 *   DATA  two pages, read-write, below 4 GiB so that short addresses reach them
 *   RODATA a read-only page
 *   CODE32 32-bit code, CODE64 64-bit code; FAR a read-write page that RIP-relative operands reach
 */
#define DATA_BASE   0x20000000ull
#define DATA_SIZE   0x2000u
#define RODATA_BASE 0x20010000ull
#define CODE32_BASE 0x5d3a7000ull
#define CODE64_BASE 0x2aaa00000000ull
#define FAR_BASE    0x2aaa00010000ull

/* Where in DATA some sequences save and restore extended state. What lies there is compared by restoring it:
 * which components a processor holds to be in use (and so saves) is its own affair. */
#define AREA_OFFSET 0x1500u
#define AREA_LENGTH 0xa00u
/* XSAVEOPT's own: it may leave out what did not change since an XRSTOR from the same place (the modified
 * optimization). */
#define AREA_OPT_OFFSET 0x200u

#define SEQUENCE_MAX 8
#define CODE_MAX     (SEQUENCE_MAX * 40)

/* Extended state in one neutral form, whatever the host's XSAVE layout. */
struct vector_state {
    _Alignas(64) u8 zmm[32][64];
    u64 k[8];
    u8 st[8][16];
    u16 fcw, fsw, fop;
    u8 ftw;
    u32 mxcsr;
    u64 fip, fdp;
};

struct machine_state {
    u64 gpr[16];
    u64 rip, rflags;
    u64 fs_base;
    struct vector_state vector;
};

#define NO_FAULT 0xff

struct outcome {
    struct machine_state state;
    u8 fault;             /* exception vector, NO_FAULT at the sequence's end */
    bool dead_flags_vary; /* the engine does not keep, at a fault, flags that nothing reads (engine/jit/jit.h)
                           */
    u32 error;
    u64 cr2;
    const u8 *data; /* DATA_SIZE bytes */
    const u8 *far;  /* one page */
};

struct sequence {
    u64 seed;
    bool code32;
    unsigned count;                   /* instructions */
    unsigned start[SEQUENCE_MAX + 1]; /* their offsets; start[count] is the length */
    u8 code[CODE_MAX];
    u32 flags_undefined[SEQUENCE_MAX + 1]; /* after n instructions: flags that the manual leaves undefined */
    struct machine_state initial;
    unsigned pool;        /* where in the pool the memory starts */
    unsigned area_format; /* FXSAVE, XSAVE or XSAVEC: what it holds */
    bool has_area;        /* the XSAVE area's header is zero at first */
};

static inline u64 sequence_base(const struct sequence *s)
{
    return s->code32 ? CODE32_BASE : CODE64_BASE;
}

/* Random numbers: splitmix64. */
static inline u64 rng_next(u64 *rng)
{
    u64 z = *rng += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
static inline unsigned rng_below(u64 *rng, unsigned n)
{
    return (unsigned)((rng_next(rng) >> 32) * n >> 32);
}
static inline bool rng_chance(u64 *rng, unsigned percent)
{
    return rng_below(rng, 100) < percent;
}

/* generate.c: the table rows that may be used, and sequences from them. */
struct generator {
    const struct cpu_model *model;
    const char *only; /* a mnemonic's prefix, or NULL */
    int klass;        /* enum insn_class, or -1 for all */
    int mode;         /* 0: both, 32, 64 */
    bool whole_host;  /* the model has all of the host: MXCSR_MASK and saved states are the same */
    unsigned length;  /* instructions a sequence, 0: random */
    u8 *pool;         /* random lines of 64 bytes of many kinds */
    unsigned form_count[2];
    u16 forms[2][8192]; /* indexes into insn_forms, by code32 */
};
#define POOL_SIZE 65536u
int generator_init(struct generator *g, const struct cpu_model *model);
void generator_select(struct generator *g);
void sequence_generate(struct generator *g, struct sequence *s, u64 seed);

/* state.c: random initial states. */
void state_generate(struct generator *g, struct sequence *s, u64 *rng);

/* host.c: the host. `count` instructions of the sequence are run. The outcome's pointers stay valid until the
 * next run. */
int host_init(void);
u64 host_xcr0(void);
void host_run(const struct generator *g, const struct sequence *s, unsigned count, struct outcome *out);

/* subject.c: a VM under an engine. */
struct subject;
struct subject *subject_create(const struct engine_ops *engine, const struct cpu_model *model);
void subject_destroy(struct subject *subject);
void subject_run(struct subject *subject, const struct generator *g, const struct sequence *s, unsigned count,
                 struct outcome *out);

/* compare.c: true if they agree; else says where, if `print`. */
bool outcome_equal(const struct sequence *s, unsigned count, const struct outcome *host,
                   const struct outcome *subject, bool print);

#endif
