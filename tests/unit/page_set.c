/* cpu/page_set.h: what was added is in, what was not is not as long as there is room, and clearing empties.
 */
#include <stdlib.h>
#include "cpu/page_set.h"
#include "tests/tap.h"

static unsigned count_present(const struct page_set *set, u64 factor, u64 offset, unsigned count)
{
    unsigned present = 0;
    for (u64 n = 0; n < count; n++)
        present += page_set_has(set, n * factor + offset);
    return present;
}

static void add_many(struct page_set *set, u64 factor, unsigned count)
{
    for (u64 n = 0; n < count; n++)
        page_set_add(set, n * factor);
}

static void test_some(void)
{
    struct page_set *set = calloc(1, sizeof *set);
    CHECK(!page_set_has(set, 0));
    page_set_add(set, 0);
    CHECK(page_set_has(set, 0) && !page_set_has(set, 1));
    u64 factor = 7 + BIT(30);
    add_many(set, factor, 1000);
    CHECK_EQ(count_present(set, factor, 0, 1000), 1000);
    CHECK(count_present(set, factor, 3, 1000) < 50);
    free(set);
}

static void test_overrun(void)
{
    struct page_set *set = calloc(1, sizeof *set);
    add_many(set, 1, 100000);
    CHECK_EQ(count_present(set, 1, 0, 100000), 100000);
    page_set_clear(set);
    CHECK_EQ(count_present(set, 1, 0, 100000), 0);
    free(set);
}

/* Old keys do not come back when the epoch's bits have run out. */
static void test_epochs(void)
{
    struct page_set *set = calloc(1, sizeof *set);
    unsigned back = 0;
    page_set_add(set, 42);
    for (u64 n = 0; n < 3u << PAGE_SET_EPOCH; n++) {
        page_set_clear(set);
        back += page_set_has(set, 42);
    }
    CHECK_EQ(back, 0);
    free(set);
}

int main(void)
{
    TAP_RUN(test_some);
    TAP_RUN(test_overrun);
    TAP_RUN(test_epochs);
    return tap_done();
}
