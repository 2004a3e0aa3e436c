/* The inquiry, when nobody tells what became of messages: they are not awaited for ever. */
#include "inquiry_scene.h"

/* A relay that has lost XOUTCOME since: what it could not know any more is given up, what it could is kept for it, and no session is opened for that one soon. */
static void what_the_relay_cannot_be_asked_is_given_up_in_time(void **state)
{
    struct scene s;
    struct uplink_status status;
    (void)state;
    open_bound(&s, NULL);
    put_relayed(&s, FIRST, INT64_C(3) * 86400000, 1, true); /* its lifetime is a matter of seconds */
    put_relayed(&s, FIRST + 1, INT64_C(86400000), 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.house.opened > 0 && awaited(&s) == 1 && state_of(&s) == UPLINK_RESTING && has_words(&s, FIRST, "the relay tells no outcomes any more; its last word: 250 taken"));
    assert_int_equal(s.seen.state, STORE_RELAYED);
    assert_int_equal(s.seen.next_attempt_ms, 0);
    assert_false(has_body(&s, FIRST));
    look(&s, FIRST + 1);
    assert_string_equal(s.seen_reply, "250 taken");
    assert_in_range(s.seen.next_attempt_ms, wall_now_ms() + 5 * 3600 * 1000, wall_now_ms() + 6 * 3600 * 1000);
    assert_true(has_body(&s, FIRST + 1));
    assert_in_range(uplink_question_at_ms(s.uplink, FIRST + 1), wall_now_ms() + 5 * 3600 * 1000, wall_now_ms() + 6 * 3600 * 1000);
    uplink_status(s.uplink, &status);
    assert_true(status.is_untold);
    assert_int_equal(s.house.opened, 1);
    assert_int_equal(s.nasked, 0);
    close_scene(&s);
}

/* Twice as long as it is waited for at most, by a run that has looked for it once: the lifetime is a matter of seconds. */
static void what_nothing_is_heard_of_is_given_up_at_last(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 2.0.0 taken"), NULL};
    (void)state;
    for (int is_reached = 0; is_reached < 2; is_reached++) {
        struct scene s;
        open_bound(&s, answers);
        s.refuses_login = !is_reached;
        put_relayed(&s, FIRST, INT64_C(9) * 86400000, 1, true);
        put_relayed(&s, FIRST + 1, INT64_C(7) * 86400000, 1, true);
        put_relayed(&s, FIRST + 2, INT64_C(9) * 86400000, 1, true);
        start(&s);
        NET_UNTIL(&s.house.net, awaited(&s) == (is_reached ? 0 : 1) && s.nasked == (is_reached ? 3 : 0) && !has_session(&s));
        for (uint64_t id = FIRST; id < FIRST + 3; id++) {
            bool is_kept = !is_reached && id == FIRST + 1;
            look(&s, id);
            assert_int_equal(s.seen.state, is_reached ? STORE_DELIVERED : STORE_RELAYED);
            assert_int_equal(s.seen.next_attempt_ms > 0, is_kept);
            assert_int_equal(has_body(&s, id), is_kept);
            assert_string_equal(s.seen_reply, is_reached ? "250 2.0.0 taken" : is_kept ? "250 taken" : "nothing is heard of the relay any more; its last word: 250 taken");
        }
        close_scene(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_relay_cannot_be_asked_is_given_up_in_time),
        cmocka_unit_test(what_nothing_is_heard_of_is_given_up_at_last),
    };
    return cmocka_run_group_tests_name("inquiry_silent", tests, house_make_identity, house_drop_identity);
}
