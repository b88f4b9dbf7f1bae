/*
 * Segment limits: expand-up and expand-down, byte and page granular, 16- and 32-bit upper bounds,
 * every access size (APM 2, 4.8).
 */
/* ## tcg: skip TCG checks no segment limits in protected mode */
#include "guest.h"

static u8 buffer[3 * 4096] PAGE_ALIGNED;

/* Reads and writes `size` bytes at FS:offset; returns what happened to the read, and checks that the write
 * agrees. */
static void access_fs(u32 offset, int size, int want, const char *name)
{
    ulong read_vector;

    asm volatile("mov %0, %%fs" ::"r"(SEL_FREE)); /* a trap leaves the flat one */
    switch (size) {
    case 1:
        TRY("movb %%fs:(%0), %%al", : "r"(offset) : "eax");
        read_vector = trap.vector;
        asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
        TRY("movb %%al, %%fs:(%0)", : "r"(offset) : "memory");
        break;
    case 2:
        TRY("movw %%fs:(%0), %%ax", : "r"(offset) : "eax");
        read_vector = trap.vector;
        asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
        TRY("movw %%ax, %%fs:(%0)", : "r"(offset) : "memory");
        break;
    case 4:
        TRY("movl %%fs:(%0), %%eax", : "r"(offset) : "eax");
        read_vector = trap.vector;
        asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
        TRY("movl %%eax, %%fs:(%0)", : "r"(offset) : "memory");
        break;
    case 8:
        TRY("movq %%fs:(%0), %%mm0", : "r"(offset));
        read_vector = trap.vector;
        asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
        TRY("movq %%mm0, %%fs:(%0)", : "r"(offset) : "memory");
        break;
    case 10:
        TRY("fldt %%fs:(%0)\n\tfstp %%st", : "r"(offset));
        read_vector = trap.vector;
        asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
        TRY("fldz\n\t" HERE "fstpt %%fs:(%0)", : "r"(offset) : "memory");
        asm volatile("fninit");
        break;
    default:
        TRY("movups %%fs:(%0), %%xmm0", : "r"(offset));
        read_vector = trap.vector;
        asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
        TRY("movups %%xmm0, %%fs:(%0)", : "r"(offset) : "memory");
        break;
    }
    check_fault(want, 0, "%s: write of %d at 0x%x", name, size, offset);
    check_eq(read_vector, (ulong)want, "%s: read of %d at 0x%x", name, size, offset);
}

static void fs_set(ulong base, u32 limit, u8 access, u8 flags)
{
    gdt_set(SEL_FREE, base, limit, access, flags);
    asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
}

int main(void)
{
    static const int sizes[] = {1, 2, 4, 8, 10, 16};
    ulong base = (ulong)buffer;

    cr4_write(CR4_OSFXSR);
    asm volatile("fninit");
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        int n = sizes[i];
        fs_set(base, 0x7f, 0x93, FLAG_D);
        access_fs(0x80 - (u32)n, n, -1, "limit 0x7f");
        access_fs(0x80 - (u32)n + 1, n, GP, "limit 0x7f");
        access_fs(0x80, n, GP, "limit 0x7f");
        access_fs(0xfffffffe, n, GP, "limit 0x7f");
        fs_set(base, 1, 0x93, FLAG_D | FLAG_G);
        access_fs(0x2000 - (u32)n, n, -1, "limit 1 page-granular");
        access_fs(0x2000 - (u32)n + 1, n, GP, "limit 1 page-granular");
        fs_set(base, 0x7f, 0x97, FLAG_D); /* expand-down: 0x80 to 0xffffffff */
        access_fs(0x80, n, -1, "expand-down 0x7f");
        access_fs(0x7f, n, GP, "expand-down 0x7f");
        access_fs(0, n, GP, "expand-down 0x7f");
        fs_set(base, 0x7f, 0x97, 0); /* B=0: 0x80 to 0xffff */
        access_fs(0x80, n, -1, "expand-down 0x7f, 16 bits");
        access_fs(0x10000, n, GP, "expand-down 0x7f, 16 bits");
        access_fs(0x10000 - (u32)n, n, -1, "expand-down 0x7f, 16 bits");
        if (n > 1)
            access_fs(0xffff, n, GP, "expand-down 0x7f, 16 bits");
        fs_set(base, 0, 0x97, FLAG_D | FLAG_G); /* 0x1000 and up */
        access_fs(0x1000, n, -1, "expand-down 0 page-granular");
        access_fs(0xfff, n, GP, "expand-down 0 page-granular");
    }
    fs_set(base, 0xfffff, 0x93, FLAG_D | FLAG_G);
    access_fs(0xffffffff - (u32)base, 1, -1, "4 GiB segment: wraps at 4 GiB, limit not exceeded");

    /* types */
    fs_set(base, 0xfff, 0x91, FLAG_D);
    TRY("mov %%fs:0, %%eax", ::"eax");
    check_fault(-1, 0, "read of a read-only segment");
    TRY("mov %%eax, %%fs:0", ::"memory");
    check_fault(GP, 0, "write to a read-only segment");
    asm volatile("mov %0, %%fs" ::"r"(SEL_FREE));
    TRY("addl $0, %%fs:0", ::"memory");
    check_fault(GP, 0, "read-modify-write of a read-only segment");
    fs_set(base, 0xfff, 0x9b, FLAG_D);
    TRY("mov %%fs:0, %%eax", ::"eax");
    check_fault(-1, 0, "read of a readable code segment");
    TRY("mov %%eax, %%fs:0", ::"memory");
    check_fault(GP, 0, "write to a readable code segment");
    TRY("mov %%eax, %%cs:%0", "+m"(buffer[0]));
    check_fault(GP, 0, "write through CS");
    gdt_set(SEL_FREE + 8, 0, 0xfffff, 0x99, FLAG_D | FLAG_G);
    TRY("ljmp %1, $1f\n1:\t" HERE "mov %%cs:%0, %%eax", : "m"(buffer[0]), "i"(SEL_FREE + 8) : "eax");
    check_fault(GP, 0, "read through an execute-only CS");

    /* the stack segment: #SS; from ring 3, as ring 0's own stack has to stay usable */
    gdt_set(SEL_FREE, 0, 0xffff, 0xf3, FLAG_D);
    USER("mov %0, %%ss\n\t" HERE "push %%eax", : "r"(SEL_FREE | 3) : "memory");
    check_fault(SS, 0, "PUSH beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "pop %%eax", : "r"(SEL_FREE | 3) : "memory");
    check_fault(SS, 0, "POP beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "mov (%%ebp), %%eax", : "r"(SEL_FREE | 3) : "eax");
    check_fault(SS, 0, "EBP-relative read beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "mov %%ss:(%1), %%eax", : "r"(SEL_FREE | 3), "r"(0x10000) : "eax");
    check_fault(SS, 0, "SS override beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "mov %%ds:(%%ebp), %%eax", : "r"(SEL_FREE | 3) : "eax");
    check(trap.vector == VEC_DONE, "DS override of an EBP-relative read does not use SS");
    USER("mov %0, %%ss\n\t" HERE "call 1f\n1:", : "r"(SEL_FREE | 3) : "memory");
    check_fault(SS, 0, "CALL beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "ret", : "r"(SEL_FREE | 3) : "memory");
    check_fault(SS, 0, "RET beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "enter $8, $0", : "r"(SEL_FREE | 3) : "memory");
    check_fault(SS, 0, "ENTER beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "leave", : "r"(SEL_FREE | 3) : "memory");
    check_fault(SS, 0, "LEAVE beyond the stack's limit");
    USER("mov %0, %%ss\n\t" HERE "pusha", : "r"(SEL_FREE | 3) : "memory");
    check_fault(SS, 0, "PUSHA beyond the stack's limit");

    /* the code segment: targets beyond the limit fault at the branch, running off the end at the instruction
     * fetch */
    u8 *code = buffer;
    code[0xfe] = 0x90;
    code[0xff] = 0x90;
    gdt_set(SEL_FREE, base, 0xff, 0x9b, FLAG_D);
    memset(code, 0x90, 0x100);
    code[0] = 0xe9; /* jmp 0x100 */
    *(u32 *)(code + 1) = 0x100 - 5;
    struct {
        u32 offset;
        u16 sel;
    } __attribute__((packed)) far = {0, SEL_FREE};
    TRY("ljmp *%0", : "m"(far));
    check_exception(GP, 0, "JMP rel32 to beyond the code limit");
    check_eq(trap.ip, 0, "JMP to beyond the limit: EIP is the jump's own");
    far.offset = 0xfe;
    TRY("ljmp *%0", : "m"(far));
    check_exception(GP, 0, "running off the end of the code segment");
    check_eq(trap.ip, 0x100, "running off the end: EIP is beyond the limit");
    code[0xff] = 0xb8; /* mov eax, imm32: crosses the limit */
    TRY("ljmp *%0", : "m"(far));
    check_exception(GP, 0, "an instruction that crosses the code limit");
    check_eq(trap.ip, 0xff, "an instruction that crosses the code limit: EIP");
    far.offset = 0x100;
    TRY("ljmp *%0", : "m"(far));
    check_fault(GP, 0, "far JMP to beyond the limit faults before the jump");
    return 0;
}
