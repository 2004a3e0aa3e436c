/* What a browser, or anybody, says on a port that answers HTTP. Nothing is decided that more octets would overturn. */
#include "net/http_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_inside(struct slice whole, struct slice part)
{
    check(part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice whole = slice_of(data, size);
    struct http_request request, shorter;
    enum result result = http_request_parse(whole, &request), begins = http_request_begins(whole);
    if (result == RESULT_OK) {
        check(request.len <= size && request.len <= HTTP_REQUEST_MAX && slice_ends_with_nocase(slice_take(whole, request.len), SLICE("\r\n\r\n")));
        check_inside(whole, request.method);
        check_inside(whole, request.path);
        check_inside(whole, request.query);
    }
    check(result != RESULT_MORE || size < HTTP_REQUEST_MAX);
    for (size_t len = size > 64 ? size - 64 : 0; len < size; len++) {
        enum result then = http_request_parse(slice_take(whole, len), &shorter), began = http_request_begins(slice_take(whole, len));
        check(then == RESULT_MORE || (then == result && shorter.len == request.len));
        check(began == RESULT_MORE || began == begins);
    }
    return 0;
}
