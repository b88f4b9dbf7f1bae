/* Keys by character, keysym and name; the notation of --type and its timing. */
#include <linux/input-event-codes.h>

#include "display/keymap.h"
#include "display/typing.h"
#include "loop/loop.h"
#include "../tap.h"

static void test_characters(void)
{
    unsigned typeable = 0;
    for (u32 c = ' '; c < 0x7f; c++) {
        struct keymap_key key = keymap_from_char(c);
        typeable += key.code != 0;
        struct keymap_key same = keymap_from_keysym(c, false),
                          unicode = keymap_from_keysym(0x01000000 + c, false);
        CHECK_EQ(same.code, key.code);
        CHECK_EQ(same.shift, key.shift);
        CHECK_EQ(unicode.code, key.code);
        /* No other character has this key with the same Shift. */
        for (u32 d = ' '; d < c; d++) {
            struct keymap_key other = keymap_from_char(d);
            CHECK(other.code != key.code || other.shift != key.shift);
        }
    }
    CHECK_EQ(typeable, 95);
    CHECK_EQ(keymap_from_char('A').shift, KEYMAP_SHIFTED);
    CHECK_EQ(keymap_from_char('@').code, KEY_2);
    CHECK_EQ(keymap_from_char(0xe9).code, 0);
    CHECK_EQ(keymap_from_char(1).code, 0);
}

static void test_keysyms(void)
{
    CHECK_EQ(keymap_from_keysym(0xff0d, false).code, KEY_ENTER);
    CHECK_EQ(keymap_from_keysym(0xffbe, false).code, KEY_F1);
    CHECK_EQ(keymap_from_keysym(0xffc7, false).code, KEY_F10);
    CHECK_EQ(keymap_from_keysym(0xffc8, false).code, KEY_F11);
    CHECK_EQ(keymap_from_keysym(0xffc9, false).code, KEY_F12);
    CHECK_EQ(keymap_from_keysym(0xffb8, true).code, KEY_KP8);
    CHECK_EQ(keymap_from_keysym(0xffb8, false).code, KEY_8);
    CHECK_EQ(keymap_from_keysym(0xff97, true).code, KEY_UP);
    CHECK_EQ(keymap_from_keysym(0xff97, false).code, KEY_KP8);
    CHECK_EQ(keymap_from_keysym(0xfe51, false).code, KEY_APOSTROPHE);
    CHECK_EQ(keymap_from_keysym(0xfe03, false).code, 0); /* AltGr */
    CHECK_EQ(keymap_from_keysym(0xe9, false).code, 0);   /* e acute */
    CHECK_EQ(keymap_from_keysym(0xa, false).code, 0);
    CHECK_EQ(keymap_from_keysym(~0u, true).code, 0);
}

static void test_names(void)
{
    CHECK_EQ(keymap_from_name("a", 1), KEY_A);
    CHECK_EQ(keymap_from_name("CTRL", 4), KEY_LEFTCTRL);
    CHECK_EQ(keymap_from_name("f10x", 3), KEY_F10);
    CHECK_EQ(keymap_from_name("f1x", 3), 0);
    CHECK_EQ(keymap_from_name("", 0), 0);
}

static const char *refused(const char *text)
{
    static struct error err;
    err.message[0] = 0;
    return typing_check(text, &err) < 0 ? err.message : "";
}

static void test_notation(void)
{
    CHECK_STR(refused("plain text 123 !\"#{down}{ctrl-alt-del}\\n\\t\\e\\\\\\{}@1.5"), "");
    CHECK_STR(refused("{ctrl--}"), "");
    CHECK_STR(refused("{wait 0.25}@0"), "");
    CHECK_STR(refused(""), "");
    CHECK_STR(refused("a@b.c"), "");
    CHECK(strstr(refused("{nokey}"), "'nokey' is no key's name") != NULL);
    CHECK(strstr(refused("x{down"), "no closing brace") != NULL);
    CHECK(strstr(refused("{}"), "names no key") != NULL);
    CHECK(strstr(refused("{a-b-c-d-e-f-g-h-i}"), "more than 8") != NULL);
    CHECK(strstr(refused("{wait x}"), "is no pause") != NULL);
    CHECK(strstr(refused("{wait 601}"), "is no pause") != NULL);
    CHECK(strstr(refused("\\q"), "means no key") != NULL);
    CHECK(strstr(refused("\\"), "means no key") != NULL);
    CHECK(strstr(refused("\xc3\xa9"), "0xc3") != NULL);
    CHECK(strstr(refused("\x01"), "0x1 has no key") != NULL);
}

/* --- timing --- */

struct rig {
    struct loop *loop;
    struct input *input;
    struct typing *typing;
    struct input_device keyboard;
    bool busy;
    char log[512]; /* "+code-code ..." */
    u64 when[64];
    unsigned events;
};

static void rig_key(void *opaque, u16 code, bool pressed)
{
    struct rig *r = opaque;
    size_t len = strlen(r->log);
    snprintf(r->log + len, sizeof r->log - len, "%c%u", pressed ? '+' : '-', code);
    if (r->events < 64)
        r->when[r->events++] = clock_now(loop_clock(r->loop));
}

static bool rig_idle(void *opaque)
{
    return !((struct rig *)opaque)->busy;
}

static void rig_init(struct rig *r)
{
    memset(r, 0, sizeof *r);
    CHECK(loop_create(&r->loop, NULL) == 0);
    CHECK(input_create(&r->input, NULL) == 0);
    CHECK(typing_create(&r->typing, r->loop, r->input, NULL) == 0);
    r->keyboard = (struct input_device){.key = rig_key, .idle = rig_idle, .opaque = r};
    input_connect(r->input, &r->keyboard);
}

static void rig_finish(struct rig *r)
{
    typing_destroy(r->typing);
    input_destroy(r->input);
    loop_destroy(r->loop);
}

/* Lets virtual time pass up to `end`. */
static void rig_run(struct rig *r, u64 end)
{
    loop_lock(r->loop);
    while (loop_next_deadline(r->loop) <= end) {
        clock_set(loop_clock(r->loop), loop_next_deadline(r->loop));
        loop_run_timers(r->loop, loop_next_deadline(r->loop));
    }
    clock_set(loop_clock(r->loop), end);
    loop_unlock(r->loop);
}

static void test_typing(void)
{
    struct rig r;
    rig_init(&r);
    CHECK(typing_add(r.typing, "aB@2", NULL) == 0);
    CHECK(typing_add(r.typing, "{wait 3}{ctrl-c}", NULL) == 0);
    rig_run(&r, 2 * NS_PER_SEC - 1);
    CHECK_STR(r.log, "");
    rig_run(&r, 3 * NS_PER_SEC);
    CHECK_STR(r.log, "+30-30+42+48-48-42");
    CHECK_EQ(r.when[0], 2 * NS_PER_SEC);
    CHECK(r.when[1] > r.when[0]);
    CHECK_EQ(r.when[2], 2 * NS_PER_SEC + TYPING_DEFAULT_NS);
    rig_run(&r, 5 * NS_PER_SEC);
    CHECK_STR(r.log, "+30-30+42+48-48-42");
    rig_run(&r, 6 * NS_PER_SEC);
    CHECK_STR(r.log, "+30-30+42+48-48-42+29+46-46-29");
    CHECK_EQ(loop_next_deadline(r.loop), ~0ull); /* nothing ticks when all is typed */
    rig_finish(&r);
}

static void test_typing_waits_for_guest(void)
{
    struct rig r;
    rig_init(&r);
    r.busy = true;
    CHECK(typing_add(r.typing, "a", NULL) == 0);
    rig_run(&r, 5 * NS_PER_SEC);
    CHECK_STR(r.log, "");
    r.busy = false;
    rig_run(&r, 6 * NS_PER_SEC);
    CHECK_STR(r.log, "+30-30");
    /* A guest that never reads is not waited for forever. */
    r.busy = true;
    CHECK(typing_add(r.typing, "b", NULL) == 0);
    rig_run(&r, 20 * NS_PER_SEC);
    CHECK_STR(r.log, "+30-30+48-48");
    rig_finish(&r);
}

static void test_typing_limits(void)
{
    struct rig r;
    struct error err = {0};
    static char long_text[TYPING_MAX_STEPS + 2];
    u16 codes[TYPING_MAX_CHORD + 1] = {KEY_A, KEY_B};
    rig_init(&r);
    memset(long_text, 'x', sizeof long_text - 1);
    CHECK(typing_add(r.typing, long_text, &err) == -ENOSPC);
    rig_run(&r, NS_PER_SEC);
    CHECK_STR(r.log, ""); /* all or nothing */
    CHECK(typing_add(r.typing, "{down}{nokey}", &err) == -EINVAL);
    CHECK(typing_add_chord(r.typing, codes, TYPING_MAX_CHORD + 1, 1, &err) == -EINVAL);
    CHECK(typing_add_chord(r.typing, codes, 0, 1, &err) == -EINVAL);
    CHECK(typing_add_chord(r.typing, codes, 2, TYPING_MAX_HOLD_NS + 1, &err) == -EINVAL);
    CHECK(typing_add_chord(r.typing, codes, 2, NS_PER_SEC, &err) == 0);
    rig_run(&r, NS_PER_SEC + NS_PER_SEC / 2);
    CHECK_STR(r.log, "+30+48");
    rig_finish(&r); /* lets go of what is held */
    CHECK_STR(r.log, "+30+48-48-30");
}

int main(void)
{
    TAP_RUN(test_characters);
    TAP_RUN(test_keysyms);
    TAP_RUN(test_names);
    TAP_RUN(test_notation);
    TAP_RUN(test_typing);
    TAP_RUN(test_typing_waits_for_guest);
    TAP_RUN(test_typing_limits);
    return tap_done();
}
