/* Greeting, EHLO, STARTTLS, AUTH, QUIT: one command at a time. */
#include "smtp/client_internal.h"
#include "crypto/crypto.h"
#include "smtp/ehlo.h"

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
    if (c->reply.code == 220)
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

void client_say_hello(struct smtp_client *c)
{
    client_set_state(c, CLIENT_EHLO);
    say(c, SLICE("EHLO "), our_name(c));
}

static void keep_peer(struct smtp_client *c, bool *is_starttls_masked)
{
    smtp_ehlo_parse(c->reply.text, &c->peer, is_starttls_masked);
    struct slice name = slice_take(c->peer.name, sizeof c->peer_name - 1);
    if (name.len > 0)
        memcpy(c->peer_name, name.ptr, name.len);
    c->peer.name = slice_of(c->peer_name, name.len);
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
    bool is_starttls_masked = false;
    if (c->reply.code == 250) {
        keep_peer(c, &is_starttls_masked);
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
    if (c->reply.code != 250) {
        client_fail_reply(c, smtp_reply_is_positive(&c->reply) ? SMTP_FAIL_PROTOCOL : SMTP_FAIL_EHLO);
        return;
    }
    keep_peer(c, NULL);
    c->peer.capabilities = c->peer.mechanisms = 0;
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

void client_forget_credentials(struct smtp_client *c)
{
    sasl_client_free(&c->sasl);
    buffer_wipe_free(&c->response);
    if (c->password) {
        crypto_wipe(c->password, c->password_len);
        free(c->password);
        c->password = NULL;
    }
    if (buffer_len(&c->out) == 0)
        buffer_wipe_free(&c->out); /* the base64 of it passed through here */
}

static void fail_forged(struct smtp_client *c)
{
    client_fail(c, SMTP_FAIL_AUTH_FORGED);
    client_forget_credentials(c);
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

static void begin_sasl(struct smtp_client *c, enum sasl_mechanism mechanism)
{
    struct sasl_client_config config = {
        .user = slice_of(c->user, c->user_len),
        .password = slice_of(c->password, c->password_len),
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

/* What no account can have been made with is not worth asking about. */
static bool has_usable_credentials(const struct smtp_client *c)
{
    return sasl_text_is_valid(slice_of(c->user, c->user_len), SASL_NAME_MAX) &&
           sasl_text_is_valid(slice_of(c->password, c->password_len), SASL_PASSWORD_MAX);
}

void client_start_auth(struct smtp_client *c)
{
    bool may_auth = c->is_tls || c->config.allows_auth_without_tls;
    if (!c->user) {
        client_set_state(c, CLIENT_READY);
        return;
    }
    client_set_state(c, CLIENT_AUTH);
    enum sasl_mechanism mechanism = may_auth ? sasl_client_choose(c->peer.mechanisms, c->is_tls && c->nbindings > 0, c->is_tls) : 0;
    if (mechanism == 0)
        client_fail(c, SMTP_FAIL_AUTH_MISSING);
    else if (!has_usable_credentials(c))
        client_fail(c, SMTP_FAIL_AUTH_REFUSED);
    else
        begin_sasl(c, mechanism);
}

/* The base64 of a 334, or of a 235 that brings the server's last words. Only the first line counts. */
static bool step_with_text(struct smtp_client *c)
{
    struct slice line, rest;
    struct buffer challenge = BUFFER(SASL_MESSAGE_MAX);
    slice_cut(c->reply.text, '\n', &line, &rest);
    enum result decoded = crypto_base64_decode(slice_trim(line), &challenge);
    if (decoded == RESULT_MEMORY)
        client_fail(c, SMTP_FAIL_MEMORY);
    else if (decoded != RESULT_OK)
        fail_forged(c);
    else
        step_sasl(c, buffer_slice(&challenge));
    buffer_free(&challenge);
    return c->failure == SMTP_FAIL_NONE;
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
static void on_auth_success(struct smtp_client *c)
{
    if (!sasl_client_is_satisfied(c->sasl) && !step_with_text(c))
        return;
    if (!sasl_client_is_satisfied(c->sasl)) {
        fail_forged(c);
        return;
    }
    client_forget_credentials(c);
    client_set_state(c, CLIENT_READY);
}

static void on_auth(struct smtp_client *c)
{
    if (c->reply.code == 334)
        on_challenge(c);
    else if (c->reply.code == 235)
        on_auth_success(c);
    else if (smtp_reply_is_positive(&c->reply))
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
    else
        client_fail_reply(c, smtp_reply_is_transient(&c->reply) ? SMTP_FAIL_AUTH_LATER : SMTP_FAIL_AUTH_REFUSED);
}

/* ---- the dialogue ---- */

enum client_step client_session_step(struct smtp_client *c)
{
    if (!client_take_reply(c))
        return c->failure == SMTP_FAIL_NONE && !c->owes_event ? CLIENT_STEP_IDLE : CLIENT_STEP_AGAIN;
    switch (c->state) {
    case CLIENT_GREETING: on_greeting(c); break;
    case CLIENT_EHLO: on_ehlo(c); break;
    case CLIENT_HELO: on_helo(c); break;
    case CLIENT_STARTTLS: on_starttls(c); break;
    case CLIENT_AUTH: on_auth(c); break;
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
