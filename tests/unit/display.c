/* The picture between adapter and viewers, and the picture as a PNG file. */
#include "display/display.h"

#include <png.h>
#include <stdlib.h>
#include <unistd.h>

#include "../tap.h"

struct watcher {
    struct display_viewer viewer;
    unsigned resizes, damages;
    struct display_rect last;
};

static void resized(void *opaque)
{
    ((struct watcher *)opaque)->resizes++;
}

static void damaged(void *opaque, struct display_rect rect)
{
    struct watcher *w = opaque;
    w->damages++;
    w->last = rect;
}

static void watch(struct watcher *w, struct display *display)
{
    *w = (struct watcher){.viewer = {resized, damaged, w}};
    display_add_viewer(display, &w->viewer);
}

static void test_sizes(void)
{
    struct display *d;
    struct watcher w;
    CHECK_EQ(display_create(&d, NULL), 0);
    watch(&w, d);
    CHECK_EQ(display_frame(d)->width, 720);
    CHECK_EQ(display_frame(d)->height, 400);
    CHECK_EQ(display_set_size(d, 720, 400), 0);
    CHECK_EQ(w.resizes, 0);
    CHECK_EQ(display_set_size(d, 0, 400), -EINVAL);
    CHECK_EQ(display_set_size(d, DISPLAY_MAX_WIDTH + 1, 1), -EINVAL);
    CHECK_EQ(display_set_size(d, 1, DISPLAY_MAX_HEIGHT + 1), -EINVAL);
    CHECK_EQ(display_frame(d)->width, 720);
    display_frame(d)->pixels[0] = 0xffffff;
    CHECK_EQ(display_set_size(d, 640, 480), 0);
    CHECK_EQ(w.resizes, 1);
    CHECK(display_frame(d)->stride >= 640);
    CHECK_EQ(display_frame(d)->pixels[0], 0);
    display_destroy(d);
}

static void test_viewers(void)
{
    struct display *d;
    struct watcher a, b;
    CHECK_EQ(display_create(&d, NULL), 0);
    watch(&a, d);
    watch(&b, d);
    display_damage(d, (struct display_rect){10, 20, 30, 40});
    CHECK_EQ(a.damages, 1);
    CHECK_EQ(b.damages, 1);
    CHECK_EQ(a.last.x + a.last.y + a.last.w + a.last.h, 100);
    /* Cut to the frame; what lies outside is nothing. */
    display_damage(d, (struct display_rect){700, 390, 1000, ~0u});
    CHECK_EQ(a.last.w, 20);
    CHECK_EQ(a.last.h, 10);
    display_damage(d, (struct display_rect){720, 0, 1, 1});
    display_damage(d, (struct display_rect){0, 400, 1, 1});
    display_damage(d, (struct display_rect){0, 0, 0, 1});
    CHECK_EQ(a.damages, 2);
    display_remove_viewer(d, &a.viewer);
    display_remove_viewer(d, &a.viewer);
    display_damage(d, (struct display_rect){0, 0, 1, 1});
    CHECK_EQ(a.damages, 2);
    CHECK_EQ(b.damages, 3);
    display_destroy(d);
}

struct painter {
    struct display *display;
    unsigned refreshes;
};

static void paint(void *opaque, bool all)
{
    struct painter *p = opaque;
    p->refreshes++;
    CHECK_EQ(display_set_size(p->display, 3, 2), 0);
    for (unsigned i = 0; i < 6; i++)
        display_frame(p->display)->pixels[i / 3 * display_frame(p->display)->stride + i % 3] = 0x10203 * i;
}

static char *say(void *opaque)
{
    return strdup("words\n");
}

static void test_source(void)
{
    struct display *d;
    CHECK_EQ(display_create(&d, NULL), 0);
    display_refresh(d);
    CHECK(display_text(d) == NULL);
    struct painter p = {d, 0};
    display_set_source(d, &(struct display_source){paint, say, &p});
    CHECK_EQ(p.refreshes, 0); /* lazy */
    display_refresh(d);
    CHECK_EQ(p.refreshes, 1);
    char *text = display_text(d);
    CHECK(text && !strcmp(text, "words\n"));
    free(text);
    display_set_source(d, NULL);
    display_refresh(d);
    CHECK_EQ(p.refreshes, 1);
    display_destroy(d);
}

static void test_png(void)
{
    struct display *d;
    char path[] = "/tmp/ring3-display-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    CHECK_EQ(display_create(&d, NULL), 0);
    struct painter p = {d, 0};
    display_set_source(d, &(struct display_source){paint, NULL, &p});
    CHECK_EQ(display_write_png(d, path, NULL), 0);
    CHECK_EQ(p.refreshes, 1);
    png_image image = {.version = PNG_IMAGE_VERSION};
    CHECK(png_image_begin_read_from_file(&image, path));
    CHECK_EQ(image.width, 3);
    CHECK_EQ(image.height, 2);
    image.format = PNG_FORMAT_RGB;
    u8 rgb[18] = {0};
    CHECK(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(rgb[i * 3] << 16 | rgb[i * 3 + 1] << 8 | rgb[i * 3 + 2], 0x10203 * i);
    unlink(path);

    struct error err = {0};
    CHECK_EQ(display_write_png(d, "/nonexistent/x.png", &err), -ENOENT);
    CHECK(strstr(err.message, "/nonexistent/x.png") != NULL);
    CHECK_EQ(display_write_png(d, "/dev/full", &err), -ENOSPC);
    display_destroy(d);
}

int main(void)
{
    TAP_RUN(test_sizes);
    TAP_RUN(test_viewers);
    TAP_RUN(test_source);
    TAP_RUN(test_png);
    return tap_done();
}
