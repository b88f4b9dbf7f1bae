/* The run loop, and the interpreter as an engine. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "cpu/engine.h"
#include "engine/interp/native.h"
#include "engine/interp/op.h"
#include "engine/interp/trace.h"

static inline const struct block *block_next(struct vcpu *v, struct interp *it)
{
    u64 rip = v->rip, off = rip - it->code_rip;
    const struct block *b = block_slot(it, rip);
    if (likely(off < it->code_end && b->rip == rip && b->mode == v->decode_mode &&
               off + b->padded <= it->code_end && block_intact(b, it->code + off)))
        return b;
    return block_fetch(v);
}

/* After a store by one of its instructions. A block that runs over the page's end has only one. */
static inline bool block_unchanged(const struct interp *it, const struct block *b)
{
    u64 off = b->rip - it->code_rip;
    if (likely(off + b->padded <= it->code_end))
        return block_intact(b, it->code + off);
    return memcmp(it->code + off, b->bytes, b->len) == 0;
}

static inline u32 attention(const struct vcpu *v)
{
    return (atomic_load_explicit(&v->events, memory_order_relaxed) & v->event_mask) | v->attention;
}

/* One instruction. */
static void execute(struct vcpu *v, struct interp *it)
{
    const struct block *b = block_next(v, it);
    const struct op *op = &it->ops[b->first];
    it->block = b;
    if (unlikely(v->attention & ATTN_TRACE)) {
        struct trace_state before;
        trace_begin(v, &op_cold(v, op)->insn, &before);
        op->run(v, op);
        trace_end(v, &before);
    } else {
        op->run(v, op);
    }
    it->block = NULL;
    v->instructions++;
}

/* A block, or its part up to the store that changes it. A data breakpoint must be seen after each
 * instruction. */
static inline void execute_block(struct vcpu *v, struct interp *it)
{
    const struct block *b = block_next(v, it);
    const struct op *op = &it->ops[b->first], *end = op + b->count;
    if (unlikely(v->dr[7] & 0xff))
        end = op + 1;
    it->block = b;
    for (;;) {
        op->run(v, op);
        bool stores = op->stores;
        if (++op == end)
            break;
        if (stores && unlikely(attention(v) || !block_unchanged(it, b)))
            break;
    }
    it->block = NULL;
    v->instructions += (u64)(op - &it->ops[b->first]);
}

/* Something was raised in a block: counts what completed before. */
static void abandon_block(struct vcpu *v, struct interp *it)
{
    const struct block *b = it->block;
    if (!b)
        return;
    u64 done = (v->rip - b->rip) & v->rip_mask;
    const struct op *op = &it->ops[b->first];
    for (unsigned i = 0; i < b->count && op[i].offset < done; i++)
        v->instructions++;
    it->block = NULL;
}

/* What was raised. False: shutdown. */
static bool deliver(struct vcpu *v, struct interp *it)
{
    interp_sync(it);
    abandon_block(v, it);
    return cpu_deliver_exception(v);
}

/* Runs until cpu_handle_events has something for the machine. Raises. */
static enum cpu_pending loop(struct vcpu *v, struct interp *it)
{
    for (;;) {
        while (likely(!attention(v)))
            execute_block(v, it);
        enum cpu_pending next = cpu_handle_events(v);
        interp_sync(it);
        if (next != PENDING_RUN)
            return next;
        execute(v, it);
    }
}

static enum vcpu_exit run(struct vcpu *v)
{
    struct interp *it = v->interp;
    jmp_buf env, *saved = v->unwind;
    enum cpu_pending next;
    if (log_traces(v->vm->log, TRACE_INSN))
        v->attention |= ATTN_TRACE;
    vcpu_enter(v);
    v->unwind = &env;
    interp_sync(it);
    if (_setjmp(env) == 0) {
        next = cpu_handle_events(v);
        if (next == PENDING_RUN) {
            execute(v, it);
            next = loop(v, it);
        }
    } else {
        /* Something was raised; it may be raised again, from the first instruction of the handler on. */
        next = deliver(v, it) ? loop(v, it) : PENDING_SHUTDOWN;
    }
    v->unwind = saved;
    vcpu_leave(v);
    return vcpu_exit_of(next);
}

/* The first instruction alone: what cpu_handle_events has just done holds for it. */
static void execute_some(struct vcpu *v, struct interp *it, unsigned count)
{
    unsigned mode = v->decode_mode, rights = v->mmu_index;
    u64 end = v->instructions + count;
    execute(v, it);
    while (v->instructions < end && !attention(v) && v->decode_mode == mode && v->mmu_index == rights)
        execute_block(v, it);
}

static void execute_exactly(struct vcpu *v, struct interp *it, unsigned count)
{
    unsigned mode = v->decode_mode, rights = v->mmu_index;
    do
        execute(v, it);
    while (--count && !attention(v) && v->decode_mode == mode && v->mmu_index == rights);
}

/* execute_block, up to where RIP is `rip` at most. */
static void execute_part(struct vcpu *v, struct interp *it, u64 rip)
{
    const struct block *b = block_next(v, it);
    const struct op *op = &it->ops[b->first], *end = op + b->count;
    it->block = b;
    do {
        op->run(v, op);
        op++;
    } while (op != end && v->rip != rip && !attention(v) && (!op[-1].stores || block_unchanged(it, b)));
    it->block = NULL;
    v->instructions += (u64)(op - &it->ops[b->first]);
}

static void execute_to(struct vcpu *v, struct interp *it, u64 rip, unsigned limit)
{
    u64 end = v->instructions + limit;
    do
        execute_part(v, it, rip);
    while (v->rip != rip && v->instructions < end && !attention(v));
}

void interp_leave(struct vcpu *v)
{
    interp_sync(v->interp);
    abandon_block(v, v->interp);
}

bool interp_steps_to(struct vcpu *v, u64 rip, unsigned limit)
{
    struct interp *it = v->interp;
    jmp_buf env, *saved = v->unwind;
    bool alive = true;
    interp_sync(it);
    v->unwind = &env;
    if (_setjmp(env) == 0)
        execute_to(v, it, rip, limit);
    else
        alive = deliver(v, it);
    v->unwind = saved;
    return alive;
}

static bool guarded(struct vcpu *v, void (*some)(struct vcpu *v, struct interp *it, unsigned count),
                    unsigned count)
{
    struct interp *it = v->interp;
    jmp_buf env, *saved = v->unwind;
    bool alive = true;
    interp_sync(it);
    v->unwind = &env;
    if (_setjmp(env) == 0)
        some(v, it, count);
    else
        alive = deliver(v, it);
    v->unwind = saved;
    return alive;
}

bool interp_steps(struct vcpu *v, unsigned count)
{
    return guarded(v, execute_some, count);
}

bool interp_steps_exactly(struct vcpu *v, unsigned count)
{
    return guarded(v, execute_exactly, count);
}

bool interp_step(struct vcpu *v)
{
    return interp_steps_exactly(v, 1);
}

static void *map_zeroed(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The caches are touched as they fill. */
#define BLOCKS_SIZE (BLOCK_COUNT * sizeof(struct block))
#define OPS_SIZE    (OP_COUNT * sizeof(struct op))
#define COLDS_SIZE  (COLD_COUNT * sizeof(struct cold))

void interp_finish(struct vcpu *v)
{
    struct interp *it = v->interp;
    native_finish(v);
    if (!it)
        return;
    if (it->blocks)
        munmap(it->blocks, BLOCKS_SIZE);
    if (it->ops)
        munmap(it->ops, OPS_SIZE);
    if (it->colds)
        munmap(it->colds, COLDS_SIZE);
    free(it);
    v->interp = NULL;
}

int interp_init(struct vcpu *v, struct error *err)
{
    struct interp *it = calloc(1, sizeof *it);
    v->interp = it;
    if (it) {
        it->blocks = map_zeroed(BLOCKS_SIZE);
        it->ops = map_zeroed(OPS_SIZE);
        it->colds = map_zeroed(COLDS_SIZE);
    }
    if (!it || !it->blocks || !it->ops || !it->colds) {
        interp_finish(v);
        return error_set(err, ENOMEM, "no memory for the decode cache of CPU %u (%zu KiB of address space)",
                         v->index, (BLOCKS_SIZE + OPS_SIZE + COLDS_SIZE) >> 10);
    }
    it->blocks[0].mode = MODE_NONE; /* an all-zero block would be that of RIP 0 */
    int rc = native_init(v, err);
    if (rc < 0)
        interp_finish(v);
    return rc;
}

static int probe(struct error *err)
{
    return 0;
}

static void stats(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque)
{
    const struct interp *it = v->interp;
    char text[160];
    snprintf(text, sizeof text,
             "cpu%u: %llu instructions, %llu decoded, %llu slow fetches, %llu cache resets", v->index,
             (unsigned long long)v->instructions, (unsigned long long)it->decoded,
             (unsigned long long)it->split, (unsigned long long)it->resets);
    line(opaque, text);
}

const struct engine_ops interp_engine = {
    .name = "interp",
    .help = "interprets every instruction: complete, exact, slow",
    .probe = probe,
    .vcpu_init = interp_init,
    .vcpu_finish = interp_finish,
    .run = run,
    .stats = stats,
};
