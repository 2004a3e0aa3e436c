/* The inside of a service, for service*.c alone. */
#ifndef POSTERN_NET_SERVICE_INTERNAL_H
#define POSTERN_NET_SERVICE_INTERNAL_H

#include "net/address.h"
#include "net/service.h"
#include "net/session_id.h"

#include "base/list.h"

enum { SERVICE_BUCKETS = 256, SERVICE_ACCEPTS_MAX = 64 /* in one go */ };

struct service_port {
    struct list_node node;
    struct service *service;
    uv_poll_t poll;
    int fd;
    enum service_mode mode;
};

struct service {
    uv_loop_t *loop;
    struct service_config config;
    struct tls_context *tls;
    struct list ports;
    struct list sessions;
    struct list ready;                    /* sessions to be pumped before the loop waits next */
    struct list buckets[SERVICE_BUCKETS]; /* sessions by address */
    uv_idle_t pump;
    uv_timer_t accept_again; /* after the system had no descriptor left even for refusing */
    uv_timer_t grace;
    int spare_fd; /* given up for a moment to accept, and close, what can't be served; -1: none */
    bool is_short_told;
    bool is_stopping;
    unsigned pending_closes;
    void (*on_stopped)(void *);
    void *on_stopped_context;
};

struct service_session {
    struct list_node node, ready_node, address_node;
    struct service *service;
    struct stream *stream;
    struct smtp_server *core;
    void *context; /* the handler's */
    uv_timer_t timer;
    int64_t timer_at_ms;     /* when it will fire; INT64_MAX: it is not armed */
    int64_t handshake_by_ms; /* INT64_MAX: no handshake under way */
    struct sockaddr_storage address;
    uint64_t address_key;
    enum service_mode mode;
    bool is_open;       /* on_open said yes, so on_closed is due */
    bool is_pumping, needs_pump;
    bool is_paused;
    bool has_eof, is_eof_told;
    bool is_over; /* the connection is dead or being ended: the core's output and answers count no more */
    char id[SESSION_ID_TEXT];
    char peer[NET_ADDRESS_TEXT];
};

/* service_accept.c */
void service_port_close(struct service_port *port);
void service_accept_again(uv_timer_t *timer);
int service_spare_open(void);

/* service_session.c: takes fd over, whatever happens. */
void service_session_open(struct service *service, enum service_mode mode, int fd, const struct sockaddr_storage *address);
void service_session_shut(struct service_session *session);
void service_session_kill(struct service_session *session);
void service_on_pump(uv_idle_t *idle);

/* service.c: one handle or session less. */
void service_one_less(struct service *service);

#endif
