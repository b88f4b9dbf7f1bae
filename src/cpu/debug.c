/* Breakpoints (SDM vol. 3 17.2, 17.3; AMD APM vol. 2 13.1). */
#include "cpu/ctrl.h"
#include "cpu/debug.h"
#include "mem/mem.h"

static bool any_of(const struct vcpu *v, unsigned types)
{
    u64 dr7 = v->dr[7];
    if (!(dr7 & 0xff))
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (breakpoint_enabled(dr7, n) && (types >> breakpoint_type(dr7, n) & 1))
            return true;
    return false;
}

bool debug_any_exec(const struct vcpu *v)
{
    return any_of(v, 1u << BREAK_EXEC);
}

bool debug_any_data(const struct vcpu *v)
{
    return any_of(v, 1u << BREAK_WRITE | 1u << BREAK_ACCESS);
}

bool debug_page_watched(const struct vcpu *v, u64 lin)
{
    u64 dr7 = v->dr[7];
    if (likely(!(dr7 & 0xff)))
        return false;
    for (unsigned n = 0; n < 4; n++) {
        enum breakpoint_type type = breakpoint_type(dr7, n);
        if (breakpoint_enabled(dr7, n) && (type == BREAK_WRITE || type == BREAK_ACCESS) &&
            (v->dr[n] & PAGE_MASK) == (lin & PAGE_MASK))
            return true;
    }
    return false;
}

/* The breakpoint's address is aligned to its length: low bits do not count. */
static bool overlaps(const struct vcpu *v, unsigned n, u64 addr, unsigned size)
{
    unsigned len = breakpoint_len(v->dr[7], n);
    u64 start = v->dr[n] & ~(u64)(len - 1);
    return addr < start + len && start < addr + size;
}

/* Bits of all breakpoints of `types` at this place, provided that one of them is enabled: B0..B3 report
 * disabled ones too. */
static u64 match(const struct vcpu *v, unsigned types, u64 addr, unsigned size)
{
    u64 hit = 0;
    bool enabled = false;
    for (unsigned n = 0; n < 4; n++) {
        if (!(types >> breakpoint_type(v->dr[7], n) & 1) || !overlaps(v, n, addr, size))
            continue;
        hit |= BIT(n);
        enabled |= breakpoint_enabled(v->dr[7], n);
    }
    return enabled ? hit : 0;
}

static void trap_later(struct vcpu *v, u64 bits)
{
    if (bits) {
        v->db_pending |= bits;
        v->attention |= ATTN_DB_PENDING;
    }
}

void debug_check_data(struct vcpu *v, u64 lin, unsigned size, bool write)
{
    if (likely(!(v->dr[7] & 0xff)))
        return;
    trap_later(v, match(v, write ? 1u << BREAK_WRITE | 1u << BREAK_ACCESS : 1u << BREAK_ACCESS, lin, size));
}

void debug_check_io(struct vcpu *v, u16 port, unsigned size)
{
    if (likely(!(v->dr[7] & 0xff)) || !(v->cr4 & CR4_DE))
        return;
    trap_later(v, match(v, 1u << BREAK_IO, port, size));
}

u64 debug_match_exec(struct vcpu *v, u64 lin)
{
    return v->dr[7] & 0xff ? match(v, 1u << BREAK_EXEC, lin, 1) : 0;
}
