/* What the control socket's files share. */
#ifndef RING3_MANAGE_CONTROL_IMPL_H
#define RING3_MANAGE_CONTROL_IMPL_H

#include <jansson.h>
#include <sys/types.h>

#include "manage/control.h"

struct control_client {
    struct control *control;
    struct control_client *next;
    int fd; /* -1: a fuzzer's */
    struct fd_watch *watch;
    bool negotiated;
    bool failed; /* to be ended */
    char *in;    /* one message, as far as it is here */
    size_t in_len, in_size;
    size_t scanned; /* of it, by the framing */
    unsigned depth;
    bool in_string, escaped;
    char *out; /* out[out_from..out_to) waits */
    size_t out_from, out_to, out_size;
};

struct control {
    struct machine *machine;
    char path[108];
    dev_t device; /* of the socket's file, which somebody may have replaced */
    ino_t inode;
    int fd;
    struct fd_watch *watch;
    struct control_client *clients;
    unsigned client_count;
};

/* control.c */
struct control_client *control_client_create(struct control *control, int fd);
void control_client_destroy(struct control_client *client);
/* Takes what came in; -1: end the connection. */
int control_client_input(struct control_client *client, const char *data, size_t len);
/* To one, or to all that have negotiated. Takes over the reference. */
void control_send(struct control_client *client, json_t *message);
void control_event(struct control *control, const char *name);

/* commands.c */
struct control_command {
    const char *name;
    bool takes_arguments;
    /* `arguments`: an object. `*result` may be left alone for an empty one. Negative errno with `err`. */
    int (*run)(struct control *control, json_t *arguments, json_t **result, struct error *err);
};

/* One request to its answer. */
json_t *control_execute(struct control_client *client, json_t *request);

#endif
