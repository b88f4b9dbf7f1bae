/*
 * Guest linear memory: the soft TLB and its fast path, page walks, and accesses that may raise.
 *
 * A TLB entry's tag is the linear page or-ed with a 12-bit tag (v->tlb_tag): that of the address space, or in
 * the kernel's TLB one that outlives it (mmu_priv.h); CR3 switches and flushes change the tag instead of
 * emptying the table. Entries exist only for RAM and ROM (read/exec) and
 * only for what the access may do right now: a write tag means D is set, the page is writable with these
 * rights, has no watchpoint, is logged dirty and no engine tracks it as code. Everything else goes through
 * the slow path, every time.
 */
#ifndef RING3_CPU_MMU_H
#define RING3_CPU_MMU_H

#include "base/bytes.h"
#include "cpu/cpu.h"

enum mmu_access { MMU_READ, MMU_WRITE, MMU_EXEC };

struct mmu;
struct mmu *mmu_create(void);
void mmu_destroy(struct mmu *mmu);

/* Slow paths: walk, fill the TLB, access RAM, MMIO, the APIC page, across pages. They may raise (#PF, #AC,
 * debug traps are recorded in db_pending). `index` is an enum mmu_index. */
u64 mmu_read_slow(struct vcpu *v, u64 lin, unsigned size, unsigned index);
void mmu_write_slow(struct vcpu *v, u64 lin, unsigned size, u64 value, unsigned index);

static inline struct tlb_entry *tlb_slot(struct vcpu *v, u64 lin, unsigned index)
{
    return &v->tlb[index].entry[lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)];
}

/* The tag that an access of `size` bytes at `lin` must find: that of its *last* byte's page, so that an
 * access across a page end misses. */
static inline u64 tlb_tag(const struct vcpu *v, u64 lin, unsigned size, unsigned index)
{
    return ((lin + size - 1) & PAGE_MASK) | v->tlb_tag[index];
}

/* `size` 1, 2, 4, 8 should be a constant. Linear addresses are already segment-checked and canonical. */
static inline u64 mmu_read_as(struct vcpu *v, u64 lin, unsigned size, unsigned index)
{
    if (likely(index != MMU_USER_ALIGN)) {
        struct tlb_entry *e = tlb_slot(v, lin, index);
        if (likely(e->read == tlb_tag(v, lin, size, index)))
            return load_le((const void *)(lin + e->addend), size);
    }
    return mmu_read_slow(v, lin, size, index);
}

static inline void mmu_write_as(struct vcpu *v, u64 lin, unsigned size, u64 value, unsigned index)
{
    if (likely(index != MMU_USER_ALIGN)) {
        struct tlb_entry *e = tlb_slot(v, lin, index);
        if (likely(e->write == tlb_tag(v, lin, size, index))) {
            store_le((void *)(lin + e->addend), size, value);
            return;
        }
    }
    mmu_write_slow(v, lin, size, value, index);
}

/* With the rights of the current CPL. */
static inline u64 mmu_read(struct vcpu *v, u64 lin, unsigned size)
{
    return mmu_read_as(v, lin, size, v->mmu_index);
}
static inline void mmu_write(struct vcpu *v, u64 lin, unsigned size, u64 value)
{
    mmu_write_as(v, lin, size, value, v->mmu_index);
}

/* Implicit supervisor accesses: descriptor tables, TSS, interrupt frames at CPL 0..2. */
static inline u64 mmu_read_system(struct vcpu *v, u64 lin, unsigned size)
{
    return mmu_read_as(v, lin, size, MMU_KERNEL);
}
static inline void mmu_write_system(struct vcpu *v, u64 lin, unsigned size, u64 value)
{
    mmu_write_as(v, lin, size, value, MMU_KERNEL);
}

/* Any length; a fault anywhere is raised before a byte of a write is stored. (Vector operands, XSAVE areas.)
 */
void mmu_read_bytes(struct vcpu *v, u64 lin, void *buf, unsigned len);
void mmu_write_bytes(struct vcpu *v, u64 lin, const void *buf, unsigned len);

/* Raises what an access to all of [lin, lin + len) would raise; sets A (and D) bits. */
void mmu_probe(struct vcpu *v, u64 lin, unsigned len, enum mmu_access access, unsigned index);

/*
 * A host pointer for an atomic read-modify-write of `size` bytes (1..64) that lie in one RAM page, checked
 * for writing (raises). NULL if the bytes are not plain RAM in one page or are tracked (MMIO, code,
 * watchpoint): the caller then uses vm_exclusive_begin and read + write.
 */
void *mmu_rmw_ptr(struct vcpu *v, u64 lin, unsigned size);

/* A host pointer to [lin, lin+len) within one page of RAM for the given access with current rights, or NULL
 * (never raises, never walks: a TLB look-up). For REP strings. */
void *mmu_fast_ptr(struct vcpu *v, u64 lin, unsigned len, enum mmu_access access);

/* The same with the rights of `index`. */
void *mmu_rmw_ptr_as(struct vcpu *v, u64 lin, unsigned size, unsigned index);

/* Makes the TLB have `lin` for the access (data), with current rights; sets A and D. Never raises:
 * MMU_FAULTS: the access faults, v->exc has the #PF; MMU_UNFILLED: not for the TLB. */
enum mmu_fill { MMU_UNFILLED, MMU_FILLED, MMU_FAULTS };
enum mmu_fill mmu_fill(struct vcpu *v, u64 lin, enum mmu_access access);

/* Where a write to `lin` goes, with current rights, if all that forbids a TLB entry is RAM_PAGE_CODE; NULL:
 * other reasons. The engine sees to what the flag is for. Never raises. */
u8 *mmu_code_write_ptr(struct vcpu *v, u64 lin);
/* Is that known without a walk? */
bool mmu_code_write_known(struct vcpu *v, u64 lin);

/* Code: the host address of the page of `lin` for fetching with the current rights (raises #PF, fills the
 * TLB), or NULL if it is not RAM/ROM (fetch byte-wise with mmu_fetch). */
const u8 *mmu_code_page(struct vcpu *v, u64 lin);
u8 mmu_fetch(struct vcpu *v, u64 lin);

/*
 * For engines that keep what mmu_code_page has told them, as a processor's TLB would: it holds as long as
 * v->asid_tag and v->code_epoch are what they were, or just v->code_epoch if this returns true (a global
 * page). To be called right after mmu_code_page, for the same address.
 */
bool mmu_code_remember(struct vcpu *v, u64 lin);

/*
 * A page walk without side effects (no A/D, no fault): the guest-physical address, or ~0. For debuggers,
 * dumps and tests.
 */
u64 mmu_translate(struct vcpu *v, u64 lin);

/* The local APIC's registers at `gpa`, in v->apic_page: 1..8 bytes. A write returns `value`. */
u64 mmu_apic_access(struct vcpu *v, u64 gpa, unsigned size, bool write, u64 value);

/* The memory map, A20 or the APIC page changed: forget every physical page too (EVENT_TLB_FLUSH). */
void mmu_map_changed(struct vcpu *v);

/* Explicit alignment check of accesses made by mmu_read_bytes and mmu_write_bytes, which do none: raises
 * #AC(0) if the current rights ask for it and `lin` is not a multiple of `align` (a power of 2). */
void mmu_check_align(struct vcpu *v, u64 lin, unsigned align);

/*
 * For engines that want to hear of every write to a page: they set RAM_PAGE_CODE and then make the vCPUs
 * forget writable mappings. mmu_may_write, of any vCPU: may it have one, or be writing without having seen
 * the flag? mmu_forget_writable: of a vCPU that is stopped, or the caller's.
 */
bool mmu_may_write(const struct vcpu *v, const u8 *page);
void mmu_forget_writable(struct vcpu *v, const u8 *page);

/* Flushes, as CR3/CR4 writes, INVLPG, INVPCID ask for. */
void mmu_flush_all(struct vcpu *v);         /* everything, global too */
void mmu_flush_nonglobal(struct vcpu *v);   /* the current address space (MOV CR3 without PCID) */
void mmu_switch(struct vcpu *v, bool keep); /* after CR3 changed; keep: bit 63 with PCID */
void mmu_protect(struct vcpu *v);           /* CR0.WP was set */
void mmu_invlpg(struct vcpu *v, u64 lin);
void mmu_invpcid(struct vcpu *v, u64 type, u64 pcid, u64 lin); /* operands already checked */

#endif
