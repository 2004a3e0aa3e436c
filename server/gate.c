#include "gate.h"

#include "checkpoint.h"
#include "enrolment.h"
#include "outcome.h"
#include "refresh.h"

#include "mail/address.h"
#include "mail/date.h"
#include "mail/message_id.h"
#include "mail/received.h"
#include "smtp/command.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gate {
    struct gate_services services;
};

struct session {
    struct gate *gate;
    struct conf *conf;
    struct service_session *service;
    struct login *login;
    struct account *account;
    uint32_t accounts_version;
    char device[ACCOUNT_DEVICE_ID + 1]; /* that logged in; "" where it was a person */
    int64_t proved_at_ms;                /* when the account whose password was proved had last been changed */
    struct refresh *refresh;             /* on its way: the account, looked up again */
    struct enrolment *enrolment;         /* likewise */
    struct outcome *outcome;             /* likewise */
    char asked[SMTP_TRANSID_MAX + 1];    /* of XOUTCOME, which waits for the account; "": it is MAIL that does */
    uint32_t asked_first;

    /* The transaction. */
    struct arena arena;
    struct slice sender;
    struct slice transid;          /* empty: it has no name */
    uint64_t size_octets;          /* as MAIL had it; 0: it had none */
    bool is_whole;                 /* XWHOLE */
    uint8_t digest[STORE_DIGEST];  /* of a named one's MAIL */
    struct checkpoint *checkpoint; /* of a named one */
    struct intake *intake;
};

/* ---- replies -------------------------------------------------------------------------------------------------- */

static void session_answer(struct session *session, struct smtp_reply reply)
{
    service_answer(session->service, &reply);
}

static const struct log *session_log(const struct session *session)
{
    return session->gate->services.login.log;
}

static void session_log_refused(const struct session *session, const char *event, struct slice address)
{
    log_event(session_log(session), LOG_INFO, event, LOG_TEXT("session", service_id(session->service)), LOG_STR("user", session->account->name),
              LOG_STR("address", address));
}

/* "Sender x@y is not the account's: anna may send as anna@example.org, @example.com" */
static void session_describe_stranger(const struct session *session, const char *what, struct slice address, char *out, size_t size)
{
    char may[240];
    account_describe(session->account, may, sizeof may);
    snprintf(out, size, "%s %.*s is not the account's: %.*s may send as %s", what, SLICE_ARG(slice_take(address, 80)),
             SLICE_ARG(session->account->name), may);
}

/* ---- the account ---------------------------------------------------------------------------------------------- */

static void session_set_account(struct session *session, struct account *account, uint32_t version)
{
    account_free(&session->account);
    session->account = account;
    session->accounts_version = version;
}

static void session_on_login(void *context, struct account *account, struct slice device, uint32_t version)
{
    struct session *session = context;
    session_set_account(session, account, version);
    session->proved_at_ms = account->changed_at_ms;
    if (!slice_to_cstr(device, session->device, sizeof session->device))
        session->device[0] = '\0';
}

/* Who asks for a name. A session without a token has proved the account's password, and has after an XDEVICE of its own. */
static struct store_claim session_claim(const struct session *session, struct slice transid)
{
    struct store_claim claim = {
        .account = session->account->name,
        .device = slice_from_cstr(session->device),
        .helo = smtp_server_helo(service_core(session->service)),
        .transid = transid,
        .is_by_password = !session->device[0],
        .size_octets = session->size_octets,
        .is_whole = session->is_whole,
        .served_ms = served_now_ms(session->gate->services.served),
    };
    memcpy(claim.digest, session->digest, sizeof claim.digest);
    return claim;
}

/* refusal: what MAIL gets unless the message is here already; code 0: nothing speaks against it. */
static void session_begin_transaction(struct session *session, struct smtp_reply refusal)
{
    if (session->transid.len == 0) {
        session_answer(session, refusal.code ? refusal : SMTP_REPLY(250, 2, 1, 0, "Sender ok"));
        return;
    }
    session->checkpoint = checkpoint_new(&(struct checkpoint_config){
        .loop = session->gate->services.loop,
        .store = session->gate->services.login.store,
        .log = session_log(session),
        .underway = session->gate->services.underway,
        .session = session->service,
        .claim = session_claim(session, session->transid),
        .refusal = refusal,
        .served = session->gate->services.served,
    });
    if (!session->checkpoint)
        session_answer(session, intake_reply_of(RESULT_MEMORY));
}

static void session_judge_sender(struct session *session)
{
    char text[420];
    if (session->sender.len == 0 || account_may_send_as(session->account, session->sender)) {
        session_begin_transaction(session, (struct smtp_reply){0});
        return;
    }
    session_log_refused(session, "sender-refused", session->sender);
    session_describe_stranger(session, "Sender", session->sender, text, sizeof text);
    session_begin_transaction(session, (struct smtp_reply){550, {5, 7, 1}, slice_from_cstr(text)});
}

static void session_ask(struct session *session)
{
    struct store_claim claim = session_claim(session, slice_from_cstr(session->asked));
    session->outcome = outcome_new(session->gate->services.login.store, session_log(session), session->service, &claim, session->asked_first, &session->outcome);
    if (!session->outcome)
        session_answer(session, SMTP_REPLY(452, 4, 3, 1, "Out of memory for now; please ask again in a moment"));
}

static void session_go_on(struct session *session)
{
    if (session->asked[0])
        session_ask(session);
    else
        session_judge_sender(session);
}

static void session_on_refreshed(void *context, enum result result, struct account *account, uint32_t version)
{
    struct session *session = context;
    if (result == RESULT_NOT_FOUND && session->device[0]) {
        session_answer(session, SMTP_REPLY(421, 4, 7, 0, "This device was revoked, or its account disabled or removed; closing"));
    } else if (result == RESULT_NOT_FOUND) {
        session_answer(session, SMTP_REPLY(421, 4, 7, 0, "This account was disabled or removed; closing"));
    } else if (result != RESULT_OK) {
        session_answer(session, SMTP_REPLY(451, 4, 3, 0, "The account could not be looked up; try again later"));
    } else {
        session_set_account(session, account, version);
        session_go_on(session);
    }
}

/* MAIL and XOUTCOME are for who may still do so: an account that has changed since is looked up again first. */
static void session_look_at_account(struct session *session)
{
    uint32_t version = *session->gate->services.login.accounts_version;
    struct store_client *store = session->gate->services.login.store;
    if (version == session->accounts_version) {
        session_go_on(session);
        return;
    }
    session->refresh = refresh_new(store, session->account->name, slice_from_cstr(session->device), version, session_on_refreshed, session, &session->refresh);
    if (!session->refresh)
        session_answer(session, intake_reply_of(RESULT_MEMORY));
}

/* ---- XDEVICE -------------------------------------------------------------------------------------------------- */

static void session_on_device(struct session *session, struct slice label)
{
    /* The core asks for it after a login only, and never in one by token. What was proved counts, not what a look at MAIL has found since. */
    struct account proved = {.name = session->account->name, .changed_at_ms = session->proved_at_ms};
    session->enrolment = enrolment_new(session->gate->services.login.store, session_log(session), session->service, &proved, label,
                                       served_now_ms(session->gate->services.served), &session->enrolment);
    if (!session->enrolment)
        session_answer(session, SMTP_REPLY(452, 4, 3, 1, "Out of memory for now; please try again in a moment"));
}

/* ---- XOUTCOME -------------------------------------------------------------------------------------------------- */

static void session_on_outcome(struct session *session, struct slice transid, uint32_t first)
{
    assert(session->account && transid.len <= SMTP_TRANSID_MAX); /* by the core */
    (void)slice_to_cstr(transid, session->asked, sizeof session->asked);
    session->asked_first = first;
    session_look_at_account(session);
}

/* ---- MAIL and RCPT -------------------------------------------------------------------------------------------- */

static enum result session_keep_mail(struct session *session, const struct smtp_server_event *mail)
{
    enum result result = arena_copy(&session->arena, mail->envelope->sender, &session->sender);
    if (result == RESULT_OK)
        result = arena_copy(&session->arena, mail->data, &session->transid);
    session->size_octets = mail->size_octets;
    session->is_whole = mail->is_whole;
    if (mail->data.len > 0)
        checkpoint_digest(mail->envelope, mail->size_octets, session->digest);
    return result;
}

static void session_on_mail(struct session *session, const struct smtp_server_event *mail)
{
    assert(session->account); /* the core lets nobody come here without a login */
    checkpoint_free(&session->checkpoint);
    arena_reset(&session->arena);
    session->asked[0] = '\0';
    if (session_keep_mail(session, mail) != RESULT_OK)
        session_answer(session, intake_reply_of(RESULT_MEMORY));
    else
        session_look_at_account(session);
}

static void session_on_rcpt(struct session *session, const struct envelope_recipient *recipient)
{
    if (checkpoint_has_recipient(session->checkpoint, recipient->address))
        session_answer(session, SMTP_REPLY(250, 2, 1, 5, "Recipient ok"));
    else if (session->sender.len == 0 && !account_may_send_as(session->account, recipient->address))
        session_answer(session, SMTP_REPLY(550, 5, 7, 1, "From the empty sender, mail goes to the account's own addresses only"));
    else if (checkpoint_is_known(session->checkpoint))
        session_answer(session, SMTP_REPLY(452, 4, 5, 3, "This transaction has begun without that recipient; send to it in another"));
    else
        session_answer(session, SMTP_REPLY(250, 2, 1, 5, "Recipient ok"));
}

/* ---- the message ---------------------------------------------------------------------------------------------- */

static bool session_may_show(struct session *session, const char *field, struct slice address, struct smtp_reply *refusal)
{
    if (account_may_send_as(session->account, address))
        return true;
    char *text = arena_alloc(&session->arena, 420);
    session_log_refused(session, "author-refused", address);
    if (text)
        session_describe_stranger(session, field, address, text, 420);
    *refusal = (struct smtp_reply){550, {5, 7, 1}, slice_from_cstr(text ? text : "From: or Sender: is not the account's")};
    return false;
}

/* Every address that a mail program may show as the author, or as who sent it for him, is the account's, or the message is refused. */
static bool gate_judge(void *owner, const struct submission_facts *facts, const struct envelope *envelope, struct smtp_reply *refusal)
{
    struct session *session = owner;
    (void)envelope;
    for (size_t i = 0; i < facts->nfrom; i++) {
        if (!session_may_show(session, "From:", facts->from[i], refusal))
            return false;
    }
    return facts->sender.len == 0 || session_may_show(session, "Sender:", facts->sender, refusal);
}

static void gate_route(void *context, const struct envelope *envelope, struct slice *hops)
{
    const struct gate *gate = context;
    for (size_t i = 0; i < envelope->nrcpt; i++)
        hops[i] = conf_hop(gate->services.conf, address_domain_of(envelope->recipients[i].address));
}

static void gate_on_queued(void *context, const struct intake_queued *queued)
{
    struct gate *gate = context;
    const struct store_message *message = queued->message;
    char id[MESSAGE_ID_TEXT];
    message_id_format(message->id, id);
    log_event(gate->services.login.log, LOG_INFO, "message-queued", LOG_TEXT("item", id), LOG_STR("user", message->account),
              LOG_STR("from", message->envelope.sender), LOG_INT("nrcpt", message->envelope.nrcpt), LOG_INT("size", message->size_octets));
    gate->services.on_queued(gate->services.context,
                                  queued_letter_new(message->id, queued->hops, message->envelope.nrcpt, queued->due_at_ms));
}

static void session_on_resume(void *owner)
{
    struct session *session = owner;
    if (session->checkpoint)
        checkpoint_resume(session->checkpoint);
    service_resume(session->service);
}

static void session_on_reply(void *owner, const struct smtp_reply *reply)
{
    struct session *session = owner;
    if (!smtp_reply_is_positive(reply))
        log_event(session_log(session), LOG_INFO, "message-refused", LOG_TEXT("session", service_id(session->service)),
                  LOG_STR("user", session->account->name), LOG_STR("from", session->sender), LOG_INT("code", reply->code),
                  LOG_STR("reason", reply->text));
    service_answer(session->service, reply);
    intake_free(&session->intake);
    checkpoint_free(&session->checkpoint);
}

/* What has come of a body with a name is kept, unless the core has refused it. */
static void session_end_transaction(struct session *session, bool is_refused)
{
    if (session->intake && is_refused)
        intake_drop(&session->intake);
    else if (session->checkpoint && is_refused && !session->intake)
        checkpoint_forget(session->checkpoint);
    intake_free(&session->intake);
    checkpoint_free(&session->checkpoint);
}

static enum result session_write_received(const struct session *session, const struct envelope *envelope, uint64_t id, int64_t now_ms,
                                          struct buffer *out)
{
    const struct tls_info *tls = service_tls(session->service);
    char id_text[MESSAGE_ID_TEXT];
    message_id_format(id, id_text);
    const struct received received = {
        .is_private = true,
        .by = session->conf->values.name,
        .protocol = smtp_server_protocol(service_core(session->service)),
        .tls_version = slice_from_cstr(tls ? tls->version : NULL),
        .tls_cipher = slice_from_cstr(tls ? tls->cipher : NULL),
        .id = slice_from_cstr(id_text),
        .for_address = envelope->nrcpt == 1 ? envelope->recipients[0].address : (struct slice){0},
        .at_ms = now_ms,
    };
    return received_format(&received, out);
}

static struct intake *session_new_intake(struct session *session, const struct envelope *envelope, struct slice received, uint64_t id, int64_t now_ms)
{
    struct slice name = session->conf->values.name;
    char id_text[MESSAGE_ID_TEXT], date[DATE_RFC5322], message_id[320];
    message_id_format(id, id_text);
    date_format_rfc5322(now_ms, date);
    snprintf(message_id, sizeof message_id, "<%s.%08x@%.*s>", id_text, (unsigned)crypto_random_u32(), SLICE_ARG(name));
    const struct submission_config submission = {
        .mode = SUBMISSION_RELAY,
        .received = received,
        .date = slice_from_cstr(date),
        .message_id = slice_from_cstr(message_id),
        .own_name = name,
        .allow_utf8 = envelope->is_smtputf8,
    };
    struct store_naming naming;
    struct intake_config config = {
        .store = session->gate->services.login.store,
        .id = id,
        .account = session->account->name,
        .envelope = envelope,
        .submission = &submission,
        .received_at_ms = now_ms,
        .expires_at_ms = now_ms + session->conf->values.lifetime,
        .judge = gate_judge,
        .route = gate_route,
        .on_queued = gate_on_queued,
        .context = session->gate,
        .on_resume = session_on_resume,
        .on_reply = session_on_reply,
        .owner = session,
    };
    if (session->checkpoint)
        checkpoint_name(session->checkpoint, envelope, &naming, &config);
    return intake_new(&config);
}

static void session_open_intake(struct session *session, const struct envelope *mail)
{
    struct envelope known = session->checkpoint ? checkpoint_envelope(session->checkpoint, mail) : *mail;
    const struct gate_services *services = &session->gate->services;
    struct buffer received = BUFFER(4096);
    int64_t now_ms = wall_now_ms();
    uint64_t id = services->next_id(services->context);
    if (session_write_received(session, &known, id, now_ms, &received) == RESULT_OK)
        session->intake = session_new_intake(session, &known, buffer_slice(&received), id, now_ms);
    buffer_free(&received);
}

static void session_on_body_begin(struct session *session, const struct envelope *envelope)
{
    intake_free(&session->intake);
    if (!checkpoint_is_over(session->checkpoint))
        session_open_intake(session, envelope);
    if (session->intake || checkpoint_is_over(session->checkpoint))
        session_answer(session, SMTP_REPLY(354, 0, 0, 0, "Send the message; end with a dot on a line by itself"));
    else
        session_answer(session, intake_reply_of(RESULT_MEMORY));
}

static void session_on_body(struct session *session, struct slice piece)
{
    if (!session->intake)
        return;
    if (session->checkpoint)
        checkpoint_on_body(session->checkpoint, session->intake);
    if (!intake_feed(session->intake, piece))
        return;
    if (session->checkpoint)
        checkpoint_pause(session->checkpoint);
    service_pause(session->service);
}

static void session_on_body_end(struct session *session)
{
    if (session->intake) {
        if (session->checkpoint)
            checkpoint_pause(session->checkpoint); /* until the commit's answer */
        intake_finish(session->intake);
    } else if (checkpoint_is_over(session->checkpoint)) {
        checkpoint_answer_again(session->checkpoint);
        checkpoint_free(&session->checkpoint);
    } else {
        session_answer(session, intake_reply_of(RESULT_MEMORY));
    }
}

/* ---- the handler ---------------------------------------------------------------------------------------------- */

static bool gate_on_open(void *context, struct service_session *service, void **session_context, const char **refusal)
{
    struct gate *gate = context;
    struct session *session = calloc(1, sizeof *session);
    *refusal = NULL;
    if (!session)
        return false;
    /* The kernel shares connections out over the loops as it likes, so their sum is what is counted. */
    if ((*gate->services.sessions)++ >= (uint64_t)gate->services.conf->values.sessions) {
        (*gate->services.sessions)--;
        *refusal = "Too many sessions at the moment; try again later";
        free(session);
        return false;
    }
    session->gate = gate;
    session->service = service;
    session->conf = conf_ref(gate->services.conf);
    session->login = login_new(&gate->services.login, service, session_on_login, session);
    if (!session->login) {
        (*gate->services.sessions)--;
        conf_unref(&session->conf);
        free(session);
        return false;
    }
    *session_context = session;
    return true;
}

static void gate_on_event(void *context, struct service_session *service, const struct smtp_server_event *event)
{
    struct session *session = context;
    (void)service;
    switch (event->type) {
    case SMTP_SERVER_AUTH:
        login_begin(session->login, event->mechanism, event->has_data, event->data);
        break;
    case SMTP_SERVER_AUTH_RESPONSE:
        login_response(session->login, event->data);
        break;
    case SMTP_SERVER_AUTH_CANCELLED:
        login_cancel(session->login);
        break;
    case SMTP_SERVER_MAIL:
        session_on_mail(session, event);
        break;
    case SMTP_SERVER_RCPT:
        session_on_rcpt(session, event->recipient);
        break;
    case SMTP_SERVER_BODY_BEGIN:
        session_on_body_begin(session, event->envelope);
        break;
    case SMTP_SERVER_BODY:
        session_on_body(session, event->data);
        break;
    case SMTP_SERVER_BODY_END:
        session_on_body_end(session);
        break;
    case SMTP_SERVER_TRANSACTION_ENDED:
        session_end_transaction(session, event->is_refused);
        break;
    case SMTP_SERVER_DEVICE:
        session_on_device(session, event->data);
        break;
    case SMTP_SERVER_OUTCOME:
        session_on_outcome(session, event->data, event->first);
        break;
    case SMTP_SERVER_STARTTLS:
    case SMTP_SERVER_CLOSE:
        break; /* the service's own */
    }
}

static void gate_on_closed(void *context, struct service_session *service)
{
    struct session *session = context;
    (void)service;
    (*session->gate->services.sessions)--;
    refresh_abandon(&session->refresh);
    enrolment_abandon(&session->enrolment);
    outcome_abandon(&session->outcome);
    session_end_transaction(session, false);
    login_free(&session->login);
    account_free(&session->account);
    arena_free(&session->arena);
    conf_unref(&session->conf);
    free(session);
}

struct service_handler gate_handler(struct gate *gate)
{
    return (struct service_handler){gate, gate_on_open, gate_on_event, gate_on_closed};
}

/* ---- life ----------------------------------------------------------------------------------------------------- */

struct gate *gate_new(const struct gate_services *services)
{
    struct gate *gate = calloc(1, sizeof *gate);
    if (gate)
        gate->services = *services;
    return gate;
}

void gate_free(struct gate **at)
{
    struct gate *gate = *at;
    if (!gate)
        return;
    conf_unref(&gate->services.conf);
    free(gate);
    *at = NULL;
}

void gate_set_conf(struct gate *gate, struct conf *conf)
{
    conf_unref(&gate->services.conf);
    gate->services.conf = conf;
}
