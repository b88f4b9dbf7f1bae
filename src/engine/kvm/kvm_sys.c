/* The host's own KVM. */
#include "engine/kvm/kvm_sys.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int host_open(void *opaque)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int host_close(void *opaque, int fd)
{
    return close(fd) < 0 ? -errno : 0;
}

static int host_ioctl(void *opaque, int fd, unsigned long request, void *arg)
{
    int rc = ioctl(fd, request, arg);
    return rc < 0 ? -errno : rc;
}

static void *host_map(void *opaque, int fd, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void host_unmap(void *opaque, void *p, size_t size)
{
    munmap(p, size);
}

const struct kvm_sys kvm_sys_host = {
    .open = host_open,
    .close = host_close,
    .ioctl = host_ioctl,
    .map = host_map,
    .unmap = host_unmap,
};
