/* Privileged instructions in ring 3, IOPL, the TSS's I/O bitmap, CR4.TSD, CR4.PCE and CR4.UMIP. */
#include "guest.h"

#define USER_FAULTS(name, insn, ops...)                                                                      \
    USER(insn, ops);                                                                                         \
    check_fault(GP, 0, name " in ring 3")
#define USER_RUNS(name, insn, ops...)                                                                        \
    USER(insn, ops);                                                                                         \
    check_no_fault(name " in ring 3")

static u32 scratch[4];

static void check_privileged(void)
{
    USER_FAULTS("HLT", "hlt", );
    USER_FAULTS("LGDT", "lgdt %0", : "m"(gdt_ptr));
    USER_FAULTS("LIDT", "lidt %0", : "m"(idt_ptr));
    USER_FAULTS("LLDT", "lldt %w0", : "r"(0));
    USER_FAULTS("LTR", "ltr %w0", : "r"(0));
    USER_FAULTS("LMSW", "lmsw %w0", : "r"(1));
    USER_FAULTS("CLTS", "clts", );
    USER_FAULTS("INVD", "invd", );
    USER_FAULTS("WBINVD", "wbinvd", );
    USER_FAULTS("INVLPG", "invlpg (%0)", : "r"(0));
    USER_FAULTS("RDMSR", "rdmsr", : "c"(0x10) : "eax", "edx");
    USER_FAULTS("WRMSR", "wrmsr", : "c"(0x10), "a"(0), "d"(0));
    USER_FAULTS("MOV from CR0", "mov %%cr0, %0", "=r"(scratch[0]));
    USER_FAULTS("MOV to CR0", "mov %0, %%cr0", : "r"(0));
    USER_FAULTS("MOV from CR2", "mov %%cr2, %0", "=r"(scratch[0]));
    USER_FAULTS("MOV from CR3", "mov %%cr3, %0", "=r"(scratch[0]));
    USER_FAULTS("MOV to CR3", "mov %0, %%cr3", : "r"(0));
    USER_FAULTS("MOV from CR4", "mov %%cr4, %0", "=r"(scratch[0]));
    USER_FAULTS("MOV from DR0", "mov %%dr0, %0", "=r"(scratch[0]));
    USER_FAULTS("MOV to DR7", "mov %0, %%dr7", : "r"(0));
    USER_FAULTS("CLI", "cli", );
    USER_FAULTS("STI", "sti", );
    USER_FAULTS("IN AL, imm8", "in $0x61, %%al", ::"eax");
    USER_FAULTS("OUT DX, EAX", "out %%eax, %%dx", : "d"(0x80));
    USER_FAULTS("INSB", "insb", : "d"(0x61), "D"(scratch) : "memory");
    USER_FAULTS("OUTSD", "outsl", : "d"(0x80), "S"(scratch));
    /* privilege comes before the operand's memory faults, but after #UD */
    USER_FAULTS("LGDT of unreadable memory", "lgdt (%0)", : "r"(0xfffffffc));
    USER("lock; hlt", );
    check_fault(UD, 0, "LOCK HLT in ring 3: #UD before #GP");
}

static void check_iopl(void)
{
    for (ulong iopl = 0; iopl < 4; iopl++) {
        user_flags = 2 | iopl << 12;
        int want = iopl == 3 ? -1 : GP;
        USER("cli", );
        check(want == GP ? trap.vector == GP && trap.ip == trap_insn : trap.vector == VEC_DONE,
              "CLI with IOPL %lu", iopl);
        USER("in $0x61, %%al", ::"eax");
        check(want == GP ? trap.vector == GP && trap.ip == trap_insn : trap.vector == VEC_DONE,
              "IN with IOPL %lu", iopl);
        /* POPF silently leaves IF below IOPL and IOPL always */
        u32 after = 0;
        USER("pushl %1\n\tpopf\n\tpushf\n\tpopl %0", "=&r"(after) : "i"(2 | FL_IF | FL_NT | FL_AC));
        check_eq(after & (FL_IF | FL_IOPL), (iopl == 3 ? FL_IF : 0) | iopl << 12,
                 "POPF with IOPL %lu: IF and IOPL", iopl);
        check_eq(after & (FL_NT | FL_AC), FL_NT | FL_AC, "POPF with IOPL %lu: NT and AC", iopl);
    }
    user_flags = 2;
}

static void check_io_bitmap(void)
{
    memset(tss.bitmap, 0xff, sizeof(tss.bitmap));
    tss.bitmap[0x80 / 8] = 0xfe; /* only port 0x80 */
    USER("out %%al, $0x80", );
    check_no_fault("OUT to a permitted port");
    USER("out %%ax, $0x80", );
    check_fault(GP, 0, "OUT of a word whose second port is not permitted");
    USER("out %%al, $0x81", );
    check_fault(GP, 0, "OUT to the next port");
    tss.bitmap[0x80 / 8] = 0x7f; /* port 0x87 */
    tss.bitmap[0x88 / 8] = 0xf8; /* 0x88 to 0x8a */
    USER("out %%eax, %%dx", : "d"(0x87));
    check_no_fault("OUT of a dword over a byte boundary of the bitmap");
    tss.bitmap[0x88 / 8] = 0xfc;
    USER("out %%eax, %%dx", : "d"(0x87));
    check_fault(GP, 0, "OUT of a dword, last port not permitted");
    USER("outsb", : "d"(0x87), "S"(scratch));
    check_no_fault("OUTSB to a permitted port");
    /* the limit: two bytes are always read */
    u32 at = offsetof(struct tss, bitmap);
    tss.bitmap[0x80 / 8] = 0;
    gdt_set(SEL_TSS2, (ulong)&tss, at + 0x80 / 8 + 1, 0x89, 0);
    asm volatile("ltr %w0" ::"r"(SEL_TSS2));
    USER("out %%al, $0x80", );
    check_no_fault("OUT with both bitmap bytes within the TSS limit");
    gdt_set(SEL_TSS2, (ulong)&tss, at + 0x80 / 8, 0x89, 0);
    asm volatile("ltr %w0" ::"r"(SEL_TSS2));
    USER("out %%al, $0x80", );
    check_fault(GP, 0, "OUT with the second bitmap byte beyond the TSS limit");
    gdt_set(SEL_TSS2, (ulong)&tss, 0x67, 0x89, 0);
    asm volatile("ltr %w0" ::"r"(SEL_TSS2));
    USER("out %%al, $0x80", );
    check_fault(GP, 0, "OUT without a bitmap");
    gdt_set(SEL_TSS, (ulong)&tss, sizeof(tss) - 1, 0x89, 0);
    asm volatile("ltr %w0" ::"r"(SEL_TSS));
}

static void check_cr4(void)
{
    USER_RUNS("RDTSC without CR4.TSD", "rdtsc", ::"eax", "edx");
    cr4_write(CR4_TSD);
    USER_FAULTS("RDTSC with CR4.TSD", "rdtsc", ::"eax", "edx");
    if (cpuid(0x80000001, 0).d & 1u << 27) {
        USER_FAULTS("RDTSCP with CR4.TSD", "rdtscp", ::"eax", "ecx", "edx");
    } else {
        skip("RDTSCP with CR4.TSD", "no RDTSCP");
    }
    TRY("rdtsc", ::"eax", "edx");
    check_no_fault("RDTSC with CR4.TSD in ring 0");
    cr4_write(0);
    USER_FAULTS("RDPMC without CR4.PCE", "rdpmc", : "c"(0) : "eax", "edx");

    struct table_ptr p;
    USER_RUNS("SGDT without CR4.UMIP", "sgdt %0", "=m"(p));
    USER_RUNS("SIDT without CR4.UMIP", "sidt %0", "=m"(p));
    check(p.base == idt_ptr.base && p.limit == idt_ptr.limit, "SIDT stores what LIDT loaded");
    USER_RUNS("SLDT without CR4.UMIP", "sldt %0", "=m"(scratch[0]));
    USER_RUNS("STR without CR4.UMIP", "str %0", "=m"(scratch[0]));
    check_eq(scratch[0] & 0xffff, SEL_TSS, "STR m16");
    USER_RUNS("SMSW without CR4.UMIP", "smsw %0", "=m"(scratch[0]));
    check_eq(scratch[0] & 0xffff, cr0_read() & 0xffff, "SMSW m16");
    ulong wide;
    asm volatile("smsw %0" : "=r"(wide));
    check_eq(wide, cr0_read(), "SMSW r32 stores all of CR0");
    if (!(cpuid(7, 0).c & 4)) {
        skip("UMIP", "not in CPUID");
        return;
    }
    cr4_write(CR4_UMIP);
    USER_FAULTS("SGDT with CR4.UMIP", "sgdt %0", "=m"(p));
    USER_FAULTS("SIDT with CR4.UMIP", "sidt %0", "=m"(p));
    USER_FAULTS("SLDT with CR4.UMIP", "sldt %0", "=m"(scratch[0]));
    USER_FAULTS("STR with CR4.UMIP", "str %0", "=m"(scratch[0]));
    USER_FAULTS("SMSW with CR4.UMIP", "smsw %0", "=m"(scratch[0]));
    TRY("sgdt %0", "=m"(p));
    check_no_fault("SGDT with CR4.UMIP in ring 0");
    cr4_write(0);
}

int main(void)
{
    check_privileged();
    check_iopl();
    check_io_bitmap();
    check_cr4();
    return 0;
}
