/* Single-step: after each instruction, over INT, string iterations, STI/MOV SS shadows, POPF; DR6.BS; ring 3.
 */
#include "guest.h"

static volatile ulong ips[64];
static volatile ulong dr6s[64];
static volatile u32 steps;

static void on_step(struct regs *r)
{
    if (steps < 64) {
        ips[steps] = r->ip;
        dr6s[steps] = dr6_read();
    }
    steps++;
    dr6_write(0);
}

/* Runs code with TF from its first instruction on; returns its address. */
#define STEP(code, ops...)                                                                                   \
    ({                                                                                                       \
        ulong start_;                                                                                        \
        steps = 0;                                                                                           \
        asm volatile("mov $1f, %0\n\tpushl $0x102\n\tpopf\n\t1:\t" code "\n\tpushl $2\n\tpopf\n\t"           \
                     : "=&b"(start_)                                                                         \
                     : ops                                                                                   \
                     : "memory", "eax", "ecx", "edx");                                                       \
        start_;                                                                                              \
    })

int main(void)
{
    static u8 bytes[16];

    trap_handle(DB, on_step);
    dr6_write(0);
    ulong start = STEP("nop\n\tnop\n\tnop");
    check_eq(steps, 5, "three NOPs, PUSH and POPF: five steps");
    check_eq(ips[0] - start, 1, "the first step is after the first NOP");
    check_eq(ips[2] - start, 3, "the third step is after the third NOP");
    check_eq(dr6s[0] & 0xf00f, 0x4000, "DR6.BS");

    /* a repeated string instruction: a step after every iteration */
    STEP("push %%edi\n\tcld\n\tmov $4, %%ecx\n\trep stosb\n\tpop %%edi", "D"(bytes));
    check_eq(steps, 3 + 4 + 1 + 2, "REP STOSB of 4: a step for each iteration");
    check_eq(ips[3], ips[2], "between iterations EIP is the instruction's");

    /* MOV SS: no step between it and the next instruction */
    start = STEP("mov %%ss, %%eax\n\tmov %%eax, %%ss\n\tnop\n\tnop");
    check_eq(steps, 3 + 2, "MOV SS: the step after it is dropped");
    check_eq(ips[1] - start, 5, "MOV SS: the next step is after the following instruction");

    /* the INT instruction: TF is clear in the handler, the step comes after the return */
    extern char gate_iret[];
    asm(".pushsection .text.handlers,\"ax\"\ngate_iret:\n\tnop\n\tiret\n.popsection");
    idt_set(0x40, SEL_CODE, (ulong)gate_iret, 0x8e, 0);
    start = STEP("int $0x40\n\tnop");
    bool inside = false;
    for (u32 i = 0; i < steps && i < 64; i++)
        inside = inside || (ips[i] >= (ulong)gate_iret && ips[i] < (ulong)gate_iret + 2);
    check(!inside, "no steps inside the handler of INT");
    check_eq(ips[steps - 3] - start, 3, "the step after INT and NOP");

    /* a jump: EIP is its target */
    start = STEP("jmp 2f\n\tnop\n2:\tnop");
    check_eq(ips[0] - start, 3, "after JMP: EIP is its target");
    /* a faulting instruction is not stepped: the fault comes, then the handler skips it */
    trap_handle(DB, NULL);
    dr6_write(0);
    user_flags = 2 | FL_TF;
    USER("nop\n\tnop", );
    check_exception(DB, 0, "single step in ring 3");
    check_eq(trap.ip - trap_insn, 1, "single step in ring 3: after the first instruction");
    check_eq(trap.flags & FL_TF, FL_TF, "TF is in the saved flags");
    USER("ud2", );
    check_exception(UD, 0, "a fault with TF: the fault alone");
    USER("int $0x80", );
    check_eq(trap.vector, 0x80, "INT with TF: the interrupt");
    user_flags = 2;
    /* STI does not hold back the step */
    trap_handle(DB, on_step);
    dr6_write(0);
    start = STEP("sti\n\tcli\n\tnop");
    check_eq(steps, 5, "STI does not hold back single steps");
    /* POPF that clears TF is still followed by one step; one that sets it is not */
    check_eq(ips[steps - 1] - start, 1 + 1 + 1 + 2 + 1, "the POPF that clears TF is still stepped");
    return 0;
}
