/* A whole database sealed, or unsealed, when it is opened.
 *
 *     (no mark) --key wanted--> SEALING --all rows--> WIPING --old pages overwritten--> SEALED
 *         ^                        ^                                                      |
 *         |                        +---- wanted again, half way: up to where it came ---+ | not wanted
 *         +------------------ all rows, mark removed in the same commit ------------- UNSEALING
 *
 * The mark is the setting "seal" (mark.h): where in this picture the database is, its salt, a value by which the key is known (not the key), and how far the pass under way has come.
 *
 * Invariants:
 * 1 Rows change in the same transaction as the mark. After a crash anywhere each row is what the mark says of it, and the pass goes on from there.
 * 2 A transaction holds at most BATCH_ROWS rows and little more than BATCH_OCTETS octets; on a nearly full disk less, down to one row.
 *   What the log takes of the disk is given back, on the way and at the end.
 * 3 No row is sealed before find_key has said that the key is where it will be found again.
 * 4 When SEALED is written nothing that lay in the clear is in the database or its log: rows were overwritten (secure_delete), what had been deleted before went with a VACUUM, the log was emptied (wiping.c).
 *   What a file system or a flash disk keeps of old blocks is beyond us. */
#include "store/engine.h"
#include "store/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BATCH_ROWS = 500,
    BATCH_OCTETS = 1024 * 1024,
    LOG_OCTETS = 16 * 1024 * 1024,  /* of rows, after which the write-ahead log is emptied */
    TIGHT_OCTETS = 8 * 1024 * 1024, /* free on the disk: with less it is emptied after each batch */
    BATCH_TIMES = 4,                /* a batch may take the fourth part of what is free: pages are written more than once, and the database may grow */
    SHIFT_STEP = 3,                 /* else it becomes an eighth of what it was, three times: then it is one row */
    SHIFT_MOST = 9,
};

#define MARK_NAME SLICE("seal")

struct pass {
    struct database *db;
    const struct room *room;
    struct mark mark;
    const struct seal *from, *to; /* one of them is NULL: in the clear */
    size_t nrows, octets;
    size_t log_octets; /* rows in the log, about */
    unsigned shift, least_shift; /* a batch is 2^shift times smaller than usual; and since the disk was full, at least so much */
};

/* ---- the mark --------------------------------------------------------------------------------------------------- */

/* Inside a transaction. */
static enum result write_mark(struct database *db, const struct mark *mark)
{
    char octets[MARK_OCTETS];
    struct query q = query_open(db, mark->stage == MARK_PLAIN ? SQL_SETTING_REMOVE : SQL_SETTING_PUT);
    mark_write(mark, octets);
    query_text(&q, MARK_NAME);
    if (mark->stage != MARK_PLAIN)
        query_blob(&q, slice_of(octets, sizeof octets));
    return query_run(&q);
}

enum result sealing_read_mark(struct database *db, struct mark *mark)
{
    *mark = (struct mark){.stage = MARK_PLAIN};
    struct query q = query_open(db, SQL_SETTING_GET);
    query_text(&q, MARK_NAME);
    enum result result = query_row(&q) ? mark_parse(query_get_slice(&q, 0), mark) : RESULT_OK;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

static enum result commit_mark_once(struct database *db, const struct mark *mark)
{
    enum result result = database_begin(db);
    if (result == RESULT_OK)
        result = write_mark(db, mark);
    if (result == RESULT_OK)
        result = database_commit(db);
    if (result != RESULT_OK)
        database_rollback(db);
    return result;
}

/* A log that is full of what is in the database already is room as well. */
enum result sealing_commit_mark(struct database *db, const struct mark *mark)
{
    enum result result = commit_mark_once(db, mark);
    if (result == RESULT_FULL && database_empty_log(db) == RESULT_OK)
        result = commit_mark_once(db, mark);
    return result;
}

/* ---- one row ---------------------------------------------------------------------------------------------------- */

static bool is_within(const struct pass *pass, uint64_t message, uint32_t seq)
{
    const struct mark_cursor *limit = &pass->mark.limit;
    if (pass->mark.at.phase != limit->phase)
        return pass->mark.at.phase < limit->phase;
    return message < limit->message || (message == limit->message && seq <= limit->seq);
}

/* Two texts of a row, from one form into the other. */
static enum result turn_texts(struct pass *pass, const struct seal_place *place, struct slice first, struct slice second, struct sealed_texts *out)
{
    struct arena arena = {0};
    struct slice a, b;
    *out = (struct sealed_texts){0};
    enum result result = sealed_texts_take(pass->from, place, first, second, &arena, &a, &b);
    if (result == RESULT_OK)
        result = sealed_texts_put(pass->to, place, a, b, out);
    if (result == RESULT_OK && !pass->to) { /* they lie in the arena, which ends here */
        result = buffer_append(&out->memory, a);
        if (result == RESULT_OK)
            result = buffer_append(&out->memory, b);
        out->first = slice_take(buffer_slice(&out->memory), a.len);
        out->second = slice_skip(buffer_slice(&out->memory), a.len);
    }
    pass->octets += first.len + second.len;
    arena_free(&arena);
    return result;
}

struct row_at {
    uint64_t message;
    uint32_t seq;
};

/* There is no way back from a keyed one: what was submitted shortly before is then not known again, and nothing else. */
static void bind_digest(const struct pass *pass, struct query *q, struct slice digest, uint8_t room[static STORE_DIGEST])
{
    if (!pass->to || digest.len != STORE_DIGEST) {
        query_null(q);
        return;
    }
    seal_digest(pass->to, digest, room);
    query_blob(q, slice_of(room, STORE_DIGEST));
}

static enum result turn_message(struct pass *pass, const struct query *row, const struct row_at *at)
{
    const struct seal_place place = {
        .field = SEALED_ENVELOPE, .message = at->message, .size_octets = (uint64_t)query_get_int(row, 4), .nchunks = (uint32_t)query_get_int(row, 5)};
    struct sealed_texts names;
    enum result result = turn_texts(pass, &place, query_get_slice(row, 2), query_get_slice(row, 3), &names);
    if (result == RESULT_OK) {
        uint8_t digest[STORE_DIGEST];
        struct query q = query_open(pass->db, SQL_SEALING_MESSAGE);
        query_int(&q, (int64_t)at->message);
        query_text(&q, names.first);
        query_text(&q, names.second);
        bind_digest(pass, &q, query_get_slice(row, 6), digest);
        result = query_run(&q);
    }
    sealed_texts_free(&names);
    return result;
}

static enum result turn_recipient(struct pass *pass, const struct query *row, const struct row_at *at)
{
    struct seal_place place = {.field = SEALED_RECIPIENT, .message = at->message, .seq = at->seq};
    struct sealed_texts names, words = {0};
    enum result result = turn_texts(pass, &place, query_get_slice(row, 2), query_get_slice(row, 3), &names);
    place.field = SEALED_WORDS;
    if (result == RESULT_OK)
        result = turn_texts(pass, &place, query_get_slice(row, 4), query_get_slice(row, 5), &words);
    if (result == RESULT_OK) {
        struct query q = query_open(pass->db, SQL_SEALING_RECIPIENT);
        query_int(&q, (int64_t)at->message);
        query_int(&q, at->seq);
        query_text(&q, names.first);
        query_text(&q, names.second);
        query_text(&q, words.first);
        query_text(&q, words.second);
        result = query_run(&q);
    }
    sealed_texts_free(&names);
    sealed_texts_free(&words);
    return result;
}

static enum result update_octets(struct pass *pass, const struct row_at *at, struct slice column)
{
    bool is_first = pass->mark.at.phase == MARK_BODIES;
    struct query q = query_open(pass->db, is_first ? SQL_SEALING_BODY : SQL_SEALING_CHUNK);
    query_int(&q, (int64_t)at->message);
    query_blob(&q, column);
    if (!is_first)
        query_int(&q, at->seq);
    return query_run(&q);
}

static enum result turn_octets(struct pass *pass, const struct query *row, const struct row_at *at)
{
    const struct seal_place place = {.field = SEALED_BODY, .message = at->message, .seq = at->seq};
    struct slice column = query_get_slice(row, 2);
    size_t len = sealed_octets_len(pass->from, column);
    char *octets = malloc(len + 1), *memory = NULL;
    enum result result = octets ? sealed_octets_take(pass->from, &place, column, octets) : RESULT_MEMORY;
    if (result == RESULT_OK)
        result = sealed_octets_put(pass->to, &place, slice_of(octets, len), &memory, &column);
    if (result == RESULT_OK)
        result = update_octets(pass, at, column);
    pass->octets += len;
    free(octets);
    free(memory);
    return result;
}

struct table {
    enum sql next;
    enum result (*turn)(struct pass *pass, const struct query *row, const struct row_at *at);
};

static const struct table tables[MARK_END] = {
    [MARK_MESSAGES] = {SQL_SEALING_NEXT_MESSAGE, turn_message},
    [MARK_RECIPIENTS] = {SQL_SEALING_NEXT_RECIPIENT, turn_recipient},
    [MARK_BODIES] = {SQL_SEALING_NEXT_BODY, turn_octets},
    [MARK_CHUNKS] = {SQL_SEALING_NEXT_CHUNK, turn_octets},
};

/* The next row of the phase: done, and the cursor moved; or none is left, and the cursor stands before the next phase. A row is read by its key and changed while it is the statement's only one. */
static enum result step(struct pass *pass)
{
    struct mark_cursor *cursor = &pass->mark.at;
    const struct table *table = &tables[cursor->phase];
    struct query q = query_open(pass->db, table->next);
    query_int(&q, (int64_t)cursor->message);
    query_int(&q, cursor->seq);
    enum result result = RESULT_OK;
    bool is_there = query_row(&q);
    struct row_at at = {0};
    if (is_there) {
        at = (struct row_at){(uint64_t)query_get_int(&q, 0), (uint32_t)query_get_int(&q, 1)};
        is_there = is_within(pass, at.message, at.seq);
    }
    if (is_there)
        result = table->turn(pass, &q, &at);
    enum result ended = query_end(&q);
    result = ended == RESULT_OK ? result : ended;
    if (result == RESULT_OK)
        *cursor = is_there ? (struct mark_cursor){cursor->phase, at.message, at.seq} : (struct mark_cursor){.phase = cursor->phase + 1};
    if (result == RESULT_CORRUPT)
        cursor->message = at.message; /* for the words; nothing of this batch is committed */
    pass->nrows++;
    return result;
}

/* ---- all rows --------------------------------------------------------------------------------------------------- */

static bool is_over(const struct pass *pass)
{
    return pass->mark.at.phase == MARK_END || pass->mark.at.phase > pass->mark.limit.phase;
}

static bool is_batch_full(const struct pass *pass)
{
    return pass->nrows > 0 && (pass->nrows >= (size_t)BATCH_ROWS >> pass->shift || pass->octets >= (size_t)BATCH_OCTETS >> pass->shift);
}

static enum result batch(struct pass *pass, enum mark_stage afterwards)
{
    pass->nrows = pass->octets = 0;
    enum result result = database_begin(pass->db);
    while (result == RESULT_OK && !is_over(pass) && !is_batch_full(pass))
        result = step(pass);
    if (result == RESULT_OK && is_over(pass))
        pass->mark.stage = afterwards;
    if (result == RESULT_OK)
        result = write_mark(pass->db, &pass->mark);
    if (result == RESULT_OK)
        result = database_commit(pass->db);
    if (result != RESULT_OK)
        database_rollback(pass->db);
    return result;
}

/* Somebody's own sqlite3 on the file may be in the way; then the log just grows on. */
static enum result empty_log(struct pass *pass)
{
    enum result result = database_empty_log(pass->db);
    pass->log_octets = 0;
    return result == RESULT_BUSY ? RESULT_OK : result;
}

static unsigned shift_that_fits(const struct pass *pass)
{
    uint64_t most = room_free(pass->room) / BATCH_TIMES;
    unsigned shift = pass->least_shift;
    while (shift < SHIFT_MOST && (uint64_t)BATCH_OCTETS >> shift > most)
        shift += SHIFT_STEP;
    return shift;
}

/* A log that fills the disk to the end can't be emptied any more when the database has to grow for that. */
static enum result make_way(struct pass *pass)
{
    bool is_tight = pass->least_shift > 0 || room_free(pass->room) < TIGHT_OCTETS;
    enum result result = pass->log_octets >= LOG_OCTETS || (is_tight && pass->log_octets > 0) ? empty_log(pass) : RESULT_OK;
    pass->shift = shift_that_fits(pass);
    return result;
}

/* What is free is not all that is ours (a quota), and not ours alone. What did not fit was not committed, and is done anew in smaller steps. */
static enum result batch_that_fits(struct pass *pass, enum mark_stage afterwards)
{
    const struct mark before = pass->mark;
    enum result result = make_way(pass);
    if (result == RESULT_OK)
        result = batch(pass, afterwards);
    while (result == RESULT_FULL && pass->shift < SHIFT_MOST) {
        pass->mark = before;
        pass->least_shift = pass->shift + SHIFT_STEP;
        pass->shift = pass->least_shift;
        result = empty_log(pass);
        if (result == RESULT_OK)
            result = batch(pass, afterwards);
    }
    pass->log_octets += pass->octets;
    return result;
}

/* From where the mark stands to the end. The log is left empty: what it has taken of the disk is room for mail. */
static enum result walk(struct pass *pass, enum mark_stage afterwards)
{
    enum result result = RESULT_OK;
    pass->log_octets = LOG_OCTETS; /* for all that is known: it may be that of a run that crashed */
    while (result == RESULT_OK && pass->mark.stage != afterwards)
        result = batch_that_fits(pass, afterwards);
    if (result == RESULT_OK)
        (void)!empty_log(pass); /* the log's own trouble, if any: all rows are done */
    return result;
}

static enum result seal_rows(struct store *store, struct mark *mark)
{
    struct database *db = &store->writer_db;
    struct pass pass = {.db = db, .room = store->room, .mark = *mark, .to = store->seal};
    log_event(db->log, LOG_INFO, "store-sealing", LOG_TEXT("words", "the mail in the database is being encrypted"));
    enum result result = database_execute(db, "PRAGMA secure_delete = ON", "sealing");
    if (result == RESULT_OK)
        result = walk(&pass, MARK_WIPING);
    *mark = pass.mark;
    return result;
}

static enum result unseal_rows(struct store *store, struct mark *mark)
{
    struct database *db = &store->writer_db;
    struct pass pass = {.db = db, .room = store->room, .mark = *mark, .from = store->seal};
    log_event(db->log, LOG_INFO, "store-unsealing", LOG_TEXT("words", "the mail in the database is being decrypted"));
    enum result result = walk(&pass, MARK_PLAIN);
    if (result == RESULT_OK)
        log_event(db->log, LOG_INFO, "store-unsealed", LOG_TEXT("words", "the mail in the database is decrypted"));
    *mark = pass.mark;
    return result;
}

/* ---- the key ---------------------------------------------------------------------------------------------------- */

/* A key file that is damaged goes with the database: the next start would refuse it again. */
static enum result refuse_without_key(const struct store *store, const char *key_file, enum result result, char *why, size_t why_size)
{
    size_t len = strlen(why);
    bool is_in_the_way = result == RESULT_DENIED && key_file && access(key_file, F_OK) == 0;
    if (result == RESULT_NOT_FOUND || result == RESULT_DENIED)
        snprintf(why + len, why_size - len, "; the mail is not lost: %s is encrypted with that key, and opens when it is back. If it is lost for good, so is that mail: move %s*%s%s away, and the next start begins anew",
                 store->path, store->path, is_in_the_way ? " and " : "", is_in_the_way ? key_file : "");
    return result == RESULT_NOT_FOUND ? RESULT_DENIED : result;
}

static enum result say_memory(const struct store *store, enum result result, char *why, size_t why_size)
{
    snprintf(why, why_size, "memory ran out while opening %s", store->path);
    return result;
}

/* The seal under the key that the program finds; of a sealed database only if it is that key. What find_key says of where it was is no reason for anything that fails later. */
static enum result find_seal(struct store *store, const struct store_seal *wanted, const struct mark *mark, char *why, size_t why_size)
{
    uint8_t check[CRYPTO_HASH];
    bool is_sealed = mark->stage != MARK_PLAIN;
    uint8_t *key = crypto_secret_alloc(CRYPTO_KEY);
    if (!key)
        return RESULT_MEMORY;
    why[0] = '\0';
    enum result result = wanted->find_key(wanted->context, mark->salt, is_sealed, key, why, why_size);
    if (result == RESULT_OK) {
        store->seal = seal_new(key, mark->salt, SEALED_DOMAIN);
        if (!store->seal)
            result = say_memory(store, RESULT_MEMORY, why, why_size);
    }
    crypto_secret_free((void **)&key);
    if (result != RESULT_OK)
        return is_sealed ? refuse_without_key(store, wanted->key_file, result, why, why_size) : result;
    seal_check_value(store->seal, check);
    if (!is_sealed || crypto_equal(slice_of(check, sizeof check), slice_of(mark->check, sizeof mark->check)))
        return say_memory(store, RESULT_OK, why, why_size); /* as store_open has it, until something else fails */
    size_t len = strlen(why);
    snprintf(why + len, why_size - len, "%sthe key there is not the one that %s is encrypted with: put that one back; the mail is not lost. If that key is lost for good, so is that mail: move %s* away, and the next start begins anew", len > 0 ? ": " : "",
             store->path, store->path);
    return RESULT_DENIED;
}

/* ---- settled ---------------------------------------------------------------------------------------------------- */

static enum result begin_sealing(struct database *db, struct mark *mark, const struct seal *seal)
{
    seal_check_value(seal, mark->check);
    mark->stage = MARK_SEALING;
    mark->at = (struct mark_cursor){0};
    mark->limit = (struct mark_cursor){.phase = MARK_END};
    return sealing_commit_mark(db, mark);
}

/* What was unsealed half way is sealed again up to there; and what was begun to be sealed is finished first, because only then one cursor tells all. */
static enum result seal_again(struct database *db, struct mark *mark)
{
    mark->stage = MARK_SEALING;
    mark->limit = mark->at;
    mark->at = (struct mark_cursor){0};
    return sealing_commit_mark(db, mark);
}

static enum result begin_unsealing(struct database *db, struct mark *mark)
{
    mark->stage = MARK_UNSEALING;
    mark->at = (struct mark_cursor){0};
    mark->limit = (struct mark_cursor){.phase = MARK_END};
    return sealing_commit_mark(db, mark);
}

/* Step after step through the picture above; what is written afterwards is written as usual. */
static enum result settle(struct store *store, struct mark *mark, bool is_wanted)
{
    struct database *db = &store->writer_db;
    enum result result = RESULT_OK;
    if (mark->stage == MARK_PLAIN)
        result = begin_sealing(db, mark, store->seal);
    if (result == RESULT_OK && mark->stage == MARK_UNSEALING && is_wanted)
        result = seal_again(db, mark);
    if (result == RESULT_OK && mark->stage == MARK_SEALING)
        result = seal_rows(store, mark);
    if (result == RESULT_OK && mark->stage == MARK_WIPING && is_wanted)
        return wiping_try(store, mark);
    if (result == RESULT_OK && !is_wanted)
        result = wiping_back_to_usual(db); /* nothing lies in the clear that would have to be wiped, and all soon will */
    if (result == RESULT_OK && mark->stage != MARK_UNSEALING && !is_wanted)
        result = begin_unsealing(db, mark);
    return result == RESULT_OK && mark->stage == MARK_UNSEALING ? unseal_rows(store, mark) : result;
}

static void explain(const struct store *store, const struct mark *mark, enum result result, char *why, size_t why_size)
{
    if (result == RESULT_CORRUPT && mark->stage == MARK_UNSEALING)
        snprintf(why, why_size, "message number %" PRIu64 " in %s was altered on the disk and can't be decrypted: turn encryption on again, remove that message, then turn it off", mark->at.message,
                 store->path);
    else if (result == RESULT_FULL)
        snprintf(why, why_size, "there is no room to %s the mail in %s: %s; nothing is lost: make room on that disk (4 MB at least), and the next start goes on where this one came to",
                 mark->stage == MARK_UNSEALING ? "decrypt" : "encrypt", store->path, result_name(result));
    else
        snprintf(why, why_size, "the mail in %s could not be %s: %s; nothing is lost, and the next start goes on", store->path, mark->stage == MARK_UNSEALING ? "decrypted" : "encrypted",
                 result_name(result));
}

/* Of a database that says it was never sealed: whether it is so. Else the mark was lost, or somebody took it away, and what is sealed would be sealed as if it were text, or sent. */
static enum result check_plain(struct store *store, char *why, size_t why_size)
{
    struct query q = query_open(&store->writer_db, SQL_SEALING_ANY_SEALED);
    bool is_any = query_row(&q);
    enum result result = query_end(&q);
    if (result == RESULT_OK && !is_any)
        return RESULT_OK;
    if (result == RESULT_OK)
        snprintf(why, why_size, "mail in %s is encrypted, but how, it does not say any more: it was altered on the disk; put a copy of it back, and leave the key where it is", store->path);
    else
        snprintf(why, why_size, "whether %s is encrypted can't be read from it: %s", store->path, result_name(result));
    return result == RESULT_OK ? RESULT_CORRUPT : result;
}

enum result sealing_settle(struct store *store, const struct store_config *config, char *why, size_t why_size)
{
    struct mark mark;
    bool is_wanted = config->seal && config->seal->is_wanted;
    enum result result = sealing_read_mark(&store->writer_db, &mark);
    if (result != RESULT_OK) {
        snprintf(why, why_size, "how %s is encrypted can't be read from it: %s", store->path, result_name(result));
        return result;
    }
    if (mark.stage == MARK_PLAIN && config->seal)
        result = check_plain(store, why, why_size);
    if (result != RESULT_OK || (mark.stage == MARK_PLAIN && !is_wanted))
        return result;
    if (!config->seal) {
        snprintf(why, why_size, "%s is encrypted, and this program has no key for it; the mail is not lost", store->path);
        return RESULT_DENIED;
    }
    if (mark.stage == MARK_PLAIN)
        crypto_random(mark.salt, sizeof mark.salt);
    store->wipe_octets = 0;
    seal_free(&store->seal); /* of a first try, which the full disk ended */
    result = find_seal(store, config->seal, &mark, why, why_size);
    if (result != RESULT_OK)
        return result;
    result = settle(store, &mark, is_wanted);
    if (result != RESULT_OK)
        explain(store, &mark, result, why, why_size);
    else if (!is_wanted)
        seal_free(&store->seal);
    store->writer_db.seal = store->seal;
    return result;
}
