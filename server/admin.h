/* The commands about accounts, devices, the queue and the state, as handlers of net/control.h: one for each, whether it is called in the running relay or by
 * the command line itself on a store that it has opened. Arguments and results are the JSON of schema/json.md. */
#ifndef POSTERN_SERVER_ADMIN_H
#define POSTERN_SERVER_ADMIN_H

#include "delivery.h"

#include "net/control.h"

struct admin {
    struct store_client *store;
    struct conf *conf;          /* borrowed */
    struct delivery *delivery;          /* NULL: no relay runs */
    _Atomic uint32_t *accounts_version; /* NULL likewise */
    /* Changes of accounts: a change reads, alters and writes a whole account, so they are made one after the other. */
    bool is_account_changing;
    struct list account_changes; /* those that wait */
    /* Adds what only the running relay knows to the answer of "status"; NULL likewise. */
    void (*describe)(void *context, json_t *status);
    void *context;
};

/* A control_handler: context is a struct admin. */
void admin_handle(void *context, struct control_call *call, const char *command, const json_t *arguments);

/* "account add|list|show|passwd|disable|enable|remove". False: it is another command, untouched. */
MUST_CHECK bool account_command(struct admin *admin, struct control_call *call, const char *command, const json_t *arguments);

/* "device list|revoke", likewise. */
MUST_CHECK bool device_command(struct admin *admin, struct control_call *call, const char *command, const json_t *arguments);

/* The password in the form in which it is kept, for the arguments of "account add" and "account passwd": {"password_hash": ..., "scram": {...}}. It
 * takes a tenth of a second and 64 MiB, which is why the command line does it and not the relay. RESULT_OK, RESULT_SYNTAX: a password with control
 * characters, RESULT_LIMIT: too long, RESULT_MEMORY. */
MUST_CHECK enum result account_password_json(struct slice password, json_t **out);

#endif
