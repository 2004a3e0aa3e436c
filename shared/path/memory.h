/* What the agent remembers of the networks it has been on, and of the relay's addresses. A value in memory with a text form for the store; time is a parameter.
 *
 * A network is known by a key only: a keyed hash that somebody else makes (net/monitor.h) of gateway, SSID and prefix, so that no list of visited places lies on the disk. Per network: which
 * paths have carried mail there, when, how fast, how much; which have died young (demoted); what the last search came to. A network that was not visited for MEMORY_LIFE_MS is
 * forgotten, of more than MEMORY_NETWORKS_MAX the one that was visited longest ago.
 *
 * A path that dies in login or under a message is demoted on that network: it comes last there for MEMORY_DEMOTION_MS, unless it carries a message meanwhile. One that lets handshakes through and
 * kills long connections would win every race otherwise.
 *
 * All times here are wall time in milliseconds since 1970. A wall clock that is set back or ahead makes memories younger or older, never wrong: times in the future count as now. */
#ifndef POSTERN_PATH_MEMORY_H
#define POSTERN_PATH_MEMORY_H

#include "path/path.h"

#include "base/buffer.h"

enum {
    MEMORY_KEY = 16,
    MEMORY_NETWORKS_MAX = 256,
    MEMORY_PATHS_MAX = 8,     /* of a network; the worst are forgotten first */
    MEMORY_ADDRESSES_MAX = 8, /* of the relay, proved */
    MEMORY_HINTS_MAX = 2,     /* and not: one of each family */
    MEMORY_TEXT_MAX = 512 * 1024,
};
#define MEMORY_LIFE_MS (INT64_C(30) * 24 * 3600 * 1000)
#define MEMORY_DEMOTION_MS (INT64_C(3600) * 1000)

struct memory_key {
    uint8_t octets[MEMORY_KEY];
};

/* One path on one network. */
struct memory_path {
    struct path path;
    int64_t carried_at_ms;   /* when it last carried a message; 0: never */
    int64_t demoted_at_ms;   /* when it died young; 0: not demoted */
    int64_t handshake_ms;    /* from its start to proof, the last time */
    uint64_t octets;         /* of messages carried in all */
    enum path_verdict verdict; /* the last one */
};

struct memory;
struct memory *memory_new(void); /* NULL: out of memory */
void memory_free(struct memory **memory);

/* The network's remembered paths, best first: those that carried mail, the latest first; demoted ones last. NULL and *n 0: an unknown network. Valid until the memory is changed. */
const struct memory_path *memory_paths(const struct memory *memory, const struct memory_key *key, int64_t wall_ms, size_t *n);
bool memory_is_demoted(const struct memory *memory, const struct memory_key *key, const struct path *path, int64_t wall_ms);
/* Each of these makes the network known and its visit `wall_ms`. RESULT_OK, RESULT_MEMORY (nothing changed). */
MUST_CHECK enum result memory_proven(struct memory *memory, const struct memory_key *key, const struct path *path, int64_t handshake_ms, int64_t wall_ms);
MUST_CHECK enum result memory_carried(struct memory *memory, const struct memory_key *key, const struct path *path, uint64_t octets, int64_t wall_ms);
MUST_CHECK enum result memory_died(struct memory *memory, const struct memory_key *key, const struct path *path, int64_t wall_ms);
MUST_CHECK enum result memory_failed(struct memory *memory, const struct memory_key *key, const struct path *path, enum path_verdict verdict, int64_t wall_ms);
/* Addresses at which the relay has proved itself, on any network, the latest first; then hints. */
bool memory_is_proved(const struct memory *memory, const struct path_address *address);
size_t memory_addresses(const struct memory *memory, const struct path_address **out);
void memory_keep_address(struct memory *memory, const struct path_address *address);
/* An address that a resolver named and nobody has proved: kept behind the others, and only as long as none of its family is known. So a resolver that lies can neither push out what has proved
 * itself nor have the laptop call at a place of its choice from everywhere. */
void memory_hint_address(struct memory *memory, const struct path_address *address);
/* Another relay: all of it is about the old one. */
void memory_forget(struct memory *memory);
void memory_forget_old(struct memory *memory, int64_t wall_ms);

/* Whether it changed so that it is worth writing since memory_write was last called. (Not merely a time that moved by less than an hour.) */
bool memory_is_dirty(const struct memory *memory);
/* Text for the store, one line for each network and path. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result memory_write(struct memory *memory, struct slice relay_host, struct buffer *out);
/* Into an empty memory. What is not ours to read, or about another relay, is passed over; never an error but RESULT_MEMORY. */
MUST_CHECK enum result memory_read(struct memory *memory, struct slice text, struct slice relay_host, int64_t wall_ms);

#endif
