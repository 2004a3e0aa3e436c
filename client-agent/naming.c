#include "naming.h"

#include "mail/message_id.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char SECRET_SETTING[] = "transaction-secret";

static void on_written(void *context, enum result result)
{
    struct naming *naming = context;
    naming->nasked--;
    naming->result = result;
}

struct reading {
    struct naming *naming;
    struct store_client *store;
};

static void on_read(void *context, enum result result, struct slice value)
{
    struct reading *reading = context;
    struct naming *naming = reading->naming;
    naming->nasked--;
    naming->result = result;
    if (result == RESULT_OK && value.len == sizeof naming->secret) {
        memcpy(naming->secret, value.ptr, sizeof naming->secret);
    } else if (result == RESULT_OK || result == RESULT_NOT_FOUND) {
        crypto_random(naming->secret, sizeof naming->secret);
        naming->nasked++;
        store_setting_put(reading->store, slice_from_cstr(SECRET_SETTING), slice_of(naming->secret, sizeof naming->secret), on_written, naming);
    }
}

enum result naming_open(struct naming *naming, uv_loop_t *loop, struct store_client *store)
{
    struct reading reading = {naming, store};
    *naming = (struct naming){.nasked = 1};
    store_setting_get(store, slice_from_cstr(SECRET_SETTING), on_read, &reading);
    while (naming->nasked > 0)
        uv_run(loop, UV_RUN_ONCE);
    return naming->result;
}

void naming_format(const struct naming *naming, uint64_t message, uint32_t transaction, char out[static NAMING_TEXT])
{
    char id[MESSAGE_ID_TEXT], what[MESSAGE_ID_TEXT + 9], hex[33];
    uint8_t hash[CRYPTO_HASH];
    message_id_format(message, id);
    snprintf(what, sizeof what, "%s.%" PRIx32, id, transaction);
    crypto_keyed_hash(naming->secret, slice_from_cstr(what), hash);
    crypto_hex(slice_of(hash, 16), hex, sizeof hex);
    snprintf(out, NAMING_TEXT, "<%s.%s@postern-agent.invalid>", what, hex);
}

void naming_close(struct naming *naming)
{
    crypto_wipe(naming->secret, sizeof naming->secret);
}
