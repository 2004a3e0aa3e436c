#include "smtp/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    INPUT_MAX = 4 * SMTP_REPLY_MAX,
    IDLE_BUFFER_MAX = 16 * 1024, /* octets of capacity that a session keeps between two messages */
};

const char *smtp_failure_name(enum smtp_failure failure)
{
    switch (failure) {
    case SMTP_FAIL_NONE: return "none";
    case SMTP_FAIL_GREETING: return "greeting";
    case SMTP_FAIL_FOREIGN: return "foreign";
    case SMTP_FAIL_HTTP: return "http";
    case SMTP_FAIL_EHLO: return "ehlo";
    case SMTP_FAIL_STARTTLS_MISSING: return "starttls-missing";
    case SMTP_FAIL_STARTTLS_MASKED: return "starttls-masked";
    case SMTP_FAIL_STARTTLS_REFUSED: return "starttls-refused";
    case SMTP_FAIL_INJECTED: return "injected";
    case SMTP_FAIL_AUTH_MISSING: return "auth-missing";
    case SMTP_FAIL_AUTH_REFUSED: return "auth-refused";
    case SMTP_FAIL_AUTH_LATER: return "auth-later";
    case SMTP_FAIL_AUTH_FORGED: return "auth-forged";
    case SMTP_FAIL_EARLY: return "early";
    case SMTP_FAIL_PROTOCOL: return "protocol";
    case SMTP_FAIL_TIMEOUT: return "timeout";
    case SMTP_FAIL_EOF: return "eof";
    case SMTP_FAIL_SHUT: return "shut";
    case SMTP_FAIL_ABORTED: return "aborted";
    case SMTP_FAIL_MEMORY: return "memory";
    }
    return "unknown";
}

static const char *state_name(enum client_state state)
{
    switch (state) {
    case CLIENT_GREETING: return "greeting";
    case CLIENT_EHLO: return "ehlo";
    case CLIENT_HELO: return "helo";
    case CLIENT_STARTTLS: return "starttls";
    case CLIENT_TLS: return "tls";
    case CLIENT_PROVEN: return "proven";
    case CLIENT_AUTH: return "auth";
    case CLIENT_READY: return "ready";
    case CLIENT_DEVICE: return "device";
    case CLIENT_OUTCOME: return "outcome";
    case CLIENT_ENVELOPE: return "envelope";
    case CLIENT_BODY: return "body";
    case CLIENT_FINAL: return "final";
    case CLIENT_QUIT: return "quit";
    case CLIENT_CLOSED: return "closed";
    case CLIENT_FAILED: return "failed";
    }
    return "unknown";
}

const char *smtp_client_state_name(const struct smtp_client *c)
{
    return state_name(c->state);
}

static const char *command_phase(const struct smtp_client *c)
{
    switch (client_awaited(c)) {
    case CLIENT_COMMAND_GREETING: return "greeting";
    case CLIENT_COMMAND_EHLO: return "EHLO";
    case CLIENT_COMMAND_AUTH: return "AUTH";
    case CLIENT_COMMAND_RSET: return "RSET";
    case CLIENT_COMMAND_MAIL: return "MAIL FROM";
    case CLIENT_COMMAND_RCPT: return "RCPT TO";
    case CLIENT_COMMAND_DATA: return "DATA";
    case CLIENT_COMMAND_BDAT: return c->t.is_body_whole && c->t.nbdat_answered + 1 == c->t.nbdat_asked ? "end of data" : "message";
    case CLIENT_COMMAND_DOT: return "end of data";
    case CLIENT_COMMAND_PAUSE: return "RSET";
    case CLIENT_COMMAND_OUTCOME: return "XOUTCOME";
    case CLIENT_COMMAND_NONE: break;
    }
    return "message";
}

const char *client_phase(const struct smtp_client *c)
{
    switch (c->state) {
    case CLIENT_GREETING: return "greeting";
    case CLIENT_EHLO: return "EHLO";
    case CLIENT_HELO: return "HELO";
    case CLIENT_STARTTLS: return "STARTTLS";
    case CLIENT_TLS: return "TLS handshake";
    case CLIENT_AUTH: return "AUTH";
    case CLIENT_PROVEN:
    case CLIENT_READY: return client_early_awaited(c) == CLIENT_COMMAND_NONE ? "idle" : command_phase(c);
    case CLIENT_DEVICE: return "XDEVICE";
    case CLIENT_OUTCOME:
    case CLIENT_ENVELOPE:
    case CLIENT_BODY:
    case CLIENT_FINAL: return command_phase(c);
    case CLIENT_QUIT:
    case CLIENT_CLOSED:
    case CLIENT_FAILED: break;
    }
    return "QUIT";
}

void client_set_state(struct smtp_client *c, enum client_state state)
{
    if (state == c->state)
        return;
    log_event(c->config.log, LOG_DEBUG, "smtp-client-state", LOG_STR("session", c->config.session_id), LOG_TEXT("from", state_name(c->state)),
              LOG_TEXT("to", state_name(state)));
    c->state = state;
    c->owes_event = state == CLIENT_TLS || state == CLIENT_PROVEN || state == CLIENT_READY || state == CLIENT_CLOSED;
    if (state == CLIENT_READY && c->out.capacity > IDLE_BUFFER_MAX && buffer_len(&c->out) == 0)
        buffer_shrink(&c->out);
    if (state == CLIENT_READY && c->in.capacity > IDLE_BUFFER_MAX && buffer_len(&c->in) == 0)
        buffer_shrink(&c->in);
}

void client_fail(struct smtp_client *c, enum smtp_failure failure)
{
    if (c->failure != SMTP_FAIL_NONE || c->state == CLIENT_CLOSED)
        return;
    if (c->state == CLIENT_QUIT) { /* we were leaving anyway */
        client_set_state(c, CLIENT_CLOSED);
        return;
    }
    c->failure = failure;
    c->failure_phase = client_phase(c);
    buffer_wipe_free(&c->out);
}

void client_fail_reply(struct smtp_client *c, enum smtp_failure failure)
{
    if (c->failure == SMTP_FAIL_NONE)
        c->has_failure_reply = true;
    client_fail(c, failure);
}

/* ---- life ---- */

static void fill_timeouts(struct smtp_client_config *config)
{
    config->greeting_timeout_ms = config->greeting_timeout_ms ? config->greeting_timeout_ms : 300000;
    config->command_timeout_ms = config->command_timeout_ms ? config->command_timeout_ms : 300000;
    config->body_timeout_ms = config->body_timeout_ms ? config->body_timeout_ms : 180000;
    config->final_timeout_ms = config->final_timeout_ms ? config->final_timeout_ms : 600000;
}

static bool copy_secret(struct slice from, char **to, size_t *len)
{
    *to = malloc(from.len + 1);
    if (!*to)
        return false;
    if (from.len > 0)
        memcpy(*to, from.ptr, from.len);
    (*to)[from.len] = '\0';
    *len = from.len;
    return true;
}

static bool copy_secrets(struct smtp_client *c, const struct smtp_client_config *config)
{
    bool has_user = config->user.len > 0, has_device = config->device.len > 0;
    return (!has_user || (copy_secret(config->user, &c->user, &c->user_len) && copy_secret(config->password, &c->password, &c->password_len))) &&
           (!has_device || (copy_secret(config->device, &c->device, &c->device_len) && copy_secret(config->token, &c->token, &c->token_len)));
}

static bool copy_early(struct smtp_client *c, const struct smtp_peer *from)
{
    struct smtp_peer *copy = arena_alloc(&c->arena, sizeof *copy);
    if (!copy)
        return false;
    *copy = *from;
    c->config.early = copy;
    return arena_copy(&c->arena, slice_take(from->name, sizeof c->peer_name - 1), &copy->name) == RESULT_OK &&
           arena_copy(&c->arena, slice_take(from->epoch, SMTP_EPOCH_MAX), &copy->epoch) == RESULT_OK &&
           arena_copy(&c->arena, slice_take(from->ways, SMTP_WAYS_MAX), &copy->ways) == RESULT_OK;
}

static bool copy_config(struct smtp_client *c, const struct smtp_client_config *config)
{
    c->config = *config;
    c->config.user = c->config.password = c->config.device = c->config.token = (struct slice){0};
    fill_timeouts(&c->config);
    struct slice name = config->ehlo_name.len > 0 ? config->ehlo_name : SLICE("localhost");
    struct slice cleartext = config->ehlo_name_cleartext.len > 0 ? config->ehlo_name_cleartext : name;
    if (arena_copy(&c->arena, name, &c->config.ehlo_name) != RESULT_OK ||
        arena_copy(&c->arena, cleartext, &c->config.ehlo_name_cleartext) != RESULT_OK ||
        arena_copy(&c->arena, config->session_id, &c->config.session_id) != RESULT_OK)
        return false;
    return (!config->early || copy_early(c, config->early)) && copy_secrets(c, config);
}

/* With `early` EHLO may have to wait for AUTH's company: smtp_client_tls_started will tell. */
static bool speaks_at_once(const struct smtp_client *c)
{
    return c->config.speaks_first && !(c->config.early && c->is_tls);
}

struct smtp_client *smtp_client_new(const struct smtp_client_config *config, int64_t now_ms)
{
    struct smtp_client *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->in = BUFFER(INPUT_MAX);
    c->look_at_len = SMTP_REPLY_LINE_MAX;
    c->out = BUFFER(SMTP_CLIENT_OUTPUT_MAX);
    c->now_ms = c->progress_at_ms = now_ms;
    c->is_tls = config->security == SMTP_SECURITY_TLS;
    if (!copy_config(c, config))
        smtp_client_free(&c);
    else if (speaks_at_once(c))
        client_put_hello(c);
    return c;
}

void smtp_client_free(struct smtp_client **client)
{
    struct smtp_client *c = *client;
    if (!c)
        return;
    client_forget_credentials(c);
    client_forget_given(c);
    free(c->user);
    free(c->device);
    buffer_free(&c->in);
    buffer_wipe_free(&c->out);
    buffer_free(&c->text);
    buffer_free(&c->verdict_text);
    buffer_free(&c->questions.lines);
    arena_free(&c->arena);
    free(c);
    *client = NULL;
}

/* ---- octets ---- */

void client_put(struct smtp_client *c, struct slice octets)
{
    if (c->failure == SMTP_FAIL_NONE && buffer_append(&c->out, octets) != RESULT_OK)
        client_fail(c, SMTP_FAIL_MEMORY);
}

void client_put_number(struct smtp_client *c, uint64_t number)
{
    char text[24];
    client_put(c, slice_of(text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)number)));
}

void client_begin_flight(struct smtp_client *c)
{
    bool has_asked_nothing = client_awaited(c) == CLIENT_COMMAND_NONE || (client_awaited(c) == CLIENT_COMMAND_GREETING && c->early.ehlo == CLIENT_UNSENT);
    if (!has_asked_nothing)
        return;
    c->flight_at = c->octets_sent + buffer_len(&c->out);
    if (buffer_len(&c->out) == 0)
        c->progress_at_ms = c->now_ms;
}

size_t smtp_client_feed(struct smtp_client *c, struct slice in, int64_t now_ms)
{
    c->now_ms = now_ms;
    client_forget_given(c);
    if (c->state == CLIENT_CLOSED || c->state == CLIENT_FAILED || c->failure != SMTP_FAIL_NONE)
        return 0;
    if (in.len == 0)
        return 0;
    /* RFC 3207 6, CVE-2011-0411: what comes in the clear when TLS should speak was put there by somebody else. */
    if (c->state == CLIENT_TLS) {
        client_fail(c, SMTP_FAIL_INJECTED);
        return in.len;
    }
    c->octets_sent_when_heard = c->octets_sent;
    enum result appended = buffer_append(&c->in, in);
    if (appended != RESULT_OK)
        client_fail(c, appended == RESULT_LIMIT ? SMTP_FAIL_PROTOCOL : SMTP_FAIL_MEMORY);
    if (slice_find(in, '\n') >= 0 || buffer_len(&c->in) >= c->look_at_len)
        c->may_have_reply = true;
    return in.len;
}

void smtp_client_eof(struct smtp_client *c)
{
    c->is_eof = true;
}

static enum smtp_failure failure_of(enum result parsed, const struct smtp_client *c)
{
    if (parsed == RESULT_MEMORY)
        return SMTP_FAIL_MEMORY;
    if (client_early_awaited(c) == CLIENT_COMMAND_GREETING)
        return SMTP_FAIL_EARLY; /* an ordinary session will tell what it is */
    return c->state == CLIENT_GREETING ? client_classify_foreign(buffer_slice(&c->in)) : SMTP_FAIL_PROTOCOL;
}

/* The parser is not asked again before another line has ended or grown too long: a reply that trickles in costs no more than one that does not. */
static void wait_for_line(struct smtp_client *c)
{
    c->may_have_reply = false;
    c->look_at_len = (size_t)(slice_find_last(buffer_slice(&c->in), '\n') + 1) + SMTP_REPLY_LINE_MAX;
}

/* The greeting answers nothing. */
static bool is_greeting(const struct smtp_client *c)
{
    return c->state == CLIENT_GREETING || client_early_awaited(c) == CLIENT_COMMAND_GREETING;
}

/* 421 in place of the greeting, to QUIT, and to what an early session takes for granted, means no more than another refusal there. */
static bool shuts_session(const struct smtp_client *c)
{
    return c->reply.code == 421 && !is_greeting(c) && c->state != CLIENT_QUIT && client_early_awaited(c) == CLIENT_COMMAND_NONE;
}

bool client_take_reply(struct smtp_client *c)
{
    size_t used;
    if (!c->may_have_reply || c->failure != SMTP_FAIL_NONE)
        return false;
    enum result parsed = smtp_reply_parse(buffer_slice(&c->in), &c->text, &c->reply, &used);
    if (parsed == RESULT_MORE) {
        wait_for_line(c);
        return false;
    }
    if (parsed != RESULT_OK) {
        client_fail(c, failure_of(parsed, c));
        return false;
    }
    buffer_consume(&c->in, used);
    c->may_have_reply = buffer_len(&c->in) > 0;
    c->progress_at_ms = c->now_ms;
    if (shuts_session(c)) {
        client_fail_reply(c, SMTP_FAIL_SHUT);
        return false;
    }
    if (!is_greeting(c) && c->octets_sent_when_heard <= c->flight_at) {
        client_fail(c, SMTP_FAIL_PROTOCOL);
        return false;
    }
    return true;
}

struct slice smtp_client_output(const struct smtp_client *c)
{
    return buffer_slice(&c->out);
}

void smtp_client_sent(struct smtp_client *c, size_t n, int64_t now_ms)
{
    c->now_ms = now_ms;
    buffer_consume(&c->out, n);
    c->octets_sent += n;
    if (n > 0)
        c->progress_at_ms = now_ms;
}

/* ---- time ---- */

/* Of what an early session awaits besides; the time before it has spoken is ours. */
static int64_t early_timeout_ms(const struct smtp_client *c)
{
    if (c->early.ehlo == CLIENT_UNSENT || client_early_awaited(c) == CLIENT_COMMAND_NONE)
        return 0;
    return client_early_awaited(c) == CLIENT_COMMAND_GREETING ? c->config.greeting_timeout_ms : c->config.command_timeout_ms;
}

static int64_t transaction_timeout_ms(const struct smtp_client *c)
{
    if (c->t.octets > c->t.start && buffer_len(&c->out) > 0)
        return c->config.body_timeout_ms;
    if (early_timeout_ms(c) > 0)
        return early_timeout_ms(c);
    if (client_awaited(c) == CLIENT_COMMAND_NONE)
        return 0; /* the delay is ours */
    return c->state == CLIENT_FINAL ? c->config.final_timeout_ms : c->config.command_timeout_ms;
}

/* The times of RFC 5321 4.5.3.2 are long because who gives up too early has a message taken twice (RFC 1047). By its name it is not, and BDAT is
 * answered piece by piece, so that so long a silence is no slow line: perhaps a proxy's, whose far side is dead. */
static int64_t named_timeout_ms(const struct smtp_client *c)
{
    int64_t timeout = transaction_timeout_ms(c);
    return c->t.has_name && c->t.uses_bdat && timeout > SMTP_CLIENT_NAMED_TIMEOUT_MS ? SMTP_CLIENT_NAMED_TIMEOUT_MS : timeout;
}

/* 0: none. */
static int64_t timeout_ms(const struct smtp_client *c)
{
    switch (c->state) {
    case CLIENT_GREETING: return c->config.greeting_timeout_ms;
    case CLIENT_EHLO:
    case CLIENT_HELO:
    case CLIENT_STARTTLS:
    case CLIENT_TLS:
    case CLIENT_AUTH:
    case CLIENT_DEVICE: return c->config.command_timeout_ms;
    case CLIENT_OUTCOME: return early_timeout_ms(c) > 0 ? early_timeout_ms(c) : c->config.command_timeout_ms;
    case CLIENT_ENVELOPE:
    case CLIENT_BODY:
    case CLIENT_FINAL: return named_timeout_ms(c);
    case CLIENT_QUIT: return SMTP_CLIENT_QUIT_TIMEOUT_MS;
    case CLIENT_PROVEN:
    case CLIENT_READY: return early_timeout_ms(c);
    case CLIENT_CLOSED:
    case CLIENT_FAILED: break;
    }
    return 0;
}

int64_t smtp_client_deadline_ms(const struct smtp_client *c)
{
    int64_t timeout = timeout_ms(c);
    if (timeout == 0 || c->failure != SMTP_FAIL_NONE)
        return INT64_MAX;
    return c->progress_at_ms + timeout;
}

void smtp_client_tick(struct smtp_client *c, int64_t now_ms)
{
    c->now_ms = now_ms;
    if (now_ms < smtp_client_deadline_ms(c))
        return;
    client_fail(c, SMTP_FAIL_TIMEOUT);
}

/* ---- events ---- */

static enum smtp_client_event_type owed_event(const struct smtp_client *c)
{
    switch (c->state) {
    case CLIENT_TLS: return SMTP_CLIENT_STARTTLS;
    case CLIENT_PROVEN: return SMTP_CLIENT_PROVEN;
    case CLIENT_READY: return SMTP_CLIENT_READY;
    default: break;
    }
    return SMTP_CLIENT_CLOSED;
}

/* Whether a message may lie with the peer although no reply said so. 421 is a reply; and who refuses us, or can't prove himself, takes no mail. */
static bool leaves_uncertain(const struct smtp_client *c)
{
    switch (c->failure) {
    case SMTP_FAIL_SHUT:
    case SMTP_FAIL_ABORTED:
    case SMTP_FAIL_EARLY:
    case SMTP_FAIL_AUTH_LATER:
    case SMTP_FAIL_AUTH_FORGED: return false;
    default: return client_is_uncertain(c);
    }
}

static void tell_failure(struct smtp_client *c, struct smtp_client_event *event)
{
    *event = (struct smtp_client_event){
        .type = SMTP_CLIENT_FAILED,
        .failure = c->failure,
        .phase = c->failure_phase,
        .reply = c->has_failure_reply ? &c->reply : NULL,
        .is_uncertain = leaves_uncertain(c),
    };
    log_event(c->config.log, LOG_DEBUG, "smtp-client-failed", LOG_STR("session", c->config.session_id),
              LOG_TEXT("failure", smtp_failure_name(c->failure)), LOG_TEXT("phase", c->failure_phase), LOG_INT("uncertain", event->is_uncertain));
    client_forget_credentials(c);
    client_set_state(c, CLIENT_FAILED);
}

/* Nothing more will come. */
static enum client_step end_of_input(struct smtp_client *c)
{
    struct slice rest = buffer_slice(&c->in);
    bool is_foreign = c->state == CLIENT_GREETING && rest.len > 0 && (rest.ptr[0] < '2' || rest.ptr[0] > '5');
    client_fail(c, is_foreign ? client_classify_foreign(rest) : SMTP_FAIL_EOF);
    return CLIENT_STEP_AGAIN;
}

static enum client_step step(struct smtp_client *c, struct smtp_client_event *event)
{
    if (c->failure != SMTP_FAIL_NONE) {
        tell_failure(c, event);
        return CLIENT_STEP_EVENT;
    }
    if (c->owes_event) {
        c->owes_event = false;
        event->type = owed_event(c);
        return CLIENT_STEP_EVENT;
    }
    if (c->state == CLIENT_CLOSED)
        return CLIENT_STEP_IDLE;
    enum client_step done = client_has_transaction(c) ? client_transaction_step(c, event) : client_session_step(c, event);
    if (done == CLIENT_STEP_IDLE && c->is_eof)
        done = end_of_input(c);
    return done;
}

bool smtp_client_next(struct smtp_client *c, struct smtp_client_event *event)
{
    enum client_step done = CLIENT_STEP_AGAIN;
    *event = (struct smtp_client_event){0};
    client_forget_given(c);
    while (done == CLIENT_STEP_AGAIN && c->state != CLIENT_FAILED)
        done = step(c, event);
    return done == CLIENT_STEP_EVENT;
}

/* ---- acts ---- */

static enum result copy_binding(struct smtp_client *c, const struct sasl_binding *from, struct sasl_binding *to)
{
    enum result copied = arena_copy(&c->arena, from->name, &to->name);
    return copied == RESULT_OK ? arena_copy(&c->arena, from->data, &to->data) : copied;
}

enum result smtp_client_tls_started(struct smtp_client *c, const struct sasl_binding *bindings, size_t nbindings, int64_t now_ms)
{
    c->now_ms = now_ms;
    if (nbindings > SMTP_CLIENT_BINDINGS_MAX)
        return RESULT_LIMIT;
    for (c->nbindings = 0; c->nbindings < nbindings; c->nbindings++)
        if (copy_binding(c, &bindings[c->nbindings], &c->bindings[c->nbindings]) != RESULT_OK)
            return RESULT_MEMORY;
    bool is_from_start = c->state == CLIENT_GREETING && c->is_tls && !c->has_said_hello;
    if ((c->state != CLIENT_TLS && !is_from_start) || c->failure != SMTP_FAIL_NONE)
        return RESULT_OK;
    /* RFC 3207 4.2: all that was learnt in the clear is forgotten. */
    c->is_tls = true;
    c->peer = (struct smtp_peer){0};
    if (client_early_begin(c))
        return RESULT_OK;
    if (!is_from_start)
        client_say_hello(c);
    else if (c->config.speaks_first)
        client_put_hello(c);
    return RESULT_OK;
}

void smtp_client_login(struct smtp_client *c, int64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->state != CLIENT_PROVEN || c->failure != SMTP_FAIL_NONE)
        return;
    if (c->early.is_on)
        client_early_login(c);
    else
        client_start_auth(c);
}

void smtp_client_abort(struct smtp_client *c)
{
    client_fail(c, SMTP_FAIL_ABORTED);
}

void smtp_client_quit(struct smtp_client *c, int64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->failure != SMTP_FAIL_NONE || c->state == CLIENT_QUIT || c->state == CLIENT_CLOSED)
        return;
    if (c->state != CLIENT_PROVEN && c->state != CLIENT_READY) {
        buffer_wipe_free(&c->out);
        client_set_state(c, CLIENT_CLOSED);
        return;
    }
    client_begin_flight(c);
    client_put(c, SLICE("QUIT\r\n"));
    client_set_state(c, CLIENT_QUIT);
}

bool smtp_client_uses_token(const struct smtp_client *c)
{
    return c->uses_token;
}

bool smtp_client_is_token_refused(const struct smtp_client *c)
{
    return c->is_token_refused;
}

bool smtp_client_is_early(const struct smtp_client *c)
{
    return c->early.is_on && c->early.ehlo != CLIENT_ANSWERED;
}

/* No piece is larger than SMTP_CLIENT_CHUNK_MAX, so what was answered is not less than what is left without those that were not; of these the newest is known. */
uint64_t smtp_client_taken_octets(const struct smtp_client *c)
{
    const struct client_transaction *t = &c->t;
    uint64_t nopen = t->nbdat_asked - t->nbdat_answered, open = nopen > 0 ? (nopen - 1) * SMTP_CLIENT_CHUNK_MAX + t->newest_octets : 0;
    bool is_refused = t->has_verdict && !smtp_reply_is_positive(&t->verdict);
    uint64_t taken = t->octets > open + t->start ? t->octets - open : t->start;
    return !t->uses_bdat || is_refused ? 0 : taken;
}

bool smtp_client_is_uncertain(const struct smtp_client *c)
{
    return client_is_uncertain(c);
}

const struct smtp_peer *smtp_client_peer(const struct smtp_client *c)
{
    return &c->peer;
}
