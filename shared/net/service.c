/* The life of a service; its ports are in service_accept.c, how a session begins in service_open.c,
 * what it is then in service_session.c, or in service_web.c. */
#include "net/service_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *service_mode_name(enum service_mode mode)
{
    switch (mode) {
    case SERVICE_PLAIN: return "plain";
    case SERVICE_STARTTLS: return "starttls";
    case SERVICE_TLS: return "tls";
    case SERVICE_HTTP: return "http";
    }
    return "unknown";
}

/* RESULT_OK, RESULT_MEMORY. */
static enum result copy_proxies(struct service *service, const struct service_config *config)
{
    static const struct net_prefix loopback[] = {{4, 8, {127}}, {6, 128, {[15] = 1}}};
    bool is_given = config->nproxies > 0;
    size_t n = is_given ? config->nproxies : sizeof loopback / sizeof loopback[0];
    struct net_prefix *proxies = calloc(n, sizeof *proxies);
    if (!proxies)
        return RESULT_MEMORY;
    memcpy(proxies, is_given ? config->proxies : loopback, n * sizeof *proxies);
    service->config.proxies = service->proxies = proxies;
    service->config.nproxies = n;
    return RESULT_OK;
}

struct service *service_new(uv_loop_t *loop, const struct service_config *config)
{
    struct service *service = calloc(1, sizeof *service);
    if (!service)
        return NULL;
    service->loop = loop;
    service->config = *config;
    if (copy_proxies(service, config) != RESULT_OK) {
        free(service);
        return NULL;
    }
    if (service->config.sessions_max == 0)
        service->config.sessions_max = 1000;
    if (service->config.handshake_timeout_ms == 0)
        service->config.handshake_timeout_ms = 10 * 1000;
    if (service->config.challenges_per_s == 0)
        service->config.challenges_per_s = 50;
    if (service->config.linger_ms == 0)
        service->config.linger_ms = 2000;
    if (service->config.paused_look_ms == 0)
        service->config.paused_look_ms = 5000;
    service->tls = tls_context_ref(config->tls);
    service->spare_fd = service_spare_open();
    uv_idle_init(loop, &service->pump);
    uv_timer_init(loop, &service->accept_again);
    uv_timer_init(loop, &service->grace);
    service->pump.data = service->accept_again.data = service->grace.data = service;
    return service;
}

void service_set_tls(struct service *service, struct tls_context *tls)
{
    tls_context_ref(tls);
    tls_context_unref(&service->tls);
    service->tls = tls;
}

void service_set_smtp(struct service *service, const struct smtp_server_config *smtp)
{
    service->config.smtp = *smtp;
}

size_t service_sessions(const struct service *service)
{
    return service->sessions.count - service->nweb;
}

/* ---- stopping ---- */

static void free_service(struct service *service)
{
    void (*on_stopped)(void *) = service->on_stopped;
    void *context = service->on_stopped_context;
    tls_context_unref(&service->tls);
    if (service->spare_fd >= 0)
        close(service->spare_fd);
    free(service->proxies);
    free(service);
    if (on_stopped)
        on_stopped(context);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct service *service = handle->data;
    if (--service->pending_closes == 0)
        free_service(service);
}

/* Ports and sessions first, then the service's own handles. */
void service_one_less(struct service *service)
{
    if (!service->is_stopping || !list_is_empty(&service->ports) || !list_is_empty(&service->sessions) || service->pending_closes > 0)
        return;
    service->pending_closes = 3;
    uv_close((uv_handle_t *)&service->pump, on_handle_closed);
    uv_close((uv_handle_t *)&service->accept_again, on_handle_closed);
    uv_close((uv_handle_t *)&service->grace, on_handle_closed);
}

static void on_grace_over(uv_timer_t *timer)
{
    struct service *service = timer->data;
    LIST_EACH_SAFE(node, after, &service->sessions)
        service_session_kill(LIST_OWNER(node, struct service_session, node));
}

void service_stop(struct service *service, int64_t grace_ms, void (*on_stopped)(void *), void *context)
{
    assert(!service->is_stopping);
    service->is_stopping = true;
    service->on_stopped = on_stopped;
    service->on_stopped_context = context;
    uv_timer_stop(&service->accept_again);
    LIST_EACH_SAFE(port, after, &service->ports)
        service_port_close(LIST_OWNER(port, struct service_port, node));
    LIST_EACH_SAFE(node, after, &service->sessions)
        service_session_shut(LIST_OWNER(node, struct service_session, node));
    uv_timer_start(&service->grace, on_grace_over, grace_ms > 0 ? (uint64_t)grace_ms : 0, 0);
    service_one_less(service);
}
