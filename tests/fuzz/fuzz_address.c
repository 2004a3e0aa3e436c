/* Addresses and address lists: whatever is accepted is canonical, bounded and harmless in a header or a command. */
#include "base/utf8.h"
#include "mail/address.h"
#include "mail/mailbox_list.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_sound(const struct mail_address *a)
{
    struct slice text = address_text(a);
    struct mail_address again;
    uint32_t character;
    assert(a->len <= ADDRESS_MAX && a->text[a->len] == '\0' && a->local_len <= ADDRESS_LOCAL_MAX);
    if (slice_equal(text, SLICE("postmaster")) || a->len == 0)
        return;
    for (struct slice s = text; s.len > 0; s = slice_skip(s, utf8_next(s, &character)))
        assert(utf8_next(s, &character) > 0 && !utf8_is_control(character));
    assert(a->text[a->local_len] == '@');
    assert(address_parse(text, ADDRESS_ALLOW_UTF8, &again) == RESULT_OK && strcmp(a->text, again.text) == 0);
    assert(a->is_literal == again.is_literal && a->needs_smtputf8 == again.needs_smtputf8);
    assert(a->is_literal || address_domain_is_valid(address_domain(a), true));
    assert(address_pattern_is_valid(text) && address_matches(text, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mail_address a;
    size_t used;
    if (size == 0)
        return 0;
    unsigned flags = data[0] & 7;
    struct slice text = slice_of(data + 1, size - 1);
    if (address_parse(text, flags, &a) == RESULT_OK)
        is_sound(&a);
    if (address_parse_path(text, flags, &a, &used) == RESULT_OK) {
        assert(used >= 2 && used <= text.len && text.ptr[used - 1] == '>');
        is_sound(&a);
    }
    struct mailbox_list list = {.rest = text, .allow_utf8 = (flags & ADDRESS_ALLOW_UTF8) != 0};
    size_t count = 0;
    while (mailbox_list_next(&list, &a) == RESULT_OK) {
        is_sound(&a);
        assert(++count <= text.len);
    }
    address_pattern_is_valid(text);
    address_literal_is_valid(text);
    return 0;
}
