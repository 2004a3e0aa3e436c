/* The search against a resolver of the test's: silent, late, for ever. The ports it finds are closed ones on loopback, so every search here ends without a way; which paths it tried tells
 * what it knew. */
#include "search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* ---- the resolver: in place of libuv's ---- */

static struct {
    const char *address; /* NULL: there is no such name */
    uv_getaddrinfo_t *request;
    uv_getaddrinfo_cb on_answer;
} resolver;

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb on_answer, const char *node, const char *service, const struct addrinfo *hints)
{
    (void)loop;
    (void)service;
    (void)hints;
    assert_string_equal(node, "relay.example");
    assert_null(resolver.request);
    resolver.request = request;
    resolver.on_answer = on_answer;
    return 0;
}

void uv_freeaddrinfo(struct addrinfo *list)
{
    (void)list;
}

static void answer(void)
{
    uv_getaddrinfo_t *request = resolver.request;
    struct net_address address;
    struct addrinfo info = {.ai_family = AF_INET, .ai_addr = &address.any};
    resolver.request = NULL;
    if (!request)
        return;
    if (resolver.address)
        assert_int_equal(net_address_parse_ip(slice_from_cstr(resolver.address), 0, &address), RESULT_OK);
    resolver.on_answer(request, resolver.address ? 0 : UV_EAI_NONAME, resolver.address ? &info : NULL);
}

/* ---- a search ---- */

static const char conf[] = "[relay]\nhost = relay.example\nuser = anna\npassword_file = /nowhere\npin = sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
                           "way = 1 tls\nway = 2 starttls\n";

struct world {
    uv_loop_t loop;
    struct settings *settings;
    struct tls_context *tls;
    struct search_config config;
    struct search *search;
    uv_timer_t timer;
    bool is_ended, is_answered;
};

static void on_end(void *context, struct outbound *winner, const struct path *path)
{
    struct world *world = context;
    assert_null(winner);
    assert_null(path);
    world->is_ended = true;
}

static struct path_address address_of(const char *text)
{
    struct net_address parsed;
    struct path_address address;
    assert_int_equal(net_address_parse_ip(slice_from_cstr(text), 0, &parsed), RESULT_OK);
    assert_true(search_address(&parsed.any, &address));
    return address;
}

static void world_open(struct world *world, const char *address)
{
    struct dirs dirs = {0};
    struct config_error error;
    char why[200];
    struct tls_client_config tls = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    *world = (struct world){0};
    resolver.address = address;
    assert_int_equal(uv_loop_init(&world->loop), 0);
    uv_timer_init(&world->loop, &world->timer);
    world->timer.data = world;
    assert_int_equal(settings_load_text(&world->settings, &dirs, "agent.conf", slice_from_cstr(conf), &error), RESULT_OK);
    assert_int_equal(tls_context_client(&world->tls, &tls, why, sizeof why), RESULT_OK);
    world->config = (struct search_config){.loop = &world->loop, .settings = world->settings, .tls = world->tls, .password = SLICE("x"), .resolver_ms = 30,
                                           .resolver_last_ms = 10000, .on_end = on_end, .context = world};
}

static void world_close(struct world *world)
{
    search_free(&world->search);
    answer();
    uv_close((uv_handle_t *)&world->timer, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    settings_unref(&world->settings);
    tls_context_unref(&world->tls);
}

static void on_answer_time(uv_timer_t *timer)
{
    ((struct world *)timer->data)->is_answered = true;
    answer();
}

/* Runs until the search ends; the resolver answers after so long. */
static void run_with_answer_after(struct world *world, uint64_t answer_ms)
{
    world->search = search_start(&world->config);
    assert_non_null(world->search);
    uv_timer_start(&world->timer, on_answer_time, answer_ms, 0);
    while (!world->is_ended)
        uv_run(&world->loop, UV_RUN_ONCE);
}

static bool has_tried(const struct world *world, const char *address)
{
    struct path_address wanted = address_of(address);
    size_t n = 0;
    for (size_t i = 0; i < search_ntrials(world->search); i++)
        n += path_address_equal(&search_trials(world->search)[i].path.address, &wanted) && search_trials(world->search)[i].verdict == PATH_REFUSED;
    assert_true(n == 0 || n == 2); /* both ways */
    return n == 2;
}

static void test_without_remembered_addresses_the_resolver_is_waited_for(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "127.0.0.2");
    run_with_answer_after(&world, 100);
    assert_true(world.is_answered && has_tried(&world, "127.0.0.2"));
    assert_null(search_resolver_words(world.search));
    world_close(&world);
}

static void test_a_late_answer_joins_the_race_of_the_remembered(void **state)
{
    struct world world;
    struct path_address remembered = address_of("127.0.0.3");
    const struct path_address *resolved;
    (void)state;
    world_open(&world, "127.0.0.2");
    world.config.remembered = &remembered;
    world.config.nremembered = 1;
    run_with_answer_after(&world, 150);
    assert_true(world.is_answered && has_tried(&world, "127.0.0.3") && has_tried(&world, "127.0.0.2"));
    assert_int_equal(search_resolved(world.search, &resolved), 1);
    world_close(&world);
}

static void test_a_resolver_that_never_answers_is_given_up(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "127.0.0.2");
    world.config.resolver_last_ms = 50;
    run_with_answer_after(&world, 60 * 1000);
    assert_false(world.is_answered);
    assert_int_equal(search_ntrials(world.search), 0);
    assert_non_null(strstr(search_resolver_words(world.search), "does not answer"));
    world_close(&world);
}

static void test_a_name_that_does_not_exist_leaves_the_remembered(void **state)
{
    struct world world;
    struct path_address remembered = address_of("127.0.0.3");
    (void)state;
    world_open(&world, NULL);
    world.config.remembered = &remembered;
    world.config.nremembered = 1;
    run_with_answer_after(&world, 0);
    assert_true(has_tried(&world, "127.0.0.3"));
    assert_non_null(strstr(search_resolver_words(world.search), "could not be resolved"));
    world_close(&world);
}

static void test_demoted_paths_come_last_and_when_the_others_have_failed(void **state)
{
    struct world world;
    struct path demoted = {.address = address_of("127.0.0.2"), .port = 1, .mode = PATH_TLS};
    (void)state;
    world_open(&world, "127.0.0.2");
    world.config.known = &demoted;
    world.config.demoted = &demoted;
    world.config.ndemoted = 1;
    run_with_answer_after(&world, 0);
    assert_int_equal(search_ntrials(world.search), 2);
    assert_true(path_equal(&search_trials(world.search)[1].path, &demoted));
    assert_true(has_tried(&world, "127.0.0.2"));
    world_close(&world);
}

static void test_a_search_can_end_at_any_moment(void **state)
{
    (void)state;
    for (int turns = 0; turns < 6; turns++) {
        struct world world;
        world_open(&world, "127.0.0.2");
        world.search = search_start(&world.config);
        for (int i = 0; i < turns; i++) {
            uv_run(&world.loop, UV_RUN_NOWAIT);
            if (i == 2)
                answer();
        }
        bool was_ended = world.is_ended;
        world_close(&world);
        assert_int_equal(world.is_ended, was_ended);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_remembered_addresses_the_resolver_is_waited_for),
        cmocka_unit_test(test_a_late_answer_joins_the_race_of_the_remembered),
        cmocka_unit_test(test_a_resolver_that_never_answers_is_given_up),
        cmocka_unit_test(test_a_name_that_does_not_exist_leaves_the_remembered),
        cmocka_unit_test(test_demoted_paths_come_last_and_when_the_others_have_failed),
        cmocka_unit_test(test_a_search_can_end_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
