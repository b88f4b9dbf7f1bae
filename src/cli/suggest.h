/* "Did you mean ...": the nearest of a set of names. */
#ifndef RING3_CLI_SUGGEST_H
#define RING3_CLI_SUGGEST_H

#include "base/types.h"

/*
 * How many single-character edits (insert, delete, replace, swap of neighbours) lead from `a` to `b`; upper
 * and lower case are alike. Names longer than 63 bytes compare by their first 63.
 */
unsigned edit_distance(const char *a, const char *b);

/* Keeps the name nearest to `wanted` among those offered one by one. */
struct suggestion {
    const char *wanted;
    const char *best; /* NULL: none offered yet */
    unsigned distance;
};

void suggestion_init(struct suggestion *s, const char *wanted);
void suggestion_offer(struct suggestion *s, const char *name);

#endif
