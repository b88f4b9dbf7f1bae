/* The few system calls that reach KVM, as a table: tests put their own in its place. */
#ifndef RING3_ENGINE_KVM_KVM_SYS_H
#define RING3_ENGINE_KVM_KVM_SYS_H

#include <stddef.h>

/* All return -errno on failure. */
struct kvm_sys {
    int (*open)(void *opaque); /* a descriptor of /dev/kvm */
    int (*close)(void *opaque, int fd);
    int (*ioctl)(void *opaque, int fd, unsigned long request, void *arg);
    /* A vCPU's shared page(s), or NULL. */
    void *(*map)(void *opaque, int fd, size_t size);
    void (*unmap)(void *opaque, void *p, size_t size);
    void *opaque;
};

extern const struct kvm_sys kvm_sys_host;

#endif
