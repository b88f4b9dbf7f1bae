/* The engines of this build: one row each. */
#include <string.h>

#include "machine/machine.h"

const struct engine_ops *const machine_engines[] = {&jit_engine, &interp_engine, &kvm_engine,
                                                    &lockstep_engine, NULL};

const struct engine_ops *machine_find_engine(const char *name, struct error *err)
{
    struct error why = {0};
    for (size_t i = 0; machine_engines[i]; i++) {
        const struct engine_ops *engine = machine_engines[i];
        if (name && strcmp(name, "auto") != 0 && strcmp(name, engine->name) != 0)
            continue;
        bool asked = name && strcmp(name, "auto") != 0;
        if ((!engine->probe || engine->probe(&why) == 0) &&
            (asked || !engine->trust || engine->trust(&why) == 0))
            return engine;
        if (asked) {
            error_set(err, why.code, "the engine %s does not work here: %s", name, why.message);
            return NULL;
        }
    }
    char known[128] = "auto";
    for (size_t i = 0; machine_engines[i]; i++) {
        strncat(known, ", ", sizeof known - strlen(known) - 1);
        strncat(known, machine_engines[i]->name, sizeof known - strlen(known) - 1);
    }
    error_set(err, EINVAL, "there is no engine \"%s\"; this ring3 has %s", name ? name : "auto", known);
    return NULL;
}
