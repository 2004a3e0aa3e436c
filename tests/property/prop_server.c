/* Properties of the server core (smtp/server.h), over random sessions:
 *   invariant 3: the same octets in any chunking give the same events and the same output;
 *   any prefix of any session leaves a state from which QUIT works, and from which close works;
 *   what is held of a message and what comes of it never exceed the largest size together (invariant 8, in the sink);
 *   no smuggling: the messages taken are those that a slow and plain reading of RFC 5321 and 3030 finds, octet for octet.
 * The sink (support/smtp_sink.h) checks invariants 4 and 5 all the while. POSTERN_SEED=n tries other sessions. */
#include "smtp/command.h"
#include "support/guard.h"
#include "support/smtp_sink.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t first_seed(void)
{
    uint64_t seed;
    return slice_to_u64(slice_from_cstr(getenv("POSTERN_SEED")), UINT32_MAX, &seed) ? seed : 1;
}

static void show(struct slice session, uint64_t seed)
{
    fprintf(stderr, "seed %llu:\n", (unsigned long long)seed);
    fwrite(session.ptr, 1, session.len, stderr);
    fputc('\n', stderr);
}

/* ---- any chunking ---- */

/* most: the longest piece; 0: all at once. Each piece ends at an inaccessible page and is gone before the next. */
static void run_in_pieces(struct smtp_sink *sink, struct slice session, struct smtp_dice *dice, uint32_t most)
{
    const struct smtp_server_config config = smtp_sink_config();
    assert_true(smtp_sink_open(sink, &config, session.len % 2)); /* inside TLS more is offered */
    bool goes_on = true;
    while (session.len > 0 && goes_on) {
        struct slice piece = guard_dup(slice_take(session, most ? 1 + smtp_dice_roll(dice, most) : session.len));
        session = slice_skip(session, piece.len);
        goes_on = smtp_sink_feed(sink, piece);
        guard_free(&piece);
    }
}

static void test_any_chunking_gives_the_same(void **state)
{
    (void)state;
    static const uint32_t most[] = {1, 2, 5, 30};
    for (uint64_t seed = first_seed(), end = seed + 400; seed < end; seed++) {
        struct smtp_dice dice = {seed};
        struct smtp_sink whole, cut;
        struct buffer session = {0};
        smtp_dice_session(&dice, &session);
        run_in_pieces(&whole, buffer_slice(&session), &dice, 0);
        run_in_pieces(&cut, buffer_slice(&session), &dice, most[seed % 4]);
        if (!slice_equal(buffer_slice(&whole.events), buffer_slice(&cut.events)) || !slice_equal(buffer_slice(&whole.output), buffer_slice(&cut.output))) {
            show(buffer_slice(&session), seed);
            show(buffer_slice(&whole.events), seed);
            show(buffer_slice(&cut.events), seed);
            fail();
        }
        smtp_sink_close(&whole);
        smtp_sink_close(&cut);
        buffer_free(&session);
    }
}

/* ---- any prefix ---- */

static bool is_in(const struct smtp_sink *sink, const char *state)
{
    return slice_starts_with(slice_from_cstr(smtp_server_state_name(sink->server)), slice_from_cstr(state));
}

/* What a client does to leave from anywhere: ends its line, its chunk, its message, its authentication; then QUIT. */
static void leave(struct smtp_sink *sink)
{
    if (!is_in(sink, "chunk") && !is_in(sink, "data"))
        smtp_sink_feed(sink, SLICE("\n")); /* which may be the end of DATA */
    if (is_in(sink, "data"))
        smtp_sink_feed(sink, SLICE("\r\n.\r\n"));
    for (int i = 0; i < 40 && is_in(sink, "chunk"); i++)
        smtp_sink_feed(sink, SLICE("x"));
    if (!sink->is_closed && is_in(sink, "auth"))
        smtp_sink_feed(sink, SLICE("*\r\n"));
    if (!sink->is_closed)
        smtp_sink_feed(sink, SLICE("QUIT\r\n"));
}

static void test_any_prefix_can_be_left(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(), end = seed + 1500; seed < end; seed++) {
        struct smtp_dice dice = {seed};
        struct smtp_sink sink;
        struct buffer session = {0};
        smtp_dice_session(&dice, &session);
        struct slice prefix = slice_take(buffer_slice(&session), smtp_dice_roll(&dice, (uint32_t)buffer_len(&session)));
        run_in_pieces(&sink, prefix, &dice, seed % 2 ? 7 : 0);
        if (seed % 3)
            leave(&sink);
        else
            smtp_server_shut(sink.server, NULL);
        if (seed % 3 && !sink.is_closed) {
            show(prefix, seed);
            fail_msg("in state %s after QUIT", smtp_server_state_name(sink.server));
        }
        smtp_sink_close(&sink); /* checks that eof closes */
        buffer_free(&session);
    }
}

/* ---- the slow reference ---- */

struct reference {
    struct slice in;
    size_t at;
    struct buffer messages;
    size_t nmessages;
    bool has_helo, has_mail, has_rcpt, is_smtputf8, is_binary, is_between, is_over;
    struct buffer message; /* of the chunks so far */
    bool is_spoilt;        /* some chunk holds what must not be */
};

static bool is_bare(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\0' || (text.ptr[i] == '\r' && (i + 1 == text.len || text.ptr[i + 1] != '\n')) ||
            (text.ptr[i] == '\n' && (i == 0 || text.ptr[i - 1] != '\r')))
            return true;
    }
    return false;
}

static void take_message(struct reference *r, struct slice text)
{
    r->nmessages++;
    assert_int_equal(buffer_printf(&r->messages, "%zu:", text.len), RESULT_OK);
    assert_int_equal(buffer_append(&r->messages, text), RESULT_OK);
}

static void forget_transaction(struct reference *r)
{
    r->has_mail = r->has_rcpt = r->is_between = r->is_spoilt = false;
    buffer_clear(&r->message);
}

/* RFC 5321 4.5.2, by the book: the body with CRLF put before it ends at the first CRLF.CRLF; then a dot is taken off each line that begins with one. */
static void read_data(struct reference *r)
{
    struct buffer text = {0}, out = {0};
    assert_int_equal(buffer_append(&text, SLICE("\r\n")), RESULT_OK);
    assert_int_equal(buffer_append(&text, slice_skip(r->in, r->at)), RESULT_OK);
    struct slice all = buffer_slice(&text);
    const char *end = memmem(all.ptr, all.len, "\r\n.\r\n", 5);
    struct slice body = slice_of(all.ptr, end ? (size_t)(end - all.ptr) + 2 : 0);
    for (size_t i = 2; i < body.len; i++)
        if (!(body.ptr[i] == '.' && body.ptr[i - 1] == '\n' && body.ptr[i - 2] == '\r'))
            assert_int_equal(buffer_append(&out, slice_of(body.ptr + i, 1)), RESULT_OK);
    r->is_over = !end || is_bare(body);
    r->at += end ? (size_t)(end - all.ptr) + 3 : 0;
    if (!r->is_over)
        take_message(r, buffer_slice(&out));
    forget_transaction(r);
    buffer_free(&text);
    buffer_free(&out);
}

/* RFC 3030: so many octets, whatever they are. */
static void read_chunk(struct reference *r, const struct smtp_command *command)
{
    struct slice left = slice_skip(r->in, r->at);
    bool is_allowed = r->has_rcpt;
    if (left.len < command->size_octets) {
        r->is_over = true;
        return;
    }
    r->at += command->size_octets;
    if (!is_allowed)
        return;
    r->is_between = true;
    assert_int_equal(buffer_append(&r->message, slice_take(left, command->size_octets)), RESULT_OK);
    struct slice message = buffer_slice(&r->message);
    bool ends_in_cr = message.len > 0 && message.ptr[message.len - 1] == '\r';
    if (!r->is_binary && is_bare(command->is_last || !ends_in_cr ? message : slice_take(message, message.len - 1)))
        r->is_over = true;
    else if (command->is_last) {
        take_message(r, message);
        forget_transaction(r);
    }
}

static void obey(struct reference *r, struct slice line)
{
    struct smtp_command command;
    struct slice argument;
    enum smtp_verb verb = smtp_verb_parse(line, &argument);
    bool is_sound = smtp_command_parse(verb, argument, r->is_smtputf8 && r->has_mail, &command) == SMTP_COMMAND_OK;
    if (verb == SMTP_VERB_QUIT || verb == SMTP_VERB_FOREIGN || verb == SMTP_VERB_BDAT)
        r->is_over = is_sound == (verb != SMTP_VERB_BDAT);
    if (r->is_over || !is_sound)
        return;
    if (verb == SMTP_VERB_EHLO || verb == SMTP_VERB_HELO)
        r->has_helo = true;
    if (verb == SMTP_VERB_EHLO || verb == SMTP_VERB_HELO || verb == SMTP_VERB_RSET)
        forget_transaction(r);
    if (verb == SMTP_VERB_MAIL && r->has_helo && !r->has_mail) {
        r->has_mail = true;
        r->is_binary = command.body == MAIL_BODY_BINARYMIME;
        r->is_smtputf8 = command.given & SMTP_PARAMETER_SMTPUTF8;
        struct smtp_sink_known known = smtp_sink_look(command.transid);
        r->has_rcpt = known.is_known && known.nrcpt > 0;
    }
    if (verb == SMTP_VERB_RCPT && r->has_mail && !r->is_between)
        r->has_rcpt = true;
    if (verb == SMTP_VERB_DATA && r->has_rcpt && !r->is_between && !r->is_binary)
        read_data(r);
    if (verb == SMTP_VERB_BDAT)
        read_chunk(r, &command);
}

static void read_session(struct reference *r)
{
    while (!r->is_over) {
        struct slice left = slice_skip(r->in, r->at);
        const char *end = left.len > 0 ? memmem(left.ptr, left.len, "\r\n", 2) : NULL;
        struct slice line = slice_of(left.ptr, end ? (size_t)(end - left.ptr) : 0);
        if (!end || is_bare(line))
            return;
        r->at += line.len + 2;
        obey(r, line);
    }
}

/* Sessions without AUTH and STARTTLS, limits that are never met, and octets out of "\r\n.\0 a" strewn over them. */
static void make_smuggler(struct smtp_dice *dice, struct buffer *out)
{
    static const struct slice strewn[] = {SLICE("\r"), SLICE("\n"), SLICE("."), SLICE("\r\n"), SLICE("\r\n."), SLICE("\r\n.\r\n"), SLICE("\n.\n"), SLICE("\r.\r"),
                                          SLICE("\0"), SLICE("a"), SLICE("\r\n.\n"), SLICE("\n.\r\n"), SLICE("BDAT 7\r\n"), SLICE("BDAT 9 LAST\r\n")};
    struct buffer plain = {0};
    smtp_dice_session(dice, &plain);
    uint32_t rarity = 20 + smtp_dice_roll(dice, 400);
    struct slice text = buffer_slice(&plain);
    for (size_t i = 0; i < text.len; i++) {
        if (smtp_dice_roll(dice, rarity) == 0)
            assert_int_equal(buffer_append(out, strewn[smtp_dice_roll(dice, sizeof strewn / sizeof *strewn)]), RESULT_OK);
        assert_int_equal(buffer_append(out, slice_of(text.ptr + i, 1)), RESULT_OK);
    }
    buffer_free(&plain);
}

static void test_nothing_is_smuggled(void **state)
{
    (void)state;
    struct smtp_server_config config = smtp_sink_config();
    config.offers_starttls = false;
    config.auth_mechanisms = 0;
    config.size_max_octets = config.errors_max = config.idle_commands_max = config.unknown_outcomes_max = config.text_line_max = config.nrcpt_max = 100000;
    config.command_line_max = 10000;
    size_t nmessages = 0;
    for (uint64_t seed = first_seed(), end = seed + 12000; seed < end; seed++) {
        struct smtp_dice dice = {seed};
        struct buffer session = {0};
        make_smuggler(&dice, &session);
        struct smtp_sink sink;
        assert_true(smtp_sink_open(&sink, &config, true)); /* where transactions may have names */
        sink.refuses = false;
        smtp_sink_feed(&sink, buffer_slice(&session));
        struct reference r = {.in = buffer_slice(&session)};
        read_session(&r);
        if (sink.nmessages != r.nmessages || !slice_equal(buffer_slice(&sink.messages), buffer_slice(&r.messages))) {
            show(buffer_slice(&session), seed);
            fail_msg("%zu messages, and the reference finds %zu", sink.nmessages, r.nmessages);
        }
        nmessages += r.nmessages;
        smtp_sink_close(&sink);
        buffer_free(&session);
        buffer_free(&r.messages);
        buffer_free(&r.message);
    }
    print_message("%zu messages\n", nmessages);
    assert_true(nmessages > 3000); /* the sessions are not all nonsense */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_chunking_gives_the_same),
        cmocka_unit_test(test_any_prefix_can_be_left),
        cmocka_unit_test(test_nothing_is_smuggled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
