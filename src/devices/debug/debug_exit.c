#include "devices/debug/debug_exit.h"

#include <stdlib.h>

struct debug_exit {
    struct device_env env;
    struct debug_exit_config config;
    struct port_region ports;
};

static u64 debug_exit_read(void *opaque, u64 offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, u64 offset, unsigned size, u64 value)
{
    struct debug_exit *dev = opaque;
    if (dev->config.exit)
        dev->config.exit(dev->config.opaque, (u32)value);
}

static const struct io_ops debug_exit_ops = {
    .read = debug_exit_read, .write = debug_exit_write, .max_size = 4};

int debug_exit_create(struct debug_exit **out, const struct device_env *env,
                      const struct debug_exit_config *config, struct error *err)
{
    struct debug_exit *dev = calloc(1, sizeof *dev);
    if (!dev)
        return error_set(err, ENOMEM, "no memory for the debug-exit port");
    dev->env = *env;
    dev->config = *config;
    dev->ports = (struct port_region){
        .name = "debug-exit", .base = config->base, .count = 4, .ops = &debug_exit_ops, .dev = dev};
    port_map(env->mem, &dev->ports);
    *out = dev;
    return 0;
}

void debug_exit_destroy(struct debug_exit *dev)
{
    if (!dev)
        return;
    port_unmap(dev->env.mem, &dev->ports);
    free(dev);
}
