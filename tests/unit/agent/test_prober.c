/* Who asks the relay's challenge, and how often (prober.h), with a challenge of the test's. Invariants by number. */
#include "prober.h"

#include "challenge_scene.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* ---- those who ask ---- */

struct asker {
    struct prober_question question;
    unsigned nanswers;
    enum finder_probe last;
};

static struct {
    uv_loop_t loop;
    struct prober *prober;
    struct asker one, other;
} world;

static void on_answer(void *context, enum finder_probe said)
{
    struct asker *asker = context;
    asker->nanswers++;
    asker->last = said;
}

static int open_world(void **state)
{
    (void)state;
    memset(&challenge, 0, sizeof challenge);
    memset(&world, 0, sizeof world);
    assert_int_equal(uv_loop_init(&world.loop), 0);
    world.prober = prober_new(&world.loop, NULL);
    assert_non_null(world.prober);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    prober_cancel(&world.one.question);
    prober_cancel(&world.other.question);
    prober_free(&world.prober);
    assert_false(challenge.is_open);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&world.loop), 0);
    return 0;
}

static void ask(struct asker *asker, uint8_t network)
{
    prober_cancel(&asker->question);
    asker->question = (struct prober_question){.ask = {.server_name = "relay.example"}, .network = {{network}}, .on_answer = on_answer, .context = asker};
    prober_ask(world.prober, &asker->question);
}

static void turn(void)
{
    for (int i = 0; i < 5; i++)
        uv_run(&world.loop, UV_RUN_NOWAIT);
}

static void two_at_once_are_one_question(void **state)
{
    (void)state;
    ask(&world.one, 1);
    ask(&world.other, 1);
    turn();
    assert_int_equal(challenge.nasked, 1);
    answer_challenge(CHALLENGE_PORTAL);
    assert_int_equal(world.one.nanswers, 0); /* 3: from the loop */
    turn();
    assert_true(world.one.nanswers == 1 && world.other.nanswers == 1 && world.one.last == FINDER_PROBE_CAPTIVE && world.other.last == FINDER_PROBE_CAPTIVE);
    assert_int_equal(challenge.nasked, 1);
}

static void who_comes_soon_after_gets_the_same_answer(void **state)
{
    (void)state;
    ask(&world.one, 1);
    answer_challenge(CHALLENGE_GENUINE);
    turn();
    ask(&world.other, 1);
    assert_int_equal(world.other.nanswers, 0);
    turn();
    assert_true(world.other.nanswers == 1 && world.other.last == FINDER_PROBE_CLEAR && challenge.nasked == 1);
}

/* 1, 2 */
static void on_another_network_it_is_asked_anew_when_it_is_time(void **state)
{
    struct prober_last last = {.ago_ms = FINDER_PROBE_EVERY_MS - 50, .has_answer = true, .answer = FINDER_PROBE_CAPTIVE, .network = {{1}}};
    (void)state;
    prober_restore(world.prober, &last, "relay.example");
    ask(&world.one, 2);
    ask(&world.other, 1);
    assert_int_equal(challenge.nasked, 0);
    turn();
    assert_true(world.other.nanswers == 1 && world.other.last == FINDER_PROBE_CAPTIVE && world.one.nanswers == 0 && challenge.nasked == 0);
    while (challenge.nasked == 0)
        uv_run(&world.loop, UV_RUN_ONCE);
    answer_challenge(CHALLENGE_SILENT);
    turn();
    assert_true(world.one.nanswers == 1 && world.one.last == FINDER_PROBE_SILENT);
    assert_true(prober_last(world.prober, &last) && last.answer == FINDER_PROBE_SILENT && last.network.octets[0] == 2);
}

static void what_comes_after_the_network_is_gone_is_nobodys(void **state)
{
    (void)state;
    ask(&world.one, 0);
    prober_forget(world.prober);
    answer_challenge(CHALLENGE_PORTAL);
    turn();
    assert_int_equal(world.one.nanswers, 0);
    prober_forget(world.prober);
    ask(&world.other, 0);
    turn();
    assert_true(world.other.nanswers == 0 && challenge.nasked == 1);
}

static void who_has_left_is_not_told(void **state)
{
    (void)state;
    ask(&world.one, 1);
    prober_cancel(&world.one.question);
    answer_challenge(CHALLENGE_PORTAL);
    turn();
    assert_int_equal(world.one.nanswers, 0);
}

static void after_the_pause_the_answer_is_old(void **state)
{
    const struct prober_last last = {.ago_ms = FINDER_PROBE_EVERY_MS, .has_answer = true, .network = {{1}}};
    (void)state;
    prober_restore(world.prober, &last, "relay.example");
    ask(&world.one, 1);
    assert_int_equal(challenge.nasked, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_at_once_are_one_question, open_world, close_world),
        cmocka_unit_test_setup_teardown(who_comes_soon_after_gets_the_same_answer, open_world, close_world),
        cmocka_unit_test_setup_teardown(on_another_network_it_is_asked_anew_when_it_is_time, open_world, close_world),
        cmocka_unit_test_setup_teardown(what_comes_after_the_network_is_gone_is_nobodys, open_world, close_world),
        cmocka_unit_test_setup_teardown(who_has_left_is_not_told, open_world, close_world),
        cmocka_unit_test_setup_teardown(after_the_pause_the_answer_is_old, open_world, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
