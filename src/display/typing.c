#include "display/typing.h"

#include <linux/input-event-codes.h>
#include <stdlib.h>
#include <string.h>

#include "display/keymap.h"

#define POLL_NS  (5 * 1000000ull)  /* how often a busy guest is looked at */
#define STUCK_NS (10 * NS_PER_SEC) /* a guest that reads no key for so long gets the next one anyway */

enum step_kind { STEP_CHORD, STEP_WAIT, STEP_UNTIL };

struct step {
    u8 kind; /* enum step_kind */
    u8 count;
    u16 codes[TYPING_MAX_CHORD];
    u64 ns; /* the chord's hold, the pause, or the time since power-on */
};

struct typing {
    struct loop *loop;
    struct input *input;
    struct timer timer;
    struct step *steps; /* steps[next..count) wait */
    size_t next, count, capacity;
    bool held;      /* the keys of steps[next] are down */
    u64 waited_for; /* virtual ns that the guest has not read its keys */
};

/* --- notation --------------------------------------------------------------------------------------- */

/* Where the parser puts its steps; without `typing` it only checks. */
struct sink {
    struct typing *typing;
    struct error *err;
};

static int steps_reserve(struct typing *t, struct error *err)
{
    if (t->next) { /* those done */
        t->count -= t->next;
        memmove(t->steps, t->steps + t->next, t->count * sizeof *t->steps);
        t->next = 0;
    }
    if (t->count >= TYPING_MAX_STEPS)
        return error_set(err, ENOSPC, "more than %u keys wait to be typed; type less at once",
                         TYPING_MAX_STEPS);
    if (t->count < t->capacity)
        return 0;
    size_t capacity = t->capacity * 2 + 64;
    struct step *steps = realloc(t->steps, capacity * sizeof *steps);
    if (!steps)
        return error_set(err, ENOMEM, "no memory for the keys to be typed");
    t->steps = steps;
    t->capacity = capacity;
    return 0;
}

static int sink_put(const struct sink *sink, const struct step *step)
{
    struct typing *t = sink->typing;
    if (!t)
        return 0;
    int rc = t->count == t->capacity || t->count >= TYPING_MAX_STEPS ? steps_reserve(t, sink->err) : 0;
    if (!rc)
        t->steps[t->count++] = *step;
    return rc;
}

static int put_char(const struct sink *sink, u8 c)
{
    struct keymap_key key = keymap_from_char(c);
    struct step step = {.kind = STEP_CHORD, .ns = TYPING_DEFAULT_NS / 2};
    if (!key.code)
        return error_set(sink->err, EINVAL,
                         c < 0x20 || c == 0x7f ? "the control character %#x has no key; write {ctrl-...}"
                                               : "a US keyboard cannot type the byte %#x; write a key's name "
                                                 "in braces, or ASCII",
                         c);
    if (key.shift == KEYMAP_SHIFTED)
        step.codes[step.count++] = KEY_LEFTSHIFT;
    step.codes[step.count++] = key.code;
    return sink_put(sink, &step);
}

/* "2", "0.5" up to `end`. */
static bool parse_seconds(const char *text, const char *end, u64 max_ns, u64 *ns)
{
    char *stop;
    if (text == end || !strchr("0123456789.", *text))
        return false;
    for (const char *p = text; p < end; p++)
        if (!strchr("0123456789.", *p))
            return false;
    double seconds = strtod(text, &stop);
    if (stop != end || !(seconds * 1e9 <= (double)max_ns))
        return false;
    *ns = (u64)(seconds * 1e9);
    return true;
}

/* The names between the braces, separated by '-'. A last '-' is the key itself: {ctrl--}. */
static int put_chord(const struct sink *sink, const char *name, const char *end)
{
    struct step step = {.kind = STEP_CHORD, .ns = TYPING_DEFAULT_NS / 2};
    while (name < end) {
        const char *dash = name + 1 < end ? memchr(name + 1, '-', (size_t)(end - name - 1)) : NULL;
        size_t len = (size_t)((dash ? dash : end) - name);
        u16 code = keymap_from_name(name, len);
        if (!code)
            return error_set(sink->err, EINVAL,
                             "'%.*s' is no key's name; 'ring3 help run' shows how keys are written",
                             (int)MIN(len, 40u), name);
        if (step.count == TYPING_MAX_CHORD)
            return error_set(sink->err, EINVAL, "more than %d keys at once are not possible",
                             TYPING_MAX_CHORD);
        step.codes[step.count++] = code;
        name += len + 1;
    }
    if (!step.count)
        return error_set(sink->err, EINVAL, "'{}' names no key; write \\{ for a brace");
    return sink_put(sink, &step);
}

static int put_braces(const struct sink *sink, const char **text, const char *end)
{
    const char *name = *text + 1;
    const char *close = memchr(name, '}', (size_t)(end - name));
    if (!close)
        return error_set(sink->err, EINVAL, "'%.40s' has no closing brace; write \\{ for a brace alone",
                         *text);
    *text = close + 1;
    if (close - name > 5 && !strncmp(name, "wait ", 5)) {
        struct step step = {.kind = STEP_WAIT};
        if (!parse_seconds(name + 5, close, TYPING_MAX_HOLD_NS, &step.ns))
            return error_set(sink->err, EINVAL,
                             "'%.*s' is no pause; write {wait SECONDS} with at most %llu seconds",
                             (int)MIN(close - name, 40), name, TYPING_MAX_HOLD_NS / NS_PER_SEC);
        return sink_put(sink, &step);
    }
    return put_chord(sink, name, close);
}

static int put_escape(const struct sink *sink, const char **text, const char *end)
{
    static const char letters[] = "ntebr\\{}@", meaning[] = "\n\t\x1b\b\n\\{}@";
    const char *p = *text + 1;
    const char *which = p < end && *p ? strchr(letters, *p) : NULL;
    if (!which)
        return error_set(sink->err, EINVAL, "'%.2s' means no key; \\n, \\t, \\e, \\b, \\\\, \\{ and \\@ do",
                         *text);
    *text = p + 1;
    return put_char(sink, (u8)meaning[which - letters]);
}

/* The '@' of "@SECONDS" at the end, or the end. A backslash takes the '@' its meaning. */
static const char *find_time(const char *text, u64 *ns)
{
    const char *end = text + strlen(text), *at = strrchr(text, '@');
    unsigned backslashes = 0;
    if (!at || !parse_seconds(at + 1, end, 100000000 * NS_PER_SEC, ns))
        return end;
    for (const char *p = at; p > text && p[-1] == '\\'; p--)
        backslashes++;
    return backslashes % 2 ? end : at;
}

static int parse_text(const struct sink *sink, const char *text)
{
    struct step start = {.kind = STEP_UNTIL};
    const char *end = find_time(text, &start.ns);
    int rc = *end ? sink_put(sink, &start) : 0;
    while (!rc && text < end) {
        if (*text == '{')
            rc = put_braces(sink, &text, end);
        else if (*text == '\\')
            rc = put_escape(sink, &text, end);
        else
            rc = put_char(sink, (u8)*text++);
    }
    return rc;
}

int typing_check(const char *text, struct error *err)
{
    return parse_text(&(struct sink){NULL, err}, text);
}

/* --- typing ----------------------------------------------------------------------------------------- */

static void chord_press(struct typing *t, const struct step *step)
{
    for (unsigned i = 0; i < step->count; i++)
        input_key(t->input, step->codes[i], true);
    t->held = true;
}

static void chord_release(struct typing *t, const struct step *step)
{
    for (unsigned i = step->count; i-- > 0;)
        input_key(t->input, step->codes[i], false);
    t->held = false;
}

/* Does the next thing; returns in how many ns to come again. */
static u64 typing_advance(struct typing *t, u64 now)
{
    const struct step *step = &t->steps[t->next];
    if (t->held) {
        chord_release(t, step);
        t->next++;
        return TYPING_DEFAULT_NS / 2;
    }
    if (step->kind == STEP_CHORD) {
        if (!input_keys_taken(t->input) && t->waited_for < STUCK_NS) {
            t->waited_for += POLL_NS;
            return POLL_NS;
        }
        t->waited_for = 0;
        chord_press(t, step);
        return step->ns;
    }
    t->next++;
    if (step->kind == STEP_WAIT)
        return step->ns;
    return step->ns > now ? step->ns - now : 0;
}

static void typing_expired(void *opaque)
{
    struct typing *t = opaque;
    u64 now = clock_now(loop_clock(t->loop));
    if (t->next < t->count)
        timer_arm(&t->timer, now + typing_advance(t, now));
    else
        t->next = t->count = 0;
}

static void typing_start(struct typing *t)
{
    if (!timer_is_armed(&t->timer) && t->next < t->count)
        timer_arm(&t->timer, clock_now(loop_clock(t->loop)));
}

int typing_create(struct typing **out, struct loop *loop, struct input *input, struct error *err)
{
    struct typing *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(err, ENOMEM, "no memory for a script's keys");
    t->loop = loop;
    t->input = input;
    timer_init(&t->timer, loop, typing_expired, t);
    *out = t;
    return 0;
}

void typing_destroy(struct typing *t)
{
    if (!t)
        return;
    if (t->held)
        chord_release(t, &t->steps[t->next]);
    timer_disarm(&t->timer);
    free(t->steps);
    free(t);
}

int typing_add(struct typing *t, const char *text, struct error *err)
{
    int rc = typing_check(text, err);
    if (rc)
        return rc;
    size_t before = t->count - t->next;
    rc = parse_text(&(struct sink){t, err}, text);
    if (rc)
        t->count = t->next + before; /* all of it or nothing */
    typing_start(t);
    return rc;
}

int typing_add_chord(struct typing *t, const u16 *codes, unsigned count, u64 hold_ns, struct error *err)
{
    struct step step = {.kind = STEP_CHORD, .count = (u8)count, .ns = hold_ns};
    if (!count || count > TYPING_MAX_CHORD || hold_ns > TYPING_MAX_HOLD_NS)
        return error_set(err, EINVAL, "1 to %d keys can be held at once, for at most %llu seconds",
                         TYPING_MAX_CHORD, TYPING_MAX_HOLD_NS / NS_PER_SEC);
    memcpy(step.codes, codes, count * sizeof *codes);
    int rc = sink_put(&(struct sink){t, err}, &step);
    typing_start(t);
    return rc;
}
