/*
 * The fixed hardware of ACPI (ACPI 6.4 section 4.8): PM1a event and control registers, the 32-bit power
 * management timer, one general-purpose event block of 16 events, and the SMI command port that switches ACPI
 * mode.
 */
#ifndef RING3_DEVICES_ACPI_PM_H
#define RING3_DEVICES_ACPI_PM_H

#include "devices/device.h"

struct acpi_pm;

struct acpi_pm_config {
    u16 base; /* of the 64 ports with event registers at +0 (4 bytes), control at +4 (2), timer at +8 (4); 0:
                 nowhere yet */
    u16 gpe_base;                 /* status (2 bytes), enable (2) */
    u16 smi_cmd;                  /* command and, in the next port, a scratch byte */
    u8 acpi_enable, acpi_disable; /* commands */
    u8 slp_typ_s5;
    struct irq_line sci;             /* level */
    void (*power_off)(void *opaque); /* the guest has entered S5 */
    void *opaque;
};

int acpi_pm_create(struct acpi_pm **out, const struct device_env *env, const struct acpi_pm_config *config,
                   struct error *err);
void acpi_pm_destroy(struct acpi_pm *pm);
void acpi_pm_reset(struct acpi_pm *pm);

/* [lock] The event, control and timer registers are at `base` from now on; 0: nowhere. */
void acpi_pm_move(struct acpi_pm *pm, u16 base);

/* [lock] Somebody presses the power button: an ACPI guest shuts down, others do not notice. */
void acpi_pm_press_power_button(struct acpi_pm *pm);
/* [lock] General-purpose event 0..15 happens. */
void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned event);

#endif
