/* Building a block: which instructions, which flags are live where, the code, the trace. */
#include <stdlib.h>
#include "base/log.h"
#include "engine/jit/cache.h"
#include "engine/jit/jump.h"
#include "engine/jit/lower_system.h"
#include "engine/jit/verify.h"
#include "engine/jit/lower_vector.h"
#include "mem/mem.h"

/* Is the instruction the interpreter's and the last of its block: what may change the mode, the mapping, the
 * flow? */
static bool ends_block(const struct insn *insn)
{
    const struct insn_info *info = insn->info;
    return (info->attrs & (ATTR_ENDS_BLOCK | ATTR_PRIVILEGED)) || info->klass == CLASS_SYSTEM ||
           info->klass == CLASS_BRANCH || info->klass == CLASS_IO;
}

static bool is_call(const struct insn *insn)
{
    return insn->id == INSN_CALL || insn->id == INSN_CALL_IND;
}

#define REFUSALS_SHOWN 5

/* Conditional branches end a block only if it has many. */
#define BRANCHES_MAX 5

/* Does the block end in front of it? A call is to have what it returns to in its block. */
static bool is_left_to_next(const struct translation *t, const struct insn *insn, unsigned calls)
{
    return is_call(insn) && t->count && (calls == BLOCK_CALLS || t->count == BLOCK_MAX - 1);
}

/* Reads instructions up to the end of the block or the page. What crosses the page's end is not in it. */
static void read_block(struct translation *t, const u8 *hva)
{
    unsigned room = (unsigned)(PAGE_SIZE - ((uintptr_t)hva & (PAGE_SIZE - 1)));
    u64 rip = t->b->rip;
    unsigned branches = 0, calls = 0;
    bool plain = t->b->mode & MODE_PLAIN;
    t->rip[0] = rip;
    while (t->count < BLOCK_MAX) {
        u8 bytes[INSN_MAX_LEN];
        unsigned avail = MIN(room - t->len, INSN_MAX_LEN);
        struct insn *insn = &t->insn[t->count];
        memcpy(bytes, hva + t->len, avail);
        if (!avail || insn_decode(insn, bytes, avail, t->j->v->decode_mode) != DECODE_OK)
            return;
        if (is_left_to_next(t, insn, calls))
            return;
        calls += is_call(insn);
        memcpy(t->code + t->len, bytes, insn->len);
        t->len += insn->len;
        t->rip[++t->count] = t->code32 ? (u32)(rip + t->len) : rip + t->len;
        if (ends_block(insn) && !system_is_inline(t, t->count - 1) &&
            !(insn->id == INSN_JCC && ++branches < BRANCHES_MAX) && !(is_call(insn) && !plain))
            return;
    }
}

/* Leaves at `rip`. */
static const u8 *lower_out(struct translation *t, u64 rip)
{
    const u8 *out = emit_here(&t->e);
    lower_set_rip(t, rip);
    emit_jump_to(&t->e, 0xe9, t->j->thunk.exit);
    return out;
}

static void lower_poll(struct translation *t, const u8 *out, bool flags_live)
{
    struct emitter *e = &t->e;
    if (flags_live) {
        EMIT(e, "\x49\x89\xcb"); /* mov r11, rcx */
        emit_gs(e, 0x8b, RCX, AT_STOP, false);
        EMIT(e, "\xe3\x08\x4c\x89\xd9"); /* jrcxz +8; mov rcx, r11 */
        emit_jump_to(e, 0xe9, out);
        EMIT(e, "\x4c\x89\xd9"); /* mov rcx, r11 */
    } else {
        EMIT(e, "\x65\x83\x3c\x25"); /* cmp dword gs:[...], 0 */
        emit_u32(e, AT_STOP);
        emit_u8(e, 0);
        emit_jump_to(e, 0x0f85, out);
    }
}

static void lower_entries(struct translation *t)
{
    struct block *b = t->b;
    const u8 *out = lower_out(t, b->rip);
    b->checked = emit_here(&t->e);
    if (!(b->mode & MODE_PLAIN))
        lookup_check(t->j, &t->e, b->rip, b->mode & MODE_USER, t->live[0]);
    b->poll = emit_here(&t->e);
    lower_poll(t, out, t->live[0]);
    b->entry = emit_here(&t->e);
}

/* The others are in place. */
static void lower_landing_poll(struct translation *t, struct block *b)
{
    unsigned i = 0;
    while (t->rip[i] != b->rip)
        i++;
    const u8 *out = lower_out(t, b->rip);
    b->poll = emit_here(&t->e);
    lower_poll(t, out, t->live[i]);
    emit_jump_to(&t->e, 0xe9, b->entry);
}

/* By the interpreter, and those that follow and are its too: how many. */
static unsigned lower_steps(struct translation *t, unsigned i)
{
    unsigned count = 1;
    flags_settle(t);
    x87_flush(t);
    t->ended = ends_block(&t->insn[i]);
    while (!t->ended && i + count < t->count && !lower_find(t, i + count) && !ends_block(&t->insn[i + count]))
        count++;
    if (!lower_handlers(t, i, count, t->ended))
        lower_step(t, i, count, t->ended);
    groups_forget(t);
    return count;
}

/* How many instructions that were. */
static unsigned lower_some(struct translation *t, unsigned i)
{
    lower_fn lower = lower_find(t, i);
    unsigned tails = t->tails;
    t->at = i;
    if (lower != lower_x87)
        x87_flush(t);
    flags_prepare(t, i);
    if (!lower || !lower(t, i))
        return lower_steps(t, i);
    tails_resume(t, tails, i);
    return 1;
}

static void lower_block(struct translation *t)
{
    lower_entries(t);
    for (unsigned i = 0; i < t->count && !t->ended && !t->e.overrun;)
        i += lower_some(t, i);
    x87_flush(t);
    flags_settle(t);
    if (!t->ended)
        lower_goto(t, t->rip[t->count]);
    tails_emit(t);
    for (unsigned n = 1; n <= t->b->landings && !t->e.overrun; n++)
        lower_landing_poll(t, &t->b[n]);
}

/* The host's code, disassembled: what it is made from is known to the same table. */
static void trace_host(struct log *log, const u8 *from, const u8 *to, s64 to_exec)
{
    struct insn insn;
    char text[128];
    while (from < to &&
           insn_decode(&insn, from, (size_t)MIN(to - from, INSN_MAX_LEN), DECODE_64) == DECODE_OK) {
        u64 rip = (u64)(uintptr_t)(from + to_exec);
        log_write(log, "jit", "    %llx  %s", (unsigned long long)rip,
                  insn_format(text, sizeof text, &insn, rip));
        from += insn.len;
    }
}

static void trace(const struct translation *t, const u8 *start, const u8 *cold)
{
    struct log *log = t->j->v->vm->log;
    char text[128];
    for (unsigned i = 0; i < t->count; i++)
        log_write(log, "jit", "%016llx%s %s", (unsigned long long)t->rip[i], lower_find(t, i) ? " " : "*",
                  insn_format(text, sizeof text, &t->insn[i], t->rip[i]));
    log_write(log, "jit", "  -> %p", (const void *)t->b->poll);
    trace_host(log, start, t->e.p, t->e.to_exec);
    trace_host(log, cold, t->e.cold, t->e.to_exec);
}

/* --trace jitcheck */
static void verify(struct jit_vm *vm, const struct block *b, const struct code_span span[2])
{
    const u8 *const entry[] = {b->checked, b->poll, b->entry};
    const u8 *where;
    struct log *log = vm->vm->log;
    if (!vm->verifier)
        vm->verifier = malloc(verifier_size());
    if (!vm->verifier)
        return;
    vm->verified++;
    const char *why = verify_code(vm->verifier, vm, b, span, entry, ARRAY_LEN(entry), &where);
    if (!why)
        return;
    if (vm->refused++ < REFUSALS_SHOWN) {
        log_warn(log, "jitcheck: block %llx, mode %x: the host's instruction at %p %s",
                 (unsigned long long)b->rip, b->mode, (const void *)(where + (vm->rx - vm->rw)), why);
        for (unsigned i = 0; i < 2; i++)
            trace_host(log, span[i].start, span[i].end, vm->rx - vm->rw);
    }
}

/* What the translation depends on. */
static void note_range(struct block *b, unsigned offset, unsigned len)
{
    if (len)
        b->range[b->ranges++] = (struct code_range){(u16)offset, (u16)len};
}
_Static_assert(BLOCK_RANGES >= 1 + ARRAY_LEN(((struct translation *)0)->ahead), "block ranges");

static void note_ranges(const struct translation *t)
{
    note_range(t->b, (unsigned)((uintptr_t)t->b->hva & ~PAGE_MASK), t->len);
    for (unsigned n = 0; n < t->aheads; n++)
        note_range(t->b, t->ahead[n].offset, t->ahead[n].len);
    for (unsigned n = 1; n <= t->b->landings; n++) {
        memcpy(t->b[n].range, t->b->range, sizeof t->b->range);
        t->b[n].ranges = t->b->ranges;
    }
}

/* One instruction that crosses the page's end, or is none: a block that has the interpreter fetch and execute
 * it. */
static void lower_undecoded(struct translation *t, const u8 *hva)
{
    t->len = (unsigned)MIN(PAGE_SIZE - ((uintptr_t)hva & (PAGE_SIZE - 1)), (size_t)INSN_MAX_LEN);
    t->insn[0] = (struct insn){0};
    t->live[0] = FLAGS_ARITH;
    lower_entries(t);
    lower_step(t, 0, 1, true);
}

/* False: nothing that could be kept. */
static bool translate(struct translation *t, const u8 *hva)
{
    read_block(t, hva);
    if (t->count == 0) {
        lower_undecoded(t, hva);
    } else {
        live_find(t);
        groups_find(t);
        lower_block(t);
    }
    note_ranges(t);
    return !t->e.overrun;
}

static void translation_init(struct translation *t, struct jit *j, const u8 *hva, unsigned mode)
{
    t->j = j;
    t->count = t->links = t->tails = t->len = 0;
    t->ended = t->parked = false;
    t->b = cache_block(j);
    t->b->rip = j->v->rip;
    t->b->mode = (u16)mode;
    t->b->hva = hva;
    t->link = t->b->link;
    t->code32 = mode & MODE_32;
    t->groups = 0;
    t->t1_group = GROUP_NONE;
    t->t1_at = NULL;
    t->vectors = t->high = t->x87 = t->state_used = false;
    t->x87_insn = t->x87_data = 0;
}

/* [lock] */
static struct block *translate_locked(struct jit *j, struct code_page *page, const u8 *hva, unsigned mode)
{
    struct translation t;
    struct jit_vm *vm = j->vm;
    const u8 *start, *cold;
    bool done;
    do {
        if (!cache_begin(j, &t.e))
            return NULL;
        start = t.e.p;
        cold = t.e.cold;
        translation_init(&t, j, hva, mode);
        done = translate(&t, hva);
    } while (!done && cache_retry(j, &t.e));
    if (!done)
        return NULL;
    t.b->links = (u8)t.links;
    cache_commit(j, &t.e);
    cache_insert(j, t.b, page);
    for (unsigned n = 1; n <= t.b->landings; n++) {
        cache_insert(j, &t.b[n], page);
        cache_forget_jump(j, t.b[n].rip); /* to another block of that RIP */
    }
    track_map_block(j, t.b, start + t.e.to_exec, (size_t)(t.e.p - start));
    track_map_block(j, t.b, cold + t.e.to_exec, (size_t)(t.e.cold - cold));
    vm->translated++;
    vm->insns += t.count;
    vm->guest_bytes += t.len;
    if (log_traces(j->v->vm->log, TRACE_JIT))
        trace(&t, start, cold);
    if (log_traces(j->v->vm->log, TRACE_JITCHECK))
        verify(vm, t.b, (struct code_span[]){{start, t.e.p}, {cold, t.e.cold}});
    return t.b;
}

struct block *block_translate(struct jit *j, const u8 *hva, unsigned mode)
{
    bool held;
    struct code_page *page = track_page(j, hva, &held);
    struct block *b = NULL;
    if (!page)
        return NULL;
    pthread_mutex_lock(&j->vm->lock);
    if (page->guarded)
        b = cache_find(j->vm, hva, j->v->rip, mode); /* made by another vCPU just now? */
    if (!b && page->guarded && (held || !page->direct))
        b = translate_locked(j, page, hva, mode);
    page->held -= held;
    pthread_mutex_unlock(&j->vm->lock);
    return b;
}
