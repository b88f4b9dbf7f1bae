/*
 * The control socket's commands: QMP's where QMP has such a thing (with its names, arguments and answers),
 * and of our own `screen-text` (the text-mode screen) and `type` (keys in the notation of --type).
 * Adding one is a function and a row.
 */
#include <linux/input-event-codes.h>
#include <stdlib.h>
#include <string.h>

#include "display/display.h"
#include "display/keymap.h"
#include "display/scancode.h"
#include "display/typing.h"
#include "manage/control_impl.h"

static const struct control_command commands[];

/* --- the machine's life ----------------------------------------------------------------------------- */

static int query_status(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    bool paused = machine_is_paused(control->machine);
    *result = json_pack("{s:s, s:b, s:b}", "status", paused ? "paused" : "running", "running", !paused,
                        "singlestep", 0);
    return 0;
}

static int query_version(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    *result = json_pack("{s:{s:i, s:i, s:i}, s:s}", "qemu", "major", 7, "minor", 2, "micro", 0, "package",
                        "ring3 " RING3_VERSION);
    return 0;
}

static int quit(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    machine_quit(control->machine);
    control_event(control, "SHUTDOWN");
    return 0;
}

static int system_reset(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    machine_restart(control->machine);
    control_event(control, "RESET");
    return 0;
}

static int set_paused(struct control *control, bool paused)
{
    if (machine_is_paused(control->machine) == paused)
        return 0;
    machine_set_paused(control->machine, paused);
    control_event(control, paused ? "STOP" : "RESUME");
    return 0;
}

static int stop(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    return set_paused(control, true);
}

static int cont(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    return set_paused(control, false);
}

/* --- the screen ------------------------------------------------------------------------------------- */

static int screendump(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    const char *filename, *format = "png";
    if (json_unpack(arguments, "{s:s, s?s !}", "filename", &filename, "format", &format) < 0)
        return error_set(err, EINVAL, "screendump takes 'filename' and 'format'");
    if (strcmp(format, "png") != 0)
        return error_set(err, EINVAL, "screendump writes png only, not '%.40s'", format);
    return display_write_png(machine_display(control->machine), filename, err);
}

static int screen_text(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    struct display *display = machine_display(control->machine);
    display_refresh(display);
    char *text = display_text(display);
    if (!text)
        return error_set(err, ENODATA, "the screen shows graphics, no text");
    *result = json_pack("{s:s}", "text", text);
    free(text);
    return *result ? 0 : error_set(err, EILSEQ, "the screen's text cannot be written as JSON");
}

/* --- keys ------------------------------------------------------------------------------------------- */

/* QMP's KeyValue: {"type": "qcode", "data": "ctrl"} or {"type": "number", "data": 29}. */
static int key_of(json_t *value, u16 *code, struct error *err)
{
    const char *type;
    json_t *data;
    if (json_unpack(value, "{s:s, s:o !}", "type", &type, "data", &data) < 0)
        return error_set(err, EINVAL, "a key is an object with 'type' and 'data'");
    if (!strcmp(type, "qcode") && json_is_string(data)) {
        *code = keymap_from_name(json_string_value(data), json_string_length(data));
    } else if (!strcmp(type, "number") && json_is_integer(data)) {
        /* An XT scan code: bit 7 stands for E0h. */
        json_int_t n = json_integer_value(data);
        *code = n < 0 || n > 0xff ? KEY_RESERVED : scancode_to_key((u16)(n & 0x80 ? 0xe000 | (n & 0x7f) : n));
    } else {
        return error_set(err, EINVAL, "a key's type is 'qcode' with a name or 'number' with a scan code");
    }
    return *code ? 0 : error_set(err, EINVAL, "there is no such key");
}

static int send_key(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    u16 codes[TYPING_MAX_CHORD];
    json_t *keys;
    json_int_t hold_ms = 100;
    if (json_unpack(arguments, "{s:o, s?I !}", "keys", &keys, "hold-time", &hold_ms) < 0 ||
        !json_is_array(keys))
        return error_set(err, EINVAL, "send-key takes the array 'keys', and 'hold-time' in milliseconds");
    size_t count = json_array_size(keys);
    if (!count || count > TYPING_MAX_CHORD || hold_ms < 1 ||
        hold_ms > (json_int_t)(TYPING_MAX_HOLD_NS / 1000000))
        return error_set(err, EINVAL, "1 to %d keys can be held, for 1 to %llu milliseconds",
                         TYPING_MAX_CHORD, TYPING_MAX_HOLD_NS / 1000000);
    for (size_t i = 0; i < count; i++) {
        int rc = key_of(json_array_get(keys, i), &codes[i], err);
        if (rc)
            return rc;
    }
    return typing_add_chord(machine_typing(control->machine), codes, (unsigned)count, (u64)hold_ms * 1000000,
                            err);
}

static int type(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    const char *text;
    if (json_unpack(arguments, "{s:s !}", "text", &text) < 0)
        return error_set(err, EINVAL, "type takes 'text'");
    return typing_add(machine_typing(control->machine), text, err);
}

/* --- the table -------------------------------------------------------------------------------------- */

/* Connections begin with it, and may do so once. */
static int qmp_capabilities(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    return 0;
}

static int query_commands(struct control *control, json_t *arguments, json_t **result, struct error *err);

static const struct control_command commands[] = {
    {"qmp_capabilities", true, qmp_capabilities},
    {"query-commands", false, query_commands},
    {"query-version", false, query_version},
    {"query-status", false, query_status},
    {"stop", false, stop},
    {"cont", false, cont},
    {"system_reset", false, system_reset},
    {"quit", false, quit},
    {"screendump", true, screendump},
    {"screen-text", false, screen_text},
    {"send-key", true, send_key},
    {"type", true, type},
};

static int query_commands(struct control *control, json_t *arguments, json_t **result, struct error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        json_array_append_new(list, json_pack("{s:s}", "name", commands[i].name));
    *result = list;
    return 0;
}

static const struct control_command *find_command(const struct control_client *client, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (!strcmp(commands[i].name, name)) {
            bool negotiates = commands[i].run == qmp_capabilities;
            return negotiates == !client->negotiated ? &commands[i] : NULL;
        }
    return NULL;
}

static json_t *failure(const char *class, const char *why)
{
    return json_pack("{s:{s:s, s:s}}", "error", "class", class, "desc", why);
}

static json_t *run_request(struct control_client *client, json_t *request)
{
    const char *name;
    json_t *arguments = NULL, *id = NULL, *result = NULL;
    struct error err = {0};
    if (json_unpack(request, "{s:s, s?o, s?o !}", "execute", &name, "arguments", &arguments, "id", &id) < 0)
        return failure("GenericError",
                       "a command is an object with 'execute', and 'arguments' and 'id' if it likes");
    const struct control_command *command = find_command(client, name);
    if (!command)
        return failure("CommandNotFound", client->negotiated
                                              ? "the command is not known; query-commands lists them"
                                              : "expecting capabilities negotiation with 'qmp_capabilities'");
    if (arguments &&
        (!json_is_object(arguments) || (!command->takes_arguments && json_object_size(arguments))))
        return failure("GenericError", "these arguments are not possible");
    json_t *empty = arguments ? NULL : json_object();
    int rc = command->run(client->control, arguments ? arguments : empty, &result, &err);
    json_decref(empty);
    if (rc < 0) {
        json_decref(result);
        return failure("GenericError", err.message);
    }
    client->negotiated = true;
    return json_pack("{s:o}", "return", result ? result : json_object());
}

json_t *control_execute(struct control_client *client, json_t *request)
{
    json_t *answer = run_request(client, request), *id = json_object_get(request, "id");
    if (answer && id)
        json_object_set(answer, "id", id);
    return answer;
}
