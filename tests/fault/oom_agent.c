/* The agent's hand-over when memory runs out, at a relay that knows names: the message under way is taken by the relay exactly once and recorded as relayed, if not now, then when there is memory again; no session
 * and no message is stuck, nothing leaks. And what the relay answers about a message: all of it is understood, or nothing changes. */
#include "unit/agent/uplink_scene.h"

#include "support/oom.h"
#include "tracer.h"
#include "uplink_internal.h"

#include <unistd.h>

enum { ALLOCATIONS_MAX = 3000, ROUNDS = 50, SMALL = 500, HUGE_OCTETS = 1100 * 1000 };

struct hand_over {
    struct scene scene; /* first: the handler's context */
    size_t octets;
    uint64_t message;
};

/* ---- handing over ----------------------------------------------------------------------------------------------- */

static bool is_settled(struct scene *s)
{
    enum uplink_state state = state_of(s);
    return queue_count(s->queue) == 0 && (state == UPLINK_READY || state == UPLINK_RESTING || state == UPLINK_WAITING);
}

/* What failed has not cost the message: it is in the queue as it was, and with memory again its next try is due at once when a person says so. */
static void settle_with_memory(struct hand_over *h)
{
    struct scene *s = &h->scene;
    oom_suspend();
    netloop_arm(&s->house.net);
    while (!is_settled(s)) {
        queue_flush(s->queue, 0, loop_now_ms(&s->house.net.loop));
        uplink_wake(s->uplink, true);
        if (!netloop_step(&s->house.net))
            fail_msg("message %llu is stuck; the uplink: %s", (unsigned long long)h->message, s->states);
    }
    oom_resume();
}

/* A failure that lasts does so for some turns of the loop. */
static void run_until_failed(struct scene *s)
{
    NET_UNTIL(&s->house.net, oom_has_failed() || is_settled(s));
    for (int i = 0; i < ROUNDS && !is_settled(s); i++)
        uv_run(&s->house.net.loop, UV_RUN_NOWAIT);
}

static void add(struct hand_over *h, size_t octets)
{
    struct scene *s = &h->scene;
    put_message(s, ++h->message, octets);
    assert_int_equal(queue_add(s->queue, h->message, (struct slice){0}, 0), RESULT_OK);
    queue_set_large(s->queue, h->message, consignment_is_large(octets));
}

static void forget_names(struct scene *s)
{
    memset(s->records, 0, sizeof s->records);
    s->running = NULL;
    s->mails[0] = s->states[0] = '\0';
}

/* Searches and handshakes fail elsewhere (oom_race, oom_net): here a session stands. */
static void stand_ready(struct hand_over *h)
{
    struct scene *s = &h->scene;
    while (state_of(s) != UPLINK_READY) {
        forget_names(s);
        add(h, SMALL);
        settle_with_memory(h);
    }
}

static void begin(struct hand_over *h)
{
    stand_ready(h);
    forget_names(&h->scene);
    h->scene.ntaken = 0;
    add(h, h->octets);
}

static void hand_over(void *context)
{
    struct hand_over *h = context;
    struct scene *s = &h->scene;
    char name[NAMING_TEXT];
    oom_suspend();
    begin(h);
    oom_resume();
    uplink_wake(s->uplink, false);
    run_until_failed(s);
    settle_with_memory(h);
    oom_suspend();
    naming_format(&s->naming, h->message, 0, name);
    assert_string_equal(s->records[0].name, name);
    assert_string_equal(s->records[1].name, ""); /* every try had the same */
    assert_true(s->records[0].is_over);
    assert_true(s->ntaken == 1 || (oom_has_failed() && s->ntaken > 1)); /* sent again under its name: the relay of this scene has no record to know it by */
    assert_string_equal(world_state(&s->world, h->message), "relayed");
    oom_resume();
}

/* ---- a small one overtakes -------------------------------------------------------------------------------------- */

/* The large one stands in its middle, has had its turn, and a small one comes. */
static void begin_overtaking(struct hand_over *h)
{
    struct scene *s = &h->scene;
    begin(h);
    s->octets = 0;
    s->is_paused = false;
    s->pause_at = HUGE_OCTETS / 4;
    uplink_wake(s->uplink, false);
    NET_UNTIL(&s->house.net, s->is_paused);
    s->uplink->consignment.since_ms -= CONSIGNMENT_TURN_MS;
    add(h, SMALL);
}

static void overtake(void *context)
{
    struct hand_over *h = context;
    struct scene *s = &h->scene;
    char large[NAMING_TEXT], small[NAMING_TEXT];
    oom_suspend();
    begin_overtaking(h);
    oom_resume();
    service_resume(s->held);
    uplink_wake(s->uplink, false);
    run_until_failed(s);
    settle_with_memory(h);
    oom_suspend();
    naming_format(&s->naming, h->message - 1, 0, large);
    naming_format(&s->naming, h->message, 0, small);
    assert_string_equal(s->records[0].name, large);
    assert_string_equal(s->records[1].name, small);
    assert_string_equal(s->records[2].name, "");
    assert_true(s->records[0].is_over && s->records[1].is_over);
    assert_int_equal(s->records[0].held, HUGE_OCTETS); /* neither too little nor twice the same */
    assert_int_equal(s->records[1].held, SMALL);
    assert_true(s->ntaken == 2 || (oom_has_failed() && s->ntaken > 2));
    if (!oom_has_failed() && strstr(s->mails, "whole whole ask@") != s->mails)
        fail_msg("it was not overtaken: %s", s->mails);
    assert_string_equal(world_state(&s->world, h->message - 1), "relayed");
    assert_string_equal(world_state(&s->world, h->message), "relayed");
    oom_resume();
}

static void run_with(size_t octets, void (*scenario)(void *))
{
    static struct hand_over h;
    h = (struct hand_over){.octets = octets, .message = MESSAGE};
    open_scene_with(&h.scene, SMALL, MESSAGE, "[queue]\npatience = 50ms\n");
    h.scene.office.wall_lead_ms = long_ahead;
    size_t n = oom_loop_varying(ALLOCATIONS_MAX, scenario, &h);
    print_message("%zu allocations\n", n);
    assert_in_range(n, 10, ALLOCATIONS_MAX);
    close_scene(&h.scene);
}

static void run(size_t octets)
{
    run_with(octets, hand_over);
}

static void a_small_one_arrives_whatever_fails(void **state)
{
    (void)state;
    run(SMALL);
}

static void a_large_one_arrives_whatever_fails(void **state)
{
    (void)state;
    run(LARGE);
}

static void both_arrive_whatever_fails(void **state)
{
    (void)state;
    run_with(HUGE_OCTETS, overtake);
}

/* ---- what became of it ------------------------------------------------------------------------------------------ */

static const char ANSWER[] = "3 recipients from 0\ndelivered 1795392002 0 bob@a.example mx.a.example 250 2.0.0 taken\nqueued 1795391990 1795392290 carl@a.example mx 451 4.7.1 greylisted\n"
                             "bounced 1795392001 0 dora@a.example - 550 5.1.2 no such domain\nend";

static struct store_recipient recipient(uint32_t seq, const char *address)
{
    return (struct store_recipient){.seq = seq, .envelope = {.address = slice_from_cstr(address)}, .state = STORE_RELAYED, .next_attempt_ms = 1795392000000,
                                    .reply = SLICE("250 2.0.0 Ok: queued as X"), .host = SLICE("192.0.2.7:465 tls"), .at_ms = 1795391900000};
}

static enum result understand(struct tracer *tracer, struct tracer_verdict *verdict)
{
    struct arena arena = ARENA(0);
    struct smtp_outcomes outcomes;
    const struct tracer_rules rules = {.now_ms = 1795392300000, .promised_s = 691200, .can_refill = true, .ask_at_ms = 1795392400000, .relay = SLICE("relay.example")};
    uint32_t transaction, first;
    enum result result = smtp_outcomes_parse(slice_of(ANSWER, sizeof ANSWER - 1), &arena, &outcomes);
    if (result == RESULT_OK)
        result = tracer_answer(tracer, &outcomes);
    arena_free(&arena);
    if (result == RESULT_OK)
        assert_false(tracer_question(tracer, &transaction, &first));
    return result == RESULT_OK ? tracer_conclude(tracer, &rules, verdict) : result;
}

static void ask(void *context)
{
    struct store_recipient recipients[] = {recipient(0, "bob@a.example"), recipient(1, "carl@a.example"), recipient(2, "dora@a.example")};
    const struct store_listing listing = {.message = {.id = MESSAGE}, .recipients = recipients, .nrecipients = 3};
    struct tracer tracer;
    struct tracer_verdict verdict;
    (void)context;
    enum result result = tracer_begin(&tracer, &listing);
    if (result == RESULT_OK)
        result = understand(&tracer, &verdict);
    if (result == RESULT_OK) {
        assert_int_equal(verdict.noutcomes, 3);
        assert_false(verdict.is_final || verdict.is_lost);
        assert_int_equal(tracer.outcomes[0].state, STORE_DELIVERED);
        assert_int_equal(tracer.outcomes[1].state, STORE_RELAYED);
        assert_int_equal(tracer.outcomes[2].state, STORE_BOUNCED);
    } else {
        assert_int_equal(result, RESULT_MEMORY);
        assert_true(oom_has_failed());
    }
    tracer_free(&tracer);
}

static void an_answer_is_understood_or_nothing_is(void **state)
{
    (void)state;
    assert_in_range(oom_loop(200, ask, NULL), 2, 200);
}

int main(void)
{
    if (access("/dev/shm", W_OK) == 0) /* hundreds of stores, and nothing here is about the disk */
        setenv("TMPDIR", "/dev/shm", 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_one_arrives_whatever_fails),
        cmocka_unit_test(a_large_one_arrives_whatever_fails),
        cmocka_unit_test(both_arrive_whatever_fails),
        cmocka_unit_test(an_answer_is_understood_or_nothing_is),
    };
    return cmocka_run_group_tests_name("agent without memory", tests, house_make_identity, house_drop_identity);
}
