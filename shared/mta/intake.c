#include "mta/intake.h"

#include "mail/header.h"
#include "mail/message_id.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum intake_state { INTAKE_OPEN, INTAKE_REFUSED, INTAKE_COMMITTING, INTAKE_ENDED };
enum { INTAKE_REPLY_MAX = 512, INTAKE_ARENA_MAX = 4 * 1024 * 1024 };

struct intake {
    struct intake_config config; /* its slices are copies in the arena */
    struct arena arena;
    struct envelope envelope;
    struct slice *hops;
    enum intake_state state;
    bool is_orphan; /* the owner has gone: no callback to it */
    bool is_judged;
    struct submission *submission;
    struct store_intake *store;
    struct smtp_reply refusal;
    char refusal_text[INTAKE_REPLY_MAX];
};

struct smtp_reply intake_reply_of(enum result result)
{
    if (result == RESULT_FULL)
        return SMTP_REPLY(452, 4, 3, 1, "The disk is full here; the message was not taken, please try again later");
    if (result == RESULT_BUSY || result == RESULT_MEMORY)
        return SMTP_REPLY(452, 4, 3, 1, "Too busy to take the message now; please try again in a moment");
    if (result == RESULT_LIMIT)
        return SMTP_REPLY(452, 4, 5, 3, "The envelope is too large for one message; send it to fewer recipients at a time");
    return SMTP_REPLY(451, 4, 3, 0, "The message could not be stored; it was not taken, please try again later");
}

static void release(struct intake *intake)
{
    submission_free(&intake->submission);
    if (intake->store)
        store_intake_abort(&intake->store);
    arena_free(&intake->arena);
    free(intake);
}

/* ---- refusing --------------------------------------------------------------------------------------------------- */

static void refuse(struct intake *intake, const struct smtp_reply *reply)
{
    if (intake->state != INTAKE_OPEN)
        return;
    intake->state = INTAKE_REFUSED;
    intake->refusal = *reply;
    int len = snprintf(intake->refusal_text, sizeof intake->refusal_text, "%.*s", SLICE_ARG(reply->text));
    if (len >= (int)sizeof intake->refusal_text)
        len = sizeof intake->refusal_text - 1;
    intake->refusal.text = slice_of(intake->refusal_text, (size_t)len);
    submission_free(&intake->submission);
    if (intake->store)
        store_intake_abort(&intake->store);
}

struct smtp_reply intake_refusal_of(const struct submission *submission)
{
    struct submission_words words = submission_refusal_words(submission);
    return (struct smtp_reply){words.code, {words.class, words.subject, words.detail}, slice_from_cstr(words.text)};
}

static void refuse_by_submission(struct intake *intake)
{
    struct smtp_reply reply = intake_refusal_of(intake->submission);
    refuse(intake, &reply);
}

static void refuse_by_result(struct intake *intake, enum result result)
{
    struct smtp_reply reply = intake_reply_of(result);
    refuse(intake, &reply);
}

/* ---- taking ----------------------------------------------------------------------------------------------------- */

/* True: pause. */
static bool append(struct intake *intake, struct slice octets)
{
    if (octets.len == 0 || intake->state != INTAKE_OPEN)
        return false;
    enum result result = store_intake_append(intake->store, octets);
    if (result == RESULT_OK || result == RESULT_BUSY)
        return result == RESULT_BUSY;
    refuse_by_result(intake, result);
    return false;
}

static void judge(struct intake *intake)
{
    struct smtp_reply refusal;
    if (intake->is_judged || !submission_has_header(intake->submission))
        return;
    intake->is_judged = true;
    const struct submission_facts *facts = submission_facts(intake->submission);
    if (intake->config.judge && !intake->config.judge(intake->config.owner, facts, &intake->envelope, &refusal))
        refuse(intake, &refusal);
}

static bool pass_on(struct intake *intake, enum result result, const struct submission_out *out)
{
    if (result == RESULT_DENIED) {
        refuse_by_submission(intake);
        return false;
    }
    if (result != RESULT_OK) {
        refuse_by_result(intake, result);
        return false;
    }
    judge(intake);
    bool header_pauses = append(intake, out->header);
    return append(intake, out->body) || header_pauses;
}

bool intake_feed(struct intake *intake, struct slice octets)
{
    struct submission_out out;
    if (intake->state != INTAKE_OPEN)
        return false;
    enum result result = submission_feed(intake->submission, octets, &out);
    return pass_on(intake, result, &out) && intake->state == INTAKE_OPEN;
}

static void on_drain(void *context)
{
    struct intake *intake = context;
    if (!intake->is_orphan)
        intake->config.on_resume(intake->config.owner);
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void tell(struct intake *intake, const struct smtp_reply *reply)
{
    intake->state = INTAKE_ENDED;
    if (intake->is_orphan)
        release(intake);
    else
        intake->config.on_reply(intake->config.owner, reply); /* which may free it */
}

static void tell_accepted(struct intake *intake)
{
    char id[MESSAGE_ID_TEXT], text[64];
    message_id_format(intake->config.id, id);
    int len = snprintf(text, sizeof text, "Ok: queued as %s", id);
    struct smtp_reply reply = {.code = 250, .status = {2, 0, 0}, .text = slice_of(text, (size_t)len)};
    tell(intake, &reply);
}

/* SMTPUTF8 is needed of the next hop only where something is UTF-8, whatever the sender announced (RFC 6531 3.4 leaves that to us). */
static bool needs_smtputf8(const struct intake *intake)
{
    const struct envelope *envelope = &intake->envelope;
    if (!envelope->is_smtputf8)
        return false;
    for (size_t i = 0; i < envelope->nrcpt; i++)
        if (mail_has_8bit(envelope->recipients[i].address))
            return true;
    return mail_has_8bit(envelope->sender) || submission_facts(intake->submission)->has_8bit_header;
}

static struct store_message message_of(const struct intake *intake)
{
    const struct submission_facts *facts = submission_facts(intake->submission);
    return (struct store_message){
        .id = intake->config.id,
        .account = intake->config.account,
        .envelope = intake->envelope,
        .size_octets = facts->size_octets,
        .has_8bit = facts->has_8bit_header || facts->has_8bit_body,
        .is_binary = intake->envelope.body == MAIL_BODY_BINARYMIME,
        .needs_smtputf8 = needs_smtputf8(intake),
        .is_dsn = intake->config.is_dsn,
        .received_at_ms = intake->config.received_at_ms,
        .expires_at_ms = intake->config.expires_at_ms,
        .header_octets = (uint32_t)facts->header_octets,
    };
}

static void on_commit(void *context, enum result result)
{
    struct intake *intake = context;
    if (result != RESULT_OK) {
        struct smtp_reply reply = intake_reply_of(result);
        tell(intake, &reply);
        return;
    }
    struct store_message message = message_of(intake);
    struct intake_queued queued = {&message, intake->hops, intake->config.received_at_ms};
    intake->config.on_queued(intake->config.context, &queued);
    tell_accepted(intake);
}

void intake_finish(struct intake *intake)
{
    struct submission_out out;
    if (intake->state == INTAKE_OPEN) {
        enum result result = submission_finish(intake->submission, &out);
        (void)pass_on(intake, result, &out); /* a pause is of no use any more: the commit itself waits its turn */
    }
    if (intake->state == INTAKE_REFUSED) {
        tell(intake, &intake->refusal);
        return;
    }
    assert(intake->state == INTAKE_OPEN);
    intake->state = INTAKE_COMMITTING;
    struct store_message message = message_of(intake);
    if (intake->config.route)
        intake->config.route(intake->config.context, &intake->envelope, intake->hops);
    store_intake_commit(&intake->store, &message, intake->hops, intake->config.received_at_ms, on_commit, intake);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static enum result prepare(struct intake *intake, const struct intake_config *config)
{
    struct arena *a = &intake->arena;
    enum result result = envelope_copy(a, config->envelope, &intake->envelope);
    if (result == RESULT_OK)
        result = arena_copy(a, config->account, &intake->config.account);
    if (result != RESULT_OK)
        return result;
    if (config->route) {
        intake->hops = arena_alloc(a, intake->envelope.nrcpt * sizeof *intake->hops);
        if (!intake->hops)
            return RESULT_MEMORY;
    }
    intake->submission = submission_new(config->submission);
    intake->store = store_intake_new(config->store, config->id, on_drain, intake);
    return intake->submission && intake->store ? RESULT_OK : RESULT_MEMORY;
}

struct intake *intake_new(const struct intake_config *config)
{
    struct intake *intake = calloc(1, sizeof *intake);
    if (!intake)
        return NULL;
    intake->config = *config;
    intake->config.envelope = NULL;
    intake->config.submission = NULL;
    intake->arena = ARENA(INTAKE_ARENA_MAX);
    if (prepare(intake, config) == RESULT_OK)
        return intake;
    release(intake);
    return NULL;
}

void intake_free(struct intake **intake)
{
    struct intake *i = *intake;
    *intake = NULL;
    if (!i)
        return;
    if (i->state == INTAKE_COMMITTING)
        i->is_orphan = true;
    else
        release(i);
}
