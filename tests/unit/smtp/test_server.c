/* smtp/server.h: what transcripts do not show: memory, back-pressure, facts, deadlines as numbers, the trace. */
#include "smtp/sasl.h"
#include "smtp/server.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NOW = 1000 };

static const struct smtp_reply OK = {.code = 250, .status = {2, 0, 0}, .text = {"Ok", 2}};
static const struct smtp_reply WELCOME = {.code = 235, .status = {2, 7, 0}, .text = {"Welcome", 7}};

static struct smtp_server *make(struct smtp_server_config config, bool is_tls)
{
    config.hostname = SLICE("relay.example");
    struct smtp_server *server = smtp_server_new(&config, is_tls, false, NOW);
    assert_non_null(server);
    return server;
}

static void send_all(struct smtp_server *server)
{
    smtp_server_sent(server, smtp_server_output(server).len);
}

/* Says it, answers everything with 250, and takes the output away. */
static void say(struct smtp_server *server, const char *text)
{
    struct slice in = slice_from_cstr(text);
    struct smtp_server_event event;
    size_t used;
    do {
        used = smtp_server_feed(server, in, NOW);
        in = slice_skip(in, used);
        while (smtp_server_next(server, &event))
            if (smtp_server_is_parked(server))
                smtp_server_answer(server, &OK, NOW);
        send_all(server);
    } while (used > 0 && in.len > 0);
    assert_int_equal(in.len, 0);
}

static size_t heap_in_use(void)
{
    return mallinfo2().uordblks;
}

/* An idle session costs its struct and its name: buffers and arena are there only while something is in them. */
static void test_an_idle_session_is_small(void **state)
{
    (void)state;
    enum { SESSIONS = 64 };
    struct smtp_server *servers[SESSIONS];
    size_t before = heap_in_use();
    for (size_t i = 0; i < SESSIONS; i++) {
        servers[i] = make((struct smtp_server_config){.auth_mechanisms = SASL_PLAIN, .allows_auth_without_tls = true}, false);
        say(servers[i], "EHLO laptop.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n");
        say(servers[i], "DATA\r\nhello\r\n.\r\n");
        say(servers[i], "NOO");
        say(servers[i], "P\r\n");
        assert_string_equal(smtp_server_state_name(servers[i]), "ready");
    }
    size_t after = heap_in_use(); /* the sanitizers' allocator tells nothing: 0 */
    print_message("octets per idle session: %zu\n", (after - before) / SESSIONS);
    assert_true((after - before) / SESSIONS <= 1024);
    for (size_t i = 0; i < SESSIONS; i++)
        smtp_server_free(&servers[i]);
}

/* A client that talks and never listens is not listened to either. */
static void test_unsent_output_stops_the_input(void **state)
{
    (void)state;
    struct smtp_server *server = make((struct smtp_server_config){.idle_commands_max = 1000000}, false);
    struct buffer in = {0};
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(buffer_append_cstr(&in, "NOOP\r\n"), RESULT_OK);
    size_t used = smtp_server_feed(server, buffer_slice(&in), NOW);
    assert_true(used < buffer_len(&in));
    assert_in_range(smtp_server_output(server).len, SMTP_SERVER_OUTPUT_HIGH, SMTP_SERVER_OUTPUT_HIGH + 1024);
    assert_int_equal(smtp_server_feed(server, slice_skip(buffer_slice(&in), used), NOW), 0);
    send_all(server);
    assert_true(smtp_server_feed(server, slice_skip(buffer_slice(&in), used), NOW) > 0);
    buffer_free(&in);
    smtp_server_free(&server);
}

static void test_output_goes_in_pieces(void **state)
{
    (void)state;
    struct smtp_server *server = make((struct smtp_server_config){0}, false);
    char seen[64];
    size_t n = 0;
    assert_int_equal(smtp_server_feed(server, SLICE("NOOP\r\n"), NOW), 6);
    while (smtp_server_output(server).len > 0) {
        seen[n++] = smtp_server_output(server).ptr[0];
        smtp_server_sent(server, 1);
    }
    assert_true(slice_equal(slice_of(seen, n), SLICE("220 relay.example ESMTP Postern\r\n250 2.0.0 Ok\r\n")));
    smtp_server_free(&server);
}

static void test_bodies_are_not_copied(void **state)
{
    (void)state;
    struct smtp_server *server = make((struct smtp_server_config){0}, false);
    struct slice in = SLICE("one\r\ntwo\r\n.\r\n");
    struct smtp_server_event event;
    say(server, "EHLO laptop.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n");
    assert_int_equal(smtp_server_feed(server, in, NOW), 10);
    assert_true(smtp_server_next(server, &event));
    assert_int_equal(event.type, SMTP_SERVER_BODY);
    assert_ptr_equal(event.data.ptr, in.ptr);
    assert_int_equal(event.data.len, 10);
    assert_false(smtp_server_next(server, &event));
    smtp_server_free(&server);
}

static void authenticate(struct smtp_server *server)
{
    struct smtp_server_event event;
    struct slice in = SLICE("AUTH PLAIN AHUAcA==\r\n");
    assert_int_equal(smtp_server_feed(server, in, NOW), in.len);
    assert_true(smtp_server_next(server, &event));
    assert_int_equal(event.type, SMTP_SERVER_AUTH);
    assert_int_equal(smtp_server_set_user(server, SLICE("u")), RESULT_OK);
    smtp_server_answer(server, &WELCOME, NOW);
    send_all(server);
}

static void test_protocol_names(void **state)
{
    (void)state;
    struct smtp_server_config config = {.auth_mechanisms = SASL_PLAIN, .allows_auth_without_tls = true, .offers_smtputf8 = true};
    for (int is_tls = 0; is_tls < 2; is_tls++) {
        struct smtp_server *server = make(config, is_tls);
        assert_string_equal(smtp_server_protocol(server), "SMTP");
        say(server, "HELO laptop.example\r\n");
        assert_string_equal(smtp_server_protocol(server), "SMTP");
        say(server, "EHLO laptop.example\r\n");
        assert_string_equal(smtp_server_protocol(server), is_tls ? "ESMTPS" : "ESMTP");
        say(server, "MAIL FROM:<a@x.example> SMTPUTF8\r\n");
        assert_string_equal(smtp_server_protocol(server), is_tls ? "UTF8SMTPS" : "UTF8SMTP");
        say(server, "RSET\r\n");
        authenticate(server);
        assert_string_equal(smtp_server_protocol(server), is_tls ? "ESMTPSA" : "ESMTPA");
        say(server, "MAIL FROM:<a@x.example> SMTPUTF8\r\n");
        assert_string_equal(smtp_server_protocol(server), is_tls ? "UTF8SMTPSA" : "UTF8SMTPA");
        smtp_server_free(&server);
    }
}

/* Invariant 2: what was known in the clear is not known under TLS. */
static void test_facts_are_forgotten_with_tls(void **state)
{
    (void)state;
    struct smtp_server_config config = {.auth_mechanisms = SASL_PLAIN, .allows_auth_without_tls = true, .offers_starttls = true};
    struct smtp_server *server = make(config, false);
    assert_int_equal(smtp_server_helo(server).len, 0);
    say(server, "EHLO laptop.example\r\n");
    authenticate(server);
    assert_true(slice_equal(smtp_server_helo(server), SLICE("laptop.example")));
    assert_true(slice_equal(smtp_server_user(server), SLICE("u")));
    say(server, "STARTTLS\r\n");
    smtp_server_tls_started(server, false, NOW);
    assert_int_equal(smtp_server_helo(server).len, 0);
    assert_int_equal(smtp_server_user(server).len, 0);
    assert_string_equal(smtp_server_protocol(server), "SMTP");
    smtp_server_free(&server);
}

static void test_a_refused_login_leaves_no_user(void **state)
{
    (void)state;
    struct smtp_server *server = make((struct smtp_server_config){.auth_mechanisms = SASL_PLAIN, .allows_auth_without_tls = true}, false);
    struct smtp_server_event event;
    say(server, "EHLO laptop.example\r\n");
    smtp_server_feed(server, SLICE("AUTH PLAIN AHUAcA==\r\n"), NOW);
    assert_true(smtp_server_next(server, &event));
    assert_int_equal(smtp_server_set_user(server, SLICE("u")), RESULT_OK);
    smtp_server_answer(server, &SMTP_REPLY(535, 5, 7, 8, "No"), NOW);
    assert_int_equal(smtp_server_user(server).len, 0);
    assert_string_equal(smtp_server_protocol(server), "ESMTP");
    smtp_server_free(&server);
}

/* A reload frees the names that the session was made with. */
static void test_names_are_copied(void **state)
{
    (void)state;
    char name[] = "relay.example", id[] = "s123456";
    struct smtp_server_config config = {.hostname = slice_from_cstr(name), .session_id = slice_from_cstr(id)};
    struct smtp_server *server = smtp_server_new(&config, false, false, NOW);
    assert_non_null(server);
    send_all(server);
    memset(name, 'x', sizeof name);
    memset(id, 'x', sizeof id);
    smtp_server_feed(server, SLICE("HELO laptop.example\r\n"), NOW);
    assert_true(slice_equal(smtp_server_output(server), SLICE("250 relay.example\r\n")));
    smtp_server_free(&server);
}

static void test_deadlines(void **state)
{
    (void)state;
    struct smtp_server *server = make((struct smtp_server_config){0}, false);
    struct smtp_server_event event;
    assert_true(smtp_server_deadline_ms(server) == NOW + 300000);
    smtp_server_feed(server, SLICE("EHLO laptop.example\r\n"), NOW + 5000);
    assert_true(smtp_server_deadline_ms(server) == NOW + 305000);
    smtp_server_feed(server, SLICE("MAIL FROM:<a@x.example>\r\n"), NOW + 6000);
    assert_true(smtp_server_next(server, &event));
    assert_true(smtp_server_deadline_ms(server) == INT64_MAX);
    smtp_server_answer(server, &OK, NOW + 900000);
    assert_true(smtp_server_deadline_ms(server) == NOW + 1200000);
    smtp_server_tick(server, NOW + 1199999);
    assert_string_equal(smtp_server_state_name(server), "mail");
    smtp_server_tick(server, NOW + 1200000);
    assert_string_equal(smtp_server_state_name(server), "closing");
    assert_true(smtp_server_deadline_ms(server) == INT64_MAX);
    smtp_server_free(&server);
    assert_null(server);
    smtp_server_free(&server);
}

/* What the driver holds back is not the client's time: neither between two pieces nor for the rate of the whole. */
static void test_a_pause_of_ours_is_not_the_clients(void **state)
{
    (void)state;
    struct smtp_server *server = make((struct smtp_server_config){.data_timeout_ms = 1000, .body_rate_min = 10}, false);
    struct smtp_server_event event;
    say(server, "EHLO laptop.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n");
    assert_int_equal(smtp_server_feed(server, SLICE("abc\r\n"), NOW + 100), 5);
    assert_true(smtp_server_next(server, &event));
    assert_true(smtp_server_deadline_ms(server) == NOW + 1000); /* the grace for the rate */
    smtp_server_resumed(server, NOW + 100 + 7000);
    assert_true(smtp_server_deadline_ms(server) == NOW + 1000 + 7000);
    smtp_server_tick(server, NOW + 999 + 7000);
    assert_string_equal(smtp_server_state_name(server), "data");
    smtp_server_tick(server, NOW + 1000 + 7000);
    assert_string_equal(smtp_server_state_name(server), "closing");
    smtp_server_free(&server);
    server = make((struct smtp_server_config){.data_timeout_ms = 1000}, false);
    say(server, "EHLO laptop.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nx\r\n");
    smtp_server_resumed(server, NOW + 7000);
    assert_true(smtp_server_deadline_ms(server) == NOW + 1000 + 7000);
    smtp_server_free(&server);
}

/* A thousand recipients with long names, and each refused one forgotten. */
static void test_many_recipients(void **state)
{
    (void)state;
    struct smtp_server *server = make((struct smtp_server_config){.nrcpt_max = 1000}, false);
    struct smtp_server_event event;
    char line[512];
    say(server, "EHLO laptop.example\r\nMAIL FROM:<a@x.example>\r\n");
    for (int i = 0; i < 19981; i++) {
        int len = snprintf(line, sizeof line, "RCPT TO:<r%05d.%.55s@%.60s.example> ORCPT=rfc822;%.200s\r\n", i,
                           "local-part-local-part-local-part-local-part-local-part-", "domaindomaindomaindomaindomaindomaindomaindomaindomaindomain", "oooooooo");
        assert_int_equal(smtp_server_feed(server, slice_of(line, (size_t)len), NOW), len);
        assert_true(smtp_server_next(server, &event));
        assert_int_equal(event.type, SMTP_SERVER_RCPT);
        smtp_server_answer(server, i % 20 ? &SMTP_REPLY(550, 5, 1, 1, "no") : &OK, NOW);
        assert_true(slice_starts_with(smtp_server_output(server), i % 20 ? SLICE("550") : SLICE("250")));
        send_all(server);
    }
    smtp_server_feed(server, SLICE("DATA\r\n"), NOW);
    assert_true(smtp_server_next(server, &event));
    assert_int_equal(event.envelope->nrcpt, 1000);
    for (size_t i = 0; i < 1000; i++) {
        snprintf(line, sizeof line, "r%05zu.", i * 20);
        assert_true(slice_starts_with(event.envelope->recipients[i].address, slice_from_cstr(line)));
        assert_true(slice_equal(event.envelope->recipients[i].orcpt, SLICE("rfc822;oooooooo")));
    }
    smtp_server_free(&server);
}

/* Takes the first `taken` events that the octets bring, answering all but the last, and abandons; the events after that are to be these. */
static void abandon_after(const char *text, int taken, int n, const enum smtp_server_event_type *expected)
{
    struct smtp_server *server = make((struct smtp_server_config){.auth_mechanisms = SASL_PLAIN, .allows_auth_without_tls = true}, false);
    struct slice in = slice_from_cstr(text);
    struct smtp_server_event event;
    int told = 0;
    while (in.len > 0) {
        in = slice_skip(in, smtp_server_feed(server, in, NOW));
        while (told < taken && smtp_server_next(server, &event))
            if (++told < taken && smtp_server_is_parked(server) && event.type != SMTP_SERVER_BODY)
                smtp_server_answer(server, &OK, NOW);
        if (told == taken)
            break;
    }
    /* Every octet that the core takes by itself, and no further event. */
    smtp_server_feed(server, in, NOW);
    smtp_server_abandon(server);
    for (int i = 0; i < n; i++) {
        assert_true(smtp_server_next(server, &event));
        assert_int_equal(event.type, expected[i]);
    }
    assert_false(smtp_server_next(server, &event));
    assert_false(smtp_server_is_parked(server));
    smtp_server_abandon(server);
    assert_false(smtp_server_next(server, &event));
    smtp_server_free(&server);
}

static void test_abandoned_sessions(void **state)
{
    (void)state;
    static const char bdat[] = "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nBDAT 3 LAST\r\nx\r\n";
    static const enum smtp_server_event_type close[] = {SMTP_SERVER_CLOSE}, ended[] = {SMTP_SERVER_TRANSACTION_ENDED, SMTP_SERVER_CLOSE},
                                             cancelled[] = {SMTP_SERVER_AUTH_CANCELLED, SMTP_SERVER_CLOSE};
    abandon_after("EHLO x\r\n", 0, 1, close);
    abandon_after(bdat, 0, 1, close);  /* the MAIL event was never taken */
    abandon_after(bdat, 1, 2, ended);  /* it waits for the answer to MAIL */
    abandon_after(bdat, 2, 2, ended);  /* ... RCPT */
    abandon_after(bdat, 3, 2, ended);  /* ... BODY_BEGIN */
    abandon_after(bdat, 4, 2, ended);  /* BODY was taken, BODY_END was not */
    abandon_after(bdat, 5, 1, close);  /* BODY_END was taken */
    abandon_after("EHLO x\r\nAUTH PLAIN AHUAcA==\r\n", 1, 2, cancelled);
    abandon_after("QUIT\r\n", 0, 1, close);
}

static void keep_line(void *context, enum log_level level, struct slice line)
{
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(buffer_append(context, line), RESULT_OK);
}

static void test_the_trace_tells_each_change(void **state)
{
    (void)state;
    struct buffer lines = {0};
    struct log log = {.level = LOG_DEBUG, .sink = keep_line, .context = &lines};
    struct smtp_server *server = make((struct smtp_server_config){.log = &log, .session_id = SLICE("s1")}, false);
    say(server, "EHLO laptop.example\r\nQUIT\r\n");
    assert_true(slice_equal(buffer_slice(&lines), SLICE("level=debug event=smtp-server-state session=s1 from=greeting to=ready\n"
                                                        "level=debug event=smtp-server-state session=s1 from=ready to=closing\n")));
    smtp_server_free(&server);
    buffer_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_idle_session_is_small),
        cmocka_unit_test(test_unsent_output_stops_the_input),
        cmocka_unit_test(test_output_goes_in_pieces),
        cmocka_unit_test(test_bodies_are_not_copied),
        cmocka_unit_test(test_protocol_names),
        cmocka_unit_test(test_facts_are_forgotten_with_tls),
        cmocka_unit_test(test_a_refused_login_leaves_no_user),
        cmocka_unit_test(test_names_are_copied),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_a_pause_of_ours_is_not_the_clients),
        cmocka_unit_test(test_many_recipients),
        cmocka_unit_test(test_abandoned_sessions),
        cmocka_unit_test(test_the_trace_tells_each_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
