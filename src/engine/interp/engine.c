/* The run loop, and the interpreter as an engine. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "cpu/engine.h"
#include "engine/interp/native.h"
#include "engine/interp/op.h"
#include "engine/interp/trace.h"

/* Is `op` what stands at these 16 bytes? */
static inline bool op_matches(const struct op *op, const u8 *code)
{
    typedef char vec __attribute__((vector_size(16)));
    vec have, want;
    memcpy(&have, code, 16);
    memcpy(&want, op->bytes, 16);
    vec equal = have == want;
    return ((unsigned)__builtin_ia32_pmovmskb128(equal) & op->need) == op->need;
}

static inline struct op *op_next(struct vcpu *v, struct interp *it)
{
    u64 rip = v->rip, off = rip - it->code_rip;
    struct op *op = &it->op[op_index(rip)];
    if (likely(off < it->code_span && op->rip == rip && op->mode == v->decode_mode &&
               op_matches(op, it->code + off)))
        return op;
    return op_fetch(v);
}

static inline u32 attention(const struct vcpu *v)
{
    return (atomic_load_explicit(&v->events, memory_order_relaxed) & v->event_mask) | v->attention;
}

static void execute(struct vcpu *v, struct interp *it)
{
    struct op *op = op_next(v, it);
    if (unlikely(v->attention & ATTN_TRACE)) {
        struct trace_state before;
        trace_begin(v, op_insn(it, op), &before);
        op->run(v, op);
        trace_end(v, &before);
    } else {
        op->run(v, op);
    }
    v->instructions++;
}

/* Runs until cpu_handle_events has something for the machine. Raises. */
static enum cpu_pending loop(struct vcpu *v, struct interp *it)
{
    for (;;) {
        while (likely(!attention(v))) {
            struct op *op = op_next(v, it);
            op->run(v, op);
            v->instructions++;
        }
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
        interp_sync(it);
        next = cpu_deliver_exception(v) ? loop(v, it) : PENDING_SHUTDOWN;
    }
    v->unwind = saved;
    vcpu_leave(v);
    switch (next) {
    case PENDING_HALTED:
        return VCPU_HALTED;
    case PENDING_SHUTDOWN:
        return VCPU_SHUTDOWN;
    default:
        return VCPU_KICKED;
    }
}

bool interp_step(struct vcpu *v)
{
    struct interp *it = v->interp;
    jmp_buf env, *saved = v->unwind;
    bool alive = true;
    interp_sync(it);
    v->unwind = &env;
    if (_setjmp(env) == 0)
        execute(v, it);
    else
        alive = cpu_deliver_exception(v);
    v->unwind = saved;
    return alive;
}

static void *map_zeroed(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The caches are touched as they fill. */
#define OP_BYTES      ((OP_COUNT) * sizeof(struct op))
#define INSN_BYTES    ((OP_COUNT) * sizeof(struct insn))
#define HANDLER_BYTES ((OP_COUNT) * sizeof(interp_handler))

void interp_finish(struct vcpu *v)
{
    struct interp *it = v->interp;
    native_finish(v);
    if (!it)
        return;
    if (it->op)
        munmap(it->op, OP_BYTES);
    if (it->insn)
        munmap(it->insn, INSN_BYTES);
    if (it->handler)
        munmap(it->handler, HANDLER_BYTES);
    free(it);
    v->interp = NULL;
}

int interp_init(struct vcpu *v, struct error *err)
{
    struct interp *it = calloc(1, sizeof *it);
    v->interp = it;
    if (it) {
        it->op = map_zeroed(OP_BYTES);
        it->insn = map_zeroed(INSN_BYTES);
        it->handler = map_zeroed(HANDLER_BYTES);
    }
    if (!it || !it->op || !it->insn || !it->handler) {
        interp_finish(v);
        return error_set(err, ENOMEM, "no memory for the decode cache of CPU %u (%zu KiB of address space)",
                         v->index, (OP_BYTES + INSN_BYTES + HANDLER_BYTES) >> 10);
    }
    it->op[0].mode = MODE_NONE; /* an all-zero op is the one of RIP 0 only */
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
    snprintf(text, sizeof text, "cpu%u: %llu instructions, %llu decoded, %llu across a page or outside RAM",
             v->index, (unsigned long long)v->instructions, (unsigned long long)it->decoded,
             (unsigned long long)it->split);
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
