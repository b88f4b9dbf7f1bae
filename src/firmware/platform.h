/*
 * Where things are in this PC: what the firmware tables tell the guest and what the machine wires the chips
 * to. Addresses follow the 440FX/PIIX4 machines that guests know.
 */
#ifndef RING3_FIRMWARE_PLATFORM_H
#define RING3_FIRMWARE_PLATFORM_H

/* Ports. */
#define PC_COM1_BASE     0x3f8
#define PC_PM_BASE       0x600 /* PM1a event +0, PM1a control +4, PM timer +8; firmware has places of its own */
#define PC_PM_SIZE       0x40
#define PC_SMBUS_OFFSET  0x100  /* from there */
#define PC_GPE0_BASE     0xafe0 /* GPE0 status +0, enable +2 */
#define PC_SMI_CMD       0xb2
#define PC_PCI_ADDRESS   0xcf8
#define PC_RESET_PORT    0xcf9
#define PC_DEBUG_EXIT    0xf4   /* by custom */
#define PC_DEBUG_CONSOLE 0x402  /* by custom */
#define PC_IO_PCI_FIRST  0x1000 /* ports handed to PCI devices: up to FFFFh, but for the GPE block */

/* Values of SMI_CMD and of the reset port (FADT). */
#define PC_ACPI_ENABLE  0xf1
#define PC_ACPI_DISABLE 0xf0
#define PC_RESET_VALUE  0x0e

/* Memory. */
#define PC_LAPIC_BASE  0xfee00000u
#define PC_IOAPIC_BASE 0xfec00000u
#define PC_HPET_BASE   0xfed00000u
#define PC_VTD_BASE    0xfed90000u
#define PC_PCI_MMIO_FIRST                                                                                    \
    0xc0000000u /* first address after low RAM at its largest: memory of PCI devices                         \
                 */
#define PC_PCI_MMIO_LAST   0xfebfffffu
#define PC_PCI_MMIO64_SIZE (64ull << 30) /* above high RAM, aligned to its size */

/* Interrupts: ISA IRQ n is IOAPIC pin n, but for the PIT's. */
#define PC_IRQ_PIT      0
#define PC_GSI_PIT      2
#define PC_IRQ_KEYBOARD 1
#define PC_IRQ_COM1     4
#define PC_IRQ_FLOPPY   6
#define PC_IRQ_RTC      8
#define PC_IRQ_SCI      9
#define PC_IRQ_MOUSE    12
#define PC_IRQ_FPU      13
#define PC_IRQ_IDE0     14 /* the second channel: the next one */
#define PC_PCI_LINKS    4
#define PC_PCI_LINK_IRQS                                                                                     \
    {                                                                                                        \
        10, 10, 11, 11                                                                                       \
    } /* of PCI links A..D: level-triggered, shared */
#define PC_PCI_POSSIBLE_IRQS                                                                                 \
    {                                                                                                        \
        5, 10, 11                                                                                            \
    } /* what a link can be routed to */
#define PC_ELCR        0x4d0
#define PC_ELCR_SECOND 0x0e /* ELCR of the second PIC: IRQ 9, 10, 11 are level-triggered */

/* DMA channels. */
#define PC_DMA_FLOPPY 2

/* PCI slots on bus 0. Cards that come in any number (virtio) take the next free one from PC_SLOT_CARDS on. */
#define PC_SLOT_HOST    0
#define PC_SLOT_PIIX    1 /* functions: 0 PIIX3 ISA bridge, 1 PIIX3 IDE, 3 PIIX4 power management */
#define PC_FUNCTION_IDE 1
#define PC_SLOT_VGA     2
#define PC_SLOT_AHCI    3
#define PC_SLOT_CARDS   4
#define PC_SLOT_EDU     31

/* SLP_TYP of S5 (PM1 control, \_S5). */
#define PC_SLP_TYP_S5 0

#endif
