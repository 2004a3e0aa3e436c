/* The inquiry: inquiry.h. */
#include "inquiry_scene.h"

#include "inquiry.h"

#include "support/fault_vfs.h"

#include <sqlite3.h>

/* ---- tests ---- */

/* Invariant 3: what is final is asked no more, its copy goes, and nothing is left that would wake anybody. */
static void what_is_final_ends_it(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 2.0.0 taken"), NULL};
    struct scene s;
    char name[NAMING_TEXT];
    (void)state;
    open_bound(&s, answers);
    put_relayed(&s, FIRST, 1000, 1, true);
    assert_true(has_body(&s, FIRST));
    start(&s);
    NET_UNTIL(&s.house.net, s.nasked > 0 && awaited(&s) == 0 && state_of(&s) == UPLINK_RESTING);
    naming_format(&s.naming, FIRST, 0, name);
    assert_string_equal(s.asked[0], name);
    assert_int_equal(s.nasked, 1);
    assert_int_equal(s.house.opened, 1);
    look(&s, FIRST);
    assert_int_equal(s.seen.state, STORE_DELIVERED);
    assert_string_equal(s.seen_reply, "250 2.0.0 taken");
    assert_string_equal(s.seen_host, "mx.a.example");
    assert_int_equal(s.seen.at_ms, INT64_C(1795392000000));
    assert_false(has_body(&s, FIRST));
    assert_null(strstr(s.logged, "relay-begun-anew"));
    close_scene(&s);
}

/* Newer words; the time of the hand-over stays, and the copy too. */
static void what_is_not_final_stays(void **state)
{
    static const char *const answers[] = {ONE("queued", "451 4.7.1 greylisted"), NULL};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    put_relayed(&s, FIRST, 7200 * 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.nasked > 0 && state_of(&s) == UPLINK_RESTING && has_words(&s, FIRST, "the relay tries again: 451 4.7.1 greylisted"));
    assert_int_equal(s.seen.state, STORE_RELAYED);
    assert_in_range(s.seen.next_attempt_ms, wall_now_ms() + 3600 * 1000, wall_now_ms() + 6 * 3600 * 1000);
    assert_true(s.seen.at_ms < wall_now_ms() - 7000 * 1000);
    assert_true(has_body(&s, FIRST));
    assert_int_equal(awaited(&s), 1);
    close_scene(&s);
}

static void what_the_relay_has_lost_is_handed_over_again(void **state)
{
    static const char *const answers[] = {"550 unknown", NULL};
    struct scene s;
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch1\n");
    put_relayed(&s, FIRST, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.ntaken == 1 && queue_count(s.queue) == 0);
    assert_non_null(strstr(s.logged, "relay-lost"));
    assert_non_null(strstr(s.logged, "any more: it is handed over again"));
    assert_non_null(strstr(s.logged, "relay-begun-anew"));
    look(&s, FIRST);
    assert_int_equal(s.seen.state, STORE_RELAYED);
    assert_true(s.seen.next_attempt_ms > 0 && has_body(&s, FIRST));
    assert_int_equal(awaited(&s), 1);
    close_scene(&s);
}

/* The one recipient is delivered, the other lost: his copy stays for the hand-over, though copies are not wished for any more. Died between the two writes or not. */
static void what_is_lost_is_kept_until_it_is_queued(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 2.0.0 taken"), "550 unknown", NULL};
    struct world_done done = {0};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    struct store_outcome outcomes[2] = {{.state = STORE_RELAYED, .counts = true, .next_attempt_ms = 1, .reply = SLICE("250 taken"), .host = SLICE("a way")}};
    outcomes[1] = outcomes[0];
    outcomes[1].seq = outcomes[1].transaction = 1;
    assert_int_equal(world_put(&s.world, FIRST, slice_from_cstr(BODY), 2, 0), RESULT_OK);
    store_attempt_finish(s.world.client, FIRST, outcomes, 2, wall_now_ms() - 1000, NULL, true, world_on_done, &done);
    assert_int_equal(world_wait_done(&s.world, &done), RESULT_OK);
    start(&s);
    s.office.keep_copies = false;
    NET_UNTIL(&s.house.net, s.nasked == 2 && (s.ntaken == 1 || strstr(s.logged, "relay-lost")));
    NET_UNTIL(&s.house.net, s.ntaken == 1 && queue_count(s.queue) == 0);
    assert_null(strstr(s.logged, "no copy here"));
    close_scene(&s);
}

/* One recipient waits for an hour, in the queue; the other is lost, and waits for nobody. */
static void what_is_lost_does_not_wait_for_the_others_time(void **state)
{
    static const char *const answers[] = {"550 unknown", NULL};
    struct world_done done = {0};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    const int64_t later_ms = wall_now_ms() + 3600 * 1000;
    const struct store_outcome outcomes[] = {
        {.state = STORE_RELAYED, .counts = true, .next_attempt_ms = 1, .reply = SLICE("250 taken"), .host = SLICE("a way")},
        {.seq = 1, .state = STORE_QUEUED, .counts = true, .next_attempt_ms = later_ms, .transaction = 1, .reply = SLICE("451 not now"), .host = SLICE("a way")},
    };
    assert_int_equal(world_put(&s.world, FIRST, slice_from_cstr(BODY), 2, 0), RESULT_OK);
    store_attempt_finish(s.world.client, FIRST, outcomes, 2, wall_now_ms() - 1000, NULL, true, world_on_done, &done);
    assert_int_equal(world_wait_done(&s.world, &done), RESULT_OK);
    start(&s);
    s.office.wall_lead_ms = received_long_ago; /* it has not expired */
    assert_int_equal(queue_add(s.queue, FIRST, (struct slice){0}, loop_now_ms(&s.house.net.loop) + 3600 * 1000), RESULT_OK);
    NET_UNTIL(&s.house.net, s.ntaken == 1);
    close_scene(&s);
}

/* Nothing is to be told of a copy that nobody wants any more. */
static void what_is_removed_under_the_question_is_gone(void **state)
{
    static const char *const answers[] = {"550 unknown", NULL};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    s.removes = true;
    put_relayed(&s, FIRST, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.nasked == 1 && awaited(&s) == 0 && state_of(&s) == UPLINK_RESTING);
    assert_null(strstr(s.logged, "relay-lost"));
    assert_null(strstr(s.logged, "outcome-not-recorded"));
    assert_int_equal(s.ntaken, 0);
    close_scene(&s);
}

/* A relay that says 250, and 550 when it is asked: it gets the message once more at once, then after the schedule's time, and no more when the message's lifetime is over. */
static void what_is_lost_again_and_again_does_not_go_round(void **state)
{
    static const char *const answers[] = {"550 unknown", NULL};
    (void)state;
    for (int is_expired = 0; is_expired < 2; is_expired++) {
        struct world_done done = {0};
        struct scene s;
        open_bound(&s, answers);
        const struct store_outcome refused = {.state = STORE_QUEUED, .counts = true, .next_attempt_ms = 1, .reply = SLICE("451 not now"), .host = SLICE("a way")};
        const struct store_outcome taken = {.state = STORE_RELAYED, .counts = true, .next_attempt_ms = 1, .reply = SLICE("250 taken"), .host = SLICE("a way")};
        assert_int_equal(world_put(&s.world, FIRST, slice_from_cstr(BODY), 1, 0), RESULT_OK);
        store_attempt_finish(s.world.client, FIRST, &refused, 1, wall_now_ms() - 2000, NULL, true, world_on_done, &done);
        assert_int_equal(world_wait_done(&s.world, &done), RESULT_OK);
        done = (struct world_done){0};
        store_attempt_finish(s.world.client, FIRST, &taken, 1, wall_now_ms() - 1000, NULL, true, world_on_done, &done);
        assert_int_equal(world_wait_done(&s.world, &done), RESULT_OK);
        start(&s);
        if (!is_expired)
            s.office.wall_lead_ms = received_long_ago;
        NET_UNTIL(&s.house.net, s.nasked == 1 && awaited(&s) == 0 && !has_session(&s));
        look(&s, FIRST);
        assert_int_equal(s.seen.state, is_expired ? STORE_RELAYED : STORE_QUEUED);
        assert_int_equal(queue_count(s.queue), is_expired ? 0 : 1);
        if (is_expired)
            assert_int_equal(s.seen.next_attempt_ms, 0);
        else
            assert_in_range(s.seen.next_attempt_ms, wall_now_ms() + 50 * 60 * 1000, wall_now_ms() + 66 * 60 * 1000);
        assert_string_equal(s.seen_reply, is_expired ? "the relay takes it and then knows nothing of it, again and again: given up" : "the relay knows nothing of it any more: it is handed over again");
        if (!is_expired)
            assert_in_range(queue_deadline_ms(s.queue), loop_now_ms(&s.house.net.loop) + 50 * 60 * 1000, loop_now_ms(&s.house.net.loop) + 66 * 60 * 1000);
        assert_int_equal(s.ntaken, 0);
        close_scene(&s);
    }
}

/* No copy, or the promise is over, or nobody can tell when it was: it stays where it is. */
static void what_cannot_be_refilled_is_asked_no_more(void **state)
{
    static const int64_t ago_ms[] = {1000, INT64_C(604800000), -INT64_C(3650) * 86400000};
    static const char *const answers[] = {"550 unknown", NULL};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct scene s;
        open_bound(&s, answers);
        put_relayed(&s, FIRST, ago_ms[i], 1, i > 0);
        assert_int_equal(has_body(&s, FIRST), i > 0);
        start(&s);
        NET_UNTIL(&s.house.net, s.nasked > 0 && awaited(&s) == 0 && state_of(&s) == UPLINK_RESTING);
        look(&s, FIRST);
        assert_int_equal(s.seen.state, STORE_RELAYED);
        assert_int_equal(s.seen.next_attempt_ms, 0);
        assert_string_equal(s.seen_reply, "the relay knows nothing of it any more");
        assert_int_equal(s.ntaken, 0);
        assert_false(has_body(&s, FIRST));
        close_scene(&s);
    }
}

/* Another relay, another account, or nobody knows whose: not one question, and words that say who has it. */
static void another_relay_is_not_asked_about_it(void **state)
{
    static const char *const settings[] = {"1\nold.example\nanna\nepoch1\n", "1\n127.0.0.1\nberta\nepoch2\n", "rubbish", NULL};
    static const char *const words[] = {"old.example has it, as anna's", "127.0.0.1 has it, as berta's", "an earlier relay has it", "an earlier relay has it"};
    static const char *const answers[] = {"550 unknown", NULL};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct scene s;
        open_scene(&s, answers);
        if (settings[i])
            put_setting(&s, settings[i]);
        for (uint64_t id = FIRST; id < FIRST + 250; id++) /* some pages */
            put_relayed(&s, id, 1000, 1, true);
        start(&s);
        assert_int_equal(world_put(&s.world, 5000, slice_from_cstr(BODY), 1, 0), RESULT_OK);
        assert_int_equal(queue_add(s.queue, 5000, (struct slice){0}, 0), RESULT_OK);
        uplink_wake(s.uplink, false);
        NET_UNTIL(&s.house.net, s.ntaken == 1 && awaited(&s) == 1);
        assert_non_null(strstr(s.logged, "relay-bound"));
        for (uint64_t id = FIRST; id < FIRST + 250; id += 83) {
            look(&s, id);
            assert_int_equal(s.seen.state, STORE_RELAYED);
            assert_int_equal(s.seen.next_attempt_ms, 0);
            assert_non_null(strstr(s.seen_reply, words[i]));
            assert_false(has_body(&s, id));
        }
        assert_int_equal(s.nasked, 0);
        /* The next start finds it bound. */
        stop(&s);
        s.logged[0] = '\0';
        s.answers = (const char *const[]){ONE("delivered", "250 ok"), NULL};
        start(&s);
        NET_UNTIL(&s.house.net, s.nasked == 1 && awaited(&s) == 0);
        assert_null(strstr(s.logged, "relay-bound"));
        close_scene(&s);
    }
}

/* A flight has its most; a message whose answer comes in pieces is in the next one again. */
static void many_are_asked_in_flights(void **state)
{
    static const char *const answers[] = {"250 2 recipients from 0\nqueued 0 0 zoe@a.example - \nmore 1", ONE("delivered", "250 ok"), NULL};
    enum { MANY = 40 };
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    for (uint64_t id = FIRST; id < FIRST + MANY; id++)
        put_relayed(&s, id, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, awaited(&s) == 0 && s.nasked > 0);
    assert_int_equal(s.nasked, MANY + 1);
    assert_int_equal(s.firsts[SMTP_OUTCOMES_MAX], 1);
    assert_string_equal(s.asked[SMTP_OUTCOMES_MAX], s.asked[0]);
    assert_int_equal(s.house.opened, 1);
    close_scene(&s);
}

static void a_relay_that_cannot_say_is_asked_later(void **state)
{
    static const char *const refusals[][2] = {{"451 not now", NULL}, {"502 what", NULL}, {"250 rubbish", NULL}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct scene s;
        open_bound(&s, refusals[i]);
        put_relayed(&s, FIRST, 1000, 1, true);
        start(&s);
        NET_UNTIL(&s.house.net, s.nasked > 0 && state_of(&s) == UPLINK_RESTING);
        assert_int_equal(s.nasked, 1);
        assert_int_equal(awaited(&s), 1);
        look(&s, FIRST);
        assert_string_equal(s.seen_reply, "250 taken");
        assert_true(has_body(&s, FIRST));
        close_scene(&s);
    }
}

/* The line dies under the question, and again; what was asked is asked in the next session. */
static void a_session_that_dies_takes_no_answer_along(void **state)
{
    static const char *const answers[] = {"421 the line dies", ONE("delivered", "250 ok"), NULL};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    for (uint64_t id = FIRST; id < FIRST + 3; id++)
        put_relayed(&s, id, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.house.closed == 1 && !has_session(&s));
    assert_int_equal(awaited(&s), 3);
    assert_int_equal(world_put(&s.world, 5000, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    assert_int_equal(queue_add(s.queue, 5000, (struct slice){0}, 0), RESULT_OK);
    uplink_wake(s.uplink, true);
    NET_UNTIL(&s.house.net, s.ntaken == 1 && awaited(&s) == 1);
    for (uint64_t id = FIRST; id < FIRST + 3; id++)
        assert_int_equal(look(&s, id)->state, STORE_DELIVERED);
    close_scene(&s);
}

/* Long before its time: a way is looked for, and the relay asked. With nothing awaited there is nothing to look for. */
static void a_person_who_asks_is_told_now(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 ok"), NULL};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    put_relayed(&s, FIRST, 1000, 3600 * 1000, true);
    start(&s);
    NET_UNTIL(&s.house.net, awaited(&s) == 1 && state_of(&s) == UPLINK_RESTING);
    assert_in_range(uplink_question_at_ms(s.uplink, FIRST), wall_now_ms() + 3500 * 1000, wall_now_ms() + 3600 * 1000);
    assert_int_equal(uplink_question_at_ms(s.uplink, FIRST + 1), 0);
    uplink_flush(s.uplink);
    NET_UNTIL(&s.house.net, awaited(&s) == 0 && !has_session(&s));
    assert_int_equal(s.nasked, 1);
    assert_int_equal(look(&s, FIRST)->state, STORE_DELIVERED);
    uplink_flush(s.uplink);
    assert_int_equal(state_of(&s), UPLINK_RESTING);
    close_scene(&s);
}

/* Before its time, and while it is being asked about. */
static void what_a_person_removes_is_not_waited_for(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 ok"), NULL};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    put_relayed(&s, FIRST, 1000, 3600 * 1000, true);
    put_relayed(&s, FIRST + 1, 1000, 3600 * 1000, true);
    start(&s);
    NET_UNTIL(&s.house.net, awaited(&s) == 2 && state_of(&s) == UPLINK_RESTING);
    uplink_forget(s.uplink, FIRST);
    assert_int_equal(awaited(&s), 1);
    uplink_flush(s.uplink);
    NET_UNTIL(&s.house.net, s.nasked == 1);
    uplink_forget(s.uplink, FIRST + 1);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_RESTING && has_words(&s, FIRST + 1, "250 ok"));
    assert_int_equal(awaited(&s), 0);
    assert_int_equal(s.house.opened, 1);
    close_scene(&s);
}

/* Its questions alone open no session after session: the next one comes after a quarter of an hour. */
static void a_relay_that_lets_nobody_in_is_left_alone(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 ok"), NULL};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    s.refuses_login = true;
    put_relayed(&s, FIRST, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.house.closed == 1 && state_of(&s) == UPLINK_RESTING);
    assert_int_equal(s.nasked, 0);
    assert_int_equal(awaited(&s), 1);
    assert_in_range(uplink_question_at_ms(s.uplink, FIRST), wall_now_ms() + 800 * 1000, wall_now_ms() + 900 * 1000);
    close_scene(&s);
}

/* A wish that comes while one session serves is served by it: there is no second one. */
static void one_session_serves_all_who_wish(void **state)
{
    static const char *const answers[] = {ONE("queued", "451 later"), NULL};
    struct scene s;
    (void)state;
    open_bound(&s, answers);
    put_relayed(&s, FIRST, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.nasked == 1);
    uplink_flush(s.uplink);
    NET_UNTIL(&s.house.net, state_of(&s) == UPLINK_RESTING);
    assert_int_equal(s.nasked, 1);
    assert_int_equal(s.house.opened, 1);
    close_scene(&s);
}

/* At whatever moment: nothing is leaked, nothing hangs. */
static void its_end_may_come_at_any_time(void **state)
{
    static const char *const answers[] = {"550 unknown", ONE("delivered", "250 ok"), NULL};
    (void)state;
    for (unsigned turns = 0; turns < 60; turns++) {
        struct scene s;
        open_scene(&s, answers);
        put_setting(&s, turns % 2 ? "1\n127.0.0.1\nanna\nepoch1\n" : "1\nold.example\nanna\nepoch1\n");
        put_relayed(&s, FIRST, 1000, 1, true);
        put_relayed(&s, FIRST + 1, 1000, 1, true);
        start(&s);
        for (unsigned i = 0; i < turns; i++)
            uv_run(&s.house.net.loop, UV_RUN_NOWAIT);
        close_scene(&s);
    }
}

/* ---- an inquiry without an uplink: who calls whom, and when ---- */

struct alone {
    struct scene scene; /* first: the handler's context */
    struct session session;
    struct inquiry *inquiry;
    const struct smtp_peer *early; /* what the relay said the last time; NULL: it is not known */
    int64_t ago_ms;                /* they were handed over; 0: a second */
    bool was_early;                /* all was asked before it had said anything today */
    bool is_inside, is_ready, is_over;
    unsigned nfree;
};

static void on_free(void *context)
{
    struct alone *a = context;
    assert_false(a->is_inside);
    a->nfree++;
}

static void on_wake(void *context)
{
    (void)context;
}

/* Once, as soon as there is a session. */
static bool ask_early(struct alone *a)
{
    if (!a->early || a->was_early)
        return false;
    a->was_early = smtp_client_is_early(outbound_core(a->session.outbound));
    inquiry_ask_now(a->inquiry);
    return inquiry_ask(a->inquiry);
}

static void on_session_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct alone *a = context;
    if (event->type == OUTBOUND_SMTP && event->smtp.type == SMTP_CLIENT_PROVEN)
        smtp_client_login(outbound_core(outbound), loop_now_ms(outbound_loop(outbound)));
    if (event->type == OUTBOUND_SMTP && event->smtp.type == SMTP_CLIENT_OUTCOME) {
        a->is_inside = true;
        inquiry_event(a->inquiry, &event->smtp);
        a->is_inside = false;
    }
    if (event->type == OUTBOUND_SMTP && event->smtp.type == SMTP_CLIENT_READY) {
        assert_false(a->session.is_asking);
        a->is_ready = !ask_early(a);
    }
    a->is_over = event->type == OUTBOUND_CLOSED;
}

static void connect_alone(struct alone *a)
{
    struct scene *s = &a->scene;
    struct outbound_target target = {.address = s->house.address, .tls = house_client_tls(), .server_name = "127.0.0.1",
                                     .smtp = {.security = SMTP_SECURITY_TLS, .ehlo_name = SLICE("postern-agent"), .user = SLICE("anna"), .password = SLICE("secret"), .early = a->early}};
    if (a->early) {
        target.smtp.device = SLICE("d7");
        target.smtp.token = slice_of(TOKEN, sizeof TOKEN);
    }
    assert_int_equal(outbound_open(&a->session.outbound, &s->house.net.loop, &target, (struct outbound_handler){on_session_event, a}, NULL), RESULT_OK);
    NET_UNTIL(&s->house.net, a->is_ready);
}

/* So many are awaited, of so many recipients each, of a relay whose database was this one. */
static void open_alone_of(struct alone *a, const char *epoch, const char *const *answers, size_t nmessages, size_t nrcpt)
{
    struct scene *s = &a->scene;
    char setting[100];
    open_scene(s, answers);
    snprintf(setting, sizeof setting, "1\n127.0.0.1\nanna\n%s\n", epoch);
    put_setting(s, setting);
    for (size_t i = 0; i < nmessages; i++)
        put_relayed_to(s, FIRST + i, nrcpt, a->ago_ms > 0 ? a->ago_ms : 1000, 1, true);
    s->settings = settings_of_relay(&s->house.address, "");
    s->office = (struct attempt_office){.loop = &s->house.net.loop, .store = s->client, .log = &s->world.log, .keep_copies = true};
    assert_int_equal(schedule_parse(SLICE("1h"), &s->office.schedule), RESULT_OK);
    a->inquiry = inquiry_new(&(struct inquiry_config){.loop = &s->house.net.loop, .store = s->client, .session = &a->session, .office = &s->office, .log = &s->log, .naming = &s->naming,
                                                      .on_free = on_free, .on_wake = on_wake, .context = a}, s->settings);
    assert_non_null(a->inquiry);
    NET_UNTIL(&s->house.net, inquiry_count(a->inquiry) == nmessages && inquiry_is_bound(a->inquiry) && inquiry_is_idle(a->inquiry));
    connect_alone(a);
}

static void open_alone(struct alone *a, const char *const *answers, size_t nmessages, size_t nrcpt)
{
    open_alone_of(a, "epoch2", answers, nmessages, nrcpt);
}

static void disconnect_alone(struct alone *a)
{
    outbound_quit(a->session.outbound);
    NET_UNTIL(&a->scene.house.net, a->is_over);
    inquiry_session_over(a->inquiry);
    a->session = (struct session){0};
    a->is_ready = a->is_over = false;
}

static void close_alone(struct alone *a)
{
    struct scene *s = &a->scene;
    disconnect_alone(a);
    inquiry_stop(a->inquiry);
    NET_UNTIL(&s->house.net, inquiry_is_idle(a->inquiry));
    inquiry_free(&a->inquiry);
    settings_unref(&s->settings);
    close_scene(s);
}

static void ask_once(struct alone *a)
{
    a->is_ready = false;
    inquiry_ask_now(a->inquiry);
    assert_true(inquiry_ask(a->inquiry));
    NET_UNTIL(&a->scene.house.net, a->is_ready);
    NET_UNTIL(&a->scene.house.net, inquiry_is_idle(a->inquiry));
}

/* The same words once more are no news: nothing is written, and what is over at once says so to nobody in the middle of the answer. */
static void an_answer_without_news_frees_nobody_in_its_midst(void **state)
{
    static const char *const answers[] = {ONE("queued", "451 4.7.1 greylisted"), NULL};
    struct alone a = {0};
    (void)state;
    open_alone(&a, answers, 2, 1);
    a.nfree = 0;
    ask_once(&a);
    assert_int_equal(a.nfree, 2); /* each has been written */
    ask_once(&a);
    assert_int_equal(a.scene.nasked, 4);
    assert_int_equal(a.nfree, 2);
    assert_int_equal(inquiry_count(a.inquiry), 2);
    ask_once(&a); /* free indeed */
    assert_int_equal(a.scene.nasked, 6);
    close_alone(&a);
}

/* What is read for one flight is bounded by the recipients, too: the other messages are in the next. */
static void a_flight_has_so_many_recipients(void **state)
{
    static const char *const answers[] = {"451 not now", NULL};
    struct alone a = {0};
    (void)state;
    open_alone(&a, answers, 12, 200);
    ask_once(&a);
    assert_int_equal(a.scene.nasked, 10);
    a.is_ready = false;
    assert_true(inquiry_ask(a.inquiry));
    NET_UNTIL(&a.scene.house.net, a.is_ready);
    assert_int_equal(a.scene.nasked, 12);
    close_alone(&a);
}

static unsigned count_anew(const struct scene *s)
{
    unsigned n = 0;
    for (const char *at = s->logged; (at = strstr(at, "relay-begun-anew")); at++)
        n++;
    return n;
}

/* An early session has the relay's words of another day, until EHLO is answered: they neither make its database another one, nor hide that it is. */
static void yesterdays_epoch_is_no_news(void **state)
{
    static const char *const answers[] = {"451 not now", NULL};
    static const struct {
        const char *of_copies, *of_profile; /* the relay's is epoch2 */
        unsigned nanew;
    } rows[] = {{"epoch2", "epoch2", 0}, {"epoch2", "epoch1", 0}, {"epoch1", "epoch1", 1}, {"epoch1", "epoch2", 1}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct smtp_peer early = {.capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_PIPECONNECT | SMTP_CAP_AUTH | SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME, .mechanisms = SASL_HT_SHA_256_EXPR,
                                        .epoch = slice_from_cstr(rows[i].of_profile), .outcome_s = 604800};
        struct alone a = {.early = &early};
        open_alone_of(&a, rows[i].of_copies, answers, 1, 1);
        assert_true(a.was_early);
        assert_int_equal(a.scene.nasked, 1);
        assert_int_equal(count_anew(&a.scene), rows[i].nanew);
        close_alone(&a);
    }
}

/* What the relay said is lost with it: it is asked again in a minute, not when it would be after an answer. */
static void what_can_not_be_written_down_is_asked_again(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 2.0.0 taken"), NULL};
    struct alone a = {.ago_ms = 7200 * 1000};
    (void)state;
    fault_vfs_register();
    sqlite3_vfs *usual = sqlite3_vfs_find(NULL);
    assert_int_equal(sqlite3_vfs_register(sqlite3_vfs_find("fault"), true), SQLITE_OK);
    open_alone(&a, answers, 1, 1);
    assert_int_equal(sqlite3_vfs_register(usual, true), SQLITE_OK);
    fault_vfs_arm(FAULT_SYNC, 1, true);
    int64_t now_ms = loop_now_ms(&a.scene.house.net.loop);
    ask_once(&a);
    assert_non_null(strstr(a.scene.logged, "outcome-not-recorded"));
    assert_int_equal(inquiry_count(a.inquiry), 1);
    assert_in_range(inquiry_deadline_ms(a.inquiry), now_ms + 30 * 1000, loop_now_ms(&a.scene.house.net.loop) + 60 * 1000);
    assert_false(inquiry_ask(a.inquiry));
    fault_vfs_disarm();
    ask_once(&a);
    assert_int_equal(inquiry_count(a.inquiry), 0);
    assert_int_equal(look(&a.scene, FIRST)->state, STORE_DELIVERED);
    close_alone(&a);
}

/* Before its next questions, which may be hours away. */
static void a_new_database_is_asked_at_once(void **state)
{
    static const char *const answers[] = {ONE("queued", "451 4.7.1 greylisted"), NULL};
    struct alone a = {.ago_ms = 7200 * 1000}; /* the next question is in half an hour */
    (void)state;
    open_alone(&a, answers, 1, 1);
    ask_once(&a);
    disconnect_alone(&a);
    connect_alone(&a);
    assert_false(inquiry_ask(a.inquiry));
    disconnect_alone(&a);
    memcpy(a.scene.outcome, "epoch3", strlen("epoch3"));
    connect_alone(&a);
    a.is_ready = false;
    assert_true(inquiry_ask(a.inquiry));
    NET_UNTIL(&a.scene.house.net, a.is_ready);
    assert_int_equal(a.scene.nasked, 2);
    assert_int_equal(count_anew(&a.scene), 1);
    close_alone(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_final_ends_it),
        cmocka_unit_test(what_is_not_final_stays),
        cmocka_unit_test(what_the_relay_has_lost_is_handed_over_again),
        cmocka_unit_test(what_is_lost_is_kept_until_it_is_queued),
        cmocka_unit_test(what_is_lost_does_not_wait_for_the_others_time),
        cmocka_unit_test(what_is_removed_under_the_question_is_gone),
        cmocka_unit_test(what_is_lost_again_and_again_does_not_go_round),
        cmocka_unit_test(what_cannot_be_refilled_is_asked_no_more),
        cmocka_unit_test(another_relay_is_not_asked_about_it),
        cmocka_unit_test(many_are_asked_in_flights),
        cmocka_unit_test(a_relay_that_cannot_say_is_asked_later),
        cmocka_unit_test(a_session_that_dies_takes_no_answer_along),
        cmocka_unit_test(what_a_person_removes_is_not_waited_for),
        cmocka_unit_test(a_relay_that_lets_nobody_in_is_left_alone),
        cmocka_unit_test(one_session_serves_all_who_wish),
        cmocka_unit_test(its_end_may_come_at_any_time),
        cmocka_unit_test(a_person_who_asks_is_told_now),
        cmocka_unit_test(an_answer_without_news_frees_nobody_in_its_midst),
        cmocka_unit_test(a_flight_has_so_many_recipients),
        cmocka_unit_test(yesterdays_epoch_is_no_news),
        cmocka_unit_test(what_can_not_be_written_down_is_asked_again),
        cmocka_unit_test(a_new_database_is_asked_at_once),
    };
    return cmocka_run_group_tests_name("inquiry", tests, house_make_identity, house_drop_identity);
}
