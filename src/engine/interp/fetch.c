/* Fetching and decoding: the code window, instructions across pages, and filling the decode cache. */
#include "engine/interp/dispatch.h"
#include "engine/interp/native.h"
#include "engine/interp/op.h"

#define WINDOW_TAIL 16 /* bytes compared at once */

/* Where instruction bytes come from: the linear address of RIP, and how many may be fetched before CS's
 * limit. */
struct fetch {
    u64 lin, room;
};

static struct fetch fetch_begin(struct vcpu *v)
{
    if (v->code64) {
        if (unlikely(!is_canonical(v->rip)))
            cpu_raise_gp0(v);
        return (struct fetch){.lin = v->rip, .room = ~0ull};
    }
    const struct segreg *cs = &v->seg[CS];
    if (unlikely(v->rip > cs->limit))
        cpu_raise_gp0(v);
    return (struct fetch){.lin = (cs->base + v->rip) & 0xffffffff, .room = (u64)cs->limit - v->rip + 1};
}

/* Opens the window on the page of `lin`, if the whole of it can be used from here on. */
static void window_open(struct interp *it, u64 rip, const struct fetch *f, const u8 *page)
{
    u64 off = f->lin & ~PAGE_MASK, end = PAGE_SIZE;
    if (f->room < PAGE_SIZE)
        end = MIN(end, off + f->room);
    it->code_rip = rip - off;
    it->code = page;
    it->code_span = end >= WINDOW_TAIL ? end - WINDOW_TAIL + 1 : 0;
}

/* Copies instruction bytes [have, want) to `buf`, page by page; raises the page faults. */
static void fetch_bytes(struct vcpu *v, u64 lin, u8 *buf, unsigned have, unsigned want)
{
    u64 wrap = v->code64 ? ~0ull : 0xffffffff;
    const u8 *page = NULL;
    for (unsigned i = have; i < want; i++) {
        u64 at = (lin + i) & wrap;
        if (unlikely(!is_canonical(at)))
            cpu_raise_gp0(v);
        if (!page || !(at & ~PAGE_MASK))
            page = mmu_code_page(v, at);
        buf[i] = page ? page[at & ~PAGE_MASK] : mmu_fetch(v, at);
    }
}

static u16 need_mask(unsigned len)
{
    return (u16)MASK(len);
}

/* Decodes from the first `avail` bytes; more are fetched as needed, up to CS's limit. Returns on success
 * only. */
static void decode(struct vcpu *v, const struct fetch *f, u8 bytes[16], unsigned avail, struct insn *insn)
{
    for (;;) {
        switch (insn_decode(insn, bytes, avail, v->decode_mode)) {
        case DECODE_OK:
            return;
        case DECODE_UD:
            cpu_raise_ud(v);
        case DECODE_TOO_LONG:
            cpu_raise_gp0(v);
        case DECODE_NEED_MORE:
            break;
        }
        if (avail >= f->room || avail >= INSN_MAX_LEN)
            cpu_raise_gp0(v);
        fetch_bytes(v, f->lin, bytes, avail, avail + 1);
        avail++;
    }
}

static void op_fill(struct vcpu *v, struct op *op, const u8 bytes[16])
{
    struct interp *it = v->interp;
    struct insn *insn = &it->insn[op - it->op];
    unsigned len = insn->len;
    op->rip = v->rip;
    op->next_rip = interp_next_rip(v, insn);
    memset(op->bytes, 0, sizeof op->bytes);
    memcpy(op->bytes, bytes, len);
    op->need = need_mask(len);
    op_specialize(v, op, insn);
    op->mode = v->decode_mode;
    it->decoded++;
}

/* Does the op at v->rip hold what memory holds? `avail` bytes of it are in `bytes`; an instruction that is
 * longer and begins like the op's needs the rest too. */
static bool op_verify(struct vcpu *v, const struct op *op, const struct fetch *f, u8 bytes[16],
                      unsigned *avail)
{
    if (op->rip != v->rip || op->mode != v->decode_mode)
        return false;
    unsigned len = op_insn(v->interp, op)->len;
    if (memcmp(op->bytes, bytes, MIN(len, *avail)) != 0 || len > f->room)
        return false;
    if (len > *avail) {
        fetch_bytes(v, f->lin, bytes, *avail, len);
        *avail = len;
    }
    return memcmp(op->bytes, bytes, len) == 0;
}

/* The op for `bytes`, the first `avail` of which are the instruction's, as far as they go. */
static struct op *op_lookup(struct vcpu *v, const struct fetch *f, u8 bytes[16], unsigned avail)
{
    struct interp *it = v->interp;
    struct op *op = &it->op[op_index(v->rip)];
    if (op_verify(v, op, f, bytes, &avail))
        return op;
    op->mode = MODE_NONE;
    decode(v, f, bytes, avail, &it->insn[op - it->op]);
    op_fill(v, op, bytes);
    return op;
}

struct op *op_fetch(struct vcpu *v)
{
    struct interp *it = v->interp;
    struct fetch f = fetch_begin(v);
    u8 bytes[16] = {0};
    interp_sync(it);
    const u8 *page = mmu_code_page(v, f.lin);
    unsigned off = f.lin & ~PAGE_MASK;
    if (likely(page)) {
        window_open(it, v->rip, &f, page);
        unsigned avail = (unsigned)MIN(MIN(PAGE_SIZE - off, f.room), INSN_MAX_LEN);
        memcpy(bytes, page + off, avail);
        it->split += off >= it->code_span;
        return op_lookup(v, &f, bytes, avail);
    }
    bytes[0] = mmu_fetch(v, f.lin);
    it->split++;
    return op_lookup(v, &f, bytes, 1);
}

/* The general handlers, behind the fast handlers' signature. */
static void run_plain(struct vcpu *v, const struct op *op)
{
    const struct interp *it = v->interp;
    unsigned i = (unsigned)(op - it->op);
    it->handler[i](v, &it->insn[i]);
    v->rip = op->next_rip;
}

static void run_flow(struct vcpu *v, const struct op *op)
{
    const struct interp *it = v->interp;
    unsigned i = (unsigned)(op - it->op);
    it->handler[i](v, &it->insn[i]);
}

void op_run_general(struct vcpu *v, const struct op *op)
{
    if (interp_dispatch[op_insn(v->interp, op)->id].kind & KIND_FLOW)
        run_flow(v, op);
    else
        run_plain(v, op);
}

/* Privileged or with an effect on the code window. */
static void run_system(struct vcpu *v, const struct op *op)
{
    struct interp *it = v->interp;
    unsigned i = (unsigned)(op - it->op);
    const struct insn *insn = &it->insn[i];
    unsigned kind = interp_dispatch[insn->id].kind;
    if ((insn->info->attrs & ATTR_PRIVILEGED) && v->cpl != 0 && !(kind & KIND_OWN_CPL))
        cpu_raise_gp0(v);
    u64 next_rip = op->next_rip;
    it->handler[i](v, insn);
    if (!(kind & KIND_FLOW))
        v->rip = next_rip;
    interp_sync(it);
}

void interp_ud(struct vcpu *v, const struct insn *insn)
{
    cpu_raise_ud(v);
}

static void run_ud(struct vcpu *v, const struct op *op)
{
    cpu_raise_ud(v);
}

/* TZCNT, LZCNT and WBNOINVD are other instructions where the CPU lacks them. */
static void replace_missing(struct vcpu *v, struct insn *insn)
{
    static const struct insn_info bit_scan = {.name = "bsf", .klass = CLASS_INT};
    static const struct insn_info wbinvd = {
        .name = "wbinvd", .klass = CLASS_SYSTEM, .attrs = ATTR_PRIVILEGED};
    if (insn->id == INSN_TZCNT && !cpu_has(v, FEAT_BMI1))
        insn->id = INSN_BSF, insn->info = &bit_scan;
    else if (insn->id == INSN_LZCNT && !cpu_has(v, FEAT_ABM))
        insn->id = INSN_BSR, insn->info = &bit_scan;
    else if (insn->id == INSN_WBNOINVD && !cpu_has(v, FEAT_WBNOINVD))
        insn->id = INSN_WBINVD, insn->info = &wbinvd;
}

void op_specialize(struct vcpu *v, struct op *op, struct insn *insn)
{
    struct interp *it = v->interp;
    replace_missing(v, insn);
    const struct insn_info *info = insn->info;
    const struct dispatch *row = &interp_dispatch[insn->id];
    if (!cpu_has(v, info->feature) || !cpu_has(v, info->feature2) ||
        ((info->attrs & ATTR_PROTECTED) && (insn->mode & DECODE_REAL))) {
        op->run = run_ud;
        return;
    }
    it->handler[op - it->op] = row->handler ? row->handler : native_handler(insn);
    op->run = fast_select(op, insn);
    if (op->run)
        return;
    if ((row->kind & KIND_SYNC) || (info->attrs & ATTR_PRIVILEGED))
        op->run = run_system;
    else
        op->run = row->kind & KIND_FLOW ? run_flow : run_plain;
}
