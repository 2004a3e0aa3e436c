/* The setting that names the relay our copies are bound to, as it may come out of a damaged store: bound only to whom it names, word for word, and all of it is bounded. */
#include "bond.h"

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
    static const char ours[] = "1\na.example\nanna\n";
    const struct slice text = slice_of(data, size);
    struct bond bond = {.host = BUFFER(BOND_TEXT_MAX), .user = BUFFER(BOND_TEXT_MAX), .named_host = BUFFER(BOND_TEXT_MAX), .named_user = BUFFER(BOND_TEXT_MAX)};
    check(buffer_append_cstr(&bond.host, "a.example") == RESULT_OK && buffer_append_cstr(&bond.user, "anna") == RESULT_OK);
    check(bond_take_text(&bond, text) == RESULT_OK); /* else it would be read again and again, and mail would wait */
    bool is_ours = slice_starts_with(text, slice_from_cstr(ours)) && slice_find(slice_skip(text, sizeof ours - 1), '\n') >= 0;
    check(bond.is_bound == is_ours);
    check(memchr(bond.epoch, '\0', sizeof bond.epoch));
    check(buffer_len(&bond.named_host) <= BOND_TEXT_MAX && buffer_len(&bond.named_user) <= BOND_TEXT_MAX);
    bond_free(&bond);
    return 0;
}
