/* What is remembered of networks: by rows and small stories. */
#include "path/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define WALL INT64_C(1700000000000)
#define HOUR (INT64_C(3600) * 1000)
#define DAY (24 * HOUR)
#define HOST SLICE("relay.example")

static const struct memory_key HOME = {{1}}, HOTEL = {{2, [15] = 0xff}};

static const struct path_address RELAY = {.family = 4, .octets = {192, 0, 2, 1}};

static struct path port(uint16_t number)
{
    return (struct path){.address = RELAY, .port = number};
}

static void carried(struct memory *memory, const struct memory_key *key, uint16_t number, int64_t wall_ms)
{
    const struct path path = port(number);
    assert_int_equal(memory_carried(memory, key, &path, 1000, wall_ms), RESULT_OK);
}

static void died(struct memory *memory, const struct memory_key *key, uint16_t number, int64_t wall_ms)
{
    const struct path path = port(number);
    assert_int_equal(memory_died(memory, key, &path, wall_ms), RESULT_OK);
}

static bool is_demoted(const struct memory *memory, const struct memory_key *key, uint16_t number, int64_t wall_ms)
{
    const struct path path = port(number);
    return memory_is_demoted(memory, key, &path, wall_ms);
}

/* "587 465 25": the ports, best first. */
static void expect_ports(const struct memory *memory, const struct memory_key *key, int64_t wall_ms, const char *ports)
{
    char text[100] = "";
    size_t n, len = 0;
    const struct memory_path *paths = memory_paths(memory, key, wall_ms, &n);
    assert_true((paths == NULL) == (n == 0));
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u", i ? " " : "", paths[i].path.port);
    assert_string_equal(text, ports);
}

static void test_best_first(void **state)
{
    (void)state;
    struct memory *memory = memory_new();
    const struct path proven = port(443), failed = port(25);
    expect_ports(memory, &HOME, WALL, "");
    assert_int_equal(memory_failed(memory, &HOME, &failed, PATH_DROPPED, WALL), RESULT_OK);
    assert_int_equal(memory_proven(memory, &HOME, &proven, 0, WALL), RESULT_OK);
    carried(memory, &HOME, 465, WALL);
    carried(memory, &HOME, 587, WALL + 1);
    died(memory, &HOME, 2525, WALL + 1);
    expect_ports(memory, &HOME, WALL + 1, "587 465 443 25 2525");
    expect_ports(memory, &HOTEL, WALL + 1, "");
    died(memory, &HOME, 587, WALL + 2);
    expect_ports(memory, &HOME, WALL + 2, "465 443 25 2525 587");
    /* An hour later the demotion is over, and what has carried mail counts again. */
    expect_ports(memory, &HOME, WALL + 2 + HOUR, "587 465 443 25 2525");
    memory_free(&memory);
    assert_null(memory);
}

static void test_demotion(void **state)
{
    (void)state;
    struct memory *memory = memory_new();
    died(memory, &HOME, 465, WALL);
    assert_true(is_demoted(memory, &HOME, 465, WALL + HOUR - 1));
    assert_false(is_demoted(memory, &HOME, 465, WALL + HOUR));
    assert_false(is_demoted(memory, &HOTEL, 465, WALL));
    assert_false(is_demoted(memory, &HOME, 587, WALL));
    carried(memory, &HOME, 465, WALL + 1);
    assert_false(is_demoted(memory, &HOME, 465, WALL + 1));
    /* By a clock that was ten years ahead: counts as now, and an hour from the next visit on. */
    died(memory, &HOME, 465, WALL + 3650 * DAY);
    assert_true(is_demoted(memory, &HOME, 465, WALL));
    carried(memory, &HOME, 587, WALL);
    assert_true(is_demoted(memory, &HOME, 465, WALL));
    assert_false(is_demoted(memory, &HOME, 465, WALL + HOUR));
    memory_free(&memory);
}

static void test_forgetting(void **state)
{
    (void)state;
    struct memory *memory = memory_new();
    carried(memory, &HOME, 465, WALL);
    carried(memory, &HOTEL, 587, WALL + DAY);
    expect_ports(memory, &HOME, WALL + MEMORY_LIFE_MS, "465");
    expect_ports(memory, &HOME, WALL + MEMORY_LIFE_MS + 1, "");
    memory_forget_old(memory, WALL + MEMORY_LIFE_MS + 1);
    expect_ports(memory, &HOME, WALL, "");
    expect_ports(memory, &HOTEL, WALL, "587");
    /* Of too many networks the one that was visited longest ago. */
    for (uint16_t i = 0; i < MEMORY_NETWORKS_MAX; i++) {
        const struct memory_key key = {{3, (uint8_t)i}};
        carried(memory, &key, 25, WALL + 2 * DAY + i);
    }
    expect_ports(memory, &HOTEL, WALL + 3 * DAY, "");
    expect_ports(memory, &(struct memory_key){{3, 0}}, WALL + 3 * DAY, "25");
    memory_forget(memory);
    expect_ports(memory, &(struct memory_key){{3, 0}}, WALL, "");
    memory_free(&memory);
}

/* Of too many paths: first those that have only failed, then old demotions, then what carried longest ago. A failure pushes nobody out. */
static void test_too_many_paths(void **state)
{
    (void)state;
    struct memory *memory = memory_new();
    const struct path failed = port(1), other = port(2);
    assert_int_equal(memory_failed(memory, &HOME, &failed, PATH_DROPPED, WALL), RESULT_OK);
    died(memory, &HOME, 10, WALL);
    for (uint16_t i = 0; i < 6; i++)
        carried(memory, &HOME, (uint16_t)(100 + i), WALL + i);
    carried(memory, &HOME, 106, WALL + 6);
    expect_ports(memory, &HOME, WALL + 6, "106 105 104 103 102 101 100 10");
    assert_int_equal(memory_failed(memory, &HOME, &other, PATH_DROPPED, WALL + 7), RESULT_OK);
    expect_ports(memory, &HOME, WALL + 6, "106 105 104 103 102 101 100 10");
    carried(memory, &HOME, 107, WALL + 8);
    carried(memory, &HOME, 108, WALL + 9);
    expect_ports(memory, &HOME, WALL + 9, "108 107 106 105 104 103 102 101");
    died(memory, &HOME, 101, WALL + 10);
    died(memory, &HOME, 102, WALL + 11);
    carried(memory, &HOME, 109, WALL + 12);
    expect_ports(memory, &HOME, WALL + 12, "109 108 107 106 105 104 103 102");
    memory_free(&memory);
}

static void test_addresses(void **state)
{
    (void)state;
    struct memory *memory = memory_new();
    const struct path_address *kept;
    for (uint8_t i = 0; i < 10; i++)
        memory_keep_address(memory, &(struct path_address){.family = 4, .octets = {192, 0, 2, i}});
    assert_int_equal(memory_addresses(memory, &kept), MEMORY_ADDRESSES_MAX);
    assert_int_equal(kept[0].octets[3], 9);
    assert_int_equal(kept[7].octets[3], 2);
    memory_keep_address(memory, &kept[3]); /* 6 */
    assert_int_equal(memory_addresses(memory, &kept), MEMORY_ADDRESSES_MAX);
    assert_int_equal(kept[0].octets[3], 6);
    assert_int_equal(kept[1].octets[3], 9);
    assert_int_equal(kept[4].octets[3], 5);
    memory_free(&memory);
}

/* What nobody has proved stands in for a family of which nothing is known, and gives way to what has. */
static void test_hints(void **state)
{
    (void)state;
    struct memory *memory = memory_new(), *copy = memory_new();
    struct buffer text = {0};
    const struct path_address *kept, v4 = {.family = 4, .octets = {192, 0, 2, 1}}, lie4 = {.family = 4, .octets = {10, 0, 0, 1}};
    const struct path_address v6 = {.family = 6, .octets = {0x20, [15] = 1}}, lie6 = {.family = 6, .octets = {0xfd, [15] = 9}};
    memory_keep_address(memory, &v4);
    memory_hint_address(memory, &lie4);
    memory_hint_address(memory, &lie6);
    memory_hint_address(memory, &v6);
    assert_int_equal(memory_addresses(memory, &kept), 2);
    assert_true(path_address_equal(&kept[0], &v4) && path_address_equal(&kept[1], &lie6));
    assert_int_equal(memory_write(memory, SLICE("relay.example"), &text), RESULT_OK);
    assert_int_equal(memory_read(copy, buffer_slice(&text), SLICE("relay.example"), WALL), RESULT_OK);
    for (uint8_t i = 2; i < 12; i++)
        memory_keep_address(copy, &(struct path_address){.family = 4, .octets = {192, 0, 2, i}});
    assert_int_equal(memory_addresses(copy, &kept), MEMORY_ADDRESSES_MAX + 1);
    assert_true(kept[0].octets[3] == 11 && path_address_equal(&kept[MEMORY_ADDRESSES_MAX], &lie6));
    memory_keep_address(copy, &v6);
    assert_int_equal(memory_addresses(copy, &kept), MEMORY_ADDRESSES_MAX);
    assert_true(path_address_equal(&kept[0], &v6) && kept[7].octets[3] == 5);
    buffer_free(&text);
    memory_free(&copy);
    memory_free(&memory);
}

static void write_text(struct memory *memory, struct buffer *out)
{
    buffer_clear(out);
    assert_int_equal(memory_write(memory, HOST, out), RESULT_OK);
}

/* Worth writing: what changes a choice; not a time that merely moves. */
static void test_dirty(void **state)
{
    (void)state;
    struct memory *memory = memory_new();
    struct buffer text = {0};
    assert_false(memory_is_dirty(memory));
    carried(memory, &HOME, 465, WALL);
    assert_true(memory_is_dirty(memory));
    write_text(memory, &text);
    assert_false(memory_is_dirty(memory));
    carried(memory, &HOME, 465, WALL + HOUR - 1);
    assert_false(memory_is_dirty(memory));
    carried(memory, &HOME, 465, WALL + HOUR);
    assert_true(memory_is_dirty(memory));
    write_text(memory, &text);
    carried(memory, &HOME, 587, WALL + HOUR + 1);
    assert_true(memory_is_dirty(memory));
    write_text(memory, &text);
    carried(memory, &HOME, 465, WALL + HOUR + 2); /* first again */
    assert_true(memory_is_dirty(memory));
    write_text(memory, &text);
    died(memory, &HOME, 465, WALL + HOUR + 3);
    assert_true(memory_is_dirty(memory));
    write_text(memory, &text);
    memory_keep_address(memory, &RELAY);
    assert_true(memory_is_dirty(memory));
    write_text(memory, &text);
    memory_keep_address(memory, &RELAY);
    assert_false(memory_is_dirty(memory));
    buffer_free(&text);
    memory_free(&memory);
}

static void test_text(void **state)
{
    (void)state;
    static const char *const expected = "postern-memory 1 relay.example\n"
                                        "address 192.0.2.1\n"
                                        "network 01000000000000000000000000000000 1700000000002\n"
                                        "path 1700000000001 0 120 1000 open 192.0.2.1:443 tls http/1.1 via socks5 10.0.0.1:1080\n"
                                        "path 0 1700000000002 0 0 died-early 192.0.2.1:465 tls\n"
                                        "network 020000000000000000000000000000ff 1700000000000\n"
                                        "path 0 0 0 0 dropped 192.0.2.1:25 tls\n";
    struct memory *memory = memory_new(), *again = memory_new();
    struct buffer text = {0}, second = {0};
    struct path path = port(443);
    path.alpn = PATH_ALPN_HTTP;
    path.via = PATH_SOCKS5;
    path.proxy = (struct path_proxy){{.family = 4, .octets = {10, 0, 0, 1}}, 1080};
    memory_keep_address(memory, &path.address);
    assert_int_equal(memory_proven(memory, &HOME, &path, 120, WALL), RESULT_OK);
    assert_int_equal(memory_carried(memory, &HOME, &path, 1000, WALL + 1), RESULT_OK);
    died(memory, &HOME, 465, WALL + 2);
    path = port(25);
    assert_int_equal(memory_failed(memory, &HOTEL, &path, PATH_DROPPED, WALL), RESULT_OK);
    write_text(memory, &text);
    assert_true(slice_equal(buffer_slice(&text), slice_from_cstr(expected)));
    assert_int_equal(memory_read(again, buffer_slice(&text), HOST, WALL + 5), RESULT_OK);
    assert_false(memory_is_dirty(again));
    write_text(again, &second);
    assert_true(slice_equal(buffer_slice(&text), buffer_slice(&second)));
    buffer_free(&text);
    buffer_free(&second);
    memory_free(&memory);
    memory_free(&again);
}

/* Other relays', other versions', rubbish: passed over. Times ahead count as now, and what is too old is gone. */
static void test_what_is_passed_over(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "192.0.2.1 465 tls relay.example 192.0.2.1",
        "postern-memory 2 relay.example\nnetwork 01000000000000000000000000000000 1700000000000\npath 1 0 1 1 open 192.0.2.1:465 tls\n",
        "postern-memory 1 other.example\nnetwork 01000000000000000000000000000000 1700000000000\npath 1 0 1 1 open 192.0.2.1:465 tls\n",
        "postern-memory 1 relay.example\nnetwork 0100000000000000000000000000000 1700000000000\npath 1 0 1 1 open 192.0.2.1:465 tls\n",
        "postern-memory 1 relay.example\nnetwork 0100000000000000000000000000000g 1700000000000\npath 1 0 1 1 open 192.0.2.1:465 tls\n",
        "postern-memory 1 relay.example\nnetwork 01000000000000000000000000000000 -1\npath 1 0 1 1 open 192.0.2.1:465 tls\n",
        "postern-memory 1 relay.example\nnetwork 01000000000000000000000000000000 1600000000000\npath 1 0 1 1 open 192.0.2.1:465 tls\n",
        "postern-memory 1 relay.example\npath 1 0 1 1 open 192.0.2.1:465 tls\n",
        "postern-memory 1 relay.example\nnetwork 01000000000000000000000000000000 1700000000000\npath 1 0 1 open 192.0.2.1:465 tls\npath 1 0 1 1 opened 192.0.2.1:465 tls\npath 1 0 1 1 open 192.0.2.1:465 TLS\npath\n\n \naddress\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct memory *memory = memory_new();
        assert_int_equal(memory_read(memory, slice_from_cstr(texts[i]), HOST, WALL), RESULT_OK);
        expect_ports(memory, &HOME, WALL, "");
        memory_free(&memory);
    }
    struct memory *memory = memory_new();
    const struct slice ahead = SLICE("postern-memory 1 relay.example\nnetwork 01000000000000000000000000000000 1800000000000\npath 1800000000000 1800000000000 1 1 open 192.0.2.1:465 tls\n"
                                     "path 1 0 1 1 open 192.0.2.1:465 tls\nrubbish\npath 1 0 1 1 open 192.0.2.1:25 tls");
    assert_int_equal(memory_read(memory, ahead, HOST, WALL), RESULT_OK);
    assert_true(is_demoted(memory, &HOME, 465, WALL));
    assert_false(is_demoted(memory, &HOME, 465, WALL + HOUR));
    expect_ports(memory, &HOME, WALL, "25 465");
    memory_free(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best_first), cmocka_unit_test(test_demotion), cmocka_unit_test(test_forgetting), cmocka_unit_test(test_too_many_paths),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_hints),  cmocka_unit_test(test_dirty),    cmocka_unit_test(test_text),       cmocka_unit_test(test_what_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
