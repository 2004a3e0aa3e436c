/* The larger messages that a session has begun to carry in this run, and any under which one has died, and that are not over: how much of each the relay is known to hold. In memory only; the relay itself tells the truth when it is asked, and what is
 * here says whether to ask, what to show, and whether a line that dies again and again gets anywhere. */
#ifndef POSTERN_AGENT_BEGUN_H
#define POSTERN_AGENT_BEGUN_H

#include "base/map.h"

struct begun {
    struct map_node node;
    uint64_t message;
    uint32_t transaction; /* of its names (naming.h): each is a beginning of its own */
    uint64_t size_octets;
    uint64_t held_octets; /* by the relay's last word */
    uint64_t most_octets; /* that it ever held */
    uint32_t nrepeats;    /* how often it went on before all others since the relay was known to hold more of it than ever before */
    uint32_t nfutile;     /* deaths of sessions under it, in a row, that left no more there than ever before */
};

struct begun_table {
    struct map map;
};

/* NULL: not begun. */
struct begun *begun_find(const struct begun_table *table, uint64_t message);
/* Found, or new with nothing held; of another transaction of the message nothing stays. NULL: out of memory. */
struct begun *begun_note(struct begun_table *table, uint64_t message, uint32_t transaction, uint64_t size_octets);
/* What the relay holds now. True: it is more than ever before. */
bool begun_hold(struct begun *begun, uint64_t octets);
/* It is over, or nobody's any more. */
void begun_forget(struct begun_table *table, uint64_t message);
void begun_free(struct begun_table *table);

#endif
