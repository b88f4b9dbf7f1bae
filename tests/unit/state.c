/* Saved state: round trip, and every kind of damage refused with nothing changed. */
#include "state/state.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "tests/tap.h"

struct thing {
    u32 a;
    bool on;
    u16 list[3];
    unsigned loads;
};

struct thing_state {
    u32 a;
    bool on;
    u16 list[3];
};

static void thing_save(const void *dev, void *state)
{
    const struct thing *t = dev;
    struct thing_state *s = state;
    s->a = t->a;
    s->on = t->on;
    memcpy(s->list, t->list, sizeof s->list);
}

static int thing_check(const void *dev, const void *state, struct error *err)
{
    const struct thing_state *s = state;
    return s->list[0] > 100 ? error_set(err, EINVAL, "list[0] is %u", s->list[0]) : 0;
}

static void thing_load(void *dev, const void *state)
{
    struct thing *t = dev;
    const struct thing_state *s = state;
    t->a = s->a;
    t->on = s->on;
    memcpy(t->list, s->list, sizeof s->list);
    t->loads++;
}

static const struct state_field thing_fields[] = {
    STATE_FIELD(struct thing_state, a),
    STATE_BOOL(struct thing_state, on),
    STATE_ARRAY(struct thing_state, list, u16),
};

static const struct state_desc thing_desc = {
    "thing",     3,          sizeof(struct thing_state), thing_fields, ARRAY_LEN(thing_fields), thing_save,
    thing_check, thing_load,
};

static struct thing x = {1, true, {2, 3, 4}}, y = {5, false, {6, 7, 8}};

static struct state_set *make_set(void)
{
    struct state_set *set = state_set_create();
    state_set_add(set, &thing_desc, &x, 0);
    state_set_add(set, &thing_desc, &y, 1);
    return set;
}

static void test_round_trip(void)
{
    struct state_set *set = make_set();
    u8 *buf = NULL;
    size_t len = 0;
    CHECK(state_set_save(set, &buf, &len, NULL) == 0);
    x.a = 99;
    y.list[2] = 99;
    CHECK(state_set_load(set, buf, len, NULL) == 0);
    CHECK_EQ(x.a, 1);
    CHECK_EQ(y.list[2], 8);
    free(buf);
    state_set_destroy(set);
}

static void test_every_truncation(void)
{
    struct state_set *set = make_set();
    u8 *buf = NULL;
    size_t len = 0;
    CHECK(state_set_save(set, &buf, &len, NULL) == 0);
    unsigned loads = x.loads + y.loads;
    for (size_t n = 0; n < len; n++) {
        struct error err = {0};
        CHECK(state_set_load(set, buf, n, &err) < 0);
        CHECK(err.message[0]);
    }
    CHECK_EQ(x.loads + y.loads, loads);
    free(buf);
    state_set_destroy(set);
}

/* Loads a copy with the byte at `at` replaced and expects a refusal that mentions `word`. */
static void expect_refused(const u8 *buf, size_t len, size_t at, u8 value, const char *word)
{
    struct state_set *set = make_set();
    u8 *copy = malloc(len);
    memcpy(copy, buf, len);
    copy[at] = value;
    unsigned loads = x.loads + y.loads;
    struct error err = {0};
    CHECK(state_set_load(set, copy, len, &err) < 0);
    if (!strstr(err.message, word))
        printf("# at %zu: \"%s\" does not mention \"%s\"\n", at, err.message, word);
    CHECK(strstr(err.message, word) != NULL);
    CHECK_EQ(x.loads + y.loads, loads);
    free(copy);
    state_set_destroy(set);
}

static void test_damage(void)
{
    struct state_set *set = make_set();
    u8 *buf = NULL;
    size_t len = 0;
    CHECK(state_set_save(set, &buf, &len, NULL) == 0);
    enum {
        RECORD = 12,
        NAME = RECORD + 1,
        VERSION = NAME + 5,
        INSTANCE = VERSION + 2,
        LENGTH = INSTANCE + 4
    };
    enum { PAYLOAD = LENGTH + 4, SECOND = PAYLOAD + 11 };
    expect_refused(buf, len, 0, 'X', "not a saved state");
    expect_refused(buf, len, 8, 2, "format 2");
    expect_refused(buf, len, RECORD, 200, "200 characters");
    expect_refused(buf, len, NAME, 'x', "xhing");
    expect_refused(buf, len, NAME, '\n', "not text");
    expect_refused(buf, len, VERSION, 9, "version 9");
    expect_refused(buf, len, INSTANCE, 7, "number 7");
    expect_refused(buf, len, INSTANCE, 1, "twice");
    expect_refused(buf, len, LENGTH, 10, "10 bytes");
    expect_refused(buf, len, PAYLOAD + 4, 2, "on is 0x2");
    expect_refused(buf, len, PAYLOAD + 5, 101, "list[0] is 101");
    expect_refused(buf, len, SECOND, 0, "after its end");
    free(buf);
    state_set_destroy(set);
}

static unsigned lines;

static void count_line(void *opaque, const char *text)
{
    lines++;
    if (!strcmp(text, "thing.1.list[2] = 0x8"))
        *(bool *)opaque = true;
}

static void test_dump(void)
{
    struct state_set *set = make_set();
    bool seen = false;
    lines = 0;
    state_set_dump(set, count_line, &seen);
    CHECK_EQ(lines, 10);
    CHECK(seen);
    state_set_destroy(set);
}

int main(void)
{
    TAP_RUN(test_round_trip);
    TAP_RUN(test_every_truncation);
    TAP_RUN(test_damage);
    TAP_RUN(test_dump);
    return tap_done();
}
