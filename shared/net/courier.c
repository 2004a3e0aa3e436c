#include "net/courier.h"

#include <assert.h>
#include <stdlib.h>

/* A chunk in the session's hands is a copy, so one chunk read ahead makes two in memory. The read that is under way when
 * the courier is freed still comes back: the reading outlives the courier until then. */
struct reading {
    struct courier *courier; /* NULL: it has gone */
};

struct courier {
    struct store_client *store;
    struct outbound *outbound;
    struct store_job *job;
    void (*on_done)(void *context, struct courier *courier);
    void *context;
    struct courier_result *results;
    bool *is_put_off; /* by the peer, to another transaction: 452 4.5.3 */
    bool is_named;
    struct envelope envelope;
    struct smtp_transaction transaction;
    struct reading *reading; /* non-NULL: a chunk is on its way */
    struct buffer ahead;     /* the chunk read ahead */
    bool has_ahead;
    bool is_wanted; /* the session waits for octets */
    uint32_t next_chunk;
    size_t skip;     /* octets of that chunk that the peer has already */
    uint64_t octets; /* of the body, before those that the session gets next */
    bool is_done, is_paused, is_session_over;
    enum courier_trouble trouble;
    bool is_withdrawn; /* by a person: what can't be read any more is no trouble */
};

static void read_ahead(struct courier *courier);

static void finish(struct courier *courier)
{
    if (courier->is_done)
        return;
    courier->is_done = true;
    courier->on_done(courier->context, courier);
}

static void resolve(struct courier *courier, size_t i, enum attempt_result result, struct slice reply, bool is_local)
{
    struct courier_result *r = &courier->results[i];
    struct slice copy;
    if (r->reply.ptr)
        return;
    /* Out of memory costs the words, not the result. */
    if (arena_copy(&courier->job->arena, reply, &copy) != RESULT_OK)
        copy = SLICE("out of memory");
    *r = (struct courier_result){.seq = courier->job->recipients[i].seq, .result = result, .reply = copy, .is_local = is_local, .is_named = courier->is_named};
}

static void resolve_rest(struct courier *courier, enum attempt_result result, struct slice reply, bool is_local)
{
    for (size_t i = 0; i < courier->job->nrecipients; i++)
        resolve(courier, i, result, reply, is_local);
}

static struct slice reply_text(const struct smtp_reply *reply, char *out, size_t size)
{
    if (!reply)
        return SLICE("no reply");
    smtp_reply_format(reply, out, size);
    return slice_from_cstr(out);
}

/* ---- the body --------------------------------------------------------------------------------------------------- */

static void hand_over(struct courier *courier, struct slice octets)
{
    bool is_last = courier->octets + octets.len >= courier->job->message.size_octets;
    courier->is_wanted = false;
    courier->octets += octets.len;
    smtp_client_body(outbound_core(courier->outbound), octets, is_last, loop_now_ms(outbound_loop(courier->outbound)));
}

static void hand_over_ahead(struct courier *courier)
{
    if (!courier->is_wanted || !courier->has_ahead)
        return;
    hand_over(courier, buffer_slice(&courier->ahead));
    courier->has_ahead = false;
    buffer_clear(&courier->ahead);
    read_ahead(courier);
}

static void fail_body(struct courier *courier, enum courier_trouble trouble)
{
    courier->trouble = trouble;
    smtp_client_abort(outbound_core(courier->outbound));
}

/* Sealed and does not open, not there, or shorter than it was: that is so the next time too. */
static bool is_damage(enum result result, struct slice octets)
{
    return result == RESULT_CORRUPT || result == RESULT_VERSION || result == RESULT_NOT_FOUND || (result == RESULT_OK && octets.len == 0);
}

static void on_chunk(void *context, enum result result, struct slice octets)
{
    struct reading *reading = context;
    struct courier *courier = reading->courier;
    free(reading);
    if (!courier)
        return;
    courier->reading = NULL;
    if (courier->is_done)
        return;
    octets = slice_skip(octets, courier->skip);
    if (result != RESULT_OK && courier->is_withdrawn)
        return; /* removed while it was read */
    if (is_damage(result, octets)) {
        fail_body(courier, COURIER_DAMAGED);
    } else if (result != RESULT_OK || buffer_append(&courier->ahead, octets) != RESULT_OK) {
        fail_body(courier, COURIER_UNREAD);
    } else {
        courier->has_ahead = true;
        courier->next_chunk++;
        courier->skip = 0;
        hand_over_ahead(courier);
    }
    outbound_pump(courier->outbound);
}

static void read_ahead(struct courier *courier)
{
    bool is_at_end = courier->octets + buffer_len(&courier->ahead) >= courier->job->message.size_octets;
    if (courier->reading || courier->has_ahead || is_at_end)
        return;
    courier->reading = malloc(sizeof *courier->reading);
    if (!courier->reading) {
        fail_body(courier, COURIER_UNREAD);
        return;
    }
    courier->reading->courier = courier;
    store_body_read(courier->store, courier->job->message.id, courier->next_chunk, on_chunk, courier->reading);
}

/* To where the peer lacks the message. What has been read ahead, or is on its way, is of its beginning. */
static void seek(struct courier *courier, uint64_t offset)
{
    if (offset == courier->octets)
        return;
    courier->octets = offset;
    courier->next_chunk = (uint32_t)(offset / STORE_CHUNK);
    courier->skip = (size_t)(offset % STORE_CHUNK);
    courier->has_ahead = false;
    buffer_clear(&courier->ahead);
    if (courier->reading)
        courier->reading->courier = NULL;
    courier->reading = NULL;
}

static void on_resumed(struct courier *courier, uint64_t offset)
{
    seek(courier, offset);
    if (courier->job->body.len == 0)
        read_ahead(courier);
}

static void on_body_wanted(struct courier *courier, uint64_t offset)
{
    seek(courier, offset);
    struct slice rest = slice_skip(courier->job->body, (size_t)courier->octets);
    courier->is_wanted = true;
    if (courier->job->message.size_octets == 0 || rest.len > 0) {
        hand_over(courier, slice_take(rest, SMTP_CLIENT_CHUNK_MAX));
        return;
    }
    hand_over_ahead(courier);
    read_ahead(courier);
}

/* ---- the session's events --------------------------------------------------------------------------------------- */

static enum attempt_result by_code(const struct smtp_reply *reply)
{
    return smtp_reply_is_permanent(reply) ? ATTEMPT_REFUSED : ATTEMPT_DEFERRED;
}

/* The transaction is over without this recipient, or has no room for him: he goes in another one (schema/link.md, RCPT after 355; RFC 5321 4.5.3.1.10). */
static bool puts_off(const struct smtp_client_event *event)
{
    const struct smtp_reply *reply = event->reply;
    return reply && reply->code == 452 && (reply->status.class == 0 || (reply->status.subject == 5 && reply->status.detail == 3));
}

static void on_recipient(struct courier *courier, const struct smtp_client_event *event)
{
    char text[SMTP_REPLY_TEXT_MAX];
    if (event->reply && smtp_reply_is_positive(event->reply))
        return;
    enum attempt_result result = event->reply ? by_code(event->reply) : ATTEMPT_DEFERRED;
    if (event->is_local && event->reply && event->reply->code == 452)
        result = ATTEMPT_UNTRIED;
    courier->is_put_off[event->recipient] = courier->is_named && puts_off(event);
    resolve(courier, event->recipient, result, reply_text(event->reply, text, sizeof text), event->is_local);
}

/* The name stands for a transaction that is over now. Who is not in it goes under another name; and if the peer merely put him off, that was no attempt, since others got on. */
static void leave_name(struct courier *courier)
{
    for (size_t i = 0; i < courier->job->nrecipients && courier->is_named; i++) {
        struct courier_result *r = &courier->results[i];
        r->needs_new_name = r->result != ATTEMPT_ACCEPTED;
        if (courier->is_put_off[i])
            r->result = ATTEMPT_UNTRIED;
    }
}

/* The name is another transaction's, there or for those who were put off; without anybody who got on this must not be tried again at once. */
static void leave_name_to_others(struct courier *courier, bool is_whole)
{
    for (size_t i = 0; i < courier->job->nrecipients && courier->is_named; i++)
        courier->results[i].needs_new_name = is_whole || courier->is_put_off[i];
}

static void on_paused(struct courier *courier)
{
    courier->is_paused = true;
    for (size_t i = 0; i < courier->job->nrecipients; i++)
        courier->results[i] = (struct courier_result){.seq = courier->job->recipients[i].seq, .result = ATTEMPT_UNTRIED};
}

static void on_sent(struct courier *courier, const struct smtp_client_event *event)
{
    char text[SMTP_REPLY_TEXT_MAX];
    struct slice reply = reply_text(event->reply, text, sizeof text);
    switch (event->sent) {
    case SMTP_SENT_ACCEPTED:
        resolve_rest(courier, ATTEMPT_ACCEPTED, reply, event->is_local);
        leave_name(courier);
        break;
    case SMTP_SENT_DEFERRED:
        resolve_rest(courier, ATTEMPT_DEFERRED, reply, event->is_local);
        break;
    case SMTP_SENT_REFUSED:
        resolve_rest(courier, ATTEMPT_REFUSED, reply, event->is_local);
        break;
    case SMTP_SENT_PAUSED:
        on_paused(courier);
        break;
    case SMTP_SENT_RENAME:
        resolve_rest(courier, ATTEMPT_DEFERRED, reply, event->is_local);
        leave_name_to_others(courier, true);
        break;
    case SMTP_SENT_NOBODY:
        resolve_rest(courier, ATTEMPT_DEFERRED, SLICE("no recipient was accepted"), true);
        leave_name_to_others(courier, false);
        break;
    }
    finish(courier);
}

/* Of those who have no result yet. */
static void resolve_trouble(struct courier *courier, enum courier_trouble trouble, enum attempt_result result, struct slice words)
{
    for (size_t i = 0; i < courier->job->nrecipients; i++) {
        bool is_open = !courier->results[i].reply.ptr;
        resolve(courier, i, result, words, true);
        if (is_open)
            courier->results[i].trouble = trouble;
    }
}

static void on_failed(struct courier *courier, const struct outbound_failure *failure)
{
    enum attempt_result result = failure->is_uncertain ? ATTEMPT_UNCERTAIN : ATTEMPT_DEFERRED;
    courier->is_session_over = true;
    if (courier->is_withdrawn && failure->smtp == SMTP_FAIL_ABORTED)
        on_paused(courier);
    else if (courier->trouble == COURIER_DAMAGED)
        resolve_trouble(courier, COURIER_DAMAGED, ATTEMPT_DEFERRED, SLICE("451 4.3.0 the message is damaged in the local store and is held: it can not be read whole any more"));
    else if (courier->trouble == COURIER_UNREAD)
        resolve_trouble(courier, COURIER_UNREAD, ATTEMPT_DEFERRED, SLICE("451 4.3.0 the message could not be read from the local store"));
    else
        resolve_trouble(courier, failure->smtp == SMTP_FAIL_PROTOCOL ? COURIER_PROTOCOL : COURIER_LOST, result, slice_from_cstr(failure->words));
    finish(courier);
}

void courier_event(struct courier *courier, const struct outbound_event *event)
{
    if (courier->is_done)
        return;
    if (event->type == OUTBOUND_FAILED) {
        on_failed(courier, event->failure);
        return;
    }
    if (event->type == OUTBOUND_CLOSED) {
        const struct outbound_failure closed = {.words = "the connection was closed"};
        on_failed(courier, &closed);
        return;
    }
    if (event->type != OUTBOUND_SMTP)
        return;
    if (event->smtp.type == SMTP_CLIENT_RECIPIENT)
        on_recipient(courier, &event->smtp);
    else if (event->smtp.type == SMTP_CLIENT_BODY_WANTED)
        on_body_wanted(courier, event->smtp.offset);
    else if (event->smtp.type == SMTP_CLIENT_RESUMED)
        on_resumed(courier, event->smtp.offset);
    else if (event->smtp.type == SMTP_CLIENT_SENT)
        on_sent(courier, &event->smtp);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static enum result prepare(struct courier *courier, const struct courier_naming *naming)
{
    struct store_job *job = courier->job;
    courier->results = arena_alloc(&job->arena, job->nrecipients * sizeof *courier->results);
    courier->is_put_off = arena_alloc(&job->arena, job->nrecipients * sizeof *courier->is_put_off);
    if (!courier->results || !courier->is_put_off)
        return RESULT_MEMORY;
    courier->ahead = BUFFER(STORE_CHUNK);
    courier->envelope = job->message.envelope;
    courier->transaction = (struct smtp_transaction){
        .envelope = &courier->envelope,
        .size_octets = job->message.size_octets,
        .has_8bit = job->message.has_8bit,
        .is_binary = job->message.is_binary,
        .needs_smtputf8 = job->message.needs_smtputf8,
        .asks_first = naming && naming->asks_first,
    };
    courier->is_named = naming && naming->transid.len > 0;
    return courier->is_named ? arena_copy(&job->arena, naming->transid, &courier->transaction.transid) : RESULT_OK;
}

struct courier *courier_start(struct store_client *store, struct outbound *outbound, struct store_job *job, const struct courier_naming *naming,
                              void (*on_done)(void *context, struct courier *courier), void *context)
{
    struct courier *courier = calloc(1, sizeof *courier);
    assert(job->nrecipients > 0 && job->nrecipients == job->message.envelope.nrcpt);
    if (!courier) {
        store_job_free(&job);
        return NULL;
    }
    courier->store = store;
    courier->outbound = outbound;
    courier->job = job;
    courier->on_done = on_done;
    courier->context = context;
    if (prepare(courier, naming) != RESULT_OK) {
        courier_free(&courier);
        return NULL;
    }
    smtp_client_send(outbound_core(outbound), &courier->transaction, loop_now_ms(outbound_loop(outbound)));
    if (job->body.len == 0)
        read_ahead(courier);
    return courier;
}

void courier_free(struct courier **courier)
{
    struct courier *c = *courier;
    if (!c)
        return;
    *courier = NULL;
    if (c->reading)
        c->reading->courier = NULL;
    buffer_free(&c->ahead);
    store_job_free(&c->job);
    free(c);
}

const struct store_job *courier_job(const struct courier *courier)
{
    return courier->job;
}

const struct courier_result *courier_results(const struct courier *courier)
{
    return courier->results;
}

bool courier_is_paused(const struct courier *courier)
{
    return courier->is_paused;
}

bool courier_is_session_over(const struct courier *courier)
{
    return courier->is_session_over;
}

void courier_withdraw(struct courier *courier)
{
    if (courier->is_done)
        return;
    courier->is_withdrawn = true;
    smtp_client_withdraw(outbound_core(courier->outbound), loop_now_ms(outbound_loop(courier->outbound)));
}

/* Who was answered keeps his answer. */
void courier_set_futile(struct courier *courier, uint32_t nth)
{
    for (size_t i = 0; i < courier->job->nrecipients; i++) {
        struct courier_result *r = &courier->results[i];
        if (!r->is_local || (r->result != ATTEMPT_DEFERRED && r->result != ATTEMPT_UNCERTAIN))
            continue;
        r->nfutile = nth;
        const char *words = nth < COURIER_FUTILE_MAX ? NULL : arena_printf(&courier->job->arena, "%.*s (%u times in a row, and nothing more of the message has got there)", SLICE_ARG(r->reply), (unsigned)nth);
        if (words)
            r->reply = slice_from_cstr(words);
    }
}

uint64_t courier_octets(const struct courier *courier)
{
    return courier->octets;
}
