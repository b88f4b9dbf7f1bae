/* The table of model-specific registers, for msr.c's readers beside RDMSR and WRMSR (cpu/ctrl.h). */
#ifndef RING3_CPU_MSR_H
#define RING3_CPU_MSR_H

#include "cpu/cpu.h"

enum msr_number {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_PATCH_LEVEL = 0x8b,
    MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MCG_CTL = 0x17b,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_LAST_BRANCH_FROM = 0x1db,
    MSR_MTRR_PHYS = 0x200,
    MSR_MTRR_FIX64K = 0x250,
    MSR_MTRR_FIX16K = 0x258,
    MSR_MTRR_FIX4K = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MC0_CTL = 0x400,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC = 0x800,
    MSR_PKRS = 0x6e1,
    MSR_XSS = 0xda0,
};
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_SFMASK         0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u
#define MSR_SYSCFG         0xc0010010u
#define MSR_HWCR           0xc0010015u
#define MSR_TOP_MEM        0xc001001au
#define MSR_TOP_MEM2       0xc001001du
#define MSR_NB_CFG         0xc001001fu
#define MSR_PATCH_LOADER   0xc0010020u
#define MSR_DE_CFG         0xc0011029u

#define MC_BANKS 4

/* Power-on values of everything in v->msr. */
void msr_reset(struct vcpu *v);

/* The EFER bits that exist on this CPU model. */
u64 efer_valid_bits(const struct vcpu *v);

/* The name for messages, NULL if there is no such register. */
const char *msr_name(const struct vcpu *v, u32 msr);

/* Could WRMSR have stored these values? NULL, or the name of the first register that cannot hold its value.
 */
const char *msr_check_values(const struct vcpu *v, const struct vcpu_msrs *values);

/* After the APIC's base changed: v->apic_page anew (vcpu.c). */
void vcpu_refresh_apic(struct vcpu *v);

#endif
