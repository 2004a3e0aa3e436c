/* Notices that the certificate was renewed: the folders of certificate and key are watched, and what changes there is told once it has been quiet
 * for a moment, because a renewal writes two files, and some tools write and rename. A folder that can't be watched is no error: SIGHUP does the
 * same. */
#ifndef POSTERN_SERVER_WATCH_H
#define POSTERN_SERVER_WATCH_H

#include "base/result.h"
#include "base/slice.h"

#include <uv.h>

enum { WATCH_QUIET_MS = 1000 };

struct watch;

/* RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result watch_open(struct watch **out, uv_loop_t *loop, struct slice certificate, struct slice key, void (*on_changed)(void *context),
                                  void *context);
/* The memory goes by itself, from the loop. NULL is fine. */
void watch_close(struct watch **watch);

#endif
