#include "admin.h"

#include "mail/message_id.h"
#include "mta/queue_commands.h"
#include "net/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* ---- queue ------------------------------------------------------------------------------------------------------ */

static void admin_on_changed(void *context, uint64_t message, enum queue_change change)
{
    const struct admin *admin = context;
    if (!admin->delivery)
        return;
    switch (change) {
    case QUEUE_CHANGE_HELD:
        delivery_hold(admin->delivery, message);
        break;
    case QUEUE_CHANGE_RELEASED:
        delivery_release(admin->delivery, message);
        break;
    case QUEUE_CHANGE_REMOVED:
        delivery_remove(admin->delivery, message);
        break;
    }
}

/* What is due is tried now, not when it became due. */
static void admin_live(void *context, uint64_t message, struct queue_live *out)
{
    const struct admin *admin = context;
    (void)message;
    if (admin->delivery)
        out->not_before_ms = wall_now_ms();
}

/* ---- status ----------------------------------------------------------------------------------------------------- */

struct inquiry {
    const struct admin *admin;
    struct control_call *call;
};

static json_t *queue_json(const struct store_counts *counts)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "queued", (json_int_t)counts->queued, "held", (json_int_t)counts->held, "uncertain",
                     (json_int_t)counts->uncertain, "finished", (json_int_t)counts->finished, "octets", (json_int_t)counts->octets);
}

static json_t *halves_json(const struct store_counts *counts)
{
    return json_pack("{s:I, s:I}", "count", (json_int_t)counts->halves, "octets", (json_int_t)counts->half_octets);
}

static json_t *delivery_json(const struct delivery *delivery)
{
    struct delivery_counts counts = {0};
    if (delivery)
        delivery_count(delivery, &counts);
    return json_pack("{s:I, s:I, s:I}", "waiting", (json_int_t)counts.waiting, "active", (json_int_t)counts.active, "sessions",
                     (json_int_t)counts.lanes);
}

static json_t *status_json(const struct admin *admin, const struct store_counts *counts)
{
    const struct conf_values *values = &admin->conf->values;
    json_t *status = json_pack("{s:s%, s:b, s:b, s:o, s:o, s:o}", "name", values->name.ptr, values->name.len, "running", admin->delivery != NULL,
                               "smarthost", values->smarthost.host.len > 0, "queue", queue_json(counts), "halves", halves_json(counts), "delivery", delivery_json(admin->delivery));
    if (status && admin->describe)
        admin->describe(admin->context, status);
    return status;
}

static void admin_on_counted(void *context, enum result result, const struct store_counts *counts)
{
    struct inquiry *inquiry = context;
    if (result == RESULT_OK)
        control_result(inquiry->call, status_json(inquiry->admin, counts));
    else
        control_error(inquiry->call, EX_TEMPFAIL, "the database could not be read (%s)", result_name(result));
    free(inquiry);
}

static void admin_status(const struct admin *admin, struct control_call *call)
{
    struct inquiry *inquiry = malloc(sizeof *inquiry);
    if (!inquiry) {
        control_result(call, NULL);
        return;
    }
    *inquiry = (struct inquiry){admin, call};
    store_count(admin->store, admin_on_counted, inquiry);
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

/* Everything waiting is due now. */
static void admin_retry_all(const struct admin *admin, struct control_call *call)
{
    struct delivery_counts counts = {0};
    if (!admin->delivery) {
        control_error(call, EX_UNAVAILABLE, "the relay does not run; whatever is due goes out when it starts: postern-relay run");
        return;
    }
    delivery_count(admin->delivery, &counts);
    delivery_release(admin->delivery, 0);
    control_result(call, json_pack("{s:I}", "count", (json_int_t)counts.waiting));
}

/* ---- halves ----------------------------------------------------------------------------------------------------- */

static json_t *half_json(const struct store_half_entry *half)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(half->message, id);
    return json_pack("{s:s, s:s%, s:s%, s:I, s:i, s:b}", "id", id, "account", half->account.ptr, half->account.len, "device", half->device.ptr ? half->device.ptr : "", half->device.len, "octets",
                     (json_int_t)half->octets, "recipients", (int)half->nrcpt, "receiving", half->is_receiving);
}

static void admin_on_halves(void *context, enum result result, const struct store_half_entry *entries, size_t n)
{
    struct control_call *call = context;
    json_t *list = json_array();
    for (size_t i = 0; i < n && result == RESULT_OK; i++)
        if (json_array_append_new(list, half_json(&entries[i])) != 0)
            result = RESULT_MEMORY;
    if (result == RESULT_OK) {
        control_result(call, list);
        return;
    }
    json_decref(list);
    control_error(call, EX_TEMPFAIL, "the halves could not be read (%s)", result_name(result));
}

struct drop {
    struct control_call *call;
    uint64_t half;
};

static void admin_on_dropped(void *context, enum result result)
{
    struct drop drop = *(struct drop *)context;
    char id[MESSAGE_ID_TEXT];
    free(context);
    message_id_format(drop.half, id);
    if (result == RESULT_OK)
        control_result(drop.call, json_pack("{s:s}", "id", id));
    else if (result == RESULT_NOT_FOUND)
        control_error(drop.call, EX_DATAERR, "no half %s, or it is a message by now; see: queue halves, queue list", id);
    else if (result == RESULT_DENIED)
        control_error(drop.call, EX_TEMPFAIL, "half %s is being received at this moment; it can be dropped when that has ended, unless it is a message then", id);
    else
        control_error(drop.call, EX_TEMPFAIL, "the database could not be used (%s); is the disk full?", result_name(result));
}

static void admin_drop(const struct admin *admin, struct control_call *call, const json_t *arguments)
{
    const char *text = json_string_value(json_object_get(arguments, "id"));
    struct drop *drop = malloc(sizeof *drop);
    if (!drop) {
        control_result(call, NULL);
        return;
    }
    drop->call = call;
    if (text && message_id_parse(slice_from_cstr(text), &drop->half)) {
        store_half_drop(admin->store, drop->half, admin_on_dropped, drop);
        return;
    }
    control_error(call, EX_USAGE, "\"%s\" is no message id; see: queue halves", text ? text : "");
    free(drop);
}

/* ---- all commands ------------------------------------------------------------------------------------------------ */

void admin_handle(void *context, struct control_call *call, const char *command, const json_t *arguments)
{
    struct admin *admin = context;
    const struct queue_commands queue = {.store = admin->store, .on_changed = admin_on_changed, .live = admin_live, .context = context};
    bool is_all = json_is_true(json_object_get(arguments, "all"));
    if (strcmp(command, "status") == 0)
        admin_status(admin, call);
    else if (strcmp(command, "queue halves") == 0)
        store_half_list(admin->store, admin_on_halves, call);
    else if (strcmp(command, "queue drop") == 0)
        admin_drop(admin, call, arguments);
    else if (strcmp(command, "queue retry") == 0 && is_all)
        admin_retry_all(admin, call);
    else if (!queue_command(&queue, call, command, arguments) && !account_command(admin, call, command, arguments) &&
             !device_command(admin, call, command, arguments))
        control_error(call, EX_USAGE, "no such command: %s", command);
}
