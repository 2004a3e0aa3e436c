/* The configured proxies, against a resolver of the test's. */
#include "proxies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- the resolver: in place of libuv's ---- */

static struct {
    uv_getaddrinfo_t *request;
    uv_getaddrinfo_cb on_answer;
    unsigned nasked;
} resolver;

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *request, uv_getaddrinfo_cb on_answer, const char *node, const char *service, const struct addrinfo *hints)
{
    (void)loop, (void)service, (void)hints;
    assert_string_equal(node, "proxy.example");
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

/* NULL: no such name. Two addresses of one family are one proxy. */
static void answer(const char *address)
{
    struct net_address parsed = {0};
    struct addrinfo second = {.ai_family = AF_INET, .ai_addr = &parsed.any}, first = {.ai_family = AF_INET, .ai_addr = &parsed.any, .ai_next = &second};
    uv_getaddrinfo_t *request = resolver.request;
    resolver.request = NULL;
    if (address)
        assert_int_equal(net_address_parse_ip(slice_from_cstr(address), 0, &parsed), RESULT_OK);
    resolver.on_answer(request, address ? 0 : UV_EAI_NONAME, address ? &first : NULL);
}

/* ---- a world ---- */

struct world {
    uv_loop_t loop;
    struct settings *settings;
    const char *program; /* NULL: the system is not asked */
    struct proxies *proxies;
    struct finder_proxy got[FINDER_PROXIES_MAX];
    size_t ngot;
    unsigned nanswers;
    bool is_last;
};

static void on_answer(void *context, const struct finder_proxy *proxies, size_t n, bool is_last)
{
    struct world *world = context;
    world->nanswers++;
    world->is_last = is_last;
    world->ngot = n;
    if (n > 0)
        memcpy(world->got, proxies, n * sizeof *proxies);
}

static void world_open_with(struct world *world, const char *program, const char *lines)
{
    struct dirs dirs = {0};
    struct config_error error;
    char text[600];
    *world = (struct world){.program = program};
    resolver.nasked = 0;
    snprintf(text, sizeof text, "[relay]\nhost = relay.example\nuser = anna\npassword_file = /nowhere\n[proxy]\nsystem = %s\n%s", program ? "yes" : "no", lines);
    if (settings_load_text(&world->settings, &dirs, "agent.conf", slice_from_cstr(text), &error) != RESULT_OK)
        fail_msg("%s", error.text);
    assert_int_equal(uv_loop_init(&world->loop), 0);
    world->proxies = proxies_new(&world->loop, world->settings, world->program, NULL);
    assert_non_null(world->proxies);
}

static void world_open(struct world *world, const char *lines)
{
    world_open_with(world, NULL, lines);
}

static void ask(struct world *world)
{
    proxies_ask(world->proxies, "relay.example", on_answer, world);
    assert_int_equal(world->nanswers, 0);
    uv_run(&world->loop, UV_RUN_DEFAULT);
}

static void world_close(struct world *world)
{
    proxies_free(&world->proxies);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world->loop), 0);
    settings_unref(&world->settings);
}

/* ---- tests ---- */

static void none_configured_is_an_empty_answer(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "");
    ask(&world);
    assert_true(world.nanswers == 1 && world.ngot == 0);
    world_close(&world);
}

static void addresses_are_known_at_once_in_their_order_with_their_credentials(void **state)
{
    struct world world;
    struct slice user, password;
    (void)state;
    world_open(&world, "proxy = socks5://[2001:db8::7]:1081\nproxy = http://ben:s%3Ac@192.0.2.7:3128\n");
    ask(&world);
    assert_true(world.nanswers == 1 && world.ngot == 2);
    assert_true(world.got[0].via == PATH_SOCKS5 && world.got[0].proxy.port == 1081 && world.got[0].proxy.address.family == 6);
    assert_true(world.got[1].via == PATH_HTTP_CONNECT && world.got[1].proxy.port == 3128 && world.got[1].proxy.address.octets[3] == 7);
    proxies_credentials(world.proxies, PATH_HTTP_CONNECT, &world.got[1].proxy, &user, &password);
    assert_true(slice_equal(user, SLICE("ben")) && slice_equal(password, SLICE("s:c")));
    proxies_credentials(world.proxies, PATH_SOCKS5, &world.got[1].proxy, &user, &password);
    assert_int_equal(user.len + password.len, 0);
    proxies_credentials(world.proxies, PATH_SOCKS5, &world.got[0].proxy, &user, &password);
    assert_int_equal(user.len + password.len, 0);
    world_close(&world);
}

static void a_name_comes_when_the_resolver_has_it_and_in_its_place(void **state)
{
    struct world world;
    struct slice user, password;
    (void)state;
    world_open(&world, "proxy = http://ben:secret@proxy.example:3128\nproxy = socks5://192.0.2.8\n");
    ask(&world);
    assert_true(world.nanswers == 1 && world.ngot == 1 && world.got[0].via == PATH_SOCKS5 && !world.is_last);
    answer("192.0.2.9");
    assert_true(world.nanswers == 2 && world.ngot == 2 && world.got[0].via == PATH_HTTP_CONNECT && world.got[0].proxy.address.octets[3] == 9 && world.is_last);
    proxies_credentials(world.proxies, PATH_HTTP_CONNECT, &world.got[0].proxy, &user, &password);
    assert_true(slice_equal(user, SLICE("ben")));
    world_close(&world);
}

/* Whoever has that address on another network is not told the credentials. */
static void a_name_is_asked_anew_on_another_network(void **state)
{
    struct world world;
    struct slice user, password;
    (void)state;
    world_open(&world, "proxy = http://ben:secret@proxy.example:3128\n");
    ask(&world);
    answer("192.0.2.9");
    assert_true(world.nanswers == 2 && world.ngot == 1);
    const struct path_proxy there = world.got[0].proxy;
    world.nanswers = 0;
    proxies_forget(world.proxies);
    ask(&world);
    assert_true(world.nanswers == 1 && world.ngot == 0);
    proxies_credentials(world.proxies, PATH_HTTP_CONNECT, &there, &user, &password);
    assert_int_equal(user.len + password.len, 0);
    answer(NULL);
    world_close(&world);
}

static void a_name_that_does_not_exist_is_no_proxy(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "proxy = http://proxy.example:3128\n");
    ask(&world);
    answer(NULL);
    assert_true(world.nanswers == 2 && world.ngot == 0 && world.is_last);
    assert_string_equal(proxies_missing(world.proxies), "proxy.example");
    proxies_forget(world.proxies);
    assert_null(proxies_missing(world.proxies));
    world.nanswers = 0;
    ask(&world);
    answer("192.0.2.9");
    assert_null(proxies_missing(world.proxies));
    world_close(&world);
}

/* On another network the name may be another's. */
static void a_new_question_asks_anew_and_the_old_answer_is_nobodys(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "proxy = http://proxy.example:3128\n");
    ask(&world);
    uv_getaddrinfo_t *old = resolver.request;
    world.nanswers = 0;
    ask(&world);
    assert_int_equal(resolver.nasked, 2);
    uv_getaddrinfo_t *new = resolver.request;
    resolver.request = old;
    answer("192.0.2.1");
    assert_true(world.nanswers == 1 && world.ngot == 0);
    resolver.request = new;
    answer("192.0.2.2");
    assert_true(world.nanswers == 2 && world.ngot == 1 && world.got[0].proxy.address.octets[3] == 2);
    world_close(&world);
}

static void freed_while_the_resolver_is_asked(void **state)
{
    struct world world;
    (void)state;
    world_open(&world, "proxy = http://proxy.example:3128\n");
    ask(&world);
    world.nanswers = 0;
    world_close(&world);
    answer("192.0.2.1");
    assert_int_equal(world.nanswers, 0);
}

/* ---- the system's: this program is its own "postern-agent proxies" ---- */

static char program[4096];

static int child(const char *host)
{
    const char *said = getenv("POSTERN_TEST_MOVED") ? "socks5://192.0.2.5" : "http://ada:secret@192.0.2.3:3128\nsocks5://192.0.2.4";
    return strcmp(host, "relay.example") == 0 && puts(said) >= 0 ? 0 : 1;
}

static void the_systems_come_behind_the_configured(void **state)
{
    struct world world;
    struct slice user, password;
    (void)state;
    world_open_with(&world, program, "proxy = socks5://192.0.2.8\n");
    ask(&world);
    assert_int_equal(world.nanswers, 2); /* what is known at once, and all */
    assert_int_equal(world.ngot, 3);
    assert_int_equal(world.got[0].proxy.address.octets[3], 8);
    assert_true(world.got[1].via == PATH_HTTP_CONNECT && world.got[1].proxy.address.octets[3] == 3 && world.got[1].proxy.port == 3128);
    assert_true(world.got[2].via == PATH_SOCKS5 && world.got[2].proxy.port == 1080);
    proxies_credentials(world.proxies, PATH_HTTP_CONNECT, &world.got[1].proxy, &user, &password);
    assert_true(slice_equal(user, SLICE("ada")) && slice_equal(password, SLICE("secret")));
    world_close(&world);
}

/* A process each time would be dear; on another network the answer is another. */
static void the_system_is_asked_once_on_a_network(void **state)
{
    struct world world;
    (void)state;
    world_open_with(&world, program, "");
    ask(&world);
    assert_true(world.nanswers == 1 && world.ngot == 2);
    world.nanswers = 0;
    setenv("POSTERN_TEST_MOVED", "1", 1);
    ask(&world);
    assert_true(world.nanswers == 1 && world.ngot == 2);
    world.nanswers = 0;
    proxies_forget(world.proxies);
    ask(&world);
    unsetenv("POSTERN_TEST_MOVED");
    assert_true(world.nanswers == 1 && world.ngot == 1 && world.got[0].proxy.address.octets[3] == 5);
    world_close(&world);
}

static void freed_in_the_middle(void **state)
{
    struct world world;
    (void)state;
    world_open_with(&world, program, "");
    proxies_ask(world.proxies, "relay.example", on_answer, &world);
    world_close(&world);
    assert_int_equal(world.nanswers, 0);
}

int main(int argc, char **argv)
{
    size_t size = sizeof program;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_systems_come_behind_the_configured),
        cmocka_unit_test(the_system_is_asked_once_on_a_network),
        cmocka_unit_test(freed_in_the_middle),
        cmocka_unit_test(none_configured_is_an_empty_answer),
        cmocka_unit_test(addresses_are_known_at_once_in_their_order_with_their_credentials),
        cmocka_unit_test(a_name_comes_when_the_resolver_has_it_and_in_its_place),
        cmocka_unit_test(a_name_is_asked_anew_on_another_network),
        cmocka_unit_test(a_name_that_does_not_exist_is_no_proxy),
        cmocka_unit_test(a_new_question_asks_anew_and_the_old_answer_is_nobodys),
        cmocka_unit_test(freed_while_the_resolver_is_asked),
    };
    if (argc == 3 && strcmp(argv[1], "proxies") == 0)
        return child(argv[2]);
    if (uv_exepath(program, &size) != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
