/* MSI and MSI-X. */
#include "devices/pci/msi.h"

#include "base/bytes.h"
#include "devices/pci/pci_impl.h"

enum capability_id { CAPABILITY_MSI = 0x05, CAPABILITY_MSIX = 0x11 };

/* MSI with 64-bit address and mask bits (6.8.1). */
enum msi_register {
    MSI_CONTROL = 2,
    MSI_ADDRESS = 4,
    MSI_DATA = 12,
    MSI_MASK = 16,
    MSI_PENDING = 20,
    MSI_SIZE = 24,
};
enum msi_control_bit {
    MSI_ENABLE = BIT(0),
    MSI_GRANTED = 7 << 4, /* multiple message enable */
    MSI_64BIT = BIT(7),
    MSI_MASKABLE = BIT(8)
};

/* MSI-X (6.8.2). */
enum msix_register { MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_PBA = 8, MSIX_SIZE = 12 };
enum msix_control_bit { MSIX_MASK_ALL = BIT(14), MSIX_ENABLE = BIT(15) };
enum msix_entry_field { ENTRY_ADDRESS = 0, ENTRY_DATA = 8, ENTRY_CONTROL = 12 };
#define ENTRY_MASKED BIT(0)

/* In the BAR: the table from 0 on, the pending bits behind the largest of them. */
#define MSIX_BAR_SIZE   0x1000u
#define MSIX_PBA_OFFSET 0x800u

_Static_assert(PCI_MSIX_MAX *PCI_MSIX_ENTRY_SIZE <= MSIX_PBA_OFFSET, "the table ends before the PBA");

static void message_send(struct pci_function *f, u64 address, u32 data)
{
    if (!pci_is_bus_master(f))
        return;
    struct msi_sink sink = *pci_bus_msi(f->bus);
    sink.source = pci_requester_id(f);
    msi_send(&sink, address & ~3ull, data);
}

/* --- MSI --------------------------------------------------------------------------------------------------
 */

int pci_msi_add(struct pci_function *f, unsigned vectors)
{
    unsigned log2 = (unsigned)__builtin_ctz(vectors);
    u8 at = pci_capability_add(f, CAPABILITY_MSI, MSI_SIZE);
    if (!at)
        return -ENOSPC;
    f->msi_capability = at;
    store_le16(f->config + at + MSI_CONTROL, (u16)(MSI_64BIT | MSI_MASKABLE | log2 << 1));
    store_le16(f->writable + at + MSI_CONTROL, MSI_ENABLE | MSI_GRANTED);
    store_le64(f->writable + at + MSI_ADDRESS, ~3ull);
    store_le16(f->writable + at + MSI_DATA, 0xffff);
    store_le32(f->writable + at + MSI_MASK, (u32)MASK(vectors));
    return 0;
}

static u16 msi_control(const struct pci_function *f)
{
    return f->msi_capability ? load_le16(f->config + f->msi_capability + MSI_CONTROL) : 0;
}

bool pci_msi_is_enabled(const struct pci_function *f)
{
    return msi_control(f) & MSI_ENABLE;
}

/* log2 of the vectors that the guest granted, which may be reserved values or more than were asked for. */
static unsigned msi_granted_log2(const struct pci_function *f)
{
    u16 control = msi_control(f);
    return (unsigned)MIN(bits_get(control, 6, 4), bits_get(control, 3, 1));
}

static void msi_send_vector(struct pci_function *f, unsigned vector)
{
    const u8 *cap = f->config + f->msi_capability;
    u32 low = (u32)MASK(msi_granted_log2(f));
    message_send(f, load_le64(cap + MSI_ADDRESS), (load_le16(cap + MSI_DATA) & ~low) | vector);
}

void pci_msi_notify(struct pci_function *f, unsigned vector)
{
    if (!pci_msi_is_enabled(f))
        return;
    u8 *cap = f->config + f->msi_capability;
    vector &= (unsigned)MASK(msi_granted_log2(f));
    if (load_le32(cap + MSI_MASK) & BIT(vector))
        store_le32(cap + MSI_PENDING, load_le32(cap + MSI_PENDING) | (u32)BIT(vector));
    else
        msi_send_vector(f, vector);
}

/* The registers have changed: sends what is pending and not masked any more. */
static void msi_update(struct pci_function *f)
{
    if (!pci_msi_is_enabled(f))
        return;
    u8 *cap = f->config + f->msi_capability;
    u32 pending = load_le32(cap + MSI_PENDING), mask = load_le32(cap + MSI_MASK);
    store_le32(cap + MSI_PENDING, pending & mask);
    for (u32 due = pending & ~mask; due; due &= due - 1)
        msi_send_vector(f, (unsigned)__builtin_ctz(due) & (unsigned)MASK(msi_granted_log2(f)));
}

/* --- MSI-X ------------------------------------------------------------------------------------------------
 */

static u16 msix_control(const struct pci_function *f)
{
    return f->msix ? load_le16(f->config + f->msix->capability + MSIX_CONTROL) : 0;
}

bool pci_msix_is_enabled(const struct pci_function *f)
{
    return msix_control(f) & MSIX_ENABLE;
}

static u8 *msix_entry(struct pci_msix *m, unsigned vector)
{
    return m->table + (size_t)vector * PCI_MSIX_ENTRY_SIZE;
}

static bool msix_is_masked(struct pci_msix *m, unsigned vector)
{
    return (msix_control(m->function) & MSIX_MASK_ALL) ||
           (msix_entry(m, vector)[ENTRY_CONTROL] & ENTRY_MASKED);
}

void pci_msix_notify(struct pci_function *f, unsigned vector)
{
    struct pci_msix *m = f->msix;
    if (!pci_msix_is_enabled(f) || vector >= m->count)
        return;
    const u8 *entry = msix_entry(m, vector);
    if (msix_is_masked(m, vector))
        m->pending[vector / 64] |= BIT(vector % 64);
    else
        message_send(f, load_le64(entry + ENTRY_ADDRESS), load_le32(entry + ENTRY_DATA));
}

/* Table or control have changed: sends what is pending and not masked any more. */
static void msix_update(struct pci_msix *m)
{
    if (!pci_msix_is_enabled(m->function))
        return;
    for (unsigned word = 0; word < ARRAY_LEN(m->pending); word++) {
        for (u64 pending = m->pending[word]; pending; pending &= pending - 1) {
            unsigned vector = word * 64 + (unsigned)__builtin_ctzll(pending);
            if (msix_is_masked(m, vector))
                continue;
            m->pending[word] &= ~BIT(vector % 64);
            pci_msix_notify(m->function, vector);
        }
    }
}

static u64 msix_bar_read(void *dev, u64 offset, unsigned size)
{
    const struct pci_msix *m = dev;
    if (offset + size <= m->count * PCI_MSIX_ENTRY_SIZE)
        return load_le(m->table + offset, size);
    if (offset >= MSIX_PBA_OFFSET && offset + size <= MSIX_PBA_OFFSET + sizeof m->pending)
        return load_le((const u8 *)m->pending + (offset - MSIX_PBA_OFFSET), size);
    return 0;
}

static void msix_bar_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct pci_msix *m = dev;
    if (offset + size > m->count * PCI_MSIX_ENTRY_SIZE)
        return; /* the pending bits are read-only */
    store_le(m->table + offset, size, value);
    for (unsigned v = (unsigned)offset / PCI_MSIX_ENTRY_SIZE; v <= (offset + size - 1) / PCI_MSIX_ENTRY_SIZE;
         v++) {
        u8 *entry = msix_entry(m, v);
        entry[ENTRY_ADDRESS] &= 0xfc;
        store_le32(entry + ENTRY_CONTROL, entry[ENTRY_CONTROL] & ENTRY_MASKED);
    }
    msix_update(m);
}

/* Accesses are of doublewords, or of quadwords that mean two (6.8.2). */
static const struct io_ops msix_bar_ops = {.read = msix_bar_read, .write = msix_bar_write, .max_size = 4};

static void msix_reset(struct pci_msix *m)
{
    memset(m->table, 0, sizeof m->table);
    memset(m->pending, 0, sizeof m->pending);
    for (unsigned v = 0; v < m->count; v++)
        msix_entry(m, v)[ENTRY_CONTROL] = ENTRY_MASKED;
}

int pci_msix_add(struct pci_function *f, struct pci_msix *m, unsigned vectors, unsigned bar)
{
    u8 at = pci_capability_add(f, CAPABILITY_MSIX, MSIX_SIZE);
    if (!at)
        return -ENOSPC;
    *m = (struct pci_msix){.function = f, .capability = at, .count = vectors};
    f->msix = m;
    msix_reset(m);
    store_le16(f->config + at + MSIX_CONTROL, (u16)(vectors - 1));
    store_le16(f->writable + at + MSIX_CONTROL, MSIX_ENABLE | MSIX_MASK_ALL);
    store_le32(f->config + at + MSIX_TABLE, bar);
    store_le32(f->config + at + MSIX_PBA, MSIX_PBA_OFFSET | bar);
    pci_bar_memory(f, bar, PCI_BAR_MEMORY32, false, MSIX_BAR_SIZE, &msix_bar_ops, m);
    return 0;
}

/* --- both -------------------------------------------------------------------------------------------------
 */

void pci_msi_written(struct pci_function *f)
{
    msi_update(f);
    if (f->msix)
        msix_update(f->msix);
}

void pci_msi_reset(struct pci_function *f)
{
    if (f->msi_capability) {
        u8 *cap = f->config + f->msi_capability;
        store_le16(cap + MSI_CONTROL, msi_control(f) & (u16) ~(MSI_ENABLE | MSI_GRANTED));
        memset(cap + MSI_ADDRESS, 0, MSI_SIZE - MSI_ADDRESS);
    }
    if (f->msix) {
        u8 *control = f->config + f->msix->capability + MSIX_CONTROL;
        store_le16(control, load_le16(control) & (u16) ~(MSIX_ENABLE | MSIX_MASK_ALL));
        msix_reset(f->msix);
    }
}

static bool fixed_bits_are_kept(const struct pci_function *f, const u8 *config, unsigned from, unsigned size)
{
    for (unsigned at = from; at < from + size; at++) {
        if ((config[at] ^ f->config[at]) & (u8)~f->writable[at])
            return false;
    }
    return true;
}

int pci_msi_check(const struct pci_function *f, const u8 *config, struct error *err)
{
    unsigned msi = f->msi_capability, msix = f->msix ? f->msix->capability : 0;
    bool good = !msi || fixed_bits_are_kept(f, config, msi, MSI_PENDING);
    if (msi)
        good &= !(load_le32(config + msi + MSI_PENDING) & ~load_le32(f->writable + msi + MSI_MASK));
    if (msix)
        good &= fixed_bits_are_kept(f, config, msix, MSIX_SIZE);
    return good ? 0 : error_set(err, EINVAL, "msi: the saved capabilities of %s cannot be its", f->name);
}

/* --- saved state of the MSI-X table -----------------------------------------------------------------------
 */

struct pci_msix_state {
    u16 count;
    u8 table[PCI_MSIX_MAX * PCI_MSIX_ENTRY_SIZE];
    u64 pending[PCI_MSIX_MAX / 64];
};

static const struct state_field pci_msix_fields[] = {
    STATE_FIELD_MAX(struct pci_msix_state, count, PCI_MSIX_MAX),
    STATE_ARRAY(struct pci_msix_state, table, u8),
    STATE_ARRAY(struct pci_msix_state, pending, u64),
};

static void pci_msix_save(const void *dev, void *out)
{
    const struct pci_msix *m = dev;
    struct pci_msix_state *s = out;
    s->count = (u16)m->count;
    memcpy(s->table, m->table, sizeof s->table);
    memcpy(s->pending, m->pending, sizeof s->pending);
}

static int pci_msix_check(const void *dev, const void *state, struct error *err)
{
    const struct pci_msix *m = dev;
    const struct pci_msix_state *s = state;
    if (s->count != m->count)
        return error_set(err, EINVAL, "msi-x: %s has %u vectors, its saved state %u", m->function->name,
                         m->count, s->count);
    for (unsigned v = 0; v < PCI_MSIX_MAX; v++) {
        const u8 *entry = s->table + (size_t)v * PCI_MSIX_ENTRY_SIZE;
        bool used =
            v < m->count && !(entry[ENTRY_ADDRESS] & 3) && load_le32(entry + ENTRY_CONTROL) <= ENTRY_MASKED;
        bool empty = !load_le64(entry) && !load_le64(entry + 8) && !(s->pending[v / 64] & BIT(v % 64));
        if (!used && !empty)
            return error_set(err, EINVAL, "msi-x: vector %u of %s cannot be as its saved state says", v,
                             m->function->name);
    }
    return 0;
}

static void pci_msix_load(void *dev, const void *state)
{
    struct pci_msix *m = dev;
    const struct pci_msix_state *s = state;
    memcpy(m->table, s->table, sizeof m->table);
    memcpy(m->pending, s->pending, sizeof m->pending);
}

static const struct state_desc pci_msix_desc = {
    .name = "pci-msix",
    .version = 1,
    .size = sizeof(struct pci_msix_state),
    .fields = pci_msix_fields,
    .field_count = ARRAY_LEN(pci_msix_fields),
    .save = pci_msix_save,
    .check = pci_msix_check,
    .load = pci_msix_load,
};

int pci_msi_register(struct pci_function *f, struct state_set *state, u32 instance)
{
    return f->msix ? state_set_add(state, &pci_msix_desc, f->msix, instance) : 0;
}
