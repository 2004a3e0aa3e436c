/* What lay in the clear before a database was sealed, overwritten: its rows were (secure_delete), and what had been deleted before goes with a VACUUM.
 *
 * Invariants:
 * 1 For that SQLite writes all of the database into the log once more. It is not begun without room for it, and however it ends the log gives its room back: mail must not wait for it.
 * 2 It is due (MARK_WIPING; store->wipe_octets) until it has succeeded. It is tried at each opening, and while the program runs when the writer has nothing to do and little is left in the database,
 *   which is when a full disk that the queue has filled has room for it again. */
#include "store/engine.h"
#include "store/mark.h"

static const uint64_t MEMORY_OCTETS = 64ull << 20; /* a larger database is rebuilt by way of a file, which SQLite unlinks at once; what it holds is sealed by then */
static const uint64_t LATER_OCTETS = 16ull << 20;  /* a larger one waits for the next opening: mail would wait for it, and memory be taken */

static uint64_t octets_used(struct database *db)
{
    int64_t octets = database_number(db, store_sql[SQL_PAGES_USED]);
    return octets > 0 ? (uint64_t)octets : 0;
}

/* In the log, with the head of each page and something for the mark. */
static uint64_t octets_needed(struct database *db)
{
    uint64_t used = octets_used(db);
    return used + used / 64 + (1ull << 20);
}

/* The statements must not stand in the way of a VACUUM: each was reset by query_end. */
static enum result wipe(struct database *db)
{
    bool is_small = octets_used(db) <= MEMORY_OCTETS;
    enum result result = database_execute(db, is_small ? "PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY" : "PRAGMA secure_delete = ON; PRAGMA temp_store = FILE", "wipe");
    if (result == RESULT_OK)
        result = database_execute(db, "VACUUM", "wipe");
    enum result emptied = database_empty_log(db);
    return result == RESULT_OK ? emptied : result;
}

/* The log is emptied before it is asked how much is free. */
static enum result wipe_with_room(struct store *store, struct mark *mark)
{
    struct database *db = &store->writer_db;
    enum result result = database_empty_log(db);
    if (result == RESULT_OK && room_free(store->room) < octets_needed(db))
        result = RESULT_FULL;
    if (result == RESULT_OK)
        result = wipe(db);
    if (result != RESULT_OK)
        return result;
    mark->stage = MARK_SEALED;
    return sealing_commit_mark(db, mark);
}

enum result wiping_back_to_usual(struct database *db)
{
    return database_execute(db, "PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY", "wipe");
}

enum result wiping_try(struct store *store, struct mark *mark)
{
    struct database *db = &store->writer_db;
    bool was_told = store->wipe_octets > 0;
    enum result result = wipe_with_room(store, mark);
    store->wipe_octets = result == RESULT_OK ? 0 : octets_needed(db);
    store->is_wipe_given_up = result != RESULT_OK && result != RESULT_FULL && result != RESULT_BUSY;
    if (result == RESULT_OK)
        log_event(db->log, LOG_INFO, "store-sealed", LOG_TEXT("words", "the mail in the database is encrypted, and what lay in the clear before is overwritten"));
    else if (!was_told || store->is_wipe_given_up)
        log_event(db->log, LOG_WARNING, "store-not-wiped", LOG_TEXT("result", result_name(result)), LOG_INT("needs", store->wipe_octets),
                  LOG_TEXT("words", "the mail is encrypted, but what lay in the clear before could not be overwritten; it is tried again when little mail is left, and at the next start"));
    return wiping_back_to_usual(db);
}

/* Mail may come at any moment: nobody is waited for. */
void wiping_later(struct store *store)
{
    struct database *db = &store->writer_db;
    struct mark mark;
    if (store->wipe_octets == 0 || store->is_wipe_given_up)
        return;
    store->wipe_octets = octets_needed(db);
    bool is_time = octets_used(db) <= LATER_OCTETS && room_free(store->room) >= store->wipe_octets;
    if (!is_time || sealing_read_mark(db, &mark) != RESULT_OK || mark.stage != MARK_WIPING)
        return;
    database_wait_for_others(db, false);
    (void)!wiping_try(store, &mark); /* left as it is, deleting is slower, and nothing else */
    database_wait_for_others(db, true);
}

uint64_t store_wipe_octets(const struct store *store)
{
    return store->wipe_octets;
}
