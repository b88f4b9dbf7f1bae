/* Who looks at the machine and types: people and scripts. No chips, so nothing to reset. */
#include "display/typing.h"
#include "display/vnc.h"
#include "machine/board_rows.h"

CHIP_DESTROY(, typing)
CHIP_DESTROY(, vnc)

int typing_row_create(struct board *b, struct error *err)
{
    const struct machine_config *config = &b->machine->config;
    int rc = typing_create(&b->typing, b->env.loop, b->input, err);
    for (unsigned i = 0; !rc && i < config->type_count; i++) {
        rc = typing_add(b->typing, config->type[i], err);
        if (rc)
            error_prefix(err, "--type");
    }
    return rc;
}

int vnc_row_create(struct board *b, struct error *err)
{
    const char *text = b->machine->config.vnc;
    struct vnc_config config;
    if (!text)
        return 0;
    int rc = vnc_config_parse(&config, text, err);
    return rc ? rc : vnc_create(&b->vnc, &config, b->env.loop, b->display, b->input, b->env.log, err);
}

struct typing *machine_typing(struct machine *m)
{
    return m->board.typing;
}
