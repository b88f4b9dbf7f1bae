/*
 * Far transfers of control, in every mode: they check, then commit CS:RIP, SS:RSP, CPL and flags. All may
 * raise. `opsize` is the instruction's operand size in bytes.
 */
#ifndef RING3_CPU_FLOW_H
#define RING3_CPU_FLOW_H

#include "cpu/cpu.h"

void cpu_far_jump(struct vcpu *v, u16 selector, u64 offset, unsigned opsize, u64 next_rip);
void cpu_far_call(struct vcpu *v, u16 selector, u64 offset, unsigned opsize, u64 next_rip);
void cpu_far_return(struct vcpu *v, unsigned opsize, u16 pop_bytes);
/* `next_rip` is saved in the outgoing TSS by a nested-task return. */
void cpu_iret(struct vcpu *v, unsigned opsize, u64 next_rip);

void cpu_syscall(struct vcpu *v, u64 next_rip);
void cpu_sysret(struct vcpu *v, unsigned opsize);
void cpu_sysenter(struct vcpu *v);
void cpu_sysexit(struct vcpu *v, unsigned opsize);

enum task_switch_reason { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_GATE /* interrupt or exception */ };
/* `error` (if has_error) is pushed on the new task's stack. */
void cpu_task_switch(struct vcpu *v, u16 selector, enum task_switch_reason reason, u64 next_rip,
                     bool has_error, u32 error);

#endif
