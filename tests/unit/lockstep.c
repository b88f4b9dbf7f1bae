/* The engine that checks the translator: it agrees with what is right, and finds what is wrong. */
#include "tests/tap.h"
#define GUEST_ENGINE lockstep_engine
#include "engine/jit/cache.h"
#include "tests/unit/interp_vm.h"

static struct guest *g;
static struct vcpu *v;
static struct log output;

/* What has been logged. */
static const char *logged(void)
{
    static char text[16384];
    rewind(output.out);
    text[fread(text, 1, sizeof text - 1, output.out)] = '\0';
    return text;
}

/* Loops, memory, calls, flags, a string instruction, port I/O and a fault. */
GUEST(program, 64,
      "nop; mov $0x20000, %edi; mov $100, %ecx; xor %eax, %eax; xor %edx, %edx\n"
      "1: add %rcx, %rax; mov %rax, (%rdi,%rcx,8); imul $3, %rax, %rbx; adc (%rdi,%rcx,8), %rdx; call 3f\n"
      "dec %ecx; jnz 1b; mov $64, %ecx; mov $0x20100, %esi; rep movsq; out %al, $0x80; in $0x80, %al\n"
      "pushf; pop %r9; xor %ecx, %ecx; div %ecx; hlt\n"
      "3: push %rax; lea 5(%rax,%rdx), %r10; xchg %r10, (%rsp); pop %r11; ret");
static void test_agree(void)
{
    CHECK_EQ(RUN(g, v, 64, program), 0);
    CHECK_EQ(v->gpr[RCX], 0);
    CHECK_STR(logged(), "");
}

/* The host code that adds 77h; the test makes it something else, wherever it is. */
GUEST(victim, 64,
      "nop; mov $0x20000, %ebx; mov 8(%rbx), %eax; add $0x77, %eax; mov %eax, (%rbx); mov %eax, %ecx; hlt");

static unsigned host_code_patch(const char *bytes, unsigned len, unsigned at, u8 value)
{
    const struct jit_vm *t = g->vm.engine_vm;
    unsigned count = 0;
    for (u8 *p = t->rw, *end = p + t->size; (p = memmem(p, (size_t)(end - p), bytes, len)); p += len) {
        p[at] = value;
        count++;
    }
    return count;
}

static void test_wrong_result(void)
{
    store_le64(guest_ptr(g, GUEST_DATA + 8), 0);
    CHECK_EQ(RUN(g, v, 64, victim), -1);
    CHECK_EQ(v->gpr[RAX], 0x77);
    CHECK(host_code_patch("\x83\xc0\x77", 3, 2, 0x78) != 0);
    guest_mode64(g, v);
    store_le64(guest_ptr(g, GUEST_DATA), 0);
    CHECK_EQ(GUEST_ENGINE.run(v), VCPU_FAILED);
    const char *text = logged();
    CHECK(strstr(text, "add eax, 0x77") != NULL);
    CHECK(strstr(text, "rax: translator 0000000000000078, interpreter 0000000000000077") != NULL);
    CHECK(strstr(text, "was 0000000000000000, translator 0000000000000078, interpreter 0000000000000077") !=
          NULL);
    CHECK_EQ(GUEST_ENGINE.run(v), VCPU_FAILED);
}

int main(void)
{
    output.out = tmpfile();
    g = guest_create(1);
    g->vm.log = &output;
    v = g->cpu[0];
    TAP_RUN(test_agree);
    TAP_RUN(test_wrong_result);
    guest_destroy(g);
    fclose(output.out);
    return tap_done();
}
