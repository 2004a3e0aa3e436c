/* The control socket: how the command line asks a running program.
 *
 * A unix socket in the program's data folder, mode 0600, only for the program's own user and root (the peer's uid is checked). One request a connection: one line of JSON,
 * {"command": "queue list", "arguments": {...}}; the answer is lines of JSON: any number of {"progress": ...}, then one {"result": ...} or
 * {"error": "words", "exit": 69}. Requests are at most CONTROL_REQUEST_MAX octets.
 *
 * A command has one handler, and two ways to reach it: over the socket when a daemon runs, or, when none does, called by the command itself on a
 * store it has opened (control_call_local). */
#ifndef POSTERN_NET_CONTROL_H
#define POSTERN_NET_CONTROL_H

#include "base/log.h"
#include "base/result.h"

#include <jansson.h>
#include <uv.h>

enum { CONTROL_REQUEST_MAX = 256 * 1024, CONTROL_CALLS_MAX = 32, CONTROL_WORDS_MAX = 512 };

/* One question that awaits its answer. It lives until control_result or control_error, which must come exactly once, now or later; the asker may be gone by then. */
struct control_call;
/* command and arguments (an object) are valid during the call of the handler only. */
typedef void control_handler(void *context, struct control_call *call, const char *command, const json_t *arguments);

/* All take the reference of the JSON value. NULL stands for out of memory and becomes an error. */
void control_progress(struct control_call *call, json_t *progress);
void control_result(struct control_call *call, json_t *result);
/* exit_code as in sysexits; words say what is wrong and what to do next. */
void control_error(struct control_call *call, int exit_code, const char *format, ...) PRINTF_LIKE(3, 4);
/* True when nobody waits any more: long work (diagnose) may stop. The answer is still owed. */
bool control_is_abandoned(const struct control_call *call);

struct control_server;
/* Takes the place of a stale socket: the caller holds the store's lock, so no other daemon lives. RESULT_OK, RESULT_IO, RESULT_DENIED, RESULT_MEMORY; why gets words. */
MUST_CHECK enum result control_server_open(struct control_server **out, uv_loop_t *loop, const char *socket_path, control_handler *handler, void *context, const struct log *log,
                                           char *why, size_t why_size);
/* Stops listening and removes the socket; questions under way are dropped when the loop closes their handles. on_closed when the memory is gone; may be NULL. */
void control_server_close(struct control_server *server, void (*on_closed)(void *), void *context);

/* Calls a handler in this process. on_line gets each line's object ({"progress"}, {"result"}, {"error"}): borrowed. */
void control_call_local(control_handler *handler, void *handler_context, const char *command, const json_t *arguments, void (*on_line)(void *context, const json_t *line), void *context);

/* Asks over the socket and waits: for command lines only. Same on_line. RESULT_OK: the last line was given; RESULT_NOT_FOUND: no daemon listens; RESULT_DENIED: not our socket;
 * RESULT_IO: it went away in mid-answer. */
MUST_CHECK enum result control_ask(const char *socket_path, const char *command, const json_t *arguments, void (*on_line)(void *context, const json_t *line), void *context);

#endif
