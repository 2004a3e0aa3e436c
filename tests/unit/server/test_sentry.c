/* server/sentry.h: what is remembered of logins. */
#include "sentry.h"

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
    return sentry_is_locked(sentry, (struct sockaddr *)&a, slice_from_cstr(user), true, now_ms);
}

static bool is_proof_locked(struct sentry *sentry, const char *from, const char *user, int64_t now_ms)
{
    struct sockaddr_storage a = address(from);
    return sentry_is_locked(sentry, (struct sockaddr *)&a, slice_from_cstr(user), false, now_ms);
}

static struct sentry_place place(struct sentry *sentry, const char *from, const char *user, int64_t now_ms)
{
    struct sockaddr_storage a = address(from);
    struct sentry_place out;
    sentry_place(sentry, (struct sockaddr *)&a, slice_from_cstr(user), now_ms, &out);
    return out;
}

static void log_in(struct sentry *sentry, const char *from, const char *user, int64_t now_ms)
{
    struct sockaddr_storage a = address(from);
    sentry_note_success(sentry, (struct sockaddr *)&a, slice_from_cstr(user), now_ms);
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

/* Failures for it from anywhere; the limit is five. */
static void attack(struct sentry *sentry, const char *user, int times, int64_t now_ms)
{
    for (int i = 0; i < times; i++) {
        char from[16];
        snprintf(from, sizeof from, "192.0.2.%d", i + 1);
        fail_login(sentry, from, user, now_ms);
    }
}

/* Of an account that many guess at, each address has a few passwords, and not its full number: so nobody is locked out by others. */
static void test_an_attacked_account_is_open_to_new_addresses(void **state)
{
    (void)state;
    struct sentry *sentry;
    const struct sentry_limits roomy = {.failures_per_address = 10, .failures_per_account = 5};
    assert_int_equal(sentry_new(&sentry, &roomy), RESULT_OK);
    attack(sentry, "anna", 200, 1000);
    for (int i = 0; i < SENTRY_SPARED; i++) {
        assert_false(is_locked(sentry, "198.51.100.1", "anna", 1000));
        fail_login(sentry, "198.51.100.1", "anna", 1000);
    }
    assert_true(is_locked(sentry, "198.51.100.1", "anna", 1000));
    assert_false(is_locked(sentry, "198.51.100.1", "bob", 1000));
    assert_false(is_locked(sentry, "198.51.100.2", "anna", 1000));
    assert_false(is_locked(sentry, "198.51.100.1", "anna", 1000 + SENTRY_WINDOW_MS));
    sentry_set_limits(sentry, &(struct sentry_limits){0});
    assert_false(is_locked(sentry, "198.51.100.1", "anna", 1000));
    sentry_free(&sentry);
}

static void test_the_account_limit_concerns_no_proof(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &(struct sentry_limits){.failures_per_address = 4, .failures_per_account = 1}), RESULT_OK);
    attack(sentry, "anna", 50, 1000);
    for (int i = 0; i < SENTRY_SPARED; i++)
        fail_login(sentry, "198.51.100.1", "anna", 1000);
    assert_true(is_locked(sentry, "198.51.100.1", "anna", 1000));
    assert_false(is_proof_locked(sentry, "198.51.100.1", "anna", 1000));
    fail_login(sentry, "198.51.100.1", "anna", 1000);
    assert_true(is_proof_locked(sentry, "198.51.100.1", "anna", 1000)); /* the address' limit does */
    sentry_free(&sentry);
}

/* Others' failures from the same address do not count against who has logged in there; his own do. */
static void test_a_friend_has_a_count_of_his_own(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &limits), RESULT_OK);
    log_in(sentry, "192.0.2.77", "anna", 1000);
    attack(sentry, "anna", 50, 2000);
    for (int i = 0; i < 10; i++)
        fail_login(sentry, "192.0.2.77", "bob", 2000);
    assert_false(is_locked(sentry, "192.0.2.77", "anna", 2000));
    assert_false(is_proof_locked(sentry, "192.0.2.77", "anna", 2000));
    assert_true(is_locked(sentry, "192.0.2.77", "carl", 2000));
    assert_true(is_proof_locked(sentry, "192.0.2.77", "carl", 2000));
    for (int i = 0; i < 3; i++)
        fail_login(sentry, "192.0.2.77", "anna", 2000);
    assert_true(is_locked(sentry, "192.0.2.77", "anna", 2000));
    assert_false(is_locked(sentry, "192.0.2.77", "anna", 2000 + SENTRY_WINDOW_MS));
    sentry_free(&sentry);
}

static bool is_same_line(const struct sentry_place *a, const struct sentry_place *b)
{
    return memcmp(a->line, b->line, sizeof a->line) == 0;
}

static void test_places(void **state)
{
    (void)state;
    struct sentry *sentry;
    assert_int_equal(sentry_new(&sentry, &limits), RESULT_OK);
    struct sentry_place anna = place(sentry, "192.0.2.1", "anna", 1000), bob = place(sentry, "192.0.2.1", "bob", 1000);
    struct sentry_place elsewhere = place(sentry, "192.0.2.2", "anna", 1000);
    assert_int_equal(anna.standing, SENTRY_STRANGER);
    assert_true(is_same_line(&anna, &bob));
    assert_false(is_same_line(&anna, &elsewhere));
    fail_login(sentry, "192.0.2.1", "bob", 1000);
    assert_int_equal(place(sentry, "192.0.2.1", "anna", 1000).standing, SENTRY_SUSPECT);
    assert_int_equal(place(sentry, "192.0.2.2", "bob", 1000).standing, SENTRY_STRANGER);
    log_in(sentry, "192.0.2.1", "anna", 1000);
    anna = place(sentry, "192.0.2.1", "anna", 1000);
    bob = place(sentry, "192.0.2.1", "bob", 1000);
    assert_int_equal(anna.standing, SENTRY_FRIEND);
    assert_int_equal(bob.standing, SENTRY_SUSPECT);
    assert_false(is_same_line(&anna, &bob));
    assert_int_equal(place(sentry, "192.0.2.1", "anna", 1000 + SENTRY_FRIEND_MS).standing, SENTRY_STRANGER);
    for (int i = 0; i < SENTRY_SPARED; i++)
        fail_login(sentry, "192.0.2.1", "anna", 1000);
    anna = place(sentry, "192.0.2.1", "anna", 1000);
    assert_int_equal(anna.standing, SENTRY_SUSPECT);
    assert_true(is_same_line(&anna, &bob));
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
        cmocka_unit_test(test_an_attacked_account_is_open_to_new_addresses),
        cmocka_unit_test(test_the_account_limit_concerns_no_proof),
        cmocka_unit_test(test_a_friend_has_a_count_of_his_own),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_full_tables),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
