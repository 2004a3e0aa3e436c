/* The finder as stories: places, what the laptop does there, and each numbered invariant of path/finder.h; the weeks of travel are tests/property/prop_finder.c. */
#include "laptop_scene.h"

static void test_the_order_of_an_unknown_network(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    const struct path_address addresses[] = {RELAY, RELAY6};
    const struct finder_proxy proxy = {PATH_HTTP_CONNECT, {V4(10, 0, 0, 1), 3128}};
    laptop->place.proxies_ms = laptop->place.resolves_ms = TRIP_NEVER;
    for (size_t i = 0; i < 8; i++)
        laptop->world.rows[i] = (struct row){.via = i ? PATH_HTTP_CONNECT : PATH_DIRECT, .behaviour = TRIP_FAILS(1, PATH_REFUSED)};
    arrive(laptop, 1);
    finder_resolved(trip_finder(laptop->trip), addresses, 2, 0);
    finder_proxies(trip_finder(laptop->trip), &proxy, 1, true, 0);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 1000);
    size_t n;
    const struct finder_trial *trials = finder_trials(trip_finder(laptop->trip), &n);
    static const char *const order[] = {
        "[2001:db8::1]:465 tls", "192.0.2.1:465 tls", "[2001:db8::1]:443 tls http/1.1", "192.0.2.1:443 tls http/1.1", "*:443 tls http/1.1 via http-connect 10.0.0.1:3128", "[2001:db8::1]:587 starttls",
        "[2001:db8::1]:2525 starttls", "[2001:db8::1]:25 starttls", "192.0.2.1:587 starttls", "192.0.2.1:2525 starttls", "192.0.2.1:25 starttls", "[2001:db8::1]:443 tls smtp", "192.0.2.1:443 tls smtp",
        "*:443 tls smtp via http-connect 10.0.0.1:3128", "*:465 tls via http-connect 10.0.0.1:3128", "*:587 starttls via http-connect 10.0.0.1:3128", "*:2525 starttls via http-connect 10.0.0.1:3128",
        "*:25 starttls via http-connect 10.0.0.1:3128",
    };
    assert_int_equal(n, sizeof order / sizeof *order);
    const char *at = trip_log(laptop->trip);
    for (size_t i = 0; i < n; i++) {
        char connect[PATH_TEXT + 16];
        snprintf(connect, sizeof connect, "connect %s\n", order[i]);
        at = strstr(at, connect);
        if (!at)
            fail_msg("%s\n%s", order[i], trip_log(laptop->trip));
        assert_int_equal(trials[i].verdict, PATH_REFUSED);
    }
    stop(laptop);
}

static void test_a_way_with_an_address_of_its_own(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    const struct finder_way ways[] = {{.address = V4(198, 51, 100, 7), .port = 8443, .mode = PATH_TLS}};
    laptop->world.rows[0].behaviour = TRIP_OPEN(10, 20);
    finder_set_ways(trip_finder(laptop->trip), ways, 1, 0);
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 100);
    expect_log(laptop, "0 arrived\n0 resolve\n0 connect 198.51.100.7:8443 tls\n10 handshake 198.51.100.7:8443 tls\n30 use 198.51.100.7:8443 tls\n");
    const struct path_address *kept;
    assert_int_equal(memory_addresses(laptop->memory, &kept), 0);
    stop(laptop);
}

/* Invariant 1: whichever is the one that is open, in the time it takes alone and ten milliseconds for each before it. */
static void test_one_open_way(void **state)
{
    (void)state;
    for (size_t open = 0; open < 5; open++) {
        struct laptop *laptop = start();
        laptop->world.rows[0] = (struct row){.port = WAYS[open].port, .behaviour = TRIP_OPEN(50, 200)};
        arrive(laptop, 1);
        trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
        trip_run(laptop->trip, 20 + 10 * (int64_t)open + 250);
        assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_USING);
        assert_int_equal(network(laptop), NETWORK_ONLINE);
        stop(laptop);
    }
}

static void test_only_the_proxy_lets_us_out(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->place.naddresses = 0;
    laptop->place.resolves_ms = TRIP_NEVER;
    laptop->place.proxies_ms = 100;
    laptop->place.nproxies = 1;
    laptop->place.proxies[0] = (struct finder_proxy){PATH_SOCKS5, {V4(10, 0, 0, 1), 1080}};
    laptop->world.rows[0] = (struct row){.port = 443, .via = PATH_SOCKS5, .behaviour = TRIP_OPEN(5, 200)};
    arrive(laptop, 1);
    assert_int_equal(send_one(laptop, 1000), 443);
    /* It is remembered by the proxy's address, and tried before the system has told its proxies. */
    trip_run(laptop->trip, 60000);
    arrive(laptop, 2);
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    assert_true(has_logged(laptop, "connect *:443 tls http/1.1 via socks5 10.0.0.1:1080"));
    stop(laptop);
}

/* Invariant 2: what comes late has no budget of its own. 16 addresses by 5 ways, all dropped. */
static void test_limits_hold_over_all_that_joins(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    for (uint8_t i = 0; i < 8; i++) {
        memory_keep_address(laptop->memory, &(struct path_address)V4(192, 0, 2, i));
        laptop->place.addresses[i] = (struct path_address)V4(198, 51, 100, i);
    }
    laptop->place.naddresses = 8;
    laptop->place.resolves_ms = 300;
    laptop->place.proxies_ms = 150;
    laptop->place.nproxies = 1;
    laptop->place.proxies[0] = (struct finder_proxy){PATH_SOCKS5, {V4(10, 0, 0, 1), 1080}};
    laptop->world.rows[0] = (struct row){.port = 25, .address = V4(198, 51, 100, 0), .behaviour = TRIP_OPEN(300, 900)};
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    /* The resolver's best comes before the remembered ones that nobody has tried yet. */
    trip_run(laptop->trip, 300 + 1500);
    assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_USING);
    stop(laptop);
}

/* Invariant 4. */
static void test_the_remembered_path_starts_alone(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->world.rows[0] = (struct row){.port = 2525, .behaviour = TRIP_OPEN(50, 100)};
    arrive(laptop, 1);
    assert_int_equal(send_one(laptop, 2000), 2525);
    trip_run(laptop->trip, 5000);
    assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_RESTING);
    laptop->world.rows[0].port = 0; /* all open now */
    arrive(laptop, 2);
    arrive(laptop, 1);
    trip_run(laptop->trip, 10000 - trip_now_ms(laptop->trip));
    trip_clear_log(laptop->trip);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 200);
    expect_log(laptop, "10000 resolve\n10000 connect 192.0.2.1:2525 starttls\n10050 handshake 192.0.2.1:2525 starttls\n10150 use 192.0.2.1:2525 starttls\n");
    trip_run(laptop->trip, 5000);
    /* Where it has not carried anything, it has no preference. */
    arrive(laptop, 3);
    assert_int_equal(send_one(laptop, 2000), 465);
    stop(laptop);
}

/* Invariant 6. */
static void test_a_change_of_network(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 3600 * 1000);
    assert_int_equal(network(laptop), NETWORK_BLOCKED);
    assert_true(finder_next_search_ms(trip_finder(laptop->trip)) > trip_now_ms(laptop->trip) || finder_state(trip_finder(laptop->trip)) == FINDER_SEARCHING);
    /* In the middle of a search or of a wait: everything is cancelled, and begun anew. */
    arrive(laptop, 2);
    trip_run(laptop->trip, 100);
    assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_SEARCHING);
    laptop->world.rows[0].behaviour = TRIP_OPEN(10, 10);
    arrive(laptop, 3);
    assert_true(has_logged(laptop, "cancel"));
    trip_run(laptop->trip, 100);
    assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_USING);
    /* In a session: it is dropped. */
    laptop->world.rows[0].behaviour = TRIP_DROPPED;
    arrive(laptop, 4);
    assert_true(has_logged(laptop, "drop\n"));
    /* The back-off begins anew: the first wait is two seconds. */
    while (finder_state(trip_finder(laptop->trip)) == FINDER_SEARCHING)
        trip_run(laptop->trip, 100);
    assert_in_range(finder_next_search_ms(trip_finder(laptop->trip)) - trip_now_ms(laptop->trip), 1700, 2200);
    /* No network: nothing is done until there is one. */
    laptop->place.is_up = false;
    arrive(laptop, 0);
    assert_int_equal(network(laptop), NETWORK_OFFLINE);
    assert_int_equal(finder_deadline_ms(trip_finder(laptop->trip)), INT64_MAX);
    assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_WAITING);
    stop(laptop);
}

static void test_waking_up_begins_anew(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 3600 * 1000);
    uint32_t searches = trip_searches(laptop->trip);
    trip_go(laptop->trip, &laptop->place, false);
    assert_int_equal(trip_searches(laptop->trip), searches);
    trip_go(laptop->trip, &laptop->place, true);
    assert_int_equal(trip_searches(laptop->trip), searches + 1);
    stop(laptop);
}

/* Invariant 7, and the way out of a portal. */
static void test_a_captive_portal(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->place.probe_ms = 30;
    laptop->place.probe = FINDER_PROBE_CAPTIVE;
    laptop->world.rows[0].behaviour = TRIP_STRANGER(10, 20, PATH_WRONG_CERTIFICATE);
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 60 * 1000);
    assert_int_equal(network(laptop), NETWORK_CAPTIVE);
    int64_t before_ms = trip_now_ms(laptop->trip);
    trip_clear_log(laptop->trip);
    /* Somebody logs in: found out by the probe, within ten seconds, and the search follows at once. */
    laptop->place.probe = FINDER_PROBE_CLEAR;
    laptop->world.rows[0].behaviour = TRIP_OPEN(10, 20);
    trip_change(laptop->trip, &laptop->place);
    trip_run_until_sent(laptop->trip, 20 * 1000);
    assert_int_equal(trip_waiting(laptop->trip), 0);
    assert_true(trip_now_ms(laptop->trip) - before_ms <= 22 * 1000);
    stop(laptop);
}

/* The relay's own answer: so it is no portal, whatever the ports say. */
static void test_blocked_not_captive(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->place.probe_ms = 30;
    laptop->place.probe = FINDER_PROBE_CLEAR;
    laptop->world.rows[0].behaviour = TRIP_STRANGER(10, 20, PATH_HTTP);
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 1000);
    assert_int_equal(network(laptop), NETWORK_BLOCKED);
    stop(laptop);
}

/* A person may ask as often as he likes: a portal is not hammered. */
static void test_a_portal_is_not_hammered(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->place.probe_ms = 30;
    laptop->place.probe = FINDER_PROBE_CAPTIVE;
    laptop->world.rows[0].behaviour = TRIP_STRANGER(10, 20, PATH_HTTP);
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    uint32_t searches = trip_searches(laptop->trip);
    for (int i = 0; i < 600; i++) {
        trip_mail(laptop->trip, 0, 1000, FINDER_WISH_NOW);
        trip_run(laptop->trip, 100);
    }
    assert_in_range(trip_searches(laptop->trip) - searches, 5, 6);
    stop(laptop);
}

/* Invariant 8: at rest nothing is done; the back-off holds while mail comes and goes. */
static void test_rest(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    arrive(laptop, 1);
    trip_run(laptop->trip, 86400 * 1000);
    expect_log(laptop, "0 arrived\n");
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 600 * 1000);
    uint32_t searches = trip_searches(laptop->trip);
    for (int i = 0; i < 20; i++) {
        finder_want(trip_finder(laptop->trip), FINDER_WISH_NOTHING, trip_now_ms(laptop->trip));
        trip_run(laptop->trip, 1);
        trip_mail(laptop->trip, 0, 1000, FINDER_WISH_DUE);
        trip_run(laptop->trip, 99);
    }
    assert_in_range(trip_searches(laptop->trip) - searches, 0, 1);
    stop(laptop);
}

static void test_new_mail_shortens_the_wait(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->world.rows[0].behaviour = TRIP_FAILS(5, PATH_REFUSED);
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 3600 * 1000);
    while (finder_next_search_ms(trip_finder(laptop->trip)) - trip_now_ms(laptop->trip) < 60 * 1000)
        trip_run(laptop->trip, 1000);
    uint32_t searches = trip_searches(laptop->trip);
    for (int i = 0; i < 50; i++) {
        trip_mail(laptop->trip, 1, 1000, FINDER_WISH_NEW_MAIL);
        trip_run(laptop->trip, 1000);
    }
    assert_in_range(trip_searches(laptop->trip) - searches, 5, 6);
    trip_mail(laptop->trip, 0, 1000, FINDER_WISH_NOW);
    assert_in_range(trip_searches(laptop->trip) - searches, 6, 7);
    stop(laptop);
}

/* A resolver that lies, and one that is silent, cost nothing when the relay has been met before. */
static void test_resolvers(void **state)
{
    (void)state;
    for (int is_silent = 0; is_silent <= 1; is_silent++) {
        struct laptop *laptop = start();
        memory_keep_address(laptop->memory, &RELAY);
        laptop->place.addresses[0] = LIE;
        laptop->place.resolves_ms = is_silent ? TRIP_NEVER : 5;
        laptop->world.rows[0] = (struct row){.address = LIE, .behaviour = TRIP_STRANGER(5, 10, PATH_HTTP)};
        laptop->world.rows[1] = (struct row){.behaviour = TRIP_OPEN(50, 100)};
        arrive(laptop, 1);
        trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
        trip_run(laptop->trip, 150);
        assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_USING);
        const struct path_address *kept;
        assert_int_equal(memory_addresses(laptop->memory, &kept), 1);
        assert_true(path_address_equal(kept, &RELAY));
        stop(laptop);
    }
}

/* A stranger where the relay has been met, or before it has been met anywhere, is no lie of the resolver's; one at another place is. */
static void test_a_resolver_that_lies_is_told(void **state)
{
    static const struct {
        bool is_met, is_elsewhere;
    } rows[] = {{false, false}, {true, false}, {false, true}, {true, true}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct laptop *laptop = start();
        struct network_trial trials[RACE_PATHS_MAX];
        struct network_facts facts;
        if (rows[i].is_met)
            memory_keep_address(laptop->memory, &RELAY);
        laptop->place.addresses[0] = rows[i].is_elsewhere ? LIE : RELAY;
        laptop->world.rows[0] = (struct row){.address = laptop->place.addresses[0], .behaviour = TRIP_STRANGER(5, 10, PATH_WRONG_CERTIFICATE)};
        arrive(laptop, 1);
        trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
        trip_run(laptop->trip, 1000);
        finder_facts(trip_finder(laptop->trip), trials, &facts);
        assert_int_equal(facts.is_resolver_lying, rows[i].is_met && rows[i].is_elsewhere);
        stop(laptop);
    }
}

static void test_nobody_knows_an_address(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->place.naddresses = 0;
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 2050);
    size_t n;
    const struct finder_trial *trials = finder_trials(trip_finder(laptop->trip), &n);
    assert_int_equal(n, 5);
    assert_int_equal(trials[4].verdict, PATH_DNS);
    assert_int_equal(network(laptop), NETWORK_OFFLINE);
    /* It comes to its senses: the next search asks again. */
    laptop->place.naddresses = 1;
    laptop->world.rows[0].behaviour = TRIP_OPEN(10, 10);
    trip_change(laptop->trip, &laptop->place);
    trip_run_until_sent(laptop->trip, 10000);
    assert_int_equal(trip_waiting(laptop->trip), 0);
    stop(laptop);
}

/* The relay refuses us: no fault of the path, and ever less often. */
static void test_the_relay_refuses(void **state)
{
    (void)state;
    struct laptop *laptop = start();
    laptop->world.rows[0].behaviour = (struct trip_behaviour){.connects_ms = 10, .shakes_ms = 10, .refuses = true};
    arrive(laptop, 1);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_DUE);
    trip_run(laptop->trip, 3600 * 1000);
    assert_in_range(trip_searches(laptop->trip), 10, 20);
    size_t n;
    const struct finder_trial *trials = finder_trials(trip_finder(laptop->trip), &n);
    assert_int_equal(trials[0].verdict, PATH_RELAY_REFUSED);
    assert_false(trials[0].is_demoted);
    stop(laptop);
}

/* diagnose. */
static void test_a_survey(void **state)
{
    (void)state;
    struct laptop *laptop = start_with((struct finder_config){.is_survey = true, .can_probe = true}, 0);
    laptop->place.probe_ms = 40;
    laptop->place.probe = FINDER_PROBE_CLEAR;
    laptop->world.rows[0] = (struct row){.port = 465, .behaviour = TRIP_OPEN(50, 100)};
    laptop->world.rows[1] = (struct row){.port = 443, .alpn = PATH_ALPN_HTTP, .behaviour = TRIP_STRANGER(50, 100, PATH_WRONG_CERTIFICATE)};
    laptop->world.rows[2] = (struct row){.port = 443, .behaviour = TRIP_OPEN(50, 100)};
    laptop->world.rows[3] = (struct row){.port = 587, .behaviour = TRIP_SILENT(50)};
    laptop->world.rows[4] = (struct row){.port = 25, .behaviour = TRIP_FAILS(50, PATH_REFUSED)};
    arrive(laptop, 1);
    trip_mail(laptop->trip, 0, 0, FINDER_WISH_NOW);
    trip_run(laptop->trip, 60 * 1000);
    static const enum path_verdict verdicts[] = {PATH_OPEN, PATH_WRONG_CERTIFICATE, PATH_TLS_FAILED, PATH_DROPPED, PATH_REFUSED, PATH_OPEN};
    size_t n;
    const struct finder_trial *trials = finder_trials(trip_finder(laptop->trip), &n);
    assert_int_equal(n, 6);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(trials[i].verdict, verdicts[i]);
    assert_true(has_logged(laptop, "lost\n") && !has_logged(laptop, " use "));
    assert_int_equal(trials[0].ms, 150);
    assert_int_equal(finder_state(trip_finder(laptop->trip)), FINDER_WAITING);
    assert_int_equal(finder_deadline_ms(trip_finder(laptop->trip)), INT64_MAX);
    assert_int_equal(network(laptop), NETWORK_ONLINE);
    stop(laptop);
}

/* What the driver saw of a connection that it was told to give up counts for more than what the core can guess; it changes no other verdict. */
static void test_a_stall_is_explained(void **state)
{
    struct laptop *laptop = start();
    size_t n;
    (void)state;
    trip_go(laptop->trip, &laptop->place, false);
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_NEW_MAIL);
    trip_run(laptop->trip, 11 * 1000);
    struct finder *finder = trip_finder(laptop->trip);
    const struct finder_trial *trials = finder_trials(finder, &n);
    assert_true(n >= 2 && trials[0].verdict == PATH_DROPPED);
    int64_t ms = trials[0].ms;
    finder_explain(finder, 0, PATH_DIED_EARLY, "stopped in the greeting");
    finder_explain(finder, n, PATH_DIED_EARLY, "of nobody");
    trials = finder_trials(finder, &n);
    assert_int_equal(trials[0].verdict, PATH_DIED_EARLY);
    assert_string_equal(trials[0].words, "stopped in the greeting");
    assert_int_equal(trials[0].ms, ms);
    finder_explain(finder, 0, PATH_DROPPED, "too late");
    assert_int_equal(finder_trials(finder, &n)[0].verdict, PATH_DIED_EARLY);
    stop(laptop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stall_is_explained),
        cmocka_unit_test(test_the_order_of_an_unknown_network),
        cmocka_unit_test(test_a_way_with_an_address_of_its_own),
        cmocka_unit_test(test_one_open_way),
        cmocka_unit_test(test_only_the_proxy_lets_us_out),
        cmocka_unit_test(test_limits_hold_over_all_that_joins),
        cmocka_unit_test(test_the_remembered_path_starts_alone),
        cmocka_unit_test(test_a_change_of_network),
        cmocka_unit_test(test_waking_up_begins_anew),
        cmocka_unit_test(test_a_captive_portal),
        cmocka_unit_test(test_blocked_not_captive),
        cmocka_unit_test(test_a_portal_is_not_hammered),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_new_mail_shortens_the_wait),
        cmocka_unit_test(test_resolvers),
        cmocka_unit_test(test_a_resolver_that_lies_is_told),
        cmocka_unit_test(test_nobody_knows_an_address),
        cmocka_unit_test(test_the_relay_refuses),
        cmocka_unit_test(test_a_survey),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
