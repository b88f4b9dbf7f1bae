/* Random initial states: registers that point into memory, counters, and values that floating point finds
 * interesting. */
#include <string.h>
#include "base/bytes.h"
#include "tests/oracle/oracle.h"

/* A pointer into the middle of DATA, where a page ends, now and then to its ends or to read-only memory. */
static u64 random_pointer(u64 *rng)
{
    unsigned kind = rng_below(rng, 32);
    u64 at = DATA_BASE + PAGE_SIZE - 256 + rng_below(rng, 8) * 64;
    if (kind == 0)
        at = DATA_BASE + DATA_SIZE - 64;
    else if (kind == 1)
        at = RODATA_BASE + 1024;
    else if (kind == 2)
        at = DATA_BASE + 32;
    if (rng_chance(rng, 40))
        at += rng_below(rng, 64);
    return at;
}

static u64 random_value(u64 *rng)
{
    static const u64 edges[] = {0,
                                1,
                                2,
                                0x7f,
                                0x80,
                                0xff,
                                0x7fff,
                                0x8000,
                                0xffff,
                                0x7fffffff,
                                0x80000000,
                                0xffffffff,
                                0x7fffffffffffffff,
                                0x8000000000000000,
                                ~0ull,
                                ~1ull};
    switch (rng_below(rng, 6)) {
    case 0:
        return edges[rng_below(rng, ARRAY_LEN(edges))];
    case 1:
        return rng_below(rng, 256);
    case 2:
        return (u32)rng_next(rng);
    case 3:
        return 1ull << rng_below(rng, 64);
    default:
        return rng_next(rng);
    }
}

static void gpr_generate(struct sequence *s, u64 *rng)
{
    static const u8 pointers[] = {RBX, RBP, RSI, RDI, R12, R13, R14, R15};
    u64 *gpr = s->initial.gpr;
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = random_value(rng);
    for (unsigned i = 0; i < ARRAY_LEN(pointers); i++)
        gpr[pointers[i]] = random_pointer(rng);
    gpr[RSP] =
        DATA_BASE + PAGE_SIZE + rng_below(rng, 32) * 8 - 128 + (rng_chance(rng, 5) ? rng_below(rng, 8) : 0);
    if (rng_chance(rng, 80))
        gpr[RCX] = rng_below(rng, 12);
    gpr[R8] = rng_below(rng, 8);
    gpr[R9] = rng_below(rng, 4) * 16;
    if (s->code32)
        for (unsigned i = 0; i < 16; i++)
            gpr[i] = i < 8 ? (u32)gpr[i] : 0; /* what compatibility mode cannot see must not matter */
}

static void x87_generate(struct generator *g, struct vector_state *vs, u64 *rng)
{
    static const u16 exponents[] = {0,      1,      0x3ffe, 0x3fff, 0x4000, 0x400e,
                                    0x403e, 0x7ffe, 0x7fff, 0x3f80, 0x407e};
    static const u64 significands[] = {0, 1ull << 63, 3ull << 62, ~0ull, 1, 1ull << 62, 0xa000000000000000};
    vs->fcw = (u16)(0x40 | (rng_next(rng) & 0x0f00) | (rng_chance(rng, 85) ? 0x3f : rng_next(rng) & 0x3f));
    vs->fsw = (u16)(rng_next(rng) & 0x7f00 & (rng_chance(rng, 50) ? 0x3800 : ~0));
    if (rng_chance(rng, 20))
        vs->fsw |= rng_next(rng) & 0x7f;
    if (rng_chance(rng, 90))
        vs->fsw &= (u16) ~(~vs->fcw & 0x3f);
    if (vs->fsw & ~vs->fcw & 0x3f)
        vs->fsw |= 0x8080;
    vs->ftw = (u8)(rng_chance(rng, 70) ? 0xff : rng_next(rng));
    for (unsigned i = 0; i < 8; i++) {
        u64 significand = rng_chance(rng, 40) ? significands[rng_below(rng, ARRAY_LEN(significands))]
                                              : rng_next(rng) | (rng_chance(rng, 95) ? 1ull << 63 : 0);
        u16 exponent = rng_chance(rng, 70) ? exponents[rng_below(rng, ARRAY_LEN(exponents))]
                                           : (u16)(0x3fff - 70 + rng_below(rng, 140));
        store_le64(vs->st[i], significand);
        store_le16(vs->st[i] + 8, exponent | (rng_chance(rng, 40) ? 0x8000 : 0));
    }
    (void)g;
}

static void vector_generate(struct generator *g, struct vector_state *vs, u64 *rng)
{
    bool avx = model_has(g->model, FEAT_AVX), avx512 = model_has(g->model, FEAT_AVX512F);
    for (unsigned i = 0; i < (avx512 ? 32 : 16); i++)
        memcpy(vs->zmm[i], g->pool + rng_below(rng, POOL_SIZE / 64) * 64, avx512 ? 64 : avx ? 32 : 16);
    /* Indexes for gathers and scatters, as quadwords (and so as doublewords) or as doublewords. */
    for (unsigned i = 1; avx && i < 32; i += 8) {
        for (unsigned n = 0; n < 8; n++)
            store_le64(vs->zmm[i] + 8 * n, rng_below(rng, 24) | (i & 8 ? (u64)rng_below(rng, 24) << 32 : 0));
        if (!avx512)
            memset(vs->zmm[i] + 32, 0, 32);
    }
    if (!avx512)
        memset(vs->zmm[16], 0, 16 * 64);
    for (unsigned i = 0; avx512 && i < 8; i++)
        vs->k[i] = rng_chance(rng, 30) ? ~0ull : rng_next(rng);
    if (avx512 && !model_has(g->model, FEAT_AVX512BW))
        for (unsigned i = 0; i < 8; i++)
            vs->k[i] &= 0xffff;
    vs->mxcsr = (u32)(rng_next(rng) & 0xe07f & (rng_chance(rng, 50) ? 0x6000 : ~0u));
    vs->mxcsr |= rng_chance(rng, 85) ? 0x1f80 : rng_next(rng) & 0x1f80;
}

void state_generate(struct generator *g, struct sequence *s, u64 *rng)
{
    struct machine_state *m = &s->initial;
    memset(m, 0, sizeof *m);
    gpr_generate(s, rng);
    m->rip = sequence_base(s);
    m->rflags = FLAG_R1 | (rng_next(rng) & FLAGS_ARITH);
    if (rng_chance(rng, 15))
        m->rflags |= FLAG_DF;
    if (rng_chance(rng, 3))
        m->rflags |= FLAG_AC;
    m->fs_base = DATA_BASE + PAGE_SIZE - 128 + rng_below(rng, 64) * 4;
    vector_generate(g, &m->vector, rng);
    x87_generate(g, &m->vector, rng);
    s->pool = rng_below(rng, (POOL_SIZE - DATA_SIZE - PAGE_SIZE) / 64) * 64;
}
