/* net/dns_record.h: names and data of DNS answers. */
#include "net/dns_record.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define WIRE(literal) {literal, sizeof(literal) - 1}
#define LABEL_63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"
#define WIRE_63 "\x3f" LABEL_63

static void test_names_from_wire(void **state)
{
    (void)state;
    static const struct {
        const char *wire;
        size_t len;
        const char *name; /* NULL: refused */
    } rows[] = {
        {"\0", 1, ""},
        {"\1a\0", 3, "a"},
        {"\2Mx\7Example\0", 12, "mx.example"},
        {"\4_dmx\2x-\0", 9, "_dmx.x-"},
        {WIRE_63 "\0", 65, LABEL_63},
        {WIRE_63 WIRE_63 WIRE_63 "\x3d" "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghi\0", 64 * 3 + 62 + 1,
         LABEL_63 "." LABEL_63 "." LABEL_63 ".abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghi"},
        {WIRE_63 WIRE_63 WIRE_63 "\x3e" "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij\0", 64 * 3 + 63 + 1, NULL},
        {"", 0, NULL},
        {"\1a", 2, NULL},        /* no end */
        {"\1", 1, NULL},
        {"\5ab\0", 4, NULL},     /* label past the end */
        {"\1a\0x", 4, NULL},     /* something behind */
        {"\0\0", 2, NULL},
        {"\xc0\x0c", 2, NULL},   /* compressed */
        {"\x40" LABEL_63 "x\0", 66, NULL}, /* 64 */
        {"\3a.b\0", 5, NULL},    /* a dot inside a label */
        {"\3a b\0", 5, NULL},
        {"\3a\0b\0", 5, NULL},
        {"\3a\nb\0", 5, NULL},   /* nobody forges log lines */
        {"\2\xc3\xbc\0", 4, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[DNS_NAME_TEXT];
        struct slice wire = guard_dup(slice_of(rows[i].wire, rows[i].len));
        enum result result = dns_name_from_wire(wire, name);
        guard_free(&wire);
        if ((result == RESULT_OK) != (rows[i].name != NULL) || (rows[i].name && strcmp(name, rows[i].name) != 0))
            fail_msg("row %zu: %s \"%s\"", i, result_name(result), name);
    }
}

static void test_names_from_text(void **state)
{
    (void)state;
    char name[DNS_NAME_TEXT];
    assert_int_equal(dns_name_from_text(SLICE("MX.Example."), name), RESULT_OK);
    assert_string_equal(name, "mx.example");
    assert_int_equal(dns_name_from_text(SLICE(LABEL_63 "." LABEL_63 "." LABEL_63 "." "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghi"), name),
                     RESULT_OK);
    assert_int_equal(strlen(name), 253);
    assert_int_equal(dns_name_from_text(SLICE(LABEL_63 "." LABEL_63 "." LABEL_63 "." "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij"), name),
                     RESULT_SYNTAX);
    assert_int_equal(dns_name_from_text(SLICE(LABEL_63 "x"), name), RESULT_SYNTAX);
    assert_int_equal(dns_name_from_text(SLICE("."), name), RESULT_SYNTAX);
    assert_int_equal(dns_name_from_text((struct slice){0}, name), RESULT_SYNTAX);
}

static struct slice mx(char out[64], unsigned preference, const char *label)
{
    int n = snprintf(out, 64, "%c%c%c%s", (int)(preference >> 8), (int)(preference & 0xff), (int)strlen(label), label);
    return slice_of(out, (size_t)n + 1);
}

static void expect_order(const struct dns_mx_list *list, const char *expected)
{
    char text[1024] = "";
    for (size_t i = 0; i < list->count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%u %s", i > 0 ? ", " : "", list->hosts[i].preference, list->hosts[i].name);
    assert_string_equal(text, expected);
}

static void add(struct dns_mx_list *list, unsigned preference, const char *label, uint32_t lot)
{
    char rdata[64];
    struct slice copy = guard_dup(mx(rdata, preference, label));
    dns_mx_list_add(list, copy, lot);
    guard_free(&copy);
}

static void test_order(void **state)
{
    (void)state;
    struct dns_mx_list list = {0};
    add(&list, 20, "d", 1);
    add(&list, 10, "b", 7);
    add(&list, 10, "c", 9);
    add(&list, 10, "a", 3);
    add(&list, 0xffff, "z", 0);
    add(&list, 300, "e", 0);
    expect_order(&list, "10 a, 10 b, 10 c, 20 d, 300 e, 65535 z");
    add(&list, 5, "E", 0);   /* again, and better */
    add(&list, 400, "a", 0); /* again, and worse */
    expect_order(&list, "5 e, 10 a, 10 b, 10 c, 20 d, 65535 z");
    assert_false(list.has_null);
}

/* All orders of two equal hosts come up, by their lots alone. */
static void test_equal_ones_follow_their_lots(void **state)
{
    (void)state;
    struct dns_mx_list one = {0}, two = {0};
    add(&one, 10, "a", 1);
    add(&one, 10, "b", 2);
    expect_order(&one, "10 a, 10 b");
    add(&two, 10, "a", 2);
    add(&two, 10, "b", 1);
    expect_order(&two, "10 b, 10 a");
}

static void test_the_best_are_kept(void **state)
{
    (void)state;
    struct dns_mx_list list = {0};
    for (unsigned i = 500; i > 0; i--) {
        char label[8];
        snprintf(label, sizeof label, "h%u", i);
        add(&list, i, label, i * 2654435761u);
    }
    add(&list, 21, "late", 0);
    assert_int_equal(list.count, DNS_MX_MAX);
    for (unsigned i = 0; i < DNS_MX_MAX; i++)
        assert_int_equal(list.hosts[i].preference, i + 1);
}

static void test_null_and_broken(void **state)
{
    (void)state;
    struct dns_mx_list list = {0};
    dns_mx_list_add(&list, SLICE("\0"), 0);
    dns_mx_list_add(&list, SLICE("\0\n"), 0);
    dns_mx_list_add(&list, SLICE("\0\n\5ab"), 0);
    dns_mx_list_add(&list, (struct slice){0}, 0);
    assert_false(list.has_null);
    dns_mx_list_add(&list, slice_of("\0\0\0", 3), 0);
    assert_true(list.has_null);
    assert_int_equal(list.count, 0);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *rdata;
        size_t len;
        const char *text;
    } rows[] = {
        {"", 0, ""}, {"\0", 1, ""}, {"\3abc", 4, "abc"}, {"\3abc\0\2de", 8, "abcde"}, {"\4abc", 4, NULL}, {"\3abc\1", 5, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[16];
        size_t len = 99;
        struct slice rdata = guard_dup(slice_of(rows[i].rdata, rows[i].len));
        enum result result = dns_text_join(rdata, out, &len);
        guard_free(&rdata);
        assert_int_equal(result, rows[i].text ? RESULT_OK : RESULT_SYNTAX);
        if (rows[i].text)
            assert_true(slice_equal(slice_of(out, len), slice_from_cstr(rows[i].text)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_from_wire), cmocka_unit_test(test_names_from_text),   cmocka_unit_test(test_order),
        cmocka_unit_test(test_equal_ones_follow_their_lots), cmocka_unit_test(test_the_best_are_kept), cmocka_unit_test(test_null_and_broken),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
