/* What became of the agent's mail, asked of the relay when memory runs out: each message's end is written down, or it is handed over again if the relay has lost it; if not now, then when there is memory again. */
#include "unit/agent/inquiry_scene.h"

#include "support/oom.h"

enum { ALLOCATIONS_MAX = 3000, ROUNDS = 50, TICK_MS = 20 };

struct asking {
    struct scene scene; /* first: the handler's context */
    uint64_t message;
    uv_timer_t tick;
    bool is_lost;       /* the relay knows nothing of it when it is asked first */
};

static const char *const delivered[] = {ONE("delivered", "250 2.0.0 taken"), NULL};

/* Its end is written down, and nothing of it is in memory any more. */
static bool is_over(struct asking *a)
{
    struct scene *s = &a->scene;
    enum uplink_state state = state_of(s);
    if (queue_count(s->queue) > 0 || awaited(s) > 0 || (state != UPLINK_READY && state != UPLINK_RESTING))
        return false;
    oom_suspend();
    bool is_told = look(s, a->message)->state == STORE_DELIVERED;
    oom_resume();
    return is_told;
}

/* What is tried again in two seconds is tried now. */
static void hurry(uv_handle_t *handle, void *context)
{
    uv_timer_t *timer = (uv_timer_t *)handle;
    (void)context;
    if (handle->type == UV_TIMER && uv_is_active(handle) && uv_timer_get_due_in(timer) > 500 && uv_timer_get_due_in(timer) <= 2000)
        uv_timer_start(timer, timer->timer_cb, 0, 0);
}

/* A person who does not want to wait. */
static void on_tick(uv_timer_t *timer)
{
    struct asking *a = timer->data;
    uv_walk(timer->loop, hurry, NULL);
    queue_flush(a->scene.queue, a->message, loop_now_ms(timer->loop));
    uplink_flush(a->scene.uplink);
}

static void settle_with_memory(struct asking *a)
{
    struct scene *s = &a->scene;
    oom_suspend();
    netloop_arm(&s->house.net);
    uv_timer_start(&a->tick, on_tick, 0, TICK_MS);
    while (!is_over(a))
        if (!netloop_step(&s->house.net))
            fail_msg("message %llu is stuck, %zu are awaited: %s", (unsigned long long)a->message, awaited(s), s->logged);
    uv_timer_stop(&a->tick);
    oom_resume();
}

/* Each hand-over is asked about once it is there. */
static bool is_over_if_asked(struct asking *a)
{
    if (a->scene.nasked < a->scene.ntaken)
        uplink_flush(a->scene.uplink);
    return is_over(a);
}

static void run_until_failed(struct asking *a)
{
    NET_UNTIL(&a->scene.house.net, is_over_if_asked(a) || oom_has_failed()); /* in this order: it may fail in there, and nothing more come */
    for (int i = 0; i < ROUNDS && !is_over(a); i++)
        uv_run(&a->scene.house.net.loop, UV_RUN_NOWAIT);
}

static void begin(struct asking *a)
{
    struct scene *s = &a->scene;
    s->logged[0] = '\0';
    s->nasked = s->ntaken = s->knows_from = 0;
    s->answers = delivered;
    assert_int_equal(world_put(&s->world, ++a->message, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    assert_int_equal(queue_add(s->queue, a->message, (struct slice){0}, 0), RESULT_OK);
    uplink_wake(s->uplink, false);
}

/* Searches and handshakes fail elsewhere (oom_race, oom_net): here a session stands. */
static void stand_ready(struct asking *a)
{
    while (state_of(&a->scene) != UPLINK_READY) {
        begin(a);
        settle_with_memory(a);
    }
}

static void hand_over_and_ask(void *context)
{
    struct asking *a = context;
    struct scene *s = &a->scene;
    oom_suspend();
    stand_ready(a);
    begin(a);
    s->knows_from = a->is_lost ? 2 : 0;
    oom_resume();
    run_until_failed(a);
    settle_with_memory(a);
    oom_suspend();
    look(s, a->message);
    assert_string_equal(s->seen_reply, "250 2.0.0 taken");
    assert_string_equal(s->seen_host, "mx.a.example");
    assert_false(has_body(s, a->message));
    assert_true(s->ntaken == 1U + a->is_lost || (oom_has_failed() && s->ntaken > a->is_lost)); /* sent again under its name: the relay of this scene has no record to know it by */
    oom_resume();
}

static void run(bool is_lost, size_t (*loop)(size_t max, void (*scenario)(void *), void *context))
{
    static struct asking a;
    a = (struct asking){.message = FIRST, .is_lost = is_lost};
    open_bound(&a.scene, delivered);
    start_with(&a.scene, "[queue]\npatience = 50ms\n");
    uv_timer_init(&a.scene.house.net.loop, &a.tick);
    a.tick.data = &a;
    a.scene.office.wall_lead_ms = received_long_ago;
    size_t n = loop(ALLOCATIONS_MAX, hand_over_and_ask, &a);
    print_message("%zu allocations\n", n);
    assert_in_range(n, 15, ALLOCATIONS_MAX);
    uv_close((uv_handle_t *)&a.tick, NULL);
    close_scene(&a.scene);
}

static void what_is_delivered_is_written_down(void **state)
{
    (void)state;
    run(false, oom_loop_varying);
}

static void what_is_lost_is_handed_over_again(void **state)
{
    (void)state;
    run(true, oom_loop_varying);
}

/* The store's threads, too. */
static void what_is_lost_is_handed_over_again_whoever_lacks_memory(void **state)
{
    (void)state;
    run(true, oom_loop_everywhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_delivered_is_written_down),
        cmocka_unit_test(what_is_lost_is_handed_over_again),
        cmocka_unit_test(what_is_lost_is_handed_over_again_whoever_lacks_memory),
    };
    return cmocka_run_group_tests_name("inquiry without memory", tests, house_make_identity, house_drop_identity);
}
