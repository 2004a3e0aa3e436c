/* The client's driver against servers that play by a script, good and bad. */
#include "support/certificates.h"
#include "support/netloop.h"

#include "net/outbound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64], why[256];
static struct tls_context *server_tls, *foreign_tls, *client_tls;

static struct tls_context *make_server(const char *name)
{
    char key[96], certificate[96];
    struct tls_context *context;
    snprintf(key, sizeof key, "%s/%s.key", folder, name);
    snprintf(certificate, sizeof certificate, "%s/%s.pem", folder, name);
    assert_int_equal(tls_make_identity(key, certificate, "relay.example", why, sizeof why), RESULT_OK);
    struct tls_server_config config = {.certificate_file = certificate, .key_file = key};
    assert_int_equal(tls_context_server(&context, &config, why, sizeof why), RESULT_OK);
    return context;
}

static int make_identities(void **state)
{
    (void)state;
    certificates_folder_make(folder);
    server_tls = make_server("good");
    foreign_tls = make_server("foreign");
    struct tls_client_config client = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    tls_context_pin(server_tls, client.pins[0]);
    assert_int_equal(tls_context_client(&client_tls, &client, why, sizeof why), RESULT_OK);
    return 0;
}

static int drop_identities(void **state)
{
    (void)state;
    tls_context_unref(&client_tls);
    tls_context_unref(&foreign_tls);
    tls_context_unref(&server_tls);
    certificates_folder_remove(folder);
    return 0;
}

/* ---- one conversation: the server is a stream that we move by hand ---- */

struct talk {
    struct netloop net;
    int listener;
    struct outbound_target target;
    struct outbound *outbound; /* NULL after CLOSED */
    struct net_end server;
    char story[512];           /* "CONNECTED PROVEN READY " */
    struct outbound_failure failure;
    char failure_words[OUTBOUND_WORDS], phase[32];
    struct smtp_transaction transaction;
    struct envelope envelope;
    struct envelope_recipient recipient;
    struct slice body;         /* what BODY_WANTED is answered with */
    size_t body_left, bodies;
    enum smtp_sent sent;
    bool logs_in, sends, quits_when_sent, closes_when_proven;
};

static void say(struct talk *talk, const char *word)
{
    size_t len = strlen(talk->story);
    snprintf(talk->story + len, sizeof talk->story - len, "%s ", word);
}

static void on_smtp(struct talk *talk, const struct smtp_client_event *event)
{
    static const char *const names[] = {"STARTTLS", "PROVEN", "READY", "DEVICE", "OUTCOME", "RESUMED", "RECIPIENT", "BODY", "SENT", "FAILED", "QUITTED"};
    struct smtp_client *core = outbound_core(talk->outbound);
    int64_t now = loop_now_ms(&talk->net.loop);
    if (event->type != SMTP_CLIENT_BODY_WANTED || talk->bodies++ == 0)
        say(talk, names[event->type]);
    if (event->type == SMTP_CLIENT_PROVEN && talk->closes_when_proven)
        outbound_close(talk->outbound);
    else if (event->type == SMTP_CLIENT_PROVEN && talk->logs_in)
        smtp_client_login(core, now);
    if (event->type == SMTP_CLIENT_READY && talk->sends) {
        talk->sends = false;
        talk->envelope = (struct envelope){.sender = SLICE("a@x.example"), .recipients = &talk->recipient, .nrcpt = 1};
        talk->recipient = (struct envelope_recipient){.address = SLICE("b@y.example")};
        talk->transaction = (struct smtp_transaction){.envelope = &talk->envelope, .size_octets = talk->body_left};
        smtp_client_send(core, &talk->transaction, now);
    }
    if (event->type == SMTP_CLIENT_BODY_WANTED) {
        struct slice piece = slice_take(talk->body, talk->body_left);
        talk->body_left -= piece.len;
        smtp_client_body(core, piece, talk->body_left == 0, now);
    }
    if (event->type == SMTP_CLIENT_SENT) {
        talk->sent = event->sent;
        if (talk->quits_when_sent)
            outbound_quit(talk->outbound);
    }
}

static void on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct talk *talk = context;
    assert_ptr_equal(outbound, talk->outbound);
    switch (event->type) {
    case OUTBOUND_CONNECTED:
        say(talk, "CONNECTED");
        break;
    case OUTBOUND_SMTP:
        on_smtp(talk, &event->smtp);
        break;
    case OUTBOUND_FAILED:
        say(talk, "FAILED");
        talk->failure = *event->failure;
        snprintf(talk->failure_words, sizeof talk->failure_words, "%s", event->failure->words);
        snprintf(talk->phase, sizeof talk->phase, "%s", event->failure->phase);
        outbound_pump(outbound); /* may be called, does nothing */
        break;
    case OUTBOUND_CLOSED:
        say(talk, "CLOSED");
        talk->outbound = NULL;
        break;
    }
}

static void talk_open(struct talk *talk, enum smtp_security security)
{
    *talk = (struct talk){.logs_in = true};
    netloop_open(&talk->net);
    talk->server.got = BUFFER(64 * 1024 * 1024);
    talk->server.closes_at_end = true;
    talk->listener = netloop_listen(&talk->target.address);
    talk->target.tls = security == SMTP_SECURITY_NONE ? NULL : client_tls;
    talk->target.server_name = "relay.example";
    talk->target.smtp = (struct smtp_client_config){.security = security, .ehlo_name = SLICE("agent.example")};
    if (security == SMTP_SECURITY_STARTTLS)
        talk->target.smtp.ehlo_name_cleartext = SLICE("localhost");
    talk->target.linger_ms = 200;
}

static void talk_dial(struct talk *talk)
{
    assert_int_equal(outbound_open(&talk->outbound, &talk->net.loop, &talk->target, (struct outbound_handler){on_event, talk}, NULL), RESULT_OK);
    assert_string_equal(talk->story, "");
}

static void talk_accept(struct talk *talk, struct tls_context *tls)
{
    talk_dial(talk);
    NET_UNTIL(&talk->net, strstr(talk->story, "CONNECTED "));
    int fd = accept(talk->listener, NULL, NULL);
    assert_int_equal(stream_accept(&talk->server.stream, &talk->net.loop, fd, net_end_owner(&talk->server), NULL), RESULT_OK);
    if (tls)
        assert_int_equal(stream_start_tls(talk->server.stream, tls, NULL, false), RESULT_OK);
}

static void expect(struct talk *talk, const char *text)
{
    NET_UNTIL(&talk->net, buffer_len(&talk->server.got) >= strlen(text));
    if (!slice_equal(buffer_slice(&talk->server.got), slice_from_cstr(text)))
        fail_msg("expected \"%s\", not \"%.*s\"", text, SLICE_ARG(buffer_slice(&talk->server.got)));
    buffer_clear(&talk->server.got);
}

static void talk_finish(struct talk *talk, const char *story)
{
    NET_UNTIL(&talk->net, talk->outbound == NULL);
    if (strcmp(talk->story, story) != 0)
        fail_msg("story: %s(%s)\n  instead of %s", talk->story, talk->failure_words, story);
    if (talk->server.stream)
        stream_close(talk->server.stream);
    NET_UNTIL(&talk->net, talk->server.stream == NULL);
    buffer_free(&talk->server.got);
    close(talk->listener);
    netloop_close(&talk->net);
}

static void talk_expect_failure(struct talk *talk, enum path_verdict verdict, const char *phase, const char *words)
{
    NET_UNTIL(&talk->net, strstr(talk->story, "FAILED "));
    assert_string_equal(path_verdict_name(talk->failure.verdict), path_verdict_name(verdict));
    assert_string_equal(talk->phase, phase);
    if (!strstr(talk->failure_words, words))
        fail_msg("\"%s\" in \"%s\"?", words, talk->failure_words);
}

/* ---- right ways ---- */

static void converse(struct talk *talk)
{
    net_end_write(&talk->server, "220 relay.example ESMTP\r\n");
    expect(talk, "EHLO agent.example\r\n");
    net_end_write(&talk->server, "250-relay.example\r\n250 PIPELINING\r\n");
    expect(talk, "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n");
    net_end_write(&talk->server, "250 ok\r\n250 ok\r\n354 go\r\n");
    expect(talk, "hello\r\n.\r\n");
    net_end_write(&talk->server, "250 2.0.0 taken\r\n");
    expect(talk, "QUIT\r\n");
    net_end_write(&talk->server, "221 bye\r\n");
    stream_finish(talk->server.stream, 1000);
    assert_int_equal(talk->sent, SMTP_SENT_ACCEPTED);
}

static void talk_about(struct talk *talk, const char *text)
{
    talk->sends = talk->quits_when_sent = true;
    talk->body = slice_from_cstr(text);
    talk->body_left = talk->body.len;
}

static void test_clear(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_NONE);
    talk_about(&talk, "hello\r\n");
    talk_accept(&talk, NULL);
    assert_true(strncmp(outbound_peer(talk.outbound), "127.0.0.1:", 10) == 0);
    assert_int_equal(outbound_id(talk.outbound)[0], 'o');
    converse(&talk);
    talk_finish(&talk, "CONNECTED PROVEN READY RECIPIENT BODY SENT CLOSED ");
}

static void test_tls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk_about(&talk, "hello\r\n");
    talk_accept(&talk, server_tls);
    NET_UNTIL(&talk.net, talk.server.told[STREAM_SECURED] == 1);
    converse(&talk);
    talk_finish(&talk, "CONNECTED PROVEN READY RECIPIENT BODY SENT CLOSED ");
}

static void test_starttls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_STARTTLS);
    talk.closes_when_proven = true;
    talk_accept(&talk, NULL);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, "EHLO localhost\r\n"); /* the name is told inside TLS only */
    net_end_write(&talk.server, "250-relay.example\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n");
    expect(&talk, "STARTTLS\r\n");
    net_end_write(&talk.server, "220 go\r\n");
    assert_int_equal(stream_start_tls(talk.server.stream, server_tls, NULL, false), RESULT_OK);
    expect(&talk, "EHLO agent.example\r\n");
    assert_true(outbound_tls(talk.outbound)->is_verified);
    net_end_write(&talk.server, "250 relay.example\r\n");
    talk_finish(&talk, "CONNECTED PROVEN CLOSED ");
    assert_int_equal(talk.server.told[STREAM_EOF], 1); /* a loser of the race ends orderly */
    assert_int_equal(talk.server.told[STREAM_FAILED], 0);
}

/* Held at CONNECTED: not an octet is said until outbound_proceed; a banner that came meanwhile waits. */
static void test_hold(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_NONE);
    talk.target.hold_at_connect = true;
    talk.logs_in = false;
    talk_accept(&talk, NULL);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    for (int i = 0; i < 20; i++)
        uv_run(&talk.net.loop, UV_RUN_NOWAIT);
    assert_null(outbound_core(talk.outbound));
    assert_int_equal(buffer_len(&talk.server.got), 0);
    outbound_proceed(talk.outbound);
    assert_string_equal(talk.story, "CONNECTED ");
    expect(&talk, "EHLO agent.example\r\n");
    net_end_write(&talk.server, "250 relay.example\r\n");
    NET_UNTIL(&talk.net, strstr(talk.story, "PROVEN "));
    outbound_quit(talk.outbound);
    expect(&talk, "QUIT\r\n");
    net_end_write(&talk.server, "221 bye\r\n");
    talk_finish(&talk, "CONNECTED PROVEN CLOSED ");
}

static void test_close_while_held(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk.target.hold_at_connect = true;
    talk_accept(&talk, NULL);
    outbound_close(talk.outbound);
    outbound_proceed(talk.outbound); /* too late */
    talk_finish(&talk, "CONNECTED CLOSED ");
    assert_int_equal(talk.server.told[STREAM_EOF], 1);
    assert_int_equal(buffer_len(&talk.server.got), 0);
}

/* A portal says its page and ends before anybody gave it the word; a server has no patience with a path that is kept in reserve. */
static void end_while_held(enum smtp_security security, const char *words, enum path_verdict verdict, const char *phase, const char *told)
{
    struct talk talk;
    talk_open(&talk, security);
    talk.target.hold_at_connect = true;
    talk_accept(&talk, NULL);
    if (words[0])
        net_end_write(&talk.server, words);
    stream_finish(talk.server.stream, 1000);
    talk_expect_failure(&talk, verdict, phase, told);
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

static void test_end_while_held(void **state)
{
    (void)state;
    end_while_held(SMTP_SECURITY_STARTTLS, "HTTP/1.0 302 Found\r\n\r\n", PATH_HTTP, "greeting", "speaks HTTP");
    end_while_held(SMTP_SECURITY_STARTTLS, "SSH-2.0-dropbear\r\n", PATH_FOREIGN_BANNER, "greeting", "does not speak SMTP");
    end_while_held(SMTP_SECURITY_TLS, "HTTP/1.0 302 Found\r\n\r\n", PATH_HTTP, "connect", "");
    end_while_held(SMTP_SECURITY_TLS, "", PATH_DIED_EARLY, "connect", "the other side ended the connection (connect, after 0 octets and 0.");
}

static void expect_stall(const struct talk *talk, enum path_verdict verdict, const char *words)
{
    const struct outbound_failure *stall = outbound_stall(talk->outbound);
    assert_non_null(stall);
    assert_int_equal(stall->verdict, verdict);
    assert_non_null(strstr(stall->words, words));
}

/* Whoever gives a connection up learns what to blame. */
static void test_stall(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_STARTTLS);
    talk.target.hold_at_connect = true;
    talk_dial(&talk);
    expect_stall(&talk, PATH_DROPPED, "no answer to the attempt to connect");
    NET_UNTIL(&talk.net, talk.story[0]);
    assert_null(outbound_stall(talk.outbound)); /* nobody has asked it anything */
    outbound_proceed(talk.outbound);
    NET_UNTIL(&talk.net, outbound_stall(talk.outbound));
    expect_stall(&talk, PATH_DROPPED, "nothing says a word");
    outbound_close(talk.outbound);
    assert_null(outbound_stall(talk.outbound));
    talk_finish(&talk, "CONNECTED CLOSED ");
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk_accept(&talk, NULL);
    NET_UNTIL(&talk.net, buffer_len(&talk.server.got) > 0);
    expect_stall(&talk, PATH_TLS_FAILED, "cut off after the first message");
    outbound_close(talk.outbound);
    talk_finish(&talk, "CONNECTED CLOSED ");
}

static void test_close_while_connecting(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk_dial(&talk);
    outbound_close(talk.outbound);
    outbound_close(talk.outbound);
    talk_finish(&talk, "CLOSED ");
}

/* A large body: asked for only while the connection keeps up. */
static void test_large_body(void **state)
{
    enum { TOTAL = 10 * 1000 * 1000 };
    struct talk talk;
    char *piece = malloc(SMTP_CLIENT_CHUNK_MAX);
    (void)state;
    for (size_t i = 0; i < SMTP_CLIENT_CHUNK_MAX; i++)
        piece[i] = i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'x';
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk.sends = talk.quits_when_sent = true;
    talk.body = slice_of(piece, SMTP_CLIENT_CHUNK_MAX);
    talk.body_left = TOTAL / 64 * 64;
    talk_accept(&talk, server_tls);
    NET_UNTIL(&talk.net, talk.server.told[STREAM_SECURED] == 1);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, "EHLO agent.example\r\n");
    net_end_write(&talk.server, "250-relay.example\r\n250 PIPELINING\r\n");
    expect(&talk, "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n");
    stream_pause(talk.server.stream);
    net_end_write(&talk.server, "250 ok\r\n250 ok\r\n354 go\r\n");
    NET_UNTIL(&talk.net, strstr(talk.story, "BODY "));
    size_t bodies;
    do { /* until the kernel's buffers are full and nothing moves */
        bodies = talk.bodies;
        for (int i = 0; i < 50; i++)
            uv_run(&talk.net.loop, UV_RUN_NOWAIT);
    } while (talk.bodies > bodies);
    assert_true(talk.body_left > 0);
    stream_resume(talk.server.stream);
    NET_UNTIL(&talk.net, buffer_len(&talk.server.got) == TOTAL / 64 * 64 + 3);
    net_end_write(&talk.server, "250 2.0.0 taken\r\n");
    NET_UNTIL(&talk.net, strstr(talk.story, "SENT "));
    assert_int_equal(talk.sent, SMTP_SENT_ACCEPTED);
    net_end_write(&talk.server, "221 bye\r\n");
    talk_finish(&talk, "CONNECTED PROVEN READY RECIPIENT BODY SENT CLOSED ");
    free(piece);
}

/* ---- what goes wrong on the way ---- */

static void test_refused(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    close(talk.listener);
    talk.listener = -1;
    talk_dial(&talk);
    talk_expect_failure(&talk, PATH_REFUSED, "connect", "connection refused");
    assert_false(talk.failure.is_permanent);
    talk_finish(&talk, "FAILED CLOSED ");
}

/* A full backlog drops SYNs, as a silent firewall does. */
static void test_dropped(void **state)
{
    struct talk talk;
    int fillers[4];
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    listen(talk.listener, 0);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&talk.target.address, sizeof(struct sockaddr_in));
    }
    talk.target.connect_timeout_ms = 40;
    talk_dial(&talk);
    talk_expect_failure(&talk, PATH_DROPPED, "connect", "no answer");
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    talk_finish(&talk, "FAILED CLOSED ");
}

static bool accepts_nothing(const void *context, const struct sockaddr *address)
{
    assert_string_equal(context, "a policy");
    assert_int_equal(address->sa_family, AF_INET);
    return false;
}

static void test_address_policy(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_NONE);
    talk.target.accepts_address = accepts_nothing;
    talk.target.accepts_context = "a policy";
    talk_dial(&talk);
    talk_expect_failure(&talk, PATH_UNREACHABLE, "connect", "127.0.0.1:");
    assert_true(talk.failure.is_permanent);
    talk_finish(&talk, "FAILED CLOSED ");
}

static void test_wrong_key(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk_accept(&talk, foreign_tls);
    talk_expect_failure(&talk, PATH_WRONG_CERTIFICATE, "TLS handshake", "another key: sha256//");
    assert_int_equal(talk.failure.tls, TLS_FAIL_WRONG_KEY);
    assert_string_equal(talk.failure.whose, "relay.example, issued by itself");
    assert_non_null(strstr(talk.failure_words, "the certificate of relay.example, issued by itself, has another key: sha256//"));
    assert_true(talk.failure.is_permanent);
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
    assert_int_equal(talk.server.told[STREAM_SECURED] + talk.server.told[STREAM_DATA], 0);
}

/* A port that speaks something else, whether before we do or after. */
static void speak_foreign(const char *banner, bool holds, enum path_verdict verdict)
{
    struct talk talk;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk.target.hold_at_connect = holds;
    talk_accept(&talk, NULL);
    net_end_write(&talk.server, banner);
    if (holds) {
        NET_UNTIL(&talk.net, stream_pending(talk.server.stream) == 0);
        for (int i = 0; i < 20; i++)
            uv_run(&talk.net.loop, UV_RUN_NOWAIT);
        outbound_proceed(talk.outbound);
    }
    talk_expect_failure(&talk, verdict, "TLS handshake", "does not speak TLS");
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

static void test_foreign(void **state)
{
    (void)state;
    speak_foreign("220 mail.hotel.example ESMTP\r\n", false, PATH_FOREIGN_BANNER);
    speak_foreign("220 mail.hotel.example ESMTP\r\n", true, PATH_FOREIGN_BANNER);
    speak_foreign("HTTP/1.1 400 Bad Request\r\n\r\n", false, PATH_HTTP);
    speak_foreign("<html>", true, PATH_HTTP);
}

static void test_silent_tls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk.target.handshake_timeout_ms = 40;
    talk_accept(&talk, NULL);
    talk_expect_failure(&talk, PATH_TLS_FAILED, "TLS handshake", "TLS is cut off after the first message: nothing comes back");
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

/* Half a record of TLS, and then nothing more: not after the first message. */
static void test_stuck_tls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk.target.handshake_timeout_ms = 40;
    talk_accept(&talk, NULL);
    net_end_write(&talk.server, "\x16\x03\x03");
    talk_expect_failure(&talk, PATH_TLS_FAILED, "TLS handshake", "the TLS handshake does not come to an end");
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

/* The silence after STARTTLS is the same, though SMTP was heard before. */
static void test_silent_after_starttls(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_STARTTLS);
    talk.target.handshake_timeout_ms = 40;
    talk_accept(&talk, NULL);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, "EHLO localhost\r\n");
    net_end_write(&talk.server, "250-relay.example\r\n250 STARTTLS\r\n");
    expect(&talk, "STARTTLS\r\n");
    net_end_write(&talk.server, "220 go\r\n");
    talk_expect_failure(&talk, PATH_TLS_FAILED, "TLS handshake", "TLS is cut off after the first message: nothing comes back");
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

static void test_cut_handshake(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk_accept(&talk, NULL);
    NET_UNTIL(&talk.net, buffer_len(&talk.server.got) > 0); /* the ClientHello */
    stream_close(talk.server.stream);
    talk_expect_failure(&talk, PATH_TLS_FAILED, "TLS handshake", "TLS is cut off after the first message: the connection is closed, on the way or because the relay is stopped");
    assert_int_equal(talk.failure.tls, TLS_FAIL_CLOSED);
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

/* ---- what goes wrong in SMTP ---- */

static void refuse_starttls(const char *ehlo_reply, const char *starttls_reply, enum path_verdict verdict, enum smtp_failure failure, const char *words)
{
    struct talk talk;
    talk_open(&talk, SMTP_SECURITY_STARTTLS);
    talk_accept(&talk, NULL);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, "EHLO localhost\r\n");
    net_end_write(&talk.server, ehlo_reply);
    if (starttls_reply) {
        expect(&talk, "STARTTLS\r\n");
        net_end_write(&talk.server, starttls_reply);
    }
    talk_expect_failure(&talk, verdict, starttls_reply ? talk.phase : "EHLO", words);
    assert_string_equal(smtp_failure_name(talk.failure.smtp), smtp_failure_name(failure));
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

static void test_starttls_refused(void **state)
{
    (void)state;
    refuse_starttls("250 relay.example\r\n", NULL, PATH_STARTTLS_MISSING, SMTP_FAIL_STARTTLS_MISSING, "STARTTLS is not offered");
    refuse_starttls("250-relay.example\r\n250 XXXXXXXX\r\n", NULL, PATH_STARTTLS_MISSING, SMTP_FAIL_STARTTLS_MASKED, "STARTTLS has been masked");
    refuse_starttls("250-relay.example\r\n250 STARTTLS\r\n", "454 4.7.0 no\r\n", PATH_STARTTLS_MISSING, SMTP_FAIL_STARTTLS_REFUSED, "STARTTLS is offered, then refused: 454 4.7.0 no");
    refuse_starttls("250-relay.example\r\n250 STARTTLS\r\n", "220 go\r\n250-relay.example\r\n250 AUTH PLAIN\r\n", PATH_FOREIGN_BANNER, SMTP_FAIL_INJECTED, "behind the answer to STARTTLS");
}

/* The last words before the end count, though the connection was reset behind them. */
static void test_last_words(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_NONE);
    talk_accept(&talk, NULL);
    net_end_write(&talk.server, "421 4.3.2 too many sessions\r\n");
    NET_UNTIL(&talk.net, stream_pending(talk.server.stream) == 0);
    stream_close(talk.server.stream);
    talk_expect_failure(&talk, PATH_RELAY_REFUSED, "greeting", "421 4.3.2 too many sessions");
    assert_int_equal(talk.failure.reply.code, 421);
    assert_int_equal(talk.failure.smtp, SMTP_FAIL_GREETING);
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

/* The final dot has gone, and then the connection: nobody knows. */
static void test_uncertain(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk_about(&talk, "hello\r\n");
    talk_accept(&talk, server_tls);
    NET_UNTIL(&talk.net, talk.server.told[STREAM_SECURED] == 1);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, "EHLO agent.example\r\n");
    net_end_write(&talk.server, "250-relay.example\r\n250 PIPELINING\r\n");
    expect(&talk, "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n");
    net_end_write(&talk.server, "250 ok\r\n250 ok\r\n354 go\r\n");
    expect(&talk, "hello\r\n.\r\n");
    stream_close(talk.server.stream); /* without close_notify */
    talk_expect_failure(&talk, PATH_DIED_EARLY, "end of data", "close_notify");
    assert_non_null(strstr(talk.failure_words, "(end of data)")); /* the session's octets are not the message's */
    assert_true(talk.failure.is_uncertain);
    assert_int_equal(talk.failure.smtp, SMTP_FAIL_EOF);
    assert_int_equal(talk.failure.tls, TLS_FAIL_CLOSED);
    talk_finish(&talk, "CONNECTED PROVEN READY RECIPIENT BODY FAILED CLOSED ");
}

static void test_silent_server(void **state)
{
    struct talk talk;
    (void)state;
    talk_open(&talk, SMTP_SECURITY_NONE);
    talk.target.smtp.greeting_timeout_ms = 40;
    talk_accept(&talk, NULL);
    talk_expect_failure(&talk, PATH_DROPPED, "greeting", "does not answer");
    assert_int_equal(talk.failure.smtp, SMTP_FAIL_TIMEOUT);
    talk_finish(&talk, "CONNECTED FAILED CLOSED ");
}

static void test_wrong_password(void **state)
{
    struct talk talk;
    char secret[] = "secret";
    (void)state;
    talk_open(&talk, SMTP_SECURITY_TLS);
    talk.target.smtp.user = SLICE("alice");
    talk.target.smtp.password = slice_from_cstr(secret);
    talk_accept(&talk, server_tls);
    memset(secret, 'X', sizeof secret - 1); /* it was copied */
    NET_UNTIL(&talk.net, talk.server.told[STREAM_SECURED] == 1);
    net_end_write(&talk.server, "220 relay.example ESMTP\r\n");
    expect(&talk, "EHLO agent.example\r\n");
    net_end_write(&talk.server, "250-relay.example\r\n250 AUTH PLAIN\r\n");
    expect(&talk, "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n");
    net_end_write(&talk.server, "535 5.7.8 who?\r\n");
    talk_expect_failure(&talk, PATH_RELAY_REFUSED, "AUTH", "535 5.7.8 who?");
    assert_true(talk.failure.is_permanent);
    assert_int_equal(talk.failure.reply.status.detail, 8);
    talk_finish(&talk, "CONNECTED PROVEN FAILED CLOSED ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clear),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_close_while_held),
        cmocka_unit_test(test_end_while_held),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_close_while_connecting),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_address_policy),
        cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_silent_tls),
        cmocka_unit_test(test_stuck_tls),
        cmocka_unit_test(test_silent_after_starttls),
        cmocka_unit_test(test_cut_handshake),
        cmocka_unit_test(test_starttls_refused),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_uncertain),
        cmocka_unit_test(test_silent_server),
        cmocka_unit_test(test_wrong_password),
    };
    return cmocka_run_group_tests_name("net/outbound", tests, make_identities, drop_identities);
}
