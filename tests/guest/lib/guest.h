/*
 * The little library of the guests: output, checks, exceptions, ports and MSRs.
 *
 * A check prints one line on COM1: "ok NAME", "not ok NAME: what" or "skip NAME: why". The guest ends by
 * writing 0 (all passed) or 2 to port 0xf4.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "asm.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef unsigned long ulong;

#ifdef __x86_64__
#define L      "q"
#define REG(x) "r" x
#else
#define L      "l"
#define REG(x) "e" x
#endif
#define STR_(x)       #x
#define STR(x)        STR_(x)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE_ALIGNED  __attribute__((aligned(4096)))

/* ---- output and checks (check.c) ---- */
void print(const char *format, ...) __attribute__((format(printf, 1, 2))); /* %s %d %u %x %lx %llx %c */
void print_hold(
    bool on); /* keeps output in memory while a test needs COM1 or must not be disturbed; off: prints it */
bool check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool check_eq(u64 got, u64 want, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* low <= got <= high */
bool check_range(u64 got, u64 low, u64 high, const char *format, ...) __attribute__((format(printf, 4, 5)));
void skip(const char *name, const char *reason);
/* True (and a "skip" line) under QEMU's TCG: for the few checks that it cannot even survive. */
bool tcg_cannot(const char *name, const char *reason);
void guest_exit(void) __attribute__((noreturn)); /* with the result of all checks so far */
void guest_die(const char *why) __attribute__((noreturn));

/* ---- exceptions (entry.S, trap.c) ---- */
struct trap { /* the last exception or interrupt that had no handler */
    ulong vector, error, ip, cs, flags, sp, ss, cr2, dr6, count;
};
extern volatile struct trap trap;
extern volatile ulong trap_insn, trap_resume, trap_sp, user_flags;

struct regs {
#ifdef __x86_64__
    ulong r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
#else
    ulong gs, fs, es, ds, di, si, bp, sp_unused, bx, dx, cx, ax;
#endif
    ulong vector, error, ip, cs, flags;
    ulong sp, ss;                         /* i386: only after a change of privilege */
    ulong v86_es, v86_ds, v86_fs, v86_gs; /* i386: only from v86 mode */
};

typedef void (*trap_handler)(struct regs *r);
void trap_handle(int vector, trap_handler fn); /* NULL: back to "resume or die" */

/*
 * TRY("insn", outputs : inputs : clobbers) runs the instruction(s) in ring 0, USER(...) in ring 3 on the same
 * stack; an exception ends them. Afterwards trap.vector is -1 (TRY: none), VEC_DONE (USER: none) or what
 * came. check_fault() expects the saved IP at the start of the code, or where the code says HERE;
 * check_trap() at the end of the code (TRY), check_exception() looks at vector and error code only.
 */
#define TRY_BEGIN                                                                                            \
    "mov" L " $-1, trap\n\tmov" L " $880f, trap_insn\n\tmov" L                                               \
    " $881f, trap_resume\n\tmov %%" REG("sp") ", trap_sp\n\t"
#define TRY_END           "\n881:\tmov" L " $0, trap_resume\n\t"
#define TRY(code, ops...) asm volatile(TRY_BEGIN "880:\t" code TRY_END : ops)
#ifdef __x86_64__
#define TO_RING(cs, ss)                                                                                      \
    "pushq $" STR(ss) "\n\tpushq trap_sp\n\tpushq user_flags\n\tpushq $" STR(cs) "\n\tpushq "                \
                                                                                 "$880f\n\tiretq\n"
#else
#define TO_RING(cs, ss)                                                                                      \
    "pushl $" STR(ss) "\n\tpopl %%ds\n\tpushl $" STR(ss) "\n\tpopl %%es\n\tpushl $" STR(                     \
        ss) "\n\tpushl trap_sp\n\tpushl user_flags\n\tpushl $" STR(cs) "\n\tpushl $880f\n\tiret\n"
#endif
#define USER(code, ops...)                                                                                   \
    asm volatile(TRY_BEGIN TO_RING(SEL_UCODE, SEL_UDATA) "880:\t" code "\n\tint $0x80" TRY_END : ops)
/* x86_64: the code is 32-bit code in compatibility mode, ring 3. */
#define USER32(code, ops...)                                                                                 \
    asm volatile(TRY_BEGIN "movw user_ds, %%ds\n\tmovw user_ds, %%es\n\t" TO_RING(                           \
                     SEL_UCODE32, SEL_UDATA) "\t.code32\n880:\t" code "\n\tint $0x80\n\t.code64" TRY_END     \
                 : ops)
#define HERE "mov" L " $882f, trap_insn\n882:\t"

#define HERE32 "movl $882f, trap_insn\n882:\t" /* in USER32 */

bool check_fault(int vector, ulong error, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool check_trap(int vector, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool check_exception(int vector, ulong error, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool check_no_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- descriptors ---- */
extern u64 gdt[128];
struct table_ptr {
    u16 limit;
    ulong base;
} __attribute__((packed));
extern struct table_ptr gdt_ptr, idt_ptr;

#ifdef __x86_64__
struct tss {
    u32 reserved0;
    u64 rsp0, rsp1, rsp2, reserved1, ist[7], reserved2;
    u16 reserved3, iomap;
    u8 bitmap[8192 + 1];
} __attribute__((packed));
extern u64 idt[512];
#else
struct tss {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    u32 es, cs, ss, ds, fs, gs, ldt;
    u16 trace, iomap;
    u8 bitmap[8192 + 1];
} __attribute__((packed));
extern u64 idt[256];
#endif
extern struct tss tss;

#define ACC_DATA 0x93 /* present, ring 0, writable, accessed */
#define ACC_CODE 0x9b /* present, ring 0, readable, accessed */
#define DPL(n)   ((n) << 5)
#define FLAG_G   0x8
#define FLAG_D   0x4
#define FLAG_L   0x2
void gdt_set(unsigned selector, ulong base, u32 limit, u8 access, u8 flags);
u64 descriptor(ulong base, u32 limit, u8 access, u8 flags);
/* type_dpl: the access byte, e.g. 0x8e interrupt gate, 0x8f trap gate, 0xee interrupt gate for ring 3, 0x85
 * task gate */
void idt_set(int vector, u16 selector, ulong offset, u8 access, u8 ist);
void idt_reset(int vector); /* back to the library's entry */
u64 gate32(u16 selector, u32 offset, u8 access, u8 params);

/* ---- instructions ---- */
static inline void outb(u16 port, u8 v)
{
    asm volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outw(u16 port, u16 v)
{
    asm volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outl(u16 port, u32 v)
{
    asm volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline u8 inb(u16 port)
{
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u16 inw(u16 port)
{
    u16 v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u32 inl(u16 port)
{
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return lo | (u64)hi << 32;
}
static inline void wrmsr(u32 msr, u64 v)
{
    asm volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
#define TRY_RDMSR(msr)                                                                                       \
    ({                                                                                                       \
        u32 lo_ = 0, hi_ = 0;                                                                                \
        TRY("rdmsr", "+a"(lo_), "+d"(hi_) : "c"(msr));                                                       \
        lo_ | (u64)hi_ << 32;                                                                                \
    })
#define TRY_WRMSR(msr, v) TRY("wrmsr", : "c"(msr), "a"((u32)(v)), "d"((u32)((u64)(v) >> 32)) : "memory")
static inline u64 rdtsc(void)
{
    u32 lo, hi;
    asm volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return lo | (u64)hi << 32;
}
struct cpuid {
    u32 a, b, c, d;
};
static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
    struct cpuid r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}
#define DEFINE_CR(n)                                                                                         \
    static inline ulong cr##n##_read(void)                                                                   \
    {                                                                                                        \
        ulong v;                                                                                             \
        asm volatile("mov %%cr" #n ", %0" : "=r"(v)::"memory");                                              \
        return v;                                                                                            \
    }                                                                                                        \
    static inline void cr##n##_write(ulong v)                                                                \
    {                                                                                                        \
        asm volatile("mov %0, %%cr" #n ::"r"(v) : "memory");                                                 \
    }
DEFINE_CR(0)
DEFINE_CR(2)
DEFINE_CR(3)
DEFINE_CR(4)
#define DEFINE_DR(n)                                                                                         \
    static inline ulong dr##n##_read(void)                                                                   \
    {                                                                                                        \
        ulong v;                                                                                             \
        asm volatile("mov %%dr" #n ", %0" : "=r"(v));                                                        \
        return v;                                                                                            \
    }                                                                                                        \
    static inline void dr##n##_write(ulong v)                                                                \
    {                                                                                                        \
        asm volatile("mov %0, %%dr" #n ::"r"(v) : "memory");                                                 \
    }
DEFINE_DR(0)
DEFINE_DR(1)
DEFINE_DR(2)
DEFINE_DR(3)
DEFINE_DR(6)
DEFINE_DR(7)
static inline ulong flags_read(void)
{
    ulong v;
    asm volatile("pushf\n\tpop %0" : "=r"(v)::"memory");
    return v;
}
static inline void flags_write(ulong v)
{
    asm volatile("push %0\n\tpopf" ::"r"(v) : "memory", "cc");
}
static inline void invlpg(const void *p)
{
    asm volatile("invlpg (%0)" ::"r"(p) : "memory");
}
static inline void irq_on(void)
{
    asm volatile("sti" ::: "memory");
}
static inline void irq_off(void)
{
    asm volatile("cli" ::: "memory");
}
static inline void cpu_pause(void)
{
    asm volatile("pause" ::: "memory");
}
static inline void irq_window(void)
{
    asm volatile("sti\n\tnop\n\tnop\n\tcli" ::: "memory");
}

#define MSR_APICBASE       0x1b
#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_CSTAR          0xc0000083
#define MSR_SFMASK         0xc0000084
#define MSR_FS_BASE        0xc0000100
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define EFER_SCE           1u
#define EFER_LME           0x100u
#define EFER_LMA           0x400u
#define EFER_NXE           0x800u
#define CR0_PE             0x1u
#define CR0_MP             0x2u
#define CR0_EM             0x4u
#define CR0_TS             0x8u
#define CR0_NE             0x20u
#define CR0_WP             0x10000u
#define CR0_AM             0x40000u
#define CR0_NW             0x20000000u
#define CR0_CD             0x40000000u
#define CR0_PG             0x80000000u
#define CR4_VME            0x1u
#define CR4_PVI            0x2u
#define CR4_TSD            0x4u
#define CR4_DE             0x8u
#define CR4_PSE            0x10u
#define CR4_PAE            0x20u
#define CR4_PGE            0x80u
#define CR4_PCE            0x100u
#define CR4_OSFXSR         0x200u
#define CR4_OSXMMEXCPT     0x400u
#define CR4_UMIP           0x800u
#define CR4_LA57           0x1000u
#define CR4_FSGSBASE       0x10000u
#define CR4_PCIDE          0x20000u
#define CR4_OSXSAVE        0x40000u
#define CR4_SMEP           0x100000u
#define CR4_SMAP           0x200000u
#define FL_CF              0x1u
#define FL_PF              0x4u
#define FL_ZF              0x40u
#define FL_SF              0x80u
#define FL_TF              0x100u
#define FL_IF              0x200u
#define FL_DF              0x400u
#define FL_OF              0x800u
#define FL_IOPL            0x3000u
#define FL_NT              0x4000u
#define FL_RF              0x10000u
#define FL_VM              0x20000u
#define FL_AC              0x40000u
#define FL_VIF             0x80000u
#define FL_VIP             0x100000u
#define FL_ID              0x200000u

#ifdef __x86_64__
extern u64 pml4[512], pdpt[512], pd[2048]; /* start.S: 4 GiB, 1:1, writable, for all rings */
#endif
int main(void);
void *memset(void *p, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* ---- time (time.c): the TSC, calibrated once against PIT channel 2 ---- */
u32 tsc_per_us(void);
void delay_us(u32 us);
u64 time_us(void);
/* Counts per 100 us of a counter that runs up, measured over `us` (at most a second). */
u32 counter_rate(u32 (*read)(void), u32 mask, u32 us);
/* Waits until the word is at least `want`; false after `us` microseconds. */
bool wait_for(const volatile u32 *word, u32 want, u32 us);

#endif
