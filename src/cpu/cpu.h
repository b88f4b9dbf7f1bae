/*
 * One virtual CPU: its architectural state, and the events that reach it from outside.
 *
 * Threads: everything here belongs to the vCPU's own thread, but for `events`, which anyone posts to.
 *
 * Invariants
 *  1. Between instructions the state is architectural: rip, rflags, gpr, seg are what the guest would see.
 *  2. Derived fields (marked so) are recomputed by cpu_mode_update after any change of what they derive from.
 *  3. A function that raises (cpu/exc.h) has not changed architectural state, except where the manual says so
 *     (A/D bits, CR2, a REP string's progress, a task switch past its commit point).
 *  4. Upper halves: in compatibility, protected and real mode gpr bits 63:32 are whatever the host operation
 * left zero-extended; rip is always masked to the code size.
 */
#ifndef RING3_CPU_CPU_H
#define RING3_CPU_CPU_H

#include <setjmp.h>
#include <stdatomic.h>
#include "base/types.h"
#include "cpu/decode/decode.h"
#include "cpu/vm.h"
#include "mem/irq.h"

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum sreg { ES, CS, SS, DS, FS, GS, SREG_COUNT };

enum rflag {
    FLAG_CF = BIT(0),
    FLAG_R1 = BIT(1),
    FLAG_PF = BIT(2),
    FLAG_AF = BIT(4),
    FLAG_ZF = BIT(6),
    FLAG_SF = BIT(7),
    FLAG_TF = BIT(8),
    FLAG_IF = BIT(9),
    FLAG_DF = BIT(10),
    FLAG_OF = BIT(11),
    FLAG_IOPL = 3 << 12,
    FLAG_NT = BIT(14),
    FLAG_RF = BIT(16),
    FLAG_VM = BIT(17),
    FLAG_AC = BIT(18),
    FLAG_VIF = BIT(19),
    FLAG_VIP = BIT(20),
    FLAG_ID = BIT(21),
    FLAGS_ARITH = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF,
    FLAGS_ALL = 0x3f7fd7, /* every bit that exists, with the fixed bit 1 */
};

enum cr0_bit {
    CR0_PE = BIT(0),
    CR0_MP = BIT(1),
    CR0_EM = BIT(2),
    CR0_TS = BIT(3),
    CR0_ET = BIT(4),
    CR0_NE = BIT(5),
    CR0_WP = BIT(16),
    CR0_AM = BIT(18),
    CR0_NW = BIT(29),
    CR0_CD = BIT(30),
};
#define CR0_PG BIT(31)

enum cr4_bit {
    CR4_VME = BIT(0),
    CR4_PVI = BIT(1),
    CR4_TSD = BIT(2),
    CR4_DE = BIT(3),
    CR4_PSE = BIT(4),
    CR4_PAE = BIT(5),
    CR4_MCE = BIT(6),
    CR4_PGE = BIT(7),
    CR4_PCE = BIT(8),
    CR4_OSFXSR = BIT(9),
    CR4_OSXMMEXCPT = BIT(10),
    CR4_UMIP = BIT(11),
    CR4_LA57 = BIT(12),
    CR4_FSGSBASE = BIT(16),
    CR4_PCIDE = BIT(17),
    CR4_OSXSAVE = BIT(18),
    CR4_SMEP = BIT(20),
    CR4_SMAP = BIT(21),
    CR4_PKE = BIT(22),
    CR4_PKS = BIT(24),
};

enum efer_bit {
    EFER_SCE = BIT(0),
    EFER_LME = BIT(8),
    EFER_LMA = BIT(10),
    EFER_NXE = BIT(11),
    EFER_FFXSR = BIT(14),
    EFER_AIBRSE = BIT(21)
};

/* Access rights of a segment, packed as in VMCB/VMCS: descriptor byte 5 in bits 7:0, flags nibble in 11:8. */
enum seg_attr {
    SEG_TYPE = 0xf, /* with SEG_S: code/data type; without: system type */
    SEG_ACCESSED = BIT(0),
    SEG_WRITABLE = BIT(1),    /* data; readable for code */
    SEG_EXPAND_DOWN = BIT(2), /* data; conforming for code */
    SEG_CODE = BIT(3),
    SEG_S = BIT(4),
    SEG_DPL = 3 << 5,
    SEG_P = BIT(7),
    SEG_AVL = BIT(8),
    SEG_L = BIT(9),
    SEG_DB = BIT(10),
    SEG_G = BIT(11),
    SEG_UNUSABLE = BIT(12), /* loaded with a null selector */
};

struct segreg {
    u64 base;
    u32 limit; /* in bytes, granularity applied */
    u16 selector;
    u16 attr; /* enum seg_attr */
};

struct dtable {
    u64 base;
    u16 limit;
};

/* The extended state, in memory between any two instructions. Layouts are the hardware's. */
struct fpu {
    _Alignas(64) u8 zmm[32][64]; /* xmm/ymm/zmm, full width */
    u64 k[8];
    /* x87/MMX as an FXSAVE image (64 bytes aligned), which engines have the host load and store. Those of its
     * fields that begin with host_ are the host's affair: scratch, but for MXCSR, which is always 1F80h. */
    u16 fcw, fsw;
    u8 ftw; /* abridged: bit per physical register, 1 = not empty */
    u8 host_zero;
    u16 host_fop;
    u64 host_fip, host_fdp;
    u32 host_mxcsr, host_mxcsr_mask;
    u8 st[8][16]; /* in *stack* order (st[0] = ST(0)); 10 bytes used of 16 */
    u8 host_rest[352];
    u16 fop, fcs, fds;
    u64 fip, fdp;
    u32 mxcsr;
    u32 pkru;
    u64 xinuse; /* XINUSE: components not in their initial state may be set; a clear bit means initial */
};
#define FPU_IMAGE offsetof(struct fpu, fcw)
_Static_assert(FPU_IMAGE % 64 == 0 && offsetof(struct fpu, st) == FPU_IMAGE + 32 &&
                   offsetof(struct fpu, fop) == FPU_IMAGE + 512,
               "FXSAVE image");

enum vcpu_event {
    EVENT_INTR = BIT(0), /* level: the local APIC has an interrupt due */
    EVENT_NMI = BIT(1),
    EVENT_INIT = BIT(2),
    EVENT_SIPI = BIT(3),      /* vector in sipi_vector */
    EVENT_KICK = BIT(4),      /* leave engine->run with VCPU_KICKED; cleared by doing so */
    EVENT_TLB_FLUSH = BIT(5), /* the memory map or A20 changed */
    EVENT_EXCLUSIVE = BIT(6), /* park: see vm_exclusive_begin */
    EVENT_NMI_AGAIN =
        BIT(7), /* with EVENT_NMI: a second one, while the first could have been taken already */
};

/* Reasons, private to the vCPU, to leave the fast path before the next instruction. */
enum vcpu_attention {
    ATTN_SHADOW_STI = BIT(0),   /* the next instruction is executed before interrupts */
    ATTN_SHADOW_MOVSS = BIT(1), /* likewise, and debug traps are held too */
    ATTN_TRAP = BIT(2),         /* RFLAGS.TF is set */
    ATTN_BREAKPOINT = BIT(3),   /* DR7 has instruction breakpoints */
    ATTN_DB_PENDING = BIT(4),   /* a debug trap (data/I/O breakpoint, task switch T bit) is due: db_pending */
    ATTN_RF = BIT(5),           /* RFLAGS.RF is set: clear it after the next instruction */
    ATTN_TRACE = BIT(6),        /* --trace insn */
    ATTN_STEP = BIT(7), /* the instruction under way began with TF = 1: single-step trap when it is done */
    ATTN_HALT = BIT(8), /* activity is not RUNNING */
};

enum vcpu_activity {
    ACTIVITY_RUNNING,
    ACTIVITY_HALTED,
    ACTIVITY_WAIT_SIPI,
    ACTIVITY_SHUTDOWN,
    ACTIVITY_MWAIT
};

/* Which rights a memory access is checked with; also the number of soft TLBs. */
enum mmu_index {
    MMU_KERNEL,     /* CPL 0..2, or implicit supervisor access; SMAP (if on) forbids user pages */
    MMU_KERNEL_AC,  /* CPL 0..2 with RFLAGS.AC = 1: SMAP does not apply */
    MMU_USER,       /* CPL 3 */
    MMU_USER_ALIGN, /* CPL 3 with CR0.AM and RFLAGS.AC: never cached, so that every access is checked (#AC) */
    MMU_INDEX_COUNT
};

#define TLB_BITS    12
#define TLB_ENTRIES (1u << TLB_BITS)

/* Tags are (linear page | address-space tag); a page-crossing or stale access never matches. See cpu/mmu.h.
 */
struct tlb_entry {
    u64 read, write, exec;
    u64 addend; /* host address = linear address + addend */
};

struct tlb {
    struct tlb_entry entry[TLB_ENTRIES];
};

struct exception {
    u8 vector;
    bool has_error;
    u32 error;
    u64 cr2; /* #PF: loaded into CR2 on delivery */
    u64 dr6; /* #DB: or-ed into DR6 on delivery */
};

struct vcpu_msrs {
    u64 star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux;
    u64 sysenter_cs, sysenter_esp, sysenter_eip;
    u64 pat, misc_enable, tsc_adjust, spec_ctrl, debugctl, xss, pkrs;
    u64 mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    u64 mcg_status, mcg_ctl, mc_ctl[4], mc_status[4], mc_addr[4], mc_misc[4];
    u64 virt_spec_ctrl, hwcr, syscfg, patch_level;
};

#define ENGINE_TABLE_LEN (1u << 15)

/*
 * For an engine that executes instructions twice (engine/lockstep). `page`: the page of RAM at `hva` may be
 * written to from now on, for the first time since the TLB was emptied. `world`: an instruction that would
 * reach devices, clocks or other CPUs, or raises, and has not done anything yet; does not return.
 */
struct cpu_watch {
    void (*page)(void *opaque, u8 *hva);
    void (*world)(void *opaque);
    void *opaque;
};

struct vcpu {
    u64 gpr[16];
    u64 rip;
    u64 rflags; /* complete, bit 1 set; RFLAGS.IF and others are read from here */
    u64 zero; /* always 0: what an absent base or index register reads as (addressed by a one-byte offset) */

    /* Derived: what the interpreter's inner loop needs (cpu_mode_update). */
    u8 decode_mode; /* enum decode_mode */
    u8 cpl;
    u8 mmu_index;   /* enum mmu_index for the current CPL and AC */
    bool long_mode; /* EFER.LMA */
    bool code64;    /* LMA and CS.L */
    bool stack32;   /* SS.B, outside 64-bit mode */
    u64 stack_mask; /* ffffh, ffffffffh or ~0 */
    u64 rip_mask;
    u64 asid_tag;                 /* names the current address space, for engines: cpu/mmu.h */
    u64 tlb_tag[MMU_INDEX_COUNT]; /* low 12 bits of the tags in each TLB now */
    struct tlb *tlb;              /* MMU_INDEX_COUNT - 1 of them: [MMU_USER_ALIGN] has none */
    u32 code_epoch;               /* mmu_code_remember */
    u64 engine_words[128]; /* the engine's own, at a fixed distance from the registers for generated code */

    _Atomic(u32) events; /* enum vcpu_event */
    u32 event_mask;      /* derived: events that count now (EVENT_INTR only while IF = 1) */
    u32 attention;       /* enum vcpu_attention */
    bool nmi_blocked;

    struct segreg seg[SREG_COUNT];
    struct segreg ldtr, tr;
    struct dtable gdtr, idtr;
    u64 cr0, cr2, cr3, cr4, efer, xcr0;
    u64 pdpte[4]; /* PAE: loaded with CR3 */
    u64 dr[8];    /* dr[4], dr[5] unused */
    struct vcpu_msrs msr;
    s64 tsc_offset; /* guest TSC = clock_now + tsc_offset */
    enum vcpu_activity activity;
    _Atomic(u8) sipi_vector;
    u64 monitor_gpa; /* MONITOR's address, ~0 if none is armed */

    struct fpu fpu;

    /* Raising: cpu/exc.h. */
    jmp_buf *unwind;
    struct exception exc;
    u64 db_pending; /* DR6 bits of debug traps that are due after this instruction */
    u8 ext; /* EXT bit of selector error codes: 1 while an event other than a software interrupt is delivered
             */
    bool exclusive;      /* inside vm_exclusive_begin ... end; a raise ends the section */
    bool mwait_any_intr; /* MWAIT ECX[0]: a masked interrupt ends it too */

    struct vm *vm;
    unsigned index; /* 0 is the bootstrap processor */
    const struct apic_ops *apic_ops;
    void *apic;
    u64 apic_page; /* cached apic_ops->page() */

    const struct cpu_watch *watch; /* NULL: nobody watches */
    void *engine;                  /* the engine's own per-vCPU data */
    struct native *native;         /* stubs of vector and x87 instructions: engine/interp/native.c's */
    struct interp *interp;         /* the interpreter's, which other engines fall back to */
    struct mmu *mmu;               /* address-space tags, large-page filters: cpu/mmu.c's */
    u64 instructions;              /* retired, for --stats (the interpreter counts) */

    /* Sleeping: futex-style wake-up of a halted vCPU (cpu/events.c). */
    pthread_mutex_t wake_lock;
    pthread_cond_t wake_cond;
    _Atomic(bool) sleeping;

    s32 engine_table[ENGINE_TABLE_LEN]; /* the engine's, for generated code */
};

/* Heap lifecycle; destroy accepts NULL. The new vCPU is in power-on reset state (SDM vol. 3 9.1.1),
 * registered in vm->cpu[index] and in vm->state. CPUs other than 0 wait for SIPI. */
int vcpu_create(struct vcpu **out, struct vm *vm, unsigned index, struct error *err);
void vcpu_destroy(struct vcpu *v);
void vcpu_connect_apic(struct vcpu *v, const struct apic_ops *ops, void *apic);
/* The socket to hand to the local APIC. */
struct cpu_port vcpu_port(struct vcpu *v);

void vcpu_reset(struct vcpu *v); /* power-on */
void vcpu_init(struct vcpu *v);  /* INIT */

/* Posts events and wakes or kicks the vCPU. Any thread. */
void vcpu_post(struct vcpu *v, u32 events);
void vcpu_clear(struct vcpu *v, u32 events);

/* Blocks the calling (the vCPU's) thread until an event that ends a halt (or EVENT_KICK) is there; after
 * MWAIT also when MWAIT_MAX_NS have passed. A post between engine->run's VCPU_HALTED and this call is not
 * lost. */
void vcpu_wait(struct vcpu *v);
/* Is there an event that ends HLT (or wait-for-SIPI)? EVENT_KICK counts. */
bool vcpu_has_wakeup(struct vcpu *v);

/*
 * An engine's run() brackets guest execution with these: vcpu_enter waits for a running exclusive section to
 * end; between the two the vCPU must keep calling cpu_handle_events when `v->events & v->event_mask` is not
 * 0.
 */
void vcpu_enter(struct vcpu *v);
void vcpu_leave(struct vcpu *v);

/*
 * HLT and MWAIT at CPL 0 (MONITOR sets monitor_gpa): change v->activity; the next cpu_handle_events returns
 * PENDING_HALTED unless a wake-up is there. RIP must already point behind the instruction when
 * cpu_handle_events is called. MWAIT may end for no reason: it sleeps MWAIT_MAX_NS at most, so stores to the
 * monitored line need not be watched. Both set ATTN_HALT, so that the run loop gets there.
 */
#define MWAIT_MAX_NS 200000
void cpu_halt(struct vcpu *v);
void cpu_mwait(struct vcpu *v, u32 ecx);

/* Recomputes the derived fields; after any change of CR0, CR4, EFER, CS, SS, RFLAGS.VM/IF/TF/RF/AC, DR7,
 * nmi_blocked. The CPL is SS.DPL in protected mode, 0 in real mode, 3 in virtual-8086 mode: whoever changes
 * the CPL loads SS. */
void cpu_mode_update(struct vcpu *v);

/* Registers as text (crash dump, --trace), one `line` call a line. */
void vcpu_dump(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque);

static inline bool cpu_has(const struct vcpu *v, enum cpu_feature f)
{
    return model_has(&v->vm->model, f);
}

static inline bool cpu_is_real(const struct vcpu *v)
{
    return !(v->cr0 & CR0_PE);
}

static inline bool cpu_is_v86(const struct vcpu *v)
{
    return v->rflags & FLAG_VM;
}

static inline bool cpu_is_protected(const struct vcpu *v) /* and not virtual-8086 */
{
    return (v->cr0 & CR0_PE) && !(v->rflags & FLAG_VM);
}

static inline unsigned cpu_iopl(const struct vcpu *v)
{
    return v->rflags >> 12 & 3;
}

/* The instruction under way is about to reach what is outside of the CPU and RAM. */
static inline void cpu_meet_world(const struct vcpu *v)
{
    if (unlikely(v->watch))
        v->watch->world(v->watch->opaque);
}

/* The guest's time-stamp counter. */
static inline u64 cpu_tsc(const struct vcpu *v)
{
    cpu_meet_world(v);
    return clock_now(v->vm->clock) + (u64)v->tsc_offset;
}

/* Sets RFLAGS to (old & ~mask) | (value & mask) and updates what depends on it. */
void cpu_set_flags(struct vcpu *v, u64 value, u64 mask);

#endif
