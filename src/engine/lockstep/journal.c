/* The pages that a run writes to. */
#include <stdlib.h>
#include <string.h>
#include "engine/lockstep/lockstep.h"

static struct journal_page **bucket_of(struct journal *jn, const u8 *hva)
{
    return &jn->bucket[(u64)(uintptr_t)hva * 0x9e3779b97f4a7c15ull >> (64 - JOURNAL_BITS)];
}

static void page_destroy(struct journal_page *p)
{
    if (p)
        free(p->before);
    free(p);
}

/* One more that can be used. */
static bool page_make(struct journal *jn)
{
    if (jn->made == jn->room) {
        unsigned room = jn->room ? 2 * jn->room : 64;
        struct journal_page **page = realloc(jn->page, room * sizeof(struct journal_page *));
        if (!page)
            return false;
        jn->page = page;
        jn->room = room;
    }
    struct journal_page *p = calloc(1, sizeof *p);
    if (p)
        p->before = malloc(2 * PAGE_SIZE);
    if (!p || !p->before) {
        page_destroy(p);
        return false;
    }
    p->after = p->before + PAGE_SIZE;
    jn->page[jn->made++] = p;
    return true;
}

void journal_destroy(struct journal *jn)
{
    for (unsigned i = 0; i < jn->made; i++)
        page_destroy(jn->page[i]);
    free(jn->page);
    *jn = (struct journal){0};
}

void journal_note(struct journal *jn, u8 *hva)
{
    struct journal_page **bucket = bucket_of(jn, hva);
    for (const struct journal_page *p = *bucket; p; p = p->next)
        if (p->hva == hva)
            return;
    if (jn->count == jn->made && !page_make(jn)) {
        jn->failed = true;
        return;
    }
    struct journal_page *p = jn->page[jn->count++];
    p->hva = hva;
    p->changed = false;
    memcpy(p->before, hva, PAGE_SIZE);
    p->next = *bucket;
    *bucket = p;
}

/* Line by line: translations of what has not changed stay. */
#define LINE 64u
static void page_restore(struct journal_page *p, struct mem_space *mem)
{
    for (unsigned at = 0; at < PAGE_SIZE; at += LINE) {
        if (memcmp(p->hva + at, p->before + at, LINE) == 0)
            continue;
        memcpy(p->hva + at, p->before + at, LINE);
        mem_code_written(mem, p->hva + at, LINE);
    }
}

void journal_undo(struct journal *jn, struct mem_space *mem, bool keep)
{
    for (unsigned i = 0; i < jn->count; i++) {
        struct journal_page *p = jn->page[i];
        bool changed = memcmp(p->hva, p->before, PAGE_SIZE) != 0;
        if (keep) {
            p->changed = changed;
            if (changed)
                memcpy(p->after, p->hva, PAGE_SIZE);
        }
        if (changed)
            page_restore(p, mem);
    }
}

bool journal_agrees(const struct journal *jn)
{
    for (unsigned i = 0; i < jn->count; i++) {
        const struct journal_page *p = jn->page[i];
        if (memcmp(p->hva, p->changed ? p->after : p->before, PAGE_SIZE) != 0)
            return false;
    }
    return true;
}

bool journal_first_changed(const struct journal *jn)
{
    for (unsigned i = 0; i < jn->count; i++)
        if (jn->page[i]->changed)
            return true;
    return false;
}

void journal_clear(struct journal *jn)
{
    for (unsigned i = 0; i < jn->count; i++)
        *bucket_of(jn, jn->page[i]->hva) = NULL;
    jn->count = 0;
}
