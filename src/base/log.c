#include "base/log.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *help;
} topics[] = {
#define X(id, name, what) {name, what},
    TRACE_TOPICS(X)
#undef X
};

void log_init(struct log *log)
{
    *log = (struct log){.out = stderr};
}

const char *trace_topic_name(enum trace_topic topic)
{
    return topics[topic].name;
}

const char *trace_topic_help(enum trace_topic topic)
{
    return topics[topic].help;
}

const char *log_parse_topics(struct log *log, const char *list, char *bad, size_t size)
{
    u64 mask = 0;
    while (*list) {
        size_t len = strcspn(list, ","), i;
        for (i = 0; i < ARRAY_LEN(topics); i++)
            if (strlen(topics[i].name) == len && !memcmp(topics[i].name, list, len))
                break;
        if (i == ARRAY_LEN(topics)) {
            snprintf(bad, size, "%.*s", (int)len, list);
            return bad;
        }
        mask |= BIT(i);
        list += len + (list[len] == ',');
    }
    log->topics |= mask;
    return NULL;
}

void log_write(struct log *log, const char *tag, const char *fmt, ...)
{
    char line[1024];
    int n = snprintf(line, sizeof line, "ring3: %s: ", tag);
    va_list args;
    va_start(args, fmt);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 2, fmt, args);
    va_end(args);
    n += MIN(m, (int)sizeof line - n - 3);
    if (log->crlf)
        line[n++] = '\r';
    line[n++] = '\n';
    fflush(log->out);
    if (write(fileno(log->out), line, (size_t)n) < 0)
        return; /* nowhere left to report it */
}
