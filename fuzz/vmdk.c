/* vmdk images and descriptors from an enemy; the descriptor's files do not exist. */
#include "fuzz/block_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return image_fuzz("vmdk", data, size);
}
