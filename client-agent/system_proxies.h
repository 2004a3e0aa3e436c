/* The system's proxies, asked of a child process (command_proxies.c says why): "postern-agent proxies HOST".
 *
 * A child that does not answer within SYSTEM_PROXIES_MS is killed, one that says more than SYSTEM_PROXIES_MAX octets is not listened to any further. What can't be used is passed over. */
#ifndef POSTERN_AGENT_SYSTEM_PROXIES_H
#define POSTERN_AGENT_SYSTEM_PROXIES_H

#include "settings.h"

#include "base/log.h"

#include <uv.h>

enum { SYSTEM_PROXIES_MS = 5000, SYSTEM_PROXIES_MAX = 16 * 1024, SYSTEM_PROXIES_COUNT = 4 };

struct system_proxies;
/* on_answer exactly once, from the loop, never from inside this call; the proxies are valid during it, 0 when there are none. program: postern-agent's file; host: NUL-terminated; both are copied. RESULT_OK; RESULT_MEMORY, RESULT_IO (no process can be
 * started): no answer comes. timeout_ms: 0: SYSTEM_PROXIES_MS. */
MUST_CHECK enum result system_proxies_ask(struct system_proxies **out, uv_loop_t *loop, const char *program, const char *host, int64_t timeout_ms, const struct log *log,
                                          void (*on_answer)(void *context, const struct settings_proxy *proxies, size_t n), void *context);
/* No answer comes any more; the child is ended. Clears the pointer; the memory goes when the child has. After on_answer the pointer is dead already. */
void system_proxies_cancel(struct system_proxies **at);

#endif
