/* smtp/client.h: bodies that must not leave, bounds of the output, time in a transaction. */
#include "support/client_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define expect_said(text) assert_string_equal(play_said(&p), text)
#define expect_told(text) assert_string_equal(play_told(&p), text)
#define MESSAGE SLICE("Subject: x\r\n\r\n.dot\r\n")

static struct envelope_recipient recipients[] = {{.address = SLICE("a@example.org")}};
static struct envelope envelope = {.sender = SLICE("me@example.net"), .recipients = recipients, .nrcpt = 1};

static void send(struct play *p, const struct envelope *e, struct slice body)
{
    play_send(p, &(struct smtp_transaction){.envelope = e}, body);
}

#define PIPELINING "250-PIPELINING\r\n"
#define CHUNKING "250-CHUNKING\r\n"

#define R0 "RECIPIENT 0: "

/* ---- bodies that must not leave ---- */

static void never_sends_bare_cr_or_lf(void **state)
{
    static const struct slice bodies[] = {SLICE("a\nb\r\n"), SLICE("a\rb\r\n"), SLICE("a\r\n\n.\r\n"), SLICE("a\r"), SLICE("\n"), SLICE("a\0\r\n"), SLICE("a\r\n.\r.\r\n")};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof bodies / sizeof *bodies; i++) {
        bool has_chunking = i % 2;
        struct play p;
        play_open_ready(&p, has_chunking ? PIPELINING CHUNKING : PIPELINING);
        p.piece = 1 + i % 3;
        send(&p, &envelope, bodies[i / 2]);
        play_server(&p, has_chunking ? "250 ok\r\n250 a\r\n" : "250 ok\r\n250 a\r\n354 go\r\n");
        if (has_chunking)
            for (int chunks = 0; chunks < 10 && strcmp(smtp_client_state_name(p.client), "ready") != 0; chunks++)
                play_server(&p, "250 chunk\r\n");
        const char *said = play_said(&p);
        for (const char *at = said; *at; at++)
            assert_true(has_chunking || ((*at != '\n' || (at > said && at[-1] == '\r')) && (*at != '\r' || at[1] == '\n')));
        const char *told = play_told(&p);
        assert_non_null(strstr(told, "SENT refused: 554 5.6.0 The message holds a NUL, or a CR or LF alone, which can't be sent safely [message] (ours)\n"));
        assert_non_null(strstr(told, has_chunking ? "READY\n" : "FAILED aborted [message]\n"));
        assert_null(strstr(said, "LAST"));
        assert_null(strstr(said, "\r\n.\r\n"));
        play_close(&p);
    }
}

static void sends_no_message_of_another_size(void **state)
{
    struct play p;
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool chunking = i % 2;
        play_open_ready(&p, chunking ? PIPELINING CHUNKING : PIPELINING);
        play_send(&p, &(struct smtp_transaction){.envelope = &envelope, .size_octets = i < 2 ? 19 : 21}, MESSAGE);
        if (!chunking)
            play_server(&p, "250 ok\r\n250 a\r\n354 go\r\n");
        const char *said = play_said(&p);
        assert_null(strstr(said, "Subject"));
        assert_non_null(strstr(play_told(&p), "FAILED aborted"));
        play_close(&p);
    }
}

static void aborts_without_the_last_octet(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING);
    send(&p, &envelope, MESSAGE);
    p.keeps_output = true;
    play_server(&p, "250 ok\r\n250 a\r\n354 go\r\n");
    play_take(&p, smtp_client_output(p.client).len - 1);
    smtp_client_abort(p.client);
    play_pump(&p);
    expect_told(R0 "250 a\nBODY\nFAILED aborted [end of data]\n");
    assert_int_equal(smtp_client_output(p.client).len, 0);
    play_close(&p);
}

/* What the session came to when the server says all this at once, and each piece of the body leaves as soon as it is handed over. */
static void hears_at_once(const char *extensions, size_t piece, const char *replies, bool *is_sent, enum smtp_failure *failure)
{
    struct play p;
    struct smtp_client_event event;
    size_t at = 0;
    *is_sent = false;
    *failure = SMTP_FAIL_NONE;
    play_open_ready(&p, extensions);
    p.keeps_body = true;
    send(&p, &envelope, MESSAGE);
    if (strstr(play_told(&p), "BODY")) /* with CHUNKING the first piece goes before any reply */
        smtp_client_body(p.client, slice_take(MESSAGE, at = piece), false, 0);
    smtp_client_sent(p.client, smtp_client_output(p.client).len, 0);
    smtp_client_feed(p.client, slice_from_cstr(replies), 0);
    while (smtp_client_next(p.client, &event)) {
        *is_sent |= event.type == SMTP_CLIENT_SENT && event.sent == SMTP_SENT_ACCEPTED;
        if (event.type == SMTP_CLIENT_FAILED)
            *failure = event.failure;
        if (event.type == SMTP_CLIENT_BODY_WANTED)
            smtp_client_body(p.client, slice_skip(MESSAGE, at), true, 0);
        smtp_client_sent(p.client, smtp_client_output(p.client).len, 0);
    }
    play_close(&p);
}

/* A reply can only be about what had been sent when it came, however late it is read: one too many behind the 354, or behind the answer to an earlier
 * piece, is no answer to the message. */
static void stray_reply_is_no_acceptance(void **state)
{
    bool is_sent;
    enum smtp_failure failure;
    (void)state;
    hears_at_once(PIPELINING, 0, "250 ok\r\n250 a\r\n354 go\r\n250 2.0.0 stray\r\n", &is_sent, &failure);
    assert_false(is_sent);
    assert_int_equal(failure, SMTP_FAIL_PROTOCOL);
    hears_at_once(PIPELINING CHUNKING, 5, "250 ok\r\n250 a\r\n250 first piece\r\n250 2.0.0 stray\r\n", &is_sent, &failure);
    assert_false(is_sent);
    assert_int_equal(failure, SMTP_FAIL_PROTOCOL);
}

/* ---- bounds, time ---- */

/* Gives the reply to each whole line of a command that was said since the last time. */
static void answer_lines(struct play *p, size_t *answered)
{
    struct slice line, rest = slice_skip(buffer_slice(&p->said), *answered);
    while (slice_cut(rest, '\n', &line, &rest)) {
        *answered += line.len + 1;
        if (slice_starts_with(line, SLICE("MAIL FROM")) || slice_starts_with(line, SLICE("RCPT TO")))
            smtp_client_feed(p->client, SLICE("250 ok\r\n"), p->now_ms);
        else if (slice_equal(line, SLICE("DATA\r")))
            smtp_client_feed(p->client, SLICE("354 go\r\n"), p->now_ms);
    }
    play_pump(p);
}

/* Two thousand recipients and a large body pass through a bounded output, however slowly the peer takes it. */
static void output_stays_bounded(void **state)
{
    enum { NRCPT = 2000, LEN = 999999 };
    struct envelope_recipient *many = calloc(NRCPT, sizeof *many);
    char *body = malloc(LEN);
    struct envelope e = {.sender = SLICE("me@example.net"), .recipients = many, .nrcpt = NRCPT};
    (void)state;
    for (size_t i = 0; i < NRCPT; i++)
        many[i].address = SLICE("somebody.with.a.rather.long.name@department.of.a.large.organisation.example");
    for (size_t i = 0; i < LEN; i += 3)
        memcpy(body + i, ".\r\n", 3);
    for (int chunking = 0; chunking < 2; chunking++) {
        struct play p;
        size_t answered = 0;
        play_open_ready(&p, chunking ? PIPELINING CHUNKING : PIPELINING);
        buffer_clear(&p.said);
        p.keeps_output = true;
        send(&p, &e, slice_of(body, LEN));
        for (int i = 0; i < 1000 && strcmp(smtp_client_state_name(p.client), "final") != 0; i++) {
            play_take(&p, 5000);
            answer_lines(&p, &answered);
        }
        assert_string_equal(smtp_client_state_name(p.client), "final");
        assert_true(p.output_max <= SMTP_CLIENT_OUTPUT_MAX && p.output_max > SMTP_CLIENT_CHUNK_MAX);
        play_close(&p);
    }
    free(many);
    free(body);
}

static void keeps_time_by_phase(void **state)
{
    static const struct smtp_client_config config = {.command_timeout_ms = 20, .body_timeout_ms = 30, .final_timeout_ms = 40};
    struct play p;
    (void)state;
    for (int phase = 0; phase < 3; phase++) {
        play_open(&p, &config);
        play_server(&p, "220 mx\r\n");
        play_server(&p, "250-mx\r\n250 PIPELINING\r\n");
        send(&p, &envelope, MESSAGE);
        play_told(&p);
        assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + 20);
        if (phase > 0) {
            p.keeps_output = phase == 1;
            p.keeps_body = true;
            play_wait(&p, 19);
            play_server(&p, "250 ok\r\n250 a\r\n354 go\r\n");
            assert_int_equal(smtp_client_deadline_ms(p.client), INT64_MAX); /* the body is ours to bring */
            play_wait(&p, 1000);
            play_body(&p);
            play_told(&p);
            assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + (phase == 1 ? 30 : 40));
        }
        if (phase == 1) {
            play_wait(&p, 29);
            play_take(&p, 1);
            assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + 30);
        }
        play_wait(&p, phase == 0 ? 19 : phase == 1 ? 29 : 39);
        expect_told("");
        play_wait(&p, 1);
        expect_told(phase == 0 ? "FAILED timeout [MAIL FROM]\n" : phase == 1 ? "FAILED timeout [end of data]\n" : "FAILED timeout [end of data] uncertain\n");
        play_close(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_sends_bare_cr_or_lf),
        cmocka_unit_test(sends_no_message_of_another_size),
        cmocka_unit_test(stray_reply_is_no_acceptance),
        cmocka_unit_test(aborts_without_the_last_octet),
        cmocka_unit_test(output_stays_bounded),
        cmocka_unit_test(keeps_time_by_phase),
    };
    return cmocka_run_group_tests_name("smtp/client body", tests, NULL, NULL);
}
