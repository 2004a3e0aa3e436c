/* The message under way, at a relay that knows names: when it is asked how much of a message it holds, what that saves, and who goes first. */
#include "uplink_scene.h"

#include "support/store_fixture.h"

enum { OLD = MESSAGE + 1, NEW = MESSAGE, OTHER = MESSAGE + 1, HUGE_OCTETS = 3 * 1024 * 1024, MIB = 1024 * 1024 };

static struct monitor_event awake_again(void)
{
    return (struct monitor_event){.is_up = true, .has_key = true, .key = {1}, .has_slept = true};
}

static void settle(struct scene *s)
{
    NET_UNTIL(&s->house.net, state_of(s) == UPLINK_READY && queue_count(s->queue) == 0);
}

static void stop_the_line_at(struct scene *s, uint64_t octets)
{
    s->pause_at = octets;
    NET_UNTIL(&s->house.net, s->is_paused);
    s->is_paused = false;
}

static bool is_waiting_long(const struct scene *s)
{
    struct uplink_status status;
    uplink_status(s->uplink, &status);
    return status.state == UPLINK_WAITING && status.next_search_ms > wall_now_ms() + 3000 * 1000;
}

static uint64_t progress_of(const struct scene *s, uint64_t message)
{
    uint64_t octets = UINT64_MAX, of;
    if (uplink_progress(s->uplink, message, &octets, &of))
        assert_true(octets <= of);
    return octets;
}

/* A large message whose line is stopped in the middle. */
static void send_up_to(struct scene *s, size_t size, uint64_t first_id, uint64_t octets)
{
    open_scene_with(s, size, first_id, "");
    enqueue_sized(s, MESSAGE, size);
    stop_the_line_at(s, octets);
}

/* A message to a relay that breaks off after each 150,000 octets; time is long enough for whatever is waited for. */
static void send_to_one_that_breaks_off(struct scene *s, const char *settings, bool forgets)
{
    open_scene_with(s, 4 * LARGE, NEW, settings);
    s->office.wall_lead_ms = long_ahead;
    s->stop_at = 150 * 1000;
    s->forgets = forgets;
    enqueue(s);
}

static void put_small_beside(struct scene *s)
{
    put_message(s, OTHER, 500);
    enqueue_sized(s, OTHER, 500);
}

static void a_message_of_this_run_goes_whole(void **state)
{
    static const size_t sizes[] = {500, LARGE};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        char name[NAMING_TEXT];
        open_scene_with(&s, sizes[i], NEW, "");
        enqueue(&s);
        settle(&s);
        assert_string_equal(s.mails, "whole ");
        naming_format(&s.naming, MESSAGE, 0, name);
        assert_string_equal(s.records[0].name, name);
        assert_true(s.octets == sizes[i] && s.ntaken == 1);
        assert_int_equal(progress_of(&s, MESSAGE), UINT64_MAX); /* it is over */
        close_scene(&s);
    }
}

/* Who knows what became of it before the crash? Of a small one it would cost as much to ask as to send it. */
static void one_of_an_earlier_run_is_asked_about_when_that_can_pay(void **state)
{
    static const struct { size_t size; const char *mails; } rows[] = {{500, "whole "}, {CONSIGNMENT_ASK_OCTETS, "whole "}, {CONSIGNMENT_ASK_OCTETS + 1, "ask "}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scene s;
        open_scene_with(&s, rows[i].size, OLD, "");
        enqueue(&s);
        settle(&s);
        assert_string_equal(s.mails, rows[i].mails);
        close_scene(&s);
    }
}

/* It is too large for the relay now, but may have come before its limit was lowered: small or not, the relay is asked. One of this run can't have. */
static void one_that_is_too_large_now_is_asked_about_if_it_may_be_there(void **state)
{
    static const struct { size_t size; uint64_t first_id; const char *mails; } rows[] = {{500, OLD, "ask "}, {500, NEW, ""}, {LARGE, OLD, "ask "}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scene s;
        open_scene_limited(&s, rows[i].size, rows[i].first_id, 300, "");
        enqueue(&s);
        NET_UNTIL(&s.house.net, strcmp(world_state(&s.world, MESSAGE), "bounced") == 0);
        assert_string_equal(s.mails, rows[i].mails);
        close_scene(&s);
    }
}

static void a_relay_that_knows_no_names_is_told_none(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, LARGE, "");
    enqueue(&s);
    settle(&s);
    assert_string_equal(s.mails, "plain ");
    close_scene(&s);
}

/* The session is given up in mid-message; the next one asks, and not an octet that was taken is sent again. */
static void what_was_begun_is_gone_on_with(void **state)
{
    struct scene s;
    struct monitor_event awake = awake_again();
    char expected[64];
    (void)state;
    open_scene_with(&s, LARGE, NEW, "[queue]\npatience = 1h\n");
    enqueue(&s);
    stop_the_line_at(&s, LARGE / 2);
    assert_in_range(progress_of(&s, MESSAGE), 1, LARGE);
    uint64_t held = s.records[0].held, again = held % SCENE_LINE;
    assert_true(held >= LARGE / 2 && held < LARGE);
    uplink_set_network(s.uplink, &awake);
    assert_true(progress_of(&s, MESSAGE) <= held);
    settle(&s);
    snprintf(expected, sizeof expected, "whole ask@%llu ", (unsigned long long)(held - again));
    assert_string_equal(s.mails, expected);
    assert_true(s.octets == LARGE + again && s.ntaken == 1); /* RFC 1845: from the beginning of a line */
    assert_string_equal(world_state(&s.world, MESSAGE), "relayed");
    close_scene(&s);
}

/* Cut after each 150,000 octets: a piece or two are taken each time. Each next session begins at once, though a search that failed would wait for an hour. */
static void a_line_that_gets_on_is_not_blamed_however_often_it_is_cut(void **state)
{
    struct scene s;
    struct uplink_status status;
    (void)state;
    send_to_one_that_breaks_off(&s, "[queue]\npatience = 1h\n", false);
    NET_UNTIL(&s.house.net, s.ntaken == 1 && queue_count(s.queue) == 0);
    assert_true(s.house.opened >= 8);
    assert_true(s.octets <= 4 * LARGE + s.house.opened * SCENE_LINE);
    uplink_status(s.uplink, &status);
    assert_int_equal(status.next_search_ms, 0);
    close_scene(&s);
}

/* Of no session but the first is anything heard: each next one finds more there, and that is reason enough to come again at once. */
static void a_line_that_gets_on_unheard_is_tried_again_at_once(void **state)
{
    struct scene s;
    (void)state;
    open_scene_with(&s, LARGE, NEW, "[queue]\npatience = 1h\n");
    s.office.wall_lead_ms = long_ahead;
    s.stop_at = 150 * 1000;
    enqueue(&s);
    NET_UNTIL(&s.house.net, s.house.opened == 2);
    s.stop_at = 30 * 1000;
    NET_UNTIL(&s.house.net, s.ntaken == 1 && queue_count(s.queue) == 0);
    assert_true(s.house.opened >= 5);
    close_scene(&s);
}

/* Pieces are taken each time, and it is none the further. */
static void a_relay_that_loses_what_it_took_is_judged_as_before(void **state)
{
    struct scene s;
    (void)state;
    send_to_one_that_breaks_off(&s, "[queue]\npatience = 1h\n", true);
    NET_UNTIL(&s.house.net, is_waiting_long(&s));
    assert_int_equal(s.house.opened, 2); /* the first one got on */
    assert_string_equal(s.mails, "whole ask ");
    close_scene(&s);
}

/* No time that is waited for is cut short by the message's end. */
static int64_t days_ahead(void *context, int64_t received_at_ms)
{
    return long_ahead(context, received_at_ms) + 48 * 3600 * 1000;
}

/* However short the search's own pauses are: the first death left something, the next three nothing more, and then the message has the schedule's time, and others the way. */
static void a_relay_that_breaks_off_in_vain_is_left_alone(void **state)
{
    struct scene s;
    (void)state;
    send_to_one_that_breaks_off(&s, "[queue]\npatience = 10ms\n", true);
    s.office.wall_lead_ms = days_ahead;
    NET_UNTIL(&s.house.net, is_waiting_long(&s));
    assert_int_equal(s.house.opened, 1 + COURIER_FUTILE_MAX);
    assert_true(queue_deadline_ms(s.queue) > loop_now_ms(&s.house.net.loop) + 3000 * 1000);
    s.stop_at = 0;
    put_small_beside(&s);
    NET_UNTIL(&s.house.net, strcmp(world_state(&s.world, OTHER), "relayed") == 0);
    close_scene(&s);
}

/* The same before the first piece is taken: as ever. */
static void a_line_that_never_gets_on_is_judged_as_before(void **state)
{
    struct scene s;
    (void)state;
    open_scene_with(&s, LARGE, NEW, "[queue]\npatience = 1h\n");
    s.office.wall_lead_ms = long_ahead;
    s.stop_at = 1000;
    enqueue(&s);
    NET_UNTIL(&s.house.net, is_waiting_long(&s));
    assert_int_equal(s.house.opened, 1);
    close_scene(&s);
}

/* The first half is with the relay when its time is up. */
static void nothing_is_told_of_one_that_has_expired(void **state)
{
    struct scene s;
    (void)state;
    send_to_one_that_breaks_off(&s, "[queue]\npatience = 1h\n", true);
    NET_UNTIL(&s.house.net, is_waiting_long(&s));
    assert_true(progress_of(&s, MESSAGE) < UINT64_MAX);
    s.office.wall_lead_ms = NULL;
    s.refuses_login = true; /* the next session ends before the message's turn */
    uplink_wake(s.uplink, true);
    NET_UNTIL(&s.house.net, strcmp(world_state(&s.world, MESSAGE), "bounced") == 0);
    NET_UNTIL(&s.house.net, progress_of(&s, MESSAGE) == UINT64_MAX);
    close_scene(&s);
}

/* The line is given up for a new network with the reply still out, again and again: that is no relay's fault, and it is tried at once each time. */
static void lines_that_we_give_up_are_not_counted(void **state)
{
    struct scene s;
    struct monitor_event awake = awake_again();
    (void)state;
    open_scene_with(&s, 500, NEW, "");
    s.office.wall_lead_ms = days_ahead;
    s.holds = true;
    enqueue(&s);
    for (int i = 0; i < COURIER_FUTILE_MAX + 1; i++) {
        NET_UNTIL(&s.house.net, s.held);
        s.held = NULL;
        uplink_set_network(s.uplink, &awake);
    }
    NET_UNTIL(&s.house.net, s.held);
    service_answer(s.held, &SMTP_REPLY(250, 2, 0, 0, "taken"));
    settle(&s);
    assert_string_equal(world_state(&s.world, MESSAGE), "relayed");
    close_scene(&s);
}

/* Its own 451 ends the transaction, whatever it took before: a keeper has removed the half, or its disk is full. */
static void what_the_relay_has_put_off_is_not_there(void **state)
{
    struct scene s;
    (void)state;
    open_scene_with(&s, LARGE, NEW, "");
    s.office.wall_lead_ms = long_ahead;
    s.puts_off = true;
    enqueue(&s);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_READY && s.octets == LARGE);
    assert_int_equal(progress_of(&s, MESSAGE), 0);
    close_scene(&s);
}

/* The half is gone when the next session asks, and that one dies too before anything is taken. */
static void what_the_relay_has_dropped_is_not_there(void **state)
{
    struct scene s;
    struct monitor_event awake = awake_again();
    (void)state;
    send_up_to(&s, LARGE, NEW, LARGE / 2);
    s.office.wall_lead_ms = long_ahead;
    s.records[0].held = 0;
    uplink_set_network(s.uplink, &awake);
    assert_in_range(progress_of(&s, MESSAGE), 1, LARGE);
    stop_the_line_at(&s, s.octets + 1);
    for (int i = 0; i < 50; i++) /* the replies before it come */
        uv_run(&s.house.net.loop, UV_RUN_NOWAIT);
    uplink_set_network(s.uplink, &awake);
    assert_int_equal(progress_of(&s, MESSAGE), 0);
    assert_string_equal(s.mails, "whole ask ");
    close_scene(&s);
}

/* What does not open would be tried for ever: it waits for a person, on the disk and in the queue, and what comes behind it goes. */
static void one_that_can_not_be_read_is_held(void **state)
{
    struct scene s;
    (void)state;
    open_scene_with(&s, LARGE, NEW, "");
    world_meddle(&s.world, "UPDATE message SET sender = ':1:no seal of ours'");
    enqueue(&s);
    NET_UNTIL(&s.house.net, strcmp(world_state(&s.world, MESSAGE), "held") == 0);
    assert_int_equal(queue_count(s.queue), 1);
    assert_int_equal(queue_deadline_ms(s.queue), INT64_MAX);
    put_small_beside(&s);
    NET_UNTIL(&s.house.net, s.ntaken == 1);
    assert_string_equal(s.mails, "whole ");
    close_scene(&s);
}

/* ---- who goes first --------------------------------------------------------------------------------------------- */

static void a_small_one_overtakes_a_large_one(void **state)
{
    struct scene s;
    (void)state;
    open_scene_with(&s, HUGE_OCTETS, NEW, "");
    enqueue_sized(&s, MESSAGE, HUGE_OCTETS);
    stop_the_line_at(&s, MIB + MIB / 2); /* it has had its turn */
    put_small_beside(&s);
    service_resume(s.held);
    NET_UNTIL(&s.house.net, s.ntaken == 1);
    assert_string_equal(world_state(&s.world, MESSAGE), "queued");
    uint64_t held = s.records[0].held;
    assert_true(held >= MIB + MIB / 2 && held < HUGE_OCTETS && s.records[1].is_over);
    assert_true(progress_of(&s, MESSAGE) >= MIB && progress_of(&s, MESSAGE) <= HUGE_OCTETS);
    settle(&s);
    char expected[64];
    snprintf(expected, sizeof expected, "whole whole ask@%llu ", (unsigned long long)(held - held % SCENE_LINE));
    assert_string_equal(s.mails, expected);
    assert_int_equal(s.octets, HUGE_OCTETS + held % SCENE_LINE + 500);
    assert_int_equal(s.house.opened, 1); /* in one session */
    close_scene(&s);
}

static void a_large_one_has_its_turn_first(void **state)
{
    struct scene s;
    (void)state;
    send_up_to(&s, HUGE_OCTETS, NEW, 100 * 1000);
    put_small_beside(&s);
    service_resume(s.held);
    NET_UNTIL(&s.house.net, s.ntaken == 1);
    assert_in_range(s.records[0].held, CONSIGNMENT_TURN_OCTETS, HUGE_OCTETS - 1);
    assert_true(s.records[1].is_over && !s.records[0].is_over);
    settle(&s);
    assert_int_equal(s.ntaken, 2);
    close_scene(&s);
}

/* One that is not large is not worth the round trips; nor can one be paused that would begin anew. */
static void others_are_not_paused(void **state)
{
    static const struct { size_t size; uint64_t first_id; } rows[] = {{CONSIGNMENT_LARGE_OCTETS, NEW}, {HUGE_OCTETS, 0}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        send_up_to(&s, rows[i].size, rows[i].first_id, 500 * 1000);
        put_small_beside(&s);
        service_resume(s.held);
        NET_UNTIL(&s.house.net, s.ntaken == 1);
        assert_int_equal(s.octets, rows[i].size);
        settle(&s);
        assert_string_equal(s.mails, rows[i].first_id ? "whole whole " : "plain plain ");
        close_scene(&s);
    }
}

/* Held meanwhile by a person: it is put aside, and stays. */
static void a_paused_one_obeys_a_person(void **state)
{
    struct scene s;
    (void)state;
    send_up_to(&s, HUGE_OCTETS, NEW, MIB + MIB / 2);
    put_small_beside(&s);
    assert_int_equal(queue_remove(s.queue, MESSAGE), RESULT_OK);
    uplink_forget(s.uplink, MESSAGE);
    service_resume(s.held);
    settle(&s);
    assert_string_equal(s.mails, "whole whole ");
    assert_int_equal(s.ntaken, 1);
    assert_int_equal(progress_of(&s, MESSAGE), UINT64_MAX);
    close_scene(&s);
}

static void hold_by_hand(struct scene *s)
{
    assert_int_equal(queue_hold(s->queue, MESSAGE), RESULT_OK);
    uplink_hold(s->uplink, MESSAGE);
}

static void remove_by_hand(struct scene *s)
{
    store_message_remove(s->client, MESSAGE, NULL, NULL);
    assert_int_equal(queue_remove(s->queue, MESSAGE), RESULT_OK);
    uplink_forget(s->uplink, MESSAGE);
}

static void assert_no_trouble(const struct scene *s)
{
    struct uplink_status status;
    uplink_status(s->uplink, &status);
    assert_null(status.trouble);
    assert_null(strstr(s->states, "waiting"));
}

/* Held means held: nothing more of it goes, and what is there counts when it is released. */
static void one_under_way_is_held(void **state)
{
    struct scene s;
    char expected[64];
    (void)state;
    send_up_to(&s, LARGE, NEW, LARGE / 2);
    hold_by_hand(&s);
    service_resume(s.held);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_READY);
    uint64_t held = s.records[0].held;
    assert_true(held < LARGE && s.ntaken == 0 && queue_count(s.queue) == 1 && queue_active(s.queue) == 0 && queue_deadline_ms(s.queue) == INT64_MAX);
    assert_no_trouble(&s);
    assert_int_equal(queue_release(s.queue, MESSAGE, loop_now_ms(&s.house.net.loop)), RESULT_OK);
    uplink_wake(s.uplink, true);
    settle(&s);
    snprintf(expected, sizeof expected, "whole ask@%llu ", (unsigned long long)(held - held % SCENE_LINE));
    assert_string_equal(s.mails, expected);
    assert_int_equal(s.house.opened, 1);
    close_scene(&s);
}

/* With a name it is left behind in its session; without one the session goes with it, and that is nobody's fault. */
static void one_under_way_is_removed_without_trouble(void **state)
{
    (void)state;
    for (uint64_t first_id = 0; first_id <= NEW; first_id += NEW) {
        struct scene s;
        send_up_to(&s, LARGE, first_id, LARGE / 2);
        remove_by_hand(&s);
        service_resume(s.held);
        NET_UNTIL(&s.house.net, state_of(&s) == (first_id ? UPLINK_READY : UPLINK_RESTING));
        assert_true(s.ntaken == 0 && s.octets < LARGE && queue_count(s.queue) == 0);
        assert_no_trouble(&s);
        put_small_beside(&s);
        settle(&s);
        assert_true(s.ntaken == 1 && s.house.opened == (first_id ? 1 : 2));
        close_scene(&s);
    }
}

static void one_that_is_being_read_is_not_sent(void **state)
{
    struct scene s;
    (void)state;
    open_scene_with(&s, LARGE, NEW, "");
    put_small_beside(&s);
    settle(&s);
    enqueue(&s);
    assert_int_equal(state_of(&s), UPLINK_SENDING);
    hold_by_hand(&s);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_READY);
    assert_true(s.ntaken == 1 && queue_count(s.queue) == 1 && queue_active(s.queue) == 0);
    assert_string_equal(s.mails, "whole ");
    close_scene(&s);
}

/* The relay may have taken it: what it says counts. */
static void one_whose_last_octet_has_left_takes_its_course(void **state)
{
    struct scene s;
    (void)state;
    open_scene_with(&s, 500, NEW, "");
    s.holds = true;
    enqueue(&s);
    NET_UNTIL(&s.house.net, s.held);
    hold_by_hand(&s);
    assert_int_equal(state_of(&s), UPLINK_SENDING);
    service_answer(s.held, &SMTP_REPLY(250, 2, 0, 0, "taken"));
    settle(&s);
    assert_string_equal(world_state(&s.world, MESSAGE), "relayed");
    close_scene(&s);
}

static void it_can_be_stopped_at_any_moment_of_a_pause(void **state)
{
    (void)state;
    for (int turns = 0; turns < 40; turns += turns < 12 ? 1 : 5) {
        struct scene s;
        send_up_to(&s, HUGE_OCTETS, NEW, MIB + MIB / 2);
        put_small_beside(&s);
        service_resume(s.held);
        for (int i = 0; i < turns; i++)
            uv_run(&s.house.net.loop, UV_RUN_NOWAIT);
        close_scene(&s);
        assert_true(s.ntaken <= 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_of_this_run_goes_whole),
        cmocka_unit_test(one_of_an_earlier_run_is_asked_about_when_that_can_pay),
        cmocka_unit_test(one_that_is_too_large_now_is_asked_about_if_it_may_be_there),
        cmocka_unit_test(a_relay_that_knows_no_names_is_told_none),
        cmocka_unit_test(what_was_begun_is_gone_on_with),
        cmocka_unit_test(a_line_that_gets_on_is_not_blamed_however_often_it_is_cut),
        cmocka_unit_test(a_line_that_gets_on_unheard_is_tried_again_at_once),
        cmocka_unit_test(a_relay_that_loses_what_it_took_is_judged_as_before),
        cmocka_unit_test(a_relay_that_breaks_off_in_vain_is_left_alone),
        cmocka_unit_test(nothing_is_told_of_one_that_has_expired),
        cmocka_unit_test(a_line_that_never_gets_on_is_judged_as_before),
        cmocka_unit_test(lines_that_we_give_up_are_not_counted),
        cmocka_unit_test(what_the_relay_has_put_off_is_not_there),
        cmocka_unit_test(what_the_relay_has_dropped_is_not_there),
        cmocka_unit_test(one_that_can_not_be_read_is_held),
        cmocka_unit_test(a_small_one_overtakes_a_large_one),
        cmocka_unit_test(a_large_one_has_its_turn_first),
        cmocka_unit_test(others_are_not_paused),
        cmocka_unit_test(a_paused_one_obeys_a_person),
        cmocka_unit_test(one_under_way_is_held),
        cmocka_unit_test(one_under_way_is_removed_without_trouble),
        cmocka_unit_test(one_that_is_being_read_is_not_sent),
        cmocka_unit_test(one_whose_last_octet_has_left_takes_its_course),
        cmocka_unit_test(it_can_be_stopped_at_any_moment_of_a_pause),
    };
    return cmocka_run_group_tests_name("consignment", tests, house_make_identity, house_drop_identity);
}
