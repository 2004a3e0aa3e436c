/* Properties of the vocabulary, over pieces of mail put together at random from a fixed seed:
 *   parse(text(parse(a))) is parse(a); decode(encode(x)) is x; a message gives the same in any chunking, and cut in its body and resumed; what leaves the header processor
 *   passes it again unchanged; a report about anything has the fields of a report about nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/buffer.h"
#include "crypto/crypto.h"
#include "mail/dsn.h"
#include "mail/header.h"
#include "mail/mailbox_list.h"
#include "mail/submission.h"
#include "mail/xtext.h"

#define LEN(array) (sizeof(array) / sizeof *(array))

enum { ROUNDS = 3000 };

/* A linear congruence is chance enough, and the same everywhere. */
static uint32_t chance(uint64_t *seed, uint32_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % below;
}

static void put_some(uint64_t *seed, const char *const *words, size_t nwords, uint32_t most, struct buffer *out)
{
    for (uint32_t n = chance(seed, most + 1); n > 0; n--)
        assert_int_equal(buffer_append_cstr(out, words[chance(seed, (uint32_t)nwords)]), RESULT_OK);
}

static const char *const address_words[] = {"a", "B", "x.y", "@", "@", ".", "\"", "\\", " ", "<", ">", ",", ":", ";", "(", ")", "[192.0.2.1]",
                                            "\xc3\xb6", "-", "\r\n ", "@x.y"};

static void addresses_are_stable(void **state)
{
    uint64_t seed = 1;
    size_t naccepted = 0;
    (void)state;
    for (int i = 0; i < 100 * ROUNDS; i++) {
        struct buffer text = BUFFER(1024);
        struct mail_address a, b;
        put_some(&seed, address_words, LEN(address_words), 8, &text);
        struct mailbox_list list = {.rest = buffer_slice(&text), .allow_utf8 = true};
        while (mailbox_list_next(&list, &a) == RESULT_OK) {
            naccepted++;
            assert_int_equal(address_parse(address_text(&a), ADDRESS_ALLOW_UTF8, &b), RESULT_OK);
            assert_string_equal(a.text, b.text);
            assert_true(address_matches(address_text(&a), address_text(&b)));
        }
        buffer_free(&text);
    }
    assert_true(naccepted > 1000);
}

static void encodings_round_trip(void **state)
{
    uint64_t seed = 2;
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        char octets[64];
        struct slice in = slice_of(octets, chance(&seed, sizeof octets + 1));
        struct buffer text = BUFFER(256), back = BUFFER(256);
        for (size_t j = 0; j < in.len; j++)
            octets[j] = (char)chance(&seed, 256);
        assert_int_equal(xtext_encode(in, &text), RESULT_OK);
        assert_int_equal(xtext_decode(buffer_slice(&text), &back), RESULT_OK);
        assert_true(slice_equal(buffer_slice(&back), in));
        buffer_clear(&text);
        buffer_clear(&back);
        assert_int_equal(crypto_base64_encode(in, &text), RESULT_OK);
        assert_int_equal(crypto_base64_decode(buffer_slice(&text), &back), RESULT_OK);
        assert_true(slice_equal(buffer_slice(&back), in));
        buffer_free(&text);
        buffer_free(&back);
    }
}

static const char *const message_words[] = {
    "From: a@x.y\r\n", "From: A <a@x.y>,\r\n b@x.y\r\n", "Sender: s@x.y\r\n", "Date: D\r\n", "Message-ID: <i@x.y>\r\n", "To: t@x.y\r\n",
    "Bcc: c@x.y\r\n", "Return-Path: <z>\r\n", "Received: from x by y\r\n", "Received: by relay.example; D\r\n", "Subject: \xc3\xbc\r\n",
    " folded\r\n", "\r\n", "\r\n", "text", "\xff", "\r", "\n", "Hello\r\n", "X: y\r\n"};

static struct submission *process(uint64_t *seed, enum submission_mode mode, struct slice in, bool is_whole, struct buffer *out)
{
    struct submission_config config = {
        .mode = mode, .date = SLICE("D"), .message_id = SLICE("<i@relay.example>"), .from = SLICE("me@x.y"), .own_name = SLICE("relay.example")};
    struct submission *submission = submission_new(&config);
    struct submission_out piece;
    while (in.len > 0) {
        size_t step = is_whole ? in.len : 1 + chance(seed, 9);
        if (submission_feed(submission, slice_take(in, step), &piece) == RESULT_OK) {
            assert_int_equal(buffer_append(out, piece.header), RESULT_OK);
            assert_int_equal(buffer_append(out, piece.body), RESULT_OK);
        }
        in = slice_skip(in, step);
    }
    if (submission_finish(submission, &piece) == RESULT_OK)
        assert_int_equal(buffer_append(out, piece.header), RESULT_OK);
    return submission;
}

static void messages_do_not_depend_on_chunks(void **state)
{
    uint64_t seed = 3;
    size_t naccepted = 0;
    (void)state;
    for (int i = 0; i < 4 * ROUNDS; i++) {
        enum submission_mode mode = chance(&seed, 2) ? SUBMISSION_RELAY : SUBMISSION_AGENT;
        struct buffer in = BUFFER(65536), whole = BUFFER(65536), pieces = BUFFER(65536), again = BUFFER(65536);
        put_some(&seed, message_words, LEN(message_words), 10, &in);
        struct submission *a = process(&seed, mode, buffer_slice(&in), true, &whole);
        struct submission *b = process(&seed, mode, buffer_slice(&in), false, &pieces);
        assert_int_equal(submission_refusal(a), submission_refusal(b));
        assert_true(slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
        assert_int_equal(submission_facts(a)->size_octets, submission_facts(b)->size_octets);
        if (submission_refusal(a) == SUBMISSION_ACCEPTED) {
            naccepted++;
            struct submission *c = process(&seed, mode, buffer_slice(&whole), true, &again);
            assert_int_equal(submission_refusal(c), SUBMISSION_ACCEPTED);
            assert_true(slice_equal(buffer_slice(&whole), buffer_slice(&again)));
            submission_free(&c);
        }
        submission_free(&a);
        submission_free(&b);
        buffer_free(&in);
        buffer_free(&whole);
        buffer_free(&pieces);
        buffer_free(&again);
    }
    assert_true(naccepted > 1000);
}

static struct submission_past past_of(const struct submission *submission)
{
    const struct submission_facts *facts = submission_facts(submission);
    return (struct submission_past){facts->header_octets, facts->size_octets, facts->has_8bit_header, facts->is_header_utf8, facts->has_8bit_body};
}

/* As a relay has it after a cut: what came until the last line's end, and then another session with the rest. True: the cut lay behind the header. */
static bool process_cut(struct slice in, size_t cut, struct buffer *out, struct submission_past *end)
{
    struct submission_config config = {.mode = SUBMISSION_RELAY, .date = SLICE("D"), .message_id = SLICE("<i@relay.example>")};
    struct submission *submission = submission_new(&config);
    struct submission_out piece;
    bool is_behind = submission_feed(submission, slice_take(in, cut), &piece) == RESULT_OK && submission_has_header(submission);
    if (is_behind) {
        struct submission_past past = past_of(submission);
        assert_true(submission_header_came(submission) <= cut); /* where the stored octets are is known by it */
        assert_int_equal(past.stored_octets, past.header_octets + cut - submission_header_came(submission));
        assert_int_equal(buffer_append(out, piece.header), RESULT_OK);
        assert_int_equal(buffer_append(out, piece.body), RESULT_OK);
        submission_free(&submission);
        submission = submission_resume(&past);
        assert_int_equal(submission_feed(submission, slice_skip(in, cut), &piece), RESULT_OK);
        assert_int_equal(buffer_append(out, piece.body), RESULT_OK);
        assert_int_equal(piece.header.len, 0);
        assert_int_equal(submission_finish(submission, &piece), RESULT_OK);
        *end = past_of(submission);
    }
    submission_free(&submission);
    return is_behind;
}

static bool is_line_end(struct slice in, size_t at)
{
    return at >= 2 && in.ptr[at - 2] == '\r' && in.ptr[at - 1] == '\n';
}

/* A message cut at any line's end behind its header, and resumed, gives the same octets and facts as uncut. */
static void messages_go_on_where_they_were_cut(void **state)
{
    uint64_t seed = 5;
    size_t ncuts = 0;
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct buffer in = BUFFER(65536), whole = BUFFER(65536);
        assert_int_equal(buffer_append_cstr(&in, "From: a@x.y\r\n"), RESULT_OK);
        put_some(&seed, message_words, LEN(message_words), 12, &in);
        struct slice text = buffer_slice(&in);
        struct submission_past end = {0}, cut_end;
        bool is_taken = process_cut(text, text.len, &whole, &end);
        for (size_t cut = 1; is_taken && cut < text.len; cut++) {
            struct buffer pieces = BUFFER(65536);
            if (is_line_end(text, cut) && process_cut(text, cut, &pieces, &cut_end)) {
                ncuts++;
                assert_true(slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
                assert_int_equal(cut_end.header_octets, end.header_octets);
                assert_int_equal(cut_end.stored_octets, end.stored_octets);
                assert_int_equal(cut_end.has_8bit_header, end.has_8bit_header);
                assert_int_equal(cut_end.is_header_utf8, end.is_header_utf8);
                assert_int_equal(cut_end.has_8bit_body, end.has_8bit_body);
            }
            buffer_free(&pieces);
        }
        buffer_free(&in);
        buffer_free(&whole);
    }
    assert_true(ncuts > 1000);
}

/* The names of all fields of all header-like blocks, in order: what a program makes of the report. */
static void outline(struct slice text, struct buffer *out)
{
    while (text.len > 0) {
        struct header_field field;
        struct slice line;
        struct slice before = text;
        if (header_next(&text, &field) == RESULT_OK) {
            assert_int_equal(buffer_append(out, field.name), RESULT_OK);
            assert_int_equal(buffer_append(out, SLICE("\n")), RESULT_OK);
            continue;
        }
        slice_cut(before, '\n', &line, &text);
        if (slice_starts_with(line, SLICE("--")))
            assert_int_equal(buffer_append(out, SLICE("--\n")), RESULT_OK);
    }
}

static const char *const remote_words[] = {"550 ", "a", ":", "\r\n", "\n", "\r", "\r\n\r\n", "--report-", "Action: delivered", " ", "\t", "\xff",
                                           "\x01", "+0D+0A", ";", "<>", "\xe2\x80\xae"};

/* The address has an octet above 127, so that with SMTPUTF8 all parts are of the 8-bit kind whatever else is in them. */
static void report_on(struct slice s, bool is_smtputf8, struct buffer *shape)
{
    struct dsn_recipient r = {.address = SLICE("\xc3\xb6@x.y"), .orcpt = SLICE("rfc822;a"), .remote_mta = s, .reply = s, .status = s};
    struct dsn dsn = {.reporting_mta = s, .from = s, .to = s, .message_id = SLICE("<i@x>"), .envid = s, .recipients = &r, .nrcpt = 1,
                      .is_smtputf8 = is_smtputf8};
    struct buffer out = BUFFER(256 * 1024);
    assert_int_equal(dsn_write(&dsn, &out), RESULT_OK);
    /* the person's part is prose: only the parts for programs have an outline */
    struct slice text = buffer_slice(&out);
    while (!slice_starts_with(text, SLICE("\r\n--")))
        text = slice_skip(text, 1);
    outline(slice_take(buffer_slice(&out), buffer_len(&out) - text.len), shape);
    while (!slice_starts_with(text, SLICE("Original-Envelope-Id:")))
        text = slice_skip(text, 1);
    outline(text, shape);
    buffer_free(&out);
}

static void reports_keep_their_shape(void **state)
{
    uint64_t seed = 4;
    struct buffer models[2] = {[0] = BUFFER(4096), [1] = BUFFER(4096)};
    (void)state;
    for (int is_smtputf8 = 0; is_smtputf8 < 2; is_smtputf8++) {
        report_on(SLICE("x"), is_smtputf8, &models[is_smtputf8]);
        assert_true(buffer_len(&models[is_smtputf8]) > 100);
    }
    for (int i = 0; i < ROUNDS; i++) {
        struct buffer remote = BUFFER(1024), shape = BUFFER(65536);
        bool is_smtputf8 = i % 2;
        assert_int_equal(buffer_append_cstr(&remote, "x"), RESULT_OK);
        put_some(&seed, remote_words, LEN(remote_words), 12, &remote);
        report_on(buffer_slice(&remote), is_smtputf8, &shape);
        if (!slice_equal(buffer_slice(&models[is_smtputf8]), buffer_slice(&shape)))
            fail_msg("%.*s", SLICE_ARG(buffer_slice(&shape)));
        buffer_free(&remote);
        buffer_free(&shape);
    }
    buffer_free(&models[0]);
    buffer_free(&models[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_stable),
        cmocka_unit_test(encodings_round_trip),
        cmocka_unit_test(messages_do_not_depend_on_chunks),
        cmocka_unit_test(messages_go_on_where_they_were_cut),
        cmocka_unit_test(reports_keep_their_shape),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("property/mail", tests, NULL, NULL);
}
