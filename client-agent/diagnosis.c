#include "diagnosis.h"

#include "way_json.h"

#include <stdlib.h>
#include <sysexits.h>

enum { LOOK_MS = 1000, WORDS_MAX = 1024 };

struct diagnosis {
    struct diagnosis_config config;
    struct memory *memory; /* of its own, for the relay's addresses: the survey reads it and nobody writes it down */
    struct search *search;
    uv_timer_t timer;      /* is anybody still listening? And at the end, to be out of the search's callback */
    struct finder_trial told[RACE_PATHS_MAX];
    size_t ntold;
    bool has_begun, is_over;
};

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct diagnosis *diagnosis = handle->data;
    tls_context_unref(&diagnosis->config.tls);
    settings_unref(&diagnosis->config.settings);
    free(diagnosis);
}

static void destroy(struct diagnosis *diagnosis)
{
    search_free(&diagnosis->search);
    memory_free(&diagnosis->memory);
    uv_close((uv_handle_t *)&diagnosis->timer, on_timer_closed);
}

void diagnosis_cancel(struct diagnosis **at)
{
    struct diagnosis *diagnosis = *at;
    *at = NULL;
    if (!diagnosis)
        return;
    if (!diagnosis->is_over)
        control_error(diagnosis->config.call, EX_UNAVAILABLE, "the diagnosis was ended");
    destroy(diagnosis);
}

static void on_done(void *context);

/* Before anything was tried, that is: there is no network. */
static bool is_offline(const struct diagnosis *diagnosis)
{
    bool is_known;
    return finder_network(search_finder(diagnosis->search), &is_known) == NETWORK_OFFLINE && is_known;
}

static void on_timer(uv_timer_t *timer)
{
    struct diagnosis *diagnosis = timer->data;
    if (!diagnosis->is_over && !diagnosis->has_begun && is_offline(diagnosis)) {
        on_done(diagnosis);
        return;
    }
    diagnosis->has_begun = true;
    if (!diagnosis->is_over && !control_is_abandoned(diagnosis->config.call))
        return;
    if (!diagnosis->is_over)
        control_error(diagnosis->config.call, EX_UNAVAILABLE, "nobody waits for the diagnosis any more");
    void (*on_end)(void *) = diagnosis->config.on_end;
    void *context = diagnosis->config.context;
    destroy(diagnosis);
    on_end(context);
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

static const char *relay_host(const struct diagnosis *diagnosis)
{
    return diagnosis->config.settings->values.relay_host.ptr;
}

static bool is_told(const struct diagnosis *diagnosis, const struct finder_trial *trial, size_t i)
{
    const struct finder_trial *told = &diagnosis->told[i];
    return i < diagnosis->ntold && told->verdict == trial->verdict && told->ms == trial->ms && path_equal(&told->path, &trial->path);
}

static void on_progress(void *context)
{
    struct diagnosis *diagnosis = context;
    size_t n;
    const struct finder_trial *trials = finder_trials(search_finder(diagnosis->search), &n);
    for (size_t i = 0; i < n && i < RACE_PATHS_MAX; i++) {
        if (is_told(diagnosis, &trials[i], i))
            continue;
        control_progress(diagnosis->config.call, json_pack("{s:I, s:o}", "index", (json_int_t)i, "way", way_trial_json(&trials[i], relay_host(diagnosis))));
        diagnosis->told[i] = trials[i];
        diagnosis->ntold = i < diagnosis->ntold ? diagnosis->ntold : i + 1;
    }
}

static json_t *ways_json(const struct diagnosis *diagnosis)
{
    size_t n;
    const struct finder_trial *trials = finder_trials(search_finder(diagnosis->search), &n);
    json_t *ways = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(ways, way_trial_json(&trials[i], relay_host(diagnosis)));
    return ways;
}

/* The lines of a text, as an array. */
static json_t *lines_json(struct slice text)
{
    json_t *lines = json_array();
    struct slice line;
    while (text.len > 0) {
        slice_cut(text, '\n', &line, &text);
        json_array_append_new(lines, json_stringn(line.ptr, line.len));
    }
    return lines;
}

static json_t *result_json(const struct diagnosis *diagnosis)
{
    struct network_trial trials[RACE_PATHS_MAX];
    struct network_facts facts;
    struct buffer words = BUFFER(WORDS_MAX), summary = BUFFER(WORDS_MAX);
    json_t *result = NULL;
    const char *trouble = diagnosis->config.trouble ? diagnosis->config.trouble(diagnosis->config.context) : NULL;
    finder_facts(search_finder(diagnosis->search), trials, &facts);
    facts.is_pinned = diagnosis->config.settings->values.pin.count > 0;
    facts.missing_proxy = search_missing_proxy(diagnosis->search);
    facts.has_trouble = trouble != NULL;
    if (network_describe(&facts, NULL, &words) == RESULT_OK &&
        network_summary(&facts, slice_from_cstr(relay_host(diagnosis)), &summary) == RESULT_OK)
        result = json_pack("{s:s, s:s%, s:o, s:s?, s:s, s:o}", "network", network_state_name(network_conclude(&facts)), "words", buffer_slice(&words).ptr, buffer_len(&words),
                           "summary", lines_json(buffer_slice(&summary)), "trouble", trouble, "relay", relay_host(diagnosis), "ways", ways_json(diagnosis));
    buffer_free(&words);
    buffer_free(&summary);
    return result;
}

static void on_done(void *context)
{
    struct diagnosis *diagnosis = context;
    on_progress(diagnosis);
    diagnosis->is_over = true;
    control_result(diagnosis->config.call, result_json(diagnosis));
    uv_timer_start(&diagnosis->timer, on_timer, 0, 0);
}

/* ---- the start -------------------------------------------------------------------------------------------------- */

static bool make_search(struct diagnosis *diagnosis)
{
    const struct search_config config = {
        .loop = diagnosis->config.loop,
        .settings = diagnosis->config.settings,
        .tls = diagnosis->config.tls,
        .memory = diagnosis->memory,
        .profile = diagnosis->config.profile,
        .prober = diagnosis->config.prober,
        .is_survey = true,
        .program = diagnosis->config.program,
        .log = diagnosis->config.log,
        .on_lost = on_done,
        .on_progress = on_progress,
        .context = diagnosis,
    };
    diagnosis->search = search_new(&config);
    return diagnosis->search != NULL;
}

enum result diagnosis_start(struct diagnosis **out, const struct diagnosis_config *config)
{
    struct diagnosis *diagnosis = calloc(1, sizeof *diagnosis);
    *out = NULL;
    if (!diagnosis)
        return RESULT_MEMORY;
    diagnosis->config = *config;
    diagnosis->memory = memory_new();
    for (size_t i = config->naddresses; diagnosis->memory && i-- > 0;) /* the latest is to stand first */
        memory_keep_address(diagnosis->memory, &config->addresses[i]);
    if (!diagnosis->memory || !make_search(diagnosis)) {
        memory_free(&diagnosis->memory);
        free(diagnosis);
        return RESULT_MEMORY;
    }
    diagnosis->config.settings = settings_ref(config->settings);
    diagnosis->config.tls = tls_context_ref(config->tls);
    uv_timer_init(config->loop, &diagnosis->timer);
    diagnosis->timer.data = diagnosis;
    uv_timer_start(&diagnosis->timer, on_timer, 0, LOOK_MS);
    search_set_network(diagnosis->search, &config->network);
    search_want(diagnosis->search, FINDER_WISH_NOW);
    *out = diagnosis;
    return RESULT_OK;
}
