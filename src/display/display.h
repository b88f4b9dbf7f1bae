/*
 * What a person sees of a VM: one picture that a display adapter draws and any number of viewers watch (VNC
 * servers, screenshots).
 *
 * Drawing is lazy: the adapter brings the picture up to date only when a viewer asks (display_refresh), and
 * reports what changed. A VM that nobody looks at draws nothing.
 *
 * Everything here: [machine lock].
 */
#ifndef RING3_DISPLAY_DISPLAY_H
#define RING3_DISPLAY_DISPLAY_H

#include "base/error.h"
#include "loop/loop.h"

/* Largest picture, in pixels; also what guests may ask for. */
#define DISPLAY_MAX_WIDTH  4096u
#define DISPLAY_MAX_HEIGHT 4096u

/* Within the picture; w or h 0: empty. */
struct display_rect {
    u32 x, y, w, h;
};

/* Pixels are u32, 00RRGGBBh, `stride` of them from one row to the next. */
struct display_frame {
    u32 width, height, stride;
    u32 *pixels;
};

/* The adapter's side. */
struct display_source {
    /* Draws what changed since the last call (display_set_size, then pixels and display_damage), everything
     * if `all`. */
    void (*refresh)(void *opaque, bool all);
    /* A text-mode screen as UTF-8, a line per row, trailing blanks cut; malloc'd. NULL: it shows graphics, or
     * no memory. */
    char *(*text)(void *opaque);
    void *opaque;
};

/* A viewer. */
struct display_viewer {
    void (*resized)(void *opaque); /* the frame is another one: size and pixels */
    void (*damaged)(void *opaque, struct display_rect rect);
    void *opaque;
    struct display_viewer *next; /* display.c's */
};

struct display;

/* A black picture of 720 x 400 until a source draws. */
int display_create(struct display **out, struct error *err);
void display_destroy(struct display *display);

/* NULL: nobody draws. */
void display_set_source(struct display *display, const struct display_source *source);
/* Makes the frame that large, black; no change if it is. -EINVAL beyond the limits, -ENOMEM. */
int display_set_size(struct display *display, u32 width, u32 height);
/* Valid until the next display_set_size. */
const struct display_frame *display_frame(const struct display *display);
/* That part of the frame has new pixels: tells the viewers. Cut to the frame. */
void display_damage(struct display *display, struct display_rect rect);

void display_add_viewer(struct display *display, struct display_viewer *viewer);
void display_remove_viewer(struct display *display, struct display_viewer *viewer);
/* Has the source bring the frame up to date. */
void display_refresh(struct display *display);
/* See display_source.text. */
char *display_text(struct display *display);

/* The frame as a PNG file. Refreshes first. */
int display_write_png(struct display *display, const char *path, struct error *err);

#endif
