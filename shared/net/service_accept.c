/* Ports: listening sockets, and what to do when there are no descriptors left.
 *
 * We accept by ourselves rather than through uv_listen: libuv cannot stop accepting, so that a process without descriptors would spin on the ready socket,
 * and a refusal needs no stream. */
#include "net/service_internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 511, ACCEPT_AGAIN_MS = 500 };

int service_spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* ---- accepting ---- */

static void pause_accepting(struct service *service)
{
    LIST_EACH(node, &service->ports)
        uv_poll_stop(&LIST_OWNER(node, struct service_port, node)->poll);
    uv_timer_start(&service->accept_again, service_accept_again, ACCEPT_AGAIN_MS, 0);
}

/* No descriptor left: with the spare one the waiting connection is taken and closed, so that its client knows and the socket is not ready for ever.
 * False: not even that; pause. */
static bool shed_one(struct service_port *port)
{
    struct service *service = port->service;
    if (!service->is_short_told)
        log_event(service->config.log, LOG_ERROR, "descriptors-exhausted", LOG_INT("sessions", service->sessions.count),
                  LOG_TEXT("reason", "new connections are closed; raise the limit of open files (LimitNOFILE=)"));
    service->is_short_told = true;
    if (service->spare_fd < 0)
        service->spare_fd = service_spare_open();
    if (service->spare_fd < 0)
        return false;
    close(service->spare_fd);
    int fd = accept4(port->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        close(fd);
    service->spare_fd = service_spare_open();
    return true;
}

/* False: nothing more to accept now. */
static bool accept_one(struct service_port *port)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    int fd = accept4(port->fd, (struct sockaddr *)&address, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        port->service->is_short_told = false;
        service_session_open(port, fd, &address);
        return true;
    }
    switch (errno) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
        return true;
    case EMFILE:
    case ENFILE:
        if (shed_one(port))
            return true;
        pause_accepting(port->service);
        return false;
    case ENOBUFS:
    case ENOMEM:
        pause_accepting(port->service);
        return false;
    default:
        return false;
    }
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct service_port *port = poll->data;
    (void)events;
    if (status != 0)
        return;
    for (int n = 0; n < SERVICE_ACCEPTS_MAX && !port->service->is_stopping; n++)
        if (!accept_one(port))
            break;
}

void service_accept_again(uv_timer_t *timer)
{
    struct service *service = timer->data;
    LIST_EACH(node, &service->ports) {
        struct service_port *port = LIST_OWNER(node, struct service_port, node);
        uv_poll_start(&port->poll, UV_READABLE, on_acceptable);
    }
}

/* ---- listening ---- */

/* A bound socket, or -1 and errno. */
static int open_socket(const struct sockaddr_storage *address, bool is_shared)
{
    const int on = 1;
    bool is_v6 = address->ss_family == AF_INET6;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    /* V6ONLY: an address is what it says, and counts as itself. REUSEADDR: not to wait for old connections' TIME_WAIT at a restart. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!is_v6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
        (!is_shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        bind(fd, (const struct sockaddr *)address, is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static enum result explain(int error, const struct sockaddr_storage *address, char *why, size_t why_size)
{
    char text[NET_ADDRESS_TEXT];
    struct net_address named;
    memcpy(&named, address, sizeof named);
    net_address_format(&named, text);
    switch (error) {
    case EADDRINUSE:
        snprintf(why, why_size, "%s: this port is in use already, by another program or by another line of the configuration", text);
        return RESULT_EXISTS;
    case EACCES:
    case EPERM:
        snprintf(why, why_size, "%s: ports below 1024 need root or the capability CAP_NET_BIND_SERVICE", text);
        return RESULT_DENIED;
    case EADDRNOTAVAIL:
        snprintf(why, why_size, "%s: this machine has no such address", text);
        return RESULT_NOT_FOUND;
    default:
        snprintf(why, why_size, "%s: %s", text, strerror(error));
        return RESULT_IO;
    }
}

static void on_port_closed(uv_handle_t *handle)
{
    struct service_port *port = handle->data;
    struct service *service = port->service;
    close(port->fd);
    list_remove(&port->node);
    free(port);
    service_one_less(service);
}

void service_port_close(struct service_port *port)
{
    if (!uv_is_closing((uv_handle_t *)&port->poll))
        uv_close((uv_handle_t *)&port->poll, on_port_closed);
}

enum result service_probe(const struct sockaddr_storage *address, char *why, size_t why_size)
{
    int fd = open_socket(address, false);
    if (fd < 0)
        return explain(errno, address, why, why_size);
    close(fd);
    return RESULT_OK;
}

enum result service_listen(struct service *service, const struct service_listener *listener, struct sockaddr_storage *bound, char *why, size_t why_size)
{
    struct service_port *port = calloc(1, sizeof *port);
    socklen_t len = sizeof *bound;
    assert(service->tls || listener->mode == SERVICE_PLAIN || listener->mode == SERVICE_HTTP);
    if (!port) {
        snprintf(why, why_size, "out of memory");
        return RESULT_IO;
    }
    port->fd = open_socket(&listener->address, service->config.reuse_port);
    bool is_open = port->fd >= 0 && listen(port->fd, BACKLOG) == 0;
    if (!is_open || uv_poll_init(service->loop, &port->poll, port->fd) != 0) {
        enum result result = explain(!is_open ? errno : EIO, &listener->address, why, why_size);
        if (port->fd >= 0)
            close(port->fd);
        free(port);
        return result;
    }
    if (bound && getsockname(port->fd, (struct sockaddr *)bound, &len) != 0)
        *bound = listener->address;
    port->service = service;
    port->listener = *listener;
    port->poll.data = port;
    list_append(&service->ports, &port->node);
    uv_poll_start(&port->poll, UV_READABLE, on_acceptable);
    return RESULT_OK;
}
