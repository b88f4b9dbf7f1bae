/* ring3 screenshot: what a running machine shows, as a picture or as text. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "manage/control_call.h"

#define PATIENCE 30 /* seconds: the machine may be busy, a large picture takes its time */

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text), n = strlen(end);
    return len > n && !strcmp(text + len - n, end);
}

/* The machine's process writes the picture, and has another current directory. */
static int save_picture(const char *socket, const char *file, struct error *err)
{
    char path[PATH_MAX], directory[PATH_MAX] = "";
    if (file[0] != '/' && !getcwd(directory, sizeof directory))
        return error_set(err, errno, "cannot tell the current directory: %s", strerror(errno));
    int n = snprintf(path, sizeof path, "%s%s%s", directory, *directory ? "/" : "", file);
    if (n < 0 || (size_t)n >= sizeof path)
        return error_set(err, ENAMETOOLONG, "the path of '%.80s' is too long", file);
    json_t *result = NULL;
    int rc = control_call(socket, "screendump", json_pack("{s:s}", "filename", path), PATIENCE, &result, err);
    json_decref(result);
    return rc;
}

static int save_text(const char *socket, const char *file, struct error *err)
{
    json_t *result = NULL;
    const char *text = "";
    int rc = control_call(socket, "screen-text", NULL, PATIENCE, &result, err);
    if (rc)
        return rc;
    json_unpack(result, "{s:s}", "text", &text);
    FILE *out = fopen(file, "we");
    bool written = out && fputs(text, out) >= 0;
    if (out)
        written = !fclose(out) && written;
    if (!written)
        rc = error_set(err, errno, "cannot write '%s': %s", file, strerror(errno));
    json_decref(result);
    return rc;
}

static int screenshot_run(const struct command *self, int argc, char **argv)
{
    struct error err = {0};
    int first, status;
    if (!command_parse(self, argc, argv, NULL, &first, &status))
        return status;
    const char *file = argc - first == 2 ? argv[first + 1] : NULL;
    bool picture = file && ends_in(file, ".png"), text = file && ends_in(file, ".txt");
    if (!file)
        error_set(&err, EINVAL,
                  "write: ring3 screenshot SOCKET FILE, with the socket of 'ring3 run --control'");
    else if (!picture && !text)
        error_set(&err, EINVAL, "'%.80s' is neither a picture nor a text; its name must end in .png or .txt",
                  file);
    if (err.code) {
        report_error(&err);
        return EXIT_USAGE;
    }
    if ((picture ? save_picture : save_text)(argv[first], file, &err) == 0)
        return EXIT_OK;
    report_error(&err);
    return EXIT_FAILED;
}

const struct command command_screenshot = {
    .name = "screenshot",
    .operands = "SOCKET FILE",
    .operand_limit = 2,
    .summary = "save what a running machine shows as a picture (.png) or as text (.txt)",
    .run = screenshot_run,
};
