/* The early session: EHLO and AUTH leave without waiting for anything, in one flight with the first message, because TLS has proved who the peer is and he said the last time
 * what he can. With TLS from the first octet that is one round trip for all of it.
 *
 *   tls started                        proven, and nothing is said
 *   login     EHLO, AUTH HT ...        ready
 *   replies   [greeting,] EHLO, AUTH   then those to whatever was said behind
 *
 * HT is what makes it possible: one message each way, and the peer's proof comes with the 235, so a message to a relay that has forgotten us is refused by the relay itself. */
#include "smtp/client_internal.h"
#include "smtp/ehlo.h"

enum client_command client_early_awaited(const struct smtp_client *c)
{
    if (c->early.greeting == CLIENT_ASKED)
        return CLIENT_COMMAND_GREETING;
    if (c->early.ehlo == CLIENT_ASKED)
        return CLIENT_COMMAND_EHLO;
    return c->early.auth == CLIENT_ASKED ? CLIENT_COMMAND_AUTH : CLIENT_COMMAND_NONE;
}

/* ---- the flight ---- */

static bool is_enough(const struct smtp_peer *peer)
{
    static const unsigned needed = SMTP_CAP_PIPECONNECT | SMTP_CAP_PIPELINING | SMTP_CAP_AUTH;
    return (peer->capabilities & needed) == needed && peer->mechanisms & SASL_HT_SHA_256_EXPR;
}

bool client_early_begin(struct smtp_client *c)
{
    if (!c->config.early || !is_enough(c->config.early) || !client_can_use_token(c))
        return false;
    c->early = (struct client_early){.is_on = true, .greeting = c->state == CLIENT_GREETING ? CLIENT_ASKED : CLIENT_UNSENT};
    client_keep_peer(c, c->config.early);
    if (c->failure == SMTP_FAIL_NONE)
        client_set_state(c, CLIENT_PROVEN);
    return true;
}

void client_early_login(struct smtp_client *c)
{
    client_put_hello(c);
    c->early.ehlo = CLIENT_ASKED;
    c->early.auth_at = c->octets_sent + buffer_len(&c->out);
    client_say_token(c);
    c->early.auth = CLIENT_ASKED;
    c->early.end_at = c->octets_sent + buffer_len(&c->out);
    client_set_state(c, CLIENT_READY);
}

/* ---- the replies ---- */

static void on_greeting(struct smtp_client *c)
{
    if (c->reply.code == 220)
        c->early.greeting = CLIENT_ANSWERED;
    else
        client_fail_reply(c, SMTP_FAIL_EARLY);
}

static void on_ehlo(struct smtp_client *c)
{
    struct smtp_peer peer;
    if (c->reply.code != 250) {
        client_fail_reply(c, SMTP_FAIL_EARLY);
        return;
    }
    smtp_ehlo_parse(c->reply.text, &peer, NULL);
    c->early.is_contradicted = !(peer.mechanisms & SASL_HT_SHA_256_EXPR) || !client_transaction_suits(c, &peer);
    /* A message that has left may be taken all the same: then its own reply must tell, lest it is sent twice. */
    if (c->early.is_contradicted && !client_is_uncertain(c)) {
        client_fail(c, SMTP_FAIL_EARLY);
        return;
    }
    client_keep_peer(c, &peer);
    c->early.ehlo = CLIENT_ANSWERED;
    c->flight_at = c->early.auth_at;
    client_transaction_reconsider(c);
}

static void on_auth(struct smtp_client *c)
{
    c->is_token_refused = c->reply.code == 535;
    if (smtp_reply_is_transient(&c->reply)) {
        client_fail_reply(c, SMTP_FAIL_AUTH_LATER);
    } else if (c->reply.code != 235) {
        client_fail_reply(c, SMTP_FAIL_EARLY);
    } else {
        client_on_auth_success(c);
        if (c->failure != SMTP_FAIL_NONE)
            return;
        c->early.auth = CLIENT_ANSWERED;
        c->flight_at = c->early.end_at;
    }
}

void client_early_reply(struct smtp_client *c, enum client_command answered)
{
    if (answered == CLIENT_COMMAND_GREETING)
        on_greeting(c);
    else if (answered == CLIENT_COMMAND_EHLO)
        on_ehlo(c);
    else
        on_auth(c);
}
