/* What is known of where the laptop is: when two looks see the same, and the key of the network. Pure. */
#include "net/monitor_internal.h"

#include <string.h>

enum { PRIVATE_MESSAGE_MAX = 3 + MONITOR_SSID_MAX + 2 + 16 };

int monitor_address_compare(const struct monitor_address *a, const struct monitor_address *b)
{
    if (a->interface != b->interface)
        return a->interface < b->interface ? -1 : 1;
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    return memcmp(a->octets, b->octets, sizeof a->octets);
}

int monitor_route_compare(const struct monitor_route *a, const struct monitor_route *b)
{
    if (a->metric != b->metric)
        return a->metric < b->metric ? -1 : 1;
    if (a->preference != b->preference)
        return a->preference < b->preference ? -1 : 1;
    if (a->interface != b->interface)
        return a->interface < b->interface ? -1 : 1;
    if (a->has_gateway != b->has_gateway)
        return a->has_gateway > b->has_gateway ? -1 : 1;
    return memcmp(a->gateway, b->gateway, sizeof a->gateway);
}

bool monitor_octets_matter(uint8_t family, const uint8_t *octets)
{
    static const uint8_t NONE[15];
    if (family == 4) /* 0/8, 127/8, 169.254/16 (RFC 3927), 224/4 and above */
        return octets[0] != 0 && octets[0] != 127 && octets[0] < 224 && !(octets[0] == 169 && octets[1] == 254);
    if (memcmp(octets, NONE, 15) == 0 && octets[15] <= 1) /* ::, ::1 */
        return false;
    return octets[0] != 0xff && !(octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80);
}

bool monitor_facts_add(struct monitor_facts *facts, const struct monitor_address *address)
{
    size_t at = 0;
    while (at < facts->naddresses && monitor_address_compare(&facts->addresses[at], address) < 0)
        at++;
    if (at < facts->naddresses && monitor_address_compare(&facts->addresses[at], address) == 0)
        return false;
    if (facts->naddresses == MONITOR_ADDRESSES_MAX)
        return false;
    memmove(&facts->addresses[at + 1], &facts->addresses[at], (facts->naddresses - at) * sizeof *address);
    facts->addresses[at] = *address;
    facts->naddresses++;
    return true;
}

const struct monitor_route *monitor_facts_route(const struct monitor_facts *facts)
{
    if (facts->v4.interface)
        return &facts->v4;
    return facts->v6.interface ? &facts->v6 : NULL;
}

/* The first `bits` of octets. */
static void mask(const uint8_t *octets, uint8_t bits, uint8_t out[static 16])
{
    memset(out, 0, 16);
    for (size_t i = 0; i < 16 && i * 8 < bits; i++) {
        unsigned kept = bits - i * 8 >= 8 ? 8 : (unsigned)(bits - i * 8);
        out[i] = (uint8_t)(octets[i] & (0xff << (8 - kept)));
    }
}

static bool is_within(const struct monitor_address *address, const uint8_t *octets)
{
    uint8_t ours[16], theirs[16];
    mask(address->octets, address->prefix, ours);
    mask(octets, address->prefix, theirs);
    return memcmp(ours, theirs, 16) == 0;
}

/* The address of the route's interface whose prefix holds the gateway; else (an IPv6 gateway has a link-local address) the first there. The addresses are sorted
 * by the length of the prefix and then by the prefix, so which of several of ours in one network stands first does not matter. */
static const struct monitor_address *address_of_route(const struct monitor_facts *facts, const struct monitor_route *route)
{
    const struct monitor_address *first = NULL;
    for (size_t i = 0; i < facts->naddresses; i++) {
        const struct monitor_address *address = &facts->addresses[i];
        if (address->interface != route->interface || address->family != route->family)
            continue;
        if (route->has_gateway && is_within(address, route->gateway))
            return address;
        if (!first)
            first = address;
    }
    return first;
}

/* 'S' length SSID, or 'M' length MAC; then family, prefix length and prefix. */
bool monitor_facts_key(const struct monitor_facts *facts, const uint8_t secret[static CRYPTO_KEY], uint8_t key[static MONITOR_NETWORK_KEY])
{
    const struct monitor_route *route = monitor_facts_route(facts);
    const struct monitor_address *address = route ? address_of_route(facts, route) : NULL;
    uint8_t message[PRIVATE_MESSAGE_MAX] = {0}, hash[CRYPTO_HASH];
    bool has_ssid = facts->ssid_len > 0;
    memset(key, 0, MONITOR_NETWORK_KEY);
    if (!address || (!has_ssid && facts->mac_len == 0))
        return false;
    message[0] = has_ssid ? 'S' : 'M';
    message[1] = has_ssid ? facts->ssid_len : facts->mac_len;
    memcpy(message + 2, has_ssid ? facts->ssid : facts->mac, message[1]);
    uint8_t *rest = message + 2 + message[1];
    rest[0] = address->family;
    rest[1] = address->prefix;
    mask(address->octets, address->prefix, rest + 2);
    crypto_keyed_hash(secret, slice_of(message, (size_t)(rest + 18 - message)), hash);
    memcpy(key, hash, MONITOR_NETWORK_KEY);
    crypto_wipe(message, sizeof message);
    return true;
}

/* A name that was not known and now is, is no change of the network: connections live on. */
static bool is_other_name(const uint8_t *a, uint8_t a_len, const uint8_t *b, uint8_t b_len)
{
    return a_len > 0 && b_len > 0 && (a_len != b_len || memcmp(a, b, a_len) != 0);
}

static bool has_changed(const struct monitor_facts *before, const struct monitor_facts *now)
{
    return before->naddresses != now->naddresses || memcmp(before->addresses, now->addresses, now->naddresses * sizeof now->addresses[0]) != 0 ||
           memcmp(&before->v4, &now->v4, sizeof now->v4) != 0 || memcmp(&before->v6, &now->v6, sizeof now->v6) != 0 ||
           is_other_name(before->mac, before->mac_len, now->mac, now->mac_len) || is_other_name(before->ssid, before->ssid_len, now->ssid, now->ssid_len);
}

bool monitor_facts_event(const struct monitor_facts *before, const struct monitor_facts *now, bool has_slept, const uint8_t secret[static CRYPTO_KEY],
                         struct monitor_event *event)
{
    uint8_t key_before[MONITOR_NETWORK_KEY];
    *event = (struct monitor_event){.is_up = now->naddresses > 0, .has_slept = has_slept};
    event->has_key = monitor_facts_key(now, secret, event->key);
    event->has_changed = !before || has_changed(before, now);
    if (event->has_changed || has_slept)
        return true;
    return monitor_facts_key(before, secret, key_before) != event->has_key || memcmp(key_before, event->key, MONITOR_NETWORK_KEY) != 0;
}

bool monitor_slept_since(int64_t *suspended_ms, int64_t now_suspended_ms)
{
    int64_t slept_ms = now_suspended_ms - *suspended_ms;
    *suspended_ms = now_suspended_ms;
    return slept_ms >= MONITOR_SLEEP_MIN_MS;
}
