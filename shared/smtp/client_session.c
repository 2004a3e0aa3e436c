/* Greeting, EHLO, STARTTLS, AUTH, XDEVICE, QUIT: one command at a time. */
#include "smtp/client_internal.h"
#include "crypto/crypto.h"
#include "mail/xtext.h"
#include "smtp/ehlo.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    AUTH_COMMAND_MAX = 512, /* octets with CRLF that AUTH may have with its initial response (RFC 4954 4, RFC 5321 4.5.3.1.4) */
    CHALLENGES_MAX = 8,
};

/* ---- what answers ---- */

enum smtp_failure client_classify_foreign(struct slice in)
{
    bool is_http = slice_starts_with(in, SLICE("HTTP/")) || slice_starts_with_nocase(slice_trim(in), SLICE("<html")) ||
                   slice_starts_with_nocase(slice_trim(in), SLICE("<!doctype"));
    return is_http ? SMTP_FAIL_HTTP : SMTP_FAIL_FOREIGN;
}

static void on_greeting(struct smtp_client *c)
{
    if (c->reply.code == 220 && c->has_said_hello)
        client_set_state(c, CLIENT_EHLO);
    else if (c->reply.code == 220)
        client_say_hello(c);
    else if (smtp_reply_is_positive(&c->reply))
        client_fail_reply(c, SMTP_FAIL_FOREIGN);
    else
        client_fail_reply(c, SMTP_FAIL_GREETING);
}

/* ---- EHLO ---- */

static void say(struct smtp_client *c, struct slice verb, struct slice argument)
{
    client_begin_flight(c);
    client_put(c, verb);
    client_put(c, argument);
    client_put(c, SLICE("\r\n"));
}

static struct slice our_name(const struct smtp_client *c)
{
    return c->is_tls ? c->config.ehlo_name : c->config.ehlo_name_cleartext;
}

void client_put_hello(struct smtp_client *c)
{
    c->has_said_hello = true;
    say(c, SLICE("EHLO "), our_name(c));
}

void client_say_hello(struct smtp_client *c)
{
    client_set_state(c, CLIENT_EHLO);
    client_put_hello(c);
}

void client_keep_peer(struct smtp_client *c, const struct smtp_peer *peer)
{
    struct slice name = slice_take(peer->name, sizeof c->peer_name - 1);
    c->peer = *peer;
    if (name.len > 0)
        memcpy(c->peer_name, name.ptr, name.len);
    c->peer.name = slice_of(c->peer_name, name.len);
    c->peer.ways = c->peer.epoch = (struct slice){0};
    if ((peer->ways.len > 0 && arena_copy(&c->arena, peer->ways, &c->peer.ways) != RESULT_OK) ||
        (peer->epoch.len > 0 && arena_copy(&c->arena, peer->epoch, &c->peer.epoch) != RESULT_OK))
        client_fail(c, SMTP_FAIL_MEMORY);
}

static void ask_starttls(struct smtp_client *c)
{
    client_set_state(c, CLIENT_STARTTLS);
    say(c, SLICE("STARTTLS"), (struct slice){0});
}

/* The layer is as it will be, or TLS comes first, or the session ends here. */
static void on_hello_done(struct smtp_client *c, bool is_starttls_masked)
{
    bool is_offered = c->peer.capabilities & SMTP_CAP_STARTTLS;
    enum smtp_security security = c->is_tls ? SMTP_SECURITY_NONE : c->config.security;
    if (security == SMTP_SECURITY_STARTTLS && !is_offered)
        client_fail(c, is_starttls_masked ? SMTP_FAIL_STARTTLS_MASKED : SMTP_FAIL_STARTTLS_MISSING);
    else if (is_offered && (security == SMTP_SECURITY_STARTTLS || security == SMTP_SECURITY_OPPORTUNISTIC))
        ask_starttls(c);
    else
        client_set_state(c, CLIENT_PROVEN);
}

/* RFC 5321 3.2: an old server refuses EHLO with 5yz and may take HELO; but that has neither TLS nor AUTH. */
static bool may_say_helo(const struct smtp_client *c)
{
    bool needs_tls = c->config.security == SMTP_SECURITY_STARTTLS || c->config.security == SMTP_SECURITY_TLS;
    return smtp_reply_is_permanent(&c->reply) && !needs_tls && !c->is_tls && c->user == NULL;
}

static void on_ehlo(struct smtp_client *c)
{
    struct smtp_peer peer;
    bool is_starttls_masked = false;
    if (c->reply.code == 250) {
        smtp_ehlo_parse(c->reply.text, &peer, &is_starttls_masked);
        client_keep_peer(c, &peer);
        if (c->failure == SMTP_FAIL_NONE)
            on_hello_done(c, is_starttls_masked);
    } else if (smtp_reply_is_positive(&c->reply)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
    } else if (may_say_helo(c)) {
        client_set_state(c, CLIENT_HELO);
        say(c, SLICE("HELO "), our_name(c));
    } else {
        client_fail_reply(c, SMTP_FAIL_EHLO);
    }
}

static void on_helo(struct smtp_client *c)
{
    struct smtp_peer peer;
    if (c->reply.code != 250) {
        client_fail_reply(c, smtp_reply_is_positive(&c->reply) ? SMTP_FAIL_PROTOCOL : SMTP_FAIL_EHLO);
        return;
    }
    smtp_ehlo_parse(c->reply.text, &peer, NULL);
    client_keep_peer(c, &(struct smtp_peer){.name = peer.name}); /* what looks like an extension is none */
    client_set_state(c, CLIENT_PROVEN);
}

/* ---- STARTTLS ---- */

static void on_starttls(struct smtp_client *c)
{
    if (c->reply.code == 220) {
        if (buffer_len(&c->in) > 0)
            client_fail(c, SMTP_FAIL_INJECTED);
        else
            client_set_state(c, CLIENT_TLS);
    } else if (smtp_reply_is_positive(&c->reply)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
    } else if (c->config.security == SMTP_SECURITY_OPPORTUNISTIC) {
        client_set_state(c, CLIENT_PROVEN);
    } else {
        client_fail_reply(c, SMTP_FAIL_STARTTLS_REFUSED);
    }
}

/* ---- AUTH ---- */

static void wipe_free(char **secret, size_t len)
{
    if (*secret)
        crypto_wipe(*secret, len);
    free(*secret);
    *secret = NULL;
}

void client_forget_credentials(struct smtp_client *c)
{
    sasl_client_free(&c->sasl);
    buffer_wipe_free(&c->response);
    wipe_free(&c->password, c->password_len);
    wipe_free(&c->token, c->token_len);
    if (buffer_len(&c->out) == 0)
        buffer_wipe_free(&c->out); /* the base64 of it passed through here */
}

static void fail_forged(struct smtp_client *c)
{
    client_fail(c, SMTP_FAIL_AUTH_FORGED);
    client_forget_credentials(c);
    if (c->uses_token)
        return; /* it has one message each way, so there is nothing left to cancel; and a message may be half on its way */
    /* RFC 4954 4: "*" cancels. The peer's reply to it changes nothing for us. */
    if (buffer_append(&c->out, SLICE("*\r\n")) != RESULT_OK)
        buffer_wipe_free(&c->out);
}

/* The response as base64 behind `head`, without growth of the output once the secret is in it. */
static void say_response(struct smtp_client *c, struct slice head)
{
    char *at;
    struct slice response = buffer_slice(&c->response);
    client_begin_flight(c);
    if (buffer_reserve(&c->out, head.len + crypto_base64_len(response.len) + 3, &at) != RESULT_OK) {
        client_fail(c, SMTP_FAIL_MEMORY);
        return;
    }
    client_put(c, head);
    if (crypto_base64_encode(response, &c->out) != RESULT_OK)
        client_fail(c, SMTP_FAIL_MEMORY);
    client_put(c, SLICE("\r\n"));
}

/* The machine's answer is in c->response, or the session has failed. */
static bool step_sasl(struct smtp_client *c, struct slice challenge)
{
    char *at;
    buffer_clear(&c->response);
    c->response.max = SASL_MESSAGE_MAX;
    enum result stepped = buffer_reserve(&c->response, SASL_MESSAGE_MAX, &at);
    if (stepped == RESULT_OK)
        stepped = sasl_client_step(c->sasl, challenge, &c->response);
    if (stepped == RESULT_DENIED)
        fail_forged(c);
    else if (stepped != RESULT_OK)
        client_fail(c, SMTP_FAIL_MEMORY);
    return stepped == RESULT_OK;
}

/* RFC 4954 4: the initial response goes with the command where it fits a command line; "=" stands for an empty one. */
static void say_auth(struct smtp_client *c, enum sasl_mechanism mechanism)
{
    char command[64];
    size_t len = (size_t)snprintf(command, sizeof command, "AUTH %s ", sasl_mechanism_name(mechanism));
    bool has_initial = sasl_client_has_initial(c->sasl);
    if (has_initial && !step_sasl(c, (struct slice){0}))
        return;
    c->owes_initial = has_initial && len + crypto_base64_len(buffer_len(&c->response)) + 2 > AUTH_COMMAND_MAX;
    if (!has_initial || c->owes_initial)
        say(c, slice_of(command, len - 1), (struct slice){0});
    else if (buffer_len(&c->response) == 0)
        say(c, slice_of(command, len), SLICE("="));
    else
        say_response(c, slice_of(command, len));
}

static void begin_sasl(struct smtp_client *c, enum sasl_mechanism mechanism, struct slice user, struct slice password)
{
    struct sasl_client_config config = {
        .user = user,
        .password = password,
        .bindings = c->bindings,
        .nbindings = c->is_tls ? c->nbindings : 0,
    };
    memcpy(config.nonce, c->config.nonce, sizeof config.nonce);
    c->sasl = sasl_client_new(mechanism, c->peer.mechanisms, &config);
    if (c->sasl)
        say_auth(c, mechanism);
    else
        client_fail(c, SMTP_FAIL_MEMORY);
}

static bool is_letter_or_digit(char c)
{
    char lower = (char)(c | 0x20);
    return (c >= '0' && c <= '9') || (lower >= 'a' && lower <= 'z');
}

/* What no account can have been made with is not worth asking about. */
static bool has_usable_credentials(const struct smtp_client *c)
{
    return sasl_text_is_valid(slice_of(c->user, c->user_len), SASL_NAME_MAX) &&
           sasl_text_is_valid(slice_of(c->password, c->password_len), SASL_PASSWORD_MAX);
}

static void start_password(struct smtp_client *c)
{
    bool may_auth = c->is_tls || c->config.allows_auth_without_tls;
    enum sasl_mechanism mechanism = may_auth ? sasl_client_choose(c->peer.mechanisms, c->is_tls && c->nbindings > 0, c->is_tls) : 0;
    if (mechanism == 0)
        client_fail(c, SMTP_FAIL_AUTH_MISSING);
    else if (!has_usable_credentials(c))
        client_fail(c, SMTP_FAIL_AUTH_REFUSED);
    else
        begin_sasl(c, mechanism, slice_of(c->user, c->user_len), slice_of(c->password, c->password_len));
}

/* What the peer can't have given is not worth asking about either. */
static bool has_usable_token(const struct smtp_client *c)
{
    struct slice device = slice_of(c->device, c->device_len);
    bool is_id = device.len <= SMTP_DEVICE_ID_MAX;
    for (size_t i = 0; i < device.len && is_id; i++)
        is_id = is_letter_or_digit(device.ptr[i]);
    return c->token && is_id && c->token_len == SASL_TOKEN;
}

bool client_can_use_token(const struct smtp_client *c)
{
    bool has_exporter = false;
    for (size_t i = 0; i < c->nbindings; i++)
        has_exporter = has_exporter || (slice_equal(c->bindings[i].name, SLICE("tls-exporter")) && c->bindings[i].data.len > 0);
    return c->is_tls && has_exporter && has_usable_token(c);
}

void client_say_token(struct smtp_client *c)
{
    c->uses_token = true;
    begin_sasl(c, SASL_HT_SHA_256_EXPR, slice_of(c->device, c->device_len), slice_of(c->token, c->token_len));
}

void client_start_auth(struct smtp_client *c)
{
    if (!c->user && !c->device) {
        client_set_state(c, CLIENT_READY);
        return;
    }
    client_set_state(c, CLIENT_AUTH);
    c->is_token_refused = c->device && !has_usable_token(c);
    if (client_can_use_token(c) && c->peer.mechanisms & SASL_HT_SHA_256_EXPR)
        client_say_token(c);
    else if (c->user)
        start_password(c);
    else
        client_fail(c, c->is_token_refused ? SMTP_FAIL_AUTH_REFUSED : SMTP_FAIL_AUTH_MISSING);
}

/* The token is dead, or the mechanism is not for us here: the password, where there is one, is asked once. */
static void on_token_refused(struct smtp_client *c)
{
    c->is_token_refused = c->reply.code == 535;
    if (!c->user) {
        client_fail_reply(c, SMTP_FAIL_AUTH_REFUSED);
        return;
    }
    c->uses_token = false;
    sasl_client_free(&c->sasl);
    wipe_free(&c->token, c->token_len);
    start_password(c);
}

/* The base64 of a 334, or of a 235 that brings the server's last words. Only the first line counts. */
static bool step_with_text(struct smtp_client *c)
{
    struct slice line, rest;
    struct buffer challenge = BUFFER(SASL_MESSAGE_MAX);
    bool is_stepped = false;
    slice_cut(c->reply.text, '\n', &line, &rest);
    enum result decoded = crypto_base64_decode(slice_trim(line), &challenge);
    if (decoded == RESULT_MEMORY)
        client_fail(c, SMTP_FAIL_MEMORY);
    else if (decoded != RESULT_OK)
        fail_forged(c);
    else
        is_stepped = step_sasl(c, buffer_slice(&challenge));
    buffer_free(&challenge);
    return is_stepped;
}

static void on_challenge(struct smtp_client *c)
{
    if (++c->nchallenges > CHALLENGES_MAX) {
        client_fail(c, SMTP_FAIL_PROTOCOL);
    } else if (c->owes_initial) {
        c->owes_initial = false;
        say_response(c, (struct slice){0});
    } else if (step_with_text(c)) {
        say_response(c, (struct slice){0});
    }
}

/* A server that lets us in without having proved that it knows the password is an impostor (RFC 5802 9), unless the proof came with
 * the success itself. */
void client_on_auth_success(struct smtp_client *c)
{
    if (!sasl_client_is_satisfied(c->sasl) && !step_with_text(c))
        return;
    if (!sasl_client_is_satisfied(c->sasl)) {
        fail_forged(c);
        return;
    }
    client_forget_credentials(c);
    if (c->state == CLIENT_AUTH)
        client_set_state(c, CLIENT_READY);
}

static void on_auth(struct smtp_client *c)
{
    if (c->reply.code == 334)
        on_challenge(c);
    else if (c->reply.code == 235)
        client_on_auth_success(c);
    else if (smtp_reply_is_positive(&c->reply))
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
    else if (smtp_reply_is_transient(&c->reply))
        client_fail_reply(c, SMTP_FAIL_AUTH_LATER);
    else if (c->uses_token)
        on_token_refused(c);
    else
        client_fail_reply(c, SMTP_FAIL_AUTH_REFUSED);
}

/* ---- XDEVICE ---- */

void smtp_client_ask_device(struct smtp_client *c, struct slice label, int64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->failure != SMTP_FAIL_NONE || c->state == CLIENT_FAILED)
        return;
    assert(c->state == CLIENT_READY && !c->early.is_on && label.len <= SMTP_DEVICE_LABEL_MAX);
    client_set_state(c, CLIENT_DEVICE);
    c->in.is_secret = c->text.is_secret = true; /* the answer passes through them */
    client_begin_flight(c);
    client_put(c, SLICE("XDEVICE "));
    if (c->failure == SMTP_FAIL_NONE && xtext_encode(label, &c->out) != RESULT_OK)
        client_fail(c, SMTP_FAIL_MEMORY);
    client_put(c, SLICE("\r\n"));
}

void client_forget_given(struct smtp_client *c)
{
    if (!c->has_given)
        return;
    crypto_wipe(&c->given, sizeof c->given);
    buffer_clear(&c->text);
    c->has_given = false;
}

/* "ID TOKEN" and nothing else (schema/link.md). */
static bool take_given(struct smtp_client *c, struct smtp_client_event *event)
{
    struct slice id, token;
    size_t len;
    bool is_id = slice_cut(c->reply.text, ' ', &id, &token) && id.len > 0 && id.len <= sizeof c->given.device;
    for (size_t i = 0; is_id && i < id.len; i++)
        is_id = is_letter_or_digit(id.ptr[i]);
    if (!is_id || !crypto_base64_decode_to(token, c->given.token, sizeof c->given.token, &len) || len != sizeof c->given.token)
        return false;
    memcpy(c->given.device, id.ptr, id.len);
    event->device = slice_of(c->given.device, id.len);
    event->token = slice_of(c->given.token, sizeof c->given.token);
    return true;
}

static enum client_step on_device(struct smtp_client *c, struct smtp_client_event *event)
{
    *event = (struct smtp_client_event){.type = SMTP_CLIENT_DEVICE, .phase = "XDEVICE"};
    bool is_positive = smtp_reply_is_positive(&c->reply);
    c->has_given = true;
    if (is_positive && (c->reply.code != 250 || !take_given(c, event))) {
        c->reply = SMTP_REPLY(554, 5, 5, 0, "The relay's answer to XDEVICE holds no token");
        event->is_local = true;
    }
    if (event->device.len == 0)
        event->reply = &c->reply;
    client_set_state(c, CLIENT_READY);
    return CLIENT_STEP_EVENT;
}

/* ---- the dialogue ---- */

enum client_step client_session_step(struct smtp_client *c, struct smtp_client_event *event)
{
    if (!client_take_reply(c))
        return c->failure == SMTP_FAIL_NONE && !c->owes_event ? CLIENT_STEP_IDLE : CLIENT_STEP_AGAIN;
    if (client_early_awaited(c) != CLIENT_COMMAND_NONE) {
        client_early_reply(c, client_early_awaited(c));
        return CLIENT_STEP_AGAIN;
    }
    switch (c->state) {
    case CLIENT_GREETING: on_greeting(c); break;
    case CLIENT_EHLO: on_ehlo(c); break;
    case CLIENT_HELO: on_helo(c); break;
    case CLIENT_STARTTLS: on_starttls(c); break;
    case CLIENT_AUTH: on_auth(c); break;
    case CLIENT_DEVICE: return on_device(c, event);
    case CLIENT_OUTCOME: return client_on_outcome(c, event);
    case CLIENT_QUIT: client_set_state(c, CLIENT_CLOSED); break;
    case CLIENT_TLS:
    case CLIENT_PROVEN:
    case CLIENT_READY: client_fail_reply(c, SMTP_FAIL_PROTOCOL); break; /* nobody asked */
    case CLIENT_ENVELOPE:
    case CLIENT_BODY:
    case CLIENT_FINAL:
    case CLIENT_CLOSED:
    case CLIENT_FAILED: abort(); /* no reply is read here in these */
    }
    return CLIENT_STEP_AGAIN;
}
