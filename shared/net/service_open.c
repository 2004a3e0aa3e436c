/* How a session begins: who is let in, whose it is, and what is spoken in it (enum service_phase). */
#include "net/http_request.h"
#include "net/proxy_header.h"
#include "net/service_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TLS_HANDSHAKE_OCTET = 0x16 };

static void log_refused(const struct service *service, const char *peer, const char *reason)
{
    log_event(service->config.log, LOG_INFO, "proxy-refused", LOG_TEXT("peer", peer), LOG_TEXT("reason", reason));
}

/* ---- by address ---- */

static uint64_t key_of(const struct sockaddr_storage *address)
{
    uint64_t key = 0;
    if (address->ss_family == AF_INET6) /* a customer has a /64 */
        memcpy(&key, &((const struct sockaddr_in6 *)address)->sin6_addr, sizeof key);
    else
        key = ((const struct sockaddr_in *)address)->sin_addr.s_addr;
    return key;
}

size_t service_bucket_of(uint64_t address_key)
{
    return (address_key * UINT64_C(0x9e3779b97f4a7c15)) >> 56;
}

static struct list *bucket_of(struct service *service, uint64_t key)
{
    return &service->buckets[service_bucket_of(key)];
}

/* Mail and web apart. */
static uint32_t count_from(struct service *service, uint64_t key, bool is_web)
{
    uint32_t count = 0;
    LIST_EACH(node, bucket_of(service, key)) {
        const struct service_session *session = LIST_OWNER(node, struct service_session, address_node);
        count += session->address_key == key && (session->mode == SERVICE_HTTP) == is_web;
    }
    return count;
}

static bool is_one_too_many(struct service *service, enum service_mode mode, const struct sockaddr_storage *address)
{
    bool is_web = mode == SERVICE_HTTP;
    uint32_t max = is_web ? SERVICE_WEB_PER_ADDRESS : service->config.sessions_per_address_max;
    return max > 0 && count_from(service, key_of(address), is_web) >= max;
}

static void format_peer(const struct sockaddr_storage *address, char out[static NET_ADDRESS_TEXT])
{
    struct net_address named;
    memcpy(&named, address, sizeof named);
    net_address_format(&named, out);
}

/* From now on the session is this client's, and counts for him. */
static void set_client(struct service_session *session, const struct sockaddr_storage *address)
{
    session->address = *address;
    session->address_key = key_of(address);
    format_peer(address, session->peer);
    list_append(bucket_of(session->service, session->address_key), &session->address_node);
}

/* ---- refusing ---- */

static size_t write_refusal(char *text, size_t size, const char *status, const char *words)
{
    int len = snprintf(text, size, "421 %s %s\r\n", status, words ? words : "Too busy; try again later");
    return len > 0 && (size_t)len < size ? (size_t)len : 0;
}

/* In the clear only: a handshake to say no in is what we cannot afford. */
static bool hears_refusals(enum service_mode mode)
{
    return mode == SERVICE_PLAIN || mode == SERVICE_STARTTLS;
}

/* Nothing of the client's has been read, so close sends FIN, mostly. */
static void refuse(enum service_mode mode, int fd, const char *status, const char *words)
{
    char text[256];
    size_t len = write_refusal(text, sizeof text, status, words);
    if (hears_refusals(mode) && len > 0)
        (void)!send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
}

/* Behind a PROXY header, where there is a stream already. */
static void refuse_client(struct service_session *session, const char *status, const char *words)
{
    char text[256];
    size_t len = write_refusal(text, sizeof text, status, words);
    if (!hears_refusals(session->mode) || stream_write(session->stream, slice_of(text, len)) != RESULT_OK)
        service_session_kill(session);
    else
        service_session_finish(session);
}

/* ---- the beginning ---- */

static struct service_session *session_new(struct service *service, const struct service_listener *listener, const struct sockaddr_storage *address)
{
    struct service_session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->service = service;
    session->mode = listener->mode;
    session->address = *address;
    session->is_proxied = listener->takes_proxy_header;
    session->phase = listener->takes_proxy_header ? SERVICE_AT_PROXY : SERVICE_AT_SMTP;
    session->timer_at_ms = session->phase_by_ms = INT64_MAX;
    session_id_make('s', session->id);
    format_peer(address, session->peer);
    uv_timer_init(service->loop, &session->timer);
    session->timer.data = session;
    list_append(&service->sessions, &session->node);
    service->nweb += session->mode == SERVICE_HTTP;
    return session;
}

static bool stream_begins(struct service_session *session, int fd)
{
    const struct stream_owner owner = {service_stream_event, session};
    if (stream_accept(&session->stream, session->service->loop, fd, owner, session->service->config.log) == RESULT_OK)
        return true;
    service_session_drop(session);
    return false;
}

static bool ask_handler(struct service_session *session, const char **words)
{
    const struct service_handler *handler = &session->service->config.handler;
    *words = NULL;
    if (session->mode != SERVICE_HTTP)
        session->is_open = handler->on_open(handler->context, session, &session->context, words);
    return session->is_open || session->mode == SERVICE_HTTP;
}

/* The client is let in. */
static void begin(struct service_session *session, bool is_tls)
{
    if (session->mode == SERVICE_HTTP)
        service_begin_request(session);
    else if (is_tls)
        service_begin_handshake(session);
    else
        service_begin_smtp(session, false);
}

void service_begin_handshake(struct service_session *session)
{
    service_enter(session, SERVICE_AT_HANDSHAKE, service_now_ms(session) + session->service->config.handshake_timeout_ms);
    if (stream_start_tls(session->stream, session->service->tls, NULL, true) != RESULT_OK)
        service_session_kill(session);
    else
        service_arm(session);
}

/* ---- straight from the client ---- */

static bool begins_with_tls(int fd)
{
    unsigned char first = 0;
    return recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && first == TLS_HANDSHAKE_OCTET;
}

static void open_direct(struct service_session *session, int fd, const struct sockaddr_storage *address)
{
    const char *words;
    set_client(session, address);
    if (!ask_handler(session, &words)) {
        refuse(session->mode, fd, "4.3.2", words);
        service_session_drop(session);
        return;
    }
    bool is_tls = session->mode == SERVICE_TLS || (session->mode == SERVICE_STARTTLS && begins_with_tls(fd));
    if (stream_begins(session, fd))
        begin(session, is_tls);
}

/* ---- through a proxy ---- */

static bool is_proxy(const struct service *service, const struct sockaddr_storage *address)
{
    for (size_t i = 0; i < service->config.nproxies; i++)
        if (net_prefix_has(&service->config.proxies[i], (const struct sockaddr *)address))
            return true;
    return false;
}

static void open_proxied(struct service_session *session, int fd)
{
    if (!stream_begins(session, fd))
        return;
    service_enter(session, SERVICE_AT_PROXY, service_now_ms(session) + session->service->config.handshake_timeout_ms);
    service_arm(session);
}

static void refuse_proxy(struct service_session *session, const char *reason)
{
    log_refused(session->service, session->peer, reason);
    service_session_kill(session);
}

/* HAProxy's checks in version 1 do not say UNKNOWN but name the very socket that they come from. */
static bool is_from_proxy_itself(const struct service_session *session, const struct proxy_header *header)
{
    struct net_address proxy;
    memcpy(&proxy, &session->address, sizeof proxy);
    return !header->has_address || net_address_equal(&proxy, &header->address);
}

/* The header is off, and its client stands at the door. */
static void open_client(struct service_session *session, const struct proxy_header *header)
{
    struct sockaddr_storage address = {0};
    const char *words;
    session->is_proxys_own = is_from_proxy_itself(session, header);
    if (!session->is_proxys_own) {
        memcpy(&address, &header->address, sizeof header->address);
        if (is_one_too_many(session->service, session->mode, &address)) {
            refuse_client(session, "4.7.0", "Too many sessions from your address; try again later");
            return;
        }
        set_client(session, &address);
    }
    if (!ask_handler(session, &words)) {
        refuse_client(session, "4.3.2", words);
        return;
    }
    struct slice waiting = stream_input(session->stream);
    begin(session, session->mode == SERVICE_TLS || (session->mode == SERVICE_STARTTLS && waiting.len > 0 && waiting.ptr[0] == TLS_HANDSHAKE_OCTET));
}

void service_take_proxy_header(struct service_session *session)
{
    struct proxy_header header;
    switch (proxy_header_parse(stream_input(session->stream), &header)) {
    case RESULT_OK:
        stream_consume(session->stream, header.len);
        open_client(session, &header);
        return;
    case RESULT_MORE:
        return;
    case RESULT_LIMIT:
        refuse_proxy(session, "its PROXY header is too long");
        return;
    default:
        refuse_proxy(session, "it sends no PROXY header, or a broken one; see proxied in relay.conf(5)");
        return;
    }
}

/* ---- every connection ---- */

static bool is_full(const struct service *service, enum service_mode mode)
{
    return mode == SERVICE_HTTP ? service->nweb >= SERVICE_WEB_MAX : service_sessions(service) >= service->config.sessions_max;
}

void service_session_open(struct service_port *port, int fd, const struct sockaddr_storage *address)
{
    struct service *service = port->service;
    const struct service_listener *listener = &port->listener;
    char peer[NET_ADDRESS_TEXT];
    if (listener->takes_proxy_header && !is_proxy(service, address)) {
        format_peer(address, peer);
        log_refused(service, peer, "it is none of the proxies whose word counts here; see proxy_from in relay.conf(5)");
        close(fd);
        return;
    }
    if (is_full(service, listener->mode)) {
        refuse(listener->mode, fd, "4.3.2", "Too many sessions; try again later");
        return;
    }
    if (!listener->takes_proxy_header && is_one_too_many(service, listener->mode, address)) {
        refuse(listener->mode, fd, "4.7.0", "Too many sessions from your address; try again later");
        return;
    }
    struct service_session *session = session_new(service, listener, address);
    if (!session)
        refuse(listener->mode, fd, "4.3.2", "Out of memory; try again later");
    else if (listener->takes_proxy_header)
        open_proxied(session, fd);
    else
        open_direct(session, fd, address);
}

/* ---- inside TLS ---- */

void service_secured(struct service_session *session)
{
    if (strcmp(stream_tls_info(session->stream)->alpn, "http/1.1") != 0) {
        service_begin_smtp(session, true);
        return;
    }
    service_enter(session, SERVICE_AT_FIRST, service_now_ms(session) + session->service->config.handshake_timeout_ms);
    service_arm(session);
    if (stream_input(session->stream).len > 0)
        service_take_first(session);
}

void service_take_first(struct service_session *session)
{
    switch (http_request_begins(stream_input(session->stream))) {
    case RESULT_OK:
        service_begin_request(session);
        return;
    case RESULT_MORE:
        return;
    default:
        service_begin_smtp(session, true);
        return;
    }
}

/* ---- too late ---- */

void service_phase_expired(struct service_session *session)
{
    const char *reason = NULL;
    switch (session->phase) {
    case SERVICE_AT_PROXY:
        log_refused(session->service, session->peer, "no whole PROXY header came in time");
        break;
    case SERVICE_AT_HANDSHAKE:
        log_event(session->service->config.log, LOG_INFO, "tls-failed", LOG_TEXT("session", session->id), LOG_TEXT("peer", session->peer),
                  LOG_TEXT("reason", "the handshake took too long"));
        break;
    case SERVICE_AT_FIRST:
        reason = "nothing came inside http/1.1";
        break;
    case SERVICE_AT_REQUEST:
        reason = "no whole HTTP request came in time";
        break;
    case SERVICE_AT_SMTP:
        return;
    }
    if (reason)
        service_log_died(session, reason);
    service_session_kill(session);
}
