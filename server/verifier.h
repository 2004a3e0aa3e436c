/* Argon2id in threads of its own, so that neither a loop nor libuv's pool ever waits for a password.
 *
 * The queue is bounded: a flood of guesses finds it full and is told 454, while everybody else's mail flows on. A place in the queue belongs to
 * the job until it has been worked off: a guesser who hangs up frees nothing. */
#ifndef POSTERN_SERVER_VERIFIER_H
#define POSTERN_SERVER_VERIFIER_H

#include "mailbox.h"

#include "crypto/crypto.h"

#include <stdint.h>

struct verifier;

/* Owned by whoever asks until submitted, then by the verifier until letter.open is called on `home`'s loop, then by the opener, who calls
 * verifier_job_free. */
struct verifier_job {
    struct letter letter; /* letter.open is the asker's */
    struct mailbox *home;
    char stored[CRYPTO_PASSWORD_HASH_MAX];
    char *password; /* secret memory */
    size_t password_len;
    enum result result; /* of crypto_password_verify; RESULT_CANCELLED: the verifier was stopped first */
    void *owner;        /* the asker; it clears this when it goes away before the answer comes */
};

/* Copies. NULL: out of memory, or one of the two is too long. */
struct verifier_job *verifier_job_new(struct slice stored, struct slice password);
/* Wipes. */
void verifier_job_free(struct verifier_job **job);

/* RESULT_OK, RESULT_MEMORY, RESULT_IO (no threads). */
MUST_CHECK enum result verifier_start(struct verifier **out, uint32_t threads, uint32_t queue_max);
/* RESULT_OK: the answer will come; RESULT_BUSY: the queue is full, the job stays the caller's. */
MUST_CHECK enum result verifier_submit(struct verifier *verifier, struct verifier_job *job);
/* Ends the threads after the hashes they work at; what waits is answered RESULT_CANCELLED. All answers are posted when this returns, so
 * mailboxes are closed after it. */
void verifier_stop(struct verifier **verifier);

#endif
