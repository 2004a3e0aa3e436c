/* A session's account as it is now: a look into the store, for a session that lives on while a person changes the account. */
#ifndef POSTERN_SERVER_REFRESH_H
#define POSTERN_SERVER_REFRESH_H

#include "account.h"

#include "store/store.h"

struct refresh;

/* RESULT_OK: the account, which the callee frees. RESULT_NOT_FOUND: it was disabled or removed, or the device revoked. Any other: it could not be looked up. */
typedef void refresh_done(void *context, enum result result, struct account *account, uint32_t version);

/* device: that logged in; empty where it was a person. version: the accounts', before the look; comes back as it is. on_done is called later, unless the refresh is abandoned; *at, which
 * the owner keeps, is cleared before. NULL: out of memory; nothing is called. */
struct refresh *refresh_new(struct store_client *store, struct slice account, struct slice device, uint32_t version, refresh_done *on_done, void *context, struct refresh **at);
/* The session has gone. */
void refresh_abandon(struct refresh **refresh);

#endif
