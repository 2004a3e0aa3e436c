/* smtp/data.h: any body, whole and cut where its first octet says, gives the same; and what was handed out of a sound one holds no octet that may not be
 * in a message. */
#include "smtp/data.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_LINE_MAX = 20 };

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Octets taken up to the end, or 0. */
static size_t read_all(struct smtp_data *data, struct slice in, size_t most, struct buffer *out)
{
    size_t taken = 0;
    while (in.len > 0) {
        size_t used = 0;
        struct slice piece;
        enum smtp_data_step step = smtp_data_read(data, slice_take(in, most), &used, &piece);
        check(used > 0 && used <= in.len && (step == SMTP_DATA_PIECE) == (piece.len > 0));
        check(buffer_append(out, piece) == RESULT_OK);
        taken += used;
        in = slice_skip(in, used);
        if (step == SMTP_DATA_END)
            return taken;
    }
    return 0;
}

static void check_lines(struct slice text)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        check(c != '\0' && (c != '\n' || (i > 0 && text.ptr[i - 1] == '\r')) && (i == 0 || text.ptr[i - 1] != '\r' || c == '\n'));
        len = c == '\n' ? 0 : len + 1;
        check(len <= TEXT_LINE_MAX - 1);
    }
}

static void run(struct slice in, size_t most, bool is_dotted)
{
    struct smtp_data whole, cut;
    struct buffer a = {0}, b = {0};
    if (is_dotted) {
        smtp_data_start_dotted(&whole, TEXT_LINE_MAX);
        smtp_data_start_dotted(&cut, TEXT_LINE_MAX);
    } else {
        smtp_data_start_counted(&whole, TEXT_LINE_MAX, false);
        smtp_data_start_counted(&cut, TEXT_LINE_MAX, false);
    }
    check(read_all(&whole, in, in.len, &a) == read_all(&cut, in, most, &b));
    smtp_data_finish(&whole);
    smtp_data_finish(&cut);
    check(slice_equal(buffer_slice(&a), buffer_slice(&b)) && whole.fault == cut.fault && whole.has_8bit == cut.has_8bit);
    check_lines(buffer_slice(&a));
    buffer_free(&a);
    buffer_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 65536)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    run(in, 1 + data[0] % 16, true);
    run(in, 1 + data[0] % 16, false);
    return 0;
}
