/* What monitor*.c share.
 *
 *   facts      what matters of where we are, and nothing else: two of them are compared octet by octet, so each is made from zero and kept sorted
 *   table      Linux: what the kernel has said, from which facts are made (pure; monitor_netlink.c)
 *   source     who knows the facts: monitor_linux.c, monitor_poll.c
 *
 *      quiet --- sign ---> waiting (MONITOR_QUIET_MS without another sign, at most MONITOR_LATEST_MS) ---> gathering ---> told, or the same as before ---> quiet
 *                                                                                                          (a sign meanwhile: once more)
 * Signs are cheap and may be wrong; gathering asks the system for everything anew; so a sign that was lost or came twice does no harm. */
#ifndef POSTERN_NET_MONITOR_INTERNAL_H
#define POSTERN_NET_MONITOR_INTERNAL_H

#include "net/monitor.h"

#include "base/slice.h"

enum {
    MONITOR_ADDRESSES_MAX = 64, /* more on one laptop are not looked at */
    MONITOR_MAC_MAX = 32,       /* octets of a link-layer address (the kernel's MAX_ADDR_LEN) */
    MONITOR_SSID_MAX = 32,      /* octets of an SSID (IEEE 802.11 9.4.2.2) */
    MONITOR_SLEEP_MIN_MS = 1000, /* a shorter sleep is none: no connection minds */
};

/* A value without padding that anybody looks at: made by {0}, so that memcmp tells. */
struct monitor_address {
    uint32_t interface;
    uint8_t family; /* 4 or 6 */
    uint8_t prefix;
    uint8_t octets[16];
    uint8_t unused[2];
};

struct monitor_route {
    uint32_t interface; /* 0: there is none */
    uint32_t metric;
    uint8_t family;
    uint8_t preference; /* of the router (RFC 4191 2.1): 0 high, 1 medium, 2 low */
    uint8_t has_gateway;
    uint8_t unused;
    uint8_t gateway[16];
};

struct monitor_facts {
    struct monitor_address addresses[MONITOR_ADDRESSES_MAX]; /* sorted; of links that run; none of loopback, link-local, temporary ones */
    uint32_t naddresses;
    struct monitor_route v4, v6;                             /* the best default routes */
    uint8_t mac_len, ssid_len;                               /* of the gateway of monitor_facts_route; 0: not known */
    uint8_t unused[2];
    uint8_t mac[MONITOR_MAC_MAX];
    uint8_t ssid[MONITOR_SSID_MAX];
};

/* ---- monitor_facts.c: pure ---- */

/* -1, 0, 1. */
int monitor_address_compare(const struct monitor_address *a, const struct monitor_address *b);
/* The better first: by metric, preference, and then by anything that is the same each time. */
int monitor_route_compare(const struct monitor_route *a, const struct monitor_route *b);
/* Loopback, link-local, unspecified and multicast addresses say nothing about where we are. */
bool monitor_octets_matter(uint8_t family, const uint8_t *octets);
/* Into its place; false: it was there, or there is no room. */
bool monitor_facts_add(struct monitor_facts *facts, const struct monitor_address *address);
/* The default route that stands for the network: IPv4's, else IPv6's; NULL: none. */
const struct monitor_route *monitor_facts_route(const struct monitor_facts *facts);
/* The key of the network; false: it can't be told from others. */
bool monitor_facts_key(const struct monitor_facts *facts, const uint8_t secret[static CRYPTO_KEY], uint8_t key[static MONITOR_NETWORK_KEY]);
/* What to tell of `now` when `before` has been told (NULL: nothing yet). False: nothing new. */
bool monitor_facts_event(const struct monitor_facts *before, const struct monitor_facts *now, bool has_slept, const uint8_t secret[static CRYPTO_KEY],
                         struct monitor_event *event);
/* suspended_ms: how long the machine has slept in all, at the last look; set to what it is now. */
bool monitor_slept_since(int64_t *suspended_ms, int64_t now_suspended_ms);

/* ---- the monitor, for its sources ---- */

struct monitor_source {
    const char *name;
    void (*gather)(struct monitor *monitor); /* leads to monitor_gathered, soon or at once, exactly once */
    void (*stop)(struct monitor *monitor);   /* closes by monitor_close_handle what it has opened */
    void (*free)(void *state);
};

struct monitor {
    uv_loop_t *loop;
    struct monitor_config config;
    const struct monitor_source *source;
    void *state; /* the source's */
    uv_timer_t quiet;
    int64_t first_sign_ms; /* while the timer runs */
    bool is_gathering, shall_gather_again, has_told, has_slept, is_stopping;
    struct monitor_facts told;
    int64_t suspended_ms;
    uint64_t ngathered;
    int open_handles;
    void (*on_closed)(void *context);
    void *closed_context;
};

void monitor_sign(struct monitor *monitor);
void monitor_look_at_clock(struct monitor *monitor);
/* facts: NULL when they could not be had; then those told last stay true, and the next sign asks again. */
void monitor_gathered(struct monitor *monitor, const struct monitor_facts *facts);
/* Counts a handle that has been initialised; its data is the monitor. */
void monitor_open_handle(struct monitor *monitor, uv_handle_t *handle);
void monitor_close_handle(struct monitor *monitor, uv_handle_t *handle);
/* Nothing is under way and no timer runs. */
bool monitor_is_settled(const struct monitor *monitor);

/* monitor_start without asking whether the system tells of changes. */
MUST_CHECK enum result monitor_start_polling(struct monitor **out, uv_loop_t *loop, const struct monitor_config *config);

/* RESULT_OK, RESULT_MEMORY, RESULT_IO: this source can't be had here, and nothing of it is left. */
MUST_CHECK enum result monitor_linux_start(struct monitor *monitor);
MUST_CHECK enum result monitor_poll_start(struct monitor *monitor);

#endif
