/* What a relay says of our mail: the numbers add up, and what is shown to people can't lead them astray. */
#include "base/utf8.h"
#include "smtp/outcome.h"
#include "smtp/reply.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct smtp_outcomes out;
    struct slice text = slice_of(data, size);
    enum result result = smtp_outcomes_parse(text, &arena, &out);
    check(result == RESULT_OK || result == RESULT_SYNTAX);
    if (result == RESULT_OK) {
        check(out.n <= SMTP_REPLY_LINES_MAX && out.n <= out.total && (out.n == 0 || out.first < out.total));
        check(out.next == 0 || (out.n > 0 && out.next > out.first && out.next < out.total && out.next == out.first + out.n));
    }
    for (size_t i = 0; i < out.n && result == RESULT_OK; i++) {
        const struct smtp_outcome *one = &out.outcomes[i];
        check(one->address.len > 0 && one->address.len <= SMTP_OUTCOME_ADDRESS_MAX && utf8_is_valid(one->address));
        check(one->host.len <= SMTP_OUTCOME_HOST_MAX && utf8_is_valid(one->host) && slice_find(one->host, '\n') < 0);
        check(one->at_s >= 0 && one->next_s >= 0 && slice_find(one->words, '\n') < 0);
    }
    arena_free(&arena);
    return 0;
}
