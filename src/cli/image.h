/* The actions of `ring3 image`. Each returns an exit status, or a negative errno with `err` set. */
#ifndef RING3_CLI_IMAGE_H
#define RING3_CLI_IMAGE_H

#include "base/error.h"

struct block;
struct qcow2_create_options;

struct image_options {
    const char *format, *to, *backing, *backing_format, *set, *output;
    bool compress, repair, shrink, progress, unsafe;
};

/* Is --output json wanted? */
int image_output_parse(const struct image_options *o, bool *json, struct error *err);

int image_create(const struct image_options *o, char **operands, struct error *err);
int image_info(const struct image_options *o, char **operands, struct error *err);
int image_check(const struct image_options *o, char **operands, struct error *err);
int image_convert(const struct image_options *o, char **operands, struct error *err);
int image_resize(const struct image_options *o, char **operands, struct error *err);
int image_snapshot(const struct image_options *o, char **operands, struct error *err);
int image_rebase(const struct image_options *o, char **operands, struct error *err);
int image_commit(const struct image_options *o, char **operands, struct error *err);
int image_compare(const struct image_options *o, char **operands, struct error *err);
int image_map(const struct image_options *o, char **operands, struct error *err);

/* Makes the image file `path`, replacing what it held. */
int image_make(const char *path, const char *format, const struct qcow2_create_options *create,
               struct error *err);
/* Reads the value of --set. */
int image_settings_parse(const char *list, struct qcow2_create_options *out, struct error *err);

/* "(12.34/100%)", at most ten times a second; on a terminal or with --progress, silent elsewhere. */
struct progress {
    bool shown;
    u64 total, next_ns;
};
void progress_begin(struct progress *p, const struct image_options *o, u64 total);
void progress_show(struct progress *p, u64 done);
void progress_end(struct progress *p);

#endif
