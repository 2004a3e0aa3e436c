/* What a relay says of its ways: bounded, and whatever comes out could have been written. */
#include "path/ways.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_address(const struct path_address *address)
{
    char text[64];
    struct path_address again;
    if (address->family == 0)
        return;
    path_address_format(address, text, sizeof text);
    check(path_address_parse(slice_from_cstr(text), &again) && path_address_equal(&again, address));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct finder_way ways[FINDER_WAYS_MAX], fewer[FINDER_WAYS_MAX / 2];
    size_t n = path_ways_parse(slice_of(data, size), ways, FINDER_WAYS_MAX);
    check(n <= FINDER_WAYS_MAX);
    for (size_t i = 0; i < n; i++) {
        check(ways[i].port != 0 && (ways[i].mode == PATH_TLS || ways[i].mode == PATH_STARTTLS));
        check_address(&ways[i].address);
    }
    size_t nfewer = path_ways_parse(slice_of(data, size), fewer, FINDER_WAYS_MAX / 2);
    check(nfewer == (n < FINDER_WAYS_MAX / 2 ? n : FINDER_WAYS_MAX / 2));
    for (size_t i = 0; i < nfewer; i++)
        check(fewer[i].port == ways[i].port && fewer[i].mode == ways[i].mode && path_address_equal(&fewer[i].address, &ways[i].address));
    struct path_address address;
    if (path_address_parse(slice_of(data, size), &address))
        check_address(&address);
    return 0;
}
