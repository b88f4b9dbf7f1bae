/* Saved state of a vCPU: round trip, and refusal of states that cannot be. */
#include "cpu/cpu_state.h"
#include "tests/unit/cpu_vm.h"

static struct cpu_vm t;

static void collect(void *opaque, const char *text)
{
    char *all = opaque;
    size_t used = strlen(all);
    snprintf(all + used, 200000 - used, "%s\n", text);
}

static char *dump(struct state_set *set)
{
    char *all = calloc(1, 200000);
    state_set_dump(set, collect, all);
    return all;
}

static void test_round_trip(void)
{
    cpu_vm_create(&t, NULL, 1);
    enter_long(&t, 3);
    struct vcpu *v = t.v;
    struct error err = {0};
    u8 *buf;
    size_t len;
    for (unsigned i = 0; i < 16; i++)
        v->gpr[i] = 0x1111111111111111ull * i;
    for (unsigned i = 0; i < 16; i++)
        memset(v->fpu.zmm[i], 0x5a, cpu_has(v, FEAT_AVX) ? 32 : 16);
    v->fpu.mxcsr = 0x1fa0;
    v->dr[0] = 0xffff800012345678;
    CHECK(msr_write(v, MSR_LSTAR, 0xffffffff81234567));
    CHECK(msr_write(v, MSR_TSC, 123456));
    v->nmi_blocked = true;
    vcpu_post(v, EVENT_NMI);
    char *before = dump(t.state);
    CHECK_EQ(state_set_save(t.state, &buf, &len, &err), 0);
    vcpu_reset(v);
    char *reset = dump(t.state);
    CHECK(strcmp(before, reset) != 0);
    CHECK_EQ(state_set_load(t.state, buf, len, &err), 0);
    char *after = dump(t.state);
    CHECK_STR(after, before);
    CHECK(v->code64 && v->cpl == 3 && v->stack_mask == ~0ull);
    CHECK_EQ(v->event_mask & (EVENT_NMI | EVENT_INTR), 0);
    CHECK_EQ(mmu_read(v, 0x5000, 1), 0); /* the TLB works with the new tables */
    CHECK_EQ(cpu_tsc(v), 123456);
    free(before);
    free(reset);
    free(after);
    free(buf);
    cpu_vm_destroy(&t);
}

/* Spoils a long-mode vCPU, saves, restores the good one, and loads the spoilt stream: it must be refused, the
 * message naming `what`, with nothing changed. */
#define REFUSES(what, spoil)                                                                                 \
    do {                                                                                                     \
        struct error err = {0};                                                                              \
        u8 *buf;                                                                                             \
        size_t len;                                                                                          \
        cpu_vm_create(&t, "x86-64-v2", 1);                                                                   \
        enter_long(&t, 0);                                                                                   \
        struct vcpu *v = t.v;                                                                                \
        struct vcpu *good = malloc(sizeof *good);                                                            \
        memcpy(good, v, sizeof *v);                                                                          \
        spoil;                                                                                               \
        CHECK_EQ(state_set_save(t.state, &buf, &len, &err), 0);                                              \
        memcpy(v, good, sizeof *v);                                                                          \
        CHECK_EQ(state_set_load(t.state, buf, len, &err), -EINVAL);                                          \
        CHECK(strstr(err.message, what) != NULL);                                                            \
        CHECK(memcmp(v, good, sizeof *v) == 0);                                                              \
        free(buf);                                                                                           \
        free(good);                                                                                          \
        cpu_vm_destroy(&t);                                                                                  \
    } while (0)

static void test_impossible_modes(void)
{
    REFUSES("cr0", v->cr0 &= ~(u64)CR0_PE);
    REFUSES("cr0", v->cr0 |= CR0_NW);
    REFUSES("cr0", v->cr0 |= BIT(40));
    REFUSES("cr4", v->cr4 |= CR4_LA57);
    REFUSES("cr4", v->cr4 &= ~(u64)CR4_PAE);
    REFUSES("efer", v->efer &= ~(u64)EFER_LMA);
    REFUSES("efer", v->efer |= BIT(1));
    REFUSES("cr3", v->cr3 |= BIT(40));
    REFUSES("rflags", v->rflags |= FLAG_VM);
    REFUSES("rflags", v->rflags &= ~(u64)FLAG_R1);
    REFUSES("rflags", v->rflags |= BIT(31));
    REFUSES("seg_attr", v->seg[CS].attr |= SEG_DB);
    REFUSES("seg_attr", v->seg[DS].attr = 0xffff);
}

static void test_impossible_values(void)
{
    REFUSES("seg_base", v->seg[FS].base = BIT(47));
    REFUSES("seg_base", v->seg[DS].base = BIT(33));
    REFUSES("gdtr_base", v->gdtr.base = BIT(50));
    REFUSES("idtr_base", v->idtr.base = BIT(50));
    REFUSES("mxcsr", v->fpu.mxcsr = 0xffffffff);
    REFUSES("xcr0", v->xcr0 = 0);
    REFUSES("xcr0", v->xcr0 = 0x207);
    REFUSES("xinuse", v->fpu.zmm[20][5] = 1);
    REFUSES("dr", v->dr[6] = 0);
    REFUSES("dr", v->dr[7] = 0);
    REFUSES("activity", v->activity = 99);
    REFUSES("db_pending", v->db_pending = ~0ull);
    REFUSES("LSTAR", v->msr.lstar = BIT(47));
    REFUSES("PAT", v->msr.pat = 2);
    REFUSES("MTRRphys", v->msr.mtrr_base[3] = BIT(45));
    REFUSES("SPEC_CTRL", v->msr.spec_ctrl = 1); /* not in this model */
}

/* Every prefix of a stream is refused, and so is another model's state. */
static void test_truncated_and_foreign(void)
{
    struct error err = {0};
    u8 *buf;
    size_t len;
    cpu_vm_create(&t, "x86-64-v2", 1);
    CHECK_EQ(state_set_save(t.state, &buf, &len, &err), 0);
    for (size_t n = 0; n < len; n += n < 64 ? 1 : 97)
        CHECK(state_set_load(t.state, buf, n, &err) != 0);
    CHECK_EQ(state_set_load(t.state, buf, len, &err), 0);
    cpu_vm_destroy(&t);
    free(buf);

    cpu_vm_create(&t, NULL, 1);
    if (cpu_has(t.v, FEAT_AVX)) {
        t.v->xcr0 = 7;
        CHECK_EQ(state_set_save(t.state, &buf, &len, &err), 0);
        cpu_vm_destroy(&t);
        cpu_vm_create(&t, "x86-64-v2", 1);
        CHECK_EQ(state_set_load(t.state, buf, len, &err), -EINVAL);
        free(buf);
    }
    cpu_vm_destroy(&t);
}

int main(void)
{
    TAP_RUN(test_round_trip);
    TAP_RUN(test_impossible_modes);
    TAP_RUN(test_impossible_values);
    TAP_RUN(test_truncated_and_foreign);
    return tap_done();
}
