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
    {{{465, PATH_OPEN}, {587, PATH_UNTRIED}}, 465, NETWORK_ONLINE, "The relay is reached over port 465."},
    {{{465, PATH_OPEN}, {587, PATH_UNTRIED}}, 0, NETWORK_ONLINE, "The relay was reached over port 465."},
    {{{465, PATH_DROPPED}, {587, PATH_OPEN}}, 0, NETWORK_ONLINE, "This network drops port 465; the relay was reached over port 587."},
    {{{587, PATH_DROPPED}, {25, PATH_DROPPED}, {465, PATH_WRONG_CERTIFICATE}, {443, PATH_OPEN}}, 443, NETWORK_ONLINE,
     "This network drops ports 25 and 587, answers port 465 with a stranger's certificate; using port 443."},
    {{{25, PATH_DROPPED}, {465, PATH_DROPPED}, {587, PATH_DROPPED}, {2525, PATH_REFUSED}}, 0, NETWORK_BLOCKED,
     "This network drops ports 25, 465 and 587, refuses port 2525; no way to the relay is open."},
    {{{465, PATH_UNREACHABLE}, {587, PATH_UNREACHABLE}}, 0, NETWORK_OFFLINE,
     "This network does not reach the relay on ports 465 and 587; no way to the relay is open."},
    {{{465, PATH_TLS_FAILED}, {587, PATH_HTTP}}, 0, NETWORK_CAPTIVE,
     "This network lets no encryption begin on port 465, answers port 587 with a web page; no way to the relay is open before you have logged in to this network."},
    /* IPv6 has no route, IPv4 is open: the port is open. */
    {{{465, PATH_UNREACHABLE}, {465, PATH_OPEN}}, 465, NETWORK_ONLINE, "The relay is reached over port 465."},
    {{{587, PATH_STARTTLS_MISSING}, {25, PATH_STARTTLS_MISSING}}, 0, NETWORK_BLOCKED,
     "This network takes encryption away on ports 25 and 587; no way to the relay is open."},
    {{{465, PATH_RELAY_REFUSED}}, 0, NETWORK_BLOCKED, "The relay is reached over port 465 and refuses us."},
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

#define UNPROVEN                                                                                                                                          \
    "What answers as relay.example.org does not prove by its certificate that it is, wherever anything answers: either the relay's certificate is not good, or this network intercepts.\n" \
    "Please ask whoever runs relay.example.org whether its certificate is new or has run out; if it has not, use another network.\n"
#define INTERCEPTED                                                                                     \
    "Something on this network opens encrypted connections to relay.example.org, so mail is held back.\n" \
    "Please let TCP port 465 or 443 to relay.example.org through without inspection.\n"

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
     NETWORK_ONLINE, "This network drops port 465; using port 443.", "Mail gets through on this network, over port 443.\nNothing needs to be done.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_DROPPED}, {.path = THROUGH(443, 1), .verdict = PATH_OPEN}, {.path = THROUGH(465, 1), .verdict = PATH_PROXY_REFUSED}}, NETWORK_PROBE_NONE, false, THROUGH(443, 1), NETWORK_ONLINE,
     "This network drops port 465; using port 443 through the proxy 10.0.0.1:3128.", "Mail gets through on this network, over port 443 through the proxy 10.0.0.1:3128.\nNothing needs to be done.\n"},
    {{{.path = {.port = 465, .mode = PATH_TLS}, .verdict = PATH_DROPPED}, {.path = {.port = 25, .mode = PATH_STARTTLS}, .verdict = PATH_DROPPED}, {.path = THROUGH(443, 1), .verdict = PATH_PROXY_REFUSED}, {.path = THROUGH(443, 2), .verdict = PATH_UNREACHABLE}},
     NETWORK_PROBE_SILENT, false, {.port = 0}, NETWORK_BLOCKED,
     "This network drops ports 25 and 465, has the proxy 10.0.0.1:3128, which does not let us through, and the proxy 10.0.0.2:3128, which cannot be reached; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 or 443 to relay.example.org.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "fw.example"}, {.path = {.port = 443}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "fw.example"}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED,
     "This network answers ports 443 and 465 with the certificate of fw.example; so either the relay's certificate is not good, or this network intercepts.",
     UNPROVEN},
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "fw.example"}, {.path = {.port = 443}, .verdict = PATH_WRONG_CERTIFICATE}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED,
     "This network answers ports 443 and 465 with a stranger's certificate; so either the relay's certificate is not good, or this network intercepts.",
     UNPROVEN},
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE, .whose = "a\nb\x1b[2J\xff"}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED, "This network answers port 465 with the certificate of a?b?[2J?; so either the relay's certificate is not good, or this network intercepts.",
     UNPROVEN},
    /* The challenge decides: every port drops, and it is a portal; every port answers in HTTP, and it is none. */
    {{{.path = {.port = 465}, .verdict = PATH_DROPPED}}, NETWORK_PROBE_CAPTIVE, false, {.port = 0}, NETWORK_CAPTIVE,
     "This network shows a web page of its own in the relay's place, drops port 465; no way to the relay is open before you have logged in to this network.",
     "This network shows its login page instead of letting mail through.\nPlease log in on the network's web page first.\n"},
    {{{.path = {.port = 465, .mode = PATH_STARTTLS}, .verdict = PATH_HTTP}}, NETWORK_PROBE_CLEAR, false, {.port = 0}, NETWORK_BLOCKED, "This network answers port 465 with a web page; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 to relay.example.org.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_HTTP}}, NETWORK_PROBE_SILENT, false, {.port = 0}, NETWORK_CAPTIVE, "This network answers port 465 with a web page; no way to the relay is open before you have logged in to this network.",
     "This network shows its login page instead of letting mail through.\nPlease log in on the network's web page first.\n"},
    /* But one open path is a way, whatever else the network shows. */
    {{{.path = {.port = 465}, .verdict = PATH_OPEN}}, NETWORK_PROBE_CAPTIVE, false, {.port = 465}, NETWORK_ONLINE, "The relay is reached over port 465.",
     "Mail gets through on this network, over port 465.\nNothing needs to be done.\n"},
    /* What a proxy answers with is no portal of the network's. */
    {{{.path = THROUGH(443, 1), .verdict = PATH_HTTP}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED,
     "This network has the proxy 10.0.0.1:3128, which answers with a web page; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 443 to relay.example.org.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_DNS}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_OFFLINE, "This network does not find the relay's name; no way to the relay is open.",
     "This network does not find the name relay.example.org.\nPlease check that the network is connected to the Internet and resolves names.\n"},
    {{{.path = {.port = 465}, .verdict = PATH_RELAY_REFUSED}}, NETWORK_PROBE_NONE, false, {.port = 0}, NETWORK_BLOCKED, "The relay is reached over port 465 and refuses us.",
     "The network lets mail through, but relay.example.org itself refuses it.\nPlease ask whoever runs relay.example.org; the network is not at fault.\n"},
};

/* What else is known than the trials; trouble NULL: none. */
static const struct further {
    struct network_trial trials[6];
    struct network_facts facts;
    const char *words, *summary, *trouble;
} further[] = {
    /* A new key, or an interceptor: nobody can tell, so nobody is asked to open a port. */
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE}, {.path = {.port = 25}, .verdict = PATH_DROPPED}}, {.is_pinned = true},
     "This network drops port 25, answers port 465 with a stranger's certificate; so either the relay has a new key, or this network intercepts.",
     "What answers as relay.example.org has another key than the configured one, wherever anything answers: either the relay has a new key, or this network intercepts.\n"
     "Please ask whoever runs relay.example.org what `postern-relay key show` tells; if it is a new key, give it to `postern-agent setup --replace` with --pin, else use another network.\n",
     "This network drops port 25, answers port 465 with a stranger's certificate; so either the relay has a new key, or this network intercepts. Ask whoever runs the relay what `postern-relay "
     "key show` tells; if it is a new key, run: postern-agent setup --replace with --pin. Else mail waits for another network."},
    /* Nor is it the relay's key when the resolver names another place than the relay's. */
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE}, {.path = {.port = 443}, .verdict = PATH_WRONG_CERTIFICATE}}, {.is_pinned = true, .is_resolver_lying = true},
     "This network gives a false address for the relay, answers ports 443 and 465 with a stranger's certificate; no way to the relay is open.", INTERCEPTED,
     "This network gives a false address for the relay, answers ports 443 and 465 with a stranger's certificate; no way to the relay is open. Mail waits for another network."},
    /* The relay has signed the challenge with the key that is expected: so it is the network. */
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE}, {.path = {.port = 443}, .verdict = PATH_WRONG_CERTIFICATE}}, {.is_pinned = true, .probe = NETWORK_PROBE_CLEAR},
     "This network answers ports 443 and 465 with a stranger's certificate; no way to the relay is open.", INTERCEPTED,
     "This network answers ports 443 and 465 with a stranger's certificate; no way to the relay is open. Mail waits for another network."},
    /* A certificate here and encryption taken away there: that is no new key. */
    {{{.path = {.port = 465}, .verdict = PATH_WRONG_CERTIFICATE}, {.path = {.port = 443}, .verdict = PATH_WRONG_CERTIFICATE}, {.path = {.port = 25, .mode = PATH_STARTTLS}, .verdict = PATH_STARTTLS_MISSING}}, {.is_pinned = true},
     "This network takes encryption away on port 25, answers ports 443 and 465 with a stranger's certificate; no way to the relay is open.", INTERCEPTED,
     "This network takes encryption away on port 25, answers ports 443 and 465 with a stranger's certificate; no way to the relay is open. Mail waits for another network."},
    {{{.path = {.port = 465}, .verdict = PATH_RELAY_REFUSED}, {.path = {.port = 25}, .verdict = PATH_DROPPED}}, {.is_login_refused = true},
     "This network drops port 25; the relay is reached over port 465 and refuses the login.",
     "The network lets mail through, but relay.example.org itself refuses it.\nPlease ask whoever runs relay.example.org; the network is not at fault.\n",
     "This network drops port 25; the relay is reached over port 465 and refuses the login. Ask whoever runs the relay."},
    /* Where one way is open, a refusal on another is an obstacle. */
    {{{.path = {.port = 465}, .verdict = PATH_RELAY_REFUSED}, {.path = {.port = 25}, .verdict = PATH_OPEN}}, {.reached_when = "at 14:05", .has_trouble = true},
     "This network reaches the relay on port 465, where we are refused; the relay was reached over port 25 at 14:05.",
     "Mail gets through on this network, over port 25.\nNothing needs to be done about the network, but mail waits all the same.\n", NULL},
    {{{.path = {.port = 465}, .verdict = PATH_REFUSED}, {.path = {.port = 443}, .verdict = PATH_REFUSED}}, {.probe = NETWORK_PROBE_SILENT},
     "This network refuses ports 443 and 465; no way to the relay is open.",
     "This network lets no mail through to relay.example.org, or the relay is not running.\nPlease open TCP port 465 or 443 to relay.example.org, or ask whoever runs the relay.\n",
     "This network refuses ports 443 and 465; no way to the relay is open. Mail waits for another network, or the relay is not running."},
    /* It is there: its port 80 answers. */
    {{{.path = {.port = 465}, .verdict = PATH_REFUSED}, {.path = {.port = 443}, .verdict = PATH_REFUSED}}, {.probe = NETWORK_PROBE_CLEAR},
     "This network refuses ports 443 and 465; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 or 443 to relay.example.org.\n",
     "This network refuses ports 443 and 465; no way to the relay is open. Mail waits for another network."},
    {{{.path = {.port = 465}, .verdict = PATH_REFUSED}, {.path = {.port = 443}, .verdict = PATH_DROPPED}}, {.missing_proxy = "proxy.typo.invalid"},
     "This network drops port 443, refuses port 465, does not find the proxy proxy.typo.invalid; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 or 443 to relay.example.org.\n",
     "This network drops port 443, refuses port 465, does not find the proxy proxy.typo.invalid; no way to the relay is open. Mail waits for another network."},
    {{{.path = {.port = 465}, .verdict = PATH_DIED_EARLY}, {.path = {.port = 25}, .verdict = PATH_DIED_EARLY, .is_brief = true}, {.path = {.port = 587}, .verdict = PATH_DIED_EARLY, .is_brief = true}}, {.is_pinned = true},
     "This network cuts ports 25 and 587 off at once, cuts port 465 off after a while; no way to the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 465 or 25 to relay.example.org.\n",
     "This network cuts ports 25 and 587 off at once, cuts port 465 off after a while; no way to the relay is open. Mail waits for another network."},
    {{{.path = {.port = 465}, .verdict = PATH_REFUSED}}, {.probe = NETWORK_PROBE_CAPTIVE},
     "This network shows a web page of its own in the relay's place, refuses port 465; no way to the relay is open before you have logged in to this network.",
     "This network shows its login page instead of letting mail through.\nPlease log in on the network's web page first.\n",
     "This network wants you to log in first: open any web page in a browser, and log in there; mail goes by itself then."},
    {{{.path = {.port = 465}, .verdict = PATH_REFUSED}}, {.is_down = true}, "There is no network.",
     "This computer has no connection to the Internet here.\nPlease check the cable, or the Wi-Fi and its password.\n", "There is no network; mail goes by itself when there is one."},
    {{{.path = THROUGH(443, 1), .verdict = PATH_PROXY_REFUSED}, {.path = THROUGH(443, 2), .verdict = PATH_DROPPED}, {.path = THROUGH(443, 3), .verdict = PATH_REFUSED}}, {.n = 0},
     "This network has the proxy 10.0.0.1:3128, which does not let us through, the proxy 10.0.0.2:3128, which does not answer, and the proxy 10.0.0.3:3128, which refuses the connection; no way to "
     "the relay is open.",
     "This network lets no mail through to relay.example.org.\nPlease open TCP port 443 to relay.example.org.\n",
     "This network has the proxy 10.0.0.1:3128, which does not let us through, the proxy 10.0.0.2:3128, which does not answer, and the proxy 10.0.0.3:3128, which refuses the connection; no way to "
     "the relay is open. Mail waits for another network."},
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

static void test_further(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof further / sizeof *further; i++) {
        struct network_facts facts = further[i].facts;
        struct buffer words = {0}, summary = {0}, trouble = {0};
        facts.trials = further[i].trials;
        while (facts.n < 6 && further[i].trials[facts.n].path.port)
            facts.n++;
        assert_int_equal(network_describe(&facts, NULL, &words), RESULT_OK);
        expect_text(&words, further[i].words);
        assert_int_equal(network_summary(&facts, SLICE("relay.example.org"), &summary), RESULT_OK);
        expect_text(&summary, further[i].summary);
        assert_int_equal(network_trouble(&facts, &trouble), RESULT_OK);
        expect_text(&trouble, further[i].trouble ? further[i].trouble : "");
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
        buffer_clear(&words);
        assert_int_equal(network_trouble(&facts, &words), RESULT_LIMIT);
        buffer_free(&words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_stories), cmocka_unit_test(test_further), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
