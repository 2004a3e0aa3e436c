/* One login: drives the SASL machine of a session with what the store knows of the account.
 *
 *   AUTH -> sasl_server -> needs a password -> account from the store -> sentry (right a moment ago?) -> verifier (Argon2) -> sasl_server -> 235
 *                       -> needs a verifier -> account from the store -> sasl_server -> challenge ... -> 235
 *                       -> needs a token    -> device and account from the store -> sasl_server -> 235 with our proof
 *
 * Unknown names go the same way at the same cost: a password is checked against a hash that fits none, SCRAM gets a salt made of the name and a
 * secret of the relay, the same at each try. Both end in the same 535.
 *
 * A device's token is 32 random octets, which nobody guesses: the sentry never keeps one waiting, whatever else comes from its address or tries its account. Wrong
 * tokens count against their address as wrong proofs of SCRAM do, against the device's id and against no account.
 *
 * The session is parked while the store or the verifier work; it may die meanwhile: login_cancel, and the answer finds nobody. */
#ifndef POSTERN_SERVER_LOGIN_H
#define POSTERN_SERVER_LOGIN_H

#include "account.h"
#include "sentry.h"
#include "verifier.h"

#include "net/service.h"

/* What all logins of one loop share. Outlives them. */
struct login_services {
    struct store_client *store;
    struct mailbox *mailbox; /* of this loop */
    struct sentry *sentry;
    struct verifier *verifier;
    const struct log *log;
    const _Atomic uint32_t *accounts_version; /* grows whenever an account is changed */
    const char *dummy_hash;        /* of no password, at the usual cost */
    const uint8_t *salt_secret; /* CRYPTO_KEY octets, for the salts of unknown names; survives restarts. The relay's one copy, which it wipes */
};

struct login;

/* NULL: out of memory. on_success gets the account, which passes to the callee, just before 235 is answered. It is as it was at that version, which
 * may be older than the answer: a password takes its time. device: its id, if it was a device that logged in, else empty; valid during the call. */
struct login *login_new(const struct login_services *services, struct service_session *session,
                        void (*on_success)(void *context, struct account *account, struct slice device, uint32_t version), void *context);
/* Forgets everything; answers under way find nobody. */
void login_free(struct login **login);

void login_begin(struct login *login, enum sasl_mechanism mechanism, bool has_data, struct slice data);
void login_response(struct login *login, struct slice data);
/* The client gave the exchange up. */
void login_cancel(struct login *login);

#endif
