/* vdi images from an enemy. */
#include "fuzz/block_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return image_fuzz("vdi", data, size);
}
