/* An account as a session holds it: its name and what it may send as. A copy, so that no session waits for the store at each command. */
#ifndef POSTERN_SERVER_ACCOUNT_H
#define POSTERN_SERVER_ACCOUNT_H

#include "store/store.h"

enum {
    ACCOUNT_NAME_MAX = 64,      /* octets */
    ACCOUNT_SEND_AS_MAX = 1000, /* entries */
    ACCOUNT_DEVICE_ID = 16,     /* octets of a device's id: 32 letters and digits that nobody mistakes for each other, 80 bits */
    ACCOUNT_DEVICES_MAX = 32,   /* then the one that was unseen for longest goes */
};

struct account {
    struct arena arena;
    struct slice name;
    bool is_enabled;
    int64_t changed_at_ms; /* wall time */
    const struct slice *send_as;
    size_t nsend_as;
};

/* NULL: out of memory. */
struct account *account_copy(const struct store_account *from);
void account_free(struct account **account);

bool account_may_send_as(const struct account *account, struct slice address);
/* "anna@example.org, @example.com" for words to people, at most a few entries; writes to out[size]. */
void account_describe(const struct account *account, char *out, size_t size);

/* Letters, digits, '.', '-', '_', '+' and '@', at most ACCOUNT_NAME_MAX: what the programs' users can type everywhere. Writes the name in
 * lower case to out. False: not a name. */
bool account_name_normalise(struct slice name, char out[static ACCOUNT_NAME_MAX + 1]);

#endif
