/*
 * A hostile guest cannot escape by code: what translations are made of (engine/jit/verify.c looks at every
 * one), what is mapped, and programs that aim at the VMM.
 */
#include <fcntl.h>
#include <unistd.h>
#include "tests/tap.h"
#define GUEST_ENGINE jit_engine
#include "engine/jit/cache.h"
#include "engine/jit/verify.h"
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;
static struct log output;

static struct jit_vm *shared(void)
{
    return g->vm.engine_vm;
}

/* --- mappings --- */

static bool overlaps(unsigned long from, unsigned long to, const void *p, size_t size)
{
    return from < (unsigned long)p + size && to > (unsigned long)p;
}

GUEST(simple, 64, "nop; mov $0x20000, %ebx; 1: inc %eax; mov %eax, (%rbx); cmp $50, %eax; jne 1b; hlt");
static void test_no_mapping_is_writable_and_executable(void)
{
    char line[512];
    unsigned ram = 0, code = 0;
    CHECK_EQ(RUN(g, v, 64, simple), -1);
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) != 3)
            continue;
        bool w = rights[1] == 'w', x = rights[2] == 'x';
        CHECK(!(w && x));
        if (overlaps(from, to, g->ram->hva, g->ram->size)) {
            CHECK(!x);
            ram++;
        }
        if (overlaps(from, to, shared()->rx, shared()->size)) {
            CHECK(!w && x);
            code++;
        }
        if (overlaps(from, to, shared()->rw, shared()->size))
            CHECK(!x);
    }
    if (maps)
        fclose(maps);
    CHECK(ram && code);
}

/* --- the verifier refuses what it should --- */

static const char *verify(const char *code, size_t size)
{
    struct jit_vm *t = shared();
    u8 *bytes = t->rw + t->size - 512; /* not in use yet */
    struct verifier *c = malloc(verifier_size());
    const u8 *where, *const entry[] = {bytes + (t->rx - t->rw)};
    memcpy(bytes, code, size);
    /* jmp to a thunk, so that the code has an end */
    bytes[size] = 0xe9;
    store_le32(bytes + size + 1, (u32)(t->thunk.exit - (bytes + size + 5 + (t->rx - t->rw))));
    const char *why = verify_code(c, t, NULL, (struct code_span[]){{bytes, bytes + size + 5}, {NULL, NULL}},
                                  entry, 1, &where);
    free(c);
    return why;
}
#define REFUSED(code) CHECK(verify(code, sizeof(code) - 1) != NULL)
#define FINE(code)                                                                                           \
    do {                                                                                                     \
        const char *why_ = verify(code, sizeof(code) - 1);                                                   \
        CHECK_STR(why_ ? why_ : "fine", "fine");                                                             \
    } while (0)

static void test_forbidden_instructions(void)
{
    FINE("\x90\x01\xc8");            /* nop; add eax, ecx */
    REFUSED("\x0f\x05");             /* syscall */
    REFUSED("\x0f\x34");             /* sysenter */
    REFUSED("\xcd\x80");             /* int 80h */
    REFUSED("\xcc");                 /* int3 */
    REFUSED("\x0f\x0b");             /* ud2 */
    REFUSED("\xf4");                 /* hlt */
    REFUSED("\x0f\x01\x00");         /* sgdt [rax] */
    REFUSED("\xf3\x48\x0f\xae\xd8"); /* wrgsbase rax */
    REFUSED("\xf3\x48\x0f\xae\xc8"); /* rdgsbase rax */
    REFUSED("\xf3\x48\x0f\xae\xd0"); /* wrfsbase rax */
    REFUSED("\x0f\x01\xf8");         /* swapgs */
    REFUSED("\x0f\x01\xef");         /* wrpkru */
    REFUSED("\x0f\xae\x28");         /* xrstor [rax] */
    REFUSED("\x8e\xe8");             /* mov gs, eax */
    REFUSED("\x0f\xa9");             /* pop gs */
    REFUSED("\x0f\xa2");             /* cpuid */
    REFUSED("\xe6\x80");             /* out 80h, al */
    REFUSED("\xf3\xa4");             /* rep movsb */
    REFUSED("\x0f\xf7\xc1");         /* maskmovq: [rdi] by implication */
    REFUSED("\xc3");                 /* ret */
    REFUSED("\xff\xe0");             /* jmp rax */
    REFUSED("\x41\xff\xe3");         /* jmp r11 that nothing has looked up */
    REFUSED("\x48\x89\xc4");         /* mov rsp, rax */
    REFUSED("\xeb\xff\xc0");         /* jmp into itself */
}

static void test_forbidden_accesses(void)
{
    REFUSED("\x8b\x00");                                      /* mov eax, [rax] */
    REFUSED("\x41\x89\x03");                                  /* mov [r11], eax, unchecked */
    REFUSED("\x8b\x04\x25\x00\x00\x00\x00");                  /* mov eax, [0] */
    REFUSED("\x8b\x05\x00\x00\x00\x00");                      /* mov eax, [rip] */
    REFUSED("\x64\x8b\x04\x25\x00\x00\x00\x00");              /* mov eax, fs:[0] */
    FINE("\x65\x8b\x04\x25\x00\x00\x00\x00");                 /* mov eax, gs:[0] */
    REFUSED("\x65\x8b\x00");                                  /* mov eax, gs:[rax] */
    REFUSED("\x65\x8b\x04\x25\xff\xff\xff\xff");              /* mov eax, gs:[-1] */
    REFUSED("\x65\x8b\x04\x25\x00\x00\x00\x40");              /* mov eax, gs:[40000000h] */
    REFUSED("\x65\x49\x8b\x83\xb8\x01\x00\x00");              /* mov rax, gs:[r11 + 1b8h], r11 unknown */
    FINE("\x45\x0f\xb6\xdb\x65\x49\x8b\x83\xb8\x01\x00\x00"); /* movzx r11d, r11b before it */
}

/* The check of 4 bytes at [rbx + 8] for reading, as lower_access makes it. */
static size_t check(u8 *at, unsigned size, bool write)
{
    struct emitter e = {.p = at, .end = at + 128};
    emit_lea(&e, R10, RBX, HOST_NONE, 0, 8, true);
    emit_lea(&e, R11, R10, HOST_NONE, 0, (s32)size - 1, true);
    EMIT(&e, "\x49\xc1\xea\x07\x49\x81\xe3\x00\xf0\xff\xff\x41\x81\xe2");
    emit_u32(&e, (TLB_ENTRIES - 1) << 5);
    emit_gs(&e, 0x0b, R11, AT_ASID, true);
    emit_gs(&e, 0x03, R10, AT_WORD(WORD_TLB), true);
    emit_rm8(&e, 0x3b, R11, R10,
             write ? offsetof(struct tlb_entry, write) : offsetof(struct tlb_entry, read));
    EMIT(&e, "\x75\x00"); /* jne: to what follows it, so that the check decides nothing; patched below */
    return (size_t)(e.p - at);
}

/* The check, then `access`; `hit`: what misses skips the access. */
static const char *verify_access(unsigned size, bool write, bool hit, const char *access, size_t count)
{
    char code[200];
    size_t n = check((u8 *)code, size, write);
    memcpy(code + n, "\x4c\x8d\x5b\x08\x4d\x03\x5a\x18", 8); /* lea r11, [rbx + 8]; add r11, [r10 + 18h] */
    memcpy(code + n + 8, access, count);
    if (hit)
        code[n - 1] = (char)(8 + count);
    return verify(code, n + 8 + count);
}

static void test_checked_accesses(void)
{
    CHECK(!verify_access(4, false, true, "\x41\x8b\x03", 3));            /* mov eax, [r11] */
    CHECK(verify_access(4, false, false, "\x41\x8b\x03", 3) != NULL);    /* a miss gets there too */
    CHECK(verify_access(4, false, true, "\x49\x8b\x03", 3) != NULL);     /* 8 bytes of 4 */
    CHECK(verify_access(4, false, true, "\x41\x8b\x43\x01", 4) != NULL); /* 4 bytes from 1 on */
    CHECK(!verify_access(8, false, true, "\x41\x8b\x43\x04", 4));        /* 4 bytes from 4 on, of 8 */
    CHECK(verify_access(8, false, true, "\x41\x8b\x43\xff", 4) != NULL); /* from -1 on */
    CHECK(verify_access(4, false, true, "\x41\x89\x03", 3) != NULL);     /* a write, checked for reading */
    CHECK(!verify_access(4, true, true, "\x41\x89\x03", 3));
    CHECK(verify_access(4, true, true, "\x41\x8b\x04\x03", 4) != NULL);         /* with an index */
    CHECK(verify_access(4, true, true, "\x41\xff\xc3\x41\x8b\x03", 6) != NULL); /* inc r11d before it */
}

/* --- every translation of programs that mean ill --- */

/* The vCPU, its own code's host addresses, the code memory, segment bases, non-canonical addresses, as data
 * and as targets of jumps. */
GUEST(aim, 64,
      "nop; mov $7, %ecx\n"
      "1: mov (%rbx), %rax; mov %rax, 8(%rbx); mov %gs:(%rbx), %rdx; mov %rax, %fs:8(%rbx); call *%rbx; hlt");

static int run_aimed(u64 address)
{
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, aim, aim_end);
    v->gpr[RBX] = address;
    return guest_run(v);
}

static void test_host_addresses_are_nothing(void)
{
    u64 before = v->gpr[R15];
    const u64 addresses[] = {(u64)(uintptr_t)v,
                             (u64)(uintptr_t)shared()->rx,
                             (u64)(uintptr_t)shared()->rw + 64,
                             (u64)(uintptr_t)g->ram->hva,
                             (u64)(uintptr_t)&before,
                             0x800000000000,
                             0xffff800000000000,
                             ~0ull,
                             0x7fffffffff00,
                             (u64)(uintptr_t)v - GUEST_RAM};
    struct vcpu *copy = malloc(sizeof *v);
    for (unsigned i = 0; i < ARRAY_LEN(addresses); i++) {
        /* #PF, or #GP for what is no address: nothing of the process is found there. */
        bool canonical = addresses[i] == (u64)((s64)(addresses[i] << 16) >> 16);
        int vector = run_aimed(addresses[i]);
        memcpy(copy, v, sizeof *v);
        CHECK_EQ(vector, canonical ? 14 : 13);
        if (canonical)
            CHECK_EQ(v->cr2, addresses[i]);
    }
    free(copy);
}

/* The last bytes of RAM, and of a page whose neighbour is not there: accesses of each width across the end.
 */
GUEST(edge, 64,
      "nop; mov %rbx, %rdi; mov (%rdi), %al; cmp $2, %ecx; jb 9f; mov (%rdi), %ax; cmp $4, %ecx; jb 9f; mov "
      "(%rdi), %eax\n"
      "cmp $8, %ecx; jb 9f; mov %rax, (%rdi); cmp $16, %ecx; jb 9f; movups %xmm0, (%rdi); cmp $32, %ecx; jb "
      "9f; ud2\n"
      "9: hlt");
static void test_ends_of_ram(void)
{
    for (unsigned size = 1; size <= 16; size *= 2) {
        for (unsigned over = 0; over < size; over++) {
            guest_mode64(g, v);
            guest_page(g, v, 0x3ff000, 0x3ff000 | 7);
            guest_load(g, GUEST_CODE, edge, edge_end);
            v->gpr[RBX] = 0x400000 - size + over;
            v->gpr[RCX] = size;
            CHECK_EQ(guest_run(v), over ? 14 : -1);
            if (over)
                CHECK_EQ(v->cr2, 0x400000);
        }
    }
}

/* 32-bit code: addresses wrap at 4 GiB, and limits are limits. */
GUEST(wrap, 32,
      "nop; mov $0x20000, %ebx; movl $0x1234, (%ebx); mov $0x80020000, %eax; mov 0x80000000(%eax), %ecx\n"
      "mov $0xffffffff, %esi; mov 0x20001(%esi), %edx; lea 1(%esi), %edi; mov 0x20000(%esi,%esi), %ax; hlt");
GUEST(beyond, 32, "nop; mov $0xfffffffe, %ebx; mov (%ebx), %eax; hlt");
GUEST(limited, 32, "nop; mov $0x20ffd, %ebx; mov (%ebx), %eax; hlt");
static void test_wraparounds_and_limits(void)
{
    CHECK_EQ(RUN(g, v, 32, wrap), -1);
    CHECK_EQ((u32)v->gpr[RCX], 0x1234);
    CHECK_EQ((u32)v->gpr[RDX], 0x1234);
    CHECK_EQ(RUN(g, v, 32, beyond), 13);
    guest_mode32(g, v);
    v->seg[DS].limit = 0x20fff;
    guest_load(g, GUEST_CODE, limited, limited_end);
    cpu_mode_update(v);
    CHECK_EQ(guest_run(v), 13);
}

static void test_all_were_verified(void)
{
    CHECK(shared()->verified > 20);
    CHECK_EQ(shared()->refused, 0);
}

int main(void)
{
    log_init(&output);
    output.topics = BIT(TRACE_JITCHECK);
    g = guest_create(1);
    g->vm.log = &output;
    v = g->cpu[0];
    TAP_RUN(test_no_mapping_is_writable_and_executable);
    TAP_RUN(test_forbidden_instructions);
    TAP_RUN(test_forbidden_accesses);
    TAP_RUN(test_checked_accesses);
    TAP_RUN(test_host_addresses_are_nothing);
    TAP_RUN(test_ends_of_ram);
    TAP_RUN(test_wraparounds_and_limits);
    TAP_RUN(test_all_were_verified);
    guest_destroy(g);
    return tap_done();
}
