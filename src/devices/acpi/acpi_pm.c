#include "devices/acpi/acpi_pm.h"

#include <stdlib.h>

#include "base/bytes.h"

#define PM_TIMER_HZ 3579545ull
/* TMR_STS is set whenever the timer's top bit changes (4.8.3.1.1). */
#define PM_TIMER_TOP 31

enum pm_offset { PM_STATUS = 0, PM_ENABLE = 2, PM_CONTROL = 4, PM_TIMER = 8, PM_SIZE = 64 };
enum gpe_offset { GPE_STATUS = 0, GPE_ENABLE = 2, GPE_SIZE = 4 };

enum pm1_event {
    PM1_TMR = BIT(0),
    PM1_GBL = BIT(5),
    PM1_PWRBTN = BIT(8),
    /* The enable bits of the sleep button and the RTC exist, though nothing here sets their status. */
    PM1_SLPBTN = BIT(9),
    PM1_RTC = BIT(10),
    PM1_EVENTS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC,
};

enum pm1_control {
    PM1_SCI_EN = BIT(0),
    PM1_BM_RLD = BIT(1),
    PM1_SLP_TYP = 7 << 10,
    PM1_SLP_EN = BIT(13), /* write-only */
    PM1_CONTROL_KEPT = PM1_BM_RLD | PM1_SLP_TYP,
};

struct acpi_pm {
    struct device_env env;
    struct acpi_pm_config config;
    struct port_region pm_ports, gpe_ports, smi_ports;
    struct timer timer; /* armed while TMR_EN waits for the top bit to change */

    u16 status; /* but for TMR, which is computed */
    u16 enable, control;
    u16 gpe_status, gpe_enable;
    u8 smi_command, smi_scratch;
    u64 toggles_acknowledged; /* changes of the timer's top bit, up to the last clearing of TMR_STS */
};

static u64 pm_ticks(const struct acpi_pm *pm)
{
    return mul_div(clock_now(loop_clock(pm->env.loop)), PM_TIMER_HZ, NS_PER_SEC);
}

static u64 pm_toggles(const struct acpi_pm *pm)
{
    return pm_ticks(pm) >> PM_TIMER_TOP;
}

static u16 pm_status(const struct acpi_pm *pm)
{
    return pm->status | (pm_toggles(pm) != pm->toggles_acknowledged ? PM1_TMR : 0);
}

static void update_sci(struct acpi_pm *pm)
{
    u16 status = pm_status(pm);
    bool due = (status & pm->enable) || (pm->gpe_status & pm->gpe_enable);
    irq_set(&pm->config.sci, (pm->control & PM1_SCI_EN) && due);
    if ((pm->enable & PM1_TMR) && !(status & PM1_TMR)) {
        u64 next = (pm->toggles_acknowledged + 1) << PM_TIMER_TOP;
        timer_arm(&pm->timer, mul_div(next, NS_PER_SEC, PM_TIMER_HZ) + 1);
    } else {
        timer_disarm(&pm->timer);
    }
}

static void timer_expired(void *opaque)
{
    update_sci(opaque);
}

/* --- PM1 and timer ----------------------------------------------------------------------------------------
 */

static u64 pm_read(void *dev, u64 offset, unsigned size)
{
    struct acpi_pm *pm = dev;
    u8 image[PM_SIZE + 8] = {0};
    store_le16(image + PM_STATUS, pm_status(pm));
    store_le16(image + PM_ENABLE, pm->enable);
    store_le16(image + PM_CONTROL, pm->control);
    store_le32(image + PM_TIMER, (u32)pm_ticks(pm));
    u64 v = load_le(image + offset, size);
    log_trace(pm->env.log, TRACE_ACPI, "pm: read %u at +%u: %#llx", size, (unsigned)offset,
              (unsigned long long)v);
    return v;
}

static void clear_status(struct acpi_pm *pm, u16 bits)
{
    pm->status &= (u16)~bits;
    if (bits & PM1_TMR)
        pm->toggles_acknowledged = pm_toggles(pm);
}

static void enter_sleep(struct acpi_pm *pm)
{
    unsigned type = (pm->control & PM1_SLP_TYP) >> 10;
    log_trace(pm->env.log, TRACE_ACPI, "pm: sleep, type %u", type);
    /* Types that the DSDT does not declare do nothing. */
    if (type == pm->config.slp_typ_s5 && pm->config.power_off)
        pm->config.power_off(pm->config.opaque);
}

static void pm_write_byte(struct acpi_pm *pm, unsigned offset, u8 v)
{
    unsigned shift = 8 * (offset & 1);
    u16 lane = (u16)(0xff << shift), bits = (u16)(v << shift);
    switch (offset & ~1u) {
    case PM_STATUS:
        clear_status(pm, bits);
        break;
    case PM_ENABLE:
        pm->enable = (pm->enable & (u16)~lane) | (bits & PM1_EVENTS);
        break;
    case PM_CONTROL:
        /* SCI_EN belongs to the SMI command port; GBL_RLS would call a BIOS that is not there. */
        pm->control = (pm->control & (u16) ~(lane & PM1_CONTROL_KEPT)) | (bits & PM1_CONTROL_KEPT);
        if (bits & PM1_SLP_EN)
            enter_sleep(pm);
        break;
    }
}

static void pm_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct acpi_pm *pm = dev;
    log_trace(pm->env.log, TRACE_ACPI, "pm: write %u at +%u: %#llx", size, (unsigned)offset,
              (unsigned long long)value);
    for (unsigned i = 0; i < size; i++)
        pm_write_byte(pm, (unsigned)offset + i, (u8)(value >> (8 * i)));
    update_sci(pm);
}

static const struct io_ops pm_ops = {.read = pm_read, .write = pm_write, .max_size = 4};

/* --- general-purpose events -------------------------------------------------------------------------------
 */

static u64 gpe_read(void *dev, u64 offset, unsigned size)
{
    struct acpi_pm *pm = dev;
    u8 image[GPE_SIZE + 8] = {0};
    store_le16(image + GPE_STATUS, pm->gpe_status);
    store_le16(image + GPE_ENABLE, pm->gpe_enable);
    return load_le(image + offset, size);
}

static void gpe_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct acpi_pm *pm = dev;
    for (unsigned i = 0; i < size; i++, offset++, value >>= 8) {
        unsigned shift = 8 * (offset & 1);
        u16 bits = (u16)((value & 0xff) << shift);
        if (offset < GPE_ENABLE)
            pm->gpe_status &= (u16)~bits;
        else
            pm->gpe_enable = (pm->gpe_enable & (u16) ~(0xff << shift)) | bits;
    }
    update_sci(pm);
}

static const struct io_ops gpe_ops = {.read = gpe_read, .write = gpe_write, .max_size = 4};

/* --- SMI command ------------------------------------------------------------------------------------------
 */

static u64 smi_read(void *dev, u64 offset, unsigned size)
{
    struct acpi_pm *pm = dev;
    return offset ? pm->smi_scratch : pm->smi_command;
}

static void smi_write(void *dev, u64 offset, unsigned size, u64 value)
{
    struct acpi_pm *pm = dev;
    if (offset) {
        pm->smi_scratch = (u8)value;
        return;
    }
    pm->smi_command = (u8)value;
    log_trace(pm->env.log, TRACE_ACPI, "pm: SMI command %#x", pm->smi_command);
    if (pm->smi_command == pm->config.acpi_enable)
        pm->control |= PM1_SCI_EN;
    else if (pm->smi_command == pm->config.acpi_disable)
        pm->control &= (u16)~PM1_SCI_EN;
    update_sci(pm);
}

static const struct io_ops smi_ops = {.read = smi_read, .write = smi_write, .max_size = 1};

void acpi_pm_move(struct acpi_pm *pm, u16 base)
{
    if (pm->pm_ports.mapped && pm->pm_ports.base == base)
        return;
    port_unmap(pm->env.mem, &pm->pm_ports);
    pm->pm_ports.base = base;
    if (base)
        port_map(pm->env.mem, &pm->pm_ports);
}

/* --- events from outside ----------------------------------------------------------------------------------
 */

void acpi_pm_press_power_button(struct acpi_pm *pm)
{
    pm->status |= PM1_PWRBTN;
    update_sci(pm);
}

void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned event)
{
    pm->gpe_status |= (u16)BIT(event & 15);
    update_sci(pm);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
    pm->status = pm->enable = pm->control = 0;
    pm->gpe_status = pm->gpe_enable = 0;
    pm->smi_command = pm->smi_scratch = 0;
    pm->toggles_acknowledged = pm_toggles(pm);
    update_sci(pm);
}

/* --- saved state ------------------------------------------------------------------------------------------
 */

struct acpi_pm_state {
    u16 status, enable, control, gpe_status, gpe_enable;
    u8 smi_command, smi_scratch;
    u64 toggles_acknowledged;
};

static const struct state_field acpi_pm_fields[] = {
    STATE_FIELD(struct acpi_pm_state, status),
    STATE_FIELD(struct acpi_pm_state, enable),
    STATE_FIELD(struct acpi_pm_state, control),
    STATE_FIELD(struct acpi_pm_state, gpe_status),
    STATE_FIELD(struct acpi_pm_state, gpe_enable),
    STATE_FIELD(struct acpi_pm_state, smi_command),
    STATE_FIELD(struct acpi_pm_state, smi_scratch),
    /* Bounded, so that the next deadline can be computed: 2^64 ns. */
    STATE_FIELD_MAX(struct acpi_pm_state, toggles_acknowledged, 1ull << 32),
};

static void acpi_pm_save(const void *dev, void *out)
{
    const struct acpi_pm *pm = dev;
    *(struct acpi_pm_state *)out = (struct acpi_pm_state){
        .status = pm->status,
        .enable = pm->enable,
        .control = pm->control,
        .gpe_status = pm->gpe_status,
        .gpe_enable = pm->gpe_enable,
        .smi_command = pm->smi_command,
        .smi_scratch = pm->smi_scratch,
        .toggles_acknowledged = pm->toggles_acknowledged,
    };
}

static int acpi_pm_check(const void *dev, const void *state, struct error *err)
{
    const struct acpi_pm_state *s = state;
    if ((s->status & (u16)~PM1_EVENTS) || (s->status & PM1_TMR) || (s->enable & (u16)~PM1_EVENTS) ||
        (s->control & (u16) ~(PM1_SCI_EN | PM1_CONTROL_KEPT)))
        return error_set(err, EINVAL, "acpi: registers with bits that do not exist (%#x, %#x, %#x)",
                         s->status, s->enable, s->control);
    return 0;
}

static void acpi_pm_load(void *dev, const void *state)
{
    struct acpi_pm *pm = dev;
    const struct acpi_pm_state *s = state;
    pm->status = s->status;
    pm->enable = s->enable;
    pm->control = s->control;
    pm->gpe_status = s->gpe_status;
    pm->gpe_enable = s->gpe_enable;
    pm->smi_command = s->smi_command;
    pm->smi_scratch = s->smi_scratch;
    pm->toggles_acknowledged = s->toggles_acknowledged;
    update_sci(pm);
}

static const struct state_desc acpi_pm_desc = {
    .name = "acpi-pm",
    .version = 1,
    .size = sizeof(struct acpi_pm_state),
    .fields = acpi_pm_fields,
    .field_count = ARRAY_LEN(acpi_pm_fields),
    .save = acpi_pm_save,
    .check = acpi_pm_check,
    .load = acpi_pm_load,
};

int acpi_pm_create(struct acpi_pm **out, const struct device_env *env, const struct acpi_pm_config *config,
                   struct error *err)
{
    struct acpi_pm *pm = calloc(1, sizeof *pm);
    if (!pm)
        return error_set(err, ENOMEM, "no memory for the power management device");
    pm->env = *env;
    pm->config = *config;
    timer_init(&pm->timer, env->loop, timer_expired, pm);
    int rc = state_set_add(env->state, &acpi_pm_desc, pm, 0);
    if (rc < 0) {
        free(pm);
        return error_set(err, -rc, "no memory for the power management device's saved state");
    }
    pm->pm_ports = (struct port_region){
        .name = "acpi-pm", .base = config->base, .count = PM_SIZE, .ops = &pm_ops, .dev = pm};
    pm->gpe_ports = (struct port_region){
        .name = "acpi-gpe", .base = config->gpe_base, .count = GPE_SIZE, .ops = &gpe_ops, .dev = pm};
    pm->smi_ports = (struct port_region){
        .name = "smi-command", .base = config->smi_cmd, .count = 2, .ops = &smi_ops, .dev = pm};
    if (config->base)
        port_map(env->mem, &pm->pm_ports);
    port_map(env->mem, &pm->gpe_ports);
    port_map(env->mem, &pm->smi_ports);
    acpi_pm_reset(pm);
    *out = pm;
    return 0;
}

void acpi_pm_destroy(struct acpi_pm *pm)
{
    if (!pm)
        return;
    timer_disarm(&pm->timer);
    port_unmap(pm->env.mem, &pm->pm_ports);
    port_unmap(pm->env.mem, &pm->gpe_ports);
    port_unmap(pm->env.mem, &pm->smi_ports);
    free(pm);
}
