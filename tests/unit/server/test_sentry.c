/* server/sentry.h: what is remembered of logins. */
#include "sentry.h"

#include "crypto/crypto.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct sentry_limits limits = {.failures_per_address = 3, .failures_per_account = 5};

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage out = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
        v6->sin6_family = AF_INET6;
    }
    return out;
}

static bool is_locked(struct sentry *sentry, const char *from, const char *user, int64_t now_ms)
{
    struct sockaddr_storage a = address(from);
    return sentry_is_locked(sentry, (struct sockaddr *)&a, slice_from_cstr(user), now_ms);
}

static void fail_login(struct sentry *sentry, const char *from, const char *user, int64_t now_ms)
{
    struct sockaddr_storage a = address(from);
    sentry_note_failure(sentry, (struct sockaddr *)&a, slice_from_cstr(user), now_ms);
}

static void test_remembers(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &limits), RESULT_OK);
    assert_false(sentry_knows(sentry, SLICE("anna"), SLICE("secret"), SLICE("hash"), 1000));
    sentry_remember(sentry, SLICE("anna"), SLICE("secret"), SLICE("hash"), 1000);
    assert_true(sentry_knows(sentry, SLICE("anna"), SLICE("secret"), SLICE("hash"), 1000 + SENTRY_REMEMBER_MS - 1));
    assert_false(sentry_knows(sentry, SLICE("anna"), SLICE("secret"), SLICE("hash"), 1000 + SENTRY_REMEMBER_MS));
    assert_false(sentry_knows(sentry, SLICE("anna"), SLICE("Secret"), SLICE("hash"), 1001));
    assert_false(sentry_knows(sentry, SLICE("bob"), SLICE("secret"), SLICE("hash"), 1001));
    /* a changed password has another hash */
    assert_false(sentry_knows(sentry, SLICE("anna"), SLICE("secret"), SLICE("hash2"), 1001));
    /* parts do not run together */
    assert_false(sentry_knows(sentry, SLICE("ann"), SLICE("asecret"), SLICE("hash"), 1001));
    assert_false(sentry_knows(sentry, SLICE("anna"), SLICE("secreth"), SLICE("ash"), 1001));
    sentry_free(&sentry);
    assert_null(sentry);
}

static void test_locks_an_address(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &limits), RESULT_OK);
    for (int i = 0; i < 3; i++) {
        char user[8];
        snprintf(user, sizeof user, "u%d", i);
        assert_false(is_locked(sentry, "192.0.2.1", "anna", 1000));
        fail_login(sentry, "192.0.2.1", user, 1000);
    }
    assert_true(is_locked(sentry, "192.0.2.1", "anna", 1000));
    assert_false(is_locked(sentry, "192.0.2.2", "anna", 1000));
    assert_false(is_locked(sentry, "192.0.2.1", "anna", 1000 + SENTRY_WINDOW_MS));
    sentry_free(&sentry);
}

static void test_a_household_of_ipv6_is_one(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &limits), RESULT_OK);
    fail_login(sentry, "2001:db8:0:1::1", "a", 1000);
    fail_login(sentry, "2001:db8:0:1::2", "b", 1000);
    fail_login(sentry, "2001:db8:0:1:ffff::", "c", 1000);
    assert_true(is_locked(sentry, "2001:db8:0:1::9", "anna", 1000));
    assert_false(is_locked(sentry, "2001:db8:0:2::1", "anna", 1000));
    sentry_free(&sentry);
}

static void test_locks_an_account(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &limits), RESULT_OK);
    for (int i = 0; i < 5; i++) {
        char from[16];
        snprintf(from, sizeof from, "192.0.2.%d", i + 1);
        assert_false(is_locked(sentry, "198.51.100.1", "anna", 1000));
        fail_login(sentry, from, "anna", 1000);
    }
    assert_true(is_locked(sentry, "198.51.100.1", "anna", 1000));
    assert_false(is_locked(sentry, "198.51.100.1", "bob", 1000));
    sentry_set_limits(sentry, &(struct sentry_limits){0});
    assert_false(is_locked(sentry, "198.51.100.1", "anna", 1000));
    sentry_free(&sentry);
}

/* More facts than there is room for: the table stays usable, and the newest is known. */
static void test_full_tables(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &limits), RESULT_OK);
    for (int i = 0; i < 20000; i++) {
        char user[16];
        snprintf(user, sizeof user, "user%d", i);
        sentry_remember(sentry, slice_from_cstr(user), SLICE("p"), SLICE("h"), 1000 + i);
        assert_true(sentry_knows(sentry, slice_from_cstr(user), SLICE("p"), SLICE("h"), 1000 + i));
    }
    assert_false(sentry_knows(sentry, SLICE("user0"), SLICE("p"), SLICE("h"), 21000));
    sentry_free(&sentry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembers),
        cmocka_unit_test(test_locks_an_address),
        cmocka_unit_test(test_a_household_of_ipv6_is_one),
        cmocka_unit_test(test_locks_an_account),
        cmocka_unit_test(test_full_tables),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
