#include "smtp/server_internal.h"

#include "mail/xtext.h"
#include "smtp/sasl.h"

/* XDEVICE (schema/link.md): who has proved to know a name's password gets a token for this laptop, and logs in with that from then on. */

static const struct smtp_reply no_device = SMTP_REPLY_INIT(502, 5, 5, 1, "XDEVICE is not offered here");
static const struct smtp_reply login_first = SMTP_REPLY_INIT(530, 5, 7, 0, "Authentication required: log in by name and password first");
static const struct smtp_reply by_token = SMTP_REPLY_INIT(503, 5, 5, 1, "A device's token gives no more tokens; log in by name and password");
static const struct smtp_reply one_device = SMTP_REPLY_INIT(503, 5, 5, 1, "This session has its device already");

static const struct smtp_reply *judge(const struct smtp_server *server)
{
    if (!server->config.offers_device || !server->is_tls)
        return &no_device;
    if (!server->is_authenticated)
        return &login_first;
    if (!server->is_by_password)
        return &by_token;
    /* A client gone wild would push the account's other devices out. */
    return server->has_device ? &one_device : NULL;
}

/* People read labels, on terminals too: the rules are those for names. */
static enum result take_label(struct smtp_server *server, struct slice xtext)
{
    server->secret = BUFFER(SMTP_LABEL_MAX);
    enum result result = xtext_decode(xtext, &server->secret);
    if (result == RESULT_OK && !sasl_text_is_valid(buffer_slice(&server->secret), SMTP_LABEL_MAX))
        result = RESULT_SYNTAX;
    if (result != RESULT_OK)
        buffer_free(&server->secret);
    return result;
}

void server_device(struct smtp_server *server, const struct smtp_command *command)
{
    const struct smtp_reply *refusal = judge(server);
    enum result taken = refusal ? RESULT_OK : take_label(server, command->argument);
    if (taken == RESULT_MEMORY) {
        server_reply(server, &server_short_of_memory);
    } else if (refusal || taken != RESULT_OK) {
        server_refuse(server, refusal ? refusal : smtp_command_fault_reply(SMTP_COMMAND_DEVICE));
    } else {
        server->owed = SMTP_OWED_DEVICE;
        server_add_event(server, SMTP_SERVER_DEVICE)->data = buffer_slice(&server->secret);
    }
}

void server_device_answered(struct smtp_server *server, const struct smtp_reply *reply)
{
    buffer_free(&server->secret);
    server->has_device = smtp_reply_is_positive(reply);
    server_reply(server, reply);
}
