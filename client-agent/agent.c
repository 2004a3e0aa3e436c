#include "agent.h"

#include "config/private.h"
#include "crypto/crypto.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { STOP_GRACE_MS = 3000, STOP_LAST_MS = 1500, SWEEP_EVERY_MS = 24 * 3600 * 1000 };

/* ---- the queue -------------------------------------------------------------------------------------------------- */

static uint64_t next_id(void *context)
{
    struct agent *agent = context;
    return message_id_next(&agent->ids, wall_now_ms(), crypto_random_u32());
}

static int64_t lead_of_wall_ms(void *context, int64_t received_at_ms)
{
    struct agent *agent = context;
    return wall_lead_ms(&agent->wall, received_at_ms);
}

static int64_t ask_at_ms(void *context, const struct store_message *message)
{
    const struct agent *agent = context;
    (void)message;
    return uplink_ask_at_ms(agent->uplink);
}

static int64_t step_of_wall_ms(void *context)
{
    const struct agent *agent = context;
    return wall_step_ms(&agent->wall);
}

static void sweep_sometimes(struct agent *agent)
{
    int64_t now_ms = wall_now_ms(), before_ms = wall_history_ms(&agent->wall, agent->settings->values.history);
    if (before_ms == INT64_MIN || (now_ms - agent->swept_at_ms < SWEEP_EVERY_MS && agent->swept_at_ms <= now_ms))
        return;
    agent->swept_at_ms = now_ms;
    store_sweep(agent->client, before_ms, NULL, NULL);
}

static void look_around(void *context);

static void on_queued(void *context, const struct intake_queued *queued)
{
    struct agent *agent = context;
    backlog_add(&agent->backlog, queued->message->id, queued->message->size_octets, queued->due_at_ms);
    look_around(agent);
    uplink_wake(agent->uplink, false);
    sweep_sometimes(agent);
}

/* At the start a database that can't be read ends it; later, or when it is memory that is short, it is read again. */
static void on_backlog(void *context, enum result result)
{
    struct agent *agent = context;
    if (result != RESULT_OK && result != RESULT_MEMORY && !agent->has_backlog) {
        agent_fail(EX_IOERR, "the queue could not be read from the database (%s)", result_name(result));
        agent_stop(agent, EX_IOERR);
        return;
    }
    if (result != RESULT_OK)
        log_event(&agent->log, LOG_ERROR, "queue-not-read", LOG_TEXT("why", result_name(result)), LOG_TEXT("next", "tried again soon"));
    agent->has_backlog = agent->has_backlog || result == RESULT_OK;
    uplink_wake(agent->uplink, false);
}

static void on_unscheduled(void *context)
{
    backlog_read_later(&((struct agent *)context)->backlog);
}

/* ---- where we are, and the way from there ----------------------------------------------------------------------- */

static void on_network(void *context, const struct monitor_event *event)
{
    struct agent *agent = context;
    agent->network = *event;
    if (event->has_changed)
        prober_forget(agent->prober);
    uplink_set_network(agent->uplink, event);
}

/* Without it mail goes too; the changes of the network are then found out by what fails. */
static void start_monitor(struct agent *agent)
{
    struct monitor_config config = {.log = &agent->log, .on_change = on_network, .context = agent};
    memcpy(config.secret, agent->recall.secret, sizeof config.secret);
    enum result result = monitor_start(&agent->monitor, &agent->loop, &config);
    crypto_wipe(&config, sizeof config);
    if (result == RESULT_OK)
        return;
    agent->monitor = NULL;
    log_event(&agent->log, LOG_WARNING, "network-unwatched", LOG_TEXT("why", result_name(result)));
}

static void look_around(void *context)
{
    struct agent *agent = context;
    if (agent->monitor)
        monitor_look(agent->monitor);
}

static int make_uplink(struct agent *agent, struct tls_context *tls, struct slice password)
{
    agent->uplink = uplink_new(&(struct uplink_config){
        .loop = &agent->loop,
        .store = agent->client,
        .settings = agent->settings,
        .tls = tls,
        .password = password,
        .queue = agent->queue,
        .office = &agent->office,
        .prober = agent->prober,
        .recall = &agent->recall,
        .naming = &agent->naming,
        .first_id = next_id(agent),
        .awaits_network = agent->monitor != NULL,
        .program = agent->program[0] ? agent->program : NULL,
        .log = &agent->log,
        .look_around = look_around,
        .on_unscheduled = on_unscheduled,
        .context = agent,
    });
    return agent->uplink ? EX_OK : agent_fail(EX_OSERR, "out of memory");
}

static int start_naming(struct agent *agent)
{
    enum result result = naming_open(&agent->naming, &agent->loop, agent->client);
    return result == RESULT_OK ? EX_OK : agent_fail(EX_IOERR, "the secret of the messages' names could not be kept in the database (%s)", result_name(result));
}

static int start_uplink(struct agent *agent)
{
    struct tls_context *tls = NULL;
    struct buffer password = {0};
    int code = agent_make_tls(agent->settings, &agent->log, &tls);
    if (code == EX_OK)
        code = agent_read_secret(agent->settings->values.password_file.ptr, &password);
    if (code == EX_OK && recall_open(&agent->recall, &agent->loop, agent->client, &agent->log, agent->settings) != RESULT_OK)
        code = agent_fail(EX_OSERR, "out of memory");
    if (code == EX_OK)
        code = start_naming(agent);
    if (code == EX_OK && !(agent->prober = prober_new(&agent->loop, &agent->log)))
        code = agent_fail(EX_OSERR, "out of memory");
    if (code == EX_OK) {
        start_monitor(agent);
        code = make_uplink(agent, tls, buffer_slice(&password));
    }
    buffer_wipe_free(&password);
    tls_context_unref(&tls);
    return code;
}

/* ---- listeners -------------------------------------------------------------------------------------------------- */

static int read_local_password(const struct settings *settings, struct buffer *out)
{
    *out = (struct buffer){0};
    if (settings->values.local_user.len == 0)
        return EX_OK;
    return agent_read_secret(settings->values.local_password_file.ptr, out);
}

static int start_reception(struct agent *agent)
{
    struct buffer token = {0}, local = {0};
    int code = agent_read_token(agent->dirs, true, &token);
    if (code == EX_OK)
        code = read_local_password(agent->settings, &local);
    if (code == EX_OK) {
        agent->reception = reception_new(&(struct reception_services){
            .store = agent->client,
            .settings = agent->settings,
            .local_password = buffer_slice(&local),
            .token = buffer_slice(&token),
            .log = &agent->log,
            .next_id = next_id,
            .wall_lead_ms = step_of_wall_ms,
            .on_queued = on_queued,
            .context = agent,
        });
        if (!agent->reception)
            code = agent_fail(EX_OSERR, "out of memory");
    }
    buffer_wipe_free(&token);
    buffer_wipe_free(&local);
    return code;
}

static int listen_on_all(struct agent *agent)
{
    const struct net_address *addresses = agent->settings->values.listen.items;
    size_t nlistening = 0;
    char why[200], text[NET_ADDRESS_TEXT];
    for (size_t i = 0; i < agent->settings->values.listen.count; i++) {
        struct service_listener listener = {.mode = SERVICE_PLAIN};
        memcpy(&listener.address, &addresses[i], net_address_len(&addresses[i]));
        net_address_format(&addresses[i], text);
        struct net_address bound;
        struct sockaddr_storage bound_storage;
        enum result result = service_listen(agent->service, &listener, &bound_storage, why, sizeof why);
        if (result == RESULT_OK) {
            nlistening++;
            memcpy(&bound, &bound_storage, sizeof bound);
            net_address_format(&bound, text);
            log_event(&agent->log, LOG_INFO, "listening", LOG_TEXT("address", text));
        } else if (result != RESULT_NOT_FOUND) {
            return agent_fail(result == RESULT_DENIED ? EX_NOPERM : EX_UNAVAILABLE, "%s; another is set as [local] listen in %s", why, agent->dirs->config_file);
        } else {
            /* No IPv6 on this laptop, say: the other addresses will do. */
            log_event(&agent->log, LOG_WARNING, "not-listening", LOG_TEXT("address", text), LOG_TEXT("why", why));
        }
    }
    return nlistening > 0 ? EX_OK : agent_fail(EX_UNAVAILABLE, "none of the addresses under [local] listen exists on this machine");
}

static int start_service(struct agent *agent)
{
    struct service_config config = {
        .sessions_max = (uint32_t)agent->settings->values.sessions,
        .handler = reception_handler(agent->reception),
        .log = &agent->log,
    };
    reception_smtp_config(agent->settings, &agent->log, &config.smtp);
    agent->service = service_new(&agent->loop, &config);
    return agent->service ? listen_on_all(agent) : agent_fail(EX_OSERR, "out of memory");
}

/* ---- signals ---------------------------------------------------------------------------------------------------- */

static bool is_same_listeners(const struct settings_values *a, const struct settings_values *b)
{
    const struct net_address *one = a->listen.items, *other = b->listen.items;
    bool is_same = a->listen.count == b->listen.count;
    for (size_t i = 0; is_same && i < a->listen.count; i++)
        is_same = net_address_equal(&one[i], &other[i]);
    return is_same;
}

static void take_settings(struct agent *agent, struct settings *settings)
{
    struct smtp_server_config smtp;
    const struct settings_values *old = &agent->settings->values, *new = &settings->values;
    bool is_same_spool = old->encrypts_spool == new->encrypts_spool && old->spool_key == new->spool_key && slice_equal(old->spool_key_file, new->spool_key_file);
    if (!is_same_listeners(old, new) || old->sessions != new->sessions || old->database_size != new->database_size || !is_same_spool)
        log_event(&agent->log, LOG_WARNING, "restart-needed", LOG_TEXT("why", "listen, sessions, database_size and what is in [spool] are read at the start only"));
    settings_unref(&agent->settings);
    agent->settings = settings_ref(settings);
    agent->log.level = (enum log_level)new->log_level;
    agent->office.schedule = new->schedule;
    agent->office.lifetime_ms = new->lifetime;
    agent->office.delay_notice_ms = new->delay_notice;
    agent->office.keep_copies = new->keep_copies;
    reception_smtp_config(settings, &agent->log, &smtp);
    service_set_smtp(agent->service, &smtp);
}

static void reload(struct agent *agent)
{
    struct settings *settings = NULL;
    struct tls_context *tls = NULL;
    struct buffer password = {0}, local = {0};
    bool is_good = agent_load_settings(agent->dirs, &settings) == EX_OK && agent_make_tls(settings, &agent->log, &tls) == EX_OK &&
                   agent_read_secret(settings->values.password_file.ptr, &password) == EX_OK && read_local_password(settings, &local) == EX_OK;
    if (is_good && reception_reload(agent->reception, settings, buffer_slice(&local)) == RESULT_OK &&
        uplink_reload(agent->uplink, settings, tls, buffer_slice(&password)) == RESULT_OK) {
        take_settings(agent, settings);
        log_event(&agent->log, LOG_INFO, "reloaded");
    } else {
        log_event(&agent->log, LOG_ERROR, "reload-failed", LOG_TEXT("why", "the new configuration is not good; the old one stays in force"));
    }
    buffer_wipe_free(&password);
    buffer_wipe_free(&local);
    tls_context_unref(&tls);
    settings_unref(&settings);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct agent *agent = handle->data;
    if (!agent->has_started && number == SIGHUP)
        agent->is_hangup_early = true;
    else if (!agent->has_started)
        agent->is_end_early = true;
    else if (number != SIGHUP)
        agent_stop(agent, EX_OK);
    else if (!agent->is_stopping)
        reload(agent);
}

/* Before anything that takes its time: the one who has started us may send SIGHUP at once, and unheard it would be our end. */
static void start_signals(struct agent *agent)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < 3; i++) {
        uv_signal_init(&agent->loop, &agent->signals[i]);
        agent->signals[i].data = agent;
        uv_signal_start(&agent->signals[i], on_signal, numbers[i]);
    }
    agent->has_signals = true;
}

static void heed_early_signals(struct agent *agent)
{
    agent->has_started = true;
    if (agent->is_end_early)
        agent_stop(agent, EX_OK);
    else if (agent->is_hangup_early)
        reload(agent);
}

/* ---- the end, in the opposite order of the start; each part may never have been there -------------------------- */

/* The race's losers may still say goodbye; but a resolver that does not answer holds its request for half a minute, and nobody waits for it. */
static void on_last_patience(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void close_client(struct agent *agent)
{
    if (agent->client)
        store_client_close(agent->client, NULL, NULL);
    agent->client = NULL;
}

/* Whoever asked something before has had his answer, and with it has let go of what he kept for it. */
static void on_last_answer(void *context, enum result result, const struct store_counts *counts)
{
    (void)result;
    (void)counts;
    close_client(context);
}

static void on_uplink_stopped(void *context)
{
    struct agent *agent = context;
    prober_free(&agent->prober);
    for (size_t i = 0; i < 3 && agent->has_signals; i++)
        uv_close((uv_handle_t *)&agent->signals[i], NULL);
    uv_timer_start(&agent->last_patience, on_last_patience, STOP_LAST_MS, 0);
    uv_unref((uv_handle_t *)&agent->last_patience);
    if (agent->client)
        store_count(agent->client, on_last_answer, agent);
}

static void on_monitor_closed(void *context)
{
    (void)context; /* the loop has waited for it */
}

static void on_service_stopped(void *context)
{
    struct agent *agent = context;
    agent->service = NULL;
    wall_close(&agent->wall);
    attempt_stop(&agent->office);
    if (agent->monitor)
        monitor_stop(&agent->monitor, on_monitor_closed, agent);
    if (agent->uplink)
        uplink_stop(agent->uplink, on_uplink_stopped, agent);
    else
        on_uplink_stopped(agent);
}

void agent_stop(struct agent *agent, int exit_code)
{
    if (agent->is_stopping)
        return;
    agent->is_stopping = true;
    agent->exit_code = exit_code;
    log_event(&agent->log, LOG_INFO, "stopping");
    diagnosis_cancel(&agent->diagnosis);
    backlog_stop(&agent->backlog);
    if (agent->control)
        control_server_close(agent->control, NULL, NULL);
    if (agent->service)
        service_stop(agent->service, STOP_GRACE_MS, on_service_stopped, agent);
    else
        on_service_stopped(agent);
}

/* ---- the start -------------------------------------------------------------------------------------------------- */

static void sink_to_stderr(void *context, enum log_level level, struct slice line)
{
    (void)context;
    (void)level;
    /* One write a line, so that lines of two threads never mix. */
    if (write(STDERR_FILENO, line.ptr, line.len) < 0)
        return;
}

static int start_store(struct agent *agent)
{
    int code = agent_open_store(agent->dirs, agent->settings, &agent->log, &agent->store, &agent->key);
    if (code != EX_OK)
        return code;
    if (store_client_open(&agent->client, agent->store, &agent->loop) != RESULT_OK)
        return agent_fail(EX_OSERR, "out of memory");
    wall_open(&agent->wall, &agent->loop, agent->client, true, &agent->log);
    agent->queue = queue_new(&(struct queue_limits){.active_per_hop = 1, .active_total = 1});
    agent->office = (struct attempt_office){
        .loop = &agent->loop,
        .store = agent->client,
        .log = &agent->log,
        .schedule = agent->settings->values.schedule,
        .delay_notice_ms = agent->settings->values.delay_notice,
        .lifetime_ms = agent->settings->values.lifetime,
        .accepted_state = STORE_RELAYED,
        .reporting_name = AGENT_NAME,
        .report_from_sender = true,
        .forgives_lost_connections = true,
        .ask_at_ms = ask_at_ms,
        .keep_copies = agent->settings->values.keep_copies,
        .next_id = next_id,
        .wall_lead_ms = lead_of_wall_ms,
        .started_at_boot_ms = agent->wall.started_at_boot_ms,
        .on_queued = on_queued,
        .context = agent,
    };
    agent->backlog = (struct backlog){.loop = &agent->loop, .store = agent->client, .queue = agent->queue, .schedule = &agent->office.schedule, .log = &agent->log, .on_read = on_backlog, .context = agent};
    backlog_open(&agent->backlog);
    return agent->queue ? EX_OK : agent_fail(EX_OSERR, "out of memory");
}

static int start_control(struct agent *agent)
{
    struct private_error error;
    char why[300];
    if (private_make_folder(agent->dirs->run_folder, &error) != RESULT_OK)
        return agent_fail(EX_CANTCREAT, "%s", error.text);
    enum result result = control_server_open(&agent->control, &agent->loop, agent->dirs->socket, agent_command, agent, &agent->log, why, sizeof why);
    return result == RESULT_OK ? EX_OK : agent_fail(EX_CANTCREAT, "%s", why);
}

static int start(struct agent *agent)
{
    int code = start_store(agent);
    if (code != EX_OK)
        return code;
    if ((code = start_uplink(agent)) != EX_OK || (code = start_reception(agent)) != EX_OK ||
        (code = start_service(agent)) != EX_OK || (code = start_control(agent)) != EX_OK)
        return code;
    backlog_read(&agent->backlog);
    return EX_OK;
}

/* False: the loop still has something to wait for. */
static bool tear_down(struct agent *agent)
{
    bool is_closed = true;
    reception_free(&agent->reception);
    uplink_free(&agent->uplink);
    recall_close(&agent->recall);
    naming_close(&agent->naming);
    queue_free(&agent->queue);
    close_client(agent);
    if (agent->store)
        store_close(&agent->store);
    settings_unref(&agent->settings);
    if (agent->has_loop) {
        uv_close((uv_handle_t *)&agent->last_patience, NULL);
        uv_run(&agent->loop, UV_RUN_NOWAIT);
        is_closed = uv_loop_close(&agent->loop) == 0;
    }
    return is_closed;
}

int agent_run(struct agent *agent, const struct dirs *dirs)
{
    *agent = (struct agent){.dirs = dirs, .network = {.is_up = true}, .log = {.sink = sink_to_stderr}};
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    agent_find_program(agent);
    int code = agent_load_settings(dirs, &agent->settings);
    if (code != EX_OK)
        return code;
    agent->log.level = (enum log_level)agent->settings->values.log_level;
    if (uv_loop_init(&agent->loop) < 0) {
        settings_unref(&agent->settings);
        return agent_fail(EX_OSERR, "out of memory");
    }
    uv_timer_init(&agent->loop, &agent->last_patience);
    agent->has_loop = true;
    start_signals(agent);
    code = start(agent);
    if (code == EX_OK) {
        log_event(&agent->log, LOG_INFO, "started", LOG_STR("relay", agent->settings->values.relay_host));
        heed_early_signals(agent);
    } else {
        agent_stop(agent, code);
    }
    uv_run(&agent->loop, UV_RUN_DEFAULT);
    bool is_closed = tear_down(agent);
    log_event(&agent->log, LOG_INFO, "stopped");
    /* libuv waits at exit for its resolver threads, however long the resolver is silent. */
    if (!is_closed)
        _exit(agent->exit_code);
    return agent->exit_code;
}
