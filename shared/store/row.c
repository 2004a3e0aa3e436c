/* Rows of messages, recipients and bodies, written and read. Each function runs inside the transaction of its caller. */
#include "store/engine.h"

#include "mail/message_id.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    REPLY_MAX = 4096, /* octets kept of a reply */
    HOST_MAX = 255,
};

static const uint8_t NO_DIGEST[STORE_DIGEST];
/* ---- places of sealed records ---- */

static struct seal_place place_of_envelope(uint64_t message, uint64_t size_octets, uint32_t nchunks)
{
    return (struct seal_place){.field = SEALED_ENVELOPE, .message = message, .size_octets = size_octets, .nchunks = nchunks};
}

static struct seal_place place_of(enum sealed_field field, uint64_t message, uint32_t seq)
{
    return (struct seal_place){.field = (uint8_t)field, .message = message, .seq = seq};
}

/* ---- written ---- */

/* As it lies in the database: of a sealed one under its key, so that nothing can be guessed from it, and what is read back is not what was given. */
static void keep_digest(const struct database *db, const uint8_t digest[static STORE_DIGEST], uint8_t out[static STORE_DIGEST])
{
    if (db->seal)
        seal_digest(db->seal, slice_of(digest, STORE_DIGEST), out);
    else
        memcpy(out, digest, STORE_DIGEST);
}

enum result message_find(struct database *db, const uint8_t digest[static STORE_DIGEST], const struct store_window *window, uint64_t *id)
{
    uint8_t kept[STORE_DIGEST];
    keep_digest(db, digest, kept);
    struct query q = query_open(db, SQL_MESSAGE_WITH_DIGEST);
    query_blob(&q, slice_of(kept, STORE_DIGEST));
    query_int(&q, window->since_ms);
    query_int(&q, window->until_ms);
    query_int(&q, window->lead_ms);
    bool is_there = query_row(&q);
    *id = is_there ? (uint64_t)query_get_int(&q, 0) : 0;
    enum result result = query_end(&q);
    return result == RESULT_OK && !is_there ? RESULT_NOT_FOUND : result;
}

static enum result add_message_row(struct database *db, const struct store_message *m)
{
    const struct seal_place place = place_of_envelope(m->id, m->size_octets, m->nchunks);
    struct sealed_texts names;
    enum result result = sealed_texts_put(db->seal, &place, m->envelope.sender, m->envelope.envid, &names);
    if (result != RESULT_OK) {
        sealed_texts_free(&names);
        return result;
    }
    struct query q = query_open(db, SQL_MESSAGE_ADD);
    query_int(&q, (int64_t)m->id);
    query_text(&q, m->account);
    query_text(&q, names.first);
    query_int(&q, m->envelope.body);
    query_int(&q, m->envelope.is_smtputf8);
    query_int(&q, m->envelope.ret);
    query_text(&q, names.second);
    query_int(&q, (int64_t)m->size_octets);
    query_int(&q, m->has_8bit);
    query_int(&q, m->is_binary);
    query_int(&q, m->needs_smtputf8);
    query_int(&q, m->is_dsn);
    query_int(&q, m->received_at_ms);
    query_int(&q, m->expires_at_ms);
    query_int(&q, m->nchunks);
    query_int(&q, m->header_octets);
    uint8_t digest[STORE_DIGEST];
    keep_digest(db, m->digest, digest);
    if (memcmp(m->digest, NO_DIGEST, STORE_DIGEST) != 0)
        query_blob(&q, slice_of(digest, STORE_DIGEST));
    else
        query_null(&q);
    result = query_run(&q);
    sealed_texts_free(&names);
    return result;
}

static enum result insert_recipient(struct database *db, uint64_t message, const struct store_recipient *r, const struct sealed_texts *names, const struct sealed_texts *words)
{
    struct query q = query_open(db, SQL_RECIPIENT_ADD);
    query_int(&q, (int64_t)message);
    query_int(&q, r->seq);
    query_text(&q, names->first);
    query_int(&q, r->envelope.notify);
    query_text(&q, names->second);
    query_text(&q, r->hop);
    query_int(&q, r->state);
    query_int(&q, r->attempts);
    query_int(&q, r->next_attempt_ms);
    query_text(&q, words->first);
    query_text(&q, words->second);
    query_int(&q, r->at_ms);
    query_int(&q, r->transaction);
    return query_run(&q);
}

static enum result add_recipient_row(struct database *db, uint64_t message, const struct store_recipient *r)
{
    const struct seal_place name_place = place_of(SEALED_RECIPIENT, message, r->seq), words_place = place_of(SEALED_WORDS, message, r->seq);
    struct sealed_texts names, words = {0};
    enum result result = sealed_texts_put(db->seal, &name_place, r->envelope.address, r->envelope.orcpt, &names);
    if (result == RESULT_OK)
        result = sealed_texts_put(db->seal, &words_place, r->reply, r->host, &words);
    if (result == RESULT_OK)
        result = insert_recipient(db, message, r, &names, &words);
    sealed_texts_free(&names);
    sealed_texts_free(&words);
    return result;
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
    const struct seal_place place = place_of(SEALED_BODY, message, seq);
    struct slice column;
    char *memory;
    enum result result = sealed_octets_put(db->seal, &place, octets, &memory, &column);
    if (result == RESULT_OK) {
        struct query q = query_open(db, seq == 0 ? SQL_BODY_ADD : SQL_CHUNK_ADD);
        query_int(&q, (int64_t)message);
        if (seq > 0)
            query_int(&q, seq);
        query_blob(&q, column);
        result = must_be_new(query_run(&q));
    }
    free(memory);
    return result;
}

/* ---- read ---- */

static enum result say_unreadable(struct database *db, const struct seal_place *place, enum result result)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(place->message, id);
    if (result == RESULT_CORRUPT || result == RESULT_VERSION)
        log_event(db->log, LOG_ERROR, "sealed-record", LOG_TEXT("item", id), LOG_INT("field", place->field), LOG_INT("seq", place->seq),
                  LOG_TEXT("words", result == RESULT_CORRUPT ? "it was altered or moved on the disk, or sealed with another key" : "a newer program has sealed it"));
    return result;
}

static enum result take_octets(struct database *db, const struct seal_place *place, struct slice column, char **out, size_t *len)
{
    *len = sealed_octets_len(db->seal, column);
    *out = malloc(*len + 1);
    return *out ? say_unreadable(db, place, sealed_octets_take(db->seal, place, column, *out)) : RESULT_MEMORY;
}

enum result message_read_chunk(struct database *db, uint64_t message, uint32_t seq, char **octets, size_t *len)
{
    const struct seal_place place = place_of(SEALED_BODY, message, seq);
    struct query q = query_open(db, seq == 0 ? SQL_BODY_GET : SQL_CHUNK_GET);
    query_int(&q, (int64_t)message);
    if (seq > 0)
        query_int(&q, seq);
    *octets = NULL;
    *len = 0;
    enum result result = query_row(&q) ? take_octets(db, &place, query_get_slice(&q, 0), octets, len) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    if (ended == RESULT_OK && result == RESULT_OK)
        return RESULT_OK;
    free(*octets);
    *octets = NULL;
    *len = 0;
    return ended == RESULT_OK ? result : ended;
}

/* ---- dropped ---- */

enum result message_drop_body(struct database *db, uint64_t message)
{
    enum result result = query_run_for(db, SQL_BODY_REMOVE, message);
    return result == RESULT_OK ? query_run_for(db, SQL_CHUNK_REMOVE, message) : result;
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
    enum result result = query_run_for(db, SQL_MESSAGE_REMOVE, message);
    int64_t changes = database_changes(db);
    if (result == RESULT_OK)
        result = query_run_for(db, SQL_RECIPIENT_REMOVE, message);
    if (result == RESULT_OK && changes + database_changes(db) == 0)
        return RESULT_NOT_FOUND; /* recipients alone are what is left of an altered one */
    return result == RESULT_OK ? message_drop_body(db, message) : result;
}

/* ---- rows taken out of SQLite ---- */

/* One row, its texts copied. `result` keeps the first failure; what can't be opened is only noted, so that the rest of the row can be shown. */
struct taker {
    const struct query *q;
    struct arena *arena;
    enum result result;
    enum result unreadable; /* RESULT_OK: nothing is */
};

static struct slice take_text(struct taker *taker, int column)
{
    struct slice copy = {0};
    if (taker->result == RESULT_OK)
        taker->result = arena_copy(taker->arena, query_get_slice(taker->q, column), &copy);
    return copy;
}

static void take_texts(struct taker *taker, const struct seal_place *place, int first_column, int second_column, struct slice *first, struct slice *second)
{
    struct database *db = taker->q->db;
    if (taker->result != RESULT_OK)
        return;
    enum result result = say_unreadable(db, place, sealed_texts_take(db->seal, place, query_get_slice(taker->q, first_column), query_get_slice(taker->q, second_column), taker->arena, first, second));
    if (result == RESULT_CORRUPT || result == RESULT_VERSION) {
        *first = SLICE(STORE_UNREADABLE);
        *second = (struct slice){0};
        taker->unreadable = result;
    } else {
        taker->result = result;
    }
}

static enum result taken(const struct taker *taker)
{
    return taker->result == RESULT_OK ? taker->unreadable : taker->result;
}

static enum result take_message(const struct query *q, struct arena *arena, struct store_message *out)
{
    struct taker taker = {.q = q, .arena = arena};
    *out = (struct store_message){
        .id = (uint64_t)query_get_int(q, 0),
        .account = take_text(&taker, 1),
        .envelope = {.body = (enum mail_body)query_get_int(q, 3),
                     .is_smtputf8 = query_get_int(q, 4) != 0,
                     .ret = (enum dsn_ret)query_get_int(q, 5)},
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
    const struct seal_place place = place_of_envelope(out->id, out->size_octets, out->nchunks);
    take_texts(&taker, &place, 2, 6, &out->envelope.sender, &out->envelope.envid);
    return taken(&taker);
}

enum result message_read(struct database *db, struct arena *arena, uint64_t id, struct store_message *out)
{
    struct query q = query_open(db, SQL_MESSAGE_GET);
    query_int(&q, (int64_t)id);
    enum result result = query_row(&q) ? take_message(&q, arena, out) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static bool is_state(int64_t number)
{
    return number >= STORE_QUEUED && number <= STORE_UNCERTAIN;
}

static enum result take_recipient(const struct query *q, uint64_t message, struct arena *arena, struct store_recipient *out)
{
    struct taker taker = {.q = q, .arena = arena};
    uint32_t seq = (uint32_t)query_get_int(q, 0);
    const struct seal_place name = place_of(SEALED_RECIPIENT, message, seq), words = place_of(SEALED_WORDS, message, seq);
    *out = (struct store_recipient){
        .seq = seq,
        .envelope = {.notify = (unsigned)query_get_int(q, 2)},
        .hop = take_text(&taker, 4),
        .state = (enum store_state)query_get_int(q, 5),
        .attempts = (uint32_t)query_get_int(q, 6),
        .next_attempt_ms = query_get_int(q, 7),
        .at_ms = query_get_int(q, 10),
        .transaction = (uint32_t)query_get_int(q, 11),
    };
    take_texts(&taker, &name, 1, 3, &out->envelope.address, &out->envelope.orcpt);
    take_texts(&taker, &words, 8, 9, &out->reply, &out->host);
    if (!is_state(query_get_int(q, 5))) {
        out->state = STORE_HELD; /* to be shown, and decided on by a person */
        taker.unreadable = RESULT_CORRUPT;
    }
    return taken(&taker);
}

/* The rows of a query whose parameters are bound; ends it. */
static enum result take_recipients(struct query *q, struct arena *arena, uint64_t id, struct store_recipient **out, size_t *n)
{
    enum result result = RESULT_OK, unreadable = RESULT_OK;
    size_t capacity = 0;
    *out = NULL;
    *n = 0;
    while (result == RESULT_OK && query_row(q)) {
        *out = arena_grow(arena, *out, *n, &capacity, sizeof **out);
        if (!*out) {
            result = RESULT_MEMORY;
            break;
        }
        enum result row = take_recipient(q, id, arena, &(*out)[(*n)++]);
        if (row == RESULT_CORRUPT || row == RESULT_VERSION)
            unreadable = row;
        else
            result = row;
    }
    if (result != RESULT_OK)
        *n = 0;
    else
        result = unreadable;
    enum result ended = query_end(q);
    return ended == RESULT_OK ? result : ended;
}

enum result message_read_recipients(struct database *db, struct arena *arena, uint64_t id, const struct slice *hop, struct store_recipient **out,
                                    size_t *n)
{
    struct query q = query_open(db, hop ? SQL_RECIPIENT_FOR_HOP : SQL_RECIPIENT_ALL);
    query_int(&q, (int64_t)id);
    if (hop)
        query_text(&q, *hop);
    return take_recipients(&q, arena, id, out, n);
}

enum result message_read_some(struct database *db, struct arena *arena, uint64_t id, uint32_t first, uint32_t most, struct store_recipient **out, size_t *n)
{
    struct query q = query_open(db, SQL_RECIPIENT_SOME);
    query_int(&q, (int64_t)id);
    query_int(&q, first);
    query_int(&q, most);
    return take_recipients(&q, arena, id, out, n);
}

enum result message_count_recipients(struct database *db, uint64_t id, uint32_t *out)
{
    struct query q = query_open(db, SQL_RECIPIENT_COUNT);
    query_int(&q, (int64_t)id);
    *out = query_row(&q) ? (uint32_t)query_get_int(&q, 0) : 0;
    return query_end(&q);
}

static enum result update_recipient(struct database *db, uint64_t message, const struct store_outcome *outcome, const struct sealed_texts *words, int64_t now_ms)
{
    bool is_final = outcome->state == STORE_DELIVERED || outcome->state == STORE_BOUNCED;
    struct query q = query_open(db, SQL_RECIPIENT_OUTCOME);
    query_int(&q, (int64_t)message);
    query_int(&q, outcome->seq);
    query_int(&q, outcome->state);
    query_int(&q, is_final ? 0 : outcome->next_attempt_ms);
    query_text(&q, words->first);
    query_text(&q, words->second);
    query_int(&q, outcome->at_ms > 0 ? outcome->at_ms : now_ms);
    query_int(&q, outcome->counts);
    query_int(&q, outcome->transaction);
    return query_run(&q);
}

enum result message_set_outcome(struct database *db, uint64_t message, const struct store_outcome *outcome, int64_t now_ms)
{
    const struct seal_place place = place_of(SEALED_WORDS, message, outcome->seq);
    struct sealed_texts words;
    enum result result = sealed_texts_put(db->seal, &place, slice_take(outcome->reply, REPLY_MAX), slice_take(outcome->host, HOST_MAX), &words);
    if (result == RESULT_OK)
        result = update_recipient(db, message, outcome, &words, now_ms);
    sealed_texts_free(&words);
    return result;
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
        result = query_run_for(db, SQL_INTAKE_REMOVE, m->id);
    struct slice rest = job->body;
    for (uint32_t seq = nsent; rest.len > 0 && result == RESULT_OK; seq++) {
        result = message_add_chunk(db, m->id, seq, slice_take(rest, STORE_CHUNK));
        rest = slice_skip(rest, STORE_CHUNK);
    }
    return result;
}
