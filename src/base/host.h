/* Facts about the host that more than one part asks for. */
#ifndef RING3_BASE_HOST_H
#define RING3_BASE_HOST_H

#include "base/types.h"

/*
 * The number behind `key` (NULL: at the start) in a small text file such as /proc/meminfo; false if the file
 * cannot be read or has none.
 */
bool host_read_number(const char *path, const char *key, u64 *out);

/* Bytes that new processes can use: free and reclaimable memory and swap, within the control group's limit.
 * ~0 if unknown. */
u64 host_memory_available(void);

#endif
