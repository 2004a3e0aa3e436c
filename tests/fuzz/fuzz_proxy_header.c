/* What a proxy, or somebody who poses as one, puts first. Nothing is decided that more octets would overturn. */
#include "net/proxy_header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice whole = slice_of(data, size);
    struct proxy_header header, shorter;
    enum result result = proxy_header_parse(whole, &header);
    check(result != RESULT_OK || (header.len > 0 && header.len <= size && header.len <= PROXY_HEADER_MAX));
    check(result == RESULT_OK || (header.len == 0 && !header.has_address));
    check(header.has_address == (header.address.any.sa_family == AF_INET || header.address.any.sa_family == AF_INET6));
    check(result != RESULT_MORE || size < PROXY_HEADER_MAX);
    for (size_t len = 0; len < size && len < PROXY_HEADER_MAX; len++) {
        enum result then = proxy_header_parse(slice_take(whole, len), &shorter);
        check(then == RESULT_MORE || (then == result && memcmp(&shorter.len, &header.len, sizeof header.len) == 0));
    }
    return 0;
}
