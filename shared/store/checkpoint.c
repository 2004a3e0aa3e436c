/* Names of transactions: who may go on, what was said of one that is over, and the end of a name.
 *
 * A claim is a write: it takes the half away from whoever had it (generation), and it is the moment at which a half that can't be gone on with is dropped. Everything
 * is decided on the writer's thread, in the order of its queue; only what became of a message that is over is read beside it. */
#include "store/half.h"

#include "mail/message_id.h"
#include "mail/submission.h"

#include <stdlib.h>
#include <string.h>

enum {
    CLAIM_ARENA_MAX = 2 * ENVELOPE_ARENA_MAX, /* octets: the list is copied as it doubles */
    DROP_STEP = 100,                    /* names forgotten in one transaction, so that new mail never waits long */
    DROP_OCTETS = 16 * 1024 * 1024,     /* of halves, likewise, but for the last of them */
    HEADER_MAX = SUBMISSION_HEADER_MAX + 2, /* octets, with the line end that it may have lacked */
};

/* ---- rows ---- */

/* Nobody but us writes these numbers, yet a session would be told them, and would send what lies behind them: a row that we can't have written stands for no octets. */
static bool is_sound(const struct query *q)
{
    int64_t generation = query_get_int(q, 1), octets = query_get_int(q, 3), came = query_get_int(q, 4), stored = query_get_int(q, 5);
    bool is_generation = generation > 0 && generation < UINT32_MAX;
    bool are_octets = octets >= 0 && octets / STORE_CHUNK < UINT32_MAX;
    bool is_header = came == 0 ? stored == 0 : came > 0 && came <= HEADER_MAX && stored > 0 && stored <= octets;
    return is_generation && are_octets && is_header;
}

static void take_numbers(const struct query *q, struct checkpoint_row *out)
{
    out->generation = (uint32_t)query_get_int(q, 1);
    out->octets = (uint64_t)query_get_int(q, 3);
    out->half = (struct store_half){
        .header_came = (uint64_t)query_get_int(q, 4),
        .header_stored = (uint64_t)query_get_int(q, 5),
        .has_8bit_header = query_get_int(q, 6) != 0,
        .is_header_utf8 = query_get_int(q, 7) != 0,
        .has_8bit_body = query_get_int(q, 8) != 0,
        .has_lines = query_get_int(q, 9) != 0,
        .received_at_ms = query_get_int(q, 10),
    };
}

static enum result take_row(const struct query *q, struct arena *arena, struct checkpoint_row *out)
{
    *out = (struct checkpoint_row){.message = (uint64_t)query_get_int(q, 0)};
    if (is_sound(q))
        take_numbers(q, out);
    return arena_copy(arena, query_get_slice(q, 2), &out->reply);
}

/* Where there is the message, it was taken, whatever has become of the words. */
static enum result find_out_if_over(struct database *db, struct checkpoint_row *row)
{
    bool is_over = row->reply.len > 0;
    enum result result = is_over ? RESULT_OK : message_is_there(db, row->message, &is_over);
    if (row->reply.len == 0 && is_over)
        row->reply = SLICE("250");
    return result;
}

enum result checkpoint_find(struct database *db, const struct store_claim *claim, struct arena *arena, struct checkpoint_row *out)
{
    enum { IS_SAME = 11, RANK = 12 };
    struct query q = query_open(db, SQL_CHECKPOINT_SEEN);
    query_text(&q, claim->account);
    query_text(&q, claim->transid);
    query_text(&q, claim->device);
    query_text(&q, claim->helo);
    query_int(&q, claim->is_by_password);
    query_blob(&q, slice_of(claim->digest, STORE_DIGEST));
    enum result result = RESULT_NOT_FOUND;
    int64_t best = -1;
    while ((result == RESULT_OK || result == RESULT_NOT_FOUND) && query_row(&q)) {
        if (query_get_int(&q, RANK) <= best)
            continue;
        best = query_get_int(&q, RANK);
        result = take_row(&q, arena, out);
        out->is_same = query_get_int(&q, IS_SAME) != 0;
    }
    enum result ended = query_end(&q);
    return ended == RESULT_OK && result == RESULT_OK ? find_out_if_over(db, out) : ended == RESULT_OK ? result : ended;
}

enum result checkpoint_get(struct database *db, uint64_t message, struct arena *arena, struct checkpoint_row *out)
{
    struct query q = query_open(db, SQL_CHECKPOINT_GET);
    query_int(&q, (int64_t)message);
    *out = (struct checkpoint_row){0};
    enum result result = query_row(&q) ? take_row(&q, arena, out) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

enum result checkpoint_is_there(struct database *db, uint64_t message, bool *out)
{
    *out = false;
    if (!db->has_checkpoints)
        return RESULT_OK;
    struct query q = query_open(db, SQL_CHECKPOINT_GET);
    query_int(&q, (int64_t)message);
    *out = query_row(&q);
    return query_end(&q);
}

enum result checkpoint_drop(struct database *db, uint64_t message, bool is_half, const char *why)
{
    if (is_half)
        database_end_half(db, message, why);
    enum result result = query_run_for(db, SQL_CHECKPOINT_REMOVE, message);
    if (result == RESULT_OK)
        result = query_run_for(db, SQL_CHECKPOINT_RCPT_REMOVE, message);
    bool is_message = false; /* whose body it is then, whatever its row says */
    if (result == RESULT_OK && is_half)
        result = message_is_there(db, message, &is_message);
    return result == RESULT_OK && is_half && !is_message ? message_drop_body(db, message) : result;
}

enum result checkpoint_keep_recipients(struct database *db, uint64_t message)
{
    return db->has_checkpoints ? query_run_for(db, SQL_CHECKPOINT_RCPT_KEEP, message) : RESULT_OK;
}

/* ---- a device, an account goes ---- */

/* RESULT_NOT_FOUND: no two rows will bear one name. */
static enum result find_twins(struct database *db, struct slice account, struct slice device, uint64_t message[2], bool is_half[2])
{
    struct query q = query_open(db, SQL_CHECKPOINT_TWINS);
    query_text(&q, account);
    query_text(&q, device);
    bool is_there = query_row(&q);
    for (int i = 0; i < 2 && is_there; i++) {
        message[i] = (uint64_t)query_get_int(&q, 2 * i);
        is_half[i] = query_get_int(&q, 2 * i + 1) != 0;
    }
    enum result result = query_end(&q);
    return result == RESULT_OK && !is_there ? RESULT_NOT_FOUND : result;
}

/* What is over is kept before a half, then the newer. */
static enum result drop_one_twin(struct database *db, const uint64_t message[2], const bool is_half[2])
{
    int loser = is_half[0] != is_half[1] ? is_half[1] : message[0] > message[1];
    return checkpoint_drop(db, message[loser], is_half[loser], "its device has gone, and another of the account has its name");
}

enum result checkpoint_disown(struct database *db, struct slice account, struct slice device)
{
    uint64_t message[2];
    bool is_half[2];
    if (!db->has_checkpoints)
        return RESULT_OK;
    enum result result;
    while ((result = find_twins(db, account, device, message, is_half)) == RESULT_OK) {
        result = drop_one_twin(db, message, is_half);
        if (result != RESULT_OK)
            return result;
    }
    if (result != RESULT_NOT_FOUND)
        return result;
    struct query q = query_open(db, SQL_CHECKPOINT_DISOWN);
    query_text(&q, account);
    query_text(&q, device);
    result = query_run(&q);
    return result == RESULT_OK ? half_limit(db, account) : result; /* they count with others now */
}

/* RESULT_NOT_FOUND: the account's names have none any more. */
static enum result find_device(struct database *db, struct slice account, struct arena *arena, struct slice *device)
{
    struct query q = query_open(db, SQL_CHECKPOINT_WITH_DEVICE);
    query_text(&q, account);
    enum result result = query_row(&q) ? arena_copy(arena, query_get_slice(&q, 0), device) : RESULT_NOT_FOUND;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

enum result checkpoint_disown_all(struct database *db, struct slice account)
{
    struct arena arena = {0};
    struct slice device;
    enum result result = RESULT_OK;
    while (db->has_checkpoints && result == RESULT_OK) {
        result = find_device(db, account, &arena, &device);
        if (result == RESULT_OK)
            result = checkpoint_disown(db, account, device);
        arena_reset(&arena);
    }
    arena_free(&arena);
    return result == RESULT_NOT_FOUND ? RESULT_OK : result;
}

/* Of those that a statement lists, one step. */
static enum result drop_some(struct database *db, struct query *q, const char *why, bool *has_more)
{
    size_t n = 0;
    uint64_t octets = 0;
    uint64_t message[DROP_STEP];
    bool is_half[DROP_STEP];
    query_int(q, DROP_STEP);
    for (; n < DROP_STEP && octets < DROP_OCTETS && query_row(q); n++) {
        message[n] = (uint64_t)query_get_int(q, 0);
        is_half[n] = query_get_int(q, 1) != 0;
        octets += is_half[n] ? (uint64_t)query_get_int(q, 2) : 0;
    }
    *has_more = n == DROP_STEP || octets >= DROP_OCTETS; /* or none is left, which the next step finds */
    enum result result = query_end(q);
    for (size_t i = 0; i < n && result == RESULT_OK; i++)
        result = checkpoint_drop(db, message[i], is_half[i], why);
    return result;
}

enum result checkpoint_drop_halves(struct database *db, struct slice account, bool *has_more)
{
    *has_more = false;
    if (!db->has_checkpoints)
        return RESULT_OK;
    struct query q = query_open(db, SQL_CHECKPOINT_HALVES_OF);
    query_text(&q, account);
    return drop_some(db, &q, "its account goes", has_more);
}

/* ---- a claim ---- */

enum result store_claim_copy(struct arena *arena, struct store_claim *claim)
{
    struct slice *const texts[] = {&claim->account, &claim->device, &claim->helo, &claim->transid};
    enum result result = RESULT_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && result == RESULT_OK; i++)
        result = arena_copy(arena, *texts[i], texts[i]);
    return result;
}

struct claim_task {
    struct store_task task;
    struct store_claim claim;
    struct arena arena;
    struct store_checkpoint *found;
    struct store_recipient *recipients; /* outcome alone: the `n` from `first` on */
    size_t n;
    uint32_t first, most, total;
    union {
        store_checkpoint_done *claimed;
        store_recipients_done *told;
    };
    void *context;
};

static enum result read_kept_recipients(struct database *db, struct arena *arena, uint64_t message, struct store_checkpoint *out)
{
    struct envelope_recipient *rows = NULL;
    size_t n = 0, capacity = 0;
    struct query q = query_open(db, SQL_CHECKPOINT_RCPT_GET);
    query_int(&q, (int64_t)message);
    enum result result = RESULT_OK;
    while (result == RESULT_OK && query_row(&q)) {
        rows = arena_grow(arena, rows, n, &capacity, sizeof *rows);
        result = rows ? RESULT_OK : RESULT_MEMORY;
        if (result == RESULT_OK)
            result = arena_copy(arena, query_get_slice(&q, 0), &rows[n].address);
        if (result == RESULT_OK)
            result = arena_copy(arena, query_get_slice(&q, 2), &rows[n].orcpt);
        if (result == RESULT_OK)
            rows[n++].notify = (unsigned)query_get_int(&q, 1);
    }
    out->recipients = rows;
    out->nrcpt = rows ? n : 0;
    enum result ended = query_end(&q);
    return ended == RESULT_OK ? result : ended;
}

/* The message's own, while there is one. */
static enum result read_recipients(struct database *db, struct arena *arena, uint64_t message, struct store_checkpoint *out)
{
    struct store_recipient *rows;
    size_t n;
    enum result result = message_read_recipients(db, arena, message, NULL, &rows, &n);
    if (result != RESULT_OK || n == 0)
        return result == RESULT_OK ? read_kept_recipients(db, arena, message, out) : result;
    struct envelope_recipient *copy = arena_alloc(arena, n * sizeof *copy);
    for (size_t i = 0; i < n && copy; i++)
        copy[i] = rows[i].envelope;
    out->recipients = copy;
    out->nrcpt = n;
    return copy ? RESULT_OK : RESULT_MEMORY;
}

/* Of the sender's octets. SIZE is an estimate (RFC 1870 6.1): a half may have more. Of what is over nobody looks at the octets any more, so there a number beyond SIZE rather is an altered one,
 * and to send all again, which is dropped, does no harm. */
static uint64_t came_of(const struct store_claim *claim, const struct checkpoint_row *row, uint64_t end)
{
    uint64_t came = end - row->half.header_stored + row->half.header_came;
    bool is_over = row->reply.len > 0;
    return is_over && claim->size_octets && came > claim->size_octets ? 0 : came;
}

static enum result describe(struct claim_task *t, struct database *db, const struct checkpoint_row *row, uint64_t end)
{
    struct store_checkpoint *out = t->found = arena_alloc(&t->arena, sizeof *t->found);
    if (!out)
        return RESULT_MEMORY;
    *out = (struct store_checkpoint){
        .message = row->message,
        .generation = row->generation + 1,
        .reply = row->reply,
        .came_octets = came_of(&t->claim, row, end),
        .half = row->half,
    };
    return read_recipients(db, &t->arena, row->message, out);
}

static enum result take_over(struct database *db, const struct store_claim *claim, const struct checkpoint_row *row)
{
    struct query q = query_open(db, SQL_CHECKPOINT_CLAIM);
    query_int(&q, (int64_t)row->message);
    query_int(&q, claim->served_ms);
    query_int(&q, (int64_t)row->generation + 1);
    return query_run(&q);
}

static void say_damaged(const struct database *db, uint64_t message)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(message, id);
    log_event(db->log, LOG_ERROR, "checkpoint-damaged", LOG_TEXT("item", id), LOG_TEXT("words", "numbers of its row were altered on the disk"));
}

/* RESULT_NOT_FOUND: it was dropped, because nobody can or wants to go on with it. */
static enum result open_half(struct database *db, const struct store_claim *claim, const struct checkpoint_row *row, uint64_t *end)
{
    enum result result = RESULT_OK;
    *end = 0;
    if (!claim->is_whole)
        result = half_end(db, row, end);
    if (result != RESULT_OK || (*end > 0 && came_of(claim, row, *end) > 0))
        return result;
    result = checkpoint_drop(db, row->message, true, claim->is_whole ? "its sender begins anew" : "nothing of it can be gone on behind");
    return result == RESULT_OK ? RESULT_NOT_FOUND : result;
}

static enum result claim_run(struct store_task *task, struct database *db)
{
    struct claim_task *t = (struct claim_task *)task;
    struct checkpoint_row row;
    enum result result = checkpoint_find(db, &t->claim, &t->arena, &row);
    if (result == RESULT_OK && !row.is_same)
        result = RESULT_DENIED;
    uint64_t end = result == RESULT_OK ? row.octets : 0;
    if (result == RESULT_OK && row.generation == 0)
        say_damaged(db, row.message);
    if (result == RESULT_OK && row.reply.len == 0)
        result = open_half(db, &t->claim, &row, &end);
    if (result == RESULT_OK)
        result = take_over(db, &t->claim, &row);
    return result == RESULT_OK ? describe(t, db, &row, end) : result;
}

static void claim_answer(struct store_task *task, bool is_wanted)
{
    struct claim_task t = *(struct claim_task *)task;
    task_free(task);
    if (is_wanted)
        t.claimed(t.context, t.task.result, t.task.result == RESULT_OK ? t.found : NULL);
    arena_free(&t.arena);
}

static struct claim_task *claim_new(struct store_client *client, enum result (*run)(struct store_task *, struct database *),
                                    void (*answer)(struct store_task *, bool), const struct store_claim *claim, void *context)
{
    struct claim_task *t = task_new(client, sizeof *t, run, answer);
    t->arena = ARENA(CLAIM_ARENA_MAX);
    t->claim = *claim;
    t->context = context;
    if (t->task.result == RESULT_OK)
        t->task.result = store_claim_copy(&t->arena, &t->claim);
    return t;
}

void store_checkpoint_claim(struct store_client *client, const struct store_claim *claim, store_checkpoint_done *done, void *context)
{
    struct claim_task *t = claim_new(client, claim_run, claim_answer, claim, context);
    t->claimed = done;
    t->task.is_urgent = true;
    writer_send(&t->task);
}

/* ---- given up ---- */

struct drop_task {
    struct done_task base;
    uint64_t message;
    uint32_t generation;
};

static enum result drop_run(struct store_task *task, struct database *db)
{
    const struct drop_task *t = (struct drop_task *)task;
    return half_abort(db, t->message, t->generation);
}

void store_checkpoint_drop(struct store_client *client, uint64_t message, uint32_t generation, store_done *done, void *context)
{
    struct drop_task *t = done_task_new(client, sizeof *t, drop_run, done_answer, done, context);
    t->message = message;
    t->generation = generation;
    writer_send(&t->base.task);
}

/* ---- what became of it ---- */

static enum result outcome_run(struct store_task *task, struct database *db)
{
    struct claim_task *t = (struct claim_task *)task;
    struct checkpoint_row row;
    enum result result = checkpoint_find(db, &t->claim, &t->arena, &row);
    if (result == RESULT_OK && row.reply.len == 0)
        result = RESULT_NOT_FOUND;
    if (result == RESULT_OK)
        result = message_count_recipients(db, row.message, &t->total);
    t->n = 0;
    return result == RESULT_OK ? message_read_some(db, &t->arena, row.message, t->first, t->most, &t->recipients, &t->n) : result;
}

static void outcome_answer(struct store_task *task, bool is_wanted)
{
    struct claim_task t = *(struct claim_task *)task;
    bool is_known = t.task.result == RESULT_OK;
    task_free(task);
    if (is_wanted)
        t.told(t.context, t.task.result, is_known && t.n > 0 ? t.recipients : NULL, is_known ? t.n : 0, is_known ? t.total : 0);
    arena_free(&t.arena);
}

void store_checkpoint_outcome(struct store_client *client, const struct store_claim *claim, uint32_t first, uint32_t most, store_recipients_done *done, void *context)
{
    struct claim_task *t = claim_new(client, outcome_run, outcome_answer, claim, context);
    memset(t->claim.digest, 0, sizeof t->claim.digest);
    t->told = done;
    t->first = first;
    t->most = most;
    reader_send(&t->task);
}

/* ---- the end of names ---- */

struct forget_task {
    struct done_task base;
    int64_t served_ms;
    bool has_more;
};

static enum result forget_run(struct store_task *task, struct database *db)
{
    struct forget_task *t = (struct forget_task *)task;
    struct query q = query_open(db, SQL_CHECKPOINT_OLD);
    query_int(&q, t->served_ms);
    enum result result = drop_some(db, &q, "nobody has asked for it for too long", &t->has_more);
    if (result != RESULT_OK || t->has_more)
        return result;
    return half_fit_one(db, client_store(task->client)->receiving, &t->has_more);
}

static void forget_answer(struct store_task *task, bool is_wanted)
{
    struct forget_task *t = (struct forget_task *)task;
    if (is_wanted && task->result == RESULT_OK && t->has_more)
        writer_send(task);
    else
        done_answer(task, is_wanted);
}

void store_checkpoint_sweep(struct store_client *client, int64_t served_ms, store_done *done, void *context)
{
    struct forget_task *t = done_task_new(client, sizeof *t, forget_run, forget_answer, done, context);
    t->served_ms = served_ms;
    writer_send(&t->base.task);
}
