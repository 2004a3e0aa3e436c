/* smtp/server.h: any client, whole and in pieces: the same events and output, and the invariants that support/smtp_sink.h checks. The first octet chooses
 * configuration and pieces. */
#include "support/smtp_sink.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(struct smtp_sink *sink, struct slice in, unsigned choice, size_t most)
{
    struct smtp_server_config config = smtp_sink_config();
    config.requires_tls = choice & 1;
    config.requires_auth = choice & 2;
    if (!smtp_sink_open(sink, &config, choice & 4))
        abort();
    while (in.len > 0 && !sink->is_closed) {
        smtp_sink_feed(sink, slice_take(in, most));
        in = slice_skip(in, most);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_sink whole, cut;
    if (size < 2 || size > 16384)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    run(&whole, in, data[0], in.len);
    run(&cut, in, data[0], 1 + data[0] / 8);
    if (!slice_equal(buffer_slice(&whole.events), buffer_slice(&cut.events)) || !slice_equal(buffer_slice(&whole.output), buffer_slice(&cut.output)))
        abort();
    smtp_sink_close(&whole);
    smtp_sink_close(&cut);
    return 0;
}
