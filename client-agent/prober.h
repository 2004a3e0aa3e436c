/* The one place that asks the relay's challenge (net/challenge.h), for the uplink's search and for diagnoses together: a captive portal is not hammered. At most one question in
 * FINDER_PROBE_EVERY_MS leaves this machine; whoever asks sooner gets the last answer, when it was about the same relay on the same network, or waits until the next may go.
 *
 * Invariants: 1 questions are FINDER_PROBE_EVERY_MS apart, whoever asks; 2 an answer older than that, or of another network, is nobody's; 3 each question is answered once, never from inside a call, unless
 * it is cancelled. */
#ifndef POSTERN_AGENT_PROBER_H
#define POSTERN_AGENT_PROBER_H

#include "base/list.h"
#include "net/challenge.h"
#include "path/finder.h"

/* One who asks. Zero it before; the prober's until it is answered or cancelled. */
struct prober_question {
    struct list_node node;
    bool is_asked;
    struct challenge_ask ask;   /* address, tls and server_name, which outlive the question */
    struct memory_key network;  /* where we are; zero: it can't be told */
    void (*on_answer)(void *context, enum finder_probe answer);
    void *context;
};

/* The last question, for who keeps it from one run to the next. */
struct prober_last {
    int64_t ago_ms;
    bool has_answer;
    enum finder_probe answer;
    struct memory_key network;
};

struct prober;
struct prober *prober_new(uv_loop_t *loop, const struct log *log); /* NULL: out of memory */
/* Nobody may be waiting any more. Clears the pointer; NULL is fine. */
void prober_free(struct prober **prober);
/* A question that is still waiting is asked anew. */
void prober_ask(struct prober *prober, struct prober_question *question);
void prober_cancel(struct prober_question *question);
/* Another network: the answer was about the old one. */
void prober_forget(struct prober *prober);
/* False: nothing was asked for FINDER_PROBE_EVERY_MS. */
bool prober_last(const struct prober *prober, struct prober_last *out);
/* At the start only; server_name is that of the questions to come. */
void prober_restore(struct prober *prober, const struct prober_last *last, const char *server_name);

#endif
