/* Where the key of the encrypted spool lives: in a file of mode 0600, or in the desktop's secret service.
 *
 *     [spool] key = file             the file key_file, made at the first start
 *     [spool] key = secret-service   the secret service, asked of a child ("postern-agent secret", command_secret.c): libsecret brings D-Bus and a main loop of its own, for which there is no place here
 *     [spool] key = auto             a file that is there wins; else the secret service if one answers; else a new file. One that is locked has answered
 *
 * A new key is made only while nothing is sealed, under the store's lock, and is read back before it is used: a lost key is lost mail. None is ever removed or written over. */
#ifndef POSTERN_AGENT_SPOOL_KEY_H
#define POSTERN_AGENT_SPOOL_KEY_H

#include "settings.h"

#include "store/store.h"

enum { SPOOL_KEY_WHERE = 600, SPOOL_KEY_TEXT = 2 * CRYPTO_KEY, SPOOL_KEY_SECRET_MS = 40 * 1000 /* the person at the desktop may be asked for a password meanwhile */ };

struct spool_key {
    const struct dirs *dirs;
    const struct settings_values *values;
    char where[SPOOL_KEY_WHERE]; /* once it was found: "the file /.../spool.key", "the desktop's secret service"; else empty */
};

/* For store_config.seal; `seal` and `key` live until store_open has returned. */
void spool_key_prepare(struct spool_key *key, const struct dirs *dirs, const struct settings_values *values, struct store_seal *seal);

/* ---- secret_child.c: the secret service, asked of a child ---- */

/* RESULT_OK; RESULT_NOT_FOUND: the service has none of this name; RESULT_CANCELLED: locked, or nobody answered its question; RESULT_IO: no secret service here; RESULT_LIMIT: none that answers in time;
 * RESULT_MEMORY: it could not be asked, for want of memory, processes or open files; RESULT_DENIED: the program can't be started, errno says why. name: letters and digits. text is 64 hex digits. */
MUST_CHECK enum result secret_child_get(const char *program, const char *name, char text[static SPOOL_KEY_TEXT + 1]);
/* RESULT_OK, RESULT_CANCELLED, RESULT_LIMIT, RESULT_MEMORY, RESULT_DENIED, RESULT_IO: it takes none. */
MUST_CHECK enum result secret_child_put(const char *program, const char *name, const char text[static SPOOL_KEY_TEXT + 1]);

#endif
