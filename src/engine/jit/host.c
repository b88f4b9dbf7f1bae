/* What the translator wants of the host. */
#include <asm/prctl.h>
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "engine/jit/jit.h"

void jit_bind_thread(struct vcpu *v)
{
    syscall(SYS_arch_prctl, ARCH_SET_GS, v);
}

int jit_probe(struct error *err)
{
    unsigned long base;
    if (syscall(SYS_arch_prctl, ARCH_GET_GS, &base) < 0)
        return error_set(err, errno, "the host does not let programs set their GS base");
    if (!__builtin_cpu_supports("sse4.2"))
        return error_set(err, ENOTSUP, "the host CPU is too old");
    return 0;
}
