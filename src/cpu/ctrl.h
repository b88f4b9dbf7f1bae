/* Control, debug and model-specific registers. Privilege (CPL) is the caller's check; values are checked
 * here. */
#ifndef RING3_CPU_CTRL_H
#define RING3_CPU_CTRL_H

#include "cpu/cpu.h"

u64 cpu_read_cr(struct vcpu *v, unsigned n);              /* 0, 2, 3, 4, 8 */
void cpu_write_cr(struct vcpu *v, unsigned n, u64 value); /* raises #GP(0) */
/* CR3 from a TSS: a reload of the same value flushes nothing. */
void cpu_load_task_cr3(struct vcpu *v, u32 value);
/* The CR4 bits that exist on this CPU model. */
u64 cr4_valid_bits(const struct vcpu *v);
void cpu_lmsw(struct vcpu *v, u16 value);
void cpu_clts(struct vcpu *v);
u64 cpu_read_dr(struct vcpu *v, unsigned n); /* raises #UD (DE), #DB (GD) */
void cpu_write_dr(struct vcpu *v, unsigned n, u64 value);
/* VMCALL or VMMCALL: cpu/hypercall.c. */
void cpu_hypercall(struct vcpu *v);

/* WRPKRU and XRSTOR: translations made with the old rights go. */
void cpu_set_pkru(struct vcpu *v, u32 value);
void cpu_xsetbv(struct vcpu *v, u32 index, u64 value); /* raises #GP(0) */
u64 cpu_xgetbv(struct vcpu *v, u32 index);

/* False: #GP(0). Takes the machine lock for APIC registers. */
bool msr_read(struct vcpu *v, u32 msr, u64 *value) MUST_CHECK;
bool msr_write(struct vcpu *v, u32 msr, u64 value) MUST_CHECK;

/* INVPCID: checks type and descriptor (raises #GP(0)), then flushes. */
void cpu_invpcid(struct vcpu *v, u64 type, u64 pcid, u64 lin);

/* Breakpoint hooks: record in v->db_pending the data / I/O breakpoints that an access hits. */
void debug_check_data(struct vcpu *v, u64 lin, unsigned size, bool write);
void debug_check_io(struct vcpu *v, u16 port, unsigned size);
/* Instruction breakpoints at v->rip: the DR6 bits, 0 if none. */
u64 debug_match_exec(struct vcpu *v, u64 lin);

#endif
