#include "checkpoint.h"

#include "crypto/crypto.h"
#include "mail/message_id.h"

#include <assert.h>
#include <stdlib.h>

enum {
    SILENCE_MS = 1000,
};

enum checkpoint_state { CHECKPOINT_WAITING, CHECKPOINT_ASKING, CHECKPOINT_NEW, CHECKPOINT_HALF, CHECKPOINT_OVER, CHECKPOINT_REFUSED };

struct checkpoint {
    struct checkpoint_config config; /* its slices, and those below, lie in the arena */
    struct arena arena;
    enum checkpoint_state state;
    bool is_orphan;                  /* the session has gone while the store was asked */
    struct store_checkpoint found;   /* of a half, or one that is over */
    struct envelope_recipient *recipients; /* its */
    struct buffer reply_text;
    struct smtp_reply reply;         /* of one that is over */
    struct underway_place place;
    struct intake *intake;           /* gets what comes */
    uint64_t piece_at_ms;            /* when something last came, on the loop's clock */
    bool has_timer;
    uv_timer_t timer;
};

/* ---- what a name stands for --------------------------------------------------------------------------------------- */

void checkpoint_digest(const struct envelope *envelope, uint64_t size_octets, uint8_t out[static STORE_DIGEST])
{
    struct crypto_digest digest;
    crypto_digest_begin(&digest);
    crypto_digest_add_text(&digest, SLICE("postern transaction 1"));
    crypto_digest_add_text(&digest, envelope->sender);
    crypto_digest_add_number(&digest, envelope->body);
    crypto_digest_add_number(&digest, envelope->is_smtputf8);
    crypto_digest_add_number(&digest, envelope->ret);
    crypto_digest_add_number(&digest, size_octets);
    crypto_digest_add_text(&digest, envelope->envid);
    crypto_digest_end(&digest, out);
}

/* ---- the claim -------------------------------------------------------------------------------------------------- */

static void checkpoint_log(const struct checkpoint *c, const char *event)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(c->found.message, id);
    log_event(c->config.log, LOG_INFO, event, LOG_TEXT("session", service_id(c->config.session)), LOG_TEXT("item", id), LOG_STR("user", c->config.claim.account),
              LOG_INT("octets", c->found.came_octets));
}

static const char *state_name(enum checkpoint_state state)
{
    switch (state) {
    case CHECKPOINT_WAITING: return "waiting";
    case CHECKPOINT_ASKING: return "asking";
    case CHECKPOINT_NEW: return "new";
    case CHECKPOINT_HALF: return "half";
    case CHECKPOINT_OVER: return "over";
    case CHECKPOINT_REFUSED: return "refused";
    }
    return "?";
}

static void checkpoint_enter(struct checkpoint *c, enum checkpoint_state state)
{
    assert(c->state == CHECKPOINT_WAITING ? state == CHECKPOINT_ASKING : c->state == CHECKPOINT_ASKING && state > CHECKPOINT_ASKING);
    log_event(c->config.log, LOG_DEBUG, "checkpoint", LOG_TEXT("session", c->is_orphan ? "gone" : service_id(c->config.session)), LOG_TEXT("from", state_name(c->state)),
              LOG_TEXT("to", state_name(state)));
    c->state = state;
}

static void checkpoint_refuse(struct checkpoint *c, struct smtp_reply reply)
{
    checkpoint_enter(c, CHECKPOINT_REFUSED);
    underway_leave(c->config.underway, &c->place);
    log_event(c->config.log, LOG_INFO, "transaction-refused", LOG_TEXT("session", service_id(c->config.session)), LOG_STR("user", c->config.claim.account),
              LOG_INT("code", reply.code), LOG_STR("reason", reply.text));
    service_answer(c->config.session, &reply);
}

static enum result parse_reply(struct checkpoint *c, struct slice words)
{
    struct buffer line = BUFFER(SMTP_REPLY_LINE_MAX);
    size_t used;
    enum result result = buffer_append(&line, words);
    if (result == RESULT_OK)
        result = buffer_append(&line, SLICE("\r\n"));
    if (result == RESULT_OK)
        result = smtp_reply_parse(buffer_slice(&line), &c->reply_text, &c->reply, &used);
    buffer_free(&line);
    return result;
}

/* The words that its sender was told, as a reply again; or others to the same end, where the disk has altered them: that the message was taken is what he must know. */
static enum result read_reply(struct checkpoint *c, const struct store_checkpoint *found)
{
    char id[MESSAGE_ID_TEXT];
    enum result result = parse_reply(c, found->reply);
    if (result == RESULT_MEMORY || (result == RESULT_OK && c->reply.code / 100 == 2 && c->reply.text.len > 0))
        return result;
    message_id_format(found->message, id);
    buffer_clear(&c->reply_text);
    result = buffer_printf(&c->reply_text, "Ok: queued as %s", id);
    c->reply = (struct smtp_reply){250, {2, 0, 0}, buffer_slice(&c->reply_text)};
    return result;
}

static enum result keep_found(struct checkpoint *c, const struct store_checkpoint *found)
{
    enum result result = envelope_copy_recipients(&c->arena, found->recipients, found->nrcpt, &c->recipients);
    c->found = *found;
    c->found.recipients = c->recipients;
    if (result == RESULT_OK && found->reply.len > 0)
        result = read_reply(c, found);
    c->found.reply = (struct slice){0};
    return result;
}

static void checkpoint_go_on(struct checkpoint *c, const struct store_checkpoint *found)
{
    enum result result = keep_found(c, found);
    if (result != RESULT_OK) {
        checkpoint_refuse(c, intake_reply_of(result));
        return;
    }
    if (found->reply.len == 0 && c->config.refusal.code) {
        checkpoint_refuse(c, c->config.refusal);
        return;
    }
    checkpoint_enter(c, found->reply.len > 0 ? CHECKPOINT_OVER : CHECKPOINT_HALF);
    if (c->state == CHECKPOINT_HALF)
        checkpoint_log(c, "transaction-resumed");
    else
        underway_leave(c->config.underway, &c->place);
    service_resume_transaction(c->config.session, !c->config.claim.is_whole, c->state == CHECKPOINT_OVER, c->config.claim.is_whole ? 0 : found->came_octets, found->nrcpt);
}

static void on_claimed(void *context, enum result result, const struct store_checkpoint *found)
{
    struct checkpoint *c = context;
    checkpoint_resume(c);
    if (c->is_orphan) {
        checkpoint_enter(c, CHECKPOINT_REFUSED);
        checkpoint_free(&c);
    } else if (result == RESULT_OK) {
        checkpoint_go_on(c, found);
    } else if (result == RESULT_NOT_FOUND && c->config.refusal.code) {
        checkpoint_refuse(c, c->config.refusal);
    } else if (result == RESULT_NOT_FOUND) {
        checkpoint_enter(c, CHECKPOINT_NEW);
        service_answer(c->config.session, &SMTP_REPLY(250, 2, 1, 0, "Sender ok"));
    } else if (result == RESULT_DENIED) {
        checkpoint_refuse(c, SMTP_REPLY(554, 5, 5, 4, "This name stands for a transaction with another sender or other parameters of MAIL"));
    } else {
        checkpoint_refuse(c, intake_reply_of(result));
    }
}

static void start_timer(struct checkpoint *c, uv_timer_cb callback, uint64_t after_ms)
{
    if (!c->has_timer) {
        uv_timer_init(c->config.loop, &c->timer);
        c->timer.data = c;
        c->has_timer = true;
    }
    uv_timer_start(&c->timer, callback, after_ms, 0);
}

/* The machine's time: a loop's own stands still while it works. */
static int64_t now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

static void on_look(uv_timer_t *timer);

static void claim_in_turn(struct checkpoint *c)
{
    if (!underway_may_claim(c->config.underway, &c->place, now_ms())) {
        start_timer(c, on_look, UNDERWAY_LOOK_MS);
        return;
    }
    checkpoint_enter(c, CHECKPOINT_ASKING);
    store_checkpoint_claim(c->config.store, &c->config.claim, on_claimed, c);
}

static void on_look(uv_timer_t *timer)
{
    claim_in_turn(timer->data);
}

struct checkpoint *checkpoint_new(const struct checkpoint_config *config)
{
    struct checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->config = *config;
    c->arena = ARENA(ENVELOPE_ARENA_MAX);
    c->reply_text = BUFFER(SMTP_REPLY_TEXT_MAX);
    if (store_claim_copy(&c->arena, &c->config.claim) != RESULT_OK || arena_copy(&c->arena, config->refusal.text, &c->config.refusal.text) != RESULT_OK) {
        checkpoint_free(&c);
        return NULL;
    }
    const struct store_claim *claim = &c->config.claim;
    underway_enter(config->underway, &c->place, claim->account, claim->transid, service_socket(config->session), !claim->is_whole, now_ms());
    claim_in_turn(c);
    return c;
}

/* ---- the record -------------------------------------------------------------------------------------------------- */

bool checkpoint_is_known(const struct checkpoint *c)
{
    return c && (c->state == CHECKPOINT_HALF || c->state == CHECKPOINT_OVER);
}

bool checkpoint_has_recipient(const struct checkpoint *c, struct slice address)
{
    for (size_t i = 0; checkpoint_is_known(c) && i < c->found.nrcpt; i++) {
        if (slice_equal(c->found.recipients[i].address, address))
            return true;
    }
    return false;
}

bool checkpoint_is_over(const struct checkpoint *c)
{
    return c && c->state == CHECKPOINT_OVER;
}

void checkpoint_answer_again(struct checkpoint *c)
{
    checkpoint_log(c, "answered-again");
    service_answer(c->config.session, &c->reply);
}

/* Another session's, meanwhile, stays; and a half that could not be dropped is swept. */
void checkpoint_forget(struct checkpoint *c)
{
    if (c->state == CHECKPOINT_HALF)
        store_checkpoint_drop(c->config.store, c->found.message, c->found.generation, NULL, NULL);
}

/* ---- the body ----------------------------------------------------------------------------------------------------- */

struct envelope checkpoint_envelope(const struct checkpoint *c, const struct envelope *mail)
{
    struct envelope envelope = *mail;
    if (checkpoint_is_known(c)) {
        envelope.recipients = c->recipients;
        envelope.nrcpt = c->found.nrcpt;
    }
    return envelope;
}

static int64_t served_now(const void *served)
{
    return served_now_ms(served);
}

void checkpoint_name(const struct checkpoint *c, const struct envelope *envelope, struct store_naming *naming, struct intake_config *intake)
{
    bool is_half = c->state == CHECKPOINT_HALF;
    *naming = (struct store_naming){
        .claim = c->config.claim,
        .generation = is_half ? c->found.generation : 0,
        .session = slice_from_cstr(service_id(c->config.session)),
        .recipients = envelope->recipients,
        .nrcpt = envelope->nrcpt,
        .served_now_ms = served_now,
        .served = c->config.served,
    };
    intake->naming = naming;
    intake->checkpoint = is_half ? &c->found : NULL;
}

/* One start of the timer a second, however many pieces come. */
static void on_silence(uv_timer_t *timer)
{
    struct checkpoint *c = timer->data;
    uint64_t silent_ms = uv_now(timer->loop) - c->piece_at_ms;
    if (silent_ms >= SILENCE_MS)
        intake_sync(c->intake);
    else
        start_timer(c, on_silence, SILENCE_MS - silent_ms);
}

void checkpoint_pause(struct checkpoint *c)
{
    underway_hold(c->config.underway, &c->place);
}

void checkpoint_resume(struct checkpoint *c)
{
    underway_moved(c->config.underway, &c->place, now_ms());
}

void checkpoint_on_body(struct checkpoint *c, struct intake *intake)
{
    c->intake = intake;
    c->piece_at_ms = uv_now(c->config.loop);
    checkpoint_resume(c);
    if (!c->has_timer || !uv_is_active((uv_handle_t *)&c->timer))
        start_timer(c, on_silence, SILENCE_MS);
}

/* ---- the end ------------------------------------------------------------------------------------------------------ */

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void checkpoint_free(struct checkpoint **at)
{
    struct checkpoint *c = *at;
    *at = NULL;
    if (!c)
        return;
    c->is_orphan = true;
    underway_leave(c->config.underway, &c->place);
    if (c->state == CHECKPOINT_ASKING)
        return;
    buffer_free(&c->reply_text);
    arena_free(&c->arena);
    if (c->has_timer)
        uv_close((uv_handle_t *)&c->timer, on_timer_closed);
    else
        free(c);
}
