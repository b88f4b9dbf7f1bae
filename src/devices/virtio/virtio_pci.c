/*
 * BARs: 0 the legacy registers (I/O), 1 the MSI-X table, 4 the registers of version 1: a page each for the
 * common configuration, ISR, the device's configuration and notifications.
 */
#include "devices/virtio/virtio_pci.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "devices/pci/msi.h"

#define VENDOR              0x1af4
#define DEVICE_MODERN       0x1040 /* + type */
#define SUBSYSTEM_MODERN    0x1100
#define CAPABILITY_VENDOR   0x09
#define BAR_LEGACY          0
#define BAR_MSIX            1
#define BAR_MODERN          4
#define BAR_MODERN_SIZE     0x4000
#define NOTIFY_MULTIPLIER   4
#define LEGACY_PAGE_SHIFT   12
#define LEGACY_RING_ALIGN   4096u
#define LEGACY_SIZE         20u /* without MSI-X and the device's configuration */
#define LEGACY_VECTORS_SIZE 4u

enum modern_page { PAGE_COMMON, PAGE_ISR, PAGE_DEVICE, PAGE_NOTIFY };

/* struct virtio_pci_cap (4.1.4). */
enum capability_field {
    CAP_LENGTH = 2,
    CAP_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_REGION_LENGTH = 12,
    CAP_SIZE = 16,
    CAP_MULTIPLIER = 16, /* of the notification capability */
    CAP_DATA = 16,       /* of the one for access through the configuration space */
    CAP_LONG_SIZE = 20,
};
enum capability_type { CFG_COMMON = 1, CFG_NOTIFY = 2, CFG_ISR = 3, CFG_DEVICE = 4, CFG_PCI = 5 };

/* struct virtio_pci_common_cfg (4.1.4.3). */
enum common_register {
    COMMON_DEVICE_FEATURE_SELECT = 0,
    COMMON_DEVICE_FEATURE = 4,
    COMMON_DRIVER_FEATURE_SELECT = 8,
    COMMON_DRIVER_FEATURE = 12,
    COMMON_CONFIG_VECTOR = 16,
    COMMON_NUM_QUEUES = 18,
    COMMON_STATUS = 20,
    COMMON_GENERATION = 21,
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_VECTOR = 26,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_QUEUE_NOTIFY_OFF = 30,
    COMMON_QUEUE_DESC = 32,
    COMMON_QUEUE_AVAIL = 40,
    COMMON_QUEUE_USED = 48,
    COMMON_SIZE = 56,
};

/* Legacy registers (4.1.4.10). */
enum legacy_register {
    LEGACY_DEVICE_FEATURES = 0,
    LEGACY_DRIVER_FEATURES = 4,
    LEGACY_QUEUE_ADDRESS = 8,
    LEGACY_QUEUE_SIZE = 12,
    LEGACY_QUEUE_SELECT = 14,
    LEGACY_NOTIFY = 16,
    LEGACY_STATUS = 18,
    LEGACY_ISR = 19,
    LEGACY_CONFIG_VECTOR = 20, /* with MSI-X on */
    LEGACY_QUEUE_VECTOR = 22,
};

struct virtio_pci {
    struct pci_function function;
    struct pci_msix msix;
    struct virtio_device *dev;
    u32 device_feature_select, driver_feature_select;
    u16 queue_select;
    u8 window; /* the capability for access through the configuration space */
};

/* --- interrupts -----------------------------------------------------------------------------------------
 */

static void transport_interrupt(void *opaque, u16 vector, enum virtio_isr why)
{
    struct virtio_pci *p = opaque;
    if (pci_msix_is_enabled(&p->function))
        pci_msix_notify(&p->function, vector); /* VIRTQ_NO_VECTOR is none of them */
    else
        pci_set_intx(&p->function, true);
}

static bool transport_can_access(void *opaque)
{
    struct virtio_pci *p = opaque;
    return pci_is_bus_master(&p->function);
}

static u8 isr_read(struct virtio_pci *p)
{
    u8 isr = p->dev->isr;
    p->dev->isr = 0;
    pci_set_intx(&p->function, false);
    return isr;
}

static void device_reset(struct virtio_pci *p)
{
    virtio_reset(p->dev);
    p->device_feature_select = p->driver_feature_select = p->queue_select = 0;
    pci_set_intx(&p->function, false);
}

static void status_write(struct virtio_pci *p, u8 status)
{
    if (status)
        virtio_status_write(p->dev, status);
    else
        device_reset(p);
}

static u16 vector_check(const struct virtio_pci *p, u32 vector)
{
    return vector < p->msix.count ? (u16)vector : VIRTQ_NO_VECTOR;
}

/* The queue that the guest has selected, or NULL: there is none of this number. */
static struct virtq *selected_queue(struct virtio_pci *p)
{
    return p->queue_select < p->dev->queue_count ? &p->dev->queue[p->queue_select] : NULL;
}

/* --- version 1 ------------------------------------------------------------------------------------------
 */

static u32 common_read(struct virtio_pci *p, u64 offset, unsigned size)
{
    u8 r[COMMON_SIZE] = {0};
    const struct virtq *q = selected_queue(p);
    if (offset + size > sizeof r)
        return 0;
    store_le32(r + COMMON_DEVICE_FEATURE_SELECT, p->device_feature_select);
    store_le32(r + COMMON_DEVICE_FEATURE, virtio_features_read(p->dev, p->device_feature_select, false));
    store_le32(r + COMMON_DRIVER_FEATURE_SELECT, p->driver_feature_select);
    if (p->driver_feature_select < 2)
        store_le32(r + COMMON_DRIVER_FEATURE, (u32)(p->dev->features >> (32 * p->driver_feature_select)));
    store_le16(r + COMMON_CONFIG_VECTOR, p->dev->config_vector);
    store_le16(r + COMMON_NUM_QUEUES, (u16)p->dev->queue_count);
    r[COMMON_STATUS] = virtio_status_read(p->dev);
    r[COMMON_GENERATION] = p->dev->generation;
    store_le16(r + COMMON_QUEUE_SELECT, p->queue_select);
    if (q) {
        store_le16(r + COMMON_QUEUE_SIZE, q->size);
        store_le16(r + COMMON_QUEUE_VECTOR, q->vector);
        store_le16(r + COMMON_QUEUE_ENABLE, q->enabled);
        store_le16(r + COMMON_QUEUE_NOTIFY_OFF, p->queue_select);
        store_le64(r + COMMON_QUEUE_DESC, q->desc.gpa);
        store_le64(r + COMMON_QUEUE_AVAIL, q->avail.gpa);
        store_le64(r + COMMON_QUEUE_USED, q->used.gpa);
    }
    return (u32)load_le(r + offset, size);
}

/* A half of one of the 64-bit addresses. */
static void queue_address_write(struct virtq *q, u64 offset, u32 value)
{
    struct virtq_part *parts[] = {&q->desc, &q->avail, &q->used};
    struct virtq_part *part = parts[(offset - COMMON_QUEUE_DESC) / 8];
    if (offset & 4)
        part->gpa = (u32)part->gpa | (u64)value << 32;
    else
        part->gpa = (part->gpa & ~0xffffffffull) | value;
}

/* Registers of the selected queue; but for the vector, those of an enabled one stay as they are. */
static void common_queue_write(struct virtio_pci *p, u64 offset, unsigned size, u32 value)
{
    struct virtq *q = selected_queue(p);
    if (!q)
        return;
    if (offset == COMMON_QUEUE_VECTOR && size == 2)
        q->vector = vector_check(p, value);
    if (q->enabled)
        return;
    if (offset == COMMON_QUEUE_SIZE && size == 2)
        (void)virtq_set_size(q, (u16)value); /* an impossible size: the old one stays, and can be read */
    else if (offset == COMMON_QUEUE_ENABLE && size == 2 && value == 1)
        virtio_queue_enable(p->dev, p->queue_select);
    else if (offset >= COMMON_QUEUE_DESC && offset % 4 == 0 && size == 4)
        queue_address_write(q, offset, value);
}

/* Fields are written whole (4.1.3.1), 64-bit ones in halves; anything else is ignored. */
static void common_write(struct virtio_pci *p, u64 offset, unsigned size, u32 value)
{
    if (offset == COMMON_DEVICE_FEATURE_SELECT && size == 4)
        p->device_feature_select = value;
    else if (offset == COMMON_DRIVER_FEATURE_SELECT && size == 4)
        p->driver_feature_select = value;
    else if (offset == COMMON_DRIVER_FEATURE && size == 4)
        virtio_features_write(p->dev, p->driver_feature_select, value);
    else if (offset == COMMON_CONFIG_VECTOR && size == 2)
        p->dev->config_vector = vector_check(p, value);
    else if (offset == COMMON_STATUS && size == 1)
        status_write(p, (u8)value);
    else if (offset == COMMON_QUEUE_SELECT && size == 2)
        p->queue_select = (u16)value;
    else if (offset >= COMMON_QUEUE_SIZE && offset < COMMON_SIZE)
        common_queue_write(p, offset, size, value);
}

static u64 modern_read(void *dev, u64 offset, unsigned size)
{
    struct virtio_pci *p = dev;
    u64 at = offset & ~PAGE_MASK;
    switch (offset >> PAGE_SHIFT) {
    case PAGE_COMMON:
        return common_read(p, at, size);
    case PAGE_ISR:
        return at == 0 ? isr_read(p) : 0;
    case PAGE_DEVICE:
        return virtio_config_read(p->dev, at, size);
    }
    return 0;
}

static void modern_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct virtio_pci *p = dev;
    u64 at = offset & ~PAGE_MASK;
    switch (offset >> PAGE_SHIFT) {
    case PAGE_COMMON:
        common_write(p, at, size, (u32)value);
        break;
    case PAGE_DEVICE:
        virtio_config_write(p->dev, at, size, (u32)value);
        break;
    case PAGE_NOTIFY:
        virtio_notify(p->dev, (unsigned)at / NOTIFY_MULTIPLIER);
        break;
    }
}

static const struct io_ops modern_ops = {.read = modern_read, .write = modern_write, .max_size = 4};

/* --- legacy ---------------------------------------------------------------------------------------------
 */

/* Where the device's configuration begins. */
static u64 legacy_config_start(const struct virtio_pci *p)
{
    return LEGACY_SIZE + (pci_msix_is_enabled(&p->function) ? LEGACY_VECTORS_SIZE : 0);
}

static u64 legacy_read(void *dev, u64 offset, unsigned size)
{
    struct virtio_pci *p = dev;
    const struct virtq *q = selected_queue(p);
    u64 config = legacy_config_start(p);
    if (offset >= config)
        return virtio_config_read(p->dev, offset - config, size);
    switch (offset) {
    case LEGACY_DEVICE_FEATURES:
        return virtio_features_read(p->dev, 0, true);
    case LEGACY_DRIVER_FEATURES:
        return (u32)p->dev->features;
    case LEGACY_QUEUE_ADDRESS:
        return q && q->enabled ? q->desc.gpa >> LEGACY_PAGE_SHIFT : 0;
    case LEGACY_QUEUE_SIZE:
        return q ? q->size : 0;
    case LEGACY_QUEUE_SELECT:
        return p->queue_select;
    case LEGACY_STATUS:
        return virtio_status_read(p->dev);
    case LEGACY_ISR:
        return isr_read(p);
    case LEGACY_CONFIG_VECTOR:
        return p->dev->config_vector;
    case LEGACY_QUEUE_VECTOR:
        return q ? q->vector : VIRTQ_NO_VECTOR;
    }
    return 0;
}

/* The three parts behind each other (2.7.2); page 0 switches the queue off. */
static void legacy_queue_address_write(struct virtio_pci *p, u32 page)
{
    struct virtq *q = selected_queue(p);
    if (!q)
        return;
    if (!page) {
        u16 vector = q->vector;
        virtq_reset(q);
        q->vector = vector;
        return;
    }
    if (q->enabled)
        return;
    q->desc.gpa = (u64)page << LEGACY_PAGE_SHIFT;
    q->avail.gpa = q->desc.gpa + 16ull * q->size;
    q->used.gpa = ALIGN_UP(q->avail.gpa + 4 + 2ull * q->size + 2, LEGACY_RING_ALIGN);
    virtio_queue_enable(p->dev, p->queue_select);
}

static void legacy_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct virtio_pci *p = dev;
    struct virtq *q = selected_queue(p);
    u64 config = legacy_config_start(p);
    if (offset >= config) {
        virtio_config_write(p->dev, offset - config, size, (u32)value);
        return;
    }
    switch (offset) {
    case LEGACY_DRIVER_FEATURES:
        /* There is nothing to say no with: what we do not offer is not there. */
        virtio_features_write(p->dev, 1, 0);
        virtio_features_write(p->dev, 0, (u32)value & (u32)p->dev->offered);
        break;
    case LEGACY_QUEUE_ADDRESS:
        legacy_queue_address_write(p, (u32)value);
        break;
    case LEGACY_QUEUE_SELECT:
        p->queue_select = (u16)value;
        break;
    case LEGACY_NOTIFY:
        virtio_notify(p->dev, (u16)value);
        break;
    case LEGACY_STATUS:
        status_write(p, (u8)value);
        break;
    case LEGACY_CONFIG_VECTOR:
        p->dev->config_vector = vector_check(p, (u16)value);
        break;
    case LEGACY_QUEUE_VECTOR:
        if (q)
            q->vector = vector_check(p, (u16)value);
        break;
    }
}

static const struct io_ops legacy_ops = {.read = legacy_read, .write = legacy_write, .max_size = 4};

/* --- access through the configuration space (4.1.4.9) ---------------------------------------------------
 */

/* What the window shows: a BAR's handler, or NULL if the guest set it up wrongly. */
static const struct io_ops *window_target(const struct virtio_pci *p, u64 *offset, unsigned *size)
{
    const u8 *cap = p->function.config + p->window;
    u32 length = load_le32(cap + CAP_REGION_LENGTH);
    *offset = load_le32(cap + CAP_OFFSET);
    *size = length;
    if ((length != 1 && length != 2 && length != 4) || *offset % length || cap[CAP_BAR] >= PCI_BARS)
        return NULL;
    const struct pci_bar *bar = &p->function.bar[cap[CAP_BAR]];
    if (*offset >= bar->size)
        return NULL;
    return cap[CAP_BAR] == BAR_MODERN ? &modern_ops : cap[CAP_BAR] == BAR_LEGACY ? &legacy_ops : NULL;
}

static bool is_window_data(const struct virtio_pci *p, unsigned offset, unsigned size)
{
    unsigned data = p->window + CAP_DATA;
    return offset < data + 4 && offset + size > data && size <= 4;
}

static void function_config_reading(struct pci_function *f, unsigned offset, unsigned size)
{
    struct virtio_pci *p = container_of(f, struct virtio_pci, function);
    u64 at;
    unsigned length;
    if (!is_window_data(p, offset, size))
        return;
    const struct io_ops *target = window_target(p, &at, &length);
    if (target)
        store_le32(f->config + p->window + CAP_DATA, (u32)target->read(p, at, length));
}

static void function_config_written(struct pci_function *f, unsigned offset, unsigned size)
{
    struct virtio_pci *p = container_of(f, struct virtio_pci, function);
    u64 at;
    unsigned length;
    if (is_window_data(p, offset, size)) {
        const struct io_ops *target = window_target(p, &at, &length);
        if (target)
            target->write(p, at, length, load_le32(f->config + p->window + CAP_DATA) & MASK(8 * length));
    }
    /* A driver may become bus master after it has filled its queues. */
    if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND && size <= 4 && pci_is_bus_master(f))
        virtio_notify_all(p->dev);
}

/* --- life -----------------------------------------------------------------------------------------------
 */

struct virtio_pci_state {
    u32 device_feature_select, driver_feature_select;
    u16 queue_select;
};

static const struct state_field virtio_pci_fields[] = {
    STATE_FIELD(struct virtio_pci_state, device_feature_select),
    STATE_FIELD(struct virtio_pci_state, driver_feature_select),
    STATE_FIELD(struct virtio_pci_state, queue_select),
};

static void virtio_pci_save(const void *opaque, void *out)
{
    const struct virtio_pci *p = opaque;
    struct virtio_pci_state *s = out;
    *s = (struct virtio_pci_state){p->device_feature_select, p->driver_feature_select, p->queue_select};
}

static void virtio_pci_load(void *opaque, const void *state)
{
    struct virtio_pci *p = opaque;
    const struct virtio_pci_state *s = state;
    p->device_feature_select = s->device_feature_select;
    p->driver_feature_select = s->driver_feature_select;
    p->queue_select = s->queue_select;
}

static const struct state_desc virtio_pci_desc = {
    .name = "virtio-pci",
    .version = 1,
    .size = sizeof(struct virtio_pci_state),
    .fields = virtio_pci_fields,
    .field_count = ARRAY_LEN(virtio_pci_fields),
    .save = virtio_pci_save,
    .load = virtio_pci_load,
};

static u8 capability_add(struct pci_function *f, enum capability_type type, u8 size, u32 offset, u32 length)
{
    u8 at = pci_capability_add(f, CAPABILITY_VENDOR, size);
    u8 *cap = f->config + at;
    cap[CAP_LENGTH] = size;
    cap[CAP_TYPE] = (u8)type;
    cap[CAP_BAR] = BAR_MODERN;
    store_le32(cap + CAP_OFFSET, offset);
    store_le32(cap + CAP_REGION_LENGTH, length);
    return at;
}

/* They fit into the 192 bytes behind the header: 12 + 3 * 16 + 2 * 20. */
static int capabilities_add(struct virtio_pci *p)
{
    struct pci_function *f = &p->function;
    int rc = pci_msix_add(f, &p->msix, p->dev->queue_count + 1, BAR_MSIX);
    if (rc)
        return rc;
    capability_add(f, CFG_COMMON, CAP_SIZE, PAGE_COMMON * PAGE_SIZE, COMMON_SIZE);
    capability_add(f, CFG_ISR, CAP_SIZE, PAGE_ISR * PAGE_SIZE, 1);
    if (p->dev->config_size)
        capability_add(f, CFG_DEVICE, CAP_SIZE, PAGE_DEVICE * PAGE_SIZE, p->dev->config_size);
    u8 notify = capability_add(f, CFG_NOTIFY, CAP_LONG_SIZE, PAGE_NOTIFY * PAGE_SIZE,
                               p->dev->queue_count * NOTIFY_MULTIPLIER);
    store_le32(f->config + notify + CAP_MULTIPLIER, NOTIFY_MULTIPLIER);
    p->window = capability_add(f, CFG_PCI, CAP_LONG_SIZE, 0, 0);
    f->config[p->window + CAP_BAR] = 0;
    f->writable[p->window + CAP_BAR] = 0xff;
    memset(f->writable + p->window + CAP_OFFSET, 0xff, CAP_LONG_SIZE - CAP_OFFSET);
    return 0;
}

/* The IDs of transitional devices (4.1.2.3), 0 for types that came later. */
static u16 legacy_device_id(enum virtio_type type)
{
    switch (type) {
    case VIRTIO_NET:
        return 0x1000;
    case VIRTIO_BLK:
        return 0x1001;
    case VIRTIO_BALLOON:
        return 0x1002;
    case VIRTIO_CONSOLE:
        return 0x1003;
    case VIRTIO_SCSI:
        return 0x1004;
    case VIRTIO_RNG:
        return 0x1005;
    default:
        return 0;
    }
}

static void function_describe(struct virtio_pci *p, const struct virtio_pci_config *config)
{
    u16 legacy = config->modern ? 0 : legacy_device_id(p->dev->type);
    const struct pci_ids ids = {
        .vendor = VENDOR,
        .device = legacy ? legacy : (u16)(DEVICE_MODERN + p->dev->type),
        .class_code = config->class_code,
        .revision = legacy ? 0 : 1,
        .subsystem_vendor = VENDOR,
        .subsystem = legacy ? (u16)p->dev->type : SUBSYSTEM_MODERN,
        .interrupt_pin = 1,
    };
    pci_function_init(&p->function, p->dev->name, &ids);
    p->function.config_written = function_config_written;
    p->function.config_reading = function_config_reading;
    if (legacy) {
        u32 size = LEGACY_SIZE + LEGACY_VECTORS_SIZE + p->dev->config_size, power = 32;
        while (power < size)
            power *= 2;
        pci_bar_io(&p->function, BAR_LEGACY, power, &legacy_ops, p);
    }
    pci_bar_memory(&p->function, BAR_MODERN, PCI_BAR_MEMORY32, false, BAR_MODERN_SIZE, &modern_ops, p);
}

int virtio_pci_create(struct virtio_pci **out, const struct device_env *env, struct virtio_device *dev,
                      const struct virtio_pci_config *config, struct error *err)
{
    struct virtio_pci *p = calloc(1, sizeof *p);
    if (!p)
        return error_set(err, ENOMEM, "out of memory for the %s", dev->name);
    p->dev = dev;
    function_describe(p, config);
    int rc = capabilities_add(p);
    if (rc)
        error_set(err, -rc, "the capabilities of the %s do not fit", dev->name);
    if (!rc)
        rc = pci_add(config->bus, &p->function, config->slot, config->function, err);
    if (!rc &&
        state_set_add(env->state, &virtio_pci_desc, p, config->slot * PCI_FUNCTIONS + config->function) < 0) {
        pci_remove(&p->function);
        rc = error_set(err, ENOMEM, "out of memory for the state of the %s", dev->name);
    }
    if (rc) {
        free(p);
        return rc;
    }
    virtio_connect(dev, &(struct virtio_transport){transport_interrupt, transport_can_access, p});
    *out = p;
    return 0;
}

void virtio_pci_destroy(struct virtio_pci *p)
{
    if (!p)
        return;
    virtio_connect(p->dev, &(struct virtio_transport){0});
    pci_remove(&p->function);
    free(p);
}

void virtio_pci_reset(struct virtio_pci *p)
{
    device_reset(p);
    memset(p->function.config + p->window + CAP_OFFSET, 0, CAP_LONG_SIZE - CAP_OFFSET);
    p->function.config[p->window + CAP_BAR] = 0;
}
