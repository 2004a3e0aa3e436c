#include "enrolment.h"

#include "crypto/crypto.h"
#include "mta/intake.h"

#include <stdlib.h>
#include <string.h>

enum { TOKEN_TEXT = 48 /* octets of a token in base64, with room */ };

struct enrolment {
    struct store_client *store;
    struct service_session *session; /* NULL: it has gone */
    const struct log *log;
    struct enrolment **at;
    struct slice account, label; /* behind the struct */
    char id[ACCOUNT_DEVICE_ID + 1];
    uint8_t token[SASL_TOKEN];
    char text[];
};

static void enrolment_free(struct enrolment *enrolment)
{
    crypto_wipe(enrolment->token, sizeof enrolment->token);
    free(enrolment);
}

static void make_id(char out[static ACCOUNT_DEVICE_ID + 1])
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
    uint8_t octets[ACCOUNT_DEVICE_ID];
    crypto_random(octets, sizeof octets);
    for (size_t i = 0; i < ACCOUNT_DEVICE_ID; i++)
        out[i] = letters[octets[i] % 32];
    out[ACCOUNT_DEVICE_ID] = '\0';
}

static struct smtp_reply refusal_of(enum result result)
{
    if (result == RESULT_DENIED || result == RESULT_NOT_FOUND)
        return SMTP_REPLY(421, 4, 7, 0, "The account has changed since this session logged in; log in again");
    if (result == RESULT_FULL)
        return SMTP_REPLY(452, 4, 3, 1, "The disk is full here; the device was not enrolled, please try again later");
    return SMTP_REPLY(451, 4, 3, 0, "The device could not be stored; please try again in a moment");
}

/* "ID TOKEN", said this once. */
static void answer(const struct enrolment *enrolment)
{
    struct buffer text = BUFFER(ACCOUNT_DEVICE_ID + 1 + TOKEN_TEXT);
    char *room;
    /* The whole room is taken at once, so that growing leaves no copy of the token behind. */
    enum result result = buffer_reserve(&text, ACCOUNT_DEVICE_ID + 1 + TOKEN_TEXT, &room);
    if (result == RESULT_OK)
        result = buffer_printf(&text, "%s ", enrolment->id);
    if (result == RESULT_OK)
        result = crypto_base64_encode(slice_of(enrolment->token, sizeof enrolment->token), &text);
    struct smtp_reply reply = result == RESULT_OK ? (struct smtp_reply){250, {2, 0, 0}, buffer_slice(&text)} : refusal_of(result);
    service_answer(enrolment->session, &reply);
    buffer_wipe_free(&text);
}

static void log_result(const struct enrolment *enrolment, enum result result, struct slice gone)
{
    const char *session = service_id(enrolment->session);
    if (result != RESULT_OK)
        log_event(enrolment->log, LOG_WARNING, "device-refused", LOG_TEXT("session", session), LOG_STR("user", enrolment->account),
                  LOG_TEXT("reason", result_name(result)));
    else
        log_event(enrolment->log, LOG_INFO, "device-enrolled", LOG_TEXT("session", session), LOG_STR("user", enrolment->account),
                  LOG_TEXT("device", enrolment->id), LOG_STR("label", enrolment->label));
    if (gone.len > 0)
        log_event(enrolment->log, LOG_WARNING, "device-dropped", LOG_TEXT("session", session), LOG_STR("user", enrolment->account), LOG_STR("device", gone),
                  LOG_TEXT("reason", "the account has as many as it may; this one was unseen for longest"));
}

static void on_added(void *context, enum result result, struct slice gone)
{
    struct enrolment *enrolment = context;
    if (enrolment->session) {
        *enrolment->at = NULL;
        log_result(enrolment, result, gone);
        if (result == RESULT_OK) {
            answer(enrolment);
        } else {
            const struct smtp_reply refusal = refusal_of(result);
            service_answer(enrolment->session, &refusal);
        }
    } else if (result == RESULT_OK) {
        store_device_remove(enrolment->store, slice_from_cstr(enrolment->id), NULL, NULL);
    }
    enrolment_free(enrolment);
}

struct enrolment *enrolment_new(struct store_client *store, const struct log *log, struct service_session *session, const struct account *account,
                                struct slice label, int64_t served_ms, struct enrolment **at)
{
    struct enrolment *enrolment = malloc(sizeof *enrolment + account->name.len + label.len);
    if (!enrolment)
        return NULL;
    *enrolment = (struct enrolment){.store = store, .session = session, .log = log, .at = at};
    memcpy(enrolment->text, account->name.ptr, account->name.len);
    memcpy(enrolment->text + account->name.len, label.ptr, label.len);
    enrolment->account = slice_of(enrolment->text, account->name.len);
    enrolment->label = slice_of(enrolment->text + account->name.len, label.len);
    make_id(enrolment->id);
    crypto_random(enrolment->token, sizeof enrolment->token);
    int64_t now_ms = wall_now_ms();
    struct store_device device = {
        .id = slice_from_cstr(enrolment->id), .account = enrolment->account, .label = enrolment->label, .created_at_ms = now_ms, .seen_at_ms = now_ms,
        .enrolled_served_ms = served_ms};
    memcpy(device.token, enrolment->token, sizeof device.token);
    store_device_add(store, &device, account->changed_at_ms, ACCOUNT_DEVICES_MAX, on_added, enrolment);
    crypto_wipe(device.token, sizeof device.token);
    return enrolment;
}

void enrolment_abandon(struct enrolment **enrolment)
{
    if (*enrolment)
        (*enrolment)->session = NULL;
    *enrolment = NULL;
}
