/* Virtual-8086 mode: segments, IOPL-sensitive instructions, interrupts out of it, privileged ones, I/O
 * bitmap, VME's VIF and interrupt redirection. */
#include "guest.h"

#define CODE 0x7000 /* linear; CS = 0x700 */
static ulong v86_iopl;

/* Runs machine code in v86 mode at 0700:0000, SS:SP = 0000:6ff0, DS = ES = 0x600; it ends in INT 0x80. */
static void v86_run(const void *code, size_t size, ulong extra_flags)
{
    static const u8 end[] = {0xcd, 0x80};
    memcpy((void *)CODE, code, size);
    memcpy((void *)(CODE + size), end, sizeof(end));
    ulong flags = 2 | FL_VM | extra_flags | v86_iopl << 12;
    TRY("pushl $0x64\n\tpushl $0x65\n\tpushl $0x600\n\tpushl $0x66\n\tpushl $0\n\tpushl $0x6ff0\n\tpushl "
        "%0\n\tpushl $0x700\n\tpushl $0\n\t"
        "movl $0, trap_insn\n\tiret",
        "+a"(flags)::"memory", "ebx", "ecx", "edx", "esi", "edi");
}
#define V86(flags, ...)                                                                                      \
    ({                                                                                                       \
        static const u8 code_[] = {__VA_ARGS__};                                                             \
        v86_run(code_, sizeof(code_), flags);                                                                \
    })

static struct regs last;
static bool last_was_v86;
static void keep_frame(struct regs *r)
{
    last = *r;
    last_was_v86 = (r->flags & FL_VM) != 0;
    r->ip += 2;
}

int main(void)
{
    /* INT n from v86 goes to the IDT only with IOPL 3, else #GP(0) */
    v86_iopl = 3;
    V86(0, 0x90);
    check_eq(trap.vector, 0x80, "INT n with IOPL 3 leaves v86 mode through the IDT");
    check_eq(trap.cs, 0x700, "INT n from v86 mode: CS");
    check_eq(trap.ip, 3, "INT n from v86 mode: IP");
    check_eq(trap.flags & FL_VM, FL_VM, "the saved EFLAGS have VM");
    check_eq(trap.sp, 0x6ff0, "INT n from v86 mode: SP");
    v86_iopl = 0;
    V86(0, 0x90);
    check_exception(GP, 0, "INT n with IOPL 0");

    /* IOPL-sensitive: CLI STI PUSHF POPF IRET INT n; not INT3, INTO */
    static const struct {
        u8 code[2];
        const char *name;
    } sensitive[] = {{{0xfa, 0x90}, "CLI"},
                     {{0xfb, 0x90}, "STI"},
                     {{0x9c, 0x90}, "PUSHF"},
                     {{0x9d, 0x90}, "POPF"},
                     {{0xcf, 0x90}, "IRET"}};
    for (unsigned i = 0; i < ARRAY_SIZE(sensitive); i++) {
        v86_iopl = 0;
        v86_run(sensitive[i].code, 2, 0);
        check_exception(GP, 0, "%s in v86 mode with IOPL 0", sensitive[i].name);
        check_eq(trap.ip, 0, "%s in v86 mode with IOPL 0: IP", sensitive[i].name);
    }
    v86_iopl = 3;
    V86(0, 0xfa, 0x9c, 0x58); /* cli; pushf; pop ax */
    check_eq(trap.vector, 0x80, "CLI and PUSHF with IOPL 3");
    v86_iopl = 0;
    V86(0, 0xcc);
    check_eq(trap.vector, BP, "INT3 is not IOPL-sensitive");

    /* privileged and protected-mode-only instructions */
    static const struct {
        u8 code[4];
        u8 size;
        int vector;
        const char *name;
    } refused[] = {
        {{0xf4}, 1, GP, "HLT"},
        {{0x0f, 0x20, 0xc0}, 3, GP, "MOV EAX, CR0"},
        {{0x0f, 0x22, 0xc0}, 3, GP, "MOV CR0, EAX"},
        {{0x0f, 0x06}, 2, GP, "CLTS"},
        {{0x0f, 0x32}, 2, GP, "RDMSR"},
        {{0x0f, 0x09}, 2, GP, "WBINVD"},
        {{0x0f, 0x01, 0xf0}, 3, GP, "LMSW"},
        {{0x0f, 0x01, 0x17}, 3, GP, "LGDT"},
        {{0x0f, 0x00, 0xc0}, 3, UD, "SLDT"},
        {{0x0f, 0x00, 0xc8}, 3, UD, "STR"},
        {{0x0f, 0x00, 0xd0}, 3, UD, "LLDT"},
        {{0x0f, 0x00, 0xe0}, 3, UD, "VERR"},
        {{0x0f, 0x02, 0xc0}, 3, UD, "LAR"},
        {{0x0f, 0x03, 0xc0}, 3, UD, "LSL"},
        {{0x63, 0xc0}, 2, UD, "ARPL"},
        {{0x0f, 0x0b}, 2, UD, "UD2"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        v86_run(refused[i].code, refused[i].size, 0);
        check_exception(refused[i].vector, 0, "%s in v86 mode", refused[i].name);
    }

    /* segments are selector * 16, limit 0xffff, as in real mode */
    *(volatile u16 *)0x6010 = 0xbeef;
    v86_iopl = 3;
    V86(0, 0xa1, 0x10, 0x00, 0xa3, 0x20, 0x00); /* mov ax, [0x10]; mov [0x20], ax */
    check_eq(*(volatile u16 *)0x6020, 0xbeef, "data through DS");
    V86(0, 0xb8, 0x23, 0x01, 0x8e, 0xc0, 0x8c, 0xc0, 0xa3, 0x22,
        0x00); /* mov ax, 0x123; mov es, ax; mov ax, es; mov [0x22], ax */
    check_eq(*(volatile u16 *)0x6022, 0x123, "a segment register takes any value");
    V86(0, 0xbb, 0xff, 0xff, 0x8b, 0x07); /* mov bx, 0xffff; mov ax, [bx] */
    check_exception(GP, 0, "a word at 0xffff");
    V86(0, 0xbb, 0xff, 0xff, 0x36, 0x8b, 0x07);
    check_exception(SS, 0, "a word at SS:0xffff");

    /* the frame of a trap from v86 holds the data segments; the handler sees null ones; IRET goes back */
    trap_handle(UD, keep_frame);
    V86(0, 0x0f, 0x0b);
    trap_handle(UD, NULL);
    V86(0, 0x90);
    check(last_was_v86, "#UD from v86 mode reached the handler");
    check_eq(last.v86_es, 0x66, "trap frame: ES");
    check_eq(last.v86_ds, 0x600, "trap frame: DS");
    check_eq(last.v86_fs, 0x65, "trap frame: FS");
    check_eq(last.v86_gs, 0x64, "trap frame: GS");
    check_eq(last.ss, 0, "trap frame: SS");
    check_eq(last.ds | last.es | last.fs | last.gs, 0, "the handler's data segments are null");

    /* I/O: the bitmap decides, whatever IOPL says */
    v86_iopl = 3;
    memset(tss.bitmap, 0xff, sizeof(tss.bitmap));
    V86(0, 0xe6, 0x80);
    check_exception(GP, 0, "OUT in v86 mode with IOPL 3, port not permitted");
    tss.bitmap[0x80 / 8] = 0xfe;
    v86_iopl = 3;
    V86(0, 0xe6, 0x80);
    check_eq(trap.vector, 0x80, "OUT in v86 mode, port permitted");

    /* IRET to v86 needs CPL 0; a gate's target for v86 must be ring 0 */
    gdt_set(SEL_FREE, 0, 0xfffff, 0xfb, FLAG_G | FLAG_D);
    idt_set(0x41, SEL_FREE, 0, 0xee, 0);
    V86(0, 0xcd, 0x41);
    check_exception(GP, SEL_FREE, "INT n from v86 mode to ring 3 code");
    gdt_set(SEL_FREE, 0, 0xfffff, 0x9f, FLAG_G | FLAG_D);
    V86(0, 0xcd, 0x41);
    check_exception(GP, SEL_FREE, "INT n from v86 mode to conforming code");

    if (!(cpuid(1, 0).d & 2)) {
        skip("VME", "not in CPUID");
        return 0;
    }
    cr4_write(CR4_VME);
    /* the redirection bitmap is the 32 bytes below the I/O bitmap: a set bit means "through the IDT" */
    tss.iomap = offsetof(struct tss, bitmap) + 32;
    memset(tss.bitmap, 0xff, sizeof(tss.bitmap));
    v86_iopl = 0;
    V86(0, 0xfb, 0x90); /* sti */
    check(trap.vector == GP, "VME: INT n with IOPL 0, not redirected");
    V86(FL_VIF, 0xfa);
    check(trap.vector == GP && !(trap.flags & FL_VIF), "VME: CLI clears VIF");
    V86(0, 0xfb);
    check(trap.vector == GP && (trap.flags & FL_VIF) && trap.ip == 1, "VME: STI sets VIF");
    V86(FL_VIP, 0xfb);
    check(trap.vector == GP && trap.ip == 0, "VME: STI with VIP is #GP");
    V86(FL_VIF, 0x9c, 0x58, 0xa3, 0x24, 0x00); /* pushf; pop ax; mov [0x24], ax */
    check_eq(*(volatile u16 *)0x6024 & 0x3200, 0x3200, "VME: PUSHF shows VIF as IF, and IOPL 3");
    V86(0, 0x68, 0x00, 0x02, 0x9d); /* push 0x200; popf */
    check(trap.flags & FL_VIF, "VME: POPF loads VIF from IF");
    /* a clear bit: through the IVT at 0 */
    tss.bitmap[0x42 / 8] = (u8) ~(1u << (0x42 % 8));
    *(volatile u16 *)(0x42 * 4) = 0x7100;
    *(volatile u16 *)(0x42 * 4 + 2) = 0;
    static const u8 handler[] = {0xc7, 0x06, 0x26, 0x00, 0x99, 0x00, 0xcf}; /* movw $0x99, [0x26]; iret */
    memcpy((void *)0x7100, handler, sizeof(handler));
    V86(FL_VIF, 0xcd, 0x42, 0x90);
    check_eq(*(volatile u16 *)0x6026, 0x99, "VME: INT n is redirected to the IVT");
    check(trap.ip == 3 && (trap.flags & FL_VIF), "VME: IRET of the redirected handler restores VIF");
    cr4_write(0);
    return 0;
}
