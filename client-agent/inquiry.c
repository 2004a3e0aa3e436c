#include "inquiry.h"

#include "question.h"
#include "restoring.h"

#include "mail/message_id.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { RECIPIENTS_AT_ONCE = 2000, UNHEARD_ENOUGH = 5, UNHEARD_PAUSE_MS = 24 * 3600 * 1000, OLD_MS = 2 * 24 * 3600 * 1000, OLD_EVERY_MS = 3600 * 1000 };

struct inquiry {
    struct inquiry_config config;
    struct question_config asking;
    struct bond bond;
    struct custody custody;
    struct restoring restoring;
    struct question *questions[SMTP_OUTCOMES_MAX]; /* being asked, in the order of the flight that is on its way */
    size_t nquestions, nrecipients, nanswered;
    bool is_loading, is_asked;    /* invariant 1 */
    bool is_untold;               /* the session's relay tells no outcomes: what is read is concluded without a question */
    unsigned nunheard;            /* how often in a row, a quarter of an hour apart, nothing was heard of the relay */
    int64_t unheard_at_ms, old_not_before_ms; /* the last of them; those that it has had for long are looked at then at the earliest */
    unsigned unheard;             /* they are being looked at: as in tracer.h */
    uint64_t old;                 /* the last that was */
    uint64_t promised_s;          /* how long the relay has said last that it knows a transaction; 0: not since we run (promised_s()) */
    bool is_concluding;           /* inside inquiry_event, or conclude_unasked */
    bool is_session_over;         /* while something is still being read */
    bool is_stopping;
    unsigned nclosing;            /* timers */
    uint32_t nwriting;
    uv_timer_t timer;             /* until a session is to be looked for */
};

/* ---- what follows from the answers ------------------------------------------------------------------------------- */

/* On the disk it is queued; in memory, too. */
static void enqueue(struct inquiry *inquiry, uint64_t message, int64_t due_at_ms)
{
    int64_t now_ms = loop_now_ms(inquiry->config.loop), due_ms = schedule_on_clock(due_at_ms, wall_now_ms(), now_ms, schedule_longest_ms(&inquiry->config.office->schedule));
    enum result result = queue_add(inquiry->config.queue, message, (struct slice){0}, due_ms);
    if (due_ms <= now_ms)
        queue_flush(inquiry->config.queue, message, now_ms); /* others of its recipients may wait for their time */
    if (result == RESULT_OK || result == RESULT_EXISTS)
        return;
    char id[MESSAGE_ID_TEXT];
    message_id_format(message, id);
    log_event(inquiry->config.log, LOG_ERROR, "not-scheduled", LOG_TEXT("item", id), LOG_TEXT("why", result_name(result)));
    if (inquiry->config.on_unscheduled)
        inquiry->config.on_unscheduled(inquiry->config.unscheduled_context);
}

/* How long the relay has said last that it knows a transaction, in this run or before it. */
static uint64_t promised_s(const struct inquiry *inquiry)
{
    struct smtp_peer peer;
    bool is_of_before = inquiry->promised_s == 0 && inquiry->config.profile && profile_peer(inquiry->config.profile, &peer);
    return is_of_before ? peer.outcome_s : inquiry->promised_s;
}

/* All of a message's answers are here. */
static void conclude(struct inquiry *inquiry, struct question *question, bool has_copy)
{
    int64_t in_ms = CUSTODY_LONGEST_MS, relay_ms = question_relay_ms(question), now_ms = boot_now_ms();
    bool is_long_wait = inquiry->unheard == 0 && custody_answered(&inquiry->custody, question_message(question), now_ms, relay_ms > 0 ? relay_ms - wall_now_ms() + now_ms : 0, &in_ms);
    const struct question_terms terms = {
        .has_copy = has_copy,
        .relay = buffer_slice(&inquiry->bond.host),
        .unheard = inquiry->unheard,
        .is_untold = inquiry->is_untold,
        .promised_s = promised_s(inquiry),
        .ask_at_ms = wall_now_ms() + in_ms,
        .is_long_wait = is_long_wait,
    };
    question_conclude(question, &terms);
}

static bool on_no_copy(void *context, struct question *question)
{
    struct inquiry *inquiry = context;
    if (inquiry->is_stopping)
        return false;
    conclude(inquiry, question, false);
    return true;
}

/* What is queued on the disk is queued here, whatever became of the rest. */
static void on_settled(void *context, struct question *question, const struct question_end *end)
{
    struct inquiry *inquiry = context;
    uint64_t message = question_message(question);
    question_free(&question);
    inquiry->nwriting--;
    if (end->result != RESULT_OK)
        custody_put_off(&inquiry->custody, message, boot_now_ms());
    else if (end->is_queued || end->is_final)
        custody_forget(&inquiry->custody, message);
    if (end->is_queued)
        enqueue(inquiry, message, end->due_at_ms);
    if (!inquiry->is_concluding)
        inquiry->config.on_free(inquiry->config.context);
}

/* ---- the flight ------------------------------------------------------------------------------------------------- */

static struct smtp_client *core_of(const struct inquiry *inquiry)
{
    return outbound_core(inquiry->config.session->outbound);
}

/* Of an early session only what EHLO has answered counts. */
static void note_epoch(struct inquiry *inquiry)
{
    if (smtp_client_is_early(core_of(inquiry)) || !bond_note_epoch(&inquiry->bond, smtp_client_peer(core_of(inquiry))->epoch))
        return;
    log_event(inquiry->config.log, LOG_WARNING, "relay-begun-anew", LOG_STR("relay", buffer_slice(&inquiry->bond.host)), LOG_TEXT("why", "its database is another one"),
              LOG_INT("awaited", (int64_t)inquiry->custody.count));
    custody_doubt_all(&inquiry->custody, boot_now_ms());
}

static void ask(struct inquiry *inquiry)
{
    struct smtp_outcome_question questions[SMTP_OUTCOMES_MAX];
    char names[SMTP_OUTCOMES_MAX][NAMING_TEXT];
    for (size_t i = 0; i < inquiry->nquestions; i++) {
        uint32_t transaction;
        bool is_open = question_next(inquiry->questions[i], &transaction, &questions[i].first);
        assert(is_open);
        naming_format(inquiry->config.naming, question_message(inquiry->questions[i]), transaction, names[i]);
        questions[i].transid = slice_from_cstr(names[i]);
    }
    inquiry->is_asked = true;
    inquiry->nanswered = 0;
    smtp_client_ask_outcomes(core_of(inquiry), questions, inquiry->nquestions, loop_now_ms(inquiry->config.loop));
    outbound_pump(inquiry->config.session->outbound);
}

/* The flight is over: whoever is not through yet comes again in the next. What brings no news, or finds no memory, is settled at once: for that the session's READY, which follows, is what on_free would be. */
static void end_flight(struct inquiry *inquiry)
{
    struct question *over[SMTP_OUTCOMES_MAX];
    size_t n = 0, nover = 0;
    for (size_t i = 0; i < inquiry->nquestions; i++) {
        uint32_t transaction, first;
        struct question *question = inquiry->questions[i];
        if (question && question_next(question, &transaction, &first))
            inquiry->questions[n++] = question;
        else if (question)
            over[nover++] = question;
    }
    inquiry->nquestions = n;
    inquiry->is_asked = inquiry->config.session->is_asking = false;
    inquiry->is_concluding = true;
    inquiry->nwriting += (uint32_t)nover;
    for (size_t i = 0; i < nover; i++)
        conclude(inquiry, over[i], true);
    inquiry->is_concluding = false;
}

void inquiry_event(struct inquiry *inquiry, const struct smtp_client_event *event)
{
    if (!inquiry->is_asked || event->question >= inquiry->nquestions || !inquiry->questions[event->question])
        return;
    note_epoch(inquiry);
    struct question **question = &inquiry->questions[event->question];
    if (question_take(*question, event->reply)) {
        inquiry->nunheard = 0;
    } else {
        inquiry_not_heard(inquiry);
        custody_put_off(&inquiry->custody, question_message(*question), boot_now_ms());
        question_free(question);
    }
    if (++inquiry->nanswered == inquiry->nquestions)
        end_flight(inquiry);
}

/* ---- reading what is due ---------------------------------------------------------------------------------------- */

static bool load_next(struct inquiry *inquiry);

static void free_session(struct inquiry *inquiry)
{
    if (!inquiry->is_session_over && inquiry->unheard == 0)
        inquiry->config.session->is_asking = false;
    inquiry->is_session_over = false;
    inquiry->unheard = 0;
    inquiry->config.on_free(inquiry->config.context);
}

static void drop_questions(struct inquiry *inquiry)
{
    for (size_t i = 0; i < inquiry->nquestions; i++)
        question_free(&inquiry->questions[i]);
    inquiry->nquestions = 0;
}

/* For a session that is over; or because there was none, and now there is one, in which it can be asked. */
static bool is_in_vain(const struct inquiry *inquiry)
{
    return inquiry->is_session_over || inquiry->is_stopping || (inquiry->unheard > 0 && inquiry->config.session->outbound);
}

static bool look_at_old(struct inquiry *inquiry);

/* The relay would not understand, or is not there. For an upgraded one all is kept, as long as tracer.h says. */
static void conclude_unasked(struct inquiry *inquiry)
{
    inquiry->nunheard = inquiry->unheard > 0 ? inquiry->nunheard : 0;
    size_t n = inquiry->nquestions;
    inquiry->nquestions = 0;
    inquiry->nwriting += (uint32_t)n;
    inquiry->is_concluding = true;
    for (size_t i = 0; i < n; i++)
        conclude(inquiry, inquiry->questions[i], true);
    inquiry->is_concluding = false;
    if (inquiry->unheard == 0 || !look_at_old(inquiry))
        free_session(inquiry);
}

/* The message's row, once. */
static void take_row(struct inquiry *inquiry, const struct store_listing *row)
{
    struct question *question;
    enum result result = question_new(&inquiry->asking, row, &question);
    if (result == RESULT_OK) {
        inquiry->questions[inquiry->nquestions++] = question;
        inquiry->nrecipients += question_nrecipients(question);
    } else if (result == RESULT_NOT_FOUND) {
        custody_forget(&inquiry->custody, row->message.id);
    } else {
        custody_put_off(&inquiry->custody, row->message.id, boot_now_ms());
    }
}

struct reading {
    struct inquiry *inquiry;
    uint64_t message;
    bool has_row;
};

static void on_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct reading *reading = context;
    struct inquiry *inquiry = reading->inquiry;
    if (n > 0 && !is_in_vain(inquiry) && !reading->has_row)
        take_row(inquiry, rows);
    reading->has_row = reading->has_row || n > 0;
    if (!is_last)
        return;
    if (result == RESULT_OK && !reading->has_row)
        custody_forget(&inquiry->custody, reading->message); /* removed, or swept */
    else if (!reading->has_row)
        custody_put_off(&inquiry->custody, reading->message, boot_now_ms());
    free(reading);
    inquiry->is_loading = false;
    if (is_in_vain(inquiry)) {
        drop_questions(inquiry);
        custody_give_back(&inquiry->custody);
        free_session(inquiry);
        return;
    }
    if (inquiry->unheard == 0 && inquiry->nquestions < SMTP_OUTCOMES_MAX && inquiry->nrecipients < RECIPIENTS_AT_ONCE && load_next(inquiry))
        return;
    if (inquiry->is_untold || inquiry->unheard > 0)
        conclude_unasked(inquiry);
    else if (inquiry->nquestions > 0)
        ask(inquiry);
    else
        free_session(inquiry);
}

static bool load(struct inquiry *inquiry, uint64_t message)
{
    struct reading *reading = calloc(1, sizeof *reading);
    if (!reading) {
        custody_put_off(&inquiry->custody, message, boot_now_ms());
        return false;
    }
    *reading = (struct reading){.inquiry = inquiry, .message = message};
    inquiry->is_loading = true;
    store_message_get(inquiry->config.store, message, on_row, reading);
    return true;
}

static bool load_next(struct inquiry *inquiry)
{
    uint64_t message;
    return custody_next(&inquiry->custody, boot_now_ms(), &message) && load(inquiry, message);
}

static bool look_at_old(struct inquiry *inquiry)
{
    return custody_next_old(&inquiry->custody, boot_now_ms() - OLD_MS, &inquiry->old) && load(inquiry, inquiry->old);
}

static bool may_ask(const struct inquiry *inquiry)
{
    return inquiry->config.naming && inquiry->bond.is_bound;
}

bool inquiry_is_told_by(const struct smtp_peer *peer)
{
    const unsigned needed = SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME;
    return (peer->capabilities & needed) == needed;
}

static bool tells(const struct inquiry *inquiry, const struct smtp_peer *peer)
{
    return may_ask(inquiry) && inquiry_is_told_by(peer);
}

/* What the session's relay can be asked. False: its EHLO, which is still to come, may say more than the one before. */
static bool learn(struct inquiry *inquiry)
{
    const struct smtp_peer *peer = smtp_client_peer(core_of(inquiry));
    inquiry->is_untold = !inquiry_is_told_by(peer);
    if (inquiry->is_untold)
        return !smtp_client_is_early(core_of(inquiry));
    inquiry->promised_s = peer->outcome_s;
    note_epoch(inquiry);
    return true;
}

bool inquiry_ask(struct inquiry *inquiry)
{
    struct session *session = inquiry->config.session;
    if (inquiry->is_loading || inquiry->is_asked || inquiry->is_stopping || session->is_stale || !may_ask(inquiry) || !learn(inquiry))
        return false;
    if (inquiry->custody.has_left_out && inquiry->custody.count < CUSTODY_MAX / 2)
        restoring_begin(&inquiry->restoring);
    if (inquiry->nquestions > 0 && !inquiry->is_untold) {
        session->is_asking = true;
        ask(inquiry);
        return true;
    }
    inquiry->nrecipients = 0;
    session->is_asking = load_next(inquiry);
    return session->is_asking;
}

void inquiry_session_over(struct inquiry *inquiry)
{
    drop_questions(inquiry);
    inquiry->is_asked = false;
    inquiry->is_session_over = inquiry->is_loading;
    custody_give_back(&inquiry->custody);
}

/* ---- the relay -------------------------------------------------------------------------------------------------- */

static void on_restored(void *context)
{
    const struct inquiry *inquiry = context;
    inquiry->config.on_free(inquiry->config.context);
}

static void on_bound(void *context)
{
    struct inquiry *inquiry = context;
    if (inquiry->bond.is_bound && !inquiry->is_stopping)
        restoring_begin(&inquiry->restoring);
    inquiry->config.on_free(inquiry->config.context);
}

bool inquiry_is_bound(const struct inquiry *inquiry)
{
    return inquiry->bond.is_bound;
}

bool inquiry_bind(struct inquiry *inquiry)
{
    if (!inquiry->bond.is_bound && inquiry_is_idle(inquiry))
        bond_make(&inquiry->bond);
    return inquiry->bond.is_bound;
}

void inquiry_reload(struct inquiry *inquiry, const struct settings *settings)
{
    bool was_bound = inquiry->bond.is_bound;
    if (bond_reload(&inquiry->bond, settings) != RESULT_OK)
        log_event(inquiry->config.log, LOG_ERROR, "relay-not-changed", LOG_TEXT("why", result_name(RESULT_MEMORY)));
    if (inquiry->bond.is_bound) {
        if (!was_bound) /* back to the one before */
            restoring_begin(&inquiry->restoring);
        return;
    }
    inquiry_session_over(inquiry); /* what is being asked is the old one's, and so is the promise */
    inquiry->promised_s = 0;
    inquiry->nunheard = 0;
    custody_clear(&inquiry->custody);
    restoring_end(&inquiry->restoring);
    uv_timer_stop(&inquiry->timer);
}

int64_t inquiry_first_ms(const struct inquiry *inquiry, const struct profile *profile)
{
    const struct session *session = inquiry->config.session;
    struct smtp_peer peer = {0};
    if (session->outbound)
        peer = *smtp_client_peer(core_of(inquiry));
    else if (!profile_peer(profile, &peer))
        return 0;
    return tells(inquiry, &peer) ? wall_now_ms() + CUSTODY_FIRST_MS : 0;
}

void inquiry_took(struct inquiry *inquiry, const struct attempt_end *end)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(end->message, id);
    if (end->ask_at_ms > 0 && end->result == RESULT_OK && inquiry->bond.is_bound && custody_take(&inquiry->custody, end->message, boot_now_ms()) != RESULT_OK)
        log_event(inquiry->config.log, LOG_WARNING, "not-awaited", LOG_TEXT("item", id), LOG_TEXT("why", "too much is awaited already, or memory is out"));
}

/* ---- times ------------------------------------------------------------------------------------------------------ */

static void on_timer(uv_timer_t *timer)
{
    struct inquiry *inquiry = timer->data;
    inquiry->config.on_wake(inquiry->config.context);
}

int64_t inquiry_deadline_ms(const struct inquiry *inquiry)
{
    int64_t may_ms = tells(inquiry, smtp_client_peer(core_of(inquiry))) ? custody_may_ms(&inquiry->custody) : INT64_MAX;
    return may_ms == INT64_MAX ? INT64_MAX : may_ms - boot_now_ms() + loop_now_ms(inquiry->config.loop);
}

void inquiry_not_heard(struct inquiry *inquiry)
{
    int64_t now_ms = boot_now_ms(), ago_ms = now_ms - inquiry->unheard_at_ms;
    if (inquiry->nunheard > 0 && ago_ms < CUSTODY_SEARCH_EVERY_MS)
        return;
    if (inquiry->nunheard > 0 && ago_ms >= UNHEARD_PAUSE_MS)
        inquiry->nunheard = 0;
    inquiry->nunheard += inquiry->nunheard < UNHEARD_ENOUGH;
    inquiry->unheard_at_ms = now_ms;
}

/* There is no session. */
static void give_up_old(struct inquiry *inquiry, int64_t now_ms)
{
    if (inquiry->nunheard == 0 || now_ms < inquiry->old_not_before_ms || !may_ask(inquiry) || inquiry->is_loading)
        return;
    inquiry->old_not_before_ms = now_ms + OLD_EVERY_MS;
    inquiry->old = 0;
    inquiry->unheard = inquiry->nunheard >= UNHEARD_ENOUGH ? 1 : 2;
    if (!look_at_old(inquiry))
        inquiry->unheard = 0;
}

bool inquiry_wants_session(struct inquiry *inquiry)
{
    int64_t now_ms = boot_now_ms(), wake_ms = custody_wake_ms(&inquiry->custody);
    uv_timer_stop(&inquiry->timer);
    if (!inquiry->bond.is_bound || inquiry->is_stopping)
        return false;
    give_up_old(inquiry, now_ms);
    if (custody_wants_session(&inquiry->custody, now_ms))
        return true;
    if (wake_ms != INT64_MAX)
        uv_timer_start(&inquiry->timer, on_timer, (uint64_t)(wake_ms > now_ms ? wake_ms - now_ms : 0), 0);
    return false;
}

void inquiry_search_over(struct inquiry *inquiry)
{
    custody_search_over(&inquiry->custody);
    uv_timer_stop(&inquiry->timer);
}

/* What is being asked about it is answered into the void. */
void inquiry_forget(struct inquiry *inquiry, uint64_t message)
{
    custody_forget(&inquiry->custody, message);
}

void inquiry_ask_now(struct inquiry *inquiry)
{
    if (inquiry->bond.is_bound && !inquiry->is_stopping && custody_ask_now(&inquiry->custody, boot_now_ms()))
        log_event(inquiry->config.log, LOG_DEBUG, "asks-now", LOG_INT("awaited", (int64_t)inquiry->custody.count));
}

int64_t inquiry_question_at_ms(const struct inquiry *inquiry, uint64_t message)
{
    int64_t at_ms = custody_ask_ms(&inquiry->custody, message);
    return at_ms > 0 ? wall_now_ms() + at_ms - boot_now_ms() : 0;
}

size_t inquiry_count(const struct inquiry *inquiry)
{
    return inquiry->custody.count;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

struct inquiry *inquiry_new(const struct inquiry_config *config, const struct settings *settings)
{
    struct inquiry *inquiry = calloc(1, sizeof *inquiry);
    if (!inquiry)
        return NULL;
    inquiry->config = *config;
    inquiry->asking = (struct question_config){
        .store = config->store, .office = config->office, .log = config->log, .on_settled = on_settled, .on_no_copy = on_no_copy, .context = inquiry};
    inquiry->bond = (struct bond){.loop = config->loop, .store = config->store, .log = config->log, .on_bound = on_bound, .context = inquiry};
    inquiry->restoring = (struct restoring){.store = config->store, .log = config->log, .custody = &inquiry->custody, .on_end = on_restored, .context = inquiry};
    /* What can fail first: the loop must know no timer of what is freed here. */
    if (!bond_open(&inquiry->bond, settings)) {
        bond_free(&inquiry->bond);
        free(inquiry);
        return NULL;
    }
    restoring_open(&inquiry->restoring, config->loop);
    uv_timer_init(config->loop, &inquiry->timer);
    inquiry->timer.data = inquiry;
    return inquiry;
}

static void on_closed(uv_handle_t *timer)
{
    struct inquiry *inquiry = timer->data;
    inquiry->nclosing--;
    inquiry->config.on_free(inquiry->config.context);
}

static void on_bond_closed(uv_handle_t *timer)
{
    struct bond *bond = timer->data;
    struct inquiry *inquiry = bond->context;
    inquiry->nclosing--;
    inquiry->config.on_free(inquiry->config.context);
}

static void on_restoring_closed(uv_handle_t *timer)
{
    struct restoring *restoring = timer->data;
    struct inquiry *inquiry = restoring->context;
    inquiry->nclosing--;
    inquiry->config.on_free(inquiry->config.context);
}

void inquiry_stop(struct inquiry *inquiry)
{
    if (inquiry->is_stopping)
        return;
    inquiry->is_stopping = true;
    inquiry->nclosing = 3;
    bond_stop(&inquiry->bond, on_bond_closed);
    restoring_stop(&inquiry->restoring, on_restoring_closed);
    inquiry_session_over(inquiry);
    uv_close((uv_handle_t *)&inquiry->timer, on_closed);
}

bool inquiry_is_idle(const struct inquiry *inquiry)
{
    return inquiry->nwriting == 0 && !inquiry->is_loading && !restoring_is_owed(&inquiry->restoring) && !bond_is_owed(&inquiry->bond) && inquiry->nclosing == 0;
}

void inquiry_free(struct inquiry **inquiry)
{
    struct inquiry *i = *inquiry;
    *inquiry = NULL;
    if (!i)
        return;
    custody_free(&i->custody);
    bond_free(&i->bond);
    free(i);
}
