/*
 * Native stubs: small host functions, each built from one decoded instruction, that run the operation itself.
 *
 *  1. A stub is made from the decoded form of a whitelisted row of the instruction table; no byte of guest
 * code is copied. Its memory operand is [rsi], its general registers are fixed host registers.
 *  2. It loads what the instruction names from struct vcpu, executes it once, and stores the results.
 * Registers of VEX and EVEX results are stored in full width, so that zeroed upper parts are the host's own
 * doing; legacy SSE ones 16 bytes wide, so that the rest is kept.
 *  3. If the host raises an exception in it, nothing but the guest's MXCSR (with the exception flags) is
 * stored.
 *  4. Code is W^X: one memfd mapped twice. It belongs to one vCPU and is bounded; when it is full, all of it
 * is dropped and `generation` moves on, which is what an instruction's note (insn.aux) is checked against.
 */
#ifndef RING3_ENGINE_INTERP_STUB_H
#define RING3_ENGINE_INTERP_STUB_H

#include "base/bytes.h"
#include "cpu/cpu.h"
#include "engine/interp/host_fault.h"

#define STUB_CODE_SIZE KIB(512)
#define STUB_MAX       4096u
#define STUB_BUCKETS   2048u
#define STUB_SPACE     512u /* no stub is longer */

struct native;

enum stub_kind { STUB_VECTOR, STUB_X87 };

/* What makes two stubs the same: the instruction as the host will see it, and what surrounds it. */
struct stub_key {
    u8 bytes[15];
    u8 len;
    u16 id;
    u8 kind;   /* enum stub_kind */
    u8 gpr[3]; /* guest registers in ModRM.rm, ModRM.reg, vvvv; 0xff: none */
    u8 pad[2]; /* 0 */
};

struct stub {
    const u8 *code, *resume;
    u32 next; /* in the bucket: index + 1 */
    struct stub_key key;
};

struct native {
    _Alignas(64) u8 bounce[128]; /* the memory operand */
    _Alignas(64) u8 fx[512];     /* x87 state on its way to and from the host */
    struct host_fault_scope scope;
    u32 generation;   /* never 0 */
    u32 vector_bytes; /* width of a full register: 16, 32 or 64, as the model and the host have it */
    bool opmask64;    /* AVX512BW: opmasks have 64 bits */
    u8 *code_rw;
    const u8 *code_rx;
    u32 code_used;
    u32 stub_count;
    u16 bucket[STUB_BUCKETS];
    struct stub stub[STUB_MAX];
};

int stub_cache_create(struct native **out, const struct cpu_model *model, struct error *err);
void stub_cache_destroy(struct native *n);

/* Finds or builds the stub of `insn`, and notes it in the instruction. */
const struct stub *stub_find(struct native *n, const struct insn *insn, enum stub_kind kind);

static inline const struct stub *stub_of(struct native *n, const struct insn *insn, enum stub_kind kind)
{
    if (likely(insn->aux.generation == n->generation))
        return &n->stub[insn->aux.slot];
    return stub_find(n, insn, kind);
}

/* Runs it with the memory operand (or x87 image) at hand. False: the host raised; n->scope.signal says what.
 */
static inline bool stub_run(struct native *n, const struct stub *stub, struct vcpu *v)
{
    typedef int (*entry)(struct vcpu * v, void *memory, void *fx);
    n->scope.resume = stub->resume;
    host_fault_current = &n->scope;
    int faulted = ((entry)(uintptr_t)stub->code)(v, n->bounce, n->fx);
    host_fault_current = NULL;
    return !faulted;
}

/* The instruction re-encoded for the host: [rsi] for memory, RAX, RCX, RDX for the general registers of
 * ModRM.rm, ModRM.reg and vvvv. */
void stub_encode(const struct insn *insn, struct stub_key *key);

/* Emits the stub of `insn`, encoded in `key`, at `at` (STUB_SPACE bytes); returns its length; `*resume` is
 * the offset of the recovery path. `host_mxcsr` is [rip]-reachable: its offset from `at`. */
unsigned stub_emit(struct native *n, const struct insn *insn, const struct stub_key *key, u8 *at,
                   s32 host_mxcsr, unsigned *resume);

#endif
