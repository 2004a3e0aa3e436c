/* The inquiry in its uplink, between a real store and a relay that answers XOUTCOME as it is told to: for tests of the agent. */
#ifndef POSTERN_TESTS_UNIT_AGENT_INQUIRY_SCENE_H
#define POSTERN_TESTS_UNIT_AGENT_INQUIRY_SCENE_H

#include "agent_scene.h"

#include "backlog.h"
#include "naming.h"
#include "uplink.h"

#include "schema.h"

#include "support/house.h"
#include "support/net_store.h"
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
static const uint8_t TOKEN[SASL_TOKEN] = "a device's token of 32 octets .."; /* of whatever device */
static const char BODY[] = "From: anna@example.org\r\nSubject: x\r\n\r\nwords\r\n";

struct scene {
    struct house house; /* first: the handler's context */
    struct world world;
    struct store_client *client; /* on the house's loop */
    struct settings *settings;
    struct queue *queue;
    struct backlog backlog;
    struct attempt_office office;
    struct uplink *uplink;
    struct recall recall;
    struct naming naming;
    struct log log;
    char logged[8192];
    const char *const *answers;  /* to one question after another, the last for ever; 421 ends the session */
    char asked[QUESTIONS][NAMING_TEXT]; /* the latest */
    uint32_t firsts[QUESTIONS];
    size_t nasked;
    unsigned ntaken, knows_from; /* it knows nothing of any name before it has taken so many */
    char outcome[40];            /* of its EHLO */
    bool removes;                /* a person removes FIRST while it is asked about */
    bool refuses_login;
    bool is_settled;
    struct store_recipient seen; /* of what was looked at last; slices in seen_text */
    char seen_reply[600], seen_host[300];
    uint64_t next_id;
};

/* ---- the relay ---- */

/* "550 no" or "250 3 recipients ...": without an enhanced code of its own. */
static inline void answer(struct scene *s, struct service_session *session, const struct smtp_server_event *event)
{
    bool is_lost = s->ntaken < s->knows_from;
    const char *text = is_lost ? "550 unknown" : s->answers[0];
    assert_true(slice_to_cstr(event->data, s->asked[s->nasked % QUESTIONS], NAMING_TEXT));
    s->firsts[s->nasked++ % QUESTIONS] = event->first;
    if (s->answers[1] && !is_lost)
        s->answers++;
    if (s->removes)
        assert_int_equal(world_remove(&s->world, FIRST), RESULT_OK);
    bool is_unknown = strncmp(text, "550", 3) == 0;
    uint64_t code = 0;
    assert_true(slice_to_u64(slice_of(text, 3), 599, &code));
    say(session, (struct smtp_reply){.code = (int)code, .status = {(unsigned short)(text[0] - '0'), is_unknown ? 5 : 0, is_unknown ? 4 : 0}, .text = slice_from_cstr(text + 4)});
}

static inline void let_device_in(struct service_session *session, struct slice initial)
{
    static const uint8_t nonce[18];
    const struct tls_info *tls = service_tls(session);
    struct sasl_server_step step;
    char proof[64];
    struct sasl_server *sasl = sasl_server_new(SASL_HT_SHA_256_EXPR, false, tls->bindings, tls->nbindings, nonce);
    assert_non_null(sasl);
    sasl_server_start(sasl, true, initial, &step);
    assert_int_equal(step.need, SASL_NEED_TOKEN);
    sasl_server_token_found(sasl, TOKEN, true, &step);
    assert_int_equal(step.need, SASL_SUCCEEDED);
    assert_true(slice_to_cstr(step.challenge, proof, sizeof proof));
    sasl_server_free(&sasl);
    assert_int_equal(smtp_server_set_user(service_core(session), SLICE("anna")), RESULT_OK);
    say(session, (struct smtp_reply){.code = 235, .status = {2, 7, 0}, .text = slice_from_cstr(proof)});
}

static inline void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    struct scene *s = context;
    switch (event->type) {
    case SMTP_SERVER_AUTH:
        if (event->mechanism == SASL_HT_SHA_256_EXPR && !s->refuses_login)
            let_device_in(session, event->data);
        else
            answer_login(session, s->refuses_login);
        break;
    case SMTP_SERVER_BODY_END: s->ntaken++; say(session, SMTP_REPLY(250, 2, 0, 0, "taken")); break;
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN: say(session, SMTP_REPLY(250, 2, 0, 0, "yes")); break;
    case SMTP_SERVER_OUTCOME: answer(s, session, event); break;
    default: break;
    }
}

/* ---- the agent's side ---- */

static inline void note(void *context, enum log_level level, struct slice line)
{
    struct scene *s = context;
    size_t len = strlen(s->logged);
    (void)level;
    snprintf(s->logged + len, sizeof s->logged - len, "%.*s\n", SLICE_ARG(slice_trim(line)));
}

static inline uint64_t next_id(void *context)
{
    return ++((struct scene *)context)->next_id;
}

static inline void on_queued(void *context, const struct intake_queued *queued)
{
    (void)context, (void)queued;
    fail_msg("a report");
}

static inline int64_t ask_at_ms(void *context, const struct store_message *message)
{
    (void)message;
    return uplink_ask_at_ms(((struct scene *)context)->uplink);
}

static inline void on_unscheduled(void *context)
{
    backlog_read_later(&((struct scene *)context)->backlog);
}

static inline void on_backlog(void *context, enum result result)
{
    (void)result;
    uplink_wake(((struct scene *)context)->uplink, false);
}

/* A relay and a store; no agent yet. answers NULL: a relay that tells no outcomes. */
static inline void open_scene(struct scene *s, const char *const *answers)
{
    *s = (struct scene){.answers = answers, .outcome = "epoch2 604800", .next_id = 1000};
    assert_int_equal(crypto_init(), RESULT_OK);
    world_make(&s->world);
    s->world.config.schema = schema_agent;
    assert_int_equal(world_open(&s->world), RESULT_OK);
    struct service_config config = house_config(&s->house);
    config.handler = (struct service_handler){s, house_on_open, on_event, house_on_closed};
    config.smtp.auth_mechanisms = SASL_PLAIN | SASL_HT_SHA_256_EXPR;
    config.smtp.offers_pipeconnect = true;
    config.smtp.offers_checkpoint = true;
    config.smtp.outcome = answers ? s->outcome : NULL;
    house_open(&s->house, SERVICE_TLS, &config);
    assert_int_equal(store_client_open(&s->client, s->world.store, &s->house.net.loop), RESULT_OK);
    s->log = (struct log){.level = LOG_INFO, .sink = note, .context = s};
}

/* Handed over so long ago, to be asked about in so long. */
static inline void put_relayed_to(struct scene *s, uint64_t id, size_t nrcpt, int64_t ago_ms, int64_t ask_in_ms, bool keeps)
{
    struct world_done done = {0};
    struct store_outcome outcomes[200];
    assert_in_range(nrcpt, 1, 200);
    for (size_t i = 0; i < nrcpt; i++)
        outcomes[i] = (struct store_outcome){.seq = (uint32_t)i, .state = STORE_RELAYED, .counts = true, .next_attempt_ms = wall_now_ms() + ask_in_ms, .reply = SLICE("250 taken"), .host = SLICE("a way")};
    assert_int_equal(world_put(&s->world, id, slice_from_cstr(BODY), nrcpt, 0), RESULT_OK);
    store_attempt_finish(s->world.client, id, outcomes, nrcpt, wall_now_ms() - ago_ms, NULL, keeps, world_on_done, &done);
    assert_int_equal(world_wait_done(&s->world, &done), RESULT_OK);
}

static inline void put_relayed(struct scene *s, uint64_t id, int64_t ago_ms, int64_t ask_in_ms, bool keeps)
{
    put_relayed_to(s, id, 1, ago_ms, ask_in_ms, keeps);
}

static inline void put_setting(struct scene *s, const char *text)
{
    struct world_done done = {0};
    store_setting_put(s->world.client, SLICE("custody"), slice_from_cstr(text), world_on_done, &done);
    assert_int_equal(world_wait_done(&s->world, &done), RESULT_OK);
}

/* Its relay is the one that the agent is bound to. */
static inline void open_bound(struct scene *s, const char *const *answers)
{
    open_scene(s, answers);
    put_setting(s, "1\n127.0.0.1\nanna\nepoch2\n");
}

static inline void start_with(struct scene *s, const char *more)
{
    s->settings = settings_of_relay(&s->house.address, more);
    s->queue = queue_new(&(struct queue_limits){.active_per_hop = 1, .active_total = 1});
    assert_non_null(s->queue);
    s->office = (struct attempt_office){.loop = &s->house.net.loop, .store = s->client, .log = &s->world.log, .lifetime_ms = 1000000, .accepted_state = STORE_RELAYED, .ask_at_ms = ask_at_ms,
                                        .keep_copies = true, .reporting_name = SLICE("agent.invalid"), .forgives_lost_connections = true, .next_id = next_id, .on_queued = on_queued, .context = s};
    assert_int_equal(schedule_parse(SLICE("1h"), &s->office.schedule), RESULT_OK);
    s->backlog = (struct backlog){.loop = &s->house.net.loop, .store = s->client, .queue = s->queue, .schedule = &s->office.schedule, .log = &s->log, .on_read = on_backlog, .context = s};
    backlog_open(&s->backlog);
    s->recall = (struct recall){.memory = memory_new()};
    assert_non_null(s->recall.memory);
    s->uplink = uplink_new(&(struct uplink_config){.loop = &s->house.net.loop, .store = s->client, .settings = s->settings, .tls = house_client_tls(), .naming = &s->naming,
                                                   .password = SLICE("secret"), .queue = s->queue, .office = &s->office, .recall = &s->recall, .log = &s->log, .on_unscheduled = on_unscheduled, .context = s});
    assert_non_null(s->uplink);
}

static inline void start(struct scene *s)
{
    start_with(s, "keep_warm = 50ms\n");
}

static inline void stop(struct scene *s)
{
    attempt_stop(&s->office);
    backlog_stop(&s->backlog);
    stop_uplink(&s->house.net, s->uplink);
    uplink_free(&s->uplink);
    queue_free(&s->queue);
    recall_close(&s->recall);
    settings_unref(&s->settings);
}

static inline void close_scene(struct scene *s)
{
    if (s->uplink)
        stop(s);
    net_store_drain(&s->house.net, s->client);
    net_store_close(&s->house.net, &s->client);
    house_close(&s->house); /* proves the loop empty */
    world_end(&s->world);
}

static inline void on_seen(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct scene *s = context;
    assert_int_equal(result, RESULT_OK);
    if (n > 0) {
        s->seen = rows->recipients[0];
        assert_true(slice_to_cstr(s->seen.reply, s->seen_reply, sizeof s->seen_reply) && slice_to_cstr(s->seen.host, s->seen_host, sizeof s->seen_host));
    }
    s->is_settled = is_last;
}

static inline const struct store_recipient *look(struct scene *s, uint64_t id)
{
    s->is_settled = false;
    store_message_get(s->world.client, id, on_seen, s);
    world_wait(&s->world, &s->is_settled);
    return &s->seen;
}

/* On the disk: the session's end does not wait for that. */
static inline bool has_words(struct scene *s, uint64_t id, const char *words)
{
    look(s, id);
    return strcmp(s->seen_reply, words) == 0;
}

static inline enum uplink_state state_of(const struct scene *s)
{
    return state_of_uplink(s->uplink);
}

static inline size_t awaited(const struct scene *s)
{
    struct uplink_status status;
    uplink_status(s->uplink, &status);
    return status.nawaited;
}

static inline bool has_session(const struct scene *s)
{
    struct uplink_status status;
    uplink_status(s->uplink, &status);
    return status.has_way;
}

static inline bool has_body(struct scene *s, uint64_t id)
{
    struct slice body = world_body(&s->world, id);
    free((void *)(uintptr_t)body.ptr);
    return body.len == sizeof BODY - 1;
}

static inline int64_t received_long_ago(void *context, int64_t at_ms)
{
    (void)context;
    return at_ms < wall_now_ms() / 2 ? wall_now_ms() : 0;
}

#define ONE(state, words) "250 1 recipients from 0\n" state " 1795392000 0 r0@hop0.example mx.a.example " words "\nend"

#endif
