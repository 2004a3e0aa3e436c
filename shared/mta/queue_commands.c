#include "mta/queue_commands.h"

#include "mail/date.h"
#include "mail/message_id.h"
#include "net/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

/* What is not UTF-8 (8-bit mail of old) is shown as Latin-1 would be, so that a listing never fails for one message. */
static json_t *text_json(struct slice text)
{
    json_t *value = json_stringn(text.ptr ? text.ptr : "", text.len);
    if (value)
        return value;
    char *utf8 = malloc(2 * text.len + 1);
    size_t len = 0;
    if (!utf8)
        return NULL;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x80)
            utf8[len++] = (char)(0xc0 | (c >> 6));
        utf8[len++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
    }
    value = json_stringn(utf8, len);
    free(utf8);
    return value;
}

static json_t *text_or_null(struct slice text)
{
    return text.len > 0 ? text_json(text) : json_null();
}

json_t *queue_time_json(int64_t unix_ms)
{
    char text[DATE_ISO];
    if (unix_ms <= 0)
        return json_null();
    date_format_iso(unix_ms, text);
    return json_string(text);
}

static bool is_open(const struct store_recipient *r)
{
    return r->state == STORE_QUEUED || r->state == STORE_UNCERTAIN;
}

static bool is_awaited(const struct store_recipient *r)
{
    return r->state == STORE_RELAYED && r->next_attempt_ms > 0;
}

/* When it is tried by itself; 0: it is not. A time that has passed is not one to come: it is on its way now, or nobody runs that would try. */
static int64_t tried_at_ms(const struct store_recipient *r, const struct queue_live *live)
{
    if (!is_open(r) || live->state)
        return 0;
    if (live->not_before_ms > 0)
        return r->next_attempt_ms < live->not_before_ms ? live->not_before_ms : r->next_attempt_ms;
    return r->next_attempt_ms < wall_now_ms() ? 0 : r->next_attempt_ms;
}

static int64_t asked_at_ms(const struct store_recipient *r, const struct queue_live *live)
{
    int64_t now_ms = wall_now_ms();
    if (r->next_attempt_ms >= now_ms)
        return r->next_attempt_ms;
    return live->ask_at_ms > now_ms ? live->ask_at_ms : 0;
}

/* When something is done about it by itself: tried, or the relay asked. */
static json_t *next_json(const struct store_recipient *r, const struct queue_live *live)
{
    return queue_time_json(is_awaited(r) ? asked_at_ms(r, live) : tried_at_ms(r, live));
}

/* The time that a relay's promise names, with what follows; empty: there is none, or it is still to come. */
static struct slice passed_promise(struct slice reply)
{
    const struct slice promise = SLICE(QUEUE_RELAY_TRIES " at ");
    char now[DATE_ISO];
    while (reply.len > 0 && !slice_starts_with(reply, promise))
        reply = slice_skip(reply, 1);
    date_format_iso(wall_now_ms(), now);
    struct slice rest = slice_skip(reply, promise.len);
    return rest.len >= strlen(now) && memcmp(rest.ptr, now, strlen(now)) < 0 ? rest : (struct slice){0};
}

/* A time that has passed since the relay told it is not shown as one to come. */
static json_t *reply_json(const struct store_recipient *r)
{
    static const char was[] = "the relay meant to try again at ";
    struct slice rest = r->state == STORE_RELAYED ? passed_promise(r->reply) : (struct slice){0};
    size_t kept = r->reply.len - rest.len - strlen(QUEUE_RELAY_TRIES " at "), size = r->reply.len + sizeof was;
    if (rest.len == 0)
        return text_or_null(r->reply);
    char *text = malloc(size);
    if (!text)
        return NULL;
    int len = snprintf(text, size, "%.*s%s%.*s", (int)kept, r->reply.ptr, was, SLICE_ARG(rest));
    json_t *json = text_json(slice_of(text, (size_t)len));
    free(text);
    return json;
}

/* The reply to the hand-over, and nothing newer. */
static bool is_own_reply(const struct store_recipient *r)
{
    return r->reply.len == 0 || r->reply.ptr[0] == '2';
}

/* What no reply says: what the state means for whoever waits. NULL: its name and the reply say it all. */
static const char *words_of(const struct store_recipient *r, const struct queue_live *live)
{
    switch (r->state) {
    case STORE_UNCERTAIN:
        return live->is_taken_once ? "the line broke after the last octet, before the relay's reply; it is sent again under the same name, and the relay takes it once"
                                   : "the line broke after the last octet, before the next server's reply: it may be there; it is tried again, and so may arrive twice";
    case STORE_RELAYED:
        if (is_awaited(r))
            return live->is_untold ? "the relay has it; it tells no outcomes at present, and is asked what became of it if it does again" : "the relay has it, and is asked what becomes of it";
        return is_own_reply(r) ? "the relay has it; what becomes of it is not asked" : NULL;
    case STORE_QUEUED:
    case STORE_HELD:
    case STORE_DELIVERED:
    case STORE_BOUNCED: break;
    }
    return NULL;
}

static json_t *words_json(const struct store_recipient *r, const struct queue_live *live)
{
    const char *words = words_of(r, live);
    return words ? json_string(words) : json_null();
}

static json_t *recipient_json(const struct store_recipient *r, const struct queue_live *live)
{
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:i, s:o, s:o}", "address", text_json(r->envelope.address), "state", store_state_name(r->state), "reply",
                     reply_json(r), "host", text_or_null(r->host), "at", queue_time_json(r->at_ms), "attempts", (int)r->attempts, "next", next_json(r, live), "words",
                     words_json(r, live));
}

/* How much a recipient's state has to say about the whole message's (schema/README.md). */
static int weight(const struct store_recipient *r)
{
    switch (r->state) {
    case STORE_UNCERTAIN: return 4;
    case STORE_QUEUED:
    case STORE_HELD: return 3;
    case STORE_RELAYED: return is_awaited(r) ? 2 : 0;
    case STORE_BOUNCED: return 1;
    case STORE_DELIVERED: break;
    }
    return 0;
}

/* The reason of the whole: the last word on a recipient that makes the message what it is. */
static const struct store_recipient *most_telling(const struct store_listing *entry)
{
    const struct store_recipient *best = NULL;
    for (size_t i = 0; i < entry->nrecipients; i++) {
        const struct store_recipient *r = &entry->recipients[i];
        if (r->reply.len == 0)
            continue;
        if (!best || weight(r) > weight(best) || (weight(r) == weight(best) && r->at_ms >= best->at_ms))
            best = r;
    }
    return best;
}

/* The first of its recipients'; 0: nothing is to be tried, as far as anybody knows. */
static int64_t next_attempt_ms(const struct store_listing *entry, const struct queue_live *live)
{
    int64_t next_ms = 0;
    for (size_t i = 0; i < entry->nrecipients; i++) {
        int64_t at_ms = tried_at_ms(&entry->recipients[i], live);
        if (at_ms > 0 && (next_ms == 0 || at_ms < next_ms))
            next_ms = at_ms;
    }
    return next_ms;
}

static bool has_open(const struct store_listing *entry)
{
    for (size_t i = 0; i < entry->nrecipients; i++)
        if (is_open(&entry->recipients[i]))
            return true;
    return false;
}

/* A next hop's own word on a recipient that waits says more than that there is no way at present; ours of an earlier day says less. */
static json_t *reason_json(const struct store_listing *entry, const struct queue_live *live)
{
    const struct store_recipient *telling = most_telling(entry);
    if (live->state)
        return json_null(); /* on its way: why it was not the last time has passed */
    if (telling && telling->state == STORE_UNCERTAIN)
        return words_json(telling, live);
    bool is_hops_word = telling && is_open(telling) && telling->host.len > 0;
    if (live->reason && !is_hops_word && has_open(entry))
        return text_json(slice_from_cstr(live->reason));
    return telling ? reply_json(telling) : json_null();
}

static json_t *progress_json(const struct queue_live *live)
{
    return live->has_progress ? json_pack("{s:I, s:I}", "octets", (json_int_t)live->done_octets, "of", (json_int_t)live->of_octets) : json_null();
}

json_t *queue_entry_json(const struct store_listing *entry, const struct queue_live *live)
{
    char id[MESSAGE_ID_TEXT];
    json_t *to = json_array();
    message_id_format(entry->message.id, id);
    for (size_t i = 0; i < entry->nrecipients; i++)
        if (json_array_append_new(to, recipient_json(&entry->recipients[i], live)) < 0) {
            json_decref(to);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:o, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "id", id, "from", text_json(entry->message.envelope.sender), "to", to, "size",
                     (json_int_t)entry->message.size_octets, "state", live->state ? live->state : entry->state, "since",
                     queue_time_json(entry->message.received_at_ms), "expires", queue_time_json(entry->message.expires_at_ms), "next_attempt",
                     queue_time_json(next_attempt_ms(entry, live)), "reason", reason_json(entry, live), "account", text_or_null(entry->message.account), "report",
                     entry->message.is_dsn, "progress", progress_json(live));
}

/* ---- a command under way ---------------------------------------------------------------------------------------- */

struct work {
    struct queue_commands commands;
    struct control_call *call;
    enum queue_change change;
    uint64_t id;
    json_t *rows;
    enum result result; /* of list and show: the first failure */
    bool is_there, is_held; /* what could not be changed */
};

static struct work *work_new(const struct queue_commands *commands, struct control_call *call)
{
    struct work *work = calloc(1, sizeof *work);
    if (!work) {
        control_result(call, NULL);
        return NULL;
    }
    work->commands = *commands;
    work->call = call;
    return work;
}

static void work_free(struct work *work)
{
    json_decref(work->rows);
    free(work);
}

static void fail(struct control_call *call, enum result result, uint64_t id)
{
    char text[MESSAGE_ID_TEXT];
    message_id_format(id, text);
    if (result == RESULT_NOT_FOUND)
        control_error(call, EX_DATAERR, "no message %s; see: queue list", text);
    else
        control_error(call, EX_TEMPFAIL, "the database could not be used (%s); is the disk full?", result_name(result));
}

static bool parse_id(struct control_call *call, const json_t *arguments, uint64_t *out)
{
    const char *text = json_string_value(json_object_get(arguments, "id"));
    if (text && message_id_parse(slice_from_cstr(text), out))
        return true;
    control_error(call, EX_USAGE, "\"%s\" is no message id; see: queue list", text ? text : "");
    return false;
}

/* ---- list and show ---------------------------------------------------------------------------------------------- */

static void append(struct work *work, const struct store_listing *row)
{
    struct queue_live live = {0};
    if (work->commands.live)
        work->commands.live(work->commands.context, row->message.id, &live);
    if (json_array_append_new(work->rows, queue_entry_json(row, &live)) < 0)
        work->result = RESULT_MEMORY;
}

/* Groups go on coming after a failure of ours: the answer waits for the last. */
static void on_rows(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct work *work = context;
    if (work->result == RESULT_OK)
        work->result = result;
    for (size_t i = 0; i < n && work->result == RESULT_OK; i++)
        append(work, &rows[i]);
    if (!is_last)
        return;
    if (work->result != RESULT_OK)
        fail(work->call, work->result, work->id);
    else if (work->id == 0)
        control_result(work->call, json_incref(work->rows));
    else if (json_array_size(work->rows) == 0)
        fail(work->call, RESULT_NOT_FOUND, work->id);
    else
        control_result(work->call, json_incref(json_array_get(work->rows, 0)));
    work_free(work);
}

static void list(const struct queue_commands *commands, struct control_call *call, const json_t *arguments)
{
    const char *after_text = json_string_value(json_object_get(arguments, "after"));
    json_int_t limit = json_integer_value(json_object_get(arguments, "limit"));
    enum store_list waiting = commands->shows_awaited ? STORE_LIST_PENDING : STORE_LIST_UNFINISHED;
    enum store_list which = json_is_true(json_object_get(arguments, "all")) ? STORE_LIST_ALL : waiting;
    uint64_t after = 0;
    if (after_text && !message_id_parse(slice_from_cstr(after_text), &after)) {
        control_error(call, EX_USAGE, "\"%s\" is no message id", after_text);
        return;
    }
    struct work *work = work_new(commands, call);
    if (!work)
        return;
    work->rows = json_array();
    store_message_list(commands->store, which, after, limit > 0 && limit < QUEUE_LIST_PAGE ? (uint32_t)limit : QUEUE_LIST_PAGE, on_rows, work);
}

static void show(const struct queue_commands *commands, struct control_call *call, const json_t *arguments)
{
    uint64_t id;
    if (!parse_id(call, arguments, &id))
        return;
    struct work *work = work_new(commands, call);
    if (!work)
        return;
    work->id = id;
    work->rows = json_array();
    store_message_get(commands->store, id, on_rows, work);
}

/* ---- hold, release, retry, remove ------------------------------------------------------------------------------- */

/* Who wants what is so already has nothing to mend; whom the message has outrun is told so; and a slip of the pen is told from both. */
static void explain(const struct work *work)
{
    char id[MESSAGE_ID_TEXT];
    message_id_format(work->id, id);
    if (work->result != RESULT_OK || !work->is_there)
        fail(work->call, work->result == RESULT_OK ? RESULT_NOT_FOUND : work->result, work->id);
    else if (work->is_held)
        control_result(work->call, json_pack("{s:s, s:b}", "id", id, "already", true));
    else
        control_error(work->call, EX_DATAERR, "nothing of message %s waits any more; see: queue show %s", id, id);
}

static void on_unchanged(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct work *work = context;
    if (work->result == RESULT_OK && result != RESULT_NOT_FOUND)
        work->result = result;
    work->is_there = work->is_there || n > 0;
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < rows[i].nrecipients; at++)
            work->is_held = work->is_held || rows[i].recipients[at].state == STORE_HELD;
    if (!is_last)
        return;
    explain(work);
    work_free(work);
}

static void on_changed(void *context, enum result result)
{
    struct work *work = context;
    char id[MESSAGE_ID_TEXT];
    message_id_format(work->id, id);
    if (result == RESULT_NOT_FOUND && work->change != QUEUE_CHANGE_REMOVED) {
        store_message_get(work->commands.store, work->id, on_unchanged, work);
        return;
    }
    if (result == RESULT_OK && work->commands.on_changed)
        work->commands.on_changed(work->commands.context, work->id, work->change);
    if (result == RESULT_OK)
        control_result(work->call, json_pack("{s:s}", "id", id));
    else
        fail(work->call, result, work->id);
    work_free(work);
}

static void change(const struct queue_commands *commands, struct control_call *call, const json_t *arguments, enum queue_change change)
{
    uint64_t id;
    if (!parse_id(call, arguments, &id))
        return;
    struct work *work = work_new(commands, call);
    if (!work)
        return;
    work->id = id;
    work->change = change;
    switch (change) {
    case QUEUE_CHANGE_HELD: store_message_hold(commands->store, id, on_changed, work); break;
    case QUEUE_CHANGE_RELEASED: store_message_release(commands->store, id, wall_now_ms(), on_changed, work); break;
    case QUEUE_CHANGE_REMOVED: store_message_remove(commands->store, id, on_changed, work); break;
    }
}

bool queue_command(const struct queue_commands *commands, struct control_call *call, const char *command, const json_t *arguments)
{
    if (strcmp(command, "queue list") == 0)
        list(commands, call, arguments);
    else if (strcmp(command, "queue show") == 0)
        show(commands, call, arguments);
    else if (strcmp(command, "queue hold") == 0)
        change(commands, call, arguments, QUEUE_CHANGE_HELD);
    else if (strcmp(command, "queue release") == 0 || strcmp(command, "queue retry") == 0)
        change(commands, call, arguments, QUEUE_CHANGE_RELEASED);
    else if (strcmp(command, "queue remove") == 0)
        change(commands, call, arguments, QUEUE_CHANGE_REMOVED);
    else
        return false;
    return true;
}
