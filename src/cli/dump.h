/* --dump-screen: the last screen as a picture or as text. */
#ifndef RING3_CLI_DUMP_H
#define RING3_CLI_DUMP_H

#include "base/error.h"

struct machine;

/* Is it "NAME.png" or "NAME.txt"? */
bool dump_name_is_valid(const char *path);
/* Writes what the guest shows, in the format that the name asks for. The machine stands still. */
int dump_screen(struct machine *machine, const char *path, struct error *err);

#endif
