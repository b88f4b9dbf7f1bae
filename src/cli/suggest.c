#include "cli/suggest.h"

#include <ctype.h>
#include <string.h>

#define NAME_MAX_LEN 63

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Optimal string alignment distance, three rows at a time. */
unsigned edit_distance(const char *a, const char *b)
{
    unsigned rows[3][NAME_MAX_LEN + 1];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_len = strnlen(a, NAME_MAX_LEN), b_len = strnlen(b, NAME_MAX_LEN);

    for (size_t j = 0; j <= b_len; j++)
        before[j] = above[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = above[j - 1] + !same(a[i - 1], b[j - 1]);
            best = MIN(best, above[j] + 1);
            best = MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                best = MIN(best, before[j - 2] + 1);
            row[j] = best;
        }
        unsigned *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

void suggestion_init(struct suggestion *s, const char *wanted)
{
    *s = (struct suggestion){.wanted = wanted};
}

/* A name that starts with what was typed (--mem) beats one that is a few edits away. */
static unsigned likeness(const char *wanted, const char *name)
{
    size_t len = strlen(wanted);
    if (len >= 2 && !strncasecmp(wanted, name, len))
        return 1;
    return 2 * edit_distance(wanted, name);
}

void suggestion_offer(struct suggestion *s, const char *name)
{
    unsigned distance = likeness(s->wanted, name);
    if (!s->best || distance < s->distance) {
        s->best = name;
        s->distance = distance;
    }
}
