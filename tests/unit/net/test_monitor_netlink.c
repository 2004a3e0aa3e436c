/* net/monitor_netlink.h: messages of the kernel made into facts. Those of the system itself come in tests/lab/test_monitor.py. */
#include "net/monitor_netlink.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/nl80211.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

static const unsigned RUNNING = IFF_UP | IFF_RUNNING;
enum { SEQUENCE = 7 };

/* ---- messages ---- */

struct messages {
    _Alignas(8) char octets[16 * 1024];
    size_t len;
};

static struct slice octets_of(const struct messages *messages)
{
    return slice_of(messages->octets, messages->len);
}

static struct nlmsghdr *message_start(struct messages *messages, uint16_t type)
{
    assert_true(messages->len < sizeof messages->octets - 1024);
    struct nlmsghdr *message = mnl_nlmsg_put_header(messages->octets + messages->len);
    message->nlmsg_type = type;
    message->nlmsg_seq = SEQUENCE;
    return message;
}

static void message_end(struct messages *messages, const struct nlmsghdr *message)
{
    messages->len += (message->nlmsg_len + 3u) & ~3u;
}

static void put_ip(struct nlmsghdr *message, uint16_t type, const char *text)
{
    uint8_t octets[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    assert_int_equal(inet_pton(family, text, octets), 1);
    mnl_attr_put(message, type, family == AF_INET ? 4 : 16, octets);
}

static void add_link_of(struct messages *messages, uint16_t type, unsigned char family, int interface, unsigned flags)
{
    struct nlmsghdr *message = message_start(messages, type);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = family;
    info->ifi_index = interface;
    info->ifi_flags = flags;
    mnl_attr_put_strz(message, IFLA_IFNAME, "eth0");
    message_end(messages, message);
}

static void add_link(struct messages *messages, int interface, unsigned flags)
{
    add_link_of(messages, RTM_NEWLINK, AF_UNSPEC, interface, flags);
}

static void add_address_of(struct messages *messages, uint16_t type, uint32_t interface, const char *address, uint8_t prefix, uint32_t flags)
{
    struct nlmsghdr *message = message_start(messages, type);
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifa_family = strchr(address, ':') ? AF_INET6 : AF_INET;
    info->ifa_index = interface;
    info->ifa_prefixlen = prefix;
    info->ifa_flags = (uint8_t)flags;
    put_ip(message, IFA_ADDRESS, address);
    mnl_attr_put_u32(message, IFA_FLAGS, flags);
    message_end(messages, message);
}

static void add_address(struct messages *messages, uint32_t interface, const char *address, uint8_t prefix)
{
    add_address_of(messages, RTM_NEWADDR, interface, address, prefix, IFA_F_PERMANENT);
}

struct route {
    uint16_t type;
    const char *gateway;
    uint32_t interface, metric, table;
    uint8_t dst_len, kind, pref;
};

static void add_route_of(struct messages *messages, const struct route *route)
{
    struct nlmsghdr *message = message_start(messages, route->type ? route->type : RTM_NEWROUTE);
    struct rtmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    uint32_t table = route->table ? route->table : RT_TABLE_MAIN;
    info->rtm_family = strchr(route->gateway, ':') ? AF_INET6 : AF_INET;
    info->rtm_dst_len = route->dst_len;
    info->rtm_table = table < 256 ? (uint8_t)table : RT_TABLE_COMPAT;
    info->rtm_type = route->kind ? route->kind : RTN_UNICAST;
    mnl_attr_put_u32(message, RTA_TABLE, table);
    put_ip(message, RTA_GATEWAY, route->gateway);
    mnl_attr_put_u32(message, RTA_OIF, route->interface);
    mnl_attr_put_u32(message, RTA_PRIORITY, route->metric);
    mnl_attr_put_u8(message, RTA_PREF, route->pref);
    message_end(messages, message);
}

static void add_route(struct messages *messages, const char *gateway, uint32_t interface, uint32_t metric)
{
    add_route_of(messages, &(struct route){.gateway = gateway, .interface = interface, .metric = metric});
}

static bool apply(struct monitor_table *table, struct messages *messages)
{
    bool has_changed = false;
    assert_int_equal(monitor_table_read(table, octets_of(messages), 0, &has_changed), MONITOR_READ_MORE);
    messages->len = 0;
    return has_changed;
}

static struct monitor_facts facts_of(const struct monitor_table *table)
{
    struct monitor_facts facts;
    monitor_table_facts(table, &facts);
    return facts;
}

/* ---- the table ---- */

static void test_links(void **state)
{
    (void)state;
    static const struct {
        uint16_t type;
        unsigned char family;
        unsigned flags;
        bool is_there;
    } rows[] = {
        {RTM_NEWLINK, AF_UNSPEC, RUNNING, true},
        {RTM_NEWLINK, AF_UNSPEC, IFF_UP, false},                        /* no carrier */
        {RTM_NEWLINK, AF_UNSPEC, IFF_RUNNING, false},
        {RTM_NEWLINK, AF_UNSPEC, RUNNING | IFF_LOOPBACK, false},
        {RTM_NEWLINK, AF_BRIDGE, RUNNING, false},
        {RTM_DELLINK, AF_UNSPEC, RUNNING, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct monitor_table table = {0};
        struct messages messages = {.len = 0};
        add_link_of(&messages, rows[i].type, rows[i].family, 3, rows[i].flags);
        if (apply(&table, &messages) != rows[i].is_there || (table.nlinks == 1) != rows[i].is_there)
            fail_msg("row %zu", i);
    }
}

static void test_link_said_again_changes_nothing(void **state)
{
    (void)state;
    struct monitor_table table = {0};
    struct messages messages = {.len = 0};
    add_link(&messages, 3, RUNNING);
    assert_true(apply(&table, &messages));
    add_link(&messages, 3, RUNNING | IFF_PROMISC);
    assert_false(apply(&table, &messages));
    add_link_of(&messages, RTM_DELLINK, AF_BRIDGE, 3, RUNNING); /* it left the bridge */
    assert_false(apply(&table, &messages));
    add_link(&messages, 3, IFF_UP);
    assert_true(apply(&table, &messages));
    assert_int_equal(table.nlinks, 0);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        uint32_t flags;
        bool is_there;
    } rows[] = {
        {"192.0.2.7", 0, true},
        {"192.0.2.7", IFA_F_SECONDARY, true},
        {"127.0.0.1", IFA_F_PERMANENT, false},
        {"169.254.1.2", 0, false},
        {"0.0.0.0", 0, false},
        {"2001:db8::7", IFA_F_MANAGETEMPADDR, true},
        {"2001:db8::7", IFA_F_DEPRECATED, true},
        {"2001:db8::7", IFA_F_TEMPORARY, false},
        {"2001:db8::7", IFA_F_TEMPORARY | IFA_F_DEPRECATED, false},
        {"2001:db8::7", IFA_F_TENTATIVE, false},
        {"2001:db8::7", IFA_F_TENTATIVE | IFA_F_OPTIMISTIC, true},
        {"2001:db8::7", IFA_F_DADFAILED, false},
        {"fd00::7", 0, true},
        {"fe80::7", 0, false},
        {"febf::7", 0, false},
        {"::1", 0, false},
        {"::", 0, false},
        {"ff02::1", 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct monitor_table table = {0};
        struct messages messages = {.len = 0};
        add_link(&messages, 3, RUNNING);
        add_address_of(&messages, RTM_NEWADDR, 3, rows[i].address, 24, rows[i].flags);
        assert_true(apply(&table, &messages));
        if ((facts_of(&table).naddresses == 1) != rows[i].is_there)
            fail_msg("row %zu: %s", i, rows[i].address);
    }
}

/* Router advertisements renew the lifetimes, and the kernel tells each time. Temporary ones come and go. */
static void test_address_said_again_changes_nothing(void **state)
{
    (void)state;
    struct monitor_table table = {0};
    struct messages messages = {.len = 0};
    add_address(&messages, 3, "2001:db8::7", 64);
    assert_true(apply(&table, &messages));
    add_address_of(&messages, RTM_NEWADDR, 3, "2001:db8::7", 64, IFA_F_DEPRECATED);
    add_address_of(&messages, RTM_NEWADDR, 3, "2001:db8::abcd", 64, IFA_F_TEMPORARY);
    add_address_of(&messages, RTM_DELADDR, 3, "2001:db8::abcd", 64, IFA_F_TEMPORARY);
    add_address_of(&messages, RTM_DELADDR, 4, "2001:db8::7", 64, 0);
    assert_false(apply(&table, &messages));
    add_address_of(&messages, RTM_NEWADDR, 3, "2001:db8::7", 64, IFA_F_TENTATIVE); /* the link was away: detection begins anew */
    assert_true(apply(&table, &messages));
    assert_int_equal(table.naddresses, 0);
}

static void test_address_between_two_points_is_the_local_one(void **state)
{
    (void)state;
    struct monitor_table table = {0};
    struct messages messages = {.len = 0};
    struct nlmsghdr *message = message_start(&messages, RTM_NEWADDR);
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifa_family = AF_INET;
    info->ifa_prefixlen = 32;
    info->ifa_index = 3;
    put_ip(message, IFA_LOCAL, "192.0.2.7");
    put_ip(message, IFA_ADDRESS, "192.0.2.1");
    message_end(&messages, message);
    assert_true(apply(&table, &messages));
    assert_memory_equal(table.addresses[0].octets, "\300\0\2\7", 4);
}

static void test_routes(void **state)
{
    (void)state;
    static const struct {
        struct route route;
        bool is_there;
    } rows[] = {
        {{.gateway = "192.0.2.1", .interface = 3}, true},
        {{.gateway = "192.0.2.1", .interface = 4}, false},                    /* a link that does not run */
        {{.gateway = "192.0.2.1", .interface = 3, .dst_len = 1}, false},
        {{.gateway = "192.0.2.1", .interface = 3, .table = 100}, false},
        {{.gateway = "192.0.2.1", .interface = 3, .table = 51820}, false},    /* a tunnel's table */
        {{.gateway = "192.0.2.1", .interface = 3, .kind = RTN_UNREACHABLE}, false},
        {{.type = RTM_DELROUTE, .gateway = "192.0.2.1", .interface = 3}, false},
        {{.gateway = "fe80::1", .interface = 3}, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct monitor_table table = {0};
        struct messages messages = {.len = 0};
        add_link(&messages, 3, RUNNING);
        add_route_of(&messages, &rows[i].route);
        apply(&table, &messages);
        struct monitor_facts facts = facts_of(&table);
        if ((monitor_facts_route(&facts) != NULL) != rows[i].is_there)
            fail_msg("row %zu", i);
    }
}

static void test_the_best_route(void **state)
{
    (void)state;
    struct monitor_table table = {0};
    struct messages messages = {.len = 0};
    add_link(&messages, 3, RUNNING);
    add_link(&messages, 4, RUNNING);
    add_route(&messages, "fe80::1", 3, 1);
    add_route(&messages, "192.0.2.1", 3, 600);
    add_route(&messages, "198.51.100.1", 4, 100);
    apply(&table, &messages);
    struct monitor_facts facts = facts_of(&table);
    assert_int_equal(facts.v4.interface, 4);
    assert_ptr_equal(monitor_facts_route(&facts), &facts.v4);
    add_link(&messages, 4, IFF_UP); /* the cable is pulled */
    assert_true(apply(&table, &messages));
    assert_int_equal(facts_of(&table).v4.interface, 3);
}

/* RFC 4191: of two routers the preferred; of two alike always the same, whoever spoke last. */
static void test_the_preferred_router(void **state)
{
    (void)state;
    static const char *const GATEWAYS[] = {"fe80::1", "fe80::2"};
    static const struct {
        uint8_t pref[2];
        unsigned char last; /* octet of the best one's gateway */
    } rows[] = {{{0, 0}, 1}, {{0, 1}, 2}, {{1, 0}, 1}, {{3, 0}, 2}, {{3, 3}, 1}, {{1, 3}, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t first = 0; first < 2; first++) {
            struct monitor_table table = {0};
            struct messages messages = {.len = 0};
            add_link(&messages, 3, RUNNING);
            for (size_t k = 0; k < 2; k++) {
                size_t which = k ^ first;
                add_route_of(&messages, &(struct route){.gateway = GATEWAYS[which], .interface = 3, .metric = 1024, .pref = rows[i].pref[which]});
            }
            apply(&table, &messages);
            if (facts_of(&table).v6.gateway[15] != rows[i].last)
                fail_msg("row %zu, %s first", i, GATEWAYS[first]);
        }
    }
}

static void test_several_next_hops(void **state)
{
    (void)state;
    struct monitor_table table = {0};
    struct messages messages = {.len = 0};
    struct {
        struct rtnexthop hop;
        struct nlattr attribute;
        uint8_t gateway[4];
    } hops[2] = {{{.rtnh_len = 16, .rtnh_ifindex = 3}, {8, RTA_GATEWAY}, {192, 0, 2, 1}}, {{.rtnh_len = 16, .rtnh_ifindex = 4}, {8, RTA_GATEWAY}, {192, 0, 2, 2}}};
    add_link(&messages, 3, RUNNING);
    struct nlmsghdr *message = message_start(&messages, RTM_NEWROUTE);
    struct rtmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->rtm_family = AF_INET;
    info->rtm_table = RT_TABLE_MAIN;
    info->rtm_type = RTN_UNICAST;
    mnl_attr_put(message, RTA_MULTIPATH, sizeof hops, hops);
    message_end(&messages, message);
    apply(&table, &messages);
    struct monitor_facts facts = facts_of(&table);
    assert_int_equal(facts.v4.interface, 3);
    assert_memory_equal(facts.v4.gateway, hops[0].gateway, 4);
}

static void test_too_many_of_all(void **state)
{
    (void)state;
    struct monitor_table table = {0};
    struct messages messages = {.len = 0};
    for (uint32_t i = 1; i < 300; i++) {
        char text[20];
        snprintf(text, sizeof text, "192.0.2.%u", i % 256);
        add_link(&messages, (int)i, RUNNING);
        add_address(&messages, i, text, 24);
        add_route(&messages, text, i, i);
        apply(&table, &messages);
    }
    assert_int_equal(table.nlinks, MONITOR_LINKS_MAX);
    assert_int_equal(table.naddresses, MONITOR_TABLE_ADDRESSES_MAX);
    assert_int_equal(table.nroutes, MONITOR_ROUTES_MAX);
    assert_int_equal(facts_of(&table).naddresses, MONITOR_ADDRESSES_MAX);
}

/* ---- answers ---- */

static void add_end(struct messages *messages, uint16_t type, int error)
{
    struct nlmsghdr *message = message_start(messages, type);
    struct nlmsgerr *body = mnl_nlmsg_put_extra_header(message, sizeof *body);
    body->error = error;
    message_end(messages, message);
}

static enum monitor_read read_as(const struct messages *messages, uint32_t sequence)
{
    struct monitor_table table = {0};
    bool has_changed = false;
    return monitor_table_read(&table, octets_of(messages), sequence, &has_changed);
}

static void test_ends_of_answers(void **state)
{
    (void)state;
    struct messages messages = {.len = 0};
    assert_int_equal(read_as(&messages, SEQUENCE), MONITOR_READ_ERROR);
    add_link(&messages, 3, RUNNING);
    assert_int_equal(read_as(&messages, SEQUENCE), MONITOR_READ_MORE);
    add_end(&messages, NLMSG_ERROR, -1);
    assert_int_equal(read_as(&messages, SEQUENCE), MONITOR_READ_ERROR);
    assert_int_equal(read_as(&messages, SEQUENCE + 1), MONITOR_READ_MORE); /* somebody else's */
    messages.len = 0;
    add_end(&messages, NLMSG_ERROR, 0);
    assert_int_equal(read_as(&messages, SEQUENCE), MONITOR_READ_DONE);
    messages.len = 0;
    add_end(&messages, NLMSG_DONE, 0);
    assert_int_equal(read_as(&messages, SEQUENCE), MONITOR_READ_DONE);
}

/* Cut anywhere, and with each length inside made shorter or longer: nothing is read that is not there, and no fact comes of half an attribute. */
static void test_broken_messages(void **state)
{
    (void)state;
    struct messages messages = {.len = 0};
    add_address(&messages, 3, "2001:db8::7", 64);
    for (size_t len = 0; len < messages.len; len += 4) {
        struct monitor_table table = {0};
        struct slice cut = guard_dup(slice_of(messages.octets, len));
        bool has_changed = false;
        assert_int_equal(monitor_table_read(&table, cut, 0, &has_changed), MONITOR_READ_ERROR);
        assert_int_equal(table.naddresses, 0);
        guard_free(&cut);
    }
    static const uint32_t LENGTHS[] = {0, 15, 1000, 0x7fffffff, 0x80000010, 0xffffffff};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        struct messages broken = messages;
        memcpy(broken.octets, &LENGTHS[i], sizeof LENGTHS[i]);
        assert_int_equal(read_as(&broken, 0), MONITOR_READ_ERROR);
    }
    size_t at = sizeof(struct nlmsghdr) + sizeof(struct ifaddrmsg); /* of IFA_ADDRESS */
    for (uint16_t len = 0; len < 64; len++) {
        struct monitor_table table = {0};
        struct messages broken = messages;
        memcpy(broken.octets + at, &len, sizeof len);
        struct slice copy = guard_dup(octets_of(&broken));
        bool has_changed = false;
        monitor_table_read(&table, copy, 0, &has_changed);
        assert_int_equal(table.naddresses, len == sizeof(struct nlattr) + 16);
        guard_free(&copy);
    }
}

/* ---- neighbours, families, SSIDs ---- */

static void add_neighbour(struct messages *messages, uint16_t type, int interface, const char *address, uint16_t neighbour_state, size_t mac_len)
{
    static const uint8_t MAC[40] = {2, 0, 0, 0, 0, 1};
    struct nlmsghdr *message = message_start(messages, type);
    struct ndmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ndm_family = strchr(address, ':') ? AF_INET6 : AF_INET;
    info->ndm_ifindex = interface;
    info->ndm_state = neighbour_state;
    mnl_attr_put(message, NDA_LLADDR, mac_len, MAC);
    put_ip(message, NDA_DST, address);
    message_end(messages, message);
}

static void test_neighbours(void **state)
{
    (void)state;
    static const struct {
        uint16_t type;
        int interface;
        const char *address;
        uint16_t state;
        uint8_t mac_len, got;
    } rows[] = {
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_REACHABLE, 6, 6},
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_STALE, 6, 6},
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_PERMANENT, 20, 20}, /* InfiniBand */
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_FAILED, 6, 0},
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_INCOMPLETE, 6, 0},
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_NOARP, 6, 0},
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_REACHABLE, 0, 0},
        {RTM_NEWNEIGH, 3, "192.0.2.1", NUD_REACHABLE, 33, 0},
        {RTM_NEWNEIGH, 3, "192.0.2.2", NUD_REACHABLE, 6, 0},
        {RTM_NEWNEIGH, 4, "192.0.2.1", NUD_REACHABLE, 6, 0},
        {RTM_NEWNEIGH, 3, "c000:201::", NUD_REACHABLE, 6, 0},
        {RTM_DELNEIGH, 3, "192.0.2.1", NUD_REACHABLE, 6, 0},
    };
    const struct monitor_route route = {.interface = 3, .family = 4, .has_gateway = 1, .gateway = {192, 0, 2, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct messages messages = {.len = 0};
        uint8_t mac[MONITOR_MAC_MAX], len = 0;
        add_neighbour(&messages, rows[i].type, rows[i].interface, rows[i].address, rows[i].state, rows[i].mac_len);
        assert_int_equal(monitor_neighbour_read(&route, octets_of(&messages), SEQUENCE, mac, &len), MONITOR_READ_MORE);
        if (len != rows[i].got)
            fail_msg("row %zu: %u", i, len);
    }
}

static void add_interface(struct messages *messages, uint8_t command, uint32_t interface, struct slice ssid)
{
    struct nlmsghdr *message = message_start(messages, 28);
    struct genlmsghdr *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->cmd = command;
    mnl_attr_put_u32(message, NL80211_ATTR_IFINDEX, interface);
    mnl_attr_put_strz(message, NL80211_ATTR_IFNAME, "wlan0");
    mnl_attr_put(message, NL80211_ATTR_SSID, ssid.len, ssid.ptr);
    message_end(messages, message);
}

static void test_ssids(void **state)
{
    (void)state;
    static const struct {
        uint8_t command;
        uint32_t interface;
        struct slice ssid;
        bool is_got;
    } rows[] = {
        {NL80211_CMD_NEW_INTERFACE, 3, {"Hotel", 5}, true},
        {NL80211_CMD_NEW_INTERFACE, 3, {"\0\xff any octets", 13}, true},
        {NL80211_CMD_NEW_INTERFACE, 3, {"0123456789abcdef0123456789abcdef", 32}, true},
        {NL80211_CMD_NEW_INTERFACE, 3, {"0123456789abcdef0123456789abcdef!", 33}, false},
        {NL80211_CMD_NEW_INTERFACE, 3, {"", 0}, false},
        {NL80211_CMD_NEW_INTERFACE, 4, {"Hotel", 5}, false},
        {NL80211_CMD_DEL_INTERFACE, 3, {"Hotel", 5}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct messages messages = {.len = 0};
        uint8_t ssid[MONITOR_SSID_MAX], len = 0;
        add_interface(&messages, rows[i].command, rows[i].interface, rows[i].ssid);
        assert_int_equal(monitor_ssid_read(3, octets_of(&messages), SEQUENCE, ssid, &len), MONITOR_READ_MORE);
        if (!slice_equal(slice_of(ssid, len), rows[i].is_got ? rows[i].ssid : (struct slice){0}))
            fail_msg("row %zu", i);
    }
}

static void test_family(void **state)
{
    (void)state;
    struct messages messages = {.len = 0};
    uint16_t family = 0;
    struct nlmsghdr *message = message_start(&messages, GENL_ID_CTRL);
    struct genlmsghdr *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->cmd = CTRL_CMD_NEWFAMILY;
    mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, NL80211_GENL_NAME);
    mnl_attr_put_u16(message, CTRL_ATTR_FAMILY_ID, 28);
    message_end(&messages, message);
    add_end(&messages, NLMSG_ERROR, 0);
    assert_int_equal(monitor_family_read(octets_of(&messages), SEQUENCE, &family), MONITOR_READ_DONE);
    assert_int_equal(family, 28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_link_said_again_changes_nothing),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_address_said_again_changes_nothing),
        cmocka_unit_test(test_address_between_two_points_is_the_local_one),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_the_best_route),
        cmocka_unit_test(test_the_preferred_router),
        cmocka_unit_test(test_several_next_hops),
        cmocka_unit_test(test_too_many_of_all),
        cmocka_unit_test(test_ends_of_answers),
        cmocka_unit_test(test_broken_messages),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_ssids),
        cmocka_unit_test(test_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
