/* The server core when memory runs out at any allocation: it refuses for now (4yz) or ends the session; it never says 250 for what it
 * has not got, and leaks nothing. */
#include "smtp/sasl.h"
#include "smtp/server.h"
#include "support/oom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { OUTPUT_MAX = 16384, PIECE = 7 };

struct client {
    struct smtp_server *server;
    char output[OUTPUT_MAX]; /* of its own, so that only the core allocates */
    size_t len;
    size_t nrcpt_said; /* recipients that the client was told are fine, in this transaction */
    bool is_known;     /* it has its recipients from before, and the body's envelope names none */
    size_t body_octets;
    size_t nmessages;
    bool is_closed;
};

/* 400 octets of text, so that five of them want more than one block of the arena. */
#define TEXT_50 "12345678901234567890123456789012345678901234567890"
#define TEXT_400 TEXT_50 TEXT_50 TEXT_50 TEXT_50 TEXT_50 TEXT_50 TEXT_50 TEXT_50
#define LONG_RCPT "RCPT TO:<long@y.example> ORCPT=rfc822;" TEXT_400 "\r\n"

static const char SESSION[] = "EHLO laptop.example\r\n"
                              "AUTH PLAIN AHUAcA==\r\n"
                              "AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n"
                              "MAIL FROM:<a@x.example> ENVID=envelope SIZE=5\r\n"
                              "RCPT TO:<one@y.example>\r\nRCPT TO:<two@y.example> ORCPT=rfc822;two\r\nRCPT TO:<postmaster>\r\n"
                              "RCPT TO:<four@y.example>\r\nRCPT TO:<five@y.example>\r\nRCPT TO:<six@y.example>\r\n"
                              LONG_RCPT LONG_RCPT LONG_RCPT LONG_RCPT LONG_RCPT
                              "DATA\r\nhello\r\n..\r\n.\r\n"
                              "MAIL FROM:<refuse@x.example>\r\nRCPT TO:<one@y.example>\r\nBDAT 5\r\nabcdeBDAT 0 LAST\r\n"
                              "MAIL FROM:<a@x.example>\r\nRCPT TO:<one@y.example>\r\nBDAT 5\r\nabc\r\nBDAT 0 LAST\r\n"
                              "HELP\r\nXYZZY\r\nRSET\r\nMAIL FROM:<a@x.example>\r\nSTARTTLS\r\n";
static const char AFTER_TLS[] = "EHLO laptop.example\r\nAUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\nXDEVICE Anna's+20laptop\r\nXOUTCOME <n.0@d>\r\n"
                                "MAIL FROM:<a@x.example> TRANSID=<n.0@d>\r\nRCPT TO:<one@y.example>\r\nBDAT 4 LAST\r\nab\r\n"
                                "MAIL FROM:<a@x.example> TRANSID=<n.0@d> XWHOLE\r\nBDAT 4 LAST\r\nab\r\nQUIT\r\n";

static const struct smtp_reply SENDER_OK = {.code = 250, .status = {2, 1, 0}, .text = {"Ok", 2}};
static const struct smtp_reply RCPT_OK = {.code = 250, .status = {2, 1, 5}, .text = {"Ok", 2}};
static const struct smtp_reply STORED = {.code = 250, .status = {2, 6, 0}, .text = {"Stored", 6}};
static const struct smtp_reply FULL = {.code = 452, .status = {4, 3, 1}, .text = {"Disk full", 9}};
static const struct smtp_reply WELCOME = {.code = 235, .status = {2, 7, 0}, .text = {"Welcome", 7}};
static const struct smtp_reply DEVICE = {.code = 250, .status = {2, 0, 0}, .text = {"id token", 8}};
static const struct smtp_reply OUTCOME = {.code = 250, .status = {2, 0, 0}, .text = {"0 recipients from 0\nend", 23}};
static const struct smtp_reply LATER = {.code = 454, .status = {4, 7, 0}, .text = {"Later", 5}};

static void take_output(struct client *client)
{
    struct slice output = smtp_server_output(client->server);
    assert_true(output.len <= OUTPUT_MAX - client->len);
    if (output.len > 0)
        memcpy(client->output + client->len, output.ptr, output.len);
    struct slice fresh = slice_of(client->output + client->len, output.len);
    for (const char *at; fresh.len > 0 && (at = memmem(fresh.ptr, fresh.len, "250 2.1.5", 9));
         fresh = slice_skip(fresh, (size_t)(at - fresh.ptr) + 9))
        client->nrcpt_said++;
    client->len += output.len;
    smtp_server_sent(client->server, output.len);
}

static void answer(struct client *client, const struct smtp_reply *reply)
{
    smtp_server_answer(client->server, reply, 0);
}

static void begin_body(struct client *client, const struct smtp_server_event *event)
{
    assert_int_equal(event->envelope->nrcpt, client->is_known ? 0 : client->nrcpt_said);
    client->body_octets = 0;
    answer(client, slice_starts_with(event->envelope->sender, SLICE("refuse")) ? &FULL : &SENDER_OK);
}

static void on_event(struct client *client, const struct smtp_server_event *event)
{
    switch (event->type) {
    case SMTP_SERVER_AUTH:
        if (event->mechanism == SASL_LOGIN)
            smtp_server_challenge(client->server, SLICE("Username:"), 0);
        else
            answer(client, &LATER);
        break;
    case SMTP_SERVER_AUTH_RESPONSE:
        if (slice_equal(event->data, SLICE("user")))
            smtp_server_challenge(client->server, SLICE("Password:"), 0);
        else
            answer(client, smtp_server_set_user(client->server, SLICE("user")) == RESULT_OK ? &WELCOME : &LATER);
        break;
    case SMTP_SERVER_MAIL:
        client->nrcpt_said = 0;
        client->is_known = event->data.len > 0;
        if (event->data.len > 0)
            smtp_server_resume(client->server, !event->is_whole, false, 1000, 1, 0);
        else
            answer(client, &SENDER_OK);
        break;
    case SMTP_SERVER_RCPT: answer(client, &RCPT_OK); break;
    case SMTP_SERVER_BODY_BEGIN: begin_body(client, event); break;
    case SMTP_SERVER_BODY: client->body_octets += event->data.len; break;
    case SMTP_SERVER_BODY_END:
        assert_int_equal(client->body_octets, event->size_octets);
        client->nmessages++;
        answer(client, &STORED);
        break;
    case SMTP_SERVER_CLOSE: client->is_closed = true; break;
    case SMTP_SERVER_OUTCOME:
        assert_true(slice_equal(event->data, SLICE("<n.0@d>")));
        answer(client, &OUTCOME);
        break;
    case SMTP_SERVER_DEVICE:
        assert_true(slice_equal(event->data, SLICE("Anna's laptop")));
        answer(client, &DEVICE);
        break;
    case SMTP_SERVER_STARTTLS:
    case SMTP_SERVER_AUTH_CANCELLED:
    case SMTP_SERVER_TRANSACTION_ENDED: break;
    }
}

static void pump(struct client *client)
{
    struct smtp_server_event event;
    take_output(client);
    while (smtp_server_next(client->server, &event)) {
        on_event(client, &event);
        take_output(client);
    }
}

static void say(struct client *client, struct slice text)
{
    while (text.len > 0 && !client->is_closed) {
        struct slice piece = slice_take(text, PIECE);
        size_t used = smtp_server_feed(client->server, piece, 0);
        pump(client);
        assert_true(used > 0 || client->is_closed);
        text = slice_skip(text, used);
    }
}

static size_t count(const struct client *client, const char *what)
{
    size_t n = 0, len = strlen(what);
    for (const char *at = client->output; (at = memmem(at, client->len - (size_t)(at - client->output), what, len)); at += len)
        n++;
    return n;
}

static void scenario(void *context)
{
    (void)context;
    const struct smtp_server_config config = {.hostname = SLICE("relay.example"),
                                              .auth_mechanisms = SASL_PLAIN | SASL_LOGIN,
                                              .allows_auth_without_tls = true,
                                              .offers_starttls = true,
                                              .offers_device = true,
                                              .offers_pipeconnect = true,
                                              .offers_checkpoint = true,
                                              .outcome = "3f9c 691200",
                                              .ways = "465/tls",
                                              .errors_max = 100};
    struct client client = {.server = smtp_server_new(&config, false, false, 0)};
    if (!client.server) {
        assert_true(oom_has_failed());
        return;
    }
    pump(&client);
    say(&client, slice_from_cstr(SESSION));
    if (!client.is_closed) {
        smtp_server_tls_started(client.server, false, 0);
        say(&client, slice_from_cstr(AFTER_TLS));
    }
    assert_true(client.is_closed);
    /* "Stored" is said for each message that was passed on whole, unless there was no memory to say it; never otherwise. */
    assert_true(count(&client, "250 2.6.0 Stored") <= client.nmessages);
    if (!oom_has_failed()) {
        assert_int_equal(client.nmessages, 4);
        assert_int_equal(count(&client, "250 2.6.0 Stored"), 4);
        assert_int_equal(count(&client, "355 1000 octets are here already\r\n"), 1);
        assert_int_equal(count(&client, "250-2.0.0 0 recipients from 0\r\n250 2.0.0 end\r\n"), 1);
        assert_int_equal(count(&client, "452 4.3.1 Disk full"), 1);
        assert_int_equal(count(&client, "250 2.0.0 id token"), 1);
        assert_int_equal(count(&client, "221 2.0.0"), 1);
    }
    smtp_server_free(&client.server);
}

static void test_any_allocation_may_fail(void **state)
{
    (void)state;
    size_t n = oom_loop(2000, scenario, NULL);
    print_message("%zu allocations\n", n);
    assert_true(n > 50);
}

/* Words for the end that there is no memory to keep: the usual ones are said. */
static void shut_scenario(void *context)
{
    (void)context;
    const struct smtp_server_config config = {.hostname = SLICE("relay.example")};
    struct client client = {.server = smtp_server_new(&config, false, false, 0)};
    if (!client.server)
        return;
    pump(&client);
    smtp_server_shut(client.server, &SMTP_REPLY(421, 4, 7, 0, "Enough"));
    pump(&client);
    assert_true(client.is_closed);
    assert_true(oom_has_failed() || count(&client, "421 4.7.0 Enough") == 1);
    smtp_server_free(&client.server);
}

static void test_shut_needs_no_memory(void **state)
{
    (void)state;
    assert_true(oom_loop(100, shut_scenario, NULL) > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_allocation_may_fail),
        cmocka_unit_test(test_shut_needs_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
