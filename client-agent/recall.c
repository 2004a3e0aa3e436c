#include "recall.h"

#include "net/stream.h"

#include <string.h>

static const char MEMORY_SETTING[] = "memory", PROFILE_SETTING[] = "profile", SECRET_SETTING[] = "network-secret", PROBE_SETTING[] = "probe";

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct reading {
    struct recall *recall;
    const struct settings *settings;
    enum result result;
};

static void on_memory(void *context, enum result result, struct slice value)
{
    struct reading *reading = context;
    reading->recall->nasked--;
    if (result == RESULT_OK)
        reading->result = memory_read(reading->recall->memory, value, reading->settings->values.relay_host, wall_now_ms());
}

static void on_profile(void *context, enum result result, struct slice value)
{
    struct reading *reading = context;
    reading->recall->nasked--;
    if (result == RESULT_OK)
        profile_read(&reading->recall->profile, value, reading->settings->values.relay_host, reading->settings->values.user);
}

/* Made at the first start. One that could not be read stands for this run only: networks are strangers then. */
static void on_secret(void *context, enum result result, struct slice value)
{
    struct recall *recall = ((struct reading *)context)->recall;
    recall->nasked--;
    if (result == RESULT_OK && value.len == sizeof recall->secret) {
        memcpy(recall->secret, value.ptr, sizeof recall->secret);
        return;
    }
    crypto_random(recall->secret, sizeof recall->secret);
    if (result == RESULT_OK || result == RESULT_NOT_FOUND)
        store_setting_put(recall->store, slice_from_cstr(SECRET_SETTING), slice_of(recall->secret, sizeof recall->secret), NULL, NULL);
}

/* A value of our own program on this machine: when, on the wall; what; where. */
struct probe_value {
    int64_t at_ms;
    uint8_t has_answer, answer, network[MEMORY_KEY];
};

static void on_probe(void *context, enum result result, struct slice value)
{
    struct recall *recall = ((struct reading *)context)->recall;
    struct probe_value probe;
    recall->nasked--;
    if (result != RESULT_OK || value.len != sizeof probe)
        return;
    memcpy(&probe, value.ptr, sizeof probe);
    int64_t ago_ms = wall_now_ms() - probe.at_ms;
    if (ago_ms < 0 || probe.answer > FINDER_PROBE_SILENT)
        return; /* a clock that was set back */
    recall->probe = (struct prober_last){.ago_ms = ago_ms, .has_answer = probe.has_answer, .answer = (enum finder_probe)probe.answer};
    memcpy(recall->probe.network.octets, probe.network, MEMORY_KEY);
}

enum result recall_open(struct recall *recall, uv_loop_t *loop, struct store_client *store, const struct log *log, const struct settings *settings)
{
    struct reading reading = {.recall = recall, .settings = settings};
    *recall = (struct recall){.store = store, .log = log, .memory = memory_new(), .probe = {.ago_ms = INT64_MAX}};
    if (!recall->memory)
        return RESULT_MEMORY;
    recall->nasked = 4;
    store_setting_get(store, slice_from_cstr(MEMORY_SETTING), on_memory, &reading);
    store_setting_get(store, slice_from_cstr(PROFILE_SETTING), on_profile, &reading);
    store_setting_get(store, slice_from_cstr(SECRET_SETTING), on_secret, &reading);
    store_setting_get(store, slice_from_cstr(PROBE_SETTING), on_probe, &reading);
    while (recall->nasked > 0)
        uv_run(loop, UV_RUN_ONCE);
    return reading.result;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static void put(struct recall *recall, const char *name, struct buffer *text)
{
    store_setting_put(recall->store, slice_from_cstr(name), buffer_slice(text), NULL, NULL);
}

/* Without its token the laptop enrols again, and is another device to the relay: so a full disk is not the end of it. */
static void on_profile_written(void *context, enum result result)
{
    struct recall *recall = context;
    recall->is_profile_unwritten = result != RESULT_OK;
    if (result != RESULT_OK)
        log_event(recall->log, LOG_WARNING, "profile-not-written", LOG_TEXT("reason", result_name(result)),
                  LOG_TEXT("hint", "it is tried again; until then a restart means a login by password"));
}

void recall_save_memory(struct recall *recall, const struct settings *settings)
{
    struct buffer text = BUFFER(MEMORY_TEXT_MAX);
    memory_forget_old(recall->memory, wall_now_ms());
    if (recall->store && memory_is_dirty(recall->memory) && memory_write(recall->memory, settings->values.relay_host, &text) == RESULT_OK)
        put(recall, MEMORY_SETTING, &text);
    buffer_free(&text);
    if (recall->is_profile_unwritten)
        recall_save_profile(recall, settings);
}

void recall_save_probe(struct recall *recall, const struct prober *prober)
{
    struct prober_last last;
    struct probe_value probe = {0};
    if (!recall->store || !prober || !prober_last(prober, &last))
        return;
    probe.at_ms = wall_now_ms() - last.ago_ms;
    probe.has_answer = last.has_answer;
    probe.answer = (uint8_t)last.answer;
    memcpy(probe.network, last.network.octets, MEMORY_KEY);
    store_setting_put(recall->store, slice_from_cstr(PROBE_SETTING), slice_of(&probe, sizeof probe), NULL, NULL);
}

void recall_save_profile(struct recall *recall, const struct settings *settings)
{
    struct buffer text = BUFFER_SECRET(PROFILE_TEXT_MAX);
    if (recall->store && profile_write(&recall->profile, settings->values.relay_host, settings->values.user, &text) == RESULT_OK)
        store_setting_put(recall->store, slice_from_cstr(PROFILE_SETTING), buffer_slice(&text), on_profile_written, recall);
    buffer_wipe_free(&text);
}

/* ---- changing and ending ---------------------------------------------------------------------------------------- */

void recall_change(struct recall *recall, const struct settings *before, const struct settings *after)
{
    bool is_same_relay = slice_equal(before->values.relay_host, after->values.relay_host), is_same_user = slice_equal(before->values.user, after->values.user);
    if (!is_same_relay)
        memory_forget(recall->memory);
    if (!is_same_relay)
        profile_forget(&recall->profile);
    else if (!is_same_user)
        profile_forget_device(&recall->profile);
    if (!is_same_relay || !is_same_user)
        recall_save_profile(recall, after);
}

void recall_close(struct recall *recall)
{
    memory_free(&recall->memory);
    profile_forget(&recall->profile);
    crypto_wipe(recall->secret, sizeof recall->secret);
}
