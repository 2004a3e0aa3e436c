#include "handoff.h"

#include "agent.h"

#include "crypto/crypto.h"
#include "mta/console.h"
#include "net/outbound.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { CONNECT_TIMEOUT_MS = 5000 };

static void decide(struct handoff_answer *answer, int exit_code, const struct smtp_reply *reply)
{
    answer->exit_code = exit_code;
    answer->reply = *reply;
    size_t len = reply->text.len < sizeof answer->words - 1 ? reply->text.len : sizeof answer->words - 1;
    memcpy(answer->words, reply->text.ptr ? reply->text.ptr : "", len);
    answer->words[len] = '\0';
    answer->reply.text = slice_of(answer->words, len);
}

static int exit_code_of_reply(const struct smtp_reply *reply)
{
    if (smtp_reply_is_positive(reply))
        return EX_OK;
    if (smtp_reply_is_transient(reply))
        return EX_TEMPFAIL;
    return reply->status.subject == 1 ? EX_NOUSER : EX_UNAVAILABLE;
}

/* ---- to the running agent --------------------------------------------------------------------------------------- */

struct delivery {
    uv_loop_t loop;
    struct outbound *outbound;
    const struct handoff_message *message;
    struct smtp_transaction transaction;
    struct handoff_answer *answer;
    bool is_answered; /* who does not know our token is no agent of ours, and has no transaction to answer */
    char chunk[SMTP_CLIENT_CHUNK_MAX];
};

static void settle(struct delivery *delivery, const struct smtp_reply *reply)
{
    if (delivery->is_answered)
        return;
    delivery->is_answered = true;
    decide(delivery->answer, exit_code_of_reply(reply), reply);
}

/* Of a transaction: an agent that ends (421, RFC 5321 3.8) has taken nothing, and the store or the next agent may take it. */
static void settle_unless_leaving(struct delivery *delivery, const struct smtp_reply *reply)
{
    if (reply->code != 421)
        settle(delivery, reply);
}

static void send_chunk(struct delivery *delivery)
{
    struct smtp_client *core = outbound_core(delivery->outbound);
    size_t len = fread(delivery->chunk, 1, sizeof delivery->chunk, delivery->message->body);
    if (ferror(delivery->message->body)) {
        struct smtp_reply unread = intake_reply_of(RESULT_IO);
        settle(delivery, &unread);
        smtp_client_abort(core);
        return;
    }
    bool is_last = (uint64_t)ftello(delivery->message->body) >= delivery->message->size_octets;
    smtp_client_body(core, slice_of(delivery->chunk, len), is_last, loop_now_ms(&delivery->loop));
}

static void on_smtp(struct delivery *delivery, const struct smtp_client_event *event)
{
    struct smtp_client *core = outbound_core(delivery->outbound);
    switch (event->type) {
    case SMTP_CLIENT_PROVEN:
        smtp_client_login(core, loop_now_ms(&delivery->loop));
        break;
    case SMTP_CLIENT_READY:
        if (delivery->is_answered)
            outbound_quit(delivery->outbound);
        else
            smtp_client_send(core, &delivery->transaction, loop_now_ms(&delivery->loop));
        break;
    case SMTP_CLIENT_RECIPIENT:
        /* One refused recipient refuses the message: a sendmail that sends to some of them leaves its caller guessing. */
        if (event->reply && !smtp_reply_is_positive(event->reply)) {
            settle_unless_leaving(delivery, event->reply);
            smtp_client_abort(core);
        }
        break;
    case SMTP_CLIENT_BODY_WANTED:
        send_chunk(delivery);
        break;
    case SMTP_CLIENT_SENT:
        if (event->reply)
            settle_unless_leaving(delivery, event->reply);
        break;
    case SMTP_CLIENT_STARTTLS:
    case SMTP_CLIENT_OUTCOME:
    case SMTP_CLIENT_RESUMED:
    case SMTP_CLIENT_DEVICE:
    case SMTP_CLIENT_FAILED:
    case SMTP_CLIENT_CLOSED:
        break;
    }
}

static void on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct delivery *delivery = context;
    struct smtp_reply broken = {451, {4, 4, 2}, {0}};
    (void)outbound;
    switch (event->type) {
    case OUTBOUND_CONNECTED:
        break;
    case OUTBOUND_SMTP:
        on_smtp(delivery, &event->smtp);
        break;
    case OUTBOUND_FAILED:
        broken.text = slice_from_cstr(event->failure->words);
        if (event->failure->is_uncertain) /* else it has taken nothing: the store, or the next agent */
            settle(delivery, &broken);
        break;
    case OUTBOUND_CLOSED:
        delivery->outbound = NULL;
        break;
    }
}

static enum result dial(struct delivery *delivery, const struct net_address *address, struct slice token)
{
    struct outbound_target target = {
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .smtp = {.security = SMTP_SECURITY_NONE, .ehlo_name = SLICE("localhost"), .user = RECEPTION_TOKEN_USER, .password = token, .allows_auth_without_tls = true},
    };
    memcpy(&target.address, address, net_address_len(address));
    crypto_random(target.smtp.nonce, sizeof target.smtp.nonce);
    return outbound_open(&delivery->outbound, &delivery->loop, &target, (struct outbound_handler){on_event, delivery}, NULL);
}

/* False: no agent of ours takes mail at that address now. */
static bool by_smtp(const struct net_address *address, struct slice token, const struct handoff_message *message, struct handoff_answer *answer)
{
    struct delivery *delivery = calloc(1, sizeof *delivery);
    bool is_answered = false;
    if (!delivery || uv_loop_init(&delivery->loop) < 0) {
        free(delivery);
        return false;
    }
    delivery->message = message;
    delivery->answer = answer;
    delivery->transaction = (struct smtp_transaction){.envelope = message->envelope, .size_octets = message->size_octets, .has_8bit = message->has_8bit, .needs_smtputf8 = message->needs_smtputf8};
    rewind(message->body);
    if (dial(delivery, address, token) == RESULT_OK) {
        uv_run(&delivery->loop, UV_RUN_DEFAULT);
        is_answered = delivery->is_answered;
    }
    uv_loop_close(&delivery->loop);
    crypto_wipe(delivery->chunk, sizeof delivery->chunk);
    free(delivery);
    return is_answered;
}

/* A listener on all addresses is reached over loopback. */
static struct net_address reachable(struct net_address address)
{
    if (address.any.sa_family == AF_INET && address.v4.sin_addr.s_addr == htonl(INADDR_ANY))
        address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (address.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address.v6.sin6_addr))
        address.v6.sin6_addr = in6addr_loopback;
    return address;
}

static bool to_agent(const struct settings *settings, struct slice token, const struct handoff_message *message, struct handoff_answer *answer)
{
    const struct net_address *addresses = settings->values.listen.items;
    bool is_answered = false;
    for (size_t i = 0; token.len > 0 && i < settings->values.listen.count && !is_answered; i++) {
        struct net_address address = reachable(addresses[i]);
        is_answered = by_smtp(&address, token, message, answer);
    }
    return is_answered;
}

/* ---- to the store ----------------------------------------------------------------------------------------------- */

struct deposit {
    struct handoff_answer *answer;
    bool is_paused, is_answered;
};

static void on_resume(void *owner)
{
    ((struct deposit *)owner)->is_paused = false;
}

static void on_reply(void *owner, const struct smtp_reply *reply)
{
    struct deposit *deposit = owner;
    deposit->is_answered = true;
    decide(deposit->answer, exit_code_of_reply(reply), reply);
}

static void on_queued(void *context, const struct intake_queued *queued)
{
    (void)context; /* the agent loads its queue at its start */
    (void)queued;
}

static void feed_all(uv_loop_t *loop, struct intake *intake, struct deposit *deposit, FILE *body)
{
    char chunk[16 * 1024];
    size_t len;
    rewind(body);
    while ((len = fread(chunk, 1, sizeof chunk, body)) > 0) {
        deposit->is_paused = intake_feed(intake, slice_of(chunk, len));
        while (deposit->is_paused)
            uv_run(loop, UV_RUN_ONCE);
    }
    if (ferror(body)) {
        struct smtp_reply reply = intake_reply_of(RESULT_IO);
        on_reply(deposit, &reply);
        return;
    }
    intake_finish(intake);
    while (!deposit->is_answered)
        uv_run(loop, UV_RUN_ONCE);
}

static enum result deposit_with(uv_loop_t *loop, struct store_client *client, const struct settings *settings, const struct handoff_message *message,
                                struct handoff_answer *answer)
{
    struct deposit deposit = {.answer = answer};
    struct message_id_source ids = {0};
    struct submission_config submission;
    struct reception_stamp stamp;
    int64_t now_ms = wall_now_ms();
    uint64_t id = message_id_next(&ids, now_ms, crypto_random_u32());
    enum result result = reception_stamp_make(&stamp, id, message->envelope->sender, "SMTP", now_ms, &submission);
    submission.allow_utf8 = message->envelope->is_smtputf8;
    struct intake *intake = result != RESULT_OK ? NULL : intake_new(&(struct intake_config){
        .store = client,
        .id = id,
        .envelope = message->envelope,
        .submission = &submission,
        .received_at_ms = now_ms,
        .expires_at_ms = now_ms + settings->values.lifetime,
        .on_queued = on_queued,
        .on_resume = on_resume,
        .on_reply = on_reply,
        .owner = &deposit,
    });
    reception_stamp_free(&stamp);
    if (!intake)
        return RESULT_MEMORY;
    feed_all(loop, intake, &deposit, message->body);
    intake_free(&intake);
    return RESULT_OK;
}

/* False: somebody else has the store now. */
static bool to_store(const struct dirs *dirs, const struct settings *settings, const struct handoff_message *message, struct handoff_answer *answer)
{
    struct store *store = NULL;
    struct store_client *client = NULL;
    uv_loop_t loop;
    char why[1200];
    struct spool_key key;
    enum result result = agent_try_store(dirs, settings, NULL, 0, &store, &key, why, sizeof why);
    if (result != RESULT_OK) {
        struct smtp_reply reply = {451, {4, 3, 0}, slice_from_cstr(why)};
        decide(answer, agent_store_exit_code(result), &reply);
        return result != RESULT_BUSY;
    }
    result = RESULT_MEMORY;
    if (uv_loop_init(&loop) == 0) {
        if (store_client_open(&client, store, &loop) == RESULT_OK) {
            result = deposit_with(&loop, client, settings, message, answer);
            store_client_close(client, NULL, NULL);
        }
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
    }
    store_close(&store);
    if (result != RESULT_OK) {
        struct smtp_reply reply = intake_reply_of(result);
        decide(answer, EX_OSERR, &reply);
    }
    return true;
}

/* False: there is none, because no agent has ever run here. One that is not for us is said so once and left empty; the store may take the message. */
static bool read_token(const struct dirs *dirs, struct buffer *token)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/sendmail.token", dirs->keys);
    if (access(path, F_OK) != 0)
        return false;
    if (agent_read_token(dirs, false, token) != EX_OK)
        *token = (struct buffer){0};
    return true;
}

void handoff(const struct dirs *dirs, const struct settings *settings, const struct handoff_message *message, struct handoff_answer *answer)
{
    struct buffer token = {0};
    *answer = (struct handoff_answer){0};
    bool has_token = read_token(dirs, &token);
    bool is_decided = to_agent(settings, buffer_slice(&token), message, answer) || to_store(dirs, settings, message, answer);
    for (int waited_ms = 0; !is_decided && waited_ms < HANDOFF_PATIENCE_MS; waited_ms += HANDOFF_LOOK_MS) {
        uv_sleep(HANDOFF_LOOK_MS);
        has_token = has_token || read_token(dirs, &token);
        is_decided = to_agent(settings, buffer_slice(&token), message, answer) || to_store(dirs, settings, message, answer);
    }
    buffer_wipe_free(&token);
}
