/*
 * The paging permission matrix: one page is mapped with every combination of P, RW, US and NX in its leaf and
 * in one upper level, and read, written and executed in rings 0 and 3 under every setting of CR0.WP, CR4.SMEP
 * and CR4.SMAP. The outcome (fault, error code, CR2, accessed and dirty bits) is compared with the rules of
 * SDM 3, 4.6 and 4.7 (APM 2, 5.6 and 8.4).
 */
#ifndef GUEST_PAGING_H
#define GUEST_PAGING_H

#include "guest.h"

#define PTE_P   1u
#define PTE_W   2u
#define PTE_U   4u
#define PTE_A   0x20u
#define PTE_D   0x40u
#define PTE_PS  0x80u
#define PTE_G   0x100u
#define PTE_NX  (1ull << 63)
#define PTE_ALL 7u

#define PFE_P    1u
#define PFE_W    2u
#define PFE_U    4u
#define PFE_RSVD 8u
#define PFE_I    16u

enum access_kind { READ_0, WRITE_0, FETCH_0, READ_3, WRITE_3, FETCH_3 };
extern const char *const access_names[6];

struct walk_level {
    void *entry;
    bool wide;   /* 8-byte entry */
    u64 base;    /* address and PS */
    u64 allowed; /* the permission bits that this level has: PAE's PDPTE only P */
};

struct walk {
    ulong va;  /* of the page under test */
    int count; /* levels, the last is the leaf */
    struct walk_level level[4];
    ulong user_stub; /* address of user_page, mapped for ring 3 */
    bool nx;         /* EFER.NXE is on */
};

/* Physical pages for the tests; page_under_test must be what the leaf maps (offset 0 of it), user_page what
 * user_stub maps. */
extern u8 user_page[4096], page_under_test[4096];
void paging_init(void); /* fills them with code */

void level_set(const struct walk_level *l, u64 bits);
u64 level_get(const struct walk_level *l);
/* Does one access to va; the outcome is in `trap`. */
void paging_access(const struct walk *w, enum access_kind kind, ulong va);
void paging_matrix(const struct walk *w, const char *name);

#endif
