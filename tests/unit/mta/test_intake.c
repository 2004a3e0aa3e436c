/* One message on its way in, on a real store: what is taken, what is refused, and who hears of it. */
#include "support/fault_vfs.h"
#include "support/store_world.h"

#include "mta/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char HEADER[] = "From: anna@example.org\r\nSubject: x\r\n\r\n";

/* A session that hands one message in, and what it and the program's queue came to hear. */
struct scene {
    struct world world;
    struct intake *intake;
    struct envelope envelope;
    struct envelope_recipient recipients[2];
    struct submission_config rules;
    struct intake_config config;
    unsigned nreplies, nqueued, njudged, nresumed;
    size_t nrcpt; /* of what was queued */
    struct smtp_reply reply;
    char words[200], order[8], hops[64];
    bool is_replied, is_queued, is_resumed;
    bool refuses;
};

static void note(struct scene *s, char what)
{
    size_t len = strlen(s->order);
    assert_true(len < sizeof s->order - 1);
    s->order[len] = what;
}

static void on_reply(void *owner, const struct smtp_reply *reply)
{
    struct scene *s = owner;
    note(s, 'r');
    s->nreplies++;
    s->is_replied = true;
    s->reply = *reply;
    slice_to_cstr(reply->text, s->words, sizeof s->words);
}

static void on_queued(void *context, const struct intake_queued *queued)
{
    struct scene *s = context;
    note(s, 'q');
    s->nqueued++;
    s->is_queued = true;
    s->nrcpt = queued->message->envelope.nrcpt;
    assert_int_equal(queued->message->id, s->config.id);
    assert_int_equal(queued->due_at_ms, s->config.received_at_ms);
    for (size_t i = 0; queued->hops && i < queued->message->envelope.nrcpt; i++) {
        size_t len = strlen(s->hops);
        snprintf(s->hops + len, sizeof s->hops - len, "%.*s ", SLICE_ARG(queued->hops[i]));
    }
}

static void on_resume(void *owner)
{
    struct scene *s = owner;
    s->nresumed++;
    s->is_resumed = true;
}

static bool judge(void *owner, const struct submission_facts *facts, const struct envelope *envelope, struct smtp_reply *refusal)
{
    char words[] = "not as that one";
    struct scene *s = owner;
    s->njudged++;
    assert_int_equal(facts->nfrom, 1);
    assert_true(slice_equal(facts->from[0], SLICE("anna@example.org")));
    assert_int_equal(envelope->nrcpt, 2);
    *refusal = (struct smtp_reply){550, {5, 7, 1}, slice_from_cstr(words)};
    return !s->refuses;
}

static void route(void *context, const struct envelope *envelope, struct slice *hops)
{
    (void)context;
    for (size_t i = 0; i < envelope->nrcpt; i++)
        hops[i] = slice_skip(envelope->recipients[i].address, 2);
}

static void set_up(struct scene *s)
{
    *s = (struct scene){0};
    world_make(&s->world);
    s->recipients[0] = (struct envelope_recipient){.address = SLICE("b@one.example")};
    s->recipients[1] = (struct envelope_recipient){.address = SLICE("c@two.example")};
    s->envelope = (struct envelope){.sender = SLICE("anna@example.org"), .recipients = s->recipients, .nrcpt = 2};
    s->rules = (struct submission_config){.mode = SUBMISSION_RELAY, .date = SLICE("Mon, 1 Jan 2024 00:00:00 +0000"), .message_id = SLICE("<id@example.org>")};
    s->config = (struct intake_config){
        .id = 4711,
        .account = SLICE("anna"),
        .envelope = &s->envelope,
        .submission = &s->rules,
        .received_at_ms = 1000,
        .expires_at_ms = INT64_C(4000000000000),
        .judge = judge,
        .on_queued = on_queued,
        .on_resume = on_resume,
        .on_reply = on_reply,
    };
}

static void open_scene(struct scene *s)
{
    assert_int_equal(world_open(&s->world), RESULT_OK);
    s->config.store = s->world.client;
    s->config.context = s->config.owner = s;
    s->intake = intake_new(&s->config);
    assert_non_null(s->intake);
}

static void open_new(struct scene *s)
{
    set_up(s);
    open_scene(s);
}

static void feed(struct scene *s, const char *text)
{
    assert_false(intake_feed(s->intake, slice_from_cstr(text)));
}

static void finish(struct scene *s)
{
    intake_finish(s->intake);
    world_wait(&s->world, &s->is_replied);
    assert_int_equal(s->nreplies, 1);
    intake_free(&s->intake);
}

static uint64_t count(struct scene *s)
{
    struct store_counts counts;
    assert_int_equal(world_count(&s->world, &counts), RESULT_OK);
    return counts.queued;
}

static void close_scene(struct scene *s)
{
    intake_free(&s->intake);
    world_end(&s->world);
}

static void assert_refused(struct scene *s, int code, const char *words)
{
    assert_int_equal(s->reply.code, code);
    assert_non_null(strstr(s->words, words));
    assert_string_equal(s->order, "r");
    assert_int_equal(count(s), 0);
}

/* ---- taken ---- */

static void what_is_committed_is_queued_and_then_answered(void **state)
{
    struct scene s;
    (void)state;
    open_new(&s);
    feed(&s, HEADER);
    assert_int_equal(s.njudged, 1);
    feed(&s, "hello\r\n");
    assert_string_equal(s.order, "");
    finish(&s);
    assert_string_equal(s.order, "qr"); /* the queue knows of it before anybody may hear 250 */
    assert_int_equal(s.reply.code, 250);
    assert_non_null(strstr(s.words, "Ok: queued as "));
    assert_string_equal(world_state(&s.world, 4711), "queued");
    struct slice body = world_body(&s.world, 4711);
    assert_true(slice_equal(body, SLICE("From: anna@example.org\r\nSubject: x\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
                                        "Message-ID: <id@example.org>\r\n\r\nhello\r\n")));
    free((void *)(uintptr_t)body.ptr);
    close_scene(&s);
}

static void the_hops_go_with_it(void **state)
{
    struct scene s;
    struct store_job *job;
    (void)state;
    set_up(&s);
    s.config.route = route;
    open_scene(&s);
    feed(&s, HEADER);
    finish(&s);
    assert_string_equal(s.hops, "one.example two.example ");
    assert_int_equal(world_load(&s.world, 4711, SLICE("two.example"), &job), RESULT_OK);
    assert_int_equal(job->nrecipients, 1);
    assert_true(slice_equal(job->recipients[0].envelope.address, SLICE("c@two.example")));
    assert_true(slice_equal(job->message.account, SLICE("anna")));
    store_job_free(&job);
    close_scene(&s);
}

/* One copy, as first asked for. Where the transaction has a name, its two sides count the recipients. */
static void who_is_named_twice_is_kept_once(void **state)
{
    struct scene s;
    (void)state;
    set_up(&s);
    s.recipients[1] = (struct envelope_recipient){.address = SLICE("b@one.example"), .notify = DSN_NOTIFY_NEVER};
    s.config.judge = NULL;
    s.config.route = route;
    open_scene(&s);
    feed(&s, HEADER);
    finish(&s);
    assert_int_equal(s.reply.code, 250);
    assert_string_equal(s.hops, "one.example ");
    assert_int_equal(s.nrcpt, 1);
    close_scene(&s);
}

static void a_large_body_pauses_and_comes_through_whole(void **state)
{
    enum { PIECE = 32 * 1024, PIECES = 96 };
    static char piece[PIECE];
    struct scene s;
    unsigned npauses = 0;
    (void)state;
    open_new(&s);
    feed(&s, HEADER);
    for (unsigned i = 0; i < PIECES; i++) {
        world_fill(i, piece, PIECE - 2);
        memcpy(piece + PIECE - 2, "\r\n", 2);
        s.is_resumed = false;
        if (intake_feed(s.intake, slice_of(piece, PIECE))) {
            npauses++;
            world_wait(&s.world, &s.is_resumed);
        }
    }
    finish(&s);
    assert_int_equal(s.reply.code, 250);
    assert_true(npauses > 0);
    struct slice body = world_body(&s.world, 4711);
    assert_true(body.len > PIECES * PIECE);
    for (unsigned i = 0; i < PIECES; i++) {
        world_fill(i, piece, PIECE - 2);
        assert_memory_equal(body.ptr + body.len - (size_t)(PIECES - i) * PIECE, piece, PIECE - 2);
    }
    free((void *)(uintptr_t)body.ptr);
    close_scene(&s);
}

static bool needs_utf8(bool is_announced, const char *subject, const char *recipient)
{
    struct scene s;
    struct store_job *job;
    set_up(&s);
    s.envelope.is_smtputf8 = is_announced;
    s.rules.allow_utf8 = is_announced;
    s.recipients[1].address = slice_from_cstr(recipient);
    open_scene(&s);
    feed(&s, "From: anna@example.org\r\nSubject: ");
    feed(&s, subject);
    feed(&s, "\r\n\r\nx\r\n");
    finish(&s);
    assert_int_equal(s.reply.code, 250);
    assert_int_equal(world_load(&s.world, 4711, (struct slice){0}, &job), RESULT_OK);
    bool needs = job->message.needs_smtputf8;
    store_job_free(&job);
    close_scene(&s);
    return needs;
}

static void smtputf8_is_needed_only_where_something_is_utf8(void **state)
{
    (void)state;
    assert_false(needs_utf8(false, "x", "c@two.example"));
    assert_false(needs_utf8(true, "x", "c@two.example"));
    assert_true(needs_utf8(true, "gr\xc3\xbc\xc3\x9f""e", "c@two.example"));
    assert_true(needs_utf8(true, "x", "b\xc3\xbcrgermeister@two.example"));
}

/* ---- refused ---- */

static void who_is_refused_by_the_judge_hears_it_at_the_end(void **state)
{
    struct scene s;
    (void)state;
    set_up(&s);
    s.refuses = true;
    open_scene(&s);
    feed(&s, HEADER);
    assert_int_equal(s.njudged, 1);
    assert_int_equal(s.nreplies, 0);
    for (int i = 0; i < 100; i++)
        feed(&s, "swallowed\r\n");
    finish(&s);
    assert_refused(&s, 550, "not as that one"); /* copied: the judge's own words were gone with its call */
    close_scene(&s);
}

static void a_header_against_the_rules(void **state)
{
    struct scene s;
    (void)state;
    open_new(&s);
    feed(&s, "From: anna@example.org\r\nFrom: eve@example.org\r\n\r\n");
    feed(&s, "body\r\n");
    finish(&s);
    assert_refused(&s, 550, "From");
    assert_int_equal(s.njudged, 0);
    close_scene(&s);
}

static void a_header_that_never_ends(void **state)
{
    struct scene s;
    (void)state;
    open_new(&s);
    feed(&s, "From: anna@example.org\r\n");
    for (unsigned i = 0; i <= SUBMISSION_HEADER_MAX / 800; i++)
        for (unsigned j = 0; j < 20; j++)
            feed(&s, "X-Field: 0123456789012345678901234\r\n X\r\n");
    finish(&s);
    assert_true(s.reply.code == 552 || s.reply.code == 554 || s.reply.code == 550);
    assert_string_equal(s.order, "r");
    assert_int_equal(count(&s), 0);
    close_scene(&s);
}

static void a_full_disk_is_452_and_leaves_nothing(void **state)
{
    static char piece[32 * 1024];
    struct scene s;
    (void)state;
    set_up(&s);
    s.world.config.max_octets = 1024 * 1024;
    open_scene(&s);
    feed(&s, HEADER);
    world_fill(1, piece, sizeof piece);
    memcpy(piece + sizeof piece - 2, "\r\n", 2);
    for (int i = 0; i < 200; i++) {
        s.is_resumed = false;
        if (intake_feed(s.intake, slice_of(piece, sizeof piece)))
            world_wait(&s.world, &s.is_resumed);
    }
    finish(&s);
    assert_refused(&s, 452, "disk is full");
    close_scene(&s);
}

static void a_disk_that_fails_at_the_commit_is_451(void **state)
{
    struct scene s;
    (void)state;
    set_up(&s);
    fault_vfs_register();
    s.world.config.vfs = "fault";
    open_scene(&s);
    feed(&s, HEADER);
    fault_vfs_arm(FAULT_SYNC, 1, true);
    finish(&s);
    fault_vfs_disarm();
    assert_int_equal(s.reply.code, 451);
    assert_string_equal(s.order, "r");
    assert_int_equal(s.reply.status.class, 4);
    close_scene(&s);
}

/* One without a name has no other session that could go on with it. */
static void a_number_that_is_taken_is_451(void **state)
{
    struct scene s;
    (void)state;
    set_up(&s);
    assert_int_equal(world_open(&s.world), RESULT_OK);
    assert_int_equal(world_put(&s.world, s.config.id, SLICE("x"), 1, 0), RESULT_OK);
    world_close(&s.world);
    open_scene(&s);
    feed(&s, HEADER);
    finish(&s);
    assert_int_equal(s.reply.code, 451);
    assert_non_null(strstr(s.words, "could not be stored"));
    assert_string_equal(s.order, "r");
    close_scene(&s);
}

/* ---- gone in between ---- */

static void who_leaves_before_the_end_leaves_nothing(void **state)
{
    struct scene s;
    (void)state;
    open_new(&s);
    feed(&s, HEADER);
    feed(&s, "half\r\n");
    intake_free(&s.intake);
    assert_null(s.intake);
    assert_int_equal(count(&s), 0);
    assert_string_equal(s.order, "");
    close_scene(&s);
}

static void who_leaves_during_the_commit_hears_nothing_but_the_queue_does(void **state)
{
    struct scene s;
    (void)state;
    open_new(&s);
    feed(&s, HEADER);
    intake_finish(s.intake);
    intake_free(&s.intake);
    world_wait(&s.world, &s.is_queued);
    assert_int_equal(count(&s), 1);
    assert_string_equal(s.order, "q");
    close_scene(&s);
}

static void who_leaves_during_a_pause_is_not_called_back(void **state)
{
    static char piece[64 * 1024];
    struct scene s;
    (void)state;
    open_new(&s);
    feed(&s, HEADER);
    memset(piece, 'x', sizeof piece);
    memcpy(piece + sizeof piece - 2, "\r\n", 2);
    while (!intake_feed(s.intake, slice_of(piece, sizeof piece)))
        continue;
    intake_free(&s.intake);
    assert_int_equal(count(&s), 0);
    assert_int_equal(s.nresumed, 0);
    close_scene(&s);
}

static void no_failure_has_a_positive_reply(void **state)
{
    static const enum result failures[] = {RESULT_FULL, RESULT_IO, RESULT_BUSY, RESULT_MEMORY, RESULT_LIMIT, RESULT_EXISTS, RESULT_CORRUPT, RESULT_CANCELLED};
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        struct smtp_reply reply = intake_reply_of(failures[i]);
        assert_true(smtp_reply_is_transient(&reply));
        assert_int_equal(reply.status.class, 4);
        assert_true(reply.text.len > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_is_queued_and_then_answered),
        cmocka_unit_test(the_hops_go_with_it),
        cmocka_unit_test(who_is_named_twice_is_kept_once),
        cmocka_unit_test(a_large_body_pauses_and_comes_through_whole),
        cmocka_unit_test(smtputf8_is_needed_only_where_something_is_utf8),
        cmocka_unit_test(who_is_refused_by_the_judge_hears_it_at_the_end),
        cmocka_unit_test(a_header_against_the_rules),
        cmocka_unit_test(a_header_that_never_ends),
        cmocka_unit_test(a_full_disk_is_452_and_leaves_nothing),
        cmocka_unit_test(a_disk_that_fails_at_the_commit_is_451),
        cmocka_unit_test(a_number_that_is_taken_is_451),
        cmocka_unit_test(who_leaves_before_the_end_leaves_nothing),
        cmocka_unit_test(who_leaves_during_the_commit_hears_nothing_but_the_queue_does),
        cmocka_unit_test(who_leaves_during_a_pause_is_not_called_back),
        cmocka_unit_test(no_failure_has_a_positive_reply),
    };
    return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
