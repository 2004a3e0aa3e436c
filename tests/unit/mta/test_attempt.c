/* What follows an attempt, on a real store: outcomes, reports, and a store that fails. */
#include "support/fault_vfs.h"
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

enum { MESSAGE = 77, MINUTE_MS = 60 * 1000 };
static const char BODY[] = "Subject: a secret\r\n\r\nthe body itself\r\n";

struct scene {
    struct world world;
    struct attempt_office office;
    struct store_job *job;
    struct courier_result results[4];
    struct attempt_end end;
    unsigned nends, nqueued;
    uint64_t next_id, report;
    bool is_ended;
};

static uint64_t next_id(void *context)
{
    return ++((struct scene *)context)->next_id;
}

static void on_queued(void *context, const struct intake_queued *queued)
{
    struct scene *s = context;
    assert_int_equal(s->nends, 0); /* before the message itself is given back */
    s->nqueued++;
    s->report = queued->message->id;
    assert_true(queued->message->is_dsn);
    assert_int_equal(queued->message->envelope.nrcpt, 1);
    assert_int_equal(queued->message->envelope.sender.len, 0);
}

static void on_recorded(void *context, const struct attempt_end *end)
{
    struct scene *s = context;
    assert_int_equal(s->nends, 0);
    s->nends++;
    s->end = *end;
    s->is_ended = true;
    assert_int_equal(end->message, MESSAGE);
}

static void set_up(struct scene *s)
{
    *s = (struct scene){.next_id = 1000};
    world_make(&s->world);
}

static void open_office(struct scene *s, size_t nrcpt)
{
    assert_int_equal(crypto_init(), RESULT_OK);
    assert_int_equal(world_open(&s->world), RESULT_OK);
    s->office = (struct attempt_office){
        .loop = &s->world.loop,
        .store = s->world.client,
        .log = &s->world.log,
        .lifetime_ms = 1000 * MINUTE_MS,
        .accepted_state = STORE_DELIVERED,
        .reporting_name = SLICE("relay.example"),
        .next_id = next_id,
        .on_queued = on_queued,
        .context = s,
    };
    assert_int_equal(schedule_parse(SLICE("10m"), &s->office.schedule), RESULT_OK);
    assert_int_equal(world_put(&s->world, MESSAGE, slice_from_cstr(BODY), nrcpt, 0), RESULT_OK);
    assert_int_equal(world_load(&s->world, MESSAGE, (struct slice){0}, &s->job), RESULT_OK);
    s->job->message.received_at_ms = wall_now_ms() - MINUTE_MS;
    s->job->message.expires_at_ms = wall_now_ms() + 1000 * MINUTE_MS;
    s->job->message.header_octets = 21;
}

static void open_scene(struct scene *s, size_t nrcpt)
{
    set_up(s);
    open_office(s, nrcpt);
}

static void result(struct scene *s, size_t i, enum attempt_result result, const char *reply, bool is_local)
{
    s->results[i] = (struct courier_result){.seq = s->job->recipients[i].seq, .result = result, .reply = slice_from_cstr(reply), .is_local = is_local};
}

static void record_at(struct scene *s, struct slice host, bool next_hop_tells)
{
    attempt_record(&s->office, s->job, (struct slice){0}, s->results, host, next_hop_tells, on_recorded, s);
    assert_int_equal(s->nends, 0); /* never from inside the call */
    store_job_free(&s->job);       /* copied from, not kept */
    world_wait(&s->world, &s->is_ended);
}

static void record(struct scene *s, bool next_hop_tells)
{
    record_at(s, SLICE("mx.dest.example [192.0.2.9]:25"), next_hop_tells);
}

static void close_scene(struct scene *s)
{
    store_job_free(&s->job);
    uv_run(&s->world.loop, UV_RUN_DEFAULT);
    assert_true(list_is_empty(&s->office.pending));
    world_end(&s->world);
}

/* The report's text; free it. */
static char *report_text(struct scene *s)
{
    struct slice body = world_body(&s->world, s->report);
    char *text = malloc(body.len + 1);
    assert_non_null(text);
    slice_to_cstr(body, text, body.len + 1);
    free((void *)(uintptr_t)body.ptr);
    return text;
}

/* ---- outcomes ---- */

static void accepted_by_all_is_done(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2);
    result(&s, 0, ATTEMPT_ACCEPTED, "250 2.0.0 ok", false);
    result(&s, 1, ATTEMPT_ACCEPTED, "250 2.0.0 ok", false);
    record(&s, false);
    assert_int_equal(s.end.result, RESULT_OK);
    assert_false(s.end.needs_more);
    assert_string_equal(world_state(&s.world, MESSAGE), "delivered");
    assert_int_equal(s.nqueued, 0);
    close_scene(&s);
}

static void one_of_each(void **state)
{
    struct scene s;
    struct store_job *rest;
    int64_t before_ms = wall_now_ms();
    (void)state;
    open_scene(&s, 4);
    result(&s, 0, ATTEMPT_ACCEPTED, "250 2.0.0 ok", false);
    result(&s, 1, ATTEMPT_REFUSED, "550 5.1.1 no such user", false);
    result(&s, 2, ATTEMPT_DEFERRED, "451 4.2.1 busy", false);
    result(&s, 3, ATTEMPT_UNTRIED, "452 4.5.3 too many", true);
    record(&s, false);
    assert_true(s.end.needs_more);
    /* Due again for the one that was not tried: now. */
    assert_in_range(s.end.next_attempt_ms, before_ms, wall_now_ms());
    assert_int_equal(world_load(&s.world, MESSAGE, (struct slice){0}, &rest), RESULT_OK);
    assert_int_equal(rest->nrecipients, 2);
    assert_int_equal(rest->recipients[0].seq, 2);
    assert_true(slice_equal(rest->recipients[0].reply, SLICE("451 4.2.1 busy")));
    assert_true(slice_equal(rest->recipients[0].host, SLICE("mx.dest.example [192.0.2.9]:25")));
    assert_in_range(rest->recipients[0].next_attempt_ms, before_ms + 9 * MINUTE_MS, wall_now_ms() + 11 * MINUTE_MS);
    assert_int_equal(rest->recipients[1].seq, 3);
    assert_int_equal(rest->recipients[1].host.len, 0);
    store_job_free(&rest);
    close_scene(&s);
}

static void a_refusal_is_reported_with_headers_only(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2);
    result(&s, 0, ATTEMPT_ACCEPTED, "250 2.0.0 ok", false);
    result(&s, 1, ATTEMPT_REFUSED, "550 5.1.1 no such user", false);
    record(&s, false);
    assert_int_equal(s.nqueued, 1);
    assert_string_equal(world_state(&s.world, s.report), "queued");
    char *text = report_text(&s);
    assert_non_null(strstr(text, "To: <alice@example.org>\r\n"));
    assert_non_null(strstr(text, "MAILER-DAEMON@relay.example"));
    assert_non_null(strstr(text, "Final-Recipient: rfc822; r1@hop0.example\r\n"));
    assert_null(strstr(text, "Final-Recipient: rfc822; r0@hop0.example\r\n"));
    assert_non_null(strstr(text, "Original-Envelope-Id: QQ314159\r\n"));
    assert_non_null(strstr(text, "Status: 5.1.1\r\n"));
    assert_non_null(strstr(text, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"));
    assert_non_null(strstr(text, "Subject: a secret\r\n"));
    assert_null(strstr(text, "the body itself"));
    free(text);
    close_scene(&s);
}

static void what_no_server_said_is_not_told_as_its_words(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 1);
    result(&s, 0, ATTEMPT_REFUSED, "552 5.3.4 too large", true);
    record(&s, false);
    char *text = report_text(&s);
    assert_non_null(strstr(text, "    Reason:\r\n      552 5.3.4 too large\r\n"));
    assert_null(strstr(text, "smtp;"));
    free(text);
    close_scene(&s);
}

static void a_report_may_bring_the_whole_message(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 1);
    s.job->message.envelope.ret = DSN_RET_FULL;
    s.office.report_from_sender = true;
    result(&s, 0, ATTEMPT_REFUSED, "554 5.7.1 no", false);
    record(&s, false);
    char *text = report_text(&s);
    assert_non_null(strstr(text, "the body itself"));
    assert_non_null(strstr(text, "<alice@example.org>\r\nTo: <alice@example.org>\r\n"));
    assert_null(strstr(text, "MAILER-DAEMON"));
    free(text);
    close_scene(&s);
}

static unsigned nreports(enum attempt_result how, bool is_dsn, bool has_sender, unsigned notify, bool next_hop_tells)
{
    struct scene s;
    open_scene(&s, 1);
    s.job->message.is_dsn = is_dsn;
    if (!has_sender)
        s.job->message.envelope.sender = (struct slice){0};
    s.job->recipients[0].envelope.notify = s.job->message.envelope.recipients[0].notify = notify;
    result(&s, 0, how, how == ATTEMPT_ACCEPTED ? "250 2.0.0 ok" : "550 5.1.1 no", false);
    record(&s, next_hop_tells);
    unsigned n = s.nqueued;
    close_scene(&s);
    return n;
}

static void who_is_told_and_who_is_not(void **state)
{
    (void)state;
    assert_int_equal(nreports(ATTEMPT_REFUSED, false, true, 0, false), 1);
    assert_int_equal(nreports(ATTEMPT_REFUSED, true, true, 0, false), 0);  /* invariant 3 */
    assert_int_equal(nreports(ATTEMPT_REFUSED, false, false, 0, false), 0);
    assert_int_equal(nreports(ATTEMPT_REFUSED, false, true, DSN_NOTIFY_NEVER, false), 0);
    assert_int_equal(nreports(ATTEMPT_ACCEPTED, false, true, 0, false), 0);
    assert_int_equal(nreports(ATTEMPT_ACCEPTED, false, true, DSN_NOTIFY_SUCCESS, false), 1);
    assert_int_equal(nreports(ATTEMPT_ACCEPTED, false, true, DSN_NOTIFY_SUCCESS, true), 0);
}

static void a_lifetime_that_is_over_is_a_failure_whatever_the_attempt(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2);
    s.job->message.expires_at_ms = wall_now_ms() - 1;
    attempt_record_all(&s.office, s.job, (struct slice){0}, ATTEMPT_UNTRIED, SLICE("no way is open"), (struct slice){0}, on_recorded, &s);
    store_job_free(&s.job);
    world_wait(&s.world, &s.is_ended);
    assert_false(s.end.needs_more);
    assert_string_equal(world_state(&s.world, MESSAGE), "bounced");
    char *text = report_text(&s);
    assert_non_null(strstr(text, "Status: 5.4.7\r\n"));
    assert_non_null(strstr(text, "no way is open"));
    free(text);
    close_scene(&s);
}

/* A run of the program gives it some time, however long it lay; but by no more than its lifetime is it older than it may become. */
static void the_grace_of_a_run_has_an_end(void **state)
{
    static const struct { int64_t lived, over; bool is_young; } rows[] = {{10, 1, true}, {10, 9, true}, {10, 11, false}, {10, 1000, false}, {1000, 70, true}, {1000, 1001, false}};
    struct attempt_office office = {.started_at_boot_ms = boot_now_ms()};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t end_ms = wall_now_ms() - rows[i].over * MINUTE_MS;
        struct store_message message = {.received_at_ms = end_ms - rows[i].lived * MINUTE_MS, .expires_at_ms = end_ms};
        if (attempt_is_young(&office, &message) != rows[i].is_young)
            fail_msg("row %zu", i);
        office.started_at_boot_ms = boot_now_ms() - 2 * ATTEMPT_GRACE_MS;
        assert_false(attempt_is_young(&office, &message)); /* this run has given it enough */
        office.started_at_boot_ms = boot_now_ms();
    }
}

static void world_state_is(struct scene *s, const char *state)
{
    if (!state)
        return;
    assert_int_equal(world_remove(&s->world, MESSAGE + 1), RESULT_NOT_FOUND); /* behind whatever the store was still told to write */
    assert_string_equal(world_state(&s->world, MESSAGE), state);
}

static void lose_connection(bool is_uncertain, bool is_named)
{
    for (int forgives = 0; forgives < 2; forgives++) {
        struct scene s;
        open_scene(&s, 1);
        s.office.forgives_lost_connections = forgives;
        result(&s, 0, is_uncertain ? ATTEMPT_UNCERTAIN : ATTEMPT_DEFERRED, "the connection was closed", true);
        s.results[0].is_named = is_named;
        record(&s, false);
        assert_true(s.end.needs_more);
        int64_t delay_ms = s.end.next_attempt_ms - wall_now_ms();
        assert_true(forgives && (is_named || !is_uncertain) ? delay_ms <= 0 : delay_ms > 8 * MINUTE_MS);
        assert_string_equal(world_state(&s.world, MESSAGE), is_uncertain ? "uncertain" : forgives ? "queued" : "deferred");
        close_scene(&s);
    }
}

static void a_lost_connection_delays_mail_only_where_it_is_not_forgiven(void **state)
{
    (void)state;
    lose_connection(false, false);
    lose_connection(false, true);
    lose_connection(true, true);
    lose_connection(true, false); /* nobody would know it again: it is not forgiven */
}

/* Ever so many times at once, but not for ever; and what is no lost connection is not forgiven as one. */
static void what_a_line_is_not_to_blame_for_waits(void **state)
{
    static const struct { enum attempt_result result; enum courier_trouble trouble; uint32_t nfutile; int64_t least_ms, most_ms; bool is_damaged; } rows[] = {
        {ATTEMPT_DEFERRED, COURIER_LOST, COURIER_FUTILE_MAX - 1, -60000, 0, false},
        {ATTEMPT_DEFERRED, COURIER_LOST, COURIER_FUTILE_MAX, 8 * MINUTE_MS, 12 * MINUTE_MS, false},
        {ATTEMPT_UNCERTAIN, COURIER_LOST, COURIER_FUTILE_MAX - 1, -60000, 0, false},
        {ATTEMPT_UNCERTAIN, COURIER_LOST, COURIER_FUTILE_MAX, 8 * MINUTE_MS, 12 * MINUTE_MS, false},
        {ATTEMPT_DEFERRED, COURIER_PROTOCOL, 0, 8 * MINUTE_MS, 12 * MINUTE_MS, false},
        {ATTEMPT_DEFERRED, COURIER_UNREAD, 0, 1, ATTEMPT_RETRY_MS, false},
        {ATTEMPT_DEFERRED, COURIER_UNREAD, COURIER_FUTILE_MAX, 8 * MINUTE_MS, 12 * MINUTE_MS, false},
        {ATTEMPT_DEFERRED, COURIER_DAMAGED, 0, 8 * MINUTE_MS, 12 * MINUTE_MS, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        open_scene(&s, 1);
        s.office.forgives_lost_connections = true;
        result(&s, 0, rows[i].result, "451 4.3.0 words", true);
        s.results[0].trouble = rows[i].trouble;
        s.results[0].nfutile = rows[i].nfutile;
        s.results[0].is_named = true;
        int64_t before_ms = wall_now_ms();
        record(&s, false);
        assert_true(s.end.needs_more && s.end.is_damaged == rows[i].is_damaged);
        assert_true(s.end.next_attempt_ms - before_ms >= rows[i].least_ms && s.end.next_attempt_ms - wall_now_ms() <= rows[i].most_ms);
        world_state_is(&s, rows[i].is_damaged ? "held" : rows[i].result == ATTEMPT_UNCERTAIN ? "uncertain" : NULL);
        close_scene(&s);
    }
}

/* A next hop that knows no names: each attempt may be one copy more, so they follow each other as if it had said 451 each time (RFC 1047). */
static void what_may_be_doubled_waits_from_the_first_time_on(void **state)
{
    static const struct { uint32_t attempts, nfutile; int64_t least_ms, most_ms; } rows[] = {
        {0, 0, 8 * MINUTE_MS, 12 * MINUTE_MS},
        {0, 1, 8 * MINUTE_MS, 12 * MINUTE_MS},
        {1, COURIER_FUTILE_MAX - 1, 45 * MINUTE_MS, 75 * MINUTE_MS},
        {3, COURIER_FUTILE_MAX, 45 * MINUTE_MS, 75 * MINUTE_MS}, /* not as if the waiting began now */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        open_scene(&s, 1);
        assert_int_equal(schedule_parse(SLICE("10m, 1h"), &s.office.schedule), RESULT_OK);
        s.office.forgives_lost_connections = true;
        s.job->recipients[0].attempts = rows[i].attempts;
        result(&s, 0, ATTEMPT_UNCERTAIN, "451 4.3.0 words", true);
        s.results[0].nfutile = rows[i].nfutile;
        int64_t before_ms = wall_now_ms();
        record(&s, false);
        assert_true(s.end.needs_more && s.end.next_attempt_ms - before_ms >= rows[i].least_ms && s.end.next_attempt_ms - wall_now_ms() <= rows[i].most_ms);
        assert_string_equal(world_state(&s.world, MESSAGE), "uncertain");
        close_scene(&s);
    }
}

/* ---- names, and what the relay took ---- */

static struct store_job *load(struct scene *s)
{
    struct store_job *job;
    assert_int_equal(world_load(&s->world, MESSAGE, (struct slice){0}, &job), RESULT_OK);
    return job;
}

/* What died behind the last octet is uncertain until somebody has said something, however many attempts reach nobody. */
static void uncertain_stays_so_until_somebody_is_reached(void **state)
{
    static const struct { enum attempt_result result; bool is_local; const char *then, *host; } rows[] = {
        {ATTEMPT_UNTRIED, true, "uncertain", "mx.dest.example [192.0.2.9]:25"}, {ATTEMPT_DEFERRED, true, "uncertain", "mx.dest.example [192.0.2.9]:25"},
        {ATTEMPT_UNCERTAIN, true, "uncertain", "mx2"}, {ATTEMPT_DEFERRED, false, "deferred", "mx2"}, {ATTEMPT_ACCEPTED, false, "relayed", "mx2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        open_scene(&s, 1);
        s.office.forgives_lost_connections = true;
        s.office.accepted_state = STORE_RELAYED;
        result(&s, 0, ATTEMPT_UNCERTAIN, "the connection was closed", true);
        record(&s, false);
        s.is_ended = false;
        s.nends = 0;
        s.job = load(&s);
        s.job->message.expires_at_ms = wall_now_ms() + 1000 * MINUTE_MS;
        assert_int_equal(s.job->recipients[0].state, STORE_UNCERTAIN);
        assert_true(slice_equal(s.job->recipients[0].host, SLICE("mx.dest.example [192.0.2.9]:25"))); /* who may have it */
        result(&s, 0, rows[i].result, "again", rows[i].is_local);
        record_at(&s, SLICE("mx2"), false);
        assert_string_equal(world_state(&s.world, MESSAGE), rows[i].then);
        if (strcmp(rows[i].then, "relayed") != 0) {
            struct store_job *job = load(&s);
            assert_true(slice_equal(job->recipients[0].host, slice_from_cstr(rows[i].host)));
            store_job_free(&job);
        }
        close_scene(&s);
    }
}

static int64_t ask_in_a_moment(void *context, const struct store_message *message)
{
    (void)context;
    assert_int_equal(message->id, MESSAGE);
    return 4711;
}

/* The time at which the relay is to be asked goes with what it took, and with nothing else. */
static void what_the_relay_took_is_asked_about(void **state)
{
    (void)state;
    for (int is_asked = 0; is_asked < 2; is_asked++)
        for (int is_taken = 0; is_taken < 2; is_taken++) {
            struct scene s;
            open_scene(&s, 2);
            s.office.accepted_state = STORE_RELAYED;
            s.office.ask_at_ms = is_asked ? ask_in_a_moment : NULL;
            result(&s, 0, is_taken ? ATTEMPT_ACCEPTED : ATTEMPT_DEFERRED, "250 2.0.0 ok", false);
            result(&s, 1, ATTEMPT_DEFERRED, "451 4.2.1 busy", false);
            record(&s, true);
            assert_int_equal(s.end.ask_at_ms, is_asked && is_taken ? 4711 : 0);
            assert_true(s.end.next_attempt_ms > wall_now_ms());
            close_scene(&s);
        }
}

/* Those of a later transaction are due at once, but only when those of this one are done with: the store would give these first, again and again. */
static void a_later_transaction_follows_at_once(void **state)
{
    static const struct { enum attempt_result result; bool needs_new_name, is_at_once; } rows[] = {
        {ATTEMPT_ACCEPTED, false, true}, {ATTEMPT_REFUSED, false, true}, {ATTEMPT_DEFERRED, true, true}, {ATTEMPT_DEFERRED, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        open_scene(&s, 1);
        s.job->nlater = 3;
        result(&s, 0, rows[i].result, "451 4.2.1 busy", false);
        s.results[0].needs_new_name = rows[i].needs_new_name;
        record(&s, true);
        assert_true(s.end.needs_more);
        assert_int_equal(s.end.next_attempt_ms <= wall_now_ms(), rows[i].is_at_once);
        close_scene(&s);
    }
}

static void what_a_person_removed_meanwhile_is_done(void **state)
{
    static const struct { enum attempt_result result; const char *reply; enum courier_trouble trouble; } rows[] = {
        {ATTEMPT_ACCEPTED, "250 2.0.0 ok", COURIER_LOST}, {ATTEMPT_REFUSED, "550 5.1.1 no", COURIER_LOST}, {ATTEMPT_DEFERRED, "451 4.3.0 words", COURIER_DAMAGED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct scene s;
        open_scene(&s, 1);
        s.office.accepted_state = STORE_RELAYED;
        s.office.ask_at_ms = ask_in_a_moment;
        assert_int_equal(world_remove(&s.world, MESSAGE), RESULT_OK);
        result(&s, 0, rows[i].result, rows[i].reply, false);
        s.results[0].trouble = rows[i].trouble;
        record(&s, false);
        assert_int_equal(s.end.result, RESULT_OK);
        assert_false(s.end.is_damaged); /* nothing is left that could be held */
        assert_string_equal(world_state(&s.world, MESSAGE), "none");
        assert_int_equal(s.end.ask_at_ms, 0); /* nobody takes into custody what is not there */
        assert_int_equal(s.nqueued, 0);       /* nor is a report queued that was not written */
        close_scene(&s);
    }
}

/* ---- a store that fails ---- */

static void begin_with_a_broken_disk(struct scene *s)
{
    set_up(s);
    fault_vfs_register();
    s->world.config.vfs = "fault";
    open_office(s, 1);
    result(s, 0, ATTEMPT_REFUSED, "550 5.1.1 no", false);
    fault_vfs_arm(FAULT_SYNC, 1, true);
    attempt_record(&s->office, s->job, (struct slice){0}, s->results, SLICE("mx"), false, on_recorded, s);
    store_job_free(&s->job);
}

static bool is_waiting_to_retry(struct scene *s)
{
    struct store_counts counts;
    return fault_vfs_has_fired() && world_count(&s->world, &counts) == RESULT_OK;
}

static void an_outcome_is_recorded_as_soon_as_the_store_can(void **state)
{
    struct scene s;
    (void)state;
    begin_with_a_broken_disk(&s);
    while (!is_waiting_to_retry(&s))
        uv_run(&s.world.loop, UV_RUN_ONCE);
    assert_int_equal(s.nends, 0);
    fault_vfs_disarm();
    world_wait(&s.world, &s.is_ended);
    assert_int_equal(s.end.result, RESULT_OK);
    assert_false(s.end.needs_more);
    assert_string_equal(world_state(&s.world, MESSAGE), "bounced");
    assert_int_equal(s.nqueued, 1);
    close_scene(&s);
}

/* Stopped while the store writes, and while the next try is waited for. */
static void a_stop_ends_the_retries(void **state)
{
    (void)state;
    for (int is_early = 0; is_early < 2; is_early++) {
        struct scene s;
        begin_with_a_broken_disk(&s);
        while (!is_early && !is_waiting_to_retry(&s))
            uv_run(&s.world.loop, UV_RUN_ONCE);
        attempt_stop(&s.office);
        world_wait(&s.world, &s.is_ended);
        assert_int_equal(s.end.result, RESULT_CANCELLED);
        fault_vfs_disarm();
        /* On the disk it is still to be done. */
        assert_string_equal(world_state(&s.world, MESSAGE), "queued");
        assert_int_equal(s.nqueued, 0);
        close_scene(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_by_all_is_done),
        cmocka_unit_test(one_of_each),
        cmocka_unit_test(a_refusal_is_reported_with_headers_only),
        cmocka_unit_test(what_no_server_said_is_not_told_as_its_words),
        cmocka_unit_test(a_report_may_bring_the_whole_message),
        cmocka_unit_test(who_is_told_and_who_is_not),
        cmocka_unit_test(a_lifetime_that_is_over_is_a_failure_whatever_the_attempt),
        cmocka_unit_test(the_grace_of_a_run_has_an_end),
        cmocka_unit_test(a_lost_connection_delays_mail_only_where_it_is_not_forgiven),
        cmocka_unit_test(what_a_line_is_not_to_blame_for_waits),
        cmocka_unit_test(what_may_be_doubled_waits_from_the_first_time_on),
        cmocka_unit_test(uncertain_stays_so_until_somebody_is_reached),
        cmocka_unit_test(what_the_relay_took_is_asked_about),
        cmocka_unit_test(a_later_transaction_follows_at_once),
        cmocka_unit_test(what_a_person_removed_meanwhile_is_done),
        cmocka_unit_test(an_outcome_is_recorded_as_soon_as_the_store_can),
        cmocka_unit_test(a_stop_ends_the_retries),
    };
    return cmocka_run_group_tests_name("attempt", tests, NULL, NULL);
}
