/* See paging.h. */
#include "paging.h"

const char *const access_names[6] = {"ring 0 read", "ring 0 write", "ring 0 fetch",
                                     "ring 3 read", "ring 3 write", "ring 3 fetch"};
u8 user_page[4096] PAGE_ALIGNED, page_under_test[4096] PAGE_ALIGNED;

enum { STUB_READ = 0, STUB_WRITE = 16, CODE_RET = 0, CODE_INT80 = 16, DATA = 64 };

void paging_init(void)
{
    static const u8 read[] = {0x8a, 0x08, 0xcd, 0x80};  /* mov (%eax), %cl; int $0x80 */
    static const u8 write[] = {0x88, 0x08, 0xcd, 0x80}; /* mov %cl, (%eax); int $0x80 */

    memcpy(user_page + STUB_READ, read, sizeof(read));
    memcpy(user_page + STUB_WRITE, write, sizeof(write));
    page_under_test[CODE_RET] = 0xc3;
    page_under_test[CODE_INT80] = 0xcd;
    page_under_test[CODE_INT80 + 1] = 0x80;
}

void level_set(const struct walk_level *l, u64 bits)
{
    if (l->wide)
        *(volatile u64 *)l->entry = l->base | bits;
    else
        *(volatile u32 *)l->entry = (u32)(l->base | bits);
}

u64 level_get(const struct walk_level *l)
{
    return l->wide ? *(volatile u64 *)l->entry : *(volatile u32 *)l->entry;
}

static void run_in_ring3(ulong ip, ulong ax)
{
#ifdef __x86_64__
    asm volatile(
        TRY_BEGIN
        "pushq %2\n\tpushq %0\n\tpushq $2\n\tpushq %3\n\tpushq %0\n\tmov %0, trap_insn\n\tiretq\n880:" TRY_END
        : "+b"(ip), "+a"(ax)
        : "i"(SEL_UDATA), "i"(SEL_UCODE64)
        : "rcx", "memory");
#else
    asm volatile("push %%ds\n\tpush %%es\n\t" TRY_BEGIN
                 "mov %2, %%ecx\n\tmov %%ecx, %%ds\n\tmov %%ecx, %%es\n\tpushl %2\n\tpushl %0\n\tpushl "
                 "$2\n\tpushl %3\n\tpushl %0\n\t"
                 "mov %0, trap_insn\n\tiret\n880:" TRY_END "pop %%es\n\tpop %%ds"
                 : "+b"(ip), "+a"(ax)
                 : "i"(SEL_UDATA), "i"(SEL_UCODE32)
                 : "ecx", "memory");
#endif
}

void paging_access(const struct walk *w, enum access_kind kind, ulong va)
{
    switch (kind) {
    case READ_0:
        TRY("mov (%0), %%al", : "r"(va + DATA) : REG("ax"));
        break;
    case WRITE_0:
        TRY("mov %%al, (%0)", : "r"(va + DATA) : "memory");
        break;
    case FETCH_0:
        TRY("call *%0", : "r"(va + CODE_RET) : "memory");
        trap_insn = va + CODE_RET;
        break;
    case READ_3:
        run_in_ring3(w->user_stub + STUB_READ, va + DATA);
        break;
    case WRITE_3:
        run_in_ring3(w->user_stub + STUB_WRITE, va + DATA);
        break;
    case FETCH_3:
        run_in_ring3(va + CODE_INT80, 0);
        break;
    }
}

struct rights {
    u64 bits[4];
    bool wp, smep, smap;
};

/* The error code that the manuals want, or -1 for no fault. */
static int expected_error(const struct walk *w, const struct rights *r, enum access_kind kind)
{
    bool user = kind >= READ_3, write = kind == WRITE_0 || kind == WRITE_3,
         fetch = kind == FETCH_0 || kind == FETCH_3;
    bool u = true, can_write = true, can_run = true;
    int error =
        (write ? (int)PFE_W : 0) | (user ? (int)PFE_U : 0) | (fetch && (w->nx || r->smep) ? (int)PFE_I : 0);

    for (int i = 0; i < w->count; i++) {
        u64 bits = r->bits[i], allowed = w->level[i].allowed;
        if (!(bits & PTE_P))
            return error;
        u = u && ((bits & PTE_U) || !(allowed & PTE_U));
        can_write = can_write && ((bits & PTE_W) || !(allowed & PTE_W));
        can_run = can_run && !(bits & allowed & PTE_NX);
    }
    error |= PFE_P;
    if (user) {
        if (!u || (write && !can_write) || (fetch && !can_run))
            return error;
        return -1;
    }
    if (write && !can_write && r->wp)
        return error;
    if (!fetch && u && r->smap)
        return error;
    if (fetch && (!can_run || (u && r->smep)))
        return error;
    return -1;
}

/* One access under one set of rights; true if everything is as it should be. */
static bool access_is_right(const struct walk *w, const struct rights *r, enum access_kind kind)
{
    bool write = kind == WRITE_0 || kind == WRITE_3, ad_ok = true;
    int want = expected_error(w, r, kind);
    ulong address = w->va + (kind == FETCH_0 ? CODE_RET : kind == FETCH_3 ? CODE_INT80 : DATA);

    for (int i = 0; i < w->count; i++)
        level_set(&w->level[i], r->bits[i]);
    invlpg((void *)w->va);
    paging_access(w, kind, w->va);
    u64 leaf = level_get(&w->level[w->count - 1]);
    if (want < 0) {
        for (int i = 0; i < w->count; i++)
            if ((w->level[i].allowed & PTE_U) && !(level_get(&w->level[i]) & PTE_A))
                ad_ok = false;
        if (((leaf & PTE_D) != 0) != write)
            ad_ok = false;
        if ((trap.vector == (ulong)-1 || trap.vector == VEC_DONE) && ad_ok)
            return true;
    } else {
        ad_ok = !(leaf & PTE_D);
        if (trap.vector == PF && trap.error == (ulong)want && trap.cr2 == address && trap.ip == trap_insn &&
            ad_ok)
            return true;
    }
    print("  %s: vector %d error 0x%lx cr2 0x%lx ip 0x%lx, want error %d; bits", access_names[kind],
          (int)trap.vector, trap.error, trap.cr2, trap.ip, want);
    for (int i = 0; i < w->count; i++)
        print(" %llx", (unsigned long long)level_get(&w->level[i]));
    print("\n");
    return false;
}

static bool combos_are_right(const struct walk *w, struct rights *r, enum access_kind kind)
{
    int bad = 0;

    for (int upper = 0; upper < w->count; upper++) /* the last: no upper level restricted */
        for (u32 ub = 0; ub < 16; ub++)
            for (u32 lb = 0; lb < 16; lb++) {
                u64 spread[2] = {(ub & 7) | (ub & 8 ? PTE_NX : 0), (lb & 7) | (lb & 8 ? PTE_NX : 0)};
                int leaf = w->count - 1;
                if ((!w->nx && ((lb | ub) & 8)) || (upper == leaf && ub != 0))
                    continue;
                if (upper < leaf && (w->level[upper].allowed & spread[0]) != spread[0])
                    continue;
                if (upper < leaf && !(w->level[upper].allowed & PTE_W) && (ub & 1) == 0)
                    continue; /* a PAE PDPTE is loaded with CR3 only */
                for (int i = 0; i < leaf; i++)
                    r->bits[i] = PTE_ALL & w->level[i].allowed;
                r->bits[leaf] = spread[1];
                if (upper < leaf)
                    r->bits[upper] = spread[0];
                if (!access_is_right(w, r, kind) && ++bad == 5)
                    return false;
            }
    return bad == 0;
}

void paging_matrix(const struct walk *w, const char *name)
{
    u32 features = cpuid(7, 0).b;
    ulong cr4 = cr4_read();

    for (u32 set = 0; set < 8; set++) {
        struct rights r = {.wp = set & 1, .smep = set & 2, .smap = set & 4};
        if ((r.smep && !(features & 1u << 7)) || (r.smap && !(features & 1u << 20)))
            continue;
        cr0_write((cr0_read() & ~(ulong)CR0_WP) | (r.wp ? CR0_WP : 0));
        cr4_write(cr4 | (r.smep ? CR4_SMEP : 0) | (r.smap ? CR4_SMAP : 0));
        for (int kind = READ_0; kind <= FETCH_3; kind++)
            check(combos_are_right(w, &r, (enum access_kind)kind), "%s: %s,%s%s%s", name, access_names[kind],
                  r.wp ? " WP" : "", r.smep ? " SMEP" : "", r.smap ? " SMAP" : "");
    }
    cr4_write(cr4);
    for (int i = 0; i < w->count; i++)
        level_set(&w->level[i], PTE_ALL & w->level[i].allowed);
    invlpg((void *)w->va);
}
