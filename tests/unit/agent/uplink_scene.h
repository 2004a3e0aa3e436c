/* The uplink between a real store and a relay that says yes, knows names if it is told to, and cuts the line when it is told to: for tests of the agent. */
#ifndef POSTERN_TESTS_UNIT_AGENT_UPLINK_SCENE_H
#define POSTERN_TESTS_UNIT_AGENT_UPLINK_SCENE_H

#include "agent_scene.h"

#include "consignment.h"
#include "uplink.h"

#include "schema.h"

#include "support/house.h"
#include "support/net_store.h"
#include "support/store_world.h"

#include "crypto/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGE = 7, LARGE = 400 * 1000, SCENE_NAMES = 4, SCENE_LINE = 80 /* octets of each line of a body */ };

/* What the relay knows of a transaction. */
struct scene_record {
    char name[NAMING_TEXT];
    uint64_t held;
    bool is_over;
};

struct scene {
    struct house house; /* first: the handler's context */
    struct world world;
    struct store_client *client; /* on the house's loop */
    struct settings *settings;
    struct queue *queue;
    struct attempt_office office;
    struct uplink *uplink;
    struct recall recall;
    struct log log;
    char states[512];
    uint64_t next_id;
    unsigned ntaken;
    struct service_session *held; /* its last octet has come, its reply has not gone */
    bool holds;
    bool refuses_login;
    struct naming naming;
    /* A relay that knows names (RFC 1845), and whose line may be cut. */
    struct scene_record records[SCENE_NAMES], *running;
    char mails[256];              /* "plain", "whole" or "ask", and what is answered to ask: "whole ask@65536 " */
    uint64_t octets;              /* of bodies that came, over all sessions */
    uint64_t stop_at, pause_at;   /* of bodies: the line is cut after each so many; no more is read, once. 0: never */
    bool is_paused, forgets;      /* forgets: what was taken is lost with the line */
    bool puts_off;                /* 451 to the whole body, of which it then keeps nothing */
};

/* ---- the relay ---- */

static inline struct scene_record *record_of(struct scene *s, struct slice name)
{
    char text[NAMING_TEXT];
    slice_to_cstr(name, text, sizeof text);
    for (size_t i = 0; i < SCENE_NAMES; i++) {
        struct scene_record *record = &s->records[i];
        if (record->name[0] == '\0')
            memcpy(record->name, text, sizeof text);
        if (strcmp(record->name, text) == 0)
            return record;
    }
    fail_msg("too many names");
    return NULL;
}

static inline void on_mail(struct scene *s, struct service_session *session, const struct smtp_server_event *event)
{
    size_t len = strlen(s->mails);
    s->running = event->data.len > 0 ? record_of(s, event->data) : NULL;
    if (s->running)
        s->running->held = s->forgets ? 0 : s->running->held - s->running->held % SCENE_LINE;
    uint64_t held = s->running ? s->running->held : 0;
    bool goes_on = s->running && !event->is_whole && held > 0;
    snprintf(s->mails + len, sizeof s->mails - len, goes_on ? "%s@%llu " : "%s ", !s->running ? "plain" : event->is_whole ? "whole" : "ask", (unsigned long long)held);
    if (s->running && event->is_whole)
        s->running->held = 0;
    if (goes_on)
        service_resume_transaction(session, true, false, held, 1);
    else
        service_answer(session, &SMTP_REPLY(250, 2, 1, 0, "yes"));
}

/* The relay's end of each connection, as a line does that breaks. */
static inline void cut(uv_handle_t *handle, void *context)
{
    struct sockaddr_storage own, peer;
    int own_len = sizeof own, peer_len = sizeof peer;
    uv_os_fd_t fd;
    if (handle->type != UV_TCP || uv_fileno(handle, &fd) != 0 || uv_tcp_getsockname((uv_tcp_t *)handle, (struct sockaddr *)&own, &own_len) != 0 ||
        uv_tcp_getpeername((uv_tcp_t *)handle, (struct sockaddr *)&peer, &peer_len) != 0)
        return;
    const struct sockaddr_storage *relay = context;
    if (net_address_port((const struct net_address *)(const void *)&own) == net_address_port((const struct net_address *)(const void *)relay))
        shutdown(fd, SHUT_RDWR);
}

static inline void on_body(struct scene *s, struct service_session *session, struct slice octets)
{
    uint64_t before = s->octets;
    s->octets += octets.len;
    if (s->running)
        s->running->held += octets.len;
    if (s->stop_at > 0 && s->octets / s->stop_at > before / s->stop_at)
        uv_walk(&s->house.net.loop, cut, &s->house.address);
    if (s->pause_at > 0 && s->octets >= s->pause_at) {
        s->pause_at = 0;
        s->is_paused = true;
        s->held = session;
        service_pause(session);
    }
}

static inline void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    struct scene *s = context;
    switch (event->type) {
    case SMTP_SERVER_AUTH: answer_login(session, s->refuses_login); break;
    case SMTP_SERVER_BODY_END:
        if (s->holds) {
            s->held = session;
            break;
        }
        if (s->puts_off) {
            s->running->held = 0;
            say(session, SMTP_REPLY(451, 4, 3, 0, "not now"));
            break;
        }
        s->ntaken++;
        if (s->running)
            s->running->is_over = true;
        say(session, SMTP_REPLY(250, 2, 0, 0, "taken"));
        break;
    case SMTP_SERVER_MAIL: on_mail(s, session, event); break;
    case SMTP_SERVER_BODY: on_body(s, session, event->data); break;
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN: say(session, SMTP_REPLY(250, 2, 0, 0, "yes")); break;
    default: break;
    }
}

/* ---- the agent's side ---- */

/* "level=debug event=uplink from=resting to=searching": the second state is noted. */
static inline void note_state(void *context, enum log_level level, struct slice line)
{
    struct scene *s = context;
    char text[400];
    size_t len = strlen(s->states);
    (void)level;
    slice_to_cstr(slice_trim(line), text, sizeof text);
    const char *to = strstr(text, " to=");
    if (strstr(text, "event=uplink ") && to)
        snprintf(s->states + len, sizeof s->states - len, "%.*s ", (int)strcspn(to + 4, " \n"), to + 4);
}

static inline uint64_t next_id(void *context)
{
    return ++((struct scene *)context)->next_id;
}

/* world_put's messages have expired long ago. For who wants to see them wait: the clock has been set ahead since. */
static inline int64_t long_ahead(void *context, int64_t received_at_ms)
{
    (void)context, (void)received_at_ms;
    return wall_now_ms();
}

static inline void on_queued(void *context, const struct intake_queued *queued)
{
    struct scene *s = context;
    assert_int_equal(queue_add(s->queue, queued->message->id, (struct slice){0}, INT64_MAX - 1), RESULT_OK); /* a report: it stays here */
}

static inline void put_message(struct scene *s, uint64_t id, size_t octets)
{
    char *body = calloc(1, octets);
    assert_non_null(body);
    world_fill(id, body, octets);
    for (size_t i = SCENE_LINE; i < octets; i += SCENE_LINE)
        memcpy(body + i - 2, "\r\n", 2);
    memcpy(body + octets - 2, "\r\n", 2);
    assert_int_equal(world_put(&s->world, id, slice_of(body, octets), 1, 0), RESULT_OK);
    free(body);
}

/* first_id: of this run, where the relay knows names; 0: it does not. most: octets of a message that the relay takes; 0: many. */
static inline void open_scene_limited(struct scene *s, size_t octets, uint64_t first_id, uint64_t most, const char *more)
{
    bool offers_names = first_id > 0;
    *s = (struct scene){.next_id = 1000};
    assert_int_equal(crypto_init(), RESULT_OK);
    world_make(&s->world);
    s->world.config.schema = schema_agent;
    assert_int_equal(world_open(&s->world), RESULT_OK);
    put_message(s, MESSAGE, octets);
    if (offers_names)
        assert_int_equal(naming_open(&s->naming, &s->world.loop, s->world.client), RESULT_OK);
    struct service_config config = house_config(&s->house);
    config.handler = (struct service_handler){s, house_on_open, on_event, house_on_closed};
    config.smtp.auth_mechanisms = SASL_PLAIN;
    config.smtp.offers_smtputf8 = true;
    config.smtp.size_max_octets = most;
    config.smtp.offers_checkpoint = offers_names;
    config.smtp.outcome = offers_names ? "e1 600" : NULL;
    house_open(&s->house, SERVICE_TLS, &config);
    assert_int_equal(store_client_open(&s->client, s->world.store, &s->house.net.loop), RESULT_OK);
    s->settings = settings_of_relay(&s->house.address, more);
    s->log = (struct log){.level = LOG_DEBUG, .sink = note_state, .context = s};
    s->queue = queue_new(&(struct queue_limits){.active_per_hop = 1, .active_total = 1});
    assert_non_null(s->queue);
    s->office = (struct attempt_office){.loop = &s->house.net.loop, .store = s->client, .log = &s->world.log, .lifetime_ms = 1000000, .accepted_state = STORE_RELAYED,
                                        .reporting_name = SLICE("agent.invalid"), .forgives_lost_connections = true, .next_id = next_id, .on_queued = on_queued, .context = s};
    assert_int_equal(schedule_parse(SLICE("1h"), &s->office.schedule), RESULT_OK);
    s->recall = (struct recall){.memory = memory_new()};
    assert_non_null(s->recall.memory);
    s->uplink = uplink_new(&(struct uplink_config){.loop = &s->house.net.loop, .store = s->client, .settings = s->settings, .tls = house_client_tls(),
                                                   .password = SLICE("secret"), .queue = s->queue, .office = &s->office, .recall = &s->recall,
                                                   .naming = offers_names ? &s->naming : NULL, .first_id = first_id, .log = &s->log});
    assert_non_null(s->uplink);
}

static inline void open_scene_with(struct scene *s, size_t octets, uint64_t first_id, const char *more)
{
    open_scene_limited(s, octets, first_id, 0, more);
}

static inline void open_scene(struct scene *s, size_t octets, const char *more)
{
    open_scene_with(s, octets, 0, more);
}

static inline void enqueue(struct scene *s)
{
    assert_int_equal(queue_add(s->queue, MESSAGE, (struct slice){0}, 0), RESULT_OK);
    uplink_wake(s->uplink, false);
}

/* The agent's own: a message, and whether it is large. */
static inline void enqueue_sized(struct scene *s, uint64_t id, uint64_t octets)
{
    assert_int_equal(queue_add(s->queue, id, (struct slice){0}, 0), RESULT_OK);
    queue_set_large(s->queue, id, consignment_is_large(octets));
    uplink_wake(s->uplink, false);
}

static inline void close_scene(struct scene *s)
{
    attempt_stop(&s->office);
    stop_uplink(&s->house.net, s->uplink);
    net_store_drain(&s->house.net, s->client);
    uplink_free(&s->uplink);
    assert_true(list_is_empty(&s->office.pending));
    net_store_close(&s->house.net, &s->client);
    queue_free(&s->queue);
    recall_close(&s->recall);
    settings_unref(&s->settings);
    house_close(&s->house); /* proves the loop empty */
    world_end(&s->world);
}

static inline enum uplink_state state_of(const struct scene *s)
{
    return state_of_uplink(s->uplink);
}

#endif
