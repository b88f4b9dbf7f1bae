#include "display/display.h"

#include <stdlib.h>
#include <string.h>

/* What VGA text mode shows: what a picture is before anybody draws. */
#define FIRST_WIDTH  720
#define FIRST_HEIGHT 400

struct display {
    struct display_frame frame;
    struct display_source source;
    struct display_viewer *viewers;
};

int display_create(struct display **out, struct error *err)
{
    struct display *display = calloc(1, sizeof *display);
    if (!display || display_set_size(display, FIRST_WIDTH, FIRST_HEIGHT) < 0) {
        display_destroy(display);
        return error_set(err, ENOMEM, "no memory for a picture of the guest's screen");
    }
    *out = display;
    return 0;
}

void display_destroy(struct display *display)
{
    if (!display)
        return;
    free(display->frame.pixels);
    free(display);
}

void display_set_source(struct display *display, const struct display_source *source)
{
    display->source = source ? *source : (struct display_source){0};
}

int display_set_size(struct display *display, u32 width, u32 height)
{
    struct display_frame *frame = &display->frame;
    if (frame->pixels && frame->width == width && frame->height == height)
        return 0;
    if (!width || !height || width > DISPLAY_MAX_WIDTH || height > DISPLAY_MAX_HEIGHT)
        return -EINVAL;
    u32 *pixels = calloc((size_t)width * height, sizeof *pixels);
    if (!pixels)
        return -ENOMEM;
    free(frame->pixels);
    *frame = (struct display_frame){width, height, width, pixels};
    for (struct display_viewer *v = display->viewers, *next; v; v = next) {
        next = v->next;
        if (v->resized)
            v->resized(v->opaque);
    }
    return 0;
}

const struct display_frame *display_frame(const struct display *display)
{
    return &display->frame;
}

void display_damage(struct display *display, struct display_rect rect)
{
    const struct display_frame *frame = &display->frame;
    if (rect.x >= frame->width || rect.y >= frame->height)
        return;
    rect.w = MIN(rect.w, frame->width - rect.x);
    rect.h = MIN(rect.h, frame->height - rect.y);
    if (!rect.w || !rect.h)
        return;
    for (struct display_viewer *v = display->viewers, *next; v; v = next) {
        next = v->next;
        if (v->damaged)
            v->damaged(v->opaque, rect);
    }
}

void display_add_viewer(struct display *display, struct display_viewer *viewer)
{
    viewer->next = display->viewers;
    display->viewers = viewer;
}

void display_remove_viewer(struct display *display, struct display_viewer *viewer)
{
    struct display_viewer **link = &display->viewers;
    while (*link && *link != viewer)
        link = &(*link)->next;
    if (*link)
        *link = viewer->next;
}

void display_refresh(struct display *display)
{
    if (display->source.refresh)
        display->source.refresh(display->source.opaque, false);
}

char *display_text(struct display *display)
{
    return display->source.text ? display->source.text(display->source.opaque) : NULL;
}
