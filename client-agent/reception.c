#include "reception.h"

#include "base/list.h"
#include "crypto/crypto.h"
#include "mail/received.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { SALT = 16 };

/* A name that may log in, with what each mechanism needs of its password. */
struct credential {
    struct slice user;
    struct buffer password;
    struct scram_verifier scram;
};

struct reception {
    struct reception_services services;
    struct credential local, token; /* local.user empty: none */
    struct scram_verifier nobody;   /* for unknown names */
    struct list doubtful;           /* sessions whose last 250 nobody is known to have read */
};

struct session {
    struct reception *reception;
    struct settings *settings;
    struct service_session *service;
    struct sasl_server *sasl;
    struct intake *intake;
    struct list_node doubt; /* in reception's doubtful */
    uint64_t doubted;       /* the message of that 250 */
    uint64_t ncommands;     /* when it was sent */
};

/* ---- logging in ------------------------------------------------------------------------------------------------- */

static const struct credential *find(const struct reception *reception, struct slice user)
{
    if (slice_equal(user, reception->token.user))
        return &reception->token;
    return reception->local.user.len > 0 && slice_equal(user, reception->local.user) ? &reception->local : NULL;
}

static void answer(struct session *session, struct smtp_reply reply)
{
    service_answer(session->service, &reply);
}

static void fail_login(struct session *session)
{
    log_event(session->reception->services.log, LOG_WARNING, "auth-failed", LOG_TEXT("session", service_id(session->service)));
    sasl_server_free(&session->sasl);
    if (session->reception->local.user.len > 0)
        answer(session, SMTP_REPLY(535, 5, 7, 8, "Wrong name or password; they stand in the agent's configuration under [local]"));
    else
        answer(session, SMTP_REPLY(535, 5, 7, 8, "No login is needed here; set the mail program to none"));
}

static void succeed_login(struct session *session, struct slice user)
{
    if (smtp_server_set_user(service_core(session->service), user) != RESULT_OK)
        answer(session, SMTP_REPLY(454, 4, 7, 0, "Out of memory; try again later"));
    else
        answer(session, SMTP_REPLY(235, 2, 7, 0, "Welcome"));
    sasl_server_free(&session->sasl);
}

static void follow_login(struct session *session, struct sasl_server_step *step)
{
    const struct credential *credential;
    for (;;) {
        switch (step->need) {
        case SASL_NEED_RESPONSE:
            service_challenge(session->service, step->challenge);
            return;
        case SASL_NEED_PASSWORD:
            credential = find(session->reception, step->user);
            bool is_right = credential && crypto_equal(step->password, buffer_slice(&credential->password));
            sasl_server_password_checked(session->sasl, is_right, step);
            continue;
        case SASL_NEED_VERIFIER:
            credential = find(session->reception, step->user);
            sasl_server_verifier_found(session->sasl, credential ? &credential->scram : &session->reception->nobody, credential != NULL, step);
            continue;
        case SASL_NEED_TOKEN: /* not offered here */
        case SASL_FAILED:
            fail_login(session);
            return;
        case SASL_SUCCEEDED:
            if (step->challenge.len > 0)
                service_challenge(session->service, step->challenge);
            else
                succeed_login(session, step->user);
            return;
        case SASL_MALFORMED:
            sasl_server_free(&session->sasl);
            answer(session, SMTP_REPLY(501, 5, 5, 2, "That is no response of this mechanism"));
            return;
        }
    }
}

static void begin_login(struct session *session, const struct smtp_server_event *event)
{
    uint8_t nonce[18];
    struct sasl_server_step step;
    crypto_random(nonce, sizeof nonce);
    sasl_server_free(&session->sasl);
    session->sasl = sasl_server_new(event->mechanism, false, NULL, 0, nonce);
    if (!session->sasl) {
        answer(session, intake_reply_of(RESULT_MEMORY));
        return;
    }
    sasl_server_start(session->sasl, event->has_data, event->data, &step);
    follow_login(session, &step);
}

static void continue_login(struct session *session, struct slice response)
{
    struct sasl_server_step step;
    sasl_server_response(session->sasl, response, &step);
    follow_login(session, &step);
}

/* ---- who has read his 250 --------------------------------------------------------------------------------------- */

static bool has_spoken(const struct session *session)
{
    const struct smtp_server *core = service_core(session->service);
    return core && smtp_server_ncommands(core) > session->ncommands;
}

/* Whoever goes on has read the reply, and so has whoever closes with nothing unread. (Whoever sent the next command before it has no claim to be recognised: to take a message twice does less harm than to take none.) */
static void settle_doubts(struct reception *reception)
{
    LIST_EACH_SAFE(node, after, &reception->doubtful) {
        struct session *session = LIST_OWNER(node, struct session, doubt);
        if (has_spoken(session) || service_is_read(session->service)) {
            list_remove(node);
            store_message_forget_digest(reception->services.store, session->doubted, NULL, NULL);
        }
    }
}

/* Whoever calls sendmail twice means two messages, and it does not come back by itself: no mail of it is recognised, however alike. An agent that stopped between the reply and QUIT would keep a doubt that
 * takes the next one for the same. */
static int64_t retry_window_ms(const struct session *session)
{
    bool is_sendmail = slice_equal(smtp_server_user(service_core(session->service)), RECEPTION_TOKEN_USER);
    return is_sendmail ? 0 : session->settings->values.retry_window;
}

static void doubt(struct session *session)
{
    if (retry_window_ms(session) == 0 || intake_has_message_id(session->intake))
        return;
    session->doubted = intake_id(session->intake);
    session->ncommands = smtp_server_ncommands(service_core(session->service));
    list_append(&session->reception->doubtful, &session->doubt);
    service_mark(session->service);
}

/* ---- the message ------------------------------------------------------------------------------------------------ */

void reception_message_id(uint64_t id, struct slice sender, char *out, size_t size)
{
    char id_text[MESSAGE_ID_TEXT];
    ptrdiff_t at = slice_find_last(sender, '@');
    struct slice domain = at < 0 ? AGENT_NAME : slice_skip(sender, (size_t)at + 1);
    message_id_format(id, id_text);
    snprintf(out, size, "<%s.%08x@%.*s>", id_text, (unsigned)crypto_random_u32(), SLICE_ARG(domain));
}

enum result reception_stamp_make(struct reception_stamp *stamp, uint64_t id, struct slice sender, const char *protocol, int64_t now_ms, struct submission_config *out)
{
    char id_text[MESSAGE_ID_TEXT];
    message_id_format(id, id_text);
    date_format_rfc5322(now_ms, stamp->date);
    reception_message_id(id, sender, stamp->message_id, sizeof stamp->message_id);
    stamp->received = BUFFER(2048);
    const struct received received = {.is_private = true, .by = AGENT_NAME, .protocol = protocol, .id = slice_from_cstr(id_text), .at_ms = now_ms};
    enum result result = received_format(&received, &stamp->received);
    *out = (struct submission_config){
        .mode = SUBMISSION_AGENT,
        .received = buffer_slice(&stamp->received),
        .date = slice_from_cstr(stamp->date),
        .message_id = slice_from_cstr(stamp->message_id),
        .own_name = AGENT_NAME,
    };
    return result;
}

void reception_stamp_free(struct reception_stamp *stamp)
{
    buffer_free(&stamp->received);
}

static void on_resume(void *owner)
{
    struct session *session = owner;
    service_resume(session->service);
}

static void on_reply(void *owner, const struct smtp_reply *reply)
{
    struct session *session = owner;
    if (!smtp_reply_is_positive(reply))
        log_event(session->reception->services.log, LOG_WARNING, "message-refused", LOG_TEXT("session", service_id(session->service)), LOG_INT("code", reply->code),
                  LOG_STR("reason", reply->text));
    else
        doubt(session);
    service_answer(session->service, reply);
    intake_free(&session->intake);
}

static void on_queued(void *context, const struct intake_queued *queued)
{
    struct reception *reception = context;
    const struct store_message *message = queued->message;
    char id[MESSAGE_ID_TEXT];
    message_id_format(message->id, id);
    log_event(reception->services.log, LOG_INFO, "message-queued", LOG_TEXT("item", id), LOG_STR("from", message->envelope.sender),
              LOG_INT("nrcpt", message->envelope.nrcpt), LOG_INT("size", message->size_octets));
    reception->services.on_queued(reception->services.context, queued);
}

static void on_retry(void *context, uint64_t earlier)
{
    const struct reception *reception = context;
    char id[MESSAGE_ID_TEXT];
    message_id_format(earlier, id);
    log_event(reception->services.log, LOG_INFO, "message-again", LOG_TEXT("item", id), LOG_TEXT("reason", "it was submitted before, and is not taken twice"));
}

static void begin_body(struct session *session, const struct envelope *envelope)
{
    struct reception *reception = session->reception;
    struct submission_config submission;
    struct reception_stamp stamp;
    int64_t now_ms = wall_now_ms();
    uint64_t id = reception->services.next_id(reception->services.context);
    intake_free(&session->intake);
    enum result result = reception_stamp_make(&stamp, id, envelope->sender, smtp_server_protocol(service_core(session->service)), now_ms, &submission);
    submission.allow_utf8 = envelope->is_smtputf8;
    if (result == RESULT_OK)
        session->intake = intake_new(&(struct intake_config){
            .store = reception->services.store,
            .id = id,
            .envelope = envelope,
            .submission = &submission,
            .received_at_ms = now_ms,
            .expires_at_ms = now_ms + session->settings->values.lifetime,
            .retry_window_ms = retry_window_ms(session),
            .wall_lead_ms = reception->services.wall_lead_ms(reception->services.context),
            .on_queued = on_queued,
            .on_retry = on_retry,
            .context = reception,
            .on_resume = on_resume,
            .on_reply = on_reply,
            .owner = session,
        });
    reception_stamp_free(&stamp);
    if (session->intake)
        answer(session, SMTP_REPLY(354, 0, 0, 0, "Send the message; end with a dot on a line by itself"));
    else
        answer(session, intake_reply_of(RESULT_MEMORY));
}

static void check_recipient(struct session *session, struct slice address)
{
    if (slice_find(address, '@') < 0)
        answer(session, SMTP_REPLY(550, 5, 1, 2, "Give the address with its domain; this laptop has no mailboxes"));
    else
        answer(session, SMTP_REPLY(250, 2, 1, 5, "Recipient ok"));
}

/* ---- the handler ------------------------------------------------------------------------------------------------ */

static bool on_open(void *context, struct service_session *service, void **session_context, const char **refusal)
{
    struct reception *reception = context;
    struct session *session = calloc(1, sizeof *session);
    if (!session) {
        *refusal = "Out of memory; try again later";
        return false;
    }
    session->reception = reception;
    session->settings = settings_ref(reception->services.settings);
    session->service = service;
    *session_context = session;
    return true;
}

static void on_event(void *context, struct service_session *service, const struct smtp_server_event *event)
{
    struct session *session = context;
    settle_doubts(session->reception);
    switch (event->type) {
    case SMTP_SERVER_AUTH: begin_login(session, event); break;
    case SMTP_SERVER_AUTH_RESPONSE: continue_login(session, event->data); break;
    case SMTP_SERVER_AUTH_CANCELLED: sasl_server_free(&session->sasl); break;
    case SMTP_SERVER_MAIL: answer(session, SMTP_REPLY(250, 2, 1, 0, "Sender ok")); break;
    case SMTP_SERVER_RCPT: check_recipient(session, event->recipient->address); break;
    case SMTP_SERVER_BODY_BEGIN: begin_body(session, event->envelope); break;
    case SMTP_SERVER_BODY:
        if (session->intake && intake_feed(session->intake, event->data))
            service_pause(service);
        break;
    case SMTP_SERVER_BODY_END:
        if (session->intake)
            intake_finish(session->intake);
        else
            answer(session, intake_reply_of(RESULT_MEMORY));
        break;
    case SMTP_SERVER_TRANSACTION_ENDED: intake_free(&session->intake); break;
    case SMTP_SERVER_OUTCOME:
    case SMTP_SERVER_DEVICE: /* neither is offered here */
    case SMTP_SERVER_STARTTLS:
    case SMTP_SERVER_CLOSE: break;
    }
}

static void on_closed(void *context, struct service_session *service)
{
    struct session *session = context;
    (void)service;
    settle_doubts(session->reception);
    list_remove(&session->doubt);
    sasl_server_free(&session->sasl);
    intake_free(&session->intake);
    settings_unref(&session->settings);
    free(session);
}

struct service_handler reception_handler(struct reception *reception)
{
    return (struct service_handler){reception, on_open, on_event, on_closed};
}

void reception_smtp_config(const struct settings *settings, const struct log *log, struct smtp_server_config *out)
{
    const struct settings_values *values = &settings->values;
    *out = (struct smtp_server_config){
        .hostname = AGENT_NAME,
        .size_max_octets = (uint64_t)values->message_size,
        .nrcpt_max = (uint32_t)values->recipients,
        .auth_mechanisms = SASL_PLAIN | SASL_LOGIN | SASL_SCRAM_SHA_256,
        .allows_auth_without_tls = true,
        .requires_auth = values->requires_auth,
        .offers_smtputf8 = true,
        .offers_binarymime = true,
        .log = log,
    };
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

/* All or nothing. An empty user: nobody can log in with it. */
static enum result credential_set(struct credential *credential, struct slice user, struct slice password)
{
    uint8_t salt[SALT];
    struct credential fresh = {.user = user, .password = BUFFER(SASL_PASSWORD_MAX)};
    enum result result = RESULT_OK;
    crypto_random(salt, sizeof salt);
    if (user.len > 0)
        result = scram_verifier_make(password, salt, sizeof salt, SCRAM_ITERATIONS, &fresh.scram);
    if (user.len > 0 && result == RESULT_OK)
        result = buffer_append(&fresh.password, password);
    if (result == RESULT_OK) {
        buffer_wipe_free(&credential->password);
        *credential = fresh;
    } else {
        buffer_wipe_free(&fresh.password);
    }
    crypto_wipe(&fresh.scram, sizeof fresh.scram);
    return result;
}

struct reception *reception_new(const struct reception_services *services)
{
    struct reception *reception = calloc(1, sizeof *reception);
    uint8_t nothing[CRYPTO_KEY];
    if (!reception)
        return NULL;
    reception->services = *services;
    reception->services.settings = settings_ref(services->settings);
    crypto_random(nothing, sizeof nothing);
    enum result result = scram_verifier_make(SLICE("nobody"), nothing, SALT, SCRAM_ITERATIONS, &reception->nobody);
    crypto_random(reception->nobody.stored_key, SCRAM_KEY);
    if (result == RESULT_OK)
        result = credential_set(&reception->token, RECEPTION_TOKEN_USER, services->token);
    if (result == RESULT_OK)
        result = credential_set(&reception->local, services->settings->values.local_user, services->local_password);
    if (result != RESULT_OK)
        reception_free(&reception);
    return reception;
}

enum result reception_reload(struct reception *reception, struct settings *settings, struct slice local_password)
{
    enum result result = credential_set(&reception->local, settings->values.local_user, local_password);
    if (result != RESULT_OK)
        return result;
    settings_unref(&reception->services.settings);
    reception->services.settings = settings_ref(settings);
    return RESULT_OK;
}

void reception_free(struct reception **reception)
{
    struct reception *r = *reception;
    *reception = NULL;
    if (!r)
        return;
    buffer_wipe_free(&r->local.password);
    buffer_wipe_free(&r->token.password);
    settings_unref(&r->services.settings);
    free(r);
}
