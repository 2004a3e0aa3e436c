#include "admin.h"

#include "mta/queue_commands.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { ID_MAX = 64 };

struct work {
    struct admin *admin;
    struct control_call *call;
    char id[ID_MAX + 1]; /* to be revoked */
    json_t *result;
    enum result failure; /* of a listing: the first */
};

static struct work *work_new(struct admin *admin, struct control_call *call)
{
    struct work *work = calloc(1, sizeof *work);
    if (work)
        *work = (struct work){.admin = admin, .call = call};
    else
        control_result(call, NULL);
    return work;
}

static void work_end(struct work *work, enum result result)
{
    if (result == RESULT_OK)
        control_result(work->call, work->result);
    else if (result == RESULT_NOT_FOUND)
        control_error(work->call, EX_DATAERR, "there is no device %s; see: postern-relay device list", work->id);
    else
        control_error(work->call, EX_TEMPFAIL, "the database could not be used (%s); is the disk full?", result_name(result));
    if (result != RESULT_OK)
        json_decref(work->result);
    free(work);
}

/* ---- list ------------------------------------------------------------------------------------------------------- */

static json_t *device_json(const struct store_device *device)
{
    return json_pack("{s:s%, s:s%, s:s%, s:o, s:o}", "id", device->id.ptr, device->id.len, "account", device->account.ptr, device->account.len, "label",
                     device->label.ptr, device->label.len, "created", queue_time_json(device->created_at_ms), "seen", queue_time_json(device->seen_at_ms));
}

static void on_rows(void *context, enum result result, const struct store_device *devices, size_t n, bool is_last)
{
    struct work *work = context;
    if (work->failure == RESULT_OK)
        work->failure = result;
    for (size_t i = 0; work->failure == RESULT_OK && i < n; i++) {
        if (json_array_append_new(work->result, device_json(&devices[i])) != 0)
            work->failure = RESULT_MEMORY;
    }
    if (is_last) /* not before: the store goes on telling */
        work_end(work, work->failure);
}

static void device_list(struct admin *admin, struct control_call *call, const json_t *arguments)
{
    const json_t *given = json_object_get(arguments, "account");
    struct slice account = slice_of(json_string_value(given), json_string_length(given));
    char name[ACCOUNT_NAME_MAX + 1] = "";
    if (given && !account_name_normalise(account, name)) {
        control_error(call, EX_USAGE, "\"%.*s\" is no account name; see: postern-relay account list", SLICE_ARG(account));
        return;
    }
    struct work *work = work_new(admin, call);
    if (!work)
        return;
    work->result = json_array();
    store_device_list(admin->store, slice_from_cstr(name), on_rows, work);
}

/* ---- revoke ----------------------------------------------------------------------------------------------------- */

/* Its sessions look it up again at their next MAIL, and end. */
static void on_removed(void *context, enum result result)
{
    struct work *work = context;
    if (result == RESULT_OK && work->admin->accounts_version)
        (*work->admin->accounts_version)++;
    work_end(work, result);
}

static void device_revoke(struct admin *admin, struct control_call *call, const json_t *arguments)
{
    const char *id = json_string_value(json_object_get(arguments, "id"));
    if (!id || !*id || strlen(id) > ID_MAX) {
        control_error(call, EX_USAGE, "\"%s\" is no device's id; see: postern-relay device list", id ? id : "");
        return;
    }
    struct work *work = work_new(admin, call);
    if (!work)
        return;
    memcpy(work->id, id, strlen(id) + 1);
    work->result = json_pack("{s:s}", "id", id);
    store_device_remove(admin->store, slice_from_cstr(work->id), on_removed, work);
}

bool device_command(struct admin *admin, struct control_call *call, const char *command, const json_t *arguments)
{
    if (strcmp(command, "device list") == 0)
        device_list(admin, call, arguments);
    else if (strcmp(command, "device revoke") == 0)
        device_revoke(admin, call, arguments);
    else
        return false;
    return true;
}
