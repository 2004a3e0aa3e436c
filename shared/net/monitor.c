/* The monitor's life: signs are gathered up, the source asked for the facts, and what is new told. Which source, monitor_start decides. */
#include "net/monitor_internal.h"

#include "net/stream.h"

#include <assert.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- sleep ---- */

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How long the machine has slept since its start. Without CLOCK_BOOTTIME the wall clock stands in: then one that is set looks like a sleep, and does no harm. */
static int64_t suspended_now_ms(void)
{
#ifdef CLOCK_BOOTTIME
    const clockid_t running = CLOCK_BOOTTIME;
#else
    const clockid_t running = CLOCK_REALTIME;
#endif
    /* Between two readings we may be put aside for a while: the quickest of a few tells. */
    int64_t least_ms = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t awake_ms = clock_ms(CLOCK_MONOTONIC);
        int64_t all_ms = clock_ms(running);
        if (all_ms - awake_ms < least_ms)
            least_ms = all_ms - awake_ms;
    }
    return least_ms;
}

void monitor_look_at_clock(struct monitor *monitor)
{
    if (!monitor_slept_since(&monitor->suspended_ms, suspended_now_ms()))
        return;
    monitor->has_slept = true;
    monitor_sign(monitor);
}

/* The key may be missing because the gateway was slow to answer: by now it has spoken. */
void monitor_look(struct monitor *monitor)
{
    monitor_look_at_clock(monitor);
    const struct monitor_route *route = monitor_facts_route(&monitor->told);
    if (monitor->has_told && route && route->has_gateway && monitor->told.mac_len == 0 && monitor->told.ssid_len == 0)
        monitor_sign(monitor);
}

/* ---- signs, facts, events ---- */

static void gather(struct monitor *monitor)
{
    monitor->is_gathering = true;
    monitor->shall_gather_again = false;
    monitor->ngathered++;
    monitor->source->gather(monitor);
}

static void on_quiet(uv_timer_t *timer)
{
    struct monitor *monitor = timer->data;
    if (monitor->is_gathering)
        monitor->shall_gather_again = true;
    else
        gather(monitor);
}

void monitor_sign(struct monitor *monitor)
{
    int64_t now_ms = loop_now_ms(monitor->loop);
    if (monitor->is_stopping)
        return;
    if (!uv_is_active((uv_handle_t *)&monitor->quiet))
        monitor->first_sign_ms = now_ms;
    int64_t latest_ms = monitor->first_sign_ms + MONITOR_LATEST_MS - now_ms;
    int64_t wait_ms = latest_ms < MONITOR_QUIET_MS ? latest_ms : MONITOR_QUIET_MS;
    uv_timer_start(&monitor->quiet, on_quiet, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void tell(struct monitor *monitor, const struct monitor_facts *facts)
{
    struct monitor_event event;
    bool is_new = monitor_facts_event(monitor->has_told ? &monitor->told : NULL, facts, monitor->has_slept, monitor->config.secret, &event);
    monitor->told = *facts;
    monitor->has_told = true;
    monitor->has_slept = false;
    if (!is_new)
        return;
    /* Neither key nor address: the log is no diary of places. */
    log_event(monitor->config.log, LOG_INFO, "network-change", LOG_INT("up", event.is_up), LOG_INT("known", event.has_key),
              LOG_INT("changed", event.has_changed), LOG_INT("slept", event.has_slept));
    monitor->config.on_change(monitor->config.context, &event);
}

void monitor_gathered(struct monitor *monitor, const struct monitor_facts *facts)
{
    bool again = monitor->shall_gather_again;
    assert(monitor->is_gathering);
    monitor->is_gathering = monitor->shall_gather_again = false;
    if (again && !monitor->is_stopping)
        monitor_sign(monitor);
    if (facts && !monitor->is_stopping)
        tell(monitor, facts); /* last: it may stop us */
}

bool monitor_is_settled(const struct monitor *monitor)
{
    return !monitor->is_gathering && !uv_is_active((const uv_handle_t *)&monitor->quiet);
}

/* ---- life ---- */

void monitor_open_handle(struct monitor *monitor, uv_handle_t *handle)
{
    handle->data = monitor;
    monitor->open_handles++;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct monitor *monitor = handle->data;
    if (--monitor->open_handles > 0)
        return;
    void (*on_closed)(void *context) = monitor->on_closed;
    void *context = monitor->closed_context;
    monitor->source->free(monitor->state);
    crypto_wipe(monitor, sizeof *monitor);
    free(monitor);
    on_closed(context);
}

void monitor_close_handle(struct monitor *monitor, uv_handle_t *handle)
{
    (void)monitor;
    uv_close(handle, on_handle_closed);
}

/* The system's own way of telling, or polling where there is none. */
static enum result start_source(struct monitor *monitor)
{
#ifdef __linux__
    enum result result = monitor_linux_start(monitor);
    if (result != RESULT_IO)
        return result;
    log_event(monitor->config.log, LOG_INFO, "monitor-polls", LOG_TEXT("reason", "the system does not tell of changes (no netlink)"));
#endif
    return monitor_poll_start(monitor);
}

static enum result start(struct monitor **out, uv_loop_t *loop, const struct monitor_config *config, enum result (*source)(struct monitor *monitor))
{
    *out = NULL;
    struct monitor *monitor = calloc(1, sizeof *monitor);
    if (!monitor)
        return RESULT_MEMORY;
    monitor->loop = loop;
    monitor->config = *config;
    if (monitor->config.poll_ms <= 0)
        monitor->config.poll_ms = MONITOR_POLL_MS;
    monitor->suspended_ms = suspended_now_ms();
    enum result result = source(monitor);
    if (result != RESULT_OK) {
        crypto_wipe(monitor, sizeof *monitor);
        free(monitor);
        return result;
    }
    uv_timer_init(loop, &monitor->quiet);
    monitor_open_handle(monitor, (uv_handle_t *)&monitor->quiet);
    monitor->first_sign_ms = loop_now_ms(loop);
    uv_timer_start(&monitor->quiet, on_quiet, 0, 0); /* where we are now: nothing to wait for */
    *out = monitor;
    return RESULT_OK;
}

enum result monitor_start(struct monitor **out, uv_loop_t *loop, const struct monitor_config *config)
{
    return start(out, loop, config, start_source);
}

enum result monitor_start_polling(struct monitor **out, uv_loop_t *loop, const struct monitor_config *config)
{
    return start(out, loop, config, monitor_poll_start);
}

void monitor_stop(struct monitor **monitor_at, void (*on_closed)(void *context), void *context)
{
    struct monitor *monitor = *monitor_at;
    *monitor_at = NULL;
    monitor->is_stopping = true;
    monitor->on_closed = on_closed;
    monitor->closed_context = context;
    monitor->source->stop(monitor);
    monitor_close_handle(monitor, (uv_handle_t *)&monitor->quiet);
}

/* ---- own addresses ---- */

static bool is_same_v6(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
    return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0 &&
           (a->sin6_scope_id == b->sin6_scope_id || a->sin6_scope_id == 0 || b->sin6_scope_id == 0);
}

static bool is_same_address(const struct sockaddr *wanted, const uv_interface_address_t *has)
{
    if (wanted->sa_family == AF_INET)
        return has->address.address4.sin_family == AF_INET &&
               ((const struct sockaddr_in *)(const void *)wanted)->sin_addr.s_addr == has->address.address4.sin_addr.s_addr;
    return has->address.address6.sin6_family == AF_INET6 && is_same_v6((const struct sockaddr_in6 *)(const void *)wanted, &has->address.address6);
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) /* all of 127/8 is here, though one of it stands on the interface */
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* When it can't be told (no memory), nothing is declared dead. */
bool monitor_has_address(const struct sockaddr *address)
{
    uv_interface_address_t *all = NULL;
    int n = 0;
    if ((address->sa_family != AF_INET && address->sa_family != AF_INET6) || is_loopback(address))
        return true;
    if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr)) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        memcpy(&v4.sin_addr, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr[12], sizeof v4.sin_addr);
        return monitor_has_address((const struct sockaddr *)&v4);
    }
    if (uv_interface_addresses(&all, &n) != 0)
        return true;
    bool is_here = false;
    for (int i = 0; i < n && !is_here; i++)
        is_here = is_same_address(address, &all[i]);
    uv_free_interface_addresses(all, n);
    return is_here;
}
