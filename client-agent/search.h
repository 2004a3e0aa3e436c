/* The search for a way, as long as the agent lives: carries out what the path core (path/finder.h) decides. Names are resolved, proxies asked for, connections opened and brought to proof, the relay's
 * challenge is asked; what comes of each is told to the core. It decides nothing itself.
 *
 * Callbacks come from the loop, never from inside a call but search_set_network:
 *   on_use   a session has proved itself (TLS, identity, EHLO; not yet AUTH, nothing secret said) and is the way: it is the caller's from now on, its handler to be set inside the call. All others
 *            were told to close before
 *   on_drop  the session in use belongs to a network that is gone: to be given up at once
 *   on_lost  the search has ended without a way: verdicts are complete
 * search_free may not be called from inside one; everything else may.
 *
 * A question to the resolver that was asked on another network is let go of: its answer is that network's. */
#ifndef POSTERN_AGENT_SEARCH_H
#define POSTERN_AGENT_SEARCH_H

#include "prober.h"
#include "profile.h"
#include "proxies.h"

#include "net/monitor.h"
#include "net/outbound.h"

/* A line that acknowledges nothing for so long is dead: another way is looked for, long before TCP gives up by itself. */
enum { SEARCH_WORDS = FINDER_WORDS, SEARCH_SILENCE_MS = 30 * 1000 };

struct search_config {
    uv_loop_t *loop;
    struct settings *settings;     /* a reference is taken */
    struct tls_context *tls;       /* likewise */
    struct slice password;         /* copied */
    struct memory *memory;         /* outlives the search; NULL with is_survey */
    const struct profile *profile; /* read at each connection; outlives the search. NULL: none */
    struct prober *prober;         /* outlives the search; NULL: one of its own */
    bool is_survey;                /* every way is tried to its verdict and none used: on_lost is its end */
    const char *program;           /* our own executable, asked for the system's proxies; outlives the search; NULL: they are not asked for */
    const struct log *log;
    void (*on_use)(void *context, struct outbound *winner, const struct path *path);
    void (*on_drop)(void *context);
    void (*on_lost)(void *context);
    void (*on_progress)(void *context); /* something may have moved; NULL */
    void *context;
};

struct search;
struct search *search_new(const struct search_config *config); /* NULL: out of memory */
/* Connections are closed in an orderly way; the loop waits for them. */
void search_free(struct search **search);
/* New settings: all that is known of the present network is forgotten, what runs begins anew. A session in use is the caller's to end, and nothing may be told of it any more.
 * RESULT_OK; RESULT_MEMORY: the old ones stay in force. */
MUST_CHECK enum result search_reload(struct search *search, struct settings *settings, struct tls_context *tls, struct slice password);

/* The core's inputs; see there. */
void search_want(struct search *search, enum finder_wish wish);
/* The one call that may call back from inside: on_drop, so that the caller can judge the session that is left behind it. */
void search_set_network(struct search *search, const struct monitor_event *event);
void search_carried(struct search *search, uint64_t octets);
void search_ended(struct search *search, enum finder_end how, enum path_verdict verdict, const char *words);
/* The relay's profile has changed: the ways it names stand behind the configured ones. */
void search_profile_changed(struct search *search);

/* For status: the core, to be asked. Valid until search_reload. */
const struct finder *search_finder(const struct search *search);
/* The name of a proxy that can't be found on this network; NULL: none. */
const char *search_missing_proxy(const struct search *search);
/* What the resolver said, when it failed: words; else NULL. */
const char *search_resolver_words(const struct search *search);

#endif
