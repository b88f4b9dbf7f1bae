/* Interrupt controllers and other CPUs. */
#ifndef GUEST_APIC_H
#define GUEST_APIC_H

#include "guest.h"

#define LAPIC_BASE          0xfee00000u
#define IOAPIC_BASE         0xfec00000u
#define LAPIC_ID            0x20
#define LAPIC_VERSION       0x30
#define LAPIC_TPR           0x80
#define LAPIC_PPR           0xa0
#define LAPIC_EOI           0xb0
#define LAPIC_LDR           0xd0
#define LAPIC_DFR           0xe0
#define LAPIC_SVR           0xf0
#define LAPIC_ISR           0x100
#define LAPIC_TMR           0x180
#define LAPIC_IRR           0x200
#define LAPIC_ESR           0x280
#define LAPIC_ICR           0x300
#define LAPIC_ICR_HIGH      0x310
#define LAPIC_LVT_TIMER     0x320
#define LAPIC_LVT_LINT0     0x350
#define LAPIC_LVT_LINT1     0x360
#define LAPIC_LVT_ERROR     0x370
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_CURRENT 0x390
#define LAPIC_TIMER_DIVIDE  0x3e0

#define ICR_FIXED   0x000u
#define ICR_LOWEST  0x100u
#define ICR_SMI     0x200u
#define ICR_NMI     0x400u
#define ICR_INIT    0x500u
#define ICR_SIPI    0x600u
#define ICR_LOGICAL 0x800u
#define ICR_ASSERT  0x4000u
#define ICR_LEVEL   0x8000u
#define ICR_SELF    0x40000u
#define ICR_ALL     0x80000u
#define ICR_OTHERS  0xc0000u

u32 lapic_read(u32 reg);
void lapic_write(u32 reg, u32 v);
void lapic_enable(void); /* SVR 0x1ff, TPR 0, the APIC mode of this CPU may be x2APIC */
static inline void lapic_eoi(void)
{
    lapic_write(LAPIC_EOI, 0);
}
u32 lapic_id(void);
bool lapic_bit(u32 bank, int vector); /* LAPIC_ISR, LAPIC_IRR or LAPIC_TMR */
void lapic_ipi(u32 destination, u32 icr_low);
void lapic_x2_enable(void); /* this CPU, after CPUID said so */

u32 ioapic_read(u32 reg);
void ioapic_write(u32 reg, u32 v);
/* low: vector, delivery mode and so on, 0x10000 masks; high: destination << 24 */
void ioapic_pin_set(int pin, u32 low, u32 high);

/* Both 8259s initialised (vectors 0x20 and 0x28, edge, normal EOI), masks as given. */
void pic_init(u8 mask_master, u8 mask_slave);
void pic_eoi(int irq);

/*
 * Starts the other CPUs; each runs fn(number from 1) in the base state of the BSP (paging and CR4 as they
 * were at the call) with interrupts off, and halts when fn returns. Returns the number of CPUs that run, the
 * BSP with them, at most `expected`.
 */
int smp_start(void (*fn)(int cpu), int expected);
int smp_cpu(void); /* number of this CPU: 0 is the BSP */
extern volatile u32 smp_apic_ids[64];

#endif
