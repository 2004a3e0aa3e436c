/* net/monitor.h without a system: facts made into keys and events, and the portable source. The system itself is asked in tests/lab/test_monitor.py. */
#include "net/monitor_internal.h"
#include "support/netloop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <string.h>

static const uint8_t SECRET[CRYPTO_KEY] = "one", OTHER_SECRET[CRYPTO_KEY] = "two";

/* ---- keys ---- */

static struct monitor_facts at_hotel(void)
{
    struct monitor_facts facts = {.v4 = {.interface = 3, .family = 4, .has_gateway = 1, .gateway = {192, 0, 2, 1}}, .mac_len = 6, .mac = {2, 0, 0, 0, 0, 1}};
    assert_true(monitor_facts_add(&facts, &(struct monitor_address){.interface = 3, .family = 4, .prefix = 24, .octets = {192, 0, 2, 7}}));
    return facts;
}

static struct monitor_facts at_hotel_by_ipv6(void)
{
    struct monitor_facts facts = {.v6 = {.interface = 3, .family = 6, .has_gateway = 1, .gateway = {0xfe, 0x80, [15] = 1}}, .mac_len = 6, .mac = {2, 0, 0, 0, 0, 1}};
    assert_true(monitor_facts_add(&facts, &(struct monitor_address){.interface = 3, .family = 6, .prefix = 64, .octets = {0x20, 1, 0xd, 0xb8, [15] = 7}}));
    return facts;
}

static bool is_same_key(const struct monitor_facts *a, const struct monitor_facts *b)
{
    uint8_t ka[MONITOR_NETWORK_KEY], kb[MONITOR_NETWORK_KEY];
    assert_true(monitor_facts_key(a, SECRET, ka));
    assert_true(monitor_facts_key(b, SECRET, kb));
    return memcmp(ka, kb, sizeof ka) == 0;
}

static void test_key_is_the_networks(void **state)
{
    (void)state;
    struct monitor_facts hotel = at_hotel(), other = at_hotel();
    other.addresses[0].octets[3] = 200;
    other.addresses[0].interface = other.v4.interface = 9;
    other.v4.metric = 600;
    assert_true(is_same_key(&hotel, &other));
    other.addresses[0].octets[2] = 3; /* another prefix */
    other.v4.gateway[2] = 3;
    assert_false(is_same_key(&hotel, &other));
    other = at_hotel();
    other.mac[5] = 2;
    assert_false(is_same_key(&hotel, &other));
    other = at_hotel();
    other.addresses[0].prefix = 25;
    assert_false(is_same_key(&hotel, &other));
    other = at_hotel(); /* a tunnel, and IPv6 beside it */
    assert_true(monitor_facts_add(&other, &(struct monitor_address){.interface = 2, .family = 4, .prefix = 8, .octets = {10, 0, 0, 1}}));
    assert_true(monitor_facts_add(&other, &(struct monitor_address){.interface = 3, .family = 4, .prefix = 8, .octets = {10, 0, 0, 1}}));
    other.v6 = at_hotel_by_ipv6().v6;
    assert_true(is_same_key(&hotel, &other));
}

/* A prefix that ends within an octet. */
static void test_key_of_a_prefix_of_20_bits(void **state)
{
    (void)state;
    struct monitor_facts hotel = at_hotel(), other;
    hotel.addresses[0].prefix = 20;
    hotel.addresses[0].octets[2] = 0x10;
    hotel.v4.gateway[2] = 0x1f;
    other = hotel;
    other.addresses[0].octets[2] = 0x1e;
    assert_true(is_same_key(&hotel, &other));
    other.addresses[0].octets[2] = other.v4.gateway[2] = 0x2e;
    assert_false(is_same_key(&hotel, &other));
}

static void test_key_of_ipv6_alone(void **state)
{
    (void)state;
    struct monitor_facts hotel = at_hotel_by_ipv6(), other = at_hotel_by_ipv6(), v4 = at_hotel();
    other.addresses[0].octets[15] = 8;
    assert_true(is_same_key(&hotel, &other));
    other.addresses[0].octets[7] = 1;
    assert_false(is_same_key(&hotel, &other));
    assert_false(is_same_key(&hotel, &v4));
}

static void test_key_of_a_wireless_network(void **state)
{
    (void)state;
    struct monitor_facts wired = at_hotel(), hotel = at_hotel(), other = at_hotel();
    memcpy(hotel.ssid, "Hotel", hotel.ssid_len = 5);
    memcpy(other.ssid, "Hotel", other.ssid_len = 5);
    other.mac_len = 0; /* phones that share their line change it at will */
    assert_true(is_same_key(&hotel, &other));
    assert_false(is_same_key(&hotel, &wired));
    other.ssid[4] = 'L';
    assert_false(is_same_key(&hotel, &other));
}

static void test_key_needs_what_tells_networks_apart(void **state)
{
    (void)state;
    uint8_t key[MONITOR_NETWORK_KEY], other[MONITOR_NETWORK_KEY];
    struct monitor_facts facts = at_hotel();
    assert_true(monitor_facts_key(&facts, SECRET, key));
    assert_true(monitor_facts_key(&facts, OTHER_SECRET, other));
    assert_memory_not_equal(key, other, sizeof key);
    facts.mac_len = 0;
    assert_false(monitor_facts_key(&facts, SECRET, key));
    facts = at_hotel();
    facts.v4.interface = 0;
    assert_false(monitor_facts_key(&facts, SECRET, key));
    facts = at_hotel();
    facts.naddresses = 0;
    assert_false(monitor_facts_key(&facts, SECRET, key));
}

/* ---- events ---- */

static void test_same_facts_are_told_once(void **state)
{
    (void)state;
    struct monitor_facts before = at_hotel(), now = at_hotel();
    struct monitor_event event;
    assert_true(monitor_facts_event(NULL, &now, false, SECRET, &event));
    assert_true(event.is_up && event.has_key && event.has_changed && !event.has_slept);
    assert_false(monitor_facts_event(&before, &now, false, SECRET, &event));
    assert_true(monitor_facts_event(&before, &now, true, SECRET, &event));
    assert_true(event.is_up && event.has_key && !event.has_changed && event.has_slept);
}

static void test_what_is_a_change(void **state)
{
    (void)state;
    struct monitor_facts before = at_hotel(), now = at_hotel();
    struct monitor_event event;
    now.addresses[0].octets[3] = 8;
    assert_true(monitor_facts_event(&before, &now, false, SECRET, &event) && event.has_changed);
    now = at_hotel();
    now.v4.metric = 7;
    assert_true(monitor_facts_event(&before, &now, false, SECRET, &event) && event.has_changed);
    now = at_hotel();
    now.v6 = at_hotel_by_ipv6().v6;
    assert_true(monitor_facts_event(&before, &now, false, SECRET, &event) && event.has_changed);
    now = at_hotel();
    now.mac[0] = 4; /* the same address, the same gateway address, and yet another place */
    assert_true(monitor_facts_event(&before, &now, false, SECRET, &event) && event.has_changed);
    now = at_hotel();
    now.naddresses = 0;
    assert_true(monitor_facts_event(&before, &now, false, SECRET, &event) && event.has_changed && !event.is_up && !event.has_key);
}

/* The gateway was slow to answer: connections live on, but the place is known now. */
static void test_key_that_comes_later(void **state)
{
    (void)state;
    struct monitor_facts before = at_hotel(), now = at_hotel();
    struct monitor_event event;
    before.mac_len = 0;
    memset(before.mac, 0, sizeof before.mac);
    assert_true(monitor_facts_event(&before, &now, false, SECRET, &event));
    assert_true(event.has_key && !event.has_changed);
    assert_true(monitor_facts_event(&now, &before, false, SECRET, &event));
    assert_true(!event.has_key && !event.has_changed);
}

static void test_sleep(void **state)
{
    (void)state;
    int64_t suspended_ms = 5000;
    assert_false(monitor_slept_since(&suspended_ms, 5001));
    assert_false(monitor_slept_since(&suspended_ms, 5900));
    assert_true(monitor_slept_since(&suspended_ms, 6900));
    assert_false(monitor_slept_since(&suspended_ms, 6900));
    assert_false(monitor_slept_since(&suspended_ms, 6899));
}

/* ---- the portable source and the machine itself ---- */

static void count_event(void *context, const struct monitor_event *event)
{
    int *n = context;
    assert_true(event->has_changed && !event->has_key);
    ++*n;
}

static void set_true(void *context)
{
    *(bool *)context = true;
}

static void test_polling_tells_once_and_stops(void **state)
{
    (void)state;
    struct netloop net;
    struct monitor *monitor;
    int nevents = 0;
    bool is_closed = false;
    netloop_open(&net);
    const struct monitor_config config = {.poll_ms = 1, .on_change = count_event, .context = &nevents};
    assert_int_equal(monitor_start_polling(&monitor, &net.loop, &config), RESULT_OK);
    assert_int_equal(nevents, 0);
    NET_UNTIL(&net, nevents == 1);
    monitor_stop(&monitor, set_true, &is_closed);
    assert_null(monitor);
    NET_UNTIL(&net, is_closed);
    netloop_close(&net);
}

static bool has(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (strchr(text, ':'))
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    else
        assert_int_equal(inet_pton(AF_INET, text, &v4.sin_addr), 1);
    return monitor_has_address(strchr(text, ':') ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4);
}

static void test_own_addresses(void **state)
{
    (void)state;
    uv_interface_address_t *all;
    int n;
    assert_true(has("127.0.0.1") && has("127.3.2.1") && has("::1") && has("::ffff:127.0.0.1"));
    assert_false(has("192.0.2.77") || has("2001:db8:77::1") || has("::ffff:192.0.2.77"));
    assert_int_equal(uv_interface_addresses(&all, &n), 0);
    for (int i = 0; i < n; i++)
        assert_true(monitor_has_address((const struct sockaddr *)&all[i].address));
    uv_free_interface_addresses(all, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_is_the_networks),
        cmocka_unit_test(test_key_of_a_prefix_of_20_bits),
        cmocka_unit_test(test_key_of_ipv6_alone),
        cmocka_unit_test(test_key_of_a_wireless_network),
        cmocka_unit_test(test_key_needs_what_tells_networks_apart),
        cmocka_unit_test(test_same_facts_are_told_once),
        cmocka_unit_test(test_what_is_a_change),
        cmocka_unit_test(test_key_that_comes_later),
        cmocka_unit_test(test_sleep),
        cmocka_unit_test(test_polling_tells_once_and_stops),
        cmocka_unit_test(test_own_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
