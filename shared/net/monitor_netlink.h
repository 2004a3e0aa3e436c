/* Linux: rtnetlink and generic netlink messages (rtnetlink(7), linux/nl80211.h) made into facts. Pure; libmnl's accessors only.
 *
 * A table is what the kernel has said in a dump, and it is kept up by the messages of changes: whether one of them changes the table is the sign that somebody should look
 * anew. So what is merely said again (router advertisements that renew lifetimes, RFC 4862 5.5.3) wakes nobody. It is no truth of its own: the kernel tells of no
 * IPv4 route that went with its link, so facts are made from a fresh dump only. */
#ifndef POSTERN_NET_MONITOR_NETLINK_H
#define POSTERN_NET_MONITOR_NETLINK_H

#include "net/monitor_internal.h"

enum { MONITOR_LINKS_MAX = 128, MONITOR_ROUTES_MAX = 32, MONITOR_TABLE_ADDRESSES_MAX = 128 };

struct monitor_link {
    uint32_t interface;
    bool has_neighbours; /* ARP or neighbour discovery runs there */
};

struct monitor_table {
    struct monitor_link links[MONITOR_LINKS_MAX]; /* that run; without loopback */
    size_t nlinks;
    struct monitor_address addresses[MONITOR_TABLE_ADDRESSES_MAX]; /* on any link, in no order; those that matter */
    size_t naddresses;
    struct monitor_route routes[MONITOR_ROUTES_MAX]; /* default routes of the main table */
    size_t nroutes;
};

/* What a run of messages came to. That an answer was disturbed (NLM_F_DUMP_INTR) is not looked at: what disturbed it is a change, of which we hear. */
enum monitor_read {
    MONITOR_READ_MORE, /* the dump goes on */
    MONITOR_READ_DONE, /* it is over, or the request acknowledged */
    MONITOR_READ_ERROR, /* the kernel refuses, or the octets are no messages */
};

/* octets: whole messages, aligned to 4. Only those with this sequence number (0: any). has_changed is set when the table is another. */
enum monitor_read monitor_table_read(struct monitor_table *table, struct slice octets, uint32_t sequence, bool *has_changed);
void monitor_table_facts(const struct monitor_table *table, struct monitor_facts *facts);
bool monitor_table_has_neighbours(const struct monitor_table *table, uint32_t interface);

/* The MAC of the route's gateway, if these messages of neighbours tell it; *len is left alone otherwise. */
enum monitor_read monitor_neighbour_read(const struct monitor_route *route, struct slice octets, uint32_t sequence, uint8_t mac[static MONITOR_MAC_MAX], uint8_t *len);
/* The number of a generic netlink family (CTRL_CMD_GETFAMILY). */
enum monitor_read monitor_family_read(struct slice octets, uint32_t sequence, uint16_t *family);
/* The SSID of an interface (NL80211_CMD_GET_INTERFACE); len 0: none. */
enum monitor_read monitor_ssid_read(uint32_t interface, struct slice octets, uint32_t sequence, uint8_t ssid[static MONITOR_SSID_MAX], uint8_t *len);

#endif
