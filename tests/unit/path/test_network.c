/* The verdict on a network, as people read it. */
#include "path/network.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct row {
    struct {
        uint16_t port;
        enum path_verdict verdict;
    } trials[6];
    uint16_t used; /* 0: none */
    enum network_state state;
    const char *words;
};

static const struct row rows[] = {
    {{{0}}, 0, NETWORK_OFFLINE, "No way to the relay has been tried yet."},
    {{{465, PATH_OPEN}, {587, PATH_UNTRIED}}, 465, NETWORK_ONLINE, "The relay is reached over 465."},
    {{{465, PATH_OPEN}, {587, PATH_UNTRIED}}, 0, NETWORK_ONLINE, "The relay was reached over 465."},
    {{{465, PATH_DROPPED}, {587, PATH_OPEN}}, 0, NETWORK_ONLINE, "This network drops 465; the relay was reached over 587."},
    {{{587, PATH_DROPPED}, {25, PATH_DROPPED}, {465, PATH_WRONG_CERTIFICATE}, {443, PATH_OPEN}}, 443, NETWORK_ONLINE,
     "This network drops 25 and 587, answers 465 with a stranger's certificate; using 443."},
    {{{25, PATH_DROPPED}, {465, PATH_DROPPED}, {587, PATH_DROPPED}, {2525, PATH_REFUSED}}, 0, NETWORK_BLOCKED,
     "This network drops 25, 465 and 587, refuses 2525; no way to the relay is open."},
    {{{465, PATH_UNREACHABLE}, {587, PATH_UNREACHABLE}}, 0, NETWORK_OFFLINE,
     "This network has no route for 465 and 587; no way to the relay is open."},
    {{{465, PATH_TLS_FAILED}, {587, PATH_HTTP}}, 0, NETWORK_CAPTIVE,
     "This network breaks encryption on 465, answers 587 with a web page; no way to the relay is open."},
    /* IPv6 has no route, IPv4 is open: the port is open. */
    {{{465, PATH_UNREACHABLE}, {465, PATH_OPEN}}, 465, NETWORK_ONLINE, "The relay is reached over 465."},
    {{{587, PATH_STARTTLS_MISSING}, {25, PATH_STARTTLS_MISSING}}, 0, NETWORK_BLOCKED,
     "This network takes encryption away on 25 and 587; no way to the relay is open."},
    {{{465, PATH_RELAY_REFUSED}}, 0, NETWORK_BLOCKED, "This network reaches the relay on 465, which refuses us; no way to the relay is open."},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct network_trial trials[6] = {0};
        struct path used = {.port = rows[i].used};
        struct buffer words = {0};
        size_t n = 0;
        for (; n < 6 && rows[i].trials[n].port; n++)
            trials[n] = (struct network_trial){.path = {.port = rows[i].trials[n].port}, .verdict = rows[i].trials[n].verdict};
        const struct network_facts facts = {.trials = trials, .n = n};
        assert_int_equal(network_conclude(&facts), rows[i].state);
        assert_int_equal(network_describe(&facts, rows[i].used ? &used : NULL, &words), RESULT_OK);
        assert_int_equal(buffer_append(&words, slice_of("", 1)), RESULT_OK);
        assert_string_equal(buffer_slice(&words).ptr, rows[i].words);
        buffer_free(&words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
