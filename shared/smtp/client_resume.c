/* A transaction with a name (RFC 1845, schema/link.md): said with MAIL, taken up where the peer says, and left in the middle for a more urgent one.
 *
 *   whole     MAIL TRANSID XWHOLE, and everything behind it at once            250, or 554 5.5.4: renamed
 *   asking    MAIL TRANSID alone, then as ever ...                             250
 *             ... or from octet N on                                           355 N
 *   pause     the BDAT under way is completed, RSET behind it, all replies     250 to RSET: paused
 *
 * What has N == size is over at the peer, or lacks nothing but its end: BDAT 0 LAST, or the final dot, asks for the reply. */
#include "smtp/client_internal.h"
#include "smtp/command.h"

static const struct smtp_status WRONG_NAME = {5, 5, 4};

bool client_resume_is_name(struct slice transid)
{
    for (size_t i = 0; i < transid.len; i++)
        if (transid.ptr[i] <= ' ' || transid.ptr[i] >= 0x7f)
            return false;
    return transid.len > 0 && transid.len <= SMTP_TRANSID_MAX;
}

void client_resume_plan(struct smtp_client *c)
{
    struct client_transaction *t = &c->t;
    t->has_name = c->peer.capabilities & SMTP_CAP_CHECKPOINT && client_resume_is_name(t->asked.transid);
    /* XWHOLE is ours: another's server that knows RFC 1845 would refuse it. Ours is known by XOUTCOME. */
    t->asks = t->has_name && (t->asked.asks_first || !(c->peer.capabilities & SMTP_CAP_XOUTCOME));
}

void client_resume_say_name(struct smtp_client *c)
{
    if (!c->t.has_name)
        return;
    c->t.relied |= SMTP_CAP_CHECKPOINT;
    client_put(c, SLICE(" TRANSID="));
    client_put(c, c->t.asked.transid);
    if (c->t.asks)
        return;
    c->t.relied |= SMTP_CAP_XOUTCOME;
    client_put(c, SLICE(" XWHOLE"));
}

/* ---- the replies to MAIL ---- */

bool client_resume_is_renamed(const struct smtp_client *c)
{
    const struct smtp_status *status = &c->reply.status;
    return c->t.has_name && c->reply.code == 554 && status->class == WRONG_NAME.class && status->subject == WRONG_NAME.subject && status->detail == WRONG_NAME.detail;
}

/* RFC 1845 4.1: "355 octet-offset ...". */
bool client_resume_on_offset(struct smtp_client *c, struct smtp_client_event *event)
{
    struct client_transaction *t = &c->t;
    struct slice line, rest, word;
    uint64_t offset;
    slice_cut(c->reply.text, '\n', &line, &rest);
    slice_cut(line, ' ', &word, &rest);
    if (!t->asks || !slice_to_u64(word, t->asked.size_octets, &offset)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return false;
    }
    t->mail = CLIENT_ANSWERED;
    t->is_resumed = true;
    t->start = t->octets = offset;
    *event = (struct smtp_client_event){.type = SMTP_CLIENT_RESUMED, .offset = offset, .reply = &c->reply, .phase = "MAIL FROM"};
    return true;
}

/* ---- the pause ---- */

void smtp_client_pause(struct smtp_client *c, int64_t now_ms)
{
    struct client_transaction *t = &c->t;
    c->now_ms = now_ms;
    if (c->failure != SMTP_FAIL_NONE || !client_has_transaction(c) || !t->has_name || !t->uses_bdat || t->is_body_whole || t->has_verdict)
        return;
    t->wants_pause = true;
    t->is_body_wanted = false;
}

/* Nothing of a body is said behind what the output holds already, so the last octet goes only if it has gone. */
void smtp_client_withdraw(struct smtp_client *c, int64_t now_ms)
{
    const struct client_transaction *t = &c->t;
    smtp_client_pause(c, now_ms);
    if (c->failure != SMTP_FAIL_NONE || !client_has_transaction(c) || t->has_verdict || t->wants_pause || client_is_uncertain(c))
        return;
    client_fail(c, SMTP_FAIL_ABORTED);
}

/* RSET may follow a BDAT at once (RFC 2920 3.1); in an early flight it waits until the peer is known to be who we talked to, for nothing else is promised to be understood there. */
void client_resume_say_pause(struct smtp_client *c)
{
    struct client_transaction *t = &c->t;
    bool may_pipeline = c->peer.capabilities & SMTP_CAP_PIPELINING && client_early_awaited(c) == CLIENT_COMMAND_NONE;
    if (!t->wants_pause || t->pause != CLIENT_UNSENT || t->mail == CLIENT_UNSENT || t->has_verdict || (client_is_envelope_answered(t) && t->naccepted == 0))
        return;
    if (c->failure != SMTP_FAIL_NONE || (!may_pipeline && client_awaited(c) != CLIENT_COMMAND_NONE))
        return;
    client_begin_flight(c);
    client_put(c, SLICE("RSET\r\n"));
    t->pause = CLIENT_ASKED;
}

void client_resume_on_pause(struct smtp_client *c)
{
    if (c->reply.code == 250)
        c->t.pause = CLIENT_ANSWERED;
    else
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
}

bool client_resume_is_paused(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    bool is_closed = t->pause == CLIENT_ANSWERED || t->mail == CLIENT_UNSENT;
    return t->wants_pause && is_closed && client_awaited(c) == CLIENT_COMMAND_NONE;
}
