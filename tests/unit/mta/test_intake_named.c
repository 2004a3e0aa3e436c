/* Messages whose transaction has a name (RFC 1845), on a real store: what is kept of a half, how another session goes on in it, and that it is one message in the end. */
#include "support/store_fixture.h"

#include "mta/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LINE = 64, LINES = 4000, BODY = LINE * LINES, ID = 4711 };
static const char HEADER[] = "From: anna@example.org\r\nBcc: x@example.org\r\nSubject: x\r\n\r\n";
static const char STORED[] = "From: anna@example.org\r\nSubject: x\r\nDate: D\r\nMessage-ID: <id@example.org>\r\n\r\n";
enum { CAME = sizeof HEADER - 1 };

static char body[BODY];

/* A session: its intake, and what it came to hear. */
struct session {
    struct world *world;
    struct intake *intake;
    bool is_replied, is_queued, is_resumed;
    unsigned nqueued, njudged, nresumed;
    int code;
    char words[200];
};

/* What a claim found, copied. */
struct claimed {
    struct world *world;
    struct arena arena;
    bool is_done;
    enum result result;
    struct store_checkpoint found;
    char reply[100];
};

static void on_reply(void *owner, const struct smtp_reply *reply)
{
    struct session *s = owner;
    assert_false(s->is_replied);
    s->is_replied = true;
    s->code = reply->code;
    slice_to_cstr(reply->text, s->words, sizeof s->words);
}

static void on_queued(void *context, const struct intake_queued *queued)
{
    struct session *s = context;
    s->nqueued++;
    s->is_queued = true;
    assert_int_equal(queued->message->id, ID);
}

static void on_resume(void *owner)
{
    struct session *s = owner;
    s->nresumed++;
    s->is_resumed = true;
}

static bool judge(void *owner, const struct submission_facts *facts, const struct envelope *envelope, struct smtp_reply *refusal)
{
    struct session *s = owner;
    (void)envelope;
    s->njudged++;
    assert_int_equal(facts->nfrom, 1);
    *refusal = SMTP_REPLY(550, 5, 7, 1, "not as that one");
    return !slice_equal(facts->from[0], SLICE("eve@example.org"));
}

static struct store_claim claim_of(const char *transid)
{
    return (struct store_claim){.account = SLICE("anna"), .device = SLICE("laptop"), .helo = SLICE("postern-agent"), .transid = slice_from_cstr(transid), .served_ms = 1000};
}

static struct envelope_recipient recipients[] = {{.address = SLICE("b@one.example")}, {.address = SLICE("c@two.example")}};

/* checkpoint: what was claimed, or NULL. */
static void session_open(struct session *s, struct world *world, const char *transid, const struct store_checkpoint *checkpoint)
{
    const struct envelope envelope = {.sender = SLICE("anna@example.org"), .recipients = recipients, .nrcpt = 2};
    const struct submission_config rules = {.mode = SUBMISSION_RELAY, .date = SLICE("D"), .message_id = SLICE("<id@example.org>")};
    const struct store_naming naming = {
        .claim = claim_of(transid),
        .generation = checkpoint ? checkpoint->generation : 0,
        .recipients = recipients,
        .nrcpt = 2,
    };
    *s = (struct session){.world = world};
    s->intake = intake_new(&(struct intake_config){
        .store = world->client,
        .id = checkpoint ? 1 : ID,
        .account = SLICE("anna"),
        .envelope = &envelope,
        .submission = &rules,
        .naming = transid[0] ? &naming : NULL,
        .checkpoint = checkpoint,
        .received_at_ms = 1000,
        .expires_at_ms = INT64_C(4000000000000),
        .judge = judge,
        .on_queued = on_queued,
        .context = s,
        .on_resume = on_resume,
        .on_reply = on_reply,
        .owner = s,
    });
    assert_non_null(s->intake);
}

static void feed(struct session *s, struct slice octets)
{
    while (octets.len > 0) {
        struct slice piece = slice_take(octets, 10000);
        s->is_resumed = false;
        if (intake_feed(s->intake, piece))
            world_wait(s->world, &s->is_resumed);
        octets = slice_skip(octets, piece.len);
    }
}

static struct slice part(size_t from, size_t to)
{
    return slice_of(body + from, to - from);
}

/* Header and so many octets of the body. */
static void feed_first(struct session *s, size_t octets)
{
    feed(s, slice_from_cstr(HEADER));
    feed(s, part(0, octets));
}

static void finish(struct session *s)
{
    intake_finish(s->intake);
    if (!s->is_replied)
        world_wait(s->world, &s->is_replied);
    intake_free(&s->intake);
}

static void on_claimed(void *context, enum result result, const struct store_checkpoint *found)
{
    struct claimed *claimed = context;
    claimed->is_done = true;
    claimed->result = result;
    if (result != RESULT_OK)
        return;
    struct envelope_recipient *kept;
    assert_int_equal(envelope_copy_recipients(&claimed->arena, found->recipients, found->nrcpt, &kept), RESULT_OK);
    claimed->found = *found;
    claimed->found.recipients = kept;
    slice_to_cstr(found->reply, claimed->reply, sizeof claimed->reply);
}

static struct claimed ask(struct world *world, const char *transid, bool is_whole)
{
    struct claimed claimed = {.world = world, .arena = ARENA(65536)};
    struct store_claim claim = claim_of(transid);
    claim.is_whole = is_whole;
    store_checkpoint_claim(world->client, &claim, on_claimed, &claimed);
    world_wait(world, &claimed.is_done);
    return claimed;
}

static struct claimed ask_half(struct world *world)
{
    struct claimed claimed = ask(world, "<n@a>", false);
    assert_int_equal(claimed.result, RESULT_OK);
    assert_string_equal(claimed.reply, "");
    assert_int_equal(claimed.found.message, ID);
    assert_int_equal(claimed.found.nrcpt, 2);
    return claimed;
}

/* A half of so many octets of the body, whose session has gone. */
static struct claimed leave_half(struct world *world, size_t octets)
{
    struct session s;
    session_open(&s, world, "<n@a>", NULL);
    feed_first(&s, octets);
    intake_free(&s.intake);
    return ask_half(world);
}

static int setup(void **state)
{
    for (size_t i = 0; i < LINES; i++) {
        snprintf(body + i * LINE, LINE, "%062zu", i);
        memcpy(body + i * LINE + LINE - 2, "\r\n", 2);
    }
    if (world_setup(state) != 0)
        return -1;
    world_add_account(*state, "anna");
    return 0;
}

/* The message is there once, octet for octet as if it had come at once. */
static void assert_taken(struct session *s)
{
    assert_int_equal(s->code, 250);
    assert_int_equal(s->nqueued, 1);
    struct slice stored = world_body(s->world, ID);
    assert_int_equal(stored.len, sizeof STORED - 1 + BODY);
    assert_memory_equal(stored.ptr, STORED, sizeof STORED - 1);
    assert_memory_equal(stored.ptr + sizeof STORED - 1, body, BODY);
    free((void *)(uintptr_t)stored.ptr);
    struct store_counts counts;
    assert_int_equal(world_count(s->world, &counts), RESULT_OK);
    assert_int_equal(counts.queued, 1);
}

static uint64_t body_came(const struct claimed *claimed)
{
    assert_true(claimed->found.came_octets >= CAME && claimed->found.came_octets <= CAME + BODY);
    return claimed->found.came_octets - CAME;
}

/* ---- the whole way ---- */

static void what_is_recorded_is_what_was_told(void **state)
{
    struct world *world = *state;
    struct session s;
    char told[300];
    session_open(&s, world, "<n@a>", NULL);
    feed_first(&s, BODY);
    finish(&s);
    assert_taken(&s);
    struct claimed claimed = ask(world, "<n@a>", false);
    assert_int_equal(claimed.result, RESULT_OK);
    snprintf(told, sizeof told, "250 2.0.0 %s", s.words);
    assert_string_equal(claimed.reply, told);
    assert_int_equal(claimed.found.came_octets, CAME + BODY);
    arena_free(&claimed.arena);
}

static void a_half_is_gone_on_with(void **state)
{
    struct world *world = *state;
    struct session s;
    struct claimed claimed = leave_half(world, 150000 + 13);
    uint64_t came = body_came(&claimed);
    assert_int_equal(came, 150000 / LINE * LINE); /* up to the last whole line */
    session_open(&s, world, "<n@a>", &claimed.found);
    assert_int_equal(intake_id(s.intake), ID);
    assert_true(intake_feed(s.intake, part(came, came + 100))); /* the store reads the half back: the driver waits, what it had in hand is held */
    world_wait(world, &s.is_resumed);
    feed(&s, part(came + 100, BODY));
    finish(&s);
    assert_taken(&s);
    assert_int_equal(s.njudged, 0); /* the header was, when it came */
    arena_free(&claimed.arena);
}

static void three_cuts_and_a_restart(void **state)
{
    static const size_t cuts[] = {1, 70000, 200000, BODY};
    struct world *world = *state;
    struct session s;
    uint64_t came = 0;
    session_open(&s, world, "<n@a>", NULL);
    feed(&s, slice_from_cstr(HEADER));
    for (size_t i = 0; i < 4; i++) {
        feed(&s, part(came, cuts[i]));
        if (cuts[i] == BODY)
            break;
        intake_free(&s.intake);
        world_reopen(world);
        struct claimed claimed = ask_half(world);
        came = body_came(&claimed);
        assert_int_equal(came, cuts[i] / LINE * LINE);
        session_open(&s, world, "<n@a>", &claimed.found);
        arena_free(&claimed.arena); /* nothing of it is used after the call */
    }
    finish(&s);
    assert_taken(&s);
}

static void a_silent_sender_has_lost_nothing(void **state)
{
    struct world *world = *state;
    struct session s;
    session_open(&s, world, "<n@a>", NULL);
    feed_first(&s, 100 * LINE);
    intake_sync(s.intake);
    struct claimed claimed = ask_half(world); /* while the first session is still there */
    assert_int_equal(body_came(&claimed), 100 * LINE);
    intake_free(&s.intake);
    arena_free(&claimed.arena);
}

/* ---- who comes and goes ---- */

static void the_end_comes_before_the_half_was_read(void **state)
{
    struct world *world = *state;
    struct session s;
    struct claimed claimed = leave_half(world, BODY - LINE);
    session_open(&s, world, "<n@a>", &claimed.found);
    assert_true(intake_feed(s.intake, part(BODY - LINE, BODY)));
    finish(&s); /* without a turn of the loop in between */
    assert_taken(&s);
    assert_int_equal(s.nresumed, 0);
    arena_free(&claimed.arena);
}

static void who_leaves_while_the_half_is_read_leaves_it(void **state)
{
    struct world *world = *state;
    struct session s;
    struct claimed first = leave_half(world, 1000 * LINE);
    session_open(&s, world, "<n@a>", &first.found);
    assert_true(intake_feed(s.intake, part(1000 * LINE, 1010 * LINE)));
    intake_free(&s.intake);
    struct claimed again = ask_half(world);
    uint64_t came = body_came(&again);
    assert_true(came == 1000 * LINE || came == 1010 * LINE); /* what was held may have come too late for this claim */
    session_open(&s, world, "<n@a>", &again.found);
    feed(&s, part(came, BODY));
    finish(&s);
    assert_taken(&s);
    arena_free(&first.arena);
    arena_free(&again.arena);
}

static void who_leaves_after_the_end_is_committed_without(void **state)
{
    struct world *world = *state;
    struct session s;
    struct claimed claimed = leave_half(world, BODY - LINE);
    session_open(&s, world, "<n@a>", &claimed.found);
    assert_true(intake_feed(s.intake, part(BODY - LINE, BODY)));
    intake_finish(s.intake);
    intake_free(&s.intake);
    world_wait(world, &s.is_queued);
    assert_false(s.is_replied);
    s.code = 250;
    assert_taken(&s);
    arena_free(&claimed.arena);
}

static void who_names_it_takes_it_away(void **state)
{
    struct world *world = *state;
    struct session old, new;
    session_open(&old, world, "<n@a>", NULL);
    feed_first(&old, 1500 * LINE);
    intake_sync(old.intake);
    struct claimed claimed = ask_half(world);
    session_open(&new, world, "<n@a>", &claimed.found);
    uint64_t came = body_came(&claimed);
    feed(&new, part(came, came + LINE));
    feed(&old, part(1500 * LINE, BODY)); /* the old connection was not dead after all */
    finish(&old);
    assert_int_equal(old.code, 451);
    assert_non_null(strstr(old.words, "Another session"));
    assert_int_equal(old.nqueued, 0);
    feed(&new, part(came + LINE, BODY));
    finish(&new);
    assert_taken(&new);
    arena_free(&claimed.arena);
}

/* Between the claim and the first octet. */
static void one_whose_half_was_removed_is_told_so(void **state)
{
    struct world *world = *state;
    struct session s;
    struct world_done removed = {0};
    struct claimed claimed = leave_half(world, 1000 * LINE);
    store_half_drop(world->client, ID, world_on_done, &removed);
    assert_int_equal(world_wait_done(world, &removed), RESULT_OK);
    session_open(&s, world, "<n@a>", &claimed.found);
    feed(&s, part(body_came(&claimed), BODY));
    finish(&s);
    assert_int_equal(s.code, 451);
    assert_non_null(strstr(s.words, "or it was removed here"));
    assert_int_equal(s.nqueued, 0);
    arena_free(&claimed.arena);
}

static void of_two_that_commit_one_does(void **state)
{
    struct world *world = *state;
    struct session a, b;
    session_open(&a, world, "<n@a>", NULL);
    session_open(&b, world, "<n@a>", NULL);
    feed_first(&a, 10 * LINE);
    feed_first(&b, 10 * LINE);
    finish(&a);
    finish(&b);
    assert_int_equal(a.code, 250);
    assert_int_equal(b.code, 451);
    assert_non_null(strstr(b.words, "Another session"));
    assert_int_equal(a.nqueued + b.nqueued, 1);
}

/* ---- what is not kept ---- */

static void assert_unknown(struct world *world, const char *transid)
{
    struct claimed claimed = ask(world, transid, false);
    assert_int_equal(claimed.result, RESULT_NOT_FOUND);
    arena_free(&claimed.arena);
}

static void a_refused_message_is_forgotten(void **state)
{
    struct world *world = *state;
    struct session s;
    session_open(&s, world, "<n@a>", NULL);
    feed(&s, SLICE("From: eve@example.org\r\n\r\n"));
    feed(&s, part(0, BODY));
    intake_free(&s.intake); /* even if its sender never hears why */
    assert_unknown(world, "<n@a>");
}

static void a_body_that_the_session_refused_is_forgotten(void **state)
{
    struct world *world = *state;
    struct session s;
    session_open(&s, world, "<n@a>", NULL);
    feed_first(&s, BODY - LINE);
    intake_drop(&s.intake);
    assert_null(s.intake);
    assert_unknown(world, "<n@a>");
}

static void a_half_header_and_a_message_without_name_are_not_kept(void **state)
{
    struct world *world = *state;
    struct session s;
    session_open(&s, world, "<n@a>", NULL);
    feed(&s, SLICE("From: anna@example.org\r\n"));
    intake_free(&s.intake);
    assert_unknown(world, "<n@a>");
    session_open(&s, world, "", NULL);
    feed_first(&s, BODY - LINE);
    intake_sync(s.intake);
    intake_free(&s.intake);
    assert_unknown(world, "");
}

static void what_was_seen_of_the_first_half_is_remembered(void **state)
{
    struct world *world = *state;
    struct session s;
    struct store_job *job;
    body[70 * LINE + 5] = '\xff'; /* after the header was noted */
    session_open(&s, world, "<n@a>", NULL);
    feed_first(&s, 50 * LINE);
    feed(&s, part(50 * LINE, 2000 * LINE));
    intake_free(&s.intake);
    struct claimed claimed = ask_half(world);
    session_open(&s, world, "<n@a>", &claimed.found);
    feed(&s, part(body_came(&claimed), BODY));
    finish(&s);
    assert_taken(&s);
    assert_int_equal(world_load(world, ID, (struct slice){0}, &job), RESULT_OK);
    assert_true(job->message.has_8bit);
    assert_int_equal(job->message.size_octets, sizeof STORED - 1 + BODY);
    assert_int_equal(job->message.header_octets, sizeof STORED - 1);
    store_job_free(&job);
    arena_free(&claimed.arena);
}

/* The one octet that is not ASCII comes while the half is still being read, and its session goes: the third remembers it. */
static void what_was_seen_while_the_half_was_read_is_remembered(void **state)
{
    struct world *world = *state;
    struct session s;
    struct store_job *job;
    struct claimed claimed = leave_half(world, 1000 * LINE);
    body[1001 * LINE + 5] = '\xff';
    session_open(&s, world, "<n@a>", &claimed.found);
    assert_true(intake_feed(s.intake, part(1000 * LINE, 1010 * LINE)));
    world_wait(world, &s.is_resumed);
    intake_free(&s.intake);
    arena_free(&claimed.arena);
    claimed = ask_half(world);
    assert_int_equal(body_came(&claimed), 1010 * LINE);
    session_open(&s, world, "<n@a>", &claimed.found);
    feed(&s, part(1010 * LINE, BODY));
    finish(&s);
    assert_taken(&s);
    assert_int_equal(world_load(world, ID, (struct slice){0}, &job), RESULT_OK);
    assert_true(job->message.has_8bit);
    store_job_free(&job);
    arena_free(&claimed.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_recorded_is_what_was_told, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_is_gone_on_with, setup, world_teardown),
        cmocka_unit_test_setup_teardown(three_cuts_and_a_restart, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_silent_sender_has_lost_nothing, setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_end_comes_before_the_half_was_read, setup, world_teardown),
        cmocka_unit_test_setup_teardown(who_leaves_while_the_half_is_read_leaves_it, setup, world_teardown),
        cmocka_unit_test_setup_teardown(who_leaves_after_the_end_is_committed_without, setup, world_teardown),
        cmocka_unit_test_setup_teardown(who_names_it_takes_it_away, setup, world_teardown),
        cmocka_unit_test_setup_teardown(one_whose_half_was_removed_is_told_so, setup, world_teardown),
        cmocka_unit_test_setup_teardown(of_two_that_commit_one_does, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_refused_message_is_forgotten, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_body_that_the_session_refused_is_forgotten, setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_header_and_a_message_without_name_are_not_kept, setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_was_seen_of_the_first_half_is_remembered, setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_was_seen_while_the_half_was_read_is_remembered, setup, world_teardown),
    };
    return cmocka_run_group_tests_name("intake, named", tests, NULL, NULL);
}
