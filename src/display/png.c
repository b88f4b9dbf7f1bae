/* The picture as a PNG file: 8 bits per channel, no alpha. */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "display/display.h"

/* libpng's errors end here: its own handler would print and longjmp from an unknown frame. */
struct png_failure {
    jmp_buf unwind;
    char why[128];
};

static _Noreturn void png_failed(png_structp png, png_const_charp why)
{
    struct png_failure *failure = png_get_error_ptr(png);
    snprintf(failure->why, sizeof failure->why, "%s", why);
    longjmp(failure->unwind, 1);
}

static void png_warned(png_structp png, png_const_charp why) {}

static void row_unpack(const struct display_frame *frame, u32 y, u8 *row)
{
    const u32 *pixel = frame->pixels + (size_t)y * frame->stride;
    for (u32 x = 0; x < frame->width; x++, row += 3) {
        row[0] = (u8)(pixel[x] >> 16);
        row[1] = (u8)(pixel[x] >> 8);
        row[2] = (u8)pixel[x];
    }
}

/* False: `failure` says why. `row` holds 3 bytes a pixel. */
static bool png_encode(const struct display_frame *frame, FILE *file, u8 *row, struct png_failure *failure)
{
    png_infop info = NULL;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, failure, png_failed, png_warned);
    if (png)
        info = png_create_info_struct(png);
    if (!info) {
        snprintf(failure->why, sizeof failure->why, "out of memory");
        png_destroy_write_struct(&png, NULL);
        return false;
    }
    if (setjmp(failure->unwind)) {
        png_destroy_write_struct(&png, &info);
        return false;
    }
    png_init_io(png, file);
    png_set_IHDR(png, info, frame->width, frame->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (u32 y = 0; y < frame->height; y++) {
        row_unpack(frame, y, row);
        png_write_row(png, row);
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return true;
}

int display_write_png(struct display *display, const char *path, struct error *err)
{
    struct png_failure failure = {.why = ""};
    display_refresh(display);
    const struct display_frame *frame = display_frame(display);
    u8 *row = malloc((size_t)frame->width * 3);
    if (!row)
        return error_set(err, ENOMEM, "no memory to write the picture '%s'", path);
    FILE *file = fopen(path, "wbe");
    if (!file) {
        int code = errno;
        free(row);
        return error_set(err, code, "cannot write the picture '%s': %s; choose a file that can be written",
                         path, strerror(code));
    }
    errno = 0;
    bool ok = png_encode(frame, file, row, &failure);
    int code = errno;
    free(row);
    if (fclose(file) && ok) {
        ok = false;
        code = errno;
    }
    if (!ok) {
        code = code ? code : EIO;
        return error_set(err, code, "cannot write the picture '%s': %s", path,
                         code == EIO && failure.why[0] ? failure.why : strerror(code));
    }
    return 0;
}
