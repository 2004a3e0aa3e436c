/* The client core that speaks before it is answered: alone, octet by octet of what has left, and against our own server core. */
#include "crypto/crypto.h"
#include "smtp/server.h"
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

#define INITIAL "ZDEA7JGBn203wiyrFjm/zwQ/JkOkeIQ2U8/fjzs/OYzOm6g="
#define GREETING "220 relay\r\n"
#define EHLO "250-relay.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-XWAYS 465/tls\r\n250 AUTH HT-SHA-256-EXPR PLAIN\r\n"
#define WELCOME "235 2.7.0 Yra01B3v/IFlL6K9AJHOY3S6nSVgLDz8o5sJki/wJY4=\r\n"
#define HELLO "EHLO laptop\r\nAUTH HT-SHA-256-EXPR " INITIAL "\r\n"
#define ENVELOPE "MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\n"
#define BODY "BDAT 20 LAST\r\nSubject: x\r\n\r\n.dot\r\n"

static const struct sasl_binding BINDING = {SLICE("tls-exporter"), SLICE("0123456789abcdef")};
static struct envelope_recipient recipients[] = {{.address = SLICE("a@example.org")}};
static struct envelope envelope = {.sender = SLICE("me@example.net"), .recipients = recipients, .nrcpt = 1};
static const struct smtp_transaction transaction = {.envelope = &envelope};
static const struct smtp_peer known = {
    .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_PIPECONNECT | SMTP_CAP_AUTH,
    .mechanisms = SASL_HT_SHA_256_EXPR,
    .name = SLICE("old.example"),
    .ways = SLICE("25/starttls"),
};

static void open_early(struct play *p)
{
    static struct smtp_peer peer;
    static char texts[128];
    peer = known;
    snprintf(texts, sizeof texts, "d1 0123456789abcdef0123456789abcdef old.example 25/starttls");
    peer.name = slice_of(texts + 36, 11);
    peer.ways = slice_of(texts + 48, 11);
    const struct smtp_client_config config = {.ehlo_name = SLICE("laptop"), .security = SMTP_SECURITY_TLS, .early = &peer, .device = slice_of(texts, 2), .token = slice_of(texts + 3, SASL_TOKEN)};
    play_open(p, &config);
    memset(&peer, 0, sizeof peer); /* all of it was copied */
    memset(texts, 0, sizeof texts);
}

/* READY, with everything still in the output. */
static void open_unsent(struct play *p)
{
    open_early(p);
    p->keeps_output = true;
    play_tls(p, &BINDING, 1);
    assert_string_equal(play_told(p), "PROVEN\nREADY\n");
}

/* ---- the flight ---- */

static void all_leaves_in_one_write(void **state)
{
    struct play p;
    (void)state;
    open_unsent(&p);
    play_send(&p, &transaction, MESSAGE);
    expect_told("BODY\n");
    play_take(&p, SIZE_MAX);
    expect_said(HELLO ENVELOPE BODY);
    play_server(&p, GREETING EHLO WELCOME "250 ok\r\n250 a\r\n250 queued\r\n");
    expect_told("RECIPIENT 0: 250 a\nSENT accepted: 250 queued [end of data]\nREADY\n");
    play_close(&p);
}

static void a_body_as_large_as_a_piece_may_be_goes_too(void **state)
{
    static char body[SMTP_CLIENT_CHUNK_MAX];
    struct play p;
    (void)state;
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (i % 64 == 62) ? '\r' : (i % 64 == 63) ? '\n' : 'x';
    open_unsent(&p);
    play_send(&p, &transaction, slice_of(body, sizeof body));
    expect_told("BODY\n");
    assert_true(smtp_client_output(p.client).len > sizeof body);
    play_take(&p, SIZE_MAX);
    play_server(&p, GREETING EHLO WELCOME "250 ok\r\n250 a\r\n250 queued\r\n");
    expect_told("RECIPIENT 0: 250 a\nSENT accepted: 250 queued [end of data]\nREADY\n");
    play_close(&p);
}

/* What is more than a piece waits for what EHLO tells of SIZE, and a peer that takes it no more has not had an octet of it. */
static void the_body_of_a_larger_one_waits_for_ehlo(void **state)
{
    static char body[SMTP_CLIENT_CHUNK_MAX + 64];
    (void)state;
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (i % 64 == 62) ? '\r' : (i % 64 == 63) ? '\n' : 'x';
    for (int is_smaller = 0; is_smaller < 2; is_smaller++) {
        struct play p;
        open_unsent(&p);
        play_send(&p, &transaction, slice_of(body, sizeof body));
        expect_told("");
        play_take(&p, SIZE_MAX);
        expect_said(HELLO ENVELOPE);
        play_server(&p, GREETING);
        expect_told("");
        play_server(&p, is_smaller ? "250-relay.example\r\n250-SIZE 65536\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 AUTH HT-SHA-256-EXPR PLAIN\r\n" : EHLO);
        expect_told(is_smaller ? "FAILED early [EHLO]\n" : "BODY\n");
        assert_int_equal(smtp_client_output(p.client).len > SMTP_CLIENT_CHUNK_MAX, !is_smaller);
        play_close(&p);
    }
}

static void says_nothing_before_the_login(void **state)
{
    struct play p;
    (void)state;
    open_early(&p);
    p.waits_at_proven = true;
    play_tls(&p, &BINDING, 1);
    expect_told("PROVEN\n");
    play_server(&p, GREETING);
    play_wait(&p, 3600 * 1000);
    expect_said("");
    expect_told("");
    assert_string_equal(smtp_client_state_name(p.client), "proven");
    assert_int_equal(smtp_client_deadline_ms(p.client), INT64_MAX);
    play_close(&p);

    open_early(&p); /* the greeting's time is counted from our first word, even if that can't leave yet */
    p.waits_at_proven = p.keeps_output = true;
    play_tls(&p, &BINDING, 1);
    play_wait(&p, 3600 * 1000);
    smtp_client_login(p.client, p.now_ms);
    assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + 300000);
    play_close(&p);
}

static void tells_old_facts_until_it_has_heard_new_ones(void **state)
{
    struct play p;
    (void)state;
    open_early(&p);
    assert_false(smtp_client_is_early(p.client));
    play_tls(&p, &BINDING, 1);
    assert_true(smtp_client_is_early(p.client) && smtp_client_uses_token(p.client));
    assert_int_equal(smtp_client_peer(p.client)->capabilities, known.capabilities);
    assert_true(slice_equal(smtp_client_peer(p.client)->name, known.name) && slice_equal(smtp_client_peer(p.client)->ways, known.ways));
    play_server(&p, GREETING);
    assert_true(smtp_client_is_early(p.client));
    play_server(&p, EHLO);
    assert_false(smtp_client_is_early(p.client));
    play_server(&p, WELCOME);
    assert_int_equal(smtp_client_peer(p.client)->capabilities, SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_XWAYS | SMTP_CAP_AUTH);
    assert_int_equal(smtp_client_peer(p.client)->mechanisms, SASL_HT_SHA_256_EXPR | SASL_PLAIN);
    assert_true(slice_equal(smtp_client_peer(p.client)->name, SLICE("relay.example")) && slice_equal(smtp_client_peer(p.client)->ways, SLICE("465/tls")));
    expect_told("PROVEN\nREADY\n");
    play_close(&p);
}

/* ---- invariant 2: who answers what was not asked yet ---- */

static const struct {
    size_t left; /* octets of the flight */
    const char *replies;
    const char *told;
} AHEAD[] = {
    {0, GREETING, ""},
    {0, GREETING EHLO, "FAILED protocol [EHLO]\n"},
    {1, GREETING EHLO, ""},
    {sizeof "EHLO laptop\r\n" - 1, GREETING EHLO WELCOME, "FAILED protocol [AUTH]\n"},
    {sizeof "EHLO laptop\r\n", GREETING EHLO WELCOME, ""},
    {sizeof HELLO - 1, GREETING EHLO WELCOME "250 ok\r\n", "FAILED protocol [MAIL FROM]\n"},
    {sizeof HELLO, GREETING EHLO WELCOME "250 ok\r\n", ""},
    {sizeof HELLO ENVELOPE BODY - 2, GREETING EHLO WELCOME "250 ok\r\n250 a\r\n250 queued\r\n", "RECIPIENT 0: 250 a\nFAILED protocol [end of data]: 250 queued\n"},
    {sizeof HELLO ENVELOPE BODY - 1, GREETING EHLO WELCOME "250 ok\r\n250 a\r\n250 queued\r\n", "RECIPIENT 0: 250 a\nSENT accepted: 250 queued [end of data]\nREADY\n"},
};

static void a_reply_ahead_of_its_command_ends_the_session(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof AHEAD / sizeof *AHEAD; i++) {
        struct play p;
        open_unsent(&p);
        play_send(&p, &transaction, MESSAGE);
        play_told(&p);
        play_take(&p, AHEAD[i].left);
        play_server(&p, AHEAD[i].replies);
        if (strcmp(play_told(&p), AHEAD[i].told) != 0)
            fail_msg("row %zu", i);
        play_close(&p);
    }
}

/* MAIL in a flight of its own, behind the early one. */
static void a_later_flight_is_answered_when_it_has_left(void **state)
{
    struct play p;
    (void)state;
    open_unsent(&p);
    play_take(&p, SIZE_MAX);
    expect_said(HELLO);
    play_send(&p, &transaction, MESSAGE);
    play_server(&p, GREETING EHLO WELCOME "250 ok\r\n");
    expect_told("BODY\nFAILED protocol [MAIL FROM]\n");
    play_close(&p);
}

/* ---- invariant 4: what is given up is not completed, and what may have arrived is said to ---- */

#define POORER "250-relay\r\n250-PIPELINING\r\n250 AUTH HT-SHA-256-EXPR\r\n"

static void a_message_that_does_not_suit_any_more_keeps_its_last_octet(void **state)
{
    struct play p;
    (void)state;
    open_unsent(&p);
    play_send(&p, &transaction, MESSAGE);
    play_take(&p, sizeof HELLO ENVELOPE BODY - 2);
    play_told(&p);
    play_server(&p, GREETING POORER);
    expect_told("FAILED early [EHLO]\n");
    assert_int_equal(smtp_client_output(p.client).len, 0);
    play_close(&p);
}

/* The last octet makes the difference, and nothing else. */
static void an_end_is_uncertain_from_the_last_octet_on(void **state)
{
    static const char *const replies[] = {"", GREETING, GREETING EHLO, GREETING EHLO WELCOME, GREETING EHLO WELCOME "250 ok\r\n"};
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        struct play p;
        open_unsent(&p);
        play_send(&p, &transaction, MESSAGE);
        play_take(&p, sizeof HELLO ENVELOPE BODY - 1 - i % 2);
        play_server(&p, replies[i / 2]);
        play_told(&p);
        play_eof(&p);
        const char *told = play_told(&p);
        assert_true(strncmp(told, "FAILED eof", 10) == 0 && (strstr(told, "uncertain") != NULL) == (i % 2 == 0));
        play_close(&p);
    }
}

static void who_refuses_us_takes_no_mail(void **state)
{
    static const char *const replies[] = {"554 no\r\n",          GREETING "554 no\r\n",      GREETING EHLO "535 no\r\n",     GREETING EHLO "454 later\r\n",
                                          GREETING EHLO "421\r\n", GREETING EHLO "235 fine\r\n", GREETING EHLO WELCOME "421\r\n", "nonsense\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        struct play p;
        open_unsent(&p);
        p.keeps_output = false;
        play_send(&p, &transaction, MESSAGE);
        expect_said(HELLO ENVELOPE BODY);
        play_server(&p, replies[i]);
        const char *told = play_told(&p);
        assert_true(strstr(told, "FAILED ") != NULL && strstr(told, "uncertain") == NULL);
        assert_int_equal(smtp_client_output(p.client).len, 0); /* no "*" into a body that is under way */
        play_close(&p);
    }
}

/* ---- the token ---- */

static const struct {
    const char *reply; /* to AUTH */
    bool is_refused;
} TOKENS[] = {{"535 5.7.8 no\r\n", true}, {"504 5.5.4 what\r\n", false}, {"454 4.7.0 later\r\n", false}, {WELCOME, false}, {"235 2.7.0 AAAA\r\n", false}};

static void tells_a_dead_token(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof TOKENS / sizeof *TOKENS; i++) {
        struct play p;
        open_early(&p);
        play_tls(&p, &BINDING, 1);
        play_server(&p, GREETING EHLO);
        assert_false(smtp_client_is_token_refused(p.client));
        play_server(&p, TOKENS[i].reply);
        assert_int_equal(smtp_client_is_token_refused(p.client), TOKENS[i].is_refused);
        play_close(&p);
    }
}

static void falls_back_to_the_password_and_tells(void **state)
{
    struct smtp_client_config config = {.security = SMTP_SECURITY_TLS, .user = SLICE("tim"), .password = SLICE("secret"), .device = SLICE("d1"), .token = SLICE("0123456789abcdef0123456789abcdef")};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct play p;
        play_open(&p, &config);
        play_tls(&p, &BINDING, 1);
        play_server(&p, GREETING);
        play_server(&p, EHLO);
        assert_true(smtp_client_uses_token(p.client) && !smtp_client_is_token_refused(p.client));
        play_server(&p, TOKENS[i].reply);
        assert_int_equal(smtp_client_uses_token(p.client), i == 2);
        assert_int_equal(smtp_client_is_token_refused(p.client), i == 0);
        play_server(&p, i == 2 ? "" : "235 ok\r\n");
        expect_told(i == 2 ? "PROVEN\nFAILED auth-later [AUTH]: 454 4.7.0 later\n" : "PROVEN\nREADY\n");
        play_close(&p);
    }
    struct play p;
    config.token = SLICE("too short");
    play_open(&p, &config);
    play_tls(&p, &BINDING, 1);
    play_server(&p, GREETING);
    play_server(&p, EHLO);
    assert_true(!smtp_client_uses_token(p.client) && smtp_client_is_token_refused(p.client));
    play_close(&p);
}

/* Invariant 5. */
static void a_given_token_is_gone_at_the_next_call(void **state)
{
    static const char nothing[SASL_TOKEN];
    struct smtp_client_event event;
    struct play p;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        play_open_ready(&p, "250-XDEVICE\r\n");
        smtp_client_ask_device(p.client, SLICE("laptop"), p.now_ms);
        play_pump(&p);
        expect_said("XDEVICE laptop\r\n");
        smtp_client_feed(p.client, SLICE("250 d1 MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\r\n"), p.now_ms);
        assert_true(smtp_client_next(p.client, &event) && event.type == SMTP_CLIENT_DEVICE);
        assert_true(slice_equal(event.device, SLICE("d1")) && slice_equal(event.token, SLICE("0123456789abcdef0123456789abcdef")));
        assert_null(event.reply); /* nobody logs the token by chance */
        struct slice token = event.token;
        smtp_client_output(p.client);
        smtp_client_deadline_ms(p.client);
        assert_true(slice_equal(token, SLICE("0123456789abcdef0123456789abcdef")));
        if (i == 0)
            assert_true(smtp_client_next(p.client, &event) && event.type == SMTP_CLIENT_READY);
        else
            smtp_client_feed(p.client, SLICE("2"), p.now_ms);
        assert_memory_equal(token.ptr, nothing, sizeof nothing);
        play_close(&p);
    }
}

/* ---- against our own server ---- */

struct relay {
    struct smtp_server *server;
    struct sasl_server *sasl;
    size_t nflights, nmessages;
};

static const uint8_t TOKEN[SASL_TOKEN] = "a device's token of 32 octets ..";

static void answer_auth(struct relay *r, const struct smtp_server_event *event)
{
    static const uint8_t nonce[18];
    struct sasl_server_step step;
    r->sasl = sasl_server_new((enum sasl_mechanism)event->mechanism, true, &BINDING, 1, nonce);
    sasl_server_start(r->sasl, event->has_data, event->data, &step);
    if (step.need == SASL_NEED_TOKEN)
        sasl_server_token_found(r->sasl, TOKEN, slice_equal(step.user, SLICE("d7")), &step);
    else
        sasl_server_password_checked(r->sasl, slice_equal(step.password, SLICE("secret")), &step);
    if (step.need == SASL_SUCCEEDED)
        assert_int_equal(smtp_server_set_user(r->server, step.user), RESULT_OK);
    struct smtp_reply reply = step.need == SASL_SUCCEEDED ? SMTP_REPLY(235, 2, 7, 0, "welcome") : SMTP_REPLY(535, 5, 7, 8, "no");
    if (step.goes_with_success)
        reply.text = step.challenge;
    smtp_server_answer(r->server, &reply, 0);
    sasl_server_free(&r->sasl);
}

static void answer_device(struct relay *r)
{
    struct buffer text = {0};
    assert_int_equal(buffer_append_cstr(&text, "d7 "), RESULT_OK);
    assert_int_equal(crypto_base64_encode(slice_of(TOKEN, sizeof TOKEN), &text), RESULT_OK);
    smtp_server_answer(r->server, &(struct smtp_reply){.code = 250, .status = {2, 0, 0}, .text = buffer_slice(&text)}, 0);
    buffer_free(&text);
}

static void serve_event(struct relay *r, const struct smtp_server_event *event)
{
    r->nmessages += event->type == SMTP_SERVER_BODY_END;
    switch (event->type) {
    case SMTP_SERVER_AUTH: answer_auth(r, event); break;
    case SMTP_SERVER_OUTCOME:
    case SMTP_SERVER_DEVICE: answer_device(r); break;
    case SMTP_SERVER_BODY_END:
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN: smtp_server_answer(r->server, &SMTP_REPLY(250, 2, 0, 0, "fine"), 0); break;
    default: break;
    }
}

/* Everything that the server can do about what it has, and its output, all in one. */
static void serve(struct relay *r, struct slice in, struct buffer *out)
{
    struct smtp_server_event event;
    size_t used;
    do {
        used = smtp_server_feed(r->server, in, 0);
        while (smtp_server_next(r->server, &event))
            serve_event(r, &event);
        in = slice_skip(in, used);
        assert_int_equal(buffer_append(out, smtp_server_output(r->server)), RESULT_OK);
        smtp_server_sent(r->server, smtp_server_output(r->server).len);
    } while (used > 0 && in.len > 0);
    assert_int_equal(in.len, 0);
}

/* Lets both talk until neither says anything more, and counts what went from the client to the server. */
static void converse(struct relay *r, struct play *p)
{
    for (bool moves = true; moves;) {
        struct buffer out = {0};
        p->keeps_output = false;
        play_pump(p);
        p->keeps_output = true;
        struct slice said = slice_from_cstr(play_said(p));
        r->nflights += said.len > 0;
        serve(r, said, &out);
        moves = buffer_len(&out) > 0 || said.len > 0;
        play_feed(p, buffer_slice(&out));
        buffer_free(&out);
    }
}

static void open_relay(struct relay *r)
{
    const struct smtp_server_config config = {
        .hostname = SLICE("relay.example"), .auth_mechanisms = SASL_PLAIN | SASL_HT_SHA_256_EXPR, .requires_auth = true, .requires_tls = true,
        .offers_device = true, .offers_pipeconnect = true, .ways = "465/tls 587/starttls"};
    *r = (struct relay){.server = smtp_server_new(&config, true, SMTP_SERVER_EXPORTER, 0)};
}

static void run_session(struct relay *r, struct play *p, const struct smtp_client_config *config)
{
    open_relay(r);
    play_open(p, config);
    p->keeps_output = true;
    play_tls(p, &BINDING, 1);
    if (strcmp(smtp_client_state_name(p->client), "ready") != 0)
        converse(r, p);
    assert_string_equal(smtp_client_state_name(p->client), "ready");
    play_told(p);
    play_send(p, &transaction, MESSAGE);
    converse(r, p);
    assert_int_equal(r->nmessages, 1);
    assert_string_equal(play_told(p), "BODY\nRECIPIENT 0: 250 2.0.0 fine\nSENT accepted: 250 2.0.0 fine [end of data]\nREADY\n");
}

/* Password, token, early: a device's first three sessions. */
static void a_known_relay_takes_one_flight(void **state)
{
    struct smtp_client_config config = {.ehlo_name = SLICE("laptop"), .security = SMTP_SECURITY_TLS, .user = SLICE("tim"), .password = SLICE("secret")};
    struct relay r;
    struct play p;
    (void)state;
    run_session(&r, &p, &config);
    assert_false(smtp_client_uses_token(p.client));
    assert_int_equal(r.nflights, 3); /* EHLO, AUTH, the message */
    smtp_client_ask_device(p.client, SLICE("laptop"), 0);
    converse(&r, &p);
    assert_string_equal(play_told(&p), "DEVICE d7\nREADY\n");
    smtp_server_free(&r.server);
    play_close(&p);

    config.device = SLICE("d7");
    config.token = slice_of(TOKEN, sizeof TOKEN);
    run_session(&r, &p, &config);
    assert_true(smtp_client_uses_token(p.client));
    assert_int_equal(r.nflights, 3);
    struct smtp_peer peer = *smtp_client_peer(p.client);
    char ways[64], name[64];
    assert_true(slice_to_cstr(peer.ways, ways, sizeof ways) && slice_to_cstr(peer.name, name, sizeof name));
    assert_string_equal(ways, "465/tls 587/starttls");
    peer.ways = slice_from_cstr(ways);
    peer.name = slice_from_cstr(name);
    smtp_server_free(&r.server);
    play_close(&p);

    config.early = &peer;
    run_session(&r, &p, &config);
    assert_int_equal(r.nflights, 1);
    assert_false(smtp_client_is_early(p.client));
    smtp_server_free(&r.server);
    play_close(&p);
}

/* The relay has forgotten the device: it takes no octet of the message, and says so. */
static void a_relay_that_forgot_us_takes_nothing(void **state)
{
    const struct smtp_client_config config = {.security = SMTP_SECURITY_TLS, .early = &known, .device = SLICE("d8"), .token = slice_of(TOKEN, sizeof TOKEN)};
    struct relay r;
    struct play p;
    (void)state;
    open_relay(&r);
    play_open(&p, &config);
    p.keeps_output = true;
    play_tls(&p, &BINDING, 1);
    play_send(&p, &transaction, MESSAGE);
    converse(&r, &p);
    assert_int_equal(r.nmessages, 0);
    expect_told("PROVEN\nREADY\nBODY\nFAILED early [AUTH]: 535 5.7.8 no\n");
    assert_true(smtp_client_is_token_refused(p.client));
    smtp_server_free(&r.server);
    play_close(&p);
}

/* RSET may be said ahead to whom we know; who he is, the replies to the beginning tell. */
static void a_pause_waits_for_the_login(void **state)
{
    static struct smtp_peer peer;
    const struct smtp_client_config config = {.ehlo_name = SLICE("laptop"), .security = SMTP_SECURITY_TLS, .early = &peer, .device = SLICE("d1"), .token = SLICE("0123456789abcdef0123456789abcdef")};
    struct smtp_transaction named = transaction;
    struct play p;
    (void)state;
    peer = known;
    peer.capabilities |= SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME;
    peer.epoch = SLICE("e1");
    peer.outcome_s = 600;
    named.transid = SLICE("<1@a>");
    play_open(&p, &config);
    p.keeps_body = true;
    play_tls(&p, &BINDING, 1);
    play_send(&p, &named, MESSAGE);
    expect_told("PROVEN\nREADY\nBODY\n");
    expect_said(HELLO "MAIL FROM:<me@example.net> TRANSID=<1@a> XWHOLE\r\nRCPT TO:<a@example.org>\r\n");
    play_pause(&p);
    expect_said("");
    play_server(&p, GREETING "250-relay.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-CHECKPOINT\r\n250-XOUTCOME e1 600\r\n250-PIPECONNECT\r\n250 AUTH HT-SHA-256-EXPR PLAIN\r\n");
    expect_said("");
    play_server(&p, WELCOME);
    expect_said("RSET\r\n");
    play_server(&p, "250 ok\r\n250 a\r\n250 forgotten\r\n");
    expect_told("RECIPIENT 0: 250 a\nSENT paused [RSET]\nREADY\n");
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_leaves_in_one_write),
        cmocka_unit_test(a_body_as_large_as_a_piece_may_be_goes_too),
        cmocka_unit_test(the_body_of_a_larger_one_waits_for_ehlo),
        cmocka_unit_test(says_nothing_before_the_login),
        cmocka_unit_test(tells_old_facts_until_it_has_heard_new_ones),
        cmocka_unit_test(a_reply_ahead_of_its_command_ends_the_session),
        cmocka_unit_test(a_later_flight_is_answered_when_it_has_left),
        cmocka_unit_test(a_message_that_does_not_suit_any_more_keeps_its_last_octet),
        cmocka_unit_test(an_end_is_uncertain_from_the_last_octet_on),
        cmocka_unit_test(who_refuses_us_takes_no_mail),
        cmocka_unit_test(tells_a_dead_token),
        cmocka_unit_test(falls_back_to_the_password_and_tells),
        cmocka_unit_test(a_given_token_is_gone_at_the_next_call),
        cmocka_unit_test(a_known_relay_takes_one_flight),
        cmocka_unit_test(a_relay_that_forgot_us_takes_nothing),
        cmocka_unit_test(a_pause_waits_for_the_login),
    };
    return cmocka_run_group_tests_name("smtp/client early", tests, NULL, NULL);
}
