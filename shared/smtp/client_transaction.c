/* One message: MAIL, RCPT, DATA or BDAT, and what the replies to all of that and to its octets mean. */
#include "smtp/client_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    ADDRESS_MAX = 512, /* octets; RFC 5321 4.5.3.1.3 has 256, UTF-8 may need more */
    PARAMETER_MAX = 500, /* octets of ORCPT=; RFC 3461 4.2 and 5.4 */
};

static bool has(const struct smtp_client *c, unsigned capabilities)
{
    return (c->peer.capabilities & capabilities) == capabilities;
}

bool client_has_transaction(const struct smtp_client *c)
{
    return c->state == CLIENT_ENVELOPE || c->state == CLIENT_BODY || c->state == CLIENT_FINAL;
}

/* ---- recipients ---- */

/* What could end the path or the line early never gets onto it (CWE-93). A quoted local part may hold what ends an unquoted path. */
static bool is_sendable(struct slice address)
{
    bool is_quoted = address.len > 0 && address.ptr[0] == '"';
    if (address.len > ADDRESS_MAX)
        return false;
    for (size_t i = 0; i < address.len; i++) {
        char c = address.ptr[i];
        if (((unsigned char)c < ' ' || c == 0x7f) || (!is_quoted && (c == ' ' || c == '<' || c == '>')))
            return false;
    }
    return true;
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] > 0x7f)
            return false;
    return true;
}

static struct slice address_of(const struct client_transaction *t, size_t i)
{
    return t->asked.envelope->recipients[i].address;
}

/* The first recipient from i on that goes to the peer in this transaction. */
static size_t next_recipient(const struct client_transaction *t, size_t i)
{
    while (t->has_local_recipients && i < t->nrcpt_end && (address_of(t, i).len == 0 || !is_sendable(address_of(t, i))))
        i++;
    return i;
}

bool client_is_envelope_asked(const struct client_transaction *t)
{
    return t->mail != CLIENT_UNSENT && t->rcpt_asked == t->nrcpt_end;
}

bool client_is_envelope_answered(const struct client_transaction *t)
{
    return t->mail == CLIENT_ANSWERED && t->rcpt_answered == t->nrcpt_end;
}

enum client_command client_awaited(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    if (client_early_awaited(c) != CLIENT_COMMAND_NONE)
        return client_early_awaited(c);
    if (c->state == CLIENT_OUTCOME)
        return c->questions.answered < c->questions.asked ? CLIENT_COMMAND_OUTCOME : CLIENT_COMMAND_NONE;
    if (!client_has_transaction(c))
        return CLIENT_COMMAND_NONE;
    if (t->rset == CLIENT_ASKED)
        return CLIENT_COMMAND_RSET;
    if (t->mail == CLIENT_ASKED)
        return CLIENT_COMMAND_MAIL;
    if (t->rcpt_answered < t->rcpt_asked)
        return CLIENT_COMMAND_RCPT;
    if (t->data == CLIENT_ASKED)
        return CLIENT_COMMAND_DATA;
    if (t->nbdat_answered < t->nbdat_asked)
        return CLIENT_COMMAND_BDAT;
    if (t->dot == CLIENT_ASKED)
        return CLIENT_COMMAND_DOT;
    return t->pause == CLIENT_ASKED ? CLIENT_COMMAND_PAUSE : CLIENT_COMMAND_NONE;
}

bool client_is_uncertain(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    bool may_have_recipients = !client_is_envelope_answered(t) || t->naccepted > 0;
    return client_has_transaction(c) && t->is_body_whole && !t->has_verdict && may_have_recipients &&
           c->octets_sent >= c->last_octet_at;
}

/* ---- verdict ---- */

static void judge(struct smtp_client *c, const char *phase)
{
    if (c->t.has_verdict)
        return;
    struct buffer text = c->verdict_text;
    c->verdict_text = c->text; /* the reply's text lives on there while others are read */
    c->text = text;
    c->t.has_verdict = true;
    c->t.verdict = c->reply;
    c->t.verdict_phase = phase;
}

void client_judge_locally(struct smtp_client *c, struct smtp_reply reply, const char *phase)
{
    c->t.has_verdict = c->t.is_verdict_local = true;
    c->t.verdict = reply;
    c->t.verdict_phase = phase;
}

/* ---- the start ---- */

static bool needs_utf8(const struct smtp_transaction *asked)
{
    if (asked->needs_smtputf8 || !is_ascii(asked->envelope->sender))
        return true;
    for (size_t i = 0; i < asked->envelope->nrcpt; i++)
        if (!is_ascii(asked->envelope->recipients[i].address))
            return true;
    return false;
}

/* "61.2 MB"; whole octets where is_exact. */
static void format_size(uint64_t octets, bool is_exact, char *out, size_t size)
{
    static const char *const units[] = {"octets", "KB", "MB", "GB"};
    double value = (double)octets;
    size_t unit = 0;
    for (; !is_exact && value >= 1000 && unit < 3; unit++)
        value /= 1000;
    if (unit == 0)
        snprintf(out, size, "%" PRIu64 " octets", octets);
    else
        snprintf(out, size, "%.1f %s", value, units[unit]);
}

static void judge_too_large(struct smtp_client *c, uint64_t octets, uint64_t most)
{
    char has[40], takes[40];
    format_size(octets, false, has, sizeof has);
    format_size(most, false, takes, sizeof takes);
    if (strcmp(has, takes) == 0) {
        format_size(octets, true, has, sizeof has);
        format_size(most, true, takes, sizeof takes);
    }
    struct smtp_reply reply = SMTP_REPLY(552, 5, 3, 4, "The message is larger than the next hop takes (SIZE)");
    buffer_clear(&c->verdict_text);
    if (buffer_printf(&c->verdict_text, "The message has %s, the next hop takes at most %s", has, takes) == RESULT_OK)
        reply.text = buffer_slice(&c->verdict_text);
    client_judge_locally(c, reply, "MAIL FROM");
}

/* RFC 6152 3, RFC 3030 3, RFC 6531 3.2, RFC 1870 6.1: what the peer can't take is refused before it hears of the message. */
static void check_needs(struct smtp_client *c)
{
    const struct smtp_transaction *asked = &c->t.asked;
    /* Who may have the message already, and is asked whether, has perhaps lowered his limit since: he answers for both. */
    uint64_t size_max = has(c, SMTP_CAP_SIZE) && !c->t.asks ? c->peer.size_max_octets : 0;
    if (asked->is_binary && !has(c, SMTP_CAP_BINARYMIME | SMTP_CAP_CHUNKING))
        client_judge_locally(c, SMTP_REPLY(554, 5, 6, 3, "The next hop does not take binary messages (BINARYMIME)"), "MAIL FROM");
    else if (asked->needs_smtputf8 && !has(c, SMTP_CAP_SMTPUTF8))
        client_judge_locally(c, SMTP_REPLY(553, 5, 6, 7, "The next hop does not take internationalized addresses or headers (SMTPUTF8)"), "MAIL FROM");
    else if (asked->has_8bit && !asked->is_binary && !has(c, SMTP_CAP_8BITMIME))
        client_judge_locally(c, SMTP_REPLY(554, 5, 6, 3, "The next hop takes only 7-bit text (it lacks 8BITMIME)"), "MAIL FROM");
    else if (size_max > 0 && asked->size_octets > size_max)
        judge_too_large(c, asked->size_octets, size_max);
    else if (!is_sendable(asked->envelope->sender))
        client_judge_locally(c, SMTP_REPLY(553, 5, 1, 7, "The sender's address can't be written in SMTP"), "MAIL FROM");
}

/* LIMITS RCPTMAX; 0: none. Under a name the peer may have taken more of them than it takes today: whom it was not told of again would go in another transaction, and twice, so it says itself who
 * is too many (schema/link.md, CHECKPOINT). */
static uint64_t most_recipients(const struct client_transaction *t, const struct smtp_peer *peer)
{
    return t->has_name ? 0 : peer->nrcpt_max;
}

/* Finds where LIMITS RCPTMAX ends this transaction, and whether any recipient is ours to refuse. */
static void plan_recipients(struct smtp_client *c)
{
    struct client_transaction *t = &c->t;
    size_t nrcpt = t->asked.envelope->nrcpt, taken = 0;
    uint64_t most = most_recipients(t, &c->peer);
    for (t->nrcpt_end = 0; t->nrcpt_end < nrcpt; t->nrcpt_end++) {
        struct slice address = address_of(t, t->nrcpt_end);
        bool is_ours = address.len == 0 || !is_sendable(address);
        if (!is_ours && most > 0 && taken == most)
            break;
        t->has_local_recipients = t->has_local_recipients || is_ours;
        taken += !is_ours;
    }
    t->nplanned = taken;
    t->rcpt_asked = t->rcpt_answered = next_recipient(t, 0);
}

static void plan(struct smtp_client *c)
{
    c->t.uses_bdat = has(c, SMTP_CAP_CHUNKING);
    client_resume_plan(c);
    check_needs(c);
    if (!c->t.has_verdict)
        plan_recipients(c);
}

/* What the peer said another day refuses no message. */
static void wait_for_facts(struct smtp_client *c)
{
    c->t.awaits_facts = true;
    c->t.has_verdict = c->t.is_verdict_local = false;
}

void client_transaction_reconsider(struct smtp_client *c)
{
    if (!client_has_transaction(c) || !c->t.awaits_facts)
        return;
    c->t.awaits_facts = false;
    plan(c);
}

bool client_transaction_suits(const struct smtp_client *c, const struct smtp_peer *peer)
{
    const struct client_transaction *t = &c->t;
    if (!client_has_transaction(c) || t->awaits_facts || t->has_verdict)
        return true;
    unsigned relied = t->relied | SMTP_CAP_PIPELINING | (t->uses_bdat ? SMTP_CAP_CHUNKING : 0);
    bool is_too_large = peer->size_max_octets > 0 && !t->asks && t->asked.size_octets > peer->size_max_octets;
    uint64_t most = most_recipients(t, peer);
    bool is_for_too_many = most > 0 && t->nplanned > most;
    return (peer->capabilities & relied) == relied && !is_too_large && !is_for_too_many;
}

void smtp_client_send(struct smtp_client *c, const struct smtp_transaction *transaction, int64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->failure != SMTP_FAIL_NONE || c->state == CLIENT_FAILED)
        return;
    assert(c->state == CLIENT_READY);
    c->t = (struct client_transaction){.asked = *transaction};
    c->t.asked.needs_smtputf8 = needs_utf8(transaction);
    client_set_state(c, CLIENT_ENVELOPE);
    plan(c);
    if (c->t.has_verdict && smtp_client_is_early(c))
        wait_for_facts(c);
}

/* A recipient whose reply is ours. */
static bool tell_local_recipient(struct smtp_client *c, struct smtp_client_event *event)
{
    struct client_transaction *t = &c->t;
    if (!t->has_local_recipients && t->local < t->nrcpt_end)
        t->local = t->nrcpt_end;
    while (t->local < t->nrcpt_end && address_of(t, t->local).len > 0 && is_sendable(address_of(t, t->local)))
        t->local++;
    if (t->local == t->asked.envelope->nrcpt)
        return false;
    c->reply = t->local < t->nrcpt_end ? SMTP_REPLY(553, 5, 1, 3, "The recipient's address can't be written in SMTP")
                                       : SMTP_REPLY(452, 4, 5, 3, "The next hop takes no more recipients at a time");
    *event = (struct smtp_client_event){
        .type = SMTP_CLIENT_RECIPIENT, .recipient = t->local++, .reply = &c->reply, .is_local = true, .phase = "RCPT TO"};
    return true;
}

/* ---- commands ---- */

static bool is_clean_parameter(const struct smtp_client *c, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f || ((unsigned char)s.ptr[i] > 0x7f && !c->t.asked.needs_smtputf8))
            return false;
    return s.len > 0 && s.len <= PARAMETER_MAX;
}

/* The parameters of MAIL and RCPT that make them wrong for a peer without the extension. */
static unsigned mail_relies_on(const struct smtp_client *c)
{
    const struct smtp_transaction *asked = &c->t.asked;
    unsigned relied = c->peer.capabilities & SMTP_CAP_SIZE;
    relied |= asked->is_binary ? SMTP_CAP_BINARYMIME : asked->has_8bit ? SMTP_CAP_8BITMIME : 0;
    relied |= asked->needs_smtputf8 ? SMTP_CAP_SMTPUTF8 : 0;
    bool has_dsn = asked->envelope->ret != DSN_RET_UNSET || asked->envelope->envid.len > 0;
    for (size_t i = 0; i < asked->envelope->nrcpt && !has_dsn; i++)
        has_dsn = asked->envelope->recipients[i].notify != 0 || asked->envelope->recipients[i].orcpt.len > 0;
    return relied | (has_dsn ? c->peer.capabilities & SMTP_CAP_DSN : 0);
}

static void say_mail(struct smtp_client *c)
{
    const struct smtp_transaction *asked = &c->t.asked;
    client_begin_flight(c);
    client_put(c, SLICE("MAIL FROM:<"));
    client_put(c, asked->envelope->sender);
    client_put(c, SLICE(">"));
    c->t.relied = mail_relies_on(c);
    if (has(c, SMTP_CAP_SIZE)) {
        client_put(c, SLICE(" SIZE="));
        client_put_number(c, asked->size_octets);
    }
    if (asked->is_binary)
        client_put(c, SLICE(" BODY=BINARYMIME"));
    else if (asked->has_8bit)
        client_put(c, SLICE(" BODY=8BITMIME"));
    if (asked->needs_smtputf8)
        client_put(c, SLICE(" SMTPUTF8"));
    if (has(c, SMTP_CAP_DSN) && asked->envelope->ret != DSN_RET_UNSET) {
        client_put(c, SLICE(" RET="));
        client_put(c, slice_from_cstr(dsn_ret_name(asked->envelope->ret)));
    }
    if (has(c, SMTP_CAP_DSN) && is_clean_parameter(c, asked->envelope->envid)) {
        client_put(c, SLICE(" ENVID="));
        client_put(c, asked->envelope->envid);
    }
    client_resume_say_name(c);
    client_put(c, SLICE("\r\n"));
    c->t.mail = CLIENT_ASKED;
}

static void say_rcpt(struct smtp_client *c)
{
    const struct envelope_recipient *recipient = &c->t.asked.envelope->recipients[c->t.rcpt_asked];
    char notify[40];
    client_begin_flight(c);
    client_put(c, SLICE("RCPT TO:<"));
    client_put(c, recipient->address);
    client_put(c, SLICE(">"));
    if (has(c, SMTP_CAP_DSN) && recipient->notify != 0) {
        dsn_notify_format(recipient->notify, notify, sizeof notify);
        client_put(c, SLICE(" NOTIFY="));
        client_put(c, slice_from_cstr(notify));
    }
    if (has(c, SMTP_CAP_DSN) && is_clean_parameter(c, recipient->orcpt)) {
        client_put(c, SLICE(" ORCPT="));
        client_put(c, recipient->orcpt);
    }
    client_put(c, SLICE("\r\n"));
    c->t.rcpt_asked = next_recipient(&c->t, c->t.rcpt_asked + 1);
}

static void say_rset(struct smtp_client *c)
{
    client_begin_flight(c);
    client_put(c, SLICE("RSET\r\n"));
    c->t.rset = CLIENT_ASKED;
    c->needs_rset = false;
}

static void say_data(struct smtp_client *c)
{
    client_begin_flight(c);
    client_put(c, SLICE("DATA\r\n"));
    c->t.data = CLIENT_ASKED;
}

/* Whether another command may go: one at a time without PIPELINING (RFC 2920 3.1), and as long as there is somebody to send for. */
static bool may_say_more(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    return c->failure == SMTP_FAIL_NONE && !t->has_verdict && !t->awaits_facts && !t->wants_pause && buffer_len(&c->out) <= CLIENT_OUTPUT_LOW &&
           (has(c, SMTP_CAP_PIPELINING) || client_awaited(c) == CLIENT_COMMAND_NONE);
}

/* Who asks how much of the message is there must hear it before he goes on. */
static bool has_mail(const struct client_transaction *t)
{
    return t->asks ? t->mail == CLIENT_ANSWERED : t->mail != CLIENT_UNSENT;
}

static bool wants_data(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    return !t->uses_bdat && t->data == CLIENT_UNSENT && client_is_envelope_asked(t) && (t->naccepted > 0 || !client_is_envelope_answered(t));
}

static void say_commands(struct smtp_client *c)
{
    struct client_transaction *t = &c->t;
    if (next_recipient(t, 0) == t->nrcpt_end)
        return;
    if (c->needs_rset && may_say_more(c))
        say_rset(c);
    if (t->mail == CLIENT_UNSENT && may_say_more(c))
        say_mail(c);
    while (has_mail(t) && t->rcpt_asked < t->nrcpt_end && may_say_more(c))
        say_rcpt(c);
    if (wants_data(c) && may_say_more(c))
        say_data(c);
}

/* ---- replies ---- */

static bool is_intermediate(const struct smtp_reply *reply)
{
    return reply->code >= 300 && reply->code < 400;
}

static void on_rset(struct smtp_client *c)
{
    if (c->reply.code == 250)
        c->t.rset = CLIENT_ANSWERED;
    else
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
}

/* It was asked because it might have the message (check_needs): it has not, and what EHLO said says more to a person than most refusals do. */
static bool is_by_size(const struct smtp_client *c)
{
    const struct smtp_status *status = &c->reply.status;
    bool is_of_size = c->reply.code == 552 && (status->class == 0 || (status->subject == 3 && status->detail == 4));
    return is_of_size && c->peer.size_max_octets > 0 && c->t.asked.size_octets > c->peer.size_max_octets;
}

static bool on_mail(struct smtp_client *c, struct smtp_client_event *event)
{
    if (c->reply.code == 355)
        return client_resume_on_offset(c, event);
    if (is_intermediate(&c->reply)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return false;
    }
    c->t.mail = CLIENT_ANSWERED;
    c->t.is_renamed = client_resume_is_renamed(c);
    if (is_by_size(c))
        judge_too_large(c, c->t.asked.size_octets, c->peer.size_max_octets);
    else if (!smtp_reply_is_positive(&c->reply))
        judge(c, "MAIL FROM");
    return false;
}

/* RFC 5321 4.5.3.1.10: 552 was once the word for "too many recipients", and means "later" then. */
static void mend_too_many(struct smtp_client *c)
{
    bool is_told_apart = c->reply.status.class != 0 && !(c->reply.status.subject == 5 && c->reply.status.detail == 3);
    if (c->reply.code != 552 || c->t.naccepted == 0 || is_told_apart)
        return;
    c->reply.code = 452;
    c->reply.status = (struct smtp_status){4, 5, 3};
}

static bool on_rcpt(struct smtp_client *c, struct smtp_client_event *event)
{
    size_t recipient = c->t.rcpt_answered;
    if (is_intermediate(&c->reply)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return false;
    }
    c->t.rcpt_answered = next_recipient(&c->t, recipient + 1);
    if (c->t.has_verdict) /* MAIL was refused, so this says nothing new */
        return false;
    mend_too_many(c);
    c->t.naccepted += smtp_reply_is_positive(&c->reply);
    *event = (struct smtp_client_event){.type = SMTP_CLIENT_RECIPIENT, .recipient = recipient, .reply = &c->reply, .phase = "RCPT TO"};
    return true;
}

static bool is_for_nobody(const struct smtp_client *c)
{
    return c->t.has_verdict || c->t.naccepted == 0;
}

static void on_data(struct smtp_client *c)
{
    if (c->reply.code != 354 && smtp_reply_is_positive(&c->reply)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return;
    }
    c->t.data = CLIENT_ANSWERED;
    if (c->reply.code == 354 && is_for_nobody(c)) {
        /* RFC 2920 3.1: DATA went in the same flight as recipients that were all refused, and the peer lets it in all the same. */
        client_begin_flight(c);
        client_put(c, SLICE(".\r\n"));
        c->t.dot = CLIENT_ASKED;
        c->t.is_body_whole = true;
    } else if (c->reply.code != 354 && !is_for_nobody(c)) {
        judge(c, "DATA");
    }
}

static void on_bdat(struct smtp_client *c)
{
    struct client_transaction *t = &c->t;
    bool is_last = t->is_body_whole && t->nbdat_answered + 1 == t->nbdat_asked;
    const char *phase = client_phase(c);
    bool is_early = c->octets_sent_when_heard < c->last_octet_at;
    if (is_intermediate(&c->reply) || (smtp_reply_is_positive(&c->reply) && is_last && is_early)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return;
    }
    t->nbdat_answered++;
    if (!is_for_nobody(c) && (is_last || !smtp_reply_is_positive(&c->reply)))
        judge(c, phase);
}

static void on_dot(struct smtp_client *c)
{
    bool is_early = c->octets_sent_when_heard < c->last_octet_at;
    if (is_intermediate(&c->reply) || (smtp_reply_is_positive(&c->reply) && is_early)) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return;
    }
    c->t.dot = CLIENT_ANSWERED;
    c->t.breaks_session = is_early;
    if (!is_for_nobody(c))
        judge(c, "end of data");
}

/* In the middle of a body: some servers say no before they have heard all. They can't be talked to any further, but what they said counts. */
static void on_unasked(struct smtp_client *c)
{
    if (smtp_reply_is_positive(&c->reply) || c->t.has_verdict) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return;
    }
    judge(c, "message");
    c->t.breaks_session = true;
}

static enum client_step on_reply(struct smtp_client *c, struct smtp_client_event *event)
{
    switch (client_awaited(c)) {
    case CLIENT_COMMAND_GREETING:
    case CLIENT_COMMAND_EHLO:
    case CLIENT_COMMAND_AUTH: client_early_reply(c, client_awaited(c)); break;
    case CLIENT_COMMAND_RSET: on_rset(c); break;
    case CLIENT_COMMAND_MAIL: return on_mail(c, event) ? CLIENT_STEP_EVENT : CLIENT_STEP_AGAIN;
    case CLIENT_COMMAND_RCPT: return on_rcpt(c, event) ? CLIENT_STEP_EVENT : CLIENT_STEP_AGAIN;
    case CLIENT_COMMAND_DATA: on_data(c); break;
    case CLIENT_COMMAND_BDAT: on_bdat(c); break;
    case CLIENT_COMMAND_DOT: on_dot(c); break;
    case CLIENT_COMMAND_PAUSE: client_resume_on_pause(c); break;
    case CLIENT_COMMAND_OUTCOME: /* of no transaction */
    case CLIENT_COMMAND_NONE: on_unasked(c); break;
    }
    return CLIENT_STEP_AGAIN;
}

/* ---- the end ---- */

static bool is_finished(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    if (t->is_body_wanted)
        return false;
    if (t->breaks_session)
        return true;
    bool is_for_no_one = client_is_envelope_answered(t) && t->naccepted == 0;
    bool has_nobody_to_ask = t->mail == CLIENT_UNSENT && next_recipient(t, 0) == t->nrcpt_end;
    return client_awaited(c) == CLIENT_COMMAND_NONE && (t->has_verdict || is_for_no_one || has_nobody_to_ask || client_resume_is_paused(c));
}

/* Whether the peer still has a transaction open: MAIL was accepted, and neither a whole DATA nor a last BDAT that was accepted closed it
 * (RFC 5321 4.1.1.4, RFC 3030 2). */
static bool leaves_transaction_open(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    bool is_mail_refused = t->has_verdict && t->verdict_phase[0] == 'M';
    if (t->mail == CLIENT_UNSENT)
        return c->needs_rset;
    if (t->dot == CLIENT_ANSWERED || t->pause == CLIENT_ANSWERED)
        return false;
    if (t->nbdat_asked > 0)
        return !(t->has_verdict && smtp_reply_is_positive(&t->verdict));
    return !is_mail_refused;
}

static enum smtp_sent outcome_of(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    bool is_for_no_one = client_is_envelope_answered(t) && t->naccepted == 0;
    if (!t->has_verdict)
        return client_resume_is_paused(c) && !is_for_no_one ? SMTP_SENT_PAUSED : SMTP_SENT_NOBODY;
    if (t->is_renamed)
        return SMTP_SENT_RENAME;
    if (smtp_reply_is_positive(&t->verdict))
        return SMTP_SENT_ACCEPTED;
    return smtp_reply_is_transient(&t->verdict) ? SMTP_SENT_DEFERRED : SMTP_SENT_REFUSED;
}

/* It was said to a peer that is another now; what he refuses may suit him when it is said in an ordinary session. */
static void fail_contradicted(struct smtp_client *c)
{
    if (!c->t.has_verdict) {
        client_fail(c, SMTP_FAIL_EARLY);
        return;
    }
    c->reply = c->t.verdict;
    client_fail_reply(c, SMTP_FAIL_EARLY);
}

static void tell_sent(struct smtp_client *c, struct smtp_client_event *event)
{
    struct client_transaction *t = &c->t;
    *event = (struct smtp_client_event){
        .type = SMTP_CLIENT_SENT,
        .sent = outcome_of(c),
        .reply = t->has_verdict ? &t->verdict : NULL,
        .is_local = t->is_verdict_local,
        .phase = t->has_verdict ? t->verdict_phase : "RCPT TO",
    };
    if (event->sent == SMTP_SENT_PAUSED)
        event->phase = "RSET";
    c->needs_rset = leaves_transaction_open(c);
    c->early.is_contradicted = false;
    if (t->breaks_session)
        client_fail(c, t->is_verdict_local ? SMTP_FAIL_ABORTED : SMTP_FAIL_PROTOCOL);
    else
        client_set_state(c, CLIENT_READY);
}

static void follow_state(struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    bool is_answered = client_is_envelope_answered(t) && (t->uses_bdat || t->data == CLIENT_ANSWERED);
    client_set_state(c, !is_answered ? CLIENT_ENVELOPE : t->is_body_whole ? CLIENT_FINAL : CLIENT_BODY);
}

enum client_step client_transaction_step(struct smtp_client *c, struct smtp_client_event *event)
{
    if (!c->t.has_verdict && !c->t.awaits_facts && tell_local_recipient(c, event))
        return CLIENT_STEP_EVENT;
    if (is_finished(c) && c->early.is_contradicted && outcome_of(c) != SMTP_SENT_ACCEPTED) {
        fail_contradicted(c);
        return CLIENT_STEP_AGAIN;
    }
    if (is_finished(c)) {
        tell_sent(c, event);
        return CLIENT_STEP_EVENT;
    }
    say_commands(c);
    client_resume_say_pause(c);
    if (c->failure == SMTP_FAIL_NONE && client_wants_body(c))
        return client_want_body(c, event) ? CLIENT_STEP_EVENT : CLIENT_STEP_AGAIN;
    enum client_step step = CLIENT_STEP_IDLE;
    if (client_take_reply(c))
        step = on_reply(c, event);
    if (c->failure != SMTP_FAIL_NONE)
        return CLIENT_STEP_AGAIN;
    follow_state(c);
    return step;
}
