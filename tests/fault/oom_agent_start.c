/* The agent's parts that stand between its disk and its relay, made and used when memory runs out: whose the copies are (bond), what is awaited (restoring), what is due (backlog), what a transaction is called (naming), and the
 * uplink itself. What can't be made is not there at all, and the loop knows nothing of it; what can't be done now is done when there is memory again. */
#include "bond.h"
#include "restoring.h"
#include "unit/agent/inquiry_scene.h"

#include "support/oom.h"

enum { ALLOCATIONS_MAX = 2000, COPIES = 3 };

static void hurry(uv_timer_t *timer)
{
    if (uv_is_active((uv_handle_t *)timer))
        uv_timer_start(timer, timer->timer_cb, 0, 0);
}

static void count_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void drain(struct world *w)
{
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

/* Of the lines that tell of a message, those that memory had no room for: one grep for its item finds them. Context: how many there were. */
static void look_at_line(void *context, enum log_level level, struct slice line)
{
    (void)level;
    bool is_of_message = memmem(line.ptr, line.len, "not-scheduled", 13) || memmem(line.ptr, line.len, "not-awaited", 11) || memmem(line.ptr, line.len, "not-held", 8);
    if (is_of_message && !memmem(line.ptr, line.len, " item=0000000", 13)) /* as low as our ids are */
        abort();
    *(unsigned *)context += is_of_message;
}

static void watch_lines(struct world *w, unsigned *nlines)
{
    *nlines = 0;
    w->log = (struct log){.level = LOG_INFO, .sink = look_at_line, .context = nlines};
}

/* ---- what is due ------------------------------------------------------------------------------------------------ */

struct due {
    struct world world;
    struct schedule schedule;
    unsigned nread;
    enum result result;
};

static void on_read(void *context, enum result result)
{
    struct due *d = context;
    d->nread++;
    d->result = result;
}

static void read_due(void *context)
{
    struct due *d = context;
    struct world *w = &d->world;
    oom_suspend();
    struct queue *queue = queue_new(NULL);
    assert_non_null(queue);
    struct backlog backlog = {.loop = &w->loop, .store = w->client, .queue = queue, .schedule = &d->schedule, .log = &w->log, .on_read = on_read, .context = d};
    d->nread = 0;
    backlog_open(&backlog);
    oom_resume();
    backlog_read(&backlog);
    backlog_add(&backlog, 100, 10, 0); /* taken in meanwhile: on the disk, too */
    while (d->nread == 0)
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_true(d->result == RESULT_OK || (oom_has_failed() && d->result == RESULT_MEMORY));
    oom_suspend();
    assert_true(d->result == RESULT_OK || uv_is_active((uv_handle_t *)&backlog.retry)); /* the invariant */
    while (uv_is_active((uv_handle_t *)&backlog.retry) || backlog_is_owed(&backlog)) {
        hurry(&backlog.retry);
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_int_equal(d->result, RESULT_OK);
    assert_int_equal(queue_count(queue), COPIES + 1);
    backlog_stop(&backlog);
    drain(w);
    queue_free(&queue);
    oom_resume();
}

static void run_due(size_t (*loop)(size_t max, void (*scenario)(void *), void *context))
{
    static struct due d;
    unsigned nlines;
    d = (struct due){0};
    world_make(&d.world);
    watch_lines(&d.world, &nlines);
    d.world.config.schema = schema_agent;
    assert_int_equal(world_open(&d.world), RESULT_OK);
    assert_int_equal(schedule_parse(SLICE("1h"), &d.schedule), RESULT_OK);
    for (uint64_t id = 1; id <= COPIES; id++)
        assert_int_equal(world_put(&d.world, id, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    assert_int_equal(world_put(&d.world, 100, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    assert_in_range(loop(ALLOCATIONS_MAX, read_due, &d), 8, ALLOCATIONS_MAX);
    assert_true(nlines > 0);
    world_end(&d.world);
}

static void what_is_due_is_read_in_the_end(void **state)
{
    (void)state;
    run_due(oom_loop_varying);
    run_due(oom_loop_everywhere);
}

/* ---- whose the copies are, and what is awaited ------------------------------------------------------------------ */

struct owned {
    struct world world;
    struct settings *settings; /* of b.example */
    unsigned nbound, nrestored;
    char setting[100];
    bool is_seen;
    size_t nawaited; /* on the disk */
    unsigned nlines;
};

static void on_bond(void *context)
{
    ((struct owned *)context)->nbound++;
}

static void on_restored(void *context)
{
    ((struct owned *)context)->nrestored++;
}

static void on_got(void *context, enum result result, struct slice value)
{
    struct owned *o = context;
    assert_int_equal(result, RESULT_OK);
    assert_true(slice_to_cstr(value, o->setting, sizeof o->setting));
    o->is_seen = true;
}

static void on_awaited(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct owned *o = context;
    (void)rows;
    assert_int_equal(result, RESULT_OK);
    o->nawaited += n;
    o->is_seen = is_last;
}

/* COPIES messages that a.example has. */
static void give_to_a(struct world *w)
{
    const struct store_outcome outcome = {.state = STORE_RELAYED, .counts = true, .next_attempt_ms = wall_now_ms() + 60000, .reply = SLICE("250 taken"), .host = SLICE("a way")};
    struct world_done d = {0};
    store_setting_put(w->client, SLICE("custody"), SLICE("1\na.example\nanna\nepoch1\n"), world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    for (uint64_t id = 1; id <= COPIES; id++) {
        d = (struct world_done){0};
        store_attempt_finish(w->client, id, &outcome, 1, wall_now_ms() - 1000, NULL, true, world_on_done, &d);
        assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    }
}

/* With memory again. */
static void bind_at_last(struct owned *o, struct bond *bond)
{
    while (!bond->is_bound || bond_is_owed(bond)) {
        hurry(&bond->retry);
        bond_make(bond);
        uv_run(&o->world.loop, UV_RUN_ONCE);
    }
}

static void see_all_given_up(struct owned *o)
{
    o->is_seen = false;
    store_setting_get(o->world.client, SLICE("custody"), on_got, o);
    world_wait(&o->world, &o->is_seen);
    assert_string_equal(o->setting, "1\nb.example\nanna\n\n");
    o->is_seen = false;
    o->nawaited = 0;
    store_message_list(o->world.client, STORE_LIST_AWAITED, 0, 100, on_awaited, o);
    world_wait(&o->world, &o->is_seen);
    assert_int_equal(o->nawaited, 0);
}

static void change_relay(void *context)
{
    struct owned *o = context;
    struct world *w = &o->world;
    struct bond bond = {.loop = &w->loop, .store = w->client, .log = &w->log, .on_bound = on_bond, .context = o};
    oom_suspend();
    give_to_a(w);
    o->nbound = 0;
    oom_resume();
    bool is_open = bond_open(&bond, o->settings);
    assert_true(is_open || oom_has_failed());
    while (is_open && !bond.is_bound && !uv_is_active((uv_handle_t *)&bond.retry)) {
        bond_make(&bond);
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_true(!is_open || bond.is_bound || oom_has_failed());
    oom_suspend();
    if (is_open) {
        bind_at_last(o, &bond);
        see_all_given_up(o);
        bond_stop(&bond, count_closed);
        drain(w);
    }
    bond_free(&bond);
    oom_resume();
}

static void restore(void *context)
{
    struct owned *o = context;
    struct world *w = &o->world;
    struct custody custody = {0};
    struct restoring restoring = {.store = w->client, .log = &w->log, .custody = &custody, .on_end = on_restored, .context = o};
    o->nrestored = 0;
    restoring_open(&restoring, &w->loop);
    restoring_begin(&restoring);
    while (o->nrestored == 0 && !uv_is_active((uv_handle_t *)&restoring.retry))
        uv_run(&w->loop, UV_RUN_ONCE);
    assert_true(custody.count == COPIES || oom_has_failed());
    oom_suspend();
    while (o->nrestored == 0 || custody.has_left_out) {
        hurry(&restoring.retry);
        uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_int_equal(custody.count, COPIES);
    restoring_stop(&restoring, count_closed);
    drain(w);
    custody_free(&custody);
    oom_resume();
}

static void open_owned(struct owned *o)
{
    static const char text[] = "[relay]\nhost = b.example\nuser = anna\npassword_file = /nowhere\n";
    struct dirs dirs = {0};
    struct config_error error;
    *o = (struct owned){0};
    world_make(&o->world);
    watch_lines(&o->world, &o->nlines);
    o->world.config.schema = schema_agent;
    assert_int_equal(world_open(&o->world), RESULT_OK);
    assert_int_equal(settings_load_text(&o->settings, &dirs, "agent.conf", slice_from_cstr(text), &error), RESULT_OK);
    for (uint64_t id = 1; id <= COPIES; id++)
        assert_int_equal(world_put(&o->world, id, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    give_to_a(&o->world);
}

static void run_owned(void (*scenario)(void *), size_t least, unsigned least_lines)
{
    static struct owned o;
    open_owned(&o);
    assert_in_range(oom_loop_varying(ALLOCATIONS_MAX, scenario, &o), least, ALLOCATIONS_MAX);
    assert_in_range(oom_loop_everywhere(ALLOCATIONS_MAX, scenario, &o), least, ALLOCATIONS_MAX);
    assert_true(o.nlines >= least_lines);
    settings_unref(&o.settings);
    world_end(&o.world);
}

static void the_old_relay_is_given_up_on_in_the_end(void **state)
{
    (void)state;
    run_owned(change_relay, 10, 0);
}

static void what_is_awaited_is_known_in_the_end(void **state)
{
    (void)state;
    run_owned(restore, 5, 1);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* A secret that was not written down, or not read, is no secret: else a message could come twice, under two names. */
static void name(void *context)
{
    struct world w;
    struct naming naming, again;
    char one[NAMING_TEXT], other[NAMING_TEXT];
    (void)context;
    oom_suspend();
    world_make(&w);
    w.config.schema = schema_agent;
    assert_int_equal(world_open(&w), RESULT_OK);
    oom_resume();
    enum result first = naming_open(&naming, &w.loop, w.client), second = naming_open(&again, &w.loop, w.client);
    oom_suspend();
    assert_true((first == RESULT_OK && second == RESULT_OK) || oom_has_failed());
    naming_format(&naming, FIRST, 0, one);
    for (int i = 0; i < 2; i++) {
        if (i == 1)
            assert_int_equal(naming_open(&again, &w.loop, w.client), RESULT_OK);
        naming_format(&again, FIRST, 0, other);
        if (first == RESULT_OK && (i == 1 || second == RESULT_OK))
            assert_string_equal(one, other);
    }
    world_end(&w);
    oom_resume();
}

static void a_name_is_kept_or_not_used(void **state)
{
    (void)state;
    assert_in_range(oom_loop_varying(ALLOCATIONS_MAX, name, NULL), 2, ALLOCATIONS_MAX);
    assert_in_range(oom_loop_everywhere(ALLOCATIONS_MAX, name, NULL), 2, ALLOCATIONS_MAX);
}

/* ---- the uplink ------------------------------------------------------------------------------------------------- */

/* All of it or nothing; whichever handles it had, the loop can be gone through and ended. */
static void make_uplink(void *context)
{
    struct scene *s = context;
    struct uplink *uplink = uplink_new(&(struct uplink_config){.loop = &s->house.net.loop, .store = s->client, .settings = s->settings, .tls = house_client_tls(), .naming = &s->naming, .password = SLICE("secret"),
                                                               .queue = s->queue, .office = &s->office, .recall = &s->recall, .log = &s->log});
    assert_true(uplink || oom_has_failed());
    oom_suspend();
    if (uplink)
        stop_uplink(&s->house.net, uplink);
    for (int i = 0; i < 3; i++)
        uv_run(&s->house.net.loop, UV_RUN_NOWAIT);
    uplink_free(&uplink);
    oom_resume();
}

static void an_uplink_is_made_whole_or_not_at_all(void **state)
{
    static const char *const answers[] = {"550 unknown", NULL};
    static struct scene s;
    (void)state;
    open_scene(&s, answers);
    start(&s);
    assert_in_range(oom_loop_varying(ALLOCATIONS_MAX, make_uplink, &s), 10, ALLOCATIONS_MAX);
    close_scene(&s); /* proves the loop empty */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_due_is_read_in_the_end),
        cmocka_unit_test(the_old_relay_is_given_up_on_in_the_end),
        cmocka_unit_test(what_is_awaited_is_known_in_the_end),
        cmocka_unit_test(a_name_is_kept_or_not_used),
        cmocka_unit_test(an_uplink_is_made_whole_or_not_at_all),
    };
    return cmocka_run_group_tests_name("agent's start without memory", tests, house_make_identity, house_drop_identity);
}
