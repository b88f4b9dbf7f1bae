/*
 * The 82441FX (PMC) host bridge at 00:00.0: which of the memory between 640 KiB and 1 MiB is RAM (PAM and
 * SMRAM registers), and its configuration space. It answers for guest memory below 1 MiB from A0000h on;
 * everything else of the memory map is the board's.
 *
 * What the guest sees of C0000h..FFFFFh follows, segment by segment, the two bits of its PAM field: reads and
 * writes each go to RAM or to the PCI bus, where the firmware's ROM is.
 */
#ifndef RING3_DEVICES_CHIPSET_I440FX_H
#define RING3_DEVICES_CHIPSET_I440FX_H

#include "devices/pci/pci.h"

#define I440FX_PAM0      0x59 /* bits 5:4: F0000h..FFFFFh */
#define I440FX_PAM_COUNT 7 /* PAM1..6: two segments of 16 KiB each, from C0000h on, the lower in bits 1:0 */
#define I440FX_SMRAM     0x72

/* One PAM field. */
enum pam_bit { PAM_READ = BIT(0), PAM_WRITE = BIT(1) };

struct i440fx;

/* `ram`: guest memory, of which address n is byte n of the block up to 1 MiB at least. */
int i440fx_create(struct i440fx **out, const struct device_env *env, struct pci_bus *bus,
                  struct ram_block *ram, struct error *err);
void i440fx_destroy(struct i440fx *bridge);
/* After pci_bus_reset. All of C0000h..FFFFFh shows the PCI bus. */
void i440fx_reset(struct i440fx *bridge);

#endif
