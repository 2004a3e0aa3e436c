/* The grammar of addresses: each row once, at an inaccessible page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "mail/address.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))
#define X16 "xxxxxxxxxxxxxxxx"
#define X63 X16 X16 X16 "xxxxxxxxxxxxxxx"
#define X64 X63 "x"
/* 3 * 64 + 61 = 253 octets */
#define DOMAIN253 X63 "." X63 "." X63 "." X16 X16 X16 "xxxxxxxxxxxxx"
/* 189 octets: with a local part of 64 and the at sign, 254 */
#define DOMAIN189 X63 "." X63 "." X16 X16 X16 "xxxxxxxxxxxxx"

struct row {
    const char *text;
    const char *canonical; /* NULL: refused */
    enum result result;
    unsigned flags;
};

static const struct row mailboxes[] = {
    {"alice@example.org", "alice@example.org", RESULT_OK, 0},
    {"Alice@EXAMPLE.Org", "Alice@example.org", RESULT_OK, 0},
    {"a.b.c@x", "a.b.c@x", RESULT_OK, 0},
    {"!#$%&'*+-/=?^_`{|}~@x.y", "!#$%&'*+-/=?^_`{|}~@x.y", RESULT_OK, 0},
    {"user%far@x.y", "user%far@x.y", RESULT_OK, 0},
    {"far!user@x.y", "far!user@x.y", RESULT_OK, 0},
    {"\"alice\"@x.y", "alice@x.y", RESULT_OK, 0},
    {"\"al\\ice\"@x.y", "alice@x.y", RESULT_OK, 0},
    {"\"al ice\"@x.y", "\"al ice\"@x.y", RESULT_OK, 0},
    {"\"a\\ b\"@x.y", "\"a b\"@x.y", RESULT_OK, 0},
    {"\"a@b\"@x.y", "\"a@b\"@x.y", RESULT_OK, 0},
    {"\"a\\\"b\\\\\"@x.y", "\"a\\\"b\\\\\"@x.y", RESULT_OK, 0},
    {"\"\"@x.y", "\"\"@x.y", RESULT_OK, 0},
    {"\"a..b\"@x.y", "\"a..b\"@x.y", RESULT_OK, 0},
    {"\".\"@x.y", "\".\"@x.y", RESULT_OK, 0},
    {"\">\"@x.y", "\">\"@x.y", RESULT_OK, 0},
    {"a@[192.0.2.1]", "a@[192.0.2.1]", RESULT_OK, 0},
    {"a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]", RESULT_OK, 0},
    {"a@1.2.3.example", "a@1.2.3.example", RESULT_OK, 0},
    {"a@xn--bcher-kva.example", "a@xn--bcher-kva.example", RESULT_OK, 0},
    {"a@3com.com", "a@3com.com", RESULT_OK, 0},
    {X64 "@" DOMAIN189, X64 "@" DOMAIN189, RESULT_OK, 0},
    {"j\xc3\xb6rg@x.y", "j\xc3\xb6rg@x.y", RESULT_OK, ADDRESS_ALLOW_UTF8},
    {"\"j\xc3\xb6rg\"@x.y", "j\xc3\xb6rg@x.y", RESULT_OK, ADDRESS_ALLOW_UTF8},
    {"a@b\xc3\xbc" "cher.EXAMPLE", "a@b\xc3\xbc" "cher.example", RESULT_OK, ADDRESS_ALLOW_UTF8},

    {"", NULL, RESULT_SYNTAX, 0},
    {"alice", NULL, RESULT_SYNTAX, 0},
    {"@x.y", NULL, RESULT_SYNTAX, 0},
    {"alice@", NULL, RESULT_SYNTAX, 0},
    {"alice@@x.y", NULL, RESULT_SYNTAX, 0},
    {"a@b@x.y", NULL, RESULT_SYNTAX, 0},
    {".a@x.y", NULL, RESULT_SYNTAX, 0},
    {"a.@x.y", NULL, RESULT_SYNTAX, 0},
    {"a..b@x.y", NULL, RESULT_SYNTAX, 0},
    {"a b@x.y", NULL, RESULT_SYNTAX, 0},
    {"a(c)@x.y", NULL, RESULT_SYNTAX, 0},
    {"a@x.y ", NULL, RESULT_SYNTAX, 0},
    {" a@x.y", NULL, RESULT_SYNTAX, 0},
    {"<a@x.y>", NULL, RESULT_SYNTAX, 0},
    {"a@x..y", NULL, RESULT_SYNTAX, 0},
    {"a@.x", NULL, RESULT_SYNTAX, 0},
    {"a@x.", NULL, RESULT_SYNTAX, 0},
    {"a@-x.y", NULL, RESULT_SYNTAX, 0},
    {"a@x-.y", NULL, RESULT_SYNTAX, 0},
    {"a@x_y.z", NULL, RESULT_SYNTAX, 0},
    {"a@127.0.0.1", NULL, RESULT_SYNTAX, 0},
    {"a@localhost.1", NULL, RESULT_SYNTAX, 0},
    {"a@[127.0.0.1", NULL, RESULT_SYNTAX, 0},
    {"a@[127.0.0]", NULL, RESULT_SYNTAX, 0},
    {"a@[x400:abc]", NULL, RESULT_SYNTAX, 0},
    {"a@[]", NULL, RESULT_SYNTAX, 0},
    {"a@[127.0.0.1].x", NULL, RESULT_SYNTAX, 0},
    {"\"a@x.y", NULL, RESULT_SYNTAX, 0},
    {"\"a\\\"@x.y", NULL, RESULT_SYNTAX, 0},
    {"\"a\"b@x.y", NULL, RESULT_SYNTAX, 0},
    {"b\"a\"@x.y", NULL, RESULT_SYNTAX, 0},
    {"\"a\".b@x.y", NULL, RESULT_SYNTAX, 0},
    {"\"a\tb\"@x.y", NULL, RESULT_SYNTAX, 0},
    {"\"a\\\tb\"@x.y", NULL, RESULT_SYNTAX, 0},
    {"a\r\n@x.y", NULL, RESULT_SYNTAX, 0},
    {"\"a\r\nRCPT\"@x.y", NULL, RESULT_SYNTAX, 0},
    {"a@x.y\r\n", NULL, RESULT_SYNTAX, 0},
    {"a\x7f@x.y", NULL, RESULT_SYNTAX, 0},
    {"j\xc3\xb6rg@x.y", NULL, RESULT_SYNTAX, 0},
    {"a@b\xc3\xbc.y", NULL, RESULT_SYNTAX, 0},
    {"j\xf6rg@x.y", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_UTF8},
    {"j\xc3@x.y", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_UTF8},
    {"j\xc0\xaf@x.y", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_UTF8},
    {"j\xed\xa0\x80@x.y", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_UTF8},
    {"j\xc2\x85@x.y", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_UTF8},
    {"a\xe2\x80\xaeg@x.y", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_UTF8},
    {"\"\\j\\\xc3\xb6\"@x.y", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_UTF8},
    {X64 "x@x.y", NULL, RESULT_LIMIT, 0},
    {"\"" X63 " \"@x.y", NULL, RESULT_LIMIT, 0},
    {"a@" X64, NULL, RESULT_LIMIT, 0},
    {"a@x" DOMAIN253, NULL, RESULT_LIMIT, 0},
    {X64 "@x" DOMAIN189, NULL, RESULT_LIMIT, 0},
    {"postmaster", NULL, RESULT_SYNTAX, ADDRESS_ALLOW_POSTMASTER},
};

static void check_mailbox(const struct row *row)
{
    struct mail_address out;
    struct slice text = guard_dup(slice_from_cstr(row->text));
    enum result result = address_parse(text, row->flags, &out);
    if (result != row->result)
        fail_msg("%s: %s", row->text, result_name(result));
    assert_int_equal(out.len, strlen(out.text));
    assert_string_equal(out.text, row->canonical ? row->canonical : "");
    guard_free(&text);
}

static void parses_mailboxes(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(mailboxes); i++)
        check_mailbox(&mailboxes[i]);
}

static void refuses_nul(void **state)
{
    struct mail_address out;
    (void)state;
    assert_int_equal(address_parse(SLICE("a\0b@x.y"), ADDRESS_ALLOW_UTF8, &out), RESULT_SYNTAX);
    assert_int_equal(address_parse(SLICE("\"a\0b\"@x.y"), ADDRESS_ALLOW_UTF8, &out), RESULT_SYNTAX);
    assert_int_equal(address_parse(SLICE("a@x\0.y"), ADDRESS_ALLOW_UTF8, &out), RESULT_SYNTAX);
}

/* parse(text(parse(x))) is parse(x). */
static void canonical_form_is_stable(void **state)
{
    struct mail_address once, twice;
    (void)state;
    for (size_t i = 0; i < LEN(mailboxes); i++) {
        if (!mailboxes[i].canonical)
            continue;
        assert_int_equal(address_parse(slice_from_cstr(mailboxes[i].text), ADDRESS_ALLOW_UTF8, &once), RESULT_OK);
        assert_int_equal(address_parse(address_text(&once), ADDRESS_ALLOW_UTF8, &twice), RESULT_OK);
        assert_string_equal(once.text, twice.text);
        assert_int_equal(once.local_len, twice.local_len);
    }
}

static void tells_the_parts(void **state)
{
    struct mail_address out;
    (void)state;
    assert_int_equal(address_parse(SLICE("\"a@b\"@X.y"), 0, &out), RESULT_OK);
    assert_true(slice_equal(address_local(&out), SLICE("\"a@b\"")));
    assert_true(slice_equal(address_domain(&out), SLICE("x.y")));
    assert_false(out.is_literal);
    assert_false(out.needs_smtputf8);
    assert_int_equal(address_parse(SLICE("a@[192.0.2.1]"), 0, &out), RESULT_OK);
    assert_true(slice_equal(address_domain(&out), SLICE("[192.0.2.1]")));
    assert_true(out.is_literal);
    assert_int_equal(address_parse(SLICE("a@b\xc3\xbc.y"), ADDRESS_ALLOW_UTF8, &out), RESULT_OK);
    assert_true(out.needs_smtputf8);
}

static const struct {
    const char *text;
    const char *canonical; /* NULL: refused */
    const char *rest;
    unsigned flags;
} paths[] = {
    {"<a@x.y>", "a@x.y", "", 0},
    {"<a@x.y> SIZE=5", "a@x.y", " SIZE=5", 0},
    {"<\"> SIZE=1\"@x.y> SIZE=5", "\"> SIZE=1\"@x.y", " SIZE=5", 0},
    {"<@hop:a@x.y>", "a@x.y", "", 0},
    {"<@hop.example,@hop2.example:a@x.y>", "a@x.y", "", 0},
    {"<>", "", "", ADDRESS_ALLOW_EMPTY},
    {"<> BODY=8BITMIME", "", " BODY=8BITMIME", ADDRESS_ALLOW_EMPTY},
    {"<Postmaster>", "postmaster", "", ADDRESS_ALLOW_POSTMASTER},
    {"<postmaster@x.y>", "postmaster@x.y", "", ADDRESS_ALLOW_POSTMASTER},
    {"<postmaster>junk", "postmaster", "junk", ADDRESS_ALLOW_POSTMASTER},
    {"", NULL, "", 7},
    {"<", NULL, "", 7},
    {"a@x.y", NULL, "", 7},
    {"<a@x.y", NULL, "", 7},
    {" <a@x.y>", NULL, "", 7},
    {"< a@x.y>", NULL, "", 7},
    {"<a@x.y >", NULL, "", 7},
    {"<a>", NULL, "", 7},
    {"<postmaster", NULL, "", 7},
    {"<postmasters>", NULL, "", 7},
    {"<>", NULL, "", ADDRESS_ALLOW_POSTMASTER},
    {"<Postmaster>", NULL, "", ADDRESS_ALLOW_EMPTY},
    {"<@hop a@x.y>", NULL, "", 7},
    {"<@hop,a@x.y>", NULL, "", 7},
    {"<@hop!a@x.y>", NULL, "", 7},
    {"<@hop\"a\"@x.y>", NULL, "", 7},
    {"<@hop>", NULL, "", 7},
    {"<@:a@x.y>", NULL, "", 7},
    {"<@hop:>", NULL, "", 7},
    {"<a@x.y,b@x.y>", NULL, "", 7},
    {"<a@x.y\r\n>", NULL, "", 7},
};

static void parses_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < LEN(paths); i++) {
        struct mail_address out;
        size_t used;
        struct slice text = guard_dup(slice_from_cstr(paths[i].text));
        enum result result = address_parse_path(text, paths[i].flags, &out, &used);
        if (result != (paths[i].canonical ? RESULT_OK : RESULT_SYNTAX))
            fail_msg("%s: %s", paths[i].text, result_name(result));
        assert_string_equal(out.text, paths[i].canonical ? paths[i].canonical : "");
        if (paths[i].canonical)
            assert_true(slice_equal(slice_skip(text, used), slice_from_cstr(paths[i].rest)));
        else
            assert_int_equal(used, 0);
        guard_free(&text);
    }
}

static void judges_literals(void **state)
{
    static const char *const good[] = {
        "[0.0.0.0]", "[255.255.255.255]", "[192.000.2.1]", "[IPv6:::]", "[IPv6:::1]", "[IPv6:1::]", "[ipv6:1:2:3:4:5:6:7:8]",
        "[IPv6:1:2:3:4:5:6:192.0.2.1]", "[IPv6:::ffff:192.0.2.1]", "[IPv6:1::8]", "[IPv6:1:2:3:4:5:6:7::]", "[IPv6:fe80::ABCD]",
    };
    static const char *const bad[] = {
        "", "[", "]", "[]", "192.0.2.1", "[1.2.3]", "[1.2.3.4.5]", "[256.0.0.1]", "[1.2.3.]", "[.1.2.3]", "[0001.2.3.4]", "[-1.2.3.4]",
        "[IPv6:]", "[IPv6:1]", "[IPv6:1:2:3:4:5:6:7]", "[IPv6:1:2:3:4:5:6:7:8:9]", "[IPv6:1::2::3]", "[IPv6::::]", "[IPv6::1]",
        "[IPv6:1:]", "[IPv6:12345::]", "[IPv6:g::]", "[IPv6:1:2:3:4:5:6:7:8::]", "[IPv6:1:2:3:4:5:6:7:1.2.3.4]", "[IPv6:1.2.3.4]",
        "[IPv6:fe80::1%eth0]", "[::1]", "[IPv6:1::1.2.3]", "[IPv6:::1.2.3.4:5]",
    };
    (void)state;
    for (size_t i = 0; i < LEN(good); i++)
        if (!address_literal_is_valid(slice_from_cstr(good[i])))
            fail_msg("%s is valid", good[i]);
    for (size_t i = 0; i < LEN(bad); i++) {
        struct slice text = guard_dup(slice_from_cstr(bad[i]));
        if (address_literal_is_valid(text))
            fail_msg("%s is not valid", bad[i]);
        guard_free(&text);
    }
}

static void judges_domains(void **state)
{
    (void)state;
    assert_true(address_domain_is_valid(SLICE("example.org"), false));
    assert_true(address_domain_is_valid(SLICE(DOMAIN253), false));
    assert_false(address_domain_is_valid(SLICE("x" DOMAIN253), false));
    assert_false(address_domain_is_valid(SLICE("example.org."), false));
    assert_false(address_domain_is_valid(SLICE(""), false));
    assert_false(address_domain_is_valid(SLICE("[192.0.2.1]"), false));
    assert_false(address_domain_is_valid(SLICE("b\xc3\xbc.example"), false));
    assert_true(address_domain_is_valid(SLICE("b\xc3\xbc.example"), true));
}

static void matches_send_as_lists(void **state)
{
    static const struct {
        const char *pattern, *address;
        bool matches;
    } rows[] = {
        {"alice@x.y", "alice@x.y", true},
        {"Alice@X.y", "aLICE@x.Y", true},
        {"alice@x.y", "\"alice\"@x.y", true},
        {"\"al ice\"@x.y", "\"al\\ ice\"@x.y", true},
        {"@x.y", "anybody@x.y", true},
        {"@X.Y", "\"any body\"@x.y", true},
        {"j\xc3\xb6rg@x.y", "J\xc3\xb6rg@x.y", true},
        {"alice@x.y", "alice@x.yz", false},
        {"alice@x.y", "alicia@x.y", false},
        {"alice@x.y", "xalice@x.y", false},
        {"@x.y", "a@z.x.y", false},
        {"@x.y", "a@xx.y", false},
        {"@x.y", "\"a@x.y\"@z", false},
        {"@x.y", "", false},
        {"@x.y", "x.y", false},
        {"@x.y", "<a@x.y>", false},
        {"@x.y", "a@x.y, b@z", false},
        {"alice", "alice", false},
        {"", "", false},
        {"@", "a@", false},
        {"@*", "a@x.y", false},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++)
        if (address_matches(slice_from_cstr(rows[i].pattern), slice_from_cstr(rows[i].address)) != rows[i].matches)
            fail_msg("%s against %s", rows[i].pattern, rows[i].address);
    assert_true(address_pattern_is_valid(SLICE("@x.y")));
    assert_true(address_pattern_is_valid(SLICE("a@x.y")));
    assert_false(address_pattern_is_valid(SLICE("a")));
    assert_false(address_pattern_is_valid(SLICE("@")));
    assert_false(address_pattern_is_valid(SLICE("*@x.y, a@b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_mailboxes),
        cmocka_unit_test(refuses_nul),
        cmocka_unit_test(canonical_form_is_stable),
        cmocka_unit_test(tells_the_parts),
        cmocka_unit_test(parses_paths),
        cmocka_unit_test(judges_literals),
        cmocka_unit_test(judges_domains),
        cmocka_unit_test(matches_send_as_lists),
    };
    return cmocka_run_group_tests_name("mail/address", tests, NULL, NULL);
}
