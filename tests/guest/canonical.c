/*
 * Non-canonical addresses: #GP(0), or #SS(0) through the stack (RSP, RBP as a base, or SS); branches
 * and returns.
 */
/* ## mode: x86_64 */
#include "guest.h"

#define BAD  0x0000800000000000ul
#define BAD2 0xffff7ffffffffff8ul

int main(void)
{
    static const ulong bad[] = {BAD + 0x1000, BAD2, 0x8000000000000000ul, 0x7fffffffffffffffUL};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        TRY("mov (%0), %%al", : "r"(bad[i]) : "rax");
        check_fault(GP, 0, "read at 0x%lx", bad[i]);
        TRY("mov %%al, (%0)", : "r"(bad[i]));
        check_fault(GP, 0, "write at 0x%lx", bad[i]);
        asm volatile("push %%rbp\n\t" TRY_BEGIN "mov %0, %%rbp\n\t" HERE "mov (%%rbp), %%al" TRY_END
                     "pop %%rbp" ::"r"(bad[i])
                     : "rax", "memory");
        check_fault(SS, 0, "RBP-based read at 0x%lx", bad[i]);
        USER("jmp *%0", : "r"(bad[i]));
        check_exception(GP, 0, "JMP to 0x%lx", bad[i]);
        USER("call *%0", : "r"(bad[i]) : "memory");
        check_exception(GP, 0, "CALL of 0x%lx", bad[i]);
        USER("push %0\n\t" HERE "ret", : "r"(bad[i]) : "memory");
        check_exception(GP, 0, "RET to 0x%lx", bad[i]);
        USER("mov %0, %%rsp\n\t" HERE "push %%rax", : "r"(bad[i]) : "memory");
        check_fault(SS, 0, "PUSH with RSP 0x%lx", bad[i]);
    }
    USER("mov %0, %%rsp\n\t" HERE "pop %%rax", : "r"(BAD) : "rax");
    check_fault(SS, 0, "POP");
    USER("mov %0, %%rsp\n\t" HERE "call 1f\n1:", : "r"(BAD2) : "memory");
    check_fault(SS, 0, "CALL");
    USER("mov %0, %%rsp\n\t" HERE "ret", : "r"(BAD) : "memory");
    check_fault(SS, 0, "RET");
    USER("mov %0, %%rsp\n\t" HERE "mov (%%rsp), %%al", : "r"(BAD) : "rax");
    check_fault(SS, 0, "RSP-based read");
    TRY("mov (%0, %1), %%al", : "r"(0ul), "r"(BAD) : "rax");
    check_fault(GP, 0, "read with a non-canonical index");
    TRY("mov %%ss:(%0), %%al", : "r"(BAD) : "rax");
    check(trap.vector == GP || trap.vector == SS, "SS override is ignored or decides the vector");
    /* the highest byte of a canonical half: an access across the boundary */
    TRY("mov (%0), %%eax", : "r"(0x00007fffffffffffUL) : "rax");
    check(trap.vector == GP || (trap.vector == PF), "read across the canonical boundary faults");
    TRY("lea (%0), %%rax", : "r"(BAD) : "rax");
    check_no_fault("LEA does not look");
    TRY("invlpg (%0)", : "r"(BAD));
    check_no_fault("INVLPG does not look");
    TRY("prefetchnta (%0)", : "r"(BAD));
    check_no_fault("PREFETCH does not look");
    TRY("nopl (%0)", : "r"(BAD));
    check_no_fault("NOP r/m does not look");
    TRY("clflush (%0)", : "r"(BAD));
    check_fault(GP, 0, "CLFLUSH");
    TRY("fxsave (%0)", : "r"(BAD) : "memory");
    check_fault(GP, 0, "FXSAVE");
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) p = {0xfff, BAD};
    if (!tcg_cannot("LGDT and LIDT of a non-canonical base", "are not checked")) {
        TRY("lgdt %0", : "m"(p));
        check_fault(GP, 0, "LGDT with a non-canonical base");
        TRY("lidt %0", : "m"(p));
        check_fault(GP, 0, "LIDT with a non-canonical base");
    }
    if (!tcg_cannot("LTR and LLDT of a non-canonical base", "are not checked")) {
        gdt_set(SEL_FREE, BAD, 0x67, 0x89, 0);
        TRY("ltr %w0", : "r"(SEL_FREE));
        check_fault(GP, SEL_FREE, "LTR with a non-canonical base");
        gdt_set(SEL_FREE, BAD, 0x67, 0x82, 0);
        TRY("lldt %w0", : "r"(SEL_FREE));
        check_fault(GP, SEL_FREE, "LLDT with a non-canonical base");
    }
    TRY("rep movsb", : "S"(BAD), "D"(0x1000), "c"(0ul));
    check_no_fault("REP MOVSB with RCX = 0");
    TRY("movsb", : "S"(BAD), "D"(0x1000));
    check_fault(GP, 0, "MOVSB from a non-canonical address");
    TRY("pushq %0\n\tpushq trap_sp\n\tpushq $2\n\tpushq %1\n\tpushq %2\n\t" HERE "iretq",
        : "i"(SEL_UDATA), "i"(SEL_UCODE64), "r"(BAD)
        : "memory");
    check_exception(GP, 0, "IRET to a non-canonical RIP");
    return 0;
}
