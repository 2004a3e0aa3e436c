/* Where the laptop is: which network, whether that changed, and whether it has slept. One implementation per system (monitor_linux.c; a portable one that polls, monitor_poll.c), one header.
 *
 * on_change is called from the loop, never from inside monitor_start, when something that matters to connections has changed and has been quiet for MONITOR_QUIET_MS (at most
 * MONITOR_LATEST_MS after the first sign), and once soon after the start, when the present network is known. Duplicates are held back: an event whose facts are those of the last one is not told
(a cable that was out for less than the quiet time, a router advertisement, a temporary IPv6 address).
 *
 *   Linux    rtnetlink: links, addresses, routes (default gateway); the neighbour table for the gateway's MAC, asked for when it is not there yet; nl80211 for the SSID. Without netlink
 *            (some sandboxes) uv_interface_addresses is compared every poll_ms.
 *   others   BSD: AF_ROUTE; Windows: NotifyIpInterfaceChange, whose callback comes on a thread of its own (uv_async). Both fit: nothing here names a descriptor.
 *
 * Sleep: CLOCK_BOOTTIME runs on while CLOCK_MONOTONIC stands still; the difference is looked at with every event of the system and by monitor_look, which the agent calls when a timer of its own
 * fires. Where the kernel tells (a timer that is cancelled when the clock is set, which a resume does), at once. So a laptop at rest has no timer for it.
 *
 * The key of a network is a keyed hash (crypto_keyed_hash under `secret`) of SSID and prefix, without an SSID of the gateway's MAC and prefix, so that no visited place can be read from the disk.
 * A network without either (a tunnel, a mobile modem, the portable implementation) has none. */
#ifndef POSTERN_NET_MONITOR_H
#define POSTERN_NET_MONITOR_H

#include "base/log.h"
#include "base/result.h"
#include "crypto/crypto.h"

#include <uv.h>

enum { MONITOR_QUIET_MS = 100, MONITOR_LATEST_MS = 1000, MONITOR_POLL_MS = 15 * 1000, MONITOR_GATEWAY_MS = 250, MONITOR_NETWORK_KEY = 16 };

struct monitor_event {
    bool is_up;       /* some address besides loopback and link-local ones */
    bool has_key;     /* the network can be told from others */
    uint8_t key[MONITOR_NETWORK_KEY];
    bool has_changed; /* links, addresses or routes are not those of the last event (which may leave the key as it was), or the gateway is another. Not set when merely the key has
                       * become known: the gateway was slow to answer */
    bool has_slept;
};

struct monitor_config {
    uint8_t secret[CRYPTO_KEY];
    int64_t poll_ms; /* 0: MONITOR_POLL_MS; only where the system does not tell */
    const struct log *log;
    void (*on_change)(void *context, const struct monitor_event *event);
    void *context;
};

struct monitor;
/* RESULT_OK, RESULT_MEMORY, RESULT_IO. Falls back to polling by itself. */
MUST_CHECK enum result monitor_start(struct monitor **out, uv_loop_t *loop, const struct monitor_config *config);
/* Has the machine slept since anybody last looked? on_change follows if so. Also asks again for a gateway that did not say its MAC in time. */
void monitor_look(struct monitor *monitor);
/* Whether this machine still has that address on some interface: a session whose own address is gone is dead. */
bool monitor_has_address(const struct sockaddr *address);
/* on_closed when everything is closed; then the memory is gone. Clears the pointer. */
void monitor_stop(struct monitor **monitor, void (*on_closed)(void *context), void *context);

#endif
