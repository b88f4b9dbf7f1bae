/* It has no saved state: what is left of a line is of no interest to anybody later. */
#include "devices/debug/debug_console.h"

#include <stdlib.h>

#define PRESENT 0xe9 /* what the port reads as */

struct debug_console {
    struct device_env env;
    struct port_region port;
    char line[256];
    size_t len;
};

static void flush(struct debug_console *console)
{
    if (console->len)
        log_trace(console->env.log, TRACE_FIRMWARE, "%.*s", (int)console->len, console->line);
    console->len = 0;
}

static u64 debug_console_read(void *dev, u64 offset, unsigned size)
{
    return PRESENT;
}

/* What a terminal could take for a command is not passed on. */
static void debug_console_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct debug_console *console = dev;
    char c = (char)value;
    if (c == '\n') {
        flush(console);
    } else if (c != '\r') {
        console->line[console->len++] = c >= ' ' && c <= '~' ? c : c == '\t' ? ' ' : '.';
        if (console->len == sizeof console->line)
            flush(console);
    }
}

static const struct io_ops debug_console_ops = {
    .read = debug_console_read, .write = debug_console_write, .max_size = 1};

int debug_console_create(struct debug_console **out, const struct device_env *env, u16 port,
                         struct error *err)
{
    struct debug_console *console = calloc(1, sizeof *console);
    if (!console)
        return error_set(err, ENOMEM, "no memory for the firmware's debug port");
    console->env = *env;
    console->port = (struct port_region){
        .name = "firmware debug", .base = port, .count = 1, .ops = &debug_console_ops, .dev = console};
    port_map(env->mem, &console->port);
    *out = console;
    return 0;
}

void debug_console_destroy(struct debug_console *console)
{
    if (!console)
        return;
    flush(console);
    port_unmap(console->env.mem, &console->port);
    free(console);
}
