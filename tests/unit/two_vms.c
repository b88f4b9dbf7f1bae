/* Two VMs in one process, at the same time: each has its own memory, console, clock and end. */
#include "machine/machine.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/tap.h"

/*
 * A Multiboot guest (a.out kludge, loaded at 1 MiB, entry behind the header). It writes its letter to COM1
 * and adds it to a counter in memory 1000 times with a pause in between, and exits with the counter's low
 * byte:
 *
 *      mov  edx, 0x3fb ; mov al, 3 ; out dx, al        (8-bit words)
 *      xor  edi, edi
 *      mov  ecx, 1000
 *  1:  mov  edx, 0x3f8 ; mov al, LETTER ; out dx, al
 *      movzx eax, al ; add [0x200000], eax
 *      mov  ebx, 500 ; 2: dec ebx ; jnz 2b
 *      dec  ecx ; jnz 1b
 *      mov  eax, [0x200000] ; mov edx, 0xf4 ; out dx, al
 *  3:  hlt ; jmp 3b
 */
static const u8 code[] = {
    0xba, 0xfb, 0x03, 0,    0,    0xb0, 0x03, 0xee,                               /* */
    0x31, 0xff, 0xb9, 0xe8, 0x03, 0,    0,                                        /* */
    0xba, 0xf8, 0x03, 0,    0,    0xb0, 'X',  0xee,                               /* 1: */
    0x0f, 0xb6, 0xc0, 0x01, 0x05, 0,    0,    0x20, 0,                            /* */
    0xbb, 0xf4, 0x01, 0,    0,    0x4b, 0x75, 0xfd,                               /* 2: */
    0x49, 0x75, 0xe4,                                                             /* */
    0xa1, 0,    0,    0x20, 0,    0xba, 0xf4, 0,    0, 0, 0xee, 0xf4, 0xeb, 0xfd, /* 3: */
};
#define LETTER_AT 21

static void guest_write(char *path, u8 letter)
{
    u8 image[32 + sizeof code];
    u32 header[8] = {0x1badb002, 0x00010000, 0, 0x100000, 0x100000, 0x100000 + sizeof image, 0, 0x100020};
    header[2] = 0u - header[0] - header[1];
    memcpy(image, header, sizeof header);
    memcpy(image + 32, code, sizeof code);
    image[32 + LETTER_AT] = letter;
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, image, sizeof image) == sizeof image);
    close(fd);
}

struct side {
    u8 letter;
    char path[32];
    struct machine *machine;
    struct machine_result result;
    unsigned letters, others;
};

static void side_console(void *opaque, const u8 *data, size_t len)
{
    struct side *side = opaque;
    for (size_t i = 0; i < len; i++)
        if (data[i] == side->letter)
            side->letters++;
        else
            side->others++;
}

static void *side_run(void *arg)
{
    struct side *side = arg;
    machine_run(side->machine, &side->result);
    return NULL;
}

static void test_side_by_side(void)
{
    struct side sides[2] = {{.letter = 'a', .path = "/tmp/ring3-two-vms-XXXXXX"},
                            {.letter = 'Z', .path = "/tmp/ring3-two-vms-XXXXXX"}};
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &sides[i];
        guest_write(side->path, side->letter);
        struct machine_config config;
        machine_config_init(&config);
        config.kernel = side->path;
        config.memory = MIB(16);
        config.cpus = 1 + i;
        config.exit_port = 0xf4;
        config.timeout = 60;
        struct error err = {0};
        CHECK(machine_create(&side->machine, &config, &err) == 0);
        CHECK_STR(err.message, "");
        struct machine_console console = {side_console, side};
        machine_set_console(side->machine, CONSOLE_SERIAL, &console);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, side_run, &sides[i]);
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &sides[i];
        pthread_join(threads[i], NULL);
        CHECK_EQ(side->result.end, MACHINE_DEBUG_EXIT);
        CHECK_EQ(side->result.exit_value, side->letter * 1000 & 0xff);
        CHECK_EQ(side->letters, 1000);
        CHECK_EQ(side->others, 0);
        machine_destroy(side->machine);
        unlink(side->path);
    }
}

int main(void)
{
    TAP_RUN(test_side_by_side);
    return tap_done();
}
