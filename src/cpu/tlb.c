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
    memset(v->mmu->code_filter, 0, sizeof v->mmu->code_filter);
}

static u64 *code_filter(struct mmu *mmu, u64 lin, u64 *bit)
{
    u64 hash = (lin >> PAGE_SHIFT) * 0x9e3779b97f4a7c15ull >> 52;
    *bit = BIT(hash & 63);
    return &mmu->code_filter[hash >> 6 & (CODE_FILTER_LEN - 1)];
}

bool mmu_code_remember(struct vcpu *v, u64 lin)
{
    u64 bit, *word = code_filter(v->mmu, lin, &bit);
    *word |= bit;
    return v->mmu->global[v->cpl == 3 ? MMU_USER : MMU_KERNEL][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] ==
           v->mmu->global_epoch;
}

/* Gives the current PCID a tag that no entry has. */
static void tag_renew(struct vcpu *v)
{
    struct mmu *mmu = v->mmu;
    if (mmu->tag_last == TAG_MASK) {
        memset(v->tlb, 0, (MMU_INDEX_COUNT - 1) * sizeof *v->tlb);
        memset(mmu->global, 0, sizeof mmu->global);
        memset(mmu->large_2m, 0, sizeof mmu->large_2m);
        mmu->large_1g = 0;
        forget_pcids(mmu);
        forget_code(v);
        mmu->tag_last = 0;
    }
    unsigned pcid = current_pcid(v);
    mmu->pcid_epoch[pcid] = mmu->epoch;
    mmu->pcid_tag[pcid] = (u16)++mmu->tag_last;
    v->asid_tag = mmu->tag_last;
}

void mmu_flush_all(struct vcpu *v)
{
    forget_pcids(v->mmu);
    forget_globals(v->mmu);
    forget_code(v);
    memset(v->mmu->large_2m, 0, sizeof v->mmu->large_2m);
    v->mmu->large_1g = 0;
    mmu_format_update(v);
    tag_renew(v);
    log_trace(v->vm->log, TRACE_MMU, "cpu%u: flush all", v->index);
}

void mmu_flush_nonglobal(struct vcpu *v)
{
    tag_renew(v);
}

void mmu_switch(struct vcpu *v, bool keep)
{
    struct mmu *mmu = v->mmu;
    unsigned pcid = current_pcid(v);
    if (keep && mmu->pcid_epoch[pcid] == mmu->epoch)
        v->asid_tag = mmu->pcid_tag[pcid];
    else
        tag_renew(v);
}

void mmu_map_changed(struct vcpu *v)
{
    v->mmu->a20 = v->vm->mem ? mem_a20_mask(v->vm->mem) : ~0ull;
    for (unsigned i = 0; i < PAGE_CACHE_SIZE; i++)
        v->mmu->page[i].page = ~0ull;
    memset(v->mmu->run, 0, sizeof v->mmu->run);
    mmu_flush_all(v);
}

static u64 *filter_2m(struct mmu *mmu, u64 lin, u64 *bit)
{
    u64 hash = (lin >> 21) * 0x9e3779b97f4a7c15ull >> 52;
    *bit = BIT(hash & 63);
    return &mmu->large_2m[hash >> 6 & (LARGE_FILTER_LEN - 1)];
}

static u64 filter_1g_bit(u64 lin)
{
    return BIT((lin >> 30) * 0x9e3779b97f4a7c15ull >> 58);
}

static void slots_kill(struct vcpu *v, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < MMU_INDEX_COUNT - 1; i++) {
        memset(&v->tlb[i].entry[first], 0, count * sizeof(struct tlb_entry));
        memset(&v->mmu->global[i][first], 0, count * sizeof(u32));
    }
}

/* Every translation of `lin`, of whatever PCID: more than asked for does no harm. */
static void kill_page(struct vcpu *v, u64 lin)
{
    u64 bit;
    u64 *word = filter_2m(v->mmu, lin, &bit);
    if (v->mmu->large_1g & filter_1g_bit(lin)) {
        mmu_flush_all(v); /* its fragments may be in any slot */
    } else if (*word & bit) {
        /* A 4 MiB page is two 2 MiB regions, 1024 consecutive slots. */
        unsigned first = (lin >> PAGE_SHIFT) & (TLB_ENTRIES - 1) & ~1023u;
        slots_kill(v, first, 1024);
        forget_code(v);
    } else {
        slots_kill(v, lin >> PAGE_SHIFT & (TLB_ENTRIES - 1), 1);
        word = code_filter(v->mmu, lin, &bit);
        if (*word & bit)
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
            tag_renew(v);
        break;
    case 2:
        mmu_flush_all(v);
        break;
    default: /* all PCIDs, but global pages */
        forget_pcids(mmu);
        tag_renew(v);
        break;
    }
}

static bool retag(u64 *tag, u64 page, u64 asid_tag)
{
    if (!(*tag & TAG_MASK) || (*tag & PAGE_MASK) != page || *tag == (page | asid_tag))
        return false;
    *tag = page | asid_tag;
    return true;
}

bool tlb_promote(struct vcpu *v, u64 lin, unsigned index)
{
    struct tlb_entry *e = tlb_slot(v, lin, index);
    if (v->mmu->global[index][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] != v->mmu->global_epoch)
        return false;
    u64 page = lin & PAGE_MASK;
    bool read = retag(&e->read, page, v->asid_tag);
    bool write = retag(&e->write, page, v->asid_tag);
    bool exec = retag(&e->exec, page, v->asid_tag);
    return read || write || exec;
}

void tlb_fill(struct vcpu *v, u64 lin, unsigned index, enum mmu_access access, const struct walk *w, u8 *hva,
              bool write_ok)
{
    struct mmu *mmu = v->mmu;
    struct tlb_entry *e = tlb_slot(v, lin, index);
    u64 page = lin & PAGE_MASK, tag = page | v->asid_tag;
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
    }
    if (w->global)
        mmu->global[index][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] = mmu->global_epoch;
    else
        mmu->global[index][lin >> PAGE_SHIFT & (TLB_ENTRIES - 1)] = 0;
    if (w->large) {
        /* A 4 MiB page covers two regions. */
        u64 bit, *word = filter_2m(mmu, lin, &bit);
        *word |= bit;
        word = filter_2m(mmu, lin ^ MIB(2), &bit);
        *word |= bit;
        if (w->large == 2)
            mmu->large_1g |= filter_1g_bit(lin);
    }
}
