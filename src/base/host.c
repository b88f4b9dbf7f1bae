#include "base/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool host_read_number(const char *path, const char *key, u64 *out)
{
    char line[4096];
    bool found = false;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    while (!found && fgets(line, sizeof line, f)) {
        char *at = line, *end;
        if (key && strncmp(line, key, strlen(key)) != 0)
            continue;
        at += key ? strlen(key) : 0;
        at += strspn(at, " \t:");
        *out = strtoull(at, &end, 10);
        found = end != at;
        if (!key)
            break;
    }
    fclose(f);
    return found;
}

u64 host_memory_available(void)
{
    u64 available_kib, swap_kib = 0, limit;
    if (!host_read_number("/proc/meminfo", "MemAvailable", &available_kib))
        return ~0ull;
    host_read_number("/proc/meminfo", "SwapFree", &swap_kib);
    u64 bytes = KIB(available_kib + swap_kib);
    if (host_read_number("/sys/fs/cgroup/memory.max", NULL, &limit))
        bytes = MIN(bytes, limit);
    return bytes;
}
