#include "system_proxies.h"

#include "crypto/crypto.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct system_proxies {
    uv_process_t process;
    uv_pipe_t output;
    uv_timer_t timer;
    int nhandles;              /* open ones */
    bool has_exited, has_ended; /* the child; its output */
    bool is_told;
    struct buffer said;
    const struct log *log;
    void (*on_answer)(void *context, const struct settings_proxy *proxies, size_t n);
    void *context;
};

/* ---- the end ---------------------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
    struct system_proxies *asked = handle->data;
    if (--asked->nhandles > 0)
        return;
    buffer_wipe_free(&asked->said); /* passwords of proxies pass through here */
    free(asked);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

/* It leads a group of its own, in which a helper of the library may live. */
static void kill_all(struct system_proxies *asked)
{
    uv_kill(-uv_process_get_pid(&asked->process), SIGKILL);
}

/* The process handle stays until the child is gone, so that it is not left a zombie. */
static void finish(struct system_proxies *asked)
{
    close_handle((uv_handle_t *)&asked->output);
    close_handle((uv_handle_t *)&asked->timer);
    if (asked->has_exited)
        close_handle((uv_handle_t *)&asked->process);
    else
        kill_all(asked);
}

static size_t parse(struct slice text, struct arena *arena, struct settings_proxy *proxies)
{
    size_t n = 0;
    struct slice line;
    while (text.len > 0 && n < SYSTEM_PROXIES_COUNT) {
        slice_cut(text, '\n', &line, &text);
        struct config_value value = {.text = line, .arena = arena};
        if (line.len > 0 && settings_parse_proxy(&value, &proxies[n]) == RESULT_OK)
            n++;
    }
    return n;
}

static void tell(struct system_proxies *asked)
{
    struct settings_proxy proxies[SYSTEM_PROXIES_COUNT];
    struct arena arena = {0};
    if (asked->is_told)
        return;
    asked->is_told = true;
    size_t n = parse(buffer_slice(&asked->said), &arena, proxies);
    asked->on_answer(asked->context, proxies, n);
    arena_wipe_free(&arena);
}

static void tell_when_whole(struct system_proxies *asked)
{
    if (!asked->has_exited || !asked->has_ended)
        return;
    tell(asked);
    finish(asked);
}

/* ---- the child -------------------------------------------------------------------------------------------------- */

static void on_child_exit(uv_process_t *process, int64_t status, int signal)
{
    struct system_proxies *asked = process->data;
    asked->has_exited = true;
    if (status != 0 || signal != 0)
        log_event(asked->log, LOG_DEBUG, "system-proxies", LOG_INT("status", status), LOG_INT("signal", signal));
    if (asked->is_told)
        close_handle((uv_handle_t *)process);
    else
        tell_when_whole(asked);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct system_proxies *asked = handle->data;
    char *at = NULL;
    size_t room = SYSTEM_PROXIES_MAX - buffer_len(&asked->said);
    (void)suggested;
    if (room == 0 || buffer_reserve(&asked->said, room, &at) != RESULT_OK)
        room = 0;
    *out = uv_buf_init(at, (unsigned)room);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct system_proxies *asked = stream->data;
    (void)buf;
    if (n > 0)
        buffer_commit(&asked->said, (size_t)n);
    if (n >= 0)
        return;
    uv_read_stop(stream);
    asked->has_ended = true; /* or has said too much: what there is counts */
    if (n == UV_ENOBUFS && !asked->has_exited)
        kill_all(asked);
    tell_when_whole(asked);
}

static void on_timeout(uv_timer_t *timer)
{
    struct system_proxies *asked = timer->data;
    log_event(asked->log, LOG_WARNING, "system-proxies", LOG_TEXT("reason", "the system's proxy settings gave no answer in time"));
    tell(asked);
    finish(asked);
}

static int spawn(struct system_proxies *asked, uv_loop_t *loop, const char *program, const char *host)
{
    char name[] = "postern-agent", command[] = "proxies", target[256];
    if (!slice_to_cstr(slice_from_cstr(host), target, sizeof target))
        return UV_EINVAL;
    char *arguments[] = {name, command, target, NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&asked->output},
        {.flags = UV_IGNORE},
    };
    const uv_process_options_t options = {.exit_cb = on_child_exit, .file = program, .args = arguments, .stdio_count = 3, .stdio = stdio, .flags = UV_PROCESS_DETACHED};
    return uv_spawn(loop, &asked->process, &options);
}

enum result system_proxies_ask(struct system_proxies **out, uv_loop_t *loop, const char *program, const char *host, int64_t timeout_ms, const struct log *log,
                               void (*on_answer)(void *context, const struct settings_proxy *proxies, size_t n), void *context)
{
    struct system_proxies *asked = calloc(1, sizeof *asked);
    *out = NULL;
    if (!asked)
        return RESULT_MEMORY;
    asked->said = BUFFER(SYSTEM_PROXIES_MAX);
    asked->log = log;
    asked->on_answer = on_answer;
    asked->context = context;
    asked->process.data = asked->output.data = asked->timer.data = asked;
    uv_pipe_init(loop, &asked->output, 0);
    uv_timer_init(loop, &asked->timer);
    asked->nhandles = 3;
    if (spawn(asked, loop, program, host) != 0) {
        asked->nhandles = asked->process.type == UV_PROCESS ? 3 : 2; /* it is made by uv_spawn, even when that fails */
        if (asked->nhandles == 3)
            uv_close((uv_handle_t *)&asked->process, on_closed);
        uv_close((uv_handle_t *)&asked->output, on_closed);
        uv_close((uv_handle_t *)&asked->timer, on_closed);
        return RESULT_IO;
    }
    uv_read_start((uv_stream_t *)&asked->output, on_alloc, on_read);
    uv_timer_start(&asked->timer, on_timeout, timeout_ms > 0 ? (uint64_t)timeout_ms : SYSTEM_PROXIES_MS, 0);
    *out = asked;
    return RESULT_OK;
}

void system_proxies_cancel(struct system_proxies **at)
{
    struct system_proxies *asked = *at;
    *at = NULL;
    if (!asked || asked->is_told)
        return;
    asked->is_told = true;
    finish(asked);
}
