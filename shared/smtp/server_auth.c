#include "smtp/server_internal.h"

#include "crypto/crypto.h"
#include "smtp/sasl.h"

#include <assert.h>

/* AUTH (RFC 4954): lines and base64. What is said inside is the SASL machine's business, in the driver's hands. */

static const struct smtp_reply no_auth = SMTP_REPLY_INIT(502, 5, 5, 1, "Authentication is not offered on this port");
static const struct smtp_reply tls_first = SMTP_REPLY_INIT(538, 5, 7, 11, "Passwords travel under TLS only: issue a STARTTLS command first");
static const struct smtp_reply tls_port = SMTP_REPLY_INIT(538, 5, 7, 11, "Passwords travel under TLS only, and this port has none");
static const struct smtp_reply esmtp_first = SMTP_REPLY_INIT(503, 5, 5, 1, "Say EHLO first; HELO knows no AUTH");
static const struct smtp_reply no_mechanism = SMTP_REPLY_INIT(504, 5, 5, 4, "That mechanism is not offered; EHLO lists those that are");
static const struct smtp_reply not_base64 = SMTP_REPLY_INIT(501, 5, 5, 2, "That is not base64");
static const struct smtp_reply cancelled = SMTP_REPLY_INIT(501, 5, 7, 0, "Authentication cancelled");
static const struct smtp_reply too_many = SMTP_REPLY_INIT(421, 4, 7, 0, "Too many failed log-ins; closing");

unsigned server_mechanisms(const struct smtp_server *server)
{
    const struct smtp_server_config *config = &server->config;
    if (!server->is_tls && !config->allows_auth_without_tls)
        return 0;
    unsigned unbound = (server->has_binding ? 0 : SASL_SCRAM_SHA_256_PLUS) | (server->has_exporter ? 0 : SASL_HT_SHA_256_EXPR);
    return config->auth_mechanisms & ~unbound;
}

enum smtp_server_binding smtp_server_binding_of(const struct sasl_binding *bindings, size_t nbindings)
{
    for (size_t i = 0; i < nbindings; i++)
        if (slice_equal(bindings[i].name, SLICE("tls-exporter")))
            return SMTP_SERVER_EXPORTER;
    return nbindings > 0 ? SMTP_SERVER_SOME_BINDING : SMTP_SERVER_NO_BINDING;
}

static const struct smtp_reply *judge(const struct smtp_server *server)
{
    if (server->config.auth_mechanisms == 0)
        return &no_auth;
    if (!server->is_tls && !server->config.allows_auth_without_tls)
        return server->config.offers_starttls ? &tls_first : &tls_port;
    return server->is_esmtp ? NULL : &esmtp_first;
}

/* Out of base64, into memory that is wiped; its whole size is taken at once, so that growing leaves no copy behind. */
static enum result decode(struct smtp_server *server, struct slice text)
{
    char *at;
    size_t most = text.len / 4 * 3 + 3;
    buffer_wipe_free(&server->secret);
    server->secret = BUFFER(most);
    enum result result = buffer_reserve(&server->secret, most, &at);
    return result == RESULT_OK ? crypto_base64_decode(text, &server->secret) : result;
}

void server_auth(struct smtp_server *server, const struct smtp_command *command)
{
    const struct smtp_reply *refusal = judge(server);
    enum sasl_mechanism mechanism = sasl_mechanism_parse(command->mechanism);
    if (!refusal && !(server_mechanisms(server) & mechanism))
        refusal = &no_mechanism;
    /* "=" is the empty response, told from none at all (RFC 4954 4). */
    bool is_empty = slice_equal(command->initial, SLICE("="));
    enum result decoded = refusal ? RESULT_OK : decode(server, is_empty ? (struct slice){0} : command->initial);
    if (decoded == RESULT_MEMORY) {
        server_close(server, &server_no_memory);
        return;
    }
    if (refusal || decoded != RESULT_OK) {
        server_refuse(server, refusal ? refusal : &not_base64);
        return;
    }
    server->is_by_password = mechanism != SASL_HT_SHA_256_EXPR;
    server->owed = SMTP_OWED_AUTH;
    server_set_state(server, SMTP_SERVER_IN_AUTH);
    struct smtp_server_event *event = server_add_event(server, SMTP_SERVER_AUTH);
    event->mechanism = mechanism;
    event->has_data = command->has_initial;
    event->data = buffer_slice(&server->secret);
}

void server_auth_break(struct smtp_server *server, const struct smtp_reply *reply)
{
    server_add_event(server, SMTP_SERVER_AUTH_CANCELLED);
    server_set_state(server, SMTP_SERVER_READY);
    server_refuse(server, reply);
}

void server_auth_line(struct smtp_server *server, struct slice line)
{
    line = slice_trim(line);
    if (slice_equal(line, SLICE("*"))) {
        server_auth_break(server, &cancelled);
        return;
    }
    enum result decoded = decode(server, line);
    if (decoded == RESULT_MEMORY) {
        server_close(server, &server_no_memory);
    } else if (decoded != RESULT_OK) {
        server_auth_break(server, &not_base64);
    } else {
        server->owed = SMTP_OWED_AUTH;
        struct smtp_server_event *event = server_add_event(server, SMTP_SERVER_AUTH_RESPONSE);
        event->has_data = true;
        event->data = buffer_slice(&server->secret);
    }
}

static void succeed(struct smtp_server *server, const struct smtp_reply *reply)
{
    assert(server->user.ptr != NULL);
    server->is_authenticated = true;
    server->nauth_failures = 0;
    server_set_state(server, SMTP_SERVER_READY);
    server_reply(server, reply);
}

/* A transient failure is ours and does not count against the client. */
static void fail(struct smtp_server *server, const struct smtp_reply *reply)
{
    server_forget(&server->user);
    if (smtp_reply_is_permanent(reply))
        server->nauth_failures++;
    server_set_state(server, SMTP_SERVER_READY);
    server_reply(server, reply);
    if (server->nauth_failures >= server->config.auth_failures_max)
        server_close(server, &too_many);
}

void server_auth_answered(struct smtp_server *server, const struct smtp_reply *reply)
{
    buffer_wipe_free(&server->secret);
    if (smtp_reply_is_positive(reply))
        succeed(server, reply);
    else
        fail(server, reply);
}

void smtp_server_challenge(struct smtp_server *server, struct slice data, int64_t now_ms)
{
    assert(server->owed == SMTP_OWED_AUTH && server->nevents == 0);
    server->owed = SMTP_OWED_NOTHING;
    server->now_ms = server->since_ms = now_ms;
    buffer_wipe_free(&server->secret);
    /* Too long for smtp_reply_write, which cuts lines: a challenge may fill an authentication line. */
    if (buffer_append_cstr(&server->output, "334 ") != RESULT_OK || crypto_base64_encode(data, &server->output) != RESULT_OK ||
        buffer_append_cstr(&server->output, "\r\n") != RESULT_OK)
        server_close(server, NULL);
    server_end_if_wished(server);
}
