/* A message through the header processor in two chunkings, which must agree, and cut and resumed; what came out is read again; and the same octets as what
 * a peer said go into a report, which must stay one. */
#include "mail/dsn.h"
#include "mail/header.h"
#include "mail/received.h"
#include "mail/submission.h"
#include "mail/xtext.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct submission *submission;
    struct buffer out;
    enum result result;
};

static void take(struct run *run, const struct submission_out *out)
{
    assert(run->result == RESULT_OK || (out->header.len == 0 && out->body.len == 0));
    bool is_kept = buffer_append(&run->out, out->header) == RESULT_OK && buffer_append(&run->out, out->body) == RESULT_OK;
    assert(is_kept);
}

static struct run process(const struct submission_config *config, struct slice in, size_t step)
{
    struct run run = {.submission = submission_new(config), .out = BUFFER(16 * 1024 * 1024)};
    struct submission_out out;
    assert(run.submission);
    while (in.len > 0) {
        run.result = submission_feed(run.submission, slice_take(in, step), &out);
        take(&run, &out);
        in = slice_skip(in, step);
    }
    run.result = submission_finish(run.submission, &out);
    take(&run, &out);
    return run;
}

static void agree(const struct run *a, const struct run *b)
{
    const struct submission_facts *f = submission_facts(a->submission), *g = submission_facts(b->submission);
    assert(a->result == b->result && submission_refusal(a->submission) == submission_refusal(b->submission));
    assert(slice_equal(buffer_slice(&a->out), buffer_slice(&b->out)));
    assert(f->nfrom == g->nfrom && f->nrcpt == g->nrcpt && f->hops == g->hops && f->size_octets == g->size_octets);
    assert(f->has_8bit_header == g->has_8bit_header && f->has_8bit_body == g->has_8bit_body && f->has_long_line == g->has_long_line);
    assert(slice_equal(f->message_id, g->message_id) && slice_equal(f->sender, g->sender));
}

/* The header that goes out reads as fields to its end, names its authors once, and hides nobody. */
static void is_sound(const struct run *run, enum submission_mode mode)
{
    const struct submission_facts *facts = submission_facts(run->submission);
    struct slice rest = slice_take(buffer_slice(&run->out), facts->header_octets);
    struct header_field field;
    enum result result;
    size_t nfrom = 0;
    while ((result = header_next(&rest, &field)) == RESULT_OK) {
        nfrom += slice_equal_nocase(field.name, SLICE("From"));
        assert(!slice_equal_nocase(field.name, SLICE("Bcc")) && !slice_equal_nocase(field.name, SLICE("Return-Path")));
        received_is_by(field.value, SLICE("relay.example"));
    }
    assert(result == RESULT_NOT_FOUND && slice_equal(rest, SLICE("\r\n")));
    assert(mode == SUBMISSION_AGENT || (nfrom == 1 && facts->nfrom > 0));
    assert(facts->size_octets == buffer_len(&run->out));
}

/* Cut behind the header, at a place that the octets choose, and resumed. */
static void resumes(const struct submission_config *config, struct slice in, const struct run *whole, size_t behind)
{
    const struct submission_facts *facts = submission_facts(whole->submission);
    uint64_t came = submission_header_came(whole->submission);
    if (came >= in.len)
        return;
    size_t cut = (size_t)came + behind % (in.len - (size_t)came);
    struct run first = process(config, slice_take(in, cut), cut + 1);
    const struct submission_facts *f = submission_facts(first.submission);
    assert(first.result == RESULT_OK && f->header_octets == facts->header_octets);
    const struct submission_past past = {f->header_octets, f->size_octets, f->has_8bit_header, f->is_header_utf8, f->has_8bit_body};
    struct run rest = {.submission = submission_resume(&past), .out = BUFFER(16 * 1024 * 1024)};
    struct submission_out out;
    assert(rest.submission);
    rest.result = submission_feed(rest.submission, slice_skip(in, cut), &out);
    assert(rest.result == RESULT_OK && out.header.len == 0);
    take(&rest, &out);
    f = submission_facts(rest.submission);
    assert(buffer_len(&first.out) + buffer_len(&rest.out) == buffer_len(&whole->out));
    assert(f->size_octets == facts->size_octets && f->has_8bit_header == facts->has_8bit_header && f->has_8bit_body == facts->has_8bit_body);
    assert(slice_equal(buffer_slice(&rest.out), slice_skip(buffer_slice(&whole->out), buffer_len(&first.out))));
    submission_free(&rest.submission);
    buffer_free(&rest.out);
    submission_free(&first.submission);
    buffer_free(&first.out);
}

static void report(struct slice s)
{
    struct dsn_recipient r = {.address = s, .orcpt = s, .status = s, .remote_mta = s, .reply = s, .words = s};
    struct dsn dsn = {.reporting_mta = s, .from = s, .to = s, .message_id = s, .envid = s, .recipients = &r, .nrcpt = 1};
    struct buffer out = BUFFER(1024 * 1024);
    size_t nparts = 0;
    enum result result = dsn_write(&dsn, &out);
    assert(result == RESULT_OK);
    struct slice text = buffer_slice(&out);
    for (size_t i = 0; i + 4 < text.len; i++) {
        assert((text.ptr[i] == '\r') == (text.ptr[i + 1] == '\n'));
        nparts += memcmp(text.ptr + i, "\n--r", 4) == 0;
    }
    assert(nparts == 3);
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice in = slice_of(data + 1, size - 1);
    struct submission_config config = {
        .mode = data[0] & 1 ? SUBMISSION_AGENT : SUBMISSION_RELAY,
        .received = SLICE("Received: by relay.example; D\r\n"),
        .date = SLICE("D"),
        .message_id = SLICE("<i@relay.example>"),
        .from = SLICE("me@x.y"),
        .own_name = SLICE("relay.example"),
        .collects_recipients = (data[0] & 2) != 0,
        .allow_utf8 = (data[0] & 4) != 0,
    };
    struct run whole = process(&config, in, in.len), pieces = process(&config, in, 1 + (data[0] >> 3));
    agree(&whole, &pieces);
    if (whole.result == RESULT_OK)
        is_sound(&whole, config.mode);
    if (whole.result == RESULT_OK && config.mode == SUBMISSION_RELAY)
        resumes(&config, in, &whole, data[0] >> 3);
    submission_free(&whole.submission);
    submission_free(&pieces.submission);
    buffer_free(&whole.out);
    buffer_free(&pieces.out);
    report(in);
    orcpt_is_valid(in, true);
    return 0;
}
