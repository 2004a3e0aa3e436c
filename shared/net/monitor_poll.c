/* The portable source: libuv's list of addresses, looked at every poll_ms. It knows no routes, so the networks have no key. */
#include "net/monitor_internal.h"

#include <stdlib.h>
#include <string.h>

struct poll_state {
    uv_timer_t timer;
    struct monitor_facts last;
};

static uint8_t prefix_of(const uint8_t *netmask, size_t len)
{
    uint8_t bits = 0;
    while (bits < len * 8 && (netmask[bits / 8] >> (7 - bits % 8) & 1))
        bits++;
    return bits;
}

/* Interfaces have names here and no numbers; a hash (FNV-1a) tells them apart well enough. */
static uint32_t number_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash | 1;
}

static void add(struct monitor_facts *facts, const uv_interface_address_t *from)
{
    struct monitor_address address = {.interface = number_of(from->name)};
    if (from->address.address4.sin_family == AF_INET) {
        address.family = 4;
        memcpy(address.octets, &from->address.address4.sin_addr, 4);
        address.prefix = prefix_of((const uint8_t *)&from->netmask.netmask4.sin_addr, 4);
    } else if (from->address.address6.sin6_family == AF_INET6) {
        address.family = 6;
        memcpy(address.octets, &from->address.address6.sin6_addr, 16);
        address.prefix = prefix_of((const uint8_t *)&from->netmask.netmask6.sin6_addr, 16);
    }
    if (address.family && !from->is_internal && monitor_octets_matter(address.family, address.octets))
        monitor_facts_add(facts, &address);
}

static bool look(struct monitor_facts *facts)
{
    uv_interface_address_t *all = NULL;
    int n = 0;
    *facts = (struct monitor_facts){0};
    if (uv_interface_addresses(&all, &n) != 0)
        return false;
    for (int i = 0; i < n; i++)
        add(facts, &all[i]);
    uv_free_interface_addresses(all, n);
    return true;
}

static void poll_gather(struct monitor *monitor)
{
    struct monitor_facts facts;
    monitor_gathered(monitor, look(&facts) ? &facts : NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct monitor *monitor = timer->data;
    struct poll_state *state = monitor->state;
    struct monitor_facts facts;
    monitor_look_at_clock(monitor);
    if (!look(&facts) || memcmp(&facts, &state->last, sizeof facts) == 0)
        return;
    state->last = facts;
    monitor_sign(monitor);
}

static void poll_stop(struct monitor *monitor)
{
    struct poll_state *state = monitor->state;
    monitor_close_handle(monitor, (uv_handle_t *)&state->timer);
}

enum result monitor_poll_start(struct monitor *monitor)
{
    static const struct monitor_source SOURCE = {"poll", poll_gather, poll_stop, free};
    struct poll_state *state = calloc(1, sizeof *state);
    if (!state)
        return RESULT_MEMORY;
    monitor->source = &SOURCE;
    monitor->state = state;
    look(&state->last);
    uv_timer_init(monitor->loop, &state->timer);
    monitor_open_handle(monitor, (uv_handle_t *)&state->timer);
    uv_timer_start(&state->timer, on_timer, (uint64_t)monitor->config.poll_ms, (uint64_t)monitor->config.poll_ms);
    return RESULT_OK;
}
