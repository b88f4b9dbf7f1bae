/* Fetching and decoding: the code window, instructions across pages, and filling the decode cache. */
#include "engine/interp/dispatch.h"
#include "engine/interp/native.h"
#include "engine/interp/op.h"

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

/* Opens the window on the page of `lin`, as far as CS's limit allows. */
static void window_open(struct interp *it, u64 rip, const struct fetch *f, const u8 *page)
{
    u64 off = f->lin & ~PAGE_MASK;
    it->code_rip = rip - off;
    it->code = page;
    it->code_end = f->room < PAGE_SIZE - off ? off + f->room : PAGE_SIZE;
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

/* Decodes from the first `avail` bytes; more are fetched as needed, up to CS's limit. Returns on success
 * only. */
static void decode_first(struct vcpu *v, const struct fetch *f, u8 *bytes, unsigned avail, struct insn *insn)
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

/* Does the block hold what memory holds? The first `avail` bytes are at `code`; the rest of an instruction
 * that runs over the page's end is fetched. */
static bool block_verify(struct vcpu *v, const struct block *b, const struct fetch *f, const u8 *code,
                         unsigned avail)
{
    u8 bytes[BLOCK_BYTES];
    if (b->rip != v->rip || b->mode != v->decode_mode || b->len > f->room)
        return false;
    unsigned here = MIN(b->len, avail);
    if (memcmp(b->bytes, code, here) != 0)
        return false;
    if (b->len > here) {
        fetch_bytes(v, f->lin, bytes, here, b->len);
        return memcmp(b->bytes + here, bytes + here, b->len - here) == 0;
    }
    return true;
}

const struct cold *op_cold(struct vcpu *v, const struct op *op)
{
    struct interp *it = v->interp;
    if (op->cold != COLD_NONE)
        return &it->colds[op->cold];
    const struct block *b = it->block;
    insn_decode(&it->scratch.insn, b->bytes + op->offset, b->len - op->offset, b->mode);
    it->scratch.handler = interp_dispatch[it->scratch.insn.id].handler;
    return &it->scratch;
}

/* The general handlers, behind the fast handlers' signature. */
static void run_plain(struct vcpu *v, const struct op *op)
{
    const struct cold *c = &v->interp->colds[op->cold];
    c->handler(v, &c->insn);
    v->rip = op->next_rip;
}

static void run_flow(struct vcpu *v, const struct op *op)
{
    const struct cold *c = &v->interp->colds[op->cold];
    c->handler(v, &c->insn);
}

void op_run_general(struct vcpu *v, const struct op *op)
{
    const struct cold *c = op_cold(v, op);
    c->handler(v, &c->insn);
    if (!(interp_dispatch[c->insn.id].kind & KIND_FLOW))
        v->rip = op->next_rip;
}

/* Privileged or with an effect on the code window. */
static void run_system(struct vcpu *v, const struct op *op)
{
    const struct cold *c = &v->interp->colds[op->cold];
    unsigned kind = interp_dispatch[c->insn.id].kind;
    if ((c->insn.info->attrs & ATTR_PRIVILEGED) && v->cpl != 0 && !(kind & KIND_OWN_CPL))
        cpu_raise_gp0(v);
    c->handler(v, &c->insn);
    if (!(kind & KIND_FLOW))
        v->rip = op->next_rip;
    if (kind & KIND_SYNC)
        interp_sync(v->interp);
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

/* Memory that the instruction may write. */
static bool insn_stores(const struct insn *insn)
{
    for (unsigned i = 0; i < insn->nopnds; i++)
        if (insn->opnd[i].kind == OPND_MEM && (insn->opnd[i].access & ACCESS_W))
            return true;
    switch (insn->id) {
    case INSN_PUSH:
    case INSN_PUSH_SEG:
    case INSN_PUSHA:
    case INSN_PUSHF:
    case INSN_ENTER:
    case INSN_CLZERO:
    case INSN_MOVDIR64B:
    case INSN_MASKMOVQ:
    case INSN_MASKMOVDQU:
    case INSN_VMASKMOVDQU:
        return true;
    default:
        return false;
    }
}

/* The op's handlers and operands. True if another op may follow in the block. */
static bool op_specialize(struct vcpu *v, struct op *op, struct insn *insn)
{
    struct interp *it = v->interp;
    replace_missing(v, insn);
    const struct insn_info *info = insn->info;
    const struct dispatch *row = &interp_dispatch[insn->id];
    op->cold = COLD_NONE;
    op->stores = insn_stores(insn);
    if (!cpu_has(v, info->feature) || !cpu_has(v, info->feature2) ||
        ((info->attrs & ATTR_PROTECTED) && (insn->mode & DECODE_REAL))) {
        op->run = run_ud;
        return false;
    }
    op->run = fast_select(op, insn);
    if (op->run)
        return info->klass != CLASS_BRANCH;
    op->cold = it->cold_used++;
    it->colds[op->cold] = (struct cold){*insn, row->handler ? row->handler : native_handler(insn)};
    if ((row->kind & KIND_SYNC) || (info->attrs & ATTR_PRIVILEGED))
        op->run = run_system;
    else
        op->run = row->kind & KIND_FLOW ? run_flow : run_plain;
    return !row->kind && info->klass != CLASS_SYSTEM && info->klass != CLASS_IO &&
           info->klass != CLASS_BRANCH;
}

static void cache_reserve(struct interp *it)
{
    if (likely(it->op_used + BLOCK_OPS <= OP_COUNT && it->cold_used + BLOCK_OPS <= COLD_COUNT))
        return;
    for (unsigned i = 0; i < BLOCK_COUNT; i++)
        it->blocks[i].mode = MODE_NONE;
    it->op_used = it->cold_used = 0;
    it->resets++;
}

/* Adds the instruction in it->scratch as the block's next op. True if another may follow. */
static bool block_add(struct vcpu *v, struct block *b)
{
    struct interp *it = v->interp;
    struct insn *insn = &it->scratch.insn;
    struct op *op = &it->ops[it->op_used++];
    op->offset = b->len;
    b->len += insn->len;
    b->count++;
    op->next_rip = (b->rip + b->len) & v->rip_mask;
    it->decoded++;
    return op_specialize(v, op, insn);
}

/* Decodes the block at v->rip: its first instruction, whatever it takes, and those that follow it in the
 * page. */
static void block_build(struct vcpu *v, struct block *b, const struct fetch *f, const u8 *code,
                        unsigned avail)
{
    struct interp *it = v->interp;
    u8 bytes[BLOCK_BYTES] = {0};
    struct insn *insn = &it->scratch.insn;
    b->mode = MODE_NONE;
    cache_reserve(it);
    memcpy(bytes, code, MIN(avail, BLOCK_BYTES));
    decode_first(v, f, bytes, MIN(avail, INSN_MAX_LEN), insn);
    *b = (struct block){.rip = v->rip, .first = it->op_used, .mode = MODE_NONE};
    avail = MIN(avail, BLOCK_BYTES);
    bool more = block_add(v, b);
    while (more && b->count < BLOCK_OPS && b->len < avail &&
           insn_decode(insn, bytes + b->len, MIN(avail - b->len, INSN_MAX_LEN), v->decode_mode) == DECODE_OK)
        more = block_add(v, b);
    memcpy(b->bytes, bytes, b->len);
    b->padded = ALIGN_UP(b->len, 16);
    b->mode = v->decode_mode;
}

struct block *block_fetch(struct vcpu *v)
{
    struct interp *it = v->interp;
    struct fetch f = fetch_begin(v);
    interp_sync(it);
    it->split++;
    const u8 *page = mmu_code_page(v, f.lin);
    unsigned off = f.lin & ~PAGE_MASK;
    struct block *b = block_slot(it, v->rip);
    u8 byte;
    const u8 *code = page ? page + off : &byte;
    unsigned avail = page ? (unsigned)MIN(PAGE_SIZE - off, f.room) : 1;
    if (likely(page))
        window_open(it, v->rip, &f, page);
    else
        byte = mmu_fetch(v, f.lin);
    if (likely(b->padded <= avail && b->rip == v->rip && b->mode == v->decode_mode && block_intact(b, code)))
        return b;
    if (!block_verify(v, b, &f, code, avail))
        block_build(v, b, &f, code, avail);
    return b;
}
