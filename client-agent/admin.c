/* The commands of the agent's control socket: status, diagnose, and those on the queue. */
#include "agent.h"

#include "way_json.h"

#include "mta/queue_commands.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { MEGABYTE = 1000 * 1000 };

/* ---- status ----------------------------------------------------------------------------------------------------- */

static json_t *ways_json(const struct agent *agent, const struct uplink_status *status)
{
    json_t *ways = json_array();
    for (size_t i = 0; i < status->ntrials; i++)
        json_array_append_new(ways, way_trial_json(&status->trials[i], agent->settings->values.relay_host.ptr));
    return ways;
}

static bool is_nothing_known(const struct uplink_status *status)
{
    for (size_t i = 0; i < status->ntrials; i++)
        if (status->trials[i].verdict != PATH_UNTRIED)
            return false;
    return !status->has_way;
}

static json_t *verdict_json(const struct agent *agent, const struct uplink_status *status)
{
    if (status->state == UPLINK_SEARCHING && is_nothing_known(status))
        return json_string("A way to the relay is being looked for.");
    struct buffer words = BUFFER(UPLINK_WORDS);
    json_t *json = NULL;
    if (uplink_describe(agent->uplink, &words) == RESULT_OK)
        json = json_stringn(buffer_slice(&words).ptr, buffer_len(&words));
    buffer_free(&words);
    return json;
}

static json_t *sending_json(const struct uplink_status *status)
{
    char id[MESSAGE_ID_TEXT];
    if (status->sending == 0)
        return json_null();
    message_id_format(status->sending, id);
    return json_pack("{s:s, s:I, s:I}", "id", id, "sent_octets", (json_int_t)status->sent_octets, "size", (json_int_t)status->sending_octets);
}

struct status_work {
    struct agent *agent;
    struct control_call *call;
};

static json_t *spool_json(const struct agent *agent)
{
    bool is_sealed = store_is_sealed(agent->store);
    uint64_t wipe_octets = store_wipe_octets(agent->store);
    char words[SPOOL_KEY_WHERE + 160];
    int len = snprintf(words, sizeof words, is_sealed ? "encrypted, the key is in %s" : "not encrypted", agent->key.where);
    if (wipe_octets > 0)
        snprintf(words + len, sizeof words - (size_t)len, "; what lay in the clear before is not overwritten yet, which takes %llu MB of free disk",
                 (unsigned long long)((wipe_octets + MEGABYTE - 1) / MEGABYTE));
    return json_pack("{s:b, s:b, s:o, s:s}", "encrypted", is_sealed, "wiped", is_sealed && wipe_octets == 0, "key", is_sealed ? json_string(agent->key.where) : json_null(), "words", words);
}

static json_t *status_json(const struct agent *agent, const struct store_counts *counts)
{
    struct uplink_status status;
    uplink_status(agent->uplink, &status);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:{s:I, s:I, s:I, s:I, s:I}}", "network", network_state_name(status.network), "state",
                     uplink_state_name(status.state), "words", verdict_json(agent, &status), "way", status.has_way ? way_json(&status.way, agent->settings->values.relay_host.ptr) : json_null(), "ways",
                     ways_json(agent, &status), "searched", queue_time_json(status.since_ms), "next_search", queue_time_json(status.next_search_ms), "trouble",
                     status.trouble ? json_string(status.trouble) : json_null(), "sending", sending_json(&status), "relay",
                     agent->settings->values.relay_host.ptr, "started", queue_time_json(agent->wall.started_at_ms), "spool", spool_json(agent), "queue", "queued", (json_int_t)counts->queued, "held",
                     (json_int_t)counts->held, "uncertain", (json_int_t)counts->uncertain, "awaited", (json_int_t)status.nawaited, "octets", (json_int_t)counts->octets);
}

static void on_counts(void *context, enum result result, const struct store_counts *counts)
{
    struct status_work *work = context;
    if (result == RESULT_OK)
        control_result(work->call, status_json(work->agent, counts));
    else
        control_error(work->call, EX_TEMPFAIL, "the database could not be read (%s)", result_name(result));
    free(work);
}

static void status(struct agent *agent, struct control_call *call)
{
    struct status_work *work = malloc(sizeof *work);
    if (!work) {
        control_result(call, NULL);
        return;
    }
    *work = (struct status_work){agent, call};
    store_count(agent->client, on_counts, work);
}

/* ---- diagnose --------------------------------------------------------------------------------------------------- */

static void on_diagnosed(void *context)
{
    struct agent *agent = context;
    agent->diagnosis = NULL;
    if (agent->uplink)
        return;
    recall_save_probe(&agent->recall, agent->prober);
    prober_free(&agent->prober);
    recall_close(&agent->recall);
}

static const char *relay_name(const struct agent *agent)
{
    const struct settings_values *values = &agent->settings->values;
    return values->relay_name.len > 0 ? values->relay_name.ptr : values->relay_host.ptr;
}

/* Without a daemon nothing has been read yet. */
static bool recall_here(struct agent *agent)
{
    if (agent->uplink)
        return true;
    agent->prober = prober_new(&agent->loop, &agent->log);
    if (!agent->prober || recall_open(&agent->recall, &agent->loop, agent->client, &agent->log, agent->settings) != RESULT_OK)
        return false;
    if (agent->recall.probe.ago_ms < FINDER_PROBE_EVERY_MS)
        prober_restore(agent->prober, &agent->recall.probe, relay_name(agent));
    return true;
}

/* Nobody watches the network without a daemon: its addresses tell whether there is one, and whether it is that of a moment ago. */
static struct monitor_event network_by_addresses(const struct agent *agent)
{
    struct monitor_event event = {.has_key = true};
    struct buffer text = BUFFER(64 * 1024);
    char address[INET6_ADDRSTRLEN];
    uint8_t hash[CRYPTO_HASH];
    uv_interface_address_t *list = NULL;
    int n = 0;
    if (uv_interface_addresses(&list, &n) != 0)
        return (struct monitor_event){.is_up = true, .has_changed = true};
    for (int i = 0; i < n; i++) {
        const struct sockaddr *at = (const struct sockaddr *)&list[i].address;
        bool is_v6 = at->sa_family == AF_INET6;
        if (list[i].is_internal || (is_v6 && IN6_IS_ADDR_LINKLOCAL(&list[i].address.address6.sin6_addr)) || uv_ip_name(at, address, sizeof address) != 0)
            continue;
        event.is_up = true;
        event.has_key = event.has_key && buffer_append_cstr(&text, address) == RESULT_OK;
    }
    uv_free_interface_addresses(list, n);
    crypto_keyed_hash(agent->recall.secret, buffer_slice(&text), hash);
    memcpy(event.key, hash, sizeof event.key);
    buffer_free(&text);
    return event;
}

static const char *trouble(void *context)
{
    const struct agent *agent = context;
    struct uplink_status status;
    if (!agent->uplink)
        return NULL;
    uplink_status(agent->uplink, &status);
    return status.trouble;
}

static void diagnose(struct agent *agent, struct control_call *call)
{
    struct tls_context *tls = NULL;
    const struct path_address *addresses;
    if (agent->diagnosis) {
        control_error(call, EX_TEMPFAIL, "a diagnosis runs already; wait for its end");
        return;
    }
    if (agent_make_tls(agent->settings, &agent->log, &tls) != EX_OK) {
        control_error(call, EX_CONFIG, "the relay's pins or certificates can't be read; see the log");
        return;
    }
    bool is_begun = recall_here(agent);
    if (is_begun) {
        size_t naddresses = memory_addresses(agent->recall.memory, &addresses);
        is_begun = diagnosis_start(&agent->diagnosis, &(struct diagnosis_config){
            .loop = &agent->loop,
            .settings = agent->settings,
            .tls = tls,
            .profile = &agent->recall.profile,
            .addresses = addresses,
            .naddresses = naddresses,
            .program = agent->program[0] ? agent->program : NULL,
            .prober = agent->prober,
            .network = agent->uplink ? agent->network : network_by_addresses(agent),
            .trouble = trouble,
            .log = &agent->log,
            .call = call,
            .on_end = on_diagnosed,
            .context = agent,
        }) == RESULT_OK;
    }
    tls_context_unref(&tls);
    if (!is_begun) {
        on_diagnosed(agent);
        control_error(call, EX_OSERR, "out of memory");
    }
}

/* ---- the queue -------------------------------------------------------------------------------------------------- */

static void ignore_not_found(enum result result)
{
    (void)result; /* the message has ended meanwhile: then there is nothing to follow */
}

static void on_changed(void *context, uint64_t message, enum queue_change change)
{
    struct agent *agent = context;
    if (!agent->queue)
        return;
    switch (change) {
    case QUEUE_CHANGE_HELD:
        ignore_not_found(queue_hold(agent->queue, message));
        uplink_hold(agent->uplink, message);
        break;
    case QUEUE_CHANGE_REMOVED:
        ignore_not_found(queue_remove(agent->queue, message));
        uplink_forget(agent->uplink, message);
        break;
    case QUEUE_CHANGE_RELEASED:
        /* One that was loaded as held is no job, and the queue may have let go of it before it heard of the hold. */
        if (queue_release(agent->queue, message, loop_now_ms(&agent->loop)) == RESULT_NOT_FOUND)
            backlog_add(&agent->backlog, message, 0, wall_now_ms());
        queue_flush(agent->queue, message, loop_now_ms(&agent->loop)); /* one that was not held, but deferred */
        uplink_wake(agent->uplink, true);
        break;
    }
}

static void live(void *context, uint64_t message, struct queue_live *out)
{
    const struct agent *agent = context;
    struct uplink_status status;
    if (!agent->uplink)
        return;
    out->has_progress = uplink_progress(agent->uplink, message, &out->done_octets, &out->of_octets);
    uplink_status(agent->uplink, &status);
    out->is_taken_once = status.has_names;
    out->is_untold = status.is_untold;
    out->ask_at_ms = uplink_question_at_ms(agent->uplink, message);
    if (status.sending == message) {
        out->state = "sending";
        return;
    }
    bool is_looking = status.state == UPLINK_SEARCHING || status.state == UPLINK_LOGIN;
    out->reason = status.trouble ? status.trouble : is_looking ? "a way to the relay is being looked for" : NULL;
    out->not_before_ms = status.next_search_ms > 0 ? status.next_search_ms : wall_now_ms();
}

static void flush(struct agent *agent, struct control_call *call)
{
    struct uplink_status status;
    queue_flush(agent->queue, 0, loop_now_ms(&agent->loop));
    uplink_flush(agent->uplink);
    uplink_status(agent->uplink, &status);
    control_result(call, json_pack("{s:I, s:I, s:b}", "queued", (json_int_t)queue_count(agent->queue), "awaited", (json_int_t)status.nawaited, "untold", status.is_untold));
}

void agent_command(void *context, struct control_call *call, const char *command, const json_t *arguments)
{
    struct agent *agent = context;
    const struct queue_commands commands = {.store = agent->client, .shows_awaited = true, .on_changed = on_changed, .live = live, .context = agent};
    if (!agent->client)
        control_error(call, EX_TEMPFAIL, "the agent is stopping");
    else if (queue_command(&commands, call, command, arguments))
        return;
    else if (strcmp(command, "diagnose") == 0)
        diagnose(agent, call);
    else if (!agent->uplink)
        control_error(call, EX_UNAVAILABLE, "the agent does not run; start it with: %s", DIRS_HINT(agent->dirs, "postern-agent run"));
    else if (strcmp(command, "status") == 0)
        status(agent, call);
    else if (strcmp(command, "queue flush") == 0)
        flush(agent, call);
    else
        control_error(call, EX_USAGE, "no command \"%s\"", command);
}
