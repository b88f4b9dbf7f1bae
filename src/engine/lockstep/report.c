/* What a difference looks like: the instructions of the run, and both sides' registers and memory. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "engine/lockstep/lockstep.h"

#define SHOWN_INSTRUCTIONS 60
#define SHOWN_BYTES        32

static void write_line(void *opaque, const char *text)
{
    const struct lockstep *l = opaque;
    log_write(l->v->vm->log, "lockstep", "%s", text);
}

static void print_instruction(struct lockstep *l)
{
    struct vcpu *v = l->v;
    struct insn insn;
    char text[128] = "(cannot be read)", line[200];
    if (code_decode(v, v->rip, &insn))
        insn_format(text, sizeof text, &insn, v->rip);
    snprintf(line, sizeof line, "  %04x:%016llx  %s", v->seg[CS].selector, (unsigned long long)v->rip, text);
    write_line(l, line);
}

/* The interpreter again, up to where it was nearest to the translator; or the first instructions. */
static void replay(struct lockstep *l)
{
    unsigned count = l->distance ? l->near : SHOWN_INSTRUCTIONS;
    unsigned from = count > SHOWN_INSTRUCTIONS ? count - SHOWN_INSTRUCTIONS : 0;
    lockstep_rewind(l);
    l->v->watch = &l->watch;
    for (l->steps = 0; l->steps < count;) {
        if (l->steps >= from)
            print_instruction(l);
        l->v->attention &= ~(u32)ATTN_SHADOW_STI;
        if (l->v->attention || !lockstep_step(l, 1))
            break;
    }
    l->v->watch = NULL;
}

static void print_memory(struct lockstep *l)
{
    unsigned shown = 0;
    char line[200];
    for (unsigned i = 0; i < l->journal.count; i++) {
        const struct journal_page *p = l->journal.page[i];
        const u8 *first = p->changed ? p->after : p->before;
        for (unsigned at = 0; at < PAGE_SIZE && shown < SHOWN_BYTES; at += 8) {
            if (memcmp(first + at, p->hva + at, 8) == 0)
                continue;
            snprintf(line, sizeof line,
                     "  memory page %u, offset %03x: was %016llx, translator %016llx, interpreter %016llx", i,
                     at, (unsigned long long)load_le64(p->before + at),
                     (unsigned long long)load_le64(first + at), (unsigned long long)load_le64(p->hva + at));
            write_line(l, line);
            shown++;
        }
    }
}

void report_difference(struct lockstep *l)
{
    struct vcpu *v = l->v;
    char line[200];
    snprintf(line, sizeof line,
             "translator and interpreter differ; both began with this, the translator has ended at %llx:",
             (unsigned long long)l->after.rip);
    write_line(l, line);
    lockstep_rewind(l);
    vcpu_dump(v, write_line, l);
    write_line(l, "instructions since:");
    replay(l);
    state_print(&l->after, v, write_line, l);
    print_memory(l);
}
