/* Linux: rtnetlink tells of changes and answers questions, nl80211 knows the SSID, a timer that never comes tells of a clock that was set (as a resume does).
 *
 * Nothing here waits: the kernel answers a netlink question before the call that asks it returns. Each question has a socket of its own, so an answer that is cut short
 * (MONITOR_DUMP_MAX) leaves nothing behind. At rest only descriptors are watched, no timer runs.
 *
 * The gateway's MAC may not be known yet, when nobody has spoken to it. Then it gets an empty datagram for its discard port, which makes the kernel ask for the MAC, and for at
 * most MONITOR_GATEWAY_MS we hear the neighbours' messages, which are too many to listen to always. */
#include "net/monitor_netlink.h"

#ifdef __linux__

#include "net/address.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nl80211.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    ANSWER_MAX = 32 * 1024,             /* octets of one datagram of the kernel's */
    REQUEST_MAX = 256,
    MONITOR_DUMP_MAX = 1024 * 1024,     /* octets of one answer; the rest is not looked at */
    READS_MAX = 64,                     /* datagrams in one turn of the loop */
    DISCARD_PORT = 9,                   /* RFC 863 */
};
static const time_t NEVER = 4102444800; /* the year 2100 */

struct linux_state {
    struct mnl_socket *events;
    int clock_fd;
    uv_poll_t events_poll, clock_poll;
    bool has_clock_poll, waits_for_gateway;
    uv_timer_t gateway_timer;
    struct monitor_table table;
    struct monitor_facts facts; /* being gathered */
    struct slice heard;         /* of memory */
    _Alignas(8) char memory[ANSWER_MAX];
};

/* ---- questions ---- */

/* 1: state->heard is a datagram from the kernel. 0: of somebody else. Negative: -errno. */
static int receive(struct linux_state *state, const struct mnl_socket *socket)
{
    struct sockaddr_nl from = {0};
    struct iovec room = {state->memory, sizeof state->memory};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &room, .msg_iovlen = 1};
    ssize_t n = recvmsg(mnl_socket_get_fd(socket), &message, MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    if (message.msg_flags & MSG_TRUNC)
        return -EMSGSIZE;
    state->heard = slice_of(state->memory, (size_t)n);
    return from.nl_pid == 0 && n > 0;
}

typedef enum monitor_read answer_reader(struct linux_state *state, uint32_t sequence, void *context);

static struct mnl_socket *question_open(int protocol)
{
    int yes = 1;
    struct mnl_socket *socket = mnl_socket_open2(protocol, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        mnl_socket_close(socket);
        socket = NULL;
    }
    /* Answers come filtered from a kernel that can (4.20); others send more. */
    if (socket)
        mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &yes, sizeof yes);
    return socket;
}

/* The first octets of an answer, up to MONITOR_DUMP_MAX. False: none could be had, or the kernel refused. */
static bool hear_answer(struct linux_state *state, const struct mnl_socket *socket, uint32_t sequence, answer_reader *reader, void *context)
{
    for (size_t octets = 0; octets < MONITOR_DUMP_MAX; octets += state->heard.len) {
        int heard = receive(state, socket);
        if (heard < 0)
            return false;
        enum monitor_read read = heard ? reader(state, sequence, context) : MONITOR_READ_MORE;
        if (read != MONITOR_READ_MORE)
            return read == MONITOR_READ_DONE;
    }
    return true;
}

static bool ask(struct linux_state *state, int protocol, struct nlmsghdr *request, answer_reader *reader, void *context)
{
    static const uint32_t SEQUENCE = 1; /* each socket asks once */
    struct mnl_socket *socket = question_open(protocol);
    if (!socket)
        return false;
    request->nlmsg_seq = SEQUENCE;
    bool is_answered = mnl_socket_sendto(socket, request, request->nlmsg_len) > 0 && hear_answer(state, socket, SEQUENCE, reader, context);
    mnl_socket_close(socket);
    return is_answered;
}

static struct nlmsghdr *request_start(char memory[static REQUEST_MAX], uint16_t type, uint16_t flags)
{
    struct nlmsghdr *request = mnl_nlmsg_put_header(memory);
    request->nlmsg_type = type;
    request->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return request;
}

/* ---- links, addresses, routes ---- */

static enum monitor_read read_table(struct linux_state *state, uint32_t sequence, void *context)
{
    bool has_changed = false;
    (void)context;
    return monitor_table_read(&state->table, state->heard, sequence, &has_changed);
}

static bool ask_links(struct linux_state *state)
{
    _Alignas(8) char memory[REQUEST_MAX];
    struct nlmsghdr *request = request_start(memory, RTM_GETLINK, NLM_F_DUMP);
    mnl_nlmsg_put_extra_header(request, sizeof(struct ifinfomsg));
    mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    return ask(state, NETLINK_ROUTE, request, read_table, NULL);
}

static bool ask_addresses(struct linux_state *state)
{
    _Alignas(8) char memory[REQUEST_MAX];
    struct nlmsghdr *request = request_start(memory, RTM_GETADDR, NLM_F_DUMP);
    mnl_nlmsg_put_extra_header(request, sizeof(struct ifaddrmsg));
    return ask(state, NETLINK_ROUTE, request, read_table, NULL);
}

/* A refusal means that there are none: no such table yet, or no such family. */
static void ask_routes(struct linux_state *state, uint8_t family)
{
    _Alignas(8) char memory[REQUEST_MAX];
    struct nlmsghdr *request = request_start(memory, RTM_GETROUTE, NLM_F_DUMP);
    struct rtmsg *what = mnl_nlmsg_put_extra_header(request, sizeof *what);
    what->rtm_family = family;
    what->rtm_table = RT_TABLE_MAIN;
    (void)!ask(state, NETLINK_ROUTE, request, read_table, NULL);
}

static bool ask_table(struct linux_state *state)
{
    state->table = (struct monitor_table){0};
    if (!ask_links(state) || !ask_addresses(state))
        return false;
    ask_routes(state, AF_INET);
    ask_routes(state, AF_INET6);
    return true;
}

/* ---- the SSID ---- */

static enum monitor_read read_family(struct linux_state *state, uint32_t sequence, void *context)
{
    return monitor_family_read(state->heard, sequence, context);
}

static enum monitor_read read_ssid(struct linux_state *state, uint32_t sequence, void *context)
{
    const uint32_t *interface = context;
    return monitor_ssid_read(*interface, state->heard, sequence, state->facts.ssid, &state->facts.ssid_len);
}

/* A kernel without wireless refuses the first question, an interface without the second. */
static void ask_ssid(struct linux_state *state, uint32_t interface)
{
    _Alignas(8) char memory[REQUEST_MAX];
    uint16_t family = 0;
    struct nlmsghdr *request = request_start(memory, GENL_ID_CTRL, NLM_F_ACK);
    struct genlmsghdr *what = mnl_nlmsg_put_extra_header(request, sizeof *what);
    what->cmd = CTRL_CMD_GETFAMILY;
    what->version = 1;
    mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, NL80211_GENL_NAME);
    if (!ask(state, NETLINK_GENERIC, request, read_family, &family) || family < NLMSG_MIN_TYPE)
        return;
    request = request_start(memory, family, NLM_F_ACK);
    what = mnl_nlmsg_put_extra_header(request, sizeof *what);
    what->cmd = NL80211_CMD_GET_INTERFACE;
    mnl_attr_put_u32(request, NL80211_ATTR_IFINDEX, interface);
    (void)!ask(state, NETLINK_GENERIC, request, read_ssid, &interface);
}

/* ---- the gateway's MAC ---- */

static enum monitor_read read_gateway(struct linux_state *state, uint32_t sequence, void *context)
{
    return monitor_neighbour_read(context, state->heard, sequence, state->facts.mac, &state->facts.mac_len);
}

/* A copy, since the facts are being filled. */
static bool ask_gateway(struct linux_state *state, struct monitor_route route)
{
    _Alignas(8) char memory[REQUEST_MAX];
    struct nlmsghdr *request = request_start(memory, RTM_GETNEIGH, NLM_F_DUMP);
    struct ndmsg *what = mnl_nlmsg_put_extra_header(request, sizeof *what);
    what->ndm_family = route.family == 4 ? AF_INET : AF_INET6;
    mnl_attr_put_u32(request, NDA_IFINDEX, route.interface);
    (void)!ask(state, NETLINK_ROUTE, request, read_gateway, &route);
    return state->facts.mac_len > 0;
}

/* What comes back (an ICMP message, most likely) is nobody's any more. */
static void speak_to_gateway(const struct monitor_route *route)
{
    struct net_address gateway = net_address_from_octets(route->family, route->gateway, route->interface, DISCARD_PORT);
    char interface[IF_NAMESIZE];
    int fd = socket(gateway.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (if_indextoname(route->interface, interface)) /* not through a tunnel that takes everything; where that is forbidden, as the routes say */
        (void)!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface));
    (void)!sendto(fd, "", 0, MSG_NOSIGNAL, &gateway.any, net_address_len(&gateway));
    close(fd);
}

static void hear_neighbours(struct linux_state *state, bool shall_hear)
{
    int group = RTNLGRP_NEIGH;
    mnl_socket_setsockopt(state->events, shall_hear ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, &group, sizeof group);
}

static void gateway_wait_end(struct monitor *monitor)
{
    struct linux_state *state = monitor->state;
    state->waits_for_gateway = false;
    hear_neighbours(state, false);
    uv_timer_stop(&state->gateway_timer);
    monitor_gathered(monitor, &state->facts);
}

static void on_gateway_timer(uv_timer_t *timer)
{
    gateway_wait_end(timer->data);
}

/* Heard before asked, so that no answer falls between. False: there is nothing to wait for. */
static bool gateway_wait_start(struct linux_state *state, const struct monitor_route *route)
{
    hear_neighbours(state, true);
    speak_to_gateway(route);
    if (ask_gateway(state, *route)) {
        hear_neighbours(state, false);
        return false;
    }
    state->waits_for_gateway = true;
    uv_timer_start(&state->gateway_timer, on_gateway_timer, MONITOR_GATEWAY_MS, 0);
    return true;
}

/* ---- the source ---- */

static void linux_gather(struct monitor *monitor)
{
    struct linux_state *state = monitor->state;
    if (!ask_table(state)) {
        log_event(monitor->config.log, LOG_WARNING, "monitor-no-answer", LOG_TEXT("reason", "the system did not say which addresses it has"));
        monitor_gathered(monitor, NULL);
        return;
    }
    monitor_table_facts(&state->table, &state->facts);
    const struct monitor_route *route = monitor_facts_route(&state->facts);
    if (route)
        ask_ssid(state, route->interface);
    bool needs_mac = route && route->has_gateway && state->facts.ssid_len == 0 && monitor_table_has_neighbours(&state->table, route->interface);
    if (!needs_mac || ask_gateway(state, *route) || !gateway_wait_start(state, route))
        monitor_gathered(monitor, &state->facts);
}

/* A fact that changes is a sign; messages that were lost (ENOBUFS), or that we do not understand, are one too. */
static void hear_event(struct monitor *monitor)
{
    struct linux_state *state = monitor->state;
    bool has_changed = false;
    if (monitor_table_read(&state->table, state->heard, 0, &has_changed) == MONITOR_READ_ERROR || has_changed)
        monitor_sign(monitor);
    if (!state->waits_for_gateway)
        return;
    struct monitor_route route = *monitor_facts_route(&state->facts);
    read_gateway(state, 0, &route);
    if (state->facts.mac_len > 0)
        gateway_wait_end(monitor);
}

/* libuv gives a descriptor up when it shows an error, which for an overrun is no reason to. Any other is told once, as a sign, and changes are heard no more. */
static void on_events(uv_poll_t *poll, int status, int events)
{
    struct monitor *monitor = poll->data;
    struct linux_state *state = monitor->state;
    int heard = 0;
    (void)events;
    monitor_look_at_clock(monitor);
    for (int i = 0; i < READS_MAX && !monitor->is_stopping && heard != -EAGAIN; i++) {
        heard = receive(state, state->events);
        if (heard > 0)
            hear_event(monitor);
        else if (heard < 0 && heard != -EAGAIN)
            monitor_sign(monitor);
    }
    if (status < 0 && !monitor->is_stopping && (heard >= 0 || heard == -EAGAIN || heard == -ENOBUFS || heard == -EMSGSIZE))
        uv_poll_start(poll, UV_READABLE, on_events);
}

/* Reading says ECANCELED when the clock was set; the timer stays armed. */
static void on_clock(uv_poll_t *poll, int status, int events)
{
    struct monitor *monitor = poll->data;
    struct linux_state *state = monitor->state;
    uint64_t expirations;
    (void)status, (void)events;
    (void)!read(state->clock_fd, &expirations, sizeof expirations);
    monitor_look_at_clock(monitor);
}

static void linux_stop(struct monitor *monitor)
{
    struct linux_state *state = monitor->state;
    monitor_close_handle(monitor, (uv_handle_t *)&state->events_poll);
    monitor_close_handle(monitor, (uv_handle_t *)&state->gateway_timer);
    if (state->has_clock_poll)
        monitor_close_handle(monitor, (uv_handle_t *)&state->clock_poll);
}

/* After the handles: their callbacks may still have been reading. */
static void linux_free(void *context)
{
    struct linux_state *state = context;
    if (state->events)
        mnl_socket_close(state->events);
    if (state->clock_fd >= 0)
        close(state->clock_fd);
    crypto_wipe(state, sizeof *state);
    free(state);
}

static int clock_open(void)
{
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    const struct itimerspec never = {.it_value = {.tv_sec = NEVER}};
    if (fd >= 0 && timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool events_open(struct linux_state *state)
{
    static const unsigned GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    state->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return state->events && mnl_socket_bind(state->events, GROUPS, MNL_SOCKET_AUTOPID) == 0 && ask_table(state);
}

enum result monitor_linux_start(struct monitor *monitor)
{
    static const struct monitor_source SOURCE = {"netlink", linux_gather, linux_stop, linux_free};
    struct linux_state *state = calloc(1, sizeof *state);
    if (!state)
        return RESULT_MEMORY;
    state->clock_fd = -1;
    if (!events_open(state) || uv_poll_init(monitor->loop, &state->events_poll, mnl_socket_get_fd(state->events)) != 0) {
        linux_free(state);
        return RESULT_IO;
    }
    monitor->source = &SOURCE;
    monitor->state = state;
    monitor_open_handle(monitor, (uv_handle_t *)&state->events_poll);
    uv_poll_start(&state->events_poll, UV_READABLE, on_events);
    uv_timer_init(monitor->loop, &state->gateway_timer);
    monitor_open_handle(monitor, (uv_handle_t *)&state->gateway_timer);
    state->clock_fd = clock_open();
    state->has_clock_poll = state->clock_fd >= 0 && uv_poll_init(monitor->loop, &state->clock_poll, state->clock_fd) == 0;
    if (state->has_clock_poll) {
        monitor_open_handle(monitor, (uv_handle_t *)&state->clock_poll);
        uv_poll_start(&state->clock_poll, UV_READABLE, on_clock);
    }
    return RESULT_OK;
}

#endif
