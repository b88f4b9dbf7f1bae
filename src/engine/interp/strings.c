/* MOVS, STOS, LODS, SCAS, CMPS: one iteration through the MMU, or a run within a page through host pointers.
 */
#include "engine/interp/alu.h"
#include "engine/interp/dispatch.h"
#include "engine/interp/strings.h"

static bool must_stop(const struct vcpu *v)
{
    return (atomic_load_explicit(&v->events, memory_order_relaxed) & v->event_mask) | v->attention;
}

void string_repeat(struct vcpu *v, const struct insn *insn, string_fn fn)
{
    bool more = true;
    if (!(insn->prefixes & (PREFIX_REP | PREFIX_REPNE))) {
        fn(v, insn, 1, &more);
        v->rip = interp_next_rip(v, insn);
        return;
    }
    u64 count = v->gpr[RCX] & MASK(insn->adsize * 8);
    while (count) {
        count -= fn(v, insn, v->attention ? 1 : count, &more);
        interp_gpr_write(v, RCX, insn->adsize, false, count);
        if (!more)
            break;
        if (count && must_stop(v)) {
            if (v->attention & ATTN_BREAKPOINT)
                cpu_set_flags(v, FLAG_RF, FLAG_RF);
            return;
        }
    }
    v->rip = interp_next_rip(v, insn);
}

/* How many of `count` elements from seg:off (at `lin`) upwards lie in the page, below the segment's limit and
 * before the offset wraps; 0 if not even one, or if it is not so simple. */
static u64 run_length(const struct vcpu *v, const struct insn *insn, unsigned seg, u64 off, u64 lin,
                      u64 count)
{
    u64 room = PAGE_SIZE - (lin & ~PAGE_MASK);
    if (count < 2 || (v->rflags & FLAG_DF))
        return 0;
    if (insn->adsize < 8)
        room = MIN(room, MASK(insn->adsize * 8) - off + 1);
    if (!v->code64) {
        const struct segreg *s = &v->seg[seg];
        if ((s->attr & (SEG_CODE | SEG_EXPAND_DOWN)) == SEG_EXPAND_DOWN || off > s->limit)
            return 0;
        room = MIN(room, s->limit - off + 1);
    }
    return MIN(count, room / insn->opsize);
}

/* Forward, element by element as the guest's CPU does: an overlap repeats the pattern. */
static void copy_forward(u8 *to, const u8 *from, u64 bytes, unsigned size)
{
    if (to + bytes <= from || from + bytes <= to || to <= from) {
        memmove(to, from, bytes);
        return;
    }
    for (u64 i = 0; i < bytes; i += size) {
        u64 element = load_le(from + i, size);
        store_le(to + i, size, element);
    }
}

static u64 movs(struct vcpu *v, const struct insn *insn, u64 count, bool *more)
{
    unsigned size = insn->opsize;
    u64 src = string_offset(v, insn, RSI), dst = string_offset(v, insn, RDI);
    u64 from = seg_linear(v, insn->mem.seg, src, size, MMU_READ);
    u64 to = seg_linear(v, ES, dst, size, MMU_WRITE);
    u64 n =
        MIN(run_length(v, insn, insn->mem.seg, src, from, count), run_length(v, insn, ES, dst, to, count));
    u8 *hfrom = n ? mmu_fast_ptr(v, from, (unsigned)n * size, MMU_READ) : NULL;
    u8 *hto = hfrom ? mmu_fast_ptr(v, to, (unsigned)n * size, MMU_WRITE) : NULL;
    if (hto) {
        copy_forward(hto, hfrom, n * size, size);
    } else {
        n = 1;
        interp_store(v, to, size, interp_load(v, from, size));
    }
    string_advance(v, insn, RSI, n);
    string_advance(v, insn, RDI, n);
    return n;
}

static void fill(u8 *to, u64 n, unsigned size, u64 value)
{
    switch (size) {
    case 1:
        memset(to, (u8)value, n);
        break;
    case 2:
        for (u64 i = 0; i < n; i++)
            store_le16(to + 2 * i, (u16)value);
        break;
    case 4:
        for (u64 i = 0; i < n; i++)
            store_le32(to + 4 * i, (u32)value);
        break;
    default:
        for (u64 i = 0; i < n; i++)
            store_le64(to + 8 * i, value);
    }
}

static u64 stos(struct vcpu *v, const struct insn *insn, u64 count, bool *more)
{
    unsigned size = insn->opsize;
    u64 dst = string_offset(v, insn, RDI), value = v->gpr[RAX];
    u64 to = seg_linear(v, ES, dst, size, MMU_WRITE);
    u64 n = run_length(v, insn, ES, dst, to, count);
    u8 *hto = n ? mmu_fast_ptr(v, to, (unsigned)n * size, MMU_WRITE) : NULL;
    if (hto) {
        fill(hto, n, size, value);
    } else {
        n = 1;
        interp_store(v, to, size, value);
    }
    string_advance(v, insn, RDI, n);
    return n;
}

static u64 lods(struct vcpu *v, const struct insn *insn, u64 count, bool *more)
{
    unsigned size = insn->opsize;
    u64 from = seg_linear(v, insn->mem.seg, string_offset(v, insn, RSI), size, MMU_READ);
    u64 value = interp_load(v, from, size);
    interp_gpr_write(v, RAX, size, false, value);
    string_advance(v, insn, RSI, 1);
    return 1;
}

/* The flags of a - b; *more: does REPE or REPNE go on? */
static void compare(struct vcpu *v, const struct insn *insn, u64 a, u64 b, bool *more)
{
    switch (insn->opsize) {
    case 1:
        alu_cmp_8((u8)a, (u8)b, &v->rflags);
        break;
    case 2:
        alu_cmp_16((u16)a, (u16)b, &v->rflags);
        break;
    case 4:
        alu_cmp_32((u32)a, (u32)b, &v->rflags);
        break;
    default:
        alu_cmp_64(a, b, &v->rflags);
    }
    *more = !!(v->rflags & FLAG_ZF) == !(insn->prefixes & PREFIX_REPNE);
}

static u64 scas(struct vcpu *v, const struct insn *insn, u64 count, bool *more)
{
    unsigned size = insn->opsize;
    u64 dst = string_offset(v, insn, RDI), at = seg_linear(v, ES, dst, size, MMU_READ);
    u64 value = v->gpr[RAX] & MASK(size * 8), last;
    u64 n = run_length(v, insn, ES, dst, at, count), i = 0;
    const u8 *p = n ? mmu_fast_ptr(v, at, (unsigned)n * size, MMU_READ) : NULL;
    if (p) {
        bool wanted = insn->prefixes & PREFIX_REPNE; /* equality that ends the repetition */
        do {
            last = load_le(p + i * size, size);
            i++;
        } while (i < n && (last == value) != wanted);
    } else {
        last = interp_load(v, at, size);
        i = 1;
    }
    compare(v, insn, value, last, more);
    string_advance(v, insn, RDI, i);
    return i;
}

static u64 cmps(struct vcpu *v, const struct insn *insn, u64 count, bool *more)
{
    unsigned size = insn->opsize;
    u64 src = string_offset(v, insn, RSI), dst = string_offset(v, insn, RDI), a, b, i = 0;
    u64 from = seg_linear(v, insn->mem.seg, src, size, MMU_READ), at = seg_linear(v, ES, dst, size, MMU_READ);
    u64 n =
        MIN(run_length(v, insn, insn->mem.seg, src, from, count), run_length(v, insn, ES, dst, at, count));
    const u8 *p = n ? mmu_fast_ptr(v, from, (unsigned)n * size, MMU_READ) : NULL;
    const u8 *q = p ? mmu_fast_ptr(v, at, (unsigned)n * size, MMU_READ) : NULL;
    if (q) {
        bool wanted = insn->prefixes & PREFIX_REPNE;
        do {
            a = load_le(p + i * size, size);
            b = load_le(q + i * size, size);
            i++;
        } while (i < n && (a == b) != wanted);
    } else {
        b = interp_load(v, at, size); /* the order in which the host's processor faults */
        a = interp_load(v, from, size);
        i = 1;
    }
    compare(v, insn, a, b, more);
    string_advance(v, insn, RSI, i);
    string_advance(v, insn, RDI, i);
    return i;
}

void string_movs(struct vcpu *v, const struct insn *insn)
{
    string_repeat(v, insn, movs);
}

void string_stos(struct vcpu *v, const struct insn *insn)
{
    string_repeat(v, insn, stos);
}

void string_lods(struct vcpu *v, const struct insn *insn)
{
    string_repeat(v, insn, lods);
}

void string_scas(struct vcpu *v, const struct insn *insn)
{
    string_repeat(v, insn, scas);
}

void string_cmps(struct vcpu *v, const struct insn *insn)
{
    string_repeat(v, insn, cmps);
}
