/* The inquiry in its uplink, between a real store and a relay that answers XOUTCOME as it is told to. */
#include "naming.h"
#include "uplink.h"

#include "schema.h"

#include "support/house.h"
#include "support/store_world.h"

#include "mail/message_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FIRST = 7, QUESTIONS = 64 };
static const char BODY[] = "From: anna@example.org\r\nSubject: x\r\n\r\nwords\r\n";

struct scene {
    struct house house; /* first: the handler's context */
    struct world world;
    struct store_client *client; /* on the house's loop */
    struct settings *settings;
    struct queue *queue;
    struct attempt_office office;
    struct uplink *uplink;
    struct recall recall;
    struct naming naming;
    struct log log;
    char logged[8192];
    const char *const *answers;  /* to one question after another, the last for ever; 421 ends the session */
    char asked[QUESTIONS][NAMING_TEXT];
    uint32_t firsts[QUESTIONS];
    size_t nasked;
    unsigned ntaken;
    bool is_stopped, is_closed, is_counted, is_settled;
    struct store_recipient seen; /* of what was looked at last; slices in seen_text */
    char seen_reply[600], seen_host[300];
    uint64_t next_id;
};

/* ---- the relay ---- */

static bool on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    struct scene *s = context;
    (void)refusal;
    s->house.opened++;
    s->house.newest = session;
    *session_context = s;
    return true;
}

static void say(struct service_session *session, struct smtp_reply reply)
{
    service_answer(session, &reply);
}

/* "550 no" or "250 3 recipients ...": without an enhanced code of its own. */
static void answer(struct scene *s, struct service_session *session, const struct smtp_server_event *event)
{
    const char *text = s->answers[0];
    assert_true(s->nasked < QUESTIONS);
    assert_true(slice_to_cstr(event->data, s->asked[s->nasked], NAMING_TEXT));
    s->firsts[s->nasked++] = event->first;
    if (s->answers[1])
        s->answers++;
    bool is_unknown = strncmp(text, "550", 3) == 0;
    uint64_t code = 0;
    assert_true(slice_to_u64(slice_of(text, 3), 599, &code));
    say(session, (struct smtp_reply){.code = (int)code, .status = {(unsigned short)(text[0] - '0'), is_unknown ? 5 : 0, is_unknown ? 4 : 0}, .text = slice_from_cstr(text + 4)});
}

static void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    struct scene *s = context;
    switch (event->type) {
    case SMTP_SERVER_AUTH:
        if (smtp_server_set_user(service_core(session), SLICE("anna")) == RESULT_OK)
            say(session, SMTP_REPLY(235, 2, 7, 0, "welcome"));
        break;
    case SMTP_SERVER_BODY_END: s->ntaken++; say(session, SMTP_REPLY(250, 2, 0, 0, "taken")); break;
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN: say(session, SMTP_REPLY(250, 2, 0, 0, "yes")); break;
    case SMTP_SERVER_OUTCOME: answer(s, session, event); break;
    default: break;
    }
}

static void on_closed(void *context, struct service_session *session)
{
    (void)session;
    ((struct scene *)context)->house.closed++;
}

/* ---- the agent's side ---- */

static void note(void *context, enum log_level level, struct slice line)
{
    struct scene *s = context;
    size_t len = strlen(s->logged);
    (void)level;
    snprintf(s->logged + len, sizeof s->logged - len, "%.*s\n", SLICE_ARG(slice_trim(line)));
}

static uint64_t next_id(void *context)
{
    return ++((struct scene *)context)->next_id;
}

static void on_queued(void *context, const struct intake_queued *queued)
{
    (void)context, (void)queued;
    fail_msg("a report");
}

static int64_t ask_at_ms(void *context, const struct store_message *message)
{
    (void)message;
    return uplink_ask_at_ms(((struct scene *)context)->uplink);
}

static void load_settings(struct scene *s, const char *more)
{
    struct dirs dirs = {0};
    struct config_error error;
    char text[600];
    snprintf(text, sizeof text, "[relay]\nhost = 127.0.0.1\nuser = anna\npassword_file = /nowhere\nway = %u tls\n%s", net_address_port((const struct net_address *)(const void *)&s->house.address), more);
    if (settings_load_text(&s->settings, &dirs, "agent.conf", slice_from_cstr(text), &error) != RESULT_OK)
        fail_msg("%s", error.text);
}

/* A relay and a store; no agent yet. */
static void open_scene(struct scene *s, const char *const *answers)
{
    *s = (struct scene){.answers = answers, .next_id = 1000};
    assert_int_equal(crypto_init(), RESULT_OK);
    world_make(&s->world);
    s->world.config.schema = schema_agent;
    assert_int_equal(world_open(&s->world), RESULT_OK);
    struct service_config config = house_config(&s->house);
    config.handler = (struct service_handler){s, on_open, on_event, on_closed};
    config.smtp.auth_mechanisms = SASL_PLAIN;
    config.smtp.offers_checkpoint = true;
    config.smtp.outcome = "epoch2 604800";
    house_open(&s->house, SERVICE_TLS, &config);
    assert_int_equal(store_client_open(&s->client, s->world.store, &s->house.net.loop), RESULT_OK);
    s->log = (struct log){.level = LOG_INFO, .sink = note, .context = s};
}

/* Handed over so long ago, to be asked about in so long. */
static void put_relayed(struct scene *s, uint64_t id, int64_t ago_ms, int64_t ask_in_ms, bool keeps)
{
    struct world_done done = {0};
    const struct store_outcome outcome = {.state = STORE_RELAYED, .counts = true, .next_attempt_ms = wall_now_ms() + ask_in_ms, .reply = SLICE("250 taken"), .host = SLICE("a way")};
    assert_int_equal(world_put(&s->world, id, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    store_attempt_finish(s->world.client, id, &outcome, 1, wall_now_ms() - ago_ms, NULL, keeps, world_on_done, &done);
    assert_int_equal(world_wait_done(&s->world, &done), RESULT_OK);
}

static void put_setting(struct scene *s, const char *text)
{
    struct world_done done = {0};
    store_setting_put(s->world.client, SLICE("custody"), slice_from_cstr(text), world_on_done, &done);
    assert_int_equal(world_wait_done(&s->world, &done), RESULT_OK);
}

static void start(struct scene *s)
{
    load_settings(s, "keep_warm = 50ms\n");
    s->queue = queue_new(&(struct queue_limits){.active_per_hop = 1, .active_total = 1});
    assert_non_null(s->queue);
    s->office = (struct attempt_office){.loop = &s->house.net.loop, .store = s->client, .log = &s->world.log, .lifetime_ms = 1000000, .accepted_state = STORE_RELAYED, .ask_at_ms = ask_at_ms,
                                        .keep_copies = true, .reporting_name = SLICE("agent.invalid"), .forgives_lost_connections = true, .next_id = next_id, .on_queued = on_queued, .context = s};
    assert_int_equal(schedule_parse(SLICE("1h"), &s->office.schedule), RESULT_OK);
    s->recall = (struct recall){.memory = memory_new()};
    assert_non_null(s->recall.memory);
    s->uplink = uplink_new(&(struct uplink_config){.loop = &s->house.net.loop, .store = s->client, .settings = s->settings, .tls = house_client_tls(), .naming = &s->naming,
                                                   .password = SLICE("secret"), .queue = s->queue, .office = &s->office, .recall = &s->recall, .log = &s->log});
    assert_non_null(s->uplink);
}

static void on_stopped(void *context)
{
    ((struct scene *)context)->is_stopped = true;
}

static void on_counted(void *context, enum result result, const struct store_counts *counts)
{
    (void)result, (void)counts;
    ((struct scene *)context)->is_counted = true;
}

static void on_client_closed(void *context)
{
    ((struct scene *)context)->is_closed = true;
}

static void stop(struct scene *s)
{
    attempt_stop(&s->office);
    s->is_stopped = false;
    uplink_stop(s->uplink, on_stopped, s);
    NET_UNTIL(&s->house.net, s->is_stopped);
    uplink_free(&s->uplink);
    queue_free(&s->queue);
    recall_close(&s->recall);
    settings_unref(&s->settings);
}

static void close_scene(struct scene *s)
{
    if (s->uplink)
        stop(s);
    store_count(s->client, on_counted, s);
    NET_UNTIL(&s->house.net, s->is_counted);
    store_client_close(s->client, on_client_closed, s);
    NET_UNTIL(&s->house.net, s->is_closed);
    house_close(&s->house); /* proves the loop empty */
    world_end(&s->world);
}

static void on_seen(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct scene *s = context;
    assert_int_equal(result, RESULT_OK);
    if (n > 0) {
        s->seen = rows->recipients[0];
        assert_true(slice_to_cstr(s->seen.reply, s->seen_reply, sizeof s->seen_reply) && slice_to_cstr(s->seen.host, s->seen_host, sizeof s->seen_host));
    }
    s->is_settled = is_last;
}

static const struct store_recipient *look(struct scene *s, uint64_t id)
{
    s->is_settled = false;
    store_message_get(s->world.client, id, on_seen, s);
    world_wait(&s->world, &s->is_settled);
    return &s->seen;
}

static enum uplink_state state_of(const struct scene *s)
{
    struct uplink_status status;
    uplink_status(s->uplink, &status);
    return status.state;
}

static size_t awaited(const struct scene *s)
{
    struct uplink_status status;
    uplink_status(s->uplink, &status);
    return status.nawaited;
}

static bool has_session(const struct scene *s)
{
    struct uplink_status status;
    uplink_status(s->uplink, &status);
    return status.has_way;
}

static bool has_body(struct scene *s, uint64_t id)
{
    struct slice body = world_body(&s->world, id);
    free((void *)(uintptr_t)body.ptr);
    return body.len == sizeof BODY - 1;
}

#define ONE(state, words) "250 1 recipients from 0\n" state " 1795392000 0 r0@hop0.example mx.a.example " words "\nend"

/* ---- tests ---- */

/* Invariant 3: what is final is asked no more, its copy goes, and nothing is left that would wake anybody. */
static void what_is_final_ends_it(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 2.0.0 taken"), NULL};
    struct scene s;
    char name[NAMING_TEXT];
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
    put_relayed(&s, FIRST, 1000, 1, true);
    assert_true(has_body(&s, FIRST));
    start(&s);
    NET_UNTIL(&s.house.net, s.nasked > 0 && awaited(&s) == 0 && state_of(&s) == UPLINK_RESTING);
    naming_format(&s.naming, FIRST, 0, name);
    assert_string_equal(s.asked[0], name);
    assert_int_equal(s.nasked, 1);
    assert_int_equal(s.house.opened, 1);
    look(&s, FIRST);
    assert_int_equal(s.seen.state, STORE_DELIVERED);
    assert_string_equal(s.seen_reply, "250 2.0.0 taken");
    assert_string_equal(s.seen_host, "mx.a.example");
    assert_int_equal(s.seen.at_ms, INT64_C(1795392000000));
    assert_false(has_body(&s, FIRST));
    assert_null(strstr(s.logged, "relay-begun-anew"));
    close_scene(&s);
}

/* Newer words; the time of the hand-over stays, and the copy too. */
static void what_is_not_final_stays(void **state)
{
    static const char *const answers[] = {ONE("queued", "451 4.7.1 greylisted"), NULL};
    struct scene s;
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
    put_relayed(&s, FIRST, 7200 * 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.nasked > 0 && state_of(&s) == UPLINK_RESTING);
    look(&s, FIRST);
    assert_int_equal(s.seen.state, STORE_RELAYED);
    assert_string_equal(s.seen_reply, "the relay tries again: 451 4.7.1 greylisted");
    assert_in_range(s.seen.next_attempt_ms, wall_now_ms() + 3600 * 1000, wall_now_ms() + 6 * 3600 * 1000);
    assert_true(s.seen.at_ms < wall_now_ms() - 7000 * 1000);
    assert_true(has_body(&s, FIRST));
    assert_int_equal(awaited(&s), 1);
    close_scene(&s);
}

static void what_the_relay_has_lost_is_handed_over_again(void **state)
{
    static const char *const answers[] = {"550 unknown", NULL};
    struct scene s;
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch1\n");
    put_relayed(&s, FIRST, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.ntaken == 1 && queue_count(s.queue) == 0);
    assert_non_null(strstr(s.logged, "relay-lost"));
    assert_non_null(strstr(s.logged, "relay-begun-anew"));
    look(&s, FIRST);
    assert_int_equal(s.seen.state, STORE_RELAYED);
    assert_true(s.seen.next_attempt_ms > 0 && has_body(&s, FIRST));
    assert_int_equal(awaited(&s), 1);
    close_scene(&s);
}

/* The one recipient is delivered, the other lost: his copy stays for the hand-over, though copies are not wished for any more. Died between the two writes or not. */
static void what_is_lost_is_kept_until_it_is_queued(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 2.0.0 taken"), "550 unknown", NULL};
    struct world_done done = {0};
    struct scene s;
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
    struct store_outcome outcomes[2] = {{.state = STORE_RELAYED, .counts = true, .next_attempt_ms = 1, .reply = SLICE("250 taken"), .host = SLICE("a way")}};
    outcomes[1] = outcomes[0];
    outcomes[1].seq = outcomes[1].transaction = 1;
    assert_int_equal(world_put(&s.world, FIRST, slice_from_cstr(BODY), 2, 0), RESULT_OK);
    store_attempt_finish(s.world.client, FIRST, outcomes, 2, wall_now_ms() - 1000, NULL, true, world_on_done, &done);
    assert_int_equal(world_wait_done(&s.world, &done), RESULT_OK);
    start(&s);
    s.office.keep_copies = false;
    NET_UNTIL(&s.house.net, s.nasked == 2 && (s.ntaken == 1 || strstr(s.logged, "relay-lost")));
    NET_UNTIL(&s.house.net, s.ntaken == 1 && queue_count(s.queue) == 0);
    assert_null(strstr(s.logged, "no copy here"));
    close_scene(&s);
}

static int64_t received_long_ago(void *context, int64_t at_ms)
{
    (void)context;
    return at_ms < wall_now_ms() / 2 ? wall_now_ms() : 0;
}

/* A relay that says 250, and 550 when it is asked: it gets the message once more at once, then after the schedule's time, and no more when the message's lifetime is over. */
static void what_is_lost_again_and_again_does_not_go_round(void **state)
{
    static const char *const answers[] = {"550 unknown", NULL};
    (void)state;
    for (int is_expired = 0; is_expired < 2; is_expired++) {
        struct world_done done = {0};
        struct scene s;
        open_scene(&s, answers);
        put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
        const struct store_outcome refused = {.state = STORE_QUEUED, .counts = true, .next_attempt_ms = 1, .reply = SLICE("451 not now"), .host = SLICE("a way")};
        const struct store_outcome taken = {.state = STORE_RELAYED, .counts = true, .next_attempt_ms = 1, .reply = SLICE("250 taken"), .host = SLICE("a way")};
        assert_int_equal(world_put(&s.world, FIRST, slice_from_cstr(BODY), 1, 0), RESULT_OK);
        store_attempt_finish(s.world.client, FIRST, &refused, 1, wall_now_ms() - 2000, NULL, true, world_on_done, &done);
        assert_int_equal(world_wait_done(&s.world, &done), RESULT_OK);
        done = (struct world_done){0};
        store_attempt_finish(s.world.client, FIRST, &taken, 1, wall_now_ms() - 1000, NULL, true, world_on_done, &done);
        assert_int_equal(world_wait_done(&s.world, &done), RESULT_OK);
        start(&s);
        if (!is_expired)
            s.office.wall_lead_ms = received_long_ago;
        NET_UNTIL(&s.house.net, s.nasked == 1 && awaited(&s) == 0 && !has_session(&s));
        look(&s, FIRST);
        assert_int_equal(s.seen.state, is_expired ? STORE_RELAYED : STORE_QUEUED);
        assert_int_equal(queue_count(s.queue), is_expired ? 0 : 1);
        if (is_expired)
            assert_int_equal(s.seen.next_attempt_ms, 0);
        else
            assert_in_range(s.seen.next_attempt_ms, wall_now_ms() + 50 * 60 * 1000, wall_now_ms() + 66 * 60 * 1000);
        if (is_expired)
            assert_non_null(strstr(s.seen_reply, "again and again: given up"));
        else
            assert_in_range(queue_deadline_ms(s.queue), loop_now_ms(&s.house.net.loop) + 50 * 60 * 1000, loop_now_ms(&s.house.net.loop) + 66 * 60 * 1000);
        assert_int_equal(s.ntaken, 0);
        close_scene(&s);
    }
}

/* No copy, or the promise is over, or nobody can tell when it was: it stays where it is. */
static void what_cannot_be_refilled_is_asked_no_more(void **state)
{
    static const int64_t ago_ms[] = {1000, INT64_C(604800000), -INT64_C(3650) * 86400000};
    static const char *const answers[] = {"550 unknown", NULL};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct scene s;
        open_scene(&s, answers);
        put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
        put_relayed(&s, FIRST, ago_ms[i], 1, i > 0);
        assert_int_equal(has_body(&s, FIRST), i > 0);
        start(&s);
        NET_UNTIL(&s.house.net, s.nasked > 0 && awaited(&s) == 0 && state_of(&s) == UPLINK_RESTING);
        look(&s, FIRST);
        assert_int_equal(s.seen.state, STORE_RELAYED);
        assert_int_equal(s.seen.next_attempt_ms, 0);
        assert_string_equal(s.seen_reply, "the relay knows nothing of it any more");
        assert_int_equal(s.ntaken, 0);
        assert_false(has_body(&s, FIRST));
        close_scene(&s);
    }
}

/* Another relay, another account, or nobody knows whose: not one question, and words that say who has it. */
static void another_relay_is_not_asked_about_it(void **state)
{
    static const char *const settings[] = {"1\nold.example\nanna\nepoch1\n", "1\n127.0.0.1\nberta\nepoch2\n", "rubbish", NULL};
    static const char *const words[] = {"old.example has it, as anna's", "127.0.0.1 has it, as berta's", "an earlier relay has it", "an earlier relay has it"};
    static const char *const answers[] = {"550 unknown", NULL};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct scene s;
        open_scene(&s, answers);
        if (settings[i])
            put_setting(&s, settings[i]);
        for (uint64_t id = FIRST; id < FIRST + 250; id++) /* some pages */
            put_relayed(&s, id, 1000, 1, true);
        start(&s);
        assert_int_equal(world_put(&s.world, 5000, slice_from_cstr(BODY), 1, 0), RESULT_OK);
        assert_int_equal(queue_add(s.queue, 5000, (struct slice){0}, 0), RESULT_OK);
        uplink_wake(s.uplink, false);
        NET_UNTIL(&s.house.net, s.ntaken == 1 && awaited(&s) == 1);
        assert_non_null(strstr(s.logged, "relay-bound"));
        for (uint64_t id = FIRST; id < FIRST + 250; id += 83) {
            look(&s, id);
            assert_int_equal(s.seen.state, STORE_RELAYED);
            assert_int_equal(s.seen.next_attempt_ms, 0);
            assert_non_null(strstr(s.seen_reply, words[i]));
            assert_false(has_body(&s, id));
        }
        assert_int_equal(s.nasked, 0);
        /* The next start finds it bound. */
        stop(&s);
        s.logged[0] = '\0';
        s.answers = (const char *const[]){ONE("delivered", "250 ok"), NULL};
        start(&s);
        NET_UNTIL(&s.house.net, s.nasked == 1 && awaited(&s) == 0);
        assert_null(strstr(s.logged, "relay-bound"));
        close_scene(&s);
    }
}

/* A flight has its most; a message whose answer comes in pieces is in the next one again. */
static void many_are_asked_in_flights(void **state)
{
    static const char *const answers[] = {"250 2 recipients from 0\nqueued 0 0 zoe@a.example - \nmore 1", ONE("delivered", "250 ok"), NULL};
    enum { MANY = 40 };
    struct scene s;
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
    for (uint64_t id = FIRST; id < FIRST + MANY; id++)
        put_relayed(&s, id, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, awaited(&s) == 0 && s.nasked > 0);
    assert_int_equal(s.nasked, MANY + 1);
    assert_int_equal(s.firsts[SMTP_OUTCOMES_MAX], 1);
    assert_string_equal(s.asked[SMTP_OUTCOMES_MAX], s.asked[0]);
    assert_int_equal(s.house.opened, 1);
    close_scene(&s);
}

static void a_relay_that_cannot_say_is_asked_later(void **state)
{
    static const char *const refusals[][2] = {{"451 not now", NULL}, {"502 what", NULL}, {"250 rubbish", NULL}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct scene s;
        open_scene(&s, refusals[i]);
        put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
        put_relayed(&s, FIRST, 1000, 1, true);
        start(&s);
        NET_UNTIL(&s.house.net, s.nasked > 0 && state_of(&s) == UPLINK_RESTING);
        assert_int_equal(s.nasked, 1);
        assert_int_equal(awaited(&s), 1);
        look(&s, FIRST);
        assert_string_equal(s.seen_reply, "250 taken");
        assert_true(has_body(&s, FIRST));
        close_scene(&s);
    }
}

/* The line dies under the question, and again; what was asked is asked in the next session. */
static void a_session_that_dies_takes_no_answer_along(void **state)
{
    static const char *const answers[] = {"421 the line dies", ONE("delivered", "250 ok"), NULL};
    struct scene s;
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
    for (uint64_t id = FIRST; id < FIRST + 3; id++)
        put_relayed(&s, id, 1000, 1, true);
    start(&s);
    NET_UNTIL(&s.house.net, s.house.closed == 1 && !has_session(&s));
    assert_int_equal(awaited(&s), 3);
    assert_int_equal(world_put(&s.world, 5000, slice_from_cstr(BODY), 1, 0), RESULT_OK);
    assert_int_equal(queue_add(s.queue, 5000, (struct slice){0}, 0), RESULT_OK);
    uplink_wake(s.uplink, true);
    NET_UNTIL(&s.house.net, s.ntaken == 1 && awaited(&s) == 1);
    for (uint64_t id = FIRST; id < FIRST + 3; id++)
        assert_int_equal(look(&s, id)->state, STORE_DELIVERED);
    close_scene(&s);
}

/* Long before its time: a way is looked for, and the relay asked. With nothing awaited there is nothing to look for. */
static void a_person_who_asks_is_told_now(void **state)
{
    static const char *const answers[] = {ONE("delivered", "250 ok"), NULL};
    struct scene s;
    (void)state;
    open_scene(&s, answers);
    put_setting(&s, "1\n127.0.0.1\nanna\nepoch2\n");
    put_relayed(&s, FIRST, 1000, 3600 * 1000, true);
    start(&s);
    NET_UNTIL(&s.house.net, awaited(&s) == 1 && state_of(&s) == UPLINK_RESTING);
    assert_in_range(uplink_question_at_ms(s.uplink, FIRST), wall_now_ms() + 3500 * 1000, wall_now_ms() + 3600 * 1000);
    assert_int_equal(uplink_question_at_ms(s.uplink, FIRST + 1), 0);
    uplink_flush(s.uplink);
    NET_UNTIL(&s.house.net, awaited(&s) == 0 && !has_session(&s));
    assert_int_equal(s.nasked, 1);
    assert_int_equal(look(&s, FIRST)->state, STORE_DELIVERED);
    uplink_flush(s.uplink);
    assert_int_equal(state_of(&s), UPLINK_RESTING);
    close_scene(&s);
}

/* At whatever moment: nothing is leaked, nothing hangs. */
static void its_end_may_come_at_any_time(void **state)
{
    static const char *const answers[] = {"550 unknown", ONE("delivered", "250 ok"), NULL};
    (void)state;
    for (unsigned turns = 0; turns < 60; turns++) {
        struct scene s;
        open_scene(&s, answers);
        put_setting(&s, turns % 2 ? "1\n127.0.0.1\nanna\nepoch1\n" : "1\nold.example\nanna\nepoch1\n");
        put_relayed(&s, FIRST, 1000, 1, true);
        put_relayed(&s, FIRST + 1, 1000, 1, true);
        start(&s);
        for (unsigned i = 0; i < turns; i++)
            uv_run(&s.house.net.loop, UV_RUN_NOWAIT);
        close_scene(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_final_ends_it),
        cmocka_unit_test(what_is_not_final_stays),
        cmocka_unit_test(what_the_relay_has_lost_is_handed_over_again),
        cmocka_unit_test(what_is_lost_is_kept_until_it_is_queued),
        cmocka_unit_test(what_is_lost_again_and_again_does_not_go_round),
        cmocka_unit_test(what_cannot_be_refilled_is_asked_no_more),
        cmocka_unit_test(another_relay_is_not_asked_about_it),
        cmocka_unit_test(many_are_asked_in_flights),
        cmocka_unit_test(a_relay_that_cannot_say_is_asked_later),
        cmocka_unit_test(a_session_that_dies_takes_no_answer_along),
        cmocka_unit_test(its_end_may_come_at_any_time),
        cmocka_unit_test(a_person_who_asks_is_told_now),
    };
    return cmocka_run_group_tests_name("inquiry", tests, house_make_identity, house_drop_identity);
}
