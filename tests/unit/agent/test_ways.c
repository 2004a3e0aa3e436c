/* What is remembered of ways, and its text in the store. */
#include "ways.h"

#include "search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct path path_of(const char *text, uint16_t port)
{
    struct net_address parsed;
    struct path path = {.port = port};
    assert_int_equal(net_address_parse_ip(slice_from_cstr(text), port, &parsed), RESULT_OK);
    assert_true(search_address(&parsed.any, &path.address));
    return path;
}

static void test_what_is_written_is_read(void **state)
{
    struct ways ways = {0}, read;
    struct path path = path_of("192.0.2.1", 465);
    struct path_address resolved[] = {path_of("2001:db8::1", 0).address, path.address};
    struct buffer text = BUFFER(WAYS_TEXT_MAX);
    (void)state;
    ways_won(&ways, &path, resolved, 2);
    assert_int_equal(ways_write(&ways, SLICE("relay.example"), &text), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&text), SLICE("192.0.2.1 465 tls relay.example 192.0.2.1 2001:db8::1")));
    ways_read(&read, buffer_slice(&text), SLICE("relay.example"));
    assert_true(read.has_known && path_equal(&read.known, &path));
    assert_int_equal(read.naddresses, 2);
    assert_true(path_address_equal(&read.addresses[1], &resolved[0]));
    ways_read(&read, buffer_slice(&text), SLICE("other.example"));
    assert_true(!read.has_known && read.naddresses == 0);
    buffer_free(&text);
}

static void test_what_we_did_not_write_is_nothing(void **state)
{
    static const char *const texts[] = {"", "x", "192.0.2.1", "192.0.2.1 465 tls", "192.0.2.1 70000 tls r", "x 465 tls r", " 465 tls r", "192.0.2.1  tls r"};
    struct ways ways;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        ways_read(&ways, slice_from_cstr(texts[i]), SLICE("r"));
        assert_true(!ways.has_known && ways.naddresses == 0);
    }
    /* As the first agents wrote it; and rubbish among the addresses. */
    ways_read(&ways, SLICE("192.0.2.1 25 starttls r"), SLICE("r"));
    assert_true(ways.has_known && ways.known.mode == PATH_STARTTLS && ways.naddresses == 1);
    ways_read(&ways, SLICE("192.0.2.1 25 starttls r x 192.0.2.2"), SLICE("r"));
    assert_int_equal(ways.naddresses, 2);
}

static void test_a_resolver_that_lies_pushes_nothing_out(void **state)
{
    struct ways ways = {0};
    struct path path = path_of("192.0.2.1", 465);
    struct path_address lies[WAYS_ADDRESSES_MAX];
    (void)state;
    for (uint8_t i = 0; i < WAYS_ADDRESSES_MAX; i++) {
        lies[i] = path_of("203.0.113.1", 0).address;
        lies[i].octets[3] = (uint8_t)(i + 1);
    }
    ways_won(&ways, &path, &path.address, 1);
    ways_won(&ways, &path, lies, WAYS_ADDRESSES_MAX);
    assert_int_equal(ways.naddresses, 1);
    /* An honest one that names many is cut; the winner stays first. */
    path.address = lies[WAYS_ADDRESSES_MAX - 1];
    ways_won(&ways, &path, lies, WAYS_ADDRESSES_MAX);
    assert_int_equal(ways.naddresses, WAYS_ADDRESSES_MAX);
    assert_true(path_address_equal(&ways.addresses[0], &path.address));
}

static void test_demotion_comes_and_goes(void **state)
{
    struct ways ways = {0};
    struct path bad = path_of("192.0.2.1", 465), other = path_of("192.0.2.1", 587);
    (void)state;
    ways_won(&ways, &bad, NULL, 0);
    ways_demote(&ways, &bad, 1000);
    assert_true(!ways.has_known && ways.ndemoted == 1);
    ways_demote(&ways, &other, 2000);
    ways_demote(&ways, &bad, 3000);
    assert_true(ways.ndemoted == 2 && path_equal(&ways.demoted[1], &bad));
    ways_promote(&ways, &bad);
    assert_true(ways.ndemoted == 1 && path_equal(&ways.demoted[0], &other));
    ways_forget_old(&ways, 2000 + WAYS_DEMOTION_MS);
    assert_int_equal(ways.ndemoted, 1);
    ways_forget_old(&ways, 2001 + WAYS_DEMOTION_MS);
    assert_int_equal(ways.ndemoted, 0);
    for (uint16_t port = 1; port <= WAYS_DEMOTED_MAX + 3; port++) {
        bad.port = port;
        ways_demote(&ways, &bad, port);
    }
    assert_true(ways.ndemoted == WAYS_DEMOTED_MAX && ways.demoted[0].port == 4 && ways.demoted_at_ms[0] == 4);
}

static void test_another_configuration(void **state)
{
    struct ways ways = {0};
    struct path path = path_of("192.0.2.1", 465);
    (void)state;
    ways_won(&ways, &path, NULL, 0);
    ways_forget(&ways, true);
    assert_true(!ways.has_known && ways.naddresses == 1);
    ways_forget(&ways, false);
    assert_int_equal(ways.naddresses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),         cmocka_unit_test(test_what_we_did_not_write_is_nothing),
        cmocka_unit_test(test_a_resolver_that_lies_pushes_nothing_out), cmocka_unit_test(test_demotion_comes_and_goes),
        cmocka_unit_test(test_another_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
