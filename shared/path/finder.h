/* The path core: which way to the relay, on whichever network the laptop is at the moment. Pure: ways, addresses, proxies, per-network memory, clock ticks and outcomes in;
 * "resolve, connect, handshake, cancel, use, probe, drop, wait" and a verdict out. A week of travel is a unit test.
 *
 *     resting ----(wanted)----> searching ----(proven)----> using
 *       ^  ^                     |   ^  ^                     |
 *       |  |                (no way) |  +--(network changed)--+--(it died: at once when it had carried something or a path is left untried, else with back-off)
 *       |  |                     v   |                        |
 *       |  +---(not wanted)---- waiting <---------------------+
 *       +----------(session ended in peace, nothing wanted)---+
 *
 * resting: no mail waits, nothing is done, there is no deadline. searching: a race (race.h) runs, which all paths of the search join. using: one path has won; whoever carries mail over it tells how that went. waiting: for
 * the back-off, for the captive portal's page to be passed, or for a change of network.
 *
 * What a search tries. Paths are ways (port, mode) times addresses, each direct, then through each proxy. The order: what is remembered of this network, best first; then 465, 443, 587, 2525, 25 in the order in
 * which the ways were given, IPv6 first (RFC 8305 4), the address families taking turns up to 443 and one after the other behind it; on 443 ALPN "http/1.1" first, and "smtp" behind all other direct paths, because a firewall that minds ALPN
 * minds "smtp". Of the relay's addresses the best of each family comes first on all ways (by memory, then by the resolver), further ones behind. The likeliest path through each proxy (443, else 465) comes
 * behind the direct 465 and 443, the others behind all direct ones, by the relay's name, on tls ways first (a proxy that allows CONNECT at all allows 443).
 * The relay's remembered addresses are there at once, so that neither a silent nor a lying resolver costs any time when the relay has been met before (it proves itself by its key); what the
 * resolver and the proxies' settings say late joins the race, before what has not been tried yet of the further addresses. A search is lost when every path has failed, not before the resolver has answered or
 * FINDER_RESOLVER_LAST_MS have passed, and the system has told its proxies or two seconds have; at the latest after 150 s, which is long enough for the last of many paths where all others connect and are silent.
 * On a known network the remembered path starts alone (race.h: is_first_known). Paths that died young here start FINDER_LAST_CHANCE_MS behind the others or when those have failed.
 *
 * Captive portals. When a search has run for FINDER_PROBE_AFTER_MS without a winner, or has been lost, the relay's plain HTTP port is asked for its challenge (net/challenge.h), at most once in
 * FINDER_PROBE_EVERY_MS. Another page than the relay's signed answer means captive. While captive the probe alone is repeated, every FINDER_PROBE_EVERY_MS for the first ten minutes and then every minute, and a search is
 * made when the answer is the relay's own, when the network changes, when a person asks, or by back-off, never less than FINDER_PROBE_EVERY_MS after the last one.
 *
 * Invariants, by number in the tests:
 *   1 wanted and some path open: it is found, in bounded time
 *   2 at most RACE_SOCKETS_MAX connections and RACE_HANDSHAKES_MAX handshakes at a time, over all rounds together
 *   3 at most one path is in use, every other one was cancelled before: AUTH is sent on one path at a time
 *   4 on a known network the remembered path is the first to be connected
 *   5 a path that died young here is not preferred here while its demotion lasts; elsewhere it is as good as ever
 *   6 a change of network cancels everything, drops the session in use, resets the back-off, and searches at once when wanted
 *   7 probes are at least FINDER_PROBE_EVERY_MS apart
 *   8 the deadline is later than the time of the last finder_next that gave nothing, and at it finder_next gives something or the state moves; resting has none
 *   9 same inputs, same actions
 *  10 every FINDER_CONNECT ends in exactly one of USE, CANCEL or a failure told by the driver */
#ifndef POSTERN_PATH_FINDER_H
#define POSTERN_PATH_FINDER_H

#include "path/memory.h"
#include "path/network.h"
#include "path/race.h"
#include "queue/schedule.h"

enum {
    FINDER_WAYS_MAX = 16,
    FINDER_ADDRESSES_MAX = 8, /* of the resolver; as many of the memory */
    FINDER_PROXIES_MAX = 4,
    FINDER_LAST_CHANCE_MS = 2000,
    FINDER_RESOLVER_LAST_MS = 30 * 1000, /* without any address there is nothing to do but to wait for the resolver */
    FINDER_PROBE_AFTER_MS = 2000,
    FINDER_PROBE_EVERY_MS = 10 * 1000,
    FINDER_ANSWER_MS = 16 * 1000, /* a survey waits so long for the answer to its probe, which may have to wait for its turn */
    FINDER_NEW_MAIL_MS = 10 * 1000, /* new mail shortens the back-off to one search in so long */
    FINDER_WORDS = 200,
    FINDER_WHOSE = 64,
};

/* A way that the configuration or the relay's profile names. */
struct finder_way {
    struct path_address address; /* family 0: at the relay's addresses */
    uint16_t port;
    enum path_mode mode;
};

struct finder_proxy {
    enum path_via via; /* HTTP_CONNECT or SOCKS5 */
    struct path_proxy proxy;
};

struct finder_config {
    const struct schedule *patience; /* between searches that found no way; outlives the finder */
    struct memory *memory;           /* read and written; outlives the finder. NULL with is_survey */
    uint32_t seed;                   /* for the jitter of the back-off */
    bool can_probe;                  /* the relay is known to have, or may have, a challenge on a plain HTTP port */
    bool is_survey;                  /* every path is tried to its verdict and none is used: `diagnose`. At its end the state is waiting, with no deadline */
    struct race_config race;         /* zero: the defaults */
};

enum finder_state { FINDER_RESTING, FINDER_SEARCHING, FINDER_USING, FINDER_WAITING };

enum finder_action_type {
    /* Ask the resolver for the relay's addresses and the system for its proxies: finder_resolved, finder_proxies later; at once where there is nothing to ask (an address literal, no proxies). A question that is
     * still under way serves for this one. */
    FINDER_RESOLVE,
    FINDER_CONNECT,   /* open a connection for trial `path` */
    FINDER_HANDSHAKE, /* it is connected: start TLS (the proxy's dialogue before it), up to proof */
    FINDER_CANCEL,    /* close it; no outcome of that connection may be told any more */
    FINDER_USE,       /* it is the way; the CANCELs of all others came before this */
    FINDER_DROP,      /* the session in use belongs to a network that is gone: give it up at once. The state has moved on; finder_ended is not expected for it any more */
    FINDER_PROBE,     /* ask the challenge: finder_probed later. An older question is given up */
    FINDER_LOST,      /* the search has ended without a way: verdicts are complete (the back-off runs) */
};

struct finder_action {
    enum finder_action_type type;
    size_t trial; /* index in finder_trials */
    struct path path;
};

/* What is known of one path of the present search. */
struct finder_trial {
    struct path path;
    enum path_verdict verdict;
    int64_t ms; /* of its own, up to its verdict (race.h); 0: untried */
    bool is_remembered, is_demoted;
    bool is_brief; /* PATH_DIED_EARLY: before it was proven */
    char whose[FINDER_WHOSE]; /* PATH_WRONG_CERTIFICATE: the name in it; "": none that says anything */
    char words[FINDER_WORDS]; /* what the driver told of it, else path_verdict_words */
};

enum finder_wish {
    FINDER_WISH_NOTHING, /* nothing waits: a search ends, a path in use stays until its session ends */
    FINDER_WISH_DUE,     /* mail is due */
    FINDER_WISH_NEW_MAIL, /* mail is due, and some of it is new */
    FINDER_WISH_NOW,     /* a person asks: the back-off is forgotten */
};

enum finder_probe { FINDER_PROBE_CLEAR, FINDER_PROBE_CAPTIVE, FINDER_PROBE_SILENT };

/* How a session over the path in use has ended. */
enum finder_end {
    FINDER_END_PEACE,   /* nothing more to send, or the relay closed an idle session */
    FINDER_END_CARRIED, /* it died, but the relay had decided on a message before, or keeps more of one than it had (finder_carried was told): searched again at once, however often */
    FINDER_END_CUT,     /* it died before the relay said that it keeps anything more of it, but sessions before it got on here: searched again at once, however often; demoted while another is untried */
    FINDER_END_DIED,    /* it died before the relay decided on anything or kept anything: demoted here; another path at once where one is untried, three times at most, then back-off */
    FINDER_END_REFUSED, /* the relay itself refuses us (login, 421): no fault of the path; back-off */
};

struct finder;
struct finder *finder_new(const struct finder_config *config, int64_t now_ms); /* NULL: out of memory */
void finder_free(struct finder **finder);

/* Inputs. now_ms is of a clock that only goes forward; wall_ms is of the wall, for the memory. Each takes effect in the finder_next calls that follow. */
void finder_set_wall(struct finder *finder, int64_t wall_ms, int64_t now_ms);
/* The ways in order of preference. A search that runs begins anew. */
void finder_set_ways(struct finder *finder, const struct finder_way *ways, size_t n, int64_t now_ms);
/* The network the laptop is on now. NULL: it can't be told, so nothing is remembered of it. is_up false: there is no network at all. The same key again changes nothing, but with is_fresh (addresses
 * have changed, or the laptop has slept) what runs is begun anew; the session in use is the caller's to judge then. */
void finder_set_network(struct finder *finder, const struct memory_key *key, bool is_up, bool is_fresh, int64_t now_ms);
void finder_resolved(struct finder *finder, const struct path_address *addresses, size_t n, int64_t now_ms); /* 0: it failed; what it said before on this network stays good */
/* is_last false: more will be told, and a search that has nothing else to try waits for it. */
void finder_proxies(struct finder *finder, const struct finder_proxy *proxies, size_t n, bool is_last, int64_t now_ms);
void finder_want(struct finder *finder, enum finder_wish wish, int64_t now_ms);
/* Outcomes of the connection that the last FINDER_CONNECT of the trial opened; words may be NULL. */
void finder_connected(struct finder *finder, size_t trial, int64_t now_ms);
void finder_proven(struct finder *finder, size_t trial, int64_t now_ms);
void finder_failed(struct finder *finder, size_t trial, enum path_verdict verdict, const char *words, int64_t now_ms);
/* Just after a FINDER_CANCEL: what the driver has seen of the connection that was given up because its time was over, where the core can only guess. Says nothing for any other. */
void finder_explain(struct finder *finder, size_t trial, enum path_verdict verdict, const char *words);
/* Just after finder_failed with PATH_WRONG_CERTIFICATE: the name in that certificate. It is cut, and what is no printing character becomes a question mark. */
void finder_whose(struct finder *finder, size_t trial, struct slice whose);
void finder_probed(struct finder *finder, enum finder_probe answer, int64_t now_ms);
/* The path in use has carried a message of so many octets, or (0) a part of one that the relay keeps: remembered, and its demotion ends. */
void finder_carried(struct finder *finder, uint64_t octets, int64_t now_ms);
/* verdict, words: what becomes of the trial (PATH_DIED_EARLY, PATH_RELAY_REFUSED; PATH_OPEN: as it was). */
void finder_ended(struct finder *finder, enum finder_end how, enum path_verdict verdict, const char *words, int64_t now_ms);

/* The next thing to do; false: nothing until finder_deadline_ms or an input. */
bool finder_next(struct finder *finder, int64_t now_ms, struct finder_action *action);
int64_t finder_deadline_ms(const struct finder *finder); /* INT64_MAX: none */

/* For status. */
enum finder_state finder_state(const struct finder *finder);
/* Of the present network, from the last search that ended, the one that runs, and the probe. is_known false: nothing has been found out here yet. */
enum network_state finder_network(const struct finder *finder, bool *is_known);
/* In the order of preference, those that joined late behind; valid until the next input or finder_next. None after a change of network, until a search begins. */
const struct finder_trial *finder_trials(const struct finder *finder, size_t *n);
/* What network_describe and network_summary want to know of one; points into it. */
struct network_trial finder_trial_facts(const struct finder_trial *trial);
/* The same for network_describe and network_summary: trials[i] is trial i. How many; valid as long as finder_trials. */
size_t finder_facts(const struct finder *finder, struct network_trial trials[static RACE_PATHS_MAX], struct network_facts *out);
const struct path *finder_path(const struct finder *finder);                      /* in use; NULL: none */
int64_t finder_next_search_ms(const struct finder *finder);                       /* INT64_MAX: none planned */

#endif
