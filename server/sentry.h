/* What the relay remembers of logins, in memory only: passwords that were right a moment ago, who fails too often, and who is a friend.
 *
 * A mail program that logs in for every message would cost an Argon2 each time; a right password is remembered for ten minutes as a
 * keyed hash of user, password and stored hash under a secret of this process, so a changed password misses. Wrong ones are never remembered
 * as such: they count against the address they come from (IPv6: its /64), against the account, and against the two together. An address from
 * which an account has logged in is its friend for two weeks.
 *
 * When an attempt is put off unheard:
 *
 *   from a friend      when account and address together have failed failures_per_address times
 *   from anybody else  when the address has failed failures_per_address times; or, for a password (not for a proof of SCRAM, which costs no
 *                      hash), when the account has failed failures_per_account times and from this very address SENTRY_SPARED times
 *
 * So strangers can lock nobody out: what they can do is to make everybody's tries few.
 *
 * Counters forget by their window's end. All tables are of fixed size; a full set loses its oldest entry. The clock is a parameter (monotonic).
 * Any thread may call. */
#ifndef POSTERN_SERVER_SENTRY_H
#define POSTERN_SERVER_SENTRY_H

#include "base/result.h"
#include "base/slice.h"
#include "crypto/crypto.h"

#include <sys/socket.h>

enum {
    SENTRY_REMEMBER_MS = 10 * 60 * 1000,
    SENTRY_WINDOW_MS = 10 * 60 * 1000,
    SENTRY_FRIEND_MS = 14 * 24 * 60 * 60 * 1000,
    SENTRY_SPARED = 3, /* wrong passwords that an address has for an account that is over its limit */
};

struct sentry_limits {
    uint32_t failures_per_address; /* within a window; 0: no limit */
    uint32_t failures_per_account;
};

struct sentry;

/* RESULT_OK, RESULT_MEMORY, RESULT_IO. */
MUST_CHECK enum result sentry_new(struct sentry **out, const struct sentry_limits *limits);
void sentry_free(struct sentry **sentry);
void sentry_set_limits(struct sentry *sentry, const struct sentry_limits *limits);

bool sentry_knows(struct sentry *sentry, struct slice user, struct slice password, struct slice stored, int64_t now_ms);
void sentry_remember(struct sentry *sentry, struct slice user, struct slice password, struct slice stored, int64_t now_ms);

void sentry_note_failure(struct sentry *sentry, const struct sockaddr *address, struct slice user, int64_t now_ms);
void sentry_note_success(struct sentry *sentry, const struct sockaddr *address, struct slice user, int64_t now_ms);
/* Whether the next attempt, by a password or by a proof, is to be put off unheard. */
bool sentry_is_locked(struct sentry *sentry, const struct sockaddr *address, struct slice user, bool is_password, int64_t now_ms);

/* Whose turn it is where logins wait (turns.h): friends before those of whom nothing is known before those who have failed lately. */
enum sentry_standing { SENTRY_FRIEND, SENTRY_STRANGER, SENTRY_SUSPECT, SENTRY_STANDINGS };
struct sentry_place {
    enum sentry_standing standing;
    uint8_t line[CRYPTO_HASH]; /* the same for those who share one line: an address, or a friend's account at it */
};
void sentry_place(struct sentry *sentry, const struct sockaddr *address, struct slice user, int64_t now_ms, struct sentry_place *out);

#endif
