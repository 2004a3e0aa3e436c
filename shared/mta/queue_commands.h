/* The commands on the queue that both programs have: list, show, hold, release, retry, remove. The handlers of net/control.h for them, and the
 * JSON of an entry (schema/json.md). */
#ifndef POSTERN_MTA_QUEUE_COMMANDS_H
#define POSTERN_MTA_QUEUE_COMMANDS_H

#include "net/control.h"
#include "store/store.h"

enum { QUEUE_LIST_PAGE = 200 };

/* How the agent begins the words for what its relay has deferred; the time of the next try follows. Once that has passed, it is no longer told as one to come. */
#define QUEUE_RELAY_TRIES "the relay tries again"

enum queue_change { QUEUE_CHANGE_HELD, QUEUE_CHANGE_RELEASED, QUEUE_CHANGE_REMOVED };

/* Of a message that waits or is on its way: nothing else is overridden by it. Strings are the program's. */
struct queue_live {
    bool is_taken_once;      /* messages have names at the next hop, so that it takes none twice */
    const char *state;       /* "sending", in place of the stored one; NULL: none */
    const char *reason;      /* why no mail goes at present, for a message that has no word of a next hop's on it; NULL: none */
    bool is_untold;          /* the next hop, as it was met last, does not tell what became of what it has */
    int64_t ask_at_ms;       /* wall time at which the next hop is asked what became of it; 0: what the store says */
    int64_t not_before_ms;   /* wall time before which nothing is tried: now, or later; 0: nobody runs that would try, and times that have passed are not told */
    bool has_progress;       /* it is on its way, or was, and the next hop keeps what it has */
    uint64_t done_octets, of_octets;
};

struct queue_commands {
    struct store_client *store;
    bool shows_awaited;      /* what the next hop has and is asked about belongs to the list of what is not finished (agent) */
    /* The store has changed a message: the queue in memory follows. NULL: there is none (no daemon runs). */
    void (*on_changed)(void *context, uint64_t message, enum queue_change change);
    /* What only the running program knows of a message; live is {0} before. May be NULL. */
    void (*live)(void *context, uint64_t message, struct queue_live *live);
    void *context;
};

/* Answers "queue list" {all, after, limit}, "queue show" {id}, "queue hold|release|retry|remove" {id}. False: it is another command, untouched. */
MUST_CHECK bool queue_command(const struct queue_commands *commands, struct control_call *call, const char *command, const json_t *arguments);

/* "2026-01-31T12:00:00Z", or null for a time that is not known (0). */
json_t *queue_time_json(int64_t unix_ms);
/* A new reference, or NULL: out of memory. */
json_t *queue_entry_json(const struct store_listing *entry, const struct queue_live *live);

#endif
