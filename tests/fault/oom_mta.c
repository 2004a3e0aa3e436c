/* When memory runs out. Taking a message in: a 250 means that it is in the store, and nothing else does. Recording an attempt: it is recorded, or the message waits as before. */
#include "support/oom.h"
#include "support/store_names.h"
#include "support/store_world.h"

#include "mta/attempt.h"

#include "crypto/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- taking in ---- */

struct sender {
    struct world *world;
    uint64_t id;
    unsigned nqueued;
    bool is_replied, is_resumed;
    struct smtp_reply reply;
};

static void on_reply(void *owner, const struct smtp_reply *reply)
{
    struct sender *sender = owner;
    assert_false(sender->is_replied);
    sender->is_replied = true;
    sender->reply = *reply;
}

static void on_taken(void *context, const struct intake_queued *queued)
{
    struct sender *sender = context;
    sender->nqueued++;
    assert_int_equal(queued->message->id, sender->id);
}

static void on_resume(void *owner)
{
    ((struct sender *)owner)->is_resumed = true;
}

static bool judge(void *owner, const struct submission_facts *facts, const struct envelope *envelope, struct smtp_reply *refusal)
{
    (void)owner, (void)facts, (void)envelope, (void)refusal;
    return true;
}

/* name: of the transaction, or NULL; checkpoint: the half that is gone on with, or NULL. */
static struct intake *begin_named(struct sender *sender, const struct store_naming *name, const struct store_checkpoint *checkpoint)
{
    struct envelope_recipient recipients[] = {{.address = SLICE("b@one.example")}, {.address = SLICE("c@two.example")}};
    const struct envelope envelope = {.sender = SLICE("anna@example.org"), .recipients = recipients, .nrcpt = 2};
    const struct submission_config rules = {.mode = SUBMISSION_RELAY, .date = SLICE("Mon, 1 Jan 2024 00:00:00 +0000"), .message_id = SLICE("<id@example.org>")};
    return intake_new(&(struct intake_config){
        .store = sender->world->client,
        .id = sender->id,
        .account = SLICE("anna"),
        .envelope = &envelope,
        .submission = &rules,
        .naming = name,
        .checkpoint = checkpoint,
        .received_at_ms = 1000,
        .expires_at_ms = INT64_C(4000000000000),
        .judge = judge,
        .on_queued = on_taken,
        .context = sender,
        .on_resume = on_resume,
        .on_reply = on_reply,
        .owner = sender,
    });
}

static struct intake *begin(struct sender *sender)
{
    return begin_named(sender, NULL, NULL);
}

static void feed(struct sender *sender, struct intake *intake, struct slice octets)
{
    sender->is_resumed = false;
    if (intake_feed(intake, octets))
        world_wait(sender->world, &sender->is_resumed);
}

static bool is_in_store(struct sender *sender)
{
    oom_suspend();
    bool is_there = strcmp(world_state(sender->world, sender->id), "queued") == 0;
    oom_resume();
    return is_there;
}

static void write_lines(char *out, size_t len)
{
    memset(out, 'x', len);
    for (size_t i = 78; i < len; i += 80)
        memcpy(out + i, "\r\n", 2);
    memcpy(out + len - 2, "\r\n", 2);
}

static void run(void *context)
{
    static uint64_t id;
    static char line[20002];
    struct sender sender = {.world = context, .id = ++id};
    struct intake *intake = begin(&sender);
    if (!intake) {
        assert_true(oom_has_failed());
        return;
    }
    write_lines(line, sizeof line);
    feed(&sender, intake, SLICE("From: anna@example.org\r\nSubject: x\r\n\r\n"));
    for (int i = 0; i < 5; i++) /* more than one chunk */
        feed(&sender, intake, slice_of(line, sizeof line));
    intake_finish(intake);
    if (!sender.is_replied)
        world_wait(sender.world, &sender.is_replied);
    intake_free(&intake);
    bool is_accepted = smtp_reply_is_positive(&sender.reply);
    assert_true(is_accepted || (oom_has_failed() && smtp_reply_is_transient(&sender.reply)));
    assert_int_equal(sender.nqueued, is_accepted);
    assert_int_equal(is_in_store(&sender), is_accepted);
}

/* ---- a message with a name, which comes in two halves ---- */

static const char HEADER[] = "From: anna@example.org\r\nSubject: x\r\n\r\n";
enum { HEADER_CAME = sizeof HEADER - 1, BODY = 160000, FIRST = 100000 };

/* Of what the sender has, from one octet on to another. */
static void feed_part(struct sender *sender, struct intake *intake, size_t from, size_t to)
{
    static char octets[HEADER_CAME + BODY];
    memcpy(octets, HEADER, HEADER_CAME);
    write_lines(octets + HEADER_CAME, BODY);
    for (size_t at = from; at < to; at += 20000)
        feed(sender, intake, slice_take(slice_of(octets + at, to - at), 20000));
}

static bool leave_half(struct sender *sender, struct store_claim claim)
{
    struct store_naming naming = names_naming(claim, 0);
    struct intake *intake = begin_named(sender, &naming, NULL);
    if (!intake)
        return false;
    feed_part(sender, intake, 0, FIRST);
    intake_free(&intake);
    return true;
}

static void end_half(struct sender *sender, struct store_claim claim, const struct names_claimed *found)
{
    bool is_half = found->result == RESULT_OK;
    struct store_naming naming = names_naming(claim, is_half ? found->generation : 0);
    struct store_checkpoint checkpoint = {.message = found->message, .generation = found->generation, .came_octets = found->came_octets, .half = found->half,
                                          .recipients = naming.recipients, .nrcpt = naming.nrcpt};
    struct intake *intake = begin_named(sender, &naming, is_half ? &checkpoint : NULL);
    if (!intake)
        return;
    feed_part(sender, intake, is_half ? found->came_octets : 0, HEADER_CAME + BODY);
    intake_finish(intake);
    if (!sender->is_replied)
        world_wait(sender->world, &sender->is_replied);
    intake_free(&intake);
}

static void run_named(void *context)
{
    static uint64_t id = 800000;
    struct sender sender = {.world = context, .id = ++id};
    char name[32];
    snprintf(name, sizeof name, "<%llu@a>", (unsigned long long)id);
    struct store_claim claim = names_plain(name);
    if (!leave_half(&sender, claim))
        return;
    struct names_claimed found = names_claim(sender.world, claim);
    assert_true(found.result == RESULT_OK || oom_has_failed());
    if (found.result == RESULT_OK || found.result == RESULT_NOT_FOUND) /* what was lost of it is sent again */
        end_half(&sender, claim, &found);
    bool is_accepted = sender.is_replied && smtp_reply_is_positive(&sender.reply);
    assert_true(is_accepted || oom_has_failed());
    assert_int_equal(sender.nqueued, is_accepted);
    assert_int_equal(is_in_store(&sender), is_accepted);
    oom_suspend();
    struct names_claimed after = names_claim(sender.world, claim);
    assert_int_equal(after.result == RESULT_OK && after.reply[0], is_accepted);
    struct slice body = is_accepted ? world_body(sender.world, id) : (struct slice){0};
    assert_true(!is_accepted || body.len > HEADER_CAME + BODY);
    free((void *)(uintptr_t)body.ptr);
    oom_resume();
}

/* ---- recording ---- */

struct record {
    struct world *world;
    uint64_t report;
    unsigned nends, nreports;
    struct attempt_end end;
    bool is_ended;
};

static uint64_t next_id(void *context)
{
    static uint64_t id = 1000000;
    (void)context;
    return ++id;
}

static void on_report(void *context, const struct intake_queued *queued)
{
    struct record *record = context;
    record->nreports++;
    record->report = queued->message->id;
}

static void on_recorded(void *context, const struct attempt_end *end)
{
    struct record *record = context;
    record->nends++;
    record->end = *end;
    record->is_ended = true;
}

static void record_once(void *context)
{
    static uint64_t id = 500000;
    struct record record = {.world = context};
    struct attempt_office office = {.loop = &record.world->loop, .store = record.world->client, .log = &record.world->log, .lifetime_ms = 1000,
                                    .accepted_state = STORE_DELIVERED, .reporting_name = SLICE("relay.example"), .next_id = next_id, .on_queued = on_report,
                                    .context = &record};
    struct store_job *job;
    assert_int_equal(schedule_parse(SLICE("1h"), &office.schedule), RESULT_OK);
    oom_suspend();
    assert_int_equal(world_put(record.world, ++id, SLICE("Subject: x\r\n\r\nx\r\n"), 2, 0), RESULT_OK);
    assert_int_equal(world_load(record.world, id, (struct slice){0}, &job), RESULT_OK);
    oom_resume();
    const struct courier_result results[] = {{.seq = job->recipients[0].seq, .result = ATTEMPT_ACCEPTED, .reply = SLICE("250 2.0.0 ok"), .is_local = false},
                                             {.seq = job->recipients[1].seq, .result = ATTEMPT_REFUSED, .reply = SLICE("550 5.1.1 no"), .is_local = false}};
    attempt_record(&office, job, (struct slice){0}, results, SLICE("mx"), false, on_recorded, &record);
    attempt_stop(&office); /* no retries: each run ends by itself */
    if (!record.is_ended)
        world_wait(record.world, &record.is_ended);
    oom_suspend();
    const char *state = world_state(record.world, id);
    bool is_recorded = record.end.result == RESULT_OK;
    assert_int_equal(record.nends, 1);
    assert_true(is_recorded || (oom_has_failed() && record.end.result == RESULT_CANCELLED));
    assert_string_equal(state, is_recorded ? "bounced" : "queued");
    assert_true(record.nreports == is_recorded || (oom_has_failed() && record.nreports == 0)); /* a report that cannot be made costs the record nothing */
    assert_true(record.nreports == 0 || strcmp(world_state(record.world, record.report), "queued") == 0);
    store_job_free(&job);
    uv_run(&record.world->loop, UV_RUN_DEFAULT);
    oom_resume();
}

static void a_250_is_in_the_store_whatever_fails(void **state)
{
    struct world world;
    (void)state;
    world_make(&world);
    assert_int_equal(world_open(&world), RESULT_OK);
    assert_in_range(oom_loop(2000, run, &world), 10, 1000);
    world_end(&world);
}

static void two_halves_are_one_message_whatever_fails(void **state)
{
    struct world world;
    (void)state;
    world_make(&world);
    assert_int_equal(world_open(&world), RESULT_OK);
    world_add_account(&world, "bob");
    assert_in_range(oom_loop(2000, run_named, &world), 20, 1000);
    world_end(&world);
}

static void an_attempt_is_recorded_or_was_not(void **state)
{
    struct world world;
    (void)state;
    assert_int_equal(crypto_init(), RESULT_OK);
    world_make(&world);
    assert_int_equal(world_open(&world), RESULT_OK);
    assert_in_range(oom_loop(2000, record_once, &world), 10, 1000);
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_250_is_in_the_store_whatever_fails),
        cmocka_unit_test(two_halves_are_one_message_whatever_fails),
        cmocka_unit_test(an_attempt_is_recorded_or_was_not),
    };
    return cmocka_run_group_tests_name("mta without memory", tests, NULL, NULL);
}
