/* Hardware breakpoints: what DR7 says (SDM vol. 3 17.2). The hooks that instructions call are in cpu/ctrl.h.
 */
#ifndef RING3_CPU_DEBUG_H
#define RING3_CPU_DEBUG_H

#include "cpu/cpu.h"

enum dr6_bit { DR6_BD = BIT(13), DR6_BS = BIT(14), DR6_BT = BIT(15) };
#define DR6_FIXED 0xffff0ff0ull
#define DR7_FIXED 0x400ull
#define DR7_GD    BIT(13)
#define DR7_LE    BIT(8)

enum breakpoint_type { BREAK_EXEC, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

static inline bool breakpoint_enabled(u64 dr7, unsigned n)
{
    return dr7 >> (2 * n) & 3;
}

static inline enum breakpoint_type breakpoint_type(u64 dr7, unsigned n)
{
    return (enum breakpoint_type)(dr7 >> (16 + 4 * n) & 3);
}

/* 1, 2, 4 or 8 bytes. */
static inline unsigned breakpoint_len(u64 dr7, unsigned n)
{
    static const u8 len[] = {1, 2, 8, 4};
    return len[dr7 >> (18 + 4 * n) & 3];
}

/* Is an enabled breakpoint of this type, or a data breakpoint, in DR7? */
bool debug_any_exec(const struct vcpu *v);
bool debug_any_data(const struct vcpu *v);

/* Does a data breakpoint touch the 4 KiB page of `lin`? Such pages stay out of the TLB. */
bool debug_page_watched(const struct vcpu *v, u64 lin);

#endif
