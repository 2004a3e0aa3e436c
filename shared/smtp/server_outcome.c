#include "smtp/server_internal.h"

/* XOUTCOME (schema/link.md): what became of a transaction that had a name. */

static const struct smtp_reply no_outcome = SMTP_REPLY_INIT(502, 5, 5, 1, "XOUTCOME is not offered here");

void server_outcome(struct smtp_server *server, const struct smtp_command *command)
{
    struct buffer *text = &server->candidate_text;
    if (!server->config.outcome || !server->is_tls) {
        server_refuse(server, &no_outcome);
    } else if (!server->is_authenticated) {
        server_refuse(server, &server_auth_first);
    } else if (buffer_append(text, command->transid) != RESULT_OK) {
        server_reply(server, &server_short_of_memory);
    } else {
        server->owed = SMTP_OWED_OUTCOME;
        struct smtp_server_event *event = server_add_event(server, SMTP_SERVER_OUTCOME);
        event->data = buffer_slice(text);
        event->first = command->first;
    }
}

/* An address in xtext may need a longer line than others have to read; who asks here is a client of ours. */
void server_outcome_answered(struct smtp_server *server, const struct smtp_reply *reply)
{
    buffer_shrink(&server->candidate_text);
    server->since_ms = server->now_ms;
    if (reply->code == 550 && server_asks_in_vain(server))
        return;
    if (smtp_reply_write_wide(reply, &server->output) != RESULT_OK)
        server_close(server, NULL);
}
