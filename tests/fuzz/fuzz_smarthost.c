/* The URL of a smarthost: what is accepted has a host and a port, no control character anywhere, and a password only with a user. */
#include "../../server/conf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_text(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        require((unsigned char)text.ptr[i] >= ' ' && text.ptr[i] != 127);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct smarthost smarthost = {0};
    struct config_value value = {.text = slice_of(data, size), .arena = &arena};
    if (conf_parse_smarthost(&value, &smarthost) == RESULT_OK && size > 0) {
        require(smarthost.host.len > 0 && smarthost.port > 0);
        require((smarthost.user.len > 0) == (smarthost.password.len > 0));
        check_text(smarthost.host);
        check_text(smarthost.user);
        check_text(smarthost.password);
    }
    arena_free(&arena);
    return 0;
}
