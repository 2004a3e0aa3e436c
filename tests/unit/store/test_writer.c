/* Which tasks of one batch fall with which: a body has no holes, whatever happens between its chunks. */
#include "store/engine.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { SIZE = 150000, REMOVED = 6 };

/* ---- a batch ---- */

struct gate {
    uv_sem_t is_reached, may_go;
    struct world_done done;
};

struct step {
    struct done_task base;
    struct gate *gate;
    enum result first, later; /* what the first run comes to, and any other */
    int *nruns;               /* writer's thread; read when it has answered */
};

static enum result step_run(struct store_task *task, struct database *db)
{
    const struct step *step = (struct step *)task;
    (void)db;
    if (step->gate) {
        uv_sem_post(&step->gate->is_reached);
        uv_sem_wait(&step->gate->may_go);
    }
    return ++*step->nruns == 1 ? step->first : step->later;
}

static struct step *step_new(struct world *w, enum result first, enum result later, int *nruns, struct world_done *d)
{
    struct step *step = done_task_new(w->client, sizeof *step, step_run, done_answer, world_on_done, d);
    step->first = first;
    step->later = later;
    step->nruns = nruns;
    return step;
}

/* Of the body that `fate` is of; NULL: alone. */
static void send_step(struct world *w, enum result *fate, enum result first, enum result later, int *nruns, struct world_done *d)
{
    struct step *step = step_new(w, first, later, nruns, d);
    step->base.task.fate = fate;
    writer_send(&step->base.task);
}

/* Until end_batch all that is sent comes into one batch. */
static void begin_batch(struct world *w, struct gate *gate)
{
    static int nruns;
    *gate = (struct gate){0};
    assert_int_equal(uv_sem_init(&gate->is_reached, 0), 0);
    assert_int_equal(uv_sem_init(&gate->may_go, 0), 0);
    struct step *step = step_new(w, RESULT_OK, RESULT_OK, &nruns, &gate->done);
    step->gate = gate;
    writer_send(&step->base.task);
    uv_sem_wait(&gate->is_reached);
}

static void end_batch(struct world *w, struct gate *gate)
{
    uv_sem_post(&gate->may_go);
    assert_int_equal(world_wait_done(w, &gate->done), RESULT_OK);
    uv_sem_destroy(&gate->is_reached);
    uv_sem_destroy(&gate->may_go);
}

/* ---- tasks ---- */

static void who_comes_behind_a_failure_fails_with_it(void **state)
{
    struct world *w = *state;
    struct gate gate;
    enum result fate = RESULT_OK, other = RESULT_OK;
    int nruns[4] = {0};
    struct world_done d[4] = {{0}};
    begin_batch(w, &gate);
    send_step(w, &fate, RESULT_OK, RESULT_OK, &nruns[0], &d[0]);
    send_step(w, &fate, RESULT_CANCELLED, RESULT_CANCELLED, &nruns[1], &d[1]);
    send_step(w, &other, RESULT_OK, RESULT_OK, &nruns[2], &d[2]);
    send_step(w, &fate, RESULT_OK, RESULT_OK, &nruns[3], &d[3]);
    end_batch(w, &gate);
    assert_int_equal(world_wait_done(w, &d[3]), RESULT_CANCELLED);
    assert_int_equal(nruns[3], 0);
    assert_int_equal(d[0].result, RESULT_OK);
    assert_int_equal(d[2].result, RESULT_OK);
}

/* The same where each runs in a transaction of its own. */
static void so_does_who_comes_behind_one_that_broke_the_batch(void **state)
{
    struct world *w = *state;
    struct gate gate;
    enum result fate = RESULT_OK;
    int nruns[3] = {0};
    struct world_done d[3] = {{0}};
    begin_batch(w, &gate);
    send_step(w, &fate, RESULT_OK, RESULT_OK, &nruns[0], &d[0]);
    send_step(w, &fate, RESULT_IO, RESULT_IO, &nruns[1], &d[1]);
    send_step(w, &fate, RESULT_OK, RESULT_OK, &nruns[2], &d[2]);
    end_batch(w, &gate);
    assert_int_equal(world_wait_done(w, &d[2]), RESULT_IO);
    assert_int_equal(nruns[2], 0);
    assert_int_equal(d[0].result, RESULT_OK);
    assert_int_equal(nruns[0], 2);
}

/* An answer that came of what was then rolled back is none: of two copies of a message, the second "exists" only as long as the first does. */
static void what_was_rolled_back_has_failed_nobody(void **state)
{
    struct world *w = *state;
    struct gate gate;
    enum result fate = RESULT_OK;
    int nruns[3] = {0};
    struct world_done d[3] = {{0}};
    begin_batch(w, &gate);
    send_step(w, &fate, RESULT_EXISTS, RESULT_OK, &nruns[0], &d[0]);
    send_step(w, NULL, RESULT_IO, RESULT_IO, &nruns[1], &d[1]);
    send_step(w, &fate, RESULT_OK, RESULT_OK, &nruns[2], &d[2]);
    end_batch(w, &gate);
    assert_int_equal(world_wait_done(w, &d[2]), RESULT_OK);
    assert_int_equal(d[0].result, RESULT_OK);
    assert_int_equal(nruns[0], 2);
    assert_int_equal(d[1].result, RESULT_IO);
}

/* What failed before the batch stays failed. */
static void an_older_failure_is_not_taken_back(void **state)
{
    struct world *w = *state;
    struct gate gate;
    enum result fate = RESULT_CANCELLED;
    int nruns[3] = {0};
    struct world_done d[3] = {{0}};
    begin_batch(w, &gate);
    send_step(w, &fate, RESULT_OK, RESULT_OK, &nruns[0], &d[0]);
    send_step(w, NULL, RESULT_IO, RESULT_IO, &nruns[1], &d[1]);
    send_step(w, &fate, RESULT_OK, RESULT_OK, &nruns[2], &d[2]);
    end_batch(w, &gate);
    assert_int_equal(world_wait_done(w, &d[2]), RESULT_CANCELLED);
    assert_int_equal(d[0].result, RESULT_CANCELLED);
    assert_int_equal(nruns[0] + nruns[2], 0);
}

/* ---- bodies, where room comes and goes ---- */

/* One chunk goes to the writer and finds no room; a person makes some; then comes the commit. */
static void what_misses_a_chunk_is_no_message(void **state)
{
    struct world *w = *state;
    struct gate gate;
    struct world_done committed = {0};
    uint64_t n = 1;
    names_open_small(w);
    for (; n <= REMOVED || !names_is_full(w); n++)
        assert_int_equal(world_put(w, n, slice_of(names_octets(), 60000), 1, 0), RESULT_OK);
    struct store_intake *intake = store_intake_new(w->client, n, NULL, NULL);
    begin_batch(w, &gate);
    (void)!store_intake_append(intake, slice_of(names_octets(), SIZE));
    for (uint64_t id = 1; id <= REMOVED; id++)
        store_message_remove(w->client, id, NULL, NULL);
    names_send_commit(intake, &committed);
    end_batch(w, &gate);
    assert_int_equal(world_wait_done(w, &committed), RESULT_FULL);
    assert_string_equal(world_state(w, n), "none");
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM chunk"), 0);
    assert_int_equal(world_put(w, n, slice_of(names_octets(), 60000), 1, 0), RESULT_OK);
}

/* A half's next chunk may drive nobody out, its commit may. */
static void nor_is_a_half_that_misses_one(void **state)
{
    struct world *w = *state;
    struct gate gate;
    struct world_done committed = {0};
    char name[8] = "";
    uint64_t n = 0;
    names_open_small(w);
    while (!names_is_full(w)) {
        snprintf(name, sizeof name, "t%d", (int)++n);
        struct store_claim claim = names_plain(name);
        claim.served_ms = (int64_t)n;
        names_leave_half(w, n, names_naming(claim, 0), SIZE, true);
    }
    assert_true(n > 2);
    struct store_intake *intake = names_go_on(w, name);
    begin_batch(w, &gate);
    (void)!store_intake_append(intake, slice_of(names_octets(), 100000));
    names_send_commit(intake, &committed);
    end_batch(w, &gate);
    assert_int_equal(world_wait_done(w, &committed), RESULT_FULL);
    assert_int_equal(world_number(w, "SELECT count(*) FROM message"), 0);
    /* It is there to be gone on with, without a hole. */
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), n);
    struct names_claimed again = names_claim(w, names_plain(name));
    assert_int_equal(again.result, RESULT_OK);
    assert_true(again.came_octets > 0 && again.came_octets <= names_came(SIZE));
}

struct once {
    bool is_done;
    enum result result;
    uint64_t earlier;
};

static void on_once(void *context, enum result result, uint64_t earlier)
{
    *(struct once *)context = (struct once){true, result, earlier};
}

static struct once put_once(struct world *w, uint64_t id, uint8_t digest)
{
    struct once once = {0};
    struct envelope_recipient to[] = {{.address = SLICE("alice@example.org")}};
    struct store_message message = {.digest = {digest}, .received_at_ms = 1000, .expires_at_ms = 900000, .envelope = {.recipients = to, .nrcpt = 1}};
    struct store_window window = {.until_ms = 1000000};
    struct store_intake *intake = store_intake_new(w->client, id, NULL, NULL);
    assert_int_equal(store_intake_append(intake, SLICE("x")), RESULT_OK);
    store_intake_commit_once(&intake, &message, NULL, 0, &window, on_once, &once);
    world_wait(w, &once.is_done);
    return once;
}

/* A mail program that did not hear the first reply is told that its mail is here, which needs no room. */
static void a_retry_is_known_on_a_full_disk(void **state)
{
    struct world *w = *state;
    names_open_small(w);
    assert_int_equal(put_once(w, 1, 7).result, RESULT_OK);
    for (uint64_t id = 2; !names_is_full(w); id++)
        assert_int_equal(world_put(w, id, slice_of(names_octets(), 60000), 1, 0), RESULT_OK);
    struct once again = put_once(w, 100, 7), other = put_once(w, 101, 8);
    assert_int_equal(again.result, RESULT_OK);
    assert_int_equal(again.earlier, 1);
    assert_string_equal(world_state(w, 100), "none");
    assert_int_equal(other.result, RESULT_FULL);
    assert_string_equal(world_state(w, 101), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_comes_behind_a_failure_fails_with_it, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(so_does_who_comes_behind_one_that_broke_the_batch, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_was_rolled_back_has_failed_nobody, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_older_failure_is_not_taken_back, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_misses_a_chunk_is_no_message, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(nor_is_a_half_that_misses_one, world_setup_closed, world_teardown),
        cmocka_unit_test_setup_teardown(a_retry_is_known_on_a_full_disk, world_setup_closed, world_teardown),
    };
    return cmocka_run_group_tests_name("the writer", tests, NULL, NULL);
}
