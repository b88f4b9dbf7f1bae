/*
 * Memory operands of which only some elements are accessed: EVEX opmasks, embedded broadcast, compress and
 * expand, VMASKMOV, MASKMOVDQU. A masked-off element raises nothing (SDM vol. 2 2.7.6).
 */
#include <string.h>
#include "engine/interp/vector.h"

/* The access: `count` elements of `size` bytes; bit i of `active` says that element i is touched. */
struct element_set {
    u64 active;
    unsigned size, count;
};

static u64 element_linear(struct vcpu *v, const struct insn *insn, u64 ea, unsigned size,
                          enum mmu_access access)
{
    return seg_linear(v, insn->mem.seg, ea & MASK(insn->adsize * 8), size, access);
}

/* A host pointer to the whole operand, if all of it is plain RAM in one page; no checks are skipped that
 * could fault. */
static u8 *whole_ptr(struct vcpu *v, const struct insn *insn, u64 ea, const struct element_set *set,
                     bool write)
{
    unsigned bytes = set->size * set->count;
    if (!v->code64)
        return NULL;
    u64 lin = insn->mem.seg >= FS ? ea + v->seg[insn->mem.seg].base : ea;
    if (!is_canonical(lin) || !is_canonical(lin + bytes - 1))
        return NULL;
    return native_fast_ptr(v, lin, bytes, write);
}

/* Segment and canonical checks of all elements go before the first page fault. */
static void check_elements(struct vcpu *v, const struct insn *insn, u64 ea, const struct element_set *set,
                           enum mmu_access access)
{
    for (u64 left = set->active; left; left &= left - 1)
        element_linear(v, insn, ea + (unsigned)__builtin_ctzll(left) * set->size, set->size, access);
}

static void read_elements(struct vcpu *v, const struct insn *insn, u64 ea, const struct element_set *set,
                          u8 *buf)
{
    const u8 *whole = whole_ptr(v, insn, ea, set, false);
    if (whole) {
        memcpy(buf, whole, set->size * set->count);
        return;
    }
    check_elements(v, insn, ea, set, MMU_READ);
    for (u64 left = set->active; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        u64 lin = element_linear(v, insn, ea + i * set->size, set->size, MMU_READ);
        native_read(v, lin, buf + i * set->size, set->size);
    }
}

static void probe_elements(struct vcpu *v, const struct insn *insn, u64 ea, const struct element_set *set)
{
    if (whole_ptr(v, insn, ea, set, true))
        return;
    check_elements(v, insn, ea, set, MMU_WRITE);
    for (u64 left = set->active; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        native_probe_write(v, element_linear(v, insn, ea + i * set->size, set->size, MMU_WRITE), set->size);
    }
}

static void write_elements(struct vcpu *v, const struct insn *insn, u64 ea, const struct element_set *set,
                           const u8 *buf)
{
    u8 *whole = whole_ptr(v, insn, ea, set, true);
    for (u64 left = set->active; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left), at = i * set->size;
        if (whole)
            native_copy(whole + at, buf + at, set->size);
        else
            native_write(v, element_linear(v, insn, ea + at, set->size, MMU_WRITE), buf + at, set->size);
    }
}

static bool is_broadcast(const struct insn *insn)
{
    if (insn->mem.broadcast)
        return true;
    if (insn->map != 2 || insn->pp != 1)
        return false;
    switch (insn->opcode) {
    case 0x18: /* VBROADCASTSS .. F64X4 */
    case 0x19:
    case 0x1a:
    case 0x1b:
    case 0x58: /* VPBROADCASTD .. I64X4 */
    case 0x59:
    case 0x5a:
    case 0x5b:
    case 0x78: /* VPBROADCASTB, W */
    case 0x79:
        return true;
    default:
        return false;
    }
}

/* VEXPAND, VPEXPAND, VCOMPRESS, VPCOMPRESS: the memory operand holds just the active elements. */
bool vector_is_packed(const struct insn *insn)
{
    if (insn->map != 2 || insn->pp != 1)
        return false;
    return insn->opcode == 0x62 || insn->opcode == 0x63 || (insn->opcode >= 0x88 && insn->opcode <= 0x8b);
}

/* Conversions of doublewords to quadwords: the opmask counts the wide ones. */
static bool widens_dwords(const struct insn *insn)
{
    if (insn->map != 1 || insn->w)
        return false;
    switch (insn->opcode) {
    case 0x5a:
        return insn->pp == 0;
    case 0x78:
    case 0x79:
    case 0x7b:
        return insn->pp == 1;
    case 0x7a:
        return insn->pp == 1 || insn->pp == 2;
    case 0xe6:
        return insn->pp == 2;
    default:
        return false;
    }
}

static struct element_set elements_of(const struct vcpu *v, const struct insn *insn, const struct opnd *mem)
{
    unsigned size = insn->mem.broadcast ? insn->mem.broadcast : insn->info->element;
    struct element_set set = {.size = size, .count = mem->size / size};
    u64 mask = insn->aaa ? v->fpu.k[insn->aaa] : ~0ull;
    if (is_broadcast(insn)) {
        unsigned lanes = (16u << insn->vl) / (insn->mem.broadcast && widens_dwords(insn) ? 2 * size : size);
        mask &= MASK(lanes);
        for (unsigned shift = set.count; shift < lanes; shift += set.count)
            set.active |= mask >> shift;
        set.active |= mask;
    } else if (vector_is_packed(insn)) {
        set.active = MASK((unsigned)__builtin_popcountll(mask & MASK(set.count)));
    } else {
        set.active = mask;
    }
    set.active &= MASK(set.count);
    return set;
}

/* #AC counts elements, not the operand; a bad address goes first, a page fault later. */
static void check_elements_align(struct vcpu *v, const struct insn *insn, u64 ea,
                                 const struct element_set *set)
{
    unsigned first = (unsigned)__builtin_ctzll(set->active) * set->size;
    u64 lin = element_linear(v, insn, ea + first, set->size, MMU_READ);
    native_check_align(v, lin, set->size);
}

/* EVEX instructions with an opmask and a memory operand; compress without one too. */
void vector_execute_masked(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    const struct opnd *mem = insn_mem_opnd(insn);
    struct element_set set = elements_of(v, insn, mem);
    u64 ea = interp_ea(v, insn);
    u8 *bounce = v->native->bounce;
    u32 attrs = insn->info->attrs;
    bool suppress = attrs & ATTR_MASK_ELEMENT, write = mem->access & ACCESS_W;
    if ((attrs & ATTR_ALIGNED) && set.active) {
        u64 base = insn->mem.seg >= FS || !v->code64 ? v->seg[insn->mem.seg].base : 0;
        if ((ea + base) & (mem->size - 1))
            cpu_raise_gp0(v);
    }
    if (unlikely(v->mmu_index == MMU_USER_ALIGN) && set.active)
        check_elements_align(v, insn, ea, &set);
    if (!suppress) { /* every element is accessed, if not changed */
        u64 lin = native_operand(v, insn, mem->size, write ? MMU_WRITE : MMU_READ);
        if (write)
            native_probe_write(v, lin, mem->size);
        else
            native_read(v, lin, bounce, mem->size);
    } else if (write) {
        probe_elements(v, insn, ea, &set);
    } else {
        memset(bounce, 0, 64);
        read_elements(v, insn, ea, &set, bounce);
    }
    vector_run(v, insn);
    if (write)
        write_elements(v, insn, ea, &set, bounce);
}

/* VMASKMOVPS/PD, VPMASKMOVD/Q: the sign bits of the second operand select. */
void vector_maskmov_vex(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    const struct opnd *mem = insn_mem_opnd(insn);
    unsigned size = insn->info->element;
    struct element_set set = {.size = size, .count = mem->size / size};
    const u8 *selector = v->fpu.zmm[insn->opnd[1].reg];
    for (unsigned i = 0; i < set.count; i++)
        set.active |= (u64)(selector[(i + 1) * size - 1] >> 7) << i;
    u64 ea = interp_ea(v, insn);
    u8 *bounce = v->native->bounce;
    if (mem->access & ACCESS_W) {
        probe_elements(v, insn, ea, &set);
        vector_run(v, insn);
        write_elements(v, insn, ea, &set, bounce);
    } else {
        memset(bounce, 0, 64);
        read_elements(v, insn, ea, &set, bounce);
        vector_run(v, insn);
    }
}

/* MASKMOVQ, MASKMOVDQU, VMASKMOVDQU: bytes of the first operand to [rDI] where the second's have their sign
 * bit set. */
void vector_maskmov_bytes(struct vcpu *v, const struct insn *insn)
{
    vector_check(v, insn);
    bool mmx = insn->opnd[0].kind == OPND_MMX;
    if (mmx) /* even if a page fault follows */
        native_mmx_enter(v);
    struct element_set set = {.size = 1, .count = mmx ? 8 : 16};
    const u8 *data = mmx ? v->fpu.st[insn->opnd[0].reg] : v->fpu.zmm[insn->opnd[0].reg];
    const u8 *selector = mmx ? v->fpu.st[insn->opnd[1].reg] : v->fpu.zmm[insn->opnd[1].reg];
    for (unsigned i = 0; i < set.count; i++)
        set.active |= (u64)(selector[i] >> 7) << i;
    u64 ea = v->gpr[RDI] & MASK(insn->adsize * 8);
    /* Faults do not depend on the mask (a processor may do either; AMD's do this). */
    u64 lin = seg_linear(v, insn->mem.seg, ea, set.count, MMU_WRITE);
    native_check_align(v, lin, 8);
    native_probe_write(v, lin, set.count);
    write_elements(v, insn, ea, &set, data);
}
