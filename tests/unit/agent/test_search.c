/* The driver of the path core, against a resolver and a challenge of the test's. The ports it finds are closed ones on loopback, so every search here ends without a way; which paths it tried tells
 * what it knew. */
#include "search.h"

#include "challenge_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* ---- the resolver: in place of libuv's ---- */

static struct {
    const char *address; /* NULL: there is no such name */
    uv_getaddrinfo_t *request;
    uv_getaddrinfo_cb on_answer;
    unsigned nasked;
} resolver;

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb on_answer, const char *node, const char *service, const struct addrinfo *hints)
{
    (void)loop, (void)service, (void)hints;
    assert_string_equal(node, "relay.example");
    resolver.request = request;
    resolver.on_answer = on_answer;
    resolver.nasked++;
    return 0;
}

int uv_cancel(uv_req_t *request)
{
    (void)request;
    return UV_EBUSY;
}

void uv_freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

static void answer_with(uv_getaddrinfo_t *request, const char *address)
{
    struct net_address parsed = {0};
    struct addrinfo info = {.ai_family = AF_INET, .ai_addr = &parsed.any};
    if (address)
        assert_int_equal(net_address_parse_ip(slice_from_cstr(address), 0, &parsed), RESULT_OK);
    resolver.on_answer(request, address ? 0 : UV_EAI_NONAME, address ? &info : NULL);
}

static void answer(void)
{
    uv_getaddrinfo_t *request = resolver.request;
    resolver.request = NULL;
    if (request)
        answer_with(request, resolver.address);
}

/* ---- a search ---- */

static const char pinned[] = "[relay]\npin = sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nway = 1 tls\nway = 2 starttls\n";
static const char unpinned[] = "[relay]\nway = 1 tls\nway = 2 starttls\n";

struct world {
    uv_loop_t loop;
    struct settings *settings;
    struct tls_context *tls;
    struct memory *memory;
    struct profile profile;
    struct search *search;
    uv_timer_t timer;
    unsigned nlost, ndropped;
};

static void on_use(void *context, struct outbound *winner, const struct path *path)
{
    (void)context, (void)winner, (void)path;
    fail_msg("nothing is open here");
}

static void on_lost(void *context)
{
    ((struct world *)context)->nlost++;
}

static void on_drop(void *context)
{
    ((struct world *)context)->ndropped++;
}

static struct path_address address_of(const char *text)
{
    struct path_address address;
    assert_true(path_address_parse(slice_from_cstr(text), &address));
    return address;
}

static struct settings *settings_of(const char *host, const char *lines)
{
    struct settings *settings;
    struct dirs dirs = {0};
    struct config_error error;
    char text[1000];
    snprintf(text, sizeof text, "[relay]\nhost = %s\nuser = anna\npassword_file = /nowhere\n[proxy]\nsystem = no\n%s", host, lines);
    if (settings_load_text(&settings, &dirs, "agent.conf", slice_from_cstr(text), &error) != RESULT_OK)
        fail_msg("%s in:\n%s", error.text, text);
    return settings;
}

static void world_open(struct world *world, const char *host, const char *lines)
{
    char why[200];
    struct tls_client_config tls = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    *world = (struct world){.memory = memory_new(), .settings = settings_of(host, lines)};
    memset(&resolver, 0, sizeof resolver);
    memset(&challenge, 0, sizeof challenge);
    resolver.address = "127.0.0.2";
    assert_non_null(world->memory);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    uv_timer_init(&world->loop, &world->timer);
    world->timer.data = world;
    assert_int_equal(tls_context_client(&world->tls, &tls, why, sizeof why), RESULT_OK);
}

static void world_search(struct world *world)
{
    world->search = search_new(&(struct search_config){.loop = &world->loop, .settings = world->settings, .tls = world->tls, .password = SLICE("x"), .memory = world->memory,
                                                       .profile = &world->profile, .on_use = on_use, .on_drop = on_drop, .on_lost = on_lost, .context = world});
    assert_non_null(world->search);
    search_want(world->search, FINDER_WISH_DUE);
    assert_int_equal(world->nlost, 0);
}

static void world_close(struct world *world)
{
    search_free(&world->search);
    assert_false(challenge.is_open);
    answer();
    uv_close((uv_handle_t *)&world->timer, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    settings_unref(&world->settings);
    tls_context_unref(&world->tls);
    memory_free(&world->memory);
}

static void run_until(struct world *world, const unsigned *counter, unsigned n)
{
    while (*counter < n)
        uv_run(&world->loop, UV_RUN_ONCE);
}

static void on_answer_time(uv_timer_t *timer)
{
    (void)timer;
    answer();
}

static size_t ntrials_of(const struct world *world)
{
    size_t n;
    finder_trials(search_finder(world->search), &n);
    return n;
}

static const struct finder_trial *trial_on(const struct world *world, const char *address, uint16_t port)
{
    struct path_address wanted = address_of(address);
    size_t n;
    const struct finder_trial *trials = finder_trials(search_finder(world->search), &n);
    for (size_t i = 0; i < n; i++)
        if (path_address_equal(&trials[i].path.address, &wanted) && trials[i].path.port == port)
            return &trials[i];
    return NULL;
}

static bool has_tried(const struct world *world, const char *address)
{
    const struct finder_trial *one = trial_on(world, address, 1), *two = trial_on(world, address, 2);
    assert_true(!one == !two); /* both ways */
    return one && one->verdict == PATH_REFUSED && two->verdict == PATH_REFUSED;
}

static struct monitor_event event_of(uint8_t key, bool is_up, bool has_changed)
{
    return (struct monitor_event){.is_up = is_up, .has_key = key != 0, .key = {key}, .has_changed = has_changed};
}

/* ---- names ---- */

static void without_remembered_addresses_the_resolver_is_waited_for(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "relay.example", unpinned);
    world_search(&world);
    run_until(&world, &resolver.nasked, 1);
    assert_non_null(strstr(search_resolver_words(world.search), "does not answer"));
    uv_timer_start(&world.timer, on_answer_time, 50, 0);
    run_until(&world, &world.nlost, 1);
    assert_true(has_tried(&world, "127.0.0.2"));
    assert_null(search_resolver_words(world.search));
    world_close(&world);
}

static void a_late_answer_joins_the_race_of_the_remembered(void **state)
{
    struct world world;
    struct path_address remembered = address_of("127.0.0.3");
    (void)state;
    world_open(&world, "relay.example", unpinned);
    memory_keep_address(world.memory, &remembered);
    world_search(&world);
    uv_timer_start(&world.timer, on_answer_time, 150, 0);
    run_until(&world, &world.nlost, 1);
    assert_true(has_tried(&world, "127.0.0.3") && has_tried(&world, "127.0.0.2"));
    world_close(&world);
}

static void a_name_that_does_not_exist_leaves_the_remembered(void **state)
{
    struct world world;
    struct path_address remembered = address_of("127.0.0.3");
    (void)state;
    world_open(&world, "relay.example", unpinned);
    resolver.address = NULL;
    memory_keep_address(world.memory, &remembered);
    world_search(&world);
    uv_timer_start(&world.timer, on_answer_time, 0, 0);
    run_until(&world, &world.nlost, 1);
    assert_true(has_tried(&world, "127.0.0.3"));
    assert_non_null(strstr(search_resolver_words(world.search), "could not be resolved"));
    world_close(&world);
}

static void what_was_asked_on_another_network_is_nobodys(void **state)
{
    struct world world;
    struct monitor_event first = event_of(1, true, true), second = event_of(2, true, true);
    (void)state;
    world_open(&world, "relay.example", unpinned);
    world_search(&world);
    search_set_network(world.search, &first);
    run_until(&world, &resolver.nasked, 1);
    uv_getaddrinfo_t *old = resolver.request;
    search_set_network(world.search, &second);
    run_until(&world, &resolver.nasked, 2);
    answer_with(old, "127.0.0.9");
    answer();
    run_until(&world, &world.nlost, 1);
    assert_true(has_tried(&world, "127.0.0.2") && !has_tried(&world, "127.0.0.9"));
    assert_int_equal(world.ndropped, 0);
    world_close(&world);
}

/* ---- networks ---- */

static void without_a_network_nobody_is_asked_but_a_relay_on_this_machine(void **state)
{
    static const char *const hosts[] = {"relay.example", "127.0.0.2"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world world;
        struct monitor_event none = event_of(0, false, true);
        world_open(&world, hosts[i], unpinned);
        world_search(&world);
        search_set_network(world.search, &none);
        for (int turn = 0; turn < 10; turn++)
            uv_run(&world.loop, UV_RUN_NOWAIT);
        assert_int_equal(resolver.nasked, 0);
        assert_int_equal(finder_state(search_finder(world.search)) == FINDER_WAITING && ntrials_of(&world) == 0, i == 0);
        if (i == 1)
            run_until(&world, &world.nlost, 1);
        world_close(&world);
    }
}

/* ---- ways ---- */

static void ways_that_the_relay_names_stand_behind_the_usual_ones_only(void **state)
{
    static const struct { const char *lines; size_t nways; } cases[] = {
        {"", 6}, {"[relay]\nway = 1 tls\n", 1}, {"[relay]\nway = 465 tls\nway = 587 starttls\nway = 2525 starttls\nway = 25 starttls\n", 4},
        {"[relay]\nway = 1 tls\nway = 465 tls\nway = 443 tls\nway = 587 starttls\nway = 2525 starttls\nway = 25 starttls\n", 7},
    };
    const struct smtp_peer peer = {.capabilities = SMTP_CAP_XWAYS, .ways = SLICE("465/tls 8443/tls")};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world world;
        uint32_t ports = 0;
        size_t n;
        world_open(&world, "127.0.0.2", cases[i].lines);
        profile_learn(&world.profile, &peer);
        world_search(&world);
        run_until(&world, &world.nlost, 1);
        const struct finder_trial *trials = finder_trials(search_finder(world.search), &n);
        for (size_t t = 0; t < n; t++)
            ports += t == 0 || !(trials[t].path.port == 443 && trials[t].path.alpn == PATH_ALPN_SMTP); /* 443 is tried in two guises */
        assert_int_equal(ports, cases[i].nways);
        assert_int_equal(trial_on(&world, "127.0.0.2", 8443) != NULL, cases[i].nways >= 6);
        world_close(&world);
    }
}

static void a_proxy_is_tried_with_the_name_it_is_to_find_out(void **state)
{
    struct world world;
    size_t n, nproxied = 0;
    (void)state;
    world_open(&world, "relay.example", "[relay]\nway = 443 tls\n[proxy]\nproxy = http://ben:secret@127.0.0.4:1\n");
    world_search(&world);
    uv_timer_start(&world.timer, on_answer_time, 0, 0);
    run_until(&world, &world.nlost, 1);
    const struct finder_trial *trials = finder_trials(search_finder(world.search), &n);
    for (size_t i = 0; i < n; i++)
        if (trials[i].path.via == PATH_HTTP_CONNECT) {
            assert_true(trials[i].path.proxy.port == 1 && trials[i].path.proxy.address.octets[3] == 4 && trials[i].verdict != PATH_UNTRIED);
            nproxied++;
        }
    assert_true(nproxied > 0);
    world_close(&world);
}

/* ---- the challenge ---- */

static void a_relay_of_a_known_key_is_asked_whether_it_is_it(void **state)
{
    struct world world;
    bool is_known;
    char text[NET_ADDRESS_TEXT];
    struct net_address asked;
    (void)state;
    world_open(&world, "relay.example", pinned);
    world_search(&world);
    uv_timer_start(&world.timer, on_answer_time, 0, 0);
    run_until(&world, &challenge.nasked, 1);
    memcpy(&asked, &challenge.ask.address, sizeof asked);
    net_address_format(&asked, text);
    assert_string_equal(text, "127.0.0.2:80");
    assert_string_equal(challenge.ask.server_name, "relay.example");
    answer_challenge(CHALLENGE_PORTAL);
    for (int turn = 0; turn < 5; turn++)
        uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_int_equal(finder_network(search_finder(world.search), &is_known), NETWORK_CAPTIVE);
    assert_true(is_known);
    world_close(&world);
}

/* Their websites are no portals. */
static void whoever_is_not_ours_is_not_asked(void **state)
{
    static const struct smtp_peer ours = {.capabilities = SMTP_CAP_XDEVICE}, theirs = {.capabilities = SMTP_CAP_CHUNKING};
    static const struct { const char *lines; const struct smtp_peer *peer; bool is_asked; } cases[] = {
        {unpinned, NULL, false}, {unpinned, &ours, true}, {pinned, &theirs, false}, {pinned, &ours, true},
        {"[relay]\nhttp_port = 0\npin = sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nway = 1 tls\n", &ours, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world world;
        world_open(&world, "127.0.0.2", cases[i].lines);
        if (cases[i].peer)
            profile_learn(&world.profile, cases[i].peer);
        world_search(&world);
        run_until(&world, &world.nlost, 1);
        for (int turn = 0; turn < 10; turn++)
            uv_run(&world.loop, UV_RUN_NOWAIT);
        assert_int_equal(challenge.nasked > 0, cases[i].is_asked);
        world_close(&world);
    }
}

/* ---- its life ---- */

static void new_settings_begin_anew(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "relay.example", unpinned);
    world_search(&world);
    run_until(&world, &resolver.nasked, 1);
    uv_getaddrinfo_t *old = resolver.request;
    struct settings *fresh = settings_of("127.0.0.5", unpinned);
    assert_int_equal(search_reload(world.search, fresh, world.tls, SLICE("y")), RESULT_OK);
    settings_unref(&fresh);
    search_want(world.search, FINDER_WISH_NOW);
    resolver.request = NULL;
    answer_with(old, "127.0.0.2");
    run_until(&world, &world.nlost, 1);
    assert_true(has_tried(&world, "127.0.0.5") && !has_tried(&world, "127.0.0.2"));
    world_close(&world);
}

static void it_can_end_at_any_moment(void **state)
{
    (void)state;
    for (int turns = 0; turns < 8; turns++) {
        struct world world;
        world_open(&world, "relay.example", pinned);
        world_search(&world);
        for (int i = 0; i < turns; i++) {
            uv_run(&world.loop, UV_RUN_NOWAIT);
            if (i == 2)
                answer();
        }
        unsigned nlost = world.nlost;
        world_close(&world);
        assert_int_equal(world.nlost, nlost);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_remembered_addresses_the_resolver_is_waited_for),
        cmocka_unit_test(a_late_answer_joins_the_race_of_the_remembered),
        cmocka_unit_test(a_name_that_does_not_exist_leaves_the_remembered),
        cmocka_unit_test(what_was_asked_on_another_network_is_nobodys),
        cmocka_unit_test(without_a_network_nobody_is_asked_but_a_relay_on_this_machine),
        cmocka_unit_test(ways_that_the_relay_names_stand_behind_the_usual_ones_only),
        cmocka_unit_test(a_proxy_is_tried_with_the_name_it_is_to_find_out),
        cmocka_unit_test(a_relay_of_a_known_key_is_asked_whether_it_is_it),
        cmocka_unit_test(whoever_is_not_ours_is_not_asked),
        cmocka_unit_test(new_settings_begin_anew),
        cmocka_unit_test(it_can_end_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
