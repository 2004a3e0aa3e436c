/* What the relay remembers of logins, in memory only: passwords that were right a moment ago, and who fails too often.
 *
 * A mail program that logs in for every message would cost an Argon2 each time; a right password is remembered for ten minutes as a
 * keyed hash of user, password and stored hash under a secret of this process, so a changed password misses. Wrong ones are never remembered
 * as such: they count against the address they come from (IPv6: its /64) and against the account. Counters forget by their window's end. Both tables
 * are of fixed size; a full set loses its oldest entry. The clock is a parameter (monotonic). Any thread may call. */
#ifndef POSTERN_SERVER_SENTRY_H
#define POSTERN_SERVER_SENTRY_H

#include "base/result.h"
#include "base/slice.h"

#include <sys/socket.h>

enum {
    SENTRY_REMEMBER_MS = 10 * 60 * 1000,
    SENTRY_WINDOW_MS = 10 * 60 * 1000,
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
/* Whether the next attempt is to be put off unheard. */
bool sentry_is_locked(struct sentry *sentry, const struct sockaddr *address, struct slice user, int64_t now_ms);

#endif
