/* Bodies with a name on the disk: written, cut off, read back, ended.
 *
 *     none --put--> half --put--> half --commit--> over
 *                    half --abort, claim by XWHOLE, limit--> none
 *
 * Invariants:
 * 1 Chunk and row are written in one transaction: `octets` of the row is what lies in body and chunk, at any moment that a recovery can see.
 * 2 Only who has the generation of the row changes it: that is one UPDATE, whose WHERE decides. Who has not changes nothing.
 * 3 A name is begun only where its session sees no other, and ended only where it sees none that is over: two sessions that raced make one message.
 * 4 Of a message there are, at any moment, a half or the message, never both (schema/README.md). */
#include "store/half.h"

#include <stdlib.h>

/* ---- the name in memory ---- */

struct half_name *half_name_new(const struct store_naming *naming)
{
    struct half_name *name = calloc(1, sizeof *name);
    if (!name)
        return NULL;
    *name = (struct half_name){.arena = ARENA(ENVELOPE_ARENA_MAX), .naming = *naming};
    struct envelope_recipient *recipients = NULL;
    enum result result = store_claim_copy(&name->arena, &name->naming.claim);
    if (result == RESULT_OK)
        result = arena_copy(&name->arena, naming->reply, &name->naming.reply);
    if (result == RESULT_OK)
        result = arena_copy(&name->arena, naming->session, &name->naming.session);
    if (result == RESULT_OK)
        result = envelope_copy_recipients(&name->arena, naming->recipients, naming->nrcpt, &recipients);
    name->naming.recipients = recipients;
    if (result != RESULT_OK)
        half_name_free(&name);
    return name;
}

void half_name_free(struct half_name **name)
{
    if (!*name)
        return;
    arena_free(&(*name)->arena);
    free(*name);
    *name = NULL;
}

int64_t half_served_ms(const struct half_name *name)
{
    const struct store_naming *naming = &name->naming;
    return naming->served_now_ms ? naming->served_now_ms(naming->served) : naming->claim.served_ms;
}

uint32_t half_generation(const struct half_name *name)
{
    return name->naming.generation ? name->naming.generation : 1;
}

/* ---- its row ---- */

static uint64_t octets_with(const struct half_piece *piece)
{
    return (uint64_t)piece->seq * STORE_CHUNK + piece->octets.len;
}

static void bind_row(struct query *q, uint32_t generation, const struct half_piece *piece, struct slice reply)
{
    query_int(q, (int64_t)piece->message);
    query_int(q, generation);
    query_text(q, reply);
    query_int(q, (int64_t)octets_with(piece));
    query_int(q, (int64_t)piece->half.header_came);
    query_int(q, (int64_t)piece->half.header_stored);
    query_int(q, piece->half.has_8bit_header);
    query_int(q, piece->half.is_header_utf8);
    query_int(q, piece->half.has_8bit_body);
    query_int(q, piece->half.has_lines);
    query_int(q, piece->half.received_at_ms);
    query_int(q, piece->served_ms);
}

/* RESULT_CANCELLED: not ours any more. */
static enum result set_row(struct database *db, uint32_t generation, const struct half_piece *piece, struct slice reply)
{
    struct query q = query_open(db, SQL_CHECKPOINT_SET);
    bind_row(&q, generation, piece, reply);
    enum result result = query_run(&q);
    return result == RESULT_OK && database_changes(db) == 0 ? RESULT_CANCELLED : result;
}

static enum result add_row(struct database *db, const struct half_name *name, const struct half_piece *piece, struct slice reply)
{
    const struct store_claim *claim = &name->naming.claim;
    struct query q = query_open(db, SQL_CHECKPOINT_ADD);
    bind_row(&q, half_generation(name), piece, reply);
    query_text(&q, claim->account);
    query_text(&q, claim->device);
    query_text(&q, claim->helo);
    query_text(&q, claim->transid);
    query_blob(&q, slice_of(claim->digest, STORE_DIGEST));
    query_int(&q, claim->served_ms);
    return query_run(&q);
}

static enum result add_recipients(struct database *db, const struct half_name *name, uint64_t message)
{
    enum result result = RESULT_OK;
    for (size_t i = 0; i < name->naming.nrcpt && result == RESULT_OK; i++) {
        const struct envelope_recipient *r = &name->naming.recipients[i];
        struct query q = query_open(db, SQL_CHECKPOINT_RCPT_ADD);
        query_int(&q, (int64_t)message);
        query_int(&q, (int64_t)i);
        query_text(&q, r->address);
        query_int(&q, r->notify);
        query_text(&q, r->orcpt);
        result = must_be_new(query_run(&q));
    }
    return result;
}

/* What this session sees under the name, other than `message` itself. RESULT_OK: nothing; RESULT_EXISTS: one that is over; RESULT_CANCELLED: a half. */
static enum result look_for_others(struct database *db, const struct half_name *name, uint64_t message)
{
    struct arena arena = {0};
    struct checkpoint_row row;
    enum result result = checkpoint_find(db, &name->naming.claim, &arena, &row);
    if (result == RESULT_NOT_FOUND || (result == RESULT_OK && row.message == message))
        result = RESULT_OK;
    else if (result == RESULT_OK)
        result = row.reply.len > 0 ? RESULT_EXISTS : RESULT_CANCELLED;
    arena_free(&arena);
    return result;
}

/* Whose account was removed meanwhile leaves nothing behind: nobody could see it but who gets the account's name next. */
static enum result look_for_owner(struct database *db, const struct half_name *name)
{
    bool is_there = false;
    enum result result = account_is_there(db, name->naming.claim.account, &is_there);
    return result == RESULT_OK && !is_there ? RESULT_CANCELLED : result;
}

/* ---- octets come ---- */

static enum result begin(struct database *db, const struct half_name *name, const struct half_piece *piece)
{
    bool is_taken = false;
    enum result result = message_is_there(db, piece->message, &is_taken);
    if (result == RESULT_OK)
        result = is_taken ? RESULT_EXISTS : look_for_others(db, name, piece->message);
    if (result == RESULT_EXISTS && !is_taken)
        result = RESULT_CANCELLED;
    if (result == RESULT_OK)
        result = look_for_owner(db, name);
    if (result == RESULT_OK)
        result = add_row(db, name, piece, (struct slice){0});
    return result == RESULT_OK ? add_recipients(db, name, piece->message) : result;
}

struct sum {
    uint64_t count, octets;
};

static void count_one(struct sum *sum, uint64_t octets)
{
    sum->count++;
    sum->octets += octets;
}

static bool is_beyond(const struct sum *sum, struct database *db, uint64_t ndevices)
{
    uint64_t most = db->most_halves, most_octets = db->most_half_octets;
    return (most && sum->count > most * ndevices) || (most_octets && sum->octets / ndevices > most_octets);
}

/* Halves that have to make room; at a time, for the next chunk drops more. */
enum { DROPS_MAX = 16 };
struct drops {
    uint64_t messages[DROPS_MAX];
    size_t n;
};

/* The halves beyond what the device of one, or who has none, and the account may have, the longest untouched last in the list; never that one itself. */
static enum result find_too_many(struct database *db, struct slice account, uint64_t message, uint64_t octets, struct drops *drops)
{
    struct sum device = {message != 0, octets}, all = device;
    struct query q = query_open(db, SQL_CHECKPOINT_HALVES);
    query_text(&q, account);
    query_int(&q, (int64_t)message);
    drops->n = 0;
    while (drops->n < DROPS_MAX && query_row(&q)) {
        uint64_t other = (uint64_t)query_get_int(&q, 0), size = (uint64_t)query_get_int(&q, 1);
        bool is_of_device = query_get_int(&q, 2) != 0;
        if (other == message)
            continue;
        if (is_of_device)
            count_one(&device, size);
        bool is_too_much = is_of_device && is_beyond(&device, db, 1);
        if (!is_too_much) {
            count_one(&all, size);
            is_too_much = is_beyond(&all, db, STORE_HALVES_DEVICES);
        }
        if (is_too_much)
            drops->messages[drops->n++] = other;
    }
    return query_end(&q);
}

static enum result keep_within_limits(struct database *db, struct slice account, uint64_t message, uint64_t octets, struct drops *drops)
{
    enum result result = find_too_many(db, account, message, octets, drops);
    for (size_t i = 0; i < drops->n && result == RESULT_OK; i++)
        result = checkpoint_drop(db, drops->messages[i], true, "the device, or its account, has too many");
    return result;
}

enum result half_limit(struct database *db, struct slice account)
{
    struct drops drops = {.n = DROPS_MAX};
    enum result result = RESULT_OK;
    while (drops.n == DROPS_MAX && result == RESULT_OK)
        result = keep_within_limits(db, account, 0, 0, &drops);
    return result;
}

enum result half_put(struct database *db, const struct half_name *name, const struct half_piece *piece)
{
    struct drops drops;
    enum result result = piece->is_first ? begin(db, name, piece) : set_row(db, half_generation(name), piece, (struct slice){0});
    if (result == RESULT_OK && piece->replaces)
        result = message_drop_chunks_from(db, piece->message, piece->seq);
    if (result == RESULT_OK)
        result = message_add_chunk(db, piece->message, piece->seq, piece->octets);
    return result == RESULT_OK ? keep_within_limits(db, name->naming.claim.account, piece->message, octets_with(piece), &drops) : result;
}

/* ---- the end ---- */

static enum result commit_at_once(struct database *db, const struct half_name *name, const struct half_piece *last, const struct store_job *job)
{
    enum result result = look_for_others(db, name, last->message);
    if (result == RESULT_OK)
        result = look_for_owner(db, name);
    if (result == RESULT_OK)
        result = message_write(db, job, last->seq);
    return result == RESULT_OK ? must_be_new(add_row(db, name, last, name->naming.reply)) : result;
}

/* The half goes, so that it is never there beside the message; its recipients are the message's. */
static enum result commit_half(struct database *db, const struct half_name *name, const struct half_piece *last, const struct store_job *job)
{
    enum result result = look_for_others(db, name, last->message);
    if (result == RESULT_CANCELLED) /* another half is no obstacle to one that is whole */
        result = RESULT_OK;
    if (result == RESULT_OK)
        result = set_row(db, half_generation(name), last, name->naming.reply);
    if (result == RESULT_OK && last->replaces)
        result = message_drop_chunks_from(db, last->message, last->seq);
    if (result == RESULT_OK)
        result = must_be_new(message_write(db, job, last->seq));
    if (result != RESULT_OK)
        return result;
    struct query q = query_open(db, SQL_CHECKPOINT_RCPT_REMOVE);
    query_int(&q, (int64_t)last->message);
    return query_run(&q);
}

enum result half_commit(struct database *db, const struct half_name *name, const struct half_piece *last, const struct store_job *job)
{
    return last->is_first ? commit_at_once(db, name, last, job) : commit_half(db, name, last, job);
}

/* RESULT_NOT_FOUND, RESULT_CANCELLED. */
static enum result get_ours(struct database *db, uint64_t message, uint32_t generation, struct checkpoint_row *row)
{
    struct arena arena = {0};
    enum result result = checkpoint_get(db, message, &arena, row);
    if (result == RESULT_OK && (row->generation != generation || row->reply.len > 0))
        result = RESULT_CANCELLED;
    row->reply = (struct slice){0};
    arena_free(&arena);
    return result;
}

enum result half_abort(struct database *db, uint64_t message, uint32_t generation)
{
    struct checkpoint_row row;
    enum result result = get_ours(db, message, generation, &row);
    return result == RESULT_OK ? checkpoint_drop(db, message, true, "refused, or given up by its session") : result == RESULT_CANCELLED ? RESULT_NOT_FOUND : result;
}

/* ---- and again ---- */

/* Behind the last CRLF among the first n octets of a chunk; 0: there is none. is_lf_next: the chunk after begins with LF. */
static size_t last_line_end(const char *octets, size_t n, bool is_lf_next)
{
    if (is_lf_next && n > 0 && octets[n - 1] == '\r')
        return n + 1;
    while (n > 1 && !(octets[n - 1] == '\n' && octets[n - 2] == '\r'))
        n--;
    return n > 1 ? n : 0;
}

/* From `from` backwards, chunk by chunk; a line is shorter than a chunk, so one or two are read. */
static enum result find_line_end(struct database *db, const struct checkpoint_row *row, uint64_t from, uint64_t *end)
{
    bool is_lf_next = false;
    enum result result = RESULT_OK;
    *end = row->half.header_stored; /* it ends with a line, too */
    while (result == RESULT_OK && from > row->half.header_stored) {
        uint32_t seq = (uint32_t)((from - 1) / STORE_CHUNK);
        uint64_t start = (uint64_t)seq * STORE_CHUNK;
        char *octets;
        size_t len;
        result = message_read_chunk(db, row->message, seq, &octets, &len);
        if (result == RESULT_OK && len < from - start)
            result = RESULT_NOT_FOUND;
        size_t found = result == RESULT_OK ? last_line_end(octets, (size_t)(from - start), is_lf_next) : 0;
        is_lf_next = result == RESULT_OK && octets[0] == '\n';
        free(octets);
        from = start;
        if (found == 0)
            continue;
        if (start + found > *end)
            *end = start + found;
        break;
    }
    return result;
}

/* RESULT_NOT_FOUND: the row promises octets that are not there. */
static enum result look_for_last(struct database *db, const struct checkpoint_row *row)
{
    char *octets;
    size_t len;
    enum result result = message_read_chunk(db, row->message, (uint32_t)((row->octets - 1) / STORE_CHUNK), &octets, &len);
    free(octets);
    return result == RESULT_OK && len < (row->octets - 1) % STORE_CHUNK + 1 ? RESULT_NOT_FOUND : result;
}

enum result half_end(struct database *db, const struct checkpoint_row *row, uint64_t *end)
{
    *end = 0;
    if (row->half.header_came == 0 || row->octets < row->half.header_stored)
        return RESULT_OK;
    *end = row->octets;
    enum result result = row->half.has_lines ? find_line_end(db, row, row->octets, end) : look_for_last(db, row);
    if (result != RESULT_NOT_FOUND)
        return result;
    *end = 0; /* octets that the row promises are not there: the sender has them all */
    return RESULT_OK;
}

static enum result half_came(struct database *db, uint64_t message, uint32_t generation, uint64_t *came)
{
    struct checkpoint_row row;
    uint64_t end = 0;
    enum result result = get_ours(db, message, generation, &row);
    if (result == RESULT_OK)
        result = half_end(db, &row, &end);
    if (result == RESULT_CANCELLED || (result == RESULT_OK && end == 0))
        return RESULT_NOT_FOUND;
    *came = end - row.half.header_stored + row.half.header_came;
    return result;
}

/* Read first, for it may be cut. */
static enum result read_begun(struct database *db, uint64_t message, uint64_t end, char **octets, size_t *len)
{
    size_t wanted = (size_t)(end % STORE_CHUNK);
    if (wanted == 0)
        return RESULT_OK;
    enum result result = message_read_chunk(db, message, (uint32_t)(end / STORE_CHUNK), octets, len);
    if (result == RESULT_OK && *len < wanted)
        result = RESULT_CORRUPT;
    *len = wanted;
    return result == RESULT_NOT_FOUND ? RESULT_CORRUPT : result;
}

static enum result cut_off(struct database *db, const struct checkpoint_row *row, uint64_t end, struct slice begun)
{
    struct half_piece piece = {.message = row->message, .seq = (uint32_t)(end / STORE_CHUNK), .octets = begun, .half = row->half};
    enum result result = set_row(db, row->generation, &piece, (struct slice){0});
    if (result == RESULT_OK)
        result = message_drop_chunks_from(db, row->message, piece.seq);
    return result == RESULT_OK && begun.len > 0 ? message_add_chunk(db, row->message, piece.seq, begun) : result;
}

enum result half_reopen(struct database *db, const struct half_name *name, uint64_t message, uint64_t end, char **octets, size_t *len)
{
    struct checkpoint_row row;
    *octets = NULL;
    *len = 0;
    enum result result = get_ours(db, message, half_generation(name), &row);
    if (result == RESULT_OK && end > row.octets)
        result = RESULT_NOT_FOUND;
    if (result == RESULT_OK)
        result = read_begun(db, message, end, octets, len);
    if (result == RESULT_OK && end < row.octets)
        result = cut_off(db, &row, end, slice_of(*octets, *len));
    if (result == RESULT_OK)
        return RESULT_OK;
    free(*octets);
    *octets = NULL;
    *len = 0;
    return result;
}

/* ---- given up ---- */

/* How much of it fits the bound; 0: not even its header. */
static enum result find_fitting(struct database *db, const struct checkpoint_row *row, uint64_t bound, uint64_t *end)
{
    *end = 0;
    if (row->half.header_came == 0 || row->half.header_stored > bound)
        return RESULT_OK;
    *end = bound;
    enum result result = row->half.has_lines ? find_line_end(db, row, bound, end) : RESULT_OK;
    if (result != RESULT_NOT_FOUND && result != RESULT_CORRUPT)
        return result;
    *end = 0; /* as half_end */
    return RESULT_OK;
}

static enum result cut_to(struct database *db, const struct checkpoint_row *row, uint64_t end)
{
    char *octets = NULL;
    size_t len = 0;
    enum result result = read_begun(db, row->message, end, &octets, &len);
    if (result == RESULT_OK)
        result = cut_off(db, row, end, slice_of(octets, len));
    free(octets);
    return result;
}

static enum result fit(struct database *db, const struct checkpoint_row *row, enum half_fit *out)
{
    uint64_t bound = db->most_half_octets, end;
    bool is_message = false, is_sound = row->generation > 0;
    *out = HALF_FITS;
    if (bound == 0 || (is_sound && row->octets <= bound))
        return RESULT_OK;
    enum result result = message_is_there(db, row->message, &is_message); /* whose body it is then, whatever its row says */
    if (result != RESULT_OK || is_message)
        return result;
    result = find_fitting(db, row, bound, &end);
    if (result == RESULT_OK && end > 0)
        result = cut_to(db, row, end);
    *out = result == RESULT_CORRUPT || end == 0 ? HALF_DROPPED : HALF_CUT;
    return *out == HALF_DROPPED && (result == RESULT_OK || result == RESULT_CORRUPT) ? checkpoint_drop(db, row->message, true, "it alone is larger than those of a device may be together, and can't be cut") : result;
}

enum result half_suspend(struct database *db, uint64_t message, uint32_t generation, uint64_t *came, enum half_fit *out)
{
    struct checkpoint_row row;
    *out = HALF_FITS;
    enum result result = get_ours(db, message, generation, &row);
    if (result == RESULT_OK)
        result = fit(db, &row, out);
    if (result == RESULT_CANCELLED)
        return RESULT_NOT_FOUND;
    return result == RESULT_OK ? half_came(db, message, generation, came) : result;
}

/* RESULT_NOT_FOUND: there is none that nobody writes. */
static enum result find_too_large(struct database *db, struct receiving *receiving, uint64_t *message)
{
    struct query q = query_open(db, SQL_CHECKPOINT_LARGE);
    query_int(&q, (int64_t)db->most_half_octets);
    bool is_found = false;
    while (!is_found && query_row(&q)) {
        *message = (uint64_t)query_get_int(&q, 0);
        is_found = !receiving_has(receiving, *message, (uint32_t)query_get_int(&q, 1));
    }
    enum result result = query_end(&q);
    return result == RESULT_OK && !is_found ? RESULT_NOT_FOUND : result;
}

enum result half_fit_one(struct database *db, struct receiving *receiving, bool *has_more)
{
    uint64_t message = 0;
    struct checkpoint_row row;
    struct arena arena = {0};
    enum half_fit unused;
    enum result result = db->most_half_octets > 0 ? find_too_large(db, receiving, &message) : RESULT_NOT_FOUND;
    *has_more = result == RESULT_OK;
    if (result == RESULT_NOT_FOUND)
        return RESULT_OK;
    if (result == RESULT_OK)
        result = checkpoint_get(db, message, &arena, &row);
    if (result == RESULT_OK)
        result = fit(db, &row, &unused);
    arena_free(&arena);
    return result;
}
