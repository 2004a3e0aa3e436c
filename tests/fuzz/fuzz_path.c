/* A path's text: what is accepted is exactly what path_format writes. */
#include "path/path.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char again[PATH_TEXT];
    struct path path, second;
    struct slice text = slice_of(data, size);
    if (path_parse(text, &path) != RESULT_OK)
        return 0;
    path_format(&path, again, sizeof again);
    if (!slice_equal(text, slice_from_cstr(again)) || path_parse(slice_from_cstr(again), &second) != RESULT_OK || !path_equal(&path, &second))
        abort();
    return 0;
}
