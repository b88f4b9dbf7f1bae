/* The control socket: any bytes, in pieces of any size. Nothing may be written to a file: inputs that could
 * name one are left out. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "manage/control_impl.h"

/* A machine that never runs. */
static struct machine *fuzz_machine(void)
{
    static struct machine *machine;
    static const u32 header[] = {0x1badb002, 0x00010000, 0u - 0x1badb002 - 0x00010000,
                                 0x100000,   0x100000,   0x100024,
                                 0x100024,   0x100020,   0xf4f4f4f4};
    char path[] = "/tmp/ring3-fuzz-XXXXXX";
    if (machine)
        return machine;
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, header, sizeof header) != sizeof header)
        abort();
    close(fd);
    struct machine_config config;
    machine_config_init(&config);
    config.kernel = path;
    config.memory = MIB(16);
    if (machine_create(&machine, &config, NULL) < 0)
        abort();
    unlink(path);
    return machine;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct control control = {.machine = fuzz_machine(), .fd = -1};
    if (memmem(data, size, "filename", 8) || memmem(data, size, "\\u", 2))
        return 0;
    loop_lock(machine_loop(control.machine));
    struct control_client *c = control_client_create(&control, -1);
    if (!c)
        abort();
    for (size_t at = 0, piece = 1; at < size; at += piece) {
        piece = MIN(data[at] % 64 + 1u, size - at);
        if (control_client_input(c, (const char *)data + at, piece) < 0)
            break;
    }
    if (c->in_size > CONTROL_MAX_MESSAGE)
        abort();
    control_client_destroy(c);
    loop_unlock(machine_loop(control.machine));
    return 0;
}
