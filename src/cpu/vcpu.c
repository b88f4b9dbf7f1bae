/* A vCPU's life: creation, power-on reset, INIT (SDM vol. 3 table 9-1, AMD APM vol. 2 table 14-1), the
 * register dump. */
#include <stdio.h>
#include <stdlib.h>
#include "cpu/cpu_state.h"
#include "cpu/debug.h"
#include "cpu/desc.h"
#include "cpu/mmu.h"
#include "cpu/msr.h"

static void segs_reset(struct vcpu *v)
{
    for (unsigned i = 0; i < SREG_COUNT; i++)
        v->seg[i] = (struct segreg){
            .limit = 0xffff,
            .attr = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED,
        };
    v->seg[CS].attr |= SEG_CODE;
    v->seg[CS].selector = 0xf000;
    v->seg[CS].base = 0xffff0000;
    v->ldtr = (struct segreg){.limit = 0xffff, .attr = SEG_P | 2};
    /* Busy, of 32 bits: a processor out of reset may enter long mode without LTR. */
    v->tr = (struct segreg){.limit = 0xffff, .attr = SEG_P | TYPE_TSS32_BUSY};
    v->gdtr = v->idtr = (struct dtable){.limit = 0xffff};
}

/* An engine that keeps registers of its own: it gives them; it takes them anew. */
static void engine_gives(struct vcpu *v)
{
    if (v->engine && v->vm->engine->get_state)
        v->vm->engine->get_state(v);
}

static void engine_takes(struct vcpu *v)
{
    if (v->engine && v->vm->engine->set_state)
        v->vm->engine->set_state(v);
}

/* What power-on and INIT have in common. */
static void reset_common(struct vcpu *v)
{
    const struct cpu_model *m = &v->vm->model;
    u64 caches_off = v->cr0 & (CR0_CD | CR0_NW);
    memset(v->gpr, 0, sizeof v->gpr);
    v->gpr[RDX] = (m->family > 15 ? (m->family - 15) << 20 | 15 << 8 : m->family << 8) |
                  (m->model >> 4) << 16 | (m->model & 15) << 4 | m->stepping;
    v->rip = 0xfff0;
    v->rflags = FLAG_R1;
    v->cr0 = caches_off | CR0_ET;
    v->cr2 = v->cr3 = v->cr4 = v->efer = 0;
    v->xcr0 = 1;
    memset(v->pdpte, 0, sizeof v->pdpte);
    memset(v->dr, 0, sizeof v->dr);
    v->dr[6] = DR6_FIXED;
    v->dr[7] = DR7_FIXED;
    segs_reset(v);
    v->attention = 0;
    v->db_pending = 0;
    v->ext = 0;
    v->nmi_blocked = false;
    v->monitor_gpa = ~0ull;
    v->msr.kernel_gs_base = 0;
    if (v->index == 0) {
        v->activity = ACTIVITY_RUNNING;
    } else {
        v->activity = ACTIVITY_WAIT_SIPI;
        v->attention |= ATTN_HALT;
    }
}

static void fpu_power_on(struct fpu *fpu)
{
    *fpu = (struct fpu){
        .fcw = 0x40,
        .ftw = 0xff, /* FTW = 5555h: all registers hold +0 */
        .mxcsr = 0x1f80,
        .host_mxcsr = 0x1f80,
        .xinuse = 1,
    };
}

void vcpu_reset(struct vcpu *v)
{
    v->cr0 = CR0_CD | CR0_NW;
    reset_common(v);
    fpu_power_on(&v->fpu);
    msr_reset(v);
    v->tsc_offset = -(s64)(v->vm->clock ? clock_now(v->vm->clock) : 0);
    atomic_store(&v->events, 0);
    vcpu_refresh_apic(v);
    cpu_mode_update(v);
    mmu_map_changed(v);
    engine_takes(v);
}

/* Keeps the x87/SSE state, MTRRs, TSC, machine-check banks and most MSRs. */
void vcpu_init(struct vcpu *v)
{
    engine_gives(v);
    reset_common(v);
    vcpu_clear(v, EVENT_NMI |
                      EVENT_NMI_AGAIN); /* not EVENT_SIPI: one that is here came after the INIT (port_init) */
    if (v->apic_ops) {
        pthread_mutex_lock(v->vm->machine_lock);
        v->apic_ops->init(v->apic);
        pthread_mutex_unlock(v->vm->machine_lock);
    }
    vcpu_refresh_apic(v);
    cpu_mode_update(v);
    mmu_flush_all(v);
    engine_takes(v);
}

void vcpu_refresh_apic(struct vcpu *v)
{
    v->apic_page = ~0ull;
    if (!v->apic_ops)
        return;
    pthread_mutex_lock(v->vm->machine_lock);
    v->apic_page = v->apic_ops->page(v->apic);
    pthread_mutex_unlock(v->vm->machine_lock);
}

static void port_set_intr(void *cpu, bool level)
{
    if (level)
        vcpu_post(cpu, EVENT_INTR);
    else
        vcpu_clear(cpu, EVENT_INTR);
}

/* One NMI may be in service and one pending (SDM vol. 3 6.7.1). A CPU that does not block NMIs would have
 * taken the first of two by now: the second is not lost because its thread has not got round to it. */
static void port_nmi(void *cpu)
{
    struct vcpu *v = cpu;
    u32 old = atomic_load(&v->events);
    while ((old & EVENT_NMI) && !__atomic_load_n(&v->nmi_blocked, __ATOMIC_RELAXED))
        if (atomic_compare_exchange_weak(&v->events, &old, old | EVENT_NMI_AGAIN))
            return;
    vcpu_post(v, EVENT_NMI);
}

/* An INIT supersedes a start-up message that came before it. */
static void port_init(void *cpu)
{
    vcpu_clear(cpu, EVENT_SIPI);
    vcpu_post(cpu, EVENT_INIT);
}

static void port_sipi(void *cpu, u8 vector)
{
    struct vcpu *v = cpu;
    atomic_store(&v->sipi_vector, vector);
    vcpu_post(v, EVENT_SIPI);
}

static s64 port_tsc_offset(void *cpu)
{
    return ((struct vcpu *)cpu)->tsc_offset;
}

struct cpu_port vcpu_port(struct vcpu *v)
{
    return (struct cpu_port){.set_intr = port_set_intr,
                             .nmi = port_nmi,
                             .init = port_init,
                             .sipi = port_sipi,
                             .tsc_offset = port_tsc_offset,
                             .cpu = v};
}

void vcpu_connect_apic(struct vcpu *v, const struct apic_ops *ops, void *apic)
{
    v->apic_ops = ops;
    v->apic = apic;
    vcpu_refresh_apic(v);
}

static int wake_init(struct vcpu *v)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    if (rc)
        return -rc;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&v->wake_cond, &attr);
    pthread_condattr_destroy(&attr);
    if (rc)
        return -rc;
    rc = pthread_mutex_init(&v->wake_lock, NULL);
    if (rc)
        pthread_cond_destroy(&v->wake_cond);
    return -rc;
}

int vcpu_create(struct vcpu **out, struct vm *vm, unsigned index, struct error *err)
{
    if (index >= VM_MAX_CPUS)
        return error_set(err, EINVAL, "CPU %u is beyond the limit of %u CPUs", index, VM_MAX_CPUS);
    struct vcpu *v = aligned_alloc(64, ALIGN_UP(sizeof *v, 64));
    if (!v)
        return error_set(err, ENOMEM, "no memory for CPU %u", index);
    memset(v, 0, sizeof *v);
    v->vm = vm;
    v->index = index;
    int rc = wake_init(v);
    if (rc) {
        free(v);
        return error_set(err, -rc, "cannot create the lock of CPU %u", index);
    }
    v->mmu = mmu_create();
    v->tlb = calloc(MMU_INDEX_COUNT - 1, sizeof *v->tlb);
    if (!v->mmu || !v->tlb)
        rc = error_set(err, ENOMEM, "no memory for the TLB of CPU %u", index);
    if (!rc) {
        vcpu_reset(v);
        if (vm->state && state_set_add(vm->state, &vcpu_state_desc, v, index))
            rc = error_set(err, ENOMEM, "no memory for the state of CPU %u", index);
    }
    if (rc) {
        vcpu_destroy(v);
        return rc;
    }
    vm->cpu[index] = v;
    vm->cpu_count = MAX(vm->cpu_count, index + 1);
    *out = v;
    return 0;
}

void vcpu_destroy(struct vcpu *v)
{
    if (!v)
        return;
    if (v->vm->cpu[v->index] == v)
        v->vm->cpu[v->index] = NULL;
    pthread_mutex_destroy(&v->wake_lock);
    pthread_cond_destroy(&v->wake_cond);
    mmu_destroy(v->mmu);
    free(v->tlb);
    free(v);
}
