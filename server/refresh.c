#include "refresh.h"

#include <stdlib.h>

struct refresh {
    struct refresh **at; /* NULL: the session has gone */
    uint32_t version;
    refresh_done *on_done;
    void *context;
};

static void on_account(void *context, enum result result, const struct store_account *found)
{
    struct refresh refresh = *(struct refresh *)context;
    free(context);
    if (!refresh.at)
        return;
    *refresh.at = NULL;
    if (result == RESULT_OK && !found->is_enabled)
        result = RESULT_NOT_FOUND;
    struct account *account = result == RESULT_OK ? account_copy(found) : NULL;
    if (result == RESULT_OK && !account)
        result = RESULT_MEMORY;
    refresh.on_done(refresh.context, result, account, refresh.version);
}

/* A device may be gone while its account is not. */
static void on_device(void *context, enum result result, const struct store_device *device, const struct store_account *found)
{
    (void)device;
    on_account(context, result, found);
}

struct refresh *refresh_new(struct store_client *store, struct slice account, struct slice device, uint32_t version, refresh_done *on_done, void *context, struct refresh **at)
{
    struct refresh *refresh = malloc(sizeof *refresh);
    if (!refresh)
        return NULL;
    *refresh = (struct refresh){at, version, on_done, context};
    if (device.len > 0)
        store_device_get(store, device, on_device, refresh);
    else
        store_account_get(store, account, on_account, refresh);
    return refresh;
}

void refresh_abandon(struct refresh **refresh)
{
    if (*refresh)
        (*refresh)->at = NULL;
    *refresh = NULL;
}
