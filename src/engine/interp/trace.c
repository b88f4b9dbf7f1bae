#include <string.h>
#include "engine/interp/trace.h"

void trace_begin(const struct vcpu *v, const struct insn *insn, struct trace_state *before)
{
    before->rip = v->rip;
    before->rflags = v->rflags;
    memcpy(before->gpr, v->gpr, sizeof before->gpr);
    insn_format(before->text, sizeof before->text, insn, v->rip);
}

void trace_end(const struct vcpu *v, const struct trace_state *before)
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    char changes[512] = "";
    size_t n = 0;
    for (unsigned i = 0; i < 16; i++)
        if (v->gpr[i] != before->gpr[i] && n < sizeof changes)
            n += (size_t)snprintf(changes + n, sizeof changes - n, " %s=%llx", names[i],
                                  (unsigned long long)v->gpr[i]);
    if (v->rflags != before->rflags && n < sizeof changes)
        snprintf(changes + n, sizeof changes - n, " rflags=%llx", (unsigned long long)v->rflags);
    log_trace(v->vm->log, TRACE_INSN, "cpu%u %04x:%016llx  %-40s%s", v->index, v->seg[CS].selector,
              (unsigned long long)before->rip, before->text, changes);
}
