/* #MF, #XM and #AC: when they come, and when not; CR0.NE and the external way (FERR, IRQ 13), CR4.OSXMMEXCPT,
 * EFLAGS.AC, CR0.AM. */
#include "apic.h"

static volatile u32 ferr;
static void on_ferr(struct regs *r)
{
    ferr++;
    outb(0xf0, 0); /* releases IGNNE# */
    asm volatile("fnclex");
    pic_eoi(13);
}

static void check_mf(void)
{
    static u16 cw;
    static const float one = 1, zero = 0;

    asm volatile("fninit");
    asm volatile("fnstcw %0" : "=m"(cw));
    check_eq(cw, 0x37f, "FNINIT: control word");
    TRY("flds %0\n\tfdivs %1\n\tfwait\n\tfstp %%st", : "m"(one), "m"(zero));
    check_no_fault("masked division by zero");
    asm volatile("fninit");
    cw = 0x37b; /* zero-divide unmasked */
    asm volatile("fldcw %0" ::"m"(cw));
    TRY("flds %0\n\tfdivs %1", : "m"(one), "m"(zero));
    check_no_fault("unmasked division by zero: not yet");
    u16 sw;
    asm volatile("fnstsw %0" : "=m"(sw));
    check_eq(sw & 0x80ff, 0x8084, "FNSTSW: ZE, ES and B");
    TRY("fwait", );
    check_fault(MF, 0, "WAIT with a pending exception");
    TRY("fld1", );
    check_fault(MF, 0, "the next x87 instruction");
    TRY("fnop", );
    check_fault(MF, 0, "FNOP");
    TRY("fnstsw %0", "=m"(sw));
    check_no_fault("FNSTSW does not look");
    TRY("movd %%eax, %%mm0", );
    check_fault(MF, 0, "MMX with a pending x87 exception");
    TRY("fnclex", );
    check_no_fault("FNCLEX does not look");
    TRY("fwait", );
    check_no_fault("and clears it");
    /* raising it by loading a control word that unmasks a flag that is already set */
    asm volatile("fninit\n\tflds %0\n\tfdivs %1" ::"m"(one), "m"(zero));
    TRY("fldcw %0\n\t" HERE "fwait", : "m"(cw));
    check_fault(MF, 0, "FLDCW that unmasks what is pending");
    asm volatile("fnclex\n\tfninit");
    /* stack fault: IE, SF, C1 */
    asm volatile("fninit\n\tfstp %%st\n\tfnstsw %0" : "=m"(sw));
    check_eq(sw & 0x241, 0x041, "stack underflow: IE, SF, C1 clear");
    asm volatile("fninit\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfld1\n\tfnstsw "
                 "%0\n\tfninit"
                 : "=m"(sw));
    check_eq(sw & 0x241, 0x241, "stack overflow: IE, SF, C1 set");

    /* CR0.NE clear: FERR# raises IRQ 13 */
    if (tcg_cannot("CR0.NE clear: IRQ 13", "QEMU aborts"))
        return;
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LVT_LINT0, 0x700);
    pic_init(0xfb, 0xdf);
    trap_handle(0x2d, on_ferr);
    cr0_write(cr0_read() & ~(ulong)CR0_NE);
    irq_on();
    asm volatile("fldcw %0\n\tflds %1\n\tfdivs %2\n\tfwait\n\tfnop" ::"m"(cw), "m"(one), "m"(zero));
    wait_for(&ferr, 1, 100000);
    irq_off();
    cr0_write(cr0_read() | CR0_NE);
    check_eq(ferr, 1, "CR0.NE clear: IRQ 13");
    asm volatile("fnclex\n\tfninit");
    outb(0xa1, 0xff);
}

static void check_xm(void)
{
    static const float one = 1, zero = 0;
    static u32 csr = 0x1f80;

    cr4_write(CR4_OSFXSR | CR4_OSXMMEXCPT);
    asm volatile("ldmxcsr %0" ::"m"(csr));
    TRY("movss %0, %%xmm0\n\tdivss %1, %%xmm0", : "m"(one), "m"(zero));
    check_no_fault("masked SSE division by zero");
    asm volatile("stmxcsr %0" : "=m"(csr));
    check_eq(csr, 0x1f84, "MXCSR.ZE is set");
    csr = 0x1d80;
    asm volatile("ldmxcsr %0" ::"m"(csr));
    TRY("movss %0, %%xmm0\n\t" HERE "divss %1, %%xmm0", : "m"(one), "m"(zero));
    check_fault(XM, 0, "unmasked SSE division by zero");
    cr4_write(CR4_OSFXSR);
    TRY("movss %0, %%xmm0\n\t" HERE "divss %1, %%xmm0", : "m"(one), "m"(zero));
    check_fault(UD, 0, "the same without CR4.OSXMMEXCPT");
    cr4_write(CR4_OSFXSR | CR4_OSXMMEXCPT);
    csr = 0x1d84;
    TRY("ldmxcsr %0\n\tmovss %1, %%xmm0", : "m"(csr), "m"(one));
    check_no_fault("LDMXCSR that unmasks a set flag raises nothing");
    static const u32 bad[] = {0x10000, 0x80000000};
    for (int i = 0; i < 2; i++) {
        TRY("ldmxcsr %0", : "m"(bad[i]));
        check_fault(GP, 0, "LDMXCSR with reserved bits 0x%x", bad[i]);
    }
    csr = 0x1f80;
    asm volatile("ldmxcsr %0" ::"m"(csr));
    /* alignment of SSE operands */
    static u8 area[64] __attribute__((aligned(16)));
    TRY("movaps 1+%0, %%xmm0", : "m"(area));
    check_fault(GP, 0, "MOVAPS from an unaligned address");
    TRY("movaps %%xmm0, 8+%0", "=m"(area));
    check_fault(GP, 0, "MOVAPS to an unaligned address");
    TRY("addps 4+%0, %%xmm0", : "m"(area));
    check_fault(GP, 0, "ADDPS with an unaligned operand");
    TRY("movups 1+%0, %%xmm0", : "m"(area));
    check_no_fault("MOVUPS from an unaligned address");
    TRY("addss 1+%0, %%xmm0", : "m"(area));
    check_no_fault("ADDSS with an unaligned operand");
}

static void check_ac(void)
{
    static u8 area[64] __attribute__((aligned(16)));
    ulong p = (ulong)area;

    cr0_write(cr0_read() | CR0_AM);
    user_flags = 2 | FL_AC;
    USER("movl 1(%0), %%eax", : "r"(p) : "eax");
    check_fault(AC, 0, "dword at 1");
    USER("movl 2(%0), %%eax", : "r"(p) : "eax");
    check_fault(AC, 0, "dword at 2");
    USER("movl 4(%0), %%eax", : "r"(p) : "eax");
    check_no_fault("dword at 4");
    USER("movw 1(%0), %%ax", : "r"(p) : "eax");
    check_fault(AC, 0, "word at 1");
    USER("movw 2(%0), %%ax", : "r"(p) : "eax");
    check_no_fault("word at 2");
    USER("movb 3(%0), %%al", : "r"(p) : "eax");
    check_no_fault("byte at 3");
    USER("movl %%eax, 3(%0)", : "r"(p) : "memory");
    check_fault(AC, 0, "dword write at 3");
    USER("fninit\n\t" HERE "fldl 4(%0)", : "r"(p));
    check_fault(AC, 0, "m64 at 4");
    USER("movups 1(%0), %%xmm0", : "r"(p));
    check(trap.vector == VEC_DONE || trap.vector == AC, "MOVUPS may check or not");
    USER("movaps 1(%0), %%xmm0", : "r"(p));
    check_fault(GP, 0, "MOVAPS is #GP all the same");
    USER("lea 1(%0), %%eax\n\tmov %%ss, %%edx", : "r"(p) : "eax", "edx");
    check_no_fault("LEA accesses nothing");
    USER("push %%eax\n\tinc %%esp\n\t" HERE "push %%eax", ::"memory");
    check_fault(AC, 0, "PUSH on a misaligned stack");
    user_flags = 2;
    USER("movl 1(%0), %%eax", : "r"(p) : "eax");
    check_no_fault("without EFLAGS.AC");
    user_flags = 2 | FL_AC;
    cr0_write(cr0_read() & ~(ulong)CR0_AM);
    USER("movl 1(%0), %%eax", : "r"(p) : "eax");
    check_no_fault("without CR0.AM");
    cr0_write(cr0_read() | CR0_AM);
    TRY("pushl %1\n\tpopf\n\tmovl 1(%0), %%eax\n\tpushl $2\n\tpopf", : "r"(p), "i"(2 | FL_AC) : "eax");
    check_no_fault("not in ring 0");
    user_flags = 2;
}

int main(void)
{
    check_mf();
    check_xm();
    check_ac();
    return 0;
}
