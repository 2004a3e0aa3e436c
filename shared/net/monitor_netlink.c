#include "net/monitor_netlink.h"

#ifdef __linux__

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nl80211.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

/* A message that is one of ours goes to here. */
typedef void message_reader(const struct nlmsghdr *message, void *context);

/* What follows the fixed part. (libmnl's own loops are macros that narrow long to int.) */
static struct slice attributes_of(const struct nlmsghdr *message, size_t fixed)
{
    return slice_skip(slice_of(mnl_nlmsg_get_payload(message), mnl_nlmsg_get_payload_len(message)), (fixed + MNL_ALIGNTO - 1) & ~(size_t)(MNL_ALIGNTO - 1));
}

/* From the front of *rest; NULL: no whole one is left. */
static const struct nlattr *attribute_next(struct slice *rest)
{
    const struct nlattr *at = (const struct nlattr *)(const void *)rest->ptr;
    if (rest->len > INT32_MAX || !mnl_attr_ok(at, (int)rest->len))
        return NULL;
    *rest = slice_skip(*rest, MNL_ALIGN(at->nla_len));
    return at;
}

/* The attribute's payload; len 0 when it is shorter than `least`. */
static struct slice attribute(const struct nlattr *at, size_t least)
{
    struct slice payload = slice_of(mnl_attr_get_payload(at), mnl_attr_get_payload_len(at));
    return payload.len >= least ? payload : (struct slice){0};
}

static uint32_t number(const struct nlattr *at, uint32_t otherwise)
{
    struct slice payload = attribute(at, sizeof(uint32_t));
    uint32_t value = otherwise;
    if (payload.len > 0)
        memcpy(&value, payload.ptr, sizeof value);
    return value;
}

/* False: not that long. */
static bool octets_of(const struct nlattr *at, size_t len, uint8_t *out)
{
    struct slice payload = attribute(at, len);
    if (payload.len != len)
        return false;
    memcpy(out, payload.ptr, len);
    return true;
}

static size_t address_len(uint8_t family)
{
    return family == 4 ? 4 : 16;
}

static uint8_t family_of(int system)
{
    return system == AF_INET ? 4 : system == AF_INET6 ? 6 : 0;
}

/* The fixed part of a message, if it is all there. */
static const void *fixed_part(const struct nlmsghdr *message, size_t size)
{
    return mnl_nlmsg_get_payload_len(message) >= size ? mnl_nlmsg_get_payload(message) : NULL;
}

static bool error_is_none(const struct nlmsghdr *message)
{
    const struct nlmsgerr *error = fixed_part(message, sizeof(int));
    return error && error->error == 0;
}

/* libmnl 1.0.4's own compares as int, and believes lengths of 2 GiB and more. */
static bool is_whole(const struct nlmsghdr *message, int len)
{
    return len >= (int)sizeof *message && message->nlmsg_len >= sizeof *message && message->nlmsg_len <= (uint32_t)len;
}

static enum monitor_read read_messages(struct slice octets, uint32_t sequence, message_reader *reader, void *context)
{
    const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)octets.ptr;
    int len = octets.len > INT32_MAX ? 0 : (int)octets.len;
    if (len == 0)
        return MONITOR_READ_ERROR;
    for (; is_whole(message, len); message = mnl_nlmsg_next(message, &len)) {
        if (sequence != 0 && message->nlmsg_seq != sequence)
            continue;
        if (message->nlmsg_type == NLMSG_DONE)
            return MONITOR_READ_DONE;
        if (message->nlmsg_type == NLMSG_ERROR)
            return error_is_none(message) ? MONITOR_READ_DONE : MONITOR_READ_ERROR;
        if (message->nlmsg_type >= NLMSG_MIN_TYPE)
            reader(message, context);
    }
    return len > 0 ? MONITOR_READ_ERROR : MONITOR_READ_MORE;
}

/* ---- links ---- */

static bool table_set_link(struct monitor_table *table, const struct monitor_link *link, bool is_running)
{
    size_t at = 0;
    while (at < table->nlinks && table->links[at].interface != link->interface)
        at++;
    bool was_running = at < table->nlinks;
    if (was_running == is_running || (!was_running && table->nlinks == MONITOR_LINKS_MAX))
        return false;
    if (is_running)
        table->links[table->nlinks++] = *link;
    else
        table->links[at] = table->links[--table->nlinks];
    return true;
}

/* A bridge tells of its ports in messages of a family of its own, whose deletion does not mean the link's. */
static bool apply_link(struct monitor_table *table, const struct nlmsghdr *message)
{
    const struct ifinfomsg *info = fixed_part(message, sizeof *info);
    if (!info || info->ifi_family != AF_UNSPEC || info->ifi_index <= 0 || (info->ifi_flags & IFF_LOOPBACK))
        return false;
    const struct monitor_link link = {.interface = (uint32_t)info->ifi_index, .has_neighbours = !(info->ifi_flags & (IFF_NOARP | IFF_POINTOPOINT))};
    bool is_running = message->nlmsg_type == RTM_NEWLINK && (info->ifi_flags & IFF_UP) && (info->ifi_flags & IFF_RUNNING);
    return table_set_link(table, &link, is_running);
}

bool monitor_table_has_neighbours(const struct monitor_table *table, uint32_t interface)
{
    for (size_t i = 0; i < table->nlinks; i++)
        if (table->links[i].interface == interface)
            return table->links[i].has_neighbours;
    return false;
}

static bool link_runs(const struct monitor_table *table, uint32_t interface)
{
    for (size_t i = 0; i < table->nlinks; i++)
        if (table->links[i].interface == interface)
            return true;
    return false;
}

/* ---- addresses ---- */

/* Temporary addresses (RFC 8981) come and go in one network; one that duplicate address detection has not passed can't be used yet. The flag of temporary ones means
 * "secondary" in IPv4, where it says nothing. */
static bool address_is_usable(uint8_t family, uint32_t flags)
{
    if (family == 4)
        return true;
    if (flags & (IFA_F_TEMPORARY | IFA_F_DADFAILED))
        return false;
    return !(flags & IFA_F_TENTATIVE) || (flags & IFA_F_OPTIMISTIC);
}

/* False: not one that matters. *usable is whether it counts now. */
static bool read_address(const struct nlmsghdr *message, struct monitor_address *address, bool *is_usable)
{
    const struct ifaddrmsg *info = fixed_part(message, sizeof *info);
    const struct nlattr *at;
    bool has_local = false, has_any = false;
    if (!info || !family_of(info->ifa_family))
        return false;
    uint32_t flags = info->ifa_flags;
    *address = (struct monitor_address){.interface = info->ifa_index, .family = family_of(info->ifa_family), .prefix = info->ifa_prefixlen};
    for (struct slice rest = attributes_of(message, sizeof *info); (at = attribute_next(&rest)) != NULL;) {
        switch (mnl_attr_get_type(at)) {
        case IFA_LOCAL: /* of a link between two points IFA_ADDRESS is the other end */
            has_local = octets_of(at, address_len(address->family), address->octets);
            break;
        case IFA_ADDRESS:
            has_any |= !has_local && octets_of(at, address_len(address->family), address->octets);
            break;
        case IFA_FLAGS:
            flags = number(at, flags);
            break;
        default:
            break;
        }
    }
    *is_usable = address_is_usable(address->family, flags);
    return (has_local || has_any) && address->prefix <= 8 * address_len(address->family) && monitor_octets_matter(address->family, address->octets);
}

static bool apply_address(struct monitor_table *table, const struct nlmsghdr *message)
{
    struct monitor_address address;
    bool is_usable;
    size_t at = 0;
    if (!read_address(message, &address, &is_usable))
        return false;
    while (at < table->naddresses && monitor_address_compare(&table->addresses[at], &address) != 0)
        at++;
    bool was_there = at < table->naddresses, is_there = message->nlmsg_type == RTM_NEWADDR && is_usable;
    if (was_there == is_there || (!was_there && table->naddresses == MONITOR_TABLE_ADDRESSES_MAX))
        return false;
    if (is_there)
        table->addresses[table->naddresses++] = address;
    else
        table->addresses[at] = table->addresses[--table->naddresses];
    return true;
}

/* ---- default routes ---- */

/* RFC 4191 2.1, as the kernel keeps it: 00 medium, 01 high, 11 low. */
static uint8_t preference_of(uint8_t pref)
{
    return pref == 1 ? 0 : pref == 3 ? 2 : 1;
}

static void read_gateway(const struct nlattr *at, struct monitor_route *route)
{
    if (octets_of(at, address_len(route->family), route->gateway))
        route->has_gateway = 1;
}

/* Of several next hops the first stands for all. */
static void read_next_hops(const struct nlattr *at, struct monitor_route *route)
{
    struct slice payload = attribute(at, sizeof(struct rtnexthop));
    struct rtnexthop hop;
    const struct nlattr *inside;
    if (payload.len == 0)
        return;
    memcpy(&hop, payload.ptr, sizeof hop);
    if (hop.rtnh_len < sizeof hop || hop.rtnh_len > payload.len || hop.rtnh_ifindex <= 0)
        return;
    route->interface = (uint32_t)hop.rtnh_ifindex;
    payload = slice_skip(slice_take(payload, hop.rtnh_len), sizeof hop);
    while ((inside = attribute_next(&payload)) != NULL)
        if (mnl_attr_get_type(inside) == RTA_GATEWAY)
            read_gateway(inside, route);
}

static void read_route_attribute(const struct nlattr *at, struct monitor_route *route, uint32_t *table)
{
    struct slice payload;
    switch (mnl_attr_get_type(at)) {
    case RTA_OIF:
        route->interface = number(at, 0);
        break;
    case RTA_PRIORITY:
        route->metric = number(at, 0);
        break;
    case RTA_TABLE:
        *table = number(at, *table);
        break;
    case RTA_GATEWAY:
        read_gateway(at, route);
        break;
    case RTA_MULTIPATH:
        read_next_hops(at, route);
        break;
    case RTA_PREF:
        payload = attribute(at, 1);
        route->preference = payload.len > 0 ? preference_of((uint8_t)payload.ptr[0]) : route->preference;
        break;
    default:
        break;
    }
}

/* False: no default route of the main table. */
static bool read_route(const struct nlmsghdr *message, struct monitor_route *route)
{
    const struct rtmsg *info = fixed_part(message, sizeof *info);
    const struct nlattr *at;
    if (!info || !family_of(info->rtm_family) || info->rtm_dst_len != 0 || info->rtm_type != RTN_UNICAST || (info->rtm_flags & RTM_F_CLONED))
        return false;
    uint32_t table = info->rtm_table;
    *route = (struct monitor_route){.family = family_of(info->rtm_family), .preference = 1};
    for (struct slice rest = attributes_of(message, sizeof *info); (at = attribute_next(&rest)) != NULL;)
        read_route_attribute(at, route, &table);
    return table == RT_TABLE_MAIN && route->interface != 0;
}

static bool apply_route(struct monitor_table *table, const struct nlmsghdr *message)
{
    struct monitor_route route;
    size_t at = 0;
    if (!read_route(message, &route))
        return false;
    while (at < table->nroutes && (table->routes[at].family != route.family || monitor_route_compare(&table->routes[at], &route) != 0))
        at++;
    bool was_there = at < table->nroutes, is_there = message->nlmsg_type == RTM_NEWROUTE;
    if (was_there == is_there || (!was_there && table->nroutes == MONITOR_ROUTES_MAX))
        return false;
    if (is_there)
        table->routes[table->nroutes++] = route;
    else
        table->routes[at] = table->routes[--table->nroutes];
    return true;
}

/* ---- the table ---- */

struct table_reading {
    struct monitor_table *table;
    bool has_changed;
};

static void apply(const struct nlmsghdr *message, void *context)
{
    struct table_reading *reading = context;
    switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        reading->has_changed |= apply_link(reading->table, message);
        break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        reading->has_changed |= apply_address(reading->table, message);
        break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        reading->has_changed |= apply_route(reading->table, message);
        break;
    default:
        break;
    }
}

enum monitor_read monitor_table_read(struct monitor_table *table, struct slice octets, uint32_t sequence, bool *has_changed)
{
    struct table_reading reading = {.table = table};
    enum monitor_read state = read_messages(octets, sequence, apply, &reading);
    *has_changed |= reading.has_changed;
    return state;
}

void monitor_table_facts(const struct monitor_table *table, struct monitor_facts *facts)
{
    *facts = (struct monitor_facts){0};
    for (size_t i = 0; i < table->naddresses; i++)
        if (link_runs(table, table->addresses[i].interface))
            monitor_facts_add(facts, &table->addresses[i]);
    for (size_t i = 0; i < table->nroutes; i++) {
        const struct monitor_route *route = &table->routes[i];
        struct monitor_route *best = route->family == 4 ? &facts->v4 : &facts->v6;
        if (link_runs(table, route->interface) && (best->interface == 0 || monitor_route_compare(route, best) < 0))
            *best = *route;
    }
}

/* ---- the gateway's neighbour entry ---- */

struct neighbour_reading {
    const struct monitor_route *route;
    uint8_t *mac, *len;
};

static void read_neighbour(const struct nlmsghdr *message, void *context)
{
    const struct neighbour_reading *reading = context;
    const struct ndmsg *info = fixed_part(message, sizeof *info);
    const struct nlattr *at;
    uint8_t address[16];
    struct slice mac = {0};
    bool is_gateway = false;
    if (message->nlmsg_type != RTM_NEWNEIGH || !info || (uint32_t)info->ndm_ifindex != reading->route->interface ||
        family_of(info->ndm_family) != reading->route->family || !(info->ndm_state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT)))
        return;
    for (struct slice rest = attributes_of(message, sizeof *info); (at = attribute_next(&rest)) != NULL;) {
        if (mnl_attr_get_type(at) == NDA_DST && octets_of(at, address_len(reading->route->family), address))
            is_gateway = memcmp(address, reading->route->gateway, address_len(reading->route->family)) == 0;
        else if (mnl_attr_get_type(at) == NDA_LLADDR)
            mac = attribute(at, 1);
    }
    if (!is_gateway || mac.len == 0 || mac.len > MONITOR_MAC_MAX)
        return;
    memcpy(reading->mac, mac.ptr, mac.len);
    *reading->len = (uint8_t)mac.len;
}

enum monitor_read monitor_neighbour_read(const struct monitor_route *route, struct slice octets, uint32_t sequence, uint8_t mac[static MONITOR_MAC_MAX], uint8_t *len)
{
    struct neighbour_reading reading = {route, mac, len};
    return read_messages(octets, sequence, read_neighbour, &reading);
}

/* ---- generic netlink: which network the wireless interface is in ---- */

static void read_family(const struct nlmsghdr *message, void *context)
{
    const struct nlattr *at;
    struct slice payload;
    if (message->nlmsg_type != GENL_ID_CTRL || !fixed_part(message, sizeof(struct genlmsghdr)))
        return;
    for (struct slice rest = attributes_of(message, sizeof(struct genlmsghdr)); (at = attribute_next(&rest)) != NULL;) {
        payload = attribute(at, sizeof(uint16_t));
        if (mnl_attr_get_type(at) == CTRL_ATTR_FAMILY_ID && payload.len > 0)
            memcpy(context, payload.ptr, sizeof(uint16_t));
    }
}

enum monitor_read monitor_family_read(struct slice octets, uint32_t sequence, uint16_t *family)
{
    return read_messages(octets, sequence, read_family, family);
}

struct ssid_reading {
    uint32_t interface;
    uint8_t *ssid, *len;
};

static void read_ssid(const struct nlmsghdr *message, void *context)
{
    const struct ssid_reading *reading = context;
    const struct genlmsghdr *info = fixed_part(message, sizeof *info);
    const struct nlattr *at;
    struct slice ssid = {0};
    uint32_t interface = 0;
    if (!info || info->cmd != NL80211_CMD_NEW_INTERFACE)
        return;
    for (struct slice rest = attributes_of(message, sizeof *info); (at = attribute_next(&rest)) != NULL;) {
        if (mnl_attr_get_type(at) == NL80211_ATTR_IFINDEX)
            interface = number(at, 0);
        else if (mnl_attr_get_type(at) == NL80211_ATTR_SSID)
            ssid = attribute(at, 1);
    }
    if (interface != reading->interface || ssid.len == 0 || ssid.len > MONITOR_SSID_MAX)
        return;
    memcpy(reading->ssid, ssid.ptr, ssid.len);
    *reading->len = (uint8_t)ssid.len;
}

enum monitor_read monitor_ssid_read(uint32_t interface, struct slice octets, uint32_t sequence, uint8_t ssid[static MONITOR_SSID_MAX], uint8_t *len)
{
    struct ssid_reading reading = {interface, ssid, len};
    return read_messages(octets, sequence, read_ssid, &reading);
}

#endif
