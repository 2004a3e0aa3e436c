/* What the agent keeps while the relay has it: names by number, what is asked about, what comes back, and what has been taken before. */
#include "support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum result finish(struct world *w, uint64_t id, struct store_outcome outcome, bool keep_body)
{
    struct world_done d = {0};
    store_attempt_finish(w->client, id, &outcome, 1, 555, NULL, keep_body, world_on_done, &d);
    return world_wait_done(w, &d);
}

static size_t body_octets(struct world *w, uint64_t id)
{
    struct slice got = world_body(w, id);
    free((char *)got.ptr);
    return got.len;
}

struct ids {
    bool is_last;
    enum result result;
    char text[64];
    struct store_recipient first;
    uint8_t digest[STORE_DIGEST];
};

static void on_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct ids *ids = context;
    ids->result = result;
    ids->is_last = is_last;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(ids->text);
        snprintf(ids->text + len, sizeof ids->text - len, "%d ", (int)rows[i].message.id);
        ids->first = rows[i].recipients[0];
        memcpy(ids->digest, rows[i].message.digest, STORE_DIGEST);
    }
}

static struct ids list(struct world *w, enum store_list which, uint64_t after, uint32_t limit)
{
    struct ids ids = {0};
    store_message_list(w->client, which, after, limit, on_row, &ids);
    world_wait(w, &ids.is_last);
    assert_int_equal(ids.result, RESULT_OK);
    return ids;
}

static struct ids awaited(struct world *w)
{
    return list(w, STORE_LIST_AWAITED, 0, 100);
}

static struct ids get(struct world *w, uint64_t id)
{
    struct ids ids = {0};
    store_message_get(w->client, id, on_row, &ids);
    world_wait(w, &ids.is_last);
    return ids;
}

static void a_job_has_one_name(void **state)
{
    struct world *w = *state;
    struct store_job *job;
    assert_int_equal(world_put(w, 7, SLICE("x"), 4, 0), RESULT_OK);
    assert_int_equal(world_load(w, 7, SLICE(""), &job), RESULT_OK); /* from memory */
    assert_true(job->nrecipients == 4 && job->nlater == 0 && job->recipients[0].transaction == 0);
    store_job_free(&job);
    assert_int_equal(finish(w, 7, (struct store_outcome){.seq = 1, .state = STORE_QUEUED, .next_attempt_ms = 9, .transaction = 2}, true), RESULT_OK);
    assert_int_equal(finish(w, 7, (struct store_outcome){.seq = 3, .state = STORE_QUEUED, .next_attempt_ms = 9, .transaction = 1}, true), RESULT_OK);
    assert_int_equal(world_load(w, 7, SLICE(""), &job), RESULT_OK);
    assert_true(job->nrecipients == 2 && job->nlater == 2 && job->message.envelope.nrcpt == 2);
    assert_true(job->recipients[0].seq == 0 && job->recipients[1].seq == 2);
    store_job_free(&job);
    assert_int_equal(world_finish(w, 7, 0, STORE_DELIVERED, "250 ok", true), RESULT_OK);
    assert_int_equal(world_finish(w, 7, 2, STORE_BOUNCED, "550 no", true), RESULT_OK);
    assert_int_equal(world_load(w, 7, SLICE(""), &job), RESULT_OK);
    assert_true(job->nrecipients == 1 && job->nlater == 1 && job->recipients[0].seq == 3 && job->recipients[0].transaction == 1);
    assert_true(slice_equal(job->body, SLICE("x")));
    store_job_free(&job);
}

static void on_due(void *context, const struct store_due *due, size_t n, bool is_last, enum result result)
{
    assert_int_equal(result, RESULT_OK);
    assert_int_equal(n, 2);
    assert_true(is_last && due[0].size_octets == 1 && due[1].size_octets == 70000);
    *(bool *)context = true;
}

static void the_queue_knows_sizes(void **state)
{
    struct world *w = *state;
    static char large[70000];
    bool is_done = false;
    assert_int_equal(world_put(w, 7, SLICE("x"), 2, 0), RESULT_OK);
    assert_int_equal(world_put(w, 8, slice_of(large, sizeof large), 2, 0), RESULT_OK);
    store_queue_load(w->client, on_due, &is_done);
    world_wait(w, &is_done);
}

/* One that is both is there once. */
static void pending_is_what_is_unfinished_or_awaited(void **state)
{
    struct world *w = *state;
    for (uint64_t id = 1; id <= 5; id++)
        assert_int_equal(world_put(w, id, SLICE("x"), 2, 0), RESULT_OK);
    for (uint32_t seq = 0; seq < 2; seq++) {
        assert_int_equal(finish(w, 2, (struct store_outcome){.seq = seq, .state = STORE_RELAYED, .next_attempt_ms = 900}, true), RESULT_OK);
        assert_int_equal(finish(w, 3, (struct store_outcome){.seq = seq, .state = STORE_RELAYED}, true), RESULT_OK);
        assert_int_equal(finish(w, 5, (struct store_outcome){.seq = seq, .state = seq ? STORE_BOUNCED : STORE_DELIVERED}, true), RESULT_OK);
    }
    assert_int_equal(finish(w, 4, (struct store_outcome){.seq = 1, .state = STORE_RELAYED, .next_attempt_ms = 900}, true), RESULT_OK);
    assert_string_equal(list(w, STORE_LIST_PENDING, 0, 100).text, "1 2 4 ");
    assert_string_equal(list(w, STORE_LIST_PENDING, 1, 1).text, "2 ");
    assert_string_equal(list(w, STORE_LIST_UNFINISHED, 0, 100).text, "1 4 ");
}

/* The body stays while somebody is asked about, and no longer. */
static void a_copy_is_kept_while_it_is_asked_about(void **state)
{
    struct world *w = *state;
    struct world_done d = {0};
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(world_put(w, id, SLICE("body"), 2, 0), RESULT_OK);
    for (uint32_t seq = 0; seq < 2; seq++) {
        assert_int_equal(finish(w, 1, (struct store_outcome){.seq = seq, .state = STORE_RELAYED, .next_attempt_ms = 900 + seq}, true), RESULT_OK);
        assert_int_equal(finish(w, 2, (struct store_outcome){.seq = seq, .state = STORE_RELAYED}, true), RESULT_OK);
        assert_int_equal(finish(w, 3, (struct store_outcome){.seq = seq, .state = STORE_RELAYED, .next_attempt_ms = 900}, false), RESULT_OK);
    }
    assert_int_equal(body_octets(w, 1), 4);
    assert_int_equal(body_octets(w, 2), 0);
    assert_int_equal(body_octets(w, 3), 0);
    assert_string_equal(awaited(w).text, "1 3 ");
    assert_int_equal(get(w, 1).first.next_attempt_ms, 900);
    store_sweep(w->client, INT64_MAX, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_string_equal(awaited(w).text, "1 3 "); /* not forgotten before they are known */
    assert_string_equal(world_state(w, 2), "none");
    assert_int_equal(world_finish(w, 1, 0, STORE_DELIVERED, "250 there", true), RESULT_OK);
    assert_int_equal(body_octets(w, 1), 4);
    assert_int_equal(finish(w, 1, (struct store_outcome){.seq = 1, .state = STORE_RELAYED, .next_attempt_ms = 0}, true), RESULT_OK);
    assert_int_equal(body_octets(w, 1), 0);
    assert_string_equal(awaited(w).text, "3 ");
}

static enum result requeue(struct world *w, uint64_t id)
{
    struct world_done d = {0};
    store_message_requeue(w->client, id, 4711, world_on_done, &d);
    return world_wait_done(w, &d);
}

static void what_the_relay_lost_comes_back_under_its_name(void **state)
{
    struct world *w = *state;
    struct store_job *job;
    assert_int_equal(world_put(w, 1, SLICE("body"), 3, 0), RESULT_OK);
    assert_int_equal(requeue(w, 1), RESULT_NOT_FOUND); /* it never left */
    assert_int_equal(finish(w, 1, (struct store_outcome){.seq = 0, .state = STORE_RELAYED, .next_attempt_ms = 900}, true), RESULT_OK);
    assert_int_equal(finish(w, 1, (struct store_outcome){.seq = 1, .state = STORE_RELAYED, .next_attempt_ms = 900, .transaction = 1, .counts = true}, true), RESULT_OK);
    assert_int_equal(world_finish(w, 1, 2, STORE_DELIVERED, "250 there", true), RESULT_OK);
    assert_int_equal(requeue(w, 1), RESULT_OK);
    assert_string_equal(awaited(w).text, "");
    assert_int_equal(world_load(w, 1, SLICE(""), &job), RESULT_OK);
    assert_true(job->nrecipients == 1 && job->nlater == 1 && job->recipients[0].seq == 0 && job->recipients[0].next_attempt_ms == 4711);
    store_job_free(&job);
    assert_string_equal(world_state(w, 1), "deferred");
    /* nothing to hand over any more; a body of no octets is one */
    assert_int_equal(world_put(w, 2, SLICE("body"), 1, 0), RESULT_OK);
    assert_int_equal(finish(w, 2, (struct store_outcome){.state = STORE_RELAYED, .next_attempt_ms = 900}, false), RESULT_OK);
    assert_int_equal(requeue(w, 2), RESULT_NOT_FOUND);
    assert_int_equal(world_put(w, 3, SLICE(""), 1, 0), RESULT_OK);
    assert_int_equal(finish(w, 3, (struct store_outcome){.state = STORE_RELAYED, .next_attempt_ms = 900}, true), RESULT_OK);
    assert_int_equal(requeue(w, 3), RESULT_OK);
    assert_int_equal(requeue(w, 4), RESULT_NOT_FOUND);
}

/* ---- the same again ---- */

struct put {
    bool is_done;
    enum result result;
    uint64_t earlier;
};

static void on_put(void *context, enum result result, uint64_t earlier)
{
    *(struct put *)context = (struct put){true, result, earlier};
}

/* Begins; the answer comes to *put. */
static void begin_once(struct world *w, uint64_t id, struct slice body, uint8_t first, int64_t at_ms, struct store_window window, struct put *put)
{
    struct envelope_recipient to = {.address = SLICE("bob@example.org")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}, .received_at_ms = at_ms, .digest = {first}};
    struct store_intake *intake = store_intake_new(w->client, id, NULL, NULL);
    assert_int_equal(store_intake_append(intake, body), RESULT_OK);
    *put = (struct put){0};
    store_intake_commit_once(&intake, &message, NULL, 0, &window, on_put, put);
}

/* The message that stands for it: its own id when it was taken. */
static uint64_t put_once(struct world *w, uint64_t id, uint8_t first, int64_t at_ms, struct store_window window)
{
    struct put put;
    begin_once(w, id, SLICE("x"), first, at_ms, window, &put);
    world_wait(w, &put.is_done);
    assert_int_equal(put.result, RESULT_OK);
    assert_string_equal(world_state(w, id), put.earlier ? "none" : "queued");
    return put.earlier ? put.earlier : id;
}

static uint64_t count(struct world *w)
{
    struct store_counts counts;
    assert_int_equal(world_count(w, &counts), RESULT_OK);
    return counts.queued;
}

static void the_same_again_is_taken_once(void **state)
{
    struct world *w = *state;
    const struct store_window all = {0, 9000, 0};
    assert_true(put_once(w, 0x123456789abcdef, 1, 1000, all) == 0x123456789abcdef);
    assert_true(put_once(w, 8, 1, 1000, all) == 0x123456789abcdef);
    assert_true(put_once(w, 9, 2, 1000, all) == 9);
    assert_true(put_once(w, 10, 0, 1000, all) == 10); /* of no digest, all are new */
    assert_true(put_once(w, 11, 0, 1000, all) == 11);
    assert_int_equal(count(w), 4);
    world_close(w);
    assert_int_equal(world_open(w), RESULT_OK);
    assert_true(put_once(w, 12, 1, 1000, all) == 0x123456789abcdef);
    assert_int_equal(get(w, 0x123456789abcdef).digest[0], 1);
    assert_int_equal(world_remove(w, 0x123456789abcdef), RESULT_OK);
    assert_true(put_once(w, 13, 1, 1000, all) == 13);
}

/* A 250 for what is known to be undeliverable would be a trap. */
static void what_has_bounced_is_not_the_first_of_anything(void **state)
{
    struct world *w = *state;
    const struct store_window all = {0, 9000, 0};
    assert_true(put_once(w, 1, 1, 1000, all) == 1);
    assert_int_equal(world_finish(w, 1, 0, STORE_BOUNCED, "550 no", true), RESULT_OK);
    assert_true(put_once(w, 2, 1, 1100, all) == 2);
    assert_true(put_once(w, 3, 1, 1200, all) == 2); /* but the second try is */
    assert_int_equal(world_finish(w, 2, 0, STORE_DELIVERED, "250 ok", true), RESULT_OK);
    assert_true(put_once(w, 4, 1, 1300, all) == 2);
}

static void it_counts_within_the_window(void **state)
{
    struct world *w = *state;
    const struct store_window w1 = {1000, 1000, 0}, late = {1001, 9000, 0}, early = {0, 999, 0};
    assert_true(put_once(w, 1, 1, 1000, w1) == 1);
    assert_true(put_once(w, 2, 1, 2000, w1) == 1);
    assert_true(put_once(w, 2, 1, 2000, late) == 2);
    assert_true(put_once(w, 3, 1, 500, early) == 3);
    /* the wall clock was set ahead by 50000 since, or back */
    assert_true(put_once(w, 4, 1, 51000, (struct store_window){50990, 59000, 50000}) == 1);
    assert_true(put_once(w, 4, 1, -49000, (struct store_window){-49010, -41000, -50000}) == 1);
    assert_true(put_once(w, 4, 1, 51000, (struct store_window){52001, 59000, 50000}) == 4);
}

static void what_is_forgotten_is_taken_again(void **state)
{
    struct world *w = *state;
    const struct store_window all = {0, 9000, 0};
    struct world_done d = {0};
    assert_true(put_once(w, 1, 1, 1000, all) == 1);
    store_message_forget_digest(w->client, 1, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_true(put_once(w, 2, 1, 1000, all) == 2);
    d = (struct world_done){0};
    store_message_forget_digest(w->client, 7, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_NOT_FOUND);
}

/* Of two that come at once, and go into one transaction of the writer's, one is taken; a large one leaves nothing of its chunks. */
static void of_two_at_once_one_is_taken(void **state)
{
    struct world *w = *state;
    static char large[150000];
    struct put puts[2];
    for (uint64_t i = 0; i < 2; i++)
        begin_once(w, i + 1, slice_of(large, sizeof large), 1, 1000, (struct store_window){0, 9000, 0}, &puts[i]);
    world_wait(w, &puts[0].is_done);
    world_wait(w, &puts[1].is_done);
    assert_true(puts[0].result == RESULT_OK && puts[1].result == RESULT_OK);
    assert_true(puts[0].earlier == 0 && puts[1].earlier == 1);
    assert_int_equal(body_octets(w, 1), sizeof large);
    assert_int_equal(body_octets(w, 2), 0);
    assert_int_equal(count(w), 1);
}

static void a_sealed_digest_is_known_again(void **state)
{
    struct world *w = *state;
    const struct store_window all = {0, 9000, 0};
    world_close(w);
    world_seal(w, 7);
    assert_int_equal(world_open(w), RESULT_OK);
    assert_true(put_once(w, 1, 1, 1000, all) == 1);
    assert_true(put_once(w, 2, 1, 1000, all) == 1);
    assert_true(get(w, 1).digest[0] != 1 || get(w, 1).digest[1] != 0); /* under the key */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_job_has_one_name, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(the_queue_knows_sizes, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(a_copy_is_kept_while_it_is_asked_about, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(what_the_relay_lost_comes_back_under_its_name, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(the_same_again_is_taken_once, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(it_counts_within_the_window, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(what_has_bounced_is_not_the_first_of_anything, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(pending_is_what_is_unfinished_or_awaited, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(what_is_forgotten_is_taken_again, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(of_two_at_once_one_is_taken, world_setup_agent, world_teardown),
        cmocka_unit_test_setup_teardown(a_sealed_digest_is_known_again, world_setup_agent, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
