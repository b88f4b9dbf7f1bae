/* The remapping unit's registers and commands (10.4, 11). */
#include "devices/iommu/vtd_impl.h"

#include <stdlib.h>
#include <string.h>

/* 10.4.2: 64K domains, 39- and 48-bit tables, zero-length reads, 1 GiB and 2 MiB pages, selective
 * invalidation, PHYS_BITS.. of the guest's addresses. */
#define CAP_DOMAINS        6ull
#define CAP_TABLES         (6ull << 8)
#define CAP_WIDTH          (47ull << 16)
#define CAP_ZERO_LENGTH    BIT(22)
#define CAP_FAULT_OFFSET   ((u64)VTD_FAULTS / 16 << 24)
#define CAP_LARGE_PAGES    (3ull << 34)
#define CAP_SELECTIVE      (1ull << 39)
#define CAP_FAULT_RECORDS  ((u64)(VTD_FAULT_RECORDS - 1) << 40)
#define CAP_SELECTIVE_MASK (9ull << 48)
#define CAP_VALUE                                                                                            \
    (CAP_DOMAINS | CAP_TABLES | CAP_WIDTH | CAP_ZERO_LENGTH | CAP_FAULT_OFFSET | CAP_LARGE_PAGES |           \
     CAP_SELECTIVE | CAP_FAULT_RECORDS | CAP_SELECTIVE_MASK)

/* 10.4.3: coherent, queued invalidation, interrupt remapping, x2APIC, pass-through. */
#define ECAP_IOTLB_OFFSET ((u64)VTD_IVA / 16 << 8)
#define ECAP_HANDLE_MASK  (15ull << 20)
#define ECAP_VALUE        (BIT(0) | BIT(1) | BIT(3) | BIT(4) | BIT(6) | ECAP_IOTLB_OFFSET | ECAP_HANDLE_MASK)

/* What a write does to a register's bits, from `start` on; other registers are read-only. */
static const struct register_rule {
    u16 start;
    u8 size;
    u64 writable, clearable; /* clearable: by writing a one */
} rules[] = {
    {VTD_GCMD, 4, 0xffffffff, 0},
    {VTD_RTADDR, 8, PAGE_MASK, 0},
    {VTD_CCMD, 8, 0xe0000003ffffffffull, 0},
    {VTD_FSTS, 4, 0, VTD_FAULT_OVERFLOW | VTD_QUEUE_ERROR},
    {VTD_FECTL, 4, VTD_EVENT_MASKED, 0},
    {VTD_FECTL + 4, 4, 0xffff, 0},
    {VTD_FECTL + 8, 4, 0xfffffffc, 0},
    {VTD_FECTL + 12, 4, 0xffffffff, 0},
    {VTD_IQT, 8, 0x7fff0, 0},
    {VTD_IQA, 8, PAGE_MASK | 7, 0},
    {VTD_ICS, 4, 0, VTD_ICS_DONE},
    {VTD_IECTL, 4, VTD_EVENT_MASKED, 0},
    {VTD_IECTL + 4, 4, 0xffff, 0},
    {VTD_IECTL + 8, 4, 0xfffffffc, 0},
    {VTD_IECTL + 12, 4, 0xffffffff, 0},
    {VTD_IRTA, 8, PAGE_MASK | 0x80f, 0},
    {VTD_IVA, 8, PAGE_MASK | 0x7f, 0},
    {VTD_IOTLB, 8, 0xb003ffff00000000ull, 0},
};

/* --- what a write causes ----------------------------------------------------------------------------------
 */

static void command_run(struct vtd *vtd)
{
    u32 command = vtd_get32(vtd, VTD_GCMD), status = vtd_get32(vtd, VTD_GSTS);
    const u32 switches = VTD_REMAP_DMA | VTD_REMAP_IRQ | VTD_QUEUE | VTD_COMPATIBLE_IRQ;
    vtd_set32(vtd, VTD_GCMD, 0);
    if (command & VTD_SET_ROOT) {
        vtd->root = vtd_get64(vtd, VTD_RTADDR);
        status |= VTD_SET_ROOT;
    }
    if (command & VTD_SET_IRTA) {
        vtd->irta = vtd_get64(vtd, VTD_IRTA);
        status |= VTD_SET_IRTA;
    }
    if ((command & VTD_QUEUE) && !(status & VTD_QUEUE))
        vtd_set64(vtd, VTD_IQH, 0); /* 10.4.20 */
    status = (status & ~switches) | (command & switches);
    vtd_set32(vtd, VTD_GSTS, status);
    if (command & VTD_QUEUE)
        vtd_queue_run(vtd);
}

/* Register-based invalidations are done at once: the request bit falls, and what was done is what was asked
 * for (10.4.7, 10.4.8.1). */
static void context_command_run(struct vtd *vtd)
{
    u64 v = vtd_get64(vtd, VTD_CCMD);
    if (!(v >> 63))
        return;
    u64 granularity = v >> 61 & 3;
    vtd_set64(vtd, VTD_CCMD, (v & ~(3ull << 63 | 3ull << 59)) | granularity << 59);
}

static void iotlb_command_run(struct vtd *vtd)
{
    u64 v = vtd_get64(vtd, VTD_IOTLB);
    if (!(v >> 63))
        return;
    u64 granularity = v >> 60 & 3;
    vtd_set64(vtd, VTD_IOTLB, (v & MASK(63) & ~(3ull << 57)) | granularity << 57);
}

static void register_written(struct vtd *vtd, unsigned reg)
{
    switch (reg) {
    case VTD_GCMD:
        command_run(vtd);
        break;
    case VTD_CCMD:
        context_command_run(vtd);
        break;
    case VTD_IOTLB:
        iotlb_command_run(vtd);
        break;
    case VTD_FSTS:
        vtd_fault_update(vtd);
        vtd_queue_run(vtd); /* goes on after an error */
        break;
    case VTD_FECTL:
    case VTD_IECTL:
        vtd_event_update(vtd, reg);
        break;
    case VTD_ICS:
        if (!(vtd_get32(vtd, VTD_ICS) & VTD_ICS_DONE))
            vtd_set32(vtd, VTD_IECTL, vtd_get32(vtd, VTD_IECTL) & ~VTD_EVENT_PENDING);
        break;
    case VTD_IQT:
        vtd_queue_run(vtd);
        break;
    default:
        break;
    }
}

/* --- access -----------------------------------------------------------------------------------------------
 */

static u64 vtd_read(void *dev, u64 offset, unsigned size)
{
    struct vtd *vtd = dev;
    return offset + size <= VTD_REGISTERS ? load_le(vtd->reg + offset, size) : 0;
}

/* The valid bit of a fault record is the only one that a write changes: it clears it. */
static void record_written(struct vtd *vtd, u64 offset, unsigned size, u64 value)
{
    for (unsigned i = 0; i < size; i++)
        if ((offset + i) % 16 == 15 && (value >> 8 * i & 0x80))
            vtd->reg[offset + i] &= 0x7f;
    vtd_fault_update(vtd);
}

/* The part of a write of `size` bytes at `offset` that falls on the register; its command runs when its last
 * byte was written, as with two halves (10.1). */
static void register_write(struct vtd *vtd, const struct register_rule *rule, u64 offset, unsigned size,
                           u64 value)
{
    bool last = false;
    for (unsigned i = 0; i < size; i++) {
        if (offset + i < rule->start || offset + i >= rule->start + rule->size)
            continue;
        unsigned byte = (unsigned)(offset + i - rule->start);
        u8 *reg = &vtd->reg[offset + i], v = (u8)(value >> 8 * i);
        u8 writable = (u8)(rule->writable >> 8 * byte), clearable = (u8)(rule->clearable >> 8 * byte);
        *reg = (u8)(((*reg & ~writable) | (v & writable)) & ~(v & clearable));
        last |= byte == rule->size - 1u;
    }
    /* The invalidation queue's tail is all in the lower half of its register. */
    if (last || rule->start == VTD_IQT)
        register_written(vtd, rule->start);
}

static void vtd_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct vtd *vtd = dev;
    if (offset + size > VTD_REGISTERS)
        return;
    if (offset >= VTD_FAULTS) {
        record_written(vtd, offset, size, value);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(rules); i++)
        if (offset < rules[i].start + rules[i].size && offset + size > rules[i].start)
            register_write(vtd, &rules[i], offset, size, value);
}

static const struct io_ops vtd_ops = {.read = vtd_read, .write = vtd_write, .max_size = 8};

/* --- life -------------------------------------------------------------------------------------------------
 */

struct vtd_state {
    u8 reg[VTD_REGISTERS];
    u64 root, irta;
};

static const struct state_field vtd_fields[] = {
    STATE_ARRAY(struct vtd_state, reg, u8),
    STATE_FIELD(struct vtd_state, root),
    STATE_FIELD(struct vtd_state, irta),
};

static void vtd_save(const void *dev, void *out)
{
    const struct vtd *vtd = dev;
    struct vtd_state *s = out;
    memcpy(s->reg, vtd->reg, sizeof s->reg);
    s->root = vtd->root;
    s->irta = vtd->irta;
}

static int vtd_check(const void *dev, const void *state, struct error *err)
{
    const struct vtd_state *s = state;
    u64 size = PAGE_SIZE << (s->reg[VTD_IQA] & 7);
    if (load_le64(s->reg + VTD_CAP) != CAP_VALUE || load_le64(s->reg + VTD_ECAP) != ECAP_VALUE)
        return error_set(err, EINVAL, "vt-d: the saved state is of a unit with other capabilities");
    if (load_le64(s->reg + VTD_IQH) % 16 || load_le64(s->reg + VTD_IQH) >= size)
        return error_set(err, EINVAL, "vt-d: the saved invalidation queue's head is outside of the queue");
    return 0;
}

static void vtd_load(void *dev, const void *state)
{
    struct vtd *vtd = dev;
    const struct vtd_state *s = state;
    memcpy(vtd->reg, s->reg, sizeof vtd->reg);
    vtd->root = s->root;
    vtd->irta = s->irta;
}

static const struct state_desc vtd_desc = {
    .name = "vt-d",
    .version = 1,
    .size = sizeof(struct vtd_state),
    .fields = vtd_fields,
    .field_count = ARRAY_LEN(vtd_fields),
    .save = vtd_save,
    .check = vtd_check,
    .load = vtd_load,
};

void vtd_reset(struct vtd *vtd)
{
    memset(vtd->reg, 0, sizeof vtd->reg);
    vtd->root = vtd->irta = 0;
    vtd_set32(vtd, VTD_VERSION, 0x10); /* 1.0 */
    vtd_set64(vtd, VTD_CAP, CAP_VALUE);
    vtd_set64(vtd, VTD_ECAP, ECAP_VALUE);
    vtd_set32(vtd, VTD_FECTL, VTD_EVENT_MASKED);
    vtd_set32(vtd, VTD_IECTL, VTD_EVENT_MASKED);
}

int vtd_create(struct vtd **out, const struct device_env *env, struct lapic_bus *bus, struct error *err)
{
    struct vtd *vtd = calloc(1, sizeof *vtd);
    if (!vtd || state_set_add(env->state, &vtd_desc, vtd, 0) < 0) {
        free(vtd);
        return error_set(err, ENOMEM, "no memory for the remapping unit");
    }
    vtd->bus = bus;
    vtd->mem = env->mem;
    vtd->log = env->log;
    vtd->region = (struct mem_region){.name = "vt-d",
                                      .gpa = VTD_BASE,
                                      .size = PAGE_SIZE,
                                      .priority = 1,
                                      .kind = MEM_IO,
                                      .ops = &vtd_ops,
                                      .dev = vtd};
    mem_map(env->mem, &vtd->region);
    vtd_reset(vtd);
    *out = vtd;
    return 0;
}

void vtd_destroy(struct vtd *vtd)
{
    if (!vtd)
        return;
    mem_unmap(vtd->mem, &vtd->region);
    free(vtd);
}

struct pci_iommu vtd_iommu(struct vtd *vtd)
{
    return (struct pci_iommu){vtd_translate, vtd};
}

struct msi_sink vtd_msi(struct vtd *vtd)
{
    return (struct msi_sink){vtd_remap_msi, vtd, MSI_SOURCE_BOARD};
}
