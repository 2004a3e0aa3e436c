/* The client core when memory runs out: a session fails as SMTP_FAIL_MEMORY, never claims a message that did not leave whole, and leaks nothing. */
#include "crypto/crypto.h"
#include "smtp/client.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct sasl_binding BINDING = {SLICE("tls-exporter"), SLICE("0123456789abcdef")};
static struct envelope_recipient recipients[] = {{.address = SLICE("a@x.example")}, {.address = SLICE("b@x.example")}};
static const struct envelope envelope = {.sender = SLICE("me@x.example"), .recipients = recipients, .nrcpt = 2};
static char body[6000];

struct scenario {
    const char *extensions; /* of the EHLO inside TLS */
    bool has_chunking;
};

struct session {
    struct smtp_client *client;
    char said[16384];
    size_t nsaid;
    bool is_sent, is_accepted, is_over;
    bool wants_device, has_device;
    struct slice transid; /* asks first; and afterwards what became of it */
    bool has_asked, has_outcome;
};

static void on_event(struct session *s, const struct smtp_client_event *event)
{
    struct smtp_transaction transaction = {.envelope = &envelope, .size_octets = sizeof body, .transid = s->transid, .asks_first = true};
    switch (event->type) {
    case SMTP_CLIENT_OUTCOME: s->has_outcome = event->reply->code == 250; break;
    case SMTP_CLIENT_RESUMED: assert_int_equal(event->offset, 3000); break;
    case SMTP_CLIENT_PROVEN: smtp_client_login(s->client, 0); break;
    case SMTP_CLIENT_READY:
        if (s->wants_device && !s->has_device) {
            smtp_client_ask_device(s->client, SLICE("Anna's laptop"), 0);
            break;
        }
        if (s->is_sent && s->transid.len > 0 && !s->has_asked) {
            s->has_asked = true;
            smtp_client_ask_outcomes(s->client, &(struct smtp_outcome_question){.transid = s->transid}, 1, 0);
            break;
        }
        if (s->is_sent)
            smtp_client_quit(s->client, 0);
        else
            smtp_client_send(s->client, &transaction, 0);
        s->is_sent = true;
        break;
    case SMTP_CLIENT_DEVICE: s->has_device = event->device.len == 2 && event->token.len == SASL_TOKEN; break;
    case SMTP_CLIENT_BODY_WANTED: smtp_client_body(s->client, slice_skip(slice_of(body, sizeof body), (size_t)event->offset), true, 0); break;
    case SMTP_CLIENT_SENT: s->is_accepted = event->sent == SMTP_SENT_ACCEPTED; break;
    case SMTP_CLIENT_FAILED:
        assert_int_equal(event->failure, SMTP_FAIL_MEMORY);
        assert_true(oom_has_failed());
        s->is_over = true;
        break;
    case SMTP_CLIENT_CLOSED: s->is_over = true; break;
    case SMTP_CLIENT_STARTTLS:
    case SMTP_CLIENT_RECIPIENT: break;
    }
}

static void serve(struct session *s, const char *octets)
{
    struct smtp_client_event event;
    smtp_client_feed(s->client, slice_from_cstr(octets), 0);
    while (smtp_client_next(s->client, &event))
        on_event(s, &event);
    struct slice out = smtp_client_output(s->client);
    assert_true(out.len <= sizeof s->said - s->nsaid);
    if (out.len > 0)
        memcpy(s->said + s->nsaid, out.ptr, out.len);
    s->nsaid += out.len;
    smtp_client_sent(s->client, out.len, 0);
}

static void talk(struct session *s, const struct scenario *scenario)
{
    serve(s, "220 mx\r\n");
    serve(s, "250-mx\r\n250 STARTTLS\r\n");
    serve(s, "220 go\r\n");
    enum result started = smtp_client_tls_started(s->client, &BINDING, 1, 0);
    if (started != RESULT_OK) {
        assert_int_equal(started, RESULT_MEMORY);
        assert_true(oom_has_failed());
        s->is_over = true;
        return;
    }
    serve(s, "");
    serve(s, scenario->extensions);
    serve(s, "235 welcome\r\n");
    serve(s, scenario->has_chunking ? "250 ok\r\n250 a\r\n550 5.1.1 b\r\n250 queued\r\n" : "250 ok\r\n250 a\r\n550 5.1.1 b\r\n354 go\r\n");
    serve(s, scenario->has_chunking ? "221 bye\r\n" : "250 queued\r\n");
    serve(s, scenario->has_chunking ? "" : "221 bye\r\n");
}

static void run(void *context)
{
    static const struct smtp_client_config config = {
        .ehlo_name = SLICE("laptop"), .security = SMTP_SECURITY_STARTTLS, .user = SLICE("tim"), .password = SLICE("secret")};
    struct session s = {.client = smtp_client_new(&config, 0)};
    if (!s.client) {
        assert_true(oom_has_failed());
        return;
    }
    talk(&s, context);
    assert_true(s.is_over);
    if (s.is_accepted)
        assert_non_null(memmem(s.said, s.nsaid, body, sizeof body));
    else
        assert_true(oom_has_failed());
    smtp_client_free(&s.client);
}

/* ---- inside TLS from the start: early, or asking for a token ---- */

static const struct smtp_peer known = {
    .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_PIPECONNECT | SMTP_CAP_AUTH,
    .mechanisms = SASL_HT_SHA_256_EXPR,
    .name = SLICE("relay.example"),
    .ways = SLICE("465/tls 587/starttls"),
};

static bool start_tls(struct session *s)
{
    if (smtp_client_tls_started(s->client, &BINDING, 1, 0) == RESULT_OK)
        return true;
    assert_true(oom_has_failed());
    s->is_over = true;
    return false;
}

static void talk_early(struct session *s)
{
    serve(s, "");
    serve(s, "220 relay\r\n250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-XWAYS 465/tls\r\n250 AUTH HT-SHA-256-EXPR\r\n");
    serve(s, "235 2.7.0 Yra01B3v/IFlL6K9AJHOY3S6nSVgLDz8o5sJki/wJY4=\r\n250 ok\r\n250 a\r\n550 5.1.1 b\r\n250 queued\r\n");
    serve(s, "221 bye\r\n");
}

/* It goes on in the middle, and asks what became of it. */
static void talk_resumed(struct session *s)
{
    serve(s, "");
    serve(s, "220 relay\r\n250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-CHECKPOINT\r\n250-XOUTCOME abd 10\r\n250 AUTH HT-SHA-256-EXPR\r\n");
    serve(s, "235 2.7.0 Yra01B3v/IFlL6K9AJHOY3S6nSVgLDz8o5sJki/wJY4=\r\n355 3000\r\n");
    serve(s, "250 a\r\n550 5.1.1 b\r\n250 queued\r\n");
    serve(s, "250-2.0.0 0 recipients from 0\r\n250 2.0.0 end\r\n");
    serve(s, "221 bye\r\n");
}

static void run_resumed(void *context)
{
    static const struct smtp_peer names = {
        .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_PIPECONNECT | SMTP_CAP_AUTH | SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME,
        .mechanisms = SASL_HT_SHA_256_EXPR,
        .epoch = SLICE("abc"),
        .outcome_s = 10,
    };
    const struct smtp_client_config config = {
        .security = SMTP_SECURITY_TLS, .speaks_first = true, .device = SLICE("d1"), .token = SLICE("0123456789abcdef0123456789abcdef"), .early = &names};
    struct session s = {.client = smtp_client_new(&config, 0), .transid = SLICE("<1@a>")};
    (void)context;
    if (!s.client) {
        assert_true(oom_has_failed());
        return;
    }
    if (start_tls(&s))
        talk_resumed(&s);
    assert_true(s.is_over);
    assert_true(oom_has_failed() || (s.is_accepted && s.has_outcome));
    assert_true(!s.is_accepted || memmem(s.said, s.nsaid, body + 3000, sizeof body - 3000) != NULL);
    assert_null(memmem(s.said, s.nsaid, body, sizeof body));
    smtp_client_free(&s.client);
}

static void talk_device(struct session *s)
{
    serve(s, "220 relay\r\n");
    serve(s, "250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-XDEVICE\r\n250 AUTH HT-SHA-256-EXPR PLAIN\r\n");
    serve(s, "535 5.7.8 no\r\n");
    serve(s, "235 2.7.0 welcome\r\n");
    serve(s, "250 2.0.0 d2 MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\r\n");
    serve(s, "250 ok\r\n250 a\r\n550 5.1.1 b\r\n250 queued\r\n");
    serve(s, "221 bye\r\n");
}

static void run_tls(void *context)
{
    struct smtp_client_config config = {.security = SMTP_SECURITY_TLS, .speaks_first = true, .device = SLICE("d1"), .token = SLICE("0123456789abcdef0123456789abcdef")};
    bool is_early = context != NULL;
    if (is_early)
        config.early = &known;
    else
        config.user = config.password = SLICE("tim");
    struct session s = {.client = smtp_client_new(&config, 0), .wants_device = !is_early};
    if (!s.client) {
        assert_true(oom_has_failed());
        return;
    }
    if (start_tls(&s))
        is_early ? talk_early(&s) : talk_device(&s);
    assert_true(s.is_over);
    assert_true(oom_has_failed() || (s.is_accepted && s.has_device == s.wants_device));
    assert_true(!s.is_accepted || memmem(s.said, s.nsaid, body, sizeof body) != NULL);
    smtp_client_free(&s.client);
}

static void memory_may_end_in_one_flight_too(void **state)
{
    (void)state;
    assert_true(oom_loop(200, run_tls, (void *)(uintptr_t)&known) > 5);
    assert_true(oom_loop(200, run_tls, NULL) > 5);
}

static void memory_may_end_in_the_middle_of_a_message(void **state)
{
    (void)state;
    assert_true(oom_loop(200, run_resumed, NULL) > 5);
}

static void memory_may_end_at_any_point(void **state)
{
    static const struct scenario scenarios[] = {
        {"250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n", false},
        {"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 AUTH PLAIN\r\n", true},
    };
    (void)state;
    assert_int_equal(crypto_init(), RESULT_OK);
    for (size_t i = 0; i + 3 <= sizeof body; i += 3)
        memcpy(body + i, "x\r\n", 3);
    for (size_t i = 0; i < 2; i++)
        assert_true(oom_loop(200, run, (void *)(uintptr_t)&scenarios[i]) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_may_end_at_any_point),
        cmocka_unit_test(memory_may_end_in_one_flight_too),
        cmocka_unit_test(memory_may_end_in_the_middle_of_a_message),
    };
    return cmocka_run_group_tests_name("client core without memory", tests, NULL, NULL);
}
