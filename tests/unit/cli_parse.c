/* The command line's parsing: options, sizes, numbers, suggestions, the escape key. */
#include "cli/escape.h"
#include "cli/option.h"
#include "cli/suggest.h"
#include "tests/tap.h"

struct target {
    const char *kernel;
    bool stats;
    u64 memory;
};

static int set_kernel(void *target, const char *value, struct error *err)
{
    ((struct target *)target)->kernel = value;
    return 0;
}

static int set_stats(void *target, const char *value, struct error *err)
{
    ((struct target *)target)->stats = !value;
    return 0;
}

static int set_memory(void *target, const char *value, struct error *err)
{
    return value_parse_size(value, &((struct target *)target)->memory, err);
}

static const struct option options[] = {
    {"kernel", "FILE", "", set_kernel},
    {"memory", "SIZE", "", set_memory},
    {"stats", NULL, "", set_stats},
    {0},
};

/* Parses up to four words. */
static enum options_outcome parse(const char *a, const char *b, const char *c, const char *d,
                                  struct target *t, int *operands, struct error *err)
{
    char *argv[] = {(char *)a, (char *)b, (char *)c, (char *)d, NULL};
    int argc = 0;
    while (argv[argc])
        argc++;
    *t = (struct target){0};
    *err = (struct error){0};
    return options_parse(options, "run", argc, argv, t, operands, err);
}

static void test_option_forms(void)
{
    struct target t;
    struct error err;
    int n;
    CHECK_EQ(parse("--kernel", "a", "--memory=2K", "--stats", &t, &n, &err), OPTIONS_OK);
    CHECK_STR(t.kernel, "a");
    CHECK_EQ(t.memory, 2048);
    CHECK(t.stats);
    CHECK_EQ(n, 4);
    CHECK_EQ(parse("--kernel=", NULL, NULL, NULL, &t, &n, &err), OPTIONS_OK);
    CHECK_STR(t.kernel, "");
    CHECK_EQ(parse("--kernel", "--stats", NULL, NULL, &t, &n, &err), OPTIONS_OK);
    CHECK_STR(t.kernel, "--stats");
    CHECK(!t.stats);
    CHECK_EQ(parse("--kernel=a=b", "x", "--stats", NULL, &t, &n, &err), OPTIONS_OK);
    CHECK_STR(t.kernel, "a=b");
    CHECK_EQ(n, 1);
    CHECK(!t.stats);
    CHECK_EQ(parse("--", "--stats", NULL, NULL, &t, &n, &err), OPTIONS_OK);
    CHECK_EQ(n, 1);
    CHECK_EQ(parse("--stats", "-h", NULL, NULL, &t, &n, &err), OPTIONS_HELP);
}

static void test_option_errors(void)
{
    struct target t;
    struct error err;
    int n;
    CHECK_EQ(parse("--kernal=x", NULL, NULL, NULL, &t, &n, &err), OPTIONS_ERROR);
    CHECK(strstr(err.message, "unknown option --kernal=x; the nearest known one is --kernel"));
    CHECK_EQ(parse("-kernel", "x", NULL, NULL, &t, &n, &err), OPTIONS_ERROR);
    CHECK(strstr(err.message, "--kernel"));
    CHECK_EQ(parse("--mem", "1G", NULL, NULL, &t, &n, &err), OPTIONS_ERROR);
    CHECK(strstr(err.message, "is --memory"));
    CHECK_EQ(parse("--memory", NULL, NULL, NULL, &t, &n, &err), OPTIONS_ERROR);
    CHECK_STR(err.message, "--memory: needs a value; write --memory SIZE");
    CHECK_EQ(parse("--stats=1", NULL, NULL, NULL, &t, &n, &err), OPTIONS_ERROR);
    CHECK(strstr(err.message, "--stats: takes no value"));
    CHECK_EQ(parse("--memory", "much", NULL, NULL, &t, &n, &err), OPTIONS_ERROR);
    CHECK(strstr(err.message, "--memory: 'much' is not a size"));
    CHECK_EQ(parse("--=x", NULL, NULL, NULL, &t, &n, &err), OPTIONS_ERROR);
}

static void test_size(void)
{
    static const struct {
        const char *text;
        bool good;
        u64 value;
    } cases[] = {
        {"0", true, 0},           {"4096", true, 4096},
        {"512M", true, MIB(512)}, {"512m", true, MIB(512)},
        {"6G", true, GIB(6)},     {"1K", true, 1024},
        {"2GiB", true, GIB(2)},   {"2MB", true, MIB(2)},
        {"3T", true, 3ull << 40}, {"16777215T", true, 16777215ull << 40},
        {"16777216T", false, 0},  {"18446744073709551616", false, 0},
        {"", false, 0},           {"M", false, 0},
        {"-1M", false, 0},        {" 1M", false, 0},
        {"1.5G", false, 0},       {"1Mx", false, 0},
        {"1B", false, 0},         {"0x10M", false, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error err = {0};
        u64 value = 0;
        int rc = value_parse_size(cases[i].text, &value, &err);
        if ((rc == 0) != cases[i].good || value != cases[i].value)
            printf("# size '%s'\n", cases[i].text);
        CHECK_EQ(rc == 0, cases[i].good);
        CHECK_EQ(value, cases[i].value);
        CHECK_EQ(err.message[0] == '\0', cases[i].good);
    }
}

static void test_number(void)
{
    struct error err = {0};
    u64 v = 0;
    CHECK_EQ(value_parse_number("64", "number of CPUs", 1, 64, &v, &err), 0);
    CHECK_EQ(v, 64);
    CHECK_EQ(value_parse_number("0xF4", "port", 0, 0xffff, &v, &err), 0);
    CHECK_EQ(v, 0xf4);
    CHECK(value_parse_number("65", "number of CPUs", 1, 64, &v, &err) < 0);
    CHECK_STR(err.message, "65 is not possible as the number of CPUs; choose one from 1 to 64");
    CHECK(value_parse_number("-1", "number of CPUs", 1, 64, &v, &err) < 0);
    CHECK_STR(err.message, "'-1' is not a number of CPUs; write a whole number from 1 to 64");
    CHECK(value_parse_number("4x", "port", 0, 9, &v, &err) < 0);
    CHECK(value_parse_number("", "port", 0, 9, &v, &err) < 0);
    CHECK(value_parse_number("0x", "port", 0, 9, &v, &err) < 0);
    CHECK(value_parse_number("0x-1", "port", 0, 9, &v, &err) < 0);
    CHECK(value_parse_number("99999999999999999999", "port", 0, 9, &v, &err) < 0);
}

static void test_suggestion(void)
{
    CHECK_EQ(edit_distance("kernel", "kernel"), 0);
    CHECK_EQ(edit_distance("kernel", "KERNEL"), 0);
    CHECK_EQ(edit_distance("kernal", "kernel"), 1);
    CHECK_EQ(edit_distance("kenrel", "kernel"), 1);
    CHECK_EQ(edit_distance("", "kernel"), 6);
    CHECK_EQ(edit_distance("kitten", "sitting"), 3);
    struct suggestion s;
    suggestion_init(&s, "docter");
    suggestion_offer(&s, "run");
    suggestion_offer(&s, "doctor");
    suggestion_offer(&s, "help");
    CHECK_STR(s.best, "doctor");
}

static void test_escape_key(void)
{
    struct escape e = {0};
    CHECK_EQ(escape_feed(&e, 'q'), ESCAPE_TYPE);
    CHECK_EQ(escape_feed(&e, ESCAPE_KEY), ESCAPE_NONE);
    CHECK_EQ(escape_feed(&e, ESCAPE_KEY), ESCAPE_TYPE);
    CHECK_EQ(escape_feed(&e, 'q'), ESCAPE_TYPE);
    CHECK_EQ(escape_feed(&e, ESCAPE_KEY), ESCAPE_NONE);
    CHECK_EQ(escape_feed(&e, '?'), ESCAPE_HELP);
    CHECK_EQ(escape_feed(&e, '?'), ESCAPE_TYPE);
    CHECK_EQ(escape_feed(&e, ESCAPE_KEY), ESCAPE_NONE);
    CHECK_EQ(escape_feed(&e, 'q'), ESCAPE_QUIT);
}

int main(void)
{
    TAP_RUN(test_option_forms);
    TAP_RUN(test_option_errors);
    TAP_RUN(test_size);
    TAP_RUN(test_number);
    TAP_RUN(test_suggestion);
    TAP_RUN(test_escape_key);
    return tap_done();
}
