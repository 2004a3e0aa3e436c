/* A question to the system's resolver: which addresses a name has. The answer comes when it comes; who no longer wants it lets go. */
#ifndef POSTERN_AGENT_RESOLVE_H
#define POSTERN_AGENT_RESOLVE_H

#include "path/path.h"

#include "base/result.h"

#include <uv.h>

enum { RESOLVE_ADDRESSES_MAX = 8 };

struct resolve;
/* status: 0 or a libuv error. The families take turns, IPv6 first (RFC 8305 4). The question is gone with it. Never from inside resolve_start. */
typedef void resolve_answer(void *context, int status, const struct path_address *addresses, size_t n);
/* RESULT_OK, RESULT_LIMIT (no name: too long), RESULT_MEMORY, RESULT_IO. */
MUST_CHECK enum result resolve_start(struct resolve **out, uv_loop_t *loop, struct slice host, resolve_answer *on_answer, void *context);
/* No answer comes any more. A resolver that is silent holds the loop until it has given up, though. Clears the pointer; NULL is fine. */
void resolve_cancel(struct resolve **resolve);
/* Whether host is an address itself. */
bool resolve_literal(struct slice host, struct path_address *out);
/* The address part of an endpoint. False: neither IPv4 nor IPv6. */
bool resolve_address(const struct sockaddr *from, struct path_address *out);

#endif
