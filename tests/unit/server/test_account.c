/* server/account.h: what a session holds of an account. */
#include "account.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct {
    const char *in, *out; /* NULL: refused */
} names[] = {
    {"anna", "anna"},        {"Anna", "anna"},    {"ANNA.B-c_d+1@Example.ORG", "anna.b-c_d+1@example.org"},
    {"", NULL},              {"an na", NULL},     {"anna\n", NULL},
    {"\xc3\xa4nna", NULL},   {"anna/../x", NULL}, {"anna:b", NULL},
    {"0123456789012345678901234567890123456789012345678901234567890123", "0123456789012345678901234567890123456789012345678901234567890123"},
    {"01234567890123456789012345678901234567890123456789012345678901234", NULL},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        char out[ACCOUNT_NAME_MAX + 1];
        assert_int_equal(account_name_normalise(slice_from_cstr(names[i].in), out), names[i].out != NULL);
        if (names[i].out)
            assert_string_equal(out, names[i].out);
    }
    char out[ACCOUNT_NAME_MAX + 1];
    assert_false(account_name_normalise(slice_of("an\0na", 5), out));
}

static struct account *make(const struct slice *send_as, size_t n)
{
    struct account *account = account_copy(&(struct store_account){.name = SLICE("anna"), .is_enabled = true, .send_as = send_as, .nsend_as = n});
    assert_non_null(account);
    return account;
}

static void test_send_as(void **state)
{
    (void)state;
    const struct slice list[] = {SLICE("anna@example.org"), SLICE("@example.net")};
    struct account *account = make(list, COUNT(list));
    assert_true(account_may_send_as(account, SLICE("anna@example.org")));
    assert_true(account_may_send_as(account, SLICE("Anna@Example.org")));
    assert_true(account_may_send_as(account, SLICE("whoever@example.net")));
    assert_false(account_may_send_as(account, SLICE("bob@example.org")));
    assert_false(account_may_send_as(account, SLICE("anna@sub.example.net")));
    assert_false(account_may_send_as(account, SLICE("anna@notexample.net")));
    assert_false(account_may_send_as(account, SLICE("")));
    account_free(&account);
    assert_null(account);
}

static void test_description(void **state)
{
    (void)state;
    const struct slice list[] = {SLICE("a@x.example"), SLICE("@b.example"), SLICE("c@x.example"), SLICE("d@x.example"), SLICE("e@x.example")};
    char text[100], little[12];
    struct account *account = make(list, 2);
    account_describe(account, text, sizeof text);
    assert_string_equal(text, "a@x.example, @b.example");
    account_describe(account, little, sizeof little);
    assert_string_equal(little, "a@x.example");
    account_free(&account);
    account = make(list, 5);
    account_describe(account, text, sizeof text);
    assert_string_equal(text, "a@x.example, @b.example, c@x.example, d@x.example, ...");
    account_free(&account);
    account = make(list, 0);
    account_describe(account, text, sizeof text);
    assert_string_equal(text, "nothing yet");
    account_free(&account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_send_as),
        cmocka_unit_test(test_description),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
