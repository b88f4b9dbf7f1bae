/* Code that changes: by itself, by another CPU, under another mapping; at page ends. */
#include "tests/tap.h"
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;

/* The store changes the immediate of the very next instruction: both execute in one block. */
GUEST(next_insn, 64, "movb $7, 1f+1(%rip); 1: mov $1, %eax; hlt");
/* ... and one that is further away, by a store that overlaps it only in part. */
GUEST(later, 64, "mov $3, %ecx; movl $0xc0ff0000, 1f-2(%rip); 1: nop; nop; nop; add $1, %ecx; hlt");
static void test_next_instruction(void)
{
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQ(RUN(g, v, 64, next_insn), -1);
        CHECK_EQ(v->gpr[RAX], 7);
    }
    /* It overwrites its own last bytes and two NOPs, with INC EAX. */
    CHECK_EQ(RUN(g, v, 64, later), -1);
    CHECK_EQ(v->gpr[RCX], 4);
    CHECK_EQ(v->gpr[RAX], 1);
}

/* A loop patches its own first instruction, an increment into a decrement and back. */
GUEST(loop_patch, 64, "mov $10, %ecx; 1: inc %eax; xorb $8, 1b+1(%rip); inc %ebx; loop 1b; hlt");
static void test_loop(void)
{
    CHECK_EQ(RUN(g, v, 64, loop_patch), -1);
    CHECK_EQ(v->gpr[RAX], 0);
    CHECK_EQ(v->gpr[RBX], 10);
}

/* REP STOSB over the code that comes next; a PUSH onto it; a store through another linear address. */
GUEST(by_string, 64, "lea 1f(%rip), %rdi; mov $0x90, %al; mov $5, %ecx; rep stosb; 1: mov $1, %ebx; hlt");
GUEST(by_push, 64,
      "lea 1f+8(%rip), %rsp; mov $0x9090909090909090, %rax; push %rax; 1: mov $1, %ebx; nop; nop; nop; hlt");
GUEST(by_alias, 64, "lea 1f+0x200000(%rip), %rdi; movb $7, 1(%rdi); 1: mov $1, %ebx; hlt");
static void test_ways(void)
{
    CHECK_EQ(RUN(g, v, 64, by_string), -1);
    CHECK_EQ(v->gpr[RBX], 0);
    CHECK_EQ(RUN(g, v, 64, by_push), -1);
    CHECK_EQ(v->gpr[RBX], 0);
    guest_mode64(g, v);
    guest_page(g, v, GUEST_CODE, GUEST_CODE | 7);
    store_le64(guest_ptr(g, GUEST_PML4 + 0x2008), (GUEST_PML4 + 0x3000) | 7); /* 2 MiB.. is 0.. again */
    guest_load(g, GUEST_CODE, by_alias, by_alias_end);
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RBX], 7);
}

/* An instruction across two pages, of which the second changes, or is another page, or is absent. */
GUEST(across, 64, "mov $0x11223344, %eax; hlt");
static void test_page_end(void)
{
    for (unsigned before = 1; before <= 5; before++) {
        u64 at = 0x12000 - before;
        guest_mode64(g, v);
        guest_load(g, at, across, across_end);
        v->rip = at;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RAX], 0x11223344);
        *(u8 *)guest_ptr(g, at + 4) = 0x55;
        guest_mode64(g, v);
        v->rip = at;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RAX], 0x55223344);
        /* Another page there. */
        memcpy(guest_ptr(g, 0x15000), guest_ptr(g, 0x12000), 16);
        if (before < 5)
            *(u8 *)guest_ptr(g, 0x15000 + 4 - before) = 0x66;
        guest_mode64(g, v);
        guest_page(g, v, 0x12000, 0x15007);
        v->rip = at;
        CHECK_EQ(guest_run(v), -1);
        CHECK_EQ(v->gpr[RAX], before < 5 ? 0x66223344 : 0x55223344);
        /* None: the fault is on the second page, and nothing was done. */
        guest_mode64(g, v);
        guest_page(g, v, 0x12000, 0);
        v->rip = at;
        CHECK_EQ(guest_run(v), EXC_PF);
        CHECK_EQ(v->cr2, 0x12000);
        CHECK_EQ(v->gpr[RAX], before == 5 ? 0x55223344 : 0);
    }
}

/* An illegal instruction at a page's end does not touch the next page; an unfinished one does. */
static void test_priority(void)
{
    static const u8 ud[] = {0x0f, 0x0b}, half[] = {0x0f};
    guest_mode64(g, v);
    guest_page(g, v, 0x12000, 0);
    guest_load(g, 0x11ffe, ud, ud + 2);
    v->rip = 0x11ffe;
    CHECK_EQ(guest_run(v), EXC_UD);
    guest_mode64(g, v);
    guest_page(g, v, 0x12000, 0);
    guest_load(g, 0x11fff, half, half + 1);
    v->rip = 0x11fff;
    CHECK_EQ(guest_run(v), EXC_PF);
    guest_mode64(g, v);
    memset(guest_ptr(g, 0x11ff1), 0x66, 15);
    guest_page(g, v, 0x12000, 0);
    v->rip = 0x11ff1;
    CHECK_EQ(guest_run(v), EXC_GP);
}

/* The same bytes mean something else in another mode, the same address something else behind another mapping.
 */
GUEST(remap, 64, "1: mov $1, %eax; invlpg (%rbx); jmp *%rdx");
GUEST(remapped, 64, "mov $2, %eax; hlt");
static void test_remap(void)
{
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, remap, remap_end);
    CHECK_EQ((v->gpr[RDX] = 0x13000, 0), 0);
    guest_load(g, 0x13000, remapped, remapped_end);
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RAX], 2);
    /* 13000h now is 14000h. */
    guest_mode64(g, v);
    memcpy(guest_ptr(g, 0x14000), guest_ptr(g, 0x13000), 16);
    *(u8 *)guest_ptr(g, 0x14001) = 9;
    guest_page(g, v, 0x13000, 0x14007);
    v->gpr[RDX] = 0x13000;
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RAX], 9);
    guest_mode64(g, v);
    guest_page(g, v, 0x13000, 0x13007);
}

/* Two CPUs: one spins on code that the other one changes. */
GUEST(spin, 64, "1: mov $0, %eax; test %eax, %eax; jz 1b; hlt");
GUEST(patch, 64, "mov $1000, %ecx; 1: pause; loop 1b; movb $5, 0x10001; hlt");
static void *run_second(void *opaque)
{
    guest_run(g->cpu[1]);
    return NULL;
}
static void test_cross_modifying(void)
{
    pthread_t thread;
    guest_mode64(g, g->cpu[1]);
    guest_mode64(g, v);
    guest_load(g, GUEST_CODE, spin, spin_end);
    guest_load(g, 0x18000, patch, patch_end);
    g->cpu[1]->rip = 0x18000;
    pthread_create(&thread, NULL, run_second, NULL);
    CHECK_EQ(guest_run(v), -1);
    CHECK_EQ(v->gpr[RAX], 5);
    pthread_join(thread, NULL);
}

/* Locked instructions of two CPUs on one word, aligned, across a cache line and across a page. */
GUEST(locked, 64,
      "mov $20000, %ecx; 1: lock addl $1, (%rbx); lock incl (%rbx); mov $1, %eax; lock xadd %eax, (%rbx)\n"
      "2: mov (%rbx), %eax; lea 1(%rax), %edx; lock cmpxchg %edx, (%rbx); jne 2b; lock btsl $31, (%rbx); "
      "loop 1b; hlt");
static void test_locked(void)
{
    static const u64 places[] = {0x20000, 0x2003e, 0x20ffe};
    for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
        pthread_t thread;
        for (unsigned c = 0; c < 2; c++) {
            guest_mode64(g, g->cpu[c]);
            g->cpu[c]->gpr[RBX] = places[i];
            g->cpu[c]->gpr[RCX] = 0;
        }
        store_le32(guest_ptr(g, places[i]), 0);
        guest_load(g, GUEST_CODE, locked, locked_end);
        if (i == 2) /* each iteration is an exclusive section: fewer of them */
            store_le32(guest_ptr(g, GUEST_CODE + 1), 500);
        pthread_create(&thread, NULL, run_second, NULL);
        CHECK_EQ(guest_run(v), -1);
        pthread_join(thread, NULL);
        CHECK_EQ(load_le32(guest_ptr(g, places[i])), 0x80000000u | (i == 2 ? 500 : 20000) * 8u);
    }
}

int main(void)
{
    g = guest_create(2);
    v = g->cpu[0];
    TAP_RUN(test_next_instruction);
    TAP_RUN(test_loop);
    TAP_RUN(test_ways);
    TAP_RUN(test_page_end);
    TAP_RUN(test_priority);
    TAP_RUN(test_remap);
    TAP_RUN(test_cross_modifying);
    TAP_RUN(test_locked);
    guest_destroy(g);
    return tap_done();
}
