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

#define PROXY(last) {.address = {.family = 4, .octets = {10, 0, 0, (last)}}, .port = 3128}
#define THROUGH(number, last) {.port = (number), .via = PATH_HTTP_CONNECT, .proxy = PROXY(last)}

/* Proxies, ALPNs, certificates, the challenge. */
static const struct story {
    struct network_trial trials[6]; /* up to the first without a port */
    enum network_probe probe;
    bool is_down;
    struct path used; /* port 0: none */
    enum network_state state;
    const char *words, *summary;
} stories[] = {
    {{{.verdict = PATH_UNTRIED}}, NETWORK_PROBE_NONE, true, {.port = 0}, NETWORK_OFFLINE, "There is no network.",
     "This computer has no connection to the Internet here.\nPlease check the cable, or the Wi-Fi and its password.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_DROPPED}, {.path = {.port = 443, .alpn = PATH_ALPN_HTTP}, .verdict = PATH_TLS_FAILED}, {.path = {.port = 443, .alpn = PATH_ALPN_SMTP}, .verdict = PATH_OPEN}}, NETWORK_PROBE_NONE, false, {.port = 443},
     NETWORK_ONLINE, "This network drops 465; using 443.", "Mail gets through on this network, over port 443.\nNothing needs to be done.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_DROPPED}, {.path = THROUGH(443, 1), .verdict = PATH_OPEN}, {.path = THROUGH(465, 1), .verdict = PATH_PROXY_REFUSED}}, NETWORK_PROBE_NONE, false, THROUGH(443, 1), NETWORK_ONLINE,
     "This network drops 465; using 443 through the proxy 10.0.0.1:3128.", "Mail gets through on this network, over port 443 through the proxy 10.0.0.1:3128.\nNothing needs to be done.\n"},
    {{{.path = {.port = 465, .mode = PATH_TLS}, .verdict = PATH_DROPPED}, {.path = {.port = 25, .mode = PATH_STARTTLS}, .verdict = PATH_DROPPED}, {.path = THROUGH(443, 1), .verdict = PATH_PROXY_REFUSED}, {.path = THROUGH(443, 2), .verdict = PATH_UNREACHABLE}},
     NETWORK_PROBE_SILENT, false, {.port = 0}, NETWORK_BLOCKED,
     "This network drops 25 and 465, has the proxy 10.0.0.1:3128, which does not let us through, has the proxy 10.0.0.2:3128, which cannot be reached; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 or 443 to relay.example.org.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "fw.example"}, {.path = {.port = 443}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "fw.example"}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED,
     "This network answers 443 and 465 with the certificate of fw.example; no way to the relay is open.",
     "Something on this network opens encrypted connections to relay.example.org, so mail is held back.\nPlease let TCP port 465 or 443 to relay.example.org through without inspection.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "fw.example"}, {.path = {.port = 443}, .verdict = PATH_WRONG_CERTIFICATE}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED,
     "This network answers 443 and 465 with a stranger's certificate; no way to the relay is open.",
     "Something on this network opens encrypted connections to relay.example.org, so mail is held back.\nPlease let TCP port 465 or 443 to relay.example.org through without inspection.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "a\nb\x1b[2J\xff"}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED, "This network answers 465 with the certificate of a?b?[2J?; no way to the relay is open.",
     "Something on this network opens encrypted connections to relay.example.org, so mail is held back.\nPlease let TCP port 465 to relay.example.org through without inspection.\n"},
    /* The challenge decides: every port drops, and it is a portal; every port answers in HTTP, and it is none. */
    {{{.path = {.port = 465}, .verdict = PATH_DROPPED}}, NETWORK_PROBE_CAPTIVE, false, {.port = 0}, NETWORK_CAPTIVE,
     "This network shows a web page of its own in the relay's place, drops 465; no way to the relay is open before you have logged in there.",
     "This network shows its login page instead of letting mail through.\nPlease log in on the network's web page first.\n"},
    {{{.path = {.port = 465, .mode = PATH_STARTTLS}, .verdict = PATH_HTTP}}, NETWORK_PROBE_CLEAR, false, {.port = 0}, NETWORK_BLOCKED, "This network answers 465 with a web page; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 to relay.example.org.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_HTTP}}, NETWORK_PROBE_SILENT, false, {.port = 0}, NETWORK_CAPTIVE, "This network answers 465 with a web page; no way to the relay is open.",
     "This network shows its login page instead of letting mail through.\nPlease log in on the network's web page first.\n"},
    /* But one open path is a way, whatever else the network shows. */
    {{{.path = {.port = 465}, .verdict = PATH_OPEN}}, NETWORK_PROBE_CAPTIVE, false, {.port = 465}, NETWORK_ONLINE, "The relay is reached over 465.",
     "Mail gets through on this network, over port 465.\nNothing needs to be done.\n"},
    /* What a proxy answers with is no portal of the network's. */
    {{{.path = THROUGH(443, 1), .verdict = PATH_HTTP}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED,
     "This network has the proxy 10.0.0.1:3128, which answers with a web page; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 443 to relay.example.org.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_DNS}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_OFFLINE, "This network does not resolve the relay's name for 465; no way to the relay is open.",
     "This network does not find the name relay.example.org.\nPlease check that the network is connected to the Internet and resolves names.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_RELAY_REFUSED}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED, "This network reaches the relay on 465, which refuses us; no way to the relay is open.",
     "The network lets mail through, but relay.example.org itself refuses it.\nPlease ask whoever runs relay.example.org; the network is not at fault.\n"},
};

static void expect_text(struct buffer *text, const char *expected)
{
    if (!slice_equal(buffer_slice(text), slice_from_cstr(expected)))
        fail_msg("%.*s\ninstead of\n%s", SLICE_ARG(buffer_slice(text)), expected);
    buffer_free(text);
}

static void test_stories(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof stories / sizeof *stories; i++) {
        const struct story *story = &stories[i];
        struct network_facts facts = {.trials = story->trials, .probe = story->probe, .is_down = story->is_down};
        struct buffer words = {0}, summary = {0};
        while (facts.n < 6 && story->trials[facts.n].path.port)
            facts.n++;
        assert_int_equal(network_conclude(&facts), story->state);
        assert_int_equal(network_describe(&facts, story->used.port ? &story->used : NULL, &words), RESULT_OK);
        expect_text(&words, story->words);
        assert_int_equal(network_summary(&facts, SLICE("relay.example.org"), &summary), RESULT_OK);
        expect_text(&summary, story->summary);
    }
}

static void test_limits(void **state)
{
    (void)state;
    const struct network_facts facts = {.trials = stories[3].trials, .n = 4};
    for (size_t max = 1; max < 60; max++) {
        struct buffer words = BUFFER(max);
        assert_int_equal(network_describe(&facts, NULL, &words), RESULT_LIMIT);
        buffer_clear(&words);
        assert_int_equal(network_summary(&facts, SLICE("relay.example.org"), &words), RESULT_LIMIT);
        buffer_free(&words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_stories), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
