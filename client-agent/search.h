/* The search for a way: the relay's name is resolved, the race core (path/race.h) says which paths to try and when, outbound connections carry it out.
 *
 * It ends in exactly one on_end: with a session that has proved itself (TLS, identity, EHLO; not yet AUTH, nothing secret said), or with none. The losers are
 * closed in an orderly way behind it. What each path came to can be read until search_free.
 *
 *   resolving -> racing -> ended        (search_cancel ends it at any time, without on_end)
 *
 * Addresses that worked before are raced too, behind the fresh ones: a resolver that lies or is silent costs only time, because the relay proves itself by its key. A resolver that does
 * not answer within SEARCH_RESOLVER_MS starts the race with the remembered addresses alone; what it says later joins the race with a round of its own. Without remembered addresses
 * there is nothing to do but to wait for it, for SEARCH_RESOLVER_LAST_MS.
 *
 * Paths that died young under a message run in a later round, SEARCH_LAST_CHANCE_MS behind the others or when those have failed: however fast they are, they win only when nothing else is
 * open. Rounds are races of their own (path/race.h); the first path that proves itself in any of them wins the search. */
#ifndef POSTERN_AGENT_SEARCH_H
#define POSTERN_AGENT_SEARCH_H

#include "settings.h"

#include "net/outbound.h"
#include "path/network.h"

enum {
    SEARCH_ADDRESSES_MAX = 8,
    SEARCH_DEMOTED_MAX = 16,
    SEARCH_RESOLVER_MS = 2000,
    SEARCH_RESOLVER_LAST_MS = 30 * 1000,
    SEARCH_LAST_CHANCE_MS = 2000,
    SEARCH_WORDS = 200,
};

struct search_config {
    uv_loop_t *loop;
    struct settings *settings;          /* a reference is taken */
    struct tls_context *tls;            /* likewise */
    struct slice password;              /* copied into each session's core */
    const struct path *known;           /* the path that worked last, tried alone at first; may be NULL */
    const struct path_address *remembered; /* addresses that worked before; copied */
    size_t nremembered;
    const struct path *demoted;         /* paths that died young, the least trusted last; copied */
    size_t ndemoted;
    int64_t resolver_ms, resolver_last_ms; /* 0: SEARCH_RESOLVER_MS, SEARCH_RESOLVER_LAST_MS */
    const struct log *log;
    void (*on_end)(void *context, struct outbound *winner, const struct path *path); /* winner NULL: no way. Its handler is to be set inside the call */
    void *context;
};

/* One path of the search. */
struct search_trial {
    struct path path;
    enum path_verdict verdict;
    int64_t ms; /* from its start to its verdict */
    char words[SEARCH_WORDS];
};

struct search;
/* NULL: out of memory. on_end never comes from inside this call. */
struct search *search_start(const struct search_config *config);
/* No on_end comes any more; connections are closed. */
void search_cancel(struct search *search);
/* After on_end or search_cancel; the memory goes when the last connection has ended. */
void search_free(struct search **search);
size_t search_ntrials(const struct search *search);
const struct search_trial *search_trials(const struct search *search); /* while it runs, verdicts come one by one */
/* What the resolver said: at most SEARCH_ADDRESSES_MAX. */
size_t search_resolved(const struct search *search, const struct path_address **out);
/* The address part of a path. False: neither IPv4 nor IPv6. */
bool search_address(const struct sockaddr *from, struct path_address *out);
/* What the resolver said, when it failed: words; else NULL. */
const char *search_resolver_words(const struct search *search);

#endif
