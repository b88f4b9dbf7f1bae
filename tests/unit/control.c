/*
 * The control socket: QMP's ways, its commands on a machine that never runs, and the limits. fuzz/control.c
 * has the bytes that nobody would write; tests/cli and tests/system/run-vnc a running machine.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../tap.h"
#include "display/display.h"
#include "display/input.h"
#include "display/typing.h"
#include "manage/control_call.h"
#include "manage/control_impl.h"

struct rig {
    struct machine *machine;
    struct control control;
    struct control_client *client;
    int fd; /* the other end */
};

/* A Multiboot kernel of one HLT. */
static struct machine *machine_make(void)
{
    static const u32 image[] = {0x1badb002, 0x00010000, 0u - 0x1badb002 - 0x00010000,
                                0x100000,   0x100000,   0x100024,
                                0x100024,   0x100020,   0xf4f4f4f4};
    char path[] = "/tmp/ring3-control-XXXXXX";
    struct machine_config config;
    struct machine *machine = NULL;
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, image, sizeof image) == sizeof image);
    close(fd);
    machine_config_init(&config);
    config.kernel = path;
    config.memory = MIB(16);
    CHECK(machine_create(&machine, &config, NULL) == 0);
    unlink(path);
    return machine;
}

static void rig_init(struct rig *r)
{
    int fds[2];
    memset(r, 0, sizeof *r);
    r->machine = machine_make();
    r->control = (struct control){.machine = r->machine, .fd = -1};
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    r->fd = fds[0];
    r->client = control_client_create(&r->control, fds[1]);
    CHECK(r->client != NULL);
}

static void rig_finish(struct rig *r)
{
    while (r->control.clients)
        control_client_destroy(r->control.clients);
    close(r->fd);
    machine_destroy(r->machine);
}

static int say(struct rig *r, const char *text)
{
    return control_client_input(r->client, text, strlen(text));
}

/* All that it has said meanwhile. */
static const char *answer(struct rig *r)
{
    static char text[1 << 16];
    ssize_t n = recv(r->fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

#define HAS(text, part)                                                                                      \
    do {                                                                                                     \
        const char *text_ = (text);                                                                          \
        if (!strstr(text_, part))                                                                            \
            printf("# '%s' is not in '%s'\n", part, text_);                                                  \
        CHECK(strstr(text_, part) != NULL);                                                                  \
    } while (0)

static void begin(struct rig *r)
{
    HAS(answer(r), "{\"QMP\":{\"version\"");
    CHECK(say(r, "{\"execute\":\"qmp_capabilities\"}") == 0);
    CHECK_STR(answer(r), "{\"return\":{}}\r\n");
}

static void test_negotiation(void)
{
    struct rig r;
    rig_init(&r);
    HAS(answer(&r), "ring3");
    CHECK(say(&r, "{\"execute\":\"query-status\"}") == 0);
    HAS(answer(&r), "CommandNotFound");
    CHECK(say(&r, "{\"execute\":\"qmp_capabilities\",\"id\":{\"a\":[7]}}") == 0);
    CHECK_STR(answer(&r), "{\"return\":{},\"id\":{\"a\":[7]}}\r\n");
    CHECK(say(&r, "{\"execute\":\"qmp_capabilities\"}") == 0);
    HAS(answer(&r), "CommandNotFound");
    CHECK(say(&r, "{\"execute\":\"nonsense\",\"id\":1}") == 0);
    HAS(answer(&r), "\"id\":1");
    rig_finish(&r);
}

static void test_commands(void)
{
    struct rig r;
    rig_init(&r);
    begin(&r);
    CHECK(say(&r, "{\"execute\":\"query-commands\"}") == 0);
    HAS(answer(&r), "{\"name\":\"screendump\"}");
    CHECK(say(&r, "{\"execute\":\"query-status\"}") == 0);
    HAS(answer(&r), "\"running\":true");
    CHECK(say(&r, "{\"execute\":\"stop\"}") == 0);
    const char *text = answer(&r);
    HAS(text, "\"event\":\"STOP\"");
    HAS(text, "{\"return\":{}}");
    CHECK(machine_is_paused(r.machine));
    CHECK(say(&r, "{\"execute\":\"stop\"}") == 0); /* it stands already: no event */
    CHECK_STR(answer(&r), "{\"return\":{}}\r\n");
    CHECK(say(&r, "{\"execute\":\"cont\",\"arguments\":{}}") == 0);
    HAS(answer(&r), "RESUME");
    CHECK(!machine_is_paused(r.machine));
    CHECK(say(&r, "{\"execute\":\"cont\",\"arguments\":{\"now\":true}}") == 0);
    HAS(answer(&r), "arguments are not possible");
    CHECK(say(&r, "{\"execute\":\"screen-text\"}") == 0);
    HAS(answer(&r), "graphics"); /* without a display adapter there is no text */
    CHECK(say(&r,
              "{\"execute\":\"screendump\",\"arguments\":{\"filename\":\"/nodir/x\",\"format\":\"ppm\"}}") ==
          0);
    HAS(answer(&r), "png only");
    CHECK(say(&r, "{\"execute\":\"screendump\",\"arguments\":{\"filename\":\"/nodir/x.png\"}}") == 0);
    HAS(answer(&r), "No such file");
    rig_finish(&r);
}

static void count_press(void *opaque, u16 code, bool pressed)
{
    *(unsigned *)opaque += pressed;
}

static void test_keys(void)
{
    static const char *const bad[] = {
        "{}",
        "{\"keys\":[]}",
        "{\"keys\":[7]}",
        "{\"keys\":[{\"type\":\"qcode\",\"data\":\"nokey\"}]}",
        "{\"keys\":[{\"type\":\"number\",\"data\":256}]}",
        "{\"keys\":[{\"type\":\"number\",\"data\":-1}]}",
        "{\"keys\":[{\"type\":\"number\",\"data\":\"a\"}]}",
        "{\"keys\":[{\"type\":\"qcode\",\"data\":\"a\"}],\"hold-time\":0}",
        "{\"keys\":[{\"type\":\"qcode\",\"data\":\"a\"}],\"hold-time\":600001}",
        "{\"keys\":[{\"type\":\"qcode\",\"data\":\"a\"}],\"what\":0}",
        "{\"keys\":[1,2,3,4,5,6,7,8,9]}",
    };
    struct rig r;
    char text[256];
    unsigned presses = 0;
    struct input_device keyboard = {.key = count_press, .opaque = &presses};
    rig_init(&r);
    begin(&r);
    input_connect(machine_input(r.machine), &keyboard);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof text, "{\"execute\":\"send-key\",\"arguments\":%s}", bad[i]);
        CHECK(say(&r, text) == 0);
        HAS(answer(&r), "GenericError");
    }
    CHECK(say(&r, "{\"execute\":\"send-key\",\"arguments\":{\"keys\":[{\"type\":\"qcode\",\"data\":\"ctrl\"},"
                  "{\"type\":\"number\",\"data\":203}]}}") == 0);
    CHECK_STR(answer(&r), "{\"return\":{}}\r\n");
    CHECK(say(&r, "{\"execute\":\"type\",\"arguments\":{\"text\":\"a{oops}\"}}") == 0);
    HAS(answer(&r), "'oops' is no key's name");
    CHECK(say(&r, "{\"execute\":\"type\",\"arguments\":{\"text\":\"abc\"}}") == 0);
    CHECK_STR(answer(&r), "{\"return\":{}}\r\n");
    struct loop *loop = machine_loop(r.machine);
    loop_lock(loop);
    for (int i = 0; i < 100 && presses < 5; i++) {
        clock_set(loop_clock(loop), loop_next_deadline(loop));
        loop_run_timers(loop, loop_next_deadline(loop));
    }
    loop_unlock(loop);
    CHECK_EQ(presses, 5);
    loop_lock(loop);
    input_disconnect(machine_input(r.machine), &keyboard);
    loop_unlock(loop);
    rig_finish(&r);
}

static void test_framing(void)
{
    static const char stream[] = "  {\"execute\":\"query-status\",\"id\":\"}{\\\"]\"}\r\n\t{\"execute\" : "
                                 "\"query-status\"}{\"execute\":\"no\"}  ";
    struct rig r;
    unsigned answers = 0;
    rig_init(&r);
    begin(&r);
    /* A byte at a time. */
    for (const char *p = stream; *p; p++)
        CHECK(control_client_input(r.client, p, 1) == 0);
    for (const char *p = answer(&r); (p = strchr(p, '\n')); p++)
        answers++;
    CHECK_EQ(answers, 3);
    /* Braces that match, and are no JSON: an error, and the next is heard. */
    CHECK(say(&r, "{nonsense}{\"execute\":\"query-status\"}") == 0);
    const char *text = answer(&r);
    HAS(text, "GenericError");
    HAS(text, "running");
    CHECK(say(&r, "{\"execute\":\"query-status\",\"execute\":\"quit\"}") == 0);
    HAS(answer(&r), "duplicate");
    CHECK(say(&r, "quit") < 0);
    HAS(answer(&r), "JSON parse error");
    rig_finish(&r);
}

static void test_limits(void)
{
    struct rig r;
    rig_init(&r);
    begin(&r);
    /* Nested deeper than the parser goes. */
    char *deep = malloc(20001);
    memcpy(deep, "{\"a\":", 5);
    memset(deep + 5, '[', 9000);
    memset(deep + 9005, ']', 9000);
    strcpy(deep + 18005, "}");
    CHECK(say(&r, deep) == 0);
    HAS(answer(&r), "GenericError");
    free(deep);
    /* A message without an end. */
    char piece[1024];
    memset(piece, ' ', sizeof piece);
    piece[0] = '{';
    int rc = 0;
    size_t said = 0;
    for (; !rc && said < MIB(1); said += sizeof piece) {
        rc = control_client_input(r.client, piece, sizeof piece);
        piece[0] = ' ';
    }
    CHECK(rc < 0);
    CHECK(said <= CONTROL_MAX_MESSAGE + sizeof piece);
    rig_finish(&r);

    /* Somebody who asks and never listens: what waits for him has an end, events included. */
    rig_init(&r);
    begin(&r);
    for (int i = 0; i < 20000 && r.client->out_to - r.client->out_from < CONTROL_MAX_WAITING; i++)
        CHECK(say(&r, "{\"execute\":\"query-commands\"}") == 0);
    CHECK(r.client->out_to - r.client->out_from >= CONTROL_MAX_WAITING);
    size_t waits = r.client->out_to - r.client->out_from;
    for (int i = 0; i < 1000; i++)
        control_event(&r.control, "STOP");
    CHECK_EQ(r.client->out_to - r.client->out_from, waits);
    rig_finish(&r);
}

static void test_socket(void)
{
    char directory[] = "/tmp/ring3-control-XXXXXX", path[64];
    struct machine *machine = machine_make();
    struct control *control = NULL, *second = NULL;
    struct error err = {0};
    struct stat st;
    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, sizeof path, "%s/socket", directory);
    CHECK(control_create(&control, machine, path, &err) == 0);
    CHECK(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    /* In use. */
    CHECK(control_create(&second, machine, path, &err) == -EADDRINUSE);
    CHECK(stat(path, &st) == 0);
    control_destroy(control);
    CHECK(stat(path, &st) < 0);
    /* One that was left behind goes; a file does not. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    close(fd);
    CHECK(control_create(&control, machine, path, &err) == 0);
    control_destroy(control);
    FILE *file = fopen(path, "we");
    fclose(file);
    CHECK(control_create(&control, machine, path, &err) == -EADDRINUSE);
    CHECK(stat(path, &st) == 0);
    unlink(path);
    rmdir(directory);
    char long_path[300];
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[sizeof long_path - 1] = '\0';
    CHECK(control_create(&control, machine, long_path, &err) == -ENAMETOOLONG);
    CHECK(control_create(&control, machine, "", &err) == -ENAMETOOLONG);
    machine_destroy(machine);
}

int main(void)
{
    TAP_RUN(test_negotiation);
    TAP_RUN(test_commands);
    TAP_RUN(test_keys);
    TAP_RUN(test_framing);
    TAP_RUN(test_limits);
    TAP_RUN(test_socket);
    return tap_done();
}
