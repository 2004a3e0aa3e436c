/* The inside of a service, for service*.c alone. */
#ifndef POSTERN_NET_SERVICE_INTERNAL_H
#define POSTERN_NET_SERVICE_INTERNAL_H

#include "net/address.h"
#include "net/service.h"
#include "net/session_id.h"

#include "base/list.h"

enum {
    SERVICE_BUCKETS = 256,
    SERVICE_ACCEPTS_MAX = 64,       /* in one go */
    SERVICE_WEB_MAX = 200,          /* connections of HTTP listeners at a time: they come and go, and take no place from mail */
    SERVICE_WEB_PER_ADDRESS = 20,
    SERVICE_WEB_TIMEOUT_MS = 5000,  /* for a whole request */
};

/* What a connection is about. Who skips a phase has no use for it:
 *
 *   proxy -> handshake -> first -> request
 *                               -> smtp -> handshake -> smtp          STARTTLS
 *
 * All but smtp end by phase_by_ms, in which the core's clocks run instead. */
enum service_phase {
    SERVICE_AT_PROXY,     /* the PROXY header is awaited; the client is not known */
    SERVICE_AT_HANDSHAKE, /* TLS */
    SERVICE_AT_FIRST,     /* inside TLS as http/1.1: the first octets will tell whether it is */
    SERVICE_AT_REQUEST,   /* HTTP */
    SERVICE_AT_SMTP,
};

struct service_port {
    struct list_node node;
    struct service *service;
    uv_poll_t poll;
    int fd;
    struct service_listener listener;
};

struct service {
    uv_loop_t *loop;
    struct service_config config;
    struct net_prefix *proxies; /* config.proxies */
    struct tls_context *tls;
    struct list ports;
    struct list sessions;
    struct list ready;                    /* sessions to be pumped before the loop waits next */
    struct list buckets[SERVICE_BUCKETS]; /* sessions by address */
    size_t nweb;                          /* sessions of HTTP listeners */
    int64_t signing_since_ms;             /* the second in which nsigned challenges have been answered */
    uint32_t nsigned;
    uint32_t nsigned_from[SERVICE_BUCKETS]; /* of these by address, roughly: those that share a bucket share its part */
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
    int64_t phase_by_ms;     /* INT64_MAX: no end */
    enum service_phase phase;
    struct sockaddr_storage address;
    uint64_t address_key;
    enum service_mode mode;
    bool is_proxys_own; /* the header says so: most of these are health checks, and whether they are well is the proxy's to log */
    bool is_proxied;    /* at the other end of the connection is a proxy */
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

/* service_open.c: takes fd over, whatever happens. */
void service_session_open(struct service_port *port, int fd, const struct sockaddr_storage *address);
/* In which bucket an address counts. */
size_t service_bucket_of(uint64_t address_key);
/* Octets have come in phase proxy, or first. */
void service_take_proxy_header(struct service_session *session);
void service_take_first(struct service_session *session);
/* The phase took too long. */
void service_phase_expired(struct service_session *session);
/* TLS from what waits unread, and what comes. */
void service_begin_handshake(struct service_session *session);
/* The handshake that is the connection's beginning is done. */
void service_secured(struct service_session *session);

/* service_web.c: octets have come in phase request. */
void service_take_request(struct service_session *session);
void service_begin_request(struct service_session *session);

/* service_session.c */
int64_t service_now_ms(const struct service_session *session);
void service_enter(struct service_session *session, enum service_phase phase, int64_t by_ms);
void service_arm(struct service_session *session);
/* SMTP begins: a core, the greeting, and what has come so far. */
void service_begin_smtp(struct service_session *session, bool is_tls);
void service_log_died(const struct service_session *session, const char *reason);
/* Sends what was written, and ends in good order. */
void service_session_finish(struct service_session *session);
/* For one that has no stream, or whose stream has ended. */
void service_session_drop(struct service_session *session);
void service_stream_event(void *context, struct stream *stream, enum stream_event event);
void service_session_shut(struct service_session *session);
void service_session_kill(struct service_session *session);
void service_on_pump(uv_idle_t *idle);

/* service.c: one handle or session less. */
void service_one_less(struct service *service);

#endif
