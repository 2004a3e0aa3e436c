/* Which proxies may lead to the relay: those of the configuration (`[proxy] proxy`), then those of the system's settings (`[proxy] system`, system_proxies.h), at the addresses that their
 * names have on the present network.
 *
 * Each proxies_ask is answered by on_answer, from the loop, never from inside the call: once for what is known at once, and again for each name that the resolver
 * answers later, each time with all that is known by then. A new question takes the place of the one before. Where none is configured the one answer is empty. What the system said counts for
 * PROXIES_FRESH_MS on one network: it costs a process to ask. */
#ifndef POSTERN_AGENT_PROXIES_H
#define POSTERN_AGENT_PROXIES_H

#include "settings.h"

#include "base/log.h"

#include <uv.h>

enum { PROXIES_FRESH_MS = 5 * 60 * 1000 };

typedef void proxies_answer(void *context, const struct finder_proxy *proxies, size_t n, bool is_last); /* at most FINDER_PROXIES_MAX, in the order of preference; is_last: nobody is being asked any more */

struct proxies;
/* A reference to the settings is taken. program: our own executable, to be asked for the system's proxies; outlives this; NULL: they are not asked for. NULL: out of memory. */
struct proxies *proxies_new(uv_loop_t *loop, struct settings *settings, const char *program, const struct log *log);
/* No answer comes any more; what is still asked of the resolver is let go of. Clears the pointer. */
void proxies_free(struct proxies **proxies);
/* relay_host, NUL-terminated: for settings that except some hosts from proxies. */
void proxies_ask(struct proxies *proxies, const char *relay_host, proxies_answer *on_answer, void *context);
/* Another network: what the system and the resolver said was about the old one. */
void proxies_forget(struct proxies *proxies);
/* The name of one that the resolver can't find on this network; NULL: none. Valid until the loop turns. */
const char *proxies_missing(const struct proxies *proxies);
/* What to log in with there; empty: nothing. Valid until proxies_free. */
void proxies_credentials(const struct proxies *proxies, enum path_via via, const struct path_proxy *proxy, struct slice *user, struct slice *password);

#endif
