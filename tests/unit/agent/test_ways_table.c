/* The table of ways: what a line says, and that no line is broader than the terminal. */
#include "ways_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

static json_t *way(const char *alpn, const char *proxy, const char *verdict, int ms, const char *words)
{
    json_t *json = json_pack("{s:s, s:i, s:s, s:s?, s:s?, s:s, s:s}", "address", "192.0.2.1", "port", 443, "mode", "tls", "alpn", alpn, "proxy", proxy, "verdict", verdict,
                             "words", words);
    json_object_set_new(json, "ms", ms < 0 ? json_null() : json_integer(ms));
    return json;
}

static size_t print(json_t *ways, unsigned columns, char *out, size_t size)
{
    FILE *file = fmemopen(out, size, "w");
    assert_non_null(file);
    size_t nlines = ways_table_print(file, ways, columns);
    fclose(file);
    json_decref(ways);
    return nlines;
}

static void test_lines(void **state)
{
    char text[1024] = "";
    (void)state;
    json_t *ways = json_pack("[o, o, o]", way(NULL, NULL, "open", 48, "is open"), way("http/1.1", NULL, "untried", -1, "has not\x1b[2J been tried"),
                             way("smtp", "10.0.0.1:3128", "proxy-refused", 3, "the proxy says n\xc3\xb6"));
    assert_int_equal(print(ways, 0, text, sizeof text), 4);
    assert_string_equal(text, "  way                             address    result          time\n"
                              "  443 tls                         192.0.2.1  open           48 ms  is open\n"
                              "  443 tls http/1.1                192.0.2.1  untried               has not?[2J been tried\n"
                              "  443 tls smtp via 10.0.0.1:3128  192.0.2.1  proxy-refused   3 ms  the proxy says n\xc3\xb6\n");
}

static size_t columns_of(const char *line)
{
    size_t columns = 0;
    for (; *line && *line != '\n'; line++)
        columns += ((unsigned char)*line & 0xc0) != 0x80;
    return columns;
}

static void test_a_line_is_cut_at_the_edge(void **state)
{
    char text[1024] = "";
    (void)state;
    /* Before the words are 2 + 7 + 2 + 9 + 2 + 6 + 2 + 5 + 2 columns. */
    assert_int_equal(print(json_pack("[o, o]", way(NULL, NULL, "open", 48, "\xc3\xb6\xc3\xb6\xc3\xb6 and more"), way(NULL, NULL, "open", 48, "six....")), 43, text, sizeof text), 3);
    assert_string_equal(text, "  way      address    result   time\n"
                              "  443 tls  192.0.2.1  open    48 ms  \xc3\xb6\xc3\xb6\xc3\xb6...\n"
                              "  443 tls  192.0.2.1  open    48 ms  six...\n");
    assert_int_equal(print(json_pack("[o]", way(NULL, NULL, "open", 48, "six...")), 43, text, sizeof text), 2);
    assert_non_null(strstr(text, "  six...\n"));
}

static void test_without_an_edge_a_line_ends_at_about_100(void **state)
{
    static const char words[] = "the certificate of fw.example, issued by itself, has another key: sha256//8mrohc1BJyvxkpntFEDO3djuyuTYPTqqI3sOrGhvsfY=";
    char text[1024] = "";
    (void)state;
    print(json_pack("[o]", way(NULL, NULL, "wrong-certificate", 48, words)), 0, text, sizeof text);
    assert_int_equal(columns_of(strchr(text, '\n') + 1), 100);
    assert_non_null(strstr(text, "...\n"));
    /* What stands before the words may be long itself: something of them is seen all the same. */
    print(json_pack("[o]", way("http/1.1", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:31280", "wrong-certificate", 48, words)), 0, text, sizeof text);
    assert_non_null(strstr(text, "48 ms  the certificate of fw.example, issued...\n"));
}

static void test_what_is_no_terminal_is_left_alone(void **state)
{
    struct ways_table table;
    char text[64] = "";
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_false(ways_table_begin(&table, file));
    ways_table_end(&table);
    assert_int_equal(ftell(file), 0);
    rewind(file);
    assert_int_equal(fread(text, 1, sizeof text, file), 0);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_line_is_cut_at_the_edge),
        cmocka_unit_test(test_without_an_edge_a_line_ends_at_about_100),
        cmocka_unit_test(test_what_is_no_terminal_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
