/* Blocks of RAM: a memfd each, mapped once. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/mem.h"

int ram_block_create(struct ram_block **out, const char *name, u64 size, struct error *err)
{
    struct ram_block *block = calloc(1, sizeof *block);
    if (!block)
        return error_set(err, ENOMEM, "out of memory for the description of %s", name);
    *block = (struct ram_block){.fd = -1, .size = size, .name = name};
    block->fd = memfd_create(name, MFD_CLOEXEC);
    if (block->fd < 0 || ftruncate(block->fd, (off_t)size) < 0)
        goto fail;
    void *hva = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, block->fd, 0);
    if (hva == MAP_FAILED)
        goto fail;
    block->hva = hva;
    madvise(hva, size, MADV_DONTDUMP);
    /* Large and mostly untouched: the kernel's zero pages cost nothing. */
    block->page_flags = calloc(size >> PAGE_SHIFT, 1);
    if (!block->page_flags) {
        errno = ENOMEM;
        goto fail;
    }
    *out = block;
    return 0;
fail:;
    int rc =
        error_set(err, errno, "cannot get %llu MiB of memory for %s: %s; give the guest less with --memory",
                  (unsigned long long)(size >> 20), name, strerror(errno));
    ram_block_destroy(block);
    return rc;
}

void ram_block_destroy(struct ram_block *block)
{
    if (!block)
        return;
    if (block->hva)
        munmap(block->hva, block->size);
    if (block->fd >= 0)
        close(block->fd);
    free((void *)block->page_flags);
    free(block);
}

void ram_block_collect_dirty(struct ram_block *block, u64 *bitmap)
{
    u64 pages = block->size >> PAGE_SHIFT;
    memset(bitmap, 0, (pages + 63) / 64 * 8);
    for (u64 i = 0; i < pages; i++)
        if (atomic_load_explicit(&block->page_flags[i], memory_order_relaxed) & RAM_PAGE_DIRTY) {
            atomic_fetch_and(&block->page_flags[i], (u8)~RAM_PAGE_DIRTY);
            bitmap[i / 64] |= BIT(i % 64);
        }
}
