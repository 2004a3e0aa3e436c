/* Argon2id in threads of its own, so that neither a loop nor libuv's pool ever waits for a password.
 *
 * The queue is bounded and fair (turns.h): a flood of guesses fills it, is told 454, and has to make room for who asks for the first time. A
 * place in the queue belongs to the job until it has been worked off: a guesser who hangs up frees nothing. A right password is told to the
 * sentry, who is asked before each hash: of twenty sessions that a mail program opens at once, one costs a hash. */
#ifndef POSTERN_SERVER_VERIFIER_H
#define POSTERN_SERVER_VERIFIER_H

#include "mailbox.h"
#include "turns.h"

#include "crypto/crypto.h"

#include <stdint.h>

enum { VERIFIER_USER_MAX = 255 }; /* octets */

struct verifier;

/* Owned by whoever asks until submitted, then by the verifier until letter.open is called on `home`'s loop, then by the opener, who calls
 * verifier_job_free. */
struct verifier_job {
    struct letter letter; /* letter.open is the asker's */
    struct mailbox *home;
    struct sentry_place place; /* the asker's to fill */
    char user[VERIFIER_USER_MAX + 1];
    char stored[CRYPTO_PASSWORD_HASH_MAX];
    char *password; /* secret memory */
    size_t password_len;
    bool is_known;
    enum result result; /* of crypto_password_verify; RESULT_BUSY: it had to make room; RESULT_CANCELLED: the verifier was stopped */
    void *owner;        /* the asker; it clears this when it goes away before the answer comes */
};

/* Copies. is_known: there is an account of that name; without one the answer is never yes. NULL: out of memory, or one of the three is too long. */
struct verifier_job *verifier_job_new(struct slice user, struct slice stored, struct slice password, bool is_known);
/* Wipes. */
void verifier_job_free(struct verifier_job **job);

/* sentry outlives it. RESULT_OK, RESULT_MEMORY, RESULT_IO (no threads). */
MUST_CHECK enum result verifier_start(struct verifier **out, struct sentry *sentry, uint32_t threads, uint32_t queue_max);
/* RESULT_OK: the answer will come; RESULT_BUSY: the queue is full, the job stays the caller's. */
MUST_CHECK enum result verifier_submit(struct verifier *verifier, struct verifier_job *job);
/* Ends the threads after the hashes they work at; what waits is answered RESULT_CANCELLED. All answers are posted when this returns, so mailboxes
 * are closed after it. */
void verifier_stop(struct verifier **verifier);

#endif
