/* The uplink between a real store and a relay that says yes: its states in their order, and its end and new settings in the middle of each. */
#include "uplink_scene.h"

/* ---- its states ---- */

static void a_message_takes_it_once_round(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 500, "keep_warm = 100ms\n");
    assert_int_equal(state_of(&s), UPLINK_RESTING);
    enqueue(&s);
    NET_UNTIL(&s.house.net, s.ntaken > 0 && state_of(&s) == UPLINK_RESTING);
    assert_string_equal(s.states, "searching login ready sending ready leaving resting ");
    assert_string_equal(world_state(&s.world, MESSAGE), "relayed");
    assert_int_equal(queue_count(s.queue), 0);
    assert_true(memory_is_dirty(s.recall.memory));
    close_scene(&s);
}

static void mail_that_is_due_later_is_waited_for(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 500, "");
    assert_int_equal(queue_add(s.queue, MESSAGE, (struct slice){0}, loop_now_ms(&s.house.net.loop) + 300), RESULT_OK);
    uplink_wake(s.uplink, false);
    assert_string_equal(s.states, "waiting ");
    NET_UNTIL(&s.house.net, s.ntaken > 0 && state_of(&s) == UPLINK_READY);
    assert_string_equal(s.states, "waiting resting searching login ready sending ready ");
    close_scene(&s);
}

static void a_refused_login_waits_and_tells(void **state)
{
    struct scene s;
    struct uplink_status status;
    (void)state;
    open_scene(&s, 500, "[queue]\npatience = 1h\n");
    s.refuses_login = true;
    enqueue(&s);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_WAITING);
    assert_string_equal(s.states, "searching login waiting ");
    uplink_status(s.uplink, &status);
    assert_non_null(strstr(status.trouble, "refuses the name or password"));
    assert_true(status.next_search_ms > wall_now_ms() + 3000 * 1000);
    assert_int_equal(status.network, NETWORK_ONLINE);
    assert_int_equal(status.trials[0].verdict, PATH_RELAY_REFUSED);
    /* world_put's messages have expired long ago: the lifetime ends it, although a way was open (invariant 5). */
    NET_UNTIL(&s.house.net, strcmp(world_state(&s.world, MESSAGE), "bounced") == 0);
    assert_int_equal(s.ntaken, 0);
    close_scene(&s);
}

static void waking_it_shortens_the_wait(void **state)
{
    struct scene s;
    struct uplink_status status;
    (void)state;
    open_scene(&s, 500, "[queue]\npatience = 1h\n");
    s.refuses_login = true;
    assert_int_equal(queue_add(s.queue, MESSAGE + 1, (struct slice){0}, 0), RESULT_OK); /* no such message: found out after the login */
    uplink_wake(s.uplink, false);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_WAITING && queue_active(s.queue) == 0);
    uplink_wake(s.uplink, false); /* new mail: not at once after a search */
    uv_run(&s.house.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(state_of(&s), UPLINK_WAITING);
    uplink_status(s.uplink, &status);
    assert_true(status.next_search_ms > wall_now_ms() && status.next_search_ms <= wall_now_ms() + FINDER_NEW_MAIL_MS);
    s.refuses_login = false;
    s.states[0] = '\0';
    uplink_wake(s.uplink, true);
    NET_UNTIL(&s.house.net, strcmp(s.states, "searching login ready sending ready ") == 0);
    close_scene(&s);
}

/* ---- networks --------------------------------------------------------------------------------------------------- */

static struct monitor_event event_of(uint8_t key)
{
    return (struct monitor_event){.is_up = true, .has_key = true, .key = {key}, .has_changed = true};
}

/* To where the relay has the message whole, and does not answer. */
static void send_and_hold(struct scene *s)
{
    struct monitor_event here = event_of(1);
    s->office.wall_lead_ms = long_ahead;
    uplink_set_network(s->uplink, &here);
    s->holds = true;
    enqueue(s);
    NET_UNTIL(&s->house.net, s->held);
    assert_int_equal(state_of(s), UPLINK_SENDING);
    s->holds = false;
    s->states[0] = '\0';
}

static void assert_sent_over_another_session(struct scene *s)
{
    NET_UNTIL(&s->house.net, s->ntaken > 0 && state_of(s) == UPLINK_READY && queue_count(s->queue) == 0);
    assert_string_equal(s->states, "waiting searching login ready sending ready ");
    assert_int_equal(s->house.opened, 2);
    assert_string_equal(world_state(&s->world, MESSAGE), "relayed");
}

static void another_network_drops_the_session_and_its_message_goes_over_the_next(void **state)
{
    struct scene s;
    struct monitor_event there = event_of(2);
    struct uplink_status status;
    (void)state;
    open_scene_with(&s, 500, 1, "[queue]\npatience = 1h\n"); /* it knows names, and so is asked at once */
    send_and_hold(&s);
    uplink_set_network(s.uplink, &there);
    uplink_status(s.uplink, &status);
    assert_true(!status.has_way && status.since_ms == 0 && status.sending == 0);
    for (size_t i = 0; i < status.ntrials; i++)
        assert_int_equal(status.trials[i].verdict, PATH_UNTRIED);
    assert_sent_over_another_session(&s);
    close_scene(&s);
}

/* The last octet has left, and no reply has come: people see it, and may remove it (schema/README.md). */
static void what_the_relay_may_have_is_uncertain_though_we_gave_the_line_up(void **state)
{
    static const char *const expected[] = {"uncertain", "queued"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct scene s;
        struct monitor_event here = event_of(1), there = event_of(2);
        open_scene(&s, LARGE, "[queue]\npatience = 1h\n");
        if (i == 0) {
            send_and_hold(&s);
        } else {
            s.office.wall_lead_ms = long_ahead;
            uplink_set_network(s.uplink, &here);
            s.pause_at = LARGE / 2;
            enqueue(&s);
            NET_UNTIL(&s.house.net, s.is_paused);
        }
        s.refuses_login = true; /* no other session carries it */
        s.states[0] = '\0';
        uplink_set_network(s.uplink, &there);
        NET_UNTIL(&s.house.net, s.house.opened == 2 && strstr(s.states, "login waiting"));
        assert_string_equal(world_state(&s.world, MESSAGE), expected[i]);
        assert_int_equal(queue_count(s.queue), 1);
        close_scene(&s);
    }
}

/* The agent's end is one, too. */
static void what_the_relay_may_have_is_uncertain_at_the_agents_end(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 500, "");
    send_and_hold(&s);
    stop_uplink(&s.house.net, s.uplink);
    assert_string_equal(world_state(&s.world, MESSAGE), "uncertain");
    attempt_stop(&s.office);
    uplink_free(&s.uplink);
    net_store_drain(&s.house.net, s.client);
    net_store_close(&s.house.net, &s.client);
    queue_free(&s.queue);
    recall_close(&s.recall);
    settings_unref(&s.settings);
    house_close(&s.house);
    world_end(&s.world);
}

static void a_session_does_not_survive_sleep_nor_is_its_way_blamed(void **state)
{
    struct scene s;
    struct monitor_event awake = event_of(1);
    const struct memory_path *paths;
    struct memory_key here = {{1}};
    size_t n;
    (void)state;
    open_scene_with(&s, 500, 1, "[queue]\npatience = 1h\n"); /* it knows names, and so is asked at once */
    send_and_hold(&s);
    awake.has_changed = false;
    awake.has_slept = true;
    uplink_set_network(s.uplink, &awake);
    assert_sent_over_another_session(&s);
    paths = memory_paths(s.recall.memory, &here, wall_now_ms(), &n);
    assert_true(n == 1 && paths[0].demoted_at_ms == 0);
    close_scene(&s);
}

/* Loopback stays where it is, whatever else changes. */
static void a_session_whose_address_is_still_there_survives_a_change_beside_it(void **state)
{
    struct scene s;
    struct monitor_event beside = event_of(1);
    (void)state;
    open_scene(&s, 500, "");
    send_and_hold(&s);
    uplink_set_network(s.uplink, &beside);
    uv_run(&s.house.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(state_of(&s), UPLINK_SENDING);
    s.ntaken++;
    say(s.held, SMTP_REPLY(250, 2, 0, 0, "taken"));
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_READY && queue_count(s.queue) == 0);
    assert_int_equal(s.house.opened, 1);
    close_scene(&s);
}

static void nothing_is_begun_before_the_network_is_known(void **state)
{
    struct scene s;
    struct monitor_event here = event_of(1);
    const struct memory_path *paths;
    struct memory_key key = {{1}};
    size_t n;
    (void)state;
    open_scene(&s, 500, "");
    stop_uplink(&s.house.net, s.uplink);
    uplink_free(&s.uplink);
    s.states[0] = '\0';
    s.uplink = uplink_new(&(struct uplink_config){.loop = &s.house.net.loop, .store = s.client, .settings = s.settings, .tls = house_client_tls(), .password = SLICE("secret"),
                                                  .queue = s.queue, .office = &s.office, .recall = &s.recall, .awaits_network = true, .log = &s.log});
    enqueue(&s);
    for (int i = 0; i < 5; i++)
        uv_run(&s.house.net.loop, UV_RUN_NOWAIT);
    assert_string_equal(s.states, "");
    uplink_set_network(s.uplink, &here);
    NET_UNTIL(&s.house.net, s.ntaken > 0 && queue_count(s.queue) == 0);
    paths = memory_paths(s.recall.memory, &key, wall_now_ms(), &n);
    assert_true(n == 1 && paths[0].octets == 500);
    close_scene(&s);
}

/* ---- in the middle of each ---- */

static void run_turns(struct scene *s, int turns)
{
    netloop_arm(&s->house.net);
    for (int i = 0; i < turns; i++) {
        if (state_of(s) == UPLINK_READY && s->ntaken > 0 && queue_count(s->queue) == 0)
            break; /* nothing more to come but the end of keeping warm */
        assert_true(netloop_step(&s->house.net));
    }
}

/* Whatever it is about: everything is closed, and the message is where it was or with the relay. */
static void it_can_be_stopped_at_any_moment(void **state)
{
    (void)state;
    for (int turns = 0; turns < 80; turns += turns < 30 ? 1 : 7) {
        struct scene s;
        open_scene(&s, LARGE, "");
        enqueue(&s);
        run_turns(&s, turns);
        close_scene(&s);
        assert_true(s.ntaken <= 1);
    }
}

static void new_settings_at_any_moment_cost_no_message_and_make_no_second(void **state)
{
    (void)state;
    for (int turns = 0; turns < 80; turns += turns < 30 ? 1 : 7) {
        struct scene s;
        open_scene(&s, LARGE, "");
        enqueue(&s);
        run_turns(&s, turns);
        assert_int_equal(uplink_reload(s.uplink, s.settings, house_client_tls(), SLICE("secret")), RESULT_OK);
        NET_UNTIL(&s.house.net, queue_count(s.queue) == 0);
        assert_string_equal(world_state(&s.world, MESSAGE), "relayed");
        assert_int_equal(s.ntaken, 1);
        close_scene(&s);
    }
}

static void new_settings_end_a_session(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 500, "");
    enqueue(&s);
    NET_UNTIL(&s.house.net, s.ntaken > 0 && state_of(&s) == UPLINK_READY && queue_count(s.queue) == 0);
    s.states[0] = '\0';
    assert_int_equal(uplink_reload(s.uplink, s.settings, house_client_tls(), SLICE("secret")), RESULT_OK);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_RESTING);
    assert_string_equal(s.states, "leaving resting ");
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_takes_it_once_round),
        cmocka_unit_test(mail_that_is_due_later_is_waited_for),
        cmocka_unit_test(a_refused_login_waits_and_tells),
        cmocka_unit_test(waking_it_shortens_the_wait),
        cmocka_unit_test(another_network_drops_the_session_and_its_message_goes_over_the_next),
        cmocka_unit_test(what_the_relay_may_have_is_uncertain_though_we_gave_the_line_up),
        cmocka_unit_test(what_the_relay_may_have_is_uncertain_at_the_agents_end),
        cmocka_unit_test(a_session_does_not_survive_sleep_nor_is_its_way_blamed),
        cmocka_unit_test(a_session_whose_address_is_still_there_survives_a_change_beside_it),
        cmocka_unit_test(nothing_is_begun_before_the_network_is_known),
        cmocka_unit_test(it_can_be_stopped_at_any_moment),
        cmocka_unit_test(new_settings_at_any_moment_cost_no_message_and_make_no_second),
        cmocka_unit_test(new_settings_end_a_session),
    };
    return cmocka_run_group_tests_name("uplink", tests, house_make_identity, house_drop_identity);
}
