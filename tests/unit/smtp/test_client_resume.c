/* smtp/client.h: names, going on in the middle, the pause, and questions about outcomes, octet by octet of what has left. The dialogues themselves are in tests/transcript/client/09 and 10. */
#include "support/client_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define expect_said(text) assert_string_equal(play_said(&p), text)
#define expect_told(text) assert_string_equal(play_told(&p), text)
#define RELAY "250-PIPELINING\r\n250-CHUNKING\r\n250-CHECKPOINT\r\n250-XOUTCOME abc 604800\r\n"
#define MESSAGE SLICE("Subject: x\r\n\r\n.dot\r\n") /* 20 octets; lines begin at 0, 12 and 14 */
#define MAIL "MAIL FROM:<me@example.net> TRANSID=<1@a>"
#define RCPT "RCPT TO:<a@example.org>\r\n"
#define R0 "RECIPIENT 0: 250 a\n"

static struct envelope_recipient recipients[] = {{.address = SLICE("a@example.org")}};
static struct envelope envelope = {.sender = SLICE("me@example.net"), .recipients = recipients, .nrcpt = 1};

static void send_named(struct play *p, const char *transid, bool asks_first)
{
    play_send(p, &(struct smtp_transaction){.envelope = &envelope, .transid = slice_from_cstr(transid), .asks_first = asks_first}, MESSAGE);
}

/* ---- names ---- */

/* What could end the command, or is longer than RFC 1845 2 allows, is no name: the message goes without one. */
static void no_name_breaks_its_command(void **state)
{
    static const char *const names[] = {"", "<a b@c>", "<a\r\nRSET@c>", "<a@c\x7f>", "<\xc3\xa4@c>",
                                        "<0123456789012345678901234567890123456789012345678901234567890123456789@example.x>"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct play p;
        play_open_ready(&p, RELAY);
        send_named(&p, names[i], i % 2);
        expect_said("MAIL FROM:<me@example.net>\r\n" RCPT "BDAT 20 LAST\r\nSubject: x\r\n\r\n.dot\r\n");
        smtp_client_pause(p.client, p.now_ms);
        play_server(&p, "250 ok\r\n250 a\r\n250 queued\r\n");
        play_close(&p);
    }
    struct play p;
    play_open_ready(&p, RELAY);
    send_named(&p, "<01234567890123456789012345678901234567890123456789012345678901234567@example.x>", false);
    assert_non_null(strstr(play_said(&p), " TRANSID=<01234567890123456789012345678901234567890123456789012345678901234567@example.x> XWHOLE\r\n"));
    play_close(&p);
}

/* Who may have it is asked in spite of his limit; when he has not, the limit is told in our words, where EHLO told one that is passed and the refusal is about that. */
static void a_refusal_by_size_tells_the_limit(void **state)
{
    static const char ours[] = "SENT refused: 552 5.3.4 The message has 20 octets, the next hop takes at most 19 octets [MAIL FROM] (ours)\nREADY\n";
    static const struct {
        const char *size, *reply, *told;
    } rows[] = {
        {"250-SIZE 19\r\n", "552 5.3.4 EHLO tells SIZE\r\n", ours},
        {"250-SIZE 19\r\n", "552 too large\r\n", ours},
        {"250-SIZE 19\r\n", "552 5.2.2 full\r\n", "SENT refused: 552 5.2.2 full [MAIL FROM]\nREADY\n"},
        {"250-SIZE 19\r\n", "550 5.3.4 no\r\n", "SENT refused: 550 5.3.4 no [MAIL FROM]\nREADY\n"},
        {"250-SIZE 20\r\n", "552 5.3.4 no\r\n", "SENT refused: 552 5.3.4 no [MAIL FROM]\nREADY\n"},
        {"250-SIZE\r\n", "552 5.3.4 no\r\n", "SENT refused: 552 5.3.4 no [MAIL FROM]\nREADY\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        char ehlo[200];
        snprintf(ehlo, sizeof ehlo, RELAY "%s", rows[i].size);
        play_open_ready(&p, ehlo);
        send_named(&p, "<1@a>", true);
        expect_said("MAIL FROM:<me@example.net> SIZE=20 TRANSID=<1@a>\r\n");
        play_server(&p, rows[i].reply);
        expect_told(rows[i].told);
        expect_said("");
        play_close(&p);
    }
}

/* ---- going on ---- */

/* Invariant 7: at whatever octet it goes on, and however it is cut, the beginning and what leaves are the message. */
static void the_rest_is_the_rest(void **state)
{
    static const size_t starts[] = {0, 12, 14, 20};
    (void)state;
    for (size_t i = 0; i < 4 * 20; i++) {
        struct play p;
        struct slice line, rest;
        char reply[40];
        size_t start = starts[i % 4], at = start;
        play_open_ready(&p, RELAY);
        p.piece = 1 + i / 4;
        send_named(&p, "<1@a>", true);
        expect_said(MAIL "\r\n");
        snprintf(reply, sizeof reply, "355 %zu octets\r\n", start);
        play_server(&p, reply);
        for (int n = 0; n < 30 && strcmp(smtp_client_state_name(p.client), "ready") != 0; n++)
            play_server(&p, n == 0 ? "250 a\r\n" : "250 well\r\n");
        rest = slice_from_cstr(play_said(&p));
        assert_true(slice_cut(rest, '\n', &line, &rest) && slice_equal(line, SLICE("RCPT TO:<a@example.org>\r")));
        for (bool is_last = false; !is_last;) {
            struct slice number, last;
            uint64_t n;
            assert_true(slice_cut(rest, '\n', &line, &rest) && slice_starts_with(line, SLICE("BDAT ")));
            is_last = slice_cut(slice_take(slice_skip(line, 5), line.len - 6), ' ', &number, &last);
            assert_true(slice_to_u64(number, 20, &n) && slice_equal(last, is_last ? SLICE("LAST") : SLICE("")));
            assert_true(slice_equal(slice_take(rest, (size_t)n), slice_take(slice_skip(MESSAGE, at), (size_t)n)));
            rest = slice_skip(rest, (size_t)n);
            at += (size_t)n;
        }
        assert_int_equal(at, 20);
        assert_int_equal(rest.len, 0);
        assert_non_null(strstr(play_told(&p), "SENT accepted: 250 well [end of data]\nREADY\n"));
        play_close(&p);
    }
}

/* Time in an envelope that goes on is that of commands, not of a body: none has been sent. */
static void a_start_is_no_octet_sent(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, &(struct smtp_client_config){.command_timeout_ms = 20, .body_timeout_ms = 30});
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250-mx\r\n" RELAY "250 HELP\r\n");
    send_named(&p, "<1@a>", true);
    p.keeps_body = p.keeps_output = true;
    play_server(&p, "355 12\r\n");
    assert_true(smtp_client_output(p.client).len > 0);
    assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + 20);
    play_body(&p);
    assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + 30);
    play_close(&p);
}

/* Invariants 2 and 4: a 2yz for what has not left yet is nobody's, and what has left is uncertain until then. */
static void its_end_counts_from_the_last_octet_on(void **state)
{
    (void)state;
    for (int is_short = 0; is_short < 2; is_short++) {
        struct play p;
        play_open_ready(&p, RELAY);
        send_named(&p, "<1@a>", true);
        p.keeps_output = true;
        play_server(&p, "355 20\r\n");
        play_told(&p);
        play_take(&p, sizeof RCPT "BDAT 0 LAST\r\n" - 1 - (size_t)is_short);
        play_server(&p, "250 a\r\n");
        expect_told(R0);
        if (is_short)
            play_server(&p, "250 queued\r\n");
        else
            play_eof(&p);
        expect_told(is_short ? "FAILED protocol [end of data]: 250 queued\n" : "FAILED eof [end of data] uncertain\n");
        play_close(&p);
    }
}

/* Whatever stands where the number should: the session ends, and nothing is taken for sent. */
static void an_offset_is_a_number_of_octets_of_the_message(void **state)
{
    static const char *const replies[] = {"355\r\n", "355 \r\n", "355 -1\r\n", "355 +1\r\n", "355 1x\r\n", "355 0x1\r\n", "355 21\r\n", "355 18446744073709551616\r\n", "355 octets 5\r\n", "355-x\r\n355 5\r\n", "354 5\r\n", "334 5\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct play p;
        play_open_ready(&p, RELAY);
        send_named(&p, "<1@a>", true);
        play_server(&p, replies[i]);
        if (strncmp(play_told(&p), "FAILED protocol [MAIL FROM]: 3", 30) != 0)
            fail_msg("row %zu", i);
        expect_said(MAIL "\r\n");
        play_close(&p);
    }
}

/* ---- the pause ---- */

/* At any moment of a dialogue: it ends in READY with one SENT, nothing half said, and no last octet unless it was too late. */
static void a_pause_may_come_at_any_moment(void **state)
{
    static const char *const replies[] = {"250 ok\r\n", "250 a\r\n", "250 five\r\n", "250 ten\r\n", "250 fifteen\r\n", "250 queued\r\n", "250 one too many\r\n"};
    (void)state;
    for (size_t moment = 0; moment < 6; moment++) {
        struct play p;
        size_t heard = 0;
        play_open_ready(&p, RELAY);
        p.piece = 5;
        p.keeps_body = true;
        send_named(&p, "<1@a>", false);
        while (strcmp(smtp_client_state_name(p.client), "ready") != 0 && heard < 7) {
            if (heard == moment)
                play_pause(&p);
            if (heard < 5 && p.body_at < 20)
                play_body(&p); /* ignored after a pause */
            play_server(&p, replies[heard++]);
        }
        const char *told = play_told(&p);
        bool is_paused = strstr(told, "SENT paused [RSET]\nREADY\n") != NULL, is_accepted = strstr(told, "SENT accepted") != NULL;
        const char *said = play_said(&p);
        assert_true(is_paused != is_accepted && is_paused == (strstr(said, "RSET\r\n") != NULL) && is_accepted == (strstr(said, " LAST\r\n") != NULL));
        assert_true(!is_paused || strcmp(said + strlen(said) - 6, "RSET\r\n") == 0);
        assert_int_equal(is_paused, moment < 5); /* by then the last piece is in the output */
        send_named(&p, "<2@a>", true);
        expect_said("MAIL FROM:<me@example.net> TRANSID=<2@a>\r\n");
        play_close(&p);
    }
}

static void a_pause_of_nothing_is_none(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, RELAY);
    play_pause(&p);
    expect_said("");
    send_named(&p, "<1@a>", true);
    play_server(&p, "451 4.3.0 later\r\n");
    play_pause(&p);
    expect_told("SENT deferred: 451 4.3.0 later [MAIL FROM]\nREADY\n");
    play_close(&p);
}

/* The RSET that clears away the transaction before is one of two, and each has its reply. */
static void a_pause_behind_an_rset(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, RELAY);
    send_named(&p, "<1@a>", true);
    play_server(&p, "250 ok\r\n");
    play_server(&p, "550 nobody\r\n503 no\r\n");
    play_told(&p);
    play_said(&p);
    send_named(&p, "<2@a>", true);
    expect_said("RSET\r\nMAIL FROM:<me@example.net> TRANSID=<2@a>\r\n");
    play_pause(&p);
    expect_said("RSET\r\n");
    play_server(&p, "250 first\r\n250 mail\r\n");
    expect_told("");
    play_server(&p, "250 second\r\n");
    expect_told("SENT paused [RSET]\nREADY\n");
    play_close(&p);
}

/* Asked for before a word of it was said: there is nothing to take back. */
static void a_pause_before_the_first_word(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, RELAY);
    smtp_client_send(p.client, &(struct smtp_transaction){.envelope = &envelope, .transid = SLICE("<1@a>"), .size_octets = 20}, p.now_ms);
    play_pause(&p);
    expect_said("");
    expect_told("SENT paused [RSET]\nREADY\n");
    play_close(&p);
}

/* ---- outcomes ---- */

static void sixteen_questions_leave_at_once(void **state)
{
    struct smtp_outcome_question questions[SMTP_OUTCOMES_MAX];
    char said[2000] = "", told[2000] = "", name[] = "<1@a>";
    struct play p;
    (void)state;
    play_open_ready(&p, RELAY);
    for (size_t i = 0; i < SMTP_OUTCOMES_MAX; i++) {
        questions[i] = (struct smtp_outcome_question){.transid = slice_from_cstr(name), .first = i == 15 ? UINT32_MAX : 0};
        snprintf(said + strlen(said), sizeof said - strlen(said), i == 15 ? "XOUTCOME <1@a> 4294967295\r\n" : "XOUTCOME <1@a>\r\n");
        snprintf(told + strlen(told), sizeof told - strlen(told), "OUTCOME %zu: 250 2.0.0 0 recipients from 0 / end\n", i);
    }
    play_outcomes(&p, questions, SMTP_OUTCOMES_MAX);
    memset(name, 'x', sizeof name);
    expect_said(said);
    assert_string_equal(smtp_client_state_name(p.client), "outcome");
    for (size_t i = 0; i < SMTP_OUTCOMES_MAX; i++)
        play_server(&p, "250-2.0.0 0 recipients from 0\r\n250 2.0.0 end\r\n");
    snprintf(told + strlen(told), sizeof told - strlen(told), "READY\n");
    expect_told(told);
    play_close(&p);
}

/* Invariant 2: who answers a question that has not begun to leave. */
static void an_answer_ahead_of_its_question(void **state)
{
    const struct smtp_outcome_question question = {.transid = SLICE("<1@a>")};
    struct play p;
    (void)state;
    play_open_ready(&p, RELAY);
    p.keeps_output = true;
    play_outcomes(&p, &question, 1);
    play_server(&p, "250 2.0.0 end\r\n");
    expect_told("FAILED protocol [XOUTCOME]\n");
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_name_breaks_its_command),
        cmocka_unit_test(a_refusal_by_size_tells_the_limit),
        cmocka_unit_test(the_rest_is_the_rest),
        cmocka_unit_test(a_start_is_no_octet_sent),
        cmocka_unit_test(its_end_counts_from_the_last_octet_on),
        cmocka_unit_test(an_offset_is_a_number_of_octets_of_the_message),
        cmocka_unit_test(a_pause_may_come_at_any_moment),
        cmocka_unit_test(a_pause_of_nothing_is_none),
        cmocka_unit_test(a_pause_behind_an_rset),
        cmocka_unit_test(a_pause_before_the_first_word),
        cmocka_unit_test(sixteen_questions_leave_at_once),
        cmocka_unit_test(an_answer_ahead_of_its_question),
    };
    return cmocka_run_group_tests_name("smtp/client resume", tests, NULL, NULL);
}
