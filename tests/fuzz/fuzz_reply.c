/* Replies from strangers: whatever they are, what the parser keeps is bounded, clean, and survives being written and read again. */
#include "smtp/reply.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_reply(const struct smtp_reply *reply)
{
    check(reply->code >= 200 && reply->code <= 599);
    check(reply->text.len <= SMTP_REPLY_TEXT_MAX);
    check(reply->status.class == 0 || reply->status.class == reply->code / 100);
    for (size_t i = 0; i < reply->text.len; i++) {
        unsigned char c = (unsigned char)reply->text.ptr[i];
        check(c >= ' ' || c == '\n' || c == '\t');
        check(c != 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer text = {0}, again = {0}, out = {0};
    struct smtp_reply reply, back;
    struct slice in = slice_of(data, size);
    size_t used, used_again;
    char line[300];
    enum result parsed = smtp_reply_parse(in, &text, &reply, &used);
    check(parsed == RESULT_OK || used == 0);
    if (parsed == RESULT_OK) {
        check(used > 3 && used <= size && used <= SMTP_REPLY_MAX && data[used - 1] == '\n');
        check_reply(&reply);
        smtp_reply_format(&reply, line, sizeof line);
        check(strchr(line, '\n') == NULL);
        /* Nothing before its end was a reply, and it does not depend on what follows. */
        check(smtp_reply_parse(slice_take(in, used - 1), &again, &back, &used_again) == RESULT_MORE);
        check(smtp_reply_write(&reply, &out) == RESULT_OK);
        check(smtp_reply_parse(buffer_slice(&out), &again, &back, &used_again) == RESULT_OK);
        check(back.code == reply.code && used_again == buffer_len(&out));
    }
    buffer_free(&text);
    buffer_free(&again);
    buffer_free(&out);
    return 0;
}
