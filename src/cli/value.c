/* Sizes and numbers as people type them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/option.h"

/* The digits at the start of `text`; false if there are none, or too many. A sign is no digit. */
static bool digits(const char *text, int base, u64 *out, const char **end)
{
    char *stop;
    if (*text == '-' || *text == '+' || *text == ' ')
        return false;
    errno = 0;
    *out = strtoull(text, &stop, base);
    *end = stop;
    return stop != text && errno == 0;
}

int value_parse_size(const char *text, u64 *out, struct error *err)
{
    static const char *const suffixes[] = {"", "K", "M", "G", "T"};
    const char *end;
    u64 n;

    if (!digits(text, 10, &n, &end))
        goto bad;
    for (unsigned i = 0; i < ARRAY_LEN(suffixes); i++) {
        size_t len = strlen(suffixes[i]);
        if (strncasecmp(end, suffixes[i], len) != 0 || (i == 0 && *end != '\0'))
            continue;
        const char *rest = end + len;
        if (i > 0 && *rest != '\0' && strcasecmp(rest, "B") != 0 && strcasecmp(rest, "iB") != 0)
            continue;
        if (n > (~0ull >> (10 * i)))
            goto bad;
        *out = n << (10 * i);
        return 0;
    }
bad:
    return error_set(err, EINVAL,
                     "'%.80s' is not a size; write a whole number with K, M, G or T behind it, such as 512M",
                     text);
}

int value_parse_number(const char *text, const char *what, u64 min, u64 max, u64 *out, struct error *err)
{
    const char *end;
    u64 n;
    bool hex = !strncasecmp(text, "0x", 2);
    const char *form = hex ? "%#" PRIx64 : "%" PRIu64;
    char low[24], high[24];

    snprintf(low, sizeof low, form, min);
    snprintf(high, sizeof high, form, max);
    if (!digits(text, hex ? 16 : 10, &n, &end) || *end != '\0')
        return error_set(err, EINVAL, "'%.80s' is not a %s; write a whole number from %s to %s", text, what,
                         low, high);
    if (n < min || n > max)
        return error_set(err, EINVAL, "%.80s is not possible as the %s; choose one from %s to %s", text, what,
                         low, high);
    *out = n;
    return 0;
}
