/* The store through its door: what goes in comes out, in the right state, also after closing and opening. */
#include "support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *filled(uint64_t id, size_t len)
{
    char *octets = malloc(len + 1);
    world_fill(id, octets, len);
    return octets;
}

static void assert_slice(struct slice got, const char *wanted)
{
    if (!slice_equal(got, slice_from_cstr(wanted)))
        fail_msg("got <%.*s>, wanted <%s>", SLICE_ARG(got), wanted);
}

/* ---- messages in, jobs out ---- */

static void check_job(const struct store_job *job, uint64_t id, struct slice body, size_t nrcpt)
{
    assert_int_equal(job->message.id, id);
    assert_slice(job->message.account, "alice");
    assert_slice(job->message.envelope.sender, "alice@example.org");
    assert_slice(job->message.envelope.envid, "QQ314159");
    assert_int_equal(job->message.envelope.body, MAIL_BODY_8BITMIME);
    assert_int_equal(job->message.envelope.ret, DSN_RET_HDRS);
    assert_true(job->message.envelope.is_smtputf8 && job->message.has_8bit && !job->message.is_binary && !job->message.is_dsn);
    assert_int_equal(job->message.size_octets, body.len);
    assert_int_equal(job->message.received_at_ms, id * 10);
    assert_int_equal(job->message.expires_at_ms, id * 10 + 1000);
    assert_int_equal(job->message.header_octets, 17);
    assert_int_equal(job->message.nchunks, (body.len + STORE_CHUNK - 1) / STORE_CHUNK);
    assert_true(slice_equal(job->body, job->message.nchunks == 1 ? body : (struct slice){0}));
    assert_int_equal(job->nrecipients, nrcpt);
    assert_int_equal(job->message.envelope.nrcpt, nrcpt);
    for (size_t i = 0; i < nrcpt; i++) {
        const struct store_recipient *r = &job->recipients[i];
        assert_true(slice_equal(r->envelope.address, job->message.envelope.recipients[i].address));
        assert_slice(r->envelope.orcpt, "rfc822;original@example");
        assert_int_equal(r->envelope.notify, DSN_NOTIFY_FAILURE);
        assert_int_equal(r->state, STORE_QUEUED);
        assert_int_equal(r->next_attempt_ms, id * 10 + 5);
    }
}

/* From memory (the message was committed a moment ago), from the disk, and after a restart: the same job. */
static void a_message_comes_out_as_it_went_in(void **state)
{
    struct world *w = *state;
    static const size_t SIZES[] = {0, 1, 4096, STORE_CHUNK - 1, STORE_CHUNK, STORE_CHUNK + 1, 3 * STORE_CHUNK, 1000000};
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        uint64_t id = 100 + i;
        struct slice body = slice_of(filled(id, SIZES[i]), SIZES[i]);
        assert_int_equal(world_put(w, id, body, 1, 0), RESULT_OK);
        for (int round = 0; round < 3; round++) {
            struct store_job *job;
            assert_int_equal(world_load(w, id, SLICE(""), &job), RESULT_OK);
            check_job(job, id, body, 1);
            assert_slice(job->recipients[0].envelope.address, "r0@hop0.example");
            store_job_free(&job);
            struct slice got = world_body(w, id);
            assert_true(slice_equal(got, body));
            free((char *)got.ptr);
            if (round == 1)
                world_reopen(w);
        }
        free((char *)body.ptr);
    }
}

static void a_job_has_the_recipients_of_its_hop(void **state)
{
    struct world *w = *state;
    struct store_job *job;
    assert_int_equal(world_put(w, 7, SLICE("x"), 5, 2), RESULT_OK);
    assert_int_equal(world_load(w, 7, SLICE("hop1"), &job), RESULT_OK);
    assert_int_equal(job->nrecipients, 2);
    assert_int_equal(job->recipients[0].seq, 1);
    assert_int_equal(job->recipients[1].seq, 3);
    assert_slice(job->recipients[1].hop, "hop1");
    assert_slice(job->message.envelope.recipients[1].address, "r3@hop1.example");
    store_job_free(&job);
    assert_int_equal(world_load(w, 7, SLICE("hop2"), &job), RESULT_NOT_FOUND);
    assert_null(job);
    assert_int_equal(world_load(w, 8, SLICE("hop1"), &job), RESULT_NOT_FOUND);
    /* One of them done: the other is left. */
    assert_int_equal(world_finish(w, 7, 1, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    assert_int_equal(world_load(w, 7, SLICE("hop1"), &job), RESULT_OK);
    assert_int_equal(job->nrecipients, 1);
    assert_int_equal(job->recipients[0].seq, 3);
    store_job_free(&job);
}

static void the_same_id_twice_is_refused_and_harms_nobody(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_put(w, 7, SLICE("first"), 1, 0), RESULT_OK);
    assert_int_equal(world_put(w, 7, SLICE("second"), 1, 0), RESULT_EXISTS);
    struct slice got = world_body(w, 7);
    assert_slice(got, "first");
    free((char *)got.ptr);
}

static void a_dropped_intake_leaves_nothing(void **state)
{
    struct world *w = *state;
    static char octets[200000];
    struct store_intake *intake = store_intake_new(w->client, 9, NULL, NULL);
    assert_int_equal(store_intake_append(intake, slice_of(octets, sizeof octets)), RESULT_OK);
    store_intake_abort(&intake);
    assert_null(intake);
    struct slice got = world_body(w, 9); /* a read may overtake the abort, so the end is waited for */
    free((char *)got.ptr);
    world_reopen(w);
    got = world_body(w, 9);
    assert_int_equal(got.len, 0);
    free((char *)got.ptr);
    assert_string_equal(world_state(w, 9), "none");
}

/* Dies in the middle of a body whose first chunks are committed: the whole message behind it was. */
static void die_half_way(struct world *w)
{
    static char octets[300000];
    if (world_open(w) != RESULT_OK)
        _exit(1);
    struct store_intake *intake = store_intake_new(w->client, 9, NULL, NULL);
    (void)!store_intake_append(intake, slice_of(octets, sizeof octets));
    _exit(world_put(w, 8, SLICE("whole"), 1, 0) == RESULT_OK ? 0 : 1);
}

/* Invariant 2. */
static void half_bodies_are_swept_at_start(void **state)
{
    struct world *w = *state;
    world_close(w);
    pid_t child = fork();
    if (child == 0)
        die_half_way(w);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(world_number(w, "SELECT count(*) FROM intake"), 1);
    assert_int_equal(world_number(w, "SELECT count(*) FROM chunk WHERE message = 9"), 3);
    assert_int_equal(world_open(w), RESULT_OK);
    world_close(w);
    assert_int_equal(world_number(w, "SELECT (SELECT count(*) FROM intake) + (SELECT count(*) FROM chunk)"), 0);
    assert_int_equal(world_number(w, "SELECT count(*) FROM body"), 1);
    assert_int_equal(world_open(w), RESULT_OK);
}

/* ---- outcomes ---- */

static void bodies_go_when_the_last_recipient_is_finished(void **state)
{
    struct world *w = *state;
    char *octets = filled(5, 100000);
    assert_int_equal(world_put(w, 5, slice_of(octets, 100000), 2, 0), RESULT_OK);
    assert_int_equal(world_finish(w, 5, 0, STORE_DELIVERED, "250 2.0.0 ok", false), RESULT_OK);
    struct slice got = world_body(w, 5);
    assert_int_equal(got.len, 100000);
    free((char *)got.ptr);
    assert_int_equal(world_finish(w, 5, 1, STORE_BOUNCED, "550 5.1.1 no", false), RESULT_OK);
    got = world_body(w, 5);
    assert_int_equal(got.len, 0);
    free((char *)got.ptr);
    assert_string_equal(world_state(w, 5), "bounced");
    free(octets);
}

static void a_body_can_be_kept_until_the_outcome_is_known(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_put(w, 5, SLICE("octets"), 1, 0), RESULT_OK);
    assert_int_equal(world_finish(w, 5, 0, STORE_RELAYED, "250 taken", true), RESULT_OK);
    assert_string_equal(world_state(w, 5), "relayed");
    struct slice got = world_body(w, 5);
    assert_slice(got, "octets");
    free((char *)got.ptr);
    assert_int_equal(world_finish(w, 5, 0, STORE_DELIVERED, "250 there", false), RESULT_OK);
    assert_string_equal(world_state(w, 5), "delivered");
    got = world_body(w, 5);
    assert_int_equal(got.len, 0);
    free((char *)got.ptr);
}

/* The table of schema/README.md: from, what the attempt came to, what it is then (NULL: refused). */
static void transitions_of_a_recipient(void **state)
{
    struct world *w = *state;
    static const struct {
        enum store_state from, outcome;
        const char *then;
    } ROWS[] = {
        {STORE_QUEUED, STORE_QUEUED, "deferred"},
        {STORE_QUEUED, STORE_RELAYED, "relayed"},
        {STORE_QUEUED, STORE_DELIVERED, "delivered"},
        {STORE_QUEUED, STORE_BOUNCED, "bounced"},
        {STORE_QUEUED, STORE_UNCERTAIN, "uncertain"},
        {STORE_HELD, STORE_QUEUED, "held"},
        {STORE_HELD, STORE_UNCERTAIN, "held"},
        {STORE_HELD, STORE_DELIVERED, "delivered"},
        {STORE_HELD, STORE_BOUNCED, "bounced"},
        {STORE_HELD, STORE_RELAYED, "relayed"},
        {STORE_UNCERTAIN, STORE_QUEUED, "deferred"},
        {STORE_UNCERTAIN, STORE_DELIVERED, "delivered"},
        {STORE_UNCERTAIN, STORE_UNCERTAIN, "uncertain"},
        {STORE_UNCERTAIN, STORE_BOUNCED, "bounced"},
        {STORE_RELAYED, STORE_DELIVERED, "delivered"},
        {STORE_RELAYED, STORE_BOUNCED, "bounced"},
        {STORE_RELAYED, STORE_RELAYED, "relayed"},
        {STORE_RELAYED, STORE_QUEUED, NULL},
        {STORE_RELAYED, STORE_UNCERTAIN, NULL},
        {STORE_DELIVERED, STORE_QUEUED, NULL},
        {STORE_DELIVERED, STORE_BOUNCED, NULL},
        {STORE_BOUNCED, STORE_DELIVERED, NULL},
        {STORE_BOUNCED, STORE_QUEUED, NULL},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        uint64_t id = 10 + i;
        struct world_done d = {0};
        assert_int_equal(world_put(w, id, SLICE("x"), 1, 0), RESULT_OK);
        if (ROWS[i].from == STORE_HELD) {
            store_message_hold(w->client, id, world_on_done, &d);
            assert_int_equal(world_wait_done(w, &d), RESULT_OK);
        } else if (ROWS[i].from != STORE_QUEUED) {
            assert_int_equal(world_finish(w, id, 0, ROWS[i].from, "first", true), RESULT_OK);
        }
        assert_string_equal(world_state(w, id), store_state_name(ROWS[i].from));
        assert_int_equal(world_finish(w, id, 0, ROWS[i].outcome, "second", true), ROWS[i].then ? RESULT_OK : RESULT_NOT_FOUND);
        assert_string_equal(world_state(w, id), ROWS[i].then ? ROWS[i].then : store_state_name(ROWS[i].from));
    }
    assert_int_equal(world_finish(w, 10, 1, STORE_DELIVERED, "no such recipient", false), RESULT_NOT_FOUND);
    assert_int_equal(world_finish(w, 9999, 0, STORE_DELIVERED, "no such message", false), RESULT_NOT_FOUND);
}

struct seen {
    bool is_last;
    enum result result;
    size_t n, ngroups;
    uint64_t first, last, sum;
    char text[256];
};

static void on_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct seen *seen = context;
    assert_false(seen->is_last);
    seen->is_last = is_last;
    seen->result = result;
    seen->ngroups++;
    for (size_t i = 0; i < n; i++) {
        const struct store_recipient *r = &rows[i].recipients[0];
        if (seen->n++ == 0)
            seen->first = rows[i].message.id;
        assert_true(rows[i].message.id > seen->last);
        seen->last = rows[i].message.id;
        snprintf(seen->text, sizeof seen->text, "%s/%zu: %.*s %s attempts=%u next=%d reply=%.*s host=%.*s at=%d", rows[i].state, rows[i].nrecipients,
                 SLICE_ARG(r->envelope.address), store_state_name(r->state), r->attempts, (int)r->next_attempt_ms, SLICE_ARG(r->reply),
                 SLICE_ARG(r->host), (int)r->at_ms);
    }
}

static struct seen list(struct world *w, enum store_list which, uint64_t after, uint32_t limit)
{
    struct seen seen = {0};
    store_message_list(w->client, which, after, limit, on_row, &seen);
    world_wait(w, &seen.is_last);
    assert_int_equal(seen.result, RESULT_OK);
    return seen;
}

static struct seen get(struct world *w, uint64_t id)
{
    struct seen seen = {0};
    store_message_get(w->client, id, on_row, &seen);
    world_wait(w, &seen.is_last);
    return seen;
}

/* The way was lost before anybody could be asked: the message is as untried as before, and the time of its last attempt is that of a real one. */
static void what_does_not_count_is_no_attempt(void **state)
{
    struct world *w = *state;
    struct store_outcome lost = {.state = STORE_QUEUED, .next_attempt_ms = 778, .reply = SLICE("lost")};
    struct world_done d = {0};
    assert_int_equal(world_put(w, 5, SLICE("x"), 1, 0), RESULT_OK);
    store_attempt_finish(w->client, 5, &lost, 1, 999, NULL, false, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_string_equal(get(w, 5).text, "queued/1: r0@hop0.example queued attempts=0 next=778 reply=lost host= at=0");
    assert_int_equal(world_finish(w, 5, 0, STORE_QUEUED, "451 4.7.1 later", false), RESULT_OK);
    d = (struct world_done){0};
    store_attempt_finish(w->client, 5, &lost, 1, 999, NULL, false, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_string_equal(get(w, 5).text, "deferred/1: r0@hop0.example queued attempts=1 next=778 reply=lost host= at=51");
}

static void an_outcome_is_recorded_with_its_words(void **state)
{
    struct world *w = *state;
    struct seen seen = {0};
    assert_int_equal(world_put(w, 5, SLICE("x"), 2, 0), RESULT_OK);
    assert_int_equal(world_finish(w, 5, 0, STORE_QUEUED, "451 4.7.1 later", false), RESULT_OK);
    store_message_get(w->client, 5, on_row, &seen);
    world_wait(w, &seen.is_last);
    assert_string_equal(seen.text, "deferred/2: r0@hop0.example queued attempts=1 next=777 reply=451 4.7.1 later host=mx.example at=51");
    assert_int_equal(world_finish(w, 5, 0, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    seen = (struct seen){0};
    store_message_get(w->client, 5, on_row, &seen);
    world_wait(w, &seen.is_last);
    assert_string_equal(seen.text, "queued/2: r0@hop0.example delivered attempts=2 next=0 reply=250 ok host=mx.example at=51");
    seen = (struct seen){0};
    store_message_get(w->client, 6, on_row, &seen);
    world_wait(w, &seen.is_last);
    assert_int_equal(seen.result, RESULT_NOT_FOUND);
}

/* A bounce and the DSN about it are one commit. */
static void an_outcome_brings_our_own_message_along(void **state)
{
    struct world *w = *state;
    char *octets = filled(6, 150000);
    struct envelope_recipient to = {.address = SLICE("alice@example.org")};
    struct slice hop = SLICE("example.org");
    struct store_own_message own = {
        .message = {.id = 6, .envelope = {.recipients = &to, .nrcpt = 1}, .is_dsn = true, .received_at_ms = 60, .expires_at_ms = 70},
        .hops = &hop,
        .body = slice_of(octets, 150000)};
    struct store_outcome outcome = {.state = STORE_BOUNCED, .reply = SLICE("550 no"), .host = SLICE("mx")};
    struct store_job *job;
    struct world_done d = {0};
    assert_int_equal(world_put(w, 5, SLICE("x"), 1, 0), RESULT_OK);
    store_attempt_finish(w->client, 5, &outcome, 1, 100, &own, false, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_int_equal(world_load(w, 6, hop, &job), RESULT_OK);
    assert_true(job->message.is_dsn);
    assert_int_equal(job->message.envelope.sender.len, 0);
    assert_int_equal(job->message.nchunks, 3);
    assert_int_equal(job->recipients[0].next_attempt_ms, 100);
    store_job_free(&job);
    struct slice got = world_body(w, 6);
    assert_true(slice_equal(got, own.body));
    free((char *)got.ptr);

    /* Its number is taken: neither the outcome nor the DSN is written. */
    assert_int_equal(world_put(w, 7, SLICE("x"), 1, 0), RESULT_OK);
    d = (struct world_done){0};
    store_attempt_finish(w->client, 7, &outcome, 1, 100, &own, false, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_CORRUPT);
    assert_string_equal(world_state(w, 7), "queued");
    /* The message is gone: there is nothing to report. */
    own.message.id = 8;
    d = (struct world_done){0};
    store_attempt_finish(w->client, 999, &outcome, 1, 100, &own, false, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_NOT_FOUND);
    assert_string_equal(world_state(w, 8), "none");
    free(octets);
}

/* One task that breaks in the middle takes nobody along, and who shares a batch with it still gets its own answer. */
static void a_broken_task_takes_nobody_along(void **state)
{
    struct world *w = *state;
    struct envelope_recipient to = {.address = SLICE("alice@example.org")};
    struct store_own_message own = {.message = {.id = 1, .envelope = {.recipients = &to, .nrcpt = 1}}, .body = SLICE("dsn")};
    struct store_outcome outcome = {.state = STORE_BOUNCED};
    struct world_done d[4] = {{0}};
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(world_put(w, id, SLICE("x"), 1, 0), RESULT_OK);
    store_attempt_finish(w->client, 1, &outcome, 1, 100, NULL, false, world_on_done, &d[0]);
    store_attempt_finish(w->client, 2, &outcome, 1, 100, &own, false, world_on_done, &d[1]); /* id 1 is taken */
    store_attempt_finish(w->client, 3, &outcome, 1, 100, NULL, false, world_on_done, &d[2]);
    store_attempt_finish(w->client, 9, &outcome, 1, 100, NULL, false, world_on_done, &d[3]);
    assert_int_equal(world_wait_done(w, &d[3]), RESULT_NOT_FOUND);
    assert_true(d[0].is_done && d[1].is_done && d[2].is_done); /* invariant 4 */
    assert_int_equal(d[0].result, RESULT_OK);
    assert_int_equal(d[1].result, RESULT_CORRUPT);
    assert_int_equal(d[2].result, RESULT_OK);
    assert_string_equal(world_state(w, 1), "bounced");
    assert_string_equal(world_state(w, 2), "queued");
    assert_string_equal(world_state(w, 3), "bounced");
}

/* ---- a person ---- */

static void hold_release_remove(void **state)
{
    struct world *w = *state;
    struct store_job *job;
    struct world_done d[8] = {{0}};
    assert_int_equal(world_put(w, 5, SLICE("x"), 2, 0), RESULT_OK);
    assert_int_equal(world_finish(w, 5, 1, STORE_DELIVERED, "250", false), RESULT_OK);
    store_message_hold(w->client, 5, world_on_done, &d[0]);
    assert_int_equal(world_wait_done(w, &d[0]), RESULT_OK);
    assert_string_equal(world_state(w, 5), "held");
    assert_int_equal(world_load(w, 5, SLICE(""), &job), RESULT_NOT_FOUND);
    store_message_hold(w->client, 5, world_on_done, &d[1]);
    assert_int_equal(world_wait_done(w, &d[1]), RESULT_NOT_FOUND);
    store_message_release(w->client, 5, 4242, world_on_done, &d[2]);
    assert_int_equal(world_wait_done(w, &d[2]), RESULT_OK);
    assert_int_equal(world_load(w, 5, SLICE(""), &job), RESULT_OK);
    assert_int_equal(job->nrecipients, 1);
    assert_int_equal(job->recipients[0].next_attempt_ms, 4242);
    store_job_free(&job);
    assert_int_equal(world_remove(w, 5), RESULT_OK);
    assert_int_equal(world_remove(w, 5), RESULT_NOT_FOUND);
    assert_string_equal(world_state(w, 5), "none");
    store_message_release(w->client, 5, 4242, world_on_done, &d[3]);
    assert_int_equal(world_wait_done(w, &d[3]), RESULT_NOT_FOUND);
}

/* A message held or removed right after its commit does not come out of memory as if nothing had been. */
static void memory_does_not_outlive_a_change(void **state)
{
    struct world *w = *state;
    struct store_job *job;
    struct world_done d = {0};
    assert_int_equal(world_put(w, 5, SLICE("x"), 1, 0), RESULT_OK);
    store_message_hold(w->client, 5, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_int_equal(world_load(w, 5, SLICE(""), &job), RESULT_NOT_FOUND);
    assert_int_equal(world_put(w, 6, SLICE("x"), 1, 0), RESULT_OK);
    assert_int_equal(world_remove(w, 6), RESULT_OK);
    assert_int_equal(world_load(w, 6, SLICE(""), &job), RESULT_NOT_FOUND);
    assert_int_equal(world_put(w, 7, SLICE("x"), 1, 0), RESULT_OK);
    assert_int_equal(world_finish(w, 7, 0, STORE_DELIVERED, "250", false), RESULT_OK);
    assert_int_equal(world_load(w, 7, SLICE(""), &job), RESULT_NOT_FOUND);
}

static void listings_come_in_groups_and_in_order(void **state)
{
    struct world *w = *state;
    for (uint64_t id = 1; id <= 120; id++)
        assert_int_equal(world_put(w, id, SLICE("x"), 1, 0), RESULT_OK);
    for (uint64_t id = 1; id <= 120; id += 2)
        assert_int_equal(world_finish(w, id, 0, STORE_DELIVERED, "250", false), RESULT_OK);
    struct seen seen = list(w, STORE_LIST_ALL, 0, 1000);
    assert_int_equal(seen.n, 120);
    assert_true(seen.ngroups >= 3);
    seen = list(w, STORE_LIST_UNFINISHED, 0, 1000);
    assert_int_equal(seen.n, 60);
    assert_int_equal(seen.first, 2);
    assert_int_equal(seen.last, 120);
    seen = list(w, STORE_LIST_ALL, 10, 55);
    assert_int_equal(seen.n, 55);
    assert_int_equal(seen.first, 11);
    seen = list(w, STORE_LIST_ALL, 10, 50);
    assert_int_equal(seen.n, 50);
    seen = list(w, STORE_LIST_UNFINISHED, 120, 5);
    assert_int_equal(seen.n, 0);
    seen = list(w, STORE_LIST_ALL, 0, 0);
    assert_int_equal(seen.n, 0);
}

struct queue_seen {
    bool is_last;
    size_t n, ngroups, nheld;
    int64_t due_sum;
    char text[512];
};

static void on_due(void *context, const struct store_due *due, size_t n, bool is_last, enum result result)
{
    struct queue_seen *seen = context;
    assert_int_equal(result, RESULT_OK);
    seen->is_last = is_last;
    seen->ngroups++;
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(seen->text);
        snprintf(seen->text + used, sizeof seen->text - used, "%d/%.*s@%d%s ", (int)due[i].message, SLICE_ARG(due[i].hop), (int)due[i].due_at_ms,
                 due[i].is_held ? "H" : "");
        seen->n++;
    }
}

static struct queue_seen load_queue(struct world *w)
{
    struct queue_seen seen = {0};
    store_queue_load(w->client, on_due, &seen);
    world_wait(w, &seen.is_last);
    return seen;
}

static void the_queue_is_loaded_by_message_and_hop(void **state)
{
    struct world *w = *state;
    struct world_done d = {0};
    assert_int_equal(load_queue(w).n, 0);
    assert_int_equal(world_put(w, 1, SLICE("x"), 5, 3), RESULT_OK);
    assert_int_equal(world_put(w, 2, SLICE("x"), 2, 0), RESULT_OK);
    assert_int_equal(world_put(w, 3, SLICE("x"), 1, 1), RESULT_OK);
    assert_int_equal(world_put(w, 4, SLICE("x"), 1, 1), RESULT_OK);
    assert_int_equal(world_finish(w, 1, 0, STORE_QUEUED, "451", false), RESULT_OK);    /* due 777, its neighbour of hop0 at 15 */
    assert_int_equal(world_finish(w, 1, 2, STORE_DELIVERED, "250", false), RESULT_OK); /* the only one of hop2 */
    assert_int_equal(world_finish(w, 2, 0, STORE_UNCERTAIN, "", false), RESULT_OK);
    assert_int_equal(world_finish(w, 2, 1, STORE_DELIVERED, "", false), RESULT_OK);
    assert_int_equal(world_finish(w, 4, 0, STORE_DELIVERED, "", false), RESULT_OK);
    store_message_hold(w->client, 3, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    world_reopen(w);
    assert_string_equal(load_queue(w).text, "1/hop0@15 1/hop1@15 2/@777 3/hop0@35H ");
}

static void a_long_queue_is_loaded_in_groups(void **state)
{
    struct world *w = *state;
    for (uint64_t id = 1; id <= 20; id++)
        assert_int_equal(world_put(w, id, SLICE("x"), 199, 60), RESULT_OK);
    struct queue_seen seen = load_queue(w);
    assert_int_equal(seen.n, 20 * 60);
    assert_true(seen.ngroups >= 3);
}

static void on_due_close(void *context, const struct store_due *due, size_t n, bool is_last, enum result result)
{
    struct world *w = context;
    (void)due, (void)n, (void)result;
    assert_false(is_last);
    assert_non_null(w->client); /* no second call */
    store_client_close(w->client, NULL, NULL);
    w->client = NULL;
}

static void a_client_may_be_closed_in_a_callback(void **state)
{
    struct world *w = *state;
    for (uint64_t id = 1; id <= 12; id++)
        assert_int_equal(world_put(w, id, SLICE("x"), 199, 60), RESULT_OK);
    store_queue_load(w->client, on_due_close, w);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_null(w->client);
}

static void counts_and_sweeping(void **state)
{
    struct world *w = *state;
    struct store_counts c;
    struct world_done d = {0};
    for (uint64_t id = 1; id <= 350; id++)
        assert_int_equal(world_put(w, id, SLICE("1234567890"), 1, 0), RESULT_OK);
    for (uint64_t id = 1; id <= 340; id++)
        assert_int_equal(world_finish(w, id, 0, id == 7 ? STORE_QUEUED : id == 8 ? STORE_UNCERTAIN : STORE_DELIVERED, "", false), RESULT_OK);
    store_message_hold(w->client, 350, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_int_equal(world_count(w, &c), RESULT_OK);
    assert_int_equal(c.queued, 10);
    assert_int_equal(c.held, 1);
    assert_int_equal(c.uncertain, 1);
    assert_int_equal(c.finished, 338);
    assert_int_equal(c.octets, 120);
    d = (struct world_done){0};
    store_sweep(w->client, 3300, world_on_done, &d); /* received before: ids below 330 */
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_int_equal(world_count(w, &c), RESULT_OK);
    assert_int_equal(c.finished, 11);
    assert_int_equal(c.queued + c.held + c.uncertain, 12);
    assert_string_equal(world_state(w, 7), "deferred");
    assert_string_equal(world_state(w, 329), "none");
    assert_string_equal(world_state(w, 330), "delivered");
}

/* Received long ago, or by a clock that was wrong. */
static void history_is_kept_from_when_it_was_finished(void **state)
{
    struct world *w = *state;
    const struct store_outcome outcome = {.state = STORE_DELIVERED, .counts = true};
    struct world_done d[3] = {0};
    assert_int_equal(world_put(w, 5, SLICE("1234567890"), 1, 0), RESULT_OK);
    store_attempt_finish(w->client, 5, &outcome, 1, 7000, NULL, false, world_on_done, &d[0]);
    assert_int_equal(world_wait_done(w, &d[0]), RESULT_OK);
    store_sweep(w->client, 7000, world_on_done, &d[1]);
    assert_int_equal(world_wait_done(w, &d[1]), RESULT_OK);
    assert_string_equal(world_state(w, 5), "delivered");
    store_sweep(w->client, 7001, world_on_done, &d[2]);
    assert_int_equal(world_wait_done(w, &d[2]), RESULT_OK);
    assert_string_equal(world_state(w, 5), "none");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_comes_out_as_it_went_in, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_job_has_the_recipients_of_its_hop, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_same_id_twice_is_refused_and_harms_nobody, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_dropped_intake_leaves_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(half_bodies_are_swept_at_start, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(bodies_go_when_the_last_recipient_is_finished, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_body_can_be_kept_until_the_outcome_is_known, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(transitions_of_a_recipient, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_does_not_count_is_no_attempt, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_outcome_is_recorded_with_its_words, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_outcome_brings_our_own_message_along, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_broken_task_takes_nobody_along, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(hold_release_remove, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(memory_does_not_outlive_a_change, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(listings_come_in_groups_and_in_order, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_queue_is_loaded_by_message_and_hop, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_long_queue_is_loaded_in_groups, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_client_may_be_closed_in_a_callback, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(counts_and_sweeping, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(history_is_kept_from_when_it_was_finished, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
