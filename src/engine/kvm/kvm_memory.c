/* Memory slots (4.35): one for each stretch of RAM or ROM of the visible map. What has not changed stays. */
#include <string.h>
#include "engine/kvm/kvm_impl.h"
#include "mem/mem.h"

static bool slot_set(struct kvm_vm *k, unsigned n, const struct kvm_slot *slot)
{
    struct kvm_userspace_memory_region region = {
        .slot = n,
        .flags = slot->readonly ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = slot->gpa,
        .memory_size = slot->size,
        .userspace_addr = (u64)(uintptr_t)slot->hva,
    };
    int rc = kvm_call(k, k->fd, KVM_SET_USER_MEMORY_REGION, &region);
    if (rc < 0)
        log_warn(k->vm->log, "KVM refuses %llu KiB of memory at %#llx: %s",
                 (unsigned long long)(slot->size >> 10), (unsigned long long)slot->gpa, strerror(-rc));
    return rc >= 0;
}

static bool slot_same(const struct kvm_slot *a, const struct kvm_slot *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->hva == b->hva && a->readonly == b->readonly;
}

/* What the map shows. Returns how many; KVM_SLOTS_MAX + 1: too many. */
static unsigned slots_wanted(struct kvm_vm *k, struct kvm_slot *out)
{
    unsigned count = 0;
    u64 gpa = 0, run;
    struct mem_page page;
    while (mem_next_run(k->vm->mem, &gpa, &page, &run)) {
        if (count == KVM_SLOTS_MAX)
            return KVM_SLOTS_MAX + 1;
        out[count++] = (struct kvm_slot){gpa, run, page.hva, page.kind == MEM_ROM};
        gpa += run;
    }
    return count;
}

static bool wanted_has(const struct kvm_slot *wanted, unsigned count, const struct kvm_slot *slot)
{
    for (unsigned i = 0; i < count; i++)
        if (slot_same(&wanted[i], slot))
            return true;
    return false;
}

static bool slots_drop(struct kvm_vm *k, const struct kvm_slot *wanted, unsigned count)
{
    bool ok = true;
    for (unsigned n = 0; n < KVM_SLOTS_MAX; n++) {
        struct kvm_slot *slot = &k->slot[n];
        if (!slot->size || wanted_has(wanted, count, slot))
            continue;
        slot->size = 0;
        ok &= slot_set(k, n, slot);
    }
    return ok;
}

static bool slot_add(struct kvm_vm *k, const struct kvm_slot *slot)
{
    unsigned n = 0;
    while (n < KVM_SLOTS_MAX && k->slot[n].size)
        n++;
    if (n == KVM_SLOTS_MAX || !slot_set(k, n, slot))
        return false;
    k->slot[n] = *slot;
    return true;
}

void kvm_memory_sync(struct kvm_vm *k)
{
    struct kvm_slot wanted[KVM_SLOTS_MAX];
    u64 generation = mem_generation(k->vm->mem);
    if (generation == k->generation)
        return;
    k->generation = generation;
    unsigned count = slots_wanted(k, wanted);
    bool ok = count <= KVM_SLOTS_MAX && slots_drop(k, wanted, count);
    for (unsigned i = 0; ok && i < count; i++)
        ok = wanted_has(k->slot, KVM_SLOTS_MAX, &wanted[i]) || slot_add(k, &wanted[i]);
    k->failed = !ok;
}
