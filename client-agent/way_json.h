/* A way, and what became of trying it, as schema/json.md promises. */
#ifndef POSTERN_AGENT_WAY_JSON_H
#define POSTERN_AGENT_WAY_JSON_H

#include "path/finder.h"

#include <jansson.h>

/* relay_host, NUL-terminated: stands for the address where only a proxy knows that. NULL: out of memory. */
json_t *way_json(const struct path *path, const char *relay_host);
json_t *way_trial_json(const struct finder_trial *trial, const char *relay_host);

#endif
