/* lower_system.c's rows of the table. */
#ifndef RING3_ENGINE_JIT_LOWER_SYSTEM_H
#define RING3_ENGINE_JIT_LOWER_SYSTEM_H

#include "engine/jit/lower.h"

#define AT(field) ((u32)offsetof(struct vcpu, field))

/* dword gs:[offset] OP imm32. */
enum gs_op { GS_OR = 1, GS_AND = 4, GS_CMP = 7, GS_TEST = 8 };
/* Which rights count from now on. Keeps the flags, uses T1. */
void lower_rights(struct translation *t, enum mmu_index index);
void lower_gs_imm(struct translation *t, enum gs_op op, u32 offset, u32 imm);

/* Of a class that ends blocks otherwise, but lowered: the block goes on. */
bool system_is_inline(const struct translation *t, unsigned i);

bool lower_cli(struct translation *t, unsigned i);
bool lower_sti(struct translation *t, unsigned i);
bool lower_direction(struct translation *t, unsigned i);
bool lower_pushf(struct translation *t, unsigned i);
bool lower_popf(struct translation *t, unsigned i);
bool lower_swapgs(struct translation *t, unsigned i);
bool lower_ac(struct translation *t, unsigned i);
/* lower_control.c */
bool control_is_inline(const struct translation *t, unsigned i);
bool lower_mov_cr(struct translation *t, unsigned i);
bool lower_mov_seg(struct translation *t, unsigned i);
bool lower_read_base(struct translation *t, unsigned i);
bool lower_write_base(struct translation *t, unsigned i);
/* lower_transfer.c */
bool lower_syscall(struct translation *t, unsigned i);
bool lower_sysret(struct translation *t, unsigned i);
bool lower_div(struct translation *t, unsigned i);

#endif
