/* Rows of messages, recipients and bodies, written and read. Each function runs inside the transaction of its caller. */
#include "store/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    REPLY_MAX = 4096, /* octets kept of a reply */
    HOST_MAX = 255,
};

static const uint8_t NO_DIGEST[STORE_DIGEST];

static enum result add_message_row(struct database *db, const struct store_message *m)
{
    struct query q = query_open(db, SQL_MESSAGE_ADD);
    query_int(&q, (int64_t)m->id);
    query_text(&q, m->account);
    query_text(&q, m->envelope.sender);
    query_int(&q, m->envelope.body);
    query_int(&q, m->envelope.is_smtputf8);
    query_int(&q, m->envelope.ret);
    query_text(&q, m->envelope.envid);
    query_int(&q, (int64_t)m->size_octets);
    query_int(&q, m->has_8bit);
    query_int(&q, m->is_binary);
    query_int(&q, m->needs_smtputf8);
    query_int(&q, m->is_dsn);
    query_int(&q, m->received_at_ms);
    query_int(&q, m->expires_at_ms);
    query_int(&q, m->nchunks);
    query_int(&q, m->header_octets);
    if (memcmp(m->digest, NO_DIGEST, STORE_DIGEST) != 0)
        query_blob(&q, slice_of(m->digest, STORE_DIGEST));
    else
        query_null(&q);
    return query_run(&q);
}

static enum result add_recipient_row(struct database *db, uint64_t message, const struct store_recipient *r)
{
    struct query q = query_open(db, SQL_RECIPIENT_ADD);
    query_int(&q, (int64_t)message);
    query_int(&q, r->seq);
    query_text(&q, r->envelope.address);
    query_int(&q, r->envelope.notify);
    query_text(&q, r->envelope.orcpt);
    query_text(&q, r->hop);
    query_int(&q, r->state);
    query_int(&q, r->attempts);
    query_int(&q, r->next_attempt_ms);
    query_text(&q, r->reply);
    query_text(&q, r->host);
    query_int(&q, r->at_ms);
    query_int(&q, r->transaction);
    return query_run(&q);
}

/* After the first change of a task "exists" is no answer but a broken database: the task must be rolled back. */
enum result must_be_new(enum result result)
{
    return result == RESULT_EXISTS ? RESULT_CORRUPT : result;
}

static enum result message_add(struct database *db, const struct store_message *message, const struct store_recipient *recipients, size_t n)
{
    enum result result = add_message_row(db, message);
    for (size_t i = 0; i < n && result == RESULT_OK; i++)
        result = must_be_new(add_recipient_row(db, message->id, &recipients[i]));
    return result;
}

enum result message_add_chunk(struct database *db, uint64_t message, uint32_t seq, struct slice octets)
{
    struct query q = query_open(db, seq == 0 ? SQL_BODY_ADD : SQL_CHUNK_ADD);
    query_int(&q, (int64_t)message);
    if (seq > 0)
        query_int(&q, seq);
    query_blob(&q, octets);
    return must_be_new(query_run(&q));
}

static enum result copy_octets(struct slice octets, char **out, size_t *len)
{
    *out = malloc(octets.len + 1);
    if (!*out)
        return RESULT_MEMORY;
    if (octets.len > 0)
        memcpy(*out, octets.ptr, octets.len);
    *len = octets.len;
    return RESULT_OK;
}

enum result message_read_chunk(struct database *db, uint64_t message, uint32_t seq, char **octets, size_t *len)
{
    struct query q = query_open(db, seq == 0 ? SQL_BODY_GET : SQL_CHUNK_GET);
    query_int(&q, (int64_t)message);
    if (seq > 0)
        query_int(&q, seq);
    *octets = NULL;
    *len = 0;
    enum result result = query_row(&q) ? copy_octets(query_get_slice(&q, 0), octets, len) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    if (ended == RESULT_OK)
        return result;
    free(*octets);
    *octets = NULL;
    return ended;
}

static enum result run_for(struct database *db, enum sql which, uint64_t message)
{
    struct query q = query_open(db, which);
    query_int(&q, (int64_t)message);
    return query_run(&q);
}

enum result message_drop_body(struct database *db, uint64_t message)
{
    enum result result = run_for(db, SQL_BODY_REMOVE, message);
    return result == RESULT_OK ? run_for(db, SQL_CHUNK_REMOVE, message) : result;
}

enum result message_drop_chunks_from(struct database *db, uint64_t message, uint32_t seq)
{
    if (seq == 0)
        return message_drop_body(db, message);
    struct query q = query_open(db, SQL_CHUNK_REMOVE_FROM);
    query_int(&q, (int64_t)message);
    query_int(&q, seq);
    return query_run(&q);
}

enum result message_erase(struct database *db, uint64_t message)
{
    enum result result = run_for(db, SQL_MESSAGE_REMOVE, message);
    if (result == RESULT_OK && database_changes(db) == 0)
        return RESULT_NOT_FOUND;
    if (result == RESULT_OK)
        result = run_for(db, SQL_RECIPIENT_REMOVE, message);
    return result == RESULT_OK ? message_drop_body(db, message) : result;
}

/* A reader copies text out of SQLite; the first failure is kept in *result. */
static struct slice take_text(const struct query *q, int column, struct arena *arena, enum result *result)
{
    struct slice copy = {0};
    if (*result == RESULT_OK)
        *result = arena_copy(arena, query_get_slice(q, column), &copy);
    return copy;
}

static enum result take_message(const struct query *q, struct arena *arena, struct store_message *out)
{
    enum result result = RESULT_OK;
    *out = (struct store_message){
        .id = (uint64_t)query_get_int(q, 0),
        .account = take_text(q, 1, arena, &result),
        .envelope = {.sender = take_text(q, 2, arena, &result),
                     .body = (enum mail_body)query_get_int(q, 3),
                     .is_smtputf8 = query_get_int(q, 4) != 0,
                     .ret = (enum dsn_ret)query_get_int(q, 5),
                     .envid = take_text(q, 6, arena, &result)},
        .size_octets = (uint64_t)query_get_int(q, 7),
        .has_8bit = query_get_int(q, 8) != 0,
        .is_binary = query_get_int(q, 9) != 0,
        .needs_smtputf8 = query_get_int(q, 10) != 0,
        .is_dsn = query_get_int(q, 11) != 0,
        .received_at_ms = query_get_int(q, 12),
        .expires_at_ms = query_get_int(q, 13),
        .nchunks = (uint32_t)query_get_int(q, 14),
        .header_octets = (uint32_t)query_get_int(q, 15),
    };
    struct slice digest = query_get_slice(q, 16);
    if (digest.len == STORE_DIGEST)
        memcpy(out->digest, digest.ptr, STORE_DIGEST);
    return result;
}

enum result message_read(struct database *db, struct arena *arena, uint64_t id, struct store_message *out)
{
    struct query q = query_open(db, SQL_MESSAGE_GET);
    query_int(&q, (int64_t)id);
    enum result result = query_row(&q) ? take_message(&q, arena, out) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result take_recipient(const struct query *q, struct arena *arena, struct store_recipient *out)
{
    enum result result = RESULT_OK;
    int64_t state = query_get_int(q, 5);
    if (state < STORE_QUEUED || state > STORE_UNCERTAIN)
        return RESULT_CORRUPT;
    *out = (struct store_recipient){
        .seq = (uint32_t)query_get_int(q, 0),
        .envelope = {.address = take_text(q, 1, arena, &result), .notify = (unsigned)query_get_int(q, 2), .orcpt = take_text(q, 3, arena, &result)},
        .hop = take_text(q, 4, arena, &result),
        .state = (enum store_state)state,
        .attempts = (uint32_t)query_get_int(q, 6),
        .next_attempt_ms = query_get_int(q, 7),
        .reply = take_text(q, 8, arena, &result),
        .host = take_text(q, 9, arena, &result),
        .at_ms = query_get_int(q, 10),
        .transaction = (uint32_t)query_get_int(q, 11),
    };
    return result;
}

/* Makes room for one more; arena arrays grow by doubling. */
static enum result grow(struct arena *arena, struct store_recipient **rows, size_t n, size_t *capacity)
{
    if (n < *capacity)
        return RESULT_OK;
    size_t wanted = *capacity ? 2 * *capacity : 1;
    struct store_recipient *more = arena_alloc(arena, wanted * sizeof *more);
    if (!more)
        return RESULT_MEMORY;
    for (size_t i = 0; i < n; i++)
        more[i] = (*rows)[i];
    *rows = more;
    *capacity = wanted;
    return RESULT_OK;
}

enum result message_read_recipients(struct database *db, struct arena *arena, uint64_t id, const struct slice *hop, struct store_recipient **out,
                                    size_t *n)
{
    struct query q = query_open(db, hop ? SQL_RECIPIENT_FOR_HOP : SQL_RECIPIENT_ALL);
    query_int(&q, (int64_t)id);
    if (hop)
        query_text(&q, *hop);
    enum result result = RESULT_OK;
    size_t capacity = 0;
    *out = NULL;
    *n = 0;
    while (result == RESULT_OK && query_row(&q)) {
        result = grow(arena, out, *n, &capacity);
        if (result == RESULT_OK)
            result = take_recipient(&q, arena, &(*out)[(*n)++]);
    }
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

enum result message_set_outcome(struct database *db, uint64_t message, const struct store_outcome *outcome, int64_t now_ms)
{
    bool is_final = outcome->state == STORE_DELIVERED || outcome->state == STORE_BOUNCED;
    struct query q = query_open(db, SQL_RECIPIENT_OUTCOME);
    query_int(&q, (int64_t)message);
    query_int(&q, outcome->seq);
    query_int(&q, outcome->state);
    query_int(&q, is_final ? 0 : outcome->next_attempt_ms);
    query_text(&q, slice_take(outcome->reply, REPLY_MAX));
    query_text(&q, slice_take(outcome->host, HOST_MAX));
    query_int(&q, now_ms);
    query_int(&q, outcome->counts);
    query_int(&q, outcome->transaction);
    return query_run(&q);
}

static enum result has_row(struct database *db, enum sql which, uint64_t message, bool *out)
{
    struct query q = query_open(db, which);
    query_int(&q, (int64_t)message);
    *out = query_row(&q);
    return query_end(&q);
}

enum result message_is_there(struct database *db, uint64_t message, bool *out)
{
    return has_row(db, SQL_MESSAGE_GET, message, out);
}

enum result message_needs_body(struct database *db, uint64_t message, bool while_awaited, bool *out)
{
    enum result result = has_row(db, SQL_UNFINISHED_ONE, message, out);
    return result == RESULT_OK && !*out && while_awaited ? has_row(db, SQL_AWAITED_ONE, message, out) : result;
}

enum result message_write(struct database *db, const struct store_job *job, uint32_t nsent)
{
    const struct store_message *m = &job->message;
    enum result result = message_add(db, m, job->recipients, job->nrecipients);
    if (result == RESULT_OK && nsent > 0)
        result = run_for(db, SQL_INTAKE_REMOVE, m->id);
    struct slice rest = job->body;
    for (uint32_t seq = nsent; rest.len > 0 && result == RESULT_OK; seq++) {
        result = message_add_chunk(db, m->id, seq, slice_take(rest, STORE_CHUNK));
        rest = slice_skip(rest, STORE_CHUNK);
    }
    return result;
}
