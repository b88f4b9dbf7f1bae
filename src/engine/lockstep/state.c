/* The registers that both sides must agree on. */
#include <stdio.h>
#include <string.h>
#include "engine/lockstep/lockstep.h"

struct field {
    const char *name;
    u16 offset, size; /* of one, and of all */
    u16 step;         /* 0: one field */
};

#define AT(f)   ((u16)offsetof(struct vcpu, f))
#define SIZE(f) ((u16)sizeof(((struct vcpu *)0)->f))
#define FIELD(name, f)                                                                                       \
    {                                                                                                        \
        name, AT(f), SIZE(f), 0                                                                              \
    }
#define ARRAY_OF(name, f)                                                                                    \
    {                                                                                                        \
        name, AT(f), SIZE(f), SIZE(f[0])                                                                     \
    }

static const struct field fields[] = {
    ARRAY_OF("seg", seg),
    FIELD("ldtr", ldtr),
    FIELD("tr", tr),
    FIELD("gdtr.base", gdtr.base),
    FIELD("gdtr.limit", gdtr.limit),
    FIELD("idtr.base", idtr.base),
    FIELD("idtr.limit", idtr.limit),
    FIELD("cr0", cr0),
    FIELD("cr2", cr2),
    FIELD("cr3", cr3),
    FIELD("cr4", cr4),
    FIELD("efer", efer),
    FIELD("xcr0", xcr0),
    ARRAY_OF("pdpte", pdpte),
    ARRAY_OF("dr", dr),
    FIELD("msr", msr),
    FIELD("tsc_offset", tsc_offset),
    FIELD("activity", activity),
    FIELD("monitor", monitor_gpa),
    FIELD("nmi_blocked", nmi_blocked),
    FIELD("event_mask", event_mask),
    FIELD("cpl", cpl),
    FIELD("decode_mode", decode_mode),
    FIELD("mmu_index", mmu_index),
    FIELD("code64", code64),
    FIELD("stack32", stack32),
    FIELD("stack_mask", stack_mask),
    FIELD("db_pending", db_pending),
    ARRAY_OF("zmm", fpu.zmm),
    ARRAY_OF("k", fpu.k),
    ARRAY_OF("st", fpu.st),
    FIELD("fcw", fpu.fcw),
    FIELD("fsw", fpu.fsw),
    FIELD("ftw", fpu.ftw),
    FIELD("fop", fpu.fop),
    FIELD("fip", fpu.fip),
    FIELD("fdp", fpu.fdp),
    FIELD("fcs", fpu.fcs),
    FIELD("fds", fpu.fds),
    FIELD("mxcsr", fpu.mxcsr),
    FIELD("pkru", fpu.pkru),
};

/* Outside 64-bit mode the upper halves of eight registers are nothing. */
static u64 gpr_mask(const struct vcpu *v, unsigned i)
{
    return v->code64 || i >= 8 ? ~0ull : MASK(32);
}

/* What has to be done before the next instruction; whether interrupts are held back for it is told only where
 * one waits. */
static u32 attention_of(const struct vcpu *v)
{
    return v->attention & ~(u32)ATTN_SHADOW_STI;
}

bool state_general_equal(const struct vcpu *a, const struct vcpu *b)
{
    u64 differ = 0;
    for (unsigned i = 0; i < 16; i++)
        differ |= (a->gpr[i] ^ b->gpr[i]) & gpr_mask(b, i);
    return !differ;
}

static bool field_equal(const struct field *f, const struct vcpu *a, const struct vcpu *b)
{
    return memcmp((const char *)a + f->offset, (const char *)b + f->offset, f->size) == 0;
}

enum agreement state_compare(const struct vcpu *t, const struct vcpu *i)
{
    if (t->rip != i->rip || !state_general_equal(t, i) || attention_of(t) != attention_of(i) ||
        ((t->rflags ^ i->rflags) & ~(u64)FLAGS_ARITH))
        return DISAGREE;
    for (unsigned n = 0; n < ARRAY_LEN(fields); n++)
        if (!field_equal(&fields[n], t, i))
            return DISAGREE;
    return t->rflags == i->rflags ? AGREE : AGREE_BUT_FLAGS;
}

unsigned state_distance(const struct vcpu *a, const struct vcpu *b)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < 16; i++)
        bits += (unsigned)__builtin_popcountll((a->gpr[i] ^ b->gpr[i]) & gpr_mask(b, i));
    for (unsigned n = 0; n < ARRAY_LEN(fields); n++)
        bits += field_equal(&fields[n], a, b) ? 0 : 8;
    return bits;
}

static void print_bytes(char *to, size_t size, const u8 *bytes, unsigned count)
{
    size_t n = 0;
    *to = '\0';
    while (count-- && n + 3 < size)
        n += (size_t)snprintf(to + n, size - n, "%02x", bytes[count]);
}

static void print_pair(const char *name, unsigned index, bool indexed, const u8 *t, const u8 *i,
                       unsigned size, void (*line)(void *opaque, const char *text), void *opaque)
{
    char text[400], a[140], b[140], number[8] = "";
    if (indexed)
        snprintf(number, sizeof number, "%u", index);
    print_bytes(a, sizeof a, t, size);
    print_bytes(b, sizeof b, i, size);
    snprintf(text, sizeof text, "  %s%s: translator %s, interpreter %s", name, number, a, b);
    line(opaque, text);
}

void state_print(const struct vcpu *t, const struct vcpu *i, void (*line)(void *opaque, const char *text),
                 void *opaque)
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    u32 at = attention_of(t), ai = attention_of(i);
    for (unsigned n = 0; n < 16; n++)
        if ((t->gpr[n] ^ i->gpr[n]) & gpr_mask(i, n))
            print_pair(names[n], 0, false, (const u8 *)&t->gpr[n], (const u8 *)&i->gpr[n], 8, line, opaque);
    if (t->rip != i->rip)
        print_pair("rip", 0, false, (const u8 *)&t->rip, (const u8 *)&i->rip, 8, line, opaque);
    if (t->rflags != i->rflags)
        print_pair("rflags", 0, false, (const u8 *)&t->rflags, (const u8 *)&i->rflags, 4, line, opaque);
    if (at != ai)
        print_pair("attention", 0, false, (const u8 *)&at, (const u8 *)&ai, 4, line, opaque);
    for (unsigned n = 0; n < ARRAY_LEN(fields); n++) {
        const struct field *f = &fields[n];
        unsigned step = f->step ? f->step : f->size;
        for (unsigned from = 0; from < f->size; from += step) {
            const u8 *a = (const u8 *)t + f->offset + from, *b = (const u8 *)i + f->offset + from;
            if (memcmp(a, b, step) != 0)
                print_pair(f->name, from / step, f->step, a, b, step, line, opaque);
        }
    }
}

static void keep_range(struct vcpu *to, const struct vcpu *from, size_t begin, size_t end)
{
    memcpy((char *)to + begin, (const char *)from + begin, end - begin);
}

/* All but the TLB, the engine's words, events, and what the VM has set up. */
void state_keep(struct vcpu *to, const struct vcpu *from)
{
    keep_range(to, from, 0, offsetof(struct vcpu, asid_tag));
    keep_range(to, from, offsetof(struct vcpu, event_mask), offsetof(struct vcpu, sipi_vector));
    keep_range(to, from, offsetof(struct vcpu, monitor_gpa), offsetof(struct vcpu, unwind));
    keep_range(to, from, offsetof(struct vcpu, exc), offsetof(struct vcpu, vm));
}
