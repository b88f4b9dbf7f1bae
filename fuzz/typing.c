/* The notation of --type: any text is typed or refused, and in the end no key is left down. */
#include <stdlib.h>
#include <string.h>

#include "display/typing.h"

static void count_key(void *opaque, u16 code, bool pressed)
{
    *(unsigned *)opaque += pressed ? 1 : ~0u;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    struct loop *loop;
    struct input *input;
    struct typing *typing;
    unsigned down = 0;
    struct input_device device = {.key = count_key, .opaque = &down};
    if (size > 4096)
        return 0;
    char *text = malloc(size + 1);
    if (!text || loop_create(&loop, NULL) < 0 || input_create(&input, NULL) < 0 ||
        typing_create(&typing, loop, input, NULL) < 0)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    input_connect(input, &device);
    int checked = typing_check(text, NULL), added = typing_add(typing, text, NULL);
    if (checked != added) /* so short a text always fits */
        abort();
    for (int i = 0; i < 200 && loop_next_deadline(loop) != ~0ull; i++) {
        u64 next = loop_next_deadline(loop);
        if (next > clock_now(loop_clock(loop)))
            clock_set(loop_clock(loop), next);
        loop_run_timers(loop, next);
    }
    typing_destroy(typing);
    /* A key that is named twice is pressed twice and let go once. */
    if (down && !strchr(text, '{'))
        abort();
    input_destroy(input);
    loop_destroy(loop);
    free(text);
    return 0;
}
