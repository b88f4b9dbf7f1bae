/* The edits behind a CPU model's name: features added or taken away, another vendor. */
#include <string.h>
#include "cpu/cpuid.h"

static char plain(char c)
{
    return c == '_' || c == '.' ? '-' : c;
}

static bool same_name(const char *known, const char *word, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!known[i] || plain(known[i]) != plain(word[i]))
            return false;
    return !known[len];
}

/* FEAT_BASE if there is no such feature. */
static enum cpu_feature feature_find(const char *word, size_t len)
{
    for (unsigned f = FEAT_BASE + 1; f < FEAT_COUNT; f++)
        if (same_name(cpu_feature_name((enum cpu_feature)f), word, len))
            return (enum cpu_feature)f;
    return FEAT_BASE;
}

static int edit_feature(struct cpu_model *model, const char *word, size_t len, struct error *err)
{
    enum cpu_feature f = feature_find(word + 1, len - 1);
    if (f == FEAT_BASE)
        return error_set(err, EINVAL, "unknown CPU feature '%.*s'", (int)(len - 1), word + 1);
    if (word[0] == '-') {
        model_remove(model, f);
        return 0;
    }
    if (!cpu_feature_works(f))
        return error_set(err, ENOTSUP, "the CPU feature '%s' cannot be had on this host",
                         cpu_feature_name(f));
    model_add(model, f);
    return 0;
}

static int edit_word(struct cpu_model *model, const char *word, size_t len, struct error *err)
{
    if (len > 1 && (word[0] == '+' || word[0] == '-'))
        return edit_feature(model, word, len, err);
    if (same_name("vendor=AuthenticAMD", word, len))
        model->vendor = VENDOR_AMD;
    else if (same_name("vendor=GenuineIntel", word, len))
        model->vendor = VENDOR_INTEL;
    else
        return error_set(
            err, EINVAL,
            "'%.*s' does not change a CPU model: write +FEATURE, -FEATURE, vendor=AuthenticAMD or "
            "vendor=GenuineIntel",
            (int)(len > 80 ? 80 : len), word);
    return 0;
}

int cpu_model_edit(struct cpu_model *model, const char *edits, struct error *err)
{
    while (*edits == ',') {
        const char *word = edits + 1;
        size_t len = strcspn(word, ",");
        int rc = edit_word(model, word, len, err);
        if (rc < 0)
            return rc;
        edits = word + len;
    }
    return 0;
}
