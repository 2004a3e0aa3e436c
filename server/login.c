#include "login.h"

#include <stdlib.h>
#include <string.h>

enum {
    FAKE_SALT = 16,
    SEEN_MS = 60 * 60 * 1000, /* how exact it is kept when a device was last seen: a write for every login would cost more than the login */
};

/* A question to the store on its way; it outlives a login that is freed meanwhile. */
struct lookup {
    struct login *login; /* NULL: it has gone */
};

struct login {
    const struct login_services *services;
    struct service_session *session;
    void (*on_success)(void *context, struct account *account, struct slice device, uint32_t version);
    void *context;
    struct sasl_server *sasl;
    enum sasl_mechanism mechanism;
    struct lookup *lookup;
    struct verifier_job *job;
    struct account *account;                        /* of the name given, once known */
    uint32_t version;                               /* of the accounts, before this one was asked for */
    struct slice password;                          /* in the SASL machine's memory, while it waits for the verdict */
    char user[ACCOUNT_NAME_MAX + 1];                /* as given, in lower case; "" for what can't be a name */
    char device[ACCOUNT_DEVICE_ID + 1];                 /* its id, as given; "" where none logs in */
    int64_t device_seen_ms;
    char stored[CRYPTO_PASSWORD_HASH_MAX];          /* what the password is checked against */
    bool is_final_sent;
};

struct login *login_new(const struct login_services *services, struct service_session *session,
                        void (*on_success)(void *context, struct account *account, struct slice device, uint32_t version), void *context)
{
    struct login *login = calloc(1, sizeof *login);
    if (login)
        *login = (struct login){.services = services, .session = session, .on_success = on_success, .context = context};
    return login;
}

void login_cancel(struct login *login)
{
    sasl_server_free(&login->sasl);
    account_free(&login->account);
    if (login->lookup)
        login->lookup->login = NULL;
    if (login->job)
        login->job->owner = NULL;
    login->lookup = NULL;
    login->job = NULL;
    login->password = (struct slice){0};
    login->is_final_sent = false;
    crypto_wipe(login->stored, sizeof login->stored);
}

void login_free(struct login **at)
{
    if (!*at)
        return;
    login_cancel(*at);
    free(*at);
    *at = NULL;
}

/* ---- ends ----------------------------------------------------------------------------------------------------- */

static void login_log(const struct login *login, enum log_level level, const char *result)
{
    const char *session = service_id(login->session), *mechanism = sasl_mechanism_name(login->mechanism), *peer = service_peer(login->session);
    if (login->device[0])
        log_event(login->services->log, level, "auth", LOG_TEXT("session", session), LOG_TEXT("result", result), LOG_TEXT("user", login->user),
                  LOG_TEXT("device", login->device), LOG_TEXT("mechanism", mechanism), LOG_TEXT("peer", peer));
    else
        log_event(login->services->log, level, "auth", LOG_TEXT("session", session), LOG_TEXT("result", result), LOG_TEXT("user", login->user),
                  LOG_TEXT("mechanism", mechanism), LOG_TEXT("peer", peer));
}

static void login_end(struct login *login, enum log_level level, const char *result, struct smtp_reply reply)
{
    login_log(login, level, result);
    login_cancel(login);
    service_answer(login->session, &reply);
}

static void login_put_off(struct login *login, const char *result)
{
    login_end(login, LOG_WARNING, result, SMTP_REPLY(454, 4, 7, 0, "Temporary authentication failure; try again in a moment"));
}

static struct sockaddr_storage login_peer(const struct login *login)
{
    struct sockaddr_storage peer = {0};
    /* A connection that is gone has no address; its session will hear of it, and the counter of no address takes it. */
    if (service_peer_address(login->session, &peer) != RESULT_OK)
        peer = (struct sockaddr_storage){0};
    return peer;
}

static int64_t login_now_ms(void)
{
    return (int64_t)(uv_hrtime() / 1000000);
}

static void login_fail(struct login *login)
{
    struct sockaddr_storage peer = login_peer(login);
    const char *who = login->device[0] ? login->device : login->user;
    sentry_note_failure(login->services->sentry, (struct sockaddr *)&peer, slice_from_cstr(who), login_now_ms());
    login_end(login, LOG_WARNING, "refused", SMTP_REPLY(535, 5, 7, 8, "Authentication credentials invalid"));
}

static void login_note_seen(const struct login *login)
{
    int64_t now_ms = wall_now_ms();
    if (login->device[0] && now_ms - login->device_seen_ms >= SEEN_MS)
        store_device_seen(login->services->store, slice_from_cstr(login->device), now_ms, NULL, NULL);
}

/* words: of the 235. */
static void login_succeed(struct login *login, struct slice words)
{
    struct account *account = login->account;
    if (!account->is_enabled) {
        login_end(login, LOG_WARNING, "disabled", SMTP_REPLY(525, 5, 7, 13, "This account is disabled; ask the keeper of the relay"));
        return;
    }
    if (smtp_server_set_user(service_core(login->session), account->name) != RESULT_OK) {
        login_put_off(login, "memory");
        return;
    }
    struct sockaddr_storage peer = login_peer(login);
    sentry_note_success(login->services->sentry, (struct sockaddr *)&peer, account->name, login_now_ms());
    login_note_seen(login);
    login->account = NULL;
    login->on_success(login->context, account, slice_from_cstr(login->device), login->version);
    login_end(login, LOG_INFO, "ok", (struct smtp_reply){235, {2, 7, 0}, words});
}

/* ---- steps ---------------------------------------------------------------------------------------------------- */

static void login_step(struct login *login, const struct sasl_server_step *step);

static void login_give_verdict(struct login *login, bool is_right)
{
    struct sasl_server_step step;
    sasl_server_password_checked(login->sasl, is_right, &step);
    login_step(login, &step);
}

static void login_on_verified(struct letter *letter)
{
    struct verifier_job *job = LIST_OWNER(letter, struct verifier_job, letter);
    struct login *login = job->owner;
    enum result result = job->result;
    verifier_job_free(&job);
    if (!login)
        return;
    login->job = NULL;
    if (result == RESULT_OK || result == RESULT_DENIED)
        login_give_verdict(login, result == RESULT_OK);
    else
        login_put_off(login, result_name(result));
}

static void login_verify(struct login *login)
{
    const struct login_services *services = login->services;
    struct verifier_job *job = verifier_job_new(slice_from_cstr(login->user), slice_from_cstr(login->stored), login->password,
                                                login->account != NULL);
    if (!job) {
        login_put_off(login, "memory");
        return;
    }
    struct sockaddr_storage peer = login_peer(login);
    sentry_place(services->sentry, (struct sockaddr *)&peer, slice_from_cstr(login->user), login_now_ms(), &job->place);
    job->letter.open = login_on_verified;
    job->home = services->mailbox;
    job->owner = login;
    if (verifier_submit(services->verifier, job) != RESULT_OK) {
        verifier_job_free(&job);
        login_put_off(login, "busy");
        return;
    }
    login->job = job;
}

static bool is_password_mechanism(enum sasl_mechanism mechanism)
{
    return mechanism == SASL_PLAIN || mechanism == SASL_LOGIN;
}

static bool login_is_locked(const struct login *login)
{
    struct sockaddr_storage peer = login_peer(login);
    return sentry_is_locked(login->services->sentry, (struct sockaddr *)&peer, slice_from_cstr(login->user), is_password_mechanism(login->mechanism),
                            login_now_ms());
}

/* A password that was right a moment ago is right still, even while somebody else's guesses have the account locked. */
static void login_check_password(struct login *login)
{
    struct sentry *sentry = login->services->sentry;
    if (login->account && sentry_knows(sentry, slice_from_cstr(login->user), login->password, slice_from_cstr(login->stored), login_now_ms()))
        login_give_verdict(login, true);
    else if (login_is_locked(login))
        login_put_off(login, "locked");
    else if (login->password.len > CRYPTO_PASSWORD_MAX)
        login_give_verdict(login, false);
    else
        login_verify(login);
}

/* RFC 5802 5.1 has the server show salt and iteration count to anybody: those of an unknown name must look like a known one's, and stay the same. */
static void login_fake_verifier(const struct login *login, struct scram_verifier *verifier)
{
    uint8_t hash[CRYPTO_HASH];
    crypto_keyed_hash(login->services->salt_secret, slice_from_cstr(login->user), hash);
    *verifier = (struct scram_verifier){.salt_len = FAKE_SALT, .iterations = SCRAM_ITERATIONS};
    memcpy(verifier->salt, hash, FAKE_SALT);
    crypto_random(verifier->stored_key, sizeof verifier->stored_key);
    crypto_random(verifier->server_key, sizeof verifier->server_key);
}

static void login_give_verifier(struct login *login, const struct scram_verifier *known)
{
    struct sasl_server_step step;
    struct scram_verifier fake;
    if (login_is_locked(login)) {
        login_put_off(login, "locked");
        return;
    }
    if (!known)
        login_fake_verifier(login, &fake);
    sasl_server_verifier_found(login->sasl, known ? known : &fake, known != NULL, &step);
    login_step(login, &step);
}

/* An answer of the store has come. NULL: its login has gone meanwhile. */
static struct login *lookup_end(struct lookup *lookup)
{
    struct login *login = lookup->login;
    free(lookup);
    if (login)
        login->lookup = NULL;
    return login;
}

/* False: there is no memory for the question, and the login is put off. */
static bool lookup_begin(struct login *login)
{
    login->lookup = calloc(1, sizeof *login->lookup);
    if (!login->lookup) {
        login_put_off(login, "memory");
        return false;
    }
    login->lookup->login = login;
    login->version = *login->services->accounts_version;
    return true;
}

static void login_on_account(void *context, enum result result, const struct store_account *found)
{
    struct login *login = lookup_end(context);
    if (!login)
        return;
    bool is_known = result == RESULT_OK;
    if (!is_known && result != RESULT_NOT_FOUND) {
        login_put_off(login, result_name(result));
        return;
    }
    login->account = is_known ? account_copy(found) : NULL;
    struct slice stored = is_known ? found->password_hash : slice_from_cstr(login->services->dummy_hash);
    if ((is_known && !login->account) || !slice_to_cstr(stored, login->stored, sizeof login->stored)) {
        login_put_off(login, "memory");
        return;
    }
    if (is_password_mechanism(login->mechanism))
        login_check_password(login);
    else
        login_give_verifier(login, is_known ? &found->scram : NULL);
}

static void login_look_up(struct login *login, const struct sasl_server_step *step)
{
    if (!lookup_begin(login))
        return;
    login->password = step->password; /* lives in the SASL machine, which is not touched until the verdict */
    if (!account_name_normalise(step->user, login->user))
        login->user[0] = '\0'; /* nobody has it; the way is the same */
    store_account_get(login->services->store, slice_from_cstr(login->user), login_on_account, login->lookup);
}

/* ---- devices --------------------------------------------------------------------------------------------------- */

static void login_on_device(void *context, enum result result, const struct store_device *device, const struct store_account *found)
{
    static const uint8_t nobodys[SASL_TOKEN] = {0};
    struct login *login = lookup_end(context);
    struct sasl_server_step step;
    if (!login)
        return;
    bool is_known = result == RESULT_OK;
    if (!is_known && result != RESULT_NOT_FOUND) {
        login_put_off(login, result_name(result));
        return;
    }
    login->account = is_known ? account_copy(found) : NULL;
    if (is_known && (!login->account || !slice_to_cstr(found->name, login->user, sizeof login->user))) {
        login_put_off(login, "memory");
        return;
    }
    login->device_seen_ms = is_known ? device->seen_at_ms : 0;
    sasl_server_token_found(login->sasl, is_known ? device->token : nobodys, is_known, &step);
    login_step(login, &step);
}

static void login_look_up_device(struct login *login, const struct sasl_server_step *step)
{
    if (!lookup_begin(login))
        return;
    if (!slice_to_cstr(step->user, login->device, sizeof login->device))
        memcpy(login->device, "?", sizeof "?"); /* nobody has it; the way is the same */
    store_device_get(login->services->store, slice_from_cstr(login->device), login_on_device, login->lookup);
}

/* ---- steps again ----------------------------------------------------------------------------------------------- */

static void login_finish(struct login *login, const struct sasl_server_step *step)
{
    char proof[64];
    if (step->goes_with_success && slice_to_cstr(step->challenge, proof, sizeof proof)) { /* out of the SASL machine, which ends before the words are said */
        login_succeed(login, slice_from_cstr(proof));
        return;
    }
    if (step->challenge.len == 0 || login->is_final_sent) {
        login_succeed(login, SLICE("Authentication successful"));
        return;
    }
    login->is_final_sent = true; /* the proof of our side, which the client acknowledges with an empty response (RFC 4954 4) */
    service_challenge(login->session, step->challenge);
}

static void login_step(struct login *login, const struct sasl_server_step *step)
{
    switch (step->need) {
    case SASL_NEED_RESPONSE:
        service_challenge(login->session, step->challenge);
        break;
    case SASL_NEED_PASSWORD:
    case SASL_NEED_VERIFIER:
        login_look_up(login, step);
        break;
    case SASL_NEED_TOKEN:
        login_look_up_device(login, step);
        break;
    case SASL_SUCCEEDED:
        login_finish(login, step);
        break;
    case SASL_FAILED:
        login_fail(login);
        break;
    case SASL_MALFORMED:
        login_end(login, LOG_INFO, "malformed", SMTP_REPLY(501, 5, 5, 2, "The authentication exchange is malformed"));
        break;
    }
}

void login_begin(struct login *login, enum sasl_mechanism mechanism, bool has_data, struct slice data)
{
    const struct tls_info *tls = service_tls(login->session);
    struct sasl_server_step step;
    uint8_t nonce[18];
    login_cancel(login);
    login->mechanism = mechanism;
    login->user[0] = login->device[0] = '\0';
    crypto_random(nonce, sizeof nonce);
    login->sasl = sasl_server_new(mechanism, tls && tls->nbindings > 0, tls ? tls->bindings : NULL, tls ? tls->nbindings : 0, nonce);
    if (!login->sasl) {
        login_put_off(login, "memory");
        return;
    }
    sasl_server_start(login->sasl, has_data, data, &step);
    login_step(login, &step);
}

void login_response(struct login *login, struct slice data)
{
    struct sasl_server_step step;
    if (!login->sasl) {
        login_put_off(login, "memory");
        return;
    }
    sasl_server_response(login->sasl, data, &step);
    login_step(login, &step);
}
