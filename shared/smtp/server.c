#include "smtp/server_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The pump: octets in, events out, answers in, octets out, and time. The invariants are in server.h. */

static const struct smtp_reply too_many_errors = SMTP_REPLY_INIT(421, 4, 7, 0, "Too many errors; closing");
static const struct smtp_reply shutting_down = SMTP_REPLY_INIT(421, 4, 3, 2, "The service is going down; try again in a while");
static const struct smtp_reply too_slow = SMTP_REPLY_INIT(421, 4, 4, 2, "Waited too long for you; closing");
static const struct smtp_reply injected = SMTP_REPLY_INIT(554, 5, 7, 0, "Commands behind STARTTLS in the clear are refused; closing");

/* ---- making and ending ---- */

static void set_default(int64_t *value, int64_t otherwise)
{
    if (*value == 0)
        *value = otherwise;
}

static void set_default_u32(uint32_t *value, uint32_t otherwise)
{
    if (*value == 0)
        *value = otherwise;
}

static void fill_defaults(struct smtp_server_config *config)
{
    if (config->size_max_octets == 0)
        config->size_max_octets = UINT64_C(52428800);
    set_default_u32(&config->nrcpt_max, 1000);
    set_default_u32(&config->command_line_max, 512 + 1024 + 88);
    set_default_u32(&config->auth_line_max, 12288);
    set_default_u32(&config->text_line_max, 1000);
    set_default_u32(&config->errors_max, 20);
    set_default_u32(&config->auth_failures_max, 3);
    set_default_u32(&config->idle_commands_max, 200);
    set_default_u32(&config->unknown_outcomes_max, 65536);
    set_default(&config->command_timeout_ms, 300000);
    set_default(&config->data_timeout_ms, 180000);
    set_default(&config->pre_auth_timeout_ms, 60000);
}

static struct slice put_name(char **at, struct slice name)
{
    char *start = *at;
    if (name.len > 0)
        memcpy(start, name.ptr, name.len);
    *at += name.len;
    return slice_of(start, name.len);
}

/* A reload frees the configuration that the session began with. */
static void keep_names(struct smtp_server *server)
{
    char *at = server->names;
    server->config.hostname = put_name(&at, server->config.hostname);
    server->config.session_id = put_name(&at, server->config.session_id);
}

static void set_binding(struct smtp_server *server, enum smtp_server_binding binding)
{
    server->has_binding = binding != SMTP_SERVER_NO_BINDING;
    server->has_exporter = binding == SMTP_SERVER_EXPORTER;
}

struct smtp_server *smtp_server_new(const struct smtp_server_config *config, bool is_tls, enum smtp_server_binding binding, int64_t now_ms)
{
    struct smtp_server *server = calloc(1, sizeof *server + config->hostname.len + config->session_id.len);
    if (!server)
        return NULL;
    server->config = *config;
    keep_names(server);
    fill_defaults(&server->config);
    server->is_tls = is_tls;
    set_binding(server, binding);
    server->now_ms = server->start_ms = server->since_ms = now_ms;
    server->output = BUFFER(SMTP_SERVER_OUTPUT_MAX);
    /* Each recipient's text fits a command line; the list itself is copied as it doubles. */
    server->arena = ARENA((size_t)server->config.nrcpt_max * (server->config.command_line_max + 4 * sizeof(struct envelope_recipient)) + 16384);
    if (buffer_printf(&server->output, "220 %.*s ESMTP Postern\r\n", SLICE_ARG(config->hostname)) != RESULT_OK)
        smtp_server_free(&server);
    return server;
}

void smtp_server_free(struct smtp_server **server)
{
    struct smtp_server *s = *server;
    if (!s)
        return;
    *server = NULL;
    buffer_wipe_free(&s->line);
    buffer_wipe_free(&s->secret);
    buffer_free(&s->output);
    buffer_free(&s->candidate_text);
    arena_free(&s->arena);
    server_forget(&s->helo);
    server_forget(&s->user);
    server_forget(&s->ending_reply.text);
    server_forget(&s->refusal.text);
    free(s);
}

enum result server_keep(struct slice *kept, struct slice text)
{
    char *copy = malloc(text.len + 1);
    if (!copy)
        return RESULT_MEMORY;
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    server_forget(kept);
    *kept = slice_of(copy, text.len);
    return RESULT_OK;
}

void server_forget(struct slice *kept)
{
    free((char *)(uintptr_t)kept->ptr);
    *kept = (struct slice){0};
}

/* ---- state ---- */

static const char *state_name(enum smtp_server_state state)
{
    switch (state) {
    case SMTP_SERVER_GREETING: return "greeting";
    case SMTP_SERVER_READY: return "ready";
    case SMTP_SERVER_HAS_MAIL: return "mail";
    case SMTP_SERVER_HAS_RCPT: return "rcpt";
    case SMTP_SERVER_BETWEEN: return "between";
    case SMTP_SERVER_IN_AUTH: return "auth";
    case SMTP_SERVER_IN_TLS: return "tls";
    case SMTP_SERVER_DATA: return "data";
    case SMTP_SERVER_DATA_DROP: return "data-drop";
    case SMTP_SERVER_CHUNK: return "chunk";
    case SMTP_SERVER_CHUNK_DROP: return "chunk-drop";
    case SMTP_SERVER_BODY_DONE: return "body-end";
    case SMTP_SERVER_CLOSING: return "closing";
    }
    return "?";
}

const char *smtp_server_state_name(const struct smtp_server *server)
{
    return state_name(server->state);
}

void server_set_state(struct smtp_server *server, enum smtp_server_state state)
{
    const struct log *log = server->config.log;
    if (server->state == state)
        return;
    assert(server->state != SMTP_SERVER_CLOSING);
    if (log && log->level >= LOG_DEBUG)
        log_event(log, LOG_DEBUG, "smtp-server-state", LOG_STR("session", server->config.session_id), LOG_TEXT("from", state_name(server->state)),
                  LOG_TEXT("to", state_name(state)));
    server->state = state;
    server->since_ms = server->now_ms;
}

struct smtp_server_event *server_add_event(struct smtp_server *server, enum smtp_server_event_type type)
{
    assert(server->nevents < SMTP_SERVER_EVENTS);
    struct smtp_server_event *event = &server->events[server->nevents++];
    *event = (struct smtp_server_event){.type = type};
    return event;
}

void server_end_transaction(struct smtp_server *server)
{
    if (server->has_transaction)
        server_add_event(server, SMTP_SERVER_TRANSACTION_ENDED);
    server->has_transaction = false;
    server->envelope = (struct envelope){0};
    server->candidate = (struct envelope_recipient){0};
    server->rcpt_capacity = 0;
    server->is_known = false;
    server->held_octets = server->body_octets = 0;
    arena_free(&server->arena);
    buffer_shrink(&server->candidate_text);
}

void server_close(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (server->state == SMTP_SERVER_CLOSING)
        return;
    if (server->state == SMTP_SERVER_IN_AUTH)
        server_add_event(server, SMTP_SERVER_AUTH_CANCELLED);
    server_end_transaction(server);
    server->owed = SMTP_OWED_NOTHING;
    server_set_state(server, SMTP_SERVER_CLOSING);
    if (reply)
        server_reply(server, reply);
    server_add_event(server, SMTP_SERVER_CLOSE);
    buffer_wipe_free(&server->line);
    buffer_wipe_free(&server->secret);
}

/* ---- replies ---- */

void server_reply(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (smtp_reply_write(reply, &server->output) != RESULT_OK)
        server_close(server, NULL);
    server->since_ms = server->now_ms;
}

void server_refuse(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (reply == &server_mail_first && server->nechoes > 0) {
        server->nechoes--;
        server_reply(server, reply);
    } else if (++server->nerrors > server->config.errors_max)
        server_close(server, &too_many_errors);
    else
        server_reply(server, reply);
}

struct slice smtp_server_output(const struct smtp_server *server)
{
    return buffer_slice(&server->output);
}

void smtp_server_sent(struct smtp_server *server, size_t n)
{
    buffer_consume(&server->output, n);
    if (buffer_len(&server->output) == 0)
        buffer_shrink(&server->output);
}

/* ---- feed and next ---- */

static size_t take(struct smtp_server *server, struct slice in)
{
    switch (server->state) {
    case SMTP_SERVER_GREETING:
    case SMTP_SERVER_READY:
    case SMTP_SERVER_HAS_MAIL:
    case SMTP_SERVER_HAS_RCPT:
    case SMTP_SERVER_BETWEEN:
    case SMTP_SERVER_IN_AUTH: return server_take_line(server, in);
    case SMTP_SERVER_DATA:
    case SMTP_SERVER_DATA_DROP:
    case SMTP_SERVER_CHUNK:
    case SMTP_SERVER_CHUNK_DROP: return server_take_body(server, in);
    case SMTP_SERVER_IN_TLS: server_close(server, &injected); return in.len;
    case SMTP_SERVER_BODY_DONE: assert(server->owed == SMTP_OWED_BODY_END); return 0;
    case SMTP_SERVER_CLOSING: return in.len;
    }
    return in.len;
}

size_t smtp_server_feed(struct smtp_server *server, struct slice in, int64_t now_ms)
{
    size_t used = 0;
    server->now_ms = now_ms;
    while (used < in.len && server->owed == SMTP_OWED_NOTHING && server->nevents == 0) {
        if (server->state != SMTP_SERVER_CLOSING && buffer_len(&server->output) > SMTP_SERVER_OUTPUT_HIGH)
            break;
        used += take(server, slice_skip(in, used));
    }
    return used;
}

bool smtp_server_next(struct smtp_server *server, struct smtp_server_event *event)
{
    if (server->nevents == 0)
        return false;
    *event = server->events[0];
    server->nevents--;
    memmove(server->events, server->events + 1, server->nevents * sizeof *server->events);
    return true;
}

bool smtp_server_is_parked(const struct smtp_server *server)
{
    return server->owed != SMTP_OWED_NOTHING;
}

/* ---- answers ---- */

static bool can_end_now(const struct smtp_server *server)
{
    if (server->owed != SMTP_OWED_NOTHING)
        return false;
    switch (server->state) {
    case SMTP_SERVER_DATA:
    case SMTP_SERVER_DATA_DROP:
    case SMTP_SERVER_CHUNK:
    case SMTP_SERVER_CHUNK_DROP: return server->ending == SMTP_ENDING_EOF;
    case SMTP_SERVER_GREETING:
    case SMTP_SERVER_READY:
    case SMTP_SERVER_HAS_MAIL:
    case SMTP_SERVER_HAS_RCPT:
    case SMTP_SERVER_BETWEEN:
    case SMTP_SERVER_IN_AUTH:
    case SMTP_SERVER_IN_TLS:
    case SMTP_SERVER_BODY_DONE:
    case SMTP_SERVER_CLOSING: return true;
    }
    return true;
}

void server_end_if_wished(struct smtp_server *server)
{
    if (server->ending == SMTP_ENDING_NONE || !can_end_now(server))
        return;
    if (server->ending == SMTP_ENDING_EOF || server->state == SMTP_SERVER_IN_TLS)
        server_close(server, NULL);
    else
        server_close(server, server->ending_reply.code ? &server->ending_reply : &shutting_down);
}

void smtp_server_answer(struct smtp_server *server, const struct smtp_reply *reply, int64_t now_ms)
{
    enum smtp_server_owed owed = server->owed;
    assert(owed != SMTP_OWED_NOTHING && server->nevents == 0);
    server->owed = SMTP_OWED_NOTHING;
    server->now_ms = now_ms;
    if (owed == SMTP_OWED_BODY_BEGIN)
        server_end_if_wished(server); /* rather than to take a whole message yet */
    if (server->state == SMTP_SERVER_CLOSING)
        return;
    switch (owed) {
    case SMTP_OWED_NOTHING: break;
    case SMTP_OWED_AUTH: server_auth_answered(server, reply); break;
    case SMTP_OWED_DEVICE: server_device_answered(server, reply); break;
    case SMTP_OWED_OUTCOME: server_outcome_answered(server, reply); break;
    case SMTP_OWED_MAIL: server_mail_answered(server, reply); break;
    case SMTP_OWED_RCPT: server_rcpt_answered(server, reply); break;
    case SMTP_OWED_BODY_BEGIN: server_body_begin_answered(server, reply); break;
    case SMTP_OWED_BODY_END: server_body_end_answered(server, reply); break;
    }
    if (reply->code == 421)
        server_close(server, NULL);
    server_end_if_wished(server);
}

void smtp_server_resume(struct smtp_server *server, bool is_told, bool is_over, uint64_t held_octets, size_t nrcpt, int64_t now_ms)
{
    assert(server->owed == SMTP_OWED_MAIL && server->nevents == 0);
    server->owed = SMTP_OWED_NOTHING;
    server->now_ms = now_ms;
    server_mail_resumed(server, is_told, is_over, held_octets, nrcpt);
    server_end_if_wished(server);
}

void smtp_server_shut(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (server->ending != SMTP_ENDING_NONE)
        return;
    server->ending = SMTP_ENDING_SHUT;
    /* Without memory for its words the usual ones stand in. */
    if (reply && server_keep(&server->ending_reply.text, reply->text) == RESULT_OK) {
        server->ending_reply.code = reply->code;
        server->ending_reply.status = reply->status;
    }
    server_end_if_wished(server);
}

void smtp_server_eof(struct smtp_server *server)
{
    server->ending = SMTP_ENDING_EOF;
    server_end_if_wished(server);
}

/* Is an event of this type waiting to be taken? */
static bool has_event(const struct smtp_server *server, enum smtp_server_event_type type)
{
    for (unsigned i = 0; i < server->nevents; i++)
        if (server->events[i].type == type)
            return true;
    return false;
}

/* Keeps of the waiting events only those that end something. */
static void drop_events(struct smtp_server *server)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < server->nevents; i++) {
        enum smtp_server_event_type type = server->events[i].type;
        if (type == SMTP_SERVER_TRANSACTION_ENDED || type == SMTP_SERVER_AUTH_CANCELLED)
            server->events[kept++] = server->events[i];
    }
    server->nevents = kept;
}

void smtp_server_abandon(struct smtp_server *server)
{
    if (server->state == SMTP_SERVER_CLOSING)
        return;
    if (has_event(server, SMTP_SERVER_MAIL) || (server->owed == SMTP_OWED_BODY_END && !has_event(server, SMTP_SERVER_BODY_END)))
        server->has_transaction = false;
    drop_events(server);
    server_close(server, NULL);
}

void smtp_server_tls_started(struct smtp_server *server, enum smtp_server_binding binding, int64_t now_ms)
{
    if (server->state != SMTP_SERVER_IN_TLS)
        return;
    server->now_ms = now_ms;
    server->is_tls = true;
    set_binding(server, binding);
    server->is_esmtp = false;
    server_forget(&server->helo);
    server_forget(&server->user);
    server->is_authenticated = false;
    server_set_state(server, SMTP_SERVER_GREETING);
}

/* ---- time ---- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* When the body so far would fall below the least rate, but not within the grace. */
static int64_t rate_deadline_ms(const struct smtp_server *server)
{
    uint64_t octets = server->taken_octets - server->body_start_octets, rate = server->config.body_rate_min;
    if (rate == 0 || octets / rate > (uint64_t)INT32_MAX)
        return INT64_MAX;
    int64_t earned_ms = (int64_t)(octets * 1000 / rate);
    int64_t grace_ms = server->config.data_timeout_ms;
    return server->body_start_ms + (earned_ms > grace_ms ? earned_ms : grace_ms);
}

int64_t smtp_server_deadline_ms(const struct smtp_server *server)
{
    const struct smtp_server_config *config = &server->config;
    if (server->owed != SMTP_OWED_NOTHING)
        return INT64_MAX;
    int64_t pre_auth_ms = config->requires_auth && !server->is_authenticated ? server->start_ms + config->pre_auth_timeout_ms : INT64_MAX;
    switch (server->state) {
    case SMTP_SERVER_GREETING:
    case SMTP_SERVER_READY:
    case SMTP_SERVER_HAS_MAIL:
    case SMTP_SERVER_HAS_RCPT:
    case SMTP_SERVER_BETWEEN:
    case SMTP_SERVER_IN_AUTH:
    case SMTP_SERVER_IN_TLS: return least(pre_auth_ms, server->since_ms + config->command_timeout_ms);
    case SMTP_SERVER_DATA:
    case SMTP_SERVER_CHUNK:
    case SMTP_SERVER_DATA_DROP:
    case SMTP_SERVER_CHUNK_DROP: return least(rate_deadline_ms(server), server->since_ms + config->data_timeout_ms);
    case SMTP_SERVER_BODY_DONE:
    case SMTP_SERVER_CLOSING: break;
    }
    return INT64_MAX;
}

void smtp_server_tick(struct smtp_server *server, int64_t now_ms)
{
    server->now_ms = now_ms;
    if (now_ms >= smtp_server_deadline_ms(server))
        server_close(server, server->state == SMTP_SERVER_IN_TLS ? NULL : &too_slow);
}

void smtp_server_resumed(struct smtp_server *server, int64_t now_ms)
{
    int64_t ours_ms = now_ms - server->now_ms;
    server->now_ms = now_ms;
    server->start_ms += ours_ms;
    server->since_ms += ours_ms;
    server->body_start_ms += ours_ms;
}

/* ---- facts ---- */

struct slice smtp_server_helo(const struct smtp_server *server)
{
    return server->helo;
}

struct slice smtp_server_user(const struct smtp_server *server)
{
    return server->user;
}

enum result smtp_server_set_user(struct smtp_server *server, struct slice user)
{
    return server_keep(&server->user, user);
}

uint64_t smtp_server_ncommands(const struct smtp_server *server)
{
    return server->ncommands;
}

/* RFC 3848 and the registry of mail transmission types; RFC 6531 4.3. */
const char *smtp_server_protocol(const struct smtp_server *server)
{
    static const char *const names[2][2][2] = {{{"ESMTP", "ESMTPA"}, {"ESMTPS", "ESMTPSA"}}, {{"UTF8SMTP", "UTF8SMTPA"}, {"UTF8SMTPS", "UTF8SMTPSA"}}};
    return server->is_esmtp ? names[server->envelope.is_smtputf8][server->is_tls][server->is_authenticated] : "SMTP";
}
