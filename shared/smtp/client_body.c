/* The octets of a message: when a piece of them may go, and how it goes: as BDAT, or as DATA with dots stuffed. */
#include "smtp/client_internal.h"

#include <assert.h>

/* What the peer takes now it tells with EHLO: for a message that is more than a piece, an early flight waits for that before the first octet of the body. */
static bool awaits_size(const struct smtp_client *c)
{
    return smtp_client_is_early(c) && c->t.asked.size_octets > SMTP_CLIENT_CHUNK_MAX;
}

/* The first piece may go before anybody has been accepted, where the peer reads ahead and counts octets (RFC 3030 4.2, RFC 2920); the others wait, so
 * that a large message is not sent for nothing. The rest of one that the peer has begun to keep is for recipients whom it had accepted then: nothing
 * waits, and to go on costs the 355 alone. */
static bool may_send_piece(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    if (client_is_envelope_answered(t) && t->naccepted == 0)
        return false;
    if (awaits_size(c))
        return false;
    if (!t->uses_bdat)
        return t->data == CLIENT_ANSWERED && client_is_envelope_answered(t);
    if (!(c->peer.capabilities & SMTP_CAP_PIPELINING))
        return client_is_envelope_answered(t) && t->nbdat_answered == t->nbdat_asked;
    return client_is_envelope_asked(t) && (t->octets == t->start || t->is_resumed || client_is_envelope_answered(t));
}

bool client_wants_body(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    return !t->is_body_wanted && !t->is_body_whole && !t->has_verdict && !t->wants_pause && buffer_len(&c->out) <= CLIENT_OUTPUT_LOW && may_send_piece(c);
}

static void put_chunk(struct smtp_client *c, struct slice octets, bool is_last)
{
    client_begin_flight(c);
    client_put(c, SLICE("BDAT "));
    client_put_number(c, octets.len);
    client_put(c, is_last ? SLICE(" LAST\r\n") : SLICE("\r\n"));
    client_put(c, octets);
    c->t.nbdat_asked++;
    c->t.newest_octets = octets.len;
}

static void refuse_body(struct smtp_client *c)
{
    client_judge_locally(c, SMTP_REPLY(554, 5, 6, 0, "The message holds a NUL, or a CR or LF alone, which can't be sent safely"), "message");
    c->t.breaks_session = !c->t.uses_bdat; /* the end of DATA can be told only by completing the message */
    if (c->t.breaks_session)
        buffer_wipe_free(&c->out);
}

static enum result put_text(struct smtp_client *c, struct slice octets, bool is_last)
{
    client_begin_flight(c);
    enum result put = smtp_stuff_write(&c->t.stuff, octets, &c->out);
    if (put == RESULT_OK && is_last)
        put = smtp_stuff_end(&c->t.stuff, &c->out);
    if (put == RESULT_OK && is_last)
        c->t.dot = CLIENT_ASKED;
    return put;
}

/* A text goes on at the beginning of a line (RFC 1845 4.1); an LF there is the second half of one's end, so the peer's offset is wrong, and our message is not. */
static bool goes_on_in_line_end(const struct smtp_client *c, struct slice octets)
{
    bool is_first = c->t.octets == c->t.start + octets.len;
    return c->t.is_resumed && c->t.start > 0 && is_first && !c->t.asked.is_binary && slice_starts_with(octets, SLICE("\n"));
}

static void put_piece(struct smtp_client *c, struct slice octets, bool is_last)
{
    enum result put = RESULT_OK;
    bool is_text = c->t.uses_bdat && !c->t.asked.is_binary;
    if (goes_on_in_line_end(c, octets)) {
        client_fail(c, SMTP_FAIL_PROTOCOL);
        return;
    }
    if (is_text)
        put = smtp_stuff_check(&c->t.stuff, octets, is_last);
    if (put == RESULT_OK && c->t.uses_bdat)
        put_chunk(c, octets, is_last);
    else if (put == RESULT_OK)
        put = put_text(c, octets, is_last);
    if (put == RESULT_SYNTAX)
        refuse_body(c);
    else if (put != RESULT_OK)
        client_fail(c, SMTP_FAIL_MEMORY);
}

static void add_piece(struct smtp_client *c, struct slice octets, bool is_last)
{
    put_piece(c, octets, is_last);
    if (c->t.has_verdict || c->failure != SMTP_FAIL_NONE)
        return;
    c->t.is_body_whole = is_last;
    c->last_octet_at = c->octets_sent + buffer_len(&c->out);
}

void smtp_client_body(struct smtp_client *c, struct slice octets, bool is_last, int64_t now_ms)
{
    struct client_transaction *t = &c->t;
    c->now_ms = now_ms;
    assert(octets.len <= SMTP_CLIENT_CHUNK_MAX && (octets.len > 0 || is_last));
    if (c->failure != SMTP_FAIL_NONE || !client_has_transaction(c) || !t->is_body_wanted)
        return;
    t->is_body_wanted = false;
    if (t->has_verdict || (client_is_envelope_answered(t) && t->naccepted == 0))
        return; /* it was refused while the octets were fetched */
    t->octets += octets.len;
    if (t->octets > t->asked.size_octets || (is_last && t->octets != t->asked.size_octets)) {
        client_fail(c, SMTP_FAIL_ABORTED); /* half a message, or two */
        return;
    }
    if (buffer_len(&c->out) == 0)
        c->progress_at_ms = now_ms;
    add_piece(c, octets, is_last);
}

bool client_want_body(struct smtp_client *c, struct smtp_client_event *event)
{
    if (c->t.is_resumed && c->t.octets == c->t.asked.size_octets) {
        add_piece(c, (struct slice){0}, true);
        return false;
    }
    c->t.is_body_wanted = true;
    *event = (struct smtp_client_event){.type = SMTP_CLIENT_BODY_WANTED, .offset = c->t.octets};
    return true;
}
