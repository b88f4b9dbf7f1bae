/*
 * Four vCPUs in one small code cache: code that is rewritten under others, evicted while it is run, mapped
 * twice, mapped elsewhere, and written to beside its data.
 */
#include <pthread.h>
#include "tests/tap.h"
#define GUEST_ENGINE     jit_engine
#define GUEST_CODE_CACHE MIB(1)
#include "tests/unit/interp_vm.h"

#define CPUS 4

static struct guest *g;

struct runner {
    pthread_t thread;
    unsigned cpu;
    int end;
};

static void *run_cpu(void *opaque)
{
    struct runner *r = opaque;
    r->end = guest_run(g->cpu[r->cpu]);
    return NULL;
}

/* Every CPU gets a stack of its own and its number in RBP. */
static void cpus_prepare(void)
{
    for (unsigned c = 0; c < CPUS; c++) {
        guest_mode64(g, g->cpu[c]);
        g->cpu[c]->gpr[RSP] = GUEST_STACK + 0x1000 * c + 0xff0;
        g->cpu[c]->gpr[RBP] = c;
    }
}

static void cpus_run(void)
{
    struct runner r[CPUS];
    for (unsigned c = 0; c < CPUS; c++) {
        r[c] = (struct runner){.cpu = c};
        pthread_create(&r[c].thread, NULL, run_cpu, &r[c]);
    }
    for (unsigned c = 0; c < CPUS; c++) {
        pthread_join(r[c].thread, NULL);
        CHECK_EQ(r[c].end, -1);
    }
}

/* What the CPUs tell each other: [0] a number, [8] 1 when the writer is done, [10h] what the others have
 * done, [18h] 1 when they may begin. */
#define SHARED   0x28000u
#define FUNCTION 0x12000u
#define ALIAS    0x16000u /* another linear address of FUNCTION's page */

/*
 * The writer counts up in the immediate of FUNCTION's MOV, then publishes the number. Whoever reads the
 * number and then executes a serializing instruction must not get an older one from the function (SDM vol.
 * 3 8.1.3).
 */
GUEST(rewriter, 64,
      "xor %ecx, %ecx; mov %ecx, 0x12001; incl %ecx; movl $1, 0x28018; 0: pause; cmpl $3, 0x28010; jb 0b\n"
      "1: call rewriter + 0x100; mov %ecx, 0x28000; inc %ecx; cmp $20000, %ecx; jb 1b\n"
      "movq $0, 0x28020; movq $0, 0x28028; 2: pause; cmpl $9, 0x28024; jb 2b; cmpl $9, 0x28028; jb 2b\n"
      "cmpl $9, 0x2802c; jb 2b; movl $1, 0x28008; hlt");
GUEST(reader, 64,
      "0: pause; cmpl $0, 0x28018; je 0b; xor %edi, %edi; xor %r12d, %r12d; call *%rsi; lock incl 0x28010\n"
      "1: mov 0x28000, %r13d; xor %eax, %eax; cpuid; call *%rsi; inc %r12d; incl 0x28020(,%rbp,4)\n"
      "cmp %r13d, %eax; jae 2f; inc %edi; 2: cmpl $0, 0x28008; je 1b; hlt");
GUEST(store, 64, "mov %ecx, 0x12001; ret");
GUEST(function, 64, "mov $0, %eax; ret");
static void cross_modify(u64 write_to, bool aliased)
{
    cpus_prepare();
    if (aliased)
        for (unsigned c = 0; c < CPUS; c++)
            guest_page(g, g->cpu[c], ALIAS, FUNCTION | 7);
    guest_load(g, FUNCTION, function, function_end);
    guest_load(g, GUEST_CODE, rewriter, rewriter_end);
    /* The stores' displacements. */
    u8 to[4];
    store_le32(to, (u32)write_to + 1);
    guest_load(g, GUEST_CODE + 2 + 3, to, to + 4);
    guest_load(g, GUEST_CODE + 0x100, store, store_end);
    guest_load(g, GUEST_CODE + 0x100 + 3, to, to + 4);
    guest_load(g, 0x14000, reader, reader_end);
    memset(guest_ptr(g, SHARED), 0, 64);
    for (unsigned c = 1; c < CPUS; c++) {
        g->cpu[c]->rip = 0x14000;
        g->cpu[c]->gpr[RSI] = aliased && c & 1 ? ALIAS : FUNCTION;
    }
    cpus_run();
    for (unsigned c = 1; c < CPUS; c++) {
        CHECK_EQ(g->cpu[c]->gpr[RDI], 0);
        CHECK(g->cpu[c]->gpr[R12] > 0);
    }
    CHECK_EQ(load_le32(guest_ptr(g, FUNCTION + 1)), 19999);
}
static void test_cross_modifying(void)
{
    cross_modify(FUNCTION, false);
}
/* The function is called at two linear addresses, and written through either. */
static void test_two_addresses(void)
{
    cross_modify(FUNCTION, true);
    cross_modify(ALIAS, true);
}

/*
 * The writer maps FUNCTION to one page and another in turn, a count around it odd while it is at it. Who sees
 * the same even count before INVLPG and behind the call must have got the function of that count.
 */
GUEST(remapper, 64,
      "mov $1, %ecx\n"
      "1: incl 0x28000; mov $0x12007, %eax; test $1, %cl; jz 2f; mov $0x13007, %eax; 2: mov %rax, 0x103090\n"
      "incl 0x28000; mov $20000, %edx; 3: dec %edx; jnz 3b; inc %ecx; cmpl $300, 0x28024; jb 1b\n"
      "cmpl $300, 0x28028; jb 1b; cmpl $300, 0x2802c; jb 1b; movl $1, 0x28008; hlt");
GUEST(
    follower, 64,
    "xor %edi, %edi; xor %r12d, %r12d\n"
    "1: cmpl $0, 0x28008; jne 9f; mov 0x28000, %r13d; test $1, %r13b; jnz 1b; invlpg 0x12000; call *%rsi\n"
    "mov 0x28000, %ecx; cmp %ecx, %r13d; jne 1b; inc %r12d; incl 0x28020(,%rbp,4); shr %r13d; and $1, %r13d; "
    "cmp %r13d, %eax; je "
    "1b\n"
    "inc %edi; jmp 1b; 9: hlt");
/* One that calls directly, so that the jump into the page is chained: at 14800h. */
GUEST(
    follower_direct, 64,
    "xor %edi, %edi; xor %r12d, %r12d\n"
    "1: cmpl $0, 0x28008; jne 9f; mov 0x28000, %r13d; test $1, %r13b; jnz 1b; invlpg 0x12000\n"
    "call follower_direct + 0x12000 - 0x14800\n"
    "mov 0x28000, %ecx; cmp %ecx, %r13d; jne 1b; inc %r12d; incl 0x28020(,%rbp,4); shr %r13d; and $1, %r13d; "
    "cmp %r13d, %eax; je "
    "1b\n"
    "inc %edi; jmp 1b; 9: hlt");
static void test_remap(void)
{
    cpus_prepare();
    for (unsigned i = 0; i < 2; i++) {
        u8 one[6] = {0xb8, (u8)i, 0, 0, 0, 0xc3};
        guest_load(g, FUNCTION + 0x1000 * i, one, one + 6);
    }
    guest_load(g, GUEST_CODE, remapper, remapper_end);
    guest_load(g, 0x14000, follower, follower_end);
    guest_load(g, 0x14800, follower_direct, follower_direct_end);
    memset(guest_ptr(g, SHARED), 0, 64);
    for (unsigned c = 1; c < CPUS; c++) {
        g->cpu[c]->rip = c == 1 ? 0x14000 : 0x14800;
        g->cpu[c]->gpr[RSI] = FUNCTION;
    }
    cpus_run();
    for (unsigned c = 1; c < CPUS; c++) {
        CHECK_EQ(g->cpu[c]->gpr[RDI], 0);
        CHECK(g->cpu[c]->gpr[R12] > 0);
    }
}

/* Data beside code: each CPU counts in a line of its own in the page that all of them run in. */
GUEST(beside, 64,
      "mov %ebp, %eax; shl $6, %eax; lea 0x10f00(%rax), %rbx; mov $50000, %ecx; 1: incl (%rbx); lock incl "
      "0x10ec0\n"
      "call 2f; dec %ecx; jnz 1b; hlt; 2: inc %rdi; ret");
static void test_data_beside_code(void)
{
    cpus_prepare();
    guest_load(g, GUEST_CODE, beside, beside_end);
    memset(guest_ptr(g, GUEST_CODE + 0xec0), 0, 0x140);
    cpus_run();
    for (unsigned c = 0; c < CPUS; c++) {
        CHECK_EQ(load_le32(guest_ptr(g, GUEST_CODE + 0xf00 + 64 * c)), 50000);
        CHECK_EQ(g->cpu[c]->gpr[RDI], 50000);
    }
    CHECK_EQ(load_le32(guest_ptr(g, GUEST_CODE + 0xec0)), 50000 * CPUS);
}

/* The writer appends functions to a page that the others run in, as a JIT compiler does, and begins again
 * when it is full; function number n / 200 returns n or, rewritten, more. */
GUEST(appender, 64,
      "xor %ecx, %ecx; xor %edx, %edx; mov $0xc3, %ebx; shl $40, %rbx\n"
      "1: mov %rcx, %rax; shl $8, %rax; or $0xb8, %rax; or %rbx, %rax; mov %rax, 0x12000(%rdx); inc %ecx\n"
      "mov %ecx, 0x28000; mov $100, %esi; 3: dec %esi; jnz 3b; add $16, %edx; cmp $3200, %edx; jb 2f; xor "
      "%edx, %edx\n"
      "2: cmp $6000, %ecx; jb 1b; cmpl $300, 0x28024; jb 1b; cmpl $300, 0x28028; jb 1b; cmpl $300, 0x2802c; "
      "jb 1b\n"
      "movl $1, 0x28008; hlt");
GUEST(caller, 64,
      "xor %edi, %edi; xor %r12d, %r12d\n"
      "1: cmpl $0, 0x28008; jne 9f; mov 0x28000, %r13d; test %r13d, %r13d; jz 1b; dec %r13d; xor %eax, %eax; "
      "cpuid\n"
      "mov %r13d, %eax; xor %edx, %edx; mov $200, %ecx; div %ecx; shl $4, %edx; lea 0x12000(%rdx), %rsi; "
      "call *%rsi\n"
      "inc %r12d; incl 0x28020(,%rbp,4); cmp %r13d, %eax; jae 1b; inc %edi; jmp 1b; 9: hlt");
static void test_append(void)
{
    cpus_prepare();
    guest_load(g, GUEST_CODE, appender, appender_end);
    guest_load(g, 0x14000, caller, caller_end);
    memset(guest_ptr(g, SHARED), 0, 64);
    for (unsigned c = 1; c < CPUS; c++)
        g->cpu[c]->rip = 0x14000;
    cpus_run();
    for (unsigned c = 1; c < CPUS; c++) {
        CHECK_EQ(g->cpu[c]->gpr[RDI], 0);
        CHECK(g->cpu[c]->gpr[R12] >= 300);
    }
}

/* Beside code in a page that is read-only, by grace of CR0.WP = 0, and then no more; and behind INVLPG. */
GUEST(protect, 64,
      "mov $0x12000, %esi; call *%rsi; mov %cr0, %rdx; and $~0x10000, %edx; mov %rdx, %cr0; mov $9, %ecx\n"
      "1: incl 0x12800; dec %ecx; jnz 1b; or $0x10000, %edx; mov %rdx, %cr0; 2: incl 0x12800; hlt");
GUEST(unmap, 64,
      "mov $0x12000, %esi; call *%rsi; mov $9, %ecx; 1: incl 0x12800; dec %ecx; jnz 1b\n"
      "movq $0x12005, 0x103090; invlpg 0x12000; incl 0x12800; hlt");
static void test_protect(void)
{
    for (unsigned i = 0; i < 2; i++) {
        cpus_prepare();
        guest_page(g, g->cpu[0], FUNCTION, FUNCTION | (i ? 7 : 5));
        guest_load(g, FUNCTION, function, function_end);
        store_le32(guest_ptr(g, FUNCTION + 0x800), 0);
        guest_load(g, GUEST_CODE, i ? unmap : protect, i ? unmap_end : protect_end);
        CHECK_EQ(guest_run(g->cpu[0]), EXC_PF);
        CHECK_EQ(g->cpu[0]->cr2, FUNCTION + 0x800);
        CHECK_EQ(load_le32(guest_ptr(g, FUNCTION + 0x800)), 9);
    }
}

/* Each CPU rewrites an instruction of its own loop, all in one page, while the others run there. */
GUEST(storm, 64,
      "mov %ebp, %eax; shl $6, %eax; lea 0x10400(%rax), %rsi; mov $3000, %ecx\n"
      "1: mov %ecx, 1(%rsi); call *%rsi; add %rax, %rdi; dec %ecx; jnz 1b; hlt");
static void test_storm(void)
{
    cpus_prepare();
    guest_load(g, GUEST_CODE, storm, storm_end);
    for (unsigned c = 0; c < CPUS; c++)
        guest_load(g, GUEST_CODE + 0x400 + 64 * c, function, function_end);
    cpus_run();
    for (unsigned c = 0; c < CPUS; c++)
        CHECK_EQ(g->cpu[c]->gpr[RDI], 3000u * 3001 / 2);
}

/*
 * Much more code than the cache holds, in one ring per CPU: functions that mix RAX and jump to the next one,
 * the order shuffled, near and far jumps. CPUs 0 and 1 share one.
 */
#define CHAIN      0x200000u
#define CHAIN_SIZE 0x60000u
#define PIECE      32u
#define PIECES     (CHAIN_SIZE / PIECE)

static u32 next_random(u32 *state)
{
    return *state = *state * 1664525 + 1013904223;
}

static u64 chain_make(u32 base, u32 seed, u64 rax)
{
    static u32 order[PIECES];
    u32 state = seed;
    for (u32 i = 0; i < PIECES; i++)
        order[i] = i;
    for (u32 i = PIECES - 1; i; i--) {
        /* Mostly among neighbours: so that there are near jumps too. */
        u32 k = next_random(&state) >> 28 ? i - (next_random(&state) >> 16) % MIN(i, 100u)
                                          : next_random(&state) % i;
        u32 other = order[i];
        order[i] = order[k];
        order[k] = other;
    }
    for (u32 i = 0; i < PIECES; i++) {
        u8 code[PIECE], *p = code;
        u32 at = base + order[i] * PIECE, imm = next_random(&state), turn = 1 + (state >> 24) % 63;
        memset(code, 0xcc, sizeof code);
        *p++ = 0x48, *p++ = 0x35, store_le32(p, imm), p += 4;          /* xor rax, imm32 */
        *p++ = 0x48, *p++ = 0xc1, *p++ = 0xc0, *p++ = (u8)turn;        /* rol rax, turn */
        *p++ = 0x48, *p++ = 0x05, store_le32(p, imm ^ 0x5555), p += 4; /* add rax, imm32 */
        rax ^= (u64)(s64)(s32)imm;
        rax = (rax << turn | rax >> (64 - turn)) + (u64)(s64)(s32)(imm ^ 0x5555);
        if (i + 1 < PIECES) {
            *p++ = 0xe9, store_le32(p, base + order[i + 1] * PIECE - (at + (u32)(p - code) + 4)), p += 4;
        } else {
            *p++ = 0xc3;
        }
        guest_load(g, at, code, code + PIECE);
    }
    store_le32(guest_ptr(g, SHARED + 0x100 + (base - CHAIN) / CHAIN_SIZE * 8), base + order[0] * PIECE);
    return rax;
}

GUEST(rounds, 64, "mov $30, %ebx; 1: mov %rbp, %rax; call *%rsi; dec %ebx; jnz 1b; hlt");
static void test_eviction(void)
{
    u64 want[CPUS];
    cpus_prepare();
    guest_load(g, GUEST_CODE, rounds, rounds_end);
    for (unsigned c = 0; c < CPUS; c++) {
        unsigned chain = c ? c - 1 : 0;
        u64 rax = chain_make(CHAIN + chain * CHAIN_SIZE, 77 + chain, c < 2 ? 5 : c);
        want[c] = rax;
        g->cpu[c]->gpr[RBP] = c < 2 ? 5 : c;
        g->cpu[c]->gpr[RSI] = load_le32(guest_ptr(g, SHARED + 0x100 + chain * 8));
    }
    cpus_run();
    for (unsigned c = 0; c < CPUS; c++)
        CHECK_EQ(g->cpu[c]->gpr[RAX], want[c]);
}

static void find_evictions(void *opaque, const char *text)
{
    unsigned regions;
    if (sscanf(text, "jit: %u of", &regions) == 1 && strstr(text, "evicted"))
        *(unsigned *)opaque = regions;
}
static void test_evicted(void)
{
    unsigned regions = 0;
    jit_engine.stats(g->cpu[0], find_evictions, &regions);
    CHECK(regions > 10);
}

int main(void)
{
    g = guest_create(CPUS);
    TAP_RUN(test_cross_modifying);
    TAP_RUN(test_two_addresses);
    TAP_RUN(test_remap);
    TAP_RUN(test_data_beside_code);
    TAP_RUN(test_append);
    TAP_RUN(test_protect);
    TAP_RUN(test_storm);
    TAP_RUN(test_eviction);
    TAP_RUN(test_evicted);
    guest_destroy(g);
    return tap_done();
}
