/* A thread of sessions: a loop with its own listeners (SO_REUSEPORT), sessions and store client. Nothing of one thread is seen by another.
 *
 *   thread_new, thread_listen, thread_tell (by the main thread) -> thread_run -> thread_stop: sessions end -> on_idle -> thread_finish -> it ends -> thread_join
 *
 * Between on_idle and thread_finish the verifier stops, because its answers still come to the thread's mailbox. */
#ifndef POSTERN_SERVER_THREAD_H
#define POSTERN_SERVER_THREAD_H

#include "gate.h"

struct thread;

struct thread_config {
    struct store *store;
    struct tls_context *tls; /* a reference is taken */
    /* loop, login.store, login.mailbox are filled in by thread_new; the reference of conf passes to it. */
    struct gate_services gate;
    /* In the thread. */
    void (*on_idle)(void *context);
    void *context;
};

/* RESULT_OK, RESULT_MEMORY, RESULT_IO. The loop does not run yet. */
MUST_CHECK enum result thread_new(struct thread **out, const struct thread_config *config);
/* Before thread_run. As service_listen. */
MUST_CHECK enum result thread_listen(struct thread *thread, const struct conf_listener *listener, struct net_address *bound, char *why,
                                     size_t why_size);
/* Before thread_run, when it is known where all listen. What is told outlives the thread. */
void thread_tell(struct thread *thread, const struct conf_told *told);
MUST_CHECK enum result thread_run(struct thread *thread);
/* From any thread while it runs. Takes the reference of conf; one of tls is taken; what is told outlives the thread. RESULT_OK, RESULT_MEMORY: it goes on as before. */
MUST_CHECK enum result thread_reload(struct thread *thread, struct conf *conf, const struct conf_told *told, struct tls_context *tls);
void thread_stop(struct thread *thread, int64_t grace_ms);
void thread_finish(struct thread *thread);
/* Also for one that never ran. NULL is fine. */
void thread_join(struct thread **thread);

#endif
