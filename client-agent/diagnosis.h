/* A diagnosis: every way to the relay is tried to its verdict, over connections of its own, beside whatever the uplink does; then the network is judged. Nothing is used, nobody logs in,
 * nothing is remembered.
 *
 * Answers a control call: progress {"index": i, "way": {...}} for each way that has news, and the result (schema/json.md, diagnose). One at a time: it takes as many sockets as a search does. */
#ifndef POSTERN_AGENT_DIAGNOSIS_H
#define POSTERN_AGENT_DIAGNOSIS_H

#include "search.h"

#include "net/control.h"

struct diagnosis_config {
    uv_loop_t *loop;
    struct settings *settings;  /* a reference is taken */
    struct tls_context *tls;    /* likewise */
    const struct profile *profile; /* outlives the diagnosis; NULL: none */
    const struct path_address *addresses; /* at which the relay has proved itself before: what the resolver says may be a lie. Copied */
    size_t naddresses;
    const char *program;        /* as in search.h */
    struct prober *prober;      /* as in search.h */
    struct monitor_event network; /* where we are; where there is none, nothing is tried but a relay on this machine */
    const char *(*trouble)(void *context); /* asked at the end: why mail waits, if it does; NULL: nobody knows */
    const struct log *log;
    struct control_call *call;  /* is answered, in any case but an error of diagnosis_start */
    void (*on_end)(void *context); /* behind the answer; then the diagnosis is gone */
    void *context;
};

struct diagnosis;
/* RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result diagnosis_start(struct diagnosis **out, const struct diagnosis_config *config);
/* The call gets an error; no on_end comes. Clears the pointer; the loop waits for its connections. */
void diagnosis_cancel(struct diagnosis **at);

#endif
