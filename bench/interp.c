/*
 * How many guest instructions a second the interpreter executes: 64-bit integer programs, compiled by the
 * host's compiler, in a VM without a board. bench/README.md has the command and figures.
 */
#include <time.h>
#include "tests/unit/interp_vm.h"

#ifdef __clang__
#define INTEGER_LOOPS __attribute__((target("general-regs-only"), no_builtin))
#else
#define INTEGER_LOOPS                                                                                        \
    __attribute__((target("general-regs-only"),                                                              \
                   optimize("no-tree-vectorize", "no-tree-loop-distribute-patterns")))
#endif
#define GUEST_FN __attribute__((section("guest_text"), noinline)) INTEGER_LOOPS
extern const u8 __start_guest_text[], __stop_guest_text[];

/* Registers and a data-dependent branch. */
GUEST_FN static u64 guest_collatz(u64 n, u8 *heap)
{
    u64 longest = 0;
    for (u64 i = 1; i < n; i++) {
        u64 x = i, steps = 0;
        while (x != 1) {
            x = x & 1 ? 3 * x + 1 : x >> 1;
            steps++;
        }
        longest = steps > longest ? steps : longest;
    }
    return longest;
}

/* Memory in order, short loops. */
GUEST_FN static u64 guest_sieve(u64 n, u8 *heap)
{
    u64 count = 0;
    for (u64 i = 0; i < n; i++)
        heap[i] = 0;
    for (u64 i = 2; i < n; i++) {
        if (heap[i])
            continue;
        count++;
        for (u64 k = 2 * i; k < n; k += i)
            heap[k] = 1;
    }
    return count;
}

/* Pointers: a binary tree, built and searched. */
struct node {
    struct node *left, *right;
    u64 key;
};
GUEST_FN static u64 guest_tree(u64 n, u8 *heap)
{
    struct node *pool = (struct node *)heap, *root = NULL;
    u64 rng = 88172645463325252ull, depth = 0;
    for (u64 i = 0; i < n; i++) {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        struct node **at = &root;
        while (*at) {
            at = rng < (*at)->key ? &(*at)->left : &(*at)->right;
            depth++;
        }
        pool[i] = (struct node){.key = rng};
        *at = &pool[i];
    }
    return depth;
}

/* Calls and the stack. */
GUEST_FN static u64 guest_fib(u64 n, u8 *heap)
{
    return n < 2 ? n : guest_fib(n - 1, heap) + guest_fib(n - 2, heap);
}

/* A hash: shifts, rotates, multiplications, byte loads. */
GUEST_FN static u64 guest_hash(u64 n, u8 *heap)
{
    u64 h = 14695981039346656037ull;
    for (u64 round = 0; round < n; round++)
        for (u64 i = 0; i < 4096; i++) {
            h = (h ^ heap[i]) * 1099511628211ull;
            h = (h << 31 | h >> 33) + i;
        }
    return h;
}

/* A bytecode interpreter: indirect jumps. */
GUEST_FN static u64 guest_switch(u64 n, u8 *heap)
{
    u8 *code = heap;
    for (u64 i = 0, x = 1; i < 1024; i++, x = x * 5 + 3)
        code[i] = x >> 4 & 7;
    u64 acc = 1, other = 2;
    const void *const op[] = {&&add, &&sub, &&xor, &&shl, &&swap, &&inc, &&mul, &&rot};
    const u8 *pc = code, *end = code + 1024;
#define NEXT                                                                                                 \
    do {                                                                                                     \
        if (pc == end) {                                                                                     \
            pc = code;                                                                                       \
            if (!--n)                                                                                        \
                return acc ^ other;                                                                          \
        }                                                                                                    \
        goto *op[*pc++];                                                                                     \
    } while (0)
    NEXT;
add:
    acc += other;
    NEXT;
sub:
    other -= acc;
    NEXT;
    xor : acc ^= other;
    NEXT;
shl:
    acc <<= 1;
    NEXT;
swap:
    acc ^= other, other ^= acc, acc ^= other;
    NEXT;
inc:
    other++;
    NEXT;
mul:
    acc *= 3;
    NEXT;
rot:
    other = other << 7 | other >> 57;
    NEXT;
}

/* Calls through pointers, returns. */
GUEST_FN static u64 guest_twice(u64 x)
{
    return x * 2 + 1;
}
GUEST_FN static u64 guest_half(u64 x)
{
    return x >> 1;
}
GUEST_FN static u64 guest_mix(u64 x)
{
    return x ^ x << 3;
}
GUEST_FN static u64 guest_virtual(u64 n, u8 *heap)
{
    u64 (*const fn[])(u64) = {guest_twice, guest_mix, guest_half, guest_mix};
    u64 x = 1;
    for (u64 i = 0; i < n; i++)
        x = fn[(x ^ i) & 3](x) + i;
    return x;
}

static const struct program {
    const char *name;
    u64 (*fn)(u64 n, u8 *heap);
    u64 n;
} programs[] = {
    {"collatz", guest_collatz, 60000},   {"sieve", guest_sieve, 1900000},
    {"tree", guest_tree, 40000},         {"fib", guest_fib, 30},
    {"hash", guest_hash, 800},           {"switch", guest_switch, 2000},
    {"virtual", guest_virtual, 1000000},
};

static double cpu_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* call *%rax; hlt */
static const u8 start[] = {0xff, 0xd0, 0xf4};

int main(void)
{
    struct guest *g = guest_create(1);
    struct vcpu *v = g->cpu[0];
    static u8 heap[MIB(2)];
    u64 total = 0;
    double seconds = 0;
    int status = 0;
    for (unsigned i = 0; i < ARRAY_LEN(programs); i++) {
        const struct program *p = &programs[i];
        guest_mode64(g, v);
        memset(heap, 0, sizeof heap);
        memset(guest_ptr(g, MIB(2)), 0, MIB(2));
        guest_load(g, 0x11000, __start_guest_text, __stop_guest_text);
        guest_load(g, GUEST_CODE, start, start + sizeof start);
        v->gpr[RAX] = 0x11000 + ((const u8 *)(uintptr_t)p->fn - __start_guest_text);
        v->gpr[RDI] = p->n;
        v->gpr[RSI] = MIB(2);
        u64 before = v->instructions;
        double start_time = cpu_time();
        int end = guest_run(v);
        double s = cpu_time() - start_time;
        u64 n = v->instructions - before;
        start_time = cpu_time();
        bool right = p->fn(p->n, heap) == v->gpr[RAX] && end == -1;
        double native = cpu_time() - start_time;
        status |= !right;
        printf("%-8s %10llu instructions %7.1f M/s %7.1f ms, native %5.1f ms: %5.1fx%s\n", p->name,
               (unsigned long long)n, (double)n / s / 1e6, s * 1e3, native * 1e3, s / native,
               right ? "" : "  WRONG RESULT");
        total += n;
        seconds += s;
    }
    printf("%-8s %10llu instructions %7.1f M/s\n", "all", (unsigned long long)total,
           (double)total / seconds / 1e6);
    guest_destroy(g);
    return status;
}
