/*
 * Accesses to guest linear memory that the inline TLB check does not serve: walks, MMIO, the local APIC's
 * page, watchpoints, page crossings. An access resolves every page that it touches before it changes
 * anything.
 */
#include "cpu/ctrl.h"
#include "cpu/debug.h"
#include "cpu/mmu_priv.h"

enum target_kind { TARGET_RAM, TARGET_ROM, TARGET_IO, TARGET_APIC };

/* Where a linear page leads for one access. */
struct target {
    enum target_kind kind;
    bool tracked; /* RAM that no host pointer may be handed out to: code, watchpoint */
    bool code;    /* an engine wants to know of writes */
    u8 *host;     /* RAM, ROM: of the byte addressed */
    u64 gpa;      /* of the byte addressed; known only if `host` is NULL */
};

/* Remembers RAM found at `gpa`, if it is a larger piece than the one that is known. */
static void run_learn(struct mmu *mmu, u64 gpa, const struct mem_page *page, u64 size)
{
    struct ram_run *run = &mmu->run[gpa >> 32 != 0];
    if (gpa < GIB(4) && gpa + size > GIB(4))
        size = GIB(4) - gpa;
    if (size > run->size)
        *run = (struct ram_run){gpa, size, page->hva, page->block, page->block_offset};
}

struct mem_page mmu_page_slow(struct vcpu *v, u64 gpa)
{
    struct mmu *mmu = v->mmu;
    struct page_cache_entry *e = &mmu->page[(gpa >> PAGE_SHIFT) & (PAGE_CACHE_SIZE - 1)];
    if (unlikely(e->page != gpa)) {
        u64 size;
        e->mem = mem_lookup_run(v->vm->mem, gpa, &size);
        e->page = gpa;
        if (e->mem.kind == MEM_RAM && mmu->a20 == ~0ull)
            run_learn(mmu, gpa, &e->mem, size);
    }
    return e->mem;
}

static u64 tag_of(const struct tlb_entry *e, enum mmu_access access)
{
    return access == MMU_READ ? e->read : access == MMU_WRITE ? e->write : e->exec;
}

/* Looks in the TLB, for global entries of an older tag too. */
static bool target_from_tlb(struct vcpu *v, u64 lin, enum mmu_access access, unsigned index, struct target *t)
{
    struct tlb_entry *e = tlb_slot(v, lin, index);
    u64 page = lin & PAGE_MASK;
    if (tag_of(e, access) != (page | v->tlb_tag[index]) &&
        !(tlb_promote(v, lin, index) && tag_of(e, access) == (page | v->tlb_tag[index])))
        return false;
    *t = (struct target){.kind = TARGET_RAM, .host = (u8 *)(lin + e->addend)};
    return true;
}

/* The target of an access within one page that the TLB does not have, as `w` says. Fills the TLB. */
static void target_of_walk(struct vcpu *v, u64 lin, enum mmu_access access, unsigned index,
                           const struct walk *found, struct target *t)
{
    struct walk w = *found;
    *t = (struct target){.gpa = w.gpa | (lin & ~PAGE_MASK)};
    if (unlikely(w.gpa == v->apic_page)) {
        t->kind = TARGET_APIC;
        return;
    }
    struct mem_page page = mmu_page(v, w.gpa);
    if (page.kind != MEM_RAM && page.kind != MEM_ROM) {
        t->kind = TARGET_IO;
        return;
    }
    t->kind = page.kind == MEM_RAM ? TARGET_RAM : TARGET_ROM;
    t->host = page.hva + (lin & ~PAGE_MASK);
    bool write_ok = false;
    if (access == MMU_WRITE) {
        if (t->kind == TARGET_ROM) {
            t->host = NULL;
            return;
        }
        ram_page_mark_dirty(page.block, page.block_offset);
        if (unlikely(v->watch))
            v->watch->page(v->watch->opaque, page.hva);
    }
    if (page.kind == MEM_RAM) {
        if (w.write_ready || access == MMU_WRITE)
            tlb_note_writable(v, page.hva);
        u8 flags = atomic_load_explicit(&page.block->page_flags[page.block_offset >> PAGE_SHIFT],
                                        memory_order_relaxed);
        t->tracked = t->code = flags & RAM_PAGE_CODE;
        write_ok = w.write_ready && (flags & (RAM_PAGE_DIRTY | RAM_PAGE_CODE)) == RAM_PAGE_DIRTY &&
                   (access == MMU_WRITE || !v->watch);
    }
    if (access != MMU_EXEC && unlikely(debug_page_watched(v, lin))) {
        t->tracked = true;
        return;
    }
    if (access == MMU_WRITE && !write_ok)
        return;
    tlb_fill(v, lin, index, access, &w, page.hva, write_ok);
}

/* The target of an access within one page; raises #PF. Fills the TLB. `index` is not MMU_USER_ALIGN. */
static void target_resolve(struct vcpu *v, u64 lin, enum mmu_access access, unsigned index, struct target *t)
{
    struct walk w;
    if (target_from_tlb(v, lin, access, index, t))
        return;
    if (!mmu_walk(v, lin, access, index, true, &w))
        cpu_raise_pf(v, lin, w.error);
    target_of_walk(v, lin, access, index, &w, t);
}

enum mmu_fill mmu_fill(struct vcpu *v, u64 lin, enum mmu_access access)
{
    struct target t;
    struct walk w;
    unsigned index = v->mmu_index;
    if (index == MMU_USER_ALIGN || (v->code64 && sign_extend(lin, 48) != lin))
        return MMU_UNFILLED;
    if (target_from_tlb(v, lin, access, index, &t))
        return MMU_FILLED;
    if (!mmu_walk(v, lin, access, index, true, &w)) {
        v->exc = exception_pf(lin, w.error);
        return MMU_FAULTS;
    }
    target_of_walk(v, lin, access, index, &w, &t);
    return target_from_tlb(v, lin, access, index, &t) ? MMU_FILLED : MMU_UNFILLED;
}

static struct code_write *code_write(struct vcpu *v, u64 lin)
{
    return &v->mmu->code_write[lin >> PAGE_SHIFT & (CODE_WRITE_COUNT - 1)];
}

bool mmu_code_write_known(struct vcpu *v, u64 lin)
{
    const struct code_write *c = code_write(v, lin);
    return c->tag == ((lin & PAGE_MASK) | v->tlb_tag[v->mmu_index]) && c->index == v->mmu_index;
}

u8 *mmu_code_write_ptr(struct vcpu *v, u64 lin)
{
    struct target t;
    struct walk w;
    unsigned index = v->mmu_index;
    struct code_write *c = code_write(v, lin);
    if (likely(mmu_code_write_known(v, lin)))
        return (u8 *)(lin + c->addend);
    if (index == MMU_USER_ALIGN || (v->code64 && sign_extend(lin, 48) != lin) || v->watch ||
        !mmu_walk(v, lin, MMU_WRITE, index, true, &w))
        return NULL;
    target_of_walk(v, lin, MMU_WRITE, index, &w, &t);
    if (!t.code || !t.host || !w.write_ready || debug_page_watched(v, lin))
        return NULL;
    *c = (struct code_write){
        .tag = (lin & PAGE_MASK) | v->tlb_tag[index], .addend = (u64)(uintptr_t)t.host - lin, .index = index};
    return t.host;
}

/* Single loads and stores, so that an aligned access is one access for the other CPUs. */
static u64 host_load(const u8 *p, unsigned size)
{
    switch (size) {
    case 1:
        return *p;
    case 2:
        return load_le16(p);
    case 4:
        return load_le32(p);
    case 8:
        return load_le64(p);
    default:
        return load_le(p, size);
    }
}

static void host_store(u8 *p, unsigned size, u64 value)
{
    switch (size) {
    case 1:
        *p = (u8)value;
        break;
    case 2:
        store_le16(p, (u16)value);
        break;
    case 4:
        store_le32(p, (u32)value);
        break;
    case 8:
        store_le64(p, value);
        break;
    default:
        store_le(p, size, value);
    }
}

u64 mmu_apic_access(struct vcpu *v, u64 gpa, unsigned size, bool write, u64 value)
{
    u64 offset = gpa & ~PAGE_MASK;
    pthread_mutex_lock(v->vm->machine_lock);
    if (write)
        v->apic_ops->write(v->apic, offset, size, value);
    else
        value = v->apic_ops->read(v->apic, offset, size);
    pthread_mutex_unlock(v->vm->machine_lock);
    return value;
}

/* `size` 1..8 within the page. */
static u64 target_read(struct vcpu *v, const struct target *t, unsigned size)
{
    if (likely(t->host != NULL))
        return host_load(t->host, size);
    cpu_meet_world(v);
    if (t->kind == TARGET_APIC)
        return mmu_apic_access(v, t->gpa, size, false, 0) & MASK(8 * size);
    return mem_read(v->vm->mem, t->gpa, size);
}

static void target_write(struct vcpu *v, const struct target *t, unsigned size, u64 value)
{
    if (likely(t->host != NULL)) {
        host_store(t->host, size, value);
        if (unlikely(t->code))
            mem_code_written(v->vm->mem, t->host, size);
        return;
    }
    cpu_meet_world(v);
    if (t->kind == TARGET_APIC)
        mmu_apic_access(v, t->gpa, size, true, value);
    else
        mem_write(v->vm->mem, t->gpa, size, value);
}

static void target_read_bytes(struct vcpu *v, const struct target *t, u8 *buf, unsigned len)
{
    if (likely(t->host != NULL)) {
        memcpy(buf, t->host, len);
        return;
    }
    struct target part = *t;
    while (len) {
        unsigned n = len >= 8 ? 8 : len >= 4 ? 4 : 1;
        store_le(buf, n, target_read(v, &part, n));
        part.gpa += n;
        buf += n;
        len -= n;
    }
}

static void target_write_bytes(struct vcpu *v, const struct target *t, const u8 *buf, unsigned len)
{
    if (likely(t->host != NULL)) {
        memcpy(t->host, buf, len);
        if (unlikely(t->code))
            mem_code_written(v->vm->mem, t->host, len);
        return;
    }
    struct target part = *t;
    while (len) {
        unsigned n = len >= 8 ? 8 : len >= 4 ? 4 : 1;
        target_write(v, &part, n, load_le(buf, n));
        part.gpa += n;
        buf += n;
        len -= n;
    }
}

/* The first byte of the page behind `lin`'s; linear addresses are 32 bits wide outside long mode. */
static u64 next_page(const struct vcpu *v, u64 lin)
{
    u64 next = (lin & PAGE_MASK) + PAGE_SIZE;
    return v->long_mode ? next : next & 0xffffffff;
}

static unsigned bytes_in_page(u64 lin, unsigned len)
{
    unsigned room = (unsigned)(PAGE_SIZE - (lin & ~PAGE_MASK));
    return MIN(len, room);
}

/* #AC(0) if alignment is checked; the index to walk with. */
static unsigned index_resolve(struct vcpu *v, u64 lin, unsigned size, unsigned index)
{
    if (index != MMU_USER_ALIGN)
        return index;
    if (lin & (size - 1) & 7)
        cpu_raise_error(v, EXC_AC, 0);
    return MMU_USER;
}

/* Rights as TLB index, without an alignment check. */
static unsigned current_index(const struct vcpu *v)
{
    return v->mmu_index == MMU_USER_ALIGN ? MMU_USER : v->mmu_index;
}

void mmu_check_align(struct vcpu *v, u64 lin, unsigned align)
{
    if (v->mmu_index == MMU_USER_ALIGN && (lin & (align - 1)))
        cpu_raise_error(v, EXC_AC, 0);
}

/* Resolves both pages, in order; `first` bytes lie in the first. */
static void resolve_pair(struct vcpu *v, u64 lin, enum mmu_access access, unsigned index, struct target t[2])
{
    target_resolve(v, lin, access, index, &t[0]);
    target_resolve(v, next_page(v, lin), access, index, &t[1]);
}

u64 mmu_read_slow(struct vcpu *v, u64 lin, unsigned size, unsigned index)
{
    index = index_resolve(v, lin, size, index);
    struct target t[2];
    u64 value;
    unsigned first = bytes_in_page(lin, size);
    if (likely(first == size)) {
        target_resolve(v, lin, MMU_READ, index, &t[0]);
        value = target_read(v, &t[0], size);
    } else {
        u8 buf[8] = {0};
        resolve_pair(v, lin, MMU_READ, index, t);
        target_read_bytes(v, &t[0], buf, first);
        target_read_bytes(v, &t[1], buf + first, size - first);
        value = load_le64(buf);
    }
    debug_check_data(v, lin, size, false);
    return value;
}

void mmu_write_slow(struct vcpu *v, u64 lin, unsigned size, u64 value, unsigned index)
{
    index = index_resolve(v, lin, size, index);
    struct target t[2];
    unsigned first = bytes_in_page(lin, size);
    if (likely(first == size)) {
        target_resolve(v, lin, MMU_WRITE, index, &t[0]);
        target_write(v, &t[0], size, value);
    } else {
        u8 buf[8];
        store_le64(buf, value);
        resolve_pair(v, lin, MMU_WRITE, index, t);
        target_write_bytes(v, &t[0], buf, first);
        target_write_bytes(v, &t[1], buf + first, size - first);
    }
    debug_check_data(v, lin, size, true);
}

void mmu_read_bytes(struct vcpu *v, u64 lin, void *buf, unsigned len)
{
    unsigned index = current_index(v);
    u64 at = lin;
    u8 *to = buf;
    for (unsigned left = len; left;) {
        struct target t;
        unsigned n = bytes_in_page(at, left);
        target_resolve(v, at, MMU_READ, index, &t);
        target_read_bytes(v, &t, to, n);
        to += n;
        left -= n;
        at = next_page(v, at);
    }
    debug_check_data(v, lin, len, false);
}

void mmu_write_bytes(struct vcpu *v, u64 lin, const void *buf, unsigned len)
{
    unsigned index = current_index(v);
    unsigned first = bytes_in_page(lin, len);
    struct target t[2];
    const u8 *from = buf;
    if (likely(first == len)) {
        target_resolve(v, lin, MMU_WRITE, index, &t[0]);
        target_write_bytes(v, &t[0], from, len);
    } else if (len - first <= PAGE_SIZE) {
        resolve_pair(v, lin, MMU_WRITE, index, t);
        target_write_bytes(v, &t[0], from, first);
        target_write_bytes(v, &t[1], from + first, len - first);
    } else {
        mmu_probe(v, lin, len, MMU_WRITE, index);
        u64 at = lin;
        for (unsigned left = len; left;) {
            unsigned n = bytes_in_page(at, left);
            target_resolve(v, at, MMU_WRITE, index, &t[0]);
            target_write_bytes(v, &t[0], from, n);
            from += n;
            left -= n;
            at = next_page(v, at);
        }
    }
    debug_check_data(v, lin, len, true);
}

void mmu_probe(struct vcpu *v, u64 lin, unsigned len, enum mmu_access access, unsigned index)
{
    if (index == MMU_USER_ALIGN)
        index = MMU_USER;
    for (unsigned left = len; left;) {
        struct target t;
        target_resolve(v, lin, access, index, &t);
        left -= bytes_in_page(lin, left);
        lin = next_page(v, lin);
    }
}

void *mmu_rmw_ptr_as(struct vcpu *v, u64 lin, unsigned size, unsigned index)
{
    if (index == MMU_USER_ALIGN) {
        if (lin & (size - 1))
            cpu_raise_error(v, EXC_AC, 0);
        index = MMU_USER;
    }
    struct target t;
    target_resolve(v, lin, MMU_WRITE, index, &t);
    if (bytes_in_page(lin, size) != size) {
        target_resolve(v, next_page(v, lin), MMU_WRITE, index, &t);
        return NULL;
    }
    return t.kind == TARGET_RAM && !t.tracked ? t.host : NULL;
}

void *mmu_rmw_ptr(struct vcpu *v, u64 lin, unsigned size)
{
    return mmu_rmw_ptr_as(v, lin, size, v->mmu_index);
}

void *mmu_fast_ptr(struct vcpu *v, u64 lin, unsigned len, enum mmu_access access)
{
    if (v->mmu_index == MMU_USER_ALIGN || !len || bytes_in_page(lin, len) != len)
        return NULL;
    struct tlb_entry *e = tlb_slot(v, lin, v->mmu_index);
    return tag_of(e, access) == ((lin & PAGE_MASK) | v->tlb_tag[v->mmu_index]) ? (void *)(lin + e->addend)
                                                                               : NULL;
}

/* Fetches differ by U/S only. */
static unsigned fetch_index(const struct vcpu *v)
{
    return v->cpl == 3 ? MMU_USER : MMU_KERNEL;
}

const u8 *mmu_code_page(struct vcpu *v, u64 lin)
{
    unsigned index = fetch_index(v);
    struct tlb_entry *e = tlb_slot(v, lin, index);
    u64 page = lin & PAGE_MASK;
    if (likely(e->exec == (page | v->tlb_tag[index])))
        return (const u8 *)(page + e->addend);
    struct target t;
    target_resolve(v, lin, MMU_EXEC, index, &t);
    return t.host ? t.host - (lin & ~PAGE_MASK) : NULL;
}

u8 mmu_fetch(struct vcpu *v, u64 lin)
{
    struct target t;
    target_resolve(v, lin, MMU_EXEC, fetch_index(v), &t);
    return (u8)target_read(v, &t, 1);
}

u64 mmu_translate(struct vcpu *v, u64 lin)
{
    struct walk w;
    if (v->long_mode && sign_extend(lin, 48) != lin)
        return ~0ull;
    if (!mmu_walk(v, lin, MMU_READ, MMU_KERNEL, false, &w))
        return ~0ull;
    return w.gpa | (lin & ~PAGE_MASK);
}
