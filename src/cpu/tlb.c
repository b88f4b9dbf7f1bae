/* The soft TLB: tags, filling, flushing. See mmu_priv.h for how tags, global and large pages work. */
#include <stdlib.h>
#include "cpu/debug.h"
#include "cpu/mmu_priv.h"

struct mmu *mmu_create(void)
{
    struct mmu *mmu = calloc(1, sizeof *mmu);
    if (!mmu)
        return NULL;
    mmu->epoch = mmu->global_epoch = 1;
    mmu->a20 = ~0ull;
    for (unsigned i = 0; i < PAGE_CACHE_SIZE; i++)
        mmu->page[i].page = ~0ull;
    return mmu;
}

void mmu_destroy(struct mmu *mmu)
{
    free(mmu);
}

static unsigned current_pcid(const struct vcpu *v)
{
    return v->cr4 & CR4_PCIDE ? v->cr3 & (PCID_COUNT - 1) : 0;
}

static void forget_pcids(struct mmu *mmu)
{
    if (++mmu->epoch == 0) {
        memset(mmu->pcid_epoch, 0, sizeof mmu->pcid_epoch);
        mmu->epoch = 1;
    }
}

static void forget_globals(struct mmu *mmu)
{
    if (++mmu->global_epoch == 0) {
        memset(mmu->global, 0, sizeof mmu->global);
        mmu->global_epoch = 1;
    }
}

static void forget_code(struct vcpu *v)
{
    v->code_epoch++;
    page_set_clear(&v->mmu->code);
}

/* Page numbers are of 36 bits: linear addresses are canonical. */
static u64 code_number(u64 lin)
{
    return bits_get(lin, 47, PAGE_SHIFT);
}

/* Of a region of `large` (struct walk), for the one set that has both kinds. */
static u64 large_number(u64 lin, unsigned large)
{
    unsigned shift = large == 2 ? 30 : 21;
    return bits_get(lin, 47, shift) << 1 | (large == 2);
}

bool mmu_code_remember(struct vcpu *v, u64 lin)
{
    page_set_add(&v->mmu->code, code_number(lin));
    return v->mmu->global[v->cpl == 3 ? MMU_USER : MMU_KERNEL][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] ==
           v->mmu->global_epoch;
}

/* The address space has changed. */
static void tags_set(struct vcpu *v, u64 space)
{
    struct mmu *mmu = v->mmu;
    if (!mmu->kernel_filled)
        mmu->kernel_local = false;
    mmu->kernel_filled = false;
    v->asid_tag = space;
    v->tlb_tag[MMU_KERNEL] = mmu->kernel_local ? space : mmu->kernel_tag;
    v->tlb_tag[MMU_KERNEL_AC] = v->tlb_tag[MMU_USER] = v->tlb_tag[MMU_USER_ALIGN] = space;
}

/* Makes room for two tags; true if it took emptying the tables. */
static bool tags_reserve(struct vcpu *v)
{
    struct mmu *mmu = v->mmu;
    if (likely(mmu->tag_last + 2 <= TAG_MASK))
        return false;
    memset(v->tlb, 0, (MMU_INDEX_COUNT - 1) * sizeof *v->tlb);
    memset(mmu->code_write, 0, sizeof mmu->code_write);
    memset(mmu->global, 0, sizeof mmu->global);
    page_set_clear(&mmu->large);
    forget_pcids(mmu);
    forget_code(v);
    mmu->tag_last = 0;
    return true;
}

/* Gives the current PCID a tag that no entry has; `globals`: the kernel's global pages too. */
static void tag_renew(struct vcpu *v, bool globals)
{
    struct mmu *mmu = v->mmu;
    if (tags_reserve(v) || globals)
        mmu->kernel_tag = (u16)++mmu->tag_last;
    unsigned pcid = current_pcid(v);
    mmu->pcid_epoch[pcid] = mmu->epoch;
    mmu->pcid_tag[pcid] = (u16)++mmu->tag_last;
    tags_set(v, mmu->tag_last);
}

void mmu_flush_all(struct vcpu *v)
{
    forget_pcids(v->mmu);
    forget_globals(v->mmu);
    forget_code(v);
    page_set_clear(&v->mmu->large);
    v->mmu->unprotected_count = 0;
    mmu_format_update(v);
    tag_renew(v, true);
    log_trace(v->vm->log, TRACE_MMU, "cpu%u: flush all", v->index);
}

void mmu_flush_nonglobal(struct vcpu *v)
{
    tag_renew(v, false);
}

void mmu_switch(struct vcpu *v, bool keep)
{
    struct mmu *mmu = v->mmu;
    unsigned pcid = current_pcid(v);
    if (keep && mmu->pcid_epoch[pcid] == mmu->epoch)
        tags_set(v, mmu->pcid_tag[pcid]);
    else
        tag_renew(v, false);
}

void mmu_map_changed(struct vcpu *v)
{
    v->mmu->a20 = v->vm->mem ? mem_a20_mask(v->vm->mem) : ~0ull;
    for (unsigned i = 0; i < PAGE_CACHE_SIZE; i++)
        v->mmu->page[i].page = ~0ull;
    memset(v->mmu->run, 0, sizeof v->mmu->run);
    mmu_flush_all(v);
}

static void note_unprotected(struct mmu *mmu, struct tlb_entry *e)
{
    if (mmu->unprotected_count < UNPROTECTED_MAX)
        mmu->unprotected[mmu->unprotected_count] = e;
    if (mmu->unprotected_count <= UNPROTECTED_MAX)
        mmu->unprotected_count++;
}

/* What was made while CR0.WP was 0. Setting it takes no other rights, and clearing it none. */
void mmu_protect(struct vcpu *v)
{
    struct mmu *mmu = v->mmu;
    memset(mmu->code_write, 0, sizeof mmu->code_write);
    if (likely(mmu->unprotected_count <= UNPROTECTED_MAX)) {
        for (unsigned i = 0; i < mmu->unprotected_count; i++)
            mmu->unprotected[i]->write = 0;
    } else {
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            v->tlb[MMU_KERNEL].entry[i].write = v->tlb[MMU_KERNEL_AC].entry[i].write = 0;
    }
    mmu->unprotected_count = 0;
}

static void slots_kill(struct vcpu *v, unsigned first, unsigned count)
{
    memset(v->mmu->code_write, 0, sizeof v->mmu->code_write);
    for (unsigned i = 0; i < MMU_INDEX_COUNT - 1; i++) {
        memset(&v->tlb[i].entry[first], 0, count * sizeof(struct tlb_entry));
        memset(&v->mmu->global[i][first], 0, count * sizeof(u32));
    }
}

/* Every translation of `lin`, of whatever PCID: more than asked for does no harm. */
static void kill_page(struct vcpu *v, u64 lin)
{
    const struct page_set *large = &v->mmu->large;
    if (page_set_has(large, large_number(lin, 2))) {
        mmu_flush_all(v); /* its fragments may be in any slot */
    } else if (page_set_has(large, large_number(lin, 1))) {
        /* A 4 MiB page is two 2 MiB regions, 1024 consecutive slots. */
        unsigned first = (lin >> PAGE_SHIFT) & (TLB_ENTRIES - 1) & ~1023u;
        slots_kill(v, first, 1024);
        forget_code(v);
    } else {
        slots_kill(v, lin >> PAGE_SHIFT & (TLB_ENTRIES - 1), 1);
        if (page_set_has(&v->mmu->code, code_number(lin)))
            forget_code(v);
    }
}

void mmu_invlpg(struct vcpu *v, u64 lin)
{
    kill_page(v, lin);
}

void mmu_invpcid(struct vcpu *v, u64 type, u64 pcid, u64 lin)
{
    struct mmu *mmu = v->mmu;
    switch (type) {
    case 0: /* one address of one PCID, global translations may stay */
        kill_page(v, lin);
        break;
    case 1: /* one PCID, but global pages */
        mmu->pcid_epoch[pcid & (PCID_COUNT - 1)] = 0;
        if ((pcid & (PCID_COUNT - 1)) == current_pcid(v))
            tag_renew(v, false);
        break;
    case 2:
        mmu_flush_all(v);
        break;
    default: /* all PCIDs, but global pages */
        forget_pcids(mmu);
        tag_renew(v, false);
        break;
    }
}

static u64 *writable_filter(struct mmu *mmu, const u8 *page, u64 *bit)
{
    u64 hash = ((u64)(uintptr_t)page >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 48;
    *bit = BIT(hash & 63);
    return &mmu->writable[hash >> 6 & (WRITABLE_FILTER_LEN - 1)];
}

void tlb_note_writable(struct vcpu *v, const u8 *page)
{
    u64 bit, *word = writable_filter(v->mmu, page, &bit);
    if (*word & bit)
        return;
    __atomic_store_n(word, *word | bit, __ATOMIC_RELAXED);
    atomic_thread_fence(memory_order_seq_cst);
}

bool mmu_may_write(const struct vcpu *v, const u8 *page)
{
    u64 bit;
    const u64 *word = writable_filter(v->mmu, page, &bit);
    return __atomic_load_n(word, __ATOMIC_SEQ_CST) & bit;
}

/* The filter is made anew from what there is. */
void mmu_forget_writable(struct vcpu *v, const u8 *page)
{
    struct tlb_entry *e = v->tlb->entry, *end = e + (MMU_INDEX_COUNT - 1) * TLB_ENTRIES;
    memset(v->mmu->writable, 0, sizeof v->mmu->writable);
    for (; e < end; e++) {
        if (!e->write)
            continue;
        const u8 *to = (const u8 *)(uintptr_t)((e->write & PAGE_MASK) + e->addend);
        u64 bit, *word = writable_filter(v->mmu, to, &bit);
        if (to == page)
            e->write = 0;
        else
            *word |= bit;
    }
}

static bool retag(u64 *tag, u64 page, u64 now)
{
    if (!(*tag & TAG_MASK) || (*tag & PAGE_MASK) != page || *tag == (page | now))
        return false;
    *tag = page | now;
    return true;
}

/* Something that depends on the address space: not under the tag of global pages. */
static void kernel_fill_local(struct vcpu *v)
{
    v->mmu->kernel_local = v->mmu->kernel_filled = true;
    v->tlb_tag[MMU_KERNEL] = v->asid_tag;
}

/* Is the entry one of this address space, in a TLB that has the tag of global pages now? */
static bool is_local(const struct vcpu *v, const struct tlb_entry *e, u64 page, unsigned index)
{
    u64 tag = page | v->asid_tag;
    return index == MMU_KERNEL && v->tlb_tag[index] != v->asid_tag &&
           (e->read == tag || e->write == tag || e->exec == tag);
}

bool tlb_promote(struct vcpu *v, u64 lin, unsigned index)
{
    struct tlb_entry *e = tlb_slot(v, lin, index);
    if (is_local(v, e, lin & PAGE_MASK, index)) {
        kernel_fill_local(v);
        return true;
    }
    if (v->mmu->global[index][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] != v->mmu->global_epoch)
        return false;
    u64 page = lin & PAGE_MASK;
    bool read = retag(&e->read, page, v->tlb_tag[index]);
    bool write = retag(&e->write, page, v->tlb_tag[index]);
    bool exec = retag(&e->exec, page, v->tlb_tag[index]);
    return read || write || exec;
}

void tlb_fill(struct vcpu *v, u64 lin, unsigned index, enum mmu_access access, const struct walk *w, u8 *hva,
              bool write_ok)
{
    struct mmu *mmu = v->mmu;
    struct tlb_entry *e = tlb_slot(v, lin, index);
    if (index == MMU_KERNEL && !w->global)
        kernel_fill_local(v);
    u64 page = lin & PAGE_MASK, tag = page | v->tlb_tag[index];
    u64 addend = (u64)hva - page;
    bool same = e->addend == addend && (e->read == tag || e->write == tag || e->exec == tag);
    if (!same) {
        *e = (struct tlb_entry){.addend = addend};
        mmu->global[index][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] = 0;
    } else if (e->read != tag || e->write != tag || e->exec != tag) {
        /* Old tags of a global page must not come back to life with rights that may be stale. */
        e->read = e->read == tag ? tag : 0;
        e->write = e->write == tag ? tag : 0;
        e->exec = e->exec == tag ? tag : 0;
    }
    if (access == MMU_EXEC) {
        e->exec = tag;
    } else {
        e->read = tag;
        e->write = write_ok ? tag : 0;
        if (write_ok && !(v->cr0 & CR0_WP) && index != MMU_USER)
            note_unprotected(mmu, e);
    }
    if (w->global)
        mmu->global[index][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] = mmu->global_epoch;
    else
        mmu->global[index][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] = 0;
    if (w->large) {
        /* A 4 MiB page covers two regions. */
        page_set_add(&mmu->large, large_number(lin, 1));
        page_set_add(&mmu->large, large_number(lin ^ MIB(2), 1));
        if (w->large == 2)
            page_set_add(&mmu->large, large_number(lin, 2));
    }
}
