/* The registers as text. */
#include <stdio.h>
#include "cpu/cpu.h"

typedef void line_fn(void *opaque, const char *text);
typedef unsigned long long ull;

static void dump_gprs(const struct vcpu *v, line_fn *line, void *opaque)
{
    static const char *const name[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                       "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
    char text[160];
    unsigned count = v->long_mode ? 16 : 8;
    for (unsigned i = 0; i < count; i += 4) {
        snprintf(text, sizeof text, "%s %016llx %s %016llx %s %016llx %s %016llx", name[i], (ull)v->gpr[i],
                 name[i + 1], (ull)v->gpr[i + 1], name[i + 2], (ull)v->gpr[i + 2], name[i + 3],
                 (ull)v->gpr[i + 3]);
        line(opaque, text);
    }
}

static void dump_seg(const char *name, const struct segreg *s, line_fn *line, void *opaque)
{
    char text[128];
    snprintf(text, sizeof text, "%-4s %04x base %016llx limit %08x attr %04x%s", name, s->selector,
             (ull)s->base, s->limit, s->attr, s->attr & SEG_UNUSABLE ? " unusable" : "");
    line(opaque, text);
}

static const char *mode_name(const struct vcpu *v)
{
    if (cpu_is_real(v))
        return "real";
    if (cpu_is_v86(v))
        return "virtual-8086";
    if (v->code64)
        return "64-bit";
    return v->long_mode ? "compatibility" : "protected";
}

void vcpu_dump(const struct vcpu *v, void (*line)(void *opaque, const char *text), void *opaque)
{
    static const char *const seg_name[] = {"es", "cs", "ss", "ds", "fs", "gs"};
    static const char *const activity[] = {"running", "halted", "waiting for SIPI", "shut down", "in mwait"};
    char text[192];
    snprintf(text, sizeof text, "cpu%u: %s mode, cpl %u, %s", v->index, mode_name(v), v->cpl,
             (unsigned)v->activity < ARRAY_LEN(activity) ? activity[v->activity] : "?");
    line(opaque, text);
    snprintf(text, sizeof text, "rip %016llx rflags %08llx last exception %u error %#x", (ull)v->rip,
             (ull)v->rflags, v->exc.vector, v->exc.error);
    line(opaque, text);
    dump_gprs(v, line, opaque);
    for (unsigned i = 0; i < SREG_COUNT; i++)
        dump_seg(seg_name[i], &v->seg[i], line, opaque);
    dump_seg("ldtr", &v->ldtr, line, opaque);
    dump_seg("tr", &v->tr, line, opaque);
    snprintf(text, sizeof text, "gdtr %016llx %04x idtr %016llx %04x", (ull)v->gdtr.base, v->gdtr.limit,
             (ull)v->idtr.base, v->idtr.limit);
    line(opaque, text);
    snprintf(text, sizeof text, "cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %04llx xcr0 %llx",
             (ull)v->cr0, (ull)v->cr2, (ull)v->cr3, (ull)v->cr4, (ull)v->efer, (ull)v->xcr0);
    line(opaque, text);
    snprintf(text, sizeof text, "dr0 %llx dr1 %llx dr2 %llx dr3 %llx dr6 %08llx dr7 %08llx", (ull)v->dr[0],
             (ull)v->dr[1], (ull)v->dr[2], (ull)v->dr[3], (ull)v->dr[6], (ull)v->dr[7]);
    line(opaque, text);
    snprintf(text, sizeof text, "events %x mask %x attention %x nmi %s", atomic_load(&v->events),
             v->event_mask, v->attention, v->nmi_blocked ? "blocked" : "open");
    line(opaque, text);
}
