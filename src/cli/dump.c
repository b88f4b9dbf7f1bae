#include "cli/dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "display/display.h"
#include "machine/machine.h"

static bool name_ends_in(const char *path, const char *suffix)
{
    size_t len = strlen(path), end = strlen(suffix);
    return len > end && !strcmp(path + len - end, suffix);
}

bool dump_name_is_valid(const char *path)
{
    return name_ends_in(path, ".png") || name_ends_in(path, ".txt");
}

static int dump_text(struct display *display, const char *path, struct error *err)
{
    char *text = display_text(display);
    if (!text)
        return error_set(err, EINVAL,
                         "no text for '%s': the screen is off or shows graphics; name a .png file for a "
                         "picture",
                         path);
    FILE *file = fopen(path, "we");
    bool failed = !file || fputs(text, file) < 0;
    int code = errno;
    free(text);
    if (file && fclose(file) && !failed) {
        failed = true;
        code = errno;
    }
    return failed ? error_set(err, code, "cannot write the screen to '%s': %s", path, strerror(code)) : 0;
}

int dump_screen(struct machine *machine, const char *path, struct error *err)
{
    struct loop *loop = machine_loop(machine);
    struct display *display = machine_display(machine);
    loop_lock(loop);
    int rc =
        name_ends_in(path, ".png") ? display_write_png(display, path, err) : dump_text(display, path, err);
    loop_unlock(loop);
    return rc;
}
