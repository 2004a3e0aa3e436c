#include "mta/intake.h"

#include "crypto/crypto.h"
#include "mail/header.h"
#include "mail/message_id.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum intake_state { INTAKE_OPEN, INTAKE_REFUSED, INTAKE_COMMITTING, INTAKE_ENDED };
enum {
    INTAKE_REPLY_MAX = 512,
    INTAKE_ACCEPTED_MAX = 80,
    INTAKE_HELD_MAX = STORE_INTAKE_WINDOW, /* octets that come while a half is read back: what the driver has in its hands when it is told to pause */
};

struct intake {
    struct intake_config config; /* its slices are copies in the arena */
    struct arena arena;
    struct envelope envelope;
    struct slice *hops;
    enum intake_state state;
    bool is_orphan; /* the owner has gone: no callback to it */
    bool is_judged;
    bool is_named;
    bool keeps_half; /* it was refused, for no fault of its own */
    bool is_resuming; /* the store reads the half back: `store` is still to come */
    bool is_whole;    /* the end came meanwhile */
    bool is_paused;   /* likewise, the owner was told to */
    struct buffer held;
    struct store_half half;
    struct submission *submission;
    struct store_intake *store;
    struct smtp_reply refusal;
    char refusal_text[INTAKE_REPLY_MAX];
    char accepted_text[INTAKE_ACCEPTED_MAX - sizeof "250 2.0.0"];
    struct crypto_digest digest; /* of what was fed, while a retry is looked for */
};

struct smtp_reply intake_reply_of(enum result result)
{
    if (result == RESULT_FULL)
        return SMTP_REPLY(452, 4, 3, 1, "The disk is full here; the message was not taken, please try again later");
    if (result == RESULT_BUSY || result == RESULT_MEMORY)
        return SMTP_REPLY(452, 4, 3, 1, "Too busy to take the message now; please try again in a moment");
    if (result == RESULT_LIMIT)
        return SMTP_REPLY(452, 4, 5, 3, "The envelope is too large for one message; send it to fewer recipients at a time");
    if (result == RESULT_CANCELLED)
        return SMTP_REPLY(451, 4, 3, 0, "Another session goes on with this message, or has ended it, or it was removed here; this one did not take it");
    return SMTP_REPLY(451, 4, 3, 0, "The message could not be stored; it was not taken, please try again later");
}

static void release(struct intake *intake)
{
    if (intake->store && intake->is_named && intake->state == INTAKE_OPEN)
        store_intake_suspend(&intake->store);
    if (intake->store)
        store_intake_abort(&intake->store);
    submission_free(&intake->submission);
    buffer_free(&intake->held);
    arena_free(&intake->arena);
    free(intake);
}

/* ---- the same again ---------------------------------------------------------------------------------------------- */

static bool looks_for_retry(const struct intake *intake)
{
    return intake->config.retry_window_ms > 0 && !intake->is_named;
}

/* All that the sender has said of it; then come the octets. */
static void digest_envelope(struct intake *intake)
{
    const struct envelope *envelope = &intake->envelope;
    struct crypto_digest *digest = &intake->digest;
    crypto_digest_begin(digest);
    crypto_digest_add_text(digest, SLICE("postern submission 1"));
    crypto_digest_add_text(digest, intake->config.account);
    crypto_digest_add_text(digest, envelope->sender);
    crypto_digest_add_number(digest, envelope->body);
    crypto_digest_add_number(digest, envelope->is_smtputf8);
    crypto_digest_add_number(digest, envelope->ret);
    crypto_digest_add_text(digest, envelope->envid);
    crypto_digest_add_number(digest, envelope->nrcpt);
    for (size_t i = 0; i < envelope->nrcpt; i++) {
        crypto_digest_add_text(digest, envelope->recipients[i].address);
        crypto_digest_add_number(digest, envelope->recipients[i].notify);
        crypto_digest_add_text(digest, envelope->recipients[i].orcpt);
    }
}

bool intake_has_message_id(const struct intake *intake)
{
    return intake->submission && submission_facts(intake->submission)->has_own_message_id;
}

/* ---- refusing --------------------------------------------------------------------------------------------------- */

/* Of a body that is refused. A half that there is merely no room or time for now stays: its sender comes back and goes on where it ends. */
static void drop_or_keep(struct intake *intake)
{
    if (intake->store && intake->keeps_half)
        store_intake_suspend(&intake->store);
    else if (intake->store)
        store_intake_abort(&intake->store);
}

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
    drop_or_keep(intake);
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
    if (intake->state == INTAKE_OPEN)
        intake->keeps_half = intake->is_named && store_keeps_half(result);
    refuse(intake, &reply);
}

/* ---- taking ----------------------------------------------------------------------------------------------------- */

/* True: pause. */
static bool hold(struct intake *intake, struct slice octets)
{
    if (buffer_append(&intake->held, octets) != RESULT_OK) {
        refuse_by_result(intake, RESULT_MEMORY);
        return false;
    }
    intake->is_paused = true;
    return true;
}

/* True: pause. */
static bool append(struct intake *intake, struct slice octets)
{
    if (octets.len == 0 || intake->state != INTAKE_OPEN)
        return false;
    if (intake->is_resuming)
        return hold(intake, octets);
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

/* Before the octets that it is about go to the store: what lies on the disk of a half is never without what must be known of it. */
static void note_half(struct intake *intake)
{
    const struct submission_facts *facts = submission_facts(intake->submission);
    bool is_new = intake->half.header_came == 0;
    if (!intake->is_named || !submission_has_header(intake->submission) || (!is_new && intake->half.has_8bit_body == facts->has_8bit_body))
        return;
    if (is_new)
        intake->half = (struct store_half){
            .header_came = submission_header_came(intake->submission),
            .header_stored = facts->header_octets,
            .has_8bit_header = facts->has_8bit_header,
            .is_header_utf8 = facts->is_header_utf8,
            .has_lines = intake->envelope.body != MAIL_BODY_BINARYMIME,
            .received_at_ms = intake->config.received_at_ms,
        };
    intake->half.has_8bit_body = facts->has_8bit_body;
    if (intake->store)
        store_intake_note(intake->store, &intake->half);
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
    if (intake->state == INTAKE_OPEN)
        note_half(intake);
    bool header_pauses = append(intake, out->header);
    return append(intake, out->body) || header_pauses;
}

bool intake_feed(struct intake *intake, struct slice octets)
{
    struct submission_out out;
    if (intake->state != INTAKE_OPEN)
        return false;
    if (looks_for_retry(intake))
        crypto_digest_add(&intake->digest, octets);
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
    struct smtp_reply reply = {.code = 250, .status = {2, 0, 0}, .text = slice_from_cstr(intake->accepted_text)};
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

static void format_accepted(struct intake *intake)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(intake->config.id, id);
    snprintf(intake->accepted_text, sizeof intake->accepted_text, "Ok: queued as %s", id);
}

static void on_commit(void *context, enum result result)
{
    struct intake *intake = context;
    if (result != RESULT_OK) {
        bool is_over = intake->is_named && result == RESULT_EXISTS; /* another session has ended it */
        struct smtp_reply reply = intake_reply_of(is_over ? RESULT_CANCELLED : result);
        tell(intake, &reply);
        return;
    }
    struct store_message message = message_of(intake);
    struct intake_queued queued = {&message, intake->hops, intake->config.received_at_ms};
    intake->config.on_queued(intake->config.context, &queued);
    tell_accepted(intake);
}

static void on_commit_once(void *context, enum result result, uint64_t earlier)
{
    struct intake *intake = context;
    if (result != RESULT_OK || earlier == 0) {
        on_commit(intake, result);
        return;
    }
    intake->config.id = earlier;
    format_accepted(intake);
    intake->config.on_retry(intake->config.context, earlier);
    tell_accepted(intake);
}

static void commit_once(struct intake *intake, struct store_message *message)
{
    const struct intake_config *config = &intake->config;
    const struct store_window window = {
        .since_ms = config->received_at_ms - config->retry_window_ms,
        .until_ms = config->received_at_ms + config->retry_window_ms, /* the wall clock may have been set back a little */
        .lead_ms = config->wall_lead_ms,
    };
    crypto_digest_end(&intake->digest, message->digest);
    store_intake_commit_once(&intake->store, message, intake->hops, config->received_at_ms, &window, on_commit_once, intake);
}

static void commit(struct intake *intake)
{
    if (intake->state == INTAKE_REFUSED) {
        tell(intake, &intake->refusal);
        return;
    }
    assert(intake->state == INTAKE_OPEN);
    intake->state = INTAKE_COMMITTING;
    struct store_message message = message_of(intake);
    if (intake->config.route)
        intake->config.route(intake->config.context, &intake->envelope, intake->hops);
    if (looks_for_retry(intake))
        commit_once(intake, &message);
    else
        store_intake_commit(&intake->store, &message, intake->hops, intake->config.received_at_ms, on_commit, intake);
}

void intake_finish(struct intake *intake)
{
    struct submission_out out;
    if (intake->state == INTAKE_OPEN) {
        enum result result = submission_finish(intake->submission, &out);
        (void)pass_on(intake, result, &out); /* a pause is of no use any more: the commit itself waits its turn */
    }
    intake->is_whole = true;
    if (!intake->is_resuming || intake->state == INTAKE_REFUSED)
        commit(intake);
}

void intake_sync(struct intake *intake)
{
    if (intake->is_named && intake->state == INTAKE_OPEN && intake->store)
        store_intake_sync(intake->store);
}

/* ---- going on in a half ------------------------------------------------------------------------------------------ */

static void end_resuming(struct intake *intake, enum result result)
{
    intake->is_resuming = false;
    if (intake->state == INTAKE_OPEN && result != RESULT_OK)
        refuse_by_result(intake, result == RESULT_NOT_FOUND ? RESULT_CANCELLED : result); /* it was there when it was claimed */
    if (intake->state != INTAKE_OPEN)
        drop_or_keep(intake);
    if (intake->state == INTAKE_OPEN && intake->half.has_8bit_body)
        store_intake_note(intake->store, &intake->half);
    bool pauses = append(intake, buffer_slice(&intake->held));
    buffer_free(&intake->held);
    if (intake->is_paused && !pauses && !intake->is_orphan && !intake->is_whole)
        intake->config.on_resume(intake->config.owner);
}

static void on_store_resumed(void *context, enum result result, struct store_intake *store)
{
    struct intake *intake = context;
    intake->store = store;
    bool is_awaited = intake->is_whole && intake->state == INTAKE_OPEN; /* a refusal was told at once */
    bool is_abandoned = intake->is_orphan && !is_awaited;
    end_resuming(intake, result); /* whose on_resume may free it, unless the end has come */
    if (is_awaited)
        commit(intake);
    else if (is_abandoned)
        release(intake);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

/* What a transaction is told again each time it asks must be what it is told the first time. */
static void write_reply(struct intake *intake, struct store_naming *naming, char *out, size_t size)
{
    format_accepted(intake);
    int len = snprintf(out, size, "250 2.0.0 %s", intake->accepted_text);
    naming->reply = slice_of(out, (size_t)len);
}

static enum result prepare_new(struct intake *intake, const struct intake_config *config)
{
    struct store_naming naming = config->naming ? *config->naming : (struct store_naming){0};
    char reply[INTAKE_ACCEPTED_MAX];
    write_reply(intake, &naming, reply, sizeof reply);
    intake->submission = submission_new(config->submission);
    intake->store = store_intake_new(config->store, intake->config.id, on_drain, intake);
    if (!intake->submission || !intake->store)
        return RESULT_MEMORY;
    return config->naming ? store_intake_name(intake->store, &naming) : RESULT_OK;
}

/* The header was judged in the session that brought it. */
static enum result prepare_rest(struct intake *intake, const struct intake_config *config)
{
    const struct store_half *half = &config->checkpoint->half;
    const struct submission_past past = {
        .header_octets = half->header_stored,
        .stored_octets = config->checkpoint->came_octets - half->header_came + half->header_stored,
        .has_8bit_header = half->has_8bit_header,
        .is_header_utf8 = half->is_header_utf8,
        .has_8bit_body = half->has_8bit_body,
    };
    struct store_naming naming = *config->naming;
    char reply[INTAKE_ACCEPTED_MAX];
    if (half->header_came == 0 || config->checkpoint->came_octets < half->header_came)
        return RESULT_CORRUPT; /* it comes from the disk */
    write_reply(intake, &naming, reply, sizeof reply);
    intake->half = *half;
    intake->is_judged = true;
    intake->submission = submission_resume(&past);
    if (!intake->submission)
        return RESULT_MEMORY;
    intake->is_resuming = true;
    store_intake_resume(config->store, config->checkpoint, &naming, on_drain, intake, on_store_resumed, intake);
    return RESULT_OK;
}

static enum result prepare(struct intake *intake, const struct intake_config *config)
{
    struct arena *a = &intake->arena;
    enum result result = envelope_copy(a, config->envelope, &intake->envelope);
    /* A transaction with a name is told of each recipient in the order in which it named them, and who names it has each once. */
    if (result == RESULT_OK && !intake->is_named)
        result = envelope_drop_repeated(&intake->envelope);
    if (result == RESULT_OK)
        result = arena_copy(a, config->account, &intake->config.account);
    if (result != RESULT_OK)
        return result;
    if (config->route) {
        intake->hops = arena_alloc(a, intake->envelope.nrcpt * sizeof *intake->hops);
        if (!intake->hops)
            return RESULT_MEMORY;
    }
    if (looks_for_retry(intake))
        digest_envelope(intake);
    return config->checkpoint ? prepare_rest(intake, config) : prepare_new(intake, config);
}

struct intake *intake_new(const struct intake_config *config)
{
    struct intake *intake = calloc(1, sizeof *intake);
    if (!intake)
        return NULL;
    intake->config = *config;
    intake->config.envelope = NULL;
    intake->config.submission = NULL;
    intake->config.naming = NULL;
    intake->config.checkpoint = NULL;
    if (config->checkpoint)
        intake->config.id = config->checkpoint->message;
    intake->is_named = config->naming != NULL;
    intake->held = BUFFER(INTAKE_HELD_MAX);
    intake->arena = ARENA(ENVELOPE_ARENA_MAX);
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
    if (i->state == INTAKE_COMMITTING || i->is_resuming)
        i->is_orphan = true;
    else
        release(i);
}

void intake_drop(struct intake **intake)
{
    assert(!(*intake)->is_whole);
    refuse_by_result(*intake, RESULT_CANCELLED);
    intake_free(intake);
}

uint64_t intake_id(const struct intake *intake)
{
    return intake->config.id;
}
