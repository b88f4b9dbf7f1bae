/* What a program can see: is it the same? */
#include <stdio.h>
#include <string.h>
#include "base/bytes.h"
#include "tests/oracle/oracle.h"

static bool differ(bool print, const char *what, unsigned index, u64 host, u64 subject)
{
    if (print)
        printf("#   %s%u: host %016llx, engine %016llx\n", what, index, (unsigned long long)host,
               (unsigned long long)subject);
    return false;
}

static bool bytes_equal(const char *what, unsigned index, const u8 *host, const u8 *subject, unsigned size,
                        bool print)
{
    if (!memcmp(host, subject, size))
        return true;
    for (unsigned i = 0; print && i < size; i += 8) {
        unsigned n = size - i < 8 ? size - i : 8;
        if (memcmp(host + i, subject + i, n))
            printf("#   %s%u+%u: host %0*llx, engine %0*llx\n", what, index, i, 2 * n,
                   (unsigned long long)load_le(host + i, n), 2 * n,
                   (unsigned long long)load_le(subject + i, n));
    }
    return false;
}

/* Instructions with large operands touch their ends in an order of the processor's own: only the page counts.
 */
static bool fault_address_is_free(const struct sequence *s, u64 rip)
{
    struct insn insn;
    u64 offset = rip - sequence_base(s);
    if (offset >= CODE_MAX ||
        insn_decode(&insn, s->code + offset, CODE_MAX - offset, s->code32 ? DECODE_32 : DECODE_64))
        return false;
    switch (insn.id) {
    case INSN_FNSTENV:
    case INSN_FLDENV:
    case INSN_FNSAVE:
    case INSN_FRSTOR:
    case INSN_FXSAVE:
    case INSN_FXRSTOR:
    case INSN_XSAVE:
    case INSN_XSAVEOPT:
    case INSN_XSAVEC:
    case INSN_XRSTOR:
        return true;
    default:
        return false;
    }
}

static bool is_memory_fault(u8 vector)
{
    return vector >= 12 && vector <= 14;
}

/* A masked operand around 4 GiB: whether the limit or a page is looked at first depends on how the processor
 * splits it. */
static bool operand_wraps(const struct sequence *s, const struct outcome *h, const struct outcome *e)
{
    u64 cr2 = h->fault == 14 ? h->cr2 : e->cr2;
    if (!is_memory_fault(h->fault) || !is_memory_fault(e->fault))
        return false;
    if (s->code32)
        return cr2 >= 0xffffff80 || cr2 < 128;
    return cr2 - 0x7ffffffff000 < PAGE_SIZE;
}

static bool integer_equal(const struct sequence *s, unsigned count, const struct outcome *h,
                          const struct outcome *e, bool print)
{
    const struct machine_state *a = &h->state, *b = &e->state;
    bool same = true;
    if (h->fault != e->fault && !operand_wraps(s, h, e))
        same = differ(print, "exception vector ", 0, h->fault, e->fault);
    if (a->rip != b->rip)
        same = differ(print, "rip", 0, a->rip, b->rip);
    u64 visible = s->code32 ? MASK(32) : ~0ull;
    for (unsigned i = 0; i < (s->code32 ? 8u : 16u); i++)
        if ((a->gpr[i] ^ b->gpr[i]) & visible)
            same = differ(print, "gpr", i, a->gpr[i], b->gpr[i]);
    u64 mask = FLAGS_ARITH | FLAG_DF | FLAG_AC | FLAG_ID | FLAG_NT;
    if (h->fault == NO_FAULT)
        mask &= ~(u64)s->flags_undefined[count];
    else
        for (unsigned i = 0; i <= count; i++)
            mask &= ~(u64)s->flags_undefined[i];
    if (h->fault != NO_FAULT && e->dead_flags_vary)
        mask &= ~(u64)FLAGS_ARITH;
    if ((a->rflags ^ b->rflags) & mask)
        same = differ(print, "rflags", 0, a->rflags & mask, b->rflags & mask);
    if (h->fault == e->fault && h->fault != NO_FAULT) {
        /* The kernel's page protections are the tables' only after its own faults: the P bit may differ. */
        if ((h->error ^ e->error) & ~1u)
            same = differ(print, "error code ", 0, h->error, e->error);
        u64 slack = fault_address_is_free(s, a->rip) ? 2560 : 0;
        if (h->fault == 14 && h->cr2 - e->cr2 + slack > 2 * slack)
            same = differ(print, "cr", 2, h->cr2, e->cr2);
    }
    return same;
}

static bool vector_equal(const struct vector_state *a, const struct vector_state *b, bool print)
{
    bool same = true;
    if (a->mxcsr != b->mxcsr)
        same = differ(print, "mxcsr", 0, a->mxcsr, b->mxcsr);
    if (a->fcw != b->fcw)
        same = differ(print, "fcw", 0, a->fcw, b->fcw);
    if (a->fsw != b->fsw)
        same = differ(print, "fsw", 0, a->fsw, b->fsw);
    if (a->ftw != b->ftw)
        same = differ(print, "ftw", 0, a->ftw, b->ftw);
    for (unsigned i = 0; i < 8; i++) {
        same &= bytes_equal("st", i, a->st[i], b->st[i], 10, print);
        if (a->k[i] != b->k[i])
            same = differ(print, "k", i, a->k[i], b->k[i]);
    }
    for (unsigned i = 0; i < 32; i++)
        same &= bytes_equal("zmm", i, a->zmm[i], b->zmm[i], 64, print);
    return same;
}

static bool data_equal(const struct sequence *s, const u8 *host, const u8 *subject, bool print)
{
    static const struct {
        unsigned from, to;
    } parts[] = {{0, AREA_OPT_OFFSET},
                 {AREA_OPT_OFFSET + AREA_LENGTH, AREA_OFFSET},
                 {AREA_OFFSET + AREA_LENGTH, DATA_SIZE}};
    bool same = true;
    if (!s->has_area)
        return bytes_equal("data", 0, host, subject, DATA_SIZE, print);
    for (unsigned i = 0; i < ARRAY_LEN(parts); i++)
        same &= bytes_equal("data", parts[i].from, host + parts[i].from, subject + parts[i].from,
                            parts[i].to - parts[i].from, print);
    return same;
}

bool outcome_equal(const struct sequence *s, unsigned count, const struct outcome *host,
                   const struct outcome *subject, bool print)
{
    bool same = integer_equal(s, count, host, subject, print);
    same &= vector_equal(&host->state.vector, &subject->state.vector, print);
    same &= data_equal(s, host->data, subject->data, print);
    same &= bytes_equal("far", 0, host->far, subject->far, PAGE_SIZE, print);
    return same;
}
