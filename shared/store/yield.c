/* Where there is no room for new mail, halves give way: they are what a sender can bring again, and whole mail is never turned away for them.
 *
 * First those that nobody goes on with, the longest untouched of them, whoever's they are. Then those that are on their way, the one begun last: so of several that do not fit beside each other the one begun first
 * comes to its end, and then the next. Who brings whole mail may drop any; a half that grows, of those on their way the later ones alone, and is itself refused and kept when it is the last. Were the order among them that of
 * their last touch, they would drop each other for ever. */
#include "store/half.h"

enum { DROPS_MAX = 16 }; /* in one step */
struct drops {
    uint64_t messages[DROPS_MAX];
    size_t n;
};

/* What is dropped is at least so much; RESULT_FULL: all of them would not do, and none is dropped. */
static enum result choose(struct database *db, const struct half_growing *growing, uint64_t lacking, struct drops *drops)
{
    uint64_t octets = 0;
    size_t n = 0;
    struct query q = query_open(db, SQL_CHECKPOINT_YIELDS);
    query_int(&q, (int64_t)growing->message);
    query_int(&q, growing->is_whole);
    query_int(&q, STORE_HALF_IDLE_MS);
    while (n < DROPS_MAX && octets < lacking && query_row(&q)) {
        drops->messages[n++] = (uint64_t)query_get_int(&q, 0);
        octets += (uint64_t)query_get_int(&q, 1);
    }
    enum result result = query_end(&q);
    if (result == RESULT_OK && (n == 0 || (octets < lacking && n < DROPS_MAX)))
        result = RESULT_FULL;
    if (result == RESULT_OK)
        drops->n = n;
    return result;
}

enum result half_make_room(struct database *db, struct room *room, const struct half_growing *growing)
{
    uint64_t lacking = room_lacking(room, db);
    while (lacking > 0) {
        struct drops drops = {0};
        if (!db->has_checkpoints || lacking == UINT64_MAX)
            return RESULT_FULL;
        enum result result = choose(db, growing, lacking, &drops);
        for (size_t i = 0; i < drops.n && result == RESULT_OK; i++)
            result = checkpoint_drop(db, drops.messages[i], true, "there was no room for other mail");
        if (result != RESULT_OK)
            return result;
        lacking = room_lacking(room, db); /* the chunks of a half fill pages, but not all of them to the end */
    }
    return RESULT_OK;
}
