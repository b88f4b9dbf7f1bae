/* Split virtqueues: taking chains, giving them back, and telling each other. */
#include "devices/virtio/virtq.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* struct virtq_desc (2.7.5). */
struct descriptor {
    u64 gpa;
    u32 len;
    u16 flags, next;
};
#define DESCRIPTOR_SIZE 16u
enum descriptor_flag { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

/* struct virtq_avail and virtq_used (2.7.6, 2.7.8): flags, idx, ring[size], and the other side's event. */
enum ring_field { RING_FLAGS = 0, RING_INDEX = 2, RING_ENTRIES = 4 };
#define AVAIL_ENTRY 2u
#define USED_ENTRY  8u
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

static u16 guest_load16(const u8 *p)
{
    return __atomic_load_n((const u16 *)p, __ATOMIC_RELAXED);
}

static void guest_store16(u8 *p, u16 v)
{
    __atomic_store_n((u16 *)p, v, __ATOMIC_RELAXED);
}

/* --- setting up -----------------------------------------------------------------------------------------
 */

void virtq_init(struct virtq *q, struct mem_space *mem, u16 size_max)
{
    *q = (struct virtq){.mem = mem, .size_max = size_max};
    virtq_reset(q);
}

void virtq_reset(struct virtq *q)
{
    *q = (struct virtq){.mem = q->mem,
                        .size_max = q->size_max,
                        .size = q->size_max,
                        .vector = VIRTQ_NO_VECTOR,
                        .epoch = q->epoch + 1};
}

bool virtq_set_size(struct virtq *q, u16 size)
{
    if (!size || (size & (size - 1)) || size > q->size_max)
        return false;
    q->size = size;
    return true;
}

void virtq_chain_init(struct virtq_chain *chain)
{
    *chain = (struct virtq_chain){0};
}

void virtq_chain_finish(struct virtq_chain *chain)
{
    free(chain->iov);
    free(chain->segment);
    *chain = (struct virtq_chain){0};
}

/* --- guest memory ---------------------------------------------------------------------------------------
 */

/* The rings in our memory, once per change of the memory map. */
static bool parts_map(struct virtq *q)
{
    u64 desc_len = (u64)q->size * DESCRIPTOR_SIZE, avail_len = RING_ENTRIES + (u64)q->size * AVAIL_ENTRY + 2,
        used_len = RING_ENTRIES + (u64)q->size * USED_ENTRY + 2;
    memset(q->run, 0, sizeof q->run);
    q->generation = mem_generation(q->mem);
    if (q->desc.gpa % 16 || q->avail.gpa % 2 || q->used.gpa % 4)
        return false; /* 2.7 */
    q->desc.hva = mem_ram_ptr(q->mem, q->desc.gpa, desc_len);
    q->avail.hva = mem_ram_ptr(q->mem, q->avail.gpa, avail_len);
    q->used.hva = mem_ram_ptr(q->mem, q->used.gpa, used_len);
    return q->desc.hva && q->avail.hva && q->used.hva;
}

static bool queue_is_usable(struct virtq *q)
{
    if (!q->enabled || q->broken)
        return false;
    if (unlikely(!q->used.hva || q->generation != mem_generation(q->mem)) && !parts_map(q))
        q->broken = true;
    return !q->broken;
}

/* RAM at `gpa`: at most `*len` bytes of it, which may become less. NULL: it is none. */
static u8 *ram_find(struct virtq *q, u64 gpa, u64 *len)
{
    for (unsigned i = 0; i < ARRAY_LEN(q->run); i++) {
        struct virtq_run *run = &q->run[i];
        if (gpa - run->gpa < run->len) {
            *len = MIN(*len, run->len - (gpa - run->gpa));
            return run->hva + (gpa - run->gpa);
        }
    }
    u64 found;
    struct mem_page page = mem_lookup_run(q->mem, gpa, &found);
    if (page.kind != MEM_RAM)
        return NULL;
    u64 in_page = gpa & ~PAGE_MASK;
    q->run[1] = q->run[0];
    q->run[0] = (struct virtq_run){gpa - in_page, found, page.hva};
    *len = MIN(*len, found - in_page);
    return page.hva + in_page;
}

/* --- chains ---------------------------------------------------------------------------------------------
 */

static bool chain_reserve(struct virtq_chain *chain, unsigned count)
{
    if (count <= chain->capacity)
        return true;
    unsigned capacity = MAX(count, 2 * chain->capacity + 8);
    struct iovec *iov = realloc(chain->iov, capacity * sizeof *iov);
    if (iov)
        chain->iov = iov;
    struct virtq_segment *segment = realloc(chain->segment, capacity * sizeof *segment);
    if (segment)
        chain->segment = segment;
    if (!iov || !segment)
        return false;
    chain->capacity = capacity;
    return true;
}

/* Adds a buffer to the chain; it may lie in several pieces of our memory. */
static bool chain_add(struct virtq *q, struct virtq_chain *chain, const struct descriptor *d)
{
    bool in = d->flags & DESC_WRITE;
    u64 gpa = d->gpa, left = d->len;
    if (!in && chain->in_count)
        return false; /* 2.7.4.2: readable ones come first */
    if (gpa + left < gpa)
        return false;
    while (left) {
        u64 len = left;
        u8 *hva = ram_find(q, gpa, &len);
        unsigned at = chain->out_count + chain->in_count;
        if (!hva || at >= VIRTQ_CHAIN_MAX || !chain_reserve(chain, at + 1))
            return false;
        chain->iov[at] = (struct iovec){hva, len};
        chain->segment[at] = (struct virtq_segment){gpa, (u32)len};
        *(in ? &chain->in_count : &chain->out_count) += 1;
        gpa += len;
        left -= len;
    }
    *(in ? &chain->in_len : &chain->out_len) += d->len;
    return true;
}

static struct descriptor descriptor_load(const u8 *table, unsigned index)
{
    const u64 *at = (const u64 *)(table + (size_t)index * DESCRIPTOR_SIZE);
    u64 gpa = __atomic_load_n(at, __ATOMIC_RELAXED), rest = __atomic_load_n(at + 1, __ATOMIC_RELAXED);
    return (struct descriptor){gpa, (u32)rest, (u16)(rest >> 32), (u16)(rest >> 48)};
}

/* The descriptors of an indirect table (2.7.5.3), which need not be aligned. */
static bool chain_add_indirect(struct virtq *q, struct virtq_chain *chain, const struct descriptor *table)
{
    unsigned count = table->len / DESCRIPTOR_SIZE, index = 0;
    if (!q->indirect || !count || table->len % DESCRIPTOR_SIZE || (table->flags & DESC_NEXT) ||
        table->gpa + table->len < table->gpa)
        return false;
    for (unsigned seen = 0; seen < MIN(count, (unsigned)VIRTQ_CHAIN_MAX); seen++) {
        u8 bytes[DESCRIPTOR_SIZE];
        u64 len = sizeof bytes, gpa = table->gpa + (u64)index * DESCRIPTOR_SIZE;
        const u8 *hva = ram_find(q, gpa, &len);
        if (!hva)
            return false;
        if (len == sizeof bytes)
            memcpy(bytes, hva, sizeof bytes);
        else
            mem_read_bytes(q->mem, gpa, bytes, sizeof bytes);
        struct descriptor d = {load_le64(bytes), load_le32(bytes + 8), load_le16(bytes + 12),
                               load_le16(bytes + 14)};
        if ((d.flags & DESC_INDIRECT) || !chain_add(q, chain, &d))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        index = d.next;
        if (index >= count)
            return false;
    }
    return false; /* a loop */
}

static bool chain_resolve(struct virtq *q, struct virtq_chain *chain)
{
    unsigned index = chain->head;
    chain->epoch = q->epoch;
    chain->out_count = chain->in_count = 0;
    chain->out_len = chain->in_len = 0;
    for (unsigned seen = 0; seen < q->size; seen++) {
        if (index >= q->size)
            return false;
        struct descriptor d = descriptor_load(q->desc.hva, index);
        if (d.flags & DESC_INDIRECT)
            return chain_add_indirect(q, chain, &d);
        if (!chain_add(q, chain, &d))
            return false;
        if (!(d.flags & DESC_NEXT))
            return true;
        index = d.next;
    }
    return false; /* a loop */
}

/* --- the available ring ---------------------------------------------------------------------------------
 */

bool virtq_has_next(struct virtq *q)
{
    if (!queue_is_usable(q))
        return false;
    u16 count = (u16)(guest_load16(q->avail.hva + RING_INDEX) - q->avail_next);
    if (count > q->size)
        q->broken = true;
    return count && !q->broken;
}

bool virtq_peek(struct virtq *q, struct virtq_chain *chain)
{
    if (!virtq_has_next(q))
        return false;
    atomic_thread_fence(memory_order_acquire); /* the index before the entry */
    chain->head = guest_load16(q->avail.hva + RING_ENTRIES + (q->avail_next & (q->size - 1u)) * AVAIL_ENTRY);
    if (!chain_resolve(q, chain))
        q->broken = true;
    return !q->broken;
}

/* Writes the used ring's event field: notify us when the available index passes `avail_next`. */
static void avail_event_store(struct virtq *q)
{
    u64 at = RING_ENTRIES + (u64)q->size * USED_ENTRY;
    guest_store16(q->used.hva + at, q->avail_next);
    mem_mark_dirty(q->mem, q->used.gpa + at, 2);
}

void virtq_take(struct virtq *q)
{
    q->avail_next++;
}

bool virtq_pop(struct virtq *q, struct virtq_chain *chain)
{
    if (!virtq_peek(q, chain))
        return false;
    virtq_take(q);
    return true;
}

void virtq_set_quiet(struct virtq *q, bool quiet)
{
    if (!queue_is_usable(q))
        return;
    if (q->event_idx) {
        if (!quiet)
            avail_event_store(q); /* a past event asks for nothing: nothing to do for quiet */
    } else if (q->quiet != quiet) {
        guest_store16(q->used.hva + RING_FLAGS, quiet ? USED_NO_NOTIFY : 0);
        mem_mark_dirty(q->mem, q->used.gpa, 2);
    }
    q->quiet = quiet;
    if (!quiet)
        atomic_thread_fence(memory_order_seq_cst); /* our wish before the next look at the index */
}

/* --- the used ring --------------------------------------------------------------------------------------
 */

static void chain_mark_dirty(struct virtq *q, const struct virtq_chain *chain, u32 written)
{
    u64 left = written;
    for (unsigned i = 0; i < chain->in_count && left; i++) {
        const struct virtq_segment *s = &chain->segment[chain->out_count + i];
        u64 len = MIN(left, s->len);
        mem_mark_dirty(q->mem, s->gpa, len);
        left -= len;
    }
}

void virtq_push(struct virtq *q, const struct virtq_chain *chain, u32 written)
{
    chain_mark_dirty(q, chain, written);
    if (chain->epoch != q->epoch || !queue_is_usable(q))
        return;
    u64 at = RING_ENTRIES + (u64)(q->used_next & (q->size - 1u)) * USED_ENTRY;
    store_le32(q->used.hva + at, chain->head);
    store_le32(q->used.hva + at + 4, written);
    q->used_next++;
    __atomic_store_n((u16 *)(q->used.hva + RING_INDEX), q->used_next, __ATOMIC_RELEASE);
    mem_mark_dirty(q->mem, q->used.gpa + at, USED_ENTRY);
    mem_mark_dirty(q->mem, q->used.gpa, RING_ENTRIES);
}

bool virtq_wants_interrupt(struct virtq *q)
{
    if (!queue_is_usable(q))
        return false;
    atomic_thread_fence(memory_order_seq_cst); /* the index before the guest's wish */
    u16 old = q->used_told, now = q->used_next;
    if (now == old)
        return false;
    q->used_told = now;
    if (!q->event_idx)
        return !(guest_load16(q->avail.hva + RING_FLAGS) & AVAIL_NO_INTERRUPT);
    u16 event = guest_load16(q->avail.hva + RING_ENTRIES + q->size * AVAIL_ENTRY);
    return (u16)(now - event - 1) < (u16)(now - old); /* 2.7.10 */
}

/* --- contents -------------------------------------------------------------------------------------------
 */

/* Between `buf` and iov[first] ... iov[first + count - 1], from their byte `offset` on. */
static size_t chain_copy(const struct virtq_chain *chain, unsigned first, unsigned count, u64 offset, u8 *buf,
                         size_t len, bool to_chain)
{
    size_t done = 0;
    for (unsigned i = 0; i < count && done < len; i++) {
        const struct iovec *iov = &chain->iov[first + i];
        if (offset >= iov->iov_len) {
            offset -= iov->iov_len;
            continue;
        }
        size_t n = MIN(len - done, iov->iov_len - (size_t)offset);
        u8 *at = (u8 *)iov->iov_base + offset;
        memcpy(to_chain ? at : buf + done, to_chain ? buf + done : at, n);
        done += n;
        offset = 0;
    }
    return done;
}

size_t virtq_chain_read(const struct virtq_chain *chain, u64 offset, void *buf, size_t len)
{
    return chain_copy(chain, 0, chain->out_count, offset, buf, len, false);
}

size_t virtq_chain_write(const struct virtq_chain *chain, u64 offset, const void *buf, size_t len)
{
    return chain_copy(chain, chain->out_count, chain->in_count, offset, (u8 *)(uintptr_t)buf, len, true);
}
