/* A loop for net tests, that ends proved empty, and streams whose events are remembered.
 *
 *   struct netloop net;
 *   netloop_open(&net);
 *   NET_UNTIL(&net, thing_has_happened);      fails the test after ten seconds
 *   netloop_close(&net);                      runs the loop to its end and proves that no handle is left
 */
#ifndef POSTERN_TESTS_SUPPORT_NETLOOP_H
#define POSTERN_TESTS_SUPPORT_NETLOOP_H

#include "net/stream.h"

struct netloop {
    uv_loop_t loop;
    uv_timer_t guard;
};

void netloop_open(struct netloop *net);
/* One round of the loop; false: ten seconds have passed since the last netloop_arm. */
void netloop_arm(struct netloop *net);
bool netloop_step(struct netloop *net);
void netloop_close(struct netloop *net);

#define NET_UNTIL(net, condition)                                                                                      \
    do {                                                                                                               \
        netloop_arm(net);                                                                                              \
        while (!(condition))                                                                                           \
            if (!netloop_step(net))                                                                                    \
                fail_msg("waited too long for: %s", #condition);                                                       \
    } while (0)

/* A socket that listens on 127.0.0.1 (backlog 8), its address in *address. */
int netloop_listen(struct sockaddr_storage *address);

/* One end of a connection. */
struct net_end {
    struct stream *stream; /* NULL after CLOSED */
    struct buffer got;     /* DATA, consumed as it comes unless keeps_input */
    unsigned told[STREAM_CLOSED + 1];
    bool keeps_input;
    bool closes_at_end; /* stream_finish at EOF, stream_close at FAILED */
    void (*hook)(struct net_end *end, enum stream_event event);
    void *hook_context;
    struct stream_error error;
};

struct stream_owner net_end_owner(struct net_end *end);
/* Both ends of one connection; left dialled, right accepted. */
void net_pair(struct netloop *net, struct net_end *left, struct net_end *right);
void net_end_write(struct net_end *end, const char *text);
/* Closes what is open and waits for CLOSED. */
void net_pair_close(struct netloop *net, struct net_end *left, struct net_end *right);

#endif
